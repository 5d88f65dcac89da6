//! What every verb asks of a store, counted. Requests cost money and, at a hundred milliseconds each, time, so that a store of ten million
//! objects is a question of these numbers: each is held here to a function of the parts of an archive and of the archives of a store.
//!
//! Counted twice, on a store in memory behind a wrapper and on an S3 server, since only the one tells names and bytes, and only the
//! other has pages and checksums of its own.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use crate::common::{
    Requests, add_slots, asked, back_up, content, context, native, options, raw_keyring, read, recipient, restored,
};
use backstay::backup::{BackupOptions, Format};
use backstay::catalog::freshness::freshness;
use backstay::catalog::{self, Filter};
use backstay::copy::{CopyOptions, copy};
use backstay::gc::{GcOptions, gc};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::reassemble::{ReassembleOptions, reassemble};
use backstay::repair::repair;
use backstay::retention::{Belief, RmOptions, hold, note, release, rm, tag};
use backstay::rewrap::{destroy_keys, export_secret};
use backstay::salvage::{SalvageOptions, salvage};
use backstay::set::{self, NewSet, SetOptions};
use backstay::verify::{Depth, sums, verify};
use backstay::{RestoreOptions, Silent};
use backstay_format::ArchiveId;
use backstay_format::codec::zstd::{FRAME_CONTENT, SeekTable};
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::Secret;
use backstay_store::{RetryOptions, Store};
use backstay_testkit::faults::{Call, Failure, Faults, When};
use backstay_testkit::{Record, S3Server};
use futures::TryStreamExt as _;

/// A sealed segment of 64 KiB.
const SEALED: u64 = (64 << 10) + 16;
/// What is fetched at once with the default memory.
const RUN: u64 = 2 << 20;

/// An archive as far as numbers of requests depend on it.
struct Shape {
    id: ArchiveId,
    parts: u64,
    /// Fetches of all segments, by 31 of them.
    runs: u64,
    /// Fetches of all bytes as they are stored.
    pieces: u64,
}

impl Shape {
    async fn of(store: &Store, id: &ArchiveId) -> Shape {
        let parts: Vec<_> = store.list(&format!("{id}-"), None).try_collect().await.unwrap();
        let mut shape = Shape { id: id.clone(), parts: parts.len() as u64, runs: 0, pieces: 0 };
        for part in parts {
            let start = store.get_range(&part.name, 0..part.size.min(4096)).await.unwrap();
            let header = start.iter().position(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
            let segments = (part.size - header).div_ceil(SEALED);
            shape.runs += segments.div_ceil(RUN / SEALED);
            shape.pieces += part.size.div_ceil(RUN);
        }
        shape
    }
}

fn raw() -> Encryption {
    Encryption::Raw(Secret([7; 32]))
}

fn with_parts(part: u64, options: BackupOptions) -> BackupOptions {
    BackupOptions { part_size: Some(part), ..options }
}

fn password() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    keyring
}

