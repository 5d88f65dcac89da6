//! The mark that a deletion begins, by which a deletion and a hold that meet know of each other.
//!
//! No store has transactions. So each of the two first says what it is about to do, and then looks for the other: whoever deletes makes this mark,
//! lists the archive, and goes on only if no hold is listed; whoever holds makes the hold, lists the archive, and calls it held only if no
//! mark is listed. Whichever of the two objects was stored first, the other one's maker sees it. Every run has a mark of its own, by a random number, and takes
//! back no other's, so that this needs no condition either.

use backstay_format::remark::Remark;
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, Word};
use backstay_store::{Error as StoreError, Store};

use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::Result;

/// A deletion that has begun, of which nothing may be gone yet.
#[derive(Debug)]
pub(crate) struct Beginning {
    name: String,
}

impl Beginning {
    /// Says that the deletion of this archive or set begins. What speaks against it is to be looked for after this.
    pub(crate) async fn mark(store: &Store, id: &ArchiveId, by: &str, context: &Context) -> Result<Beginning> {
        let name = id.sidecar(Word::Expired, u64::from_le_bytes(context.random()));
        let remark = Remark {
            id: id.clone(),
            word: Word::Expired,
            at: rfc3339(context.now()),
            by: by.to_owned(),
            text: "its deletion begins".to_owned(),
            tags: Vec::new(),
        };
        let bytes = remark.encode();
        let digest = sha256(&bytes);
        store.for_passing_objects().create(&name, bytes.into(), digest).await?;
        Ok(Beginning { name })
    }

    /// Its object.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The deletion goes no further. A mark that may not be deleted is left: it counts for nothing once it is old.
    pub(crate) async fn take_back(self, store: &Store) -> Result<()> {
        match store.delete(&self.name).await {
            Ok(()) | Err(StoreError::Denied { .. } | StoreError::Locked { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
