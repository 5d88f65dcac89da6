//! Dumps in the custom format on their way into an archive, and single tables on their way out, with every byte that is fetched counted. The
//! dumps are made here, in each version of the format; real ones are in `tests/e2e/pg-source.sh`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use backstay::backup::{BackupOptions, Format, Padding, Receipt};
use backstay::chunk::{Checks, EndMarker, Watch as _};
use backstay::keys::Encryption;
use backstay::source::Source;
use backstay::{Context, RestoreOptions, Silent};
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::schedule::Secret;
use backstay_format::segment::Aead;
use backstay_postgres::Error;
use backstay_postgres::custom::{Block, Contents, Watcher};
use backstay_postgres::source::ending;
use backstay_postgres::table::{Taken, take_tables};
use backstay_store::Store;
use backstay_testkit::Record;
use backstay_testkit::faults::Call;

fn number(value: i64) -> Vec<u8> {
    let mut bytes = vec![u8::from(value < 0)];
    bytes.extend(i32::try_from(value.abs()).unwrap().to_le_bytes());
    bytes
}

fn text(value: &str) -> Vec<u8> {
    [number(i64::try_from(value.len()).unwrap()), value.as_bytes().to_vec()].concat()
}

/// Bytes that nothing makes smaller.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..size.div_ceil(8)).flat_map(|_| next()).take(size).collect()
}

/// A dump as this version writes it to a pipe: tables `t1`, `t2`, … of `public` with so many bytes in chunks, and a block of large objects.
fn dump_of(minor: u8, sizes: &[usize]) -> Vec<u8> {
    let mut bytes = [&b"PGDMP"[..], &[1, minor, 0, 4, 8, 1]].concat();
    bytes.extend(if minor >= 15 { vec![0] } else { number(0) });
    (0..7).for_each(|_| bytes.extend(number(1)));
    ["shop", "15.4", "15.4"].iter().for_each(|version| bytes.extend(text(version)));
    bytes.extend(number(i64::try_from(sizes.len()).unwrap() + 1));
    let mut entry = |id: i64, name: &str, kind: &str| {
        bytes.extend([number(id), number(1), text("0"), text("16384"), text(name), text(kind)].concat());
        bytes.extend([number(3), text(""), text(""), text("COPY …"), text("public"), number(-1)].concat());
        if minor >= 14 {
            bytes.extend(number(-1));
        }
        if minor >= 16 {
            bytes.extend(number(114));
        }
        bytes.extend([text("owner"), text("false"), text("7"), number(-1), vec![1], vec![0; 8]].concat());
    };
    for n in 1..=sizes.len() {
        entry(i64::try_from(n).unwrap(), &format!("t{n}"), "TABLE DATA");
    }
    entry(900, "BLOBS", "BLOBS");
    for (n, size) in (1..).zip(sizes) {
        bytes.extend([vec![1], number(n)].concat());
        for chunk in noise(*size, n.unsigned_abs()).chunks(70_001) {
            bytes.extend([number(i64::try_from(chunk.len()).unwrap()), chunk.to_vec()].concat());
        }
        bytes.extend(number(0));
    }
    bytes.extend([vec![3], number(900)].concat());
    for oid in [16_400, 16_401] {
        bytes.extend([number(oid), number(3), b"abc".to_vec(), number(0)].concat());
    }
    bytes.extend(number(0));
    bytes
}

fn keyring() -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add_raw(Secret([7; 32]));
    keyring
}

async fn back_up(store: &Store, content: Vec<u8>, codec: Codec) -> Result<Receipt, backstay::Error> {
    let (aead, padding) = (Aead::Aes256Gcm, Padding::None);
    let format =
        Format::Native { aead, codec, encryption: Encryption::Raw(Secret([7; 32])), padding, signing_key: None };
    let guid = backstay::guid::from_name("shop").unwrap();
    let options = BackupOptions {
        checks: Checks { end: EndMarker::Announced(ending::announcements()), ..Checks::default() },
        watch: Some(Box::<Watcher>::default()),
        ..BackupOptions::new(guid, "shop".to_owned(), format)
    };
    let source = Source::Reader(Box::new(Cursor::new(content)));
    backstay::backup(store, source, options, &Context::system(Some(1)).unwrap(), Arc::new(Silent)).await
}

