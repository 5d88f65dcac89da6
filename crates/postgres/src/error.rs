//! What can go wrong between a PostgreSQL server and an archive, in both directions.

use std::io;
use std::path::PathBuf;

use crate::programs::Need;
use crate::version::Version;

/// A fault. [`Error::code`] is stable, and in `spec/errors.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named and the message of each variant says what they mean")]
pub enum Error {
    #[error(transparent)]
    Run(#[from] backstay::Error),
    #[error("{} of PostgreSQL ({wanted}) {found}", need.programs().join(", "))]
    Programs { need: Need, wanted: String, found: String },
    #[error("{what} {} failed", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("interrupted; {left}")]
    Interrupted { left: &'static str },

    // Out of a server.
    #[error("`{program}` {how}")]
    Source { program: String, how: String },
    #[error("the database {name:?} cannot be dumped: {why}")]
    Database { name: String, why: &'static str },
    #[error("{name:?} could not be backed up, so there is no set")]
    Member { name: String, source: Box<backstay::Error> },

    // Tables out of a dump.
    #[error("the archive is no dump in PostgreSQL's custom format: {why}")]
    NotCustom { why: String },
    #[error("the dump is of the custom format's version {version}, 1.12 to 1.16 are known")]
    CustomVersion { version: String },
    #[error("the dump has no table {name}")]
    NoTable { name: String, similar: Vec<String> },

    // Into a server.
    #[error("the connection string holds a password, which everybody on this machine can read")]
    PasswordInDsn,
    #[error("the connection string is empty")]
    EmptyDsn,
    #[error("the content is no dump that psql or pg_restore reads: {why}")]
    NotADump { why: String },
    #[error("the dump is of PostgreSQL {dump}, and the server is older: {found}")]
    TooOld { dump: Version, found: Version },
    #[error(
        "the dump was cut short before it was backed up: it begins with `{begins}`, and `{ends}` does not stand at its end"
    )]
    CutShort { begins: String, ends: String },
    #[error("the database {name:?} cannot be made: no script goes to a name with a line break in it")]
    LineBreak { name: String },
    #[error("{target} is not empty: it has {what}")]
    NotEmpty { target: String, what: String },
    #[error("{target} cannot be used: {said}")]
    Unreachable { target: String, said: String },
    #[error("`{program}` {how}")]
    Target { program: String, how: String },
    #[error("`{sql}` failed: {said}")]
    Query { sql: String, said: String },
    #[error("the path of the server's socket in {} is too long: it has {length} bytes, {most} are allowed", dir.display())]
    SocketPath { dir: PathBuf, length: usize, most: usize },
    #[error("the path of the server's socket would have a comma in it, where PostgreSQL takes it for two: {}", dir.display())]
    SocketComma { dir: PathBuf },
}

impl Error {
    /// The stable dotted code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Run(error) => error.code(),
            Error::Member { source, .. } => source.code(),
            Error::Programs { need, .. } if need.is_source() => "source.programs",
            Error::Programs { .. } => "target.programs",
            Error::Io { .. } => "io.failed",
            Error::Interrupted { .. } => "interrupted",
            Error::Source { .. } => "source.failed",
            Error::Database { .. } => "source.database",
            Error::NotCustom { .. } => "dump.invalid",
            Error::CustomVersion { .. } => "format.unsupported",
            Error::NoTable { .. } => "dump.no-table",
            Error::PasswordInDsn | Error::EmptyDsn | Error::SocketPath { .. } | Error::SocketComma { .. } => {
                "usage.arguments"
            }
            Error::CutShort { .. } => "dump.cut-short",
            Error::NotADump { .. } => "target.not-a-dump",
            Error::TooOld { .. } => "target.version",
            Error::NotEmpty { .. } => "target.not-empty",
            Error::Unreachable { .. } => "target.unreachable",
            Error::Target { .. } | Error::Query { .. } | Error::LineBreak { .. } => "target.failed",
        }
    }

    /// A helping hand that fits this very case, where the table's general advice is not the best one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Run(error) => error.hint(),
            Error::Database { name, .. } => {
                Some(format!("leave it out with --exclude-database {name:?}, and the set says so"))
            }
            Error::Member { .. } => Some(
                "correct the cause and run again; the databases that were done are archives of their own, and stand for themselves alone"
                    .to_owned(),
            ),
            Error::NoTable { similar, .. } if !similar.is_empty() => Some(format!("it has {}", similar.join(", "))),
            Error::NoTable { .. } => Some("name it as SCHEMA.TABLE".to_owned()),
            Error::CustomVersion { .. } => Some("restore the whole archive, and use the pg_restore that belongs to it".to_owned()),
            Error::PasswordInDsn => Some(
                "leave it out, and put it into ~/.pgpass, a file named by PGPASSFILE, a service of PGSERVICEFILE, or PGPASSWORD"
                    .to_owned(),
            ),
            Error::EmptyDsn => Some(
                "is a variable not set? For the server that PGHOST and its like name, give a database, as in dbname=postgres"
                    .to_owned(),
            ),
            Error::LineBreak { .. } => Some(
                "make a database, and restore or drill this member alone: it goes into the database that is connected to".to_owned(),
            ),
            Error::Interrupted { .. } => Some("run it again, into a target that is empty".to_owned()),
            Error::SocketPath { .. } => Some("give a shorter directory with --scratch-dir".to_owned()),
            Error::SocketComma { .. } => Some("give a directory without a comma with --scratch-dir".to_owned()),
            _ => None,
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use backstay::codes;

    #[test]
    fn every_code_has_a_row() {
        let mut seen = 0;
        for line in include_str!("error.rs").lines().filter(|line| line.contains("=> \"")) {
            let code = line.split('"').nth(1).unwrap();
            assert!(codes::find(code).is_some(), "`{code}` is not in spec/errors.md");
            seen += 1;
        }
        assert!(seen >= 15, "{seen}");
    }
}
