//! A store with a clock of its own, which tests set: objects are as old as a test needs them to be, and sixty days of backups take a
//! second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use backstay_store::Store;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// The time of a store, and when each of its objects was stored by it. Clones share it.
#[derive(Clone, Debug)]
pub struct Clocked(Arc<Mutex<Times>>);

#[derive(Debug)]
struct Times {
    now: SystemTime,
    stored: HashMap<Path, SystemTime>,
}

impl Clocked {
    /// A clock that stands at so many milliseconds after 1970.
    #[must_use]
    pub fn at(millis: u64) -> Clocked {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        Clocked(Arc::new(Mutex::new(Times { now, stored: HashMap::new() })))
    }

    /// Puts this clock before an object store.
    #[must_use]
    pub fn wrap(&self, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Timed { inner, clock: self.clone() })
    }

    /// A store in memory with this clock.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::memory().with_wrapper(|objects| self.wrap(objects))
    }

    /// Now, in milliseconds.
    #[must_use]
    pub fn millis(&self) -> u64 {
        self.times().now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
    }

    /// Sets the clock.
    pub fn set(&self, millis: u64) {
        self.times().now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.times().now += time;
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn date(&self, meta: &mut ObjectMeta) {
        if let Some(stored) = self.times().stored.get(&meta.location) {
            meta.last_modified = (*stored).into();
        }
    }
}

#[derive(Debug)]
struct Timed {
    inner: Arc<dyn ObjectStore>,
    clock: Clocked,
}

impl std::fmt::Display for Timed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Timed({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Timed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, options).await?;
        let mut times = self.clock.times();
        let now = times.now;
        times.stored.insert(location.clone(), now);
        Ok(put)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut answer = self.inner.get_opts(location, options).await?;
        self.clock.date(&mut answer.meta);
        Ok(answer)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let clock = self.clock.clone();
        let dated = self.inner.list(prefix).map(move |meta| {
            meta.map(|mut meta| {
                clock.date(&mut meta);
                meta
            })
        });
        dated.boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        for meta in &mut listed.objects {
            self.clock.date(meta);
        }
        Ok(listed)
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
