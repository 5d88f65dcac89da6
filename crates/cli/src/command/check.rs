//! `check`: is the store good enough, or, with --max-age, are its backups fresh.

mod fresh;

use std::fmt;
use std::time::Duration;

use backstay::check::{Report, Verdict};
use backstay_format::Guid;
use backstay_format::signature::Signer;
use backstay_store::Store;
use clap::Args;
use serde::Serialize;

use crate::args::unlock::Unlock;
use crate::args::value::{parse_duration, parse_percent};
use crate::failure::{Failure, Result};
use crate::output::Size;
use crate::output::human::table;
use crate::run::{DEGRADED, Status};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay check                              what the store can do, and with whose credentials
  backstay check --max-age 26h                is there a fresh backup of each source
  backstay check --max-age 26h --name shop --json
  backstay check --max-age 26h -i key.txt     the same, and what reports say counts
  backstay check --max-age 26h --metrics > /var/lib/node_exporter/backstay.prom

Without --max-age or --metrics, small objects are written to the store and deleted again; what
could not be deleted is named, and `backstay gc` finds it two days later. The exit status is 0 when
backups can be made, 3 when something should be done about the store, and that of the error when
no backup should go there.

With one of them only the listing and the newest manifests are read, which needs no key. An archive
counts when it is committed and its parts are those of its manifest; other managers' archives have
none, and names and sizes have to do. With a key a report that it is bad counts too. The exit status
is 0 when each source has one that is fresh, 22 when one has none, and 3 when one is far smaller
than usual, which is how broken dumps look, or when a report calls it bad and no key tells whether
that is so.";

/// Check a store: credentials, what it can do, speed and clock; or with --max-age whether its backups are fresh
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {
    /// Demand a good archive of each source that was begun no longer ago than this
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Freshness")]
    max_age: Option<Duration>,
    /// Warn when the newest archive has less than this share of the usual size, the median of up to seven before it; 0 never does
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = parse_percent, help_heading = "Freshness")]
    min_percent: u8,
    /// Print the state of the sources as metrics for Prometheus
    #[arg(long, help_heading = "Freshness")]
    metrics: bool,
    /// The name of the source
    #[arg(long, value_name = "NAME", help_heading = "Freshness")]
    name: Option<String>,
    /// The guid of the source
    #[arg(long, value_name = "GUID", help_heading = "Freshness")]
    guid: Option<Guid>,
    /// Demand that this public key signed the newest archive
    #[arg(long, value_name = "KEY", value_parser = Signer::parse, help_heading = "Trust")]
    signer: Option<Signer>,
    /// Believe only reports that this public key signed
    #[arg(long, value_name = "KEY", value_parser = Signer::parse, help_heading = "Trust")]
    report_signer: Option<Signer>,
    #[command(flatten)]
    unlock: Unlock,
}

/// Options that say something of freshness alone.
const OF_FRESHNESS: [&str; 9] = [
    "name",
    "guid",
    "min_percent",
    "signer",
    "report_signer",
    "identity",
    "passphrase_file",
    "passphrase_command",
    "ask_passphrase",
];

impl Check {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        if self.metrics && session.global.json {
            return Err(Failure::usage("--metrics and --json are two forms of one result: give one of them"));
        }
        if self.max_age.is_some() || self.metrics {
            return self.freshness(session).await;
        }
        // A monitor whose --max-age was forgotten would be content with any store.
        if let Some(key) = OF_FRESHNESS.into_iter().find(|key| session.settings.is_spelled_out(key)) {
            let message =
                format!("--{} says which backups are to be fresh, and nothing asks for that", key.replace('_', "-"));
            return Err(Failure::usage(message).with_hint("give --max-age, or leave it out to check the store itself"));
        }
        let store = session.store().await?;
        let report = backstay::check(&store, &session.context).await?;
        session.output.result("check", &Printed::of(&store, &report))?;
        if let Some(bad) = report.items.iter().find(|item| item.verdict == Verdict::Bad) {
            return Err(Failure::new(
                bad.code.unwrap_or("store.failed"),
                format!("no backup should go to {}", store.url()),
            )
            .because(&bad.text));
        }
        Ok(if report.verdict() == Verdict::Warning { DEGRADED } else { 0 })
    }
}

/// What was found, as it is printed.
#[derive(Debug, Serialize)]
struct Printed {
    store: String,
    verdict: &'static str,
    credentials: Option<String>,
    items: Vec<Row>,
    latency_ms: Option<u64>,
    upload_bytes_per_second: Option<u64>,
    download_bytes_per_second: Option<u64>,
    clock_offset_ms: Option<i64>,
    left: Vec<String>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    verdict: &'static str,
    text: String,
    code: Option<&'static str>,
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Unknown => "-",
        Verdict::Warning => "warning",
        Verdict::Bad => "bad",
    }
}

impl Printed {
    fn of(store: &Store, report: &Report) -> Printed {
        let row = |item: &backstay::check::Item| Row {
            what: item.what,
            verdict: if item.verdict == Verdict::Unknown { "unknown" } else { word(item.verdict) },
            text: item.text.clone(),
            code: item.code,
        };
        Printed {
            store: store.url().to_owned(),
            // That something cannot be told is no fault.
            verdict: word(if report.verdict() == Verdict::Unknown { Verdict::Good } else { report.verdict() }),
            credentials: store.credential_source().map(str::to_owned),
            items: report.items.iter().map(row).collect(),
            latency_ms: report.latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
            upload_bytes_per_second: report.upload,
            download_bytes_per_second: report.download,
            clock_offset_ms: report.clock_offset,
            left: report.left.clone(),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |what: &str, verdict: &str, text: String| vec![what.to_owned(), verdict.to_owned(), text];
        let mut rows = vec![
            row("store", "", self.store.clone()),
            row("credentials", "", self.credentials.clone().unwrap_or_else(|| "none are needed".to_owned())),
        ];
        for Row { what, verdict, text, .. } in &self.items {
            rows.push(row(what, if *verdict == "unknown" { "-" } else { verdict }, text.clone()));
        }
        if let Some(latency) = self.latency_ms {
            rows.push(row("latency", "", format!("{latency} ms to create a small object")));
        }
        for (what, rate) in [("upload", self.upload_bytes_per_second), ("download", self.download_bytes_per_second)] {
            if let Some(rate) = rate {
                rows.push(row(what, "", format!("{}/s in one request of 4 MiB", Size(rate))));
            }
        }
        for name in &self.left {
            rows.push(row(
                "left",
                "",
                format!("{name} could not be deleted: `backstay gc` does, with a credential that may"),
            ));
        }
        rows.push(row("verdict", self.verdict, String::new()));
        f.write_str(&table(&rows, &[]))
    }
}
