//! `backstay-bench FILE FOLDER [ROUNDS]`: backs FILE up, restores and copies it, with stores that cost nothing beside a directory in FOLDER, so that what
//! the upload path and waiting for a store cost can be told from what the rest does.
//!
//! One line for each run, tab-separated: the verb, the store, seconds. All stores take their turn within a round. `directory` flushes to the disk, as it
//! always does; `discard` forgets what it is sent; `memory` answers at once, and `10 ms` and `100 ms` are those two with so much before every request.
//! A copy goes from such a store to one in memory.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay::backup::{BackupOptions, Format, Padding};
use backstay::copy::CopyOptions;
use backstay::effort::Level;
use backstay::keys::Encryption;
use backstay::restore::Target;
use backstay::source::Source;
use backstay::{Context, RestoreOptions, Silent, backup, copy, restore};
use backstay_bench::{Delay, Discard, store};
use backstay_format::ArchiveId;
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::schedule::Secret;
use backstay_format::segment::Aead;
use backstay_store::{Environment, Store, StoreOptions};
use object_store::ObjectStore;
use object_store::memory::InMemory;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DELAYS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];
const SECRET: [u8; 32] = [7; 32];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(folder)) = (arguments.next().map(PathBuf::from), arguments.next().map(PathBuf::from)) else {
        return Err("usage: backstay-bench FILE FOLDER [ROUNDS]".into());
    };
    let rounds = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(bench(&file, &folder, rounds))
}

async fn bench(file: &Path, folder: &Path, rounds: u32) -> Result<()> {
    let context = Context::system(None)?;
    let kept: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (id, _) = backed_up(&store(Arc::clone(&kept)), file, &context).await?;
    for _ in 0..rounds {
        let directory = folder.join("bench-directory");
        let url = directory.to_str().ok_or("the folder's name is not UTF-8")?;
        let local = Store::open(url, &StoreOptions::default(), &Environment::current()).await?;
        report("backup", "directory", backed_up(&local, file, &context).await?.1);
        std::fs::remove_dir_all(&directory)?;
        let discard = || Arc::new(Discard::default());
        report("backup", "discard", backed_up(&store(discard()), file, &context).await?.1);
        for delay in DELAYS {
            let far = store(Arc::new(Delay::new(discard(), delay)));
            report("backup", &format!("{} ms", delay.as_millis()), backed_up(&far, file, &context).await?.1);
        }
        report("restore", "memory", restored(&store(Arc::clone(&kept)), &id, &context).await?);
        for delay in DELAYS {
            let far = store(Arc::new(Delay::new(Arc::clone(&kept), delay)));
            report("restore", &format!("{} ms", delay.as_millis()), restored(&far, &id, &context).await?);
        }
        report("copy", "memory", copied(&store(Arc::clone(&kept)), &id, &context).await?);
        for delay in DELAYS {
            let far = store(Arc::new(Delay::new(Arc::clone(&kept), delay)));
            report("copy", &format!("{} ms", delay.as_millis()), copied(&far, &id, &context).await?);
        }
    }
    Ok(())
}

fn report(verb: &str, store: &str, took: Duration) {
    println!("{verb}\t{store}\t{:.6}", took.as_secs_f64());
}

async fn backed_up(store: &Store, file: &Path, context: &Context) -> Result<(ArchiveId, Duration)> {
    let (aead, codec, padding) = (Aead::Aes256Gcm, Codec::Zstd, Padding::None);
    let encryption = Encryption::Raw(Secret(SECRET));
    let format = Format::Native { aead, codec, encryption, padding, signing_key: None };
    let guid = "b6f4c071-ef44-4af2-9608-531b4ce4823f".parse()?;
    let mut options = BackupOptions::new(guid, "bench".to_owned(), format);
    // A level that follows the source would be another one for each store.
    options.level = Level::Fixed(3);
    let source = Source::Reader(Box::new(File::open(file)?));
    let begun = Instant::now();
    let receipt = backup(store, source, options, context, Arc::new(Silent)).await?;
    Ok((receipt.id, begun.elapsed()))
}

async fn restored(store: &Store, id: &ArchiveId, context: &Context) -> Result<Duration> {
    let mut keyring = Keyring::default();
    keyring.add_raw(Secret(SECRET));
    let target = Target::Writer(Box::new(std::io::sink()));
    let begun = Instant::now();
    restore(store, id, &keyring, target, &RestoreOptions::default(), context, Arc::new(Silent)).await?;
    Ok(begun.elapsed())
}

async fn copied(from: &Store, id: &ArchiveId, context: &Context) -> Result<Duration> {
    let to = store(Arc::new(InMemory::new()));
    let begun = Instant::now();
    copy(from, &to, id, &CopyOptions::default(), context, Arc::new(Silent)).await?;
    Ok(begun.elapsed())
}
