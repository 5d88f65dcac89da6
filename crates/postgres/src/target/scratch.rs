//! A PostgreSQL server that is thrown away: made in a directory of its own, reached through a socket in it and by no other way.
//!
//! ```text
//! <parent>/backstay-drill-<random>/    mode 0700, of the user that the server runs as
//!     lock                             locked for as long as the run that made it lives
//!     data/                            what initdb made; the server works in it
//!     tablespaces/                     those of the dump, wherever it says that they are
//!     socket/                          nobody else gets here, so nobody is asked for a password
//! ```
//!
//! The server is started by a guardian: a shell that waits for the end of a pipe whose other end this process holds. However the process
//! ends, with `kill -9` too, the guardian then stops the server and empties the directory. What a machine that went down left behind is found by
//! [`sweep`]: a directory of that name whose lock is free is nobody's.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use backstay::interrupt::Interrupt;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::error::{Error, Result};
use crate::programs::Programs;
use crate::target::dsn::Dsn;
use crate::target::psql::{Asking, Psql, RunAs, english, without_leads};

/// How the names of directories begin.
const NAME: &str = "backstay-drill-";
/// The folder for tablespaces.
const TABLESPACES: &str = "tablespaces";
/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to end at once.
const STOP: Duration = Duration::from_secs(15);
/// What the kernel allows as the path of a socket, with its closing zero byte.
const SOCKET_PATH: usize = 107;
/// The database that a dump of one database goes into.
pub const DATABASE: &str = "restored";

/// Starts the server, and ends it when standard input ends. It ignores what is meant for the run, which will close the pipe in its own time.
const GUARDIAN: &str = r#"
dir=$1
shift
"$@" < /dev/null > "$dir/server.log" 2>&1 &
echo $! > "$dir/pid"
trap '' INT TERM HUP
read -r _
kill -QUIT $! 2> /dev/null
wait $!
exec rm -rf -- "$dir"
"#;

/// How the server is made.
#[derive(Debug, Clone)]
pub struct ScratchOptions {
    /// The superuser that it is made with, and as whom it is spoken to: see [`crate::target::reach::superuser`].
    pub superuser: String,
    /// Whether there is a database for a dump of one: [`DATABASE`], which is none of the names that others may come with.
    pub database: bool,
    /// Where its directory is made; the system's folder for temporary files when `None`.
    pub parent: Option<PathBuf>,
    /// Whom it runs as, where we are root: PostgreSQL refuses to be.
    pub run_as: Option<RunAs>,
    /// Settings beside our own: `name=value`.
    pub settings: Vec<String>,
}

/// A server that is thrown away.
#[derive(Debug)]
pub struct Scratch {
    /// How it is spoken to.
    pub psql: Psql,
    dir: PathBuf,
    guardian: Child,
    /// Held until the directory is gone.
    _lock: File,
}

impl Scratch {
    /// Makes a server and starts it.
    ///
    /// # Errors
    /// `target.failed` when initdb or the server fails, `io.failed` for the directory, `interrupted`. Nothing is left behind.
    pub async fn start(
        programs: Programs,
        options: &ScratchOptions,
        random: [u8; 8],
        interrupt: &Interrupt,
    ) -> Result<Scratch> {
        let parent = parent(options.parent.as_deref());
        let parent = fs::canonicalize(&parent).map_err(io("finding", &parent))?;
        let dir = parent.join(format!("{NAME}{:016x}", u64::from_le_bytes(random)));
        let socket = dir.join("socket");
        let length = socket.as_os_str().as_bytes().len() + "/.s.PGSQL.5432".len();
        if length > SOCKET_PATH {
            return Err(Error::SocketPath { dir: parent, length, most: SOCKET_PATH });
        }
        if socket.as_os_str().as_bytes().contains(&b',') {
            return Err(Error::SocketComma { dir: parent });
        }
        let lock = make(&dir, &socket, options.run_as)?;
        match start(&programs, options, &dir, &socket, interrupt).await {
            Ok(guardian) => {
                let dsn = dsn(&socket, &options.superuser, "postgres")?;
                let psql = Psql { programs, dsn, alone: true, run_as: options.run_as };
                let mut scratch = Scratch { psql, dir, guardian, _lock: lock };
                match scratch.ready(options, interrupt).await {
                    Ok(()) => Ok(scratch),
                    Err(error) => {
                        scratch.end().await;
                        Err(error)
                    }
                }
            }
            Err(error) => {
                remove(&dir);
                Err(error)
            }
        }
    }

