//! Finding the frames that are whole in an inner stream with holes.
//!
//! The seek table tells where every frame begins, so a hole costs only the frames that it touches. Without the table frames
//! are found by hopping from the first one, which ends at the first hole. Nothing is ever searched for: incompressible
//! content can hold whole frames of its own.

use super::{Frame, FrameSplitter, MAX_FRAME_CONTENT, SeekTable};

/// What is left of the stream, in order.
#[derive(Debug)]
pub enum Rescued {
    /// A whole frame.
    Frame {
        /// The frame, not yet decoded.
        frame: Frame,
        /// Where its content begins in the content.
        at: u64,
    },
    /// Bytes of the content that are lost.
    Lost {
        /// The first one.
        start: u64,
        /// The one behind the last one; `None` when it is not known.
        end: Option<u64>,
    },
}

/// Takes the pieces of an inner stream that are left and gives the frames in them.
#[derive(Debug)]
pub struct FrameRescue {
    way: Way,
    /// Where the next piece must begin to follow the last one without a hole.
    next: u64,
}

#[derive(Debug)]
enum Way {
    Table {
        table: SeekTable,
        /// The frame that is waited for, where it begins in the stream, and where its content does.
        entry: usize,
        stored: u64,
        content: u64,
        /// The beginning of it.
        held: Vec<u8>,
    },
    Hops {
        splitter: FrameSplitter,
        content: u64,
    },
    /// There is nothing more to find.
    Ended,
}

impl FrameRescue {
    /// With the stream's own table, or without one.
    pub fn new(table: Option<SeekTable>) -> FrameRescue {
        let way = match table {
            Some(table) => Way::Table { table, entry: 0, stored: 0, content: 0, held: Vec::new() },
            None => Way::Hops { splitter: FrameSplitter::default(), content: 0 },
        };
        FrameRescue { way, next: 0 }
    }

    /// Takes authentic bytes that begin at byte `at` of the stream, which never goes back.
    pub fn push(&mut self, mut at: u64, mut bytes: &[u8], rescued: &mut Vec<Rescued>) {
        let hole = at != self.next;
        self.next = at + bytes.len() as u64;
        match &mut self.way {
            Way::Ended => {}
            Way::Hops { content, .. } if hole => {
                rescued.push(Rescued::Lost { start: *content, end: None });
                self.way = Way::Ended;
            }
            Way::Hops { .. } => self.hop(bytes, rescued),
            Way::Table { table, entry, stored, content, held } => {
                if hole {
                    held.clear();
                }
                while let Some(frame) = table.entries.get(*entry) {
                    let end = *stored + u64::from(frame.stored);
                    // Padding and empty frames have no content to take out.
                    let is_held = frame.content > 0
                        && at == *stored + held.len() as u64
                        && is_within_limits(u64::from(frame.stored), frame.content);
                    let (now, later) =
                        bytes.split_at(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len()));
                    if is_held {
                        held.extend_from_slice(now);
                    }
                    if end > self.next {
                        return;
                    }
                    let after = *content + u64::from(frame.content);
                    if after > *content {
                        rescued.push(match sole_frame(held, *stored, frame.content).filter(|_| is_held) {
                            Some(frame) => Rescued::Frame { frame, at: *content },
                            None => Rescued::Lost { start: *content, end: Some(after) },
                        });
                    }
                    held.clear();
                    at += now.len() as u64;
                    bytes = later;
                    (*entry, *stored, *content) = (*entry + 1, end, after);
                }
                self.way = Way::Ended;
            }
        }
    }

    fn hop(&mut self, bytes: &[u8], rescued: &mut Vec<Rescued>) {
        let Way::Hops { splitter, content } = &mut self.way else { return };
        splitter.push(bytes);
        loop {
            match splitter.next() {
                Ok(Some(frame)) => {
                    let at = *content;
                    *content += frame.content as u64;
                    rescued.push(Rescued::Frame { frame, at });
                }
                Ok(None) => break,
                Err(_) => {
                    rescued.push(Rescued::Lost { start: *content, end: None });
                    self.way = Way::Ended;
                    break;
                }
            }
        }
    }

    /// Nothing more is left.
    pub fn finish(self, rescued: &mut Vec<Rescued>) {
        match self.way {
            Way::Ended => {}
            Way::Hops { splitter, content } => {
                if splitter.finish().is_err() {
                    rescued.push(Rescued::Lost { start: content, end: None });
                }
            }
            Way::Table { table, content, .. } => {
                let end = table.content();
                if content < end {
                    rescued.push(Rescued::Lost { start: content, end: Some(end) });
                }
            }
        }
    }
}

/// Whether a frame may be so long: what is longer is not held.
fn is_within_limits(stored: u64, content: u32) -> bool {
    content == 0
        || (u64::from(content) <= MAX_FRAME_CONTENT && stored <= u64::from(content) + super::FRAME_SURPLUS as u64)
}

