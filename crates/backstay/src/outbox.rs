//! The spool of a backup: sealed parts wait on this machine until the store has them, so that the source need not wait for a slow
//! store, and an upload that was interrupted after the source had ended goes on.
//!
//! A part is durable in the spool before its upload begins, and leaves it when the store has answered for it. When the source has
//! ended and was found good, the manifest follows. From then on the archive can be finished by anybody: each part is in the spool
//! or in the store. Until then it cannot, for what was sealed cannot be sealed again, and what is left of it is cleared away.
//!
//! It holds ciphertext only, never a secret; therefore the manifest is kept in two versions, for whoever finishes may learn that an
//! answer of the store could not be confirmed, which the manifest then has to say, and has no key to seal it with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use backstay_format::manifest::MAX_MANIFEST;
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, ObjectName};
use backstay_store::{Environment, Store, StoreOptions};
use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::observe::{Event, Observer};

/// The file that whoever works with the spool holds a lock on.
const LOCK: &str = ".backstay-lock";

/// A spool that nobody else works with meanwhile.
#[derive(Debug)]
pub struct Outbox {
    store: Store,
    room: u64,
    /// Held as long as this lives; the system lets go of it whatever ends the process.
    _lock: Option<File>,
}

/// What the spool holds of one archive.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Parts by index, and their sizes.
    pub(crate) parts: BTreeMap<u32, u64>,
    /// The source has ended, and everything about it was good.
    pub(crate) complete: bool,
}

impl Outbox {
    /// Opens the spool in this directory, which is made if need be; `room` is the most bytes of parts that it may hold.
    ///
    /// # Errors
    /// `store.locked` while another run works with it, `io.failed`.
    pub async fn open(folder: &Path, room: u64) -> Result<Outbox> {
        let failed = |source| Error::Io { what: format!("the spool {} cannot be opened", folder.display()), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::options().create(true).append(true).open(folder.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::SpoolLocked { folder: folder.display().to_string() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let url = format!("file://{}", fs::canonicalize(folder).map_err(failed)?.display());
        let store = Store::open(&url, &StoreOptions::default(), &Environment::default()).await?;
        Ok(Outbox { store, room, _lock: Some(lock) })
    }

    /// A spool in any store, for tests.
    #[must_use]
    pub fn over(store: Store, room: u64) -> Outbox {
        Outbox { store, room, _lock: None }
    }

    /// Where it is, as messages show it.
    #[must_use]
    pub fn url(&self) -> &str {
        self.store.url()
    }

    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    /// Makes an object durable here.
    pub(crate) async fn keep(&self, name: &str, bytes: Bytes, sha256: [u8; 32]) -> Result<()> {
        self.store.create(name, bytes, sha256).await?;
        Ok(())
    }

    /// A part as it was kept; nothing else may have the name.
    pub(crate) async fn take(&self, name: &str, size: u64, expected: &[u8; 32]) -> Result<Bytes> {
        let bytes = self.store.get_range(name, 0..size).await?;
        if sha256(&bytes) == *expected {
            return Ok(bytes);
        }
        let why = std::io::Error::new(std::io::ErrorKind::InvalidData, "its bytes are not those that were sealed");
        Err(Error::Io { what: format!("{name} in the spool {} is damaged", self.url()), source: why })
    }

    pub(crate) async fn forget(&self, name: &str) -> Result<()> {
        Ok(self.store.delete(name).await?)
    }

    /// Keeps both versions of the manifest; once the second call has succeeded the archive is complete here.
    pub(crate) async fn keep_manifests(&self, id: &ArchiveId, plain: &Bytes, unconfirmed: &Bytes) -> Result<()> {
        self.keep(&variant(id), unconfirmed.clone(), sha256(unconfirmed)).await?;
        self.keep(&id.manifest(), plain.clone(), sha256(plain)).await
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

    /// The archive is committed: nothing of it is needed here any more. The version that may be the committed one outlives the mark.
    pub(crate) async fn done(&self, id: &ArchiveId) -> Result<()> {
        self.forget(&id.manifest()).await?;
        self.forget(&variant(id)).await
    }

    /// Everything that is here, by archive.
    pub(crate) async fn waiting(&self) -> Result<BTreeMap<ArchiveId, Waiting>> {
        let mut waiting: BTreeMap<ArchiveId, Waiting> = BTreeMap::new();
        let mut objects = self.store.list("", None);
        loop {
            let object = match objects.try_next().await {
                Ok(Some(object)) => object,
                Ok(None) | Err(backstay_store::Error::StoreMissing { .. }) => return Ok(waiting),
                Err(error) => return Err(error.into()),
            };
            match ObjectName::parse(&object.name) {
                ObjectName::Part { id, n, .. } => drop(waiting.entry(id).or_default().parts.insert(n, object.size)),
                ObjectName::Manifest(id) => waiting.entry(id).or_default().complete = true,
                _ => {}
            }
        }
    }

    /// Removes what is here of an archive that cannot be finished.
    pub(crate) async fn discard(&self, id: &ArchiveId) -> Result<()> {
        let names: Vec<_> = self.store.list(id.as_str(), None).map_ok(|object| object.name).try_collect().await?;
        for name in names.iter().filter(|name| ObjectName::parse(name).id() == Some(id)) {
            self.forget(name).await?;
        }
        Ok(())
    }

    /// Removes versions of manifests whose archives are committed.
    async fn drop_variants(&self) -> Result<()> {
        let mut objects = self.store.list("", None);
        let mut ids = (BTreeSet::new(), BTreeSet::new());
        loop {
            match objects.try_next().await {
                Ok(Some(object)) => match ObjectName::parse(&object.name) {
                    ObjectName::Unknown(id) if object.name == variant(&id) => drop(ids.0.insert(id)),
                    ObjectName::Manifest(id) => drop(ids.1.insert(id)),
                    _ => {}
                },
                Ok(None) | Err(backstay_store::Error::StoreMissing { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        for id in ids.0.difference(&ids.1) {
            self.forget(&variant(id)).await?;
        }
        Ok(())
    }

    /// Removes what runs left whose source never ended well, and tells; gives the bytes that all others take.
    pub(crate) async fn tidy(&self, observer: &Arc<dyn Observer>) -> Result<u64> {
        let mut held = 0;
        for (id, waiting) in self.waiting().await? {
            if waiting.complete {
                held += waiting.parts.values().sum::<u64>();
            } else {
                self.discard(&id).await?;
                let text =
                    format!("{id} was not complete in the spool and is cleared away: its source never ended well");
                observer.event(&Event::Note { text });
            }
        }
        self.drop_variants().await?;
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
