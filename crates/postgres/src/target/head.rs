//! What the beginning of a dump says about it: which program reads it, and which versions it is from.
//!
//! Text dumps say so in comments. A dump of a whole cluster has its versions in the first of the database dumps in it, behind all
//! roles. Dumps in pg_dump's own format (`-Fc`) begin with a header; one as a tar file (`-Ft`) has the same header in its first member.

use crate::error::{Error, Result};
use crate::target::reach::Reach;
use crate::version::Version;

/// How much of the content is looked at: the roles of a large cluster fit in, and so does any header.
pub const LENGTH: u64 = 1 << 20;

/// What a dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The output of pg_dumpall, as text.
    Cluster,
    /// The output of pg_dump, as text.
    Database,
    /// The output of `pg_dump -Fc` or `-Ft`, which pg_restore reads.
    Archive,
    /// Text that announces nothing: statements, as far as can be seen.
    Statements,
}

impl Kind {
    /// In words, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Cluster => "a dump of a whole cluster",
            Kind::Database => "a dump of a database",
            Kind::Archive => "a dump of a database for pg_restore",
            Kind::Statements => "SQL statements",
        }
    }
}

/// What is known of a dump before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// The server that it was taken from.
    pub server: Option<Version>,
    /// The program that wrote it.
    pub writer: Option<Version>,
    /// The database that it is of, where the format says so.
    pub database: Option<String>,
    /// What it reaches beyond the database that it is sent to, as far as its beginning tells. pg_restore reaches nothing unless it is told to.
    pub reach: Reach,
}

/// Where the header stands in a tar file whose first member is the table of contents.
const IN_TAR: usize = 512;

impl Head {
    /// Reads the beginning of a dump.
    ///
    /// # Errors
    /// `target.not-a-dump` for what neither psql nor pg_restore would read.
    pub fn read(bytes: &[u8]) -> Result<Head> {
        if bytes.starts_with(b"PGDMP") {
            return of_archive(bytes).ok_or_else(|| damaged("its header is damaged or cut short"));
        }
        if bytes.starts_with(b"toc.dat\0") {
            return bytes.get(IN_TAR..).and_then(of_archive).ok_or_else(|| damaged("its table of contents is damaged"));
        }
        if bytes.is_empty() {
            return Err(damaged("it is empty"));
        }
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(damaged(&format!("byte {at} is zero, which no text has")));
        }
        // A cut character at the end is of no matter.
        let text = String::from_utf8_lossy(bytes);
        let announces = |title: &str| text.lines().take(5).any(|line| line == title);
        let kind = if announces("-- PostgreSQL database cluster dump") {
            Kind::Cluster
        } else if announces("-- PostgreSQL database dump") {
            Kind::Database
        } else {
            Kind::Statements
        };
        let version = |label: &str| {
            let mut lines = text.lines().filter(|_| kind != Kind::Statements);
            lines.find_map(|line| Version::parse(line.strip_prefix(label)?))
        };
        let cut = bytes.len() as u64 >= LENGTH;
        Ok(Head {
            kind,
            server: version("-- Dumped from database version "),
            writer: version("-- Dumped by pg_dump version "),
            database: None,
            reach: Reach::read(bytes, cut),
        })
    }

    /// The database that a script which makes one ends in.
    pub fn database_made(&self) -> Option<&str> {
        let made = |name: &&String| self.reach.makes.contains(*name);
        self.reach.goes_to.last().filter(|_| self.kind != Kind::Cluster).filter(made).map(String::as_str)
    }
}

fn damaged(why: &str) -> Error {
    Error::NotADump { why: why.to_owned() }
}

