//! What a verb that works on a store has at hand.

use std::sync::Arc;

use backstay::Context;
use backstay::observe::Observer;
use backstay_store::{Environment, Store, StoreOptions};

use crate::args::Global;
use crate::config::Settings;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// A run's surroundings.
pub(crate) struct Session {
    pub(crate) global: Global,
    pub(crate) settings: Settings,
    pub(crate) output: Arc<Output>,
    pub(crate) context: Context,
}

impl Session {
    /// Opens the store.
    ///
    /// # Errors
    /// `usage.store-url` when none is given, and what the store has to say.
    pub(crate) async fn store(&self) -> Result<Store> {
        let Some(url) = &self.global.store else {
            let failure = Failure::new("usage.store-url", "no store was given");
            return Err(failure
                .with_hint("give -s URL, set BACKSTAY_STORE, or write `store = \"…\"` into a configuration file"));
        };
        self.open(url).await
    }

    /// Opens a store, with the server, region and credentials that the run has.
    ///
    /// # Errors
    /// What the store has to say.
    pub(crate) async fn open(&self, url: &str) -> Result<Store> {
        let mut options = StoreOptions::default();
        options.endpoint_url.clone_from(&self.global.endpoint_url);
        options.region.clone_from(&self.global.region);
        options.aws_profile.clone_from(&self.global.aws_profile);
        let store = Store::open(url, &options, &Environment::current()).await?;
        match store.credential_source() {
            Some(source) => tracing::info!("the store is {}, with credentials from {source}", store.url()),
            None => tracing::info!("the store is {}", store.url()),
        }
        Ok(store)
    }

    /// Whoever watches the run.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        let output: Arc<Output> = Arc::clone(&self.output);
        output
    }
}
