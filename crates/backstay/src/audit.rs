//! `key audit`: which key opens what. Nothing of the content is read: the manifest, the set's object or the first header line tells the slots, and a key that
//! is given is tried on them.
//!
//! A slot does not say whose it is, so that nobody who looks at the store learns that either: only its kind is known, and for SSH keys a short tag. Whether
//! a key opens an archive is found by trying it.

use std::collections::HashSet;

use backstay_format::ArchiveId;
use backstay_format::header::Lock as Head;
use backstay_format::key::{Keyring, stanzas};
use backstay_store::Store;
use futures::{StreamExt as _, stream};

use crate::archive::{Located, keyboxes};
use crate::catalog::Selected;
use crate::error::{Error, Result};
use crate::policy::{OpensslReading, ProfileName, ReadPolicy};
use crate::set;
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
    /// In every part, or in the set's object: it cannot be removed.
    Attached,
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

/// How an archive or a set is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Not at all: everybody can read it.
    Open,
    /// By these slots.
    Slots(Vec<Slot>),
    /// By a raw key: there are no slots.
    RawKey,
    /// By slots in keyboxes of which none is left. Only the secret itself, where it was exported, opens it.
    Keyless,
    /// By a password, as all archives of the openssl profile are.
    Password,
    /// This is why it cannot be told.
    Unknown(Finding),
}

/// What is known of the keys of an archive or a set.
#[derive(Debug, Clone)]
pub struct Audited {
    /// Which one. Of a set these are its own keys, for what only they show; its members have theirs.
    pub of: Selected,
    /// How it is locked.
    pub lock: Lock,
    /// Which of the keys that were given open it, by their place among them.
    pub opened_by: Vec<usize>,
    /// Keys that could not be tried: their place, and why.
    pub not_tried: Vec<(usize, Finding)>,
    /// Stanzas for somebody who has one already, as far as the keys that were given and the tags of SSH keys tell.
    pub repeated: usize,
}

impl Audited {
    /// By how many keys it can be opened, as far as that is known: with one, the loss of that key is the loss of the archive. Two slots of one key
    /// count as two unless that key was given, or is one of SSH: nothing else shows whose they are.
    pub fn ways(&self) -> Option<usize> {
        match &self.lock {
            Lock::Open | Lock::Unknown(_) => None,
            Lock::Keyless => Some(0),
            Lock::RawKey | Lock::Password => Some(1),
            Lock::Slots(slots) => {
                let stanzas: usize = slots.iter().map(|slot| slot.kinds.len()).sum();
                Some(stanzas - self.repeated)
            }
        }
    }

    /// Whether somebody who has all the keys that were given can read it.
    pub fn is_opened(&self) -> bool {
        self.lock == Lock::Open || !self.opened_by.is_empty()
    }
}

/// Looks at the keys of these archives and sets, in their order.
///
/// # Errors
/// `store.*`, when the store is not reached. What is wrong with one of them is in its place.
pub async fn audit(store: &Store, of: Vec<Selected>, keys: &[Key], openssl: OpensslReading) -> Result<Vec<Audited>> {
    let mut audited = Vec::new();
    let mut found = stream::iter(of)
        .map(|of| async move {
            let found = match &of {
                Selected::Archive(id) => find(store, id).await,
                Selected::Set(id) => find_set(store, id).await,
            };
            (of, found)
        })
        .buffered(REQUESTS);
    while let Some((of, found)) = found.next().await {
        audited.push(match found {
            Ok(Found::Password(located)) => {
                let (opened_by, not_tried) = try_passwords(&located, store, keys, openssl).await?;
                Audited { of, lock: Lock::Password, opened_by, not_tried, repeated: 0 }
            }
            Ok(Found::Locked(slots)) => slots.tried(of, keys),
            Err(error) if error.ends_only_a_part() || matches!(error, Error::ArchiveNotFound { .. }) => Audited {
                of,
                lock: Lock::Unknown(Finding::of(&error)),
                opened_by: Vec::new(),
                not_tried: Vec::new(),
                repeated: 0,
            },
            Err(error) => return Err(error),
        });
    }
    Ok(audited)
}

/// How something is locked.
enum Found {
    /// An archive of the openssl profile.
    Password(Box<Located>),
    /// By slots, or by nothing.
    Locked(Box<Slots>),
}

/// What is in the header lines or the set, and the keyboxes beside it, by number.
struct Slots {
    head: Head,
    /// Whether the manifest says that its only slots were keyboxes.
    detached: bool,
    boxes: Vec<u32>,
    keyboxes: Vec<Vec<u8>>,
}

