//! A hundred thousand archives, and a million, are listed, planned, pruned and cleared away in memory that is a few hundred bytes for each,
//! with a number of requests that is a function of theirs. This program measures its own memory, so that its tests are run one by one:
//!
//! ```sh
//! cargo test --profile ci -p backstay --test many_archives -- --nocapture
//! cargo test --profile ci -p backstay --test many_archives -- --nocapture --ignored
//! ```
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::time::{Duration, Instant};

use backstay::catalog::{self, Entry, Filter, Listed, Listing};
use backstay::gc::{GcOptions, What};
use backstay::keys::Encryption;
use backstay::retention::{Belief, Deed, Policy, PruneOptions, Pruned, prune};
use backstay::{Context, gc};
use backstay_format::manifest::{Document, Manifest};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::Generated;
use common::{Requests, asked, back_up, context, native};
use futures::TryStreamExt as _;
use jiff::Timestamp;

/// 2014-01-01T00:00:00Z
const BEGIN: u64 = 1_388_534_400_000;
/// Sources; the last one's archives are single objects of the openssl profile.
const SOURCES: usize = 10;
/// Objects that are nobody's.
const FOREIGN: [&str; 3] = ["README", "de2fe9e4-6535-423d-8709-000000000001-1388534400000-x", "zzz"];
const GRACE: Duration = Duration::from_secs(86_400);

/// The most memory that this process had since the last [`forget_peak`].
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// From here on the peak is that of what comes.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Tells of each step what it took, and holds its memory to a number of bytes for each archive.
struct Measured {
    archives: u64,
    before: u64,
}

impl Measured {
    /// What a run has beside the archives: pages of the listing, requests in flight.
    const BASE: u64 = 8 << 20;

    fn new(archives: usize) -> Measured {
        Measured { archives: archives as u64, before: peak() }
    }

    async fn step<T>(&self, name: &str, most: u64, store: &Store, work: impl Future<Output = T>) -> (Requests, T) {
        let begun = Instant::now();
        forget_peak();
        let (requests, result) = asked(store, work).await;
        let taken = peak().saturating_sub(self.before);
        println!(
            "{name:>24} of {}: {:5.1} s, {:4} MiB, {} bytes for each, {requests:?}",
            self.archives,
            begun.elapsed().as_secs_f64(),
            taken >> 20,
            taken / self.archives
        );
        assert!(taken < most * self.archives + Self::BASE, "{name}: {taken} bytes");
        (requests, result)
    }
}

/// What was listed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    number: u64,
    of_source_3: u64,
}

impl Counted {
    fn count(&mut self, entry: &Entry) {
        self.number += 1;
        self.of_source_3 += u64::from(entry.name.as_deref() == Some("source-3"));
    }
}

fn count(done: &Pruned, wanted: impl Fn(&Deed) -> bool) -> u64 {
    done.rows.iter().filter(|row| wanted(&row.deed)).count() as u64
}

