//! Backup sets under `prune`, `rm`, holds and tags: they are kept or go as a whole, and no set that somebody plants, damages or copies
//! makes an archive go that would have stayed.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{context, member_text, objects, raw_keyring, recipient, restored, set_of};
use backstay::catalog::{self, Filter, Selected};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::retention::{
    Belief, Deed, MemberFate, Policy, PruneOptions, Pruned, Reason, RmOptions, hold, note, prune, release, remarks, rm,
    tag,
};
use backstay::set::{self, SetReceipt};
use backstay::{Context, Error};
use backstay_format::ArchiveId;
use backstay_format::header::Lock;
use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, Manifest};
use backstay_format::schedule::{Secret, sha256};
use backstay_format::set::{Member, Set};
use backstay_format::signature::SigningKey;
use backstay_store::{RetryOptions, Store};
use backstay_testkit::faults::{Call, Failure, When};
use backstay_testkit::{Clocked, Faults};
use jiff::Timestamp;

/// 2026-01-01T02:00:00Z
const BEGIN: u64 = 1_767_232_800_000;
const DAY: Duration = Duration::from_secs(86_400);

/// A store whose time a test sets, and a machine with the same time.
fn place() -> (Clocked, Store, Context) {
    let clock = Clocked::at(BEGIN);
    let (store, context) = (clock.store(), at(&clock));
    (clock, store, context)
}

fn at(clock: &Clocked) -> Context {
    let ticking = clock.clone();
    context().with_clock(move || Timestamp::from_millisecond(i64::try_from(ticking.millis()).unwrap()).unwrap())
}

fn raw() -> Arc<Encryption> {
    Arc::new(Encryption::Raw(Secret([7; 32])))
}

const NAMES: [&str; 2] = ["a", "b"];

/// One set a day, the oldest first; the clock stands an hour after the last one. Ids of one source rise in a process, so each test
/// has a source of its own.
async fn days(
    clock: &Clocked,
    store: &Store,
    encryption: &Arc<Encryption>,
    source: &str,
    number: u32,
) -> Vec<SetReceipt> {
    let mut sets = Vec::new();
    for day in 0..number {
        sets.push(set_of(store, encryption, source, &NAMES, &at(clock)).await);
        clock.pass(if day + 1 == number { Duration::from_secs(3600) } else { DAY });
    }
    sets
}

fn keeping(last: u32) -> PruneOptions {
    let policy = Policy { last, ..Policy::default() };
    PruneOptions { policy, grace: DAY * 2, delete: true, force: false, by: "test".to_owned() }
}

async fn run(store: &Store, options: &PruneOptions, belief: &Belief, context: &Context) -> Pruned {
    prune(store, options, belief, context).await.unwrap()
}

/// Two runs with the grace between them.
async fn twice(clock: &Clocked, store: &Store, last: u32, belief: &Belief) -> Pruned {
    run(store, &keeping(last), belief, &at(clock)).await;
    clock.pass(DAY * 2);
    run(store, &keeping(last), belief, &at(clock)).await
}

fn with_key() -> Belief {
    Belief { keyring: raw_keyring(), ..Belief::default() }
}

fn deed(pruned: &Pruned, id: &ArchiveId) -> Deed {
    pruned.rows.iter().find(|row| row.id == *id).unwrap().deed.clone()
}

fn reason(pruned: &Pruned, id: &ArchiveId) -> Reason {
    pruned.rows.iter().find(|row| row.id == *id).unwrap().reasons[0].clone()
}

fn removing() -> RmOptions {
    RmOptions { delete: true, force: false, keep_members: false, by: "test".to_owned() }
}

