//! Which failures are repeated, how that is told, and how fast bytes may move: a real S3 server, behind a proxy that answers in its place.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstay_store::{Created, Environment, Interrupt, RateLimit, RetryOptions, Store, StoreOptions, Watch};
use backstay_testkit::proxy::{Fate, Proxy, nth};
use backstay_testkit::{S3Server, sha256};
use bytes::Bytes;
use futures::TryStreamExt as _;
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
async fn no_more_requests_are_sent_a_second_than_are_allowed_whoever_sends_them_and_why() {
    const SECOND: u64 = 10;
    let server = S3Server::with_bucket("bucket");
    let proxy = Proxy::start(server.address(), |request| match request.number {
        1..=3 => Fate::AnswerInstead(503, "SlowDown"),
        _ => Fate::Pass,
    });
    let limit = RateLimit::per_second(SECOND);
    let limited = |options: &mut StoreOptions| options.request_limit = Some(limit.clone());
    let stores = [open(&server, &proxy.endpoint, limited).await, open(&server, &proxy.endpoint, limited).await];
    let names: Vec<_> = (0..12).map(|n| format!("x-{n}")).collect();
    let begun = Instant::now();
    let digest = sha256(b"a");
    try_join_all(names.iter().zip(stores.iter().cycle()).map(|(name, store)| store.create(name, "a".into(), digest)))
        .await
        .unwrap();
    let (took, sent) = (begun.elapsed(), proxy.log().len() as u32);
    assert!(sent >= 15, "{sent}");
    // The first one does not wait.
    assert!(took >= Duration::from_millis(1000 / SECOND) * (sent - 1), "{sent} in {took:?}");
    let free = open(&server, &proxy.endpoint, |_| {}).await;
    let begun = Instant::now();
    try_join_all(names.iter().map(|name| free.get(name, 1))).await.unwrap();
    assert!(begun.elapsed() < took, "{:?}", begun.elapsed());
}

/// A server whose answers to a GET have bodies of this length, that come in such pieces ten times a second.
fn trickling(length: usize, piece: usize) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut socket = socket?;
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte)? == 1 {
                    head.push(byte[0]);
                }
                let date = "last-modified: Fri, 21 Feb 2025 09:26:40 GMT\r\netag: \"x\"\r\n";
                write!(socket, "HTTP/1.1 200 OK\r\n{date}content-length: {length}\r\n\r\n")?;
                for piece in vec![7; length].chunks(piece) {
                    socket.write_all(piece)?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                Ok(())
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn an_answer_that_trickles_stands_still_and_one_that_is_only_slow_does_not() {
    let server = S3Server::with_bucket("bucket");
    let stall = Duration::from_secs(1);
    let impatient = |options: &mut StoreOptions| {
        options.stall = stall;
        options.retry = RetryOptions::never();
    };
    // 20 bytes a second would be done after more than a quarter of an hour.
    let store = open(&server, &trickling(20_000, 2), impatient).await;
    let begun = Instant::now();
    for error in [store.get("x-0", u64::MAX).await.unwrap_err(), store.list("", None).try_next().await.unwrap_err()] {
        assert!(error.is_retryable() && error.to_string().contains("bytes moved for 1.0 s"), "{error}");
    }
    assert!(begun.elapsed() < 10 * stall, "{:?}", begun.elapsed());
    // 20 KiB a second for three seconds.
    let store = open(&server, &trickling(60 << 10, 2 << 10), impatient).await;
    let begun = Instant::now();
    assert_eq!(store.get("x-0", u64::MAX).await.unwrap().unwrap().len(), 60 << 10);
    assert!(begun.elapsed() > 2 * stall, "{:?}", begun.elapsed());
}

/// A server whose listing never ends; it counts what it could send.
fn endless(sent: Arc<AtomicUsize>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut socket = socket?;
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte)? == 1 {
                    head.push(byte[0]);
                }
                write!(socket, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<ListBucketResult>")?;
                let blanks = vec![b' '; 1 << 20];
                while socket.write_all(&blanks).is_ok() {
                    sent.fetch_add(blanks.len(), Ordering::Relaxed);
                }
                Ok(())
            });
        }
    });
    endpoint
}

#[tokio::test]
async fn a_listing_that_does_not_end_is_given_up_and_not_asked_for_again() {
    let server = S3Server::with_bucket("bucket");
    let sent = Arc::new(AtomicUsize::new(0));
    let store = open(&server, &endless(Arc::clone(&sent)), |_| {}).await;
    let error = store.list("", None).try_next().await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("store.failed", false), "{error}");
    assert!(error.to_string().contains("has more than 64 MiB"), "{error}");
    let sent = sent.load(Ordering::Relaxed);
    // Beside what is read, what lies in the sockets' buffers.
    assert!((64 << 20..96 << 20).contains(&sent), "{sent}");
    assert_eq!((store.requests().lists, store.requests().retries), (1, 0));
}

#[tokio::test]
async fn whoever_wants_to_stop_does_not_wait_for_a_silent_store_and_hears_what_it_has_to_say() {
    let server = S3Server::with_bucket("bucket");
    let proxy = Proxy::start(server.address(), |request| match request.target.rsplit('/').next() {
        Some("slow-0") => Fate::Delay(Duration::from_millis(500)),
        Some("busy-0") => Fate::AnswerInstead(503, "SlowDown"),
        _ => Fate::StallRequest(0),
    });
    let interrupt = Interrupt::default();
    let store = open(&server, &proxy.endpoint, |options| {
        options.interrupt = interrupt.clone();
        options.retry.deadline = Duration::from_secs(60);
    })
    .await;
    let digest = sha256(b"a");
    let setting = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        interrupt.set();
    };
    let begun = Instant::now();
    let (silent, slow, busy, ()) = tokio::join!(
        store.create("silent-0", "a".into(), digest),
        store.create("slow-0", "a".into(), digest),
        store.create("busy-0", "a".into(), digest),
        setting
    );
    let took = begun.elapsed();
    assert_eq!(slow.unwrap(), Created::New, "it was answered within the moment that it is given");
    for error in [silent.unwrap_err(), busy.unwrap_err(), store.get("late-0", 1).await.unwrap_err()] {
        assert_eq!((error.code(), error.is_retryable()), ("interrupted", false), "{error}");
    }
    assert!(took < Duration::from_secs(5), "{took:?}");
    let sent = proxy.log().len();
    assert_eq!(store.head("later-0").await.unwrap_err().code(), "interrupted");
    assert_eq!(proxy.log().len(), sent, "nothing new is asked");
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
