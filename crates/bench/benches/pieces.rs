//! What single pieces cost, on one thread: a chunk compressed and sealed, the reader of openssl streams, the parser of header lines.
//!
//! No criterion: it would bring dozens of crates into every cold build for what these lines do. As everywhere here, what counts is the ratio of runs
//! that took turns, so that all benches run once in every round, and the median is printed with the smallest and the largest.
//!
//!     cargo bench --package backstay-bench [-- ROUNDS]

use std::hint::black_box;
use std::time::{Duration, Instant};

use backstay_format::ArchiveId;
use backstay_format::codec::{gzip, zstd};
use backstay_format::header::{Codec, Common, Header, Kind, Reference, line, line_len};
use backstay_format::openssl::{Digest, Kdf, KeyIv, Next, PartWriter, Password, Payload, Reader, Salt};
use backstay_format::part::{PartOpener, Place, Sealer};
use backstay_format::schedule::{Keys, Secret, sha256};
use backstay_format::segment::Aead;

const ID: &str = "b6f4c071-ef44-4af2-9608-531b4ce4823f-1548967947154";
/// How long one bench runs in one round, at least.
const ROUND: Duration = Duration::from_millis(100);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A name, over how many units its time is divided, their name, and the work.
type Bench<'a> = (&'a str, f64, &'a str, Box<dyn FnMut() -> Result<()> + 'a>);

/// Lines as a dump of a table has them.
fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 128);
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (id, customer, price) = (bytes.len() / 40, state >> 54, state % 100_000);
        bytes.extend(format!("{id}\tcustomer {customer}\t{price}.99\t2024-01-{:02}\n", state % 28 + 1).bytes());
    }
    bytes.truncate(size);
    bytes
}

fn common(slots: usize) -> Common {
    let keys = Keys::derive(&Secret([7; 32]), &[9; 32]);
    Common {
        salt: [9; 32],
        commit: keys.commit(),
        aead: Aead::Aes256Gcm,
        codec: Codec::Zstd,
        seg: 64 << 10,
        segs: 255,
        keys: vec![vec![b'k'; 200]; slots],
        kind: Kind::Full,
        open: None,
        signature: None,
    }
}

/// An archive of the openssl profile in one piece.
fn openssl_archive(key: &KeyIv, content: &[u8], member: usize) -> Vec<u8> {
    let mut compressor = gzip::MemberCompressor::new(gzip::Level::default());
    let mut writer = PartWriter::begin(key, u64::MAX / 2, 1);
    for piece in content.chunks(member) {
        let mut compressed = Vec::new();
        compressor.compress(piece, &mut compressed);
        writer.member(&compressed);
    }
    writer.finish().0
}

fn read_openssl(key: &KeyIv, stream: &[u8], expected: usize) -> Result<()> {
    let mut reader = Reader::with_key(key.clone(), Payload::Gzip, None);
    let mut input = stream.chunks(1 << 20);
    let (mut read, mut spare) = (0, Vec::new());
    loop {
        match reader.next() {
            Next::Run(job) => {
                let done = job.run(|| std::mem::take(&mut spare));
                let mut content = reader.complete(done);
                read += content.len();
                if content.capacity() > 0 {
                    content.clear();
                    spare = content;
                }
            }
            Next::Input => match input.next() {
                Some(piece) => reader.push(piece),
                None => reader.end_input(),
            },
            Next::End => break,
            Next::Result => return Err("the reader waits for a job that has run".into()),
        }
    }
    reader.finish()?;
    if read == expected { Ok(()) } else { Err(format!("{read} bytes instead of {expected}").into()) }
}

fn main() -> Result<()> {
    let rounds: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(7);
    let id: ArchiveId = ID.parse()?;
    let chunk = content(zstd::FRAME_CONTENT);
    let text = content(8 << 20);
    let keys = Keys::derive(&Secret([7; 32]), &[9; 32]);
    let password = Password::new(b"correct-horse".to_vec());
    let key = Kdf::BytesToKey(Digest::Md5).derive(&password, Salt([1; 8]));
    let (own, old) = (openssl_archive(&key, &text, gzip::MEMBER_CONTENT), openssl_archive(&key, &text, text.len()));

    let rest = common(8).encode();
    let header = line(&id, 0, &[3; 16], &rest, line_len(&id, &rest)?);
    let mut sealer = Sealer::new(id.clone(), Common { segs: 1 << 12, ..common(1) }, keys.clone(), Box::new(|_| ()))?;
    sealer.push(&mut &text[..])?;
    let sealed = sealer.finish().bytes;
    let sealed_header = Header::read(&sealed, &id, 0, Reference::None)?;
    let opener = PartOpener::new(&sealed_header, &keys, sealed.len() as u64, Place::Last)?;

    let bytes = |slice: &[u8]| slice.len() as f64;
    let compress = |level| {
        let (mut compressor, mut frame) = (zstd::Compressor::new(level), Vec::new());
        let (chunk, id, keys) = (&chunk, &id, &keys);
        move || {
            frame.clear();
            compressor.compress(chunk, &mut frame);
            let mut sealer = Sealer::new(id.clone(), common(1), keys.clone(), Box::new(|_| ()))?;
            sealer.push(&mut &frame[..])?;
            black_box(sealer.finish());
            Ok(())
        }
    };
    let mut benches: Vec<Bench<'_>> = vec![
        ("a chunk compressed at level 3 and sealed", bytes(&chunk), "ns/B", Box::new(compress(3))),
        ("a chunk compressed at level 1 and sealed", bytes(&chunk), "ns/B", Box::new(compress(1))),
        ("segments opened", bytes(&text), "ns/B", {
            let start = sealed_header.line.len();
            let mut plain = Vec::with_capacity(sealed.len());
            let (sealed, opener) = (&sealed, &opener);
            Box::new(move || {
                plain.clear();
                Ok(opener.open(0, &sealed[start..], &mut plain)?)
            })
        }),
        (
            "SHA-256 of stored bytes",
            bytes(&sealed),
            "ns/B",
            Box::new(|| {
                black_box(sha256(&sealed));
                Ok(())
            }),
        ),
        (
            "openssl stream of 1 MiB members read",
            bytes(&text),
            "ns/B",
            Box::new(|| read_openssl(&key, &own, text.len())),
        ),
        ("openssl stream of one member read", bytes(&text), "ns/B", Box::new(|| read_openssl(&key, &old, text.len()))),
        (
            "header line with 8 key slots parsed",
            1.0,
            "ns",
            Box::new(|| {
                black_box(Header::read(&header, &id, 0, Reference::None)?);
                Ok(())
            }),
        ),
    ];

    let mut found: Vec<Vec<f64>> = vec![Vec::new(); benches.len()];
    for _ in 0..rounds.max(1) {
        for ((.., units, _, work), found) in benches.iter_mut().zip(&mut found) {
            let (begun, mut times) = (Instant::now(), 0_u32);
            while begun.elapsed() < ROUND {
                work()?;
                times += 1;
            }
            found.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(times) / *units);
        }
    }
    for ((name, _, unit, _), mut times) in benches.into_iter().zip(found) {
        times.sort_by(f64::total_cmp);
        let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        println!("{name:45} {median:9.2} {unit:4} ({least:.2}–{most:.2})");
    }
    Ok(())
}
