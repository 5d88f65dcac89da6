//! What psql writes to its standard error, taken apart into messages.
//!
//! psql runs with `VERBOSITY=verbose` and `ECHO=errors` (see [`crate::target::psql`]), so that a message of the server has its SQLSTATE, and one about
//! a statement that failed is followed by the statement:
//!
//! ```text
//! psql:<stdin>:51: ERROR:  42710: role "postgres" already exists
//! LOCATION:  CreateRole, user.c:308
//! psql:<stdin>:51: STATEMENT:  CREATE ROLE postgres;
//! ```
//!
//! The text and the word for its severity are in the language of the server. The code and the statement are not: what happened is read
//! from these two.

/// The most characters that are kept of a message or a statement.
const KEPT: usize = 400;

/// Something that psql, pg_restore or the server said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The line of the input at which it was said.
    pub line: Option<u64>,
    /// How bad it is, in the words of whoever said it: `ERROR`, `FEHLER`, `error`, or nothing.
    pub severity: String,
    /// The server's code of five characters; `None` when a program said it.
    pub sqlstate: Option<String>,
    /// What is said, on one line.
    pub text: String,
    /// The statement that failed. Of two, one is forged: the text of a statement can look like a message.
    pub statement: Option<String>,
    statements: u32,
}

impl Message {
    /// The statement, when there is no doubt about it.
    pub fn failed_statement(&self) -> Option<&str> {
        self.statement.as_deref().filter(|_| self.statements == 1)
    }

    /// Whether something failed. A failed statement is one in every language; programs speak English, for they are told to.
    pub fn is_error(&self) -> bool {
        let severe = matches!(self.severity.as_str(), "ERROR" | "FATAL" | "PANIC" | "error" | "fatal");
        severe || self.statement.is_some() || self.severity.is_empty()
    }
}

/// Takes messages apart, line by line.
#[derive(Debug, Default)]
pub struct Parser {
    open: Option<Message>,
    /// Whether lines that follow belong to the statement and not to the text.
    in_statement: bool,
}

impl Parser {
    /// Takes the next line; gives the message that is complete with it.
    pub fn line(&mut self, line: &str) -> Option<Message> {
        let Some((at, said)) = begins(line) else {
            if self.in_statement
                && let Some(statement) = self.open.as_mut().and_then(|message| message.statement.as_mut())
            {
                append(statement, line);
            }
            return None;
        };
        if let (Some(statement), Some(message)) = (said.strip_prefix("STATEMENT:  "), &mut self.open) {
            message.statements += 1;
            message.statement.get_or_insert_default();
            if message.statements == 1 {
                message.statement = Some(clipped(statement));
            }
            self.in_statement = true;
            return None;
        }
        self.in_statement = false;
        self.open.replace(parse(at, said))
    }

    /// The message that the end completes.
    pub fn finish(&mut self) -> Option<Message> {
        self.open.take()
    }
}

/// The input's line number and the rest, of a line that begins a message.
fn begins(line: &str) -> Option<(Option<u64>, &str)> {
    if let Some(rest) = line.strip_prefix("psql:<stdin>:") {
        let (number, said) = rest.split_once(": ")?;
        return number.parse().ok().map(|number| (Some(number), said));
    }
    ["psql: ", "pg_restore: "].iter().find_map(|program| line.strip_prefix(program)).map(|said| (None, said))
}

fn parse(line: Option<u64>, said: &str) -> Message {
    // Of the server: two blanks and a code.
    if let Some((severity, rest)) = said.split_once(":  ")
        && let Some((code, text)) = rest.split_once(": ")
        && code.len() == 5
        && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    {
        // In French a blank stands before the colon.
        let severity = severity.trim().to_owned();
        return Message { line, severity, sqlstate: Some(code.to_owned()), text: clipped(text), ..Message::default() };
    }
    // Of the program; `psql: server closed the connection` has no severity.
    let known = ["error", "fatal", "warning", "info", "detail", "hint"];
    match said.split_once(": ").filter(|(severity, _)| known.contains(severity)) {
        Some((severity, text)) => {
            Message { line, severity: severity.to_owned(), text: clipped(text), ..Message::default() }
        }
        None => Message { line, text: clipped(said), ..Message::default() },
    }
}

