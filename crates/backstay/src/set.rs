//! Backup sets: archives that belong together, one for each database of a server or each node of a cluster.
//!
//! A set is one sealed object that names its members with their roots. It is created last, when every member is committed, and
//! never changed: before it there are archives that stand for themselves, and nothing that could be taken for the whole. What
//! state a set is in is found out by looking at its members, and stored nowhere.

mod new;
mod repair;
mod transfer;

use std::sync::Arc;
use std::time::SystemTime;

use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, open_private};
use backstay_format::schedule::Keys;
use backstay_format::schedule::Secret;
use backstay_format::set::{MAX_SET, SealedSet, Set};
use backstay_format::{ArchiveId, Error as Fault, ObjectName};
use backstay_store::Store;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::unlock;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::inventory;
use crate::observe::Observer;
use crate::patience::GRACE;
use crate::policy::ReadPolicy;
use crate::verify::{Demander, Depth, Finding, Report, verify_as};

pub use self::new::{NewSet, SetOptions, SetReceipt};
pub use self::repair::{RepairedSet, repair_set};
pub use self::transfer::{CopiedSet, RestoredSet, copy_set, is_native, restore_set};
pub use backstay_format::set::Member;

/// Members that are looked at at the same time.
const REQUESTS: usize = 16;

/// How far a member, or a whole set, is. The worst member's state is the set's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetState {
    /// The archive that was meant is committed.
    Completed,
    /// Parts of it are there, and it may still be on its way: a copy commits its members one by one.
    Processing,
    /// Nothing of it is there.
    Missing,
    /// It is another archive than the one that was meant, its manifest is at fault, or it was never finished.
    Failed,
}

impl SetState {
    /// The state in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            SetState::Completed => "completed",
            SetState::Processing => "processing",
            SetState::Missing => "missing",
            SetState::Failed => "failed",
        }
    }
}

