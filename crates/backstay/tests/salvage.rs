//! Salvage: everything authentic comes out in its place, the holes are told exactly, and nothing else comes out.
#![allow(clippy::single_range_in_vec_init, reason = "one hole is a list of holes")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::common::{self, back_up, content, context, options, raw_keyring};
use backstay::Silent;
use backstay::backup::{BackupOptions, Format, Padding};
use backstay::error::Error;
use backstay::keys::Encryption;
use backstay::salvage::{Hole, SalvageOptions, Salvaged, salvage};
use backstay_format::ArchiveId;
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::{Secret, sha256};
use backstay_format::segment::Aead;
use backstay_store::Store;
use backstay_testkit::Faults;
use backstay_testkit::faults::{Call, Failure, When};
use futures::TryStreamExt as _;

type Objects = BTreeMap<String, Vec<u8>>;

const MIB: usize = 1 << 20;
/// Content of a frame.
const FRAME: usize = 2 * MIB;

struct Made {
    id: ArchiveId,
    objects: Objects,
    content: Vec<u8>,
    keyring: fn() -> Keyring,
}

fn password() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_password(Password::new(b"KEY".to_vec()));
    keyring
}

fn zstd(padding: Padding) -> BackupOptions {
    let encryption = Encryption::Raw(Secret([7; 32]));
    options(Format::Native { aead: Aead::Aes256Gcm, codec: Codec::Zstd, encryption, padding, signing_key: None })
}

fn gzip() -> BackupOptions {
    let encryption = Encryption::Raw(Secret([7; 32]));
    let (aead, padding) = (Aead::Aes256Gcm, Padding::None);
    options(Format::Native { aead, codec: Codec::Gzip, encryption, padding, signing_key: None })
}

fn openssl() -> BackupOptions {
    let kdf = Kdf::BytesToKey(Digest::Md5);
    options(Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single: false })
}

/// An archive of so many bytes of content, in parts of half a MiB or so.
async fn make(options: BackupOptions, size: usize, keyring: fn() -> Keyring) -> Made {
    let store = Store::memory();
    let content = content(size, true);
    let id = back_up(&store, &content, options).await.unwrap().id;
    let names: Vec<String> = store.list("", None).map_ok(|object| object.name).try_collect().await.unwrap();
    let mut objects = Objects::new();
    for name in names {
        let bytes = store.get(&name, 1 << 30).await.unwrap().unwrap();
        objects.insert(name, bytes.to_vec());
    }
    Made { id, objects, content, keyring }
}

impl Made {
    fn part(&mut self, n: u32) -> &mut Vec<u8> {
        self.objects.get_mut(&self.id.part(n)).unwrap()
    }

    async fn store(&self) -> Store {
        let store = Store::memory();
        for (name, bytes) in &self.objects {
            store.create(name, bytes.clone().into(), sha256(bytes)).await.unwrap();
        }
        store
    }

    /// Salvages into a file; its bytes, and the report.
    async fn salvage(&self, options: SalvageOptions) -> Result<(Vec<u8>, Salvaged), Error> {
        salvage_from(&self.store().await, &self.id, &(self.keyring)(), options).await
    }

    /// What is to come out when these ranges of the content are lost, and their places are left as zeros.
    fn with_zeros(&self, holes: &[Range<usize>]) -> Vec<u8> {
        let mut expected = self.content.clone();
        for hole in holes {
            expected[hole.clone()].fill(0);
        }
        expected
    }
}

async fn salvage_from(
    store: &Store,
    id: &ArchiveId,
    keyring: &Keyring,
    options: SalvageOptions,
) -> Result<(Vec<u8>, Salvaged), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("content");
    let options = SalvageOptions { output: Some(path.clone()), ..options };
    let salvaged = salvage(store, id, keyring, &options, &context(), Arc::new(Silent)).await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let salvaged = salvaged.inspect_err(|_| assert!(left.is_empty(), "{left:?} is left after an error"))?;
    assert_eq!(left, ["content"]);
    Ok((std::fs::read(path).unwrap(), salvaged))
}

fn codes(salvaged: &Salvaged) -> Vec<&'static str> {
    salvaged.findings.iter().map(|finding| finding.code).collect()
}

fn hole(range: Range<usize>) -> Hole {
    Hole { start: range.start as u64, end: Some(range.end as u64), unproven: 0 }
}

