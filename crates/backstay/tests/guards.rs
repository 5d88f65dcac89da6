//! What a guard has to stop: a repair with another archive's parts, floods that hide what was said of an archive, and what would be done to what is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{back_up, content, context, native, objects, options, raw_keyring, recipient, restored};
use age::x25519::Identity;
use backstay::backup::{BackupOptions, Format, Padding};
use backstay::convert::{ConvertOptions, convert};
use backstay::copy::CopyOptions;
use backstay::effort::Level;
use backstay::keys::Encryption;
use backstay::policy::OpensslReading;
use backstay::repair::Repaired;
use backstay::report::{Findings, record};
use backstay::retention::{Belief, Deed, Policy, PruneOptions, Pruned, Reason, hold, prune, release, tag};
use backstay::rewrap::{demand_no_hold, destroy_keys};
use backstay::set::{NewSet, SetOptions};
use backstay::{Context, Error, Observer, Silent, repair};
use backstay_format::header::Codec;
use backstay_format::key::{Keyring, MAX_KEYBOXES};
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::remark::Remark;
use backstay_format::report::Level as Depth;
use backstay_format::schedule::{Secret, sha256};
use backstay_format::segment::Aead;
use backstay_format::{ArchiveId, Word};
use backstay_store::Store;
use backstay_testkit::{Clocked, Faults};
use bytes::Bytes;
use jiff::Timestamp;

type Objects = BTreeMap<String, Bytes>;
/// Options cannot be cloned, for they hold keys.
type Making = fn() -> BackupOptions;

async fn put(store: &Store, name: &str, bytes: &[u8]) {
    store.create(name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
}

async fn store_of(objects: &Objects) -> Store {
    let store = Store::memory();
    for (name, bytes) in objects {
        put(&store, name, bytes).await;
    }
    store
}

async fn mend(store: &Store, replica: &Store, id: &ArchiveId) -> Result<Repaired, Error> {
    repair(store, replica, id, &CopyOptions::default(), &context(), Arc::new(Silent)).await
}

fn password() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    keyring
}

fn openssl(single: bool) -> BackupOptions {
    let kdf = Kdf::BytesToKey(Digest::Md5);
    let format = Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single };
    BackupOptions { part_size: Some(200_000), ..options(format) }
}

fn slots(detached: bool) -> Encryption {
    let recipients = vec![recipient(&Identity::generate())];
    Encryption::Slots { recipients, passphrase: None, detached }
}

fn anew(restart: bool) -> ConvertOptions {
    let (aead, codec, padding, encryption) = (Aead::Aes256Gcm, Codec::Zstd, Padding::None, slots(false));
    ConvertOptions {
        format: Format::Native { aead, codec, encryption, padding, signing_key: None },
        level: Level::Auto,
        memory: 64 << 20,
        part_size: Some(200_000),
        transfers: 2,
        openssl: OpensslReading::default(),
        reencrypt: true,
        restart,
    }
}

/// The same archive written anew, under its id.
async fn converted(from: &Store, id: &ArchiveId, keyring: &Keyring) -> Objects {
    let to = Store::memory();
    convert(from, &to, id, keyring, anew(false), &context(), Arc::new(Silent)).await.unwrap();
    objects(&to).await
}

fn without(objects: &Objects, names: &[String]) -> Objects {
    objects
        .iter()
        .filter(|(name, _)| !names.contains(name))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect()
}

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

#[tokio::test]
async fn an_archive_that_was_written_anew_is_no_replica_whatever_was_lost_of_the_first_one() {
    let sealed: [(&str, Making, Keyring); 3] = [
        ("openssl", || openssl(false), password()),
        ("openssl, single", || openssl(true), password()),
        ("native", native_of_raw_key, raw_keyring()),
    ];
    for (what, options, keyring) in sealed {
        for size in [700_000, 1000] {
            let store = Store::memory();
            let id = back_up(&store, &content(size, true), options()).await.unwrap().id;
            let (old, new) = (objects(&store).await, converted(&store, &id, &keyring).await);
            let manifest = [id.manifest()];
            // Either of the two, without its manifest, or with a damaged one, or with less; and the other as the replica.
            for (own, theirs) in [(&old, &new), (&new, &old)] {
                let lost = without(own, &manifest);
                let mut damaged = own.clone();
                damaged.insert(id.manifest(), Bytes::from_static(b"{\"backstay\":1"));
                let fewer = without(&lost, &[id.part(0)]);
                let mut cases = vec![lost, damaged];
                if !fewer.is_empty() {
                    cases.push(fewer);
                }
                for own in cases {
                    let store = store_of(&own).await;
                    let refused = mend(&store, &store_of(theirs).await, &id).await;
                    let error = refused.map(|_| ()).unwrap_err();
                    assert_eq!(error.code(), "replica.differs", "{what}, {size}: {error}");
                    assert_eq!(objects(&store).await, own, "{what}, {size}");
                }
            }
        }
    }
}

