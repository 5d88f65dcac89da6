//! `prune`, `rm`, holds and tags on whole stores: what goes, what stays, and what a hostile writer cannot bring about.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use crate::common::{self, back_up, content, context, native, objects, options, raw_keyring, restored};
use backstay::backup::Format;
use backstay::catalog::{self, Filter, State};
use backstay::keys::Encryption;
use backstay::report::{Findings, record};
use backstay::retention::{
    Belief, Deed, Policy, PruneOptions, Pruned, Reason, RmOptions, hold, note, prune, release, remarks, rm, tag,
};
use backstay::{BackupOptions, Context, Error};
use backstay_format::header::{Kind, Lock};
use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, Manifest, Profile};
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::report::{Level, Report};
use backstay_format::schedule::{Secret, sha256};
use backstay_format::set::{Member, Set};
use backstay_format::signature::SigningKey;
use backstay_format::text::from_base64;
use backstay_format::{ArchiveId, Guid, Word};
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, When};
use backstay_testkit::{Clocked, Faults, Record, S3Server, dawdling};
use jiff::{SignedDuration, Timestamp};

/// 2026-01-01T02:00:00Z
const BEGIN: u64 = 1_767_232_800_000;
const DAY: Duration = Duration::from_secs(86_400);

thread_local! {
    /// Ids of one source rise in a process, and every test has a time of its own: so each has a source of its own.
    static GUID: Guid = {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        format!("de2fe9e4-6535-423d-8709-{:012}", NUMBER.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
    };
}

fn own(options: BackupOptions) -> BackupOptions {
    BackupOptions { guid: GUID.with(Guid::clone), ..options }
}

fn raw() -> BackupOptions {
    own(native(Encryption::Raw(Secret([7; 32]))))
}

fn openssl() -> BackupOptions {
    let (kdf, password) = (Kdf::BytesToKey(Digest::Md5), Password::new(b"KEY".to_vec()));
    own(options(Format::Openssl { kdf, password, single: false }))
}

/// A store whose time a test sets, and a machine with the same time.
fn place() -> (Clocked, Store, Context) {
    let clock = Clocked::at(BEGIN);
    let (store, ticking) = (clock.store(), clock.clone());
    let now = move || Timestamp::from_millisecond(i64::try_from(ticking.millis()).unwrap()).unwrap();
    (clock, store, context().with_clock(now))
}

async fn made(store: &Store, context: &Context, bytes: &[u8], options: BackupOptions) -> ArchiveId {
    let source = backstay::source::Source::Reader(Box::new(std::io::Cursor::new(bytes.to_vec())));
    backstay::backup(store, source, options, context, std::sync::Arc::new(backstay::Silent)).await.unwrap().id
}

/// One archive a day, the oldest first; the clock stands an hour after the last one.
async fn days(clock: &Clocked, store: &Store, context: &Context, number: u32) -> Vec<ArchiveId> {
    let mut ids = Vec::new();
    for day in 0..number {
        ids.push(made(store, context, format!("day {day}").as_bytes(), raw()).await);
        clock.pass(if day + 1 == number { Duration::from_secs(3600) } else { DAY });
    }
    ids
}

fn keeping(last: u32) -> PruneOptions {
    let policy = Policy { last, ..Policy::default() };
    PruneOptions { policy, grace: DAY, delete: true, force: false, by: "test".to_owned() }
}

fn planning(options: PruneOptions) -> PruneOptions {
    PruneOptions { delete: false, ..options }
}

async fn run(store: &Store, options: &PruneOptions, context: &Context) -> Pruned {
    prune(store, options, &Belief::default(), context).await.unwrap()
}

fn with_key() -> Belief {
    Belief { keyring: raw_keyring(), ..Belief::default() }
}

fn of(pruned: &Pruned, wanted: &Deed) -> Vec<ArchiveId> {
    pruned.rows.iter().filter(|row| row.deed == *wanted).map(|row| row.id.clone()).collect()
}

fn reason(pruned: &Pruned, id: &ArchiveId) -> Reason {
    pruned.rows.iter().find(|row| row.id == *id).unwrap().reasons[0].clone()
}

async fn archives(store: &Store) -> Vec<ArchiveId> {
    let listed = catalog::list(store, &Filter::default(), false).await.unwrap();
    listed.into_iter().map(|entry| entry.id).collect()
}

async fn put(store: &Store, name: &str, bytes: &[u8]) {
    store.create(name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
}

#[tokio::test]
async fn what_no_rule_keeps_gets_a_tombstone_and_goes_a_grace_later() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 4).await;
    let before = objects(&store).await;

    let plan = run(&store, &planning(keeping(2)), &context).await;
    assert_eq!(of(&plan, &Deed::WouldExpire), ids[..2]);
    assert_eq!(of(&plan, &Deed::Kept), ids[2..]);
    assert_eq!(objects(&store).await, before, "a plan changes nothing");

    let first = run(&store, &keeping(2), &context).await;
    assert_eq!(of(&first, &Deed::Expired), ids[..2]);
    let mut expected: BTreeSet<String> = before.keys().cloned().collect();
    expected.extend(ids[..2].iter().map(ArchiveId::tombstone));
    assert_eq!(objects(&store).await.into_keys().collect::<BTreeSet<_>>(), expected);

    clock.pass(DAY / 2);
    let until =
        Timestamp::from_millisecond(i64::try_from(clock.millis()).unwrap()).unwrap() + SignedDuration::from_hours(12);
    let waiting = run(&store, &keeping(2), &context).await;
    assert_eq!(of(&waiting, &Deed::Waits(until)), ids[..2]);

    clock.pass(DAY / 2);
    assert_eq!(of(&run(&store, &planning(keeping(2)), &context).await, &Deed::WouldDelete), ids[..2]);
    let done = run(&store, &keeping(2), &context).await;
    assert_eq!(of(&done, &Deed::Deleted), ids[..2]);
    assert_eq!(archives(&store).await, ids[2..]);
    // The newest tombstone stays: it says when this was.
    let left: Vec<String> = objects(&store).await.into_keys().filter(|name| name.ends_with(".expired")).collect();
    assert_eq!(left, [ids[1].tombstone()]);
    for (day, id) in ids.iter().enumerate().skip(2) {
        assert_eq!(restored(&store, id, &raw_keyring()).await, format!("day {day}").as_bytes());
    }
    let again = objects(&store).await;
    run(&store, &keeping(2), &context).await;
    assert_eq!(objects(&store).await, again, "there is nothing more to do");
}

