//! What Backstay writes in the openssl profile, read by the tools that operators have.

use std::path::Path;
use std::process::Output;

use backstay_format::codec::gzip::{self, Level, MEMBER_CONTENT, MemberCompressor};
use backstay_format::openssl::{
    Candidates, Digest, END_MARGIN, Kdf, KeyIv, PartWriter, Password, Reader, Salt, StreamWriter,
};

use crate::stock;

fn key(kdf: Kdf) -> KeyIv {
    kdf.derive(&Password::new(b"K".to_vec()), Salt(*b"saltsalt"))
}

fn md5_key() -> KeyIv {
    key(Kdf::BytesToKey(Digest::Md5))
}

fn member(content: &[u8]) -> Vec<u8> {
    let mut member = Vec::new();
    MemberCompressor::new(Level::default()).compress(content, &mut member);
    member
}

/// A member of exactly `length` bytes, which holds the first bytes of `content` uncompressed.
fn member_of_length(content: &[u8], length: usize) -> Vec<u8> {
    let content = &content[..length - 23];
    let stored = u16::try_from(content.len()).unwrap();
    let mut member = gzip::MEMBER_HEADER.to_vec();
    member.push(1);
    member.extend(stored.to_le_bytes());
    member.extend((!stored).to_le_bytes());
    member.extend(content);
    // The CRC and length of the same content as a compressed member has them.
    let compressed = self::member(content);
    member.extend(&compressed[compressed.len() - 8..]);
    assert_eq!(member.len(), length);
    member
}

fn parts(key: &KeyIv, members: impl IntoIterator<Item = Vec<u8>>, part_size: u64) -> Vec<Vec<u8>> {
    let mut writer = PartWriter::begin(key, part_size, u32::MAX);
    let mut parts = Vec::new();
    for member in members {
        writer.member(&member);
        parts.extend(std::iter::from_fn(|| writer.next_part().unwrap()));
    }
    let (last, written) = writer.finish();
    parts.push(last);
    assert_eq!(parts.iter().map(Vec::len).sum::<usize>() as u64, written.stream);
    parts
}

/// The published command for archives in parts, on the first `count` of them.
fn restore_parts(dir: &Path, count: usize) -> Output {
    let names: Vec<String> = (0..count).map(|index| format!("id-{index}")).collect();
    let script = format!("cat $(ls -1v {}) | {DECRYPT} | gunzip -c", names.join(" "));
    stock::shell(dir, &script, b"")
}

const DECRYPT: &str = "openssl enc -aes256 -md md5 -d -pass 'pass:K'";

fn write_parts(dir: &Path, parts: &[Vec<u8>]) {
    for (index, part) in parts.iter().enumerate() {
        std::fs::write(dir.join(format!("id-{index}")), part).unwrap();
    }
}

/// All parts give the content, and no proper prefix of them passes for the whole.
fn assert_whole_or_nothing(dir: &Path, parts: &[Vec<u8>], content: &[u8], what: &str) {
    write_parts(dir, parts);
    let whole = restore_parts(dir, parts.len());
    assert!(whole.status.success(), "{what}");
    assert!(whole.stdout == content, "{what}");
    for count in 1..parts.len() {
        let prefix = restore_parts(dir, count);
        assert!(!prefix.status.success(), "{what}: {count} of {} parts", parts.len());
        assert!(content.starts_with(&prefix.stdout), "{what}");
    }
}

#[test]
fn the_published_commands_restore_what_backstay_writes() {
    let dir = stock::scratch("published");
    let content = stock::dump(5 * MEMBER_CONTENT + 4321);
    let members = || content.chunks(MEMBER_CONTENT).map(member);
    let parts = parts(&md5_key(), members(), 100_000);
    assert!(parts.len() > 10, "natural order matters");
    assert_whole_or_nothing(&dir, &parts, &content, "parts");

    let mut stream = Vec::new();
    let mut writer = StreamWriter::begin(&md5_key(), &mut stream);
    for member in members() {
        writer.member(&member, &mut stream);
    }
    let written = writer.finish(&mut stream);
    assert_eq!(written.stream, stream.len() as u64);
    assert!(stream == parts.concat(), "one object holds what the parts hold");
    std::fs::write(dir.join("id"), &stream).unwrap();
    let azure = stock::shell(&dir, &format!("cat id | {DECRYPT} | gunzip -c"), b"");
    assert!(azure.status.success() && azure.stdout == content);
}

