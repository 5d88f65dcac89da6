//! Fetching the stored stream ahead and in parallel, and opening it: plaintext of the inner stream comes out, in order.
//!
//! The unit is a run of segments, about 4 MiB: one ranged GET and one job on the pool. Nothing comes out of a run before
//! every tag in it is right, and a fault comes out in its place, after everything that stands before it.

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest;
use backstay_format::ArchiveId;
use backstay_format::codec::zstd::FRAME_CONTENT;
use backstay_format::header::{Head, Header, Reference};
use backstay_format::manifest::{Manifest, PartEntry, Profile};
use backstay_format::part::{PartOpener, Place};
use backstay_format::schedule::{Keys, sha256};
use backstay_format::segment::TAG;
use backstay_format::text::to_hex;
use backstay_store::Store;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::ahead::ahead;
use crate::archive::{Lines, Native, Object, Openssl, read_header};
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::observe::{Event, Observer};
use crate::shelf::Shelf;

/// About how many stored bytes are fetched at once, where memory allows it.
pub(crate) const RUN: u64 = 4 << 20;

/// Parts of a sealed openssl archive that are digested at the same time, at least, where memory allows it.
const AT_ONCE: usize = 2;

/// A range of the inner stream that is not worth cutting: two frames that nothing made smaller, with what is around them.
const SMALL_RANGE: u64 = 2 * (FRAME_CONTENT as u64 + (128 << 10));

/// What fetching needs.
#[derive(Clone)]
pub(crate) struct Fetcher {
    pub(crate) store: Store,
    pub(crate) cpu: Cpu,
    pub(crate) observer: Arc<dyn Observer>,
    /// Runs in flight or waiting to be taken.
    pub(crate) ahead: usize,
    /// About how many stored bytes a run has.
    pub(crate) run: u64,
    /// Memory for opened runs.
    pub(crate) plains: Shelf<Vec<u8>>,
}

/// A piece of a stream in order.
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// How many stored bytes it took.
    pub(crate) stored: u64,
}

/// A part, where it stands, and which of its segments are wanted: all when `None`.
type Wanted = (Object, Place, Option<(u64, u64)>);

/// A part that is read.
#[derive(Clone)]
struct Part {
    object: Object,
    opener: Arc<PartOpener>,
    /// What its header line must be, if that is known and has not been looked at.
    line: Option<Bytes>,
    shared: Arc<Shared>,
}

/// What the parts of an archive have in common.
struct Shared {
    keys: Keys,
    first: Header,
    known: Option<Known>,
}

/// Pieces in order.
pub(crate) type Pieces = BoxStream<'static, Result<Piece>>;

impl Fetcher {
    /// The whole inner stream of a native archive.
    pub(crate) fn inner(&self, archive: &Native) -> Pieces {
        let count = archive.parts.len();
        let parts = archive.parts.clone().into_iter().enumerate().map(move |(i, object)| {
            let place = if i + 1 == count { Place::Last } else { Place::Middle };
            (object, place, None)
        });
        self.runs(archive, parts.collect(), Lines::Stored)
    }

    /// Exactly the bytes `range` of the inner stream, by arithmetic. A small range is one request for each part that it
    /// touches; header lines are not fetched where a trusted manifest tells them.
    pub(crate) fn inner_range(&self, archive: &Native, range: &Range<u64>) -> Pieces {
        let common = &archive.header.common;
        let (per_part, seg) = (common.part_content(), u64::from(common.seg));
        let count = archive.parts.len();
        let parts = archive.parts.iter().enumerate().filter_map(|(i, object)| {
            let start = i as u64 * per_part;
            let from = range.start.max(start).checked_sub(start)?;
            let to = range.end.min(start + per_part).checked_sub(start)?;
            let place = if i + 1 == count { Place::Last } else { Place::Middle };
            (from < to).then(|| (object.clone(), place, Some((from / seg, to.div_ceil(seg)))))
        });
        // Whole segments come, and part edges are segment edges: only the first and the last piece are cut.
        let mut at = range.start - range.start % per_part % seg;
        let (start, end) = (range.start, range.end);
        // What is in flight at most is then still what runs in flight would be.
        let whole = (range.end - range.start) + 2 * seg;
        let small = whole <= SMALL_RANGE.min(self.run * self.ahead as u64);
        let fetcher = Fetcher { run: if small { u64::MAX } else { self.run }, ..self.clone() };
        fetcher
            .runs(archive, parts.collect(), Lines::Rebuilt)
            .map_ok(move |mut piece| {
                let length = piece.bytes.len() as u64;
                let within = |offset: u64| usize::try_from(offset.saturating_sub(at).min(length)).unwrap_or(usize::MAX);
                piece.bytes = piece.bytes.slice(within(start)..within(end));
                at += length;
                piece
            })
            .boxed()
    }

