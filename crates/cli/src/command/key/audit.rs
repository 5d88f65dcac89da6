//! `key audit`: which key opens what.

use std::fmt;

use backstay::audit::{Audited, Key, Lock, Place};
use backstay::catalog::Selected;
use backstay_format::key::Keyring;
use clap::Args;
use serde::Serialize;

use crate::args::format::{Derivation, Payload, reading};
use crate::args::select::Narrow;
use crate::args::unlock::Unlock;
use crate::failure::Result;
use crate::keys;
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

/// Keys were given, and they do not open everything.
const DEGRADED: Status = 3;

const EXAMPLES: &str = "\
Examples:
  backstay key audit                               how each archive is locked
  backstay key audit -i key.txt -i old.txt         and which of these keys open it
  backstay key audit --name shop -i key.txt --json

A backup set has keys of its own, for what only they show of it, and stands beside its members. Nothing of the content is read. A slot does not say whose it is: its kind is known, for an SSH key a tag of four bytes, and whether a
key opens it is found by trying. Exit status 3: keys were given, and there is an archive that none of them opens, or that could not be
looked at. Without keys the status is 0. Archives that one key alone can open are marked: its loss is theirs. Two slots of one key
count as one where the key is given, or is an SSH key; nothing else tells that they are.";

/// Say which keys open which archives and backup sets
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Audit {
    #[command(flatten)]
    narrow: Narrow,
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    derivation: Derivation,
    /// What is inside the encryption
    #[arg(long, value_name = "KIND", default_value = "gzip", help_heading = "The openssl format")]
    payload: Payload,
}

impl Audit {
    pub(super) async fn run(self, session: &Session) -> Result<Status> {
        let openssl = reading(&self.derivation, self.payload)?;
        let given = self.keys(session)?;
        let store = session.store().await?;
        let filter = self.narrow.filter(false)?;
        let all = backstay::rewrap::every(&store, &filter, &session.context).await?;
        let audited = backstay::audit::audit(&store, all, &given, openssl).await?;
        let report = Report::new(&audited, &given);
        let (closed, unknown) = (report.not_opened, report.unknown);
        session.output.result("keys", &report)?;
        if !given.is_empty() && closed + unknown > 0 {
            let one = report.counted(closed);
            session
                .output
                .warning(None, &format!("{one} not opened by any of the keys, {unknown} could not be looked at"));
            return Ok(DEGRADED);
        }
        Ok(0)
    }

    /// Each key alone, so that it is known which of them opens what.
    fn keys(&self, session: &Session) -> Result<Vec<Key>> {
        let mut given = Vec::new();
        let (passphrase, terminal) = keys::given(&self.unlock.passphrase, &session.output)?;
        for path in &self.unlock.identity {
            let mut keyring = Keyring::default();
            keys::read_identity(path)?.add_to(&mut keyring, &terminal)?;
            given.push(Key { label: path.display().to_string(), keyring });
        }
        if let Some(passphrase) = &passphrase {
            let mut keyring = Keyring::default();
            keys::add_passphrase(&mut keyring, passphrase, &session.output);
            given.push(Key { label: "passphrase".to_owned(), keyring });
        }
        Ok(given)
    }
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// The keys that were tried.
    tried: Vec<String>,
    archives: Vec<Row>,
    sets: Vec<Row>,
    /// Archives and sets that nobody needs a key for.
    open: usize,
    /// Archives and sets that one key alone can open.
    single: usize,
    /// Archives and sets that none of the keys opens; 0 when none was given.
    not_opened: usize,
    /// Archives and sets whose slots cannot be told.
    unknown: usize,
}

/// One archive or set.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    lock: &'static str,
    slots: Vec<Slot>,
    /// By how many keys it can be opened, where that is known.
    ways: Option<usize>,
    opened_by: Vec<String>,
    not_tried: Vec<Problem>,
    /// Why nothing can be told.
    problem: Option<Problem>,
}

/// One slot.
#[derive(Debug, Serialize)]
struct Slot {
    /// `parts`, `set` for a slot in the set's object, or the keybox's number.
    place: String,
    kinds: Vec<String>,
}

/// What went wrong.
#[derive(Debug, Serialize)]
struct Problem {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    code: &'static str,
    text: String,
}

