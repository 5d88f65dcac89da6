//! Carrying a plan out, in two steps: what goes gets a tombstone, and after a grace, if a new plan says the same, it is deleted.
//!
//! A tombstone alone never suffices: it only starts the waiting time, and every run makes its plan anew from what is in
//! the store then. So two runs at once, a run that was interrupted, and tombstones that somebody else put there come to the same end.
//! Nothing here relies on a conditional create: where a store overwrites, a tombstone that is made twice is only younger.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::header::{Kind, Reference};
use backstay_format::remark::Remark;
use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, Guid, Word};
use backstay_store::Store;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

use super::evidence::{Archive, Evidence, Mark, Set, Standing};
use super::gather::{Belief, gather, stored_at};
use super::plan::{Decision, Excess, Fate, MAY_BE_WRITTEN, Older, Plan, Reason, plan};
use super::policy::Policy;
use super::removal::{Remaining, is_of_this_object};
use crate::archive::{LINE, Object, read_header};
use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::gc::PROBE;
pub use crate::patience::GRACE;
use crate::under_way::each;
use crate::verify::Finding;

/// Archives that are deleted at once.
const AT_ONCE: usize = 8;
/// Archives of a directory that are listed at once, at most.
const BATCH: usize = 4096;
/// Tombstones in flight.
const REQUESTS: usize = 16;

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// What is kept.
    pub policy: Policy,
    /// How long an archive is left after it got its tombstone. With none at all what goes is deleted in the same run.
    pub grace: Duration,
    /// Do it; otherwise only the plan is made.
    pub delete: bool,
    /// Do it even where more would go than was added.
    pub force: bool,
    /// Who does it, for the tombstones.
    pub by: String,
}

/// What became of an archive, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It stays.
    Kept,
    /// It neither counts nor is deleted.
    PassedOver,
    /// It would get its tombstone.
    WouldExpire,
    /// It got its tombstone.
    Expired,
    /// It has a tombstone and waits until then.
    Waits(Timestamp),
    /// It would be deleted.
    WouldDelete,
    /// It was deleted.
    Deleted,
    /// It was to be deleted, and the store protects it.
    Locked(Box<Finding>),
    /// It was to be deleted, and that is not allowed.
    Refused(Box<Finding>),
    /// Its deletion was begun and not finished: what ended the run ended it.
    Begun(Box<Finding>),
}

/// One archive.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: ArchiveId,
    /// The source's name, where it is known.
    pub name: Option<Arc<str>>,
    /// What became of it.
    pub deed: Deed,
    /// Why.
    pub reasons: Vec<Reason>,
    /// Number of parts.
    pub parts: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// What a run did, or would.
#[derive(Debug, Default)]
pub struct Pruned {
    /// By source, the oldest first.
    pub rows: Vec<Row>,
    /// Backup sets that were deleted, by their objects' names.
    pub sets: Vec<String>,
    /// Sources of which nothing is deleted, and why.
    pub blocked: BTreeMap<Guid, Reason>,
    /// Sources of which nothing was deleted because too many would go.
    pub excess: Vec<Excess>,
    /// What ended the run after something was done, and before all was.
    pub stopped: Option<Error>,
}

/// Makes a plan for a store and, when told to, carries it out.
///
/// # Errors
/// `usage.arguments` for a policy that keeps nothing; `store.*`; `interrupted`. What the store refuses for one archive is in the
/// result, and so is what of a source stopped it. When something was done already, what ended the run is in the result too.
pub async fn prune(store: &Store, options: &PruneOptions, belief: &Belief, context: &Context) -> Result<Pruned> {
    options.policy.check()?;
    if options.policy.require_verified.is_some() && !belief.can_believe_reports() {
        let why = "no report can be believed: --require-verified needs a key of the archives (-i) or --report-signer";
        return Err(Error::Usage { why: why.to_owned() });
    }
    // Tombstones go again.
    let store = &store.for_passing_objects();
    let now = if options.delete { store_now(store, context).await? } else { context.now() };
    let mut run = Run::new(store, options, now, gather(store, belief).await?);
    if !options.delete {
        return Ok(run.told());
    }
    match run.carry_out(belief, context).await {
        Ok(()) => Ok(run.told()),
        Err(error) if run.has_done_nothing() => Err(error),
        Err(error) => Ok(Pruned { stopped: Some(error), ..run.told() }),
    }
}

