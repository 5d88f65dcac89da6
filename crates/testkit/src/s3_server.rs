//! A real S3 server in process: s3s with s3s-fs below it. It checks signatures and checksums and honours if-none-match. Buckets are
//! directories and objects plain files under its root, so that a test can look at them and flip their bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::IF_NONE_MATCH;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex as AsyncMutex;

use crate::runtime::ServerThread;

/// The access key that [`S3Server::with_bucket`] accepts.
pub const ACCESS_KEY: &str = "AKIATESTKIT";
/// Its secret.
pub const SECRET_KEY: &str = "testkit-secret";

/// Where the server's files are.
#[derive(Debug)]
enum Root {
    Own(TempDir),
    Given(PathBuf),
}

impl Root {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Given(path) => path,
        }
    }
}

/// What the server's only user may do, and the one check that s3s-fs leaves out: whether the bucket exists.
#[derive(Clone, Debug)]
struct Access {
    root: PathBuf,
    denied: Arc<Mutex<Vec<String>>>,
    /// Keys that contain one of these are under an object lock.
    locked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> s3s::S3Result<()> {
        let operation = context.s3_op().name();
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|name| name == operation);
        let key = context.s3_path().get_object_key().unwrap_or_default();
        if context.credentials().is_none() || denied {
            let resource = format!("{}/{key}", context.s3_path().get_bucket_name().unwrap_or_default());
            return Err(s3s::s3_error!(
                AccessDenied,
                "User: arn:aws:iam::123456789012:user/testkit is not authorized to perform: s3:{operation} on resource: \"arn:aws:s3:::{resource}\" because no identity-based policy allows the s3:{operation} action"
            ));
        }
        let locks = self.locked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if operation == "DeleteObject" && locks.iter().any(|lock| key.contains(lock)) {
            return Err(s3s::s3_error!(AccessDenied, "Access Denied because object protected by object lock."));
        }
        let bucket = context.s3_path().get_bucket_name();
        if bucket.is_some_and(|bucket| operation != "CreateBucket" && !self.root.join(bucket).is_dir()) {
            return Err(s3s::s3_error!(NoSuchBucket, "The specified bucket does not exist"));
        }
        Ok(())
    }
}

/// Conditional creates of one object, one at a time: s3s-fs looks and then writes, where S3 does both at once, when the body is there.
#[derive(Clone, Debug, Default)]
struct Creates(Arc<Mutex<HashMap<String, Arc<AsyncMutex<()>>>>>);

impl Creates {
    async fn answer(
        &self,
        service: S3Service,
        request: Request<Incoming>,
    ) -> Result<s3s::HttpResponse, s3s::HttpError> {
        if request.method() != Method::PUT || !request.headers().contains_key(IF_NONE_MATCH) {
            return service.call(request.map(s3s::Body::from)).await;
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| s3s::HttpError::new(error.into()))?.to_bytes();
        let object = {
            let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(objects.entry(head.uri.path().to_owned()).or_default())
        };
        let _turn = object.lock().await;
        service.call(Request::from_parts(head, s3s::Body::from(body))).await
    }
}

/// Whether the server takes conditional creates for plain ones, as some servers in use do.
#[derive(Clone, Debug, Default)]
struct IgnoreConditions(Arc<AtomicBool>);

impl IgnoreConditions {
    /// The signature covers the condition, and s3s-fs honours it only if the object is there: so that is what is taken away.
    fn before(&self, request: &Request<Incoming>, root: &Path) {
        if self.0.load(Ordering::Relaxed)
            && request.method() == Method::PUT
            && request.headers().contains_key(IF_NONE_MATCH)
        {
            let _ = std::fs::remove_file(root.join(request.uri().path().trim_start_matches('/')));
        }
    }
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct S3Server {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    server: ServerThread,
    root: Root,
    access: Access,
    ignore_conditions: IgnoreConditions,
    access_key: String,
    secret_key: String,
}

impl S3Server {
    /// An empty server in a temporary directory, with one bucket.
    #[must_use]
    pub fn with_bucket(bucket: &str) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let mut server = Self::start(root.path(), ACCESS_KEY, SECRET_KEY);
        server.root = Root::Own(root);
        server.create_bucket(bucket);
        server
    }

