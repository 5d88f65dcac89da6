//! `restore`: an archive's content into a file, a command or a database, those of a backup set into a directory.

mod set;
mod to_database;

use std::ffi::OsString;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use backstay::catalog;
use backstay::offspring::adopt_orphans;
use backstay::policy::ReadPolicy;
use backstay::restore::{FETCHES, RestoreOptions, Restored, Target};
use backstay::set::{RestoredSet, restore_set};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_postgres::table::{Taken, take_tables};
use backstay_store::Store;
use clap::Args;
use serde::Serialize;

use crate::args::format;
use crate::args::select::Selected;
use crate::args::unlock::{Trust, Unlock};
use crate::args::value::{parse_cores, parse_range, parse_size};
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::run::Status;
use crate::session::Session;
pub(super) use to_database::describe;

const EXAMPLES: &str = "\
Examples:
  backstay restore latest -i key.txt -o dump.sql
  backstay restore latest -i key.txt -- psql -X -v ON_ERROR_STOP=1 postgres
  backstay restore pg-main~1 -i key.txt --atomic -- pg_restore -d shop
  backstay restore latest -i key.txt --to-db postgresql://postgres@scratch/postgres
  backstay restore shop/orders -i key.txt --pg-table public.items -o items.dump
  backstay restore cluster -i key.txt -o dumps/      a backup set: globals.sql and one .dump for each database

FILE is complete when it has its name: until then it is another one beside it. When COMMAND fails, restore fails.
When restore fails, COMMAND is ended with everything that it started on this machine, and is not told that its
input has ended.
--to-db takes what pg_dump and pg_dumpall write, as text or for pg_restore, and fails when the server refuses
any of it. What it goes into must be empty: the database, for a whole server all of it and the roles that are
altered, for pg_dump -C the databases that it makes. The role that restores keeps its attributes and password.
Passwords come from ~/.pgpass, PGPASSFILE, PGSERVICE or PGPASSWORD.";

/// Write an archive's content to a file, into a command or into a database, or a backup set's into a directory
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Restore {
    #[command(flatten)]
    selected: Selected,
    /// The file to write; for a backup set the directory, in which each member gets a file
    #[arg(short, long, value_name = "FILE", conflicts_with = "command")]
    output: Option<PathBuf>,
    /// Only the data of this table of a dump in PostgreSQL's custom format, and the dump's whole table of contents, as a dump for
    /// pg_restore; can be given several times. No more is fetched than that
    #[arg(long, value_name = "SCHEMA.TABLE", requires = "output", conflicts_with_all = ["range", "raw", "atomic", "command"])]
    pg_table: Vec<String>,
    #[command(flatten)]
    database: ToDatabase,
    /// The command that reads the content from its standard input
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    reading: Reading,
}

/// The database that the content goes into.
#[derive(Debug, Args)]
#[command(next_help_heading = "A database")]
struct ToDatabase {
    /// Load the dump into the PostgreSQL database of this connection string: a URI, `keyword=value` pairs, or a name; with no password in it
    #[arg(long, value_name = "DSN", conflicts_with_all = ["output", "command", "range", "raw"])]
    to_db: Option<String>,
    /// The directory of psql and pg_restore [default: the newest on the PATH and in /usr/lib/postgresql]
    #[arg(long, value_name = "DIR")]
    pg_bin: Option<PathBuf>,
    /// Restore although the database, the server or the roles in it are used
    #[arg(long)]
    into_used: bool,
    /// Restore although the server is older than the dump
    #[arg(long)]
    any_version: bool,
    /// Take it for benign that owners, grants and policies name roles that the server does not have
    #[arg(long)]
    no_owner: bool,
}

/// How an archive is read for its content.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    trust: Trust,
    /// Read the parts alone: for an archive whose manifest is lost or damaged
    #[arg(long, help_heading = "Trust")]
    no_manifest: bool,
    #[command(flatten)]
    format: format::Reading,
    /// Only these bytes of the content: from START up to and without END, counted from 0
    #[arg(long, value_name = "START..END", value_parser = parse_range, help_heading = "Content")]
    range: Option<Range<u64>>,
    /// The compressed stream as it is stored, which `zstd -d` or `gunzip` reads
    #[arg(long, conflicts_with = "range", help_heading = "Content")]
    raw: bool,
    /// Check the whole archive before the first byte is written; of a backup set each member before its own first byte
    #[arg(long, help_heading = "Content")]
    atomic: bool,
    /// Where --atomic keeps the encrypted parts meanwhile [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", help_heading = "Content")]
    spool_dir: Option<PathBuf>,
    /// Stop when more would be written; of a backup set by one of its members
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Content")]
    max_output: Option<u64>,
    /// The most requests for pieces of parts under way at the same time. There are fewer where --memory has no room for them
    #[arg(long, value_name = "N", default_value_t = FETCHES, value_parser = parse_cores, help_heading = "Content")]
    fetches: usize,
}

