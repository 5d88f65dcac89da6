//! Holds that meet a deletion, and keys that are given where others are destroyed. At whatever call of the one the other comes between: what is said to be held is whole, and what is said to be
//! destroyed stays destroyed.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{add_slots, back_up, content, context, native, objects, open, options, recipient, set_of};
use backstay::backup::Format;
use backstay::keys::Encryption;
use backstay::retention::{Belief, Policy, PruneOptions, RmOptions, hold, prune, release, rm};
use backstay::rewrap::destroy_keys;
use backstay::{BackupOptions, Error};
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::remark::Remark;
use backstay_format::schedule::{Secret, sha256};
use backstay_format::{ArchiveId, Word};
use backstay_store::Store;
use backstay_testkit::faults::{Faults, When};
use backstay_testkit::{Clocked, S3Server};
use bytes::Bytes;

type Objects = BTreeMap<String, Bytes>;

async fn store_of(objects: &Objects) -> Store {
    let store = Store::memory();
    for (name, bytes) in objects {
        store.create(name, bytes.clone(), sha256(bytes)).await.unwrap();
    }
    store
}

/// Lets `one` wait before and after each of its calls in turn while `other` does all that it does, each time with a store of these objects. Gives
/// the number of calls.
async fn at_every_call<A, B>(
    before: &Objects,
    one: impl AsyncFn(&Store) -> A,
    other: impl AsyncFn(&Store) -> B,
    judge: impl AsyncFn(&Store, A, B),
) -> usize {
    for number in 1..500 {
        for when in [When::Before, When::After] {
            let store = store_of(before).await;
            let faults = Faults::new();
            let slow = store.clone().with_wrapper(|inner| faults.wrap(inner));
            faults.stop_at(number, when);
            let mut first = pin!(one(&slow));
            let second = tokio::select! {
                biased;
                _ = &mut first => return number - 1,
                () = faults.stopped() => other(&store).await,
            };
            faults.go_on();
            judge(&store, first.await, second).await;
        }
    }
    panic!("it does not end");
}

/// Lets a hold and a deletion meet at every call of each. `kept` are the beginnings of the names that a hold keeps.
async fn meet(before: &Objects, held: &ArchiveId, kept: &[&ArchiveId], delete: impl AsyncFn(&Store)) {
    let machine = &context();
    let holding = async |store: &Store| hold(store, held, "why", "test", machine).await;
    let (too_late, in_time) = (Cell::new(0), Cell::new(0));
    let judge = async |store: &Store, answer: Result<String, Error>| {
        let left = objects(store).await;
        match answer {
            Ok(name) => {
                in_time.set(in_time.get() + 1);
                assert!(left.contains_key(&name));
                let own = |name: &String| kept.iter().any(|id| name.starts_with(id.as_str()));
                for (name, bytes) in before.iter().filter(|(name, _)| own(name)) {
                    assert_eq!(left.get(name), Some(bytes), "{name} of what is held");
                }
                assert!(!left.keys().any(|name| name.contains(".expired.")), "whoever gives way takes his mark back");
            }
            Err(error) => {
                too_late.set(too_late.get() + 1);
                assert!(matches!(error.code(), "retention.too-late" | "archive.not-found"), "{error}");
            }
        }
    };
    let calls = at_every_call(before, &delete, holding, async |store, (), held| judge(store, held).await).await;
    assert!(calls >= 8, "{calls}");
    assert!(too_late.get() > 0 && in_time.get() > 4, "{} {}", too_late.get(), in_time.get());
    let calls = at_every_call(before, holding, &delete, async |store, held, ()| judge(store, held).await).await;
    assert!(calls >= 4, "{calls}");
}

fn small(options: BackupOptions) -> BackupOptions {
    BackupOptions { part_size: Some(70_000), ..options }
}

fn raw() -> BackupOptions {
    small(native(Encryption::Raw(Secret([7; 32]))))
}

fn openssl() -> BackupOptions {
    let (kdf, password) = (Kdf::BytesToKey(Digest::Md5), Password::new(b"KEY".to_vec()));
    small(options(Format::Openssl { kdf, password, single: false }))
}

fn keeping_one() -> PruneOptions {
    let policy = Policy { last: 1, ..Policy::default() };
    PruneOptions { policy, grace: Duration::ZERO, delete: true, force: true, by: "test".to_owned() }
}

fn removing() -> RmOptions {
    RmOptions { delete: true, force: true, keep_members: false, by: "test".to_owned() }
}

