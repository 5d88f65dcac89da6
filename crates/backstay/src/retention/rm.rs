//! Deleting one archive or one backup set that is named, at once. It is what removes the archives that retention passes over, and
//! sets with members that are lost.

mod set;

use backstay_format::ArchiveId;
use backstay_format::remark::Remark;
use backstay_format::{Error as Fault, Word};
use backstay_store::Store;

use super::beginning::Beginning;
use super::evidence::{Archive, Evidence, Standing};
use super::gather::{Belief, gather};
use super::plan::{Fate, Reason, plan};
use super::policy::Policy;
use super::prune::make_tombstone;
use super::removal::{Remaining, is_of_this_object};
use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};

/// What an archive or a set has beside it that keeps it.
const UNKNOWN: &str = "has something beside it that this version does not know, or a backup set under its own name";

/// How to delete.
#[derive(Debug, Clone)]
pub struct RmOptions {
    /// Do it; otherwise only the checks are made.
    pub delete: bool,
    /// Delete even the newest good archive of its source, or one of a source of which not everything can be read.
    pub force: bool,
    /// Of a backup set delete only the set: its members become archives that stand for themselves.
    pub keep_members: bool,
    /// Who does it, for the tombstone.
    pub by: String,
}

/// What was deleted, or would be.
#[derive(Debug)]
pub struct Removed {
    /// The archive or the set.
    pub id: ArchiveId,
    /// Of a set, what becomes of its members.
    pub members: Option<Vec<RemovedMember>>,
    /// Number of parts, those of all members that go.
    pub parts: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it was done, to its end.
    pub deleted: bool,
    /// What ended it, after something was deleted.
    pub stopped: Option<Error>,
}

/// A member of a set that is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedMember {
    /// The archive.
    pub id: ArchiveId,
    /// What becomes of it.
    pub fate: MemberFate,
    /// Whether that was done.
    pub deleted: bool,
}

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberFate {
    /// It is deleted with the set.
    Goes,
    /// It stays, as its set's members were to.
    Stays,
    /// It is another archive than the set means, and stays.
    Another,
    /// Nothing of it is there.
    Missing,
    /// Its upload was given up: `gc` clears it away.
    LeftToGc,
}

impl MemberFate {
    /// In one word or a few.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberFate::Goes => "goes",
            MemberFate::Stays => "stays",
            MemberFate::Another => "another archive, stays",
            MemberFate::Missing => "missing",
            MemberFate::LeftToGc => "left to gc",
        }
    }
}

/// Deletes an archive, or a set with its members, unless something speaks against it: others need it, somebody holds it, it is the
/// newest good one.
///
/// # Errors
/// `archive.not-found`; `archive.uncommitted` for what `gc` looks after; `retention.referenced`, `retention.held`,
/// `retention.newest`; `usage.arguments` to keep the members of what is no set; `store.*`. When something was deleted already, what ended
/// the run is in the result.
pub async fn rm(
    store: &Store,
    id: &ArchiveId,
    options: &RmOptions,
    belief: &Belief,
    context: &Context,
) -> Result<Removed> {
    let store = &store.for_passing_objects();
    let evidence = gather(store, belief).await?;
    if let Some(set) = set::Removal::find(store, id, &evidence, options).await? {
        return set.carry_out(store, &evidence, options, context).await;
    }
    if options.keep_members {
        return Err(Error::Usage { why: format!("{id} is no backup set: it has no members to keep") });
    }
    let Some(archive) = evidence.archives.iter().find(|archive| archive.id == *id) else {
        return Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() });
    };
    if matches!(archive.standing, Standing::Unfinished | Standing::GivenUp) {
        return Err(uncommitted(id));
    }
    let going = |other: &ArchiveId| other == id;
    let free = Free { id, evidence: &evidence, others: needing(&evidence, &going), force: options.force };
    free.demand(archive)?;
    if !options.force && !newest(&evidence, &going, context).is_empty() {
        return Err(Error::NewestGood {
            id: id.to_string(),
            how: "it is the newest good archive of its source".to_owned(),
        });
    }
    let (parts, bytes) = (archive.parts, archive.bytes);
    let mut removed = Removed { id: id.clone(), members: None, parts, bytes, deleted: false, stopped: None };
    if !options.delete {
        return Ok(removed);
    }
    // From here on whoever finds half of it knows why.
    let (at, by, text) = (rfc3339(context.now()), options.by.clone(), "rm".to_owned());
    make_tombstone(store, &Remark { id: id.clone(), word: Word::Expired, at, by, text, tags: Vec::new() }).await?;
    let begun = begin(store, id, options, context).await?;
    removed.stopped = delete(store, id, begun).await.err();
    removed.deleted = removed.stopped.is_none();
    Ok(removed)
}

/// What there is of an archive or a set, and the mark that its deletion begins: a hold that is not in the one sees the other.
type Begun = (Remaining, Beginning);

