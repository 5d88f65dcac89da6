//! Archives made by stock tools on the spot, read by Backstay.

use std::collections::VecDeque;
use std::path::Path;
use std::thread::JoinHandle;

use backstay_format::codec::gzip;
use backstay_format::openssl::{
    Candidates, Decryptor, Digest, DigestChoice, Done, Kdf, Next, Password, Payload, Preamble, Reader,
};
use proptest::prelude::*;

use crate::stock;

fn password() -> Password {
    Password::new(b"K".to_vec())
}

fn auto() -> Reader {
    Reader::gzip(password(), Candidates::auto(), None)
}

/// The files of `dir` in natural order.
fn files(dir: &Path) -> Vec<Vec<u8>> {
    let listing = stock::run(dir, "ls -1v", b"");
    String::from_utf8(listing).unwrap().lines().map(|name| std::fs::read(dir.join(name)).unwrap()).collect()
}

#[test]
fn every_derivation_and_every_way_of_compressing_is_read() {
    let dir = stock::scratch("derivations");
    let content = stock::dump(3_000_000);
    let derivations = [
        ("-md md5", Kdf::BytesToKey(Digest::Md5)),
        ("-md sha1", Kdf::BytesToKey(Digest::Sha1)),
        ("-md sha256", Kdf::BytesToKey(Digest::Sha256)),
        ("", Kdf::BytesToKey(Digest::Sha256)),
        ("-pbkdf2", Kdf::PBKDF2_DEFAULT),
        ("-pbkdf2 -iter 1234", Kdf::new(Digest::Sha256, 1234).unwrap()),
        ("-pbkdf2 -iter 99 -md sha1", Kdf::new(Digest::Sha1, 99).unwrap()),
        ("-pbkdf2 -iter 99 -md md5", Kdf::new(Digest::Md5, 99).unwrap()),
    ];
    let compressors = [
        "gzip",
        "gzip -n -1",
        "gzip -9 | cat - /dev/null",
        "pigz -p 2",
        "pigz -p 2 -b 128 -i",
        "split -b 777777 --filter='gzip -c'",
        "cat > dump.sql && gzip -c -N dump.sql",
        "gzip -n | cat - <(head -c 10240 /dev/zero)",
    ];
    for (options, kdf) in derivations {
        for compressor in compressors {
            let script = format!("({compressor}) | openssl enc -aes256 {options} -pass pass:K 2>/dev/null");
            let stream = stock::run(&dir, &script, &content);
            let reader = match kdf {
                Kdf::Pbkdf2 { iterations, .. } if kdf != Kdf::PBKDF2_DEFAULT => {
                    Reader::gzip(password(), Candidates::from_options(DigestChoice::Auto, iterations).unwrap(), None)
                }
                _ => auto(),
            };
            let (read, found, result) = stock::read_with_key(reader, stream.chunks(100_000), 4);
            assert_eq!(result, Ok(content.len() as u64), "{script}");
            assert_eq!(found, Some(kdf), "{script}");
            assert!(read == content, "{script}");
        }
    }
}

#[test]
fn jobs_run_on_other_threads() {
    let dir = stock::scratch("threads");
    let content = stock::dump(5_000_000);
    let archive = "split -b 1M --filter='gzip -n' | openssl enc -aes256 -pass pass:K 2>/dev/null";
    let stream = stock::run(&dir, archive, &content);
    let mut reader = auto();
    let mut input = stream.chunks(50_000);
    let mut running: VecDeque<JoinHandle<Done>> = VecDeque::new();
    let mut read = Vec::new();
    loop {
        match reader.next() {
            Next::Run(job) => running.push_back(std::thread::spawn(move || job.run(Vec::new))),
            Next::Input => match input.next() {
                Some(bytes) => reader.push(bytes),
                None => reader.end_input(),
            },
            Next::Result => {
                let oldest = running.pop_front().unwrap();
                read.extend(reader.complete(oldest.join().unwrap()));
            }
            Next::End => break,
        }
    }
    assert_eq!(reader.finish(), Ok(content.len() as u64));
    assert!(read == content);
}

#[test]
fn parts_of_any_size_are_read() {
    let content = stock::dump(6000);
    let archive = "gzip | openssl enc -aes256 -md md5 -pass pass:K 2>/dev/null";
    let stream = stock::run(&stock::scratch("split"), archive, &content);
    // The last size leaves a last part of one byte.
    for size in [1, 7, 15, 16, 17, 1000, stream.len() - 1] {
        let dir = stock::scratch(&format!("split-{size}"));
        stock::run(&dir, &format!("split -b {size} -a 5 -d - id-"), &stream);
        let parts = files(&dir);
        assert!(parts.len() > 1);
        assert!(parts.iter().rev().skip(1).all(|part| part.len() == size));
        let (read, result) = stock::read(auto(), parts.iter().map(Vec::as_slice), 3);
        assert_eq!(result, Ok(content.len() as u64), "parts of {size}");
        assert!(read == content);
    }
}

#[test]
fn any_payload_is_read_when_the_derivation_is_named() {
    let dir = stock::scratch("raw");
    for length in [0, 1, 15, 16, 17, 31, 32, 33, 1_000_003] {
        let content = stock::dump(length);
        let stream = stock::run(&dir, "openssl enc -aes256 -pass pass:K 2>/dev/null", &content);
        let kdf = Kdf::BytesToKey(Digest::Sha256);
        let reader = Reader::raw(password(), kdf);
        let (read, result) = stock::read(reader, stream.chunks(999), 3);
        assert_eq!(result, Ok(length as u64));
        assert!(read == content);
        // The same with the key itself.
        let preamble = Preamble::parse(stream.first_chunk().unwrap()).unwrap();
        let key = kdf.derive(&password(), preamble.salt);
        let end = stream.last_chunk().unwrap();
        assert_eq!(Decryptor::new(&key).check_end(stream.len() as u64, end), Ok(()));
        let reader = Reader::with_key(key, Payload::Raw, None);
        assert!(stock::read(reader, stream.chunks(7), 1).0 == content);
    }
}

