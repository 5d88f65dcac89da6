//! Backup sets as sources: the sets of one guid follow one another as the archives of a source do, and the rules are for each of them as a whole.
//!
//! Otherwise the last archive of a database that was dropped would be the newest of its source for ever, and keep its whole set. But whoever can
//! create objects can create a set, and nothing may go for one that somebody planted. So a set is judged as a whole only if there is no other way
//! to read it: each member has the guid that follows from the set's and the member's name, which nobody can claim afterwards for an archive of another
//! source; all of them are there and count; no other such set names any of them; and it was stored when they were. Archives in any other set are judged each for
//! itself, and the set only ties them together. Where nothing but another such set speaks against it, the rules for sets may keep it
//! all the same: planting one must not take a set out of their care.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use backstay_format::{ArchiveId, Guid};
use jiff::Timestamp;

use super::{LEEWAY, Reason};
use crate::guid;
use crate::retention::evidence::{Evidence, Set};
use crate::retention::policy::Selection;

/// A set that is judged as a whole.
pub(super) struct Whole {
    /// Places of its members.
    pub(super) members: Vec<usize>,
    /// The set's guid and the time of the newest member: of what is there, and not what the set says of itself.
    pub(super) time: ArchiveId,
    /// When it was stored.
    pub(super) stored_at: Timestamp,
    /// Another such set names one of its members: then the rules for sets can keep it, and not give it up.
    pub(super) shared: bool,
}

/// The sets that the rules for sets are for, by their guids.
pub(super) fn wholes(
    evidence: &Evidence,
    places: &HashMap<&ArchiveId, usize>,
    passed_over: &[Option<Box<Reason>>],
    trust_name_time: bool,
) -> BTreeMap<Guid, Vec<Whole>> {
    let archives = &evidence.archives;
    let whole = |set: &Set| {
        let members = set.members.iter().map(|member| {
            let at = *places.get(&member.id)?;
            let counts = archives[at].root == Some(member.root) && passed_over[at].is_none();
            (member.own && counts).then_some(at)
        });
        let members = members.collect::<Option<Vec<usize>>>()?;
        let millis = members.iter().map(|at| archives[*at].id.millis()).max()?;
        let stored = members.iter().map(|at| archives[*at].stored_at).max()?;
        let together = trust_name_time || set.stored_at.duration_since(stored).abs() <= LEEWAY;
        let time = ArchiveId::new(&set.id.guid(), millis).ok().filter(|_| together)?;
        Some((set.id.guid(), Whole { members, time, stored_at: set.stored_at, shared: false }))
    };
    let found: Vec<(Guid, Whole)> = evidence.sets.iter().filter_map(whole).collect();
    let mut named: HashMap<usize, usize> = HashMap::new();
    for at in found.iter().flat_map(|(_, whole)| &whole.members) {
        *named.entry(*at).or_default() += 1;
    }
    let mut wholes: BTreeMap<Guid, Vec<Whole>> = BTreeMap::new();
    for (guid, mut whole) in found {
        whole.shared = whole.members.iter().any(|at| named.get(at) != Some(&1));
        wholes.entry(guid).or_default().push(whole);
    }
    wholes
}

/// The guids of the members of the sets that the selection names: what is said of a set is meant of its members.
pub(super) fn selected(evidence: &Evidence, selection: &Selection) -> HashSet<Guid> {
    let mut names: BTreeMap<Guid, BTreeSet<&str>> = BTreeMap::new();
    for set in &evidence.sets {
        names.entry(set.id.guid()).or_default().extend(set.name.as_deref());
    }
    let derived = selection.name.as_deref().and_then(|name| guid::from_name(name).ok());
    // A set of the same guid with another name may be somebody's attempt to have these judged by rules that are not for them.
    let is_named = |set: &Set, name: &str| {
        derived.as_ref() == Some(&set.id.guid())
            || names.get(&set.id.guid()).is_some_and(|names| names.iter().eq([&name]))
    };
    let sets = evidence.sets.iter().filter(|set| {
        selection.guid.as_ref().is_none_or(|guid| *guid == set.id.guid())
            && selection.name.as_ref().is_none_or(|name| is_named(set, name))
    });
    let members = sets.flat_map(|set| &set.members).filter(|member| member.own);
    members.map(|member| member.id.guid()).collect()
}
