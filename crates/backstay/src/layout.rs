//! How much memory goes where: the part size, the uploads in flight and the threads, from one number.
//!
//! With a spool, one part more is on its way there. A second store costs nothing: a part is sent to both from the same memory.
//!
//! `part × (uploads + 1) + (workers + 2) × 2 × frame + workers × context` must fit `--memory`. When it does not, uploads go
//! down first, then the part size, then the workers; what was chosen is printed.

use backstay_format::codec::zstd::FRAME_CONTENT;
use backstay_format::segment::TAG;

use crate::error::{Error, Result};

/// The plaintext of a full segment.
pub const SEGMENT: u64 = 64 << 10;
/// The default budget.
pub const MEMORY: u64 = 128 << 20;
/// The default size of a part: with its header a little under 16 MiB.
pub const PART: u64 = 16 << 20;
/// The smallest part size that memory alone may force.
const SMALLEST_PART: u64 = 4 << 20;
/// The default bound of uploads in flight.
pub const UPLOADS: usize = 4;
/// What a compression context and its thread take, generously.
const CONTEXT: u64 = 6 << 20;
/// Room for the header line in a part.
const HEADER: u64 = 2 << 10;

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Segments of a full part.
    pub segs: u32,
    /// Uploads in flight.
    pub uploads: usize,
    /// Chunks that are compressed at the same time.
    pub workers: usize,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The budget in bytes.
    pub memory: u64,
    /// The part size, if it is given and not to be changed.
    pub part: Option<u64>,
    /// The bound of uploads in flight.
    pub uploads: usize,
    /// Threads.
    pub workers: usize,
    /// Whether parts go through a spool: one more is then in memory, on its way there.
    pub spool: bool,
}

impl Layout {
    /// Fits the wish into its memory.
    ///
    /// # Errors
    /// `usage.memory` when even the smallest layout does not fit.
    pub fn choose(wish: Wish) -> Result<Layout> {
        let mut part = wish.part.unwrap_or(PART);
        let (mut uploads, mut workers) = (wish.uploads.max(1), wish.workers.max(1));
        loop {
            let needed = part * (uploads as u64 + 1 + u64::from(wish.spool))
                + (workers as u64 + 2) * 2 * FRAME_CONTENT as u64
                + workers as u64 * CONTEXT;
            if needed <= wish.memory {
                return Ok(Layout { segs: segments(part), uploads, workers });
            }
            if uploads > 1 {
                uploads -= 1;
            } else if wish.part.is_none() && part > SMALLEST_PART {
                part /= 2;
            } else if workers > 1 {
                workers -= 1;
            } else {
                return Err(Error::Memory { needed, given: wish.memory, part: wish.part });
            }
        }
    }

    /// The nominal part size.
    pub fn part_size(&self) -> u64 {
        u64::from(self.segs) * (SEGMENT + TAG as u64)
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.part_size() as f64 / f64::from(1 << 20);
        write!(f, "parts of {mib:.1} MiB, {} uploads in flight, {} threads", self.uploads, self.workers)
    }
}

/// How many segments make a part of at most `part` bytes.
fn segments(part: u64) -> u32 {
    let segments = part.saturating_sub(HEADER) / (SEGMENT + TAG as u64);
    u32::try_from(segments.clamp(1, (1 << 32) / SEGMENT)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn choose(memory: u64, workers: usize) -> Layout {
        Layout::choose(Wish { memory, part: None, uploads: UPLOADS, workers, spool: false }).unwrap()
    }

    #[test]
    fn the_default_is_255_segments_and_four_uploads() {
        assert_eq!(choose(MEMORY, 2), Layout { segs: 255, uploads: 4, workers: 2 });
    }

    #[test]
    fn uploads_go_down_first_then_the_part_size_then_the_workers() {
        assert_eq!(choose(80 * MIB, 2), Layout { segs: 255, uploads: 2, workers: 2 });
        let small = choose(48 * MIB, 2);
        assert_eq!((small.uploads, small.workers), (1, 2));
        assert!(small.segs < 255);
        assert_eq!(choose(28 * MIB, 2).workers, 1);
    }

    #[test]
    fn a_spool_takes_one_part_more() {
        let wish = Wish { memory: 100 * MIB, part: None, uploads: UPLOADS, workers: 2, spool: false };
        assert_eq!(Layout::choose(wish).unwrap().uploads, 3);
        assert_eq!(Layout::choose(Wish { spool: true, ..wish }).unwrap().uploads, 2);
    }

    #[test]
    fn what_is_needed_is_stated_in_mib_that_suffice() {
        let wish = Wish { memory: MIB, part: None, uploads: UPLOADS, workers: 2, spool: false };
        let refused = Layout::choose(wish).unwrap_err();
        assert_eq!(refused.to_string(), "26 MiB of memory are needed, 1 MiB are allowed");
        assert_eq!(refused.hint().unwrap(), "raise --memory to at least 26MiB");
        assert!(Layout::choose(Wish { memory: 26 * MIB, ..wish }).is_ok());
    }

    #[test]
    fn a_part_size_that_was_given_is_kept_or_refused() {
        let wish = Wish { memory: 64 * MIB, part: Some(64 * MIB), uploads: 1, workers: 1, spool: false };
        let refused = Layout::choose(wish).unwrap_err();
        assert_eq!(refused.code(), "usage.memory");
        assert_eq!(refused.to_string(), "146 MiB of memory are needed, 64 MiB are allowed");
        assert_eq!(
            refused.hint().unwrap(),
            "raise --memory to at least 146MiB, or make parts smaller than --part-size 64MiB"
        );
        let kept = Layout::choose(Wish { memory: 256 * MIB, ..wish }).unwrap();
        assert!(kept.part_size() <= 64 * MIB && kept.part_size() > 63 * MIB);
    }
}
