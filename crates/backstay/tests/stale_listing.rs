//! Listings that lag behind, under the verbs that delete, and under `copy`. What a listing does not show yet may make them do less than they could; no good
//! archive goes for it that `docs/retention.md` calls safe.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{add_slots, back_up, content, context, native, objects, raw_keyring, read, recipient, restored};
use backstay::backup::BackupOptions;
use backstay::copy::{CopyOptions, copy};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::reassemble::{ReassembleOptions, reassemble};
use backstay::retention::{
    Belief, Deed, GRACE, Policy, PruneOptions, Pruned, RmOptions, hold, prune, release, rm, tag,
};
use backstay::verify::{Depth, verify};
use backstay::{Context, RestoreOptions, Silent};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::schedule::{Secret, sha256};
use backstay_store::Store;
use backstay_testkit::{Clocked, Faults};
use bytes::Bytes;
use jiff::Timestamp;

/// 2026-02-01T02:00:00Z
const BEGIN: u64 = 1_769_911_200_000;
const DAY: Duration = Duration::from_secs(86_400);

/// A store whose listings can be stopped and whose time can be set, the same one without faults, and a machine with its time.
struct Place {
    faults: Faults,
    clock: Clocked,
    store: Store,
    plain: Store,
    machine: Context,
    options: fn() -> BackupOptions,
}

impl Place {
    /// Each test has a source of its own, since ids of one rise in a process.
    fn new(options: fn() -> BackupOptions) -> Place {
        let (faults, clock) = (Faults::new(), Clocked::at(BEGIN));
        let (plain, ticking) = (clock.store(), clock.clone());
        let store = plain.clone().with_wrapper(|objects| faults.wrap(objects));
        let now = move || Timestamp::from_millisecond(i64::try_from(ticking.millis()).unwrap()).unwrap();
        Place { faults, clock, store, plain, machine: context().with_clock(now), options }
    }

    /// An archive of today, and then it is tomorrow.
    async fn made(&self, store: &Store, bytes: &[u8]) -> ArchiveId {
        let source = backstay::source::Source::Reader(Box::new(std::io::Cursor::new(bytes.to_vec())));
        let made = backstay::backup(store, source, (self.options)(), &self.machine, Arc::new(Silent)).await.unwrap();
        self.clock.pass(DAY);
        made.id
    }

    async fn pruned(&self, store: &Store, policy: Policy, grace: Duration) -> Pruned {
        let options = PruneOptions { policy, grace, delete: true, force: true, by: "test".to_owned() };
        prune(store, &options, &Belief::default(), &self.machine).await.unwrap()
    }

    async fn is_whole(&self, id: &ArchiveId, bytes: &[u8]) -> bool {
        read(&self.plain, id, &raw_keyring(), &RestoreOptions::default()).await.is_ok_and(|found| found == bytes)
    }
}

fn of(guid: &str) -> BackupOptions {
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.guid = guid.parse().unwrap();
    options.part_size = Some(70_000);
    options
}

fn last(last: u32) -> Policy {
    Policy { last, ..Policy::default() }
}

fn deeds(pruned: &Pruned) -> Vec<&Deed> {
    pruned.rows.iter().map(|row| &row.deed).collect()
}

fn text(first: u8) -> Vec<u8> {
    let mut content = content(150_000, true);
    content[0] = first;
    content
}

