//! The keep rules. An archive that any of them keeps is kept.
//!
//! Times are those in the archives' names, in UTC: days, weeks (from Monday) and months are the same wherever a pruner runs,
//! and whatever becomes of summer time.

use std::collections::BTreeSet;
use std::time::Duration;

use backstay_format::Guid;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// What is kept. The default keeps nothing and is refused by [`check`](Policy::check).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// So many of the newest.
    pub last: u32,
    /// The newest of each of so many hours that have archives.
    pub hourly: u32,
    /// The newest of each of so many days that have archives.
    pub daily: u32,
    /// The newest of each of so many weeks that have archives.
    pub weekly: u32,
    /// The newest of each of so many months that have archives.
    pub monthly: u32,
    /// The newest of each of so many years that have archives.
    pub yearly: u32,
    /// What was begun within this time before the newest good one, or before now where that is longer ago.
    pub within: Option<Duration>,
    /// What has one of these labels, whether from the beginning or added.
    pub tags: BTreeSet<String>,
    /// So many of the newest, whatever the rules say. At least one.
    pub min_keep: u32,
    /// Only archives count that a believed report of no more than this age calls good.
    pub require_verified: Option<Duration>,
    /// Believe the time in a name even where the store's time differs by more than a day: in a replica it does.
    pub trust_name_time: bool,
    /// The most archives of one source that may be on their way out; by default what was added since the last prune, and a little more.
    pub max_expire: Option<u32>,
    /// Which archives the rules are for.
    pub selection: Selection,
}

/// Which archives the rules are for. The others are neither counted nor deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of this source.
    pub guid: Option<Guid>,
    /// Of the source with this name.
    pub name: Option<String>,
    /// With this label in the manifest: one that was added later can keep an archive, and not give it up.
    pub tag: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within: None,
            tags: BTreeSet::new(),
            min_keep: 1,
            require_verified: None,
            trust_name_time: false,
            max_expire: None,
            selection: Selection::default(),
        }
    }
}

/// A rule that keeps the newest of each of some spans of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Each archive is a span of its own.
    Last,
    /// Hours.
    Hourly,
    /// Days.
    Daily,
    /// Weeks, from Monday.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Rule {
    /// As it is called in a plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::Last => "last",
            Rule::Hourly => "hourly",
            Rule::Daily => "daily",
            Rule::Weekly => "weekly",
            Rule::Monthly => "monthly",
            Rule::Yearly => "yearly",
        }
    }

    /// The number of the span that a time is in; `None` where each archive is one.
    pub(super) fn span(self, millis: u64) -> Option<i64> {
        const HOUR: i64 = 3_600_000;
        let millis = i64::try_from(millis).unwrap_or(i64::MAX);
        let day = millis.div_euclid(24 * HOUR);
        let date = || {
            let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
            time.to_zoned(TimeZone::UTC).date()
        };
        match self {
            Rule::Last => None,
            Rule::Hourly => Some(millis.div_euclid(HOUR)),
            Rule::Daily => Some(day),
            // 1970 began on a Thursday.
            Rule::Weekly => Some((day + 3).div_euclid(7)),
            Rule::Monthly => {
                let date = date();
                Some(i64::from(date.year()) * 12 + i64::from(date.month()))
            }
            Rule::Yearly => Some(i64::from(date().year())),
        }
    }
}

impl Policy {
    /// Refuses a policy that is none.
    ///
    /// # Errors
    /// `usage.arguments` when no rule keeps anything by time or number.
    pub fn check(&self) -> Result<()> {
        let refuse = |why: &str| Err(Error::Usage { why: why.to_owned() });
        if self.min_keep == 0 {
            return refuse("--min-keep is at least 1: the newest good archive of a source is never removed");
        }
        if self.rules().next().is_none() && self.within.is_none_or(|within| within.is_zero()) {
            return refuse(if self.tags.is_empty() {
                "there is no rule what to keep: give at least one of --keep-last, --keep-hourly, --keep-daily, --keep-weekly, --keep-monthly, --keep-yearly, --keep-within, and --keep-tag beside one of them"
            } else {
                "--keep-tag alone would give up almost everything: say with --keep-last, --keep-daily or another rule what else to keep"
            });
        }
        Ok(())
    }

    /// The rules over spans, with their numbers.
    pub(super) fn rules(&self) -> impl Iterator<Item = (Rule, u32)> {
        [
            (Rule::Last, self.last),
            (Rule::Hourly, self.hourly),
            (Rule::Daily, self.daily),
            (Rule::Weekly, self.weekly),
            (Rule::Monthly, self.monthly),
            (Rule::Yearly, self.yearly),
        ]
        .into_iter()
        .filter(|(_, number)| *number > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(rule: Rule, time: &str) -> i64 {
        let millis = time.parse::<Timestamp>().unwrap().as_millisecond();
        rule.span(u64::try_from(millis).unwrap()).unwrap()
    }

    #[test]
    fn spans_begin_where_calendars_say() {
        for (rule, before, begin, last) in [
            (Rule::Hourly, "2026-01-31T01:59:59.999Z", "2026-01-31T02:00:00Z", "2026-01-31T02:59:59Z"),
            (Rule::Daily, "2026-01-30T23:59:59.999Z", "2026-01-31T00:00:00Z", "2026-01-31T23:59:59Z"),
            // 2026-02-02 was a Monday.
            (Rule::Weekly, "2026-02-01T23:59:59.999Z", "2026-02-02T00:00:00Z", "2026-02-08T23:59:59Z"),
            (Rule::Monthly, "2026-01-31T23:59:59.999Z", "2026-02-01T00:00:00Z", "2026-02-28T23:59:59Z"),
            (Rule::Yearly, "2025-12-31T23:59:59.999Z", "2026-01-01T00:00:00Z", "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(span(rule, begin), span(rule, last), "{rule:?}");
            assert_eq!(span(rule, before) + 1, span(rule, begin), "{rule:?}");
        }
        assert!(span(Rule::Monthly, "2026-01-01T00:00:00Z") > span(Rule::Monthly, "2025-12-01T00:00:00Z"));
        assert!(Rule::Yearly.span(u64::MAX).is_some());
    }

    #[test]
    fn a_policy_without_a_rule_is_refused() {
        let refused = |policy: Policy| policy.check().is_err();
        assert!(refused(Policy::default()) && refused(Policy { min_keep: 7, ..Policy::default() }));
        assert!(refused(Policy { tags: ["x".to_owned()].into(), ..Policy::default() }));
        assert!(refused(Policy { within: Some(Duration::ZERO), ..Policy::default() }));
        assert!(refused(Policy { last: 1, min_keep: 0, ..Policy::default() }));
        assert!(!refused(Policy { yearly: 1, ..Policy::default() }));
        assert!(!refused(Policy { within: Some(Duration::from_secs(1)), ..Policy::default() }));
    }
}
