//! Where the content comes from: standard input, or a command that is supervised.
//!
//! The bytes are read by one thread of its own in chunks of one frame: tokio's stdin would keep the process alive after
//! Ctrl-C. A command runs in our process group, so that password prompts and Ctrl-C reach it. Its output is good only when
//! it has ended *and* the command has said so with exit status 0; neither alone is enough.

mod pipe;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backstay_format::codec::zstd::FRAME_CONTENT;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::observe::{Event, Observer};
use pipe::Pipe;

/// How long a failed command's children may hold its output open.
const ORPHAN_GRACE: Duration = Duration::from_secs(10);
/// How long a command may take to end after it was told to.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);
/// How long our own interrupt may arrive after a child died of the same one.
const INTERRUPT_GRACE: Duration = Duration::from_millis(300);
/// The longest line of a command's standard error that is passed on whole.
const MAX_LINE: usize = 8 << 10;
/// Chunks that are read ahead: enough that reading and compressing overlap.
const READ_AHEAD: usize = 1;

/// Where the content comes from.
pub enum Source {
    /// Standard input, until it ends.
    Stdin,
    /// The standard output of this program with these arguments.
    Command(Vec<OsString>),
    /// Anything else that can be read.
    Reader(Box<dyn Read + Send>),
}

impl Source {
    /// What the manifest says about it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Source::Command(_) => "command",
            Source::Stdin | Source::Reader(_) => "stream",
        }
    }

    /// The command line without what looks like a password, for the manifest's private part.
    pub(crate) fn command_line(&self) -> Option<String> {
        let Source::Command(words) = self else { return None };
        let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let secrets = regex::Regex::new(r"(?i)(://[^/@\s:]*:)[^@\s]+@|(pass(?:word|wd|phrase)?=)\S+")
            .expect("the pattern is valid");
        Some(
            secrets
                .replace_all(&line, |found: &regex::Captures<'_>| match (found.get(1), found.get(2)) {
                    (Some(user), _) => format!("{}…@", user.as_str()),
                    (_, Some(key)) => format!("{}…", key.as_str()),
                    _ => String::new(),
                })
                .into_owned(),
        )
    }

    /// How many bytes will come, if it is a file that is read to its end.
    pub(crate) fn length(&self) -> Option<u64> {
        let Source::Stdin = self else { return None };
        let mut file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
        let facts = file.metadata().ok().filter(Metadata::is_file)?;
        facts.len().checked_sub(file.stream_position().ok()?)
    }

    /// Starts reading.
    pub(crate) fn start(
        self,
        interrupt: Interrupt,
        observer: &Arc<dyn Observer>,
        patience: Duration,
    ) -> Result<Chunks> {
        let (reader, child): (Box<dyn Read + Send>, _) = match self {
            Source::Stdin => {
                let stdin = io::stdin().as_fd().try_clone_to_owned();
                (Box::new(Pipe::new(File::from(stdin.map_err(|source| Error::SourceRead { read: 0, source })?))), None)
            }
            Source::Reader(reader) => (reader, None),
            Source::Command(words) => {
                let (output, supervised) = Supervised::spawn(&words, observer)?;
                (Box::new(Pipe::new(output)), Some(supervised))
            }
        };
        let (filled, chunks) = mpsc::channel(READ_AHEAD);
        let (spare, spares) = std::sync::mpsc::channel();
        let held = Arc::default();
        std::thread::Builder::new()
            .name("reader".to_owned())
            .spawn({
                let held = Arc::clone(&held);
                move || read_all(reader, &filled, &spares, &held)
            })
            .map_err(|error| Error::Internal { why: format!("the reading thread does not start: {error}") })?;
        Ok(Chunks { chunks, spare, held, child, interrupt, patience, read: 0, ended: false })
    }
}

