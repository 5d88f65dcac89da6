//! An archive that is written anew is whole or not there, says what it was, and has its old content under its old id.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::common::{
    RUNTIME, Warnings, back_up, careless, content, context, native, objects, options, raw_keyring, read, recipient,
    restored,
};
use age::x25519::Identity;
use backstay::backup::{Format, Padding};
use backstay::catalog::{self, Filter, State};
use backstay::convert::{Conversion, ConvertOptions, Outcome, convert};
use backstay::effort::Level;
use backstay::keys::Encryption;
use backstay::policy::{OpensslReading, ProfileName, ReadPolicy};
use backstay::verify::{Depth, verify};
use backstay::{Error, Observer, RestoreOptions, Silent};
use backstay_format::ArchiveId;
use backstay_format::codec::gzip::{Level as Deflate, MemberCompressor};
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::manifest::root;
use backstay_format::openssl::{Digest, Encryptor, Kdf, Password, Salt};
use backstay_format::schedule::{Secret, sha256};
use backstay_format::segment::Aead;
use backstay_format::text::from_base64;
use backstay_store::{RetryOptions, Store};
use backstay_testkit::Faults;
use backstay_testkit::faults::When;
use bytes::Bytes;
use proptest::prelude::*;

/// What happens to the bytes of an object.
type Damage = Box<dyn Fn(&mut Vec<u8>)>;

const DOCUMENT: &[u8] = b"{\"backup_id\":17,\"status\":\"done\",\"note\":\"\\u00e9 \xc3\xa9\"}\n";

fn password() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    keyring
}

fn ring(identity: &Identity) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    keyring
}

fn anew(identity: &Identity) -> ConvertOptions {
    let encryption = Encryption::Slots { recipients: vec![recipient(identity)], passphrase: None, detached: false };
    let (aead, codec, padding) = (Aead::Aes256Gcm, Codec::Zstd, Padding::None);
    ConvertOptions {
        format: Format::Native { aead, codec, encryption, padding, signing_key: None },
        level: Level::Auto,
        memory: 64 << 20,
        part_size: Some(512 << 10),
        transfers: 2,
        openssl: OpensslReading::default(),
        reencrypt: false,
        restart: false,
    }
}

async fn put(store: &Store, name: &str, bytes: &[u8]) {
    store.create(name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
}

async fn replace(store: &Store, name: &str, bytes: &[u8]) {
    store.delete(name).await.unwrap();
    put(store, name, bytes).await;
}

async fn convert_with(
    from: &Store,
    to: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    options: ConvertOptions,
) -> Result<Conversion, Error> {
    convert(from, to, id, keyring, options, &context(), Arc::new(Silent)).await
}

async fn converted(from: &Store, to: &Store, id: &ArchiveId, identity: &Identity) -> Result<Conversion, Error> {
    convert_with(from, to, id, &password(), anew(identity)).await
}

/// An archive of several parts as an old manager leaves it, with its document.
async fn old(bytes: &[u8]) -> (Store, ArchiveId) {
    let store = Store::memory();
    let kdf = Kdf::BytesToKey(Digest::Md5);
    let mut options = options(Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false });
    options.part_size = Some(200_000);
    let id = back_up(&store, bytes, options).await.unwrap().id;
    replace(&store, &id.manifest(), DOCUMENT).await;
    (store, id)
}

async fn is_good(store: &Store, id: &ArchiveId, identity: &Identity) -> bool {
    let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
    verify(store, id, &ring(identity), Depth::Deep, &policy, &context(), silent).await.unwrap().is_good()
}

