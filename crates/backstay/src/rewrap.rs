//! Keys of archives and backup sets that exist already: more slots, the secret itself, and its destruction.
//!
//! Nothing is rewritten. A new slot is a new object beside the parts, a keybox; a slot that is inside the parts stays
//! there, so only archives that were made with detached keys can lose them.

use std::collections::HashSet;

use age::secrecy::SecretString;
use backstay_format::key::{Keyring, MAX_KEYBOXES};
use backstay_format::manifest::{MAX_MANIFEST, Profile};
use backstay_format::schedule::{Secret, sha256};
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::{Error as StoreError, Setting, Store, probe_conditional_create};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::{Archive, Committed, Lines, Located, Native, Objects, keyboxes};
use crate::catalog::{self, Filter, Selected};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::gc::PROBE;
use crate::keys::wrap;
use crate::policy::ReadPolicy;
use crate::retention::Beginning;
use crate::set;

/// What to add to archives and sets.
pub struct NewSlots<'a> {
    /// Who may open them.
    pub recipients: &'a [Box<dyn age::Recipient + Send + Sync>],
    /// A passphrase that may.
    pub passphrase: Option<&'a SecretString>,
    /// Keys that tell whether it is done already: an archive or a set that one of them opens by a slot of its own is left as it is. Nothing else could tell, since a
    /// slot does not say for whom it is.
    pub unless_opened_by: &'a Keyring,
}

impl std::fmt::Debug for NewSlots<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSlots({} recipients, passphrase {})", self.recipients.len(), self.passphrase.is_some())
    }
}

/// Everything in a store that has slots of its own: the archives that are committed and the sets, oldest first.
///
/// # Errors
/// `store.*`.
pub async fn every(store: &Store, filter: &Filter, context: &Context) -> Result<Vec<Selected>> {
    let (archives, sets) = catalog::list_all(store, filter, false, context).await?;
    let archives = archives.into_iter().map(|entry| Selected::Archive(entry.id));
    let mut all: Vec<Selected> = archives.chain(sets.into_iter().map(|entry| Selected::Set(entry.id))).collect();
    all.sort_unstable_by(|one, other| one.id().cmp(other.id()));
    Ok(all)
}

