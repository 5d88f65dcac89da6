//! Unlocking an archive (R5 to R8): the first header line, the secret, the manifest's seal.

use backstay_format::header::{self, Codec, Common, Head, Header, Lock, Reference};
use backstay_format::key::{Keyring, MAX_KEYBOXES, Opened as Unlocked};
use backstay_format::manifest::{Manifest, PartEntry, Profile};
use backstay_format::schedule::{Keys, Secret};
use backstay_format::signature::header_message;
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::Store;

use super::Located;
use super::objects::{Object, read_header};
use super::openssl::Openssl;
use crate::error::{Error, Result};
use crate::policy::{ProfileName, ReadPolicy};

/// The largest keybox that is fetched; the format judges the limit itself.
pub(crate) const KEYBOX_FETCH: u64 = 1 << 20;

/// A native archive that is unlocked.
pub(crate) struct Native {
    pub(crate) id: ArchiveId,
    pub(crate) parts: Vec<Object>,
    /// The first part's header.
    pub(crate) header: Header,
    pub(crate) keys: Keys,
    pub(crate) secret: Secret,
    /// Trusted: its seal was checked.
    pub(crate) manifest: Option<Manifest>,
    /// Slots that were passed over on the way to the secret.
    pub(crate) notes: Vec<String>,
}

/// An archive that can be read.
pub(crate) enum Archive {
    Native(Box<Native>),
    Openssl(Box<Openssl>),
}

/// Where header lines come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// The parts; a manifest only says what they must be.
    Stored,
    /// The manifest, where there is one: a range read has no use for the beginning of a part, and the keys that follow from
    /// a line open what was sealed under it and nothing else.
    Rebuilt,
}

impl Archive {
    /// Makes the checks R1 to R8.
    pub(crate) async fn open(
        store: &Store,
        id: &ArchiveId,
        keyring: &Keyring,
        policy: &ReadPolicy,
        lines: Lines,
    ) -> Result<Archive> {
        Located::find(store, id, keyring, policy).await?.unlock(store, keyring, policy, lines).await
    }
}

impl Located {
    /// R5 to R8, or O1 to O8: unlocks the archive and makes sure of the manifest's seal.
    pub(crate) async fn unlock(
        self,
        store: &Store,
        keyring: &Keyring,
        policy: &ReadPolicy,
        lines: Lines,
    ) -> Result<Archive> {
        match self.profile {
            ProfileName::Native => {
                Ok(Archive::Native(Box::new(self.unlock_native(store, keyring, policy, lines).await?)))
            }
            ProfileName::Openssl => match self.stream_fault(store).await? {
                Some(fault) => Err(fault.into()),
                None => Ok(Archive::Openssl(Box::new(self.unlock_openssl(store, keyring, policy).await?))),
            },
        }
    }

    async fn unlock_native(
        self,
        store: &Store,
        keyring: &Keyring,
        policy: &ReadPolicy,
        lines: Lines,
    ) -> Result<Native> {
        let rebuilt = self.rebuilt_header().filter(|header| {
            // Without a seek table a range is read from the start, part by part, as everything is.
            lines == Lines::Rebuilt && header.common.codec == Codec::Zstd
        });
        let header = match rebuilt {
            Some(header) => header,
            None => self.first_header(store).await?,
        };
        let Unlocked { secret, keys, notes } = self.unlock_with(&header.common, store, keyring, policy).await?;
        if let Some(sealed) = self.committed.sealed() {
            sealed.check(&keys.seal())?;
        }
        self.judge_root(policy)?;
        if let Some(fault) = self.ancestor_faults(store, policy).await?.into_iter().next() {
            return Err(fault.into());
        }
        let manifest = self.committed.sealed().map(|sealed| sealed.manifest.clone());
        Ok(Native { parts: self.objects.parts, header, keys, secret, manifest, notes, id: self.id })
    }

    /// What a native manifest says about the header lines: what they share, and the `rnd` of each part.
    pub(crate) fn head(&self) -> Option<(&Head, &[PartEntry])> {
        match self.committed.sealed().map(|sealed| &sealed.manifest)? {
            Manifest { profile: Profile::Native(head), parts, .. } => Some((head, parts)),
            Manifest { profile: Profile::Openssl(_), .. } => None,
        }
    }

