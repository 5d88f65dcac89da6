//! The codec stage: one chunk becomes one frame, on the pool, with compression contexts that are reused.

use backstay_format::codec::{gzip, zstd};
use backstay_format::header::Codec;

use crate::error::{Error, Result};
use crate::shelf::Shelf;

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
    level: Level,
    idle: Shelf<Compressor>,
    frames: Shelf<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Level {
    Zstd(i32),
    Gzip(gzip::Level),
}

enum Compressor {
    Zstd(zstd::Compressor),
    Gzip(gzip::MemberCompressor),
}

impl Compressors {
    /// Compressors of this codec and level, or the codec's default level.
    pub(crate) fn new(codec: Codec, level: Option<i32>) -> Result<Self> {
        let level = match codec {
            Codec::Zstd => Level::Zstd(level.unwrap_or(3)),
            Codec::Gzip => Level::Gzip(match level {
                None => gzip::Level::default(),
                Some(level) => u8::try_from(level)
                    .ok()
                    .and_then(gzip::Level::new)
                    .ok_or_else(|| Error::Usage { why: format!("the gzip level is {level}, it must be 1 to 12") })?,
            }),
        };
        if matches!(level, Level::Zstd(level) if !(-7..=19).contains(&level)) {
            return Err(Error::Usage { why: "the zstd level must be -7 to 19".to_owned() });
        }
        Ok(Compressors { level, idle: Shelf::default(), frames: Shelf::default() })
    }

    /// Compresses one chunk. gzip members hold 1 MiB, so a chunk becomes two of them.
    pub(crate) fn compress(&self, chunk: Vec<u8>) -> Compressed {
        let mut compressor = self.idle.take().unwrap_or_else(|| match self.level {
            Level::Zstd(level) => Compressor::Zstd(zstd::Compressor::new(level)),
            Level::Gzip(level) => Compressor::Gzip(gzip::MemberCompressor::new(level)),
        });
        let mut frame = self.frames.buffer();
        let mut lengths = Vec::new();
        match &mut compressor {
            Compressor::Zstd(zstd) => zstd.compress(&chunk, &mut frame),
            Compressor::Gzip(gzip) => {
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
