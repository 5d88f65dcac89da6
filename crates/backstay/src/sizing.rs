//! How large the parts of a backup are to be, by its format, its store, and how much may come.
//!
//! A manifest lists so many parts and not more, and Azure makes an object of so many blocks. Nobody is to find that out at the end of a long
//! run: where it is known about how much will come, parts are so large that half as many do; otherwise the run says when half of them
//! are used.

use backstay_format::manifest::MOST_PARTS;
use backstay_format::openssl::BEYOND;
use backstay_store::Store;

use crate::backup::{BackupOptions, Format};
use crate::error::Result;
use crate::layout::{Layout, PART, PartSize, Wish};
use crate::observe::Event;

/// What is preferred in the openssl profile: fewer names on the stock restore command's line.
const OPENSSL_PART: u64 = 64 << 20;
/// Above so many parts that command's argument list becomes a problem.
pub(crate) const OPENSSL_MANY_PARTS: u32 = 10_000;
const MIB: u64 = 1 << 20;

/// The layout of a backup, and where it comes to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizing {
    pub(crate) layout: Layout,
    /// The most parts, or the most pieces of the one object.
    pub(crate) most: u32,
    single: bool,
    /// About how many bytes will come.
    expected: Option<u64>,
}

impl Sizing {
    /// Fits what is asked for into the memory.
    ///
    /// # Errors
    /// Those of [`Layout::choose`].
    pub(crate) fn of(options: &BackupOptions, store: &Store, expected: Option<u64>, cores: usize) -> Result<Sizing> {
        let single = matches!(options.format, Format::Openssl { single: true, .. });
        let limits = if single { store.stream_limits() } else { Some((MOST_PARTS, u64::MAX)) };
        Sizing::within(limits, options, expected, cores)
    }

    fn within(
        limits: Option<(u32, u64)>,
        options: &BackupOptions,
        expected: Option<u64>,
        cores: usize,
    ) -> Result<Sizing> {
        let openssl = matches!(options.format, Format::Openssl { .. });
        let single = matches!(options.format, Format::Openssl { single: true, .. });
        let share = |count: u32| expected.unwrap_or(0).div_ceil(u64::from(count / 2)).next_multiple_of(MIB);
        let preferred = match (openssl, single) {
            (true, false) => OPENSSL_PART.max(share(OPENSSL_MANY_PARTS * 2)),
            // One object has one name.
            (true, true) => OPENSSL_PART,
            (false, _) => PART,
        };
        let needed = match limits {
            // A stream of unknown length had better not end at a limit that is so low.
            Some((most, largest)) if single => OPENSSL_PART.max(share(most)).min(largest),
            Some((most, _)) => share(most),
            None => 0,
        };
        let wish = Wish {
            memory: options.memory,
            part: options.part_size.map_or(PartSize::Preferred(preferred), PartSize::Fixed),
            surplus: if openssl { BEYOND as u64 } else { 0 },
            // The pieces of one object go one after another.
            uploads: if single { 1 } else { options.uploads },
            workers: cores,
            context: options.context(),
            spool: options.spool.is_some(),
        };
        let mut layout = Layout::choose(wish)?;
        if options.part_size.is_none() && layout.part < needed {
            layout = Layout::choose(Wish { part: PartSize::Needed(needed), ..wish })?;
        }
        let most = limits.map_or(u32::MAX, |(most, _)| most);
        Ok(Sizing { layout, most, single, expected })
    }

    /// What is to be said before anything is read: that what is expected may be too much.
    pub(crate) fn foreseen(&self) -> Option<Event> {
        let expected = self.expected?;
        let count = expected.div_ceil(self.layout.part.max(1));
        (count > u64::from(self.most / 2)).then(|| {
            self.warning(&format!(
                "{expected} bytes are expected, which may be {count} {}, and there can be {}: give a larger --part-size, or more --memory",
                self.noun(),
                self.most
            ))
        })
    }

    /// What is to be said when part `n` is made: that half of what there can be is used.
    pub(crate) fn half_used(&self, n: u32) -> Option<Event> {
        (n == self.most / 2).then(|| {
            self.warning(&format!(
                "this backup has {n} {} already, and there can be {}: it fails when it needs more, so take a larger --part-size than {} the next time",
                self.noun(),
                self.most,
                self.layout.part
            ))
        })
    }

