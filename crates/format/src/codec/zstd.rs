//! The zstd codec: independent frames of one content size, then padding if asked for, then the seek table of the public
//! zstd seekable format (`spec/archive.md`, "Inner stream").
//!
//! A frame's end is found by hopping over its block headers, so that one thread splits the stream and many decode it;
//! and every limit is checked on the frame's own header before a byte is decoded.

mod rescue;

pub use rescue::{FrameRescue, Rescued};

use zstd_safe::{CCtx, CParameter, DCtx, DParameter};

use crate::error::{Error, Result};

/// The content of a frame that this writer makes.
pub const FRAME_CONTENT: usize = 2 << 20;
/// The largest content of a frame that a reader takes.
pub const MAX_FRAME_CONTENT: u64 = 64 << 20;
/// How much longer than its content a frame may be.
const FRAME_SURPLUS: usize = 1 << 20;
/// The largest window that a reader takes, as a logarithm: 128 MiB.
const MAX_WINDOW_LOG: u32 = 27;
const FRAME_MAGIC: u32 = 0xFD2F_B528;
const PADDING_MAGIC: u32 = 0x184D_2A50;
const TABLE_MAGIC: u32 = 0x184D_2A5E;
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
/// The footer of the seek table: number of frames, descriptor, magic.
pub const FOOTER: usize = 9;
/// The most zero bytes that one padding frame holds.
const MAX_PADDING: u64 = u32::MAX as u64;

/// Compresses one frame at a time with a context that is reused.
pub struct Compressor {
    context: CCtx<'static>,
}

impl Compressor {
    /// A compressor of this level: 1 to 19, or a negative one that is faster still.
    pub fn new(level: i32) -> Compressor {
        let mut context = CCtx::create();
        for parameter in
            [CParameter::CompressionLevel(level), CParameter::ChecksumFlag(true), CParameter::ContentSizeFlag(true)]
        {
            context.set_parameter(parameter).expect("these parameters exist in every version and clamp their values");
        }
        Compressor { context }
    }

    /// The most bytes that a compressor of this level holds on to between frames, for content of at most [`FRAME_CONTENT`] bytes.
    pub fn memory(level: i32) -> u64 {
        const MIB: u64 = 1 << 20;
        match level {
            ..=6 => 4 * MIB,
            7..=8 => 6 * MIB,
            9 => 11 * MIB,
            10..=12 => 21 * MIB,
            13.. => 34 * MIB,
        }
    }

    /// Replaces `frame` by one whole frame with this content.
    pub fn compress(&mut self, content: &[u8], frame: &mut Vec<u8>) {
        frame.clear();
        frame.reserve(zstd_safe::compress_bound(content.len()));
        self.context.compress2(frame, content).expect("the buffer has the bound's size and the parameters are valid");
    }
}

/// Decodes one frame at a time with a context that is reused.
pub struct Decompressor {
    context: DCtx<'static>,
}

impl Default for Decompressor {
    fn default() -> Self {
        let mut context = DCtx::create();
        context.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).expect("the limit is within the library's own");
        Decompressor { context }
    }
}

impl Decompressor {
    /// Replaces `content` by the content of `frame`.
    ///
    /// # Errors
    /// `stream.invalid` when it does not decode to exactly its content size or its checksum is wrong.
    pub fn decompress(&mut self, frame: &Frame, content: &mut Vec<u8>) -> Result<()> {
        content.clear();
        content.reserve(frame.content);
        match self.context.decompress(content, &frame.bytes) {
            Ok(length) if length == frame.content => Ok(()),
            Ok(_) => Err(invalid(frame.at, "a frame's content is shorter than its header says")),
            Err(code) => Err(invalid(frame.at, zstd_safe::get_error_name(code))),
        }
    }
}

/// The seek table while the frames are written.
#[derive(Debug, Default, Clone)]
pub struct SeekTable {
    entries: Vec<Entry>,
}

/// One frame in the seek table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    stored: u32,
    content: u32,
}

