//! Names of archives and of their objects (`spec/archive.md`, "Names").
//!
//! A name is parsed once, at the edge, and trusted afterwards. Only parts match `<id>-*`, every other object of an
//! archive continues with a dot, and a timestamp in seconds may be a string prefix of one in milliseconds: so nothing
//! here compares prefixes, everything is parsed whole.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// What a sidecar is for: the word after the id and the dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// The archive is to be deleted after a grace: a tombstone, when no number follows.
    Expired,
    /// What a verification or a drill found.
    Verified,
    /// The archive is kept, whatever a policy says.
    Hold,
    /// A remark of a person.
    Note,
    /// Labels that were added after the archive was made.
    Tag,
}

impl Word {
    const ALL: [Word; 5] = [Word::Expired, Word::Verified, Word::Hold, Word::Note, Word::Tag];

    /// As it stands in names.
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Expired => "expired",
            Word::Verified => "verified",
            Word::Hold => "hold",
            Word::Note => "note",
            Word::Tag => "tag",
        }
    }

    /// The word of this text.
    pub(crate) fn parse(text: &str) -> Option<Word> {
        Word::ALL.into_iter().find(|word| word.as_str() == text)
    }
}

/// A source's identity: 36 characters of lower-case hexadecimal digits and dashes, any UUID version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 36]);

impl Guid {
    /// The guid as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Guid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid =
            || Error::NameInvalid { name: text.to_owned(), why: "a guid is 8-4-4-4-12 lower-case hexadecimal digits" };
        let bytes: [u8; 36] = text.as_bytes().try_into().map_err(|_| invalid())?;
        let fits = bytes.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
        if fits { Ok(Guid(bytes)) } else { Err(invalid()) }
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One archive: `<guid>-<timestamp>`. The digits of the timestamp are kept as they were written; the order is by time
/// in milliseconds and then by the text, so that seconds and milliseconds sort together.
///
/// Stores hold millions of them, and whoever looks at all of a store holds all of them: an id is its text and nothing else, and takes no
/// memory beside its own fifty bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ArchiveId {
    /// A timestamp in seconds leaves three zero bytes at the end.
    text: [u8; LONGEST_ID],
}

/// A guid, a dash, and the digits of a timestamp.
const LONGEST_ID: usize = GUID + 1 + MILLIS;
const SHORTEST_ID: usize = GUID + 1 + SECONDS;
const GUID: usize = 36;
/// Digits of a timestamp in seconds, and in milliseconds.
const SECONDS: usize = 10;
const MILLIS: usize = 13;

impl ArchiveId {
    /// The id of an archive that begins now: milliseconds since 1970, 13 digits.
    ///
    /// # Errors
    /// `name.invalid` when the time does not have 13 digits (before September 2001 or after the year 2286).
    pub fn new(guid: &Guid, millis: u64) -> Result<Self> {
        format!("{guid}-{millis}").parse()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        let end = if self.text[SHORTEST_ID] == 0 { SHORTEST_ID } else { LONGEST_ID };
        str::from_utf8(&self.text[..end]).unwrap_or_default()
    }

    /// The guid of the source.
    pub fn guid(&self) -> Guid {
        let mut guid = [0; GUID];
        guid.copy_from_slice(&self.text[..GUID]);
        Guid(guid)
    }

    /// The time in milliseconds since 1970, whatever the name was written in.
    pub fn millis(&self) -> u64 {
        let digits = self.text[GUID + 1..].iter();
        digits.fold(0, |value, digit| value * 10 + u64::from(if *digit == 0 { 0 } else { digit - b'0' }))
    }

    /// The name of part `n`.
    pub fn part(&self, n: u32) -> String {
        format!("{self}-{n}")
    }

    /// The name of the manifest.
    pub fn manifest(&self) -> String {
        format!("{self}.json")
    }

    /// The name of the backup set with this id.
    pub fn set(&self) -> String {
        format!("{self}.set.json")
    }

    /// The name of keybox `m`.
    pub fn keybox(&self, m: u32) -> String {
        format!("{self}.key.{m}")
    }

    /// The name of the tombstone.
    pub fn tombstone(&self) -> String {
        format!("{self}.expired")
    }

