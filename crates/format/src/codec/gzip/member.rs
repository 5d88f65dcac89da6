//! Inflation of one member held whole in memory.

use libdeflater::Decompressor;
use memchr::memmem;

/// Length of the CRC and the content's length that end a member.
const FOOTER: usize = 8;

/// Makes `out` the content of `member` if `member` is exactly one gzip member, with CRC and length right, of at most `limit`
/// bytes of content. Otherwise returns false, and leaves `out` empty: then nothing is known about the bytes, not even that
/// they are damaged. Whatever was in `out` is overwritten where it is, not cleared first.
#[must_use]
pub fn inflate_whole_member(member: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
    let whole = inflate_if_whole(member, out, limit);
    if !whole {
        out.clear();
    }
    whole
}

fn inflate_if_whole(member: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
    let Some((before_footer, footer)) = member.split_last_chunk::<FOOTER>() else {
        return false;
    };
    let [c0, c1, c2, c3, l0, l1, l2, l3] = *footer;
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    let Ok(length) = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])) else {
        return false;
    };
    // No member expands more than 1032 times, so a length beyond that is a wrong guess, and its
    // buffer is never allocated.
    if length > limit || length / 1032 > member.len() {
        return false;
    }
    out.resize(length, 0);
    // libdeflate says that a member with this content begins here, and passes over whatever follows
    // it. If the member ended early, its own footer would stand there: the same eight bytes, if the
    // last eight are the footer of the same content. So a footer that fits and is seen only once is
    // the member's own.
    Decompressor::new().gzip_decompress(member, out) == Ok(length)
        && libdeflater::crc32(out) == crc
        && !occurs_early(before_footer, footer)
}

/// Whether `footer` also stands somewhere before its own place at the end of the member.
fn occurs_early(before_footer: &[u8], footer: &[u8; FOOTER]) -> bool {
    if memmem::find(before_footer, footer).is_some() {
        return true;
    }
    // An earlier occurrence may also overlap the footer itself, which needs a footer with a period.
    let mut tail = [0; 2 * FOOTER - 1];
    let overlap = before_footer.len().min(FOOTER - 1);
    let (kept, _) = tail.split_at_mut(overlap + FOOTER);
    kept[..overlap].copy_from_slice(&before_footer[before_footer.len() - overlap..]);
    kept[overlap..].copy_from_slice(footer);
    memmem::find(kept, footer) != Some(overlap)
}
