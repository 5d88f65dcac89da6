//! Keeping what a verification or a drill found, as a new object beside the archive.
//!
//! A report proves something only by its seal (`spec/archive.md` §8.6), so one is made only with the archive's key, with a
//! signing key, or with both. Nothing is rewritten: the next report is another object.

use backstay_format::key::Keyring;
use backstay_format::manifest::{Manifest, Profile, SealedManifest};
use backstay_format::openssl::{self, Preamble};
use backstay_format::report::{Level, MAX_REPORT, Report, SealedReport};
use backstay_format::schedule::sha256;
use backstay_format::signature::SigningKey;
use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::Store;
use bytes::Bytes;
use futures::TryStreamExt as _;
use zeroize::Zeroizing;

use crate::archive::{Committed, Located, Objects, first_bytes};
use crate::backup::rfc3339;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::policy::{ProfileName, ReadPolicy};

/// How many names are tried for one report: another one may be made in the same millisecond.
const NAMES: u64 = 8;

/// What is to be kept.
#[derive(Debug, Clone)]
pub struct Findings {
    /// How thoroughly was looked.
    pub level: Level,
    /// Whether nothing was wrong.
    pub good: bool,
    /// Who looked.
    pub by: String,
    /// Facts as the text of a JSON object, without fractions, signs and `null`.
    pub details: String,
}

/// Writes a report on an archive and gives the object's name.
///
/// The keyring's key makes its MAC, if it is the archive's; the signing key signs it.
///
/// # Errors
/// `usage.arguments` when neither a key of the archive nor a signing key is there; `archive.not-found`; `store.*`.
pub async fn record(
    store: &Store,
    id: &ArchiveId,
    findings: &Findings,
    keyring: &Keyring,
    signing_key: Option<&SigningKey>,
    context: &Context,
) -> Result<String> {
    let objects = Objects::list(store, id).await?;
    let committed = match Committed::load(store, id, &objects).await {
        Ok(committed) => committed,
        // That it is damaged is what there is to be reported.
        Err(Error::Format(_)) => Committed::Damaged,
        Err(error) => return Err(error),
    };
    let sealed = committed.sealed();
    let key = report_key(store, &objects, id, sealed, keyring, findings.good).await?;
    if key.is_none() && signing_key.is_none() {
        let why = format!(
            "a report on {id} that nothing seals proves nothing: give the archive's key (-i), or a signing key (--sign-key)"
        );
        return Err(Error::Usage { why });
    }
    let report = Report {
        id: id.clone(),
        root: sealed.map(|sealed| sealed.manifest.root()),
        level: findings.level,
        good: findings.good,
        at: rfc3339(context.now()),
        by: findings.by.clone(),
        details: findings.details.clone(),
    };
    let bytes = Bytes::from(report.encode(key.as_deref(), signing_key)?);
    create_numbered(store, id, Word::Verified, bytes, context).await
}

