//! Flag, environment, file: where each option's value comes from.
//!
//! There is one table of options, and it is the command line's own definition (see [`option`]). The environment and the
//! files are looked up in it and become *defaults* of the same arguments before the command line is parsed for good, so
//! that a value means the same wherever it is written, and no option can exist in one place and be missing in another.

mod environment;
mod file;
mod option;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Global};
use crate::failure::{Failure, Result};

use option::Rivals;
pub(crate) use option::{Table, variable};
pub(crate) use place::Places;

/// Where a value was found, the weakest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Nowhere: the program's own.
    Default,
    /// Outside any profile of a file.
    File(PathBuf),
    /// In a profile of a file.
    Profile(PathBuf, String),
    /// In this variable.
    Environment(String),
    /// On the command line.
    CommandLine,
}

impl Origin {
    /// Values of one rank stand beside each other; of two ranks the higher one wins.
    fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File(_) => 1,
            Origin::Profile(..) => 2,
            Origin::Environment(_) => 3,
            Origin::CommandLine => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Profile(path, profile) => write!(f, "{} [profile.{profile}]", path.display()),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

impl Origin {
    /// How to do without an option that stands there.
    fn without(&self, key: &str) -> String {
        match self {
            Origin::Environment(variable) => format!("unset {variable}"),
            Origin::File(_) | Origin::Profile(..) => {
                format!("take `{key}` out of {self}, or name another file with --config")
            }
            Origin::Default | Origin::CommandLine => format!("leave `{key}` out"),
        }
    }
}

/// An option's values and where they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) values: Vec<String>,
    pub(crate) origin: Origin,
}

/// What holds for this run.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    set: BTreeMap<String, Setting>,
    /// The profile in force.
    pub(crate) profile: Option<String>,
    /// The files that were read, the weakest first.
    pub(crate) files: Vec<PathBuf>,
    /// What the user should know, one sentence each.
    pub(crate) warnings: Vec<String>,
    /// What the files say, for the profiles that a run names beside its own.
    read: Vec<file::File>,
}

impl Settings {
    /// Collects what the command line, the environment and the files say.
    ///
    /// `matches` is the command line, parsed by `command` once without any of the others.
    pub(crate) fn resolve(
        table: &Table,
        command: &Command,
        matches: &ArgMatches,
        environment: &[(OsString, OsString)],
    ) -> Result<Settings> {
        let Given { options: given, positional, rivals } = Given::of(table, command, matches);
        let (variables, mut warnings) = environment::read(table, environment)?;
        let single =
            |key: &str| given.get(key).or(variables.get(key)).and_then(|setting| setting.values.first().cloned());
        let places = Places::standard(environment, single("config").map(PathBuf::from));
        let files = places.files()?;
        let mut read = Vec::new();
        for path in &files {
            read.push(file::read(table, path)?);
        }
        let profile = single("profile");
        let mut set = file::layered(&read, profile.as_deref())?;
        let named = given.contains_key("profile");
        let of_profile: BTreeMap<String, Setting> =
            set.clone().into_iter().filter(|(_, setting)| matches!(setting.origin, Origin::Profile(..))).collect();
        for stronger in [variables, given] {
            set.extend(stronger);
        }
        let set = exclude(&rivals, &positional, set)?;
        warnings.extend(
            profile.iter().filter(|_| named).flat_map(|profile| overridden(profile, &of_profile, &set, &rivals)),
        );
        Ok(Settings { set, profile, files, warnings, read })
    }

    /// The command with everything that the command line left open filled in.
    pub(crate) fn fill(&self, command: Command) -> Command {
        let command = command.mut_args(|arg| match self.set.get(arg.get_id().as_str()) {
            Some(setting) if setting.origin != Origin::CommandLine => arg.default_values(setting.values.clone()),
            _ => arg,
        });
        command.mut_subcommands(|command| self.fill(command))
    }

    /// What the files say for another profile, and nothing of what this run's command line, environment and profile say; `None`
    /// when no file has it.
    pub(crate) fn of_profile(&self, name: &str) -> Result<Option<Settings>> {
        if !self.read.iter().any(|file| file.has(name)) {
            return Ok(None);
        }
        let set = exclude(&Rivals::of(&Cli::command()), &BTreeMap::new(), file::layered(&self.read, Some(name))?)?;
        Ok(Some(Settings { set, profile: Some(name.to_owned()), ..Settings::default() }))
    }

    /// The options that all verbs share, as these settings have them.
    pub(crate) fn global(&self) -> Result<Global> {
        let wrong = |error: clap::Error| Failure::new("usage.config", error.to_string());
        // Any verb would do.
        let matches = self.fill(Cli::command()).try_get_matches_from(["backstay", "list"]).map_err(wrong)?;
        Cli::from_arg_matches(&matches).map(|cli| cli.global).map_err(wrong)
    }

