//! What every store must do, as functions that each test one promise. Each uses names of its own, so that [`run`] can call them all on one
//! store; a store under test may be slow, remote or faulty, but it may not break any of these.

use backstay_store::{Created, Error, ObjectInfo, Store, probe_conditional_create};
use bytes::Bytes;
use futures::TryStreamExt;

use crate::sha256;

/// Runs the whole suite.
pub async fn run(store: &Store) {
    run_without_conditions(store).await;
    creating_the_same_bytes_again_is_confirmed(store).await;
    creating_other_bytes_is_refused_and_changes_nothing(store).await;
    racing_creates_have_one_winner(store).await;
}

/// What a store has to do all the same that takes the condition of a create and overwrites.
pub async fn run_without_conditions(store: &Store) {
    a_created_object_is_read_back(store).await;
    sizes_at_the_edges_round_trip(store).await;
    missing_objects_are_told_apart_from_failures(store).await;
    ranges_are_exact(store).await;
    objects_above_the_limit_are_not_fetched(store).await;
    odd_names_round_trip(store).await;
    bad_names_are_refused(store).await;
    listing_is_by_string_prefix(store).await;
    listing_goes_beyond_one_page(store).await;
    deleting_removes_one_object(store).await;
}

async fn create(store: &Store, name: &str, body: &[u8]) -> Result<Created, Error> {
    store.create(name, Bytes::copy_from_slice(body), sha256(body)).await
}

async fn names(store: &Store, prefix: &str, start_after: Option<&str>) -> Vec<String> {
    let infos: Vec<ObjectInfo> = store.list(prefix, start_after).try_collect().await.expect("list");
    infos.into_iter().map(|info| info.name).collect()
}

/// What was created can be read, looked at and listed.
pub async fn a_created_object_is_read_back(store: &Store) {
    let body = b"the quick brown fox";
    assert_eq!(create(store, "plain-0", body).await.unwrap(), Created::New);
    assert_eq!(store.get("plain-0", 100).await.unwrap().unwrap(), &body[..]);
    let head = store.head("plain-0").await.unwrap().unwrap();
    assert_eq!((head.name.as_str(), head.size), ("plain-0", body.len() as u64));
    if let Some(kept) = head.sha256 {
        assert_eq!(kept, sha256(body), "the store's checksum is of other bytes");
    }
    let listed: Vec<ObjectInfo> = store.list("plain-", None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].size, head.size);
    // A listing may leave the tag out, but not tell another one.
    assert!(listed[0].etag.is_none() || listed[0].etag == head.etag, "{head:?} {listed:?}");
    // Stores may cut the time to seconds in one of the two answers.
    let apart = head.modified.max(listed[0].modified).duration_since(head.modified.min(listed[0].modified)).unwrap();
    assert!(apart.as_secs_f64() < 1.0, "{head:?} {listed:?}");
}

/// Empty objects, and objects around the sizes at which implementations change their mind.
pub async fn sizes_at_the_edges_round_trip(store: &Store) {
    for size in [0, 1, 4095, 4096, 65_535, 65_536, 65_537, 1 << 20, (5 << 20) + 1] {
        let body: Vec<u8> = (0..size).map(|i: usize| (i * 31 + i / 251) as u8).collect();
        let name = format!("size-{size}");
        assert_eq!(create(store, &name, &body).await.unwrap(), Created::New);
        assert!(store.get(&name, size as u64).await.unwrap().unwrap() == body, "{size} bytes");
        assert_eq!(store.head(&name).await.unwrap().unwrap().size, size as u64);
    }
}

/// A writer that lost the answer to its own create hears that the object exists, and has to learn that it is its own.
pub async fn creating_the_same_bytes_again_is_confirmed(store: &Store) {
    for body in [&b""[..], b"same"] {
        let name = format!("again-{}", body.len());
        assert_eq!(create(store, &name, body).await.unwrap(), Created::New);
        assert_eq!(create(store, &name, body).await.unwrap(), Created::Confirmed);
    }
}

/// Other bytes never replace what is there, whether their length differs or not.
pub async fn creating_other_bytes_is_refused_and_changes_nothing(store: &Store) {
    create(store, "taken-0", b"first").await.unwrap();
    for other in [&b"FIRST"[..], b"longer than that", b"", b"firs"] {
        let error = create(store, "taken-0", other).await.unwrap_err();
        assert_eq!(error.code(), "name.taken", "{error}");
        assert!(matches!(error, Error::NameTaken { .. }));
        assert_eq!(store.get("taken-0", 100).await.unwrap().unwrap(), "first");
    }
}

