//! An input that is read as a list of changes: what lies behind a seal is changed before it is sealed, so that the reader gets to see it.

/// Numbers at which readers change their mind.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    7,
    255,
    256,
    1023,
    1024,
    65_535,
    65_536,
    1_000_000,
    (1 << 31) - 1,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

/// What is left of an input; where it ends, zeros go on.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// Whether there is anything left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two.
    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    /// So many bytes, or those that are left.
    pub(crate) fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// One change of some bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit<'a> {
    /// A byte is another one.
    Flip { at: usize, by: u8 },
    /// So many bytes are gone.
    Remove { at: usize, length: usize },
    /// These come between.
    Insert { at: usize, bytes: &'a [u8] },
    /// These are in the place of as many.
    Overwrite { at: usize, bytes: &'a [u8] },
    /// So many bytes are there twice.
    Repeat { at: usize, length: usize, to: usize },
    /// It ends here.
    Cut { at: usize },
    /// The next number in decimal digits is this one.
    Number { at: usize, number: u64 },
    /// The next number is so much larger, or smaller.
    Count { at: usize, by: i8 },
}

impl<'a> Edit<'a> {
    /// The next change of the input.
    pub(crate) fn read(input: &mut Input<'a>) -> Edit<'a> {
        let (kind, at) = (input.byte(), input.number());
        match kind % 8 {
            0 => Edit::Flip { at, by: input.byte().max(1) },
            1 => Edit::Remove { at, length: usize::from(input.byte()) },
            2 => {
                let length = usize::from(input.byte() % 48);
                Edit::Insert { at, bytes: input.bytes(length) }
            }
            3 => {
                let length = usize::from(input.byte() % 48);
                Edit::Overwrite { at, bytes: input.bytes(length) }
            }
            4 => Edit::Repeat { at, length: usize::from(input.byte()), to: input.number() },
            5 => Edit::Cut { at },
            6 => Edit::Number { at, number: NUMBERS[usize::from(input.byte()) % NUMBERS.len()] },
            _ => Edit::Count { at, by: input.byte().cast_signed() },
        }
    }

    /// Changes the bytes. Every place is one of theirs.
    pub(crate) fn apply(self, bytes: &mut Vec<u8>) {
        let place = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
        match self {
            Edit::Flip { at, by } => {
                let at = place(at, bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= by;
                }
            }
            Edit::Remove { at, length } => {
                let at = place(at, bytes);
                drop(bytes.drain(at..bytes.len().min(at + length)));
            }
            Edit::Insert { at, bytes: new } => {
                let at = place(at, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Edit::Overwrite { at, bytes: new } => {
                let at = place(at, bytes);
                let end = bytes.len().min(at + new.len());
                bytes.splice(at..end, new.iter().copied());
            }
            Edit::Repeat { at, length, to } => {
                let at = place(at, bytes);
                let copy = bytes[at..bytes.len().min(at + length)].to_vec();
                let to = place(to, bytes);
                bytes.splice(to..to, copy);
            }
            Edit::Cut { at } => bytes.truncate(place(at, bytes)),
            Edit::Number { at, number } => replace_number(place(at, bytes), bytes, |_| number),
            Edit::Count { at, by } => {
                replace_number(place(at, bytes), bytes, |number| number.wrapping_add_signed(i64::from(by)));
            }
        }
    }
}

/// Replaces the first decimal number that begins at `from` or later.
fn replace_number(from: usize, bytes: &mut Vec<u8>, new: impl Fn(u64) -> u64) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = String::from_utf8_lossy(&bytes[start..start + length]);
    let number = new(digits.parse().unwrap_or(u64::MAX));
    bytes.splice(start..start + length, number.to_string().into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, input: &[u8]) -> String {
        let mut bytes = text.as_bytes().to_vec();
        Edit::read(&mut Input(input)).apply(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_change_is_within_the_bytes() {
        assert_eq!(edited("abc", &[0, 0, 1, 3]), "aac");
        assert_eq!(edited("abc", &[0, 0, 3, 3]), "abc");
        assert_eq!(edited("abc", &[1, 0, 1, 200]), "a");
        assert_eq!(edited("abc", &[2, 0, 3, 2, b'x', b'y']), "abcxy");
        assert_eq!(edited("abc", &[3, 0, 2, 2, b'x', b'y']), "abxy");
        assert_eq!(edited("abc", &[4, 0, 0, 2, 0, 3]), "abcab");
        assert_eq!(edited("abc", &[5, 0, 5]), "a");
        assert_eq!(edited("{\"n\":99}", &[6, 0, 0, 7]), "{\"n\":1024}");
        assert_eq!(edited("{\"n\":99}", &[7, 0, 0, 255]), "{\"n\":98}");
        assert_eq!(edited("", &[7]), "");
    }
}
