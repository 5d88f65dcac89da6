//! `show`: one archive or backup set in full.

mod set;

use std::fmt;
use std::io::{self, Write as _};

use backstay::catalog::{Details, Selected as Found};
use backstay_format::manifest::{Manifest, Profile};
use backstay_format::remark::Remark;
use backstay_format::report::Report;
use backstay_format::text::{from_base64, to_hex};
use backstay_format::{ObjectName, Word};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::list::Row;
use crate::args::select::Selected;
use crate::args::unlock::Unlock;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::Size;
use crate::output::human::count;
use crate::output::visible::cell;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay show latest
  backstay show latest -i key.txt                  with what only the key shows
  backstay show latest --json | jq -r .receipt
  backstay show latest -i key.txt --document       what another backup manager wrote beside it, byte for byte";

/// Show one archive or backup set in full
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    #[command(flatten)]
    selected: Selected,
    #[command(flatten)]
    unlock: Unlock,
    /// List the archive's objects too, or the set's own; its members have theirs
    #[arg(long)]
    objects: bool,
    /// Write the document of another backup manager to the standard output, byte for byte: the one beside the archive, or the one that a
    /// converted archive keeps where only the key shows it
    #[arg(long, conflicts_with = "objects")]
    document: bool,
}

impl Show {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let id = match self.selected.find_any(&store).await? {
            Found::Archive(id) => id,
            Found::Set(id) if self.document => {
                let failure =
                    Failure::usage(format!("{id} is a backup set, beside which no other manager writes anything"));
                return Err(failure.with_hint("name one of its members, as in NAME/MEMBER"));
            }
            Found::Set(id) => return set::show(&store, &id, &keyring, self.objects, session).await,
        };
        let details = backstay::catalog::show(&store, &id, &keyring).await?;
        if self.document {
            session.output.make_way_for_content()?;
            return write_document(&details);
        }
        let mut shown = Shown::new(&details, self.objects);
        if details.objects.iter().any(|(name, _)| matches!(ObjectName::parse(name), ObjectName::Sidecar(..))) {
            let reports = backstay::report::judged(&store, &id, &keyring).await?;
            shown.reports_in_full = reports.iter().map(|(report, proved)| ReportLine::new(report, *proved)).collect();
            shown.remarks = backstay::retention::remarks(&store, &id).await?.iter().map(RemarkLine::from).collect();
        }
        session.output.result("archive", &shown)?;
        Ok(0)
    }
}

/// Another manager's document, if there is one and it can be seen.
fn document(details: &Details) -> Option<Vec<u8>> {
    let kept = || {
        let facts: Value = serde_json::from_str(details.private.as_deref()?).ok()?;
        from_base64(facts.get("document")?.as_str()?)
    };
    details.foreign_json.clone().or_else(kept)
}

fn write_document(details: &Details) -> Result<Status> {
    let id = &details.entry.id;
    let Some(document) = document(details) else {
        let sealed =
            details.private.is_none() && details.manifest.as_ref().is_some_and(|manifest| manifest.private.is_some());
        return Err(match sealed {
            true => Failure::new("key.not-found", format!("what else the manifest of {id} says is sealed")),
            false => Failure::usage(format!("{id} has no document of another backup manager")),
        });
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&document).and_then(|()| stdout.flush()).map_err(|error| Failure::stdout(&error))?;
    Ok(0)
}

/// What an archive was made of.
#[derive(Debug, Serialize)]
struct Origin {
    profile: String,
    root: String,
    objects: u64,
    stored: u64,
    at: String,
}

/// An archive as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    row: Row,
    created: Option<String>,
    finished: Option<String>,
    source: Option<String>,
    needs: Vec<String>,
    /// How the parts are made.
    making: Vec<String>,
    /// Who can open it.
    keys: Vec<String>,
    root: Option<String>,
    seal: Option<String>,
    signed: bool,
    /// The receipt's line.
    receipt: Option<String>,
    /// What only the key shows; `None` without it.
    private: Option<Value>,
    /// The archive that it was made of.
    converted: Option<Origin>,
    /// What another program wrote in the manifest's place.
    foreign: Option<String>,
    /// What verifications and drills found, the newest first.
    reports_in_full: Vec<ReportLine>,
    /// Holds, notes, added tags, a tombstone.
    remarks: Vec<RemarkLine>,
    objects: Vec<Object>,
    #[serde(skip)]
    sealed_private: bool,
    #[serde(skip)]
    list_objects: bool,
}

