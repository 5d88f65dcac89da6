//! What the store makes of an object store that fails, without a network and with the clock stopped.

use std::io;
use std::time::{Duration, SystemTime};

use backstay_store::{Created, Error, RetryOptions, Store, probe_conditional_create};
use backstay_testkit::faults::{Call, Failure, Faults, When};
use backstay_testkit::{S3Server, contract, sha256};
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::time::Instant;

fn faulty() -> (Faults, Store) {
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|objects| faults.wrap(objects));
    (faults, store)
}

async fn create(store: &Store, body: &'static str) -> Result<Created, Error> {
    store.create("x-0", body.into(), sha256(body.as_bytes())).await
}

#[tokio::test]
async fn a_faultless_wrapper_keeps_the_contract() {
    let (_, store) = faulty();
    contract::run(&store).await;
}

#[tokio::test(start_paused = true)]
async fn failures_before_and_after_the_effect_end_in_one_object() {
    let (faults, store) = faulty();
    faults.fail(Call::Put, 1..=3, When::Before, Failure::Lost);
    assert_eq!(create(&store, "a").await.unwrap(), Created::New);
    assert_eq!(faults.calls(Call::Put), 4);

    let (faults, store) = faulty();
    faults.fail(Call::Put, 1..=1, When::After, Failure::Lost);
    assert_eq!(create(&store, "a").await.unwrap(), Created::Confirmed);

    let (faults, store) = faulty();
    create(&store, "b").await.unwrap();
    faults.fail(Call::Put, 2..=2, When::After, Failure::Lost);
    assert_eq!(create(&store, "a").await.unwrap_err().code(), "name.taken");
}

