//! The contract on whatever stores `BACKSTAY_TEST_STORES` names, separated by spaces, with the credentials of the environment: servers that scripts
//! start, or real clouds. Each run needs an empty prefix.

use backstay_store::{Environment, Store, StoreOptions, probe_conditional_create};
use backstay_testkit::contract;

#[tokio::test]
async fn the_stores_that_the_environment_names_keep_the_contract() {
    for url in std::env::var("BACKSTAY_TEST_STORES").unwrap_or_default().split_whitespace() {
        let store = Store::open(url, &StoreOptions::default(), &Environment::current()).await.unwrap();
        println!("{url}: {:?}", store.credential_source());
        probe_conditional_create(&store, "probe").await.unwrap();
        contract::run(&store).await;
        println!("{url}: {:?}", store.requests());
    }
}
