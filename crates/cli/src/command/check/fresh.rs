//! `check --max-age`: the sources of a store as text, JSON and metrics.

use std::fmt::{self, Write as _};
use std::time::Duration;

use backstay::catalog::Filter;
use backstay::catalog::freshness::{Point, Source, Verdict, freshness};
use backstay::dated::by_store;
use backstay::retention::Belief;
use backstay_format::report::Level;
use jiff::Timestamp;
use serde::Serialize;

use super::Check;
use crate::failure::Result;
use crate::keys;
use crate::output::Size;
use crate::output::human::{Elapsed, table};
use crate::run::{DEGRADED, Status};
use crate::session::Session;

/// The exit status when a source has no fresh archive.
const STALE: Status = 22;
/// Milliseconds that clocks may differ before it is worth a word.
const CLOCK: i64 = 60_000;

impl Check {
    pub(super) async fn freshness(&self, session: &Session) -> Result<Status> {
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let belief = Belief { keyring, signer: self.signer, report_signer: self.report_signer };
        let store = session.store().await?;
        let filter = Filter { name: self.name.clone(), guid: self.guid.clone(), ..Filter::default() };
        let now = session.context.now();
        let found = freshness(&store, &filter, &belief, now).await?;
        let now = by_store(&store, now);
        if let Some(offset) = store.clock_offset().filter(|offset| offset.abs() >= CLOCK) {
            let side = if offset > 0 { "behind" } else { "ahead of" };
            let apart = Elapsed(Duration::from_millis(offset.unsigned_abs()));
            let text = format!(
                "the clock of this machine is {apart} {side} the store's, by which ages are counted; set it right"
            );
            session.output.warning(None, &text);
        }
        let mut sources: Vec<Row> = found.iter().map(|source| Row::of(source, self, now)).collect();
        if sources.is_empty() {
            // Whoever watches a source must hear of it when all of it is gone, or the store is the wrong one.
            sources.push(Row::nothing(self));
        }
        for row in &sources {
            session.output.note(&row.sentence());
            if let Some((newest, level)) = row.archives.first().zip(row.reported_bad) {
                let text = format!(
                    "the newest report on {} says that it is bad ({level}), and no key was given that tells whether that is so: give -i, or verify it",
                    newest.id
                );
                session.output.warning(None, &text);
            }
        }
        // Of two that are as bad, the first one gives its name.
        let worst = sources.iter().rev().max_by_key(|row| row.status());
        let (status, verdict) = worst.map_or((0, "fresh"), |row| (row.status(), row.verdict));
        let report = Report { store: store.url().to_owned(), verdict, sources };
        if self.metrics {
            session.output.data(&report.metrics())?;
        } else {
            session.output.result("freshness", &report)?;
        }
        Ok(status)
    }
}

/// All sources.
#[derive(Debug, Serialize)]
struct Report {
    store: String,
    verdict: &'static str,
    sources: Vec<Row>,
}

/// One source.
#[derive(Debug, Serialize)]
struct Row {
    name: Option<String>,
    guid: Option<String>,
    verdict: &'static str,
    age_seconds: Option<u64>,
    /// How thoroughly somebody looked whose report, which nobody can judge, calls the newest one bad.
    reported_bad: Option<&'static str>,
    /// The size that was compared, and the usual one.
    size: Option<u64>,
    usual_size: Option<u64>,
    /// Good archives, the newest first.
    archives: Vec<Archive>,
    passed_over: Vec<PassedOver>,
    #[serde(skip)]
    max_age: Option<Duration>,
}

#[derive(Debug, Serialize)]
struct Archive {
    id: String,
    begun: String,
    took_ms: Option<u64>,
    content: Option<u64>,
    stored: u64,
    #[serde(skip)]
    at: Timestamp,
}

#[derive(Debug, Serialize)]
struct PassedOver {
    id: String,
    why: &'static str,
}

impl From<&Point> for Archive {
    fn from(point: &Point) -> Archive {
        Archive {
            id: point.id.to_string(),
            begun: format!("{:.3}", point.begun),
            took_ms: point.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            content: point.content,
            stored: point.stored,
            at: point.begun,
        }
    }
}

impl Row {
    fn of(source: &Source, check: &Check, now: Timestamp) -> Row {
        let verdict = match source.verdict(now, check.max_age, check.min_percent) {
            Verdict::Fresh => "fresh",
            Verdict::Small => "small",
            Verdict::Doubtful => "doubtful",
            Verdict::Stale => "stale",
        };
        Row {
            name: source.name.clone().or_else(|| check.name.clone()),
            guid: Some(source.guid.to_string()),
            verdict,
            age_seconds: source.age(now).map(|age| age.as_secs()),
            reported_bad: source.doubt.map(Level::as_str),
            size: source.sizes().map(|(newest, _)| newest),
            usual_size: source.sizes().map(|(_, usual)| usual),
            archives: source.points.iter().map(Archive::from).collect(),
            passed_over: source.passed_over.iter().map(|(id, why)| PassedOver { id: id.to_string(), why }).collect(),
            max_age: check.max_age,
        }
    }

