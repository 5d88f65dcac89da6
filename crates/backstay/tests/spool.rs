//! A backup by way of a spool: the source goes on while the store is away, and an upload that was cut goes on after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{back_up, content, context, native, objects, raw_keyring, restored};
use backstay::backup::BackupOptions;
use backstay::catalog::{self, Filter};
use backstay::copy::CopyOptions;
use backstay::keys::Encryption;
use backstay::outbox::Outbox;
use backstay::policy::ReadPolicy;
use backstay::resume::{Resumed, resume};
use backstay::source::Source;
use backstay::verify::{Depth, verify};
use backstay::{Error, Silent, backup};
use backstay_format::schedule::{Secret, sha256};
use backstay_store::{RetryOptions, Store};
use backstay_testkit::faults::{Call, Failure, Faults, When};
use bytes::Bytes;

const ROOM: u64 = 1 << 30;

type Objects = BTreeMap<String, Bytes>;

fn by_way_of(spool: &Arc<Outbox>) -> BackupOptions {
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.part_size = Some(70_000);
    options.spool = Some(Arc::clone(spool));
    options
}

/// A spool in memory, and the memory.
fn spool(room: u64) -> (Store, Arc<Outbox>) {
    let store = Store::memory();
    (store.clone(), Arc::new(Outbox::over(store, room)))
}

/// A store that never tries again, what is behind it, and its faults.
fn faulty() -> (Store, Store, Faults) {
    let (plain, faults) = (Store::memory(), Faults::new());
    let store = plain.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
    (plain, store, faults)
}

async fn store_of(objects: &Objects) -> Store {
    let store = Store::memory();
    for (name, bytes) in objects {
        store.create(name, bytes.clone(), sha256(bytes)).await.unwrap();
    }
    store
}

async fn finish(store: &Store, spool: &Arc<Outbox>) -> Result<Vec<Resumed>, Error> {
    resume(store, spool, &CopyOptions::default(), &context(), Arc::new(Silent)).await
}

/// Every archive of the store is whole and holds one of these contents; how many there are.
async fn committed(store: &Store, contents: &[Vec<u8>]) -> usize {
    let listed = catalog::list(store, &Filter::default(), false).await.unwrap();
    for entry in &listed {
        let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
        let report = verify(store, &entry.id, &raw_keyring(), Depth::Deep, &policy, &context(), silent).await.unwrap();
        assert!(report.is_good(), "{:?}", report.findings);
        assert!(contents.contains(&restored(store, &entry.id, &raw_keyring()).await));
    }
    listed.len()
}

