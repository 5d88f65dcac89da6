//! Opening what is left of a damaged part (`spec/archive.md` §15).
//!
//! A reader refuses a part at its first fault. Whoever salvages takes every segment by itself: it opens in its own place of
//! its own part or not at all, whatever happened around it. What is known of a part's header line is a guess until a segment
//! opens under it, since the line is in the key.

use crate::error::Result;
use crate::header::{self, Head, Header, Reference};
use crate::name::ArchiveId;
use crate::schedule::Keys;
use crate::segment::{Flag, SegmentKey, TAG};
use crate::text::from_hex;

/// What the first bytes of an object say that is named like a part, damaged or not.
#[derive(Debug)]
pub struct Stated {
    /// The index in the line, if the line can be read, else that of the name.
    pub n: u32,
    /// The random bytes: they stand at a fixed place, and can be read when the rest of the line is damaged.
    pub rnd: Option<[u8; 16]>,
    /// The whole header, or why there is none for the part that the object is named.
    pub header: Result<Header>,
}

impl Stated {
    /// Reads the beginning of the object that is named part `n` of `id`; 64 KiB are always enough.
    pub fn read(bytes: &[u8], id: &ArchiveId, n: u32) -> Stated {
        let header = Header::read(bytes, id, n, Reference::None);
        // An object that was renamed is still the part that it says it is.
        if let Err(crate::Error::PartMisplaced { found, .. }) = header {
            let rnd = Header::read(bytes, id, found, Reference::None).map(|header| header.rnd);
            return Stated { n: found, rnd: rnd.ok(), header };
        }
        let at = format!("BACKSTAY1 {{\"id\":\"{id}\",\"part\":{n},\"rnd\":\"").len();
        let digits = bytes.get(at..at + 32).and_then(|digits| std::str::from_utf8(digits).ok());
        Stated { n, rnd: digits.and_then(from_hex), header }
    }
}

/// Opens the segments of one part one by one.
pub struct PartRescue {
    /// One for each header line that the part may have.
    keys: Vec<SegmentKey>,
    seg: usize,
    segs: u64,
    line_len: usize,
    body: u64,
}

impl PartRescue {
    /// For part `n`, stored in `size` bytes, whose random bytes are one of these.
    pub fn new(id: &ArchiveId, head: &Head, keys: &Keys, n: u32, rnds: &[[u8; 16]], size: u64) -> PartRescue {
        let key = |rnd| {
            let line = header::line(id, n, rnd, &head.rest, head.len);
            SegmentKey::new(head.common.aead, &keys.part(&line))
        };
        PartRescue {
            keys: rnds.iter().map(key).collect(),
            seg: head.common.seg as usize,
            segs: u64::from(head.common.segs),
            line_len: head.len,
            body: size.saturating_sub(head.len as u64),
        }
    }

    /// How many segments may be found: those of which a byte is there, and no more than a part holds.
    pub fn segments(&self) -> u64 {
        let sealed = (self.seg + TAG) as u64;
        let (full, rest) = (self.body / sealed, self.body % sealed);
        (full + u64::from(rest > TAG as u64)).min(self.segs)
    }

    /// Segments of a full part.
    pub fn full(&self) -> u64 {
        self.segs
    }

    /// Where segments `from..to` are stored in the object.
    pub fn stored(&self, from: u64, to: u64) -> std::ops::Range<u64> {
        let sealed = (self.seg + TAG) as u64;
        let start = self.line_len as u64;
        start + from * sealed..start + self.body.min(to * sealed)
    }

