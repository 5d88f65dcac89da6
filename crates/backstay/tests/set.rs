//! Backup sets: committed last, sealed, and as good as their members.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::Arc;

use crate::common::{Warnings, back_up, content, context, native, objects, raw_keyring, recipient};
use backstay::backup::BackupOptions;
use backstay::catalog::{self, Filter, Selected, freshness};
use backstay::copy::CopyOptions;
use backstay::gc::{GcOptions, gc};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::retention::Belief;
use backstay::set::{self, Member, NewSet, RepairedSet, SetOptions, SetReceipt, SetState};
use backstay::verify::Depth;
use backstay::{Error, Observer, RestoreOptions, Silent};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::schedule::{Secret, sha256};
use backstay_format::set::Set;
use backstay_format::signature::SigningKey;
use backstay_format::text::to_hex;
use backstay_store::{RetryOptions, Store};
use backstay_testkit::Faults;
use backstay_testkit::faults::When;

fn raw() -> Arc<Encryption> {
    Arc::new(Encryption::Raw(Secret([7; 32])))
}

fn set_options(encryption: &Arc<Encryption>, hide_name: bool) -> SetOptions {
    SetOptions {
        guid: backstay::guid::from_name("shop").unwrap(),
        name: "shop".to_owned(),
        hide_name,
        tags: vec!["nightly".to_owned()],
        source: "pg_dumpall",
        encryption: Arc::clone(encryption),
        signing_key: None,
    }
}

const MEMBERS: [(&str, &str); 3] = [("globals", "globals"), ("orders", "database"), ("a/b \"c\"\n", "database")];

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &content(100_000, true)].concat()
}

async fn make(store: &Store, options: SetOptions) -> Result<SetReceipt, Error> {
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let (encryption, hide_name) = (Arc::clone(&options.encryption), options.hide_name);
    let mut new = NewSet::begin(store, options, &context(), &observer).await?;
    for (name, role) in MEMBERS {
        let guid = new.guid_of(name)?;
        let native = native(Encryption::Shared(Arc::clone(&encryption)));
        let member = BackupOptions { guid, name: format!("shop/{name}"), hide_name, part_size: Some(70_000), ..native };
        let receipt = back_up(store, &text(name), member).await?;
        assert!(receipt.id > *new.id(), "a set is older than its members");
        new.add(name.to_owned(), Some(role), &receipt);
    }
    let facts = BTreeMap::from([("server".to_owned(), "15.4".into())]);
    new.commit(store, facts, &context()).await
}

async fn state(store: &Store, id: &ArchiveId) -> SetState {
    let (_, sets) = catalog::list_all(store, &Filter::default(), true, &context()).await.unwrap();
    let entry = sets.into_iter().find(|entry| entry.id == *id).unwrap();
    entry.state.unwrap()
}

