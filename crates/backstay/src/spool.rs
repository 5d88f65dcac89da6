//! For `--atomic`: the sealed objects of an archive, kept on this machine until everything about them is known to be right.
//!
//! What is on the disk is what was in the store, so no plaintext touches it. The folder goes when this is dropped.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use backstay_store::Store;
use futures::TryStreamExt as _;

use crate::archive::Archive;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::restore::{RestoreOptions, fetcher};

/// A store of one archive on this machine.
pub(crate) struct Spool {
    pub(crate) store: Store,
    folder: PathBuf,
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Sealed bytes that stay behind harm nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Fetches every object that reading the archive needs.
pub(crate) async fn fetch(
    store: &Store,
    archive: &Archive,
    options: &RestoreOptions,
    context: &Context,
    observer: &Arc<dyn Observer>,
) -> Result<Spool> {
    let parent = options.spool_dir.clone().unwrap_or_else(std::env::temp_dir);
    let name = backstay_format::text::to_hex(&context.random::<8>());
    let folder = parent.join(format!("backstay-{name}"));
    std::fs::create_dir(&folder)
        .map_err(|source| Error::Io { what: format!("the spool {} cannot be created", folder.display()), source })?;
    let spool = Spool { store: Store::at_directory(&folder), folder };
    let fetcher = fetcher(store, options, context, observer);
    for part in archive.parts() {
        let mut object = spool.store.create_streaming(&part.name).await?;
        let mut pieces = fetcher.raw(part);
        while let Some(piece) = pieces.try_next().await? {
            object.write(piece.bytes).await?;
        }
        object.commit().await?;
    }
    let id = archive.id();
    let mut small = vec![id.manifest()];
    small.extend((0..16).map(|m| id.keybox(m)));
    for name in small {
        if let Ok(Some(bytes)) = store.get(&name, backstay_format::manifest::MAX_MANIFEST).await {
            let digest = digest::digest(&digest::SHA256, &bytes);
            let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
            spool.store.create(&name, bytes, digest).await?;
        }
    }
    Ok(spool)
}
