//! The story backwards: parts are fetched ahead and opened, frames decoded on all cores, content written in order.
//!
//! ```text
//! ranged GETs ─► open segments ─► split ─► decode ─► output
//! ahead          N cores          in order  N cores   in order, one writer
//! ```
//!
//! Every byte that is released is authentic; that it was all is known at the end, and until then nothing is called done.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_store::Store;
use bytes::{Buf as _, Bytes};

use crate::archive::{Archive, Lines};
use crate::context::Context;
use crate::decode::Decoder;
use crate::error::{Error, Result};
use crate::fetch::{Fetcher, RUN};
use crate::observe::{Event, Observer, Progress};
use crate::output::Output;
pub use crate::output::Target;
use crate::policy::ReadPolicy;
use crate::shelf::Shelf;
use crate::{atomic, layout, range};

/// The default bound of fetches in flight; memory for 128 MiB of buffers has room for ten.
pub const FETCHES: usize = 16;

/// The fewest stored bytes that are fetched at once, with little memory.
const SMALLEST_RUN: u64 = 512 << 10;

/// How to restore.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// What is accepted.
    pub policy: ReadPolicy,
    /// These bytes of the content only.
    pub range: Option<Range<u64>>,
    /// The inner stream as it is (a `.zst` or `.gz` file), not its content.
    pub raw: bool,
    /// Check everything before releasing anything.
    pub atomic: bool,
    /// Where `atomic` keeps the sealed parts meanwhile; the system's folder for temporary files when `None`.
    pub spool_dir: Option<PathBuf>,
    /// The most bytes that may be released.
    pub max_output: Option<u64>,
    /// Bytes of memory that all buffers together may take.
    pub memory: u64,
    /// Fetches in flight, at most; fewer where they do not fit the memory.
    pub fetches: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        RestoreOptions {
            policy: ReadPolicy::default(),
            range: None,
            raw: false,
            atomic: false,
            spool_dir: None,
            max_output: None,
            memory: layout::MEMORY,
            fetches: FETCHES,
        }
    }
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The archive.
    pub id: ArchiveId,
    /// Bytes released.
    pub content: u64,
    /// Stored bytes read for them.
    pub stored: u64,
    /// Parts of the archive.
    pub parts: u32,
    /// Whether every released byte was proved to be what the key's holder wrote.
    pub authentic: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Restores an archive to `target`.
