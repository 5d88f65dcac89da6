//! `drill`: an archive is restored into a scratch target, what came of it is asked, and the answer is kept.

mod checks;
mod history;
mod page;
mod protocol;
mod rows;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use backstay::catalog::{Details, Selected as Found};
use backstay::offspring::adopt_orphans;
use backstay::restore::{RestoreOptions, Restored, Target};
use backstay::set;
use backstay_format::ArchiveId;
use backstay_format::key::Keyring;
use backstay_format::text::to_hex;
use backstay_postgres::DATABASE;
use backstay_postgres::programs::{Need, Programs};
use backstay_postgres::target::facts::{Facts, oldest_programs};
use backstay_postgres::target::head::{Head, Kind};
use backstay_postgres::target::judge::Judge;
use backstay_postgres::target::load::Place;
use backstay_postgres::target::psql::{Psql, RunAs};
use backstay_postgres::target::reach::superuser;
use backstay_postgres::target::scratch::{Scratch, ScratchOptions, sweep};
use backstay_postgres::target::{Dsn, Host};
use backstay_store::Store;
use clap::Args;

use super::into_database::{Loaded, Loading, Said, look};
use super::verify::host;
use crate::args::format;
use crate::args::select::Selected;
use crate::args::unlock::{Trust, Unlock};
use crate::args::value::parse_some_duration;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::human::count;
use crate::run::{DEGRADED, Status};
use crate::session::Session;
use checks::{Check, millis};
use page::Page;
use protocol::{Ending, Member, Outcome, Phases, Protocol, Verdict};
use rows::TableRows;

const EXAMPLES: &str = "\
Examples:
  backstay drill latest -i key.txt
  backstay drill latest -i key.txt --db shop --assert 'SELECT count(*) > 0 FROM orders'
  backstay drill latest -i key.txt --check checks.toml --rto 30m --report drill.html
  backstay drill latest -i key.txt --dsn postgresql://postgres@scratch/postgres
  backstay drill latest -i key.txt -- sh -c 'tar -x -C \"$(mktemp -d)\"'

Without --dsn and COMMAND, a PostgreSQL server is made in a private directory, and removed in the end, however the
drill ends. A target that is not empty is refused. Exit status 0: restored without an error, and every check held;
3: a check failed, or it took longer than --rto; 1: the server refused something of the dump. The result is kept
beside the archive as a report, unless --no-record. Queries have the variables :'archive_id' and :'archive_time'.";

/// Restore an archive into a scratch target, check the result and keep the report
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Drill {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    scratch: ScratchTarget,
    /// The command that is the target: it reads the content from its standard input, and its exit status is the verdict
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["dsn", "pg_bin", "scratch_dir", "pg_user", "pg_set", "assert", "expect", "db", "check"])]
    command: Vec<OsString>,
    #[command(flatten)]
    checks: Checks,
    #[command(flatten)]
    keeping: Keeping,
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    format: format::Reading,
}

/// Into what the archive is restored.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
struct ScratchTarget {
    /// An empty PostgreSQL server instead of one that is made for the drill: in none of its databases is anything, and no role has a name of
    /// the dump's; what is restored stays there. No password
    #[arg(long, value_name = "DSN", conflicts_with_all = ["scratch_dir", "pg_user", "pg_set"])]
    dsn: Option<String>,
    /// The directory of PostgreSQL's programs [default: the newest on the PATH and in /usr/lib/postgresql]
    #[arg(long, value_name = "DIR")]
    pg_bin: Option<PathBuf>,
    /// Where the server's directory is made [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    scratch_dir: Option<PathBuf>,
    /// The user that the server runs as when Backstay runs as root, which PostgreSQL refuses to
    #[arg(long, value_name = "USER", default_value = "postgres")]
    pg_user: String,
    /// A setting of the server, such as shared_preload_libraries=pg_cron. Can be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_setting)]
    pg_set: Vec<String>,
}

