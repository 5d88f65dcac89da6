//! The same content, key, clock and random numbers give the same objects, byte for byte: on one core and on several, with much memory and with
//! little, and as long as nobody means to change what is written. Work on speed may not change the format unnoticed.
//!
//! A digest here may change with a new zstd or libdeflate, which may compress otherwise. It is then replaced in the commit that brings the
//! library, and in no other.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use crate::common::{content, options};
use backstay::backup::{Format, Padding};
use backstay::effort::Level;
use backstay::keys::Encryption;
use backstay::source::Source;
use backstay::{Context, Silent, backup};
use backstay_format::header::Codec;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::{Secret, sha256};
use backstay_format::segment::Aead;
use backstay_format::text::to_hex;
use backstay_store::Store;
use futures::TryStreamExt as _;

/// When the first of the archives begins. Each takes the next second.
const BEGUN: i64 = 1_548_967_947_154;

/// Name, codec level, whether some of the content cannot be compressed, the format, how many objects there are, and the SHA-256 of all of them.
type Pin = (&'static str, i32, bool, fn() -> Format, usize, &'static str);

const PINS: [Pin; 9] = [
    (
        "native",
        3,
        false,
        || native(Aead::Aes256Gcm, Codec::Zstd, Padding::None),
        6,
        "1a6248f8f1fdd831db69b56712540eaa219d3155fe2a2f5f2e21ce3228f5ea22",
    ),
    (
        "native, mixed content",
        3,
        true,
        || native(Aead::Aes256Gcm, Codec::Zstd, Padding::None),
        14,
        "a0584a81107e7f6ec85c2569d859a13bd49d7b2fd7fe1b76adc5f97ae5e25149",
    ),
    (
        "native at level 1",
        1,
        true,
        || native(Aead::Aes256Gcm, Codec::Zstd, Padding::None),
        13,
        "0d4697c25ab4d26ec94a5974818cfa790ba6c69c6f56fd7f736fee1695346155",
    ),
    (
        "native, the other suite",
        3,
        true,
        || native(Aead::ChaCha20Poly1305, Codec::Zstd, Padding::None),
        14,
        "dc0306dd07de676d3cb8ccba262c1e53deac4ec03399c39e4f728d03c671be2f",
    ),
    (
        "native, padded a little",
        3,
        true,
        || native(Aead::Aes256Gcm, Codec::Zstd, Padding::Padme),
        14,
        "d5dec728a7def7782820a0993f626dac58d7a81076ca6dd0165b998b3b38d5a8",
    ),
    (
        "native, padded to parts",
        3,
        true,
        || native(Aead::Aes256Gcm, Codec::Zstd, Padding::Part),
        14,
        "075620b4e5e29db15e945910168c5483f59e9161f86a7e21dfaac30143a47a2a",
    ),
    (
        "native, gzip",
        6,
        true,
        || native(Aead::Aes256Gcm, Codec::Gzip, Padding::None),
        13,
        "b8ede0b0751e8d4c427c633983aad80c41064914b7c29d3df0e798b18f5371f7",
    ),
    (
        "openssl",
        6,
        true,
        || openssl(Kdf::BytesToKey(Digest::Md5), false),
        12,
        "8193e01fe46baeb0b91f5482c72bdfdfe1158ec5e2ae5be3cea33497c1eb540b",
    ),
    (
        "openssl in one object",
        6,
        true,
        || openssl(Kdf::PBKDF2_DEFAULT, true),
        2,
        "f5c4522f7c45e19d9e2d961a90383b909b856cbe0e04a20bb7624197615bbb44",
    ),
];

fn native(aead: Aead, codec: Codec, padding: Padding) -> Format {
    Format::Native { aead, codec, encryption: Encryption::Raw(Secret([7; 32])), padding, signing_key: None }
}

fn openssl(kdf: Kdf, single: bool) -> Format {
    Format::Openssl { kdf, password: Password::new(b"KEY".to_vec()), single }
}

/// Random numbers that are always the same, in the order in which they are drawn.
fn fixed(context: Context, millis: i64) -> Context {
    let drawn = Mutex::new(0_u8);
    let context = context.with_random(move |bytes| {
        let mut drawn = drawn.lock().unwrap();
        for byte in bytes {
            *drawn = drawn.wrapping_mul(5).wrapping_add(17);
            *byte = *drawn;
        }
    });
    context.with_clock(move || jiff::Timestamp::from_millisecond(millis).unwrap())
}

/// Several frames and, in parts of 512 KiB, several parts; the last frame is not full.
fn data(mixed: bool) -> Vec<u8> {
    let mut data = content(9_000_000, false);
    if mixed {
        data.extend(content(3_000_000, true));
        data.extend(vec![0; 3_000_000]);
        data.extend(content(1_234_567, false));
    }
    data
}

/// What the host's name and the version are in is left out of a manifest, and so is the seal that covers it.
fn without_private(manifest: &str) -> String {
    let Some((before, after)) = manifest.split_once("\"private\":\"") else { return manifest.to_owned() };
    let after = after.split_once('"').unwrap().1;
    format!("{before}{}", after.split_once("\"seal\":").unwrap().0)
}

/// The number of the objects in a store, and the SHA-256 over their names, sizes and bytes.
async fn fingerprint(store: &Store) -> (usize, String) {
    let objects: Vec<_> = store.list("", None).try_collect().await.unwrap();
    let mut all = Vec::new();
    for object in &objects {
        let mut bytes = store.get(&object.name, 1 << 30).await.unwrap().unwrap().to_vec();
        if object.name.ends_with(".json") {
            bytes = without_private(std::str::from_utf8(&bytes).unwrap()).into_bytes();
        }
        all.extend(format!("{} {}\n", object.name, bytes.len()).bytes());
        all.extend(bytes);
    }
    (objects.len(), to_hex(&sha256(&all)))
}

#[tokio::test]
async fn fixed_inputs_give_the_bytes_that_they_always_gave() {
    pinned(1, 128 << 20, 4).await;
}

#[tokio::test]
async fn many_cores_and_little_memory_give_the_same_bytes() {
    pinned(3, 40 << 20, 1).await;
}

async fn pinned(cores: usize, memory: u64, uploads: usize) {
    let mut wrong = Vec::new();
    for (millis, (name, level, mixed, format, objects, expected)) in (BEGUN..).step_by(1000).zip(PINS) {
        let store = Store::memory();
        let mut options = options(format());
        (options.level, options.memory, options.uploads) = (Level::Fixed(level), memory, uploads);
        let source = Source::Reader(Box::new(Cursor::new(data(mixed))));
        let context = fixed(Context::system(Some(cores)).unwrap(), millis);
        backup(&store, source, options, &context, Arc::new(Silent)).await.unwrap();
        let found = fingerprint(&store).await;
        if (found.0, found.1.as_str()) != (objects, expected) {
            wrong.push(format!("{name} on {cores} cores: {} objects, {}", found.0, found.1));
        }
    }
    assert!(wrong.is_empty(), "these are other bytes now:\n{}", wrong.join("\n"));
}
