//! What goes in comes out: every boundary size, every format, every way to unlock it.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{self, Sink, back_up, content, context, native, options, raw_keyring, read, recipient, restored};
use age::secrecy::SecretString;
use backstay::backup::{Format, Padding, backup};
use backstay::effort::Level;
use backstay::keys::Encryption;
use backstay::observe::{Event, Observer};
use backstay::restore::Target;
use backstay::source::Source;
use backstay::{RestoreOptions, Silent, restore};
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::Secret;
use backstay_format::segment::Aead;
use backstay_format::signature::SigningKey;
use backstay_store::Store;

const CHUNK: usize = 2 << 20;

#[tokio::test]
async fn every_boundary_size_comes_back_with_and_without_the_manifest() {
    let per_part = 7 * 65_536;
    let sizes = [
        0,
        1,
        65_535,
        65_536,
        65_537,
        per_part - 100,
        per_part,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        3 * CHUNK,
        3 * CHUNK + 77,
    ];
    for size in sizes {
        for incompressible in [false, true] {
            let store = Store::memory();
            let bytes = content(size, incompressible);
            let receipt = back_up(&store, &bytes, native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
            assert_eq!(receipt.content, size as u64);
            for no_manifest in [false, true] {
                let mut options = RestoreOptions::default();
                options.policy.no_manifest = no_manifest;
                let back = read(&store, &receipt.id, &raw_keyring(), &options).await.unwrap();
                assert!(back == bytes, "{size} bytes, incompressible {incompressible}, without manifest {no_manifest}");
            }
        }
    }
}

#[tokio::test]
async fn every_suite_codec_and_padding_comes_back() {
    for aead in [Aead::Aes256Gcm, Aead::ChaCha20Poly1305] {
        for codec in [Codec::Zstd, Codec::Gzip] {
            for padding in [Padding::None, Padding::Padme, Padding::Part] {
                let store = Store::memory();
                let bytes = content(5_000_000, false);
                let encryption = Encryption::Raw(Secret([7; 32]));
                let format = Format::Native { aead, codec, encryption, padding, signing_key: None };
                let made = back_up(&store, &bytes, options(format)).await;
                if codec == Codec::Gzip && padding != Padding::None {
                    assert_eq!(made.unwrap_err().code(), "usage.arguments");
                    continue;
                }
                assert!(restored(&store, &made.unwrap().id, &raw_keyring()).await == bytes);
            }
        }
    }
}

#[tokio::test]
async fn padding_hides_the_size_of_the_content() {
    let mut stored = Vec::new();
    for size in [3_000_000, 3_001_000] {
        let store = Store::memory();
        let encryption = Encryption::Raw(Secret([7; 32]));
        let (aead, codec, padding) = (Aead::Aes256Gcm, Codec::Zstd, Padding::Part);
        let format = Format::Native { aead, codec, encryption, padding, signing_key: None };
        stored.push(back_up(&store, &content(size, true), options(format)).await.unwrap().stored);
    }
    assert_eq!(stored[0], stored[1]);
}

#[tokio::test]
async fn recipients_and_a_passphrase_each_open_an_archive() {
    let (store, bytes) = (Store::memory(), content(100_000, false));
    let (first, second) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let passphrase = SecretString::from("correct horse battery staple".to_owned());
    for detached in [false, true] {
        let recipients = vec![recipient(&first), recipient(&second)];
        let encryption = Encryption::Slots { recipients, passphrase: Some(passphrase.clone()), detached };
        let id = back_up(&store, &bytes, native(encryption)).await.unwrap().id;
        for identity in [&first, &second] {
            let mut keyring = Keyring::default();
            keyring.add_identity(Box::new(identity.clone()));
            assert!(restored(&store, &id, &keyring).await == bytes);
        }
        let mut keyring = Keyring::default();
        keyring.add_passphrase(passphrase.clone());
        assert!(restored(&store, &id, &keyring).await == bytes);

        let mut stranger = Keyring::default();
        stranger.add_identity(Box::new(age::x25519::Identity::generate()));
        let refused = read(&store, &id, &stranger, &RestoreOptions::default()).await;
        assert_eq!(refused.unwrap_err().code(), "key.not-found");
        let mut wrong = Keyring::default();
        wrong.add_passphrase(SecretString::from("wrong".to_owned()));
        assert_eq!(read(&store, &id, &wrong, &RestoreOptions::default()).await.unwrap_err().code(), "key.wrong");
    }
}

#[tokio::test]
async fn an_open_archive_is_read_only_when_that_is_said_and_no_key_is_given() {
    let (store, bytes) = (Store::memory(), content(100_000, false));
    let id = back_up(&store, &bytes, native(Encryption::Open)).await.unwrap().id;
    let mut options = RestoreOptions::default();
    let nothing = Keyring::default();
    assert_eq!(read(&store, &id, &nothing, &options).await.unwrap_err().code(), "key.open");
    options.policy.allow_open = true;
    assert!(read(&store, &id, &nothing, &options).await.unwrap() == bytes);
    assert_eq!(read(&store, &id, &raw_keyring(), &options).await.unwrap_err().code(), "key.open");
}

#[tokio::test]
async fn a_demanded_signature_must_be_there_and_be_the_signer_s() {
    let (store, bytes) = (Store::memory(), content(1000, false));
    let key = || SigningKey::from_seed(&[3; 32]).unwrap();
    let identity = age::x25519::Identity::generate();
    let encryption = || Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: false };
    let (aead, codec, padding) = (Aead::Aes256Gcm, Codec::Zstd, Padding::None);
    let signed = Format::Native { aead, codec, encryption: encryption(), padding, signing_key: Some(key()) };
    let signed = back_up(&store, &bytes, options(signed)).await.unwrap().id;
    let unsigned = back_up(&store, &bytes, native(encryption())).await.unwrap().id;
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    let mut options = RestoreOptions::default();
    options.policy.signer = Some(key().signer());
    assert!(read(&store, &signed, &keyring, &options).await.unwrap() == bytes);
    assert_eq!(read(&store, &unsigned, &keyring, &options).await.unwrap_err().code(), "key.signer");
    options.policy.signer = Some(SigningKey::from_seed(&[4; 32]).unwrap().signer());
    assert_eq!(read(&store, &signed, &keyring, &options).await.unwrap_err().code(), "key.signer");
}

