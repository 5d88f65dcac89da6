//! Where credentials come from: only from where each ecosystem puts them.

#[cfg(feature = "s3")]
pub(crate) mod aws;
#[cfg(feature = "azure")]
pub(crate) mod azure;
#[cfg(feature = "s3")]
mod process;
#[cfg(feature = "s3")]
mod profile;

#[cfg(feature = "s3")]
pub(crate) use process::ProcessError;

use std::collections::BTreeMap;
#[cfg(any(feature = "s3", feature = "gcs"))]
use std::path::Path;
use std::path::PathBuf;

/// The environment variables and the home directory that a store is opened with, taken once, so that no code below reads the process's.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    #[cfg_attr(not(any(feature = "s3", feature = "gcs")), expect(dead_code))]
    home: Option<PathBuf>,
}

impl Environment {
    /// This process's environment.
    #[must_use]
    pub fn current() -> Self {
        let variables: BTreeMap<_, _> =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        Self { variables, home: std::env::home_dir() }
    }

    /// An environment of these variables alone; `HOME` is the home directory.
    pub fn from_pairs<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables: BTreeMap<String, String> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let home = variables.get("HOME").map(PathBuf::from);
        Self { variables, home }
    }

    /// A variable's value; an empty one counts as not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The first of several variables that is set.
    #[cfg(any(feature = "s3", feature = "azure"))]
    pub(crate) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }

    #[cfg(any(feature = "s3", feature = "gcs"))]
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
