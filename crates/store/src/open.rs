//! From a URL to a [`Store`].

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::list::PaginatedListStore;
use object_store::memory::InMemory;
use object_store::path::Path as Key;

use crate::Error;
use crate::attempt::{Failure, Meaning, Seen, attempt};
use crate::creation::{Creation, ObjectOptions};
use crate::credentials::Environment;
use crate::interrupt::Interrupt;
use crate::local::{self, Local, identity};
use crate::location::{Cloud, Location, check_name};
use crate::rate::RateLimit;
use crate::requests::{Counters, Request, RequestCounts};
use crate::retry::{Attempts, RetryOptions};
use crate::watch::{Retry, Watch};

/// A file of this name marks a directory of this machine as one to work in, where what lies there is moved and deleted as the work wants it.
pub const WORKPLACE_MARK: &str = ".backstay-lock";

/// How a store is reached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreOptions {
    /// The endpoint, for stores other than the cloud's own. `http://` is allowed here and nowhere else.
    pub endpoint_url: Option<String>,
    /// The region; AWS and its relatives sign it.
    pub region: Option<String>,
    /// The profile of `~/.aws/config` and `~/.aws/credentials` to use, before anything in the environment.
    pub aws_profile: Option<String>,
    /// A file of certificates in PEM: authorities to believe beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Where the bucket's name stands in requests to S3; chosen by the endpoint when `None`.
    pub addressing: Option<Addressing>,
    /// Whoever asks pays: the requests say so. On S3, and on Google with the project in `GOOGLE_CLOUD_QUOTA_PROJECT`.
    pub requester_pays: bool,
    /// What each new object is given.
    pub objects: ObjectOptions,
    /// How patiently failed requests are repeated.
    pub retry: RetryOptions,
    /// A request that stands still for this long is given up and repeated. One that moves less than a KiB a second counts as standing still,
    /// so that each has a deadline, which is later for a large one.
    pub stall: Duration,
    /// What all uploads together may send; directories are not limited. Stores that are given the same limit share it.
    pub upload_limit: Option<RateLimit>,
    /// What all downloads together may fetch; directories are not limited.
    pub download_limit: Option<RateLimit>,
    /// How many requests may be sent a second, each attempt counted; directories are not limited.
    pub request_limit: Option<RateLimit>,
    /// Once it is set, nothing is repeated any more, and a second later nothing is waited for.
    pub interrupt: Interrupt,
    /// Who is told of retries.
    pub watch: Option<Watch>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            endpoint_url: None,
            region: None,
            aws_profile: None,
            ca_file: None,
            addressing: None,
            requester_pays: false,
            objects: ObjectOptions::default(),
            retry: RetryOptions::default(),
            stall: Duration::from_secs(60),
            upload_limit: None,
            download_limit: None,
            request_limit: None,
            interrupt: Interrupt::default(),
            watch: None,
        }
    }
}

/// Where the bucket's name stands in a request to S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// In the path. What most servers other than Amazon's want.
    Path,
    /// In the name of the host, before the endpoint's.
    Virtual,
}

/// A flat set of named objects, each created once and never changed.
///
/// Cheap to clone; clones share connections and counters.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Store {
    /// The URL alone: what is below may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.inner.url).finish()
    }
}

#[derive(Clone)]
struct Inner {
    /// As messages show it; never holds a secret.
    url: String,
    /// The URL as it was given.
    address: String,
    /// What a missing store is called in a message.
    container: String,
    backend: Backend,
    objects: Arc<dyn ObjectStore>,
    /// Empty, or ends with a slash.
    prefix: String,
    creation: Creation,
    #[cfg(feature = "s3")]
    bucket: Option<crate::bucket::BucketRequests>,
    #[cfg(feature = "azure")]
    blocks: Option<crate::blocks::BlockBlobs>,
    pages: Option<Pages>,
    credential_source: Option<String>,
    retry: RetryOptions,
    interrupt: Interrupt,
    watch: Option<Watch>,
    counters: Arc<Counters>,
    /// Requests are counted where they are sent, if there is HTTP.
    counted_by_http: bool,
    /// The object store is not the one that was opened.
    wrapped: bool,
    /// It is no store of archives but a directory to work in.
    workplace: bool,
    /// It was seen to overwrite although it was asked not to.
    overwriting: Arc<AtomicBool>,
}

