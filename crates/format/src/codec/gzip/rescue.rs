//! Taking content out of a gzip stream with holes: up to a hole, and behind it where members begin that can be told apart.
//!
//! Where a member begins is known at the beginning of the stream and behind each member. Behind a hole it can only be
//! guessed, and content may hold gzip members of its own, stored as they are. So a guess counts only when whole members as
//! this program writes them, each of exactly [`MEMBER_CONTENT`] bytes with CRC and length right, follow one another
//! without a gap for more bytes than deflate stores in one piece, or up to the very end of the stream.

use memchr::memmem;

use super::{Dialect, MEMBER_CONTENT, MEMBER_HEADER, MEMBER_LIMIT, SerialInflater, Stop};

/// So many bytes of members in a row are believed. A stored block of deflate has at most 65,535 bytes, so no stored copy of
/// anything is that long.
const PROOF: usize = 128 << 10;

/// How much content guesses may cost for each byte that is searched: whoever made the stream may have filled it with
/// beginnings of members.
const VAIN_PER_BYTE: u64 = 64;
const VAIN: u64 = 64 << 20;

/// Content decoded in one go.
const ROOM: usize = 256 << 10;

/// What is left of the content, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Rescued {
    /// Bytes of the content that follow what came before.
    Content(Vec<u8>),
    /// A hole: nobody can tell how long it is in the content.
    Lost {
        /// So many bytes of content just before it belong to a member whose checksum could not be compared.
        unproven: u64,
    },
}

/// Takes the pieces of a gzip stream that are left and gives the content in them.
#[derive(Debug)]
pub struct MemberRescue {
    dialect: Dialect,
    /// The bytes are known to be what was written, so that content needs no checksum to be released.
    authentic: bool,
    /// Look for members behind a hole.
    resume: bool,
    state: State,
    /// Content decoded for guesses that were wrong, and bytes searched.
    vain: u64,
    searched: u64,
}

#[derive(Debug)]
enum State {
    Reading(Reading),
    /// Behind a hole.
    Searching(Searching),
    /// There is nothing more to find.
    Ended,
}

#[derive(Debug)]
struct Reading {
    inflater: Box<SerialInflater>,
    /// The bytes of the present member, while it may be one of this program's.
    raw: Vec<u8>,
    /// Its content that was not released.
    held: Vec<u8>,
    /// How much of it was.
    released: u64,
}

#[derive(Debug, Default)]
struct Searching {
    /// The bytes in which no member was found yet.
    buffer: Vec<u8>,
    /// They are looked at again when there are so many.
    enough: usize,
}

/// What became of a guess.
enum Guess {
    Right,
    Wrong,
    /// All bytes fit, but they are too few.
    Short,
}

impl Reading {
    fn at_member(dialect: Dialect) -> Reading {
        let inflater = Box::new(SerialInflater::new(dialect));
        Reading { inflater, raw: Vec::new(), held: Vec::new(), released: 0 }
    }

    fn release(&mut self, rescued: &mut Vec<Rescued>) {
        if !self.held.is_empty() {
            self.released += self.held.len() as u64;
            rescued.push(Rescued::Content(std::mem::take(&mut self.held)));
        }
    }
}

impl MemberRescue {
    /// At the beginning of a stream. With `authentic` bytes content is released as it is decoded; else that of a member
    /// that may be one of this program's only when its checksum is right. With `resume`, members are looked for behind a
    /// hole.
    #[must_use]
    pub fn new(dialect: Dialect, authentic: bool, resume: bool) -> MemberRescue {
        let state = State::Reading(Reading::at_member(dialect));
        MemberRescue { dialect, authentic, resume, state, vain: 0, searched: 0 }
    }

    /// Takes the bytes that follow.
    pub fn push(&mut self, bytes: &[u8], rescued: &mut Vec<Rescued>) {
        match &mut self.state {
            State::Ended => {}
            State::Reading(_) => self.read(bytes, rescued),
            State::Searching(searching) => {
                searching.buffer.extend_from_slice(bytes);
                self.searched += bytes.len() as u64;
                if searching.buffer.len() >= searching.enough {
                    self.search(false, rescued);
                }
            }
        }
    }

