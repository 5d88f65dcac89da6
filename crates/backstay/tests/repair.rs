//! What is broken is replaced from the replica, what is good is never touched, wherever the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{back_up, content, context, native, objects, options, recipient};
use backstay::copy::CopyOptions;
use backstay::keys::Encryption;
use backstay::repair::Repaired;
use backstay::{Error, Event, Observer, Silent, repair};
use backstay_format::ArchiveId;
use backstay_format::manifest::{Document, Manifest};
use backstay_format::schedule::{Secret, sha256};
use backstay_store::{RetryOptions, Store};
use backstay_testkit::Record;
use backstay_testkit::faults::{Call, Failure, Faults, When};
use bytes::Bytes;

type Objects = BTreeMap<String, Bytes>;

async fn store_of(objects: &Objects) -> Store {
    let store = Store::memory();
    fill(&store, objects).await;
    store
}

async fn fill(store: &Store, objects: &Objects) {
    for (name, bytes) in objects {
        store.create(name, bytes.clone(), sha256(bytes)).await.unwrap();
    }
}

async fn mend(store: &Store, replica: &Store, id: &ArchiveId) -> Result<Repaired, Error> {
    repair(store, replica, id, &CopyOptions::default(), &context(), Arc::new(Silent)).await
}

/// An archive of several parts with a keybox.
async fn archive() -> (ArchiveId, Objects) {
    let store = Store::memory();
    let identity = age::x25519::Identity::generate();
    let mut options =
        native(Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true });
    options.part_size = Some(70_000);
    let made = back_up(&store, &content(300_000, true), options).await.unwrap();
    let objects = objects(&store).await;
    assert!(objects.len() >= 6 && objects.contains_key(&made.id.keybox(0)));
    (made.id, objects)
}

fn cut(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() - 1)
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.into()
}

/// Damages that can be mended: what they are called, and how the objects look then.
fn damages(id: &ArchiveId, good: &Objects) -> Vec<(&'static str, Objects)> {
    let part = id.part(1);
    let with = |change: &dyn Fn(&mut Objects)| {
        let mut objects = good.clone();
        change(&mut objects);
        objects
    };
    let set = |name: &str, bytes: Bytes| {
        with(&|objects| {
            objects.insert(name.to_owned(), bytes.clone());
        })
    };
    let without = |names: &[String]| with(&|objects| objects.retain(|name, _| !names.contains(name)));
    let mut many = without(&[id.part(0), id.manifest(), id.keybox(0)]);
    many.insert(part.clone(), flipped(&good[&part]));
    many.insert(id.part(2), Bytes::new());
    vec![
        ("nothing", good.clone()),
        ("a part is missing", without(std::slice::from_ref(&part))),
        ("a part is cut", set(&part, cut(&good[&part]))),
        ("a part is longer", set(&part, [&good[&part][..], b"x"].concat().into())),
        ("a bit of a part is flipped", set(&part, flipped(&good[&part]))),
        ("two parts are the same", set(&part, good[&id.part(2)].clone())),
        ("the manifest is missing", without(&[id.manifest()])),
        ("the manifest is damaged", set(&id.manifest(), flipped(&good[&id.manifest()]))),
        ("the manifest is empty", set(&id.manifest(), Bytes::new())),
        ("the keybox is missing", without(&[id.keybox(0)])),
        ("everything is missing", Objects::new()),
        ("many things at once", many),
    ]
}

#[tokio::test]
async fn whatever_is_broken_is_replaced_and_nothing_else_is_written_or_deleted() {
    let (id, good) = archive().await;
    let replica = store_of(&good).await;
    for (what, damaged) in damages(&id, &good) {
        let (record, plain) = (Record::default(), store_of(&damaged).await);
        let store = plain.clone().with_wrapper(|inner| record.wrap(inner));
        let repaired = mend(&store, &replica, &id).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(objects(&plain).await, good, "{what}");
        let broken: BTreeSet<_> = good.iter().filter(|(name, bytes)| damaged.get(*name) != Some(bytes)).collect();
        let reported: BTreeSet<_> = repaired.restored.iter().chain(&repaired.replaced).cloned().collect();
        assert_eq!(reported, broken.iter().map(|(name, _)| (*name).clone()).collect(), "{what}");
        assert!(repaired.replaced.iter().all(|name| damaged.contains_key(name)), "{what}");
        assert_eq!(repaired.sent, broken.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>(), "{what}");
        let asked = record.taken();
        let puts: BTreeSet<_> =
            asked.iter().filter(|asked| asked.call == Call::Put).map(|asked| asked.name.clone()).collect();
        assert_eq!(puts, reported, "{what}");
        assert_eq!(asked.iter().filter(|asked| asked.call == Call::Delete).count(), repaired.replaced.len(), "{what}");
    }
}

