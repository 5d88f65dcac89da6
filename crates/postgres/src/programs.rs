//! PostgreSQL's programs on this machine: where they are, and of which version.
//!
//! A newer psql speaks to older servers and a newer pg_restore reads older dumps, never the other way round. So of several versions the
//! newest is taken, unless the user names a directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::fault::{Fault, Result};
use crate::version::Version;

/// Programs that speak to a server.
pub const CLIENT: [&str; 1] = ["psql"];
/// The same for dumps in pg_dump's own format.
pub const CLIENT_OF_ARCHIVES: [&str; 2] = ["psql", "pg_restore"];
/// Programs that are a server, and their clients.
pub const SERVER: [&str; 4] = ["postgres", "initdb", "psql", "pg_restore"];

/// Where distributions put one directory for each version, outside the PATH: the folder, how its entries begin, and what is in them.
const INSTALLED: [(&str, &str, &str); 2] = [("/usr/lib/postgresql", "", "bin"), ("/usr", "pgsql-", "bin")];

/// A directory of programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// Where they are.
    pub dir: PathBuf,
    /// Of which version.
    pub version: Version,
}

impl Programs {
    /// The newest directory that has all of `wanted`, in `given` alone or, without it, on the PATH and where distributions put them.
    ///
    /// # Errors
    /// `target.programs` when there is none, or only one of a release older than `at_least`.
    pub async fn find(given: Option<&Path>, wanted: &[&str], at_least: Option<Version>) -> Result<Programs> {
        let mut newest: Option<Programs> = None;
        let places = given.map_or_else(places, |dir| vec![dir.to_owned()]);
        for dir in places {
            let has_all = wanted.iter().all(|program| is_executable(&dir.join(program)));
            let Some(version) = (if has_all { version(&dir.join(wanted[0])).await } else { None }) else { continue };
            if newest.as_ref().is_none_or(|newest| newest.version < version) {
                newest = Some(Programs { dir, version });
            }
        }
        let described = |found: String| Fault::NoPrograms {
            programs: wanted.join(", "),
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

    /// The path of one of them.
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
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

    fn find(dir: &Path, wanted: &[&str], at_least: Option<&str>) -> Result<Programs> {
        let least = at_least.and_then(Version::parse);
        tokio::runtime::Runtime::new().unwrap().block_on(Programs::find(Some(dir), wanted, least))
    }

    #[test]
    fn a_directory_counts_when_it_has_every_program_and_is_new_enough() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, "#!/bin/sh\necho 'psql (PostgreSQL) 15.20'\n").unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(matches!(find(dir.path(), &CLIENT, None), Err(Fault::NoPrograms { .. })));
        make("psql", 0o644);
        assert!(find(dir.path(), &CLIENT, None).is_err());
        make("psql", 0o755);
        assert_eq!(find(dir.path(), &CLIENT, Some("15.99")).unwrap().version.to_string(), "15.20");
        let old = find(dir.path(), &CLIENT, Some("16.0")).unwrap_err().to_string();
        assert!(old.contains("16.0 or newer) are not in") && old.contains("the newest are 15.20"), "{old}");
        assert!(find(dir.path(), &CLIENT_OF_ARCHIVES, None).is_err());
    }
}
