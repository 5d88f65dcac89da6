//! The uploader stage: parts become objects, a bounded number at a time, each with one conditional create.
//!
//! The SHA-256 of a part is computed once and is the manifest's, the request's checksum and its signature's. Nothing but
//! part 0 is in flight until its create is answered: if another writer has the id, nothing of ours is mixed with his.

use std::sync::Arc;

use aws_lc_rs::digest;
use backstay_format::ArchiveId;
use backstay_format::manifest::PartEntry;
use backstay_format::schedule::sha256;
use backstay_store::{Created, Store, StreamingCreate};
use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use crate::backup::spool::sender::Sender;
use crate::claim::Ours;
use crate::cpu::Cpu;
use crate::destinations::Destinations;
use crate::error::{Error, Result};
use crate::observe::{Event, Observer, Progress};
use crate::pack::Packed;

/// Where parts go.
pub(crate) enum Parts {
    /// One object each.
    Objects(Objects),
    /// One object each, by way of a spool.
    Spooled(Sender),
    /// All into one object, which a file system can create as it grows, and Azure from blocks.
    Single(Single),
}

/// Parts that are being stored.
pub(crate) struct Objects {
    id: ArchiveId,
    destinations: Destinations,
    /// What was stored under the id before part 0.
    keyboxes: Vec<Ours>,
    cpu: Cpu,
    observer: Arc<dyn Observer>,
    /// Uploads in flight, at most `limit`; aborted when this is dropped.
    uploads: JoinSet<Result<Stored>>,
    limit: usize,
    entries: Vec<Option<PartEntry>>,
    totals: Totals,
}

/// The one object of the single form.
pub(crate) struct Single {
    object: StreamingCreate,
    digest: digest::Context,
    totals: Totals,
}

/// What has become durable.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) parts: u32,
    pub(crate) stored: u64,
    pub(crate) unconfirmed: bool,
}

/// All parts are where they are safe.
pub(crate) struct Finished {
    pub(crate) entries: Vec<PartEntry>,
    pub(crate) totals: Totals,
    /// What is only in the spool so far still has to be sent.
    pub(crate) spooled: Option<Sender>,
}

struct Stored {
    n: u32,
    entry: PartEntry,
    created: Created,
    buffer: Bytes,
}

impl Parts {
    pub(crate) fn objects(
        id: ArchiveId,
        destinations: Destinations,
        keyboxes: Vec<Ours>,
        cpu: Cpu,
        observer: Arc<dyn Observer>,
        limit: usize,
    ) -> Parts {
        let (uploads, entries, totals) = (JoinSet::new(), Vec::new(), Totals::default());
        Parts::Objects(Objects { id, destinations, keyboxes, cpu, observer, uploads, limit, entries, totals })
    }

    pub(crate) async fn single(id: &ArchiveId, store: &Store) -> Result<Parts> {
        let object = store.create_streaming(id.as_str()).await?;
        Ok(Parts::Single(Single { object, digest: digest::Context::new(&digest::SHA256), totals: Totals::default() }))
    }

    /// Stores a part, waiting while too many are in flight. Gives back the memory of one that is stored.
    pub(crate) async fn put(&mut self, part: Packed) -> Result<Option<Vec<u8>>> {
        match self {
            Parts::Objects(objects) => objects.put(part).await,
            Parts::Spooled(sender) => sender.put(part).await,
            Parts::Single(single) => single.write(part.bytes.into()).await,
        }
    }

    /// Takes note of what became durable meanwhile, and of what failed, without waiting. Gives back the memory.
    pub(crate) fn settle(&mut self, mut recycle: impl FnMut(Vec<u8>)) -> Result<()> {
        let objects = match self {
            Parts::Objects(objects) => objects,
            Parts::Spooled(sender) => return sender.settle(),
            Parts::Single(_) => return Ok(()),
        };
        while let Some(done) = objects.uploads.try_join_next() {
            if let Some(buffer) = objects.note(done)? {
                recycle(buffer);
            }
        }
        Ok(())
    }

    /// Goes on with what a spool holds while the source gives nothing; without one there is nothing to go on with, and this never ends. May be dropped
    /// at any time.
    pub(crate) async fn advance(&mut self) -> Result<()> {
        match self {
            Parts::Spooled(sender) => sender.advance().await,
            Parts::Objects(_) | Parts::Single(_) => std::future::pending().await,
        }
    }

