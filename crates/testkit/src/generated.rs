//! A store of as many archives as one likes, none of which takes any memory: the listing is made up on the way, and manifests when they are
//! asked for. What is stored in it is kept.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use backstay_format::manifest::{Manifest, Profile};
use backstay_format::{ArchiveId, ObjectName};
use backstay_store::Store;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

/// The time between two archives.
const HOUR: u64 = 3_600_000;

/// A store with an archive of one part for each hour since `begin`, made like `template`; deleting one of its objects is counted and
/// changes nothing else.
#[must_use]
pub fn generated(template: Manifest, begin: u64, number: usize) -> Store {
    let inner = Arc::new(Generated { template, begin, number, added: InMemory::new() });
    Store::from_object_store(inner, "", "generated:")
}

#[derive(Debug)]
struct Generated {
    template: Manifest,
    begin: u64,
    number: usize,
    added: InMemory,
}

impl std::fmt::Display for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Generated({})", self.number)
    }
}

impl Generated {
    fn id(&self, at: usize) -> ArchiveId {
        ArchiveId::new(&self.template.id.guid(), self.begin + at as u64 * HOUR).unwrap()
    }

    fn manifest(&self, id: &ArchiveId) -> Bytes {
        Manifest { id: id.clone(), ..self.template.clone() }.encode(&[0; 32], None).0.into()
    }

    /// The first part: a header line, and nothing that could be opened.
    fn part(&self, id: &ArchiveId) -> Bytes {
        let Profile::Native(head) = &self.template.profile else { return Bytes::new() };
        let mut bytes = head.header(id, 0, &[0; 16]).line;
        bytes.resize(self.template.parts[0].size as usize, 0);
        bytes.into()
    }

    fn meta(&self, id: &ArchiveId, name: String, size: u64) -> ObjectMeta {
        let stored = SystemTime::UNIX_EPOCH + Duration::from_millis(id.millis() + 60_000);
        ObjectMeta { location: Path::from(name), last_modified: stored.into(), size, e_tag: None, version: None }
    }

    fn metas(&self, at: usize) -> [ObjectMeta; 2] {
        let id = self.id(at);
        let size = self.manifest(&id).len() as u64;
        [self.meta(&id, id.part(0), self.template.parts[0].size), self.meta(&id, id.manifest(), size)]
    }
}

#[async_trait]
impl ObjectStore for Generated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.added.put_opts(location, payload, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (id, bytes) = match ObjectName::parse(location.as_ref()) {
            ObjectName::Manifest(id) => (id.clone(), self.manifest(&id)),
            ObjectName::Part { id, n: 0, .. } => (id.clone(), self.part(&id)),
            _ => return self.added.get_opts(location, options).await,
        };
        let size = bytes.len() as u64;
        let meta = self.meta(&id, location.to_string(), size);
        let range: Range<u64> = match &options.range {
            Some(GetRange::Bounded(range)) => range.start..range.end.min(size),
            _ => 0..size,
        };
        let asked = bytes.slice(range.start as usize..range.end as usize);
        let payload = GetResultPayload::Stream(stream::once(async { Ok(asked) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default(), extensions: Extensions::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.added.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let made: Vec<ObjectMeta> = (0..self.number).flat_map(|at| self.metas(at)).collect();
        stream::iter(made.into_iter().map(Ok)).chain(self.added.list(prefix)).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list_with_delimiter".into(), implementer: "Generated".into() })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: location.to_string(), implementer: "Generated".into() })
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        self.added.head(from).await.map(drop)
    }
}
