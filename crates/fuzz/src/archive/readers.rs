//! Everything that reads an archive, and what their answers have to do with each other.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use backstay::catalog::{self, Filter};
use backstay::policy::ReadPolicy;
use backstay::reassemble::ReassembleOptions;
use backstay::restore::Target;
use backstay::salvage::SalvageOptions;
use backstay::verify::{Depth, Report};
use backstay::{Context, Error, RestoreOptions, Silent, reassemble, restore, salvage, verify};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::schedule::sha256;
use backstay_store::Store;
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::base::{Base, Lock};
use super::forge::Objects;
use crate::fixture::id;

/// More content than any of the archives has.
const MOST: u64 = 1 << 20;

/// Longer than any of these archives takes, on a machine that has other things to do.
const LONGEST: Duration = Duration::from_secs(30);

static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context::system(Some(1)).expect("a thread starts"));
static RUNTIME: LazyLock<Mutex<Runtime>> =
    LazyLock::new(|| Mutex::new(Builder::new_current_thread().enable_all().build().expect("a runtime starts")));

/// What a restore released, and how it ended.
struct Released {
    bytes: Vec<u8>,
    result: Result<(), Error>,
}

impl Released {
    /// The content, if it was all of it.
    fn whole(&self) -> Option<&[u8]> {
        self.result.is_ok().then_some(&self.bytes)
    }
}

/// What is behind the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    /// What was backed up.
    Genuine,
    /// Something else, by whoever has the key.
    Forged,
    /// Something else that the inflater which decides what is damaged refuses. A faster one may take it where the checksum is right
    /// (`spec/archive.md` §7.2), but salvage has the one alone.
    Odd,
}

/// Reads the archive in every way. Gives what a restore gives: the content, or the code of its error.
pub(super) fn read(base: &Base, objects: Objects, inside: Inside) -> Result<Vec<u8>, &'static str> {
    let runtime = RUNTIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    runtime.block_on(Reading::new(base).read(objects, inside))
}

/// The codes of what a thorough verification finds.
#[cfg(test)]
pub(super) fn findings(base: &Base, objects: Objects) -> Vec<&'static str> {
    let runtime = RUNTIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let reading = Reading::new(base);
    let report = runtime.block_on(async {
        reading.fill(objects).await;
        reading.verify(Depth::Deep).await.unwrap()
    });
    assert!(!report.is_good());
    report.findings.iter().map(|finding| finding.code).collect()
}

struct Reading<'a> {
    base: &'a Base,
    id: ArchiveId,
    store: Store,
    keyring: Keyring,
    policy: ReadPolicy,
}

impl<'a> Reading<'a> {
    fn new(base: &'a Base) -> Self {
        let policy = ReadPolicy {
            allow_open: base.lock == Lock::Open,
            // That profile proves nothing without it.
            require_seal: base.lock == Lock::Password,
            ..ReadPolicy::default()
        };
        Reading { base, id: id(), store: Store::memory(), keyring: base.keyring(), policy }
    }

    async fn fill(&self, objects: Objects) {
        for (name, bytes) in objects {
            let bytes = Bytes::from(bytes);
            let digest = sha256(&bytes);
            self.store.create(&name, bytes, digest).await.expect("the store is empty");
        }
    }

