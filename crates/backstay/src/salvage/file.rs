//! The file that salvaged content is written to, each piece in its place. Places that nothing is written to read as zeros
//! and take no room on most file systems.
//!
//! As with a restore, it has its name only when the run is over. That it has it does not say that it is whole: the report
//! does, and the exit status.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::partial::{PartialFile, in_background};

/// Goes if it is not finished.
pub(super) struct Patchwork(Option<Open>);

struct Open {
    partial: PartialFile,
    end: u64,
}

impl Patchwork {
    /// Begins the file; without one, what is written is dropped.
    pub(super) fn create(path: Option<PathBuf>, context: &Context) -> Result<Patchwork> {
        let Some(path) = path else { return Ok(Patchwork(None)) };
        let partial = PartialFile::create(&path, context).map_err(|source| failed(&path, source))?;
        Ok(Patchwork(Some(Open { partial, end: 0 })))
    }

    pub(super) async fn write(&mut self, at: u64, bytes: Vec<u8>) -> Result<()> {
        let Some(Open { partial, end }) = &mut self.0 else { return Ok(()) };
        *end = (*end).max(at + bytes.len() as u64);
        let file = Arc::clone(partial.file());
        let written = in_background(move || file.write_all_at(&bytes, at)).await;
        written.map_err(|source| failed(partial.path(), source))
    }

    /// Everything is written: the file becomes at least `length` long and gets its name.
    pub(super) async fn finish(self, length: u64) -> Result<()> {
        let Some(Open { partial, end }) = self.0 else { return Ok(()) };
        let path = partial.path().to_owned();
        let finished = in_background(move || {
            partial.file().set_len(end.max(length))?;
            partial.finish_here()
        });
        finished.await.map_err(|source| failed(&path, source))
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Io { what: format!("writing {} failed", path.display()), source }
}