#[tokio::test]
async fn strangers_with_the_largest_numbers_neither_end_nor_hide_an_archive() {
    type Kind = (fn() -> BackupOptions, fn() -> Keyring);
    let kinds: [Kind; 2] = [(|| zstd(Padding::None), raw_keyring), (openssl, password)];
    for (options, keyring) in kinds {
        for n in [u32::MAX, u32::MAX - 1] {
            for manifest in [true, false] {
                let mut made = make(options(), 2 * MIB + 3, keyring).await;
                made.objects.insert(made.id.part(n), b"a stranger's".to_vec());
                if !manifest {
                    made.objects.remove(&made.id.manifest());
                }
                let (found, _) = made.salvage(SalvageOptions::default()).await.unwrap();
                assert!(found.starts_with(&made.content), "{n} {manifest}");
            }
        }
    }
}

#[tokio::test]
async fn an_archive_without_damage_comes_out_whole_and_without_a_hole() {
    for (options, keyring) in [
        (zstd(Padding::None), raw_keyring as fn() -> Keyring),
        (zstd(Padding::Padme), raw_keyring),
        (gzip(), raw_keyring),
        (openssl(), password),
    ] {
        let made = make(options, 5 * MIB + 3, keyring).await;
        let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
        assert!(found == made.content);
        assert_eq!((codes(&salvaged), &salvaged.holes[..]), (vec![], &[][..]));
        assert!(salvaged.authentic);
        assert_eq!((salvaged.content, salvaged.length), (made.content.len() as u64, Some(made.content.len() as u64)));
    }
}

#[tokio::test]
async fn one_bad_segment_costs_the_frame_that_it_is_in() {
    let mut made = make(zstd(Padding::None), 4 * FRAME, raw_keyring).await;
    // In the second frame, which begins with part 4 or so.
    made.part(6)[200_000] ^= 1;
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert!(found == made.with_zeros(&[FRAME..2 * FRAME]));
    assert_eq!(salvaged.holes, [hole(FRAME..2 * FRAME)]);
    assert_eq!(codes(&salvaged), ["segment.auth"]);
    assert_eq!(salvaged.findings[0].object, Some(made.id.part(6)));
    assert_eq!(salvaged.content, 3 * FRAME as u64);
    assert!(salvaged.authentic);
}

#[tokio::test]
async fn lost_cut_and_damaged_parts_cost_their_frames_and_nothing_else_with_or_without_the_manifest() {
    let made = make(zstd(Padding::None), 6 * FRAME, raw_keyring).await;
    for no_manifest in [false, true] {
        let mut damaged =
            Made { objects: made.objects.clone(), content: made.content.clone(), id: made.id.clone(), ..made };
        if no_manifest {
            damaged.objects.remove(&made.id.manifest());
        }
        damaged.objects.remove(&made.id.part(0));
        let cut = damaged.part(11);
        cut.truncate(cut.len() / 2);
        // The header line of a part in the last frame, outside its random bytes, so that it can be made again.
        damaged.part(23)[300] = 0;
        let (found, salvaged) = damaged.salvage(SalvageOptions::default()).await.unwrap();
        assert_eq!(salvaged.holes, [hole(0..FRAME), hole(2 * FRAME..3 * FRAME)], "{:?}", salvaged.findings);
        assert!(found == made.with_zeros(&[0..FRAME, 2 * FRAME..3 * FRAME]));
        let codes = codes(&salvaged);
        let expected: &[&str] = match no_manifest {
            true => &["archive.uncommitted", "part.missing", "segment.auth", "header.invalid"],
            false => &["part.missing", "part.size", "segment.auth", "header.invalid"],
        };
        assert_eq!(codes, expected);
    }
}

#[tokio::test]
async fn without_the_end_what_stands_before_the_first_hole_comes_out() {
    let mut made = make(zstd(Padding::None), 3 * FRAME, raw_keyring).await;
    let last = u32::try_from(made.objects.len()).unwrap() - 2;
    made.objects.remove(&made.id.part(last));
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert!(made.content.starts_with(&found[..2 * FRAME]));
    // The manifest says how much there was.
    assert_eq!(salvaged.holes, [hole(2 * FRAME..3 * FRAME)]);
    assert_eq!((codes(&salvaged), found.len()), (vec!["part.missing"], 3 * FRAME));
    made.objects.remove(&made.id.manifest());
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert_eq!(salvaged.holes, [Hole { start: 2 * FRAME as u64, end: None, unproven: 0 }]);
    assert_eq!((codes(&salvaged), found.len()), (vec!["archive.uncommitted", "archive.truncated"], 2 * FRAME));
    // The same, and a hole before: nothing tells where frames begin behind it.
    made.objects.remove(&made.id.part(1));
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert_eq!((found.len(), salvaged.holes), (0, vec![Hole { start: 0, end: None, unproven: 0 }]));
}

