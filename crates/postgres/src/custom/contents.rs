//! The table of contents of a dump that is in memory, and a copy of it that knows where data is.

use super::{CUSTOM, Field, MAGIC, Part, VERSIONS, entry_fields, head_fields, int};
use crate::error::{Error, Result};

/// In the place of an entry: it has no data.
const NO_DATA: u8 = 3;
/// In the place of an entry: its data is at the offset that follows.
const AT: u8 = 2;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, which its block of data repeats.
    pub id: i64,
    /// Whether there is a block of data for it.
    pub has_data: bool,
    /// The name of the object.
    pub tag: String,
    /// What it is: `TABLE`, `TABLE DATA`, …
    pub kind: String,
    /// Its schema, where it has one.
    pub namespace: String,
    /// Where its place stands in the contents.
    place: usize,
}

/// The head and the table of contents.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The entries in order.
    pub entries: Vec<Entry>,
    /// The bytes up to the first block of data.
    bytes: Vec<u8>,
    offset_size: usize,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    int_size: usize,
    offset_size: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or_else(cut)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i64> {
        let size = self.int_size + 1;
        int(self.take(size)?).ok_or_else(|| invalid("a number is too large"))
    }

    /// A string; `None` where there is none.
    fn text(&mut self) -> Result<Option<String>> {
        let Ok(length) = usize::try_from(self.int()?) else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(self.take(length)?).into_owned()))
    }

    fn field(&mut self, field: Field) -> Result<Read> {
        Ok(match field {
            Field::Byte => Read::Int(i64::from(self.take(1)?[0])),
            Field::Int => Read::Int(self.int()?),
            Field::Text => Read::Text(self.text()?.unwrap_or_default()),
            Field::Texts => {
                while self.text()?.is_some() {}
                Read::Int(0)
            }
            Field::Place => {
                let place = self.at;
                self.take(1 + self.offset_size)?;
                Read::Place(place)
            }
        })
    }
}

/// A field's value.
enum Read {
    Int(i64),
    Text(String),
    Place(usize),
}

fn invalid(why: &str) -> Error {
    Error::NotCustom { why: why.to_owned() }
}

fn cut() -> Error {
    invalid("its table of contents is cut short")
}

impl Contents {
    /// Reads the beginning of a dump, up to its first block of data.
    ///
    /// # Errors
    /// `dump.invalid`; `format.unsupported` for a version that is not known.
    pub fn parse(bytes: Vec<u8>) -> Result<Contents> {
        let (minor, int_size, offset_size) = sizes(&bytes)?;
        let mut reader = Reader { bytes: &bytes, at: 11, int_size, offset_size };
        for field in head_fields(minor) {
            reader.field(field)?;
        }
        let count = reader.int()?;
        let fields = entry_fields(minor);
        let mut entries = Vec::new();
        for _ in 0..count {
            let mut entry = Entry {
                id: 0,
                has_data: false,
                tag: String::new(),
                kind: String::new(),
                namespace: String::new(),
                place: 0,
            };
            for (field, part) in &fields {
                match (part, reader.field(*field)?) {
                    (Part::Id, Read::Int(id)) => entry.id = id,
                    (Part::HasData, Read::Int(has)) => entry.has_data = has != 0,
                    (Part::Tag, Read::Text(text)) => entry.tag = text,
                    (Part::Kind, Read::Text(text)) => entry.kind = text,
                    (Part::Namespace, Read::Text(text)) => entry.namespace = text,
                    (Part::Place, Read::Place(place)) => entry.place = place,
                    _ => {}
                }
            }
            entries.push(entry);
        }
        let end = reader.at;
        if end != bytes.len() {
            return Err(invalid("its table of contents is of another length"));
        }
        Ok(Contents { entries, bytes, offset_size })
    }

    /// The tables with data of this name, `SCHEMA.TABLE` or the table's alone, among them partitions of their own name.
    pub fn tables(&self, name: &str) -> Vec<&Entry> {
        let data = || self.entries.iter().filter(|entry| entry.has_data && entry.kind == "TABLE DATA");
        let whole: Vec<&Entry> = data().filter(|entry| format!("{}.{}", entry.namespace, entry.tag) == name).collect();
        if !whole.is_empty() {
            return whole;
        }
        data().filter(|entry| entry.tag == name).collect()
    }

    /// The head and the contents for a dump that has these blocks of data and no others, one after the other in this order and with these
    /// lengths. What has no place there is marked as having none, as in a dump of the schema alone.
    pub fn with_blocks(&self, blocks: &[(i64, u64)]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let mut at = bytes.len() as u64;
        for entry in &self.entries {
            bytes[entry.place] = NO_DATA;
        }
        for (id, length) in blocks {
            if let Some(entry) = self.entries.iter().find(|entry| entry.id == *id) {
                bytes[entry.place] = AT;
                let offset = at.to_le_bytes();
                for (n, place) in bytes[entry.place + 1..][..self.offset_size].iter_mut().enumerate() {
                    *place = offset.get(n).copied().unwrap_or(0);
                }
            }
            at += length;
        }
        bytes
    }
}

