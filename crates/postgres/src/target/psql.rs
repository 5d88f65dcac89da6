//! psql, as it is run here: without the user's own settings, never asking for a password, in English, saying codes and statements.
//!
//! It runs in a process group of its own, so that Ctrl-C reaches Backstay alone, which then ends everything in order.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::error::{Error, Result};
use crate::programs::Programs;
use crate::target::dsn::Dsn;
use crate::target::message::Parser;

/// The most bytes of an answer.
const ANSWER: u64 = 256 << 10;

/// The user that programs run as, where that is not our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    /// The user's number.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Programs, and the server that they speak to.
#[derive(Debug, Clone)]
pub struct Psql {
    /// Where psql and pg_restore are.
    pub programs: Programs,
    /// The server and the database.
    pub dsn: Dsn,
    /// Whether the variables by which users lead PostgreSQL's programs to their servers are kept from it.
    pub alone: bool,
    /// Whom they run as.
    pub run_as: Option<RunAs>,
}

/// How a question is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asking<'a> {
    /// Of this database instead of the one that the connection string names.
    pub database: Option<&'a str>,
    /// psql's variables, which a query has as `:'name'`.
    pub variables: &'a [(&'a str, &'a str)],
    /// Records end with a zero byte instead of a line feed, so that values can have line feeds.
    pub zero: bool,
    /// Nothing may be changed by the query.
    pub read_only: bool,
}

impl Psql {
    /// A program of PostgreSQL with the surroundings that all of them get.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = english(&self.programs.path(program), self.run_as);
        if self.alone {
            without_leads(&mut command);
        }
        command.env("PGAPPNAME", "backstay");
        command
    }

    /// psql that reads its standard input.
    pub(crate) fn psql(&self) -> Command {
        let mut command = self.connected();
        command.args(["-f", "-"]);
        command
    }

    /// The same in another database of the server.
    pub(crate) fn psql_in(&self, database: &str) -> Command {
        let mut command = self.connected();
        command.args(["-c", connect(database).trim_end(), "-f", "-"]);
        command
    }

    fn connected(&self) -> Command {
        let mut command = self.command("psql");
        command.args(["-X", "-q", "-w", "-v", "VERBOSITY=verbose", "-v", "SHOW_CONTEXT=errors"]);
        // An empty one would be the name of a database.
        if !self.dsn.as_str().is_empty() {
            command.args(["-d", self.dsn.as_str()]);
        }
        command
    }

    /// Asks something, and gives what psql prints for it: unaligned, without headings, columns separated by `|`.
    ///
    /// # Errors
    /// `target.unreachable` when there is no connection, `target.failed` when the query fails.
    pub async fn ask(&self, sql: &str, asking: Asking<'_>) -> Result<String> {
        let mut command = self.psql();
        command.args(["-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        if asking.zero {
            command.arg("-0");
        }
        for (name, value) in asking.variables {
            command.arg("-v").arg(format!("{name}={value}"));
        }
        let failed = |error: std::io::Error| Error::Target {
            program: "psql".to_owned(),
            how: format!("cannot be run: {error}"),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let mut script = String::new();
        if let Some(database) = asking.database {
            script += &connect(database);
        }
        if asking.read_only {
            script += "SET default_transaction_read_only = on;\n";
        }
        script += sql;
        script.push('\n');
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(std::io::Error::other("no pipe")));
        };
        let (mut answer, mut said) = (Vec::new(), Vec::new());
        let (mut stdout, mut stderr) = (stdout.take(ANSWER), stderr.take(ANSWER));
        let write = async {
            // A psql that has gone says why on its standard error.
            let _ = stdin.write_all(script.as_bytes()).await;
            drop(stdin);
        };
        let (_, read, told) = tokio::join!(write, stdout.read_to_end(&mut answer), stderr.read_to_end(&mut said));
        read.and(told).map_err(failed)?;
        if answer.len() as u64 == ANSWER {
            return Err(Error::Query { sql: shown(sql), said: format!("its answer is longer than {ANSWER} bytes") });
        }
        let status = child.wait().await.map_err(failed)?;
        if status.success() {
            let answer = String::from_utf8_lossy(&answer).into_owned();
            return Ok(answer.strip_suffix('\n').map(str::to_owned).unwrap_or(answer));
        }
        let mut parser = Parser::default();
        let mut messages: Vec<_> =
            String::from_utf8_lossy(&said).lines().filter_map(|line| parser.line(line)).collect();
        messages.extend(parser.finish());
        let message = messages.into_iter().find(crate::target::message::Message::is_error).unwrap_or_default();
        let said = match &message.sqlstate {
            Some(code) => format!("{} (SQLSTATE {code})", message.text),
            None => message.text,
        };
        // Where a login is refused, the server's reason suffices.
        let said = said.rsplit_once("FATAL:  ").map_or(said.as_str(), |(_, reason)| reason).to_owned();
        // 2 is psql's own status for a connection that could not be made or was lost.
        Err(match status.code() {
            Some(2) => Error::Unreachable { target: self.dsn.to_string(), said },
            _ => Error::Query { sql: shown(sql), said },
        })
    }
}

/// A command that speaks English and dies with us, in a process group of its own.
pub(crate) fn english(program: &Path, run_as: Option<RunAs>) -> Command {
    let mut command = Command::new(program);
    // LC_ALL would rule over LC_MESSAGES, and LANGUAGE over both.
    if let Some(all) = std::env::var_os("LC_ALL") {
        command.env("LC_CTYPE", all);
    }
    command.env_remove("LC_ALL").env_remove("LANGUAGE").env("LC_MESSAGES", "C");
    command.process_group(0).kill_on_drop(true);
    if let Some(RunAs { uid, gid }) = run_as {
        // A directory of ours may be closed to that user.
        command.uid(uid).gid(gid).current_dir("/").env("HOME", "/");
    }
    command
}

/// Takes away the variables that lead PostgreSQL's programs somewhere: `PGHOST`, `PGSERVICE`, `PGDATA` and all their like.
pub(crate) fn without_leads(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
}

/// The line with which psql goes to another database on the same server. The form is the one in which pg_dump writes it, for names that
/// would be taken for something else otherwise.
fn connect(database: &str) -> String {
    let value = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("\\connect -reuse-previous=on \"dbname='{}'\"\n", value.replace('"', "\"\""))
}

/// A query in messages.
fn shown(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_databases_are_quoted_for_psql_and_for_the_connection_string_in_it() {
        assert_eq!(connect("shop"), "\\connect -reuse-previous=on \"dbname='shop'\"\n");
        assert_eq!(
            connect(r#"it's a "quoted\" one"#),
            "\\connect -reuse-previous=on \"dbname='it\\'s a \"\"quoted\\\\\"\" one'\"\n"
        );
    }

    #[test]
    fn queries_are_shown_short_and_on_one_line() {
        assert_eq!(shown("SELECT 1\n  FROM t"), "SELECT 1 FROM t");
        assert_eq!(shown(&"ü".repeat(200)).chars().count(), 81);
    }
}