#[tokio::test]
async fn sixty_days_of_backups_and_prunes_leave_what_grandfather_father_and_son_keep() {
    let (clock, store, context) = place();
    let policy = Policy { daily: 7, weekly: 4, monthly: 12, ..Policy::default() };
    let options = PruneOptions { policy, ..keeping(0) };
    let mut ids = Vec::new();
    for day in 0..60 {
        let made = made(&store, &context, format!("day {day}").as_bytes(), raw()).await;
        if day == 3 {
            hold(&store, &made, "before the migration", "ops", &context).await.unwrap();
        }
        ids.push(made);
        clock.pass(DAY / 2);
        let pruned = run(&store, &options, &context).await;
        assert!(pruned.excess.is_empty() && pruned.blocked.is_empty(), "day {day}: {:?}", pruned.excess);
        clock.pass(DAY / 2);
    }
    clock.pass(DAY);
    run(&store, &options, &context).await;
    // From 2026-01-01 on: the held one, the end of January, the Sundays 2026-02-08 to 22, the last seven days. What got its
    // tombstone on the last day waits.
    let kept: Vec<usize> =
        archives(&store).await.iter().map(|id| ids.iter().position(|other| other == id).unwrap()).collect();
    assert_eq!(kept, [3, 30, 38, 45, 52, 53, 54, 55, 56, 57, 58, 59]);
    for day in kept {
        assert_eq!(restored(&store, &ids[day], &raw_keyring()).await, format!("day {day}").as_bytes());
    }
    assert!(objects(&store).await.len() < 12 * 2 + 4);
}

#[tokio::test]
async fn both_formats_with_and_without_their_document_are_pruned_alike() {
    let (clock, store, context) = place();
    let (other, guid) = ("00000000-0000-4000-8000-000000000000", "11111111-0000-4000-8000-000000000000");
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(made(&store, &context, &content(900_000, true), openssl()).await);
        // The same as another program makes it: of seconds, from 1, with a document of its own; or with none.
        let seconds = clock.millis() / 1000;
        let parts: Vec<_> = (0..2).map(|n| ids.last().unwrap().part(n)).collect();
        for (n, part) in parts.iter().enumerate() {
            let bytes = store.get(part, 1 << 20).await.unwrap().unwrap();
            put(&store, &format!("{other}-{seconds}-{}", n + 1), &bytes).await;
            put(&store, &format!("{guid}-{seconds}-{n}"), &bytes).await;
        }
        put(&store, &format!("{other}-{seconds}.json"), b"{\"status\":\"done\"}").await;
        clock.pass(DAY * 2);
    }
    run(&store, &keeping(1), &context).await;
    clock.pass(DAY);
    let done = run(&store, &keeping(1), &context).await;
    assert_eq!(of(&done, &Deed::Deleted).len(), 6, "{:?}", done.rows);
    let left = archives(&store).await;
    let guids: BTreeSet<String> = left.iter().map(|id| id.guid().to_string()).collect();
    assert_eq!((left.len(), guids.len()), (3, 3));
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    for id in left {
        assert_eq!(restored(&store, &id, &keyring).await, content(900_000, true));
    }
}

#[tokio::test]
async fn what_lost_a_part_or_its_end_neither_counts_nor_goes() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 4).await;
    store.delete(&ids[3].part(0)).await.unwrap();
    put(&store, &ids[2].part(1), b"one more").await;
    let pruned = run(&store, &planning(keeping(1)), &context).await;
    assert_eq!(of(&pruned, &Deed::PassedOver), ids[2..]);
    assert_eq!(of(&pruned, &Deed::Kept), ids[1..2]);
    assert_eq!(of(&pruned, &Deed::WouldExpire), ids[..1]);
}

#[tokio::test]
async fn what_is_kept_again_gets_the_whole_grace_again() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    run(&store, &keeping(1), &context).await;
    clock.pass(DAY * 2);
    // A wider policy, then a hold: neither is too late until the very deletion.
    run(&store, &keeping(2), &context).await;
    assert!(!objects(&store).await.contains_key(&ids[1].tombstone()), "it is taken away");
    assert_eq!(archives(&store).await, ids[1..]);
    run(&store, &keeping(1), &context).await;
    let name = hold(&store, &ids[1], "why", "ops", &context).await.unwrap();
    clock.pass(DAY * 2);
    let held = run(&store, &keeping(1), &context).await;
    assert_eq!(reason(&held, &ids[1]), Reason::Held);
    assert_eq!(release(&store, &ids[1]).await.unwrap(), [name]);
    assert_eq!(of(&run(&store, &keeping(1), &context).await, &Deed::Expired), [ids[1].clone()]);
}

#[tokio::test]
async fn a_hold_that_comes_between_the_plan_and_the_deletion_holds() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    run(&store, &keeping(1), &context).await;
    clock.pass(DAY);
    // The probe of the clock is the first create; a hold is stored right after it, too late for nothing but this.
    let faults = Faults::new();
    let held = ids[0].sidecar(Word::Hold, 7);
    let racing = store.clone().with_wrapper(|inner| faults.wrap(inner));
    let name = held.clone();
    faults.intrude(1, move |_, _| (name, bytes::Bytes::from_static(b"whatever")));
    let done = run(&racing, &keeping(1), &context).await;
    assert_eq!(reason(&done, &ids[0]), Reason::Held);
    assert_eq!(archives(&store).await, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(release(&store, &ids[0]).await.unwrap(), [held]);
}

#[tokio::test]
async fn without_a_grace_it_is_one_run_and_the_plan_is_made_twice() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    let record = Record::default();
    let seen = store.clone().with_wrapper(|inner| record.wrap(inner));
    let done = run(&seen, &PruneOptions { grace: Duration::ZERO, ..keeping(1) }, &context).await;
    assert_eq!(of(&done, &Deed::Deleted), ids[..2]);
    assert_eq!(archives(&store).await, ids[2..]);
    let manifests = record.taken().iter().filter(|asked| asked.name == ids[0].manifest()).count();
    assert_eq!(manifests, 2);
}

