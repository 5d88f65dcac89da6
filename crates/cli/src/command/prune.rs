//! `prune`: retention.

use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::time::Duration;

use backstay::retention::{Belief, Deed, Policy, PruneOptions, Pruned, Row as Archive, Selection};
use backstay::{Error, guid};
use backstay_format::Guid;
use backstay_format::signature::Signer;
use clap::Args;
use serde::Serialize;

use super::verify::host;
use crate::args::unlock::Unlock;
use crate::args::value::{parse_duration, parse_some_duration};
use crate::config::Origin;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::document::Document;
use crate::output::human::{count, fitted};
use crate::output::{Output, Size, visible};
use crate::run::{DEGRADED, Status};
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12          the plan, with a reason for each archive
  backstay prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --yes    carry it out
  backstay prune --keep-within 30d --keep-tag release --name pg-main
  backstay prune --keep-daily 30 --require-verified 60d -i key.txt

An archive that any rule keeps is kept, for each source apart. It takes two runs to delete one: the first leaves a tombstone,
and a run after --grace deletes the archive if it comes to the same end. What is not whole, not believed or held is never
deleted; docs/retention.md tells more.";

/// Delete the archives that no rule keeps
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Prune {
    /// Keep so many of the newest
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Rules")]
    keep_last: u32,
    /// Keep the newest of each of so many hours that have archives
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Rules")]
    keep_hourly: u32,
    /// Keep the newest of each of so many days
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Rules")]
    keep_daily: u32,
    /// Keep the newest of each of so many weeks; they begin on Monday
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Rules")]
    keep_weekly: u32,
    /// Keep the newest of each of so many months
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Rules")]
    keep_monthly: u32,
    /// Keep the newest of each of so many years
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Rules")]
    keep_yearly: u32,
    /// Keep everything begun within this time before the newest good archive
    #[arg(long, value_name = "DURATION", value_parser = parse_some_duration, help_heading = "Rules")]
    keep_within: Option<Duration>,
    /// Keep what has this tag, whether from the beginning or added with `tag`. Can be given several times
    #[arg(long, value_name = "TAG", help_heading = "Rules")]
    keep_tag: Vec<String>,
    /// Keep so many of the newest whatever the rules say
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Rules")]
    min_keep: u32,

    /// Only archives of the source with this name, or members of the backup sets with it
    #[arg(long, value_name = "NAME", help_heading = "Selection")]
    name: Option<String>,
    /// Only archives of the source with this guid, or members of the backup sets with it
    #[arg(long, value_name = "GUID", help_heading = "Selection")]
    guid: Option<Guid>,
    /// Only archives that were made with this tag
    #[arg(long, value_name = "TAG", help_heading = "Selection")]
    tag: Vec<String>,

    /// Count an archive only if a report of no more than this age says that it is good; see `verify --record`
    #[arg(long, value_name = "AGE", value_parser = parse_some_duration, help_heading = "Trust")]
    require_verified: Option<Duration>,
    /// Demand that this public key signed every archive
    #[arg(long, value_name = "KEY", value_parser = Signer::parse, help_heading = "Trust")]
    signer: Option<Signer>,
    /// Believe only reports that this public key signed
    #[arg(long, value_name = "KEY", value_parser = Signer::parse, help_heading = "Trust")]
    report_signer: Option<Signer>,
    /// Believe times in names although the store's differ by more than a day, as they do in a replica
    #[arg(long, help_heading = "Trust")]
    trust_name_time: bool,
    #[command(flatten)]
    unlock: Unlock,

    /// Carry the plan out; without it the plan is all
    #[arg(long)]
    yes: bool,
    /// How long an archive is left after it got its tombstone; 0s, only on the command line, deletes it in the same run
    #[arg(long, value_name = "DURATION", default_value = "48h", value_parser = parse_duration)]
    grace: Duration,
    /// The most archives of one source that may be on their way out [default: what was added since the last prune, and one for each rule]
    #[arg(long, value_name = "N")]
    max_expire: Option<u32>,
    /// Go on although more would go than that
    #[arg(long)]
    force: bool,
}

