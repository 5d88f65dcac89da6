//! Makes an archive with changes, and seals it as its writer would.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use backstay_format::header::{self, Common, Head, Kind};
use backstay_format::manifest::{MOST_PARTS, Manifest, OpensslHead, PartEntry, Profile, seal_private};
use backstay_format::openssl::{Digest, Kdf, PartWriter, Salt};
use backstay_format::schedule::{Keys, sha256};
use backstay_format::segment::{Flag, SegmentKey};
use backstay_format::text::to_hex;

use super::Change;
use super::base::{Base, Lock};
use crate::fixture::{common, id, openssl_key, secret};

/// What is stored: bytes by name.
pub(super) type Objects = BTreeMap<String, Vec<u8>>;

/// The archive's objects. `None` where it would take very long to read them, and is meant to: a password's key may cost millions of rounds.
pub(super) fn objects(base: &Base, changes: &[Change<'_>]) -> Option<Objects> {
    let inner = inner(base, changes);
    let made = if base.lock == Lock::Password { openssl(&inner) } else { native(base, &inner, changes) };
    let Made { mut objects, profile, parts, key, private } = made;
    let manifest = Manifest {
        id: id(),
        profile,
        kind: Kind::Full,
        created: "2025-02-19T21:20:00.123Z".to_owned(),
        finished: Some("2025-02-19T21:20:01Z".to_owned()),
        source: Some("stream".to_owned()),
        name: Some("shop".to_owned()),
        tags: vec!["nightly".to_owned()],
        converted: None,
        content: Some(base.content.len() as u64),
        first: 0,
        parts,
        needs: Vec::new(),
        private,
        detached: false,
        unconfirmed: false,
    };
    let text = sealed(manifest.encode(&key, None).expect("there are few parts").0, &key, changes);
    if costly(&text) {
        return None;
    }
    objects.insert(id().manifest(), text);
    for change in changes {
        disturb(&mut objects, *change);
    }
    let harmless = objects.iter().all(|(name, bytes)| !name.ends_with(".json") || !costly(bytes));
    harmless.then_some(objects)
}

/// The inner stream with its changes.
pub(super) fn inner(base: &Base, changes: &[Change<'_>]) -> Vec<u8> {
    let mut inner = base.inner.clone();
    for change in changes {
        if let Change::Inner(edit) = change {
            edit.apply(&mut inner);
        }
    }
    inner
}

/// The parts and what the manifest says of them.
struct Made {
    objects: Objects,
    profile: Profile,
    parts: Vec<PartEntry>,
    key: [u8; 32],
    private: Option<Vec<u8>>,
}

fn native(base: &Base, inner: &[u8], changes: &[Change<'_>]) -> Made {
    let mut common = Common { aead: base.aead, ..common(base.codec) };
    if base.lock == Lock::Open {
        common.open = Some(secret().0);
    }
    let mut flags = BTreeMap::new();
    let (mut longer, mut facts) = (0_i64, b"{\"checks\":{\"lines\":7},\"argv\":[\"pg_dump\"]}".to_vec());
    for change in changes {
        match change {
            Change::Cuts { seg, segs } => (common.seg, common.segs) = (*seg, *segs),
            Change::Line { by } => longer += i64::from(*by),
            Change::Private(edit) => edit.apply(&mut facts),
            Change::Flag { segment, flag, ends } => drop(flags.insert(*segment, (*flag, *ends))),
            _ => {}
        }
    }
    let mut rest = common.encode().into_bytes();
    for change in changes {
        if let Change::Rest(edit) = change {
            edit.apply(&mut rest);
        }
    }
    let rest = String::from_utf8_lossy(&rest).into_owned();
    let usual = header::line_len(&id(), &rest).unwrap_or(header::MAX_LINE);
    let len = usize::try_from((usual as i64 + longer).max(1)).expect("a line is short");

    let keys = Keys::derive(&secret(), &common.salt);
    let (mut objects, mut parts) = (Objects::new(), Vec::new());
    let segments: Vec<&[u8]> = inner.chunks(common.seg as usize).collect();
    let (mut number, mut n) = (0, 0);
    while number < segments.len().max(1) {
        let rnd = [u8::try_from(n % 251).expect("it is below 256"); 16];
        let mut bytes = header::line(&id(), n, &rnd, &rest, len);
        let key = SegmentKey::new(common.aead, &keys.part(&bytes));
        for in_part in 0..common.segs {
            let mut segment = segments.get(number).copied().unwrap_or_default().to_vec();
            let stated = flags.get(&number).copied();
            number += 1;
            let last = number >= segments.len();
            let ends = last || in_part + 1 == common.segs || stated.is_some_and(|(_, ends)| ends);
            let flag = match stated {
                Some((0, _)) => Flag::More,
                Some((1, _)) => Flag::EndOfPart,
                Some(_) => Flag::EndOfArchive,
                None if last => Flag::EndOfArchive,
                None if ends => Flag::EndOfPart,
                None => Flag::More,
            };
            let tag = key.seal(u64::from(in_part), flag, &mut segment);
            bytes.extend(segment);
            bytes.extend(tag);
            if ends {
                break;
            }
        }
        parts.push(PartEntry { size: bytes.len() as u64, rnd: Some(rnd), sha256: sha256(&bytes) });
        objects.insert(id().part(n), bytes);
        n += 1;
    }
    let private = (base.lock != Lock::Open).then(|| seal_private(&keys, [9; 12], &String::from_utf8_lossy(&facts)));
    Made { objects, profile: Profile::Native(Box::new(Head { common, rest, len })), parts, key: *keys.seal(), private }
}

fn openssl(inner: &[u8]) -> Made {
    let key = openssl_key();
    let mut writer = PartWriter::begin(&key, 2048, MOST_PARTS);
    // In pieces: a part may be cut between any two.
    let mut bodies = Vec::new();
    for piece in inner.chunks(700) {
        writer.member(piece);
        bodies.extend(std::iter::from_fn(|| writer.next_part().expect("the inner stream is short")));
    }
    bodies.push(writer.finish().0);
    let entry = |bytes: &Vec<u8>| PartEntry { size: bytes.len() as u64, rnd: None, sha256: sha256(bytes) };
    let parts = bodies.iter().map(entry).collect();
    let objects = (0..).zip(bodies).map(|(n, bytes)| (id().part(n), bytes)).collect();
    let head = OpensslHead { kdf: Kdf::BytesToKey(Digest::Md5), salt: Salt(*b"saltsalt"), gzip: true, single: false };
    Made { objects, profile: Profile::Openssl(head), parts, key: *key.seal_key().as_bytes(), private: None }
}

/// The manifest with its changes, under a seal that fits.
fn sealed(document: Vec<u8>, key: &[u8; 32], changes: &[Change<'_>]) -> Vec<u8> {
    if !changes.iter().any(|change| matches!(change, Change::Manifest(_))) {
        return document;
    }
    let seal = document.windows(8).rposition(|window| window == b"\"seal\":{").expect("it was just sealed");
    let mut body = document[..seal].to_vec();
    for change in changes {
        if let Change::Manifest(edit) = change {
            edit.apply(&mut body);
        }
    }
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &body);
    let (digest, mac) = (to_hex(&sha256(&body)), to_hex(mac.as_ref()));
    body.extend(format!("\"seal\":{{\"sha256\":\"{digest}\",\"mac\":\"{mac}\"}}}}\n").into_bytes());
    body
}

/// Whether a manifest asks for so many rounds that a reader takes seconds. That is its limit, and no finding.
fn costly(manifest: &[u8]) -> bool {
    let text = String::from_utf8_lossy(manifest);
    let rounds = text.split("\"pbkdf2\":").skip(1).map(|after| after.chars().take_while(char::is_ascii_digit).count());
    rounds.max().is_some_and(|digits| digits > 3)
}

/// What anybody can do who may write to the store.
fn disturb(objects: &mut Objects, change: Change<'_>) {
    let names: Vec<String> = objects.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = |which: usize| names[which % names.len()].clone();
    match change {
        Change::Object { which, edit } => edit.apply(objects.get_mut(&name(which)).expect("it is one of them")),
        Change::Gone { which } => drop(objects.remove(&name(which))),
        Change::Swapped { which, with } => {
            let (one, other) = (objects[&name(which)].clone(), objects[&name(with)].clone());
            objects.insert(name(which), other);
            objects.insert(name(with), one);
        }
        Change::Another { which, name: new } => {
            let bytes = objects[&name(which)].clone();
            let id = id();
            let new = match new % 12 {
                n @ 0..=5 => id.part(u32::from(n)),
                6 => id.part(999_999),
                7 => id.keybox(0),
                8 => id.keybox(1),
                9 => id.to_string(),
                10 => format!("{id}-007"),
                _ => id.manifest(),
            };
            objects.insert(new, bytes);
        }
        _ => {}
    }
}
