//! Fuzz targets: every parser of untrusted bytes, as a plain function that must return.
//!
//! A target may refuse its input, and nearly always does; it must neither panic, nor hang, nor take memory without bound,
//! and what it accepts must be consistent. The mutation loop here is for every test run and needs no special toolchain;
//! the same functions serve a coverage-guided fuzzer.

mod stock;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use age::secrecy::SecretString;
use backstay_format::codec::{gzip, zstd};
use backstay_format::header::{self, Codec, Common, Header, Kind, Lock, Reference};
use backstay_format::key::{Keyring, parse_recipient, parse_recipients, raw_key};
use backstay_format::manifest::{Document, Manifest};
use backstay_format::openssl::{self, Candidates, Digest, Kdf, Password, Preamble, Salt};
use backstay_format::part::{PartOpener, Place, Sealer};
use backstay_format::salvage::{PartRescue, Stated};
use backstay_format::schedule::{Keys, Secret};
use backstay_format::segment::Aead;
use backstay_format::set::{Member, Set};
use backstay_format::signature::Signer;
use backstay_format::{ArchiveId, ObjectName};

/// One target: its name, inputs to begin with, and the function.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Valid inputs.
    pub seeds: Vec<Vec<u8>>,
    /// What must return for any input.
    pub run: fn(&[u8]),
}

fn id() -> ArchiveId {
    "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap()
}

fn secret() -> Secret {
    Secret([7; 32])
}

fn common(codec: Codec) -> Common {
    let keys = Keys::derive(&secret(), &[1; 32]);
    Common {
        salt: [1; 32],
        commit: keys.commit(),
        aead: Aead::Aes256Gcm,
        codec,
        seg: 1024,
        segs: 2,
        keys: Vec::new(),
        kind: Kind::Full,
        open: None,
        signature: None,
    }
}

/// The parts of a small archive whose inner stream is these bytes.
fn sealed(inner: &[u8]) -> Vec<Vec<u8>> {
    let common = common(Codec::Zstd);
    let keys = Keys::derive(&secret(), &common.salt);
    let mut sealer = Sealer::new(id(), common, keys, Box::new(|bytes| bytes.fill(3))).unwrap();
    let (mut rest, mut parts) = (inner, Vec::new());
    while let Some(part) = sealer.push(&mut rest).unwrap() {
        parts.push(part.bytes);
    }
    parts.push(sealer.finish().bytes);
    parts
}

fn zstd_stream() -> Vec<u8> {
    let (mut compressor, mut table, mut stream, mut frame) =
        (zstd::Compressor::new(3), zstd::SeekTable::default(), Vec::new(), Vec::new());
    for content in [&b"hello hello hello hello backstay\n"[..], b"and again"] {
        compressor.compress(content, &mut frame);
        table.push(frame.len(), content.len());
        stream.extend(&frame);
    }
    for padding in table.pad(stream.len() as u64, 300) {
        stream.extend(padding.header());
        stream.resize(stream.len() + padding.zeros() as usize, 0);
    }
    stream.extend(table.encode());
    stream
}

fn gzip_stream() -> Vec<u8> {
    let mut compressor = gzip::MemberCompressor::new(gzip::Level::default());
    let mut stream = Vec::new();
    for content in [&b"hello hello hello hello backstay\n"[..], b"", b"and again"] {
        compressor.compress(content, &mut stream);
    }
    stream
}

fn openssl_stream() -> Vec<u8> {
    let key = Kdf::BytesToKey(Digest::Md5).derive(&Password::new(b"KEY".to_vec()), Salt(*b"saltsalt"));
    let mut stream = Vec::new();
    let mut writer = openssl::StreamWriter::begin(&key, &mut stream);
    writer.member(&gzip_stream(), &mut stream);
    let _ = writer.finish(&mut stream);
    stream
}

/// A member with every field of the header that gzip knows, and zeros behind it as a tape leaves them.
fn stock_gzip() -> Vec<u8> {
    let mut stream = b"\x1f\x8b\x08\x1e\0\0\0\0\0\x03\x04\0extraname\0comment\0".to_vec();
    // The low half of the CRC of all that.
    stream.extend(0x9e45_u16.to_le_bytes());
    let plain = &gzip_stream()[..];
    stream.extend(&plain[10..]);
    stream.extend([0; 40]);
    stream
}