/// Holds every verb of one archive to its number, on archives of one, several and many parts. `checksums` says whether the store keeps SHA-256s.
async fn every_verb(store: &Store, replica: &Store, checksums: bool) {
    let (policy, machine) = (ReadPolicy::default(), context());
    // Of a store that never answered yet, the first look at a name that is free takes a GET more: it tells a missing bucket.
    assert!(replica.head("nothing").await.unwrap().is_none());
    let mut parts_seen = Vec::new();
    for (size, part) in [(1000, 512 << 10), (3_000_000, 3 << 20), (12_000_000, 5 << 20), (9_000_000, 512 << 10)] {
        let bytes = content(size, true);
        let (backed_up, receipt) = asked(store, back_up(store, &bytes, with_parts(part, native(raw())))).await;
        let shape = Shape::of(store, &receipt.unwrap().id).await;
        let (id, parts, runs, pieces) = (&shape.id, shape.parts, shape.runs, shape.pieces);
        parts_seen.push(parts);
        let keyring = raw_keyring();

        // Later archives of the source, and before the first part and at the end whether anything else has this id; the first part is sent twice.
        let mut rows = vec![("backup", backed_up, Requests { lists: 3, puts: parts + 2, ..Requests::default() })];

        // The listing, the manifest, the first header line, all segments; the other lines come with the segments behind them.
        let (got, back) = asked(store, restored(store, id, &keyring)).await;
        assert!(back == bytes);
        rows.push(("restore", got, Requests { lists: 1, gets: 2 + runs, ..Requests::default() }));

        // Which profile it is, the manifest does not tell then: eight bytes more do.
        let mut without = RestoreOptions::default();
        without.policy.no_manifest = true;
        let (got, back) = asked(store, read(store, id, &keyring, &without)).await;
        assert!(back.unwrap() == bytes);
        rows.push(("restore --no-manifest", got, Requests { lists: 1, gets: 1 + parts + runs, ..Requests::default() }));

        let heads = if checksums { parts } else { 1 };
        let deep = 1 + 1 + parts + runs;
        for (depth, gets, heads) in [(Depth::Quick, 1, heads), (Depth::Full, 1 + pieces, 0), (Depth::Deep, deep, 0)] {
            let verifying = verify(store, id, &keyring, depth, &policy, &machine, Arc::new(Silent));
            let (got, report) = asked(store, verifying).await;
            assert!(report.unwrap().is_good());
            let name = ["verify --depth quick", "verify --depth full", "verify"][depth as usize];
            rows.push((name, got, Requests { lists: 1, gets, heads, ..Requests::default() }));
        }

        let (got, lines) = asked(store, sums(store, id, &policy)).await;
        assert_eq!(lines.unwrap().lines().count() as u64, parts);
        rows.push(("verify --sums", got, Requests { lists: 1, gets: 1, ..Requests::default() }));

        let (got, details) = asked(store, catalog::show(store, id, &keyring)).await;
        assert_eq!(u64::from(details.unwrap().entry.parts), parts);
        rows.push(("show", got, Requests { lists: 1, gets: 1, ..Requests::default() }));

        let (got, secret) = asked(store, export_secret(store, id, &keyring)).await;
        assert_eq!(secret.unwrap().0, [7; 32]);
        rows.push(("key export", got, Requests { lists: 1, gets: 2, ..Requests::default() }));

        // The listing, the manifest, each part's header line, the seek table, all segments.
        let whole = SalvageOptions::default();
        let salvaging = salvage(store, id, &keyring, &whole, &machine, Arc::new(Silent));
        let (got, salvaged) = asked(store, salvaging).await;
        assert_eq!(salvaged.unwrap().content, size as u64);
        rows.push(("salvage", got, Requests { lists: 1, gets: 1 + parts + 1 + runs, ..Requests::default() }));

        // The manifest is read to be judged and, at the end, as it is stored.
        let options = CopyOptions::default();
        let copying = copy(store, replica, id, &options, &machine, Arc::new(Silent));
        let (from, (to, copied)) = asked(store, asked(replica, copying)).await;
        assert_eq!(u64::from(copied.unwrap().parts), parts);
        rows.push(("copy, from", from, Requests { lists: 1, gets: 2 + parts, ..Requests::default() }));
        // Whether a part is there is asked first; the first one is sent twice. Before the manifest all are looked for again.
        rows.push(("copy, to", to, Requests { lists: 1, heads: parts, puts: parts + 2, ..Requests::default() }));

        // Both manifests, and every part of the store, which is looked for again at the end; the replica is asked for what keyboxes it has, and for
        // nothing that is not needed.
        let repairing = || repair(store, replica, id, &options, &machine, Arc::new(Silent));
        let (to, (from, repaired)) = asked(store, asked(replica, repairing())).await;
        assert_eq!(u64::from(repaired.unwrap().parts), parts);
        rows.push(("copy --repair, the store", to, Requests { lists: 2, gets: 1 + parts, ..Requests::default() }));
        rows.push(("copy --repair, the replica", from, Requests { lists: 1, gets: 1, ..Requests::default() }));
        store.delete(&id.part(0)).await.unwrap();
        let (to, (from, repaired)) = asked(store, asked(replica, repairing())).await;
        assert_eq!(repaired.unwrap().changes.restored, [id.part(0)]);
        let mended = Requests { lists: 2, gets: parts, puts: 1, ..Requests::default() };
        rows.push(("copy --repair of a lost part, the store", to, mended));
        rows.push((
            "copy --repair of a lost part, the replica",
            from,
            Requests { lists: 1, gets: 2, ..Requests::default() },
        ));

        let recipients = [recipient(&age::x25519::Identity::generate())];
        let (got, names) = asked(store, add_slots(store, id, &keyring, &recipients, None)).await;
        assert_eq!(names.unwrap().len(), 1);
        // The manifest is fetched and created once more, which tells whether the store keeps conditions; the keyboxes are listed once more in the end.
        rows.push(("key rewrap", got, Requests { lists: 3, gets: 3, puts: 2, ..Requests::default() }));

        let folder = tempfile::tempdir().unwrap();
        let to = |name| ReassembleOptions { join: Some(folder.path().join(name)), ..ReassembleOptions::default() };
        let joined = to("joined");
        let joining = reassemble(store, id, &keyring, &joined, &machine, Arc::new(Silent));
        let (got, done) = asked(store, joining).await;
        assert_eq!(u64::from(done.unwrap().parts), parts);
        rows.push(("reassemble --join", got, Requests { lists: 1, gets: 1 + pieces, ..Requests::default() }));
        // Without the manifest the parts are looked for a second time, as what they are by their own first bytes.
        store.delete(&id.manifest()).await.unwrap();
        let joined = to("joined without");
        let joining = reassemble(store, id, &keyring, &joined, &machine, Arc::new(Silent));
        let (got, done) = asked(store, joining).await;
        assert_eq!(u64::from(done.unwrap().parts), parts);
        rows.push((
            "reassemble --join, no manifest",
            got,
            Requests { lists: 2, gets: 2 + pieces, ..Requests::default() },
        ));
        // The manifest is asked for twice, to see that there is none, and again that there is none when all is read.
        // The keybox is tried as well.
        let rebuilding = async {
            let options = ReassembleOptions::default();
            reassemble(store, id, &keyring, &options, &machine, Arc::new(Silent)).await.unwrap();
        };
        let (got, ()) = asked(store, rebuilding).await;
        let gets = 2 + 2 + 1 + parts + runs;
        rows.push(("reassemble", got, Requests { lists: 1, gets, puts: 1, ..Requests::default() }));

        for (verb, got, expected) in rows {
            assert_eq!(got, expected, "{verb} of {size} bytes in {parts} parts, {runs} runs, {pieces} pieces");
        }
    }
    assert!(parts_seen[0] == 1 && parts_seen.iter().any(|parts| *parts >= 15), "{parts_seen:?}");
}

