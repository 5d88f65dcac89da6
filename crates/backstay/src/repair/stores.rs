//! The two stores of a repair, and what is done to the one with what the other has: of an archive and of a set alike.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use backstay_format::key::MAX_KEYBOXES;
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, ObjectName};
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::archive::KEYBOX_FETCH;
use crate::claim;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::observe::Observer;

/// How an object of the store was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Good,
    Missing,
    Damaged,
}

/// What a repair changed in the store, by the objects' names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that were missing and are there again.
    pub restored: Vec<String>,
    /// Objects that were damaged and are replaced.
    pub replaced: Vec<String>,
    /// Keyboxes that are not those of the replica. Without a key nobody can tell which are the good ones, so they stay as they are.
    pub differing: Vec<String>,
    /// The replica's keyboxes in place of those, under numbers that were free.
    pub added: Vec<String>,
    /// Bytes that were sent.
    pub sent: u64,
}

/// What the replica could not help with, by the objects' names: the part's number, and why.
pub(crate) type Left = BTreeMap<String, (u32, Error)>;

impl Changes {
    pub(crate) fn note(&mut self, name: String, size: u64, state: State) {
        match state {
            State::Good => return,
            State::Missing => self.restored.push(name),
            State::Damaged => self.replaced.push(name),
        }
        self.sent += size;
    }
}

/// The two stores, and what lies between.
#[derive(Clone, Copy)]
pub(crate) struct Repair<'a> {
    pub(crate) store: &'a Store,
    pub(crate) replica: &'a Store,
    pub(crate) id: &'a ArchiveId,
    pub(crate) context: &'a Context,
    pub(crate) observer: &'a Arc<dyn Observer>,
}

impl Repair<'_> {
    /// Names and sizes of everything that carries the archive's id.
    pub(crate) async fn listed(&self) -> Result<HashMap<String, u64>> {
        let mut found = HashMap::new();
        let mut listing = self.store.list(self.id.as_str(), None);
        while let Some(object) = listing.next().await {
            match object {
                Ok(object) if ObjectName::parse(&object.name).id() == Some(self.id) => {
                    found.insert(object.name, object.size);
                }
                Ok(_) => {}
                Err(StoreError::StoreMissing { .. }) if self.store.is_local() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Keyboxes that the replica has and the store has not. One that both have with different bytes stays, since without a key nobody can tell
    /// which is the good one: the replica's is added beside it, for one good keybox is enough.
    pub(crate) async fn keyboxes(
        &self,
        found: &HashMap<String, u64>,
        done: &mut Changes,
        left: &mut Left,
    ) -> Result<()> {
        let number = |name: &str| match ObjectName::parse(name) {
            ObjectName::Keybox(id, m) if id == *self.id => Some(m),
            _ => None,
        };
        let mut theirs = BTreeMap::new();
        let mut listing = self.replica.list(self.id.as_str(), None);
        while let Some(object) = listing.try_next().await? {
            if let Some(m) = number(&object.name) {
                theirs.extend(keybox(self.replica, &object.name).await?.map(|bytes| (m, bytes)));
            }
        }
        if theirs.is_empty() {
            return Ok(());
        }
        let mut taken: BTreeSet<u32> = found.keys().filter_map(|name| number(name)).collect();
        let mut ours = BTreeMap::new();
        for m in &taken {
            ours.extend(keybox(self.store, &self.id.keybox(*m)).await?.map(|bytes| (*m, bytes)));
        }
        let mut differing = Vec::new();
        for (m, bytes) in theirs {
            let name = self.id.keybox(m);
            if !taken.contains(&m) {
                self.create(&name, bytes.clone(), sha256(&bytes)).await?;
                done.note(name, bytes.len() as u64, State::Missing);
                taken.insert(m);
                ours.insert(m, bytes);
            } else if ours.get(&m) != Some(&bytes) {
                differing.push((name, bytes));
            }
        }
        for (name, bytes) in differing {
            // An earlier repair may have added it.
            if !ours.values().any(|own| *own == bytes) {
                let free = (0..).find(|m| !taken.contains(m)).filter(|_| taken.len() < MAX_KEYBOXES);
                let Some(m) = free else {
                    let why = format!(
                        "{name} differs from that in {}, and there are {} keyboxes already: readers look at no more",
                        self.replica.url(),
                        taken.len()
                    );
                    left.insert(name, (0, Error::Usage { why }));
                    continue;
                };
                let own = self.id.keybox(m);
                self.create(&own, bytes.clone(), sha256(&bytes)).await?;
                done.sent += bytes.len() as u64;
                done.added.push(own);
                taken.insert(m);
                ours.insert(m, bytes);
            }
            done.differing.push(name);
        }
        Ok(())
    }

    /// The error of a repair that left something broken.
    pub(crate) fn left(&self, left: Left, done: &Changes) -> Option<Error> {
        let mended = done.restored.len() + done.replaced.len() + done.added.len();
        let names: Vec<String> = left.keys().cloned().collect();
        // The first by number; of the others it is only said that they are.
        let (_, first) = left.into_values().min_by_key(|(n, _)| *n)?;
        if names.len() == 1 && mended == 0 {
            return Some(first);
        }
        let (id, store, replica) = (self.id.to_string(), self.store.url().to_owned(), self.replica.url().to_owned());
        Some(Error::Unmended { id, store, replica, mended, left: names, first: Box::new(first) })
    }

    /// Looks for what was good or made good once more: it may have been deleted meanwhile.
    pub(crate) async fn demand_still_there(&self, objects: impl Iterator<Item = (String, u64)>) -> Result<()> {
        match claim::first_missing(self.store, self.id, objects).await? {
            None => Ok(()),
            Some(name) => Err(Error::StoreForgot { name, store: self.store.url().to_owned() }),
        }
    }

    pub(crate) async fn replace(&self, name: &str, bytes: Bytes, sha256: [u8; 32]) -> Result<()> {
        self.store.delete(name).await?;
        self.create(name, bytes, sha256).await
    }

    pub(crate) async fn create(&self, name: &str, bytes: Bytes, sha256: [u8; 32]) -> Result<()> {
        match self.store.create(name, bytes, sha256).await {
            Ok(_) => Ok(()),
            Err(StoreError::NameTaken { .. }) => {
                Err(Error::CopyDiffers { name: name.to_owned(), store: self.store.url().to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A keybox, if it is one: none is that long.
async fn keybox(store: &Store, name: &str) -> Result<Option<Bytes>> {
    match store.get(name, KEYBOX_FETCH).await {
        Ok(bytes) => Ok(bytes),
        Err(StoreError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
