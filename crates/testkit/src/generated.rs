//! A store of as many archives as one likes, of which nothing is stored: its listing is made up page by page, an object's bytes when they are
//! asked for, and what becomes of an archive is kept in eight bytes. So a store of a million archives can be listed, planned and pruned,
//! what was deleted is really gone, and the memory that is measured is the product's.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use backstay_format::manifest::{Manifest, Profile};
use backstay_format::remark::Remark;
use backstay_format::{ArchiveId, Guid, ObjectName, Word};
use backstay_store::Store;
use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use crate::Clocked;

/// The time between two archives of a source.
const HOUR: u64 = 3_600_000;
/// How long an archive took.
const TAKES: u64 = 60_000;
/// What an S3 server lists at once.
const PAGE: usize = 1000;
/// One of so many was interrupted.
const INTERRUPTED: usize = 1000;
/// An openssl stream of this size: the salt, and whole blocks of 16 bytes.
const STREAM: usize = 4096;

/// What is gone of an archive, in its lowest bits; above them when its tombstone was made, in milliseconds.
const PART_GONE: u64 = 1;
const MANIFEST_GONE: u64 = 2;
const GONE: u32 = 2;

/// A store of sources that made an archive every hour. Those of the last source are of the openssl profile, each a single object, and all
/// others native ones of one part; of these each thousandth was interrupted and has no manifest. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Generated(Arc<Archives>);

#[derive(Debug)]
struct Archives {
    template: Manifest,
    begin: u64,
    sources: usize,
    /// Archives of each source.
    each: usize,
    /// Bytes of the manifests of each source.
    manifests: Vec<u64>,
    /// For each archive what became of it.
    fates: Vec<AtomicU64>,
    clock: Clocked,
    /// What was stored beside the archives and their tombstones.
    added: Arc<dyn ObjectStore>,
}

/// The guid of a source.
fn guid(source: usize) -> Guid {
    format!("de2fe9e4-6535-423d-8709-{source:012}").parse().unwrap()
}

impl Generated {
    /// A store whose sources began at `begin`, in milliseconds, and made `each` archives like `template`. Its clock stands at the time of the
    /// last one.
    #[must_use]
    pub fn new(template: Manifest, begin: u64, sources: usize, each: usize) -> Generated {
        let clock = Clocked::at(begin + each as u64 * HOUR);
        let added = clock.wrap(Arc::new(InMemory::new()));
        let fates = (0..sources * each).map(|_| AtomicU64::new(0)).collect();
        let mut archives = Archives { template, begin, sources, each, manifests: Vec::new(), fates, clock, added };
        archives.manifests = (0..sources).map(|source| archives.manifest(source * each).len() as u64).collect();
        Generated(Arc::new(archives))
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::from_paged_store(&Arc::new(self.clone()), "generated:")
    }

    /// The store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clocked {
        &self.0.clock
    }

    /// How many archives were begun.
    #[must_use]
    pub fn archives(&self) -> usize {
        self.0.fates.len()
    }

    /// How many of them are in a single object.
    #[must_use]
    pub fn singles(&self) -> usize {
        self.0.each
    }

    /// How many of them were interrupted.
    #[must_use]
    pub fn interrupted(&self) -> usize {
        (0..self.archives()).filter(|at| self.0.is_interrupted(*at)).count()
    }

    /// The objects that there are now.
    #[must_use]
    pub fn objects(&self) -> usize {
        (0..self.archives()).map(|at| self.0.metas(at).count()).sum()
    }
}

impl std::fmt::Display for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generated({})", self.archives())
    }
}

impl Archives {
    fn id(&self, at: usize) -> ArchiveId {
        ArchiveId::new(&guid(at / self.each), self.begin + (at % self.each) as u64 * HOUR).unwrap()
    }

    /// The place of an archive that was begun.
    fn place(&self, id: &ArchiveId) -> Option<usize> {
        let source = id.guid().as_str()[24..].parse::<usize>().ok().filter(|source| *source < self.sources)?;
        let hour = (id.millis().checked_sub(self.begin)? / HOUR) as usize;
        let at = source * self.each + hour;
        (hour < self.each && self.id(at) == *id).then_some(at)
    }

