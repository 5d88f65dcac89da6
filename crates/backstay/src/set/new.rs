//! A new set: begun before its members, so that its id is older than theirs, and committed after them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::header::Lock;
use backstay_format::schedule::{Keys, sha256};
use backstay_format::set::Set;
use backstay_format::signature::{SigningKey, header_message};
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, Guid};
use backstay_store::{Created, Error as StoreError, Store};
use bytes::Bytes;

use super::{Member, demand_committed};
use crate::backup::{Receipt, facts_of_this_host, next_id, rfc3339, sealed_facts};
use crate::claim::{self, Ours};
use crate::context::Context;
use crate::destinations::Destinations;
use crate::error::{Error, Result};
use crate::guid;
use crate::keys::Encryption;
use crate::observe::Observer;

/// What a set says of itself.
#[derive(Debug)]
pub struct SetOptions {
    /// The source's identity: its sets share it, and its members' guids are made from it.
    pub guid: Guid,
    /// The source's name, for people.
    pub name: String,
    /// Keep the names of the set and its members, and the tags, in the sealed part.
    pub hide_name: bool,
    /// Labels.
    pub tags: Vec<String>,
    /// What kind of source: `pg_dumpall`, …
    pub source: &'static str,
    /// Who can check it: those who can read its members.
    pub encryption: Arc<Encryption>,
    /// Who signs it.
    pub signing_key: Option<SigningKey>,
}

/// A set whose members are being made.
#[derive(Debug)]
pub struct NewSet {
    id: ArchiveId,
    created: jiff::Timestamp,
    begun: Instant,
    options: SetOptions,
    members: Vec<(Member, u64)>,
}

/// What the commit of a set gives.
#[derive(Debug, Clone)]
pub struct SetReceipt {
    /// The set.
    pub id: ArchiveId,
    /// SHA-256 of what its seal covers.
    pub seal: [u8; 32],
    /// Its members.
    pub members: Vec<Member>,
    /// Stored bytes of all members.
    pub stored: u64,
    /// Whether an ambiguous answer of the store could not be resolved.
    pub unconfirmed: bool,
    /// How long it took, members included.
    pub elapsed: Duration,
}

impl std::fmt::Display for SetReceipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SetReceipt { id, seal, members, stored, .. } = self;
        write!(f, "{id} set of {} {} {stored}", members.len(), to_hex(seal))?;
        if self.unconfirmed { f.write_str(" unconfirmed") } else { Ok(()) }
    }
}

impl NewSet {
    /// Takes an id for a set that begins now. Nothing is stored before the commit, which takes a later one if another run has this one by then.
    ///
    /// # Errors
    /// `usage.arguments` for a signature that nobody could check; `store.*` when the store is not reached.
    pub async fn begin(
        store: &Store,
        options: SetOptions,
        context: &Context,
        observer: &Arc<dyn Observer>,
    ) -> Result<NewSet> {
        store.takes_new_objects()?;
        if options.signing_key.is_some() && !options.encryption.has_slots() {
            return Err(Error::Usage { why: "only sets for recipients or a passphrase can be signed".to_owned() });
        }
        let destinations = Destinations::new(store, None, observer);
        let id = next_id(&destinations, true, &options.guid, context, observer).await?;
        Ok(NewSet { id, created: context.now(), begun: Instant::now(), options, members: Vec::new() })
    }

    /// The set's id.
    pub fn id(&self) -> &ArchiveId {
        &self.id
    }

    /// The guid of the member with this name: the same in every set of this source.
    ///
    /// # Errors
    /// None for a guid that was parsed.
    pub fn guid_of(&self, name: &str) -> Result<Guid> {
        guid::of_member(&self.options.guid, name)
    }

    /// Takes a member that is committed: only a commit gives a receipt. Members are restored in the order in which they are
    /// added.
    pub fn add(&mut self, name: String, role: Option<&str>, receipt: &Receipt) {
        let member = Member { name, id: receipt.id.clone(), root: receipt.root, role: role.map(str::to_owned) };
        self.members.push((member, receipt.stored));
    }

