//! The command line: its verbs, and the options that all of them share.
//!
//! Options of one verb stand in that verb's file under [`crate::command`]; groups that several verbs share are in the
//! modules here. The definition is also that of the environment and of configuration files, see [`crate::config`].

pub(crate) mod creation;
pub(crate) mod format;
pub(crate) mod select;
pub(crate) mod unlock;
pub(crate) mod value;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::command;
use creation::NewObjects;
use value::{parse_cores, parse_duration, parse_size, parse_some_duration, parse_some_size};

const EXAMPLES: &str = "\
Examples:
  backstay key generate key.txt                            make a key; its public half is printed
  backstay -s /srv/backups backup -r age1… -- pg_dumpall   back up a PostgreSQL server
  backstay -s /srv/backups list                            what is there
  backstay -s /srv/backups verify latest -i key.txt        is it whole and readable
  backstay -s /srv/backups restore latest -i key.txt -- psql -X

Each option can also be set as a variable (BACKSTAY_STORE for --store, and so on) or in a
configuration file: `backstay help config show` tells how.";

/// Stream backups into object storage, and get them back.
///
/// Backstay takes a stream that must not be lost, such as the output of pg_dumpall, and stores it compressed and encrypted
/// as an archive that whoever has the key can verify and restore. An archive exists only once it is complete: when the
/// producer fails or the run is interrupted, nothing is recorded.
#[derive(Debug, Parser)]
#[command(name = "backstay", version, after_help = EXAMPLES, max_term_width = 100, subcommand_help_heading = "Verbs", subcommand_value_name = "VERB")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What Backstay does.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Backup(command::backup::Backup),
    #[command(visible_alias = "ls")]
    List(command::list::List),
    Show(command::show::Show),
    Restore(command::restore::Restore),
    Cat(command::cat::Cat),
    Verify(command::verify::Verify),
    Reassemble(command::reassemble::Reassemble),
    Copy(command::copy::Copy),
    Salvage(command::salvage::Salvage),
    Drill(command::drill::Drill),
    Prune(command::prune::Prune),
    Rm(command::rm::Rm),
    Hold(command::remark::Hold),
    Release(command::remark::Release),
    Note(command::remark::Note),
    Tag(command::remark::Tag),
    Gc(command::gc::Gc),
    Check(command::check::Check),
    Policy(command::policy::Policy),
    Key(command::key::Key),
    Explain(command::explain::Explain),
    Config(command::config::Config),
    Completions(command::completions::Completions),
    Man(command::man::Man),
}

/// What every verb takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where the archives are: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, file:///path or a path
    #[arg(short, long, global = true, value_name = "URL", help_heading = "Store")]
    pub(crate) store: Option<String>,
    /// The server to talk to, for stores other than the cloud's own
    #[arg(long, global = true, value_name = "URL", help_heading = "Store")]
    pub(crate) endpoint_url: Option<String>,
    /// The region of the store
    #[arg(long, global = true, value_name = "NAME", help_heading = "Store")]
    pub(crate) region: Option<String>,
    /// The profile of ~/.aws/config and ~/.aws/credentials to take credentials from
    #[arg(long, global = true, value_name = "NAME", help_heading = "Store")]
    pub(crate) aws_profile: Option<String>,
    /// The most bytes a second that are sent to stores of the network, such as 20MiB; all uploads share them [default: no limit]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_some_size, help_heading = "Store")]
    pub(crate) limit_upload: Option<u64>,
    /// The most bytes a second that are fetched from stores of the network [default: no limit]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_some_size, help_heading = "Store")]
    pub(crate) limit_download: Option<u64>,
    /// The most requests a second that are sent to stores of the network, repeated ones counted [default: no limit]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Store")]
    pub(crate) limit_requests: Option<u64>,
    /// How long a request that fails in passing is repeated; 0s is not at all
    #[arg(long, global = true, value_name = "TIME", default_value = "5m", value_parser = parse_duration, help_heading = "Store")]
    pub(crate) retry_for: Duration,
    /// How long a request may stand still, or move less than 1 KiB a second, until it is given up and repeated
    #[arg(long, global = true, value_name = "TIME", default_value = "60s", value_parser = parse_some_duration, help_heading = "Store")]
    pub(crate) stall_timeout: Duration,
    /// Believe the authorities whose certificates are in this file (PEM), beside those of the system
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true, help_heading = "Store")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Where requests to S3 name the bucket: in the path, or before the host's name [default: path with --endpoint-url, else virtual]
    #[arg(long, value_enum, global = true, value_name = "STYLE", hide_short_help = true, help_heading = "Store")]
    pub(crate) addressing_style: Option<AddressingStyle>,
    /// Say in each request that whoever asks pays for it; on Google the project is taken from GOOGLE_CLOUD_QUOTA_PROJECT
    #[arg(long, global = true, hide_short_help = true, help_heading = "Store")]
    pub(crate) requester_pays: bool,
    #[command(flatten)]
    pub(crate) objects: NewObjects,

    /// The [profile.NAME] of the configuration files to use
    #[arg(short, long, global = true, value_name = "NAME", help_heading = "General options")]
    pub(crate) profile: Option<String>,
    /// Read this configuration file instead of those in /etc/backstay and ~/.config/backstay
    #[arg(long, global = true, value_name = "FILE", help_heading = "General options")]
    pub(crate) config: Option<PathBuf>,
    /// Results as JSON on standard output, events as one JSON object a line on standard error
    #[arg(long, global = true, help_heading = "General options")]
    pub(crate) json: bool,
    /// The form of events and messages on standard error [default: text]
    #[arg(long, global = true, value_name = "FORM", help_heading = "General options")]
    pub(crate) log_format: Option<LogFormat>,
    /// Say more on standard error; -vv and -vvv say still more
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", help_heading = "General options")]
    pub(crate) verbose: u8,
    /// Say nothing but warnings, errors and results
    #[arg(short, long, global = true, help_heading = "General options")]
    pub(crate) quiet: bool,
    /// When to show progress: one line on a terminal, elsewhere a line a minute and one for each part; always means in spite of --quiet
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "General options")]
    pub(crate) progress: When,
    /// The memory that buffers may take
    #[arg(long, global = true, value_name = "SIZE", default_value = "128MiB", value_parser = parse_size, help_heading = "General options")]
    pub(crate) memory: u64,
    /// The processors to use [default: all]
    #[arg(long, global = true, value_name = "N", value_parser = parse_cores, help_heading = "General options")]
    pub(crate) cores: Option<usize>,
}

/// Where a request names the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AddressingStyle {
    Path,
    Virtual,
}

/// The form of what is written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// When something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}
