//! How much memory goes where: the part size, the uploads in flight and the threads, from one number.
//!
//! With a spool, one part more is on its way there. A second store costs nothing: a part is sent to both from the same memory.
//!
//! `(part + surplus) × (uploads + 1) + (workers + 2) × 2 × frame + workers × (context + 2 MiB)` must fit `--memory`. When it does not,
//! uploads go down first, then the part size, then the workers; a part size that is needed or was given goes down last or not at
//! all. What is left makes parts larger again, up to what was wished. What was chosen is printed.

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
/// The largest part: a full one has at most 2^32 bytes of content, and some stores take little more in one request.
pub const LARGEST_PART: u64 = 4 << 30;
/// The default bound of uploads in flight.
pub const UPLOADS: usize = 4;
/// What a thread takes beside its compression context, generously.
const THREAD: u64 = 2 << 20;
/// Room for the header line in a part.
const HEADER: u64 = 2 << 10;
const MIB: u64 = 1 << 20;

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The nominal part size.
    pub part: u64,
    /// Segments of a full part.
    pub segs: u32,
    /// Uploads in flight.
    pub uploads: usize,
    /// Chunks that are compressed at the same time.
    pub workers: usize,
}

/// How large parts are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartSize {
    /// Exactly so large: the user said so.
    Fixed(u64),
    /// So large if memory is left; smaller than [`PART`] before there are fewer threads.
    Preferred(u64),
    /// So large, since the archive would have too many otherwise: there are fewer uploads and threads first, and where that does not
    /// do, half of it, and so on.
    Needed(u64),
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The budget in bytes.
    pub memory: u64,
    /// The part size.
    pub part: PartSize,
    /// What a part may take in memory beyond its size.
    pub surplus: u64,
    /// The bound of uploads in flight.
    pub uploads: usize,
    /// Threads.
    pub workers: usize,
    /// What a compression context takes.
    pub context: u64,
    /// Whether parts go through a spool: one more is then in memory, on its way there.
    pub spool: bool,
}

impl Layout {
    /// Fits the wish into its memory.
    ///
    /// # Errors
    /// `usage.memory` when even the smallest layout does not fit; `usage.arguments` for parts of more than [`LARGEST_PART`].
    pub fn choose(wish: Wish) -> Result<Layout> {
        let workers = wish.workers.max(1);
        let (smallest, chosen) = match wish.part {
            PartSize::Fixed(part) if part > LARGEST_PART => {
                let why = format!("parts of {part} bytes are larger than 4 GiB, which is the most");
                return Err(Error::Usage { why });
            }
            PartSize::Fixed(part) => (part, wish.fit(part, 1)),
            PartSize::Preferred(most) => {
                let smallest = most.min(SMALLEST_PART);
                let chosen = halves(most.min(PART), smallest).find_map(|part| wish.fit(part, workers));
                let chosen = chosen.or_else(|| wish.fit(smallest, 1));
                (smallest, chosen.map(|chosen| alone_below(most.min(PART), chosen)))
            }
            PartSize::Needed(part) => {
                let smallest = part.min(SMALLEST_PART);
                let chosen = halves(part, smallest).find_map(|part| wish.fit(part, 1));
                (smallest, chosen.map(|chosen| alone_below(part, chosen)))
            }
        };
        let Some((part, uploads, workers)) = chosen else {
            let part = match wish.part {
                PartSize::Fixed(part) => Some(part),
                PartSize::Preferred(_) | PartSize::Needed(_) => None,
            };
            let copies = wish.copies(1).saturating_mul(smallest.saturating_add(wish.surplus));
            let needed = copies.saturating_add(wish.besides(1));
            return Err(Error::Memory { needed, given: wish.memory, part });
        };
        let part = match wish.part {
            PartSize::Fixed(part) => part,
            PartSize::Preferred(most) | PartSize::Needed(most) => {
                let each = wish.memory.saturating_sub(wish.besides(workers)) / wish.copies(uploads);
                let left = each.saturating_sub(wish.surplus) / MIB * MIB;
                part.max(left.min(most)).min(LARGEST_PART)
            }
        };
        Ok(Layout { part, segs: segments(part), uploads, workers })
    }

