//! A backup set `<id>.set.json`: archives that belong together, as one sealed document (`spec/archive.md`, "Backup sets").
//!
//! Creating it commits the set, after every member is committed. It has a secret and key slots of its own, so that who can
//! read the members can check it, and it names each member's root, so that no other archive can stand in for one.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::header::{self, Lock, MAX_KEYS};
use crate::json::{Dialect, Json};
use crate::name::ArchiveId;
use crate::seal::{self, Seal, Sealed, Unsealed};
use crate::signature::{Signature, Signer, SigningKey};
use crate::text::{to_base64, to_hex};

/// The largest set that is read.
pub const MAX_SET: u64 = 32 << 20;
/// The most members of a set.
pub const MAX_MEMBERS: usize = 65_536;
/// The most bytes of a member's name.
pub const MAX_NAME: usize = 1024;

/// One archive of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is called within the set.
    pub name: String,
    /// The archive.
    pub id: ArchiveId,
    /// Its root.
    pub root: [u8; 32],
    /// What it is to the set: `globals`, `database`, …
    pub role: Option<String>,
}

/// A whole set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its id: that of no archive.
    pub id: ArchiveId,
    /// When it was begun (RFC 3339, UTC).
    pub created: String,
    /// When its last member was committed.
    pub finished: Option<String>,
    /// Who can check it.
    pub lock: Lock,
    /// What kind of source: `pg_dumpall`, …
    pub source: Option<String>,
    /// The source's name, unless it is hidden.
    pub name: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// The members in the order in which they are restored.
    pub members: Vec<Member>,
    /// Sealed details, base64 in the file.
    pub private: Option<Vec<u8>>,
}

/// A set with the seal that it was read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSet {
    /// What it says.
    pub set: Set,
    /// Its seal.
    pub seal: Seal,
    body: Vec<u8>,
    object: String,
}

impl Set {
    /// The set's bytes, sealed with `key`, and the SHA-256 in the seal.
    ///
    /// # Errors
    /// `manifest.limit` when no reader would take it: it is longer than [`MAX_SET`], has more than [`MAX_MEMBERS`] members or none, or a member's name is
    /// longer than [`MAX_NAME`], empty, or another one's.
    pub fn encode(&self, key: &[u8; 32], signer: Option<&SigningKey>) -> Result<(Vec<u8>, [u8; 32])> {
        let (bytes, digest) = self.encode_anyway(key, signer);
        let (object, length) = (self.id.set(), bytes.len() as u64);
        if length > MAX_SET {
            return Err(Error::ManifestTooLong { object, length, limit: MAX_SET });
        }
        // The reader knows best what it takes, and a set is read in no time beside its members' backups.
        match Set::parse(&bytes, &self.id) {
            Ok(_) => Ok((bytes, digest)),
            Err(Error::SetInvalid { object, why }) => Err(Error::SetUnreadable { object, why }),
            Err(error) => Err(error),
        }
    }