#[tokio::test]
async fn every_archive_that_stock_tools_made_becomes_a_native_one() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/openssl");
    let dump = fs::read(fixtures.join("dump.sql")).unwrap();
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"correct-horse".to_vec()));
    let mut seen = 0;
    for entry in fs::read_dir(&fixtures).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let from = crate::common::open(&entry.path()).await;
        let before = objects(&from).await;
        let listed = catalog::list(&from, &Filter::default(), false).await.unwrap();
        let [archive] = listed.as_slice() else { panic!("{listed:?}") };
        let (id, to, identity) = (&archive.id, Store::memory(), Identity::generate());
        let mut options = anew(&identity);
        let name = entry.file_name().into_string().unwrap();
        match name.as_str() {
            "raw-sha256" => options.openssl = OpensslReading { kdf: Some(Kdf::BytesToKey(Digest::Sha256)), raw: true },
            "pbkdf2-100000" => options.openssl.kdf = Some(Kdf::Pbkdf2 { digest: Digest::Sha256, iterations: 100_000 }),
            _ => {}
        }
        let done = convert_with(&from, &to, id, &keyring, options).await.unwrap();
        assert_eq!(
            (done.outcome, done.from, done.authentic),
            (Outcome::Converted, ProfileName::Openssl, false),
            "{name}"
        );
        assert!(restored(&to, id, &ring(&identity)).await == dump, "{name}");
        assert!(is_good(&to, id, &identity).await, "{name}");
        assert_eq!(objects(&from).await, before, "{name}: the old archive is as it was");

        let shown = catalog::show(&to, id, &ring(&identity)).await.unwrap();
        let manifest = shown.manifest.unwrap();
        // The id says the time, seconds are seconds still, and no name is made up.
        assert!(manifest.created.starts_with("20") && manifest.name.is_none() && manifest.finished.is_none());
        let millis = manifest.created.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        assert_eq!(u64::try_from(millis).unwrap(), id.millis() / 1000 * 1000, "{name}");
        let origin = manifest.converted.unwrap();
        let mut parts: Vec<_> = before.iter().filter(|(name, _)| !name.ends_with(".json")).collect();
        parts.sort_by_key(|(name, _)| name.rsplit('-').next().unwrap().parse::<u64>().unwrap());
        let digests: Vec<[u8; 32]> = parts.iter().map(|(_, bytes)| sha256(bytes)).collect();
        assert_eq!(origin.root, root(digests.iter()), "{name}");
        assert_eq!((origin.profile.as_str(), origin.objects), ("openssl", parts.len() as u64));
        assert_eq!(origin.stored, parts.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
        let document = before.get(&id.manifest());
        let private: serde_json::Value = serde_json::from_str(&shown.private.unwrap()).unwrap();
        let kept = private.get("document").map(|text| from_base64(text.as_str().unwrap()).unwrap());
        assert_eq!(kept.as_deref(), document.map(|bytes| &bytes[..]), "{name}");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}

#[tokio::test]
async fn what_was_converted_is_not_converted_again_unless_it_is_another_one() {
    let bytes = content(1_500_000, true);
    let ((from, id), to, identity) = (old(&bytes).await, Store::memory(), Identity::generate());
    converted(&from, &to, &id, &identity).await.unwrap();
    let there = objects(&to).await;
    let again = converted(&from, &to, &id, &identity).await.unwrap();
    assert_eq!((again.outcome, again.sent, again.content), (Outcome::There, 0, Some(1_500_000)));
    assert_eq!(objects(&to).await, there);
    // The password is not even asked for.
    convert_with(&from, &to, &id, &Keyring::default(), anew(&identity)).await.unwrap();
    // A part that went missing since is not passed over.
    to.delete(&id.part(1)).await.unwrap();
    assert_eq!(converted(&from, &to, &id, &identity).await.unwrap_err().code(), "part.missing");
    // Another archive of this id.
    let (other, _) = old(&content(900_000, true)).await;
    for (name, bytes) in objects(&other).await {
        let renamed = format!("{id}{}", &name[id.as_str().len()..]);
        if from.head(&renamed).await.unwrap().is_some() {
            from.delete(&renamed).await.unwrap();
        }
        put(&from, &renamed, &bytes).await;
    }
    for n in 5..20 {
        let _ = from.delete(&id.part(n)).await;
    }
    let refused = converted(&from, &to, &id, &identity).await.unwrap_err();
    assert_eq!(refused.code(), "name.taken", "{refused}");
}