fn stock_seeds() -> Vec<Vec<u8>> {
    vec![openssl_stream()]
}

fn slots() -> Vec<Vec<u8>> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let mut scrypt = age::scrypt::Recipient::new(SecretString::from("x".to_owned()));
    scrypt.set_work_factor(2);
    let wrap = |recipient: &dyn age::Recipient| backstay_format::key::wrap(&secret(), &[recipient]).unwrap();
    vec![wrap(&recipient), wrap(&scrypt)]
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let header = header::line(&id(), 0, &[3; 16], &common(Codec::Zstd).encode(), 400);
    let manifest = include_str!("../../../spec/archive.md")
        .split("```\n")
        .find(|block| block.starts_with("{\"backstay\":1,\n\"id\":\"b6f4"))
        .expect("the spec's worked example has a manifest")
        .as_bytes()
        .to_vec();
    let inner = zstd_stream();
    let names =
        ["-0", "-12", "", ".json", ".key.0", ".verified.17", "-007"].map(|tail| format!("{}{tail}", id()).into_bytes());
    vec![
        Target { name: "header", seeds: vec![header], run: header_line },
        Target { name: "manifest", seeds: vec![manifest], run: manifest_document },
        Target { name: "set", seeds: vec![set()], run: set_document },
        Target { name: "name", seeds: names.into(), run: object_name },
        Target { name: "slot", seeds: slots(), run: key_slot },
        Target {
            name: "key",
            seeds: vec![b"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_vec(), vec![b'0'; 64]],
            run: key_text,
        },
        Target { name: "zstd", seeds: vec![inner.clone()], run: zstd_inner },
        Target { name: "seek_table", seeds: vec![inner.clone()], run: seek_table },
        Target { name: "gzip", seeds: vec![gzip_stream()], run: gzip_inner },
        Target { name: "openssl", seeds: vec![openssl_stream()], run: openssl_reader },
        Target { name: "openssl_beside_stock", seeds: stock_seeds(), run: stock::stream },
        Target { name: "gzip_beside_stock", seeds: vec![gzip_stream(), stock_gzip()], run: stock::payload },
        Target { name: "part", seeds: sealed(&inner), run: part },
        Target { name: "salvaged_part", seeds: sealed(&inner), run: salvaged_part },
        Target { name: "salvaged_frames", seeds: vec![inner.clone()], run: salvaged_frames },
        Target { name: "salvaged_members", seeds: vec![gzip_stream()], run: salvaged_members },
        Target { name: "resealed", seeds: vec![inner], run: resealed },
    ]
}

fn header_line(bytes: &[u8]) {
    if let Ok(header) = Header::read(bytes, &id(), 0, Reference::None) {
        // What is accepted says the same when it is read again from its own line.
        assert_eq!(Header::read(&header.line, &id(), 0, Reference::Header(&header)).as_ref(), Ok(&header));
    }
}

fn manifest_document(bytes: &[u8]) {
    let id = "b6f4c071-ef44-4af2-9608-531b4ce4823f-1740130000".parse().unwrap();
    if let Ok(Document::Manifest(sealed)) = Manifest::parse(bytes.to_vec(), &id) {
        let (again, _) = sealed.manifest.encode(&[0; 32], None);
        let Ok(Document::Manifest(twice)) = Manifest::parse(again, &id) else {
            panic!("what was read cannot be written")
        };
        assert_eq!(twice.manifest, sealed.manifest);
    }
    // Most changes break the digest, so the members are also read with a digest that fits.
    if let Some(at) = bytes.windows(8).rposition(|window| window == b"\"seal\":{") {
        let mut resealed = bytes[..at].to_vec();
        let digest = backstay_format::text::to_hex(&backstay_format::schedule::sha256(&resealed));
        resealed.extend(format!("\"seal\":{{\"sha256\":\"{digest}\",\"mac\":\"{}\"}}}}\n", "0".repeat(64)).bytes());
        let _ = Manifest::parse(resealed, &id);
    }
}

/// A small set.
fn set() -> Vec<u8> {
    let keys = Keys::derive(&secret(), &[1; 32]);
    let later: ArchiveId = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000999".parse().unwrap();
    let members =
        vec![Member { name: "a \"b\"\n".to_owned(), id: later, root: [2; 32], role: Some("database".to_owned()) }];
    let lock = Lock { salt: [1; 32], commit: keys.commit(), keys: vec![vec![3; 9]], open: None, signature: None };
    let set = Set {
        id: id(),
        created: "2026-01-31T02:00:00Z".to_owned(),
        finished: None,
        lock,
        source: Some("pg_dumpall".to_owned()),
        name: None,
        tags: vec!["nightly".to_owned()],
        members,
        private: Some(vec![4; 30]),
    };
    set.encode(&keys.set(), None).0
}

