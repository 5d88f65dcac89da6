//! The contract on stores that were not started here: servers that scripts start, or real clouds. `BACKSTAY_TEST_STORES` names those that keep
//! conditions, `BACKSTAY_TEST_OVERWRITING_STORES` those on S3 servers that take them and overwrite: URLs with spaces between, each with an empty
//! prefix, and the credentials in the environment. A run that names none fails.

use backstay_store::{Environment, Store, StoreOptions, probe_conditional_create};
use backstay_testkit::{Served, contract};

fn named_by(variable: &str) -> Vec<String> {
    let urls: Vec<_> = std::env::var(variable).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    assert!(!urls.is_empty(), "{variable} names no store");
    urls
}

#[tokio::test]
#[ignore = "it is for the stores that BACKSTAY_TEST_STORES names"]
async fn the_stores_that_the_environment_names_keep_the_contract() {
    for url in named_by("BACKSTAY_TEST_STORES") {
        let store = Store::open(&url, &StoreOptions::default(), &Environment::current()).await.unwrap();
        println!("{url}: {:?}", store.credential_source());
        probe_conditional_create(&store, "probe").await.unwrap();
        contract::run(&store).await;
        println!("{url}: {:?}", store.requests());
    }
}

#[tokio::test]
#[ignore = "it is for the stores that BACKSTAY_TEST_OVERWRITING_STORES names"]
async fn the_stores_that_overwrite_keep_what_needs_no_condition() {
    for url in named_by("BACKSTAY_TEST_OVERWRITING_STORES") {
        let variables = std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
        Served::running(&url, variables).run_without_conditions().await;
        println!("{url}: what needs no condition holds");
    }
}
