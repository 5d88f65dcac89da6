//! The manifest `<id>.json`: creating it commits the archive (`spec/archive.md`, "Manifest").
//!
//! Written once, sealed over its exact bytes, and read as a stream of members, so that a million parts need 56 bytes
//! each and no tree. Times come in as RFC 3339 text: this crate has no clock.

use std::fmt::Write as _;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::error::{Error, Result};
use crate::header::{self, Head, Kind, MAX_PARTS};
use crate::json::{Dialect, Json};
use crate::name::ArchiveId;
use crate::openssl::{self, Digest, Kdf, Salt};
use crate::schedule::{Keys, sha256};
use crate::seal::{self, Seal, Sealed};
use crate::signature::{Signer, SigningKey};
use crate::text::{to_base64, to_hex};

/// The largest manifest that is read.
pub const MAX_MANIFEST: u64 = 128 << 20;
/// The most parts that a writer makes. A reader takes [`MAX_PARTS`], but no manifest of [`MAX_MANIFEST`] bytes lists so many as they are
/// written here: this many entries of the longest form leave 15 MiB for the rest of the document, and that is known before a part is made.
pub const MOST_PARTS: u32 = 750_000;
/// The longest entry: `,`, a line feed, two blanks, an index of six digits, a size of sixteen, and two strings of hex.
const LONGEST_ENTRY: u64 = 40 + 41 + 76;
/// What a manifest may have beside the entries of its parts, however many these become.
pub const MAX_BESIDE_PARTS: u64 = MAX_MANIFEST - MOST_PARTS as u64 * LONGEST_ENTRY;
const _: () = assert!(MOST_PARTS <= MAX_PARTS && MAX_BESIDE_PARTS >= 15 << 20);
/// How every manifest begins.
const BEGINNING: &str = "{\"backstay\":";
/// The most ancestors of an archive.
pub const MAX_NEEDS: usize = 32;

/// One stored part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEntry {
    /// Stored bytes.
    pub size: u64,
    /// The random bytes of its header; none in the openssl profile.
    pub rnd: Option<[u8; 16]>,
    /// SHA-256 of the object.
    pub sha256: [u8; 32],
}

/// An archive that another one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ancestor {
    /// Its id.
    pub id: ArchiveId,
    /// Its root.
    pub root: [u8; 32],
}

/// The largest document of another backup manager that a conversion keeps.
pub const MAX_DOCUMENT: u64 = 1 << 20;

/// What an archive was made of, if it was not made of its source but of an archive of the same id that was written anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// Its profile.
    pub profile: String,
    /// SHA-256 over the digests of its objects in order.
    pub root: [u8; 32],
    /// How many objects these were.
    pub objects: u64,
    /// Their bytes.
    pub stored: u64,
    /// When it was done (RFC 3339, UTC).
    pub at: String,
}

/// What the parts are, by profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// This format.
    Native(Box<Head>),
    /// The stream of `openssl enc`, cut.
    Openssl(OpensslHead),
}

/// How an archive of the openssl profile was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpensslHead {
    /// How the key follows from the password.
    pub kdf: Kdf,
    /// The eight bytes after `Salted__`.
    pub salt: Salt,
    /// Whether the plaintext is gzip; else it is taken as it is.
    pub gzip: bool,
    /// Whether the archive is one object named by the id alone.
    pub single: bool,
}

/// A whole manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The archive.
    pub id: ArchiveId,
    /// What its parts are.
    pub profile: Profile,
    /// Whether it stands alone.
    pub kind: Kind,
    /// When it was begun (RFC 3339, UTC).
    pub created: String,
    /// When its last part was durable.
    pub finished: Option<String>,
    /// What kind of source: `stream`, `command`, …
    pub source: Option<String>,
    /// The source's name, unless it is hidden.
    pub name: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// The archive that this one was made of.
    pub converted: Option<Converted>,
    /// Bytes of content, unless they are hidden.
    pub content: Option<u64>,
    /// The index of the first part: 0, or 1 in an old openssl archive.
    pub first: u32,
    /// The parts in order.
    pub parts: Vec<PartEntry>,
    /// All ancestors.
    pub needs: Vec<Ancestor>,
    /// Sealed details, base64 in the file.
    pub private: Option<Vec<u8>>,
    /// Whether its only slots were keyboxes: without one, nobody but a holder of the secret itself reads it.
    pub detached: bool,
    /// Whether the writer could not compare what an ambiguous answer left behind.
    pub unconfirmed: bool,
}