fn set_document(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        if let Ok(sealed) = Set::parse(bytes, &id()) {
            let (again, _) = sealed.set.encode(&[0; 32], None);
            assert_eq!(Set::parse(&again, &id()).expect("what was read cannot be written").set, sealed.set);
        }
    };
    read(bytes);
    // As with manifests: most changes break the digest.
    if let Some(at) = bytes.windows(8).rposition(|window| window == b"\"seal\":{") {
        let mut resealed = bytes[..at].to_vec();
        let digest = backstay_format::text::to_hex(&backstay_format::schedule::sha256(&resealed));
        resealed.extend(format!("\"seal\":{{\"sha256\":\"{digest}\",\"mac\":\"{}\"}}}}\n", "0".repeat(64)).bytes());
        read(&resealed);
    }
}

fn object_name(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    match ObjectName::parse(name) {
        ObjectName::Part { id, n, padded: false } => assert_eq!(id.part(n), name),
        ObjectName::Manifest(id) => assert_eq!(id.manifest(), name),
        ObjectName::Set(id) => assert_eq!(id.set(), name),
        ObjectName::Keybox(id, m) => assert_eq!(id.keybox(m), name),
        ObjectName::Single(id) => assert_eq!(id.as_str(), name),
        _ => {}
    }
}

fn key_slot(bytes: &[u8]) {
    let mut keyring = Keyring::default();
    keyring.limit_scrypt(4);
    keyring.add_identity(Box::new(age::x25519::Identity::generate()));
    keyring.add_passphrase(SecretString::from("x".to_owned()));
    let _ = keyring.open(&id(), &[1; 32], &common(Codec::Zstd).commit, &[bytes.to_vec()], &[bytes.to_vec()]);
}