#[tokio::test]
async fn a_long_seek_table_is_found_across_segments_and_parts() {
    // Frames of one byte make a table that is much longer than a segment.
    let mut made = make(zstd(Padding::None), 1000, raw_keyring).await;
    put_frames_of_one_byte(&mut made, 40_000);
    made.part(0)[70_000] ^= 1;
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert_eq!(salvaged.length, Some(40_000));
    assert_eq!(found.len(), 40_000);
    assert_eq!(salvaged.holes.len(), 1, "{:?}", salvaged.holes);
    let lost = salvaged.holes[0].end.unwrap() - salvaged.holes[0].start;
    assert!((2000..8000).contains(&lost), "{lost}");
    assert_eq!(salvaged.content, 40_000 - lost);
}

/// Replaces an archive by one of very many frames, made with the format's own sealer.
fn put_frames_of_one_byte(made: &mut Made, frames: usize) {
    use backstay_format::codec::zstd::{Compressor, SeekTable};
    use backstay_format::header::{Common, Kind};
    use backstay_format::part::Sealer;
    use backstay_format::schedule::Keys;
    let keys = Keys::derive(&Secret([7; 32]), &[5; 32]);
    let common = Common {
        salt: [5; 32],
        commit: keys.commit(),
        aead: Aead::Aes256Gcm,
        codec: Codec::Zstd,
        seg: 65_536,
        segs: 4,
        keys: Vec::new(),
        kind: Kind::Full,
        open: None,
        signature: None,
    };
    let mut serial = 0;
    let random = move |bytes: &mut [u8]| {
        serial += 1;
        bytes.fill(serial);
    };
    let mut sealer = Sealer::new(made.id.clone(), common, keys, Box::new(random)).unwrap();
    let (mut inner, mut table, mut frame) = (Vec::new(), SeekTable::default(), Vec::new());
    let mut compressor = Compressor::new(1);
    for _ in 0..frames {
        compressor.compress(b"x", &mut frame);
        table.push(frame.len(), 1);
        inner.extend(&frame);
    }
    inner.extend(table.encode());
    made.objects.clear();
    let mut rest: &[u8] = &inner;
    while !rest.is_empty() {
        if let Some(part) = sealer.push(&mut rest).unwrap() {
            made.objects.insert(made.id.part(part.n), part.bytes);
        }
    }
    let part = sealer.finish();
    made.objects.insert(made.id.part(part.n), part.bytes);
}

#[tokio::test]
async fn swapped_and_renamed_parts_are_taken_for_what_they_say_they_are() {
    let mut made = make(zstd(Padding::None), 3 * FRAME, raw_keyring).await;
    let (third, fifth) = (made.part(3).clone(), made.part(5).clone());
    *made.part(3) = fifth;
    *made.part(5) = third;
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert!(found == made.content);
    assert_eq!((codes(&salvaged), &salvaged.holes[..]), (vec!["part.misplaced", "part.misplaced"], &[][..]));
}

#[tokio::test]
async fn parts_of_another_archive_are_holes() {
    let mut made = make(zstd(Padding::None), 3 * FRAME, raw_keyring).await;
    let mut other = make(zstd(Padding::None), 3 * FRAME, raw_keyring).await;
    *made.part(5) = other.part(5).clone();
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert!(found == made.with_zeros(&[FRAME..2 * FRAME]));
    assert_eq!(salvaged.holes, [hole(FRAME..2 * FRAME)]);
    assert_eq!(codes(&salvaged), ["name.mismatch"]);
}

