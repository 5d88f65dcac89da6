//! `key`: make keys, look at them, and change who can open an archive.

mod audit;
mod destroy;
mod export;
mod generate;
mod rewrap;
mod sheet;
mod show;

use clap::{Args, Subcommand};

use crate::failure::Result;
use crate::output::Output;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay key generate key.txt                    a new key; its public half is printed
  backstay key show key.txt                        the public half again
  backstay key rewrap latest -i key.txt -r age1…   let one more key open an archive
  backstay key audit -i key.txt                    which archives the key opens, and which it does not
  backstay key export --key key.txt --html -o sheet.html   a sheet of paper to restore with

An archive is encrypted for public keys (recipients) and opened with private ones (identities). Keep
identities where the backups are not: the host that writes backups needs only the public half.";

/// Make keys, look at them, and change who can open an archive
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Generate(generate::Generate),
    Show(show::Show),
    Rewrap(rewrap::Rewrap),
    Export(export::Export),
    Audit(audit::Audit),
    Destroy(destroy::Destroy),
}

impl Key {
    /// Runs what needs no store; `None` when it is something else.
    pub(crate) fn run_alone(&self, output: &std::sync::Arc<Output>) -> Option<Result<Status>> {
        match &self.action {
            Action::Generate(generate) => Some(generate.run(output)),
            Action::Show(show) => Some(show.run(output)),
            Action::Rewrap(_) | Action::Export(_) | Action::Audit(_) | Action::Destroy(_) => None,
        }
    }

    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        match self.action {
            Action::Generate(generate) => generate.run(&session.output),
            Action::Show(show) => show.run(&session.output),
            Action::Rewrap(rewrap) => rewrap.run(session).await,
            Action::Export(export) => export.run(session).await,
            Action::Audit(audit) => audit.run(session).await,
            Action::Destroy(destroy) => destroy.run(session).await,
        }
    }
}
