//! `copy --to-format native` and `copy --reencrypt`: an archive written anew in another store, under its own id.
//!
//! ```text
//! fetch ─► decrypt ─► decode ─► the pipeline of a backup ─► manifest = commit
//! every check of a restore        fresh secret, salt          only after the last check
//! ```
//!
//! What the old archive says of itself goes along, another backup manager's document too (`spec/archive.md` §12.5). An archive that fails at its
//! very end, as one of the openssl profile can only do, leaves parts without a manifest. These cannot be continued, since the secret that they
//! were sealed with is gone.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use backstay_format::header::Kind;
use backstay_format::key::Keyring;
use backstay_format::manifest::{self, MAX_DOCUMENT, Manifest, Profile, open_private};
use backstay_format::text::to_base64;
use backstay_format::{ArchiveId, Error as Fault, ObjectName, openssl};
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc as relay;

use crate::archive::{Archive, Committed, Lines, Located, Object, Objects, first_bytes};
use crate::backup::{Anew, BackupOptions, Format, Inherited, Padding, Receipt, rfc3339, write};
use crate::chunk::{Checks, Facts};
use crate::context::Context;
use crate::copy::{CopyOptions, copy};
use crate::decode::Decoder;
use crate::effort::Level;
use crate::error::{Error, Result};
use crate::fetch::{Fetcher, Piece};
use crate::gc;
use crate::observe::{Observer, Silent};
use crate::policy::{OpensslReading, ProfileName, ReadPolicy};
use crate::restore::{RestoreOptions, fetcher};
use crate::source::Source;

/// Pieces of content between the decoder and the thread that reads them.
const RELAYED: usize = 4;

/// How to write an archive anew.
#[derive(Debug)]
pub struct ConvertOptions {
    /// The new archive's format: [`Format::Native`].
    pub format: Format,
    /// How hard to compress.
    pub level: Level,
    /// Bytes of memory that all buffers together may take.
    pub memory: u64,
    /// The nominal size of a part in bytes; chosen when `None`.
    pub part_size: Option<u64>,
    /// Transfers in flight, at most, in each direction.
    pub transfers: usize,
    /// How archives of the openssl profile are read.
    pub openssl: OpensslReading,
    /// Write archives anew that are native already, for other recipients. Without it they are copied byte for byte.
    pub reencrypt: bool,
    /// Delete what an interrupted run left in the target. Nobody else may be converting the same archive.
    pub restart: bool,
}

/// What became of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was written anew.
    Converted,
    /// It was there: its manifest says that it was made of this very archive.
    There,
    /// It was native already, and is copied byte for byte.
    Copied,
}

/// What is in the target now.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// The archive.
    pub id: ArchiveId,
    /// What it was.
    pub from: ProfileName,
    /// What became of it.
    pub outcome: Outcome,
    /// Its parts in the target.
    pub parts: u32,
    /// Their bytes.
    pub stored: u64,
    /// Bytes that had to be sent.
    pub sent: u64,
    /// Bytes of content, where they are known.
    pub content: Option<u64>,
    /// The new archive's receipt, if it was written now.
    pub receipt: Option<Receipt>,
    /// Whether every byte that was read was proved to be what a key's holder wrote. Without a seal only checksums vouch for it.
    pub authentic: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Writes an archive anew as a native one, in another store and under its own id.
