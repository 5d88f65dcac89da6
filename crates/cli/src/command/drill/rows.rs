//! The rows that each table had when it was dumped, against those that are there now.
//!
//! The counts are in the sealed part of the manifest, where a backup that counts them in the dump's own snapshot keeps them. An archive without any is
//! checked by nothing here.

use std::fmt::Write as _;
use std::time::Instant;

use backstay_postgres::Error;
use backstay_postgres::target::psql::{Asking, Psql};
use serde::Deserialize;

use super::checks::{Checked, millis};
use crate::failure::Result;
use crate::output::human::count;

/// The most differences that are told.
const TOLD: usize = 5;

/// A table and what was counted in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct TableRows {
    schema: String,
    table: String,
    rows: u64,
}

/// The counts in the sealed part of a manifest.
pub(super) fn recorded(private: &str) -> Vec<TableRows> {
    let facts: serde_json::Value = serde_json::from_str(private).unwrap_or_default();
    let rows = facts.get("postgres").and_then(|postgres| postgres.get("rows")).cloned();
    rows.and_then(|rows| serde_json::from_value(rows).ok()).unwrap_or_default()
}

/// Counts again, and compares.
pub(super) async fn check(psql: &Psql, database: &str, recorded: &[TableRows]) -> Result<Checked> {
    let begun = Instant::now();
    let mut sql = String::new();
    for table in recorded {
        let _ = writeln!(sql, "SELECT count(*) FROM ONLY {}.{};", quoted(&table.schema), quoted(&table.table));
    }
    let asking = Asking { database: Some(database), read_only: true, ..Asking::default() };
    let actual = match psql.ask(&sql, asking).await {
        Ok(answer) => compare(recorded, &answer),
        Err(Error::Query { said, .. }) => Err(said),
        Err(fault) => return Err(fault.into()),
    };
    let tables = count(recorded.len() as u64, "table");
    let rows: u64 = recorded.iter().map(|table| table.rows).sum();
    Ok(Checked {
        name: "rows of each table, as counted in the backup".to_owned(),
        db: database.to_owned(),
        sql: format!("SELECT count(*) FROM ONLY … for {tables}"),
        expected: format!("{} in {tables}", count(rows, "row")),
        passed: actual.is_ok(),
        actual: actual.map_or_else(|why| why, |()| "the same in each".to_owned()),
        elapsed_ms: millis(begun.elapsed()),
    })
}

/// What differs, in words.
fn compare(recorded: &[TableRows], answer: &str) -> std::result::Result<(), String> {
    let found: Vec<Option<u64>> = answer.lines().map(|line| line.parse().ok()).collect();
    let differing: Vec<_> = recorded
        .iter()
        .enumerate()
        .filter(|(n, table)| found.get(*n).copied().flatten() != Some(table.rows))
        .map(|(n, table)| {
            let found = found.get(n).copied().flatten().map_or("no answer".to_owned(), |rows| rows.to_string());
            format!("{}.{} has {found} and had {}", table.schema, table.table, table.rows)
        })
        .collect();
    match differing.len() {
        0 => Ok(()),
        number => {
            let more = number.saturating_sub(TOLD);
            let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
            Err(differing[..number - more].join("; ") + &rest)
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found_where_a_backup_keeps_them() {
        let private =
            r#"{"host":"db1","postgres":{"server":"15.20","rows":[{"schema":"public","table":"t","rows":3}]}}"#;
        assert_eq!(recorded(private), [TableRows { schema: "public".to_owned(), table: "t".to_owned(), rows: 3 }]);
        for private in ["", "{}", r#"{"postgres":{}}"#, r#"{"postgres":{"rows":[{"table":3}]}}"#] {
            assert!(recorded(private).is_empty(), "{private}");
        }
    }

    #[test]
    fn every_table_that_differs_is_seen() {
        let table = |n: u64| TableRows { schema: "s".to_owned(), table: format!("t{n}"), rows: n };
        let tables: Vec<_> = (0..9).map(table).collect();
        assert_eq!(compare(&tables, "0\n1\n2\n3\n4\n5\n6\n7\n8"), Ok(()));
        assert_eq!(compare(&tables, "0\n1\n2\n3\n4\n5\n6\n7\n9"), Err("s.t8 has 9 and had 8".to_owned()));
        assert_eq!(compare(&tables[..2], "0"), Err("s.t1 has no answer and had 1".to_owned()));
        assert!(compare(&tables, "").unwrap_err().ends_with("; and 4 more"));
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
