//! The uploader stage with a spool: each part is made durable on this machine first and then becomes an object, so that the stream
//! goes on while the store is slow, or away for longer than its retries last, as long as the spool has room.
//!
//! A store that is away is tried again now and then, with one part, and when it takes that, all goes on; so an outage costs no more of the spool
//! than what came meanwhile. A full spool holds the source back until the store has taken something. Only when a part is not
//! taken either that is tried, with all its retries, from then on, is there nowhere to go, and the run ends with the store's fault.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use backstay_format::ArchiveId;
use backstay_format::manifest::{Manifest, PartEntry};
use backstay_format::schedule::sha256;
use backstay_store::{Created, Error as StoreError, Store};
use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Spool;
use crate::claim::nothing_else_is_named;
use crate::context::Context;
use crate::cpu::Cpu;
use crate::destinations::Destinations;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::observe::{Event, Observer};
use crate::pack::Packed;
use crate::parts::Totals;

/// From where to where the parts of an archive go.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) id: ArchiveId,
    pub(crate) destinations: Destinations,
    pub(crate) spool: Arc<Spool>,
    pub(crate) cpu: Cpu,
    pub(crate) observer: Arc<dyn Observer>,
}

/// Parts on their way through the spool.
pub(crate) struct Sender {
    line: Line,
    /// Uploads in flight, at most `limit`; aborted when this is dropped.
    uploads: JoinSet<Sent>,
    limit: usize,
    /// Bytes of parts in the spool.
    held: u64,
    /// What the parts are, in order.
    entries: Vec<PartEntry>,
    /// So many keyboxes the store has at least, without which nobody opens the archive.
    keyboxes: u32,
    /// Parts in the spool whose upload has not begun, by index from the first part on.
    waiting: VecDeque<u32>,
    totals: Totals,
    /// The store has answered for part 0. Until then no other part is sent: if another writer has the id, nothing of ours is mixed with his.
    claimed: bool,
    /// The store is thought to be away.
    away: Option<Away>,
    /// The source has ended: nothing comes any more that the spool would be needed for.
    ended: bool,
}

/// A store that did not take a part, however often it was asked.
struct Away {
    error: Error,
    /// When it is tried again.
    again: Instant,
}

/// How an upload went: the outer error is the spool's, the inner one the store's.
struct Sent {
    n: u32,
    /// It was begun when the source had ended.
    last: bool,
    result: Result<Result<Created>>,
}

impl Sender {
    /// For an archive that begins now. Clears the spool of what cannot be finished; there must be room for a part beside the rest.
    pub(crate) async fn begin(line: Line, keyboxes: u32, layout: Layout) -> Result<Sender> {
        let (held, room, part) = (line.spool.tidy(&line.observer).await?, line.spool.room(), layout.part_size());
        if held + part > room {
            let spool = line.spool.url();
            let why =
                format!("the spool {spool} has room for {room} bytes, of which {held} are taken; a part has {part}");
            return Err(Error::Usage { why });
        }
        Ok(Sender::empty(line, keyboxes, layout.uploads, held))
    }

    fn empty(line: Line, keyboxes: u32, limit: usize, held: u64) -> Sender {
        Sender {
            line,
            uploads: JoinSet::new(),
            limit,
            held,
            entries: Vec::new(),
            keyboxes,
            waiting: VecDeque::new(),
            totals: Totals::default(),
            claimed: false,
            away: None,
            ended: false,
        }
    }

    /// For an archive that is complete in the spool, of whose parts these are still there.
    pub(crate) fn resume(line: Line, limit: usize, manifest: &Manifest, waiting: VecDeque<u32>) -> Sender {
        let entries = manifest.parts.clone();
        let there = entries.len() - waiting.len();
        let mut resumed = Sender { entries, waiting, ..Sender::empty(line, u32::from(manifest.detached), limit, 0) };
        resumed.claimed = !resumed.waiting.contains(&0);
        resumed.totals.parts = u32::try_from(there).unwrap_or(u32::MAX);
        resumed.held = resumed.waiting.iter().map(|n| resumed.entries[*n as usize].size).sum();
        resumed.totals.stored = resumed.entries.iter().map(|entry| entry.size).sum::<u64>() - resumed.held;
        resumed
    }

