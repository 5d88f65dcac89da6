//! Finding an archive and unlocking it: the checks R1 to R8 of `spec/archive.md` §13, in their order.
//!
//! Everything here is about what a reader knows before the first byte of content: the names and sizes in the store, the
//! manifest, the first header line, the secret. What follows is in `fetch.rs`. A restore stops at the first fault;
//! verify lists them all, so what needs no key is judged by [`Located::survey`], which goes on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use backstay_format::Error as Fault;
use backstay_format::header::{self, Codec, Common, Head, Header, Lock, Reference};
use backstay_format::key::{Keyring, MAX_KEYBOXES, Opened as Unlocked};
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest, OpensslHead, PartEntry, Profile, SealedManifest};
use backstay_format::openssl::{self, Candidates, KeyIv, Password, Preamble};
use backstay_format::schedule::{Keys, Secret};
use backstay_format::signature::header_message;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, ObjectName};
use backstay_store::Store;
use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::policy::{ProfileName, ReadPolicy, ReceiptLine};

/// The largest keybox that is fetched; the format judges the limit itself.
pub(crate) const KEYBOX_FETCH: u64 = 1 << 20;

/// About how long a header line is: as much of an object has its line, in all but unusual archives.
pub(crate) const LINE: usize = 4 << 10;
/// What each part of a native archive begins with.
const NATIVE_MAGIC: &[u8] = b"BACKSTAY1 ";

/// One stored object of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) n: u32,
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// What the store holds under an archive's id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    /// The parts by value of their index.
    pub(crate) parts: Vec<Object>,
    /// Two names for one part, or a single object beside parts: one sentence for each.
    pub(crate) ambiguous: Vec<String>,
    /// Names of parts that have leading zeros.
    pub(crate) padded: Vec<String>,
    pub(crate) single: Option<Object>,
    pub(crate) manifest: bool,
    pub(crate) keyboxes: Vec<u32>,
    /// Names that look like the archive's and are not of the grammar.
    pub(crate) strays: Vec<String>,
}

impl Objects {
    /// Lists the archive (R1). Of two objects for one part the one with the plain name is taken.
    pub(crate) async fn list(store: &Store, id: &ArchiveId) -> Result<Objects> {
        let mut objects = Objects::default();
        let mut parts: BTreeMap<u32, Object> = BTreeMap::new();
        let mut listing = store.list_in_any_order(id.as_str());
        while let Some(object) = listing.try_next().await? {
            match ObjectName::parse(&object.name) {
                ObjectName::Part { id: of, n, padded } if of == *id => {
                    if padded {
                        objects.padded.push(object.name.clone());
                    }
                    let part = Object { n, name: object.name, size: object.size };
                    match parts.entry(n) {
                        Entry::Vacant(place) => drop(place.insert(part)),
                        Entry::Occupied(mut twin) => {
                            let names = format!("{} and {} are both part {n}", twin.get().name, part.name);
                            objects.ambiguous.push(names);
                            if !padded {
                                twin.insert(part);
                            }
                        }
                    }
                }
                ObjectName::Single(of) if of == *id => {
                    objects.single = Some(Object { n: 0, name: object.name, size: object.size });
                }
                ObjectName::Manifest(of) if of == *id => objects.manifest = true,
                ObjectName::Keybox(of, m) if of == *id => objects.keyboxes.push(m),
                ObjectName::Foreign
                    if object.name.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with('-')) =>
                {
                    objects.strays.push(object.name);
                }
                _ => {}
            }
        }
        objects.parts = parts.into_values().collect();
        objects.keyboxes.sort_unstable();
        if objects.parts.is_empty() && objects.single.is_none() && !objects.manifest {
            return Err(Error::ArchiveNotFound { what: id.to_string(), store: store.url().to_owned() });
        }
        if let (Some(single), Some(part)) = (&objects.single, objects.parts.first()) {
            objects.ambiguous.push(format!("{} stands beside {}", single.name, part.name));
        }
        Ok(objects)
    }

    /// The parts of the stream in order, or the single object.
    pub(crate) fn stream(&self) -> &[Object] {
        match &self.single {
            Some(single) => std::slice::from_ref(single),
            None => &self.parts,
        }
    }

    /// The profile that the first bytes of the parts, joined, are of; `None` if of neither.
    async fn begins_as(&self, store: &Store) -> Result<Option<ProfileName>> {
        let head = first_bytes(store, self.stream(), NATIVE_MAGIC.len()).await?;
        Ok(match head {
            head if head.starts_with(&openssl::MAGIC) => Some(ProfileName::Openssl),
            head if head == NATIVE_MAGIC => Some(ProfileName::Native),
            _ => None,
        })
    }
}

