//! The archives that are changed.

use std::sync::LazyLock;

use backstay_format::codec::{gzip, zstd};
use backstay_format::header::Codec;
use backstay_format::key::Keyring;
use backstay_format::openssl::Password;
use backstay_format::segment::Aead;

use crate::fixture::secret;

/// How an archive is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// By a secret that the reader has.
    Secret,
    /// By nothing: its secret is published.
    Open,
    /// By a password, in the openssl profile.
    Password,
}

/// An archive before it is sealed.
pub(super) struct Base {
    /// What was backed up.
    pub(super) content: Vec<u8>,
    /// The stream that is sealed.
    pub(super) inner: Vec<u8>,
    pub(super) codec: Codec,
    pub(super) aead: Aead,
    pub(super) lock: Lock,
}

/// One of each kind.
pub(super) static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let zstd = |aead, lock, content: Vec<Vec<u8>>| {
        let inner = frames(&content);
        Base { content: content.concat(), inner, codec: Codec::Zstd, aead, lock }
    };
    let gzip = |lock, content: Vec<Vec<u8>>| {
        let inner = members(&content);
        Base { content: content.concat(), inner, codec: Codec::Gzip, aead: Aead::Aes256Gcm, lock }
    };
    vec![
        zstd(Aead::Aes256Gcm, Lock::Secret, chunks()),
        gzip(Lock::Secret, chunks()),
        zstd(Aead::ChaCha20Poly1305, Lock::Open, vec![b"all of it".to_vec()]),
        gzip(Lock::Password, chunks()),
    ]
});

impl Base {
    /// The archive of this number.
    pub(super) fn of(number: u8) -> &'static Base {
        &BASES[usize::from(number) % BASES.len()]
    }

    /// What its reader has.
    pub(super) fn keyring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        match self.lock {
            Lock::Secret => keyring.add_raw(secret()),
            Lock::Open => {}
            Lock::Password => keyring.add_password(Password::new(b"KEY".to_vec())),
        }
        keyring
    }
}

/// Three chunks, of which only the last may be shorter: noise, text, noise.
fn chunks() -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        bytes.flatten().take(length).collect()
    };
    let text = b"hello hello hello backstay\n".repeat(100)[..2300].to_vec();
    vec![noise(2300), text, noise(1900)]
}

fn frames(chunks: &[Vec<u8>]) -> Vec<u8> {
    let (mut compressor, mut table, mut stream, mut frame) =
        (zstd::Compressor::new(3), zstd::SeekTable::default(), Vec::new(), Vec::new());
    for chunk in chunks {
        compressor.compress(chunk, &mut frame);
        table.push(frame.len(), chunk.len());
        stream.extend(&frame);
    }
    for padding in table.pad(stream.len() as u64, stream.len() as u64 + 200) {
        stream.extend(padding.header());
        stream.resize(stream.len() + padding.zeros() as usize, 0);
    }
    stream.extend(table.encode());
    stream
}

fn members(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut compressor = gzip::MemberCompressor::new(gzip::Level::default());
    let mut stream = Vec::new();
    for chunk in chunks {
        compressor.compress(chunk, &mut stream);
    }
    stream
}

/// Each archive as it is, and with one change of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for base in 0..u8::try_from(BASES.len()).expect("there are few") {
        seeds.push(vec![base]);
        for kind in [0, 3, 5, 7, 11] {
            let which = if kind == 11 { &[1][..] } else { &[] };
            for edit in
                [&[0, 0, 90, 1][..], &[2, 0, 60, 3, b',', b'0', b'"'], &[5, 1, 0], &[6, 0, 10, 9], &[7, 0, 90, 1]]
            {
                seeds.push([&[base, kind], which, edit].concat());
            }
        }
        for change in [&[8, 0x21][..], &[9, 1, 129], &[9, 2, 2], &[10, 5], &[13, 1], &[14, 0, 1], &[15, 1, 3]] {
            seeds.push([&[base], change].concat());
        }
    }
    seeds
}
