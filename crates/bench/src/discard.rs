//! A store that forgets what it is sent, except that it was sent: a writer lists its parts before it commits, and tries whether the first one
//! can be created twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Names and sizes of objects whose bytes are gone.
#[derive(Debug, Default)]
pub struct Discard {
    sizes: Mutex<BTreeMap<Path, u64>>,
}

impl Discard {
    fn sizes(&self) -> MutexGuard<'_, BTreeMap<Path, u64>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Discard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Discard")
    }
}

fn gone(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "a store that keeps nothing".to_owned() }
}

#[async_trait]
impl ObjectStore for Discard {
    async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        let mut sizes = self.sizes();
        if sizes.contains_key(location) {
            return Err(Error::AlreadyExists { path: location.to_string(), source: "it was sent before".into() });
        }
        sizes.insert(location.clone(), payload.content_length() as u64);
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(gone("put_multipart"))
    }

    async fn get_opts(&self, _: &Path, _: GetOptions) -> Result<GetResult> {
        Err(gone("get"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(gone("delete")) }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let sizes = self.sizes().clone().into_iter();
        let meta = |(location, size)| {
            Ok(ObjectMeta { location, size, last_modified: Default::default(), e_tag: None, version: None })
        };
        stream::iter(sizes.map(meta)).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(gone("list_with_delimiter"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(gone("copy"))
    }
}
