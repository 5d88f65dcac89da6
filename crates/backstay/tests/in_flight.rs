//! How much is under way at the same time is what was allowed, no less and no more.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{back_up, content, context, native, raw_keyring, read};
use backstay::copy::{CopyOptions, copy};
use backstay::keys::Encryption;
use backstay::{RestoreOptions, Silent, effort};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, Faults, When};

/// Runs something that gets stuck, until it has made so many calls and then for a moment more; how many it has made.
async fn stuck<T>(work: impl Future<Output = T>, faults: &Faults, call: Call, expected: usize) -> usize {
    let watching = async {
        while faults.calls(call) < expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        faults.calls(call)
    };
    tokio::select! {
        calls = watching => calls,
        _ = work => unreachable!("nothing is answered"),
    }
}

#[tokio::test]
async fn as_many_uploads_are_in_flight_as_are_allowed() {
    let bytes = content(8 << 20, true);
    for uploads in [1, 2, 5] {
        let faults = Faults::new();
        let store = Store::memory().with_wrapper(|objects| faults.wrap(objects));
        let mut options = native(Encryption::Raw(Secret([7; 32])));
        options.uploads = uploads;
        options.level = effort::Level::Fixed(1);
        // Part 0 is sent alone, and twice, before anything else.
        faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Hangs);
        let calls = stuck(back_up(&store, &bytes, options), &faults, Call::Put, 2 + uploads).await;
        assert_eq!(calls, 2 + uploads, "{uploads} uploads");
    }
}

#[tokio::test]
async fn as_many_parts_are_copied_at_once_as_are_allowed_and_fit_the_memory() {
    let from = Store::memory();
    let made = back_up(&from, &content(8 << 20, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    let part = from.head(&made.id.part(0)).await.unwrap().unwrap().size;
    for (transfers, memory, at_once) in [(1, 128 << 20, 1), (3, 128 << 20, 3), (8, 2 * part, 2)] {
        let faults = Faults::new();
        let to = Store::memory().with_wrapper(|objects| faults.wrap(objects));
        // Part 0 is sent alone, and twice.
        faults.fail(Call::Put, 3..=usize::MAX, When::Before, Failure::Hangs);
        let (options, context) = (CopyOptions { memory, transfers }, context());
        let copying = copy(&from, &to, &made.id, &options, &context, Arc::new(Silent));
        assert_eq!(stuck(copying, &faults, Call::Put, 2 + at_once).await, 2 + at_once, "{transfers} in {memory}");
    }
}

#[tokio::test]
async fn fewer_uploads_and_smaller_fetches_are_in_flight_with_little_memory() {
    let (store, faults) = (Store::memory(), Faults::new());
    let made = back_up(&store, &content(24 << 20, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    let wrapped = store.with_wrapper(|objects| faults.wrap(objects));
    let gets = async |memory: u64| {
        faults.clear();
        let before = faults.calls(Call::Get);
        // Manifest and header are answered.
        faults.fail(Call::Get, before + 3..=usize::MAX, When::Before, Failure::Hangs);
        let options = RestoreOptions { memory, fetches: 64, ..RestoreOptions::default() };
        let least = before + 3;
        stuck(read(&wrapped, &made.id, &raw_keyring(), &options), &faults, Call::Get, least).await - before - 2
    };
    let (much, little) = (gets(256 << 20).await, gets(16 << 20).await);
    // A third of the memory holds sealed and opened runs of half a MiB; a header may be on its way too.
    assert!(little < much && little <= 16 / 3 + 1, "{little} of {much}");
}