/// Creates the next sidecar of a kind. Its name is new even when several are made at once.
pub(crate) async fn create_numbered(
    store: &Store,
    id: &ArchiveId,
    word: Word,
    bytes: Bytes,
    context: &Context,
) -> Result<String> {
    let (millis, digest) = (context.millis()?, sha256(&bytes));
    let mut taken = None;
    for millis in (millis..).take(usize::try_from(NAMES).unwrap_or(1)) {
        let name = id.sidecar(word, millis);
        match store.create(&name, bytes.clone(), digest).await {
            Ok(_) => return Ok(name),
            Err(error @ backstay_store::Error::NameTaken { .. }) => taken = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(taken.map_or_else(|| Error::Internal { why: "no name was tried".to_owned() }, Error::from))
}

/// The key of an archive's reports, if the keyring has it. No manifest is called good whose seal the same key says is forged.
async fn report_key(
    store: &Store,
    objects: &Objects,
    id: &ArchiveId,
    sealed: Option<&SealedManifest>,
    keyring: &Keyring,
    good: bool,
) -> Result<Option<Zeroizing<[u8; 32]>>> {
    match sealed {
        Some(sealed) => match Keyed::open(store, sealed, &objects.keyboxes, keyring).await? {
            Keyed::Opened { seal, report, .. } => {
                if good {
                    sealed.check(&seal)?;
                }
                Ok(Some(report))
            }
            Keyed::Open | Keyed::Closed => Ok(None),
        },
        None => {
            // An openssl archive of another manager: its key is found as a restore finds it.
            if keyring.passwords().is_empty() {
                return Ok(None);
            }
            let start = first_bytes(store, objects.stream(), Preamble::LENGTH).await?;
            let Some(preamble) = start.first_chunk().and_then(|start| Preamble::parse(start).ok()) else {
                return Ok(None);
            };
            let candidates = openssl::Candidates::auto();
            let mut passwords = keyring.passwords().iter();
            match passwords.find_map(|password| openssl::detect(&preamble, password, &candidates).ok()) {
                Some(key) => Ok(Some(Zeroizing::new(*key.report_key().as_bytes()))),
                None => {
                    tracing::debug!(%id, "the password is not that of the archive");
                    Ok(None)
                }
            }
        }
    }
}

/// What a keyring makes of one manifest.
pub(crate) enum Keyed {
    /// It is the archive's.
    Opened {
        /// The key of the manifest's seal.
        seal: Zeroizing<[u8; 32]>,
        /// The key of its reports' seals.
        report: Zeroizing<[u8; 32]>,
    },
    /// The secret is published: whoever made a seal is not told by its MAC.
    Open,
    /// It has no key for this one.
    Closed,
}

impl Keyed {
    /// Tries a keyring on what the manifest says about itself; keyboxes are fetched only when there are some.
    pub(crate) async fn open(
        store: &Store,
        sealed: &SealedManifest,
        keyboxes: &[u32],
        keyring: &Keyring,
    ) -> Result<Keyed> {
        let manifest: &Manifest = &sealed.manifest;
        match &manifest.profile {
            Profile::Native(head) if head.common.open.is_some() => Ok(Keyed::Open),
            Profile::Native(_) if keyring.is_empty() => Ok(Keyed::Closed),
            Profile::Native(head) => {
                let objects = Objects { manifest: true, keyboxes: keyboxes.to_vec(), ..Objects::default() };
                let (id, committed) = (manifest.id.clone(), Committed::Nothing);
                let located = Located { id, objects, committed, profile: ProfileName::Native };
                match located.unlock_with(&head.common, store, keyring, &ReadPolicy::default()).await {
                    Ok(unlocked) => Ok(Keyed::Opened { seal: unlocked.keys.seal(), report: unlocked.keys.report() }),
                    // A key for other archives is no fault of this one.
                    Err(Error::Format(_)) => Ok(Keyed::Closed),
                    Err(error) => Err(error),
                }
            }
            Profile::Openssl(head) => {
                // Only the seal tells whether a password is right: another one's key fits none.
                let mut keys = keyring.passwords().iter().map(|password| head.kdf.derive(password, head.salt));
                let Some(key) = keys.find(|key| sealed.check(key.seal_key().as_bytes()).is_ok()) else {
                    return Ok(Keyed::Closed);
                };
                let copied = |bytes: &[u8; 32]| Zeroizing::new(*bytes);
                Ok(Keyed::Opened {
                    seal: copied(key.seal_key().as_bytes()),
                    report: copied(key.report_key().as_bytes()),
                })
            }
        }
    }
}

/// The reports on an archive, the newest first, by the numbers in their names. Their seals are not checked.
///
/// # Errors
/// `store.*`. What is damaged is left out.
pub async fn reports(store: &Store, id: &ArchiveId) -> Result<Vec<SealedReport>> {
    let mut names = Vec::new();
    let mut listing = store.list(id.as_str(), None);
    while let Some(object) = listing.try_next().await? {
        if let ObjectName::Sidecar(of, Word::Verified, Some(millis)) = ObjectName::parse(&object.name)
            && of == *id
        {
            names.push((millis, object.name));
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    let mut reports = Vec::new();
    for (_, name) in names {
        reports.extend(read(store, id, &name).await?);
    }
    Ok(reports)
}

/// The reports on an archive, the newest first, each with whether a key of the keyring sealed it; `None` where none opens the archive.
///
/// # Errors
/// `store.*`.
pub async fn judged(store: &Store, id: &ArchiveId, keyring: &Keyring) -> Result<Vec<(Report, Option<bool>)>> {
    let found = reports(store, id).await?;
    let mut key = None;
    if !found.is_empty() {
        let objects = Objects::list(store, id).await?;
        if let Ok(Committed::Sealed(sealed)) = Committed::load(store, id, &objects).await {
            key = report_key(store, &objects, id, Some(&sealed), keyring, false).await?;
        }
    }
    let judge = |sealed: SealedReport| {
        let proved = key.as_deref().map(|key| sealed.is_keyed_with(key));
        (sealed.report, proved)
    };
    Ok(found.into_iter().map(judge).collect())
}

/// One report, if it is there and can be read.
pub(crate) async fn read(store: &Store, id: &ArchiveId, name: &str) -> Result<Option<SealedReport>> {
    match store.get(name, MAX_REPORT).await {
        Ok(bytes) => Ok(bytes.and_then(|bytes| Report::parse(&bytes, id, name).ok())),
        Err(backstay_store::Error::TooLarge { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The details that a verification is kept with.
pub(crate) fn details(report: &crate::verify::Report) -> String {
    let findings = report.findings.iter().filter(|finding| finding.of_archive);
    let findings: Vec<_> = findings.take(100).map(|finding| {
        serde_json::json!({"code": finding.code, "object": finding.object.clone().unwrap_or_default(), "text": finding.text})
    }).collect();
    let mut details = serde_json::json!({
        "parts": report.parts,
        "stored": report.stored,
        "authentic": report.authentic,
        "compared": report.compared,
        "elapsed_ms": u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
        "findings": findings,
    });
    if let Some(content) = report.content {
        details["content"] = content.into();
    }
    details.to_string()
}

impl Findings {
    /// What a verification found, in the name of `by`; `None` if that says nothing of the archive: a demand was not met, or no key was the
    /// archive's. A report is read by others, who demand something else.
    pub fn of(report: &crate::verify::Report, good: bool, by: String) -> Option<Findings> {
        if !good && !report.findings.iter().any(|finding| finding.of_archive) {
            return None;
        }
        let level = match report.depth {
            crate::verify::Depth::Quick => Level::Quick,
            crate::verify::Depth::Full => Level::Full,
            crate::verify::Depth::Deep => Level::Deep,
        };
        Some(Findings { level, good, by, details: details(report) })
    }
}
