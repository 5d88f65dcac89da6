//! `restore --to-db`: a dump into a database, checked before and judged after.

use std::fmt;

use backstay::catalog::Selected;
use backstay::restore::RestoreOptions;
use backstay::set;
use backstay_postgres::programs::{Need, Programs};
use backstay_postgres::target::facts::{Facts, oldest_programs};
use backstay_postgres::target::head::Kind;
use backstay_postgres::target::judge::Judge;
use backstay_postgres::target::load::Place;
use backstay_postgres::target::psql::Psql;
use backstay_postgres::target::{Dsn, Head, Host};
use backstay_postgres::{DATABASE, Version};
use serde::Serialize;

use super::super::into_database::{Loading, Said, look};
use super::{Printed, Restore};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::output::human::count;
use crate::output::visible::cell;
use crate::run::Status;
use crate::session::Session;

/// What to do when some members of a set are restored.
const AFTERWARDS: &str = "the others need not be restored again: correct the cause, and restore what is missing as NAME/MEMBER into a database that you make for it";

impl Restore {
    pub(super) async fn restore_to_database(self, dsn: &str, session: &Session) -> Result<Status> {
        let dsn = Dsn::parse(dsn)?;
        let (store, keyring, options) = self.reading.prepare(session).await?;
        let loading = |id, options| Loading { store: &store, id, keyring: &keyring, options, session };
        match self.selected.find_any(&store).await? {
            Selected::Archive(id) => {
                let loading = loading(&id, options);
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
            Selected::Set(id) => {
                let opened = set::open(&store, &id, &keyring, &options.policy).await?;
                set::demand_complete(&store, &opened.set, &session.context).await?;
                // What does not fit is said before anything is loaded.
                let (mut parts, mut unread) = (Vec::new(), Vec::new());
                for (member, policy) in opened.members(&options.policy) {
                    let loading = loading(&member.id, RestoreOptions { policy, ..options.clone() });
                    let place = match member.role.as_deref() {
                        Some(DATABASE) => Place::of_database(&member.name)?,
                        _ => Place::Connected,
                    };
                    match loading.head().await {
                        Ok(head) => parts.push((member, loading, head, place)),
                        Err(failure) if failure.is_damage() => unread.push((member, failure)),
                        Err(failure) => return Err(of(member)(failure)),
                    }
                }
                if parts.is_empty()
                    && let Some((member, failure)) = unread.drain(..).next()
                {
                    return Err(of(member)(failure));
                }
                let heads: Vec<&Head> = parts.iter().map(|(_, _, head, _)| head).collect();
                let target = self.target(dsn, &heads, true, session).await?;
                let mut printed = LoadedSet {
                    id: id.to_string(),
                    members: Vec::new(),
                    target: target.psql.dsn.to_string(),
                    server: target.server.to_string(),
                    messages: Said::default(),
                    failed: Vec::new(),
                };
                let mut first = None;
                for (member, failure) in unread {
                    first.get_or_insert(printed.lack(member, failure, &session.output));
                }
                for (member, loading, head, place) in &parts {
                    let host = Host::Lasting { role: &target.session };
                    let failure = match loading.load(&target.psql, head, *place, host, &target.judge).await {
                        Ok(loaded) => {
                            let messages = Said::from(&loaded.tally);
                            printed.messages.add(messages.clone());
                            let restored = Printed::from(&loaded.restored);
                            printed.members.push(LoadedMember { name: member.name.clone(), restored, messages });
                            continue;
                        }
                        Err(failure) => failure,
                    };
                    // A database that cannot be made, or an archive that is damaged, is no reason to do without the others.
                    let of_this_one = failure.code == "target.failed" || failure.is_damage();
                    if !of_this_one || !target.psql.answers().await {
                        return Err(of(member)(failure));
                    }
                    first.get_or_insert(printed.lack(member, failure, &session.output));
                }
                session.output.done("restored_set", &printed)?;
                match first {
                    Some(failure) => {
                        let (restored, lacking) = (printed.members.len(), printed.failed.len());
                        Err(failure.beside_members(restored, restored + lacking).with_hint(AFTERWARDS))
                    }
                    None => printed.messages.failure().map_or(Ok(0), Err),
                }
            }
        }
    }

    /// Finds the programs and looks at the server: whether it is empty and can take these dumps.
    async fn target(&self, dsn: Dsn, heads: &[&Head], whole_server: bool, session: &Session) -> Result<Server> {
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

/// Says of which member a failure is, unless it is the user's.
fn of(member: &set::Member) -> impl FnOnce(Failure) -> Failure + '_ {
    |failure| if failure.code == "interrupted" { failure } else { failure.of_member(&member.name, member.id.as_str()) }
}

/// A server that can take what is to be loaded.
struct Server {
    psql: Psql,
    judge: Judge,
    database: String,
    /// The role that is logged in.
    session: String,
    server: Version,
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

/// A backup set that was restored into a server, as it is printed.
#[derive(Debug, Serialize)]
struct LoadedSet {
    id: String,
    members: Vec<LoadedMember>,
    target: String,
    server: String,
    messages: Said,
    /// What is not restored, or not all of it.
    failed: Vec<FailedMember>,
}

/// A member that is not restored.
#[derive(Debug, Serialize)]
struct FailedMember {
    name: String,
    id: String,
    code: &'static str,
    message: String,
}

/// One of its members.
#[derive(Debug, Serialize)]
struct LoadedMember {
    name: String,
    #[serde(flatten)]
    restored: Printed,
    messages: Said,
}

impl LoadedSet {
    /// Notes what is not restored, and tells it.
    fn lack(&mut self, member: &set::Member, failure: Failure, output: &Output) -> Failure {
        let (name, id) = (member.name.clone(), member.id.to_string());
        self.failed.push(FailedMember { name, id, code: failure.code, message: failure.message.clone() });
        let failure = of(member)(failure);
        output.warning(Some(failure.code), &failure.message);
        failure
    }
}

impl fmt::Display for LoadedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.members {
            write!(f, "{}: {}", cell(&member.name), member.restored)?;
        }
        let members = count(self.members.len() as u64, "member");
        match self.failed.as_slice() {
            [] => write!(f, "the set {}, {members}, is", self.id)?,
            failed => {
                for FailedMember { name, code, .. } in failed {
                    writeln!(f, "{}: not restored, {code}", cell(name))?;
                }
                write!(f, "of the set {} {members} of {} are", self.id, self.members.len() + failed.len())?;
            }
        }
        writeln!(f, " in PostgreSQL {}: {}", self.server, self.messages)
    }
}
