//! What can go wrong between a dump and a server. Codes are those of `spec/errors.md`.

use std::io;
use std::path::PathBuf;

use crate::version::Version;

/// A fault on the way into a database. The text names the thing and the value; [`Fault::code`] is stable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named and the message of each variant says what they mean")]
pub enum Fault {
    #[error("the connection string holds a password, which everybody on this machine can read")]
    PasswordInDsn,
    #[error("the content is no dump that psql or pg_restore reads: {why}")]
    NotADump { why: String },
    #[error("{programs} of PostgreSQL ({wanted}) {found}")]
    NoPrograms { programs: String, wanted: String, found: String },
    #[error("the dump is of PostgreSQL {dump}, and the {what} is older: {found}")]
    TooOld { what: &'static str, dump: Version, found: Version },
    #[error("{target} is not empty: it has {what}")]
    NotEmpty { target: String, what: String },
    #[error("{target} cannot be used: {said}")]
    Unreachable { target: String, said: String },
    #[error("`{program}` {how}")]
    Failed { program: String, how: String },
    #[error("`{sql}` failed: {said}")]
    Query { sql: String, said: String },
    #[error("{what} {} failed", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("the path of the server's socket in {} is too long: it has {length} bytes, {most} are allowed", dir.display())]
    SocketPath { dir: PathBuf, length: usize, most: usize },
    #[error("interrupted; {left}")]
    Interrupted { left: &'static str },
}

impl Fault {
    /// The stable dotted code, as `spec/errors.md` lists it.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::PasswordInDsn | Fault::SocketPath { .. } => "usage.arguments",
            Fault::NotADump { .. } => "target.not-a-dump",
            Fault::NoPrograms { .. } => "target.programs",
            Fault::TooOld { .. } => "target.version",
            Fault::NotEmpty { .. } => "target.not-empty",
            Fault::Unreachable { .. } => "target.unreachable",
            Fault::Failed { .. } | Fault::Query { .. } => "target.failed",
            Fault::Io { .. } => "io.failed",
            Fault::Interrupted { .. } => "interrupted",
        }
    }

    /// A helping hand that fits this very case, where the table's general advice is not the best one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Fault::PasswordInDsn => Some(
                "leave it out, and put it into ~/.pgpass, a file named by PGPASSFILE, a service of PGSERVICEFILE, or PGPASSWORD"
                    .to_owned(),
            ),
            Fault::SocketPath { .. } => Some("give a shorter directory with --scratch-dir".to_owned()),
            _ => None,
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Fault>;

#[cfg(test)]
mod tests {
    use backstay::codes;

    #[test]
    fn every_code_has_a_row() {
        let mut seen = 0;
        for line in include_str!("fault.rs").lines().filter(|line| line.contains("=> \"")) {
            let code = line.split('"').nth(1).unwrap();
            assert!(codes::find(code).is_some(), "`{code}` is not in spec/errors.md");
            seen += 1;
        }
        assert!(seen >= 9, "{seen}");
    }
}