async fn openssl_verbs(store: &Store) {
    for (size, part) in [(1000, 512 << 10), (12_000_000, 5 << 20)] {
        let bytes = content(size, true);
        let kdf = Kdf::BytesToKey(Digest::Md5);
        let format = Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false };
        let (backed_up, receipt) = asked(store, back_up(store, &bytes, with_parts(part, options(format)))).await;
        let Shape { id, parts, pieces, .. } = Shape::of(store, &receipt.unwrap().id).await;
        assert_eq!(backed_up, Requests { lists: 3, puts: parts + 2, ..Requests::default() });
        // The manifest, the first bytes for the key, and everything once.
        let (got, back) = asked(store, restored(store, &id, &password())).await;
        assert!(back == bytes);
        assert_eq!(got, Requests { lists: 1, gets: 2 + pieces, ..Requests::default() }, "{parts} parts");
        // Without the manifest the magic is looked at twice more.
        store.delete(&id.manifest()).await.unwrap();
        let (got, back) = asked(store, restored(store, &id, &password())).await;
        assert!(back == bytes);
        assert_eq!(got, Requests { lists: 1, gets: 3 + pieces, ..Requests::default() }, "{parts} parts");
    }
}

async fn detached_keys(store: &Store) {
    let identity = age::x25519::Identity::generate();
    let recipients = vec![recipient(&identity), recipient(&age::x25519::Identity::generate())];
    let encryption = Encryption::Slots { recipients, passphrase: None, detached: true };
    let (got, receipt) = asked(store, back_up(store, &content(1000, true), native(encryption))).await;
    assert_eq!(got, Requests { lists: 3, puts: 1 + 2 + 1, ..Requests::default() }, "one slot, an object");
    let (got, destroyed) = asked(store, destroy_keys(store, &receipt.unwrap().id, "test", &context())).await;
    assert_eq!(destroyed.unwrap().len(), 1);
    // A mark before; and whether a keybox was added meanwhile.
    assert_eq!(got, Requests { lists: 3, gets: 1, puts: 1, deletes: 2, ..Requests::default() });
}

