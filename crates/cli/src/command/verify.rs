//! `verify`: is an archive, or each member of a backup set, whole, unchanged and readable.

use std::fmt;
use std::path::PathBuf;

use backstay::catalog::Selected as Found;
use backstay::codes;
use backstay::report::Findings;
use backstay::set::{SetReport, verify_set};
use backstay::verify::{Depth, Finding, Report};
use backstay_format::key::Keyring;
use backstay_store::Store;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::format::Reading;
use crate::args::select::Selected;
use crate::args::unlock::{Trust, Unlock};
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::output::visible::cell;
use crate::run::Status;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  backstay verify latest -i key.txt        every byte, as a restore would read it
  backstay verify latest --depth full      every byte against its SHA-256; no key needed
  backstay verify latest --depth quick     sizes and the store's checksums; nothing is fetched
  backstay verify latest -i key.txt --record   and keep the result, for list, show and prune
  backstay verify latest --sums | (cd /srv/backups && sha256sum -c)

The report lists every problem. The exit status is that of the worst one: 20 for damage, 21 for
missing parts.";

/// Check that an archive, or each member of a backup set, is whole, unchanged and readable
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    #[command(flatten)]
    selected: Selected,
    /// How thoroughly [default: deep with a key or --allow-open, else full]
    #[arg(long, value_name = "DEPTH")]
    depth: Option<DepthName>,
    /// Print what `sha256sum -c` reads instead, and check nothing but --signer and --receipt
    #[arg(long, conflicts_with = "depth")]
    sums: bool,
    /// Keep the result in the store, beside the archive, sealed with the archive's key or signed with --sign-key
    #[arg(long, conflicts_with = "sums")]
    record: bool,
    /// Sign the report of --record with this Ed25519 key, so that others can demand its origin
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    format: Reading,
}

/// How thoroughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DepthName {
    /// The listing, sizes and the store's own checksums against the manifest
    Quick,
    /// The SHA-256 of every stored byte
    Full,
    /// Everything a restore does, without writing the content
    Deep,
}

impl Verify {
    pub(crate) async fn run(self, session: &Session) -> Result<Status> {
        let policy = self.trust.policy(&self.format)?;
        if !self.record && session.settings.is_spelled_out("sign_key") {
            return Err(Failure::usage("--sign-key signs the report that --record keeps: give that too"));
        }
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        if let Some(how) = self.what_decrypts_nothing(&keyring) {
            self.refuse_what_needs_the_key(how, session)?;
        }
        let store = session.store().await?;
        let id = match self.selected.find_any(&store).await? {
            Found::Archive(id) => id,
            Found::Set(id) if self.sums => {
                let failure = Failure::usage(format!("{id} is a backup set, and --sums prints those of one archive"));
                return Err(failure.with_hint("`backstay show` lists its members"));
            }
            Found::Set(id) => {
                let (depth, context) = (self.depth(&keyring), &session.context);
                let observer = session.observer();
                let report = verify_set(&store, &id, &keyring, depth, &policy, context, observer).await?;
                session.output.end();
                let mut printed = PrintedSet::from(&report);
                let mut unrecorded = None;
                for ((_, report), member) in report.members.iter().zip(&mut printed.members) {
                    match self.recorded(&store, report, member.report.good, &keyring, session).await {
                        Ok(name) => member.report.recorded = name,
                        Err(failure) => unrecorded = Some(failure),
                    }
                }
                session.output.result("verify_set", &printed)?;
                let members = report.members.iter().flat_map(|(_, report)| &report.findings);
                let findings: Vec<Finding> = report.findings.iter().chain(members).cloned().collect();
                return judge(&id.to_string(), &findings, unrecorded);
            }
        };
        if self.sums {
            let sums = backstay::verify::sums(&store, &id, &policy).await?;
            session.output.result("sums", &Sums::read(&sums))?;
            return Ok(0);
        }
        let depth = self.depth(&keyring);
        let report =
            backstay::verify(&store, &id, &keyring, depth, &policy, &session.context, session.observer()).await?;
        session.output.end();
        let mut printed = Printed::from(&report);
        // What was found is worth more than that it could not be kept.
        let unrecorded = match self.recorded(&store, &report, printed.good, &keyring, session).await {
            Ok(name) => {
                printed.recorded = name;
                None
            }
            Err(failure) => Some(failure),
        };
        session.output.result("verify", &printed)?;
        judge(&id.to_string(), &report.findings, unrecorded)
    }

