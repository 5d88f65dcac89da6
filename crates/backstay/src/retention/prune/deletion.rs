//! Deleting what has waited long enough: sets first, then archives, those that need others before what they need. Each is looked at once more just before, and
//! after a mark was made that a hold would see ([`Beginning`]).

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use jiff::Timestamp;

use super::{AT_ONCE, BATCH, Deed, REQUESTS, Run};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::retention::beginning::Beginning;
use crate::retention::evidence::{Archive, Mark, Set, Standing};
use crate::retention::plan::{Fate, MAY_BE_WRITTEN, Older, Reason};
use crate::retention::removal::{Remaining, is_of_this_object};
use crate::under_way::each;
use crate::verify::Finding;

/// How long a mark is relied on: holds take no notice of one that is two days old.
const MARKED: Duration = Duration::from_secs(3600);

impl Run<'_> {
    /// What is deleted now: its tombstone is old enough, and so is that of everything that needs it or goes with it.
    pub(super) fn due(&self) -> BTreeSet<usize> {
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
    pub(super) async fn delete_sets(&mut self, context: &Context) -> Result<BTreeSet<usize>> {
        let mut due = self.due();
        for (at, members) in self.expiring_sets() {
            if !members.iter().any(|at| due.contains(at)) {
                continue;
            }
            check_interrupt(context)?;
            let mut gone = false;
            let deleted = self.delete_set(&self.evidence.sets[at], &mut gone, context).await;
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
    async fn delete_set(&self, set: &Set, gone: &mut bool, context: &Context) -> Result<Option<Reason>> {
        let begun = Beginning::mark(self.store, &set.id, &self.options.by, context).await?;
        let mut remaining = Remaining::list(self.store, &set.id).await?;
        let kept = if remaining.unknown || remaining.is_archive() {
            Some(Reason::UnknownSidecar)
        } else {
            // Whoever took the tombstone away wants it to stay.
            (remaining.held || remaining.tombstone.is_none()).then_some(Reason::Held)
        };
        if kept.is_some() {
            begun.take_back(self.store).await?;
            return Ok(kept);
        }
        // An archive that somebody else begins under this name has its keybox first. What is young is left to a later run.
        let young = |modified| self.now.duration_since(modified) < MAY_BE_WRITTEN;
        match remaining.delete_set_alone(self.store).await {
            Ok(()) => *gone = true,
            Err(error) => {
                if is_of_this_object(&error) {
                    begun.take_back(self.store).await?;
                }
                return Err(error);
            }
        }
        match remaining.newest_keybox().is_some_and(young) {
            true => begun.take_back(self.store).await?,
            false => remaining.delete(self.store, &begun).await?,
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
    pub(super) async fn delete_archives(&mut self, due: BTreeSet<usize>, context: &Context) -> Result<()> {
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
        let mut marks: HashMap<usize, Beginning> = HashMap::new();
        let mut since = Instant::now();
        while !left.is_empty() {
            // Those of this batch that are still to come.
            if since.elapsed() > MARKED {
                self.take_back(std::mem::take(&mut marks)).await?;
                since = Instant::now();
            }
            let batch = &left[..left.len().min(BATCH)];
            let marking = batch.iter().filter(|at| !marks.contains_key(at)).map(|at| async move {
                check_interrupt(context)?;
                Ok((*at, Beginning::mark(self.store, &archives[*at].id, &self.options.by, context).await?))
            });
            let marking: Vec<_> = marking.collect();
            let mut made = Vec::new();
            let all = each(marking, REQUESTS, |mark| {
                made.push(mark);
                Ok(())
            });
            let all = all.await;
            marks.extend(made);
            if let Err(error) = all {
                return self.take_back(marks).await.and(Err(error));
            }
            let begun = Instant::now();
            let ids = batch.iter().map(|at| archives[*at].id.clone()).collect();
            let mut listed = Remaining::list_each(self.store, ids).await?;
            let (took, listed_at) = (begun.elapsed(), Instant::now());
            let fresh = batch.iter().enumerate().take_while(|(n, _)| *n < AT_ONCE || listed_at.elapsed() <= took);
            let mut taken = 0;
            let deleting = fresh.map(|(_, at)| {
                taken += 1;
                let remaining = listed.remove(&archives[*at].id).unwrap_or_default();
                let mark = marks.remove(at);
                async move {
                    let Some(mark) = mark else { return Err(Error::Internal { why: "nothing was marked".to_owned() }) };
                    if let Err(interrupted) = check_interrupt(context) {
                        return mark.take_back(self.store).await.and(Err(interrupted));
                    }
                    self.delete_listed(&archives[*at], remaining, mark).await.map(|deleted| (*at, deleted))
                }
            });
            let take = |(at, (outcome, goes_on)): (usize, Deleted)| {
                done.push((at, outcome));
                goes_on
            };
            let all = each(deleting, AT_ONCE, take).await;
            if let Err(error) = all {
                return self.take_back(marks).await.and(Err(error));
            }
            left = &left[taken..];
        }
        Ok(())
    }

    /// Takes back the marks of what was not touched.
    async fn take_back(&self, marks: HashMap<usize, Beginning>) -> Result<()> {
        each(marks.into_values().map(|mark| mark.take_back(self.store)), REQUESTS, Ok).await
    }

    /// Deletes one archive, as it is now: what was said of it since the plan was made counts.
    async fn delete(&self, at: usize, context: &Context) -> Result<Deleted> {
        check_interrupt(context)?;
        let archive = &self.evidence.archives[at];
        let begun = Beginning::mark(self.store, &archive.id, &self.options.by, context).await?;
        self.delete_listed(archive, Remaining::list(self.store, &archive.id).await?, begun).await
    }

    /// Deletes what was listed after this mark was made.
    async fn delete_listed(&self, archive: &Archive, remaining: Remaining, begun: Beginning) -> Result<Deleted> {
        let tombstone = remaining.tombstone;
        if let Some(reason) = self.against(archive, &remaining) {
            begun.take_back(self.store).await?;
            return Ok((Outcome::kept(reason), Ok(())));
        }
        if remaining.is_empty() {
            // Another run was faster; or this one is the one that was interrupted.
            remaining.delete(self.store, &begun).await?;
            return Ok((Outcome::Deleted(tombstone), Ok(())));
        }
        match remaining.delete(self.store, &begun).await {
            Ok(()) => Ok((Outcome::Deleted(tombstone), Ok(()))),
            Err(error) if is_of_this_object(&error) => {
                begun.take_back(self.store).await?;
                Ok((Outcome::Failed(Box::new(Finding::of(&error))), Ok(())))
            }
            Err(error) => Ok((Outcome::Begun(Box::new(Finding::of(&error))), Err(error))),
        }
    }

    /// What speaks against deleting what there is of an archive now.
    fn against(&self, archive: &Archive, remaining: &Remaining) -> Option<Reason> {
        if remaining.held {
            return Some(Reason::Held);
        }
        if remaining.unknown || remaining.is_set() {
            return Some(Reason::UnknownSidecar);
        }
        if remaining.is_empty() {
            return None;
        }
        // Whoever took the tombstone away wants it to stay.
        if remaining.tombstone.is_none_or(|at| !self.is_over(at)) {
            return Some(Reason::Held);
        }
        let may_be_written = matches!(archive.standing, Standing::Remains) && !remaining.is_half_deleted();
        may_be_written.then_some(Reason::MayBeWritten)
    }
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

/// What a refusal of the store's makes of an archive.
fn deed_of(finding: Box<Finding>) -> Deed {
    if finding.code == "store.locked" { Deed::Locked(finding) } else { Deed::Refused(finding) }
}
