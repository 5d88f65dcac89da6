//! Is an archive whole, unchanged and readable: three depths, and every problem at once.
//!
//! A restore ends at the first fault. Verify goes on wherever something can still be said: whoever mends an archive wants
//! to know all the objects to bring back, not one a day. So what it finds are data, in the order of the checks of
//! `spec/archive.md` §13, and an error is only for when nothing could be said.

mod compared;
mod deep;
mod openssl;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstay_format::key::Keyring;
use backstay_format::manifest::PartEntry;
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::{ObjectInfo, Store};
use futures::StreamExt as _;
use futures::stream;

use crate::archive::{Committed, Located, Object};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::fetch::{Fetcher, digest_fault};
use crate::observe::{Event, Observer, Progress};
use crate::policy::{ProfileName, ReadPolicy};
use crate::restore::{RestoreOptions, fetcher};

use self::compared::Compared;

/// Requests for the store's own checksums in flight.
const HEADS: usize = 16;

/// What a store says of an object that it was asked about.
type HeadAnswer = std::result::Result<Option<ObjectInfo>, backstay_store::Error>;

/// How thoroughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The listing, the sizes and the store's own checksums against the manifest: nothing is fetched, no key is needed.
    Quick,
    /// The SHA-256 of every stored byte against the manifest: no key is needed.
    Full,
    /// Everything that a restore does, without writing the content, and the SHA-256 of every part.
    Deep,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The stable dotted code of `spec/errors.md`.
    pub code: &'static str,
    /// The object that it is about, where it is about one.
    pub object: Option<String>,
    /// What is wrong, in one sentence.
    pub text: String,
    /// Whether it says something of the archive. A demand of the caller's that is not met does not, nor does a key that does not fit.
    pub of_archive: bool,
}

impl Finding {
    pub(crate) fn of(error: &Error) -> Finding {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        Finding { code: error.code(), object: object_of(error), text, of_archive: error.is_of_archive() }
    }
}

