//! The process ends at any call to the store, before the call took effect or after it and before its answer. Whatever was
//! going on: no archive is recorded that is not whole, none is lost, and the next run works.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::common::{
    add_slots, back_up, content, context, member_text, native, options, raw_keyring, read, recipient, set_of,
};
use backstay::backup::{Also, BackupOptions, Format};
use backstay::catalog::{self, Filter, State};
use backstay::copy::{CopyOptions, copy};
use backstay::gc::{GcOptions, gc};
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::reassemble::{ReassembleOptions, reassemble};
use backstay::retention::{Belief, Policy, PruneOptions, RmOptions, hold, note, prune, rm};
use backstay::rewrap::{NewSlots, destroy_keys, every, rewrap};
use backstay::set;
use backstay::verify::{Depth, verify};
use backstay::{RestoreOptions, Silent};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::{Secret, sha256};
use backstay_store::{RetryOptions, Store};
use backstay_testkit::Faults;
use backstay_testkit::faults::When;
use futures::TryStreamExt as _;

type Objects = BTreeMap<String, Vec<u8>>;

/// Small contents whose first bytes tell them apart.
pub(crate) fn text(first: u8) -> Vec<u8> {
    let mut content = content(150_000, true);
    content[0] = first;
    content
}

fn small(mut options: BackupOptions) -> BackupOptions {
    options.part_size = Some(70_000);
    options
}

fn zstd() -> BackupOptions {
    small(native(Encryption::Raw(Secret([7; 32]))))
}

fn openssl() -> BackupOptions {
    let kdf = Kdf::BytesToKey(Digest::Md5);
    small(options(Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false }))
}

/// One object, which is written as it grows.
pub(crate) fn single() -> BackupOptions {
    let kdf = Kdf::BytesToKey(Digest::Md5);
    small(options(Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: true }))
}

type Kind = (fn() -> BackupOptions, fn() -> Keyring);
const KINDS: [Kind; 3] = [(zstd, raw_keyring), (openssl, password), (single, password)];

static READER: LazyLock<age::x25519::Identity> = LazyLock::new(age::x25519::Identity::generate);

/// Its only slot is in a keybox, without which nothing opens it.
fn detached() -> BackupOptions {
    small(native(Encryption::Slots { recipients: vec![recipient(&READER)], passphrase: None, detached: true }))
}

fn reader() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_identity(Box::new(READER.clone()));
    keyring
}

pub(crate) fn password() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    keyring
}

async fn objects(store: &Store) -> Objects {
    let names: Vec<String> = store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap();
    let mut objects = Objects::new();
    for name in names {
        let bytes = store.get(&name, 1 << 30).await.unwrap().unwrap();
        objects.insert(name, bytes.to_vec());
    }
    objects
}

async fn store_of(objects: &Objects) -> Store {
    let store = Store::memory();
    for (name, bytes) in objects {
        store.create(name, bytes.clone().into(), sha256(bytes)).await.unwrap();
    }
    store
}

/// An archive that was there before.
pub(crate) struct Kept {
    pub(crate) id: ArchiveId,
    pub(crate) content: Vec<u8>,
    pub(crate) keyring: fn() -> Keyring,
}

impl Kept {
    pub(crate) async fn is_whole(&self, store: &Store) {
        let found = read(store, &self.id, &(self.keyring)(), &RestoreOptions::default()).await;
        assert!(found.is_ok_and(|found| found == self.content), "{} was lost or changed", self.id);
    }
}

/// Whatever is listed as committed verifies, and restores to one of these contents.
pub(crate) async fn nothing_is_wrongly_committed(
    store: &Store,
    keyring: fn() -> Keyring,
    contents: &[Vec<u8>],
) -> usize {
    let listed = catalog::list(store, &Filter::default(), true).await.unwrap();
    for entry in &listed {
        assert_eq!(entry.state, State::Committed);
        // The first part of an openssl stream may be all of what another writer made, which makes no manifests.
        if entry.name.is_none() && entry.parts == 1 {
            continue;
        }
        let (policy, silent) = (ReadPolicy::default(), Arc::new(Silent));
        let report = verify(store, &entry.id, &keyring(), Depth::Deep, &policy, &context(), silent).await.unwrap();
        assert!(report.is_good(), "{:?}", report.findings);
        let found = read(store, &entry.id, &keyring(), &RestoreOptions::default()).await.unwrap();
        assert!(contents.contains(&found), "{} restores to something else", entry.id);
    }
    listed.iter().filter(|entry| entry.name.is_some() || entry.parts > 1).count()
}