/// What to find a byte of the content by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The frame's number.
    pub frame: usize,
    /// Where the frame begins in the inner stream, and where it ends.
    pub stored: std::ops::Range<u64>,
    /// Which bytes of the content it holds.
    pub content: std::ops::Range<u64>,
}

impl SeekTable {
    /// Notes one frame of `stored` bytes that holds `content` bytes.
    pub fn push(&mut self, stored: usize, content: usize) {
        let narrow = |size: usize| u32::try_from(size).expect("frames are far below 4 GiB");
        self.entries.push(Entry { stored: narrow(stored), content: narrow(content) });
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes [`SeekTable::encode`] gives.
    pub fn encoded_len(&self) -> u64 {
        SeekTable::length_of(self.entries.len() as u64)
    }

    /// How long a table of so many frames is.
    pub fn length_of(frames: u64) -> u64 {
        8 + frames * 8 + FOOTER as u64
    }

    /// The table as a skippable frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut table = Vec::new();
        let body = self.entries.len() * 8 + FOOTER;
        let frames = u32::try_from(self.entries.len()).expect("a million parts hold fewer frames than 2^32");
        table.extend(TABLE_MAGIC.to_le_bytes());
        table.extend(u32::try_from(body).unwrap_or(u32::MAX).to_le_bytes());
        for entry in &self.entries {
            table.extend(entry.stored.to_le_bytes());
            table.extend(entry.content.to_le_bytes());
        }
        table.extend(frames.to_le_bytes());
        table.push(0);
        table.extend(FOOTER_MAGIC.to_le_bytes());
        table
    }

    /// Padding frames that make the inner stream, table included, `total` bytes long, when `so_far` bytes of it are
    /// written. They are pushed onto the table too. `total` must leave room for at least one frame or be exact.
    pub fn pad(&mut self, so_far: u64, total: u64) -> Vec<PaddingFrame> {
        let mut frames = Vec::new();
        let mut missing = total.saturating_sub(so_far + self.encoded_len());
        while missing >= 16 {
            let zeros = (missing - 16).min(MAX_PADDING - 8);
            // What is left after this frame must again hold a whole frame with its entry, or be nothing.
            let left = missing - 16 - zeros;
            let zeros = if left > 0 && left < 16 { zeros - 16 } else { zeros };
            let Ok(length) = u32::try_from(zeros) else { break };
            self.entries.push(Entry { stored: length + 8, content: 0 });
            missing -= 16 + zeros;
            frames.push(PaddingFrame { zeros: length });
        }
        frames
    }

    /// Reads the table that ends an inner stream of `total` bytes; `tail` is the end of that stream and holds at least
    /// the table.
    ///
    /// # Errors
    /// `stream.invalid` when there is none, or its sizes do not add up to the stream.
    pub fn parse(tail: &[u8], total: u64) -> Result<SeekTable> {
        let at = total.saturating_sub(tail.len() as u64);
        let length = SeekTable::length(tail, at)?;
        let start = usize::try_from(length).ok().and_then(|length| tail.len().checked_sub(length));
        let Some(start) = start else { return Err(invalid(at, "the seek table is longer than the stream")) };
        let table = SeekTable::parse_exact(&tail[start..], at)?;
        let stored: u64 = table.entries.iter().map(|entry| u64::from(entry.stored)).sum();
        if stored + length != total {
            return Err(invalid(at, "the sizes in the seek table do not add up to the stream"));
        }
        Ok(table)
    }

    /// The length of the table whose footer ends `tail`.
    ///
    /// # Errors
    /// `stream.invalid` when there is no footer.
    pub fn length(tail: &[u8], at: u64) -> Result<u64> {
        let Some(footer) = tail.len().checked_sub(FOOTER).map(|start| &tail[start..]) else {
            return Err(invalid(at, "there is no seek table"));
        };
        if le32(&footer[5..]) != Some(FOOTER_MAGIC) || footer[4] != 0 {
            return Err(invalid(at, "there is no seek table"));
        }
        Ok(SeekTable::length_of(u64::from(le32(footer).unwrap_or(0))))
    }