async fn put(store: &Store, name: &str, bytes: &[u8]) {
    store.create(name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
}

async fn replace(store: &Store, name: &str, bytes: &[u8]) {
    store.delete(name).await.unwrap();
    put(store, name, bytes).await;
}

async fn get(store: &Store, name: &str) -> Vec<u8> {
    store.get(name, 1 << 30).await.unwrap().unwrap().to_vec()
}

/// A set that somebody else makes, sealed with a key of theirs.
fn planted(id: &ArchiveId, members: &[&ArchiveId]) -> Vec<u8> {
    let members = members.iter().enumerate().map(|(n, id)| Member {
        name: n.to_string(),
        id: (*id).clone(),
        root: [0; 32],
        role: None,
    });
    let set = Set {
        id: id.clone(),
        created: "2026-01-31T02:00:00Z".to_owned(),
        finished: None,
        lock: Lock { salt: [1; 32], commit: [2; 32], keys: Vec::new(), open: None, signature: None },
        source: None,
        name: None,
        tags: Vec::new(),
        members: members.collect(),
        private: None,
    };
    set.encode(&[9; 32], None).unwrap().0
}

/// The id of a set that is not there.
fn another(like: &ArchiveId) -> ArchiveId {
    ArchiveId::new(&like.guid(), like.millis() + 77).unwrap()
}

fn ids(set: &SetReceipt) -> [&ArchiveId; 2] {
    [&set.members[0].id, &set.members[1].id]
}

async fn is_whole(store: &Store, set: &SetReceipt, keyring: &Keyring) {
    set::open(store, &set.id, keyring, &ReadPolicy::default()).await.unwrap();
    set::demand_complete(store, &load(store, &set.id).await, &context()).await.unwrap();
    for (id, name) in ids(set).into_iter().zip(NAMES) {
        assert!(restored(store, id, keyring).await == member_text(name), "{id}");
    }
}

async fn load(store: &Store, id: &ArchiveId) -> Set {
    set::load(store, id).await.unwrap().set
}

/// What is stored under these names, but for tombstones.
async fn left_of(store: &Store, sets: &[&SetReceipt]) -> Vec<String> {
    let mut left: Vec<String> = objects(store).await.into_keys().collect();
    left.retain(|name| {
        !name.ends_with(".expired")
            && sets
                .iter()
                .any(|set| name.starts_with(set.id.as_str()) || ids(set).iter().any(|id| name.starts_with(id.as_str())))
    });
    left
}

#[tokio::test]
async fn a_set_goes_with_its_members_its_keyboxes_and_what_was_said_of_it() {
    let (clock, store, context) = place();
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity));
    let sets = days(&clock, &store, &Arc::new(slots), "keyboxes", 3).await;
    note(&store, &sets[0].id, "of the old server", "ops", &context).await.unwrap();
    assert!(objects(&store).await.contains_key(&sets[0].id.keybox(0)));
    let first = run(&store, &keeping(2), &Belief::default(), &context).await;
    assert_eq!(deed(&first, ids(&sets[0])[0]), Deed::Expired);
    assert!(objects(&store).await.contains_key(&sets[0].id.tombstone()));
    // A wider policy takes the set's tombstone away, too.
    run(&store, &keeping(3), &Belief::default(), &context).await;
    assert!(objects(&store).await.keys().all(|name| !name.ends_with(".expired")));

    let done = twice(&clock, &store, 2, &Belief::default()).await;
    assert_eq!(done.sets, [sets[0].id.set()]);
    assert_eq!(left_of(&store, &[&sets[0]]).await, [""; 0]);
    for set in &sets[1..] {
        is_whole(&store, set, &keyring).await;
    }
}

#[tokio::test]
async fn a_planted_set_ties_archives_together_and_makes_none_go() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "planted", 3).await;
    let plan = PruneOptions { delete: false, ..keeping(1) };
    let before = run(&store, &plan, &Belief::default(), &context).await;
    assert_eq!(deed(&before, ids(&sets[0])[0]), Deed::WouldExpire);

    // One member of what goes and one of what stays: all that it reaches stays.
    let fake = another(&sets[0].id);
    put(&store, &fake.set(), &planted(&fake, &[ids(&sets[0])[0], ids(&sets[2])[0]])).await;
    let after = run(&store, &plan, &Belief::default(), &context).await;
    for id in ids(&sets[0]) {
        assert!(matches!(reason(&after, id), Reason::InSet(_)), "{id}");
    }
    assert_eq!(deed(&after, ids(&sets[1])[0]), Deed::WouldExpire);
    // With a key it is seen to be somebody else's.
    let after = run(&store, &plan, &with_key(), &context).await;
    assert_eq!(reason(&after, ids(&sets[0])[0]), Reason::InClosedSet(fake.clone()));
    store.delete(&fake.set()).await.unwrap();

    // All of it goes: so does what was planted, and nothing else for it.
    put(&store, &fake.set(), &planted(&fake, &[ids(&sets[0])[0]])).await;
    let done = twice(&clock, &store, 2, &Belief::default()).await;
    assert_eq!(done.sets.len(), 2);
    for set in &sets[1..] {
        is_whole(&store, set, &raw_keyring()).await;
    }
}

