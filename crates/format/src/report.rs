//! Reports: what a verification or a drill found, kept beside the archive as `<id>.verified.<ms>` (`spec/archive.md`, "Reports").
//!
//! A report is believed for its seal and never for being there: whoever can create objects can create one. The MAC proves
//! that a holder of the archive's secret made it, the signature that a certain verifier did; and `root` says which bytes it
//! is about. How old it is, is for the store to say, not for the number in its name.

use crate::error::{Error, Result};
use crate::header;
use crate::json::{Dialect, Json};
use crate::name::ArchiveId;
use crate::seal::{self, Seal, Sealed, Unsealed};
use crate::signature::{Signer, SigningKey};
use crate::text::to_hex;

/// The largest report that is read.
pub const MAX_REPORT: u64 = 1 << 20;

/// How thoroughly was looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Listing, sizes and the store's checksums.
    Quick,
    /// The SHA-256 of every stored byte.
    Full,
    /// As a restore, without writing the content.
    Deep,
    /// Restored, and what came of it was tried.
    Drill,
}

impl Level {
    const ALL: [Level; 4] = [Level::Quick, Level::Full, Level::Deep, Level::Drill];

    /// As it stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Quick => "quick",
            Level::Full => "full",
            Level::Deep => "deep",
            Level::Drill => "drill",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The archive.
    pub id: ArchiveId,
    /// Its root; none when it has no manifest of ours, and then the report proves nothing about its bytes.
    pub root: Option<[u8; 32]>,
    /// How thoroughly was looked.
    pub level: Level,
    /// Whether nothing was wrong.
    pub good: bool,
    /// When (RFC 3339, UTC), by the clock of whoever looked.
    pub at: String,
    /// Who looked: a host, a job, whatever helps to find the log.
    pub by: String,
    /// Facts as the text of a JSON object, without fractions, signs and `null`; `{}` when there are none.
    pub details: String,
}

/// A report with the seal that it was read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedReport {
    /// What it says.
    pub report: Report,
    seal: Seal,
    body: Vec<u8>,
}

impl Report {
    /// The object's bytes, sealed with the archive's report key, a signature, or both.
    ///
    /// # Errors
    /// `report.invalid` when it would not be read back: nothing seals it, the details are not such an object, it is too long.
    pub fn encode(&self, key: Option<&[u8; 32]>, signer: Option<&SigningKey>) -> Result<Vec<u8>> {
        let invalid =
            |why: &str| Error::ReportInvalid { object: format!("a report on {}", self.id), why: why.to_owned() };
        if key.is_none() && signer.is_none() {
            return Err(invalid("neither a key nor a signature seals it"));
        }
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let root = self.root.map(|root| format!("\"root\":\"{}\",", to_hex(&root))).unwrap_or_default();
        let (level, result) = (self.level.as_str(), if self.good { "good" } else { "bad" });
        let body = format!(
            "{{\"backstay_report\":1,\"id\":\"{}\",{root}\"level\":\"{level}\",\"result\":\"{result}\",\"at\":{},\"by\":{},\"details\":{},\n",
            self.id,
            quote(&self.at),
            quote(&self.by),
            self.details,
        );
        let (bytes, _) = seal::seal(body.into_bytes(), key, signer, &self.id, Sealed::Report);
        match Report::parse(&bytes, &self.id, "the report") {
            Ok(read) if read.report == *self => Ok(bytes),
            Ok(_) => Err(invalid("its details are more than one object")),
            Err(error) => Err(error),
        }
    }

