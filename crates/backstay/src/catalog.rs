//! The archives of a store: a list, and one archive in full.
//!
//! There is no index that could be wrong: the listing is the truth. One streaming listing tells number, sizes and times;
//! manifests are fetched only for what only they know, several at a time. What is held of an archive until it is its turn is about three
//! hundred bytes, and nothing at all where the order of the listing will do.

mod found;
pub mod freshness;
mod listing;
mod select;
mod sets;

use std::time::SystemTime;

use backstay_format::header::Kind;
use backstay_format::key::Keyring;
use backstay_format::manifest::{Manifest, Profile, SealedManifest, open_private};
use backstay_format::report::Level;
use backstay_format::{ArchiveId, Error as Fault, Guid, ObjectName, Seal};
use backstay_store::{ObjectInfo, Store};
use futures::TryStreamExt as _;
use tokio::sync::Semaphore;

use self::found::Found;
use crate::archive::{Committed, Located, Objects};
use crate::error::{Error, Result};
use crate::inventory::{self, Holding};
use crate::policy::{ProfileName, ReadPolicy, ReceiptLine};

pub use self::listing::{Listed, Listing, list, list_all, stream};
pub use self::select::{Selected, select, select_any};
pub use self::sets::SetEntry;

/// Requests in flight.
const REQUESTS: usize = 16;
/// No manifest is so short, and every abort marker is: what is smaller has to be looked at.
pub(crate) const SHORTER_THAN_A_MANIFEST: u64 = 400;
/// Bytes of manifests that are held at once, whatever their number. One that is larger is held alone.
const MANIFESTS: usize = 64 << 20;
/// How far an archive got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is a backup.
    Committed,
    /// Its upload did not finish, or still runs.
    Incomplete,
    /// It was given up, and what it left is being removed.
    Aborted,
    /// It is committed, and none of the keyboxes is left that its only keys were in.
    Keyless,
}

impl State {
    /// Whether it was committed, whatever has become of its keys since.
    pub fn is_committed(self) -> bool {
        matches!(self, State::Committed | State::Keyless)
    }
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

impl Filter {
    /// What the names begin with that the filter lets through.
    fn prefix(&self) -> String {
        self.guid.as_ref().map(|guid| format!("{guid}-")).unwrap_or_default()
    }

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

impl Entry {
    fn describe(&mut self, manifest: Manifest) {
        self.root = Some(manifest.root());
        if manifest.detached && self.keyboxes == 0 {
            self.state = State::Keyless;
        }
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

/// Everything under one id, by name and size, beside what it amounts to.
struct Shown {
    found: Found,
    objects: Vec<(String, u64)>,
    keyboxes: Vec<u32>,
}

impl Holding for Shown {
    fn new(id: &ArchiveId) -> Shown {
        Shown { found: Found::new(id), objects: Vec::new(), keyboxes: Vec::new() }
    }

    fn add(&mut self, name: &ObjectName, object: ObjectInfo) {
        self.objects.push((object.name.clone(), object.size));
        self.keyboxes.extend(if let ObjectName::Keybox(_, m) = name { Some(*m) } else { None });
        self.found.add(name, object);
    }
}

/// Everything that is known about one archive.
///
/// # Errors
/// `archive.not-found`, `store.*`; the manifest's own checks, its seal among them when the keyring opens the archive.
pub async fn show(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<Details> {
    let Shown { mut found, objects, mut keyboxes } = inventory::of(store, id).await?;
    if !found.is_archive() {
        return Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() });
    }
    if found.manifest.is_none() {
        found.documented_before = documented_before(store, id).await?;
    }
    let mut entry = found.entry(store, false, &Semaphore::new(MANIFESTS)).await?;
    found.hear(store, &mut entry).await?;
    let mut details =
        Details { manifest: None, foreign_json: None, private: None, objects, seal: None, receipt: None, entry };
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

/// Whether an older archive of the same source has a document.
async fn documented_before(store: &Store, id: &ArchiveId) -> Result<bool> {
    let mut listing = store.list(&format!("{}-", id.guid()), None);
    while let Some(object) = listing.try_next().await? {
        if matches!(ObjectName::parse(&object.name), ObjectName::Manifest(other) if other < *id) {
            return Ok(true);
        }
    }
    Ok(false)
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
