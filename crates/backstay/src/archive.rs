//! Finding an archive and unlocking it: the checks R1 to R8 of `spec/archive.md` §13, in their order.
//!
//! Everything here is about what a reader knows before the first byte of content: the names and sizes in the store, the
//! manifest, the first header line, the secret. What follows is in `fetch.rs`. A restore stops at the first fault;
//! verify lists them all, so what needs no key is judged by [`Located::survey`], which goes on.

mod objects;
mod openssl;
mod unlock;

use std::collections::BTreeMap;

use backstay_format::key::Keyring;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, Profile, SealedManifest};
use backstay_format::openssl::Error as OpensslFault;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::Store;

pub(crate) use self::objects::{LINE, Object, Objects, first_bytes, read_header};
pub(crate) use self::openssl::Openssl;
pub(crate) use self::unlock::{Archive, KEYBOX_FETCH, Lines, Native, keyboxes, unlock};
use crate::error::{Error, Result};
use crate::policy::{ProfileName, ReadPolicy, ReceiptLine};

/// What stands under the manifest's name.
#[derive(Debug)]
pub(crate) enum Committed {
    /// A manifest of ours, its digest right and its seal not yet checked.
    Sealed(Box<SealedManifest>),
    /// Another manager's document.
    Foreign(Vec<u8>),
    /// A manifest of ours that is at fault, or an abort marker: it says nothing that could be relied on.
    Damaged,
    /// Nothing, or the caller does not want it.
    Nothing,
}

impl Committed {
    /// Reads the manifest, unless the caller gave up on it (R2).
    pub(crate) async fn load(store: &Store, id: &ArchiveId, objects: &Objects) -> Result<Committed> {
        if !objects.manifest {
            return Ok(Committed::Nothing);
        }
        let bytes = match store.get(&id.manifest(), MAX_MANIFEST).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Committed::Nothing),
            Err(backstay_store::Error::TooLarge { .. }) => {
                let why = "it is longer than 128 MiB".to_owned();
                return Err(Fault::ManifestInvalid { object: id.manifest(), why }.into());
            }
            Err(error) => return Err(error.into()),
        };
        Ok(match Manifest::parse(bytes.into(), id)? {
            Document::Manifest(manifest) => Committed::Sealed(manifest),
            Document::Foreign(bytes) => Committed::Foreign(bytes),
        })
    }

    pub(crate) fn sealed(&self) -> Option<&SealedManifest> {
        match self {
            Committed::Sealed(manifest) => Some(manifest),
            _ => None,
        }
    }
}

/// An archive up to the point where its profile is known and its names and sizes are right (R1 to R4).
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) id: ArchiveId,
    pub(crate) objects: Objects,
    pub(crate) committed: Committed,
    pub(crate) profile: ProfileName,
}

