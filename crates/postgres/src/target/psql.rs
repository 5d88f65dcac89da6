//! psql, as it is run here: without the user's own settings, never asking for a password, in English, saying codes and statements.
//!
//! It runs in a process group of its own, so that Ctrl-C reaches Backstay alone, which then ends everything in order.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::error::{Error, Result};
use crate::programs::Programs;
use crate::target::dsn::Dsn;
use crate::target::message::Parser;

/// The most bytes of an answer, unless more are asked for.
const ANSWER: u64 = 256 << 10;
/// The most bytes that are kept of what psql complains about.
const COMPLAINTS: u64 = 64 << 10;

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
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Of this database instead of the one that the connection string names.
    pub database: Option<&'a str>,
    /// psql's variables, which a query has as `:'name'`.
    pub variables: &'a [(&'a str, &'a str)],
    /// Records end with a zero byte instead of a line feed, so that values can have line feeds.
    pub zero: bool,
    /// Nothing may be changed by the query.
    pub read_only: bool,
    /// The most bytes of the answer.
    pub most: u64,
}

impl Default for Asking<'_> {
    fn default() -> Self {
        Asking { database: None, variables: &[], zero: false, read_only: false, most: ANSWER }
    }
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

    /// The options of a session that loads: a database which the dump sets to be read only is filled all the same. They stand above the
    /// settings of roles and databases, and behind those of the user.
    pub(crate) fn options(&self) -> OsString {
        let mut options = std::env::var_os("PGOPTIONS").filter(|_| !self.alone).unwrap_or_default();
        options.push(" -c default_transaction_read_only=off");
        options
    }

    fn connected(&self) -> Command {
        let mut command = self.command("psql");
        command.args([
            "-X",
            "-q",
            "-w",
            "-v",
            "VERBOSITY=verbose",
            "-v",
            "SHOW_CONTEXT=errors",
            "-d",
            self.dsn.as_str(),
        ]);
        command
    }

    /// Whether the server is there.
    pub async fn answers(&self) -> bool {
        self.ask("SELECT 1;", Asking::default()).await.is_ok()
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
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed(std::io::Error::other("no pipe")));
        };
        let write = async {
            // A psql that has gone says why on its standard error.
            let _ = stdin.write_all(script.as_bytes()).await;
            drop(stdin);
        };
        let answer = async {
            let mut answer = Vec::new();
            // Closed in the end, so that nobody goes on writing to it.
            let mut stdout = stdout.take(asking.most + 1);
            stdout.read_to_end(&mut answer).await?;
            let is_too_long = answer.len() as u64 > asking.most;
            if is_too_long {
                // It would wait for somebody to read on.
                let _ = child.start_kill();
            }
            Ok((answer, is_too_long))
        };
        let (_, answer, said) = tokio::join!(write, answer, read_all(&mut stderr, COMPLAINTS));
        let (answer, is_too_long) = answer.map_err(failed)?;
        let said = said.map_err(failed)?;
        let status = child.wait().await.map_err(failed)?;
        if is_too_long {
            return Err(Error::Query {
                sql: shown(sql),
                said: format!("its answer is longer than {} bytes", asking.most),
            });
        }
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

/// Reads to the end, and keeps the beginning.
async fn read_all(mut from: impl AsyncRead + Unpin, most: u64) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    (&mut from).take(most).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(kept)
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
    fn an_answer_that_is_too_long_and_endless_complaints_hold_nobody_up() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("psql");
        let ask = |script: &str| {
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            let programs = Programs { dir: dir.path().to_owned(), version: crate::Version::from_num(150_000) };
            let dsn = Dsn::parse("dbname=x").unwrap();
            let psql = Psql { programs, dsn, alone: true, run_as: None };
            tokio::runtime::Runtime::new().unwrap().block_on(psql.ask("SELECT 1;", Asking::default()))
        };
        // More than the limit and what a pipe holds.
        let long = ask("head -c 2000000 /dev/zero | tr '\\0' x; echo more").unwrap_err();
        assert!(long.to_string().contains("longer than 262144 bytes"), "{long}");
        let full = ask(&format!("head -c {ANSWER} /dev/zero | tr '\\0' x")).unwrap();
        assert_eq!(full.len() as u64, ANSWER);
        assert_eq!(ask("head -c 2000000 /dev/zero | tr '\\0' x >&2; echo 1").unwrap(), "1");
    }

    #[test]
    fn queries_are_shown_short_and_on_one_line() {
        assert_eq!(shown("SELECT 1\n  FROM t"), "SELECT 1 FROM t");
        assert_eq!(shown(&"ü".repeat(200)).chars().count(), 81);
    }
}