    /// The header of part 0 as the manifest describes it.
    pub(crate) fn rebuilt_header(&self) -> Option<Header> {
        let (head, parts) = self.head()?;
        Some(head.header(&self.id, 0, parts.first()?.rnd.as_ref()?))
    }

    /// R5: the header line of part 0.
    pub(crate) async fn first_header(&self, store: &Store) -> Result<Header> {
        let Some(first) = self.objects.parts.first().filter(|first| first.n == 0) else {
            return Err(Fault::PartMissing { id: self.id.to_string(), n: 0 }.into());
        };
        let rnd = self.head().and_then(|(head, parts)| Some((head, parts.first()?.rnd.as_ref()?)));
        let reference = rnd.map_or(Reference::None, |(head, rnd)| Reference::Head(head, rnd));
        read_header(store, &self.id, first, header::MAX_LINE, reference).await
    }

    /// R6 and R7: the archive's secret, for a header that shares this.
    pub(crate) async fn unlock_with(
        &self,
        common: &Common,
        store: &Store,
        keyring: &Keyring,
        policy: &ReadPolicy,
    ) -> Result<Unlocked> {
        unlock(&self.id, &common.lock(), &self.objects.keyboxes, store, keyring, policy).await
    }

    /// The keyboxes in order of their number.
    pub(crate) async fn keyboxes(&self, store: &Store) -> Result<Vec<Vec<u8>>> {
        keyboxes(&self.id, &self.objects.keyboxes, store).await
    }
}

/// R6 and R7: the secret of an archive or a set that has these keyboxes.
pub(crate) async fn unlock(
    id: &ArchiveId,
    lock: &Lock,
    boxes: &[u32],
    store: &Store,
    keyring: &Keyring,
    policy: &ReadPolicy,
) -> Result<Unlocked> {
    let open = |why| Err(Error::from(Fault::KeyOpen { id: id.to_string(), why }));
    if lock.open.is_some() {
        if !keyring.is_empty() || policy.signer.is_some() || policy.require_seal {
            return open("a key or signer was given, or a seal demanded, so an encrypted one is expected");
        }
        if !policy.allow_open {
            return open("it is not encrypted, and that was not allowed");
        }
    }
    if let Some(signer) = &policy.signer {
        let message = header_message(id, &lock.salt, &lock.commit);
        signer.check(lock.signature.as_ref(), &message, id)?;
    }
    if let Some(secret) = lock.open {
        let secret = Secret(secret);
        let keys = Keys::derive(&secret, &lock.salt);
        if !keys.fits(&lock.commit) {
            return Err(Fault::KeyWrong { id: id.to_string() }.into());
        }
        return Ok(Unlocked { secret, keys, notes: Vec::new() });
    }
    let fetched = if keyring.is_empty() { Vec::new() } else { fetch_keyboxes(id, boxes, store).await? };
    let all_gone = !fetched.is_empty() && fetched.iter().all(Option::is_none);
    let keyboxes: Vec<Vec<u8>> = fetched.into_iter().flatten().collect();
    match keyring.open(id, &lock.salt, &lock.commit, &lock.keys, &keyboxes) {
        // They were listed: somebody deletes them.
        Err(_) if all_gone && lock.keys.is_empty() => Err(Fault::KeyboxMissing { id: id.to_string() }.into()),
        opened => Ok(opened?),
    }
}

/// The keyboxes in order of their number, and one more than may be tried, which tells that there are. One that is gone or too long counts as empty, so as damaged.
pub(crate) async fn keyboxes(id: &ArchiveId, boxes: &[u32], store: &Store) -> Result<Vec<Vec<u8>>> {
    let fetched = fetch_keyboxes(id, boxes, store).await?;
    Ok(fetched.into_iter().map(Option::unwrap_or_default).collect())
}

/// The same, and `None` for one that is gone.
async fn fetch_keyboxes(id: &ArchiveId, boxes: &[u32], store: &Store) -> Result<Vec<Option<Vec<u8>>>> {
    let mut keyboxes = Vec::new();
    for m in boxes.iter().take(MAX_KEYBOXES + 1) {
        match store.get(&id.keybox(*m), KEYBOX_FETCH).await {
            Ok(keybox) => keyboxes.push(keybox.map(Vec::from)),
            Err(backstay_store::Error::TooLarge { .. }) => keyboxes.push(Some(Vec::new())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(keyboxes)
}
