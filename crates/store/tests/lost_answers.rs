//! Creates over a network that fails at the worst moments: a real S3 server behind a proxy that loses, delays and invents answers. Whatever
//! happens, a create that succeeds has stored exactly one object with exactly the bytes that were given.

use std::time::{Duration, Instant};

use backstay_store::{Created, Environment, Error, RetryOptions, Store, StoreOptions};
use backstay_testkit::proxy::{Fate, ProxiedRequest, Proxy, nth};
use backstay_testkit::{Record, S3Server, sha256};
use bytes::Bytes;

struct Behind {
    server: S3Server,
    proxy: Proxy,
    store: Store,
}

async fn behind(script: impl FnMut(&ProxiedRequest) -> Fate + Send + 'static) -> Behind {
    let server = S3Server::with_bucket("bucket");
    let proxy = Proxy::start(server.address(), script);
    let store = server.open_at("s3://bucket/p", &proxy.endpoint).await;
    Behind { server, proxy, store }
}

impl Behind {
    async fn create(&self, body: &Bytes) -> Result<Created, Error> {
        self.store.create("x-0", body.clone(), sha256(body)).await
    }

    /// The stored bytes as the server's disk has them.
    fn stored(&self) -> Option<Vec<u8>> {
        std::fs::read(self.server.object_path("bucket", "p/x-0")).ok()
    }
}

