//! Stores that do not list by name, as S3's directory buckets: whatever looks at more than one archive says so and changes nothing, and one
//! archive can be read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{back_up, content, context, native, objects, raw_keyring, restored};
use backstay::catalog::freshness::freshness;
use backstay::catalog::{self, Filter};
use backstay::check::{Verdict, check};
use backstay::gc::{GcOptions, gc};
use backstay::keys::Encryption;
use backstay::retention::{Belief, Policy, PruneOptions, RmOptions, prune, rm};
use backstay_format::ArchiveId;
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::disordered::{Order, disordered};
use bytes::Bytes;

/// Two archives of several parts, and the parts of one that was interrupted.
async fn filled(order: Order) -> (Store, Store, [ArchiveId; 2]) {
    let (store, below) = disordered(order);
    let plain = Store::from_object_store(below, "", "below:");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut options = native(Encryption::Raw(Secret([7; 32])));
        options.part_size = Some(80_000);
        ids.push(back_up(&plain, &content(300_000, true), options).await.unwrap().id);
    }
    plain.delete(&ids[2].manifest()).await.unwrap();
    (store, plain, [ids[0].clone(), ids[1].clone()])
}

/// The code of each verb that looks at the whole store, and what is there afterwards.
async fn codes(
    store: &Store,
    plain: &Store,
    id: &ArchiveId,
) -> (Vec<(&'static str, &'static str)>, BTreeMap<String, Bytes>) {
    let (machine, filter, belief) = (context(), Filter::default(), Belief::default());
    let mut codes = Vec::new();
    macro_rules! note {
        ($verb:literal, $result:expr) => {
            codes.push(($verb, $result.await.err().map_or("good", |error| error.code())))
        };
    }
    note!("list --short", catalog::list(store, &filter, false));
    note!("list", catalog::list(store, &filter, true));
    note!("latest", catalog::select(store, "latest", &filter));
    note!("check --max-age", freshness(store, &filter, &Belief::default(), machine.now()));
    let policy = Policy { last: 1, ..Policy::default() };
    let pruning = PruneOptions { policy, grace: Duration::ZERO, delete: true, force: true, by: "test".to_owned() };
    note!("prune --yes", prune(store, &pruning, &belief, &machine));
    let removing = RmOptions { delete: true, force: true, keep_members: false, by: "test".to_owned() };
    note!("rm --yes", rm(store, id, &removing, &belief, &machine));
    let clearing = GcOptions { grace: Duration::ZERO, delete: true, whole: true };
    note!("gc --yes", gc(store, &clearing, &machine));
    (codes, objects(plain).await)
}

#[tokio::test]
async fn whatever_looks_at_the_whole_store_says_so_and_deletes_nothing() {
    for order in [Order::Backwards, Order::Shuffled, Order::PagesBackwards] {
        let (store, plain, ids) = filled(order).await;
        let before = objects(&plain).await;
        assert!(before.len() > 12, "{}", before.len());
        let (codes, after) = codes(&store, &plain, &ids[0]).await;
        for (verb, code) in codes {
            assert_eq!(code, "store.unordered", "{verb}, {order:?}");
        }
        assert!(before == after, "{order:?}");
        let report = check(&store, &context()).await.unwrap();
        let listed = report.items.iter().find(|item| item.what == "list").unwrap();
        assert_eq!((listed.verdict, listed.code), (Verdict::Bad, Some("store.unordered")), "{order:?}");
        assert!(objects(&plain).await == before, "{order:?}");
    }
}

#[tokio::test]
async fn the_same_store_in_order_is_read_and_cleared() {
    let (store, plain, ids) = filled(Order::ByName).await;
    let report = check(&store, &context()).await.unwrap();
    let listed = report.items.iter().find(|item| item.what == "list").unwrap();
    assert_eq!((listed.verdict, listed.text.as_str()), (Verdict::Good, "allowed"));
    assert_eq!(catalog::select(&store, "latest", &Filter::default()).await.unwrap(), ids[1]);
    let before = objects(&plain).await.len();
    let (codes, after) = codes(&store, &plain, &ids[0]).await;
    assert!(codes.iter().all(|(verb, code)| *code == "good" || *verb == "rm --yes"), "{codes:?}");
    assert!(after.len() < before, "{codes:?}");
}

#[tokio::test]
async fn an_archive_that_is_named_is_made_and_read_in_any_order() {
    for order in [Order::Backwards, Order::Shuffled] {
        let (store, _, ids) = filled(order).await;
        for id in &ids {
            assert_eq!(catalog::select(&store, id.as_str(), &Filter::default()).await.unwrap(), *id, "{order:?}");
            assert!(restored(&store, id, &raw_keyring()).await == content(300_000, true), "{order:?}");
        }
        let mut options = native(Encryption::Raw(Secret([7; 32])));
        options.part_size = Some(80_000);
        let id = back_up(&store, &content(300_000, true), options).await.unwrap().id;
        assert!(restored(&store, &id, &raw_keyring()).await == content(300_000, true), "{order:?}");
    }
}
