//! The header line that every part starts with: `BACKSTAY1 {json}` and a line feed (`spec/archive.md`, "Header line").
//!
//! The line is hashed as it stands, so nothing is ever re-encoded: [`Header`] keeps the exact bytes, and what is common
//! to all parts (`rest`, everything between `rnd` and the closing brace) is compared as bytes.

use crate::error::{Error, Result};
use crate::json::{Dialect, Fault, Json};
use crate::name::ArchiveId;
use crate::segment::{Aead, TAG};
use crate::signature::Signature;
use crate::text::{from_base64, from_hex, to_base64, to_hex};

/// The longest header line, with its line feed.
pub const MAX_LINE: usize = 65_536;
/// The most key slots in a header.
pub const MAX_KEYS: usize = 8;
/// The most parts of an archive.
pub const MAX_PARTS: u32 = 1_000_000;
/// What the names in `crit` may be.
const KNOWN: [&str; 1] = ["open"];

/// What the inner stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Zstandard frames with a seek table.
    Zstd,
    /// gzip members.
    Gzip,
}

impl Codec {
    /// The name in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Zstd => "zstd",
            Codec::Gzip => "gzip",
        }
    }
}

/// Whether an archive stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// It does.
    #[default]
    Full,
    /// It needs its ancestors, the last backup among them.
    Incremental,
    /// It needs the last full backup.
    Differential,
}

impl Kind {
    /// The name in the header and the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Full => "full",
            Kind::Incremental => "incremental",
            Kind::Differential => "differential",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Kind> {
        [Kind::Full, Kind::Incremental, Kind::Differential].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The fields that all parts of an archive share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Common {
    /// 32 random bytes.
    pub salt: [u8; 32],
    /// The key commitment.
    pub commit: [u8; 32],
    /// The suite.
    pub aead: Aead,
    /// The codec of the inner stream.
    pub codec: Codec,
    /// Plaintext bytes of a full segment.
    pub seg: u32,
    /// Segments of a full part.
    pub segs: u32,
    /// Key slots: complete age files.
    pub keys: Vec<Vec<u8>>,
    /// The kind.
    pub kind: Kind,
    /// The secret itself, in an open archive.
    pub open: Option<[u8; 32]>,
    /// Who wrote it.
    pub signature: Option<Signature>,
}

/// What leads to the secret of an archive or a set: the slots, and what shows that a secret is the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// 32 random bytes.
    pub salt: [u8; 32],
    /// The key commitment.
    pub commit: [u8; 32],
    /// Key slots: complete age files.
    pub keys: Vec<Vec<u8>>,
    /// The secret itself, where it is published.
    pub open: Option<[u8; 32]>,
    /// Who wrote it.
    pub signature: Option<Signature>,
}

impl Common {
    /// What leads to the archive's secret.
    pub fn lock(&self) -> Lock {
        let Common { salt, commit, keys, open, signature, .. } = self;
        Lock { salt: *salt, commit: *commit, keys: keys.clone(), open: *open, signature: *signature }
    }

    /// The fields as the bytes of `rest`, in the writer's order.
    pub fn encode(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|key| format!("\"{}\"", to_base64(key))).collect();
        let mut rest = format!(
            "\"salt\":\"{}\",\"commit\":\"{}\",\"aead\":\"{}\",\"codec\":\"{}\",\"seg\":{},\"segs\":{},\"keys\":[{}]",
            to_hex(&self.salt),
            to_hex(&self.commit),
            self.aead.as_str(),
            self.codec.as_str(),
            self.seg,
            self.segs,
            keys.join(",")
        );
        if self.kind != Kind::Full {
            rest += &format!(",\"kind\":\"{}\"", self.kind.as_str());
        }
        if let Some(secret) = &self.open {
            rest += &format!(",\"open\":\"{}\"", to_hex(secret));
        }
        if let Some(signature) = &self.signature {
            rest += &format!(",\"by\":\"{}\",\"sig\":\"{}\"", to_base64(&signature.by), to_base64(&signature.sig));
        }
        if self.open.is_some() {
            rest += ",\"crit\":[\"open\"]";
        }
        rest
    }

