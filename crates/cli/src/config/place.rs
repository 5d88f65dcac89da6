//! Where configuration files are looked for.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// The places of configuration files.
#[derive(Debug)]
pub(crate) struct Places {
    /// Directories with a `backstay.toml` and a `conf.d`, the weakest first.
    directories: Vec<PathBuf>,
    /// The file that is read instead.
    named: Option<PathBuf>,
}

impl Places {
    /// The system's directory and the user's, unless a file is named: then that one alone counts.
    pub(crate) fn standard(environment: &[(OsString, OsString)], named: Option<PathBuf>) -> Places {
        let variable = |name: &str| {
            environment
                .iter()
                .find(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| PathBuf::from(value))
        };
        let user = variable("XDG_CONFIG_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| Some(variable("HOME")?.join(".config")));
        let directories =
            std::iter::once(PathBuf::from("/etc/backstay")).chain(user.map(|user| user.join("backstay"))).collect();
        Places { directories, named }
    }

    #[cfg(test)]
    pub(super) fn of(directories: Vec<PathBuf>) -> Places {
        Places { directories, named: None }
    }

    /// The files that exist, the weakest first.
    ///
    /// # Errors
    /// `usage.config` when a named file is missing, or a directory cannot be read: to go on without a configuration that
    /// is there could mean to go on without its recipients.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        if let Some(named) = &self.named {
            return Ok(vec![named.clone()]);
        }
        let mut files = Vec::new();
        for directory in &self.directories {
            let main = directory.join("backstay.toml");
            if exists(&main)? {
                files.push(main);
            }
            files.extend(fragments(&directory.join("conf.d"))?);
        }
        Ok(files)
    }
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| unreadable(path, &error))
}

/// The `*.toml` files of a directory, by name.
fn fragments(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(directory, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new("usage.config", format!("the configuration {} cannot be read", path.display()))
        .because(error.to_string())
}