/// A manifest with the seal that it was read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedManifest {
    /// What it says.
    pub manifest: Manifest,
    /// Its seal.
    pub seal: Seal,
    body: Vec<u8>,
    object: String,
}

/// What stands under a manifest's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A manifest of ours.
    Manifest(Box<SealedManifest>),
    /// JSON (or anything) of an older backup manager: kept as it is, its presence commits the archive.
    Foreign(Vec<u8>),
}

impl Manifest {
    /// Stored bytes of all parts. Sizes that add up to more than a number holds give the largest one, which no manifest states.
    pub fn stored(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.size))
    }

    /// SHA-256 over all part digests in order: the archive's public fingerprint.
    pub fn root(&self) -> [u8; 32] {
        root(self.parts.iter().map(|part| &part.sha256))
    }

    /// The manifest's bytes, sealed with `key`, and the SHA-256 in the seal.
    ///
    /// # Errors
    /// `manifest.limit` when no reader would take it: it is longer than [`MAX_MANIFEST`], or lists more than [`MAX_PARTS`].
    pub fn encode(&self, key: &[u8; 32], signer: Option<&SigningKey>) -> Result<(Vec<u8>, [u8; 32])> {
        if self.parts.len() > MAX_PARTS as usize {
            return Err(Error::TooManyParts { limit: MAX_PARTS });
        }
        let sealed = self.encode_anyway(key, signer);
        self.fits(sealed.0.len() as u64, MAX_MANIFEST)?;
        Ok(sealed)
    }

    /// Demands, before there is any part, that there will be room for as many as a writer makes.
    ///
    /// # Errors
    /// `manifest.limit` when what is stated beside the parts takes too much.
    pub fn leaves_room_for_parts(&self) -> Result<()> {
        // With the longest signature of a seal.
        let length = self.encode_anyway(&[0; 32], None).0.len() as u64 + 256;
        self.fits(length, MAX_BESIDE_PARTS)
    }

    fn fits(&self, length: u64, limit: u64) -> Result<()> {
        match length <= limit {
            true => Ok(()),
            false => Err(Error::ManifestTooLong { object: self.id.manifest(), length, limit }),
        }
    }

    fn encode_anyway(&self, key: &[u8; 32], signer: Option<&SigningKey>) -> (Vec<u8>, [u8; 32]) {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let mut body = String::with_capacity(1024 + self.parts.len() * 160);
        let mut member =
            |text: std::fmt::Arguments<'_>| body.write_fmt(text).expect("writing to a string does not fail");
        member(format_args!("{{\"backstay\":1,\n \"id\":\"{}\",\n", self.id));
        match &self.profile {
            Profile::Native(_) => member(format_args!(" \"profile\":\"native\",\n")),
            Profile::Openssl(_) => member(format_args!(" \"profile\":\"openssl\",\n")),
        }
        member(format_args!(" \"kind\":\"{}\",\n", self.kind.as_str()));
        member(format_args!(" \"created\":{},", quote(&self.created)));
        if let Some(finished) = &self.finished {
            member(format_args!("\"finished\":{},", quote(finished)));
        }
        member(format_args!("\n"));
        match &self.profile {
            Profile::Native(head) => member(format_args!(" \"head\":{{{},\"len\":{}}},\n", head.rest, head.len)),
            Profile::Openssl(head) => member(format_args!(
                " \"openssl\":{{\"md\":\"{}\",\"pbkdf2\":{},\"salt\":\"{}\",\"payload\":\"{}\"{}}},\n",
                head.kdf.digest(),
                head.kdf.pbkdf2(),
                to_hex(&head.salt.0),
                if head.gzip { "gzip" } else { "raw" },
                if head.single { ",\"single\":true" } else { "" }
            )),
        }
        if let Some(source) = &self.source {
            member(format_args!(" \"source\":{{\"type\":{}}},\n", quote(source)));
        }
        if let Some(name) = &self.name {
            member(format_args!(" \"name\":{},\n", quote(name)));
        }
        let tags: Vec<String> = self.tags.iter().map(|tag| quote(tag)).collect();
        member(format_args!(" \"tags\":[{}],\n", tags.join(",")));
        if let Some(Converted { profile, root, objects, stored, at }) = &self.converted {
            let (profile, root, at) = (quote(profile), to_hex(root), quote(at));
            member(format_args!(
                " \"converted\":{{\"profile\":{profile},\"root\":\"{root}\",\"objects\":{objects},\"stored\":{stored},\"at\":{at}}},\n"
            ));
        }
        member(format_args!(" \"stored\":{},", self.stored()));
        if let Some(content) = self.content {
            member(format_args!("\"content\":{content},"));
        }
        let needs: Vec<String> = self
            .needs
            .iter()
            .map(|need| format!("{{\"id\":\"{}\",\"root\":\"{}\"}}", need.id, to_hex(&need.root)))
            .collect();
        member(format_args!("\n \"needs\":[{}],\n", needs.join(",")));
        member(format_args!(" \"parts\":["));
        for (n, part) in (self.first..).zip(&self.parts) {
            let comma = if n == self.first { "" } else { "," };
            member(format_args!("{comma}\n  {{\"n\":{n},\"size\":{},", part.size));
            if let Some(rnd) = &part.rnd {
                member(format_args!("\"rnd\":\"{}\",", to_hex(rnd)));
            }
            member(format_args!("\"sha256\":\"{}\"}}", to_hex(&part.sha256)));
        }
        member(format_args!("],\n \"root\":\"{}\",\n", to_hex(&self.root())));
        if let Some(private) = &self.private {
            member(format_args!(" \"private\":\"{}\",\n", to_base64(private)));
        }
        if self.detached {
            member(format_args!(" \"detached\":true,\n"));
        }
        if self.unconfirmed {
            member(format_args!(" \"unconfirmed\":true,\n"));
        }
        member(format_args!(" \"crit\":[],\n"));
        seal::seal(body.into_bytes(), Some(key), signer, &self.id, Sealed::Archive)
    }

    /// Reads the object `<id>.json`.
    ///
    /// # Errors
    /// In the order of the checks: `manifest.invalid` (size, text, seal line), `manifest.seal`, `manifest.invalid`
    /// (JSON, fields), `format.unsupported`, `name.mismatch`; `archive.uncommitted` for a marker that gives the id up.
    pub fn parse(bytes: Vec<u8>, id: &ArchiveId) -> Result<Document> {
        let object = id.manifest();
        let invalid = |why: &str| Error::ManifestInvalid { object: object.clone(), why: why.to_owned() };
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(invalid("it is longer than 128 MiB"));
        }
        if is_foreign(&bytes) {
            return Ok(Document::Foreign(bytes));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(invalid(if bytes.is_empty() { "it is empty" } else { "it is nothing but zero bytes" }));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid("it is not UTF-8"))?;
        if let Some(given_up) = aborted_id(text) {
            if given_up != id.as_str() {
                return Err(Error::NameMismatch { object, found: given_up.to_owned() });
            }
            return Err(uncommitted(id));
        }
        if !text.starts_with(BEGINNING) {
            return Err(invalid("it does not begin as a manifest does"));
        }
        let (body, seal) = seal::split(&bytes, &object)?;
        let text = text.get(..body.len()).ok_or_else(|| invalid("its seal is not a line of its own"))?;
        let manifest = Fields::read(text, &object, id)?;
        // What was sealed stays where it is: a copy would be as long as the longest manifest.
        let length = body.len();
        let mut body = bytes;
        body.truncate(length);
        Ok(Document::Manifest(Box::new(SealedManifest { manifest, seal, body, object })))
    }
}