#[tokio::test]
async fn a_range_that_the_disk_cannot_read_is_a_hole_and_a_store_that_is_not_reached_is_an_error() {
    let made = make(zstd(Padding::None), 3 * FRAME, raw_keyring).await;
    let faults = Faults::new();
    let store = made.store().await.with_wrapper(|objects| faults.wrap(objects));
    // Two reads that the system refuses for good: those of a run of segments and of one segment of it.
    let (whole, _) = salvage_from(&store, &made.id, &raw_keyring(), SalvageOptions::default()).await.unwrap();
    assert!(whole == made.content);
    let reads = faults.calls(Call::Get);
    let eio = Failure::Io(std::io::ErrorKind::InvalidData);
    faults.fail(Call::Get, 2 * reads - 3..=2 * reads - 2, When::Before, eio);
    let (found, salvaged) = salvage_from(&store, &made.id, &raw_keyring(), SalvageOptions::default()).await.unwrap();
    assert_eq!(codes(&salvaged)[0], "store.failed");
    assert!(!salvaged.holes.is_empty() && salvaged.content > 0, "{salvaged:?}");
    for (i, (found, byte)) in found.iter().zip(&made.content).enumerate() {
        assert!(found == byte || salvaged.holes.iter().any(|hole| hole.start <= i as u64 && Some(i as u64) < hole.end));
    }
    faults.clear().fail_all(Call::Get, Failure::Denied);
    let error = salvage_from(&store, &made.id, &raw_keyring(), SalvageOptions::default()).await.unwrap_err();
    assert_eq!(error.code(), "store.denied");
}

#[tokio::test]
async fn gzip_comes_out_up_to_the_first_hole() {
    let mut made = make(gzip(), 5 * MIB, raw_keyring).await;
    made.part(3)[100_000] ^= 1;
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    let given = usize::try_from(salvaged.content).unwrap();
    assert!((MIB..2 * MIB).contains(&given), "{given}");
    assert!(found[..given] == made.content[..given]);
    assert_eq!(salvaged.holes, [hole(given..5 * MIB)]);
    assert_eq!(codes(&salvaged), ["segment.auth"]);
}

#[tokio::test]
async fn a_sealed_openssl_archive_goes_on_with_the_first_whole_member_behind_a_hole() {
    let mut made = make(openssl(), 6 * MIB, password).await;
    made.part(3)[100_000] ^= 1;
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert_eq!(codes(&salvaged), ["part.digest"]);
    assert!(salvaged.authentic);
    let [hole] = salvaged.holes[..] else { panic!("{:?}", salvaged.holes) };
    assert_eq!((hole.end, hole.unproven), (None, 0));
    let start = usize::try_from(hole.start).unwrap();
    assert!(found[..start] == made.content[..start]);
    // Whole members behind it, without a gap.
    let behind = found.len() - start;
    assert!(behind >= 3 * MIB && behind % MIB == 0, "{behind}");
    assert!(found[start..] == made.content[made.content.len() - behind..]);
    assert_eq!((salvaged.content, salvaged.length), (found.len() as u64, Some(6 * MIB as u64)));

    // Without the manifest the same flipped byte costs its member only, since nothing is known of parts.
    made.objects.remove(&made.id.manifest());
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert!(!salvaged.authentic);
    assert_eq!(codes(&salvaged), ["openssl.stream"]);
    assert_eq!((found.len(), salvaged.holes.len()), (5 * MIB, 1));
    let start = usize::try_from(salvaged.holes[0].start).unwrap();
    assert!(start.is_multiple_of(MIB));
    assert!(found[..start] == made.content[..start] && found[start..] == made.content[start + MIB..]);

    // Parts that `split` made are all of one length, so it is known where those behind a missing one belong.
    made.objects.remove(&made.id.part(2));
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert_eq!(codes(&salvaged)[0], "part.missing");
    let [hole] = salvaged.holes[..] else { panic!("{:?}", salvaged.holes) };
    let (before, behind) = found.split_at(usize::try_from(hole.start).unwrap());
    assert!(made.content.starts_with(before) && hole.unproven > 0);
    assert!(made.content.ends_with(behind) && behind.len() >= 3 * MIB);
    // Else what follows cannot even be decrypted.
    made.part(1).pop();
    let (found, salvaged) = made.salvage(SalvageOptions::default()).await.unwrap();
    assert_eq!((codes(&salvaged)[0], salvaged.holes.len()), ("part.missing", 1));
    assert!(made.content.starts_with(&found) && found.len() < MIB, "{}", found.len());
}

