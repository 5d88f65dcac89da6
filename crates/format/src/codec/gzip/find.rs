//! Search for a short byte string.
//!
//! Horspool's rule: look at the byte under the needle's end and shift by what the needle says about
//! it. On compressed data nearly every look shifts by the whole needle.

/// A needle of `N` bytes with its table of shifts.
pub(super) struct Needle<const N: usize> {
    bytes: [u8; N],
    shift: [u8; 256],
}

impl<const N: usize> Needle<N> {
    /// Prepares a search for `bytes`.
    #[allow(clippy::cast_possible_truncation)] // N is 8 or 10
    pub(super) const fn new(bytes: [u8; N]) -> Self {
        assert!(N > 0 && N < 256);
        let mut shift = [N as u8; 256];
        let mut at = 0;
        while at + 1 < N {
            shift[bytes[at] as usize] = (N - 1 - at) as u8;
            at += 1;
        }
        Self { bytes, shift }
    }

    /// The first place at or after `from` where the needle stands in `haystack`.
    pub(super) fn find(&self, haystack: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while let Some(window) = haystack.get(at..at + N) {
            let last = window[N - 1];
            if last == self.bytes[N - 1] && window == self.bytes {
                return Some(at);
            }
            at += usize::from(self.shift[usize::from(last)]);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Needle;

    proptest! {
        #[test]
        fn finds_what_a_naive_search_finds(
            haystack in prop::collection::vec(0u8..3, 0..200),
            needle: [bool; 4],
            from in 0usize..220,
        ) {
            let needle = needle.map(u8::from);
            let naive = (from..haystack.len()).find(|at| haystack[*at..].starts_with(&needle));
            prop_assert_eq!(Needle::new(needle).find(&haystack, from), naive);
        }
    }
}
