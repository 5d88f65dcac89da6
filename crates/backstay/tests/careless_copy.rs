//! Copies to a store that takes the condition of a create and overwrites all the same: what is there stays, what is not ours is noticed before the
//! manifest, and the copy is as good as any.

use std::sync::Arc;

use crate::common::{
    Warnings, back_up, careless, content, context, native, objects, options, overwriting, raw_keyring, recipient,
    restored,
};
use backstay::backup::Format;
use backstay::copy::{Copied, CopyOptions, copy};
use backstay::keys::Encryption;
use backstay::{Error, Observer, Receipt, Silent};
use backstay_format::ArchiveId;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, When};
use backstay_testkit::{S3Server, sha256};
use bytes::Bytes;

/// An archive of four parts, and of a keybox if asked for.
async fn made(keybox: bool) -> (Store, Receipt) {
    let store = Store::memory();
    let identity = age::x25519::Identity::generate();
    let encryption = match keybox {
        true => Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true },
        false => Encryption::Raw(Secret([7; 32])),
    };
    let receipt = back_up(&store, &content(1_500_000, true), native(encryption)).await.unwrap();
    assert_eq!(receipt.parts, 4);
    (store, receipt)
}

async fn transfer(from: &Store, to: &Store, id: &ArchiveId) -> Result<Copied, Error> {
    copy(from, to, id, &CopyOptions::default(), &context(), Arc::new(Silent)).await
}

async fn put(store: &Store, name: &str, bytes: impl Into<Bytes>) {
    let bytes = bytes.into();
    let digest = sha256(&bytes);
    store.create(name, bytes, digest).await.unwrap();
}

/// The same number of other bytes.
fn others(bytes: &Bytes) -> Bytes {
    bytes.iter().map(|byte| byte ^ 1).collect()
}

#[tokio::test]
async fn copies_are_committed_with_one_warning_for_the_store_and_restore() {
    let server = S3Server::with_bucket("bucket");
    server.ignore_conditions();
    let (_faults, in_memory, _) = careless();
    // The one keeps digests, the other has to be read back.
    for to in [server.open("s3://bucket/p").await, in_memory] {
        let warnings = Arc::new(Warnings::default());
        let (mut sent, mut again) = (Vec::new(), Vec::new());
        for keybox in [true, false, false] {
            let (from, receipt) = made(keybox).await;
            let observer = Arc::clone(&warnings) as Arc<dyn Observer>;
            let puts = to.requests().puts;
            let copied = copy(&from, &to, &receipt.id, &CopyOptions::default(), &context(), observer).await.unwrap();
            assert!(copied.checked && copied.sent == receipt.stored);
            sent.push(to.requests().puts - puts);
            for (name, bytes) in objects(&from).await {
                assert!(to.get(&name, u64::MAX).await.unwrap() == Some(bytes), "{name}");
            }
            if !keybox {
                assert!(restored(&to, &receipt.id, &raw_keyring()).await == content(1_500_000, true));
            }
            let gets = to.requests().gets;
            assert_eq!(transfer(&from, &to, &receipt.id).await.unwrap().sent, 0);
            again.push(to.requests().gets - gets);
        }
        let warnings = warnings.0.lock().unwrap().clone();
        assert!(warnings.len() == 1 && warnings[0].starts_with("store.condition-ignored: "), "{warnings:?}");
        // The smallest object is sent twice, and of the later archives none.
        assert_eq!(sent, [1 + 1 + 4 + 1, 4 + 1, 4 + 1]);
        // What is there already is read once at most, keybox and manifest with it.
        assert!(again == [0, 0, 0] || again == [6, 5, 5], "{again:?}");
    }
}

#[tokio::test]
async fn a_copy_that_dies_at_any_call_is_no_archive_and_the_next_one_goes_on() {
    let (from, receipt) = made(true).await;
    let source = objects(&from).await;
    let mut died = 0;
    for when in [When::Before, When::After] {
        for number in 1.. {
            let (faults, to, below) = careless();
            faults.crash_at(number, when);
            let finished = tokio::select! {
                copied = transfer(&from, &to, &receipt.id) => copied.map(drop),
                () = faults.crashed() => { died += 1; Err(Error::Internal { why: "it died".to_owned() }) }
            };
            let there = objects(&below).await;
            let committed = there.contains_key(&receipt.id.manifest());
            assert!(!committed || there == source, "{number} {when:?}: a manifest without all of the archive");
            let (_faults, to) = overwriting(&below);
            transfer(&from, &to, &receipt.id).await.unwrap();
            assert_eq!(objects(&below).await, source, "{number} {when:?}");
            if finished.is_ok() {
                break;
            }
        }
    }
    assert!(died > 30, "{died}");
}

