//! Further keys for an archive that exists: small objects beside it, and nothing else changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{RUNTIME, add_slots, back_up, content, context, native, options, raw_keyring, read, recipient};
use age::secrecy::SecretString;
use age::x25519::Identity;
use backstay::backup::Format;
use backstay::catalog::Selected;
use backstay::keys::Encryption;
use backstay::rewrap::{NewSlots, destroy_keys, rewrap};
use backstay::{Error, RestoreOptions};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, Faults, When};
use futures::TryStreamExt as _;
use proptest::prelude::*;
use proptest::sample::Index;

fn ring(identity: &Identity) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    keyring
}

async fn made(store: &Store, identity: &Identity, detached: bool) -> ArchiveId {
    let encryption = Encryption::Slots { recipients: vec![recipient(identity)], passphrase: None, detached };
    back_up(store, &content(100_000, false), native(encryption)).await.unwrap().id
}

async fn objects(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let names: Vec<String> = store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap();
    let mut objects = BTreeMap::new();
    for name in names {
        let bytes = store.get(&name, 1 << 30).await.unwrap().unwrap();
        objects.insert(name, bytes.to_vec());
    }
    objects
}

async fn opens(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<(), &'static str> {
    match read(store, id, keyring, &RestoreOptions::default()).await {
        Ok(bytes) => {
            assert!(bytes == content(100_000, false));
            Ok(())
        }
        Err(error) => Err(error.code()),
    }
}

async fn add(store: &Store, id: &ArchiveId, keyring: &Keyring, new: &Identity) -> Result<Vec<String>, Error> {
    add_slots(store, id, keyring, &[recipient(new)], None).await
}

#[tokio::test]
async fn a_new_reader_is_one_more_object_and_every_other_stays_as_it_was() {
    for detached in [false, true] {
        let store = Store::memory();
        let (old, new, third) = (Identity::generate(), Identity::generate(), Identity::generate());
        let id = made(&store, &old, detached).await;
        let before = objects(&store).await;
        assert_eq!(opens(&store, &id, &ring(&new)).await, Err("key.not-found"));
        let names = add(&store, &id, &ring(&old), &new).await.unwrap();
        assert_eq!(names, [id.keybox(u32::from(detached))]);
        let mut after = objects(&store).await;
        after.remove(&names[0]).unwrap();
        assert!(before == after);
        assert_eq!(opens(&store, &id, &ring(&old)).await, Ok(()));
        assert_eq!(opens(&store, &id, &ring(&new)).await, Ok(()));
        // Whoever can read can let others in.
        add(&store, &id, &ring(&new), &third).await.unwrap();
        assert_eq!(opens(&store, &id, &ring(&third)).await, Ok(()));
    }
}

#[tokio::test]
async fn whoever_cannot_open_an_archive_lets_nobody_in() {
    let store = Store::memory();
    let (old, stranger) = (Identity::generate(), Identity::generate());
    let id = made(&store, &old, false).await;
    let before = objects(&store).await;
    assert_eq!(add(&store, &id, &ring(&stranger), &stranger).await.unwrap_err().code(), "key.not-found");
    assert_eq!(add(&store, &id, &Keyring::default(), &stranger).await.unwrap_err().code(), "key.not-found");
    assert!(objects(&store).await == before);
}

#[tokio::test]
async fn a_rewrap_that_is_cut_short_leaves_what_works_and_the_next_one_goes_on() {
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|objects| faults.wrap(objects));
    let (old, new) = (Identity::generate(), Identity::generate());
    let id = made(&store, &old, true).await;
    let passphrase = SecretString::from("correct horse");
    let mut by_passphrase = Keyring::default();
    by_passphrase.add_passphrase(passphrase.clone());
    let both = async || add_slots(&store, &id, &ring(&old), &[recipient(&new)], Some(&passphrase)).await;

    // The store is asked whether it keeps conditions; the first of two objects is stored, the second is not.
    let done = faults.calls(Call::Put);
    faults.fail(Call::Put, done + 3..=done + 3, When::Before, Failure::Denied);
    assert_eq!(both().await.unwrap_err().code(), "store.denied");
    assert_eq!(opens(&store, &id, &ring(&new)).await, Ok(()));
    assert_eq!(opens(&store, &id, &ring(&old)).await, Ok(()));
    assert_eq!(opens(&store, &id, &by_passphrase).await, Err("key.not-found"));

    assert_eq!(both().await.unwrap(), [id.keybox(2), id.keybox(3)]);
    for keyring in [&ring(&old), &ring(&new), &by_passphrase] {
        assert_eq!(opens(&store, &id, keyring).await, Ok(()));
    }
    // An answer that is lost after the object was stored makes no second one.
    let done = faults.calls(Call::Put);
    faults.fail(Call::Put, done + 2..=done + 2, When::After, Failure::Lost);
    assert_eq!(add(&store, &id, &ring(&old), &Identity::generate()).await.unwrap(), [id.keybox(4)]);
}

