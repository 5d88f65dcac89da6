//! Telling somebody that a request failed and is repeated. A run that stands still for minutes because a store is away would otherwise
//! look like one that hangs.

use std::sync::Arc;
use std::time::Duration;

/// A request that failed and will be repeated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Retry {
    /// The store's URL.
    pub store: String,
    /// The operation and the object's name.
    pub operation: String,
    /// How often it has failed.
    pub attempt: u32,
    /// How long it rests before the next attempt.
    pub pause: Duration,
    /// Why it failed, in the store's or the system's words.
    pub cause: String,
}

/// Whoever wants to know of retries. Called from several threads, and must not block.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn(&Retry) + Send + Sync>);

impl Watch {
    /// Calls this at each retry.
    pub fn new(told: impl Fn(&Retry) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self, retry: &Retry) {
        (self.0)(retry);
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}
