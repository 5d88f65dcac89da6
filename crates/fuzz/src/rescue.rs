//! Streams with a hole: what is behind it is found again.

use backstay_format::codec::{gzip, zstd};

/// The stream with a hole where its first bytes say.
fn with_hole(bytes: &[u8]) -> [(u64, &[u8]); 2] {
    let pick = |i: usize| bytes.get(i).map_or(0, |byte| usize::from(*byte)) * (bytes.len() + 1) / 256;
    let (from, to) = (pick(5).min(pick(6)), pick(5).max(pick(6)));
    [(0, &bytes[..from]), (to as u64, &bytes[to..])]
}

/// Frames, with and without the table.
pub(crate) fn salvaged_frames(bytes: &[u8]) {
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

/// gzip members, sealed or not.
pub(crate) fn salvaged_members(bytes: &[u8]) {
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