fn native_of_raw_key() -> BackupOptions {
    BackupOptions { part_size: Some(200_000), ..native(Encryption::Raw(Secret([7; 32]))) }
}

#[tokio::test]
async fn of_one_part_without_a_manifest_its_header_says_whose_it_is() {
    let store = Store::memory();
    let id = back_up(&store, &content(20_000, true), native(slots(false))).await.unwrap().id;
    let good = objects(&store).await;
    let (replica, part) = (store_of(&good).await, id.part(0));
    let without_manifest = without(&good, &[id.manifest()]);
    let with = |bytes: Bytes| {
        let mut objects = without_manifest.clone();
        objects.insert(part.clone(), bytes);
        objects
    };
    let whole = &good[&part];
    // The header is there: it is this archive's, and damaged.
    for bytes in [flipped(whole, whole.len() - 7), whole.slice(..whole.len() - 7)] {
        let store = store_of(&with(bytes)).await;
        let repaired = mend(&store, &replica, &id).await.unwrap();
        assert_eq!((repaired.changes.replaced, repaired.changes.restored), (vec![part.clone()], vec![id.manifest()]));
        assert_eq!(objects(&store).await, good);
    }
    // It is not, and what stands there may be worth more than what would replace it.
    for bytes in [Bytes::from_static(b"anything"), flipped(whole, 3), Bytes::new()] {
        let own = with(bytes);
        let store = store_of(&own).await;
        assert_eq!(mend(&store, &replica, &id).await.unwrap_err().code(), "replica.differs");
        assert_eq!(objects(&store).await, own);
    }
    // One part more than the replica's manifest knows.
    let mut more = without_manifest.clone();
    more.insert(id.part(1), Bytes::from_static(b"more"));
    let store = store_of(&more).await;
    let error = mend(&store, &replica, &id).await.unwrap_err();
    assert!(error.code() == "replica.differs" && error.to_string().contains(&id.part(1)), "{error}");
    assert_eq!(objects(&store).await, more);
}

#[tokio::test]
async fn what_the_replica_lacks_is_named_and_everything_else_is_mended() {
    let store = Store::memory();
    let options = BackupOptions { part_size: Some(70_000), ..native(Encryption::Raw(Secret([7; 32]))) };
    let id = back_up(&store, &content(500_000, true), options).await.unwrap().id;
    let good = objects(&store).await;
    let (lost, also) = ([id.part(0), id.part(2), id.part(5), id.manifest()], id.part(3));
    let (mut own, mut theirs) = (without(&good, &lost), without(&good, &[id.part(2)]));
    own.insert(also.clone(), Bytes::from_static(b"damaged"));
    theirs.insert(id.part(0), flipped(&good[&id.part(0)], 40_000));
    let (store, replica) = (store_of(&own).await, store_of(&theirs).await);
    let error = mend(&store, &replica, &id).await.unwrap_err();
    assert_eq!(error.code(), "part.digest", "{error}");
    let text = error.to_string();
    assert!(text.contains(&id.part(0)) && text.contains(&id.part(2)) && !text.contains(&id.part(5)), "{text}");
    assert!(text.contains("2 of its objects are mended") && text.contains(replica.url()), "{text}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains(&format!("{} in {}", id.part(0), replica.url())), "{cause}");
    // Only what the replica cannot give is missing, and nothing says that the archive is whole.
    assert_eq!(objects(&store).await, without(&good, &[id.part(0), id.part(2), id.manifest()]));
    // One alone is what the run ends with.
    let (store, replica) = (store_of(&without(&good, &[id.part(2)])).await, store_of(&theirs).await);
    let error = mend(&store, &replica, &id).await.unwrap_err();
    assert!(error.code() == "part.missing" && error.to_string().contains(replica.url()), "{error}");
}

#[tokio::test]
async fn a_keybox_that_differs_gets_the_replica_s_beside_it_and_is_never_called_good() {
    let identity = Identity::generate();
    let encryption = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity));
    let replica = Store::memory();
    let bytes = content(20_000, true);
    let id = back_up(&replica, &bytes, native(encryption)).await.unwrap().id;
    let good = objects(&replica).await;
    let whole = &good[&id.keybox(0)];
    for bad in [Bytes::new(), flipped(whole, whole.len() - 5), Bytes::from(vec![7; 200_000])] {
        let mut own = good.clone();
        own.insert(id.keybox(0), bad.clone());
        let store = store_of(&own).await;
        let first = mend(&store, &replica, &id).await.unwrap();
        assert_eq!((&first.changes.differing, &first.changes.added), (&vec![id.keybox(0)], &vec![id.keybox(1)]));
        assert!(first.changes.restored.is_empty() && first.changes.replaced.is_empty());
        own.insert(id.keybox(1), whole.clone());
        assert_eq!(objects(&store).await, own, "nothing is deleted");
        assert_eq!(restored(&store, &id, &keyring).await, bytes);
        // The next run has nothing to add, and says again what it cannot judge.
        let second = mend(&store, &replica, &id).await.unwrap();
        assert_eq!((second.changes.differing, second.changes.added), (vec![id.keybox(0)], Vec::new()));
        assert_eq!(objects(&store).await, own);
    }
    // Where readers would not look at one more, it is an error.
    let mut own = good.clone();
    for m in 0..u32::try_from(MAX_KEYBOXES).unwrap() {
        own.insert(id.keybox(m), Bytes::from(format!("other {m}")));
    }
    let store = store_of(&own).await;
    let error = mend(&store, &replica, &id).await.unwrap_err();
    assert!(error.to_string().contains(&id.keybox(0)), "{error}");
    assert_eq!(objects(&store).await, own);
}

