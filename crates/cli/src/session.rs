//! What a verb that works on a store has at hand.

use std::sync::Arc;

use backstay::Context;
use backstay::observe::{Event, Observer};
use backstay_format::ArchiveId;
use backstay_store::{Addressing, Environment, RateLimit, Retry, Store, StoreOptions, Watch};

use crate::args::{AddressingStyle, Global};
use crate::config::Settings;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// The options of a store beside its server, region and credentials.
fn reach(global: &Global, options: &mut StoreOptions) -> Result<()> {
    options.ca_file.clone_from(&global.ca_file);
    options.addressing = global.addressing_style.map(|style| match style {
        AddressingStyle::Path => Addressing::Path,
        AddressingStyle::Virtual => Addressing::Virtual,
    });
    options.requester_pays = global.requester_pays;
    options.objects = global.objects.options()?;
    Ok(())
}

fn one_place(first: &Store, second: &Store) -> Failure {
    let (first, second) = (first.url().to_owned(), second.url().to_owned());
    backstay::Error::OnePlace { first, second }.into()
}

/// A run's surroundings.
pub(crate) struct Session {
    pub(crate) global: Global,
    pub(crate) settings: Settings,
    pub(crate) output: Arc<Output>,
    pub(crate) context: Context,
    /// One limit of each kind for all stores of the run: they share the line.
    pub(crate) upload_limit: Option<RateLimit>,
    pub(crate) download_limit: Option<RateLimit>,
    pub(crate) request_limit: Option<RateLimit>,
}

impl Session {
    pub(crate) fn new(global: Global, settings: Settings, output: &Arc<Output>, context: Context) -> Session {
        let upload_limit = global.limit_upload.map(RateLimit::per_second);
        let download_limit = global.limit_download.map(RateLimit::per_second);
        let request_limit = global.limit_requests.map(RateLimit::per_second);
        Session { global, settings, output: Arc::clone(output), context, upload_limit, download_limit, request_limit }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// `usage.store-url` when none is given, and what the store has to say.
    pub(crate) async fn store(&self) -> Result<Store> {
        self.url()?;
        self.open(&self.global).await
    }

    /// The store's URL.
    ///
    /// # Errors
    /// `usage.store-url` when none is given.
    pub(crate) fn url(&self) -> Result<&str> {
        self.global.store.as_deref().ok_or_else(|| {
            let failure = Failure::new("usage.store-url", "no store was given");
            failure.with_hint("give -s URL, set BACKSTAY_STORE, or write `store = \"…\"` into a configuration file")
        })
    }

    /// Opens the store that a run has beside its own: that of the profile of this name, with the server, region and credentials
    /// that stand there, else the one at this URL. As with git's remotes, a name goes before a path that is called the same.
    ///
    /// # Errors
    /// `usage.config` when the profile names no store, `usage.arguments` when it is the run's `own`, and what the store has to say.
    pub(crate) async fn second(&self, given: &str, own: Option<&Store>) -> Result<Store> {
        let global = match self.settings.of_profile(given)? {
            Some(profile) => profile.global()?,
            None => self.reaching(given)?,
        };
        // Patience is the run's.
        let (retry_for, stall_timeout) = (self.global.retry_for, self.global.stall_timeout);
        let global = Global { retry_for, stall_timeout, ..global };
        if global.store.is_none() {
            let failure = Failure::new("usage.config", format!("the profile `{given}` names no store"));
            return Err(failure.with_hint(format!("write `store = \"…\"` into [profile.{given}], or give a URL")));
        }
        let store = self.open(&global).await?;
        match own {
            Some(own) if own.url() == store.url() => {
                Err(Failure::usage(format!("{} is given as both the first and the second store", own.url())))
            }
            Some(own) if own.is_same_place(&store) == Some(true) => Err(one_place(own, &store)),
            _ => Ok(store),
        }
    }

    /// Refuses a second store that turns out to be the first one by another name: two servers' names can be one server. `written` is the one that
    /// this run writes to, and `id` an archive that it is about.
    ///
    /// # Errors
    /// `usage.arguments`.
    pub(crate) async fn demand_two(&self, written: &Store, read: &Store, id: &ArchiveId) -> Result<()> {
        match backstay::place::are_one(written, read, id, &self.context).await? {
            true => Err(one_place(read, written)),
            false => Ok(()),
        }
    }

    /// The URL of the store that is given beside the run's own.
    pub(crate) fn second_url(&self, given: &str) -> Result<String> {
        let of_profile = self.settings.of_profile(given)?.map(|profile| profile.global()).transpose()?;
        Ok(of_profile.and_then(|global| global.store).unwrap_or_else(|| given.to_owned()))
    }

    /// This run's options for another URL. What they say of the server, the region, the credentials and the objects is about stores of
    /// one kind.
    fn reaching(&self, url: &str) -> Result<Global> {
        let kind = |url: &str| url.split_once("://").map(|(scheme, _)| scheme.replace("azure", "az"));
        let same = kind(url) == self.global.store.as_deref().and_then(kind);
        let options = if same { self.global.clone() } else { Settings::default().global()? };
        Ok(Global { store: Some(url.to_owned()), ..options })
    }

    async fn open(&self, global: &Global) -> Result<Store> {
        let mut options = StoreOptions::default();
        options.endpoint_url.clone_from(&global.endpoint_url);
        options.region.clone_from(&global.region);
        options.aws_profile.clone_from(&global.aws_profile);
        reach(global, &mut options)?;
        options.retry.deadline = global.retry_for;
        options.stall = global.stall_timeout;
        options.upload_limit.clone_from(&self.upload_limit);
        options.download_limit.clone_from(&self.download_limit);
        options.request_limit.clone_from(&self.request_limit);
        options.interrupt = self.context.interrupt.clone();
        let observer = self.observer();
        options.watch = Some(Watch::new(move |retry| {
            let Retry { store, operation, attempt, pause, cause, .. } = retry.clone();
            observer.event(&Event::Retry { store, operation, attempt, pause, cause });
        }));
        let url = global.store.as_deref().unwrap_or_default();
        if matches!(url, "memory:" | "memory://") {
            let failure = Failure::new("usage.store-url", "what is stored in `memory:` is gone with the process");
            return Err(failure.with_hint("give a directory or a bucket; a directory of that name is ./memory:"));
        }
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
