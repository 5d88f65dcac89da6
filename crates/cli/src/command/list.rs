//! `list`: the archives of a store.

use std::fmt;

use backstay::catalog::{Entry, State};
use backstay::policy::ProfileName;
use backstay_format::header::Kind;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::args::select::Narrow;
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
  backstay list --json | jq -r '.archives[].id'";

/// List the archives of a store, the oldest first
///
/// One line for each archive. Names, tags and content sizes stand in the archives' manifests, so one small object is read
/// for each archive; --short leaves those columns out and only lists the store.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    #[command(flatten)]
    narrow: Narrow,
    /// Also archives that are not complete: interrupted, still being written, or given up
    #[arg(long, help_heading = "Selection")]
    incomplete: bool,
    /// Only what the listing of the store tells
    #[arg(long)]
    short: bool,
}

impl List {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let store = session.store().await?;
        self.say_what_narrows(session);
        let filter = self.narrow.filter(self.incomplete)?;
        let read_manifests = !self.short || filter.name.is_some() || filter.tag.is_some();
        let entries = backstay::catalog::list(&store, &filter, read_manifests).await?;
        let archives = entries.iter().map(Row::from).collect();
        session.output.result("list", &Rows { store: store.url().to_owned(), archives, short: !read_manifests })?;
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
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Row {
        let begun = i64::try_from(entry.id.millis()).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
        Row {
            id: entry.id.to_string(),
            time: begun.map(|time| format!("{time:.0}")).unwrap_or_default(),
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
            modified: Timestamp::try_from(entry.modified).ok().map(|time| format!("{time:.3}")),
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
    #[serde(skip)]
    short: bool,
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            ["ARCHIVE", "BEGUN", "STATE", "FORMAT", "PARTS", "STORED", "CONTENT", "NAME", "TAGS"]
                .map(str::to_owned)
                .to_vec(),
        ];
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
                row.tags.join(","),
            ]);
        }
        if self.short {
            for row in &mut rows {
                row.truncate(6);
            }
        }
        // A store without archives is told as such, on no line at all: scripts count lines.
        if self.archives.is_empty() { Ok(()) } else { f.write_str(&table(&rows, &[4, 5, 6])) }
    }
}