impl Restore {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        if let Some(dsn) = self.database.to_db.clone() {
            if let Some(table) = self.pg_table.first() {
                let failure =
                    Failure::usage("--pg-table and --to-db do not go together: the whole dump would be loaded");
                return Err(failure.with_hint(format!(
                    "write the table into a file with `--pg-table {table} -o FILE`, and load that with `pg_restore -n SCHEMA -t TABLE -d DSN FILE`"
                )));
            }
            return self.restore_to_database(&dsn, session).await;
        }
        for option in ["pg_bin", "into_used", "any_version", "no_owner"] {
            if session.settings.is_spelled_out(option) {
                return Err(Failure::usage(format!("--{} is for --to-db", option.replace('_', "-"))));
            }
        }
        if let Some(path) = self.output {
            self.reading.unlock.spare(&path)?;
            if !self.pg_table.is_empty() {
                let taken = self.reading.take_tables(&self.selected, &self.pg_table, &path, session).await?;
                session.output.done("tables", &taken)?;
                return Ok(0);
            }
            match self.reading.restore_any(&self.selected, path, session).await? {
                Outcome::Archive(restored) => session.output.done("restored", &restored)?,
                Outcome::Set(restored) => return set::told(restored, session),
            }
        } else if !self.command.is_empty() {
            adopt_orphans();
            let restored = self.reading.restore(&self.selected, Target::Command(self.command), session).await?;
            session.output.result_beside_data("restored", &restored);
        } else {
            let failure = Failure::usage("it is not said where the content goes");
            return Err(failure
                .with_hint("give -o FILE, --to-db DSN or `-- COMMAND`; `backstay cat` writes to standard output"));
        }
        Ok(0)
    }
}

/// What was restored.
enum Outcome {
    Archive(Printed),
    Set(RestoredSet),
}

impl Reading {
    /// Selects an archive and writes the data of some of its tables.
    async fn take_tables(
        &self,
        selected: &Selected,
        tables: &[String],
        path: &Path,
        session: &Session,
    ) -> Result<PrintedTables> {
        let Found { store, id, keyring, options } = self.find(selected, session).await?;
        let (context, observer) = (&session.context, session.observer());
        let taken = take_tables(&store, &id, &keyring, tables, path, &options, context, observer).await?;
        session.output.end();
        Ok(PrintedTables::of(&taken, path))
    }

    /// Selects an archive or a backup set and writes it to a file or into a directory.
    async fn restore_any(&self, selected: &Selected, path: PathBuf, session: &Session) -> Result<Outcome> {
        let (store, keyring, options) = self.prepare(session).await?;
        let (context, observer) = (&session.context, session.observer());
        let outcome = match selected.find_any(&store).await? {
            catalog::Selected::Archive(id) => {
                let target = Target::File(path);
                let restored = backstay::restore(&store, &id, &keyring, target, &options, context, observer).await?;
                Outcome::Archive(Printed::from(&restored))
            }
            catalog::Selected::Set(id) => {
                let name = backstay_postgres::member_file;
                Outcome::Set(restore_set(&store, &id, &keyring, &path, name, &options, context, observer).await?)
            }
        };
        session.output.end();
        Ok(outcome)
    }

    /// Selects an archive and writes it to the target.
    pub(crate) async fn restore(&self, selected: &Selected, target: Target, session: &Session) -> Result<Printed> {
        let Found { store, id, keyring, options } = self.find(selected, session).await?;
        let restored =
            backstay::restore(&store, &id, &keyring, target, &options, &session.context, session.observer()).await?;
        session.output.end();
        Ok(Printed::from(&restored))
    }

    /// Selects an archive.
    async fn find(&self, selected: &Selected, session: &Session) -> Result<Found> {
        let (store, keyring, options) = self.prepare(session).await?;
        let id = selected.find(&store).await?;
        Ok(Found { store, id, keyring, options })
    }