async fn find(store: &Store, id: &ArchiveId) -> Result<Found> {
    // What is wrong with the parts is not asked here: a key that opens an archive opens a damaged one too.
    let policy = ReadPolicy { this_stream_only: true, ..ReadPolicy::default() };
    let (located, faults) = Located::survey(store, id, &Keyring::default(), &policy).await?;
    if located.profile == ProfileName::Openssl && located.committed.sealed().is_none() {
        // The salt is in the first part.
        let is_headless =
            |fault: &Error| matches!(fault, Error::Format(backstay_format::Error::PartMissing { n: 0, .. }));
        if let Some(fault) = faults.into_iter().find(is_headless) {
            return Err(fault);
        }
    }
    let head = match (located.profile, located.head()) {
        (ProfileName::Openssl, _) => return Ok(Found::Password(Box::new(located))),
        (ProfileName::Native, Some((head, _))) => head.common.lock(),
        (ProfileName::Native, None) => located.first_header(store).await?.common.lock(),
    };
    let keyboxes = located.keyboxes(store).await?;
    let detached = located.committed.sealed().is_some_and(|sealed| sealed.manifest.detached);
    Ok(Found::Locked(Box::new(Slots { head, detached, boxes: located.objects.keyboxes, keyboxes })))
}

async fn find_set(store: &Store, id: &ArchiveId) -> Result<Found> {
    let head = set::load(store, id).await?.set.lock;
    let boxes = set::keyboxes(store, id).await?;
    let keyboxes = keyboxes(id, &boxes, store).await?;
    Ok(Found::Locked(Box::new(Slots { head, detached: false, boxes, keyboxes })))
}

/// Keys that open, by their place, and those that could not be tried.
type Tried = (Vec<usize>, Vec<(usize, Finding)>);

async fn try_passwords(located: &Located, store: &Store, keys: &[Key], openssl: OpensslReading) -> Result<Tried> {
    let (mut opened_by, mut not_tried) = (Vec::new(), Vec::new());
    for (place, key) in keys.iter().enumerate().filter(|(_, key)| key.keyring.password().is_some()) {
        let policy =
            ReadPolicy { format: Some(ProfileName::Openssl), openssl, no_manifest: false, ..ReadPolicy::default() };
        match located.unlock_openssl(store, &key.keyring, &policy).await {
            Ok(_) => opened_by.push(place),
            Err(Error::Format(_) | Error::Unmet(_)) => {}
            Err(error @ Error::Usage { .. }) => not_tried.push((place, Finding::of(&error))),
            Err(error) => return Err(error),
        }
    }
    Ok((opened_by, not_tried))
}

impl Slots {
    fn tried(self, of: Selected, keys: &[Key]) -> Audited {
        let (mut opened_by, mut not_tried) = (Vec::new(), Vec::new());
        let (lock, head) = (self.lock(), &self.head);
        if lock != Lock::Open {
            for (place, key) in keys.iter().enumerate() {
                match key.keyring.open(of.id(), &head.salt, &head.commit, &head.keys, &self.keyboxes) {
                    Ok(_) => opened_by.push(place),
                    Err(backstay_format::Error::KeyNotFound { .. } | backstay_format::Error::KeyWrong { .. }) => {}
                    Err(error) => not_tried.push((place, Finding::of(&error.into()))),
                }
            }
        }
        let repeated = match &lock {
            Lock::Slots(slots) => self.repeated(&of, slots, opened_by.iter().map(|place| &keys[*place].keyring)),
            _ => 0,
        };
        Audited { of, lock, opened_by, not_tried, repeated }
    }

    /// Stanzas that give nobody anything whom an earlier slot does not let in. A slot of several stanzas does not tell which of them a key opened, so that of those
    /// for tags and those for keys the larger number is taken: these may be the same ones.
    fn repeated<'a>(&self, of: &Selected, slots: &[Slot], keys: impl Iterator<Item = &'a Keyring>) -> usize {
        let mut tags = HashSet::new();
        let mut repeated: Vec<usize> = Vec::new();
        for slot in slots {
            let tagged = slot.kinds.iter().filter(|kind| kind.contains(' '));
            repeated.push(tagged.filter(|kind| !tags.insert(kind.as_str())).count());
        }
        if slots.len() > 1 {
            let head = &self.head;
            let opens = |keyring: &Keyring, slot: usize| {
                let (attached, detached) = match slot.checked_sub(head.keys.len()) {
                    None => (&head.keys[slot..=slot], &[][..]),
                    Some(slot) => (&[][..], &self.keyboxes[slot..=slot]),
                };
                keyring.open(of.id(), &head.salt, &head.commit, attached, detached).is_ok()
            };
            let mut by_keys = vec![0; slots.len()];
            for keyring in keys {
                for again in (0..slots.len()).filter(|slot| opens(keyring, *slot)).skip(1) {
                    by_keys[again] += 1;
                }
            }
            repeated.iter_mut().zip(by_keys).for_each(|(tags, keys)| *tags = (*tags).max(keys));
        }
        repeated.iter().zip(slots).map(|(repeated, slot)| (*repeated).min(slot.kinds.len())).sum()
    }

    fn lock(&self) -> Lock {
        if self.head.open.is_some() {
            return Lock::Open;
        }
        let attached = self.head.keys.iter().map(|slot| Slot { place: Place::Attached, kinds: stanzas(slot) });
        let boxes = self.boxes.iter().zip(&self.keyboxes);
        let detached = boxes.map(|(m, slot)| Slot { place: Place::Keybox(*m), kinds: stanzas(slot) });
        let slots: Vec<Slot> = attached.chain(detached).collect();
        match slots.is_empty() {
            true if self.detached => Lock::Keyless,
            true => Lock::RawKey,
            false => Lock::Slots(slots),
        }
    }
}
