//! The one retry loop: how long to wait after a transient failure and when to give up. object_store's own retries are off, since a
//! hidden one would turn the writer's own object into somebody else's. Full jitter, so that a fleet that failed together does not
//! come back together. Time is tokio's, so that tests can stop the clock.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// How patiently a store operation is repeated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryOptions {
    /// Upper bound of the first pause; it doubles with each attempt.
    pub first_pause: Duration,
    /// Upper bound of any pause.
    pub longest_pause: Duration,
    /// No new attempt is begun this long after the first one failed. What the first one itself took does not count: a large
    /// upload over a slow line, or a process that was stopped for a while, would be left without a second attempt.
    pub deadline: Duration,
    /// The same, while the store has never answered: a wrong endpoint should not take minutes to report.
    pub first_contact: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(20),
            deadline: Duration::from_secs(5 * 60),
            first_contact: Duration::from_secs(15),
        }
    }
}

impl RetryOptions {
    /// Never repeat anything.
    #[must_use]
    pub fn never() -> Self {
        Self { deadline: Duration::ZERO, first_contact: Duration::ZERO, ..Self::default() }
    }

    /// Short pauses and a short deadline, for tests.
    #[must_use]
    pub fn brief() -> Self {
        Self {
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(50),
            deadline: Duration::from_secs(5),
            first_contact: Duration::from_secs(1),
        }
    }
}

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    options: &'a RetryOptions,
    started: Instant,
    first_failure: Option<Instant>,
    failed: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(options: &'a RetryOptions) -> Self {
        Self { options, started: Instant::now(), first_failure: None, failed: 0 }
    }

    /// Attempts that were made, the present one included once it has failed.
    pub(crate) fn made(&self) -> u32 {
        self.failed
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Records a failed attempt without planning another one.
    pub(crate) fn give_up(&mut self) {
        self.failed += 1;
    }

    /// Records a failed attempt; answers how long to wait before the next one, no shorter than the store asks for, and `None` when
    /// the deadline leaves no room for another.
    pub(crate) fn next(&mut self, ever_answered: bool, asked_for: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        let failing_for = self.first_failure.get_or_insert_with(Instant::now).elapsed();
        let deadline =
            if ever_answered { self.options.deadline } else { self.options.deadline.min(self.options.first_contact) };
        // A fleet that is told the same pause still does not come back together.
        let pause = asked_for.unwrap_or_default().saturating_add(self.next_pause(random_fraction()));
        (failing_for.saturating_add(pause) < deadline).then_some(pause)
    }

    /// Between nothing and the doubled bound, chosen by `fraction` in 0..1.
    fn next_pause(&self, fraction: f64) -> Duration {
        let doublings = (self.failed - 1).min(16);
        let bound = self.options.first_pause.saturating_mul(1 << doublings).min(self.options.longest_pause);
        bound.mul_f64(fraction)
    }
}

/// A number in 0..1. The standard library's hasher keys are random and that is all the randomness a pause needs.
fn random_fraction() -> f64 {
    let bits = RandomState::new().hash_one(Instant::now().elapsed()) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exactly what a double holds")]
    let fraction = bits as f64 / (1u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> RetryOptions {
        RetryOptions {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(10),
            deadline: Duration::from_secs(60),
            first_contact: Duration::from_secs(5),
        }
    }

    #[test]
    fn bounds_of_the_pauses_double_up_to_the_longest() {
        let options = options();
        let mut attempts = Attempts { options: &options, started: Instant::now(), first_failure: None, failed: 0 };
        let mut bounds = Vec::new();
        for _ in 0..6 {
            attempts.give_up();
            bounds.push(attempts.next_pause(1.0).as_secs());
        }
        assert_eq!(bounds, [1, 2, 4, 8, 10, 10]);
        attempts.failed = u32::MAX;
        assert_eq!(attempts.next_pause(1.0).as_secs(), 10);
        assert_eq!(attempts.next_pause(0.0), Duration::ZERO);
    }

    #[test]
    fn fractions_are_spread_over_the_unit_interval() {
        let fractions: Vec<f64> = (0..1000).map(|_| random_fraction()).collect();
        assert!(fractions.iter().all(|f| (0.0..1.0).contains(f)));
        assert!(fractions.iter().any(|f| *f < 0.1) && fractions.iter().any(|f| *f > 0.9));
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_before_the_deadline_and_not_much_earlier() {
        let options = options();
        let mut attempts = Attempts::new(&options);
        while let Some(pause) = attempts.next(true, None) {
            tokio::time::sleep(pause).await;
        }
        assert!(attempts.elapsed() < Duration::from_secs(60), "{:?}", attempts.elapsed());
        assert!(attempts.elapsed() > Duration::from_secs(45), "{:?}", attempts.elapsed());
        assert!(attempts.made() >= 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answered_is_given_up_early() {
        let options = options();
        let mut attempts = Attempts::new(&options);
        while let Some(pause) = attempts.next(false, None) {
            tokio::time::sleep(pause).await;
        }
        assert!(attempts.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_attempt_that_took_longer_than_the_deadline_is_repeated_all_the_same() {
        let options = options();
        let mut attempts = Attempts::new(&options);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(attempts.next(true, None).is_some());
        while let Some(pause) = attempts.next(true, None) {
            tokio::time::sleep(pause).await;
        }
        assert!(attempts.elapsed() < Duration::from_secs(660), "{:?}", attempts.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_wants_to_be_left_alone_is_and_not_past_the_deadline() {
        let (options, alone) = (options(), Duration::from_secs(30));
        let mut attempts = Attempts::new(&options);
        let pause = attempts.next(true, Some(alone)).unwrap();
        assert!(pause >= alone && pause <= alone + Duration::from_secs(1), "{pause:?}");
        assert_eq!(attempts.next(true, Some(Duration::from_secs(60))), None);
        assert_eq!(attempts.next(true, Some(Duration::MAX)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn never_means_one_attempt() {
        let options = RetryOptions::never();
        let mut attempts = Attempts::new(&options);
        assert_eq!(attempts.next(true, None), None);
        assert_eq!(attempts.made(), 1);
    }
}
