//! What a backup is told: what its archive is called, how it is made, and what has to be true of it.

use std::sync::Arc;
use std::time::Duration;

use backstay_format::Guid;
use backstay_format::header::Codec;
use backstay_format::openssl::{Kdf, Password};
use backstay_format::segment::Aead;
use backstay_format::signature::SigningKey;

use super::spool::Spool;
use crate::chunk::{Checks, Facts, Watch};
use crate::compress::Compressors;
use crate::destinations::Also;
use crate::effort::Level;
use crate::keys::Encryption;
use crate::layout;
use crate::pack::Padding;
use crate::patience::STALL;

/// How to make an archive.
#[derive(Debug)]
pub struct BackupOptions {
    /// The source's identity: its archives share it.
    pub guid: Guid,
    /// The source's name, for people.
    pub name: String,
    /// Keep name and tags in the sealed part of the manifest.
    pub hide_name: bool,
    /// Leave the content's length out of the manifest.
    pub hide_size: bool,
    /// Labels.
    pub tags: Vec<String>,
    /// What to write.
    pub format: Format,
    /// How hard to compress.
    pub level: Level,
    /// Bytes of memory that all buffers together may take.
    pub memory: u64,
    /// The nominal size of a part in bytes; chosen when `None`.
    pub part_size: Option<u64>,
    /// About how many bytes will be stored at most, where somebody has an idea of it: parts are then large enough. That of a file is
    /// known by itself.
    pub expected: Option<u64>,
    /// Uploads in flight, at most.
    pub uploads: usize,
    /// What the content must be.
    pub checks: Checks,
    /// How long the source may give nothing.
    pub stall: Duration,
    /// A second store, written in the same pass.
    pub also: Option<Also>,
    /// Where sealed parts wait for the store; not together with a second store.
    pub spool: Option<Arc<Spool>>,
    /// What the manifest calls the kind of source, instead of `stream` or `command`.
    pub source: Option<&'static str>,
    /// Further facts for the sealed part of the manifest, by name.
    pub facts: Facts,
    /// Who looks at the content and may find out more.
    pub watch: Option<Box<dyn Watch>>,
}

impl BackupOptions {
    /// Bytes that each thread takes to compress.
    #[must_use]
    pub fn context(&self) -> u64 {
        let codec = match self.format {
            Format::Native { codec, .. } => codec,
            Format::Openssl { .. } => Codec::Gzip,
        };
        Compressors::memory(codec, self.level)
    }

    /// The defaults for this source and format.
    pub fn new(guid: Guid, name: String, format: Format) -> BackupOptions {
        BackupOptions {
            guid,
            name,
            hide_name: false,
            hide_size: false,
            tags: Vec::new(),
            format,
            level: Level::Auto,
            memory: layout::MEMORY,
            part_size: None,
            expected: None,
            uploads: layout::UPLOADS,
            checks: Checks::default(),
            stall: STALL,
            also: None,
            spool: None,
            source: None,
            facts: Facts::new(),
            watch: None,
        }
    }
}

/// What to write.
#[derive(Debug)]
pub enum Format {
    /// Backstay's own format.
    Native {
        /// The suite.
        aead: Aead,
        /// The codec.
        codec: Codec,
        /// Who can open it.
        encryption: Encryption,
        /// How its size is hidden.
        padding: Padding,
        /// Who signs it.
        signing_key: Option<SigningKey>,
    },
    /// What `openssl enc -d | gunzip` reads.
    Openssl {
        /// How the key follows from the password.
        kdf: Kdf,
        /// The password.
        password: Password,
        /// One object instead of parts.
        single: bool,
    },
}