    /// Plaintext bytes of a full part.
    pub fn part_content(&self) -> u64 {
        u64::from(self.seg) * u64::from(self.segs)
    }

    /// Stored bytes of a full part whose header line has `len` bytes.
    pub fn part_size(&self, len: usize) -> u64 {
        len as u64 + u64::from(self.segs) * (u64::from(self.seg) + TAG as u64)
    }
}

/// The length that the header lines of an archive have: room for an index of seven digits.
///
/// # Errors
/// `usage.recipient` when the slots do not fit into a line.
pub fn line_len(id: &ArchiveId, rest: &str) -> Result<usize> {
    let len = prefix(id, 1_000_000, &[0; 16]).len() + rest.len() + 2;
    if len > MAX_LINE {
        return Err(Error::Recipient {
            given: format!("{} key slots", rest.matches("YWdlLWVuY3J5cHRpb24").count()),
            why: format!("together they make a header line of {len} bytes, the limit is {MAX_LINE}"),
        });
    }
    Ok(len)
}

/// The exact header line of one part, padded to `len` bytes.
pub fn line(id: &ArchiveId, part: u32, rnd: &[u8; 16], rest: &str, len: usize) -> Vec<u8> {
    let mut line = prefix(id, part, rnd);
    line += rest;
    line.push('}');
    let padding = (len - 1).saturating_sub(line.len());
    line.extend(std::iter::repeat_n(' ', padding));
    line.push('\n');
    line.into_bytes()
}

fn prefix(id: &ArchiveId, part: u32, rnd: &[u8; 16]) -> String {
    format!("BACKSTAY1 {{\"id\":\"{id}\",\"part\":{part},\"rnd\":\"{}\",", to_hex(rnd))
}

/// One part's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The archive that the line names.
    pub id: ArchiveId,
    /// The part's index.
    pub part: u32,
    /// The part's 16 random bytes.
    pub rnd: [u8; 16],
    /// What all parts share.
    pub common: Common,
    /// The same as it is written.
    pub rest: String,
    /// The line with its line feed.
    pub line: Vec<u8>,
}

/// What the header lines of an archive must look like, as far as it is known before a part is read.
#[derive(Debug, Clone, Copy)]
pub enum Reference<'a> {
    /// Nothing: this is the first part that is read, and there is no manifest.
    None,
    /// Another part's header.
    Header(&'a Header),
    /// The manifest's head, and the part's `rnd` in it.
    Head(&'a Head, &'a [u8; 16]),
}

impl Header {
    /// Reads and checks the line at the start of `bytes`, the object that is named part `part` of `id` (checks H1 to H8
    /// of the spec, in order). `bytes` may go on after the line; 64 KiB are always enough.
    ///
    /// # Errors
    /// `part.magic`, `format.unsupported`, `header.invalid`, `name.mismatch`, `part.misplaced` or `part.foreign`.
    pub fn read(bytes: &[u8], id: &ArchiveId, part: u32, reference: Reference<'_>) -> Result<Header> {
        let object = id.part(part);
        let invalid = |why: &str| Error::HeaderInvalid { object: object.clone(), why: why.to_owned() };
        let version = bytes.strip_prefix(b"BACKSTAY").unwrap_or_default();
        let digits = version.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || version.get(digits) != Some(&b' ') {
            return Err(Error::PartMagic { object });
        }
        if version[..digits] != *b"1" {
            let what = format!("format {}", String::from_utf8_lossy(&version[..digits.min(20)]));
            return Err(Error::FormatUnsupported { object, what });
        }
        let window = &bytes[..bytes.len().min(MAX_LINE)];
        let end = window
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| invalid("there is no line feed in its first 65536 bytes"))?;
        let text = std::str::from_utf8(&bytes[10..end])
            .ok()
            .filter(|text| text.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'\\'))
            .ok_or_else(|| invalid("a byte is not printable ASCII, or is a backslash"))?;
        let mut fields = Fields::default();
        let rest = fields.read(text.trim_end_matches(' ')).map_err(|fault| invalid(&fault.to_string()))?.to_owned();
        let shape = fields.shape().map_err(|why| invalid(&why))?;
        shape.known(&object)?;
        let (Some(named), Some(found), Some(rnd)) =
            (fields.id, fields.part.and_then(|part| u32::try_from(part).ok()), fields.rnd)
        else {
            return Err(invalid("`part` is out of range"));
        };
        if found >= MAX_PARTS {
            return Err(invalid("`part` is out of range"));
        }
        if named != id.as_str() {
            return Err(Error::NameMismatch { object, found: named });
        }
        if found != part {
            return Err(Error::PartMisplaced { object, found });
        }
        let line = &bytes[..=end];
        reference.check(line, &rnd, &rest, &shape, &object)?;
        let common = shape.common(&object)?;
        Ok(Header { id: id.clone(), part, rnd, common, rest, line: line.to_vec() })
    }
}

