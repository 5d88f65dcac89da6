//! `config show`: which options hold, and where each comes from.

use std::fmt;

use backstay_postgres::target::Dsn;
use clap::{Args, CommandFactory as _, Subcommand};
use serde::Serialize;

use crate::args::Cli;
use crate::config::{Origin, Settings, Table, variable};
use crate::failure::Result;
use crate::keys::is_key;
use crate::output::Output;
use crate::run::Status;

const FILES: &str = "\
Options are looked up on the command line, then in the variables BACKSTAY_<OPTION>, then in the
chosen [profile.NAME] of the files, then at the top of the files. Files are
/etc/backstay/backstay.toml, /etc/backstay/conf.d/*.toml, and the same in ~/.config/backstay
($XDG_CONFIG_HOME/backstay); later ones win. --config FILE is read instead of all of them. The option
--part-size is the key part_size there, and the variable BACKSTAY_PART_SIZE:

  store = \"s3://bucket/pg\"
  recipient = [\"age1…\", \"age1…\"]

  [profile.shop]
  name = \"shop\"
  min_size = \"10MiB\"

  [profile.offsite]
  store = \"s3://other/pg\"
  endpoint_url = \"https://s3.example.org\"
  aws_profile = \"offsite\"

The last one is a store too: `backup --also offsite` and `copy --to offsite` reach it as
`-p offsite` does, whatever variables and the command line say of the first store.

Several values in a variable are separated by commas. Of two options of which one takes the place of the
other, the one from the stronger place holds: --no-encryption on the command line goes before a
recipient in a file, and `-- COMMAND` before BACKSTAY_TO_DB. Others that exclude each other are an
error wherever they stand: a second store, a spool or a check is never dropped in silence. What one
has to be sure of and what makes something else of a verb (--yes, --no-encryption, --resume, --pg-dump,
--sums, --all and the like) counts on the command line only.

Passwords and keys in values, where they do not belong, are shown as “…”.";

/// Show the configuration
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = FILES)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
}

/// Print the options that are set, as a configuration file would have them
#[derive(Debug, Args)]
#[command(after_help = FILES)]
struct Show {
    /// Say where each value comes from, and list the options that nobody set too
    #[arg(long)]
    origin: bool,
}

impl Config {
    pub(crate) fn run(&self, settings: &Settings, output: &Output) -> Result<Status> {
        let Action::Show(show) = &self.action;
        let table = Table::of(&Cli::command());
        let mut options = Vec::new();
        for (key, known) in table.iter() {
            // The switch of this very verb is not configuration.
            if key == "origin" {
                continue;
            }
            let (values, origin) = match settings.get(key) {
                Some(setting) => (setting.values.clone(), setting.origin.clone()),
                None if show.origin => (known.default.iter().cloned().collect(), Origin::Default),
                None => continue,
            };
            let values: Vec<_> = values.iter().map(|value| without_secrets(key, value)).collect();
            let value = known.as_toml(&values);
            options.push(OneOption {
                key: key.to_owned(),
                variable: variable(key),
                values,
                origin: origin.to_string(),
                value,
            });
        }
        let files = settings.files.iter().map(|path| path.display().to_string()).collect();
        let shown = Shown { files, profile: settings.profile.clone(), options, with_origin: show.origin };
        output.result("config", &shown)?;
        Ok(0)
    }
}

/// A value as it may be shown: what should not be there, a password or a key, is not passed on to logs and colleagues.
fn without_secrets(key: &str, value: &str) -> String {
    const HIDDEN: &str = "…";
    match key {
        "to_db" | "dsn" if Dsn::parse(value).is_err() => HIDDEN.to_owned(),
        "identity" | "recipient" | "recipients_file" | "passphrase_file" | "raw_key" | "sign_key" if is_key(value) => {
            HIDDEN.to_owned()
        }
        "store" | "endpoint_url" | "also" | "to" if value.contains("://") => backstay_store::without_secrets(value),
        _ => value.to_owned(),
    }
}

/// One option as it is printed.
#[derive(Debug, Serialize)]
struct OneOption {
    key: String,
    variable: String,
    values: Vec<String>,
    origin: String,
    /// As TOML; `None` when it has no value.
    #[serde(skip)]
    value: Option<String>,
}

/// All of them.
#[derive(Debug, Serialize)]
struct Shown {
    files: Vec<String>,
    profile: Option<String>,
    options: Vec<OneOption>,
    #[serde(skip)]
    with_origin: bool,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "# read: {file}")?;
        }
        if let Some(profile) = &self.profile {
            writeln!(f, "# profile: {profile}")?;
        }
        for option in &self.options {
            let line = match &option.value {
                Some(value) => format!("{} = {value}", option.key),
                None => format!("# {} is not set", option.key),
            };
            match (&option.value, self.with_origin) {
                (Some(_), true) => writeln!(f, "{line}  # {}", option.origin)?,
                _ => writeln!(f, "{line}")?,
            }
        }
        Ok(())
    }
}
