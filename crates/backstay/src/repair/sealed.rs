//! What a store has under the name of a manifest or of a set: what says of everything else which of it is good.

use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, SealedManifest, is_aborted_marker};
use backstay_format::set::{MAX_SET, SealedSet, Set};
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;

use crate::error::{Error, Result};

/// What stands under a name.
pub(crate) enum Stored<T> {
    Whole(Box<T>, Bytes),
    Damaged(Error),
    Nothing,
}

impl Stored<SealedManifest> {
    /// The manifest of an archive.
    pub(crate) async fn manifest(store: &Store, id: &ArchiveId) -> Result<Stored<SealedManifest>> {
        Self::read(store, &id.manifest(), MAX_MANIFEST, |bytes| {
            if is_aborted_marker(bytes, id) {
                let why = "it was given up and is being cleared away";
                return Err(Fault::ArchiveUncommitted { id: id.to_string(), why });
            }
            match Manifest::parse(bytes.clone().into(), id)? {
                Document::Manifest(manifest) => Ok(manifest),
                Document::Foreign(_) => {
                    let why = "it has no sealed manifest, so that nothing tells which of its parts are good".to_owned();
                    Err(Fault::ManifestInvalid { object: id.manifest(), why })
                }
            }
        })
        .await
    }
}

impl Stored<SealedSet> {
    /// The object of a set.
    pub(crate) async fn set(store: &Store, id: &ArchiveId) -> Result<Stored<SealedSet>> {
        Self::read(store, &id.set(), MAX_SET, |bytes| Set::parse(bytes, id).map(Box::new)).await
    }
}

impl<T> Stored<T> {
    async fn read(
        store: &Store,
        name: &str,
        longest: u64,
        parse: impl FnOnce(&Bytes) -> backstay_format::Result<Box<T>>,
    ) -> Result<Stored<T>> {
        let bytes = match store.get(name, longest).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Stored::Nothing),
            Err(StoreError::StoreMissing { .. }) if store.is_local() => return Ok(Stored::Nothing),
            Err(error @ StoreError::TooLarge { .. }) => return Ok(Stored::Damaged(error.into())),
            Err(error) => return Err(error.into()),
        };
        match parse(&bytes) {
            Ok(sealed) => Ok(Stored::Whole(sealed, bytes)),
            Err(
                fault @ (Fault::ManifestInvalid { .. }
                | Fault::ManifestSeal { .. }
                | Fault::SetInvalid { .. }
                | Fault::SetSeal { .. }
                | Fault::NameMismatch { .. }),
            ) => Ok(Stored::Damaged(fault.into())),
            // Of a later version, it may be as good as it was.
            Err(fault) => Err(fault.into()),
        }
    }
}
