//! Which key opens what, found without reading any content.

use std::sync::Arc;

use crate::common::{add_slots, back_up, content, context, native, options, raw_keyring, recipient, set_of};
use age::secrecy::SecretString;
use age::x25519::Identity;
use backstay::audit::{Audited, Key, Lock, Place, audit};
use backstay::backup::Format;
use backstay::catalog::{Filter, Selected};
use backstay::keys::Encryption;
use backstay::policy::OpensslReading;
use backstay::rewrap::{every, export_secret};
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, Faults};

fn ring(identity: &Identity) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    keyring
}

fn key(label: &str, keyring: Keyring) -> Key {
    Key { label: label.to_owned(), keyring }
}

async fn audited(store: &Store, keys: &[Key]) -> Vec<Audited> {
    let all = every(store, &Filter::default(), &context()).await.unwrap();
    audit(store, all, keys, OpensslReading::default()).await.unwrap()
}

fn kinds(archive: &Audited) -> Vec<(Place, Vec<String>)> {
    match &archive.lock {
        Lock::Slots(slots) => slots.iter().map(|slot| (slot.place, slot.kinds.clone())).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn each_archive_says_how_it_is_locked_and_each_key_what_it_opens() {
    let store = Store::memory();
    let (mine, theirs, nobodys) = (Identity::generate(), Identity::generate(), Identity::generate());
    let slots = |recipients: Vec<&Identity>, passphrase: Option<&str>, detached| Encryption::Slots {
        recipients: recipients.into_iter().map(recipient).collect(),
        passphrase: passphrase.map(|text| SecretString::from(text.to_owned())),
        detached,
    };
    let text = content(1000, false);
    for encryption in [
        slots(vec![&mine], None, false),
        slots(vec![&mine, &theirs], Some("correct horse"), false),
        slots(vec![&theirs], None, true),
        Encryption::Raw(Secret([7; 32])),
        Encryption::Open,
    ] {
        back_up(&store, &text, native(encryption)).await.unwrap();
    }
    let password = || Password::new(b"correct horse".to_vec());
    let format = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: password(), single: false };
    back_up(&store, &text, options(format)).await.unwrap();
    let all = every(&store, &Filter::default(), &context()).await.unwrap();
    let ids: Vec<_> = all.iter().map(|one| one.id().clone()).collect();
    add_slots(&store, &ids[2], &ring(&theirs), &[recipient(&mine)], None).await.unwrap();

    let mut passphrase = Keyring::default();
    passphrase.add_passphrase(SecretString::from("correct horse"));
    passphrase.add_password(password());
    let keys = [
        key("mine", ring(&mine)),
        key("theirs", ring(&theirs)),
        key("raw", raw_keyring()),
        key("passphrase", passphrase),
        key("nobody's", ring(&nobodys)),
    ];
    // Nothing of the content is read.
    let faults = Faults::new();
    for id in &ids[..4] {
        faults.cut_answers(&id.part(0), 0);
    }
    let blind = store.clone().with_wrapper(|objects| faults.wrap(objects));
    let found = audited(&blind, &keys).await;
    let opened: Vec<Vec<usize>> = found.iter().map(|archive| archive.opened_by.clone()).collect();
    assert_eq!(opened, [vec![0], vec![0, 1, 3], vec![0, 1], vec![2], vec![], vec![3]]);
    assert!(found.iter().all(|archive| archive.is_opened() && archive.not_tried.is_empty()));
    let ways: Vec<Option<usize>> = found.iter().map(Audited::ways).collect();
    assert_eq!(ways, [Some(1), Some(3), Some(2), Some(1), None, Some(1)]);
    let x25519 = || vec!["X25519".to_owned()];
    assert_eq!(kinds(&found[0]), [(Place::Attached, x25519())]);
    assert_eq!(kinds(&found[1])[1], (Place::Attached, vec!["scrypt".to_owned()]));
    assert_eq!(kinds(&found[2]), [(Place::Keybox(0), x25519()), (Place::Keybox(1), x25519())]);
    let locks: Vec<&Lock> = found[3..].iter().map(|archive| &archive.lock).collect();
    assert_eq!(locks, [&Lock::RawKey, &Lock::Open, &Lock::Password]);

    let found = audited(&store, &[key("nobody's", ring(&nobodys))]).await;
    assert_eq!(found.iter().filter(|archive| archive.is_opened()).count(), 1, "the open one");
}

#[tokio::test]
async fn an_archive_that_cannot_be_looked_at_does_not_hide_the_others() {
    let (store, mine) = (Store::memory(), Identity::generate());
    let encryption = || Encryption::Slots { recipients: vec![recipient(&mine)], passphrase: None, detached: false };
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(back_up(&store, &content(1000, false), native(encryption())).await.unwrap().id);
    }
    // Without a manifest the first header line tells the same; without either, nothing does.
    for id in &ids[..2] {
        store.delete(&id.manifest()).await.unwrap();
    }
    store.delete(&ids[0].part(0)).await.unwrap();
    add_slots(&store, &ids[2], &ring(&mine), &[recipient(&Identity::generate())], None).await.unwrap();
    store.delete(&ids[2].keybox(0)).await.unwrap();
    let rubbish = b"rubbish".to_vec();
    store.create(&ids[2].keybox(0), rubbish.clone().into(), backstay_format::schedule::sha256(&rubbish)).await.unwrap();
    let all: Vec<Selected> = ids.iter().cloned().map(Selected::Archive).collect();
    let found = audit(&store, all.clone(), &[key("mine", ring(&mine))], OpensslReading::default()).await.unwrap();
    assert!(matches!(&found[0].lock, Lock::Unknown(finding) if finding.code == "archive.not-found"));
    assert!(!found[0].is_opened() && found[1].is_opened() && found[2].is_opened());
    assert_eq!(kinds(&found[2])[1], (Place::Keybox(0), Vec::new()), "a slot that is none");
    assert_eq!(found[2].ways(), Some(1));
    // A store that is not reached is another matter.
    let faults = Faults::new();
    faults.fail_all(Call::List, Failure::Denied);
    let denied = store.with_wrapper(|objects| faults.wrap(objects));
    assert_eq!(audit(&denied, all, &[], OpensslReading::default()).await.unwrap_err().code(), "store.denied");
}

