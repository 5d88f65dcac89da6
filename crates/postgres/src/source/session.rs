//! The server as its own client programs see it: which databases it has, of which version it is, and what a snapshot holds.
//!
//! Questions go to the server through `psql`, so that they are asked with the very connection that `pg_dump` will use: `PG*`
//! variables, services, password files and whatever else libpq knows reach both untouched, and no password is ever an argument.
//! A session is one `psql` that is fed line by line, because a snapshot lives as long as the transaction that exports it.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::programs::Programs;
use crate::version::Version;

/// Ends each answer. No row is like it: rows are JSON objects.
const END: &str = "-- end of answer --";

/// The connection string for a database: its name in quotes, so that no name is taken for something else. It stands before any
/// service or variable that says another one.
pub(super) fn database_argument(name: &str) -> String {
    format!("dbname='{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What the server says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Server {
    /// Its version in words, such as `15.4 (Debian 15.4-1)`.
    pub text: String,
    /// Its version.
    pub version: Version,
}

/// One database.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Database {
    /// Its name.
    pub name: String,
    /// Its number, which a new database of the same name would not have.
    pub oid: String,
    /// Whether it allows connections.
    pub allows: bool,
    /// Whether it is a template.
    pub template: bool,
    /// Whether a DROP DATABASE of it was interrupted.
    pub invalid: bool,
    /// Bytes that it takes on disk, unless it cannot be seen.
    pub size: Option<u64>,
}

/// How many rows a table has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(super) struct TableRows {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Rows in the snapshot.
    pub rows: u64,
}

/// A `psql` that is asked things.
pub(super) struct Session {
    // Dropped first: its end is psql's.
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    child: Child,
    /// Reads what it complains about; aborted when this is dropped.
    complaints: JoinSet<()>,
    last: Arc<Mutex<VecDeque<String>>>,
    program: String,
}

