//! The story of the product: a stream goes in, an archive is committed.
//!
//! ```text
//! source ─► chunk (2 MiB) ─► compress ─► seal ─► part ─► conditional create ─► manifest = commit
//!          one reader        N cores     in order        U in flight           last, once
//! ```
//!
//! The manifest is the commit, so everything that can say that this is not a good backup is asked before it is created:
//! the producer's exit status, the end marker, the size, and the store about each part.

pub mod spool;

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use backstay_format::header::{Codec, Common, Head, Kind};
use backstay_format::manifest::{Converted, Manifest, OpensslHead, Profile, seal_private};
use backstay_format::openssl::{Kdf, KeyIv, PartWriter, Password, Salt};
use backstay_format::part::Sealer;
use backstay_format::schedule::{Keys, sha256};
use backstay_format::segment::Aead;
use backstay_format::signature::{SigningKey, header_message};
use backstay_format::{ArchiveId, Guid};
use backstay_store::{Created, Store};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use self::spool::Spool;
use self::spool::sender::{Line, Sender};
use crate::chunk::{Checks, Facts, Verdict, Watch, Witness};
use crate::claim::Ours;
use crate::compress::Compressors;
use crate::context::Context;
use crate::destinations::Destinations;
pub use crate::destinations::{Also, Missed};
use crate::effort::{Effort, Level};
use crate::error::{Error, Result};
use crate::keys::Encryption;
use crate::layout::{self, Layout, Wish};
use crate::observe::{Event, Observer};
use crate::pack::Packer;
pub use crate::pack::Padding;
use crate::parts::{Finished, Parts, Totals, progress};
use crate::policy::ReceiptLine;
use crate::source::{Chunks, Source};

/// The default part size of the openssl profile: fewer names on the stock restore command's line.
const OPENSSL_PART: u64 = 64 << 20;
/// Above so many parts that command's argument list becomes a problem.
const OPENSSL_MANY_PARTS: usize = 10_000;

/// How to make an archive.
#[derive(Debug)]
pub struct BackupOptions {
    /// The source's identity: its archives share it.
    pub guid: Guid,
    /// The source's name, for people.
    pub name: String,
    /// Keep name and tags in the sealed part of the manifest.
    pub hide_name: bool,
    /// Leave the content's length out of the manifest.
    pub hide_size: bool,
    /// Labels.
    pub tags: Vec<String>,
    /// What to write.
    pub format: Format,
    /// How hard to compress.
    pub level: Level,
    /// Bytes of memory that all buffers together may take.
    pub memory: u64,
    /// The nominal size of a part in bytes; chosen when `None`.
    pub part_size: Option<u64>,
    /// Uploads in flight, at most.
    pub uploads: usize,
    /// What the content must be.
    pub checks: Checks,
    /// How long the source may give nothing.
    pub stall: Duration,
    /// A second store, written in the same pass.
    pub also: Option<Also>,
    /// Where sealed parts wait for the store; not together with a second store.
    pub spool: Option<Arc<Spool>>,
    /// What the manifest calls the kind of source, instead of `stream` or `command`.
    pub source: Option<&'static str>,
    /// Further facts for the sealed part of the manifest, by name.
    pub facts: Facts,
    /// Who looks at the content and may find out more.
    pub watch: Option<Box<dyn Watch>>,
}

impl BackupOptions {
    /// The defaults for this source and format.
    pub fn new(guid: Guid, name: String, format: Format) -> BackupOptions {
        BackupOptions {
            guid,
            name,
            hide_name: false,
            hide_size: false,
            tags: Vec::new(),
            format,
            level: Level::Auto,
            memory: layout::MEMORY,
            part_size: None,
            uploads: layout::UPLOADS,
            checks: Checks::default(),
            stall: Duration::from_secs(24 * 3600),
            also: None,
            spool: None,
            source: None,
            facts: Facts::new(),
            watch: None,
        }
    }
}

/// What to write.
#[derive(Debug)]
pub enum Format {
    /// Backstay's own format.
    Native {
        /// The suite.
        aead: Aead,
        /// The codec.
        codec: Codec,
        /// Who can open it.
        encryption: Encryption,
        /// How its size is hidden.
        padding: Padding,
        /// Who signs it.
        signing_key: Option<SigningKey>,
    },
    /// What `openssl enc -d | gunzip` reads.
    Openssl {
        /// How the key follows from the password.
        kdf: Kdf,
        /// The password.
        password: Password,
        /// One object instead of parts.
        single: bool,
    },
}

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

