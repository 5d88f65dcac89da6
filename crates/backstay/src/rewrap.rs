//! Keys of archives that exist already: more slots, the secret itself, and its destruction.
//!
//! Nothing is rewritten. A new slot is a new object beside the parts, a keybox; a slot that is inside the parts stays
//! there, so only archives that were made with detached keys can lose them.

use age::secrecy::SecretString;
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::manifest::Profile;
use backstay_format::schedule::{Secret, sha256};
use backstay_store::Store;
use bytes::Bytes;

use crate::archive::{Archive, Committed, Lines, Objects};
use crate::error::{Error, Result};
use crate::keys::wrap;
use crate::policy::ReadPolicy;

/// Adds slots for these recipients and this passphrase, as new keyboxes. Gives their names.
///
/// # Errors
/// Those of opening the archive; `usage.arguments` for an archive that has no slots to add to.
pub async fn rewrap(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    recipients: &[Box<dyn age::Recipient + Send + Sync>],
    passphrase: Option<&SecretString>,
) -> Result<Vec<String>> {
    let secret = export_secret(store, id, keyring).await?;
    let slots = wrap(&secret, recipients, passphrase)?;
    let taken = Objects::list(store, id).await?.keyboxes;
    let mut free = (0..).filter(|m| !taken.contains(m));
    let mut names = Vec::new();
    for slot in slots {
        let name = id.keybox(free.next().expect("there is always a larger number"));
        let digest = sha256(&slot);
        let slot = Bytes::from(slot);
        // The number is free only as far as a listing tells: a store that overwrites would let two of us take the same one.
        match names.is_empty() {
            true => store.create_probing(&name, slot, digest).await?,
            false => store.create(&name, slot, digest).await?,
        };
        names.push(name);
    }
    Ok(names)
}

/// The 32 bytes that open this archive, for a recovery by hand.
///
/// # Errors
/// Those of opening the archive; `usage.arguments` for the openssl profile, whose key is the password.
pub async fn export_secret(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<Secret> {
    // A manifest that is lost or damaged does not keep the key's holder from the key.
    let policy = ReadPolicy { no_manifest: true, this_stream_only: true, ..ReadPolicy::default() };
    match Archive::open(store, id, keyring, &policy, Lines::Stored).await? {
        Archive::Native(native) => Ok(native.secret.clone()),
        Archive::Openssl(_) => {
            Err(Error::Usage { why: format!("{id} is of the openssl profile: its key is the password") })
        }
    }
}

/// Deletes every keybox of an archive whose slots are only there: without one of them nobody can read it, for good. Gives
/// the names of what was deleted.
///
/// # Errors
/// `usage.arguments`, and nothing is deleted, when the archive would stay readable: its slots are in its parts, or it has
/// none at all.
pub async fn destroy_keys(store: &Store, id: &ArchiveId) -> Result<Vec<String>> {
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
    let names: Vec<String> = objects.keyboxes.iter().map(|m| id.keybox(*m)).collect();
    for name in &names {
        store.delete(name).await?;
    }
    Ok(names)
}
