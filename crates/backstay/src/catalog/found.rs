//! One archive as far as the listing tells, and what is read to know more. A listing may hold millions of them until it is their turn, so
//! that one is small.

use std::time::SystemTime;

use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest};
use backstay_format::remark::{MAX_REMARK, Remark};
use backstay_format::report::Report;
use backstay_format::{ArchiveId, Error as Fault, Guid, ObjectName, Word, openssl};
use backstay_store::{ObjectInfo, Store};
use futures::TryStreamExt as _;
use futures::stream::{BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{Entry, Filter, MANIFESTS, Reported, SHORTER_THAN_A_MANIFEST, State};
use crate::archive::{Object, first_bytes};
use crate::dated::stored_at;
use crate::error::Result;
use crate::inventory::{self, Holding};
use crate::outline::Outline;
use crate::policy::ProfileName;
use crate::report;

/// Bytes that tell the openssl profile, and how many objects are remembered that may hold them.
const MAGIC: u64 = openssl::MAGIC.len() as u64;
const MAGIC_OBJECTS: usize = openssl::MAGIC.len();

/// What stands under one id.
pub(super) struct Found {
    pub(super) id: ArchiveId,
    pub(super) parts: u32,
    /// Their bytes.
    pub(super) stored: u64,
    /// When the newest of them was stored.
    newest: SystemTime,
    /// When the first of its objects that make it an archive or a set was stored: it was begun before.
    first_stored: Option<SystemTime>,
    keyboxes: u32,
    reports: u32,
    held: bool,
    /// Whether a backup set has this id.
    is_set: bool,
    expired: Option<SystemTime>,
    /// Size and time of `<id>.json`.
    pub(super) manifest: Option<(u64, SystemTime)>,
    /// What names and sizes tell, if it is an openssl stream.
    outline: Outline,
    /// An older archive of the same source has a document. A writer that makes them did not finish one without.
    pub(super) documented_before: bool,
    /// The first objects of the stream, as many as hold the bytes that tell the profile.
    start: Vec<Start>,
    /// What was said of it later, which is nothing of most.
    said: Option<Box<Said>>,
}

/// An object at the beginning of a stream.
struct Start {
    n: u32,
    size: u64,
    /// Its name, unless that follows from its number.
    name: Option<Box<str>>,
}

#[derive(Default)]
struct Said {
    /// Objects with added labels.
    tags: Vec<String>,
    /// The newest report, by the store's clock.
    report: Option<(SystemTime, String)>,
}

/// A backup set as far as the listing tells.
pub(super) struct FoundSet {
    pub(super) id: ArchiveId,
    pub(super) held: bool,
    /// Objects with added labels.
    pub(super) tags: Vec<String>,
    /// When it was stored.
    pub(super) stored_at: Timestamp,
}

/// What a store holds, id by id, in the order of the listing.
pub(super) fn groups<'a>(store: &'a Store, prefix: &str, filter: &'a Filter) -> BoxStream<'a, Result<Found>> {
    let before = filter.before.map(|before| u64::try_from(before.as_millisecond()).unwrap_or(0));
    // The last source of which an archive had a document. Those of one source stand together, older before newer.
    let mut documented: Option<Guid> = None;
    let groups = inventory::each::<Found>(store.list(prefix, None)).map_ok(move |mut found| {
        let guid = found.id.guid();
        found.documented_before = documented.as_ref() == Some(&guid);
        if found.manifest.is_some() {
            documented = Some(guid);
        }
        found
    });
    let wanted = move |id: &ArchiveId| {
        before.is_none_or(|before| id.millis() < before) && filter.guid.as_ref().is_none_or(|guid| id.guid() == *guid)
    };
    groups.try_filter(move |group| std::future::ready(wanted(&group.id))).boxed()
}

/// Everything that begins with `prefix`, oldest first: archives and sets.
pub(super) async fn survey(store: &Store, prefix: &str, filter: &Filter) -> Result<(Vec<Found>, Vec<FoundSet>)> {
    let (mut archives, mut sets) = (Vec::new(), Vec::new());
    let mut groups = groups(store, prefix, filter);
    while let Some(mut found) = groups.try_next().await? {
        sets.extend(found.set());
        if found.is_archive() {
            found.start.shrink_to_fit();
            archives.push(found);
        }
    }
    archives.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    sets.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok((archives, sets))
}

impl Holding for Found {
    fn new(id: &ArchiveId) -> Found {
        Found {
            id: id.clone(),
            parts: 0,
            stored: 0,
            newest: SystemTime::UNIX_EPOCH,
            first_stored: None,
            keyboxes: 0,
            reports: 0,
            held: false,
            is_set: false,
            expired: None,
            manifest: None,
            outline: Outline::default(),
            documented_before: false,
            start: Vec::new(),
            said: None,
        }
    }

    fn add(&mut self, name: &ObjectName, object: ObjectInfo) {
        if matches!(
            name,
            ObjectName::Part { .. } | ObjectName::Single(_) | ObjectName::Manifest(_) | ObjectName::Set(_)
        ) {
            self.first_stored = Some(self.first_stored.map_or(object.modified, |first| first.min(object.modified)));
        }
        let (n, named) = match name {
            ObjectName::Part { n, padded, .. } => {
                self.outline.add_part(*n, object.size);
                (*n, *padded)
            }
            ObjectName::Single(_) => {
                self.outline.add_single(object.size);
                (0, true)
            }
            ObjectName::Manifest(_) => {
                self.manifest = Some((object.size, object.modified));
                return;
            }
            ObjectName::Keybox(..) => {
                self.keyboxes += 1;
                return;
            }
            ObjectName::Set(_) => {
                self.is_set = true;
                return;
            }
            ObjectName::Sidecar(_, word, number) => return self.add_sidecar(*word, *number, &object),
            ObjectName::Unknown(_) | ObjectName::Foreign => return,
        };
        self.parts += 1;
        self.stored += object.size;
        self.newest = self.newest.max(object.modified);
        let at = self.start.partition_point(|start| start.n < n);
        let name = named.then(|| object.name.as_str().into());
        self.start.insert(at, Start { n, size: object.size, name });
        // Stores list part 10 before part 2, so which ones come first is known only at the end; a few are enough.
        while self.start.len() > 1 && self.start[..self.start.len() - 1].iter().any(|start| start.size >= MAGIC) {
            self.start.pop();
        }
        self.start.truncate(MAGIC_OBJECTS);
    }
}

impl Found {
    /// Keyboxes and sidecars alone are no archive.
    pub(super) fn is_archive(&self) -> bool {
        self.parts > 0 || self.manifest.is_some()
    }

    /// The backup set that has this id.
    pub(super) fn set(&self) -> Option<FoundSet> {
        let tags = self.said.as_ref().map(|said| said.tags.clone()).unwrap_or_default();
        self.is_set.then(|| FoundSet { id: self.id.clone(), held: self.held, tags, stored_at: self.first_stored() })
    }

    /// When the first of its objects was stored, by the store's clock.
    pub(super) fn first_stored(&self) -> Timestamp {
        self.first_stored.map_or(Timestamp::MAX, stored_at)
    }

    /// What the newest report says. Nobody checks its seal.
    pub(super) async fn newest_report(&self, store: &Store) -> Result<Option<Report>> {
        let Some((_, name)) = self.said.as_ref().and_then(|said| said.report.as_ref()) else { return Ok(None) };
        Ok(report::read(store, &self.id, name).await?.map(|sealed| sealed.report))
    }

    fn add_sidecar(&mut self, word: Word, number: Option<u64>, object: &ObjectInfo) {
        match (word, number) {
            (Word::Hold, _) => self.held = true,
            (Word::Expired, None) => self.expired = Some(object.modified),
            (Word::Tag, _) => self.said.get_or_insert_default().tags.push(object.name.clone()),
            (Word::Verified, Some(_)) => {
                self.reports += 1;
                let said = self.said.get_or_insert_default();
                said.report = Some((object.modified, object.name.clone())).max(said.report.take());
            }
            _ => {}
        }
    }

    fn start(&self) -> Vec<Object> {
        let named = |start: &Start| match &start.name {
            Some(name) => name.to_string(),
            None => self.id.part(start.n),
        };
        self.start.iter().map(|start| Object { n: start.n, name: named(start), size: start.size }).collect()
    }

    pub(super) fn has_keyboxes(&self) -> bool {
        self.keyboxes > 0
    }

    /// The part with the number 0, if there is one.
    pub(super) fn first(&self) -> Option<Object> {
        self.start().into_iter().next().filter(|first| first.n == 0)
    }

    /// What is known of it, once what the listing does not tell is found out; all of it with `read`. `held` is of bytes of manifests.
    pub(super) async fn entry(&self, store: &Store, read: bool, held: &Semaphore) -> Result<Entry> {
        let mut entry = Entry {
            id: self.id.clone(),
            state: State::Incomplete,
            profile: None,
            parts: self.parts,
            stored: self.stored,
            modified: self.newest,
            keyboxes: self.keyboxes,
            name: None,
            tags: Vec::new(),
            kind: None,
            content: None,
            held: self.held,
            expired: self.expired,
            added_tags: Vec::new(),
            reports: self.reports,
            reported: None,
            root: None,
        };
        if read {
            self.hear(store, &mut entry).await?;
        }
        match self.manifest {
            None => self.judge_stream(store, &mut entry, false).await?,
            Some((size, modified)) => {
                entry.modified = modified;
                entry.state = State::Committed;
                if read || size < SHORTER_THAN_A_MANIFEST {
                    let permits = u32::try_from(size.clamp(1, MANIFESTS as u64)).unwrap_or(1);
                    let _held = held.acquire_many(permits).await.expect("the semaphore is never closed");
                    self.judge_manifest(store, &mut entry).await?;
                }
            }
        }
        Ok(entry)
    }

    /// Reads what was said of it later: of its reports only the newest.
    pub(super) async fn hear(&self, store: &Store, entry: &mut Entry) -> Result<()> {
        let Some(said) = &self.said else { return Ok(()) };
        entry.added_tags = added_tags(store, &self.id, &said.tags).await?;
        if let Some((at, name)) = &said.report
            && let Some(sealed) = report::read(store, &self.id, name).await?
        {
            entry.reported = Some(Reported { good: sealed.report.good, level: sealed.report.level, at: *at });
        }
        Ok(())
    }

    /// Whether it is an openssl stream, and what speaks against its being a whole one. Without a manifest only an archive of that profile counts.
    pub(super) async fn stream(&self, store: &Store, document: bool) -> Result<(bool, Option<&'static str>)> {
        let openssl = first_bytes(store, &self.start(), openssl::MAGIC.len()).await? == openssl::MAGIC;
        let doubt = if !openssl {
            Some("it was not finished")
        } else if !document && self.manifest.is_some() {
            Some("it is being deleted")
        } else if !document && self.documented_before && !self.outline.is_single() {
            Some("no document commits it, and older ones of the source have one")
        } else {
            self.outline.doubt()
        };
        Ok((openssl, doubt))
    }

    /// Judges it by its stream. A document that is not ours commits one of openssl, whatever speaks against that.
    async fn judge_stream(&self, store: &Store, entry: &mut Entry, document: bool) -> Result<()> {
        let (openssl, doubt) = self.stream(store, document).await?;
        entry.profile = openssl.then_some(ProfileName::Openssl);
        entry.state = if doubt.is_none() || openssl && document { State::Committed } else { State::Incomplete };
        Ok(())
    }

    async fn judge_manifest(&self, store: &Store, entry: &mut Entry) -> Result<()> {
        let parsed = match store.get(&self.id.manifest(), MAX_MANIFEST).await {
            Ok(Some(bytes)) => Manifest::parse(bytes.into(), &self.id),
            // Somebody deletes the archive.
            Ok(None) => return self.judge_stream(store, entry, false).await,
            Err(backstay_store::Error::TooLarge { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match parsed {
            Ok(Document::Manifest(sealed)) => entry.describe(sealed.manifest),
            Ok(Document::Foreign(_)) => self.judge_stream(store, entry, true).await?,
            Err(Fault::ArchiveUncommitted { .. }) => entry.state = State::Aborted,
            Err(_) => {}
        }
        Ok(())
    }
}

/// The labels in these objects.
pub(super) async fn added_tags(store: &Store, id: &ArchiveId, objects: &[String]) -> Result<Vec<String>> {
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