    /// The most bytes of a part that is stored.
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

impl Wish {
    /// As many uploads as fit beside parts of this size, or else fewer threads, but not fewer than these.
    fn fit(&self, part: u64, least_workers: usize) -> Option<(u64, usize, usize)> {
        let each = part.saturating_add(self.surplus).max(1);
        (least_workers..=self.workers.max(1)).rev().find_map(|workers| {
            let copies = self.memory.checked_sub(self.besides(workers))? / each;
            let uploads = usize::try_from(copies.checked_sub(self.copies(0))?).unwrap_or(usize::MAX);
            (uploads > 0).then(|| (part, uploads.min(self.uploads.max(1)), workers))
        })
    }

    /// What so many workers take beside the parts.
    fn besides(&self, workers: usize) -> u64 {
        let workers = workers as u64;
        let frames = workers.saturating_add(2).saturating_mul(2 * FRAME_CONTENT as u64);
        frames.saturating_add(workers.saturating_mul(self.context.saturating_add(THREAD)))
    }

    /// Parts in memory with so many uploads: one is being filled.
    fn copies(&self, uploads: usize) -> u64 {
        (uploads as u64).saturating_add(1 + u64::from(self.spool))
    }
}

/// Parts that are smaller than they should be are uploaded one at a time: what that leaves makes them larger.
fn alone_below(part: u64, (size, uploads, workers): (u64, usize, usize)) -> (u64, usize, usize) {
    (size, if size < part { 1 } else { uploads }, workers)
}

/// A size, half of it, and so on to the smallest.
fn halves(part: u64, smallest: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(part), move |part| (*part > smallest).then(|| (part / 2).max(smallest)))
}