    async fn read(&self, objects: Objects, inside: Inside) -> Result<Vec<u8>, &'static str> {
        self.fill(objects).await;
        let content = &self.base.content[..];
        let full = self.restore(RestoreOptions::default()).await;
        let without = self.restore_without_manifest().await;
        if let (Some(one), Some(other)) = (full.whole(), without.whole()) {
            assert!(one == other, "with the manifest it is another content than without");
        }
        // Whoever has no key can end an archive early, but not well.
        if inside == Inside::Genuine && self.base.lock == Lock::Secret {
            for released in [&full, &without] {
                assert!(content.starts_with(&released.bytes), "something was released that was never backed up");
                assert!(released.whole().is_none_or(|whole| whole == content), "a part of it passes for all of it");
            }
        }
        if inside == Inside::Genuine
            && let Some(whole) = full.whole()
        {
            assert!(whole == content, "another content passes for the one that was backed up");
        }
        self.read_range(&full).await;
        self.read_reports(&full).await;
        self.read_salvage(&full, inside).await;
        let _ = no_panic(catalog::show(&self.store, &self.id, &self.keyring).await);
        let _ = no_panic(catalog::list(&self.store, &Filter::default(), true).await);
        self.read_reassembled(&without).await;
        full.result.map(|()| full.bytes).map_err(|error| error.code())
    }

    async fn restore(&self, options: RestoreOptions) -> Released {
        let sink = Sink::default();
        let target = Target::Writer(Box::new(sink.clone()));
        let policy = ReadPolicy { no_manifest: options.policy.no_manifest, ..self.policy.clone() };
        let require_seal = policy.require_seal && !policy.no_manifest;
        let policy = ReadPolicy { require_seal, ..policy };
        let options = RestoreOptions { policy, max_output: Some(MOST), memory: 4 << 20, fetches: 2, ..options };
        let restoring = restore(&self.store, &self.id, &self.keyring, target, &options, &CONTEXT, Arc::new(Silent));
        let restored = ends("a restore", restoring).await;
        let bytes = std::mem::take(&mut *sink.0.lock().expect("nobody panics with it"));
        if let Ok(restored) = &restored {
            assert_eq!(restored.content, bytes.len() as u64);
        }
        Released { bytes, result: no_panic(restored).map(drop) }
    }

    async fn restore_without_manifest(&self) -> Released {
        let policy = ReadPolicy { no_manifest: true, ..ReadPolicy::default() };
        self.restore(RestoreOptions { policy, ..RestoreOptions::default() }).await
    }

    /// A range is what stands there.
    async fn read_range(&self, full: &Released) {
        let length = full.bytes.len().max(8);
        let (from, to) = (length / 3, length - length / 4);
        let part =
            self.restore(RestoreOptions { range: Some(from as u64..to as u64), ..RestoreOptions::default() }).await;
        if let Some(whole) = full.whole().filter(|whole| whole.len() >= 8) {
            assert!(part.result.is_ok(), "of an archive that is whole, a range cannot be read: {:?}", part.result);
            assert!(part.bytes == whole[from..to], "a range has other bytes than the whole");
        }
    }

    async fn verify(&self, depth: Depth) -> Result<Report, Error> {
        let (policy, observer) = (&self.policy, Arc::new(Silent));
        let verifying = verify(&self.store, &self.id, &self.keyring, depth, policy, &CONTEXT, observer);
        no_panic(ends("verify", verifying).await)
    }

    /// What verify calls good can be restored.
    async fn read_reports(&self, full: &Released) {
        let (quick, whole) = (self.verify(Depth::Quick).await, self.verify(Depth::Full).await);
        let Ok(deep) = self.verify(Depth::Deep).await else { return };
        for finding in &deep.findings {
            assert!(finding.code != "internal", "{finding:?}");
        }
        if deep.is_good() {
            // More content than the limit of these readers is theirs to refuse.
            let refused = matches!(&full.result, Err(error) if error.code() == "stream.limit");
            assert!(full.result.is_ok() || refused, "verify finds nothing, and a restore says {:?}", full.result);
            assert!(refused || deep.content == Some(full.bytes.len() as u64), "verify counts other content");
            for report in [quick, whole] {
                let report = report.expect("what can be read can be looked at");
                assert!(report.is_good(), "a shallow look finds what a deep one does not: {:?}", report.findings);
            }
        }
    }

    /// What salvage takes out stands where it stood.
    async fn read_salvage(&self, full: &Released, inside: Inside) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("content");
        let policy = ReadPolicy { require_seal: false, ..self.policy.clone() };
        let options = SalvageOptions { policy, output: Some(path.clone()), memory: 4 << 20 };
        let salvaging = salvage(&self.store, &self.id, &self.keyring, &options, &CONTEXT, Arc::new(Silent));
        let Ok(salvaged) = no_panic(ends("salvage", salvaging).await) else {
            assert!(full.result.is_err(), "what can be restored can be salvaged");
            return;
        };
        for finding in &salvaged.findings {
            assert!(finding.code != "internal", "{finding:?}");
        }
        // A hole may be said to be as long as its seal allows, and takes no room.
        if std::fs::metadata(&path).expect("it was written").len() > MOST {
            assert!(full.result.is_err() || inside == Inside::Odd, "a good archive has no holes: {:?}", salvaged.holes);
            return;
        }
        let bytes = std::fs::read(&path).expect("it was written");
        if let Some(whole) = full.whole().filter(|_| inside != Inside::Odd) {
            assert!(salvaged.holes.is_empty() && bytes == whole, "a good archive has no holes: {:?}", salvaged.holes);
        }
        let unplaced = salvaged.holes.iter().any(|hole| hole.end.is_none());
        if inside != Inside::Genuine || self.base.lock == Lock::Password || unplaced {
            return;
        }
        let mut at = 0;
        let ends = [(bytes.len(), bytes.len())];
        let place = |at: u64| usize::try_from(at).expect("it is in memory").min(bytes.len());
        let holes = salvaged.holes.iter().map(|hole| (place(hole.start), place(hole.end.unwrap_or(hole.start))));
        for (start, end) in holes.chain(ends) {
            assert!(
                self.base.content.get(at..start) == bytes.get(at..start),
                "between {at} and {start} there is something that was never backed up"
            );
            at = end;
        }
    }

    /// What is put together again is what was there.
    async fn read_reassembled(&self, without: &Released) {
        let policy = ReadPolicy { require_seal: false, ..self.policy.clone() };
        let options = ReassembleOptions { policy, replace: true, ..ReassembleOptions::default() };
        let joining = reassemble(&self.store, &self.id, &self.keyring, &options, &CONTEXT, Arc::new(Silent));
        if no_panic(ends("reassemble", joining).await).is_ok() {
            let again = self.restore(RestoreOptions::default()).await;
            let same = again.result.is_ok() && again.bytes == without.bytes;
            let refused = matches!(&without.result, Err(error) if error.code() == "stream.limit");
            assert!(same || refused, "it was put together, and a restore says {:?}", again.result);
        }
    }
}

/// Waits for a reader, and no longer than one may take that waits for something itself.
async fn ends<T>(what: &str, reading: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONGEST, reading).await.unwrap_or_else(|_| panic!("{what} does not come to an end"))
}

/// A panic on the pool becomes an error, which is a finding here.
fn no_panic<T>(result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result {
        assert!(error.code() != "internal", "{error}");
    }
    result
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