/// What verify found out.
#[derive(Debug, Clone)]
pub struct Report {
    /// The archive.
    pub id: ArchiveId,
    /// How thoroughly it was looked at.
    pub depth: Depth,
    /// Every problem, in the order of the checks. The first one decides the exit status.
    pub findings: Vec<Finding>,
    /// Parts of the archive: those of its manifest, or those that are there when it has none.
    pub parts: u32,
    /// Their stored bytes.
    pub stored: u64,
    /// Bytes of content: counted at depth `deep`, else as the manifest says.
    pub content: Option<u64>,
    /// One sentence: what was compared with what, and what that cannot tell.
    pub compared: String,
    /// Whether it is proved that the stored bytes are what a key's holder, or the signer or receipt that the caller named,
    /// stands for.
    pub authentic: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// Checks an archive to this depth and lists every problem.
///
/// # Errors
/// Only when nothing can be said about the archive: `archive.not-found`, `store.*`, `usage.arguments`, `interrupted`.
pub async fn verify(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    depth: Depth,
    policy: &ReadPolicy,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Report> {
    verify_as(store, id, keyring, depth, policy, Demander::Caller, context, observer).await
}

/// Who demands the root of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demander {
    /// The caller, who has it from where it was printed.
    Caller,
    /// A set that names the archive; `proved` if it is known to be what a key's holder or the caller's signer wrote.
    Set { proved: bool },
}

/// The same, of an archive that may be a member of a set.
#[allow(clippy::too_many_arguments, reason = "what verify takes, and whose root it is")]
pub(crate) async fn verify_as(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    depth: Depth,
    policy: &ReadPolicy,
    demander: Demander,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Report> {
    let begun = Instant::now();
    let verifying = async {
        let (located, faults) = Located::survey(store, id, keyring, policy).await?;
        let mut check = Check { demander, ..Check::new(store, keyring, policy, context, &observer, located) };
        for fault in faults {
            check.find(&fault);
        }
        match (check.located.profile, depth) {
            (ProfileName::Native, Depth::Deep) => check.deep().await?,
            (ProfileName::Openssl, _) => check.openssl(depth).await?,
            (ProfileName::Native, _) => {
                check.judge_seal_signature();
                check.judge_expectations().await?;
                check.judge_keyboxes();
                check.compare_stored(depth).await?;
            }
        }
        Ok(check.report(depth, begun))
    };
    tokio::select! {
        biased;
        () = context.interrupt.wait() => Err(Error::Interrupted { left: "the archive was not looked at to its end".to_owned() }),
        report = verifying => report,
    }
}

/// The digests of the manifest as lines that `sha256sum -c` reads, in the folder of the objects. Nothing is checked but what is
/// demanded and needs no key: a root or receipt, a signer, a profile.
///
/// # Errors
/// Those of the manifest's checks; `archive.uncommitted` when there is none.
pub async fn sums(store: &Store, id: &ArchiveId, policy: &ReadPolicy) -> Result<String> {
    let (located, mut faults) = Located::survey(store, id, &Keyring::default(), policy).await?;
    if let Some(at) = faults.iter().position(|fault| !fault.is_of_archive()) {
        return Err(faults.swap_remove(at));
    }
    let Committed::Sealed(sealed) = &located.committed else {
        let of_manifest = |fault: &Error| object_of(fault) == Some(id.manifest());
        let damage = faults.into_iter().find(of_manifest).filter(|_| matches!(located.committed, Committed::Damaged));
        let why = "so the digests of its parts are not known";
        return Err(damage.unwrap_or_else(|| Fault::ArchiveUncommitted { id: id.to_string(), why }.into()));
    };
    located.judge_root(policy)?;
    if let Some(signer) = &policy.signer {
        sealed.check_signer(signer).map_err(Error::Unmet)?;
    }
    let objects = &located.objects;
    let manifest = &sealed.manifest;
    let name = |n| match objects.stream().iter().find(|object| object.n == n) {
        Some(object) => object.name.clone(),
        None => id.part(n),
    };
    let lines = (manifest.first..).zip(&manifest.parts);
    Ok(lines.map(|(n, part)| format!("{}  {}\n", backstay_format::text::to_hex(&part.sha256), name(n))).collect())
}

/// A verification while it runs.
struct Check<'a> {
    store: &'a Store,
    keyring: &'a Keyring,
    policy: &'a ReadPolicy,
    demander: Demander,
    context: &'a Context,
    observer: &'a Arc<dyn Observer>,
    fetcher: Fetcher,
    located: Located,
    findings: Vec<Finding>,
    /// Objects that something was found about: one finding tells that an object has to be replaced.
    faulty: HashSet<String>,
    progress: Progress,
    compared: Compared,
    /// Content that was decoded to its end.
    content: Option<u64>,
}

impl<'a> Check<'a> {
    fn new(
        store: &'a Store,
        keyring: &'a Keyring,
        policy: &'a ReadPolicy,
        context: &'a Context,
        observer: &'a Arc<dyn Observer>,
        located: Located,
    ) -> Check<'a> {
        for stray in &located.objects.strays {
            observer.event(&Event::Note { text: format!("{stray} is not an object of the archive and was ignored") });
        }
        let parts = located.present();
        let progress = Progress {
            total_stored: Some(located.stored()),
            total_parts: u32::try_from(parts.len()).ok(),
            ..Progress::default()
        };
        let reading = RestoreOptions { memory: context.memory, ..RestoreOptions::default() };
        Check {
            fetcher: fetcher(store, &reading, context, observer),
            compared: Compared::new(&located),
            store,
            keyring,
            policy,
            demander: Demander::Caller,
            context,
            observer,
            located,
            findings: Vec::new(),
            faulty: HashSet::new(),
            progress,
            content: None,
        }
    }

    /// Notes a problem.
    fn find(&mut self, error: &Error) {
        self.find_in(object_of(error), error);
    }

    fn find_in(&mut self, object: Option<String>, error: &Error) {
        self.faulty.extend(object.clone());
        self.findings.push(Finding { object, ..Finding::of(error) });
    }

    /// Notes a fault of one part, unless it is one that ends everything: the store is not reached, or the user stops.
    fn find_in_part(&mut self, part: &Object, error: Error) -> Result<()> {
        if !error.ends_only_a_part() {
            return Err(error);
        }
        self.find_in(Some(part.name.clone()), &error);
        Ok(())
    }

    /// The entries of the manifest with their indices.
    fn entries(&self) -> Vec<(u32, PartEntry)> {
        let Some(sealed) = self.located.committed.sealed() else { return Vec::new() };
        (sealed.manifest.first..).zip(sealed.manifest.parts.iter().cloned()).collect()
    }