/// Of many writers with different bytes one wins, and its bytes are what is stored.
pub async fn racing_creates_have_one_winner(store: &Store) {
    let writers = (0..8u8).map(|writer| async move {
        let body = vec![writer; 1000];
        (writer, create(store, "race-0", &body).await)
    });
    let outcomes = futures::future::join_all(writers).await;
    let winners: Vec<u8> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(writer, _)| *writer).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    for (_, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.is_err()) {
        assert_eq!(outcome.as_ref().unwrap_err().code(), "name.taken");
    }
    assert_eq!(store.get("race-0", 1000).await.unwrap().unwrap(), vec![winners[0]; 1000]);
}

/// Absence is an answer, not an error.
pub async fn missing_objects_are_told_apart_from_failures(store: &Store) {
    assert_eq!(store.get("missing-0", 10).await.unwrap(), None);
    assert_eq!(store.head("missing-0").await.unwrap(), None);
    assert!(matches!(store.get_range("missing-0", 0..1).await, Err(Error::ObjectMissing { .. })));
    assert_eq!(names(store, "missing-", None).await, [""; 0]);
    store.delete("missing-0").await.unwrap();
}

/// A range is answered exactly or not at all.
pub async fn ranges_are_exact(store: &Store) {
    let body: Vec<u8> = (0..=255).collect();
    create(store, "range-0", &body).await.unwrap();
    for range in [0..1, 0..256, 255..256, 7..200, 5..5] {
        let wanted = &body[range.start as usize..range.end as usize];
        assert_eq!(store.get_range("range-0", range.clone()).await.unwrap(), wanted, "{range:?}");
    }
    for range in [0..257, 255..257, 256..257, 1000..2000] {
        let error = store.get_range("range-0", range.clone()).await.unwrap_err();
        assert!(matches!(error, Error::ShortObject { size: 256, .. }), "{range:?}: {error:?}");
    }
}

/// The limit protects the reader's memory.
pub async fn objects_above_the_limit_are_not_fetched(store: &Store) {
    create(store, "limit-0", &[7; 100]).await.unwrap();
    assert_eq!(store.get("limit-0", 100).await.unwrap().unwrap().len(), 100);
    let error = store.get("limit-0", 99).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 100, limit: 99, .. }), "{error:?}");
}

/// Names are bytes to a store: nothing in them is escaped, cut or folded.
pub async fn odd_names_round_trip(store: &Store) {
    let odd = [
        "odd a b",
        "odd%2Fb",
        "odd%",
        "odd#1",
        "odd?x=1&y",
        "odd+plus",
        "odd~`'\"",
        "oddä€😀",
        "odd:*<>|",
        "odd[1]{2}^",
        "ODD-case",
        "odd.",
        "odd=;,@$!()",
    ];
    for name in odd {
        assert_eq!(create(store, name, name.as_bytes()).await.unwrap(), Created::New, "{name}");
    }
    for name in odd {
        assert_eq!(store.get(name, 100).await.unwrap().unwrap(), name.as_bytes(), "{name}");
        assert_eq!(names(store, name, None).await.first().map(String::as_str), Some(name));
    }
    let mut sorted: Vec<&str> = odd.into_iter().filter(|name| name.starts_with("odd")).collect();
    sorted.sort_unstable();
    assert_eq!(names(store, "odd", None).await, sorted);
    for name in odd {
        store.delete(name).await.unwrap();
        assert_eq!(store.head(name).await.unwrap(), None, "{name}");
    }
}

/// A store that overwrites is found out by each way of asking; not part of [`run`]. When this fails, it keeps conditions, and the whole suite is
/// for it.
pub async fn overwriting_is_found_out(store: &Store) {
    assert_eq!(create(store, "overwritten-0", b"first").await.unwrap(), Created::New);
    assert_eq!(create(store, "overwritten-0", b"second").await.unwrap(), Created::New);
    assert_eq!(store.get("overwritten-0", 100).await.unwrap().unwrap(), "second");
    assert!(!store.is_known_to_overwrite());
    let error = store.create_probing("overwritten-1", "first".into(), sha256(b"first")).await.unwrap_err();
    assert_eq!(error.code(), "store.condition-ignored", "{error}");
    assert!(store.is_known_to_overwrite());
    let error = probe_conditional_create(store, "overwritten-2").await.unwrap_err();
    assert_eq!(error.code(), "store.condition-ignored", "{error}");
    assert_eq!(names(store, "overwritten-", None).await, ["overwritten-0", "overwritten-1"]);
}