#[tokio::test(start_paused = true)]
async fn retries_end_at_the_deadline() {
    let (faults, store) = faulty();
    faults.fail_all(Call::Get, Failure::Lost);
    let begun = Instant::now();
    let error = store.get("x-0", 1).await.unwrap_err();
    assert_eq!(error.code(), "store.failed");
    assert!(error.is_retryable());
    let deadline = RetryOptions::default().deadline;
    assert!(begun.elapsed() <= deadline && begun.elapsed() > deadline / 2, "{:?}", begun.elapsed());
    assert_eq!(faults.calls(Call::Get) as u64, store.requests().retries + 1);
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_repeated() {
    for (failure, code) in [
        (Failure::Denied, "store.denied"),
        (Failure::Io(io::ErrorKind::StorageFull), "store.failed"),
        (Failure::Io(io::ErrorKind::PermissionDenied), "store.denied"),
    ] {
        let (faults, store) = faulty();
        faults.fail_all(Call::Put, failure);
        let error = create(&store, "a").await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), (code, false), "{error}");
        assert_eq!(faults.calls(Call::Put), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_retries_means_none() {
    let (faults, store) = faulty();
    let store = store.with_retry(RetryOptions::never());
    faults.fail(Call::Put, 1..=1, When::Before, Failure::Lost);
    create(&store, "a").await.unwrap_err();
    assert_eq!(faults.calls(Call::Put), 1);
}

#[tokio::test(start_paused = true)]
async fn a_writer_without_any_reading_is_unconfirmed_only_after_its_own_send() {
    let (faults, store) = faulty();
    faults.fail_all(Call::Get, Failure::Denied).fail_all(Call::Head, Failure::Denied);
    faults.fail(Call::Put, 1..=1, When::After, Failure::Lost);
    assert_eq!(create(&store, "a").await.unwrap(), Created::Unconfirmed);
    assert_eq!(create(&store, "a").await.unwrap_err().code(), "name.taken");
}

#[tokio::test(start_paused = true)]
async fn where_head_is_denied_and_reading_is_not_the_bytes_decide() {
    let (faults, store) = faulty();
    create(&store, "a").await.unwrap();
    faults.fail_all(Call::Head, Failure::Denied);
    assert_eq!(create(&store, "a").await.unwrap(), Created::Confirmed);
    assert_eq!(create(&store, "b").await.unwrap_err().code(), "name.taken");
    assert_eq!(create(&store, "longer").await.unwrap_err().code(), "name.taken");
}

#[tokio::test(start_paused = true)]
async fn short_answers_are_repeated_and_then_reported() {
    let (faults, store) = faulty();
    create(&store, "0123456789").await.unwrap();
    faults.cut_answers("x-0", 5);
    assert_eq!(store.get_range("x-0", 0..5).await.unwrap(), "01234");
    for error in [store.get_range("x-0", 0..6).await.unwrap_err(), store.get("x-0", 100).await.unwrap_err()] {
        assert!(matches!(error, Error::Failed { attempts: 2.., .. }), "{error:?}");
        assert!(error.to_string().contains("ended early"), "{error}");
    }
    faults.clear();
    assert_eq!(store.get_range("x-0", 0..6).await.unwrap(), "012345");
}

#[tokio::test]
async fn flipped_bits_pass_since_the_format_finds_them() {
    let (faults, store) = faulty();
    create(&store, "0123").await.unwrap();
    faults.flip_bit("x-0", 2);
    assert_eq!(store.get("x-0", 4).await.unwrap().unwrap(), "0133");
    assert_eq!(store.get_range("x-0", 2..3).await.unwrap(), "3");
    assert_eq!(store.get_range("x-0", 3..4).await.unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn listing_and_deleting_are_repeated() {
    let (faults, store) = faulty();
    create(&store, "a").await.unwrap();
    faults.fail(Call::List, 1..=2, When::Before, Failure::Lost).fail(Call::Delete, 1..=1, When::After, Failure::Lost);
    assert_eq!(store.list("x", None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    store.delete("x-0").await.unwrap();
    assert_eq!(faults.calls(Call::Delete), 2);
    faults.fail_all(Call::List, Failure::Denied);
    assert_eq!(store.list("", None).try_collect::<Vec<_>>().await.unwrap_err().code(), "store.denied");
}

#[tokio::test]
async fn a_hanging_call_can_be_cancelled() {
    let (faults, store) = faulty();
    faults.fail_all(Call::Get, Failure::Hangs);
    tokio::time::timeout(Duration::from_millis(20), store.get("x-0", 1)).await.unwrap_err();
}

#[tokio::test]
async fn stores_that_ignore_conditions_are_found_out() {
    let (faults, store) = faulty();
    let before = SystemTime::now();
    let probed = probe_conditional_create(&store, "probe").await.unwrap().unwrap();
    assert!((before..=SystemTime::now()).contains(&probed), "it tells the time");
    assert_eq!(store.head("probe").await.unwrap(), None);
    let body = Bytes::from_static(b"first");
    assert_eq!(store.create_probing("x-0", body.clone(), sha256(&body)).await.unwrap(), Created::New);

    faults.ignore_conditions();
    let error = probe_conditional_create(&store, "probe").await.unwrap_err();
    assert_eq!(error.code(), "store.condition-ignored");
    assert_eq!(store.head("probe").await.unwrap(), None);
    let error = store.create_probing("x-1", body.clone(), sha256(&body)).await.unwrap_err();
    assert_eq!(error.code(), "store.condition-ignored");
    // What the check overwrote it overwrote with the same bytes.
    assert_eq!(store.get("x-1", 10).await.unwrap().unwrap(), body);
}

#[tokio::test]
async fn the_probe_works_for_writers_that_may_neither_read_nor_delete() {
    let server = S3Server::with_bucket("bucket");
    server.deny(&["GetObject", "HeadObject", "DeleteObject", "ListObjectsV2"]);
    let store = server.open("s3://bucket").await;
    let body = Bytes::from_static(b"first");
    assert_eq!(store.create_probing("x-0", body.clone(), sha256(&body)).await.unwrap(), Created::New);
    assert_eq!(store.requests().puts, 2);
    // The digests of the probe's bodies are right, or the server would have refused them.
    probe_conditional_create(&store, "probe").await.unwrap();
    server.deny(&[]);
    assert_eq!(store.get("probe", 100).await.unwrap().unwrap(), "backstay probe 1\n");
    // A probe object that could not be deleted last time is no obstacle.
    probe_conditional_create(&store, "probe").await.unwrap();
    assert_eq!(store.head("probe").await.unwrap(), None);
}