#[tokio::test]
async fn keys_of_what_is_held_are_not_destroyed() {
    let (store, context) = (Store::memory(), context());
    let alone = back_up(&store, b"alone", native(slots(true))).await.unwrap().id;
    let encryption = Arc::new(slots(true));
    let observer: Arc<dyn Observer> = Arc::new(Silent);
    let options = SetOptions {
        guid: backstay::guid::from_name("guarded").unwrap(),
        name: "guarded".to_owned(),
        hide_name: false,
        tags: Vec::new(),
        source: "pg_dumpall",
        encryption: Arc::clone(&encryption),
        signing_key: None,
    };
    let mut new = NewSet::begin(&store, options, &context, &observer).await.unwrap();
    let mut members = Vec::new();
    for name in ["one", "two"] {
        let shared = native(Encryption::Shared(Arc::clone(&encryption)));
        let options = BackupOptions { guid: new.guid_of(name).unwrap(), name: name.to_owned(), ..shared };
        let receipt = back_up(&store, name.as_bytes(), options).await.unwrap();
        new.add(name.to_owned(), None, &receipt);
        members.push(receipt.id);
    }
    let set = new.commit(&store, BTreeMap::new(), &context).await.unwrap().id;

    for (held, id) in [(&alone, &alone), (&members[0], &members[0]), (&members[0], &members[1]), (&set, &members[1])] {
        // What holds a set is the same object; only its command comes elsewhere.
        let name = held.sidecar(Word::Hold, 7);
        put(&store, &name, b"whatever").await;
        let before = objects(&store).await;
        let error = destroy_keys(&store, id, "test", &context).await.unwrap_err();
        assert_eq!(error.code(), "retention.held", "{error}");
        assert_eq!(demand_no_hold(&store, id).await.unwrap_err().to_string(), error.to_string());
        assert_eq!(objects(&store).await, before);
        store.delete(&name).await.unwrap();
    }
    // A hold on anything else does not matter.
    hold(&store, &alone, "why", "ops", &context).await.unwrap();
    assert_eq!(destroy_keys(&store, &members[1], "test", &context).await.unwrap(), [members[1].keybox(0)]);
    release(&store, &alone).await.unwrap();
    destroy_keys(&store, &alone, "test", &context).await.unwrap();
}

#[tokio::test]
async fn a_conversion_that_begins_again_leaves_no_marker_over_what_is_held() {
    let store = Store::memory();
    let id = back_up(&store, &content(700_000, true), openssl(false)).await.unwrap().id;
    let mut there = without(&converted(&store, &id, &password()).await, &[id.manifest()]);
    let held = id.sidecar(Word::Hold, 7);
    there.insert(held.clone(), Bytes::from_static(b"whatever"));
    let to = store_of(&there).await;
    let again = |to: Store| {
        let (store, id) = (store.clone(), id.clone());
        async move { convert(&store, &to, &id, &password(), anew(true), &context(), Arc::new(Silent)).await }
    };
    assert_eq!(again(to.clone()).await.unwrap_err().code(), "name.taken");
    assert_eq!(objects(&to).await, there);
    // A hold that comes with the marker: the marker goes again. The first create is the probe's.
    let to = store_of(&without(&there, &[held.clone()])).await;
    let faults = Faults::new();
    let racing = to.clone().with_wrapper(|inner| faults.wrap(inner));
    let intruder = held.clone();
    faults.intrude(2, move |_, _| (intruder, Bytes::from_static(b"whatever")));
    assert_eq!(again(racing).await.unwrap_err().code(), "name.taken");
    assert_eq!(objects(&to).await, there);
    // Without one it is cleared away.
    to.delete(&held).await.unwrap();
    again(to.clone()).await.unwrap();
}

