//! What is looked at while the content passes: how long it is, how it begins and how it ends.
//!
//! A producer that dies may still close its output properly. PostgreSQL's dumps end in a line that says so; other
//! producers can be held to a pattern.

use std::collections::BTreeMap;
use std::fmt;

use regex::bytes::Regex;

use crate::error::{Error, Result};

/// How many bytes of the beginning may announce a format.
const HEAD: usize = 128;
/// In how many bytes of the end a marker must stand.
const TAIL: usize = 4 << 10;

/// How the end of the content is recognised.
#[derive(Debug, Clone, Default)]
pub enum EndMarker {
    /// Not at all.
    #[default]
    None,
    /// By the rule whose announcement stands in the first 128 bytes, if there is one.
    Announced(Vec<Announced>),
    /// By this pattern, which must match in the last 4 KiB, and by the rules as well: a pattern can be met by accident.
    Required(Regex, Vec<Announced>),
}

/// A format that announces itself and has an end marker.
#[derive(Debug, Clone)]
pub struct Announced {
    /// What stands in the beginning.
    pub head: String,
    /// What must then stand in the end.
    pub tail: String,
}

/// What somebody found out about a content, by name: it goes to the sealed part of the manifest.
pub type Facts = BTreeMap<String, serde_json::Value>;

/// Somebody who knows a format, and looks at the content as it passes.
pub trait Watch: fmt::Debug + Send {
    /// Takes the next bytes, whatever their number. It holds the backup up, so it had better be quick.
    fn see(&mut self, bytes: &[u8]);

    /// The content has ended. Gives what was found out.
    ///
    /// # Errors
    /// Why the content cannot be whole, as one sentence; it is then not committed, unless no end marker is wanted.
    fn end(&mut self) -> std::result::Result<Facts, String>;
}

/// What the content must be before it may be committed.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    /// The fewest bytes.
    pub min_size: u64,
    /// Whether no byte at all is acceptable.
    pub allow_empty: bool,
    /// How the end is recognised.
    pub end: EndMarker,
}

/// What is said of a content that may be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    Empty,
}

/// The first bytes and the last ones of what has passed.
#[derive(Debug, Default)]
pub struct Edges {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Edges {
    /// Takes the next bytes.
    pub fn see(&mut self, bytes: &[u8]) {
        let missing = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..missing]);
        if bytes.len() >= TAIL {
            self.tail.clear();
        }
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// The format that was announced and has not come to its end.
    pub fn unfinished<'a>(&self, rules: &'a [Announced]) -> Option<&'a Announced> {
        let announced = rules.iter().find(|rule| contains(&self.head, &rule.head));
        announced.filter(|rule| !contains(&self.tail, &rule.tail))
    }
}

/// Length, beginning and end of what has passed.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    length: u64,
    edges: Edges,
    told_empty: bool,
    watch: Option<Box<dyn Watch>>,
    facts: Facts,
}

impl Witness {
    /// A witness who has somebody at the side.
    pub(crate) fn with(watch: Option<Box<dyn Watch>>) -> Witness {
        Witness { watch, ..Witness::default() }
    }

    /// What was found out, once the content was judged.
    pub(crate) fn facts(&mut self) -> Facts {
        std::mem::take(&mut self.facts)
    }