    /// What is durable now.
    pub(crate) fn totals(&self) -> Totals {
        match self {
            Parts::Objects(objects) => objects.totals,
            Parts::Spooled(sender) => sender.totals(),
            Parts::Single(single) => single.totals,
        }
    }

    /// Nothing comes any more: waits until every part is durable, in the store or in the spool.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        match self {
            Parts::Objects(objects) => objects.drain().await,
            Parts::Spooled(_) | Parts::Single(_) => Ok(()),
        }
    }

    /// Makes the one object of the single form, and gives the manifest's entries. The parts are drained.
    pub(crate) async fn finish(self) -> Result<Finished> {
        let (entries, totals) = match self {
            Parts::Objects(objects) => objects.finish()?,
            Parts::Single(single) => single.finish().await?,
            Parts::Spooled(sender) => {
                let (entries, totals) = (sender.entries().to_vec(), sender.totals());
                return Ok(Finished { entries, totals, spooled: Some(sender) });
            }
        };
        Ok(Finished { entries, totals, spooled: None })
    }
}

impl Objects {
    async fn put(&mut self, part: Packed) -> Result<Option<Vec<u8>>> {
        let first = (part.n == 0).then(|| (self.id.clone(), self.keyboxes.clone()));
        let alone = first.is_some();
        let name = self.id.part(part.n);
        let (destinations, cpu) = (self.destinations.clone(), self.cpu.clone());
        let mut spare = None;
        if self.uploads.len() >= self.limit {
            spare = self.one_done().await?;
        }
        self.uploads.spawn(async move {
            let Packed { n, rnd, bytes } = part;
            let body = Bytes::from(bytes);
            let hashed = body.clone();
            let sha256 = cpu.run(move || sha256(&hashed)).await?;
            let size = body.len() as u64;
            let created = match first {
                Some((id, keyboxes)) => {
                    destinations.claim(&id, &keyboxes, Ours { name, size, sha256 }, &body, &cpu).await?
                }
                None => destinations.create(&name, &body, sha256, false).await?,
            };
            Ok(Stored { n, entry: PartEntry { size, rnd, sha256 }, created, buffer: body })
        });
        if alone {
            spare = self.one_done().await?;
        }
        Ok(spare)
    }

    async fn one_done(&mut self) -> Result<Option<Vec<u8>>> {
        match self.uploads.join_next().await {
            Some(done) => self.note(done),
            None => Ok(None),
        }
    }

    fn note(&mut self, done: std::result::Result<Result<Stored>, JoinError>) -> Result<Option<Vec<u8>>> {
        let Stored { n, entry, created, buffer } =
            done.map_err(|error| Error::Internal { why: format!("an upload was lost: {error}") })??;
        self.totals.parts += 1;
        self.totals.stored += entry.size;
        self.totals.unconfirmed |= created == Created::Unconfirmed;
        self.observer.event(&Event::PartStored { n, size: entry.size });
        let index = n as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, None);
        }
        self.entries[index] = Some(entry);
        // The allocation comes back unless the client still holds on to a piece of it.
        Ok(buffer.try_into_mut().ok().map(Vec::from))
    }

    async fn drain(&mut self) -> Result<()> {
        while !self.uploads.is_empty() {
            self.one_done().await?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(Vec<PartEntry>, Totals)> {
        let entries: Option<Vec<PartEntry>> = self.entries.into_iter().collect();
        let entries = entries.ok_or_else(|| Error::Internal { why: "a part was never stored".to_owned() })?;
        Ok((entries, self.totals))
    }
}

impl Single {
    /// Gives back the memory.
    async fn write(&mut self, bytes: Bytes) -> Result<Option<Vec<u8>>> {
        self.digest.update(&bytes);
        self.totals.stored += bytes.len() as u64;
        self.object.write(bytes.clone()).await?;
        Ok(bytes.try_into_mut().ok().map(Vec::from))
    }

    async fn finish(mut self) -> Result<(Vec<PartEntry>, Totals)> {
        self.totals.unconfirmed = self.object.commit().await? == Created::Unconfirmed;
        self.totals.parts = 1;
        let sha256 = self.digest.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        Ok((vec![PartEntry { size: self.totals.stored, rnd: None, sha256 }], self.totals))
    }
}

/// The events of a run that report totals.
pub(crate) fn progress(content: u64, totals: Totals) -> Event {
    Event::Progress(Progress { content, stored: totals.stored, parts: totals.parts, ..Progress::default() })
}
