//! The verbs under the rights of each role. The rights are those of the table that policies are printed from, so that what is printed is what
//! suffices here; and what no run of a role asks for is no right of that role.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::common::{add_slots, back_up, content, context, native, objects, raw_keyring, read, recipient};
use backstay::audit::{Key, audit};
use backstay::catalog::freshness::freshness;
use backstay::catalog::{self, Filter};
use backstay::check::Verdict;
use backstay::copy::CopyOptions;
use backstay::gc::{Fate, GcOptions};
use backstay::keys::Encryption;
use backstay::policy::{OpensslReading, ReadPolicy};
use backstay::reassemble::{ReassembleOptions, reassemble};
use backstay::report::{Findings, record};
use backstay::retention::{Belief, Deed, Policy, PruneOptions, RmOptions, hold, note, prune, release, rm, tag};
use backstay::rewrap::{destroy_keys, export_secret};
use backstay::salvage::{SalvageOptions, salvage};
use backstay::verify::{Depth, verify};
use backstay::{RestoreOptions, Silent, check, copy, gc, repair};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::report::Level;
use backstay_format::schedule::Secret;
use backstay_store::{Operation, Role, Store};
use backstay_testkit::faults::Call;
use backstay_testkit::{Record, permitted, sha256};

/// One store, seen with the rights of a role, and what was asked of it.
struct Seen {
    store: Store,
    record: Record,
}

impl Seen {
    fn of(whole: &Store, role: Role) -> Seen {
        let record = Record::default();
        let store = whole.clone().with_wrapper(|objects| record.wrap(permitted(role, objects)));
        Seen { store, record }
    }

    /// What was asked for since the last call of this.
    fn operations(&self) -> BTreeSet<Operation> {
        let operation = |call| match call {
            Call::Put => Operation::Create,
            Call::Get | Call::Head => Operation::Read,
            Call::List => Operation::List,
            Call::Delete => Operation::Delete,
        };
        self.record.taken().iter().map(|asked| operation(asked.call)).collect()
    }
}

/// What a role may do to objects; the settings of a bucket are none.
fn rights(role: Role) -> BTreeSet<Operation> {
    role.operations().iter().copied().filter(|operation| *operation != Operation::Inspect).collect()
}

fn raw() -> backstay::BackupOptions {
    native(Encryption::Raw(Secret([7; 32])))
}

async fn copied(from: &Store, to: &Store, id: &ArchiveId) -> backstay::Result<copy::Copied> {
    copy(from, to, id, &CopyOptions::default(), &context(), Arc::new(Silent)).await
}

/// An archive of several parts.
async fn whole() -> (Store, ArchiveId, Vec<u8>) {
    let (store, bytes) = (Store::memory(), content(1_500_000, true));
    let id = back_up(&store, &bytes, raw()).await.unwrap().id;
    (store, id, bytes)
}

fn is_denied<T>(result: backstay::Result<T>) {
    assert_eq!(result.err().expect("it is not allowed").code(), "store.denied");
}

