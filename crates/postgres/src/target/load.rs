//! A dump on its way into a server: `content ─► psql`, or `content ─► pg_restore ─► psql`.
//!
//! pg_restore only writes the script here and psql runs it, so that one judge hears everything in one form, with codes and statements, whatever
//! the dump was. psql goes on after an error. Nothing is waited for that a dead child could keep open, and as long as the content is not
//! known to be whole its end is not passed on: children are ended first.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstay::chunk::Edges;
use backstay::interrupt::Interrupt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::source::ending::announcements;
use crate::target::head::Kind;
use crate::target::host::{Adapter, Host};
use crate::target::judge::{Judge, Tally, Verdict};
use crate::target::message::{Message, Parser};
use crate::target::psql::Psql;

/// The longest line that is looked at; the rest of it is dropped.
const LINE: usize = 8 << 10;
/// How long a child may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what a child said last may take to arrive, after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Whoever wants to hear the messages as they come. Called from another thread, and must not block.
pub type Listener = Arc<dyn Fn(&Message, Verdict) + Send + Sync>;

/// The database that a dump goes into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// That of the connection.
    Connected,
    /// Another one that is there.
    Database(&'a str),
    /// One that is created as the dump says; for archives of pg_restore.
    Created,
}

impl<'a> Place<'a> {
    /// For a member of a dump of a whole server: two databases are there from the beginning.
    ///
    /// # Errors
    /// `target.failed` for a name that psql cannot be led to.
    pub fn of_database(name: &'a str) -> Result<Place<'a>> {
        match name {
            "postgres" | "template1" => Ok(Place::Database(name)),
            _ if name.contains(['\n', '\r']) => Err(Error::LineBreak { name: name.to_owned() }),
            _ => Ok(Place::Created),
        }
    }
}

/// A dump that is being loaded.
#[derive(Debug)]
pub struct Load {
    psql: Child,
    restore: Option<Child>,
    /// Our end of the pipe that the content goes through, so that the children do not take its end for the end of the content.
    held: Option<OwnedFd>,
    lines: JoinSet<()>,
    tally: Arc<Mutex<Tally>>,
    passed: Arc<Passed>,
}

/// What is known of the content that has passed.
#[derive(Debug, Default)]
struct Passed {
    edges: Mutex<Edges>,
    /// For how long it waited, in nanoseconds.
    waited: AtomicU64,
    /// Statements that were left out.
    left_out: AtomicU64,
}

/// Where the content is written to.
#[derive(Debug)]
pub struct Feed {
    pipe: File,
    /// Of a dump of a whole server.
    adapter: Option<Adapter>,
    passed: Arc<Passed>,
}

impl Write for Feed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let written = match &mut self.adapter {
            None => self.pipe.write(bytes)?,
            Some(adapter) => {
                let mut rest = Vec::with_capacity(bytes.len());
                let left_out = adapter.pass(bytes, &mut rest)?;
                self.passed.left_out.fetch_add(left_out, Ordering::Relaxed);
                self.pipe.write_all(&rest)?;
                bytes.len()
            }
        };
        if let Ok(mut edges) = self.passed.edges.lock() {
            edges.see(&bytes[..written]);
        }
        let waited = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.passed.waited.fetch_add(waited, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Load {
    /// Starts the programs for a dump of this kind. Gives where its content is to be written to. Of a dump of a whole server, what is not
    /// for this host is left out, or changed.
    ///
    /// # Errors
    /// `target.failed` when a program does not start.
    pub fn start(
        psql: &Psql,
        kind: Kind,
        place: Place<'_>,
        host: Host<'_>,
        judge: &Judge,
        listener: &Listener,
    ) -> Result<(Load, Feed)> {
        let spawned = |program: &'static str, child: io::Result<Child>| {
            child
                .map_err(|error| Error::Target { program: program.to_owned(), how: format!("does not start: {error}") })
        };
        let no_pipe = |program: &'static str| {
            let program = program.to_owned();
            move || Error::Target { program, how: "has no pipe".to_owned() }
        };
        let mut loader = match place {
            Place::Database(name) => psql.psql_in(name),
            Place::Connected | Place::Created => psql.psql(),
        };
        loader
            .args(["-v", "ON_ERROR_STOP=0", "-v", "ECHO=errors", "-o", "/dev/null"])
            .env("PGOPTIONS", psql.options())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut restore = None;
        if kind == Kind::Archive {
            let mut command = psql.command("pg_restore");
            if place == Place::Created {
                command.arg("--create");
            }
            command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = spawned("pg_restore", command.spawn())?;
            let script = child.stdout.take().and_then(|pipe| pipe.into_owned_fd().ok());
            loader.stdin(Stdio::from(script.ok_or_else(no_pipe("pg_restore"))?));
            restore = Some(child);
        } else {
            loader.stdin(Stdio::piped());
        }
        let mut child = spawned("psql", loader.spawn())?;
        // With the command goes our copy of the pipe between the two.
        drop(loader);
        let first = restore.as_mut().unwrap_or(&mut child);
        let pipe = first.stdin.take().and_then(|pipe| pipe.into_owned_fd().ok()).ok_or_else(no_pipe("psql"))?;
        let held = pipe.try_clone().map_err(|_| no_pipe("psql")())?;
        let (tally, mut lines) = (Arc::default(), JoinSet::new());
        for errors in
            [child.stderr.take(), restore.as_mut().and_then(|child| child.stderr.take())].into_iter().flatten()
        {
            lines.spawn(hear(errors, judge.clone(), Arc::clone(&tally), Arc::clone(listener)));
        }
        let passed: Arc<Passed> = Arc::default();
        let adapter = (kind == Kind::Cluster).then(|| Adapter::new(host, psql.run_as));
        let feed = Feed { pipe: File::from(pipe), adapter, passed: Arc::clone(&passed) };
        Ok((Load { psql: child, restore, held: Some(held), lines, tally, passed }, feed))
    }