impl SealedManifest {
    /// Demands that the holder of `key` sealed it; from here on it is trusted.
    ///
    /// # Errors
    /// `manifest.seal`.
    pub fn check(&self, key: &[u8; 32]) -> Result<()> {
        self.seal.check(&self.body, key, &self.object)
    }

    /// Demands that `signer` signed the seal.
    ///
    /// # Errors
    /// `key.signer`.
    pub fn check_signer(&self, signer: &Signer) -> Result<()> {
        self.seal.check_signer(signer, &self.manifest.id)
    }
}

/// The root of parts with these digests.
pub fn root<'a>(digests: impl Iterator<Item = &'a [u8; 32]>) -> [u8; 32] {
    let all: Vec<u8> = digests.flatten().copied().collect();
    sha256(&all)
}

/// Encrypts the manifest's private details under a fresh random nonce.
pub fn seal_private(keys: &Keys, nonce: [u8; 12], details: &str) -> Vec<u8> {
    let mut sealed = details.as_bytes().to_vec();
    private_key(keys)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
        .expect("the details are far below the suite's length limit");
    [&nonce[..], &sealed].concat()
}

/// Opens the manifest's private details, once its seal is known to be right.
///
/// # Errors
/// `manifest.invalid` when they do not open.
pub fn open_private(keys: &Keys, private: &[u8], object: &str) -> Result<String> {
    let failed = || Error::ManifestInvalid {
        object: object.to_owned(),
        why: "its private details are not authentic".to_owned(),
    };
    let (nonce, sealed) = private.split_first_chunk::<12>().ok_or_else(failed)?;
    let mut plain = sealed.to_vec();
    let opened = private_key(keys)
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut plain)
        .map_err(|_| failed())?;
    String::from_utf8(opened.to_vec()).map_err(|_| failed())
}

