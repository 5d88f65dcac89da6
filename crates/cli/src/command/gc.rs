//! `gc`: what interrupted runs left.

use std::fmt;
use std::time::Duration;

use backstay::Error;
use backstay::gc::{Cleared, Fate, GRACE, GcOptions, Leftover, What};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::value::parse_duration;
use crate::failure::{Failure, Result};
use crate::output::Size;
use crate::output::human::{count, table};
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay gc          what interrupted runs left, and what would become of it
  backstay gc --yes    delete what is due

Only parts that no manifest commits are ever deleted, and only when nothing of them was stored for two days. The first run
deletes all the parts and leaves a small marker, which a run after another two days deletes. Holds, notes, tags and
reports of an archive of which nothing else is left go after two days, too.
No other thing is left behind: objects are sent whole, so that there are no multipart uploads to
abandon, and nothing takes a lease. Interrupted uploads of the openssl format are listed and kept, since nothing tells them from whole archives of other
programs.";

/// Find and delete what interrupted runs left behind
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Gc {
    /// Delete what is due; without it the plan is all
    #[arg(long)]
    yes: bool,
    /// How long nothing may have been stored before an upload counts as interrupted; not less than 48h
    #[arg(long, value_name = "DURATION", default_value = "48h", value_parser = parse_duration)]
    grace: Duration,
    /// Delete those uploads too that seem to lack nothing but the manifest
    #[arg(long)]
    whole: bool,
}

/// A writer that stores nothing for a day gives up, and clocks differ: what is younger may still run. A shorter grace of a file or
/// variable is meant for prune.
fn uploads_grace(grace: Duration, spelled_out: bool) -> Result<Duration> {
    if grace < GRACE && spelled_out {
        let why = "an upload that stored something in the last 48 hours may still run: --grace is at least 48h";
        return Err(Failure::usage(why));
    }
    Ok(grace.max(GRACE))
}

impl Gc {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let grace = uploads_grace(self.grace, session.settings.is_spelled_out("grace"))?;
        let store = session.store().await?;
        let options = GcOptions { grace, delete: self.yes, whole: self.whole };
        let Cleared { leftovers, stopped } = backstay::gc(&store, &options, &session.context).await?;
        let rows: Vec<Row> = leftovers.iter().map(Row::from).collect();
        let stopped_by = stopped.as_ref().map(Error::code);
        let report = Report { store: store.url().to_owned(), leftovers: rows, stopped_by };
        session.output.result("gc", &report)?;
        session.output.note(&report.summary());
        if let Some(error) = stopped {
            return Err(error.into());
        }
        let refused = leftovers.iter().find_map(|leftover| match &leftover.fate {
            Fate::Refused(finding) => Some((leftover, finding)),
            _ => None,
        });
        match refused {
            Some((leftover, finding)) => {
                Err(Failure::new(finding.code, format!("{} could not be deleted", leftover.what))
                    .because(&finding.text))
            }
            None => Ok(0),
        }
    }
}

/// One leftover as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    name: String,
    fate: &'static str,
    reason: String,
    bytes: u64,
    modified: Option<String>,
    objects: Vec<String>,
}

impl From<&Leftover> for Row {
    fn from(leftover: &Leftover) -> Row {
        Row {
            kind: match leftover.what {
                What::Upload(_) => "upload",
                What::Marker(_) => "marker",
                What::Remarks(_) => "remarks",
                What::Begun(_) => "begun",
                What::Staged(_) => "staged",
                What::Probe(_) => "probe",
            },
            name: leftover.what.to_string(),
            fate: match leftover.fate {
                Fate::Kept => "kept",
                Fate::Due => "due",
                Fate::Deleted => "deleted",
                Fate::Refused(_) => "refused",
            },
            reason: match &leftover.fate {
                Fate::Refused(finding) => finding.text.clone(),
                _ => leftover.reason.to_owned(),
            },
            bytes: leftover.bytes,
            modified: Timestamp::try_from(leftover.modified).ok().map(|time| format!("{time:.0}")),
            objects: leftover.objects.clone(),
        }
    }
}

/// All of them.
#[derive(Debug, Serialize)]
struct Report {
    store: String,
    leftovers: Vec<Row>,
    /// The code of what ended the run before its end.
    stopped_by: Option<&'static str>,
}

impl Report {
    fn summary(&self) -> String {
        let sum = |fate| {
            let rows = self.leftovers.iter().filter(|row| row.fate == fate);
            rows.fold((0, 0), |(number, bytes), row| (number + 1, bytes + row.bytes))
        };
        let told = |(number, bytes): (u64, u64)| format!("{} with {}", count(number, "leftover"), Size(bytes));
        let (due, deleted) = (sum("due"), sum("deleted"));
        match (self.leftovers.len(), due.0, deleted.0) {
            (0, ..) => "nothing is left over".to_owned(),
            (_, 0, 0) => "nothing is to be deleted".to_owned(),
            (_, 0, _) => format!("{} deleted", told(deleted)),
            _ if self.stopped_by.is_some() => format!("{} deleted, {} not", told(deleted), told(due)),
            _ => format!("{} can be deleted: say --yes", told(due)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows =
            vec![["LEFTOVER", "KIND", "FATE", "OBJECTS", "BYTES", "LAST", "WHY"].map(str::to_owned).to_vec()];
        for row in &self.leftovers {
            rows.push(vec![
                row.name.clone(),
                row.kind.to_owned(),
                row.fate.to_owned(),
                row.objects.len().to_string(),
                Size(row.bytes).to_string(),
                row.modified.clone().unwrap_or_default(),
                row.reason.clone(),
            ]);
        }
        if self.leftovers.is_empty() { Ok(()) } else { f.write_str(&table(&rows, &[3, 4])) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_is_never_shorter_than_a_slow_writer_needs() {
        let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3600));
        assert_eq!(uploads_grace(GRACE, true).unwrap(), GRACE);
        assert_eq!(uploads_grace(3 * day, true).unwrap(), 3 * day);
        assert!(uploads_grace(47 * hour, true).is_err() && uploads_grace(Duration::ZERO, true).is_err());
        assert_eq!(uploads_grace(hour, false).unwrap(), GRACE);
    }
}