    /// Commits the set. From here on it exists.
    ///
    /// # Errors
    /// `set.incomplete` for a member that is no longer there; `name.taken`, `store.*`, `interrupted`; `manifest.limit`, and nothing is stored, for a set that no reader would take; `internal` for one without members.
    pub async fn commit(
        self,
        store: &Store,
        mut facts: BTreeMap<String, serde_json::Value>,
        context: &Context,
    ) -> Result<SetReceipt> {
        let NewSet { id, created, begun, options, members } = self;
        if members.is_empty() {
            return Err(Error::Internal { why: "a set without members cannot be committed".to_owned() });
        }
        if context.interrupt.is_set() {
            return Err(Error::Interrupted { left: "its members are committed, and no set names them".to_owned() });
        }
        let stored = members.iter().map(|(_, stored)| stored).sum();
        let members: Vec<Member> = members.into_iter().map(|(member, _)| member).collect();
        let locked = options.encryption.lock(context)?;
        let id = untaken(store, id).await?;
        let salt = context.random();
        let keys = Keys::derive(&locked.secret, &salt);
        let commit = keys.commit();
        let signature = options.signing_key.as_ref().map(|key| key.sign(&header_message(&id, &salt, &commit)));
        facts.extend(facts_of_this_host());
        let mut public = members.clone();
        if options.hide_name {
            facts.insert("name".to_owned(), options.name.as_str().into());
            facts.insert("tags".to_owned(), options.tags.clone().into());
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            facts.insert("members".to_owned(), names.into());
            for (n, member) in public.iter_mut().enumerate() {
                member.name = n.to_string();
            }
        }
        let set = Set {
            id: id.clone(),
            created: rfc3339(created),
            finished: Some(rfc3339(context.now())),
            lock: Lock { salt, commit, keys: locked.attached, open: locked.open.then_some(locked.secret.0), signature },
            source: Some(options.source.to_owned()),
            name: (!options.hide_name).then_some(options.name),
            tags: if options.hide_name { Vec::new() } else { options.tags },
            members: public,
            private: Some(sealed_facts(&keys, &facts, context)?),
        };
        let (bytes, seal) = set.encode(&keys.set(), options.signing_key.as_ref())?;

        demand_committed(store, &set).await?;
        // Beside the set they would be taken for leftovers of an interrupted run, so they wait for it no longer than they must.
        for (m, slot) in (0..).zip(locked.detached) {
            let digest = sha256(&slot);
            store.create(&id.keybox(m), Bytes::from(slot), digest).await?;
        }
        let ours = Ours { name: id.set(), size: bytes.len() as u64, sha256: sha256(&bytes) };
        let answer = match store.create_probing(&ours.name, Bytes::from(bytes), ours.sha256).await {
            // It overwrites: what is there now has to be ours. The members have warned of it.
            Err(StoreError::ConditionIgnored { .. }) => {
                claim::still_ours(store, &ours, &context.cpu).await?;
                Created::New
            }
            answer => answer?,
        };
        let unconfirmed = answer == Created::Unconfirmed;
        Ok(SetReceipt { id, seal, members, stored, unconfirmed, elapsed: begun.elapsed() })
    }
}

/// How many ids that others have are passed over. Each is that of a run which began in the same millisecond, or was planted.
const PASSED_OVER: usize = 16;

/// This id, or the next one that nobody has, as far as the store lets itself be listed. A set is sealed only when its members are stored, hours after it
/// began, and would be lost for an id that another run of this source took in the same millisecond.
async fn untaken(store: &Store, mut id: ArchiveId) -> Result<ArchiveId> {
    for _ in 0..PASSED_OVER {
        match claim::unclaimed(store, &id, &[]).await {
            Err(Error::Store(StoreError::NameTaken { .. })) => id = ArchiveId::new(&id.guid(), id.millis() + 1)?,
            looked => return looked.map(|()| id),
        }
    }
    claim::unclaimed(store, &id, &[]).await.map(|()| id)
}