    fn noun(&self) -> &'static str {
        if self.single { "blocks of one object" } else { "parts" }
    }

    fn warning(&self, text: &str) -> Event {
        Event::Warning { code: (!self.single).then_some("manifest.limit"), text: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use backstay_format::header::Codec;
    use backstay_format::openssl::{Digest, Kdf, Password};
    use backstay_format::segment::Aead;

    use super::*;
    use crate::backup::Padding;
    use crate::keys::Encryption;

    const TIB: u64 = 1 << 40;

    fn options(openssl: bool, single: bool) -> BackupOptions {
        let format = match openssl {
            true => {
                Format::Openssl { kdf: Kdf::BytesToKey(Digest::Md5), password: Password::new(b"K".to_vec()), single }
            }
            false => Format::Native {
                aead: Aead::Aes256Gcm,
                codec: Codec::Zstd,
                encryption: Encryption::Open,
                padding: Padding::None,
                signing_key: None,
            },
        };
        BackupOptions::new("de2fe9e4-6535-423d-8709-dca87df7985c".parse().unwrap(), "pg-main".to_owned(), format)
    }

    fn native(expected: u64, memory: u64) -> Sizing {
        let options = BackupOptions { memory: memory * MIB, ..options(false, false) };
        Sizing::of(&options, &Store::memory(), Some(expected), 2).unwrap()
    }

    fn said(event: Option<Event>) -> String {
        match event {
            Some(Event::Warning { code, text }) => format!("{}: {text}", code.unwrap_or("plain")),
            Some(other) => format!("{other:?}"),
            None => String::new(),
        }
    }

    #[test]
    fn a_source_that_is_known_to_be_large_gets_larger_parts() {
        let plain = Sizing::of(&options(false, false), &Store::memory(), None, 2).unwrap();
        assert_eq!((plain.layout.part, plain.layout.uploads), (PART, 4));
        assert_eq!(native(5 * TIB, 128).layout, plain.layout);
        for (expected, memory) in [(6 * TIB, 128), (15 * TIB, 128), (100 * TIB, 1024), (1000 * TIB, 16384)] {
            let sizing = native(expected, memory);
            assert!(sizing.layout.part > PART && sizing.layout.part.is_multiple_of(MIB), "{sizing:?}");
            assert!(expected.div_ceil(sizing.layout.part_size()) < u64::from(MOST_PARTS), "{sizing:?}");
            assert!(sizing.foreseen().is_none(), "{sizing:?}");
        }
    }

    #[test]
    fn what_may_be_too_much_is_said_before_it_is_read() {
        // As large as the memory lets parts be.
        let sizing = native(30 * TIB, 128);
        assert_eq!(sizing.layout.part, 50 * MIB);
        let text = said(sizing.foreseen());
        assert!(
            text.starts_with("manifest.limit: 32985348833280 bytes are expected, which may be 629146 parts"),
            "{text}"
        );
        let fixed = BackupOptions { part_size: Some(MIB), ..options(false, false) };
        let sizing = Sizing::of(&fixed, &Store::memory(), Some(TIB), 2).unwrap();
        assert_eq!(sizing.layout.part, MIB);
        assert!(said(sizing.foreseen()).contains("--part-size"));
    }

    #[test]
    fn half_of_the_parts_is_said_once() {
        let sizing = native(0, 128);
        let told = (0..MOST_PARTS).filter(|n| sizing.half_used(*n).is_some()).collect::<Vec<_>>();
        assert_eq!(told, [MOST_PARTS / 2]);
        let text = said(sizing.half_used(told[0]));
        assert!(text.starts_with("manifest.limit: this backup has 375000 parts already"), "{text}");
    }

    #[test]
    fn the_openssl_profile_prefers_64_mib_and_takes_what_memory_leaves() {
        let part = |memory: u64, cores, expected| {
            let options = BackupOptions { memory: memory * MIB, ..options(true, false) };
            let layout = Sizing::of(&options, &Store::memory(), expected, cores).unwrap().layout;
            (layout.part / MIB, layout.uploads, layout.workers)
        };
        assert_eq!(part(128, 2, None), (17, 4, 2));
        assert_eq!(part(192, 2, None), (30, 4, 2));
        assert_eq!(part(192, 16, None).2, 16);
        assert_eq!(part(360, 2, None), (64, 4, 2));
        // Not more than 10,000 names, where memory is left for that.
        assert_eq!(part(2048, 2, Some(2 * TIB)), (210, 4, 2));
    }

    #[test]
    fn blocks_are_as_large_as_a_limit_of_fifty_thousand_wants_them() {
        let azure = |memory: u64, cores, expected| {
            let options = BackupOptions { memory: memory * MIB, ..options(true, true) };
            Sizing::within(Some((50_000, 4000 * MIB)), &options, expected, cores).unwrap()
        };
        let part = |sizing: Sizing| (sizing.layout.part / MIB, sizing.layout.workers);
        assert_eq!(part(azure(128, 2, None)), (47, 2));
        assert_eq!(part(azure(128, 16, None)), (32, 5));
        assert_eq!(part(azure(192, 2, None)), (64, 2));
        assert_eq!(part(azure(1024, 2, Some(10 * TIB))), (420, 2));
        assert_eq!(part(azure(65536, 2, Some(500 * TIB))), (4000, 2));
        let text = said(azure(128, 2, Some(10 * TIB)).foreseen());
        assert!(text.starts_with("plain: 10995116277760 bytes are expected, which may be 199729 blocks"), "{text}");
        assert!(said(azure(128, 2, None).half_used(25_000)).contains("25000 blocks of one object"));
        // A directory takes as many pieces of one object as there are.
        let single = Sizing::of(&options(true, true), &Store::memory(), Some(TIB), 2).unwrap();
        assert_eq!((single.most, single.layout.uploads), (u32::MAX, 1));
    }
}