/// The one frame that these bytes are, if they are one that a reader takes and the table says the truth.
fn sole_frame(bytes: &[u8], at: u64, content: u32) -> Option<Frame> {
    let mut splitter = FrameSplitter::default();
    splitter.push(bytes);
    let frame = splitter.next().ok()??;
    let whole = frame.bytes.len() == bytes.len() && frame.content == content as usize;
    whole.then_some(Frame { at, ..frame })
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    clippy::cast_possible_truncation,
    reason = "the streams of these tests are short"
)]
mod tests {
    use super::*;
    use crate::codec::zstd::{Compressor, Decompressor};

    /// A stream of frames of 1000 bytes that do not compress, and its content.
    fn stream(frames: usize, padding: bool) -> (Vec<u8>, Vec<u8>, SeekTable) {
        let mut state = 1_u32;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(1000 * frames - 10)
        .collect();
        let (mut table, mut stream, mut bytes) = (SeekTable::default(), Vec::new(), Vec::new());
        for chunk in content.chunks(1000) {
            Compressor::new(3).compress(chunk, &mut bytes);
            table.push(bytes.len(), chunk.len());
            stream.extend(&bytes);
        }
        if padding {
            for frame in table.pad(stream.len() as u64, stream.len() as u64 + 3000) {
                stream.extend(frame.header());
                stream.resize(stream.len() + frame.zeros() as usize, 0);
            }
        }
        stream.extend(table.encode());
        let parsed = SeekTable::parse(&stream, stream.len() as u64).unwrap();
        (stream, content, parsed)
    }

    /// What comes out when these ranges of the stream are left: the content with zeros in the holes, and the holes.
    fn rescue(
        stream: &[u8],
        table: Option<SeekTable>,
        left: &[std::ops::Range<usize>],
        cut: usize,
    ) -> (Vec<u8>, Vec<(u64, Option<u64>)>) {
        let mut rescue = FrameRescue::new(table);
        let mut rescued = Vec::new();
        for range in left {
            let mut at = range.start;
            for piece in stream[range.clone()].chunks(cut) {
                rescue.push(at as u64, piece, &mut rescued);
                at += piece.len();
            }
        }
        rescue.finish(&mut rescued);
        let (mut content, mut piece, mut holes) = (Vec::new(), Vec::new(), Vec::new());
        for found in rescued {
            match found {
                Rescued::Frame { frame, at } => {
                    Decompressor::default().decompress(&frame, &mut piece).unwrap();
                    content.resize(at as usize, 0);
                    content.extend(&piece);
                }
                Rescued::Lost { start, end } => holes.push((start, end)),
            }
        }
        (content, holes)
    }

    #[test]
    fn with_the_table_a_hole_costs_the_frames_that_it_touches() {
        for padding in [false, true] {
            let (stream, content, table) = stream(5, padding);
            let length = table.entries[0].stored as usize;
            for cut in [1, 700, 100_000] {
                assert_eq!(rescue(&stream, Some(table.clone()), &[0..stream.len()], cut), (content.clone(), vec![]));
                let mut expected = content.clone();
                expected[1000..3000].fill(0);
                let left = [0..length + 5, 2 * length + 1..stream.len()];
                let holes = vec![(1000, Some(2000)), (2000, Some(3000))];
                assert_eq!(rescue(&stream, Some(table.clone()), &left, cut), (expected, holes), "by {cut}");
                // The beginning, and the end with the table.
                let (tail, holes) = rescue(&stream, Some(table.clone()), &[4 * length..4 * length + length + 1], cut);
                assert_eq!(&tail[4000..], &content[4000..]);
                assert_eq!((holes[0], holes.len()), ((0, Some(1000)), 4));
                let nothing = rescue(&stream, Some(table.clone()), &[], cut);
                assert_eq!(nothing, (vec![], vec![(0, Some(4990))]));
            }
        }
    }

    #[test]
    fn without_the_table_what_follows_the_first_hole_is_lost() {
        let (stream, content, table) = stream(5, false);
        let length = table.entries[0].stored as usize;
        assert_eq!(rescue(&stream, None, &[0..stream.len()], 333), (content.clone(), vec![]));
        let (head, holes) = rescue(&stream, None, &[0..2 * length + 9, 3 * length..stream.len()], 333);
        assert_eq!((&head[..], holes), (&content[..2000], vec![(2000, None)]));
        let (head, holes) = rescue(&stream, None, &[0..length], 333);
        assert_eq!((&head[..], holes), (&content[..1000], vec![(1000, None)]), "the end itself is a hole");
    }

    #[test]
    fn a_frame_that_the_table_is_wrong_about_is_lost_and_never_held_beyond_the_limits() {
        let (stream, content, mut table) = stream(3, false);
        let (first, second) = (table.entries[0], table.entries[1]);
        table.entries[1].content = 999;
        let (_, holes) = rescue(&stream, Some(table.clone()), &[0..stream.len()], 4096);
        assert_eq!(holes, [(1000, Some(1999))]);
        table.entries[1] = second;
        table.entries[0].content = u32::MAX;
        let (found, holes) = rescue(&stream, Some(table), &[0..stream.len()], 4096);
        assert_eq!(holes, [(0, Some(u64::from(u32::MAX)))]);
        let _ = (first, found, content);
    }
}
