//! The times that keep those who write and those who delete apart.

use std::time::Duration;

/// How long the source of a backup may give nothing before its writer gives up (`spec/archive.md`, W11).
pub const STALL: Duration = Duration::from_secs(24 * 3600);

/// How long nothing was stored of what may still be written: only then is an upload without a manifest one that was interrupted, a set's
/// member that is not committed one that failed, and an archive that got its tombstone one that may go.
pub const GRACE: Duration = Duration::from_secs(48 * 3600);

// A writer that waited as long as it may still has as much time for what it stores then, and clocks differ.
const _: () = assert!(GRACE.as_secs() >= 2 * STALL.as_secs());
