//! Further keys for an archive that exists: small objects beside it, and nothing else changes.

use std::collections::BTreeMap;

use crate::common::{add_slots, back_up, content, context, native, options, raw_keyring, read, recipient};
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
    assert_eq!(destroy_keys(&store, &id).await.unwrap(), [id.keybox(0), id.keybox(1)]);
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
    assert_eq!(destroy_keys(&store, &id).await.unwrap_err().code(), "usage.arguments");
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