#[tokio::test]
async fn a_store_that_overwrites_gets_a_conversion_that_is_as_good_and_loses_nothing_to_one() {
    let bytes = content(1_500_000, true);
    let ((from, id), identity) = (old(&bytes).await, Identity::generate());
    let (_faults, to, below) = careless();
    let warnings = Arc::new(Warnings::default());
    let observer = Arc::clone(&warnings) as Arc<dyn Observer>;
    convert(&from, &to, &id, &password(), anew(&identity), &context(), observer).await.unwrap();
    let told = warnings.0.lock().unwrap().clone();
    assert!(told.iter().any(|warning| warning.starts_with("store.condition-ignored: ")), "{told:?}");
    assert!(is_good(&below, &id, &identity).await && restored(&below, &id, &ring(&identity)).await == bytes);
    let there = objects(&below).await;
    assert_eq!(converted(&from, &to, &id, &identity).await.unwrap().outcome, Outcome::There);
    assert_eq!(objects(&below).await, there);

    // Whatever else has the id, or gets it meanwhile, stays, and the conversion is not committed.
    for n in [0, 1, 2] {
        let (_faults, to, below) = careless();
        put(&below, &id.part(n), b"theirs").await;
        let error = converted(&from, &to, &id, &identity).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{n}: {error}");
        let left = objects(&below).await;
        assert!(left[&id.part(n)] == b"theirs"[..] && !left.contains_key(&id.manifest()), "{n}");
    }
    for number in [2, 3, 4, 5] {
        let (faults, to, below) = careless();
        faults.intrude(number, |name, _| (name.to_owned(), Bytes::from_static(b"theirs")));
        let error = converted(&from, &to, &id, &identity).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{number}: {error}");
        assert!(below.head(&id.manifest()).await.unwrap().is_none(), "{number}");
    }
}

#[tokio::test]
async fn a_conversion_into_its_own_store_is_refused() {
    let identity = Identity::generate();
    let (foreign, id) = old(&content(500_000, true)).await;
    let (lone, its) = old(&content(500_000, true)).await;
    lone.delete(&its.manifest()).await.unwrap();
    let (sealed, kdf) = (Store::memory(), Kdf::BytesToKey(Digest::Md5));
    let format = Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false };
    let of_ours = back_up(&sealed, &content(500_000, true), options(format)).await.unwrap().id;
    for (store, id) in [(foreign, id), (lone, its), (sealed, of_ours)] {
        let before = objects(&store).await;
        for restart in [false, true] {
            let options = ConvertOptions { restart, ..anew(&identity) };
            let refused = convert_with(&store, &store, &id, &password(), options).await.unwrap_err();
            assert_eq!(refused.code(), "name.taken", "{refused}");
            assert!(refused.hint().unwrap().contains("another store"), "{refused}");
        }
        assert_eq!(objects(&store).await, before);
    }
}

