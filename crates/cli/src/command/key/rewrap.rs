//! `key rewrap`: further keys for an archive that exists.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::args::select::Selected;
use crate::args::unlock::Unlock;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay key rewrap latest -i key.txt -r age1…
  backstay key rewrap latest -i key.txt --new-passphrase-file new.txt

The archive's parts are not touched: a small object with the new slot is put beside them. Keys that
could open the archive before still can: their slots are in every part.";

/// Let further keys open an archive
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rewrap {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    unlock: Unlock,
    /// A public key that may open it too; can be given several times
    // See `backup`.
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true, help_heading = "New keys")]
    recipient: Vec<String>,
    /// All public keys in this file
    #[arg(short = 'R', long, value_name = "FILE", help_heading = "New keys")]
    recipients_file: Vec<PathBuf>,
    /// A passphrase, the first line of this file, that may open it too
    #[arg(long, value_name = "FILE", help_heading = "New keys")]
    new_passphrase_file: Option<PathBuf>,
}

impl Rewrap {
    pub(super) async fn run(self, session: &Session) -> Result<Status> {
        let recipients = keys::recipients(&self.recipient, &self.recipients_file, &session.output)?;
        let passphrase = self.new_passphrase_file.as_deref().map(keys::passphrase_in).transpose()?;
        if recipients.is_empty() && passphrase.is_none() {
            let failure = Failure::new("usage.recipient", "it is not said who may open the archive");
            return Err(failure.with_hint("give a public key with -r or -R, or a --new-passphrase-file"));
        }
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let id = self.selected.find(&store).await?;
        let created = backstay::rewrap::rewrap(&store, &id, &keyring, &recipients, passphrase.as_ref()).await?;
        session
            .output
            .note(&format!("{id} can be opened with the new keys: {}", count(created.len() as u64, "new object")));
        session.output.result("rewrapped", &Created { id: id.to_string(), created })?;
        Ok(0)
    }
}

/// The objects that were made.
#[derive(Debug, Serialize)]
struct Created {
    id: String,
    created: Vec<String>,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.created.iter().try_for_each(|name| writeln!(f, "{name}"))
    }
}
