//! What can be wrong with an archive, one variant for each code of `spec/errors.md` that the format itself can find.
//!
//! Every variant names the object (or the place in the stream) and the value; [`Error::code`] is stable and is what
//! scripts match on. Which exit status a code has is the table's business, not this crate's.

use crate::codec::gzip;
use crate::openssl;

/// A fault in an archive, its keys or its stream. The text names the thing; the code is [`Error::code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named and the message of each variant says what they mean")]
pub enum Error {
    #[error("`{name}` is not a name of an archive or of one of its objects: {why}")]
    NameInvalid { name: String, why: &'static str },
    #[error("{object} says that it belongs to {found}")]
    NameMismatch { object: String, found: String },
    #[error("{what}")]
    NameAmbiguous { what: String },
    #[error("{id} has no manifest: {why}")]
    ArchiveUncommitted { id: String, why: &'static str },
    #[error("{id} ends after part {last}, which says that more parts follow")]
    ArchiveTruncated { id: String, last: u32 },
    #[error("part {n} of {id} is missing")]
    PartMissing { id: String, n: u32 },
    #[error("{object} stands after the end of the archive")]
    PartExtra { object: String },
    #[error("{object} ends early: {why}")]
    PartTruncated { object: String, why: &'static str },
    #[error("{object} holds part {found}")]
    PartMisplaced { object: String, found: u32 },
    #[error("{object} belongs to another archive or attempt: its {field} differs")]
    PartForeign { object: String, field: &'static str },
    #[error("{object} has {found} bytes, the manifest says {expected}")]
    PartSize { object: String, found: u64, expected: u64 },
    #[error("{object} has the SHA-256 {found}, the manifest says {expected}")]
    PartDigest { object: String, found: String, expected: String },
    #[error("{object} is not a Backstay part")]
    PartMagic { object: String },
    #[error("the header line of {object} is not valid: {why}")]
    HeaderInvalid { object: String, why: String },
    #[error("{object} is not authentic at segment {segment}")]
    SegmentAuth { object: String, segment: u64 },
    #[error("{object} is not valid: {why}")]
    ManifestInvalid { object: String, why: String },
    #[error("the seal of {object} does not fit: {why}")]
    ManifestSeal { object: String, why: &'static str },
    #[error("{object} has the root {found}, the receipt says {expected}")]
    ManifestRoot { object: String, found: String, expected: String },
    #[error("{object} is not a report that can be read: {why}")]
    ReportInvalid { object: String, why: String },
    #[error("{object} cannot be read: {why}")]
    RemarkInvalid { object: String, why: String },
    #[error("{object} is not valid: {why}")]
    SetInvalid { object: String, why: String },
    #[error("the seal of {object} does not fit: {why}")]
    SetSeal { object: String, why: &'static str },
    #[error("the set {id} lacks its member {name}: {why}")]
    SetIncomplete { id: String, name: String, why: String },
    #[error("{object} needs something that this version does not know: {what}")]
    FormatUnsupported { object: String, what: String },
    #[error("no key, identity or passphrase was given that {id} could be opened with")]
    KeyNotFound { id: String },
    #[error("{id} was written with detached keys, and no keybox of it is left: only its exported secret opens it")]
    KeyboxMissing { id: String },
    #[error("none of the given keys is the key of {id}")]
    KeyWrong { id: String },
    #[error("the passphrase of the identity that has a slot in {id} is wrong or could not be asked for")]
    KeyPassphrase { id: String },
    #[error("{id} could not be opened: {why}")]
    KeyUnusable { id: String, why: String },
    #[error("no key slot of {id} could be opened, and {damaged} of them are damaged: {why}")]
    KeyInvalid { id: String, damaged: usize, why: String },
    #[error("a key slot of {id} asks for {asked}, the limit is {limit}")]
    KeyKdfLimit { id: String, asked: String, limit: String },
    #[error("{id} is an open archive: {why}")]
    KeyOpen { id: String, why: &'static str },
    #[error("{id} is not signed by the required key: {why}")]
    KeySigner { id: String, why: &'static str },
    #[error("the key slots could not be made: {why}")]
    Wrap { why: String },
    #[error("`{given}` is not a recipient: {why}")]
    Recipient { given: String, why: String },
    #[error("the inner stream is not valid at byte {at}: {why}")]
    StreamInvalid { at: u64, why: String },
    #[error("the inner stream exceeds a limit at byte {at}: {why}")]
    StreamLimit { at: u64, why: String },
    #[error("there are bytes after the end of the inner stream, at byte {at}")]
    StreamTrailing { at: u64 },
    #[error("the content has {found} bytes, the manifest says {expected}")]
    StreamContent { found: u64, expected: u64 },
    #[error("the archive would have more than {limit} parts")]
    TooManyParts { limit: u32 },
    #[error("{object} would have {length} bytes, and may have {limit}")]
    ManifestTooLong { object: String, length: u64, limit: u64 },
    #[error("{object} could not be read: {why}")]
    SetUnreadable { object: String, why: String },
    #[error("{id} needs {ancestor}, which {why}")]
    ChainBroken { id: String, ancestor: String, why: &'static str },
    #[error("{id} {why}")]
    ChainLimit { id: String, why: &'static str },
    #[error(transparent)]
    Gzip(#[from] gzip::Error),
    #[error(transparent)]
    Openssl(#[from] openssl::Error),
}

impl Error {
    /// The stable dotted code, as `spec/errors.md` lists it.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NameInvalid { .. } => "name.invalid",
            Error::NameMismatch { .. } => "name.mismatch",
            Error::NameAmbiguous { .. } => "name.ambiguous",
            Error::ArchiveUncommitted { .. } => "archive.uncommitted",
            Error::ArchiveTruncated { .. } => "archive.truncated",
            Error::PartMissing { .. } => "part.missing",
            Error::PartExtra { .. } => "part.extra",
            Error::PartTruncated { .. } => "part.truncated",
            Error::PartMisplaced { .. } => "part.misplaced",
            Error::PartForeign { .. } => "part.foreign",
            Error::PartSize { .. } => "part.size",
            Error::PartDigest { .. } => "part.digest",
            Error::PartMagic { .. } => "part.magic",
            Error::HeaderInvalid { .. } => "header.invalid",
            Error::SegmentAuth { .. } => "segment.auth",
            Error::ManifestInvalid { .. } => "manifest.invalid",
            Error::ManifestSeal { .. } => "manifest.seal",
            Error::ManifestRoot { .. } => "manifest.root",
            Error::ReportInvalid { .. } | Error::RemarkInvalid { .. } => "report.invalid",
            Error::SetInvalid { .. } => "set.invalid",
            Error::SetSeal { .. } => "set.seal",
            Error::SetIncomplete { .. } => "set.incomplete",
            Error::FormatUnsupported { .. } => "format.unsupported",
            Error::KeyNotFound { .. } | Error::KeyboxMissing { .. } | Error::KeyUnusable { .. } => "key.not-found",
            Error::KeyPassphrase { .. } => "key.passphrase",
            Error::KeyWrong { .. } => "key.wrong",
            Error::KeyInvalid { .. } => "key.invalid",
            Error::KeyKdfLimit { .. } => "key.kdf-limit",
            Error::KeyOpen { .. } => "key.open",
            Error::KeySigner { .. } => "key.signer",
            Error::Recipient { .. } | Error::Wrap { .. } => "usage.recipient",
            Error::StreamInvalid { .. } => "stream.invalid",
            Error::StreamLimit { .. } => "stream.limit",
            Error::TooManyParts { .. } | Error::ManifestTooLong { .. } | Error::SetUnreadable { .. } => {
                "manifest.limit"
            }
            Error::StreamTrailing { .. } => "stream.trailing",
            Error::StreamContent { .. } => "stream.content",
            Error::ChainBroken { .. } => "chain.broken",
            Error::ChainLimit { .. } => "chain.limit",
            Error::Gzip(error) => error.code(),
            Error::Openssl(error) => error.code(),
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