/// How many segments make a part of at most `part` bytes.
fn segments(part: u64) -> u32 {
    let segments = part.saturating_sub(HEADER) / (SEGMENT + TAG as u64);
    u32::try_from(segments.clamp(1, (1 << 32) / SEGMENT)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(memory: u64, workers: usize) -> Wish {
        Wish {
            memory,
            part: PartSize::Preferred(PART),
            surplus: 0,
            uploads: UPLOADS,
            workers,
            context: 4 * MIB,
            spool: false,
        }
    }

    fn choose(memory: u64, workers: usize) -> Layout {
        Layout::choose(wish(memory, workers)).unwrap()
    }

    fn taken(wish: Wish, layout: Layout) -> u64 {
        wish.copies(layout.uploads) * (layout.part + wish.surplus) + wish.besides(layout.workers)
    }

    #[test]
    fn the_default_is_255_segments_and_four_uploads() {
        assert_eq!(choose(MEMORY, 2), Layout { part: PART, segs: 255, uploads: 4, workers: 2 });
    }

    #[test]
    fn uploads_go_down_first_then_the_part_size_then_the_workers() {
        assert_eq!(choose(80 * MIB, 2), Layout { part: PART, segs: 255, uploads: 2, workers: 2 });
        let small = choose(48 * MIB, 2);
        assert_eq!((small.uploads, small.workers), (1, 2));
        assert!(small.segs < 255);
        assert_eq!(choose(28 * MIB, 2).workers, 1);
    }

    #[test]
    fn what_memory_leaves_makes_parts_larger_up_to_what_is_preferred() {
        let preferred = |memory| Wish { part: PartSize::Preferred(64 * MIB), ..wish(memory * MIB, 2) };
        let sizes = [128, 129, 160, 192, 193, 224, 352, 512].map(|memory| {
            let layout = Layout::choose(preferred(memory)).unwrap();
            // Larger parts cost no upload and no thread.
            assert_eq!((layout.uploads, layout.workers), (4, 2), "{memory} MiB");
            layout.part / MIB
        });
        assert_eq!(sizes, [20, 20, 26, 32, 33, 39, 64, 64]);
        // Many cores have their threads, and the user's size is another matter.
        let many = Wish { workers: 16, ..preferred(192) };
        assert_eq!(Layout::choose(many).unwrap().workers, 16);
        let fixed = Layout::choose(Wish { part: PartSize::Fixed(64 * MIB), ..many }).unwrap();
        assert_eq!((fixed.part, fixed.uploads, fixed.workers), (64 * MIB, 1, 5));
    }

    #[test]
    fn a_size_that_is_needed_costs_uploads_and_threads_and_is_halved_where_even_one_is_too_many() {
        let needed = |part, workers| Wish { part: PartSize::Needed(part * MIB), ..wish(MEMORY, workers) };
        let layout = |wish| {
            let Layout { part, uploads, workers, .. } = Layout::choose(wish).unwrap();
            (part / MIB, uploads, workers)
        };
        assert_eq!(layout(needed(40, 16)), (40, 1, 4));
        assert_eq!(layout(needed(64, 16)), (35, 1, 5));
        assert_eq!(layout(needed(64, 2)), (50, 1, 2));
        assert_eq!(layout(needed(4096, 2)), (50, 1, 2));
        assert_eq!(layout(Wish { memory: 10 << 40, ..needed(9000, 2) }), (4096, 4, 2));
    }

    #[test]
    fn nothing_takes_more_than_the_memory() {
        let parts = [4, 7, 16, 17, 64, 300].map(|part| part * MIB);
        let sizes =
            parts.iter().flat_map(|part| [PartSize::Fixed(*part), PartSize::Preferred(*part), PartSize::Needed(*part)]);
        for part in sizes {
            for (memory, workers) in (26..400).step_by(3).flat_map(|mib| [1, 2, 5, 16, 64].map(|n| (mib * MIB, n))) {
                for (surplus, uploads, spool) in [(0, 4, false), (2 * MIB, 4, true), (MIB, 1, false), (0, 40, true)] {
                    for context in [4 * MIB, 34 * MIB] {
                        let wish = Wish { memory, part, surplus, uploads, workers, context, spool };
                        let Ok(layout) = Layout::choose(wish) else { continue };
                        assert!(taken(wish, layout) <= memory, "{wish:?} {layout:?}");
                        assert!(layout.uploads <= uploads && layout.workers <= workers, "{wish:?} {layout:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_high_level_takes_threads_or_is_refused() {
        let layout = |memory, workers| Layout::choose(Wish { context: 34 * MIB, ..wish(memory, workers) });
        assert_eq!(layout(MEMORY, 8).unwrap().workers, 2);
        assert_eq!(layout(64 * MIB, 8).unwrap().workers, 1);
        assert!(matches!(layout(48 * MIB, 8), Err(Error::Memory { needed, .. }) if needed == 56 * MIB));
    }

    #[test]
    fn a_spool_takes_one_part_more() {
        assert_eq!(choose(100 * MIB, 2).uploads, 3);
        assert_eq!(Layout::choose(Wish { spool: true, ..wish(100 * MIB, 2) }).unwrap().uploads, 2);
    }

    #[test]
    fn what_is_needed_is_stated_in_mib_that_suffice() {
        let refused = Layout::choose(wish(MIB, 2)).unwrap_err();
        assert_eq!(refused.to_string(), "26 MiB of memory are needed, 1 MiB are allowed");
        assert_eq!(refused.hint().unwrap(), "raise --memory to at least 26MiB");
        assert!(Layout::choose(wish(26 * MIB, 2)).is_ok());
        // Advice about a --part-size is for those who gave one.
        let ours = [PartSize::Preferred(64 * MIB), PartSize::Needed(64 * MIB)];
        for part in ours {
            let refused = Layout::choose(Wish { part, ..wish(MIB, 2) }).unwrap_err();
            assert_eq!(refused.hint().unwrap(), "raise --memory to at least 26MiB");
        }
    }

    #[test]
    fn a_part_size_that_was_given_is_kept_or_refused() {
        let wish = Wish { part: PartSize::Fixed(64 * MIB), uploads: 1, ..wish(64 * MIB, 1) };
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

    #[test]
    fn extreme_numbers_neither_wrap_nor_panic() {
        // Four times 2^62 is 2^64, which is 0 to whoever lets it wrap.
        for part in [1 << 62, u64::MAX, u64::MAX / 2, LARGEST_PART + 1] {
            let refused = Layout::choose(Wish { part: PartSize::Fixed(part), ..wish(MEMORY, 2) }).unwrap_err();
            assert_eq!(refused.code(), "usage.arguments", "{refused}");
            let ours = [PartSize::Preferred(part), PartSize::Needed(part)];
            for part in ours {
                assert!(Layout::choose(Wish { part, ..wish(MEMORY, 2) }).unwrap().part <= 64 * MIB);
                assert!(Layout::choose(Wish { part, ..wish(u64::MAX, 2) }).unwrap().part <= LARGEST_PART);
            }
        }
        let most = Wish { memory: u64::MAX, uploads: usize::MAX, workers: 1024, ..wish(0, 0) };
        assert!(taken(most, Layout::choose(most).unwrap()) > 0);
        let refused = Layout::choose(Wish { surplus: u64::MAX, ..wish(MEMORY, 2) }).unwrap_err();
        assert_eq!(refused.code(), "usage.memory");
        assert_eq!(Layout::choose(Wish { part: PartSize::Fixed(0), ..wish(MEMORY, 2) }).unwrap().segs, 1);
    }
}
