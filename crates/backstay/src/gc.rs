//! Clearing away what interrupted runs left: parts that nothing commits, the markers that give them up, staged files, what was said of archives that are gone.
//!
//! Every run of `gc` makes a plan first, with a reason for each leftover, and acts only when told to. What it may delete is
//! narrow: an object of the native format, by its first bytes, under an id without a manifest, that neither its name nor
//! the store's clock says is recent. Before the first part goes, the abort marker is created as `<id>.json`: if
//! the writer commits after all, one of the two creates fails, and whichever it is, nothing committed is lost (`spec/archive.md` §12.4).

use std::time::{Duration, SystemTime};

use backstay_format::header::{MAX_LINE, Reference};
use backstay_format::manifest::{aborted_marker, is_aborted_marker};
use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::{ObjectInfo, Store, probe_conditional_create};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::{Object, read_header};
use crate::backup::rfc3339;
use crate::catalog::SHORTER_THAN_A_MANIFEST;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::inventory::{self, Holding};
pub use crate::patience::GRACE;
use crate::verify::Finding;

/// What the objects are named by which a store's promises are tried.
pub(crate) const PROBE: &str = "backstay-probe-";
/// The longest of them, by which throughput is measured.
const PROBE_SIZE: u64 = 4 << 20;
/// Requests in flight.
const REQUESTS: usize = 16;

/// How to clear away.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// How long nothing may have been stored.
    pub grace: Duration,
    /// Delete; otherwise only the plan is made.
    pub delete: bool,
    /// Delete those uploads too that seem to lack nothing but the manifest.
    pub whole: bool,
}

impl Default for GcOptions {
    fn default() -> Self {
        GcOptions { grace: GRACE, delete: false, whole: false }
    }
}

/// What was left over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Parts and keyboxes of an archive that nothing commits.
    Upload(ArchiveId),
    /// The marker that gave an archive up, of which nothing else is left.
    Marker(ArchiveId),
    /// Holds, notes, tags and reports of an archive or a set that is gone.
    Remarks(ArchiveId),
    /// Marks of deletions that began and did not go on, beside what they were to delete.
    Begun(ArchiveId),
    /// A file that was never published, in a directory's staging folder.
    Staged(String),
    /// An object by which a store's promises were tried.
    Probe(String),
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Upload(id) | What::Remarks(id) | What::Begun(id) => write!(f, "{id}"),
            What::Marker(id) => f.write_str(&id.manifest()),
            What::Staged(name) | What::Probe(name) => f.write_str(name),
        }
    }
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Kept,
    /// It would be deleted.
    Due,
    /// It was deleted.
    Deleted,
    /// It was to be deleted, and this is why it could not be, or not all of it.
    Refused(Finding),
}

/// Something that an interrupted run may have left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub what: What,
    /// Its objects, by name.
    pub objects: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// When the last of them was stored, or the time in its name if that is later.
    pub modified: SystemTime,
    /// Why it is kept or deleted.
    pub reason: &'static str,
    /// What becomes of it.
    pub fate: Fate,
    /// Its marker stands already, so its age was judged before.
    given_up: bool,
}

/// What a run found, and did.
#[derive(Debug, Default)]
pub struct Cleared {
    /// What was left over.
    pub leftovers: Vec<Leftover>,
    /// What ended the run after something was deleted, and before all was that is due.
    pub stopped: Option<Error>,
}

