//! What can still be taken out of a damaged archive, and where its holes are (`spec/archive.md` §15, `spec/openssl.md` §3.1).
//!
//! A restore ends at the first fault, and verify lists the faults. Salvage goes around them: every segment that opens is
//! authentic, whatever happened to its neighbours. What it gives is never called whole, even when nothing is missing.

mod file;
mod native;
mod openssl;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::key::Keyring;
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::Store;

use crate::archive::{Committed, Located};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::layout;
use crate::observe::{Event, Observer, Progress};
use crate::policy::{ProfileName, ReadPolicy};
use crate::restore::{RestoreOptions, fetcher};
use crate::verify::Finding;

use self::file::Patchwork;

/// So many bytes of a gzip payload are decompressed before what came of them is written: deflate makes up to a thousand times as much of them, and
/// whoever made the archive may have wanted that.
const SLICE: usize = 64 << 10;

/// How to salvage.
#[derive(Debug, Clone)]
pub struct SalvageOptions {
    /// What is accepted.
    pub policy: ReadPolicy,
    /// The file that the content is written to; only the report is made when `None`.
    pub output: Option<PathBuf>,
    /// Bytes of memory that all buffers together may take.
    pub memory: u64,
}

impl Default for SalvageOptions {
    fn default() -> Self {
        SalvageOptions { policy: ReadPolicy::default(), output: None, memory: layout::MEMORY }
    }
}

/// Content that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Where it begins in the output.
    pub start: u64,
    /// Where it ends. `None` when nothing tells how much is lost: then what follows, if anything does, stands directly
    /// behind `start`.
    pub end: Option<u64>,
    /// So many bytes before it were decoded but could not be compared with a checksum, and nothing else vouches for them.
    pub unproven: u64,
}

/// What was salvaged.
#[derive(Debug, Clone)]
pub struct Salvaged {
    /// The archive.
    pub id: ArchiveId,
    /// Every problem that was found, those of the listing and the manifest first, then those of the parts in order.
    pub findings: Vec<Finding>,
    /// The holes in the content, in order.
    pub holes: Vec<Hole>,
    /// Bytes of content that came out.
    pub content: u64,
    /// How long the whole content is, where that is known.
    pub length: Option<u64>,
    /// Stored bytes that were read.
    pub stored: u64,
    /// Whether everything that came out is proved to be what the key's holder wrote.
    pub authentic: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// Takes every authentic byte out of an archive and lists the holes.
///
/// A hole whose length is known is left in the output as zeros, so that everything stands in its own place. The openssl
/// profile does not tell how much a hole held: there what follows is written directly behind.
///
/// # Errors
/// When nothing can be taken out: `archive.not-found`, the codes of the key, of a profile or signer that was not expected,
/// `store.*`; `io.failed` for the output. Damage is in the report.
pub async fn salvage(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    options: &SalvageOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Salvaged> {
    let begun = Instant::now();
    let policy = ReadPolicy { this_stream_only: true, ..options.policy.clone() };
    let (located, faults) = Located::survey(store, id, keyring, &policy).await?;
    // Whoever expects an encrypted, sealed or signed archive, or one of a profile, gets nothing out of another one.
    let refused = |fault: &Error| {
        matches!(fault, Error::Unmet(_) | Error::Format(Fault::KeyOpen { .. } | Fault::KeySigner { .. }))
    };
    let (mut refused, faults): (Vec<Error>, Vec<Error>) = faults.into_iter().partition(refused);
    if !refused.is_empty() {
        return Err(refused.swap_remove(0));
    }
    let demands_manifest = policy.root.is_some() || policy.receipt.is_some() || policy.require_seal;
    if demands_manifest && !matches!(located.committed, Committed::Sealed(_)) {
        let why = "a seal is demanded, and there is no manifest that could have it";
        return Err(Error::Unmet(Fault::ManifestSeal { object: id.manifest(), why }));
    }
    let reading = RestoreOptions { memory: options.memory, ..RestoreOptions::default() };
    let mut work = Salvage {
        fetcher: fetcher(store, &reading, context, &observer),
        store,
        context,
        observer: &observer,
        findings: faults.iter().map(Finding::of).collect(),
        holes: Vec::new(),
        output: Patchwork::create(options.output.clone(), context)?,
        content: 0,
        output_end: 0,
        length: None,
        hold: options.memory / 4,
        progress: Progress { total_stored: Some(located.stored()), ..Progress::default() },
    };
    let salvaged = tokio::select! {
        biased;
        () = context.interrupt.wait() => Err(Error::Interrupted { left: "what was taken out so far is not kept".to_owned() }),
        salvaged = async {
            match located.profile {
                ProfileName::Native => work.native(&located, keyring, &policy).await,
                ProfileName::Openssl => work.openssl(&located, keyring, &policy).await,
            }
        } => salvaged,
    };
    let authentic = salvaged?;
    let Salvage { output, findings, holes, content, length, progress, .. } = work;
    // A hole at the end whose length is known is kept, too.
    output.finish(holes.last().and_then(|hole| hole.end).unwrap_or(0)).await?;
    let stored = progress.stored;
    Ok(Salvaged { id: id.clone(), findings, holes, content, length, stored, authentic, elapsed: begun.elapsed() })
}

/// A salvage in progress.
struct Salvage<'a> {
    store: &'a Store,
    context: &'a Context,
    observer: &'a Arc<dyn Observer>,
    fetcher: Fetcher,
    findings: Vec<Finding>,
    holes: Vec<Hole>,
    output: Patchwork,
    content: u64,
    /// Where the last piece that was written ends.
    output_end: u64,
    length: Option<u64>,
    /// As much of a part as is held until its digest is right.
    hold: u64,
    progress: Progress,
}

impl Salvage<'_> {
    fn find(&mut self, error: &Error) {
        self.findings.push(Finding::of(error));
    }

    /// Notes a fault that ends no more than a part; others end everything.
    fn find_in_part(&mut self, error: Error) -> Result<()> {
        if !error.ends_only_a_part() {
            return Err(error);
        }
        self.find(&error);
        Ok(())
    }

    fn lost(&mut self, start: u64, end: Option<u64>, unproven: u64) {
        match self.holes.last_mut() {
            Some(last) if last.end == Some(start) && unproven == 0 => last.end = end,
            // Nothing came out since.
            Some(last) if last.end.is_none() && last.start == start => {}
            _ => self.holes.push(Hole { start, end, unproven }),
        }
    }

    async fn write(&mut self, at: u64, bytes: Vec<u8>) -> Result<()> {
        self.content += bytes.len() as u64;
        self.output_end = at + bytes.len() as u64;
        self.output.write(at, bytes).await?;
        self.progress.content = self.content;
        self.observer.event(&Event::Progress(self.progress));
        Ok(())
    }
}