/// What must be so in the end.
#[derive(Debug, Args)]
#[command(next_help_heading = "Checks")]
struct Checks {
    /// A query that must answer what --expect says, or true without one. Can be given several times
    #[arg(long, value_name = "SQL")]
    assert: Vec<String>,
    /// The answer to the --assert of the same place
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    expect: Vec<String>,
    /// The database that --assert asks [default: the one that was restored into, for pg_dump -C the one that it made]
    #[arg(long, value_name = "NAME")]
    db: Option<String>,
    /// A TOML file of checks: of each its name, db, sql, and expect, at-least or at-most. Can be given several times
    #[arg(long, value_name = "FILE")]
    check: Vec<PathBuf>,
    /// The longest time that the restore may take
    #[arg(long, value_name = "TIME", value_parser = parse_some_duration)]
    rto: Option<Duration>,
}

/// Where the result goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
struct Keeping {
    /// Write the report to this file too: Markdown when it ends in .md, a page when in .html. Can be given several times
    #[arg(long, value_name = "FILE", value_parser = Page::parse)]
    report: Vec<Page>,
    /// Do not keep the result in the store
    #[arg(long)]
    no_record: bool,
    /// Sign the report with this Ed25519 key, so that others can demand its origin
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    sign_key: Option<PathBuf>,
}

/// Reads a setting of a server.
fn parse_setting(text: &str) -> std::result::Result<String, String> {
    let name = text.split_once('=').map(|(name, _)| name).unwrap_or_default();
    // Where it listens and works is what makes it a scratch server.
    let ours =
        ["listen_addresses", "port", "unix_socket_directories", "data_directory", "hba_file", "external_pid_file"];
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')) {
        return Err(format!("`{text}` is not a setting such as work_mem=64MB"));
    }
    if ours.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(format!("`{name}` is the drill's own to set"));
    }
    Ok(text.to_owned())
}

/// What is under drill: an archive, or a backup set.
struct Subject<'a> {
    store: &'a Store,
    id: &'a ArchiveId,
    keyring: &'a Keyring,
    /// The archive, or the members of the set in the order in which they are restored.
    archives: Vec<Part>,
    is_set: bool,
    checks: &'a [Check],
    session: &'a Session,
}

/// What can be loaded, and what each of it begins with.
struct Dumps<'a> {
    parts: Vec<&'a Part>,
    heads: Vec<Head>,
}

/// One archive.
struct Part {
    id: ArchiveId,
    /// What it is called as a member of a set.
    name: Option<String>,
    options: RestoreOptions,
    /// The database that it is, as a member of a set.
    database: Option<String>,
    /// What was counted in the backup.
    rows: Vec<TableRows>,
}

impl Part {
    /// A failure of this one, unless it is the user's.
    fn failed(&self, failure: Failure) -> Failure {
        match &self.name {
            Some(name) if failure.code != "interrupted" => failure.of_member(name, self.id.as_str()),
            _ => failure,
        }
    }

    fn place(&self) -> Result<Place<'_>> {
        Ok(self.database.as_deref().map_or(Ok(Place::Connected), Place::of_database)?)
    }
}

impl Drill {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        // What does not fit together is said before anything is asked or fetched.
        let policy = self.trust.policy(&self.format)?;
        if self.keeping.no_record && session.settings.is_spelled_out("sign_key") {
            return Err(Failure::usage("--sign-key signs the report in the store, and with --no-record there is none"));
        }
        if self.checks.assert.is_empty() && session.settings.is_spelled_out("db") {
            let failure = Failure::usage("--db is the database that --assert asks, and there is no --assert");
            return Err(failure.with_hint("a check of a --check file names its own `db`"));
        }
        let mut checks = checks::from_options(&self.checks.assert, &self.checks.expect, self.checks.db.as_deref())?;
        for path in &self.checks.check {
            checks.extend(checks::from_file(path)?);
        }
        self.keeping.report.iter().try_for_each(Page::probe)?;
        let signing_key = self.keeping.sign_key.as_deref().map(keys::signing::read).transpose()?;
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let options = RestoreOptions { policy, memory: session.global.memory, ..RestoreOptions::default() };
        let found = self.selected.find_any(&store).await?;
        let (Found::Archive(id) | Found::Set(id)) = &found;
        let is_set = matches!(found, Found::Set(_));
        if is_set && !self.command.is_empty() {
            let failure =
                Failure::usage(format!("{id} is a backup set, and a command takes the content of one archive"));
            return Err(failure.with_hint("name a member, as in NAME/MEMBER"));
        }
        let subject =
            Subject { store: &store, id, keyring: &keyring, archives: Vec::new(), is_set, checks: &checks, session };
        let (mut protocol, archives) = subject.known(options).await?;
        let subject = Subject { archives, ..subject };
        protocol.rto_ms = self.checks.rto.map(millis);
        let begun = Instant::now();
        let held = self.hold(&subject, &mut protocol).await;
        protocol.phases.total = millis(begun.elapsed());
        let failure = conclude(&mut protocol, held);

