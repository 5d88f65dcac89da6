//! Whether an archive's id is the writer's alone.
//!
//! On a store that keeps conditions a name is taken by one writer and stays its own, so that a listing before the commit only has to find what is
//! not ours (W8 of the specification). On a store that takes the condition and overwrites, two writers that begin in the same millisecond
//! replace each other's objects and hear of nothing. There a backup relies on its id, looks before its first part whether anybody has
//! it, and accounts for every byte under it: after the first part, and again before the manifest. A copy, whose id is another's, does the
//! same before its manifest (`receiver.rs`).

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use backstay_format::manifest::PartEntry;
use backstay_format::{ArchiveId, ObjectName};
use backstay_store::{Error as StoreError, ObjectInfo, Store};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::cpu::Cpu;
use crate::error::{Error, Result};

/// Objects whose digests are asked for at once.
const REQUESTS: usize = 8;
/// What is read back at a time, where the store keeps no digest.
const PIECE: u64 = 4 << 20;

/// An object that this run has stored.
#[derive(Debug, Clone)]
pub(crate) struct Ours {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
}

/// What this run has stored under its id.
pub(crate) fn stored(id: &ArchiveId, keyboxes: &[Ours], parts: &[PartEntry]) -> Vec<Ours> {
    let part = |(n, entry): (u32, &PartEntry)| Ours { name: id.part(n), size: entry.size, sha256: entry.sha256 };
    keyboxes.iter().cloned().chain((0..).zip(parts).map(part)).collect()
}

fn taken(store: &Store, name: String, reason: &str) -> Error {
    StoreError::NameTaken { store: store.url().to_owned(), name, reason: reason.to_owned() }.into()
}

/// Before the first part: nothing but our keyboxes has the id. Where listing is not allowed, or fails, it is left at that; the store's own
/// condition says the same, if it keeps conditions.
pub(crate) async fn unclaimed(store: &Store, id: &ArchiveId, keyboxes: &[Ours]) -> Result<()> {
    let mut listing = store.list(id.as_str(), None);
    while let Some(Ok(object)) = listing.next().await {
        let ours = keyboxes.iter().any(|ours| ours.name == object.name);
        if ObjectName::parse(&object.name).id() == Some(id) && !ours {
            return Err(taken(store, object.name, "it was there before our first part"));
        }
    }
    Ok(())
}

/// Before the commit, where listing is allowed: exactly the parts that we stored carry the id, and so many keyboxes. Anything else is another
/// writer's, unless an earlier run of ours may have committed it.
pub(crate) async fn nothing_else_is_named(
    store: &Store,
    id: &ArchiveId,
    entries: &[PartEntry],
    single: bool,
    keyboxes: u32,
    resumed: bool,
) -> Result<()> {
    let mut expected: BTreeMap<String, u64> =
        (0..).zip(entries).map(|(n, entry)| (if single { id.to_string() } else { id.part(n) }, entry.size)).collect();
    let mut lacking: BTreeSet<u32> = (0..keyboxes).collect();
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.next().await {
        let Ok(object) = object else { return Ok(()) };
        match ObjectName::parse(&object.name) {
            name if name.id() != Some(id) => {}
            ObjectName::Keybox(_, m) => drop(lacking.remove(&m)),
            // Creating the manifest tells whether it is ours.
            ObjectName::Manifest(_) if resumed => {}
            _ if expected.remove(&object.name) == Some(object.size) => {}
            _ => return Err(taken(store, object.name, "it is not ours, but carries our id")),
        }
    }
    match expected.into_keys().next().or_else(|| lacking.first().map(|m| id.keybox(*m))) {
        None => Ok(()),
        Some(name) => Err(Error::StoreForgot { name, store: store.url().to_owned() }),
    }
}