/// Runs `work` again and again, each time on the same objects, and ends it at its first call, its second, and so on until
/// it gets through; then looks at what is left with `judge`, which is told whether it got through. Gives how many calls there were.
async fn crash_everywhere<W, J>(
    before: &Objects,
    mut work: impl FnMut(Store) -> W,
    mut judge: impl FnMut(Store, bool) -> J,
) -> usize
where
    W: Future<Output = ()>,
    J: Future<Output = ()>,
{
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let store = store_of(before).await;
            let faults = Faults::new();
            let mortal = store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never());
            faults.crash_at(number, when);
            got_through = tokio::select! {
                () = work(mortal) => true,
                () = faults.crashed() => false,
            };
            judge(store, got_through).await;
        }
        if got_through {
            return number - 1;
        }
        assert!(number < 500, "it does not end");
    }
    unreachable!("the loop ends by returning")
}

#[tokio::test]
async fn a_backup_that_dies_at_any_call_leaves_the_others_whole_and_the_next_one_works() {
    for (options, keyring) in KINDS {
        let store = Store::memory();
        let id = back_up(&store, &text(0), options()).await.unwrap().id;
        let kept = Kept { id, content: text(0), keyring };
        let kept = &kept;
        let calls = crash_everywhere(
            &objects(&store).await,
            |store| async move {
                back_up(&store, &text(1), options()).await.unwrap();
            },
            |store, got_through| async move {
                kept.is_whole(&store).await;
                let archives = nothing_is_wrongly_committed(&store, keyring, &[text(0), text(1)]).await;
                assert!((1..=2).contains(&archives) && (archives == 2 || !got_through));
                back_up(&store, &text(2), options()).await.unwrap();
                let after = nothing_is_wrongly_committed(&store, keyring, &[text(0), text(1), text(2)]).await;
                assert_eq!(after, archives + 1);
            },
        )
        .await;
        // At least what there is of the stream, the manifest, and a listing.
        assert!(calls >= 4, "{calls}");
    }
}

#[tokio::test]
async fn a_backup_to_two_stores_that_dies_at_any_call_commits_nothing_by_halves_in_either() {
    let content = text(1);
    for number in 1.. {
        let mut got_through = false;
        for when in [When::Before, When::After] {
            let (stores, faults) = ([Store::memory(), Store::memory()], Faults::new());
            // One process: the calls to both stores are counted together.
            let mortal = stores
                .each_ref()
                .map(|store| store.clone().with_wrapper(|inner| faults.wrap(inner)).with_retry(RetryOptions::never()));
            faults.crash_at(number, when);
            let mut options = zstd();
            options.also = Some(Also { store: mortal[1].clone(), required: false });
            got_through = tokio::select! {
                made = back_up(&mortal[0], &content, options) => made.is_ok(),
                () = faults.crashed() => false,
            };
            for store in &stores {
                let archives = nothing_is_wrongly_committed(store, raw_keyring, &[text(1)]).await;
                assert!(archives == 1 || !got_through);
            }
            let mut options = zstd();
            options.also = Some(Also { store: stores[1].clone(), required: true });
            back_up(&stores[0], &text(2), options).await.unwrap();
            // What one of the two has can be copied to the other.
            for (from, to) in [(0, 1), (1, 0)] {
                for entry in catalog::list(&stores[from], &Filter::default(), false).await.unwrap() {
                    let (options, context) = (CopyOptions::default(), context());
                    copy(&stores[from], &stores[to], &entry.id, &options, &context, Arc::new(Silent)).await.unwrap();
                }
            }
            let archives = nothing_is_wrongly_committed(&stores[0], raw_keyring, &[text(1), text(2)]).await;
            assert_eq!(archives, nothing_is_wrongly_committed(&stores[1], raw_keyring, &[text(1), text(2)]).await);
        }
        if got_through {
            assert!(number > 12, "{number}");
            return;
        }
        assert!(number < 500, "it does not end");
    }
}