/// The minor version and the sizes of integers and offsets.
fn sizes(bytes: &[u8]) -> Result<(u8, usize, usize)> {
    let Some((magic, rest)) = bytes.split_first_chunk::<5>() else { return Err(invalid("it is empty, or nearly")) };
    if magic != MAGIC {
        return Err(invalid("it does not begin with PGDMP"));
    }
    let &[major, minor, revision, int_size, offset_size, format, ..] = rest else { return Err(cut()) };
    if major != 1 || !VERSIONS.contains(&minor) {
        return Err(Error::CustomVersion { version: format!("{major}.{minor}-{revision}") });
    }
    if format != CUSTOM || !(1..=8).contains(&int_size) || !(1..=8).contains(&offset_size) {
        return Err(invalid("its head says another format, or impossible sizes"));
    }
    Ok((minor, usize::from(int_size), usize::from(offset_size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: i64) -> Vec<u8> {
        let mut bytes = vec![u8::from(value < 0)];
        bytes.extend(i32::try_from(value.abs()).unwrap().to_le_bytes());
        bytes
    }

    fn text(value: &str) -> Vec<u8> {
        [number(i64::try_from(value.len()).unwrap()), value.as_bytes().to_vec()].concat()
    }

    /// The beginning of a dump as each version writes it, with these tables.
    fn dump(minor: u8, tables: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], &[1, minor, 0, 4, 8, CUSTOM]].concat();
        bytes.extend(if minor >= 15 { vec![0] } else { number(0) });
        (0..7).for_each(|_| bytes.extend(number(1)));
        ["shop", "15.4", "15.4"].iter().for_each(|version| bytes.extend(text(version)));
        bytes.extend(number(i64::try_from(tables.len()).unwrap()));
        for (n, (schema, table)) in (1..).zip(tables) {
            bytes.extend([number(n), number(1), text("0"), text("16384"), text(table), text("TABLE DATA")].concat());
            bytes.extend([number(3), number(-1), text("COPY"), text("x"), text(schema), number(-1)].concat());
            if minor >= 14 {
                bytes.extend(text("heap"));
            }
            if minor >= 16 {
                bytes.extend(number(114));
            }
            bytes.extend([text("owner"), text("false"), text("7"), text("8"), number(-1)].concat());
            bytes.extend([&[1][..], &[0; 8]].concat());
        }
        bytes
    }

    #[test]
    fn every_known_version_is_read_and_no_other() {
        for minor in VERSIONS {
            let contents = Contents::parse(dump(minor, &[("public", "a.b"), ("s", "t")])).unwrap();
            let found: Vec<_> = contents.entries.iter().map(|entry| (entry.id, entry.tag.as_str())).collect();
            assert_eq!(found, [(1, "a.b"), (2, "t")]);
            assert_eq!(contents.tables("public.a.b").len(), 1);
            assert_eq!(
                (contents.tables("s.t").len(), contents.tables("t").len(), contents.tables("b").len()),
                (1, 1, 0)
            );
        }
        for minor in [11, 17] {
            let mut bytes = dump(16, &[]);
            bytes[6] = minor;
            assert_eq!(Contents::parse(bytes).unwrap_err().code(), "format.unsupported");
        }
    }

    #[test]
    fn what_is_cut_or_is_no_dump_is_refused() {
        let whole = dump(14, &[("public", "a")]);
        for length in 0..whole.len() {
            assert_eq!(Contents::parse(whole[..length].to_vec()).unwrap_err().code(), "dump.invalid", "{length}");
        }
        assert_eq!(Contents::parse([&whole[..], b"x"].concat()).unwrap_err().code(), "dump.invalid");
        let mut huge = whole;
        huge[11 + 5 + 35..][..5].copy_from_slice(&[0, 255, 255, 255, 127]);
        assert_eq!(Contents::parse(huge).unwrap_err().code(), "dump.invalid");
    }

    #[test]
    fn blocks_are_found_where_the_copy_says_and_the_others_are_none() {
        let contents = Contents::parse(dump(14, &[("public", "a"), ("public", "b"), ("public", "c")])).unwrap();
        let copy = contents.with_blocks(&[(3, 10), (1, 20)]);
        let places: Vec<(u8, u64)> = contents
            .entries
            .iter()
            .map(|entry| (copy[entry.place], u64::from_le_bytes(copy[entry.place + 1..][..8].try_into().unwrap())))
            .collect();
        let length = copy.len() as u64;
        assert_eq!(places, [(AT, length + 10), (NO_DATA, 0), (AT, length)]);
        assert_eq!(Contents::parse(copy).unwrap().entries.len(), 3);
    }
}