    /// The frame that holds byte `offset` of the content.
    pub fn locate(&self, offset: u64) -> Option<Located> {
        let mut content = 0;
        let mut stored = 0;
        for (frame, entry) in self.entries.iter().enumerate() {
            let (next_stored, next_content) = (stored + u64::from(entry.stored), content + u64::from(entry.content));
            if offset < next_content {
                return Some(Located { frame, stored: stored..next_stored, content: content..next_content });
            }
            (stored, content) = (next_stored, next_content);
        }
        None
    }

    /// Bytes of content.
    pub fn content(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.content)).sum()
    }

    fn parse_exact(table: &[u8], at: u64) -> Result<SeekTable> {
        let body = table.len() - 8;
        let fits = le32(table) == Some(TABLE_MAGIC) && le32(&table[4..]).map(|length| length as usize) == Some(body);
        if !fits || body < FOOTER || SeekTable::length(table, at)? != table.len() as u64 {
            return Err(invalid(at, "the seek table is damaged"));
        }
        let entries = table[8..table.len() - FOOTER]
            .chunks_exact(8)
            .map(|entry| Entry { stored: le32(entry).unwrap_or(0), content: le32(&entry[4..]).unwrap_or(0) })
            .collect();
        Ok(SeekTable { entries })
    }
}

/// A skippable frame of zero bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaddingFrame {
    zeros: u32,
}

impl PaddingFrame {
    /// The eight bytes before the zeros.
    pub fn header(self) -> [u8; 8] {
        let mut header = [0; 8];
        header[..4].copy_from_slice(&PADDING_MAGIC.to_le_bytes());
        header[4..].copy_from_slice(&self.zeros.to_le_bytes());
        header
    }

    /// How many zeros follow.
    pub fn zeros(self) -> u32 {
        self.zeros
    }
}

/// The smallest length not below `length` that Padmé allows (PURBs, PETS 2019): it gives away O(log log) bits.
pub fn padme(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let mantissa = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - mantissa.min(exponent))) - 1;
    (length + mask) & !mask
}

/// One whole compressed frame, not yet decoded.
#[derive(Debug)]
pub struct Frame {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The content size that its header states.
    pub content: usize,
    /// Where it begins in the inner stream.
    pub at: u64,
}

/// Splits an inner stream into its frames and checks everything around them.
#[derive(Debug, Default)]
pub struct FrameSplitter {
    /// Bytes that were pushed and belong to no finished frame; `start` of them are used up.
    pending: Vec<u8>,
    start: usize,
    /// Where `pending[start]` stands in the inner stream.
    at: u64,
    /// How far the present frame's blocks are known, from its beginning.
    hopped: usize,
    /// Memory of frames that are decoded.
    spares: Vec<Vec<u8>>,
    entries: Vec<Entry>,
    content: u64,
    /// Content size of the first frame, and whether a shorter (so the last) one was seen.
    frame_content: Option<u64>,
    short: bool,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Frames,
    /// Inside padding, so many zeros to go; only more padding or the table may follow.
    Padding(u64),
    Done,
}

