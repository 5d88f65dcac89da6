//! `copy --repair`: what is broken in an archive is replaced with what a replica has, and nothing else is touched.
//!
//! Elsewhere an object is created once and never changed; here a broken one is deleted and created again, which takes the right to
//! delete. It is deleted only when it was read twice and found broken both times, and when the bytes that take its place are in
//! memory and have the digest that the manifest states. So wherever the process ends, nothing that was good is gone, and a
//! missing part was a broken one: the next run goes on. A manifest that is lost comes last, as always.
//!
//! Two stores may have two archives under one id, for a conversion keeps it. Where the store's manifest is there, it says which is meant. Where it is
//! lost, a part that differs from the replica's may be a good one of the other archive: then what is there has to prove that it is
//! of the replica's, or nothing is touched.

mod sealed;
mod stores;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::header::{Header, MAX_LINE, Reference};
use backstay_format::manifest::{Manifest, Profile, SealedManifest};
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, Error as Fault, ObjectName, openssl};
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::Object;
use crate::context::Context;
use crate::copy::CopyOptions;
use crate::error::{Error, Result};
use crate::fetch::{digest_fault, whole};
use crate::observe::{Event, Observer, Progress};

pub(crate) use self::sealed::Stored;
pub use self::stores::Changes;
pub(crate) use self::stores::{Left, Repair, State};

/// What was done.
#[derive(Debug, Clone)]
pub struct Repaired {
    /// The archive.
    pub id: ArchiveId,
    /// Its parts, all of which are good now.
    pub parts: u32,
    /// What was changed for that.
    pub changes: Changes,
    /// How long it took.
    pub elapsed: Duration,
}

/// Repairs an archive in `store` with what `replica` has of it.
///
/// Both have to be the same archive: their manifests are byte for byte equal, or the replica's is lost or damaged; or the store's is, and
/// a part that is there proves to be of the archive of the replica's manifest, and none to be of another one.
///
/// # Errors
/// `replica.differs` when they are not, before anything is changed; `archive.uncommitted` and `archive.not-found` when neither
/// has a manifest; `part.missing`, `part.size` and `part.digest` when the replica lacks or damaged a part that is needed, after
/// everything else is mended; `store.failed` when one of its objects is gone at the end, since somebody deletes it; `format.unsupported` for a manifest of a later version; `store.denied` when the store does not let a damaged object be deleted; `usage.memory`; and the
/// stores' own.
pub async fn repair(
    store: &Store,
    replica: &Store,
    id: &ArchiveId,
    options: &CopyOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Repaired> {
    let begun = Instant::now();
    let repair = Repair { store, replica, id, context, observer: &observer };
    let work = async {
        let (own, theirs) = (Stored::manifest(store, id).await?, Stored::manifest(replica, id).await?);
        let Plan { manifest, bytes, own } = agree(own, theirs, id, store, replica)?;
        let found = repair.listed().await?;
        let parts = expected(&manifest, id);
        let at_once = options.at_once(parts.iter().map(|part| part.object.size).max().unwrap_or(0))?;

        let mut progress = Progress {
            total_stored: Some(manifest.stored()),
            total_parts: u32::try_from(parts.len()).ok(),
            ..Progress::default()
        };
        let mut broken = Vec::new();
        let (repair, found) = (&repair, &found);
        {
            let mut judged =
                stream::iter(&parts)
                    .map(|part| async move {
                        Ok::<_, Error>((part, repair.judge(part, found.get(&part.object.name)).await?))
                    })
                    .buffered(at_once);
            while let Some((part, state)) = judged.try_next().await? {
                progress.stored += part.object.size;
                progress.parts += 1;
                observer.event(&Event::Progress(progress));
                if state != State::Good {
                    broken.push((part, state));
                }
            }
        }
        if own != Own::Good {
            repair.demand_the_same_archive(&manifest, own, &parts, &broken, found).await?;
        }

        let (mut changes, mut left) = (Changes::default(), Left::default());
        repair.keyboxes(found, &mut changes, &mut left).await?;
        let mut mended = stream::iter(broken)
            .map(|(part, state)| async move { Ok::<_, Error>((part, state, repair.mend(part, state).await?)) })
            .buffer_unordered(at_once);
        while let Some((part, state, supplied)) = mended.try_next().await? {
            match supplied {
                Supplied::Whole => changes.note(part.object.name.clone(), part.object.size, state),
                Supplied::Not(error) => drop(left.insert(part.object.name.clone(), (part.object.n, error))),
            }
        }
        drop(mended);
        // A manifest says that all of it is there.
        if let Some(error) = repair.left(left, &changes) {
            return Err(error);
        }
        let name = id.manifest();
        match own {
            Own::Good => {}
            Own::Lost => {
                repair.create(&name, bytes.clone(), sha256(&bytes)).await?;
                changes.note(name, bytes.len() as u64, State::Missing);
            }
            Own::Damaged => {
                repair.replace(&name, bytes.clone(), sha256(&bytes)).await?;
                changes.note(name, bytes.len() as u64, State::Damaged);
            }
        }
        let good = parts.iter().map(|part| (part.object.name.clone(), part.object.size));
        repair.demand_still_there(good.chain([(id.manifest(), bytes.len() as u64)])).await?;
        Ok((parts.len(), changes))
    };
    let (parts, mut changes) = tokio::select! {
        biased;
        () = context.interrupt.wait() => {
            return Err(Error::Interrupted { left: format!("{id} may not be whole in {}: repair it again to go on", store.url()) });
        }
        done = work => done?,
    };
    changes.restored.sort();
    changes.replaced.sort();
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    Ok(Repaired { id: id.clone(), parts, changes, elapsed: begun.elapsed() })
}

/// What to hold the parts to.
struct Plan {
    manifest: Manifest,
    bytes: Bytes,
    own: Own,
}

/// The manifest in the store that is repaired.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Good,
    Lost,
    Damaged,
}

