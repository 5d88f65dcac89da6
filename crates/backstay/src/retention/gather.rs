//! Gathering the evidence: one streaming listing, and for each archive the one small object that tells what it is.
//!
//! Memory is what is kept of each archive, some hundred bytes; the names and sizes of its parts are held only while it is
//! looked at, and manifests within a bound. Nothing is downloaded of the content, and no key is needed: one that is there
//! makes seals count.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use backstay_format::header::Kind;
use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, Profile, SealedManifest};
use backstay_format::remark::{MAX_REMARK, Remark};
use backstay_format::report::Level;
use backstay_format::signature::Signer;
use backstay_format::{ArchiveId, Error as Fault, ObjectName, Word, openssl};
use backstay_store::{ObjectInfo, Store};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::evidence::{Archive, Believed, Evidence, Mark, Need, Set, Standing};
use super::sets;
use crate::archive::{Object, first_bytes};
use crate::dated::stored_at;
use crate::error::{Error, Result};
use crate::inventory::{self, Holding};
use crate::outline::Outline;
use crate::report::{self, Keyed};

/// Archives that are looked at at once.
const AT_ONCE: usize = 16;
/// Bytes of manifests that are held at once, whatever their number. One that is larger is held alone.
const MANIFESTS: usize = 64 << 20;
/// Reports of one archive that are read, the newest by the store's clock. Where none of them is believed and there are more, what they would say
/// is not known: forged ones may hide a genuine one.
const REPORTS: usize = 64;
/// Objects with added tags that are read of one archive. Where there are more, any tag may be among the others.
const TAGS: usize = 64;

/// Whose seals are believed.
#[derive(Debug, Default)]
pub struct Belief {
    /// Keys of archives. With one, a manifest that it opens has to have its seal, and reports that it sealed count.
    pub keyring: Keyring,
    /// Who has to have signed every archive.
    pub signer: Option<Signer>,
    /// Whose reports alone count.
    pub report_signer: Option<Signer>,
}

impl Belief {
    /// Whether anything is given that tells more than names, sizes and the manifests' own words.
    pub(crate) fn is_given(&self) -> bool {
        self.signer.is_some() || self.can_believe_reports()
    }

    /// Whether any report can count at all.
    pub fn can_believe_reports(&self) -> bool {
        self.report_signer.is_some() || !self.keyring.is_empty() || self.keyring.password().is_some()
    }
}

/// Looks at every archive of a store.
///
/// # Errors
/// `store.*`. What is wrong with an archive is evidence.
pub async fn gather(store: &Store, belief: &Belief) -> Result<Evidence> {
    let gatherer = Gatherer { store, belief, held: Semaphore::new(MANIFESTS), texts: Mutex::default() };
    let gatherer = &gatherer;
    let mut found = inventory::each::<Group>(store.list("", None))
        .map_ok(|group| gatherer.look_at(group))
        .try_buffer_unordered(AT_ONCE);
    let mut evidence = Evidence::default();
    while let Some((set, found)) = found.try_next().await? {
        match set {
            Some(FoundSet::Read(set)) => evidence.sets.push(*set),
            Some(FoundSet::Unreadable(object)) => evidence.unreadable_sets.push(object),
            None => {}
        }
        match found {
            Found::Archive(archive) => evidence.archives.push(*archive),
            Found::Mark(mark) => evidence.marks.push(mark),
            Found::Nothing => {}
        }
    }
    Ok(evidence)
}

/// That a report which is believed calls an archive bad.
pub(crate) const BAD: &str = "a report says that it is bad";