fn private_key(keys: &Keys) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*keys.private()).expect("AES-256-GCM takes 32 bytes"))
}

/// The object that gives an id up for ever.
pub fn aborted_marker(id: &ArchiveId, time: &str) -> Vec<u8> {
    format!("{{\"backstay\":1,\"id\":\"{id}\",\"aborted\":\"{time}\"}}\n").into_bytes()
}

/// Whether these bytes are the marker that gives this id up.
pub fn is_aborted_marker(bytes: &[u8], id: &ArchiveId) -> bool {
    std::str::from_utf8(bytes).ok().and_then(aborted_id) == Some(id.as_str())
}

/// The id that an abort marker gives up. It is recognised by its exact form alone.
fn aborted_id(text: &str) -> Option<&str> {
    let (id, time) =
        text.strip_prefix("{\"backstay\":1,\"id\":\"")?.strip_suffix("\"}\n")?.split_once("\",\"aborted\":\"")?;
    let plain = |text: &str| !text.contains(['"', '\\', '\n']);
    (plain(id) && plain(time)).then_some(id)
}

fn uncommitted(id: &ArchiveId) -> Error {
    Error::ArchiveUncommitted { id: id.to_string(), why: "its upload was given up, and what it left is being removed" }
}

/// Whether a document is another backup manager's (§8.5). What is left of a manifest that was changed, cut or zeroed is not.
fn is_foreign(bytes: &[u8]) -> bool {
    let left = BEGINNING.as_bytes().starts_with(bytes) || bytes.iter().all(|byte| *byte == 0);
    !left && !mentions(bytes, b"\"backstay\"") && !mentions(bytes, b"\"seal\":{")
}

