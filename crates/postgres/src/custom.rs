//! PostgreSQL's custom format: `pg_dump -Fc`.
//!
//! A dump begins with a head and a table of contents, whose entries are the objects of the database, and goes on with a block of data for each
//! table. The table of contents has room for each block's place, but whoever writes to a pipe cannot go back and fill it in, and `pg_restore`
//! would then read everything before the block it wants. So places are noted while a dump passes on its way to the store ([`Watcher`]), and
//! with them one table can be taken out of an archive without the others ([`crate::table`]).
//!
//! ```text
//! head      "PGDMP" version(3) int-size offset-size format(1); compression, times and names
//! contents  count, and for each entry: ids, name, kind, definitions, dependencies, and the place of its data
//! block     kind(1) id, then chunks: length and bytes; a length of 0 ends it.
//!           A block of large objects has, for each of them, its id before its chunks, and ends in an id of 0
//! ```
//!
//! Integers are a sign and `int-size` bytes, little end first; strings are an integer, negative for none, and so many bytes.

mod contents;
mod watch;

pub use contents::{Contents, Entry};
pub use watch::{Block, Index, Watcher};

/// What a dump begins with.
const MAGIC: &[u8; 5] = b"PGDMP";
/// The minor versions that are known, all of 1: PostgreSQL 9.0 to 18 write 1.12 to 1.16.
const VERSIONS: std::ops::RangeInclusive<u8> = 12..=16;
/// The byte that says that this is the custom format, and not one of its relatives.
const CUSTOM: u8 = 1;
/// The name of the fact in the sealed part of a manifest that holds an [`Index`].
pub const FACT: &str = "pg_custom";

/// What is read one after the other, in the head and in an entry of the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Byte,
    Int,
    Text,
    /// Strings up to one that is none.
    Texts,
    /// A state and an offset.
    Place,
}

/// Fields of the head between the format's byte and the number of entries.
fn head_fields(minor: u8) -> Vec<Field> {
    let compression = if minor >= 15 { Field::Byte } else { Field::Int };
    let mut fields = vec![compression];
    // The time in seven numbers; the database; the server's and the program's version.
    fields.extend([Field::Int; 7]);
    fields.extend([Field::Text; 3]);
    fields
}

/// Fields of an entry, with what is wanted of them.
fn entry_fields(minor: u8) -> Vec<(Field, Part)> {
    let mut fields = vec![
        (Field::Int, Part::Id),
        (Field::Int, Part::HasData),
        (Field::Text, Part::Other),
        (Field::Text, Part::Other),
        (Field::Text, Part::Tag),
        (Field::Text, Part::Kind),
        // The section; definition, drop and copy statements.
        (Field::Int, Part::Other),
        (Field::Text, Part::Other),
        (Field::Text, Part::Other),
        (Field::Text, Part::Other),
        (Field::Text, Part::Namespace),
        // The tablespace.
        (Field::Text, Part::Other),
    ];
    if minor >= 14 {
        // The table access method.
        fields.push((Field::Text, Part::Other));
    }
    if minor >= 16 {
        // The kind of relation.
        fields.push((Field::Int, Part::Other));
    }
    fields.extend([
        // The owner, and what was once about oids.
        (Field::Text, Part::Other),
        (Field::Text, Part::Other),
        (Field::Texts, Part::Other),
        (Field::Place, Part::Place),
    ]);
    fields
}

/// What is wanted of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Id,
    HasData,
    Tag,
    Kind,
    Namespace,
    Place,
    Other,
}

/// An integer: a sign and its bytes, the little end first.
fn int(bytes: &[u8]) -> Option<i64> {
    let (sign, magnitude) = bytes.split_first()?;
    let magnitude = magnitude
        .iter()
        .rev()
        .try_fold(0i64, |value, byte| value.checked_mul(256).and_then(|value| value.checked_add(i64::from(*byte))))?;
    Some(if *sign == 0 { magnitude } else { -magnitude })
}