async fn template() -> Manifest {
    let one = Store::memory();
    let id = back_up(&one, b"content", native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let bytes = one.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
    let Document::Manifest(sealed) = Manifest::parse(bytes.into(), &id).unwrap() else { panic!("a manifest of ours") };
    sealed.manifest
}

async fn listed_planned_pruned_and_cleared_away(each: usize) {
    let made = Generated::new(template().await, BEGIN, SOURCES, each);
    let clock = made.clock().clone();
    let now = clock.clone();
    let context: Context =
        context().with_clock(move || Timestamp::from_millisecond(i64::try_from(now.millis()).unwrap()).unwrap());
    // The last archives are not young any more.
    clock.pass(Duration::from_secs(3 * 86_400));
    let store = made.store();
    for name in FOREIGN {
        store.create(name, "something".into(), backstay_testkit::sha256(b"something")).await.unwrap();
    }
    let (archives, singles, interrupted) = (made.archives() as u64, made.singles() as u64, made.interrupted() as u64);
    let native = archives - singles - interrupted;
    let pages = || (made.objects() + FOREIGN.len()).div_ceil(1000) as u64;
    assert_eq!(made.objects() as u64, 2 * native + interrupted + singles);
    let measured = Measured::new(made.archives());

    // A page for each thousand objects, and for each archive a manifest, or where there is none the first bytes.
    let each_once = Requests { lists: pages(), gets: archives, ..Requests::default() };
    let all = Filter::default();
    let counting = async {
        let (mut listing, mut listed) = (Listing::open(&store, &all, true).await.unwrap(), Counted::default());
        while let Some(entry) = listing.next().await.unwrap() {
            listed.count(&entry);
        }
        assert!(listing.sets(&context).await.unwrap().is_empty());
        listed
    };
    // In the store's own order nothing is held.
    let counting_stored = async {
        let mut listed = Counted::default();
        let mut archives = catalog::stream(&store, &all, true, &context);
        while let Some(Listed::Archive(entry)) = archives.try_next().await.unwrap() {
            listed.count(&entry);
        }
        listed
    };
    let expected = Counted { number: archives - interrupted, of_source_3: native / 9 };
    let (asked_for, listed) = measured.step("list --json-lines", 0, &store, counting_stored).await;
    assert_eq!((&listed, asked_for), (&expected, each_once));
    let (asked_for, listed) = measured.step("list --json", 350, &store, counting).await;
    assert_eq!((&listed, asked_for), (&expected, each_once));
    let mut options = PruneOptions {
        policy: Policy { hourly: 24, daily: 30, monthly: 12, ..Policy::default() },
        grace: GRACE,
        delete: false,
        force: false,
        by: String::new(),
    };
    let belief = Belief::default();
    let planning = prune(&store, &options, &belief, &context);
    let (asked_for, plan) = measured.step("prune, the plan", 700, &store, planning).await;
    let plan = plan.unwrap();
    assert_eq!(asked_for, each_once);
    let kept = count(&plan, |deed| *deed == Deed::Kept);
    let expiring = count(&plan, |deed| *deed == Deed::WouldExpire);
    assert_eq!(count(&plan, |deed| *deed == Deed::PassedOver), interrupted);
    assert_eq!(kept + expiring + interrupted, archives);
    assert!((SOURCES as u64 * 50..SOURCES as u64 * 70).contains(&kept), "{kept}");
    let kept_singles = plan.rows.iter().filter(|row| row.deed == Deed::Kept && row.name.is_none()).count() as u64;
    drop(plan);

    // What is asked beside that: the store's time, and the first part of each native archive that is kept.
    options.delete = true;
    let asking = Requests { gets: archives + kept - kept_singles, puts: 1, heads: 1, deletes: 1, ..each_once };
    let giving_up = prune(&store, &options, &belief, &context);
    let (asked_for, done) = measured.step("prune --yes", 700, &store, giving_up).await;
    assert_eq!(count(&done.unwrap(), |deed| *deed == Deed::Expired), expiring);
    assert_eq!(asked_for, Requests { puts: 1 + expiring, ..asking });
    assert_eq!(made.objects() as u64, 2 * native + interrupted + singles + expiring);
    let waiting = PruneOptions { delete: false, ..options.clone() };
    let (asked_for, plan) =
        measured.step("prune, what waits", 700, &store, prune(&store, &waiting, &belief, &context)).await;
    assert_eq!(count(&plan.unwrap(), |deed| matches!(deed, Deed::Waits(_))), expiring);
    assert_eq!(asked_for, Requests { lists: pages(), ..each_once });
    // A table needs all of its rows at once.
    let incomplete = Filter { incomplete: true, ..Filter::default() };
    let collecting = catalog::list(&store, &incomplete, false);
    let (asked_for, listed) = measured.step("list --short, a table", 850, &store, collecting).await;
    assert_eq!(listed.unwrap().len() as u64, archives);
    assert_eq!(asked_for, Requests { lists: pages(), gets: singles + interrupted, ..Requests::default() });

    // A grace later they go: each gets a mark and is listed once more, and its objects are deleted one by one. Of each source one tombstone stays.
    clock.pass(GRACE + Duration::from_secs(1));
    let lists = pages() + expiring;
    let deleting = prune(&store, &options, &belief, &context);
    let (asked_for, done) = measured.step("prune --yes, a grace on", 1200, &store, deleting).await;
    assert_eq!(count(&done.unwrap(), |deed| *deed == Deed::Deleted), expiring);
    let kept_native = kept - kept_singles;
    let objects = 2 * (native - kept_native) + (singles - kept_singles);
    let marks = expiring - SOURCES as u64;
    let begun = expiring;
    assert_eq!(asked_for, Requests { lists, puts: 1 + begun, deletes: 1 + objects + marks + begun, ..asking });
    assert_eq!(made.objects() as u64, 2 * kept_native + kept_singles + interrupted + SOURCES as u64);
    let left: Vec<_> = store.list("", None).try_collect().await.unwrap();
    assert_eq!(left.len(), made.objects() + FOREIGN.len());

    // All that was interrupted is due, if its first bytes say that it is ours.
    let whole = GcOptions { whole: true, ..GcOptions::default() };
    let clearing = gc(&store, &whole, &context);
    let (asked_for, leftovers) = measured.step("gc", 1200, &store, clearing).await;
    let leftovers = leftovers.unwrap().leftovers;
    assert!(leftovers.iter().all(|leftover| matches!(leftover.what, What::Upload(_))));
    assert_eq!(leftovers.len() as u64, interrupted);
    assert_eq!(asked_for, Requests { lists: pages(), gets: interrupted, ..Requests::default() });
}

#[tokio::test]
async fn a_hundred_thousand_archives_are_listed_planned_and_pruned_in_bounded_memory() {
    listed_planned_pruned_and_cleared_away(10_000).await;
}

#[tokio::test]
#[ignore = "takes minutes: run it alone, as the head of this file says"]
async fn a_million_archives_are_listed_planned_and_pruned_in_bounded_memory() {
    listed_planned_pruned_and_cleared_away(100_000).await;
}