/// Finds what interrupted runs left, and deletes what is due when told to.
///
/// # Errors
/// `store.*`; `store.condition-ignored` before anything is deleted, when the store overwrites what is to be created;
/// `interrupted`. What one object's lock or permission forbids is in the report, and when something was deleted already, so is what ended
/// the run.
pub async fn gc(store: &Store, options: &GcOptions, context: &Context) -> Result<Cleared> {
    // Probes and markers go again.
    let store = &store.for_passing_objects();
    let now = SystemTime::from(context.now());
    let mut leftovers = survey(store, options, now).await?;
    if !options.delete || leftovers.iter().all(|leftover| leftover.fate != Fate::Due) {
        return Ok(Cleared { leftovers, stopped: None });
    }
    // Our clock may be wrong. The store's is what its objects' times are by, and only if both agree is anything old.
    let probe = format!("{PROBE}{}", to_hex(&context.random::<16>()));
    let store_now = probe_conditional_create(store, &probe).await?;
    let now = store_now.map_or(SystemTime::UNIX_EPOCH, |store_now| store_now.min(now));
    let mut touched = false;
    let mut stopped = None;
    for leftover in leftovers.iter_mut().filter(|leftover| leftover.fate == Fate::Due) {
        if !leftover.given_up && !is_old(leftover.modified, now, options.grace) {
            leftover.fate = Fate::Kept;
            leftover.reason = "by the store's clock it may still be written";
            continue;
        }
        if context.interrupt.is_set() {
            let left = "what was not deleted yet is found again by the next run".to_owned();
            stopped = Some(Error::Interrupted { left });
            break;
        }
        match clear(store, leftover, now).await {
            Ok(fate) => {
                touched |= fate == Fate::Deleted;
                leftover.fate = fate;
            }
            Err(error) => {
                leftover.fate = Fate::Refused(Finding::of(&error));
                if !is_of_this_object(&error) {
                    stopped = Some(error);
                    break;
                }
            }
        }
    }
    match stopped {
        // What of the only one is gone the next run finds out.
        Some(error) if !touched => Err(error),
        stopped => Ok(Cleared { leftovers, stopped }),
    }
}

/// Whether the store said no to this object, and not that it cannot be reached.
fn is_of_this_object(error: &Error) -> bool {
    use backstay_store::Error as StoreError;
    matches!(error, Error::Store(StoreError::Locked { .. } | StoreError::Denied { .. } | StoreError::NameTaken { .. }))
}

fn is_old(modified: SystemTime, now: SystemTime, grace: Duration) -> bool {
    now.duration_since(modified).is_ok_and(|age| age >= grace)
}