/// The cloud's own paged listing; object_store's `list` matches whole path segments only.
#[derive(Clone)]
pub(crate) struct Pages(pub(crate) Arc<dyn PaginatedListStore>);

/// What kind of store it is, where that makes a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Directory(PathBuf),
    Cloud(Cloud),
    /// Given by a caller as an object store.
    Other,
}

/// A cloud's object store, ready to be used.
pub(crate) struct Opened {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) pages: Pages,
    pub(crate) credential_source: String,
    pub(crate) endpoint: Option<String>,
    #[cfg(feature = "s3")]
    pub(crate) bucket: Option<crate::bucket::BucketRequests>,
    #[cfg(feature = "azure")]
    pub(crate) blocks: Option<crate::blocks::BlockBlobs>,
}

impl Store {
    /// Opens the store at `url`: `s3://bucket/prefix`, `gs://…`, `az://…`, `file:///path`, a plain path, or `memory:`.
    ///
    /// No request is sent, and a directory need not exist yet.
    ///
    /// # Errors
    ///
    /// `usage.store-url`, also for a directory that is marked as one to work in, and `usage.credentials`.
    pub async fn open(url: &str, options: &StoreOptions, env: &Environment) -> Result<Self, Error> {
        let location = Location::parse(url)?;
        let shown = location.url();
        let counters = Arc::new(Counters::default());
        match location {
            Location::Memory => Self::memory().told(options).with_object_options(&options.objects),
            Location::Directory(path) => {
                if path.join(WORKPLACE_MARK).exists() {
                    return Err(Error::Workplace { directory: shown });
                }
                Self::over_directory(path, &shown).told(options).with_object_options(&options.objects)
            }
            Location::Bucket { cloud, bucket, prefix } => {
                let opened = open_bucket(cloud, &bucket, &shown, options, env, &counters).await?;
                let url = match opened.endpoint {
                    Some(endpoint) => format!("{shown} at {endpoint}"),
                    None => shown.clone(),
                };
                let inner = Inner {
                    url,
                    address: shown,
                    container: format!("{} {bucket}", cloud.container()),
                    backend: Backend::Cloud(cloud),
                    objects: opened.objects,
                    prefix: if prefix.is_empty() { prefix } else { prefix + "/" },
                    creation: Creation::of(&options.objects, &Backend::Cloud(cloud))?,
                    #[cfg(feature = "s3")]
                    bucket: opened.bucket,
                    #[cfg(feature = "azure")]
                    blocks: opened.blocks,
                    pages: Some(opened.pages),
                    credential_source: Some(opened.credential_source),
                    retry: options.retry.clone(),
                    interrupt: options.interrupt.clone(),
                    watch: options.watch.clone(),
                    counters,
                    counted_by_http: true,
                    wrapped: false,
                    workplace: false,
                    overwriting: Arc::default(),
                };
                Ok(Self { inner: Arc::new(inner) })
            }
        }
    }

    /// An empty store that lives as long as its clones, for tests.
    #[must_use]
    pub fn memory() -> Self {
        let mut store = Self::from_object_store(Arc::new(InMemory::new()), "", "memory:");
        store.inner_mut().backend = Backend::Memory;
        store
    }

    /// A directory of this machine to work in, beside the store that a run is about. The path is taken as it is, whatever characters it has. What
    /// fails there is told as the failure of a local file, `io.failed`: nobody is to look for a provider.
    #[must_use]
    pub fn at_directory(path: &Path) -> Self {
        let mut store = Self::over_directory(path.to_owned(), &path.display().to_string());
        store.inner_mut().workplace = true;
        store
    }

