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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::header::{Header, MAX_LINE, Reference};
use backstay_format::key::MAX_KEYBOXES;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, Profile, SealedManifest, is_aborted_marker};
use backstay_format::schedule::sha256;
use backstay_format::{ArchiveId, Error as Fault, ObjectName, openssl};
use backstay_store::{Error as StoreError, Store};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::{KEYBOX_FETCH, Object};
use crate::context::Context;
use crate::copy::CopyOptions;
use crate::error::{Error, Result};
use crate::fetch::{digest_fault, whole};
use crate::observe::{Event, Observer, Progress};

/// What was done.
#[derive(Debug, Clone)]
pub struct Repaired {
    /// The archive.
    pub id: ArchiveId,
    /// Its parts, all of which are good now.
    pub parts: u32,
    /// Objects that were missing and are there again.
    pub restored: Vec<String>,
    /// Objects that were damaged and are replaced.
    pub replaced: Vec<String>,
    /// Keyboxes that are not those of the replica. Without a key nobody can tell which are the good ones, so they stay as they are.
    pub differing: Vec<String>,
    /// The replica's keyboxes in place of those, under numbers that were free.
    pub added: Vec<String>,
    /// Bytes that were sent.
    pub sent: u64,
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
/// everything else is mended; `store.denied` when the store does not let a damaged object be deleted; `usage.memory`; and the
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
        let (own, theirs) = (Stored::read(store, id).await?, Stored::read(replica, id).await?);
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

        let (mut done, mut left) = (Done::default(), Left::default());
        repair.keyboxes(found, &mut done, &mut left).await?;
        let mut mended = stream::iter(broken)
            .map(|(part, state)| async move { Ok::<_, Error>((part, state, repair.mend(part, state).await?)) })
            .buffer_unordered(at_once);
        while let Some((part, state, supplied)) = mended.try_next().await? {
            match supplied {
                Supplied::Whole => done.note(part.object.name.clone(), part.object.size, state),
                Supplied::Not(error) => drop(left.insert(part.object.name.clone(), (part.object.n, error))),
            }
        }
        drop(mended);
        // A manifest says that all of it is there.
        if let Some(error) = repair.left(left, &done) {
            return Err(error);
        }
        let name = id.manifest();
        match own {
            Own::Good => {}
            Own::Lost => {
                repair.create(&name, bytes.clone(), sha256(&bytes)).await?;
                done.note(name, bytes.len() as u64, State::Missing);
            }
            Own::Damaged => {
                repair.replace(&name, bytes.clone(), sha256(&bytes)).await?;
                done.note(name, bytes.len() as u64, State::Damaged);
            }
        }
        Ok((parts.len(), done))
    };
    let (parts, done) = tokio::select! {
        biased;
        () = context.interrupt.wait() => {
            return Err(Error::Interrupted { left: format!("{id} may not be whole in {}: repair it again to go on", store.url()) });
        }
        done = work => done?,
    };
    let Done { mut restored, mut replaced, differing, added, sent } = done;
    restored.sort();
    replaced.sort();
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    Ok(Repaired { id: id.clone(), parts, restored, replaced, differing, added, sent, elapsed: begun.elapsed() })
}

/// What stands under the manifest's name.
enum Stored {
    Whole(Box<SealedManifest>, Bytes),
    Damaged(Error),
    Nothing,
}

impl Stored {
    async fn read(store: &Store, id: &ArchiveId) -> Result<Stored> {
        let bytes = match store.get(&id.manifest(), MAX_MANIFEST).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Stored::Nothing),
            Err(StoreError::StoreMissing { .. }) if store.is_local() => return Ok(Stored::Nothing),
            Err(error @ StoreError::TooLarge { .. }) => return Ok(Stored::Damaged(error.into())),
            Err(error) => return Err(error.into()),
        };
        if is_aborted_marker(&bytes, id) {
            let why = "it was given up and is being cleared away";
            return Err(Fault::ArchiveUncommitted { id: id.to_string(), why }.into());
        }
        match Manifest::parse(bytes.clone().into(), id) {
            Ok(Document::Manifest(manifest)) => Ok(Stored::Whole(manifest, bytes)),
            Ok(Document::Foreign(_)) => {
                let why = "it has no sealed manifest, so that nothing tells which of its parts are good".to_owned();
                Ok(Stored::Damaged(Fault::ManifestInvalid { object: id.manifest(), why }.into()))
            }
            Err(fault) => Ok(Stored::Damaged(fault.into())),
        }
    }
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

fn agree(own: Stored, theirs: Stored, id: &ArchiveId, store: &Store, replica: &Store) -> Result<Plan> {
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

/// How an object of the store was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Good,
    Missing,
    Damaged,
}

/// What was done so far, by the objects' names.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) restored: Vec<String>,
    pub(crate) replaced: Vec<String>,
    pub(crate) differing: Vec<String>,
    pub(crate) added: Vec<String>,
    pub(crate) sent: u64,
}

/// What the replica could not help with, by the objects' names: the part's number, and why.
pub(crate) type Left = BTreeMap<String, (u32, Error)>;

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

impl Done {
    pub(crate) fn note(&mut self, name: String, size: u64, state: State) {
        match state {
            State::Good => return,
            State::Missing => self.restored.push(name),
            State::Damaged => self.replaced.push(name),
        }
        self.sent += size;
    }
}

