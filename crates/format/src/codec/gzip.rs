//! The gzip codec: the stream is a row of members, so that it can be written and read by many cores
//! and still by `gunzip`.
//!
//! Writers compress [`MEMBER_CONTENT`] bytes at a time, each into one member that begins with the
//! ten bytes [`MEMBER_HEADER`] ([`MemberCompressor`]). Readers may split where they see those
//! bytes, but nothing promises that the bytes cannot occur inside a compressed member; a split is
//! only ever a guess. [`Reader`] therefore takes a guess when libdeflate proves that the bytes
//! between two splits are exactly one member with its CRC and length right
//! ([`inflate_whole_member`]), and otherwise decodes from the last proven boundary with an ordinary
//! inflater ([`SerialInflater`]), which also reads what other tools wrote: any header, any member
//! size, a single member of any length. Errors come from the serial inflater alone, so that the
//! parallel path can be a gain in speed and never a change in content. It takes one thing more:
//! libdeflate reads the symbols that deflate leaves unused as the ones before them, and where CRC
//! and length then are right, the content is.
//!
//! Nothing here waits, spawns or reads a file. The caller runs the [`Job`]s wherever it likes.

mod compress;
mod header;
mod member;
mod reader;
mod rescue;
mod serial;
mod split;
#[cfg(test)]
mod tests;

pub use compress::{Level, MemberCompressor};
pub use member::inflate_whole_member;
pub use reader::{Done, Job, Next, Options, Reader, Summary};
pub use rescue::{MemberRescue, Rescued};
pub use serial::{Dialect, Progress, SerialInflater, Stop};
pub use split::{MemberSplitter, Split};

/// Bytes of content in every member but the last.
pub const MEMBER_CONTENT: usize = 1 << 20;

/// The first ten bytes of every member that Backstay writes, whatever the compression level:
/// deflate, no flags, no time, no extra flags, operating system unknown.
pub const MEMBER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The member of empty content: the whole gzip stream of an empty archive.
pub const EMPTY_MEMBER: [u8; 20] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, // header
    3, 0, // one empty final block
    0, 0, 0, 0, 0, 0, 0, 0, // CRC and length
];

/// The longest member, compressed or not, that is inflated in one piece. Longer ones are inflated
/// serially, in bounded memory.
pub const MEMBER_LIMIT: usize = 2 * MEMBER_CONTENT;

/// Why a gzip stream cannot be decoded to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not gzip, or a CRC or length is wrong.
    #[error("gzip stream is damaged near byte {offset}: {reason}")]
    Invalid {
        /// Offset in the gzip stream where decoding stopped.
        offset: u64,
        /// What the inflater said.
        reason: String,
    },
    /// The stream ends before the end of a member, or before the first.
    #[error("gzip stream ends inside a member, at byte {offset}")]
    Truncated {
        /// Length of what there is.
        offset: u64,
    },
    /// Something that is not a gzip member follows the last one.
    #[error("gzip stream is followed by other data at byte {offset}")]
    Trailing {
        /// Offset of the first byte that does not belong.
        offset: u64,
    },
    /// The content is longer than the caller allows.
    #[error("gzip content is longer than the limit of {limit} bytes")]
    Limit {
        /// The limit that was set.
        limit: u64,
    },
}

impl Error {
    /// The stable dotted code of this error in the native profile.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } | Self::Truncated { .. } => "stream.invalid",
            Self::Trailing { .. } => "stream.trailing",
            Self::Limit { .. } => "stream.limit",
        }
    }
}
