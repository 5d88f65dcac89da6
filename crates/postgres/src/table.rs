//! Single tables of a dump in the custom format, without the others.
//!
//! What comes out is a dump again, for `pg_restore`: the whole table of contents, the data of the chosen tables, and nothing else. Where the
//! backup has noted the places of the data, no more is fetched than the contents and those tables; otherwise the archive is read once to
//! find them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use backstay::chunk::Watch as _;
use backstay::partial::PartialFile;
use backstay::restore::Target;
use backstay::{Context, Observer, RestoreOptions, catalog, restore};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_store::Store;

use crate::custom::{Block, Contents, FACT, Index, Watcher};
use crate::error::{Error, Result};

/// What was taken out.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The archive.
    pub id: ArchiveId,
    /// The tables as `SCHEMA.TABLE`, with the bytes of their data.
    pub tables: Vec<(String, u64)>,
    /// Bytes of the dump that was written.
    pub written: u64,
    /// Stored bytes that were read for it.
    pub stored: u64,
    /// Whether the places were known; otherwise the whole archive was read.
    pub indexed: bool,
    /// Whether every byte was proved to be what the key's holder wrote.
    pub authentic: bool,
}

/// Writes a dump with the data of these tables, named `SCHEMA.TABLE` or, if there is one of that name only, `TABLE`. The file appears when it
/// is whole.
///
/// # Errors
/// `dump.no-table`, `dump.invalid`, `stream.limit` before anything is written, `format.unsupported` for a version of the format that is not known; those of [`backstay::restore()`].
#[allow(clippy::too_many_arguments, reason = "what restore takes, and which tables")]
pub async fn take_tables(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    names: &[String],
    path: &Path,
    options: &RestoreOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Taken> {
    let reading = Reading { store, id, keyring, options, context, observer };
    let known = match options.policy.no_manifest {
        true => None,
        false => catalog::show(store, id, keyring).await?.private.and_then(|facts| index_of(&facts)),
    };
    let mut taken =
        Taken { id: id.clone(), tables: Vec::new(), written: 0, stored: 0, indexed: known.is_some(), authentic: true };
    let index = match known {
        Some(index) => index,
        None => reading.find(&mut taken).await?,
    };
    let contents = Contents::parse(reading.memory(0..index.contents, &mut taken).await?)?;
    let chosen = choose(&contents, &index, names)?;
    let head = contents.with_blocks(&chosen.iter().map(|(_, Block(id, _, length))| (*id, *length)).collect::<Vec<_>>());
    let whole = head.len() as u64 + chosen.iter().map(|(_, Block(.., length))| length).sum::<u64>();
    if options.max_output.is_some_and(|limit| whole > limit) {
        let why = format!("the dump of these tables has {whole} bytes, more than the limit that was given");
        return Err(backstay::Error::from(backstay_format::Error::StreamLimit { at: whole, why }).into());
    }

    let failed = |source| backstay::Error::TargetWrite { target: path.display().to_string(), source };
    let file = PartialFile::create(path, context).map_err(failed)?;
    taken.written = head.len() as u64;
    file.write(head.into()).await.map_err(failed)?;
    for (name, Block(_, at, length)) in &chosen {
        let output = Box::new(Arc::clone(file.file()));
        let restored = reading.range(*at..at + length, output, &mut taken).await?;
        if restored != *length {
            return Err(Error::NotCustom { why: format!("the data of {name} is not where it was noted") });
        }
        taken.written += restored;
        taken.tables.push((name.clone(), *length));
    }
    file.finish().await.map_err(failed)?;
    Ok(taken)
}

/// The index in the sealed part of a manifest.
fn index_of(facts: &str) -> Option<Index> {
    let mut facts: BTreeMap<String, serde_json::Value> = serde_json::from_str(facts).ok()?;
    serde_json::from_value(facts.remove(FACT)?).ok()
}

/// The blocks of these tables in the order of the dump.
fn choose(contents: &Contents, index: &Index, names: &[String]) -> Result<Vec<(String, Block)>> {
    let mut chosen: BTreeMap<u64, (String, Block)> = BTreeMap::new();
    for name in names {
        let tables = contents.tables(name);
        let [table] = tables[..] else {
            let of_that_name = contents.entries.iter().filter(|entry| {
                let bare = name.rsplit('.').next().unwrap_or(name);
                entry.kind == "TABLE DATA" && (entry.tag == *name || entry.tag == bare)
            });
            let similar = of_that_name.take(10).map(|entry| format!("{}.{}", entry.namespace, entry.tag)).collect();
            return Err(Error::NoTable { name: name.clone(), similar });
        };
        let full = format!("{}.{}", table.namespace, table.tag);
        let Some(block) = index.blocks.iter().find(|Block(id, ..)| *id == table.id) else {
            return Err(Error::NotCustom { why: format!("there is no data of {full}, although it should be there") });
        };
        chosen.insert(block.1, (full, *block));
    }
    Ok(chosen.into_values().collect())
}

/// What all reads of the archive have in common.
struct Reading<'a> {
    store: &'a Store,
    id: &'a ArchiveId,
    keyring: &'a Keyring,
    options: &'a RestoreOptions,
    context: &'a Context,
    observer: Arc<dyn Observer>,
}

impl Reading<'_> {
    async fn read(
        &self,
        range: Option<std::ops::Range<u64>>,
        output: Box<dyn Write + Send>,
        taken: &mut Taken,
    ) -> Result<u64> {
        // The limit is that of what is written, and not of what is looked at.
        let options = RestoreOptions { range, max_output: None, ..self.options.clone() };
        let (target, observer) = (Target::Writer(output), Arc::clone(&self.observer));
        let restored = restore(self.store, self.id, self.keyring, target, &options, self.context, observer).await?;
        taken.stored += restored.stored;
        taken.authentic &= restored.authentic;
        Ok(restored.content)
    }

    async fn range(
        &self,
        range: std::ops::Range<u64>,
        output: Box<dyn Write + Send>,
        taken: &mut Taken,
    ) -> Result<u64> {
        self.read(Some(range), output, taken).await
    }

    async fn memory(&self, range: std::ops::Range<u64>, taken: &mut Taken) -> Result<Vec<u8>> {
        let shared: Arc<Mutex<Vec<u8>>> = Arc::default();
        self.range(range, Box::new(Shared(Arc::clone(&shared))), taken).await?;
        let bytes = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(bytes)
    }

    /// Reads all of it to see where what is.
    async fn find(&self, taken: &mut Taken) -> Result<Index> {
        let watcher: Arc<Mutex<Watcher>> = Arc::default();
        self.read(None, Box::new(Watched(Arc::clone(&watcher))), taken).await?;
        let index = {
            let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
            watcher.end().map_err(|why| Error::NotCustom { why })?;
            watcher.index().cloned()
        };
        if let Some(index) = index {
            return Ok(index);
        }
        // Its first bytes say why.
        Contents::parse(self.memory(0..11, taken).await?)?;
        Err(Error::NotCustom { why: "its blocks of data are too many, or of an unknown kind".to_owned() })
    }
}

/// Keeps what is written.
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows what is written to a watcher.
struct Watched(Arc<Mutex<Watcher>>);

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).see(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