    fn is_single(&self, at: usize) -> bool {
        at / self.each + 1 == self.sources
    }

    fn is_interrupted(&self, at: usize) -> bool {
        !self.is_single(at) && at % INTERRUPTED == INTERRUPTED - 1
    }

    fn manifest(&self, at: usize) -> Bytes {
        let (id, name) = (self.id(at), Some(format!("source-{}", at / self.each)));
        let manifest = Manifest { id, name, ..self.template.clone() };
        manifest.encode(&[0; 32], None).expect("the template has few parts").0.into()
    }

    /// The beginning of the first part, and nothing behind it that could be opened.
    fn part(&self, at: usize) -> Bytes {
        let mut bytes = match &self.template.profile {
            _ if self.is_single(at) => b"Salted__".to_vec(),
            Profile::Native(head) => head.header(&self.id(at), 0, &[0; 16]).line,
            Profile::Openssl(_) => Vec::new(),
        };
        bytes.resize(self.part_size(at), 0);
        bytes.into()
    }

    fn part_size(&self, at: usize) -> usize {
        if self.is_single(at) { STREAM } else { self.template.parts[0].size as usize }
    }

    /// What is there under this name, unless it was deleted; `None` for what is not one of the archives' own objects.
    fn own(&self, name: &str) -> Option<Option<(usize, Bytes)>> {
        let parsed = ObjectName::parse(name);
        let at = self.place(parsed.id()?)?;
        let fate = self.fates[at].load(Ordering::Relaxed);
        let bytes = match parsed {
            ObjectName::Manifest(_) if !self.is_single(at) && !self.is_interrupted(at) => {
                (fate & MANIFEST_GONE == 0).then(|| self.manifest(at))
            }
            ObjectName::Part { n: 0, padded: false, .. } if !self.is_single(at) => {
                (fate & PART_GONE == 0).then(|| self.part(at))
            }
            ObjectName::Single(_) if self.is_single(at) => (fate & PART_GONE == 0).then(|| self.part(at)),
            _ => return None,
        };
        Some(bytes.map(|bytes| (at, bytes)))
    }

    fn dated(name: String, size: u64, millis: u64) -> ObjectMeta {
        let stored = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        ObjectMeta { location: Path::from(name), last_modified: stored.into(), size, e_tag: None, version: None }
    }

    /// What is there of an archive, in the order of its names.
    fn metas(&self, at: usize) -> impl Iterator<Item = ObjectMeta> {
        let (id, fate) = (self.id(at), self.fates[at].load(Ordering::Relaxed));
        let stored = id.millis() + TAKES;
        let part = (fate & PART_GONE == 0).then(|| {
            let name = if self.is_single(at) { id.to_string() } else { id.part(0) };
            Self::dated(name, self.part_size(at) as u64, stored)
        });
        let tombstone = (fate >> GONE > 0).then(|| Self::dated(id.tombstone(), 200, fate >> GONE));
        let whole = !self.is_single(at) && !self.is_interrupted(at) && fate & MANIFEST_GONE == 0;
        let manifest = whole.then(|| Self::dated(id.manifest(), self.manifests[at / self.each], stored));
        [part, tombstone, manifest].into_iter().flatten()
    }

    /// A tombstone: all of it but its time is forgotten, once it was seen to be one.
    fn bury(&self, at: usize, location: &Path, payload: &PutPayload) -> Result<PutResult> {
        let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
        Remark::parse(&bytes, &self.id(at), Word::Expired, location.as_ref()).unwrap();
        let fate = &self.fates[at];
        if fate.load(Ordering::Relaxed) >> GONE > 0 {
            return Err(Error::AlreadyExists { path: location.to_string(), source: "it stands".into() });
        }
        fate.fetch_or(self.clock.millis() << GONE, Ordering::Relaxed);
        Ok(PutResult { e_tag: None, version: None, extensions: Extensions::default() })
    }