/// The two stores, and what lies between.
#[derive(Clone, Copy)]
pub(crate) struct Repair<'a> {
    pub(crate) store: &'a Store,
    pub(crate) replica: &'a Store,
    pub(crate) id: &'a ArchiveId,
    pub(crate) context: &'a Context,
    pub(crate) observer: &'a Arc<dyn Observer>,
}

impl Repair<'_> {
    /// A part as a store has it, and its digest.
    async fn whole(&self, store: &Store, object: &Object) -> Result<(Bytes, [u8; 32])> {
        whole(store, object, &self.context.cpu, self.observer).await
    }

    /// Names and sizes of everything that carries the archive's id.
    pub(crate) async fn listed(&self) -> Result<HashMap<String, u64>> {
        let mut found = HashMap::new();
        let mut listing = self.store.list(self.id.as_str(), None);
        while let Some(object) = listing.next().await {
            match object {
                Ok(object) if ObjectName::parse(&object.name).id() == Some(self.id) => {
                    found.insert(object.name, object.size);
                }
                Ok(_) => {}
                Err(StoreError::StoreMissing { .. }) if self.store.is_local() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
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

    /// Keyboxes that the replica has and the store has not. One that both have with different bytes stays, since without a key nobody can tell
    /// which is the good one: the replica's is added beside it, for one good keybox is enough.
    pub(crate) async fn keyboxes(&self, found: &HashMap<String, u64>, done: &mut Done, left: &mut Left) -> Result<()> {
        let number = |name: &str| match ObjectName::parse(name) {
            ObjectName::Keybox(id, m) if id == *self.id => Some(m),
            _ => None,
        };
        let mut theirs = BTreeMap::new();
        let mut listing = self.replica.list(self.id.as_str(), None);
        while let Some(object) = listing.try_next().await? {
            if let Some(m) = number(&object.name) {
                theirs.extend(keybox(self.replica, &object.name).await?.map(|bytes| (m, bytes)));
            }
        }
        if theirs.is_empty() {
            return Ok(());
        }
        let mut taken: BTreeSet<u32> = found.keys().filter_map(|name| number(name)).collect();
        let mut ours = BTreeMap::new();
        for m in &taken {
            ours.extend(keybox(self.store, &self.id.keybox(*m)).await?.map(|bytes| (*m, bytes)));
        }
        let mut differing = Vec::new();
        for (m, bytes) in theirs {
            let name = self.id.keybox(m);
            if !taken.contains(&m) {
                self.create(&name, bytes.clone(), sha256(&bytes)).await?;
                done.note(name, bytes.len() as u64, State::Missing);
                taken.insert(m);
                ours.insert(m, bytes);
            } else if ours.get(&m) != Some(&bytes) {
                differing.push((name, bytes));
            }
        }
        for (name, bytes) in differing {
            // An earlier repair may have added it.
            if !ours.values().any(|own| *own == bytes) {
                let free = (0..).find(|m| !taken.contains(m)).filter(|_| taken.len() < MAX_KEYBOXES);
                let Some(m) = free else {
                    let why = format!(
                        "{name} differs from that in {}, and there are {} keyboxes already: readers look at no more",
                        self.replica.url(),
                        taken.len()
                    );
                    left.insert(name, (0, Error::Usage { why }));
                    continue;
                };
                let own = self.id.keybox(m);
                self.create(&own, bytes.clone(), sha256(&bytes)).await?;
                done.sent += bytes.len() as u64;
                done.added.push(own);
                taken.insert(m);
                ours.insert(m, bytes);
            }
            done.differing.push(name);
        }
        Ok(())
    }

    /// The error of a repair that left something broken.
    pub(crate) fn left(&self, left: Left, done: &Done) -> Option<Error> {
        let mended = done.restored.len() + done.replaced.len() + done.added.len();
        let names: Vec<String> = left.keys().cloned().collect();
        // The first by number; of the others it is only said that they are.
        let (_, first) = left.into_values().min_by_key(|(n, _)| *n)?;
        if names.len() == 1 && mended == 0 {
            return Some(first);
        }
        let (id, store, replica) = (self.id.to_string(), self.store.url().to_owned(), self.replica.url().to_owned());
        Some(Error::Unmended { id, store, replica, mended, left: names, first: Box::new(first) })
    }

    pub(crate) async fn replace(&self, name: &str, bytes: Bytes, sha256: [u8; 32]) -> Result<()> {
        self.store.delete(name).await?;
        self.create(name, bytes, sha256).await
    }

    pub(crate) async fn create(&self, name: &str, bytes: Bytes, sha256: [u8; 32]) -> Result<()> {
        match self.store.create(name, bytes, sha256).await {
            Ok(_) => Ok(()),
            Err(StoreError::NameTaken { .. }) => {
                Err(Error::CopyDiffers { name: name.to_owned(), store: self.store.url().to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A keybox, if it is one: none is that long.
async fn keybox(store: &Store, name: &str) -> Result<Option<Bytes>> {
    match store.get(name, KEYBOX_FETCH).await {
        Ok(bytes) => Ok(bytes),
        Err(StoreError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