#[tokio::test]
async fn everything_arrives_and_nothing_stays_in_the_spool() {
    let ((held, spool), store) = (spool(ROOM), Store::memory());
    for bytes in [content(1_000_000, true), Vec::new()] {
        let made = back_up(&store, &bytes, by_way_of(&spool)).await.unwrap();
        assert!(restored(&store, &made.id, &raw_keyring()).await == bytes);
        assert!(objects(&held).await.is_empty());
    }
    assert!(finish(&store, &spool).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_source_ends_while_the_store_is_away_and_the_upload_goes_on_later() {
    let bytes = content(1_000_000, true);
    for number in [1, 2, 3, 8] {
        let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
        faults.fail(Call::Put, number..=usize::MAX, When::Before, Failure::Lost);
        assert_eq!(back_up(&store, &bytes, by_way_of(&spool)).await.unwrap_err().code(), "store.failed");
        assert_eq!(committed(&plain, &[]).await, 0);
        let there = objects(&held).await;
        assert!(there.keys().filter(|name| name.ends_with(".json")).count() == 2, "{:?}", there.keys());
        // Nor does it get far while the store stays away.
        assert_eq!(finish(&store, &spool).await.unwrap_err().code(), "store.failed");
        faults.clear();
        let resumed = finish(&store, &spool).await.unwrap();
        let [done] = &resumed[..] else { panic!("{resumed:?}") };
        assert!(restored(&plain, &done.receipt.id, &raw_keyring()).await == bytes);
        assert!(done.sent > 0 && done.sent <= done.receipt.stored && !done.receipt.unconfirmed);
        assert!(objects(&held).await.is_empty());
        // What was in the spool is what is in the store, to the byte; and the receipt is that archive's.
        let stored = objects(&plain).await;
        assert!(
            there.iter().filter(|(name, _)| !name.contains("unconfirmed")).all(|(name, bytes)| stored[name] == bytes)
        );
        let (policy, silent) =
            (ReadPolicy { receipt: Some(done.receipt.clone()), ..ReadPolicy::default() }, Arc::new(Silent));
        let id = &done.receipt.id;
        assert!(verify(&plain, id, &raw_keyring(), Depth::Deep, &policy, &context(), silent).await.unwrap().is_good());
    }
}

#[tokio::test]
async fn a_store_that_comes_back_before_the_end_gets_everything() {
    let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
    faults.fail(Call::Put, 4..=6, When::Before, Failure::Lost);
    let bytes = content(1_000_000, true);
    let made = back_up(&store, &bytes, by_way_of(&spool)).await.unwrap();
    assert!(faults.calls(Call::Put) > 6 && restored(&plain, &made.id, &raw_keyring()).await == bytes);
    assert!(objects(&held).await.is_empty());
}

#[tokio::test]
async fn what_will_not_pass_ends_the_run_at_once_and_the_spool_is_cleared() {
    let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
    faults.fail(Call::Put, 4..=usize::MAX, When::Before, Failure::Denied);
    assert_eq!(back_up(&store, &content(5_000_000, true), by_way_of(&spool)).await.unwrap_err().code(), "store.denied");
    assert_eq!(committed(&plain, &[]).await, 0);
    assert!(objects(&held).await.is_empty());
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_since_a_later_run_could_not_account_for_it() {
    let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
    faults.ignore_conditions();
    let error = back_up(&store, &content(500_000, true), by_way_of(&spool)).await.unwrap_err();
    assert_eq!(error.code(), "store.condition-ignored");
    assert_eq!(committed(&plain, &[]).await, 0);
    assert!(objects(&held).await.is_empty());
}

#[tokio::test]
async fn a_source_that_fails_leaves_nothing_in_the_spool() {
    let ((held, spool), store) = (spool(ROOM), Store::memory());
    let source = Source::Command(["sh", "-c", "head -c 300000 /dev/urandom; exit 3"].map(Into::into).to_vec());
    let error = backup(&store, source, by_way_of(&spool), &context(), Arc::new(Silent)).await.unwrap_err();
    assert_eq!(error.code(), "source.failed");
    assert!(objects(&held).await.is_empty());
    assert_eq!(committed(&store, &[]).await, 0);
}

#[tokio::test]
async fn a_full_spool_holds_the_source_back() {
    const SMALL: u64 = 400_000;
    let ((held, spool), (_, store, faults)) = (spool(SMALL), faulty());
    // Part 0 is sent twice; then the store stands still.
    faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Hangs);
    let bytes = content(8_000_000, true);
    let mut options = by_way_of(&spool);
    options.uploads = 2;
    let watching = async {
        let mut most = 0;
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            most = most.max(objects(&held).await.values().map(|bytes| bytes.len() as u64).sum());
        }
        most
    };
    let most = tokio::select! {
        most = watching => most,
        _ = back_up(&store, &bytes, options) => unreachable!("the store never answers"),
    };
    assert!(most <= SMALL && most > SMALL - 70_000, "{most}");
    assert_eq!(faults.calls(Call::Put), 4, "uploads in flight");
}

#[tokio::test]
async fn a_full_spool_before_a_store_that_is_gone_ends_the_run_with_the_stores_fault() {
    let ((held, spool), (plain, store, faults)) = (spool(400_000), faulty());
    faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
    assert_eq!(back_up(&store, &content(8_000_000, true), by_way_of(&spool)).await.unwrap_err().code(), "store.failed");
    assert!(objects(&held).await.is_empty());
    assert_eq!(committed(&plain, &[]).await, 0);
    let tiny = Arc::new(Outbox::over(Store::memory(), 1000));
    let refused = back_up(&plain, b"x", by_way_of(&tiny)).await.unwrap_err();
    assert!(refused.code() == "usage.arguments" && refused.to_string().contains("room for 1000 bytes"), "{refused}");
}

#[tokio::test]
async fn a_backup_that_dies_at_any_call_is_resumed_whole_or_cleared_away() {
    let (one, two) = (content(250_000, true), content(100_000, true));
    let (mut whole, mut none) = (0, 0);
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let (plain, held, faults) = (Store::memory(), Store::memory(), Faults::new());
            // One process: the calls to the spool and to the store are counted together.
            let mortal = |store: &Store| {
                store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never())
            };
            let dying = Arc::new(Outbox::over(mortal(&held), ROOM));
            let store = mortal(&plain);
            faults.crash_at(number, when);
            got_through = tokio::select! {
                made = back_up(&store, &one, by_way_of(&dying)) => made.is_ok(),
                () = faults.crashed() => false,
            };
            let before = committed(&plain, std::slice::from_ref(&one)).await;
            let complete = objects(&held).await.keys().any(|name| name.ends_with(".json") && !name.contains("unconf"));
            let next = Arc::new(Outbox::over(held.clone(), ROOM));
            let resumed = finish(&plain, &next).await.unwrap();
            assert_eq!(resumed.len(), usize::from(complete));
            let after = committed(&plain, std::slice::from_ref(&one)).await;
            assert_eq!(after, usize::from(before == 1 || complete), "{number} {when:?}");
            back_up(&plain, &two, by_way_of(&next)).await.unwrap();
            assert_eq!(committed(&plain, &[one.clone(), two.clone()]).await, after + 1);
            assert!(objects(&held).await.is_empty(), "{number} {when:?}");
            (whole, none) = (whole + after, none + 1 - after);
        }
        if got_through {
            break;
        }
        assert!(number < 500, "it does not end");
    }
    assert!(whole > 10 && none > 10, "{whole} {none}");
}

