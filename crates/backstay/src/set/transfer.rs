//! A set as a whole: into a directory, and into another store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::schedule::sha256;
use backstay_format::set::{MAX_SET, SealedSet, Set};
use backstay_store::Store;

use super::{Member, demand_committed, demand_complete, keyboxes, load, open};
use crate::archive::{KEYBOX_FETCH, Located};
use crate::claim::Ours;
use crate::context::Context;
use crate::copy::{Copied, CopyOptions, copy};
use crate::error::{Error, Result};
use crate::observe::{Event, Observer};
use crate::output::Target;
use crate::policy::{ProfileName, ReadPolicy};
use crate::receiver::Receiver;
use crate::restore::{RestoreOptions, Restored, restore};

/// What was restored of a set.
#[derive(Debug)]
pub struct RestoredSet {
    /// The set.
    pub id: ArchiveId,
    /// Each member with its file.
    pub members: Vec<(Member, PathBuf, Restored)>,
    /// Those that are damaged, and what is wrong with them.
    pub damaged: Vec<(Member, Error)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Restores each member to a file of the directory, which is made if it is not there. `file_name` says what the file of a member
/// is called: a plain name, which is never that of a file that is there already. One that is damaged is no reason to do without the others.
///
/// # Errors
/// Those of [`open`], `set.incomplete` before the first byte is written, and those of [`restore`] but for damage, as [`Error::Member`] with the member that
/// they are of. Files that were finished before an error stay.
#[allow(clippy::too_many_arguments, reason = "what restore takes, and how files are called")]
pub async fn restore_set(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    directory: &Path,
    file_name: impl Fn(&Member) -> String,
    options: &RestoreOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<RestoredSet> {
    let begun = Instant::now();
    if options.range.is_some() || options.raw {
        let why = "a range or the raw stream is that of one archive: name a member of the set".to_owned();
        return Err(Error::Usage { why });
    }
    let opened = open(store, id, keyring, &options.policy).await?;
    demand_complete(store, &opened.set, context).await?;
    let failed = |what: String| move |source| Error::Io { what, source };
    tokio::fs::create_dir_all(directory)
        .await
        .map_err(failed(format!("the directory {} cannot be made", directory.display())))?;
    let mut files = Vec::new();
    for (member, policy) in opened.members(&options.policy) {
        let path = directory.join(file_name(member));
        let taken = files.iter().any(|(_, _, file)| *file == path);
        if taken || tokio::fs::try_exists(&path).await.unwrap_or(true) {
            let why = format!("{} exists already: restore a set into an empty directory", path.display());
            return Err(Error::Usage { why });
        }
        files.push((member, policy, path));
    }
    let (mut members, mut damaged) = (Vec::new(), Vec::new());
    for (member, policy, path) in files {
        let options = RestoreOptions { policy, ..options.clone() };
        let target = Target::File(path.clone());
        let restored = restore(store, &member.id, keyring, target, &options, context, Arc::clone(&observer)).await;
        match restored {
            Ok(restored) => members.push((member.clone(), path, restored)),
            // The user knows who stopped it.
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(error) if error.is_damage() => {
                let text = format!("the member `{}`, {}, is not restored: {error}", member.name, member.id);
                observer.event(&Event::Warning { code: Some(error.code()), text });
                damaged.push((member.clone(), error));
            }
            Err(why) => {
                let (name, id) = (member.name.clone(), member.id.to_string());
                return Err(Error::Member { name, id, why: Box::new(why) });
            }
        }
    }
    Ok(RestoredSet { id: id.clone(), members, damaged, elapsed: begun.elapsed() })
}

/// What was copied of a set.
#[derive(Debug)]
pub struct CopiedSet {
    /// The set.
    pub id: ArchiveId,
    /// Its members.
    pub members: Vec<Copied>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Copies the members of a set and then the set, so that the copy too exists only when it is whole.
///
/// # Errors
/// Those of [`load`] and [`copy`]; `set.incomplete`, in either store; `name.taken`.
pub async fn copy_set(
    from: &Store,
    to: &Store,
    id: &ArchiveId,
    options: &CopyOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<CopiedSet> {
    let begun = Instant::now();
    let sealed = load(from, id).await?;
    demand_complete(from, &sealed.set, context).await?;
    let mut members = Vec::new();
    for member in &sealed.set.members {
        members.push(copy(from, to, &member.id, options, context, Arc::clone(&observer)).await?);
    }
    demand_committed(to, &sealed.set).await?;
    document(from, to, &sealed, context, &observer).await?;
    Ok(CopiedSet { id: id.clone(), members, elapsed: begun.elapsed() })
}

/// Whether every member is of the native format, so that writing native archives only leaves them, and with them the set, as they are.
///
/// # Errors
/// Those of [`load`], and of finding each member.
pub async fn is_native(store: &Store, id: &ArchiveId) -> Result<bool> {
    for member in load(store, id).await?.set.members {
        let found = Located::find(store, &member.id, &Keyring::default(), &ReadPolicy::default()).await?;
        if found.profile != ProfileName::Native {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Creates the set's keyboxes and then the set in another store, where they may be already.
async fn document(
    from: &Store,
    to: &Store,
    sealed: &SealedSet,
    context: &Context,
    observer: &Arc<dyn Observer>,
) -> Result<()> {
    let id = &sealed.set.id;
    // The bytes that were judged, whatever the store answers the second time.
    let bytes = from.get(&id.set(), MAX_SET).await?.unwrap_or_default();
    if Set::parse(&bytes, id)? != *sealed {
        let why = "it changed while the set was copied".to_owned();
        return Err(backstay_format::Error::SetInvalid { object: id.set(), why }.into());
    }
    let mut objects = Vec::new();
    for m in keyboxes(from, id).await? {
        objects.extend(from.get(&id.keybox(m), KEYBOX_FETCH).await?.map(|bytes| (id.keybox(m), bytes)));
    }
    objects.push((id.set(), bytes));
    let receiver = Receiver::new(to, &context.cpu, observer);
    for (name, bytes) in objects {
        let ours = Ours { name, size: bytes.len() as u64, sha256: sha256(&bytes) };
        receiver.commit(&ours, bytes).await?;
    }
    Ok(())
}
