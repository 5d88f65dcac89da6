//! A store behind a server, and what it must do beyond the [`contract`]: when answers are lost on the way, when the bucket is missing, when the
//! credentials are wrong. The same suite for every server, so that what is promised of one cloud is promised of all.

use std::net::SocketAddr;
use std::time::Duration;

use backstay_store::{Created, Environment, RetryOptions, Store, StoreOptions};
use bytes::Bytes;
use futures::TryStreamExt;

use crate::azurite::{self, Azurite};
use crate::proxy::{Fate, ProxiedRequest, Proxy, nth};
use crate::{GcsServer, Moto, S3Server, contract, s3_server, sha256};

/// How a server is reached.
#[derive(Clone, Debug)]
pub struct Served {
    /// A store of that server, empty at first.
    pub url: String,
    /// A store in a bucket that does not exist, and how messages name that bucket.
    pub missing: (String, &'static str),
    /// Where the server listens.
    pub address: SocketAddr,
    /// The variables with which a program reaches it.
    pub variables: Vec<(String, String)>,
    /// Variables of a stranger.
    pub wrong: Vec<(String, String)>,
    /// What becomes of one.
    pub strangers: Strangers,
}

/// What a server does with credentials that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// It denies them everything, as every cloud does.
    Denied,
    /// It lets them in: it looks at no credentials, so that it proves nothing about them.
    LetIn,
}

type Variables = Vec<(String, String)>;

/// The variables with one of them changed.
fn with(variables: &[(String, String)], name: &str, value: &str) -> Variables {
    let mut changed = variables.to_vec();
    changed.retain(|(key, _)| key != name);
    changed.push((name.to_owned(), value.to_owned()));
    changed
}

impl Served {
    /// The S3 server of this process.
    #[must_use]
    pub fn s3(server: &S3Server, bucket: &str) -> Self {
        let variables = server.variables(&server.endpoint);
        debug_assert!(variables.iter().any(|(_, value)| value == s3_server::SECRET_KEY));
        Self {
            url: format!("s3://{bucket}/deep/er"),
            missing: ("s3://elsewhere".into(), "bucket elsewhere"),
            address: server.address(),
            wrong: with(&variables, "AWS_SECRET_ACCESS_KEY", "hunter2"),
            strangers: Strangers::Denied,
            variables,
        }
    }

    /// moto, with a new bucket.
    #[must_use]
    pub fn moto(server: &Moto, bucket: &str) -> Self {
        server.create_bucket(bucket);
        let variables = server.variables();
        Self {
            url: format!("s3://{bucket}/deep/er"),
            missing: ("s3://elsewhere".into(), "bucket elsewhere"),
            address: server.address(),
            wrong: with(&variables, "AWS_SECRET_ACCESS_KEY", "hunter2"),
            strangers: Strangers::LetIn,
            variables,
        }
    }

    /// azurite, with a new container.
    #[must_use]
    pub fn azurite(server: &Azurite, container: &str) -> Self {
        server.create_container(container);
        let variables = server.variables();
        Self {
            url: format!("az://{container}/deep/er"),
            missing: ("az://elsewhere".into(), "container elsewhere"),
            address: server.address(),
            wrong: with(&variables, "AZURE_STORAGE_KEY", &azurite::KEY.replace("Eby8", "hunter2/")),
            strangers: Strangers::Denied,
            variables,
        }
    }

    /// The GCS server of this process.
    #[must_use]
    pub fn gcs(server: &GcsServer, bucket: &str) -> Self {
        let of = |account: String| vec![("GOOGLE_SERVICE_ACCOUNT_KEY".to_owned(), account)];
        Self {
            url: format!("gs://{bucket}/deep/er"),
            missing: ("gs://elsewhere".into(), "bucket elsewhere"),
            address: server.address(),
            wrong: of(GcsServer::strange_account()),
            strangers: Strangers::Denied,
            variables: of(server.service_account()),
        }
    }

    /// An S3 server that runs already, as these variables reach it: `AWS_ENDPOINT_URL` over plain HTTP, and a key.
    ///
    /// # Panics
    /// If they do not name such an address.
    #[must_use]
    pub fn running(url: &str, variables: Vec<(String, String)>) -> Self {
        let endpoint = variables.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").map(|(_, endpoint)| endpoint);
        let address =
            endpoint.and_then(|endpoint| endpoint.strip_prefix("http://")?.trim_end_matches('/').parse().ok());
        Self {
            url: url.to_owned(),
            missing: ("s3://elsewhere".into(), "bucket elsewhere"),
            address: address.expect("AWS_ENDPOINT_URL is http://ADDRESS:PORT"),
            wrong: with(&variables, "AWS_SECRET_ACCESS_KEY", "hunter2"),
            strangers: Strangers::Denied,
            variables,
        }
    }

