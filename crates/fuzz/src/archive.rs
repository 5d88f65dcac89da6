//! The whole reader: an archive in a store, changed somewhere, and everything that reads it.
//!
//! An input is a list of changes ([`crate::edits`]). Some are made before sealing, as whoever has the key could: to the inner stream, to the
//! header line and the manifest's text, to the flags and cuts of segments. They are sealed with the right keys, so that what is behind the tags,
//! digests and MACs is reached. Others are made to the stored objects, as anybody can who may write to the store. Where there are only such,
//! the promise of the format is checked: what is released is a beginning of the content, and what ends well is all of it.

mod base;
mod forge;
mod readers;

pub(crate) use base::seeds;

use backstay_format::header::Codec;
use edits::{Edit, Input};

use self::base::Base;
use self::readers::Inside;
use crate::{edits, stock};

/// The most changes of one input: more make nothing that reads any longer.
const MOST: usize = 12;

/// Something that is not as it should be.
#[derive(Debug, Clone, Copy)]
enum Change<'a> {
    /// In the inner stream.
    Inner(Edit<'a>),
    /// In what all header lines, and the manifest's head, share.
    Rest(Edit<'a>),
    /// In the manifest, which is sealed anew.
    Manifest(Edit<'a>),
    /// In the manifest's private facts.
    Private(Edit<'a>),
    /// Segments and parts are so large.
    Cuts { seg: u32, segs: u32 },
    /// A segment says something else of what follows it, and may end its part.
    Flag { segment: usize, flag: u8, ends: bool },
    /// The header lines are longer or shorter.
    Line { by: i8 },
    /// In a stored object.
    Object { which: usize, edit: Edit<'a> },
    /// A stored object is gone.
    Gone { which: usize },
    /// Two have each other's names.
    Swapped { which: usize, with: usize },
    /// One is there under another name, too.
    Another { which: usize, name: u8 },
}

impl<'a> Change<'a> {
    fn read(input: &mut Input<'a>) -> Change<'a> {
        let kind = input.byte();
        match kind % 16 {
            0..=2 => Change::Inner(Edit::read(input)),
            3 | 4 => Change::Rest(Edit::read(input)),
            5 | 6 => Change::Manifest(Edit::read(input)),
            7 => Change::Private(Edit::read(input)),
            8 => {
                let cuts = input.byte();
                Change::Cuts { seg: 1024 + 128 * u32::from(cuts & 15), segs: 1 + u32::from(cuts >> 5) }
            }
            9 => {
                let (segment, flag) = (usize::from(input.byte()), input.byte());
                Change::Flag { segment, flag: flag % 3, ends: flag & 128 > 0 }
            }
            10 => Change::Line { by: input.byte().cast_signed() },
            11 | 12 => Change::Object { which: usize::from(input.byte()), edit: Edit::read(input) },
            13 => Change::Gone { which: usize::from(input.byte()) },
            14 => Change::Swapped { which: usize::from(input.byte()), with: usize::from(input.byte()) },
            _ => Change::Another { which: usize::from(input.byte()), name: input.byte() },
        }
    }

    /// Whether it takes the key to do that.
    fn is_sealed(self) -> bool {
        !matches!(self, Change::Object { .. } | Change::Gone { .. } | Change::Swapped { .. } | Change::Another { .. })
    }
}

/// An archive and what was done to it.
pub(crate) fn whole(bytes: &[u8]) {
    let mut input = Input(bytes);
    let base = Base::of(input.byte());
    let mut changes = Vec::new();
    while !input.is_empty() && changes.len() < MOST {
        changes.push(Change::read(&mut input));
    }
    let Some(objects) = forge::objects(base, &changes) else { return };
    let _ = readers::read(base, objects, inside(base, &changes));
}

fn inside(base: &Base, changes: &[Change<'_>]) -> Inside {
    if !changes.iter().any(|change| change.is_sealed()) {
        return Inside::Genuine;
    }
    let odd = base.codec == Codec::Gzip && !stock::inflates(&forge::inner(base, changes));
    if odd { Inside::Odd } else { Inside::Forged }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_that_nobody_changed_are_good_and_changes_are_found() {
        for (n, base) in (0..).zip(base::BASES.iter()) {
            let objects = forge::objects(base, &[]).unwrap();
            assert!(readers::read(base, objects, Inside::Genuine).unwrap() == base.content, "base {n}");
            // The second part is gone; the first one says that it is the last.
            for changes in [&[n, 13, 1][..], &[n, 9, 1, 2 + 128], &[n, 9, 0, 129]] {
                whole(changes);
            }
            let input = &mut Input(&[13, 0]);
            let objects = forge::objects(base, &[Change::read(input)]).unwrap();
            assert!(readers::read(base, objects, Inside::Genuine).is_err(), "base {n} without its first object");
        }
    }

    #[test]
    fn what_the_search_found_stays_mended() {
        // `reassemble` waited for a decoder that takes no more.
        whole(&[0x00, 0x3c, 0x03, 0x1d, 0x2c, 0x30, 0x22]);
        // A length in a symbol that deflate does not use, which libdeflate takes for the one that it was.
        whole(&[0x03, 0x00, 0x00, 0xa0, 0x80, 0x80]);
        // The seek table states gigabytes, which are a hole for `salvage`.
        whole(&[0x86, 0x00, 0x00, 0x01, 0xb3, 0xb3, 0xb3, 0xb3, 0xb3, 0x41]);
    }

    #[test]
    fn a_change_before_sealing_is_behind_the_seal() {
        let base = Base::of(0);
        // The last byte of the first frame is another one: no tag and no digest tells, but the frame's checksum does.
        let changes = [Change::Inner(Edit::Flip { at: 40, by: 1 })];
        let objects = forge::objects(base, &changes).unwrap();
        assert_eq!(readers::read(base, objects.clone(), Inside::Forged), Err("stream.invalid"));
        assert!(readers::findings(base, objects).iter().all(|code| code.starts_with("stream.")));
    }
}
