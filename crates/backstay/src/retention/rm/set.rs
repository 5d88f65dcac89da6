//! Deleting a backup set with its members.
//!
//! The set's object goes first, so that no set is there that lacks a member; then nothing but the tombstones tells what belonged
//! to it. So each member's names the set, and the set's own stays until the last member is gone: with it the next `rm` of the set
//! finishes what was interrupted.

use std::collections::{HashMap, HashSet};

use backstay_format::remark::{MAX_REMARK, Remark};
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, Word};
use backstay_store::Store;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Begun, Free, MemberFate, Removed, RemovedMember, RmOptions, UNKNOWN, begin, delete_all, demand_unheld, needing,
    newest, uncommitted,
};
use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::retention::evidence::{Archive, Evidence, Standing};
use crate::retention::plan::MAY_BE_WRITTEN;

/// Requests in flight.
const REQUESTS: usize = 16;

/// A set that is to be deleted.
pub(super) struct Removal {
    id: ArchiveId,
    members: Vec<RemovedMember>,
    /// Members that are archives, and go.
    going: HashSet<ArchiveId>,
    /// Members of which only the tombstone and what was said of them is left.
    leftovers: Vec<ArchiveId>,
    /// There is an archive under the set's name, to which everything but the set's object may belong.
    beside_archive: bool,
}

impl Removal {
    /// The set with this id, also if it cannot be read, or if its deletion was interrupted; `None` if there is none.
    pub(super) async fn find(
        store: &Store,
        id: &ArchiveId,
        evidence: &Evidence,
        options: &RmOptions,
    ) -> Result<Option<Removal>> {
        let set = evidence.sets.iter().find(|set| set.id == *id);
        let unreadable = || evidence.unreadable_sets.iter().any(|object| *object == id.set());
        let mut removal = Removal {
            id: id.clone(),
            members: Vec::new(),
            going: HashSet::new(),
            leftovers: Vec::new(),
            beside_archive: false,
        };
        let archives = || evidence.archives.iter().map(|archive| (&archive.id, archive));
        if let Some(set) = set {
            let archives: HashMap<&ArchiveId, &Archive> = archives().collect();
            for member in &set.members {
                let fate = fate(archives.get(&member.id).copied(), Some(&member.root), options);
                removal.members.push(RemovedMember { id: member.id.clone(), fate, deleted: false });
            }
        } else if !unreadable() {
            if !is_interrupted(store, id, evidence).await? {
                return Ok(None);
            }
            let archives: HashMap<&ArchiveId, &Archive> = archives().collect();
            for id in said_to_go_with(store, id, evidence).await? {
                match archives.get(&id).copied() {
                    None => removal.leftovers.push(id),
                    archive => {
                        removal.members.push(RemovedMember { fate: fate(archive, None, options), id, deleted: false });
                    }
                }
            }
        }
        let going = removal.members.iter().filter(|member| member.fate == MemberFate::Goes);
        removal.going = going.map(|member| member.id.clone()).collect();
        removal.beside_archive = evidence.archives.iter().any(|archive| {
            // What is left of a set's keyboxes is found as what is left of an archive.
            archive.id == *id && (archive.committed || archive.parts > 0)
        });
        Ok(Some(removal))
    }

    /// Makes the checks, and deletes the set if that is wanted.
    pub(super) async fn carry_out(
        self,
        store: &Store,
        evidence: &Evidence,
        options: &RmOptions,
        context: &Context,
    ) -> Result<Removed> {
        self.check(store, evidence, options, context).await?;
        let archives = || evidence.archives.iter().filter(|archive| self.going.contains(&archive.id));
        let parts = archives().map(|archive| archive.parts).fold(0, u32::saturating_add);
        let bytes = archives().map(|archive| archive.bytes).sum();
        let members = Some(self.members.clone());
        let mut removed = Removed { id: self.id.clone(), members, parts, bytes, deleted: false, stopped: None };
        if !options.delete {
            return Ok(removed);
        }
        if self.beside_archive {
            let (mut remaining, mark) = begin(store, &self.id, options, context).await?;
            let deleted = remaining.delete_set_alone(store).await;
            mark.take_back(store).await.and(deleted)?;
            removed.deleted = true;
            return Ok(removed);
        }
        let at = rfc3339(context.now());
        let remark = |id: &ArchiveId| Remark {
            id: id.clone(),
            word: Word::Expired,
            at: at.clone(),
            by: options.by.clone(),
            text: format!("rm of the backup set {}", self.id),
            tags: vec![self.id.to_string()],
        };
        say(store, &remark(&self.id)).await?;
        let saying = stream::iter(&self.going).map(|id| {
            let remark = remark(id);
            async move { say(store, &remark).await }
        });
        saying.buffer_unordered(REQUESTS).try_collect::<()>().await?;
        // Nothing goes before it is known that everything may.
        let looking = stream::iter(&self.going).map(|id| async move { demand_unheld(store, id).await.map(drop) });
        looking.buffer_unordered(REQUESTS).try_collect::<()>().await?;
        let begun = begin(store, &self.id, options, context).await?;
        if begun.0.is_archive() {
            let held = Error::Held { id: self.id.to_string(), how: UNKNOWN };
            return begun.1.take_back(store).await.and(Err(held));
        }
        let mut gone = HashSet::new();
        removed.stopped = self.delete(store, begun, archives().collect(), &mut gone, options, context).await.err();
        removed.deleted = removed.stopped.is_none();
        for member in removed.members.iter_mut().flatten() {
            member.deleted = gone.contains(&member.id);
        }
        Ok(removed)
    }

