//! Writing: gzip members in, the encrypted stream out, whole or in parts.

use super::{Cutter, Encryptor, HEADER, KeyIv, MAGIC};
use crate::codec::gzip::EMPTY_MEMBER;

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

/// Encrypts gzip members into parts that obey the [rule of cuts](Cutter).
#[derive(Debug)]
pub struct PartWriter {
    stream: StreamWriter,
    cutter: Cutter,
    /// The stream from `start` on.
    buffer: Vec<u8>,
    start: u64,
}

impl PartWriter {
    /// Begins an archive with parts of about `part_size` bytes.
    #[must_use]
    pub fn begin(key: &KeyIv, part_size: u64) -> Self {
        let mut buffer = Vec::new();
        Self { stream: StreamWriter::begin(key, &mut buffer), cutter: Cutter::new(part_size), buffer, start: 0 }
    }

    /// Takes the next gzip member. Then take the parts it completes with
    /// [`next_part`](Self::next_part).
    pub fn member(&mut self, member: &[u8]) {
        self.stream.member(member, &mut self.buffer);
        self.cutter.member(member.len() as u64);
    }

    /// The next complete part but the last.
    pub fn next_part(&mut self) -> Option<Vec<u8>> {
        let cut = self.cutter.next_cut()?;
        let length = usize::try_from(cut - self.start).expect("a part is held in memory");
        self.start = cut;
        let rest = self.buffer.split_off(length);
        Some(std::mem::replace(&mut self.buffer, rest))
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