#[tokio::test]
async fn a_gc_that_dies_at_any_call_never_touches_an_archive_and_the_next_one_finishes() {
    let store = Store::memory();
    let id = back_up(&store, &text(0), zstd()).await.unwrap().id;
    let kept = Kept { id, content: text(0), keyring: raw_keyring };
    let kept = &kept;
    let identity = age::x25519::Identity::generate();
    let slots = Encryption::Slots { recipients: vec![recipient(&identity)], passphrase: None, detached: true };
    let interrupted = back_up(&store, &text(1), small(native(slots))).await.unwrap().id;
    store.delete(&interrupted.manifest()).await.unwrap();
    store.delete(&interrupted.part(1)).await.unwrap();
    let interrupted = &interrupted;
    let all = || GcOptions { grace: Duration::ZERO, delete: true, whole: true };
    let before = objects(&store).await;
    assert!(before.contains_key(&interrupted.keybox(0)) && before.contains_key(&interrupted.part(0)));
    let calls = crash_everywhere(
        &before,
        |store| async move {
            gc(&store, &all(), &context()).await.unwrap();
        },
        |store, _| async move {
            kept.is_whole(&store).await;
            assert_eq!(nothing_is_wrongly_committed(&store, raw_keyring, &[text(0)]).await, 1);
            // Never parts without their keyboxes under an id that could still be committed.
            let left = objects(&store).await;
            if !left.contains_key(&interrupted.keybox(0)) {
                assert!(left.contains_key(&interrupted.manifest()), "the marker stands before anything goes");
            }
            gc(&store, &all(), &context()).await.unwrap();
            gc(&store, &all(), &context()).await.unwrap();
            let left = objects(&store).await;
            let strangers: Vec<_> = left.keys().filter(|name| !name.starts_with(kept.id.as_str())).collect();
            assert!(strangers.is_empty(), "{strangers:?}");
            kept.is_whole(&store).await;
        },
    )
    .await;
    assert!(calls >= 10, "{calls}");
}

/// What a store holds besides these archives, but for the one tombstone of each source that says when it was last pruned.
async fn strangers(store: &Store, kept: &[&ArchiveId]) -> Vec<String> {
    let mut names: Vec<String> = objects(store).await.into_keys().collect();
    names.retain(|name| !kept.iter().any(|id| name.starts_with(id.as_str())));
    let tombstones = names.iter().filter(|name| name.ends_with(".expired")).count();
    if tombstones <= 1 {
        names.retain(|name| !name.ends_with(".expired"));
    }
    names
}