    /// Deletes the set, and then its members. Those that are gone are told whatever comes of the others.
    async fn delete(
        &self,
        store: &Store,
        begun: Begun,
        mut members: Vec<&Archive>,
        gone: &mut HashSet<ArchiveId>,
        options: &RmOptions,
        context: &Context,
    ) -> Result<()> {
        delete_all(store, begun).await?;
        // Those that need others go before them.
        members
            .sort_unstable_by(|one, other| (one.needs.is_empty(), &other.id).cmp(&(other.needs.is_empty(), &one.id)));
        let ids = members.into_iter().map(|member| &member.id).chain(&self.leftovers);
        for id in ids {
            if context.interrupt.is_set() {
                let left = format!("rm {} finishes what is left of the set", self.id);
                return Err(Error::Interrupted { left });
            }
            super::delete(store, id, begin(store, id, options, context).await?).await?;
            gone.insert(id.clone());
        }
        Ok(store.delete(&self.id.tombstone()).await?)
    }

    /// Demands that nothing speaks against it.
    async fn check(&self, store: &Store, evidence: &Evidence, options: &RmOptions, context: &Context) -> Result<()> {
        if self.beside_archive && !options.keep_members {
            let by = "an archive has the name of the set, so that not everything under it is the set's: --keep-members \
                      deletes the set's object alone";
            return Err(Error::Referenced { id: self.id.to_string(), by: by.to_owned() });
        }
        demand_unheld(store, &self.id).await?;
        let going = |id: &ArchiveId| self.going.contains(id);
        let free = Free { id: &self.id, evidence, others: needing(evidence, &going), force: options.force };
        for archive in evidence.archives.iter().filter(|archive| going(&archive.id)) {
            let stored = context.now().duration_since(archive.stored_at);
            if archive.standing == Standing::Unfinished && stored < MAY_BE_WRITTEN {
                return Err(uncommitted(&archive.id));
            }
            free.demand(archive)?;
        }
        if let (false, [first, others @ ..]) = (options.force, &*newest(evidence, &going, context)) {
            let how = match others.len() {
                0 => format!("its member {first} is the newest good archive of its source"),
                others => format!("its member {first} and {others} more are the newest good archives of their sources"),
            };
            return Err(Error::NewestGood { id: self.id.to_string(), how });
        }
        Ok(())
    }
}

/// What becomes of a member that the set names with this root.
fn fate(archive: Option<&Archive>, root: Option<&[u8; 32]>, options: &RmOptions) -> MemberFate {
    match archive {
        None => MemberFate::Missing,
        Some(_) if options.keep_members => MemberFate::Stays,
        Some(archive) => match (&archive.root, root) {
            (Some(found), Some(meant)) if found != meant => MemberFate::Another,
            _ if archive.standing == Standing::GivenUp => MemberFate::LeftToGc,
            _ => MemberFate::Goes,
        },
    }
}

/// Whether nothing of a set is left but what `rm` leaves when it is interrupted.
async fn is_interrupted(store: &Store, id: &ArchiveId, evidence: &Evidence) -> Result<bool> {
    let archive = evidence.archives.iter().find(|archive| archive.id == *id);
    let left = match archive {
        Some(archive) => archive.standing == Standing::Remains && archive.parts == 0,
        None => evidence.marks.iter().any(|mark| mark.id == *id),
    };
    Ok(left && goes_with(store, id, id).await?)
}

/// The archives whose tombstones say that they go with this set, and what is left of such.
async fn said_to_go_with(store: &Store, set: &ArchiveId, evidence: &Evidence) -> Result<Vec<ArchiveId>> {
    let archives = evidence.archives.iter().filter(|archive| archive.tombstone.is_some()).map(|archive| &archive.id);
    let ids = archives.chain(evidence.marks.iter().map(|mark| &mark.id)).filter(|id| *id != set);
    let mut found: Vec<ArchiveId> = stream::iter(ids)
        .map(|id| async move { Ok::<_, Error>(goes_with(store, id, set).await?.then(|| id.clone())) })
        .buffer_unordered(REQUESTS)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await?;
    found.sort_unstable();
    Ok(found)
}

/// Whether the tombstone of this one says that it goes with the set.
async fn goes_with(store: &Store, id: &ArchiveId, set: &ArchiveId) -> Result<bool> {
    let name = id.tombstone();
    match store.get(&name, MAX_REMARK).await {
        Ok(Some(bytes)) => Ok(Remark::parse(&bytes, id, Word::Expired, &name)
            .is_ok_and(|remark| remark.tags.iter().any(|tag| tag == set.as_str()))),
        Ok(None) | Err(backstay_store::Error::TooLarge { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Creates a tombstone that says what is in this one, whatever stands there.
async fn say(store: &Store, remark: &Remark) -> Result<()> {
    let bytes = bytes::Bytes::from(remark.encode());
    let (name, digest) = (remark.id.tombstone(), sha256(&bytes));
    match store.create(&name, bytes.clone(), digest).await {
        Ok(_) => return Ok(()),
        Err(backstay_store::Error::NameTaken { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    store.delete(&name).await?;
    match store.create(&name, bytes, digest).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
