//! What a drill did and found: for people, for `--json`, for the store and for auditors, all from one place.

use std::fmt;
use std::time::Duration;

use backstay::report::Findings;
use backstay_format::ArchiveId;
use backstay_format::report::Level;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::into_database::Said;
use super::checks::Checked;
use super::history::Estimate;
use crate::failure::Failure;
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::output::visible::cell;

/// What a drill says about its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// It was restored, and everything that was asked is so.
    Passed,
    /// It cannot be restored, or not all that was asked is so.
    Failed,
    /// The drill could not be held: nothing is known.
    Unknown,
}

/// The protocol of a drill.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Protocol {
    pub(super) id: String,
    /// The source's name, if the manifest has it.
    pub(super) name: Option<String>,
    /// When the backup was begun.
    pub(super) created: Option<String>,
    pub(super) root: Option<String>,
    pub(super) store: String,
    pub(super) began: String,
    pub(super) by: String,
    pub(super) backstay: &'static str,
    pub(super) verdict: Verdict,
    /// Into what it was restored, or was to be.
    pub(super) target: String,
    /// What the content is, where it went into a server.
    pub(super) dump: Option<String>,
    pub(super) server: Option<String>,
    pub(super) programs: Option<String>,
    pub(super) content: Option<u64>,
    pub(super) stored: Option<u64>,
    pub(super) authentic: bool,
    pub(super) phases: Phases,
    pub(super) messages: Option<Said>,
    /// Of a backup set, what became of each member.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) members: Vec<Member>,
    pub(super) checks: Vec<Checked>,
    /// The longest time that was allowed.
    pub(super) rto_ms: Option<u64>,
    pub(super) failure: Option<Ending>,
    pub(super) estimate: Option<Estimate>,
    /// The reports that are kept in the store, by name: one, or one for each member of a set.
    pub(super) recorded: Vec<String>,
}

/// A member of a backup set.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// All of it went to the server, which said this.
    Loaded { content: u64, messages: Said },
    /// It could not be restored.
    Lacking(Ending),
}

impl Member {
    pub(super) fn is_lacking(&self) -> bool {
        matches!(self.outcome, Outcome::Lacking(_))
    }

    /// Whether the server has all of it.
    fn is_whole(&self) -> bool {
        matches!(&self.outcome, Outcome::Loaded { messages, .. } if messages.errors == 0)
    }

    /// In words, and whether that is good.
    pub(super) fn told(&self) -> (String, bool) {
        let text = match &self.outcome {
            Outcome::Loaded { content, messages } => format!("{} of content, {messages}", Size(*content)),
            Outcome::Lacking(fault) => format!("not restored: {fault}"),
        };
        (text, self.is_whole())
    }
}

/// Milliseconds of each part of a drill.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Phases {
    /// Until the server was ready.
    pub(super) prepare: Option<u64>,
    /// From the first request to the last statement.
    pub(super) restore: Option<u64>,
    /// What of it the target was waited for; the rest is the store, the line and this machine.
    pub(super) target: Option<u64>,
    pub(super) checks: Option<u64>,
    pub(super) total: u64,
}

/// Why a drill ended early.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ending {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) causes: Vec<String>,
}

impl From<&Failure> for Ending {
    fn from(failure: &Failure) -> Ending {
        Ending { code: failure.code, message: failure.message.clone(), causes: failure.causes.clone() }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Protocol {
    /// Whether it took longer than allowed. What counts is from the first request to the last statement: a server is there already on the day
    /// that matters, or takes longer than a scratch one.
    pub(super) fn is_late(&self) -> bool {
        self.rto_ms.is_some_and(|most| self.phases.restore.is_some_and(|restore| restore > most))
    }

    pub(super) fn member(&self, id: &ArchiveId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id.as_str())
    }

    /// The failure that members which could not be restored are: one that says something of its archive, if there is one.
    pub(super) fn failed_member(&self) -> Option<Failure> {
        let lacking = || self.members.iter().filter(|member| member.is_lacking());
        let failure = |member: &Member| match &member.outcome {
            Outcome::Loaded { .. } => None,
            Outcome::Lacking(Ending { code, message, causes }) => {
                let failure = causes.iter().cloned().fold(Failure::new(code, message.clone()), Failure::because);
                Some(failure.of_member(&member.name, &member.id))
            }
        };
        let of_archive = lacking().filter_map(failure).find(|failure| failure.code != "target.failed");
        let all = self.members.len();
        of_archive
            .or_else(|| lacking().find_map(failure))
            .map(|first| first.beside_members(all - lacking().count(), all))
    }

    /// What is kept of the archive, or of this member: that it takes long is not its fault, and neither is what is wrong with another member. Nothing is kept of a
    /// member for which the server had no place.
    pub(super) fn findings(&self, id: &ArchiveId, is_set: bool) -> Option<Findings> {
        let member = self.member(id);
        let good = match member {
            None if is_set => return None,
            None => self.failure.is_none() && self.failed_checks() == 0,
            Some(Member { outcome: Outcome::Lacking(Ending { code: "target.failed", .. }), .. }) => return None,
            Some(member) => {
                // What is asked of a database that is not there is no other's to answer.
                let of_another = |db: &str| self.members.iter().any(|other| other.name == db && !other.is_whole());
                member.is_whole() && self.checks.iter().all(|check| check.passed || of_another(&check.db))
            }
        };
        Some(Findings { level: Level::Drill, good, by: self.by.clone(), details: self.details(member) })
    }

    pub(super) fn failed_checks(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed).count()
    }

