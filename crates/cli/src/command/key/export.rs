//! `key export`: a sheet of paper that opens one archive, or whatever a key opens, with or without Backstay.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use backstay::audit::Key;
use backstay::catalog::{Filter, Selected};
use backstay::policy::OpensslReading;
use backstay_format::key::Keyring;
use backstay_format::schedule::Secret;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;
use clap::Args;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::generate::create;
use super::sheet::{Sheet, Step};
use super::show::{self, fingerprint};
use crate::args::select::Narrow;
use crate::args::unlock::{Passphrase, Unlock};
use crate::failure::{Failure, Result};
use crate::keys::{self, Identity};
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay key export latest -i key.txt -o sheet.txt
  backstay key export latest -i key.txt --html -o sheet.html
  backstay key export --key key.txt --html -o sheet.html
  backstay key export --key key.txt | lp

The sheet of an archive holds that archive's secret: whoever has it can read it, and no other. The sheet of a key
holds the key. If a store is given, it says which sources there it opens; a key under a passphrase stays under it. The page of
--html has the secret as a QR code too, and nothing in it is fetched from elsewhere. A sheet is never written to a terminal.";

/// Print a recovery sheet: a secret, and how to restore with it by hand
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    /// The archive: its id, the beginning of it, `latest`, `latest~1` for the one before, NAME or NAME~1
    #[arg(value_name = "ARCHIVE", required_unless_present = "key", conflicts_with = "key")]
    archive: Option<String>,
    /// A sheet of this key file instead, which opens every archive that is for it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A page for a browser to print, with a QR code, instead of text
    #[arg(long)]
    html: bool,
    #[command(flatten)]
    narrow: Narrow,
    #[command(flatten)]
    unlock: Unlock,
    /// Write it to this new file, which nobody else can read
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self, session: &Session) -> Result<Status> {
        if self.output.is_none() && io::stdout().is_terminal() {
            let failure = Failure::new("usage.terminal", "the secret would be written to the terminal");
            return Err(failure.with_hint("give a file with -o, or pipe it to a printer: backstay key export … | lp"));
        }
        if self.output.is_none() {
            session.output.make_way_for_content()?;
        }
        let exported = match &self.key {
            Some(path) => of_key(path, &self.unlock.passphrase, &self.narrow.filter(false)?, session).await?,
            None => self.of_archive(session).await?,
        };
        let text = if self.html { exported.sheet.html()? } else { exported.sheet.text() };
        match &self.output {
            Some(path) => {
                create(path, text.as_bytes())?;
                let Exported { opens, facts, .. } = exported;
                // What is in the file for nobody else is not on standard output either.
                let facts = Facts { secret: Zeroizing::default(), ..facts };
                session.output.done("recovery_sheet", &Written { facts, file: path.display().to_string(), opens })?;
            }
            None => session.output.result("recovery_sheet", &Printed { facts: exported.facts, text })?,
        }
        Ok(0)
    }

    async fn of_archive(&self, session: &Session) -> Result<Exported> {
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let archive = self.archive.as_deref().unwrap_or_default();
        let id = backstay::catalog::select(&store, archive, &self.narrow.filter(false)?).await?;
        let secret = backstay::rewrap::export_secret(&store, &id, &keyring).await?;
        Ok(archive_sheet(&id, store.url(), &secret))
    }
}

/// A sheet and what is said of it.
struct Exported {
    sheet: Sheet,
    /// What it opens.
    opens: String,
    facts: Facts,
}

/// The sheet as results are printed.
#[derive(Serialize)]
struct Printed {
    #[serde(flatten)]
    facts: Facts,
    #[serde(skip)]
    text: Zeroizing<String>,
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A sheet that is in a file.
#[derive(Serialize)]
struct Written {
    #[serde(flatten)]
    facts: Facts,
    file: String,
    #[serde(skip)]
    opens: String,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} opens {}: keep it where the backups are not", self.file, self.opens)
    }
}

