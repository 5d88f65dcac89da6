//! What a server is before anything is loaded into it: its version, its roles, and whether it is empty.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::target::head::{Head, Kind};
use crate::target::psql::{Asking, Psql};
use crate::version::Version;

/// Asks for pairs of a word and a value. Objects that came with initdb have numbers below 16384; those of extensions belong to these, which
/// providers install beforehand.
const QUESTION: &str = "
WITH members AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
    schemas AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
SELECT 'version', current_setting('server_version_num')
UNION ALL SELECT 'database', current_database()::text
UNION ALL SELECT 'role', rolname::text FROM pg_roles
UNION ALL SELECT 'another database', datname::text FROM pg_database WHERE NOT datistemplate AND datname <> current_database()
    AND datname NOT IN ('postgres', 'rdsadmin', 'cloudsqladmin', 'azure_maintenance', 'azure_sys')
UNION ALL (SELECT 'the schema', nspname::text FROM schemas WHERE oid >= 16384
    AND NOT EXISTS (SELECT FROM members WHERE classid = 'pg_namespace'::regclass AND objid = schemas.oid) LIMIT 3)
UNION ALL (SELECT 'the relation', nspname || '.' || relname FROM pg_class JOIN schemas ON schemas.oid = relnamespace
    WHERE pg_class.oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND NOT EXISTS (SELECT FROM members WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid) LIMIT 3)
UNION ALL (SELECT 'the function', nspname || '.' || proname FROM pg_proc JOIN schemas ON schemas.oid = pronamespace
    WHERE pg_proc.oid >= 16384
    AND NOT EXISTS (SELECT FROM members WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid) LIMIT 3)
UNION ALL (SELECT 'a large object', oid::text FROM pg_largeobject_metadata LIMIT 1);
";

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its version.
    pub version: Version,
    /// The database that the connection is to.
    pub database: String,
    /// All of its roles.
    pub roles: BTreeSet<String>,
    /// What is in the database.
    objects: Vec<String>,
    /// Databases beside it and those that every server has.
    others: Vec<String>,
}

impl Facts {
    /// Asks a server.
    ///
    /// # Errors
    /// Those of [`Psql::ask`].
    pub async fn of(psql: &Psql) -> Result<Facts> {
        let answer = psql.ask(QUESTION, Asking { zero: true, ..Asking::default() }).await?;
        let (mut version, mut database) = (None, String::new());
        let (mut roles, mut objects, mut others) = (BTreeSet::new(), Vec::new(), Vec::new());
        for (word, value) in answer.split('\0').filter_map(|row| row.split_once('|')) {
            match word {
                "version" => version = value.parse().ok().map(Version::from_num),
                "database" => value.clone_into(&mut database),
                "role" => drop(roles.insert(value.to_owned())),
                "another database" => others.push(format!("{word} `{value}`")),
                _ => objects.push(format!("{word} `{value}`")),
            }
        }
        let unknown =
            || Error::Unreachable { target: psql.dsn.to_string(), said: "it does not tell its version".to_owned() };
        Ok(Facts { version: version.ok_or_else(unknown)?, database, roles, objects, others })
    }

    /// Demands that nothing is in it that a dump of this kind could meet.
    ///
    /// # Errors
    /// `target.not-empty`, naming what is there.
    pub fn demand_empty(&self, psql: &Psql, whole_server: bool) -> Result<()> {
        let others = self.others.iter().filter(|_| whole_server);
        match self.objects.iter().chain(others).next() {
            Some(what) => Err(Error::NotEmpty { target: self.shown(psql), what: what.clone() }),
            None => Ok(()),
        }
    }

    fn shown(&self, psql: &Psql) -> String {
        format!("the database `{}` of {}", self.database, psql.dsn)
    }

    /// Demands that the server and the programs are not older than what the dump was made with.
    ///
    /// # Errors
    /// `target.version`, naming both.
    pub fn demand_version(&self, head: &Head) -> Result<()> {
        match head.server {
            Some(dump) if self.version.is_older_release_than(dump) => Err(Error::TooOld { dump, found: self.version }),
            _ => Ok(()),
        }
    }
}

/// The oldest release of programs that can read a dump: pg_restore reads what its own version of pg_dump wrote and everything older. Text is
/// for the server to read, and every psql passes it on.
pub fn oldest_programs(head: &Head) -> Option<Version> {
    head.writer.filter(|_| head.kind == Kind::Archive)
}