    /// Parts that the manifest has an entry for and that nothing was found about yet.
    fn good_parts(&self) -> Vec<(Object, PartEntry)> {
        let mut entries = self.entries().into_iter().peekable();
        let mut parts = Vec::new();
        for object in self.located.present() {
            while entries.next_if(|(n, _)| *n < object.n).is_some() {}
            if let Some((_, entry)) = entries.next_if(|(n, _)| *n == object.n)
                && !self.faulty.contains(&object.name)
            {
                parts.push((object.clone(), entry));
            }
        }
        parts
    }

    /// §14: without a key it is the seal's signature that the caller's signer must have made.
    fn judge_seal_signature(&mut self) {
        let Some(signer) = &self.policy.signer else { return };
        let id = self.located.id.to_string();
        let fault = match &self.located.committed {
            Committed::Sealed(sealed) => sealed.check_signer(signer).err(),
            Committed::Damaged => None,
            _ => Some(Fault::KeySigner { id, why: "it has no manifest, whose seal would be signed" }),
        };
        match fault {
            Some(fault) => self.find(&fault.into()),
            None => self.compared.vouched |= self.located.committed.sealed().is_some(),
        }
    }

    /// R8 without its first check: the root or receipt that the caller or a set expects, and the ancestors.
    async fn judge_expectations(&mut self) -> Result<()> {
        let expected = self.policy.root.is_some() || self.policy.receipt.is_some();
        match self.located.judge_root(self.policy) {
            Err(fault) => self.find(&fault),
            Ok(()) if expected && self.located.committed.sealed().is_some() => match self.demander {
                Demander::Caller | Demander::Set { proved: true } => self.compared.vouched = true,
                // Whoever could change the archive could change that set.
                Demander::Set { proved: false } => self.compared.named = true,
            },
            Ok(()) => {}
        }
        for fault in self.located.ancestor_faults(self.store, self.policy).await? {
            self.find(&fault.into());
        }
        Ok(())
    }

    /// §14: whether anything is left that the archive's keys are in.
    fn judge_keyboxes(&mut self) {
        let sealed = self.located.committed.sealed();
        if sealed.is_some_and(|sealed| sealed.manifest.detached) && self.located.objects.keyboxes.is_empty() {
            self.find(&Fault::KeyboxMissing { id: self.located.id.to_string() }.into());
        }
    }

    /// Compares what is stored with the manifest: by the store's own checksums, or by every byte.
    async fn compare_stored(&mut self, depth: Depth) -> Result<()> {
        match depth {
            Depth::Quick => self.compare_checksums().await,
            Depth::Full | Depth::Deep => self.compare_digests().await,
        }
    }

    /// Asks the store for the checksums that it keeps itself.
    async fn compare_checksums(&mut self) -> Result<()> {
        let parts = self.good_parts();
        self.compared.parts = parts.len();
        // A store that keeps none is asked until it could answer once, and one that does is asked once for each part.
        let mut parts = parts.into_iter();
        loop {
            let Some((object, entry)) = parts.next() else { return Ok(()) };
            let info = self.store.head(&object.name).await;
            let keeps = info.as_ref().ok().and_then(Option::as_ref).map(|info| info.sha256.is_some());
            self.take_head(&object, &entry, info)?;
            match keeps {
                None => {}
                Some(true) => break,
                Some(false) => return Ok(()),
            }
        }
        let store = self.store;
        let mut heads = stream::iter(parts)
            .map(|(object, entry)| async move {
                let info = store.head(&object.name).await;
                (object, entry, info)
            })
            .buffered(HEADS);
        while let Some((object, entry, info)) = heads.next().await {
            self.take_head(&object, &entry, info)?;
        }
        Ok(())
    }

    /// Takes what the store says of a part.
    fn take_head(&mut self, object: &Object, entry: &PartEntry, info: HeadAnswer) -> Result<()> {
        match info {
            Ok(Some(info)) => self.compare_checksum(object, entry, info.sha256),
            Ok(None) => {
                let missing = Fault::PartMissing { id: self.located.id.to_string(), n: object.n };
                self.find_in(Some(object.name.clone()), &missing.into());
            }
            Err(error) => self.find_in_part(object, error.into())?,
        }
        Ok(())
    }

    fn compare_checksum(&mut self, object: &Object, entry: &PartEntry, kept: Option<[u8; 32]>) {
        let Some(kept) = kept else { return };
        self.compared.checksums += 1;
        if kept != entry.sha256 {
            self.find_in(Some(object.name.clone()), &digest_fault(object, &kept, &entry.sha256));
        }
    }