    pub(crate) fn entries(&self) -> &[PartEntry] {
        &self.entries
    }

    /// What the store has.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Makes a part durable in the spool, waiting while that is full. Gives back its memory.
    pub(crate) async fn put(&mut self, part: Packed) -> Result<Option<Vec<u8>>> {
        let Packed { n, rnd, bytes } = part;
        let size = bytes.len() as u64;
        self.make_room(size).await?;
        let body = Bytes::from(bytes);
        let sha256 = digest(&body, &self.line.cpu).await?;
        self.line.spool.keep(&self.line.id.part(n), body.clone(), sha256).await?;
        self.held += size;
        self.entries.push(PartEntry { size, rnd, sha256 });
        self.waiting.push_back(n);
        self.begin_uploads();
        if n == 0 {
            // The id is taken, or is not, before more is sealed for it.
            self.one_done().await?;
        }
        Ok(body.try_into_mut().ok().map(Vec::from))
    }

    /// Takes note of what the store answered meanwhile, without waiting.
    pub(crate) fn settle(&mut self) -> Result<()> {
        while let Some(sent) = self.uploads.try_join_next() {
            self.note(sent)?;
        }
        self.begin_uploads();
        Ok(())
    }

    /// Goes on with sending while the source gives nothing. Ends when something has changed, and not before; may be dropped at any time.
    pub(crate) async fn advance(&mut self) -> Result<()> {
        let again = match &self.away {
            Some(away) if self.uploads.is_empty() && !self.waiting.is_empty() => Some(away.again),
            _ => None,
        };
        let rested = async {
            match again {
                Some(again) => sleep_until(again).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(sent) = self.uploads.join_next() => self.note(sent)?,
            () = rested => {}
        }
        self.begin_uploads();
        Ok(())
    }

    /// Waits until the spool has room for a part of this size.
    ///
    /// # Errors
    /// The store's fault, if it did not take a part either that was tried, with all retries, when the spool was full already.
    async fn make_room(&mut self, size: u64) -> Result<()> {
        let (spool, room) = (self.line.spool.url().to_owned(), self.line.spool.room());
        let mut tried = false;
        while self.held + size > room {
            if self.uploads.is_empty() {
                if self.waiting.is_empty() {
                    let why = format!("a part of {size} bytes does not fit into the spool {spool} of {room}");
                    return Err(Error::Usage { why });
                }
                if let Some(Away { error, again }) = self.away.take() {
                    if tried {
                        let text = format!(
                            "the spool {spool} is full and the store does not take anything: --spool-size allows {room} bytes"
                        );
                        self.line.observer.event(&Event::Warning { code: None, text });
                        return Err(error);
                    }
                    let text = format!("the spool {spool} is full: the source waits while the store is tried again");
                    self.line.observer.event(&Event::Note { text });
                    self.away = Some(Away { error, again: again.min(Instant::now()) });
                    tried = true;
                }
                self.begin_uploads();
            }
            self.one_done().await?;
            tried &= self.away.is_some();
        }
        Ok(())
    }

    fn begin_uploads(&mut self) {
        let at_once = match &self.away {
            // What is not sent by then is left to the next run.
            Some(_) if self.ended => 0,
            Some(away) if away.again > Instant::now() => 0,
            // One part finds out whether it is back.
            Some(_) => 1,
            None if !self.claimed => 1,
            None => self.limit,
        };
        while self.uploads.len() < at_once {
            let Some(n) = self.waiting.pop_front() else { return };
            let PartEntry { size, sha256, .. } = self.entries[n as usize];
            let (line, name, last) = (self.line.clone(), self.line.id.part(n), self.ended);
            self.uploads.spawn(async move {
                let result = async {
                    let bytes = line.spool.take(&name, size, sha256, &line.cpu).await?;
                    let created = match line.destinations.create(&name, &bytes, sha256, n == 0).await {
                        Ok(created) => created,
                        Err(error) => return Ok(Err(error)),
                    };
                    line.spool.forget(&name).await?;
                    Ok(Ok(created))
                };
                Sent { n, last, result: result.await }
            });
        }
    }

    async fn one_done(&mut self) -> Result<()> {
        if let Some(sent) = self.uploads.join_next().await {
            self.note(sent)?;
        }
        self.begin_uploads();
        Ok(())
    }

    fn note(&mut self, sent: std::result::Result<Sent, JoinError>) -> Result<()> {
        let Sent { n, last, result } =
            sent.map_err(|error| Error::Internal { why: format!("an upload was lost: {error}") })?;
        let size = self.entries[n as usize].size;
        match result? {
            Ok(created) => {
                self.held -= size;
                self.claimed |= n == 0;
                self.totals.parts += 1;
                self.totals.stored += size;
                self.totals.unconfirmed |= created == Created::Unconfirmed;
                self.line.observer.event(&Event::PartStored { n, size });
                if !self.ended && self.away.take().is_some() {
                    let text = "the store takes parts again".to_owned();
                    self.line.observer.event(&Event::Note { text });
                }
                Ok(())
            }
            Err(error @ Error::Store(_)) if is_passing(&error) => {
                self.waiting.push_front(n);
                if self.ended && !last {
                    // It gets another chance, as what was waiting does.
                    return Ok(());
                }
                if self.away.is_none() && !self.ended {
                    let text = format!("{error}; the backup goes on into the spool {}", self.line.spool.url());
                    self.line.observer.event(&Event::Warning { code: Some(error.code()), text });
                }
                self.away = Some(Away { error, again: Instant::now() + self.line.spool.rest() });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The source has ended well: makes both versions of the manifest durable here. From now on, everything that goes wrong can be
    /// made up for.
    pub(crate) async fn keep(&self, store: &Store, manifest: &Bytes, doubtful: &Bytes) -> Result<()> {
        self.line.spool.keep_manifests(&self.line.id, store, manifest, doubtful, &self.line.cpu).await
    }

    /// Sends what is only in the spool, and commits the archive with the manifest that is there.
    ///
    /// # Errors
    /// Whatever keeps the store from having all of it; the spool then still has what it lacks, which the observer is told.
    pub(crate) async fn send_and_commit(self, store: &Store, context: &Context) -> Result<(Created, Totals)> {
        let Line { id, spool, observer, .. } = self.line.clone();
        let left = format!("{id} is complete in the spool {}: `backstay backup --resume` sends the rest", spool.url());
        let sent = tokio::select! {
            biased;
            sent = self.send(store) => sent,
            () = context.interrupt.wait() => return Err(Error::Interrupted { left }),
        };
        sent.inspect_err(|_| observer.event(&Event::Note { text: left }))
    }

    /// A store that was away gets another chance.
    async fn send(mut self, store: &Store) -> Result<(Created, Totals)> {
        self.waiting.make_contiguous().sort_unstable();
        (self.away, self.ended) = (None, true);
        self.begin_uploads();
        while !self.uploads.is_empty() {
            self.one_done().await?;
        }
        if let Some(Away { error, .. }) = self.away {
            return Err(error);
        }
        let Line { id, destinations, spool, cpu, .. } = &self.line;
        nothing_else_is_named(store, id, &self.entries, false, self.keyboxes, true).await?;
        let manifest = spool.manifest(id, self.totals.unconfirmed).await?;
        let created = match destinations.commit(id, &manifest, digest(&manifest, cpu).await?, cpu).await {
            // It may have been committed before, by a run that had more to say and did not live to clear the spool.
            Err(error @ Error::Store(StoreError::NameTaken { .. })) if !self.totals.unconfirmed => {
                let other = spool.manifest(id, true).await?;
                self.totals.unconfirmed = true;
                destinations.commit(id, &other, digest(&other, cpu).await?, cpu).await.map_err(|_| error)?
            }
            created => created?,
        };
        spool.done(id).await?;
        Ok((created, self.totals))
    }
}

async fn digest(bytes: &Bytes, cpu: &Cpu) -> Result<[u8; 32]> {
    let bytes = bytes.clone();
    cpu.run(move || sha256(&bytes)).await
}

/// Whether the store may take it later.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Store(error) if error.is_retryable())
}