/// What is said of an archive, and what is deleted: of `ARCHIVES` archives in a store of their own.
async fn retention_verbs(store: &Store) {
    const ARCHIVES: u64 = 3;
    let mut ids = Vec::new();
    for _ in 0..ARCHIVES {
        let made = back_up(store, &content(300_000, true), with_parts(70_000, native(raw()))).await;
        ids.push(made.unwrap().id);
    }
    let (machine, parts) = (context(), Shape::of(store, &ids[0]).await.parts);
    assert!(parts > 3, "{parts}");
    let (id, mut rows) = (&ids[0], Vec::new());
    let sidecar = Requests { lists: 1, puts: 1, ..Requests::default() };
    let (got, said) = asked(store, note(store, id, "text", "test", &machine)).await;
    said.unwrap();
    rows.push(("note", got, sidecar));
    let (got, said) = asked(store, tag(store, id, &["x".to_owned()], "test", &machine)).await;
    said.unwrap();
    rows.push(("tag", got, sidecar));
    // Looked for once more: whether it and the archive are listed, and no deletion has begun; and whether its first object is there after that.
    let (got, said) = asked(store, hold(store, id, "why", "test", &machine)).await;
    said.unwrap();
    rows.push(("hold", got, Requests { lists: 2, heads: 1, ..sidecar }));
    let (got, holds) = asked(store, release(store, id)).await;
    assert_eq!(holds.unwrap().len(), 1);
    rows.push(("release", got, Requests { lists: 1, deletes: 1, ..Requests::default() }));

    let options = RmOptions { delete: true, force: false, keep_members: false, by: "test".to_owned() };
    let belief = Belief::default();
    // The whole store is looked at, since any archive may need it: each manifest, and the tag.
    let (got, removed) = asked(store, rm(store, id, &options, &belief, &machine)).await;
    assert!(removed.unwrap().deleted);
    // A tombstone comes first and goes last, and between the mark that it begins; between, the manifest, the parts, the note and the tag.
    let deletes = parts + 1 + 2 + 2;
    rows.push(("rm", got, Requests { lists: 2, gets: ARCHIVES + 1, puts: 2, deletes, ..Requests::default() }));

    let clearing = GcOptions { grace: std::time::Duration::ZERO, delete: true, whole: true };
    let (got, left) = asked(store, gc(store, &clearing, &machine)).await;
    assert!(left.unwrap().leftovers.is_empty());
    rows.push(("gc, nothing to do", got, Requests { lists: 1, ..Requests::default() }));
    store.delete(&ids[1].manifest()).await.unwrap();
    // Clouds tell times to the second, and what may be of this second is left alone.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let (got, left) = asked(store, gc(store, &clearing, &machine)).await;
    assert_eq!(left.unwrap().leftovers.len(), 1);
    // A probe is created twice, looked at and deleted; the marker is created; the start of each part is looked at when it is
    // found, right before the marker, so that none is made over what may not go, and after it.
    let expected = Requests { lists: 3, gets: 3 * parts, heads: 1, puts: 3, deletes: 1 + parts };
    rows.push(("gc, of one upload", got, expected));
    for (verb, got, expected) in rows {
        assert_eq!(got, expected, "{verb}");
    }
}

