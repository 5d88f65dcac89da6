//! Backup sets, as far as retention has to know them: which archives each one holds, and what keeps the set itself.
//!
//! Whoever can create objects can create a set. So one that is read ties its members together, and goes when
//! all of them do; when the rules are for it as a whole, the plan says (`plan/sets.rs`). One that is damaged, or not what the given key or signer stands for, may have held any archive.

use backstay_format::set::{MAX_SET, Set};
use backstay_format::{ArchiveId, Result as Parsed};
use backstay_store::Store;

use super::evidence::Member;
use super::gather::Belief;
use crate::archive::unlock;
use crate::error::{Error, Result};
use crate::guid;
use crate::policy::ReadPolicy;
use crate::set::reveal;

/// What stands under a set's name.
pub(super) enum Judged {
    /// A set, as far as it was looked.
    Read {
        /// What it says; names that are hidden are there where its key was given.
        set: Box<Set>,
        /// Keys were given, and none of them is its key.
        closed: bool,
    },
    /// Which archives it holds is not known.
    Unreadable,
    /// Somebody deletes it.
    Gone,
}

/// Reads a set and makes the checks that what was given allows: S1 to S8, the seal with the set's key, the signature.
pub(super) async fn judge(store: &Store, id: &ArchiveId, keyboxes: &[u32], belief: &Belief) -> Result<Judged> {
    let parsed = match store.get(&id.set(), MAX_SET).await {
        Ok(Some(bytes)) => Set::parse(&bytes, id),
        Ok(None) => return Ok(Judged::Gone),
        Err(backstay_store::Error::TooLarge { .. }) => return Ok(Judged::Unreadable),
        Err(error) => return Err(error.into()),
    };
    let Ok(mut sealed) = parsed else { return Ok(Judged::Unreadable) };
    let lock = &sealed.set.lock;
    let (mut closed, mut seal): (bool, Parsed<()>) = (false, Ok(()));
    let mut keys = None;
    // The secret of an open set is everybody's.
    if lock.open.is_none() && !belief.keyring.is_empty() {
        match unlock(id, lock, keyboxes, store, &belief.keyring, &ReadPolicy::default()).await {
            Ok(unlocked) => {
                seal = sealed.check(&unlocked.keys.set());
                keys = Some(unlocked.keys);
            }
            // A key for other sets is no fault of this one.
            Err(Error::Format(_)) => closed = true,
            Err(error) => return Err(error),
        }
    }
    let signed = belief.signer.as_ref().map_or(Ok(()), |signer| sealed.check_signer(signer));
    if seal.and(signed).is_err() {
        return Ok(Judged::Unreadable);
    }
    if let Some(keys) = keys
        && reveal(&mut sealed.set, &keys).is_err()
    {
        return Ok(Judged::Unreadable);
    }
    Ok(Judged::Read { set: Box::new(sealed.set), closed })
}

/// Its archives, and which of them were made for a set of its source.
pub(super) fn members(set: &Set) -> Vec<Member> {
    let source = set.id.guid();
    let member = |member: &backstay_format::set::Member| Member {
        id: member.id.clone(),
        root: member.root,
        own: guid::of_member(&source, &member.name).is_ok_and(|guid| guid == member.id.guid()),
    };
    set.members.iter().map(member).collect()
}