fn agree(
    own: Stored<SealedManifest>,
    theirs: Stored<SealedManifest>,
    id: &ArchiveId,
    store: &Store,
    replica: &Store,
) -> Result<Plan> {
    let plan = |sealed: Box<SealedManifest>, bytes, own| Ok(Plan { manifest: sealed.manifest, bytes, own });
    match (own, theirs) {
        (Stored::Whole(_, ours), Stored::Whole(_, theirs)) if ours != theirs => {
            let why = format!("its manifest is not that of {}", replica.url());
            Err(Error::ReplicaDiffers { id: id.to_string(), store: store.url().to_owned(), why })
        }
        // A damaged manifest of the replica's does no harm where the store's own is good.
        (Stored::Whole(sealed, bytes), _) => plan(sealed, bytes, Own::Good),
        (Stored::Nothing, Stored::Whole(sealed, bytes)) => plan(sealed, bytes, Own::Lost),
        (Stored::Damaged(_), Stored::Whole(sealed, bytes)) => plan(sealed, bytes, Own::Damaged),
        (Stored::Damaged(error), _) | (_, Stored::Damaged(error)) => Err(error),
        (Stored::Nothing, Stored::Nothing) => {
            Err(Error::ArchiveNotFound { what: id.manifest(), store: format!("{} or {}", store.url(), replica.url()) })
        }
    }
}

/// A part as the manifest states it.
struct Part {
    object: Object,
    sha256: [u8; 32],
}

fn expected(manifest: &Manifest, id: &ArchiveId) -> Vec<Part> {
    let single = matches!(&manifest.profile, Profile::Openssl(head) if head.single);
    let part = |(n, entry): (u32, &backstay_format::manifest::PartEntry)| {
        let name = if single { id.to_string() } else { id.part(n) };
        Part { object: Object { n, name, size: entry.size }, sha256: entry.sha256 }
    };
    (manifest.first..).zip(&manifest.parts).map(part).collect()
}

/// What the replica had in place of a broken part.
enum Supplied {
    /// The part, which is in the store now.
    Whole,
    /// Nothing, or nothing good; the store is as it was.
    Not(Error),
}

/// What the bytes under a part's name, which are not the part's, are.
enum Kin {
    /// The archive's own, but damaged.
    Own,
    /// Another archive's, and why that is known.
    Another(&'static str),
    /// Nothing that could be told.
    Unknown,
}

impl Repair<'_> {
    /// A part as a store has it, and its digest.
    async fn whole(&self, store: &Store, object: &Object) -> Result<(Bytes, [u8; 32])> {
        whole(store, object, &self.context.cpu, self.observer).await
    }

    /// A part as it is in the store. One that seems damaged is read again: what is deleted must not have been a bad read.
    async fn judge(&self, part: &Part, size: Option<&u64>) -> Result<State> {
        match size {
            None => return Ok(State::Missing),
            // A listing may be old.
            Some(size) if *size != part.object.size => match self.store.head(&part.object.name).await? {
                None => return Ok(State::Missing),
                Some(found) if found.size != part.object.size => return Ok(State::Damaged),
                Some(_) => {}
            },
            Some(_) => {}
        }
        for _ in 0..2 {
            match self.whole(self.store, &part.object).await {
                Ok((_, digest)) if digest == part.sha256 => return Ok(State::Good),
                Ok(_) | Err(Error::Store(StoreError::ShortObject { .. })) => {}
                Err(Error::Store(StoreError::ObjectMissing { .. })) => return Ok(State::Missing),
                Err(error) => return Err(error),
            }
        }
        Ok(State::Damaged)
    }

