//! What `check` finds on stores that differ in one thing, and what freshness costs.

use std::time::Duration;

use crate::common::{self, content, context};
use backstay::catalog::Filter;
use backstay::catalog::freshness::{COMPARED, LOOKED_AT, Source, Verdict as Fresh, freshness};
use backstay::check;
use backstay::check::{Item, Report, Verdict};
use backstay::retention::Belief;
use backstay_format::ArchiveId;
use backstay_format::header::Kind;
use backstay_format::manifest::{Manifest, OpensslHead, PartEntry, Profile};
use backstay_format::openssl::{Digest, Kdf, Salt};
use backstay_store::Store;
use backstay_testkit::faults::Call;
use backstay_testkit::{Faults, Record, S3Server, sha256};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};

fn item<'r>(report: &'r Report, what: &str) -> &'r Item {
    report.items.iter().find(|item| item.what == what).unwrap_or_else(|| panic!("{what}: {report:?}"))
}

async fn names(store: &Store) -> Vec<String> {
    store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_server_that_verifies_and_keeps_conditions_is_good_and_nothing_is_left() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket/p").await;
    let report = check(&store, &context()).await.unwrap();
    for what in ["list", "create", "conditional-create", "read", "checksum", "delete", "clock"] {
        assert_eq!(item(&report, what).verdict, Verdict::Good, "{report:?}");
    }
    // s3s-fs has no such settings, and says so.
    for what in ["versioning", "object-lock", "lifecycle"] {
        assert_eq!(item(&report, what).verdict, Verdict::Unknown, "{report:?}");
        assert!(item(&report, what).text.contains("does not know"), "{report:?}");
    }
    assert!(report.latency.is_some() && report.upload.is_some() && report.download.is_some(), "{report:?}");
    assert!(report.clock_offset.unwrap().abs() < 2_000, "{report:?}");
    assert_eq!((report.left.as_slice(), names(&store).await.as_slice()), (&[][..], &[][..]));
    assert_eq!(report.verdict(), Verdict::Unknown);
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_bad_for_whoever_may_not_look() {
    let server = S3Server::with_bucket("bucket");
    server.ignore_conditions();
    let store = server.open("s3://bucket").await;
    let report = check(&store, &context()).await.unwrap();
    let found = item(&report, "conditional-create");
    assert_eq!((found.verdict, found.code), (Verdict::Warning, Some("store.condition-ignored")));
    assert_eq!(report.verdict(), Verdict::Warning);
    server.deny(&["GetObject", "HeadObject"]);
    let report = check(&store, &context()).await.unwrap();
    assert_eq!(item(&report, "conditional-create").verdict, Verdict::Bad);
    server.deny(&[]);
    assert_eq!(names(&store).await, [""; 0]);
}

#[tokio::test]
async fn what_a_credential_may_not_do_is_no_failure() {
    for (denied, what, left) in [
        (&["GetObject", "HeadObject"][..], "read", 0),
        (&["DeleteObject"][..], "delete", 1),
        (&["ListObjectsV2"][..], "list", 0),
        (&["PutObject"][..], "create", 0),
    ] {
        let server = S3Server::with_bucket("bucket");
        server.deny(denied);
        let store = server.open("s3://bucket").await;
        let report = check(&store, &context()).await.unwrap();
        // Without the right to create no backup is made, and nobody is to be told that all is well.
        let expected = if what == "create" { Verdict::Warning } else { Verdict::Unknown };
        assert_eq!(item(&report, what).verdict, expected, "{report:?}");
        assert_eq!(report.left.len(), left, "{report:?}");
        server.deny(&[]);
        assert_eq!(names(&store).await, report.left);
    }
}

#[tokio::test]
async fn a_lock_that_holds_new_objects_is_told_and_so_is_what_it_keeps() {
    let server = S3Server::with_bucket("bucket");
    server.lock(&["backstay-probe-"]);
    let store = server.open("s3://bucket").await;
    let report = check(&store, &context()).await.unwrap();
    let found = item(&report, "delete");
    assert_eq!((found.verdict, found.text.as_str()), (Verdict::Unknown, "a lock holds new objects"));
    // No large object comes to it.
    assert_eq!((report.upload, report.left.len()), (None, 1), "{report:?}");
    assert_eq!(names(&store).await, report.left);
}

#[tokio::test]
async fn a_directory_that_is_not_there_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = common::open(&path).await;
    let report = check(&store, &context()).await.unwrap();
    assert!(item(&report, "list").text.contains("not there yet"), "{report:?}");
    assert!(!path.exists());
    std::fs::create_dir(&path).unwrap();
    let report = check(&store, &context()).await.unwrap();
    assert_eq!(item(&report, "conditional-create").verdict, Verdict::Good, "{report:?}");
    assert_eq!(common::names(&path), [""; 0]);
}