#[tokio::test]
async fn a_set_that_is_planted_under_the_name_of_an_archive_hides_nothing_of_it() {
    let (clock, store, context) = place();
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity));
    let sets = days(&clock, &store, &Arc::new(slots), "hidden", 3).await;
    // Under that of a member of a set that is kept: its set must go on to keep it, and its keys must stay.
    let victim = ids(&sets[2])[0].clone();
    put(&store, &victim.set(), &planted(&victim, &[ids(&sets[0])[0]])).await;
    let done = twice(&clock, &store, 1, &Belief::default()).await;
    assert!(matches!(deed(&done, &victim), Deed::PassedOver | Deed::Kept));
    assert!(!done.sets.contains(&victim.set()));
    is_whole(&store, &sets[2], &keyring).await;
    // Nor does rm take what is not the set's; the set's object alone can go.
    let both = RmOptions { force: true, ..removing() };
    let refused = rm(&store, &victim, &both, &Belief::default(), &context).await.unwrap_err();
    assert!(refused.code() == "retention.referenced" && refused.to_string().contains("--keep-members"), "{refused}");
    let alone = RmOptions { keep_members: true, ..removing() };
    rm(&store, &victim, &alone, &Belief::default(), &context).await.unwrap();
    assert!(!objects(&store).await.contains_key(&victim.set()));
    is_whole(&store, &sets[2], &keyring).await;
}

#[tokio::test]
async fn a_damaged_set_and_one_that_is_stripped_keep_everything() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "damaged", 3).await;
    let whole = get(&store, &sets[0].id.set()).await;
    let plan = PruneOptions { delete: false, ..keeping(1) };
    let blocked = async |belief: &Belief| {
        let plan = run(&store, &plan, belief, &context).await;
        let gone = plan.rows.iter().filter(|row| row.deed == Deed::WouldExpire).count();
        let unreadable = Reason::UnreadableSet(sets[0].id.set());
        assert!(plan.blocked.values().all(|reason| *reason == unreadable), "{:?}", plan.blocked);
        assert_eq!(gone == 0, !plan.blocked.is_empty());
        gone == 0
    };
    assert!(!blocked(&with_key()).await);
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        replace(&store, &sets[0].id.set(), &damaged).await;
        assert!(blocked(&with_key()).await, "byte {at}");
    }
    for cut in [&whole[..0], &whole[..100], &whole[..whole.len() - 1], b"{}"] {
        replace(&store, &sets[0].id.set(), cut).await;
        assert!(blocked(&Belief::default()).await);
    }
    // Stripped of a member, with a digest that fits: without a key the rest of it still stands, with one it is seen.
    let mut stripped = load_from(&whole, &sets[0].id);
    stripped.members.pop();
    replace(&store, &sets[0].id.set(), &stripped.encode(&[9; 32], None).unwrap().0).await;
    assert!(!blocked(&Belief::default()).await);
    assert!(blocked(&with_key()).await);
    // Nobody signed it.
    let signer = Some(SigningKey::from_seed(&[1; 32]).unwrap().signer());
    replace(&store, &sets[0].id.set(), &whole).await;
    let unsigned = run(&store, &plan, &Belief { signer, ..Belief::default() }, &context).await;
    assert!(unsigned.rows.iter().all(|row| row.deed != Deed::WouldExpire));
}

fn load_from(bytes: &[u8], id: &ArchiveId) -> Set {
    Set::parse(bytes, id).unwrap().set
}