        let mut unrecorded = None;
        if !self.keeping.no_record && protocol.verdict != Verdict::Unknown {
            for archive in &subject.archives {
                let (id, signer) = (&archive.id, signing_key.as_ref());
                let Some(findings) = protocol.findings(id, is_set) else { continue };
                match backstay::report::record(&store, id, &findings, &keyring, signer, &session.context).await {
                    Ok(name) => protocol.recorded.push(name),
                    // What was found is worth more than that it could not be kept.
                    Err(error) => {
                        unrecorded = Some(Failure::from(error).with_hint(
                            "the drill itself is not in question; --no-record keeps no result in the store",
                        ));
                        break;
                    }
                }
            }
        }
        if protocol.verdict != Verdict::Unknown {
            let measured = protocol.stored.zip(protocol.phases.restore).filter(|_| protocol.verdict == Verdict::Passed);
            // The report of this drill is among the earlier ones when it was kept.
            let this = measured.filter(|_| protocol.recorded.is_empty());
            if !is_set {
                protocol.estimate = history::estimate(&store, id, this).await;
            }
        }
        let mut written = Vec::new();
        for page in &self.keeping.report {
            written.push(page.write(&protocol, &session.context).await);
        }
        session.output.result("drill", &protocol)?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if protocol.verdict == Verdict::Failed {
            return Ok(DEGRADED);
        }
        written.into_iter().collect::<Result<()>>()?;
        unrecorded.map_or(Ok(0), Err)
    }

    /// Restores and checks, and writes down how it went.
    async fn hold(&self, subject: &Subject<'_>, protocol: &mut Protocol) -> Result<()> {
        if !self.command.is_empty() {
            return subject.feed_command(&self.command, protocol).await;
        }
        let (mut parts, mut heads) = (Vec::new(), Vec::new());
        for archive in &subject.archives {
            // What does not fit is said before anything is loaded.
            archive.place()?;
            match subject.loading(archive).head().await {
                Ok(head) => {
                    parts.push(archive);
                    heads.push(head);
                }
                Err(failure) => {
                    let damaged = failure.is_damage();
                    subject.lack(archive, failure, damaged, protocol)?;
                }
            }
        }
        protocol.dump = match (subject.is_set, heads.as_slice()) {
            (false, [head]) => Some(super::restore::describe(head)),
            _ => Some(format!("a backup set of {}", count(subject.archives.len() as u64, "dump"))),
        };
        let dumps = Dumps { parts, heads };
        let held = match &self.scratch.dsn {
            _ if dumps.heads.is_empty() => Ok(()),
            Some(dsn) => self.fill_server(dsn, subject, &dumps, protocol).await,
            None => self.fill_scratch(subject, &dumps, protocol).await,
        };
        held.and_then(|()| protocol.failed_member().map_or(Ok(()), Err))
    }

    /// Into a server that is there and empty.
    async fn fill_server(
        &self,
        dsn: &str,
        subject: &Subject<'_>,
        dumps: &Dumps<'_>,
        protocol: &mut Protocol,
    ) -> Result<()> {
        let heads = &dumps.heads;
        let dsn = Dsn::parse(dsn)?;
        let archives = heads.iter().any(|head| head.kind == Kind::Archive);
        let need = if archives { Need::LoadArchive } else { Need::Load };
        let at_least = heads.iter().filter_map(oldest_programs).max();
        let programs = Programs::newest(self.scratch.pg_bin.as_deref(), need, at_least).await?;
        let psql = Psql { programs, dsn, alone: false, run_as: None };
        protocol.target = psql.dsn.to_string();
        let facts = look(&psql, true, subject.session).await?;
        facts.demand_empty(&psql, &heads.iter().collect::<Vec<_>>())?;
        let own = facts.session.clone();
        subject.load_and_check(&psql, facts, Host::Lasting { role: &own }, dumps, protocol).await
    }

    /// Into a server that is made now and thrown away.
    async fn fill_scratch(&self, subject: &Subject<'_>, dumps: &Dumps<'_>, protocol: &mut Protocol) -> Result<()> {
        let heads = &dumps.heads;
        let context = &subject.session.context;
        let begun = Instant::now();
        let run_as = match rustix::process::geteuid().is_root() {
            true => Some(user(&self.scratch.pg_user).await?),
            false => None,
        };
        let swept = sweep(self.scratch.scratch_dir.as_deref(), run_as).await;
        if swept > 0 {
            subject.session.output.note(&format!("removed what {swept} earlier drills left behind"));
        }
        // The server must understand the dump, and pg_restore its format.
        let at_least = heads.iter().filter_map(|head| head.server.max(oldest_programs(head))).max();
        let programs = Programs::newest(self.scratch.pg_bin.as_deref(), Need::Serve, at_least).await?;
        let whole_server = subject.is_set || heads.iter().any(|head| head.kind == Kind::Cluster);
        let options = ScratchOptions {
            superuser: superuser(heads.iter().map(|head| &head.reach)),
            database: !whole_server && heads.iter().all(|head| head.database_made().is_none()),
            parent: self.scratch.scratch_dir.clone(),
            run_as,
            settings: self.scratch.pg_set.clone(),
        };
        let scratch = Scratch::start(programs, &options, context.random(), &context.interrupt).await?;
        protocol.target = "a PostgreSQL server made for the drill (fsync off), and removed".to_owned();
        protocol.phases.prepare = Some(millis(begun.elapsed()));
        let held = async {
            let facts = look(&scratch.psql, false, subject.session).await?;
            let tablespaces = scratch.tablespaces();
            let host = Host::Scratch { tablespaces: &tablespaces };
            subject.load_and_check(&scratch.psql, facts, host, dumps, protocol).await
        };
        let held = held.await;
        scratch.end().await;
        held
    }
}

