//! An archive's content into a PostgreSQL server, for `restore --to-db` and `drill`.
//!
//! The beginning of the content is read first, by itself: it says which programs and which server the rest needs, and nothing is
//! started before that is known. What the server says meanwhile is shown as it comes, and counted.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstay::observe::{Event, Observer as _, Silent};
use backstay::restore::{RestoreOptions, Restored, Target};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_postgres::target::facts::Facts;
use backstay_postgres::target::head::{self, Head};
use backstay_postgres::target::host::Host;
use backstay_postgres::target::judge::{Judge, Tally, Verdict};
use backstay_postgres::target::load::{Listener, Load, Place};
use backstay_postgres::target::message::Message;
use backstay_postgres::target::psql::Psql;
use backstay_store::Store;
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::output::human::count;
use crate::session::Session;

/// The most errors that are shown one by one.
const SHOWN: u64 = 20;
/// What to do after an interrupt.
const AGAIN: &str = "run it again, into a target that is empty";
/// How long our own interrupt may arrive after a program died of the same one.
const INTERRUPT_GRACE: Duration = Duration::from_millis(300);

/// An archive that is to be loaded.
pub(super) struct Loading<'a> {
    pub(super) store: &'a Store,
    pub(super) id: &'a ArchiveId,
    pub(super) keyring: &'a Keyring,
    pub(super) options: RestoreOptions,
    pub(super) session: &'a Session,
}

/// What was loaded.
pub(super) struct Loaded {
    pub(super) restored: Restored,
    pub(super) tally: Tally,
    /// For how long the content waited for the server.
    pub(super) waited: Duration,
    /// From the first request to the last statement.
    pub(super) elapsed: Duration,
}

impl Loading<'_> {
    /// Reads what the content begins with.
    pub(super) async fn head(&self) -> Result<Head> {
        let bytes = Bytes::default();
        // --atomic would fetch all of it, and limits are the whole content's.
        let options =
            RestoreOptions { range: Some(0..head::LENGTH), atomic: false, max_output: None, ..self.options.clone() };
        let target = Target::Writer(Box::new(bytes.clone()));
        let (context, silent) = (&self.session.context, Arc::new(Silent));
        backstay::restore(self.store, self.id, self.keyring, target, &options, context, silent).await?;
        let bytes = bytes.0.lock().map(|bytes| bytes.clone()).unwrap_or_default();
        Ok(Head::read(&bytes)?)
    }

    /// Loads the content into this host. Statements that the server refuses are in the tally and are no failure here.
    pub(super) async fn load(
        &self,
        psql: &Psql,
        head: &Head,
        place: Place<'_>,
        host: Host<'_>,
        judge: &Judge,
    ) -> Result<Loaded> {
        let begun = Instant::now();
        let interrupt = &self.session.context.interrupt;
        let (mut load, feed) = Load::start(psql, head.kind, place, host, judge, &listener(self.session))?;
        let target = Target::Writer(Box::new(feed));
        let (context, observer) = (&self.session.context, self.session.observer());
        let restoring = backstay::restore(self.store, self.id, self.keyring, target, &self.options, context, observer);
        tokio::pin!(restoring);
        let restored = tokio::select! {
            biased;
            restored = &mut restoring => restored,
            () = interrupt.wait() => {
                // The content may be waiting for a statement that takes an hour.
                load.stop().await;
                restoring.await
            }
        };
        self.session.output.end();
        match restored {
            Ok(restored) => {
                let waited = load.waited();
                if let Host::Lasting { role } = host
                    && load.left_own_role_out()
                {
                    self.session.output.note(&format!(
                        "the role `{role}`, as which this restore is logged in, keeps its own attributes and password"
                    ));
                }
                let tally = match load.finish(interrupt).await {
                    Err(error) => return Err(self.interrupted_or(error.into()).await),
                    Ok(tally) => tally,
                };
                Ok(Loaded { restored, tally, waited, elapsed: begun.elapsed() })
            }
            Err(error @ backstay::Error::TargetWrite { .. }) => {
                let why = load.broken().await;
                Err(self.interrupted_or(why.map_or_else(|| error.into(), Failure::from)).await)
            }
            Err(error) => {
                load.stop().await;
                let failure = Failure::from(error);
                // What an interrupted backup leaves is another thing.
                Err(if failure.code == "interrupted" { failure.with_hint(AGAIN) } else { failure })
            }
        }
    }

    /// A program that died may have died of what stops all of us.
    async fn interrupted_or(&self, failure: Failure) -> Failure {
        let interrupted = tokio::time::timeout(INTERRUPT_GRACE, self.session.context.interrupt.wait()).await.is_ok();
        let left = "interrupted; what was restored so far is incomplete";
        if interrupted { Failure::new("interrupted", left).with_hint(AGAIN) } else { failure }
    }
}