    async fn delete(&self, location: &Path) -> Result<()> {
        let name = ObjectName::parse(location.as_ref());
        let Some(at) = name.id().and_then(|id| self.place(id)) else { return self.added.delete(location).await };
        let fate = &self.fates[at];
        match name {
            ObjectName::Manifest(_) => fate.fetch_or(MANIFEST_GONE, Ordering::Relaxed),
            ObjectName::Part { .. } | ObjectName::Single(_) => fate.fetch_or(PART_GONE, Ordering::Relaxed),
            ObjectName::Sidecar(_, Word::Expired, None) => fate.fetch_and(PART_GONE | MANIFEST_GONE, Ordering::Relaxed),
            _ => return self.added.delete(location).await,
        };
        Ok(())
    }
}

#[async_trait]
impl PaginatedListStore for Generated {
    async fn list_paginated(&self, prefix: Option<&str>, options: PaginatedListOptions) -> Result<PaginatedListResult> {
        let archives = &*self.0;
        let prefix = prefix.unwrap_or_default();
        let after = options.page_token.or(options.offset).unwrap_or_default();
        let follows = |meta: &ObjectMeta| meta.location.as_ref() > after.as_str();
        let begins = |meta: &ObjectMeta| meta.location.as_ref().starts_with(prefix);
        let mut added: Vec<ObjectMeta> = archives.added.list(None).try_collect().await?;
        added.retain(|meta| follows(meta) && begins(meta));
        added.sort_unstable_by(|one, other| one.location.cmp(&other.location));
        // The first archive of which something may stand behind the token.
        let (mut from, mut to) = (0, self.archives());
        let first = if after.is_empty() { prefix } else { after.as_str() };
        while from < to {
            let middle = usize::midpoint(from, to);
            let id = archives.id(middle);
            let before = id.as_str() < first && !first.starts_with(id.as_str());
            (from, to) = if before { (middle + 1, to) } else { (from, middle) };
        }
        let own = (from..self.archives()).flat_map(|at| archives.metas(at));
        let mut own = own.skip_while(|meta| !follows(meta) || meta.location.as_ref() < prefix).peekable();
        let mut added = added.into_iter().peekable();
        let mut objects = Vec::new();
        let mut more = false;
        loop {
            let ours = own.peek().filter(|meta| begins(meta));
            let first = match (ours, added.peek()) {
                (None, None) => break,
                (Some(ours), Some(other)) if ours.location < other.location => own.next(),
                (Some(_), None) => own.next(),
                _ => added.next(),
            };
            if objects.len() == PAGE {
                more = true;
                break;
            }
            objects.extend(first);
        }
        let page_token = objects.last().filter(|_| more).map(|last| last.location.to_string());
        let result = ListResult { common_prefixes: Vec::new(), objects, extensions: Extensions::default() };
        Ok(PaginatedListResult { result, page_token })
    }
}

/// What nobody should ask of such a store.
fn refused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "Generated".into() }
}

#[async_trait]
impl ObjectStore for Generated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let name = ObjectName::parse(location.as_ref());
        match name.id().and_then(|id| self.0.place(id)) {
            Some(at) if matches!(name, ObjectName::Sidecar(_, Word::Expired, None)) => {
                self.0.bury(at, location, &payload)
            }
            _ => self.0.added.put_opts(location, payload, options).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(own) = self.0.own(location.as_ref()) else { return self.0.added.get_opts(location, options).await };
        let missing = || Error::NotFound { path: location.to_string(), source: "it was deleted".into() };
        let (at, bytes) = own.ok_or_else(missing)?;
        let size = bytes.len() as u64;
        let meta = Archives::dated(location.to_string(), size, self.0.id(at).millis() + TAKES);
        let range: Range<u64> = match &options.range {
            Some(GetRange::Bounded(range)) => range.start..range.end.min(size),
            _ => 0..size,
        };
        let asked = bytes.slice(range.start as usize..range.end as usize);
        let payload = GetResultPayload::Stream(stream::once(async { Ok(asked) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default(), extensions: Extensions::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = locations.and_then(move |location| {
            let this = this.clone();
            async move { this.0.delete(&location).await.map(|()| location) }
        });
        deleted.boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(refused("list")) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(refused("list_with_delimiter"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(refused("put_multipart_opts"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("copy_opts"))
    }
}
