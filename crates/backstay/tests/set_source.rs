//! Backup sets as sources: the rules are for each set as a whole, so that a database that was dropped pins none of them; and no set that somebody plants
//! makes anything go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{context, set_of};
use crate::retention_plan::{any_policy, good, now};
use backstay::guid::{from_name, of_member};
use backstay::keys::Encryption;
use backstay::retention::{
    Archive, Belief, Deed, Evidence, Fate, Mark, Member, Plan, Policy, PruneOptions, Reason, Set, Standing, plan, prune,
};
use backstay_format::schedule::Secret;
use backstay_format::{ArchiveId, Guid};
use backstay_testkit::Clocked;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn id(guid: &Guid, at: Timestamp) -> ArchiveId {
    ArchiveId::new(guid, u64::try_from(at.as_millisecond()).unwrap()).unwrap()
}

fn archive(guid: &Guid, at: Timestamp) -> Archive {
    Archive { id: id(guid, at), stored_at: at + SignedDuration::from_mins(1), ..good(0, 1) }
}

fn set(guid: &Guid, name: &str, members: &[&Archive], stored_at: Timestamp) -> Set {
    let id = id(guid, stored_at - hours(1));
    let names: BTreeSet<Guid> = ["a", "b", "c"].map(|name| of_member(guid, name).unwrap()).into();
    let member = |archive: &&Archive| Member {
        id: archive.id.clone(),
        root: archive.root.unwrap(),
        own: names.contains(&archive.id.guid()),
    };
    Set {
        object: id.set(),
        id,
        name: Some(name.into()),
        stored_at,
        members: members.iter().map(member).collect(),
        tags: Vec::new(),
        unread_tags: false,
        held: false,
        unknown_sidecar: false,
        closed: false,
        tombstone: None,
    }
}

/// A set of these databases, an hour apart so that some cross midnight.
fn add(evidence: &mut Evidence, source: &str, databases: &[&str], at: Timestamp) {
    let guid = from_name(source).unwrap();
    let made: Vec<Archive> = (0..)
        .zip(databases)
        .map(|(number, name)| archive(&of_member(&guid, name).unwrap(), at + hours(number)))
        .collect();
    let stored_at = made.iter().map(|archive| archive.stored_at).max().unwrap();
    evidence.sets.push(set(&guid, source, &made.iter().collect::<Vec<_>>(), stored_at));
    evidence.archives.extend(made);
}

/// One set a day, the newest of today; the last database is dropped before the newest so many.
fn days(number: i64, without: i64) -> Evidence {
    let mut evidence = Evidence::default();
    for ago in (0..number).rev() {
        let databases: &[&str] = if ago < without { &["a", "b"] } else { &["a", "b", "c"] };
        add(&mut evidence, "cl", databases, now() - hours(24 * ago + 4));
    }
    evidence
}

fn expiring(evidence: &Evidence, plan: &Plan) -> BTreeSet<ArchiveId> {
    let expiring = plan.decisions.iter().filter(|decision| decision.fate == Fate::Expires);
    expiring.map(|decision| evidence.archives[decision.archive].id.clone()).collect()
}

/// How many sets stay.
fn kept_sets(plan: &Plan) -> usize {
    plan.sets.iter().filter(|set| !set.expires).count()
}

fn last(number: u32) -> Policy {
    Policy { last: number, ..Policy::default() }
}

#[test]
fn a_database_that_was_dropped_goes_with_the_last_set_that_has_it() {
    let evidence = days(10, 5);
    for (policy, kept) in [
        (last(2), 2),
        (Policy { daily: 4, ..Policy::default() }, 4),
        (Policy { min_keep: 3, ..last(1) }, 3),
        (last(6), 6),
        (Policy { within: Some(Duration::from_secs(50 * 3600)), ..Policy::default() }, 3),
    ] {
        let plan = plan(&evidence, &policy, now());
        assert_eq!(kept_sets(&plan), kept, "{policy:?}");
        let gone = expiring(&evidence, &plan);
        let stays = |set: &Set| set.members.iter().all(|member| !gone.contains(&member.id));
        assert_eq!(evidence.sets.iter().filter(|set| stays(set)).count(), kept, "{policy:?}");
    }
    let plan = plan(&evidence, &last(1), now());
    let newest = plan.decisions.iter().find(|decision| decision.fate == Fate::Kept).unwrap();
    assert!(newest.reasons.contains(&Reason::Floor), "the floor is the set's");
}

