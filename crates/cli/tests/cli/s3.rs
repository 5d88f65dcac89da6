//! Options that only a store of the network shows.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use backstay_testkit::S3Server;
use backstay_testkit::proxy::{Fate, ProxiedRequest, Proxy};

use crate::harness::{Place, Run, noise};

#[test]
fn an_archive_goes_to_a_server_and_comes_back() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let variables = server.variables(&server.endpoint);
    let with = |mut run: Run<'static>, leave_out: &str| {
        for (name, value) in variables.iter().filter(|(name, _)| name != leave_out) {
            run = run.env(name, value);
        }
        run
    };
    // Kept for the whole test: runs borrow it.
    let place: &'static Place = Box::leak(Box::new(place));
    let content = noise(3 << 20);
    let store = "s3://bucket/some/prefix";
    let backup = place.run([
        "backup",
        "-s",
        store,
        "--endpoint-url",
        &server.endpoint,
        "--name",
        "pg-main",
        "-r",
        &place.recipient,
        "--part-size",
        "1MiB",
    ]);
    let id = with(backup.stdin(&content), "AWS_ENDPOINT_URL").good().out().split(' ').next().unwrap().to_owned();
    assert!(server.object_path("bucket", &format!("some/prefix/{id}.json")).exists());
    let cat = with(place.run(["cat", &id, "-s", store, "-i", "key.txt"]), "").good();
    assert!(cat.stdout == content);
    with(place.run(["cat", &id, "-s", "s3://absent/x", "-i", "key.txt"]), "")
        .fails("store.not-found", 10)
        .says("absent");
    let denied = with(place.run(["cat", &id, "-s", store, "-i", "key.txt"]), "")
        .env("AWS_SECRET_ACCESS_KEY", "wrong-secret-key-0815");
    let denied = denied.fails("store.denied", 40);
    assert!(!denied.stderr.contains("wrong-secret-key-0815"));
}

/// A server that keeps the first request's head and refuses it.
fn listener() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        let body = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        write!(socket, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
        String::from_utf8_lossy(&head).into_owned()
    });
    (endpoint, heard)
}

#[test]
fn region_and_profile_are_what_requests_are_signed_with() {
    let place = Place::new();
    place.write(
        ".aws/credentials",
        "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = s1\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s2\n",
    );
    let credential = |arguments: &[&str]| {
        let (endpoint, heard) = listener();
        let run = place.run([
            "cat",
            "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123",
            "-s",
            "s3://bucket/x",
            "--endpoint-url",
            &endpoint,
            "-i",
            "key.txt",
        ]);
        run.args(arguments).env("AWS_EC2_METADATA_DISABLED", "true").fails("store.denied", 40);
        let head = heard.join().unwrap();
        let start = head.find("Credential=").unwrap_or_else(|| panic!("{head}")) + "Credential=".len();
        head[start..].split(',').next().unwrap().to_owned()
    };
    let plain = credential(&["--region", "eu-test-7"]);
    assert!(plain.starts_with("AKIADEFAULT/") && plain.contains("/eu-test-7/s3/"), "{plain}");
    let other = credential(&["--region", "eu-test-8", "--aws-profile", "other"]);
    assert!(other.starts_with("AKIAOTHER/") && other.contains("/eu-test-8/s3/"), "{other}");
}

#[test]
fn uploads_and_downloads_keep_to_their_limits() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let content = noise(1 << 20);
    let timed = |mut run: Run<'_>| {
        for (name, value) in server.variables(&server.endpoint) {
            run = run.env(&name, value);
        }
        let begun = Instant::now();
        let done = run.env("BACKSTAY_STORE", "s3://bucket/pg").good();
        (begun.elapsed(), done)
    };
    let backup = || place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin(&content);
    let (free, _) = timed(backup());
    let (slow, done) = timed(backup().args(["--limit-upload", "512KiB"]));
    let id = done.out().split(' ').next().unwrap();
    // The only part is sent twice, the second time to see whether the store keeps conditions.
    assert!(slow > Duration::from_millis(3500) && slow > free, "{slow:?} {free:?}");
    let cat = || place.run(["cat", id, "-i", "key.txt", "--fetches", "1"]);
    let (free, _) = timed(cat());
    let (slow, done) = timed(cat().env("BACKSTAY_LIMIT_DOWNLOAD", "256KiB"));
    assert!(done.stdout == content);
    assert!(slow > Duration::from_millis(2000) && slow > free, "{slow:?} {free:?}");
    place.run(["list", "--limit-upload", "0"]).fails("usage.arguments", 2).says("more than 0");
}