#[tokio::test]
async fn the_openssl_profile_comes_back_sealed_and_with_its_manifest_lost() {
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    for size in [0, 1, 1 << 20, (1 << 20) + 1, 5_000_000] {
        for kdf in [Kdf::BytesToKey(Digest::Md5), Kdf::PBKDF2_DEFAULT] {
            let (store, bytes) = (Store::memory(), content(size, true));
            let format = Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false };
            let receipt = back_up(&store, &bytes, options(format)).await.unwrap();
            assert!(size < 5_000_000 || receipt.parts > 3);
            assert!(restored(&store, &receipt.id, &keyring).await == bytes, "{size}");
            store.delete(&receipt.id.manifest()).await.unwrap();
            assert!(restored(&store, &receipt.id, &keyring).await == bytes, "{size} without its manifest");
        }
    }
}

#[tokio::test]
async fn the_single_form_is_one_object_on_a_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::open(folder.path()).await;
    let bytes = content(3_000_000, false);
    let kdf = Kdf::BytesToKey(Digest::Md5);
    let format = Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: true };
    let id = back_up(&store, &bytes, options(format)).await.unwrap().id;
    let names = common::names(folder.path());
    assert_eq!(names, vec![id.to_string(), id.manifest()]);
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    assert!(restored(&store, &id, &keyring).await == bytes);
}

#[tokio::test]
async fn a_range_is_exactly_those_bytes_at_every_edge() {
    let (store, bytes) = (Store::memory(), content(3 * CHUNK + 1000, true));
    let id = back_up(&store, &bytes, native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let length = bytes.len();
    let edges = [0, 1, 65_536, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, length - 1, length];
    for from in edges {
        for to in edges.into_iter().filter(|to| *to >= from) {
            let options = RestoreOptions { range: Some(from as u64..to as u64), ..RestoreOptions::default() };
            let back = read(&store, &id, &raw_keyring(), &options).await.unwrap();
            assert!(back == bytes[from..to], "{from}..{to}: {} bytes", back.len());
        }
    }
    let beyond = RestoreOptions { range: Some(length as u64 + 1..length as u64 + 2), ..RestoreOptions::default() };
    assert_eq!(read(&store, &id, &raw_keyring(), &beyond).await.unwrap_err().code(), "usage.arguments");
}

#[tokio::test]
async fn a_range_that_ends_before_it_begins_is_refused_in_every_format() {
    let backwards = Some(std::ops::Range { start: 5, end: 3 });
    let (aead, encryption) = (Aead::Aes256Gcm, || Encryption::Raw(Secret([7; 32])));
    let password = || Password::new(b"KEY".to_vec());
    let native =
        |codec| Format::Native { aead, codec, encryption: encryption(), padding: Padding::None, signing_key: None };
    let openssl = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: password(), single: false };
    for format in [native(Codec::Zstd), native(Codec::Gzip), openssl] {
        let mut keyring = raw_keyring();
        if matches!(format, Format::Openssl { .. }) {
            keyring = Keyring::default();
            keyring.add_password(password());
        }
        let store = Store::memory();
        let id = back_up(&store, &content(10_000, true), options(format)).await.unwrap().id;
        let options = RestoreOptions { range: backwards.clone(), ..RestoreOptions::default() };
        let refused = read(&store, &id, &keyring, &options).await.unwrap_err();
        assert_eq!(refused.code(), "usage.arguments");
        assert!(refused.to_string().contains("5..3"), "{refused}");
    }
}