    /// Waits until it answers, and makes the database for a dump of one.
    async fn ready(&mut self, options: &ScratchOptions, interrupt: &Interrupt) -> Result<()> {
        let answers = async {
            loop {
                match self.psql.ask("SELECT 1;", Asking::default()).await {
                    Ok(_) => break,
                    Err(Error::Unreachable { .. }) => sleep(Duration::from_millis(50)).await,
                    Err(error) => return Err(error),
                }
                // The guardian goes on waiting for us, whatever becomes of the server.
                if has_ended(&self.dir) {
                    return Err(self.failed("does not start"));
                }
            }
            if options.database {
                let make = format!("CREATE DATABASE {DATABASE} TEMPLATE template0;");
                self.psql.ask(&make, Asking::default()).await?;
                self.psql.dsn = dsn(&self.dir.join("socket"), &options.superuser, DATABASE)?;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            () = interrupt.wait() => return Err(Error::Interrupted { left: "the server was not ready yet" }),
            answered = timeout(START, answers) => {
                if let Ok(answered) = answered {
                    return answered;
                }
            }
        }
        Err(self.failed("does not answer"))
    }

    /// Where the tablespaces of what it is filled with are made.
    pub fn tablespaces(&self) -> PathBuf {
        self.dir.join(TABLESPACES)
    }

    fn failed(&self, how: &str) -> Error {
        let log = fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
        Error::Target { program: "postgres".to_owned(), how: format!("{how}; it said: {}", reason(&log)) }
    }

    /// Stops the server and removes everything.
    pub async fn end(mut self) {
        drop(self.guardian.stdin.take());
        if timeout(STOP, self.guardian.wait()).await.is_err() {
            // Server and guardian are one group.
            end_group(group(&self.guardian));
            let _ = self.guardian.wait().await;
        }
        remove(&self.dir);
    }
}

/// Makes the directories, and locks the outer one.
fn make(dir: &Path, socket: &Path, run_as: Option<RunAs>) -> Result<File> {
    let folder = |path: &Path| -> Result<()> {
        DirBuilder::new().mode(0o700).create(path).map_err(io("making", path))?;
        give(path, run_as)
    };
    folder(dir)?;
    let rest = || -> Result<File> {
        let lock = dir.join("lock");
        let file = File::create_new(&lock).map_err(io("making", &lock))?;
        file.lock().map_err(io("locking", &lock))?;
        folder(socket)?;
        folder(&dir.join("data"))?;
        folder(&dir.join(TABLESPACES))?;
        Ok(file)
    };
    rest().inspect_err(|_| remove(dir))
}

fn give(path: &Path, run_as: Option<RunAs>) -> Result<()> {
    let Some(RunAs { uid, gid }) = run_as else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(io("giving away", path))
}

/// Makes the cluster and starts its guardian.
async fn start(
    programs: &Programs,
    options: &ScratchOptions,
    dir: &Path,
    socket: &Path,
    interrupt: &Interrupt,
) -> Result<Child> {
    let data = dir.join("data");
    let failed = |program: &str, how: String| Error::Target { program: program.to_owned(), how };
    let not_started =
        |program: &'static str| move |error: std::io::Error| failed(program, format!("does not start: {error}"));
    let mut initdb = english(&programs.path("initdb"), options.run_as);
    without_leads(&mut initdb);
    initdb.args([
        "--username",
        &options.superuser,
        "--auth",
        "trust",
        "--encoding",
        "UTF8",
        "--locale",
        "C",
        "--no-sync",
    ]);
    initdb.arg("--pgdata").arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let initdb = initdb.spawn().map_err(not_started("initdb"))?;
    let group = group(&initdb);
    let made = tokio::select! {
        biased;
        () = interrupt.wait() => {
            // It has children of its own, which would go on writing.
            end_group(group);
            return Err(Error::Interrupted { left: "the server was not ready yet" });
        }
        made = initdb.wait_with_output() => made.map_err(not_started("initdb"))?,
    };
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(failed("initdb", format!("failed; it said: {}", reason(&said))));
    }
    let mut guardian = english(Path::new("/bin/sh"), options.run_as);
    without_leads(&mut guardian);
    guardian.args(["-c", GUARDIAN, "backstay-drill"]).arg(dir).arg(programs.path("postgres")).arg("-D").arg(&data);
    guardian.arg("-k").arg(socket);
    let own = [
        "listen_addresses=",
        "port=5432",
        // It lives for an hour, and nobody misses it: the machine may lose it.
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        "max_wal_size=4GB",
        "autovacuum=off",
        "logging_collector=off",
        "log_destination=stderr",
        "lc_messages=C",
        "cluster_name=backstay-drill",
    ];
    for setting in own.iter().copied().chain(options.settings.iter().map(String::as_str)) {
        guardian.arg("-c").arg(setting);
    }
    guardian.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // It is the one that stays when we go.
    guardian.kill_on_drop(false);
    guardian.spawn().map_err(not_started("sh"))
}

fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn end_group(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended in this moment, which is what we want.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Whether the server that a guardian started is no more. As long as the guardian has not looked, there is still an entry for it.
fn has_ended(dir: &Path) -> bool {
    let Ok(file) = fs::read_to_string(dir.join("pid")) else { return false };
    let Some(pid) = file.strip_suffix('\n') else { return false };
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

/// What explains best why a program of PostgreSQL ended: what it calls fatal, else an error, else what it said last.
fn reason(said: &str) -> &str {
    for mark in ["FATAL:  ", "PANIC:  ", "error: ", "ERROR:  "] {
        if let Some((_, reason)) = said.lines().find_map(|line| line.split_once(mark)) {
            return reason;
        }
    }
    said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing")
}

/// Where directories are made. A variable that is empty is one that is not set.
fn parent(given: Option<&Path>) -> PathBuf {
    let temporary = || Some(std::env::temp_dir()).filter(|dir| !dir.as_os_str().is_empty());
    given.map(Path::to_owned).or_else(temporary).unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// How a database of the server is named.
fn dsn(socket: &Path, user: &str, database: &str) -> Result<Dsn> {
    let quoted = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
    let host = quoted(&socket.to_string_lossy());
    Dsn::parse(&format!("host={host} port=5432 user={} dbname={database}", quoted(user)))
}

/// Removes what runs that ended without order left in `parent`: directories of ours, or of the user that servers run as, whose lock is
/// free. Gives how many.
pub async fn sweep(parent: Option<&Path>, run_as: Option<RunAs>) -> usize {
    // As the kernel has it: a server is known by the directory that it works in.
    let Ok(parent) = fs::canonicalize(self::parent(parent)) else { return 0 };
    let ours = [Some(rustix::process::geteuid().as_raw()), run_as.map(|user| user.uid)];
    let mut swept = 0;
    for entry in fs::read_dir(&parent).into_iter().flatten().filter_map(std::result::Result::ok) {
        let dir = entry.path();
        let named = entry.file_name().to_string_lossy().starts_with(NAME);
        // Not of what a link leads to.
        let owned = fs::symlink_metadata(&dir).is_ok_and(|data| data.is_dir() && ours.contains(&Some(data.uid())));
        if named && owned && is_left(&dir) {
            stop_server(&dir).await;
            remove(&dir);
            swept += 1;
        }
    }
    swept
}

/// Whether nobody holds a directory. One without a lock is being made, or being removed, or was left by a run that was killed between the two;
/// it is left alone for a minute.
fn is_left(dir: &Path) -> bool {
    match File::open(dir.join("lock")).map(|lock| lock.try_lock()) {
        Ok(Ok(())) => true,
        Ok(Err(TryLockError::WouldBlock | TryLockError::Error(_))) => false,
        Err(_) => fs::symlink_metadata(dir)
            .and_then(|data| data.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > Duration::from_secs(60))),
    }
}

/// Stops the server of a directory, if it still runs: the process that its file names and that works in it.
async fn stop_server(dir: &Path) {
    let data = dir.join("data");
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let Some(pid) = file.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw) else {
        return;
    };
    let works_here = || fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero())).is_ok_and(|cwd| cwd == data);
    if !works_here() {
        return;
    }
    let _ = kill_process(pid, Signal::QUIT);
    let _ = timeout(STOP, async {
        while works_here() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Removes a directory. The guardian may be doing the same.
fn remove(dir: &Path) {
    for _ in 0..3 {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => std::thread::sleep(Duration::from_millis(20)),
            _ => return,
        }
    }
    tracing::warn!("{} cannot be removed", dir.display());
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep_of(parent: &Path) -> usize {
        tokio::runtime::Runtime::new().unwrap().block_on(sweep(Some(parent), None))
    }

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        let held = make(&path("backstay-drill-held"), &path("backstay-drill-held/socket"), None).unwrap();
        drop(make(&path("backstay-drill-left"), &path("backstay-drill-left/socket"), None).unwrap());
        fs::create_dir(path("backstay-drill-fresh")).unwrap();
        fs::create_dir(path("backstay-other")).unwrap();
        fs::create_dir(path("elsewhere")).unwrap();
        File::create(path("elsewhere/lock")).unwrap();
        std::os::unix::fs::symlink(path("elsewhere"), path("backstay-drill-link")).unwrap();
        assert_eq!(sweep_of(parent.path()), 1);
        assert!(!path("backstay-drill-left").exists());
        for name in
            ["backstay-drill-held", "backstay-drill-fresh", "backstay-other", "elsewhere/lock", "backstay-drill-link"]
        {
            assert!(path(name).exists(), "{name}");
        }
        drop(held);
        assert_eq!(sweep_of(parent.path()), 1);
    }

    #[test]
    fn a_directory_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("backstay-drill-1");
        let _lock = make(&dir, &dir.join("socket"), None).unwrap();
        for path in [dir.clone(), dir.join("socket"), dir.join("data"), dir.join(TABLESPACES)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_path_that_is_none_for_a_socket_is_refused_before_anything_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let refused = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            let programs = Programs { dir: "/nowhere".into(), version: crate::Version::from_num(150_000) };
            let options = ScratchOptions {
                superuser: "postgres".to_owned(),
                database: true,
                parent: Some(path.clone()),
                run_as: None,
                settings: Vec::new(),
            };
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let started = runtime.block_on(Scratch::start(programs, &options, [1; 8], &Interrupt::default()));
            assert_eq!(fs::read_dir(path).unwrap().count(), 0);
            started.unwrap_err()
        };
        assert!(matches!(refused(&"x".repeat(90)), Error::SocketPath { .. }));
        assert!(matches!(refused("a,b"), Error::SocketComma { .. }));
    }

    #[test]
    fn the_reason_is_what_is_fatal_and_not_what_follows_it() {
        let full = "initdb: warning: x\n2026-11-21 17:00:00 UTC [7] FATAL:  could not write to file \"a\": No space left on device\n\
            child process exited with exit code 1\ninitdb: removing contents of data directory \"/data\"\n";
        assert_eq!(reason(full), "could not write to file \"a\": No space left on device");
        let log = "LOG:  starting\n[8] FATAL:  could not load server certificate file\n[8] LOG:  database system is shut down\n";
        assert_eq!(reason(log), "could not load server certificate file");
        assert_eq!(reason("initdb: error: could not create directory\n\n"), "could not create directory");
        assert_eq!((reason("a\nb\n\n"), reason("")), ("b", "nothing"));
    }
}