#[tokio::test]
async fn a_clock_that_is_wrong_on_one_side_deletes_nothing() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    run(&store, &keeping(1), &context).await;
    let ahead = context.clone().with_clock(|| "2036-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(of(&run(&store, &planning(keeping(1)), &ahead).await, &Deed::WouldDelete), ids[..2]);
    run(&store, &keeping(1), &ahead).await;
    assert_eq!(archives(&store).await, ids, "the store's clock says otherwise");
    clock.pass(DAY * 10);
    let behind = context.clone().with_clock(|| "2020-01-01T00:00:00Z".parse().unwrap());
    run(&store, &keeping(1), &behind).await;
    assert_eq!(archives(&store).await, ids, "ours does");
}

#[tokio::test]
async fn more_than_was_added_since_goes_only_by_force() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 8).await;
    run(&store, &keeping(7), &context).await;
    clock.pass(DAY);
    run(&store, &keeping(7), &context).await;
    clock.pass(DAY);
    // Now somebody says 2 where 7 was said.
    let stopped = run(&store, &keeping(2), &context).await;
    assert_eq!((stopped.excess[0].expiring, stopped.excess[0].allowed), (5, 1));
    assert_eq!(reason(&stopped, &ids[1]), Reason::TooMany);
    assert_eq!(archives(&store).await, ids[1..]);
    assert_eq!(objects(&store).await.keys().filter(|name| name.ends_with(".expired")).count(), 1);
    let forced = run(&store, &PruneOptions { force: true, ..keeping(2) }, &context).await;
    assert_eq!((of(&forced, &Deed::Expired).len(), forced.excess.len()), (5, 0));
}

fn signed(store: &Store) -> (SigningKey, Belief, &Store) {
    let verifier = SigningKey::from_seed(&[1; 32]).unwrap();
    let belief = Belief { report_signer: Some(verifier.signer()), ..Belief::default() };
    (verifier, belief, store)
}

fn found(good: bool) -> Findings {
    Findings { level: Level::Deep, good, by: "verifier".to_owned(), details: "{}".to_owned() }
}

/// X10: the host that makes the backups is somebody else's. It can create objects under its guid, and knows the secrets of what it makes.
#[tokio::test]
async fn forged_reports_floods_of_fakes_and_planted_tombstones_delete_no_good_archive() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 6).await;
    let (verifier, belief, store) = signed(&store);
    for id in &ids {
        record(store, id, &found(true), &Keyring::default(), Some(&verifier), &context).await.unwrap();
    }
    let mut options = keeping(3);
    options.policy.require_verified = Some(DAY * 30);
    let before = prune(store, &planning(options.clone()), &belief, &context).await.unwrap();
    assert_eq!(of(&before, &Deed::WouldExpire), ids[..3]);

    // Reports that the good ones are bad: with the archives' secret, without any seal worth its name, and by another signer.
    let stranger = SigningKey::from_seed(&[2; 32]).unwrap();
    for id in &ids {
        clock.pass(Duration::from_secs(60));
        record(store, id, &found(false), &raw_keyring(), Some(&stranger), &context).await.unwrap();
        put(store, &id.sidecar(Word::Verified, 9_999_999_999_999), b"junk").await;
        put(store, &id.tombstone(), b"").await;
    }
    // Seven new ones, each with a report of its maker's that it is good; and backdated ones, to push out what is old.
    let mut fakes = Vec::new();
    for _ in 0..7 {
        let fake = made(store, &context, b"fake", raw()).await;
        record(store, &fake, &found(true), &raw_keyring(), Some(&stranger), &context).await.unwrap();
        clock.pass(Duration::from_secs(60));
        fakes.push(fake);
    }
    for day in 1..4 {
        fakes.push(fake(store, &ids[5], BEGIN - day * 86_400_000).await);
    }
    clock.pass(DAY * 2);
    for _ in 0..2 {
        let after = prune(store, &options, &belief, &context).await.unwrap();
        for id in &ids[3..] {
            assert_eq!(after.rows.iter().find(|row| row.id == *id).unwrap().deed, Deed::Kept, "{after:?}");
        }
        for fake in &fakes {
            let row = after.rows.iter().find(|row| row.id == *fake).unwrap();
            assert_eq!(row.deed, Deed::PassedOver, "{row:?}");
        }
        clock.pass(DAY * 2);
    }
    for (day, id) in ids.iter().enumerate().skip(3) {
        assert_eq!(restored(store, id, &raw_keyring()).await, format!("day {day}").as_bytes());
    }
}

#[tokio::test]
async fn backdated_archives_and_those_of_tomorrow_displace_nothing() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 4).await;
    for hours in [-24 * 40, -24 * 3, 30, 24 * 400] {
        let at = context.now() + SignedDuration::from_hours(hours);
        fake(&store, &ids[3], u64::try_from(at.as_millisecond()).unwrap()).await;
    }
    let pruned = run(&store, &planning(keeping(3)), &context).await;
    assert_eq!(of(&pruned, &Deed::Kept), ids[1..]);
    assert_eq!(of(&pruned, &Deed::WouldExpire), ids[..1]);
    assert_eq!(of(&pruned, &Deed::PassedOver).len(), 4);
}

