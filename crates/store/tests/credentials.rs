//! Credentials that come from another service: the instance's metadata, played by a small server, and none at all.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backstay_store::{Environment, RetryOptions, Store, StoreOptions};
use backstay_testkit::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};
use backstay_testkit::sha256;

/// Answers like the metadata service of an instance with a role; counts how often keys were asked for.
fn metadata_service() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &count);
        }
    });
    (endpoint, asked)
}

fn answer(mut stream: TcpStream, asked: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    let mut has_token = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        has_token |= line.to_ascii_lowercase().starts_with("x-aws-ec2-metadata-token: tok");
        if line.trim().is_empty() {
            break;
        }
    }
    let role = "/latest/meta-data/iam/security-credentials/";
    let path = request.split(' ').nth(1).unwrap();
    let body = match path {
        "/latest/api/token" => "tok".to_owned(),
        path if path == role && has_token => "backup-role".to_owned(),
        path if path.strip_prefix(role) == Some("backup-role") && has_token => {
            asked.fetch_add(1, Ordering::Relaxed);
            format!(
                r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2020-01-01T00:00:00Z","AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{SECRET_KEY}","Token":"session","Expiration":"2099-01-01T00:00:00Z"}}"#
            )
        }
        other => panic!("asked for {other}, token: {has_token}"),
    };
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).unwrap();
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0]);
}

fn options(endpoint: &str) -> StoreOptions {
    let mut options = StoreOptions::default();
    options.endpoint_url = Some(endpoint.into());
    options.retry = RetryOptions::brief();
    options
}

#[tokio::test]
async fn keys_of_the_instances_role_are_fetched_once_and_used() {
    let server = S3Server::with_bucket("bucket");
    let (endpoint, asked) = metadata_service();
    let env = Environment::from_pairs([("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)]);
    let store = Store::open("s3://bucket", &options(&server.endpoint), &env).await.unwrap();
    assert_eq!(store.credential_source(), Some("instance metadata"));
    for n in 0..3 {
        store.create(&format!("x-{n}"), "a".into(), sha256(b"a")).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    // Requests for keys are not the store's.
    assert_eq!(store.requests().attempts, 3);
}

#[tokio::test]
async fn where_no_instance_answers_the_error_is_about_credentials_and_not_about_the_store() {
    let server = S3Server::with_bucket("bucket");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let env = Environment::from_pairs([("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody)]);
    let store = Store::open("s3://bucket", &options(&server.endpoint), &env).await.unwrap();
    for error in
        [store.create("x-0", "a".into(), sha256(b"a")).await.unwrap_err(), store.get("x-0", 1).await.unwrap_err()]
    {
        assert_eq!(error.code(), "usage.credentials", "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert!(error.hint().is_some());
    }
    assert_eq!(store.requests().attempts, 0);
}

#[tokio::test]
async fn secrets_are_in_no_debug_output() {
    let server = S3Server::with_bucket("bucket");
    let env = Environment::from_pairs(server.variables(&server.endpoint));
    let store = server.open("s3://bucket").await;
    let shown = format!("{env:?} {store:?}");
    assert!(!shown.contains(SECRET_KEY), "{shown}");
    assert!(shown.contains("AWS_SECRET_ACCESS_KEY"));
}