impl FrameSplitter {
    /// Takes the next bytes of the inner stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.pending.drain(..self.start);
            self.start = 0;
        }
        self.pending.extend_from_slice(bytes);
    }

    /// Gives back a frame whose memory is to be used again.
    pub fn recycle(&mut self, frame: Frame) {
        self.spares.push(frame.bytes);
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// `stream.invalid`, `stream.limit` or `stream.trailing`.
    #[allow(clippy::should_implement_trait, reason = "it is fallible and may go on after `None`")]
    pub fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            match self.state {
                State::Padding(left) if left > 0 => {
                    let rest = &self.pending[self.start..];
                    let now = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if now == 0 {
                        return Ok(None);
                    }
                    self.advance(now);
                    self.state = State::Padding(left - now as u64);
                }
                State::Done if self.start < self.pending.len() => return Err(Error::StreamTrailing { at: self.at }),
                State::Done => return Ok(None),
                State::Frames | State::Padding(_) => {
                    let rest = &self.pending[self.start..];
                    let Some(magic) = le32(rest) else { return Ok(None) };
                    match magic {
                        FRAME_MAGIC if self.state == State::Frames => return self.frame(),
                        PADDING_MAGIC if !self.entries.is_empty() => {
                            let Some(zeros) = rest.get(4..).and_then(le32) else { return Ok(None) };
                            let Some(stored) = zeros.checked_add(8) else {
                                return Err(invalid(self.at, "a padding frame is too long"));
                            };
                            self.entries.push(Entry { stored, content: 0 });
                            self.advance(8);
                            self.state = State::Padding(u64::from(zeros));
                        }
                        TABLE_MAGIC if !self.entries.is_empty() => {
                            let length = 8 + self.entries.len() * 8 + FOOTER;
                            if rest.get(4..).and_then(le32).is_some_and(|body| body as usize != length - 8) {
                                return Err(invalid(self.at, "the seek table has another number of frames"));
                            }
                            if rest.len() < length {
                                return Ok(None);
                            }
                            let table = SeekTable::parse_exact(&rest[..length], self.at)?;
                            if table.entries != self.entries {
                                return Err(invalid(self.at, "the seek table differs from the frames"));
                            }
                            self.advance(length);
                            self.state = State::Done;
                        }
                        _ => return Err(invalid(self.at, "neither a frame nor the seek table stands here")),
                    }
                }
            }
        }
    }

    /// Ends the stream and gives the number of bytes of content.
    ///
    /// # Errors
    /// `stream.invalid` when the stream ends inside a frame or without its table.
    pub fn finish(&self) -> Result<u64> {
        match self.state {
            State::Done => Ok(self.content),
            _ => Err(invalid(
                self.at + (self.pending.len() - self.start) as u64,
                "the stream ends without its seek table",
            )),
        }
    }

    /// Ends a stream of which only some whole frames were pushed.
    ///
    /// # Errors
    /// `stream.invalid` when it ends inside a frame.
    pub fn finish_partial(&self) -> Result<()> {
        if self.start == self.pending.len() {
            Ok(())
        } else {
            Err(invalid(self.at, "a frame is longer than the seek table says"))
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.at += bytes as u64;
    }

    fn frame(&mut self) -> Result<Option<Frame>> {
        let rest = &self.pending[self.start..];
        let Some(header) = FrameHeader::parse(rest, self.at)? else { return Ok(None) };
        let Some(length) = hop(rest, header, &mut self.hopped, self.at)? else { return Ok(None) };
        let mut bytes = self.spares.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(&rest[..length]);
        let frame = Frame { bytes, content: usize::try_from(header.content).unwrap_or(usize::MAX), at: self.at };
        let first = *self.frame_content.get_or_insert(header.content);
        if self.short || header.content > first || (header.content == 0 && !self.entries.is_empty()) {
            return Err(invalid(self.at, "only the last frame may have another content size"));
        }
        self.short = header.content < first || header.content == 0;
        self.content += header.content;
        self.entries.push(Entry {
            stored: u32::try_from(length).unwrap_or(u32::MAX),
            content: u32::try_from(header.content).unwrap_or(u32::MAX),
        });
        self.advance(length);
        self.hopped = 0;
        Ok(Some(frame))
    }
}

/// What a frame's header says (RFC 8878 §3.1.1.1), already within the limits.
#[derive(Debug, Clone, Copy)]
struct FrameHeader {
    length: usize,
    content: u64,
    block_limit: usize,
}