    /// A server over `root`, which has to exist, for one pair of keys.
    #[must_use]
    pub fn start(root: impl Into<PathBuf>, access_key: &str, secret_key: &str) -> Self {
        Self::start_at(root, access_key, secret_key, 0)
    }

    /// The same on a certain port, or on a free one if that is 0.
    #[must_use]
    pub fn start_at(root: impl Into<PathBuf>, access_key: &str, secret_key: &str, port: u16) -> Self {
        let root = root.into();
        let files = s3s_fs::FileSystem::new(&root).expect("the root directory exists");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(access_key, secret_key));
        let access = Access { root: root.clone(), denied: Arc::default(), locked: Arc::default() };
        service.set_access(access.clone());
        let service = service.build();
        let creates = Creates::default();
        let ignore_conditions = IgnoreConditions::default();
        let (ignoring, files) = (ignore_conditions.clone(), root.clone());
        let server = ServerThread::start_at("s3-server", port, move |listener: TcpListener| async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let _ = socket.set_nodelay(true);
                let (service, creates, ignoring, files) =
                    (service.clone(), creates.clone(), ignoring.clone(), files.clone());
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (service, creates) = (service.clone(), creates.clone());
                        ignoring.before(&request, &files);
                        async move { creates.answer(service, request).await }
                    });
                    // A client that goes away is the client's business.
                    let _ = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self {
            endpoint: format!("http://{}", server.address()),
            server,
            root: Root::Given(root),
            access,
            ignore_conditions,
            access_key: access_key.into(),
            secret_key: secret_key.into(),
        }
    }

    /// Address of the server, for a proxy before it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) {
        std::fs::create_dir_all(self.root.path().join(name)).expect("a bucket is a directory");
    }

    /// From now on overwrites what a conditional create should have left alone, and says that all is well.
    pub fn ignore_conditions(&self) {
        self.ignore_conditions.0.store(true, Ordering::Relaxed);
    }

    /// Denies these operations (`GetObject`, `HeadObject`, `ListObjectsV2`, `DeleteObject`, …) from now on, and no others, in Amazon's words,
    /// which quote the bucket and the key.
    pub fn deny(&self, operations: &[&str]) {
        *self.access.denied.lock().unwrap_or_else(PoisonError::into_inner) =
            operations.iter().map(|&name| name.to_owned()).collect();
    }

    /// Puts objects whose keys contain one of these under an object lock, in the words that Amazon has for it.
    pub fn lock(&self, keys: &[&str]) {
        *self.access.locked.lock().unwrap_or_else(PoisonError::into_inner) =
            keys.iter().map(|&key| key.to_owned()).collect();
    }

    /// The file behind an object.
    #[must_use]
    pub fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.path().join(bucket).join(key)
    }

    /// The directory that holds the buckets.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The variables with which a program reaches this server, `endpoint` of a proxy or the server's own.
    #[must_use]
    pub fn variables(&self, endpoint: &str) -> Vec<(String, String)> {
        [
            ("AWS_ACCESS_KEY_ID", self.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", &self.secret_key),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Opens a store on this server as the product would.
    pub async fn open(&self, url: &str) -> backstay_store::Store {
        self.open_at(url, &self.endpoint).await
    }

    /// Opens a store through another address, for one a proxy's, with little patience.
    pub async fn open_at(&self, url: &str, endpoint: &str) -> backstay_store::Store {
        let mut options = backstay_store::StoreOptions::default();
        options.retry = backstay_store::RetryOptions::brief();
        options.stall = Duration::from_secs(10);
        let env = backstay_store::Environment::from_pairs(self.variables(endpoint));
        backstay_store::Store::open(url, &options, &env).await.expect("the url is valid")
    }
}