    /// Refuses unless what is in the store is of the archive of the replica's manifest. Only a manifest says of a part that it is damaged; without
    /// one it may be as good as it was, and of another archive.
    async fn demand_the_same_archive(
        &self,
        manifest: &Manifest,
        own: Own,
        parts: &[Part],
        broken: &[(&Part, State)],
        found: &HashMap<String, u64>,
    ) -> Result<()> {
        let refuse = |why: String| {
            let (id, store) = (self.id.to_string(), self.store.url().to_owned());
            Err(Error::ReplicaDiffers { id, store, why })
        };
        let expected: HashSet<&str> = parts.iter().map(|part| part.object.name.as_str()).collect();
        let is_part = |name: &str| matches!(ObjectName::parse(name), ObjectName::Part { .. } | ObjectName::Single(_));
        let beside = found.keys().filter(|name| is_part(name) && !expected.contains(name.as_str())).min();
        if let Some(name) = beside {
            let replica = self.replica.url();
            return refuse(format!(
                "it has no good manifest, and {name}, which the manifest in {replica} does not know; move that away if it does not belong there"
            ));
        }
        let mut proved = broken.len() < parts.len();
        for (part, _) in broken.iter().filter(|(_, state)| *state == State::Damaged) {
            match self.kin(manifest, part).await? {
                Kin::Own => proved = true,
                Kin::Another(why) => {
                    let (name, replica) = (&part.object.name, self.replica.url());
                    return refuse(format!("it has no good manifest, and {name} {why} of the archive in {replica}"));
                }
                Kin::Unknown => {}
            }
        }
        // Where there is nothing, nothing can be lost.
        let empty = own == Own::Lost && broken.iter().all(|(_, state)| *state == State::Missing);
        if proved || empty {
            return Ok(());
        }
        refuse(format!(
            "it has no good manifest, and every part there is damaged or another archive's than that in {}; move them away if they are worth nothing",
            self.replica.url()
        ))
    }

    /// What the beginning of an object under a part's name tells. One byte that fell over makes no other archive.
    async fn kin(&self, manifest: &Manifest, part: &Part) -> Result<Kin> {
        let name = &part.object.name;
        let Some(there) = self.store.head(name).await?.filter(|there| there.size > 0) else { return Ok(Kin::Unknown) };
        let range = 0..there.size.min(MAX_LINE as u64);
        let start = match self.store.get_range(name, range).await {
            Ok(start) => start,
            Err(StoreError::ObjectMissing { .. } | StoreError::ShortObject { .. }) => return Ok(Kin::Unknown),
            Err(error) => return Err(error.into()),
        };
        Ok(match &manifest.profile {
            Profile::Native(_) if start.starts_with(&openssl::MAGIC) => {
                Kin::Another("begins as one of the openssl format, which is not that")
            }
            Profile::Native(head) => match Header::read(&start, self.id, part.object.n, Reference::None) {
                Ok(header) if header.common.salt == head.common.salt => Kin::Own,
                Ok(header) if header.common.commit != head.common.commit => {
                    Kin::Another("says that it is a part of another archive, with another key than that")
                }
                _ => Kin::Unknown,
            },
            Profile::Openssl(_) if start.starts_with(b"BACKSTAY1 ") => {
                Kin::Another("begins as one of the native format, which is not that")
            }
            Profile::Openssl(head) => {
                let salt = start.strip_prefix(&openssl::MAGIC).and_then(|rest| rest.first_chunk());
                if part.object.n == manifest.first && salt == Some(&head.salt.0) { Kin::Own } else { Kin::Unknown }
            }
        })
    }

    /// Puts the replica's part in the place of a broken one.
    async fn mend(&self, part: &Part, state: State) -> Result<Supplied> {
        let Part { object, sha256 } = part;
        let there = Object { name: format!("{} in {}", object.name, self.replica.url()), ..object.clone() };
        let (bytes, found) = match self.whole(self.replica, object).await {
            Ok(whole) => whole,
            Err(Error::Store(StoreError::ObjectMissing { .. })) => {
                let id = format!("{} in {}", self.id, self.replica.url());
                return Ok(Supplied::Not(Fault::PartMissing { id, n: object.n }.into()));
            }
            Err(Error::Store(StoreError::ShortObject { size, .. })) => {
                let fault = Fault::PartSize { object: there.name, found: size, expected: object.size };
                return Ok(Supplied::Not(fault.into()));
            }
            // It cannot be read: that says nothing of the next one.
            Err(error) if error.ends_only_a_part() => return Ok(Supplied::Not(error)),
            Err(error) => return Err(error),
        };
        if found != *sha256 {
            return Ok(Supplied::Not(digest_fault(&there, &found, sha256)));
        }
        match state {
            State::Damaged => self.replace(&object.name, bytes, *sha256).await?,
            _ => self.create(&object.name, bytes, *sha256).await?,
        }
        Ok(Supplied::Whole)
    }
}
