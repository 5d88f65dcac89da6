//! The plan: what becomes of each archive, and why. A pure function, so that every rule can be tested without a store.
//!
//! An archive *counts* when nothing speaks against it: it is good as far as was looked, its time is believed, and whatever the
//! policy demands is there. Only archives that count are kept by rules or given up; all others are passed over, which means
//! that they neither take a good one's place nor are deleted. What is kept keeps everything that it needs, and sets are kept or
//! given up whole.

mod reason;
mod rules;
mod sets;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use backstay_format::{ArchiveId, Guid};
use jiff::{SignedDuration, Timestamp};

pub use self::reason::Reason;
use self::rules::{Source, before};
use self::sets::Whole;
use super::evidence::{Archive, Evidence, Set, Standing};
use super::policy::Policy;
use crate::dated::{LEEWAY, begun};
use crate::guid;
use crate::patience::GRACE;

/// What nothing commits may still be written for so long.
pub(super) const MAY_BE_WRITTEN: SignedDuration = SignedDuration::from_secs(GRACE.as_secs().cast_signed());

/// What becomes of every archive.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By source, the oldest first.
    pub decisions: Vec<Decision>,
    /// The sets.
    pub sets: Vec<SetDecision>,
    /// Sources of which suspiciously many would go, so that none does.
    pub excess: Vec<Excess>,
    /// Sources of which nothing is deleted, and why.
    pub blocked: BTreeMap<Guid, Reason>,
}

/// What becomes of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its place in the evidence.
    pub archive: usize,
    /// What becomes of it.
    pub fate: Fate,
    /// Why, the weightiest first; at least one.
    pub reasons: Vec<Reason>,
}

/// What becomes of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetDecision {
    /// Its place in the evidence.
    pub set: usize,
    /// Whether it goes, with all its members.
    pub expires: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is kept.
    Kept,
    /// It neither counts nor is deleted.
    PassedOver,
    /// It goes.
    Expires,
}

/// More than may go at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The source.
    pub guid: Guid,
    /// The sources of its members, where it is one of backup sets.
    pub members: BTreeSet<Guid>,
    /// So many would be on their way out.
    pub expiring: usize,
    /// So many may be.
    pub allowed: usize,
    /// Since when additions were counted.
    pub since: Option<Timestamp>,
}

/// Decides about every archive.
pub fn plan(evidence: &Evidence, policy: &Policy, now: Timestamp) -> Plan {
    Planner::new(evidence, policy, now).plan()
}

/// A plan while it is made.
struct Planner<'a> {
    evidence: &'a Evidence,
    policy: &'a Policy,
    now: Timestamp,
    places: HashMap<&'a ArchiveId, usize>,
    /// When each source was last pruned, as its tombstones tell.
    pruned_at: HashMap<Guid, Timestamp>,
    /// What is decided already; the reasons of what is not kept are found last.
    kept: Vec<Vec<Reason>>,
    /// Few archives have one, and a reason is large.
    passed_over: Vec<Option<Box<Reason>>>,
    /// Sources of the members of the sets that the policy's selection names.
    selected: HashSet<Guid>,
    /// What keeps the sets of archives that are judged with theirs.
    with_set: HashMap<usize, Vec<Reason>>,
    /// The same of archives that are judged by themselves, too.
    beside_set: HashMap<usize, Vec<Reason>>,
}

/// What there is of each source that has archives of which nobody knows for certain what they need, by age.
pub(super) struct Older<'a>(HashMap<Guid, BTreeMap<&'a ArchiveId, usize>>);

impl<'a> Older<'a> {
    /// Of these archives, by their places.
    pub(super) fn new(evidence: &'a Evidence, places: impl Iterator<Item = usize>) -> Older<'a> {
        let archives = &evidence.archives;
        let mut older = Older(HashMap::new());
        for archive in archives.iter().filter(|archive| archive.needs_unproved) {
            older.0.entry(archive.id.guid()).or_default();
        }
        if !older.0.is_empty() {
            for at in places {
                let id = &archives[at].id;
                if let Some(found) = older.0.get_mut(&id.guid()) {
                    found.insert(id, at);
                }
            }
        }
        older
    }

    /// Takes out those of its source that are older than this one.
    pub(super) fn take(&mut self, id: &ArchiveId) -> impl Iterator<Item = usize> + use<'a> {
        let found = self.0.get_mut(&id.guid());
        let older = found.map_or_else(BTreeMap::new, |found| {
            let newer = found.split_off(id);
            std::mem::replace(found, newer)
        });
        older.into_values()
    }
}

