//! The archives of a store: a list, and one archive in full.
//!
//! There is no index that could be wrong: the listing is the truth. One streaming listing tells number, sizes and times;
//! manifests are fetched only for what only they know, several at a time.

pub mod freshness;
mod select;
mod sets;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use backstay_format::header::Kind;
use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, Profile, SealedManifest, open_private};
use backstay_format::remark::{MAX_REMARK, Remark};
use backstay_format::report::Level;
use backstay_format::{ArchiveId, Error as Fault, Guid, ObjectName, Seal, Word, openssl};
use backstay_store::{ObjectInfo, Store};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;

use crate::archive::{Committed, Located, Object, Objects, first_bytes};
use crate::error::{Error, Result};
use crate::guid;
use crate::policy::{ProfileName, ReadPolicy, ReceiptLine};
use crate::report;

pub use self::select::{Selected, select, select_any};
pub use self::sets::{SetEntry, list_all};

/// Requests in flight.
const REQUESTS: usize = 16;
/// No manifest is so short, and every abort marker is: what is smaller has to be looked at.
pub(crate) const SHORTER_THAN_A_MANIFEST: u64 = 400;
/// Bytes of manifests that are held at once, whatever their number. One that is larger is held alone.
const MANIFESTS: usize = 64 << 20;
/// Bytes that tell the openssl profile, and how many objects are remembered that may hold them.
const MAGIC: u64 = openssl::MAGIC.len() as u64;
const MAGIC_OBJECTS: usize = openssl::MAGIC.len();

/// How far an archive got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is a backup.
    Committed,
    /// Its upload did not finish, or still runs.
    Incomplete,
    /// It was given up, and what it left is being removed.
    Aborted,
}

/// One archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id.
    pub id: ArchiveId,
    /// How far it got.
    pub state: State,
    /// Its profile, where it is known: its first bytes or its manifest were read.
    pub profile: Option<ProfileName>,
    /// Stored parts.
    pub parts: u32,
    /// Their bytes.
    pub stored: u64,
    /// When it was committed, by the store's clock; when its newest part was stored, where nothing commits it.
    pub modified: SystemTime,
    /// Key slots beside it.
    pub keyboxes: u32,
    /// The source's name, if manifests were read and it is not hidden.
    pub name: Option<String>,
    /// The labels, if manifests were read.
    pub tags: Vec<String>,
    /// The kind, if manifests were read.
    pub kind: Option<Kind>,
    /// Bytes of content, if manifests were read and it is not hidden.
    pub content: Option<u64>,
    /// The root, if manifests were read.
    pub root: Option<[u8; 32]>,
    /// Whether somebody holds it.
    pub held: bool,
    /// When it got its tombstone.
    pub expired: Option<SystemTime>,
    /// Labels that were added later, if manifests were read.
    pub added_tags: Vec<String>,
    /// Reports on it.
    pub reports: u32,
    /// What the newest report says, if reports were read. Nobody checked its seal.
    pub reported: Option<Reported>,
}

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Whether nothing was wrong.
    pub good: bool,
    /// How thoroughly was looked.
    pub level: Level,
    /// When it was stored.
    pub at: SystemTime,
}

/// What the newest report has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It is good.
    Good,
    /// It is bad.
    Bad,
    /// There is none.
    Never,
}

/// Which archives.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this source.
    pub guid: Option<Guid>,
    /// Of the source with this name: its guid follows from the name, or its manifest says so.
    pub name: Option<String>,
    /// With this label, whether from the beginning or added.
    pub tag: Option<String>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Of this profile.
    pub profile: Option<ProfileName>,
    /// With at least so many stored bytes.
    pub min_stored: Option<u64>,
    /// With at most so many stored bytes.
    pub max_stored: Option<u64>,
    /// Of which the newest report says this.
    pub verified: Option<Verified>,
    /// That somebody holds.
    pub held: bool,
    /// Begun before this.
    pub before: Option<jiff::Timestamp>,
    /// Those too that nothing commits.
    pub incomplete: bool,
}

/// The archives of a store, oldest first.
///
/// One listing; one small ranged read for each archive without a manifest, since one of the openssl profile needs none;
/// with `read_manifests`, or a filter that needs them, the manifests, and what was said of an archive later.
///
/// # Errors
/// `store.*`. A manifest that cannot be read does not hide its archive: what it would say is left out.
pub async fn list(store: &Store, filter: &Filter, read_manifests: bool) -> Result<Vec<Entry>> {
    let prefix = filter.guid.as_ref().map(|guid| format!("{guid}-")).unwrap_or_default();
    let (archives, _) = find(store, &prefix, filter, read_manifests).await?;
    Ok(archives.into_iter().map(|found| found.entry).collect())
}