    /// What keeps this run from reading an archive with its key.
    fn what_decrypts_nothing(&self, keyring: &Keyring) -> Option<&'static str> {
        match (self.sums, self.depth) {
            (true, _) => Some("--sums, which reads no more than the manifest"),
            (false, Some(DepthName::Quick)) => Some("--depth quick"),
            (false, Some(DepthName::Full)) => Some("--depth full"),
            (false, Some(DepthName::Deep) | None) => (self.depth(keyring) != Depth::Deep).then_some("no key"),
        }
    }

    /// Refuses a demand that would not be judged, since whoever makes it is not to believe that it was met, and what says how to decrypt.
    fn refuse_what_needs_the_key(&self, how: &str, session: &Session) -> Result<()> {
        if self.trust.require_seal {
            let failure =
                Failure::usage(format!("--require-seal cannot be judged with {how}: it is the key that proves a seal"));
            return Err(failure.with_hint(
                "give the key with -i, or of an openssl archive the password, and --depth deep; --signer and --receipt need no key",
            ));
        }
        match ["md", "pbkdf2_iter", "payload"].into_iter().find(|option| session.settings.is_spelled_out(option)) {
            None => Ok(()),
            Some(option) => {
                let option = option.replace('_', "-");
                let why = format!("--{option} says how an openssl archive is decrypted, which with {how} it is not");
                Err(Failure::usage(why).with_hint("give the password and --depth deep, or leave the option out"))
            }
        }
    }

    fn depth(&self, keyring: &Keyring) -> Depth {
        match self.depth {
            Some(DepthName::Quick) => Depth::Quick,
            Some(DepthName::Full) => Depth::Full,
            Some(DepthName::Deep) => Depth::Deep,
            None if keyring.is_empty() && keyring.password().is_none() && !self.trust.allow_open => Depth::Full,
            None => Depth::Deep,
        }
    }

    /// Keeps what was found, if that is wanted, and gives the object's name.
    async fn recorded(
        &self,
        store: &Store,
        report: &Report,
        good: bool,
        keyring: &Keyring,
        session: &Session,
    ) -> Result<Option<String>> {
        if !self.record {
            return Ok(None);
        }
        let signing_key = self.sign_key.as_deref().map(keys::signing::read).transpose()?;
        let Some(findings) = Findings::of(report, good, host()) else {
            let text = format!(
                "nothing is recorded about {}: what was found is about what was demanded, or about the key, and not about the archive",
                report.id
            );
            session.output.note(&text);
            return Ok(None);
        };
        let context = &session.context;
        let name =
            backstay::report::record(store, &report.id, &findings, keyring, signing_key.as_ref(), context).await?;
        Ok(Some(name))
    }
}

/// Who says so in a report: this machine's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How verify ends: with the worst of what it found.
fn judge(id: &str, findings: &[Finding], unrecorded: Option<Failure>) -> Result<Status> {
    match worst(findings) {
        Some(code) if codes::exit(code) != 0 => {
            let problems = findings.iter().filter(|finding| codes::exit(finding.code) != 0).count() as u64;
            Err(Failure::new(code, format!("{id} has {}", count(problems, "problem"))))
        }
        _ => unrecorded.map_or(Ok(0), Err),
    }
}

/// The report about a set as it is printed.
#[derive(Debug, Serialize)]
struct PrintedSet {
    id: String,
    good: bool,
    authentic: bool,
    findings: Vec<PrintedFinding>,
    members: Vec<PrintedMember>,
}

/// What was found about one member.
#[derive(Debug, Serialize)]
struct PrintedMember {
    name: String,
    #[serde(flatten)]
    report: Printed,
}

impl From<&SetReport> for PrintedSet {
    fn from(report: &SetReport) -> PrintedSet {
        let member =
            |(name, report): &(String, Report)| PrintedMember { name: name.clone(), report: Printed::from(report) };
        PrintedSet {
            id: report.id.to_string(),
            good: report.is_good(),
            authentic: report.authentic,
            findings: report.findings.iter().map(PrintedFinding::from).collect(),
            members: report.members.iter().map(member).collect(),
        }
    }
}