/// The reason for the rule of cuts, and the proof that the tests below can fail.
#[test]
fn a_cut_just_behind_a_member_end_fools_the_stock_pipeline_without_the_rule() {
    let dir = stock::scratch("fooled");
    let content = stock::dump(2000);
    for end in [1000, 1007, 1008, 1009] {
        let mut stream = Vec::new();
        let mut writer = StreamWriter::begin(&md5_key(), &mut stream);
        writer.member(&member_of_length(&content, end), &mut stream);
        writer.member(&member_of_length(&content, 1000), &mut stream);
        writer.finish(&mut stream);
        std::fs::write(dir.join("stream"), &stream).unwrap();
        let script = format!(
            "set +o pipefail; for behind in $(seq 0 80); do
               if head -c $(({end} + behind)) stream | {DECRYPT} 2>/dev/null \\
                   | gunzip -c >/dev/null 2>&1; then echo $behind; fi
             done"
        );
        let distances = String::from_utf8(stock::run(&dir, &script, b"")).unwrap();
        // openssl writes whole blocks and holds back up to two of them.
        let expected: Vec<u64> = if end % 16 == 0 { (17..=32).collect() } else { Vec::new() };
        let distances: Vec<u64> = distances.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(distances, expected, "member ends at {end}");
        assert!(distances.iter().all(|distance| *distance <= END_MARGIN));
    }
}

#[test]
fn a_member_may_end_at_any_distance_from_a_cut() {
    let dir = stock::scratch("residues");
    let content = stock::dump(3000);
    for end in 1930..=2010 {
        let members =
            [member_of_length(&content, end), member_of_length(&content, 1500), member_of_length(&content, 700)];
        let expected = [&content[..end - 23], &content[..1477], &content[..677]].concat();
        let parts = parts(&md5_key(), members, 2000);
        assert_eq!(parts.len(), 3);
        let cut = if (1952..=2000).contains(&end) { end + 49 } else { 2000 };
        assert_eq!(parts[0].len(), cut);
        assert_whole_or_nothing(&dir, &parts, &expected, &format!("member ends at {end}"));
    }
}

#[test]
fn parts_smaller_than_a_block_are_whole_or_nothing_too() {
    let dir = stock::scratch("small");
    let content = stock::dump(100);
    for part_size in [1, 5, 16] {
        let members = [member_of_length(&content, 60), member_of_length(&content, 90)];
        let parts = parts(&md5_key(), members, part_size);
        assert!(parts.len() > 4);
        let expected = [&content[..37], &content[..67]].concat();
        assert_whole_or_nothing(&dir, &parts, &expected, &format!("parts of {part_size}"));
    }
}

#[test]
fn backstay_reads_what_backstay_writes() {
    let content = stock::dump(3 * MEMBER_CONTENT + 17);
    for kdf in [Kdf::BytesToKey(Digest::Md5), Kdf::BytesToKey(Digest::Sha256), Kdf::PBKDF2_DEFAULT] {
        let parts = parts(&key(kdf), content.chunks(MEMBER_CONTENT).map(member), 70_001);
        for width in [1, 2, 5] {
            let reader = Reader::gzip(Password::new(b"K".to_vec()), Candidates::auto(), None);
            let (read, result) = stock::read(reader, parts.iter().map(Vec::as_slice), width);
            assert_eq!(result, Ok(content.len() as u64));
            assert!(read == content);
        }
    }
}

#[test]
fn an_archive_of_nothing_is_a_stream_that_stock_tools_read_as_nothing() {
    let dir = stock::scratch("nothing");
    let mut stream = Vec::new();
    StreamWriter::begin(&md5_key(), &mut stream).finish(&mut stream);
    let content = stock::run(&dir, &format!("{DECRYPT} 2>/dev/null | gunzip -c"), &stream);
    assert!(content.is_empty());
}
