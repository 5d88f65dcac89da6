//! Putting an archive back together: a manifest from the parts alone, or the parts joined to one file.
//!
//! The parts say everything but `needs`, name, tags and times, so a lost manifest is rebuilt by reading all of them with the
//! key: every check of a restore without the manifest is made on the way (`spec/archive.md` §15). An archive whose
//! manifest is right is left alone, and so is another manager's document.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use backstay_format::header::{Head, Kind};
use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, OpensslHead, PartEntry, Profile};
use backstay_format::part::Place;
use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::Store;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _};
use zeroize::Zeroizing;

use crate::archive::{Archive, Lines, Located, Native, Object, Openssl};
use crate::backup::{Receipt, rfc3339};
use crate::context::Context;
use crate::decode::Decoder;
use crate::error::{Error, Result};
use crate::fetch::{Fetcher, Piece, digest_fault};
use crate::observe::{Event, Observer};
use crate::partial::PartialFile;
use crate::policy::{ReadPolicy, ReceiptLine};
use crate::restore::{RestoreOptions, fetcher};
use crate::scan::Step;

/// How to put an archive back together.
#[derive(Debug, Clone, Default)]
pub struct ReassembleOptions {
    /// What is accepted. A root or a receipt is demanded of the parts; the seal of a receipt was that of the lost manifest, and nothing
    /// can have it again. A seal cannot be demanded.
    pub policy: ReadPolicy,
    /// Delete a manifest that is damaged and create the new one in its place.
    pub replace: bool,
    /// Join the parts to this file instead.
    pub join: Option<PathBuf>,
    /// The source's name for the new manifest; the parts do not know it.
    pub name: Option<String>,
}

/// What was put back together.
#[derive(Debug, Clone)]
pub struct Reassembled {
    /// The archive.
    pub id: ArchiveId,
    /// Its parts.
    pub parts: u32,
    /// Their stored bytes.
    pub stored: u64,
    /// The receipt of the new manifest.
    pub receipt: Option<Receipt>,
    /// The file that the parts were joined to.
    pub joined: Option<PathBuf>,
}

/// Rebuilds the manifest of an archive, or joins its parts.
///
/// # Errors
/// Every check of a restore without the manifest; `manifest.root` when the parts are not those of the root or receipt that was demanded;
/// `usage.arguments` when there is nothing to rebuild, when a part is empty, when a seal is demanded, or when the archive is not full, since its ancestors are not
/// in its parts; `key.signer` and `part.digest` when parts are joined; `io.failed` for the joined file.
pub async fn reassemble(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    options: &ReassembleOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Reassembled> {
    let begun = Instant::now();
    let demanded = &options.policy;
    if demanded.require_seal {
        let why = match &options.join {
            Some(_) => "a seal cannot be demanded of parts that are joined: it takes the key to prove one",
            None => "a seal cannot be demanded of a manifest that is made anew: the old one is lost with its seal",
        };
        return Err(Error::Usage { why: why.to_owned() });
    }
    // The root is that of the parts, and judged when all of them are read.
    let policy =
        ReadPolicy { no_manifest: true, this_stream_only: true, root: None, receipt: None, ..demanded.clone() };
    let reading = RestoreOptions { memory: context.memory, ..RestoreOptions::default() };
    let fetcher = fetcher(store, &reading, context, &observer);
    if let Some(path) = &options.join {
        return join(store, id, keyring, demanded, &fetcher, path, context).await;
    }
    let located = Located::find(store, id, keyring, &policy).await?;
    let parts = u32::try_from(located.present().len()).unwrap_or(u32::MAX);
    let stored = located.present().iter().map(|part| part.size).sum();
    let mut done = Reassembled { id: id.clone(), parts, stored, receipt: None, joined: None };
    let keyboxes = !located.objects.keyboxes.is_empty();
    let archive = located.unlock(store, keyring, &policy, Lines::Stored).await?;

    let seal_key = match &archive {
        Archive::Native(native) => native.keys.seal(),
        Archive::Openssl(openssl) => Zeroizing::new(*openssl.key.seal_key().as_bytes()),
    };
    judge_standing(store, &archive, &seal_key, options.replace).await?;
    let (profile, entries, content) = match &archive {
        Archive::Native(native) => read_native(native, &fetcher, context).await?,
        Archive::Openssl(openssl) => read_openssl(openssl, &fetcher, context).await?,
    };
    judge_root(id, demanded, entries.iter().map(|part| &part.sha256), stored)?;
    // It was read, and is nothing of the stream.
    if let Some(empty) = archive.parts().iter().find(|part| part.size == 0) {
        let why =
            format!("{} is empty, and a manifest lists no empty part: if it is the last one, delete it", empty.name);
        return Err(Error::Usage { why });
    }
    // Whoever wrote it with a raw key, and let a reader in later, is taken for one who relied on keyboxes.
    let detached = keyboxes
        && matches!(&archive, Archive::Native(native) if native.header.common.keys.is_empty() && native.header.common.open.is_none());
    let millis = i64::try_from(id.millis()).unwrap_or(i64::MAX);
    let created =
        jiff::Timestamp::from_millisecond(millis).map_err(|error| Error::Internal { why: error.to_string() })?;
    let manifest = Manifest {
        id: id.clone(),
        profile,
        kind: Kind::Full,
        created: rfc3339(created),
        finished: None,
        source: None,
        name: options.name.clone(),
        tags: Vec::new(),
        converted: None,
        content: Some(content),
        first: archive.parts().first().map_or(0, |first| first.n),
        parts: entries,
        needs: Vec::new(),
        private: None,
        detached,
        unconfirmed: false,
    };
    let (bytes, seal) = manifest.encode(&seal_key, None)?;
    // Hours may have passed, and the good one may be back.
    if judge_standing(store, &archive, &seal_key, options.replace).await? {
        store.delete(&id.manifest()).await?;
    }
    let digest = sha256(&bytes);
    store.create(&id.manifest(), Bytes::from(bytes), digest).await?;
    let receipt = Receipt {
        id: id.clone(),
        root: manifest.root(),
        seal,
        stored,
        content,
        parts,
        unconfirmed: false,
        missed: Vec::new(),
        elapsed: begun.elapsed(),
    };
    observer.event(&Event::Committed(receipt.clone()));
    done.receipt = Some(receipt);
    Ok(done)
}

/// Demands that parts with these digests are those of the root or receipt that the caller names.
fn judge_root<'a>(
    id: &ArchiveId,
    demanded: &ReadPolicy,
    digests: impl Iterator<Item = &'a [u8; 32]>,
    stored: u64,
) -> Result<()> {
    let root = backstay_format::manifest::root(digests);
    let other = |found: String, expected: String| {
        Err(Error::Unmet(Fault::ManifestRoot { object: id.manifest(), found, expected }))
    };
    if let Some(expected) = demanded.root.filter(|expected| *expected != root) {
        return other(to_hex(&root), to_hex(&expected));
    }
    let Some(expected) = &demanded.receipt else { return Ok(()) };
    let found = ReceiptLine { id: id.clone(), root, stored, ..expected.clone() };
    if found == *expected { Ok(()) } else { other(found.to_string(), expected.to_string()) }
}

