//! A store that is far away: every request takes so long before it is carried out, however many there are at the same time. Bytes take no time, so
//! that what is seen is waiting: how well requests overlap with each other and with computing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::sleep;

/// An object store behind a delay.
#[derive(Debug)]
pub struct Delay {
    inner: Arc<dyn ObjectStore>,
    delay: Duration,
}

impl Delay {
    /// Puts so much before every request to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, delay: Duration) -> Delay {
        Delay { inner, delay }
    }
}

impl std::fmt::Display for Delay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} after {:?}", self.inner, self.delay)
    }
}

#[async_trait]
impl ObjectStore for Delay {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        sleep(self.delay).await;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        sleep(self.delay).await;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        sleep(self.delay).await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let delay = self.delay;
        self.inner.delete_stream(
            locations
                .then(move |location| async move {
                    sleep(delay).await;
                    location
                })
                .boxed(),
        )
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (delay, listing) = (self.delay, self.inner.list(prefix));
        stream::once(async move {
            sleep(delay).await;
            listing
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        sleep(self.delay).await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        sleep(self.delay).await;
        self.inner.copy_opts(from, to, options).await
    }
}