/// One report.
#[derive(Debug, Serialize)]
struct ReportLine {
    at: String,
    by: String,
    level: &'static str,
    result: &'static str,
    /// Whether the given key sealed it; `null` where none was given that opens the archive.
    proved: Option<bool>,
    details: Value,
}

impl ReportLine {
    fn new(report: &Report, proved: Option<bool>) -> ReportLine {
        ReportLine {
            at: report.at.clone(),
            by: report.by.clone(),
            level: report.level.as_str(),
            result: if report.good { "good" } else { "bad" },
            proved,
            details: serde_json::from_str(&report.details).unwrap_or_default(),
        }
    }
}

/// One remark.
#[derive(Debug, Serialize)]
struct RemarkLine {
    kind: &'static str,
    at: String,
    by: String,
    text: String,
    tags: Vec<String>,
}

impl From<&Remark> for RemarkLine {
    fn from(remark: &Remark) -> RemarkLine {
        let Remark { at, by, text, tags, word, .. } = remark;
        RemarkLine { kind: word.as_str(), at: at.clone(), by: by.clone(), text: text.clone(), tags: tags.clone() }
    }
}

impl fmt::Display for RemarkLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RemarkLine { kind, at, by, text, tags } = self;
        let tagged = tags.join(", ");
        let text = if *kind == Word::Tag.as_str() { &tagged } else { text };
        let space = if text.is_empty() { "" } else { " " };
        write!(f, "{text}{space}({at} {by})")
    }
}

/// One object.
#[derive(Debug, Serialize)]
struct Object {
    name: String,
    size: u64,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {} {}", "object", self.name, self.size)
    }
}

impl Shown {
    fn new(details: &Details, list_objects: bool) -> Shown {
        let manifest = details.manifest.as_ref();
        let private = details
            .private
            .as_ref()
            .map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())));
        Shown {
            row: Row::from(&details.entry),
            created: manifest.map(|manifest| manifest.created.clone()),
            finished: manifest.and_then(|manifest| manifest.finished.clone()),
            source: manifest.and_then(|manifest| manifest.source.clone()),
            needs: manifest
                .into_iter()
                .flat_map(|manifest| &manifest.needs)
                .map(|ancestor| ancestor.id.to_string())
                .collect(),
            making: manifest.map(making).unwrap_or_default(),
            keys: keys_of(manifest, details.entry.keyboxes),
            root: manifest.map(|manifest| to_hex(&manifest.root())),
            seal: details.seal.as_ref().map(|seal| to_hex(&seal.sha256)),
            signed: details.seal.as_ref().is_some_and(backstay_format::Seal::is_signed),
            receipt: details.receipt.clone(),
            sealed_private: private.is_none() && manifest.is_some_and(|manifest| manifest.private.is_some()),
            private,
            reports_in_full: Vec::new(),
            remarks: Vec::new(),
            converted: manifest.and_then(|manifest| manifest.converted.as_ref()).map(|origin| Origin {
                profile: origin.profile.clone(),
                root: to_hex(&origin.root),
                objects: origin.objects,
                stored: origin.stored,
                at: origin.at.clone(),
            }),
            foreign: details.foreign_json.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
            objects: details.objects.iter().map(|(name, size)| Object { name: name.clone(), size: *size }).collect(),
            list_objects,
        }
    }
}

fn making(manifest: &Manifest) -> Vec<String> {
    match &manifest.profile {
        Profile::Native(head) => {
            let common = &head.common;
            let part = u64::from(common.seg) * u64::from(common.segs);
            vec![common.aead.as_str().to_owned(), common.codec.as_str().to_owned(), format!("parts of {}", Size(part))]
        }
        Profile::Openssl(head) => {
            vec![
                "aes-256-cbc".to_owned(),
                if head.gzip { "gzip" } else { "raw" }.to_owned(),
                format!("key by {}", head.kdf),
            ]
        }
    }
}

/// Who can open an archive, as far as it says so.
fn keys_of(manifest: Option<&Manifest>, keyboxes: u32) -> Vec<String> {
    let mut keys = Vec::new();
    match manifest.map(|manifest| &manifest.profile) {
        Some(Profile::Native(head)) if head.common.open.is_some() => {
            keys.push("everybody: it is not encrypted".to_owned());
        }
        Some(Profile::Native(head)) => {
            keys.extend(head.common.keys.iter().map(|slot| format!("a slot for {}", stanzas(slot).join(", "))));
            if keys.is_empty() && keyboxes == 0 {
                keys.push(match manifest.is_some_and(|manifest| manifest.detached) {
                    true => "nobody but a holder of its exported secret: its keys were in keyboxes, and none is left"
                        .to_owned(),
                    false => "whoever has the raw key".to_owned(),
                });
            }
        }
        Some(Profile::Openssl(_)) => keys.push("whoever has the password".to_owned()),
        None => {}
    }
    if keyboxes > 0 {
        keys.push(if keyboxes == 1 { "1 keybox".to_owned() } else { format!("{keyboxes} keyboxes") });
    }
    keys
}