/// The first `length` bytes of these objects, joined, or fewer when they have no more.
pub(crate) async fn first_bytes(store: &Store, objects: &[Object], length: usize) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    for object in objects {
        let missing = (length - head.len()) as u64;
        if missing == 0 {
            break;
        }
        if object.size > 0 {
            head.extend_from_slice(&store.get_range(&object.name, 0..object.size.min(missing)).await?);
        }
    }
    Ok(head)
}

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
        let profile = profile(store, &objects, &committed, keyring, policy, &mut faults).await?;
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
                ProfileName::Openssl => openssl::Error::Magic.into(),
            }));
        }
        return Ok(found.unwrap_or(chosen));
    }
    let found = found.unwrap_or(ProfileName::Native);
    if found == ProfileName::Openssl && (keyring.has_keys() || policy.signer.is_some()) {
        let why = "it is of the openssl profile, which authenticates nothing, but a key for native archives was given";
        faults.push(Fault::KeyOpen { id: first(), why }.into());
    }
    Ok(found)
}

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

/// An archive of the openssl profile, as far as it can be unlocked before its stream is read.
pub(crate) struct Openssl {
    pub(crate) id: ArchiveId,
    pub(crate) parts: Vec<Object>,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) key: KeyIv,
    pub(crate) gzip: bool,
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

    /// O3 and O4: whether this can be the whole of a stream. In a sealed archive the magic is part of what the digests
    /// cover.
    pub(crate) async fn stream_fault(&self, store: &Store) -> Result<Option<Fault>> {
        if self.committed.sealed().is_none() && self.objects.begins_as(store).await? != Some(ProfileName::Openssl) {
            return Ok(Some(openssl::Error::Magic.into()));
        }
        Ok(openssl::check_length(self.stored()).err().map(Fault::from))
    }

    /// Bytes of all objects that are read.
    pub(crate) fn stored(&self) -> u64 {
        self.present().iter().map(|object| object.size).sum()
    }

    /// O5 to O8.
    pub(crate) async fn unlock_openssl(
        &self,
        store: &Store,
        keyring: &Keyring,
        policy: &ReadPolicy,
    ) -> Result<Openssl> {
        let sealed = self.committed.sealed();
        let head = sealed.and_then(|sealed| match &sealed.manifest.profile {
            Profile::Openssl(head) => Some((sealed, head)),
            Profile::Native(_) => None,
        });
        let start = first_bytes(store, self.present(), Preamble::LENGTH).await?;
        let length = self.stored();
        let Some(password) = keyring.password() else {
            return Err(Fault::KeyNotFound { id: self.id.to_string() }.into());
        };
        let preamble = start.first_chunk().map_or(Err(openssl::Error::Length { length }), Preamble::parse);

        let (key, gzip) = match head {
            Some((sealed, head)) => {
                let key = head.kdf.derive(password, head.salt);
                if let Err(seal) = sealed.check(key.seal_key().as_bytes()) {
                    let right = self.password_is_right(store, head, password, preamble, length).await?;
                    let wrong = openssl::Error::Key { tried: vec![head.kdf] };
                    return Err(if right { seal.into() } else { openssl_fault(wrong) });
                }
                (key, head.gzip)
            }
            None => {
                let preamble = preamble.map_err(openssl_fault)?;
                match (policy.openssl.raw, policy.openssl.kdf) {
                    (true, None) => {
                        let why =
                            "a payload that is not gzip has nothing to find the key derivation by: name it with --md"
                                .to_owned();
                        return Err(Error::Usage { why });
                    }
                    (true, Some(kdf)) => {
                        let key = kdf.derive(password, preamble.salt);
                        // Nothing tells an end that was cut from a derivation or a password that is not the archive's.
                        self.judge_raw_tail(store, &key, length).await.map_err(unmet)?;
                        (key, false)
                    }
                    (false, kdf) => {
                        let candidates = kdf.map_or_else(Candidates::auto, Candidates::only);
                        (openssl::detect(&preamble, password, &candidates).map_err(openssl_fault)?, true)
                    }
                }
            }
        };
        self.judge_root(policy)?;
        let manifest = sealed.map(|sealed| sealed.manifest.clone());
        Ok(Openssl { parts: self.present().to_vec(), manifest, key, gzip, id: self.id.clone() })
    }

    /// O6, when the seal does not fit: whether the password opens the stream, so that the manifest is what is wrong.
    async fn password_is_right(
        &self,
        store: &Store,
        head: &OpensslHead,
        password: &Password,
        preamble: std::result::Result<Preamble, openssl::Error>,
        length: u64,
    ) -> Result<bool> {
        if !head.gzip {
            let key = head.kdf.derive(password, head.salt);
            return match self.judge_raw_tail(store, &key, length).await {
                Ok(()) => Ok(true),
                Err(Error::Format(_)) => Ok(false),
                Err(error) => Err(error),
            };
        }
        let fits = |candidates| {
            preamble.as_ref().is_ok_and(|preamble| openssl::detect(preamble, password, &candidates).is_ok())
        };
        Ok(fits(Candidates::auto()) || fits(Candidates::only(head.kdf)))
    }

    /// A raw payload tells a wrong password only by its last block's padding, so that is looked at first.
    async fn judge_raw_tail(&self, store: &Store, key: &KeyIv, length: u64) -> Result<()> {
        let mut tail = Vec::new();
        let mut missing = 2 * openssl::BLOCK as u64;
        for object in self.present().iter().rev() {
            let take = object.size.min(missing);
            if take > 0 {
                tail.splice(0..0, store.get_range(&object.name, object.size - take..object.size).await?);
                missing -= take;
            }
        }
        // With a single block of ciphertext the sixteen bytes before it are the stream's header, and the IV is the key's.
        let (Some(previous), Some(last)) =
            (tail.first_chunk::<{ openssl::BLOCK }>(), tail.last_chunk::<{ openssl::BLOCK }>())
        else {
            return Err(openssl_fault(openssl::Error::Length { length }));
        };
        let mut last = *last;
        let only_block = length == (openssl::HEADER + openssl::BLOCK) as u64;
        openssl::Decryptor::new(key).decrypt((!only_block).then_some(previous), &mut last);
        openssl::unpad(&last).map(drop).map_err(openssl_fault)
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
        if !keyring.is_empty() || policy.signer.is_some() {
            return open("a key or signer was given, so an encrypted one is expected");
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
    let keyboxes = if keyring.is_empty() { Vec::new() } else { keyboxes(id, boxes, store).await? };
    Ok(keyring.open(id, &lock.salt, &lock.commit, &lock.keys, &keyboxes)?)
}

/// The keyboxes in order of their number, and one more than may be tried, which tells that there are. One that is gone or too long counts as empty, so as damaged.
pub(crate) async fn keyboxes(id: &ArchiveId, boxes: &[u32], store: &Store) -> Result<Vec<Vec<u8>>> {
    let mut keyboxes = Vec::new();
    for m in boxes.iter().take(MAX_KEYBOXES + 1) {
        match store.get(&id.keybox(*m), KEYBOX_FETCH).await {
            Ok(keybox) => keyboxes.push(keybox.map(Vec::from).unwrap_or_default()),
            Err(backstay_store::Error::TooLarge { .. }) => keyboxes.push(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(keyboxes)
}

/// A fault that may be one of what the caller said of the archive.
fn unmet(error: Error) -> Error {
    match error {
        Error::Format(fault) => Error::Unmet(fault),
        other => other,
    }
}

fn openssl_fault(error: openssl::Error) -> Error {
    Error::Format(error.into())
}

/// Reads the header line of a part. About `expected` bytes are fetched, and as many as a line may have only if it does not
/// end in those: a line of another length tells where the part comes from.
pub(crate) async fn read_header(
    store: &Store,
    id: &ArchiveId,
    part: &Object,
    expected: usize,
    reference: Reference<'_>,
) -> Result<Header> {
    let limit = part.size.min(header::MAX_LINE as u64);
    let mut line = store.get_range(&part.name, 0..limit.min(expected as u64)).await?;
    if (line.len() as u64) < limit && !line.contains(&b'\n') {
        line = store.get_range(&part.name, 0..limit).await?;
    }
    Ok(Header::read(&line, id, part.n, reference)?)
}