/// What the given keys, signers and the reports that they let count say against an archive or a set: that which is not seen without them.
///
/// # Errors
/// `store.*`.
pub(crate) async fn objection(store: &Store, id: &ArchiveId, belief: &Belief) -> Result<Option<&'static str>> {
    let gatherer = Gatherer { store, belief, held: Semaphore::new(MANIFESTS), texts: Mutex::default() };
    let (set, found) = gatherer.look_at(inventory::of(store, id).await?).await?;
    const NOT_THEIRS: &str = "its seal or its signature is not what the given key or signer stands for";
    const CLOSED: &str = "none of the given keys opens it";
    let of_set = match &set {
        Some(FoundSet::Unreadable(_)) => Some(NOT_THEIRS),
        Some(FoundSet::Read(set)) if set.closed => Some(CLOSED),
        Some(FoundSet::Read(_)) | None => None,
    };
    let of_archive = match &found {
        Found::Archive(archive) => match &archive.standing {
            Standing::Unreadable(_) => Some(NOT_THEIRS),
            Standing::Closed => Some(CLOSED),
            _ if archive.unread_reports => Some("so many reports are on it that none could be believed"),
            _ if archive.verdict.is_some_and(|verdict| !verdict.good) => Some(BAD),
            _ => None,
        },
        Found::Mark(_) | Found::Nothing if set.is_none() => Some("it was deleted while it was looked at"),
        Found::Mark(_) | Found::Nothing => None,
    };
    Ok(of_set.or(of_archive))
}

/// A backup set, or what stands under the name of one.
enum FoundSet {
    Read(Box<Set>),
    Unreadable(String),
}

/// What a group of objects is, beside a set.
enum Found {
    Archive(Box<Archive>),
    Mark(Mark),
    /// Keyboxes or remarks of which the archive is gone, or never was.
    Nothing,
}

/// The objects of one id.
struct Group {
    id: ArchiveId,
    /// Size and time of `<id>.json`.
    manifest: Option<(u64, Timestamp)>,
    /// Number and size.
    parts: Vec<(u32, u64)>,
    /// Names of parts that do not follow from their numbers.
    padded: Vec<Object>,
    single: Option<u64>,
    keyboxes: Vec<u32>,
    /// Names and times.
    reports: Vec<(Timestamp, String)>,
    tags: Vec<String>,
    notes: Vec<String>,
    /// Name and time.
    set: Option<(String, Timestamp)>,
    held: bool,
    unknown: bool,
    tombstone: Option<Timestamp>,
    /// When the newest part or keybox was stored.
    newest: Option<Timestamp>,
}

impl Holding for Group {
    fn new(id: &ArchiveId) -> Group {
        Group {
            id: id.clone(),
            manifest: None,
            parts: Vec::new(),
            padded: Vec::new(),
            single: None,
            keyboxes: Vec::new(),
            reports: Vec::new(),
            tags: Vec::new(),
            notes: Vec::new(),
            set: None,
            held: false,
            unknown: false,
            tombstone: None,
            newest: None,
        }
    }

    fn add(&mut self, name: &ObjectName, object: ObjectInfo) {
        let modified = stored_at(object.modified);
        match name {
            ObjectName::Set(_) => self.set = Some((object.name, modified)),
            ObjectName::Manifest(_) => self.manifest = Some((object.size, modified)),
            ObjectName::Part { n, padded, .. } => {
                self.parts.push((*n, object.size));
                if *padded {
                    self.padded.push(Object { n: *n, name: object.name, size: object.size });
                }
                self.newest = self.newest.max(Some(modified));
            }
            ObjectName::Single(_) => {
                self.single = Some(object.size);
                self.newest = self.newest.max(Some(modified));
            }
            ObjectName::Keybox(_, m) => {
                self.keyboxes.push(*m);
                self.newest = self.newest.max(Some(modified));
            }
            ObjectName::Sidecar(_, Word::Hold, _) => self.held = true,
            ObjectName::Sidecar(_, Word::Expired, None) => self.tombstone = Some(modified),
            ObjectName::Sidecar(_, Word::Verified, Some(_)) => self.reports.push((modified, object.name)),
            ObjectName::Sidecar(_, Word::Tag, _) => self.tags.push(object.name),
            ObjectName::Sidecar(..) => self.notes.push(object.name),
            ObjectName::Foreign => {}
            ObjectName::Unknown(_) => self.unknown = true,
        }
    }
}

impl Group {
    /// The first parts, as many as may hold the bytes that tell the profile.
    fn start(&self) -> Vec<Object> {
        if let (Some(size), true) = (self.single, self.parts.is_empty()) {
            return vec![Object { n: 0, name: self.id.to_string(), size }];
        }
        let named = |(n, size): &(u32, u64)| match self.padded.iter().find(|object| object.n == *n) {
            Some(padded) => padded.clone(),
            None => Object { n: *n, name: self.id.part(*n), size: *size },
        };
        self.parts.iter().take(openssl::MAGIC.len()).map(named).collect()
    }