    /// Reads the object `object`, a report on `id`.
    ///
    /// # Errors
    /// `report.invalid`; `format.unsupported` for a later version; `name.mismatch` for a report on another archive.
    pub fn parse(bytes: &[u8], id: &ArchiveId, object: &str) -> Result<SealedReport> {
        let invalid = |why: String| Error::ReportInvalid { object: object.to_owned(), why };
        if bytes.len() as u64 > MAX_REPORT {
            return Err(invalid("it is longer than 1 MiB".to_owned()));
        }
        let (body, seal) = seal::take_seal(bytes, Sealed::Report).map_err(|unsealed| match unsealed {
            Unsealed::Form(why) => invalid(why.to_owned()),
            Unsealed::Changed => invalid("it was changed after it was sealed".to_owned()),
        })?;
        let text = std::str::from_utf8(body).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
        // The seal's line follows the last comma: the object is closed there for the reader.
        let members = text.strip_suffix(",\n").ok_or_else(|| invalid("no comma stands before the seal".to_owned()))?;
        let text = format!("{members}}}");
        let mut fields = Fields::default();
        let mut json = Json::new(&text, Dialect::Manifest);
        json.object(&mut |json, key| fields.member(json, key))
            .and_then(|()| json.end())
            .map_err(|fault| invalid(fault.to_string()))?;
        let report = fields.finish(id, object)?;
        Ok(SealedReport { report, seal, body: body.to_vec() })
    }
}

impl SealedReport {
    /// Whether a holder of the archive's report key made it.
    pub fn is_keyed_with(&self, key: &[u8; 32]) -> bool {
        self.seal.is_keyed_with(&self.body, key)
    }

    /// Whether this verifier signed it.
    pub fn is_signed_by(&self, signer: &Signer) -> bool {
        self.seal.check_signer(signer, &self.report.id).is_ok()
    }
}

/// The members while they are read.
#[derive(Default)]
struct Fields {
    version: Option<u64>,
    id: Option<String>,
    root: Option<[u8; 32]>,
    level: Option<Level>,
    good: Option<bool>,
    at: Option<String>,
    by: Option<String>,
    details: Option<String>,
}

impl Fields {
    fn member(&mut self, json: &mut Json<'_>, key: &str) -> crate::json::Result<()> {
        match key {
            "backstay_report" => self.version = Some(json.integer()?),
            "id" => self.id = Some(json.string()?.into_owned()),
            "root" => self.root = Some(header::hex(json)?),
            "level" => {
                let name = json.string()?;
                self.level = Level::ALL.into_iter().find(|level| level.as_str() == name);
            }
            "result" => {
                self.good = match &*json.string()? {
                    "good" => Some(true),
                    "bad" => Some(false),
                    _ => return json.fault("`result` is good or bad"),
                }
            }
            "at" => self.at = Some(json.string()?.into_owned()),
            "by" => self.by = Some(json.string()?.into_owned()),
            "details" => {
                let raw = json.raw()?;
                if !raw.starts_with('{') {
                    return json.fault("`details` is not an object");
                }
                self.details = Some(raw.to_owned());
            }
            "seal" => return json.fault("this member does not stand here"),
            _ => json.skip()?,
        }
        Ok(())
    }

