//! Signals: Ctrl-C, SIGTERM and a hangup end a run in order, a second one at once; SIGUSR1 asks how far it is.
//!
//! A terminal that goes away ends a run like Ctrl-C does. Left to the default, SIGHUP would end us without a word to a command that is being fed, which
//! would take half of the content for all of it. It never counts as the second signal, for nobody is impatient there: a shell passes the hangup on to
//! its jobs before the kernel tells them, and systemd can be told to send it right behind SIGTERM.

mod hangup;

use std::sync::Arc;
use std::time::Duration;

use backstay::interrupt::Interrupt;
use backstay::unfinished;
use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// The next hangup, if it is ours to hear.
async fn hung_up(hangup: Option<&mut Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
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
    // Under `nohup` it is not ours to hear.
    let mut hangup = if hangup::is_ignored() { None } else { Some(on(SignalKind::hangup())?) };
    let mut tasks = JoinSet::new();
    let (said, interrupt) = (Arc::clone(output), interrupt.clone());
    tasks.spawn(async move {
        loop {
            let again = tokio::select! {
                _ = int.recv() => interrupt.is_set(),
                _ = term.recv() => interrupt.is_set(),
                () = hung_up(hangup.as_mut()) => false,
            };
            if again {
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