    fn runs(&self, archive: &Native, parts: Vec<Wanted>, lines: Lines) -> Pieces {
        let shared = Arc::new(Shared {
            keys: archive.keys.clone(),
            first: archive.header.clone(),
            known: archive.manifest.as_ref().and_then(Known::new),
        });
        let (fetcher, run) = (self.clone(), self.run);
        let runs = stream::iter(parts)
            .map({
                let fetcher = fetcher.clone();
                move |wanted| fetcher.clone().part(wanted, Arc::clone(&shared), lines)
            })
            .buffered(self.ahead)
            .map_ok(move |(part, (from, to))| {
                let per_run = per_run(&part.opener, run);
                let runs = (from..to).step_by(usize::try_from(per_run).unwrap_or(usize::MAX));
                stream::iter(runs.map(move |at| Ok::<_, Error>((part.clone(), at, (at + per_run).min(to)))))
            })
            .try_flatten()
            .map(move |run| {
                let fetcher = fetcher.clone();
                async move {
                    let (part, from, to) = run?;
                    fetcher.open_run(&part, from, to).await
                }
            });
        ahead(runs, self.ahead)
    }

    /// A part that can be opened, and the segments of it that are wanted.
    async fn part(self, wanted: Wanted, shared: Arc<Shared>, lines: Lines) -> Result<(Part, (u64, u64))> {
        let (object, place, segments) = wanted;
        let rebuilt = shared.known.as_ref().and_then(|known| known.header(&shared.first.id, object.n));
        let (header, unread) = match rebuilt {
            // It was read to unlock the archive.
            _ if object.n == shared.first.part => (shared.first.clone(), false),
            Some(header) => (header, lines == Lines::Stored),
            None => (self.header(&object, &shared.first, shared.known.as_ref()).await?, false),
        };
        let opener = match PartOpener::new(&header, &shared.keys, object.size, place) {
            Ok(opener) => Arc::new(opener),
            Err(fault) => {
                // With a line of another length the part has another size: then that is what is wrong.
                if unread {
                    self.header(&object, &shared.first, shared.known.as_ref()).await?;
                }
                return Err(fault.into());
            }
        };
        let (from, to) = segments.unwrap_or((0, opener.segments()));
        let to = to.min(opener.segments());
        let line = unread.then(|| header.line.into());
        Ok((Part { object, opener, line, shared }, (from, to)))
    }

    /// Fetches these segments and opens them. With the first ones comes the header line, if nobody has looked at it yet.
    async fn open_run(&self, part: &Part, from: u64, to: u64) -> Result<Piece> {
        let Part { object, opener, line, shared } = part;
        let mut range = opener.stored(from, to);
        let line = line.as_ref().filter(|_| from == 0);
        if line.is_some() {
            range.start = 0;
        }
        let mut sealed = self.store.get_range(&object.name, range.clone()).await?;
        if let Some(line) = line
            && sealed.split_to(line.len().min(sealed.len())) != line
        {
            // Now it is worth a request of its own to say what is wrong with it.
            self.header(object, &shared.first, shared.known.as_ref()).await?;
            let (object, field) = (object.name.clone(), "header line");
            return Err(backstay_format::Error::PartForeign { object, field }.into());
        }
        let last = to == opener.segments();
        let (opening, plains) = (Arc::clone(opener), self.plains.clone());
        let opened = self.cpu.run(move || {
            let mut plain = plains.buffer();
            plain.reserve(sealed.len());
            opening.open(from, &sealed, &mut plain).map(|()| plains.lend(plain))
        });
        let bytes = opened.await??;
        if last {
            self.observer.event(&Event::PartFetched { n: object.n, size: object.size });
        }
        let stored = range.end - range.start;
        Ok(Piece { bytes, stored })
    }