/// The kinds of a slot's stanzas: the text of an age file up to its MAC says that much.
fn stanzas(slot: &[u8]) -> Vec<String> {
    let mut kinds: Vec<(String, u64)> = Vec::new();
    for stanza in backstay_format::key::stanzas(slot) {
        let kind = match stanza.split(' ').next().unwrap_or_default() {
            "scrypt" => "a passphrase".to_owned(),
            kind => format!("{kind} recipient"),
        };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, number)) => *number += 1,
            None => kinds.push((kind, 1)),
        }
    }
    kinds.into_iter().map(|(kind, number)| if kind == "a passphrase" { kind } else { count(number, &kind) }).collect()
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = &self.row;
        let mut line =
            |name: &str, value: &str| if value.is_empty() { Ok(()) } else { writeln!(f, "{name:<10} {}", cell(value)) };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        line("archive", &row.id)?;
        line("name", &text(&row.name))?;
        line("tags", &row.tags.join(", "))?;
        line("state", row.state)?;
        line("begun", &row.time)?;
        line("created", &text(&self.created))?;
        line("finished", &text(&self.finished))?;
        line("format", row.profile.unwrap_or_default())?;
        line("made of", &self.making.join(", "))?;
        line("kind", row.kind.unwrap_or_default())?;
        line("needs", &self.needs.join(", "))?;
        line("source", &text(&self.source))?;
        line(
            "content",
            &row.content.map(|content| format!("{} ({content} bytes)", Size(content))).unwrap_or_default(),
        )?;
        line(
            "stored",
            &format!("{} ({} bytes) in {}", Size(row.stored), row.stored, count(u64::from(row.parts), "part")),
        )?;
        line("opened by", &self.keys.join("; "))?;
        line("signed", if self.signed { "yes; --signer checks by whom" } else { "" })?;
        line("receipt", &text(&self.receipt))?;
        for report in &self.reports_in_full {
            let seal = match report.proved {
                Some(true) => "sealed with the archive's key",
                Some(false) => "NOT sealed with the archive's key",
                None => "its seal was not checked (-i)",
            };
            line("report", &format!("{} {} {} by {}; {seal}", report.at, report.result, report.level, report.by))?;
        }
        for remark in &self.remarks {
            line(remark.kind, &remark.to_string())?;
        }
        if let Some(Origin { profile, objects, stored, at, .. }) = &self.converted {
            line(
                "converted",
                &format!("at {at} from {profile}: {} with {}", count(*objects, "object"), Size(*stored)),
            )?;
        }
        if self.sealed_private {
            line("private", "sealed; the key shows it (-i)")?;
        }
        if let Some(private) = &self.private {
            let private = without_places(private);
            writeln!(f, "{:<10} {}", "private", indented(&serde_json::to_string_pretty(&private).unwrap_or_default()))?;
        }
        if let Some(foreign) = &self.foreign {
            writeln!(f, "{:<10} {}", "foreign", indented(foreign.trim_end()))?;
        }
        if self.list_objects {
            self.objects.iter().try_for_each(|object| writeln!(f, "{object}"))?;
        }
        Ok(())
    }
}

/// The facts as people read them: where each table of a dump lies is for programs.
fn without_places(private: &Value) -> Value {
    let mut private = private.clone();
    if let Some(index) = private.get_mut(backstay_postgres::custom::FACT) {
        let blocks = index.get("blocks").and_then(Value::as_array).map_or(0, Vec::len);
        *index = Value::from(format!("the places of {}", count(blocks as u64, "block")));
    }
    private
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n           ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_says_for_whom_it_is() {
        let slot = b"age-encryption.org/v1\n-> X25519 abc\nxyz\n-> X25519 def\nxyz\n-> ssh-ed25519 q r\nxyz\n-> a;b-grease x\n\n--- mac\n-> scrypt\n";
        assert_eq!(stanzas(slot), ["2 X25519 recipients", "1 ssh-ed25519 recipient"]);
        assert_eq!(stanzas(b"age-encryption.org/v1\n-> scrypt salt 18\nxyz\n--- mac\n"), ["a passphrase"]);
        assert!(stanzas(b"\xff\xfe").is_empty());
    }
}
