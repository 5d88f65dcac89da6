//! The time in an archive's name, held against the store's. A name's time is what the clock of the writer said, and that of an object is the store's:
//! where they differ by more than clocks do, it is the name that is not believed. Nothing of an archive is stored before it is begun, so a name that is
//! dated later than its own first object was made by a clock that was ahead.

use std::time::SystemTime;

use backstay_format::ArchiveId;
use backstay_store::Store;
use jiff::{SignedDuration, Timestamp};

/// How far the time in a name and the store's may differ, and how far a name may be ahead of now.
pub(crate) const LEEWAY: SignedDuration = SignedDuration::from_hours(24);

/// The time in a name.
pub(crate) fn begun(id: &ArchiveId) -> Timestamp {
    let millis = i64::try_from(id.millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// The store's time of an object.
pub(crate) fn stored_at(modified: SystemTime) -> Timestamp {
    Timestamp::try_from(modified).unwrap_or(Timestamp::MAX)
}

/// Whether a name is dated so much later than its first object was stored that its writer's clock was ahead.
pub(crate) fn is_ahead(id: &ArchiveId, stored: Timestamp) -> bool {
    begun(id).duration_since(stored) > LEEWAY
}

/// What the archives of a source are ordered by, to tell the newest: the time in the name, or that of the first object where it is earlier. Of archives that
/// follow each other both times do, so that this one does too, whichever clock was wrong. Stores may tell no more than seconds: within one, what is ahead is
/// not the newest.
pub(crate) fn order(id: &ArchiveId, stored: Timestamp) -> Order<'_> {
    (begun(id).min(stored), !is_ahead(id, stored), id)
}

/// See [`order`].
pub(crate) type Order<'a> = (Timestamp, bool, &'a ArchiveId);

/// What time it is by the store's clock, where it told that in an answer, and else `now`, which is this machine's.
pub fn by_store(store: &Store, now: Timestamp) -> Timestamp {
    let ahead = store.clock_offset().map(SignedDuration::from_millis);
    ahead.and_then(|ahead| now.checked_add(ahead).ok()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_ahead_from_a_day_on_and_no_archive_is_younger_than_the_store_says() {
        let stored = Timestamp::from_second(1_760_000_000).unwrap();
        let id = |hours: i64, millis: i64| {
            let time = (stored + SignedDuration::from_hours(hours)).as_millisecond() + millis;
            format!("de2fe9e4-6535-423d-8709-dca87df7985c-{time}").parse::<ArchiveId>().unwrap()
        };
        for (id, ahead) in [(id(-1000, 0), false), (id(24, 0), false), (id(24, 1), true), (id(1000, 0), true)] {
            assert_eq!(is_ahead(&id, stored), ahead, "{id}");
            assert_eq!(order(&id, stored).0, begun(&id).min(stored), "{id}");
        }
        // In one second by the store's clock.
        assert!(order(&id(72, 0), stored) < order(&id(0, 1), stored));
        // With ten digits, too.
        assert_eq!(begun(&"de2fe9e4-6535-423d-8709-dca87df7985c-1760000000".parse().unwrap()), stored);
    }
}
