//! The user wants to stop: set once, seen by everything that waits. A store is where most of the waiting is done, so that this is where it ends: nothing is
//! repeated any more, and what was asked already gets a moment to be answered, for an object that was created is better known than not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long after the interrupt a store may still answer.
const GRACE: Duration = Duration::from_secs(1);

/// A flag that is set once and can be waited for. Clones share it.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<watch::Sender<Option<Instant>>>);

impl Default for Interrupt {
    fn default() -> Self {
        Interrupt(Arc::new(watch::Sender::new(None)))
    }
}

impl Interrupt {
    /// Sets it. Safe from any thread.
    pub fn set(&self) {
        self.0.send_if_modified(|set| {
            let first = set.is_none();
            set.get_or_insert_with(Instant::now);
            first
        });
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until it is set.
    pub async fn wait(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether a store may not be asked anything any more.
    pub(crate) fn is_over(&self) -> bool {
        self.0.borrow().is_some_and(|set| set + GRACE <= Instant::now())
    }

    /// Waits until a store need not be waited for any more.
    pub(crate) async fn over(&self) {
        self.wait().await;
        let set = *self.0.borrow();
        if let Some(set) = set {
            sleep_until(set + GRACE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_over_a_moment_after_it_was_first_set() {
        let interrupt = Interrupt::default();
        let begun = Instant::now();
        assert!(!interrupt.is_set() && !interrupt.is_over());
        let clone = interrupt.clone();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(700)).await;
                clone.set();
            }
        });
        interrupt.wait().await;
        assert!(interrupt.is_set() && !interrupt.is_over());
        interrupt.over().await;
        assert!(interrupt.is_over());
        assert_eq!(begun.elapsed(), Duration::from_millis(1700));
    }
}