impl Subject<'_> {
    fn loading<'b>(&'b self, archive: &'b Part) -> Loading<'b> {
        let options = archive.options.clone();
        Loading { store: self.store, id: &archive.id, keyring: self.keyring, options, session: self.session }
    }

    /// What is known beforehand. A manifest that cannot be read is the restore's to complain about.
    async fn known(&self, options: RestoreOptions) -> Result<(Protocol, Vec<Part>)> {
        let mut archives = Vec::new();
        let (name, created, root);
        if self.is_set {
            let opened = set::open(self.store, self.id, self.keyring, &options.policy).await?;
            set::demand_complete(self.store, &opened.set, &self.session.context).await?;
            for (member, policy) in opened.members(&options.policy) {
                let database = member.name.clone();
                archives.push(Part {
                    id: member.id.clone(),
                    name: Some(member.name.clone()),
                    options: RestoreOptions { policy, ..options.clone() },
                    database: (member.role.as_deref() == Some(DATABASE)).then_some(database),
                    rows: self.counted(&member.id).await.1,
                });
            }
            (name, created, root) = (opened.set.name.clone(), Some(opened.set.created.clone()), None);
        } else {
            let (details, rows) = self.counted(self.id).await;
            archives.push(Part { id: self.id.clone(), name: None, options, database: None, rows });
            let manifest = details.as_ref().and_then(|details| details.manifest.as_ref());
            name = manifest.and_then(|manifest| manifest.name.clone());
            created = manifest.map(|manifest| manifest.created.clone());
            root = manifest.map(|manifest| to_hex(&manifest.root()));
        }
        let protocol = Protocol {
            id: self.id.to_string(),
            name,
            created,
            root,
            store: self.store.url().to_owned(),
            began: format!("{:.0}", self.session.context.now()),
            by: host(),
            backstay: env!("CARGO_PKG_VERSION"),
            verdict: Verdict::Unknown,
            target: "none: the drill ended before there was one".to_owned(),
            dump: None,
            server: None,
            programs: None,
            content: None,
            stored: None,
            authentic: false,
            phases: Phases::default(),
            messages: None,
            members: Vec::new(),
            checks: Vec::new(),
            rto_ms: None,
            failure: None,
            estimate: None,
            recorded: Vec::new(),
        };
        Ok((protocol, archives))
    }

    /// What an archive says of itself, and the rows that were counted when it was made.
    async fn counted(&self, id: &ArchiveId) -> (Option<Details>, Vec<TableRows>) {
        let details = backstay::catalog::show(self.store, id, self.keyring).await.ok();
        let private = details.as_ref().and_then(|details| details.private.as_deref());
        let rows = private.map(rows::recorded).unwrap_or_default();
        (details, rows)
    }

    /// Notes that a member of a set cannot be restored. Gives the failure back unless the drill goes on with the others.
    fn lack(&self, archive: &Part, failure: Failure, goes_on: bool, protocol: &mut Protocol) -> Result<()> {
        if let Some(name) = archive.name.clone() {
            let outcome = Outcome::Lacking(Ending::from(&failure));
            protocol.members.push(Member { name, id: archive.id.to_string(), outcome });
        }
        let failure = archive.failed(failure);
        if !goes_on || archive.name.is_none() {
            return Err(failure);
        }
        self.session.output.warning(Some(failure.code), &failure.message);
        Ok(())
    }

    /// Loads everything into the server, and asks what came of it.
    async fn load_and_check(
        &self,
        psql: &Psql,
        facts: Facts,
        host: Host<'_>,
        dumps: &Dumps<'_>,
        protocol: &mut Protocol,
    ) -> Result<()> {
        let Dumps { parts, heads } = dumps;
        protocol.server = Some(facts.version.to_string());
        protocol.programs = Some(psql.programs.version.to_string());
        heads.iter().try_for_each(|head| facts.demand_version(head))?;
        // Nobody makes the roles and tablespaces of a database's dump for a drill.
        let whole_server = self.is_set || heads.iter().any(|head| head.kind == Kind::Cluster);
        let judge = Judge {
            roles: facts.roles,
            roles_may_be_missing: !whole_server,
            tablespaces_may_be_missing: !whole_server,
        };
        let mut said = Said::default();
        let mut target = Duration::ZERO;
        for (archive, head) in parts.iter().zip(heads) {
            let loading = self.loading(archive);
            let Loaded { restored, tally, waited, elapsed } =
                match loading.load(psql, head, archive.place()?, host, &judge).await {
                    Ok(loaded) => loaded,
                    Err(failure) => {
                        // A database that cannot be made, or an archive that is damaged, is no reason to do without the others.
                        let of_this_one = failure.code == "target.failed" || failure.is_damage();
                        let goes_on = self.is_set && of_this_one && psql.answers().await;
                        self.lack(archive, failure, goes_on, protocol)?;
                        continue;
                    }
                };
            protocol.take(&restored, elapsed);
            target += waited + elapsed.saturating_sub(restored.elapsed);
            protocol.phases.target = Some(millis(target));
            let messages = Said::from(&tally);
            said.add(messages.clone());
            protocol.messages = Some(said.clone());
            if let Some(name) = &archive.name {
                let outcome = Outcome::Loaded { content: restored.content, messages };
                protocol.members.push(Member { name: name.clone(), id: archive.id.to_string(), outcome });
            }
        }
        // A dump that makes its own database is asked there.
        let made = heads.iter().filter(|_| !self.is_set).find_map(Head::database_made);
        self.check(psql, made.unwrap_or(&facts.database), protocol).await?;
        protocol.failed_member().or_else(|| said.failure()).map_or(Ok(()), Err)
    }

    /// Asks everything, in spite of what was refused before: auditors want to see all of it.
    async fn check(&self, psql: &Psql, database: &str, protocol: &mut Protocol) -> Result<()> {
        let begun = Instant::now();
        let time = protocol.created.clone().unwrap_or_default();
        let variables = [("archive_id", self.id.as_str()), ("archive_time", time.as_str())];
        let all = async {
            let is_there = |archive: &&Part| protocol.member(&archive.id).is_none_or(|member| !member.is_lacking());
            let counted: Vec<&Part> =
                self.archives.iter().filter(|archive| !archive.rows.is_empty()).filter(is_there).collect();
            for archive in counted {
                let database = archive.database.as_deref().unwrap_or(database);
                protocol.checks.push(rows::check(psql, database, &archive.rows).await?);
            }
            for check in self.checks {
                protocol.checks.push(check.make(psql, &variables, database).await?);
            }
            Ok::<(), Failure>(())
        };
        tokio::select! {
            biased;
            () = self.session.context.interrupt.wait() => {
                return Err(Failure::new("interrupted", "interrupted; not all checks were made"));
            }
            made = all => made?,
        }
        protocol.phases.checks = Some(millis(begun.elapsed()));
        Ok(())
    }

    /// Into a command, whose exit status is the verdict.
    async fn feed_command(&self, command: &[OsString], protocol: &mut Protocol) -> Result<()> {
        let program = command.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default();
        if !can_start(&program) {
            return Err(Failure::usage(format!("there is no program `{program}`")));
        }
        protocol.target = format!("the command `{program}`");
        let (context, observer) = (&self.session.context, self.session.observer());
        adopt_orphans();
        // Standard output is the report's.
        let target = Target::CommandAside(command.to_vec());
        let [archive] = self.archives.as_slice() else {
            return Err(Failure::usage("a command takes the content of one archive"));
        };
        let (id, options) = (&archive.id, &archive.options);
        let restored = backstay::restore(self.store, id, self.keyring, target, options, context, observer).await?;
        self.session.output.end();
        protocol.take(&restored, restored.elapsed);
        Ok(())
    }
}