///
/// # Errors
/// Those of reading the archive and of writing one; `usage.arguments` for an archive that needs others, and a document that is too long to be
/// kept; `name.taken` when the target has something else under the id, as the store that the archive is in has. After an error the target has no
/// manifest that it did not have before.
pub async fn convert(
    from: &Store,
    to: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    options: ConvertOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Conversion> {
    let begun = Instant::now();
    let refuse = |why: String| Err(Error::Usage { why });
    to.takes_new_objects()?;
    // Of which profile it is has to be known before a key is looked for, and no profile is suspicious here: the caller wants it changed.
    let located = Located::find(from, id, &Keyring::default(), &ReadPolicy::default()).await?;
    let profile = located.profile;
    if profile == ProfileName::Native && !options.reencrypt {
        let options = CopyOptions { memory: options.memory, transfers: options.transfers };
        let copied = copy(from, to, id, &options, context, observer).await?;
        return Ok(Conversion {
            id: id.clone(),
            from: profile,
            outcome: Outcome::Copied,
            parts: copied.parts,
            stored: copied.stored,
            sent: copied.sent,
            content: None,
            receipt: None,
            authentic: copied.checked,
            elapsed: begun.elapsed(),
        });
    }
    let old = Old::of(&located)?;
    if let Some(there) = survey(to, id, &old).await?.settle(to, id, options.restart, context).await? {
        return Ok(Conversion {
            id: id.clone(),
            from: profile,
            outcome: Outcome::There,
            parts: u32::try_from(there.parts.len()).unwrap_or(u32::MAX),
            stored: there.stored(),
            sent: 0,
            content: there.content,
            receipt: None,
            authentic: old.manifest.is_some(),
            elapsed: begun.elapsed(),
        });
    }
    let policy = ReadPolicy { format: Some(profile), openssl: options.openssl, ..ReadPolicy::default() };
    let archive = located.unlock(from, keyring, &policy, Lines::Stored).await?;
    let private = old.private(&archive)?;

    // Reading and writing share the memory.
    let memory = options.memory / 2;
    let reading = RestoreOptions { memory, fetches: options.transfers, ..RestoreOptions::default() };
    let silent: Arc<dyn Observer> = Arc::new(Silent);
    let fetcher = fetcher(from, &reading, context, &silent);
    let facts = Arc::new(OnceLock::new());
    let (relay, content) = Relay::new();
    let read = old.read(&archive, &fetcher, memory, relay, &facts, private, context);
    let (guid, name) = (id.guid(), old.manifest.as_ref().and_then(|manifest| manifest.name.clone()));
    let hide_size = old.manifest.as_ref().is_some_and(|manifest| manifest.content.is_none());
    let format = match options.format {
        // Whoever hid the size once did not mean it to be seen in the new store.
        Format::Native { aead, codec, encryption, padding: Padding::None, signing_key } if hide_size => {
            Format::Native { aead, codec, encryption, padding: Padding::Padme, signing_key }
        }
        native @ Format::Native { .. } => native,
        Format::Openssl { .. } => return refuse("archives are written anew in the native format only".to_owned()),
    };
    let options = BackupOptions {
        level: options.level,
        memory,
        part_size: options.part_size,
        // What is compressed already does not become much longer.
        expected: Some(old.stored()),
        uploads: options.transfers,
        checks: Checks { allow_empty: true, ..Checks::default() },
        hide_size,
        ..BackupOptions::new(guid, name.unwrap_or_default(), format)
    };
    let anew = Anew { id: id.clone(), facts: Arc::clone(&facts) };
    let written = write(to, Source::Reader(Box::new(content)), options, Some(anew), context, observer);
    let (written, read) = tokio::join!(written, read);
    // Without the content there is nothing to write: what kept it from coming is what went wrong.
    read?;
    let receipt = written?;
    Ok(Conversion {
        id: id.clone(),
        from: profile,
        outcome: Outcome::Converted,
        parts: receipt.parts,
        stored: receipt.stored,
        sent: receipt.stored,
        content: Some(receipt.content),
        receipt: Some(receipt),
        authentic: archive.is_authentic(),
        elapsed: begun.elapsed(),
    })
}

/// The archive that is read, as far as it is known without its key.
struct Old {
    id: ArchiveId,
    profile: ProfileName,
    parts: Vec<Object>,
    manifest: Option<Manifest>,
    document: Option<Vec<u8>>,
}

impl Old {
    fn of(located: &Located) -> Result<Old> {
        let id = located.id.clone();
        let refuse = |why: &str| Err(Error::Usage { why: format!("{id} cannot be written anew: {why}") });
        let manifest = located.committed.sealed().map(|sealed| sealed.manifest.clone());
        if manifest.as_ref().is_some_and(|manifest| manifest.kind != Kind::Full) {
            return refuse("others need it, or it needs them, by the digest that it has now; copy it byte for byte");
        }
        let document = match &located.committed {
            Committed::Foreign(bytes) if bytes.len() as u64 > MAX_DOCUMENT => {
                return refuse("the document beside it is longer than 1 MiB, and could not be kept");
            }
            Committed::Foreign(bytes) => Some(bytes.clone()),
            _ => None,
        };
        Ok(Old { profile: located.profile, parts: located.present().to_vec(), manifest, document, id })
    }

    fn stored(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// Whether a manifest says that its archive was made of this one. The digests of an archive without a seal are known only when all of
    /// it has been read, so there number and sizes have to do.
    fn became(&self, new: &Manifest) -> bool {
        new.converted.as_ref().is_some_and(|converted| {
            converted.profile == self.profile.to_string()
                && converted.objects == self.parts.len() as u64
                && converted.stored == self.stored()
                && self.manifest.as_ref().is_none_or(|old| old.root() == converted.root)
        })
    }

    /// The facts that only the key's holder may read.
    fn private(&self, archive: &Archive) -> Result<Facts> {
        let mut facts = match (archive, self.manifest.as_ref().and_then(|manifest| manifest.private.as_ref())) {
            (Archive::Native(native), Some(private)) => {
                let object = self.id.manifest();
                let json = open_private(&native.keys, private, &object)?;
                serde_json::from_str(&json).map_err(|error| Fault::ManifestInvalid {
                    object,
                    why: format!("its private details are not what they should be: {error}"),
                })?
            }
            _ => Facts::new(),
        };
        if let Some(document) = &self.document {
            facts.insert("document".to_owned(), to_base64(document).into());
        }
        Ok(facts)
    }

    /// What the new manifest takes over.
    fn facts(&self, root: [u8; 32], private: Facts, context: &Context) -> Result<Inherited> {
        let converted = manifest::Converted {
            profile: self.profile.to_string(),
            root,
            objects: self.parts.len() as u64,
            stored: self.stored(),
            at: rfc3339(context.now()),
        };
        Ok(match &self.manifest {
            Some(old) => Inherited {
                created: old.created.clone(),
                finished: old.finished.clone(),
                source: old.source.clone(),
                name: old.name.clone(),
                tags: old.tags.clone(),
                private,
                converted,
            },
            None => {
                let millis = i64::try_from(self.id.millis()).unwrap_or(i64::MAX);
                let created = jiff::Timestamp::from_millisecond(millis)
                    .map_err(|error| Error::Internal { why: error.to_string() })?;
                let (finished, source, name, tags) = (None, None, None, Vec::new());
                Inherited { created: rfc3339(created), finished, source, name, tags, private, converted }
            }
        })
    }

    /// Reads the archive to its end and hands its content over. Only when everything was right are the facts set, and only then is the content
    /// said to have ended.
    #[allow(clippy::too_many_arguments, reason = "what is read, with what, and where to")]
    async fn read(
        &self,
        archive: &Archive,
        fetcher: &Fetcher,
        memory: u64,
        mut relay: Relay,
        facts: &OnceLock<Inherited>,
        private: Facts,
        context: &Context,
    ) -> Result<()> {
        let (feed, pieces) = mpsc::channel(1);
        let root = OnceLock::new();
        let (decoder, feed) = match archive {
            Archive::Native(native) => {
                let codec = native.header.common.codec;
                (Decoder::native(codec, fetcher.inner(native), &context.cpu, None), None)
            }
            Archive::Openssl(openssl) => {
                let sealed = openssl.manifest.is_some();
                // Each part of a sealed one is compared with its digest before anything of it comes out.
                let pieces = if sealed { fetcher.cipher(openssl, memory / 2) } else { pieces.boxed() };
                let decoder = Decoder::openssl(openssl.key.clone(), openssl.gzip, pieces, &context.cpu, None);
                (decoder, (!sealed).then_some(feed))
            }
        };
        if let Some(manifest) = &self.manifest {
            let _ = root.set(manifest.root());
        }
        let digesting = async {
            if let Some(feed) = feed {
                digest_along(&self.parts, fetcher, feed, &root).await;
            }
        };
        let expected = self.manifest.as_ref().and_then(|manifest| manifest.content);
        let ((), decoded) = tokio::join!(digesting, decode(decoder, expected, &mut relay));
        match decoded {
            Ok(true) => {
                let root =
                    root.get().ok_or_else(|| Error::Internal { why: "the digests are not complete".to_owned() })?;
                let _ = facts.set(self.facts(*root, private, context)?);
                relay.end().await;
                Ok(())
            }
            // The writer has gone, and says itself why.
            Ok(false) => Ok(()),
            Err(error) => {
                relay.fail(&error).await;
                Err(error)
            }
        }
    }
}

/// Passes the stored objects on, digests them on the way, and sets the root when all have gone by.
async fn digest_along(
    parts: &[Object],
    fetcher: &Fetcher,
    mut feed: mpsc::Sender<Result<Piece>>,
    root: &OnceLock<[u8; 32]>,
) {
    let mut digests = Vec::new();
    for part in parts {
        match digest_part(part, fetcher, &mut feed).await {
            Ok(Some(digest)) => digests.push(digest),
            // A decoder that has found a fault takes no more, and its fault is the one that counts.
            Ok(None) => return,
            Err(error) => {
                let _ = feed.send(Err(error)).await;
                return;
            }
        }
    }
    let _ = root.set(manifest::root(digests.iter()));
}

async fn digest_part(
    part: &Object,
    fetcher: &Fetcher,
    feed: &mut mpsc::Sender<Result<Piece>>,
) -> Result<Option<[u8; 32]>> {
    let mut hashed = fetcher.hashed(part);
    while let Some(piece) = hashed.next().await? {
        if feed.send(Ok(piece)).await.is_err() {
            return Ok(None);
        }
    }
    Ok(Some(hashed.finish()))
}

/// Decodes to the end. False when nobody takes the content any more.
async fn decode(mut decoder: Decoder, expected: Option<u64>, relay: &mut Relay) -> Result<bool> {
    let mut found = 0;
    while let Some(piece) = decoder.next().await? {
        found += piece.len() as u64;
        if !relay.pass(piece).await {
            return Ok(false);
        }
    }
    match expected {
        Some(expected) if expected != found => Err(Fault::StreamContent { found, expected }.into()),
        _ => Ok(true),
    }
}

/// Content on its way to the thread that reads it. Its end is said in so many words: a sender that is dropped has said nothing.
struct Relay(relay::Sender<Step>);

enum Step {
    Content(Bytes),
    End,
    Failed(String),
}

impl Relay {
    fn new() -> (Relay, Relayed) {
        let (sender, steps) = relay::channel(RELAYED);
        (Relay(sender), Relayed { steps, current: Bytes::new(), ended: false })
    }

    async fn pass(&mut self, bytes: Bytes) -> bool {
        self.0.send(Step::Content(bytes)).await.is_ok()
    }

    async fn end(self) {
        // A writer that has gone says itself why.
        let _ = self.0.send(Step::End).await;
    }

    async fn fail(self, error: &Error) {
        let _ = self.0.send(Step::Failed(error.to_string())).await;
    }
}

/// The other side of a [`Relay`].
struct Relayed {
    steps: relay::Receiver<Step>,
    current: Bytes,
    ended: bool,
}

impl Read for Relayed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.steps.blocking_recv() {
                Some(Step::Content(bytes)) => self.current = bytes,
                Some(Step::End) => self.ended = true,
                Some(Step::Failed(why)) => return Err(io::Error::other(why)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// What the target has under the id.
enum There {
    Nothing,
    /// Parts or keyboxes of the native format that nothing commits.
    Leftovers,
    /// This archive, written anew before.
    Done(Box<Manifest>),
    /// Something else, in words.
    Other(&'static str),
}

async fn survey(to: &Store, id: &ArchiveId, old: &Old) -> Result<There> {
    let mut names = Vec::new();
    let mut listing = to.list(id.as_str(), None);
    loop {
        match listing.try_next().await {
            Ok(Some(object)) if ObjectName::parse(&object.name).id() == Some(id) => names.push(object.name),
            Ok(Some(_)) => {}
            Ok(None) => break,
            // The first object makes the directory.
            Err(StoreError::StoreMissing { .. }) if to.is_local() => return Ok(There::Nothing),
            // Whoever may only write finds out what is there by writing.
            Err(StoreError::Denied { .. }) => return Ok(There::Nothing),
            Err(error) => return Err(error.into()),
        }
    }
    drop(listing);
    if !names.iter().any(|name| {
        matches!(
            ObjectName::parse(name),
            ObjectName::Part { .. } | ObjectName::Single(_) | ObjectName::Manifest(_) | ObjectName::Keybox(..)
        )
    }) {
        return Ok(There::Nothing);
    }
    let objects = match Objects::list(to, id).await {
        // Keyboxes alone: they go before the first part.
        Err(Error::ArchiveNotFound { .. }) => return Ok(There::Leftovers),
        objects => objects?,
    };
    match Committed::load(to, id, &objects).await {
        Ok(Committed::Sealed(sealed)) if old.became(&sealed.manifest) => {
            // Complete in number and size, too.
            Located::find(to, id, &Keyring::default(), &ReadPolicy::default()).await?;
            Ok(There::Done(Box::new(sealed.manifest)))
        }
        Ok(Committed::Sealed(sealed)) if matches!(sealed.manifest.profile, Profile::Openssl(_)) => {
            Ok(There::Other("it is there in the openssl format"))
        }
        Ok(Committed::Sealed(_)) => Ok(There::Other("it is another archive, or was made of another one")),
        Ok(Committed::Foreign(_)) => Ok(There::Other("it is there as another backup manager wrote it")),
        Ok(Committed::Nothing | Committed::Damaged) if objects.single.is_some() => {
            Ok(There::Other("it is there in the openssl format"))
        }
        Ok(Committed::Nothing | Committed::Damaged)
            if first_bytes(to, objects.stream(), openssl::MAGIC.len()).await? == openssl::MAGIC =>
        {
            Ok(There::Other("it is there in the openssl format"))
        }
        Ok(Committed::Nothing | Committed::Damaged) | Err(Error::Format(Fault::ArchiveUncommitted { .. })) => {
            Ok(There::Leftovers)
        }
        Err(error) => Err(error),
    }
}

impl There {
    /// Makes room, if it may; gives the archive, if it is there.
    async fn settle(
        self,
        to: &Store,
        id: &ArchiveId,
        restart: bool,
        context: &Context,
    ) -> Result<Option<Box<Manifest>>> {
        let store = to.url().to_owned();
        match self {
            There::Nothing => Ok(None),
            There::Done(manifest) => Ok(Some(manifest)),
            There::Other(what) => Err(Error::WrittenAlready { id: id.to_string(), store, what }),
            There::Leftovers if !restart => Err(Error::ConversionLeft { id: id.to_string(), store }),
            There::Leftovers => {
                gc::give_up(to, id, context).await?;
                Ok(None)
            }
        }
    }
}