    /// For how long the content has waited for the server so far.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.passed.waited.load(Ordering::Relaxed))
    }

    /// Whether something was left out, because it is about the role that restores.
    pub fn left_own_role_out(&self) -> bool {
        self.passed.left_out.load(Ordering::Relaxed) > 0
    }

    /// Demands that the content ended as it announced.
    fn demand_end(&self) -> Result<()> {
        let rules = announcements();
        let unfinished = self.passed.edges.lock().ok().and_then(|edges| edges.unfinished(&rules).cloned());
        match unfinished {
            Some(rule) => Err(Error::CutShort { begins: rule.head, ends: rule.tail }),
            None => Ok(()),
        }
    }

    /// The content was whole and has been written: waits until the server has taken it.
    ///
    /// # Errors
    /// `target.failed` when a program or the server failed; `dump.cut-short`; `interrupted`. Statements that failed are in the tally and are no
    /// error here.
    pub async fn finish(mut self, interrupt: &Interrupt) -> Result<Tally> {
        self.held = None;
        let ended = tokio::select! {
            biased;
            () = interrupt.wait() => None,
            ended = async {
                let restore = match &mut self.restore {
                    Some(child) => Some(child.wait().await),
                    None => None,
                };
                (restore, self.psql.wait().await)
            } => Some(ended),
        };
        let Some((restore, psql)) = ended else {
            self.stop().await;
            return Err(Error::Interrupted { left: "what was restored so far is incomplete" });
        };
        let tally = self.last_words().await;
        // psql first: when it dies, pg_restore's pipe breaks.
        judge_end("psql", psql, &tally)?;
        if let Some(restore) = restore {
            judge_end("pg_restore", restore, &tally)?;
        }
        // All of it is there by now that can be.
        self.demand_end()?;
        Ok(tally)
    }

    /// Something else failed or the user wants to stop: ends the programs.
    pub async fn stop(&mut self) {
        // psql asks the server to give up what it is doing. pg_restore has nobody to ask.
        signal(&self.psql, Signal::INT);
        if let Some(restore) = &mut self.restore {
            let _ = restore.kill().await;
        }
        // It may go on with what it has read already.
        if timeout(LAST_WORDS, self.psql.wait()).await.is_err() {
            let _ = self.psql.kill().await;
        }
        self.held = None;
    }

    /// Writing the content failed. Was it because a program has ended? Then this is why.
    pub async fn broken(mut self) -> Option<Error> {
        let psql = timeout(PATIENCE, self.psql.wait()).await;
        let restore = match &mut self.restore {
            Some(child) => timeout(PATIENCE, child.wait()).await.ok(),
            None => None,
        };
        let tally = self.last_words().await;
        let psql = psql.ok().and_then(|status| judge_end("psql", status, &tally).err());
        psql.or_else(|| restore.and_then(|status| judge_end("pg_restore", status, &tally).err()))
    }

    async fn last_words(&mut self) -> Tally {
        let _ = timeout(LAST_WORDS, async { while self.lines.join_next().await.is_some() {} }).await;
        self.tally.lock().map(|tally| tally.clone()).unwrap_or_default()
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended in this moment, which is what we want.
        let _ = kill_process(pid, signal);
    }
}

fn judge_end(program: &str, status: io::Result<ExitStatus>, tally: &Tally) -> Result<()> {
    use std::os::unix::process::ExitStatusExt as _;
    let how = match status {
        // It goes on after what is wrong with the dump. A server that is out of order is not the dump's fault.
        Ok(status) if status.success() => match tally.target {
            0 => return Ok(()),
            _ => "met a server that is out of order".to_owned(),
        },
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit status {code}"),
            (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    };
    let said = tally.fault().map(|message| format!("; it said: {}", message.text)).unwrap_or_default();
    Err(Error::Target { program: program.to_owned(), how: how + &said })
}

/// Hears what a program says, to its end.
async fn hear(errors: impl AsyncRead + Unpin, judge: Judge, tally: Arc<Mutex<Tally>>, listener: Listener) {
    let mut reader = BufReader::new(errors);
    let (mut parser, mut line) = (Parser::default(), Vec::new());
    let take = |message: Option<Message>| {
        let Some(message) = message else { return };
        let verdict = judge.judge(&message);
        if let Ok(mut tally) = tally.lock() {
            tally.add(&message, verdict);
        }
        listener(&message, verdict);
    };
    while let Ok(true) = next_line(&mut reader, &mut line).await {
        take(parser.line(&String::from_utf8_lossy(&line)));
    }
    take(parser.finish());
}

/// Reads a line, of which no more than [`LINE`] bytes are kept. False at the end.
async fn next_line(reader: &mut (impl tokio::io::AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let take = end.unwrap_or(available.len());
        line.extend_from_slice(&available[..take.min(LINE.saturating_sub(line.len()))]);
        reader.consume(end.map_or(take, |end| end + 1));
        if end.is_some() {
            return Ok(true);
        }
    }
}