async fn take(store: &Store, receipt: &Receipt, names: &[&str]) -> Result<(Taken, Vec<u8>), Error> {
    take_up_to(None, store, receipt, names).await
}

async fn take_up_to(
    max_output: Option<u64>,
    store: &Store,
    receipt: &Receipt,
    names: &[&str],
) -> Result<(Taken, Vec<u8>), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.dump");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let options = RestoreOptions { max_output, ..RestoreOptions::default() };
    let context = Context::system(Some(1)).unwrap();
    let taken = take_tables(store, &receipt.id, &keyring(), &names, &path, &options, &context, Arc::new(Silent)).await;
    if taken.is_err() {
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    }
    Ok((taken?, fs::read(path).unwrap()))
}

fn index_of(bytes: &[u8]) -> Vec<Block> {
    let mut watcher = Watcher::default();
    watcher.see(bytes);
    watcher.end().unwrap();
    watcher.index().unwrap().blocks.clone()
}

#[test]
fn blocks_are_found_wherever_the_pieces_are_cut() {
    for minor in 12..=16 {
        let dump = dump_of(minor, &[10, 0, 100_000]);
        let whole = index_of(&dump);
        assert_eq!(whole.iter().map(|block| block.0).collect::<Vec<_>>(), [1, 2, 3, 900]);
        assert_eq!(whole.iter().map(|block| block.2).sum::<u64>() + whole[0].1, dump.len() as u64);
        for size in [1, 2, 7, 11, 4096] {
            let mut watcher = Watcher::default();
            dump.chunks(size).for_each(|piece| watcher.see(piece));
            assert!(watcher.end().unwrap().contains_key("pg_custom"));
            assert_eq!(watcher.index().unwrap().blocks, whole, "pieces of {size}");
        }
    }
}

#[test]
fn a_dump_that_is_cut_is_told_from_one_that_is_whole_or_is_none() {
    let dump = dump_of(14, &[10, 0, 30]);
    let blocks = index_of(&dump);
    // Behind a block nothing is missing that could be seen.
    let ends: Vec<u64> = std::iter::once(blocks[0].1).chain(blocks.iter().map(|block| block.1 + block.2)).collect();
    for length in 5..=dump.len() {
        let mut watcher = Watcher::default();
        watcher.see(&dump[..length]);
        assert_eq!(watcher.end().is_ok(), ends.contains(&(length as u64)), "{length}");
    }
    for other in [
        &b""[..],
        b"PG",
        b"PGDUMP is another word",
        b"PGDMP\x01\x0b\x00\x04\x08\x01abc",
        b"PGDMP\x01\x0e\x00\x04\x08\x03tar",
    ] {
        let mut watcher = Watcher::default();
        watcher.see(other);
        assert!(watcher.end().unwrap().is_empty() && watcher.index().is_none(), "{other:?}");
    }
}

#[tokio::test]
async fn a_cut_dump_is_not_committed() {
    let dump = dump_of(16, &[3_000_000]);
    let store = Store::memory();
    for length in [dump.len() / 2, dump.len() - 1, 300] {
        let refused = back_up(&store, dump[..length].to_vec(), Codec::Zstd).await.unwrap_err();
        assert_eq!(refused.code(), "source.trailer");
    }
    back_up(&store, dump, Codec::Zstd).await.unwrap();
}

#[tokio::test]
async fn the_limit_is_that_of_what_is_written_and_not_of_what_is_looked_at() {
    let store = Store::memory();
    for codec in [Codec::Zstd, Codec::Gzip] {
        let receipt = back_up(&store, dump_of(16, &[100_000, 3_000_000, 500]), codec).await.unwrap();
        let (_, whole) = take(&store, &receipt, &["public.t1", "public.t3"]).await.unwrap();
        let length = whole.len() as u64;
        let names = ["public.t1", "public.t3"];
        assert_eq!(take_up_to(Some(length), &store, &receipt, &names).await.unwrap().1, whole);
        for limit in [length - 1, 10] {
            let refused = take_up_to(Some(limit), &store, &receipt, &names).await.unwrap_err();
            assert_eq!(refused.code(), "stream.limit");
        }
    }
}