/// A set of so many members is so many archives and one object.
async fn set_verbs(store: &Store, replica: &Store) {
    const MEMBERS: u64 = 3;
    let (machine, encryption) = (context(), Arc::new(raw()));
    let (guid, observer): (_, Arc<dyn backstay::Observer>) =
        (backstay::guid::from_name("shop").unwrap(), Arc::new(Silent));
    let options = SetOptions {
        guid,
        name: "shop".to_owned(),
        hide_name: false,
        tags: Vec::new(),
        source: "test",
        encryption: Arc::clone(&encryption),
        signing_key: None,
    };
    let mut new = NewSet::begin(store, options, &machine, &observer).await.unwrap();
    for n in 0..MEMBERS {
        let name = format!("database {n}");
        let shared = native(Encryption::Shared(Arc::clone(&encryption)));
        let member = BackupOptions { guid: new.guid_of(&name).unwrap(), name: format!("shop/{name}"), ..shared };
        let receipt = back_up(store, &content(1000, true), member).await.unwrap();
        new.add(name, None, &receipt);
    }
    let id = new.commit(store, BTreeMap::new(), &machine).await.unwrap().id;
    let (mut rows, filter) = (Vec::new(), Filter::default());

    for (verb, read, gets) in [("list --short", false, 1), ("list", true, 1 + MEMBERS)] {
        let (got, listed) = asked(store, catalog::list_all(store, &filter, read, &machine)).await;
        let (archives, sets) = listed.unwrap();
        assert_eq!((archives.len() as u64, sets.len()), (MEMBERS, 1));
        rows.push((verb, got, Requests { lists: 1, gets, ..Requests::default() }));
    }
    // The set, and what is stored of its members: they are no sources of their own.
    let (got, sources) = asked(store, freshness(store, &filter, &Belief::default(), machine.now())).await;
    assert_eq!(sources.unwrap().len(), 1);
    rows.push(("check --max-age", got, Requests { lists: 1, gets: 1 + MEMBERS, ..Requests::default() }));

    let (policy, keyring, silent) = (ReadPolicy::default(), raw_keyring(), Arc::new(Silent));
    let verifying = set::verify_set(store, &id, &keyring, Depth::Quick, &policy, &machine, silent.clone());
    let (got, report) = asked(store, verifying).await;
    assert!(report.unwrap().is_good());
    // The set, each member's manifest to see that it is the one that is meant, and each member, of one part, as an archive.
    let expected = Requests { lists: MEMBERS, gets: 1 + 2 * MEMBERS, heads: MEMBERS, ..Requests::default() };
    rows.push(("verify --depth quick", got, expected));

    let options = CopyOptions::default();
    let copying = set::copy_set(store, replica, &id, &options, &machine, silent);
    let (from, (to, copied)) = asked(store, asked(replica, copying)).await;
    assert_eq!(copied.unwrap().members.len() as u64, MEMBERS);
    // As before, the members of one part each, the set once more and its keyboxes; of the set, too, the first object is sent twice.
    let gets = 1 + MEMBERS + 3 * MEMBERS + 1;
    rows.push(("copy, from", from, Requests { lists: MEMBERS + 1, gets, ..Requests::default() }));
    // Before the set each member is looked for again.
    let (lists, heads, puts) = (MEMBERS, 2 * MEMBERS + 1, MEMBERS * 3 + 2);
    rows.push(("copy, to", to, Requests { lists, heads, puts, ..Requests::default() }));
    for (verb, got, expected) in rows {
        assert_eq!(got, expected, "{verb} of a set");
    }
}