#[tokio::test]
async fn a_repair_that_dies_at_any_call_lost_nothing_good_and_the_next_one_finishes() {
    let (id, good) = archive().await;
    let (mut all, replica) = (0, store_of(&good).await);
    for (what, damaged) in damages(&id, &good) {
        for number in 1.. {
            let mut got_through = false;
            for when in [When::Before, When::After] {
                let (store, faults) = (store_of(&damaged).await, Faults::new());
                let mortal = store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
                faults.crash_at(number, when);
                got_through = tokio::select! {
                    repaired = mend(&mortal, &replica, &id) => repaired.is_ok(),
                    () = faults.crashed() => false,
                };
                let left = objects(&store).await;
                for (name, bytes) in &good {
                    let untouched = left.get(name) == damaged.get(name);
                    assert!(damaged.get(name) != Some(bytes) || untouched, "{what}: {name} was good");
                    assert!(untouched || left.get(name).is_none_or(|left| left == bytes), "{what}: {name}");
                }
                if !damaged.contains_key(&id.manifest()) && left.contains_key(&id.manifest()) {
                    assert_eq!(left, good, "{what}: a manifest comes last");
                }
                mend(&store, &replica, &id).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(objects(&store).await, good, "{what}");
            }
            all += 1;
            if got_through {
                break;
            }
        }
    }
    assert!(all > 60, "{all}");
}

#[tokio::test]
async fn a_replica_that_is_damaged_itself_mends_what_it_can_prove_and_deletes_nothing_for_the_rest() {
    let (id, good) = archive().await;
    let (part, mut damaged, mut theirs) = (id.part(1), good.clone(), good.clone());
    damaged.insert(part.clone(), flipped(&good[&part]));
    for (bad, code) in [(Some(flipped(&good[&part])), "part.digest"), (None, "part.missing")] {
        match bad {
            Some(bad) => theirs.insert(part.clone(), bad),
            None => theirs.remove(&part),
        };
        let store = store_of(&damaged).await;
        assert_eq!(mend(&store, &store_of(&theirs).await, &id).await.unwrap_err().code(), code);
        assert_eq!(objects(&store).await, damaged);
    }
    // The replica lost its manifest, and the store's says what is good.
    let mut theirs = good.clone();
    theirs.remove(&id.manifest());
    let store = store_of(&damaged).await;
    mend(&store, &store_of(&theirs).await, &id).await.unwrap();
    assert_eq!(objects(&store).await, good);
}

#[tokio::test]
async fn another_archive_of_the_same_id_is_left_alone() {
    let (id, good) = archive().await;
    let replica = store_of(&good).await;
    let other: Objects = {
        let store = Store::memory();
        let mut options = native(Encryption::Raw(Secret([7; 32])));
        options.part_size = Some(70_000);
        let millis = i64::try_from(id.millis()).unwrap();
        let context = context().with_clock(move || jiff::Timestamp::from_millisecond(millis).unwrap());
        let source = backstay::source::Source::Reader(Box::new(std::io::Cursor::new(content(300_000, false))));
        let made = backstay::backup(&store, source, options, &context, Arc::new(Silent)).await.unwrap();
        // The clock of this process has moved on meanwhile; the objects are what matters.
        objects(&store)
            .await
            .into_iter()
            .map(|(name, bytes)| (name.replace(made.id.as_str(), id.as_str()), bytes))
            .collect()
    };
    // Its manifest is damaged (it names another id), and none of its parts is the replica's.
    let store = store_of(&other).await;
    assert_eq!(mend(&store, &replica, &id).await.unwrap_err().code(), "replica.differs");
    assert_eq!(objects(&store).await, other);
    // Two manifests that are whole and differ: without a key nobody can tell which is genuine.
    let Document::Manifest(mut sealed) = Manifest::parse(good[&id.manifest()].to_vec(), &id).unwrap() else { panic!() };
    sealed.manifest.tags.push("another".to_owned());
    let (mut theirs, mut damaged) = (good.clone(), good.clone());
    theirs.insert(id.manifest(), sealed.manifest.encode(&[1; 32], None).0.into());
    damaged.insert(id.part(0), flipped(&good[&id.part(0)]));
    let store = store_of(&damaged).await;
    assert_eq!(mend(&store, &store_of(&theirs).await, &id).await.unwrap_err().code(), "replica.differs");
    assert_eq!(objects(&store).await, damaged);
}