#[tokio::test]
async fn a_keybox_that_was_deleted_closes_the_door_and_its_number_is_used_again() {
    let store = Store::memory();
    let (old, new) = (Identity::generate(), Identity::generate());
    let id = made(&store, &old, true).await;
    add(&store, &id, &ring(&old), &new).await.unwrap();
    // What the old key could open before, it cannot any more: these slots are nowhere else.
    store.delete(&id.keybox(0)).await.unwrap();
    assert_eq!(opens(&store, &id, &ring(&old)).await, Err("key.not-found"));
    assert_eq!(opens(&store, &id, &ring(&new)).await, Ok(()));
    assert_eq!(add(&store, &id, &ring(&new), &old).await.unwrap(), [id.keybox(0)]);
    assert_eq!(opens(&store, &id, &ring(&old)).await, Ok(()));
    assert_eq!(destroy_keys(&store, &id, "test", &context()).await.unwrap(), [id.keybox(0), id.keybox(1)]);
    for keyring in [ring(&old), ring(&new)] {
        assert_eq!(opens(&store, &id, &keyring).await, Err("key.not-found"));
    }
}

#[tokio::test]
async fn a_slot_inside_the_parts_stays_whatever_is_put_beside_them() {
    let store = Store::memory();
    let (old, new) = (Identity::generate(), Identity::generate());
    let id = made(&store, &old, false).await;
    add(&store, &id, &ring(&old), &new).await.unwrap();
    assert_eq!(destroy_keys(&store, &id, "test", &context()).await.unwrap_err().code(), "usage.arguments");
    assert_eq!(opens(&store, &id, &ring(&new)).await, Ok(()));
}

#[tokio::test]
async fn a_lost_or_damaged_manifest_does_not_keep_a_key_s_holder_from_adding_another() {
    let store = Store::memory();
    let (old, new) = (Identity::generate(), Identity::generate());
    let id = made(&store, &old, false).await;
    store.delete(&id.manifest()).await.unwrap();
    add(&store, &id, &ring(&old), &new).await.unwrap();
    let mut options = RestoreOptions::default();
    options.policy.no_manifest = true;
    assert!(read(&store, &id, &ring(&new), &options).await.unwrap() == content(100_000, false));
}

#[tokio::test]
async fn a_raw_key_is_enough_to_let_a_recipient_in() {
    let store = Store::memory();
    let new = Identity::generate();
    let encryption = Encryption::Raw(Secret([7; 32]));
    let id = back_up(&store, &content(100_000, false), native(encryption)).await.unwrap().id;
    add(&store, &id, &raw_keyring(), &new).await.unwrap();
    assert_eq!(opens(&store, &id, &ring(&new)).await, Ok(()));
}

#[tokio::test]
async fn archives_that_have_no_slots_are_refused() {
    let store = Store::memory();
    let new = Identity::generate();
    let open = back_up(&store, &content(1000, false), native(Encryption::Open)).await.unwrap().id;
    assert_eq!(add(&store, &open, &ring(&new), &new).await.unwrap_err().code(), "key.open");
    let password = || Password::new(b"KEY".to_vec());
    let format = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: password(), single: false };
    let mut options = options(format);
    options.guid = "0f0e0d0c-6535-423d-8709-dca87df7985c".parse().unwrap();
    let openssl = back_up(&store, &content(1000, false), options).await.unwrap().id;
    let mut keyring = Keyring::default();
    keyring.add_password(password());
    let before = objects(&store).await;
    assert_eq!(add(&store, &openssl, &keyring, &new).await.unwrap_err().code(), "usage.arguments");
    assert!(objects(&store).await == before);
}

