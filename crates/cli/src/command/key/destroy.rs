//! `key destroy`: an archive that nobody can open any more.

use std::fmt;

use backstay_format::ObjectName;
use backstay_format::key::Keyring;
use clap::Args;
use serde::Serialize;

use super::super::verify::host;
use crate::args::select::Selected;
use crate::failure::Result;
use crate::run::Status;
use crate::session::Session;

/// They are deleted, and not known to be gone.
const DEGRADED: Status = 3;

const EXAMPLES: &str = "\
Examples:
  backstay key destroy ID                          what would be deleted
  backstay key destroy ID --yes

Only archives written with --detached-keys can be destroyed in this way: the slots of others are in
every part. What this cannot reach: old versions of the keyboxes in a bucket that keeps them (the exit status is
then 3, and they are to be deleted with the store's own tools); copies of the archive in other stores, each with keyboxes of its
own; whoever read a keybox before, or has the archive's secret from `key export`. A lock on a keybox holds until its date. The keys of an
archive that is held, or that a held backup set needs, are not destroyed.";

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
        let stays = backstay::rewrap::stays_behind(&store).await?;
        let keyboxes = if self.yes {
            backstay::rewrap::destroy_keys(&store, &id, &host(), &session.context).await?
        } else {
            let details = backstay::catalog::show(&store, &id, &Keyring::default()).await?;
            backstay::rewrap::demand_no_hold(&store, &id).await?;
            let names = details.objects.into_iter().map(|(name, _)| name);
            names.filter(|name| matches!(ObjectName::parse(name), ObjectName::Keybox(..))).collect()
        };
        session.output.note(&match (self.yes, keyboxes.len()) {
            (true, _) if stays.is_some() => format!("the keyboxes of {id} are deleted"),
            (true, _) => format!(
                "nobody can open this copy of {id} any more; others, in other stores, have keyboxes of their own"
            ),
            (false, 0) => {
                format!("{id} has no keyboxes: its key slots are in its parts, so it cannot be destroyed in this way")
            }
            (false, _) => format!(
                "nothing was deleted; with --yes these keyboxes of {id} are deleted, and it can never be opened again"
            ),
        });
        if let Some(stays) = &stays {
            session.output.warning(None, stays);
        }
        let status = if self.yes && stays.is_some() { DEGRADED } else { 0 };
        let id = id.to_string();
        session.output.result("keyboxes", &Deleted { id, deleted: self.yes, keyboxes, stays_behind: stays })?;
        Ok(status)
    }
}

/// The objects concerned.
#[derive(Debug, Serialize)]
struct Deleted {
    id: String,
    deleted: bool,
    keyboxes: Vec<String>,
    /// What the store keeps of them, as far as that is known.
    stays_behind: Option<String>,
}

impl fmt::Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keyboxes.iter().try_for_each(|name| writeln!(f, "{name}"))
    }
}