/// Deletes what is due, in the order in which nothing half-deleted can look whole.
async fn clear(store: &Store, leftover: &mut Leftover, now: SystemTime) -> Result<Fate> {
    match &leftover.what {
        What::Staged(name) => store.remove_staged(name).await?,
        What::Probe(name) => store.delete(name).await?,
        What::Remarks(id) => {
            let group = inventory::of::<Group>(store, id).await?;
            if group.is_anything() || group.is_committed(store).await? {
                leftover.reason = "something of it was stored meanwhile";
                return Ok(Fate::Kept);
            }
            delete_all(store, &leftover.objects).await?;
        }
        What::Begun(_) => delete_all(store, &leftover.objects).await?,
        What::Marker(id) => {
            // A writer that was slow beyond measure may have stored something since.
            if !inventory::of::<Group>(store, id).await?.is_empty() {
                leftover.reason = "something of it was stored meanwhile";
                return Ok(Fate::Kept);
            }
            store.delete(&id.manifest()).await?;
        }
        What::Upload(id) => {
            // Looked at before anything is said about it: a marker beside what is kept would keep it from being repaired.
            if !leftover.given_up {
                let group = inventory::of::<Group>(store, id).await?;
                if group.is_untouchable() || !group.is_native(store).await? {
                    leftover.reason = NOT_TO_BE_TOUCHED;
                    return Ok(Fate::Kept);
                }
                let time =
                    jiff::Timestamp::try_from(now).map_err(|error| Error::Internal { why: error.to_string() })?;
                let marker = aborted_marker(id, &rfc3339(time));
                let digest = sha256(&marker);
                match store.create(&id.manifest(), Bytes::from(marker), digest).await {
                    Ok(_) => {}
                    Err(backstay_store::Error::NameTaken { .. }) => {
                        leftover.reason = "it was committed meanwhile";
                        return Ok(Fate::Kept);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // Only from here on is it certain that nothing commits them, and what there is now is what is deleted.
            let group = inventory::of::<Group>(store, id).await?;
            if group.is_untouchable() || !group.is_native(store).await? {
                // Something came meanwhile. Our own marker goes again; one that stood already may have told its writer to give up.
                if !leftover.given_up {
                    store.delete(&id.manifest()).await?;
                }
                leftover.reason = NOT_TO_BE_TOUCHED;
                return Ok(Fate::Kept);
            }
            leftover.objects = group.names();
            for (name, _) in &group.keyboxes {
                store.delete(name).await?;
            }
            let deletes = stream::iter(group.parts).map(|part| async move { store.delete(&part.name).await });
            deletes.buffer_unordered(REQUESTS).try_collect::<()>().await?;
        }
    }
    Ok(Fate::Deleted)
}

async fn delete_all(store: &Store, names: &[String]) -> Result<()> {
    let deletes = stream::iter(names).map(|name| async move { store.delete(name).await });
    Ok(deletes.buffer_unordered(REQUESTS).try_collect::<()>().await?)
}

/// Clears away an upload that nothing commits, now and whatever its age: the caller knows that nobody is writing it. The marker goes too, so
/// that the id can be used again.
///
/// # Errors
/// `name.taken` when it was committed meanwhile, or is not what an upload leaves; `store.*`.
pub(crate) async fn give_up(store: &Store, id: &ArchiveId, context: &Context) -> Result<()> {
    let passing = &store.for_passing_objects();
    let probe = format!("{PROBE}{}", to_hex(&context.random::<16>()));
    probe_conditional_create(passing, &probe).await?;
    let (what, now) = (What::Upload(id.clone()), SystemTime::from(context.now()));
    let mut leftover = Leftover::old_or_not(what, Vec::new(), 0, now, &GcOptions::default(), now);
    leftover.given_up = match inventory::of::<Group>(passing, id).await?.manifest {
        Some((size, _)) => is_marker(passing, id, size).await?,
        None => false,
    };
    match clear(passing, &mut leftover, now).await? {
        Fate::Deleted => Ok(passing.delete(&id.manifest()).await?),
        _ => {
            let what = "something stands there that no interrupted run leaves";
            Err(Error::WrittenAlready { id: id.to_string(), store: store.url().to_owned(), what })
        }
    }
}

async fn is_marker(store: &Store, id: &ArchiveId, size: u64) -> Result<bool> {
    if size >= SHORTER_THAN_A_MANIFEST {
        return Ok(false);
    }
    match store.get(&id.manifest(), SHORTER_THAN_A_MANIFEST).await {
        Ok(bytes) => Ok(bytes.is_some_and(|bytes| is_aborted_marker(&bytes, id))),
        Err(backstay_store::Error::TooLarge { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Lists the store and judges everything in it that no manifest commits.
async fn survey(store: &Store, options: &GcOptions, now: SystemTime) -> Result<Vec<Leftover>> {
    let mut probes = Vec::new();
    let listing = store.list("", None).inspect_ok(|object| {
        if object.name.starts_with(PROBE) && object.size <= PROBE_SIZE {
            probes.push(object.clone());
        }
    });
    let mut leftovers = Vec::new();
    // Most archives are whole: one is held at a time.
    let mut groups = inventory::each::<Group>(listing);
    while let Some(group) = groups.try_next().await? {
        leftovers.extend(group.judge(store, options, now).await?);
    }
    drop(groups);
    for ObjectInfo { name, size, modified, .. } in probes {
        leftovers.push(Leftover::old_or_not(What::Probe(name.clone()), vec![name], size, modified, options, now));
    }
    for file in store.staged().await? {
        let (what, modified) = (What::Staged(file.name.clone()), file.modified);
        leftovers.push(Leftover::old_or_not(what, vec![file.name], file.size, modified, options, now));
    }
    Ok(leftovers)
}

const NOT_TO_BE_TOUCHED: &str = "something stands there that no interrupted run leaves";
const NOT_NATIVE: &str = "not of the native format: nothing but its content could tell whether it is whole";

impl Leftover {
    /// Something whose age alone decides.
    fn old_or_not(
        what: What,
        objects: Vec<String>,
        bytes: u64,
        modified: SystemTime,
        options: &GcOptions,
        now: SystemTime,
    ) -> Leftover {
        let (reason, fate) = match (is_old(modified, now, options.grace), &what) {
            (false, What::Marker(_)) => ("the upload may still send something", Fate::Kept),
            (false, What::Remarks(_)) => ("what it was said of was there not long ago", Fate::Kept),
            (false, What::Begun(_)) => ("a run may be deleting it", Fate::Kept),
            (false, _) => ("it may still be written", Fate::Kept),
            (true, What::Marker(_)) => ("everything else of the upload is gone", Fate::Due),
            (true, What::Remarks(_)) => ("what it was said of is gone", Fate::Due),
            (true, What::Begun(_)) => ("the run that began to delete it has ended", Fate::Due),
            (true, What::Staged(_)) => ("it was never published", Fate::Due),
            (true, What::Probe(_)) => ("the check that it was for is over", Fate::Due),
            (true, What::Upload(_)) => ("its upload did not finish", Fate::Due),
        };
        Leftover { what, objects, bytes, modified, reason, fate, given_up: false }
    }
}

/// The objects of one archive.
struct Group {
    id: ArchiveId,
    parts: Vec<Object>,
    keyboxes: Vec<(String, u64)>,
    /// Size and time of `<id>.json`.
    manifest: Option<(u64, SystemTime)>,
    /// The single form, a set, or a sidecar of a later version: not to be touched.
    untouchable: bool,
    /// Nor is what is held.
    held: bool,
    /// What was said of it, but for its tombstone, which tells when the source was pruned.
    remarks: Vec<ObjectInfo>,
    /// How many of these are marks of deletions that began.
    begun: usize,
    /// The time in the name, or that of the newest object beside the manifest.
    modified: SystemTime,
}

impl Holding for Group {
    fn new(id: &ArchiveId) -> Group {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(id.millis());
        let (id, untouchable, held, begun) = (id.clone(), false, false, 0);
        let (parts, keyboxes, remarks) = (Vec::new(), Vec::new(), Vec::new());
        Group { id, parts, keyboxes, manifest: None, untouchable, held, remarks, begun, modified }
    }

    fn add(&mut self, parsed: &ObjectName, object: ObjectInfo) {
        let (name, size, modified) = (object.name.clone(), object.size, object.modified);
        match parsed {
            ObjectName::Manifest(_) => {
                self.manifest = Some((size, modified));
                return;
            }
            // Of a whole archive nothing has to be known.
            ObjectName::Part { n, padded, .. } => {
                self.untouchable |= *padded;
                self.parts.push(Object { n: *n, name, size });
            }
            ObjectName::Keybox(..) => self.keyboxes.push((name, size)),
            ObjectName::Single(_) | ObjectName::Set(_) | ObjectName::Unknown(_) => self.untouchable = true,
            ObjectName::Sidecar(_, Word::Expired, None) => {}
            ObjectName::Sidecar(_, word, _) => {
                self.held |= *word == Word::Hold;
                self.begun += usize::from(*word == Word::Expired);
                self.remarks.push(object);
            }
            ObjectName::Foreign => {}
        }
        self.modified = self.modified.max(modified);
    }
}

impl Group {
    /// Whether nothing is left but a manifest and sidecars that say nothing.
    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.keyboxes.is_empty() && !self.is_untouchable()
    }

    fn is_untouchable(&self) -> bool {
        self.untouchable || self.held
    }

    /// Whether anything is left beside a manifest and what was said of it.
    fn is_anything(&self) -> bool {
        self.untouchable || !self.parts.is_empty() || !self.keyboxes.is_empty()
    }

    /// Whether there is a manifest that is no abort marker.
    async fn is_committed(&self, store: &Store) -> Result<bool> {
        match self.manifest {
            Some((size, _)) => Ok(!is_marker(store, &self.id, size).await?),
            None => Ok(false),
        }
    }

    /// These remarks as what is left over.
    fn said(&self, what: What, remarks: Vec<&ObjectInfo>, options: &GcOptions, now: SystemTime) -> Option<Leftover> {
        let stored = remarks.iter().map(|remark| remark.modified).max()?;
        let modified = if matches!(what, What::Begun(_)) { stored } else { self.modified };
        let bytes = remarks.iter().map(|remark| remark.size).sum();
        let names = remarks.into_iter().map(|remark| remark.name.clone()).collect();
        Some(Leftover::old_or_not(what, names, bytes, modified, options, now))
    }

    /// Marks that its deletion began, of which it is still there.
    fn begun(&self, options: &GcOptions, now: SystemTime) -> Option<Leftover> {
        if self.begun == 0 {
            return None;
        }
        let is_mark = |remark: &&ObjectInfo| {
            matches!(ObjectName::parse(&remark.name), ObjectName::Sidecar(_, Word::Expired, Some(_)))
        };
        self.said(What::Begun(self.id.clone()), self.remarks.iter().filter(is_mark).collect(), options, now)
    }

    /// Keyboxes first: whatever is interrupted then, the rest is only noise.
    fn names(&self) -> Vec<String> {
        let keyboxes = self.keyboxes.iter().map(|(name, _)| name.clone());
        keyboxes.chain(self.parts.iter().map(|part| part.name.clone())).collect()
    }

    /// What is to be said about it; nothing about an archive.
    async fn judge(mut self, store: &Store, options: &GcOptions, now: SystemTime) -> Result<Option<Leftover>> {
        let mut given_up = false;
        if let Some((size, modified)) = self.manifest {
            if !is_marker(store, &self.id, size).await? {
                return Ok(self.begun(options, now));
            }
            if self.is_empty() {
                let (what, objects) = (What::Marker(self.id.clone()), vec![self.id.manifest()]);
                let modified = self.modified.max(modified);
                return Ok(Some(Leftover::old_or_not(what, objects, size, modified, options, now)));
            }
            given_up = true;
        }
        if !self.is_anything() {
            return Ok(self.said(What::Remarks(self.id.clone()), self.remarks.iter().collect(), options, now));
        }
        if self.parts.is_empty() && self.keyboxes.is_empty() {
            return Ok(self.begun(options, now));
        }
        self.parts.sort_unstable_by_key(|part| part.n);
        let parts = self.parts.iter().map(|part| part.size);
        let bytes = parts.chain(self.keyboxes.iter().map(|(_, size)| *size)).sum();
        let (objects, modified) = (self.names(), self.modified);
        let what = What::Upload(self.id.clone());
        let mut leftover = Leftover::old_or_not(what, objects, bytes, modified, options, now);
        let kept = if self.is_untouchable() {
            Some("something stands beside it that is not to be touched")
        } else if leftover.fate == Fate::Kept && !given_up {
            None
        } else if !self.is_native(store).await? {
            Some(NOT_NATIVE)
        } else if given_up {
            leftover.fate = Fate::Due;
            leftover.reason = "it was given up, and is not cleared away yet";
            leftover.given_up = true;
            None
        } else if !options.whole && self.is_whole(store).await? {
            Some("it seems to lack nothing but its manifest: reassemble it, or delete it with --whole")
        } else {
            None
        };
        if let Some(reason) = kept {
            (leftover.fate, leftover.reason) = (Fate::Kept, reason);
        }
        Ok(Some(leftover))
    }

    /// Whether every part begins as a part of this archive does.
    async fn is_native(&self, store: &Store) -> Result<bool> {
        let line = format!("BACKSTAY1 {{\"id\":\"{}\",", self.id);
        let (line, length) = (&line, line.len() as u64);
        let mut starts = stream::iter(self.parts.clone())
            .map(|part| {
                async move {
                    if part.size < length {
                        return Ok(false);
                    }
                    match store.get_range(&part.name, 0..length).await {
                        Ok(start) => Ok(start == line.as_bytes()),
                        // Somebody else clears it away.
                        Err(backstay_store::Error::ObjectMissing { .. }) => Ok(true),
                        Err(error) => Err(Error::from(error)),
                    }
                }
            })
            .buffered(REQUESTS);
        while let Some(native) = starts.try_next().await? {
            if !native {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the last part seems to be there: only that one is shorter than a part can be. One that was padded to a whole
    /// part is not known by that.
    async fn is_whole(&self, store: &Store) -> Result<bool> {
        let Some(last) = self.parts.last() else { return Ok(false) };
        if last.n as usize + 1 != self.parts.len() {
            return Ok(false);
        }
        match read_header(store, &self.id, last, MAX_LINE, Reference::None).await {
            Ok(header) => Ok(last.size < header.common.part_size(header.line.len())),
            Err(Error::Format(_) | Error::Store(backstay_store::Error::ObjectMissing { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
