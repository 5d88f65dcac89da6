//! The catalog is what the listing says: every kind of archive is listed as what it is, and a selector means one archive
//! or is refused.

use std::collections::BTreeMap;

use crate::common::{self, back_up, content, native, open, raw_keyring};
use backstay::catalog::{Entry, Filter, State, list, select, show};
use backstay::guid;
use backstay::keys::Encryption;
use backstay::policy::ProfileName;
use backstay_format::header::Kind;
use backstay_format::key::Keyring;
use backstay_format::manifest::aborted_marker;
use backstay_format::schedule::{Secret, sha256};
use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;

const GUID: &str = "de2fe9e4-6535-423d-8709-dca87df7985c";

fn raw() -> Encryption {
    Encryption::Raw(Secret([7; 32]))
}

async fn put(store: &Store, name: &str, bytes: &[u8]) {
    store.create(name, bytes.to_vec().into(), sha256(bytes)).await.unwrap();
}

/// A header of openssl and one block.
const SHORTEST: &[u8] = b"Salted__12345678abcdefghijklmnop";

/// Archives are made at once, so they are given ids of their own by copying. Only what no byte of it says may change, so
/// this is for what the catalog does not read.
async fn rename(store: &Store, from: &ArchiveId, to: &str) {
    use futures::TryStreamExt as _;
    let objects: Vec<_> = store.list(from.as_str(), None).try_collect().await.unwrap();
    for object in objects {
        let bytes = store.get(&object.name, u64::MAX).await.unwrap().unwrap();
        put(store, &object.name.replace(from.as_str(), to), &bytes).await;
        store.delete(&object.name).await.unwrap();
    }
}

async fn named(store: &Store, name: &str) -> ArchiveId {
    let mut options = native(raw());
    options.guid = guid::from_name(name).unwrap();
    options.name = name.to_owned();
    back_up(store, &content(1000, false), options).await.unwrap().id
}

fn by_id(entries: Vec<Entry>) -> BTreeMap<String, Entry> {
    entries.into_iter().map(|entry| (entry.id.to_string(), entry)).collect()
}

async fn refused(store: &Store, selector: &str, filter: &Filter) -> (&'static str, String) {
    let error = select(store, selector, filter).await.unwrap_err();
    (error.code(), error.to_string())
}