    fn encode_anyway(&self, key: &[u8; 32], signer: Option<&SigningKey>) -> (Vec<u8>, [u8; 32]) {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let mut body = String::with_capacity(1024 + self.members.len() * 256);
        let mut write =
            |text: std::fmt::Arguments<'_>| body.write_fmt(text).expect("writing to a string does not fail");
        write(format_args!("{{\"backstay_set\":1,\n \"id\":\"{}\",\n", self.id));
        write(format_args!(" \"created\":{},", quote(&self.created)));
        if let Some(finished) = &self.finished {
            write(format_args!("\"finished\":{},", quote(finished)));
        }
        write(format_args!("\n \"head\":{{{}}},\n", encode_lock(&self.lock)));
        if let Some(source) = &self.source {
            write(format_args!(" \"source\":{{\"type\":{}}},\n", quote(source)));
        }
        if let Some(name) = &self.name {
            write(format_args!(" \"name\":{},\n", quote(name)));
        }
        let tags: Vec<String> = self.tags.iter().map(|tag| quote(tag)).collect();
        write(format_args!(" \"tags\":[{}],\n \"members\":[", tags.join(",")));
        for (n, Member { name, id, root, role }) in self.members.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let (name, root) = (quote(name), to_hex(root));
            write(format_args!("{comma}\n  {{\"name\":{name},\"id\":\"{id}\",\"root\":\"{root}\""));
            if let Some(role) = role {
                write(format_args!(",\"role\":{}", quote(role)));
            }
            write(format_args!("}}"));
        }
        write(format_args!("],\n"));
        if let Some(private) = &self.private {
            write(format_args!(" \"private\":\"{}\",\n", to_base64(private)));
        }
        let crit = if self.lock.open.is_some() { "\"open\"" } else { "" };
        write(format_args!(" \"crit\":[{crit}],\n"));
        seal::seal(body.into_bytes(), Some(key), signer, &self.id, Sealed::Set)
    }

    /// Reads the object `<id>.set.json` (checks S1 to S8 of the spec, in order).
    ///
    /// # Errors
    /// `set.invalid`, `set.seal`, `format.unsupported` or `name.mismatch`.
    pub fn parse(bytes: &[u8], id: &ArchiveId) -> Result<SealedSet> {
        let object = id.set();
        let invalid = |why: String| Error::SetInvalid { object: object.clone(), why };
        if bytes.len() as u64 > MAX_SET {
            return Err(invalid("it is longer than 32 MiB".to_owned()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
        if !text.starts_with("{\"backstay_set\":") {
            return Err(invalid("it does not begin as a set does".to_owned()));
        }
        let (body, seal) = seal::take_seal(bytes, Sealed::Set).map_err(|unsealed| match unsealed {
            Unsealed::Form(why) => invalid(why.to_owned()),
            Unsealed::Changed => Error::SetSeal { object: object.clone(), why: "it was changed after it was sealed" },
        })?;
        let body_text =
            text.get(..body.len()).ok_or_else(|| invalid("its seal is not a line of its own".to_owned()))?;
        let members = body_text.trim_end_matches('\n').strip_suffix(',');
        let members = members.ok_or_else(|| invalid("no comma stands before the seal".to_owned()))?;
        let members = format!("{members}}}");
        let mut fields = Fields::default();
        let mut json = Json::new(&members, Dialect::Manifest);
        json.object(&mut |json, key| fields.member(json, key))
            .and_then(|()| json.end())
            .map_err(|fault| invalid(fault.to_string()))?;
        let set = fields.finish(&object, id)?;
        Ok(SealedSet { set, seal, body: body.to_vec(), object })
    }
}

impl SealedSet {
    /// Demands that the holder of `key` sealed it; from here on it is trusted.
    ///
    /// # Errors
    /// `set.seal`.
    pub fn check(&self, key: &[u8; 32]) -> Result<()> {
        if self.seal.is_keyed_with(&self.body, key) {
            return Ok(());
        }
        Err(Error::SetSeal { object: self.object.clone(), why: "it was not made with the set's key" })
    }

    /// Demands that `signer` signed the seal.
    ///
    /// # Errors
    /// `key.signer`.
    pub fn check_signer(&self, signer: &Signer) -> Result<()> {
        self.seal.check_signer(signer, &self.set.id)
    }
}

/// The members of `head`.
fn encode_lock(lock: &Lock) -> String {
    let keys: Vec<String> = lock.keys.iter().map(|key| format!("\"{}\"", to_base64(key))).collect();
    let mut head = format!(
        "\"salt\":\"{}\",\"commit\":\"{}\",\"keys\":[{}]",
        to_hex(&lock.salt),
        to_hex(&lock.commit),
        keys.join(",")
    );
    if let Some(secret) = &lock.open {
        head += &format!(",\"open\":\"{}\"", to_hex(secret));
    }
    if let Some(signature) = &lock.signature {
        head += &format!(",\"by\":\"{}\",\"sig\":\"{}\"", to_base64(&signature.by), to_base64(&signature.sig));
    }
    head
}

/// The members while they are read.
#[derive(Default)]
struct Fields {
    version: Option<u64>,
    id: Option<String>,
    created: Option<String>,
    finished: Option<String>,
    head: Option<Head>,
    source: Option<String>,
    name: Option<String>,
    tags: Vec<String>,
    members: Option<Vec<Member>>,
    private: Option<Vec<u8>>,
    crit: Vec<String>,
    unknown: Option<String>,
}

/// The members of `head` while they are read.
#[derive(Default)]
struct Head {
    salt: Option<[u8; 32]>,
    commit: Option<[u8; 32]>,
    keys: Option<Vec<Vec<u8>>>,
    open: Option<[u8; 32]>,
    by: Option<[u8; 32]>,
    sig: Option<[u8; 64]>,
}

impl Fields {
    fn member(&mut self, json: &mut Json<'_>, key: &str) -> crate::json::Result<()> {
        match key {
            "backstay_set" => self.version = Some(json.integer()?),
            "id" => self.id = Some(json.string()?.into_owned()),
            "created" => self.created = Some(json.string()?.into_owned()),
            "finished" => self.finished = Some(json.string()?.into_owned()),
            "head" => self.head = Some(Head::read(json)?),
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
            "members" => self.members = Some(members(json)?),
            "private" => self.private = Some(header::base64(json)?),
            "crit" => json.array(&mut |json| {
                let name = json.string()?;
                if name == "open" {
                    self.crit = vec![name.into_owned()];
                } else {
                    self.unknown.get_or_insert_with(|| name.into_owned());
                }
                Ok(())
            })?,
            "seal" => return json.fault("this member does not stand here"),
            _ => json.skip()?,
        }
        Ok(())
    }

    fn finish(self, object: &str, id: &ArchiveId) -> Result<Set> {
        let invalid = |why: &str| Error::SetInvalid { object: object.to_owned(), why: why.to_owned() };
        let missing = |field: &str| invalid(&format!("`{field}` is missing"));
        let unsupported = |what: String| Error::FormatUnsupported { object: object.to_owned(), what };
        match self.version {
            Some(1) => {}
            Some(version) => return Err(unsupported(format!("set version {version}"))),
            None => return Err(missing("backstay_set")),
        }
        if let Some(name) = &self.unknown {
            return Err(unsupported(format!("`{name}`")));
        }
        match self.id {
            None => return Err(missing("id")),
            Some(named) if named != id.as_str() => {
                return Err(Error::NameMismatch { object: object.to_owned(), found: named });
            }
            Some(_) => {}
        }
        let head = self.head.ok_or_else(|| missing("head"))?;
        let signature = match (head.by, head.sig) {
            (Some(by), Some(sig)) => Some(Signature { by, sig }),
            (None, None) => None,
            _ => return Err(invalid("`by` and `sig` stand together")),
        };
        let keys = head.keys.ok_or_else(|| missing("keys"))?;
        let marked = !self.crit.is_empty();
        if marked != head.open.is_some() || (head.open.is_some() && (!keys.is_empty() || signature.is_some())) {
            return Err(invalid("an open set has `open` in `crit`, no keys and no signature"));
        }
        let members = self.members.filter(|members| !members.is_empty()).ok_or_else(|| missing("members"))?;
        let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let ids: BTreeSet<&str> = members.iter().map(|member| member.id.as_str()).collect();
        if names.len() < members.len() || ids.len() < members.len() || ids.contains(id.as_str()) {
            return Err(invalid("two members have one name or one archive, or one is the set itself"));
        }
        Ok(Set {
            id: id.clone(),
            created: self.created.ok_or_else(|| missing("created"))?,
            finished: self.finished,
            lock: Lock {
                salt: head.salt.ok_or_else(|| missing("salt"))?,
                commit: head.commit.ok_or_else(|| missing("commit"))?,
                keys,
                open: head.open,
                signature,
            },
            source: self.source,
            name: self.name,
            tags: self.tags,
            members,
            private: self.private,
        })
    }
}

impl Head {
    fn read(json: &mut Json<'_>) -> crate::json::Result<Head> {
        let mut head = Head::default();
        json.object(&mut |json, key| {
            match key {
                "salt" => head.salt = Some(header::hex(json)?),
                "commit" => head.commit = Some(header::hex(json)?),
                "keys" => {
                    let mut keys = Vec::new();
                    json.array(&mut |json| {
                        keys.push(header::base64(json)?);
                        if keys.len() > MAX_KEYS { json.fault("there are more than eight `keys`") } else { Ok(()) }
                    })?;
                    head.keys = Some(keys);
                }
                "open" => head.open = Some(header::hex(json)?),
                "by" => head.by = Some(header::array(json)?),
                "sig" => head.sig = Some(header::array(json)?),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        Ok(head)
    }
}

fn members(json: &mut Json<'_>) -> crate::json::Result<Vec<Member>> {
    let mut members = Vec::new();
    json.array(&mut |json| {
        let (mut name, mut id, mut root, mut role) = (None, None, None, None);
        json.object(&mut |json, key| {
            match key {
                "name" => name = Some(json.string()?.into_owned()),
                "id" => id = json.string()?.parse::<ArchiveId>().ok(),
                "root" => root = Some(header::hex(json)?),
                "role" => role = Some(json.string()?.into_owned()),
                _ => json.skip()?,
            }
            Ok(())
        })?;
        let name = name.filter(|name: &String| (1..=MAX_NAME).contains(&name.len()));
        let (Some(name), Some(id), Some(root)) = (name, id, root) else {
            return json.fault("a member lacks a valid `name`, `id` or `root`");
        };
        if members.len() == MAX_MEMBERS {
            return json.fault("there are more than 65536 members");
        }
        members.push(Member { name, id, root, role });
        Ok(())
    })?;
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Keys, Secret};

    fn id(millis: u64) -> ArchiveId {
        ArchiveId::new(&"de2fe9e4-6535-423d-8709-dca87df7985c".parse().unwrap(), millis).unwrap()
    }

    fn keys() -> Keys {
        Keys::derive(&Secret([7; 32]), &[1; 32])
    }

    fn set() -> Set {
        let member = |n: u64, name: &str| Member {
            name: name.to_owned(),
            id: id(1_740_130_000_000 + n),
            root: [u8::try_from(n).unwrap(); 32],
            role: Some("database".to_owned()),
        };
        Set {
            id: id(1_740_130_000_123),
            created: "2025-02-21T09:26:40Z".to_owned(),
            finished: None,
            lock: Lock {
                salt: [1; 32],
                commit: keys().commit(),
                keys: vec![b"slot".to_vec()],
                open: None,
                signature: None,
            },
            source: Some("pg_dumpall".to_owned()),
            name: Some("shop".to_owned()),
            tags: vec!["nightly".to_owned()],
            members: vec![member(1, "a \"quoted\"\nname/with\\all"), member(2, "b")],
            private: Some(vec![1, 2, 3]),
        }
    }

    #[test]
    fn what_was_written_is_read_and_its_seal_is_checked() {
        let (bytes, digest) = set().encode(&keys().set(), None).unwrap();
        let sealed = Set::parse(&bytes, &set().id).unwrap();
        assert_eq!(sealed.set, set());
        assert_eq!(sealed.seal.sha256, digest);
        sealed.check(&keys().set()).unwrap();
        // The key of a manifest never seals a set.
        assert_eq!(sealed.check(&keys().seal()).unwrap_err().code(), "set.seal");
    }

    #[test]
    fn an_open_set_says_so_in_crit() {
        let open = Set { lock: Lock { keys: Vec::new(), open: Some([7; 32]), ..set().lock }, ..set() };
        let (bytes, _) = open.encode(&keys().set(), None).unwrap();
        assert_eq!(Set::parse(&bytes, &open.id).unwrap().set, open);
    }

    #[test]
    fn a_signature_over_an_archive_is_none_over_a_set() {
        let signer = SigningKey::from_seed(&[3; 32]).unwrap();
        let (bytes, _) = set().encode(&keys().set(), Some(&signer)).unwrap();
        let sealed = Set::parse(&bytes, &set().id).unwrap();
        sealed.check_signer(&signer.signer()).unwrap();
        let (of_an_archive, _) = seal::seal(b"{\n".to_vec(), Some(&[0; 32]), Some(&signer), &set().id, Sealed::Archive);
        let read_as_a_set = seal::take_seal(&of_an_archive, Sealed::Set).ok().unwrap().1;
        assert_eq!(read_as_a_set.check_signer(&signer.signer(), &set().id).unwrap_err().code(), "key.signer");
    }

    #[test]
    fn a_change_of_any_byte_is_refused() {
        let (bytes, _) = set().encode(&keys().set(), None).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let found = Set::parse(&changed, &set().id).and_then(|sealed| sealed.check(&keys().set()));
            assert!(found.is_err(), "byte {at}");
        }
    }
}
