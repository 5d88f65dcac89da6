//! `explain`: what an error code means and what to do.

use std::fmt;

use backstay::codes::{self, Code};
use clap::Args;
use serde::Serialize;

use crate::config::nearest;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::run::Status;

const EXAMPLES: &str = "\
Examples:
  backstay explain segment.auth
  backstay explain ERR_BACKUP_CHECKSUM_MISMATCH
  backstay explain                                  all codes, one a line";

/// Explain an error code
///
/// Each failure has a code, which stands in brackets after `error`. The names ERR_BACKUP_… of other tools are understood
/// too; each stands for several codes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// The code, such as segment.auth; all of them when it is absent
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

impl Explain {
    pub(crate) fn run(&self, output: &Output) -> Result<Status> {
        let Some(given) = &self.code else {
            let all = codes::all().iter().map(Explained::from).collect();
            output.result("codes", &Codes { codes: all, brief: true })?;
            return Ok(0);
        };
        let wanted = given.trim().trim_start_matches("error[").trim_end_matches([']', ':']);
        let found = find(wanted);
        if found.is_empty() {
            let families = codes::all().iter().flat_map(families);
            let names = codes::all().iter().map(|row| row.code).chain(families);
            let failure = Failure::usage(format!("there is no error code `{wanted}`"));
            return Err(match nearest(wanted, names) {
                Some(name) => failure.with_hint(format!("did you mean `{name}`?")),
                None => failure.with_hint("`backstay explain` lists them"),
            });
        }
        output.result("codes", &Codes { codes: found.into_iter().map(Explained::from).collect(), brief: false })?;
        Ok(0)
    }
}

fn find(wanted: &str) -> Vec<&'static Code> {
    if let Some(row) = codes::find(&wanted.to_ascii_lowercase()) {
        return vec![row];
    }
    codes::all().iter().filter(|row| families(row).any(|family| family.eq_ignore_ascii_case(wanted))).collect()
}

fn families(row: &'static Code) -> impl Iterator<Item = &'static str> {
    row.family.split([' ', ',']).filter(|family| family.starts_with("ERR_"))
}

/// One code as it is printed.
#[derive(Debug, Serialize)]
struct Explained {
    code: &'static str,
    severity: &'static str,
    exit: u8,
    families: Vec<&'static str>,
    meaning: &'static str,
    advice: &'static str,
}

impl From<&'static Code> for Explained {
    fn from(row: &'static Code) -> Explained {
        let Code { code, severity, exit, meaning, advice, .. } = row;
        Explained { code, severity, exit: *exit, families: families(row).collect(), meaning, advice }
    }
}

/// Several.
#[derive(Debug, Serialize)]
struct Codes {
    codes: Vec<Explained>,
    #[serde(skip)]
    brief: bool,
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, code) in self.codes.iter().enumerate() {
            if self.brief {
                writeln!(f, "{:<26} {}", code.code, code.meaning)?;
                continue;
            }
            if position > 0 {
                writeln!(f)?;
            }
            let families = if code.families.is_empty() {
                String::new()
            } else {
                format!(", also known as {}", code.families.join(", "))
            };
            writeln!(f, "{} ({}, exit status {}{families})", code.code, code.severity.to_ascii_lowercase(), code.exit)?;
            writeln!(f, "  meaning: {}", code.meaning)?;
            writeln!(f, "  what to do: {}", code.advice)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Command, CommandFactory as _};

    use super::*;
    use crate::args::Cli;

    fn collect(command: &Command, options: &mut BTreeSet<String>) {
        options.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|verb| collect(verb, options));
    }

    #[test]
    fn every_option_that_a_row_names_is_there() {
        let mut options = BTreeSet::new();
        collect(&Cli::command(), &mut options);
        let mut seen = 0;
        for code in codes::all() {
            for text in [code.meaning, code.advice] {
                for option in text.split("--").skip(1) {
                    let end = option
                        .find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-')
                        .unwrap_or(option.len());
                    let option = &option[..end];
                    // What stands before a command.
                    if option.is_empty() {
                        continue;
                    }
                    assert!(options.contains(option), "{}: there is no --{option}", code.code);
                    seen += 1;
                }
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