#[tokio::test]
async fn an_archive_that_is_said_to_be_held_is_not_pruned_at_whatever_step_of_a_run() {
    for options in [raw, openssl] {
        let store = Store::memory();
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(back_up(&store, &content(150_000, true), options()).await.unwrap().id);
        }
        let before = objects(&store).await;
        // What waits for another one waits no real time from here on.
        tokio::time::pause();
        for held in [&ids[0], &ids[2]] {
            meet(&before, held, &[held], async |store| {
                prune(store, &keeping_one(), &Belief::default(), &context()).await.unwrap();
            })
            .await;
        }
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_archive_that_is_said_to_be_held_is_not_removed_at_whatever_step_of_rm() {
    for options in [raw, openssl] {
        let store = Store::memory();
        let id = back_up(&store, &content(150_000, true), options()).await.unwrap().id;
        back_up(&store, b"a newer one", options()).await.unwrap();
        let before = objects(&store).await;
        tokio::time::pause();
        meet(&before, &id, &[&id], async |store| {
            match rm(store, &id, &removing(), &Belief::default(), &context()).await {
                Ok(removed) => assert!(removed.deleted),
                Err(error) => assert_eq!(error.code(), "retention.held"),
            }
        })
        .await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_backup_set_that_is_said_to_be_held_keeps_all_its_members_at_whatever_step_of_prune_or_rm() {
    let (store, encryption) = (Store::memory(), Arc::new(Encryption::Raw(Secret([7; 32]))));
    let mut sets = Vec::new();
    for _ in 0..2 {
        sets.push(set_of(&store, &encryption, "held in time", &["a", "b"], &context()).await);
    }
    let before = objects(&store).await;
    let (set, members) = (&sets[0].id, [&sets[0].members[0].id, &sets[0].members[1].id]);
    tokio::time::pause();
    let removing_it = async |store: &Store| match rm(store, set, &removing(), &Belief::default(), &context()).await {
        Ok(removed) => assert!(removed.stopped.is_none_or(|error| error.code() == "retention.held")),
        Err(error) => assert_eq!(error.code(), "retention.held"),
    };
    let pruning = async |store: &Store| {
        prune(store, &keeping_one(), &Belief::default(), &context()).await.unwrap();
    };
    meet(&before, set, &[set, members[0], members[1]], removing_it).await;
    meet(&before, set, &[set, members[0], members[1]], pruning).await;
    // A hold of a member is one of that archive.
    for member in members {
        meet(&before, member, &[member], removing_it).await;
        meet(&before, member, &[member], pruning).await;
    }
}

#[tokio::test]
async fn keys_of_what_is_said_to_be_held_are_not_destroyed_at_whatever_step() {
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let store = Store::memory();
    let id = back_up(&store, b"content", native(slots)).await.unwrap().id;
    let before = objects(&store).await;
    tokio::time::pause();
    let (machine, keybox) = (&context(), &id.keybox(0));
    // Whether the keys were there when it was said to be held.
    let holding = async |store: &Store| match hold(store, &id, "why", "test", machine).await {
        Ok(_) => Ok(store.head(keybox).await.unwrap().is_some()),
        Err(error) => Err(error),
    };
    let destroying = async |store: &Store| destroy_keys(store, &id, "test", machine).await;
    let (too_late, refused) = (Cell::new(0), Cell::new(0));
    let judge = async |store: &Store, held: Result<bool, Error>, destroyed: Result<Vec<String>, Error>| {
        let is_there = objects(store).await.contains_key(keybox);
        match held {
            Ok(was_there) => assert_eq!(was_there, is_there),
            Err(error) => {
                too_late.set(too_late.get() + 1);
                assert_eq!(error.code(), "retention.too-late");
            }
        }
        match destroyed {
            Ok(_) => assert!(!is_there),
            Err(error) => {
                refused.set(refused.get() + 1);
                assert!(is_there && error.code() == "retention.held", "{error}");
            }
        }
    };
    at_every_call(&before, destroying, holding, async |store, destroyed, held| judge(store, held, destroyed).await)
        .await;
    assert!(too_late.get() > 0 && refused.get() > 0);
    at_every_call(&before, holding, destroying, judge).await;
}

#[tokio::test]
async fn a_deletion_that_began_and_did_not_go_on_refuses_a_hold_for_two_days() {
    let clock = Clocked::at(1_767_232_800_000);
    let store = clock.store();
    let ticking = clock.clone();
    let now = move || jiff::Timestamp::from_millisecond(i64::try_from(ticking.millis()).unwrap()).unwrap();
    let machine = context().with_clock(now);
    let source = backstay::source::Source::Reader(Box::new(std::io::Cursor::new(b"content".to_vec())));
    let id = backstay::backup(&store, source, raw(), &machine, Arc::new(backstay::Silent)).await.unwrap().id;
    tokio::time::pause();
    let mark = id.sidecar(Word::Expired, u64::MAX);
    store.create(&mark, Bytes::from_static(b"{}"), sha256(b"{}")).await.unwrap();
    let refused = hold(&store, &id, "why", "test", &machine).await.unwrap_err();
    assert_eq!(refused.code(), "retention.too-late");
    assert!(refused.to_string().contains(&mark), "{refused}");
    // Later runs see it all the same.
    let error = rm(&store, &id, &removing(), &Belief::default(), &machine).await.unwrap_err();
    assert_eq!(error.code(), "retention.held");
    assert_eq!(release(&store, &id).await.unwrap().len(), 1);
    clock.pass(Duration::from_secs(48 * 3600));
    let held = hold(&store, &id, "why", "test", &machine).await.unwrap();
    assert!(objects(&store).await.contains_key(&held));
}

/// Of a directory many archives are listed at once, and a hold that comes between the listing and the deletion of one that is far behind is seen by it.
#[tokio::test]
async fn what_is_said_to_be_held_in_a_directory_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(back_up(&store, b"content", raw()).await.unwrap().id);
    }
    let machine = context();
    let (options, belief) = (keeping_one(), Belief::default());
    let pruning = prune(&store, &options, &belief, &machine);
    let holding = async {
        let mut held = Vec::new();
        for id in ids[..11].iter().rev() {
            held.push((id, hold(&store, id, "why", "test", &machine).await));
        }
        held
    };
    let (pruned, held) = tokio::join!(pruning, holding);
    pruned.unwrap();
    let left = objects(&store).await;
    for (id, answer) in held {
        match answer {
            Ok(_) => assert!(left.contains_key(&id.manifest()) && left.contains_key(&id.part(0)), "{id}"),
            Err(error) => assert!(matches!(error.code(), "retention.too-late" | "archive.not-found"), "{error}"),
        }
    }
    assert!(!left.keys().any(|name| name.contains(".expired.")), "{left:?}");
}

/// What deletes protects itself, too: a mark that an object lock holds ends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deleted_keeps_no_mark_that_its_deletion_began() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket/pg").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(back_up(&store, b"content", raw()).await.unwrap().id);
    }
    server.lock(&[&ids[0].manifest()]);
    for _ in 0..3 {
        prune(&store, &keeping_one(), &Belief::default(), &context()).await.unwrap();
    }
    let left = objects(&store).await;
    assert!(left.contains_key(&ids[0].manifest()) && !left.keys().any(|name| name.contains(".expired.")), "{left:?}");
    hold(&store, &ids[0], "why", "test", &context()).await.unwrap();
}

