//! How much is under way at the same time is what was allowed, no less and no more.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{back_up, content, context, native, objects, options, raw_keyring, read};
use backstay::backup::Format;
use backstay::copy::{CopyOptions, copy};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::reassemble::{ReassembleOptions, reassemble};
use backstay::verify::{Depth, verify};
use backstay::{RestoreOptions, Silent, effort};
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::{Secret, sha256};
use backstay_store::Store;
use backstay_testkit::Record;
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

#[tokio::test]
async fn a_restore_asks_a_slow_store_for_as_much_at_once_as_fits_the_memory() {
    let (store, faults) = (Store::memory(), Faults::new());
    let made = back_up(&store, &content(24 << 20, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    let wrapped = store.with_wrapper(|objects| faults.wrap(objects));
    // A third of the memory for runs of a 64th of it, sealed and opened: ten, or, of the largest runs, sixteen at most.
    for (memory, expected) in [(128 << 20, 10), (32 << 20, 10), (1 << 30, 16)] {
        faults.clear();
        let before = faults.calls(Call::Get) + 2;
        // Manifest and header are answered.
        faults.fail(Call::Get, before + 1..=usize::MAX, When::Before, Failure::Hangs);
        let options = RestoreOptions { memory, ..RestoreOptions::default() };
        let keyring = raw_keyring();
        let reading = read(&wrapped, &made.id, &keyring, &options);
        assert_eq!(stuck(reading, &faults, Call::Get, before + expected).await - before, expected, "{memory}");
    }
}

/// A sealed archive of the openssl format, and the key to it.
async fn sealed_openssl(store: &Store, size: usize, part_size: u64) -> (backstay::Receipt, Keyring) {
    let password = || Password::new(b"KEY".to_vec());
    let kdf = Kdf::BytesToKey(Digest::Md5);
    let mut options = options(Format::Openssl { kdf, password: password(), single: false });
    options.part_size = Some(part_size);
    let made = back_up(store, &content(size, true), options).await.unwrap();
    let mut keyring = Keyring::default();
    keyring.add_password(password());
    (made, keyring)
}

#[tokio::test]
async fn parts_of_a_sealed_openssl_archive_share_what_may_be_in_flight() {
    for (part_size, least) in [(512 << 10, 10), (8 << 20, 8)] {
        let (store, faults) = (Store::memory(), Faults::new());
        let (made, keyring) = sealed_openssl(&store, 24 << 20, part_size).await;
        let wrapped = store.with_wrapper(|objects| faults.wrap(objects));
        // The manifest and the beginning are answered.
        faults.fail(Call::Get, 3..=usize::MAX, When::Before, Failure::Hangs);
        let options = RestoreOptions::default();
        let gets = stuck(read(&wrapped, &made.id, &keyring, &options), &faults, Call::Get, 2 + least).await - 2;
        assert!((least..=10).contains(&gets), "{gets} with parts of {part_size}");
    }
}

#[tokio::test]
async fn a_part_of_a_sealed_openssl_archive_is_fetched_once_if_half_the_memory_holds_it() {
    const PART: u64 = 4 << 20;
    let record = Record::default();
    let store = record.store();
    let (made, keyring) = sealed_openssl(&store, 11 << 20, PART).await;
    assert_eq!(made.parts, 3);
    let size = store.head(&made.id.part(1)).await.unwrap().unwrap().size;
    for (memory, times) in [(8 * size, 1), (4 * size, 1), (2 * size, 1), (2 * size - 2, 2)] {
        drop(record.taken());
        let options = RestoreOptions { memory, ..RestoreOptions::default() };
        assert!(read(&store, &made.id, &keyring, &options).await.unwrap() == content(11 << 20, true));
        let taken = record.taken();
        let name = made.id.part(1);
        let fetched: u64 =
            taken.iter().filter(|asked| asked.call == Call::Get && asked.name == name).map(|asked| asked.bytes).sum();
        assert_eq!(fetched, times * size, "with {memory} bytes of memory");
    }
}

#[tokio::test]
async fn verify_and_reassemble_keep_to_the_memory_of_their_run() {
    let (store, faults) = (Store::memory(), Faults::new());
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.part_size = Some(4 << 20);
    let made = back_up(&store, &content(24 << 20, true), options).await.unwrap();
    let lost = Store::memory();
    for (name, bytes) in objects(&store).await.into_iter().filter(|(name, _)| *name != made.id.manifest()) {
        lost.create(&name, bytes.clone(), sha256(&bytes)).await.unwrap();
    }
    let faulty = |store: &Store| store.clone().with_wrapper(|objects| faults.wrap(objects));
    let (store, lost) = (faulty(&store), faulty(&lost));
    let (policy, keyring, silent) = (ReadPolicy::default(), raw_keyring(), Arc::new(Silent));
    let hang = |answered: usize| {
        faults.clear();
        let before = faults.calls(Call::Get) + answered;
        faults.fail(Call::Get, before + 1..=usize::MAX, When::Before, Failure::Hangs);
        before
    };
    // A third of the first has room for two runs of half a MiB, sealed and opened, that of the second for ten; of the seven parts the header
    // lines are read before anything else, as many at a time.
    assert_eq!(made.parts, 7);
    for (memory, runs, headers) in [(6 << 20, 2, 2), (backstay::layout::MEMORY, 10, 7)] {
        let context = context().with_memory(memory);
        // The manifest is answered, and what unlocks the archive.
        for (depth, answered, expected) in [(Depth::Full, 1, runs), (Depth::Deep, 2, headers)] {
            let before = hang(answered);
            let verifying = verify(&store, &made.id, &keyring, depth, &policy, &context, silent.clone());
            let gets = stuck(verifying, &faults, Call::Get, before + expected).await - before;
            assert_eq!(gets, expected, "{depth:?} with {memory}");
        }
        // The beginning, the first header line and what may stand in the manifest's place are answered.
        let (before, options) = (hang(3), ReassembleOptions::default());
        let mending = reassemble(&lost, &made.id, &keyring, &options, &context, silent.clone());
        let gets = stuck(mending, &faults, Call::Get, before + headers).await - before;
        assert_eq!(gets, headers, "reassemble with {memory}");
    }
}
