//! A strict JSON reader that is pulled, so that a manifest of a million parts needs no tree.
//!
//! The format's JSON is narrower than RFC 8259 (`spec/archive.md`, "Header line" and "Manifest"): integers only, no
//! sign, no leading zero, at most 2^53; no null; no duplicate key; bounded nesting. The header's dialect knows neither blanks nor
//! escapes. Readers in other languages must refuse what this one refuses, so there is no lenient mode.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};

/// The largest integer that every JSON reader keeps exactly.
pub(crate) const MAX_INTEGER: u64 = 1 << 53;

/// What is wrong, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at byte {}", self.why, self.at)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Fault>;

/// Which of the two dialects is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// No blank, no escape; nesting at most 3.
    Header,
    /// Blanks and escapes as in RFC 8259; nesting at most 16.
    Manifest,
}

/// The reader: a position in the text.
pub(crate) struct Json<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    dialect: Dialect,
}

/// The keys of one object. Those of an object as every writer makes them are compared; a hostile one may have many millions, and
/// then eight bytes are kept of each, whose seed nobody knows.
#[derive(Default)]
struct Seen<'a> {
    few: Vec<Cow<'a, str>>,
    many: Vec<u64>,
    seed: Option<RandomState>,
}

/// So many keys are compared as they are.
const FEW: usize = 32;

impl<'a> Seen<'a> {
    /// Takes the next key; whether it is known to stand there already.
    #[allow(clippy::ptr_arg, reason = "it is kept as it is, borrowed or not")]
    fn has(&mut self, key: &Cow<'a, str>) -> bool {
        if self.few.contains(key) {
            return true;
        }
        if self.few.len() < FEW {
            self.few.push(key.clone());
        } else {
            let seed = self.seed.get_or_insert_default();
            self.many.push(seed.hash_one(&**key));
        }
        false
    }