#[tokio::test]
async fn a_resume_that_dies_at_any_call_is_resumed() {
    let bytes = content(250_000, true);
    let ((held, waiting), (plain, store, faults)) = (spool(ROOM), faulty());
    faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
    back_up(&store, &bytes, by_way_of(&waiting)).await.unwrap_err();
    let (spooled, stored) = (objects(&held).await, objects(&plain).await);
    assert!(stored.len() == 1 && spooled.len() > 4);
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let (plain, held, faults) = (store_of(&stored).await, store_of(&spooled).await, Faults::new());
            let mortal = |store: &Store| {
                store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never())
            };
            let dying = Arc::new(Outbox::over(mortal(&held), ROOM));
            let store = mortal(&plain);
            faults.crash_at(number, when);
            got_through = tokio::select! {
                resumed = finish(&store, &dying) => resumed.is_ok(),
                () = faults.crashed() => false,
            };
            committed(&plain, std::slice::from_ref(&bytes)).await;
            let next = Arc::new(Outbox::over(held.clone(), ROOM));
            finish(&plain, &next).await.unwrap();
            assert_eq!(committed(&plain, std::slice::from_ref(&bytes)).await, 1, "{number} {when:?}");
            finish(&plain, &next).await.unwrap();
            assert!(objects(&held).await.is_empty(), "{number} {when:?}");
        }
        if got_through {
            assert!(number > 12, "{number}");
            return;
        }
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_confirmed_is_in_the_manifest_whoever_finishes() {
    for later in [false, true] {
        let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
        let brief = || store.clone().with_retry(RetryOptions::brief());
        for call in [Call::Head, Call::Get, Call::List] {
            faults.fail_all(call, Failure::Denied);
        }
        if later {
            faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
            back_up(&store, &content(250_000, true), by_way_of(&spool)).await.unwrap_err();
            faults.clear();
            for call in [Call::Head, Call::Get, Call::List] {
                faults.fail_all(call, Failure::Denied);
            }
        }
        let lost = faults.calls(Call::Put) + if later { 1 } else { 3 };
        faults.fail(Call::Put, lost..=lost, When::After, Failure::Lost);
        let (id, unconfirmed) = if later {
            let done = finish(&brief(), &spool).await.unwrap().remove(0);
            (done.receipt.id, done.receipt.unconfirmed)
        } else {
            let made = back_up(&brief(), &content(250_000, true), by_way_of(&spool)).await.unwrap();
            (made.id, made.unconfirmed)
        };
        assert!(unconfirmed);
        let manifest = plain.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
        assert!(String::from_utf8(manifest.to_vec()).unwrap().contains("\"unconfirmed\":true"), "{later}");
        assert_eq!(committed(&plain, &[content(250_000, true)]).await, 1);
        assert!(objects(&held).await.is_empty());
    }
}

