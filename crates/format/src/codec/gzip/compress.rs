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
///
/// Content that deflate cannot make smaller is stored, which is found out from samples: libdeflate would search all of it in
/// vain at twice the price of compressible content.
pub struct MemberCompressor {
    deflate: Compressor,
    store: Compressor,
    probe: Compressor,
    /// What the probe writes to.
    scratch: Vec<u8>,
}

/// How much of a content is looked at, in pieces spread over it: first its bytes are counted, then a part is compressed.
const SAMPLES: usize = 4;
const COUNTED: usize = 4 << 10;
const PROBED: usize = 32 << 10;

impl MemberCompressor {
    /// A compressor for `level`.
    #[must_use]
    pub fn new(level: Level) -> Self {
        let at = |level| Compressor::new(CompressionLvl::new(level).expect("libdeflate has levels 0 to 12"));
        Self { deflate: Compressor::new(level.0), store: at(0), probe: at(1), scratch: Vec::new() }
    }

    /// Appends to `out` the member that holds `content`, and returns the member's length.
    ///
    /// Writers pass [`MEMBER_CONTENT`](super::MEMBER_CONTENT) bytes, fewer only for the last
    /// member.
    pub fn compress(&mut self, content: &[u8], out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let deflate = if self.is_worth_it(content) { &mut self.deflate } else { &mut self.store };
        let bound = deflate.gzip_compress_bound(content.len());
        out.resize(start + bound, 0);
        let length =
            deflate.gzip_compress(content, &mut out[start..]).expect("libdeflate fits into the bound it names");
        out.truncate(start + length);
        // libdeflate writes the level into the ninth byte; the format fixes all ten.
        out[start..start + MEMBER_HEADER.len()].copy_from_slice(&MEMBER_HEADER);
        length
    }

    /// Whether deflate makes this smaller: not if all bytes are as frequent as in noise, and a piece compresses to hardly
    /// less than itself.
    fn is_worth_it(&mut self, content: &[u8]) -> bool {
        if content.len() < 2 * PROBED {
            return true;
        }
        let mut counts = [0u64; 256];
        for sample in content.chunks(content.len() / SAMPLES).take(SAMPLES) {
            for byte in &sample[..COUNTED] {
                counts[usize::from(*byte)] += 1;
            }
        }
        // The expected sum of squares of n bytes of noise is n^2 / 256 + n.
        let (squares, n) = (counts.iter().map(|count| count * count).sum::<u64>(), (SAMPLES * COUNTED) as u64);
        if squares > (n * n / 256 + n) * 5 / 4 {
            return true;
        }
        let middle = (content.len() - PROBED) / 2;
        self.scratch.resize(self.probe.deflate_compress_bound(PROBED), 0);
        let probed = self.probe.deflate_compress(&content[middle..middle + PROBED], &mut self.scratch);
        probed.is_ok_and(|length| length < PROBED - PROBED / 50)
    }
}

impl std::fmt::Debug for MemberCompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemberCompressor")
    }
}

#[cfg(test)]
mod tests {
    use super::super::inflate_whole_member;
    use super::*;

    /// Bytes without order (xorshift).
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(&mut next).flatten().take(length).collect()
    }

    #[test]
    fn noise_is_stored_and_everything_else_is_compressed() {
        const SIZE: usize = super::super::MEMBER_CONTENT;
        let text: Vec<u8> = noise(SIZE).iter().map(|byte| b'a' + byte % 16).collect();
        // Every byte is as frequent as in noise, but the next one is known.
        let counted: Vec<u8> = (0..SIZE).map(|i| i.to_le_bytes()[0]).collect();
        for (name, content, stored) in
            [("noise", noise(SIZE), true), ("text", text, false), ("counted", counted, false)]
        {
            let mut member = Vec::new();
            let length = MemberCompressor::new(Level::default()).compress(&content, &mut member);
            assert_eq!(length, member.len());
            // The block type stands in the second and third bit after the header: 0 is stored.
            assert_eq!(member[MEMBER_HEADER.len()] >> 1 & 3 == 0, stored, "{name}");
            assert!(length < SIZE + SIZE / 1000, "{name}");
            let mut back = Vec::new();
            assert!(inflate_whole_member(&member, &mut back, SIZE));
            assert_eq!(back, content, "{name}");
        }
    }
}