impl<'a> Planner<'a> {
    fn new(evidence: &'a Evidence, policy: &'a Policy, now: Timestamp) -> Planner<'a> {
        let archives = &evidence.archives;
        // Nobody asks for a place where everything stands alone.
        let alone = evidence.sets.is_empty() && archives.iter().all(|archive| archive.needs.is_empty());
        let ids = archives.iter().enumerate().filter(|_| !alone);
        let places = ids.map(|(at, archive)| (&archive.id, at)).collect();
        let kept = vec![Vec::new(); archives.len()];
        let mut pruned_at = HashMap::new();
        for mark in &evidence.marks {
            let newest = pruned_at.entry(mark.id.guid()).or_insert(mark.at);
            *newest = mark.at.max(*newest);
        }
        let passed_over = vec![None; archives.len()];
        let selected = sets::selected(evidence, &policy.selection);
        let (with_set, beside_set) = (HashMap::new(), HashMap::new());
        Planner { evidence, policy, now, places, pruned_at, kept, passed_over, selected, with_set, beside_set }
    }

    fn plan(mut self) -> Plan {
        let archives = &self.evidence.archives;
        let mut by_guid: BTreeMap<Guid, Vec<usize>> = BTreeMap::new();
        for (at, archive) in archives.iter().enumerate() {
            by_guid.entry(archive.id.guid()).or_default().push(at);
        }
        let mut plan = Plan { decisions: Vec::with_capacity(archives.len()), ..Plan::default() };
        // What neither a rule nor a doubt keeps. Only these can go.
        let mut open: BTreeSet<usize> = BTreeSet::new();
        let mut half_deleted = BTreeSet::new();
        for (guid, members) in &mut by_guid {
            members.sort_unstable_by(|one, other| archives[*one].id.cmp(&archives[*other].id));
            if let Some(reason) = self.blocks(members) {
                plan.blocked.insert(guid.clone(), reason);
            }
            let documents = members.iter().any(|at| archives[*at].committed);
            for at in members.iter().copied() {
                self.passed_over[at] = self.doubt(&archives[at], documents).map(Box::new);
            }
        }
        let wholes = sets::wholes(self.evidence, &self.places, &self.passed_over, self.policy.trust_name_time);
        for wholes in wholes.values() {
            let counting = wholes.iter().filter(|whole| !whole.shared).map(|whole| &whole.time);
            let source = Source::new(counting.collect(), self.policy, self.now);
            for whole in wholes {
                let reasons = source.reasons(&whole.time);
                let judged = if whole.shared { &mut self.beside_set } else { &mut self.with_set };
                for at in &whole.members {
                    judged.entry(*at).or_default().extend(reasons.iter().cloned());
                }
            }
        }
        for (guid, members) in &by_guid {
            self.judge(members, &mut open, &mut half_deleted);
            if let Some(reason) = plan.blocked.get(guid) {
                for at in members.iter().filter(|at| open.remove(at)) {
                    half_deleted.remove(at);
                    self.kept[*at].push(reason.clone());
                }
            }
        }
        let kept_sets = self.keep_what_is_needed(&mut open);
        for (guid, wholes) in &wholes {
            plan.excess.extend(self.excess_of_sets(guid, wholes, &open));
        }
        for (guid, members) in &by_guid {
            if let Some(excess) = self.excess(guid, members, &open, &half_deleted) {
                plan.excess.push(excess);
            }
            for at in members.iter().copied() {
                let decision = |fate, reasons| Decision { archive: at, fate, reasons };
                plan.decisions.push(if open.contains(&at) {
                    let reason = if half_deleted.contains(&at) { Reason::HalfDeleted } else { Reason::NoRule };
                    decision(Fate::Expires, vec![reason])
                } else if let Some(reason) = self.passed_over[at].take() {
                    let mut reasons = vec![*reason];
                    reasons.append(&mut self.kept[at]);
                    decision(Fate::PassedOver, reasons)
                } else {
                    decision(Fate::Kept, std::mem::take(&mut self.kept[at]))
                });
            }
        }
        plan.sets =
            (0..self.evidence.sets.len()).map(|set| SetDecision { set, expires: !kept_sets.contains(&set) }).collect();
        plan
    }

    /// Why nothing of a source may be deleted.
    fn blocks(&self, members: &[usize]) -> Option<Reason> {
        if let Some(object) = self.evidence.unreadable_sets.iter().min() {
            return Some(Reason::UnreadableSet(object.clone()));
        }
        let archives = members.iter().map(|at| &self.evidence.archives[*at]);
        let mut names: Option<&str> = None;
        for archive in archives {
            if matches!(archive.standing, Standing::Unreadable(_)) {
                return Some(Reason::Unreadable(archive.id.clone()));
            }
            match (names, archive.name.as_deref()) {
                (Some(one), Some(other)) if one != other && self.policy.selection.name.is_none() => {
                    let (one, other) = (one.min(other), one.max(other));
                    return Some(Reason::TwoNames(one.to_owned(), other.to_owned()));
                }
                (None, name) => names = name,
                _ => {}
            }
        }
        None
    }

    /// Judges the archives of one source by what the rules keep of those that count. Of those that are judged with their sets, what goes with its set
    /// takes nobody's place.
    fn judge(&mut self, members: &[usize], open: &mut BTreeSet<usize>, half_deleted: &mut BTreeSet<usize>) {
        let archives = &self.evidence.archives;
        let goes_with_set =
            |at: usize| self.with_set.get(&at).or_else(|| self.beside_set.get(&at)).is_some_and(Vec::is_empty);
        let counting = members.iter().copied().filter(|at| self.passed_over[*at].is_none() && !goes_with_set(*at));
        let source = Source::new(counting.map(|at| &archives[at].id).collect(), self.policy, self.now);
        for at in members.iter().copied() {
            let archive = &archives[at];
            let mut reasons = Vec::new();
            if archive.held {
                reasons.push(Reason::Held);
            }
            let tags = archive.tags.iter().chain(&archive.added_tags);
            let tag = tags.filter(|tag| self.policy.tags.contains(&***tag)).min();
            reasons.extend(tag.map(|tag| Reason::Tag(tag.to_string())));
            // The tag of the one who wants it kept may be among those that others hid it behind.
            if tag.is_none() && archive.unread_tags && !self.policy.tags.is_empty() {
                reasons.push(Reason::UnreadTags);
            }
            // Whoever can create objects can create a tombstone. So what looks half deleted goes on being deleted only if
            // the rules would give it up were it whole.
            let begun_to_go = archive.tombstone.is_some()
                && !archive.unknown_sidecar
                && matches!(archive.standing, Standing::Remains | Standing::Unmarked)
                && self.is_selected(archive);
            match &self.passed_over[at] {
                None => {
                    match self.with_set.get(&at) {
                        Some(of_set) => reasons.extend(of_set.iter().cloned()),
                        None => {
                            reasons.extend(source.reasons(&archive.id));
                            for of_set in self.beside_set.get(&at).into_iter().flatten() {
                                if !reasons.contains(of_set) {
                                    reasons.push(of_set.clone());
                                }
                            }
                        }
                    }
                    if reasons.is_empty() {
                        open.insert(at);
                    }
                }
                Some(_) if begun_to_go => {
                    // Where nothing but keyboxes is left, of a set for example, the rules have nothing to keep.
                    let only_keys = archive.parts == 0 && self.now.duration_since(archive.stored_at) >= MAY_BE_WRITTEN;
                    if !only_keys {
                        reasons.extend(source.reasons(&archive.id));
                    }
                    if reasons.is_empty() {
                        self.passed_over[at] = None;
                        half_deleted.insert(at);
                        open.insert(at);
                    } else {
                        self.passed_over[at] = Some(Box::new(Reason::HalfDeletedAndKept));
                    }
                }
                Some(_) => {}
            }
            self.kept[at] = reasons;
        }
    }

    /// Whether the rules are for it.
    fn is_selected(&self, archive: &Archive) -> bool {
        let selection = &self.policy.selection;
        let named = |name: &String| {
            archive.name.as_deref() == Some(name)
                || archive.name.is_none() && guid::from_name(name).is_ok_and(|guid| guid == archive.id.guid())
        };
        let by_itself = selection.guid.as_ref().is_none_or(|guid| *guid == archive.id.guid())
            && selection.name.as_ref().is_none_or(named);
        (by_itself || self.selected.contains(&archive.id.guid()))
            && selection.tag.as_ref().is_none_or(|tag| archive.tags.iter().any(|own| **own == **tag))
    }

    /// Why an archive does not count.
    fn doubt(&self, archive: &Archive, documents: bool) -> Option<Reason> {
        let begun = begun(&archive.id);
        let believed_good = archive.verdict.is_some_and(|verdict| verdict.good);
        let whole = match &archive.standing {
            Standing::Good => None,
            Standing::Unconfirmed if believed_good => None,
            Standing::Unmarked if self.now.duration_since(archive.stored_at) < MAY_BE_WRITTEN => {
                Some(Reason::MayBeWritten)
            }
            Standing::Unmarked if documents => Some(Reason::NoDocument),
            Standing::Unmarked => None,
            standing => Some(Reason::Standing(standing.clone())),
        };
        let verified = match (archive.verdict, self.policy.require_verified) {
            (Some(verdict), _) if !verdict.good => Some(Reason::FoundBad),
            (Some(verdict), Some(age)) if verdict.at >= before(self.now, age) => None,
            (_, None) => None,
            (_, Some(_)) => Some(Reason::Unverified),
        };
        let difference = begun.duration_since(archive.stored_at).abs();
        whole
            .or_else(|| archive.unread_reports.then_some(Reason::UnreadReports))
            .or_else(|| archive.unknown_sidecar.then_some(Reason::UnknownSidecar))
            .or_else(|| (begun.duration_since(self.now) > LEEWAY).then_some(Reason::Future))
            .or_else(|| (difference > LEEWAY && !self.policy.trust_name_time).then_some(Reason::TimeDiffers))
            .or_else(|| self.broken(archive).map(Reason::BrokenChain))
            .or_else(|| (!self.is_selected(archive)).then_some(Reason::NotSelected))
            .or(verified)
    }

    /// The ancestor without which it cannot be restored.
    fn broken(&self, archive: &Archive) -> Option<ArchiveId> {
        let whole =
            |archive: &Archive| matches!(archive.standing, Standing::Good | Standing::Unconfirmed | Standing::Closed);
        let missing = archive.needs.iter().find(|need| {
            let found = self.places.get(&need.id).map(|at| &self.evidence.archives[*at]);
            !found.is_some_and(|found| whole(found) && found.root == Some(need.root))
        });
        missing.map(|need| need.id.clone())
    }

    /// Takes out of `open` what anything that stays needs, and what belongs to a set of which anything stays. Gives the sets
    /// that stay.
    fn keep_what_is_needed(&mut self, open: &mut BTreeSet<usize>) -> BTreeSet<usize> {
        let (archives, sets) = (&self.evidence.archives, &self.evidence.sets);
        let mut sets_of: HashMap<usize, Vec<usize>> = HashMap::new();
        for (set, members) in sets.iter().map(|set| &set.members).enumerate() {
            for at in members.iter().filter_map(|member| self.places.get(&member.id)) {
                sets_of.entry(*at).or_default().push(set);
            }
        }
        let mut older = Older::new(self.evidence, open.iter().copied());
        let mut kept_sets = BTreeSet::new();
        // Only these can have an effect: almost all archives need nothing and are in no set.
        let has_effect = |at: &usize| !archives[*at].needs.is_empty() || sets_of.contains_key(at);
        let mut staying: Vec<usize> = (0..archives.len()).filter(|at| !open.contains(at)).filter(has_effect).collect();
        let tagged = |set: &Set| {
            set.unread_tags && !self.policy.tags.is_empty()
                || set.tags.iter().any(|tag| self.policy.tags.contains(&**tag))
        };
        let stays = |set: &usize| sets[*set].stays() || tagged(&sets[*set]);
        let mut held: Vec<usize> = (0..sets.len()).filter(stays).collect();
        loop {
            let mut keep = |at: usize, reason: Reason, staying: &mut Vec<usize>, kept: &mut Vec<Vec<Reason>>| {
                if open.remove(&at) {
                    kept[at].push(reason);
                    staying.push(at);
                }
            };
            if let Some(at) = held.pop() {
                if kept_sets.insert(at) {
                    let set = &sets[at];
                    let reason = if set.closed { Reason::InClosedSet } else { Reason::InSet };
                    for at in set.members.iter().filter_map(|member| self.places.get(&member.id).copied()) {
                        keep(at, reason(set.id.clone()), &mut staying, &mut self.kept);
                    }
                }
            } else if let Some(at) = staying.pop() {
                for need in &archives[at].needs {
                    if let Some(needed) = self.places.get(&need.id).copied() {
                        keep(needed, Reason::NeededBy(archives[at].id.clone()), &mut staying, &mut self.kept);
                    }
                }
                if archives[at].needs_unproved {
                    for older in older.take(&archives[at].id) {
                        keep(older, Reason::MayBeNeededBy(archives[at].id.clone()), &mut staying, &mut self.kept);
                    }
                }
                held.extend(sets_of.get(&at).into_iter().flatten());
            } else {
                return kept_sets;
            }
        }
    }

    /// Whether more of a source would go than is usual. Whoever floods a store with archives wants retention to do the rest.
    fn excess(
        &self,
        guid: &Guid,
        members: &[usize],
        open: &BTreeSet<usize>,
        half_deleted: &BTreeSet<usize>,
    ) -> Option<Excess> {
        // Of what is half deleted it was decided before, and sets are counted as wholes.
        let members: Vec<usize> = members.iter().copied().filter(|at| !self.with_set.contains_key(at)).collect();
        let expiring = members.iter().filter(|at| open.contains(at) && !half_deleted.contains(at)).count();
        let counted = members.iter().filter(|at| open.contains(at) || self.passed_over[**at].is_none());
        let stored = counted.map(|at| self.evidence.archives[*at].stored_at);
        self.more_than_allowed(guid, BTreeSet::new(), expiring, self.pruned_at.get(guid).copied(), stored)
    }

    /// The same of the sets of one source.
    fn excess_of_sets(&self, guid: &Guid, wholes: &[Whole], open: &BTreeSet<usize>) -> Option<Excess> {
        let guids = wholes.iter().flat_map(|whole| &whole.members).map(|at| self.evidence.archives[*at].id.guid());
        let guids: BTreeSet<Guid> = guids.collect();
        let wholes = || wholes.iter().filter(|whole| !whole.shared);
        let expiring = wholes().filter(|whole| whole.members.iter().any(|at| open.contains(at))).count();
        let since = guids.iter().filter_map(|guid| self.pruned_at.get(guid)).max().copied();
        self.more_than_allowed(guid, guids, expiring, since, wholes().map(|whole| whole.stored_at))
    }

    fn more_than_allowed(
        &self,
        guid: &Guid,
        members: BTreeSet<Guid>,
        expiring: usize,
        since: Option<Timestamp>,
        stored: impl Iterator<Item = Timestamp>,
    ) -> Option<Excess> {
        let allowed = match (self.policy.max_expire, since) {
            (Some(most), _) => most as usize,
            (None, None) => return None,
            (None, Some(since)) => {
                let added = stored.filter(|at| *at > since).count();
                // At the turn of a week or a month one archive may lose the reason of each rule at once.
                let rules = self.policy.rules().count() + usize::from(self.policy.within.is_some());
                added + rules.max(1)
            }
        };
        (expiring > allowed).then(|| Excess { guid: guid.clone(), members, expiring, allowed, since })
    }
}
