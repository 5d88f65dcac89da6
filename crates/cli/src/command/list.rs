//! `list`: the archives of a store.

use std::fmt;
use std::time::SystemTime;

use backstay::catalog::{Entry, Filter, SetEntry, State, Verified};
use backstay::policy::ProfileName;
use backstay::set::SetState;
use backstay_format::ArchiveId;
use backstay_format::header::Kind;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use crate::args::format::FormatName;
use crate::args::select::Narrow;
use crate::args::value::parse_size;
use crate::config::Origin;
use crate::failure::Result;
use crate::output::Size;
use crate::output::human::table;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay list
  backstay list --name pg-main --before 2026-01-31
  backstay list --tag release-17 --held
  backstay list --verified never --min-stored 1GiB
  backstay list --json | jq -r '.archives[].id'";

/// List the archives and backup sets of a store, the oldest first
///
/// One line for each archive and each set, whose members are archives too. Names, tags and content sizes stand in the archives' manifests, so one small object is read
/// for each archive; --short leaves those columns out and only lists the store.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    #[command(flatten)]
    narrow: Narrow,
    /// Also archives that are not complete: interrupted, still being written, or given up
    #[arg(long, help_heading = "Selection")]
    incomplete: bool,
    /// Only archives of this kind
    #[arg(long, value_name = "KIND", value_parser = parse_kind, help_heading = "Selection")]
    kind: Option<Kind>,
    /// Only archives of this format
    #[arg(long, value_name = "FORMAT", help_heading = "Selection")]
    of_format: Option<FormatName>,
    /// Only archives that take at least this much in the store
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Selection")]
    min_stored: Option<u64>,
    /// Only archives that take at most this much in the store
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Selection")]
    max_stored: Option<u64>,
    /// Only archives of which the newest report says this; whether its seal is good is not checked here
    #[arg(long, value_name = "VERDICT", help_heading = "Selection")]
    verified: Option<VerifiedName>,
    /// Only archives that somebody holds
    #[arg(long, help_heading = "Selection")]
    held: bool,
    /// Only what the listing of the store tells
    #[arg(long)]
    short: bool,
}

/// What the newest report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerifiedName {
    /// Nothing was wrong
    Good,
    /// Something was
    Bad,
    /// There is none
    Never,
}

fn parse_kind(text: &str) -> std::result::Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| format!("`{text}` is none of full, incremental, differential"))
}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        self.say_what_narrows(session);
        let filter = Filter {
            kind: self.kind,
            profile: self.of_format.map(Into::into),
            min_stored: self.min_stored,
            max_stored: self.max_stored,
            verified: self.verified.map(|verified| match verified {
                VerifiedName::Good => Verified::Good,
                VerifiedName::Bad => Verified::Bad,
                VerifiedName::Never => Verified::Never,
            }),
            held: self.held,
            ..self.narrow.filter(self.incomplete)?
        };
        let read_manifests = !self.short || filter.name.is_some() || filter.tag.is_some();
        let (entries, sets) = backstay::catalog::list_all(&store, &filter, read_manifests, &session.context).await?;
        let archives = entries.iter().map(Row::from).collect();
        let sets = sets.iter().map(SetRow::from).collect();
        session
            .output
            .result("list", &Rows { store: store.url().to_owned(), archives, sets, short: !read_manifests })?;
        Ok(0)
    }

    /// A filter that nobody typed now would look like archives that are gone.
    fn say_what_narrows(&self, session: &Session) {
        for key in ["name", "guid", "tag", "before"] {
            if let Some(setting) = session.settings.get(key).filter(|setting| setting.origin != Origin::CommandLine) {
                session.output.note(&format!(
                    "only archives of {key} {} are listed ({})",
                    setting.values.join(", "),
                    setting.origin
                ));
            }
        }
    }
}

/// One archive as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) time: String,
    pub(super) state: &'static str,
    pub(super) profile: Option<&'static str>,
    pub(super) kind: Option<&'static str>,
    pub(super) name: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) parts: u32,
    pub(super) stored: u64,
    pub(super) content: Option<u64>,
    pub(super) keyboxes: u32,
    pub(super) modified: Option<String>,
    pub(super) held: bool,
    pub(super) expired: Option<String>,
    pub(super) added_tags: Vec<String>,
    pub(super) reports: u32,
    pub(super) reported: Option<Reported>,
}

/// What the newest report says, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Reported {
    result: &'static str,
    level: &'static str,
    at: Option<String>,
}

impl Row {
    /// What was said of it later, in a few words.
    pub(super) fn marks(&self) -> String {
        let mut marks = Vec::new();
        if self.held {
            marks.push("held".to_owned());
        }
        if self.expired.is_some() {
            marks.push("expired".to_owned());
        }
        match &self.reported {
            Some(reported) => marks.push(format!("{} ({})", reported.result, reported.level)),
            None if self.reports > 0 => marks.push("reported on".to_owned()),
            None => {}
        }
        marks.join(", ")
    }
}

