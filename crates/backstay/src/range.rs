//! Where a range of the content is stored: the seek table at the end of the inner stream tells, without the manifest.
//!
//! The archive's last segment is opened first, with the flag that says that it is the last: otherwise a cut archive could
//! pass its middle off as its end.

use std::ops::Range;

use backstay_format::codec::zstd::{FOOTER, FRAME_CONTENT, SeekTable};
use futures::TryStreamExt as _;

use crate::archive::Native;
use crate::error::{Error, Result};
use crate::fetch::{Fetcher, inner_length};

/// How much of the end is fetched first when nothing tells how long the table is: that of 16 GiB.
const UNKNOWN_TABLE: u64 = 64 << 10;

/// Where frames are.
pub(crate) struct LocatedRange {
    /// The frames in the inner stream.
    pub(crate) stored: Range<u64>,
    /// The content that they hold.
    pub(crate) content: Range<u64>,
    /// How much of the range there is.
    pub(crate) length: u64,
}

/// Finds the frames that hold `range` of the content.
pub(crate) async fn locate(archive: &Native, fetcher: &Fetcher, range: &Range<u64>) -> Result<LocatedRange> {
    let (total, in_last) = inner_length(archive);
    // All of the table, when no frame holds less than our own frames do, or what of it is in the last part: that is one
    // request in any case. Whole segments are fetched, so that this is also the last one.
    let content = archive.manifest.as_ref().and_then(|manifest| manifest.content);
    let guess = match content {
        Some(content) => {
            SeekTable::length_of(content.div_ceil(FRAME_CONTENT as u64).max(1)).min(UNKNOWN_TABLE.max(in_last))
        }
        None => UNKNOWN_TABLE.min(in_last),
    };
    let mut tail = read(archive, fetcher, total.saturating_sub(guess)..total).await?;
    if tail.len() < FOOTER {
        tail = read(archive, fetcher, total.saturating_sub(FOOTER as u64)..total).await?;
    }
    let length = SeekTable::length(&tail[tail.len().saturating_sub(FOOTER)..], total.saturating_sub(FOOTER as u64))?;
    if length > tail.len() as u64 {
        tail = read(archive, fetcher, total.saturating_sub(length)..total).await?;
    }
    let table = SeekTable::parse(&tail, total)?;
    let content = table.content();
    if range.start > range.end || range.start > content {
        let why = format!("the range {}..{} is not within the content's {content} bytes", range.start, range.end);
        return Err(Error::Usage { why });
    }
    let end = range.end.min(content);
    if range.start == end {
        return Ok(LocatedRange { stored: 0..0, content: range.start..end, length: 0 });
    }
    let found =
        |offset| table.locate(offset).ok_or_else(|| Error::Internal { why: "a seek table lost a frame".to_owned() });
    let (first, last) = (found(range.start)?, found(end - 1)?);
    Ok(LocatedRange {
        stored: first.stored.start..last.stored.end,
        content: first.content.start..last.content.end,
        length: end - range.start,
    })
}

/// Exactly these bytes of the inner stream.
async fn read(archive: &Native, fetcher: &Fetcher, range: Range<u64>) -> Result<Vec<u8>> {
    let pieces: Vec<_> = fetcher.inner_range(archive, &range).map_ok(|piece| piece.bytes).try_collect().await?;
    Ok(pieces.concat())
}
