//! Deleting one archive or one set, in the order in which nothing half-deleted can look whole: the manifest or the set's object,
//! the first part (by which an openssl stream is known), keyboxes, the other parts, what was said of it, and the tombstone last of all.

use std::collections::{HashMap, HashSet};

use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::{ObjectInfo, Store};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::beginning::Beginning;
use crate::dated::stored_at;
use crate::error::{Error, Result};
use crate::inventory::{self, Holding};

/// Requests in flight for one archive.
const REQUESTS: usize = 16;

/// What there is of an archive, or a set, now.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    manifest: Option<String>,
    set: Option<String>,
    /// Names and times.
    keyboxes: Vec<(String, Timestamp)>,
    /// By their numbers; the single form is one.
    parts: Vec<(u32, String)>,
    sidecars: Vec<String>,
    /// Whether somebody holds it.
    pub(super) held: bool,
    /// Whether there is a sidecar that this version does not know.
    pub(super) unknown: bool,
    /// When its tombstone was stored.
    pub(super) tombstone: Option<Timestamp>,
    newest: Option<Timestamp>,
}

impl Holding for Remaining {
    fn new(_: &ArchiveId) -> Remaining {
        Remaining::default()
    }

    fn add(&mut self, name: &ObjectName, object: ObjectInfo) {
        let modified = stored_at(object.modified);
        match name {
            ObjectName::Sidecar(_, Word::Expired, None) => {
                self.tombstone = Some(modified);
                return;
            }
            ObjectName::Sidecar(_, word, _) => {
                self.held |= *word == Word::Hold;
                self.sidecars.push(object.name);
                return;
            }
            ObjectName::Manifest(_) => self.manifest = Some(object.name),
            ObjectName::Set(_) => self.set = Some(object.name),
            ObjectName::Keybox(..) => self.keyboxes.push((object.name, modified)),
            ObjectName::Part { n, .. } => self.parts.push((*n, object.name)),
            ObjectName::Single(_) => self.parts.push((0, object.name)),
            ObjectName::Unknown(_) => self.unknown = true,
            ObjectName::Foreign => {}
        }
        self.newest = self.newest.max(Some(modified));
    }
}

impl Remaining {
    /// Lists it.
    pub(super) async fn list(store: &Store, id: &ArchiveId) -> Result<Remaining> {
        inventory::of(store, id).await
    }

    /// Lists all of these at once. What there is nothing of is left out.
    pub(super) async fn list_each(store: &Store, ids: HashSet<ArchiveId>) -> Result<HashMap<ArchiveId, Remaining>> {
        let mut found: HashMap<ArchiveId, Remaining> = HashMap::new();
        let mut listing = store.list_where(move |name| ObjectName::parse(name).id().is_some_and(|id| ids.contains(id)));
        while let Some(object) = listing.try_next().await? {
            let name = ObjectName::parse(&object.name);
            if let Some(id) = name.id() {
                found.entry(id.clone()).or_default().add(&name, object);
            }
        }
        Ok(found)
    }

    /// Whether nothing of it is left that could be restored.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_archive() && self.keyboxes.is_empty()
    }

    /// Whether there is an archive, or what is left of one. Keyboxes may be those of a set.
    pub(super) fn is_archive(&self) -> bool {
        self.manifest.is_some() || !self.parts.is_empty()
    }

    /// Whether there is a set.
    pub(super) fn is_set(&self) -> bool {
        self.set.is_some()
    }

    /// When the last keybox was stored.
    pub(super) fn newest_keybox(&self) -> Option<Timestamp> {
        self.keyboxes.iter().map(|(_, modified)| *modified).max()
    }

    /// Whether it is what an interrupted deletion leaves: nothing commits it, and nothing of it is newer than its tombstone.
    pub(super) fn is_half_deleted(&self) -> bool {
        self.manifest.is_none() && self.tombstone.is_some() && self.newest <= self.tombstone
    }

    /// Deletes all of it but the tombstone; last the mark that it was begun with, also where a listing did not show it.
    pub(super) async fn delete(mut self, store: &Store, begun: &Beginning) -> Result<()> {
        self.sidecars.retain(|name| name != begun.name());
        // Stores list part 10 before part 2.
        self.parts.sort_unstable();
        for name in self.set.iter().chain(&self.manifest) {
            store.delete(name).await?;
        }
        let mut parts = self.parts.into_iter().map(|(_, name)| name);
        if let Some(first) = parts.next() {
            store.delete(&first).await?;
        }
        let keyboxes = self.keyboxes.into_iter().map(|(name, _)| name).collect();
        for names in [keyboxes, parts.collect(), self.sidecars] {
            let deletes = stream::iter(names).map(|name| async move { store.delete(&name).await });
            deletes.buffer_unordered(REQUESTS).try_collect::<()>().await?;
        }
        Ok(store.delete(begun.name()).await?)
    }

    /// Deletes the set's object, and nothing that may belong to an archive of the same name.
    pub(super) async fn delete_set_alone(&mut self, store: &Store) -> Result<()> {
        if let Some(set) = &self.set {
            store.delete(set).await?;
            self.set = None;
        }
        Ok(())
    }
}

/// Whether the store said no to this object, and not that it cannot be reached.
pub(super) fn is_of_this_object(error: &Error) -> bool {
    use backstay_store::Error as StoreError;
    matches!(error, Error::Store(StoreError::Locked { .. } | StoreError::Denied { .. }))
}