#[tokio::test]
async fn a_hold_that_is_not_listed_is_not_called_one() {
    let place = Place::new(|| of("5ca1ab1e-0000-4000-8000-000000000001"));
    let id = place.made(&place.plain, &text(0)).await;
    place.faults.freeze_listings();
    let refused = hold(&place.store, &id, "why", "test", &place.machine).await.unwrap_err();
    assert_eq!(refused.code(), "store.failed");
    assert!(refused.to_string().contains("does not list it") && refused.to_string().contains("hold"), "{refused}");
    // It is there, and once it is listed it holds.
    place.faults.clear();
    place.made(&place.plain, &text(1)).await;
    let pruned = place.pruned(&place.store, last(1), Duration::ZERO).await;
    assert_eq!(deeds(&pruned), [&Deed::Kept, &Deed::Kept]);
    assert_eq!(release(&place.store, &id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_held_or_tagged_within_the_grace_stays_although_the_run_that_made_the_tombstone_did_not_see_it() {
    let place = Place::new(|| of("5ca1ab1e-0000-4000-8000-000000000002"));
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(place.made(&place.plain, &text(n)).await);
    }
    place.faults.freeze_listings();
    // Both are there, and the pruner's listings do not show them.
    hold(&place.store, &ids[0], "why", "test", &place.machine).await.unwrap_err();
    tag(&place.store, &ids[1], &["keep".to_owned()], "test", &place.machine).await.unwrap();
    let keeping = || Policy { tags: ["keep".to_owned()].into(), ..last(1) };
    let pruned = place.pruned(&place.store, keeping(), GRACE).await;
    assert_eq!(deeds(&pruned), [&Deed::Expired, &Deed::Expired, &Deed::Expired, &Deed::Kept]);
    place.faults.clear();
    place.clock.pass(GRACE);
    let pruned = place.pruned(&place.store, keeping(), GRACE).await;
    assert_eq!(deeds(&pruned), [&Deed::Kept, &Deed::Kept, &Deed::Deleted, &Deed::Kept]);
    for (n, whole) in [(0, true), (1, true), (2, false), (3, true)] {
        assert_eq!(place.is_whole(&ids[usize::from(n)], &text(n)).await, whole, "{n}");
    }
    // And both have the whole grace before them again.
    let left: Vec<String> = objects(&place.plain).await.into_keys().collect();
    assert!(!left.contains(&ids[0].tombstone()) && !left.contains(&ids[1].tombstone()), "{left:?}");
}

#[tokio::test]
async fn an_archive_whose_manifest_is_not_listed_is_passed_over_and_takes_no_place() {
    let place = Place::new(|| of("5ca1ab1e-0000-4000-8000-000000000003"));
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(place.made(&place.plain, &text(n)).await);
    }
    place.pruned(&place.plain, last(2), GRACE).await;
    place.clock.pass(GRACE);
    let manifest = place.plain.get(&ids[2].manifest(), 1 << 20).await.unwrap().unwrap();
    place.plain.delete(&ids[2].manifest()).await.unwrap();
    place.faults.freeze_listings();
    place.store.create(&ids[2].manifest(), manifest.clone(), sha256(&manifest)).await.unwrap();
    let pruned = place.pruned(&place.store, last(1), GRACE).await;
    assert_eq!(deeds(&pruned), [&Deed::Deleted, &Deed::Kept, &Deed::PassedOver]);
    assert!(place.is_whole(&ids[1], &text(1)).await && place.is_whole(&ids[2], &text(2)).await);
    // By name neither goes: the one is the newest good one that can be seen, the other seems to be an upload.
    let options = RmOptions { delete: true, force: false, keep_members: false, by: "test".to_owned() };
    for (id, code) in [(&ids[1], "retention.newest"), (&ids[2], "archive.uncommitted")] {
        let refused = rm(&place.store, id, &options, &Belief::default(), &place.machine).await.unwrap_err();
        assert_eq!(refused.code(), code);
    }
    assert!(place.is_whole(&ids[1], &text(1)).await && place.is_whole(&ids[2], &text(2)).await);
}

#[tokio::test]
async fn archives_that_are_gone_and_still_listed_take_nobody_s_place() {
    let place = Place::new(|| of("5ca1ab1e-0000-4000-8000-000000000004"));
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(place.made(&place.plain, &text(n)).await);
    }
    place.pruned(&place.plain, last(2), GRACE).await;
    place.clock.pass(GRACE);
    place.faults.freeze_listings();
    let force = RmOptions { delete: true, force: true, keep_members: false, by: "test".to_owned() };
    rm(&place.store, &ids[2], &force, &Belief::default(), &place.machine).await.unwrap();
    // The newest one that is left is kept by the rule and by its place, whatever the listing says.
    let pruned = place.pruned(&place.store, last(1), GRACE).await;
    let fate = |id: &ArchiveId| pruned.rows.iter().find(|row| row.id == *id).map(|row| row.deed.clone());
    assert_eq!((fate(&ids[0]), fate(&ids[1])), (Some(Deed::Deleted), Some(Deed::Kept)));
    assert!(place.is_whole(&ids[1], &text(1)).await);
    let plain = RmOptions { force: false, ..force };
    let refused = rm(&place.store, &ids[1], &plain, &Belief::default(), &place.machine).await.unwrap_err();
    assert_eq!(refused.code(), "retention.newest");
}

#[tokio::test]
async fn a_tombstone_that_is_not_listed_yet_deletes_nothing_however_short_the_grace() {
    let place = Place::new(|| of("5ca1ab1e-0000-4000-8000-000000000006"));
    let mut ids = Vec::new();
    for n in 0..2 {
        ids.push(place.made(&place.plain, &text(n)).await);
    }
    place.faults.freeze_listings();
    for _ in 0..2 {
        let pruned = place.pruned(&place.store, last(1), Duration::ZERO).await;
        assert_eq!(deeds(&pruned), [&Deed::Expired, &Deed::Kept]);
        assert!(place.is_whole(&ids[0], &text(0)).await);
    }
    place.faults.clear();
    let pruned = place.pruned(&place.store, last(1), Duration::ZERO).await;
    assert_eq!(deeds(&pruned), [&Deed::Deleted, &Deed::Kept]);
}

