//! Carrying a plan out, in two steps: what goes gets a tombstone, and after a grace, if a new plan says the same, it is deleted.
//!
//! A tombstone alone never suffices: it only starts the waiting time, and every run makes its plan anew from what is in
//! the store then. So two runs at once, a run that was interrupted, and tombstones that somebody else put there come to the same end.
//! Nothing here relies on a conditional create: where a store overwrites, a tombstone that is made twice is only younger.

mod deletion;
mod tombstones;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use backstay_format::header::{Kind, Reference};
use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};

pub(super) use self::tombstones::make_tombstone;
use super::evidence::{Archive, Evidence, Mark};
use super::gather::{Belief, gather};
use super::plan::{Decision, Excess, Fate, Plan, Reason, plan};
use super::policy::Policy;
use crate::archive::{LINE, Object, read_header};
use crate::context::Context;
use crate::dated::stored_at;
use crate::error::{Error, Result};
use crate::gc::PROBE;
pub use crate::patience::GRACE;
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

/// Until when an archive with this tombstone is left.
fn waits_until(options: &PruneOptions, tombstone: Timestamp) -> Timestamp {
    let grace = SignedDuration::try_from(options.grace).unwrap_or(SignedDuration::MAX);
    tombstone.checked_add(grace).unwrap_or(Timestamp::MAX)
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
