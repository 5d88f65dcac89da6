//! Writing: gzip members in, the encrypted stream out, whole or in parts.

use super::{Cutter, Encryptor, HEADER, KeyIv, MAGIC};
use crate::codec::gzip::EMPTY_MEMBER;
use crate::error;

/// Encrypts gzip members into one stream.
#[derive(Debug)]
pub struct StreamWriter {
    encryptor: Encryptor,
    written: Written,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the gzip stream.
    pub gzip: u64,
    /// Bytes of the openssl stream.
    pub stream: u64,
}

impl StreamWriter {
    /// Begins a stream: appends its header to `out`.
    #[must_use]
    pub fn begin(key: &KeyIv, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&key.salt().0);
        Self { encryptor: Encryptor::new(key), written: Written { gzip: 0, stream: HEADER as u64 } }
    }

    /// Appends to `out` what `member`, the next gzip member, makes known of the stream.
    pub fn member(&mut self, member: &[u8], out: &mut Vec<u8>) {
        let before = out.len();
        self.encryptor.update(member, out);
        self.written.gzip += member.len() as u64;
        self.written.stream += (out.len() - before) as u64;
    }

    /// Ends the stream: appends its last block to `out`. A stream without members gets the empty
    /// one, since gzip knows no empty stream.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Written {
        if self.written.gzip == 0 {
            self.member(&EMPTY_MEMBER, out);
        }
        let before = out.len();
        self.encryptor.finish(out);
        self.written.stream += (out.len() - before) as u64;
        self.written
    }
}

/// What a part takes in memory beyond its size: what comes after a cut before the part is taken, two members of 1 MiB that nothing made
/// smaller.
pub const BEYOND: usize = (2 << 20) + (64 << 10);
/// The most that is reserved for a part at once.
const LARGEST_RESERVE: u64 = 64 << 20;

/// Encrypts gzip members into parts that obey the [rule of cuts](Cutter).
///
/// A part's memory is reserved once and used again. Memory that grew with what is in it would, with the holes that growing leaves, come to
/// twice the parts that are held.
#[derive(Debug)]
pub struct PartWriter {
    stream: StreamWriter,
    cutter: Cutter,
    /// The stream from `start` on.
    buffer: Vec<u8>,
    start: u64,
    reserve: usize,
    spares: Vec<Vec<u8>>,
    /// Parts that were taken, and the most that there may be.
    taken: u32,
    most: u32,
}

impl PartWriter {
    /// Begins an archive with parts of about `part_size` bytes, and at most `most` of them: [`MOST_PARTS`](crate::manifest::MOST_PARTS)
    /// where each is an object of its own.
    #[must_use]
    pub fn begin(key: &KeyIv, part_size: u64, most: u32) -> Self {
        let reserve = usize::try_from(part_size.min(LARGEST_RESERVE)).map_or(BEYOND, |part| part + BEYOND);
        let mut buffer = Vec::with_capacity(reserve);
        let (stream, cutter) = (StreamWriter::begin(key, &mut buffer), Cutter::new(part_size));
        Self { stream, cutter, buffer, start: 0, reserve, spares: Vec::new(), taken: 0, most }
    }

    /// Gives back a part's buffer to be used again.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spares.push(buffer);
    }

    /// Takes the next gzip member. Then take the parts it completes with
    /// [`next_part`](Self::next_part).
    pub fn member(&mut self, member: &[u8]) {
        self.stream.member(member, &mut self.buffer);
        self.cutter.member(member.len() as u64);
    }

    /// The next complete part but the last.
    ///
    /// # Errors
    /// `manifest.limit` when the archive would have more parts than it may.
    pub fn next_part(&mut self) -> error::Result<Option<Vec<u8>>> {
        let Some(cut) = self.cutter.next_cut() else { return Ok(None) };
        // Another one follows each that is taken here.
        self.taken += 1;
        if self.taken >= self.most {
            return Err(error::Error::TooManyParts { limit: self.most });
        }
        let length = usize::try_from(cut - self.start).expect("a part is held in memory");
        self.start = cut;
        let mut rest = self.spares.pop().unwrap_or_else(|| Vec::with_capacity(self.reserve));
        rest.extend_from_slice(&self.buffer[length..]);
        self.buffer.truncate(length);
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }

    /// Ends the archive and returns its last part, and what was written in all.
    ///
    /// # Panics
    ///
    /// If [`next_part`](Self::next_part) still has a part to give.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, Written) {
        assert!(self.cutter.next_cut().is_none(), "all complete parts are taken first");
        let written = self.stream.finish(&mut self.buffer);
        (self.buffer, written)
    }
}
