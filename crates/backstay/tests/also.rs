//! A backup to two stores: the same archive in both, and in one of them when the other fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{back_up, content, context, native, objects, raw_keyring, recipient, restored};
use backstay::backup::{Also, BackupOptions, Receipt};
use backstay::copy::{CopyOptions, copy};
use backstay::keys::Encryption;
use backstay::source::Source;
use backstay::{Error, Event, Observer, Silent, backup};
use backstay_format::schedule::Secret;
use backstay_store::{RetryOptions, Store};
use backstay_testkit::faults::{Call, Failure, Faults, When};
use backstay_testkit::{Record, memory_at};

fn to_both(second: &Store, required: bool) -> BackupOptions {
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.also = Some(Also { store: second.clone(), required });
    options
}

/// A store in memory that nothing but its URL tells from others, and its faults.
fn faulty(url: &str) -> (Store, Store, Faults) {
    let faults = Faults::new();
    let plain = memory_at(url);
    let wrapped = plain.clone().with_wrapper(|objects| faults.wrap(objects)).with_retry(RetryOptions::never());
    (plain, wrapped, faults)
}

/// The warnings of a run.
#[derive(Default)]
struct Warnings(Mutex<Vec<(Option<&'static str>, String)>>);

impl Observer for Warnings {
    fn event(&self, event: &Event) {
        // One of these tests is far in the future, and draws the ids of its process with it: that has a warning, without a code.
        if let Event::Warning { code: code @ Some(_), text } = event {
            self.0.lock().unwrap().push((*code, text.clone()));
        }
    }
}

async fn watched(store: &Store, bytes: &[u8], options: BackupOptions) -> (Result<Receipt, Error>, Arc<Warnings>) {
    let warnings = Arc::new(Warnings::default());
    let source = Source::Reader(Box::new(std::io::Cursor::new(bytes.to_vec())));
    let watching: Arc<dyn Observer> = warnings.clone();
    (backup(store, source, options, &context(), watching).await, warnings)
}

#[tokio::test]
async fn both_stores_hold_the_same_objects_and_each_part_is_sent_once_to_each() {
    let (first, second) = (Record::default(), Record::default());
    let (one, two) = (first.store(), second.store());
    let bytes = content(3_000_000, true);
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let mut options = native(slots);
    options.also = Some(Also { store: two.clone(), required: false });
    let made = back_up(&one, &bytes, options).await.unwrap();
    assert!(made.missed.is_empty() && made.parts > 4);
    let there = objects(&one).await;
    assert!(there.contains_key(&made.id.manifest()) && there.contains_key(&made.id.keybox(0)));
    assert_eq!(there, objects(&two).await);
    for record in [first, second] {
        let mut puts = BTreeMap::new();
        for asked in record.taken().into_iter().filter(|asked| asked.call == Call::Put) {
            *puts.entry(asked.name).or_insert(0) += 1;
        }
        // The first part asks whether the store keeps conditions.
        assert_eq!(puts.remove(&made.id.part(0)), Some(2));
        assert!(puts.values().all(|puts| *puts == 1), "{puts:?}");
    }
}

#[tokio::test]
async fn a_store_that_fails_anywhere_leaves_a_whole_archive_in_the_other_and_copy_makes_up_for_it() {
    let bytes = content(2_000_000, true);
    let mut degraded = 0;
    for call in [Call::Put, Call::List] {
        for failing in [0, 1] {
            for number in 1.. {
                let (stores, faults): (Vec<_>, Vec<_>) = ["first:", "second:"]
                    .map(faulty)
                    .into_iter()
                    .map(|(plain, wrapped, faults)| ((plain, wrapped), faults))
                    .unzip();
                faults[failing].fail(call, number..=usize::MAX, When::Before, Failure::Lost);
                let (made, warnings) = watched(&stores[0].1, &bytes, to_both(&stores[1].1, false)).await;
                let made = made.unwrap();
                let (good, bad) = (&stores[1 - failing].0, &stores[failing].0);
                assert!(restored(good, &made.id, &raw_keyring()).await == bytes);
                if faults[failing].calls(call) < number {
                    assert!(made.missed.is_empty());
                    break;
                }
                let there = objects(bad).await;
                assert_eq!(there.contains_key(&made.id.manifest()), made.missed.is_empty(), "{call:?} {number}");
                if let [missed] = &made.missed[..] {
                    degraded += 1;
                    assert_eq!((missed.store.as_str(), missed.code), (bad.url(), "store.failed"));
                    let warnings = warnings.0.lock().unwrap();
                    assert_eq!(warnings.len(), 1, "{warnings:?}");
                    assert!(warnings[0].1.ends_with(&format!("the backup goes on with {} alone", good.url())));
                }
                copy(good, bad, &made.id, &CopyOptions::default(), &context(), Arc::new(Silent)).await.unwrap();
                assert_eq!(objects(good).await, objects(bad).await);
            }
        }
    }
    // Each part, each manifest.
    assert!(degraded >= 10, "{degraded}");
}

#[tokio::test]
async fn a_second_store_that_ignores_conditions_is_accounted_for_and_gets_the_archive_too() {
    let (first, (plain, second, faults)) = (Store::memory(), faulty("second:"));
    faults.ignore_conditions();
    let bytes = content(2_000_000, true);
    let (made, warnings) = watched(&first, &bytes, to_both(&second, false)).await;
    assert!(made.unwrap().missed.is_empty());
    assert_eq!(objects(&first).await, objects(&plain).await);
    let warnings = warnings.0.lock().unwrap();
    assert!(
        matches!(&warnings[..], [(Some("store.condition-ignored"), text)] if text.starts_with("second:")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn when_both_are_required_one_failure_ends_the_run_and_neither_has_an_archive() {
    let bytes = content(2_000_000, true);
    for failing in [0, 1] {
        let sides = ["first:", "second:"].map(faulty);
        sides[failing].2.fail(Call::Put, 4..=usize::MAX, When::Before, Failure::Denied);
        let error = back_up(&sides[0].1, &bytes, to_both(&sides[1].1, true)).await.unwrap_err();
        assert_eq!(error.code(), "store.denied");
        assert!(error.to_string().starts_with(sides[failing].0.url()), "{error}");
        for (plain, ..) in &sides {
            assert!(objects(plain).await.keys().all(|name| !name.ends_with(".json")));
        }
    }
}

#[tokio::test]
async fn when_both_fail_the_run_ends_with_the_faults_of_both() {
    let sides = ["first:", "second:"].map(faulty);
    sides[0].2.fail(Call::Put, 5..=usize::MAX, When::Before, Failure::Denied);
    sides[1].2.fail(Call::Put, 4..=usize::MAX, When::Before, Failure::Lost);
    let (made, warnings) = watched(&sides[0].1, &content(4_000_000, true), to_both(&sides[1].1, false)).await;
    assert_eq!(made.unwrap_err().code(), "store.denied");
    let codes: Vec<_> = warnings.0.lock().unwrap().iter().map(|(code, _)| *code).collect();
    assert!(codes.iter().all(|code| *code == Some("store.failed")) && !codes.is_empty(), "{codes:?}");
    for (plain, ..) in &sides {
        assert!(objects(plain).await.keys().all(|name| !name.ends_with(".json")));
    }
}

#[tokio::test]
async fn an_id_that_is_taken_in_one_store_ends_the_run_in_both() {
    let (first, second) = (Store::memory(), faulty("second:"));
    let clock = jiff::Timestamp::from_millisecond(4_000_000_000_000).unwrap();
    let context = context().with_clock(move || clock);
    let options = to_both(&second.1, false);
    let id = backstay_format::ArchiveId::new(&options.guid, 4_000_000_000_000).unwrap();
    second.2.beat(&id.part(0), "another writer's");
    let source = Source::Reader(Box::new(std::io::Cursor::new(content(10_000, true))));
    let error = backup(&first, source, options, &context, Arc::new(Silent)).await.unwrap_err();
    assert_eq!(error.code(), "name.taken");
    assert!(!objects(&first).await.contains_key(&id.manifest()));
}

#[tokio::test]
async fn a_store_that_stands_still_holds_the_other_back_and_memory_stays_bounded() {
    let (_, first, ahead) = faulty("first:");
    let (_, second, stuck) = faulty("second:");
    stuck.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Hangs);
    let mut options = to_both(&second, false);
    options.uploads = 2;
    let bytes = content(8 << 20, true);
    let run = back_up(&first, &bytes, options);
    let watching = async {
        while ahead.calls(Call::Put) < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        (ahead.calls(Call::Put), stuck.calls(Call::Put))
    };
    let calls = tokio::select! {
        calls = watching => calls,
        _ = run => unreachable!("the second store never answers"),
    };
    // Part 0 twice, and two parts that wait for the second store.
    assert_eq!(calls, (4, 4));
}