fn printed(time: SystemTime) -> Option<String> {
    Timestamp::try_from(time).ok().map(|time| format!("{time:.3}"))
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Row {
        Row {
            id: entry.id.to_string(),
            time: begun(&entry.id),
            state: match entry.state {
                State::Committed => "committed",
                State::Incomplete => "incomplete",
                State::Aborted => "aborted",
            },
            profile: entry.profile.map(profile_name),
            kind: entry.kind.map(Kind::as_str),
            name: entry.name.clone(),
            tags: entry.tags.clone(),
            parts: entry.parts,
            stored: entry.stored,
            content: entry.content,
            keyboxes: entry.keyboxes,
            modified: printed(entry.modified),
            held: entry.held,
            expired: entry.expired.and_then(printed),
            added_tags: entry.added_tags.clone(),
            reports: entry.reports,
            reported: entry.reported.map(|reported| Reported {
                result: if reported.good { "good" } else { "bad" },
                level: reported.level.as_str(),
                at: printed(reported.at),
            }),
        }
    }
}

/// When an archive or a set was begun.
pub(super) fn begun(id: &ArchiveId) -> String {
    let begun = i64::try_from(id.millis()).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    begun.map(|time| format!("{time:.0}")).unwrap_or_default()
}

/// One backup set as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct SetRow {
    pub(super) id: String,
    pub(super) time: String,
    /// `None` where nobody looked at the members.
    pub(super) state: Option<&'static str>,
    pub(super) name: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) added_tags: Vec<String>,
    pub(super) held: bool,
    pub(super) source: Option<String>,
    /// The archives of the set; empty where it cannot be read.
    pub(super) members: Vec<String>,
    pub(super) stored: u64,
    pub(super) content: Option<u64>,
}

impl From<&SetEntry> for SetRow {
    fn from(entry: &SetEntry) -> SetRow {
        let set = entry.set.as_ref();
        SetRow {
            id: entry.id.to_string(),
            time: begun(&entry.id),
            state: entry.state.map(SetState::as_str),
            name: set.and_then(|set| set.name.clone()),
            tags: set.map(|set| set.tags.clone()).unwrap_or_default(),
            added_tags: entry.added_tags.clone(),
            held: entry.held,
            source: set.and_then(|set| set.source.clone()),
            members: set.into_iter().flat_map(|set| &set.members).map(|member| member.id.to_string()).collect(),
            stored: entry.stored,
            content: entry.content,
        }
    }
}

pub(super) fn profile_name(name: ProfileName) -> &'static str {
    match name {
        ProfileName::Native => "native",
        ProfileName::Openssl => "openssl",
    }
}

/// All of them.
#[derive(Debug, Serialize)]
struct Rows {
    store: String,
    archives: Vec<Row>,
    sets: Vec<SetRow>,
    #[serde(skip)]
    short: bool,
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["ARCHIVE", "BEGUN", "STATE", "FORMAT", "PARTS", "STORED", "CONTENT", "NAME", "TAGS", "MARKS"]
            .map(str::to_owned)
            .to_vec();
        let mut rows = Vec::new();
        for row in &self.archives {
            rows.push(vec![
                row.id.clone(),
                row.time.clone(),
                row.state.to_owned(),
                row.profile.unwrap_or("?").to_owned(),
                row.parts.to_string(),
                Size(row.stored).to_string(),
                row.content.map(|content| Size(content).to_string()).unwrap_or_default(),
                row.name.clone().unwrap_or_default(),
                row.tags.iter().chain(&row.added_tags).map(String::as_str).collect::<Vec<_>>().join(","),
                row.marks(),
            ]);
        }
        for set in &self.sets {
            let known = |text: String| if set.state.is_some() { text } else { String::new() };
            rows.push(vec![
                set.id.clone(),
                set.time.clone(),
                set.state.unwrap_or("committed").to_owned(),
                format!("set of {}", set.members.len()),
                String::new(),
                known(Size(set.stored).to_string()),
                set.content.map(|content| known(Size(content).to_string())).unwrap_or_default(),
                set.name.clone().unwrap_or_default(),
                set.tags.iter().chain(&set.added_tags).map(String::as_str).collect::<Vec<_>>().join(","),
                if set.held { "held".to_owned() } else { String::new() },
            ]);
        }
        // A set stands before its members: it was begun before them.
        rows.sort_by_cached_key(|row| row[0].parse::<ArchiveId>().ok());
        rows.insert(0, head);
        if self.short {
            for row in &mut rows {
                row.truncate(6);
            }
        }
        // A store without archives is told as such, on no line at all: scripts count lines.
        if rows.len() == 1 { Ok(()) } else { f.write_str(&table(&rows, &[4, 5, 6])) }
    }
}
