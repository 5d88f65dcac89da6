//! Streams that are read from their beginning to their end: what is within the seal, and the older format.

use backstay_format::codec::{gzip, zstd};
use backstay_format::openssl::{self, Candidates, Digest, Kdf, Password, Preamble};

/// Zstandard frames, which the reference library must read in the same way.
pub(crate) fn zstd_inner(bytes: &[u8]) {
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

/// The table at a stream's end.
pub(crate) fn seek_table(bytes: &[u8]) {
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

/// gzip members.
pub(crate) fn gzip_inner(bytes: &[u8]) {
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

/// A stream of `openssl enc`.
pub(crate) fn openssl_reader(bytes: &[u8]) {
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