/// The archive whose content is written anew, under its own id.
pub(crate) struct Anew {
    pub(crate) id: ArchiveId,
    /// Set once the content has ended and everything was right.
    pub(crate) facts: Arc<OnceLock<Inherited>>,
}

/// What the new manifest takes over from the old one.
pub(crate) struct Inherited {
    pub(crate) created: String,
    pub(crate) finished: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) private: Facts,
    pub(crate) converted: Converted,
}

impl Anew {
    /// Gives the manifest the old one's facts, the private ones too.
    fn describe(&self, manifest: &mut Manifest, keys: &SealKeys, context: &Context) -> Result<()> {
        let facts = self.facts.get().ok_or_else(|| Error::Internal {
            why: format!("the content of {} ended before it was known to be whole", self.id),
        })?;
        manifest.created.clone_from(&facts.created);
        manifest.finished.clone_from(&facts.finished);
        manifest.source.clone_from(&facts.source);
        manifest.name.clone_from(&facts.name);
        manifest.tags.clone_from(&facts.tags);
        manifest.converted = Some(facts.converted.clone());
        manifest.private = keys.sealed(&facts.private, context)?;
        Ok(())
    }
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
    for store in std::iter::once(store).chain(options.also.as_ref().map(|also| &also.store)) {
        store.takes_new_objects()?;
    }
    let wish = Wish {
        memory: options.memory,
        part: options.part_size.or(matches!(options.format, Format::Openssl { .. })
            .then_some(OPENSSL_PART)
            .filter(|part| 3 * part <= options.memory)),
        uploads: options.uploads,
        workers: context.cpu.cores(),
        spool: options.spool.is_some(),
    };
    let layout = Layout::choose(wish)?;
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
    let destinations = Destinations::new(store, options.also.as_ref(), &observer);
    // With a second store or a spool a backup goes on without this one.
    let needed = options.also.is_none() && options.spool.is_none();
    let created = context.now();
    let id = match &anew {
        Some(anew) => anew.id.clone(),
        None => {
            let id = next_id(&destinations, needed, &options.guid, context).await?;
            warn_of_the_clock(&id, created, &observer);
            id
        }
    };
    let command = source.command_line();
    let kind = options.source.unwrap_or_else(|| source.kind());
    observer.event(&Event::Started { id: id.clone(), plan: layout.to_string() });

