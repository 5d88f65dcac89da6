//! A limit of bytes or of requests a second. All that share one book in it, in the order in which they come, and wait until what is before them has
//! had its time. Nothing is saved up while nothing moves. Time is tokio's, so that tests can stop the clock.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The most and the fewest bytes that an upload moves at once; between them it is a sixteenth of a second's worth.
const SLICE: std::ops::RangeInclusive<u64> = 512..=64 << 10;

/// A limit of bytes or of requests a second. Clones share it: what goes through one is missing to the others.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_second: u64,
    /// When everything that is booked has had its time.
    free: Arc<Mutex<Option<Instant>>>,
}

impl RateLimit {
    /// A limit of so many a second, at least one.
    #[must_use]
    pub fn per_second(many: u64) -> Self {
        Self { per_second: many.max(1), free: Arc::default() }
    }

    /// Books these bytes. They may move at the time that it answers.
    pub(crate) fn book(&self, bytes: u64) -> Instant {
        self.slot(bytes).end
    }

    /// Books a request. It may be sent at the time that it answers: the first one at once.
    pub(crate) fn turn(&self) -> Instant {
        self.slot(1).start
    }

    fn slot(&self, many: u64) -> Range<Instant> {
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact to 53 bits")]
        let takes = Duration::from_secs_f64(many as f64 / self.per_second as f64);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let start = free.map_or(now, |free| free.max(now));
        let end = start + takes;
        *free = Some(end);
        start..end
    }

    /// How many bytes to move at once, so that requests which share the limit move side by side.
    pub(crate) fn slice(&self) -> usize {
        let slice = (self.per_second / 16).clamp(*SLICE.start(), *SLICE.end());
        usize::try_from(slice).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn bytes_take_their_time_one_after_the_other_whoever_books_them() {
        let limit = RateLimit::per_second(1000);
        let (begun, other) = (Instant::now(), limit.clone());
        assert_eq!(limit.book(1000) - begun, SECOND);
        assert_eq!(other.book(500) - begun, SECOND * 3 / 2);
        assert_eq!(limit.book(500) - begun, SECOND * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_saved_up_while_nothing_moves() {
        let limit = RateLimit::per_second(1000);
        limit.book(1000);
        tokio::time::sleep(SECOND * 60).await;
        let begun = Instant::now();
        assert_eq!(limit.book(2000) - begun, SECOND * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_take_turns_and_the_first_does_not_wait() {
        let limit = RateLimit::per_second(4);
        let begun = Instant::now();
        let turns: Vec<Duration> = (0..5).map(|_| limit.turn() - begun).collect();
        assert_eq!(turns, [0, 250, 500, 750, 1000].map(Duration::from_millis));
    }

    #[test]
    fn slices_are_neither_tiny_nor_longer_than_a_moment() {
        assert_eq!(RateLimit::per_second(0).slice(), 512);
        assert_eq!(RateLimit::per_second(1 << 18).slice(), 1 << 14);
        assert_eq!(RateLimit::per_second(u64::MAX).slice(), 64 << 10);
    }
}
