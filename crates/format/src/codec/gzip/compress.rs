//! Compression of one member.

use libdeflater::{CompressionLvl, Compressor};

use super::MEMBER_HEADER;

/// A compression level, 1 (fast) to 12 (small); 6 unless told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level(CompressionLvl);

impl Level {
    /// The level `level`, or `None` if it is not within 1 to 12.
    #[must_use]
    pub fn new(level: u8) -> Option<Self> {
        // libdeflate's level 0 stores without compressing: a size nobody asks a backup for.
        if level == 0 {
            return None;
        }
        CompressionLvl::new(i32::from(level)).ok().map(Self)
    }
}

/// Compresses pieces of content, each into one gzip member. Reusable; one per thread.
pub struct MemberCompressor {
    deflate: Compressor,
}

impl MemberCompressor {
    /// A compressor for `level`.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self { deflate: Compressor::new(level.0) }
    }

    /// Appends to `out` the member that holds `content`, and returns the member's length.
    ///
    /// Writers pass [`MEMBER_CONTENT`](super::MEMBER_CONTENT) bytes, fewer only for the last
    /// member.
    pub fn compress(&mut self, content: &[u8], out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let bound = self.deflate.gzip_compress_bound(content.len());
        out.resize(start + bound, 0);
        let length =
            self.deflate.gzip_compress(content, &mut out[start..]).expect("libdeflate fits into the bound it names");
        out.truncate(start + length);
        // libdeflate writes the level into the ninth byte; the format fixes all ten.
        out[start..start + MEMBER_HEADER.len()].copy_from_slice(&MEMBER_HEADER);
        length
    }
}

impl std::fmt::Debug for MemberCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberCompressor")
    }
}
