//! `key destroy`: an archive that nobody can open any more.

use std::fmt;

use backstay_format::ObjectName;
use backstay_format::key::Keyring;
use clap::Args;
use serde::Serialize;

use crate::args::select::Selected;
use crate::failure::Result;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay key destroy ID                          what would be deleted
  backstay key destroy ID --yes

Only archives written with --detached-keys can be destroyed in this way: the slots of others are in
every part. In a bucket with versioning the old versions of the keyboxes must be deleted too, and
whoever copied a keybox still has it.";

/// Delete an archive's key slots, so that nobody can ever open it again
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Destroy {
    #[command(flatten)]
    selected: Selected,
    /// Do it; without this it is only said what would be deleted
    #[arg(long)]
    yes: bool,
}

impl Destroy {
    pub(super) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        let id = self.selected.find(&store).await?;
        let keyboxes = if self.yes {
            backstay::rewrap::destroy_keys(&store, &id).await?
        } else {
            let details = backstay::catalog::show(&store, &id, &Keyring::default()).await?;
            let names = details.objects.into_iter().map(|(name, _)| name);
            names.filter(|name| matches!(ObjectName::parse(name), ObjectName::Keybox(..))).collect()
        };
        session.output.note(&match (self.yes, keyboxes.len()) {
            (true, _) => format!("nobody can open {id} any more"),
            (false, 0) => {
                format!("{id} has no keyboxes: its key slots are in its parts, so it cannot be destroyed in this way")
            }
            (false, _) => format!(
                "nothing was deleted; with --yes these keyboxes of {id} are deleted, and it can never be opened again"
            ),
        });
        session.output.result("keyboxes", &Deleted { id: id.to_string(), deleted: self.yes, keyboxes })?;
        Ok(0)
    }
}

/// The objects concerned.
#[derive(Debug, Serialize)]
struct Deleted {
    id: String,
    deleted: bool,
    keyboxes: Vec<String>,
}

impl fmt::Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keyboxes.iter().try_for_each(|name| writeln!(f, "{name}"))
    }
}