#[tokio::test]
async fn every_kind_of_archive_is_listed_as_what_it_is() {
    let store = Store::memory();
    let mut options = native(raw());
    options.tags = vec!["nightly".to_owned()];
    let receipt = back_up(&store, &content(2_000_000, true), options).await.unwrap();
    let id = |tail: &str| format!("{GUID}-{tail}");
    // Old archives: in seconds with parts of one byte from 1, without a document, in one object, with a document.
    for (n, byte) in (1..).zip(&SHORTEST[..16]) {
        put(&store, &id(&format!("1500000001-{n}")), &[*byte]).await;
    }
    put(&store, &id("1500000001-17"), &SHORTEST[16..]).await;
    put(&store, &id("1500000002000-00"), SHORTEST).await;
    put(&store, &id("1500000003000"), SHORTEST).await;
    put(&store, &id("1500000004-0"), SHORTEST).await;
    put(&store, &id("1500000004.json"), br#"{"backup":"by another manager"}"#).await;
    // What is no backup: parts alone, an archive that was given up, a document beside parts of ours.
    put(&store, &id("1500000005000-0"), b"BACKSTAY1 {").await;
    put(&store, &id("1500000006000-0"), b"BACKSTAY1 {").await;
    let aborted: ArchiveId = id("1500000006000").parse().unwrap();
    put(&store, &aborted.manifest(), &aborted_marker(&aborted, "2020-01-01T00:00:00Z")).await;
    put(&store, &id("1500000007000-0"), b"BACKSTAY1 {").await;
    put(&store, &id("1500000007000.json"), b"{}").await;
    // What is no archive at all.
    for name in ["README", "wal", &id("1500000008000.hold"), &id("1500000009000.key.0"), &id("1500000010000-x")] {
        put(&store, name, b"something").await;
    }

    for read_manifests in [false, true] {
        let committed = by_id(list(&store, &Filter::default(), read_manifests).await.unwrap());
        let ids: Vec<&str> = committed.keys().map(String::as_str).collect();
        let old = ["1500000001", "1500000002000", "1500000003000", "1500000004"].map(id);
        let mut expected: Vec<&str> = old.iter().map(String::as_str).collect();
        expected.push(receipt.id.as_str());
        expected.sort_unstable();
        assert_eq!(ids, expected);
        for id in &old {
            let entry = &committed[id];
            assert_eq!((entry.state, entry.profile), (State::Committed, Some(ProfileName::Openssl)), "{id}");
            assert_eq!(entry.stored, 32, "{id}");
        }
        assert_eq!(committed[&id("1500000001")].parts, 17);
        let entry = &committed[receipt.id.as_str()];
        assert_eq!((entry.parts, entry.stored), (receipt.parts, receipt.stored));
        let read = (entry.profile, entry.name.as_deref(), entry.kind, entry.content, entry.tags.len());
        match read_manifests {
            true => {
                assert_eq!(read, (Some(ProfileName::Native), Some("pg-main"), Some(Kind::Full), Some(2_000_000), 1));
            }
            false => assert_eq!(read, (None, None, None, None, 0)),
        }

        let filter = Filter { incomplete: true, ..Filter::default() };
        let all = list(&store, &filter, read_manifests).await.unwrap();
        assert!(all.is_sorted_by_key(|entry| entry.id.millis()), "oldest first");
        let all = by_id(all);
        assert_eq!(all.len(), 8);
        assert_eq!(all[&id("1500000005000")].state, State::Incomplete);
        assert_eq!(all[&id("1500000006000")].state, State::Aborted);
        assert_eq!(all[&id("1500000007000")].state, State::Incomplete);
    }
}

/// An openssl stream that nothing speaks against, and that no document commits.
#[tokio::test]
async fn what_a_writer_of_the_openssl_profile_did_not_finish_is_no_backup() {
    let store = Store::memory();
    let id = |tail: &str| format!("{GUID}-{tail}");
    // The pipeline of gzip, openssl and split makes no documents, and what is against a stream is seen in names and sizes.
    put(&store, &id("1500000001000-0"), SHORTEST).await;
    put(&store, &id("1500000002000-0"), SHORTEST).await;
    put(&store, &id("1500000002000-2"), &[0; 16]).await;
    put(&store, &id("1500000003000-0"), SHORTEST).await;
    put(&store, &id("1500000003000-1"), &[0; 15]).await;
    put(&store, &id("1500000004000-0"), SHORTEST).await;
    put(&store, &id("1500000004000-1"), &[0; 32]).await;
    // Then comes a manager that makes one for each archive, and that does not end two of them.
    put(&store, &id("1500000005000-0"), SHORTEST).await;
    put(&store, &id("1500000005000.json"), br#"{"backup":"by another manager"}"#).await;
    put(&store, &id("1500000006000-0"), SHORTEST).await;
    put(&store, &id("1500000006000-1"), &[0; 16]).await;
    put(&store, &id("1500000007000-0"), SHORTEST).await;
    // One object is there as a whole or not at all, and some managers make no document for it.
    put(&store, &id("1500000008000"), SHORTEST).await;
    let state = |all: &BTreeMap<String, Entry>, tail: &str| all.get(&id(tail)).map(|entry| entry.state);
    let of = |filter: Filter| {
        let store = store.clone();
        async move { by_id(list(&store, &filter, false).await.unwrap()) }
    };
    let committed = of(Filter::default()).await;
    assert_eq!(committed.into_keys().collect::<Vec<_>>(), ["1500000001000", "1500000005000", "1500000008000"].map(id));
    let all = of(Filter { incomplete: true, ..Filter::default() }).await;
    for tail in ["1500000002000", "1500000003000", "1500000004000", "1500000006000", "1500000007000"] {
        assert_eq!(state(&all, tail), Some(State::Incomplete), "{tail}");
        let details = show(&store, &id(tail).parse().unwrap(), &Keyring::default()).await.unwrap();
        assert_eq!(details.entry.state, State::Incomplete, "{tail}");
        assert_eq!(details.entry.profile, Some(ProfileName::Openssl), "{tail}");
    }
    let latest = select(&store, "latest", &Filter::default()).await.unwrap();
    assert_eq!(latest.as_str(), id("1500000008000"));
    let whole = show(&store, &id("1500000001000").parse().unwrap(), &Keyring::default()).await.unwrap();
    assert_eq!(whole.entry.state, State::Committed);
    // Whoever names one gets it, whatever is missing of it.
    assert_eq!(select(&store, &id("1500000007000"), &Filter::default()).await.unwrap().as_str(), id("1500000007000"));
}

#[tokio::test]
async fn the_number_of_requests_follows_archives_without_a_manifest_and_not_objects() {
    let store = Store::memory();
    let mut options = native(raw());
    options.part_size = Some(64 << 10);
    let receipt = back_up(&store, &content(3_000_000, true), options).await.unwrap();
    assert!(receipt.parts > 20, "{}", receipt.parts);
    for n in 0..50 {
        let bytes = if n < 49 { &[SHORTEST, SHORTEST].concat() } else { SHORTEST };
        put(&store, &format!("{GUID}-1500000001000-{n}"), bytes).await;
    }
    let before = store.requests();
    list(&store, &Filter::default(), false).await.unwrap();
    let after = store.requests();
    assert_eq!((after.lists - before.lists, after.gets - before.gets, after.heads - before.heads), (1, 1, 0));
    list(&store, &Filter::default(), true).await.unwrap();
    assert_eq!(store.requests().gets - after.gets, 2, "one manifest and one beginning");
}

#[tokio::test]
async fn filters_narrow_the_list() {
    let store = Store::memory();
    let (web, shop) = (named(&store, "web").await, named(&store, "shop").await);
    let mut options = native(raw());
    options.tags = vec!["before-upgrade".to_owned()];
    let other = back_up(&store, b"content", options).await.unwrap().id;
    let ids = |filter: Filter| {
        let store = store.clone();
        async move {
            let entries = list(&store, &filter, false).await.unwrap();
            entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
        }
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ids(Filter { name: some("web"), ..Filter::default() }).await, [web.clone()]);
    // This source has a guid of its own, so its manifest is what knows the name.
    assert_eq!(ids(Filter { name: some("pg-main"), ..Filter::default() }).await, [other.clone()]);
    assert_eq!(ids(Filter { name: some("nobody"), ..Filter::default() }).await, [] as [ArchiveId; 0]);
    assert_eq!(ids(Filter { guid: Some(shop.guid()), ..Filter::default() }).await, [shop.clone()]);
    assert_eq!(ids(Filter { tag: some("before-upgrade"), ..Filter::default() }).await, [other.clone()]);
    let at = |id: &ArchiveId| jiff::Timestamp::from_millisecond(i64::try_from(id.millis()).unwrap()).unwrap();
    assert_eq!(ids(Filter { before: Some(at(&shop)), ..Filter::default() }).await, [web.clone()]);
    assert_eq!(ids(Filter { before: Some(at(&web)), ..Filter::default() }).await, [] as [ArchiveId; 0]);
}

#[tokio::test]
async fn a_selector_means_one_archive_or_is_refused() {
    let store = Store::memory();
    let all = Filter::default();
    assert_eq!(refused(&store, "latest", &all).await.0, "archive.not-found");
    let mut web = Vec::new();
    for _ in 0..3 {
        web.push(named(&store, "web").await);
    }
    assert_eq!(select(&store, "latest", &all).await.unwrap(), web[2]);
    assert_eq!(select(&store, "latest~2", &all).await.unwrap(), web[0]);
    assert_eq!(refused(&store, "latest~3", &all).await.0, "archive.not-found");

    let shop = named(&store, "shop").await;
    let other = back_up(&store, b"content", native(raw())).await.unwrap().id;
    let (code, text) = refused(&store, "latest", &all).await;
    assert_eq!(code, "usage.selector");
    assert!(["web", "shop", "pg-main"].iter().all(|name| text.contains(name)), "{text}");
    let of_shop = Filter { guid: Some(shop.guid()), ..Filter::default() };
    assert_eq!(select(&store, "latest", &of_shop).await.unwrap(), shop);
    let of_shop = Filter { name: Some("shop".to_owned()), ..Filter::default() };
    assert_eq!(select(&store, "latest", &of_shop).await.unwrap(), shop);

    assert_eq!(select(&store, "web", &all).await.unwrap(), web[2]);
    assert_eq!(select(&store, "web~1", &all).await.unwrap(), web[1]);
    assert_eq!(refused(&store, "web~3", &all).await.0, "archive.not-found");
    assert_eq!(select(&store, "pg-main", &all).await.unwrap(), other);
    assert_eq!(refused(&store, "pg-main~1", &all).await.0, "archive.not-found");
    assert_eq!(refused(&store, "nobody", &all).await.0, "archive.not-found");
    assert_eq!(refused(&store, "web~x", &all).await.0, "archive.not-found");
    assert_eq!(refused(&store, "", &all).await.0, "archive.not-found");

    assert_eq!(select(&store, web[1].as_str(), &all).await.unwrap(), web[1]);
    assert_eq!(select(&store, &shop.as_str()[..9], &all).await.unwrap(), shop);
    let (code, text) = refused(&store, &web[0].as_str()[..37], &all).await;
    assert_eq!(code, "usage.selector");
    assert!(web.iter().all(|id| text.contains(id.as_str())), "{text}");
    assert_eq!(refused(&store, &web[0].as_str()[..3], &all).await.0, "archive.not-found");
    assert_eq!(refused(&store, &format!("{GUID}-1500000000000"), &all).await.0, "archive.not-found");

    let time = jiff::Timestamp::from_millisecond(i64::try_from(web[1].millis()).unwrap()).unwrap();
    let earlier = Filter { before: Some(time), ..Filter::default() };
    assert_eq!(select(&store, "web", &earlier).await.unwrap(), web[0]);
}

#[tokio::test]
async fn what_nothing_commits_is_selected_by_its_full_id_only() {
    let store = Store::memory();
    let id = format!("{GUID}-1500000005000");
    put(&store, &format!("{id}-0"), b"BACKSTAY1 {").await;
    assert_eq!(select(&store, &id, &Filter::default()).await.unwrap().as_str(), id);
    for selector in ["latest", &id[..20]] {
        let filter = Filter { incomplete: true, ..Filter::default() };
        assert_eq!(refused(&store, selector, &filter).await.0, "archive.not-found", "{selector}");
    }
}

#[tokio::test]
async fn a_name_that_could_be_the_beginning_of_an_id_is_refused_when_it_is_both() {
    let store = Store::memory();
    let mut options = native(raw());
    options.guid = "cafe0000-6535-423d-8709-dca87df7985c".parse::<Guid>().unwrap();
    let by_id = back_up(&store, b"content", options).await.unwrap().id;
    assert_eq!(select(&store, "cafe", &Filter::default()).await.unwrap(), by_id);
    let by_name = named(&store, "cafe").await;
    assert_eq!(refused(&store, "cafe", &Filter::default()).await.0, "usage.selector");
    let of_name = Filter { guid: Some(by_name.guid()), ..Filter::default() };
    assert_eq!(select(&store, "cafe", &of_name).await.unwrap(), by_name);
}

#[tokio::test]
async fn an_open_archive_never_stands_before_an_encrypted_one() {
    let store = Store::memory();
    let mut ids = Vec::new();
    for encryption in [Encryption::Open, raw(), raw(), Encryption::Open] {
        ids.push(back_up(&store, b"content", native(encryption)).await.unwrap().id);
    }
    for (selector, expected) in [("latest", 2), ("latest~1", 1), ("latest~2", 3), ("latest~3", 0)] {
        assert_eq!(select(&store, selector, &Filter::default()).await.unwrap(), ids[expected], "{selector}");
    }
    assert_eq!(refused(&store, "latest~4", &Filter::default()).await.0, "archive.not-found");
}

#[tokio::test]
async fn an_id_of_seconds_does_not_own_the_objects_of_its_milliseconds_twin() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for id in ["1740130000", "1740130000123"] {
        put(&store, &format!("{GUID}-{id}-0"), SHORTEST).await;
    }
    let entries = list(&store, &Filter::default(), false).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.parts).collect::<Vec<_>>(), [1, 1]);
    let seconds = format!("{GUID}-1740130000");
    assert_eq!(select(&store, &seconds, &Filter::default()).await.unwrap().as_str(), seconds);
    assert_eq!(show(&store, &seconds.parse().unwrap(), &Keyring::default()).await.unwrap().objects.len(), 1);
    store.delete(&format!("{seconds}-0")).await.unwrap();
    assert_eq!(refused(&store, &seconds, &Filter::default()).await.0, "archive.not-found");
}