/// Takes the faults away once a part was fetched.
struct Passing(Faults);

impl Observer for Passing {
    fn event(&self, event: &Event) {
        if matches!(event, Event::PartFetched { .. }) {
            self.0.clear();
        }
    }
}

#[tokio::test]
async fn one_bad_read_is_no_reason_to_delete() {
    let (id, good) = archive().await;
    let (replica, plain, faults) = (store_of(&good).await, store_of(&good).await, Faults::new());
    let store = plain.clone().with_wrapper(|inner| faults.wrap(inner));
    faults.flip_bit(&id.part(0), 40_000);
    let options = CopyOptions { transfers: 1, ..CopyOptions::default() };
    let repaired =
        repair(&store, &replica, &id, &options, &context(), Arc::new(Passing(faults.clone()))).await.unwrap();
    assert!(repaired.replaced.is_empty() && repaired.restored.is_empty());
    // The manifest, the keybox, each part, and one of them again.
    assert_eq!(faults.calls(Call::Get), repaired.parts as usize + 3);
    assert_eq!((faults.calls(Call::Delete), faults.calls(Call::Put)), (0, 0));
}

#[tokio::test]
async fn without_the_right_to_delete_a_missing_part_comes_back_and_a_damaged_one_stays() {
    let (id, good) = archive().await;
    let (mut damaged, replica, faults) = (good.clone(), store_of(&good).await, Faults::new());
    damaged.remove(&id.part(0));
    let plain = store_of(&damaged).await;
    faults.fail_all(Call::Delete, Failure::Denied);
    let store = plain.clone().with_wrapper(|inner| faults.wrap(inner));
    assert_eq!(mend(&store, &replica, &id).await.unwrap().restored, [id.part(0)]);
    assert_eq!(objects(&plain).await, good);
    damaged.insert(id.part(0), Bytes::from_static(b"x"));
    let plain = store_of(&damaged).await;
    let store = plain.clone().with_wrapper(|inner| faults.wrap(inner));
    let error = mend(&store, &replica, &id).await.unwrap_err();
    assert!(
        error.code() == "store.denied" && error.to_string().contains(&format!("deleting {}", id.part(0))),
        "{error}"
    );
    assert_eq!(objects(&plain).await, damaged);
}

#[tokio::test]
async fn an_archive_that_nothing_vouches_for_is_not_repaired() {
    let kdf = backstay_format::openssl::Kdf::BytesToKey(backstay_format::openssl::Digest::Md5);
    let password = backstay_format::openssl::Password::new(b"correct horse".to_vec());
    let store = Store::memory();
    let format = backstay::backup::Format::Openssl { kdf, password, single: false };
    let made = back_up(&store, &content(300_000, true), options(format)).await.unwrap();
    let mut all = objects(&store).await;
    all.insert(made.id.manifest(), Bytes::from_static(b"{\"backup_id\": 17}"));
    let error = mend(&store_of(&all).await, &store_of(&all).await, &made.id).await.unwrap_err();
    assert_eq!(error.code(), "manifest.invalid");
    let all = objects(&store).await;
    let mut broken = all.clone();
    broken.remove(&made.id.part(0));
    let damaged = store_of(&broken).await;
    mend(&damaged, &store, &made.id).await.unwrap();
    assert_eq!(objects(&damaged).await, all);
}