#[tokio::test]
async fn an_archive_that_fails_at_its_very_end_commits_nothing() {
    let bytes = content(1_500_000, true);
    let (good, id) = old(&bytes).await;
    let good = objects(&good).await;
    let last = format!("{id}-{}", good.len() - 2);
    let identity = Identity::generate();
    let mut damages: Vec<(&str, Damage, &[&str])> = Vec::new();
    damages.push((
        "the padding",
        Box::new(|part| *part.last_mut().unwrap() ^= 0x55),
        &["openssl.padding", "openssl.stream"],
    ));
    damages.push((
        "the CRC",
        Box::new(|part| {
            let at = part.len() - 40;
            part[at] ^= 1;
        }),
        &["openssl.stream"],
    ));
    damages.push((
        "a block",
        Box::new(|part| {
            let cut = part.len() - 16;
            part.truncate(cut);
        }),
        &["openssl.padding", "openssl.stream"],
    ));
    for (what, damage, codes) in damages {
        let (from, to) = (Store::memory(), Store::memory());
        for (name, bytes) in &good {
            let mut bytes = bytes.to_vec();
            if *name == last {
                damage(&mut bytes);
            }
            put(&from, name, &bytes).await;
        }
        let refused = converted(&from, &to, &id, &identity).await.unwrap_err();
        assert!(codes.contains(&refused.code()), "{what}: {refused}");
        assert!(!objects(&to).await.contains_key(&id.manifest()), "{what}");
        assert!(catalog::list(&to, &Filter::default(), true).await.unwrap().is_empty(), "{what}");
    }
    let mut wrong = Keyring::default();
    wrong.add_password(Password::new(b"wrong".to_vec()));
    let ((from, id), to) = (old(&bytes).await, Store::memory());
    assert_eq!(convert_with(&from, &to, &id, &wrong, anew(&identity)).await.unwrap_err().code(), "openssl.key");
    assert!(objects(&to).await.is_empty());
}

#[tokio::test]
async fn a_sealed_archive_keeps_its_facts_and_is_proved_before_it_is_believed() {
    let bytes = content(700_000, true);
    let (from, to, identity) = (Store::memory(), Store::memory(), Identity::generate());
    let kdf = Kdf::Pbkdf2 { digest: Digest::Sha256, iterations: 1000 };
    let mut given = options(Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false });
    given.tags = vec!["monthly".to_owned()];
    let made = back_up(&from, &bytes, given).await.unwrap();
    let before = catalog::show(&from, &made.id, &Keyring::default()).await.unwrap().manifest.unwrap();
    let done = converted(&from, &to, &made.id, &identity).await.unwrap();
    assert!(done.authentic);
    let after = catalog::show(&to, &made.id, &ring(&identity)).await.unwrap().manifest.unwrap();
    assert_eq!((&after.created, &after.finished), (&before.created, &before.finished));
    assert_eq!((&after.name, &after.tags, &after.source), (&before.name, &before.tags, &before.source));
    assert_eq!(after.converted.unwrap().root, before.root());
    assert!(restored(&to, &made.id, &ring(&identity)).await == bytes);
    // A changed byte has a digest to answer to.
    let mut part = from.get(&made.id.part(0), 1 << 30).await.unwrap().unwrap().to_vec();
    part[40] ^= 1;
    replace(&from, &made.id.part(0), &part).await;
    let refused = converted(&from, &Store::memory(), &made.id, &identity).await.unwrap_err();
    assert_eq!(refused.code(), "part.digest");
}

#[tokio::test]
async fn a_native_archive_is_copied_as_it_is_and_written_anew_only_when_asked() {
    let bytes = content(1_500_000, true);
    let (from, identity) = (Store::memory(), Identity::generate());
    let mut given = native(Encryption::Raw(Secret([7; 32])));
    (given.hide_name, given.tags) = (true, vec!["secret".to_owned()]);
    let made = back_up(&from, &bytes, given).await.unwrap();
    let to = Store::memory();
    let copied = convert_with(&from, &to, &made.id, &Keyring::default(), anew(&identity)).await.unwrap();
    assert_eq!(copied.outcome, Outcome::Copied);
    assert_eq!(objects(&to).await, objects(&from).await);

    let to = Store::memory();
    let reencrypt = || ConvertOptions { reencrypt: true, ..anew(&identity) };
    let refused = convert_with(&from, &to, &made.id, &ring(&identity), reencrypt()).await.unwrap_err();
    assert_eq!(refused.code(), "key.not-found");
    let done = convert_with(&from, &to, &made.id, &raw_keyring(), reencrypt()).await.unwrap();
    assert_eq!((done.outcome, done.authentic), (Outcome::Converted, true));
    assert!(restored(&to, &made.id, &ring(&identity)).await == bytes);
    let closed = read(&to, &made.id, &raw_keyring(), &RestoreOptions::default()).await.unwrap_err();
    assert_eq!(closed.code(), "key.wrong", "the old key opens it no more");
    let id = &made.id;
    let private = |store, keyring| async move { catalog::show(store, id, keyring).await.unwrap().private.unwrap() };
    let (old_ring, new_ring) = (raw_keyring(), ring(&identity));
    let facts = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    assert_eq!(facts(private(&from, &old_ring).await), facts(private(&to, &new_ring).await));
    let again = convert_with(&from, &to, &made.id, &raw_keyring(), reencrypt()).await.unwrap();
    assert_eq!(again.outcome, Outcome::There);
}