#[tokio::test]
async fn a_damaged_spool_is_noticed_and_nothing_is_committed() {
    let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
    faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
    back_up(&store, &content(250_000, true), by_way_of(&spool)).await.unwrap_err();
    faults.clear();
    let mut there = objects(&held).await;
    let name = there.keys().find(|name| name.ends_with("-2")).unwrap().clone();
    let mut bytes = there[&name].to_vec();
    bytes[40_000] ^= 1;
    there.insert(name.clone(), bytes.into());
    let bad = Arc::new(Outbox::over(store_of(&there).await, ROOM));
    let error = finish(&store, &bad).await.unwrap_err();
    assert!(error.code() == "io.failed" && error.to_string().contains(&name), "{error}");
    there.remove(&name);
    let bad = Arc::new(Outbox::over(store_of(&there).await, ROOM));
    assert_eq!(finish(&store, &bad).await.unwrap_err().code(), "store.failed");
    assert_eq!(committed(&plain, &[]).await, 0);
}

#[tokio::test]
async fn an_archive_that_cannot_be_finished_does_not_keep_others_from_it() {
    let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
    let mut contents = Vec::new();
    for size in [100_000, 200_000, 300_000] {
        let before = faults.calls(Call::Put);
        faults.fail(Call::Put, before + 1..=before + 100, When::Before, Failure::Lost);
        contents.push(content(size, true));
        back_up(&store, &contents[contents.len() - 1], by_way_of(&spool)).await.unwrap_err();
        faults.clear();
    }
    let ids: Vec<_> =
        objects(&held).await.into_keys().filter_map(|name| Some(name.strip_suffix("-0")?.to_owned())).collect();
    assert_eq!(ids.len(), 3);
    // Somebody has an id by now.
    store.create(&format!("{}-0", ids[0]), "another's".into(), sha256(b"another's")).await.unwrap();
    assert_eq!(finish(&store, &spool).await.unwrap_err().code(), "name.taken");
    assert_eq!(committed(&plain, &contents).await, 2);
    assert!(objects(&held).await.keys().all(|name| name.starts_with(&ids[0])));
    // While the store is away, one attempt is enough.
    faults.fail_all(Call::Put, Failure::Lost);
    let before = faults.calls(Call::Put);
    assert_eq!(finish(&store, &spool).await.unwrap_err().code(), "store.failed");
    assert!(faults.calls(Call::Put) - before <= 4);
}

#[tokio::test]
async fn two_runs_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("spool");
    let first = Arc::new(Outbox::open(&path, ROOM).await.unwrap());
    let refused = Outbox::open(&path, ROOM).await.unwrap_err();
    assert_eq!(refused.code(), "store.locked");
    let (store, bytes) = (Store::memory(), content(1_000_000, true));
    let made = back_up(&store, &bytes, by_way_of(&first)).await.unwrap();
    assert!(restored(&store, &made.id, &raw_keyring()).await == bytes);
    drop(first);
    // What a killed run was writing here goes too.
    let staged = path.join(".backstay-tmp").join("half-of-a-part");
    std::fs::write(&staged, "x").unwrap();
    let next = Arc::new(Outbox::open(&path, ROOM).await.unwrap());
    assert!(finish(&store, &next).await.unwrap().is_empty() && !staged.exists());
}