impl Reference<'_> {
    fn check(self, line: &[u8], rnd: &[u8; 16], rest: &str, shape: &Shape, object: &str) -> Result<()> {
        let (len, expected_rest, expected) = match self {
            Reference::None => return Ok(()),
            Reference::Header(header) => (header.line.len(), &header.rest, &header.common),
            Reference::Head(head, _) => (head.len, &head.rest, &head.common),
        };
        let other_rnd = matches!(self, Reference::Head(_, expected) if expected != rnd);
        let field = if expected_rest != rest {
            if shape.salt != expected.salt {
                "salt"
            } else if shape.commit != expected.commit {
                "commit"
            } else if shape.keys != expected.keys {
                "keys"
            } else {
                "header"
            }
        } else if len != line.len() {
            "header length"
        } else if other_rnd {
            "rnd"
        } else {
            return Ok(());
        };
        Err(Error::PartForeign { object: object.to_owned(), field })
    }
}

/// The header's fields as the manifest repeats them: enough to rebuild the header line of every part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The fields.
    pub common: Common,
    /// The exact text of the header lines between `rnd` and the closing brace.
    pub rest: String,
    /// The length of each header line.
    pub len: usize,
}

impl Head {
    /// The header of part `part`, rebuilt.
    pub fn header(&self, id: &ArchiveId, part: u32, rnd: &[u8; 16]) -> Header {
        let line = line(id, part, rnd, &self.rest, self.len);
        Header { id: id.clone(), part, rnd: *rnd, common: self.common.clone(), rest: self.rest.clone(), line }
    }
}

/// Reads a manifest's `head`, which is the header's `rest` and then `len`. `last` is the index of the last part.
///
/// # Errors
/// `manifest.invalid` or `format.unsupported`, naming `object`.
pub(crate) fn parse_head(json: &str, id: &ArchiveId, last: u32, object: &str) -> Result<Head> {
    let invalid = |why: String| Error::ManifestInvalid { object: object.to_owned(), why: format!("head: {why}") };
    let mut fields = Fields::default();
    let mut len = None;
    let mut rest_end = 0;
    let json = &without_blanks(json);
    if !json.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return Err(invalid("a byte is not printable ASCII".to_owned()));
    }
    Json::new(json, Dialect::Header)
        .object(&mut |json, key| {
            if len.is_some() {
                return json.fault("`len` is the last field");
            }
            if key == "len" {
                len = Some(json.integer()?);
                return Ok(());
            }
            if matches!(key, "id" | "part" | "rnd") {
                return json.fault("`id`, `part` and `rnd` are not fields of the head");
            }
            fields.field(json, key)?;
            rest_end = json.position();
            Ok(())
        })
        .map_err(|fault| invalid(fault.to_string()))?;
    let len = len.and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= MAX_LINE);
    let Some((len, rest)) = len.zip(json.get(1..rest_end)) else {
        return Err(invalid("`len` is missing or out of range".to_owned()));
    };
    let shape = fields.shape().map_err(invalid)?;
    shape.known(object)?;
    if prefix(id, last, &[0; 16]).len() + rest.len() + 2 > len {
        return Err(invalid("`len` is shorter than the header line of the last part".to_owned()));
    }
    Ok(Head { common: shape.common(object)?, rest: rest.to_owned(), len })
}

