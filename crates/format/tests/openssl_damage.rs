//! Archives of the openssl profile that are damaged, incomplete, or opened with the wrong key.

use backstay_format::codec::gzip::{Level, MEMBER_CONTENT, MemberCompressor};
use backstay_format::openssl::{
    Candidates, Digest, Encryptor, Kdf, KeyIv, Password, Payload, Reader, Salt, StreamWriter, check_length,
};

use crate::stock;

const MD5: Kdf = Kdf::BytesToKey(Digest::Md5);

fn password() -> Password {
    Password::new(b"K".to_vec())
}

fn key() -> KeyIv {
    MD5.derive(&password(), Salt(*b"saltsalt"))
}

/// What is read from `parts`, and the code of the error.
fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Result<u64, &'static str>) {
    let reader = Reader::gzip(password(), Candidates::auto(), None);
    let (content, result) = stock::read(reader, parts, 3);
    (content, result.map_err(|error| error.code()))
}

fn member(content: &[u8]) -> Vec<u8> {
    let mut member = Vec::new();
    MemberCompressor::new(Level::default()).compress(content, &mut member);
    member
}

/// The stream of any gzip stream, sound or not.
fn stream(gzip: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut writer = StreamWriter::begin(&key(), &mut stream);
    writer.member(gzip, &mut stream);
    writer.finish(&mut stream);
    stream
}

/// An archive as old tools make it, in parts.
fn old_archive(content: &[u8], part_size: usize) -> Vec<Vec<u8>> {
    let dir = stock::scratch(&format!("old-{part_size}-{}", content.len()));
    let stream = stock::run(&dir, "gzip | openssl enc -aes256 -md md5 -pass pass:K 2>/dev/null", content);
    stream.chunks(part_size).map(<[u8]>::to_vec).collect()
}

fn slices(parts: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    parts.iter().map(Vec::as_slice)
}

#[test]
fn a_stream_without_the_magic_is_refused() {
    for start in [&b"BACKSTAY1 {}"[..], b"salted__", b"S", b"Salted_-", b"\x1f\x8b\x08"] {
        let (content, result) = read([start, &[0; 100]]);
        assert_eq!((content, result), (Vec::new(), Err("openssl.magic")), "{start:?}");
    }
}

#[test]
fn a_stream_too_short_for_one_block_is_refused() {
    let whole = stream(&member(b"hello"));
    for (length, code) in [
        (0, "openssl.magic"),
        (7, "openssl.magic"),
        (8, "openssl.padding"),
        (15, "openssl.padding"),
        (16, "openssl.padding"),
        (24, "openssl.padding"),
        (31, "openssl.padding"),
    ] {
        assert_eq!(read([&whole[..length]]), (Vec::new(), Err(code)), "{length} bytes");
        assert_eq!(check_length(length as u64).unwrap_err().code(), code, "{length} bytes");
    }
    for (length, sound) in [(32, true), (33, false), (47, false), (48, true)] {
        assert_eq!(check_length(length).is_ok(), sound, "{length} bytes");
    }
}

#[test]
fn a_wrong_password_or_derivation_is_known_before_any_output() {
    let stream = stream(&member(&stock::dump(10_000)));
    let wrong_password = Reader::gzip(Password::new(b"k".to_vec()), Candidates::auto(), None);
    let wrong_digest = Reader::gzip(password(), Candidates::only(Kdf::BytesToKey(Digest::Sha256)), None);
    let other_archives_key = Reader::with_key(MD5.derive(&password(), Salt(*b"another!")), Payload::Gzip, None);
    for reader in [wrong_password, wrong_digest, other_archives_key] {
        let (content, result) = stock::read(reader, [&stream[..]], 2);
        assert_eq!(content, b"");
        assert_eq!(result.unwrap_err().code(), "openssl.key");
    }
}

#[test]
fn the_right_key_given_beforehand_opens_the_archive() {
    let reader = Reader::with_key(key(), Payload::Gzip, None);
    assert_eq!(stock::read(reader, [&stream(&member(b"hello"))[..]], 2), (b"hello".to_vec(), Ok(5)));
}

#[test]
fn a_missing_last_part_is_an_error_after_a_prefix_of_the_content() {
    let content = stock::dump(300_000);
    for (part_size, codes) in [(10_001, &["openssl.padding"][..]), (10_000, &["openssl.padding", "openssl.stream"])] {
        let parts = old_archive(&content, part_size);
        for count in 1..parts.len() {
            let (read, result) = read(slices(&parts[..count]));
            let code = result.unwrap_err();
            // A cut on a block boundary shows only in the padding, and one block in 256 ends like
            // padding.
            let aligned = (count * part_size).is_multiple_of(16);
            assert!(codes.contains(&code) || (aligned && code == "openssl.stream"), "{code}");
            assert!(content.starts_with(&read));
            // All that can be decoded is delivered, for those who have nothing better.
            assert!(count == 1 || !read.is_empty());
        }
    }
}