impl Prune {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let options = self.options(session)?;
        options.policy.check()?;
        self.say_what_narrows(session);
        let belief = Belief { keyring, signer: self.signer, report_signer: self.report_signer };
        let store = session.store().await?;
        let mut pruned = backstay::prune(&store, &options, &belief, &session.context).await?;
        let stopped = pruned.stopped.take();
        let stopped_by = stopped.as_ref().map(Error::code);
        let report = Report { stopped_by, ..Report::new(store.url(), &pruned, self.yes, session.output.columns()) };
        report.print(&session.output)?;
        session.output.note(&report.summary());
        let narrowed = [
            self.name.as_ref().map(|name| format!("name {name}")),
            self.guid.as_ref().map(|guid| format!("guid {guid}")),
            self.tag.first().map(|tag| format!("tag {tag}")),
        ];
        let narrowed: Vec<String> = narrowed.into_iter().flatten().collect();
        // One that is passed over today, for it is too young to be judged perhaps, is there all the same.
        let is_meant = |row: &Archive| {
            row.deed != Deed::PassedOver
                || self.guid.as_ref().is_some_and(|guid| row.id.guid() == *guid)
                || self.name.as_ref().is_some_and(|name| {
                    row.name.as_deref() == Some(name) || guid::from_name(name).is_ok_and(|guid| guid == row.id.guid())
                })
        };
        let matches_nothing = !pruned.rows.iter().any(is_meant) && report.sets.is_empty() && report.blocked.is_empty();
        if matches_nothing && !narrowed.is_empty() {
            // A rule with a slip of the pen in it would never delete anything, and nobody would see it. It is no failure: the first backup may be yet to come.
            let text = format!(
                "no archive in {} that the rules could be for has the {}",
                report.store,
                narrowed.join(" and the ")
            );
            session.output.warning(None, &text);
        }
        for blocked in &report.blocked {
            let text = format!("nothing of {} is deleted: {}", blocked.guid, blocked.reason);
            session.output.warning(None, &text);
        }
        if let Some(error) = stopped {
            return Err(error.into());
        }
        if let Some(excess) = pruned.excess.first() {
            let message = format!(
                "{} of {} would go, and {} may",
                count(excess.expiring as u64, "archive"),
                excess.guid,
                excess.allowed
            );
            return Err(Failure::new("retention.too-many", message));
        }
        let refused = pruned.rows.iter().find_map(|row| match &row.deed {
            Deed::Refused(finding) => Some((row, finding)),
            _ => None,
        });
        match refused {
            Some((row, finding)) => {
                Err(Failure::new(finding.code, format!("{} could not be deleted", row.id)).because(&finding.text))
            }
            None if report.blocked.is_empty() => Ok(0),
            None => Ok(DEGRADED),
        }
    }

    fn options(&self, session: &Session) -> Result<PruneOptions> {
        if self.tag.len() > 1 {
            return Err(Failure::usage(format!("{} tags were given, archives are selected by one", self.tag.len())));
        }
        if self.grace.is_zero() && !session.settings.is_spelled_out("grace") {
            return Err(Failure::usage("a grace of nothing is only for the command line: --grace 0s"));
        }
        let policy = Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            tags: self.keep_tag.iter().cloned().collect(),
            min_keep: self.min_keep,
            require_verified: self.require_verified,
            trust_name_time: self.trust_name_time,
            max_expire: self.max_expire,
            selection: Selection { guid: self.guid.clone(), name: self.name.clone(), tag: self.tag.first().cloned() },
        };
        Ok(PruneOptions { policy, grace: self.grace, delete: self.yes, force: self.force, by: host() })
    }

    /// A selection that nobody typed now would look like rules that do not work.
    fn say_what_narrows(&self, session: &Session) {
        for key in ["name", "guid", "tag"] {
            if let Some(setting) = session.settings.get(key).filter(|setting| setting.origin != Origin::CommandLine) {
                let values = setting.values.join(", ");
                session.output.note(&format!("only archives of {key} {values} are pruned ({})", setting.origin));
            }
        }
    }
}

/// What became of an archive, in a word or two.
fn fate(deed: &Deed) -> &'static str {
    match deed {
        Deed::Kept => "kept",
        Deed::PassedOver => "passed over",
        Deed::WouldExpire => "to expire",
        Deed::Expired => "expired",
        Deed::Waits(_) => "waiting",
        Deed::WouldDelete => "to delete",
        Deed::Deleted => "deleted",
        Deed::Locked(_) => "locked",
        Deed::Refused(_) => "refused",
        Deed::Begun(_) => "begun",
    }
}

/// One archive as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: Option<String>,
    fate: &'static str,
    /// Until when it waits.
    until: Option<String>,
    reasons: Vec<String>,
    parts: u32,
    bytes: u64,
}