/// What is on it, for programs.
#[derive(Serialize)]
struct Facts {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    public: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    guids: Vec<String>,
    /// Empty where it is not to be printed.
    #[serde(serialize_with = "as_text", skip_serializing_if = "is_empty")]
    secret: Zeroizing<String>,
}

fn is_empty(secret: &Zeroizing<String>) -> bool {
    secret.is_empty()
}

fn as_text<S: Serializer>(secret: &str, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(secret)
}

fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// The last way, which needs nothing but the specification.
fn without_backstay() -> Step {
    Step {
        title: "Without Backstay",
        commands: Vec::new(),
        remark: "\
spec/archive.md in Backstay's sources describes every byte of the format. In short: each part begins with one line of
JSON; HKDF-SHA-256 of the secret and that line gives the part's key; segments of 64 KiB are sealed with AES-256-GCM; what
comes out of them is a .zst or .gz file that stock tools read. spec/reference/read.py there is a reader in one file of Python."
            .to_owned(),
    }
}

fn archive_sheet(id: &ArchiveId, store: &str, Secret(secret): &Secret) -> Exported {
    let hex = Zeroizing::new(to_hex(secret));
    // Eight groups can be typed in and compared; blanks are taken out again below.
    let groups: Vec<&str> = (0..8).map(|group| &hex[group * 8..group * 8 + 8]).collect();
    let (first, second) = (groups[..4].join(" "), groups[4..].join(" "));
    let steps = vec![
        Step {
            title: "With Backstay",
            commands: vec![
                format!("echo '{first}"),
                format!("      {second}' | tr -d ' \\n' > secret.hex"),
                format!("backstay restore {id} -s STORE -i secret.hex -o content"),
            ],
            remark: String::new(),
        },
        Step {
            title: "To check this sheet against the archive and an identity file, with stock tools",
            commands: vec![format!(
                "head -n 1 {} | cut -c 11- | jq -r '.keys[0]' | base64 -d | age -d -i key.txt | od -An -v -tx1 | tr -d ' \\n'",
                id.part(0)
            )],
            remark: format!(
                "prints the secret above. Where the keys are detached, `age -d -i key.txt {id}.key.0` takes the place of all before `od`."
            ),
        },
        without_backstay(),
    ];
    let facts = vec![
        ("archive", id.to_string()),
        ("store", store.to_owned()),
        ("made", today()),
        ("mark", fingerprint(secret)),
    ];
    let sheet =
        Sheet { opens: "this archive, and no other", facts, shown: vec![first, second], code: hex.to_string(), steps };
    let facts = Facts {
        id: Some(id.to_string()),
        store: Some(store.to_owned()),
        public: Vec::new(),
        guids: vec![id.guid().to_string()],
        secret: hex,
    };
    Exported { sheet, opens: id.to_string(), facts }
}

