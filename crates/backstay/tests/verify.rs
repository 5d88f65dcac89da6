//! Verify lists every problem, and what is lost of an archive is put back together from its parts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{self, back_up, content, context, flip, native, objects, options, raw_keyring, restored};
use backstay::backup::Format;
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::reassemble::ReassembleOptions;
use backstay::verify::{Depth, Report, sums, verify};
use backstay::{Event, Observer, Receipt, Silent, reassemble};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::Secret;
use backstay_store::Store;
use backstay_testkit::faults::{Call, Failure, Faults, When};
use backstay_testkit::{S3Server, sha256};

async fn made(folder: &Path) -> (Store, Receipt, Vec<u8>) {
    let store = common::open(folder).await;
    let bytes = content(3_000_000, true);
    let receipt = back_up(&store, &bytes, native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
    assert_eq!(receipt.parts, 7);
    (store, receipt, bytes)
}

async fn report(store: &Store, id: &ArchiveId, depth: Depth) -> Report {
    let keyring = if depth == Depth::Deep { raw_keyring() } else { Keyring::default() };
    verify(store, id, &keyring, depth, &ReadPolicy::default(), &context(), Arc::new(Silent)).await.unwrap()
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn a_good_archive_is_good_at_every_depth_and_says_what_was_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (store, receipt, bytes) = made(folder.path()).await;
    for depth in [Depth::Quick, Depth::Full, Depth::Deep] {
        let report = report(&store, &receipt.id, depth).await;
        assert!(report.is_good(), "{:?}", report.findings);
        assert_eq!(report.authentic, depth == Depth::Deep);
        assert!(!report.compared.is_empty());
        assert_eq!(report.content, (depth == Depth::Deep).then_some(bytes.len() as u64).or(report.content));
    }
}

#[tokio::test]
async fn several_faults_of_one_archive_are_all_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, receipt, _) = made(folder.path()).await;
    let part = |n| folder.path().join(receipt.id.part(n));
    flip(folder.path(), &receipt.id.part(1), 70_000);
    fs::remove_file(part(3)).unwrap();
    let cut = fs::read(part(4)).unwrap();
    fs::write(part(4), &cut[..cut.len() - 5]).unwrap();
    fs::copy(part(0), part(9)).unwrap();
    // Names and sizes are known at once; the flipped bit takes reading.
    for (depth, flipped) in
        [(Depth::Quick, None), (Depth::Full, Some("part.digest")), (Depth::Deep, Some("segment.auth"))]
    {
        let report = report(&store, &receipt.id, depth).await;
        let mut found = codes(&report);
        found.sort_unstable();
        let mut expected = vec!["part.extra", "part.missing", "part.size"];
        expected.extend(flipped);
        expected.sort_unstable();
        assert_eq!(found, expected, "{depth:?}: {:?}", report.findings);
    }
}

#[tokio::test]
async fn the_sums_are_what_the_store_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (store, receipt, _) = made(folder.path()).await;
    fs::write(folder.path().join("sums"), sums(&store, &receipt.id, &ReadPolicy::default()).await.unwrap()).unwrap();
    let check = || {
        let mut command = std::process::Command::new("sha256sum");
        command.args(["--check", "--quiet", "--strict", "sums"]).current_dir(folder.path());
        command.output().unwrap().status.success()
    };
    assert!(check());
    flip(folder.path(), &receipt.id.part(5), 10);
    assert!(!check());
}

#[tokio::test]
async fn a_lost_manifest_is_rebuilt_and_a_right_one_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, receipt, bytes) = made(folder.path()).await;
    let again = |options: ReassembleOptions, store: Store, id: ArchiveId| async move {
        reassemble(&store, &id, &raw_keyring(), &options, &context(), Arc::new(Silent)).await
    };
    let id = receipt.id.clone();
    let refused = again(ReassembleOptions::default(), store.clone(), id.clone()).await;
    assert_eq!(refused.unwrap_err().code(), "usage.arguments");

    let manifest = folder.path().join(id.manifest());
    fs::remove_file(&manifest).unwrap();
    let rebuilt = again(ReassembleOptions::default(), store.clone(), id.clone()).await.unwrap().receipt.unwrap();
    assert_eq!((rebuilt.root, rebuilt.stored, rebuilt.content), (receipt.root, receipt.stored, receipt.content));
    assert!(report(&store, &id, Depth::Deep).await.is_good());
    assert!(restored(&store, &id, &raw_keyring()).await == bytes);

    fs::write(&manifest, "{\"backstay\":1,\n").unwrap();
    let refused = again(ReassembleOptions::default(), store.clone(), id.clone()).await;
    assert_eq!(refused.unwrap_err().code(), "usage.arguments");
    again(ReassembleOptions { replace: true, ..ReassembleOptions::default() }, store.clone(), id.clone())
        .await
        .unwrap();
    assert!(report(&store, &id, Depth::Deep).await.is_good());

    fs::remove_file(&manifest).unwrap();
    flip(folder.path(), &id.part(3), 5000);
    let refused = again(ReassembleOptions::default(), store.clone(), id.clone()).await;
    assert_eq!(refused.unwrap_err().code(), "segment.auth");
    assert!(!manifest.exists());
}

