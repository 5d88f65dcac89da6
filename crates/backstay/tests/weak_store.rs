//! Stores that are slower, more forgetful or more eager than they say: requests that arrive twice or late, listings that lag behind. What is
//! committed stays whole, and nothing of it is cleared away.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{back_up, content, context, native, raw_keyring, recipient, restored};
use backstay::Silent;
use backstay::backup::BackupOptions;
use backstay::backup::spool::Spool;
use backstay::catalog::{self, Filter, State};
use backstay::gc::{Fate, GcOptions, gc};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::verify::{Depth, verify};
use backstay_format::ArchiveId;
use backstay_format::schedule::{Secret, sha256};
use backstay_store::{RetryOptions, Store};
use backstay_testkit::Faults;
use backstay_testkit::faults::Call;
use futures::TryStreamExt as _;

fn small() -> BackupOptions {
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.part_size = Some(70_000);
    options
}

fn everything() -> GcOptions {
    GcOptions { grace: Duration::ZERO, delete: true, whole: true }
}

/// A store with faults, and the same one without.
fn weak() -> (Faults, Store, Store) {
    let (faults, plain) = (Faults::new(), Store::memory());
    (
        faults.clone(),
        plain.clone().with_wrapper(|objects| faults.wrap(objects)).with_retry(RetryOptions::brief()),
        plain,
    )
}

async fn is_whole(store: &Store, id: &ArchiveId, bytes: &[u8]) {
    let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
    let report = verify(store, id, &raw_keyring(), Depth::Deep, &policy, &context(), silent).await.unwrap();
    assert!(report.is_good(), "{:?}", report.findings);
    assert!(restored(store, id, &raw_keyring()).await == bytes);
}

#[tokio::test]
async fn puts_that_reach_the_store_twice_make_one_archive() {
    let (faults, store, plain) = weak();
    faults.put_twice();
    let bytes = content(400_000, true);
    let made = back_up(&store, &bytes, small()).await.unwrap();
    is_whole(&plain, &made.id, &bytes).await;
    assert_eq!(plain.list("", None).try_collect::<Vec<_>>().await.unwrap().len(), made.parts as usize + 1);
}

#[tokio::test]
async fn puts_that_arrive_after_they_were_given_up_and_sent_again_change_nothing() {
    let bytes = content(400_000, true);
    // Some calls later, which is amid the other parts, after the manifest, and after everything.
    for (first, calls) in [(1, 2), (2, 1), (2, 5), (3, 40), (8, 1), (8, 3)] {
        let (faults, store, plain) = weak();
        faults.put_late(first..=first, calls);
        let made = back_up(&store, &bytes, small()).await.unwrap();
        for _ in 0..calls {
            store.head("x").await.unwrap();
        }
        is_whole(&plain, &made.id, &bytes).await;
    }
}