#[tokio::test]
async fn the_mark_of_a_deletion_says_who_began_it() {
    let store = Store::memory();
    let id = back_up(&store, b"content", raw()).await.unwrap().id;
    back_up(&store, b"newer", raw()).await.unwrap();
    let faults = Faults::new();
    let slow = store.clone().with_wrapper(|inner| faults.wrap(inner));
    // The listing, two manifests, the tombstone, the mark.
    faults.stop_at(5, When::After);
    let (options, belief, machine) = (removing(), Belief::default(), context());
    let mut removing = pin!(rm(&slow, &id, &options, &belief, &machine));
    let left = tokio::select! {
        _ = &mut removing => panic!("it waits"),
        () = faults.stopped() => objects(&store).await,
    };
    let (name, bytes) = left.iter().find(|(name, _)| name.contains(".expired.")).unwrap();
    let remark = Remark::parse(bytes, &id, Word::Expired, name).unwrap();
    assert_eq!((remark.by.as_str(), remark.text.as_str()), ("test", "its deletion begins"));
    faults.go_on();
    assert!(removing.await.unwrap().deleted);
    assert!(!objects(&store).await.keys().any(|name| name.starts_with(id.as_str())));
}

/// At whatever step of a rewrap the keys are destroyed, or of a destruction somebody is let in: once both are done nobody opens it, and who was to be
/// let in is told why not.
#[tokio::test]
async fn destroyed_keys_stay_destroyed_at_whatever_step_of_a_rewrap() {
    let (old, new) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let slots = Encryption::Slots { recipients: vec![recipient(&old)], passphrase: None, detached: true };
    let store = Store::memory();
    let id = back_up(&store, b"content", native(slots)).await.unwrap().id;
    let before = objects(&store).await;
    let mut ring = Keyring::default();
    ring.add_identity(Box::new(old.clone()));
    let machine = &context();
    let (let_in, refused) = (Cell::new(0), Cell::new(0));
    let rewrapping = async |store: &Store| add_slots(store, &id, &ring, &[recipient(&new)], None).await;
    let destroying = async |store: &Store| destroy_keys(store, &id, "test", machine).await;
    let judge = async |store: &Store, added: Result<Vec<String>, Error>, destroyed: Result<Vec<String>, Error>| {
        destroyed.unwrap();
        let left = objects(store).await;
        assert!(!left.keys().any(|name| name.contains(".key.")), "{added:?}: {left:?}");
        match added {
            Ok(_) => let_in.set(let_in.get() + 1),
            Err(error) => {
                refused.set(refused.get() + 1);
                let text = error.to_string();
                assert!(error.code() == "key.not-found" && !text.contains("damaged"), "{text}");
            }
        }
    };
    let calls = at_every_call(&before, rewrapping, destroying, judge).await;
    assert!(calls >= 8 && refused.get() > 8, "{calls} {}", refused.get());
    at_every_call(&before, destroying, rewrapping, async |store, destroyed, added| {
        judge(store, added, destroyed).await;
    })
    .await;
    assert!(let_in.get() > 1);
}
