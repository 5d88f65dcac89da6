//! A store whose calls take a little time, each another one, so that what runs beside it gets in between: interleavings by a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// The most that a call is put off.
const LONGEST: u64 = 2500;

/// Puts off every call to an object store, before it and after it, by up to some milliseconds.
#[must_use]
pub fn dawdling(seed: u64, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    Arc::new(Dawdling { inner, state: Arc::new(AtomicU64::new(seed)) })
}

#[derive(Clone, Debug)]
struct Dawdling {
    inner: Arc<dyn ObjectStore>,
    state: Arc<AtomicU64>,
}

impl Dawdling {
    async fn wait(&self) {
        let step = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (step ^ (step >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        tokio::time::sleep(Duration::from_micros((mixed ^ (mixed >> 27)) % LONGEST)).await;
    }
}

impl std::fmt::Display for Dawdling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dawdling({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Dawdling {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.wait().await;
        let answer = self.inner.put_opts(location, payload, options).await;
        self.wait().await;
        answer
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.wait().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let late = locations.then(move |location| {
            let this = this.clone();
            async move {
                this.wait().await;
                location
            }
        });
        self.inner.delete_stream(late.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listing = async move {
            this.wait().await;
            let listing = this.inner.list(prefix.as_ref());
            this.wait().await;
            listing
        };
        stream::once(listing).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.wait().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