#[tokio::test]
async fn a_tombstone_that_was_taken_away_and_is_still_listed_makes_nothing_go_that_is_kept() {
    let place = Place::new(|| of("5ca1ab1e-0000-4000-8000-000000000005"));
    let mut ids = Vec::new();
    for n in 0..2 {
        ids.push(place.made(&place.plain, &text(n)).await);
    }
    place.pruned(&place.plain, last(1), GRACE).await;
    place.clock.pass(GRACE);
    place.faults.freeze_listings();
    // A wider policy takes it away; the next runs see it all the same.
    for _ in 0..2 {
        let pruned = place.pruned(&place.store, last(2), GRACE).await;
        assert_eq!(deeds(&pruned), [&Deed::Kept, &Deed::Kept]);
    }
    assert!(place.is_whole(&ids[0], &text(0)).await && place.is_whole(&ids[1], &text(1)).await);
}

#[tokio::test]
async fn a_copy_of_what_is_not_listed_whole_is_no_archive_and_the_next_one_brings_the_rest() {
    let identity = age::x25519::Identity::generate();
    let mut reader = Keyring::default();
    reader.add_identity(Box::new(identity.clone()));
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let mut options = native(slots);
    options.part_size = Some(70_000);
    let made = Store::memory();
    let id = back_up(&made, &text(0), options).await.unwrap().id;
    let later = age::x25519::Identity::generate();
    let new = add_slots(&made, &id, &reader, &[recipient(&later)], None).await.unwrap();
    let whole = objects(&made).await;
    let transfer = |from: Store, to: Store| {
        let id = id.clone();
        async move { copy(&from, &to, &id, &CopyOptions::default(), &context(), Arc::new(Silent)).await }
    };
    for (unseen, code) in
        [(id.part(1), Some("part.missing")), (id.manifest(), Some("archive.uncommitted")), (new[0].clone(), None)]
    {
        let (faults, plain, to) = (Faults::new(), Store::memory(), Store::memory());
        let from = plain.clone().with_wrapper(|objects| faults.wrap(objects));
        let create = |store: Store, name: String, bytes: Bytes| async move {
            let digest = sha256(&bytes);
            store.create(&name, bytes, digest).await.unwrap();
        };
        for (name, bytes) in whole.iter().filter(|(name, _)| **name != unseen) {
            create(plain.clone(), name.clone(), bytes.clone()).await;
        }
        faults.freeze_listings();
        create(from.clone(), unseen.clone(), whole[&unseen].clone()).await;
        let copied = transfer(from.clone(), to.clone()).await;
        assert_eq!(copied.as_ref().err().map(backstay::Error::code), code, "{unseen}");
        let there = objects(&to).await;
        match code {
            Some(_) => assert!(!there.contains_key(&id.manifest()), "{unseen}"),
            // A key that was let in a moment before is not there yet, and every other one opens the copy.
            None => {
                assert!(!there.contains_key(&unseen));
                assert!(restored(&to, &id, &reader).await == text(0));
            }
        }
        faults.clear();
        transfer(from, to.clone()).await.unwrap();
        assert_eq!(objects(&to).await, whole, "{unseen}");
    }
    // The store that is copied to is asked for each name, and its listings do not matter.
    let (faults, plain) = (Faults::new(), Store::memory());
    let to = plain.clone().with_wrapper(|objects| faults.wrap(objects));
    faults.freeze_listings();
    for sent in [true, false] {
        assert_eq!(transfer(made.clone(), to.clone()).await.unwrap().sent > 0, sent);
    }
    assert_eq!(objects(&plain).await, whole);
}

/// An archive of which this object goes while somebody reads it: it was listed, and is not there when it is fetched.
async fn vanishing(object: impl Fn(&ArchiveId) -> String) -> (Store, ArchiveId) {
    let (faults, plain) = (Faults::new(), Store::memory());
    let store = plain.clone().with_wrapper(|objects| faults.wrap(objects));
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.part_size = Some(70_000);
    let id = back_up(&store, &content(400_000, true), options).await.unwrap().id;
    faults.freeze_listings();
    plain.delete(&object(&id)).await.unwrap();
    (store, id)
}

/// The network has nothing to do with it, as `store.failed` would say.
#[tokio::test]
async fn a_part_that_goes_while_it_is_read_is_missing() {
    let (store, id) = vanishing(|id| id.part(2)).await;
    let (ring, silent) = (raw_keyring(), Arc::new(Silent));
    let error = read(&store, &id, &ring, &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "part.missing", "{error}");
    let copied = copy(&store, &Store::memory(), &id, &CopyOptions::default(), &context(), silent.clone()).await;
    assert_eq!(copied.unwrap_err().code(), "part.missing");
    for depth in [Depth::Full, Depth::Deep] {
        let report =
            verify(&store, &id, &ring, depth, &ReadPolicy::default(), &context(), silent.clone()).await.unwrap();
        let codes: Vec<_> = report.findings.iter().map(|finding| finding.code).collect();
        assert!(codes.contains(&"part.missing") && !codes.contains(&"store.failed"), "{codes:?}");
    }
    store.delete(&id.manifest()).await.unwrap();
    let made = reassemble(&store, &id, &ring, &ReassembleOptions::default(), &context(), silent).await;
    assert_eq!(made.unwrap_err().code(), "part.missing");
}
