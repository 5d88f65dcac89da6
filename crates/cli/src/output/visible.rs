//! Text of others on its way to people: what would move the cursor, colour or reorder a line is shown as what it is.
//!
//! Names, tags, reasons and notes are anybody's who can write to the store, and so are parts of many messages. Every result and message that is text passes
//! through here; JSON stays exact, for it has escapes of its own.

use std::borrow::Cow;

/// One value, on one line.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Text that may have lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| is_hidden(character) && !matches!(character, '\n' | '\t'))
}

/// A message: lines after the first one stand further to the right, so that none of them can be taken for another message.
pub(crate) fn message(text: &str) -> String {
    lines(text).replace('\n', "\n    ")
}

/// Whether a terminal does something on it instead of showing it.
fn is_hidden(character: char) -> bool {
    let separates = matches!(character, '\u{2028}' | '\u{2029}');
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || separates || turns
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_escaped(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_shown() {
        assert_eq!(cell("Größe 日本 \\ \"x\""), "Größe 日本 \\ \"x\"");
        assert_eq!(cell("x\x1b[31m\r\n\t\x07\x7f"), "x\\u{1b}[31m\\r\\n\\t\\u{7}\\u{7f}");
        assert_eq!(cell("\u{9b}31m\u{85}"), "\\u{9b}31m\\u{85}");
        let turning = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}\u{2028}\u{2029}";
        assert!(cell(turning).is_ascii() && lines(turning).is_ascii());
        assert_eq!(lines("a\tb\n\x1bc"), "a\tb\n\\u{1b}c");
        assert_eq!(message("a\nerror[x]: b\x1b"), "a\n    error[x]: b\\u{1b}");
    }
}