#[tokio::test]
async fn a_document_that_cannot_be_kept_keeps_the_archive_from_being_converted() {
    let ((from, id), to) = (old(&content(1000, false)).await, Store::memory());
    replace(&from, &id.manifest(), &vec![b' '; (1 << 20) + 1]).await;
    let refused = converted(&from, &to, &id, &Identity::generate()).await.unwrap_err();
    assert!(refused.code() == "usage.arguments" && refused.to_string().contains("1 MiB"), "{refused}");
    let identity = Identity::generate();
    replace(&from, &id.manifest(), &vec![b' '; 1 << 20]).await;
    converted(&from, &to, &id, &identity).await.unwrap();
    let shown = catalog::show(&to, &id, &ring(&identity)).await.unwrap();
    assert!(shown.private.unwrap().len() > 1 << 20);
}

#[tokio::test]
async fn a_conversion_that_dies_at_any_call_counts_for_nothing_and_begins_again() {
    let bytes = content(900_000, true);
    dies_everywhere(old(&bytes).await, password, false, &bytes).await;
}

#[tokio::test]
async fn a_reencryption_that_dies_at_any_call_counts_for_nothing_and_begins_again() {
    let (bytes, from) = (content(900_000, true), Store::memory());
    let id = back_up(&from, &bytes, native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    dies_everywhere((from, id), raw_keyring, true, &bytes).await;
}

/// Writes an archive anew again and again, and ends the process at its first call of either store, its second, and so on.
async fn dies_everywhere((from, id): (Store, ArchiveId), key: fn() -> Keyring, reencrypt: bool, bytes: &[u8]) {
    let identity = Identity::generate();
    let source = objects(&from).await;
    let anew = |identity: &Identity| ConvertOptions { reencrypt, ..anew(identity) };
    let (from, id, identity) = (&from, &id, &identity);
    let mut interrupted = 0;
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let (to, faults) = (Store::memory(), Faults::new());
            let mortal = |store: &Store| {
                store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never())
            };
            let (reading, writing) = (mortal(from), mortal(&to));
            faults.crash_at(number, when);
            let mut options = anew(identity);
            let detached =
                Encryption::Slots { recipients: vec![recipient(identity)], passphrase: None, detached: true };
            if let Format::Native { encryption, .. } = &mut options.format {
                *encryption = detached;
            }
            let key = key();
            got_through = tokio::select! {
                done = convert_with(&reading, &writing, id, &key, options) => done.is_ok(),
                () = faults.crashed() => false,
            };
            // What is listed is whole; the next run finishes, and says first if it has to clear something away.
            let listed = catalog::list(&to, &Filter::default(), true).await.unwrap();
            assert!(listed.len() == 1 || !got_through);
            for entry in &listed {
                assert!(is_good(&to, &entry.id, identity).await);
            }
            let left = objects(&to).await;
            match convert_with(from, &to, id, &key, anew(identity)).await {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.code(), "name.taken", "{error}");
                    assert!(listed.is_empty() && !left.is_empty(), "{number} {when:?}");
                    assert_eq!(objects(&to).await, left);
                    interrupted += 1;
                    let restart = ConvertOptions { restart: true, ..anew(identity) };
                    let done = convert_with(from, &to, id, &key, restart).await.unwrap();
                    assert_eq!(done.outcome, Outcome::Converted);
                }
            }
            assert!(restored(&to, id, &ring(identity)).await == bytes);
        }
        if got_through {
            break;
        }
        assert!(number < 200, "it does not end");
    }
    assert!(interrupted > 4, "{interrupted}");
    assert_eq!(objects(from).await, source);
}