#[tokio::test]
async fn a_set_that_is_copied_under_another_id_makes_nothing_go() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "replayed", 3).await;
    let whole = get(&store, &sets[0].id.set()).await;
    let other = another(&sets[2].id);
    let plan = PruneOptions { delete: false, ..keeping(1) };
    put(&store, &other.set(), &whole).await;
    let seen = run(&store, &plan, &Belief::default(), &context).await;
    assert_eq!(seen.blocked.values().next(), Some(&Reason::UnreadableSet(other.set())));
    // With its id in it, and a digest that fits: without a key one more set, which only keeps; its key says that it is none.
    let renamed = Set { id: other.clone(), ..load_from(&whole, &sets[0].id) };
    replace(&store, &other.set(), &renamed.encode(&[9; 32], None).unwrap().0).await;
    let seen = run(&store, &plan, &Belief::default(), &context).await;
    assert_eq!(seen.rows.iter().filter(|row| row.deed == Deed::WouldExpire).count(), 4);
    let seen = run(&store, &plan, &with_key(), &context).await;
    assert_eq!(seen.blocked.values().next(), Some(&Reason::UnreadableSet(other.set())));
    // In the place of another set, whose members it then does not hold any more.
    store.delete(&other.set()).await.unwrap();
    replace(&store, &sets[2].id.set(), &whole).await;
    let seen = run(&store, &plan, &Belief::default(), &context).await;
    assert!(seen.rows.iter().all(|row| row.deed == Deed::Kept), "{seen:?}");
}

#[tokio::test]
async fn keyboxes_that_are_left_of_a_set_go_when_nothing_can_be_written_there_any_more() {
    let (clock, store, _) = place();
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let sets = days(&clock, &store, &Arc::new(slots), "left", 2).await;
    // In one run, and the set is young: somebody could just have begun an archive of that name.
    let at_once = PruneOptions { grace: Duration::ZERO, ..keeping(1) };
    let done = run(&store, &at_once, &Belief::default(), &at(&clock)).await;
    assert_eq!(done.sets, [sets[0].id.set()]);
    assert_eq!(left_of(&store, &[&sets[0]]).await, [sets[0].id.keybox(0)]);
    let waiting = run(&store, &at_once, &Belief::default(), &at(&clock)).await;
    assert_eq!(deed(&waiting, &sets[0].id), Deed::PassedOver);
    clock.pass(DAY);
    run(&store, &at_once, &Belief::default(), &at(&clock)).await;
    assert_eq!(left_of(&store, &[&sets[0]]).await, [""; 0]);
}

#[tokio::test]
async fn a_held_or_tagged_set_keeps_its_members_until_the_very_deletion() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "held", 3).await;
    let name = hold(&store, &sets[0].id, "the audit", "ops", &context).await.unwrap();
    let plan = run(&store, &keeping(1), &Belief::default(), &context).await;
    assert_eq!(reason(&plan, ids(&sets[0])[0]), Reason::InSet(sets[0].id.clone()));
    assert_eq!(deed(&plan, ids(&sets[1])[0]), Deed::Expired);
    let listed = |filter: Filter| {
        let (store, context) = (&store, &context);
        async move {
            let (_, sets) = catalog::list_all(store, &filter, false, context).await.unwrap();
            sets.into_iter().map(|set| set.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(Filter { held: true, ..Filter::default() }).await, [sets[0].id.clone()]);
    assert_eq!(release(&store, &sets[0].id).await.unwrap(), [name]);
    assert_eq!(listed(Filter { held: true, ..Filter::default() }).await, []);

    // A hold that comes after the plan was made.
    clock.pass(DAY * 2);
    let faults = Faults::new();
    let (racing, held) = (store.clone().with_wrapper(|inner| faults.wrap(inner)), format!("{}.hold.7", sets[1].id));
    let name = held.clone();
    faults.intrude(1, move |_, _| (name, bytes::Bytes::from_static(b"x")));
    let done = run(&racing, &keeping(1), &Belief::default(), &at(&clock)).await;
    assert_eq!(done.sets, [""; 0]);
    assert_eq!(deed(&done, ids(&sets[1])[0]), Deed::Kept);
    release(&store, &sets[1].id).await.unwrap();
    is_whole(&store, &sets[1], &raw_keyring()).await;

    // A tag keeps the whole, is listed by, and is read again.
    tag(&store, &sets[0].id, &["release-17".to_owned()], "ops", &context).await.unwrap();
    note(&store, &sets[0].id, "before the upgrade", "ops", &context).await.unwrap();
    let said = remarks(&store, &sets[0].id).await.unwrap();
    let said: Vec<_> = said.iter().filter(|said| said.tags.is_empty() || said.word.as_str() == "tag").collect();
    assert!(said.iter().any(|said| said.text == "before the upgrade"));
    assert_eq!(listed(Filter { tag: Some("release-17".to_owned()), ..Filter::default() }).await, [sets[0].id.clone()]);
    let mut options = keeping(1);
    options.policy.tags = ["release-17".to_owned()].into();
    let plan = run(&store, &options, &Belief::default(), &at(&clock)).await;
    assert_eq!(reason(&plan, ids(&sets[0])[0]), Reason::InSet(sets[0].id.clone()));
    // What is no set and no archive cannot be spoken of.
    for error in [
        hold(&store, &another(&sets[0].id), "", "ops", &context).await.unwrap_err(),
        note(&store, &another(&sets[0].id), "x", "ops", &context).await.unwrap_err(),
        tag(&store, &another(&sets[0].id), &["x".to_owned()], "ops", &context).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "archive.not-found");
    }
}