#[tokio::test]
async fn a_report_counts_with_the_archive_s_key_and_only_for_the_bytes_that_it_is_about() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    let mut options = planning(keeping(1));
    options.policy.require_verified = Some(DAY * 3);
    let refused = prune(&store, &options, &Belief::default(), &context).await.unwrap_err();
    assert_eq!(refused.code(), "usage.arguments");
    for id in &ids[..2] {
        record(&store, id, &found(true), &raw_keyring(), None, &context).await.unwrap();
    }
    let plan = prune(&store, &options, &with_key(), &context).await.unwrap();
    assert_eq!((reason(&plan, &ids[2]), of(&plan, &Deed::WouldExpire)), (Reason::Unverified, vec![ids[0].clone()]));
    // A quick look, another root, and no root at all.
    let key = backstay_format::schedule::Keys::derive(&Secret([7; 32]), &salt(&store, &ids[2]).await).report();
    let report = |root, level| Report {
        id: ids[2].clone(),
        root,
        level,
        good: true,
        at: String::new(),
        by: String::new(),
        details: "{}".to_owned(),
    };
    let root = root(&store, &ids[2]).await;
    for (number, report) in
        [report(Some([1; 32]), Level::Deep), report(None, Level::Deep), report(Some(root), Level::Quick)]
            .iter()
            .enumerate()
    {
        let bytes = report.encode(Some(&key), None).unwrap();
        put(&store, &ids[2].sidecar(Word::Verified, number as u64), &bytes).await;
    }
    let plan = prune(&store, &options, &with_key(), &context).await.unwrap();
    assert_eq!(reason(&plan, &ids[2]), Reason::Unverified);
    put(&store, &ids[2].sidecar(Word::Verified, 9), &report(Some(root), Level::Full).encode(Some(&key), None).unwrap())
        .await;
    let plan = prune(&store, &options, &with_key(), &context).await.unwrap();
    assert_eq!(of(&plan, &Deed::WouldExpire), ids[..2]);
    // Its age is the store's, whatever it says.
    clock.pass(DAY * 4);
    let plan = prune(&store, &options, &with_key(), &context).await.unwrap();
    assert_eq!(of(&plan, &Deed::PassedOver), ids);
}

async fn manifest(store: &Store, id: &ArchiveId) -> Manifest {
    let bytes = store.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
    match Manifest::parse(bytes.into(), id).unwrap() {
        Document::Manifest(sealed) => sealed.manifest,
        Document::Foreign(_) => panic!("a manifest of ours"),
    }
}

/// An archive of another time that looks as whole as this one.
async fn fake(store: &Store, like: &ArchiveId, millis: u64) -> ArchiveId {
    let id = ArchiveId::new(&like.guid(), millis).unwrap();
    let manifest = Manifest { id: id.clone(), ..manifest(store, like).await };
    put(store, &id.part(0), &store.get(&like.part(0), 1 << 20).await.unwrap().unwrap()).await;
    put(store, &id.manifest(), &manifest.encode(&[9; 32], None).unwrap().0).await;
    id
}

async fn root(store: &Store, id: &ArchiveId) -> [u8; 32] {
    manifest(store, id).await.root()
}

async fn salt(store: &Store, id: &ArchiveId) -> [u8; 32] {
    match manifest(store, id).await.profile {
        Profile::Native(head) => head.common.salt,
        Profile::Openssl(_) => panic!("a native archive"),
    }
}

/// The objects of a published vector: an incremental archive and the two that it needs.
async fn chain() -> (Store, ArchiveId, [ArchiveId; 2]) {
    let text = include_str!("../../../spec/vectors/chain-incremental.txt");
    let store = Store::memory();
    for object in text.split("\nobject ").skip(1) {
        let (line, body) = object.split_once('\n').unwrap();
        let bytes: Vec<u8> = body.lines().flat_map(|line| from_base64(line).unwrap()).collect();
        put(&store, line.split(' ').next().unwrap(), &bytes).await;
    }
    let id = |time: &str| format!("de2fe9e4-6535-423d-8709-dca87df7985c-{time}").parse().unwrap();
    (store, id("1740130000123"), [id("1740130000001"), id("1740130000002")])
}

/// X11: what the newest archive needs is not given up because somebody changed what it says of itself.
#[tokio::test]
async fn a_manifest_with_its_needs_stripped_makes_prune_leave_the_source_alone() {
    let (store, newest, ancestors) = chain().await;
    let mut keyring = Keyring::default();
    keyring.add_raw(Secret(std::array::from_fn(|at| u8::try_from(at).unwrap())));
    let key = Belief { keyring, ..Belief::default() };
    let mut options = PruneOptions { grace: Duration::ZERO, ..keeping(1) };
    options.policy.trust_name_time = true;
    let before = objects(&store).await;
    for belief in [&key, &Belief::default()] {
        let plan = prune(&store, &options, belief, &context()).await.unwrap();
        assert!(of(&plan, &Deed::Kept).len() == 3, "{plan:?}");
        assert_eq!(reason(&plan, &ancestors[0]), Reason::NeededBy(newest.clone()));
    }
    let error = rm(&store, &ancestors[1], &removing(), &Belief::default(), &context()).await.unwrap_err();
    assert_eq!(error.code(), "retention.referenced");
    assert_eq!(objects(&store).await, before);

    // Stripped, and sealed with the only thing that everybody has.
    let mut stripped = manifest(&store, &newest).await;
    stripped.needs = Vec::new();
    stripped.kind = Kind::Full;
    let Profile::Native(head) = &mut stripped.profile else { panic!("a native archive") };
    head.rest = head.rest.replace(",\"kind\":\"incremental\"", "");
    let (bytes, _) = stripped.encode(&[9; 32], None).unwrap();
    store.delete(&newest.manifest()).await.unwrap();
    put(&store, &newest.manifest(), &bytes).await;
    let before = objects(&store).await;
    let plan = prune(&store, &options, &key, &context()).await.unwrap();
    assert_eq!(plan.blocked.values().next(), Some(&Reason::Unreadable(newest.clone())));
    // Without a key its first part, which nobody can change, says that it is no full one.
    let plan = prune(&store, &options, &Belief::default(), &context()).await.unwrap();
    assert_eq!(plan.blocked.values().next(), Some(&Reason::ManifestDiffers(newest.clone())));
    let after = objects(&store).await;
    assert!(before.keys().all(|name| after.contains_key(name)));
    assert_eq!(archives(&store).await.len(), 3);
}

