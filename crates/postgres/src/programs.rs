//! PostgreSQL's programs on this machine: where they are, and of which version.
//!
//! A newer program speaks to older servers and reads older dumps, never the other way round. What is loaded is loaded by the newest
//! that are here. What is dumped is dumped by those that are nearest to the server: a newer pg_dump writes what the server's own
//! pg_restore does not read. A directory that the user names is the only one.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, Result};
use crate::version::Version;

/// What programs are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Ask a server that is about to be dumped.
    Ask,
    /// Dump a database.
    Dump,
    /// Dump a whole server.
    DumpAll,
    /// Load text.
    Load,
    /// Load dumps in pg_dump's own format, and text.
    LoadArchive,
    /// Make a server, and load into it.
    Serve,
}

impl Need {
    /// The programs.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Need::Ask | Need::Load => &["psql"],
            Need::Dump => &["pg_dump", "psql"],
            Need::DumpAll => &["pg_dump", "pg_dumpall", "psql"],
            Need::LoadArchive => &["psql", "pg_restore"],
            Need::Serve => &["postgres", "initdb", "psql", "pg_restore"],
        }
    }

    /// Whether the server is where something comes from, not where it goes.
    pub fn is_source(self) -> bool {
        matches!(self, Need::Ask | Need::Dump | Need::DumpAll)
    }
}

/// Where distributions put one directory for each version, outside the PATH: the folder, how its entries begin, and what is in them.
const INSTALLED: [(&str, &str, &str); 2] = [("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin")];

/// A directory of programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Where they are.
    pub dir: PathBuf,
    /// Of which version: that of the oldest, if they differ.
    pub version: Version,
}

impl Programs {
    /// The newest, in `given` alone or, without it, on the PATH and where distributions put them.
    ///
    /// # Errors
    /// `source.programs` or `target.programs` when there are none, or only ones of a release older than `at_least`.
    pub async fn newest(given: Option<&Path>, need: Need, at_least: Option<Version>) -> Result<Programs> {
        let mut newest: Option<Programs> = None;
        for found in all(given, need).await {
            if newest.as_ref().is_none_or(|newest| newest.version < found.version) {
                newest = Some(found);
            }
        }
        let described = |found: String| Error::Programs {
            need,
            wanted: at_least.map_or("of any version".to_owned(), |version| format!("{version} or newer")),
            found,
        };
        let place = given.map_or("here".to_owned(), |dir| format!("in {}", dir.display()));
        match newest {
            None => Err(described(format!("are not all {place}"))),
            Some(found) if at_least.is_some_and(|least| found.version.is_older_release_than(least)) => {
                Err(described(format!("are not {place}: the newest are {} in {}", found.version, found.dir.display())))
            }
            Some(found) => Ok(found),
        }
    }

    /// Those of the oldest release that is not older than the server's.
    ///
    /// # Errors
    /// Those of [`Programs::newest`].
    pub async fn nearest(given: Option<&Path>, need: Need, server: Version) -> Result<Programs> {
        match nearest(all(given, need).await, server) {
            Some(found) => Ok(found),
            // Says what is there instead.
            None => Programs::newest(given, need, Some(server)).await,
        }
    }

    /// The path of one of them.
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
}

/// Of the oldest release that is not older than the server's the newest version, and of several the first.
fn nearest(found: Vec<Programs>, server: Version) -> Option<Programs> {
    let enough = found.into_iter().filter(|found| !found.version.is_older_release_than(server));
    enough.min_by_key(|found| (found.version.release(), Reverse(found.version)))
}

/// Every directory that has all programs.
async fn all(given: Option<&Path>, need: Need) -> Vec<Programs> {
    let mut found = Vec::new();
    'places: for dir in given.map_or_else(places, |dir| vec![dir.to_owned()]) {
        if !need.programs().iter().all(|program| is_executable(&dir.join(program))) {
            continue;
        }
        let mut oldest: Option<Version> = None;
        for program in need.programs() {
            let Some(version) = version(&dir.join(program)).await else { continue 'places };
            oldest = Some(oldest.map_or(version, |oldest| oldest.min(version)));
        }
        found.extend(oldest.map(|version| Programs { dir, version }));
    }
    found
}

