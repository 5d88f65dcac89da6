//! The spool of a backup: sealed parts wait on this machine until the store has them, so that the source need not wait for a slow
//! store, and an upload that was interrupted after the source had ended goes on.
//!
//! A part is durable in the spool before its upload begins, and leaves it when the store has answered for it. When the source has
//! ended and was found good, the manifest follows. From then on the archive can be finished by anybody: each part is in the spool
//! or in the store. Until then it cannot, for what was sealed cannot be sealed again, and what is left of it is cleared away.
//!
//! It holds ciphertext only, never a secret; therefore the manifest is kept in two versions, for whoever finishes may learn that an
//! answer of the store could not be confirmed, which the manifest then has to say, and has no key to seal it with.
//!
//! Beside them lies a note of the store that the run had. Parts that were sent are in that one alone, and no other can be given the archive whole; and
//! what was made for one bucket is nobody else's business. So nothing goes of itself to a store that the note does not name.

mod directory;
pub(crate) mod sender;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstay_format::manifest::MAX_MANIFEST;
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, ObjectName};
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::observe::{Event, Observer};

/// How long a store that is away is left alone before it is tried again.
const REST: Duration = Duration::from_secs(60);
/// More than any URL has.
const LONGEST_NOTE: u64 = 64 << 10;

/// A spool that nobody else works with meanwhile.
#[derive(Debug)]
pub struct Spool {
    store: Store,
    room: u64,
    rest: Duration,
    /// Held as long as this lives.
    _lock: Option<File>,
}

/// What the spool holds of one archive.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Parts by index, and their sizes.
    pub(crate) parts: BTreeMap<u32, u64>,
    /// The source has ended, and everything about it was good.
    pub(crate) complete: bool,
    /// There is a note of the store that it was made for.
    noted: bool,
}

impl Waiting {
    /// Bytes of parts.
    pub(crate) fn size(&self) -> u64 {
        self.parts.values().sum()
    }
}

impl Spool {
    /// Opens the spool in this directory, which is made if need be, for a run with these stores; `room` is the most bytes of parts that it may
    /// hold.
    ///
    /// # Errors
    /// `usage.arguments` if the directory is one of the stores, or holds something and is not marked as a spool: what lies in one and cannot be
    /// finished is deleted. `store.locked` while another run works with it; `io.failed`.
    pub async fn open(folder: &Path, room: u64, stores: &[&Store]) -> Result<Spool> {
        let lock = directory::take(folder, stores)?;
        let folder = fs::canonicalize(folder)
            .map_err(|source| Error::Io { what: format!("the spool {} cannot be found", folder.display()), source })?;
        Ok(Spool { _lock: Some(lock), ..Spool::over(Store::at_directory(&folder), room) })
    }

    /// A spool in any store, for tests.
    #[must_use]
    pub fn over(store: Store, room: u64) -> Spool {
        Spool { store, room, rest: REST, _lock: None }
    }

    /// The same, but a store that is away is left alone for so long, instead of a minute, before it is tried again.
    #[must_use]
    pub fn with_rest(self, rest: Duration) -> Spool {
        Spool { rest, ..self }
    }

    /// Where it is, as messages show it.
    #[must_use]
    pub fn url(&self) -> &str {
        self.store.url()
    }

    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    /// How long a store that is away is left alone.
    pub(crate) fn rest(&self) -> Duration {
        self.rest
    }

    /// Makes an object durable here.
    pub(crate) async fn keep(&self, name: &str, bytes: Bytes, sha256: [u8; 32]) -> Result<()> {
        self.store.create(name, bytes, sha256).await?;
        Ok(())
    }

