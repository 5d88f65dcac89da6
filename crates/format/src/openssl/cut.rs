//! Where the stream may be cut into parts.
//!
//! Stock tools must not take the first parts of an archive for the whole. Given the stream up to a
//! cut at `c`, `openssl enc -d` writes plaintext up to somewhere in `[c - 32, c - 17]` before it
//! notices that the end is missing, and without `pipefail` nobody hears of it; if a gzip member
//! ends just there, `gunzip` is content with what it got. So no member may end near a cut, with
//! some margin: none in `[c - 48, c]`. Then the prefix always ends inside a member, and `gunzip`
//! fails.

use std::collections::VecDeque;

/// A cut at `c` needs that no member ends at an offset `e` of the gzip stream with `c - END_MARGIN
/// <= e <= c`.
pub const END_MARGIN: u64 = 48;

/// Decides where the parts of a stream end.
///
/// Offsets of cuts count from the beginning of the openssl stream, offsets of member ends from the
/// beginning of the gzip stream.
#[derive(Debug)]
pub struct Cutter {
    part_size: u64,
    /// Where the next cut is, unless an end that is not known yet moves it.
    next: u64,
    /// Ends of members that may still forbid a cut.
    ends: VecDeque<u64>,
    /// Length of the gzip stream so far.
    known: u64,
}

impl Cutter {
    /// A cutter for parts of about `part_size` bytes, at least 1.
    #[must_use]
    pub fn new(part_size: u64) -> Self {
        Self { part_size: part_size.max(1), next: part_size.max(1), ends: VecDeque::new(), known: 0 }
    }

    /// Says that a member of `length` bytes follows the ones before.
    pub fn member(&mut self, length: u64) {
        self.known += length;
        self.ends.push_back(self.known);
    }

    /// The next cut, if the members so far decide it. A cut only ever moves later: a part is
    /// `part_size` bytes or, where members are longer than the margin, at most 49 bytes longer.
    ///
    /// The end of the stream is no cut and always behind the last one.
    pub fn next_cut(&mut self) -> Option<u64> {
        while self.next <= self.known {
            let cut = self.next;
            // Later cuts are behind this one: what is too far before it is too far before them.
            while self.ends.front().is_some_and(|end| end + END_MARGIN < cut) {
                self.ends.pop_front();
            }
            match self.ends.iter().rfind(|end| **end <= cut) {
                Some(end) => self.next = end + END_MARGIN + 1,
                None => {
                    self.next = cut.saturating_add(self.part_size);
                    return Some(cut);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All cuts for members of these lengths, asked for after every member or only after the last.
    fn cuts(part_size: u64, members: &[u64], after_every: bool) -> Vec<u64> {
        let mut cutter = Cutter::new(part_size);
        let mut cuts = Vec::new();
        for (index, member) in members.iter().enumerate() {
            cutter.member(*member);
            if after_every || index + 1 == members.len() {
                cuts.extend(std::iter::from_fn(|| cutter.next_cut()));
            }
        }
        cuts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_member_ends_near_a_cut(
            part_size in prop_oneof![1u64..200, 1000u64..5000],
            members in prop::collection::vec(prop_oneof![18u64..70, 18u64..3000], 1..60),
        ) {
            let found = cuts(part_size, &members, true);
            let ends: Vec<u64> = members.iter().scan(0, |end, member| {
                *end += member;
                Some(*end)
            }).collect();
            let forbidden = |cut: u64| {
                ends.iter().any(|end| (cut.saturating_sub(END_MARGIN)..=cut).contains(end))
            };
            for cut in &found {
                prop_assert!(!forbidden(*cut), "cut at {cut}");
            }
            // Every part but the last has its size and no more bytes than the rule demands.
            let mut previous = 0;
            for cut in &found {
                prop_assert!(cut - previous >= part_size);
                prop_assert!((previous + part_size..*cut).all(forbidden), "cut at {cut}");
                previous = *cut;
            }
            // The last part is never empty, and no cut is left out.
            let total = *ends.last().unwrap();
            prop_assert!(previous < total);
            prop_assert!((previous + part_size..=total).all(forbidden));
            prop_assert_eq!(found, cuts(part_size, &members, false));
        }
    }

    #[test]
    fn a_member_longer_than_the_margin_moves_a_cut_by_at_most_49_bytes() {
        for end in 900..1100 {
            let cut = cuts(1000, &[end, 5000], true)[0];
            let expected = if (952..=1000).contains(&end) { end + 49 } else { 1000 };
            assert_eq!(cut, expected, "member ends at {end}");
        }
    }

    #[test]
    fn a_stream_shorter_than_a_part_is_not_cut() {
        assert!(cuts(1000, &[999], true).is_empty());
        assert!(cuts(1000, &[1000], true).is_empty());
        assert!(cuts(u64::MAX, &[1000], true).is_empty());
    }
}
