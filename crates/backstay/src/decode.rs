//! From the inner stream to content: frames or members are decoded on all cores and come out in order.
//!
//! The three decoders of the format (zstd frames, gzip members, openssl around gzip) have one shape: bytes go in, jobs
//! come out, their results go back in order. This file drives them; a fault comes out after all content before it.
//!
//! Copies of compressed bytes: two, into the splitter, which sees frames across the cuts of fetching, and out of it into a job that
//! may run on any thread. Copies of content: none between the decoder and the call that writes it.

use std::collections::VecDeque;
use std::pin::Pin;

use backstay_format::codec::{gzip, zstd};
use backstay_format::header::Codec;
use backstay_format::openssl::{self, KeyIv};
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt as _};

use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::fetch::{Piece, Pieces};
use crate::shelf::Shelf;

/// What a decoder is fed, in the order of the stream.
pub(crate) enum Fed {
    /// The stream goes on with this.
    Piece(Piece),
    /// What follows is missing, and whoever feeds knows it: what stands before it is decoded as far as it can be, and that the stream does not
    /// end there is no fault of its own.
    Hole,
    /// What follows could not be had.
    Fault(Error),
}

impl From<Result<Piece>> for Fed {
    fn from(fetched: Result<Piece>) -> Fed {
        match fetched {
            Ok(piece) => Fed::Piece(piece),
            Err(fault) => Fed::Fault(fault),
        }
    }
}

/// Decodes one inner stream.
pub(crate) struct Decoder {
    kind: Kind,
    cpu: Cpu,
    /// Jobs that run, oldest first.
    running: VecDeque<Pin<Box<dyn Future<Output = Result<Done>> + Send>>>,
    /// How many may run.
    width: usize,
    fed: BoxStream<'static, Fed>,
    /// How the stream ended early, at a hole or with a fault, to be said when everything before it has come out.
    cut: Option<Result<()>>,
    stored: u64,
    /// Memory for content.
    contents: Shelf<Vec<u8>>,
}

enum Kind {
    Zstd(Zstd),
    Gzip(gzip::Reader),
    Openssl(Box<openssl::Reader>),
    /// The reader was asked for its end.
    Finished,
    /// No decoding.
    Raw {
        waiting: VecDeque<Bytes>,
        ended: bool,
    },
}

enum Job {
    Zstd(zstd::Frame, Shelf<zstd::Decompressor>),
    Gzip(gzip::Job),
    Openssl(openssl::Job),
}

enum Done {
    Zstd(backstay_format::Result<Vec<u8>>, zstd::Frame),
    Gzip(gzip::Done),
    Openssl(openssl::Done),
}

enum Next {
    Run(Job),
    Input,
    Result,
    End,
    Output(Bytes),
}

/// The zstd decoder.
struct Zstd {
    splitter: zstd::FrameSplitter,
    decompressors: Shelf<zstd::Decompressor>,
    input_ended: bool,
    running: usize,
    /// Content of the frames that run, and how much that may be.
    decoding: u64,
    at_once: u64,
    failure: Option<backstay_format::Error>,
    /// A frame did not decode: nothing after it comes out.
    poisoned: bool,
    /// Only a run of frames is read: there is no seek table to end it.
    partial: bool,
    /// Content of the frames so far.
    expected: u64,
    max_content: Option<u64>,
}

/// How much content may be decoded at once: a frame for each core, as this program writes them, but of larger ones no more than two
/// of the largest, however many cores there are. Some kilobytes are enough to ask for 64 MiB.
pub(crate) fn content_at_once(cpu: &Cpu) -> u64 {
    ((cpu.cores() as u64 + 1) * zstd::FRAME_CONTENT as u64).max(2 * zstd::MAX_FRAME_CONTENT)
}

impl Decoder {
    fn new(kind: Kind, fed: impl Stream<Item: Into<Fed>> + Send + 'static, cpu: &Cpu) -> Decoder {
        let (width, fed) = (cpu.cores() + 1, fed.map(Into::into).boxed());
        let (running, contents) = (VecDeque::new(), Shelf::default());
        Decoder { kind, cpu: cpu.clone(), running, width, fed, cut: None, stored: 0, contents }
    }

    /// Decodes a native archive's inner stream.
    pub(crate) fn native(
        codec: Codec,
        fed: impl Stream<Item: Into<Fed>> + Send + 'static,
        cpu: &Cpu,
        max_content: Option<u64>,
    ) -> Decoder {
        let kind = match codec {
            Codec::Zstd => Kind::Zstd(Zstd {
                splitter: zstd::FrameSplitter::default(),
                decompressors: Shelf::default(),
                input_ended: false,
                running: 0,
                decoding: 0,
                at_once: content_at_once(cpu),
                failure: None,
                poisoned: false,
                partial: false,
                expected: 0,
                max_content,
            }),
            Codec::Gzip => Kind::Gzip(gzip::Reader::new(gzip::Options { max_content, ..gzip::Options::default() })),
        };
        Decoder::new(kind, fed, cpu)
    }