#[tokio::test]
async fn a_set_is_looked_at_beside_its_members() {
    let (store, mine, theirs) = (Store::memory(), Identity::generate(), Identity::generate());
    for detached in [false, true] {
        let encryption = Encryption::Slots { recipients: vec![recipient(&mine)], passphrase: None, detached };
        set_of(&store, &Arc::new(encryption), "shop", &["a", "b"], &context()).await;
    }
    let keys = [key("mine", ring(&mine)), key("theirs", ring(&theirs))];
    let found = audited(&store, &keys).await;
    let sets: Vec<&Audited> = found.iter().filter(|one| matches!(one.of, Selected::Set(_))).collect();
    assert_eq!((found.len(), sets.len()), (6, 2));
    assert!(found.iter().all(|one| one.opened_by == [0] && one.ways() == Some(1)));
    let x25519 = || vec!["X25519".to_owned()];
    assert_eq!(kinds(sets[0]), [(Place::Attached, x25519())]);
    assert_eq!(kinds(sets[1]), [(Place::Keybox(0), x25519())]);
    let id = sets[0].of.id();
    store.delete(&id.set()).await.unwrap();
    store.create(&id.set(), "{}".into(), backstay_format::schedule::sha256(b"{}")).await.unwrap();
    let found = audited(&store, &keys).await;
    let damaged = found.iter().find(|one| one.of == Selected::Set(id.clone())).unwrap();
    assert!(matches!(&damaged.lock, Lock::Unknown(finding) if finding.code == "set.invalid"));
}

#[tokio::test]
async fn two_slots_of_one_key_are_one_way_in() {
    let store = Store::memory();
    let (mine, theirs) = (Identity::generate(), Identity::generate());
    let passphrase = SecretString::from("correct horse");
    let only = |identity: &Identity| Encryption::Slots {
        recipients: vec![recipient(identity)],
        passphrase: None,
        detached: false,
    };
    let id = back_up(&store, &content(1000, false), native(only(&mine))).await.unwrap().id;
    let ring_of_passphrase = || {
        let mut keyring = Keyring::default();
        keyring.add_passphrase(passphrase.clone());
        keyring
    };
    let ways = async |keys: &[Key]| audited(&store, keys).await[0].ways();
    // Whoever has no more than the secret lets in who is in already.
    let secret = export_secret(&store, &id, &ring(&mine)).await.unwrap();
    let mut bare = Keyring::default();
    bare.add_raw(secret);
    add_slots(&store, &id, &bare, &[recipient(&mine)], None).await.unwrap();
    // A slot does not say whose it is: only the key does.
    assert_eq!((ways(&[]).await, ways(&[key("theirs", ring(&theirs))]).await), (Some(2), Some(2)));
    assert_eq!(ways(&[key("mine", ring(&mine))]).await, Some(1));
    // One more slot that is for both, and one that a passphrase opens, twice.
    add_slots(&store, &id, &bare, &[recipient(&mine), recipient(&theirs)], None).await.unwrap();
    let (mine, theirs) = (|| key("mine", ring(&mine)), || key("theirs", ring(&theirs)));
    assert_eq!((ways(&[mine()]).await, ways(&[theirs()]).await), (Some(2), Some(4)));
    assert_eq!(ways(&[mine(), theirs()]).await, Some(2));
    for _ in 0..2 {
        add_slots(&store, &id, &mine().keyring, &[], Some(&passphrase)).await.unwrap();
    }
    assert_eq!((ways(&[mine()]).await, ways(&[key("passphrase", ring_of_passphrase())]).await), (Some(4), Some(5)));
    assert_eq!(ways(&[mine(), theirs(), key("passphrase", ring_of_passphrase())]).await, Some(3));
}