    fn over_directory(path: PathBuf, url: &str) -> Self {
        let mut store = Self::from_object_store(Arc::new(Local::new(path.clone())), "", url);
        let inner = store.inner_mut();
        inner.container = format!("directory {url}");
        inner.backend = Backend::Directory(path);
        store
    }

    fn told(mut self, options: &StoreOptions) -> Self {
        let inner = self.inner_mut();
        (inner.retry, inner.watch) = (options.retry.clone(), options.watch.clone());
        inner.interrupt = options.interrupt.clone();
        self
    }

    /// A store over an object store of the caller's, for tests and fault wrappers. `url` is what messages show.
    #[must_use]
    pub fn from_object_store(store: Arc<dyn ObjectStore>, prefix: &str, url: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let inner = Inner {
            url: url.into(),
            address: url.into(),
            container: url.into(),
            backend: Backend::Other,
            objects: store,
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
            creation: Creation::default(),
            #[cfg(feature = "s3")]
            bucket: None,
            #[cfg(feature = "azure")]
            blocks: None,
            pages: None,
            credential_source: None,
            retry: RetryOptions::default(),
            interrupt: Interrupt::default(),
            watch: None,
            counters: Arc::default(),
            counted_by_http: false,
            wrapped: false,
            workplace: false,
            overwriting: Arc::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A store over an object store of the caller's that lists page by page, as the clouds do, for tests with more objects than could be held.
    #[must_use]
    pub fn from_paged_store<S: ObjectStore + PaginatedListStore>(store: &Arc<S>, url: &str) -> Self {
        let mut paged = Self::from_object_store(Arc::<S>::clone(store), "", url);
        paged.inner_mut().pages = Some(Pages(Arc::<S>::clone(store)));
        paged
    }

    /// Puts a wrapper around the object store: faults, limits, counters. Listing goes through it too from then on.
    #[must_use]
    pub fn with_wrapper(mut self, f: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        let inner = self.inner_mut();
        inner.objects = f(Arc::clone(&inner.objects));
        inner.pages = None;
        #[cfg(feature = "s3")]
        {
            inner.bucket = None;
        }
        #[cfg(feature = "azure")]
        {
            inner.blocks = None;
        }
        inner.wrapped = true;
        inner.overwriting = Arc::default();
        self
    }

    fn with_object_options(mut self, options: &ObjectOptions) -> Result<Self, Error> {
        let inner = self.inner_mut();
        inner.creation = Creation::of(options, &inner.backend)?;
        Ok(self)
    }

    /// The same store for objects that are soon to be deleted again: they get no lock, which would forbid it, and no storage class,
    /// some of which cost as much for a day as for a month.
    #[must_use]
    pub fn for_passing_objects(&self) -> Self {
        let mut store = self.clone();
        store.inner_mut().creation.let_pass();
        store
    }

    /// Replaces the patience with which failed requests are repeated.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryOptions) -> Self {
        self.inner_mut().retry = retry;
        self
    }

    /// Tells this of retries, instead of whoever was told before.
    #[must_use]
    pub fn with_watch(mut self, watch: Watch) -> Self {
        self.inner_mut().watch = Some(watch);
        self
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }

    /// The store as messages show it, with the endpoint where one was given; never with secrets.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The store's URL without its endpoint, or the absolute path of a directory: the same from whichever directory and by whichever way a run
    /// reaches the store, and no other's. A path that is not UTF-8 is given as a `file:` URL, which has each of its bytes.
    #[must_use]
    pub fn address(&self) -> String {
        let absolute = self.directory().and_then(|directory| std::path::absolute(directory).ok());
        let Some(path) = absolute else { return self.inner.address.clone() };
        match (path.to_str(), url::Url::from_file_path(&path)) {
            (Some(text), _) => text.to_owned(),
            (None, Ok(url)) => url.into(),
            (None, Err(())) => self.inner.address.clone(),
        }
    }

    /// The directory, if the store is one of this machine.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.inner.backend {
            Backend::Directory(path) => Some(path),
            _ => None,
        }
    }

    /// Whether both are one place, however each is spelled, as far as that can be told without a request: a directory is known by its number in the
    /// file system, a bucket's server may have several names.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> Option<bool> {
        match (&self.inner.backend, &other.inner.backend) {
            (Backend::Directory(one), Backend::Directory(other)) => Some(identity(one)? == identity(other)?),
            _ if self.inner.url == other.inner.url => Some(true),
            _ => None,
        }
    }

    /// Whether the store is a directory of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.inner.backend, Backend::Directory(_))
    }

    /// Which of the places that may hold credentials was used; `None` for stores without credentials.
    #[must_use]
    pub fn credential_source(&self) -> Option<&str> {
        self.inner.credential_source.as_deref()
    }

    /// Milliseconds that the store's clock is ahead of this machine's, to within a second or so; `None` before the first answer, and for
    /// stores that have no clock of their own.
    #[must_use]
    pub fn clock_offset(&self) -> Option<i64> {
        self.inner.counters.clock()
    }

    /// Whether the store is told the digest of what it is sent, so that it can compare.
    #[must_use]
    pub fn sends_digests(&self) -> bool {
        matches!(self.inner.backend, Backend::Cloud(Cloud::S3))
    }

    /// Requests sent since the store was opened.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.inner.counters.snapshot()
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.inner.backend
    }

    pub(crate) fn creation(&self) -> &Creation {
        &self.inner.creation
    }

    #[cfg(feature = "s3")]
    pub(crate) fn bucket_requests(&self) -> Option<&crate::bucket::BucketRequests> {
        self.inner.bucket.as_ref()
    }

    #[cfg(feature = "azure")]
    pub(crate) fn blocks(&self) -> Option<&crate::blocks::BlockBlobs> {
        self.inner.blocks.as_ref()
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.objects
    }

    pub(crate) fn pages(&self) -> Option<&Pages> {
        self.inner.pages.as_ref()
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.inner.prefix
    }

    pub(crate) fn overwriting(&self) -> &AtomicBool {
        &self.inner.overwriting
    }

    pub(crate) fn is_wrapped(&self) -> bool {
        self.inner.wrapped
    }

    /// Counts a request that goes past the object store.
    pub(crate) fn count(&self, request: Request) {
        self.inner.counters.count(request);
    }

    /// The full key of an object.
    pub(crate) fn key(&self, name: &str) -> Result<Key, Error> {
        check_name(name)?;
        Key::parse(format!("{}{name}", self.inner.prefix))
            .map_err(|_| Error::Name { name: name.into(), reason: "no object store takes it" })
    }

    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts::new(&self.inner.retry)
    }

    /// One call of the object store, counted. It ends a moment after the interrupt, whatever the store does.
    pub(crate) async fn attempt<T>(
        &self,
        request: Request,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> (Result<T, Failure>, Seen) {
        let Inner { counters, interrupt, .. } = &*self.inner;
        if interrupt.is_over() {
            return (Err(Failure::interrupted()), Seen::default());
        }
        if !self.inner.counted_by_http {
            counters.count(request);
            // What needs no network needs no patience until it is reached.
            counters.note_answer();
        }
        let (mut result, seen) = tokio::select! {
            biased;
            answered = attempt(call) => answered,
            () = interrupt.over() => (Err(Failure::interrupted()), Seen::default()),
        };
        if result.is_ok() || seen.code.as_deref() == Some("NoSuchKey") {
            counters.note_container();
        }
        if let Err(failure) = &mut result
            && failure.meaning == Meaning::NoObject
            && self.directory().is_some_and(|directory| !directory.is_dir())
        {
            failure.meaning = Meaning::NoStore;
        }
        (result, seen)
    }

    /// Whether the bucket, container or directory is known to be there.
    pub(crate) fn container_seen(&self) -> bool {
        self.inner.counters.container_seen()
    }

    /// Waits before a failed call is repeated, or answers the error to report.
    pub(crate) async fn before_next(
        &self,
        attempts: &mut Attempts<'_>,
        failure: Failure,
        operation: &str,
    ) -> Result<(), Error> {
        let repeat = matches!(failure.meaning, Meaning::Transient | Meaning::Conflict);
        let interrupted = || Error::Interrupted { store: self.url().to_owned(), operation: operation.to_owned() };
        if repeat && self.inner.interrupt.is_set() {
            return Err(interrupted());
        }
        if repeat && let Some(pause) = attempts.next(self.inner.counters.ever_answered(), failure.retry_after) {
            let (store, operation, attempt) = (self.url().to_owned(), operation.to_owned(), attempts.made());
            let retry = Retry { store, operation, attempt, pause, cause: failure.detail };
            tracing::debug!(store = %retry.store, operation = %retry.operation, attempt, cause = %retry.cause, "repeated");
            if let Some(watch) = &self.inner.watch {
                watch.tell(&retry);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.inner.interrupt.wait() => return Err(interrupted()),
            }
            self.inner.counters.count_retry();
            return Ok(());
        }
        if !repeat {
            attempts.give_up();
        }
        Err(self.error(failure, attempts, operation))
    }

    /// The error that a failure is reported as.
    pub(crate) fn error(&self, failure: Failure, attempts: &Attempts<'_>, operation: &str) -> Error {
        let store = self.inner.url.clone();
        let operation = operation.to_owned();
        if self.inner.workplace && failure.meaning != Meaning::Interrupted {
            return Error::Local {
                directory: store.into(),
                operation: operation.into(),
                kind: failure.io_kind(),
                detail: failure.detail.into(),
            };
        }
        if failure.of_credentials {
            return Error::Credentials {
                store,
                reason: failure.detail,
                hint: failure.advice.unwrap_or_else(|| {
                    "set the store's credential variables, name a profile, or run where a role is attached".into()
                }),
            };
        }
        let of_directory = || self.directory().map(|directory| local::advice(failure.io_kind(), directory));
        let advice = failure.advice.clone().or_else(of_directory).map(String::into_boxed_str);
        match failure.meaning {
            Meaning::NoStore => Error::StoreMissing { store, what: self.inner.container.clone() },
            Meaning::Denied => Error::Denied { store, operation, detail: failure.detail, advice },
            Meaning::Locked => Error::Locked { store, operation, detail: failure.detail },
            Meaning::Interrupted => Error::Interrupted { store, operation },
            Meaning::NoObject | Meaning::Exists | Meaning::Conflict | Meaning::Transient | Meaning::Permanent => {
                Error::Failed {
                    store: store.into(),
                    operation: operation.into(),
                    attempts: attempts.made(),
                    elapsed: attempts.elapsed(),
                    detail: failure.detail.into(),
                    transient: matches!(failure.meaning, Meaning::Transient | Meaning::Conflict),
                    advice,
                    source: Some(Box::new(failure.source)),
                }
            }
        }
    }
}

#[cfg_attr(not(feature = "cloud"), expect(unused_variables, reason = "no cloud in this build"))]
async fn open_bucket(
    cloud: Cloud,
    bucket: &str,
    url: &str,
    options: &StoreOptions,
    env: &Environment,
    counters: &Arc<Counters>,
) -> Result<Opened, Error> {
    match cloud {
        #[cfg(feature = "s3")]
        Cloud::S3 => crate::s3::open(bucket, url, options, env, counters).await,
        #[cfg(feature = "azure")]
        Cloud::Azure => crate::azure::open(bucket, url, options, env, counters),
        #[cfg(feature = "gcs")]
        Cloud::Gcs => crate::gcs::open(bucket, url, options, env, counters),
        #[allow(unreachable_patterns, reason = "clouds that this build leaves out")]
        _ => Err(Error::Unsupported { store: url.into(), operation: "this kind of store in this build" }),
    }
}