impl FrameHeader {
    fn parse(bytes: &[u8], at: u64) -> Result<Option<FrameHeader>> {
        let Some(descriptor) = bytes.get(4).copied() else { return Ok(None) };
        let single_segment = descriptor & 0x20 != 0;
        if descriptor & 0x03 != 0 {
            return Err(invalid(at, "a frame needs a dictionary"));
        }
        if descriptor & 0x04 == 0 {
            return Err(invalid(at, "a frame has no checksum"));
        }
        if descriptor & 0x08 != 0 {
            return Err(invalid(at, "a reserved bit of a frame is set"));
        }
        let content_bytes = match (descriptor >> 6, single_segment) {
            (0, false) => return Err(limit(at, "a frame does not state its content size")),
            (0, true) => 1,
            (1, _) => 2,
            (2, _) => 4,
            _ => 8,
        };
        let window_bytes = usize::from(!single_segment);
        let length = 5 + window_bytes + content_bytes;
        let Some(field) = bytes.get(5 + window_bytes..length) else { return Ok(None) };
        let mut content = 0u64;
        for (i, byte) in field.iter().enumerate() {
            content |= u64::from(*byte) << (8 * i);
        }
        if content_bytes == 2 {
            content += 256;
        }
        let window = if single_segment {
            content
        } else {
            let byte = u64::from(bytes[5]);
            let base = 1u64 << (10 + (byte >> 3));
            base + (base >> 3) * (byte & 7)
        };
        if content > MAX_FRAME_CONTENT {
            return Err(limit(at, "a frame holds more than 64 MiB"));
        }
        if window > 1 << MAX_WINDOW_LOG {
            return Err(limit(at, "a frame's window is above 128 MiB"));
        }
        let block_limit = usize::try_from(window.min(128 << 10)).unwrap_or(0);
        Ok(Some(FrameHeader { length, content, block_limit }))
    }
}

/// Hops over the block headers of the frame at the start of `bytes`, from `hopped` on. `None` while its end is not there.
fn hop(bytes: &[u8], header: FrameHeader, hopped: &mut usize, at: u64) -> Result<Option<usize>> {
    // Blocks of no content would otherwise fill the memory.
    let bound = usize::try_from(header.content).unwrap_or(usize::MAX).saturating_add(FRAME_SURPLUS);
    let mut position = (*hopped).max(header.length);
    loop {
        *hopped = position;
        let Some(block) = bytes.get(position..position + 3) else { return Ok(None) };
        let word = u32::from(block[0]) | u32::from(block[1]) << 8 | u32::from(block[2]) << 16;
        let size = (word >> 3) as usize;
        let stored = match word >> 1 & 3 {
            0 | 2 => size,
            1 => 1,
            _ => return Err(invalid(at, "a block of a frame has the reserved type")),
        };
        if size > header.block_limit {
            return Err(invalid(at, "a block of a frame is longer than its window allows"));
        }
        position += 3 + stored;
        if position + 4 > bound {
            return Err(limit(at, "a frame is longer than its content can need"));
        }
        if word & 1 == 1 {
            let end = position + 4;
            return Ok((bytes.len() >= end).then_some(end));
        }
    }
}

fn le32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn invalid(at: u64, why: &str) -> Error {
    Error::StreamInvalid { at, why: why.to_owned() }
}

