//! Whether two stores are one place under two names: a server has several names, and two archives in one place are one archive.
//!
//! Names do not tell, so it is tried: what is created in one of them is seen in the other. That costs requests, and leaves an object where deleting is not
//! allowed, so it is done only when the stores look alike.

use std::collections::BTreeMap;
use std::time::SystemTime;

use backstay_format::ArchiveId;
use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;
use futures::TryStreamExt as _;

use crate::context::Context;
use crate::error::Result;
use crate::gc::PROBE;

/// Whether `written`, a store that this run may write to, and `read` are one place. When that cannot be told they count as two.
///
/// What is under `id` tells in most cases: an object has one time in one place. Only where all times are the same an object is created.
///
/// # Errors
/// `interrupted`.
pub async fn are_one(written: &Store, read: &Store, id: &ArchiveId, context: &Context) -> Result<bool> {
    if let Some(told) = written.is_same_place(read) {
        return Ok(told);
    }
    let (Ok(one), Ok(other)) = tokio::join!(times(written, id), times(read, id)) else { return Ok(false) };
    let mut common = one.iter().filter_map(|(name, time)| Some((time, other.get(name)?))).peekable();
    if common.peek().is_none() || common.any(|(one, other)| one != other) {
        return Ok(false);
    }
    Ok(tried(written, read, &to_hex(&context.random::<16>())).await.unwrap_or(false))
}

/// The times of an archive's objects.
async fn times(store: &Store, id: &ArchiveId) -> std::result::Result<BTreeMap<String, SystemTime>, StoreError> {
    store.list(id.as_str(), None).map_ok(|object| (object.name, object.modified)).try_collect().await
}

/// Creates an object in one store, looks for it in the other, and deletes it again if that is allowed. `mark` is a number in hexadecimal digits that
/// was never used before. `None` when it cannot be told.
pub(crate) async fn tried(one: &Store, other: &Store, mark: &str) -> Option<bool> {
    let name = format!("{PROBE}{mark}");
    let (first, second) = (Bytes::from_static(b"backstay probe 1\n"), Bytes::from_static(b"backstay probe 2\n"));
    let (one, other) = (one.for_passing_objects(), other.for_passing_objects());
    let digest = sha256(&first);
    one.create(&name, first, digest).await.ok()?;
    let seen = match other.head(&name).await {
        Ok(found) => Some(found.is_some()),
        // Who may only create sees by it that the name is taken.
        Err(StoreError::Denied { .. }) => {
            let digest = sha256(&second);
            match other.create(&name, second, digest).await {
                Ok(_) => {
                    let _ = other.delete(&name).await;
                    Some(false)
                }
                Err(StoreError::NameTaken { .. }) => Some(true),
                Err(_) => None,
            }
        }
        Err(_) => None,
    };
    // Where it may not be deleted, `gc` does it later.
    let _ = one.delete(&name).await;
    seen
}
