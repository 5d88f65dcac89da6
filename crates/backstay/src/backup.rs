//! The story of the product: a stream goes in, an archive is committed.
//!
//! ```text
//! source ─► chunk (2 MiB) ─► compress ─► seal ─► part ─► conditional create ─► manifest = commit
//!          one reader        N cores     in order        U in flight           last, once
//! ```
//!
//! The manifest is the commit, so everything that can say that this is not a good backup is asked before it is created:
//! the producer's exit status, the end marker, the size, and the store about each part.

mod document;
mod id;
mod options;
pub mod spool;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use backstay_format::header::{Codec, Common, Head, Kind};
use backstay_format::manifest::{MOST_PARTS, Manifest, OpensslHead, Profile};
use backstay_format::openssl::{PartWriter, Salt};
use backstay_format::part::Sealer;
use backstay_format::schedule::{Keys, sha256};
use backstay_format::signature::header_message;
use backstay_store::{Created, Store};
use bytes::Bytes;
use futures::{TryStreamExt as _, stream};

pub(crate) use self::document::{Anew, Inherited, facts_of_this_host, rfc3339, sealed_facts};
use self::document::{SealKeys, Sealing};
pub(crate) use self::id::next_id;
pub use self::options::{BackupOptions, Format};
use self::spool::Spool;
use self::spool::sender::{Line, Sender};
use crate::chunk::{Checks, Verdict, Witness};
use crate::claim::Ours;
use crate::compress::Compressors;
use crate::context::Context;
use crate::destinations::Destinations;
pub use crate::destinations::{Also, Missed};
use crate::effort::Effort;
use crate::error::{Error, Result};
use crate::layout::{self, Layout};
use crate::observe::{Event, Observer};
use crate::pack::Packer;
pub use crate::pack::Padding;
use crate::parts::{Finished, Parts, Totals, progress};
use crate::policy::ReceiptLine;
use crate::sizing::{OPENSSL_MANY_PARTS, Sizing};
use crate::source::{Chunks, Source};

/// What a commit gives: a line for logs, tickets and rollback checks.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The archive.
    pub id: ArchiveId,
    /// Its public fingerprint.
    pub root: [u8; 32],
    /// SHA-256 of what the manifest's seal covers.
    pub seal: [u8; 32],
    /// Stored bytes of all parts.
    pub stored: u64,
    /// Bytes of content.
    pub content: u64,
    /// Parts.
    pub parts: u32,
    /// Whether an ambiguous answer of the store could not be resolved.
    pub unconfirmed: bool,
    /// Of two stores the one that does not have it.
    pub missed: Vec<Missed>,
    /// How long it took.
    pub elapsed: Duration,
}

impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Receipt { id, root, seal, stored, unconfirmed, .. } = self;
        let line = ReceiptLine { id: id.clone(), root: *root, seal: *seal, stored: *stored, unconfirmed: *unconfirmed };
        write!(f, "{line}")
    }
}