#[tokio::test]
async fn atomic_releases_nothing_of_an_archive_that_is_damaged_in_its_last_part() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::open(folder.path()).await;
    let bytes = content(3 * CHUNK, true);
    let receipt = back_up(&store, &bytes, native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    let options = RestoreOptions { atomic: true, ..RestoreOptions::default() };
    assert!(read(&store, &receipt.id, &raw_keyring(), &options).await.unwrap() == bytes);

    common::flip(folder.path(), &receipt.id.part(receipt.parts - 1), -20);
    for (atomic, releases) in [(false, true), (true, false)] {
        let options = RestoreOptions { atomic, ..RestoreOptions::default() };
        let sink = Sink::default();
        let target = Target::Writer(Box::new(sink.clone()));
        let refused =
            restore(&store, &receipt.id, &raw_keyring(), target, &options, &context(), Arc::new(Silent)).await;
        assert_eq!(refused.unwrap_err().code(), "segment.auth");
        assert_eq!(sink.taken().is_empty(), !releases, "atomic {atomic}");
    }
}

#[tokio::test]
async fn the_raw_stream_is_a_stock_file_and_the_output_limit_holds() {
    let (store, bytes) = (Store::memory(), content(3 * CHUNK, false));
    let id = back_up(&store, &bytes, native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let raw = RestoreOptions { raw: true, ..RestoreOptions::default() };
    let stream = read(&store, &id, &raw_keyring(), &raw).await.unwrap();
    assert_eq!(stream[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    let limited = |limit| RestoreOptions { max_output: Some(limit), ..RestoreOptions::default() };
    let refused = read(&store, &id, &raw_keyring(), &limited(3 * CHUNK as u64 - 1)).await;
    assert_eq!(refused.unwrap_err().code(), "stream.limit");
    assert!(read(&store, &id, &raw_keyring(), &limited(3 * CHUNK as u64)).await.is_ok());
}

/// Gives a piece of its content when all before it is compressed.
struct Patient {
    content: Cursor<Vec<u8>>,
    compressed: Arc<Compressed>,
}

/// How much content has been compressed.
#[derive(Default)]
struct Compressed(AtomicU64);

impl Observer for Compressed {
    fn event(&self, event: &Event) {
        if let Event::Progress(progress) = event {
            self.0.store(progress.content, Ordering::SeqCst);
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.compressed.0.load(Ordering::SeqCst) < self.content.position() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.content.read(buffer)
    }
}

#[tokio::test]
async fn the_automatic_level_is_lowered_only_for_a_source_that_would_wait() {
    let bytes = content(40 << 20, false);
    let stored = async |level, patient| {
        let (content, compressed) = (Cursor::new(bytes.clone()), Arc::new(Compressed::default()));
        let reader: Box<dyn Read + Send> = match patient {
            true => Box::new(Patient { content, compressed: Arc::clone(&compressed) }),
            false => Box::new(content),
        };
        let (store, mut options) = (Store::memory(), native(Encryption::Raw(Secret([7; 32]))));
        options.level = level;
        let made = backup(&store, Source::Reader(reader), options, &context(), compressed).await.unwrap();
        assert!(restored(&store, &made.id, &raw_keyring()).await == bytes);
        made.stored
    };
    let fixed = stored(Level::Fixed(3), false).await;
    assert_eq!(stored(Level::Auto, true).await, fixed, "level 3 holds while the source is slower");
    assert_ne!(stored(Level::Auto, false).await, fixed, "level 3 does not hold against a source without end");
    assert_ne!(stored(Level::Fixed(1), false).await, fixed);
}
