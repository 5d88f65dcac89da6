//! `rm`: one archive.

use std::fmt;

use backstay::retention::{Belief, Removed, RmOptions};
use clap::Args;
use serde::Serialize;

use super::verify::host;
use crate::args::select::Selected;
use crate::failure::Result;
use crate::output::Size;
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay rm de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123          would it be deleted?
  backstay rm de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123 --yes    delete it, now

An archive that others need, that belongs to a backup set or that somebody holds is not deleted, and the newest good one of
its source only with --force.";

/// Delete one archive
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rm {
    #[command(flatten)]
    selected: Selected,
    /// Delete it; without it only the checks are made
    #[arg(long)]
    yes: bool,
    /// Delete even the newest good archive of its source, or one of a source of which not everything can be read
    #[arg(long)]
    force: bool,
}

impl Rm {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        let id = self.selected.find(&store).await?;
        let options = RmOptions { delete: self.yes, force: self.force, by: host() };
        let removed = backstay::retention::rm(&store, &id, &options, &Belief::default(), &session.context).await?;
        session.output.result("rm", &Printed::from(&removed))?;
        Ok(0)
    }
}

/// What was deleted, as it is printed.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    parts: u32,
    bytes: u64,
    deleted: bool,
}

impl From<&Removed> for Printed {
    fn from(removed: &Removed) -> Printed {
        let Removed { id, parts, bytes, deleted } = removed;
        Printed { id: id.to_string(), parts: *parts, bytes: *bytes, deleted: *deleted }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = format!("{} ({} in {})", self.id, Size(self.bytes), count(u64::from(self.parts), "part"));
        if self.deleted { writeln!(f, "{what} was deleted") } else { writeln!(f, "{what} would be deleted: say --yes") }
    }
}
