//! `copy --repair` of a backup set: its members as archives are repaired, and then the set itself.
//!
//! Like a manifest, a set tells without a key whether it was changed since it was sealed. What the store has under the set's name is replaced only when
//! it was read twice and found damaged both times, when the replica's is good, and when every member in the store has the root that this one
//! names: then it is the set of these very archives. A good one that differs from the replica's is never touched.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::schedule::sha256;
use backstay_format::set::{MAX_SET, SealedSet, Set};
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;

use super::demand_complete;
use crate::context::Context;
use crate::copy::CopyOptions;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::repair::{Done, Left, Repair, Repaired, State, repair};

/// What was done.
#[derive(Debug, Clone)]
pub struct RepairedSet {
    /// The set.
    pub id: ArchiveId,
    /// How many members it has.
    pub members: usize,
    /// Those that were looked at here: not those that were known to be whole.
    pub repaired: Vec<Repaired>,
    /// Objects of the set itself that were missing and are there again.
    pub restored: Vec<String>,
    /// Its object, if it was damaged and is replaced.
    pub replaced: Vec<String>,
    /// Keyboxes of the set that are not those of the replica, and stay.
    pub differing: Vec<String>,
    /// The replica's keyboxes in place of those, under numbers that were free.
    pub added: Vec<String>,
    /// Bytes that were sent for the set itself.
    pub sent: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Makes a set whole again with what `replica` has: what is missing or damaged of its members, and then what is of the set itself. Members that are
/// known to be whole, since they were repaired before, are passed over.
///
/// # Errors
/// `replica.differs`, before anything is changed, if both stores have a good set of this id and these are not equal; `set.invalid` and `set.seal` if neither
/// has a good one, `archive.not-found` if neither has any; `format.unsupported` and `name.mismatch` for one that is whole and cannot be this one; those of [`repair`];
/// `set.incomplete` if a member in the store is not what the set names.
#[allow(clippy::too_many_arguments, reason = "what repair takes, and what is done already")]
pub async fn repair_set(
    store: &Store,
    replica: &Store,
    id: &ArchiveId,
    whole: &HashSet<ArchiveId>,
    options: &CopyOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<RepairedSet> {
    let begun = Instant::now();
    let differs = || {
        let why = format!("its set is not that of {}", replica.url());
        Error::ReplicaDiffers { id: id.to_string(), store: store.url().to_owned(), why }
    };
    let own = Stored::read(store, id).await?;
    let was_damaged = matches!(own, Stored::Damaged(_));
    let (sealed, bytes) = match (own, Stored::read(replica, id).await?) {
        (Stored::Whole(_, ours), Stored::Whole(_, theirs)) if ours != theirs => return Err(differs()),
        (Stored::Whole(sealed, bytes), _) | (_, Stored::Whole(sealed, bytes)) => (sealed, bytes),
        (Stored::Damaged(error), _) | (_, Stored::Damaged(error)) => return Err(error),
        (Stored::Nothing, Stored::Nothing) => {
            let store = format!("{} or {}", store.url(), replica.url());
            return Err(Error::ArchiveNotFound { what: id.set(), store });
        }
    };
    let members = &sealed.set.members;
    let mut repaired = Vec::new();
    for member in members.iter().filter(|member| !whole.contains(&member.id)) {
        repaired.push(repair(store, replica, &member.id, options, context, Arc::clone(&observer)).await?);
    }
    demand_complete(store, &sealed.set, context).await?;

    let repair = Repair { store, replica, id, context, observer: &observer };
    let (mut done, mut left) = (Done::default(), Left::default());
    repair.keyboxes(&repair.listed().await?, &mut done, &mut left).await?;
    if let Some(error) = repair.left(left, &done) {
        return Err(error);
    }
    let (name, digest, size) = (id.set(), sha256(&bytes), bytes.len() as u64);
    match Stored::read(store, id).await? {
        Stored::Whole(_, found) if found == bytes => {}
        Stored::Whole(..) => return Err(differs()),
        Stored::Nothing => {
            repair.create(&name, bytes, digest).await?;
            done.note(name, size, State::Missing);
        }
        Stored::Damaged(_) if was_damaged => {
            repair.replace(&name, bytes, digest).await?;
            done.note(name, size, State::Damaged);
        }
        // It was good when it was read first.
        Stored::Damaged(error) => return Err(error),
    }
    let (id, members) = (id.clone(), members.len());
    let Done { restored, replaced, differing, added, sent } = done;
    Ok(RepairedSet { id, members, repaired, restored, replaced, differing, added, sent, elapsed: begun.elapsed() })
}

/// What stands under the set's name.
enum Stored {
    Whole(Box<SealedSet>, Bytes),
    Damaged(Error),
    Nothing,
}

impl Stored {
    async fn read(store: &Store, id: &ArchiveId) -> Result<Stored> {
        let bytes = match store.get(&id.set(), MAX_SET).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Stored::Nothing),
            Err(StoreError::StoreMissing { .. }) if store.is_local() => return Ok(Stored::Nothing),
            Err(error @ StoreError::TooLarge { .. }) => return Ok(Stored::Damaged(error.into())),
            Err(error) => return Err(error.into()),
        };
        match Set::parse(&bytes, id) {
            Ok(sealed) => Ok(Stored::Whole(Box::new(sealed), bytes)),
            Err(fault @ (Fault::SetInvalid { .. } | Fault::SetSeal { .. })) => Ok(Stored::Damaged(fault.into())),
            // Of a later version, or another set's: it may be as good as it was.
            Err(fault) => Err(fault.into()),
        }
    }
}