/// Reads chunks until the end, an error, or until nobody takes them any more.
fn read_all(
    mut reader: Box<dyn Read + Send>,
    filled: &mpsc::Sender<io::Result<Vec<u8>>>,
    spares: &std::sync::mpsc::Receiver<Vec<u8>>,
    held: &AtomicU64,
) {
    loop {
        let mut chunk = spares.try_recv().unwrap_or_else(|_| Vec::with_capacity(FRAME_CONTENT));
        chunk.resize(FRAME_CONTENT, 0);
        let mut length = 0;
        let end = loop {
            match reader.read(&mut chunk[length..]) {
                Ok(0) => break Some(Ok(())),
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(Err(error)),
            }
            if length == FRAME_CONTENT {
                break None;
            }
        };
        chunk.truncate(length);
        if length > 0 && !hand_over(chunk, filled, held) {
            return;
        }
        match end {
            None => {}
            Some(Ok(())) => return,
            Some(Err(error)) => {
                let _ = filled.blocking_send(Err(error));
                return;
            }
        }
    }
}

/// Gives a chunk to whoever takes it, and notes for how long it was waited for. False when nobody will.
fn hand_over(chunk: Vec<u8>, filled: &mpsc::Sender<io::Result<Vec<u8>>>, held: &AtomicU64) -> bool {
    match filled.try_send(Ok(chunk)) {
        Ok(()) => true,
        Err(mpsc::error::TrySendError::Closed(_)) => false,
        Err(mpsc::error::TrySendError::Full(chunk)) => {
            let full = std::time::Instant::now();
            let taken = filled.blocking_send(chunk).is_ok();
            held.fetch_add(u64::try_from(full.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            taken
        }
    }
}

/// The content as it arrives, chunk by chunk.
pub(crate) struct Chunks {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    spare: std::sync::mpsc::Sender<Vec<u8>>,
    held: Arc<AtomicU64>,
    child: Option<Supervised>,
    interrupt: Interrupt,
    patience: Duration,
    read: u64,
    ended: bool,
}

impl Chunks {
    /// The next chunk, full except for the last; `None` once the content has ended and its command has succeeded.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let interrupt = self.interrupt.clone();
        let result = tokio::select! {
            biased;
            () = interrupt.wait() => Err(interrupted()),
            // A command that failed may have left a child that keeps the pipe open for ever.
            failed = orphaned(&mut self.child) => Err(failed),
            chunk = timeout(self.patience, self.chunks.recv()) => match chunk {
                Err(_) => Err(Error::SourceStalled { hours: hours(self.patience) }),
                Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
                Ok(Some(Err(source))) => Err(Error::SourceRead { read: self.read, source }),
                Ok(None) => self.end().await.map(|()| None),
            },
        };
        match result {
            Ok(Some(chunk)) => {
                self.read += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(error) => Err(self.stop(error).await),
        }
    }

    /// Gives a chunk's memory back to the reader.
    pub(crate) fn recycle(&self) -> impl Fn(Vec<u8>) + Send + Sync + Clone + use<> {
        let spare = self.spare.clone();
        move |chunk| {
            // The reader may have ended; then nobody needs the memory.
            let _ = spare.send(chunk);
        }
    }

    /// For how many nanoseconds the source has been held back so far, because nobody took what was read.
    pub(crate) fn held(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.held)
    }

    /// The content has ended: now the command must say that it was all.
    async fn end(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        tokio::select! {
            biased;
            () = self.interrupt.wait() => Err(interrupted()),
            status = timeout(self.patience, child.wait()) => match status {
                Ok(status) => child.judge(status),
                Err(_) => Err(Error::SourceLingers { hours: hours(self.patience) }),
            },
        }
    }

    /// Ends the command, if it still runs.
    pub(crate) async fn terminate(&mut self) {
        if let Some(child) = &mut self.child {
            child.terminate().await;
        }
    }

    /// Ends the command, and decides whether it failed or the user stopped everything: Ctrl-C reaches the command first.
    async fn stop(&mut self, error: Error) -> Error {
        self.terminate().await;
        if !matches!(error, Error::Interrupted { .. }) && timeout(INTERRUPT_GRACE, self.interrupt.wait()).await.is_ok()
        {
            return interrupted();
        }
        error
    }
}

/// What a message says of a patience.
fn hours(patience: Duration) -> u64 {
    patience.as_secs() / 3600
}

fn interrupted() -> Error {
    Error::Interrupted { left: "nothing was committed".to_owned() }
}

/// Resolves when the command has failed and its output stays open nevertheless, whether or not something still comes.
async fn orphaned(child: &mut Option<Supervised>) -> Error {
    let Some(child) = child else { return std::future::pending().await };
    let status = child.wait().await;
    match child.judge(status) {
        Ok(()) => std::future::pending().await,
        Err(error) => {
            tokio::time::sleep_until(child.ended_at.unwrap_or_else(Instant::now) + ORPHAN_GRACE).await;
            error
        }
    }
}

/// A command that we started and whose end we judge.
pub(crate) struct Supervised {
    child: Child,
    shown: String,
    status: Option<ExitStatus>,
    ended_at: Option<Instant>,
    /// Reads its standard error; aborted when this is dropped.
    lines: JoinSet<()>,
    last_lines: Arc<std::sync::Mutex<VecDeque<String>>>,
}

impl Supervised {
    fn spawn(words: &[OsString], observer: &Arc<dyn Observer>) -> Result<(File, Supervised)> {
        let (mut child, shown) = spawn(words, |command| {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        })
        .map_err(|(command, why)| Error::SourceFailed { command, how: format!("does not start: {why}") })?;
        let failed = |why: &str| Error::Internal { why: format!("the command's output cannot be read: {why}") };
        let output = child.stdout.take().ok_or_else(|| failed("no pipe"))?;
        let output = output.into_owned_fd().map_err(|error| failed(&error.to_string()))?;
        let errors = child.stderr.take().ok_or_else(|| failed("no pipe"))?;
        let last_lines = Arc::default();
        let mut lines = JoinSet::new();
        lines.spawn(pass_on(errors, Arc::clone(observer), Arc::clone(&last_lines)));
        Ok((File::from(output), Supervised { child, shown, status: None, ended_at: None, lines, last_lines }))
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let status = self.child.wait().await?;
        self.status = Some(status);
        self.ended_at = Some(Instant::now());
        // What it said last may still be in the pipe; a child of its own may hold it open, so not for long.
        let _ = timeout(Duration::from_millis(500), self.lines.join_next()).await;
        Ok(status)
    }

    fn judge(&self, status: io::Result<ExitStatus>) -> Result<()> {
        let how = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => ended(status),
            Err(error) => format!("cannot be waited for: {error}"),
        };
        let said = self.last_lines.lock().map(|lines| lines.back().cloned().unwrap_or_default()).unwrap_or_default();
        let how = if said.is_empty() { how } else { format!("{how}; it said: {said}") };
        Err(Error::SourceFailed { command: self.shown.clone(), how })
    }

    async fn terminate(&mut self) {
        if self.status.is_some() {
            return;
        }
        if let Some(pid) =
            self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended in this moment, which is what we want.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if timeout(TERMINATE_GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Starts a command in our process group, ended when it is dropped. Gives it and its name.
pub(crate) fn spawn(
    words: &[OsString],
    set: impl FnOnce(&mut Command),
) -> std::result::Result<(Child, String), (String, String)> {
    let shown = shown(words);
    let Some((program, arguments)) = words.split_first() else {
        return Err((shown, "no command was given".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    set(&mut command);
    match command.spawn() {
        Ok(child) => Ok((child, shown)),
        Err(error) => Err((shown, error.to_string())),
    }
}

/// How a command ended, in words.
pub(crate) fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// A command in messages: its program alone, since arguments may hold what nobody else should read.
fn shown(words: &[OsString]) -> String {
    words.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Passes a command's standard error on, line by line.
async fn pass_on(
    errors: ChildStderr,
    observer: Arc<dyn Observer>,
    last_lines: Arc<std::sync::Mutex<VecDeque<String>>>,
) {
    let mut reader = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end must not fill the memory, so it is taken from the reader's own buffer piece by piece.
        let more = loop {
            let Ok(available) = reader.fill_buf().await else { break false };
            if available.is_empty() {
                break false;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let take = end.unwrap_or(available.len());
            line.extend_from_slice(&available[..take.min(MAX_LINE.saturating_sub(line.len()))]);
            reader.consume(end.map_or(take, |end| end + 1));
            if end.is_some() {
                break true;
            }
        };
        if more || !line.is_empty() {
            let text = String::from_utf8_lossy(&line).into_owned();
            if let Ok(mut last) = last_lines.lock() {
                last.push_back(text.clone());
                if last.len() > 5 {
                    last.pop_front();
                }
            }
            observer.event(&Event::CommandLine { line: text });
        }
        if !more {
            return;
        }
    }
}
