//! The store in memory keeps the contract.

use backstay_store::{Environment, Store, StoreOptions};
use backstay_testkit::contract;

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
