//! The encryptor stage: frames go in, in order, and parts come out, in the native format or the openssl profile.
//!
//! Sealing and CBC are serial by nature and 20 times cheaper than compressing, so they run where the frames are put in
//! order. Copies of stored bytes: one, into the part's buffer.

use std::collections::VecDeque;

use backstay_format::codec::zstd::{self, PaddingFrame, SeekTable};
use backstay_format::header::Codec;
use backstay_format::openssl::PartWriter;
use backstay_format::part::{SealedPart, Sealer};

use crate::compress::Compressed;
use crate::error::Result;

/// How the size of an archive is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Padding {
    /// It is not.
    #[default]
    None,
    /// It is rounded up to one of few sizes, at most 12 % more.
    Padme,
    /// It is rounded up to whole parts.
    Part,
}

/// A part that is ready to be stored.
pub(crate) struct Packed {
    pub(crate) n: u32,
    pub(crate) rnd: Option<[u8; 16]>,
    pub(crate) bytes: Vec<u8>,
}

/// Zero bytes that are pushed at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Packs frames into parts.
pub(crate) enum Packer {
    /// The native format.
    Native(Box<NativePacker>),
    /// The openssl profile, cut into parts.
    Openssl { writer: Box<PartWriter>, n: u32 },
}

/// The native format while it is packed.
pub(crate) struct NativePacker {
    sealer: Sealer,
    codec: Codec,
    table: SeekTable,
    padding: Padding,
    part_content: u64,
    /// Padding that is still to be pushed.
    tail: VecDeque<(PaddingFrame, u64)>,
}

impl Packer {
    pub(crate) fn native(sealer: Sealer, codec: Codec, padding: Padding, part_content: u64) -> Packer {
        let (table, tail) = (SeekTable::default(), VecDeque::new());
        Packer::Native(Box::new(NativePacker { sealer, codec, table, padding, part_content, tail }))
    }

    pub(crate) fn openssl(writer: PartWriter) -> Packer {
        Packer::Openssl { writer: Box::new(writer), n: 0 }
    }

    /// Takes the next frame and gives the parts that it completes.
    pub(crate) fn push(&mut self, frame: &Compressed) -> Result<Vec<Packed>> {
        match self {
            Packer::Native(native) => {
                if native.codec == Codec::Zstd {
                    native.table.push(frame.frame.len(), frame.content);
                }
                native.push(&frame.frame)
            }
            Packer::Openssl { writer, n } => {
                let mut rest = &frame.frame[..];
                for length in &frame.members {
                    let (member, more) = rest.split_at(*length);
                    writer.member(member);
                    rest = more;
                }
                let mut parts = Vec::new();
                while let Some(bytes) = writer.next_part()? {
                    parts.push(Packed::next(n, bytes));
                }
                Ok(parts)
            }
        }
    }

    /// Gives back the memory of a part that is stored.
    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        match self {
            Packer::Native(native) => native.sealer.recycle(buffer),
            Packer::Openssl { writer, .. } => writer.recycle(buffer),
        }
    }

    /// All frames are pushed. Gives parts until there are none, except the last one, which [`Packer::finish`] gives.
    pub(crate) fn end(&mut self) -> Result<Option<Vec<Packed>>> {
        match self {
            Packer::Native(native) if native.codec == Codec::Zstd => native.end(),
            _ => Ok(None),
        }
    }

    /// The last part.
    pub(crate) fn finish(self) -> Packed {
        match self {
            Packer::Native(native) => native.sealer.finish().into(),
            Packer::Openssl { writer, mut n } => Packed::next(&mut n, writer.finish().0),
        }
    }
}

impl NativePacker {
    fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Packed>> {
        let mut parts = Vec::new();
        while let Some(part) = self.sealer.push(&mut bytes)? {
            parts.push(part.into());
        }
        Ok(parts)
    }

    /// Padding a piece at a time, since it may be many gigabytes, and at last the seek table.
    fn end(&mut self) -> Result<Option<Vec<Packed>>> {
        if self.table.is_empty() {
            return Ok(None);
        }
        if self.padding != Padding::None {
            let written = self.sealer.written();
            // One padding frame costs its header and its entry in the table.
            let least = written + self.table.encoded_len() + 16;
            let total = match std::mem::take(&mut self.padding) {
                Padding::Padme => zstd::padme(least),
                _ => least.next_multiple_of(self.part_content),
            };
            for frame in self.table.pad(written, total) {
                self.tail.push_back((frame, u64::from(frame.zeros())));
            }
        }
        let Some((frame, left)) = self.tail.front_mut() else {
            return self.push_table().map(Some);
        };
        let mut piece = Vec::new();
        if *left == u64::from(frame.zeros()) {
            piece.extend(frame.header());
        }
        let zeros = usize::try_from(*left).unwrap_or(usize::MAX).min(ZEROS.len());
        piece.extend(&ZEROS[..zeros]);
        *left -= zeros as u64;
        if *left == 0 {
            self.tail.pop_front();
        }
        self.push(&piece).map(Some)
    }

    fn push_table(&mut self) -> Result<Vec<Packed>> {
        let table = std::mem::take(&mut self.table).encode();
        self.push(&table)
    }
}

impl Packed {
    fn next(n: &mut u32, bytes: Vec<u8>) -> Packed {
        *n += 1;
        Packed { n: *n - 1, rnd: None, bytes }
    }
}

impl From<SealedPart> for Packed {
    fn from(part: SealedPart) -> Packed {
        Packed { n: part.n, rnd: Some(part.rnd), bytes: part.bytes }
    }
}