#[test]
fn retries_are_told_and_end_when_they_are_told_to() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let script = |request: &ProxiedRequest| match (request.method.as_str(), request.number) {
        ("PUT", 2..=4) => Fate::AnswerInstead(503, "SlowDown"),
        _ => Fate::Pass,
    };
    let backup = |arguments: &[&str]| {
        let proxy = Proxy::start(server.address(), script);
        let mut run =
            place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin("content");
        for (name, value) in server.variables(&proxy.endpoint) {
            run = run.env(&name, value);
        }
        run.env("BACKSTAY_STORE", "s3://bucket/pg").done()
    };
    let done = backup(&["--json"]);
    assert!(done.status.success(), "{}", done.stderr);
    let retries: Vec<_> = done.events().into_iter().filter(|event| event["type"] == "retry").collect();
    assert_eq!(retries.len(), 3);
    for (event, attempt) in retries.iter().zip(1..) {
        assert_eq!(event["attempt"], attempt);
        assert!(event["cause"].as_str().unwrap().contains("503") && event["pause_ms"].is_u64(), "{event}");
        assert!(event["operation"].as_str().unwrap().starts_with("creating "), "{event}");
    }
    backup(&[]).says("again in");
    let refused = backup(&["--retry-for", "0s"]);
    assert_eq!(refused.status.code(), Some(40), "{}", refused.stderr);
    refused.says("error[store.failed]").says("503");
}

#[test]
fn a_request_that_stands_still_is_given_up_after_the_time_that_is_set() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let proxy = Proxy::start(server.address(), |request| match (request.method.as_str(), request.number) {
        ("PUT", 1) => Fate::StallRequest(100),
        _ => Fate::Pass,
    });
    place.write("config/backstay/backstay.toml", "stall_timeout = '1s'\n");
    let mut run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin(noise(1 << 20));
    for (name, value) in server.variables(&proxy.endpoint) {
        run = run.env(&name, value);
    }
    let begun = Instant::now();
    run.env("BACKSTAY_STORE", "s3://bucket/pg").good().says("nothing moved for 1.0 s");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_run_sends_no_more_requests_a_second_than_it_may() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let proxy = Proxy::start(server.address(), |_| Fate::Pass);
    let backup = || {
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]);
        let run = run.env("BACKSTAY_STORE", "s3://bucket/pg").stdin(noise(5 << 20));
        let run = server.variables(&proxy.endpoint).iter().fold(run, |run, (name, value)| run.env(name, value));
        let (begun, before) = (Instant::now(), proxy.log().len());
        run.good();
        (begun.elapsed(), u32::try_from(proxy.log().len() - before).unwrap())
    };
    let (free, _) = backup();
    place.write("config/backstay/backstay.toml", "limit_requests = 3\n");
    let (slow, sent) = backup();
    assert!(sent >= 8 && slow > free, "{sent} in {slow:?}, {free:?}");
    // The first one does not wait.
    assert!(slow >= Duration::from_secs((sent - 1).into()) / 3, "{sent} in {slow:?}");
    place.run(["list", "--limit-requests", "0"]).fails("usage.arguments", 2).says("--limit-requests");
}

#[test]
fn every_verb_that_reads_parts_fetches_smaller_pieces_with_little_memory() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let with = |mut run: Run<'static>, endpoint: &str| {
        for (name, value) in server.variables(endpoint) {
            run = run.env(&name, value);
        }
        run.env("BACKSTAY_STORE", "s3://bucket/pg")
    };
    // Kept for the whole test: runs borrow it.
    let place: &'static Place = Box::leak(Box::new(place));
    let backup = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin(noise(8 << 20));
    let id = with(backup, &server.endpoint).good().out().split(' ').next().unwrap().to_owned();
    let gets = |line: &str, memory: &str| {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counted, part) = (Arc::clone(&asked), format!("{id}-0"));
        let proxy = Proxy::start(server.address(), move |request: &ProxiedRequest| {
            if request.method == "GET" && request.target.contains(&part) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Pass
        });
        let words = line.replace("ID", &id);
        with(place.run(words.split(' ')).args(["--memory", memory]), &proxy.endpoint).good();
        asked.load(Ordering::Relaxed)
    };
    for line in [
        "restore ID -i key.txt -o content",
        "verify ID --depth full",
        "verify ID -i key.txt",
        "reassemble ID --join joined",
    ] {
        // Runs of half a MiB, and of two.
        let (little, much) = (gets(line, "16MiB"), gets(line, "128MiB"));
        assert!((16..=22).contains(&little) && (4..=8).contains(&much), "{line}: {little} and {much}");
    }
}