#[tokio::test]
async fn two_rewraps_at_once_both_store_their_slots() {
    let (old, mine, theirs) = (Identity::generate(), Identity::generate(), Identity::generate());
    let plain = Store::memory();
    let id = made(&plain, &old, false).await;
    // Another run takes the numbers that the listing said were free.
    let faults = Faults::new();
    for m in 0..3 {
        faults.beat(&id.keybox(m), b"another run's".to_vec());
    }
    let store = plain.clone().with_wrapper(|objects| faults.wrap(objects));
    assert_eq!(add(&store, &id, &ring(&old), &mine).await.unwrap(), [id.keybox(3)]);
    assert_eq!(opens(&plain, &id, &ring(&mine)).await, Ok(()));
    let (one, other) = (ring(&old), ring(&old));
    let (one, other) = tokio::join!(add(&plain, &id, &one, &mine), add(&plain, &id, &other, &theirs));
    assert_ne!(one.unwrap(), other.unwrap());
    assert_eq!(opens(&plain, &id, &ring(&theirs)).await, Ok(()));
}

#[tokio::test]
async fn a_slot_that_no_reader_would_look_at_is_not_stored() {
    let (store, old, new) = (Store::memory(), Identity::generate(), Identity::generate());
    let id = made(&store, &old, false).await;
    for _ in 0..15 {
        add(&store, &id, &ring(&old), &Identity::generate()).await.unwrap();
    }
    add(&store, &id, &ring(&old), &new).await.unwrap();
    assert_eq!(opens(&store, &id, &ring(&new)).await, Ok(()));
    let before = objects(&store).await;
    let refused = add(&store, &id, &ring(&old), &Identity::generate()).await.unwrap_err();
    assert!(refused.code() == "usage.arguments" && refused.to_string().contains("16"), "{refused}");
    assert!(objects(&store).await == before);
}

#[tokio::test]
async fn an_archive_that_the_new_key_opens_already_is_left_as_it_is() {
    let (store, old, new) = (Store::memory(), Identity::generate(), Identity::generate());
    let id = made(&store, &old, false).await;
    let (recipients, ring_of_new) = ([recipient(&new)], ring(&new));
    let slots = NewSlots { recipients: &recipients, passphrase: None, unless_opened_by: &ring_of_new };
    let of = Selected::Archive(id.clone());
    assert_eq!(rewrap(&store, &of, &ring(&old), &slots, &context()).await.unwrap(), [id.keybox(0)]);
    let before = objects(&store).await;
    assert!(rewrap(&store, &of, &ring(&old), &slots, &context()).await.unwrap().is_empty());
    assert!(objects(&store).await == before);
}

#[tokio::test]
async fn who_has_a_slot_and_lets_others_in_gets_no_second_one() {
    for detached in [false, true] {
        let (store, old, new) = (Store::memory(), Identity::generate(), Identity::generate());
        let id = made(&store, &old, detached).await;
        let before = objects(&store).await;
        assert!(add(&store, &id, &ring(&old), &old).await.unwrap().is_empty());
        assert!(objects(&store).await == before);
        // Of several those who are not in.
        let both = [recipient(&old), recipient(&new)];
        let first = u32::from(detached);
        assert_eq!(add_slots(&store, &id, &ring(&old), &both, None).await.unwrap(), [id.keybox(first)]);
        let slot = objects(&store).await.remove(&id.keybox(first)).unwrap();
        assert_eq!(backstay_format::key::stanzas(&slot), ["X25519"]);
        assert!(add_slots(&store, &id, &ring(&new), &both[1..], None).await.unwrap().is_empty());
        // Another archive's slot lets nobody in here.
        let other = made(&store, &new, true).await;
        store.delete(&id.keybox(first)).await.unwrap();
        let planted = objects(&store).await.remove(&other.keybox(0)).unwrap();
        let digest = backstay_format::schedule::sha256(&planted);
        store.create(&id.keybox(first), planted.into(), digest).await.unwrap();
        let mut keyring = ring(&old);
        keyring.add_identity(Box::new(new.clone()));
        assert_eq!(add(&store, &id, &keyring, &new).await.unwrap(), [id.keybox(first + 1)]);
        assert_eq!(opens(&store, &id, &ring(&new)).await, Ok(()));
    }
}

