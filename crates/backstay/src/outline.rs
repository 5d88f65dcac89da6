//! What names and sizes tell of an openssl stream that no manifest seals. Nothing says how many parts it has, so that it is whole can
//! never be told without reading it; that it is not, often.

use backstay_format::openssl;

/// What `split -b` is told: a part that is a whole number of these may be a piece that another one followed.
const ROUND: [u64; 2] = [1 << 20, 1_000_000];

/// The objects of a stream, in whatever order they are listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outline {
    single: bool,
    parts: u32,
    /// The lowest and the highest number of a part.
    numbers: Option<(u32, u32)>,
    /// The smallest and the largest part.
    sizes: Option<(u64, u64)>,
    /// Of all parts, or of the single object.
    length: u64,
}

impl Outline {
    pub(crate) fn add_part(&mut self, n: u32, size: u64) {
        let (first, last) = self.numbers.unwrap_or((n, n));
        let (smallest, largest) = self.sizes.unwrap_or((size, size));
        self.numbers = Some((first.min(n), last.max(n)));
        self.sizes = Some((smallest.min(size), largest.max(size)));
        self.parts += 1;
        self.length += size;
    }

    pub(crate) fn add_single(&mut self, size: u64) {
        self.single = true;
        self.length += size;
    }

    /// Whether it is one object, which stores show when all of it is there.
    pub(crate) fn is_single(&self) -> bool {
        self.single && self.parts == 0
    }

    /// What is certainly wrong with it.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.single && self.parts > 0 {
            return Some("a single object stands beside its parts");
        }
        if let Some((first, last)) = self.numbers
            && (first > 1 || last - first != self.parts - 1)
        {
            return Some("a part is missing, or two names are one part");
        }
        openssl::check_length(self.length).is_err().then_some("its length is not that of a whole stream")
    }

    /// What is wrong with it, or very likely is: a stream whose last part is as long as the others was probably cut behind it. One in tens
    /// of thousands has such a length by chance.
    pub(crate) fn doubt(&self) -> Option<&'static str> {
        let round = |size: u64| ROUND.iter().any(|unit| size.is_multiple_of(*unit));
        self.fault().or_else(|| {
            let (smallest, largest) = self.sizes?;
            (smallest == largest && (self.parts > 1 || round(largest)))
                .then_some("its last part is as long as if another followed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[(u32, u64)]) -> Outline {
        let mut outline = Outline::default();
        parts.iter().for_each(|(n, size)| outline.add_part(*n, *size));
        outline
    }

    #[test]
    fn a_whole_stream_has_nothing_against_it_in_whatever_order_its_parts_are_listed() {
        for parts in
            [&[(0, 64), (10, 32), (1, 64)][..], &[(1, 64), (0, 64), (2, 16)], &[(2, 48), (1, 64)], &[(0, 4096)]]
        {
            let expected = if parts[1..].first().is_some_and(|(n, _)| *n == 10) { Some("a part") } else { None };
            let doubt = of(parts).doubt();
            assert_eq!(doubt.map(|why| &why[..6]), expected, "{parts:?}");
        }
        let mut single = Outline::default();
        single.add_single(1 << 20);
        assert_eq!(single.doubt(), None);
    }

    #[test]
    fn a_gap_a_twin_a_late_beginning_and_a_wrong_length_are_faults() {
        let missing = Some("a part is missing, or two names are one part");
        assert_eq!(of(&[(0, 64), (2, 32)]).fault(), missing);
        assert_eq!(of(&[(2, 64), (3, 32)]).fault(), missing);
        assert_eq!(of(&[(0, 64), (1, 64), (1, 32)]).fault(), missing);
        assert_eq!(of(&[(0, 64), (1, 31)]).fault(), Some("its length is not that of a whole stream"));
        assert!(of(&[]).fault().is_some());
        let mut beside = of(&[(0, 64)]);
        beside.add_single(64);
        assert_eq!(beside.fault(), Some("a single object stands beside its parts"));
    }

    #[test]
    fn a_stream_that_ends_with_a_whole_part_is_doubted_and_not_at_fault() {
        for parts in [&[(0, 64), (1, 64)][..], &[(1, 160), (2, 160), (3, 160)], &[(0, 5 << 20)], &[(0, 16_000_000)]] {
            assert!(of(parts).fault().is_none() && of(parts).doubt().is_some(), "{parts:?}");
        }
    }
}