#[test]
fn a_set_in_doubt_takes_no_place_and_what_is_in_it_stands_for_itself() {
    // The newest lacks a member, or one is damaged: two that are whole stay beside it.
    for how in 0..2 {
        let mut evidence = days(5, 0);
        let at = evidence.archives.len() - 1;
        match how {
            0 => drop(evidence.archives.remove(at)),
            _ => evidence.archives[at].standing = Standing::Damaged("a part is missing"),
        }
        let plan = plan(&evidence, &last(2), now());
        let stays: Vec<bool> = plan.sets.iter().map(|set| !set.expires).collect();
        assert_eq!(stays, [false, false, true, true, true]);
    }
    // An archive of a set that was never committed goes when newer ones are kept, and not for those that go.
    let mut evidence = days(3, 0);
    let guid = of_member(&from_name("cl").unwrap(), "c").unwrap();
    evidence.archives.push(archive(&guid, now() - hours(90)));
    assert!(expiring(&evidence, &plan(&evidence, &last(1), now())).contains(&id(&guid, now() - hours(90))));
    let mut dropped = days(3, 2);
    dropped.archives.push(archive(&guid, now() - hours(90)));
    let gone = expiring(&dropped, &plan(&dropped, &last(1), now()));
    assert_eq!((gone.len(), gone.contains(&id(&guid, now() - hours(90)))), (3 + 2, false));
}

#[test]
fn a_selection_of_a_set_is_one_of_its_members() {
    let mut evidence = days(4, 2);
    add(&mut evidence, "other", &["a", "b"], now() - hours(300));
    add(&mut evidence, "other", &["a", "b"], now() - hours(200));
    let selecting = |name: Option<&str>, guid: Option<Guid>| {
        let mut policy = last(1);
        (policy.selection.name, policy.selection.guid) = (name.map(str::to_owned), guid);
        policy
    };
    let cl = from_name("cl").unwrap();
    for policy in [selecting(Some("cl"), None), selecting(None, Some(cl.clone())), selecting(Some("cl"), Some(cl))] {
        assert_eq!(expiring(&evidence, &plan(&evidence, &policy, now())).len(), 3 + 3 + 2, "{policy:?}");
    }
    let none = selecting(Some("cl"), Some(from_name("other").unwrap()));
    assert_eq!(expiring(&evidence, &plan(&evidence, &none, now())).len(), 0);
    // A set of the other's guid that is called like ours makes nothing of the other's a matter of these rules.
    let other = from_name("other").unwrap();
    let member = evidence.archives.last().unwrap().clone();
    evidence.sets.push(set(&other, "cl", &[&member], member.stored_at));
    let gone = expiring(&evidence, &plan(&evidence, &selecting(Some("cl"), None), now()));
    assert!(gone.len() == 8 && gone.iter().all(|id| id.guid() != member.id.guid()), "{gone:?}");
    evidence.sets.pop();
    // Where the guid does not follow from the name, the name that all of its sets have is theirs.
    for set in &mut evidence.sets {
        set.name = Some("renamed".into());
    }
    let renamed = expiring(&evidence, &plan(&evidence, &selecting(Some("renamed"), None), now()));
    assert_eq!(renamed.len(), 8 + 2, "{renamed:?}");
}

/// The bound on what may go counts sets, so that a dropped database does not look like a flood; and when it holds, it holds the whole set.
#[test]
fn the_steady_state_of_sets_is_never_stopped_and_a_flood_of_them_is() {
    let policy = Policy { daily: 7, weekly: 4, ..Policy::default() };
    let (begin, mut store) = (now() - hours(24 * 200), Evidence::default());
    for day in 0..120 {
        let now = begin + hours(24 * day);
        add(&mut store, "cl", if day < 60 { &["a", "b", "c"] } else { &["a", "b"] }, now - hours(3));
        let made = plan(&store, &policy, now);
        assert!(made.excess.is_empty(), "day {day}: {:?}", made.excess);
        let gone = expiring(&store, &made);
        store.sets.retain(|set| {
            let due = |member: &Member| {
                let archive = store.archives.iter().find(|archive| archive.id == member.id).unwrap();
                gone.contains(&member.id) && archive.tombstone.is_some_and(|since| since + hours(48) <= now)
            };
            !set.members.iter().all(due)
        });
        let due = |archive: &Archive| {
            gone.contains(&archive.id) && archive.tombstone.is_some_and(|since| since + hours(48) <= now)
        };
        let (mut marks, mut left): (BTreeMap<Guid, Mark>, Vec<Archive>) = (BTreeMap::new(), Vec::new());
        marks.extend(store.marks.drain(..).map(|mark| (mark.id.guid(), mark)));
        for mut archive in store.archives.drain(..) {
            if due(&archive) {
                let at = archive.tombstone.unwrap();
                marks.insert(archive.id.guid(), Mark { id: archive.id, at, leftovers: Vec::new() });
                continue;
            }
            archive.tombstone = gone.contains(&archive.id).then(|| archive.tombstone.unwrap_or(now));
            left.push(archive);
        }
        (store.archives, store.marks) = (left, marks.into_values().collect());
    }
    let dropped = of_member(&from_name("cl").unwrap(), "c").unwrap();
    assert!(store.archives.iter().all(|archive| archive.id.guid() != dropped), "the dropped one is gone");
    assert!(store.sets.len() < 16, "{}", store.sets.len());
    let mut narrower = policy;
    (narrower.daily, narrower.weekly) = (1, 0);
    let made = plan(&store, &narrower, begin + hours(24 * 120));
    let excess = &made.excess[0];
    assert_eq!((made.excess.len(), &excess.guid), (1, &from_name("cl").unwrap()));
    assert!(excess.members.len() == 2 && excess.expiring > excess.allowed, "{excess:?}");
}

