//! PostgreSQL dumps as a source: one database, or a whole server as a backup set.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use backstay::backup::{BackupOptions, Format};
use backstay::chunk::{Checks, EndMarker};
use backstay::keys::Encryption;
use backstay::patience::STALL;
use backstay::set::{SetOptions, SetReceipt};
use backstay_format::Guid;
use backstay_format::text::to_hex;
use backstay_postgres::source::{DumpAllOptions, DumpOptions, JOBS, dump_all};
use clap::Args;
use serde::Serialize;

use super::Backup;
use crate::args::value::parse_cores;
use crate::failure::{Failure, Result};
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::run::Status;
use crate::session::Session;

/// Which dumps are made, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "PostgreSQL")]
pub(super) struct Dumps {
    /// Back up a whole PostgreSQL server as one set: roles and settings, and each database as an archive of its own. The connection is that
    /// of pg_dump: PG* variables, services, password files
    #[arg(long, conflicts_with_all = ["pg_dump", "command", "resume", "also", "spool", "require_trailer"])]
    pg_dumpall: bool,
    /// Back up this database of a PostgreSQL server, as a dump in the custom format
    #[arg(long, value_name = "DATABASE", conflicts_with_all = ["command", "resume", "require_trailer"])]
    pub(super) pg_dump: Option<String>,
    /// The most dumps at the same time; each has an equal share of --memory
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = parse_cores)]
    jobs: usize,
    /// Leave this database out of the set; can be given several times
    #[arg(long, value_name = "DATABASE")]
    exclude_database: Vec<String>,
    /// Count the rows of every table, in the dump's own snapshot, and keep the numbers in the sealed part of the manifest
    #[arg(long)]
    row_counts: bool,
    /// The directory of pg_dump, pg_dumpall and psql [default: of those on the PATH and in /usr/lib/postgresql, the nearest to the
    /// server's version that are not older]
    #[arg(long, value_name = "DIR")]
    pg_bin: Option<PathBuf>,
}

impl Dumps {
    pub(super) fn are_wanted(&self) -> bool {
        self.pg_dumpall || self.pg_dump.is_some()
    }

    pub(super) fn all(&self) -> bool {
        self.pg_dumpall
    }

    /// Refuses what would do nothing.
    pub(super) fn check(&self, session: &Session) -> Result<()> {
        let spelled_out = |option| session.settings.is_spelled_out(option);
        for option in ["jobs", "exclude_database"] {
            if spelled_out(option) && !self.pg_dumpall {
                return Err(Failure::usage(format!("--{} is for --pg-dumpall", option.replace('_', "-"))));
            }
        }
        for option in ["row_counts", "pg_bin"] {
            if spelled_out(option) && !self.are_wanted() {
                let option = option.replace('_', "-");
                return Err(Failure::usage(format!("--{option} is for --pg-dumpall and --pg-dump")));
            }
        }
        Ok(())
    }

    pub(super) fn options(&self) -> DumpOptions {
        DumpOptions { programs: self.pg_bin.clone(), row_counts: self.row_counts }
    }
}

impl Backup {
    /// Backs up every database of a server, and commits the set.
    pub(super) async fn whole_server(
        self,
        guid: Guid,
        name: String,
        format: Format,
        session: &Session,
    ) -> Result<Status> {
        let Format::Native { aead, codec, encryption, padding, signing_key } = format else {
            let failure = Failure::usage("a backup set cannot be written in the openssl format");
            return Err(failure.with_hint("leave --format out, or back up with `-- pg_dumpall` into one archive"));
        };
        let encryption = Arc::new(encryption);
        let set = SetOptions {
            guid: guid.clone(),
            name: name.clone(),
            hide_name: self.hide_name,
            tags: self.tag.clone(),
            source: "pg_dumpall",
            encryption: Arc::clone(&encryption),
            signing_key: signing_key.clone(),
        };
        let member = || {
            let format = Format::Native {
                aead,
                codec,
                encryption: Encryption::Shared(Arc::clone(&encryption)),
                padding,
                signing_key: signing_key.clone(),
            };
            let end = match self.no_require_trailer {
                true => EndMarker::None,
                false => EndMarker::Announced(backstay_postgres::source::ending::announcements()),
            };
            BackupOptions {
                hide_name: self.hide_name,
                hide_size: self.hide_size,
                tags: self.tag.clone(),
                level: self.level,
                memory: session.global.memory,
                part_size: self.part_size,
                uploads: self.uploads,
                checks: Checks { end, ..Checks::default() },
                stall: STALL,
                watch: Some(Box::<backstay_postgres::custom::Watcher>::default()),
                ..BackupOptions::new(guid.clone(), name.clone(), format)
            }
        };
        let options = DumpAllOptions {
            dump: self.postgres.options(),
            jobs: self.postgres.jobs,
            exclude: self.postgres.exclude_database.iter().cloned().collect(),
            min_size: self.min_size,
        };
        let store = session.store().await?;
        let receipt = dump_all(&store, set, &member, &options, &session.context, session.observer()).await?;
        session.output.end();
        let SetReceipt { id, members, stored, elapsed, .. } = &receipt;
        let (members, stored, elapsed) = (count(members.len() as u64, "member"), Size(*stored), Elapsed(*elapsed));
        session.output.note(&format!("the set {id} is committed: {members}, {stored} stored, {elapsed}"));
        let printed = session.output.result("set_receipt", &Printed::from(&receipt));
        printed.map_err(|failure| {
            let text = format!("the set {id} is committed, but its receipt could not be written");
            let mut told = Failure::new(failure.code, text);
            told.causes = failure.causes;
            told.with_hint(format!("the set is good; its receipt is `{receipt}`"))
        })?;
        Ok(0)
    }
}

/// The receipt of a set as it is printed.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    seal: String,
    members: Vec<Member>,
    stored: u64,
    unconfirmed: bool,
    elapsed_ms: u64,
    #[serde(skip)]
    line: String,
}

/// One member.
#[derive(Debug, Serialize)]
struct Member {
    name: String,
    role: Option<String>,
    id: String,
    root: String,
}

impl From<&SetReceipt> for Printed {
    fn from(receipt: &SetReceipt) -> Printed {
        let member = |member: &backstay::set::Member| Member {
            name: member.name.clone(),
            role: member.role.clone(),
            id: member.id.to_string(),
            root: to_hex(&member.root),
        };
        Printed {
            id: receipt.id.to_string(),
            seal: to_hex(&receipt.seal),
            members: receipt.members.iter().map(member).collect(),
            stored: receipt.stored,
            unconfirmed: receipt.unconfirmed,
            elapsed_ms: u64::try_from(receipt.elapsed.as_millis()).unwrap_or(u64::MAX),
            line: receipt.to_string(),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line)
    }
}
