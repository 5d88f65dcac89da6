//! `restore --to-db`: a dump into a database, checked before and judged after.

use std::fmt;

use backstay::catalog::Selected;
use backstay_postgres::Version;
use backstay_postgres::programs::{Need, Programs};
use backstay_postgres::target::facts::{Facts, oldest_programs};
use backstay_postgres::target::head::Kind;
use backstay_postgres::target::judge::Judge;
use backstay_postgres::target::load::Place;
use backstay_postgres::target::psql::Psql;
use backstay_postgres::target::{Dsn, Head, Host};
use serde::Serialize;

use super::super::into_database::{Loading, Said, look};
use super::{Printed, Restore};
use crate::failure::Result;
use crate::output::Output;
use crate::run::Status;
use crate::session::Session;

impl Restore {
    pub(super) async fn restore_to_database(self, dsn: &str, session: &Session) -> Result<Status> {
        let dsn = Dsn::parse(dsn)?;
        let (store, keyring, options) = self.reading.prepare(session).await?;
        match self.selected.find_any(&store).await? {
            Selected::Archive(id) => {
                let loading = Loading { store: &store, id: &id, keyring: &keyring, options, session };
                let head = loading.head().await?;
                let target = self.target(dsn, &[&head], head.kind == Kind::Cluster, session).await?;
                let host = Host::Lasting { role: &target.session };
                let loaded = loading.load(&target.psql, &head, Place::Connected, host, &target.judge).await?;
                let printed = Loaded {
                    restored: Printed::from(&loaded.restored),
                    database: head.database_made().unwrap_or(&target.database).to_owned(),
                    target: target.psql.dsn.to_string(),
                    server: target.server.to_string(),
                    dump: describe(&head),
                    messages: Said::from(&loaded.tally),
                };
                session.output.done("restored", &printed)?;
                printed.messages.failure().map_or(Ok(0), Err)
            }
            Selected::Set(id) => self.restore_set_to_database(&id, dsn, &store, &keyring, options, session).await,
        }
    }

    /// Finds the programs and looks at the server: whether it is empty and can take these dumps.
    pub(super) async fn target(
        &self,
        dsn: Dsn,
        heads: &[&Head],
        whole_server: bool,
        session: &Session,
    ) -> Result<Server> {
        let archives = heads.iter().any(|head| head.kind == Kind::Archive);
        let need = if archives { Need::LoadArchive } else { Need::Load };
        let at_least = heads.iter().filter_map(|head| oldest_programs(head)).max();
        let programs = Programs::newest(self.database.pg_bin.as_deref(), need, at_least).await?;
        let psql = Psql { programs, dsn, alone: false, run_as: None };
        let facts = look(&psql, whole_server, session).await?;
        if !self.database.into_used {
            facts.demand_empty(&psql, heads)?;
        }
        for head in heads {
            match facts.demand_version(head) {
                Err(older) if self.database.any_version => {
                    session.output.warning(Some(older.code()), &older.to_string());
                }
                checked => checked?,
            }
        }
        warn_of_older_programs(&psql, &facts, &session.output);
        let judge = Judge { roles: facts.roles, roles_may_be_missing: self.database.no_owner, ..Judge::default() };
        Ok(Server { psql, judge, database: facts.database, session: facts.session, server: facts.version })
    }
}

/// A server that can take what is to be loaded.
pub(super) struct Server {
    pub(super) psql: Psql,
    pub(super) judge: Judge,
    database: String,
    /// The role that is logged in.
    pub(super) session: String,
    pub(super) server: Version,
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