#[tokio::test]
async fn a_writer_backs_up_and_is_copied_to_and_needs_every_right_it_has() {
    let (other, id, bytes) = whole().await;
    let store = Store::memory();
    let writer = Seen::of(&store, Role::Writer);
    let made = back_up(&writer.store, &bytes, raw()).await.unwrap();
    assert_eq!(writer.operations(), rights(Role::Writer));
    copied(&other, &writer.store, &id).await.unwrap();
    for id in [made.id, id] {
        assert_eq!(read(&store, &id, &raw_keyring(), &RestoreOptions::default()).await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_writer_neither_reads_nor_overwrites_nor_deletes() {
    let (store, id, _) = whole().await;
    let writer = Seen::of(&store, Role::Writer).store;
    is_denied(read(&writer, &id, &raw_keyring(), &RestoreOptions::default()).await);
    is_denied(catalog::show(&writer, &id, &Keyring::default()).await);
    is_denied(copied(&writer, &Store::memory(), &id).await);
    let (name, body) = (id.part(0), "other bytes");
    let before = store.head(&name).await.unwrap().unwrap();
    let error = writer.create(&name, body.into(), sha256(body.as_bytes())).await.unwrap_err();
    assert_eq!(error.code(), "name.taken");
    assert_eq!(writer.delete(&name).await.unwrap_err().code(), "store.denied");
    assert_eq!(store.head(&name).await.unwrap().unwrap(), before);
    // What it leaves behind, it cannot clear away.
    let names: Vec<_> = catalog::list(&writer, &Filter::default(), false).await.unwrap();
    assert_eq!(names.len(), 1);
}

#[tokio::test]
async fn a_reader_does_everything_that_changes_nothing() {
    let (store, id, bytes) = whole().await;
    let reader = Seen::of(&store, Role::Reader);
    let filter = Filter::default();
    assert_eq!(catalog::list(&reader.store, &filter, true).await.unwrap().len(), 1);
    catalog::show(&reader.store, &id, &raw_keyring()).await.unwrap();
    assert_eq!(
        freshness(&reader.store, &filter, &Belief::default(), context().now()).await.unwrap()[0].points.len(),
        1
    );
    for depth in [Depth::Quick, Depth::Full, Depth::Deep] {
        let policy = ReadPolicy::default();
        let report = verify(&reader.store, &id, &raw_keyring(), depth, &policy, &context(), Arc::new(Silent)).await;
        assert!(report.unwrap().findings.is_empty());
    }
    assert_eq!(read(&reader.store, &id, &raw_keyring(), &RestoreOptions::default()).await.unwrap(), bytes);
    copied(&reader.store, &Store::memory(), &id).await.unwrap();
    let salvaging = SalvageOptions::default();
    let salvaged = salvage(&reader.store, &id, &raw_keyring(), &salvaging, &context(), Arc::new(Silent)).await.unwrap();
    assert_eq!((salvaged.content, salvaged.holes.len()), (bytes.len() as u64, 0));
    export_secret(&reader.store, &id, &raw_keyring()).await.unwrap();
    let key = Key { label: "raw".to_owned(), keyring: raw_keyring() };
    let audited = audit(&reader.store, vec![catalog::Selected::Archive(id.clone())], &[key], OpensslReading::default())
        .await
        .unwrap();
    assert_eq!(audited[0].opened_by, [0]);
    let folder = tempfile::tempdir().unwrap();
    let joining = ReassembleOptions { join: Some(folder.path().join("joined")), ..ReassembleOptions::default() };
    reassemble(&reader.store, &id, &raw_keyring(), &joining, &context(), Arc::new(Silent)).await.unwrap();
    assert_eq!(reader.operations(), rights(Role::Reader));
    is_denied(back_up(&reader.store, &bytes, raw()).await);
    assert_eq!(reader.store.delete(&id.part(0)).await.unwrap_err().code(), "store.denied");
    let yes = GcOptions { delete: true, ..GcOptions::default() };
    assert!(gc(&reader.store, &yes, &context()).await.unwrap().leftovers.is_empty());
}

#[tokio::test]
async fn a_pruner_clears_away_and_needs_every_right_it_has() {
    let (store, id, bytes) = whole().await;
    let left = back_up(&store, &bytes, raw()).await.unwrap().id;
    store.delete(&left.manifest()).await.unwrap();
    let pruner = Seen::of(&store, Role::Pruner);
    let yes = GcOptions { grace: std::time::Duration::ZERO, delete: true, whole: true };
    let leftovers = gc(&pruner.store, &yes, &context()).await.unwrap().leftovers;
    assert_eq!(leftovers.iter().map(|left| &left.fate).collect::<Vec<_>>(), [&Fate::Deleted]);
    assert_eq!(pruner.operations(), rights(Role::Pruner));
    assert_eq!(read(&store, &id, &raw_keyring(), &RestoreOptions::default()).await.unwrap(), bytes);
    is_denied(gc(&Seen::of(&store, Role::Writer).store, &yes, &context()).await);
}

/// Retention needs what a pruner has and no more; whoever writes can neither prune nor see to it that others do.
#[tokio::test]
async fn a_pruner_prunes_and_needs_every_right_it_has() {
    let store = Store::memory();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(back_up(&store, b"content", raw()).await.unwrap().id);
    }
    let options = PruneOptions {
        policy: Policy { last: 1, ..Policy::default() },
        grace: std::time::Duration::ZERO,
        delete: true,
        force: false,
        by: "test".to_owned(),
    };
    let (belief, planning) = (Belief::default(), PruneOptions { delete: false, ..options.clone() });
    is_denied(prune(&Seen::of(&store, Role::Writer).store, &options, &belief, &context()).await);
    is_denied(prune(&Seen::of(&store, Role::Reader).store, &options, &belief, &context()).await);
    let plan = prune(&Seen::of(&store, Role::Reader).store, &planning, &belief, &context()).await.unwrap();
    assert_eq!(plan.rows.len(), 3, "a reader sees what would go");
    let pruner = Seen::of(&store, Role::Pruner);
    let done = prune(&pruner.store, &options, &belief, &context()).await.unwrap();
    assert_eq!(done.rows.iter().filter(|row| row.deed == Deed::Deleted).count(), 2);
    assert_eq!(pruner.operations(), rights(Role::Pruner));
    hold(&pruner.store, &ids[2], "why", "test", &context()).await.unwrap();
    release(&pruner.store, &ids[2]).await.unwrap();
}

/// Verbs that add to an archive or take from it, and whether a writer's rights are enough.
const CHANGES: [(&str, bool); 10] = [
    ("note", true),
    ("tag", true),
    ("hold", true),
    ("release", false),
    ("verify --record", false),
    ("key rewrap", false),
    ("key destroy", false),
    ("reassemble", false),
    ("copy --repair", false),
    ("rm", false),
];

/// Makes a change to an archive in a store, of which there is a replica.
async fn change(verb: &str, store: &Store, replica: &Store, id: &ArchiveId, keyring: &Keyring) -> backstay::Result<()> {
    let (context, silent) = (context(), Arc::new(Silent));
    match verb {
        "note" => note(store, id, "text", "test", &context).await.map(drop),
        "tag" => tag(store, id, &["x".to_owned()], "test", &context).await.map(drop),
        "hold" => hold(store, id, "why", "test", &context).await.map(drop),
        "release" => release(store, id).await.map(drop),
        "verify --record" => {
            let findings = Findings { level: Level::Deep, good: true, by: "test".to_owned(), details: "{}".to_owned() };
            record(store, id, &findings, keyring, None, &context).await.map(drop)
        }
        "key rewrap" => {
            let new = [recipient(&age::x25519::Identity::generate())];
            add_slots(store, id, keyring, &new, None).await.map(drop)
        }
        "key destroy" => destroy_keys(store, id, "test", &context).await.map(drop),
        "reassemble" => {
            let options = ReassembleOptions::default();
            reassemble(store, id, keyring, &options, &context, silent).await.map(drop)
        }
        "copy --repair" => repair(store, replica, id, &CopyOptions::default(), &context, silent).await.map(drop),
        "rm" => {
            let options = RmOptions { delete: true, force: true, keep_members: false, by: "test".to_owned() };
            rm(store, id, &options, &Belief::default(), &context).await.map(drop)
        }
        other => unreachable!("{other}"),
    }
}

#[tokio::test]
async fn what_changes_an_archive_takes_a_pruner_and_nobody_else_changes_anything_by_trying() {
    let identity = age::x25519::Identity::generate();
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(identity.clone()));
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let made = Store::memory();
    let id = back_up(&made, &content(300_000, true), native(slots)).await.unwrap().id;
    let whole = objects(&made).await;
    let mut needed = BTreeSet::new();
    for (verb, by_writer) in CHANGES {
        let store = Store::memory();
        for (name, bytes) in &whole {
            // What there is to be made again, or to be put in the place of something else.
            let bytes = match (verb, name) {
                ("reassemble", name) if *name == id.manifest() => continue,
                ("copy --repair", name) if *name == id.part(0) => bytes.slice(1..),
                _ => bytes.clone(),
            };
            let digest = sha256(&bytes);
            store.create(name, bytes, digest).await.unwrap();
        }
        if verb == "release" {
            hold(&store, &id, "why", "test", &context()).await.unwrap();
        }
        let before = objects(&store).await;
        for role in [Role::Reader, Role::Writer] {
            let seen = Seen::of(&store, role);
            let outcome = change(verb, &seen.store, &made, &id, &keyring).await;
            if role == Role::Writer && by_writer {
                outcome.unwrap_or_else(|error| panic!("{verb} by a writer: {error}"));
                continue;
            }
            let error = outcome.err().unwrap_or_else(|| panic!("{verb} by a {role:?} is not refused"));
            assert_eq!(error.code(), "store.denied", "{verb} by a {role:?}: {error}");
            // A tombstone may have been put there, which is no more than anybody with that right can do.
            let after = objects(&store).await;
            assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)), "{verb} by a {role:?}");
            assert!(role == Role::Writer || after.len() == before.len(), "{verb} by a {role:?}");
        }
        let pruner = Seen::of(&store, Role::Pruner);
        change(verb, &pruner.store, &made, &id, &keyring).await.unwrap_or_else(|error| panic!("{verb}: {error}"));
        assert_ne!(objects(&store).await, before, "{verb} does nothing");
        needed.extend(pruner.operations());
    }
    assert_eq!(needed, rights(Role::Pruner));
}

