//! A result with a list in it that may be too long to be held: it is printed while it is made, and is byte for byte what
//! [`Output::result`] would have printed.

use serde::Serialize;

use super::{Output, json};
use crate::failure::Result;

/// What is gathered before it is written.
const CHUNK: usize = 64 << 10;

/// A JSON object whose first field is a list. Fields stand in the order of their names.
pub(crate) struct Document<'a> {
    output: &'a Output,
    text: String,
    is_empty: bool,
}

impl<'a> Document<'a> {
    /// Begins with the list of this name. Nothing is printed yet.
    pub(crate) fn new(output: &'a Output, list: &str) -> Document<'a> {
        Document { output, text: format!("{{{}:[", json::part(&list)), is_empty: true }
    }

    /// The list's next item.
    pub(crate) fn item(&mut self, item: &impl Serialize) -> Result<()> {
        if !self.is_empty {
            self.text.push(',');
        }
        self.is_empty = false;
        self.text += &json::part(item);
        if self.text.len() < CHUNK {
            return Ok(());
        }
        self.output.data(&std::mem::take(&mut self.text))
    }

    /// The list is whole: what is left of the object of this type, after the list's name in the alphabet.
    pub(crate) fn end(mut self, kind: &str, rest: &impl Serialize) -> Result<()> {
        let rest = json::object(kind, rest);
        self.text.push_str("],");
        self.text += rest.strip_prefix('{').unwrap_or(&rest);
        self.text.push('\n');
        self.output.data(&self.text)
    }
}
