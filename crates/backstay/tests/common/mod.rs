//! What the tests of the verbs share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use backstay::backup::{BackupOptions, Format, Padding, Receipt};
use backstay::catalog::Selected;
use backstay::keys::Encryption;
use backstay::restore::Target;
use backstay::rewrap::{NewSlots, rewrap};
use backstay::set::{NewSet, SetOptions, SetReceipt};
use backstay::source::Source;
use backstay::{Context, Error, Event, Observer, RestoreOptions, Silent, backup, guid, restore};
use backstay_format::ArchiveId;
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::schedule::Secret;
use backstay_format::segment::Aead;
use backstay_store::{Environment, Store, StoreOptions};
use backstay_testkit::faults::Faults;
use bytes::Bytes;
use futures::TryStreamExt as _;

/// Small parts, so that there are several.
const PART: u64 = 512 << 10;

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context::system(Some(2)).unwrap());

/// Where the cases of a property run.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

pub fn context() -> Context {
    CONTEXT.clone()
}

pub fn options(format: Format) -> BackupOptions {
    let guid = "de2fe9e4-6535-423d-8709-dca87df7985c".parse().unwrap();
    let mut options = BackupOptions::new(guid, "pg-main".to_owned(), format);
    options.part_size = Some(PART);
    options.checks.allow_empty = true;
    options
}

pub fn native(encryption: Encryption) -> BackupOptions {
    let (aead, codec, padding) = (Aead::Aes256Gcm, Codec::Zstd, Padding::None);
    options(Format::Native { aead, codec, encryption, padding, signing_key: None })
}

/// `size` bytes that are always the same, compressible or not.
pub fn content(size: usize, incompressible: bool) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(size + 32);
    while bytes.len() < size {
        if incompressible {
            bytes.extend(next().to_le_bytes());
        } else {
            bytes.extend(format!("{}\tcustomer\t{}\n", bytes.len(), next() % 1000).bytes());
        }
    }
    bytes.truncate(size);
    bytes
}

pub async fn back_up(store: &Store, bytes: &[u8], options: BackupOptions) -> Result<Receipt, Error> {
    let source = Source::Reader(Box::new(io::Cursor::new(bytes.to_vec())));
    backup(store, source, options, &context(), Arc::new(Silent)).await
}

/// A backup set of this source with a small member of each name.
pub async fn set_of(
    store: &Store,
    encryption: &Arc<Encryption>,
    source: &str,
    names: &[&str],
    context: &Context,
) -> SetReceipt {
    let options = SetOptions {
        guid: guid::from_name(source).unwrap(),
        name: source.to_owned(),
        hide_name: false,
        tags: vec!["nightly".to_owned()],
        source: "pg_dumpall",
        encryption: Arc::clone(encryption),
        signing_key: None,
    };
    let silent: Arc<dyn Observer> = Arc::new(Silent);
    let mut new = NewSet::begin(store, options, context, &silent).await.unwrap();
    for name in names {
        let guid = new.guid_of(name).unwrap();
        let native = native(Encryption::Shared(Arc::clone(encryption)));
        let member = BackupOptions { guid, name: format!("{source}/{name}"), part_size: Some(70_000), ..native };
        let source = Source::Reader(Box::new(io::Cursor::new(member_text(name))));
        let receipt = backup(store, source, member, context, Arc::clone(&silent)).await.unwrap();
        new.add((*name).to_owned(), Some("database"), &receipt);
    }
    let facts = BTreeMap::from([("server".to_owned(), "15.4".into())]);
    new.commit(store, facts, context).await.unwrap()
}

/// What a member of [`set_of`] holds: two parts of it.
pub fn member_text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &content(100_000, true)].concat()
}

pub async fn read(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    options: &RestoreOptions,
) -> Result<Vec<u8>, Error> {
    let sink = Sink::default();
    let target = Target::Writer(Box::new(sink.clone()));
    restore(store, id, keyring, target, options, &context(), Arc::new(Silent)).await?;
    Ok(sink.taken())
}

pub async fn restored(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Vec<u8> {
    read(store, id, keyring, &RestoreOptions::default()).await.unwrap()
}

/// Everything in a store.
pub async fn objects(store: &Store) -> BTreeMap<String, Bytes> {
    let infos: Vec<_> = store.list("", None).try_collect().await.unwrap();
    let mut objects = BTreeMap::new();
    for info in infos {
        let bytes = store.get(&info.name, u64::MAX).await.unwrap().unwrap();
        objects.insert(info.name, bytes);
    }
    objects
}

pub fn raw_keyring() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_raw(Secret([7; 32]));
    keyring
}

/// Slots for these recipients, whatever is there already.
pub async fn add_slots(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    recipients: &[Box<dyn age::Recipient + Send + Sync>],
    passphrase: Option<&age::secrecy::SecretString>,
) -> Result<Vec<String>, Error> {
    let new = NewSlots { recipients, passphrase, unless_opened_by: &Keyring::default() };
    rewrap(store, &Selected::Archive(id.clone()), keyring, &new, &context()).await
}

pub fn recipient(identity: &age::x25519::Identity) -> Box<dyn age::Recipient + Send + Sync> {
    Box::new(identity.to_public())
}

pub async fn open(folder: &Path) -> Store {
    Store::open(folder.to_str().unwrap(), &StoreOptions::default(), &Environment::current()).await.unwrap()
}

/// The names in a folder, without its staging area.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name != ".backstay-tmp").collect();
    names.sort();
    names
}

/// Changes one bit of a stored object, `at` bytes from its beginning, or from its end when negative.
pub fn flip(folder: &Path, name: &str, at: i64) {
    let path = folder.join(name);
    let mut bytes = fs::read(&path).unwrap();
    let length = i64::try_from(bytes.len()).unwrap();
    let index = usize::try_from(if at < 0 { length + at } else { at }).unwrap();
    bytes[index] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Keeps what is written to it.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub fn taken(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Requests, by what they ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    pub lists: u64,
    pub gets: u64,
    pub heads: u64,
    pub puts: u64,
    pub deletes: u64,
}

/// What `work` asks of the store.
pub async fn asked<T>(store: &Store, work: impl Future<Output = T>) -> (Requests, T) {
    let before = store.requests();
    let result = work.await;
    let after = store.requests();
    assert_eq!(after.retries, before.retries, "nothing fails here");
    let requests = Requests {
        lists: after.lists - before.lists,
        gets: after.gets - before.gets,
        heads: after.heads - before.heads,
        puts: after.puts - before.puts,
        deletes: after.deletes - before.deletes,
    };
    assert_eq!(
        after.attempts - before.attempts,
        requests.lists + requests.gets + requests.heads + requests.puts + requests.deletes,
        "there are no other requests"
    );
    (requests, result)
}

/// A store in memory that takes the condition of a create and overwrites all the same, and the way to what is below.
pub fn careless() -> (Faults, Store, Store) {
    let store = Store::memory();
    let (faults, overwriting) = overwriting(&store);
    (faults, overwriting, store)
}

/// A store as one sees it that overwrites.
pub fn overwriting(store: &Store) -> (Faults, Store) {
    let faults = Faults::new();
    faults.ignore_conditions();
    let overwriting = store.clone().with_wrapper(|objects| faults.wrap(objects));
    (faults, overwriting)
}

/// The warnings that have a code, as `code: text`.
#[derive(Default)]
pub struct Warnings(pub Mutex<Vec<String>>);

impl Observer for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning { code: Some(code), text } = event {
            self.0.lock().unwrap().push(format!("{code}: {text}"));
        }
    }
}
