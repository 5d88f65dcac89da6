//! For `--atomic`: the sealed parts of an archive, kept on this machine until everything about them is known to be right.
//!
//! What is on the disk is what was in the store, so no plaintext touches it. The manifest and the keys are not: the archive has been opened with them
//! already, once, and it is by what they said then that the parts are judged. The folder goes when this is dropped.

use std::path::PathBuf;
use std::sync::Arc;

use backstay_store::Store;
use futures::TryStreamExt as _;

use crate::archive::Archive;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::restore::{RestoreOptions, fetcher};
use crate::unfinished::{Noted, Unfinished};

/// A store of one archive on this machine.
pub(crate) struct Kept {
    pub(crate) store: Store,
    _folder: Folder,
}

/// A folder of our own.
struct Folder {
    path: PathBuf,
    _noted: Noted,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Sealed bytes that stay behind harm nobody.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Fetches the parts of the archive.
pub(crate) async fn fetch(
    store: &Store,
    archive: &Archive,
    options: &RestoreOptions,
    context: &Context,
    observer: &Arc<dyn Observer>,
) -> Result<Kept> {
    let parent = options.spool_dir.clone().unwrap_or_else(std::env::temp_dir);
    let name = backstay_format::text::to_hex(&context.random::<8>());
    let path = parent.join(format!("backstay-{name}"));
    std::fs::create_dir(&path)
        .map_err(|source| Error::Io { what: format!("the spool {} cannot be created", path.display()), source })?;
    let folder = Folder { _noted: Unfinished::Folder(path.clone()).note(), path };
    let kept = Kept { store: Store::at_directory(&folder.path), _folder: folder };
    let fetcher = fetcher(store, options, context, observer);
    for part in archive.parts() {
        let mut object = kept.store.create_streaming(&part.name).await?;
        let mut pieces = fetcher.raw(part);
        while let Some(piece) = pieces.try_next().await? {
            object.write(piece.bytes).await?;
        }
        object.commit().await?;
    }
    Ok(kept)
}
