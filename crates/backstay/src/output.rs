//! Where content goes: standard output, a file, a command's standard input. In order, from a thread of its own.
//!
//! A piece is a whole frame of 2 MiB or a member of 1 MiB, and one call each: gathering several into a vectored one would save a call for hundreds of pages
//! that are copied, and hold the pieces for longer.
//!
//! A file gets its name when everything was right, so that a file of that name is always whole. A command whose input is not whole is ended, with all
//! that it started, before our end of the pipe is closed: nothing of it may take that for the end of the content.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::offspring::{Before, Offspring};
use crate::partial::PartialFile;
use crate::source::{ended, spawn};
use crate::unfinished::{Noted, Unfinished};

/// Pieces that wait to be written.
const WAITING: usize = 2;

/// Where content goes.
pub enum Target {
    /// Standard output.
    Stdout,
    /// This file, which appears only when it is whole.
    File(PathBuf),
    /// The standard input of this program with these arguments, whose failure is ours. If the content is not whole it is ended together with
    /// everything that it started; see [`adopt_orphans`](crate::offspring::adopt_orphans).
    Command(Vec<OsString>),
    /// The same with its output on our standard error: standard output is for a result.
    CommandAside(Vec<OsString>),
    /// Anything else that can be written.
    Writer(Box<dyn Write + Send>),
}

/// Writes pieces in order.
pub(crate) struct Output {
    pieces: Option<mpsc::Sender<Bytes>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    end: End,
}

/// What is left to do when everything is written.
enum End {
    Nothing { what: String },
    Name(PartialFile),
    Wait { child: Box<Child>, command: String, fed: Option<Fed> },
}

/// A command that has not been told that its input is complete.
struct Fed {
    offspring: Arc<Offspring>,
    _noted: Noted,
}

impl Output {
    pub(crate) fn open(target: Target, context: &Context) -> Result<Output> {
        let (writer, end): (Box<dyn Write + Send>, End) = match target {
            Target::Writer(writer) => (writer, End::Nothing { what: "the output".to_owned() }),
            Target::Stdout => {
                let what = "standard output".to_owned();
                let stdout = io::stdout().as_fd().try_clone_to_owned();
                (
                    Box::new(File::from(stdout.map_err(|source| Error::TargetWrite { target: what.clone(), source })?)),
                    End::Nothing { what },
                )
            }
            Target::File(path) => {
                let partial = PartialFile::create(&path, context).map_err(|source| failed(&path, source))?;
                (Box::new(Arc::clone(partial.file())), End::Name(partial))
            }
            Target::Command(words) => Output::command(&words, Stdio::inherit())?,
            Target::CommandAside(words) => {
                let aside = io::stderr().as_fd().try_clone_to_owned();
                let aside = aside.map_err(|source| Error::Io { what: "the standard error".to_owned(), source })?;
                Output::command(&words, aside.into())?
            }
        };
        let (pieces, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write_all(writer, waiting))
            .map_err(|error| Error::Internal { why: format!("the writing thread does not start: {error}") })?;
        Ok(Output { pieces: Some(pieces), thread: Some(thread), end })
    }

    /// Starts a command that reads what is written.
    fn command(words: &[OsString], stdout: Stdio) -> Result<(Box<dyn Write + Send>, End)> {
        let before = Before::now();
        let (mut child, command) = spawn(words, |command| {
            command.stdin(Stdio::piped()).stdout(stdout);
        })
        .map_err(|(command, why)| Error::TargetFailed { command, how: format!("does not start: {why}") })?;
        let offspring = Arc::new(before.started(child.id()));
        let noted = Unfinished::Command(Arc::clone(&offspring)).note();
        let fed = Some(Fed { offspring, _noted: noted });
        let stdin = child.stdin.take().and_then(|stdin| stdin.into_owned_fd().ok());
        let stdin = stdin.ok_or_else(|| Error::Internal { why: "a command's input cannot be written".to_owned() })?;
        Ok((Box::new(File::from(stdin)), End::Wait { child: Box::new(child), command, fed }))
    }

    /// Writes the next piece, waiting while others are being written.
    pub(crate) async fn write(&mut self, piece: Bytes) -> Result<()> {
        let Some(pieces) = &self.pieces else { return Ok(()) };
        if pieces.send(piece).await.is_ok() {
            return Ok(());
        }
        // The thread ended, so it has an error to tell.
        match self.written().await {
            Ok(()) => Err(Error::Internal { why: "the writing thread ended early".to_owned() }),
            Err(error) => Err(error),
        }
    }

    /// Everything was right: the file gets its name, the command is waited for.
    pub(crate) async fn finish(mut self) -> Result<()> {
        if let Err(error) = self.written().await {
            // The last bytes, or the flush of all of them, failed.
            self.abandon().await;
            return Err(error);
        }
        match std::mem::replace(&mut self.end, End::Nothing { what: String::new() }) {
            End::Nothing { .. } => Ok(()),
            End::Name(partial) => {
                let path = partial.path().to_owned();
                partial.finish().await.map_err(|source| failed(&path, source))
            }
            End::Wait { mut child, command, fed } => {
                // It has been told that this was all.
                drop(fed);
                match child.wait().await {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(Error::TargetFailed { command, how: ended(status) }),
                    Err(error) => Err(Error::TargetFailed { command, how: error.to_string() }),
                }
            }
        }
    }

    /// Something was wrong: what was written is not to be mistaken for the whole. A command is ended rather than told
    /// that its input is complete; what is left of it is told in a sentence.
    pub(crate) async fn abandon(mut self) -> Option<String> {
        let mut left = None;
        if let End::Wait { child, command, fed } = &mut self.end {
            if let Some(fed) = fed.take() {
                let refused = tokio::task::spawn_blocking(move || fed.offspring.end()).await.unwrap_or_default();
                left = (refused > 0).then(|| {
                    format!(
                        "{refused} of the processes that `{command}` started belong to another user and could not be ended: what they have read is \
                         incomplete, and looks to them as if it had ended"
                    )
                });
            }
            let _ = child.kill().await;
        }
        let _ = self.written().await;
        left
    }

    /// Waits until the thread has written everything.
    async fn written(&mut self) -> Result<()> {
        self.pieces = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(self.write_fault(error).await),
            _ => Err(Error::Internal { why: "the writing thread failed".to_owned() }),
        }
    }

    async fn write_fault(&mut self, source: io::Error) -> Error {
        match &mut self.end {
            End::Nothing { what } => Error::TargetWrite { target: what.clone(), source },
            End::Name(partial) => failed(partial.path(), source),
            End::Wait { child, command, .. } => {
                let how = match child.wait().await {
                    Ok(status) if !status.success() => ended(status),
                    _ => "stopped reading before the end".to_owned(),
                };
                Error::TargetFailed { command: command.clone(), how }
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // A restore that is given up in the middle: our end of the pipe closes after this.
        if let End::Wait { fed: Some(fed), .. } = &self.end {
            fed.offspring.end();
        }
    }
}

fn write_all(mut writer: Box<dyn Write + Send>, mut waiting: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(piece) = waiting.blocking_recv() {
        writer.write_all(&piece)?;
    }
    writer.flush()
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::TargetWrite { target: path.display().to_string(), source }
}