    /// The name of the sidecar that was made at this time, in milliseconds since 1970.
    pub fn sidecar(&self, word: Word, millis: u64) -> String {
        format!("{self}.{}.{millis}", word.as_str())
    }
}

impl FromStr for ArchiveId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why| Error::NameInvalid { name: text.to_owned(), why };
        let (guid, timestamp) = text
            .split_at_checked(36)
            .and_then(|(guid, rest)| Some((guid, rest.strip_prefix('-')?)))
            .ok_or_else(|| invalid("an id is <guid>-<timestamp>"))?;
        guid.parse::<Guid>()?;
        if !matches!(timestamp.len(), SECONDS | MILLIS) {
            return Err(invalid("a timestamp has 10 digits (seconds) or 13 (milliseconds)"));
        }
        if timestamp.starts_with('0') || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("a timestamp is a number without a leading zero"));
        }
        let mut bytes = [0; LONGEST_ID];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(ArchiveId { text: bytes })
    }
}

impl Ord for ArchiveId {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.millis(), &self.text).cmp(&(other.millis(), &other.text))
    }
}

impl PartialOrd for ArchiveId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an object's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectName {
    /// `<id>-<n>`. `padded` when the number has leading zeros, which only old archives of the openssl profile may have.
    Part {
        /// The archive.
        id: ArchiveId,
        /// The number, whatever its spelling.
        n: u32,
        /// Whether it has leading zeros.
        padded: bool,
    },
    /// `<id>.json`.
    Manifest(ArchiveId),
    /// `<id>`: the whole archive in one object, openssl profile only.
    Single(ArchiveId),
    /// `<id>.set.json`: a backup set, whose id is that of no archive.
    Set(ArchiveId),
    /// `<id>.key.<m>`.
    Keybox(ArchiveId, u32),
    /// `<id>.word` or `<id>.word.digits` with another reserved word, and the number, if there is one.
    Sidecar(ArchiveId, Word, Option<u64>),
    /// `<id>.` and something that is not reserved: a newer version's, to be left alone.
    Unknown(ArchiveId),
    /// Not a name of the archive grammar.
    Foreign,
}

impl ObjectName {
    /// Reads a name. Never fails: what is not of the grammar is [`ObjectName::Foreign`].
    pub fn parse(name: &str) -> ObjectName {
        let end =
            name.bytes().skip(GUID + 1).position(|byte| !byte.is_ascii_digit()).map_or(name.len(), |at| at + GUID + 1);
        let Some((Ok(id), rest)) = name.split_at_checked(end).map(|(id, rest)| (id.parse::<ArchiveId>(), rest)) else {
            return ObjectName::Foreign;
        };
        if rest.is_empty() {
            return ObjectName::Single(id);
        }
        if let Some(digits) = rest.strip_prefix('-') {
            return match number(digits) {
                Some((n, padded)) => ObjectName::Part { id, n, padded },
                None => ObjectName::Foreign,
            };
        }
        let Some(sidecar) = rest.strip_prefix('.') else { return ObjectName::Foreign };
        match sidecar {
            "json" => return ObjectName::Manifest(id),
            "set.json" => return ObjectName::Set(id),
            _ => {}
        }
        let (word, digits) = sidecar.split_once('.').map_or((sidecar, None), |(word, digits)| (word, Some(digits)));
        let value = match digits {
            None => None,
            Some(digits) => match long_number(digits) {
                Some(value) => Some(value),
                None => return ObjectName::Unknown(id),
            },
        };
        if word == "key" {
            return match digits.and_then(number) {
                Some((m, false)) => ObjectName::Keybox(id, m),
                _ => ObjectName::Unknown(id),
            };
        }
        match Word::parse(word) {
            Some(word) => ObjectName::Sidecar(id, word, value),
            None => ObjectName::Unknown(id),
        }
    }

    /// The archive that the object belongs to.
    pub fn id(&self) -> Option<&ArchiveId> {
        match self {
            ObjectName::Part { id, .. }
            | ObjectName::Manifest(id)
            | ObjectName::Single(id)
            | ObjectName::Set(id)
            | ObjectName::Keybox(id, _)
            | ObjectName::Sidecar(id, ..)
            | ObjectName::Unknown(id) => Some(id),
            ObjectName::Foreign => None,
        }
    }
}

