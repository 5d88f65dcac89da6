//! Parts: the inner stream goes in, sealed objects come out, and back (`spec/archive.md`, "Parts").
//!
//! Copies on the way in: one, from the compressed frame into the part's buffer, where it is sealed in place. A full
//! segment stays unsealed until it is known whether anything follows it, because the flag says so.
//! On the way out: none, a segment is decrypted from the stored bytes into the plaintext.

use crate::error::{Error, Result};
use crate::header::{self, Common, Header};
use crate::manifest::MOST_PARTS;
use crate::name::ArchiveId;
use crate::schedule::Keys;
use crate::segment::{Flag, SegmentKey, TAG};

/// A source of random bytes; the caller owns randomness, this crate has none.
pub type Random = dyn FnMut(&mut [u8]) + Send;

/// A part that is ready to be stored, once.
#[derive(Debug)]
pub struct SealedPart {
    /// Its index.
    pub n: u32,
    /// The random bytes in its header.
    pub rnd: [u8; 16],
    /// The object.
    pub bytes: Vec<u8>,
}

/// Cuts the inner stream into segments and parts and seals them.
pub struct Sealer {
    id: ArchiveId,
    common: Common,
    rest: String,
    len: usize,
    keys: Keys,
    random: Box<Random>,
    spares: Vec<Vec<u8>>,
    part: OpenPart,
}

/// The part that is being filled.
struct OpenPart {
    n: u32,
    rnd: [u8; 16],
    key: SegmentKey,
    bytes: Vec<u8>,
    /// Where the unsealed segment begins in `bytes`.
    segment_start: usize,
    /// Its number.
    segment: u64,
}

impl Sealer {
    /// Opens part 0.
    ///
    /// # Errors
    /// `usage.recipient` when the key slots make the header line too long.
    pub fn new(id: ArchiveId, common: Common, keys: Keys, mut random: Box<Random>) -> Result<Sealer> {
        let rest = common.encode();
        let len = header::line_len(&id, &rest)?;
        let part = OpenPart::new(&id, &common, &rest, len, &keys, 0, &mut random, Vec::new());
        Ok(Sealer { id, common, rest, len, keys, random, spares: Vec::new(), part })
    }

    /// The header's common fields as they are written: what a manifest's `head` repeats.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The length of each header line.
    pub fn line_len(&self) -> usize {
        self.len
    }

    /// Takes as much of `input` as fits and returns a part when one is full. Call again until `input` is empty.
    ///
    /// # Errors
    /// `manifest.limit` when the archive would have more than [`MOST_PARTS`].
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<SealedPart>> {
        let seg = self.common.seg as usize;
        while !input.is_empty() {
            let mut filled = self.part.bytes.len() - self.part.segment_start;
            if filled == seg {
                if self.part.segment + 1 == u64::from(self.common.segs) {
                    return self.next_part().map(Some);
                }
                self.part.seal(Flag::More);
                filled = 0;
            }
            let (now, later) = input.split_at(input.len().min(seg - filled));
            self.part.bytes.extend_from_slice(now);
            *input = later;
        }
        Ok(None)
    }

    /// Gives back a part's buffer to be used again.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spares.push(buffer);
    }

    /// Bytes of the inner stream that are in full parts and in this one.
    pub fn written(&self) -> u64 {
        let in_part =
            self.part.segment * u64::from(self.common.seg) + (self.part.bytes.len() - self.part.segment_start) as u64;
        u64::from(self.part.n) * self.common.part_content() + in_part
    }

    /// Ends the archive. The inner stream is never empty, so there is always a last segment to mark.
    pub fn finish(mut self) -> SealedPart {
        self.part.seal(Flag::EndOfArchive);
        self.part.into_sealed()
    }

    fn next_part(&mut self) -> Result<SealedPart> {
        let n = self.part.n + 1;
        if n == MOST_PARTS {
            return Err(Error::TooManyParts { limit: MOST_PARTS });
        }
        self.part.seal(Flag::EndOfPart);
        let buffer = self.spares.pop().unwrap_or_default();
        let next = OpenPart::new(&self.id, &self.common, &self.rest, self.len, &self.keys, n, &mut self.random, buffer);
        Ok(std::mem::replace(&mut self.part, next).into_sealed())
    }
}

impl OpenPart {
    #[allow(clippy::too_many_arguments, reason = "one private constructor, each argument is a part of the header line")]
    fn new(
        id: &ArchiveId,
        common: &Common,
        rest: &str,
        len: usize,
        keys: &Keys,
        n: u32,
        random: &mut Random,
        mut bytes: Vec<u8>,
    ) -> Self {
        let mut rnd = [0; 16];
        random(&mut rnd);
        let line = header::line(id, n, &rnd, rest, len);
        let key = SegmentKey::new(common.aead, &keys.part(&line));
        bytes.extend_from_slice(&line);
        OpenPart { n, rnd, key, segment_start: bytes.len(), bytes, segment: 0 }
    }

    fn seal(&mut self, flag: Flag) {
        let tag = self.key.seal(self.segment, flag, &mut self.bytes[self.segment_start..]);
        self.bytes.extend_from_slice(&tag);
        self.segment_start = self.bytes.len();
        self.segment += 1;
    }