/// The one odd name that Azure changes, into a folder; not part of [`run`].
pub async fn a_name_with_a_backslash_round_trips(store: &Store) {
    let name = "back\\slash";
    assert_eq!(create(store, name, b"x").await.unwrap(), Created::New);
    assert_eq!(store.get(name, 1).await.unwrap().unwrap(), "x");
    assert_eq!(names(store, "back", None).await, [name]);
}

/// What is not a name of one segment never reaches the store.
pub async fn bad_names_are_refused(store: &Store) {
    for name in ["", ".", "..", "a/b", "/a", "a/", "a\nb"] {
        assert_eq!(create(store, name, b"x").await.unwrap_err().code(), "name.invalid", "{name:?}");
        assert_eq!(store.get(name, 1).await.unwrap_err().code(), "name.invalid", "{name:?}");
        assert_eq!(store.delete(name).await.unwrap_err().code(), "name.invalid", "{name:?}");
    }
}

/// An id in seconds may be the beginning of one in milliseconds, so that a prefix is a string and not a path.
pub async fn listing_is_by_string_prefix(store: &Store) {
    let all = ["pre-1.json", "pre-1-0", "pre-1-1", "pre-1-10", "pre-1-2", "pre-1000-0", "pre-1000.json", "prf"];
    for name in all {
        create(store, name, b"x").await.unwrap();
    }
    assert_eq!(names(store, "pre-1-", None).await, ["pre-1-0", "pre-1-1", "pre-1-10", "pre-1-2"]);
    assert_eq!(
        names(store, "pre-1", None).await,
        ["pre-1-0", "pre-1-1", "pre-1-10", "pre-1-2", "pre-1.json", "pre-1000-0", "pre-1000.json"]
    );
    assert_eq!(names(store, "pre-1", Some("pre-1-10")).await, ["pre-1-2", "pre-1.json", "pre-1000-0", "pre-1000.json"]);
    // Where the listing begins need not exist, nor match the prefix.
    assert_eq!(names(store, "pre-1", Some("pre-1-3")).await, ["pre-1.json", "pre-1000-0", "pre-1000.json"]);
    assert_eq!(names(store, "pre-1-", Some("a")).await.len(), 4);
    assert_eq!(names(store, "pre-1-", Some("z")).await, [""; 0]);
    assert!(names(store, "", None).await.iter().any(|name| name == "prf"));
    let ends = ["prf", "pre-1-10", "pre-1000.json", "pre-2"];
    let wanted: Vec<ObjectInfo> = store.list_where(move |name| ends.contains(&name)).try_collect().await.unwrap();
    let found: Vec<_> = wanted.iter().map(|object| (object.name.as_str(), object.size)).collect();
    assert_eq!(found, [("pre-1-10", 1), ("pre-1000.json", 1), ("prf", 1)]);
}

/// Clouds answer 1000 names at a time.
pub async fn listing_goes_beyond_one_page(store: &Store) {
    let mut wanted: Vec<String> = (0..1234).map(|n| format!("many-{n}")).collect();
    let creates = wanted.iter().map(|name| create(store, name, b""));
    let created: Vec<_> =
        futures::StreamExt::collect(futures::StreamExt::buffer_unordered(futures::stream::iter(creates), 16)).await;
    assert!(created.into_iter().all(|created: Result<Created, Error>| created.unwrap() == Created::New));
    wanted.sort_unstable();
    assert_eq!(names(store, "many-", None).await, wanted);
    assert_eq!(names(store, "many-", Some(&wanted[199])).await, wanted[200..]);
}

/// Deleting takes away that object and no other.
pub async fn deleting_removes_one_object(store: &Store) {
    create(store, "del-1", b"x").await.unwrap();
    create(store, "del-10", b"x").await.unwrap();
    store.delete("del-1").await.unwrap();
    assert_eq!(names(store, "del-", None).await, ["del-10"]);
    assert_eq!(create(store, "del-1", b"other").await.unwrap(), Created::New);
}
