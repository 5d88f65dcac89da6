//! One configuration file: TOML, options at the top, and `[profile.NAME]` tables with the same options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table as Toml, Value};

use super::option::{Kind, Known, Table};
use super::{Origin, Setting, nearest};
use crate::failure::{Failure, Result};

/// The options of one file, all of them checked.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    general: BTreeMap<String, Vec<String>>,
    profiles: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl File {
    pub(super) fn has(&self, profile: &str) -> bool {
        self.profiles.contains_key(profile)
    }
}

/// Reads a file.
///
/// # Errors
/// `usage.config`, naming the file and the line or key.
pub(super) fn read(table: &Table, path: &Path) -> Result<File> {
    let at = |what: String| Failure::new("usage.config", format!("the configuration {} {what}", path.display()));
    let text =
        std::fs::read_to_string(path).map_err(|error| at("cannot be read".to_owned()).because(error.to_string()))?;
    let mut toml: Toml = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        at(format!("is not valid TOML at line {line}")).because(error.message().to_owned())
    })?;
    let profiles = match toml.remove("profile") {
        None => Toml::new(),
        Some(Value::Table(profiles)) => profiles,
        // TOML could not have both `profile = "name"` and `[profile.name]` in one file.
        Some(_) => {
            return Err(at(
                "has `profile`, which is not a table; choose a profile with -p or BACKSTAY_PROFILE".to_owned()
            ));
        }
    };
    let general = options(table, path, None, toml)?;
    let mut checked = BTreeMap::new();
    for (name, profile) in profiles {
        let Value::Table(profile) = profile else {
            return Err(at(format!("has `profile.{name}`, which is not a table")));
        };
        checked.insert(name.clone(), options(table, path, Some(&name), profile)?);
    }
    Ok(File { path: path.to_owned(), general, profiles: checked })
}

fn options(table: &Table, path: &Path, profile: Option<&str>, toml: Toml) -> Result<BTreeMap<String, Vec<String>>> {
    let place = match profile {
        Some(profile) => format!("{} [profile.{profile}]", path.display()),
        None => path.display().to_string(),
    };
    let mut options = BTreeMap::new();
    for (key, value) in toml {
        let Some(known) = table.in_files(&key) else {
            let failure = Failure::new("usage.config", format!("{place} has the key `{key}`, which is not an option"));
            let names = table.keys().filter(|key| table.in_files(key).is_some());
            return Err(match nearest(&key, names) {
                Some(name) => failure.with_hint(format!("did you mean `{name}`?")),
                None => failure.with_hint("`backstay config show` lists the options"),
            });
        };
        let wrong = |why: &str| {
            Failure::new("usage.config", format!("{place} has a value for `{key}` that does not fit: {why}"))
        };
        options.insert(key.clone(), values(known, value).map_err(|why| wrong(&why))?);
    }
    Ok(options)
}

/// The value as the command line would have it.
fn values(known: &Known, value: Value) -> std::result::Result<Vec<String>, String> {
    let values = match (known.kind, value) {
        (Kind::Switch, Value::Boolean(on)) => return Ok(vec![on.to_string()]),
        (Kind::Switch, _) => return Err("it is neither true nor false".to_owned()),
        (Kind::Many, Value::Array(items)) => items.into_iter().map(scalar).collect::<Option<Vec<_>>>(),
        (_, value) => scalar(value).map(|value| vec![value]),
    };
    let values = values.ok_or_else(|| match known.kind {
        Kind::Many => "it is neither a text nor a list of texts".to_owned(),
        _ => "it is neither a text nor a number".to_owned(),
    })?;
    match values.iter().find_map(|value| known.refuse(value)) {
        Some(why) => Err(why),
        None => Ok(values),
    }
}

fn scalar(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Datetime(time) => Some(time.to_string()),
        _ => None,
    }
}

/// The options of all files: later files before earlier ones, the profile's before the general ones.
///
/// # Errors
/// `usage.config` when no file has the profile.
pub(super) fn layered(files: &[File], profile: Option<&str>) -> Result<BTreeMap<String, Setting>> {
    if let Some(profile) = profile
        && !files.iter().any(|file| file.has(profile))
    {
        let failure = Failure::new("usage.config", format!("no configuration file has the profile `{profile}`"));
        let names: Vec<_> = files.iter().flat_map(|file| file.profiles.keys()).map(String::as_str).collect();
        return Err(match nearest(profile, names.iter().copied()) {
            Some(name) => failure.with_hint(format!("did you mean `{name}`?")),
            None if names.is_empty() => failure.with_hint(
                "a profile is a table `[profile.NAME]`; `backstay config show` lists the files that are read",
            ),
            None => failure.with_hint(format!("the profiles are {}", names.join(", "))),
        });
    }
    let mut set = BTreeMap::new();
    for file in files {
        for (key, values) in &file.general {
            set.insert(key.clone(), Setting { values: values.clone(), origin: Origin::File(file.path.clone()) });
        }
    }
    for (file, name) in files.iter().filter_map(|file| Some((file, profile?))) {
        for (key, values) in file.profiles.get(name).into_iter().flatten() {
            let origin = Origin::Profile(file.path.clone(), name.to_owned());
            set.insert(key.clone(), Setting { values: values.clone(), origin });
        }
    }
    Ok(set)
}