#[tokio::test]
async fn bytes_that_come_back_changed_are_bad() {
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|objects| faults.wrap(objects));
    let fixed = context().with_random(|bytes| bytes.fill(0xab));
    faults.flip_bit(&format!("backstay-probe-{}-large", "ab".repeat(16)), 1_000_000);
    let report = check(&store, &fixed).await.unwrap();
    assert_eq!(item(&report, "read-back").verdict, Verdict::Bad, "{report:?}");
    assert_eq!(names(&store).await, [""; 0]);
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_an_error() {
    let server = S3Server::with_bucket("bucket");
    server.deny(&["ListObjectsV2", "PutObject"]);
    assert_eq!(check(&server.open("s3://bucket").await, &context()).await.unwrap_err().code(), "store.denied");
    server.deny(&[]);
    let error = check(&server.open("s3://elsewhere").await, &context()).await.unwrap_err();
    assert_eq!(error.code(), "store.not-found");
}

const DAY: i64 = 86_400;
const NOW: i64 = 1_760_000_000;

/// An archive of `name` that was begun so long ago and took a minute: a manifest, and two parts of which it knows no more than that they
/// are there, like freshness itself.
async fn backed_up(store: &Store, name: &str, seconds_ago: i64, size: u64) -> ArchiveId {
    let begun = Timestamp::from_second(NOW - seconds_ago).unwrap();
    let millis = u64::try_from(begun.as_millisecond()).unwrap();
    let id = ArchiveId::new(&backstay::guid::from_name(name).unwrap(), millis).unwrap();
    let kdf = Kdf::new(Digest::Sha256, 1000).unwrap();
    let head = OpensslHead { kdf, salt: Salt([1; 8]), gzip: true, single: false };
    let mut parts = Vec::new();
    for n in 0..2 {
        let bytes = content(500 + n, true);
        let (size, digest) = (bytes.len() as u64, sha256(&bytes));
        store.create(&id.part(u32::try_from(n).unwrap()), bytes.into(), digest).await.unwrap();
        parts.push(PartEntry { size, rnd: None, sha256: digest });
    }
    let manifest = Manifest {
        id: id.clone(),
        profile: Profile::Openssl(head),
        kind: Kind::Full,
        created: format!("{begun:.3}"),
        finished: Some(format!("{:.3}", begun + SignedDuration::from_secs(60))),
        source: None,
        name: Some(name.to_owned()),
        tags: Vec::new(),
        converted: None,
        content: Some(size),
        first: 0,
        parts,
        needs: Vec::new(),
        private: None,
        detached: false,
        unconfirmed: false,
    };
    let (bytes, _) = manifest.encode(&[7; 32], None).unwrap();
    let digest = sha256(&bytes);
    store.create(&id.manifest(), bytes.into(), digest).await.unwrap();
    id
}

async fn sources(store: &Store, name: Option<&str>) -> Vec<Source> {
    let filter = Filter { name: name.map(str::to_owned), ..Filter::default() };
    freshness(store, &filter, &Belief::default(), Timestamp::from_second(NOW).unwrap()).await.unwrap()
}

fn verdict(source: &Source, hours: u64) -> Fresh {
    source.verdict(Timestamp::from_second(NOW).unwrap(), Some(Duration::from_secs(hours * 3600)), 50)
}

#[tokio::test]
async fn the_newest_good_archive_counts_and_nothing_else() {
    let store = Store::memory();
    let good = backed_up(&store, "shop", 2 * DAY, 200_000).await;
    let part_gone = backed_up(&store, "shop", DAY, 200_000).await;
    store.delete(&part_gone.part(1)).await.unwrap();
    let damaged = backed_up(&store, "shop", DAY / 2, 1000).await;
    store.delete(&damaged.manifest()).await.unwrap();
    let rubbish = [b'x'; 500];
    store.create(&damaged.manifest(), rubbish.to_vec().into(), sha256(&rubbish)).await.unwrap();
    let unfinished = backed_up(&store, "shop", DAY / 4, 1000).await;
    store.delete(&unfinished.manifest()).await.unwrap();
    let future = backed_up(&store, "shop", -DAY, 1000).await;
    let found = sources(&store, None).await;
    let source = &found[0];
    assert_eq!((found.len(), source.name.as_deref()), (1, Some("shop")));
    assert_eq!(source.newest().unwrap().id, good);
    assert_eq!(source.newest().unwrap().took, Some(Duration::from_secs(60)));
    assert_eq!(source.age(Timestamp::from_second(NOW).unwrap()).unwrap(), Duration::from_secs(2 * 86_400));
    let passed: Vec<_> = source.passed_over.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(passed, [future, unfinished, damaged, part_gone]);
    assert_eq!((verdict(source, 49), verdict(source, 47)), (Fresh::Fresh, Fresh::Stale));
}