#[tokio::test]
async fn a_prune_that_dies_at_any_call_loses_nothing_that_is_kept_and_the_next_one_finishes() {
    for (options, keyring) in KINDS {
        let store = Store::memory();
        let mut ids = Vec::new();
        for first in 0..4 {
            ids.push(back_up(&store, &text(first), options()).await.unwrap().id);
        }
        hold(&store, &ids[1], "x", "x", &context()).await.unwrap();
        note(&store, &ids[0], "x", "x", &context()).await.unwrap();
        // An older deletion that was interrupted after the manifest and the first part.
        store.delete(&ids[2].manifest()).await.unwrap();
        let whole = store.head(ids[2].as_str()).await.unwrap();
        store.delete(&whole.map_or(ids[2].part(0), |object| object.name)).await.unwrap();
        store.create(&ids[2].tombstone(), "{}".into(), sha256(b"{}")).await.unwrap();
        let kept = [1, 3].map(|at| Kept { id: ids[at].clone(), content: text(u8::try_from(at).unwrap()), keyring });
        let (kept, ids) = (&kept, &ids);
        let policy = Policy { last: 1, ..Policy::default() };
        let pruning = || PruneOptions {
            policy: policy.clone(),
            grace: Duration::ZERO,
            delete: true,
            force: false,
            by: "x".to_owned(),
        };
        let pruning = &pruning;
        let calls = crash_everywhere(
            &objects(&store).await,
            |store| async move {
                prune(&store, &pruning(), &Belief::default(), &context()).await.unwrap();
            },
            |store, _| async move {
                for kept in kept {
                    kept.is_whole(&store).await;
                }
                let contents: Vec<_> = (0..4).map(text).collect();
                let archives = nothing_is_wrongly_committed(&store, keyring, &contents).await;
                assert!((2..=3).contains(&archives), "{archives}");
                prune(&store, &pruning(), &Belief::default(), &context()).await.unwrap();
                let probe = |name: &String| name.starts_with("backstay-probe-");
                let mut left = strangers(&store, &[&ids[1], &ids[3]]).await;
                left.retain(|name| !probe(name));
                assert_eq!(left, [""; 0]);
                for kept in kept {
                    kept.is_whole(&store).await;
                }
            },
        )
        .await;
        assert!(calls >= 20, "{calls}");
    }
}

#[tokio::test]
async fn an_rm_that_dies_at_any_call_leaves_no_half_of_an_archive_that_looks_whole_and_the_next_one_finishes() {
    for (options, keyring) in KINDS {
        let store = Store::memory();
        let id = back_up(&store, &text(0), options()).await.unwrap().id;
        let kept = Kept { id: back_up(&store, &text(1), options()).await.unwrap().id, content: text(1), keyring };
        let (id, kept) = (&id, &kept);
        let removing = || RmOptions { delete: true, force: false, keep_members: false, by: "x".to_owned() };
        let calls = crash_everywhere(
            &objects(&store).await,
            |store| async move {
                rm(&store, id, &removing(), &Belief::default(), &context()).await.unwrap();
            },
            |store, _| async move {
                kept.is_whole(&store).await;
                nothing_is_wrongly_committed(&store, keyring, &[text(0), text(1)]).await;
                // When nothing but what was said of it is left, there is no archive to delete.
                match rm(&store, id, &removing(), &Belief::default(), &context()).await {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.code(), "archive.not-found"),
                }
                let all = GcOptions { grace: Duration::ZERO, delete: true, whole: false };
                gc(&store, &all, &context()).await.unwrap();
                assert_eq!(strangers(&store, &[&kept.id]).await, [""; 0]);
                kept.is_whole(&store).await;
            },
        )
        .await;
        assert!(calls >= 8, "{calls}");
    }
}

#[tokio::test]
async fn a_writer_and_gc_at_any_step_of_each_other_make_a_whole_archive_or_none() {
    // The writer dies at each call in turn; gc clears away; then the same writer is thought to go on: its commit.
    let store = Store::memory();
    let id = back_up(&store, &text(1), zstd()).await.unwrap().id;
    let whole = objects(&store).await;
    let manifest = &whole[&id.manifest()];
    let mut parts_only = whole.clone();
    parts_only.remove(&id.manifest());
    let (id, manifest) = (&id, manifest);
    let all = || GcOptions { grace: Duration::ZERO, delete: true, whole: true };
    let calls = crash_everywhere(
        &parts_only,
        |store| async move {
            gc(&store, &all(), &context()).await.unwrap();
        },
        |store, _| async move {
            let committed = store.create(&id.manifest(), manifest.clone().into(), sha256(manifest)).await.is_ok();
            let archives = nothing_is_wrongly_committed(&store, raw_keyring, &[text(1)]).await;
            assert_eq!(archives, usize::from(committed), "what is committed is whole");
        },
    )
    .await;
    assert!(calls >= 8, "{calls}");
}

