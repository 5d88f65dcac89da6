//! A backup by way of a spool: the source goes on while the store is away, and an upload that was cut goes on after it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{back_up, content, context, native, objects, open, raw_keyring, restored};
use backstay::backup::BackupOptions;
use backstay::backup::spool::Spool;
use backstay::catalog::{self, Filter};
use backstay::copy::CopyOptions;
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::resume::{Leftovers, Resumed, resume};
use backstay::source::Source;
use backstay::verify::{Depth, verify};
use backstay::{Error, Silent, backup};
use backstay_format::ArchiveId;
use backstay_format::schedule::{Secret, sha256};
use backstay_store::{Environment, RetryOptions, Store, StoreOptions};
use backstay_testkit::faults::{Call, Failure, Faults, When};
use bytes::Bytes;

const ROOM: u64 = 1 << 30;

type Objects = BTreeMap<String, Bytes>;

fn by_way_of(spool: &Arc<Spool>) -> BackupOptions {
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.part_size = Some(70_000);
    options.spool = Some(Arc::clone(spool));
    options
}

/// A spool in memory, and the memory.
fn spool(room: u64) -> (Store, Arc<Spool>) {
    let store = Store::memory();
    (store.clone(), Arc::new(Spool::over(store, room)))
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

async fn finish(store: &Store, spool: &Arc<Spool>) -> Result<Vec<Resumed>, Error> {
    resume(store, spool, Leftovers::All, &CopyOptions::default(), &context(), Arc::new(Silent)).await
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

/// Whether this archive is whole.
async fn committed_at(store: &Store, id: &ArchiveId) -> bool {
    let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
    verify(store, id, &raw_keyring(), Depth::Deep, &policy, &context(), silent).await.unwrap().is_good()
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
        assert_eq!(there.keys().filter(|name| name.ends_with(".store")).count(), 1);
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
            there
                .iter()
                .filter(|(name, _)| !name.contains("unconfirmed") && !name.ends_with(".store"))
                .all(|(name, bytes)| stored[name] == bytes)
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

/// An hour, in which nothing is tried again of itself.
const LONG: Duration = Duration::from_secs(3600);

/// A source that gives so much noise and then nothing until the file is there, and then ends well.
fn source_that_rests(bytes: usize, file: &Path) -> Source {
    let script =
        format!("head -c {bytes} /dev/urandom; until [ -e '{}' ]; do sleep 0.02; done; echo end", file.display());
    Source::Command(["sh".into(), "-c".into(), script.into()].to_vec())
}

#[tokio::test]
async fn a_store_that_was_away_gets_parts_again_before_the_source_has_ended() {
    let (held, plain, faults) = (Store::memory(), Store::memory(), Faults::new());
    let store = plain.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
    let spool = Arc::new(Spool::over(held.clone(), ROOM).with_rest(Duration::from_millis(50)));
    // Part 0 is sent twice; then comes an outage.
    faults.fail(Call::Put, 3..=12, When::Before, Failure::Lost);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("end");
    let source = source_that_rests(9 << 20, &file);
    let (options, context) = (by_way_of(&spool), context());
    let backing_up = backup(&store, source, options, &context, Arc::new(Silent));
    // It rests in the middle of a chunk of 2 MiB: of four chunks everything arrives but the part that is begun.
    let watching = async {
        for _ in 0..600 {
            if objects(&plain).await.len() > 110 && objects(&held).await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (sent, waits) = (objects(&plain).await.len(), objects(&held).await.len());
        std::fs::write(&file, "").unwrap();
        (sent, waits)
    };
    let (made, (sent, waits)) = tokio::join!(backing_up, watching);
    assert!(sent > 110 && waits == 0, "{sent} parts were sent before the source ended, {waits} waited");
    assert!(committed_at(&plain, &made.unwrap().id).await);
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_with_one_part_at_a_time_and_not_all_the_time() {
    let ((held, spool), (_, store, faults)) = (spool(ROOM), faulty());
    drop(spool);
    let spool = Arc::new(Spool::over(held, ROOM).with_rest(Duration::from_millis(200)));
    faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
    let folder = tempfile::tempdir().unwrap();
    let source = source_that_rests(9 << 20, &folder.path().join("end"));
    let (options, context) = (by_way_of(&spool), context());
    let _ = tokio::time::timeout(Duration::from_secs(3), backup(&store, source, options, &context, Arc::new(Silent)))
        .await
        .unwrap_err();
    let asked = faults.calls(Call::Put);
    // Twice for part 0, at most four that were under way, and once in 200 ms since.
    assert!((2 + 1 + 3..=2 + 4 + 15).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_full_spool_waits_for_a_store_that_comes_back() {
    // Of what fails, four may be under way at once; the one after them is tried because the spool is full.
    for failing in [1, 4] {
        let (held, plain, faults) = (Store::memory(), Store::memory(), Faults::new());
        let store = plain.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
        let spool = Arc::new(Spool::over(held.clone(), 400_000).with_rest(LONG));
        faults.fail(Call::Put, 3..=2 + failing, When::Before, Failure::Lost);
        let bytes = content(8_000_000, true);
        let mut options = by_way_of(&spool);
        options.uploads = failing;
        let made = back_up(&store, &bytes, options).await.unwrap();
        assert!(restored(&plain, &made.id, &raw_keyring()).await == bytes);
        assert!(objects(&held).await.is_empty());
    }
}

#[tokio::test]
async fn a_full_spool_before_a_store_that_is_gone_ends_the_run_with_the_stores_fault() {
    let ((held, _), (plain, store, faults)) = (spool(400_000), faulty());
    let spool = Arc::new(Spool::over(held.clone(), 400_000).with_rest(LONG));
    faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
    let mut options = by_way_of(&spool);
    options.uploads = 1;
    assert_eq!(back_up(&store, &content(8_000_000, true), options).await.unwrap_err().code(), "store.failed");
    // Part 0 twice, part 1, and one more when the spool was full.
    assert_eq!(faults.calls(Call::Put), 4);
    assert!(objects(&held).await.is_empty());
    assert_eq!(committed(&plain, &[]).await, 0);
    let tiny = Arc::new(Spool::over(Store::memory(), 1000));
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
            let dying = Arc::new(Spool::over(mortal(&held), ROOM));
            let store = mortal(&plain);
            faults.crash_at(number, when);
            got_through = tokio::select! {
                made = back_up(&store, &one, by_way_of(&dying)) => made.is_ok(),
                () = faults.crashed() => false,
            };
            let before = committed(&plain, std::slice::from_ref(&one)).await;
            let complete = objects(&held).await.keys().any(|name| name.ends_with(".json") && !name.contains("unconf"));
            let next = Arc::new(Spool::over(held.clone(), ROOM));
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
            let dying = Arc::new(Spool::over(mortal(&held), ROOM));
            let store = mortal(&plain);
            faults.crash_at(number, when);
            got_through = tokio::select! {
                resumed = finish(&store, &dying) => resumed.is_ok(),
                () = faults.crashed() => false,
            };
            committed(&plain, std::slice::from_ref(&bytes)).await;
            let next = Arc::new(Spool::over(held.clone(), ROOM));
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
    let bad = Arc::new(Spool::over(store_of(&there).await, ROOM));
    let error = finish(&store, &bad).await.unwrap_err();
    assert!(error.code() == "io.failed" && error.to_string().contains(&name), "{error}");
    there.remove(&name);
    let bad = Arc::new(Spool::over(store_of(&there).await, ROOM));
    assert_eq!(finish(&store, &bad).await.unwrap_err().code(), "part.missing");
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
    // Nothing of ours is mixed with what is another's.
    let his: Vec<_> = objects(&plain).await.into_keys().filter(|name| name.starts_with(&ids[0])).collect();
    assert_eq!(his, [format!("{}-0", ids[0])]);
    assert!(objects(&held).await.keys().all(|name| name.starts_with(&ids[0])));
    // While the store is away, one attempt is enough.
    faults.fail_all(Call::Put, Failure::Lost);
    let before = faults.calls(Call::Put);
    assert_eq!(finish(&store, &spool).await.unwrap_err().code(), "store.failed");
    assert!(faults.calls(Call::Put) - before <= 4);
}

#[tokio::test]
async fn parts_of_one_archive_do_not_go_to_two_stores() {
    let bytes = content(250_000, true);
    let ((held, spool), (plain, store, faults)) = (spool(ROOM), faulty());
    faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
    back_up(&store, &bytes, by_way_of(&spool)).await.unwrap_err();
    faults.clear();
    let (before, other) = (objects(&held).await, Store::memory());
    for which in [Leftovers::All, Leftovers::OfThisStore] {
        let refused = resume(&other, &spool, which, &CopyOptions::default(), &context(), Arc::new(Silent)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), "part.missing");
        assert!(refused.to_string().contains("neither in the spool"), "{refused}");
        assert!(refused.hint().unwrap().contains("the store that the interrupted run had"));
        assert!(objects(&other).await.is_empty() && objects(&held).await == before);
    }
    // A part of the same name and another size is not that part.
    let first = objects(&plain).await.into_keys().next().unwrap();
    other.create(&first, "another's".into(), sha256(b"another's")).await.unwrap();
    assert_eq!(finish(&other, &spool).await.unwrap_err().code(), "part.missing");
    assert!(objects(&held).await == before);
    finish(&store, &spool).await.unwrap();
    assert_eq!(committed(&plain, &[bytes]).await, 1);
    assert!(objects(&held).await.is_empty());
}

#[tokio::test]
async fn what_was_made_for_one_store_goes_to_no_other_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = content(250_000, true);
    for noted in [true, false] {
        for asked in [true, false] {
            let ((held, spool), faults) = (spool(ROOM), Faults::new());
            let own = open(&folder.path().join(format!("own-{noted}-{asked}"))).await;
            let other = open(&folder.path().join(format!("other-{noted}-{asked}"))).await;
            let away = own.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
            faults.fail_all(Call::Put, Failure::Lost);
            back_up(&away, &bytes, by_way_of(&spool)).await.unwrap_err();
            let note = objects(&held).await.into_keys().find(|name| name.ends_with(".store")).unwrap();
            if !noted {
                // As earlier versions left it.
                held.delete(&note).await.unwrap();
            }
            let before = objects(&held).await;
            let which = if asked { Leftovers::All } else { Leftovers::OfThisStore };
            let sent = |store: Store| {
                let spool = Arc::clone(&spool);
                async move {
                    let (options, context) = (CopyOptions::default(), context());
                    resume(&store, &spool, which, &options, &context, Arc::new(Silent)).await.unwrap().len()
                }
            };
            if noted && !asked {
                assert_eq!(sent(other.clone()).await, 0);
                assert!(objects(&held).await == before);
                assert_eq!(sent(own.clone()).await, 1);
                assert_eq!(committed(&own, std::slice::from_ref(&bytes)).await, 1);
            } else {
                assert_eq!(sent(other.clone()).await, 1);
                assert_eq!(committed(&other, std::slice::from_ref(&bytes)).await, 1);
            }
            assert!(objects(&held).await.is_empty());
        }
    }
}

#[tokio::test]
async fn directories_whose_names_look_the_same_are_two_stores() {
    use std::os::unix::ffi::OsStrExt as _;
    let pairs: [[&[u8]; 2]; 4] = [
        [b"latin1-\xe9", b"latin1-\xe8"],
        [b"latin1-\xe9", "latin1-\u{fffd}".as_bytes()],
        [b"x", b"x "],
        [b"%E9", b"\xe9"],
    ];
    for names in pairs {
        let folder = tempfile::tempdir().unwrap();
        let mut stores = Vec::new();
        for name in names {
            let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
            std::fs::create_dir(&path).unwrap();
            let there = Store::at_directory(&path);
            let (options, environment) = (StoreOptions::default(), Environment::current());
            let store = Store::open(&there.address(), &options, &environment).await.unwrap();
            assert_eq!(store.is_same_place(&there), Some(true), "{}", there.address());
            stores.push(store);
        }
        let [own, other] = &stores[..] else { panic!("a pair") };
        assert_ne!(own.address(), other.address());
        for (own, other) in [(own, other), (other, own)] {
            let ((_, spool), faults) = (spool(ROOM), Faults::new());
            let away = own.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
            faults.fail_all(Call::Put, Failure::Lost);
            back_up(&away, &content(250_000, true), by_way_of(&spool)).await.unwrap_err();
            for (store, sent) in [(other, 0), (own, 1)] {
                let (which, options) = (Leftovers::OfThisStore, CopyOptions::default());
                let done = resume(store, &spool, which, &options, &context(), Arc::new(Silent)).await.unwrap();
                assert_eq!(done.len(), sent, "{}", store.address());
            }
        }
    }
}

#[tokio::test]
async fn two_runs_do_not_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new").join("spool");
    let first = Arc::new(Spool::open(&path, ROOM, &[]).await.unwrap());
    let refused = Spool::open(&path, ROOM, &[]).await.unwrap_err();
    assert_eq!(refused.code(), "store.locked");
    let (store, bytes) = (Store::memory(), content(1_000_000, true));
    let made = back_up(&store, &bytes, by_way_of(&first)).await.unwrap();
    assert!(restored(&store, &made.id, &raw_keyring()).await == bytes);
    drop(first);
    // What a killed run was writing here goes too.
    let staged = path.join(".backstay-tmp").join("half-of-a-part");
    std::fs::write(&staged, "x").unwrap();
    let next = Arc::new(Spool::open(&path, ROOM, &[]).await.unwrap());
    assert!(finish(&store, &next).await.unwrap().is_empty() && !staged.exists());
}

#[tokio::test]
async fn a_spool_is_where_its_path_says_whatever_characters_that_has() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let names: [&[u8]; 7] = [b"#1", b"a?b", b"%41", b"two words", b"file:x", b"latin1-\xe9", "\u{fc}".as_bytes()];
    for name in names {
        let path = folder.path().join(std::ffi::OsStr::from_bytes(name));
        // What a path that is read as a URL would lead to: the part before, or a name with another spelling.
        let spool = Arc::new(Spool::open(&path, ROOM, &[]).await.unwrap());
        let (_, store, faults) = faulty();
        faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Lost);
        back_up(&store, &content(250_000, true), by_way_of(&spool)).await.unwrap_err();
        let files = std::fs::read_dir(&path).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
        assert!(files > 4, "{}: {files}", path.display());
        faults.clear();
        finish(&store, &spool).await.unwrap();
    }
    let there: std::collections::BTreeSet<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    assert_eq!(there, names.iter().map(|name| name.to_vec()).collect());
}

#[tokio::test]
async fn uploads_of_others_in_a_directory_that_is_no_spool_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("0f7d3f6c-5a3c-4c1a-9d2e-8f1b6f0d3a11-1795294764530-0");
    std::fs::write(&part, "under way").unwrap();
    let refused = Spool::open(folder.path(), ROOM, &[]).await.unwrap_err();
    assert_eq!(refused.code(), "usage.arguments");
    assert!(part.exists() && std::fs::read_dir(folder.path()).unwrap().count() == 1);
}

#[tokio::test]
async fn a_spool_whose_disk_fails_is_told_as_that_and_not_as_a_store() {
    for (call, number) in [(Call::Put, 2), (Call::Get, 3), (Call::Delete, 2), (Call::List, 1)] {
        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
            let (folder, faults) = (tempfile::tempdir().unwrap(), Faults::new());
            let disk = Store::at_directory(folder.path()).with_wrapper(|inner| faults.wrap(inner));
            let spool = Arc::new(Spool::over(disk, ROOM));
            faults.fail(call, number..=usize::MAX, When::Before, Failure::Io(kind));
            let error = back_up(&Store::memory(), &content(500_000, true), by_way_of(&spool)).await.unwrap_err();
            assert_eq!(error.code(), "io.failed", "{call:?}: {error}");
            let hint = error.hint().unwrap();
            assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
            assert_eq!(hint.contains("make room"), kind == std::io::ErrorKind::StorageFull, "{hint}");
            assert!(!hint.contains("DNS"), "{hint}");
        }
    }
}