#[test]
fn the_end_of_a_stream_tells_most_wrong_keys() {
    let dir = stock::scratch("wrong-keys");
    let encrypt = "openssl enc -aes256 -pass pass:K 2>/dev/null";
    for content in [&b"short"[..], b"more than one block"] {
        let stream = stock::run(&dir, encrypt, content);
        let salt = Preamble::parse(stream.first_chunk().unwrap()).unwrap().salt;
        let passes = (0..2560)
            .filter(|wrong| {
                let password = Password::new(format!("wrong {wrong}").into_bytes());
                let key = Kdf::BytesToKey(Digest::Sha256).derive(&password, salt);
                let end = stream.last_chunk().unwrap();
                Decryptor::new(&key).check_end(stream.len() as u64, end).is_ok()
            })
            .count();
        assert!(passes < 50, "{passes} of 2560, where 10 are expected");
    }
}

#[test]
fn a_password_may_be_any_bytes_that_openssl_takes() {
    let dir = stock::scratch("passwords");
    for line in [&b" two words "[..], "pässwörd \u{1f511}".as_bytes(), b"\xff\xfe", b"trailing cr\r"] {
        std::fs::write(dir.join("password"), [line, b"\nnext line\n"].concat()).unwrap();
        let stream = stock::run(&dir, "gzip | openssl enc -aes256 -pass file:password 2>/dev/null", b"hello");
        let password = Password::from_file_content(&std::fs::read(dir.join("password")).unwrap());
        let reader = Reader::gzip(password, Candidates::auto(), None);
        assert_eq!(stock::read(reader, [&stream[..]], 1), (b"hello".to_vec(), Ok(5)));
    }
}

#[test]
fn content_beyond_the_limit_ends_reading() {
    let dir = stock::scratch("bomb");
    let stream = stock::run(&dir, "head -c 50M /dev/zero | gzip | openssl enc -aes256 -pass pass:K 2>/dev/null", b"");
    let reader = Reader::gzip(password(), Candidates::auto(), Some(1 << 20));
    let (read, result) = stock::read(reader, [&stream[..]], 2);
    assert_eq!(result.unwrap_err().code(), "stream.limit");
    assert!(read.len() <= 1 << 20);
}

/// `gunzip` accepts with a warning what follows the last member and is no member; for us that is an
/// error. In all else we agree.
#[test]
fn backstay_and_gunzip_agree_on_what_a_gzip_stream_is() {
    let dir = stock::scratch("gunzip");
    let member = |content: &[u8]| stock::run(&dir, "gzip -n", content);
    let (one, two) = (member(b"one"), member(b"two"));
    let zeros = vec![0; 700];
    let mut wrong_crc = one.clone();
    let at = wrong_crc.len() - 8;
    wrong_crc[at] ^= 1;
    let mut wrong_length = one.clone();
    let at = wrong_length.len() - 4;
    wrong_length[at] ^= 1;
    let streams: [&[&[u8]]; 16] = [
        &[&one],
        &[&one, &two],
        &[&one, &zeros],
        &[&one, &two, &zeros],
        &[&one, &zeros, &two],
        &[&zeros, &one],
        &[&zeros],
        &[],
        &[&one, b"junk"],
        &[&one, b"\x1f"],
        &[&one, b"\x1f\x8b"],
        &[&one, &two[..5]],
        &[&one, &two[..two.len() - 1]],
        &[&one[..one.len() - 1], &zeros[..1]],
        &[&wrong_crc, &two],
        &[&wrong_length, &two],
    ];
    for (index, pieces) in streams.iter().enumerate() {
        let stream = pieces.concat();
        let gunzip = stock::shell(&dir, "gunzip -c", &stream);
        let mut reader = gzip::Reader::new(gzip::Options { dialect: gzip::Dialect::Stock, max_content: None });
        reader.push(&stream);
        reader.end_input();
        let mut content = Vec::new();
        while let gzip::Next::Run(job) = reader.next() {
            content.extend(reader.complete(job.run(Vec::new)));
        }
        let result = reader.finish();
        assert_eq!(result.is_ok(), gunzip.status.success(), "stream {index}: {result:?}, gunzip {gunzip:?}");
        if result.is_ok() {
            assert_eq!(content, gunzip.stdout, "stream {index}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn any_cuts_of_what_stock_tools_write_are_read(
        length in prop_oneof![0usize..100, 0usize..500_000],
        level in 1u8..=9,
        cuts in prop::collection::vec(1usize..40_000, 1..20),
        width in 1usize..6,
    ) {
        let dir = stock::scratch("cuts");
        let content = stock::dump(length);
        let encrypt = "openssl enc -aes256 -md md5 -pass pass:K 2>/dev/null";
        let stream = stock::run(&dir, &format!("gzip -{level} | {encrypt}"), &content);
        let mut rest = &stream[..];
        let mut parts = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, later) = rest.split_at(rest.len().min(*cut));
            parts.push(part);
            rest = later;
        }
        let (read, result) = stock::read(auto(), parts, width);
        prop_assert_eq!(result, Ok(length as u64));
        prop_assert!(read == content);
    }
}