#[test]
fn parts_missing_swapped_or_doubled_in_the_middle_are_an_error() {
    let content = stock::dump(300_000);
    for part_size in [5_000, 5_008, 4_999] {
        let parts = old_archive(&content, part_size);
        for at in 1..parts.len() - 2 {
            let mut missing = parts.clone();
            missing.remove(at);
            let mut swapped = parts.clone();
            swapped.swap(at, at + 1);
            let mut doubled = parts.clone();
            doubled.insert(at, parts[at].clone());
            for (name, parts) in [("missing", missing), ("swapped", swapped), ("doubled", doubled)] {
                let (_, result) = read(slices(&parts));
                let code = result.unwrap_err();
                // Garbage may decode to its end, and then the length or the padding is what is left
                // to be wrong.
                assert!(["openssl.stream", "openssl.padding"].contains(&code), "{name} {at}: {code}");
            }
        }
    }
}

#[test]
fn a_missing_first_part_is_an_error() {
    let parts = old_archive(&stock::dump(100_000), 5_000);
    assert_eq!(read(slices(&parts[1..])), (Vec::new(), Err("openssl.magic")));
}

#[test]
fn padding_that_is_not_pkcs7_is_an_error_after_the_content() {
    let gzip = member(b"hello");
    let content_of_last = gzip.len() % 16;
    let padding = u8::try_from(16 - content_of_last).unwrap();
    for (name, tail) in [
        ("zero", vec![0; usize::from(padding)]),
        ("seventeen", vec![17; usize::from(padding)]),
        ("inconsistent", [vec![padding ^ 1], vec![padding; usize::from(padding) - 1]].concat()),
        ("one too many", [vec![padding; usize::from(padding) - 1], vec![padding + 1]].concat()),
    ] {
        let mut stream = b"Salted__saltsalt".to_vec();
        let mut encryptor = Encryptor::new(&key());
        encryptor.update(&[&gzip[..], &tail].concat(), &mut stream);
        assert!(stream.len().is_multiple_of(16));
        assert_eq!(read([&stream[..]]).1, Err("openssl.padding"), "{name}");
    }
}

#[test]
fn a_gzip_stream_that_does_not_decode_is_an_error() {
    let good = member(&stock::dump(50_000));
    let flipped = |from_end: usize| {
        let mut gzip = good.clone();
        let at = gzip.len() - from_end;
        gzip[at] ^= 0x10;
        gzip
    };
    for (name, gzip) in [
        ("crc", flipped(8)),
        ("length", flipped(1)),
        ("body", flipped(good.len() / 2)),
        ("junk after the member", [&good[..], b"junk"].concat()),
        ("zeros and junk", [&good[..], b"\0\0\0junk"].concat()),
        ("second member cut", [&good[..], &good[..good.len() - 3]].concat()),
        ("only a header", good[..10].to_vec()),
        ("member cut", good[..good.len() - 1].to_vec()),
    ] {
        assert_eq!(read([&stream(&gzip)[..]]).1, Err("openssl.stream"), "{name}");
    }
}

#[test]
fn no_changed_byte_of_a_small_archive_changes_its_content_unnoticed() {
    let content = stock::dump(400);
    let whole = stream(&[member(&content[..200]), member(&content[200..])].concat());
    assert_eq!(read([&whole[..]]), (content.clone(), Ok(400)));
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let (read, result) = read([&changed[..]]);
            assert!(result.is_err() || read == content, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn no_prefix_of_an_archive_of_many_members_is_taken_for_the_whole() {
    let content = stock::dump(2000);
    let gzip: Vec<u8> = content.chunks(300).flat_map(member).collect();
    let whole = stream(&gzip);
    for length in 0..whole.len() {
        let (read, result) = read([&whole[..length]]);
        assert!(result.is_err(), "{length} of {} bytes", whole.len());
        assert!(content.starts_with(&read));
    }
}

#[test]
fn damage_in_a_late_member_leaves_all_members_before_it_readable() {
    let content = stock::dump(4 * MEMBER_CONTENT);
    let members: Vec<Vec<u8>> = content.chunks(MEMBER_CONTENT).map(member).collect();
    let third = members[0].len() + members[1].len() + members[2].len() / 2;
    let mut whole = stream(&members.concat());
    whole[16 + third] ^= 1;
    let (read, result) = read(whole.chunks(64 << 10));
    assert_eq!(result, Err("openssl.stream"));
    assert!(read.len() >= 2 * MEMBER_CONTENT);
    assert!(read[..2 * MEMBER_CONTENT] == content[..2 * MEMBER_CONTENT]);
}