async fn restore(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<Vec<(Member, Vec<u8>)>, Error> {
    let folder = tempfile::tempdir().unwrap();
    let name = |member: &Member| member.name.replace(['/', '\n'], "_");
    let (options, observer) = (RestoreOptions::default(), Arc::new(Silent));
    let directory = folder.path().join("new");
    let restored =
        set::restore_set(store, id, keyring, &directory, name, &options, &context(), observer.clone()).await?;
    let again = set::restore_set(store, id, keyring, &directory, name, &options, &context(), observer).await;
    assert_eq!(again.unwrap_err().code(), "usage.arguments", "nothing is overwritten");
    Ok(restored.members.into_iter().map(|(member, file, _)| (member, fs::read(file).unwrap())).collect())
}

fn is_whole(restored: &[(Member, Vec<u8>)]) {
    let names: Vec<&str> = restored.iter().map(|(member, _)| member.name.as_str()).collect();
    assert_eq!(names, MEMBERS.map(|(name, _)| name));
    assert!(restored.iter().all(|(member, bytes)| *bytes == text(&member.name)));
}

#[tokio::test]
async fn a_set_is_restored_verified_and_copied_as_a_whole() {
    let store = Store::memory();
    let receipt = make(&store, set_options(&raw(), false)).await.unwrap();
    let id = &receipt.id;
    is_whole(&restore(&store, id, &raw_keyring()).await.unwrap());
    assert_eq!(state(&store, id).await, SetState::Completed);
    for depth in [Depth::Quick, Depth::Full, Depth::Deep] {
        let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
        let report = set::verify_set(&store, id, &raw_keyring(), depth, &policy, &context(), silent).await.unwrap();
        assert!(report.is_good() && report.members.len() == 3, "{report:?}");
        assert_eq!(report.authentic, depth == Depth::Deep);
        // Nobody named a signer or a receipt, and without a key a set proves nothing of its members.
        for (_, member) in &report.members {
            assert_eq!(member.authentic, depth == Depth::Deep, "{}", member.compared);
            assert_eq!(member.compared.contains("that the set names"), depth == Depth::Full, "{}", member.compared);
            assert!(!member.compared.contains("receipt"), "{}", member.compared);
        }
    }
    for depth in [Depth::Quick, Depth::Deep] {
        let (policy, silent) = (ReadPolicy { root: Some([0; 32]), ..ReadPolicy::default() }, Arc::new(Silent));
        let refused = set::verify_set(&store, id, &raw_keyring(), depth, &policy, &context(), silent).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), "usage.arguments");
        // What it speaks of are options that there are.
        assert!(refused.to_string().ends_with("--no-manifest and --receipt are for one archive"), "{refused}");
    }
    let opened = set::open(&store, id, &raw_keyring(), &ReadPolicy::default()).await.unwrap();
    assert!(opened.private.unwrap().contains("15.4"));

    let replica = Store::memory();
    let options = CopyOptions::default();
    for sent in [true, false] {
        let copied = set::copy_set(&store, &replica, id, &options, &context(), Arc::new(Silent)).await.unwrap();
        assert!(copied.members.iter().all(|member| (member.sent > 0) == sent));
    }
    assert_eq!(objects(&store).await, objects(&replica).await);

    // What is lost comes back, the set with it.
    let lost = &receipt.members[2].id;
    for name in [lost.part(0), lost.manifest(), id.set()] {
        store.delete(&name).await.unwrap();
    }
    let repaired = repair_set(&store, &replica, id).await.unwrap();
    assert_eq!(objects(&store).await, objects(&replica).await);
    assert_eq!((repaired.members, repaired.repaired.len(), repaired.changes.restored), (3, 3, vec![id.set()]));
    // What is known to be whole is not read again.
    let known = HashSet::from([lost.clone()]);
    let (options, silent) = (CopyOptions::default(), Arc::new(Silent));
    let repaired = set::repair_set(&store, &replica, id, &known, &options, &context(), silent).await.unwrap();
    assert!(repaired.repaired.len() == 2 && repaired.changes.sent == 0, "{repaired:?}");
}

async fn repair_set(store: &Store, replica: &Store, id: &ArchiveId) -> backstay::Result<RepairedSet> {
    let (options, silent) = (CopyOptions::default(), Arc::new(Silent));
    set::repair_set(store, replica, id, &HashSet::new(), &options, &context(), silent).await
}