///
/// # Errors
/// `usage.arguments` for a range that ends before it begins, or one of the raw stream. Every check of `spec/archive.md` §13 in
/// its order; `target.failed` for the target, `io.failed` for the spool. What was released before an error is authentic but
/// incomplete.
pub async fn restore(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    target: Target,
    options: &RestoreOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Restored> {
    let begun = Instant::now();
    if let Some(range) = options.range.as_ref().filter(|range| range.start > range.end) {
        return Err(Error::Usage { why: format!("the range {}..{} ends before it begins", range.start, range.end) });
    }
    let lines = if options.range.is_some() && !options.raw { Lines::Rebuilt } else { Lines::Stored };
    let archive = Archive::open(store, id, keyring, &options.policy, lines).await?;
    if let Archive::Native(native) = &archive {
        for text in &native.notes {
            observer.event(&Event::Note { text: text.clone() });
        }
    }
    let restored = if options.atomic {
        let kept = atomic::fetch(store, &archive, options, context, &observer).await?;
        // What is kept there is checked to its end, with the manifest and the keys of the archive that is open, before anything is released.
        let nowhere = Target::Writer(Box::new(std::io::sink()));
        release(&kept.store, &archive, nowhere, options, context, &observer, begun).await?;
        release(&kept.store, &archive, target, options, context, &observer, begun).await?
    } else {
        release(store, &archive, target, options, context, &observer, begun).await?
    };
    if matches!(archive, Archive::Openssl(_)) && !restored.authentic {
        let text = "this format cannot prove that its content is genuine".to_owned();
        observer.event(&Event::Warning { code: Some("openssl.unauthenticated"), text });
    }
    Ok(restored)
}

/// Releases the content of an archive that is unlocked.
async fn release(
    store: &Store,
    archive: &Archive,
    target: Target,
    options: &RestoreOptions,
    context: &Context,
    observer: &Arc<dyn Observer>,
    begun: Instant,
) -> Result<Restored> {
    let fetcher = fetcher(store, options, context, observer);
    let mut summary = Restored {
        id: archive.id().clone(),
        content: 0,
        stored: 0,
        parts: u32::try_from(archive.parts().len()).unwrap_or(u32::MAX),
        authentic: archive.is_authentic(),
        elapsed: Duration::ZERO,
    };
    let mut content = Content::new(archive, &fetcher, options, context).await?;
    let mut output = Output::open(target, context)?;
    // Where each part ends in the stored bytes. A range reads some of them only, and how many is not known beforehand.
    let ends: Vec<u64> = archive
        .parts()
        .iter()
        .scan(0, |end, part| {
            *end += part.size;
            Some(*end)
        })
        .collect();
    let totals = Progress {
        total_stored: ends.last().copied().filter(|_| options.range.is_none()),
        total_parts: Some(summary.parts).filter(|_| options.range.is_none()),
        ..Progress::default()
    };
    let passed = |stored| match options.range {
        None => u32::try_from(ends.partition_point(|end| *end <= stored)).unwrap_or(u32::MAX),
        Some(_) => 0,
    };
    let streamed = tokio::select! {
        biased;
        () = context.interrupt.wait() => Err(Error::Interrupted { left: "what was restored so far is incomplete".to_owned() }),
        streamed = async {
            while let Some(piece) = content.next().await? {
                summary.content += piece.len() as u64;
                output.write(piece).await?;
                summary.stored = content.decoder.stored();
                let (content, stored) = (summary.content, summary.stored);
                observer.event(&Event::Progress(Progress { content, stored, parts: passed(stored), ..totals }));
            }
            Ok(())
        } => streamed,
    };
    match streamed {
        Ok(()) => output.finish().await?,
        Err(error) => {
            if let Some(text) = output.abandon().await {
                observer.event(&Event::Warning { code: None, text });
            }
            return Err(error);
        }
    }
    summary.stored = content.decoder.stored();
    summary.elapsed = begun.elapsed();
    Ok(summary)
}

/// How much is fetched ahead in so much memory.
pub(crate) fn fetcher(
    store: &Store,
    options: &RestoreOptions,
    context: &Context,
    observer: &Arc<dyn Observer>,
) -> Fetcher {
    let run = (options.memory / 64).clamp(SMALLEST_RUN, RUN);
    // Stored bytes and plaintext, in a third of the memory: splitting and decoding take the rest.
    let fitting = usize::try_from(options.memory / 3 / (2 * run)).unwrap_or(usize::MAX);
    let ahead = options.fetches.min(fitting).max(1);
    Fetcher {
        store: store.clone(),
        cpu: context.cpu.clone(),
        observer: Arc::clone(observer),
        ahead,
        run,
        plains: Shelf::default(),
    }
}

/// The content of an archive as it comes out, checked to its end.
pub(crate) struct Content {
    decoder: Decoder,
    /// Bytes before the range that are still to be dropped, and bytes of it that are still to come.
    skip: u64,
    take: Option<u64>,
    /// What the manifest says, where the whole content is read.
    expected: Option<u64>,
    found: u64,
    released: u64,
    /// The most that may come out; the decoders of compressed streams stop earlier by themselves.
    limit: Option<u64>,
}

impl Content {
    pub(crate) async fn new(
        archive: &Archive,
        fetcher: &Fetcher,
        options: &RestoreOptions,
        context: &Context,
    ) -> Result<Content> {
        let cpu = &context.cpu;
        if options.raw && options.range.is_some() {
            return Err(Error::Usage { why: "a range is one of the content, not of the raw stream".to_owned() });
        }
        let whole = |decoder, expected| Content {
            decoder,
            skip: 0,
            take: None,
            expected,
            found: 0,
            released: 0,
            limit: options.max_output,
        };
        let content = match (archive, &options.range) {
            (Archive::Native(native), _) if options.raw => whole(Decoder::raw(fetcher.inner(native), cpu), None),
            (Archive::Native(native), Some(range)) if native.header.common.codec == Codec::Zstd => {
                let located = range::locate(native, fetcher, range).await?;
                let pieces = fetcher.inner_range(native, &located.stored);
                let decoder = Decoder::frames(pieces, cpu);
                let skip = range.start - located.content.start;
                Content { skip, take: Some(located.length), ..whole(decoder, None) }
            }
            (Archive::Native(native), None) => {
                let expected = native.manifest.as_ref().and_then(|manifest| manifest.content);
                let pieces = fetcher.inner(native);
                whole(Decoder::native(native.header.common.codec, pieces, cpu, options.max_output), expected)
            }
            (Archive::Native(native), Some(range)) => {
                let decoder = Decoder::native(native.header.common.codec, fetcher.inner(native), cpu, None);
                Content { skip: range.start, take: Some(range.end - range.start), ..whole(decoder, None) }
            }
            (Archive::Openssl(openssl), range) => {
                let pieces = fetcher.cipher(openssl, options.memory / 2);
                let expected = openssl.manifest.as_ref().and_then(|manifest| manifest.content);
                let gzip = openssl.gzip && !options.raw;
                // Before a range any length is passed over.
                let limit = options.max_output.filter(|_| range.is_none());
                let decoder = Decoder::openssl(openssl.key.clone(), gzip, pieces, cpu, limit);
                let expected = expected.filter(|_| !options.raw);
                match range {
                    None => whole(decoder, expected),
                    Some(range) => {
                        Content { skip: range.start, take: Some(range.end - range.start), ..whole(decoder, None) }
                    }
                }
            }
        };
        Ok(content)
    }

    /// The next piece of content; `None` when it has ended and everything was right.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.take == Some(0) {
                return Ok(None);
            }
            let Some(mut piece) = self.decoder.next().await? else { break };
            self.found += piece.len() as u64;
            let skip = self.skip.min(piece.len() as u64);
            self.skip -= skip;
            piece.advance(usize::try_from(skip).unwrap_or(usize::MAX));
            if let Some(take) = &mut self.take {
                piece.truncate(usize::try_from(*take).unwrap_or(usize::MAX));
                *take -= piece.len() as u64;
            }
            self.released += piece.len() as u64;
            if self.limit.is_some_and(|limit| self.released > limit) {
                let why = "the content is longer than the limit that was given".to_owned();
                return Err(backstay_format::Error::StreamLimit { at: self.released, why }.into());
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        match self.expected {
            Some(expected) if expected != self.found => {
                Err(backstay_format::Error::StreamContent { found: self.found, expected }.into())
            }
            _ => Ok(None),
        }
    }
}

impl Archive {
    pub(crate) fn id(&self) -> &ArchiveId {
        match self {
            Archive::Native(native) => &native.id,
            Archive::Openssl(openssl) => &openssl.id,
        }
    }

    pub(crate) fn parts(&self) -> &[crate::archive::Object] {
        match self {
            Archive::Native(native) => &native.parts,
            Archive::Openssl(openssl) => &openssl.parts,
        }
    }

    /// Whether what is read from it is proved to be what a key's holder wrote.
    pub(crate) fn is_authentic(&self) -> bool {
        match self {
            Archive::Native(native) => native.header.common.open.is_none(),
            Archive::Openssl(openssl) => openssl.manifest.is_some(),
        }
    }
}
