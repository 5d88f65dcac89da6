//! Tombstones: they start the waiting time of what is to go, and are taken from what is to stay.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use backstay_format::remark::Remark;
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, Guid, Word};
use backstay_store::Store;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{Deed, REQUESTS, Run, stops_a_source};
use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::retention::plan::Fate;
use crate::under_way::each;

/// What is to get a tombstone.
enum Going {
    /// The archive of the decision with this place.
    Archive(usize),
    /// The set with this place in the evidence.
    Set(usize),
}

impl Run<'_> {
    /// A policy that keeps an archive again, or a hold, gives it the whole grace again.
    pub(super) async fn take_stale_tombstones(&self) -> Result<()> {
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
    pub(super) async fn make_tombstones(&mut self, context: &Context) -> Result<bool> {
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
    pub(super) fn expiring_sets(&self) -> Vec<(usize, BTreeSet<usize>)> {
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

    /// Of each source the newest tombstone stays when its archive is gone: it tells the next run when this one was.
    pub(super) async fn clear_marks(&self) -> Result<()> {
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
}

/// Creates a tombstone, unless one stands.
pub(in crate::retention) async fn make_tombstone(store: &Store, remark: &Remark) -> Result<()> {
    let bytes = remark.encode();
    let digest = sha256(&bytes);
    match store.create(&remark.id.tombstone(), bytes.into(), digest).await {
        // Another run's does as well.
        Ok(_) | Err(backstay_store::Error::NameTaken { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