    /// There is not one archive of what is watched.
    fn nothing(check: &Check) -> Row {
        Row {
            name: check.name.clone(),
            guid: check.guid.as_ref().map(ToString::to_string),
            verdict: "stale",
            age_seconds: None,
            reported_bad: None,
            size: None,
            usual_size: None,
            archives: Vec::new(),
            passed_over: Vec::new(),
            max_age: check.max_age,
        }
    }

    fn status(&self) -> Status {
        match self.verdict {
            "fresh" => 0,
            "small" | "doubtful" => DEGRADED,
            _ => STALE,
        }
    }

    fn shown(&self) -> &str {
        self.name.as_deref().or(self.guid.as_deref()).unwrap_or("the store")
    }

    fn age(&self) -> Option<Elapsed> {
        self.age_seconds.map(|seconds| Elapsed(Duration::from_secs(seconds)))
    }

    /// The verdict with its reason.
    fn sentence(&self) -> String {
        let passed = match self.passed_over.as_slice() {
            [] => String::new(),
            [first, ..] => format!("; {} was passed over: {}", first.id, first.why),
        };
        let text = match (self.verdict, self.age()) {
            ("stale", None) => "there is no good archive".to_owned(),
            ("stale", Some(age)) => {
                let most = self.max_age.map(|most| format!(", more than {}", Elapsed(most))).unwrap_or_default();
                format!("the newest good archive is {age} old{most}")
            }
            ("small", _) => format!(
                "the newest archive has {}, usual are {}",
                Size(self.size.unwrap_or_default()),
                Size(self.usual_size.unwrap_or_default())
            ),
            ("doubtful", _) => "a report says that the newest archive is bad".to_owned(),
            (_, Some(age)) => format!("the newest good archive is {age} old"),
            (_, None) => String::new(),
        };
        format!("{}: {}, {text}{passed}", self.shown(), self.verdict)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            ["SOURCE", "VERDICT", "AGE", "CONTENT", "STORED", "USUAL", "TOOK", "ARCHIVE"].map(str::to_owned).to_vec(),
        ];
        for row in &self.sources {
            let newest = row.archives.first();
            let size = |size: Option<u64>| size.map(|size| Size(size).to_string()).unwrap_or_default();
            let took = newest.and_then(|archive| archive.took_ms);
            rows.push(vec![
                row.shown().to_owned(),
                row.verdict.to_owned(),
                row.age().map(|age| age.to_string()).unwrap_or_default(),
                size(newest.and_then(|archive| archive.content)),
                size(newest.map(|archive| archive.stored)),
                size(row.usual_size),
                took.map(|took| Elapsed(Duration::from_millis(took)).to_string()).unwrap_or_default(),
                newest.map(|archive| archive.id.clone()).unwrap_or_default(),
            ]);
        }
        f.write_str(&table(&rows, &[2, 3, 4, 5, 6]))
    }
}

/// Reads one value off a source.
type Value = fn(&Row) -> Option<f64>;

/// Metric, help, value.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
const METRICS: [(&str, &str, Value); 9] = [
    (
        "backstay_source_fresh",
        "Whether the source has a good archive that is young enough and of a usual size.",
        |row| Some(f64::from(u8::from(row.verdict == "fresh"))),
    ),
    ("backstay_source_stale", "Whether the source has no good archive that is young enough.", |row| {
        Some(f64::from(u8::from(row.verdict == "stale")))
    }),
    ("backstay_source_small", "Whether the newest good archive is far smaller than usual.", |row| {
        Some(f64::from(u8::from(row.verdict == "small")))
    }),
    (
        "backstay_source_doubtful",
        "Whether a report that nobody could judge calls the newest good archive bad.",
        |row| Some(f64::from(u8::from(row.verdict == "doubtful"))),
    ),
    ("backstay_last_archive_timestamp_seconds", "When the newest good archive was begun.", |row| {
        row.archives.first().map(|archive| archive.at.as_second() as f64)
    }),
    ("backstay_last_archive_content_bytes", "Content of the newest good archive.", |row| {
        row.archives.first().and_then(|archive| archive.content).map(|size| size as f64)
    }),
    ("backstay_last_archive_stored_bytes", "Stored bytes of the newest good archive.", |row| {
        row.archives.first().map(|archive| archive.stored as f64)
    }),
    ("backstay_last_archive_duration_seconds", "How long the newest good archive took.", |row| {
        row.archives.first().and_then(|archive| archive.took_ms).map(|took| took as f64 / 1000.0)
    }),
    ("backstay_usual_size_bytes", "The usual size of this source's archives, of content where that is known.", |row| {
        row.usual_size.map(|size| size as f64)
    }),
];

impl Report {
    /// In the text format of Prometheus.
    fn metrics(&self) -> String {
        let mut text = String::new();
        for (metric, help, value) in METRICS {
            let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} gauge");
            for row in &self.sources {
                if let Some(value) = value(row) {
                    let label = |value: Option<&str>| escaped(value.unwrap_or_default());
                    let (name, guid) = (label(row.name.as_deref()), label(row.guid.as_deref()));
                    let _ = writeln!(text, "{metric}{{name=\"{name}\",guid=\"{guid}\"}} {value}");
                }
            }
        }
        text
    }
}

/// A label's value: names come from manifests, which anybody with a right to create could write.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_quotes() {
        assert_eq!(escaped("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }
}
