//! Which failures are repeated, how that is told, and how fast bytes may move: a real S3 server, behind a proxy that answers in its place.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstay_store::{Environment, RateLimit, RetryOptions, Store, StoreOptions, Watch};
use backstay_testkit::proxy::{Fate, Proxy, nth};
use backstay_testkit::{S3Server, sha256};
use bytes::Bytes;
use futures::future::try_join_all;

async fn open(server: &S3Server, endpoint: &str, change: impl FnOnce(&mut StoreOptions)) -> Store {
    let mut options = StoreOptions::default();
    options.retry = RetryOptions::brief();
    change(&mut options);
    let env = Environment::from_pairs(server.variables(endpoint));
    Store::open("s3://bucket", &options, &env).await.unwrap()
}

#[tokio::test]
async fn each_answer_is_repeated_or_final() {
    let repeated = [408, 429, 500, 502, 503, 504];
    let last = [
        (301, "store.failed"),
        (400, "store.failed"),
        (401, "store.denied"),
        (403, "store.denied"),
        (404, "store.failed"),
        (405, "store.failed"),
        (411, "store.failed"),
        (413, "store.failed"),
        (501, "store.failed"),
    ];
    let server = S3Server::with_bucket("bucket");
    let body = Bytes::from_static(b"body");
    for (n, status) in repeated.into_iter().enumerate() {
        let proxy = Proxy::start(server.address(), nth("PUT", 1, Fate::AnswerInstead(status, "")));
        let store = open(&server, &proxy.endpoint, |_| {}).await;
        store
            .create(&format!("x-{n}"), body.clone(), sha256(&body))
            .await
            .unwrap_or_else(|error| panic!("{status}: {error}"));
        assert_eq!((proxy.count("PUT"), store.requests().retries), (2, 1), "{status}");
    }
    for (status, code) in last {
        let proxy = Proxy::start(server.address(), nth("PUT", 1, Fate::AnswerInstead(status, "")));
        let store = open(&server, &proxy.endpoint, |_| {}).await;
        let error = store.create("final", body.clone(), sha256(&body)).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), (code, false), "{status}: {error}");
        assert_eq!((proxy.count("PUT"), store.requests().retries), (1, 0), "{status}");
    }
    // An object that is not there is an answer, not a failure.
    let proxy = Proxy::start(server.address(), |_| Fate::Pass);
    let store = open(&server, &proxy.endpoint, |_| {}).await;
    assert_eq!(store.get("absent", 1).await.unwrap(), None);
    assert_eq!(proxy.count("GET"), 1);
}

#[tokio::test]
async fn whoever_watches_is_told_of_each_retry_before_it_happens() {
    let server = S3Server::with_bucket("bucket");
    let proxy = Proxy::start(server.address(), |request| match (request.method.as_str(), request.number) {
        ("PUT", 1 | 2) => Fate::AnswerInstead(503, "SlowDown"),
        _ => Fate::Pass,
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let watch = Watch::new(move |retry| telling.lock().unwrap().push(retry.clone()));
    let store = open(&server, &proxy.endpoint, |options| options.watch = Some(watch)).await;
    store.create("x-0", "a".into(), sha256(b"a")).await.unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.iter().map(|retry| retry.attempt).collect::<Vec<_>>(), [1, 2]);
    for retry in told.iter() {
        assert_eq!((retry.operation.as_str(), retry.store.as_str()), ("creating x-0", store.url()));
        assert!(retry.cause.contains("503") && retry.cause.contains("SlowDown"), "{}", retry.cause);
        assert!(retry.pause <= RetryOptions::brief().longest_pause);
    }
}

#[tokio::test]
async fn uploads_and_downloads_that_share_a_limit_keep_to_it_together() {
    const EACH: usize = 256 << 10;
    let server = S3Server::with_bucket("bucket");
    let (up, down) = (RateLimit::per_second(1 << 20), RateLimit::per_second(1 << 20));
    let limited = |options: &mut StoreOptions| {
        options.upload_limit = Some(up.clone());
        options.download_limit = Some(down.clone());
    };
    // Two stores of one run: they share the line.
    let stores = [open(&server, &server.endpoint, limited).await, open(&server, &server.endpoint, limited).await];
    let body = Bytes::from(vec![7; EACH]);
    let digest = sha256(&body);
    let names = ["x-0", "x-1", "x-2", "x-3"];
    let both = || names.iter().zip(stores.iter().cycle());
    let begun = Instant::now();
    try_join_all(both().map(|(name, store)| store.create(name, body.clone(), digest))).await.unwrap();
    let uploading = begun.elapsed();
    let begun = Instant::now();
    let fetched = try_join_all(both().map(|(name, store)| store.get_range(name, 0..EACH as u64))).await.unwrap();
    let downloading = begun.elapsed();
    assert!(fetched.iter().all(|bytes| *bytes == body));
    // 1 MiB at 1 MiB a second. The last piece of a download is not waited for.
    assert!(uploading > Duration::from_millis(950) && uploading < Duration::from_secs(10), "{uploading:?}");
    assert!(downloading > Duration::from_millis(400) && downloading < Duration::from_secs(10), "{downloading:?}");
    let free = open(&server, &server.endpoint, |_| {}).await;
    let begun = Instant::now();
    free.create("free", body.clone(), digest).await.unwrap();
    assert!(begun.elapsed() < uploading / 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn waiting_for_ones_turn_is_not_standing_still() {
    let server = S3Server::with_bucket("bucket");
    let limit = RateLimit::per_second(16 << 10);
    let store = open(&server, &server.endpoint, |options| {
        options.upload_limit = Some(limit.clone());
        options.stall = Duration::from_millis(400);
    })
    .await;
    let body = Bytes::from(vec![7; 4 << 10]);
    let digest = sha256(&body);
    let begun = Instant::now();
    let names: Vec<_> = (0..8).map(|n| format!("x-{n}")).collect();
    try_join_all(names.iter().map(|name| store.create(name, body.clone(), digest))).await.unwrap();
    assert!(begun.elapsed() > Duration::from_millis(1900), "{:?}", begun.elapsed());
    assert_eq!(store.requests().retries, 0);
}

#[tokio::test]
async fn a_store_that_says_when_to_come_back_is_left_alone_until_then() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        for (status, header) in [("503 Slow Down", "Retry-After: 1\r\n"), ("403 Forbidden", "")] {
            let (mut socket, _) = listener.accept().unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            write!(socket, "HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    let server = S3Server::with_bucket("bucket");
    let store = open(&server, &endpoint, |_| {}).await;
    let begun = Instant::now();
    assert_eq!(store.get("x-0", 1).await.unwrap_err().code(), "store.denied");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    serving.join().unwrap();
}