/// Adds slots to an archive or to a set, whose members have slots of their own, as new keyboxes. Gives their names; none when it is
/// done already. A recipient whose private key is in the keyring and opens it by a slot of its own is in already and left out.
///
/// # Errors
/// Those of opening it; `usage.arguments` for what has no slots to add to, or has as many keyboxes as readers look at;
/// `store.condition-ignored`, and nothing is stored, when the store would overwrite another run's keybox; `key.not-found` when the keyboxes
/// were deleted meanwhile: then no new one is left.
pub async fn rewrap(
    store: &Store,
    of: &Selected,
    keyring: &Keyring,
    new: &NewSlots<'_>,
    context: &Context,
) -> Result<Vec<String>> {
    if !new.unless_opened_by.is_empty() {
        match secret_of(store, of, new.unless_opened_by).await {
            Ok(_) => return Ok(Vec::new()),
            // Not by this key, or not yet.
            Err(Error::Format(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let id = of.id();
    let (secret, attached, seen) = secret_of(store, of, keyring).await?;
    let taken = set::keyboxes(store, id).await?;
    // Somebody destroys the keys, who is not to be undone.
    let destroyed = |left: &[u32]| !seen.is_empty() && !seen.iter().any(|m| left.contains(m));
    if destroyed(&taken) {
        return Err(Error::KeysDestroyed { id: id.to_string(), how: "nothing was added".to_owned() });
    }
    let there = attached.into_iter().chain(keyboxes(id, &taken, store).await?).collect::<Vec<_>>();
    let mut recipients = Vec::new();
    for recipient in new.recipients.iter().map(AsRef::as_ref) {
        // A slot does not say whose it is, so one is made to find out.
        if !keyring.has_another(&wrap(&secret, [recipient], None)?[0], &there, &secret) {
            recipients.push(recipient);
        }
    }
    let slots = wrap(&secret, recipients, new.passphrase)?;
    if slots.is_empty() {
        return Ok(Vec::new());
    }
    if taken.len() + slots.len() > MAX_KEYBOXES {
        let why = format!(
            "{id} has {} keyboxes, and readers look at the first {MAX_KEYBOXES} only: another one would open nothing",
            taken.len()
        );
        return Err(Error::Usage { why });
    }
    // A number is free only as far as a listing tells: a store that overwrites would let two of us take the same one.
    keeps_conditions(store, id, &taken, context).await?;
    let mut free = (0..).filter(|m| !taken.contains(m));
    let mut names = Vec::new();
    for slot in slots {
        let digest = sha256(&slot);
        let slot = Bytes::from(slot);
        // Another run may be adding slots too. It takes at most what readers look at.
        let mut attempts = 0..MAX_KEYBOXES;
        let name = loop {
            let name = id.keybox(free.next().expect("there is always a larger number"));
            match store.create(&name, slot.clone(), digest).await {
                Ok(_) => break name,
                Err(StoreError::NameTaken { .. }) if attempts.next().is_some() => {}
                Err(error) => return Err(error.into()),
            }
        };
        names.push(name);
    }
    // Whoever destroys keys lists them again when all are deleted: one of us sees what the other did.
    if !destroyed(&set::keyboxes(store, id).await?) {
        return Ok(names);
    }
    let mut how = "nothing was added".to_owned();
    for name in &names {
        match store.delete(name).await {
            Ok(()) => {}
            Err(StoreError::Denied { .. } | StoreError::Locked { .. }) => {
                how = format!("{name} is there and opens it, and this credential may not delete it");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::KeysDestroyed { id: id.to_string(), how })
}

/// The secret, the slots that are in the parts or in the set's object, and the numbers of the keyboxes that were there when it was opened.
async fn secret_of(store: &Store, of: &Selected, keyring: &Keyring) -> Result<(Secret, Vec<Vec<u8>>, Vec<u32>)> {
    match of {
        Selected::Archive(id) => {
            let (native, seen) = native(store, id, keyring).await?;
            Ok((native.secret, native.header.common.keys, seen))
        }
        Selected::Set(id) => set::secret(store, id, keyring).await,
    }
}

/// Finds out whether the store keeps conditions before anything relies on it: an object of the archive or set that is there is created once more, with its own
/// bytes. A store that takes it has lost nothing by it.
async fn keeps_conditions(store: &Store, id: &ArchiveId, keyboxes: &[u32], context: &Context) -> Result<()> {
    if store.keeps_conditions() {
        return Ok(());
    }
    let names = keyboxes.first().map(|m| id.keybox(*m)).into_iter().chain([id.manifest(), id.set()]);
    for name in names {
        let bytes = match store.get(&name, MAX_MANIFEST).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(StoreError::TooLarge { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let digest = sha256(&bytes);
        if !store.overwrites(&name, bytes, digest).await? {
            return Ok(());
        }
        // Or it was deleted just then, and is there again by our doing: which one another object tells.
        if probe(store, context).await.is_err() {
            return Err(StoreError::ConditionIgnored { store: store.url().to_owned(), name }.into());
        }
        store.delete(&name).await?;
        return Err(match ObjectName::parse(&name) {
            ObjectName::Keybox(..) => Error::KeysDestroyed { id: id.to_string(), how: "nothing was added".to_owned() },
            _ => Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() },
        });
    }
    probe(store, context).await
}

async fn probe(store: &Store, context: &Context) -> Result<()> {
    let probe = format!("{PROBE}{}", to_hex(&context.random::<16>()));
    Ok(probe_conditional_create(&store.for_passing_objects(), &probe).await.map(drop)?)
}

/// The 32 bytes that open this archive, for a recovery by hand.
///
/// # Errors
/// Those of opening the archive; `usage.arguments` for the openssl profile, whose key is the password.
pub async fn export_secret(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<Secret> {
    Ok(native(store, id, keyring).await?.0.secret)
}

/// The archive, opened, and the numbers of its keyboxes.
async fn native(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<(Box<Native>, Vec<u32>)> {
    // A manifest that is lost or damaged does not keep the key's holder from the key.
    let policy = ReadPolicy { no_manifest: true, this_stream_only: true, ..ReadPolicy::default() };
    let located = Located::find(store, id, keyring, &policy).await?;
    let keyboxes = located.objects.keyboxes.clone();
    match located.unlock(store, keyring, &policy, Lines::Stored).await? {
        Archive::Native(native) => Ok((native, keyboxes)),
        Archive::Openssl(_) => {
            Err(Error::Usage { why: format!("{id} is of the openssl profile: its key is the password") })
        }
    }
}

/// What a store keeps of objects that are deleted, in words; `None` where nothing is known to stay. Copies elsewhere, and whoever read a keybox before, no store
/// knows of.
///
/// # Errors
/// `store.*`.
pub async fn stays_behind(store: &Store) -> Result<Option<String>> {
    let Some(settings) = store.bucket_settings().await? else {
        let unknown = "whether this store keeps old versions of what is deleted cannot be told here";
        return Ok((!store.is_local()).then(|| unknown.to_owned()));
    };
    Ok(match settings.versioning {
        Setting::Is(true) => Some(
            "the bucket keeps old versions: until all versions of the keyboxes are deleted too, the keys are there"
                .to_owned(),
        ),
        Setting::Is(false) => None,
        Setting::Unknown(why) => {
            Some(format!("whether the bucket keeps old versions of what is deleted cannot be told: {why}"))
        }
    })
}

/// Sets that are read at the same time.
const REQUESTS: usize = 16;

/// Refuses what somebody holds: the archive itself, or a backup set that needs it, because the set is held or one of its other members is.
///
/// # Errors
/// `retention.held`; `store.*`.
pub async fn demand_no_hold(store: &Store, id: &ArchiveId) -> Result<()> {
    let refuse = |how: String| Err(Error::KeysHeld { id: id.to_string(), how });
    let (mut held, mut sets) = (HashSet::new(), Vec::new());
    let mut listing = store.list("", None);
    while let Some(object) = listing.try_next().await? {
        match ObjectName::parse(&object.name) {
            ObjectName::Sidecar(of, Word::Hold, _) if of == *id => return refuse("it is held".to_owned()),
            ObjectName::Unknown(of) if of == *id => {
                return refuse(format!("this version does not know what {} means", object.name));
            }
            ObjectName::Sidecar(of, Word::Hold, _) => drop(held.insert(of)),
            ObjectName::Set(of) => sets.push(of),
            _ => {}
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    let (held, mut found) = (
        &held,
        stream::iter(sets)
            .map(|of| async move {
                match set::load(store, &of).await {
                    Ok(sealed) => Ok((of, Some(sealed.set))),
                    Err(Error::ArchiveNotFound { .. } | Error::Format(_)) => Ok((of, None)),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(REQUESTS),
    );
    while let Some((of, set)) = found.try_next().await? {
        let Some(set) = set else {
            if held.contains(&of) {
                return refuse(format!("the set {of} is held, cannot be read, and may need it"));
            }
            continue;
        };
        if !set.members.iter().any(|member| member.id == *id) {
            continue;
        }
        if held.contains(&of) {
            return refuse(format!("the set {of} needs it, and is held"));
        }
        if let Some(other) = set.members.iter().find(|member| held.contains(&member.id)) {
            return refuse(format!("the set {of} needs it, and its member {} is held", other.id));
        }
    }
    Ok(())
}

/// Deletes every keybox of an archive whose slots are only there: without one of them nobody can read it, for good. What is added meanwhile goes, too.
/// Gives the names of what was deleted.
///
/// # Errors
/// `usage.arguments`, and nothing is deleted, when the archive would stay readable: its slots are in its parts, or it has
/// none at all; `retention.held`, as [`demand_no_hold`]. `store.locked` when a lock holds one of them: those before it are gone then, and the archive is readable as long as one is left.
pub async fn destroy_keys(store: &Store, id: &ArchiveId, by: &str, context: &Context) -> Result<Vec<String>> {
    let objects = Objects::list(store, id).await?;
    let refuse = |why: &str| Err(Error::Usage { why: format!("the keys of {id} cannot be destroyed: {why}") });
    let attached = match &Committed::load(store, id, &objects).await? {
        Committed::Sealed(sealed) => match &sealed.manifest.profile {
            Profile::Native(head) if head.common.open.is_some() => return refuse("it is not encrypted"),
            Profile::Native(head) => !head.common.keys.is_empty(),
            Profile::Openssl(_) => return refuse("its key is the password"),
        },
        Committed::Foreign(_) => return refuse("it was not made by Backstay"),
        Committed::Nothing | Committed::Damaged => return refuse("it has no manifest that says where its slots are"),
    };
    if attached {
        return refuse("its slots are in every part; only archives made with --detached-keys can lose them");
    }
    if objects.keyboxes.is_empty() {
        return refuse("it has no keyboxes: it was made with a raw key, or they are destroyed already");
    }
    // A hold that is not seen here sees this.
    let begun = Beginning::mark(store, id, by, context).await?;
    let destroyed = match demand_no_hold(store, id).await {
        Ok(()) => delete_keyboxes(store, id, objects.keyboxes).await,
        Err(error) => Err(error),
    };
    let taken_back = begun.take_back(store).await;
    destroyed.and_then(|names| taken_back.map(|()| names))
}

/// Deletes these keyboxes, and those that somebody adds until there are none. Whoever adds one when the others are gone sees that they are,
/// and takes it back; so this ends.
async fn delete_keyboxes(store: &Store, id: &ArchiveId, mut keyboxes: Vec<u32>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    while !keyboxes.is_empty() {
        for name in keyboxes.iter().map(|m| id.keybox(*m)) {
            store.delete(&name).await?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        keyboxes = Vec::new();
        for m in set::keyboxes(store, id).await? {
            // A listing may lag behind.
            if store.head(&id.keybox(m)).await?.is_some() {
                keyboxes.push(m);
            }
        }
    }
    Ok(names)
}