#[tokio::test]
async fn the_openssl_profile_is_verified_and_reassembled_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::open(folder.path()).await;
    let bytes = content(3_000_000, true);
    let password = || Password::new(b"KEY".to_vec());
    let format = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: password(), single: false };
    let id = back_up(&store, &bytes, options(format)).await.unwrap().id;
    let keyring = || {
        let mut keyring = Keyring::default();
        keyring.add_password(password());
        keyring
    };
    let deep = |store: Store, id: ArchiveId| async move {
        verify(&store, &id, &keyring(), Depth::Deep, &ReadPolicy::default(), &context(), Arc::new(Silent))
            .await
            .unwrap()
    };
    let before = deep(store.clone(), id.clone()).await;
    assert!(before.is_good() && before.authentic, "{:?}", before.findings);
    fs::remove_file(folder.path().join(id.manifest())).unwrap();
    let unsealed = deep(store.clone(), id.clone()).await;
    assert!(unsealed.is_good() && !unsealed.authentic, "{:?}", unsealed.findings);
    reassemble(&store, &id, &keyring(), &ReassembleOptions::default(), &context(), Arc::new(Silent)).await.unwrap();
    assert!(deep(store.clone(), id.clone()).await.authentic);
    assert!(restored(&store, &id, &keyring()).await == bytes);
    flip(folder.path(), &id.part(1), 1000);
    assert_eq!(codes(&deep(store.clone(), id.clone()).await), ["part.digest"]);

    // The stream breaks in its first parts, and all the others are still to come.
    fs::remove_file(folder.path().join(id.manifest())).unwrap();
    let options = ReassembleOptions::default();
    let (keyring, machine) = (keyring(), context());
    let again = reassemble(&store, &id, &keyring, &options, &machine, Arc::new(Silent));
    let refused = tokio::time::timeout(Duration::from_secs(60), again).await.expect("it comes to an end");
    assert_eq!(refused.unwrap_err().code(), "openssl.stream");
}

/// Puts these bytes in the place of a part, and with them the digest that is theirs.
async fn put(store: &Store, name: &str, bytes: Vec<u8>) {
    store.delete(name).await.unwrap();
    let digest = sha256(&bytes);
    store.create(name, bytes.into(), digest).await.unwrap();
}

#[tokio::test]
async fn the_checksums_that_a_store_keeps_are_compared_without_fetching_anything() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket/p").await;
    let id = back_up(&store, &content(3_000_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    let (asked, good) = common::asked(&store, report(&store, &id, Depth::Quick)).await;
    assert!(good.is_good() && good.compared.contains("so do the checksums that the store keeps"), "{good:?}");
    assert_eq!((asked.heads, asked.gets), (7, 1), "all but the manifest is only asked about");
    for part in [0, 4] {
        // Of the same size, and whole as far as the store can tell.
        let name = id.part(part);
        let whole = store.get(&name, 1 << 20).await.unwrap().unwrap();
        let mut other = whole.to_vec();
        other[70_000] ^= 1;
        put(&store, &name, other).await;
        let found = report(&store, &id, Depth::Quick).await;
        let expected = ("part.digest", Some(name.clone()));
        assert_eq!(found.findings.len(), 1, "{found:?}");
        assert_eq!((found.findings[0].code, found.findings[0].object.clone()), expected);
        assert!(found.compared.contains("so were the checksums that the store keeps"), "{}", found.compared);
        put(&store, &name, whole.to_vec()).await;
    }
}

#[tokio::test]
async fn whatever_part_a_store_cannot_tell_of_is_a_finding_and_the_others_are_compared() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket/p").await;
    let id = back_up(&store, &content(3_000_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    for part in [0, 4] {
        let faults = Faults::new();
        let failing = store.clone().with_wrapper(|objects| faults.wrap(objects));
        faults.fail(Call::Head, part + 1..=part + 1, When::Before, Failure::Io(std::io::ErrorKind::InvalidData));
        let found = report(&failing, &id, Depth::Quick).await;
        assert_eq!(codes(&found), ["store.failed"], "{found:?}");
        assert!(found.compared.contains("checksums of 6 of 7 parts"), "{}", found.compared);

        // Listed, and gone when it is asked about.
        let part = u32::try_from(part).unwrap();
        let faults = Faults::new();
        let lagging = store.clone().with_wrapper(|objects| faults.wrap(objects));
        faults.freeze_listings();
        let whole = store.get(&id.part(part), 1 << 20).await.unwrap().unwrap();
        lagging.delete(&id.part(part)).await.unwrap();
        let found = report(&lagging, &id, Depth::Quick).await;
        assert_eq!(codes(&found), ["part.missing"], "{found:?}");
        assert!(found.compared.contains("checksums of 6 of 7 parts"), "{}", found.compared);
        store.create(&id.part(part), whole.clone(), sha256(&whole)).await.unwrap();
    }
}

/// Does something once, when the first part has been fetched.
struct Meanwhile<F: Fn() + Send + Sync>(std::sync::Once, F);

impl<F: Fn() + Send + Sync> Observer for Meanwhile<F> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::PartFetched { .. }) {
            self.0.call_once(&self.1);
        }
    }
}