    fn finish(self, id: &ArchiveId, object: &str) -> Result<Report> {
        let missing =
            |field: &str| Error::ReportInvalid { object: object.to_owned(), why: format!("`{field}` is missing") };
        let unsupported = |what: String| Error::FormatUnsupported { object: object.to_owned(), what };
        match self.version {
            Some(1) => {}
            Some(version) => return Err(unsupported(format!("report version {version}"))),
            None => return Err(missing("backstay_report")),
        }
        match self.id {
            None => return Err(missing("id")),
            Some(named) if named != id.as_str() => {
                return Err(Error::NameMismatch { object: object.to_owned(), found: named });
            }
            Some(_) => {}
        }
        Ok(Report {
            id: id.clone(),
            root: self.root,
            level: self.level.ok_or_else(|| unsupported("its `level`".to_owned()))?,
            good: self.good.ok_or_else(|| missing("result"))?,
            at: self.at.ok_or_else(|| missing("at"))?,
            by: self.by.ok_or_else(|| missing("by"))?,
            details: self.details.ok_or_else(|| missing("details"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ArchiveId {
        "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap()
    }

    fn report() -> Report {
        Report {
            id: id(),
            root: Some([7; 32]),
            level: Level::Deep,
            good: true,
            at: "2026-01-31T02:00:00Z".to_owned(),
            by: "restore-host".to_owned(),
            details: "{\"parts\":3,\"findings\":[]}".to_owned(),
        }
    }

    #[test]
    fn a_report_is_read_back_and_believed_for_its_seal() {
        let (verifier, other) = (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        for (key, signer) in [(Some(&[5; 32]), None), (None, Some(&verifier)), (Some(&[5; 32]), Some(&verifier))] {
            for report in [report(), Report { root: None, good: false, level: Level::Drill, ..report() }] {
                let bytes = report.encode(key, signer).unwrap();
                let read = Report::parse(&bytes, &id(), "x").unwrap();
                assert_eq!(read.report, report);
                assert_eq!((read.is_keyed_with(&[5; 32]), read.is_keyed_with(&[6; 32])), (key.is_some(), false));
                assert_eq!(read.is_signed_by(&verifier.signer()), signer.is_some());
                assert!(!read.is_signed_by(&other.signer()));
            }
        }
    }

    /// Recomputed by `spec/reference/test_sidecars.py`.
    #[test]
    fn the_published_vector_holds() {
        let page = include_str!("../../../spec/archive.md");
        let signer = SigningKey::from_seed(&[1; 32]).unwrap();
        let bytes = report().encode(Some(&[5; 32]), Some(&signer)).unwrap();
        assert!(page.contains(std::str::from_utf8(&bytes).unwrap()), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_changed_byte_is_found() {
        let signer = SigningKey::from_seed(&[1; 32]).unwrap();
        let bytes = report().encode(Some(&[5; 32]), Some(&signer)).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let believed = Report::parse(&changed, &id(), "x")
                .is_ok_and(|read| read.is_keyed_with(&[5; 32]) && read.is_signed_by(&signer.signer()));
            assert!(!believed, "byte {at}");
        }
    }

    #[test]
    fn a_report_that_nothing_seals_or_that_would_not_be_read_is_not_made() {
        let code = |report: &Report, key| report.encode(key, None).unwrap_err().code();
        assert_eq!(code(&report(), None), "report.invalid");
        for details in ["", "[]", "{\"x\":1.5}", "{\"x\":null}", "{},\"by\":\"me\"", "{},\"y\":{}", "{}\n"] {
            assert_eq!(
                code(&Report { details: details.to_owned(), ..report() }, Some(&[5; 32])),
                "report.invalid",
                "{details}"
            );
        }
        let details = format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20));
        assert_eq!(code(&Report { details, ..report() }, Some(&[5; 32])), "report.invalid");
    }

    #[test]
    fn what_is_no_report_on_this_archive_is_refused() {
        let sealed = |body: &str| seal::seal(body.as_bytes().to_vec(), Some(&[5; 32]), None, &id(), Sealed::Report).0;
        let parse = |body: &str| Report::parse(&sealed(body), &id(), "x").map(drop).map_err(|error| error.code());
        let whole = format!(
            "{{\"backstay_report\":1,\"id\":\"{}\",\"level\":\"full\",\"result\":\"good\",\"at\":\"\",\"by\":\"\",\"details\":{{}},\n",
            id()
        );
        assert_eq!(parse(&whole), Ok(()));
        for (from, to, code) in [
            ("_report\":1", "_report\":2", "format.unsupported"),
            ("\"full\"", "\"thorough\"", "format.unsupported"),
            ("0123\"", "0124\"", "name.mismatch"),
            ("\"good\"", "\"fair\"", "report.invalid"),
            ("\"at\":\"\",", "", "report.invalid"),
            ("\"by\":\"\",", "", "report.invalid"),
            (",\"details\":{}", "", "report.invalid"),
            ("\"details\":{}", "\"details\":[]", "report.invalid"),
            (",\n", "\n", "report.invalid"),
        ] {
            assert_eq!(parse(&whole.replace(from, to)), Err(code), "{from}");
        }
        // A manifest's MAC alone would do, but no seal without MAC and signature.
        let bytes = sealed(&whole);
        let text = String::from_utf8(bytes).unwrap();
        let bare = text.split_once(",\"mac\"").unwrap().0.to_owned() + "}}\n";
        assert_eq!(Report::parse(bare.as_bytes(), &id(), "x").unwrap_err().code(), "report.invalid");
    }
}
