//! `backup --resume`: what an interrupted run left complete in its spool is sent and committed. The source is not needed, and neither
//! is a key: parts and manifest go out byte for byte as they were sealed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use backstay_format::manifest::{Document, Manifest, PartEntry, SealedManifest};
use backstay_store::{Created, Error as StoreError, Store};
use futures::StreamExt as _;

use crate::backup::spool::Spool;
use crate::backup::spool::sender::{Line, Sender, is_passing};
use crate::context::Context;
use crate::copy::CopyOptions;
use crate::destinations::Destinations;
use crate::error::{Error, Result};
use crate::observe::{Event, Observer};
use crate::policy::ReceiptLine;

/// An archive that is committed now.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// Its receipt, as the interrupted run would have printed it.
    pub receipt: ReceiptLine,
    /// Its parts.
    pub parts: u32,
    /// Bytes that were still in the spool.
    pub sent: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Which archives of a spool are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// Those that were made for this store, as far as its address tells; the observer is told of others, which stay where they are.
    OfThisStore,
    /// All of them: whoever asks says that this is their store.
    All,
}

/// Finishes the archives that are complete in the spool, the oldest first, and clears away what is not complete.
///
/// # Errors
/// `store.*` and `name.taken`; `part.missing` when a part is neither in the spool nor in the store, of which nothing is sent then; `io.failed` when the spool is damaged. One archive that cannot be finished does not keep the others from
/// it, unless the store is away. What was finished stays so, and is told to the observer; the spool keeps the rest.
pub async fn resume(
    store: &Store,
    spool: &Arc<Spool>,
    which: Leftovers,
    options: &CopyOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Vec<Resumed>> {
    let (mut resumed, mut failed) = (Vec::new(), None);
    spool.tidy(&observer).await?;
    for (id, waiting) in spool.waiting().await? {
        if which == Leftovers::OfThisStore
            && let Some(other) = spool.store_of(&id, &waiting).await?
            && other != store.address()
        {
            let text = format!(
                "{id} is complete in the spool {} and was made for {other}: `backstay backup --resume` with that store sends the rest",
                spool.url()
            );
            observer.event(&Event::Warning { code: None, text });
            continue;
        }
        let line = Line {
            id,
            destinations: Destinations::new(store, None, &observer),
            spool: Arc::clone(spool),
            cpu: context.cpu.clone(),
            observer: Arc::clone(&observer),
        };
        match finish(store, &line, waiting.parts, options, context).await {
            Ok(done) => resumed.push(done),
            Err(error) => {
                let for_all = is_passing(&error) || matches!(error, Error::Interrupted { .. });
                failed.get_or_insert(error);
                if for_all {
                    break;
                }
            }
        }
    }
    let Some(error) = failed else { return Ok(resumed) };
    for Resumed { receipt, .. } in resumed {
        observer.event(&Event::Note { text: format!("an archive of an earlier run is committed: {receipt}") });
    }
    Err(error)
}

/// Sends the parts of one archive that are still in the spool, and commits it.
async fn finish(
    store: &Store,
    line: &Line,
    parts: BTreeMap<u32, u64>,
    options: &CopyOptions,
    context: &Context,
) -> Result<Resumed> {
    let begun = Instant::now();
    let Line { id, spool, .. } = line;
    let (sealed, doubtful) = (manifest(spool, id, false).await?, manifest(spool, id, true).await?);
    let entries = &sealed.manifest.parts;
    let still: VecDeque<u32> = parts.into_keys().filter(|n| (*n as usize) < entries.len()).collect();
    nothing_is_elsewhere(store, spool, id, entries, &still).await?;
    let sizes = || still.iter().map(|n| entries[*n as usize].size);
    let (sent, at_once) = (sizes().sum(), options.at_once(sizes().max().unwrap_or(0))?);
    let sender = Sender::resume(line.clone(), at_once, &sealed.manifest, still);
    let (created, totals) = sender.send_and_commit(store, context).await?;
    let receipt = ReceiptLine {
        id: id.clone(),
        root: sealed.manifest.root(),
        seal: if totals.unconfirmed { doubtful.seal.sha256 } else { sealed.seal.sha256 },
        stored: sealed.manifest.stored(),
        unconfirmed: sealed.manifest.unconfirmed || totals.unconfirmed || created == Created::Unconfirmed,
    };
    Ok(Resumed { receipt, parts: totals.parts, sent, elapsed: begun.elapsed() })
}

/// Every part that is no longer in the spool is in this store. Before anything is sent: a part that leaves the spool for a store which lacks others is one
/// that the archive's own store never gets. Where listing is not allowed it is left at that.
async fn nothing_is_elsewhere(
    store: &Store,
    spool: &Spool,
    id: &ArchiveId,
    entries: &[PartEntry],
    still: &VecDeque<u32>,
) -> Result<()> {
    let mut sent: BTreeMap<String, u64> = (0..).zip(entries).map(|(n, entry)| (id.part(n), entry.size)).collect();
    for n in still {
        sent.remove(&id.part(*n));
    }
    if sent.is_empty() {
        return Ok(());
    }
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.next().await {
        let object = match object {
            Err(StoreError::Denied { .. }) => return Ok(()),
            object => object?,
        };
        if sent.get(&object.name) == Some(&object.size) {
            sent.remove(&object.name);
        }
    }
    match sent.into_keys().next() {
        None => Ok(()),
        Some(name) => Err(Error::SentElsewhere { name, spool: spool.url().to_owned(), store: store.url().to_owned() }),
    }
}

async fn manifest(spool: &Spool, id: &ArchiveId, unconfirmed: bool) -> Result<Box<SealedManifest>> {
    match Manifest::parse(spool.manifest(id, unconfirmed).await?.into(), id)? {
        Document::Manifest(sealed) => Ok(sealed),
        Document::Foreign(_) => {
            let why = format!("what the spool {} holds is not a manifest", spool.url());
            Err(backstay_format::Error::ManifestInvalid { object: id.manifest(), why }.into())
        }
    }
}