#[tokio::test]
async fn rm_takes_a_whole_set_and_no_single_member() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "rm", 3).await;
    let belief = Belief::default();
    let refused = rm(&store, ids(&sets[0])[1], &removing(), &belief, &context).await.unwrap_err();
    assert_eq!(refused.code(), "retention.referenced");
    assert!(refused.to_string().contains(&format!("rm {}", sets[0].id)), "{refused}");
    let before = objects(&store).await;
    let dry = rm(&store, &sets[0].id, &RmOptions { delete: false, ..removing() }, &belief, &context).await.unwrap();
    assert!(!dry.deleted && dry.parts == 4 && objects(&store).await == before);
    let fates: Vec<MemberFate> = dry.members.unwrap().iter().map(|member| member.fate).collect();
    assert_eq!(fates, [MemberFate::Goes; 2]);
    // What speaks against one speaks against all.
    assert_eq!(rm(&store, &sets[2].id, &removing(), &belief, &context).await.unwrap_err().code(), "retention.newest");
    for held in [&sets[0].id, ids(&sets[0])[1]] {
        hold(&store, held, "", "ops", &context).await.unwrap();
        let forced = RmOptions { force: true, ..removing() };
        let refused = rm(&store, &sets[0].id, &forced, &belief, &context).await.unwrap_err();
        assert_eq!(refused.code(), "retention.held");
        release(&store, held).await.unwrap();
    }
    let other = another(&sets[0].id);
    put(&store, &other.set(), &planted(&other, &[ids(&sets[0])[0]])).await;
    let refused = rm(&store, &sets[0].id, &removing(), &belief, &context).await.unwrap_err();
    assert!(refused.code() == "retention.referenced" && refused.to_string().contains(other.as_str()), "{refused}");
    // What was planted names no archive of these roots, so that none goes with it.
    rm(&store, &other, &removing(), &belief, &context).await.unwrap();
    let mut after = objects(&store).await;
    assert_eq!(after, before);

    note(&store, &sets[0].id, "gone soon", "ops", &context).await.unwrap();
    assert!(rm(&store, &sets[0].id, &removing(), &belief, &context).await.unwrap().deleted);
    after = objects(&store).await;
    let gone = |name: &String| ids(&sets[0]).iter().chain([&&sets[0].id]).any(|id| name.starts_with(id.as_str()));
    assert!(!after.keys().any(gone) && after.len() == before.len() - 7, "{after:?}");
    assert_eq!(rm(&store, &sets[0].id, &removing(), &belief, &context).await.unwrap_err().code(), "archive.not-found");
    for set in &sets[1..] {
        is_whole(&store, set, &raw_keyring()).await;
    }
    assert!(
        rm(&store, &sets[2].id, &RmOptions { force: true, ..removing() }, &belief, &context).await.unwrap().deleted
    );
}

