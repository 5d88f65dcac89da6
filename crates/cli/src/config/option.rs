//! The table of options, read off the command line's definition.
//!
//! An argument with a long name `--part-size` is the option `part_size` of configuration files and the variable
//! `BACKSTAY_PART_SIZE`. Options of the same name mean the same in every command, which a test holds them to.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command};

/// Options that only the moment decides: which file and which part of it to read.
const NOT_IN_FILES: [&str; 2] = ["config", "profile"];
/// What counts on the command line alone.
const SPELLED_OUT: [&str; 26] = [
    // That one is sure: a variable that somebody exported once would disarm every dry run.
    "yes",
    "force",
    "whole",
    "into_used",
    "any_version",
    "restart",
    "replace",
    // What everybody may read then: a variable of some test must not make it of the next backup.
    "no_encryption",
    // What is backed up: a profile's database must not be what comes of somebody's pipe.
    "pg_dump",
    "pg_dumpall",
    // That the verb does something else than what it is called: send and back up nothing, list and check nothing.
    "resume",
    "sums",
    "join",
    "to_format",
    "reencrypt",
    "repair",
    "document",
    "signing",
    // On what: all that there is, the key instead of an archive, or not the members.
    "all",
    "after_id",
    "key",
    "keep_members",
    // That not the whole content comes out, or another form of it, or without what vouches for it.
    "range",
    "raw",
    "pg_table",
    "no_manifest",
];
/// Groups of options and positional arguments of which one takes the place of another: who names a raw key on the command line does not mean
/// the recipients of a file. Of any others that exclude each other neither is dropped.
const ALTERNATIVES: [&[&str]; 10] = [
    &[
        "recipient",
        "recipients_file",
        "passphrase_file",
        "passphrase_command",
        "ask_passphrase",
        "raw_key",
        "no_encryption",
    ],
    &["require_trailer", "no_require_trailer"],
    &["output", "to_db", "command"],
    &["command", "dsn", "pg_bin", "scratch_dir", "pg_user", "pg_set"],
    &["to", "repair"],
    &["range", "raw", "to_db"],
    &["sums", "depth"],
    &["sums", "record"],
    &["objects", "document"],
    &["verbose", "quiet"],
];

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: it is on or off.
    Switch,
    /// Nothing: it counts how often it is given.
    Count,
    /// One value.
    One,
    /// Values, one each time it is given.
    Many,
}

/// One option.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) kind: Kind,
    /// What it has when nobody sets it.
    pub(crate) default: Option<String>,
    parser: ValueParser,
}

/// All options by their name in files.
#[derive(Debug)]
pub(crate) struct Table(BTreeMap<String, Known>);

/// The variable of an option.
pub(crate) fn variable(key: &str) -> String {
    format!("BACKSTAY_{}", key.to_ascii_uppercase())
}

impl Table {
    /// The options of a command and of all its subcommands.
    pub(crate) fn of(command: &Command) -> Table {
        let mut table = BTreeMap::new();
        collect(command, &mut table);
        Table(table)
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Known> {
        self.0.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.0.iter().map(|(key, known)| (key.as_str(), known))
    }

    /// Option names, as files have them.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The option of this name, if files may have it.
    pub(crate) fn in_files(&self, key: &str) -> Option<&Known> {
        self.get(key).filter(|_| !NOT_IN_FILES.contains(&key) && !SPELLED_OUT.contains(&key))
    }

    /// Whether an option counts on the command line alone.
    pub(crate) fn must_be_spelled_out(&self, key: &str) -> bool {
        SPELLED_OUT.contains(&key)
    }
}

/// Two arguments of a command, options or positional ones, that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rivals(pub(crate) String, pub(crate) String);

impl Rivals {
    /// What excludes what in a command itself; its subcommands have their own.
    pub(crate) fn of(command: &Command) -> BTreeSet<Rivals> {
        let pair = |arg: &Arg, rival: &Arg| {
            let (one, other) = (arg.get_id().to_string(), rival.get_id().to_string());
            // `a` says that it excludes `b`; so `b` excludes `a`.
            if one < other { Rivals(one, other) } else { Rivals(other, one) }
        };
        let of = |arg| command.get_arg_conflicts_with(arg).into_iter().map(move |rival| pair(arg, rival));
        command.get_arguments().flat_map(of).collect()
    }

