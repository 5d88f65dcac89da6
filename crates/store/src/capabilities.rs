//! What a store can do, found out by trying. The one thing that Backstay cannot do without is a create that fails when the name is taken; there
//! are stores in use that accept the condition and overwrite all the same, and nothing but a second create tells.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;

use crate::attempt::Meaning;
use crate::commit::Created;
use crate::open::Backend;
use crate::requests::Request;
use crate::{Error, Store};

impl Store {
    /// [`create`](Self::create) for the first object of a backup, with a check that write-only credentials allow: after the store has said
    /// that the object is new, the same bytes are sent once more. A store that honours conditions says that the name is taken; one that
    /// says "new" again has just overwritten the object, with its own bytes, so that nothing is lost but the store is not to be trusted
    /// with a second writer. It costs the body once more, so that a small object is the better place for it if there is a choice.
    ///
    /// Directories and memory are known to honour conditions and are not asked twice.
    ///
    /// # Errors
    ///
    /// Those of `create`, and `store.condition-ignored`.
    pub async fn create_probing(&self, name: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created, Error> {
        let created = self.create(name, body.clone(), sha256).await?;
        // Confirmed and unconfirmed followed a refusal, which is all that the second send is for.
        if created != Created::New || self.keeps_conditions() {
            return Ok(created);
        }
        if self.overwrites(name, body, sha256).await? {
            self.overwriting().store(true, Ordering::Relaxed);
            return Err(Error::ConditionIgnored { store: self.url().into(), name: name.into() });
        }
        Ok(created)
    }

    /// Whether [`create_probing`](Self::create_probing) has seen it overwrite. One that kept a condition may still not keep the next.
    #[must_use]
    pub fn is_known_to_overwrite(&self) -> bool {
        self.overwriting().load(Ordering::Relaxed)
    }

    /// Whether the store is known to honour conditions without being tried: a directory, or memory.
    #[must_use]
    pub fn keeps_conditions(&self) -> bool {
        !self.is_wrapped() && matches!(self.backend(), Backend::Memory | Backend::Directory(_))
    }

    /// Whether a conditional create of an object that exists succeeds, which it never should.
    ///
    /// # Errors
    ///
    /// `store.denied`, `store.failed`.
    pub async fn overwrites(&self, name: &str, body: Bytes, sha256: [u8; 32]) -> Result<bool, Error> {
        let key = self.key(name)?;
        let operation = format!("creating {name} a second time");
        let mut attempts = self.attempts();
        loop {
            let options = self.creation().put(sha256);
            match self.attempt(Request::Put, self.objects().put_opts(&key, body.clone().into(), options)).await.0 {
                Ok(_) => return Ok(true),
                Err(failure) if failure.meaning == Meaning::Exists => return Ok(false),
                Err(failure) => self.before_next(&mut attempts, failure, &operation).await?,
            }
        }
    }
}

/// What a probe writes, with the digests that its checksums need.
const FIRST: (&[u8], [u8; 32]) = (
    b"backstay probe 1\n",
    [
        0x7d, 0xcf, 0x81, 0x5e, 0x7c, 0x6f, 0x30, 0xd2, 0x81, 0x89, 0x61, 0x62, 0xc5, 0x69, 0x3c, 0x0a, 0x35, 0xae,
        0x21, 0x4f, 0x61, 0x35, 0x44, 0xd1, 0x3e, 0x57, 0x83, 0xd0, 0xee, 0x0e, 0xa8, 0x50,
    ],
);
const SECOND: (&[u8], [u8; 32]) = (
    b"backstay probe 2\n",
    [
        0x72, 0x99, 0x7c, 0x15, 0xf1, 0x0e, 0x2d, 0x44, 0x62, 0xae, 0x9c, 0xc0, 0x54, 0x92, 0x99, 0x21, 0xcf, 0xd6,
        0xff, 0x11, 0x36, 0xde, 0x21, 0x24, 0x59, 0x3a, 0xb5, 0x63, 0x2d, 0xa7, 0x82, 0x16,
    ],
);

/// Creates `probe_name` twice, the second time with other bytes, and deletes it again if that is allowed. Answers the time of the probe by
/// the store's own clock, which is what the store calls now if the name was not used before; `None` if the credential may not look.
///
/// This is the check for an operator, with a credential that may do more than write; a backup uses [`Store::create_probing`]. A probe
/// object that an earlier check could not delete is no obstacle.
///
/// # Errors
///
/// `store.condition-ignored` if the second create succeeds; whatever keeps the first one from succeeding.
pub async fn probe_conditional_create(store: &Store, probe_name: &str) -> Result<Option<SystemTime>, Error> {
    match store.create(probe_name, Bytes::from_static(FIRST.0), FIRST.1).await {
        Ok(_) | Err(Error::NameTaken { .. }) => {}
        Err(error) => return Err(error),
    }
    let seen = store.head(probe_name).await;
    let overwritten = store.overwrites(probe_name, Bytes::from_static(SECOND.0), SECOND.1).await;
    match store.delete(probe_name).await {
        Ok(()) | Err(Error::Denied { .. } | Error::Locked { .. }) => {}
        Err(error) => return Err(error),
    }
    if overwritten? {
        return Err(Error::ConditionIgnored { store: store.url().into(), name: probe_name.into() });
    }
    match seen {
        Ok(probe) => Ok(probe.map(|probe| probe.modified)),
        Err(Error::Denied { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
