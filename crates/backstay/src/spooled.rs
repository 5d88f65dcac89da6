//! The uploader stage with a spool: each part is made durable on this machine first and then becomes an object, so that the stream
//! goes on while the store is slow, or away for longer than its retries last, as long as the spool has room.
//!
//! A full spool holds the source back until the store has taken something. When the store has gone and the spool is full, there is
//! nowhere to go, and the run ends with the store's fault.

use std::collections::VecDeque;
use std::sync::Arc;

use backstay_format::ArchiveId;
use backstay_format::manifest::PartEntry;
use backstay_format::schedule::sha256;
use backstay_store::{Created, Error as StoreError, Store};
use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use crate::claim::nothing_else_is_named;
use crate::context::Context;
use crate::cpu::Cpu;
use crate::destinations::Destinations;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::observe::{Event, Observer};
use crate::outbox::Outbox;
use crate::pack::Packed;
use crate::parts::Totals;

/// From where to where the parts of an archive go.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) id: ArchiveId,
    pub(crate) destinations: Destinations,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) observer: Arc<dyn Observer>,
}

/// Parts on their way through the spool.
pub(crate) struct Spooled {
    line: Line,
    cpu: Cpu,
    /// Uploads in flight, at most `limit`; aborted when this is dropped.
    uploads: JoinSet<Sent>,
    limit: usize,
    /// Bytes of parts in the spool.
    held: u64,
    /// What the parts are, in order.
    entries: Vec<PartEntry>,
    /// Parts in the spool whose upload has not begun, by index from the first part on.
    waiting: VecDeque<u32>,
    totals: Totals,
    /// Why the store is thought to be away.
    away: Option<Error>,
    /// The source has ended: nothing comes any more that the spool would be needed for.
    ended: bool,
}

/// How an upload went: the outer error is the spool's, the inner one the store's.
struct Sent {
    n: u32,
    result: Result<Result<Created>>,
}

impl Spooled {
    /// For an archive that begins now. Clears the spool of what cannot be finished; there must be room for a part beside the rest.
    pub(crate) async fn begin(line: Line, cpu: Cpu, layout: Layout) -> Result<Spooled> {
        let (held, room, part) = (line.outbox.tidy(&line.observer).await?, line.outbox.room(), layout.part_size());
        if held + part > room {
            let spool = line.outbox.url();
            let why =
                format!("the spool {spool} has room for {room} bytes, of which {held} are taken; a part has {part}");
            return Err(Error::Usage { why });
        }
        Ok(Spooled::empty(line, cpu, layout.uploads, held))
    }

    fn empty(line: Line, cpu: Cpu, limit: usize, held: u64) -> Spooled {
        let (uploads, entries, waiting, totals) = (JoinSet::new(), Vec::new(), VecDeque::new(), Totals::default());
        Spooled { line, cpu, uploads, limit, held, entries, waiting, totals, away: None, ended: false }
    }