/// Which of these objects is no longer there, or is of another size: what was stored a while ago may be deleted since. Where looking is not
/// allowed it is left at that.
///
/// # Errors
/// `store.*`.
pub(crate) async fn first_missing(
    store: &Store,
    id: &ArchiveId,
    objects: impl Iterator<Item = (String, u64)>,
) -> Result<Option<String>> {
    let mut expected: BTreeMap<String, u64> = objects.collect();
    // Of a directory a listing would read everything.
    if !store.is_local() {
        let mut listing = store.list(id.as_str(), None);
        while let Some(object) = listing.next().await {
            match object {
                Ok(object) if expected.get(&object.name) == Some(&object.size) => drop(expected.remove(&object.name)),
                Ok(_) => {}
                Err(StoreError::Denied { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
    // A listing may lag behind.
    for (name, size) in expected {
        match store.head(&name).await {
            Ok(Some(found)) if found.size == size => {}
            Ok(_) | Err(StoreError::Denied { .. }) => return Ok(Some(name)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// On a store that overwrites: exactly these objects carry the id, and they hold our bytes.
///
/// # Errors
/// `name.taken` if another writer's object is there, or has replaced one of ours; `store.condition-ignored` if the credentials do not allow to
/// see that it is not so; `store.failed`.
pub(crate) async fn exactly_ours(store: &Store, id: &ArchiveId, ours: &[Ours], cpu: &Cpu) -> Result<()> {
    account(store, id, ours, |_| false, cpu).await
}

/// The same for a copy, whose archive may have got remarks, reports and further slots there, and its manifest, which is compared by itself.
///
/// # Errors
/// As [`exactly_ours`].
pub(crate) async fn nothing_but(store: &Store, id: &ArchiveId, ours: &[Ours], cpu: &Cpu) -> Result<()> {
    let beside = |name: &ObjectName| !matches!(name, ObjectName::Part { .. } | ObjectName::Single(_));
    account(store, id, ours, beside, cpu).await
}

/// These objects carry the id, hold our bytes, and are alone but for what may be `beside` them.
async fn account(
    store: &Store,
    id: &ArchiveId,
    ours: &[Ours],
    beside: impl Fn(&ObjectName) -> bool,
    cpu: &Cpu,
) -> Result<()> {
    let refused = |error| match error {
        StoreError::Denied { .. } => {
            let name = ours.first().map(|ours| ours.name.clone()).unwrap_or_default();
            Error::from(StoreError::ConditionIgnored { store: store.url().to_owned(), name })
        }
        error => error.into(),
    };
    let mut expected: BTreeMap<&str, &Ours> = ours.iter().map(|ours| (ours.name.as_str(), ours)).collect();
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await.map_err(refused)? {
        let parsed = ObjectName::parse(&object.name);
        if parsed.id() != Some(id) {
            continue;
        }
        match expected.remove(object.name.as_str()) {
            None if beside(&parsed) => {}
            None => return Err(taken(store, object.name, "it is not ours, but carries our id")),
            Some(ours) if ours.size != object.size => {
                return Err(taken(store, object.name, "another writer has replaced it"));
            }
            Some(_) => {}
        }
    }
    if let Some(name) = expected.into_keys().next() {
        return Err(Error::StoreForgot { name: name.to_owned(), store: store.url().to_owned() });
    }
    // A size says little: the parts of two runs have the same one.
    let mut compared = stream::iter(ours.to_vec())
        .map(|ours| async move {
            let digest = digest_of(store, &ours, cpu).await;
            (ours, digest)
        })
        .buffer_unordered(REQUESTS);
    while let Some((ours, digest)) = compared.next().await {
        let digest = match digest {
            Err(Error::Store(error)) => Err(refused(error)),
            other => other,
        };
        if digest? != Some(ours.sha256) {
            return Err(taken(store, ours.name, "another writer has replaced it"));
        }
    }
    Ok(())
}

/// On a store that overwrites: the manifest that was just created is there, and not another writer's.
///
/// # Errors
/// As [`exactly_ours`].
pub(crate) async fn still_ours(store: &Store, ours: &Ours, cpu: &Cpu) -> Result<()> {
    match digest_of(store, ours, cpu).await? == Some(ours.sha256) {
        true => Ok(()),
        false => Err(taken(store, ours.name.clone(), "another writer has replaced it")),
    }
}

/// The digest that the store keeps, or that of the bytes which it gives back; `None` if the object is gone.
async fn digest_of(store: &Store, ours: &Ours, cpu: &Cpu) -> Result<Option<[u8; 32]>> {
    match store.head(&ours.name).await? {
        Some(kept) => digest_of_kept(store, &kept, ours, cpu).await,
        None => Ok(None),
    }
}

/// The same for an object that was looked at. `None` also if it is of another size.
pub(crate) async fn digest_of_kept(
    store: &Store,
    kept: &ObjectInfo,
    ours: &Ours,
    cpu: &Cpu,
) -> Result<Option<[u8; 32]>> {
    if kept.size != ours.size {
        return Ok(None);
    }
    if kept.sha256.is_some() {
        return Ok(kept.sha256);
    }
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut at = 0;
    while at < ours.size {
        let end = ours.size.min(at + PIECE);
        let bytes = match store.get_range(&ours.name, at..end).await {
            Err(StoreError::ObjectMissing { .. } | StoreError::ShortObject { .. }) => return Ok(None),
            other => other?,
        };
        let hashing = cpu.run(move || {
            hash.update(&bytes);
            hash
        });
        hash = hashing.await?;
        at = end;
    }
    Ok(Some(hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")))
}