/// X11, by halves: the list names one of the two, and nothing in the first part says how many there were.
#[tokio::test]
async fn an_archive_of_which_only_some_needs_were_stripped_keeps_all_that_is_older() {
    let (store, newest, ancestors) = chain().await;
    let mut keyring = Keyring::default();
    keyring.add_raw(Secret(std::array::from_fn(|at| u8::try_from(at).unwrap())));
    let key = Belief { keyring, ..Belief::default() };
    let mut options = PruneOptions { grace: Duration::ZERO, ..keeping(1) };
    options.policy.trust_name_time = true;
    let mut stripped = manifest(&store, &newest).await;
    stripped.needs.retain(|need| need.id == ancestors[0]);
    assert_eq!(stripped.needs.len(), 1);
    store.delete(&newest.manifest()).await.unwrap();
    put(&store, &newest.manifest(), &stripped.encode(&[9; 32], None).unwrap().0).await;
    let before = objects(&store).await;
    let plan = prune(&store, &options, &Belief::default(), &context()).await.unwrap();
    assert_eq!(reason(&plan, &ancestors[0]), Reason::NeededBy(newest.clone()));
    assert_eq!(reason(&plan, &ancestors[1]), Reason::MayBeNeededBy(newest.clone()));
    let plan = prune(&store, &options, &key, &context()).await.unwrap();
    assert_eq!(plan.blocked.values().next(), Some(&Reason::Unreadable(newest.clone())));
    let refused = rm(&store, &ancestors[1], &removing(), &Belief::default(), &context()).await.unwrap_err();
    assert!(refused.code() == "retention.referenced" && refused.to_string().contains("may need it"), "{refused}");
    assert_eq!(objects(&store).await, before);
}

/// The set's object is no reason not to look at the archive.
#[tokio::test]
async fn an_archive_with_a_set_planted_under_its_name_still_keeps_what_it_needs() {
    let (store, newest, ancestors) = chain().await;
    let member = ArchiveId::new(&newest.guid(), newest.millis() + 77).unwrap();
    put(&store, &newest.set(), &planted_set(newest.clone(), &[&member])).await;
    let mut options = PruneOptions { grace: Duration::ZERO, ..keeping(1) };
    options.policy.trust_name_time = true;
    let before = objects(&store).await;
    let plan = prune(&store, &options, &Belief::default(), &context()).await.unwrap();
    assert_eq!(reason(&plan, &newest), Reason::UnknownSidecar);
    assert!(ancestors.iter().all(|id| plan.rows.iter().any(|row| row.id == *id && row.deed == Deed::Kept)), "{plan:?}");
    let error = rm(&store, &ancestors[0], &removing(), &Belief::default(), &context()).await.unwrap_err();
    assert_eq!(error.code(), "retention.referenced");
    let left = objects(&store).await;
    assert!(before.keys().all(|name| left.contains_key(name)));
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_or_is_of_a_later_version_keeps_its_source() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 4).await;
    let bytes = store.get(&ids[1].manifest(), 1 << 20).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    for spoilt in
        [text.replace("\"crit\":[]", "\"crit\":[\"thin\"]"), text[..200].to_owned(), text.replace("pg-main", "pg-mail")]
    {
        store.delete(&ids[1].manifest()).await.unwrap();
        put(&store, &ids[1].manifest(), spoilt.as_bytes()).await;
        let pruned = run(&store, &PruneOptions { grace: Duration::ZERO, ..keeping(1) }, &context).await;
        assert_eq!(archives(&store).await, ids);
        assert_eq!(pruned.blocked.values().next(), Some(&Reason::Unreadable(ids[1].clone())));
        // Nor is another one deleted by hand, unless that is insisted on.
        let error = rm(&store, &ids[0], &removing(), &Belief::default(), &context).await.unwrap_err();
        assert_eq!(error.code(), "retention.referenced");
    }
    let done = rm(&store, &ids[1], &removing(), &Belief::default(), &context).await.unwrap();
    assert!(done.deleted);
    let pruned = run(&store, &PruneOptions { grace: Duration::ZERO, ..keeping(1) }, &context).await;
    assert_eq!((of(&pruned, &Deed::Deleted).len(), archives(&store).await), (2, vec![ids[3].clone()]));
}

#[tokio::test]
async fn the_seal_of_another_key_keeps_the_source_and_an_archive_of_another_key_is_passed_over() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    let other = made(&store, &context, b"other", own(native(Encryption::Raw(Secret([8; 32]))))).await;
    let plan = prune(&store, &planning(keeping(1)), &with_key(), &context).await.unwrap();
    assert_eq!(of(&plan, &Deed::PassedOver), [other]);
    assert_eq!(of(&plan, &Deed::WouldExpire), ids[..2]);
    let (forged, _) = manifest(&store, &ids[1]).await.encode(&[9; 32], None).unwrap();
    store.delete(&ids[1].manifest()).await.unwrap();
    put(&store, &ids[1].manifest(), &forged).await;
    let plan = prune(&store, &planning(keeping(1)), &with_key(), &context).await.unwrap();
    assert_eq!(of(&plan, &Deed::WouldExpire), []);
    assert_eq!(plan.blocked.len(), 1);
}

/// A set that somebody else makes, sealed with a key of theirs.
fn planted_set(id: ArchiveId, members: &[&ArchiveId]) -> Vec<u8> {
    let members =
        members.iter().map(|id| Member { name: id.to_string(), id: (*id).clone(), root: [0; 32], role: None });
    let set = Set {
        created: "2026-01-31T02:00:00Z".to_owned(),
        finished: None,
        lock: Lock { salt: [1; 32], commit: [2; 32], keys: Vec::new(), open: None, signature: None },
        source: None,
        name: None,
        tags: Vec::new(),
        members: members.collect(),
        private: None,
        id,
    };
    set.encode(&[9; 32], None).unwrap().0
}

