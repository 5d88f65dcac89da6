//! What must be so in the restored database: queries, and what they must answer.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use backstay_postgres::Error;
use backstay_postgres::target::psql::{Asking, Psql};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

/// What a query must answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    /// This, as psql prints it without headings: columns with `|` between them, rows on lines.
    Equal(String),
    /// A number in this range, both ends included.
    Between(Option<Number>, Option<Number>),
}

/// A number as it was written, and what it is compared as.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    text: String,
    value: f64,
    /// Where it has no fraction: a count above 2^53 is compared exactly.
    whole: Option<i128>,
}

impl Number {
    fn parse(text: &str) -> Option<Number> {
        let value = text.trim().parse::<f64>().ok().filter(|value| value.is_finite())?;
        Some(Number { text: text.trim().to_owned(), value, whole: text.trim().parse().ok() })
    }

    fn is_at_most(&self, other: &Number) -> bool {
        match (self.whole, other.whole) {
            (Some(one), Some(other)) => one <= other,
            _ => self.value <= other.value,
        }
    }
}

impl Expected {
    fn holds(&self, actual: &str) -> bool {
        match self {
            Expected::Equal(expected) => actual == expected,
            Expected::Between(least, most) => Number::parse(actual).is_some_and(|actual| {
                least.as_ref().is_none_or(|least| least.is_at_most(&actual))
                    && most.as_ref().is_none_or(|most| actual.is_at_most(most))
            }),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Equal(text) => f.write_str(text),
            Expected::Between(Some(least), Some(most)) => write!(f, "{} to {}", least.text, most.text),
            Expected::Between(Some(least), None) => write!(f, "at least {}", least.text),
            Expected::Between(None, Some(most)) => write!(f, "at most {}", most.text),
            Expected::Between(None, None) => f.write_str("a number"),
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Check {
    pub(super) name: String,
    /// The database to ask; the restored one when `None`.
    pub(super) db: Option<String>,
    pub(super) sql: String,
    pub(super) expected: Expected,
}

/// A check that was made.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) db: String,
    pub(super) sql: String,
    pub(super) expected: String,
    pub(super) actual: String,
    pub(super) passed: bool,
    pub(super) elapsed_ms: u64,
}

/// What a file of checks holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    check: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: Option<String>,
    db: Option<String>,
    sql: String,
    expect: Option<toml::Value>,
    at_least: Option<toml::Value>,
    at_most: Option<toml::Value>,
}

/// The checks of `--assert` and `--expect`, in pairs; each must be true when nothing is expected.
pub(super) fn from_options(asserted: &[String], expected: &[String], db: Option<&str>) -> Result<Vec<Check>> {
    if !expected.is_empty() && expected.len() != asserted.len() {
        let message = format!("{} of --assert and {} of --expect are given", asserted.len(), expected.len());
        return Err(
            Failure::usage(message).with_hint("give one --expect for each --assert, or none where all must be true")
        );
    }
    let check = |(n, sql): (usize, &String)| Check {
        name: format!("assertion {}", n + 1),
        db: db.map(str::to_owned),
        sql: sql.clone(),
        expected: Expected::Equal(expected.get(n).map_or("t", String::as_str).to_owned()),
    };
    Ok(asserted.iter().enumerate().map(check).collect())
}

/// The checks of a file.
pub(super) fn from_file(path: &Path) -> Result<Vec<Check>> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io("reading", path, &error))?;
    let wrong =
        |why: &str| Failure::new("usage.config", format!("the checks in {} are not understood: {why}", path.display()));
    let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim()))?;
    if file.check.is_empty() {
        return Err(wrong("there is no [[check]]"));
    }
    let mut checks = Vec::new();
    for (n, entry) in file.check.into_iter().enumerate() {
        let name = entry.name.unwrap_or_else(|| format!("check {} of {}", n + 1, path.display()));
        let expected = match (entry.expect, entry.at_least, entry.at_most) {
            (None, None, None) => Expected::Equal("t".to_owned()),
            (Some(value), None, None) => {
                let text =
                    as_printed(&value).ok_or_else(|| wrong(&format!("`expect` of `{name}` is no single value")))?;
                Expected::Equal(text)
            }
            (None, least, most) => {
                let number = |value: Option<toml::Value>| match value {
                    None => Ok(None),
                    Some(value) => as_printed(&value)
                        .and_then(|text| Number::parse(&text))
                        .map(Some)
                        .ok_or_else(|| wrong(&format!("a bound of `{name}` is no number"))),
                };
                Expected::Between(number(least)?, number(most)?)
            }
            _ => return Err(wrong(&format!("`{name}` has `expect` and a bound"))),
        };
        checks.push(Check { name, db: entry.db, sql: entry.sql, expected });
    }
    Ok(checks)
}