impl From<&Archive> for Row {
    fn from(row: &Archive) -> Row {
        let mut reasons: Vec<String> = row.reasons.iter().map(ToString::to_string).collect();
        let mut until = None;
        match &row.deed {
            Deed::Waits(time) => until = Some(format!("{time:.0}")),
            Deed::Locked(finding) | Deed::Refused(finding) | Deed::Begun(finding) => reasons.push(finding.text.clone()),
            _ => {}
        }
        let (id, name, fate) = (row.id.to_string(), row.name.as_deref().map(str::to_owned), fate(&row.deed));
        Row { id, name, fate, until, reasons, parts: row.parts, bytes: row.bytes }
    }
}

/// A source of which nothing is deleted.
#[derive(Debug, Serialize)]
struct Blocked {
    guid: String,
    reason: String,
}

/// A source of which too many would go.
#[derive(Debug, Serialize)]
struct TooMany {
    guid: String,
    expiring: usize,
    allowed: usize,
    since: Option<String>,
}

/// All of it but the archives, which may be many and are printed one by one.
#[derive(Debug, Serialize)]
struct Report<'a> {
    store: &'a str,
    /// Whether it was done, or is a plan.
    done: bool,
    /// The code of what ended the run before its end.
    stopped_by: Option<&'static str>,
    #[serde(skip)]
    archives: &'a [Archive],
    /// Backup sets that were deleted.
    sets: &'a [String],
    blocked: Vec<Blocked>,
    too_many: Vec<TooMany>,
    /// Of the terminal.
    #[serde(skip)]
    columns: Option<usize>,
}

impl<'a> Report<'a> {
    fn new(store: &'a str, pruned: &'a Pruned, done: bool, columns: Option<usize>) -> Report<'a> {
        let blocked = pruned.blocked.iter();
        let excess = pruned.excess.iter();
        Report {
            store,
            done,
            stopped_by: None,
            archives: &pruned.rows,
            sets: &pruned.sets,
            blocked: blocked
                .map(|(guid, reason)| Blocked { guid: guid.to_string(), reason: reason.to_string() })
                .collect(),
            too_many: excess
                .map(|excess| TooMany {
                    guid: excess.guid.to_string(),
                    expiring: excess.expiring,
                    allowed: excess.allowed,
                    since: excess.since.map(|since| format!("{since:.0}")),
                })
                .collect(),
            columns,
        }
    }

    fn print(&self, output: &Output) -> Result<()> {
        if !output.is_json() {
            return output.data(&visible::lines(&self.to_string()));
        }
        let mut document = Document::new(output, "archives");
        for archive in self.archives {
            document.item(&Row::from(archive))?;
        }
        document.end("prune", self)
    }

    fn summary(&self) -> String {
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for row in self.archives {
            let (number, bytes) = sums.entry(fate(&row.deed)).or_default();
            (*number, *bytes) = (*number + 1, *bytes + row.bytes);
        }
        let told: Vec<String> = [
            ("deleted", "deleted"),
            ("expired", "got a tombstone and will be deleted after the grace"),
            ("begun", "may be gone in part: the next run finishes it"),
            ("locked", "could not be deleted yet: the store protects them"),
            ("waiting", "will be deleted after the grace"),
            ("to expire", if self.done { "got no tombstone yet" } else { "would get a tombstone: say --yes" }),
            ("to delete", "would be deleted: say --yes"),
        ]
        .into_iter()
        .filter_map(|(fate, verb)| {
            let (number, bytes) = sums.get(fate)?;
            Some(format!("{} with {} {verb}", count(*number, "archive"), Size(*bytes)))
        })
        .collect();
        if told.is_empty() { "nothing is to be deleted".to_owned() } else { told.join("; ") }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["ARCHIVE", "NAME", "FATE", "UNTIL", "STORED", "WHY"].map(str::to_owned).to_vec();
        let row = |archive: &Archive| {
            let row = Row::from(archive);
            let (until, why) = (row.until.unwrap_or_default(), row.reasons.join(", "));
            vec![row.id, row.name.unwrap_or_default(), row.fate.to_owned(), until, Size(row.bytes).to_string(), why]
        };
        let rows = || iter::once(head.clone()).chain(self.archives.iter().map(row));
        if self.archives.is_empty() { Ok(()) } else { fitted(f, rows, &[4], &[4], self.columns) }
    }
}