/// A decimal number of 64 bits.
fn long_number(digits: &str) -> Option<u64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// A decimal number of 32 bits, of which one more is one, too, and whether it has leading zeros.
fn number(digits: &str) -> Option<(u32, bool)> {
    if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let n = digits.parse::<u64>().ok()?;
    Some((u32::try_from(n).ok().filter(|n| *n < u32::MAX)?, digits.len() > 1 && digits.starts_with('0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: &str = "de2fe9e4-6535-423d-8709-dca87df7985c";

    #[test]
    fn ids_have_seconds_or_milliseconds_and_sort_by_time() {
        let seconds: ArchiveId = format!("{GUID}-1740130000").parse().unwrap();
        let millis: ArchiveId = format!("{GUID}-1740130000123").parse().unwrap();
        assert!(seconds < millis);
        assert_eq!((seconds.millis(), millis.millis()), (1_740_130_000_000, 1_740_130_000_123));
        assert_eq!((seconds.as_str().len(), millis.guid().as_str()), (47, GUID));
        // The same moment in both spellings is two ids, in one order.
        let both = [seconds.as_str(), &format!("{GUID}-1740130000000")].map(|id| id.parse::<ArchiveId>().unwrap());
        assert!(both[0] < both[1] && both[0].millis() == both[1].millis());
        for digits in [
            "174013000",
            "17401300001",
            "174013000012",
            "17401300001234",
            "1740130000123456",
            "0740130000",
            "1740130000a",
            "",
        ] {
            assert_eq!(format!("{GUID}-{digits}").parse::<ArchiveId>().unwrap_err().code(), "name.invalid", "{digits}");
        }
        assert!(GUID.to_uppercase().parse::<Guid>().is_err());
        assert!("é".repeat(30).parse::<ArchiveId>().is_err());
    }

    #[test]
    fn a_seconds_id_never_claims_the_objects_of_its_milliseconds_twin() {
        let name = ObjectName::parse(&format!("{GUID}-1740130000123-0"));
        assert_eq!(name.id().unwrap().as_str(), format!("{GUID}-1740130000123"));
    }

    #[test]
    fn every_kind_of_name_is_told_apart() {
        let id = format!("{GUID}-1740130000");
        let parse = |tail: &str| ObjectName::parse(&format!("{id}{tail}"));
        let archive: ArchiveId = id.parse().unwrap();
        assert_eq!(parse("-12"), ObjectName::Part { id: archive.clone(), n: 12, padded: false });
        assert_eq!(parse("-007"), ObjectName::Part { id: archive.clone(), n: 7, padded: true });
        assert_eq!(parse(".json"), ObjectName::Manifest(archive.clone()));
        assert_eq!(parse(""), ObjectName::Single(archive.clone()));
        assert_eq!(parse(".set.json"), ObjectName::Set(archive.clone()));
        assert_eq!(parse(".key.0"), ObjectName::Keybox(archive.clone(), 0));
        let sidecar = |word, number| ObjectName::Sidecar(archive.clone(), word, number);
        assert_eq!(parse(".verified.1740130000123"), sidecar(Word::Verified, Some(1_740_130_000_123)));
        assert_eq!(parse(".hold"), sidecar(Word::Hold, None));
        assert_eq!(ObjectName::parse(&archive.tombstone()), sidecar(Word::Expired, None));
        for word in Word::ALL {
            assert_eq!(ObjectName::parse(&archive.sidecar(word, 7)), sidecar(word, Some(7)));
        }
        let long = ".hold.99999999999999999999";
        for tail in [".key.00", ".key", ".future.1", ".hold.x", ".hold.", ".hold.1.2", ".hold.+1", long, ".json.bak"] {
            assert_eq!(parse(tail), ObjectName::Unknown(archive.clone()), "{tail}");
        }
        // Whoever counts on behind a number finds one.
        assert_eq!(parse("-4294967294"), ObjectName::Part { id: archive.clone(), n: u32::MAX - 1, padded: false });
        assert_eq!(parse(".key.4294967295"), ObjectName::Unknown(archive.clone()));
        for tail in ["-", "-x", "-1.tmp", "x", "-0#1", "-4294967295"] {
            assert_eq!(parse(tail), ObjectName::Foreign, "{tail}");
        }
        assert_eq!(ObjectName::parse("README"), ObjectName::Foreign);
    }
}
