//! `copy`: an archive in another store, byte for byte. Parts first and the manifest last, so that the copy too exists only when it is whole.
//!
//! No key is needed. Whatever the sealed manifest says of a part is checked on the way, so a damaged archive is not copied. A copy that was
//! interrupted goes on where it was: an object that is there already is compared and not sent again. What a store has to be asked that
//! overwrites is in `receiver.rs`.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest};
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::Store;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::{Committed, KEYBOX_FETCH, Located, Object};
use crate::claim::Ours;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::fetch::{digest_fault, whole};
use crate::layout;
use crate::observe::{Event, Observer, Progress};
use crate::policy::ReadPolicy;
use crate::receiver::Receiver;

/// How to copy.
#[derive(Debug, Clone, Copy)]
pub struct CopyOptions {
    /// Bytes of memory that all parts under way together may take. A part is held whole, since a cloud takes no stream of
    /// unknown digest.
    pub memory: u64,
    /// Parts under way, at most.
    pub transfers: usize,
}

impl Default for CopyOptions {
    fn default() -> Self {
        CopyOptions { memory: layout::MEMORY, transfers: layout::UPLOADS }
    }
}

impl CopyOptions {
    /// How many parts go at once, if the largest has so many bytes.
    ///
    /// # Errors
    /// `usage.memory` when it does not fit alone.
    pub(crate) fn at_once(&self, largest: u64) -> Result<usize> {
        let largest = largest.max(1);
        if largest > self.memory {
            return Err(Error::Memory { needed: largest, given: self.memory, part: None });
        }
        let fitting = usize::try_from(self.memory / largest).unwrap_or(usize::MAX);
        Ok(self.transfers.min(fitting).max(1))
    }
}

