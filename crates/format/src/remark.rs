//! Remarks: tombstones, holds, notes and added tags, one JSON object beside the archive each (`spec/archive.md`, "Remarks").
//!
//! They have no seal, and nothing is ever deleted for what one says: a hold holds by its name alone, an added tag can only
//! keep, a tombstone only starts a waiting time, and a note is for people.

use crate::error::{Error, Result};
use crate::json::{Dialect, Json};
use crate::name::{ArchiveId, Word};

/// The largest remark that is read.
pub const MAX_REMARK: u64 = 64 << 10;

/// What somebody said of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The archive.
    pub id: ArchiveId,
    /// What it is for; the word in the object's name.
    pub word: Word,
    /// When (RFC 3339, UTC), by the clock of whoever made it.
    pub at: String,
    /// Who made it.
    pub by: String,
    /// A reason, or a note; may be empty.
    pub text: String,
    /// The labels that are added.
    pub tags: Vec<String>,
}

impl Remark {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let tags: Vec<String> = self.tags.iter().map(|tag| quote(tag)).collect();
        format!(
            "{{\"backstay_remark\":1,\"id\":\"{}\",\"word\":\"{}\",\"at\":{},\"by\":{},\"text\":{},\"tags\":[{}]}}\n",
            self.id,
            self.word.as_str(),
            quote(&self.at),
            quote(&self.by),
            quote(&self.text),
            tags.join(","),
        )
        .into_bytes()
    }

    /// Reads the object `object`, which by its name is a `word` on `id`.
    ///
    /// # Errors
    /// `report.invalid`; `format.unsupported` for a later version; `name.mismatch` when it is on another archive.
    pub fn parse(bytes: &[u8], id: &ArchiveId, word: Word, object: &str) -> Result<Remark> {
        let invalid = |why: String| Error::RemarkInvalid { object: object.to_owned(), why };
        if bytes.len() as u64 > MAX_REMARK {
            return Err(invalid("it is longer than 64 KiB".to_owned()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
        let (mut version, mut named, mut kind) = (None, None, None);
        let mut remark = Remark {
            id: id.clone(),
            word,
            at: String::new(),
            by: String::new(),
            text: String::new(),
            tags: Vec::new(),
        };
        let mut json = Json::new(text, Dialect::Manifest);
        json.object(&mut |json, key| {
            match key {
                "backstay_remark" => version = Some(json.integer()?),
                "id" => named = Some(json.string()?.into_owned()),
                "word" => kind = Word::parse(&json.string()?),
                "at" => remark.at = json.string()?.into_owned(),
                "by" => remark.by = json.string()?.into_owned(),
                "text" => remark.text = json.string()?.into_owned(),
                "tags" => json.array(&mut |json| {
                    remark.tags.push(json.string()?.into_owned());
                    Ok(())
                })?,
                _ => json.skip()?,
            }
            Ok(())
        })
        .and_then(|()| json.end())
        .map_err(|fault| invalid(fault.to_string()))?;
        match version {
            Some(1) => {}
            Some(version) => {
                let what = format!("remark version {version}");
                return Err(Error::FormatUnsupported { object: object.to_owned(), what });
            }
            None => return Err(invalid("`backstay_remark` is missing".to_owned())),
        }
        match named {
            Some(named) if named == id.as_str() => {}
            Some(found) => return Err(Error::NameMismatch { object: object.to_owned(), found }),
            None => return Err(invalid("`id` is missing".to_owned())),
        }
        if kind == Some(word) { Ok(remark) } else { Err(invalid("its `word` is not that of its name".to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark() -> Remark {
        Remark {
            id: "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap(),
            word: Word::Tag,
            at: "2026-01-31T02:00:00Z".to_owned(),
            by: "ops@desk".to_owned(),
            text: "before \"the\" upgrade".to_owned(),
            tags: vec!["release-17".to_owned(), "keep".to_owned()],
        }
    }

    #[test]
    fn a_remark_is_read_back() {
        let remark = remark();
        assert_eq!(Remark::parse(&remark.encode(), &remark.id, Word::Tag, "x").unwrap(), remark);
        let page = include_str!("../../../spec/archive.md");
        assert!(
            page.contains(std::str::from_utf8(&remark.encode()).unwrap()),
            "{}",
            String::from_utf8_lossy(&remark.encode())
        );
    }

    #[test]
    fn what_is_no_such_remark_on_this_archive_is_refused() {
        let remark = remark();
        let text = String::from_utf8(remark.encode()).unwrap();
        let parse =
            |text: &str| Remark::parse(text.as_bytes(), &remark.id, Word::Tag, "x").map_err(|error| error.code());
        for (from, to, code) in [
            ("remark\":1", "remark\":2", "format.unsupported"),
            ("backstay_remark", "remark", "report.invalid"),
            ("0123\"", "0124\"", "name.mismatch"),
            ("\"tag\"", "\"hold\"", "report.invalid"),
            ("}", "} x", "report.invalid"),
            ("[", "[1,", "report.invalid"),
        ] {
            assert_eq!(parse(&text.replace(from, to)).map(drop), Err(code), "{from}");
        }
        assert_eq!(parse(&" ".repeat(65 << 10)).map(drop), Err("report.invalid"));
        // What a later version adds is no obstacle.
        assert!(parse(&text.replace("\"tags\"", "\"more\":{\"x\":[1]},\"tags\"")).is_ok());
    }
}