    /// Decodes a run of whole zstd frames that is not the whole stream.
    pub(crate) fn frames(pieces: Pieces, cpu: &Cpu) -> Decoder {
        let mut decoder = Decoder::native(Codec::Zstd, pieces, cpu, None);
        if let Kind::Zstd(zstd) = &mut decoder.kind {
            zstd.partial = true;
        }
        decoder
    }

    /// Decrypts and decodes an openssl stream.
    pub(crate) fn openssl(
        key: KeyIv,
        gzip: bool,
        fed: impl Stream<Item: Into<Fed>> + Send + 'static,
        cpu: &Cpu,
        max_content: Option<u64>,
    ) -> Decoder {
        let payload = if gzip { openssl::Payload::Gzip } else { openssl::Payload::Raw };
        Decoder::new(Kind::Openssl(Box::new(openssl::Reader::with_key(key, payload, max_content))), fed, cpu)
    }

    /// Gives the inner stream itself.
    pub(crate) fn raw(pieces: Pieces, cpu: &Cpu) -> Decoder {
        Decoder::new(Kind::Raw { waiting: VecDeque::new(), ended: false }, pieces, cpu)
    }

    /// Stored bytes that were fetched and opened so far.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// The next piece of content; `None` when the stream has ended and everything about it was right, or at a hole that it was fed.
    ///
    /// # Errors
    /// Whatever is wrong with the stream, after all content that stands before it.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let next = if self.running.len() >= self.width { Next::Result } else { self.kind.next() };
            let content = match next {
                Next::Output(content) => content,
                Next::Run(job) => {
                    let contents = self.contents.clone();
                    self.running.push_back(Box::pin(self.cpu.run(move || job.run(&contents))));
                    continue;
                }
                Next::Input if self.cut.is_none() => {
                    match self.fed.next().await {
                        Some(Fed::Piece(Piece { bytes, stored })) => {
                            self.stored += stored;
                            self.kind.push(&bytes);
                        }
                        Some(Fed::Hole) => self.cut = Some(Ok(())),
                        Some(Fed::Fault(fault)) => self.cut = Some(Err(fault)),
                        None => self.kind.end_input(),
                    }
                    continue;
                }
                // What came before the cut is decoded to its end first: it comes out, or has a fault of its own.
                Next::Input | Next::Result => match self.running.pop_front() {
                    Some(running) => self.contents.lend(self.kind.complete(running.await?)),
                    None => {
                        let stuck = || Err(Error::Internal { why: "a decoder waits for nothing".to_owned() });
                        return self.cut.take().unwrap_or_else(stuck).map(|()| None);
                    }
                },
                Next::End => return self.kind.finish().map(|()| None),
            };
            if !content.is_empty() {
                return Ok(Some(content));
            }
        }
    }
}

impl Job {
    fn run(self, contents: &Shelf<Vec<u8>>) -> Done {
        match self {
            Job::Zstd(frame, decompressors) => {
                let mut decompressor = decompressors.take().unwrap_or_default();
                let mut content = contents.buffer();
                let decoded = decompressor.decompress(&frame, &mut content);
                decompressors.give(decompressor);
                Done::Zstd(decoded.map(|()| content), frame)
            }
            Job::Gzip(job) => Done::Gzip(job.run(|| contents.used())),
            Job::Openssl(job) => Done::Openssl(job.run(|| contents.used())),
        }
    }
}

impl Zstd {
    fn next(&mut self) -> Next {
        if self.decoding >= self.at_once && !self.poisoned {
            return Next::Result;
        }
        if self.failure.is_none() {
            match self.splitter.next() {
                Ok(Some(frame)) => {
                    self.expected += frame.content as u64;
                    if self.max_content.is_none_or(|limit| self.expected <= limit) {
                        self.running += 1;
                        self.decoding += frame.content as u64;
                        return Next::Run(Job::Zstd(frame, self.decompressors.clone()));
                    }
                    let why = "the content is longer than the limit that was given".to_owned();
                    self.failure = Some(backstay_format::Error::StreamLimit { at: frame.at, why });
                }
                Ok(None) if !self.input_ended => return Next::Input,
                Ok(None) => {}
                Err(error) => self.failure = Some(error),
            }
        }
        // A fault of the splitter stands behind the frames that still run; one of a frame ends everything.
        if self.running > 0 && !self.poisoned { Next::Result } else { Next::End }
    }

