//! The table of error codes: exit status, severity, family, meaning and advice.
//!
//! `spec/errors.md` is the table, embedded here as it stands: what an operator reads on the page is what `explain` prints
//! and what the exit status is taken from.

use std::sync::LazyLock;

const PAGE: &str = include_str!("../../../spec/errors.md");

static TABLE: LazyLock<Vec<Code>> = LazyLock::new(|| PAGE.lines().filter_map(row).collect());

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The dotted code.
    pub code: &'static str,
    /// `Warning`, `Error` or `Critical`.
    pub severity: &'static str,
    /// The exit status of a command that ends with it.
    pub exit: u8,
    /// The `ERR_BACKUP_*` names that it belongs to; `–` for none.
    pub family: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// All rows, in the page's order.
pub fn all() -> &'static [Code] {
    &TABLE
}

/// The row of a code.
pub fn find(code: &str) -> Option<&'static Code> {
    TABLE.iter().find(|row| row.code == code)
}

/// The exit status of a code; 1 for one that the table does not know, which a test forbids.
pub fn exit(code: &str) -> u8 {
    find(code).map_or(1, |row| row.exit)
}

fn row(line: &'static str) -> Option<Code> {
    let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
    let code = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
    let (severity, exit) = (cells.next()?, cells.next()?.parse().ok()?);
    Some(Code { code, severity, exit, family: cells.next()?, meaning: cells.next()?, advice: cells.next()? })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_row_of_the_page_is_read() {
        let rows = PAGE.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(all().len(), rows);
        assert!(rows > 50, "{rows}");
        for row in all() {
            assert!(!row.meaning.is_empty() && !row.advice.is_empty(), "{row:?}");
            assert!(matches!(row.severity, "Warning" | "Error" | "Critical"), "{row:?}");
            assert_eq!(all().iter().filter(|other| other.code == row.code).count(), 1, "{row:?}");
        }
    }

    #[test]
    fn every_code_in_the_sources_has_a_row() {
        let sources = [
            include_str!("error.rs"),
            include_str!("../../format/src/error.rs"),
            include_str!("../../format/src/openssl.rs"),
            include_str!("../../store/src/error.rs"),
        ];
        let mut seen = 0;
        for source in sources {
            for line in source.lines().filter(|line| line.contains("=> \"")) {
                let code = line.split('"').nth(1).unwrap();
                if code.contains('.') || matches!(code, "interrupted" | "internal") {
                    assert!(find(code).is_some(), "`{code}` is not in spec/errors.md");
                    seen += 1;
                }
            }
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn every_row_is_said_somewhere_or_is_reserved() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut sources = String::new();
        for name in ["backstay", "cli", "format", "postgres", "store"] {
            add_sources(&crates.join(name).join("src"), &mut sources);
        }
        for row in all() {
            let said = sources.contains(&format!("\"{}\"", row.code));
            assert_ne!(said, row.meaning.starts_with("Reserved"), "{row:?}");
        }
    }

    fn add_sources(folder: &Path, sources: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add_sources(&path, sources);
            } else {
                sources.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
}
