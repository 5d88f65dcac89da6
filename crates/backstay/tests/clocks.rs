//! Clocks that are wrong, of whoever writes and of whoever watches: nothing stale is called fresh, one archive with a wrong date does not date others,
//! and the newest stays the newest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{content, context, native, read, set_of};
use backstay::catalog::freshness::{Source as Seen, Verdict, freshness};
use backstay::catalog::{self, Filter, Selected};
use backstay::keys::Encryption;
use backstay::retention::{Belief, Deed, Policy, PruneOptions, prune};
use backstay::source::Source;
use backstay::{Context, Error, Event, Observer, Receipt, RestoreOptions, dated};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::Clocked;
use jiff::{SignedDuration, Timestamp};

const BEGIN: u64 = 1_760_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// A machine whose clock is so many hours ahead of that one.
fn machine(clock: &Clocked, hours: i64) -> Context {
    let clock = clock.clone();
    context().with_clock(move || now(&clock) + SignedDuration::from_hours(hours))
}

fn now(clock: &Clocked) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(clock.millis()).unwrap()).unwrap()
}

/// What is said without a code.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning { code: None, text } = event {
            self.0.lock().unwrap().push(text.clone());
        }
    }
}

async fn tried(store: &Store, machine: &Context, text: &str) -> (Result<Receipt, Error>, String) {
    let source = Source::Reader(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())));
    let (options, warnings) = (native(Encryption::Raw(Secret([7; 32]))), Arc::new(Warnings::default()));
    let made = backstay::backup(store, source, options, machine, warnings.clone()).await;
    let warnings = warnings.0.lock().unwrap().join("\n");
    (made, warnings)
}

async fn made(store: &Store, machine: &Context, text: &str) -> (ArchiveId, String) {
    let (made, warnings) = tried(store, machine, text).await;
    (made.unwrap().id, warnings)
}

async fn seen(store: &Store, now: Timestamp) -> Seen {
    let mut sources = freshness(store, &Filter::default(), &Belief::default(), now).await.unwrap();
    assert_eq!(sources.len(), 1);
    sources.remove(0)
}

fn verdict(source: &Seen, now: Timestamp, hours: u32) -> Verdict {
    source.verdict(now, Some(HOUR * hours), 50)
}

