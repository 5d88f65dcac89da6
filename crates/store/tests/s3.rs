//! The store against a real S3 server, which checks signatures and checksums.

use backstay_store::{Created, Environment, Error, RetryOptions, Store, StoreOptions};
use backstay_testkit::{S3Server, contract, sha256};
use bytes::Bytes;

fn options(endpoint: &str) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.endpoint_url = Some(endpoint.into());
    options.retry = RetryOptions::brief();
    options
}

fn keys(secret: &str) -> Environment {
    Environment::from_pairs([
        ("AWS_ACCESS_KEY_ID", backstay_testkit::s3_server::ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ])
}

#[tokio::test]
async fn an_s3_bucket_keeps_the_contract() {
    let server = S3Server::with_bucket("bucket");
    contract::run(&server.open("s3://bucket").await).await;
    contract::a_name_with_a_backslash_round_trips(&server.open("s3://bucket").await).await;
}

#[tokio::test]
async fn the_server_refuses_bytes_that_are_not_those_of_the_digest() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket").await;
    let error = store.create("x-0", "body".into(), sha256(b"other")).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    assert_eq!(store.head("x-0").await.unwrap(), None);
    assert_eq!(store.create("x-0", "body".into(), sha256(b"body")).await.unwrap(), Created::New);
    // What the server checked it also keeps and tells.
    assert_eq!(store.head("x-0").await.unwrap().unwrap().sha256, Some(sha256(b"body")));
}

#[tokio::test]
async fn a_confirmed_create_compares_checksums_and_downloads_nothing() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket").await;
    store.create("x-0", "body".into(), sha256(b"body")).await.unwrap();
    assert_eq!(store.create("x-0", "body".into(), sha256(b"body")).await.unwrap(), Created::Confirmed);
    let requests = store.requests();
    assert_eq!((requests.puts, requests.heads, requests.gets, requests.attempts), (2, 1, 0, 3), "{requests:?}");
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_named_after_some_attempts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = Store::open("s3://bucket", &options(&endpoint), &keys("any")).await.unwrap();
    let error = store.get("x-0", 1).await.unwrap_err();
    assert_eq!(error.code(), "store.failed");
    let message = error.to_string();
    assert!(message.contains(&endpoint) && message.contains("attempts") && message.contains("refused"), "{message}");
    assert!(error.is_retryable());
    assert!(store.requests().retries > 1);
}

#[tokio::test]
async fn tls_failures_are_final() {
    let server = S3Server::with_bucket("bucket");
    let store =
        Store::open("s3://bucket", &options(&server.endpoint.replace("http", "https")), &keys("any")).await.unwrap();
    let error = store.get("x-0", 1).await.unwrap_err();
    assert_eq!(error.code(), "store.failed", "{error}");
    assert_eq!(store.requests().attempts, 1, "{error}");
}

#[tokio::test]
async fn keys_may_come_from_a_profile_and_its_endpoint_too() {
    let server = S3Server::with_bucket("bucket");
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let (id, secret) = (backstay_testkit::s3_server::ACCESS_KEY, backstay_testkit::s3_server::SECRET_KEY);
    let config = format!(
        "[profile keys]\nendpoint_url = {0}\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n\
         [profile process]\nendpoint_url = {0}\n\
         credential_process = echo '{{\"Version\": 1, \"AccessKeyId\": \"{id}\", \"SecretAccessKey\": \"{secret}\"}}'\n",
        server.endpoint
    );
    std::fs::write(home.path().join(".aws/config"), config).unwrap();
    for profile in ["keys", "process"] {
        let env = Environment::from_pairs([("HOME", home.path().to_str().unwrap()), ("AWS_PROFILE", profile)]);
        let store = Store::open("s3://bucket", &StoreOptions::default(), &env).await.unwrap();
        assert_eq!(store.credential_source(), Some(format!("profile `{profile}`").as_str()));
        store.create(profile, "a".into(), sha256(b"a")).await.unwrap();
        assert_eq!(store.get(profile, 1).await.unwrap().unwrap(), "a");
    }
}

#[tokio::test]
async fn bodies_of_many_slices_arrive_whole_and_in_parallel() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket").await;
    let creates = (0..8u8).map(|part| {
        let store = store.clone();
        async move {
            let body: Vec<u8> = (0..3_000_001usize).map(|i| (i / 7) as u8 ^ part).collect();
            let digest = sha256(&body);
            assert_eq!(store.create(&format!("x-{part}"), Bytes::from(body), digest).await.unwrap(), Created::New);
            digest
        }
    });
    for (part, digest) in futures::future::join_all(creates).await.into_iter().enumerate() {
        let file = std::fs::read(server.object_path("bucket", &format!("x-{part}"))).unwrap();
        assert_eq!(sha256(&file), digest);
    }
}