    /// Bytes are missing here.
    pub fn hole(&mut self, rescued: &mut Vec<Rescued>) {
        match &mut self.state {
            State::Ended => {}
            State::Searching(searching) => *searching = Searching::default(),
            State::Reading(reading) => {
                reading.release(rescued);
                self.lose(&[], rescued);
            }
        }
    }

    /// The stream ends here, as it should.
    pub fn finish(&mut self, rescued: &mut Vec<Rescued>) {
        if let State::Searching(_) = self.state {
            self.search(true, rescued);
        }
        if let State::Reading(reading) = &mut self.state {
            reading.release(rescued);
            if reading.inflater.finish().is_err() {
                self.lose(&[], rescued);
            }
        }
        self.state = State::Ended;
    }

    /// A hole begins; `bytes` are what is there behind its first byte.
    fn lose(&mut self, bytes: &[u8], rescued: &mut Vec<Rescued>) {
        let next = if self.resume { State::Searching(Searching::default()) } else { State::Ended };
        if let State::Reading(reading) = std::mem::replace(&mut self.state, next) {
            let unproven = if self.authentic { 0 } else { reading.released };
            rescued.push(Rescued::Lost { unproven });
        }
        if !bytes.is_empty() {
            self.push(bytes, rescued);
        }
    }

    fn read(&mut self, mut bytes: &[u8], rescued: &mut Vec<Rescued>) {
        while let State::Reading(reading) = &mut self.state {
            let in_sight = reading.released == 0 && reading.raw.len() <= MEMBER_LIMIT;
            reading.held.reserve(ROOM);
            let progress = reading.inflater.inflate(bytes, &mut reading.held);
            match progress {
                Ok(progress) => {
                    let (now, later) = bytes.split_at(progress.consumed);
                    if in_sight {
                        reading.raw.extend_from_slice(now);
                    }
                    bytes = later;
                    if progress.stop == Stop::Boundary {
                        reading.release(rescued);
                        reading.released = 0;
                        reading.raw.clear();
                    } else if self.authentic || reading.held.len() > MEMBER_CONTENT || reading.released > 0 {
                        // No end is in sight: it is another program's member.
                        reading.release(rescued);
                    }
                    if progress.stop == Stop::Input {
                        return;
                    }
                }
                Err(_) => {
                    // It went wrong somewhere in this member, perhaps far before it was noticed.
                    let mut rest = if in_sight { std::mem::take(&mut reading.raw) } else { Vec::new() };
                    rest.extend_from_slice(bytes);
                    let after = rest.split_off(rest.len().min(1));
                    self.lose(&after, rescued);
                    return;
                }
            }
        }
    }

    /// Looks for a row of members in what waits, which is all that there is up to the end of the stream when `ended`.
    fn search(&mut self, ended: bool, rescued: &mut Vec<Rescued>) {
        let State::Searching(Searching { buffer, enough }) = &mut self.state else { return };
        let mut from = 0;
        *enough = 0;
        loop {
            if self.vain > VAIN + VAIN_PER_BYTE * self.searched {
                self.state = State::Ended;
                return;
            }
            let Some(at) = memmem::find(&buffer[from..], &MEMBER_HEADER).map(|at| from + at) else {
                // The beginning of one may stand at the end.
                from = from.max(buffer.len().saturating_sub(MEMBER_HEADER.len() - 1));
                break;
            };
            let (guess, cost) = judge(&buffer[at..], ended);
            match guess {
                Guess::Right => {
                    let members = buffer.split_off(at);
                    self.state = State::Reading(Reading::at_member(self.dialect));
                    self.read(&members, rescued);
                    return;
                }
                Guess::Short if !ended => {
                    from = at;
                    *enough = buffer.len() - at + PROOF / 2;
                    break;
                }
                Guess::Wrong | Guess::Short => {
                    self.vain += cost;
                    from = at + 1;
                }
            }
        }
        buffer.drain(..from);
    }
}