    pub(crate) fn see(&mut self, chunk: &[u8]) {
        self.length += chunk.len() as u64;
        if let Some(watch) = &mut self.watch {
            watch.see(chunk);
        }
        self.edges.see(chunk);
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The content has ended: demands that it may be committed. An empty content is told once, then it is good.
    pub(crate) fn judge(&mut self, checks: &Checks) -> Result<Verdict> {
        if self.length == 0 {
            return match checks.allow_empty {
                true if std::mem::replace(&mut self.told_empty, true) => Ok(Verdict::Good),
                true => Ok(Verdict::Empty),
                false => Err(Error::SourceEmpty),
            };
        }
        if self.length < checks.min_size {
            return Err(Error::SourceTooSmall { found: self.length, expected: checks.min_size });
        }
        match self.watch.take().map(|mut watch| watch.end()) {
            Some(Ok(facts)) => self.facts = facts,
            Some(Err(expected)) if !matches!(checks.end, EndMarker::None) => {
                return Err(Error::SourceTrailer { expected });
            }
            Some(Err(_)) | None => {}
        }
        let (pattern, rules): (_, &[Announced]) = match &checks.end {
            EndMarker::None => (None, &[]),
            EndMarker::Announced(rules) => (None, rules),
            EndMarker::Required(pattern, rules) => (Some(pattern), rules),
        };
        if let Some(Announced { head, tail }) = self.edges.unfinished(rules) {
            let expected = format!("it begins with `{head}`, but `{tail}` does not stand in its last 4 KiB");
            return Err(Error::SourceTrailer { expected });
        }
        match pattern.filter(|pattern| !pattern.is_match(&self.edges.tail)) {
            Some(pattern) => {
                Err(Error::SourceTrailer { expected: format!("`{pattern}` does not match in its last 4 KiB") })
            }
            None => Ok(Verdict::Good),
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pieces: &[&[u8]], checks: &Checks) -> &'static str {
        let mut witness = Witness::default();
        for piece in pieces {
            witness.see(piece);
        }
        witness.judge(checks).map_or_else(|error| error.code(), |_| "good")
    }

    #[test]
    fn empty_and_small_contents_are_refused() {
        assert_eq!(judged(&[], &Checks::default()), "source.empty");
        assert_eq!(judged(&[], &Checks { allow_empty: true, min_size: 5, ..Checks::default() }), "good");
        assert_eq!(judged(&[b"1234"], &Checks { min_size: 5, ..Checks::default() }), "source.too-small");
        assert_eq!(judged(&[b"12345"], &Checks { min_size: 5, ..Checks::default() }), "good");
    }

    #[test]
    fn the_marker_is_looked_for_across_pieces_and_only_in_the_end() {
        let pattern = Regex::new("complete").unwrap();
        let checks = Checks { end: EndMarker::Required(pattern, Vec::new()), ..Checks::default() };
        assert_eq!(judged(&[b"dump com", b"plete\n"], &checks), "good");
        assert_eq!(judged(&[b"complete", &[b'x'; TAIL]], &checks), "source.trailer");
        assert_eq!(judged(&[b"complete", &[b'x'; TAIL - 8]], &checks), "good");
    }

    #[test]
    fn an_announced_format_must_end_as_it_says() {
        let rule = Announced { head: "-- dump".to_owned(), tail: "-- dump complete".to_owned() };
        let checks = Checks { end: EndMarker::Announced(vec![rule]), ..Checks::default() };
        assert_eq!(judged(&[b"--\n-- dump\n", b"data\n-- dump complete\n"], &checks), "good");
        assert_eq!(judged(&[b"--\n-- dump\n", b"data\n"], &checks), "source.trailer");
        assert_eq!(judged(&[b"something else"], &checks), "good");
        assert_eq!(judged(&[&[b' '; HEAD], b"-- dump\n"], &checks), "good");
    }

    #[test]
    fn a_pattern_is_demanded_beside_what_was_announced_and_not_instead_of_it() {
        let rule = Announced { head: "-- dump".to_owned(), tail: "-- dump complete".to_owned() };
        let pattern = Regex::new("data").unwrap();
        let checks = Checks { end: EndMarker::Required(pattern, vec![rule]), ..Checks::default() };
        assert_eq!(judged(&[b"-- dump\ndata\n-- dump complete\n"], &checks), "good");
        assert_eq!(judged(&[b"-- dump\ndata\n"], &checks), "source.trailer");
        assert_eq!(judged(&[b"-- dump\n-- dump complete\n"], &checks), "source.trailer");
        assert_eq!(judged(&[b"data"], &checks), "good");
        assert_eq!(judged(&[b"something else"], &checks), "source.trailer");
    }
}