impl fmt::Display for PrintedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        for member in &self.members {
            writeln!(f, "{:?}:", member.name)?;
            write!(f, "{}", member.report)?;
        }
        let verdict = if self.good { "good" } else { "NOT GOOD" };
        writeln!(f, "the set {} is {verdict}: {}", self.id, count(self.members.len() as u64, "member"))
    }
}

/// The code of the worst finding: the first one of the highest severity.
pub(super) fn worst(findings: &[Finding]) -> Option<&'static str> {
    let rank = |code| match codes::find(code).map(|row| row.severity) {
        Some("Critical") => 0,
        Some("Error") | None => 1,
        Some(_) => 2,
    };
    findings.iter().map(|finding| finding.code).min_by_key(|code| rank(code))
}

/// The report as it is printed.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    depth: &'static str,
    good: bool,
    authentic: bool,
    findings: Vec<PrintedFinding>,
    parts: u32,
    stored: u64,
    content: Option<u64>,
    compared: String,
    elapsed_ms: u64,
    /// The report that `--record` left.
    recorded: Option<String>,
    #[serde(skip)]
    elapsed: Elapsed,
}

/// One problem.
#[derive(Debug, Serialize)]
pub(super) struct PrintedFinding {
    code: &'static str,
    severity: &'static str,
    object: Option<String>,
    text: String,
}

impl From<&Finding> for PrintedFinding {
    fn from(finding: &Finding) -> PrintedFinding {
        PrintedFinding {
            code: finding.code,
            severity: codes::find(finding.code).map_or("Error", |row| row.severity),
            object: finding.object.clone(),
            text: finding.text.clone(),
        }
    }
}

impl fmt::Display for PrintedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
        let text = format!("{object}{}", self.text);
        write!(f, "{}[{}] {}", self.severity.to_ascii_lowercase(), self.code, cell(&text))
    }
}

impl From<&Report> for Printed {
    fn from(report: &Report) -> Printed {
        let findings = report.findings.iter().map(PrintedFinding::from);
        Printed {
            id: report.id.to_string(),
            depth: match report.depth {
                Depth::Quick => "quick",
                Depth::Full => "full",
                Depth::Deep => "deep",
            },
            good: worst(&report.findings).is_none_or(|code| codes::exit(code) == 0),
            authentic: report.authentic,
            findings: findings.collect(),
            parts: report.parts,
            stored: report.stored,
            content: report.content,
            compared: report.compared.clone(),
            elapsed_ms: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
            recorded: None,
            elapsed: Elapsed(report.elapsed),
        }
    }
}

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let verdict = if self.good { "good" } else { "NOT GOOD" };
        let content = self.content.map(|content| format!(", {} of content", Size(content))).unwrap_or_default();
        let parts = count(u64::from(self.parts), "part");
        writeln!(f, "{} is {verdict} ({}): {}", self.id, self.depth, self.compared)?;
        writeln!(f, "{parts}, {} stored{content}, {}", Size(self.stored), self.elapsed)?;
        writeln!(
            f,
            "{}",
            if self.authentic { "authentic" } else { "authenticity was not checked or cannot be proved" }
        )?;
        match &self.recorded {
            Some(name) => writeln!(f, "recorded as {name}"),
            None => Ok(()),
        }
    }
}

/// What `sha256sum -c` reads.
#[derive(Debug, Serialize)]
struct Sums {
    sums: Vec<Sum>,
}

#[derive(Debug, Serialize)]
struct Sum {
    name: String,
    sha256: String,
}

impl Sums {
    fn read(lines: &str) -> Sums {
        let pairs = lines.lines().filter_map(|line| line.split_once("  "));
        Sums { sums: pairs.map(|(sha256, name)| Sum { name: name.to_owned(), sha256: sha256.to_owned() }).collect() }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sums.iter().try_for_each(|sum| writeln!(f, "{}  {}", sum.sha256, sum.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_is_the_first_of_the_highest_severity() {
        let code = |codes: &[&'static str]| {
            let findings: Vec<_> = codes
                .iter()
                .map(|code| Finding { code, object: None, text: String::new(), of_archive: true })
                .collect();
            worst(&findings)
        };
        assert_eq!(code(&[]), None);
        assert_eq!(code(&["openssl.unauthenticated"]), Some("openssl.unauthenticated"));
        assert_eq!(code(&["part.extra", "part.missing", "part.digest"]), Some("part.missing"));
        assert_eq!(code(&["openssl.unauthenticated", "part.extra"]), Some("part.extra"));
    }
}