    /// Hashes every part that nothing was found about yet.
    async fn compare_digests(&mut self) -> Result<()> {
        let (objects, entries): (Vec<Object>, Vec<PartEntry>) = self.good_parts().into_iter().unzip();
        let mut digests = self.fetcher.digests(objects).zip(stream::iter(entries));
        while let Some(((object, digest), entry)) = digests.next().await {
            match digest {
                Ok(digest) => self.compare_digest(&object, &digest, &entry),
                Err(error) => self.find_in_part(&object, error)?,
            }
            self.progress.stored += object.size;
            self.progress.parts += 1;
            self.observer.event(&Event::Progress(self.progress));
        }
        Ok(())
    }

    fn compare_digest(&mut self, object: &Object, found: &[u8; 32], entry: &PartEntry) {
        self.compared.digests += 1;
        if *found != entry.sha256 {
            self.find_in(Some(object.name.clone()), &digest_fault(object, found, &entry.sha256));
        }
    }

    fn report(self, depth: Depth, begun: Instant) -> Report {
        let manifest = self.located.committed.sealed().map(|sealed| &sealed.manifest);
        let present = self.located.present().len();
        let good = self.findings.is_empty();
        Report {
            id: self.located.id.clone(),
            depth,
            parts: u32::try_from(manifest.map_or(present, |manifest| manifest.parts.len())).unwrap_or(u32::MAX),
            stored: manifest.map_or_else(|| self.located.stored(), |manifest| manifest.stored()),
            content: self.content.or(manifest.and_then(|manifest| manifest.content)),
            compared: self.compared.sentence(depth, good),
            authentic: good && self.compared.authentic(depth),
            findings: self.findings,
            elapsed: begun.elapsed(),
        }
    }
}

/// The object that an error is about.
fn object_of(error: &Error) -> Option<String> {
    let (Error::Format(fault) | Error::Unmet(fault)) = error else { return None };
    match fault {
        Fault::PartMissing { id, n } => Some(format!("{id}-{n}")),
        Fault::ArchiveUncommitted { id, .. } => Some(format!("{id}.json")),
        Fault::PartExtra { object }
        | Fault::PartTruncated { object, .. }
        | Fault::PartMisplaced { object, .. }
        | Fault::PartForeign { object, .. }
        | Fault::PartSize { object, .. }
        | Fault::PartDigest { object, .. }
        | Fault::PartMagic { object }
        | Fault::HeaderInvalid { object, .. }
        | Fault::SegmentAuth { object, .. }
        | Fault::ManifestInvalid { object, .. }
        | Fault::ManifestSeal { object, .. }
        | Fault::ManifestRoot { object, .. }
        | Fault::NameMismatch { object, .. }
        | Fault::FormatUnsupported { object, .. } => Some(object.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use backstay_format::header::Codec;
    use backstay_format::schedule::Secret;
    use backstay_format::segment::Aead;

    use super::*;
    use crate::backup::{BackupOptions, Format, Padding, backup};
    use crate::keys::Encryption;
    use crate::observe::Silent;
    use crate::source::Source;

    #[tokio::test]
    async fn a_fault_of_ours_is_not_taken_for_the_hole_that_was_met_before() {
        let (store, context, policy) = (Store::memory(), Context::system(Some(1)).unwrap(), ReadPolicy::default());
        let encryption = Encryption::Raw(Secret([7; 32]));
        let (aead, codec, padding) = (Aead::Aes256Gcm, Codec::Zstd, Padding::None);
        let format = Format::Native { aead, codec, encryption, padding, signing_key: None };
        let guid = "de2fe9e4-6535-423d-8709-dca87df7985c".parse().unwrap();
        let options = BackupOptions::new(guid, "pg-main".to_owned(), format);
        let source = Source::Reader(Box::new(std::io::Cursor::new(b"content".to_vec())));
        let id = backup(&store, source, options, &context, Arc::new(Silent)).await.unwrap().id;
        let keyring = Keyring::default();
        let (located, _) = Located::survey(&store, &id, &keyring, &policy).await.unwrap();
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let mut check = Check::new(&store, &keyring, &policy, &context, &observer, located);
        check.judge_content(Ok(()), 0, true, 0).unwrap();
        let panicked = context.cpu.run(|| panic!("deliberate")).await;
        let told = check.judge_content(panicked, 0, true, 0);
        assert!(matches!(&told, Err(Error::Internal { why }) if why.contains("deliberate")), "{told:?}");
        assert!(check.findings.is_empty());
    }
}
