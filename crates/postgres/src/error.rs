//! What can go wrong between a PostgreSQL server and an archive.

/// A fault. [`Error::code`] is stable, and in `spec/errors.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named and the message of each variant says what they mean")]
pub enum Error {
    #[error(transparent)]
    Run(#[from] backstay::Error),
    #[error("`{program}` {how}")]
    Program { program: String, how: String },
    #[error("the server is PostgreSQL {server}, and {program} is of version {client}: it cannot dump a newer server")]
    Version { server: String, client: String, program: String },
    #[error("the database {name:?} cannot be dumped: {why}")]
    Database { name: String, why: &'static str },
    #[error("{name:?} could not be backed up, so there is no set")]
    Member { name: String, source: Box<backstay::Error> },
    #[error("the archive is no dump in PostgreSQL's custom format: {why}")]
    NotCustom { why: String },
    #[error("the dump is of the custom format's version {version}, 1.12 to 1.16 are known")]
    CustomVersion { version: String },
    #[error("the dump has no table {name}")]
    NoTable { name: String, similar: Vec<String> },
}

impl Error {
    /// The stable dotted code.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Run(error) => error.code(),
            Error::Member { source, .. } => source.code(),
            Error::Program { .. } => "source.failed",
            Error::Version { .. } => "source.version",
            Error::Database { .. } => "source.database",
            Error::NotCustom { .. } => "dump.invalid",
            Error::CustomVersion { .. } => "format.unsupported",
            Error::NoTable { .. } => "dump.no-table",
        }
    }

    /// A helping hand that fits this very case.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Run(error) => error.hint(),
            Error::Version { server, .. } => {
                Some(format!("install the client programs of PostgreSQL {server}, and name their directory with --pg-bin"))
            }
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
            _ => None,
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
