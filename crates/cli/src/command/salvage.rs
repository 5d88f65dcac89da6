//! `salvage`: what is left of a damaged archive.

use std::fmt;
use std::path::PathBuf;

use backstay::catalog::Filter;
use backstay::codes;
use backstay::salvage::{Hole, SalvageOptions, Salvaged};
use clap::Args;
use serde::Serialize;

use super::verify::{PrintedFinding, worst};
use crate::args::format::Reading;
use crate::args::unlock::{Trust, Unlock};
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay salvage ID -i key.txt                what would come out, and where the holes are
  backstay salvage ID -i key.txt -o dump.sql    take it out
  backstay salvage ID -i key.txt -o dump.sql --json | jq '.holes'

Every byte that comes out is authentic; a hole is zeros, so that everything else stands in its own place. In
archives of the openssl format nothing tells how much a hole held: there what follows stands directly behind it.
The exit status is never 0: what comes out of salvage is not a restore, even if nothing is missing.";

/// The status when nothing was found to be wrong.
const NOTHING_WRONG: Status = 3;

/// Take every authentic byte out of a damaged archive, and list the holes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Salvage {
    /// The archive: its id or the beginning of it
    #[arg(value_name = "ARCHIVE")]
    archive: String,
    /// The file to write; without it only the report is made
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    trust: Trust,
    /// Do not look at the manifest: an openssl archive then gives what its checksums allow, and not only what was sealed
    #[arg(long, help_heading = "Trust")]
    no_manifest: bool,
    #[command(flatten)]
    format: Reading,
}

impl Salvage {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let mut policy = self.trust.policy(&self.format)?;
        policy.no_manifest = self.no_manifest;
        self.output.iter().try_for_each(|output| self.unlock.spare(output))?;
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let filter = Filter { incomplete: true, ..Filter::default() };
        let id = backstay::catalog::select(&store, &self.archive, &filter).await?;
        let options = SalvageOptions { policy, output: self.output.clone(), memory: session.global.memory };
        let salvaged = backstay::salvage(&store, &id, &keyring, &options, &session.context, session.observer()).await?;
        session.output.end();
        session.output.result("salvage", &Printed::new(&salvaged, self.output))?;
        match worst(&salvaged.findings) {
            Some(code) if codes::exit(code) != 0 => {
                let problems = salvaged.findings.len() as u64;
                let holes = salvaged.holes.len() as u64;
                let what = format!("{id} has {} and {}", count(problems, "problem"), count(holes, "hole"));
                Err(Failure::new(code, what))
            }
            _ => {
                session
                    .output
                    .note("nothing is wrong with it: `backstay restore` gives the same, and proves that it is all");
                Ok(NOTHING_WRONG)
            }
        }
    }
}

/// The report as it is printed.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    findings: Vec<PrintedFinding>,
    holes: Vec<PrintedHole>,
    content: u64,
    length: Option<u64>,
    stored: u64,
    authentic: bool,
    output: Option<String>,
    elapsed_ms: u64,
    #[serde(skip)]
    elapsed: Elapsed,
}

/// Lost content.
#[derive(Debug, Serialize)]
struct PrintedHole {
    start: u64,
    end: Option<u64>,
    unproven: u64,
}

impl From<&Hole> for PrintedHole {
    fn from(hole: &Hole) -> PrintedHole {
        PrintedHole { start: hole.start, end: hole.end, unproven: hole.unproven }
    }
}

impl Printed {
    fn new(salvaged: &Salvaged, output: Option<PathBuf>) -> Printed {
        Printed {
            id: salvaged.id.to_string(),
            findings: salvaged.findings.iter().map(PrintedFinding::from).collect(),
            holes: salvaged.holes.iter().map(PrintedHole::from).collect(),
            content: salvaged.content,
            length: salvaged.length,
            stored: salvaged.stored,
            authentic: salvaged.authentic,
            output: output.map(|path| path.display().to_string()),
            elapsed_ms: u64::try_from(salvaged.elapsed.as_millis()).unwrap_or(u64::MAX),
            elapsed: Elapsed(salvaged.elapsed),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for PrintedHole { start, end, unproven } in &self.holes {
            match end {
                Some(end) => write!(f, "hole: bytes {start} to {end}, {}", Size(end - start))?,
                None => write!(f, "hole: at byte {start}, of unknown length")?,
            }
            if *unproven > 0 {
                write!(f, "; the {unproven} bytes before it are not proved")?;
            }
            writeln!(f)?;
        }
        let of = match self.length {
            Some(length) => format!("{} of {}", Size(self.content), Size(length)),
            None => Size(self.content).to_string(),
        };
        let to = match &self.output {
            Some(path) => format!(" in {path}"),
            None => " would come out with -o FILE".to_owned(),
        };
        let holes = count(self.holes.len() as u64, "hole");
        let proof = if self.authentic { "authentic" } else { "not authenticated" };
        writeln!(f, "{}: {of} of content{to}, {proof}, {holes}, {}", self.id, self.elapsed)
    }
}