#[tokio::test]
async fn one_table_takes_no_more_bytes_than_it_has_and_the_frames_around_it() {
    const FRAME: u64 = 2 << 20;
    for minor in 12..=16 {
        let record = Record::default();
        let store = record.store();
        let dump = dump_of(minor, &[4_000_000; 12]);
        let receipt = back_up(&store, dump.clone(), Codec::Zstd).await.unwrap();
        let _ = record.taken();
        let (taken, small) = take(&store, &receipt, &["public.t7"]).await.unwrap();
        let asked = record.taken();
        let fetched: u64 = asked.iter().filter(|asked| asked.call == Call::Get).map(|asked| asked.bytes).sum();
        // The table, two frames at its edges, the one with the contents; manifests, seek tables and the edges of segments.
        assert!(fetched < 4_000_000 + 3 * FRAME + (512 << 10), "{fetched} bytes were fetched");
        assert!(asked.len() < 40, "{} requests", asked.len());
        assert!(taken.indexed && taken.authentic && taken.tables == [("public.t7".to_owned(), taken.tables[0].1)]);
        // What came out is a dump with this one block, where its contents say.
        let blocks = index_of(&small);
        let whole = index_of(&dump);
        let wanted = whole.iter().find(|block| block.0 == 7).unwrap();
        let [Block(7, at, length)] = blocks[..] else { panic!("{blocks:?}") };
        let bytes = |dump: &[u8], at: u64, length: u64| {
            dump[usize::try_from(at).unwrap()..][..usize::try_from(length).unwrap()].to_vec()
        };
        assert!(bytes(&small, at, length) == bytes(&dump, wanted.1, wanted.2));
        let contents = Contents::parse(small[..usize::try_from(at).unwrap()].to_vec()).unwrap();
        assert_eq!(contents.entries.len(), 13);
    }
}

#[tokio::test]
async fn without_noted_places_the_archive_is_read_and_the_same_comes_out() {
    let store = Store::memory();
    let dump = dump_of(15, &[3_000_000, 2_500_000, 10]);
    let noted = back_up(&store, dump.clone(), Codec::Zstd).await.unwrap();
    let gzip = back_up(&store, dump, Codec::Gzip).await.unwrap();
    let (_, wanted) = take(&store, &noted, &["t2", "public.t3"]).await.unwrap();
    assert_eq!(take(&store, &gzip, &["t3", "t2"]).await.unwrap().1, wanted);
    let options = RestoreOptions {
        policy: backstay::policy::ReadPolicy { no_manifest: true, ..Default::default() },
        ..RestoreOptions::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.dump");
    let (names, context, keyring) = (["t2".to_owned(), "t3".to_owned()], Context::system(Some(1)).unwrap(), keyring());
    let taken = take_tables(&store, &noted.id, &keyring, &names, &path, &options, &context, Arc::new(Silent));
    assert!(!taken.await.unwrap().indexed);
    assert_eq!(fs::read(&path).unwrap(), wanted);
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_its_name_and_leaves_no_file() {
    let store = Store::memory();
    let receipt = back_up(&store, dump_of(14, &[10, 10]), Codec::Zstd).await.unwrap();
    for name in ["public.t3", "other.t1", "t", ""] {
        assert_eq!(take(&store, &receipt, &[name]).await.unwrap_err().code(), "dump.no-table", "{name}");
    }
    let hint = take(&store, &receipt, &["other.t1"]).await.unwrap_err().hint().unwrap();
    assert_eq!(hint, "it has public.t1");
    let plain = back_up(&store, b"COPY t FROM stdin;\n".to_vec(), Codec::Zstd).await.unwrap();
    assert_eq!(take(&store, &plain, &["t"]).await.unwrap_err().code(), "dump.invalid");
    let mut later = dump_of(16, &[10]);
    later[6] = 17;
    let later = back_up(&store, later, Codec::Zstd).await.unwrap();
    assert_eq!(take(&store, &later, &["t1"]).await.unwrap_err().code(), "format.unsupported");
}