    /// Whether one of them takes the place of the other.
    pub(crate) fn are_alternatives(&self) -> bool {
        ALTERNATIVES.iter().any(|group| group.contains(&self.0.as_str()) && group.contains(&self.1.as_str()))
    }
}

impl Known {
    /// Its values as a configuration file has them; `None` when there are none.
    pub(crate) fn as_toml(&self, values: &[String]) -> Option<String> {
        let quoted = |value: &String| toml::Value::from(value.as_str()).to_string();
        match (self.kind, values) {
            (_, []) => None,
            (Kind::Many, values) => Some(format!("[{}]", values.iter().map(quoted).collect::<Vec<_>>().join(", "))),
            (Kind::Switch, [value, ..]) => Some(value.clone()),
            (Kind::Count | Kind::One, [value, ..]) => {
                Some(if value.parse::<i64>().is_ok() { value.clone() } else { quoted(value) })
            }
        }
    }

    /// The values to choose from, where they are few.
    #[cfg(test)]
    pub(crate) fn possible_values(&self) -> Vec<String> {
        self.parser.possible_values().into_iter().flatten().map(|value| value.get_name().to_owned()).collect()
    }

    /// Why `value` is not one for this option, as the command line itself would say.
    pub(crate) fn refuse(&self, value: &str) -> Option<String> {
        let action = if self.kind == Kind::Count { ArgAction::Count } else { ArgAction::Set };
        if self.kind == Kind::Count {
            return value.parse::<u8>().err().map(|_| "it is not a number from 0 to 255".to_owned());
        }
        let arg = Arg::new("value").action(action).value_parser(self.parser.clone()).allow_hyphen_values(true);
        let command =
            Command::new("option").no_binary_name(true).disable_help_flag(true).disable_version_flag(true).arg(arg);
        let error = command.try_get_matches_from(["--", value]).err()?;
        let one_of = match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(names)) if !names.is_empty() => {
                Some(format!("it is not one of {}", names.join(", ")))
            }
            _ => None,
        };
        Some(one_of.or_else(|| error.source().map(ToString::to_string)).unwrap_or_else(|| "it is not valid".to_owned()))
    }
}

