//! Dumps as a source: one database as an archive, or a whole server as a backup set.
//!
//! A set has the server's globals (roles, tablespaces, their settings) as SQL, and each database as a dump in the custom format, several
//! under way at a time. Each dump is consistent in itself, as of its own beginning; no two databases of a server share a snapshot,
//! with `pg_dumpall` neither. The set is committed when every member is; the members of a run that failed remain archives that stand for
//! themselves alone.

pub mod ending;
mod progress;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use backstay::backup::{BackupOptions, Receipt};
use backstay::layout::{Layout, PART, PartSize, Wish};
use backstay::set::{NewSet, SetOptions, SetReceipt};
use backstay::source::Source;
use backstay::{Context, Event, Observer};
use backstay_store::Store;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use self::progress::Together;
use self::session::{Database, Server, Session, database_argument};
use crate::error::{Error, Result};
use crate::programs::{Need, Programs};
use crate::{DATABASE, GLOBALS};

/// Dumps that are under way at a time unless something else is asked for.
pub const JOBS: usize = 2;
/// Databases to ask about the server in, as pg_dumpall does.
const MAINTENANCE: [&str; 2] = ["postgres", "template1"];
/// What the globals are called as a member. A database of this name is another member, with a name of its own.
const GLOBALS_NAME: &str = "globals";

/// How to dump.
#[derive(Debug, Clone)]
pub struct DumpOptions {
    /// The directory of the client programs; the nearest to the server's version that are here when `None`.
    pub programs: Option<PathBuf>,
    /// Count the rows of each table, in the dump's own snapshot.
    pub row_counts: bool,
}

/// How to dump a whole server.
#[derive(Debug, Clone)]
pub struct DumpAllOptions {
    /// How each database is dumped.
    pub dump: DumpOptions,
    /// Dumps under way, at most; fewer if the memory does not suffice.
    pub jobs: usize,
    /// Databases that are left out.
    pub exclude: BTreeSet<String>,
    /// The fewest bytes that the members together may have.
    pub min_size: u64,
}

/// Dumps one database into one archive. The server's and the client's version, the database's size and its row counts, if they are wanted,
/// stand in the sealed part of the manifest.
///
/// # Errors
/// `source.programs` before anything is stored; `source.failed`; those of [`backstay::backup()`].
pub async fn dump_database(
    store: &Store,
    name: &str,
    backup: BackupOptions,
    options: &DumpOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Receipt> {
    let given = options.programs.as_deref();
    let mut session = Session::open(&Programs::newest(given, Need::Ask, None).await?, name).await?;
    let server = session.server().await?;
    let programs = Programs::nearest(given, Need::Dump, server.version).await?;
    let found = session.databases().await?.into_iter().find(|database| database.name == name);
    let size = found.and_then(|database| database.size);
    let together = Together::new(observer, size);
    let dump = Dump { name, size, server: &server, programs: &programs };
    let session = options.row_counts.then_some(session);
    dump.run(store, session, backup, context, together.member(None)).await
}

/// One database that is about to be dumped.
struct Dump<'a> {
    name: &'a str,
    size: Option<u64>,
    server: &'a Server,
    programs: &'a Programs,
}

impl Dump<'_> {
    async fn run(
        &self,
        store: &Store,
        mut session: Option<Session>,
        mut backup: BackupOptions,
        context: &Context,
        observer: Arc<dyn Observer>,
    ) -> Result<Receipt> {
        // Backstay compresses, on all cores; pg_dump would do it on one.
        let mut words: Vec<OsString> = vec![self.programs.path("pg_dump").into()];
        words.extend(["-Fc", "-Z0", "-w"].map(OsString::from));
        let mut facts = facts(self.server, self.programs);
        facts.insert("database".to_owned(), self.name.into());
        if let Some(size) = self.size {
            facts.insert("database_size".to_owned(), size.into());
        }
        if let Some(session) = &mut session {
            let counting = async {
                let snapshot = session.export_snapshot().await?;
                Ok::<_, Error>((snapshot, session.count_rows().await?))
            };
            let (snapshot, rows) = tokio::select! {
                biased;
                () = context.interrupt.wait() => return Err(interrupted("nothing was committed")),
                counted = counting => counted?,
            };
            words.push(format!("--snapshot={snapshot}").into());
            facts.insert("rows".to_owned(), json!(rows));
        }
        words.extend(["-d".into(), database_argument(self.name).into()]);
        backup.source = Some("pg_dump");
        backup.expected = self.size;
        backup.facts.insert("postgres".to_owned(), Value::Object(facts));
        let receipt = backstay::backup(store, Source::Command(words), backup, context, observer).await;
        // Until here: the dump's snapshot is the session's.
        drop(session);
        Ok(receipt?)
    }
}

fn facts(server: &Server, programs: &Programs) -> serde_json::Map<String, Value> {
    [
        ("server".to_owned(), server.text.as_str().into()),
        ("server_number".to_owned(), json!(server.version)),
        ("client".to_owned(), programs.version.to_string().into()),
    ]
    .into_iter()
    .collect()
}