fn key_text(bytes: &[u8]) {
    let _ = raw_key(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for entry in parse_recipients(text) {
        let _ = parse_recipient(entry);
    }
    let _ = Signer::parse(text);
}

fn zstd_inner(bytes: &[u8]) {
    let mut splitter = zstd::FrameSplitter::default();
    let mut decompressor = zstd::Decompressor::default();
    let (mut content, mut total) = (Vec::new(), 0);
    for piece in bytes.chunks(61) {
        splitter.push(piece);
        loop {
            match splitter.next() {
                Ok(Some(frame)) if frame.content > 1 << 20 => return,
                Ok(Some(frame)) => match decompressor.decompress(&frame, &mut content) {
                    Ok(()) => total += content.len() as u64,
                    Err(_) => return,
                },
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    if let Ok(length) = splitter.finish() {
        assert_eq!(length, total);
        // What we accept, the reference library accepts too.
        let mut reference = vec![0; usize::try_from(total).unwrap() + 1];
        assert_eq!(zstd_safe::decompress(&mut reference[..], bytes), Ok(usize::try_from(total).unwrap()));
    }
}

fn seek_table(bytes: &[u8]) {
    if let Ok(table) = zstd::SeekTable::parse(bytes, bytes.len() as u64) {
        let content = table.content();
        for offset in [0, content / 2, content.saturating_sub(1)] {
            if let Some(found) = table.locate(offset) {
                assert!(found.content.contains(&offset) && found.stored.end <= bytes.len() as u64);
            }
        }
        assert!(table.locate(content).is_none());
    }
}

fn gzip_inner(bytes: &[u8]) {
    let mut reader = gzip::Reader::new(gzip::Options { max_content: Some(1 << 24), ..gzip::Options::default() });
    let mut pieces = bytes.chunks(61);
    loop {
        match reader.next() {
            gzip::Next::Run(job) => drop(reader.complete(job.run(Vec::new))),
            gzip::Next::Input => match pieces.next() {
                Some(piece) => reader.push(piece),
                None => reader.end_input(),
            },
            gzip::Next::Result => panic!("no job runs"),
            gzip::Next::End => break,
        }
    }
    let _ = reader.finish();
}

fn openssl_reader(bytes: &[u8]) {
    let password = Password::new(b"KEY".to_vec());
    if let Some(Ok(preamble)) = bytes.first_chunk().map(Preamble::parse) {
        let _ = openssl::detect(&preamble, &password, &Candidates::only(Kdf::BytesToKey(Digest::Md5)));
    }
    let candidates = Candidates::only(Kdf::BytesToKey(Digest::Md5));
    let mut reader = openssl::Reader::gzip(password, candidates, Some(1 << 24));
    let mut pieces = bytes.chunks(61);
    loop {
        match reader.next() {
            openssl::Next::Run(job) => drop(reader.complete(job.run(Vec::new))),
            openssl::Next::Input => match pieces.next() {
                Some(piece) => reader.push(piece),
                None => reader.end_input(),
            },
            openssl::Next::Result => panic!("no job runs"),
            openssl::Next::End => break,
        }
    }
    let _ = reader.finish();
}

fn part(bytes: &[u8]) {
    let Ok(header) = Header::read(bytes, &id(), 0, Reference::None) else { return };
    let keys = Keys::derive(&secret(), &header.common.salt);
    for place in [Place::Middle, Place::Last] {
        let Ok(opener) = PartOpener::new(&header, &keys, bytes.len() as u64, place) else { continue };
        let stored = opener.stored(0, opener.segments());
        let body = &bytes[usize::try_from(stored.start).unwrap()..usize::try_from(stored.end).unwrap()];
        let mut plain = Vec::new();
        if opener.open(0, body, &mut plain).is_ok() {
            assert_eq!(plain.len(), body.len() - 16 * usize::try_from(opener.segments()).unwrap());
        } else {
            assert!(plain.is_empty(), "something was released from a run that is not authentic");
        }
    }
}

fn salvaged_part(bytes: &[u8]) {
    let stated = Stated::read(bytes, &id(), 0);
    let head = header::Head { common: common(Codec::Zstd), rest: common(Codec::Zstd).encode(), len: 400 };
    let keys = Keys::derive(&secret(), &[1; 32]);
    let rnds: Vec<[u8; 16]> = stated.rnd.into_iter().chain([[3; 16]]).collect();
    let rescue = PartRescue::new(&id(), &head, &keys, stated.n, &rnds, bytes.len() as u64);
    assert!(rescue.segments() <= rescue.full());
    for number in 0..rescue.segments() {
        let stored = rescue.stored(number, number + 1);
        let sealed = &bytes[usize::try_from(stored.start).unwrap()..usize::try_from(stored.end).unwrap()];
        let mut plain = Vec::new();
        match rescue.open(number, sealed, &mut plain) {
            Some(_) => assert_eq!(plain.len() + 16, sealed.len()),
            None => assert!(plain.is_empty(), "something was released that is not authentic"),
        }
    }
}

/// The stream with a hole where its first bytes say.
fn with_hole(bytes: &[u8]) -> [(u64, &[u8]); 2] {
    let pick = |i: usize| bytes.get(i).map_or(0, |byte| usize::from(*byte)) * (bytes.len() + 1) / 256;
    let (from, to) = (pick(5).min(pick(6)), pick(5).max(pick(6)));
    [(0, &bytes[..from]), (to as u64, &bytes[to..])]
}

fn salvaged_frames(bytes: &[u8]) {
    for table in [zstd::SeekTable::parse(bytes, bytes.len() as u64).ok(), None] {
        let length = table.as_ref().map(zstd::SeekTable::content);
        let mut rescue = zstd::FrameRescue::new(table);
        let mut rescued = Vec::new();
        for (at, piece) in with_hole(bytes) {
            for (i, piece) in piece.chunks(61).enumerate() {
                rescue.push(at + 61 * i as u64, piece, &mut rescued);
            }
        }
        rescue.finish(&mut rescued);
        // Frames and holes follow one another without a gap, and with the table they are all of the content.
        let mut end = Some(0);
        for found in rescued {
            let (start, next) = match found {
                zstd::Rescued::Frame { frame, at } => (at, Some(at + frame.content as u64)),
                zstd::Rescued::Lost { start, end } => (start, end),
            };
            assert_eq!(end, Some(start));
            end = next;
        }
        assert!(length.is_none() || end == length);
    }
}

fn salvaged_members(bytes: &[u8]) {
    for (dialect, authentic, resume) in
        [(gzip::Dialect::Native, true, false), (gzip::Dialect::Stock, true, true), (gzip::Dialect::Stock, false, true)]
    {
        let mut rescue = gzip::MemberRescue::new(dialect, authentic, resume);
        let (mut rescued, mut given) = (Vec::new(), 0);
        let [(_, before), (_, behind)] = with_hole(bytes);
        before.chunks(61).for_each(|piece| rescue.push(piece, &mut rescued));
        rescue.hole(&mut rescued);
        behind.chunks(61).for_each(|piece| rescue.push(piece, &mut rescued));
        rescue.finish(&mut rescued);
        for found in rescued {
            match found {
                gzip::Rescued::Content(bytes) => given += bytes.len() as u64,
                gzip::Rescued::Lost { unproven } => assert!(unproven <= given && (unproven == 0 || !authentic)),
            }
        }
    }
}

/// Structure-aware: the mutated inner stream is sealed properly, so that what is behind the tags is reached.
fn resealed(bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let parts = sealed(bytes);
    let keys = Keys::derive(&secret(), &[1; 32]);
    let mut inner = Vec::new();
    for (n, part) in (0..).zip(&parts) {
        let header = Header::read(part, &id(), n, Reference::None).unwrap();
        let place = if n as usize + 1 == parts.len() { Place::Last } else { Place::Middle };
        let opener = PartOpener::new(&header, &keys, part.len() as u64, place).unwrap();
        opener.open(0, &part[header.line.len()..], &mut inner).unwrap();
    }
    assert_eq!(inner, bytes);
    zstd_inner(&inner);
}

/// Runs one target for so long with mutations of its seeds. Gives the number of inputs, or the input that made it panic.
///
/// # Errors
/// The input, when the target panics or takes longer than five seconds.
pub fn hammer(target: &Target, seed: u64, time: Duration) -> Result<u64, Vec<u8>> {
    let mut dice = Dice(seed | 1);
    let begun = Instant::now();
    let mut corpus = target.seeds.clone();
    let mut runs = 0;
    while begun.elapsed() < time {
        // Mostly a single step from a valid input, since many steps only lead to what the first check refuses.
        let valid = dice.below(3) > 0;
        let mut input = if valid {
            target.seeds[dice.below(target.seeds.len())].clone()
        } else {
            corpus[dice.below(corpus.len())].clone()
        };
        for _ in 0..=dice.below(2) {
            dice.mutate(&mut input, &target.seeds);
        }
        input.truncate(200_000);
        let started = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_ok();
        if !survived || started.elapsed() > Duration::from_secs(5) {
            return Err(input);
        }
        // A small pool of mutants, so that changes add up.
        if dice.below(50) == 0 {
            if corpus.len() < 200 { corpus.push(input) } else { corpus[dice.below(200)] = input }
        }
        runs += 1;
    }
    Ok(runs)
}

/// xorshift64: the same seed gives the same run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit.max(1) as u64) as usize
    }

    fn mutate(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        const WORDS: [&[u8]; 12] = [
            b"\"",
            b"{",
            b"}",
            b",",
            b":",
            b"0",
            b"-1",
            b"18446744073709551616",
            b"\n",
            b"\\u0041",
            b"null",
            b"\xff\xff\xff\xff",
        ];
        let at = self.below(input.len() + 1);
        let span = self.below(32).min(input.len() - at);
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.roll() as u8,
            2 => drop(input.drain(at..at + span)),
            3 => {
                let copy = input[at..at + span].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at + span.min(word.len()), word.iter().copied());
            }
            5 => input.truncate(at),
            6 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend(&other[from..]);
            }
            _ => {
                for byte in &mut input[at..at + span] {
                    *byte = self.roll() as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_taken_and_the_loop_finds_a_panic() {
        for target in targets() {
            for seed in &target.seeds {
                (target.run)(seed);
            }
        }
        let manifest = targets().into_iter().find(|target| target.name == "manifest").unwrap();
        let id = "b6f4c071-ef44-4af2-9608-531b4ce4823f-1740130000".parse().unwrap();
        assert!(Manifest::parse(manifest.seeds[0].clone(), &id).is_ok(), "the seed is no longer a manifest");
        let fragile = Target { name: "fragile", seeds: vec![vec![0; 4]], run: |bytes| assert!(bytes.len() < 6) };
        assert!(hammer(&fragile, 1, Duration::from_secs(20)).is_err());
    }
}