    fn complete(&mut self, result: backstay_format::Result<Vec<u8>>, frame: zstd::Frame) -> Vec<u8> {
        self.running -= 1;
        self.decoding -= frame.content as u64;
        self.splitter.recycle(frame);
        match result {
            Ok(content) if !self.poisoned => content,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.failure = Some(error);
                self.poisoned = true;
                Vec::new()
            }
        }
    }

    fn finish(&mut self) -> backstay_format::Result<()> {
        match self.failure.take() {
            Some(error) => Err(error),
            None if self.partial => self.splitter.finish_partial(),
            None => self.splitter.finish().map(drop),
        }
    }
}

impl Kind {
    fn push(&mut self, bytes: &Bytes) {
        match self {
            Kind::Zstd(zstd) => zstd.splitter.push(bytes),
            Kind::Gzip(reader) => reader.push(bytes),
            Kind::Openssl(reader) => reader.push(bytes),
            Kind::Raw { waiting, .. } => waiting.push_back(bytes.clone()),
            Kind::Finished => {}
        }
    }

    fn end_input(&mut self) {
        match self {
            Kind::Zstd(zstd) => zstd.input_ended = true,
            Kind::Gzip(reader) => reader.end_input(),
            Kind::Openssl(reader) => reader.end_input(),
            Kind::Raw { ended, .. } => *ended = true,
            Kind::Finished => {}
        }
    }

    fn next(&mut self) -> Next {
        match self {
            Kind::Zstd(zstd) => zstd.next(),
            Kind::Gzip(reader) => match reader.next() {
                gzip::Next::Run(job) => Next::Run(Job::Gzip(job)),
                gzip::Next::Input => Next::Input,
                gzip::Next::Result => Next::Result,
                gzip::Next::End => Next::End,
            },
            Kind::Openssl(reader) => match reader.next() {
                openssl::Next::Run(job) => Next::Run(Job::Openssl(job)),
                openssl::Next::Input => Next::Input,
                openssl::Next::Result => Next::Result,
                openssl::Next::End => Next::End,
            },
            Kind::Raw { waiting, ended } => match waiting.pop_front() {
                Some(bytes) => Next::Output(bytes),
                None if *ended => Next::End,
                None => Next::Input,
            },
            Kind::Finished => Next::End,
        }
    }

    fn complete(&mut self, done: Done) -> Vec<u8> {
        match (self, done) {
            (Kind::Zstd(zstd), Done::Zstd(result, frame)) => zstd.complete(result, frame),
            (Kind::Gzip(reader), Done::Gzip(done)) => reader.complete(done),
            (Kind::Openssl(reader), Done::Openssl(done)) => reader.complete(done),
            _ => Vec::new(),
        }
    }

    /// Whether the stream was right to its end. Asked once, at the end.
    fn finish(&mut self) -> Result<()> {
        let result = match std::mem::replace(self, Kind::Finished) {
            Kind::Zstd(mut zstd) => zstd.finish(),
            Kind::Gzip(reader) => reader.finish().map(drop).map_err(Into::into),
            Kind::Openssl(reader) => reader.finish().map(drop).map_err(Into::into),
            Kind::Raw { .. } | Kind::Finished => Ok(()),
        };
        Ok(result?)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// What comes out of a gzip stream of which this is fed.
    async fn decoded(fed: Vec<Fed>) -> (Vec<u8>, Result<()>) {
        let cpu = Cpu::start(Some(1)).unwrap();
        let mut decoder = Decoder::native(Codec::Gzip, stream::iter(fed), &cpu, None);
        let mut content = Vec::new();
        loop {
            match decoder.next().await {
                Ok(Some(piece)) => content.extend_from_slice(&piece),
                Ok(None) => return (content, Ok(())),
                Err(error) => return (content, Err(error)),
            }
        }
    }

    #[tokio::test]
    async fn a_hole_is_no_fault_and_a_stream_that_ends_early_is_one() {
        // One member of stored content: what a gzip program makes of `content` at level 0.
        let mut gz = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1, 7, 0, 0xf8, 0xff];
        gz.extend_from_slice(b"content");
        gz.extend_from_slice(&0xfec5_30a9_u32.to_le_bytes());
        gz.extend_from_slice(&7_u32.to_le_bytes());
        let piece = |bytes: &[u8]| Fed::Piece(Piece { bytes: Bytes::copy_from_slice(bytes), stored: 0 });
        assert!(matches!(decoded(vec![piece(&gz)]).await, (content, Ok(())) if content == b"content"));
        assert!(matches!(decoded(vec![piece(&gz), Fed::Hole]).await, (_, Ok(()))));
        assert!(matches!(decoded(vec![piece(&gz[..20]), Fed::Hole]).await, (_, Ok(()))));
        assert!(matches!(decoded(vec![piece(&gz[..20])]).await, (_, Err(Error::Format(_)))));
        let fault = Error::Internal { why: "x".to_owned() };
        assert!(matches!(decoded(vec![piece(&gz), Fed::Fault(fault)]).await, (_, Err(Error::Internal { .. }))));
    }
}