    /// What the store keeps: numbers and codes. It is readable by whoever can read the store, so nothing of the content is in it: no
    /// queries, no answers, no messages of the server.
    fn details(&self, member: Option<&Member>) -> String {
        let (failure, messages) = match member.map(|member| &member.outcome) {
            None => (self.failure.as_ref(), self.messages.as_ref()),
            Some(Outcome::Loaded { messages, .. }) => (None, Some(messages)),
            Some(Outcome::Lacking(fault)) => (Some(fault), None),
        };
        let mut details = json!({
            "authentic": self.authentic && !member.is_some_and(Member::is_lacking),
            "checks": self.checks.len(),
            "checks_failed": self.failed_checks(),
            "phases_ms": without_null(&json!(self.phases)),
            "backstay": self.backstay,
        });
        let optional = [
            ("stored", self.stored.map(Value::from)),
            ("content", self.content.map(Value::from)),
            ("server", self.server.clone().map(Value::from)),
            ("dump", self.dump.clone().map(Value::from)),
            ("rto_ms", self.rto_ms.map(Value::from)),
            ("failure", failure.map(|fault| fault.code.into())),
            ("errors", messages.map(|said| said.errors.into())),
            ("benign", messages.map(|said| said.benign.into())),
            ("codes", messages.map(|said| json!(said.codes))),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                details[name] = value;
            }
        }
        details.to_string()
    }

    /// One sentence on each part of it, as a name and a text: what tables and lines are made of.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let time = |millis: u64| Elapsed(Duration::from_millis(millis)).to_string();
        let mut facts = vec![("archive", self.id.clone())];
        let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
        add("source", self.name.clone());
        add("backup begun", self.created.clone());
        add("root (SHA-256 of all parts)", self.root.clone());
        add("store", Some(self.store.clone()));
        add("drill begun", Some(self.began.clone()));
        add("held by", Some(format!("{}, Backstay {}", self.by, self.backstay)));
        add("content", self.dump.clone());
        // What was begun there and not ended was not restored.
        add(if self.phases.restore.is_some() { "restored into" } else { "target" }, Some(self.target.clone()));
        add("server", self.server.as_ref().map(|version| format!("PostgreSQL {version}")));
        add("programs", self.programs.as_ref().map(|version| format!("PostgreSQL {version}")));
        if let (Some(content), Some(stored)) = (self.content, self.stored) {
            add("size", Some(format!("{} of content from {} stored", Size(content), Size(stored))));
        }
        add("authentic", self.content.map(|_| if self.authentic { "yes" } else { "not proved" }.to_owned()));
        add("server ready after", self.phases.prepare.map(time));
        if let Some(restore) = self.phases.restore {
            let waited =
                self.phases.target.map(|target| format!(", of which the server was waited for {}", time(target)));
            add("restored in", Some(time(restore) + &waited.unwrap_or_default()));
        }
        add(
            "allowed",
            self.rto_ms.map(|most| format!("{}{}", time(most), if self.is_late() { ": exceeded" } else { ": kept" })),
        );
        add("checks made in", self.phases.checks.map(time));
        add("server's messages", self.messages.as_ref().map(ToString::to_string));
        add("estimate", self.estimate.as_ref().map(ToString::to_string));
        add("failure", self.failure.as_ref().map(ToString::to_string));
        add("recorded as", (!self.recorded.is_empty()).then(|| self.recorded.join(", ")));
        facts
    }

    /// The verdict in words.
    pub(super) fn sentence(&self) -> String {
        match self.verdict {
            Verdict::Passed if self.checks.is_empty() => {
                "passed: restored without an error; nothing else was checked".to_owned()
            }
            Verdict::Passed => {
                format!("passed: restored without an error, and {} held", count(self.checks.len() as u64, "check"))
            }
            Verdict::Unknown => "not held: nothing is known about the archive".to_owned(),
            Verdict::Failed => {
                let mut why = Vec::new();
                why.extend(self.failure.as_ref().map(|fault| fault.message.clone()));
                if self.failed_checks() > 0 {
                    why.push(format!(
                        "{} of {} failed",
                        self.failed_checks(),
                        count(self.checks.len() as u64, "check")
                    ));
                }
                if self.is_late() {
                    why.push("it took longer than allowed".to_owned());
                }
                format!("FAILED: {}", why.join("; "))
            }
        }
    }
}

fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        other => other.clone(),
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.members {
            let (text, good) = member.told();
            writeln!(f, "{} {}: {}", if good { "ok  " } else { "FAIL" }, cell(&member.name), on_one_line(&text))?;
        }
        for check in &self.checks {
            let verdict = if check.passed { "ok  " } else { "FAIL" };
            writeln!(
                f,
                "{verdict} {}: {}, expected {}",
                check.name,
                on_one_line(&check.actual),
                on_one_line(&check.expected)
            )?;
        }
        let shown = [
            "content",
            "restored into",
            "target",
            "server",
            "size",
            "restored in",
            "allowed",
            "server's messages",
            "estimate",
            "recorded as",
        ];
        for (name, text) in self.facts().into_iter().filter(|(name, _)| shown.contains(name)) {
            writeln!(f, "{name}: {}", cell(&text))?;
        }
        writeln!(f, "drill of {} {}", self.id, self.sentence())
    }
}

/// What may have lines, short and on one.
fn on_one_line(text: &str) -> String {
    let line = text.lines().collect::<Vec<_>>().join("⏎");
    match line.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None if line.is_empty() => "nothing".to_owned(),
        None => line,
    }
}
