//! A hundred thousand archives are listed, planned and given up in bounded memory. This file has one test, so that the memory is its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use backstay::catalog::{self, Filter};
use backstay::keys::Encryption;
use backstay::retention::{Belief, Deed, Policy, PruneOptions, prune};
use backstay_format::manifest::{Document, Manifest};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::generated;
use common::{back_up, context, native};
use futures::TryStreamExt as _;
use jiff::Timestamp;

const ARCHIVES: usize = 100_000;
/// 2014-01-01T00:00:00Z
const BEGIN: u64 = 1_388_534_400_000;
/// What a run may take beyond the program itself: the listing of the made-up store, which has no pages, is held whole, and that is half of it.
const MOST: u64 = 320 << 20;

/// The most memory that this process ever had.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_hundred_thousand_archives_are_listed_planned_and_given_up_in_bounded_memory() {
    let one = Store::memory();
    let id = back_up(&one, b"content", native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let bytes = one.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
    let Document::Manifest(sealed) = Manifest::parse(bytes.into(), &id).unwrap() else { panic!("a manifest of ours") };
    let store = generated(sealed.manifest, BEGIN, ARCHIVES);
    let before = peak();

    let listed = catalog::list(&store, &Filter::default(), true).await.unwrap();
    assert_eq!((listed.len(), listed[0].name.as_deref()), (ARCHIVES, Some("pg-main")));
    drop(listed);
    let policy = Policy { hourly: 24, daily: 30, monthly: 12, ..Policy::default() };
    let end = Timestamp::from_millisecond(i64::try_from(BEGIN).unwrap() + 100_000 * 3_600_000).unwrap();
    let context = context().with_clock(move || end);
    let mut options = PruneOptions {
        policy,
        grace: std::time::Duration::from_secs(86_400),
        delete: false,
        force: false,
        by: String::new(),
    };
    let plan = prune(&store, &options, &Belief::default(), &context).await.unwrap();
    let kept = plan.rows.iter().filter(|row| row.deed == Deed::Kept).count();
    assert!(kept > 50 && kept < 70, "{kept}");
    drop(plan);
    options.delete = true;
    let done = prune(&store, &options, &Belief::default(), &context).await.unwrap();
    assert_eq!(done.rows.iter().filter(|row| row.deed == Deed::Expired).count(), ARCHIVES - kept);
    let tombstones = store.list("", None).try_filter(|object| std::future::ready(object.name.ends_with(".expired")));
    let tombstones: Vec<_> = tombstones.try_collect().await.unwrap();
    assert_eq!(tombstones.len(), ARCHIVES - kept);
    let taken = peak().saturating_sub(before);
    assert!(taken < MOST, "{} MiB", taken >> 20);
}