/// 2026-01-01T02:00:00Z
const BEGIN: u64 = 1_767_232_800_000;
const DAY: Duration = Duration::from_secs(86_400);

/// A store whose time a test sets, a machine with the same time, and an archive of each of the last days.
async fn days(guid: &str, number: usize) -> (Clocked, Store, Context, Vec<ArchiveId>) {
    let clock = Clocked::at(BEGIN);
    let (store, ticking) = (clock.store(), clock.clone());
    let now = move || Timestamp::from_millisecond(i64::try_from(ticking.millis()).unwrap()).unwrap();
    let context = context().with_clock(now);
    let mut ids = Vec::new();
    for _ in 0..number {
        let options = BackupOptions { guid: guid.parse().unwrap(), ..native(Encryption::Raw(Secret([7; 32]))) };
        let source = backstay::source::Source::Reader(Box::new(std::io::Cursor::new(b"content".to_vec())));
        ids.push(backstay::backup(&store, source, options, &context, Arc::new(Silent)).await.unwrap().id);
        clock.pass(DAY);
    }
    (clock, store, context, ids)
}

async fn pruned(store: &Store, policy: Policy, belief: &Belief, context: &Context) -> Pruned {
    let options = PruneOptions { policy, grace: Duration::ZERO, delete: true, force: false, by: "test".to_owned() };
    prune(store, &options, belief, context).await.unwrap()
}

fn fate(pruned: &Pruned, id: &ArchiveId) -> (Deed, Reason) {
    let row = pruned.rows.iter().find(|row| row.id == *id).unwrap();
    (row.deed.clone(), row.reasons[0].clone())
}

#[tokio::test]
async fn a_tag_that_keeps_cannot_be_hidden_behind_a_flood_of_others() {
    let (_, store, context, ids) = days("de2fe9e4-6535-423d-8710-000000000001", 4).await;
    tag(&store, &ids[0], &["keep".to_owned()], "ops", &context).await.unwrap();
    let junk = |id: &ArchiveId| Remark {
        id: id.clone(),
        word: Word::Tag,
        at: String::new(),
        by: String::new(),
        text: String::new(),
        tags: vec!["junk".to_owned()],
    };
    for number in 1000..1064 {
        for id in &ids[..2] {
            put(&store, &id.sidecar(Word::Tag, number), &junk(id).encode()).await;
        }
    }
    // One more than is read on the first, exactly as many on the second.
    let policy = Policy { last: 1, tags: ["keep".to_owned()].into(), ..Policy::default() };
    let done = pruned(&store, policy, &Belief::default(), &context).await;
    assert_eq!(fate(&done, &ids[0]), (Deed::Kept, Reason::UnreadTags));
    assert_eq!(fate(&done, &ids[1]).0, Deed::Deleted);
    // Where no tag keeps, tags do not matter.
    let policy = Policy { last: 1, ..Policy::default() };
    assert_eq!(fate(&pruned(&store, policy, &Belief::default(), &context).await, &ids[0]).0, Deed::Deleted);
}

#[tokio::test]
async fn a_report_cannot_be_hidden_behind_a_flood_of_others() {
    let (clock, store, context, ids) = days("de2fe9e4-6535-423d-8710-000000000002", 2).await;
    let bad = Findings { level: Depth::Full, good: false, by: "drill".to_owned(), details: "{}".to_owned() };
    record(&store, &ids[1], &bad, &raw_keyring(), None, &context).await.unwrap();
    let belief = Belief { keyring: raw_keyring(), ..Belief::default() };
    let policy = Policy { last: 1, ..Policy::default() };
    let mut junk = 0;
    // The eight that were enough once, and more than are ever read.
    for (number, reason) in [(8, Reason::FoundBad), (100, Reason::UnreadReports)] {
        clock.pass(Duration::from_secs(60));
        while junk < number {
            put(&store, &ids[1].sidecar(Word::Verified, 9_000_000_000_000 + junk), b"junk").await;
            junk += 1;
        }
        let done = pruned(&store, policy.clone(), &belief, &context).await;
        assert_eq!(fate(&done, &ids[1]), (Deed::PassedOver, reason));
        assert_eq!(fate(&done, &ids[0]).0, Deed::Kept, "it is the newest good one");
    }
    // Nobody believes a report here, so that none can be hidden.
    let done = pruned(&store, policy, &Belief::default(), &context).await;
    assert_eq!(fate(&done, &ids[1]).0, Deed::Kept);
    let left: BTreeSet<ArchiveId> = done.rows.iter().map(|row| row.id.clone()).collect();
    assert!(left.contains(&ids[1]));
}