#[tokio::test]
async fn a_check_tells_each_role_what_it_may_do() {
    let (store, ..) = whole().await;
    for (role, expected) in [
        (
            Role::Writer,
            [
                ("list", Verdict::Good),
                ("create", Verdict::Good),
                ("read", Verdict::Unknown),
                ("delete", Verdict::Unknown),
            ],
        ),
        (
            Role::Reader,
            [
                ("list", Verdict::Good),
                ("create", Verdict::Warning),
                ("read", Verdict::Unknown),
                ("delete", Verdict::Unknown),
            ],
        ),
        (
            Role::Pruner,
            [("list", Verdict::Good), ("create", Verdict::Good), ("read", Verdict::Good), ("delete", Verdict::Good)],
        ),
    ] {
        let report = check(&Seen::of(&store, role).store, &context()).await.unwrap();
        for (what, verdict) in expected {
            // What was not tried has no line.
            let found =
                report.items.iter().find(|item| item.what == what).map_or(Verdict::Unknown, |item| item.verdict);
            assert_eq!(found, verdict, "{role:?} {what}: {report:?}");
        }
        assert_eq!(report.left.len(), usize::from(role == Role::Writer), "{report:?}");
        assert_eq!(report.upload.is_some(), role == Role::Pruner);
        for name in report.left {
            assert!(store.head(&name).await.unwrap().unwrap().size < 64);
        }
    }
}