#[tokio::test]
async fn a_restart_that_dies_at_any_call_can_be_started_again() {
    let bytes = content(900_000, true);
    let ((from, id), identity) = (old(&bytes).await, Identity::generate());
    // Two parts of a run that was interrupted.
    let whole = Store::memory();
    converted(&from, &whole, &id, &identity).await.unwrap();
    let left: Vec<_> = objects(&whole).await.into_iter().filter(|(name, _)| !name.ends_with(".json")).collect();
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let (to, faults) = (Store::memory(), Faults::new());
            for (name, bytes) in &left {
                put(&to, name, bytes).await;
            }
            let mortal = to.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
            faults.crash_at(number, when);
            let restart = || ConvertOptions { restart: true, ..anew(&identity) };
            let password = password();
            got_through = tokio::select! {
                done = convert_with(&from, &mortal, &id, &password, restart()) => done.is_ok(),
                () = faults.crashed() => false,
            };
            for entry in catalog::list(&to, &Filter::default(), true).await.unwrap() {
                assert!(entry.state != State::Committed || is_good(&to, &entry.id, &identity).await);
            }
            convert_with(&from, &to, &id, &password, restart()).await.unwrap();
            assert!(restored(&to, &id, &ring(&identity)).await == bytes, "{number} {when:?}");
        }
        if got_through {
            break;
        }
        assert!(number < 200, "it does not end");
    }
}

#[tokio::test]
async fn a_restart_touches_nothing_but_what_a_native_writer_leaves() {
    let ((from, id), identity) = (old(&content(500_000, true)).await, Identity::generate());
    let restart = || ConvertOptions { restart: true, ..anew(&identity) };
    for (name, bytes) in
        [(id.part(0), &b"Salted__and so on"[..]), (id.part(0), b"something else"), (id.to_string(), b"Salted__x")]
    {
        let to = Store::memory();
        put(&to, &name, bytes).await;
        let before = objects(&to).await;
        let refused = convert_with(&from, &to, &id, &password(), restart()).await.unwrap_err();
        assert_eq!(refused.code(), "name.taken", "{refused}");
        for (name, bytes) in before {
            assert_eq!(to.get(&name, 1 << 20).await.unwrap().unwrap(), bytes);
        }
    }
}

