//! `hold`, `release`, `note` and `tag`: what is said of an archive or a backup set after it was made. Nothing of it is changed.

use std::fmt;

use backstay::retention;
use backstay_format::ArchiveId;
use clap::Args;
use serde::Serialize;

use super::verify::host;
use crate::args::select::Selected;
use crate::failure::Result;
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

const HOLD: &str = "\
Examples:
  backstay hold latest --reason 'before the migration'
  backstay hold pg-main~3";

const RELEASE: &str = "\
Examples:
  backstay release de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123";

const NOTE: &str = "\
Examples:
  backstay note latest 'restored to staging, all fine'";

const TAG: &str = "\
Examples:
  backstay tag latest release-17 keep
  backstay list --tag release-17";

/// Keep an archive, or a backup set with all its members, whatever the rules of prune say
#[derive(Debug, Args)]
#[command(after_help = HOLD)]
pub(crate) struct Hold {
    #[command(flatten)]
    selected: Selected,
    /// Why, for whoever wants to release it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Take every hold from an archive or a backup set
#[derive(Debug, Args)]
#[command(after_help = RELEASE)]
pub(crate) struct Release {
    #[command(flatten)]
    selected: Selected,
}

/// Leave a note on an archive or a backup set, for people
#[derive(Debug, Args)]
#[command(after_help = NOTE)]
pub(crate) struct Note {
    #[command(flatten)]
    selected: Selected,
    /// What is to be said
    #[arg(value_name = "TEXT")]
    text: String,
}

/// Add tags to an archive or a backup set: list finds it by them, and prune keeps it for them
#[derive(Debug, Args)]
#[command(after_help = TAG)]
pub(crate) struct Tag {
    #[command(flatten)]
    selected: Selected,
    /// The tags
    #[arg(value_name = "TAG", required = true)]
    labels: Vec<String>,
}

/// What was made, or taken away.
#[derive(Debug, Serialize)]
struct Said {
    id: String,
    objects: Vec<String>,
    #[serde(skip)]
    text: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)
    }
}

impl Hold {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        let id = self.selected.find_any(&store).await?.id().clone();
        let reason = self.reason.unwrap_or_default();
        let name = retention::hold(&store, &id, &reason, &host(), &session.context).await?;
        let said = Said { text: format!("{id} is held"), id: id.to_string(), objects: vec![name] };
        session.output.result("hold", &said).map(|()| 0)
    }
}

impl Release {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        // Of an archive that is gone a hold may be left, and nothing that could be selected.
        let id = match self.selected.archive.parse::<ArchiveId>() {
            Ok(id) => id,
            Err(_) => self.selected.find_any(&store).await?.id().clone(),
        };
        let objects = retention::release(&store, &id).await?;
        let text = match objects.len() as u64 {
            0 => format!("{id} was not held"),
            number => format!("{id} is released: {} taken away", count(number, "hold")),
        };
        session.output.result("release", &Said { text, id: id.to_string(), objects }).map(|()| 0)
    }
}

impl Note {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        let id = self.selected.find_any(&store).await?.id().clone();
        let name = retention::note(&store, &id, &self.text, &host(), &session.context).await?;
        let said = Said { text: format!("noted as {name}"), id: id.to_string(), objects: vec![name] };
        session.output.result("note", &said).map(|()| 0)
    }
}

impl Tag {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        let id = self.selected.find_any(&store).await?.id().clone();
        let name = retention::tag(&store, &id, &self.labels, &host(), &session.context).await?;
        let said = Said { text: format!("tagged as {name}"), id: id.to_string(), objects: vec![name] };
        session.output.result("tag", &said).map(|()| 0)
    }
}
