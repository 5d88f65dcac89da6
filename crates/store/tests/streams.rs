//! One object of unknown length in a cloud: on Azure it grows in blocks and appears when their list is accepted, if its name is free then; elsewhere
//! it is refused before anything is sent. What directories do with one is in `local.rs`.

use backstay_store::{Created, Environment, Error, ObjectOptions, RetryOptions, Store, StoreOptions};
use backstay_testkit::proxy::{Fate, ProxiedRequest, Proxy};
use backstay_testkit::{Azurite, Recorder, sha256};
use bytes::Bytes;
use futures::TryStreamExt;

async fn open(container: &str, endpoint: &str, objects: ObjectOptions) -> Store {
    let mut options = StoreOptions::default();
    options.endpoint_url = Some(endpoint.to_owned());
    options.retry = RetryOptions::brief();
    options.objects = objects;
    let env = Environment::from_pairs(Azurite::shared().variables());
    Store::open(&format!("az://{container}/deep/er"), &options, &env).await.unwrap()
}

async fn direct(container: &str) -> Store {
    Azurite::shared().create_container(container);
    open(container, &Azurite::shared().endpoint, ObjectOptions::default()).await
}

fn block(n: u8) -> Bytes {
    vec![n; 300_000].into()
}

/// Writes an object of three blocks.
async fn write(store: &Store, name: &str) -> Result<Created, Error> {
    let mut stream = store.create_streaming(name).await?;
    for n in 0..3 {
        stream.write(block(n)).await?;
    }
    stream.commit().await
}

async fn read(store: &Store, name: &str) -> Bytes {
    store.get(name, 1 << 20).await.unwrap().unwrap()
}

fn whole() -> Vec<u8> {
    (0..3).flat_map(block).collect()
}

#[tokio::test]
async fn an_object_of_azure_appears_whole_at_commit_or_not_at_all() {
    let store = direct("streams").await;
    let mut stream = store.create_streaming("s").await.unwrap();
    for n in 0..3 {
        stream.write(block(n)).await.unwrap();
        assert_eq!(store.head("s").await.unwrap(), None);
    }
    assert_eq!(stream.commit().await.unwrap(), Created::New);
    assert_eq!(read(&store, "s").await, whole());

    let mut dropped = store.create_streaming("s-1").await.unwrap();
    dropped.write("x".into()).await.unwrap();
    drop(dropped);
    let listed: Vec<_> = store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap();
    assert_eq!(listed, ["s"]);

    let mut late = store.create_streaming("s").await.unwrap();
    late.write("other".into()).await.unwrap();
    assert_eq!(late.commit().await.unwrap_err().code(), "name.taken");
    assert_eq!(read(&store, "s").await, whole());

    assert_eq!(store.create_streaming("s-2").await.unwrap().commit().await.unwrap(), Created::New);
    assert_eq!(read(&store, "s-2").await, "");
}

/// Whether it is the list of the blocks, and not one of them.
fn is_list(request: &ProxiedRequest) -> bool {
    request.method == "PUT" && request.target.contains("comp=blocklist")
}

#[tokio::test]
async fn what_is_lost_on_the_way_to_azure_is_sent_again_and_nothing_is_stored_twice() {
    let container = "lost-streams";
    let store = direct(container).await;
    let lost = [
        (Fate::DropAnswer, Created::Confirmed),
        (Fate::AnswerAfter(500, "InternalError"), Created::Confirmed),
        (Fate::AnswerInstead(503, "ServerBusy"), Created::New),
        (Fate::CutRequest(10), Created::New),
    ];
    for (n, (fate, wanted)) in lost.into_iter().enumerate() {
        // The list, and then the second block.
        for (place, wanted) in [("list", wanted), ("block", Created::New)] {
            let (fate, mut met) = (fate.clone(), 0);
            let proxy = Proxy::start(Azurite::shared().address(), move |request| {
                let is_meant = if place == "list" { is_list(request) } else { request.target.contains("comp=block&") };
                met += usize::from(is_meant);
                let nth = if place == "list" { 1 } else { 2 };
                if is_meant && met == nth { fate.clone() } else { Fate::Pass }
            });
            let behind = open(container, &proxy.endpoint, ObjectOptions::default()).await;
            let name = format!("{place}-{n}");
            assert_eq!(write(&behind, &name).await.unwrap(), wanted, "{name}");
            assert_eq!(read(&store, &name).await, whole(), "{name}");
            assert_eq!(behind.requests().retries, 1, "{name}");
        }
    }
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_taken_for_ours() {
    let container = "taken-streams";
    let store = direct(container).await;
    // Of the same bytes, too: it is another upload.
    write(&store, "s").await.unwrap();
    let mut lists = 0;
    let proxy = Proxy::start(Azurite::shared().address(), move |request| {
        lists += usize::from(is_list(request));
        if is_list(request) && lists == 1 { Fate::AnswerInstead(500, "InternalError") } else { Fate::Pass }
    });
    let behind = open(container, &proxy.endpoint, ObjectOptions::default()).await;
    assert_eq!(write(&behind, "s").await.unwrap_err().code(), "name.taken");
    let small = store.create("whole", "x".into(), sha256(b"x")).await.unwrap();
    assert_eq!(small, Created::New);
    assert_eq!(write(&store, "whole").await.unwrap_err().code(), "name.taken");
    assert_eq!(read(&store, "whole").await, "x");
}

#[tokio::test]
async fn the_list_carries_the_condition_the_tier_and_the_tags() {
    let server = Recorder::store();
    let mut objects = ObjectOptions::default();
    objects.storage_class = Some("Cool".into());
    objects.tags = vec![("team".into(), "db".into())];
    let store = open("container", &server.endpoint, objects).await;
    assert_eq!(write(&store, "s").await.unwrap(), Created::New);
    let lists: Vec<_> = server.taken().into_iter().filter(|heard| heard.parameter("comp") == "blocklist").collect();
    assert_eq!(lists.len(), 1);
    for (name, value) in [("if-none-match", "*"), ("x-ms-access-tier", "Cool"), ("x-ms-tags", "team=db")] {
        assert_eq!(lists[0].header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn other_clouds_refuse_one_before_a_request() {
    let server = Recorder::store();
    for url in ["s3://bucket", "gs://bucket"] {
        let mut options = StoreOptions::default();
        options.endpoint_url = Some(server.endpoint.clone());
        let env = Environment::from_pairs([
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("STORAGE_EMULATOR_HOST", &server.endpoint),
        ]);
        let store = Store::open(url, &options, &env).await.unwrap();
        assert_eq!(store.takes_streams().unwrap_err().code(), "store.unsupported", "{url}");
        assert_eq!(store.create_streaming("s").await.unwrap_err().code(), "store.unsupported", "{url}");
    }
    assert!(server.taken().is_empty());
}
