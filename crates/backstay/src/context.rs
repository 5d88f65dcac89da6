//! Time, randomness, processors and memory: what a run takes from the machine, in one place, so that tests can fix it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::layout;

/// Fills bytes with random ones.
type Random = dyn Fn(&mut [u8]) + Send + Sync;

/// What a run takes from the machine.
#[derive(Clone)]
pub struct Context {
    clock: Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>,
    random: Arc<Random>,
    /// The time in the latest id that was given out.
    issued: Arc<AtomicU64>,
    /// The pool that all computing runs on.
    pub cpu: Cpu,
    /// Bytes that the buffers of a verb may take which has no option for that itself.
    pub memory: u64,
    /// Set when the user wants to stop.
    pub interrupt: Interrupt,
}

impl Context {
    /// The system's clock and random numbers, and a pool of `cores` threads (all processors when `None`).
    ///
    /// # Errors
    /// `internal` when the threads cannot be started.
    pub fn system(cores: Option<usize>) -> Result<Context> {
        Ok(Context {
            clock: Arc::new(jiff::Timestamp::now),
            random: Arc::new(|bytes| aws_lc_rs::rand::fill(bytes).expect("the system's random numbers do not fail")),
            issued: Arc::default(),
            cpu: Cpu::start(cores)?,
            memory: layout::MEMORY,
            interrupt: Interrupt::default(),
        })
    }

    /// The same with another clock, by which ids begin anew.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> jiff::Timestamp + Send + Sync + 'static) -> Context {
        Context { clock: Arc::new(clock), issued: Arc::default(), ..self }
    }

    /// The same with other random numbers. For tests: whoever can guess them can read the archive.
    #[must_use]
    pub fn with_random(self, random: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Context {
        Context { random: Arc::new(random), ..self }
    }

    /// The same with another budget for buffers.
    #[must_use]
    pub fn with_memory(self, memory: u64) -> Context {
        Context { memory, ..self }
    }

    /// Now.
    pub fn now(&self) -> jiff::Timestamp {
        (self.clock)()
    }

    /// Milliseconds since 1970.
    ///
    /// # Errors
    /// `usage.clock` when the clock stands before 1970.
    pub fn millis(&self) -> Result<u64> {
        u64::try_from(self.now().as_millisecond()).map_err(|_| Error::Clock { now: crate::backup::rfc3339(self.now()) })
    }

    /// The time of a new id: `millis`, or the next that no id of this context has. Two archives that begin at once have two.
    pub(crate) fn issue(&self, millis: u64) -> u64 {
        let next = |last: u64| millis.max(last.saturating_add(1));
        next(self.issued.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(next(last))).unwrap_or_default())
    }

    /// Fills `bytes` with random ones.
    pub fn fill(&self, bytes: &mut [u8]) {
        (self.random)(bytes);
    }

    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({} cores)", self.cpu.cores())
    }
}