/// A value as psql prints it.
fn as_printed(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(if *truth { "t" } else { "f" }.to_owned()),
        _ => None,
    }
}

impl Check {
    /// Asks. A query that fails is a check that fails, unless the server is gone.
    pub(super) async fn make(&self, psql: &Psql, variables: &[(&str, &str)], restored: &str) -> Result<Checked> {
        let begun = Instant::now();
        let database = Some(self.db.as_deref().unwrap_or(restored));
        let asking = Asking { database, variables, read_only: true, ..Asking::default() };
        let (actual, passed) = match psql.ask(&self.sql, asking).await {
            Ok(actual) => {
                let passed = self.expected.holds(&actual);
                (actual, passed)
            }
            Err(error) => {
                psql.ask("SELECT 1;", Asking::default()).await?;
                // The server is there: it is the database or the query.
                let why = match error {
                    Error::Unreachable { said, .. } | Error::Query { said, .. } => said,
                    other => other.to_string(),
                };
                (why, false)
            }
        };
        Ok(Checked {
            name: self.name.clone(),
            db: self.db.clone().unwrap_or_else(|| restored.to_owned()),
            sql: self.sql.clone(),
            expected: self.expected.to_string(),
            actual,
            passed,
            elapsed_ms: millis(begun.elapsed()),
        })
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Vec<Check>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checks.toml");
        std::fs::write(&path, text).unwrap();
        from_file(&path)
    }

    #[test]
    fn expectations_are_values_or_bounds() {
        let checks = file(
            "[[check]]\nname = \"orders\"\ndb = \"shop\"\nsql = \"SELECT 1\"\nat-least = 10\nat-most = 20\n\
             [[check]]\nsql = \"SELECT 2\"\nexpect = 2\n[[check]]\nsql = \"SELECT true\"\n[[check]]\nsql = \"x\"\nexpect = false\n",
        )
        .unwrap();
        let holds = |n: usize, actual: &[&str]| {
            actual.iter().map(|actual| checks[n].expected.holds(actual)).collect::<Vec<_>>()
        };
        assert_eq!(
            holds(0, &["10", "20", "15.5", "9", "21", "", "many"]),
            [true, true, true, false, false, false, false]
        );
        assert_eq!(holds(1, &["2", "2.0", ""]), [true, false, false]);
        assert_eq!((holds(2, &["t", "f"]), holds(3, &["t", "f"])), (vec![true, false], vec![false, true]));
        assert_eq!((checks[0].name.as_str(), checks[0].db.as_deref()), ("orders", Some("shop")));
        assert_eq!(checks[0].expected.to_string(), "10 to 20");
    }

    #[test]
    fn large_counts_are_compared_exactly() {
        let least = Expected::Between(Number::parse("9007199254740993"), None);
        assert!(least.holds("9007199254740993") && !least.holds("9007199254740992"));
    }

    #[test]
    fn a_file_that_checks_nothing_or_something_unknown_is_refused() {
        for text in [
            "",
            "[[check]]\nname = \"x\"\n",
            "[[check]]\nsql = \"x\"\nexpects = 1\n",
            "[[check]]\nsql = \"x\"\nexpect = 1\nat-least = 1\n",
            "[[check]]\nsql = \"x\"\nat-least = \"many\"\n",
            "[[check]]\nsql = \"x\"\nexpect = [1]\n",
        ] {
            assert_eq!(file(text).unwrap_err().code, "usage.config", "{text}");
        }
    }

    #[test]
    fn assertions_and_expectations_are_pairs() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(from_options(&words(&["a", "b"]), &words(&["1"]), None).is_err());
        assert!(from_options(&[], &words(&["1"]), None).is_err());
        let checks = from_options(&words(&["a", "b"]), &words(&["1", "2"]), Some("shop")).unwrap();
        assert!(checks[1].expected.holds("2") && checks[1].db.as_deref() == Some("shop"));
        assert!(from_options(&words(&["a"]), &[], None).unwrap()[0].expected.holds("t"));
    }
}
