//! Signals: Ctrl-C and SIGTERM end a run in order, a second one at once; SIGUSR1 asks how far it is.

use std::sync::Arc;
use std::time::Duration;

use backstay::interrupt::Interrupt;
use backstay::unfinished;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::failure::{Failure, Result};
use crate::output::Output;

/// The exit status of whoever was interrupted.
const INTERRUPTED: i32 = 130;

/// Listens until it is dropped.
pub(crate) struct Listening {
    /// Aborted with this.
    _tasks: JoinSet<()>,
}

/// Starts to listen.
///
/// # Errors
/// `internal` when the system does not let us.
pub(crate) fn listen(interrupt: &Interrupt, output: &Arc<Output>) -> Result<Listening> {
    let on = |kind| {
        signal(kind)
            .map_err(|error| Failure::new("internal", "signals cannot be listened to").because(error.to_string()))
    };
    let (mut int, mut term, mut usr1) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::user_defined1())?);
    let mut tasks = JoinSet::new();
    let (said, interrupt) = (Arc::clone(output), interrupt.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
            }
            if interrupt.is_set() {
                said.end();
                unfinished::clear_away();
                std::process::exit(INTERRUPTED);
            }
            interrupt.set();
            said.note("stopping; once more stops at once");
        }
    });
    let status = Arc::clone(output);
    tasks.spawn(async move {
        while usr1.recv().await.is_some() {
            status.status();
        }
    });
    let ticking = Arc::clone(output);
    tasks.spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            ticking.tick();
        }
    });
    Ok(Listening { _tasks: tasks })
}
