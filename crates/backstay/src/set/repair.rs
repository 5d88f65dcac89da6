//! `copy --repair` of a backup set: its members as archives are repaired, and then the set itself.
//!
//! Like a manifest, a set tells without a key whether it was changed since it was sealed. What the store has under the set's name is replaced only when
//! it was read twice and found damaged both times, when the replica's is good, and when every member in the store has the root that this one
//! names: then it is the set of these very archives. A good one that differs from the replica's is never touched.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use backstay_format::schedule::sha256;
use backstay_store::Store;

use super::demand_complete;
use crate::context::Context;
use crate::copy::CopyOptions;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::repair::{Changes, Left, Repair, Repaired, State, Stored, repair};

/// What was done.
#[derive(Debug, Clone)]
pub struct RepairedSet {
    /// The set.
    pub id: ArchiveId,
    /// How many members it has.
    pub members: usize,
    /// Those that were looked at here: not those that were known to be whole.
    pub repaired: Vec<Repaired>,
    /// What was changed of the set itself.
    pub changes: Changes,
    /// How long it took.
    pub elapsed: Duration,
}

/// Makes a set whole again with what `replica` has: what is missing or damaged of its members, and then what is of the set itself. Members that are
/// known to be whole, since they were repaired before, are passed over.
///
/// # Errors
/// `replica.differs`, before anything is changed, if both stores have a good set of this id and these are not equal; `set.invalid` and `set.seal` if neither
/// has a good one, `archive.not-found` if neither has any; `format.unsupported` for one of a later version; those of [`repair`];
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
    let own = Stored::set(store, id).await?;
    let was_damaged = matches!(own, Stored::Damaged(_));
    let (sealed, bytes) = match (own, Stored::set(replica, id).await?) {
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
    let (mut changes, mut left) = (Changes::default(), Left::default());
    repair.keyboxes(&repair.listed().await?, &mut changes, &mut left).await?;
    if let Some(error) = repair.left(left, &changes) {
        return Err(error);
    }
    let (name, digest, size) = (id.set(), sha256(&bytes), bytes.len() as u64);
    match Stored::set(store, id).await? {
        Stored::Whole(_, found) if found == bytes => {}
        Stored::Whole(..) => return Err(differs()),
        Stored::Nothing => {
            repair.create(&name, bytes, digest).await?;
            changes.note(name, size, State::Missing);
        }
        Stored::Damaged(_) if was_damaged => {
            repair.replace(&name, bytes, digest).await?;
            changes.note(name, size, State::Damaged);
        }
        // It was good when it was read first.
        Stored::Damaged(error) => return Err(error),
    }
    let (id, members) = (id.clone(), members.len());
    Ok(RepairedSet { id, members, repaired, changes, elapsed: begun.elapsed() })
}