/// Reads a set and makes the checks that need no key (S1 to S8 of `spec/archive.md` §8.6).
///
/// # Errors
/// `archive.not-found`, `set.invalid`, `set.seal`, `format.unsupported`, `name.mismatch`, `store.*`.
pub async fn load(store: &Store, id: &ArchiveId) -> Result<SealedSet> {
    match store.get(&id.set(), MAX_SET).await {
        Ok(Some(bytes)) => Ok(Set::parse(&bytes, id)?),
        Ok(None) => Err(Error::ArchiveNotFound { what: id.set(), store: store.url().to_owned() }),
        Err(backstay_store::Error::TooLarge { .. }) => {
            Err(Fault::SetInvalid { object: id.set(), why: "it is longer than 32 MiB".to_owned() }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// A set that is trusted: a holder of its key sealed it.
#[derive(Debug, Clone)]
pub struct OpenedSet {
    /// What it says. Where names are hidden, the members have their real ones here.
    pub set: Set,
    /// SHA-256 in its seal.
    pub seal: [u8; 32],
    /// Its private facts as JSON.
    pub private: Option<String>,
}

impl OpenedSet {
    /// The members in the order in which they are restored, and what a reader of each has to demand.
    pub fn members<'a>(&'a self, policy: &'a ReadPolicy) -> impl Iterator<Item = (&'a Member, ReadPolicy)> {
        self.set.members.iter().map(|member| {
            let policy = ReadPolicy { root: Some(member.root), no_manifest: false, receipt: None, ..policy.clone() };
            (member, policy)
        })
    }
}

/// Reads a set and demands that it is what a holder of its key wrote (S1 to S11).
///
/// # Errors
/// Those of [`load`]; `key.*`; `set.seal`; `usage.arguments` for a policy that fits no set.
pub async fn open(store: &Store, id: &ArchiveId, keyring: &Keyring, policy: &ReadPolicy) -> Result<OpenedSet> {
    fits_a_set(policy)?;
    let sealed = load(store, id).await?;
    let unlocked = unlock(id, &sealed.set.lock, &keyboxes(store, id).await?, store, keyring, policy).await?;
    sealed.check(&unlocked.keys.set())?;
    let seal = sealed.seal.sha256;
    let mut set = sealed.set;
    let private = reveal(&mut set, &unlocked.keys)?;
    Ok(OpenedSet { set, seal, private })
}

/// Puts the real names and tags where they were hidden. Gives the private facts.
pub(crate) fn reveal(set: &mut Set, keys: &Keys) -> Result<Option<String>> {
    let object = set.id.set();
    let private = set.private.as_ref().map(|private| open_private(keys, private, &object)).transpose();
    let private =
        private.map_err(|_| Fault::SetInvalid { object, why: "its private details are not authentic".to_owned() })?;
    if let Some(facts) = private.as_ref().and_then(|text| serde_json::from_str::<Hidden>(text).ok()) {
        for (member, name) in set.members.iter_mut().zip(facts.members.unwrap_or_default()) {
            member.name = name;
        }
        set.name = set.name.take().or(facts.name);
        set.tags.extend(facts.tags.unwrap_or_default());
    }
    Ok(private)
}

/// The secret of a set that a holder of its key sealed, the slots in its object, and the numbers of the keyboxes that were there.
///
/// # Errors
/// Those of [`load`]; `key.*`; `set.seal`.
pub(crate) async fn secret(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
) -> Result<(Secret, Vec<Vec<u8>>, Vec<u32>)> {
    let sealed = load(store, id).await?;
    let boxes = keyboxes(store, id).await?;
    let unlocked = unlock(id, &sealed.set.lock, &boxes, store, keyring, &ReadPolicy::default()).await?;
    sealed.check(&unlocked.keys.set())?;
    Ok((unlocked.secret, sealed.set.lock.keys, boxes))
}

/// Refuses what can be demanded of one archive only.
fn fits_a_set(policy: &ReadPolicy) -> Result<()> {
    if policy.no_manifest || policy.root.is_some() || policy.receipt.is_some() {
        let why = "a set names the roots of its members: --no-manifest and --receipt are for one archive";
        return Err(Error::Usage { why: why.to_owned() });
    }
    Ok(())
}

/// What a set keeps for its key's holders when names are hidden.
#[derive(serde::Deserialize)]
struct Hidden {
    name: Option<String>,
    tags: Option<Vec<String>>,
    members: Option<Vec<String>>,
}

/// The numbers of the set's keyboxes.
pub(crate) async fn keyboxes(store: &Store, id: &ArchiveId) -> Result<Vec<u32>> {
    let mut boxes = Vec::new();
    let mut listing = store.list(&format!("{id}.key."), None);
    while let Some(object) = listing.try_next().await? {
        match ObjectName::parse(&object.name) {
            ObjectName::Keybox(of, m) if of == *id => boxes.push(m),
            _ => {}
        }
    }
    boxes.sort_unstable();
    Ok(boxes)
}

/// What a member is found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberState {
    /// How far it is.
    pub state: SetState,
    /// Stored bytes by its manifest; 0 unless it is completed.
    pub stored: u64,
    /// Bytes of content by its manifest, unless they are hidden.
    pub content: Option<u64>,
}

impl MemberState {
    fn only(state: SetState) -> MemberState {
        MemberState { state, stored: 0, content: None }
    }
}

/// The state of each member, in order.
///
/// # Errors
/// `store.*`.
pub async fn states(store: &Store, set: &Set, now: SystemTime) -> Result<Vec<MemberState>> {
    let states = stream::iter(0..set.members.len()).map(|at| state(store, &set.members[at], now));
    states.buffered(REQUESTS).try_collect().await
}

async fn state(store: &Store, member: &Member, now: SystemTime) -> Result<MemberState> {
    match store.get(&member.id.manifest(), MAX_MANIFEST).await {
        Ok(Some(bytes)) => Ok(match Manifest::parse(bytes.into(), &member.id) {
            Ok(Document::Manifest(sealed))
                if sealed.manifest.detached && keyboxes(store, &member.id).await?.is_empty() =>
            {
                MemberState::only(SetState::Failed)
            }
            Ok(Document::Manifest(sealed)) if sealed.manifest.root() == member.root => {
                let Manifest { content, .. } = sealed.manifest;
                MemberState { state: SetState::Completed, stored: sealed.manifest.stored(), content }
            }
            _ => MemberState::only(SetState::Failed),
        }),
        Ok(None) => {
            let (mut newest, mut listing) = (None, store.list(&format!("{}-", member.id), None));
            while let Some(object) = listing.try_next().await? {
                newest = newest.max(Some(object.modified));
            }
            Ok(MemberState::only(match newest {
                None => SetState::Missing,
                Some(newest) if now.duration_since(newest).is_ok_and(|age| age >= GRACE) => SetState::Failed,
                Some(_) => SetState::Processing,
            }))
        }
        Err(backstay_store::Error::TooLarge { .. }) => Ok(MemberState::only(SetState::Failed)),
        Err(error) => Err(error.into()),
    }
}

/// The state of a set whose members are in these states.
pub fn state_of(members: &[MemberState]) -> SetState {
    members.iter().map(|member| member.state).max().unwrap_or(SetState::Failed)
}

/// Refuses a set of which a member is not what was meant (S12).
///
/// # Errors
/// `set.incomplete`, `store.*`.
pub async fn demand_complete(store: &Store, set: &Set, context: &Context) -> Result<()> {
    let states = states(store, set, SystemTime::from(context.now())).await?;
    match set.members.iter().zip(states).find(|(_, found)| found.state != SetState::Completed) {
        None => Ok(()),
        Some((member, found)) => Err(incomplete(&set.id, member, found.state).into()),
    }
}

/// Demands that the manifest of each member is still there, as far as whoever may only write can see: a member that was committed an hour ago may be
/// deleted since.
///
/// # Errors
/// `set.incomplete`, `store.*`.
async fn demand_committed(store: &Store, set: &Set) -> Result<()> {
    let looks = stream::iter(&set.members).map(|member| async move {
        match inventory::is_there(store, &member.id.manifest()).await? {
            Some(false) => Err(incomplete(&set.id, member, SetState::Processing).into()),
            Some(true) | None => Ok(()),
        }
    });
    looks.buffered(REQUESTS).try_collect().await
}

fn incomplete(id: &ArchiveId, member: &Member, state: SetState) -> Fault {
    let why = match state {
        SetState::Missing => "nothing of it is there",
        SetState::Processing => "it is not committed",
        SetState::Failed | SetState::Completed => {
            "its manifest is missing, at fault, or that of another archive, or its keyboxes are gone"
        }
    };
    Fault::SetIncomplete { id: id.to_string(), name: member.name.clone(), why: format!("{} {why}", member.id) }
}

/// What verify found out about a set.
#[derive(Debug)]
pub struct SetReport {
    /// The set.
    pub id: ArchiveId,
    /// What is wrong with the set itself: its seal, or a member that is not there.
    pub findings: Vec<Finding>,
    /// What was found about each member that is there.
    pub members: Vec<(String, Report)>,
    /// Whether the set and all its members are proved to be what a key's holder wrote.
    pub authentic: bool,
}

impl SetReport {
    /// Whether nothing was found.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.members.iter().all(|(_, report)| report.is_good())
    }
}

/// Checks a set and each of its members to this depth. Only `deep` needs a key, as for an archive.
///
/// # Errors
/// When nothing can be said: those of [`load`] and, at depth `deep`, of [`open`]; `store.*`; `interrupted`.
pub async fn verify_set(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    depth: Depth,
    policy: &ReadPolicy,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<SetReport> {
    fits_a_set(policy)?;
    let set = match depth {
        Depth::Deep => open(store, id, keyring, policy).await?,
        Depth::Quick | Depth::Full => {
            let sealed = load(store, id).await?;
            if let Some(signer) = &policy.signer {
                sealed.check_signer(signer)?;
            }
            OpenedSet { seal: sealed.seal.sha256, set: sealed.set, private: None }
        }
    };
    let proved = depth == Depth::Deep && set.set.lock.open.is_none() || policy.signer.is_some();
    let mut report = SetReport { id: id.clone(), findings: Vec::new(), members: Vec::new(), authentic: proved };
    let states = states(store, &set.set, SystemTime::from(context.now())).await?;
    for ((member, policy), MemberState { state, .. }) in set.members(policy).zip(states) {
        if state != SetState::Completed {
            report.findings.push(Finding::of(&incomplete(id, member, state).into()));
            continue;
        }
        let (demander, observer) = (Demander::Set { proved }, Arc::clone(&observer));
        let checked = verify_as(store, &member.id, keyring, depth, &policy, demander, context, observer).await?;
        report.authentic &= checked.authentic;
        report.members.push((member.name.clone(), checked));
    }
    Ok(report)
}
