//! An archive whose keys stood beside it, and are gone: every verb that judges says that it is no good backup any more, and none takes it for one whose raw
//! key is kept elsewhere.

use std::sync::Arc;

use crate::common::{back_up, content, context, native, raw_keyring, recipient, restored, set_of};
use age::x25519::Identity;
use backstay::audit::{Lock, audit};
use backstay::catalog::freshness::{Verdict, freshness};
use backstay::catalog::{self, Filter, State};
use backstay::keys::Encryption;
use backstay::policy::{OpensslReading, ReadPolicy};
use backstay::reassemble::{ReassembleOptions, reassemble};
use backstay::retention::{Belief, Deed, Policy, PruneOptions, prune};
use backstay::rewrap::every;
use backstay::set::{SetState, load, states};
use backstay::verify::{Depth, verify};
use backstay::{BackupOptions, Silent};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, Manifest};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use jiff::Timestamp;

fn slots(identity: &Identity) -> Encryption {
    Encryption::Slots { recipients: vec![recipient(identity)], passphrase: None, detached: true }
}

fn ring(identity: &Identity) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    keyring
}

async fn made(store: &Store, encryption: Encryption) -> ArchiveId {
    let options = BackupOptions { part_size: Some(70_000), ..native(encryption) };
    back_up(store, &content(150_000, true), options).await.unwrap().id
}

/// An older archive that can be opened, and a newer one whose only keybox is gone.
async fn older_and_keyless() -> (Store, Identity, ArchiveId, ArchiveId) {
    let (store, identity) = (Store::memory(), Identity::generate());
    let (older, keyless) = (made(&store, slots(&identity)).await, made(&store, slots(&identity)).await);
    store.delete(&keyless.keybox(0)).await.unwrap();
    (store, identity, older, keyless)
}

async fn findings(store: &Store, id: &ArchiveId, depth: Depth, keyring: &Keyring) -> Vec<&'static str> {
    let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
    let report = verify(store, id, keyring, depth, &policy, &context(), silent).await.unwrap();
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn list_verify_and_audit_say_that_no_key_is_left() {
    let (store, identity, older, keyless) = older_and_keyless().await;
    let listed = catalog::list(&store, &Filter::default(), true).await.unwrap();
    let states: Vec<_> = listed.iter().map(|entry| (&entry.id, entry.state)).collect();
    assert_eq!(states, [(&older, State::Committed), (&keyless, State::Keyless)]);
    for depth in [Depth::Quick, Depth::Full] {
        assert_eq!(findings(&store, &older, depth, &Keyring::default()).await, [""; 0]);
        assert_eq!(findings(&store, &keyless, depth, &Keyring::default()).await, ["key.not-found"]);
    }
    assert_eq!(findings(&store, &keyless, Depth::Deep, &ring(&identity)).await, ["key.not-found"]);
    let all = every(&store, &Filter::default(), &context()).await.unwrap();
    let audited = audit(&store, all, &[], OpensslReading::default()).await.unwrap();
    assert!(matches!(audited[0].lock, Lock::Slots(_)) && audited[0].ways() == Some(1));
    assert_eq!((&audited[1].lock, audited[1].ways()), (&Lock::Keyless, Some(0)));
}

#[tokio::test]
async fn it_is_not_fresh_and_takes_no_archive_s_place() {
    let (store, identity, older, keyless) = older_and_keyless().await;
    let sources = freshness(&store, &Filter::default(), &Belief::default(), Timestamp::now()).await.unwrap();
    assert_eq!(sources[0].newest().unwrap().id, older);
    assert_eq!(sources[0].passed_over.iter().map(|(id, _)| id).collect::<Vec<_>>(), [&keyless]);
    let policy = Policy { last: 1, trust_name_time: true, ..Policy::default() };
    let options =
        PruneOptions { policy, grace: std::time::Duration::ZERO, delete: true, force: true, by: "test".to_owned() };
    let pruned = prune(&store, &options, &Belief::default(), &context()).await.unwrap();
    let deeds: Vec<_> = pruned.rows.iter().map(|row| (&row.id, &row.deed)).collect();
    assert_eq!(deeds, [(&older, &Deed::Kept), (&keyless, &Deed::PassedOver)]);
    assert_eq!(restored(&store, &older, &ring(&identity)).await, content(150_000, true));
    // Without the other one there is nothing fresh at all.
    store.delete(&older.keybox(0)).await.unwrap();
    let sources = freshness(&store, &Filter::default(), &Belief::default(), Timestamp::now()).await.unwrap();
    assert_eq!(sources[0].verdict(Timestamp::now(), None, 50), Verdict::Stale);
}

#[tokio::test]
async fn a_set_with_such_a_member_is_not_complete() {
    let (store, identity) = (Store::memory(), Identity::generate());
    let set = set_of(&store, &Arc::new(slots(&identity)), "cluster", &["globals", "shop"], &context()).await;
    let set = load(&store, &set.id).await.unwrap().set;
    let state = async || {
        let states = states(&store, &set, std::time::SystemTime::now()).await.unwrap();
        states.into_iter().map(|found| found.state).collect::<Vec<_>>()
    };
    assert_eq!(state().await, [SetState::Completed, SetState::Completed]);
    store.delete(&set.members[1].id.keybox(0)).await.unwrap();
    assert_eq!(state().await, [SetState::Completed, SetState::Failed]);
    let (archives, sets) = catalog::list_all(&store, &Filter::default(), true, &context()).await.unwrap();
    assert_eq!(sets[0].state, Some(SetState::Failed));
    assert_eq!(archives.iter().filter(|entry| entry.state == State::Keyless).count(), 1);
}

#[tokio::test]
async fn an_archive_of_a_raw_key_never_had_a_keybox_and_is_good() {
    let (store, identity) = (Store::memory(), Identity::generate());
    let id = made(&store, Encryption::Raw(Secret([7; 32]))).await;
    let listed = catalog::list(&store, &Filter::default(), true).await.unwrap();
    assert_eq!(listed[0].state, State::Committed);
    assert_eq!(findings(&store, &id, Depth::Full, &Keyring::default()).await, [""; 0]);
    assert_eq!(findings(&store, &id, Depth::Deep, &raw_keyring()).await, [""; 0]);

    // What the manifest said of the keys is in the one that is made anew, too.
    let detached = made(&store, slots(&identity)).await;
    for (id, keyring, expected) in [(&id, raw_keyring(), false), (&detached, ring(&identity), true)] {
        store.delete(&id.manifest()).await.unwrap();
        let options = ReassembleOptions { policy: ReadPolicy::default(), replace: false, join: None, name: None };
        reassemble(&store, id, &keyring, &options, &context(), Arc::new(Silent)).await.unwrap();
        let bytes = store.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
        let Document::Manifest(sealed) = Manifest::parse(bytes.into(), id).unwrap() else { panic!("a manifest") };
        assert_eq!(sealed.manifest.detached, expected);
    }
}