#[tokio::test]
async fn members_of_a_set_go_together_and_an_unreadable_set_keeps_everything() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 4).await;
    let guid: Guid = "22222222-0000-4000-8000-000000000000".parse().unwrap();
    let set = |time: u64, members: &[&ArchiveId]| {
        let id = ArchiveId::new(&guid, time).unwrap();
        (id.set(), planted_set(id, members))
    };
    // The second shares a member with what is kept.
    let sets = [set(BEGIN, &[&ids[0], &ids[1]]), set(BEGIN + 1, &[&ids[2], &ids[3]])];
    for (name, bytes) in &sets {
        put(&store, name, bytes).await;
    }
    let junk = format!("{guid}-{}.set.json", BEGIN + 2);
    put(&store, &junk, b"{}").await;
    let options = PruneOptions { grace: Duration::ZERO, ..keeping(1) };
    assert!(matches!(run(&store, &options, &context).await.blocked.values().next(), Some(Reason::UnreadableSet(_))));
    store.delete(&junk).await.unwrap();
    assert_eq!(
        rm(&store, &ids[0], &removing(), &Belief::default(), &context).await.unwrap_err().code(),
        "retention.referenced"
    );
    let done = run(&store, &options, &context).await;
    assert_eq!((of(&done, &Deed::Deleted), done.sets), (ids[..2].to_vec(), vec![sets[0].0.clone()]));
    assert!(matches!(reason(&run(&store, &options, &context).await, &ids[2]), Reason::InSet(_)));
    assert_eq!(archives(&store).await, ids[2..]);
}

#[tokio::test]
async fn a_tombstone_on_an_upload_that_runs_or_on_a_stream_without_a_document_deletes_nothing() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    // Parts without a manifest, as while it is written, and as after somebody lost it.
    let whole = store.get(&ids[2].part(0), 1 << 20).await.unwrap().unwrap();
    store.delete(&ids[2].manifest()).await.unwrap();
    put(&store, &ids[2].tombstone(), b"{}").await;
    clock.pass(DAY * 5);
    for _ in 0..2 {
        let pruned = run(&store, &keeping(2), &context).await;
        assert_eq!(reason(&pruned, &ids[2]), Reason::HalfDeletedAndKept);
    }
    assert_eq!(store.get(&ids[2].part(0), 1 << 20).await.unwrap().unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_protects_is_told_and_goes_when_it_may() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket/pg").await;
    let mut ids = Vec::new();
    for day in 0..3 {
        ids.push(back_up(&store, format!("day {day}").as_bytes(), raw()).await.unwrap().id);
    }
    let options = PruneOptions { grace: Duration::ZERO, ..keeping(1) };
    // The manifest of one, and what lies behind it of the other.
    server.lock(&[&ids[0].manifest(), &ids[1].part(0)]);
    let done = run(&store, &options, &context()).await;
    let deeds: Vec<_> = done.rows.iter().map(|row| &row.deed).collect();
    assert!(
        matches!(deeds[..], [Deed::Locked(one), Deed::Locked(other), Deed::Kept] if one.code == "store.locked" && other.text.contains("object lock")),
        "{:?}",
        done.rows
    );
    assert_eq!(restored(&store, &ids[0], &raw_keyring()).await, b"day 0", "not half of it goes");
    assert_eq!(archives(&store).await, [ids[0].clone(), ids[2].clone()]);
    let again = run(&store, &options, &context()).await;
    assert_eq!(reason(&again, &ids[1]), Reason::HalfDeleted);
    server.lock(&[]);
    run(&store, &options, &context()).await;
    let left = objects(&store).await;
    assert!(left.keys().all(|name| name.starts_with(ids[2].as_str()) || name.ends_with(".expired")), "{left:?}");
    assert_eq!(left.len(), 3);
}

#[tokio::test]
async fn what_may_not_be_deleted_is_told_for_each_archive() {
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|inner| faults.wrap(inner));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(back_up(&store, b"x", raw()).await.unwrap().id);
    }
    // The probe of the clock is deleted before and after the tombstones.
    faults.fail(Call::Delete, 3..=3, When::Before, Failure::Denied);
    let done = run(&store, &PruneOptions { grace: Duration::ZERO, ..keeping(1) }, &context()).await;
    let refused =
        done.rows.iter().filter(|row| matches!(&row.deed, Deed::Refused(finding) if finding.code == "store.denied"));
    assert_eq!((refused.count(), of(&done, &Deed::Deleted).len()), (1, 1), "{:?}", done.rows);
}

#[tokio::test]
async fn a_store_that_overwrites_is_pruned_like_any_other() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    let faults = Faults::new();
    let lying = store.clone().with_wrapper(|inner| faults.wrap(inner));
    faults.ignore_conditions();
    run(&lying, &keeping(1), &context).await;
    run(&lying, &keeping(1), &context).await;
    clock.pass(DAY);
    assert_eq!(of(&run(&lying, &keeping(1), &context).await, &Deed::Deleted), ids[..2]);
    assert_eq!(archives(&store).await, ids[2..]);
}

#[tokio::test]
async fn an_interrupted_run_stops_between_two_archives() {
    let (clock, store, _) = place();
    let context = Context::system(Some(1)).unwrap();
    for _ in 0..3 {
        back_up(&store, b"x", raw()).await.unwrap();
    }
    clock.set(u64::try_from(Timestamp::now().as_millisecond()).unwrap());
    context.interrupt.set();
    let mut options = PruneOptions { grace: Duration::ZERO, ..keeping(1) };
    options.policy.trust_name_time = true;
    // Tombstones were made: that is told.
    let pruned = prune(&store, &options, &Belief::default(), &context).await.unwrap();
    assert!(matches!(pruned.stopped, Some(Error::Interrupted { .. })), "{:?}", pruned.stopped);
    assert_eq!((of(&pruned, &Deed::Expired).len(), archives(&store).await.len()), (2, 3));
}

/// Whether this is a deletion that was begun, and which ended with this code.
fn is_begun(deed: &Deed, code: &str) -> bool {
    matches!(deed, Deed::Begun(finding) if finding.code == code)
}

