//! Small archives and streams that are right: what targets begin with.

use backstay_format::ArchiveId;
use backstay_format::codec::{gzip, zstd};
use backstay_format::header::{Codec, Common, Kind};
use backstay_format::openssl::{self, Digest, Kdf, KeyIv, Password, Salt};
use backstay_format::part::Sealer;
use backstay_format::schedule::{Keys, Secret};
use backstay_format::segment::Aead;

/// The archive that most targets read.
pub(crate) fn id() -> ArchiveId {
    "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap()
}

/// Its secret.
pub(crate) fn secret() -> Secret {
    Secret([7; 32])
}

/// What its parts share.
pub(crate) fn common(codec: Codec) -> Common {
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
pub(crate) fn sealed(inner: &[u8]) -> Vec<Vec<u8>> {
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

/// Two frames, padding of a kind that old readers skip, and the table of both.
pub(crate) fn zstd_stream() -> Vec<u8> {
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

/// Three members, one of them empty.
pub(crate) fn gzip_stream() -> Vec<u8> {
    let mut compressor = gzip::MemberCompressor::new(gzip::Level::default());
    let mut stream = Vec::new();
    for content in [&b"hello hello hello hello backstay\n"[..], b"", b"and again"] {
        compressor.compress(content, &mut stream);
    }
    stream
}

/// The key of streams that `openssl enc -aes256 -md md5 -pass pass:KEY` would write.
pub(crate) fn openssl_key() -> KeyIv {
    Kdf::BytesToKey(Digest::Md5).derive(&Password::new(b"KEY".to_vec()), Salt(*b"saltsalt"))
}

/// The members under that key.
pub(crate) fn openssl_stream() -> Vec<u8> {
    let key = openssl_key();
    let mut stream = Vec::new();
    let mut writer = openssl::StreamWriter::begin(&key, &mut stream);
    writer.member(&gzip_stream(), &mut stream);
    let _ = writer.finish(&mut stream);
    stream
}