#[tokio::test]
async fn one_archive_is_shown_in_full_and_its_private_facts_to_the_keys_holder_only() {
    let store = Store::memory();
    let receipt = back_up(&store, &content(2_000_000, true), native(raw())).await.unwrap();
    let id = &receipt.id;
    put(&store, &format!("{id}.hold"), b"").await;
    let details = show(&store, id, &raw_keyring()).await.unwrap();
    assert_eq!(details.receipt.as_deref(), Some(receipt.to_string().as_str()));
    assert!(details.private.as_deref().is_some_and(|private| private.contains("\"host\"")), "{:?}", details.private);
    assert_eq!(details.objects.len(), receipt.parts as usize + 2);
    assert_eq!(details.manifest.unwrap().root(), receipt.root);
    assert_eq!(details.seal.unwrap().sha256, receipt.seal);
    assert_eq!((details.entry.state, details.entry.parts), (State::Committed, receipt.parts));

    let mut other = Keyring::default();
    other.add_raw(Secret([8; 32]));
    for keyring in [Keyring::default(), other] {
        let details = show(&store, id, &keyring).await.unwrap();
        assert!(details.manifest.is_some() && details.private.is_none());
    }
    let published = back_up(&store, b"content", native(Encryption::Open)).await.unwrap();
    assert!(show(&store, &published.id, &raw_keyring()).await.unwrap().private.is_some());
}

