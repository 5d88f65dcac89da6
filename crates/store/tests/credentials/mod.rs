//! Each place that credentials may come from, and that it is really read. Where the real service can run, it is asked and has to agree: an S3 server
//! that checks signatures, azurite, a GCS server that checks tokens. What it is that gives out tokens is played by a recorder, of
//! which the test asserts what it was asked.

mod aws;
mod azure;
mod gcs;

use std::io::Write;

use backstay_store::{Created, Environment, Error, RetryOptions, Store, StoreOptions};
use backstay_testkit::recorder::Answer;
use backstay_testkit::{Recorder, sha256};
use futures::TryStreamExt;

/// A file with this content.
fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// Opens a store as these variables say, and nothing else.
async fn open(url: &str, variables: &[(&str, &str)]) -> Result<Store, Error> {
    let mut options = StoreOptions::default();
    options.retry = RetryOptions::brief();
    Store::open(url, &options, &Environment::from_pairs(variables.iter().copied())).await
}

/// Uses the store: what is created is there, and is listed.
async fn works(store: &Store, name: &str) {
    assert_eq!(store.create(name, "a".into(), sha256(b"a")).await.unwrap(), Created::New);
    assert_eq!(store.get(name, 1).await.unwrap().unwrap(), "a");
    let listed: Vec<_> = store.list(name, None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
}

/// A store that has one object and takes everybody, for what no server here checks: the test looks at what was sent.
fn credulous() -> Recorder {
    Recorder::start(|_| Answer::ok("a").with("etag", "\"tag\"").with("last-modified", "Sat, 21 Nov 2026 10:12:05 GMT"))
}

/// A form's parameters, as text.
fn parameter(form: &[(String, String)], name: &str) -> String {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_refusal_with_another_time_in_it_says_that_the_clock_is_off() {
    let shifted = |seconds| {
        let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    };
    let account = backstay_testkit::GcsServer::strange_account();
    for (shift, said) in [(-1200, Some("20 minutes ahead of")), (1230, Some("20 minutes behind")), (60, None)] {
        for (url, code, status) in [
            ("s3://bucket", "RequestTimeTooSkewed", 403),
            ("az://container", "AuthenticationFailed", 403),
            ("gs://bucket", "InvalidSecurity", 401),
        ] {
            let date = shifted(shift);
            let server = Recorder::start(move |_| {
                Answer::status(status, format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
                    .with("date", date.clone())
            });
            let here = account.replacen('{', &format!("{{\"gcs_base_url\":\"{}\",", server.endpoint), 1);
            let variables = [
                ("AWS_ACCESS_KEY_ID", "a"),
                ("AWS_SECRET_ACCESS_KEY", "b"),
                ("AWS_ENDPOINT_URL", &server.endpoint),
                ("AZURE_STORAGE_ACCOUNT", "acc"),
                ("AZURE_STORAGE_KEY", "a2V5"),
                ("AZURE_STORAGE_ENDPOINT", &server.endpoint),
                ("GOOGLE_SERVICE_ACCOUNT_KEY", &here),
            ];
            let store = open(url, &variables);
            let error = store.await.unwrap().get("x-0", 1).await.unwrap_err();
            assert_eq!(error.code(), "store.denied", "{url}: {error}");
            assert!(error.to_string().contains(code), "{error}");
            let hint = error.hint().unwrap();
            match said {
                Some(said) => assert!(hint.contains("clock") && hint.contains(said), "{url}: {hint}"),
                None => assert!(!hint.contains("clock"), "{url}: {hint}"),
            }
            assert_eq!(server.taken().len(), 1, "{url}: it is not repeated");
        }
    }
}
