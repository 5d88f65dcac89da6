//! The reader of the openssl format beside the tools that the format is made of: `openssl enc -d | gzip -dc`, as processes. Whatever the
//! stream, both must come to the same verdict, and what one releases must be the beginning of what the other does.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::process::{Command, Stdio};

use backstay_format::codec::gzip::{Dialect, SerialInflater, Stop};
use backstay_format::openssl::{self, Candidates, Digest, Kdf, Password};

use crate::fixture::{gzip_stream, openssl_key};

/// The most content that a reader is asked for here; no input comes near it.
const MOST: u64 = 1 << 28;

/// A member with every field of the header that gzip knows, and zeros behind it as a tape leaves them.
pub(crate) fn member_with_every_field() -> Vec<u8> {
    let mut stream = b"\x1f\x8b\x08\x1e\0\0\0\0\0\x03\x04\0extraname\0comment\0".to_vec();
    // The low half of the CRC of all that.
    stream.extend(0x9e45_u16.to_le_bytes());
    let plain = &gzip_stream()[..];
    stream.extend(&plain[10..]);
    stream.extend([0; 40]);
    stream
}

/// What a reader made of a stream.
#[derive(Debug)]
struct Read {
    good: bool,
    content: Vec<u8>,
    said: String,
}

/// A stream that may have been changed anywhere.
pub(crate) fn stream(bytes: &[u8]) {
    compare(bytes, true);
}

/// Whether the inflater takes the stream that decides what is damaged. A faster one may take symbols that deflate leaves unused
/// where the checksum is right (`spec/archive.md` §7.2).
pub(crate) fn inflates(stream: &[u8]) -> bool {
    let (mut inflater, mut content) = (SerialInflater::new(Dialect::Stock), Vec::with_capacity(64 << 10));
    let mut at = 0;
    loop {
        content.clear();
        let Ok(progress) = inflater.inflate(&stream[at..], &mut content) else { return false };
        at += progress.consumed;
        if progress.stop == Stop::Input && at == stream.len() {
            return inflater.finish().is_ok();
        }
    }
}

/// A gzip stream that may have been changed anywhere, and was then encrypted as it must be: so that what is behind the padding is reached.
pub(crate) fn payload(bytes: &[u8]) {
    let mut stream = Vec::new();
    let mut writer = openssl::StreamWriter::begin(&openssl_key(), &mut stream);
    writer.member(bytes, &mut stream);
    let _ = writer.finish(&mut stream);
    compare(&stream, inflates(bytes));
}

/// `plain` where no symbol can be one that gzip refuses and a reader may take.
fn compare(stream: &[u8], plain: bool) {
    let (ours, stock) = (ours(stream), stock(stream));
    let shorter = ours.content.len().min(stock.content.len());
    assert!(ours.content[..shorter] == stock.content[..shorter], "they release different bytes");
    if ours.good {
        assert!((stock.good && ours.content == stock.content) || !plain, "only we take it: {}", stock.said);
    } else {
        // What gzip takes and we do not, there may not be: a backup of the old pipeline would be lost to its owner.
        assert!(!stock.good, "only gzip takes it: {}", ours.said);
    }
}

fn ours(stream: &[u8]) -> Read {
    let candidates = Candidates::only(Kdf::BytesToKey(Digest::Md5));
    let mut reader = openssl::Reader::gzip(Password::new(b"KEY".to_vec()), candidates, Some(MOST));
    let (mut pieces, mut content) = (stream.chunks(61), Vec::new());
    loop {
        match reader.next() {
            openssl::Next::Run(job) => content.extend(reader.complete(job.run(Vec::new))),
            openssl::Next::Input => match pieces.next() {
                Some(piece) => reader.push(piece),
                None => reader.end_input(),
            },
            openssl::Next::Result => panic!("no job runs"),
            openssl::Next::End => break,
        }
    }
    let verdict = reader.finish();
    let said = format!("{verdict:?}");
    Read { good: verdict.is_ok(), content, said }
}

fn stock(stream: &[u8]) -> Read {
    let mut file: File = tempfile::tempfile().expect("a temporary file");
    file.write_all(stream).and_then(|()| file.rewind()).expect("the file takes the stream");
    let mut decrypt = Command::new("openssl")
        .args(["enc", "-d", "-aes-256-cbc", "-md", "md5", "-pass", "pass:KEY"])
        .stdin(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl starts");
    let plain = decrypt.stdout.take().expect("its output is a pipe");
    let inflate = Command::new("gzip").arg("-dc").stdin(plain).output().expect("gzip starts");
    let decrypted = decrypt.wait().expect("openssl ends").success();
    // Status 2 is a warning: something follows the stream that is none of it.
    let good = decrypted && inflate.status.success();
    let said = format!("openssl {decrypted}, gzip {} {}", inflate.status, String::from_utf8_lossy(&inflate.stderr));
    Read { good, content: inflate.stdout, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_readers_take_what_is_whole_and_refuse_what_is_cut() {
        let whole = crate::fixture::openssl_stream();
        let (ours_read, stock_read) = (ours(&whole), stock(&whole));
        assert!(ours_read.good && stock_read.good, "{} {}", ours_read.said, stock_read.said);
        assert_eq!(ours_read.content, stock_read.content);
        assert!(ours_read.content.ends_with(b"and again"));
        for cut in [&whole[..whole.len() - 16], &whole[..whole.len() - 1], &whole[..8]] {
            assert!(!ours(cut).good && !stock(cut).good);
        }
    }
}