#[tokio::test]
async fn rm_takes_a_set_whose_members_are_missing_or_damaged_and_one_that_cannot_be_read() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "broken", 4).await;
    let belief = Belief::default();
    // One lost a part, the other everything.
    store.delete(&ids(&sets[0])[0].part(1)).await.unwrap();
    for name in left_of(&store, &[&sets[0]]).await.iter().filter(|name| name.starts_with(ids(&sets[0])[1].as_str())) {
        store.delete(name).await.unwrap();
    }
    let removed = rm(&store, &sets[0].id, &removing(), &belief, &context).await.unwrap();
    let fates: Vec<MemberFate> = removed.members.unwrap().iter().map(|member| member.fate).collect();
    assert_eq!(fates, [MemberFate::Goes, MemberFate::Missing]);
    // One lost its manifest: as long as it might be an upload, it is left alone.
    store.delete(&ids(&sets[1])[0].manifest()).await.unwrap();
    clock.pass(DAY / 2);
    let young = rm(&store, &sets[1].id, &removing(), &belief, &at(&clock)).await;
    assert_eq!(young.map(|removed| removed.deleted).map_err(|error| error.code()), Ok(true), "it is three days old");
    store.delete(&ids(&sets[3])[0].manifest()).await.unwrap();
    let young = rm(&store, &sets[3].id, &RmOptions { force: true, ..removing() }, &belief, &at(&clock)).await;
    assert_eq!(young.unwrap_err().code(), "archive.uncommitted");
    // Another archive in a member's place is not the set's.
    let bytes = get(&store, &ids(&sets[3])[1].manifest()).await;
    let Document::Manifest(sealed) = Manifest::parse(bytes, ids(&sets[3])[1]).unwrap() else { panic!("ours") };
    let mut other = sealed.manifest;
    other.parts[0].sha256[0] ^= 1;
    replace(&store, &ids(&sets[3])[1].manifest(), &other.encode(&[9; 32], None).unwrap().0).await;
    clock.pass(DAY * 2);
    let forced = RmOptions { force: true, ..removing() };
    let removed = rm(&store, &sets[3].id, &forced, &belief, &at(&clock)).await.unwrap();
    let fates: Vec<MemberFate> = removed.members.unwrap().iter().map(|member| member.fate).collect();
    assert_eq!(fates, [MemberFate::Goes, MemberFate::Another]);
    // Of a set that cannot be read the members stay, and retention is free again.
    replace(&store, &sets[2].id.set(), b"{}").await;
    let blocked = rm(&store, ids(&sets[2])[0], &removing(), &belief, &at(&clock)).await.unwrap_err();
    assert_eq!(blocked.code(), "retention.referenced");
    let removed = rm(&store, &sets[2].id, &removing(), &belief, &at(&clock)).await.unwrap();
    assert_eq!((removed.members.map(|members| members.len()), removed.parts), (Some(0), 0));
    let left = left_of(&store, &[&sets[0], &sets[1], &sets[2]]).await;
    assert_eq!(left.len(), 6, "{left:?}");
    assert!(!objects(&store).await.keys().any(|name| name.ends_with(".expired")));
}

/// What is left of a broken set may be the newest good archive of its own source.
#[tokio::test]
async fn rm_of_a_broken_set_names_the_member_that_is_the_newest_good_archive_of_its_source() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "newest broken", 2).await;
    let belief = Belief::default();
    let [first, second] = ids(&sets[1]);
    let refused = rm(&store, &sets[1].id, &removing(), &belief, &context).await.unwrap_err().to_string();
    assert!(refused.contains(sets[1].id.as_str()) && refused.contains("and 1 more are the newest"), "{refused}");
    for name in left_of(&store, &[&sets[1]]).await.iter().filter(|name| name.starts_with(second.as_str())) {
        store.delete(name).await.unwrap();
    }
    let refused = rm(&store, &sets[1].id, &removing(), &belief, &context).await.unwrap_err();
    assert_eq!(refused.code(), "retention.newest");
    assert!(refused.to_string().contains(&format!("its member {first} is the newest good archive")), "{refused}");
    // Without it the set may go, and so may it once there is a newer one.
    let alone = RmOptions { keep_members: true, delete: false, ..removing() };
    rm(&store, &sets[1].id, &alone, &belief, &context).await.unwrap();
    days(&clock, &store, &raw(), "newest broken", 1).await;
    assert!(rm(&store, &sets[1].id, &removing(), &belief, &at(&clock)).await.unwrap().deleted);
    assert!(!objects(&store).await.contains_key(&first.manifest()));
}