#[tokio::test]
async fn a_store_that_fails_on_the_way_ends_the_run_and_what_is_gone_until_then_is_told() {
    for fails_at in [1, 5, 9] {
        let (clock, store, context) = place();
        let ids = days(&clock, &store, &context, 30).await;
        run(&store, &PruneOptions { force: true, ..keeping(2) }, &context).await;
        clock.pass(DAY);
        let faults = Faults::new();
        let failing = store.clone().with_wrapper(|inner| faults.wrap(inner));
        // The clock's probe is the first thing that is deleted.
        let broken = Failure::Io(std::io::ErrorKind::InvalidData);
        faults.fail(Call::Delete, 1 + fails_at..=usize::MAX, When::Before, broken);
        let pruned = run(&failing, &PruneOptions { force: true, ..keeping(2) }, &context).await;
        assert_eq!(pruned.stopped.as_ref().map(Error::code), Some("store.failed"));
        let (gone, stay) = (of(&pruned, &Deed::Deleted), archives(&store).await);
        assert!(gone.len() < 28 && gone.iter().all(|id| !stay.contains(id)), "{fails_at}: {gone:?}");
        let begun = pruned.rows.iter().filter(|row| is_begun(&row.deed, "store.failed")).count();
        assert!((1..=8).contains(&begun), "{fails_at}: {begun}");
        let missing = ids.iter().filter(|id| !stay.contains(id)).count();
        assert!((gone.len()..=gone.len() + begun).contains(&missing), "{fails_at}: {missing} of {gone:?} and {begun}");
        assert!(fails_at == 1 || missing > 0);
        // The next run comes to the same end as one that nothing stopped.
        let again = run(&store, &PruneOptions { force: true, ..keeping(2) }, &context).await;
        assert!(again.stopped.is_none());
        assert_eq!(archives(&store).await, ids[28..]);
    }
}

#[tokio::test]
async fn what_fails_before_anything_is_done_is_an_error_and_no_report() {
    let (clock, store, context) = place();
    days(&clock, &store, &context, 3).await;
    let faults = Faults::new();
    let failing = store.clone().with_wrapper(|inner| faults.wrap(inner));
    faults.fail(Call::Put, 2..=usize::MAX, When::Before, Failure::Io(std::io::ErrorKind::InvalidData));
    let error = prune(&failing, &keeping(1), &Belief::default(), &context).await.unwrap_err();
    assert_eq!(error.code(), "store.failed");
}

#[tokio::test]
async fn rm_that_the_store_ends_says_that_it_was_begun() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 2).await;
    let faults = Faults::new();
    let failing = store.clone().with_wrapper(|inner| faults.wrap(inner));
    faults.fail(Call::Delete, 2..=2, When::Before, Failure::Io(std::io::ErrorKind::InvalidData));
    let removed = rm(&failing, &ids[0], &removing(), &Belief::default(), &context).await.unwrap();
    assert_eq!((removed.deleted, removed.stopped.as_ref().map(Error::code)), (false, Some("store.failed")));
    assert_eq!(archives(&store).await, ids[1..]);
    let finished = rm(&store, &ids[0], &removing(), &Belief::default(), &context).await.unwrap();
    assert!(finished.deleted && finished.stopped.is_none());
}

/// One listing, and one small read for each archive: as many as for a list with names.
#[tokio::test]
async fn a_plan_costs_one_listing_and_one_read_for_each_archive() {
    let record = Record::default();
    let store = record.store();
    let mut ids = Vec::new();
    for _ in 0..20 {
        let mut options = raw();
        options.part_size = Some(70_000);
        ids.push(back_up(&store, &content(200_000, true), options).await.unwrap().id);
    }
    let _ = record.taken();
    run(&store, &planning(keeping(3)), &context()).await;
    let asked = record.taken();
    let count = |call| asked.iter().filter(|asked| asked.call == call).count();
    assert_eq!((count(Call::List), count(Call::Get), asked.len()), (1, 20, 21));
    // A tombstone for each that goes, and the clock; what is kept is asked whether it stands alone.
    run(&store, &keeping(3), &context()).await;
    let asked = record.taken();
    let count = |call| asked.iter().filter(|asked| asked.call == call).count();
    assert_eq!((count(Call::Put), count(Call::Get)), (1 + 17, 20 + 3));
}

fn removing() -> RmOptions {
    RmOptions { delete: true, force: false, keep_members: false, by: "test".to_owned() }
}

#[tokio::test]
async fn rm_deletes_one_archive_unless_something_speaks_against_it() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 3).await;
    let belief = Belief::default();
    let before = objects(&store).await;
    let dry = rm(&store, &ids[0], &RmOptions { delete: false, ..removing() }, &belief, &context).await.unwrap();
    assert!(!dry.deleted && dry.parts == 1 && objects(&store).await == before);
    for (id, code) in [
        (&ids[2], "retention.newest"),
        (&"00000000-0000-4000-8000-000000000000-1740130000".parse().unwrap(), "archive.not-found"),
    ] {
        assert_eq!(rm(&store, id, &removing(), &belief, &context).await.unwrap_err().code(), code);
    }
    hold(&store, &ids[0], "", "ops", &context).await.unwrap();
    assert_eq!(
        rm(&store, &ids[0], &RmOptions { force: true, ..removing() }, &belief, &context).await.unwrap_err().code(),
        "retention.held"
    );
    release(&store, &ids[0]).await.unwrap();
    put(&store, &format!("{}.future.1", ids[1]), b"").await;
    assert_eq!(rm(&store, &ids[1], &removing(), &belief, &context).await.unwrap_err().code(), "retention.held");
    note(&store, &ids[0], "gone soon", "ops", &context).await.unwrap();
    assert!(rm(&store, &ids[0], &removing(), &belief, &context).await.unwrap().deleted);
    assert!(objects(&store).await.keys().all(|name| !name.starts_with(ids[0].as_str())));
    // What still uploads is gc's.
    store.delete(&ids[2].manifest()).await.unwrap();
    assert_eq!(rm(&store, &ids[2], &removing(), &belief, &context).await.unwrap_err().code(), "archive.uncommitted");
    store.delete(&format!("{}.future.1", ids[1])).await.unwrap();
    assert!(rm(&store, &ids[1], &RmOptions { force: true, ..removing() }, &belief, &context).await.unwrap().deleted);
}