fn collect(command: &Command, table: &mut BTreeMap<String, Known>) {
    for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
        let kind = match arg.get_action() {
            ArgAction::SetTrue => Kind::Switch,
            ArgAction::Count => Kind::Count,
            ArgAction::Append => Kind::Many,
            ArgAction::Set => Kind::One,
            // Help and version do something instead of setting something.
            _ => continue,
        };
        let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
        let parser = arg.get_value_parser().clone();
        let known = table.entry(arg.get_id().to_string());
        let known = known.or_insert_with(|| Known { kind, default: default.clone(), parser });
        debug_assert_eq!((known.kind, &known.default), (kind, &default), "{} differs between commands", arg.get_id());
    }
    for command in command.get_subcommands() {
        collect(command, table);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    fn every_argument(command: &Command, see: &mut impl FnMut(&Command, &Arg)) {
        for arg in command.get_arguments() {
            see(command, arg);
        }
        for command in command.get_subcommands() {
            every_argument(command, see);
        }
    }

    #[test]
    fn the_definition_is_one_that_clap_accepts() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_listed_by_name_exists() {
        let mut names = BTreeSet::new();
        let mut excluding = BTreeSet::new();
        every_argument(&Cli::command(), &mut |command, arg| {
            names.insert(arg.get_id().to_string());
            excluding.extend(Rivals::of(command));
        });
        for name in NOT_IN_FILES.iter().chain(&SPELLED_OUT).chain(ALTERNATIVES.into_iter().flatten()) {
            assert!(names.contains(*name), "{name}");
        }
        for group in ALTERNATIVES {
            assert!(excluding.iter().any(|Rivals(one, other)| group.contains(&&**one) && group.contains(&&**other)));
        }
    }

    /// Options that texts name and other programs have, or none.
    const OF_OTHERS: [&str; 3] = ["armor", "option", "scope"];

    /// The options that a text names.
    fn named(text: &str) -> BTreeSet<String> {
        let option = regex::Regex::new(r"(?:^|[^\w-])--([a-z][a-z0-9-]*)").unwrap();
        option.captures_iter(text).map(|found| found[1].to_owned()).collect()
    }

    fn sources(folder: &Path, see: &mut impl FnMut(&Path, String)) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, see);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                see(&path, fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn each_option_that_a_message_or_the_page_of_errors_names_exists() {
        let mut options: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
        every_argument(&Cli::command(), &mut |_, arg| options.extend(arg.get_long().map(str::to_owned)));
        options.extend(OF_OTHERS.map(str::to_owned));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let errors = fs::read_to_string(root.join("../spec/errors.md")).unwrap();
        let mut found = named(&errors);
        assert!(found.is_subset(&options), "errors.md: {:?}", found.difference(&options));
        let literal = regex::Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)""#).unwrap();
        for package in ["backstay", "cli", "format", "postgres", "store"] {
            sources(&root.join(package).join("src"), &mut |path, text| {
                let text = text.split("#[cfg(test)]").next().unwrap().replace("'\"'", "");
                // Comments that are no documentation are nobody's to read but ours; documentation of options is their help.
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code: String = lines.flat_map(|line| [line, "\n"]).collect();
                let help = text.lines().filter(|line| package == "cli" && line.trim_start().starts_with("///"));
                // A word by itself is an argument for another program.
                let literals = literal.captures_iter(&code).map(|found| found[1].to_owned());
                let texts = literals.filter(|text| text.contains(char::is_whitespace)).chain(help.map(str::to_owned));
                for text in texts {
                    let names = named(&text);
                    assert!(names.is_subset(&options), "{}: {text}", path.display());
                    found.extend(names);
                }
            });
        }
        // It is the texts that were looked at.
        assert!(found.len() > 80 && found.contains("pbkdf2-iter") && found.contains("require-seal"), "{found:?}");
    }

    /// Whoever exported a variable for one run is not to be without a second store, a spool or a check in the next.
    #[test]
    fn what_protects_a_backup_gives_way_to_nothing() {
        let pair = |one: &str, other: &str| Rivals(one.to_owned(), other.to_owned());
        for protection in
            ["also", "spool", "require_trailer", "sign_key", "detached_keys", "atomic", "assert", "expect", "check"]
        {
            let mut pairs = 0;
            every_argument(&Cli::command(), &mut |command, _| {
                for rivals in Rivals::of(command) {
                    let is_taken_back = rivals == pair("no_require_trailer", "require_trailer");
                    if (rivals.0 == protection || rivals.1 == protection) && !is_taken_back {
                        pairs += 1;
                        assert!(!rivals.are_alternatives(), "{rivals:?}");
                    }
                }
            });
            assert!(pairs > 0, "{protection}");
        }
    }

    #[test]
    fn an_option_has_the_same_name_in_every_place() {
        every_argument(&Cli::command(), &mut |_, arg| {
            if let Some(long) = arg.get_long() {
                assert_eq!(arg.get_id().as_str(), long.replace('-', "_"));
            }
        });
    }

    #[test]
    fn an_option_takes_the_same_values_in_every_command() {
        let mut seen = BTreeMap::new();
        every_argument(&Cli::command(), &mut |command, arg| {
            if arg.get_long().is_none() {
                return;
            }
            let names: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            let shape = (format!("{:?}", arg.get_action()), names, arg.get_default_values().to_vec());
            let first = seen.entry(arg.get_id().to_string()).or_insert_with(|| shape.clone());
            assert_eq!(*first, shape, "--{} of {}", arg.get_id(), command.get_name());
        });
    }

    #[test]
    fn a_value_is_refused_for_the_reason_that_the_command_line_gives() {
        let table = Table::of(&Cli::command());
        let refuse = |key: &str, value: &str| table.get(key).unwrap().refuse(value);
        assert_eq!(refuse("memory", "64MiB"), None);
        assert!(refuse("memory", "64 parsecs").unwrap().contains("size"));
        assert_eq!(refuse("progress", "sometimes").unwrap(), "it is not one of auto, always, never");
        assert_eq!(refuse("level", "-3"), None);
        assert!(refuse("verbose", "-1").is_some());
    }
}