/// What was copied.
#[derive(Debug, Clone)]
pub struct Copied {
    /// The archive.
    pub id: ArchiveId,
    /// Its parts.
    pub parts: u32,
    /// Their bytes.
    pub stored: u64,
    /// Bytes that had to be sent: the others were there already.
    pub sent: u64,
    /// Whether a sealed manifest vouches for each part. Without one (an archive of another backup manager) the copy is what
    /// was read, and no more is known.
    pub checked: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Copies an archive from one store to another.
///
/// # Errors
/// Those of finding the archive (`archive.*`, `name.*`, `manifest.*`, `part.*`), `part.digest` for a part that is damaged in the source,
/// `name.taken` when the target has other bytes under a name, `store.condition-ignored` when it overwrites and does not allow to look,
/// `usage.memory` for parts that are larger than the memory, and the
/// stores' own. After an error the target has no manifest that it did not have before.
pub async fn copy(
    from: &Store,
    to: &Store,
    id: &ArchiveId,
    options: &CopyOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Copied> {
    let begun = Instant::now();
    to.takes_new_objects()?;
    let located = Located::find(from, id, &Keyring::default(), &ReadPolicy::default()).await?;
    let parts = located.objects.stream();
    let manifest = manifest(from, &located).await?;
    let digests: HashMap<u32, [u8; 32]> = match &located.committed {
        Committed::Sealed(sealed) => {
            let manifest = &sealed.manifest;
            (manifest.first..).zip(manifest.parts.iter().map(|part| part.sha256)).collect()
        }
        _ => HashMap::new(),
    };
    let at_once = options.at_once(parts.iter().map(|part| part.size).max().unwrap_or(0))?;
    let transfer = Transfer { from, to: Receiver::new(to, &context.cpu, &observer), context, observer: &observer };

    let copying = async {
        let mut ours = Vec::new();
        for m in &located.objects.keyboxes {
            let name = id.keybox(*m);
            if let Some(bytes) = from.get(&name, KEYBOX_FETCH).await? {
                let keybox = Ours { name, size: bytes.len() as u64, sha256: sha256(&bytes) };
                transfer.to.create(&keybox, bytes).await?;
                ours.push(keybox);
            }
        }
        let mut progress = Progress {
            total_stored: Some(parts.iter().map(|part| part.size).sum()),
            total_parts: u32::try_from(parts.len()).ok(),
            ..Progress::default()
        };
        let mut sent = 0;
        // The first one goes alone: it tells whether the store keeps conditions, and what is to be known of it.
        let (first, others) = parts.split_at(parts.len().min(1));
        let first = stream::iter(first).then(|part| transfer.part(part, digests.get(&part.n)));
        let others = stream::iter(others).map(|part| transfer.part(part, digests.get(&part.n)));
        let mut done = pin!(first.chain(others.buffer_unordered(at_once)));
        while let Some(moved) = done.try_next().await? {
            progress.stored += moved.part.size;
            progress.parts += 1;
            sent += if moved.sent { moved.part.size } else { 0 };
            ours.push(moved.part);
            observer.event(&Event::Progress(progress));
        }
        transfer.to.account(id, &ours, sent > 0).await?;
        Ok::<_, Error>((progress, sent))
    };
    let (progress, sent) = tokio::select! {
        biased;
        () = context.interrupt.wait() => {
            return Err(Error::Interrupted { left: format!("{id} is not complete in {}: copy it again to go on", to.url()) });
        }
        copied = copying => copied?,
    };
    if let Some(bytes) = manifest {
        let manifest = Ours { name: id.manifest(), size: bytes.len() as u64, sha256: sha256(&bytes) };
        transfer.to.commit(&manifest, bytes).await?;
    }
    let checked = !digests.is_empty();
    Ok(Copied {
        id: id.clone(),
        parts: progress.parts,
        stored: progress.stored,
        sent,
        checked,
        elapsed: begun.elapsed(),
    })
}

/// Whether an archive that was there a moment ago is being deleted or is gone: what fails to be read of it then is no damage. Whoever deletes one puts a
/// tombstone there, deletes the manifest and then the first part, and takes the tombstone away last of all.
///
/// # Errors
/// `store.*`.
pub async fn is_gone(store: &Store, id: &ArchiveId) -> Result<bool> {
    let (mut tombstone, mut first, mut others) = (false, false, false);
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        let name = ObjectName::parse(&object.name);
        if name.id() != Some(id) {
            continue;
        }
        match name {
            ObjectName::Manifest(_) | ObjectName::Set(_) => return Ok(false),
            ObjectName::Part { n: 0, .. } | ObjectName::Single(_) => first = true,
            ObjectName::Part { .. } => others = true,
            ObjectName::Sidecar(_, Word::Expired, _) => tombstone = true,
            _ => {}
        }
    }
    Ok(!first && (!others || tombstone))
}

/// The manifest's bytes: those that were judged, whatever the store answers the second time.
async fn manifest(from: &Store, located: &Located) -> Result<Option<Bytes>> {
    let id = &located.id;
    let changed = || {
        let why = "it changed while the archive was copied".to_owned();
        Error::from(backstay_format::Error::ManifestInvalid { object: id.manifest(), why })
    };
    match &located.committed {
        Committed::Nothing | Committed::Damaged => Ok(None),
        Committed::Foreign(bytes) => Ok(Some(Bytes::from(bytes.clone()))),
        Committed::Sealed(sealed) => {
            let bytes = from.get(&id.manifest(), MAX_MANIFEST).await?.ok_or_else(changed)?;
            match Manifest::parse(bytes.clone().into(), id)? {
                Document::Manifest(again) if again == *sealed => Ok(Some(bytes)),
                _ => Err(changed()),
            }
        }
    }
}

/// Two stores and what lies between.
struct Transfer<'a> {
    from: &'a Store,
    to: Receiver,
    context: &'a Context,
    observer: &'a Arc<dyn Observer>,
}

/// One part that is in the target.
struct Moved {
    part: Ours,
    sent: bool,
}

impl Transfer<'_> {
    async fn part(&self, part: &Object, expected: Option<&[u8; 32]>) -> Result<Moved> {
        let ours = |sha256: &[u8; 32]| Ours { name: part.name.clone(), size: part.size, sha256: *sha256 };
        let seen = self.to.look(&part.name).await?;
        if let Some(expected) = expected
            && self.to.has(&seen, &ours(expected)).await?
        {
            return Ok(Moved { part: ours(expected), sent: false });
        }
        let (bytes, found) = whole(self.from, part, &self.context.cpu, self.observer).await?;
        if let Some(expected) = expected
            && found != *expected
        {
            return Err(digest_fault(part, &found, expected));
        }
        let part = ours(&found);
        // Without a manifest only its own bytes tell whether it is the same.
        let there = self.to.has(&seen, &part).await?;
        if !there {
            self.to.send(&part, bytes, &seen).await?;
        }
        Ok(Moved { part, sent: !there })
    }
}
