//! The codec stage: one chunk becomes one frame, on the pool, with compression contexts that are reused.

use backstay_format::codec::{gzip, zstd};
use backstay_format::header::Codec;

use crate::effort::{Effort, Level};
use crate::shelf::Shelf;

/// What libdeflate takes, and what it takes at its levels 10 to 12, which keep all matches of a block.
const GZIP: u64 = 4 << 20;
const OPTIMAL_GZIP: u64 = 12 << 20;

/// A chunk's frame, and the chunk's memory to be used again.
pub(crate) struct Compressed {
    pub(crate) frame: Vec<u8>,
    /// The lengths of the gzip members in it, which the openssl profile's cuts depend on.
    pub(crate) members: Vec<usize>,
    pub(crate) content: usize,
    pub(crate) chunk: Vec<u8>,
}

/// Compressors and buffers that wait for work. A clone shares them.
#[derive(Clone)]
pub(crate) struct Compressors {
    codec: Codec,
    idle: Shelf<Compressor>,
    frames: Shelf<Vec<u8>>,
}

/// A context, which is made for one level.
struct Compressor {
    level: i32,
    kind: Kind,
}

enum Kind {
    Zstd(zstd::Compressor),
    Gzip(gzip::MemberCompressor),
}

impl Compressors {
    pub(crate) fn new(codec: Codec) -> Self {
        Compressors { codec, idle: Shelf::default(), frames: Shelf::default() }
    }

    /// What a context of the highest level that may be used takes.
    pub(crate) fn memory(codec: Codec, level: Level) -> u64 {
        match (codec, level) {
            (Codec::Zstd, Level::Auto) => zstd::Compressor::memory(Effort::HIGHEST_ZSTD),
            (Codec::Zstd, Level::Fixed(level)) => zstd::Compressor::memory(level),
            (Codec::Gzip, Level::Fixed(10..)) => OPTIMAL_GZIP,
            (Codec::Gzip, _) => GZIP,
        }
    }

    /// Compresses one chunk. gzip members hold 1 MiB, so a chunk becomes two of them.
    pub(crate) fn compress(&self, chunk: Vec<u8>, level: i32) -> Compressed {
        // Contexts of a level that is no longer used are dropped as they come up.
        let idle = std::iter::from_fn(|| self.idle.take()).find(|idle| idle.level == level);
        let mut compressor = idle.unwrap_or_else(|| Compressor::new(self.codec, level));
        let mut frame = self.frames.buffer();
        let mut lengths = Vec::new();
        match &mut compressor.kind {
            Kind::Zstd(zstd) => zstd.compress(&chunk, &mut frame),
            Kind::Gzip(gzip) => {
                let mut members = chunk.chunks(gzip::MEMBER_CONTENT);
                lengths.push(gzip.compress(members.next().unwrap_or_default(), &mut frame));
                lengths.extend(members.map(|member| gzip.compress(member, &mut frame)));
            }
        }
        self.idle.give(compressor);
        Compressed { frame, members: lengths, content: chunk.len(), chunk }
    }

    /// Gives a frame's memory back.
    pub(crate) fn recycle(&self, frame: Vec<u8>) {
        self.frames.give(frame);
    }
}

impl Compressor {
    fn new(codec: Codec, level: i32) -> Self {
        let kind = match codec {
            Codec::Zstd => Kind::Zstd(zstd::Compressor::new(level)),
            Codec::Gzip => {
                let level = u8::try_from(level).ok().and_then(gzip::Level::new);
                Kind::Gzip(gzip::MemberCompressor::new(level.unwrap_or_default()))
            }
        };
        Compressor { level, kind }
    }
}