/// The directories to look into: those of distributions first, since what they have on the PATH may be a wrapper that chooses by itself.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    for (parent, prefix, bin) in INSTALLED {
        let entries = std::fs::read_dir(parent).into_iter().flatten().filter_map(std::result::Result::ok);
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        places.extend(named.map(|entry| entry.path().join(bin)).filter(|dir| dir.is_dir()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path).filter(|dir| dir.is_absolute()));
    let mut seen = BTreeSet::new();
    places.retain(|dir| seen.insert(dir.clone()));
    places
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

async fn version(program: &Path) -> Option<Version> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    Version::of_program(&String::from_utf8_lossy(&output.stdout))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory whose programs say that they are of this version.
    fn directory(parent: &Path, name: &str, programs: &[(&str, &str)]) -> PathBuf {
        let dir = parent.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        for (program, version) in programs {
            let path = dir.join(program);
            std::fs::write(&path, format!("#!/bin/sh\necho '{program} (PostgreSQL) {version} (Debian)'\n")).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Runtime::new().unwrap().block_on(future)
    }

    #[test]
    fn a_directory_counts_when_it_has_every_program_and_is_new_enough() {
        let parent = tempfile::tempdir().unwrap();
        let find = |need, at_least: Option<&str>| {
            run(Programs::newest(Some(&parent.path().join("bin")), need, at_least.and_then(Version::parse)))
        };
        let dir = directory(parent.path(), "bin", &[]);
        assert_eq!(find(Need::Load, None).unwrap_err().code(), "target.programs");
        assert_eq!(find(Need::Ask, None).unwrap_err().code(), "source.programs");
        directory(parent.path(), "bin", &[("psql", "15.20")]);
        std::fs::set_permissions(dir.join("psql"), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(find(Need::Load, None).is_err(), "it cannot be executed");
        directory(parent.path(), "bin", &[("psql", "15.20")]);
        assert_eq!(find(Need::Load, Some("15.99")).unwrap().version.to_string(), "15.20");
        let old = find(Need::Load, Some("16.0")).unwrap_err().to_string();
        assert!(old.contains("16.0 or newer) are not in") && old.contains("the newest are 15.20"), "{old}");
        assert!(find(Need::LoadArchive, None).is_err());
    }

    #[test]
    fn a_server_is_dumped_by_the_programs_nearest_to_it() {
        let server = Version::parse("15.9").unwrap();
        let nearest = |versions: &[&str]| {
            let found = versions
                .iter()
                .map(|version| Programs { dir: version.into(), version: Version::parse(version).unwrap() });
            nearest(found.collect(), server).map(|found| found.dir.display().to_string())
        };
        assert_eq!(nearest(&["18.0", "14.9", "16.1", "17.5"]).unwrap(), "16.1");
        assert_eq!(nearest(&["18.0", "15.1", "15.3", "16.1"]).unwrap(), "15.3");
        assert_eq!(nearest(&["14.9", "9.6.24"]), None);
    }

    #[test]
    fn of_programs_that_differ_the_oldest_counts() {
        let parent = tempfile::tempdir().unwrap();
        let dir = directory(parent.path(), "bin", &[("psql", "17.1"), ("pg_dump", "13.9"), ("pg_dumpall", "17.1")]);
        let server = Version::parse("15.2").unwrap();
        let old = run(Programs::nearest(Some(&dir), Need::DumpAll, server)).unwrap_err();
        assert_eq!(old.code(), "source.programs");
        assert!(old.to_string().contains("15.2 or newer) are not in"), "{old}");
        assert!(run(Programs::newest(Some(&dir), Need::Ask, Some(server))).is_ok());
    }
}