/// The earlier of our time and the store's: only what is old by both clocks is old.
async fn store_now(store: &Store, context: &Context) -> Result<Timestamp> {
    let probe = format!("{PROBE}{}", to_hex(&context.random::<16>()));
    let body: &'static [u8] = b"backstay clock\n";
    store.create(&probe, Bytes::from_static(body), sha256(body)).await?;
    let seen = store.head(&probe).await?;
    match store.delete(&probe).await {
        Ok(()) | Err(backstay_store::Error::Denied { .. } | backstay_store::Error::Locked { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let seen = seen.map_or(Timestamp::MIN, |probe| stored_at(probe.modified));
    Ok(seen.min(context.now()))
}

/// A run.
struct Run<'a> {
    store: &'a Store,
    options: &'a PruneOptions,
    now: Timestamp,
    evidence: Evidence,
    plan: Plan,
    /// What was done, by place in the evidence.
    deeds: Vec<Option<Deed>>,
    /// Archives that got their tombstone in this run, where there is no grace and the plan is made once more.
    expired: HashSet<ArchiveId>,
    sets: Vec<String>,
    /// Tombstones whose archives were deleted in this run.
    marks: Vec<Mark>,
}

impl<'a> Run<'a> {
    fn new(store: &'a Store, options: &'a PruneOptions, now: Timestamp, evidence: Evidence) -> Run<'a> {
        let mut plan = plan(&evidence, &options.policy, now);
        if !options.force {
            let guids = |excess: &Excess| {
                iter::once(excess.guid.clone()).chain(excess.members.iter().cloned()).collect::<Vec<_>>()
            };
            let stopped: HashSet<Guid> = plan.excess.iter().flat_map(guids).collect();
            stop(&mut plan, &evidence, |guid| stopped.contains(guid).then_some(Reason::TooMany));
        }
        let deeds = vec![None; evidence.archives.len()];
        let (expired, sets, marks) = (HashSet::new(), Vec::new(), Vec::new());
        Run { store, options, now, evidence, plan, deeds, expired, sets, marks }
    }

    /// Makes and takes tombstones, and deletes.
    async fn carry_out(&mut self, belief: &Belief, context: &Context) -> Result<()> {
        self.ask_first_parts().await?;
        self.take_stale_tombstones().await?;
        if self.make_tombstones(context).await? && self.options.grace.is_zero() {
            // What was committed while they were made may need what they stand for.
            let (store, options) = (self.store, self.options);
            let (evidence, now) = (gather(store, belief).await?, store_now(store, context).await?);
            let run = Run::new(store, options, now, evidence);
            *self = Run { expired: std::mem::take(&mut self.expired), ..run };
            self.ask_first_parts().await?;
        }
        let due = self.delete_sets(context).await?;
        self.delete_archives(due, context).await?;
        self.clear_marks().await
    }

    fn has_done_nothing(&self) -> bool {
        self.deeds.iter().all(Option::is_none) && self.sets.is_empty() && self.expired.is_empty()
    }

    fn archive(&self, decision: &Decision) -> &Archive {
        &self.evidence.archives[decision.archive]
    }

    /// Whether an archive with this tombstone has waited long enough. Without a grace there is nothing to be measured: stores
    /// tell their time to the second, or more exactly in one answer than in another.
    fn is_over(&self, tombstone: Timestamp) -> bool {
        self.options.grace.is_zero() || waits_until(self.options, tombstone) <= self.now
    }

    fn expiring(&self) -> impl Iterator<Item = &Decision> {
        self.plan.decisions.iter().filter(|decision| decision.fate == Fate::Expires)
    }

    /// A policy that keeps an archive again, or a hold, gives it the whole grace again.
    async fn take_stale_tombstones(&self) -> Result<()> {
        let stale = self.plan.decisions.iter().filter(|decision| {
            decision.fate == Fate::Kept
                && self.archive(decision).tombstone.is_some()
                && !decision.reasons.iter().any(stops_a_source)
        });
        let mut names: Vec<String> = stale.map(|decision| self.archive(decision).id.tombstone()).collect();
        let stopped: HashSet<&ArchiveId> = (self.plan.decisions.iter())
            .filter(|decision| decision.reasons.iter().any(stops_a_source))
            .map(|decision| &self.archive(decision).id)
            .collect();
        let kept = self.plan.sets.iter().filter(|decision| !decision.expires).map(|kept| &self.evidence.sets[kept.set]);
        let stale = kept
            .filter(|set| set.tombstone.is_some() && !set.members.iter().any(|member| stopped.contains(&member.id)));
        names.extend(stale.map(|set| set.id.tombstone()));
        let store = self.store;
        let deletes = stream::iter(names).map(|name| async move {
            match store.delete(&name).await {
                // It only starts a waiting time.
                Ok(()) | Err(backstay_store::Error::Locked { .. }) => Ok(()),
                Err(error) => Err(Error::from(error)),
            }
        });
        deletes.buffer_unordered(REQUESTS).try_collect().await
    }

    /// Whether any was made.
    async fn make_tombstones(&mut self, context: &Context) -> Result<bool> {
        let (store, at, by) = (self.store, rfc3339(context.now()), &self.options.by);
        let new = self
            .plan
            .decisions
            .iter()
            .enumerate()
            .filter(|(_, decision)| decision.fate == Fate::Expires && self.archive(decision).tombstone.is_none());
        let mut new: Vec<Going> = new.map(|(at, _)| Going::Archive(at)).collect();
        // Of a set the tombstone tells later what its keyboxes are left of.
        let sets = self.expiring_sets().into_iter().map(|(at, _)| at);
        new.extend(sets.filter(|at| self.evidence.sets[*at].tombstone.is_none()).map(Going::Set));
        let this = &*self;
        let making = new.into_iter().map(|going| {
            let (place, id, text) = match going {
                Going::Archive(decision) => {
                    let decision = &this.plan.decisions[decision];
                    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
                    (Some(decision.archive), this.archive(decision).id.clone(), reasons.join(", "))
                }
                Going::Set(at) => (None, this.evidence.sets[at].id.clone(), "with all its members".to_owned()),
            };
            let (at, by) = (at.clone(), by.clone());
            let remark = Remark { id, word: Word::Expired, at, by, text, tags: Vec::new() };
            async move { make_tombstone(store, &remark).await.map(|()| place) }
        });
        let mut made = Vec::new();
        let all = each(making, REQUESTS, |place| {
            made.push(place);
            Ok(())
        });
        let all = all.await;
        for place in made.iter().copied().flatten() {
            self.deeds[place] = Some(Deed::Expired);
            if self.options.grace.is_zero() {
                self.expired.insert(self.evidence.archives[place].id.clone());
            }
        }
        all.map(|()| !made.is_empty())
    }

    /// The sets that go, by their places, each with the members that are there.
    fn expiring_sets(&self) -> Vec<(usize, BTreeSet<usize>)> {
        let sets = self.plan.sets.iter().filter(|set| set.expires).map(|set| set.set);
        let mut sets: Vec<(usize, BTreeSet<usize>)> = sets.map(|at| (at, BTreeSet::new())).collect();
        if !sets.is_empty() {
            let expiring = self.expiring().map(|decision| (&self.archive(decision).id, decision.archive));
            let expiring: HashMap<&ArchiveId, usize> = expiring.collect();
            for (at, members) in &mut sets {
                let ids = self.evidence.sets[*at].members.iter().map(|member| &member.id);
                members.extend(ids.filter_map(|id| expiring.get(id)));
            }
        }
        sets.retain(|(_, members)| !members.is_empty());
        sets
    }

    /// Where nobody checked the seal of what is kept, its first part is asked whether it stands alone: its header cannot be
    /// changed without breaking the archive. A source where one says otherwise is left alone.
    async fn ask_first_parts(&mut self) -> Result<()> {
        let mut oldest: HashMap<Guid, &ArchiveId> = HashMap::new();
        for decision in self.expiring() {
            let id = &self.archive(decision).id;
            let first = oldest.entry(id.guid()).or_insert(id);
            *first = (*first).min(id);
        }
        let asked = self.plan.decisions.iter().filter(|decision| {
            let archive = self.archive(decision);
            let newer = || oldest.get(&archive.id.guid()).is_some_and(|oldest| archive.id > **oldest);
            decision.fate != Fate::Expires && archive.claims_to_be_full && newer()
        });
        let asked: Vec<(ArchiveId, u64)> = asked
            .map(|decision| self.archive(decision))
            .map(|archive| (archive.id.clone(), archive.first_part))
            .collect();
        let store = self.store;
        let mut differing = stream::iter(asked)
            .map(|(id, size)| async move {
                let part = Object { n: 0, name: id.part(0), size };
                match read_header(store, &id, &part, LINE, Reference::None).await {
                    Ok(header) => Ok((header.common.kind != Kind::Full).then_some(id)),
                    // It is damaged, or somebody deletes it: what it needs is not known to be nothing.
                    Err(Error::Format(_) | Error::Store(backstay_store::Error::ObjectMissing { .. })) => Ok(Some(id)),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(REQUESTS);
        let mut blocked = HashMap::new();
        while let Some(differs) = differing.try_next().await? {
            if let Some(id) = differs {
                blocked.insert(id.guid(), Reason::ManifestDiffers(id));
            }
        }
        drop(differing);
        stop(&mut self.plan, &self.evidence, |guid| blocked.get(guid).cloned());
        self.plan.blocked.extend(blocked);
        Ok(())
    }

    /// What is deleted now: its tombstone is old enough, and so is that of everything that needs it or goes with it.
    fn due(&self) -> BTreeSet<usize> {
        let archives = &self.evidence.archives;
        let is_old = |archive: &Archive| archive.tombstone.is_some_and(|at| self.is_over(at));
        let due = self.expiring().filter(|decision| is_old(self.archive(decision)));
        let mut due: BTreeSet<usize> = due.map(|decision| decision.archive).collect();
        let alone = archives.iter().all(|archive| archive.needs.is_empty());
        if alone && self.plan.sets.iter().all(|set| !set.expires) {
            return due;
        }
        let places: HashMap<&ArchiveId, usize> =
            archives.iter().enumerate().map(|(at, archive)| (&archive.id, at)).collect();
        let mut older = Older::new(&self.evidence, due.iter().copied());
        loop {
            let before = due.len();
            for (at, archive) in archives.iter().enumerate().filter(|(_, archive)| !archive.needs.is_empty()) {
                if !due.contains(&at) {
                    for need in &archive.needs {
                        places.get(&need.id).map(|needed| due.remove(needed));
                    }
                    if archive.needs_unproved {
                        for older in older.take(&archive.id) {
                            due.remove(&older);
                        }
                    }
                }
            }
            for set in self.plan.sets.iter().filter(|set| set.expires) {
                let members = self.evidence.sets[set.set].members.iter();
                let members: Vec<usize> = members.filter_map(|member| places.get(&member.id).copied()).collect();
                if members.iter().any(|at| !due.contains(at)) {
                    for at in members {
                        due.remove(&at);
                    }
                }
            }
            if due.len() == before {
                return due;
            }
        }
    }

    /// Sets go before what is in them: a set that is there is whole. Gives the archives that are due then.
    async fn delete_sets(&mut self, context: &Context) -> Result<BTreeSet<usize>> {
        let mut due = self.due();
        for (at, members) in self.expiring_sets() {
            if !members.iter().any(|at| due.contains(at)) {
                continue;
            }
            check_interrupt(context)?;
            let mut gone = false;
            let deleted = self.delete_set(&self.evidence.sets[at], &mut gone).await;
            let set = &self.evidence.sets[at];
            if gone {
                self.sets.push(set.object.clone());
            }
            let kept = match deleted {
                Ok(None) => None,
                Ok(Some(reason)) => Some((reason, None)),
                Err(error) if is_of_this_object(&error) => {
                    Some((Reason::InSet(set.id.clone()), Some(Finding::of(&error))))
                }
                Err(error) => return Err(error),
            };
            match kept {
                None => {}
                Some((reason, finding)) => {
                    self.keep_set(at, &members, &reason, finding.as_ref());
                    due = self.due();
                }
            }
        }
        Ok(due)
    }

    /// Deletes a set as it is now, and then what only it had; or says what speaks against it. Whatever comes of the rest, `gone` says
    /// whether the set is.
    async fn delete_set(&self, set: &Set, gone: &mut bool) -> Result<Option<Reason>> {
        let mut remaining = Remaining::list(self.store, &set.id).await?;
        if remaining.held {
            return Ok(Some(Reason::Held));
        }
        if remaining.unknown || remaining.is_archive() {
            return Ok(Some(Reason::UnknownSidecar));
        }
        // Whoever took the tombstone away wants it to stay.
        if remaining.tombstone.is_none() {
            return Ok(Some(Reason::Held));
        }
        // An archive that somebody else begins under this name has its keybox first. What is young is left to a later run.
        let young = |modified| self.now.duration_since(modified) < MAY_BE_WRITTEN;
        remaining.delete_set_alone(self.store).await?;
        *gone = true;
        if !remaining.newest_keybox().is_some_and(young) {
            remaining.delete(self.store).await?;
        }
        Ok(None)
    }

    /// Keeps a set that was to go, with all its members.
    fn keep_set(&mut self, at: usize, members: &BTreeSet<usize>, reason: &Reason, finding: Option<&Finding>) {
        for decision in &mut self.plan.decisions {
            if members.contains(&decision.archive) && decision.fate == Fate::Expires {
                (decision.fate, decision.reasons) = (Fate::Kept, vec![reason.clone()]);
                let deed = finding.map_or(Deed::Kept, |finding| deed_of(Box::new(finding.clone())));
                self.deeds[decision.archive] = Some(deed);
            }
        }
        self.plan.sets.iter_mut().filter(|decision| decision.set == at).for_each(|decision| decision.expires = false);
    }

    /// Deletes archives, and keeps what came of each, also when something ends the run.
    async fn delete_archives(&mut self, due: BTreeSet<usize>, context: &Context) -> Result<()> {
        let mut done = Vec::new();
        let all = self.delete_due(due, &mut done, context).await;
        self.take_outcomes(done);
        all
    }

    /// Those that need others first, and one by one, so that none is left without what it needs.
    async fn delete_due(
        &self,
        due: BTreeSet<usize>,
        done: &mut Vec<(usize, Outcome)>,
        context: &Context,
    ) -> Result<()> {
        let archives = &self.evidence.archives;
        let (mut dependent, alone): (Vec<usize>, Vec<usize>) =
            due.into_iter().partition(|at| !archives[*at].needs.is_empty());
        dependent.sort_unstable_by(|one, other| archives[*other].id.cmp(&archives[*one].id));
        let mut older = Older::new(&self.evidence, dependent.iter().chain(&alone).copied());
        let mut needed: HashMap<ArchiveId, Reason> = HashMap::new();
        for at in dependent {
            let archive = &archives[at];
            let (outcome, goes_on) = match needed.get(&archive.id) {
                Some(reason) => (Outcome::kept(reason.clone()), Ok(())),
                None => self.delete(at, context).await?,
            };
            if !matches!(outcome, Outcome::Deleted(_)) {
                let by = &archive.id;
                needed.extend(archive.needs.iter().map(|need| (need.id.clone(), Reason::NeededBy(by.clone()))));
                if archive.needs_unproved {
                    let older = older.take(by).map(|at| archives[at].id.clone());
                    needed.extend(older.map(|id| (id, Reason::MayBeNeededBy(by.clone()))));
                }
            }
            done.push((at, outcome));
            goes_on?;
        }
        // What is needed by something that stays is not asked about.
        let (stays, alone): (Vec<usize>, Vec<usize>) =
            alone.into_iter().partition(|at| needed.contains_key(&archives[*at].id));
        for at in stays {
            done.push((at, Outcome::kept(needed[&archives[at].id].clone())));
        }
        if self.store.is_local() {
            return self.delete_from_directory(&alone, done, context).await;
        }
        let deleting =
            alone.into_iter().map(|at| async move { self.delete(at, context).await.map(|deleted| (at, deleted)) });
        let take = |(at, (outcome, goes_on)): (usize, Deleted)| {
            done.push((at, outcome));
            goes_on
        };
        each(deleting, AT_ONCE, take).await
    }

    fn take_outcomes(&mut self, done: Vec<(usize, Outcome)>) {
        let mut kept = HashMap::new();
        for (at, outcome) in done {
            self.deeds[at] = Some(match outcome {
                Outcome::Deleted(tombstone) => {
                    let id = self.evidence.archives[at].id.clone();
                    self.marks.extend(tombstone.map(|at| Mark { id, at, leftovers: Vec::new() }));
                    Deed::Deleted
                }
                Outcome::Kept(reason) => {
                    kept.insert(at, *reason);
                    Deed::Kept
                }
                Outcome::Failed(finding) => deed_of(finding),
                Outcome::Begun(finding) => Deed::Begun(finding),
            });
        }
        for decision in &mut self.plan.decisions {
            if let Some(reason) = kept.remove(&decision.archive) {
                (decision.fate, decision.reasons) = (Fate::Kept, vec![reason]);
            }
        }
    }

    /// A directory is read from one end to the other whatever is asked of it, so that one reading has to do for many archives: for as many as
    /// are deleted in the time that it took, and so none is deleted by what is much older than a listing of its own would be.
    async fn delete_from_directory(
        &self,
        mut left: &[usize],
        done: &mut Vec<(usize, Outcome)>,
        context: &Context,
    ) -> Result<()> {
        let archives = &self.evidence.archives;
        while !left.is_empty() {
            let batch = &left[..left.len().min(BATCH)];
            let begun = Instant::now();
            let ids = batch.iter().map(|at| archives[*at].id.clone()).collect();
            let mut listed = Remaining::list_each(self.store, ids).await?;
            let (took, listed_at) = (begun.elapsed(), Instant::now());
            let fresh = batch.iter().enumerate().take_while(|(n, _)| *n < AT_ONCE || listed_at.elapsed() <= took);
            let mut taken = 0;
            let deleting = fresh.map(|(_, at)| {
                taken += 1;
                let remaining = listed.remove(&archives[*at].id).unwrap_or_default();
                async move {
                    check_interrupt(context)?;
                    self.delete_listed(&archives[*at], remaining).await.map(|deleted| (*at, deleted))
                }
            });
            let take = |(at, (outcome, goes_on)): (usize, Deleted)| {
                done.push((at, outcome));
                goes_on
            };
            each(deleting, AT_ONCE, take).await?;
            left = &left[taken..];
        }
        Ok(())
    }

    /// Deletes one archive, as it is now: what was said of it since the plan was made counts.
    async fn delete(&self, at: usize, context: &Context) -> Result<Deleted> {
        check_interrupt(context)?;
        let archive = &self.evidence.archives[at];
        self.delete_listed(archive, Remaining::list(self.store, &archive.id).await?).await
    }

    async fn delete_listed(&self, archive: &Archive, remaining: Remaining) -> Result<Deleted> {
        let tombstone = remaining.tombstone;
        if remaining.held {
            return Ok((Outcome::kept(Reason::Held), Ok(())));
        }
        if remaining.unknown || remaining.is_set() {
            return Ok((Outcome::kept(Reason::UnknownSidecar), Ok(())));
        }
        if remaining.is_empty() {
            // Another run was faster; or this one is the one that was interrupted.
            remaining.delete(self.store).await?;
            return Ok((Outcome::Deleted(tombstone), Ok(())));
        }
        // Whoever took the tombstone away wants it to stay.
        if tombstone.is_none_or(|at| !self.is_over(at)) {
            return Ok((Outcome::kept(Reason::Held), Ok(())));
        }
        if matches!(archive.standing, Standing::Remains) && !remaining.is_half_deleted() {
            return Ok((Outcome::kept(Reason::MayBeWritten), Ok(())));
        }
        match remaining.delete(self.store).await {
            Ok(()) => Ok((Outcome::Deleted(tombstone), Ok(()))),
            Err(error) if is_of_this_object(&error) => Ok((Outcome::Failed(Box::new(Finding::of(&error))), Ok(()))),
            Err(error) => Ok((Outcome::Begun(Box::new(Finding::of(&error))), Err(error))),
        }
    }

    /// Of each source the newest tombstone stays when its archive is gone: it tells the next run when this one was.
    async fn clear_marks(&self) -> Result<()> {
        let marks = || self.evidence.marks.iter().chain(&self.marks);
        let mut newest: BTreeMap<Guid, (Timestamp, &ArchiveId)> = BTreeMap::new();
        for mark in marks() {
            let stays = newest.entry(mark.id.guid()).or_insert((mark.at, &mark.id));
            *stays = (*stays).max((mark.at, &mark.id));
        }
        let store = self.store;
        let names = marks().flat_map(|mark| {
            let stays = newest.get(&mark.id.guid()).is_some_and(|(_, id)| **id == mark.id);
            let tombstone = (!stays).then(|| mark.id.tombstone());
            mark.leftovers.iter().cloned().chain(tombstone)
        });
        let deletes = stream::iter(names).map(|name| async move {
            match store.delete(&name).await {
                Ok(()) | Err(backstay_store::Error::Locked { .. }) => Ok(()),
                Err(error) => Err(Error::from(error)),
            }
        });
        deletes.buffer_unordered(REQUESTS).try_collect().await
    }

    /// What happened, or would.
    fn told(mut self) -> Pruned {
        let due = if self.options.delete { BTreeSet::new() } else { self.due() };
        let decisions = std::mem::take(&mut self.plan.decisions);
        let rows = decisions.into_iter().map(|decision| {
            let archive = &self.evidence.archives[decision.archive];
            let deed = match (self.deeds[decision.archive].take(), decision.fate) {
                (Some(deed), _) => deed,
                (None, Fate::Kept) => Deed::Kept,
                (None, Fate::PassedOver) => Deed::PassedOver,
                (None, Fate::Expires) if due.contains(&decision.archive) => Deed::WouldDelete,
                // Whether or not a listing shows it yet.
                (None, Fate::Expires) if self.expired.contains(&archive.id) => Deed::Expired,
                (None, Fate::Expires) => match archive.tombstone {
                    Some(at) => Deed::Waits(waits_until(self.options, at)),
                    None => Deed::WouldExpire,
                },
            };
            Row {
                id: archive.id.clone(),
                name: archive.name.clone(),
                deed,
                reasons: decision.reasons,
                parts: archive.parts,
                bytes: archive.bytes,
            }
        });
        let rows = rows.collect();
        let excess = if self.options.force { Vec::new() } else { self.plan.excess };
        Pruned { rows, sets: self.sets, blocked: self.plan.blocked, excess, stopped: None }
    }
}

/// What is to get a tombstone.
enum Going {
    /// The archive of the decision with this place.
    Archive(usize),
    /// The set with this place in the evidence.
    Set(usize),
}

/// What came of deleting an archive.
enum Outcome {
    /// It is gone; its tombstone is left, if there was one.
    Deleted(Option<Timestamp>),
    /// Something speaks against it now.
    Kept(Box<Reason>),
    /// The store said no.
    Failed(Box<Finding>),
    /// Something of it may be gone, and what this says ends the run.
    Begun(Box<Finding>),
}

impl Outcome {
    fn kept(reason: Reason) -> Outcome {
        Outcome::Kept(Box::new(reason))
    }
}

/// What came of deleting an archive, and whether the run goes on.
type Deleted = (Outcome, Result<()>);

fn check_interrupt(context: &Context) -> Result<()> {
    if !context.interrupt.is_set() {
        return Ok(());
    }
    Err(Error::Interrupted { left: "what has a tombstone is looked at again by the next run".to_owned() })
}

/// Until when an archive with this tombstone is left.
fn waits_until(options: &PruneOptions, tombstone: Timestamp) -> Timestamp {
    let grace = SignedDuration::try_from(options.grace).unwrap_or(SignedDuration::MAX);
    tombstone.checked_add(grace).unwrap_or(Timestamp::MAX)
}

/// What a refusal of the store's makes of an archive.
fn deed_of(finding: Box<Finding>) -> Deed {
    if finding.code == "store.locked" { Deed::Locked(finding) } else { Deed::Refused(finding) }
}

/// Creates a tombstone, unless one stands.
pub(super) async fn make_tombstone(store: &Store, remark: &Remark) -> Result<()> {
    let bytes = remark.encode();
    let digest = sha256(&bytes);
    match store.create(&remark.id.tombstone(), bytes.into(), digest).await {
        // Another run's does as well.
        Ok(_) | Err(backstay_store::Error::NameTaken { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is a reason to leave a whole source alone.
fn stops_a_source(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Unreadable(_)
            | Reason::UnreadableSet(_)
            | Reason::TwoNames(..)
            | Reason::ManifestDiffers(_)
            | Reason::TooMany
    )
}

/// Keeps everything that would go of the sources that there is a reason for, and every set with one of their archives.
fn stop(plan: &mut Plan, evidence: &Evidence, reason: impl Fn(&Guid) -> Option<Reason>) {
    let mut stopped: HashSet<&ArchiveId> = HashSet::new();
    for decision in plan.decisions.iter_mut().filter(|decision| decision.fate == Fate::Expires) {
        let id = &evidence.archives[decision.archive].id;
        if let Some(reason) = reason(&id.guid()) {
            decision.fate = Fate::Kept;
            decision.reasons = vec![reason];
            stopped.insert(id);
        }
    }
    if stopped.is_empty() {
        return;
    }
    // Of a set, or a chain, that reaches into another source, nothing goes there either.
    loop {
        let mut kept: HashMap<&ArchiveId, Reason> = HashMap::new();
        for decision in plan.sets.iter_mut().filter(|decision| decision.expires) {
            let set = &evidence.sets[decision.set];
            if set.members.iter().any(|member| stopped.contains(&member.id)) {
                decision.expires = false;
                kept.extend(set.members.iter().map(|member| (&member.id, Reason::InSet(set.id.clone()))));
            }
        }
        for archive in evidence.archives.iter().filter(|archive| stopped.contains(&archive.id)) {
            kept.extend(archive.needs.iter().map(|need| (&need.id, Reason::NeededBy(archive.id.clone()))));
        }
        let mut changed = false;
        for decision in plan.decisions.iter_mut().filter(|decision| decision.fate == Fate::Expires) {
            let id = &evidence.archives[decision.archive].id;
            if let Some(reason) = kept.get(id) {
                (decision.fate, decision.reasons) = (Fate::Kept, vec![reason.clone()]);
                changed |= stopped.insert(id);
            }
        }
        if !changed {
            return;
        }
    }
}
