//! Every part of a native archive by itself, in one pass over the stored bytes: its header, its segments, its SHA-256.
//!
//! A restore stops at the first fault. Verify wants to know all of them, and reassemble needs the digests, so here a fault
//! ends only its part. Runs of segments are fetched and opened in parallel, and hashed in parallel too as far as they
//! belong to different parts: each run waits for the hash of the one before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;
use backstay_format::part::{PartOpener, Place};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::oneshot;

use crate::ahead::ahead;
use crate::archive::{Native, Object};
use crate::error::Result;
use crate::fetch::{Fetcher, Known, per_run};
use crate::observe::Event;

/// What is learned, in the order of the parts.
pub(crate) enum Step {
    /// Authentic bytes of the inner stream: those of part `n` that follow what came before.
    Plain { n: u32, bytes: Bytes, stored: u64 },
    /// The part is right to its end.
    Whole(WholePart),
    /// The part is not; nothing more comes of it.
    Bad { part: Object, fault: crate::Error },
}

/// A part that is right.
pub(crate) struct WholePart {
    pub(crate) object: Object,
    pub(crate) rnd: [u8; 16],
    pub(crate) sha256: [u8; 32],
}

/// A part that is being read.
struct Reading {
    object: Object,
    rnd: [u8; 16],
    line: Vec<u8>,
    opener: PartOpener,
    /// The first segment of the earliest run that failed: later runs need not be fetched.
    bad_from: AtomicU64,
}

/// Some segments of a part, and the hash that is handed from run to run.
struct Run {
    part: Arc<Reading>,
    from: u64,
    to: u64,
    /// `None` in the first run, which begins the hash with the header line.
    hash: Option<oneshot::Receiver<digest::Context>>,
    next: oneshot::Sender<digest::Context>,
}

/// What became of a run.
enum Opened {
    Plain {
        bytes: Bytes,
        stored: u64,
        /// Of the whole part, after its last run.
        sha256: Option<[u8; 32]>,
    },
    /// An earlier run of the part failed.
    Skipped,
}

impl Fetcher {
    /// Reads these parts of an archive.
    pub(crate) fn scan(&self, archive: &Native, parts: Vec<(Object, Place)>) -> BoxStream<'static, Step> {
        let keys = Arc::new(archive.keys.clone());
        let first = Arc::new(archive.header.clone());
        let known = archive.manifest.as_ref().and_then(Known::new).map(Arc::new);
        let (fetcher, opening, length) = (self.clone(), self.clone(), self.run);
        let mut bad = None;
        let runs = stream::iter(parts)
            .map(move |(object, place)| {
                let (fetcher, keys) = (opening.clone(), Arc::clone(&keys));
                let (first, known) = (Arc::clone(&first), known.clone());
                async move {
                    let opened = async {
                        let header = fetcher.header(&object, &first, known.as_deref()).await?;
                        let opener = PartOpener::new(&header, &keys, object.size, place)?;
                        Ok((header, opener))
                    };
                    let opened = opened.await;
                    (object, opened)
                }
            })
            .buffered(self.ahead)
            .flat_map(move |(object, opened)| {
                stream::iter(match opened {
                    Err(fault) => vec![Err((object, fault))],
                    Ok((header, opener)) => {
                        let (rnd, line) = (header.rnd, header.line);
                        let bad_from = AtomicU64::new(u64::MAX);
                        runs(Reading { object, rnd, line, opener, bad_from }, length).into_iter().map(Ok).collect()
                    }
                })
            })
            .map(move |run| {
                let fetcher = fetcher.clone();
                async move {
                    match run {
                        Err((part, fault)) => Err((part, fault)),
                        Ok(run) => {
                            let part = Arc::clone(&run.part);
                            match fetcher.open_and_hash(run).await {
                                Ok(opened) => Ok((part, opened)),
                                Err(fault) => Err((part.object.clone(), fault)),
                            }
                        }
                    }
                }
            });
        ahead(runs, self.ahead)
            .flat_map(move |outcome| {
                stream::iter(match outcome {
                    Err((part, _)) if bad == Some(part.n) => Vec::new(),
                    Err((part, fault)) => {
                        bad = Some(part.n);
                        vec![Step::Bad { part, fault }]
                    }
                    Ok((part, Opened::Plain { bytes, stored, sha256 })) if bad != Some(part.object.n) => {
                        let whole = sha256.map(|sha256| {
                            Step::Whole(WholePart { object: part.object.clone(), rnd: part.rnd, sha256 })
                        });
                        [Step::Plain { n: part.object.n, bytes, stored }].into_iter().chain(whole).collect()
                    }
                    Ok(_) => Vec::new(),
                })
            })
            .boxed()
    }

    async fn open_and_hash(&self, Run { part, from, to, hash, next }: Run) -> Result<Opened> {
        if part.bad_from.load(Ordering::Relaxed) < from {
            return Ok(Opened::Skipped);
        }
        let range = part.opener.stored(from, to);
        let stored = range.end - range.start;
        let result = async {
            let sealed = self.store.get_range(&part.object.name, range).await?;
            let (opening, hashing, plains) = (Arc::clone(&part), sealed.clone(), self.plains.clone());
            let plain = self.cpu.run(move || {
                let mut plain = plains.buffer();
                plain.reserve(sealed.len());
                opening.opener.open(from, &sealed, &mut plain).map(|()| plains.lend(plain))
            });
            let mut context = match hash {
                Some(hash) => match hash.await {
                    Ok(context) => context,
                    // The run before this one failed.
                    Err(_) => return Ok(Opened::Skipped),
                },
                None => {
                    let mut context = digest::Context::new(&digest::SHA256);
                    context.update(&part.line);
                    context
                }
            };
            let hashed = self.cpu.run(move || {
                context.update(&hashing);
                context
            });
            let bytes = plain.await??;
            let context = hashed.await?;
            if to < part.opener.segments() {
                // Nobody takes it when a later run could not be fetched.
                let _ = next.send(context);
                return Ok(Opened::Plain { bytes, stored, sha256: None });
            }
            let sha256 = context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
            let Object { n, size, .. } = part.object;
            self.observer.event(&Event::PartFetched { n, size });
            Ok(Opened::Plain { bytes, stored, sha256: Some(sha256) })
        };
        let result = result.await;
        if result.is_err() {
            part.bad_from.fetch_min(from, Ordering::Relaxed);
        }
        result
    }
}

/// Cuts a part into runs and ties the hash from each to the next.
fn runs(part: Reading, length: u64) -> Vec<Run> {
    let (count, per_run) = (part.opener.segments(), per_run(&part.opener, length));
    let part = Arc::new(part);
    let mut runs = Vec::new();
    let (mut from, mut hash) = (0, None);
    while from < count {
        let to = (from + per_run).min(count);
        let (next, following) = oneshot::channel();
        runs.push(Run { part: Arc::clone(&part), from, to, hash, next });
        hash = Some(following);
        from = to;
    }
    runs
}