    let Prepared { packer, codec, seal, keyboxes } = {
        let prepared = prepare(&destinations, &id, &options, layout, context).await;
        prepared.map_err(|error| destinations.verdict(error))?
    };
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
                    Parts::Spooled(Sender::begin(line, layout).await?)
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
        streamed = stream_through(&mut chunks, &mut witness, &compressors, effort, packer, &mut parts, layout, &options.checks, context, &observer) => streamed,
        () = context.interrupt.wait() => Err(Error::Interrupted { left: String::new() }),
    };
    if let Err(error) = streamed {
        if let Some(spool) = &options.spool {
            // The next run clears it away otherwise.
            let _ = spool.discard(&id).await;
        }
        return Err(give_up(destinations.verdict(error), &mut chunks, parts, &id, &observer).await);
    }
    let Finished { entries, mut totals, spooled } =
        parts.finish().await.map_err(|error| destinations.verdict(error))?;
    if spooled.is_none() {
        let alone = destinations.hold_it_alone(&id, &keyboxes, &entries, single, &context.cpu).await;
        alone.map_err(|error| destinations.verdict(error))?;
    }

    options.facts.extend(witness.facts());
    let seal_key = seal.key();
    let private = seal.private(&options, command, context)?;
    let root = backstay_format::manifest::root(entries.iter().map(|entry| &entry.sha256));
    let visible = !options.hide_name;
    let hidden_size =
        options.hide_size || matches!(options.format, Format::Native { padding: Padding::Padme | Padding::Part, .. });
    let mut manifest = Manifest {
        id: id.clone(),
        profile: seal.profile,
        kind: Kind::Full,
        created: rfc3339(created),
        finished: Some(rfc3339(context.now())),
        source: Some(kind.to_owned()),
        name: visible.then(|| options.name.clone()),
        tags: if visible { options.tags.clone() } else { Vec::new() },
        converted: None,
        content: (!hidden_size).then_some(witness.length()),
        first: 0,
        parts: entries,
        needs: Vec::new(),
        private,
        detached: !keyboxes.is_empty(),
        unconfirmed: totals.unconfirmed,
    };
    if let Some(anew) = &anew {
        anew.describe(&mut manifest, &seal.keys, context)?;
    }
    let signing_key = match &options.format {
        Format::Native { signing_key, .. } => signing_key.as_ref(),
        Format::Openssl { .. } => None,
    };
    if context.interrupt.is_set() {
        return Err(Error::Interrupted { left: left_over(&id, totals.parts) });
    }
    let count = manifest.parts.len();
    if matches!(options.format, Format::Openssl { single: false, .. }) && count > OPENSSL_MANY_PARTS {
        let text = format!("{count} parts are more than a shell's command line may hold: take larger ones");
        observer.event(&Event::Warning { code: None, text });
    }
    let (bytes, mut sealed) = manifest.encode(&seal_key, signing_key);
    let committed = match spooled {
        None => {
            let digest = sha256(&bytes);
            let committed = destinations.commit(&id, &Bytes::from(bytes), digest, &context.cpu).await;
            committed.map_err(|error| destinations.verdict(error))?
        }
        Some(sender) => {
            manifest.unconfirmed = true;
            let (doubtful, its_seal) = manifest.encode(&seal_key, signing_key);
            let (committed, after) = sender.finish(Bytes::from(bytes), Bytes::from(doubtful), store, context).await?;
            (totals, sealed) = (after, if after.unconfirmed { its_seal } else { sealed });
            committed
        }
    };
    let receipt = Receipt {
        id,
        root,
        seal: sealed,
        stored: totals.stored,
        content: witness.length(),
        parts: totals.parts,
        unconfirmed: totals.unconfirmed || committed == Created::Unconfirmed,
        missed: destinations.missed(),
        elapsed: begun.elapsed(),
    };
    observer.event(&Event::Committed(receipt.clone()));
    Ok(receipt)
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
    layout: Layout,
    checks: &Checks,
    context: &Context,
    observer: &Arc<dyn Observer>,
) -> Result<()> {
    let (recycle, held) = (chunks.recycle(), chunks.held());
    let level = effort.level();
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
        .try_buffered(layout.workers + 1)
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

/// A time as manifests state it: RFC 3339, UTC, whole seconds.
pub(crate) fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What is needed to pack parts, and later to make the manifest.
struct Prepared {
    packer: Packer,
    codec: Codec,
    seal: Sealing,
    /// Detached slots, which are stored already.
    keyboxes: Vec<Ours>,
}

/// What the manifest says about the profile, and the keys that seal it.
struct Sealing {
    profile: Profile,
    keys: SealKeys,
}

enum SealKeys {
    Native(Keys),
    Openssl(KeyIv),
}

impl Sealing {
    fn key(&self) -> [u8; 32] {
        match &self.keys {
            SealKeys::Native(keys) => keys.seal(),
            SealKeys::Openssl(key) => *key.seal_key().as_bytes(),
        }
    }

    /// The facts that only the key's holder may read.
    fn private(&self, options: &BackupOptions, command: Option<String>, context: &Context) -> Result<Option<Vec<u8>>> {
        let mut facts = options.facts.clone();
        facts.extend(facts_of_this_host());
        if let Some(command) = command {
            facts.insert("command".to_owned(), command.into());
        }
        if options.hide_name {
            facts.insert("name".to_owned(), options.name.as_str().into());
            facts.insert("tags".to_owned(), options.tags.clone().into());
        }
        self.keys.sealed(&facts, context)
    }
}

impl SealKeys {
    /// These facts as only the key's holder may read them.
    fn sealed(&self, facts: &Facts, context: &Context) -> Result<Option<Vec<u8>>> {
        match self {
            SealKeys::Native(keys) => Ok(Some(sealed_facts(keys, facts, context)?)),
            SealKeys::Openssl(_) => Ok(None),
        }
    }
}

/// Where and by what a document was made.
pub(crate) fn facts_of_this_host() -> [(String, serde_json::Value); 2] {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    [("host".to_owned(), host.into()), ("version".to_owned(), env!("CARGO_PKG_VERSION").into())]
}

/// The private part of a document.
pub(crate) fn sealed_facts(keys: &Keys, facts: &Facts, context: &Context) -> Result<Vec<u8>> {
    let json = serde_json::to_string(facts).map_err(|error| Error::Internal { why: error.to_string() })?;
    Ok(seal_private(keys, context.random(), &json))
}

/// Draws the archive's secret, writes detached slots, and opens part 0.
async fn prepare(
    destinations: &Destinations,
    id: &ArchiveId,
    options: &BackupOptions,
    layout: Layout,
    context: &Context,
) -> Result<Prepared> {
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
            let mut keyboxes = Vec::new();
            for (m, slot) in (0..).zip(locked.detached) {
                let ours = Ours { name: id.keybox(m), size: slot.len() as u64, sha256: sha256(&slot) };
                destinations.create(&ours.name, &Bytes::from(slot), ours.sha256, false).await?;
                keyboxes.push(ours);
            }
            Ok(Prepared {
                packer: Packer::native(sealer, *codec, *padding, part_content),
                codec: *codec,
                seal: Sealing { profile: Profile::Native(Box::new(head)), keys: SealKeys::Native(keys) },
                keyboxes,
            })
        }
        Format::Openssl { kdf, password, single } => {
            let key = kdf.derive(password, Salt(context.random()));
            let part_size = options.part_size.unwrap_or_else(|| layout.part_size());
            let head = OpensslHead { kdf: *kdf, salt: key.salt(), gzip: true, single: *single };
            Ok(Prepared {
                packer: Packer::openssl(PartWriter::begin(&key, part_size)),
                codec: Codec::Gzip,
                seal: Sealing { profile: Profile::Openssl(head), keys: SealKeys::Openssl(key) },
                keyboxes: Vec::new(),
            })
        }
    }
}