impl Protocol {
    fn take(&mut self, restored: &Restored, elapsed: Duration) {
        // Of a set all members, one after another.
        let first = self.content.is_none();
        self.content = Some(self.content.unwrap_or_default() + restored.content);
        self.stored = Some(self.stored.unwrap_or_default() + restored.stored);
        self.authentic = restored.authentic && (first || self.authentic);
        self.phases.restore = Some(self.phases.restore.unwrap_or_default() + millis(elapsed));
    }
}

/// Decides what is known of the archive, and gives the failure that the run ends with.
fn conclude(protocol: &mut Protocol, held: Result<()>) -> Option<Failure> {
    match held {
        Ok(()) if protocol.failed_checks() > 0 || protocol.is_late() => protocol.verdict = Verdict::Failed,
        Ok(()) => protocol.verdict = Verdict::Passed,
        Err(mut failure) => {
            if failure.code == "interrupted" {
                // What an interrupted backup leaves is another thing.
                failure = failure.with_hint("hold the drill again; a server of --dsn has to be emptied before");
            }
            protocol.failure = Some(Ending::from(&failure));
            // What is damaged, missing or refused is the archive's. A server that is not there, a wrong key, a demand that is not met or
            // Ctrl-C is not, and of the target only the command's own status is.
            let command_failed = failure.code == "target.failed" && protocol.dump.is_none();
            let of_archive = failure.is_damage()
                || matches!(failure.code, "target.statements" | "target.not-a-dump")
                || command_failed;
            protocol.verdict = if of_archive { Verdict::Failed } else { Verdict::Unknown };
            return Some(failure);
        }
    }
    None
}