fn limit(at: u64, why: &str) -> Error {
    Error::StreamLimit { at, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(content: &[u8], frame: usize) -> Vec<u8> {
        let mut compressor = Compressor::new(3);
        let mut table = SeekTable::default();
        let (mut stream, mut bytes) = (Vec::new(), Vec::new());
        let chunks: Vec<&[u8]> = if content.is_empty() { vec![&[]] } else { content.chunks(frame).collect() };
        for chunk in chunks {
            compressor.compress(chunk, &mut bytes);
            table.push(bytes.len(), chunk.len());
            stream.extend(&bytes);
        }
        stream.extend(table.encode());
        stream
    }

    fn read(stream: &[u8], step: usize) -> Result<Vec<u8>> {
        let mut splitter = FrameSplitter::default();
        let mut decompressor = Decompressor::default();
        let (mut all, mut content) = (Vec::new(), Vec::new());
        for bytes in stream.chunks(step) {
            splitter.push(bytes);
            while let Some(frame) = splitter.next()? {
                decompressor.decompress(&frame, &mut content)?;
                all.extend(&content);
            }
        }
        assert_eq!(splitter.finish()?, all.len() as u64);
        Ok(all)
    }

    #[test]
    fn the_published_inner_stream_is_reproduced() {
        let inner = stream(b"hello backstay\n", FRAME_CONTENT);
        assert_eq!(
            crate::text::to_hex(&inner),
            "28b52ffd240f79000068656c6c6f206261636b737461790ad74d16fc5e2a4d18110000001c0000000f0000000100000000b1ea928f"
        );
    }

    #[test]
    fn a_stream_comes_back_however_it_is_pushed() {
        let content: Vec<u8> = (0..100_000u32).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
        for length in [0, 1, 4095, 4096, 4097, 8192, 100_000] {
            let inner = stream(&content[..length], 4096);
            for step in [1, 7, 1000, 1 << 20] {
                assert_eq!(read(&inner, step).unwrap(), &content[..length], "{length} by {step}");
            }
        }
    }

    #[test]
    fn every_cut_and_every_flipped_byte_of_a_stream_is_refused() {
        let inner = stream(b"hello hello hello hello backstay\n", 16);
        for cut in 0..inner.len() {
            assert_eq!(read(&inner[..cut], 100).unwrap_err().code(), "stream.invalid", "{cut}");
        }
        for at in 0..inner.len() {
            let mut changed = inner.clone();
            changed[at] ^= 0x01;
            assert!(read(&changed, 100).is_err(), "{at}");
        }
        let mut longer = inner;
        longer.push(0);
        assert_eq!(read(&longer, 100).unwrap_err().code(), "stream.trailing");
    }

    #[test]
    fn padding_stands_only_before_the_table() {
        let mut compressor = Compressor::new(3);
        let mut bytes = Vec::new();
        compressor.compress(b"x", &mut bytes);
        let padded = |total| {
            let mut table = SeekTable::default();
            table.push(bytes.len(), 1);
            let mut stream = bytes.clone();
            for frame in table.pad(bytes.len() as u64, total) {
                stream.extend(frame.header());
                stream.resize(stream.len() + frame.zeros() as usize, 0);
            }
            stream.extend(table.encode());
            stream
        };
        for total in [200, 1000, 1001] {
            assert_eq!(padded(total).len() as u64, total);
            assert_eq!(read(&padded(total), 3).unwrap(), b"x");
        }
        let mut between = padded(200);
        between.splice(0..0, [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
        assert_eq!(read(&between, 300).unwrap_err().code(), "stream.invalid");
    }

    #[test]
    fn the_seek_table_finds_every_byte() {
        let content = vec![7; 10_000];
        let inner = stream(&content, 4096);
        let table = SeekTable::parse(&inner, inner.len() as u64).unwrap();
        assert_eq!(table.content(), 10_000);
        assert_eq!(table.locate(4095).unwrap().frame, 0);
        assert_eq!(table.locate(4096).unwrap().frame, 1);
        assert_eq!(table.locate(9_999).unwrap().content, 8192..10_000);
        assert!(table.locate(10_000).is_none());
    }

    #[test]
    fn padme_never_shrinks_and_adds_little() {
        for length in (0..100_000u64).chain([1 << 30, (1 << 30) + 1, 1 << 45]) {
            let padded = padme(length);
            assert!(padded >= length && padded as f64 <= length as f64 * 1.12 + 1.0, "{length} {padded}");
            assert_eq!(padme(padded), padded);
        }
    }

    #[test]
    fn a_compressor_takes_the_memory_that_it_is_counted_with() {
        let content = vec![7; FRAME_CONTENT];
        for level in -7..=19 {
            let mut compressor = Compressor::new(level);
            compressor.compress(&content, &mut Vec::new());
            let (taken, counted) = (compressor.context.sizeof() as u64, Compressor::memory(level));
            assert!(taken <= counted, "level {level} takes {taken}");
            // Nobody is refused for memory that is not needed.
            assert!(level < 4 || counted <= 2 * taken, "level {level} takes {taken} only");
        }
    }
}
