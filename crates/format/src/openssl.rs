//! The openssl profile: archives that `openssl enc` wrote or can read.
//!
//! ```text
//! stream = "Salted__" | salt[8] | AES-256-CBC(PKCS#7, gzip(content))
//! ```
//!
//! The stream is cut at arbitrary offsets into the objects of an archive; the cuts mean nothing to
//! the cipher. Nothing in it is authenticated: what a reader can detect is listed in
//! `spec/archive.md`.
//!
//! Reading: [`Reader`] takes the stream in any cuts, finds out how the key was derived
//! ([`detect`]), and gives out jobs that decrypt and inflate in parallel. Writing: [`PartWriter`]
//! takes gzip members in order and gives encrypted parts, or [`StreamWriter`] one stream. [`KeyIv`]
//! is the key of one archive, from [`Kdf::derive`] or [`detect`].

mod cbc;
mod cut;
mod detect;
mod kdf;
mod ranges;
mod reader;
mod seal;
mod writer;

pub use cbc::{Decryptor, Encryptor, unpad};
pub use cut::{Cutter, END_MARGIN};
pub use detect::{Candidates, DigestChoice, Preamble, detect, looks_like_gzip};
pub use kdf::{Digest, Kdf, KeyIv, MAX_ITERATIONS, Password, Salt, UnknownDigest};
pub use ranges::{Decrypted, Range, Ranges};
pub use reader::{Done, Job, Next, Payload, Reader};
pub use seal::SealKey;
pub use writer::{BEYOND, PartWriter, StreamWriter, Written};

use crate::codec::gzip;

/// The first eight bytes of every stream.
pub const MAGIC: [u8; 8] = *b"Salted__";

/// Length of magic and salt.
pub const HEADER: usize = 16;

/// Length of a cipher block.
pub const BLOCK: usize = 16;

/// Why an archive of the openssl profile cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream does not begin as `openssl enc` begins it.
    #[error("the stream does not begin with \"Salted__\"")]
    Magic,
    /// No way of deriving the key from this password gives a first block that begins a gzip stream.
    #[error("the password does not open the archive (tried {})", list(tried))]
    Key {
        /// The ways that were tried.
        tried: Vec<Kdf>,
    },
    /// The iteration count is beyond what a reader does unasked.
    #[error("{iterations} iterations of PBKDF2 are more than the limit of {MAX_ITERATIONS}")]
    KdfLimit {
        /// The count asked for.
        iterations: u32,
    },
    /// The stream's length cannot be that of a whole stream.
    #[error("the stream of {length} bytes is not a header and whole blocks of 16: its end is missing")]
    Length {
        /// Length of the stream, the header included.
        length: u64,
    },
    /// The last block does not end in PKCS#7 padding.
    #[error("the last block of the stream has no valid padding: its end is missing or damaged")]
    Padding,
    /// The decrypted gzip stream does not decode.
    #[error("decrypted data does not decode")]
    Stream(#[source] gzip::Error),
}

impl Error {
    /// The stable dotted code of this error.
    ///
    /// `openssl.padding` and `openssl.stream` tell the holder of an archive apart what is wrong
    /// with it; a service that decrypts for others must answer both alike, or it becomes a padding
    /// oracle.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Magic => "openssl.magic",
            Self::Key { .. } => "openssl.key",
            Self::KdfLimit { .. } => "key.kdf-limit",
            Self::Length { .. } | Self::Padding => "openssl.padding",
            Self::Stream(gzip::Error::Limit { .. }) => "stream.limit",
            Self::Stream(_) => "openssl.stream",
        }
    }
}

fn list(kdfs: &[Kdf]) -> String {
    let names: Vec<String> = kdfs.iter().map(Kdf::to_string).collect();
    names.join(", ")
}

/// Whether a whole stream can have this length: a header and at least one block.
///
/// # Errors
///
/// [`Error::Magic`] if it is too short for the magic, [`Error::Length`] if it is no whole number of
/// blocks.
pub fn check_length(length: u64) -> Result<(), Error> {
    const BLOCK64: u64 = BLOCK as u64;
    if length < MAGIC.len() as u64 {
        return Err(Error::Magic);
    }
    if length < (HEADER + BLOCK) as u64 || !length.is_multiple_of(BLOCK64) {
        return Err(Error::Length { length });
    }
    Ok(())
}