/// What the old pipeline makes of a content: members of these lengths and one of the rest, encrypted.
fn stream_of(content: &[u8], members: &[usize], level: u8, salt: [u8; 8]) -> Vec<u8> {
    let mut compressor = MemberCompressor::new(Deflate::new(level).unwrap());
    let (mut gzip, mut rest) = (Vec::new(), content);
    for length in members {
        let (member, later) = rest.split_at(rest.len().min(*length));
        compressor.compress(member, &mut gzip);
        rest = later;
    }
    compressor.compress(rest, &mut gzip);
    let key = Kdf::BytesToKey(Digest::Md5).derive(&Password::new(b"KEY".to_vec()), Salt(salt));
    let mut stream = [b"Salted__", &salt[..]].concat();
    let mut encryptor = Encryptor::new(&key);
    encryptor.update(&gzip, &mut stream);
    encryptor.finish(&mut stream);
    stream
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_content_in_any_members_and_parts_is_the_same_after_any_row_of_killed_runs(
        length in prop_oneof![0..100_usize, 0..400_000_usize],
        incompressible in any::<bool>(),
        (members, level) in (prop::collection::vec(0..150_000_usize, 0..5), 1..=12_u8),
        (cuts, first) in (prop::collection::vec(prop_oneof![1..40_usize, 5_000..150_000_usize], 0..7), 0..2_u32),
        seconds in 1_600_000_000..1_760_000_000_u64,
        with_document in any::<bool>(),
        kills in prop::collection::vec((1..30_usize, any::<bool>()), 0..4),
    ) {
        RUNTIME.block_on(async {
            let bytes = content(length, incompressible);
            let stream = stream_of(&bytes, &members, level, *b"saltsalt");
            let id: ArchiveId = format!("de2fe9e4-6535-423d-8709-dca87df7985c-{seconds}").parse().unwrap();
            let (from, to, identity) = (Store::memory(), Store::memory(), Identity::generate());
            let (mut rest, mut n) = (&stream[..], first);
            for cut in cuts.into_iter().chain([stream.len()]) {
                let (part, later) = rest.split_at(rest.len().min(cut));
                if !part.is_empty() {
                    put(&from, &id.part(n), part).await;
                    n += 1;
                }
                rest = later;
            }
            if with_document {
                put(&from, &id.manifest(), DOCUMENT).await;
            }
            let source = objects(&from).await;
            let anew = |restart| ConvertOptions { part_size: Some(100_000), restart, ..anew(&identity) };
            let mut restart = false;
            for (number, after) in kills {
                let faults = Faults::new();
                let mortal = |store: &Store| {
                    store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never())
                };
                let (reading, writing) = (mortal(&from), mortal(&to));
                faults.crash_at(number, if after { When::After } else { When::Before });
                let password = password();
                let outcome = tokio::select! {
                    outcome = convert_with(&reading, &writing, &id, &password, anew(restart)) => Some(outcome),
                    () = faults.crashed() => None,
                };
                // What an earlier run left is told, and cleared away by the next one.
                restart = match outcome {
                    Some(Err(error)) => {
                        assert_eq!(error.code(), "name.taken", "{error}");
                        true
                    }
                    _ => restart,
                };
                for entry in catalog::list(&to, &Filter::default(), true).await.unwrap() {
                    assert!(entry.state != State::Committed || is_good(&to, &entry.id, &identity).await);
                }
            }
            match convert_with(&from, &to, &id, &password(), anew(false)).await {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.code(), "name.taken", "{error}");
                    convert_with(&from, &to, &id, &password(), anew(true)).await.unwrap();
                }
            }
            assert!(restored(&to, &id, &ring(&identity)).await == bytes);
            assert!(is_good(&to, &id, &identity).await);
            assert!(objects(&from).await == source, "the old archive is as it was");
            let listed = catalog::list(&to, &Filter::default(), true).await.unwrap();
            assert_eq!(listed.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&id]);
            let shown = catalog::show(&to, &id, &ring(&identity)).await.unwrap();
            let manifest = shown.manifest.unwrap();
            assert_eq!(manifest.created.parse::<jiff::Timestamp>().unwrap().as_second().unsigned_abs(), seconds);
            assert_eq!(manifest.content, Some(bytes.len() as u64));
            let private: serde_json::Value = serde_json::from_str(&shown.private.unwrap()).unwrap();
            let kept = private.get("document").map(|text| from_base64(text.as_str().unwrap()).unwrap());
            assert_eq!(kept.as_deref(), with_document.then_some(DOCUMENT));
            // Native now, it is written anew for another reader, and is still the same.
            let (third, other) = (Store::memory(), Identity::generate());
            let options = ConvertOptions { reencrypt: true, ..self::anew(&other) };
            convert_with(&to, &third, &id, &ring(&identity), options).await.unwrap();
            assert!(restored(&third, &id, &ring(&other)).await == bytes);
            let created = catalog::show(&third, &id, &ring(&other)).await.unwrap().manifest.unwrap().created;
            assert_eq!(created, manifest.created);
        });
    }
}
