//! `gc`: what interrupted runs left goes, and nothing else.

use std::time::{Duration, SystemTime};

use crate::common::{self, back_up, content, context, native, options, raw_keyring, restored};
use backstay::Context;
use backstay::catalog::{self, Filter, State};
use backstay::error::Error;
use backstay::gc::{Fate, GRACE, GcOptions, Leftover, What, gc};
use backstay::keys::Encryption;
use backstay_format::ArchiveId;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::{Secret, sha256};
use backstay_store::Store;
use backstay_testkit::Faults;
use backstay_testkit::faults::{Call, Failure, When};
use futures::TryStreamExt as _;
use jiff::{SignedDuration, Timestamp};

fn yes() -> GcOptions {
    // The stores of these tests are young: what is old to them is what is not new.
    GcOptions { grace: Duration::ZERO, delete: true, whole: false }
}

async fn put(store: &Store, name: &str, bytes: &[u8]) {
    store.create(name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
}

async fn names(store: &Store) -> Vec<String> {
    store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap()
}

async fn run(store: &Store, options: &GcOptions) -> Vec<Leftover> {
    gc(store, options, &context()).await.unwrap().leftovers
}

/// The first parts of an archive of many, all of one size, as a killed run leaves them.
async fn interrupted(store: &Store) -> ArchiveId {
    let whole = Store::memory();
    let mut options = native(Encryption::Raw(Secret([7; 32])));
    options.part_size = Some(80_000);
    let id = back_up(&whole, &content(400_000, true), options).await.unwrap().id;
    for n in [0, 1, 3] {
        let bytes = whole.get(&id.part(n), 1 << 20).await.unwrap().unwrap();
        put(store, &id.part(n), &bytes).await;
    }
    id
}

#[tokio::test]
async fn an_interrupted_upload_goes_in_two_runs_and_archives_stay() {
    let store = Store::memory();
    let archive = back_up(&store, &content(300_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    // It stands between the parts and the manifest in a listing.
    put(&store, &format!("{archive}-x"), b"a stray").await;
    let committed = names(&store).await;
    let id = interrupted(&store).await;
    put(&store, &id.keybox(0), b"a slot").await;
    put(&store, "README", b"foreign").await;
    put(&store, &format!("{id}-x"), b"a stray").await;

    let plan = run(&store, &GcOptions { delete: false, ..yes() }).await;
    let [Leftover { what: What::Upload(found), objects, fate: Fate::Due, .. }] = &plan[..] else { panic!("{plan:?}") };
    assert_eq!((found, objects.len()), (&id, 4));
    assert_eq!(names(&store).await.len(), committed.len() + 6, "the plan deletes nothing");

    let done = run(&store, &yes()).await;
    assert_eq!((done.len(), &done[0].fate), (1, &Fate::Deleted));
    let mut expected = committed.clone();
    expected.extend(["README".to_owned(), format!("{id}-x"), id.manifest()]);
    expected.sort();
    let mut left = names(&store).await;
    left.sort();
    assert_eq!(left, expected, "the marker stays for another grace");
    let listed = catalog::list(&store, &Filter { incomplete: true, ..Filter::default() }, false).await.unwrap();
    assert_eq!(listed.iter().find(|entry| entry.id == id).unwrap().state, State::Aborted);

    let later = run(&store, &yes()).await;
    assert_eq!((&later[0].what, &later[0].fate), (&What::Marker(id.clone()), &Fate::Deleted));
    assert!(!names(&store).await.contains(&id.manifest()));
    assert_eq!(run(&store, &yes()).await, []);
    assert_eq!(restored(&store, &archive, &raw_keyring()).await, content(300_000, true));
}

#[tokio::test]
async fn what_may_still_be_written_stays_by_its_name_its_objects_or_the_stores_clock() {
    let store = Store::memory();
    let young = interrupted(&store).await;
    let patient = GcOptions { grace: GRACE, delete: true, whole: false };
    let plan = run(&store, &patient).await;
    assert_eq!((&plan[0].what, &plan[0].fate), (&What::Upload(young.clone()), &Fate::Kept));

    // By this machine's clock all is old, but the store's objects are as young as they were.
    let ahead = context().with_clock(|| Timestamp::now() + SignedDuration::from_hours(24 * 3650));
    let dry = gc(&store, &GcOptions { delete: false, ..patient.clone() }, &ahead).await.unwrap().leftovers;
    assert_eq!(dry[0].fate, Fate::Due);
    let wet = gc(&store, &patient, &ahead).await.unwrap().leftovers;
    assert_eq!((&wet[0].fate, wet[0].reason), (&Fate::Kept, "by the store's clock it may still be written"));
    assert_eq!(names(&store).await.len(), 3);

    // The objects are old, but the name says that the upload began just now; a clock that is behind deletes nothing.
    let behind = context().with_clock(|| Timestamp::now() - SignedDuration::from_hours(24 * 3650));
    assert_eq!(gc(&store, &yes(), &behind).await.unwrap().leftovers[0].fate, Fate::Kept);
}

#[tokio::test]
async fn what_is_not_known_to_be_an_interrupted_upload_is_told_and_kept() {
    let kdf = Kdf::BytesToKey(Digest::Md5);
    let password = || Password::new(b"KEY".to_vec());
    let openssl = || options(backstay::backup::Format::Openssl { kdf, password: password(), single: false });
    let store = Store::memory();
    let id = back_up(&store, &content(900_000, true), openssl()).await.unwrap().id;
    store.delete(&id.manifest()).await.unwrap();
    // An old archive that lost its first part does not even say what it is.
    store.delete(&id.part(0)).await.unwrap();
    let before = names(&store).await;
    let kept = run(&store, &yes()).await;
    assert_eq!((&kept[0].what, &kept[0].fate), (&What::Upload(id.clone()), &Fate::Kept));
    assert!(kept[0].reason.contains("native"), "{}", kept[0].reason);
    assert_eq!(names(&store).await, before);

    // A native archive whose manifest was lost is not an interrupted upload.
    let store = Store::memory();
    let id = back_up(&store, &content(900_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap().id;
    store.delete(&id.manifest()).await.unwrap();
    let before = names(&store).await;
    let kept = run(&store, &yes()).await;
    assert!(kept[0].fate == Fate::Kept && kept[0].reason.contains("--whole"), "{kept:?}");
    assert_eq!(names(&store).await, before);
    assert_eq!(run(&store, &GcOptions { whole: true, ..yes() }).await[0].fate, Fate::Deleted);
    assert_eq!(names(&store).await, [id.manifest()]);

    // Whatever a person or a later version put beside the parts.
    for sidecar in ["hold", "hold.1", "future"] {
        let store = Store::memory();
        let id = interrupted(&store).await;
        put(&store, &format!("{id}.{sidecar}"), b"").await;
        assert_eq!(run(&store, &yes()).await[0].fate, Fate::Kept, "{sidecar}");
        assert_eq!(names(&store).await.len(), 4);
    }
    // A document of another manager commits; so does a manifest that is damaged.
    for document in ["{}", "{\"backstay\":1,", "{\"backstay\":1,\"id\":\"x\",\"aborted\":\"\"}\n"] {
        let store = Store::memory();
        let id = interrupted(&store).await;
        put(&store, &id.manifest(), document.as_bytes()).await;
        assert_eq!(run(&store, &yes()).await, [], "{document}");
        assert_eq!(names(&store).await.len(), 4);
    }
}

#[tokio::test]
async fn what_was_said_of_an_archive_that_is_gone_goes_after_a_grace_and_its_tombstone_stays() {
    let store = Store::memory();
    let encryption = Encryption::Raw(Secret([7; 32]));
    let archive = back_up(&store, b"content", native(encryption)).await.unwrap().id;
    let gone: ArchiveId = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap();
    let said = ["hold.1740130000123", "hold", "note.5", "tag.6", "verified.7", "expired.8"]
        .map(|word| format!("{gone}.{word}"));
    for name in said.iter().chain([&gone.tombstone(), &format!("{archive}.hold.1"), &format!("{archive}.note.2")]) {
        put(&store, name, b"x").await;
    }
    // What a later version says of an archive is not judged.
    let later: ArchiveId = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000124".parse().unwrap();
    put(&store, &format!("{later}.hold.1"), b"x").await;
    put(&store, &format!("{later}.future.1"), b"x").await;
    let before = names(&store).await;
    let patient = GcOptions { grace: GRACE, delete: true, whole: true };
    let young = run(&store, &patient).await;
    let [Leftover { what: What::Remarks(found), objects, fate: Fate::Kept, .. }] = &young[..] else {
        panic!("{young:?}")
    };
    assert_eq!((found, objects.len()), (&gone, said.len()));
    assert_eq!(names(&store).await, before);
    let done = run(&store, &yes()).await;
    assert_eq!((done.len(), &done[0].fate), (1, &Fate::Deleted));
    let mut expected = before;
    expected.retain(|name| !said.contains(name));
    assert_eq!(names(&store).await, expected);
    assert_eq!(run(&store, &yes()).await, []);

    // A hold beside nothing but the marker that gave an upload up: first it, then the marker.
    let id = interrupted(&store).await;
    run(&store, &yes()).await;
    put(&store, &format!("{id}.hold.1"), b"x").await;
    assert_eq!(run(&store, &yes()).await[0].what, What::Remarks(id.clone()));
    assert_eq!(run(&store, &yes()).await[0].what, What::Marker(id));
    assert_eq!(names(&store).await, expected);
}

#[tokio::test]
async fn the_mark_of_a_deletion_that_did_not_go_on_is_cleared_away_beside_an_archive_that_stays() {
    let store = Store::memory();
    let encryption = Encryption::Raw(Secret([7; 32]));
    let archive = back_up(&store, b"content", native(encryption)).await.unwrap().id;
    put(&store, &format!("{archive}.note.2"), b"x").await;
    let before = names(&store).await;
    put(&store, &format!("{archive}.expired.1"), b"x").await;
    let young = run(&store, &GcOptions { grace: GRACE, delete: true, whole: true }).await;
    assert_eq!((&young[0].what, &young[0].fate), (&What::Begun(archive.clone()), &Fate::Kept));
    let done = run(&store, &yes()).await;
    assert_eq!((&done[0].what, &done[0].fate), (&What::Begun(archive.clone()), &Fate::Deleted));
    assert_eq!(names(&store).await, before);
    assert_eq!(restored(&store, &archive, &raw_keyring()).await, b"content");
}

#[tokio::test]
async fn a_commit_between_the_plan_and_the_deed_wins() {
    let faults = Faults::new();
    let store = Store::memory();
    let id = interrupted(&store).await;
    let objects = names(&store).await;
    let racing = store.clone().with_wrapper(|inner| faults.wrap(inner));
    faults.beat(&id.manifest(), "{\"backstay\":1,\"a\":\"manifest\"}");
    let done = run(&racing, &yes()).await;
    assert_eq!((&done[0].fate, done[0].reason), (&Fate::Kept, "it was committed meanwhile"));
    assert_eq!(names(&store).await.len(), objects.len() + 1);
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_before_anything_is_deleted() {
    let faults = Faults::new();
    let store = Store::memory();
    interrupted(&store).await;
    let lying = store.clone().with_wrapper(|inner| faults.wrap(inner));
    faults.ignore_conditions();
    let error = gc(&lying, &yes(), &context()).await.unwrap_err();
    assert_eq!(error.code(), "store.condition-ignored");
    assert_eq!(names(&store).await.len(), 3);
}

#[tokio::test]
async fn what_the_store_protects_is_told_and_the_rest_goes() {
    use backstay_testkit::faults::{Call, Failure, When};
    let faults = Faults::new();
    let store = Store::memory().with_wrapper(|inner| faults.wrap(inner));
    let id = interrupted(&store).await;
    put(&store, "backstay-probe-old", b"backstay probe 1\n").await;
    // The first delete is that of the new probe, the second that of the old one.
    faults.fail(Call::Delete, 3..=3, When::Before, Failure::Denied);
    let done = run(&store, &yes()).await;
    let fate = |what: &What| &done.iter().find(|leftover| leftover.what == *what).unwrap().fate;
    assert_eq!(fate(&What::Probe("backstay-probe-old".to_owned())), &Fate::Deleted);
    assert!(matches!(fate(&What::Upload(id.clone())), Fate::Refused(finding) if finding.code == "store.denied"));
    // The next run goes on where this one was stopped.
    let again = run(&store, &yes()).await;
    assert_eq!((&again[0].fate, again[0].reason), (&Fate::Deleted, "it was given up, and is not cleared away yet"));
    assert_eq!(names(&store).await, [id.manifest()]);
}

#[tokio::test]
async fn staged_files_of_killed_writers_go_when_they_are_old() {
    let folder = tempfile::tempdir().unwrap();
    let store = common::open(folder.path()).await;
    put(&store, "README", b"").await;
    let staging = folder.path().join(".backstay-tmp");
    for (name, hours) in [("young", 47), ("old", 49)] {
        let path = staging.join(name);
        std::fs::write(&path, name).unwrap();
        let modified = SystemTime::now() - Duration::from_secs(hours * 3600);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
    let done = run(&store, &GcOptions { delete: true, ..GcOptions::default() }).await;
    let fates: Vec<_> = done.iter().map(|leftover| (leftover.what.clone(), leftover.fate.clone())).collect();
    assert_eq!(
        fates,
        [(What::Staged("old".to_owned()), Fate::Deleted), (What::Staged("young".to_owned()), Fate::Kept)]
    );
    assert!(!staging.join("old").exists() && staging.join("young").exists());
}

#[tokio::test]
async fn a_store_that_fails_on_the_way_ends_the_run_and_what_is_gone_until_then_is_told() {
    let store = Store::memory();
    let mut uploads = Vec::new();
    for _ in 0..3 {
        uploads.push(interrupted(&store).await);
    }
    let faults = Faults::new();
    let failing = store.clone().with_wrapper(|inner| faults.wrap(inner));
    // The probe and the three parts of the first one; of the second one the first part goes, or one beside it.
    let broken = Failure::Io(std::io::ErrorKind::InvalidData);
    faults.fail(Call::Delete, 6..=usize::MAX, When::Before, broken);
    let cleared = gc(&failing, &yes(), &context()).await.unwrap();
    assert_eq!(cleared.stopped.as_ref().map(Error::code), Some("store.failed"));
    let fates: Vec<&Fate> = cleared.leftovers.iter().map(|leftover| &leftover.fate).collect();
    assert!(matches!(fates[..], [Fate::Deleted, Fate::Refused(_), Fate::Due]), "{fates:?}");
    let left = names(&store).await;
    let parts = |id: &ArchiveId| left.iter().filter(|name| name.starts_with(&format!("{id}-"))).count();
    assert_eq!((parts(&uploads[0]), parts(&uploads[1]), parts(&uploads[2])), (0, 2, 3));
    let again = gc(&store, &yes(), &context()).await.unwrap();
    assert!(again.stopped.is_none());
}

#[tokio::test]
async fn an_interrupted_gc_stops_between_two_leftovers() {
    let store = Store::memory();
    let upload = interrupted(&store).await;
    let context = Context::system(Some(1)).unwrap();
    context.interrupt.set();
    let error = gc(&store, &yes(), &context).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }));
    assert!(names(&store).await.contains(&upload.part(0)));
}