#[tokio::test]
async fn what_is_there_under_a_name_is_never_overwritten() {
    let (from, receipt) = made(true).await;
    let source = objects(&from).await;
    for taken in source.keys() {
        // Bytes of the same number tell apart whoever looks at sizes alone; and a name that has nothing else of the archive beside it.
        for theirs in [others(&source[taken]), Bytes::from_static(b"theirs")] {
            for beside in [false, true] {
                let (_faults, to, below) = careless();
                if beside {
                    for (name, bytes) in source.iter().filter(|(name, _)| *name != taken) {
                        put(&below, name, bytes.clone()).await;
                    }
                }
                put(&below, taken, theirs.clone()).await;
                let error = transfer(&from, &to, &receipt.id).await.unwrap_err();
                assert_eq!(error.code(), "name.taken", "{taken}: {error}");
                assert!(error.to_string().contains(taken.as_str()), "{error}");
                assert!(below.get(taken, u64::MAX).await.unwrap().unwrap() == theirs, "{taken} was overwritten");
                let committed = below.head(&receipt.id.manifest()).await.unwrap().is_some();
                assert!(beside || !committed || *taken == receipt.id.manifest());
            }
        }
    }
}

#[tokio::test]
async fn an_archive_that_no_manifest_vouches_for_overwrites_nothing_either() {
    let from = Store::memory();
    let password = Password::new(b"correct horse".to_vec());
    let format = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password, single: false };
    let receipt = back_up(&from, &content(1_500_000, true), options(format)).await.unwrap();
    from.delete(&receipt.id.manifest()).await.unwrap();
    put(&from, &receipt.id.manifest(), "{\"backup_id\": 17}\n").await;
    let part = receipt.id.part(1);
    let bytes = from.get(&part, u64::MAX).await.unwrap().unwrap();
    let (_faults, to, below) = careless();
    put(&below, &part, others(&bytes)).await;
    let error = transfer(&from, &to, &receipt.id).await.unwrap_err();
    assert_eq!(error.code(), "name.taken", "{error}");
    assert!(below.get(&part, u64::MAX).await.unwrap().unwrap() == others(&bytes));
    assert!(below.head(&receipt.id.manifest()).await.unwrap().is_none());
}

#[tokio::test]
async fn another_writer_in_the_middle_is_noticed_before_the_manifest() {
    let (from, receipt) = made(false).await;
    // Put 1 is part 0 and put 2 the same again; parts 1 to 3 follow.
    for number in [2, 3, 4, 5] {
        let (faults, to, below) = careless();
        faults.intrude(number, move |name, bytes| (name.to_owned(), others(bytes)));
        let error = transfer(&from, &to, &receipt.id).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{number}: {error}");
        assert!(below.head(&receipt.id.manifest()).await.unwrap().is_none());

        let (faults, to, below) = careless();
        let beyond = receipt.id.part(7);
        faults.intrude(number, move |_, _| (beyond, Bytes::from_static(b"theirs")));
        let error = transfer(&from, &to, &receipt.id).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{number}: {error}");
        assert!(below.head(&receipt.id.manifest()).await.unwrap().is_none());
    }
    let (faults, to, _) = careless();
    faults.intrude(6, move |name, bytes| {
        assert!(name.ends_with(".json"), "{name}");
        (name.to_owned(), others(bytes))
    });
    assert_eq!(transfer(&from, &to, &receipt.id).await.unwrap_err().code(), "name.taken");
}

#[tokio::test]
async fn two_copies_at_once_are_one() {
    let (from, receipt) = made(true).await;
    let source = objects(&from).await;
    // The other one is ahead by everything, at each moment of ours.
    for number in 1..=6 {
        for name in source.keys() {
            let (faults, to, below) = careless();
            let (name, bytes) = (name.clone(), source[name].clone());
            faults.intrude(number, move |_, _| (name, bytes));
            transfer(&from, &to, &receipt.id).await.unwrap();
            assert_eq!(objects(&below).await, source);
        }
    }
    let (_faults, to, below) = careless();
    let (one, other) = tokio::join!(transfer(&from, &to, &receipt.id), transfer(&from, &to, &receipt.id));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(objects(&below).await, source);
}

#[tokio::test]
async fn who_may_not_list_or_look_is_refused() {
    let (from, receipt) = made(false).await;
    for call in [Call::List, Call::Head] {
        let (faults, to, below) = careless();
        faults.fail_all(call, Failure::Denied);
        let error = transfer(&from, &to, &receipt.id).await.unwrap_err();
        assert_eq!(error.code(), "store.condition-ignored", "{call:?}: {error}");
        assert!(below.head(&receipt.id.manifest()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_copy_that_goes_on_finds_out_as_well() {
    let (from, receipt) = made(false).await;
    let (faults, to, below) = careless();
    // Part 0 is there, so that it is not what tells.
    let first = receipt.id.part(0);
    put(&below, &first, from.get(&first, u64::MAX).await.unwrap().unwrap()).await;
    faults.intrude(2, move |name, bytes| (name.to_owned(), others(bytes)));
    assert_eq!(transfer(&from, &to, &receipt.id).await.unwrap_err().code(), "name.taken");
    assert!(below.head(&receipt.id.manifest()).await.unwrap().is_none());
}

#[tokio::test]
async fn remarks_and_reports_on_a_copy_are_no_strangers() {
    let (from, receipt) = made(false).await;
    let (_faults, to, below) = careless();
    for tail in ["hold.1740130000123", "verified.1740130000124", "note.1740130000125"] {
        put(&below, &format!("{}.{tail}", receipt.id), "whatever it says").await;
    }
    transfer(&from, &to, &receipt.id).await.unwrap();
    assert_eq!(objects(&below).await.len(), 3 + 5);
}
