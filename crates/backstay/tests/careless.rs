//! A store that takes the condition of a create and overwrites all the same, as stores in use do: backups are safe there, as long as they can see that
//! nobody else has their id, and refused where they cannot.

use std::sync::{Arc, Mutex};

use crate::common::{
    Warnings, add_slots, back_up, careless, content, context, native, objects, raw_keyring, recipient, restored,
};
use backstay::keys::Encryption;
use backstay::source::Source;
use backstay::{Error, Observer, Receipt, backup};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::S3Server;
use backstay_testkit::faults::{Call, Failure};
use bytes::Bytes;
use futures::TryStreamExt as _;

fn raw() -> Encryption {
    Encryption::Raw(Secret([7; 32]))
}

/// Several parts of half a megabyte.
async fn run(store: &Store) -> Result<Receipt, Error> {
    back_up(store, &content(1_500_000, true), native(raw())).await
}

async fn names(store: &Store) -> Vec<String> {
    store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap()
}

async fn manifests(store: &Store) -> usize {
    names(store).await.iter().filter(|name| name.ends_with(".json")).count()
}

#[tokio::test]
async fn a_backup_is_committed_with_a_warning_and_restores() {
    let server = S3Server::with_bucket("bucket");
    server.ignore_conditions();
    let (_faults, in_memory, _) = careless();
    // The one keeps digests, the other has to be read back.
    for store in [server.open("s3://bucket/p").await, in_memory] {
        let (bytes, warnings) = (content(3_000_000, true), Arc::new(Warnings::default()));
        let observer = Arc::clone(&warnings) as Arc<dyn Observer>;
        let source = Source::Reader(Box::new(std::io::Cursor::new(bytes.clone())));
        let receipt = backup(&store, source, native(raw()), &context(), observer).await.unwrap();
        assert!(receipt.parts > 3 && !receipt.unconfirmed);
        let warnings = warnings.0.lock().unwrap().clone();
        assert!(warnings.len() == 1 && warnings[0].starts_with("store.condition-ignored: "), "{warnings:?}");
        assert!(restored(&store, &receipt.id, &raw_keyring()).await == bytes);
    }
}

#[tokio::test]
async fn a_store_that_keeps_digests_is_not_read_back() {
    let server = S3Server::with_bucket("bucket");
    server.ignore_conditions();
    let store = server.open("s3://bucket/p").await;
    let receipt = run(&store).await.unwrap();
    let (requests, parts) = (store.requests(), u64::from(receipt.parts));
    assert_eq!(requests.gets, 0);
    // The first part when it was stored, each of them before the manifest, and the manifest.
    assert_eq!((requests.heads, requests.lists), (1 + parts + 1, 4), "{requests:?}");
}

/// The same number of other bytes.
fn others(bytes: &Bytes) -> Bytes {
    bytes.iter().map(|byte| byte ^ 1).collect()
}

#[tokio::test]
async fn another_writer_that_replaces_an_object_of_ours_is_noticed_by_its_bytes() {
    // Put 1 is part 0 and put 2 the same again; parts 1 and 2 follow.
    for number in [2, 3, 4] {
        let (faults, store, below) = careless();
        let replaced = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&replaced);
        faults.intrude(number, move |name, bytes| {
            name.clone_into(&mut kept.lock().unwrap());
            (name.to_owned(), others(bytes))
        });
        let error = run(&store).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{number}: {error}");
        assert!(error.to_string().contains(&*replaced.lock().unwrap()), "{error}");
        assert_eq!(manifests(&below).await, 0);
        assert_eq!(faults.calls(Call::Put) == 2, number == 2, "nothing more is sent after the first part was replaced");
    }
}

#[tokio::test]
async fn another_writers_object_beside_ours_is_noticed() {
    // A part beyond ours, a keybox, and a manifest: whoever has one of them has our id.
    for suffix in ["-7", ".key.0.age", ".json"] {
        let (faults, store, below) = careless();
        let id = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&id);
        faults.intrude(3, move |name, _| {
            let (id, _) = name.rsplit_once('-').unwrap();
            id.clone_into(&mut kept.lock().unwrap());
            (format!("{id}{suffix}"), Bytes::from_static(b"theirs"))
        });
        let error = run(&store).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{suffix}: {error}");
        let theirs = format!("{}{suffix}", id.lock().unwrap());
        assert!(error.to_string().contains(&theirs), "{error}");
        assert_eq!(below.get(&theirs, 100).await.unwrap().unwrap(), "theirs", "it is left alone");
    }
}

#[tokio::test]
async fn another_writers_manifest_in_the_place_of_ours_is_no_success() {
    let (faults, store, _) = careless();
    let parts = u64::from(run(&store).await.unwrap().parts);
    // The manifest of the second run.
    let manifest = faults.calls(Call::Put) + usize::try_from(parts).unwrap() + 2;
    faults.intrude(manifest, |name, bytes| {
        assert!(name.ends_with(".json"), "{name}");
        (name.to_owned(), others(bytes))
    });
    assert_eq!(run(&store).await.unwrap_err().code(), "name.taken");
}

#[tokio::test]
async fn another_writers_first_part_is_seen_before_ours_is_sent_and_stays() {
    let (faults, store, below) = careless();
    let identity = age::x25519::Identity::generate();
    let encryption = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let name = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&name);
    // Put 1 is the keybox: a slow source gives the other writer all the time of the world before our part 0.
    faults.intrude(1, move |keybox, _| {
        let theirs = format!("{}-0", keybox.split('.').next().unwrap());
        theirs.clone_into(&mut kept.lock().unwrap());
        (theirs, Bytes::from_static(b"theirs"))
    });
    let error = back_up(&store, &content(1000, true), native(encryption)).await.unwrap_err();
    assert_eq!(error.code(), "name.taken", "{error}");
    let name = name.lock().unwrap().clone();
    assert_eq!(below.get(&name, 100).await.unwrap().unwrap(), "theirs");
    assert_eq!(faults.calls(Call::Put), 1);
}

#[tokio::test]
async fn who_may_not_list_or_look_is_refused() {
    for call in [Call::List, Call::Head] {
        let (faults, store, below) = careless();
        faults.fail_all(call, Failure::Denied);
        let error = run(&store).await.unwrap_err();
        assert_eq!(error.code(), "store.condition-ignored", "{call:?}: {error}");
        assert_eq!(manifests(&below).await, 0);
        assert_eq!(names(&below).await.len(), 1, "it was found with the first part");
    }
}

#[tokio::test]
async fn keyboxes_are_accounted_for_too() {
    let identity = age::x25519::Identity::generate();
    let encryption = || Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let (_, store, _) = careless();
    back_up(&store, &content(1_500_000, true), native(encryption())).await.unwrap();
    let (faults, store, below) = careless();
    faults.intrude(1, |keybox, bytes| (keybox.to_owned(), others(bytes)));
    let error = back_up(&store, &content(1_500_000, true), native(encryption())).await.unwrap_err();
    assert_eq!(error.code(), "name.taken", "{error}");
    assert_eq!(manifests(&below).await, 0);
}

#[tokio::test]
async fn what_needs_to_be_alone_refuses() {
    let (_, store, _) = careless();
    let id = run(&store).await.unwrap().id;
    let new = age::x25519::Identity::generate();
    let before = objects(&store).await;
    let error = add_slots(&store, &id, &raw_keyring(), &[recipient(&new)], None).await.unwrap_err();
    assert_eq!(error.code(), "store.condition-ignored", "{error}");
    // Not even the first slot is stored, and the object by which it was found out is what it was.
    assert_eq!(objects(&store).await, before);
}