/// An id for an archive that begins now: later than every other of this process and, as far as the stores let themselves be
/// listed, than every other of this guid.
pub(crate) async fn next_id(
    destinations: &Destinations,
    needed: bool,
    guid: &Guid,
    context: &Context,
) -> Result<ArchiveId> {
    let mut millis = context.millis()?;
    let now = format!("{guid}-{millis}");
    for store in destinations.stores() {
        let mut later = store.list(&format!("{guid}-"), Some(&now));
        while let Some(object) = later.next().await {
            let object = match object {
                Ok(object) => object,
                // Nothing would reach it later either, after as much patience again.
                Err(error) if error.is_retryable() && needed => return Err(error.into()),
                // A writer's credentials may not allow listing, and a store that is not there yet lists nothing.
                Err(_) => break,
            };
            if let Some(id) = backstay_format::ObjectName::parse(&object.name).id() {
                millis = millis.max(id.millis() + 1);
            }
        }
    }
    Ok(ArchiveId::new(guid, context.issue(millis))?)
}

/// What the clocks of writers may differ by without a word.
const CLOCK_TOLERANCE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// An id that had to be put behind an archive of the future: its time is not to be relied on, nor that of all that follow.
fn warn_of_the_clock(id: &ArchiveId, now: jiff::Timestamp, observer: &Arc<dyn Observer>) {
    let Some(time) = i64::try_from(id.millis()).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
    else {
        return;
    };
    if time.duration_since(now) > CLOCK_TOLERANCE {
        let (time, now) = (rfc3339(time), rfc3339(now));
        let text = format!(
            "the store has an archive of this source from {time}, and by the clock of this machine it is {now}: one of the two is wrong; to keep the order, this archive is dated {time} too"
        );
        observer.event(&Event::Warning { code: None, text });
    }
}

/// The backup failed: ends the command and tells what is left over. Nothing was committed.
async fn give_up(
    error: Error,
    chunks: &mut Chunks,
    parts: Parts,
    id: &ArchiveId,
    observer: &Arc<dyn Observer>,
) -> Error {
    chunks.terminate().await;
    let Totals { parts, .. } = parts.totals();
    let left = left_over(id, parts);
    match error {
        Error::Interrupted { .. } => Error::Interrupted { left },
        error => {
            observer.event(&Event::Note { text: left });
            error
        }
    }
}

fn left_over(id: &ArchiveId, parts: u32) -> String {
    match parts {
        0 => "nothing was committed".to_owned(),
        _ => format!(
            "nothing was committed; {parts} parts of {id} or more are left over, they are no backup: `backstay gc` finds them"
        ),
    }
}
