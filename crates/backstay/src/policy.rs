//! What a reader accepts: the same for restore, verify and reassemble.

use std::str::FromStr;

use backstay_format::ArchiveId;
use backstay_format::openssl::Kdf;
use backstay_format::signature::Signer;
use backstay_format::text::{from_hex, to_hex};

use crate::error::{Error, Result};

/// The two profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileName {
    /// Backstay's own format.
    Native,
    /// What `openssl enc` writes.
    Openssl,
}

impl std::fmt::Display for ProfileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ProfileName::Native => "native",
            ProfileName::Openssl => "openssl",
        })
    }
}

/// What a reader accepts. The default is the careful one.
#[derive(Debug, Clone, Default)]
pub struct ReadPolicy {
    /// Read without the manifest, whether it is missing or bad: its sizes, digests and root are then not checked.
    pub no_manifest: bool,
    /// Take an archive that is not encrypted, if no key of any kind is given.
    pub allow_open: bool,
    /// Refuse an archive that this key did not sign.
    pub signer: Option<Signer>,
    /// Refuse an archive with another root.
    pub root: Option<[u8; 32]>,
    /// Refuse an archive that is not the one of this receipt.
    pub receipt: Option<ReceiptLine>,
    /// Do not look for the ancestors of an incremental archive: its own stream is all that is wanted.
    pub this_stream_only: bool,
    /// Refuse an archive of the openssl profile that has no sealed manifest, and to read any without its manifest.
    pub require_seal: bool,
    /// How archives of the openssl profile are read.
    pub openssl: OpensslReading,
    /// Take every archive to be of this profile.
    pub format: Option<ProfileName>,
}

/// A receipt as it was printed at the commit: `<id> <root> <seal> <stored>`, and `unconfirmed` where that applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptLine {
    /// The archive.
    pub id: ArchiveId,
    /// Its root.
    pub root: [u8; 32],
    /// SHA-256 of what the seal covers.
    pub seal: [u8; 32],
    /// Stored bytes of all parts.
    pub stored: u64,
    /// Whether it says so.
    pub unconfirmed: bool,
}

impl std::fmt::Display for ReceiptLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} {}", self.id, to_hex(&self.root), to_hex(&self.seal), self.stored)?;
        if self.unconfirmed { f.write_str(" unconfirmed") } else { Ok(()) }
    }
}

impl FromStr for ReceiptLine {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split_ascii_whitespace();
        let mut parse = || {
            let id = words.next()?.parse().ok()?;
            let (root, seal) = (from_hex(words.next()?)?, from_hex(words.next()?)?);
            let stored = words.next()?.parse().ok()?;
            let unconfirmed = match (words.next(), words.next()) {
                (None, _) => false,
                (Some("unconfirmed"), None) => true,
                _ => return None,
            };
            Some(ReceiptLine { id, root, seal, stored, unconfirmed })
        };
        parse().ok_or_else(|| Error::Usage { why: format!("`{line}` is not a receipt: <id> <root> <seal> <stored>") })
    }
}

/// What an archive of the openssl profile does not say about itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpensslReading {
    /// How the key follows from the password; found out when `None`.
    pub kdf: Option<Kdf>,
    /// The payload is not gzip.
    pub raw: bool,
}