    /// For an archive that is complete in the spool, of whose parts these are still there.
    pub(crate) fn resume(
        line: Line,
        cpu: Cpu,
        limit: usize,
        entries: Vec<PartEntry>,
        waiting: VecDeque<u32>,
    ) -> Spooled {
        let there = entries.len() - waiting.len();
        let mut resumed = Spooled { entries, waiting, ..Spooled::empty(line, cpu, limit, 0) };
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
        while self.held + size > self.line.outbox.room() {
            self.make_room(size).await?;
        }
        let body = Bytes::from(bytes);
        let hashed = body.clone();
        let digest = self.cpu.run(move || sha256(&hashed)).await?;
        self.line.outbox.keep(&self.line.id.part(n), body.clone(), digest).await?;
        self.held += size;
        self.entries.push(PartEntry { size, rnd, sha256: digest });
        self.waiting.push_back(n);
        self.begin_uploads();
        if n == 0 {
            // Alone until it is answered: if another writer has the id, nothing of ours is mixed with his.
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

    async fn make_room(&mut self, size: u64) -> Result<()> {
        if !self.uploads.is_empty() {
            return self.one_done().await;
        }
        let (spool, room) = (self.line.outbox.url(), self.line.outbox.room());
        match self.away.take() {
            Some(error) => {
                let text = format!(
                    "the spool {spool} is full and the store does not take anything: --spool-size allows {room} bytes"
                );
                self.line.observer.event(&Event::Warning { code: None, text });
                Err(error)
            }
            None => Err(Error::Usage {
                why: format!("a part of {size} bytes does not fit into the spool {spool} of {room}"),
            }),
        }
    }

    fn begin_uploads(&mut self) {
        while self.away.is_none() && self.uploads.len() < self.limit {
            let Some(n) = self.waiting.pop_front() else { return };
            let PartEntry { size, sha256, .. } = self.entries[n as usize];
            let (line, name) = (self.line.clone(), self.line.id.part(n));
            self.uploads.spawn(async move {
                let result = async {
                    let bytes = line.outbox.take(&name, size, &sha256).await?;
                    let created = match line.destinations.create(&name, &bytes, sha256, n == 0).await {
                        Ok(created) => created,
                        Err(error) => return Ok(Err(error)),
                    };
                    line.outbox.forget(&name).await?;
                    Ok(Ok(created))
                };
                Sent { n, result: result.await }
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
        let Sent { n, result } =
            sent.map_err(|error| Error::Internal { why: format!("an upload was lost: {error}") })?;
        let size = self.entries[n as usize].size;
        match result? {
            Ok(created) => {
                self.held -= size;
                self.totals.parts += 1;
                self.totals.stored += size;
                self.totals.unconfirmed |= created == Created::Unconfirmed;
                self.line.observer.event(&Event::PartStored { n, size });
                Ok(())
            }
            Err(error @ Error::Store(_)) if is_passing(&error) => {
                self.waiting.push_front(n);
                if self.ended {
                    self.away.get_or_insert(error);
                } else if self.away.is_none() {
                    let text = format!("{error}; the backup goes on into the spool {}", self.line.outbox.url());
                    self.line.observer.event(&Event::Warning { code: Some(error.code()), text });
                    self.away = Some(error);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The source has ended well: makes both versions of the manifest durable here. From now on, everything that goes wrong can be
    /// made up for.
    pub(crate) async fn keep(&self, manifest: &Bytes, doubtful: &Bytes) -> Result<()> {
        self.line.outbox.keep_manifests(&self.line.id, manifest, doubtful).await
    }

    /// Sends what is only in the spool, and commits the archive with the manifest that is there.
    ///
    /// # Errors
    /// Whatever keeps the store from having all of it; the spool then still has what it lacks, which the observer is told.
    pub(crate) async fn send_and_commit(self, store: &Store, context: &Context) -> Result<(Created, Totals)> {
        let Line { id, outbox, observer, .. } = self.line.clone();
        let left = format!("{id} is complete in the spool {}: `backstay backup --resume` sends the rest", outbox.url());
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
        if let Some(error) = self.away {
            return Err(error);
        }
        let Line { id, destinations, outbox, .. } = &self.line;
        nothing_else_is_named(store, id, &self.entries, false, true).await?;
        let manifest = outbox.manifest(id, self.totals.unconfirmed).await?;
        let created = match destinations.commit(id, &manifest, sha256(&manifest), &self.cpu).await {
            // It may have been committed before, by a run that had more to say and did not live to clear the spool.
            Err(error @ Error::Store(StoreError::NameTaken { .. })) if !self.totals.unconfirmed => {
                let other = outbox.manifest(id, true).await?;
                self.totals.unconfirmed = true;
                destinations.commit(id, &other, sha256(&other), &self.cpu).await.map_err(|_| error)?
            }
            created => created?,
        };
        outbox.done(id).await?;
        Ok((created, self.totals))
    }
}

/// Whether the store may take it later.
pub(crate) fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Store(error) if error.is_retryable())
}