    /// The store, the keys and the options. What does not fit together is said before anything is asked or fetched.
    async fn prepare(&self, session: &Session) -> Result<(Store, Keyring, RestoreOptions)> {
        // A configuration may have it for the runs that are atomic.
        if !self.atomic && session.settings.is_spelled_out("spool_dir") {
            return Err(Failure::usage("--spool-dir needs --atomic: nothing is kept there otherwise"));
        }
        let mut policy = self.trust.policy(&self.format)?;
        policy.no_manifest = self.no_manifest;
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let options = self.options(policy, session.global.memory);
        Ok((store, keyring, options))
    }

    fn options(&self, policy: ReadPolicy, memory: u64) -> RestoreOptions {
        RestoreOptions {
            policy,
            range: self.range.clone(),
            raw: self.raw,
            atomic: self.atomic,
            spool_dir: self.spool_dir.clone(),
            max_output: self.max_output,
            memory,
            fetches: self.fetches,
        }
    }
}

/// An archive that is selected, and what it is read with.
struct Found {
    store: Store,
    id: ArchiveId,
    keyring: Keyring,
    options: RestoreOptions,
}

/// What was restored, as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Printed {
    id: String,
    content: u64,
    stored: u64,
    parts: u32,
    authentic: bool,
    elapsed_ms: u64,
    #[serde(skip)]
    elapsed: Elapsed,
}

impl From<&Restored> for Printed {
    fn from(restored: &Restored) -> Printed {
        Printed {
            id: restored.id.to_string(),
            content: restored.content,
            stored: restored.stored,
            parts: restored.parts,
            authentic: restored.authentic,
            elapsed_ms: u64::try_from(restored.elapsed.as_millis()).unwrap_or(u64::MAX),
            elapsed: Elapsed(restored.elapsed),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proof = if self.authentic { "" } else { ", not authenticated" };
        let parts = count(u64::from(self.parts), "part");
        writeln!(
            f,
            "{} is restored: {} of content from {} in {parts}{proof}, {}",
            self.id,
            Size(self.content),
            Size(self.stored),
            self.elapsed
        )
    }
}

/// What was taken of a dump, as it is printed.
#[derive(Debug, Serialize)]
struct PrintedTables {
    id: String,
    file: PathBuf,
    tables: Vec<PrintedTable>,
    written: u64,
    stored: u64,
    indexed: bool,
    authentic: bool,
}

/// One table.
#[derive(Debug, Serialize)]
struct PrintedTable {
    name: String,
    size: u64,
}

impl PrintedTables {
    fn of(taken: &Taken, file: &Path) -> PrintedTables {
        let table = |(name, size): &(String, u64)| PrintedTable { name: name.clone(), size: *size };
        PrintedTables {
            id: taken.id.to_string(),
            file: file.to_owned(),
            tables: taken.tables.iter().map(table).collect(),
            written: taken.written,
            stored: taken.stored,
            indexed: taken.indexed,
            authentic: taken.authentic,
        }
    }
}

impl fmt::Display for PrintedTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for PrintedTable { name, size } in &self.tables {
            writeln!(f, "{name}: {} of data", Size(*size))?;
        }
        let how = if self.indexed { "" } else { "; the backup has noted no places, so all of it was read" };
        let proof = if self.authentic { "" } else { ", not authenticated" };
        writeln!(f, "{} were read of {} for {}{proof}{how}", Size(self.stored), self.id, self.file.display())?;
        writeln!(
            f,
            "restore them with `pg_restore -n SCHEMA -t TABLE`: of everything else the file has definitions, and no data"
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Verb};

    #[test]
    fn what_cannot_be_seen_from_outside_reaches_the_library() {
        let line = "backstay --memory 1G restore x --fetches 7 --spool-dir /spool -o y";
        let Verb::Restore(restore) = Cli::try_parse_from(line.split(' ')).unwrap().verb else { panic!("not restore") };
        let options = restore.reading.options(ReadPolicy::default(), 1 << 30);
        assert_eq!((options.fetches, options.memory, options.spool_dir), (7, 1 << 30, Some(PathBuf::from("/spool"))));
        let Verb::Restore(restore) = Cli::try_parse_from(["backstay", "restore", "x"]).unwrap().verb else {
            panic!("not restore")
        };
        assert_eq!(restore.reading.fetches, RestoreOptions::default().fetches);
    }
}