    /// What names and sizes tell of an openssl stream.
    fn outline(&self) -> Outline {
        let mut outline = Outline::default();
        self.parts.iter().for_each(|(n, size)| outline.add_part(*n, *size));
        self.single.iter().for_each(|size| outline.add_single(*size));
        outline
    }

    /// What does not fit its manifest, as far as names and sizes tell.
    fn objects_fault(&self, manifest: &Manifest) -> Option<&'static str> {
        if let Profile::Openssl(head) = &manifest.profile
            && head.single
        {
            let size = manifest.parts.first().map(|part| part.size);
            return (self.single.is_none() || self.single != size)
                .then_some("its object is missing or has another size");
        }
        if manifest.detached && self.keyboxes.is_empty() {
            return Some("none of the keyboxes is left that its keys were in");
        }
        let native = matches!(manifest.profile, Profile::Native(_));
        if self.single.is_some() || native && !self.padded.is_empty() {
            return Some("names of its parts are ambiguous");
        }
        let expected = || (manifest.first..).zip(manifest.parts.iter().map(|part| part.size));
        if expected().eq(self.parts.iter().copied()) {
            return None;
        }
        Some("a part is missing, stands twice, or has another size")
    }

    /// Whether there is an archive, or what is left of one. Keyboxes may be those of a set.
    fn is_archive(&self) -> bool {
        self.manifest.is_some() || !self.parts.is_empty() || self.single.is_some()
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, size)| size).sum::<u64>() + self.single.unwrap_or_default()
    }
}

struct Gatherer<'a> {
    store: &'a Store,
    belief: &'a Belief,
    /// Bytes of manifests.
    held: Semaphore,
    /// Names and labels, each of which most archives share.
    texts: Mutex<HashSet<Arc<str>>>,
}

/// What a manifest says, and whether that is to be believed.
enum Judged {
    Manifest(Box<SealedManifest>, Keyed),
    Unreadable(String),
    Foreign,
    GivenUp,
    Gone,
}

