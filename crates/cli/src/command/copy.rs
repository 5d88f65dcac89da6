//! `copy`: archives in a second store.

use std::fmt;

use backstay::copy::{Copied, CopyOptions};
use backstay::layout::UPLOADS;
use clap::Args;
use serde::Serialize;

use crate::args::select::Narrow;
use crate::args::value::parse_cores;
use crate::failure::{Failure, Result};
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay copy latest -s /srv/backups --to s3://bucket/pg
  backstay copy --all --name shop -s s3://bucket/pg --to /mnt/replica

A copy is the same archive, byte for byte, under the same id; no key is needed to make it. What the manifest
says of each part is checked on the way. A copy that was interrupted goes on when it is started again.";

/// Copy archives to another store, byte for byte
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Copy {
    /// The archive: its id, the beginning of it, `latest`, `latest~1` for the one before, NAME or NAME~1
    #[arg(value_name = "ARCHIVE", required_unless_present = "all", conflicts_with = "all")]
    archive: Option<String>,
    /// Every archive that is committed, oldest first
    #[arg(long)]
    all: bool,
    /// The store to copy to; what is said of the store's server, region and credentials holds for both
    #[arg(long, value_name = "URL")]
    to: String,
    /// The most parts under way at the same time
    #[arg(long, value_name = "N", default_value_t = UPLOADS, value_parser = parse_cores)]
    uploads: usize,
    #[command(flatten)]
    narrow: Narrow,
}

impl Copy {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let from = session.store().await?;
        let to = session.open(&self.to).await?;
        if from.url() == to.url() {
            return Err(Failure::usage(format!("{} is both the store and the target", to.url())));
        }
        let filter = self.narrow.filter(false)?;
        let ids = match &self.archive {
            Some(archive) => vec![backstay::catalog::select(&from, archive, &filter).await?],
            None => backstay::catalog::list(&from, &filter, false).await?.into_iter().map(|entry| entry.id).collect(),
        };
        let options = CopyOptions { memory: session.global.memory, transfers: self.uploads };
        let mut archives = Vec::new();
        for id in ids {
            let copied = backstay::copy(&from, &to, &id, &options, &session.context, session.observer()).await?;
            archives.push(Printed::from(&copied));
        }
        session.output.end();
        session.output.result("copied", &All { to: to.url().to_owned(), archives })?;
        Ok(0)
    }
}

/// What is in the target now.
#[derive(Debug, Serialize)]
struct All {
    to: String,
    archives: Vec<Printed>,
}

/// One archive.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    parts: u32,
    stored: u64,
    sent: u64,
    checked: bool,
    elapsed_ms: u64,
    #[serde(skip)]
    elapsed: Elapsed,
}

impl From<&Copied> for Printed {
    fn from(copied: &Copied) -> Printed {
        Printed {
            id: copied.id.to_string(),
            parts: copied.parts,
            stored: copied.stored,
            sent: copied.sent,
            checked: copied.checked,
            elapsed_ms: u64::try_from(copied.elapsed.as_millis()).unwrap_or(u64::MAX),
            elapsed: Elapsed(copied.elapsed),
        }
    }
}

impl fmt::Display for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for archive in &self.archives {
            let Printed { id, parts, stored, sent, checked, elapsed, .. } = archive;
            write!(f, "{id}: {} with {} in {}", count(u64::from(*parts), "part"), Size(*stored), self.to)?;
            match sent {
                0 => write!(f, ", all there already")?,
                _ if sent < stored => write!(f, ", {} sent in {elapsed}, the others were there already", Size(*sent))?,
                _ => write!(f, ", sent in {elapsed}")?,
            }
            writeln!(f, "{}", if *checked { "" } else { "; no manifest vouches for what was read" })?;
        }
        if self.archives.is_empty() {
            writeln!(f, "there is nothing to copy")?;
        }
        Ok(())
    }
}