/// Reads the header of pg_dump's own format, of any version since PostgreSQL 8.0.
fn of_archive(bytes: &[u8]) -> Option<Head> {
    let mut rest = Cursor { bytes: bytes.strip_prefix(b"PGDMP")?, integer: 0 };
    let format = [rest.byte()?, rest.byte()?, rest.byte()?];
    rest.integer = usize::from(rest.byte()?);
    // The size of an offset in files, and which of the formats this is.
    rest.byte()?;
    rest.byte()?;
    if format < [1, 10, 0] || !(1..=8).contains(&rest.integer) {
        return None;
    }
    // A number that names the level, and since 1.15 a byte that names the algorithm.
    if format < [1, 15, 0] {
        rest.int()?;
    } else {
        rest.byte()?;
    }
    for _ in ["second", "minute", "hour", "day", "month", "year", "summer time"] {
        rest.int()?;
    }
    let database = rest.text()?;
    let server = rest.text()?.and_then(|text| Version::parse(&text));
    let writer = rest.text()?.and_then(|text| Version::parse(&text));
    Some(Head { kind: Kind::Archive, server, writer, database, reach: Reach::default() })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    /// Bytes of an integer beside its sign.
    integer: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// A sign, then the lowest byte first.
    fn int(&mut self) -> Option<i64> {
        let negative = self.byte()? != 0;
        let mut value: u64 = 0;
        for at in 0..self.integer {
            value |= u64::from(self.byte()?) << (8 * at);
        }
        let value = i64::try_from(value).ok()?;
        Some(if negative { -value } else { value })
    }

    /// A text, where there is one; `None` outside is the end of the bytes.
    fn text(&mut self) -> Option<Option<String>> {
        let Ok(length) = usize::try_from(self.int()?) else { return Some(None) };
        let text = self.bytes.get(..length)?;
        self.bytes = &self.bytes[length..];
        Some(Some(String::from_utf8_lossy(text).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of what `pg_dump -Fc` and `-Ft` of 15.20 and `pg_dump -Fc` of 18.6 wrote.
    const CUSTOM: &[u8] = include_bytes!("../../testdata/head-15.20.dump");
    const TAR: &[u8] = include_bytes!("../../testdata/head-15.20.tar");
    const NEWER: &[u8] = include_bytes!("../../testdata/head-18.6.dump");
    const DATABASE: &[u8] = include_bytes!("../../testdata/pg_dump-15.20.sql");
    const CLUSTER: &[u8] = include_bytes!("../../testdata/pg_dumpall-15.20.sql");

    fn seen(bytes: &[u8]) -> (Kind, String, String, Option<String>) {
        let head = Head::read(bytes).unwrap();
        let shown = |version: Option<Version>| version.map(|version| version.to_string()).unwrap_or_default();
        (head.kind, shown(head.server), shown(head.writer), head.database)
    }

    #[test]
    fn each_kind_of_dump_says_what_it_is() {
        let of = |kind, version: &str, database: Option<&str>| {
            (kind, version.to_owned(), version.to_owned(), database.map(str::to_owned))
        };
        assert_eq!(seen(CUSTOM), of(Kind::Archive, "15.20", Some("shop")));
        assert_eq!(seen(TAR), of(Kind::Archive, "15.20", Some("shop")));
        assert_eq!(seen(NEWER), of(Kind::Archive, "18.6", Some("shop")));
        assert_eq!(seen(DATABASE), of(Kind::Database, "15.20", None));
        assert_eq!(seen(CLUSTER), of(Kind::Cluster, "15.20", None));
        assert_eq!(
            seen(b"CREATE TABLE t ();\n-- Dumped from database version 15.20\n"),
            of(Kind::Statements, "", None)
        );
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
        for bytes in [&b""[..], b"PGDMP", &CUSTOM[..60], &gzip, b"toc.dat\0", &b"some.file\0\0\0"[..]] {
            assert!(matches!(Head::read(bytes), Err(Error::NotADump { .. })), "{bytes:?}");
        }
    }

    #[test]
    fn no_damage_to_a_header_does_worse_than_to_be_refused() {
        for length in 0..CUSTOM.len() {
            let _ = Head::read(&CUSTOM[..length]);
            for bit in 0..8 {
                let mut bytes = CUSTOM.to_vec();
                bytes[length] ^= 1 << bit;
                let _ = Head::read(&bytes);
            }
        }
    }
}