/// A JSON text without the blanks outside its strings; in a text with escapes it may go wrong, and those are refused.
fn without_blanks(json: &str) -> String {
    let mut in_string = false;
    json.chars()
        .filter(|character| {
            in_string ^= *character == '"';
            in_string || !matches!(character, ' ' | '\n' | '\r' | '\t')
        })
        .collect()
}

/// The fields while they are read.
#[derive(Default)]
struct Fields {
    id: Option<String>,
    part: Option<u64>,
    rnd: Option<[u8; 16]>,
    salt: Option<[u8; 32]>,
    commit: Option<[u8; 32]>,
    aead: Option<String>,
    codec: Option<String>,
    seg: Option<u64>,
    segs: Option<u64>,
    keys: Option<Vec<Vec<u8>>>,
    kind: Option<String>,
    open: Option<[u8; 32]>,
    by: Option<[u8; 32]>,
    sig: Option<[u8; 64]>,
    crit: Vec<String>,
}

impl Fields {
    /// Reads the whole object and gives the text between the third field and the closing brace.
    fn read<'a>(&mut self, text: &'a str) -> std::result::Result<&'a str, Fault> {
        let mut json = Json::new(text, Dialect::Header);
        let mut position = 0;
        let mut rest_start = 0;
        json.object(&mut |json, key| {
            let expected = ["id", "part", "rnd"].get(position);
            if expected.is_some_and(|expected| *expected != key) {
                return json.fault("the first three fields are `id`, `part` and `rnd`");
            }
            match position {
                0 => self.id = Some(json.string()?.into_owned()),
                1 => self.part = Some(json.integer()?),
                2 => {
                    self.rnd = Some(hex(json)?);
                    rest_start = json.position() + 1;
                }
                _ => self.field(json, key)?,
            }
            position += 1;
            Ok(())
        })?;
        json.end()?;
        match text.get(rest_start..text.len() - 1) {
            Some(rest) if position > 3 => Ok(rest),
            _ => json.fault("fields are missing"),
        }
    }

    fn field(&mut self, json: &mut Json<'_>, key: &str) -> std::result::Result<(), Fault> {
        match key {
            "salt" => self.salt = Some(hex(json)?),
            "commit" => self.commit = Some(hex(json)?),
            "aead" => self.aead = Some(json.string()?.into_owned()),
            "codec" => self.codec = Some(json.string()?.into_owned()),
            "seg" => self.seg = Some(json.integer()?),
            "segs" => self.segs = Some(json.integer()?),
            "keys" => {
                let mut keys = Vec::new();
                json.array(&mut |json| {
                    keys.push(base64(json)?);
                    if keys.len() > MAX_KEYS { json.fault("there are more than eight `keys`") } else { Ok(()) }
                })?;
                self.keys = Some(keys);
            }
            "kind" => self.kind = Some(json.string()?.into_owned()),
            "open" => self.open = Some(hex(json)?),
            "by" => self.by = Some(array(json)?),
            "sig" => self.sig = Some(array(json)?),
            "crit" => json.array(&mut |json| {
                self.crit.push(json.string()?.into_owned());
                Ok(())
            })?,
            // The manifest's `head` ends in a field of that name.
            "len" => return json.fault("`len` is not a field of the header"),
            _ => json.skip()?,
        }
        Ok(())
    }

    /// Presence, types and limits of the common fields; `aead`, `codec` and `crit` are not judged yet.
    fn shape(&mut self) -> std::result::Result<Shape, String> {
        let missing = |field: &str| format!("`{field}` is missing");
        let range = |value: Option<u64>, field: &str, low: u64, high: u64| {
            let value = value.ok_or_else(|| missing(field))?;
            match u32::try_from(value) {
                Ok(narrow) if (low..=high).contains(&value) => Ok(narrow),
                _ => Err(format!("`{field}` is {value}, it must be {low} to {high}")),
            }
        };
        let seg = range(self.seg, "seg", 1024, 1 << 20)?;
        let segs = range(self.segs, "segs", 1, 1 << 22)?;
        if u64::from(seg) * u64::from(segs) > 1 << 32 {
            return Err("`seg` times `segs` is above 2^32".to_owned());
        }
        let keys = self.keys.take().ok_or_else(|| missing("keys"))?;
        let signature = match (self.by, self.sig) {
            (Some(by), Some(sig)) => Some(Signature { by, sig }),
            (None, None) => None,
            _ => return Err("`by` and `sig` stand together".to_owned()),
        };
        let crit = std::mem::take(&mut self.crit);
        let marked_open = crit.iter().any(|name| name == "open");
        if marked_open != self.open.is_some() || (self.open.is_some() && (!keys.is_empty() || signature.is_some())) {
            return Err("an open archive has `open` in `crit`, no keys and no signature".to_owned());
        }
        let kind = match self.kind.as_deref() {
            None => Kind::Full,
            Some(name) => Kind::parse(name).ok_or_else(|| "`kind` is not a kind".to_owned())?,
        };
        Ok(Shape {
            salt: self.salt.ok_or_else(|| missing("salt"))?,
            commit: self.commit.ok_or_else(|| missing("commit"))?,
            aead: self.aead.take().ok_or_else(|| missing("aead"))?,
            codec: self.codec.take().ok_or_else(|| missing("codec"))?,
            seg,
            segs,
            keys,
            kind,
            open: self.open,
            signature,
            crit,
        })
    }
}

