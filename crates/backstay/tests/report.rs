//! Reports: what a verification found is kept with a seal, or not at all.

use std::sync::Arc;

use crate::common::{back_up, content, context, native, objects, options, raw_keyring, recipient, set_of};
use backstay::backup::Format;
use backstay::catalog::Filter;
use backstay::catalog::freshness::{Source, Verdict, freshness};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::report::{Findings, record, reports};
use backstay::retention::Belief;
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

async fn seen(store: &Store, keyring: Keyring, report_signer: Option<&SigningKey>) -> Source {
    let belief = Belief { keyring, report_signer: report_signer.map(SigningKey::signer), ..Belief::default() };
    let now = jiff::Timestamp::now();
    let mut sources = freshness(store, &Filter::default(), &belief, now).await.unwrap();
    assert_eq!(sources.len(), 1);
    sources.remove(0)
}

fn verdict(source: &Source) -> Verdict {
    source.verdict(jiff::Timestamp::now(), Some(std::time::Duration::from_secs(3600)), 50)
}

fn strange() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_raw(Secret([8; 32]));
    keyring
}

#[tokio::test]
async fn what_a_report_calls_bad_is_not_fresh_with_the_key_and_doubtful_without() {
    let store = Store::memory();
    let raw = || native(Encryption::Raw(Secret([7; 32])));
    let older = back_up(&store, &content(1000, true), raw()).await.unwrap().id;
    let newest = back_up(&store, &content(1000, true), raw()).await.unwrap().id;
    assert_eq!(verdict(&seen(&store, raw_keyring(), None).await), Verdict::Fresh);
    let verifier = SigningKey::from_seed(&[1; 32]).unwrap();
    record(&store, &newest, &findings(false), &raw_keyring(), Some(&verifier), &context()).await.unwrap();
    // Anybody could have put it there.
    let source = seen(&store, Keyring::default(), None).await;
    assert_eq!((source.newest().map(|point| &point.id), source.doubt), (Some(&newest), Some(Level::Full)));
    assert_eq!(verdict(&source), Verdict::Doubtful);
    for (keyring, signer) in [(raw_keyring(), None), (Keyring::default(), Some(&verifier))] {
        let source = seen(&store, keyring, signer).await;
        assert_eq!((source.newest().map(|point| &point.id), verdict(&source)), (Some(&older), Verdict::Fresh));
        assert_eq!(source.passed_over, [(newest.clone(), "a report says that it is bad")]);
    }
    // As retention has it: what the given key does not open is not judged by others' words.
    let source = seen(&store, strange(), None).await;
    assert_eq!((verdict(&source), source.passed_over[0].1), (Verdict::Stale, "none of the given keys opens it"));
    // A later one holds, and it says that all is well again.
    record(&store, &newest, &findings(true), &raw_keyring(), None, &context()).await.unwrap();
    for keyring in [Keyring::default(), raw_keyring()] {
        assert_eq!(verdict(&seen(&store, keyring, None).await), Verdict::Fresh);
    }
}

#[tokio::test]
async fn a_forged_report_raises_no_more_than_a_doubt_and_the_key_dispels_it() {
    let store = Store::memory();
    let id = back_up(&store, &content(1000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let forger = SigningKey::from_seed(&[2; 32]).unwrap();
    record(&store, &id, &findings(false), &Keyring::default(), Some(&forger), &context()).await.unwrap();
    assert_eq!(verdict(&seen(&store, Keyring::default(), None).await), Verdict::Doubtful);
    for (keyring, signer) in
        [(raw_keyring(), None), (Keyring::default(), Some(&SigningKey::from_seed(&[3; 32]).unwrap()))]
    {
        assert_eq!(verdict(&seen(&store, keyring, signer).await), Verdict::Fresh);
    }
}

#[tokio::test]
async fn a_set_is_as_doubtful_and_as_bad_as_its_members() {
    let store = Store::memory();
    let encryption = Arc::new(Encryption::Raw(Secret([7; 32])));
    let set = set_of(&store, &encryption, "shop", &["a", "b"], &context()).await;
    assert_eq!(verdict(&seen(&store, raw_keyring(), None).await), Verdict::Fresh);
    record(&store, &set.members[1].id, &findings(false), &raw_keyring(), None, &context()).await.unwrap();
    assert_eq!(verdict(&seen(&store, Keyring::default(), None).await), Verdict::Doubtful);
    let source = seen(&store, raw_keyring(), None).await;
    assert_eq!(verdict(&source), Verdict::Stale);
    assert_eq!(source.passed_over, [(set.id.clone(), "a report says that one of its members is bad")]);
    // With its guid alone its members are not listed, and found all the same.
    let filter = Filter { guid: Some(set.id.guid()), ..Filter::default() };
    let sources = freshness(&store, &filter, &Belief::default(), jiff::Timestamp::now()).await.unwrap();
    assert_eq!(verdict(&sources[0]), Verdict::Doubtful);
    let source = seen(&store, strange(), None).await;
    assert_eq!(source.passed_over, [(set.id, "none of the given keys opens it")]);
}