#[tokio::test]
async fn every_verb_asks_a_wrapped_store_as_often_as_its_parts_say() {
    let store = || Record::default().store();
    let (one, replica) = (store(), store());
    every_verb(&one, &replica, false).await;
    openssl_verbs(&one).await;
    detached_keys(&one).await;
    retention_verbs(&store()).await;
    set_verbs(&store(), &replica).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_asks_an_s3_server_as_often_as_its_parts_say() {
    let server = S3Server::with_bucket("bucket");
    let [store, replica] = [server.open("s3://bucket/one").await, server.open("s3://bucket/replica").await];
    every_verb(&store, &replica, true).await;
    openssl_verbs(&store).await;
    detached_keys(&store).await;
    retention_verbs(&server.open("s3://bucket/retention").await).await;
    set_verbs(&server.open("s3://bucket/sets").await, &replica).await;
}

/// Names of archives are made, not archives: a list reads nothing but names, sizes and times.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_archives_is_a_page_for_every_thousand_objects_and_a_look_at_each_that_nothing_commits() {
    let server = S3Server::with_bucket("bucket");
    let store = server.open("s3://bucket").await;
    let guids = ["de2fe9e4-6535-423d-8709-dca87df7985c", "ee2fe9e4-6535-423d-8709-dca87df7985c"];
    let (archives, incomplete) = (1200, 7);
    let name = |n: u64| format!("{}-{}", guids[usize::from(n.is_multiple_of(4))], 1_700_000_000_000 + n);
    for n in 0..archives + incomplete {
        fs::write(server.object_path("bucket", &format!("{}-0", name(n))), b"a part of something").unwrap();
        if n < archives {
            // Cut manifests, which do not hide their archives.
            let cut = format!("{:500}", r#"{"backstay":1,"#);
            fs::write(server.object_path("bucket", &format!("{}.json", name(n))), cut).unwrap();
        }
    }
    let objects = 2 * archives + incomplete;
    let all = Requests { lists: objects.div_ceil(1000), gets: incomplete, ..Requests::default() };
    let of_guid = |guid: &str| Filter { guid: Some(guid.parse().unwrap()), ..Filter::default() };
    let own = (0..archives + incomplete).filter(|n| n.is_multiple_of(4)).count() as u64;
    let own_archives = (0..archives).filter(|n| n.is_multiple_of(4)).count() as u64;

    let (got, listed) = asked(&store, catalog::list(&store, &Filter::default(), false)).await;
    assert_eq!((listed.unwrap().len() as u64, got), (archives, all));
    let (got, listed) = asked(&store, catalog::list(&store, &Filter::default(), true)).await;
    let with_manifests = Requests { gets: archives + incomplete, ..all };
    assert_eq!((listed.unwrap().len() as u64, got), (archives, with_manifests));
    let (got, listed) = asked(&store, catalog::list(&store, &of_guid(guids[1]), false)).await;
    assert_eq!(listed.unwrap().len() as u64, own_archives);
    let lists = (own + own_archives).div_ceil(1000);
    assert_eq!(got, Requests { lists, gets: own - own_archives, ..Requests::default() });
    // The newest archive's header line tells whether it is encrypted.
    let (got, latest) = asked(&store, catalog::select(&store, "latest", &of_guid(guids[1]))).await;
    assert_eq!(latest.unwrap().to_string(), name(archives - 4));
    assert_eq!(got, Requests { lists, gets: own - own_archives + 1, ..Requests::default() });
    let (got, one) = asked(&store, catalog::select(&store, &name(17), &Filter::default())).await;
    assert_eq!(one.unwrap().to_string(), name(17));
    assert_eq!(got, Requests { lists: 1, ..Requests::default() });
}

/// The inner stream's frames, by its own seek table.
async fn frames(store: &Store, id: &ArchiveId) -> (SeekTable, u64) {
    let raw = RestoreOptions { raw: true, ..RestoreOptions::default() };
    let stream = read(store, id, &raw_keyring(), &raw).await.unwrap();
    (SeekTable::parse(&stream, stream.len() as u64).unwrap(), stream.len() as u64)
}

/// The listing, the manifest, the seek table, the frames: four requests, and one more for every edge of a part that lies in the last two.
#[tokio::test]
async fn a_range_is_four_requests_and_no_more_than_its_frames() {
    const MIB: u64 = 1 << 20;
    // As an archive of 1 GiB has it: frames that are much smaller than parts, and parts in which many segments are.
    for (size, incompressible, with_manifest) in
        [(96 * MIB, false, true), (24 * MIB, true, true), (72 * MIB, false, false)]
    {
        let record = Record::default();
        let store = record.store();
        let bytes = content(usize::try_from(size).unwrap(), incompressible);
        let id = back_up(&store, &bytes, with_parts(5 * MIB, native(raw()))).await.unwrap().id;
        let (table, inner) = frames(&store, &id).await;
        let part = (5 * MIB - 2048) / SEALED * (64 << 10);
        assert!(inner / part >= 3, "{inner} bytes in parts of {part}");
        let parts_of = |from: u64, to: u64| (to - 1) / part - from / part + 1;
        let table_parts = parts_of(inner - SeekTable::length_of(size.div_ceil(FRAME_CONTENT as u64)), inner);

        let mut crossed = 0;
        for start in (0..=size - MIB).step_by(1_300_001).chain([size - MIB]) {
            let (first, last) = (table.locate(start).unwrap(), table.locate(start + MIB - 1).unwrap());
            let (from, to) = (first.stored.start, last.stored.end);
            let mut options = RestoreOptions { range: Some(start..start + MIB), ..RestoreOptions::default() };
            options.policy.no_manifest = !with_manifest;
            drop(record.taken());
            let back = read(&store, &id, &raw_keyring(), &options).await.unwrap();
            let at = usize::try_from(start).unwrap();
            assert!(back == bytes[at..at + (1 << 20)]);

            let requests = record.taken();
            let (frame_parts, said) = (parts_of(from, to), format!("{start}: {requests:?}"));
            crossed += frame_parts - 1;
            assert!(last.frame - first.frame <= 1, "{said}");
            assert_eq!(requests.iter().filter(|asked| asked.call == Call::List).count(), 1, "{said}");
            let of_parts = || requests.iter().filter(|asked| asked.call == Call::Get && !asked.name.ends_with(".json"));
            if with_manifest {
                assert_eq!(requests.len() as u64, 2 + table_parts + frame_parts, "{said}");
                assert!(requests.len() <= 5 || table_parts == 2, "{said}");
            } else {
                // Instead of the manifest the first part's header line, and that of every other part that is touched; parts that both
                // the table and the frames touch are asked twice.
                let most = 3 + 2 * (table_parts + frame_parts);
                assert!(requests.len() as u64 <= most, "{said}: more than {most}");
            }
            let fetched: u64 = of_parts().map(|asked| asked.bytes).sum();
            // Segments are opened whole: what surrounds the frames and the table in them is fetched too.
            let segments = (to - from).div_ceil(64 << 10) + 1 + 2;
            let headers = if with_manifest { 0 } else { (64 << 10) + 4096 * (1 + frame_parts) };
            assert!(fetched <= segments * SEALED + headers, "{fetched} of {} bytes, {said}", to - from);
            if !incompressible {
                assert!(fetched <= 2 * FRAME_CONTENT as u64 + (64 << 10), "{said}");
            }
        }
        assert!(crossed > 0, "no range crossed the edge of a part");
    }
}

#[tokio::test]
async fn a_retry_sends_the_very_bytes_that_were_sealed_once() {
    for when in [When::Before, When::After] {
        let (record, faults) = (Record::default(), Faults::new());
        let plain = Store::memory();
        let store = plain.clone().with_wrapper(|inner| faults.wrap(inner)).with_wrapper(|inner| record.wrap(inner));
        // Every second send is lost, on its way there or with its answer.
        for number in (3..100).step_by(2) {
            faults.fail(Call::Put, number..=number, when, Failure::Lost);
        }
        let store = store.with_retry(RetryOptions::brief());
        let made = back_up(&store, &content(2_000_000, true), native(Encryption::Raw(Secret([7; 32])))).await.unwrap();
        let mut sends: BTreeMap<String, Vec<[u8; 32]>> = BTreeMap::new();
        for (name, digest) in record.sent() {
            sends.entry(name).or_default().push(digest);
        }
        assert_eq!(sends.len(), made.parts as usize + 1);
        assert!(sends.values().filter(|digests| digests.len() > 1).count() > 2, "{when:?}: {sends:?}");
        for (name, digests) in &sends {
            let stored = backstay_testkit::sha256(&plain.get(name, 1 << 30).await.unwrap().unwrap());
            assert!(digests.iter().all(|digest| *digest == stored), "{when:?}: {name}");
        }
    }
}
