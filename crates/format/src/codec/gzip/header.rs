//! The header of a gzip member, in whatever cuts it comes (RFC 1952 §2.3).

/// Length of the fixed fields: magic, method, flags, time, extra flags, operating system.
const FIXED: usize = 10;
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// Reads one header and checks what can be checked of it.
pub(super) struct HeaderReader {
    field: Field,
    flags: u8,
    /// Of the header so far, for those that end in a CRC of their own.
    crc: libdeflater::Crc,
}

/// The field that comes next, and how much of it has been seen.
#[derive(Debug, Clone, Copy)]
enum Field {
    Fixed(usize),
    ExtraLength(Option<u8>),
    Extra(usize),
    Name,
    Comment,
    Crc(Option<u8>),
    End,
}

impl Default for HeaderReader {
    fn default() -> Self {
        HeaderReader { field: Field::Fixed(0), flags: 0, crc: libdeflater::Crc::new() }
    }
}

impl HeaderReader {
    /// Takes as much of `input` as belongs to the header: how many bytes that is, and whether the header has ended.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut at = 0;
        loop {
            self.skip_absent();
            if let Field::End = self.field {
                return Ok((at, true));
            }
            let rest = &input[at..];
            if rest.is_empty() {
                return Ok((at, false));
            }
            let taken = self.field(rest)?;
            self.crc.update(&rest[..taken]);
            at += taken;
        }
    }

    /// Takes some of the present field.
    fn field(&mut self, rest: &[u8]) -> Result<usize, &'static str> {
        let byte = rest[0];
        let (taken, next) = match self.field {
            Field::Fixed(seen) => {
                match (seen, byte) {
                    (0, 0x1f) | (1, 0x8b) | (2, 8) | (4.., _) => {}
                    (3, flags) if flags & RESERVED == 0 => self.flags = flags,
                    (3, _) => return Err("a member has unknown flags"),
                    (2, _) => return Err("a member is compressed by an unknown method"),
                    _ => return Err("a member does not begin with gzip's magic"),
                }
                (1, if seen + 1 == FIXED { Field::ExtraLength(None) } else { Field::Fixed(seen + 1) })
            }
            Field::ExtraLength(None) => (1, Field::ExtraLength(Some(byte))),
            Field::ExtraLength(Some(low)) => (1, Field::Extra(usize::from(u16::from_le_bytes([low, byte])))),
            Field::Extra(left) => {
                let taken = rest.len().min(left);
                (taken, Field::Extra(left - taken))
            }
            Field::Name | Field::Comment => match rest.iter().position(|byte| *byte == 0) {
                Some(zero) => (zero + 1, if let Field::Name = self.field { Field::Comment } else { Field::Crc(None) }),
                None => (rest.len(), self.field),
            },
            Field::Crc(None) => {
                // It covers everything before it, and its first byte must not count.
                let [low, high, ..] = self.crc.sum().to_le_bytes();
                if byte != low {
                    return Err("a member's header has another CRC than it says");
                }
                (1, Field::Crc(Some(high)))
            }
            Field::Crc(Some(high)) if byte == high => (1, Field::End),
            Field::Crc(Some(_)) => return Err("a member's header has another CRC than it says"),
            Field::End => (0, Field::End),
        };
        self.field = next;
        Ok(taken)
    }

    /// Passes over fields that the flags do not announce, or that are read to their end.
    fn skip_absent(&mut self) {
        loop {
            self.field = match self.field {
                Field::ExtraLength(None) if self.flags & FEXTRA == 0 => Field::Name,
                Field::Extra(0) => Field::Name,
                Field::Name if self.flags & FNAME == 0 => Field::Comment,
                Field::Comment if self.flags & FCOMMENT == 0 => Field::Crc(None),
                Field::Crc(None) if self.flags & FHCRC == 0 => Field::End,
                _ => return,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with every optional field, and what follows it.
    fn full() -> (Vec<u8>, usize) {
        let mut header = vec![0x1f, 0x8b, 8, FHCRC | FEXTRA | FNAME | FCOMMENT, 1, 2, 3, 4, 2, 3];
        header.extend([3, 0, b'e', b'x', b't']);
        header.extend(b"name\0comment\0");
        let crc = libdeflater::crc32(&header).to_le_bytes();
        header.extend([crc[0], crc[1]]);
        let length = header.len();
        header.extend(b"data");
        (header, length)
    }

    fn read(header: &[u8], cut: usize) -> Result<Option<usize>, &'static str> {
        let mut reader = HeaderReader::default();
        let mut at = 0;
        for piece in header.chunks(cut) {
            let (taken, ended) = reader.read(piece)?;
            at += taken;
            if ended {
                return Ok(Some(at));
            }
            assert_eq!(taken, piece.len());
        }
        Ok(None)
    }

    #[test]
    fn every_optional_field_is_passed_over_in_any_cuts() {
        let (header, length) = full();
        for cut in 1..=header.len() {
            assert_eq!(read(&header, cut), Ok(Some(length)), "cuts of {cut}");
        }
        for end in 0..length {
            assert_eq!(read(&header[..end], 4), Ok(None), "{end} bytes of it");
        }
    }

    #[test]
    fn what_a_header_cannot_say_is_refused() {
        let (header, length) = full();
        for (at, value) in
            [(0, 0), (1, 0), (2, 7), (3, 0x20 | header[3]), (12, b'E'), (length - 2, !header[length - 2])]
        {
            let mut changed = header.clone();
            changed[at] = value;
            assert!(read(&changed, 5).is_err(), "byte {at}");
        }
        let mut changed = header;
        changed[length - 1] ^= 1;
        assert!(read(&changed, 5).is_err());
    }
}