    /// A part as it was kept; nothing else may have the name.
    pub(crate) async fn take(&self, name: &str, size: u64, expected: [u8; 32], cpu: &Cpu) -> Result<Bytes> {
        let damaged = |why: String| Error::Io {
            what: format!("{name} in the spool {} is damaged", self.url()),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, why),
        };
        let bytes = match self.store.get_range(name, 0..size).await {
            Err(error @ (StoreError::ObjectMissing { .. } | StoreError::ShortObject { .. })) => {
                return Err(damaged(error.to_string()));
            }
            bytes => bytes?,
        };
        let hashed = bytes.clone();
        if cpu.run(move || sha256(&hashed)).await? == expected {
            return Ok(bytes);
        }
        Err(damaged("its bytes are not those that were sealed".to_owned()))
    }

    pub(crate) async fn forget(&self, name: &str) -> Result<()> {
        Ok(self.store.delete(name).await?)
    }

    /// Keeps a note of the store, and both versions of the manifest; once the last call has succeeded the archive is complete here.
    pub(crate) async fn keep_manifests(
        &self,
        id: &ArchiveId,
        store: &Store,
        plain: &Bytes,
        unconfirmed: &Bytes,
        cpu: &Cpu,
    ) -> Result<()> {
        let note = Bytes::from(format!("{}\n", store.address()));
        for (name, bytes) in [(note_of(id), &note), (variant(id), unconfirmed), (id.manifest(), plain)] {
            let hashed = bytes.clone();
            let digest = cpu.run(move || sha256(&hashed)).await?;
            self.keep(&name, bytes.clone(), digest).await?;
        }
        Ok(())
    }

    /// The manifest to commit.
    pub(crate) async fn manifest(&self, id: &ArchiveId, unconfirmed: bool) -> Result<Bytes> {
        let name = if unconfirmed { variant(id) } else { id.manifest() };
        let missing = || Error::Io {
            what: format!("{name} is not in the spool {}", self.url()),
            source: std::io::ErrorKind::NotFound.into(),
        };
        self.store.get(&name, MAX_MANIFEST).await?.ok_or_else(missing)
    }

    /// The store that an archive which is complete here was made for, as its run noted it. `None` if there is no note: earlier versions kept none.
    pub(crate) async fn store_of(&self, id: &ArchiveId, waiting: &Waiting) -> Result<Option<String>> {
        if !waiting.noted {
            return Ok(None);
        }
        let note = self.store.get(&note_of(id), LONGEST_NOTE).await?;
        // Only the line feed is not the address's: a path may end with a space.
        Ok(note.map(|note| String::from_utf8_lossy(note.strip_suffix(b"\n").unwrap_or(&note)).into_owned()))
    }

    /// The archive is committed: nothing of it is needed here any more. The version that may be the committed one outlives the mark.
    pub(crate) async fn done(&self, id: &ArchiveId) -> Result<()> {
        self.forget(&id.manifest()).await?;
        self.forget(&variant(id)).await?;
        self.forget(&note_of(id)).await
    }

    /// Everything that is here, by archive.
    pub(crate) async fn waiting(&self) -> Result<BTreeMap<ArchiveId, Waiting>> {
        let mut waiting: BTreeMap<ArchiveId, Waiting> = BTreeMap::new();
        let mut objects = self.store.list("", None);
        while let Some(object) = objects.try_next().await? {
            let name = ObjectName::parse(&object.name);
            let Some(id) = name.id() else { continue };
            let of_it = waiting.entry(id.clone()).or_default();
            match &name {
                ObjectName::Part { n, .. } => drop(of_it.parts.insert(*n, object.size)),
                ObjectName::Manifest(_) => of_it.complete = true,
                ObjectName::Unknown(id) if object.name == note_of(id) => of_it.noted = true,
                _ => {}
            }
        }
        Ok(waiting)
    }

    /// Removes what is here of an archive that cannot be finished.
    pub(crate) async fn discard(&self, id: &ArchiveId) -> Result<()> {
        let names: Vec<_> = self.store.list(id.as_str(), None).map_ok(|object| object.name).try_collect().await?;
        for name in names.iter().filter(|name| ObjectName::parse(name).id() == Some(id)) {
            self.forget(name).await?;
        }
        Ok(())
    }

    /// Removes what runs left whose source never ended well, and tells; gives the bytes that all others take.
    pub(crate) async fn tidy(&self, observer: &Arc<dyn Observer>) -> Result<u64> {
        let mut held = 0;
        for (id, waiting) in self.waiting().await? {
            if waiting.complete {
                held += waiting.size();
            } else {
                self.discard(&id).await?;
                // Of one that is committed something else may be left, no part.
                if !waiting.parts.is_empty() {
                    let text =
                        format!("{id} was not complete in the spool and is cleared away: its source never ended well");
                    observer.event(&Event::Note { text });
                }
            }
        }
        // Nobody else works here, so these are a killed run's.
        for file in self.store.staged().await? {
            self.store.remove_staged(&file.name).await?;
        }
        Ok(held)
    }
}

/// Where the manifest is kept that says `unconfirmed`.
fn variant(id: &ArchiveId) -> String {
    format!("{id}.unconfirmed.json")
}

/// Where it is noted for which store it was made.
fn note_of(id: &ArchiveId) -> String {
    format!("{id}.store")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_and_manifests_are_hashed_on_the_pool() {
        let (spool, cpu) = (Spool::over(Store::memory(), 1 << 20), Cpu::start(Some(1)).unwrap());
        let (id, body): (ArchiveId, _) =
            ("f1e2d3c4-0000-4000-8000-000000000000-1795294764530".parse().unwrap(), Bytes::from("body"));
        spool.keep("part", body.clone(), sha256(&body)).await.unwrap();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = cpu.run(move || held.recv());
        // With the pool's one thread taken, nothing that computes there can end.
        let moment = Duration::from_millis(200);
        let taking = spool.take("part", 4, sha256(&body), &cpu);
        assert!(tokio::time::timeout(moment, taking).await.is_err(), "it was computed elsewhere");
        let store = Store::memory();
        let keeping = spool.keep_manifests(&id, &store, &body, &body, &cpu);
        assert!(tokio::time::timeout(moment, keeping).await.is_err(), "it was computed elsewhere");
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(spool.take("part", 4, sha256(&body), &cpu).await.unwrap(), body);
    }
}
