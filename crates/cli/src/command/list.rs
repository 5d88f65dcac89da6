//! `list`: the archives of a store.

use std::fmt;
use std::iter;
use std::time::SystemTime;

use backstay::catalog::{self, Entry, Filter, Listed, Listing, SetEntry, State, Verified};
use backstay::policy::ProfileName;
use backstay::set::SetState;
use backstay_format::ArchiveId;
use backstay_format::header::Kind;
use backstay_store::Store;
use clap::{Args, ValueEnum};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::format::FormatName;
use crate::args::select::Narrow;
use crate::args::value::parse_size;
use crate::config::Origin;
use crate::failure::Result;
use crate::output::document::Document;
use crate::output::human::{count, fitted};
use crate::output::{Size, visible};
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay list
  backstay list --name pg-main --before 2026-01-31
  backstay list --tag release-17 --held
  backstay list --verified never --min-stored 1GiB
  backstay list --json | jq -r '.archives[].id'
  backstay list --json-lines | jq -r 'select(.type == \"listed_archive\" and .kind == \"full\").id'

On a terminal that is too narrow for all columns the dullest are left out, and never a part of an
id. The list is in the order of times and names are in that of the sources, so that the store is
listed before anything is printed; with --json the archives are then printed while their manifests
are read, and a run that fails leaves a document without an end. With --json-lines each archive is
printed at once, and a list that is not whole has no last line.";

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
    /// One JSON object a line, each printed as soon as it is known and in the order of the store's own listing: by source, then by time. The last
    /// line, `listed`, has their number, and stands only under a list that is whole
    #[arg(long)]
    json_lines: bool,
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
        let (output, context) = (&session.output, &session.context);
        if self.json_lines {
            return json_lines(&store, &filter, read_manifests, session).await;
        }
        let mut listing = Listing::open(&store, &filter, read_manifests).await?;
        if output.is_json() {
            let mut document = Document::new(output, "archives");
            while let Some(entry) = listing.next().await? {
                document.item(&Row::from(&entry))?;
            }
            let sets = listing.sets(context).await?.iter().map(SetRow::from).collect();
            document.end("list", &Rest { sets, store: store.url() })?;
            return Ok(0);
        }
        let mut archives = Vec::new();
        while let Some(entry) = listing.next().await? {
            archives.push(entry);
        }
        let sets = listing.sets(context).await?;
        if archives.is_empty() && sets.is_empty() && !filter.incomplete {
            let all = Filter { incomplete: true, ..filter.clone() };
            let left_out = catalog::list(&store, &all, false).await?.len() as u64;
            if left_out > 0 {
                let text = format!("{} not complete; --incomplete lists what there is", count_are(left_out));
                session.output.note(&text);
            }
        }
        let table = Table { archives, sets, short: !read_manifests, columns: output.columns() };
        output.data(&visible::lines(&table.to_string()))?;
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

fn count_are(number: u64) -> String {
    format!("{} {}", count(number, "archive"), if number == 1 { "is" } else { "are" })
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
                State::Keyless => "keyless",
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

/// What stands behind the archives, by the alphabet too.
#[derive(Serialize)]
struct Rest<'a> {
    sets: Vec<SetRow>,
    store: &'a str,
}

/// The end of a list of lines.
#[derive(Default, Serialize)]
struct End<'a> {
    archives: u64,
    sets: u64,
    store: &'a str,
}

async fn json_lines(store: &Store, filter: &Filter, read_manifests: bool, session: &Session) -> Result<Status> {
    let mut end = End { store: store.url(), ..End::default() };
    let mut listed = catalog::stream(store, filter, read_manifests, &session.context);
    while let Some(listed) = listed.try_next().await? {
        match listed {
            Listed::Archive(entry) => {
                end.archives += 1;
                session.output.json_line("listed_archive", &Row::from(&*entry))?;
            }
            Listed::Set(entry) => {
                end.sets += 1;
                session.output.json_line("listed_set", &SetRow::from(&*entry))?;
            }
        }
    }
    session.output.json_line("listed", &end)?;
    Ok(0)
}

/// All of them, for people.
struct Table {
    archives: Vec<Entry>,
    sets: Vec<SetEntry>,
    short: bool,
    /// Of the terminal.
    columns: Option<usize>,
}

impl Table {
    const STATE: usize = 2;
    const FORMAT: usize = 3;
    const PARTS: usize = 4;
    const STORED: usize = 5;
    const CONTENT: usize = 6;

    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let head = ["ARCHIVE", "BEGUN", "STATE", "FORMAT", "PARTS", "STORED", "CONTENT", "NAME", "TAGS", "MARKS"];
        let (mut sets, mut archives) = (self.sets.iter().peekable(), self.archives.iter().peekable());
        let rows = iter::from_fn(move || {
            // A set stands before its members: it was begun before them.
            let next = archives.peek().map(|entry| &entry.id);
            match sets.next_if(|set| next.is_none_or(|next| set.id < *next)) {
                Some(set) => Some(Table::set(set)),
                None => archives.next().map(Table::archive),
            }
        });
        iter::once(head.map(str::to_owned).to_vec()).chain(rows).map(|mut row| {
            row.truncate(if self.short { Table::STORED + 1 } else { row.len() });
            row
        })
    }

    fn archive(entry: &Entry) -> Vec<String> {
        let row = Row::from(entry);
        let marks = row.marks();
        let tags = row.tags.iter().chain(&row.added_tags).map(String::as_str).collect::<Vec<_>>().join(",");
        vec![
            row.id,
            row.time,
            row.state.to_owned(),
            row.profile.unwrap_or("?").to_owned(),
            row.parts.to_string(),
            Size(row.stored).to_string(),
            row.content.map(|content| Size(content).to_string()).unwrap_or_default(),
            row.name.unwrap_or_default(),
            tags,
            marks,
        ]
    }

    fn set(entry: &SetEntry) -> Vec<String> {
        let set = SetRow::from(entry);
        let known = |text: String| if set.state.is_some() { text } else { String::new() };
        vec![
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
        ]
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A store without archives is told as such, on no line at all: scripts count lines.
        if self.archives.is_empty() && self.sets.is_empty() {
            return Ok(());
        }
        // That all are complete is what is expected.
        let all_whole = self.archives.iter().all(|entry| entry.state == State::Committed)
            && self.sets.iter().all(|set| set.state.is_none_or(|state| state == SetState::Completed));
        let mut dull = vec![Table::PARTS, Table::FORMAT];
        dull.extend(all_whole.then_some(Table::STATE));
        dull.push(Table::CONTENT);
        fitted(f, || self.rows(), &[Table::PARTS, Table::STORED, Table::CONTENT], &dull, self.columns)
    }
}