#[tokio::test]
async fn a_credential_without_the_right_to_probe_finds_out_by_an_object_that_is_there() {
    let (old, new) = (Identity::generate(), Identity::generate());
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|objects| faults.wrap(objects));
    let id = made(&store, &old, true).await;
    let before: Vec<String> = objects(&store).await.into_keys().collect();
    faults.fail_all(Call::Delete, Failure::Denied);
    let puts = faults.calls(Call::Put);
    add(&store, &id, &ring(&old), &new).await.unwrap();
    assert_eq!(faults.calls(Call::Put) - puts, 2, "the keybox that is there, and the new one");
    let after: Vec<String> = objects(&store).await.into_keys().collect();
    assert_eq!(after.len(), before.len() + 1);
}

/// Those who may be let in.
const PEOPLE: usize = 5;

/// What is done to the keys of an archive.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody lets others in, or does so unless the first of them is in.
    LetIn { by: usize, new: BTreeSet<usize>, unless: bool },
    /// One of the keyboxes is deleted.
    ShutOut(Index),
}

fn any_people() -> impl Strategy<Value = BTreeSet<usize>> {
    prop::collection::btree_set(0..PEOPLE, 1..4)
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..PEOPLE, any_people(), any::<bool>()).prop_map(|(by, new, unless)| Step::LetIn { by, new, unless }),
        1 => any::<Index>().prop_map(Step::ShutOut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whoever_lets_in_whomever_the_content_stays_and_exactly_the_stated_keys_open_it(
        first in any_people(),
        detached in any::<bool>(),
        steps in prop::collection::vec(any_step(), 1..7),
    ) {
        RUNTIME.block_on(async {
            let people: Vec<Identity> = (0..PEOPLE).map(|_| Identity::generate()).collect();
            let recipients = |of: &BTreeSet<usize>| of.iter().map(|who| recipient(&people[*who])).collect::<Vec<_>>();
            let store = Store::memory();
            let encryption = Encryption::Slots { recipients: recipients(&first), passphrase: None, detached };
            let id = back_up(&store, &content(100_000, false), native(encryption)).await.unwrap().id;
            let of = Selected::Archive(id.clone());
            // Who is let in by which keybox, or by the parts themselves.
            let mut slots = vec![(detached.then(|| id.keybox(0)), first)];
            for step in steps {
                let before = objects(&store).await;
                let is_in = |who: usize| slots.iter().any(|(_, people)| people.contains(&who));
                match step {
                    Step::LetIn { by, new, unless } => {
                        let known = *new.first().unwrap();
                        let unless_opened_by = if unless { ring(&people[known]) } else { Keyring::default() };
                        let wanted = recipients(&new);
                        let added = NewSlots { recipients: &wanted, passphrase: None, unless_opened_by: &unless_opened_by };
                        let outcome = rewrap(&store, &of, &ring(&people[by]), &added, &context()).await;
                        let mut after = objects(&store).await;
                        if unless && is_in(known) {
                            assert_eq!(outcome.unwrap(), [""; 0]);
                        } else if is_in(by) {
                            // Who lets others in is in already.
                            let new: BTreeSet<usize> = new.into_iter().filter(|who| *who != by).collect();
                            let names = outcome.unwrap();
                            assert_eq!(names.len(), usize::from(!new.is_empty()));
                            for name in names {
                                assert!(after.remove(&name).is_some());
                                slots.push((Some(name), new.clone()));
                            }
                        } else {
                            assert_eq!(outcome.unwrap_err().code(), "key.not-found");
                        }
                        assert!(after == before, "nothing else changes");
                    }
                    Step::ShutOut(which) => {
                        let boxes: Vec<String> = slots.iter().filter_map(|(name, _)| name.clone()).collect();
                        if boxes.is_empty() {
                            continue;
                        }
                        let name = which.get(&boxes);
                        store.delete(name).await.unwrap();
                        slots.retain(|(slot, _)| slot.as_ref() != Some(name));
                    }
                }
                let is_in = |who: usize| slots.iter().any(|(_, people)| people.contains(&who));
                for (who, identity) in people.iter().enumerate() {
                    let expected = if is_in(who) { Ok(()) } else { Err("key.not-found") };
                    assert_eq!(opens(&store, &id, &ring(identity)).await, expected, "{who} by {slots:?}");
                }
            }
        });
    }
}
