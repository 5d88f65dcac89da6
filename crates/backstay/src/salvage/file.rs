//! The file that salvaged content is written to, each piece in its place. Places that nothing is written to read as zeros
//! and take no room on most file systems.
//!
//! As with a restore, the file is `FILE.partial` until the run is over. That its name is right does not say that it is
//! whole: the report does, and the exit status.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};

pub(super) struct Patchwork(Option<Open>);

struct Open {
    file: Arc<File>,
    partial: PathBuf,
    path: PathBuf,
    end: u64,
}

impl Patchwork {
    /// Begins the file; without one, what is written is dropped.
    pub(super) fn create(path: Option<PathBuf>) -> Result<Patchwork> {
        let Some(path) = path else { return Ok(Patchwork(None)) };
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(|source| failed(&partial, source))?;
        Ok(Patchwork(Some(Open { file: Arc::new(file), partial, path, end: 0 })))
    }

    pub(super) async fn write(&mut self, at: u64, bytes: Vec<u8>) -> Result<()> {
        let Some(Open { file, partial, end, .. }) = &mut self.0 else { return Ok(()) };
        *end = (*end).max(at + bytes.len() as u64);
        let file = Arc::clone(file);
        in_background(move || file.write_all_at(&bytes, at)).await.map_err(|source| failed(partial, source))
    }

    /// Everything is written: the file becomes at least `length` long and gets its name.
    pub(super) async fn finish(self, length: u64) -> Result<()> {
        let Some(Open { file, partial, path, end }) = self.0 else { return Ok(()) };
        let (from, to) = (partial.clone(), path.clone());
        let finished = in_background(move || {
            file.set_len(end.max(length))?;
            file.sync_all()?;
            fs::rename(from, to)
        });
        finished.await.map_err(|source| failed(&path, source))
    }

    pub(super) fn abandon(&self) {
        if let Some(Open { partial, .. }) = &self.0 {
            let _ = fs::remove_file(partial);
        }
    }
}

async fn in_background(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|joined| Err(std::io::Error::other(joined)))
}

fn failed(path: &std::path::Path, source: std::io::Error) -> Error {
    Error::Io { what: format!("writing {} failed", path.display()), source }
}
