//! The stores of a backup: one, or two of which one may be out before the run begins.

use backstay::backup::{Also, Missed};
use backstay_store::Store;

use crate::failure::{Failure, Result};
use crate::session::Session;

/// Where a backup goes.
pub(super) struct Stores {
    pub(super) store: Store,
    pub(super) also: Option<Also>,
    /// The one of two that could not be opened.
    pub(super) missed: Option<Missed>,
    /// The URL of the run's own store, whether or not it could be opened.
    pub(super) own: String,
}

impl Stores {
    pub(super) async fn one(session: &Session) -> Result<Stores> {
        let store = session.store().await?;
        let own = store.url().to_owned();
        Ok(Stores { store, also: None, missed: None, own })
    }

    /// Opens the run's own store and the one that is given beside it.
    ///
    /// A store whose credentials cannot be had is out like one that does not answer: whether the service that gives them is asked when the store is opened or with
    /// the first request is the provider's affair, and no reason to back up nothing. What is wrong with the command line or the
    /// configuration ends the run.
    pub(super) async fn open(given: &str, required: bool, session: &Session) -> Result<Stores> {
        let first = session.store().await;
        let second = session.second(given, first.as_ref().ok()).await;
        let is_out = |failure: &Failure| failure.code == "usage.credentials" && !required;
        match (first, second) {
            (Ok(store), Ok(second)) => {
                let own = store.url().to_owned();
                Ok(Stores { store, also: Some(Also { store: second, required }), missed: None, own })
            }
            (Ok(store), Err(failure)) if is_out(&failure) => {
                let own = store.url().to_owned();
                let missed = Some(goes_on(session.second_url(given)?, &failure, &store, session));
                Ok(Stores { store, also: None, missed, own })
            }
            (Err(failure), Ok(store)) if is_out(&failure) => {
                let own = session.url()?.to_owned();
                let missed = Some(goes_on(own.clone(), &failure, &store, session));
                Ok(Stores { store, also: None, missed, own })
            }
            (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
        }
    }
}

fn goes_on(out: String, failure: &Failure, left: &Store, session: &Session) -> Missed {
    let why = failure.message.clone();
    let text = format!("{why}; the backup goes on with {} alone", left.url());
    session.output.warning(Some(failure.code), &text);
    Missed { store: out, code: failure.code, why }
}