    /// A part's header line as it is stored, checked against what all parts share. With a manifest the line is known to
    /// the byte, so that fetching it is only to notice that the object's differs.
    pub(crate) async fn header(&self, object: &Object, first: &Header, known: Option<&Known>) -> Result<Header> {
        let rnd = known.and_then(|known| known.rnd.get(object.n as usize)).and_then(Option::as_ref);
        let reference = match (known, rnd) {
            (Some(known), Some(rnd)) => Reference::Head(&known.head, rnd),
            _ => Reference::Header(first),
        };
        read_header(&self.store, &first.id, object, first.line.len(), reference).await
    }

    /// The SHA-256 of each of these objects, in their order, several at a time.
    pub(crate) fn digests(&self, objects: Vec<Object>) -> BoxStream<'static, (Object, Result<[u8; 32]>)> {
        // What may be in flight is shared out: two runs of each object.
        let at_once = (self.ahead / 2).max(1);
        let fetcher = Fetcher { ahead: self.ahead.min(2), ..self.clone() };
        stream::iter(objects)
            .map(move |object| {
                let fetcher = fetcher.clone();
                async move {
                    let digest = fetcher.digest(&object).await;
                    (object, digest)
                }
            })
            .buffered(at_once)
            .boxed()
    }

    pub(crate) async fn digest(&self, object: &Object) -> Result<[u8; 32]> {
        let mut hashed = self.hashed(object);
        while hashed.next().await?.is_some() {}
        Ok(hashed.finish())
    }

    /// An object as it is stored, hashed on the way.
    pub(crate) fn hashed(&self, object: &Object) -> Hashed {
        let hash = digest::Context::new(&digest::SHA256);
        Hashed { pieces: self.raw(object), cpu: self.cpu.clone(), hash }
    }

    /// The stream of an openssl archive, without a look at what it says. In a sealed archive nothing of a part comes out before its digest is right.
    /// Parts are kept meanwhile, as many at a time as fit into `hold` bytes; one that does not fit by itself is fetched twice.
    pub(crate) fn cipher(&self, archive: &Openssl, hold: u64) -> Pieces {
        let entries = archive.manifest.as_ref().map(|manifest| manifest.parts.clone());
        // As many as it takes for all that may be in flight, which is shared out; of large ones as many as fit.
        let at_once = match archive.parts.iter().map(|part| part.size.max(1)).filter(|size| *size <= hold).max() {
            None => AT_ONCE,
            Some(largest) => {
                let wanted = (self.ahead as u64 * self.run)
                    .div_ceil(largest)
                    .clamp(AT_ONCE as u64, self.ahead.max(AT_ONCE) as u64);
                usize::try_from(wanted.min(hold / largest)).unwrap_or(AT_ONCE)
            }
        };
        let parts = archive.parts.clone().into_iter().enumerate().map(move |(i, object)| {
            let expected = entries.as_ref().and_then(|entries| entries.get(i)).map(|entry: &PartEntry| entry.sha256);
            (object, expected)
        });
        let (whole, sharing) = (self.clone(), Fetcher { ahead: (self.ahead / at_once).max(1), ..self.clone() });
        stream::iter(parts)
            .map(move |(object, expected)| {
                let (whole, sharing) = (whole.clone(), sharing.clone());
                async move {
                    match expected {
                        None => Ok::<_, Error>(whole.raw(&object)),
                        Some(expected) => sharing.digested(object, expected, hold).await,
                    }
                }
            })
            .buffered(at_once)
            .try_flatten()
            .boxed()
    }

    /// An object as it is stored.
    pub(crate) fn raw(&self, object: &Object) -> Pieces {
        let (fetcher, object, size) = (self.clone(), object.clone(), object.size);
        let run = self.run;
        let runs = stream::iter((0..size).step_by(usize::try_from(run).unwrap_or(usize::MAX))).map(move |at| {
            let (fetcher, object) = (fetcher.clone(), object.clone());
            async move {
                let range = at..(at + run).min(size);
                let last = range.end == size;
                let bytes = fetcher.store.get_range(&object.name, range.clone()).await?;
                if last {
                    fetcher.observer.event(&Event::PartFetched { n: object.n, size });
                }
                Ok(Piece { stored: range.end - range.start, bytes })
            }
        });
        ahead(runs, self.ahead)
    }

    /// An object whose digest is proved before the first piece comes out. A large one is fetched twice, and then its
    /// pieces must be the ones that were digested: a store may answer differently the second time.
    pub(crate) async fn digested(&self, object: Object, expected: [u8; 32], hold: u64) -> Result<Pieces> {
        let mut pieces = self.raw(&object);
        let mut whole = digest::Context::new(&digest::SHA256);
        let (mut held, mut digests) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.try_next().await? {
            let digested = piece.bytes.clone();
            let keep = object.size <= hold;
            let (context, digest) = self
                .cpu
                .run(move || {
                    whole.update(&digested);
                    (whole, (!keep).then(|| sha256(&digested)))
                })
                .await?;
            whole = context;
            digests.extend(digest);
            if keep {
                held.push(Ok(piece));
            }
        }
        let found = whole.finish();
        if found.as_ref() != expected {
            return Err(digest_fault(&object, found.as_ref(), &expected));
        }
        if object.size <= hold {
            return Ok(stream::iter(held).boxed());
        }
        let again = self.raw(&object).zip(stream::iter(digests)).map(move |(piece, digest)| {
            let piece = piece?;
            let found = sha256(&piece.bytes);
            if found == digest { Ok(piece) } else { Err(digest_fault(&object, &found, &digest)) }
        });
        Ok(again.boxed())
    }
}

