//! The pipeline near the end of what a manifest lists, without the many parts before.

use std::io::Cursor;
use std::sync::Mutex;

use backstay_format::Guid;
use backstay_format::manifest::MOST_PARTS;
use backstay_format::openssl::{Digest, Kdf, Password};

use super::*;
use crate::effort::Level;
use crate::patience::STALL;

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn event(&self, event: &Event) {
        if let Event::Warning { code: Some(code), text } = event {
            self.0.lock().unwrap().push(format!("{code}: {text}"));
        }
    }
}

/// Content of a megabyte that nothing makes smaller.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::new();
    while bytes.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// Streams sixteen parts or so of 64 KiB, of which the first has the index `n`, with a writer that makes at most `most`.
async fn streamed(n: u32, most: u32) -> (Result<()>, Vec<String>) {
    const PART: u64 = 64 << 10;
    let (store, context) = (Store::memory(), Context::system(Some(1)).unwrap());
    let warnings = Arc::new(Warnings::default());
    let observer: Arc<dyn Observer> = warnings.clone();
    let (kdf, password) = (Kdf::BytesToKey(Digest::Md5), Password::new(b"K".to_vec()));
    let key = kdf.derive(&password, Salt([1; 8]));
    let guid: Guid = "de2fe9e4-6535-423d-8709-dca87df7985c".parse().unwrap();
    let id = ArchiveId::new(&guid, 1_740_130_000_123).unwrap();
    let format = Format::Openssl { kdf, password, single: false };
    let options = BackupOptions { part_size: Some(PART), ..BackupOptions::new(guid, "pg-main".to_owned(), format) };
    let sizing = Sizing::of(&options, &store, None, 1).unwrap();
    let packer = Packer::Openssl { writer: Box::new(PartWriter::begin(&key, PART, most)), n };
    let destinations = Destinations::new(&store, None, &observer);
    let mut parts = Parts::objects(id, destinations, Vec::new(), context.cpu.clone(), Arc::clone(&observer), 4);
    let source = Source::Reader(Box::new(Cursor::new(noise())));
    let mut chunks = source.start(context.interrupt.clone(), &observer, STALL).unwrap();
    let effort = Effort::new(Codec::Gzip, Level::Auto).unwrap();
    let (mut witness, compressors) = (Witness::default(), Compressors::new(Codec::Gzip));
    let done = stream_through(
        &mut chunks,
        &mut witness,
        &compressors,
        effort,
        packer,
        &mut parts,
        sizing,
        &options.checks,
        &context,
        &observer,
    )
    .await;
    let told = warnings.0.lock().unwrap().clone();
    (done, told)
}

#[tokio::test]
async fn half_of_the_parts_is_told_when_they_are_used() {
    let (done, told) = streamed(MOST_PARTS / 2 - 3, MOST_PARTS).await;
    done.unwrap();
    assert!(told.len() == 1 && told[0].starts_with("manifest.limit: this backup has 375000 parts already"), "{told:?}");
    for n in [1, MOST_PARTS / 2 + 1] {
        assert!(streamed(n, MOST_PARTS).await.1.is_empty());
    }
}

#[tokio::test]
async fn more_parts_than_a_manifest_lists_end_the_run_while_the_source_still_gives() {
    assert!(streamed(1, 17).await.0.is_ok());
    let refused = streamed(1, 10).await.0.unwrap_err();
    assert_eq!(
        (refused.code(), refused.to_string().as_str()),
        ("manifest.limit", "the archive would have more than 10 parts")
    );
}