    /// Opens a store as the product would, with little patience, through an address that may be a proxy's.
    async fn open_as(&self, url: &str, endpoint: &str, variables: &[(String, String)]) -> Store {
        let mut options = StoreOptions::default();
        options.endpoint_url = Some(endpoint.into());
        options.retry = RetryOptions::brief();
        options.retry.deadline = Duration::from_secs(30);
        options.stall = Duration::from_secs(30);
        let env = Environment::from_pairs(variables.iter().cloned());
        Store::open(url, &options, &env).await.expect("the url is valid")
    }

    /// Opens the store.
    pub async fn open(&self) -> Store {
        self.open_as(&self.url, &format!("http://{}", self.address), &self.variables).await
    }

    /// Opens the store behind a proxy.
    async fn behind(&self, script: impl FnMut(&ProxiedRequest) -> Fate + Send + 'static) -> (Proxy, Store) {
        let proxy = Proxy::start(self.address, script);
        let store = self.open_as(&self.url, &proxy.endpoint, &self.variables).await;
        (proxy, store)
    }

    /// Runs the contract and everything here.
    pub async fn run(&self) {
        contract::run(&self.open().await).await;
        self.probing_finds_that_conditions_are_kept().await;
        self.lost_answers_are_confirmed_by_comparison().await;
        self.other_bytes_are_never_taken_for_ours().await;
        self.whatever_becomes_of_conditions().await;
    }

    /// Runs what of it has to hold of a server that takes the condition of a create and overwrites.
    pub async fn run_without_conditions(&self) {
        contract::run_without_conditions(&self.open().await).await;
        contract::overwriting_is_found_out(&self.open().await).await;
        self.whatever_becomes_of_conditions().await;
    }

    async fn whatever_becomes_of_conditions(&self) {
        self.cut_requests_are_sent_again().await;
        self.busy_servers_are_asked_again().await;
        self.large_objects_and_their_ranges_are_exact().await;
        self.a_missing_bucket_is_named().await;
        match self.strangers {
            Strangers::Denied => self.strangers_are_denied_at_once().await,
            Strangers::LetIn => self.strangers_are_let_in().await,
        }
    }

    /// A create that overwrote would be found out, and this one does not overwrite.
    pub async fn probing_finds_that_conditions_are_kept(&self) {
        let store = self.open().await;
        let created = store.create_probing("probed-0", "first".into(), sha256(b"first")).await.expect("a create");
        assert_eq!(created, Created::New);
        backstay_store::probe_conditional_create(&store, "probe").await.expect("a probe");
        assert_eq!(store.head("probe").await.expect("an answer"), None);
    }

    /// The server does what it is asked, and nobody hears of it.
    pub async fn lost_answers_are_confirmed_by_comparison(&self) {
        for (name, fate) in [
            ("lost-0", Fate::DropAnswer),
            ("lost-1", Fate::AnswerAfter(500, "InternalError")),
            ("lost-2", Fate::AnswerAfter(503, "ServerBusy")),
        ] {
            let (proxy, store) = self.behind(nth("PUT", 1, fate)).await;
            let body = body(500_000);
            let created = store.create(name, body.clone(), sha256(&body)).await.expect("a create");
            assert_eq!((created, proxy.count("PUT")), (Created::Confirmed, 2), "{name}");
            assert_eq!(self.open().await.get(name, u64::MAX).await.expect("an answer").expect("an object"), body);
        }
    }

    /// The connection breaks before all of the body has arrived, so that nothing was stored.
    pub async fn cut_requests_are_sent_again(&self) {
        for after in [0, 1000, 499_999] {
            let (_proxy, store) = self.behind(nth("PUT", 1, Fate::CutRequest(after))).await;
            let (name, body) = (format!("cut-{after}"), body(500_000));
            assert_eq!(store.create(&name, body.clone(), sha256(&body)).await.expect("a create"), Created::New);
            assert_eq!(store.get(&name, u64::MAX).await.expect("an answer").expect("an object"), body);
        }
    }

    /// Another writer was there before, and the answer to our own create is lost.
    pub async fn other_bytes_are_never_taken_for_ours(&self) {
        let direct = self.open().await;
        for (name, fate) in [("other-0", Fate::DropAnswer), ("other-1", Fate::AnswerInstead(503, "SlowDown"))] {
            let (_proxy, store) = self.behind(nth("PUT", 1, fate)).await;
            let (theirs, ours) = (Bytes::from(vec![7; 500_000]), body(500_000));
            direct.create(name, theirs.clone(), sha256(&theirs)).await.expect("a create");
            let error = store.create(name, ours.clone(), sha256(&ours)).await.expect_err("it is taken");
            assert_eq!(error.code(), "name.taken", "{error}");
            assert_eq!(direct.get(name, u64::MAX).await.expect("an answer").expect("an object"), theirs);
        }
    }