impl Gatherer<'_> {
    fn text(&self, text: &str) -> Arc<str> {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        match texts.get(text) {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<str> = text.into();
                texts.insert(Arc::clone(&new));
                new
            }
        }
    }

    async fn look_at(&self, mut group: Group) -> Result<(Option<FoundSet>, Found)> {
        group.keyboxes.sort_unstable();
        let mut set = None;
        if let Some((object, stored_at)) = group.set.take() {
            set = self.set(&group, object, stored_at).await?;
            if !group.is_archive() {
                return Ok((set, Found::Nothing));
            }
            // Somebody put it there: an archive must not be overlooked for it.
            group.unknown = true;
        }
        Ok((set, self.archive(group).await?))
    }

    async fn archive(&self, mut group: Group) -> Result<Found> {
        group.parts.sort_unstable();
        let Some((size, modified)) = group.manifest else { return self.without_manifest(group).await };
        let permits = u32::try_from(size.clamp(1, MANIFESTS as u64)).unwrap_or(1);
        let _held = self.held.acquire_many(permits).await.expect("the semaphore is never closed");
        let mut archive = archive(&group, Standing::Good, modified);
        archive.committed = true;
        match self.manifest(&group).await? {
            Judged::Gone => return self.without_manifest(group).await,
            Judged::GivenUp => {
                archive.committed = false;
                archive.standing = Standing::GivenUp;
            }
            Judged::Unreadable(why) => archive.standing = Standing::Unreadable(why.into()),
            Judged::Foreign => archive.standing = self.foreign(&group).await?,
            Judged::Manifest(sealed, keyed) => {
                let manifest = &sealed.manifest;
                archive.standing = match group.objects_fault(manifest) {
                    Some(why) => Standing::Damaged(why),
                    None if matches!(keyed, Keyed::Closed) && self.has_keys_for(manifest) => Standing::Closed,
                    None if manifest.unconfirmed => Standing::Unconfirmed,
                    None => Standing::Good,
                };
                let proved = matches!(keyed, Keyed::Opened { .. }) || self.belief.signer.is_some();
                let native = matches!(manifest.profile, Profile::Native(_));
                archive.claims_to_be_full = manifest.kind == Kind::Full && native && !proved;
                archive.needs_unproved = manifest.kind != Kind::Full && !proved;
                archive.name = manifest.name.as_deref().map(|name| self.text(name));
                archive.tags = manifest.tags.iter().map(|tag| self.text(tag)).collect();
                archive.needs =
                    manifest.needs.iter().map(|need| Need { id: need.id.clone(), root: need.root }).collect();
                let root = manifest.root();
                archive.root = Some(root);
                (archive.verdict, archive.unread_reports) = self.verdict(&mut group, &root, &keyed).await?;
            }
        }
        archive.added_tags = self.added_tags(&group).await?;
        Ok(Found::Archive(Box::new(archive)))
    }

    /// Whether keys were given that would open such an archive.
    fn has_keys_for(&self, manifest: &Manifest) -> bool {
        match manifest.profile {
            Profile::Native(_) => !self.belief.keyring.is_empty(),
            Profile::Openssl(_) => self.belief.keyring.password().is_some(),
        }
    }

    async fn manifest(&self, group: &Group) -> Result<Judged> {
        let parsed = match self.store.get(&group.id.manifest(), MAX_MANIFEST).await {
            Ok(Some(bytes)) => Manifest::parse(bytes.into(), &group.id),
            Ok(None) => return Ok(Judged::Gone),
            Err(backstay_store::Error::TooLarge { .. }) => {
                return Ok(Judged::Unreadable("its manifest is longer than 128 MiB".to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let sealed = match parsed {
            Ok(Document::Manifest(sealed)) => sealed,
            Ok(Document::Foreign(_)) => return Ok(Judged::Foreign),
            Err(Fault::ArchiveUncommitted { .. }) => return Ok(Judged::GivenUp),
            Err(fault) => return Ok(Judged::Unreadable(fault.to_string())),
        };
        let keyed = Keyed::open(self.store, &sealed, &group.keyboxes, &self.belief.keyring).await?;
        let seal = match &keyed {
            Keyed::Opened { seal, .. } => sealed.check(seal),
            Keyed::Open | Keyed::Closed => Ok(()),
        };
        let signed = self.belief.signer.as_ref().map_or(Ok(()), |signer| sealed.check_signer(signer));
        match seal.and(signed) {
            Ok(()) => Ok(Judged::Manifest(sealed, keyed)),
            Err(fault) => Ok(Judged::Unreadable(fault.to_string())),
        }
    }

    /// Another manager's document commits an openssl stream; anything else it says nothing of.
    async fn foreign(&self, group: &Group) -> Result<Standing> {
        let start = first_bytes(self.store, &group.start(), openssl::MAGIC.len()).await;
        Ok(match self.missing_is_empty(start)? {
            start if start == openssl::MAGIC => match group.outline().doubt() {
                Some(why) => Standing::Damaged(why),
                None => Standing::Good,
            },
            start if start == b"BACKSTAY" => {
                Standing::Unreadable("another document stands in place of its manifest".into())
            }
            _ => Standing::Damaged("it does not begin as openssl's output does"),
        })
    }

    async fn without_manifest(&self, group: Group) -> Result<Found> {
        let Some(newest) = group.newest else {
            return Ok(match group.tombstone {
                // A hold, or what is not known, keeps even the mark.
                Some(at) if !group.held && !group.unknown => {
                    let reports = group.reports.into_iter().map(|(_, name)| name);
                    let leftovers = reports.chain(group.tags).chain(group.notes).collect();
                    Found::Mark(Mark { id: group.id, at, leftovers })
                }
                _ => Found::Nothing,
            });
        };
        let start = first_bytes(self.store, &group.start(), openssl::MAGIC.len()).await;
        let standing = if self.missing_is_empty(start)? == openssl::MAGIC {
            let outline = group.outline();
            match outline.fault() {
                Some(_) if group.tombstone.is_some_and(|at| at >= newest) => Standing::Remains,
                // A doubt makes nothing remains: a tombstone may be planted.
                _ => outline.doubt().map_or(Standing::Unmarked, Standing::Damaged),
            }
        } else if group.tombstone.is_some_and(|at| at >= newest) {
            Standing::Remains
        } else {
            Standing::Unfinished
        };
        let mut archive = archive(&group, standing, newest);
        archive.added_tags = self.added_tags(&group).await?;
        Ok(Found::Archive(Box::new(archive)))
    }

    /// Somebody may delete what is looked at.
    fn missing_is_empty(&self, start: Result<Vec<u8>>) -> Result<Vec<u8>> {
        match start {
            Err(Error::Store(
                backstay_store::Error::ObjectMissing { .. } | backstay_store::Error::ShortObject { .. },
            )) => Ok(Vec::new()),
            start => start,
        }
    }

    async fn set(&self, group: &Group, object: String, stored_at: Timestamp) -> Result<Option<FoundSet>> {
        let (set, closed) = match sets::judge(self.store, &group.id, &group.keyboxes, self.belief).await? {
            sets::Judged::Read { set, closed } => (set, closed),
            sets::Judged::Unreadable => return Ok(Some(FoundSet::Unreadable(object))),
            sets::Judged::Gone => return Ok(None),
        };
        let mut tags: Vec<Arc<str>> = set.tags.iter().map(|tag| self.text(tag)).collect();
        tags.extend(self.added_tags(group).await?);
        Ok(Some(FoundSet::Read(Box::new(Set {
            id: group.id.clone(),
            object,
            name: set.name.as_deref().map(|name| self.text(name)),
            stored_at,
            members: sets::members(&set),
            tags,
            unread_tags: group.tags.len() > TAGS,
            held: group.held,
            unknown_sidecar: group.unknown || group.is_archive(),
            closed,
            tombstone: group.tombstone,
        }))))
    }

    /// The newest report that counts, or whether it may be among those that were not read.
    async fn verdict(&self, group: &mut Group, root: &[u8; 32], keyed: &Keyed) -> Result<(Option<Believed>, bool)> {
        let key = match (keyed, &self.belief.report_signer) {
            (_, Some(_)) => None,
            (Keyed::Opened { report, .. }, None) => Some(report),
            (Keyed::Open | Keyed::Closed, None) => return Ok((None, false)),
        };
        group.reports.sort_unstable_by(|one, other| other.cmp(one));
        for (at, name) in group.reports.iter().take(REPORTS) {
            let Some(sealed) = report::read(self.store, &group.id, name).await? else { continue };
            let believed = match &self.belief.report_signer {
                Some(signer) => sealed.is_signed_by(signer),
                None => key.is_some_and(|key| sealed.is_keyed_with(key)),
            };
            // Quick is what was just done here.
            if believed && sealed.report.root.as_ref() == Some(root) && sealed.report.level != Level::Quick {
                return Ok((Some(Believed { good: sealed.report.good, at: *at }), false));
            }
        }
        Ok((None, group.reports.len() > REPORTS))
    }

    async fn added_tags(&self, group: &Group) -> Result<Vec<Arc<str>>> {
        let mut tags = Vec::new();
        for name in group.tags.iter().take(TAGS) {
            match self.store.get(name, MAX_REMARK).await {
                Ok(Some(bytes)) => {
                    if let Ok(remark) = Remark::parse(&bytes, &group.id, Word::Tag, name) {
                        tags.extend(remark.tags.iter().map(|tag| self.text(tag)));
                    }
                }
                Ok(None) | Err(backstay_store::Error::TooLarge { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(tags)
    }
}

fn archive(group: &Group, standing: Standing, stored_at: Timestamp) -> Archive {
    Archive {
        id: group.id.clone(),
        standing,
        stored_at,
        committed: false,
        name: None,
        tags: Vec::new(),
        added_tags: Vec::new(),
        needs: Vec::new(),
        root: None,
        claims_to_be_full: false,
        needs_unproved: false,
        held: group.held,
        unknown_sidecar: group.unknown,
        tombstone: group.tombstone,
        verdict: None,
        unread_reports: false,
        unread_tags: group.tags.len() > TAGS,
        first_part: group.parts.first().map_or(0, |(_, size)| *size),
        parts: u32::try_from(group.parts.len() + usize::from(group.single.is_some())).unwrap_or(u32::MAX),
        bytes: group.bytes(),
    }
}
