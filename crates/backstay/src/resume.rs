//! `backup --resume`: what an interrupted run left complete in its spool is sent and committed. The source is not needed, and neither
//! is a key: parts and manifest go out byte for byte as they were sealed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use backstay_format::manifest::{Document, Manifest, SealedManifest};
use backstay_store::{Created, Store};

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

/// Finishes every archive that is complete in the spool, the oldest first, and clears away what is not.
///
/// # Errors
/// `store.*` and `name.taken`; `io.failed` when the spool is damaged. One archive that cannot be finished does not keep the others from
/// it, unless the store is away. What was finished stays so, and is told to the observer; the spool keeps the rest.
pub async fn resume(
    store: &Store,
    spool: &Arc<Spool>,
    options: &CopyOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Vec<Resumed>> {
    let (mut resumed, mut failed) = (Vec::new(), None);
    spool.tidy(&observer).await?;
    for (id, waiting) in spool.waiting().await? {
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
    let sizes = || still.iter().map(|n| entries[*n as usize].size);
    let (sent, at_once) = (sizes().sum(), options.at_once(sizes().max().unwrap_or(0))?);
    let sender = Sender::resume(line.clone(), at_once, entries.clone(), still);
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

async fn manifest(spool: &Spool, id: &ArchiveId, unconfirmed: bool) -> Result<Box<SealedManifest>> {
    match Manifest::parse(spool.manifest(id, unconfirmed).await?.into(), id)? {
        Document::Manifest(sealed) => Ok(sealed),
        Document::Foreign(_) => {
            let why = format!("what the spool {} holds is not a manifest", spool.url());
            Err(backstay_format::Error::ManifestInvalid { object: id.manifest(), why }.into())
        }
    }
}
