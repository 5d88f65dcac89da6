//! How many requests a store was sent. Requests cost money and time, so that tests hold the verbs to a number of them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Requests since the store was opened, each attempt counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestCounts {
    /// All requests to the store.
    pub attempts: u64,
    /// Objects sent.
    pub puts: u64,
    /// Objects or ranges fetched.
    pub gets: u64,
    /// Questions about an object's size and checksum.
    pub heads: u64,
    /// Pages listed.
    pub lists: u64,
    /// Deletions.
    pub deletes: u64,
    /// How many of all these repeated a failed one.
    pub retries: u64,
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Put,
    Get,
    Head,
    List,
    Delete,
    /// None of these.
    #[cfg_attr(not(feature = "cloud"), expect(dead_code))]
    Other,
}

/// The counters behind [`RequestCounts`], shared by the clones of a store and its HTTP service.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    attempts: AtomicU64,
    puts: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    retries: AtomicU64,
    answered: AtomicBool,
    container_seen: AtomicBool,
    /// The store's clock minus ours in milliseconds, in a form whose 0 means that it is not known.
    clock: AtomicI64,
}

impl Counters {
    pub(crate) fn count(&self, request: Request) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let counter = match request {
            Request::Put => &self.puts,
            Request::Get => &self.gets,
            Request::Head => &self.heads,
            Request::List => &self.lists,
            Request::Delete => &self.deletes,
            Request::Other => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers that the store is there and answers.
    pub(crate) fn note_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn ever_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Remembers by how many milliseconds the store's clock is ahead.
    #[cfg(feature = "cloud")]
    pub(crate) fn note_clock(&self, offset: i64) {
        self.clock.store(if offset >= 0 { offset.saturating_add(1) } else { offset }, Ordering::Relaxed);
    }

    pub(crate) fn clock(&self) -> Option<i64> {
        match self.clock.load(Ordering::Relaxed) {
            0 => None,
            ahead if ahead > 0 => Some(ahead - 1),
            behind => Some(behind),
        }
    }

    /// Remembers that the bucket or container is there.
    pub(crate) fn note_container(&self) {
        self.container_seen.store(true, Ordering::Relaxed);
    }

    pub(crate) fn container_seen(&self) -> bool {
        self.container_seen.load(Ordering::Relaxed)
    }

    pub(crate) fn snapshot(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            attempts: read(&self.attempts),
            puts: read(&self.puts),
            gets: read(&self.gets),
            heads: read(&self.heads),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
            retries: read(&self.retries),
        }
    }
}