#[tokio::test]
async fn prune_deletes_the_sets_of_a_dropped_database_and_takes_the_name_of_their_source() {
    let clock = Clocked::at(1_767_232_800_000);
    let (store, ticking) = (clock.store(), clock.clone());
    let context =
        context().with_clock(move || Timestamp::from_millisecond(i64::try_from(ticking.millis()).unwrap()).unwrap());
    let encryption = Arc::new(Encryption::Raw(Secret([7; 32])));
    let mut sets = Vec::new();
    for day in 0..5 {
        let databases: &[&str] = if day < 2 { &["a", "gone"] } else { &["a"] };
        sets.push(set_of(&store, &encryption, "set-source", databases, &context).await);
        clock.pass(Duration::from_secs(86_400));
    }
    let mut policy = last(2);
    policy.selection.name = Some("nobody".to_owned());
    let mut options = PruneOptions { policy, grace: Duration::ZERO, delete: true, force: false, by: "test".to_owned() };
    let none = prune(&store, &options, &Belief::default(), &context).await.unwrap();
    assert!(none.rows.iter().all(|row| row.deed == Deed::PassedOver));
    options.policy.selection.name = Some("set-source".to_owned());
    let done = prune(&store, &options, &Belief::default(), &context).await.unwrap();
    assert_eq!(done.sets, sets[..3].iter().map(|set| set.id.set()).collect::<Vec<_>>());
    assert_eq!(done.rows.iter().filter(|row| row.deed == Deed::Deleted).count(), 2 + 2 + 1);
    let left = crate::common::objects(&store).await;
    let guid = of_member(&from_name("set-source").unwrap(), "gone").unwrap();
    assert!(left.keys().all(|name| !name.starts_with(guid.as_str()) || name.ends_with(".expired")), "{left:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Whoever can create objects can create sets of the archives that are there, and of archives that are not, at any time. What would have stayed without
    /// them stays.
    #[test]
    fn no_set_that_is_planted_makes_an_archive_go(
        whole in prop::collection::vec((0_i64..40, 0_i64..24, 1_usize..8), 1..12),
        alone in prop::collection::vec((0_i64..40, 0_i64..24), 0..8),
        planted in prop::collection::vec((prop::collection::vec(0_usize..40, 1..5), any::<bool>(), 0_i64..40, any::<bool>()), 1..6),
        mut policy in any_policy(),
    ) {
        policy.require_verified = None;
        let mut evidence = Evidence::default();
        let mut times = BTreeSet::new();
        for (day, hour, which) in whole {
            // Each in a time of its own, as one host makes them.
            if times.insert(day) {
                let databases = [(1, "a"), (2, "b"), (4, "c")];
                let databases: Vec<&str> = databases.iter().filter(|(bit, _)| which & bit != 0).map(|(_, name)| *name).collect();
                add(&mut evidence, "cl", &databases, now() - hours(24 * day + hour / 2 + 4));
            }
        }
        let of_sets = evidence.archives.len();
        let guid = from_name("pg-main").unwrap();
        for (day, hour) in alone {
            let one = archive(&guid, now() - hours(24 * day + hour + 1));
            if evidence.archives.iter().all(|other| other.id != one.id) {
                evidence.archives.push(one);
            }
        }
        let before = expiring(&evidence, &plan(&evidence, &policy, now()));
        let mut hostile = evidence.clone();
        for (members, same, day, missing) in planted {
            let mut members: Vec<Archive> = members.into_iter().filter_map(|at| evidence.archives.get(at)).cloned().collect();
            if missing {
                members.push(archive(&of_member(&from_name("cl").unwrap(), "c").unwrap(), now() - hours(24 * day + 2)));
            }
            let guid = from_name(if same { "cl" } else { "mine" }).unwrap();
            hostile.sets.push(set(&guid, "cl", &members.iter().collect::<Vec<_>>(), now() - hours(24 * day)));
        }
        let after = expiring(&hostile, &plan(&hostile, &policy, now()));
        for archive in &evidence.archives {
            prop_assert!(before.contains(&archive.id) || !after.contains(&archive.id), "{} goes ({} of sets)", archive.id, of_sets);
        }
    }
}