impl Located {
    /// Finds the archive and judges what needs no key, up to the first fault.
    pub(crate) async fn find(store: &Store, id: &ArchiveId, keyring: &Keyring, policy: &ReadPolicy) -> Result<Located> {
        let (located, faults) = Located::survey(store, id, keyring, policy).await?;
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(located),
        }
    }

    /// Finds the archive and gives every fault that can be seen without a key, and every demand that is seen not to be met, in the order of
    /// the checks. A manifest that is at fault is then as if there were none.
    ///
    /// # Errors
    /// When nothing can be said: there is no such archive, the store fails, the policy contradicts itself.
    pub(crate) async fn survey(
        store: &Store,
        id: &ArchiveId,
        keyring: &Keyring,
        policy: &ReadPolicy,
    ) -> Result<(Located, Vec<Error>)> {
        let unchecked = match policy {
            _ if !policy.no_manifest => None,
            ReadPolicy { root: Some(_), .. } | ReadPolicy { receipt: Some(_), .. } => Some("a receipt"),
            ReadPolicy { require_seal: true, .. } => Some("a seal"),
            _ => None,
        };
        if let Some(demand) = unchecked {
            return Err(Error::Usage { why: format!("{demand} cannot be checked without the manifest") });
        }
        let objects = Objects::list(store, id).await?;
        let ambiguous = objects.ambiguous.iter().map(|what| Fault::NameAmbiguous { what: what.clone() });
        let mut faults: Vec<Error> = ambiguous.map(Error::from).collect();
        let load = async {
            if policy.no_manifest { Ok(Committed::Nothing) } else { Committed::load(store, id, &objects).await }
        };
        let committed = match load.await {
            Ok(committed) => committed,
            Err(fault @ Error::Format(_)) => {
                faults.push(fault);
                Committed::Damaged
            }
            Err(error) => return Err(error),
        };
        let profile = profile(store, id, &objects, &committed, keyring, policy, &mut faults).await?;
        let located = Located { id: id.clone(), objects, committed, profile };
        faults.extend(located.commit_fault(policy).map(Error::from));
        if profile == ProfileName::Openssl {
            faults.extend(located.seal_faults(policy));
        }
        faults.extend(located.size_faults().into_iter().map(Error::from));
        Ok((located, faults))
    }

    /// The same archive, as it would be found without its manifest.
    pub(crate) fn without_manifest(&self) -> Located {
        let (id, objects) = (self.id.clone(), self.objects.clone());
        Located { id, objects, committed: Committed::Nothing, profile: self.profile }
    }

    /// R2: whether there is a commit that fits the profile.
    fn commit_fault(&self, policy: &ReadPolicy) -> Option<Fault> {
        match (&self.committed, self.profile) {
            (Committed::Sealed(_) | Committed::Damaged, _) | (_, ProfileName::Openssl) => None,
            (Committed::Nothing, ProfileName::Native) if policy.no_manifest => None,
            (Committed::Foreign(_), ProfileName::Native) => {
                Some(Fault::ManifestInvalid { object: self.id.manifest(), why: "it is not a manifest".to_owned() })
            }
            (Committed::Nothing, ProfileName::Native) => {
                let why = "its upload did not finish, or the manifest was lost";
                Some(Fault::ArchiveUncommitted { id: self.id.to_string(), why })
            }
        }
    }

    /// O1: the seal that the caller demands, and its signature.
    fn seal_faults(&self, policy: &ReadPolicy) -> Vec<Error> {
        if matches!(self.committed, Committed::Damaged) {
            return Vec::new();
        }
        let sealed = self.committed.sealed();
        let mut faults = Vec::new();
        // A root or a receipt is the manifest's too.
        let demanded = policy.require_seal || policy.root.is_some() || policy.receipt.is_some();
        if demanded && sealed.is_none() {
            let why = "a seal is demanded, and there is no manifest of Backstay's";
            faults.push(Error::Unmet(Fault::ManifestSeal { object: self.id.manifest(), why }));
        }
        if let Some(signer) = &policy.signer {
            let why = "an archive without a seal cannot be signed";
            let unsigned = Err(Fault::KeySigner { id: self.id.to_string(), why });
            faults.extend(sealed.map_or(unsigned, |sealed| sealed.check_signer(signer)).err().map(Error::Unmet));
        }
        faults
    }

    /// The objects that are read. The native profile never reads the single form.
    pub(crate) fn present(&self) -> &[Object] {
        match self.profile {
            ProfileName::Native => &self.objects.parts,
            ProfileName::Openssl => match self.committed.sealed().map(|sealed| &sealed.manifest.profile) {
                Some(Profile::Openssl(head)) if head.single => self.objects.single.as_slice(),
                Some(_) => &self.objects.parts,
                None => self.objects.stream(),
            },
        }
    }

    /// Bytes of all objects that are read.
    pub(crate) fn stored(&self) -> u64 {
        self.present().iter().map(|object| object.size).sum()
    }

    /// R4 and O2: every fault of names, number and sizes.
    fn size_faults(&self) -> Vec<Fault> {
        let id = &self.id;
        let mut faults = Vec::new();
        let missing = |n| Fault::PartMissing { id: id.to_string(), n };
        if self.profile == ProfileName::Native {
            let padded = |name: &String| Fault::NameAmbiguous { what: format!("{name} has leading zeros") };
            faults.extend(self.objects.padded.iter().map(padded));
        }
        let present = self.present();
        let Some(manifest) = self.committed.sealed().map(|sealed| &sealed.manifest) else {
            let first = match (self.profile, present.first()) {
                (ProfileName::Openssl, Some(object)) if object.n == 1 => 1,
                _ => 0,
            };
            let mut expected = first;
            for object in present {
                faults.extend((expected..object.n).take(1000).map(missing));
                expected = object.n + 1;
            }
            if present.is_empty() {
                faults.push(missing(0));
            }
            return faults;
        };
        let by_index: BTreeMap<u32, &Object> = present.iter().map(|object| (object.n, object)).collect();
        let expected = || (manifest.first..).zip(&manifest.parts);
        faults.extend(expected().filter(|(n, _)| !by_index.contains_key(n)).map(|(n, _)| missing(n)));
        let end = manifest.first + u32::try_from(manifest.parts.len()).unwrap_or(u32::MAX);
        let extra = present.iter().filter(|object| !(manifest.first..end).contains(&object.n));
        faults.extend(extra.map(|object| Fault::PartExtra { object: object.name.clone() }));
        for (n, part) in expected() {
            if let Some(object) = by_index.get(&n).filter(|object| object.size != part.size) {
                faults.push(Fault::PartSize { object: object.name.clone(), found: object.size, expected: part.size });
            }
        }
        faults
    }

    /// R8 and O8: whether it is the archive that the caller's root or receipt names.
    pub(crate) fn judge_root(&self, policy: &ReadPolicy) -> Result<()> {
        let Some(sealed) = self.committed.sealed() else { return Ok(()) };
        let root = sealed.manifest.root();
        let stored = sealed.manifest.stored();
        let other = |found: String, expected: String| {
            Err(Error::Unmet(Fault::ManifestRoot { object: self.id.manifest(), found, expected }))
        };
        if let Some(expected) = policy.root.filter(|expected| *expected != root) {
            return other(to_hex(&root), to_hex(&expected));
        }
        let unconfirmed = sealed.manifest.unconfirmed;
        let found = ReceiptLine { id: self.id.clone(), root, seal: sealed.seal.sha256, stored, unconfirmed };
        match policy.receipt.as_ref().filter(|expected| **expected != found) {
            Some(expected) => other(found.to_string(), expected.to_string()),
            None => Ok(()),
        }
    }

    /// R8: every ancestor is committed and is the one that was meant.
    pub(crate) async fn ancestor_faults(&self, store: &Store, policy: &ReadPolicy) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        let Some(sealed) = self.committed.sealed().filter(|_| !policy.this_stream_only) else { return Ok(faults) };
        for need in &sealed.manifest.needs {
            let why = match store.get(&need.id.manifest(), MAX_MANIFEST).await? {
                None => "is not there",
                Some(bytes) => match Manifest::parse(bytes.into(), &need.id) {
                    Ok(Document::Manifest(ancestor)) if ancestor.manifest.root() == need.root => continue,
                    Ok(_) => "is another archive than the one that was meant",
                    Err(_) => "has no valid manifest",
                },
            };
            let (id, ancestor) = (self.id.to_string(), need.id.to_string());
            faults.push(Fault::ChainBroken { id, ancestor, why });
        }
        Ok(faults)
    }
}

