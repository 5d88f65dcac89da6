//! Reports: what a verification found is kept with a seal, or not at all.

use std::sync::Arc;

use crate::common::{back_up, content, context, native, objects, options, raw_keyring, recipient};
use backstay::backup::Format;
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::report::{Findings, record, reports};
use backstay::verify::{Depth, verify};
use backstay::{BackupOptions, Silent};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, Manifest};
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::report::Level;
use backstay_format::schedule::{Secret, sha256};
use backstay_format::signature::SigningKey;
use backstay_store::Store;

fn openssl() -> BackupOptions {
    let (kdf, password) = (Kdf::BytesToKey(Digest::Md5), Password::new(b"KEY".to_vec()));
    options(Format::Openssl { kdf, password, single: false })
}

fn password() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    keyring
}

fn findings(good: bool) -> Findings {
    Findings { level: Level::Full, good, by: "here".to_owned(), details: "{}".to_owned() }
}

async fn root(store: &Store, id: &ArchiveId) -> [u8; 32] {
    let bytes = store.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
    let Document::Manifest(sealed) = Manifest::parse(bytes.into(), id).unwrap() else { panic!("a manifest of ours") };
    sealed.manifest.root()
}

#[tokio::test]
async fn a_verification_is_kept_with_the_root_of_what_was_verified() {
    let identity = age::x25519::Identity::generate();
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    let slots = native(Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true });
    for (made, keyring) in
        [(native(Encryption::Raw(Secret([7; 32]))), raw_keyring()), (slots, keyring), (openssl(), password())]
    {
        let store = Store::memory();
        let id = back_up(&store, &content(300_000, true), made).await.unwrap().id;
        let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
        let verified = verify(&store, &id, &keyring, Depth::Deep, &policy, &context(), silent).await.unwrap();
        let (one, other) = (
            Findings::of(&verified, true, "here".to_owned()).unwrap(),
            Findings::of(&verified, true, "there".to_owned()).unwrap(),
        );
        let names = [
            record(&store, &id, &one, &keyring, None, &context()).await.unwrap(),
            // Another one in the same millisecond gets another name.
            record(&store, &id, &other, &keyring, None, &context()).await.unwrap(),
        ];
        assert_ne!(names[0], names[1]);
        let kept = reports(&store, &id).await.unwrap();
        assert_eq!(kept.len(), 2);
        assert_eq!((kept[0].report.level, kept[0].report.good), (Level::Deep, true));
        assert_eq!(kept[0].report.root, Some(root(&store, &id).await));
        assert!(kept[0].report.details.contains("\"content\":300000"), "{}", kept[0].report.details);
    }
}

#[tokio::test]
async fn without_a_key_or_a_signature_nothing_is_kept() {
    let store = Store::memory();
    let id = back_up(&store, &content(9000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let before = objects(&store).await;
    let mut other = Keyring::default();
    other.add_raw(Secret([8; 32]));
    for keyring in [Keyring::default(), other, password()] {
        let error = record(&store, &id, &findings(true), &keyring, None, &context()).await.unwrap_err();
        assert_eq!(error.code(), "usage.arguments");
    }
    assert_eq!(objects(&store).await, before);
    // A verifier that has no key signs.
    let verifier = SigningKey::from_seed(&[1; 32]).unwrap();
    record(&store, &id, &findings(true), &Keyring::default(), Some(&verifier), &context()).await.unwrap();
    assert!(reports(&store, &id).await.unwrap()[0].is_signed_by(&verifier.signer()));

    // An open archive's secret is everybody's, and so would be the MAC of a report on it.
    let id = back_up(&store, &content(9000, true), native(Encryption::Open)).await.unwrap().id;
    let error = record(&store, &id, &findings(true), &Keyring::default(), None, &context()).await.unwrap_err();
    assert_eq!(error.code(), "usage.arguments");
}

#[tokio::test]
async fn a_manifest_that_the_key_does_not_stand_for_is_never_called_good() {
    let store = Store::memory();
    let id = back_up(&store, &content(9000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let bytes = store.get(&id.manifest(), 1 << 20).await.unwrap().unwrap();
    let Document::Manifest(sealed) = Manifest::parse(bytes.into(), &id).unwrap() else { panic!("a manifest of ours") };
    let (forged, _) = sealed.manifest.encode(&[9; 32], None).unwrap();
    store.delete(&id.manifest()).await.unwrap();
    store.create(&id.manifest(), forged.clone().into(), sha256(&forged)).await.unwrap();
    let error = record(&store, &id, &findings(true), &raw_keyring(), None, &context()).await.unwrap_err();
    assert_eq!(error.code(), "manifest.seal");
    record(&store, &id, &findings(false), &raw_keyring(), None, &context()).await.unwrap();
    assert!(!reports(&store, &id).await.unwrap()[0].report.good);
}

#[tokio::test]
async fn an_openssl_archive_without_a_manifest_has_reports_without_a_root() {
    let store = Store::memory();
    let id = back_up(&store, &content(9000, true), openssl()).await.unwrap().id;
    store.delete(&id.manifest()).await.unwrap();
    record(&store, &id, &findings(true), &password(), None, &context()).await.unwrap();
    assert_eq!(reports(&store, &id).await.unwrap()[0].report.root, None);
}