/// The pieces of an object, each of which is hashed before it comes out.
pub(crate) struct Hashed {
    pieces: Pieces,
    cpu: Cpu,
    hash: digest::Context,
}

impl Hashed {
    /// The next piece.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>> {
        let Some(piece) = self.pieces.try_next().await? else { return Ok(None) };
        let mut hash = std::mem::replace(&mut self.hash, digest::Context::new(&digest::SHA256));
        let hashing = self.cpu.run(move || {
            hash.update(&piece.bytes);
            (hash, piece)
        });
        let (hash, piece) = hashing.await?;
        self.hash = hash;
        Ok(Some(piece))
    }

    /// The SHA-256 of what came out.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// An object as it is stored, in one request and held whole, with its SHA-256: for those who have the memory. A connection that breaks is
/// continued where it broke, or little before.
pub(crate) async fn whole(
    store: &Store,
    object: &Object,
    cpu: &Cpu,
    observer: &Arc<dyn Observer>,
) -> Result<(Bytes, [u8; 32])> {
    let bytes = store.get_range(&object.name, 0..object.size).await?;
    observer.event(&Event::PartFetched { n: object.n, size: object.size });
    let hashed = bytes.clone();
    let digest = cpu.run(move || sha256(&hashed)).await?;
    Ok((bytes, digest))
}

/// How many segments are fetched at once.
pub(crate) fn per_run(opener: &PartOpener, run: u64) -> u64 {
    (run / (opener.segment_size() + TAG as u64)).max(1)
}

/// What a trusted manifest says about the header lines.
pub(crate) struct Known {
    head: Head,
    rnd: Vec<Option<[u8; 16]>>,
}

impl Known {
    pub(crate) fn new(manifest: &Manifest) -> Option<Known> {
        let Profile::Native(head) = &manifest.profile else { return None };
        Some(Known { head: (**head).clone(), rnd: manifest.parts.iter().map(|part| part.rnd).collect() })
    }

    /// The header of part `n`.
    fn header(&self, id: &ArchiveId, n: u32) -> Option<Header> {
        Some(self.head.header(id, n, self.rnd.get(n as usize)?.as_ref()?))
    }
}

/// A part does not have the digest that the manifest states.
pub(crate) fn digest_fault(object: &Object, found: &[u8], expected: &[u8]) -> Error {
    let (found, expected) = (to_hex(found), to_hex(expected));
    backstay_format::Error::PartDigest { object: object.name.clone(), found, expected }.into()
}

/// How long the inner stream of a native archive is, and how much of it is in its last part, by its sizes.
pub(crate) fn inner_length(archive: &Native) -> (u64, u64) {
    let Some(last) = archive.parts.last() else { return (0, 0) };
    let common = &archive.header.common;
    let body = last.size.saturating_sub(archive.header.line.len() as u64);
    let segments = body.div_ceil(u64::from(common.seg) + TAG as u64);
    let in_last = body.saturating_sub(segments * TAG as u64);
    ((archive.parts.len() as u64 - 1) * common.part_content() + in_last, in_last)
}
