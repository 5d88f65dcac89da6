//! A dump as it passes: where its blocks of data are, and whether it is cut.
//!
//! Nothing is held but a few bytes and the list of blocks: the contents are read field by field, and of a block only the lengths of its
//! chunks. What is no dump in this format, or of a version that is not known, is let pass.

use std::collections::VecDeque;

use backstay::chunk::{Facts, Watch};
use serde::{Deserialize, Serialize};

use super::{CUSTOM, FACT, Field, MAGIC, VERSIONS, entry_fields, head_fields, int};

/// More blocks than this are not noted: the manifest is read by everybody who lists archives.
const MAX_BLOCKS: usize = 100_000;
/// The kinds of block.
const DATA: u8 = 1;
const LARGE_OBJECTS: u8 = 3;

/// One block of data: the number of its entry, its place in the dump, and its length, which has its head and its end in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block(pub i64, pub u64, pub u64);

/// Where what is in a dump.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Bytes of head and contents.
    pub contents: u64,
    /// The blocks of data in their order.
    pub blocks: Vec<Block>,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first eleven bytes.
    Magic,
    /// The fields of the head.
    Head,
    /// The number of entries.
    Count,
    /// The fields of an entry.
    Entries,
    /// The first byte of a block, or the end.
    Block,
    /// The number of the block's entry.
    BlockId,
    /// The number of a large object, 0 for none.
    LargeObject,
    /// The length of a chunk, 0 for none.
    Chunk,
    /// Not what we know: nothing is looked at any more.
    Unknown,
}

/// Looks at a dump as it passes.
#[derive(Debug)]
pub struct Watcher {
    state: State,
    /// Bytes so far.
    at: u64,
    /// Bytes that say nothing.
    skip: u64,
    /// The beginning of something that is not there whole, and how long it is when it is.
    partial: Vec<u8>,
    needed: usize,
    minor: u8,
    int_size: usize,
    offset_size: usize,
    /// Fields that are still to come, and entries after the present one.
    fields: VecDeque<Field>,
    entries: i64,
    kind: u8,
    begun: u64,
    id: i64,
    index: Index,
    too_many: bool,
}

impl Default for Watcher {
    fn default() -> Self {
        Watcher {
            state: State::Magic,
            at: 0,
            skip: 0,
            partial: Vec::with_capacity(16),
            needed: 11,
            minor: 0,
            int_size: 0,
            offset_size: 0,
            fields: VecDeque::new(),
            entries: 0,
            kind: 0,
            begun: 0,
            id: 0,
            index: Index::default(),
            too_many: false,
        }
    }
}

impl Watch for Watcher {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.state != State::Unknown {
            if self.skip > 0 {
                let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[skipped..];
                self.skip -= skipped as u64;
                self.at += skipped as u64;
                continue;
            }
            if self.partial.is_empty() && bytes.len() >= self.needed {
                let (item, rest) = bytes.split_at(self.needed);
                bytes = rest;
                self.at += item.len() as u64;
                self.step(item);
                continue;
            }
            let taken = (self.needed - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.at += taken as u64;
            if self.partial.len() == self.needed {
                let item = std::mem::take(&mut self.partial);
                self.step(&item);
                self.partial = item;
                self.partial.clear();
            }
        }
    }

    fn end(&mut self) -> Result<Facts, String> {
        let cut = |what: &str| {
            Err(format!(
                "it begins as a dump in PostgreSQL's custom format, and ends within {what}, after {} bytes",
                self.at
            ))
        };
        match self.state {
            State::Unknown => return Ok(Facts::new()),
            State::Magic if !MAGIC.starts_with(&self.partial[..self.partial.len().min(5)]) => return Ok(Facts::new()),
            State::Magic if self.partial.len() < MAGIC.len() => return Ok(Facts::new()),
            State::Magic | State::Head | State::Count | State::Entries => return cut("its table of contents"),
            State::BlockId | State::LargeObject | State::Chunk => return cut("the data of a table"),
            State::Block if self.skip > 0 => return cut("the data of a table"),
            State::Block => {}
        }
        if self.too_many {
            return Ok(Facts::new());
        }
        let index = serde_json::to_value(&self.index).map_err(|error| error.to_string())?;
        Ok(Facts::from([(FACT.to_owned(), index)]))
    }
}