#[tokio::test]
async fn show_tells_a_changed_manifest_and_shows_what_is_no_backup() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let receipt = back_up(&store, b"content", native(raw())).await.unwrap();
    common::flip(folder.path(), &receipt.id.manifest(), 60);
    assert_eq!(show(&store, &receipt.id, &raw_keyring()).await.unwrap_err().code(), "manifest.seal");

    let aborted: ArchiveId = format!("{GUID}-1500000006000").parse().unwrap();
    put(&store, &aborted.manifest(), &aborted_marker(&aborted, "2020-01-01T00:00:00Z")).await;
    let details = show(&store, &aborted, &Keyring::default()).await.unwrap();
    assert_eq!((details.entry.state, details.manifest.is_some()), (State::Aborted, false));

    rename(&store, &receipt.id, &format!("{GUID}-1500000007000")).await;
    assert_eq!(show(&store, &receipt.id, &Keyring::default()).await.unwrap_err().code(), "archive.not-found");

    let foreign = format!("{GUID}-1500000001");
    put(&store, &foreign, b"Salted__12345678").await;
    put(&store, &format!("{foreign}.json"), br#"{"backup":"by another manager"}"#).await;
    let details = show(&store, &foreign.parse().unwrap(), &Keyring::default()).await.unwrap();
    assert_eq!(details.foreign_json.as_deref(), Some(&br#"{"backup":"by another manager"}"#[..]));
    assert_eq!(details.entry.state, State::Committed);
}
