//! Deleting one archive that is named, at once. It is what removes the archives that retention passes over.

use backstay_format::ArchiveId;
use backstay_format::remark::Remark;
use backstay_format::{Error as Fault, Word};
use backstay_store::Store;

use super::evidence::Standing;
use super::gather::{Belief, gather};
use super::plan::{Fate, Reason, plan};
use super::policy::Policy;
use super::prune::make_tombstone;
use super::removal::Remaining;
use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};

/// How to delete.
#[derive(Debug, Clone)]
pub struct RmOptions {
    /// Do it; otherwise only the checks are made.
    pub delete: bool,
    /// Delete even the newest good archive of its source, or one of a source of which not everything can be read.
    pub force: bool,
    /// Who does it, for the tombstone.
    pub by: String,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The archive.
    pub id: ArchiveId,
    /// Number of its parts.
    pub parts: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it was done.
    pub deleted: bool,
}

/// Deletes an archive, unless something speaks against it: others need it, somebody holds it, it is the newest good one.
///
/// # Errors
/// `archive.not-found`; `archive.uncommitted` for what `gc` looks after; `retention.referenced`, `retention.held`,
/// `retention.newest`; `store.*`.
pub async fn rm(
    store: &Store,
    id: &ArchiveId,
    options: &RmOptions,
    belief: &Belief,
    context: &Context,
) -> Result<Removed> {
    let store = &store.for_passing_objects();
    let evidence = gather(store, belief).await?;
    let Some(archive) = evidence.archives.iter().find(|archive| archive.id == *id) else {
        return Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() });
    };
    if matches!(archive.standing, Standing::Unfinished | Standing::GivenUp) {
        let why = "its upload may still run; what is left of one that was interrupted is cleared away by gc";
        return Err(Fault::ArchiveUncommitted { id: id.to_string(), why }.into());
    }
    if archive.held || archive.unknown_sidecar {
        let how = if archive.held { "is held" } else { "has a sidecar that this version does not know" };
        return Err(Error::Held { id: id.to_string(), how });
    }
    let referenced = |by: String| Err(Error::Referenced { id: id.to_string(), by });
    let mut others = evidence.archives.iter().filter(|other| other.id != *id);
    if let Some(other) = others.find(|other| other.needs.iter().any(|need| need.id == *id)) {
        return referenced(format!("{} needs it", other.id));
    }
    if let Some(set) = evidence.sets.iter().find(|set| set.members.contains(id)) {
        return referenced(format!("it belongs to the backup set {}", set.object));
    }
    if !options.force {
        // What keeps the newest: the floor of one, over what counts without any demand.
        let policy = Policy { last: 1, trust_name_time: true, ..Policy::default() };
        let plan = plan(&evidence, &policy, context.now());
        let mut decisions = plan.decisions.iter();
        let decision = decisions.find(|decision| evidence.archives[decision.archive].id == *id);
        if decision.is_some_and(|decision| decision.fate == Fate::Kept && decision.reasons.contains(&Reason::Floor)) {
            return Err(Error::NewestGood { id: id.to_string() });
        }
        match plan.blocked.get(&id.guid()) {
            Some(Reason::Unreadable(other)) if other != id => {
                return referenced(format!("{other} cannot be read, and may need it"));
            }
            Some(Reason::UnreadableSet(set)) => {
                return referenced(format!("the set {set} cannot be read, and may hold it"));
            }
            _ => {}
        }
    }
    let removed = Removed { id: id.clone(), parts: archive.parts, bytes: archive.bytes, deleted: options.delete };
    if !options.delete {
        return Ok(removed);
    }
    // From here on whoever finds half of it knows why.
    let (at, by, text) = (rfc3339(context.now()), options.by.clone(), "rm".to_owned());
    make_tombstone(store, &Remark { id: id.clone(), word: Word::Expired, at, by, text, tags: Vec::new() }).await?;
    let remaining = Remaining::list(store, id).await?;
    if remaining.held {
        return Err(Error::Held { id: id.to_string(), how: "is held" });
    }
    remaining.delete(store).await?;
    store.delete(&id.tombstone()).await?;
    Ok(removed)
}