    fn into_sealed(self) -> SealedPart {
        SealedPart { n: self.n, rnd: self.rnd, bytes: self.bytes }
    }
}

/// Where a part stands, and so what its last segment must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Other parts follow.
    Middle,
    /// It is the last one.
    Last,
}

/// Opens the segments of one part.
pub struct PartOpener {
    object: String,
    id: String,
    n: u32,
    key: SegmentKey,
    seg: usize,
    count: u64,
    body: u64,
    line_len: usize,
    place: Place,
    /// Whether it is shorter than a part before others must be: then its last segment tells why.
    short: bool,
}

impl PartOpener {
    /// For the part with this header, stored in `size` bytes.
    ///
    /// # Errors
    /// `part.truncated` when the size leaves no segment, `segment.auth` when it is too large for a part.
    pub fn new(header: &Header, keys: &Keys, size: u64, place: Place) -> Result<PartOpener> {
        let object = header.id.part(header.part);
        let sealed = u64::from(header.common.seg) + TAG as u64;
        let truncated = |why| Error::PartTruncated { object: object.clone(), why };
        let body = size.checked_sub(header.line.len() as u64).ok_or_else(|| truncated("the header line is cut"))?;
        let count = body.div_ceil(sealed);
        let last = body - count.saturating_sub(1) * sealed;
        let full = u64::from(header.common.segs) * sealed;
        if body > full {
            return Err(Error::SegmentAuth { object, segment: u64::from(header.common.segs) });
        }
        if body == 0 {
            return Err(truncated("nothing follows the header line"));
        }
        if last <= TAG as u64 {
            return Err(truncated("the last segment holds no byte"));
        }
        Ok(PartOpener {
            id: header.id.to_string(),
            n: header.part,
            key: SegmentKey::new(header.common.aead, &keys.part(&header.line)),
            seg: header.common.seg as usize,
            count,
            body,
            line_len: header.line.len(),
            short: place == Place::Middle && body < full,
            object,
            place,
        })
    }

    /// Plaintext bytes of a full segment.
    pub fn segment_size(&self) -> u64 {
        self.seg as u64
    }

    /// How many segments the part has.
    pub fn segments(&self) -> u64 {
        self.count
    }

    /// Where segments `from..to` are stored in the object.
    pub fn stored(&self, from: u64, to: u64) -> std::ops::Range<u64> {
        let sealed = (self.seg + TAG) as u64;
        let start = self.line_len as u64;
        start + from * sealed..start + self.body.min(to * sealed)
    }

    /// Opens the segments that begin with number `from`, whose stored bytes are `body`, and appends the plaintext to
    /// `plain`. Nothing is appended unless every one of them is authentic.
    ///
    /// # Errors
    /// `segment.auth`; for the part's last segment also `part.truncated`, `part.extra` or `archive.truncated` when its
    /// own flag says that it should not be the last one, or that the archive should have ended.
    pub fn open(&self, from: u64, body: &[u8], plain: &mut Vec<u8>) -> Result<()> {
        let start = plain.len();
        let result = self.open_all(from, body, plain);
        if result.is_err() {
            plain.truncate(start);
        }
        result
    }

    fn open_all(&self, from: u64, body: &[u8], plain: &mut Vec<u8>) -> Result<()> {
        let sealed = self.seg + TAG;
        let mut number = from;
        let mut rest = body;
        while !rest.is_empty() {
            let is_last = number + 1 >= self.count;
            let (segment, more) = rest.split_at(rest.len().min(sealed));
            let at = plain.len();
            plain.resize(at + segment.len().saturating_sub(TAG), 0);
            let flag = match (is_last, self.place) {
                (false, _) => Flag::More,
                (true, Place::Middle) => Flag::EndOfPart,
                (true, Place::Last) => Flag::EndOfArchive,
            };
            if self.short && is_last {
                return Err(self.why_short(number, segment, &mut plain[at..]));
            }
            if !self.key.open(number, flag, segment, &mut plain[at..]) {
                return Err(self.why(number, flag, segment, &mut plain[at..]));
            }
            number += 1;
            rest = more;
        }
        Ok(())
    }

    /// A segment did not open. If it is the part's last one, its own flag may tell why.
    fn why(&self, number: u64, expected: Flag, segment: &[u8], scratch: &mut [u8]) -> Error {
        let object = self.object.clone();
        let mut opens = |flag| self.key.open(number, flag, segment, scratch);
        match expected {
            Flag::EndOfPart if opens(Flag::EndOfArchive) => self.ended_here(),
            Flag::EndOfArchive if opens(Flag::More) => {
                Error::PartTruncated { object, why: "its last segment says that more segments follow" }
            }
            Flag::EndOfArchive if opens(Flag::EndOfPart) => {
                Error::ArchiveTruncated { id: self.id.clone(), last: self.n }
            }
            _ => Error::SegmentAuth { object, segment: number },
        }
    }

    fn why_short(&self, number: u64, segment: &[u8], scratch: &mut [u8]) -> Error {
        if self.key.open(number, Flag::EndOfArchive, segment, scratch) {
            return self.ended_here();
        }
        Error::PartTruncated { object: self.object.clone(), why: "parts follow it, but it is not full" }
    }

    fn ended_here(&self) -> Error {
        Error::PartExtra { object: format!("what follows {}, where the archive ends,", self.object) }
    }
}