fn body() -> Bytes {
    (0..500_000u32).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn without_faults_the_proxy_changes_nothing() {
    let behind = behind(|_| Fate::Pass).await;
    backstay_testkit::contract::a_created_object_is_read_back(&behind.store).await;
    backstay_testkit::contract::ranges_are_exact(&behind.store).await;
    assert_eq!(behind.create(&body()).await.unwrap(), Created::New);
    assert_eq!(behind.stored().unwrap(), body());
}

#[tokio::test]
async fn a_lost_answer_is_confirmed_by_comparison() {
    let behind = behind(nth("PUT", 1, Fate::DropAnswer)).await;
    assert_eq!(behind.create(&body()).await.unwrap(), Created::Confirmed);
    assert_eq!(behind.stored().unwrap(), body());
    assert_eq!(behind.proxy.count("PUT"), 2, "{:?} {:?}", behind.proxy.log(), behind.store.requests());
    assert_eq!(behind.store.requests().retries, 1);
}

#[tokio::test]
async fn a_request_cut_on_its_way_is_sent_again() {
    for after in [0, 1000, 499_999] {
        let behind = behind(nth("PUT", 1, Fate::CutRequest(after))).await;
        assert_eq!(behind.create(&body()).await.unwrap(), Created::New, "{after}");
        assert_eq!(behind.stored().unwrap(), body());
    }
}

#[tokio::test]
async fn a_409_stored_nothing_and_is_sent_again() {
    // The status decides: not every store gives the code that S3 does.
    for code in ["ConditionalRequestConflict", "OperationAborted", "SomethingElse", ""] {
        let behind = behind(nth("PUT", 1, Fate::AnswerInstead(409, code))).await;
        assert_eq!(behind.create(&body()).await.unwrap(), Created::New, "{code}");
        assert_eq!(behind.stored().unwrap(), body());
        // Nothing was there to compare with.
        assert_eq!(behind.proxy.count("HEAD"), 0, "{code}");
    }
}

#[tokio::test]
async fn an_error_after_storing_is_confirmed() {
    for status in [500, 502, 503] {
        let behind = behind(nth("PUT", 1, Fate::AnswerAfter(status, "InternalError"))).await;
        assert_eq!(behind.create(&body()).await.unwrap(), Created::Confirmed, "{status}");
        assert_eq!(behind.stored().unwrap(), body());
    }
}

#[tokio::test]
async fn an_error_before_storing_is_sent_again() {
    for (status, code) in [
        (500, "InternalError"),
        (503, "SlowDown"),
        (429, "TooManyRequests"),
        (408, "RequestTimeout"),
        (400, "RequestTimeout"),
    ] {
        let behind = behind(nth("PUT", 1, Fate::AnswerInstead(status, code))).await;
        assert_eq!(behind.create(&body()).await.unwrap(), Created::New, "{status}");
        assert_eq!(behind.stored().unwrap(), body());
    }
}

#[tokio::test]
async fn a_store_that_asks_for_a_pause_gets_it() {
    for status in [429, 500, 503] {
        let behind = behind(nth("PUT", 1, Fate::AskToWait(status, 1))).await;
        let begun = Instant::now();
        assert_eq!(behind.create(&body()).await.unwrap(), Created::New, "{status}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{status}: {:?}", begun.elapsed());
    }
    // Longer than anybody waits: it is given up at once.
    let behind = behind(|_| Fate::AskToWait(503, 86_400)).await;
    let begun = Instant::now();
    assert_eq!(behind.create(&body()).await.unwrap_err().code(), "store.failed");
    assert!(begun.elapsed() < Duration::from_secs(1) && behind.proxy.log().len() == 1);
}

#[tokio::test]
async fn refusals_are_reported_after_one_request() {
    for (status, code, expected) in [
        (400, "InvalidRequest", "store.failed"),
        (403, "AccessDenied", "store.denied"),
        (401, "", "store.denied"),
        (501, "NotImplemented", "store.failed"),
    ] {
        let behind = behind(move |_| Fate::AnswerInstead(status, code)).await;
        let error = behind.create(&body()).await.unwrap_err();
        assert_eq!(error.code(), expected, "{status}: {error}");
        assert!(error.to_string().contains(code), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(behind.proxy.log().len(), 1);
        assert_eq!(behind.stored(), None);
    }
}

#[tokio::test]
async fn other_bytes_under_the_name_are_never_taken_for_ours() {
    for fate in
        [Fate::Pass, Fate::DropAnswer, Fate::AnswerInstead(503, "SlowDown"), Fate::AnswerAfter(500, "InternalError")]
    {
        let behind = behind(nth("PUT", 1, fate.clone())).await;
        let other = Bytes::from(vec![7; body().len()]);
        let direct = behind.server.open("s3://bucket/p").await;
        direct.create("x-0", other.clone(), sha256(&other)).await.unwrap();
        let error = behind.create(&body()).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{fate:?}: {error}");
        assert_eq!(behind.stored().unwrap(), other);
    }
}

#[tokio::test]
async fn lost_answers_to_the_comparison_are_asked_for_again() {
    let behind = behind(|request| match (request.method.as_str(), request.number) {
        ("PUT" | "HEAD", 1) => Fate::DropAnswer,
        _ => Fate::Pass,
    })
    .await;
    assert_eq!(behind.create(&body()).await.unwrap(), Created::Confirmed);
}

#[tokio::test]
async fn a_writer_that_may_not_read_knows_only_what_it_sent() {
    // Its own send with unknown outcome came first: nobody else can have taken the name, or so it seems.
    let lost = behind(nth("PUT", 1, Fate::DropAnswer)).await;
    lost.server.deny(&["GetObject", "HeadObject"]);
    assert_eq!(lost.create(&body()).await.unwrap(), Created::Unconfirmed);
    assert_eq!(lost.stored().unwrap(), body());

    // It was there before the first send.
    let taken = behind(|_| Fate::Pass).await;
    taken.create(&body()).await.unwrap();
    taken.server.deny(&["GetObject", "HeadObject"]);
    assert_eq!(taken.create(&body()).await.unwrap_err().code(), "name.taken");

    // A refusal that surely stored nothing is no send with unknown outcome.
    let refused = behind(nth("PUT", 2, Fate::AnswerInstead(409, "ConditionalRequestConflict"))).await;
    refused.create(&body()).await.unwrap();
    refused.server.deny(&["GetObject", "HeadObject"]);
    assert_eq!(refused.create(&body()).await.unwrap_err().code(), "name.taken");
}

#[tokio::test]
async fn a_writer_that_may_not_read_is_not_locked_out_by_a_name_that_speaks_of_locks() {
    // The refusal of the HEAD has no words; that of the GET names the object.
    let server = S3Server::with_bucket("immutable-object-lock");
    server.deny(&["GetObject", "HeadObject"]);
    let proxy = Proxy::start(server.address(), nth("PUT", 1, Fate::DropAnswer));
    let store = server.open_at("s3://immutable-object-lock/legal hold", &proxy.endpoint).await;
    let created = store.create("x-0", body(), sha256(&body())).await.unwrap();
    assert_eq!(created, Created::Unconfirmed);
    assert_eq!(std::fs::read(server.object_path("immutable-object-lock", "legal hold/x-0")).unwrap(), body());
    let denied = store.get("x-0", 1).await.unwrap_err();
    assert!(denied.code() == "store.denied" && denied.to_string().contains("legal hold/x-0"), "{denied}");
}

#[tokio::test]
async fn a_store_that_tells_no_checksum_is_compared_by_bytes() {
    let behind = behind(nth("PUT", 1, Fate::DropAnswer)).await;
    // Put there by somebody who gave no checksum.
    std::fs::create_dir_all(behind.server.object_path("bucket", "p")).unwrap();
    std::fs::write(behind.server.object_path("bucket", "p/x-0"), body()).unwrap();
    assert_eq!(behind.create(&body()).await.unwrap(), Created::Confirmed);
    assert_eq!(behind.proxy.count("GET"), 1);
    let mut other = body().to_vec();
    other[499_999] ^= 1;
    std::fs::write(behind.server.object_path("bucket", "p/x-0"), &other).unwrap();
    assert_eq!(behind.create(&body()).await.unwrap_err().code(), "name.taken");
}

/// A store that gives up a request after a moment without progress.
async fn impatient(behind: &Behind, stall: Duration) -> Store {
    let mut options = StoreOptions::default();
    options.retry = RetryOptions::brief();
    options.retry.deadline = Duration::from_secs(60);
    options.retry.first_contact = Duration::from_secs(60);
    options.stall = stall;
    let env = Environment::from_pairs(behind.server.variables(&behind.proxy.endpoint));
    Store::open("s3://bucket/p", &options, &env).await.unwrap()
}

#[tokio::test]
async fn uploads_and_downloads_that_do_not_move_are_begun_again() {
    let large = Bytes::from(vec![1; 20 << 20]);
    let mut behind = behind(|_| Fate::Pass).await;
    behind.store = impatient(&behind, Duration::from_secs(1)).await;
    for fate in [Fate::StallRequest(0), Fate::StallRequest(1 << 20)] {
        behind.proxy.set_script(nth("PUT", behind.proxy.count("PUT") + 1, fate));
        let begun = Instant::now();
        assert_eq!(behind.create(&large).await.unwrap(), Created::New);
        assert!(begun.elapsed() >= Duration::from_secs(1));
        behind.store.delete("x-0").await.unwrap();
    }
    behind.create(&large).await.unwrap();
    for fate in [Fate::StallAnswer(0), Fate::StallAnswer(1000)] {
        behind.proxy.set_script(nth("GET", behind.proxy.count("GET") + 1, fate));
        assert_eq!(behind.store.get("x-0", u64::MAX).await.unwrap().unwrap(), large);
    }
    assert_eq!(behind.store.requests().retries, 4);
}

#[tokio::test]
async fn a_slow_answer_within_the_stall_limit_is_waited_for() {
    let mut behind = behind(|_| Fate::Delay(Duration::from_millis(200))).await;
    behind.store = impatient(&behind, Duration::from_millis(1500)).await;
    assert_eq!(behind.create(&body()).await.unwrap(), Created::New);
    assert_eq!(behind.store.requests().retries, 0);
}

#[tokio::test]
async fn a_stall_that_does_not_end_is_reported_as_one() {
    let mut behind = behind(|_| Fate::StallRequest(0)).await;
    behind.store = impatient(&behind, Duration::from_millis(100)).await.with_retry(RetryOptions::brief());
    let error = behind.create(&body()).await.unwrap_err();
    assert_eq!(error.code(), "store.failed");
    assert!(error.to_string().contains("nothing moved for 0.1 s"), "{error}");
}

#[tokio::test]
async fn answers_that_break_off_are_asked_for_again_and_never_returned_short() {
    let behind = behind(|_| Fate::Pass).await;
    behind.create(&body()).await.unwrap();
    for after in [0, 1, 100_000] {
        behind.proxy.set_script(nth("GET", behind.proxy.count("GET") + 1, Fate::CutAnswer(after)));
        assert_eq!(behind.store.get("x-0", u64::MAX).await.unwrap().unwrap(), body());
        behind.proxy.set_script(nth("GET", behind.proxy.count("GET") + 1, Fate::CutAnswer(after)));
        assert_eq!(behind.store.get_range("x-0", 1000..400_000).await.unwrap(), body().slice(1000..400_000));
    }
    behind.proxy.set_script(|request| if request.method == "GET" { Fate::CutAnswer(10) } else { Fate::Pass });
    for error in [
        behind.store.get("x-0", u64::MAX).await.unwrap_err(),
        behind.store.get_range("x-0", 0..1000).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "store.failed");
        assert!(error.is_retryable() && error.to_string().contains("attempts"), "{error}");
    }
}

#[tokio::test]
async fn a_long_answer_that_breaks_is_continued_and_a_short_one_asked_for_again() {
    const MIB: usize = 1 << 20;
    let behind = behind(|_| Fate::Pass).await;
    let large: Bytes = (0..20 * MIB + 5).map(|i| (i % 251) as u8).collect();
    behind.create(&large).await.unwrap();
    let record = Record::default();
    let store = impatient(&behind, Duration::from_secs(1)).await.with_wrapper(|objects| record.wrap(objects));
    let meet = |fates: Vec<Fate>| {
        let first = behind.proxy.count("GET") + 1;
        behind.proxy.set_script(move |request| match request.method.as_str() {
            "GET" => fates.get(request.number - first).cloned().unwrap_or(Fate::Pass),
            _ => Fate::Pass,
        });
    };
    let asked = || record.taken().iter().map(|asked| asked.bytes as usize).collect::<Vec<_>>();

    // What was there of an answer is kept in steps of 4 MiB, whatever broke it.
    meet(vec![Fate::CutAnswer(9 * MIB), Fate::CutAnswer(3 * MIB), Fate::StallAnswer(4 * MIB + 1)]);
    assert!(store.get_range("x-0", 1..large.len() as u64).await.unwrap() == large.slice(1..));
    let length = large.len() - 1;
    assert_eq!(asked(), [length, length - 8 * MIB, length - 8 * MIB, length - 12 * MIB]);

    // 4 MiB are one step.
    meet(vec![Fate::CutAnswer(4 * MIB - 1)]);
    assert!(store.get_range("x-0", 0..4 * MIB as u64).await.unwrap() == large.slice(..4 * MIB));
    assert_eq!(asked(), [4 * MIB; 2]);

    // One that gets further each time goes on for longer than one that does not.
    let mut retry = RetryOptions::brief();
    retry.deadline = Duration::from_millis(500);
    let store = store.with_retry(retry);
    meet(vec![Fate::StallAnswer(4 * MIB + 1); 3]);
    assert!(store.get_range("x-0", 0..20 * MIB as u64).await.unwrap() == large.slice(..20 * MIB));
    meet(vec![Fate::StallAnswer(MIB); 3]);
    assert!(store.get_range("x-0", 0..20 * MIB as u64).await.unwrap_err().is_retryable());
}

#[tokio::test]
async fn pages_of_a_listing_are_asked_for_again() {
    let behind = behind(|_| Fate::Pass).await;
    let direct = behind.server.open("s3://bucket/p").await;
    backstay_testkit::contract::listing_goes_beyond_one_page(&direct).await;
    behind.proxy.set_script(|request| {
        if request.method == "GET" && request.number % 2 == 1 { Fate::CutAnswer(500) } else { Fate::Pass }
    });
    let listed: Vec<_> = futures::TryStreamExt::try_collect(behind.store.list("many-", None)).await.unwrap();
    assert_eq!(listed.len(), 1234);
    let requests = behind.store.requests();
    assert_eq!((requests.lists, requests.retries), (4, 2));
}

#[tokio::test]
async fn deletes_are_repeated_and_a_missing_object_counts_as_deleted() {
    let behind = behind(nth("DELETE", 1, Fate::DropAnswer)).await;
    behind.create(&body()).await.unwrap();
    behind.store.delete("x-0").await.unwrap();
    assert_eq!(behind.stored(), None);
    assert_eq!(behind.proxy.count("DELETE"), 2);
}

#[tokio::test]
async fn an_object_under_lock_is_told_from_a_lack_of_permission() {
    let behind = behind(nth("DELETE", 1, Fate::AnswerInstead(409, "BlobImmutableDueToPolicy"))).await;
    behind.create(&body()).await.unwrap();
    assert_eq!(behind.store.delete("x-0").await.unwrap_err().code(), "store.locked");
    behind.server.deny(&["DeleteObject"]);
    assert_eq!(behind.store.delete("x-0").await.unwrap_err().code(), "store.denied");
    assert_eq!(behind.stored().unwrap(), body());
}