#[tokio::test]
async fn a_set_alone_can_go_and_its_members_stand_for_themselves() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "alone", 2).await;
    let options = RmOptions { keep_members: true, ..removing() };
    let refused = rm(&store, ids(&sets[0])[0], &options, &Belief::default(), &context).await.unwrap_err();
    assert_eq!(refused.code(), "usage.arguments");
    let removed = rm(&store, &sets[0].id, &options, &Belief::default(), &context).await.unwrap();
    assert!(removed.members.unwrap().iter().all(|member| member.fate == MemberFate::Stays) && removed.parts == 0);
    assert_eq!(left_of(&store, &[&sets[0]]).await.len(), 6);
    for (id, name) in ids(&sets[0]).into_iter().zip(NAMES) {
        assert!(restored(&store, id, &raw_keyring()).await == member_text(name));
    }
    assert!(rm(&store, ids(&sets[0])[0], &removing(), &Belief::default(), &context).await.unwrap().deleted);
}

/// What was in a store, with the times of it.
async fn copied(from: &Store, clock: &Clocked) -> (Clocked, Store) {
    let objects = objects(from).await;
    let clock = Clocked::at(clock.millis());
    let (now, store) = (clock.millis(), clock.store());
    for (name, bytes) in objects {
        let modified = from.head(&name).await.unwrap().unwrap().modified;
        let millis = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        clock.set(u64::try_from(millis).unwrap());
        put(&store, &name, &bytes).await;
    }
    clock.set(now);
    (clock, store)
}

/// Ends `work` at its first call, its second, and so on; each time `judge` looks at what is left. Gives the number of calls.
async fn crash_everywhere(
    before: &Store,
    clock: &Clocked,
    work: impl AsyncFn(&Store, &Context),
    judge: impl AsyncFn(&Clocked, &Store, bool),
) -> usize {
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let (clock, store) = copied(before, clock).await;
            let faults = Faults::new();
            let mortal = store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
            faults.crash_at(number, when);
            let context = at(&clock);
            got_through = tokio::select! {
                () = work(&mortal, &context) => true,
                () = faults.crashed() => false,
            };
            judge(&clock, &store, got_through).await;
        }
        if got_through {
            return number - 1;
        }
        assert!(number < 500, "it does not end");
    }
    unreachable!("the loop ends by returning")
}

/// A set that is there is whole, or says that it is not; whatever a set or the list calls good can be read.
async fn nothing_is_wrongly_called_good(store: &Store, keyring: &Keyring, all: &[SetReceipt]) {
    let (archives, found) = catalog::list_all(store, &Filter::default(), true, &context()).await.unwrap();
    for set in found {
        assert_eq!(set.state, Some(set::SetState::Completed));
        is_whole(store, all.iter().find(|made| made.id == set.id).unwrap(), keyring).await;
    }
    for archive in archives {
        let members = || all.iter().flat_map(|set| ids(set).into_iter().zip(NAMES));
        let (_, name) = members().find(|(id, _)| **id == archive.id).unwrap();
        assert!(restored(store, &archive.id, keyring).await == member_text(name), "{}", archive.id);
    }
}

async fn detached(clock: &Clocked, store: &Store, source: &str) -> (Vec<SetReceipt>, Keyring) {
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity));
    (days(clock, store, &Arc::new(slots), source, 2).await, keyring)
}

#[tokio::test]
async fn a_prune_of_sets_that_dies_at_any_call_leaves_no_broken_one_and_the_next_one_finishes() {
    let (clock, store, context) = place();
    let (sets, keyring) = detached(&clock, &store, "crashed").await;
    note(&store, &sets[0].id, "x", "x", &context).await.unwrap();
    run(&store, &keeping(1), &Belief::default(), &context).await;
    clock.pass(DAY * 2);
    let calls = crash_everywhere(
        &store,
        &clock,
        async |store, context| drop(prune(store, &keeping(1), &Belief::default(), context).await.unwrap()),
        async |clock, store, _| {
            is_whole(store, &sets[1], &keyring).await;
            nothing_is_wrongly_called_good(store, &keyring, &sets).await;
            run(store, &keeping(1), &Belief::default(), &at(clock)).await;
            assert_eq!(left_of(store, &[&sets[0]]).await, [""; 0]);
            is_whole(store, &sets[1], &keyring).await;
        },
    )
    .await;
    assert!(calls >= 20, "{calls}");
}