    /// The setting of an option, if anybody set it.
    pub(crate) fn get(&self, key: &str) -> Option<&Setting> {
        self.set.get(key)
    }

    /// Whether an option was given on the command line.
    pub(crate) fn is_spelled_out(&self, key: &str) -> bool {
        self.get(key).is_some_and(|setting| setting.origin == Origin::CommandLine)
    }
}

/// What stands on the command line itself.
#[derive(Debug, Default)]
struct Given {
    options: BTreeMap<String, Setting>,
    /// Arguments without a name, as help calls them.
    positional: BTreeMap<String, String>,
    /// What excludes what in the verb.
    rivals: BTreeSet<Rivals>,
}

impl Given {
    fn of(table: &Table, command: &Command, matches: &ArgMatches) -> Given {
        let mut given = Given::default();
        let mut level = Some((command, matches));
        while let Some((command, matches)) = level {
            let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
            for id in matches.ids().map(clap::Id::as_str).filter(|id| table.contains(id) && is_given(id)) {
                let values =
                    matches.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned());
                let values: Vec<_> = values.collect();
                // A switch has no value on the command line.
                let values = if values.is_empty() { vec!["true".to_owned()] } else { values };
                given.options.insert(id.to_owned(), Setting { values, origin: Origin::CommandLine });
            }
            for arg in command.get_positionals().filter(|arg| is_given(arg.get_id().as_str())) {
                let shown = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
                given.positional.insert(arg.get_id().to_string(), shown.unwrap_or_default());
            }
            given.rivals.extend(Rivals::of(command));
            level = matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)));
        }
        given
    }
}

/// What a profile says, and variables say otherwise. Whoever names a profile on the command line means what stands in it, and a variable that stands
/// before it may be one of yesterday's.
fn overridden(
    profile: &str,
    of_profile: &BTreeMap<String, Setting>,
    set: &BTreeMap<String, Setting>,
    rivals: &BTreeSet<Rivals>,
) -> Vec<String> {
    let variable = |setting: &Setting| match &setting.origin {
        Origin::Environment(variable) => Some(variable.clone()),
        _ => None,
    };
    let instead = |key: &str, own: &Setting| match set.get(key) {
        Some(setting) => variable(setting).filter(|_| setting.values != own.values),
        // Another option has taken its place.
        None => rivals.iter().find_map(|Rivals(one, other)| match (one == key, other == key) {
            (true, _) => set.get(other).and_then(variable),
            (_, true) => set.get(one).and_then(variable),
            _ => None,
        }),
    };
    let told = |(key, own): (&String, &Setting)| {
        let variable = instead(key, own)?;
        Some(format!(
            "the variable {variable} stands before `{key}` of the profile `{profile}`, which -p names: unset it if the profile is meant"
        ))
    };
    of_profile.iter().filter_map(told).collect()
}

/// Of options that exclude each other the one from the stronger place stays, where it takes the other's place, and nothing is stronger than what stands on
/// the command line. From places of one rank, or where the weaker one would be dropped without anything in its place, that is an error:
/// somebody relies on that second store or that check.
fn exclude(
    rivals: &BTreeSet<Rivals>,
    positional: &BTreeMap<String, String>,
    mut set: BTreeMap<String, Setting>,
) -> Result<BTreeMap<String, Setting>> {
    let origin = |key: &str| match positional.contains_key(key) {
        true => Some(Origin::CommandLine),
        false => set.get(key).filter(|setting| setting.values != ["false"]).map(|setting| setting.origin.clone()),
    };
    let shown = |key: &str, origin: &Origin| match (positional.get(key), origin) {
        (Some(name), _) => format!("{name} (command line)"),
        (None, Origin::CommandLine) => format!("--{} (command line)", key.replace('_', "-")),
        (None, origin) => format!("`{key}` ({origin})"),
    };
    let mut silenced = Vec::new();
    for pair in rivals {
        let Rivals(one, other) = pair;
        let (Some(of_one), Some(of_other)) = (origin(one), origin(other)) else { continue };
        let (weak, of_weak) = if of_one.rank() < of_other.rank() { (one, &of_one) } else { (other, &of_other) };
        if *of_weak == Origin::CommandLine {
            // The command line's own conflicts are clap's to report.
            continue;
        }
        if of_one.rank() != of_other.rank() && pair.are_alternatives() {
            silenced.push(weak.clone());
            continue;
        }
        let code = match of_one == Origin::CommandLine || of_other == Origin::CommandLine {
            true => "usage.arguments",
            false => "usage.config",
        };
        let message = format!("{} and {} exclude each other", shown(one, &of_one), shown(other, &of_other));
        return Err(Failure::new(code, message).with_hint(of_weak.without(weak)));
    }
    for key in silenced {
        set.remove(&key);
    }
    Ok(set)
}

/// The name that was most likely meant.
pub(crate) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
