//! A script for psql, taken apart as psql takes it apart: into statements, its own commands, and the data of `COPY … FROM stdin`.
//!
//! What stands in a string, a comment or a row is none of these, whatever it looks like.

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A statement, with its semicolon.
    Statement,
    /// A line with which psql is told something, such as `\connect`.
    Command,
    /// A line of data, or the rest of the line behind the statement that announces data.
    Data,
}

/// A piece of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it is.
    pub kind: Kind,
    bytes: Vec<u8>,
    start: usize,
}

impl Piece {
    /// Without the blanks and comments in front of it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[self.start..]).into_owned()
    }
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Code,
    /// In a string; whether the next character is escaped.
    Quote {
        skip: bool,
    },
    /// In a name in quotes.
    Name,
    /// In what may become the beginning of a dollar-quoted string.
    Tag {
        from: usize,
    },
    Dollar {
        tag: Vec<u8>,
        from: usize,
    },
    LineComment,
    Comment {
        depth: usize,
    },
    Command,
    /// Behind the statement that announces data, on its line.
    BeforeData,
    Data,
}

/// Takes a script apart, byte by byte.
#[derive(Debug, Default)]
pub struct Splitter {
    state: State,
    pending: Vec<u8>,
    /// Where the statement begins, behind blanks and comments.
    start: Option<usize>,
    parentheses: usize,
    /// Whether a backslash escapes in the string that is or was open.
    escapes: bool,
    last: [u8; 2],
}

impl Splitter {
    /// Takes a byte; gives the piece that is complete with it.
    pub fn push(&mut self, byte: u8) -> Option<Piece> {
        self.pending.push(byte);
        let before = self.last;
        let last = before[1];
        self.last = [last, byte];
        match &mut self.state {
            State::Code => return self.code(byte, before),
            State::Quote { skip } => match byte {
                _ if *skip => *skip = false,
                b'\\' if self.escapes => *skip = true,
                b'\'' => self.state = State::Code,
                _ => {}
            },
            State::Name if byte == b'"' => self.state = State::Code,
            State::Tag { from } => match byte {
                b'$' => {
                    let tag = self.pending[*from..].to_vec();
                    self.state = State::Dollar { tag, from: self.pending.len() };
                }
                // $1 is a parameter.
                _ if in_name(byte) && !(last == b'$' && byte.is_ascii_digit()) => {}
                _ => {
                    self.state = State::Code;
                    return self.code(byte, before);
                }
            },
            State::Dollar { tag, from } if byte == b'$' && self.pending[*from..].ends_with(tag) => {
                self.state = State::Code;
                self.last = [0; 2];
            }
            State::LineComment if byte == b'\n' => self.state = State::Code,
            State::Comment { depth } => {
                match (last, byte) {
                    (b'/', b'*') => *depth += 1,
                    (b'*', b'/') => *depth -= 1,
                    _ => return None,
                }
                // The same star is not the beginning of another mark.
                self.last = [0; 2];
                if *depth == 0 {
                    self.state = State::Code;
                }
            }
            State::Command if byte == b'\n' => return self.piece(Kind::Command, State::Code),
            State::BeforeData if byte == b'\n' => return self.piece(Kind::Data, State::Data),
            State::Data if byte == b'\n' => {
                let ends = matches!(self.pending.as_slice(), b"\\.\n" | b"\\.\r\n");
                return self.piece(Kind::Data, if ends { State::Code } else { State::Data });
            }
            _ => {}
        }
        None
    }

    /// What is there so far of a piece that is not complete, without blanks and comments in front of it; `None` when there are only these.
    pub fn begun(&self) -> Option<&[u8]> {
        self.start.map(|start| &self.pending[start..])
    }

    fn code(&mut self, byte: u8, [before, last]: [u8; 2]) -> Option<Piece> {
        let here = self.pending.len() - 1;
        if !byte.is_ascii_whitespace() {
            self.start.get_or_insert(here);
        }
        // A comment that the piece begins with is not yet its beginning.
        let comment = |start: Option<usize>| start.filter(|start| *start + 1 != here);
        match byte {
            b'\'' => {
                // Of 'it''s' the second half is as the first.
                if last != b'\'' {
                    self.escapes = matches!(last, b'e' | b'E') && !in_name(before);
                }
                self.state = State::Quote { skip: false };
            }
            b'"' => self.state = State::Name,
            b'$' if !in_name(last) => self.state = State::Tag { from: here },
            b'-' if last == b'-' => {
                self.start = comment(self.start);
                self.state = State::LineComment;
            }
            b'*' if last == b'/' => {
                self.start = comment(self.start);
                self.state = State::Comment { depth: 1 };
                self.last = [0; 2];
            }
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            b';' if self.parentheses == 0 => {
                let copies = self.begun().is_some_and(copies_from_input);
                return self.piece(Kind::Statement, if copies { State::BeforeData } else { State::Code });
            }
            b'\\' => self.state = State::Command,
            _ => {}
        }
        None
    }

    fn piece(&mut self, kind: Kind, next: State) -> Option<Piece> {
        self.state = next;
        self.parentheses = 0;
        self.last = [0; 2];
        let (bytes, start) = (std::mem::take(&mut self.pending), self.start.take().unwrap_or_default());
        Some(Piece { kind, bytes, start })
    }
}

fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// `COPY t (a) FROM stdin;`
fn copies_from_input(statement: &[u8]) -> bool {
    let text = String::from_utf8_lossy(statement);
    let words: Vec<&str> = text.trim_end_matches(';').split_whitespace().collect();
    words.first().is_some_and(|word| word.eq_ignore_ascii_case("COPY"))
        && words.windows(2).any(|pair| pair[0].eq_ignore_ascii_case("FROM") && pair[1].eq_ignore_ascii_case("stdin"))
}

/// What follows these words, if a statement begins with them.
pub fn after<'a>(statement: &'a str, words: &[&str]) -> Option<&'a str> {
    let mut rest = statement;
    for word in words {
        let (first, behind) = rest.split_at_checked(word.len())?;
        let ends = behind.starts_with(|c: char| c.is_whitespace() || c == ';');
        if !first.eq_ignore_ascii_case(word) || !ends {
            return None;
        }
        rest = behind.trim_start();
    }
    Some(rest)
}

/// The name with which a text begins, and what follows it. Without quotes a name is in small letters.
pub fn name(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut from = 0;
        loop {
            let end = from + quoted[from..].find('"')?;
            match quoted[end + 1..].strip_prefix('"') {
                Some(_) => from = end + 2,
                None => return Some((quoted[..end].replace("\"\"", "\""), &quoted[end + 1..])),
            }
        }
    }
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, ';' | ',')).unwrap_or(text.len());
    (end > 0).then(|| (text[..end].to_lowercase(), &text[end..]))
}

/// A name as pg_dump may write it: in quotes, and as it is where that means the same.
pub fn spellings(name: &str) -> Vec<String> {
    let mut spellings = vec![format!("\"{}\"", name.replace('"', "\"\""))];
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain && !name.starts_with(|c: char| c.is_ascii_digit()) {
        spellings.push(name.to_owned());
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(script: &str) -> Vec<(Kind, String)> {
        let mut splitter = Splitter::default();
        let pieces: Vec<_> = script.bytes().filter_map(|byte| splitter.push(byte)).collect();
        let whole: Vec<u8> =
            pieces.iter().flat_map(|piece| piece.bytes.clone()).chain(splitter.pending.iter().copied()).collect();
        assert_eq!(whole, script.as_bytes());
        pieces.iter().map(|piece| (piece.kind, piece.text())).collect()
    }

    fn statements(script: &str) -> Vec<String> {
        pieces(script).into_iter().filter(|(kind, _)| *kind == Kind::Statement).map(|(_, text)| text).collect()
    }

    #[test]
    fn strings_names_and_comments_are_no_statements() {
        for inside in [
            "'; DROP DATABASE x;'",
            "'it''s; DROP DATABASE x;'",
            "'a\\'",
            "E'it\\'s; DROP DATABASE x;'",
            "E'a''b\\';'",
            "\"; DROP DATABASE \"\"x;\"",
            "$$; DROP DATABASE x; '$$",
            "$a1$; $b$ $$ DROP DATABASE x; $a1$",
            "$1 + a$b",
            "(1; DROP DATABASE x;)",
            "/* ; /* ; */ DROP DATABASE x; */",
            "/*/ ; */",
            "-- ; DROP DATABASE x;\n",
        ] {
            let script = format!("SELECT {inside} AS a;\n SELECT 2;\n");
            assert_eq!(statements(&script), [format!("SELECT {inside} AS a;"), "SELECT 2;".to_owned()], "{inside}");
        }
    }

    #[test]
    fn comments_in_front_do_not_belong_to_a_statement() {
        assert_eq!(statements("--\n-- Roles\n--\n\n/* x */ CREATE ROLE a;"), ["CREATE ROLE a;"]);
    }

    #[test]
    fn data_is_not_read() {
        let script =
            "COPY public.t (a, \"from stdin\") FROM stdin;\nDROP DATABASE x;\n\\connect y\n\\.\n\\connect z\nSELECT 1;";
        let kinds: Vec<_> = pieces(script).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            [Kind::Statement, Kind::Data, Kind::Data, Kind::Data, Kind::Data, Kind::Command, Kind::Statement]
        );
        assert_eq!(statements("COPY t TO stdout;\nSELECT 1;").len(), 2);
    }

    #[test]
    fn names_are_read_with_and_without_quotes() {
        assert_eq!(name("\"it's \"\"q\"\"\" WITH"), Some(("it's \"q\"".to_owned(), " WITH")));
        assert_eq!(name("Shop;"), Some(("shop".to_owned(), ";")));
        assert_eq!((name(""), name("\"open")), (None, None));
        assert_eq!(after("create  DATABASE shop;", &["CREATE", "DATABASE"]), Some("shop;"));
        assert_eq!(after("CREATE DATABASES;", &["CREATE", "DATABASE"]), None);
        assert_eq!((spellings("me"), spellings("Me")), (vec!["\"me\"".to_owned(), "me".into()], vec!["\"Me\"".into()]));
    }
}