/// The archives whose ids begin with `prefix`, oldest first, and the backup sets, which the filter's name and tag have not been held
/// against.
async fn find(
    store: &Store,
    prefix: &str,
    filter: &Filter,
    read_manifests: bool,
) -> Result<(Vec<Found>, Vec<FoundSet>)> {
    let read_all = read_manifests || filter.reads_everything();
    // A name usually tells the guid, and then the manifest need not be asked.
    let derived = filter.name.as_deref().and_then(|name| guid::from_name(name).ok());
    let held = Semaphore::new(MANIFESTS);
    let (found, sets) = survey(store, prefix, filter).await?;
    let mut archives = stream::iter(found)
        .map(|mut found| {
            let named = derived.as_ref().is_some_and(|guid| found.entry.id.guid() == *guid);
            let read = read_all || (filter.name.is_some() && !named);
            let held = &held;
            async move {
                found.complete(store, read, held).await?;
                Ok::<_, Error>((found, named))
            }
        })
        .buffered(REQUESTS);
    let mut wanted = Vec::new();
    while let Some((found, named)) = archives.try_next().await? {
        let entry = &found.entry;
        if filter.name.as_ref().is_none_or(|name| named || entry.name.as_ref() == Some(name))
            && filter.fits(entry)
            && (filter.incomplete || entry.state == State::Committed)
        {
            wanted.push(found);
        }
    }
    Ok((wanted, sets))
}

impl Filter {
    /// Whether something is asked that the listing does not tell.
    fn reads_everything(&self) -> bool {
        self.tag.is_some() || self.kind.is_some() || self.profile.is_some() || self.verified.is_some()
    }

    /// Whether an archive of which all is known is meant.
    fn fits(&self, entry: &Entry) -> bool {
        let verified = match entry.reported {
            Some(Reported { good: true, .. }) => Verified::Good,
            Some(Reported { good: false, .. }) => Verified::Bad,
            None => Verified::Never,
        };
        self.tag.as_ref().is_none_or(|tag| entry.tags.contains(tag) || entry.added_tags.contains(tag))
            && self.kind.is_none_or(|kind| entry.kind == Some(kind))
            && self.profile.is_none_or(|profile| entry.profile == Some(profile))
            && self.min_stored.is_none_or(|least| entry.stored >= least)
            && self.max_stored.is_none_or(|most| entry.stored <= most)
            && self.verified.is_none_or(|wanted| wanted == verified)
            && (!self.held || entry.held)
    }
}

/// An archive as far as the listing tells, and what is read to know more.
struct Found {
    entry: Entry,
    /// Size and time of `<id>.json`.
    manifest: Option<(u64, SystemTime)>,
    /// The first objects of the stream, as many as hold the bytes that tell the profile.
    start: Vec<Object>,
    /// Objects with added labels.
    tags: Vec<String>,
    /// The newest report, by the store's clock.
    report: Option<(SystemTime, String)>,
}

/// A backup set as far as the listing tells.
struct FoundSet {
    id: ArchiveId,
    held: bool,
    /// Objects with added labels.
    tags: Vec<String>,
}

/// Lists what begins with `prefix` and groups it by archive, oldest first. Beside the archives there are the sets.
async fn survey(store: &Store, prefix: &str, filter: &Filter) -> Result<(Vec<Found>, Vec<FoundSet>)> {
    let before = filter.before.map(|before| u64::try_from(before.as_millisecond()).unwrap_or(0));
    let wanted = |id: &ArchiveId| {
        before.is_none_or(|before| id.millis() < before) && filter.guid.as_ref().is_none_or(|guid| id.guid() == *guid)
    };
    let mut found: BTreeMap<ArchiveId, Found> = BTreeMap::new();
    let mut sets = BTreeSet::new();
    let mut listing = store.list(prefix, None);
    while let Some(object) = listing.try_next().await? {
        let name = ObjectName::parse(&object.name);
        let Some(id) = name.id().filter(|id| wanted(id)) else { continue };
        if let ObjectName::Set(id) = &name {
            sets.insert(id.clone());
            continue;
        }
        match found.get_mut(id) {
            Some(archive) => archive.add(&name, object),
            None => {
                let mut archive = Found::new(id.clone());
                archive.add(&name, object);
                found.insert(archive.entry.id.clone(), archive);
            }
        }
    }
    let said = |id: ArchiveId| {
        let (held, tags) = found.get(&id).map_or((false, Vec::new()), |said| (said.entry.held, said.tags.clone()));
        FoundSet { id, held, tags }
    };
    let sets = sets.into_iter().map(said).collect();
    Ok((found.into_values().filter(Found::is_archive).collect(), sets))
}