    /// Whether one of very many keys stands twice.
    fn twice(&mut self) -> bool {
        self.many.sort_unstable();
        self.many.windows(2).any(|pair| pair[0] == pair[1])
    }
}

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a str, dialect: Dialect) -> Self {
        Json { text, at: 0, depth: 0, dialect }
    }

    /// A fault at the present position.
    pub(crate) fn fault<T>(&self, why: &'static str) -> Result<T> {
        Err(Fault { at: self.at, why })
    }

    /// Reads an object and calls `member` for each key; `member` must read (or skip) the value.
    pub(crate) fn object(&mut self, member: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.enter(b'{', "an object is expected")?;
        let mut seen = Seen::default();
        if !self.take(b'}') {
            loop {
                self.blank();
                let key = self.string()?;
                if seen.has(&key) {
                    return self.fault("a key stands twice");
                }
                if !self.take(b':') {
                    return self.fault("a colon is expected");
                }
                member(self, &key)?;
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return self.fault("a comma or the end of the object is expected");
                }
            }
        }
        if seen.twice() {
            return self.fault("a key stands twice");
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array and calls `element` before each value; `element` must read (or skip) it.
    pub(crate) fn array(&mut self, element: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.enter(b'[', "an array is expected")?;
        if !self.take(b']') {
            loop {
                element(self)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return self.fault("a comma or the end of the array is expected");
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.blank();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.fault("a string is expected");
        }
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.peek() {
                None => return self.fault("the text ends inside a string"),
                Some(b'"') => break,
                Some(b'\\') if self.dialect == Dialect::Header => return self.fault("a backslash is not allowed"),
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0..=0x1f) => return self.fault("a control character is not allowed"),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let Some(quoted) = self.text.get(start..self.at) else {
            return self.fault("an escape is not valid");
        };
        if !escaped {
            return Ok(Cow::Borrowed(&quoted[1..quoted.len() - 1]));
        }
        match serde_json::from_str::<String>(quoted) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(_) => self.fault("an escape is not valid"),
        }
    }

    /// Reads an integer: no sign, no leading zero, no fraction, no exponent, at most 2^53.
    pub(crate) fn integer(&mut self) -> Result<u64> {
        self.blank();
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let text = &self.rest()[..digits];
        if digits == 0 || (digits > 1 && text.starts_with('0')) || digits > 16 {
            return self.fault("an integer is expected");
        }
        let value: u64 = match text.parse() {
            Ok(value) if value <= MAX_INTEGER => value,
            _ => return self.fault("an integer is above 2^53"),
        };
        self.at += digits;
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.fault("an integer has neither fraction nor exponent");
        }
        Ok(value)
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&mut self) -> Result<bool> {
        self.blank();
        for (word, value) in [("true", true), ("false", false)] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        self.fault("true or false is expected")
    }

    /// Reads and forgets any value.
    pub(crate) fn skip(&mut self) -> Result<()> {
        self.blank();
        match self.peek() {
            Some(b'{') => self.object(&mut |json, _| json.skip()),
            Some(b'[') => self.array(&mut |json| json.skip()),
            Some(b'"') => self.string().map(drop),
            Some(b't' | b'f') => self.boolean().map(drop),
            _ => self.integer().map(drop),
        }
    }

    /// Reads any value and gives its exact text.
    pub(crate) fn raw(&mut self) -> Result<&'a str> {
        self.blank();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Demands that nothing but blanks is left.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.blank();
        if self.at == self.text.len() { Ok(()) } else { self.fault("there is text after the end of the object") }
    }

    /// The byte position, for callers that slice the text.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    fn enter(&mut self, bracket: u8, why: &'static str) -> Result<()> {
        self.blank();
        let limit = match self.dialect {
            Dialect::Header => 3,
            Dialect::Manifest => 16,
        };
        if self.peek() != Some(bracket) {
            return self.fault(why);
        }
        if self.depth == limit {
            return self.fault("the nesting is too deep");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blank();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blank(&mut self) {
        if self.dialect == Dialect::Manifest {
            while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
                self.at += 1;
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        // `at` is on a character boundary here: everything before it was ASCII or a whole string.
        self.text.get(self.at..).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(text: &str, dialect: Dialect) -> bool {
        let mut json = Json::new(text, dialect);
        json.skip().and_then(|()| json.end()).is_ok()
    }

    #[test]
    fn numbers_are_plain_integers() {
        for good in ["0", "7", "10", "9007199254740992"] {
            assert!(reads(good, Dialect::Header), "{good}");
        }
        for bad in
            ["-1", "-0", "00", "01", "1.0", "0.0", "0e5", "1E2", "9007199254740993", "99999999999999999", "NaN", "+1"]
        {
            assert!(!reads(bad, Dialect::Header), "{bad}");
            assert!(!reads(bad, Dialect::Manifest), "{bad}");
        }
    }

    #[test]
    fn the_header_knows_neither_blanks_nor_escapes_and_nobody_knows_null() {
        assert!(!reads("null", Dialect::Header) && !reads("[null]", Dialect::Manifest));
        for text in ["{ }", "[1, 2]", r#""\u0041""#, "[[[[1]]]]"] {
            assert!(!reads(text, Dialect::Header), "{text}");
            assert!(reads(text, Dialect::Manifest), "{text}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_at_every_level() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":{"a":1,"a":2}}"#, r#"{"x":[{"a":1,"a":2}]}"#] {
            assert!(!reads(text, Dialect::Header), "{text}");
        }
        assert!(!reads(r#"{"a":1,"\u0061":1}"#, Dialect::Manifest));
        // However many there are, and wherever among them the two stand.
        let object = |count: usize, at: usize, key: usize| {
            let key = |i| if i == at { key } else { i };
            let members: Vec<String> = (0..count).map(|i| format!("\"{}\":1", key(i))).collect();
            format!("{{{}}}", members.join(","))
        };
        for count in [3, FEW, FEW + 1, FEW + 2, 1000] {
            assert!(reads(&object(count, 0, 0), Dialect::Manifest), "{count}");
            for (at, key) in [(1, 0), (count - 1, 0), (count - 1, count - 2)] {
                assert!(!reads(&object(count, at, key), Dialect::Manifest), "{key} at {at} of {count}");
            }
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_recursing_far() {
        assert!(!reads(&"[".repeat(100_000), Dialect::Manifest));
        assert!(reads(&format!("{}1{}", "[".repeat(16), "]".repeat(16)), Dialect::Manifest));
    }

    #[test]
    fn broken_texts_end_in_a_fault_and_not_in_a_panic() {
        for text in
            ["", "\"", "\"\\", "\"\\\u{e9}\"", "{\"a\"", "{\"a\":", "[1,", "tru", "nul", "\u{feff}{}", "\"\\ud800\""]
        {
            assert!(!reads(text, Dialect::Manifest), "{text}");
        }
    }
}