#[tokio::test]
async fn notes_tags_and_holds_are_new_objects_that_can_be_read_again() {
    let (clock, store, context) = place();
    let ids = days(&clock, &store, &context, 2).await;
    let before = objects(&store).await;
    note(&store, &ids[0], "the one before the upgrade", "ops", &context).await.unwrap();
    tag(&store, &ids[0], &["release-17".to_owned(), "x".to_owned()], "ops", &context).await.unwrap();
    hold(&store, &ids[0], "audit", "legal", &context).await.unwrap();
    for (name, bytes) in &before {
        assert_eq!(objects(&store).await[name], *bytes);
    }
    let said = remarks(&store, &ids[0]).await.unwrap();
    let texts: Vec<_> = said.iter().map(|remark| (remark.word, remark.text.as_str(), remark.by.as_str())).collect();
    assert_eq!(
        texts,
        [(Word::Hold, "audit", "legal"), (Word::Note, "the one before the upgrade", "ops"), (Word::Tag, "", "ops")]
    );
    for error in [
        note(&store, &ids[0], " ", "ops", &context).await.unwrap_err(),
        tag(&store, &ids[0], &[String::new()], "ops", &context).await.unwrap_err(),
        note(&store, &ids[0], &"x".repeat(70_000), "ops", &context).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "usage.arguments");
    }
    let missing = "00000000-0000-4000-8000-000000000000-1740130000".parse().unwrap();
    for error in [
        hold(&store, &missing, "", "ops", &context).await.unwrap_err(),
        release(&store, &missing).await.unwrap_err(),
        note(&store, &missing, "x", "ops", &context).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "archive.not-found");
    }
    let mut options = planning(keeping(1));
    options.policy.tags = ["release-17".to_owned()].into();
    release(&store, &ids[0]).await.unwrap();
    assert_eq!(reason(&run(&store, &options, &context).await, &ids[0]), Reason::Tag("release-17".to_owned()));
}

/// X12: two prunes and a backup, in many orders: what is kept and what is new is whole, and nothing is half there in the end.
#[tokio::test]
async fn two_prunes_and_a_backup_at_once_are_safe_in_every_order() {
    let whole = Store::memory();
    let mut ids = Vec::new();
    for day in 0..5 {
        ids.push(back_up(&whole, format!("day {day}").as_bytes(), raw()).await.unwrap().id);
    }
    let before = objects(&whole).await;
    for seed in 0..40_u64 {
        let store = Store::memory();
        for (name, bytes) in &before {
            put(&store, name, bytes).await;
        }
        let slow = |number: u64| store.clone().with_wrapper(|inner| dawdling(seed * 3 + number, inner));
        let (one, other, third) = (slow(0), slow(1), slow(2));
        // Two policies, even: what either keeps may go by the other, and nothing else.
        let options = |last| PruneOptions { grace: Duration::ZERO, ..keeping(last) };
        let (belief, context, wide, narrow) =
            (Belief::default(), context(), options(2 + u32::try_from(seed % 2).unwrap()), options(2));
        let (first, second, made) = tokio::join!(
            prune(&one, &narrow, &belief, &context),
            prune(&other, &wide, &belief, &context),
            back_up(&third, b"new", raw()),
        );
        first.unwrap();
        second.unwrap();
        let made = made.unwrap().id;
        run(&store, &narrow, &context).await;
        let left = archives(&store).await;
        assert!(left.contains(&ids[4]) && left.contains(&made), "seed {seed}: {left:?}");
        assert_eq!(restored(&store, &ids[4], &raw_keyring()).await, b"day 4");
        assert_eq!(restored(&store, &made, &raw_keyring()).await, b"new");
        let all = catalog::list(&store, &Filter { incomplete: true, ..Filter::default() }, false).await.unwrap();
        assert!(all.iter().all(|entry| entry.state == State::Committed), "seed {seed}: {all:?}");
        let strangers =
            objects(&store).await.into_keys().filter(|name| !left.iter().any(|id| name.starts_with(id.as_str())));
        let strangers: Vec<_> = strangers.collect();
        assert!(
            strangers.len() <= 1 && strangers.iter().all(|name| name.ends_with(".expired")),
            "seed {seed}: {strangers:?}"
        );
    }
}

/// In a directory the times are those of its files.
#[tokio::test]
async fn a_directory_is_pruned_by_the_times_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::open(folder.path()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(back_up(&store, b"x", raw()).await.unwrap().id);
    }
    run(&store, &keeping(1), &context()).await;
    run(&store, &keeping(1), &context()).await;
    assert_eq!(archives(&store).await, ids);
    let age = |path: &Path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - DAY - Duration::from_secs(9)).unwrap();
    };
    age(&folder.path().join(ids[0].tombstone()));
    assert_eq!(of(&run(&store, &keeping(1), &context()).await, &Deed::Deleted), ids[..1]);
    assert_eq!(archives(&store).await, ids[1..]);
}

/// A directory is read from one end to the other whatever is asked of it, so that a listing for each of many archives would take their square.
#[tokio::test]
async fn many_archives_of_a_directory_go_without_a_listing_for_each() {
    const MANY: u32 = 1000;
    let folder = tempfile::tempdir().unwrap();
    let store = common::open(folder.path()).await;
    let now = SystemTime::now();
    let age = |path: &Path, to: SystemTime| {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(to).unwrap();
    };
    let mut ids = Vec::new();
    for n in 0..MANY {
        let begun = now - 3 * DAY - Duration::from_secs(30) * n;
        let millis = u64::try_from(begun.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let id = ArchiveId::new(&GUID.with(Guid::clone), millis).unwrap();
        let path = folder.path().join(id.as_str());
        std::fs::write(&path, [&b"Salted__"[..], &[0; 4088]].concat()).unwrap();
        age(&path, begun);
        ids.push(id);
    }
    let going = &ids[1..];
    assert_eq!(of(&run(&store, &keeping(1), &context()).await, &Deed::Expired).len(), going.len());
    for id in going {
        age(&folder.path().join(id.tombstone()), now - DAY - Duration::from_secs(9));
    }
    let before = store.requests().lists;
    let held = &going[500];
    hold(&store, held, "the audit", "me", &context()).await.unwrap();
    let done = run(&store, &keeping(1), &context()).await;
    let lists = store.requests().lists - before;
    assert_eq!(of(&done, &Deed::Deleted).len(), going.len() - 1);
    assert_eq!(archives(&store).await, [held.clone(), ids[0].clone()]);
    assert!((2..MANY / 4).contains(&u32::try_from(lists).unwrap()), "{lists} listings");
}