/// Begins to delete an archive or a set, if nobody held it since the checks were made.
async fn begin(store: &Store, id: &ArchiveId, options: &RmOptions, context: &Context) -> Result<Begun> {
    let mark = Beginning::mark(store, id, &options.by, context).await?;
    match demand_unheld(store, id).await {
        Ok(remaining) => Ok((remaining, mark)),
        Err(refused @ Error::Held { .. }) => mark.take_back(store).await.and(Err(refused)),
        Err(error) => Err(error),
    }
}

/// Deletes all that there is, but for the tombstone.
async fn delete_all(store: &Store, (remaining, mark): Begun) -> Result<()> {
    match remaining.delete(store, &mark).await {
        Err(refused) if is_of_this_object(&refused) => mark.take_back(store).await.and(Err(refused)),
        deleted => deleted,
    }
}

/// Deletes all of an archive, the tombstone last.
async fn delete(store: &Store, id: &ArchiveId, begun: Begun) -> Result<()> {
    delete_all(store, begun).await?;
    Ok(store.delete(&id.tombstone()).await?)
}

fn uncommitted(id: &ArchiveId) -> Error {
    let why = "its upload may still run; what is left of one that was interrupted is cleared away by gc";
    Fault::ArchiveUncommitted { id: id.to_string(), why }.into()
}

/// What there is of it now, if nobody held it since the checks were made.
async fn demand_unheld(store: &Store, id: &ArchiveId) -> Result<Remaining> {
    let remaining = Remaining::list(store, id).await?;
    if remaining.held || remaining.unknown {
        let how = if remaining.held { "is held" } else { UNKNOWN };
        return Err(Error::Held { id: id.to_string(), how });
    }
    Ok(remaining)
}

/// Those that stay and need others, or may: almost all archives need nothing.
fn needing<'a>(evidence: &'a Evidence, going: &dyn Fn(&ArchiveId) -> bool) -> Vec<&'a Archive> {
    let may_need =
        |archive: &&Archive| !archive.needs.is_empty() || matches!(archive.standing, Standing::Unreadable(_));
    evidence.archives.iter().filter(may_need).filter(|archive| !going(&archive.id)).collect()
}

/// What may speak against deleting an archive: somebody holds it, or something that stays needs it.
struct Free<'a> {
    /// What was named: the archive, or the set that it belongs to.
    id: &'a ArchiveId,
    evidence: &'a Evidence,
    /// What stays and may need others.
    others: Vec<&'a Archive>,
    force: bool,
}

impl Free<'_> {
    /// Demands that nothing does.
    fn demand(&self, archive: &Archive) -> Result<()> {
        let (id, evidence) = (self.id, self.evidence);
        if archive.held || archive.unknown_sidecar {
            let how = if archive.held { "is held" } else { UNKNOWN };
            return Err(Error::Held { id: archive.id.to_string(), how });
        }
        let named = if archive.id == *id { "it".to_owned() } else { format!("its member {}", archive.id) };
        let referenced = |by: String| Err(Error::Referenced { id: id.to_string(), by });
        if let Some(other) = self.others.iter().find(|other| other.needs.iter().any(|need| need.id == archive.id)) {
            return referenced(format!("{} needs {named}", other.id));
        }
        let mut sets = evidence.sets.iter().filter(|set| set.id != *id);
        if let Some(set) = sets.find(|set| set.members.iter().any(|member| member.id == archive.id)) {
            return referenced(format!("{named} belongs to the backup set {}, which goes as a whole: rm {0}", set.id));
        }
        if self.force {
            return Ok(());
        }
        let of_its_source = || self.others.iter().filter(|other| other.id.guid() == archive.id.guid());
        if let Some(other) = of_its_source().find(|other| matches!(other.standing, Standing::Unreadable(_))) {
            return referenced(format!("{} cannot be read, and may need {named}", other.id));
        }
        if let Some(other) = of_its_source().find(|other| other.needs_unproved && other.id > archive.id) {
            return referenced(format!("{} may need {named}, and nobody has checked what it needs", other.id));
        }
        if let Some(object) = evidence.unreadable_sets.iter().find(|object| object.as_str() != id.set()) {
            return referenced(format!("the set {object} cannot be read, and may hold {named}"));
        }
        Ok(())
    }
}

/// Those among what goes that are the newest good ones of their sources.
fn newest<'a>(evidence: &'a Evidence, going: &dyn Fn(&ArchiveId) -> bool, context: &Context) -> Vec<&'a ArchiveId> {
    // What keeps the newest: the floor of one, over what counts without any demand.
    let policy = Policy { last: 1, trust_name_time: true, ..Policy::default() };
    let plan = plan(evidence, &policy, context.now());
    let newest = plan
        .decisions
        .iter()
        .filter(|decision| decision.fate == Fate::Kept && decision.reasons.contains(&Reason::Floor));
    newest.map(|decision| &evidence.archives[decision.archive].id).filter(|id| going(id)).collect()
}