    /// 429, 500 and 503 before anything was done; listings and reads too.
    pub async fn busy_servers_are_asked_again(&self) {
        for status in [429, 500, 503] {
            let (_proxy, store) = self
                .behind(
                    move |request| {
                        if request.number == 1 { Fate::AnswerInstead(status, "Busy") } else { Fate::Pass }
                    },
                )
                .await;
            let name = format!("busy-{status}");
            assert_eq!(store.create(&name, "x".into(), sha256(b"x")).await.expect("a create"), Created::New);
            assert_eq!(store.get(&name, 1).await.expect("an answer").expect("an object"), "x");
            let listed: Vec<_> = store.list(&name, None).try_collect().await.expect("a listing");
            assert_eq!((listed.len(), store.requests().retries), (1, 2), "{status}");
        }
    }

    /// A part as large as the default, and pieces of it.
    pub async fn large_objects_and_their_ranges_are_exact(&self) {
        let store = self.open().await;
        let body = body((24 << 20) + 1);
        assert_eq!(store.create("large-0", body.clone(), sha256(&body)).await.expect("a create"), Created::New);
        let size = body.len();
        for range in [0..1, size - 1..size, (5 << 20) - 1..(17 << 20) + 3, 0..size] {
            let bytes = store.get_range("large-0", range.start as u64..range.end as u64).await.expect("a range");
            assert!(bytes == body.slice(range.clone()), "{range:?}");
        }
        assert_eq!(store.head("large-0").await.expect("an answer").expect("an object").size, size as u64);
    }

    /// Whatever is asked of a bucket that is not there, the answer is that it is not there.
    pub async fn a_missing_bucket_is_named(&self) {
        let (url, name) = &self.missing;
        let endpoint = format!("http://{}", self.address);
        let open = || self.open_as(url, &endpoint, &self.variables);
        for (call, error) in [
            ("create", open().await.create("x-0", "a".into(), sha256(b"a")).await.expect_err("no bucket")),
            ("get", open().await.get("x-0", 1).await.expect_err("no bucket")),
            ("range", open().await.get_range("x-0", 0..1).await.expect_err("no bucket")),
            ("head", open().await.head("x-0").await.expect_err("no bucket")),
            ("list", open().await.list("", None).try_collect::<Vec<_>>().await.expect_err("no bucket")),
        ] {
            assert_eq!(error.code(), "store.not-found", "{call}: {error}");
            assert!(error.to_string().contains(name), "{call}: {error}");
        }
    }

    /// Credentials that the server does not take are reported as that, once, and without repeating them.
    pub async fn strangers_are_denied_at_once(&self) {
        let wrong = &self.wrong;
        let store = self.open_as(&self.url, &format!("http://{}", self.address), wrong).await;
        for (call, error) in [
            ("create", store.create("x-0", "a".into(), sha256(b"a")).await.expect_err("a stranger")),
            ("get", store.get("x-0", 1).await.expect_err("a stranger")),
            ("head", store.head("x-0").await.expect_err("a stranger")),
            ("delete", store.delete("x-0").await.expect_err("a stranger")),
            ("list", store.list("", None).try_collect::<Vec<_>>().await.expect_err("a stranger")),
        ] {
            assert_eq!(error.code(), "store.denied", "{call}: {error}");
            for (_, secret) in wrong.iter().filter(|(name, _)| name.contains("SECRET") || name.contains("KEY")) {
                assert!(secret.len() < 20 || !error.to_string().contains(secret.as_str()), "{call}: {error}");
                assert!(!error.to_string().contains("hunter2"), "{call}: {error}");
            }
        }
        assert_eq!(store.requests().retries, 0);
    }
}

impl Served {
    /// What is known of a server that looks at no credentials. When it begins to, this fails, and it is to be held to what the others are.
    async fn strangers_are_let_in(&self) {
        let store = self.open_as(&self.url, &format!("http://{}", self.address), &self.wrong).await;
        let created = store.create("stranger-0", "a".into(), sha256(b"a")).await;
        assert_eq!(created.expect("a create by a stranger"), Created::New);
    }
}

fn body(size: usize) -> Bytes {
    (0..size).map(|i| (i % 251) as u8).collect()
}
