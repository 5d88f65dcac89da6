//! What happens during a run, for whoever shows it: one stream of events, read by the progress line, JSON and reports.
//!
//! Libraries never print. Totals are counted once, here; summaries are made from the same numbers.

use std::time::Duration;

use backstay_format::ArchiveId;

use crate::backup::Receipt;

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// An archive was begun.
    Started {
        /// Its id.
        id: ArchiveId,
        /// How it is made: part size, uploads in flight, threads.
        plan: String,
    },
    /// So much was read or written since the run began.
    Progress(Progress),
    /// A part is durable.
    PartStored {
        /// Its index.
        n: u32,
        /// Its stored bytes.
        size: u64,
    },
    /// A part was fetched whole.
    PartFetched {
        /// Its index.
        n: u32,
        /// Its stored bytes.
        size: u64,
    },
    /// A line that the source or target command wrote to its standard error.
    CommandLine {
        /// Without its line feed.
        line: String,
    },
    /// Something the user should know that is not an error.
    Note {
        /// One sentence, lower case, no full stop.
        text: String,
    },
    /// Something the user should act on some day.
    Warning {
        /// A code of `spec/errors.md`, where there is one.
        code: Option<&'static str>,
        /// One sentence.
        text: String,
    },
    /// A request to a store failed and will be repeated.
    Retry {
        /// The store's URL.
        store: String,
        /// The operation and the object's name.
        operation: String,
        /// How often it has failed.
        attempt: u32,
        /// How long it rests before the next attempt.
        pause: Duration,
        /// Why it failed.
        cause: String,
    },
    /// An archive was committed.
    Committed(Receipt),
}

/// Running totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes of content: read by a backup, released by a restore, checked by verify.
    pub content: u64,
    /// Stored bytes: durable in a backup, fetched otherwise.
    pub stored: u64,
    /// Parts done.
    pub parts: u32,
    /// About how many bytes of content there will be, where somebody has an idea of it.
    pub about_content: Option<u64>,
    /// Stored bytes in all, where that is known.
    pub total_stored: Option<u64>,
    /// Parts in all, where that is known.
    pub total_parts: Option<u32>,
}

/// Whoever wants to know. Called from several threads, and must not block.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event);
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}