impl Found {
    fn new(id: ArchiveId) -> Found {
        let entry = Entry {
            id,
            state: State::Incomplete,
            profile: None,
            parts: 0,
            stored: 0,
            modified: SystemTime::UNIX_EPOCH,
            keyboxes: 0,
            name: None,
            tags: Vec::new(),
            kind: None,
            content: None,
            held: false,
            expired: None,
            added_tags: Vec::new(),
            reports: 0,
            reported: None,
            root: None,
        };
        Found { entry, manifest: None, start: Vec::new(), tags: Vec::new(), report: None }
    }

    /// Keyboxes and sidecars alone are no archive.
    fn is_archive(&self) -> bool {
        self.entry.parts > 0 || self.manifest.is_some()
    }

    fn add(&mut self, name: &ObjectName, ObjectInfo { name: object, size, modified, .. }: ObjectInfo) {
        let n = match name {
            ObjectName::Part { n, .. } => *n,
            ObjectName::Single(_) => 0,
            ObjectName::Manifest(_) => {
                self.manifest = Some((size, modified));
                return;
            }
            ObjectName::Keybox(..) => {
                self.entry.keyboxes += 1;
                return;
            }
            ObjectName::Sidecar(_, word, number) => return self.add_sidecar(*word, *number, object, modified),
            _ => return,
        };
        self.entry.parts += 1;
        self.entry.stored += size;
        self.entry.modified = self.entry.modified.max(modified);
        let at = self.start.partition_point(|object| object.n < n);
        self.start.insert(at, Object { n, name: object, size });
        // Stores list part 10 before part 2, so which ones come first is known only at the end; a few are enough.
        while self.start.len() > 1 && self.start[..self.start.len() - 1].iter().any(|object| object.size >= MAGIC) {
            self.start.pop();
        }
        self.start.truncate(MAGIC_OBJECTS);
    }

    fn add_sidecar(&mut self, word: Word, number: Option<u64>, object: String, modified: SystemTime) {
        match (word, number) {
            (Word::Hold, _) => self.entry.held = true,
            (Word::Expired, None) => self.entry.expired = Some(modified),
            (Word::Tag, _) => self.tags.push(object),
            (Word::Verified, Some(_)) => {
                self.entry.reports += 1;
                let newest = Some((modified, object));
                self.report = newest.max(self.report.take());
            }
            _ => {}
        }
    }

    /// Reads what was said of it later: of its reports only the newest.
    async fn hear(&mut self, store: &Store) -> Result<()> {
        let id = &self.entry.id;
        self.entry.added_tags.extend(added_tags(store, id, &self.tags).await?);
        if let Some((at, name)) = &self.report
            && let Some(sealed) = report::read(store, id, name).await?
        {
            self.entry.reported = Some(Reported { good: sealed.report.good, level: sealed.report.level, at: *at });
        }
        Ok(())
    }

    /// Finds out what the listing does not tell.
    async fn complete(&mut self, store: &Store, read: bool, held: &Semaphore) -> Result<()> {
        if read {
            self.hear(store).await?;
        }
        let Some((size, modified)) = self.manifest else { return self.judge_start(store).await };
        self.entry.modified = modified;
        self.entry.state = State::Committed;
        if !read && size >= SHORTER_THAN_A_MANIFEST {
            return Ok(());
        }
        let permits = u32::try_from(size.clamp(1, MANIFESTS as u64)).unwrap_or(1);
        let _held = held.acquire_many(permits).await.expect("the semaphore is never closed");
        self.judge_manifest(store).await
    }

    /// Without a manifest only an archive of the openssl profile counts.
    async fn judge_start(&mut self, store: &Store) -> Result<()> {
        let openssl = first_bytes(store, &self.start, openssl::MAGIC.len()).await? == openssl::MAGIC;
        self.entry.state = if openssl { State::Committed } else { State::Incomplete };
        self.entry.profile = openssl.then_some(ProfileName::Openssl);
        Ok(())
    }

