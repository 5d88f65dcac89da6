//! What new objects are given: each option in the words of each cloud, as it is sent, and refused where there is no such thing. Servers that keep
//! what they are told are asked in `tests/e2e/check.sh`.

use std::time::{Duration, SystemTime};

use backstay_store::{
    Addressing, Environment, Lock, LockMode, ObjectOptions, RetryOptions, ServerEncryption, Store, StoreOptions,
    probe_conditional_create,
};
use backstay_testkit::recorder::{Recorded, Recorder};
use backstay_testkit::sha256;

fn objects(change: impl FnOnce(&mut ObjectOptions)) -> ObjectOptions {
    let mut objects = ObjectOptions::default();
    change(&mut objects);
    objects
}

fn everything() -> ObjectOptions {
    objects(|objects| {
        objects.storage_class = Some("STANDARD_IA".into());
        objects.encryption = Some(ServerEncryption::KmsKey("arn:aws:kms:eu-west-1:1:key/2".into()));
        objects.tags = vec![("team".into(), "data base".into()), ("backup".into(), "yes".into())];
        objects.lock = Some(Lock { mode: LockMode::Compliance, duration: Duration::from_secs(86_400) });
    })
}

async fn open(
    url: &str,
    recorder: &Recorder,
    change: impl FnOnce(&mut StoreOptions),
) -> Result<Store, backstay_store::Error> {
    let mut options = StoreOptions::default();
    options.endpoint_url = Some(recorder.endpoint.clone());
    options.retry = RetryOptions::brief();
    change(&mut options);
    let key = r#"{"gcs_base_url":"http://unused","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}"#;
    let env = Environment::from_pairs([
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AZURE_STORAGE_ACCOUNT", "account"),
        ("AZURE_STORAGE_KEY", "a2V5"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", key),
        ("GOOGLE_CLOUD_QUOTA_PROJECT", "payer"),
    ]);
    Store::open(url, &options, &env).await
}

/// The request of one create.
async fn created(url: &str, change: impl FnOnce(&mut StoreOptions)) -> Recorded {
    let recorder = Recorder::store();
    let store = open(url, &recorder, change).await.unwrap();
    store.create("x-0", "body".into(), sha256(b"body")).await.unwrap();
    let mut heard = recorder.taken();
    assert_eq!(heard.len(), 1, "{heard:?}");
    heard.remove(0)
}

/// The lock's end, which is a day after now.
fn is_in_a_day(until: &str) {
    let until: SystemTime = until.parse::<jiff::Timestamp>().unwrap().into();
    let left = until.duration_since(SystemTime::now()).unwrap();
    assert!((86_300..=86_401).contains(&left.as_secs()), "{left:?}");
}

#[tokio::test]
async fn s3_is_told_each_option_under_its_signature() {
    let heard = created("s3://bucket/p", |options| options.objects = everything()).await;
    assert_eq!(heard.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(heard.header("x-amz-server-side-encryption"), Some("aws:kms"));
    assert_eq!(heard.header("x-amz-server-side-encryption-aws-kms-key-id"), Some("arn:aws:kms:eu-west-1:1:key/2"));
    assert_eq!(heard.header("x-amz-tagging"), Some("team=data+base&backup=yes"));
    assert_eq!(heard.header("x-amz-object-lock-mode"), Some("COMPLIANCE"));
    is_in_a_day(heard.header("x-amz-object-lock-retain-until-date").unwrap());
    // S3 demands a digest with a lock.
    assert!(heard.header("x-amz-checksum-sha256").is_some());
    let signed = heard.header("authorization").unwrap();
    for name in
        ["object-lock-mode", "object-lock-retain-until-date", "server-side-encryption", "storage-class", "tagging"]
    {
        assert!(
            signed.contains(&format!("x-amz-{name};")) || signed.contains(&format!("x-amz-{name},")),
            "{name}: {signed}"
        );
    }
}

#[tokio::test]
async fn nothing_is_said_that_was_not_asked_for() {
    for url in ["s3://bucket", "gs://bucket", "az://container"] {
        let heard = created(url, |_| {}).await;
        for word in ["lock", "tag", "class", "tier", "server-side", "kms", "payer", "user-project"] {
            assert!(!heard.fields.iter().any(|(name, _)| name.contains(word)), "{url} {word}: {heard:?}");
        }
    }
}

#[tokio::test]
async fn s3_may_encrypt_with_keys_of_its_own_or_the_accounts() {
    let sse = |encryption| objects(|objects| objects.encryption = Some(encryption));
    let own = created("s3://bucket", |options| options.objects = sse(ServerEncryption::Store)).await;
    assert_eq!(own.header("x-amz-server-side-encryption"), Some("AES256"));
    let account = created("s3://bucket", |options| options.objects = sse(ServerEncryption::Kms)).await;
    assert_eq!(account.header("x-amz-server-side-encryption"), Some("aws:kms"));
    assert_eq!(account.header("x-amz-server-side-encryption-aws-kms-key-id"), None);
}

#[tokio::test]
async fn google_is_told_class_key_and_lock_in_its_own_words() {
    let all = objects(|objects| {
        *objects = everything();
        objects.tags.clear();
        objects.storage_class = Some("NEARLINE".into());
        objects.lock = Some(Lock { mode: LockMode::Governance, duration: Duration::from_secs(86_400) });
    });
    let heard = created("gs://bucket", |options| options.objects = all).await;
    assert_eq!(heard.header("x-goog-storage-class"), Some("NEARLINE"));
    assert_eq!(heard.header("x-goog-encryption-kms-key-name"), Some("arn:aws:kms:eu-west-1:1:key/2"));
    assert_eq!(heard.header("x-goog-object-lock-mode"), Some("GOVERNANCE"));
    is_in_a_day(heard.header("x-goog-object-lock-retain-until-date").unwrap());
}

#[tokio::test]
async fn azure_is_told_tier_and_tags() {
    let some = objects(|objects| {
        objects.storage_class = Some("Cool".into());
        objects.tags = vec![("team".into(), "db".into())];
    });
    let heard = created("az://container", |options| options.objects = some).await;
    assert_eq!((heard.header("x-ms-access-tier"), heard.header("x-ms-tags")), (Some("Cool"), Some("team=db")));
}

#[tokio::test]
async fn what_a_store_does_not_have_is_refused_before_a_request() {
    let class = |name: &str| objects(|objects| objects.storage_class = Some(name.into()));
    let tags = objects(|objects| objects.tags = vec![("a".into(), "b".into())]);
    let lock = objects(|objects| objects.lock = everything().lock);
    let sse = |encryption| objects(|objects| objects.encryption = Some(encryption));
    let recorder = Recorder::store();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    for (url, refused) in [
        ("s3://bucket", class("GLACIER")),
        ("s3://bucket", class("deep_archive")),
        ("az://container", class("Archive")),
        ("az://container", lock.clone()),
        ("az://container", sse(ServerEncryption::Store)),
        ("gs://bucket", tags.clone()),
        ("gs://bucket", sse(ServerEncryption::Store)),
        ("gs://bucket", sse(ServerEncryption::Kms)),
        (path, class("STANDARD_IA")),
        (path, tags),
        (path, lock),
        (path, sse(ServerEncryption::Store)),
        ("memory:", class("STANDARD_IA")),
    ] {
        let shown = format!("{url} {refused:?}");
        let store = open(url, &recorder, |options| options.objects = refused).await.unwrap();
        let error = store.takes_new_objects().unwrap_err();
        assert_eq!(error.code(), "store.unsupported", "{shown}");
        assert!(error.hint().is_some());
        // Nor can it be passed over.
        let error = store.create("x-0", "body".into(), sha256(b"body")).await.unwrap_err();
        assert_eq!(error.code(), "store.unsupported", "{shown}");
        // Whoever only reads need not care.
        assert_eq!(store.head("x-0").await.ok().flatten(), None);
    }
    assert!(recorder.taken().iter().all(|heard| heard.method != "PUT"));
    for url in ["az://container", "gs://bucket"] {
        let error = open(url, &recorder, |options| options.addressing = Some(Addressing::Path)).await.unwrap_err();
        assert_eq!(error.code(), "store.unsupported", "{url}");
    }
    let error = open("az://container", &recorder, |options| options.requester_pays = true).await.unwrap_err();
    assert_eq!(error.code(), "store.unsupported");
    for name in ["", "two words", "line\nfeed"] {
        let error = open("s3://bucket", &recorder, |options| options.objects = class(name)).await.unwrap_err();
        assert_eq!(error.code(), "usage.arguments", "{name:?}");
    }
}

#[tokio::test]
async fn every_request_says_who_pays() {
    for (url, name, value) in
        [("s3://bucket", "x-amz-request-payer", "requester"), ("gs://bucket", "x-goog-user-project", "payer")]
    {
        let recorder = Recorder::store();
        let store = open(url, &recorder, |options| options.requester_pays = true).await.unwrap();
        store.create("x-0", "body".into(), sha256(b"body")).await.unwrap();
        store.get("x-0", 1).await.unwrap();
        store.delete("x-0").await.unwrap();
        let _ = futures::TryStreamExt::try_collect::<Vec<_>>(store.list("", None)).await.unwrap();
        let heard = recorder.taken();
        assert_eq!(heard.len(), 4, "{heard:?}");
        assert!(heard.iter().all(|heard| heard.header(name) == Some(value)), "{heard:?}");
    }
}

#[tokio::test]
async fn what_is_deleted_again_is_not_locked() {
    let recorder = Recorder::store();
    let store = open("s3://bucket", &recorder, |options| options.objects = everything()).await.unwrap();
    // The server keeps nothing, so that it looks like one that ignores conditions.
    let probed = probe_conditional_create(&store.for_passing_objects(), "probe").await;
    assert_eq!(probed.unwrap_err().code(), "store.condition-ignored");
    let puts: Vec<_> = recorder.taken().into_iter().filter(|heard| heard.method == "PUT").collect();
    assert_eq!(puts.len(), 2);
    for put in puts {
        assert_eq!(put.header("x-amz-object-lock-mode"), None);
        assert_eq!(put.header("x-amz-storage-class"), None);
        // A bucket's policy may demand these of every object.
        assert_eq!(put.header("x-amz-server-side-encryption"), Some("aws:kms"));
        assert!(put.header("x-amz-tagging").is_some());
    }
}