fn clipped(text: &str) -> String {
    let mut kept = String::new();
    append(&mut kept, text);
    kept
}

/// Adds a line, with one blank for what is between it and what is there.
fn append(kept: &mut String, line: &str) {
    let room = KEPT.saturating_sub(kept.chars().count());
    let line = line.trim();
    if room == 0 || line.is_empty() {
        return;
    }
    if !kept.is_empty() {
        kept.push(' ');
    }
    kept.extend(line.chars().take(room));
    if line.chars().count() > room {
        kept.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<Message> {
        let mut parser = Parser::default();
        let mut messages: Vec<_> = text.lines().filter_map(|line| parser.line(line)).collect();
        messages.extend(parser.finish());
        messages
    }

    #[test]
    fn messages_are_taken_apart() {
        let seen = messages(include_str!("../../testdata/psql/errors-of-many-kinds-15.txt"));
        let short: Vec<_> = seen
            .iter()
            .map(|message| {
                let statement = message.failed_statement().unwrap_or("-").split(' ').next().unwrap().to_owned();
                let code = message.sqlstate.clone().unwrap_or_default();
                (message.line.unwrap(), message.severity.as_str(), code, statement, message.is_error())
            })
            .collect();
        let wanted = [
            (5, "ERROR", "22P02", "COPY", true),
            (6, "ERROR", "42P01", "COPY", true),
            (11, "WARNING", "25001", "-", false),
            (12, "NOTICE", "42P07", "-", false),
            (15, "WARNING", "01000", "-", false),
            (15, "ERROR", "P1234", "DO", true),
            (16, "error", "", "-", true),
            (17, "error", "", "-", true),
        ];
        let wanted = wanted.map(|(line, severity, code, statement, error)| {
            (line, severity, code.to_owned(), statement.to_owned(), error)
        });
        assert_eq!(short, wanted);
        assert_eq!(
            seen[5].statement.as_deref().unwrap(),
            "DO $$ BEGIN RAISE WARNING 'two lines'; RAISE EXCEPTION 'own' USING ERRCODE = 'P1234', DETAIL = 'd e', HINT = 'h'; END $$;"
        );
    }

    #[test]
    fn what_failed_is_known_in_any_language() {
        let seen = messages(include_str!("../../testdata/psql/german-15.txt"));
        let failed: Vec<_> = seen.iter().map(|message| (message.severity.as_str(), message.is_error())).collect();
        let wanted = [("FEHLER", true), ("HINWEIS", false), ("HINWEIS", false), ("WARNUNG", false), ("FEHLER", true)];
        assert_eq!(failed, wanted);
        assert_eq!(seen[0].failed_statement(), Some("CREATE ROLE postgres;"));
    }

    #[test]
    fn a_lost_connection_is_an_error_of_the_server_and_of_the_program() {
        let seen = messages(include_str!("../../testdata/psql/connection-lost-15.txt"));
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(Message::is_error));
        assert_eq!(seen[0].sqlstate.as_deref(), Some("57P01"));
        assert_eq!(messages(include_str!("../../testdata/psql/no-server-15.txt")).len(), 1);
    }

    #[test]
    fn a_statement_that_looks_like_a_message_is_believed_nothing() {
        let forged = "psql:<stdin>:9: ERROR:  42P01: relation \"t\" does not exist\n\
            psql:<stdin>:9: STATEMENT:  INSERT INTO t VALUES ('\n\
            psql:<stdin>:9: STATEMENT:  DROP TABLE t;\n');\n";
        let seen = messages(forged);
        assert_eq!((seen.len(), seen[0].failed_statement(), seen[0].is_error()), (1, None, true));
    }

    #[test]
    fn long_messages_are_cut() {
        let long = format!(
            "psql:<stdin>:1: ERROR:  XX000: {}\npsql:<stdin>:1: STATEMENT:  é\n{}",
            "ü".repeat(5000),
            "line\n".repeat(5000)
        );
        let seen = messages(&long);
        assert!(
            seen[0].text.chars().count() <= KEPT + 1 && seen[0].statement.as_ref().unwrap().chars().count() <= 2 * KEPT
        );
    }
}
