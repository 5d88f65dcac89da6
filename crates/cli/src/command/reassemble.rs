//! `reassemble`: put parts back together.

use std::fmt;
use std::path::PathBuf;

use backstay::catalog::Filter;
use backstay::reassemble::{ReassembleOptions, Reassembled};
use clap::Args;
use serde::Serialize;

use super::backup::Printed as Receipt;
use crate::args::format::Reading;
use crate::args::unlock::{Trust, Unlock};
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::Size;
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay reassemble ID -i key.txt              make the lost manifest anew
  backstay reassemble ID -i key.txt --replace    make a damaged manifest anew
  backstay reassemble ID --join archive.bin      the parts as one file, as they are stored

All parts must be there: reassemble reads and checks each of them. With --join, the file of an
archive of the openssl format is what `openssl enc -d` reads; no key is needed, and the manifest
says whether a part is missing or damaged. --receipt holds the parts to a receipt's root, also
where the manifest is lost; what its seal was of is then lost too. --require-seal fits neither.";

/// Put an archive's parts back together: make its manifest anew, or join the parts to one file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Reassemble {
    /// The archive: its id or the beginning of it
    #[arg(value_name = "ARCHIVE")]
    archive: String,
    /// Replace a manifest that is there but damaged
    #[arg(long, conflicts_with = "join")]
    replace: bool,
    /// Join the parts to this file instead
    #[arg(long, value_name = "FILE")]
    join: Option<PathBuf>,
    /// The source's name, which was in the lost manifest
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    format: Reading,
}

impl Reassemble {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let policy = self.trust.policy(&self.format)?;
        // A configuration names its source for every backup.
        if self.join.is_some() && session.settings.is_spelled_out("name") {
            return Err(Failure::usage("--name goes into the manifest that is made anew, and --join makes none"));
        }
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let filter = Filter { incomplete: true, ..Filter::default() };
        let id = backstay::catalog::select(&store, &self.archive, &filter).await?;
        let options = ReassembleOptions { policy, replace: self.replace, join: self.join, name: self.name };
        let done = backstay::reassemble(&store, &id, &keyring, &options, &session.context, session.observer()).await?;
        session.output.end();
        let done = Printed::from(&done);
        session.output.note(&done.summary());
        session.output.result("reassembled", &done)?;
        Ok(0)
    }
}

/// What was done, as it is printed.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    parts: u32,
    stored: u64,
    receipt: Option<Receipt>,
    joined: Option<String>,
}

impl From<&Reassembled> for Printed {
    fn from(done: &Reassembled) -> Printed {
        Printed {
            id: done.id.to_string(),
            parts: done.parts,
            stored: done.stored,
            receipt: done.receipt.as_ref().map(Receipt::from),
            joined: done.joined.as_ref().map(|path| path.display().to_string()),
        }
    }
}

impl Printed {
    fn summary(&self) -> String {
        let what = format!("{}: {} with {}", self.id, count(u64::from(self.parts), "part"), Size(self.stored));
        match &self.joined {
            Some(path) => format!("{what} joined to {path}"),
            None => format!("{what}, its manifest is made anew"),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.receipt.as_ref().map_or(Ok(()), |receipt| receipt.fmt(f))
    }
}