#[tokio::test]
async fn a_sealed_openssl_archive_without_its_first_or_last_part_still_gives_the_others() {
    let made = make(openssl(), 6 * MIB, password).await;
    let last = u32::try_from(made.objects.len()).unwrap() - 2;
    for n in [0, last] {
        let mut damaged =
            Made { objects: made.objects.clone(), content: made.content.clone(), id: made.id.clone(), ..made };
        damaged.objects.remove(&made.id.part(n));
        let (found, salvaged) = damaged.salvage(SalvageOptions::default()).await.unwrap();
        assert_eq!(codes(&salvaged), ["part.missing"]);
        let given = usize::try_from(salvaged.content).unwrap();
        assert!(given >= 4 * MIB, "{given}");
        let (wanted, found) = match n {
            0 => (&made.content[made.content.len() - given..], &found[..]),
            _ => (&made.content[..given], &found[..given]),
        };
        assert!(wanted == found);
        assert_eq!(salvaged.holes.len(), 1);
    }
}

#[tokio::test]
async fn what_may_not_be_restored_is_not_salvaged_either() {
    let mut made = make(zstd(Padding::None), 1000, raw_keyring).await;
    let wrong = || {
        let mut keyring = Keyring::default();
        keyring.add_raw(Secret([8; 32]));
        keyring
    };
    let code = |made: &Made, keyring: fn() -> Keyring, options: SalvageOptions| {
        let made = Made { objects: made.objects.clone(), content: Vec::new(), id: made.id.clone(), keyring };
        async move { made.salvage(options).await.map(|(_, salvaged)| codes(&salvaged)).map_err(|error| error.code()) }
    };
    let default = SalvageOptions::default;
    assert_eq!(code(&made, wrong, default()).await, Err("key.wrong"));
    assert_eq!(code(&made, Keyring::default, default()).await, Err("key.not-found"));
    let mut receipt = default();
    receipt.policy.root = Some([0; 32]);
    assert_eq!(code(&made, raw_keyring, receipt.clone()).await, Err("manifest.root"));
    made.objects.remove(&made.id.manifest());
    assert_eq!(code(&made, raw_keyring, receipt).await, Err("manifest.seal"));
    assert_eq!(code(&made, raw_keyring, default()).await, Ok(vec!["archive.uncommitted"]));
    // An old archive under the name of one that is expected to be native.
    let old = make(openssl(), 1000, password).await;
    assert_eq!(code(&old, raw_keyring, default()).await, Err("key.open"));
    let open = make(common::native(Encryption::Open), 1000, Keyring::default).await;
    assert_eq!(code(&open, Keyring::default, default()).await, Err("key.open"));
    let mut allowed = default();
    allowed.policy.allow_open = true;
    let (found, salvaged) = open.salvage(allowed).await.unwrap();
    assert!(found == open.content && !salvaged.authentic);
}

#[tokio::test]
async fn whatever_is_flipped_salvage_gives_right_bytes_and_tells_the_holes() {
    let made = make(zstd(Padding::None), 2 * FRAME + 1000, raw_keyring).await;
    let names: Vec<String> = made.objects.keys().cloned().collect();
    let mut state = 1_u64;
    for round in 0..30 {
        let mut damaged = Made { objects: made.objects.clone(), content: Vec::new(), id: made.id.clone(), ..made };
        for _ in 0..=round % 4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = usize::try_from(state >> 33).unwrap();
            let bytes = damaged.objects.get_mut(&names[pick % names.len()]).unwrap();
            let at = pick / names.len() % if round % 2 == 0 { 600 } else { bytes.len() };
            let length = bytes.len();
            bytes[at % length] ^= 1 << (pick % 8);
        }
        let (found, salvaged) = match damaged.salvage(SalvageOptions::default()).await {
            Ok(salvaged) => salvaged,
            // Both the manifest and so many lines can be damaged that no key fits any more.
            Err(error) => {
                assert!(error.code().starts_with("key."), "{error}");
                continue;
            }
        };
        assert!(!salvaged.findings.is_empty(), "damage is told");
        let lost = |at: u64| salvaged.holes.iter().any(|hole| hole.start <= at && hole.end.is_none_or(|end| at < end));
        for (i, byte) in made.content.iter().enumerate() {
            if found.get(i) != Some(byte) {
                assert!(lost(i as u64), "byte {i} is wrong or absent and not in a hole: {salvaged:?}");
            }
        }
    }
}