#[tokio::test]
async fn an_rm_of_a_set_that_dies_at_any_call_leaves_no_broken_one_and_the_next_one_finishes() {
    let (clock, store, context) = place();
    let (sets, keyring) = detached(&clock, &store, "rm-crashed").await;
    note(&store, &sets[0].id, "x", "x", &context).await.unwrap();
    note(&store, ids(&sets[0])[1], "x", "x", &context).await.unwrap();
    // A tombstone of prune's says nothing of the set.
    run(&store, &PruneOptions { grace: DAY * 9, ..keeping(1) }, &Belief::default(), &context).await;
    let belief = Belief::default();
    let calls = crash_everywhere(
        &store,
        &clock,
        async |store, context| drop(rm(store, &sets[0].id, &removing(), &belief, context).await.unwrap()),
        async |clock, store, got_through| {
            is_whole(store, &sets[1], &keyring).await;
            nothing_is_wrongly_called_good(store, &keyring, &sets).await;
            match rm(store, &sets[0].id, &removing(), &belief, &at(clock)).await {
                Ok(removed) => assert!(removed.deleted),
                Err(error) => {
                    assert_eq!(error.code(), "archive.not-found");
                    let left = objects(store).await;
                    assert!(got_through || left.keys().all(|name| !name.starts_with(sets[0].id.as_str())));
                }
            }
            let gone =
                |name: &String| ids(&sets[0]).iter().chain([&&sets[0].id]).any(|id| name.starts_with(id.as_str()));
            let left: Vec<String> = objects(store).await.into_keys().filter(gone).collect();
            assert_eq!(left, [""; 0]);
            is_whole(store, &sets[1], &keyring).await;
        },
    )
    .await;
    assert!(calls >= 25, "{calls}");
}

#[tokio::test]
async fn an_rm_of_a_set_that_stopped_half_way_is_finished_by_its_id_alone() {
    let (clock, store, context) = place();
    let sets = days(&clock, &store, &raw(), "half", 2).await;
    // The set's object is deleted, then two objects of its members.
    let faults = Faults::new();
    let mortal = store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
    faults.fail(Call::Delete, 3..=3, When::Before, Failure::Denied);
    let stopped = rm(&mortal, &sets[0].id, &removing(), &Belief::default(), &context).await.unwrap();
    assert_eq!((stopped.deleted, stopped.stopped.as_ref().map(Error::code)), (false, Some("store.denied")));
    assert!(stopped.members.unwrap().iter().all(|member| !member.deleted));
    let selected = catalog::select_any(&store, sets[0].id.as_str(), &Filter::default()).await;
    assert_eq!(selected.unwrap_err().code(), "archive.not-found");
    let dry = RmOptions { delete: false, ..removing() };
    let dry = rm(&store, &sets[0].id, &dry, &Belief::default(), &context).await.unwrap();
    assert_eq!(dry.members.unwrap().len(), 2);
    // What is held since then stays.
    let first = ids(&sets[0])[0];
    hold(&store, first, "", "ops", &context).await.unwrap();
    let held = rm(&store, &sets[0].id, &removing(), &Belief::default(), &context).await;
    assert_eq!(held.unwrap_err().code(), "retention.held");
    release(&store, first).await.unwrap();
    rm(&store, &sets[0].id, &removing(), &Belief::default(), &context).await.unwrap();
    assert_eq!(left_of(&store, &[&sets[0]]).await, [""; 0]);
    assert_eq!(
        catalog::select_any(&store, sets[1].id.as_str(), &Filter::default()).await.unwrap(),
        Selected::Set(sets[1].id.clone())
    );
}

#[tokio::test]
async fn which_members_are_gone_is_told_wherever_an_rm_of_a_set_ends() {
    for number in 1.. {
        let (clock, store, context) = place();
        let sets = days(&clock, &store, &raw(), "told", 2).await;
        let faults = Faults::new();
        let mortal = store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
        faults.fail(Call::Delete, number..=usize::MAX, When::Before, Failure::Denied);
        let removed = rm(&mortal, &sets[0].id, &removing(), &Belief::default(), &context).await.unwrap();
        let left = objects(&store).await;
        for member in removed.members.iter().flatten() {
            let is_left = left.keys().any(|name| name.starts_with(member.id.as_str()));
            assert_eq!(member.deleted, !is_left, "{number}: {}", member.id);
        }
        assert_eq!(removed.deleted, removed.stopped.is_none());
        if removed.deleted {
            assert!(number > 6, "{number}");
            break;
        }
        assert_eq!(removed.stopped.as_ref().map(Error::code), Some("store.denied"));
    }
}
