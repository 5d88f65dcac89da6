//! Single parts: as a restore opens them, and as a salvage does.

use backstay_format::header::{self, Codec, Header, Reference};
use backstay_format::part::{PartOpener, Place};
use backstay_format::salvage::{PartRescue, Stated};
use backstay_format::schedule::Keys;

use crate::fixture::{common, id, sealed, secret};
use crate::stream::zstd_inner;

/// A part in the middle, and as the last one.
pub(crate) fn part(bytes: &[u8]) {
    let Ok(header) = Header::read(bytes, &id(), 0, Reference::None) else { return };
    let keys = Keys::derive(&secret(), &header.common.salt);
    for place in [Place::Middle, Place::Last] {
        let Ok(opener) = PartOpener::new(&header, &keys, bytes.len() as u64, place) else { continue };
        let stored = opener.stored(0, opener.segments());
        let body = &bytes[usize::try_from(stored.start).unwrap()..usize::try_from(stored.end).unwrap()];
        let mut plain = Vec::new();
        if opener.open(0, body, &mut plain).is_ok() {
            assert_eq!(plain.len(), body.len() - 16 * usize::try_from(opener.segments()).unwrap());
        } else {
            assert!(plain.is_empty(), "something was released from a run that is not authentic");
        }
    }
}

/// A part whose header may be damaged.
pub(crate) fn salvaged_part(bytes: &[u8]) {
    let stated = Stated::read(bytes, &id(), 0);
    let head = header::Head { common: common(Codec::Zstd), rest: common(Codec::Zstd).encode(), len: 400 };
    let keys = Keys::derive(&secret(), &[1; 32]);
    let rnds: Vec<[u8; 16]> = stated.rnd.into_iter().chain([[3; 16]]).collect();
    let rescue = PartRescue::new(&id(), &head, &keys, stated.n, &rnds, bytes.len() as u64);
    assert!(rescue.segments() <= rescue.full());
    for number in 0..rescue.segments() {
        let stored = rescue.stored(number, number + 1);
        let sealed = &bytes[usize::try_from(stored.start).unwrap()..usize::try_from(stored.end).unwrap()];
        let mut plain = Vec::new();
        match rescue.open(number, sealed, &mut plain) {
            Some(_) => assert_eq!(plain.len() + 16, sealed.len()),
            None => assert!(plain.is_empty(), "something was released that is not authentic"),
        }
    }
}

/// Structure-aware: the mutated inner stream is sealed properly, so that what is behind the tags is reached.
pub(crate) fn resealed(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let parts = sealed(bytes);
    let keys = Keys::derive(&secret(), &[1; 32]);
    let mut inner = Vec::new();
    for (n, part) in (0..).zip(&parts) {
        let header = Header::read(part, &id(), n, Reference::None).unwrap();
        let place = if n as usize + 1 == parts.len() { Place::Last } else { Place::Middle };
        let opener = PartOpener::new(&header, &keys, part.len() as u64, place).unwrap();
        opener.open(0, &part[header.line.len()..], &mut inner).unwrap();
    }
    assert_eq!(inner, bytes);
    zstd_inner(&inner);
}
