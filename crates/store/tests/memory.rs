//! The store in memory keeps the contract.

use backstay_store::{Environment, Store, StoreOptions};
use backstay_testkit::disordered::{Order, disordered};
use backstay_testkit::{contract, sha256};
use futures::TryStreamExt as _;

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    contract::run(&Store::memory()).await;
    contract::a_name_with_a_backslash_round_trips(&Store::memory()).await;
}

#[tokio::test]
async fn its_url_opens_an_empty_store_each_time() {
    let open = || async { Store::open("memory:", &StoreOptions::default(), &Environment::default()).await.unwrap() };
    let (one, two) = (open().await, open().await);
    contract::a_created_object_is_read_back(&one).await;
    assert_eq!(two.head("plain-0").await.unwrap(), None);
}

#[tokio::test]
async fn a_prefix_hides_what_lies_beside_and_below_it() {
    let memory = std::sync::Arc::new(object_store::memory::InMemory::new());
    let at = |prefix| Store::from_object_store(memory.clone(), prefix, "memory:");
    contract::run(&at("a/b")).await;
    contract::run(&at("")).await;
    contract::run(&at("a")).await;
    contract::run(&at("a/bb/")).await;
}

async fn put(store: &Store, names: &[&str]) {
    for name in names {
        store.create(name, "x".into(), sha256(b"x")).await.unwrap();
    }
}

#[tokio::test]
async fn a_listing_that_is_not_in_the_order_of_names_is_refused() {
    let names: Vec<String> = (10..40).map(|n| format!("x-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for order in [Order::ByName, Order::Backwards, Order::Shuffled, Order::PagesBackwards] {
        let (store, _) = disordered(order);
        put(&store, &names).await;
        for (prefix, after) in [("", None), ("x-", None), ("x-1", None), ("", Some("x-20"))] {
            let listed = store.list(prefix, after).map_ok(|object| object.name).try_collect::<Vec<_>>().await;
            let wanted = |name: &&str| name.starts_with(prefix) && after.is_none_or(|after| **name > *after);
            match order {
                Order::ByName => {
                    assert_eq!(listed.unwrap(), names.iter().copied().filter(|name| wanted(name)).collect::<Vec<_>>());
                }
                _ => {
                    let error = listed.unwrap_err();
                    assert_eq!(error.code(), "store.unordered", "{order:?}, {prefix}: {error}");
                    assert!(error.to_string().contains(" comes after x-") && error.hint().is_some(), "{error}");
                }
            }
        }
        let mut any = store.list_in_any_order("x-").map_ok(|object| object.name).try_collect::<Vec<_>>().await.unwrap();
        any.sort_unstable();
        assert_eq!(any, names);
    }
}

#[tokio::test]
async fn foreign_names_may_stand_anywhere() {
    let (store, _) = disordered(Order::Backwards);
    put(&store, &["A", "B", "README.md", "a b", "é", "z~1", "x-0"]).await;
    let listed: Vec<_> = store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap();
    assert_eq!(listed.len(), 7);
}