/// Whether a row of members begins here, and how much content was decoded to know it.
fn judge(bytes: &[u8], ended: bool) -> (Guess, u64) {
    let mut inflater = SerialInflater::new(Dialect::Stock);
    let mut content = Vec::with_capacity(MEMBER_CONTENT + 1);
    let (mut at, mut begun, mut cost) = (0, 0, 0);
    loop {
        if at > PROOF && inflater.at_boundary() && inflater.members() > 1 {
            return (Guess::Right, cost);
        }
        let before = content.len();
        let Ok(progress) = inflater.inflate(&bytes[at..], &mut content) else { return (Guess::Wrong, cost) };
        cost += (content.len() - before) as u64;
        at += progress.consumed;
        match progress.stop {
            // A member longer than this program's.
            Stop::Room => return (Guess::Wrong, cost),
            // Blocks without content can go on for ever.
            Stop::Input if at - begun > MEMBER_LIMIT => return (Guess::Wrong, cost),
            Stop::Input => {
                let whole = ended && inflater.finish().is_ok();
                return (if whole { Guess::Right } else { Guess::Short }, cost);
            }
            Stop::Boundary => {
                let next = &bytes[at..];
                if content.len() != MEMBER_CONTENT && !next.is_empty() {
                    return (Guess::Wrong, cost);
                }
                // A shorter one is the last, or else what follows is none of this program's.
                if content.len() != MEMBER_CONTENT && !ended {
                    return (Guess::Short, cost);
                }
                if !next.starts_with(&MEMBER_HEADER[..next.len().min(MEMBER_HEADER.len())]) {
                    return (Guess::Wrong, cost);
                }
                content.clear();
                begun = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::gzip::{Level, MemberCompressor};

    /// Content of so many members, about 200 KiB compressed each, and the stream's members.
    fn members(count: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut state = 7_u64;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b"acgt"[(state >> 62) as usize]
        })
        .take(MEMBER_CONTENT * count - 1000)
        .collect();
        let compress = |content: &[u8]| {
            let mut member = Vec::new();
            MemberCompressor::new(Level::default()).compress(content, &mut member);
            member
        };
        let members = content.chunks(MEMBER_CONTENT).map(compress).collect();
        (content, members)
    }

    /// `None` stands for a hole.
    fn rescue(authentic: bool, resume: bool, left: &[Option<&[u8]>], cut: usize) -> (Vec<u8>, Vec<(u64, u64)>) {
        let mut rescue = MemberRescue::new(Dialect::Stock, authentic, resume);
        let mut rescued = Vec::new();
        for piece in left {
            match piece {
                None => rescue.hole(&mut rescued),
                Some(bytes) => bytes.chunks(cut).for_each(|bytes| rescue.push(bytes, &mut rescued)),
            }
        }
        rescue.finish(&mut rescued);
        let (mut content, mut holes) = (Vec::new(), Vec::new());
        for found in rescued {
            match found {
                Rescued::Content(bytes) => content.extend(bytes),
                Rescued::Lost { unproven } => holes.push((content.len() as u64, unproven)),
            }
        }
        (content, holes)
    }

    #[test]
    fn reading_goes_on_with_the_first_whole_member_behind_a_hole() {
        let (content, members) = members(6);
        let stream = members.concat();
        let (first, second) = (members[0].len(), members[1].len());
        for (authentic, cut) in [(true, 100_000), (false, 100_000), (false, 1 << 30)] {
            assert!(rescue(authentic, true, &[Some(&stream)], cut) == (content.clone(), vec![]));
            let left: [Option<&[u8]>; 3] = [Some(&stream[..first]), None, Some(&stream[first + 10..])];
            let (found, holes) = rescue(authentic, true, &left, cut);
            assert_eq!(holes, [(MEMBER_CONTENT as u64, 0)]);
            assert!(found == [&content[..MEMBER_CONTENT], &content[2 * MEMBER_CONTENT..]].concat());
            let (found, holes) = rescue(authentic, false, &left, cut);
            assert_eq!((found.len(), holes.len()), (MEMBER_CONTENT, 1), "nothing is looked for unasked");
        }
        // A changed byte, which nothing but the checksum of its member shows.
        let mut damaged = stream;
        damaged[first + second / 2] ^= 4;
        for cut in [50_000, 1 << 30] {
            let (found, holes) = rescue(false, true, &[Some(&damaged)], cut);
            assert_eq!(holes, [(MEMBER_CONTENT as u64, 0)]);
            assert!(found == [&content[..MEMBER_CONTENT], &content[2 * MEMBER_CONTENT..]].concat());
        }
    }

    #[test]
    fn authentic_bytes_are_given_up_to_the_hole() {
        let (content, members) = members(2);
        let left = [Some(&members[0][..members[0].len() / 2]), None];
        let (found, holes) = rescue(true, true, &left, 9999);
        assert!(found.len() > MEMBER_CONTENT / 3, "{}", found.len());
        assert!(content.starts_with(&found));
        assert_eq!(holes, [(found.len() as u64, 0)]);
        // Bytes that nobody vouches for come too, when they are only cut, but are told apart.
        let (same, holes) = rescue(false, true, &left, 9999);
        assert_eq!((same.len(), holes), (found.len(), vec![(found.len() as u64, found.len() as u64)]));
    }

    #[test]
    fn the_end_of_the_stream_proves_a_short_row_and_a_hole_does_not() {
        let (content, members) = members(2);
        let tail = &members[1][..];
        let (found, holes) = rescue(true, true, &[None, Some(tail)], 777);
        assert!(found == content[MEMBER_CONTENT..] && holes == [(0, 0)]);
        let (found, holes) = rescue(true, true, &[None, Some(tail), None], 777);
        assert_eq!((found.len(), holes), (0, vec![(0, 0)]));
    }

    #[test]
    fn members_inside_the_content_are_not_taken_for_the_streams_own() {
        // A backup of archives: whole members of the right size, in stored blocks as deflate leaves what does not compress.
        let mut inner = Vec::new();
        let zeros = vec![0; MEMBER_CONTENT];
        while inner.len() < 60_000 {
            MemberCompressor::new(Level::default()).compress(&zeros, &mut inner);
        }
        assert!(inner.len() < 65_000);
        let stored = |last: u8, bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap();
            [&[last][..], &length.to_le_bytes(), &(!length).to_le_bytes(), bytes].concat()
        };
        let mut blocks = Vec::new();
        for _ in 0..20 {
            blocks.extend(stored(0, &inner));
        }
        let left: [Option<&[u8]>; 2] = [None, Some(&blocks)];
        let (found, holes) = rescue(true, true, &left, 1 << 30);
        assert_eq!((found.len(), holes), (0, vec![(0, 0)]));
    }

    #[test]
    fn a_long_member_of_another_program_is_given_as_far_as_it_decodes() {
        use std::io::Write as _;
        let (content, _) = members(5);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        encoder.write_all(&content).unwrap();
        let stream = encoder.finish().unwrap();
        assert!(rescue(false, true, &[Some(&stream)], 65_000) == (content.clone(), vec![]));
        let (found, holes) = rescue(false, true, &[Some(&stream[..stream.len() / 2])], 65_000);
        assert!(content.starts_with(&found) && found.len() > content.len() / 3);
        assert_eq!(holes, [(found.len() as u64, found.len() as u64)]);
    }

    #[test]
    fn beginnings_of_members_without_end_are_not_followed_for_ever() {
        // Each looks like a member, and decodes to much before it turns out to be none.
        let mut member = Vec::new();
        MemberCompressor::new(Level::default()).compress(&vec![0; MEMBER_CONTENT], &mut member);
        let length = member.len();
        member[length - 5] ^= 1;
        let bombs = member.repeat(3000);
        let begun = std::time::Instant::now();
        let (found, _) = rescue(true, true, &[None, Some(&bombs)], 1 << 20);
        assert!(found.is_empty());
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }
}