/// A sheet of a key file: what is in it that is secret, and what it opens in the store, if one is given.
async fn of_key(path: &Path, passphrase: &Passphrase, filter: &Filter, session: &Session) -> Result<Exported> {
    let bytes = keys::read_key_file(path)?;
    let text = str::from_utf8(&bytes).ok().map(str::trim_end).filter(|text| text.is_ascii());
    let identity = keys::read_identity(path)?;
    let lines = |text: &str| -> Vec<String> {
        // Comments say nothing that the sheet does not.
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (kind, shown) = match (&identity, text) {
        (Identity::Raw(Secret(secret)), _) => ("a raw key", vec![to_hex(secret)]),
        (Identity::Age(_), Some(text)) => ("an age identity", lines(text)),
        (Identity::AgeUnderPassphrase(_), Some(text)) => ("an age identity under a passphrase", lines(text)),
        (Identity::Ssh(..), Some(text)) => ("an SSH private key", lines(text)),
        (_, None) => {
            let failure =
                Failure::new("usage.recipient", format!("{} is not text, so it cannot be printed", path.display()));
            return Err(failure.with_hint("make it text: age has --armor for files under a passphrase"));
        }
    };
    let mut shown = Zeroizing::new(shown);
    // Of a key under a passphrase it is only known with it that it opens anything.
    let terminal = keys::terminal_for(&identity, passphrase, &session.output)?;
    let public = show::public(path, |_| Ok(terminal.clone()))?.public;
    let mut facts = vec![("key", kind.to_owned()), ("public", public.join("\n")), ("made", today())];
    let mut guids = Vec::new();
    let mut url = None;
    if session.global.store.is_some() {
        let store = session.store().await?;
        let mut keyring = Keyring::default();
        identity.add_to(&mut keyring, &terminal)?;
        let sources = sources(&store, filter, keyring).await?;
        let line = |(guid, (name, archives)): (&Guid, &(Option<String>, u64))| {
            let name = name.as_deref().map(|name| format!("{name}, ")).unwrap_or_default();
            format!("{guid} ({name}{})", count(*archives, "archive"))
        };
        let opened: Vec<String> = sources.iter().map(line).collect();
        facts.push(("store", store.url().to_owned()));
        facts.push(("opens", if opened.is_empty() { "nothing there".to_owned() } else { opened.join("\n") }));
        guids = sources.keys().map(ToString::to_string).collect();
        url = Some(store.url().to_owned());
    }
    let secret = Zeroizing::new(shown.join("\n"));
    let file = if kind == "a raw key" { "key.hex" } else { "key.txt" };
    let mut save = vec![format!("cat > {file} <<'END'")];
    save.extend(shown.iter().cloned());
    save.push("END".to_owned());
    save.push("backstay list -s STORE".to_owned());
    save.push(format!("backstay restore ID -s STORE -i {file} -o content"));
    let by_hand = match kind {
        "a raw key" => format!("python3 spec/reference/read.py DIRECTORY ID --raw-key {file} > content"),
        _ => format!(
            "head -n 1 ID-0 | cut -c 11- | jq -r '.keys[0]' | base64 -d | age -d -i {file} > secret.bin\npython3 spec/reference/read.py DIRECTORY ID --raw-key secret.bin > content"
        ),
    };
    let steps = vec![
        Step {
            title: "With Backstay",
            commands: save,
            remark: "The code holds the lines of the file too: save what a telephone reads as it is.".to_owned(),
        },
        Step {
            title: "With stock tools, from a directory that has the archive's objects",
            commands: by_hand.lines().map(str::to_owned).collect(),
            remark: "\
ID is the name of a .json object without its end. `age` opens the archive's own secret; the reader is in Backstay's sources.
Where the keys are detached, `age -d -i key.txt ID.key.0` takes the place of all before it."
                .to_owned(),
        },
        without_backstay(),
    ];
    let (shown, code) = (std::mem::take(&mut *shown), secret.to_string());
    let sheet = Sheet { opens: "every archive that is for this key", facts, shown, code, steps };
    let facts = Facts { id: None, store: url, public, guids, secret };
    Ok(Exported { sheet, opens: format!("every archive that is for {}", path.display()), facts })
}

/// The sources of which the key opens archives: name, and how many.
async fn sources(store: &Store, filter: &Filter, keyring: Keyring) -> Result<BTreeMap<Guid, (Option<String>, u64)>> {
    let entries = backstay::catalog::list(store, filter, true).await?;
    let names: BTreeMap<ArchiveId, Option<String>> = entries.into_iter().map(|entry| (entry.id, entry.name)).collect();
    let keys = [Key { label: String::new(), keyring }];
    let ids = names.keys().cloned().map(Selected::Archive).collect();
    let mut sources: BTreeMap<Guid, (Option<String>, u64)> = BTreeMap::new();
    for archive in backstay::audit::audit(store, ids, &keys, OpensslReading::default()).await? {
        if archive.opened_by.is_empty() {
            continue;
        }
        let (name, archives) = sources.entry(archive.of.id().guid()).or_default();
        *archives += 1;
        if let Some(Some(newer)) = names.get(archive.of.id()) {
            *name = Some(newer.clone());
        }
    }
    Ok(sources)
}