#[tokio::test]
async fn a_copy_that_dies_at_any_call_of_either_store_is_no_archive_and_the_next_one_finishes() {
    let detached: Kind = (detached, reader);
    for (options, keyring) in KINDS.into_iter().chain([detached]) {
        let from = Store::memory();
        let id = back_up(&from, &text(1), options()).await.unwrap().id;
        if from.head(&id.keybox(0)).await.unwrap().is_some() {
            // A second keybox, which the archive opens without.
            add_slots(&from, &id, &keyring(), &[recipient(&age::x25519::Identity::generate())], None).await.unwrap();
        }
        let whole = objects(&from).await;
        let there = Store::memory();
        let kept = Kept { id: back_up(&there, &text(0), options()).await.unwrap().id, content: text(0), keyring };
        let before = objects(&there).await;
        let (id, whole, kept, before) = (&id, &whole, &kept, &before);
        let transfer = |from: Store, to: Store| async move {
            copy(&from, &to, id, &CopyOptions::default(), &context(), Arc::new(Silent)).await.map(|_| ())
        };
        let calls = crash_everywhere(
            before,
            |to| async move { transfer(store_of(whole).await, to).await.unwrap() },
            |to, got_through| async move {
                kept.is_whole(&to).await;
                // What is committed opens: its keyboxes were there before the manifest.
                let archives = nothing_is_wrongly_committed(&to, keyring, &[text(0), text(1)]).await;
                assert!((1..=2).contains(&archives) && (archives == 2 || !got_through));
                transfer(store_of(whole).await, to.clone()).await.unwrap();
                assert_eq!(nothing_is_wrongly_committed(&to, keyring, &[text(0), text(1)]).await, 2);
                let after = objects(&to).await;
                assert!(whole.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
                assert_eq!(after.len(), whole.len() + before.len());
            },
        )
        .await;
        // Each part is looked for and sent, and so are the keyboxes and the manifest.
        assert!(calls >= whole.len() + 2, "{calls} for {} objects", whole.len());
        // The store that is read from is not changed by it, whenever it ends.
        crash_everywhere(
            whole,
            |from| async move { transfer(from, store_of(before).await).await.unwrap() },
            |from, _| async move { assert!(objects(&from).await == *whole) },
        )
        .await;
    }
}

#[tokio::test]
async fn a_rewrap_that_dies_at_any_call_loses_no_key() {
    let store = Store::memory();
    let identity = age::x25519::Identity::generate();
    let (old, new) = (&identity, &age::x25519::Identity::generate());
    let slots = Encryption::Slots { recipients: vec![recipient(old)], passphrase: None, detached: true };
    let id = back_up(&store, &text(0), small(native(slots))).await.unwrap().id;
    let id = &id;
    let opens = |identity: &age::x25519::Identity| {
        let mut keyring = Keyring::default();
        keyring.add_identity(Box::new(identity.clone()));
        keyring
    };
    let opens = &opens;
    let before = objects(&store).await;
    let calls = crash_everywhere(
        &before,
        |store| async move {
            add_slots(&store, id, &opens(old), &[recipient(new)], None).await.unwrap();
        },
        |store, got_through| async move {
            let found = read(&store, id, &opens(old), &RestoreOptions::default()).await.unwrap();
            assert!(found == text(0), "the old key still opens");
            let by_new = read(&store, id, &opens(new), &RestoreOptions::default()).await;
            assert!(by_new.is_ok() || !got_through);
            add_slots(&store, id, &opens(old), &[recipient(new)], None).await.unwrap();
            assert!(read(&store, id, &opens(new), &RestoreOptions::default()).await.unwrap() == text(0));
        },
    )
    .await;
    assert!(calls >= 4, "{calls}");
    // And a destruction that dies is finished by the next one.
    crash_everywhere(
        &before,
        |store| async move {
            destroy_keys(&store, id, "test", &context()).await.unwrap();
        },
        |store, _| async move {
            let again = destroy_keys(&store, id, "test", &context()).await;
            assert!(again.is_ok() || again.is_err_and(|error| error.to_string().contains("destroyed already")));
            let code = read(&store, id, &opens(old), &RestoreOptions::default()).await.unwrap_err().code();
            assert_eq!(code, "key.not-found");
        },
    )
    .await;
}

/// A whole run over several archives and a set, as `key rewrap --all` makes it.
async fn rewrap_all(store: &Store, old: &Keyring, new: &[Box<dyn age::Recipient + Send + Sync>], unless: &Keyring) {
    let slots = NewSlots { recipients: new, passphrase: None, unless_opened_by: unless };
    for one in every(store, &Filter::default(), &context()).await.unwrap() {
        rewrap(store, &one, old, &slots, &context()).await.unwrap();
    }
}

#[tokio::test]
async fn a_rewrap_of_everything_that_dies_at_any_call_loses_no_key_and_the_next_one_completes_it() {
    let store = Store::memory();
    let (old, new) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let slots = |detached| Encryption::Slots { recipients: vec![recipient(&old)], passphrase: None, detached };
    let mut archives = Vec::new();
    for (first, detached) in [(0, false), (1, true)] {
        let id = back_up(&store, &text(first), small(native(slots(detached)))).await.unwrap().id;
        archives.push((id, text(first)));
    }
    let set = set_of(&store, &Arc::new(slots(true)), "rewrapped", &["a"], &context()).await;
    archives.push((set.members[0].id.clone(), member_text("a")));
    let ring = |identity: &age::x25519::Identity| {
        let mut keyring = Keyring::default();
        keyring.add_identity(Box::new(identity.clone()));
        keyring
    };
    let (old, by_new, new) = (&ring(&old), &ring(&new), &[recipient(&new)]);
    let (set, archives) = (&set.id, &archives);
    let opens = async |store: &Store, keyring: &Keyring| {
        for (id, text) in archives {
            assert!(read(store, id, keyring, &RestoreOptions::default()).await.unwrap() == *text, "{id}");
        }
        let opened = set::open(store, set, keyring, &ReadPolicy::default()).await.unwrap();
        assert!(opened.private.unwrap().contains("15.4"), "the private facts of the set");
    };
    let opens = &opens;
    let before = &objects(&store).await;
    let calls = crash_everywhere(
        before,
        |store| async move { rewrap_all(&store, old, new, by_new).await },
        |store, got_through| async move {
            opens(&store, old).await;
            if got_through {
                opens(&store, by_new).await;
            }
            rewrap_all(&store, old, new, by_new).await;
            opens(&store, old).await;
            opens(&store, by_new).await;
            // Nothing is done twice: one new slot each, and what was there is as it was.
            let after = objects(&store).await;
            assert_eq!(after.len(), before.len() + archives.len() + 1);
            assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));
            rewrap_all(&store, old, new, by_new).await;
            assert!(objects(&store).await == after);
        },
    )
    .await;
    assert!(calls >= 20, "{calls}");
}

