//! How long a restore of the newest archive will take, from what drills of the same source have taken.
//!
//! Reports of earlier drills are read and not proved: each archive has a key of its own, and nothing is decided by an estimate.

use std::fmt;
use std::time::Duration;

use backstay::catalog::{self, Filter};
use backstay_format::report::{Level, MAX_REPORT, Report};
use backstay_format::{ArchiveId, ObjectName, Word};
use backstay_store::Store;
use serde::Serialize;

use crate::output::Size;
use crate::output::human::{Elapsed, count};

/// The most reports that are read.
const REPORTS: usize = 10;

/// A restore that was measured: stored bytes, and milliseconds.
pub(super) type Measured = (u64, u64);

/// What a restore of the newest archive is expected to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Estimate {
    pub(super) archive: String,
    pub(super) stored: u64,
    pub(super) restore_ms: u64,
    pub(super) drills: u64,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Elapsed(Duration::from_millis(self.restore_ms));
        let drills = count(self.drills, "drill");
        write!(
            f,
            "the newest archive, {} with {} stored, would take {time} (by {drills})",
            self.archive,
            Size(self.stored)
        )
    }
}

/// Estimates from earlier drills and this one; `None` when nothing is known. A store that does not answer costs the estimate only.
pub(super) async fn estimate(store: &Store, id: &ArchiveId, this: Option<Measured>) -> Option<Estimate> {
    let mut measured: Vec<Measured> = this.into_iter().collect();
    measured.extend(earlier(store, id).await);
    let filter = Filter { guid: Some(id.guid()), ..Filter::default() };
    let newest = catalog::list(store, &filter, false).await.ok()?.pop()?;
    let restore_ms = expected(newest.stored, &measured)?;
    Some(Estimate { archive: newest.id.to_string(), stored: newest.stored, restore_ms, drills: measured.len() as u64 })
}

/// The milliseconds that so many bytes take at the median of the measured rates.
fn expected(stored: u64, measured: &[Measured]) -> Option<u64> {
    let mut rates: Vec<f64> =
        measured.iter().filter(|(bytes, _)| *bytes > 0).map(|(bytes, ms)| *ms as f64 / *bytes as f64).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate in milliseconds")]
    Some((median * stored as f64).round() as u64)
}

/// What the newest reports of drills of this source say.
async fn earlier(store: &Store, id: &ArchiveId) -> Vec<Measured> {
    use futures::TryStreamExt as _;
    let mut names = Vec::new();
    let prefix = format!("{}-", id.guid());
    let mut listing = store.list(&prefix, None);
    while let Ok(Some(object)) = listing.try_next().await {
        if let ObjectName::Sidecar(of, Word::Verified, Some(millis)) = ObjectName::parse(&object.name) {
            names.push((millis, of, object.name));
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    let mut measured = Vec::new();
    // A verification leaves reports too.
    for (_, of, name) in names.into_iter().take(4 * REPORTS) {
        let Ok(Some(bytes)) = store.get(&name, MAX_REPORT).await else { continue };
        if let Ok(sealed) = Report::parse(&bytes, &of, &name) {
            measured.extend(of_report(&sealed.report));
        }
        if measured.len() == REPORTS {
            break;
        }
    }
    measured
}

fn of_report(report: &Report) -> Option<Measured> {
    let details: serde_json::Value =
        serde_json::from_str(&report.details).ok().filter(|_| report.level == Level::Drill)?;
    let restore = details.get("phases_ms")?.get("restore")?.as_u64()?;
    Some((details.get("stored")?.as_u64()?, restore)).filter(|_| report.good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_rate_is_taken() {
        assert_eq!(expected(1000, &[]), None);
        assert_eq!(expected(1000, &[(0, 5)]), None);
        assert_eq!(expected(1000, &[(100, 10)]), Some(100));
        assert_eq!(expected(1000, &[(100, 10), (100, 1000), (100, 20)]), Some(200));
    }

    #[test]
    fn only_good_drills_count() {
        let report = |level, good, details: &str| Report {
            id: "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap(),
            root: None,
            level,
            good,
            at: String::new(),
            by: String::new(),
            details: details.to_owned(),
        };
        let details = r#"{"stored":100,"phases_ms":{"restore":7}}"#;
        assert_eq!(of_report(&report(Level::Drill, true, details)), Some((100, 7)));
        assert_eq!(of_report(&report(Level::Drill, false, details)), None);
        assert_eq!(of_report(&report(Level::Deep, true, details)), None);
        assert_eq!(of_report(&report(Level::Drill, true, r#"{"stored":100}"#)), None);
    }
}
