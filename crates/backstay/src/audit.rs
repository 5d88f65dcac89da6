//! `key audit`: which key opens what. Nothing of the content is read: the manifest or the first header line tells the slots, and a key that is given is
//! tried on them.
//!
//! A slot does not say whose it is, so that nobody who looks at the store learns that either: only its kind is known, and for SSH keys a short tag. Whether
//! a key opens an archive is found by trying it.

use backstay_format::ArchiveId;
use backstay_format::header::Common;
use backstay_format::key::{Keyring, stanzas};
use backstay_store::Store;
use futures::{StreamExt as _, stream};

use crate::archive::Located;
use crate::error::{Error, Result};
use crate::policy::{OpensslReading, ProfileName, ReadPolicy};
use crate::verify::Finding;

/// Archives that are asked for ahead.
const REQUESTS: usize = 8;

/// A key to be tried, and what people call it.
#[derive(Debug)]
pub struct Key {
    /// Its file, for example.
    pub label: String,
    /// The key alone.
    pub keyring: Keyring,
}

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In every part: it cannot be removed.
    Parts,
    /// In the keybox of this number.
    Keybox(u32),
}

/// A slot, as far as it tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Where it is.
    pub place: Place,
    /// The kinds of those that it is for, one each: `X25519`, `scrypt`, `ssh-ed25519 L6ZTcA`. Empty when it is damaged.
    pub kinds: Vec<String>,
}

/// How an archive is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Not at all: everybody can read it.
    Open,
    /// By these slots.
    Slots(Vec<Slot>),
    /// By a raw key: there are no slots.
    RawKey,
    /// By a password, as all archives of the openssl profile are.
    Password,
    /// This is why it cannot be told.
    Unknown(Finding),
}

/// What is known of an archive's keys.
#[derive(Debug, Clone)]
pub struct Audited {
    /// The archive.
    pub id: ArchiveId,
    /// How it is locked.
    pub lock: Lock,
    /// Which of the keys that were given open it, by their place among them.
    pub opened_by: Vec<usize>,
    /// Keys that could not be tried: their place, and why.
    pub not_tried: Vec<(usize, Finding)>,
}

impl Audited {
    /// In how many ways it can be opened, as far as that is known: with one, the loss of that key is the loss of the archive.
    pub fn ways(&self) -> Option<usize> {
        match &self.lock {
            Lock::Open | Lock::Unknown(_) => None,
            Lock::RawKey | Lock::Password => Some(1),
            Lock::Slots(slots) => Some(slots.iter().map(|slot| slot.kinds.len()).sum()),
        }
    }

    /// Whether somebody who has all the keys that were given can read it.
    pub fn is_opened(&self) -> bool {
        self.lock == Lock::Open || !self.opened_by.is_empty()
    }
}

/// Looks at the keys of these archives, in their order.
///
/// # Errors
/// `store.*`, when the store is not reached. What is wrong with one archive is in its place.
pub async fn audit(store: &Store, ids: Vec<ArchiveId>, keys: &[Key], openssl: OpensslReading) -> Result<Vec<Audited>> {
    let mut audited = Vec::new();
    let mut found = stream::iter(ids)
        .map(|id| async move {
            let found = find(store, &id).await;
            (id, found)
        })
        .buffered(REQUESTS);
    while let Some((id, found)) = found.next().await {
        audited.push(match found {
            Ok(found) => found.tried(store, keys, openssl).await?,
            Err(error) if error.ends_only_a_part() || matches!(error, Error::ArchiveNotFound { .. }) => {
                Audited { id, lock: Lock::Unknown(Finding::of(&error)), opened_by: Vec::new(), not_tried: Vec::new() }
            }
            Err(error) => return Err(error),
        });
    }
    Ok(audited)
}

/// An archive and its slots.
struct Found {
    located: Located,
    /// What its header lines share, if it is native.
    common: Option<Common>,
    keyboxes: Vec<Vec<u8>>,
}

async fn find(store: &Store, id: &ArchiveId) -> Result<Found> {
    // What is wrong with the parts is not asked here: a key that opens an archive opens a damaged one too.
    let policy = ReadPolicy { this_stream_only: true, ..ReadPolicy::default() };
    let (located, _) = Located::survey(store, id, &Keyring::default(), &policy).await?;
    let common = match located.profile {
        ProfileName::Openssl => None,
        ProfileName::Native => match located.head() {
            Some((head, _)) => Some(head.common.clone()),
            None => Some(located.first_header(store).await?.common),
        },
    };
    let keyboxes = if common.is_some() { located.keyboxes(store).await? } else { Vec::new() };
    Ok(Found { located, common, keyboxes })
}

impl Found {
    async fn tried(self, store: &Store, keys: &[Key], openssl: OpensslReading) -> Result<Audited> {
        let id = self.located.id.clone();
        let (mut opened_by, mut not_tried) = (Vec::new(), Vec::new());
        let Some(common) = &self.common else {
            for (place, key) in keys.iter().enumerate().filter(|(_, key)| key.keyring.password().is_some()) {
                let policy = ReadPolicy {
                    format: Some(ProfileName::Openssl),
                    openssl,
                    no_manifest: false,
                    ..ReadPolicy::default()
                };
                match self.located.unlock_openssl(store, &key.keyring, &policy).await {
                    Ok(_) => opened_by.push(place),
                    Err(Error::Format(_)) => {}
                    Err(error @ Error::Usage { .. }) => not_tried.push((place, Finding::of(&error))),
                    Err(error) => return Err(error),
                }
            }
            return Ok(Audited { id, lock: Lock::Password, opened_by, not_tried });
        };
        let lock = self.lock(common);
        if lock != Lock::Open {
            for (place, key) in keys.iter().enumerate() {
                match key.keyring.open(&id, &common.salt, &common.commit, &common.keys, &self.keyboxes) {
                    Ok(_) => opened_by.push(place),
                    Err(backstay_format::Error::KeyNotFound { .. } | backstay_format::Error::KeyWrong { .. }) => {}
                    Err(error) => not_tried.push((place, Finding::of(&error.into()))),
                }
            }
        }
        Ok(Audited { id, lock, opened_by, not_tried })
    }

    fn lock(&self, common: &Common) -> Lock {
        if common.open.is_some() {
            return Lock::Open;
        }
        let attached = common.keys.iter().map(|slot| Slot { place: Place::Parts, kinds: stanzas(slot) });
        let boxes = self.located.objects.keyboxes.iter().zip(&self.keyboxes);
        let detached = boxes.map(|(m, slot)| Slot { place: Place::Keybox(*m), kinds: stanzas(slot) });
        let slots: Vec<Slot> = attached.chain(detached).collect();
        if slots.is_empty() { Lock::RawKey } else { Lock::Slots(slots) }
    }
}
