//! `verify`: is an archive whole, unchanged and readable.

use std::fmt;
use std::path::PathBuf;

use backstay::codes;
use backstay::report::Findings;
use backstay::verify::{Depth, Finding, Report};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::args::format::Reading;
use crate::args::select::Selected;
use crate::args::unlock::{Trust, Unlock};
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::Size;
use crate::output::human::{Elapsed, count};
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

/// Check that an archive is whole, unchanged and readable
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    #[command(flatten)]
    selected: Selected,
    /// How thoroughly [default: deep with a key or --allow-open, else full]
    #[arg(long, value_name = "DEPTH")]
    depth: Option<DepthName>,
    /// Print what `sha256sum -c` reads instead, and check nothing
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
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let store = session.store().await?;
        let id = self.selected.find(&store).await?;
        if self.sums {
            let sums = backstay::verify::sums(&store, &id).await?;
            session.output.result("sums", &Sums::read(&sums))?;
            return Ok(0);
        }
        let depth = match self.depth {
            Some(DepthName::Quick) => Depth::Quick,
            Some(DepthName::Full) => Depth::Full,
            Some(DepthName::Deep) => Depth::Deep,
            None if keyring.is_empty() && !self.trust.allow_open => Depth::Full,
            None => Depth::Deep,
        };
        let report =
            backstay::verify(&store, &id, &keyring, depth, &policy, &session.context, session.observer()).await?;
        session.output.end();
        let mut printed = Printed::from(&report);
        let mut unrecorded = None;
        if self.record {
            let signing_key = self.sign_key.as_deref().map(keys::signing::read).transpose()?;
            let findings = Findings::of(&report, printed.good, host());
            let recorded =
                backstay::report::record(&store, &id, &findings, &keyring, signing_key.as_ref(), &session.context)
                    .await;
            // What was found is worth more than that it could not be kept.
            match recorded {
                Ok(name) => printed.recorded = Some(name),
                Err(error) => unrecorded = Some(error),
            }
        }
        session.output.result("verify", &printed)?;
        match worst(&report.findings) {
            Some(code) if codes::exit(code) != 0 => {
                let problems = report.findings.iter().filter(|finding| codes::exit(finding.code) != 0).count() as u64;
                Err(Failure::new(code, format!("{id} has {}", count(problems, "problem"))))
            }
            _ => unrecorded.map_or(Ok(0), |error| Err(error.into())),
        }
    }
}

/// Who says so in a report: this machine's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
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
        write!(f, "{}[{}] {object}{}", self.severity.to_ascii_lowercase(), self.code, self.text)
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
            let findings: Vec<_> =
                codes.iter().map(|code| Finding { code, object: None, text: String::new() }).collect();
            worst(&findings)
        };
        assert_eq!(code(&[]), None);
        assert_eq!(code(&["openssl.unauthenticated"]), Some("openssl.unauthenticated"));
        assert_eq!(code(&["part.extra", "part.missing", "part.digest"]), Some("part.missing"));
        assert_eq!(code(&["openssl.unauthenticated", "part.extra"]), Some("part.extra"));
    }
}
