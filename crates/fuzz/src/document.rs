//! Documents and names: the header line, manifests, sets, reports, remarks.
//!
//! Most changes of a sealed document break its digest, so each is also read with a digest that fits: what is behind it is what a stranger can
//! reach, who has no key but can compute a SHA-256.

use backstay_format::header::{Codec, Header, Lock, Reference};
use backstay_format::manifest::{Document, Manifest};
use backstay_format::remark::Remark;
use backstay_format::report::{Level, Report};
use backstay_format::schedule::{Keys, sha256};
use backstay_format::set::{Member, Set};
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, ObjectName, Word, header};

use crate::fixture::{common, id, secret};

/// A header line.
pub(crate) fn line() -> Vec<u8> {
    header::line(&id(), 0, &[3; 16], &common(Codec::Zstd).encode(), 400)
}

/// The specification's worked example.
pub(crate) fn manifest() -> Vec<u8> {
    let blocks = include_str!("../../../spec/archive.md").split("```\n");
    let mut manifests = blocks.filter(|block| block.starts_with("{\"backstay\":1,\n\"id\":\"b6f4"));
    manifests.next().expect("the spec's worked example has a manifest").as_bytes().to_vec()
}

/// A small set.
pub(crate) fn set() -> Vec<u8> {
    let keys = Keys::derive(&secret(), &[1; 32]);
    let later: ArchiveId = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000999".parse().unwrap();
    let members =
        vec![Member { name: "a \"b\"\n".to_owned(), id: later, root: [2; 32], role: Some("database".to_owned()) }];
    let lock = Lock { salt: [1; 32], commit: keys.commit(), keys: vec![vec![3; 9]], open: None, signature: None };
    let set = Set {
        id: id(),
        created: "2026-01-31T02:00:00Z".to_owned(),
        finished: None,
        lock,
        source: Some("pg_dumpall".to_owned()),
        name: None,
        tags: vec!["nightly".to_owned()],
        members,
        private: Some(vec![4; 30]),
    };
    set.encode(&keys.set(), None).expect("a good one").0
}

/// A report with facts of every kind.
pub(crate) fn report() -> Vec<u8> {
    let report = Report {
        id: id(),
        root: Some([5; 32]),
        level: Level::Drill,
        good: false,
        at: "2026-01-31T02:00:00Z".to_owned(),
        by: "host \"a\"".to_owned(),
        details: "{\"seconds\":17,\"checks\":[{\"name\":\"rows\",\"good\":true},{}]}".to_owned(),
    };
    report.encode(Some(&[6; 32]), None).expect("it is a report")
}

/// A remark of the word in an object's name.
pub(crate) fn remark() -> Vec<u8> {
    let remark = Remark {
        id: id(),
        word: Word::Tag,
        at: "2026-01-31T02:00:00Z".to_owned(),
        by: "somebody".to_owned(),
        text: "before the upgrade\n".to_owned(),
        tags: vec!["monthly".to_owned(), "\u{e9}".to_owned()],
    };
    remark.encode()
}

/// Names of objects of every kind, and one that is none.
pub(crate) fn names() -> Vec<Vec<u8>> {
    let tails =
        ["-0", "-12", "", ".json", ".set", ".key.0", ".key.3.age", ".verified.17", ".hold.17", ".expired.17", "-007"];
    tails.map(|tail| format!("{}{tail}", id()).into_bytes()).into()
}

/// The document with a digest that fits it, if it has something like a seal.
fn resealed(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.windows(8).rposition(|window| window == b"\"seal\":{")?;
    let mut document = bytes[..at].to_vec();
    let digest = to_hex(&sha256(&document));
    document.extend(format!("\"seal\":{{\"sha256\":\"{digest}\",\"mac\":\"{}\"}}}}\n", "0".repeat(64)).bytes());
    Some(document)
}

/// Reads the document as it is, and with a digest that fits.
fn both(bytes: &[u8], read: impl Fn(&[u8])) {
    read(bytes);
    resealed(bytes).iter().for_each(|document| read(document));
}

/// A header line; the object may go on behind it.
pub(crate) fn header_line(bytes: &[u8]) {
    if let Ok(header) = Header::read(bytes, &id(), 0, Reference::None) {
        // What is accepted says the same when it is read again from its own line.
        assert_eq!(Header::read(&header.line, &id(), 0, Reference::Header(&header)).as_ref(), Ok(&header));
    }
}

/// A manifest.
pub(crate) fn read_manifest(bytes: &[u8]) {
    let id = "b6f4c071-ef44-4af2-9608-531b4ce4823f-1740130000".parse().unwrap();
    both(bytes, |bytes| {
        let Ok(Document::Manifest(sealed)) = Manifest::parse(bytes.to_vec(), &id) else { return };
        let (again, _) = sealed.manifest.encode(&[0; 32], None).expect("what is read here is short");
        let Ok(Document::Manifest(twice)) = Manifest::parse(again, &id) else {
            panic!("what was read cannot be written")
        };
        assert_eq!(twice.manifest, sealed.manifest);
    });
}

/// A backup set.
pub(crate) fn read_set(bytes: &[u8]) {
    both(bytes, |bytes| {
        let Ok(sealed) = Set::parse(bytes, &id()) else { return };
        let (again, _) = sealed.set.encode(&[0; 32], None).expect("what is read here is short");
        assert_eq!(Set::parse(&again, &id()).expect("what was read cannot be written").set, sealed.set);
    });
}

/// A report on a verification or a drill.
pub(crate) fn read_report(bytes: &[u8]) {
    both(bytes, |bytes| {
        let Ok(sealed) = Report::parse(bytes, &id(), "a report") else { return };
        // Its own encoder reads back what it wrote and compares.
        sealed.report.encode(Some(&[0; 32]), None).expect("what was read cannot be written");
    });
}

/// A tombstone, a hold, a note, a tag.
pub(crate) fn read_remark(bytes: &[u8]) {
    let Ok(remark) = Remark::parse(bytes, &id(), Word::Tag, "a remark") else { return };
    assert_eq!(Remark::parse(&remark.encode(), &id(), Word::Tag, "a remark").as_ref(), Ok(&remark));
}

/// The name of an object.
pub(crate) fn object_name(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    match ObjectName::parse(name) {
        ObjectName::Part { id, n, padded: false } => assert_eq!(id.part(n), name),
        ObjectName::Manifest(id) => assert_eq!(id.manifest(), name),
        ObjectName::Set(id) => assert_eq!(id.set(), name),
        ObjectName::Keybox(id, m) => assert_eq!(id.keybox(m), name),
        ObjectName::Single(id) => assert_eq!(id.as_str(), name),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_documents() {
        let example = "b6f4c071-ef44-4af2-9608-531b4ce4823f-1740130000".parse().unwrap();
        assert!(Manifest::parse(manifest(), &example).is_ok());
        assert!(Set::parse(&set(), &id()).is_ok());
        assert!(Report::parse(&report(), &id(), "a report").is_ok());
        assert!(Remark::parse(&remark(), &id(), Word::Tag, "a remark").is_ok());
        assert!(Header::read(&line(), &id(), 0, Reference::None).is_ok());
        for name in names() {
            assert!(ObjectName::parse(std::str::from_utf8(&name).unwrap()).id() == Some(&id()));
        }
    }
}