/// The common fields, of which the names of suite, codec and features are not yet judged.
struct Shape {
    salt: [u8; 32],
    commit: [u8; 32],
    aead: String,
    codec: String,
    seg: u32,
    segs: u32,
    keys: Vec<Vec<u8>>,
    kind: Kind,
    open: Option<[u8; 32]>,
    signature: Option<Signature>,
    crit: Vec<String>,
}

impl Shape {
    fn known(&self, object: &str) -> Result<()> {
        match self.crit.iter().find(|name| !KNOWN.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Error::FormatUnsupported { object: object.to_owned(), what: format!("`{name}`") }),
        }
    }

    fn common(self, object: &str) -> Result<Common> {
        let unsupported = |what: String| Error::FormatUnsupported { object: object.to_owned(), what };
        let Shape { salt, commit, seg, segs, keys, kind, open, signature, .. } = self;
        let aead = Aead::parse(&self.aead).ok_or_else(|| unsupported(format!("the suite `{}`", self.aead)))?;
        let codec = [Codec::Zstd, Codec::Gzip]
            .into_iter()
            .find(|known| known.as_str() == self.codec)
            .ok_or_else(|| unsupported(format!("the codec `{}`", self.codec)))?;
        Ok(Common { salt, commit, aead, codec, seg, segs, keys, kind, open, signature })
    }
}

pub(crate) fn hex<const N: usize>(json: &mut Json<'_>) -> std::result::Result<[u8; N], Fault> {
    let text = json.string()?;
    match from_hex(&text) {
        Some(bytes) => Ok(bytes),
        None => json.fault("lower-case hexadecimal digits of a fixed length are expected"),
    }
}

pub(crate) fn base64(json: &mut Json<'_>) -> std::result::Result<Vec<u8>, Fault> {
    let text = json.string()?;
    match from_base64(&text) {
        Some(bytes) => Ok(bytes),
        None => json.fault("canonical base64 is expected"),
    }
}

pub(crate) fn array<const N: usize>(json: &mut Json<'_>) -> std::result::Result<[u8; N], Fault> {
    match base64(json)?.try_into() {
        Ok(bytes) => Ok(bytes),
        Err(_) => json.fault("base64 of another length is expected"),
    }
}