/// Looks at a server before anything is done to it. One that does not answer holds nobody up who wants to stop.
pub(super) async fn look(psql: &Psql, whole_server: bool, session: &Session) -> Result<Facts> {
    tokio::select! {
        biased;
        () = session.context.interrupt.wait() => {
            Err(Failure::new("interrupted", "interrupted; nothing was restored").with_hint("run it again"))
        }
        facts = Facts::of(psql, whole_server) => Ok(facts?),
    }
}

/// Bytes that are collected.
#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl io::Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().map_err(|_| io::Error::other("another thread failed"))?;
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows errors as they come, up to a number, and with `-v` everything.
fn listener(session: &Session) -> Listener {
    let (output, all, shown): (Arc<Output>, _, _) =
        (Arc::clone(&session.output), session.global.verbose > 0, AtomicU64::new(0));
    Arc::new(move |message: &Message, verdict| match verdict {
        Verdict::Error | Verdict::Target => match shown.fetch_add(1, Ordering::Relaxed) {
            n if n < SHOWN || all => output.event(&Event::CommandLine { line: sentence(message) }),
            SHOWN => output.note("further errors are counted and not shown; -v shows them"),
            _ => {}
        },
        Verdict::Benign(why) if all => output.note(&format!("benign, {why}: {}", sentence(message))),
        Verdict::Remark if all => output.note(&sentence(message)),
        Verdict::Benign(_) | Verdict::Remark => {}
    })
}

/// A message on one line.
pub(super) fn sentence(message: &Message) -> String {
    let mut line = message.line.map(|line| format!("line {line}: ")).unwrap_or_default();
    if !message.severity.is_empty() {
        let _ = write!(line, "{}: ", message.severity);
    }
    if let Some(code) = &message.sqlstate {
        let _ = write!(line, "{code}: ");
    }
    line += &message.text;
    if let Some(statement) = &message.statement {
        let _ = write!(line, "; the statement: {statement}");
    }
    line
}

/// What was said in all, as it is printed.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Said {
    pub(super) errors: u64,
    pub(super) benign: u64,
    pub(super) remarks: u64,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    pub(super) codes: BTreeMap<String, u64>,
}

impl From<&Tally> for Said {
    fn from(tally: &Tally) -> Said {
        Said {
            errors: tally.errors,
            benign: tally.benign,
            remarks: tally.remarks,
            reasons: tally.reasons.clone(),
            codes: tally.codes.clone(),
        }
    }
}

impl Said {
    /// Takes in what was said of another dump.
    pub(super) fn add(&mut self, other: Said) {
        self.errors += other.errors;
        self.benign += other.benign;
        self.remarks += other.remarks;
        for (why, number) in other.reasons {
            *self.reasons.entry(why).or_default() += number;
        }
        for (code, number) in other.codes {
            *self.codes.entry(code).or_default() += number;
        }
    }

    /// The failure that refused statements are.
    pub(super) fn failure(&self) -> Option<Failure> {
        let codes: Vec<_> = self.codes.iter().map(|(code, number)| format!("{code} ({number})")).collect();
        let message = format!("the server refused {}", count(self.errors, "statement"));
        (self.errors > 0)
            .then(|| Failure::new("target.statements", message).because(format!("SQLSTATE {}", codes.join(", "))))
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} benign", count(self.errors, "error"), self.benign)?;
        let reasons: Vec<_> = self.reasons.iter().map(|(why, number)| format!("{why}: {number}")).collect();
        if !reasons.is_empty() {
            write!(f, " ({})", reasons.join(", "))?;
        }
        write!(f, ", {}", count(self.remarks, "notice"))
    }
}
