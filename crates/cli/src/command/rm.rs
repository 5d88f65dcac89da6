//! `rm`: one archive or one backup set.

use std::fmt;

use backstay::Error;
use backstay::retention::{Belief, MemberFate, Removed, RmOptions};
use backstay_format::ArchiveId;
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
  backstay rm shop~3 --yes                  the fourth-newest backup set of shop, with all its members
  backstay rm SET --keep-members --yes      the set alone

An archive that others need, that belongs to a backup set or that somebody holds is not deleted, and the newest good one of
its source only with --force. A backup set goes with its members: those that are missing or damaged do not stand in the way, and
what keeps one member keeps all. Of a set that cannot be read the members are not known, and stay. A run that was interrupted is
finished by the next one with the set's id.";

/// Delete one archive or backup set
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
    /// Of a backup set delete only the set: its members stay, as archives that stand for themselves
    #[arg(long)]
    keep_members: bool,
}

impl Rm {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        // Of a set whose deletion was interrupted nothing is left that could be selected.
        let id = match self.selected.archive.parse::<ArchiveId>() {
            Ok(id) => id,
            Err(_) => self.selected.find_any(&store).await?.id().clone(),
        };
        let Rm { yes: delete, force, keep_members, .. } = self;
        let options = RmOptions { delete, force, keep_members, by: host() };
        let removed = backstay::retention::rm(&store, &id, &options, &Belief::default(), &session.context).await?;
        session.output.result("rm", &Printed::from(&removed))?;
        removed.stopped.map_or(Ok(0), |error| Err(error.into()))
    }
}

/// What was deleted, as it is printed.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    /// Only of a set.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Member>>,
    parts: u32,
    bytes: u64,
    deleted: bool,
    /// The code of what ended it before its end.
    stopped_by: Option<&'static str>,
}

/// What became of a member of a set.
#[derive(Debug, Serialize)]
struct Member {
    id: String,
    fate: &'static str,
    deleted: bool,
    #[serde(skip)]
    goes: bool,
}

impl From<&Removed> for Printed {
    fn from(removed: &Removed) -> Printed {
        let Removed { id, members, parts, bytes, deleted, stopped } = removed;
        let members = members.as_ref().map(|members| {
            let members = members.iter().map(|member| Member {
                id: member.id.to_string(),
                fate: member.fate.as_str(),
                deleted: member.deleted,
                goes: member.fate == MemberFate::Goes,
            });
            members.collect()
        });
        Printed {
            id: id.to_string(),
            members,
            parts: *parts,
            bytes: *bytes,
            deleted: *deleted,
            stopped_by: stopped.as_ref().map(Error::code),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = count(u64::from(self.parts), "part");
        let what = match &self.members {
            None => format!("{} ({} in {parts})", self.id, Size(self.bytes)),
            Some(members) => {
                for member in members {
                    let fate = if member.deleted { "deleted" } else { member.fate };
                    writeln!(f, "{}  {fate}", member.id)?;
                }
                let going = count(members.iter().filter(|member| member.goes).count() as u64, "member");
                format!("the backup set {} with {going} ({} in {parts})", self.id, Size(self.bytes))
            }
        };
        match (self.deleted, self.stopped_by) {
            (true, _) => writeln!(f, "{what} was deleted"),
            (false, Some(_)) => writeln!(f, "{what} is NOT DELETED TO ITS END: run it again"),
            (false, None) => writeln!(f, "{what} would be deleted: say --yes"),
        }
    }
}