#[tokio::test]
async fn a_part_that_arrives_after_gc_has_cleared_its_upload_away_is_no_archive_and_goes_with_the_next_one() {
    let (faults, store, plain) = weak();
    let id = back_up(&plain, &content(400_000, true), small()).await.unwrap().id;
    let late = plain.get(&id.part(1), 1 << 20).await.unwrap().unwrap();
    plain.delete(&id.manifest()).await.unwrap();
    plain.delete(&id.part(1)).await.unwrap();
    // Its sender dies before it could send it again.
    faults.put_late(1..=1, 1);
    let dying = store.clone().with_retry(RetryOptions::never());
    dying.create(&id.part(1), late.clone(), sha256(&late)).await.unwrap_err();
    assert_eq!(gc(&plain, &everything(), &context()).await.unwrap().leftovers[0].fate, Fate::Deleted);
    store.head("x").await.unwrap();
    assert!(plain.head(&id.part(1)).await.unwrap().is_some(), "it has not arrived");
    let listed = catalog::list(&plain, &Filter { incomplete: true, ..Filter::default() }, false).await.unwrap();
    assert!(listed.iter().all(|entry| entry.state != State::Committed), "{listed:?}");
    gc(&plain, &everything(), &context()).await.unwrap();
    gc(&plain, &everything(), &context()).await.unwrap();
    assert_eq!(plain.list("", None).try_collect::<Vec<_>>().await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_store_that_takes_its_time_is_waited_for() {
    let (faults, store, plain) = weak();
    faults.delay(Call::Put, Duration::from_millis(300)).delay(Call::List, Duration::from_millis(300));
    let bytes = content(200_000, true);
    let made = back_up(&store, &bytes, small()).await.unwrap();
    is_whole(&plain, &made.id, &bytes).await;
}

#[tokio::test]
async fn gc_does_not_touch_an_archive_whose_manifest_the_listing_does_not_show_yet() {
    let (faults, store, plain) = weak();
    let bytes = content(400_000, true);
    let id = back_up(&plain, &bytes, small()).await.unwrap().id;
    let manifest = plain.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
    plain.delete(&id.manifest()).await.unwrap();
    faults.freeze_listings();
    store.create(&id.manifest(), manifest.clone(), sha256(&manifest)).await.unwrap();
    let told = gc(&store, &everything(), &context()).await.unwrap().leftovers;
    assert_eq!((&told[0].fate, told[0].reason), (&Fate::Kept, "it was committed meanwhile"));
    is_whole(&plain, &id, &bytes).await;
}

#[tokio::test]
async fn an_archive_whose_only_keybox_is_gone_is_not_committed() {
    for spooled in [false, true] {
        let (faults, store, plain) = weak();
        let slots = Encryption::Slots {
            recipients: vec![recipient(&age::x25519::Identity::generate())],
            passphrase: None,
            detached: true,
        };
        let mut options = BackupOptions { part_size: Some(70_000), ..native(slots) };
        options.spool = spooled.then(|| Arc::new(Spool::over(Store::memory(), 1 << 30)));
        faults.erase(4, |part| format!("{}.key.0", part.rsplit_once('-').unwrap().0));
        let refused = back_up(&store, &content(300_000, true), options).await.unwrap_err();
        assert!(refused.code() == "store.failed" && refused.to_string().contains(".key.0"), "{refused}");
        let listed = catalog::list(&plain, &Filter::default(), true).await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
    }
}

#[tokio::test]
async fn with_a_listing_that_does_not_show_what_was_stored_nothing_is_committed_and_the_rest_stays_readable() {
    let (faults, store, plain) = weak();
    let (old, new) = (content(300_000, true), content(350_000, true));
    let first = back_up(&store, &old, small()).await.unwrap().id;
    faults.freeze_listings();
    // What was stored is not listed: whether it is there, and alone under its id, cannot be known.
    let refused = back_up(&store, &new, small()).await.unwrap_err();
    assert_eq!(refused.code(), "store.failed");
    assert!(refused.to_string().contains("does not list it"), "{refused}");
    let listed = catalog::list(&plain, &Filter::default(), true).await.unwrap();
    assert_eq!(listed.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&first]);
    is_whole(&store, &first, &old).await;
    faults.clear();
    let second = back_up(&store, &new, small()).await.unwrap().id;
    assert!(second > first);
    is_whole(&plain, &second, &new).await;
}

#[tokio::test]
async fn an_archive_that_was_deleted_and_is_still_listed_is_never_good() {
    let (faults, store, plain) = weak();
    let id = back_up(&store, &content(300_000, true), small()).await.unwrap().id;
    faults.freeze_listings();
    for name in plain.list("", None).map_ok(|object| object.name).try_collect::<Vec<_>>().await.unwrap() {
        store.delete(&name).await.unwrap();
    }
    let listed = catalog::list(&store, &Filter::default(), true).await;
    assert!(
        listed.is_err() || listed.unwrap().iter().all(|entry| entry.state != State::Committed || entry.name.is_none())
    );
    for depth in [Depth::Quick, Depth::Full, Depth::Deep] {
        let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
        let report = verify(&store, &id, &raw_keyring(), depth, &policy, &context(), silent).await;
        assert!(report.is_err() || !report.unwrap().is_good(), "{depth:?}");
    }
}