#[tokio::test]
async fn of_an_openssl_archive_that_nothing_seals_names_sizes_and_the_documents_of_others_tell() {
    let store = Store::memory();
    let guid = backstay::guid::from_name("old").unwrap();
    let id = |seconds_ago: i64| {
        let millis = u64::try_from((NOW - seconds_ago) * 1000).unwrap();
        ArchiveId::new(&guid, millis).unwrap()
    };
    let put = async |name: String, bytes: &[u8]| {
        store.create(&name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
    };
    let stored = async |id: &ArchiveId, parts: &[(u32, usize)], document: bool| {
        for (n, size) in parts {
            let mut bytes = vec![b'x'; *size];
            if *n == 0 {
                bytes[..8].copy_from_slice(b"Salted__");
            }
            put(id.part(*n), &bytes).await;
        }
        if document {
            put(id.manifest(), br#"{"backup":"by another manager"}"#).await;
        }
    };
    // Without documents anywhere, a whole stream is as good as can be told.
    stored(&id(9 * DAY), &[(0, 64), (1, 48)], false).await;
    assert_eq!(sources(&store, None).await[0].newest().unwrap().id, id(9 * DAY));
    stored(&id(8 * DAY), &[(0, 64), (1, 64), (2, 32)], true).await;
    let lost_in_the_middle = id(7 * DAY);
    stored(&lost_in_the_middle, &[(0, 64), (2, 32)], true).await;
    let lost_at_the_end = id(6 * DAY);
    stored(&lost_at_the_end, &[(0, 64), (1, 64)], true).await;
    let cut = id(5 * DAY);
    stored(&cut, &[(0, 64), (1, 33)], true).await;
    let killed = id(4 * DAY);
    stored(&killed, &[(0, 64), (1, 32)], false).await;
    let source = &sources(&store, None).await[0];
    let points: Vec<_> = source.points.iter().map(|point| point.id.clone()).collect();
    assert_eq!(points, [id(8 * DAY), id(9 * DAY)]);
    let passed: Vec<_> =
        source.passed_over.iter().map(|(id, why)| (id.clone(), why.split(',').next().unwrap())).collect();
    assert_eq!(
        passed,
        [
            (killed, "no document commits it"),
            (cut, "its length is not that of a whole stream"),
            (lost_at_the_end, "its last part is as long as if another followed"),
            (lost_in_the_middle, "a part is missing"),
        ]
    );
}

#[tokio::test]
async fn a_dump_that_is_far_smaller_than_usual_is_told_and_each_source_by_itself() {
    let store = Store::memory();
    for day in 1..=4 {
        backed_up(&store, "shop", day * DAY, 100_000).await;
        backed_up(&store, "other", day * DAY, 1000).await;
    }
    backed_up(&store, "shop", 3600, 20_000).await;
    backed_up(&store, "other", 3600, 900).await;
    let shop = sources(&store, Some("shop")).await;
    assert_eq!((shop.len(), verdict(&shop[0], 26)), (1, Fresh::Small));
    assert_eq!(shop[0].sizes(), Some((20_000, 100_000)));
    assert_eq!(verdict(&sources(&store, Some("other")).await[0], 26), Fresh::Fresh);
    assert_eq!(sources(&store, None).await.len(), 2);
    assert!(sources(&store, Some("nobody")).await.is_empty());
}

#[tokio::test]
async fn asking_costs_one_listing_and_a_bounded_number_of_manifests() {
    let record = Record::default();
    let store = record.store();
    for day in 1..=20 {
        backed_up(&store, "one", day * DAY, 1000).await;
        backed_up(&store, "two", day * DAY, 1000).await;
    }
    // Leftovers do not hide what lies behind them, nor do they cost without end.
    for hour in 1..=3 {
        let id = backed_up(&store, "two", hour * 3600, 1000).await;
        store.delete(&id.manifest()).await.unwrap();
    }
    let _ = record.taken();
    let found = sources(&store, None).await;
    let asked = record.taken();
    let count = |call| asked.iter().filter(|asked| asked.call == call).count();
    assert_eq!((count(Call::List), count(Call::Get)), (1, COMPARED + COMPARED + 3), "{asked:?}");
    assert_eq!(asked.len(), 1 + COMPARED + COMPARED + 3);
    assert!(found.iter().all(|source| source.points.len() == COMPARED));
    for hour in 4..=30 {
        let id = backed_up(&store, "two", hour * 600, 1000).await;
        store.delete(&id.manifest()).await.unwrap();
    }
    let _ = record.taken();
    let two = sources(&store, Some("two")).await;
    assert!(record.taken().len() <= 1 + LOOKED_AT + COMPARED);
    // Beyond the bound nothing good is seen: whoever never finishes is told so.
    assert_eq!((two.len(), two[0].newest()), (1, None));
}
