//! A backup set as a whole: into a directory, and into a PostgreSQL server. A member that cannot be restored is no reason to do without the others.

use std::fmt;
use std::path::PathBuf;

use backstay::restore::{RestoreOptions, Restored};
use backstay::set::{self, Member, RestoredSet};
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_postgres::DATABASE;
use backstay_postgres::target::load::Place;
use backstay_postgres::target::{Dsn, Head, Host};
use backstay_store::Store;
use serde::Serialize;

use super::super::into_database::{Loading, Said};
use super::{Printed, Restore};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::output::human::{Elapsed, Size, count};
use crate::output::visible::cell;
use crate::run::Status;
use crate::session::Session;

/// What to do when some members of a set are files now, and others are damaged.
const THE_OTHER_FILES: &str = "the others are whole and need not be restored again: take damaged objects from versions, or from a replica with `backstay copy ID --repair REPLICA`, and restore what is missing by its own id";
/// What to do when some members are in a server now.
const THE_OTHER_DATABASES: &str = "the others need not be restored again: correct the cause, and restore what is missing by its own id into a database that you make for it";

/// Prints what was restored into a directory.
pub(super) fn told(restored: RestoredSet, session: &Session) -> Result<Status> {
    session.output.done("restored_set", &PrintedSet::from(&restored))?;
    let (good, all) = (restored.members.len(), restored.members.len() + restored.damaged.len());
    let Some((member, why)) = restored.damaged.into_iter().next() else { return Ok(0) };
    Err(of(&member)(why.into()).beside_members(good, all).with_hint(THE_OTHER_FILES))
}

/// Says of which member a failure is, unless it is the user's.
fn of(member: &Member) -> impl FnOnce(Failure) -> Failure + '_ {
    |failure| if failure.code == "interrupted" { failure } else { failure.of_member(&member.name, member.id.as_str()) }
}

/// A member that can be loaded.
struct Part<'a> {
    member: &'a Member,
    loading: Loading<'a>,
    head: Head,
    place: Place<'a>,
}

impl Restore {
    /// What does not fit is said before anything is loaded.
    pub(super) async fn restore_set_to_database(
        &self,
        id: &ArchiveId,
        dsn: Dsn,
        store: &Store,
        keyring: &Keyring,
        options: RestoreOptions,
        session: &Session,
    ) -> Result<Status> {
        let opened = set::open(store, id, keyring, &options.policy).await?;
        set::demand_complete(store, &opened.set, &session.context).await?;
        let (mut parts, mut unread) = (Vec::new(), Vec::new());
        for (member, policy) in opened.members(&options.policy) {
            let options = RestoreOptions { policy, ..options.clone() };
            let loading = Loading { store, id: &member.id, keyring, options, session };
            let place = match member.role.as_deref() {
                Some(DATABASE) => Place::of_database(&member.name)?,
                _ => Place::Connected,
            };
            match loading.head().await {
                Ok(head) => parts.push(Part { member, loading, head, place }),
                Err(failure) if failure.is_damage() => unread.push((member, failure)),
                Err(failure) => return Err(of(member)(failure)),
            }
        }
        if parts.is_empty()
            && let Some((member, failure)) = unread.drain(..).next()
        {
            return Err(of(member)(failure));
        }
        let heads: Vec<&Head> = parts.iter().map(|part| &part.head).collect();
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
        for Part { member, loading, head, place } in &parts {
            let host = Host::Lasting { role: &target.session };
            match loading.load(&target.psql, head, *place, host, &target.judge).await {
                Ok(loaded) => {
                    let messages = Said::from(&loaded.tally);
                    printed.messages.add(messages.clone());
                    let restored = Printed::from(&loaded.restored);
                    printed.members.push(LoadedMember { name: member.name.clone(), restored, messages });
                }
                // A database that cannot be made, or an archive that is damaged.
                Err(failure)
                    if (failure.code == "target.failed" || failure.is_damage()) && target.psql.answers().await =>
                {
                    first.get_or_insert(printed.lack(member, failure, &session.output));
                }
                Err(failure) => return Err(of(member)(failure)),
            }
        }
        session.output.done("restored_set", &printed)?;
        match first {
            Some(failure) => {
                let (restored, lacking) = (printed.members.len(), printed.failed.len());
                Err(failure.beside_members(restored, restored + lacking).with_hint(THE_OTHER_DATABASES))
            }
            None => printed.messages.failure().map_or(Ok(0), Err),
        }
    }
}

/// A set that was restored into a directory, as it is printed.
#[derive(Debug, Serialize)]
struct PrintedSet {
    id: String,
    members: Vec<PrintedMember>,
    failed: Vec<FailedMember>,
    elapsed_ms: u64,
    #[serde(skip)]
    elapsed: Elapsed,
}

/// One member and its file.
#[derive(Debug, Serialize)]
struct PrintedMember {
    name: String,
    role: Option<String>,
    file: PathBuf,
    #[serde(flatten)]
    restored: Printed,
}

/// A member that is not restored, or not all of it.
#[derive(Debug, Serialize)]
struct FailedMember {
    name: String,
    id: String,
    code: &'static str,
    message: String,
}

impl From<&RestoredSet> for PrintedSet {
    fn from(restored: &RestoredSet) -> PrintedSet {
        let member = |(member, file, restored): &(Member, PathBuf, Restored)| PrintedMember {
            name: member.name.clone(),
            role: member.role.clone(),
            file: file.clone(),
            restored: Printed::from(restored),
        };
        let failed = restored.damaged.iter().map(|(member, why)| FailedMember::of(member, why.code(), why.to_string()));
        PrintedSet {
            id: restored.id.to_string(),
            members: restored.members.iter().map(member).collect(),
            failed: failed.collect(),
            elapsed_ms: u64::try_from(restored.elapsed.as_millis()).unwrap_or(u64::MAX),
            elapsed: Elapsed(restored.elapsed),
        }
    }
}

impl FailedMember {
    fn of(member: &Member, code: &'static str, message: String) -> FailedMember {
        FailedMember { name: member.name.clone(), id: member.id.to_string(), code, message }
    }
}

/// A line for each member that is not restored, and the beginning of the last line: how much of the set is.
fn write_failed(f: &mut fmt::Formatter<'_>, id: &str, restored: usize, failed: &[FailedMember]) -> fmt::Result {
    let members = count(restored as u64, "member");
    if failed.is_empty() {
        return write!(f, "the set {id}, {members}, is");
    }
    for FailedMember { name, id, code, .. } in failed {
        writeln!(f, "{}: {id} is not restored, {code}", cell(name))?;
    }
    write!(f, "of the set {id} {members} of {} are", restored + failed.len())
}

impl fmt::Display for PrintedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.members {
            let file = member.file.display().to_string();
            writeln!(f, "{}: {} of content from {}", cell(&file), Size(member.restored.content), member.restored.id)?;
        }
        write_failed(f, &self.id, self.members.len(), &self.failed)?;
        writeln!(f, " restored, {}", self.elapsed)
    }
}

/// A set that was restored into a server, as it is printed.
#[derive(Debug, Serialize)]
struct LoadedSet {
    id: String,
    members: Vec<LoadedMember>,
    target: String,
    server: String,
    messages: Said,
    failed: Vec<FailedMember>,
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
    fn lack(&mut self, member: &Member, failure: Failure, output: &Output) -> Failure {
        self.failed.push(FailedMember::of(member, failure.code, failure.message.clone()));
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
        write_failed(f, &self.id, self.members.len(), &self.failed)?;
        writeln!(f, " in PostgreSQL {}: {}", self.server, self.messages)
    }
}
