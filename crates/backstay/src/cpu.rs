//! The one bridge between waiting and computing: run a closure on the pool, await its answer.
//!
//! tokio waits, rayon computes. A panic on the pool would abort the process, and then nobody would learn which archive it
//! was, so it is caught here and comes back as an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// A pool of threads that compute.
#[derive(Clone)]
pub struct Cpu(Arc<rayon::ThreadPool>);

impl Cpu {
    /// Starts `cores` threads; one for each processor when `None`.
    ///
    /// # Errors
    /// `internal` when the system refuses threads.
    pub fn start(cores: Option<usize>) -> Result<Cpu> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(cores.unwrap_or(0))
            .thread_name(|i| format!("cpu-{i}"))
            .build()
            .map(|pool| Cpu(Arc::new(pool)))
            .map_err(|error| Error::Internal { why: format!("the computing threads do not start: {error}") })
    }

    /// How many threads there are.
    pub fn cores(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on the pool. It begins at once, whether or not the answer is awaited.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (answer, waiting) = oneshot::channel();
        self.0.spawn_fifo(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
            });
            // Nobody waits any more when the run was given up.
            let _ = answer.send(result);
        });
        async move {
            match waiting.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(why)) => Err(Error::Internal { why: format!("a computation failed: {why}") }),
                Err(_) => Err(Error::Internal { why: "a computation was dropped".to_owned() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_on_the_pool_is_an_error_and_not_the_end_of_the_process() {
        let cpu = Cpu::start(Some(1)).unwrap();
        let failed = cpu.run(|| panic!("deliberate")).await;
        assert!(matches!(failed, Err(Error::Internal { why }) if why.contains("deliberate")));
        assert_eq!(cpu.run(|| 7).await.unwrap(), 7);
    }
}
