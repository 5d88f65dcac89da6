//! `--atomic`: an archive is opened once, and what was learnt then is what its parts are judged by, whatever becomes of the manifest and the keys.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use age::secrecy::SecretString;
use backstay::backup::Format;
use backstay::keys::Encryption;
use backstay::observe::{Event, Observer};
use backstay::restore::Target;
use backstay::{RestoreOptions, restore};
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::sha256;
use backstay_store::Store;
use backstay_testkit::Record;
use backstay_testkit::faults::Call;

use crate::common::{self, Sink, back_up, content, context, native, options, read};

/// Takes the manifest away as soon as the first part has been fetched, and hears warnings.
struct Thief {
    manifest: PathBuf,
    warnings: Mutex<Vec<String>>,
}

impl Observer for Thief {
    fn event(&self, event: &Event) {
        match event {
            Event::PartFetched { .. } => drop(std::fs::remove_file(&self.manifest)),
            Event::Warning { text, .. } => self.warnings.lock().unwrap().push(text.clone()),
            _ => {}
        }
    }
}

fn atomic() -> RestoreOptions {
    RestoreOptions { atomic: true, ..RestoreOptions::default() }
}

#[tokio::test]
async fn a_sealed_openssl_archive_is_judged_by_its_seal_even_if_the_manifest_goes_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::open(folder.path()).await;
    let bytes = content(3 << 20, true);
    let password = || Password::new(b"KEY".to_vec());
    let format = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: password(), single: false };
    let receipt = back_up(&store, &bytes, options(format)).await.unwrap();
    let mut keyring = Keyring::default();
    keyring.add_password(password());
    let manifest = folder.path().join(receipt.id.manifest());
    let kept = std::fs::read(&manifest).unwrap();
    for damaged in [false, true] {
        std::fs::write(&manifest, &kept).unwrap();
        if damaged {
            // In a stored block of incompressible content nothing but the digest tells at once.
            common::flip(folder.path(), &receipt.id.part(receipt.parts - 2), -1000);
        }
        let thief = Arc::new(Thief { manifest: manifest.clone(), warnings: Mutex::default() });
        let (sink, observer) = (Sink::default(), Arc::clone(&thief));
        let target = Target::Writer(Box::new(sink.clone()));
        let restored = restore(&store, &receipt.id, &keyring, target, &atomic(), &context(), observer).await;
        assert!(!manifest.exists(), "it was taken away");
        if damaged {
            assert_eq!(restored.unwrap_err().code(), "part.digest");
            assert!(sink.taken().is_empty());
        } else {
            assert!(restored.unwrap().authentic && sink.taken() == bytes);
            assert!(thief.warnings.lock().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn the_manifest_and_the_keys_are_asked_for_once_and_keyboxes_of_any_number_will_do() {
    let (record, bytes) = (Record::default(), content(2 << 20, true));
    let store = record.store();
    let passphrase = SecretString::from("correct horse battery staple".to_owned());
    let encryption = Encryption::Slots { recipients: Vec::new(), passphrase: Some(passphrase.clone()), detached: true };
    let receipt = back_up(&store, &bytes, native(encryption)).await.unwrap();
    let names: Vec<String> = common::objects(&store).await.into_keys().filter(|name| name.contains(".key.")).collect();
    let [first] = &names[..] else { panic!("one keybox, not {names:?}") };
    let keybox = store.get(first, 1 << 20).await.unwrap().unwrap();
    store.create(&receipt.id.keybox(20), keybox.clone(), sha256(&keybox)).await.unwrap();
    store.delete(first).await.unwrap();
    let mut keyring = Keyring::default();
    keyring.add_passphrase(passphrase);
    drop(record.taken());
    assert!(read(&store, &receipt.id, &keyring, &atomic()).await.unwrap() == bytes);
    let taken = record.taken();
    for name in [receipt.id.manifest(), receipt.id.keybox(20)] {
        let gets = taken.iter().filter(|asked| asked.call == Call::Get && asked.name == name).count();
        assert_eq!(gets, 1, "{name}");
    }
}

#[tokio::test]
async fn an_unsealed_stream_is_doubted_once() {
    let store = Store::memory();
    let password = || Password::new(b"KEY".to_vec());
    let format = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: password(), single: false };
    let receipt = back_up(&store, &content(1 << 20, true), options(format)).await.unwrap();
    store.delete(&receipt.id.manifest()).await.unwrap();
    let mut keyring = Keyring::default();
    keyring.add_password(password());
    let listener = Arc::new(Thief { manifest: PathBuf::new(), warnings: Mutex::default() });
    let (target, observer) = (Target::Writer(Box::new(std::io::sink())), Arc::clone(&listener));
    restore(&store, &receipt.id, &keyring, target, &atomic(), &context(), observer).await.unwrap();
    assert_eq!(listener.warnings.lock().unwrap().len(), 1);
}
