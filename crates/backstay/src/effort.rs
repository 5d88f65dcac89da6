//! How hard to compress: the most that does not hold the source back.
//!
//! The source is a dump whose server waits while nobody reads, so a level that keeps both from running is too high, however
//! small it makes the archive. A level is lowered when the source was held back for more than a twentieth of the time while
//! the store was not what everybody waited for: against a slow store a lower level would only send more. It is raised again
//! when nothing was held back for a while. Which level a chunk was compressed at matters to no reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use backstay_format::header::Codec;

use crate::error::{Error, Result};

/// The compression's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// zstd 3 or gzip 6 while the source waits for itself, less while it would wait for us: at the least zstd 1 or gzip 2.
    #[default]
    Auto,
    /// Always this one: -7 to 19 for zstd, 1 to 12 for gzip.
    Fixed(i32),
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Level, String> {
        match text {
            "auto" => Ok(Level::Auto),
            _ => text.parse().map(Level::Fixed).map_err(|_| format!("`{text}` is neither a number nor auto")),
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Level::Auto => f.write_str("auto"),
            Level::Fixed(level) => write!(f, "{level}"),
        }
    }
}

/// Levels from the one that is held while the source waits to the least. Between them the time halves about twice; zstd 2
/// reaches 99 % of level 3's ratio, libdeflate's 5 that of 6, and its 2 is the least that stays well below what gzip makes.
const ZSTD: &[i32] = &[Effort::HIGHEST_ZSTD, 2, 1];
const GZIP: &[i32] = &[6, 5, 2];
/// Chunks after which the level is judged: 16 MiB of content.
const WINDOW: u32 = 8;
/// Windows without any holding back after which the next higher level is tried.
const CALM: u32 = 8;

/// Chooses the level while the content passes.
pub(crate) struct Effort {
    steps: Vec<i32>,
    at: usize,
    level: Arc<AtomicI32>,
    window: Option<Window>,
    calm: u32,
}

/// What has been seen since the level was last judged.
struct Window {
    begun: Instant,
    held_before: Duration,
    storing: Duration,
    chunks: u32,
}

impl Effort {
    /// The highest level of zstd that is chosen without being asked for.
    pub(crate) const HIGHEST_ZSTD: i32 = 3;

    pub(crate) fn new(codec: Codec, level: Level) -> Result<Effort> {
        let (steps, least, most) = match codec {
            Codec::Zstd => (ZSTD, -7, 19),
            Codec::Gzip => (GZIP, 1, 12),
        };
        let steps = match level {
            Level::Auto => steps.to_vec(),
            Level::Fixed(level) if (least..=most).contains(&level) => vec![level],
            Level::Fixed(level) => {
                let codec = if codec == Codec::Zstd { "zstd" } else { "gzip" };
                let why = format!("the level is {level}, for {codec} it must be {least} to {most}");
                return Err(Error::Usage { why });
            }
        };
        Ok(Effort { level: Arc::new(AtomicI32::new(steps[0])), steps, at: 0, window: None, calm: 0 })
    }

    /// The level to compress at, whenever it is looked at.
    pub(crate) fn level(&self) -> Arc<AtomicI32> {
        Arc::clone(&self.level)
    }

    /// For so long nothing was taken from the compressors, because the store was waited for.
    pub(crate) fn stored(&mut self, time: Duration) {
        if let Some(window) = &mut self.window {
            window.storing += time;
        }
    }

    /// A chunk is compressed, and up to now the source has been held back for so long in all.
    pub(crate) fn compressed(&mut self, now: Instant, held: Duration) {
        let Some(window) = &mut self.window else {
            self.window = Some(Window { begun: now, held_before: held, storing: Duration::ZERO, chunks: 0 });
            return;
        };
        window.chunks += 1;
        if window.chunks < WINDOW {
            return;
        }
        let took = now.saturating_duration_since(window.begun);
        let ours = held.saturating_sub(window.held_before).saturating_sub(window.storing);
        self.window = Some(Window { begun: now, held_before: held, storing: Duration::ZERO, chunks: 0 });
        if ours > took / 20 {
            self.calm = 0;
            self.at = (self.at + 1).min(self.steps.len() - 1);
        } else {
            self.calm += 1;
            if self.calm >= CALM {
                self.calm = 0;
                self.at = self.at.saturating_sub(1);
            }
        }
        self.level.store(self.steps[self.at], Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes windows of one second in which the source was held back, and the store waited for, for so many milliseconds.
    fn levels(effort: &mut Effort, windows: &[(u64, u64)]) -> Vec<i32> {
        let (mut now, mut held) = (Instant::now(), Duration::ZERO);
        effort.compressed(now, held);
        let level = effort.level();
        windows
            .iter()
            .map(|(waited, storing)| {
                now += Duration::from_secs(1);
                held += Duration::from_millis(*waited);
                effort.stored(Duration::from_millis(*storing));
                for _ in 0..WINDOW {
                    effort.compressed(now, held);
                }
                level.load(Ordering::Relaxed)
            })
            .collect()
    }

    #[test]
    fn the_level_falls_while_the_source_is_held_back_and_never_below_the_least() {
        let mut zstd = Effort::new(Codec::Zstd, Level::Auto).unwrap();
        assert_eq!(levels(&mut zstd, &[(40, 0), (60, 0), (500, 0), (900, 0)]), [3, 2, 1, 1]);
        let mut gzip = Effort::new(Codec::Gzip, Level::Auto).unwrap();
        assert_eq!(levels(&mut gzip, &[(900, 0); 5]), [5, 2, 2, 2, 2]);
    }

    #[test]
    fn a_slow_store_does_not_lower_the_level() {
        let mut effort = Effort::new(Codec::Zstd, Level::Auto).unwrap();
        assert_eq!(levels(&mut effort, &[(900, 880), (900, 900)]), [3, 3]);
    }

    #[test]
    fn the_level_rises_again_after_calm_windows() {
        let mut effort = Effort::new(Codec::Zstd, Level::Auto).unwrap();
        let mut windows = vec![(900, 0), (900, 0)];
        windows.extend([(0, 0); 2 * CALM as usize]);
        let levels = levels(&mut effort, &windows);
        assert_eq!((levels[1], levels[2], *levels.last().unwrap()), (1, 1, 3));
    }

    #[test]
    fn a_fixed_level_stays_fixed_and_must_exist() {
        let mut effort = Effort::new(Codec::Zstd, Level::Fixed(7)).unwrap();
        assert_eq!(levels(&mut effort, &[(900, 0); 3]), [7, 7, 7]);
        for (codec, level) in [(Codec::Zstd, 20), (Codec::Zstd, -8), (Codec::Gzip, 0), (Codec::Gzip, 13)] {
            let error = Effort::new(codec, Level::Fixed(level)).err().unwrap();
            assert_eq!(error.code(), "usage.arguments", "{level}");
        }
    }
}