/// Backs up what `source` gives, as one archive.
///
/// With a second store, one of the two may fail and the archive is then in the other: [`Receipt::missed`] tells, and `copy`
/// makes up for it.
///
/// # Errors
/// Those of the source (`source.*`), the store (`store.*`, `name.taken`), the options (`usage.*`), and `interrupted`. After
/// an error there is no manifest; what is left over is told to the observer. Only where a second store is required and fails
/// as the very manifest is created can the first one have the archive nevertheless, which the observer is told too.
pub async fn backup(
    store: &Store,
    source: Source,
    options: BackupOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Receipt> {
    write(store, source, options, None, context, observer).await
}

/// Writes what `source` gives as one archive: a new one, or one that exists elsewhere anew.
pub(crate) async fn write(
    store: &Store,
    source: Source,
    mut options: BackupOptions,
    anew: Option<Anew>,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Receipt> {
    let begun = Instant::now();
    let single = check(store, &options)?;
    let expected = options.expected.or_else(|| source.length());
    let sizing = Sizing::of(&options, store, expected, context.cpu.cores())?;
    let layout = sizing.layout;
    let destinations = Destinations::new(store, options.also.as_ref(), &observer);
    // With a second store or a spool a backup goes on without this one.
    let needed = options.also.is_none() && options.spool.is_none();
    let created = context.now();
    let id = match &anew {
        Some(anew) => anew.id.clone(),
        None => next_id(&destinations, needed, &options.guid, context, &observer).await?,
    };
    let command = source.command_line();
    let kind = options.source.unwrap_or_else(|| source.kind());
    observer.event(&Event::Started { id: id.clone(), plan: layout.to_string() });
    sizing.foreseen().iter().for_each(|event| observer.event(event));

    let Prepared { packer, codec, seal, detached } = prepare(&id, &options, layout, context)?;
    let draft = seal.draft(&id, kind, created, &options, command.as_deref(), !detached.is_empty())?;
    let keyboxes = store_keyboxes(&destinations, &id, detached).await.map_err(|error| destinations.verdict(error))?;
    let compressors = Compressors::new(codec);
    let effort = Effort::new(codec, options.level)?;
    let mut parts = match options.format {
        Format::Openssl { single: true, .. } => Parts::single(&id, store).await?,
        _ => {
            let (destinations, observer) = (destinations.clone(), Arc::clone(&observer));
            match &options.spool {
                Some(spool) => {
                    let (spool, cpu) = (Arc::clone(spool), context.cpu.clone());
                    let line = Line { id: id.clone(), destinations, spool, cpu, observer };
                    let keyboxes = u32::try_from(keyboxes.len()).unwrap_or(u32::MAX);
                    Parts::Spooled(Sender::begin(line, keyboxes, layout).await?)
                }
                None => {
                    let cpu = context.cpu.clone();
                    Parts::objects(id.clone(), destinations, keyboxes.clone(), cpu, observer, layout.uploads)
                }
            }
        }
    };
    let mut chunks = source.start(context.interrupt.clone(), &observer, options.stall)?;
    let mut witness = Witness::with(options.watch.take());

    let streamed = tokio::select! {
        biased;
        streamed = stream_through(&mut chunks, &mut witness, &compressors, effort, packer, &mut parts, sizing, &options.checks, context, &observer) => streamed,
        () = context.interrupt.wait() => Err(Error::Interrupted { left: String::new() }),
    };
    let drained = match streamed {
        Ok(()) => parts.drain().await,
        failed => failed,
    };
    let mut left = Left::Parts(parts.totals().parts);
    let content = witness.length();
    options.facts.extend(witness.facts());
    let end = End { draft, seal, keyboxes, single, command, content, anew };
    let committed = match drained {
        Ok(()) => end.commit(parts, &mut left, store, &options, &destinations, context, &observer).await,
        Err(error) => Err(error),
    };
    let Committed { root, seal, totals, unconfirmed } = match committed {
        Ok(committed) => committed,
        Err(error) => {
            let error = destinations.verdict(error);
            return Err(give_up(error, &mut chunks, left, &id, options.spool.as_deref(), &observer).await);
        }
    };
    let receipt = Receipt {
        id,
        root,
        seal,
        stored: totals.stored,
        content,
        parts: totals.parts,
        unconfirmed,
        missed: destinations.missed(),
        elapsed: begun.elapsed(),
    };
    observer.event(&Event::Committed(receipt.clone()));
    Ok(receipt)
}

/// Refuses what does not go together, and stores that take nothing new. Gives whether it will be a single object.
fn check(store: &Store, options: &BackupOptions) -> Result<bool> {
    for store in std::iter::once(store).chain(options.also.as_ref().map(|also| &also.store)) {
        store.takes_new_objects()?;
    }
    let single = matches!(options.format, Format::Openssl { single: true, .. });
    if single {
        store.takes_streams()?;
    }
    if single && options.also.is_some() {
        return Err(Error::Usage { why: "a single object goes to one store only".to_owned() });
    }
    if options.spool.is_some() && (single || options.also.is_some()) {
        return Err(Error::Usage { why: "a spool keeps the parts of an archive for one store: it goes neither with a second store nor with a single object"
                .to_owned() });
    }
    Ok(single)
}

/// What is needed to commit, once all parts are stored.
struct End {
    /// The manifest, as far as it was known before.
    draft: Manifest,
    seal: Sealing,
    keyboxes: Vec<Ours>,
    single: bool,
    command: Option<String>,
    content: u64,
    anew: Option<Anew>,
}

/// What was committed.
struct Committed {
    root: [u8; 32],
    seal: [u8; 32],
    totals: Totals,
    unconfirmed: bool,
}

impl End {
    /// Makes the manifest and creates it. `left` is what there is without it, at any time.
    #[allow(clippy::too_many_arguments, reason = "what is committed, where to, and who is told")]
    async fn commit(
        self,
        parts: Parts,
        left: &mut Left,
        store: &Store,
        options: &BackupOptions,
        destinations: &Destinations,
        context: &Context,
        observer: &Arc<dyn Observer>,
    ) -> Result<Committed> {
        let End { draft, seal, keyboxes, single, command, content, anew } = self;
        let id = draft.id.clone();
        let Finished { entries, mut totals, spooled } = parts.finish().await?;
        *left = Left::Parts(totals.parts);
        if spooled.is_none() {
            destinations.hold_it_alone(&id, &keyboxes, &entries, single, &context.cpu).await?;
        }
        let root = backstay_format::manifest::root(entries.iter().map(|entry| &entry.sha256));
        let hidden_size = options.hide_size
            || matches!(options.format, Format::Native { padding: Padding::Padme | Padding::Part, .. });
        let mut manifest = Manifest {
            finished: Some(rfc3339(context.now())),
            content: (!hidden_size).then_some(content),
            parts: entries,
            private: seal.private(options, command.as_deref(), context)?,
            unconfirmed: totals.unconfirmed,
            ..draft
        };
        if let Some(anew) = &anew {
            anew.describe(&mut manifest, &seal.keys, context)?;
        }
        let signing_key = match &options.format {
            Format::Native { signing_key, .. } => signing_key.as_ref(),
            Format::Openssl { .. } => None,
        };
        if context.interrupt.is_set() {
            return Err(Error::Interrupted { left: String::new() });
        }
        let count = manifest.parts.len();
        if matches!(options.format, Format::Openssl { single: false, .. }) && count > OPENSSL_MANY_PARTS as usize {
            let text = format!("{count} parts are more than a shell's command line may hold: take larger ones");
            observer.event(&Event::Warning { code: None, text });
        }
        let seal_key = seal.key();
        let (bytes, mut sealed) = manifest.encode(&seal_key, signing_key)?;
        let bytes = Bytes::from(bytes);
        let committed = match spooled {
            None => {
                *left = Left::Doubtful(totals.parts);
                destinations.commit(&id, &bytes, sha256(&bytes), &context.cpu).await?
            }
            Some(sender) => {
                manifest.unconfirmed = true;
                let (doubtful, its_seal) = manifest.encode(&seal_key, signing_key)?;
                sender.keep(store, &bytes, &Bytes::from(doubtful)).await?;
                *left = Left::InTheSpool;
                let (committed, after) = sender.send_and_commit(store, context).await?;
                (totals, sealed) = (after, if after.unconfirmed { its_seal } else { sealed });
                committed
            }
        };
        let unconfirmed = totals.unconfirmed || committed == Created::Unconfirmed;
        Ok(Committed { root, seal: sealed, totals, unconfirmed })
    }
}

/// The pipeline: everything from the source to the last part, in order, with bounded buffers.
#[allow(clippy::too_many_arguments, reason = "the stages of the pipeline, each named once")]
async fn stream_through(
    chunks: &mut Chunks,
    witness: &mut Witness,
    compressors: &Compressors,
    mut effort: Effort,
    mut packer: Packer,
    parts: &mut Parts,
    sizing: Sizing,
    checks: &Checks,
    context: &Context,
    observer: &Arc<dyn Observer>,
) -> Result<()> {
    let (recycle, held) = (chunks.recycle(), chunks.held());
    let level = effort.level();
    // One chunk waits for a thread, if all threads of the pool may compress. Otherwise one of the others would take it, with a context that is not in --memory.
    let workers = sizing.layout.workers;
    let ahead = if workers < context.cpu.cores() { workers } else { workers + 1 };
    let mut frames = pin!(
        stream::try_unfold((chunks, witness), |(chunks, witness)| async move {
            let chunk = match chunks.next().await? {
                Some(chunk) => {
                    witness.see(&chunk);
                    chunk
                }
                // The producer is done: is this what was to be backed up? An empty content is one empty frame.
                None => match witness.judge(checks)? {
                    Verdict::Good => return Ok(None),
                    Verdict::Empty => Vec::new(),
                },
            };
            Ok::<_, Error>(Some((chunk, (chunks, witness))))
        })
        .map_ok(|chunk| {
            let (compressors, level) = (compressors.clone(), level.load(Ordering::Relaxed));
            context.cpu.run(move || compressors.compress(chunk, level))
        })
        .try_buffered(ahead)
    );
    let mut content = 0;
    loop {
        let frame = tokio::select! {
            biased;
            frame = frames.try_next() => frame?,
            // A source may rest for hours, and what came from it need not.
            sent = parts.advance() => {
                sent?;
                observer.event(&progress(content, parts.totals()));
                continue;
            }
        };
        let Some(frame) = frame else { break };
        for part in packer.push(&frame)? {
            sizing.half_used(part.n).iter().for_each(|event| observer.event(event));
            let storing = Instant::now();
            if let Some(buffer) = parts.put(part).await? {
                packer.recycle(buffer);
            }
            effort.stored(storing.elapsed());
        }
        effort.compressed(Instant::now(), Duration::from_nanos(held.load(Ordering::Relaxed)));
        // A part that failed ends the run now, and not when so many others are in flight that one has to be waited for.
        parts.settle(|buffer| packer.recycle(buffer))?;
        content += frame.content as u64;
        recycle(frame.chunk);
        compressors.recycle(frame.frame);
        observer.event(&progress(content, parts.totals()));
    }
    while let Some(ended) = packer.end()? {
        for part in ended {
            parts.put(part).await?;
        }
    }
    parts.put(packer.finish()).await?;
    Ok(())
}

/// What is needed to pack parts, and later to make the manifest.
struct Prepared {
    packer: Packer,
    codec: Codec,
    seal: Sealing,
    /// Key slots that are objects of their own.
    detached: Vec<Vec<u8>>,
}

/// Draws the archive's secret and opens part 0.
fn prepare(id: &ArchiveId, options: &BackupOptions, layout: Layout, context: &Context) -> Result<Prepared> {
    match &options.format {
        Format::Native { aead, codec, encryption, padding, signing_key } => {
            if *padding != Padding::None && *codec == Codec::Gzip {
                return Err(Error::Usage { why: "sizes cannot be padded with the gzip codec".to_owned() });
            }
            if signing_key.is_some() && !encryption.has_slots() {
                return Err(Error::Usage {
                    why: "only archives for recipients or a passphrase can be signed".to_owned(),
                });
            }
            let locked = encryption.lock(context)?;
            let salt = context.random();
            let keys = Keys::derive(&locked.secret, &salt);
            let commit = keys.commit();
            let signature = signing_key.as_ref().map(|key| key.sign(&header_message(id, &salt, &commit)));
            let common = Common {
                salt,
                commit,
                aead: *aead,
                codec: *codec,
                seg: u32::try_from(layout::SEGMENT).expect("a segment has 64 KiB"),
                segs: layout.segs,
                keys: locked.attached,
                kind: Kind::Full,
                open: locked.open.then_some(locked.secret.0),
                signature,
            };
            let part_content = common.part_content();
            let random = context.clone();
            let sealer =
                Sealer::new(id.clone(), common.clone(), keys.clone(), Box::new(move |bytes| random.fill(bytes)))?;
            let head = Head { common, rest: sealer.rest().to_owned(), len: sealer.line_len() };
            Ok(Prepared {
                packer: Packer::native(sealer, *codec, *padding, part_content),
                codec: *codec,
                seal: Sealing { profile: Profile::Native(Box::new(head)), keys: SealKeys::Native(keys) },
                detached: locked.detached,
            })
        }
        Format::Openssl { kdf, password, single } => {
            let key = kdf.derive(password, Salt(context.random()));
            let most = if *single { u32::MAX } else { MOST_PARTS };
            let head = OpensslHead { kdf: *kdf, salt: key.salt(), gzip: true, single: *single };
            Ok(Prepared {
                packer: Packer::openssl(PartWriter::begin(&key, layout.part, most)),
                codec: Codec::Gzip,
                seal: Sealing { profile: Profile::Openssl(head), keys: SealKeys::Openssl(key) },
                detached: Vec::new(),
            })
        }
    }
}

/// Detached key slots come first: what is sealed could be opened from its first part on.
async fn store_keyboxes(destinations: &Destinations, id: &ArchiveId, detached: Vec<Vec<u8>>) -> Result<Vec<Ours>> {
    let mut keyboxes = Vec::new();
    for (m, slot) in (0..).zip(detached) {
        let ours = Ours { name: id.keybox(m), size: slot.len() as u64, sha256: sha256(&slot) };
        destinations.create(&ours.name, &Bytes::from(slot), ours.sha256, false).await?;
        keyboxes.push(ours);
    }
    Ok(keyboxes)
}

/// What there is of an archive that fails now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// So many parts, or more: those in flight may arrive.
    Parts(u32),
    /// So many parts, and perhaps the manifest, whose create has failed.
    Doubtful(u32),
    /// All of it: in the spool, which says so itself.
    InTheSpool,
}

/// The backup failed: ends the command and tells what is left over.
async fn give_up(
    error: Error,
    chunks: &mut Chunks,
    left: Left,
    id: &ArchiveId,
    spool: Option<&Spool>,
    observer: &Arc<dyn Observer>,
) -> Error {
    chunks.terminate().await;
    let text = match left {
        Left::Parts(0) => "nothing was committed".to_owned(),
        Left::Parts(parts) => format!(
            "nothing was committed; {parts} parts of {id} or more are left over, they are no backup: `backstay gc` finds them"
        ),
        Left::Doubtful(parts) => format!(
            "{parts} parts of {id} are left over; unless `backstay list` shows it nevertheless, they are no backup, and `backstay gc` finds them"
        ),
        Left::InTheSpool => return error,
    };
    if let Some(spool) = spool {
        // The next run clears it away otherwise.
        let _ = spool.discard(id).await;
    }
    match error {
        Error::Interrupted { .. } => Error::Interrupted { left: text },
        error => {
            observer.event(&Event::Note { text });
            error
        }
    }
}

#[cfg(test)]
mod tests;