/// R3: which profile the archive is read as. After a choice that cannot be, what the archive says of itself.
async fn profile(
    store: &Store,
    id: &ArchiveId,
    objects: &Objects,
    committed: &Committed,
    keyring: &Keyring,
    policy: &ReadPolicy,
    faults: &mut Vec<Error>,
) -> Result<ProfileName> {
    let stated = committed.sealed().map(|sealed| match sealed.manifest.profile {
        Profile::Native(_) => ProfileName::Native,
        Profile::Openssl(_) => ProfileName::Openssl,
    });
    let first = || objects.stream().first().map(|object| object.name.clone()).unwrap_or_default();
    let found = match stated {
        Some(stated) => Some(stated),
        None => objects.begins_as(store).await?,
    };
    if let Some(chosen) = policy.format {
        if found.is_some_and(|found| found != chosen) {
            faults.push(Error::Unmet(match chosen {
                ProfileName::Native => Fault::PartMagic { object: first() },
                ProfileName::Openssl => OpensslFault::Magic.into(),
            }));
        }
        return Ok(found.unwrap_or(chosen));
    }
    if found.is_none() && objects.begins_behind_its_first() {
        // With a higher index the parts before it are missed with their sizes.
        if objects.parts.first().is_some_and(|first| first.n == 1) {
            faults.push(Fault::PartMissing { id: id.to_string(), n: 0 }.into());
        }
        return Ok(ProfileName::Openssl);
    }
    let found = found.unwrap_or(ProfileName::Native);
    if found == ProfileName::Openssl && (keyring.has_keys() || policy.signer.is_some()) {
        let why = "it is of the openssl profile, which authenticates nothing, but a key for native archives was given";
        faults.push(Fault::KeyOpen { id: first(), why }.into());
    }
    Ok(found)
}