/// Whether a manifest stands in the way, and may be replaced.
async fn judge_standing(store: &Store, archive: &Archive, seal_key: &[u8; 32], replace: bool) -> Result<bool> {
    let id = archive.id();
    let refuse = |why: &str| Err(Error::Usage { why: format!("{} {why}", id.manifest()) });
    if let Archive::Native(native) = archive
        && native.header.common.kind != Kind::Full
    {
        return refuse("cannot be rebuilt: the archive needs others, and its parts do not say which");
    }
    let bytes = match store.get(&id.manifest(), MAX_MANIFEST).await {
        Ok(None) => return Ok(false),
        Ok(Some(bytes)) => Some(bytes),
        Err(backstay_store::Error::TooLarge { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match bytes.map(|bytes| Manifest::parse(bytes.into(), id)) {
        Some(Ok(Document::Manifest(sealed))) if sealed.check(seal_key).is_ok() => {
            refuse("is right: there is nothing to rebuild")
        }
        Some(Ok(Document::Foreign(_))) if matches!(archive, Archive::Openssl(_)) => {
            refuse("belongs to another backup manager and is left alone")
        }
        Some(Err(Fault::ArchiveUncommitted { .. })) => {
            refuse("says that the archive was given up: its parts are being removed")
        }
        _ if !replace => refuse("is there, but damaged: --replace deletes it and creates a new one"),
        _ => Ok(true),
    }
}

/// Reads all of a native archive: every check, and the digests on the way.
async fn read_native(native: &Native, fetcher: &Fetcher, context: &Context) -> Result<(Profile, Vec<PartEntry>, u64)> {
    let last = native.parts.len() - 1;
    let place = |i| if i == last { Place::Last } else { Place::Middle };
    let parts = native.parts.iter().enumerate().map(|(i, part)| (part.clone(), place(i))).collect();
    let mut steps = fetcher.scan(native, parts);
    let (mut feed, pieces) = mpsc::channel(1);
    let decoder = Decoder::native(native.header.common.codec, pieces, &context.cpu, None);
    let scanning = async move {
        let mut entries = Vec::new();
        while let Some(step) = steps.next().await {
            let taken = match step {
                Step::Plain { bytes, stored, .. } => feed.send(Ok(Piece { bytes, stored })).await,
                Step::Whole(part) => {
                    entries.push(PartEntry { size: part.object.size, rnd: Some(part.rnd), sha256: part.sha256 });
                    Ok(())
                }
                Step::Bad { fault, .. } => {
                    let _ = feed.send(Err(fault)).await;
                    break;
                }
            };
            // The decoder has found a fault, which is the one that counts.
            if taken.is_err() {
                break;
            }
        }
        entries
    };
    let (entries, content) = tokio::join!(scanning, drain(decoder));
    let content = content?;
    let header = &native.header;
    let head = Head { common: header.common.clone(), rest: header.rest.clone(), len: header.line.len() };
    Ok((Profile::Native(Box::new(head)), entries, content))
}

/// Reads all of an openssl archive: its stream to the end, and the digests on the way.
async fn read_openssl(
    archive: &Openssl,
    fetcher: &Fetcher,
    context: &Context,
) -> Result<(Profile, Vec<PartEntry>, u64)> {
    let (mut feed, pieces) = mpsc::channel(1);
    let decoder = Decoder::openssl(archive.key.clone(), archive.gzip, pieces, &context.cpu, None);
    let hashing = async move {
        let mut entries = Vec::new();
        for part in &archive.parts {
            let mut hashed = fetcher.hashed(part);
            while let Some(piece) = hashed.next().await? {
                // The decoder has found a fault, which is the one that counts.
                if feed.send(Ok(piece)).await.is_err() {
                    return Ok(entries);
                }
            }
            entries.push(PartEntry { size: part.size, rnd: None, sha256: hashed.finish() });
        }
        Ok::<_, Error>(entries)
    };
    let (entries, content) = tokio::join!(hashing, drain(decoder));
    // What could not be fetched is to the decoder a stream that ends too early.
    let (entries, content) = (entries?, content?);
    let single = archive.parts.first().is_some_and(|part| part.name == archive.id.as_str());
    let (kdf, salt) = (archive.key.kdf(), archive.key.salt());
    Ok((Profile::Openssl(OpensslHead { kdf, salt, gzip: archive.gzip, single }), entries, content))
}

/// Decodes to the end and counts the content. The decoder goes with its fault: whoever feeds one that takes no more would wait for ever.
async fn drain(mut decoder: Decoder) -> Result<u64> {
    let mut content = 0;
    while let Some(piece) = decoder.next().await? {
        content += piece.len() as u64;
    }
    Ok(content)
}

/// Joins the parts as they are stored, which takes no key. A manifest that can be read says how many there are and what their digests
/// are; without one nothing but the key, or a root that is demanded, could tell that the last of them is missing.
async fn join(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    demanded: &ReadPolicy,
    fetcher: &Fetcher,
    path: &Path,
    context: &Context,
) -> Result<Reassembled> {
    // What is demanded is judged here: a root can also be that of parts without a manifest.
    let of_parts = ReadPolicy { this_stream_only: true, root: None, receipt: None, signer: None, ..demanded.clone() };
    let stated = ReadPolicy { no_manifest: false, ..of_parts.clone() };
    let (mut located, mut faults) = Located::survey(store, id, keyring, &stated).await?;
    if located.committed.sealed().is_none() {
        (located, faults) =
            Located::survey(store, id, keyring, &ReadPolicy { no_manifest: true, ..of_parts.clone() }).await?;
        if demanded.root.is_none() && demanded.receipt.is_none() {
            let text =
                format!("no manifest says how many parts {id} has: whether the last ones are missing is not known");
            fetcher.observer.event(&Event::Warning { code: None, text });
        }
    }
    if let Some(fault) = faults.into_iter().next() {
        return Err(fault);
    }
    let sealed = located.committed.sealed();
    if let Some(signer) = &demanded.signer {
        let why = "it has no manifest, whose seal would be signed";
        let unsigned = Err(Fault::KeySigner { id: id.to_string(), why });
        sealed.map_or(unsigned, |sealed| sealed.check_signer(signer))?;
    }
    located.judge_root(demanded)?;
    let entries = sealed.map(|sealed| sealed.manifest.parts.as_slice()).unwrap_or_default();
    let present = located.present();
    let judge = |digests: &[[u8; 32]]| match sealed {
        Some(_) => Ok(()),
        None => judge_root(id, demanded, digests.iter(), located.stored()),
    };
    write_joined(present, entries, fetcher, path, judge, context).await?;
    Ok(Reassembled {
        id: id.clone(),
        parts: u32::try_from(present.len()).unwrap_or(u32::MAX),
        stored: located.stored(),
        receipt: None,
        joined: Some(path.to_owned()),
    })
}

/// Writes the stored parts, one after another, to a file that appears when it is whole: each has the digest of its entry, if there are
/// entries, and all of them together are `judge`d.
async fn write_joined(
    parts: &[Object],
    entries: &[PartEntry],
    fetcher: &Fetcher,
    path: &Path,
    judge: impl Fn(&[[u8; 32]]) -> Result<()>,
    context: &Context,
) -> Result<()> {
    let failed = |source| Error::Io { what: format!("writing {} failed", path.display()), source };
    let file = PartialFile::create(path, context).map_err(failed)?;
    let mut digests = Vec::with_capacity(parts.len());
    for (i, part) in parts.iter().enumerate() {
        let mut hashed = fetcher.hashed(part);
        while let Some(piece) = hashed.next().await? {
            file.write(piece.bytes).await.map_err(failed)?;
        }
        let found = hashed.finish();
        if let Some(entry) = entries.get(i).filter(|entry| entry.sha256 != found) {
            return Err(digest_fault(part, &found, &entry.sha256));
        }
        digests.push(found);
    }
    judge(&digests)?;
    file.finish().await.map_err(failed)
}