async fn replace(store: &Store, name: &str, bytes: &[u8]) {
    store.delete(name).await.unwrap();
    store.create(name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
}

#[tokio::test]
async fn a_damaged_member_is_no_reason_to_do_without_the_others() {
    let store = Store::memory();
    let receipt = make(&store, set_options(&raw(), false)).await.unwrap();
    let (first, folder) = (&receipt.members[0], tempfile::tempdir().unwrap());
    let part = first.id.part(0);
    let mut bytes = store.get(&part, 1 << 20).await.unwrap().unwrap().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    replace(&store, &part, &bytes).await;
    let name = |member: &Member| member.name.replace(['/', '\n'], "_");
    let (options, observer, machine) = (RestoreOptions::default(), Arc::new(Warnings::default()), context());
    let (id, keyring, watching) = (&receipt.id, raw_keyring(), Arc::<Warnings>::clone(&observer));
    let restored = set::restore_set(&store, id, &keyring, folder.path(), name, &options, &machine, watching);
    let restored = restored.await.unwrap();
    let [(member, why)] = &restored.damaged[..] else { panic!("{:?}", restored.damaged) };
    assert_eq!((&member.id, why.code()), (&first.id, "segment.auth"));
    let told = observer.0.lock().unwrap().join("\n");
    assert!(told.starts_with("segment.auth") && told.contains(first.id.as_str()), "{told}");
    let files: Vec<_> = restored.members.into_iter().map(|(member, file, _)| (member.name, file)).collect();
    assert_eq!(files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [MEMBERS[1].0, MEMBERS[2].0]);
    assert!(files.iter().all(|(name, file)| fs::read(file).unwrap() == text(name)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something of the damaged one is left");
}

#[tokio::test]
async fn a_damaged_set_is_replaced_with_the_replicas_if_that_is_good() {
    let (store, replica) = (Store::memory(), Store::memory());
    let receipt = make(&store, set_options(&raw(), false)).await.unwrap();
    let id = &receipt.id;
    set::copy_set(&store, &replica, id, &CopyOptions::default(), &context(), Arc::new(Silent)).await.unwrap();
    let (whole, name) = (objects(&store).await, id.set());
    let good = whole[&name].to_vec();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let damages = [flipped.clone(), good[..good.len() - 1].to_vec(), Vec::new(), b"other".to_vec()];
    for damage in &damages {
        replace(&store, &name, damage).await;
        let repaired = repair_set(&store, &replica, id).await.unwrap();
        assert_eq!((repaired.changes.replaced, repaired.changes.sent), (vec![name.clone()], good.len() as u64));
        assert_eq!(objects(&store).await, whole);
        // The other way around it does no harm, and is not mended.
        replace(&replica, &name, damage).await;
        assert!(repair_set(&store, &replica, id).await.unwrap().changes.replaced.is_empty());
        replace(&replica, &name, &good).await;
    }
    // Two damaged ones: what the matter is with the store's.
    replace(&store, &name, &flipped).await;
    replace(&replica, &name, b"other").await;
    assert_eq!(repair_set(&store, &replica, id).await.unwrap_err().code(), "set.seal");
    store.delete(&name).await.unwrap();
    assert_eq!(repair_set(&store, &replica, id).await.unwrap_err().code(), "set.invalid");
    replica.delete(&name).await.unwrap();
    assert_eq!(repair_set(&store, &replica, id).await.unwrap_err().code(), "archive.not-found");
    replace(&replica, &name, &good).await;
    assert_eq!(repair_set(&store, &replica, id).await.unwrap().changes.restored, [name.clone()]);

    // A good one that differs is not touched, and nor is what this version does not know.
    let mut set = Set::parse(&good, id).unwrap().set;
    set.tags.push("another".to_owned());
    let other = set.encode(&[1; 32], None).unwrap().0;
    let (later, digest) = set.encode(&[1; 32], None).unwrap();
    let later = String::from_utf8(later).unwrap().replacen("{\"backstay_set\":1", "{\"backstay_set\":2", 1);
    let body = &later[..later.find("\"seal\"").unwrap()];
    let later = later.replacen(&to_hex(&digest), &to_hex(&sha256(body.as_bytes())), 1).into_bytes();
    for (found, code) in [(other, "replica.differs"), (later, "format.unsupported")] {
        replace(&store, &name, &found).await;
        let lost = receipt.members[0].id.part(0);
        store.delete(&lost).await.unwrap();
        let before = objects(&store).await;
        assert_eq!(repair_set(&store, &replica, id).await.unwrap_err().code(), code);
        assert_eq!(objects(&store).await, before, "something was changed before it was refused");
        replace(&store, &name, &good).await;
        repair_set(&store, &replica, id).await.unwrap();
    }
    // Nor is a damaged one whose members are not those that the replica's names.
    replace(&store, &name, &flipped).await;
    let (member, other) = (&receipt.members[0].id, make(&store, set_options(&raw(), false)).await.unwrap());
    set.members[0].id = other.members[0].id.clone();
    replace(&replica, &name, &set.encode(&[1; 32], None).unwrap().0).await;
    assert_eq!(repair_set(&store, &replica, id).await.unwrap_err().code(), "set.incomplete", "{member}");
    assert_eq!(store.get(&name, 1 << 20).await.unwrap().unwrap(), flipped);
}

#[tokio::test]
async fn the_state_of_a_set_follows_from_its_members() {
    for (damage, state_then) in [(".json", SetState::Processing), ("", SetState::Missing)] {
        let store = Store::memory();
        let receipt = make(&store, set_options(&raw(), false)).await.unwrap();
        let member = &receipt.members[1].id;
        for name in objects(&store).await.into_keys().filter(|name| name.starts_with(&format!("{member}{damage}"))) {
            store.delete(&name).await.unwrap();
        }
        assert_eq!(state(&store, &receipt.id).await, state_then);
        assert_eq!(restore(&store, &receipt.id, &raw_keyring()).await.unwrap_err().code(), "set.incomplete");
        let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
        let (nothing, context) = (Keyring::default(), context());
        let verify = set::verify_set(&store, &receipt.id, &nothing, Depth::Quick, &policy, &context, silent);
        let report = verify.await.unwrap();
        assert_eq!(report.findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["set.incomplete"]);
        let to = Store::memory();
        let copied = set::copy_set(&store, &to, &receipt.id, &CopyOptions::default(), &context, Arc::new(Silent)).await;
        assert_eq!(copied.unwrap_err().code(), "set.incomplete");
        // A monitor is not satisfied with it either.
        let now = jiff::Timestamp::now();
        let sources = freshness::freshness(&store, &Filter::default(), &Belief::default(), now).await.unwrap();
        assert_eq!(sources.len(), 1);
        assert!(sources[0].newest().is_none() && sources[0].passed_over.len() == 1);
    }
    // Another archive under a member's name.
    let store = Store::memory();
    let receipt = make(&store, set_options(&raw(), false)).await.unwrap();
    let (one, two) = (&receipt.members[0].id, &receipt.members[1].id);
    let manifest = store.get(&one.manifest(), 1 << 20).await.unwrap().unwrap();
    let manifest = String::from_utf8(manifest.to_vec()).unwrap().replace(one.as_str(), two.as_str());
    store.delete(&two.manifest()).await.unwrap();
    let digest = sha256(manifest.as_bytes());
    store.create(&two.manifest(), manifest.into(), digest).await.unwrap();
    assert_eq!(state(&store, &receipt.id).await, SetState::Failed);
}

#[tokio::test]
async fn a_set_stands_for_its_members_when_something_is_selected() {
    let store = Store::memory();
    let first = make(&store, set_options(&raw(), false)).await.unwrap();
    let second = make(&store, set_options(&raw(), false)).await.unwrap();
    let select = |selector: &str| {
        let (store, selector) = (&store, selector.to_owned());
        async move { catalog::select_any(store, &selector, &Filter::default()).await }
    };
    let (id, older) = (Selected::Set(second.id.clone()), Selected::Set(first.id.clone()));
    for selector in ["latest", "shop", second.id.as_str()] {
        assert_eq!(select(selector).await.unwrap(), id, "{selector}");
    }
    for selector in ["latest~1", "shop~1"] {
        assert_eq!(select(selector).await.unwrap(), older, "{selector}");
    }
    let member = Selected::Archive(second.members[1].id.clone());
    assert_eq!(select("shop/orders").await.unwrap(), member);
    // What takes one archive names the members.
    let refused = catalog::select(&store, "latest", &Filter::default()).await.unwrap_err();
    assert_eq!(refused.code(), "usage.selector");
    assert!(refused.to_string().contains(second.members[1].id.as_str()), "{refused}");
    // A source beside it has to be told apart.
    back_up(&store, b"content", native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    let refused = select("latest").await.unwrap_err();
    assert!(refused.to_string().contains("2 sources") && refused.to_string().contains("shop ("), "{refused}");
    let sources =
        freshness::freshness(&store, &Filter::default(), &Belief::default(), jiff::Timestamp::now()).await.unwrap();
    let names: Vec<_> = sources.iter().map(|source| source.name.as_deref().unwrap()).collect();
    assert!(names.len() == 2 && names.contains(&"shop") && names.contains(&"pg-main"), "{names:?}");
    assert_eq!(sources.iter().find(|source| source.name.as_deref() == Some("shop")).unwrap().points.len(), 2);
}

#[tokio::test]
async fn an_open_set_never_stands_before_an_encrypted_one() {
    let store = Store::memory();
    let encrypted = make(&store, set_options(&raw(), false)).await.unwrap();
    let open = make(&store, set_options(&Arc::new(Encryption::Open), false)).await.unwrap();
    let latest = catalog::select_any(&store, "shop", &Filter::default()).await.unwrap();
    assert_eq!(latest, Selected::Set(encrypted.id));
    let code = |keyring, policy: ReadPolicy| {
        let (store, id) = (&store, &open.id);
        async move { set::open(store, id, &keyring, &policy).await.map_or_else(|error| error.code(), |_| "ok") }
    };
    assert_eq!(code(raw_keyring(), ReadPolicy::default()).await, "key.open");
    assert_eq!(code(Keyring::default(), ReadPolicy::default()).await, "key.open");
    assert_eq!(code(Keyring::default(), ReadPolicy { allow_open: true, ..ReadPolicy::default() }).await, "ok");
}

#[tokio::test]
async fn hidden_names_are_shown_by_the_key_alone() {
    let store = Store::memory();
    let receipt = make(&store, set_options(&raw(), true)).await.unwrap();
    for (name, bytes) in objects(&store).await {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("orders") && !text.contains("shop") && !text.contains("nightly"), "{name}");
    }
    is_whole(&restore(&store, &receipt.id, &raw_keyring()).await.unwrap());
    let opened = set::open(&store, &receipt.id, &raw_keyring(), &ReadPolicy::default()).await.unwrap();
    assert_eq!((opened.set.name.as_deref(), &opened.set.tags[..]), (Some("shop"), &["nightly".to_owned()][..]));
}

#[tokio::test]
async fn recipients_detached_slots_and_signatures_work_as_for_an_archive() {
    let identity = age::x25519::Identity::generate();
    let signer = SigningKey::from_seed(&[3; 32]).unwrap();
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    for detached in [false, true] {
        let store = Store::memory();
        let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached };
        let options = SetOptions { signing_key: Some(signer.clone()), ..set_options(&Arc::new(slots), false) };
        let receipt = make(&store, options).await.unwrap();
        let signed = |signer: &SigningKey| ReadPolicy { signer: Some(signer.signer()), ..ReadPolicy::default() };
        set::open(&store, &receipt.id, &keyring, &signed(&signer)).await.unwrap();
        let other = SigningKey::from_seed(&[4; 32]).unwrap();
        let refused = set::open(&store, &receipt.id, &keyring, &signed(&other)).await.unwrap_err();
        assert_eq!(refused.code(), "key.signer");
        is_whole(&restore(&store, &receipt.id, &keyring).await.unwrap());
        assert_eq!(objects(&store).await.contains_key(&receipt.id.keybox(0)), detached);
        // Nothing of it looks like what an interrupted run left.
        let options = GcOptions { grace: std::time::Duration::ZERO, delete: true, whole: true };
        gc(&store, &options, &context()).await.unwrap();
        is_whole(&restore(&store, &receipt.id, &keyring).await.unwrap());
        let to = Store::memory();
        set::copy_set(&store, &to, &receipt.id, &CopyOptions::default(), &context(), Arc::new(Silent)).await.unwrap();
        is_whole(&restore(&to, &receipt.id, &keyring).await.unwrap());
    }
}

#[tokio::test]
async fn a_set_whose_id_is_taken_when_its_members_are_stored_takes_the_next_one() {
    let (plain, faults) = (Store::memory(), Faults::new());
    let store = plain.clone().with_wrapper(|objects| faults.wrap(objects));
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let begin = async || {
        let mut new = NewSet::begin(&store, set_options(&raw(), false), &context(), &observer).await.unwrap();
        let receipt = back_up(&store, b"x", native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
        new.add("x".to_owned(), None, &receipt);
        new
    };
    // Other runs that began in the same millisecond, and one in the next.
    let new = begin().await;
    let (first, next) =
        (new.id().clone(), |millis| ArchiveId::new(&new.id().guid(), new.id().millis() + millis).unwrap());
    let (second, third) = (next(1), next(2));
    for name in [first.set(), second.part(0)] {
        store.create(&name, "other".into(), sha256(b"other")).await.unwrap();
    }
    assert_eq!(new.commit(&store, BTreeMap::new(), &context()).await.unwrap().id, third);
    assert_eq!(set::open(&store, &third, &raw_keyring(), &ReadPolicy::default()).await.unwrap().set.id, third);
    assert_eq!(plain.get(&first.set(), 9).await.unwrap().unwrap(), "other");
    // One that stores its set between the look and the create is not replaced either.
    let new = begin().await;
    faults.beat(&new.id().set(), "other");
    let id = new.id().clone();
    assert_eq!(new.commit(&store, BTreeMap::new(), &context()).await.unwrap_err().code(), "name.taken");
    assert_eq!(plain.get(&id.set(), 9).await.unwrap().unwrap(), "other");
}

#[tokio::test]
async fn a_set_of_which_a_member_was_deleted_meanwhile_is_not_committed() {
    let (plain, replica) = (Store::memory(), Store::memory());
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let mut new = NewSet::begin(&plain, set_options(&raw(), false), &context(), &observer).await.unwrap();
    let mut members = Vec::new();
    for name in ["a", "b"] {
        let receipt = back_up(&plain, b"x", native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
        new.add(name.to_owned(), None, &receipt);
        members.push(receipt.id);
    }
    plain.delete(&members[0].manifest()).await.unwrap();
    let refused = new.commit(&plain, BTreeMap::new(), &context()).await.unwrap_err();
    assert!(refused.code() == "set.incomplete" && refused.to_string().contains(members[0].as_str()), "{refused}");
    assert!(catalog::list_all(&plain, &Filter::default(), true, &context()).await.unwrap().1.is_empty());

    // A copy of it, too.
    let receipt = make(&plain, set_options(&raw(), false)).await.unwrap();
    let faults = Faults::new();
    let watched = replica.clone().with_wrapper(|inner| faults.wrap(inner));
    let first = receipt.members[0].id.manifest();
    let before = objects(&plain).await.keys().filter(|name| name.contains(receipt.members[0].id.as_str())).count();
    faults.erase(before + 3, move |_| first);
    let (options, machine) = (CopyOptions::default(), context());
    let copied = set::copy_set(&plain, &watched, &receipt.id, &options, &machine, Arc::new(Silent)).await;
    assert_eq!(copied.unwrap_err().code(), "set.incomplete");
    assert!(!objects(&replica).await.contains_key(&receipt.id.set()));
}

/// Makes or copies a set again and again, and ends the process at its first call of the store, its second, and so on. What is a set then
/// has all its members.
#[tokio::test]
async fn a_set_whose_writer_dies_at_any_call_is_whole_or_is_none() {
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let slots = Arc::new(slots);
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity));
    let source = Store::memory();
    let copied = make(&source, set_options(&slots, false)).await.unwrap().id;
    for copying in [false, true] {
        let mut number = 0;
        loop {
            number += 1;
            let mut got_through = false;
            for when in [When::Before, When::After] {
                let (store, faults) = (Store::memory(), Faults::new());
                let mortal = store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
                faults.crash_at(number, when);
                let work = async {
                    match copying {
                        false => drop(make(&mortal, set_options(&slots, false)).await.unwrap()),
                        true => {
                            let (options, silent) = (CopyOptions::default(), Arc::new(Silent));
                            set::copy_set(&source, &mortal, &copied, &options, &context(), silent).await.unwrap();
                        }
                    }
                };
                got_through = tokio::select! {
                    () = work => true,
                    () = faults.crashed() => false,
                };
                let (_, sets) = catalog::list_all(&store, &Filter::default(), true, &context()).await.unwrap();
                assert!(sets.len() == 1 || (sets.is_empty() && !got_through));
                for entry in sets {
                    assert_eq!(entry.state, Some(SetState::Completed));
                    is_whole(&restore(&store, &entry.id, &keyring).await.unwrap());
                }
                // The next run is none the worse for it.
                let next = make(&store, set_options(&slots, false)).await.unwrap();
                is_whole(&restore(&store, &next.id, &keyring).await.unwrap());
            }
            if got_through {
                break;
            }
            assert!(number < 500, "it does not end");
        }
        assert!(number > 10, "{number}");
    }
}