impl Report {
    fn new(audited: &[Audited], given: &[Key]) -> Report {
        let label = |place: &usize| given[*place].label.clone();
        let (sets, archives): (Vec<&Audited>, Vec<&Audited>) =
            audited.iter().partition(|one| matches!(one.of, Selected::Set(_)));
        let rows = |audited: Vec<&Audited>| audited.into_iter().map(|one| Row::new(one, label)).collect();
        let unknown = |archive: &&Audited| matches!(archive.lock, Lock::Unknown(_));
        Report {
            tried: given.iter().map(|key| key.label.clone()).collect(),
            archives: rows(archives),
            sets: rows(sets),
            open: audited.iter().filter(|archive| archive.lock == Lock::Open).count(),
            single: audited.iter().filter(|archive| archive.ways() == Some(1)).count(),
            not_opened: match given {
                [] => 0,
                _ => audited.iter().filter(|archive| !archive.is_opened() && !unknown(archive)).count(),
            },
            unknown: audited.iter().filter(unknown).count(),
        }
    }
}

impl Report {
    /// So many of what was looked at.
    fn counted(&self, number: usize) -> String {
        if self.sets.is_empty() {
            count(number as u64, "archive")
        } else {
            format!("{number} of the archives and sets")
        }
    }
}

impl Row {
    fn new(archive: &Audited, label: impl Fn(&usize) -> String) -> Row {
        let (lock, slots, problem) = match &archive.lock {
            Lock::Open => ("open", Vec::new(), None),
            Lock::RawKey => ("raw-key", Vec::new(), None),
            Lock::Keyless => ("keyless", Vec::new(), None),
            Lock::Password => ("password", Vec::new(), None),
            Lock::Slots(slots) => {
                let place = |place| match place {
                    Place::Attached if matches!(archive.of, Selected::Set(_)) => "set".to_owned(),
                    Place::Attached => "parts".to_owned(),
                    Place::Keybox(m) => m.to_string(),
                };
                let slots = slots.iter().map(|slot| Slot { place: place(slot.place), kinds: slot.kinds.clone() });
                ("slots", slots.collect(), None)
            }
            Lock::Unknown(finding) => {
                let problem = Problem { key: None, code: finding.code, text: finding.text.clone() };
                ("unknown", Vec::new(), Some(problem))
            }
        };
        let not_tried = archive.not_tried.iter().map(|(key, finding)| Problem {
            key: Some(label(key)),
            code: finding.code,
            text: finding.text.clone(),
        });
        Row {
            id: archive.of.id().to_string(),
            lock,
            slots,
            ways: archive.ways(),
            opened_by: archive.opened_by.iter().map(&label).collect(),
            not_tried: not_tried.collect(),
            problem,
        }
    }

    /// How it is locked, in words.
    fn locked(&self) -> String {
        match self.lock {
            "open" => "not encrypted: everybody can read it".to_owned(),
            "raw-key" => "a raw key".to_owned(),
            "keyless" => {
                "NO KEY IS LEFT: it was written with detached keys, and none of its keyboxes is there".to_owned()
            }
            "password" => "a password".to_owned(),
            "unknown" => self.problem.as_ref().map(|problem| problem.text.clone()).unwrap_or_default(),
            _ => {
                let slot = |slot: &Slot| {
                    let kinds = if slot.kinds.is_empty() { "damaged".to_owned() } else { slot.kinds.join(" + ") };
                    if slot.place == "parts" || slot.place == "set" {
                        kinds
                    } else {
                        format!("keybox {}: {kinds}", slot.place)
                    }
                };
                self.slots.iter().map(slot).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_set = self.sets.iter().map(|row| (row, " (set)"));
        for (row, kind) in self.archives.iter().map(|row| (row, "")).chain(of_set) {
            write!(f, "{}{kind}  {}", row.id, row.locked())?;
            if row.ways == Some(1) {
                write!(f, "  [one key alone]")?;
            }
            match (self.tried.is_empty() || row.lock == "open", row.opened_by.as_slice()) {
                (true, _) => {}
                (false, []) => write!(f, "  NOT OPENED")?,
                (false, keys) => write!(f, "  opened by {}", keys.join(", "))?,
            }
            writeln!(f)?;
            for Problem { key, text, .. } in &row.not_tried {
                writeln!(f, "    {} could not be tried: {text}", key.as_deref().unwrap_or_default())?;
            }
        }
        let mut all = count(self.archives.len() as u64, "archive");
        if !self.sets.is_empty() {
            all += &format!(" and {}", count(self.sets.len() as u64, "backup set"));
        }
        let Report { open, single, not_opened, unknown, .. } = self;
        write!(f, "{all}: {open} open to everybody, {single} with one key alone")?;
        if !self.tried.is_empty() {
            write!(f, ", {not_opened} not opened")?;
        }
        if *unknown > 0 {
            write!(f, ", {unknown} not understood")?;
        }
        writeln!(f)
    }
}