async fn latest(store: &Store) -> String {
    let Selected::Archive(id) = catalog::select_any(store, "latest", &Filter::default()).await.unwrap() else {
        panic!("a set")
    };
    let mut keyring = Keyring::default();
    keyring.add_raw(Secret([7; 32]));
    String::from_utf8(read(store, &id, &keyring, &RestoreOptions::default()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_archive_of_a_clock_that_was_ahead_does_not_become_fresh_when_its_date_comes() {
    for (ahead, passed_over) in [(20_u32, false), (72, true)] {
        let clock = Clocked::at(BEGIN);
        let store = clock.store();
        let (id, _) = made(&store, &machine(&clock, ahead.into()), "content").await;
        clock.pass(HOUR * (ahead + 24));
        let source = seen(&store, now(&clock)).await;
        assert_eq!(verdict(&source, now(&clock), 26), Verdict::Stale, "{ahead} hours: {source:?}");
        assert_eq!(source.name.as_deref(), Some("pg-main"));
        match passed_over {
            true => assert_eq!(source.passed_over, [(id, "it is dated more than a day later than the store has it")]),
            // Its age is counted from when the store got it.
            false => assert_eq!(source.newest().unwrap().begun, Timestamp::from_millisecond(BEGIN as i64).unwrap()),
        }
    }
}

/// What one archive far ahead did: it dated all that came after it, so that none of them counted until that date, and deleting it did not help.
#[tokio::test]
async fn one_archive_far_ahead_does_not_date_those_that_come_after_it() {
    let clock = Clocked::at(BEGIN);
    let store = clock.store();
    let right = machine(&clock, 0);
    let (ahead, _) = made(&store, &machine(&clock, 72), "far ahead").await;
    assert_eq!(latest(&store).await, "far ahead");
    let mut ids = vec![ahead.clone()];
    for n in 1..=2 {
        clock.pass(HOUR);
        let text = format!("right {n}");
        let (id, warnings) = made(&store, &right, &text).await;
        assert_eq!(id.millis(), clock.millis());
        assert!(warnings.contains(&format!("`backstay rm {ahead} --yes`")), "{warnings}");
        // Whatever the names say, it is the newest.
        assert_eq!(latest(&store).await, text);
        let source = seen(&store, now(&clock)).await;
        assert_eq!((&source.newest().unwrap().id, verdict(&source, now(&clock), 1)), (&id, Verdict::Fresh));
        ids.push(id);
    }
    let policy = Policy { last: 1, ..Policy::default() };
    let options = PruneOptions { policy, grace: HOUR, delete: false, force: true, by: "test".to_owned() };
    let pruned = prune(&store, &options, &Belief::default(), &right).await.unwrap();
    let deeds: Vec<_> = pruned.rows.iter().map(|row| (&row.id, &row.deed)).collect();
    let expected = [(&ids[1], &Deed::WouldExpire), (&ids[2], &Deed::Kept), (&ids[0], &Deed::PassedOver)];
    assert_eq!(deeds, expected);
    // When the date of the first one has come, too.
    clock.pass(HOUR * 100);
    assert_eq!(latest(&store).await, "right 2");
    let (_, warnings) = made(&store, &right, "right 3").await;
    assert_eq!((latest(&store).await.as_str(), warnings.as_str()), ("right 3", ""));
}

#[tokio::test]
async fn order_is_kept_whatever_the_clocks_say() {
    let clock = Clocked::at(BEGIN);
    let store = clock.store();
    let mut last = 0;
    for ahead in [0, 20, 0, 8760, -8760, 0, -30, 30, 0] {
        clock.pass(Duration::from_secs(60));
        let text = format!("{ahead} hours ahead, after {last}");
        let (id, warnings) = made(&store, &machine(&clock, ahead), &text).await;
        assert_eq!(latest(&store).await, text);
        if ahead <= 24 {
            assert_eq!(seen(&store, now(&clock)).await.newest().unwrap().id, id);
        }
        if ahead < 0 {
            assert!(warnings.contains("by the clock of this machine it is"), "{warnings}");
            assert!(warnings.contains("`backstay rm ID --yes`"), "{warnings}");
        }
        last = id.millis();
    }
}

/// Where the name and the store agree it is this machine that is wrong.
#[tokio::test]
async fn a_machine_that_is_behind_follows_what_is_dated_rightly() {
    let clock = Clocked::at(BEGIN);
    let store = clock.store();
    let (first, _) = made(&store, &machine(&clock, 0), "first").await;
    let (second, warnings) = made(&store, &machine(&clock, -1000), "second").await;
    assert_eq!(second.millis(), first.millis() + 1);
    assert!(warnings.contains("by the clock of this machine it is"), "{warnings}");
    assert_eq!(latest(&store).await, "second");
}

#[tokio::test]
async fn a_set_far_ahead_is_neither_fresh_nor_the_newest() {
    let clock = Clocked::at(BEGIN);
    let store = clock.store();
    let encryption = Arc::new(Encryption::Raw(Secret([7; 32])));
    let ahead = set_of(&store, &encryption, "shop", &["a", "b"], &machine(&clock, 72)).await;
    clock.pass(HOUR);
    let right = set_of(&store, &encryption, "shop", &["a", "b"], &machine(&clock, 0)).await;
    let selected = catalog::select_any(&store, "shop", &Filter::default()).await.unwrap();
    assert_eq!(selected, Selected::Set(right.id.clone()));
    clock.pass(HOUR * 90);
    let source = seen(&store, now(&clock)).await;
    assert_eq!((&source.newest().unwrap().id, verdict(&source, now(&clock), 26)), (&right.id, Verdict::Stale));
    assert_eq!(source.passed_over.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&ahead.id]);
}

#[tokio::test]
async fn a_clock_that_no_archive_can_be_dated_by_is_called_wrong() {
    let store = Store::memory();
    for time in ["1969-12-31T23:00:00Z", "1970-01-02T00:00:00Z", "1999-06-01T00:00:00Z", "2400-01-01T00:00:00Z"] {
        let machine = context().with_clock(|| time.parse().unwrap());
        let (made, _) = tried(&store, &machine, "content").await;
        let error = made.unwrap_err();
        assert_eq!(error.code(), "usage.clock");
        assert!(error.to_string().contains(time), "{error}");
    }
    assert!(catalog::list(&store, &Filter::default(), false).await.unwrap().is_empty());
    let silent = Arc::new(backstay::Silent);
    let after = context().with_clock(|| "2002-01-01T00:00:00Z".parse().unwrap());
    let source = Source::Reader(Box::new(std::io::Cursor::new(content(100, true))));
    let options = native(Encryption::Raw(Secret([7; 32])));
    backstay::backup(&store, source, options, &after, silent).await.unwrap();
}

#[tokio::test]
async fn a_store_without_a_clock_leaves_ours() {
    let now = Timestamp::from_second(1_760_000_000).unwrap();
    assert_eq!(dated::by_store(&Store::memory(), now), now);
}
