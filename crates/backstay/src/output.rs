//! Where content goes: standard output, a file, a command's standard input. In order, from a thread of its own.
//!
//! A piece is a whole frame of 2 MiB or a member of 1 MiB, and one call each: gathering several into a vectored one would save a call for hundreds of pages
//! that are copied, and hold the pieces for longer.
//!
//! A file is written as `FILE.partial` and renamed when everything was right, so that a file of that name is always whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::source::{ended, spawn};

/// Pieces that wait to be written.
const WAITING: usize = 2;

/// Where content goes.
pub enum Target {
    /// Standard output.
    Stdout,
    /// This file, which appears only when it is whole.
    File(PathBuf),
    /// The standard input of this program with these arguments, whose failure is ours.
    Command(Vec<OsString>),
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
    Rename { partial: PathBuf, path: PathBuf },
    Wait { child: Box<Child>, command: String },
}

impl Output {
    pub(crate) fn open(target: Target) -> Result<Output> {
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
                let mut partial = path.clone().into_os_string();
                partial.push(".partial");
                let partial = PathBuf::from(partial);
                let file = File::create(&partial).map_err(|source| failed(&partial, source))?;
                (Box::new(Synced(file)), End::Rename { partial, path })
            }
            Target::Command(words) => {
                let (mut child, command) = spawn(&words, |command| {
                    command.stdin(Stdio::piped());
                })
                .map_err(|(command, why)| Error::TargetFailed { command, how: format!("does not start: {why}") })?;
                let stdin = child.stdin.take().and_then(|stdin| stdin.into_owned_fd().ok());
                let stdin =
                    stdin.ok_or_else(|| Error::Internal { why: "a command's input cannot be written".to_owned() })?;
                (Box::new(File::from(stdin)), End::Wait { child: Box::new(child), command })
            }
        };
        let (pieces, waiting) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write_all(writer, waiting))
            .map_err(|error| Error::Internal { why: format!("the writing thread does not start: {error}") })?;
        Ok(Output { pieces: Some(pieces), thread: Some(thread), end })
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
        match &mut self.end {
            End::Nothing { .. } => Ok(()),
            End::Rename { partial, path } => {
                fs::rename(&*partial, &*path).map_err(|source| {
                    let _ = fs::remove_file(&*partial);
                    failed(path, source)
                })?;
                sync_folder(path);
                Ok(())
            }
            End::Wait { child, command } => match child.wait().await {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(Error::TargetFailed { command: command.clone(), how: ended(status) }),
                Err(error) => Err(Error::TargetFailed { command: command.clone(), how: error.to_string() }),
            },
        }
    }

    /// Something was wrong: what was written is not to be mistaken for the whole. A command is ended rather than told
    /// that its input is complete.
    pub(crate) async fn abandon(mut self) {
        if let End::Wait { child, .. } = &mut self.end {
            let _ = child.kill().await;
        }
        let _ = self.written().await;
        if let End::Rename { partial, .. } = &self.end {
            let _ = fs::remove_file(partial);
        }
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
            End::Rename { partial, .. } => failed(partial, source),
            End::Wait { child, command } => {
                let how = match child.wait().await {
                    Ok(status) if !status.success() => ended(status),
                    _ => "stopped reading before the end".to_owned(),
                };
                Error::TargetFailed { command: command.clone(), how }
            }
        }
    }
}

fn write_all(mut writer: Box<dyn Write + Send>, mut waiting: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(piece) = waiting.blocking_recv() {
        writer.write_all(&piece)?;
    }
    writer.flush()
}

/// A file whose content is on the disk once it is flushed.
struct Synced(File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A target such as /dev/null cannot be synced and need not be.
        match self.0.sync_data() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The content is safe already; a folder that cannot be synced does not make the restore fail.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::TargetWrite { target: path.display().to_string(), source }
}
