//! Guesses where members begin.

use memchr::memmem;

use super::{MEMBER_HEADER, MEMBER_LIMIT};
use crate::backlog::Backlog;

/// Finds the ten bytes of [`MEMBER_HEADER`] in a stream that arrives in arbitrary cuts.
///
/// The slices it gives are candidates: the ten bytes may stand inside a compressed member, and a
/// member that begins otherwise is not seen. It holds at most [`MEMBER_LIMIT`] bytes beyond what
/// its caller pushes at once.
#[derive(Debug, Default)]
pub struct MemberSplitter {
    backlog: Backlog,
    /// How far into the backlog no header begins.
    scanned: usize,
}

/// What a [`MemberSplitter`] knows about the bytes at its front.
#[derive(Debug, PartialEq, Eq)]
pub enum Split {
    /// They begin with the header and end before the next one, or at the end of the stream.
    Member(Vec<u8>),
    /// More bytes are needed, or, if there will be none, the stream is at its end.
    More,
    /// They do not begin with the header, or the next one is not within [`MEMBER_LIMIT`] bytes.
    Unsplittable,
}

impl MemberSplitter {
    /// Appends `input`.
    pub fn push(&mut self, input: &[u8]) {
        self.backlog.push(input);
    }

    /// Takes the next candidate from the front; `ended` says that no more input will come.
    pub fn split(&mut self, ended: bool) -> Split {
        let bytes = self.backlog.bytes();
        if bytes.is_empty() || (bytes.len() < MEMBER_HEADER.len() && !ended) {
            return Split::More;
        }
        if !bytes.starts_with(&MEMBER_HEADER) {
            return Split::Unsplittable;
        }
        let from = self.scanned.max(MEMBER_HEADER.len()).min(bytes.len());
        let end = match memmem::find(&bytes[from..], &MEMBER_HEADER) {
            Some(at) => from + at,
            None if ended => bytes.len(),
            None => {
                // The last nine bytes may be the beginning of a header.
                self.scanned = bytes.len() - (MEMBER_HEADER.len() - 1);
                if bytes.len() > MEMBER_LIMIT {
                    return Split::Unsplittable;
                }
                return Split::More;
            }
        };
        if end > MEMBER_LIMIT {
            return Split::Unsplittable;
        }
        Split::Member(self.take(end))
    }

    /// Removes and returns up to `count` bytes from the front, whatever they are.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        self.scanned = 0;
        self.backlog.take(count)
    }

    /// Puts bytes taken last back to the front.
    pub(super) fn put_back(&mut self, bytes: Vec<u8>) {
        self.scanned = 0;
        self.backlog.put_back(bytes);
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.backlog.len()
    }

    /// Offset in the stream of the first waiting byte.
    pub(super) fn offset(&self) -> u64 {
        self.backlog.offset()
    }

    /// Whether the waiting bytes begin with the header.
    pub(super) fn at_header(&self) -> bool {
        self.backlog.bytes().starts_with(&MEMBER_HEADER)
    }
}