    /// Opens segment `number`, whose stored bytes are `sealed`, and appends its plaintext to `plain`. Gives the flag that it
    /// was sealed with; `None`, and nothing is appended, when it is not authentic in this place.
    pub fn open(&self, number: u64, sealed: &[u8], plain: &mut Vec<u8>) -> Option<Flag> {
        let at = plain.len();
        plain.resize(at + sealed.len().checked_sub(TAG)?, 0);
        let is_full = sealed.len() == self.seg + TAG;
        let flags: &[Flag] = match (is_full, number + 1 == self.segs) {
            (false, _) => &[Flag::EndOfArchive],
            (true, true) => &[Flag::EndOfPart, Flag::EndOfArchive],
            // A fault of a writer, or a part that lost its end, but authentic where it stands.
            (true, false) => &[Flag::More, Flag::EndOfArchive],
        };
        for key in &self.keys {
            for flag in flags {
                if key.open(number, *flag, sealed, &mut plain[at..]) {
                    return Some(*flag);
                }
            }
        }
        plain.truncate(at);
        None
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the streams of these tests are short")]
mod tests {
    use super::*;
    use crate::header::{Codec, Common, Kind};
    use crate::part::Sealer;
    use crate::schedule::Secret;
    use crate::segment::Aead;

    fn archive() -> (ArchiveId, Head, Keys, Vec<Vec<u8>>, Vec<u8>) {
        let id: ArchiveId = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap();
        let keys = Keys::derive(&Secret([1; 32]), &[2; 32]);
        let common = Common {
            salt: [2; 32],
            commit: keys.commit(),
            aead: Aead::Aes256Gcm,
            codec: Codec::Zstd,
            seg: 1024,
            segs: 3,
            keys: Vec::new(),
            kind: Kind::Full,
            open: None,
            signature: None,
        };
        let content: Vec<u8> = (0..3 * 1024 + 1500_u32).map(|i| i.to_le_bytes()[i as usize % 2]).collect();
        let mut serial = 0;
        let random = move |bytes: &mut [u8]| {
            serial += 1;
            bytes.fill(serial);
        };
        let mut sealer = Sealer::new(id.clone(), common.clone(), keys.clone(), Box::new(random)).unwrap();
        let head = Head { common, rest: sealer.rest().to_owned(), len: sealer.line_len() };
        let mut parts = Vec::new();
        let mut rest: &[u8] = &content;
        while !rest.is_empty() {
            parts.extend(sealer.push(&mut rest).unwrap().map(|part| part.bytes));
        }
        parts.push(sealer.finish().bytes);
        (id, head, keys, parts, content)
    }

    #[test]
    fn each_segment_opens_whatever_happened_to_its_neighbours() {
        let (id, head, keys, parts, content) = archive();
        let mut part = parts[0].clone();
        part[head.len + 1040 + 7] ^= 1;
        part.truncate(part.len() - 1);
        part.extend([0; 5000]);
        let rescue = PartRescue::new(&id, &head, &keys, 0, &[[9; 16], [1; 16]], part.len() as u64);
        assert_eq!(rescue.segments(), 3, "what follows a full part is not looked at");
        let mut plain = Vec::new();
        let flags: Vec<_> = (0..3)
            .map(|i| {
                let stored = rescue.stored(i, i + 1);
                rescue.open(i, &part[stored.start as usize..stored.end as usize], &mut plain)
            })
            .collect();
        assert_eq!(flags, [Some(Flag::More), None, None]);
        assert_eq!(plain, content[..1024]);
        let last = PartRescue::new(&id, &head, &keys, 1, &[[2; 16]], parts[1].len() as u64);
        assert_eq!(last.segments(), 2);
        let stored = last.stored(1, 2);
        plain.clear();
        let end = &parts[1][stored.start as usize..stored.end as usize];
        assert_eq!(last.open(1, end, &mut plain), Some(Flag::EndOfArchive));
        assert_eq!(plain, content[4096..]);
        assert_eq!(last.open(0, end, &mut plain), None, "not in another place");
        assert_eq!(last.open(1, &end[..9], &mut plain), None);
        assert_eq!(plain.len(), 476, "a failure appends nothing");
    }

    #[test]
    fn a_damaged_line_still_tells_its_random_bytes_and_a_renamed_part_its_index() {
        let (id, head, _, parts, _) = archive();
        let stated = Stated::read(&parts[1], &id, 1);
        assert_eq!((stated.n, stated.rnd), (1, Some([2; 16])));
        assert_eq!(stated.header.unwrap().rest, head.rest);
        let mut damaged = parts[1].clone();
        damaged[200] = 0;
        let stated = Stated::read(&damaged, &id, 1);
        assert_eq!((stated.n, stated.rnd), (1, Some([2; 16])));
        assert_eq!(stated.header.unwrap_err().code(), "header.invalid");
        let renamed = Stated::read(&parts[1], &id, 7);
        assert_eq!((renamed.n, renamed.rnd), (1, Some([2; 16])));
        assert_eq!(renamed.header.unwrap_err().code(), "part.misplaced");
        let nothing = Stated::read(b"", &id, 0);
        assert_eq!((nothing.n, nothing.rnd), (0, None));
    }
}