fn mentions(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The members while they are read.
#[derive(Default)]
struct Fields {
    backstay: Option<u64>,
    id: Option<String>,
    profile: Option<String>,
    kind: Option<String>,
    created: Option<String>,
    finished: Option<String>,
    head: Option<String>,
    openssl: Option<OpensslHead>,
    source: Option<String>,
    name: Option<String>,
    tags: Vec<String>,
    converted: Option<Converted>,
    stored: Option<u64>,
    content: Option<u64>,
    first: Option<u64>,
    parts: Option<Vec<PartEntry>>,
    root: Option<[u8; 32]>,
    needs: Option<Vec<Ancestor>>,
    private: Option<Vec<u8>>,
    detached: bool,
    unconfirmed: bool,
    aborted: bool,
    too_many_needs: bool,
    kdf_limit: Option<openssl::Error>,
    crit: Option<String>,
}

impl Fields {
    fn read(body: &str, object: &str, id: &ArchiveId) -> Result<Manifest> {
        let invalid = |why: String| Error::ManifestInvalid { object: object.to_owned(), why };
        // The seal's line follows the last comma: the object is closed there for the reader.
        let members = body
            .trim_end_matches('\n')
            .strip_suffix(',')
            .ok_or_else(|| invalid("no comma stands before the seal".to_owned()))?;
        let text = format!("{members}}}");
        let mut fields = Fields::default();
        let mut json = Json::new(&text, Dialect::Manifest);
        json.object(&mut |json, key| fields.member(json, key))
            .and_then(|()| json.end())
            .map_err(|fault| invalid(fault.to_string()))?;
        fields.finish(object, id)
    }

    fn member(&mut self, json: &mut Json<'_>, key: &str) -> crate::json::Result<()> {
        match key {
            "backstay" => self.backstay = Some(json.integer()?),
            "id" => self.id = Some(json.string()?.into_owned()),
            "profile" => self.profile = Some(json.string()?.into_owned()),
            "kind" => self.kind = Some(json.string()?.into_owned()),
            "created" => self.created = Some(json.string()?.into_owned()),
            "finished" => self.finished = Some(json.string()?.into_owned()),
            "head" => self.head = Some(json.raw()?.to_owned()),
            "openssl" => match openssl_head(json)? {
                Ok(head) => self.openssl = Some(head),
                Err(limit) => self.kdf_limit = Some(limit),
            },
            "source" => json.object(&mut |json, key| {
                if key == "type" {
                    self.source = Some(json.string()?.into_owned());
                    return Ok(());
                }
                json.skip()
            })?,
            "name" => self.name = Some(json.string()?.into_owned()),
            "tags" => json.array(&mut |json| {
                self.tags.push(json.string()?.into_owned());
                Ok(())
            })?,
            "converted" => self.converted = Some(converted(json)?),
            "stored" => self.stored = Some(json.integer()?),
            "content" => self.content = Some(json.integer()?),
            "parts" if self.needs.is_none() => return json.fault("`needs` stands before `parts`"),
            "parts" => self.parts(json)?,
            "root" => self.root = Some(header::hex(json)?),
            "needs" => {
                let mut needs = Vec::new();
                json.array(&mut |json| {
                    let need = ancestor(json)?;
                    self.too_many_needs |= needs.len() == MAX_NEEDS;
                    if !self.too_many_needs {
                        needs.push(need);
                    }
                    Ok(())
                })?;
                self.needs = Some(needs);
            }
            "private" => self.private = Some(header::base64(json)?),
            "detached" if !json.boolean()? => return json.fault("`detached` is true or absent"),
            "detached" => self.detached = true,
            "unconfirmed" if !json.boolean()? => return json.fault("`unconfirmed` is true or absent"),
            "unconfirmed" => self.unconfirmed = true,
            "crit" => json.array(&mut |json| {
                // One is enough to refuse it, and a hostile manifest may have millions.
                let name = json.string()?;
                self.crit.get_or_insert_with(|| name.into_owned());
                Ok(())
            })?,
            "seal" => return json.fault("this member does not stand here"),
            "aborted" => {
                json.skip()?;
                self.aborted = true;
            }
            _ => json.skip()?,
        }
        Ok(())
    }

    fn parts(&mut self, json: &mut Json<'_>) -> crate::json::Result<()> {
        let mut parts: Vec<PartEntry> = Vec::new();
        json.array(&mut |json| {
            let (mut n, mut size, mut rnd, mut digest) = (None, None, None, None);
            json.object(&mut |json, key| {
                match key {
                    "n" => n = Some(json.integer()?),
                    "size" => size = Some(json.integer()?),
                    "rnd" => rnd = Some(header::hex(json)?),
                    // Kept by some stores in place of a SHA-256; not used here, but what stands there has a form.
                    "crc32c" => drop(header::hex::<4>(json)?),
                    "md5" => drop(header::hex::<16>(json)?),
                    "sha256" => digest = Some(header::hex(json)?),
                    _ => json.skip()?,
                }
                Ok(())
            })?;
            let (Some(n), Some(size), Some(sha256)) = (n, size, digest) else {
                return json.fault("a part lacks `n`, `size` or `sha256`");
            };
            let first = *self.first.get_or_insert(n);
            if first > 1 || n != first + parts.len() as u64 || size == 0 {
                return json.fault("the parts are not numbered without a gap, or one is empty");
            }
            if parts.len() as u64 == u64::from(MAX_PARTS) {
                return json.fault("there are more than a million parts");
            }
            parts.push(PartEntry { size, rnd, sha256 });
            Ok(())
        })?;
        self.parts = Some(parts);
        Ok(())
    }

    fn finish(self, object: &str, id: &ArchiveId) -> Result<Manifest> {
        let invalid = |why: &str| Error::ManifestInvalid { object: object.to_owned(), why: why.to_owned() };
        let missing = |field: &str| invalid(&format!("`{field}` is missing"));
        let unsupported = |what: String| Error::FormatUnsupported { object: object.to_owned(), what };
        match self.backstay {
            Some(1) => {}
            Some(version) => return Err(unsupported(format!("manifest version {version}"))),
            None => return Err(missing("backstay")),
        }
        if self.aborted {
            return Err(uncommitted(id));
        }
        if let Some(name) = &self.crit {
            return Err(unsupported(format!("`{name}`")));
        }
        match self.id {
            None => return Err(missing("id")),
            Some(named) if named != id.as_str() => {
                return Err(Error::NameMismatch { object: object.to_owned(), found: named });
            }
            Some(_) => {}
        }
        let openssl = match self.profile.as_deref() {
            Some("native") => false,
            Some("openssl") => true,
            Some(other) => return Err(unsupported(format!("the profile `{other}`"))),
            None => return Err(missing("profile")),
        };
        let kind = self.kind.ok_or_else(|| missing("kind"))?;
        let kind = Kind::parse(&kind).ok_or_else(|| invalid("`kind` is not a kind"))?;
        let parts = self.parts.filter(|parts| !parts.is_empty()).ok_or_else(|| missing("parts"))?;
        let last = u32::try_from(parts.len() - 1).unwrap_or(u32::MAX);
        let profile = if openssl {
            if let Some(limit) = self.kdf_limit {
                return Err(limit.into());
            }
            let head = self.openssl.ok_or_else(|| missing("openssl"))?;
            if head.single && (parts.len() > 1 || self.first != Some(0)) || kind != Kind::Full {
                return Err(invalid("there are several parts in the single form, or `kind` is not `full`"));
            }
            Profile::Openssl(head)
        } else {
            if parts.iter().any(|part| part.rnd.is_none()) || self.first != Some(0) {
                return Err(invalid("a part lacks `rnd`, or the first is not part 0"));
            }
            let json = self.head.ok_or_else(|| missing("head"))?;
            let head = header::parse_head(&json, id, last, object)?;
            if head.common.kind != kind {
                return Err(invalid("`kind` differs from the head's"));
            }
            Profile::Native(Box::new(head))
        };
        let needs = self.needs.ok_or_else(|| missing("needs"))?;
        let needed = match kind {
            Kind::Full => needs.is_empty(),
            Kind::Incremental => !needs.is_empty(),
            Kind::Differential => needs.len() == 1,
        };
        if !needed {
            return Err(invalid("`needs` does not fit `kind`"));
        }
        let manifest = Manifest {
            id: id.clone(),
            profile,
            kind,
            created: self.created.ok_or_else(|| missing("created"))?,
            finished: self.finished,
            source: self.source,
            name: self.name,
            tags: self.tags,
            converted: self.converted,
            content: self.content,
            first: u32::from(self.first == Some(1)),
            parts,
            needs,
            private: self.private,
            detached: self.detached,
            unconfirmed: self.unconfirmed,
        };
        if self.root != Some(manifest.root()) {
            return Err(invalid("`root` is not the digest of the parts' digests"));
        }
        if self.stored != Some(manifest.stored()) {
            return Err(invalid("`stored` is not the sum of the parts' sizes"));
        }
        let chain = |why| Err(Error::ChainLimit { id: id.to_string(), why });
        if self.too_many_needs {
            return chain("needs more than 32 ancestors");
        }
        if manifest
            .needs
            .iter()
            .enumerate()
            .any(|(i, need)| need.id == *id || manifest.needs[..i].iter().any(|other| other.id == need.id))
        {
            return chain("needs itself, or an ancestor twice");
        }
        Ok(manifest)
    }
}

fn openssl_head(json: &mut Json<'_>) -> crate::json::Result<std::result::Result<OpensslHead, openssl::Error>> {
    let (mut md, mut pbkdf2, mut salt, mut payload, mut single) = (None, None, None, None, false);
    json.object(&mut |json, key| {
        match key {
            "md" => md = Some(json.string()?.into_owned()),
            "pbkdf2" => pbkdf2 = Some(u32::try_from(json.integer()?).unwrap_or(u32::MAX)),
            "salt" => salt = Some(header::hex(json)?),
            "payload" => payload = Some(json.string()?.into_owned()),
            "single" if !json.boolean()? => return json.fault("`single` is true or absent"),
            "single" => single = true,
            _ => json.skip()?,
        }
        Ok(())
    })?;
    let gzip = match payload.as_deref() {
        Some("gzip") => true,
        Some("raw") => false,
        _ => return json.fault("`payload` is gzip or raw"),
    };
    let (Some(md), Some(iterations), Some(salt)) = (md.and_then(|md| md.parse::<Digest>().ok()), pbkdf2, salt) else {
        return json.fault("`openssl` lacks a valid `md`, `pbkdf2` or `salt`");
    };
    Ok(Kdf::new(md, iterations).map(|kdf| OpensslHead { kdf, salt: Salt(salt), gzip, single }))
}

fn converted(json: &mut Json<'_>) -> crate::json::Result<Converted> {
    let (mut profile, mut root, mut objects, mut stored, mut at) = (None, None, None, None, None);
    json.object(&mut |json, key| {
        match key {
            "profile" => profile = Some(json.string()?.into_owned()),
            "root" => root = Some(header::hex(json)?),
            "objects" => objects = Some(json.integer()?),
            "stored" => stored = Some(json.integer()?),
            "at" => at = Some(json.string()?.into_owned()),
            _ => json.skip()?,
        }
        Ok(())
    })?;
    match (profile, root, objects, stored, at) {
        (Some(profile), Some(root), Some(objects), Some(stored), Some(at)) => {
            Ok(Converted { profile, root, objects, stored, at })
        }
        _ => json.fault("`converted` lacks `profile`, `root`, `objects`, `stored` or `at`"),
    }
}

fn ancestor(json: &mut Json<'_>) -> crate::json::Result<Ancestor> {
    let (mut id, mut root) = (None, None);
    json.object(&mut |json, key| {
        match key {
            "id" => id = json.string()?.parse::<ArchiveId>().ok(),
            "root" => root = Some(header::hex(json)?),
            _ => json.skip()?,
        }
        Ok(())
    })?;
    match id.zip(root) {
        Some((id, root)) => Ok(Ancestor { id, root }),
        None => json.fault("an ancestor lacks a valid `id` or `root`"),
    }
}