/// Whether a command's first word is a program.
fn can_start(program: &str) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let is_program = |path: PathBuf| {
        std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return is_program(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_program(dir.join(program)))
}

/// The numbers of a user. `id` asks whatever knows the machine's users.
async fn user(name: &str) -> Result<RunAs> {
    let number = async |option: &str| -> Option<u32> {
        let output = tokio::process::Command::new("id").arg(option).arg("--").arg(name).output().await.ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|_| output.status.success())
    };
    match (number("-u").await, number("-g").await) {
        (Some(0), _) => Err(Failure::usage(format!("the user `{name}` is root, as which PostgreSQL does not run"))),
        (Some(uid), Some(gid)) => Ok(RunAs { uid, gid }),
        _ => {
            let failure = Failure::usage(format!("there is no user `{name}`, and PostgreSQL does not run as root"));
            Err(failure.with_hint("name another one with --pg-user, or run the drill as one that is not root"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_pairs_and_leave_the_server_where_it_is() {
        assert!(parse_setting("work_mem=64MB").is_ok() && parse_setting("pg_stat.x=").is_ok());
        for text in ["", "work_mem", "=1", "a b=1", "listen_addresses=*", "PORT=1", "unix_socket_directories=/tmp"] {
            assert!(parse_setting(text).is_err(), "{text}");
        }
    }
}