impl Session {
    /// Connects to a database.
    ///
    /// # Errors
    /// `source.failed`.
    pub(super) async fn open(programs: &Programs, database: &str) -> Result<Session> {
        let path = programs.path("psql");
        let program = path.to_string_lossy().into_owned();
        let mut child = Command::new(&path)
            .args(["-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(database_argument(database))
            .env("PGCLIENTENCODING", "UTF8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::Source { program: program.clone(), how: format!("does not start: {error}") })?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::Source { program, how: "has no pipes".to_owned() });
        };
        let last: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let mut complaints = JoinSet::new();
        complaints.spawn({
            let last = Arc::clone(&last);
            async move {
                let mut lines = BufReader::new(errors).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                    last.push_back(line);
                    if last.len() > 5 {
                        last.pop_front();
                    }
                }
            }
        });
        let output = BufReader::new(output).lines();
        let mut session = Session { input, output, child, complaints, last, program };
        // As pg_dump does: a role's own settings must not end or bend a backup.
        session.tell("SET statement_timeout = 0; SET lock_timeout = 0; SET search_path = pg_catalog;").await?;
        Ok(session)
    }

    /// Runs a statement that gives nothing.
    ///
    /// # Errors
    /// `source.failed`.
    pub(super) async fn tell(&mut self, sql: &str) -> Result<()> {
        self.answer(sql).await.map(drop)
    }

    /// Asks for rows: each is made to one JSON object by the server.
    ///
    /// # Errors
    /// `source.failed`.
    pub(super) async fn ask<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>> {
        let lines = self.answer(&format!("SELECT pg_catalog.row_to_json(answer) FROM ({query}) answer;")).await?;
        let parse = |line: &String| {
            serde_json::from_str(line).map_err(|error| self.failed(&format!("gave no row but {line:?}: {error}")))
        };
        lines.iter().map(parse).collect()
    }

    async fn answer(&mut self, sql: &str) -> Result<Vec<String>> {
        let asked = format!("{sql}\n\\echo '{END}'\n");
        if self.input.write_all(asked.as_bytes()).await.is_err() || self.input.flush().await.is_err() {
            return Err(self.ended().await);
        }
        let mut lines = Vec::new();
        loop {
            match self.output.next_line().await {
                Ok(Some(line)) if line == END => return Ok(lines),
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return Err(self.ended().await),
                Err(error) => return Err(self.failed(&format!("cannot be read: {error}"))),
            }
        }
    }

    /// psql has gone, and its last words say why.
    async fn ended(&mut self) -> Error {
        let _ = self.child.wait().await;
        let _ = self.complaints.join_next().await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let said = last.iter().cloned().collect::<Vec<_>>().join("; ");
        drop(last);
        self.failed(&format!("cannot ask the server: {said}"))
    }

    fn failed(&self, how: &str) -> Error {
        Error::Source { program: self.program.clone(), how: how.to_owned() }
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// `source.failed`.
    pub(super) async fn server(&mut self) -> Result<Server> {
        let query = "SELECT pg_catalog.current_setting('server_version') AS text, \
                     pg_catalog.current_setting('server_version_num')::int AS version";
        let rows: Vec<Server> = self.ask(query).await?;
        rows.into_iter().next().ok_or_else(|| self.failed("says nothing of the server"))
    }

    /// All databases, in the order of their names.
    ///
    /// # Errors
    /// `source.failed`.
    pub(super) async fn databases(&mut self) -> Result<Vec<Database>> {
        self.ask(
            "SELECT datname AS name, oid::text AS oid, datallowconn AS allows, datistemplate AS template, \
             datconnlimit = -2 AS invalid, \
             CASE WHEN datallowconn AND datconnlimit <> -2 AND pg_catalog.has_database_privilege(oid, 'CONNECT') \
             THEN pg_catalog.pg_database_size(oid) END AS size \
             FROM pg_catalog.pg_database ORDER BY datname::text COLLATE \"C\"",
        )
        .await
    }

    /// Begins a transaction whose snapshot others can take: it sees what it sees now for as long as this session lives.
    ///
    /// # Errors
    /// `source.failed`.
    pub(super) async fn export_snapshot(&mut self) -> Result<String> {
        #[derive(Deserialize)]
        struct Exported {
            snapshot: String,
        }
        self.tell("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = off;").await?;
        let rows: Vec<Exported> = self.ask("SELECT pg_catalog.pg_export_snapshot() AS snapshot").await?;
        rows.into_iter().next().map(|row| row.snapshot).ok_or_else(|| self.failed("exports no snapshot"))
    }

    /// Counts the rows of every table that a dump has the data of; those of a partitioned table in its partitions.
    ///
    /// # Errors
    /// `source.failed`.
    pub(super) async fn count_rows(&mut self) -> Result<Vec<TableRows>> {
        #[derive(Deserialize)]
        struct Table {
            schema: String,
            table: String,
            quoted: String,
        }
        #[derive(Deserialize)]
        struct Count {
            rows: u64,
        }
        let tables: Vec<Table> = self
            .ask(
                "SELECT n.nspname AS schema, c.relname AS \"table\", \
                 pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS quoted \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' \
                 AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d \
                 WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e') \
                 ORDER BY n.nspname::text COLLATE \"C\", c.relname::text COLLATE \"C\"",
            )
            .await?;
        let mut counts = Vec::with_capacity(tables.len());
        for Table { schema, table, quoted } in tables {
            let counted: Vec<Count> =
                self.ask(&format!("SELECT pg_catalog.count(*) AS \"rows\" FROM ONLY {quoted}")).await?;
            let rows = counted.first().map_or(0, |count| count.rows);
            counts.push(TableRows { schema, table, rows });
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_is_never_a_connection_string() {
        assert_eq!(database_argument("shop"), "dbname='shop'");
        assert_eq!(database_argument("host=evil dbname=x"), "dbname='host=evil dbname=x'");
        assert_eq!(database_argument(r"it's \"), r"dbname='it\'s \\'");
    }
}