#[tokio::test]
async fn a_good_manifest_that_comes_back_while_the_parts_are_read_is_not_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let (store, receipt, _) = made(folder.path()).await;
    let manifest = folder.path().join(receipt.id.manifest());
    let good = fs::read(&manifest).unwrap();
    fs::write(&manifest, "{\"backstay\":1,\n").unwrap();
    let (path, bytes) = (manifest.clone(), good.clone());
    let observer = Arc::new(Meanwhile(std::sync::Once::new(), move || fs::write(&path, &bytes).unwrap()));
    let options = ReassembleOptions { replace: true, ..ReassembleOptions::default() };
    let ring = raw_keyring();
    let refused = reassemble(&store, &receipt.id, &ring, &options, &context(), observer).await.unwrap_err();
    assert_eq!(refused.code(), "usage.arguments");
    assert!(refused.to_string().contains("is right"), "{refused}");
    assert!(fs::read(&manifest).unwrap() == good);

    // One that goes meanwhile is not in the way, either.
    fs::write(&manifest, "{\"backstay\":1,\n").unwrap();
    let path = manifest.clone();
    let observer = Arc::new(Meanwhile(std::sync::Once::new(), move || fs::remove_file(&path).unwrap()));
    reassemble(&store, &receipt.id, &ring, &options, &context(), observer).await.unwrap();
    assert!(report(&store, &receipt.id, Depth::Deep).await.is_good());
}

#[tokio::test]
async fn whatever_request_fails_a_reader_comes_to_an_end() {
    let password = || Password::new(b"KEY".to_vec());
    let openssl = Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: password(), single: false };
    let mut with_password = Keyring::default();
    with_password.add_password(password());
    let native = (native(Encryption::Raw(Secret([7; 32]))), raw_keyring());
    for (made, keyring) in [native, (options(openssl), with_password)] {
        let store = Store::memory();
        let id = back_up(&store, &content(3_000_000, true), made).await.unwrap().id;
        let mut number = 1;
        loop {
            let faults = Faults::new();
            faults.fail(Call::Get, number..=usize::MAX, When::Before, Failure::Denied);
            let failing = store.clone().with_wrapper(|objects| faults.wrap(objects));
            let (policy, ring, machine) = (ReadPolicy::default(), &keyring, context());
            let verifying = verify(&failing, &id, ring, Depth::Deep, &policy, &machine, Arc::new(Silent));
            let verified = tokio::time::timeout(Duration::from_secs(60), verifying).await.expect("verify ends");
            let good = verified.is_ok_and(|report| report.is_good());
            let gets = faults.calls(Call::Get);

            let bare = Store::memory();
            for (name, bytes) in objects(&store).await {
                if name != id.manifest() {
                    bare.create(&name, bytes.clone(), sha256(&bytes)).await.unwrap();
                }
            }
            let faults = Faults::new();
            faults.fail(Call::Get, number..=usize::MAX, When::Before, Failure::Denied);
            let failing = bare.with_wrapper(|objects| faults.wrap(objects));
            let options = ReassembleOptions::default();
            let joining = reassemble(&failing, &id, ring, &options, &machine, Arc::new(Silent));
            let joined = tokio::time::timeout(Duration::from_secs(60), joining).await.expect("reassemble ends");
            assert!(!good || gets < number, "{number}: verify calls it good");
            assert!(joined.is_err() || faults.calls(Call::Get) < number, "{number}: it was put together");
            if gets < number && faults.calls(Call::Get) < number {
                assert!(good && joined.is_ok(), "{joined:?}");
                break;
            }
            number += 1;
        }
        assert!(number > 5, "only {number} requests were tried");
    }
}
