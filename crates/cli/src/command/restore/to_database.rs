//! `restore --to-db`: a dump into a database, checked before and judged after.

use std::fmt;

use backstay_postgres::head::Kind;
use backstay_postgres::judge::Judge;
use backstay_postgres::programs::{CLIENT, CLIENT_OF_ARCHIVES, Programs};
use backstay_postgres::psql::Psql;
use backstay_postgres::target::{Facts, oldest_programs};
use backstay_postgres::{Dsn, Head};
use serde::Serialize;

use super::super::into_database::{Loading, Said};
use super::{Found, Printed, Restore};
use crate::failure::Result;
use crate::output::Output;
use crate::run::Status;
use crate::session::Session;

impl Restore {
    pub(super) async fn restore_to_database(self, dsn: &str, session: &Session) -> Result<Status> {
        let dsn = Dsn::parse(dsn)?;
        let Found { store, id, keyring, options } = self.reading.find(&self.selected, session).await?;
        let loading = Loading { store: &store, id: &id, keyring: &keyring, options, session };
        let head = loading.head().await?;
        let wanted: &[&str] = if head.kind == Kind::Archive { &CLIENT_OF_ARCHIVES } else { &CLIENT };
        let programs = Programs::find(self.database.pg_bin.as_deref(), wanted, oldest_programs(&head)).await?;
        let psql = Psql { programs, dsn, alone: false, run_as: None };
        let facts = Facts::of(&psql).await?;
        if !self.database.into_used {
            facts.demand_empty(&psql, head.kind == Kind::Cluster)?;
        }
        match facts.demand_version(&head) {
            Err(older) if self.database.any_version => session.output.warning(Some(older.code()), &older.to_string()),
            checked => checked?,
        }
        warn_of_older_programs(&psql, &facts, &session.output);
        let judge = Judge { roles: facts.roles.clone(), roles_may_be_missing: self.database.no_owner };
        let loaded = loading.load(&psql, &head, judge).await?;
        let printed = Loaded {
            restored: Printed::from(&loaded.restored),
            database: facts.database.clone(),
            target: psql.dsn.to_string(),
            server: facts.version.to_string(),
            dump: describe(&head),
            messages: Said::from(&loaded.tally),
        };
        session.output.done("restored", &printed)?;
        printed.messages.failure().map_or(Ok(0), Err)
    }
}

/// What a dump is, and of which version.
pub(in crate::command) fn describe(head: &Head) -> String {
    match head.server {
        Some(version) => format!("{} of PostgreSQL {version}", head.kind.describe()),
        None => head.kind.describe().to_owned(),
    }
}

/// An older psql loads what it is given, and knows less of what the server tells it.
fn warn_of_older_programs(psql: &Psql, facts: &Facts, output: &Output) {
    if psql.programs.version.is_older_release_than(facts.version) {
        let (program, server) = (psql.programs.version, facts.version);
        output.warning(None, &format!("psql is of PostgreSQL {program}, older than the server, {server}"));
    }
}

/// What was restored into a database, as it is printed.
#[derive(Debug, Serialize)]
struct Loaded {
    #[serde(flatten)]
    restored: Printed,
    database: String,
    target: String,
    server: String,
    dump: String,
    messages: Said,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.restored)?;
        writeln!(
            f,
            "{} is in the database `{}` of PostgreSQL {}: {}",
            self.dump, self.database, self.server, self.messages
        )
    }
}