#[tokio::test]
async fn a_reassemble_that_dies_at_any_call_leaves_the_parts_and_the_next_one_makes_the_manifest() {
    for (options, keyring) in KINDS {
        for damaged in [false, true] {
            let store = Store::memory();
            let id = back_up(&store, &text(0), options()).await.unwrap().id;
            let mut before = objects(&store).await;
            match damaged {
                true => before.insert(id.manifest(), b"{\"backstay\":1,".to_vec()),
                false => before.remove(&id.manifest()),
            };
            let id = &id;
            let again = || ReassembleOptions { replace: true, name: Some("pg-main".to_owned()), ..Default::default() };
            let calls = crash_everywhere(
                &before,
                |store| async move {
                    reassemble(&store, id, &keyring(), &again(), &context(), Arc::new(Silent)).await.unwrap();
                },
                |store, _| async move {
                    // It may have been made before the process ended.
                    if let Err(error) = reassemble(&store, id, &keyring(), &again(), &context(), Arc::new(Silent)).await
                    {
                        assert!(error.to_string().contains("nothing to rebuild"), "{error}");
                    }
                    assert_eq!(nothing_is_wrongly_committed(&store, keyring, &[text(0)]).await, 1);
                },
            )
            .await;
            assert!(calls >= 4, "{calls}");
        }
    }
}