    async fn judge_manifest(&mut self, store: &Store) -> Result<()> {
        let id = &self.entry.id;
        let parsed = match store.get(&id.manifest(), MAX_MANIFEST).await {
            Ok(Some(bytes)) => Manifest::parse(bytes.into(), id),
            // Somebody deletes the archive.
            Ok(None) => return self.judge_start(store).await,
            Err(backstay_store::Error::TooLarge { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match parsed {
            Ok(Document::Manifest(sealed)) => self.entry.describe(sealed.manifest),
            Ok(Document::Foreign(_)) => self.judge_start(store).await?,
            Err(Fault::ArchiveUncommitted { .. }) => self.entry.state = State::Aborted,
            Err(_) => {}
        }
        Ok(())
    }
}

/// The labels in these objects.
async fn added_tags(store: &Store, id: &ArchiveId, objects: &[String]) -> Result<Vec<String>> {
    let mut tags = Vec::new();
    for name in objects {
        match store.get(name, MAX_REMARK).await {
            Ok(Some(bytes)) => {
                let remark = Remark::parse(&bytes, id, Word::Tag, name);
                tags.extend(remark.into_iter().flat_map(|remark| remark.tags));
            }
            Ok(None) | Err(backstay_store::Error::TooLarge { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(tags)
}

impl Entry {
    fn describe(&mut self, manifest: Manifest) {
        self.root = Some(manifest.root());
        self.profile = Some(match manifest.profile {
            Profile::Native(_) => ProfileName::Native,
            Profile::Openssl(_) => ProfileName::Openssl,
        });
        self.name = manifest.name;
        self.tags = manifest.tags;
        self.kind = Some(manifest.kind);
        self.content = manifest.content;
    }
}

/// One archive in full.
#[derive(Debug)]
pub struct Details {
    /// What the list says.
    pub entry: Entry,
    /// Its manifest.
    pub manifest: Option<Manifest>,
    /// Another manager's document in its place.
    pub foreign_json: Option<Vec<u8>>,
    /// The manifest's private facts as JSON, when the keyring opens them.
    pub private: Option<String>,
    /// All objects with their sizes, sidecars too, in the order of their names.
    pub objects: Vec<(String, u64)>,
    /// The manifest's seal.
    pub seal: Option<Seal>,
    /// The line that the commit printed.
    pub receipt: Option<String>,
}

/// Everything that is known about one archive.
///
/// # Errors
/// `archive.not-found`, `store.*`; the manifest's own checks, its seal among them when the keyring opens the archive.
pub async fn show(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<Details> {
    let mut found = Found::new(id.clone());
    let mut objects = Vec::new();
    let mut keyboxes = Vec::new();
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        let name = ObjectName::parse(&object.name);
        if name.id() == Some(id) {
            objects.push((object.name.clone(), object.size));
            keyboxes.extend(if let ObjectName::Keybox(_, m) = name { Some(m) } else { None });
            found.add(&name, object);
        }
    }
    if !found.is_archive() {
        return Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() });
    }
    found.complete(store, false, &Semaphore::new(MANIFESTS)).await?;
    found.hear(store).await?;
    let mut details = Details {
        manifest: None,
        foreign_json: None,
        private: None,
        objects,
        seal: None,
        receipt: None,
        entry: found.entry,
    };
    keyboxes.sort_unstable();
    let listed = Objects { manifest: found.manifest.is_some(), keyboxes, ..Objects::default() };
    match Committed::load(store, id, &listed).await {
        Ok(Committed::Sealed(sealed)) => {
            details.private = private(store, id, listed, &sealed, keyring).await?;
            let SealedManifest { manifest, seal, .. } = *sealed;
            let (root, stored) = (manifest.root(), manifest.stored());
            let unconfirmed = manifest.unconfirmed;
            let receipt = ReceiptLine { id: id.clone(), root, seal: seal.sha256, stored, unconfirmed };
            details.receipt = Some(receipt.to_string());
            details.seal = Some(seal);
            details.entry.describe(manifest.clone());
            details.manifest = Some(manifest);
        }
        Ok(Committed::Foreign(bytes)) => details.foreign_json = Some(bytes),
        Ok(Committed::Damaged | Committed::Nothing) | Err(Error::Format(Fault::ArchiveUncommitted { .. })) => {}
        Err(error) => return Err(error),
    }
    Ok(details)
}

/// The private facts of a manifest, if the archive's secret is published or the keyring has it.
async fn private(
    store: &Store,
    id: &ArchiveId,
    objects: Objects,
    sealed: &SealedManifest,
    keyring: &Keyring,
) -> Result<Option<String>> {
    let Profile::Native(head) = &sealed.manifest.profile else { return Ok(None) };
    let policy = ReadPolicy { allow_open: true, ..ReadPolicy::default() };
    let located = Located { id: id.clone(), objects, committed: Committed::Nothing, profile: ProfileName::Native };
    let nothing = Keyring::default();
    let keyring = if head.common.open.is_some() { &nothing } else { keyring };
    let unlocked = match located.unlock_with(&head.common, store, keyring, &policy).await {
        Ok(unlocked) => unlocked,
        // A key for other archives is no fault of this one.
        Err(Error::Format(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    sealed.check(&unlocked.keys.seal())?;
    let Some(private) = &sealed.manifest.private else { return Ok(None) };
    Ok(Some(open_private(&unlocked.keys, private, &id.manifest())?))
}