fn interrupted(left: &str) -> Error {
    backstay::Error::Interrupted { left: left.to_owned() }.into()
}

/// What became of one member.
enum Outcome {
    Done(Receipt),
    /// The database was dropped before its dump began.
    Dropped,
}

/// Dumps a whole server into one backup set. `member` makes the options of an archive; its guid, its name and its share of the memory are
/// filled in here.
///
/// # Errors
/// `source.programs` and `source.database` before anything is stored. That of the first member that fails, with its name: then there is no set,
/// and those members that were committed before are archives by themselves.
pub async fn dump_all(
    store: &Store,
    set: SetOptions,
    member: &(dyn Fn() -> BackupOptions + Sync),
    options: &DumpAllOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<SetReceipt> {
    match whole_server(store, set, member, options, context, observer).await {
        // Ctrl-C reaches the programs first, and what they say of it is not why.
        Err(Error::Run(error @ backstay::Error::Interrupted { .. })) => Err(error.into()),
        Err(_) if context.interrupt.is_set() => Err(interrupted("there is no set")),
        done => done,
    }
}

async fn whole_server(
    store: &Store,
    set: SetOptions,
    member: &(dyn Fn() -> BackupOptions + Sync),
    options: &DumpAllOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<SetReceipt> {
    let given = options.dump.programs.as_deref();
    let mut session = maintenance(&Programs::newest(given, Need::Ask, None).await?).await?;
    let server = session.server().await?;
    let programs = &Programs::nearest(given, Need::DumpAll, server.version).await?;
    let all = session.databases().await?;
    let databases = chosen(&all, &options.exclude, &observer)?;
    let jobs = jobs(options.jobs.min(databases.len() + 1), &member(), context, &observer)?;

    let total = databases.iter().map(|database| database.size).sum();
    let together = Together::new(Arc::clone(&observer), total);
    let set_name = set.name.clone();
    let new = NewSet::begin(store, set, context, &observer).await?;
    let prepare = |name: &str| -> Result<BackupOptions> {
        let mut backup = member();
        backup.guid = new.guid_of(name)?;
        backup.name = format!("{set_name}/{name}");
        backup.memory /= jobs as u64;
        // What the whole must have is asked of the whole.
        backup.checks.min_size = 0;
        Ok(backup)
    };
    let mut globals_name = GLOBALS_NAME.to_owned();
    while all.iter().any(|database| database.name == globals_name) {
        globals_name.push('/');
    }
    let globals_name = globals_name.as_str();
    let server = &server;
    let works: Vec<_> = std::iter::once(None).chain(databases.iter().map(|database| Some(*database))).collect();
    let mut running = stream::iter(works.into_iter().enumerate())
        .map(|(place, database)| {
            let (together, dump, prepare) = (&together, &options.dump, &prepare);
            async move {
                let name = database.map_or(globals_name, |database| &database.name);
                let done = async {
                    let backup = prepare(name)?;
                    let observer = together.member(Some(name));
                    match database {
                        None => globals(store, backup, server, programs, context, observer).await.map(Outcome::Done),
                        Some(database) => {
                            one_of_all(store, database, backup, (server, programs), dump, context, observer).await
                        }
                    }
                };
                (place, name, done.await)
            }
        })
        .buffer_unordered(jobs);
    let mut done: BTreeMap<usize, (&str, Receipt)> = BTreeMap::new();
    let mut dropped: Vec<&str> = Vec::new();
    while let Some((place, name, outcome)) = running.next().await {
        match outcome {
            Ok(Outcome::Done(receipt)) => drop(done.insert(place, (name, receipt))),
            Ok(Outcome::Dropped) => dropped.push(name),
            Err(Error::Run(error @ backstay::Error::Interrupted { .. })) => return Err(error.into()),
            Err(Error::Run(error)) => return Err(Error::Member { name: name.to_owned(), source: Box::new(error) }),
            Err(error) => return Err(error),
        }
    }
    drop(running);
    let content: u64 = done.values().map(|(_, receipt)| receipt.content).sum();
    if content < options.min_size {
        return Err(backstay::Error::SourceTooSmall { found: content, expected: options.min_size }.into());
    }
    // Asked again: what came meanwhile is not in the set, and somebody may think it is.
    let mut session = maintenance(programs).await?;
    let known: BTreeSet<&str> = all.iter().map(|database| database.oid.as_str()).collect();
    let after = session.databases().await?;
    let created: Vec<&str> =
        after.iter().filter(|now| !known.contains(now.oid.as_str())).map(|now| now.name.as_str()).collect();
    let warn = |text: String| observer.event(&Event::Warning { code: None, text });
    for name in &created {
        warn(format!("the database {name:?} was created while the backup ran, and is not in the set"));
    }
    for name in &dropped {
        warn(format!("the database {name:?} was dropped while the backup ran, and is not in the set"));
    }

    let mut new = new;
    for (place, (name, receipt)) in &done {
        new.add((*name).to_owned(), Some(if *place == 0 { GLOBALS } else { DATABASE }), receipt);
    }
    let mut facts = facts(server, programs);
    let sizes = databases.iter().map(|database| json!({"name": database.name, "size": database.size}));
    facts.insert("databases".to_owned(), sizes.collect());
    facts.insert("excluded".to_owned(), json!(options.exclude));
    facts.insert("created_meanwhile".to_owned(), json!(created));
    facts.insert("dropped_meanwhile".to_owned(), json!(dropped));
    let facts = BTreeMap::from([("postgres".to_owned(), Value::Object(facts))]);
    Ok(new.commit(store, facts, context).await?)
}

/// A session in a database that every server has.
async fn maintenance(programs: &Programs) -> Result<Session> {
    let mut first = None;
    for name in MAINTENANCE {
        match Session::open(programs, name).await {
            Ok(session) => return Ok(session),
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.unwrap_or_else(|| interrupted("nothing was asked")))
}

/// The databases to dump. One that cannot be dumped and was not left out on purpose is an error: `pg_dumpall` passes it over in silence, and
/// nobody would know before it is missed.
fn chosen<'a>(
    all: &'a [Database],
    exclude: &BTreeSet<String>,
    observer: &Arc<dyn Observer>,
) -> Result<Vec<&'a Database>> {
    for name in exclude.iter().filter(|name| !all.iter().any(|database| database.name == **name)) {
        let text = format!("the database {name:?} that is to be left out does not exist");
        observer.event(&Event::Warning { code: None, text });
    }
    let mut chosen = Vec::new();
    for database in all.iter().filter(|database| !exclude.contains(&database.name)) {
        let refuse = |why| Err(Error::Database { name: database.name.clone(), why });
        match database {
            // What template0 is, is never changed.
            Database { allows: false, template: true, .. } => {}
            Database { invalid: true, .. } => return refuse("a DROP DATABASE of it was interrupted, so drop it"),
            Database { allows: false, .. } => return refuse("it allows no connections"),
            database => chosen.push(database),
        }
    }
    for name in chosen.iter().map(|database| &database.name).filter(|name| name.contains(['\n', '\r'])) {
        let text = format!(
            "the name of the database {name:?} has a line break, so the set can be drilled and restored with --to-db only member by member"
        );
        observer.event(&Event::Warning { code: None, text });
    }
    Ok(chosen)
}

/// How many dumps fit the memory at a time: each takes an equal share.
fn jobs(wanted: usize, backup: &BackupOptions, context: &Context, observer: &Arc<dyn Observer>) -> Result<usize> {
    let fits = |jobs: usize| {
        Layout::choose(Wish {
            memory: backup.memory / jobs as u64,
            part: backup.part_size.map_or(PartSize::Preferred(PART), PartSize::Fixed),
            surplus: 0,
            uploads: backup.uploads,
            workers: context.cpu.cores(),
            context: backup.context(),
            spool: false,
        })
    };
    let mut jobs = wanted.max(1);
    while jobs > 1 && fits(jobs).is_err() {
        jobs -= 1;
    }
    fits(jobs)?;
    if jobs < wanted {
        let text = format!("the memory suffices for {jobs} at a time, not for {wanted}");
        observer.event(&Event::Note { text });
    }
    Ok(jobs)
}

/// Roles, tablespaces and their settings, as SQL.
async fn globals(
    store: &Store,
    mut backup: BackupOptions,
    server: &Server,
    programs: &Programs,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Receipt> {
    let words = vec![programs.path("pg_dumpall").into(), "--globals-only".into(), "-w".into()];
    backup.source = Some("pg_dumpall");
    backup.facts.insert("postgres".to_owned(), Value::Object(facts(server, programs)));
    Ok(backstay::backup(store, Source::Command(words), backup, context, observer).await?)
}

/// One database of all. It may have been dropped since they were listed, and then it is not missed.
async fn one_of_all(
    store: &Store,
    database: &Database,
    backup: BackupOptions,
    (server, programs): (&Server, &Programs),
    options: &DumpOptions,
    context: &Context,
    observer: Arc<dyn Observer>,
) -> Result<Outcome> {
    let Database { name, size, .. } = database;
    let dumped = async {
        let session = match options.row_counts {
            true => Some(Session::open(programs, name).await?),
            false => None,
        };
        Dump { name, size: *size, server, programs }.run(store, session, backup, context, observer).await
    };
    let error = match dumped.await {
        Ok(receipt) => return Ok(Outcome::Done(receipt)),
        Err(error) => error,
    };
    if error.code() == "source.failed"
        && let Ok(mut session) = maintenance(programs).await
        && let Ok(now) = session.databases().await
        && !now.iter().any(|now| now.oid == database.oid)
    {
        return Ok(Outcome::Dropped);
    }
    Err(match error {
        Error::Source { program, how } => Error::Run(backstay::Error::SourceFailed { command: program, how }),
        error => error,
    })
}