impl Watcher {
    /// What was found so far; whole once the dump has ended in [`Watch::end`].
    pub fn index(&self) -> Option<&Index> {
        (self.state == State::Block && !self.too_many).then_some(&self.index)
    }

    /// Takes the next item, and says what comes after it.
    fn step(&mut self, item: &[u8]) {
        let number = 1 + self.int_size;
        match self.state {
            State::Magic => self.begin(item),
            State::Head | State::Entries => self.field(item),
            State::Count => match int(item) {
                Some(count) if count >= 0 => {
                    self.entries = count;
                    self.next_entry();
                }
                _ => self.state = State::Unknown,
            },
            State::Block => {
                self.begun = self.at - 1;
                self.kind = item[0];
                if matches!(self.kind, DATA | LARGE_OBJECTS) {
                    self.expect(State::BlockId, number);
                } else {
                    self.state = State::Unknown;
                }
            }
            State::BlockId => {
                self.id = int(item).unwrap_or_default();
                self.expect(if self.kind == DATA { State::Chunk } else { State::LargeObject }, number);
            }
            State::LargeObject => match int(item) {
                Some(0) => self.end_block(),
                _ => self.expect(State::Chunk, number),
            },
            State::Chunk => match int(item) {
                Some(0) if self.kind == DATA => self.end_block(),
                Some(0) => self.expect(State::LargeObject, number),
                Some(length) if length > 0 => self.skip = length.unsigned_abs(),
                _ => self.state = State::Unknown,
            },
            State::Unknown => {}
        }
    }

    fn expect(&mut self, state: State, needed: usize) {
        (self.state, self.needed) = (state, needed);
    }

    fn begin(&mut self, head: &[u8]) {
        self.state = State::Unknown;
        let Some((magic, &[major, minor, _, int_size, offset_size, format])) = head.split_first_chunk::<5>() else {
            return;
        };
        let sizes = (1..=8).contains(&int_size) && (1..=8).contains(&offset_size);
        if magic == MAGIC && major == 1 && VERSIONS.contains(&minor) && format == CUSTOM && sizes {
            (self.minor, self.int_size, self.offset_size) = (minor, usize::from(int_size), usize::from(offset_size));
            self.state = State::Head;
            self.fields = head_fields(minor).into();
            self.next_field();
        }
    }

    /// Says what the next field takes.
    fn next_field(&mut self) {
        match self.fields.front() {
            Some(Field::Byte) => self.needed = 1,
            Some(Field::Int | Field::Text | Field::Texts) => self.needed = 1 + self.int_size,
            Some(Field::Place) => self.needed = 1 + self.offset_size,
            None if self.state == State::Head => self.expect(State::Count, 1 + self.int_size),
            None => {
                self.entries -= 1;
                self.next_entry();
            }
        }
    }

    fn next_entry(&mut self) {
        if self.entries > 0 {
            self.state = State::Entries;
            self.fields = entry_fields(self.minor).into_iter().map(|(field, _)| field).collect();
            self.next_field();
        } else {
            self.index.contents = self.at;
            self.expect(State::Block, 1);
        }
    }

    /// Takes a field, or the length of a text, whose bytes are skipped.
    fn field(&mut self, item: &[u8]) {
        let length = match self.fields.front() {
            Some(Field::Text | Field::Texts) => int(item).unwrap_or(-1),
            _ => 0,
        };
        self.skip = u64::try_from(length).unwrap_or(0);
        if !(self.fields.front() == Some(&Field::Texts) && length >= 0) {
            self.fields.pop_front();
        }
        // The place where the contents end is behind the last text, but the last field is none.
        self.next_field();
    }

    fn end_block(&mut self) {
        if self.index.blocks.len() < MAX_BLOCKS {
            self.index.blocks.push(Block(self.id, self.begun, self.at - self.begun));
        } else {
            self.too_many = true;
        }
        self.expect(State::Block, 1);
    }
}
