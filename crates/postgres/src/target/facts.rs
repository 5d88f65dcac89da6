//! What a server is before anything is loaded into it: its version, its roles, and whether it is empty.
//!
//! For a dump of a whole server, and for a drill, all of the server counts: its other databases, what is in those that every server has and
//! in its templates, and the roles that the dump would alter. For a dump of one database it is that database, and those that the dump names.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::target::head::{Head, Kind};
use crate::target::psql::{Asking, Psql};
use crate::target::reach::Reach;
use crate::version::Version;

/// Asks for pairs of a word and a value. Roles that came with initdb have numbers below 16384, and those of providers are no user's.
const SERVER: &str = "
SELECT 'version', current_setting('server_version_num')
UNION ALL SELECT 'database', current_database()::text
UNION ALL SELECT 'session', session_user::text
UNION ALL SELECT 'role', rolname::text FROM pg_roles
UNION ALL SELECT 'role of a user', rolname::text FROM pg_roles
    WHERE oid >= 16384 AND rolname <> session_user AND rolname !~ '^(rds_|rdsadmin$|rdsrepladmin$|rdstopmgr$|cloudsql|azure_|azuresu$)'
UNION ALL SELECT CASE WHEN NOT datallowconn THEN 'closed' WHEN datistemplate THEN 'template' ELSE 'open' END, datname::text
    FROM pg_database WHERE datname <> current_database();
";

/// The most bytes of an answer about a server: tens of thousands of roles.
const ANSWER: u64 = 16 << 20;
/// Databases that every server has.
const COMMON: [&str; 3] = ["postgres", "template0", "template1"];
/// Databases of providers.
const MANAGED: [&str; 4] = ["rdsadmin", "cloudsqladmin", "azure_maintenance", "azure_sys"];

/// What may be in a database: what it is called, its catalog, its name there, its schema there, and which rows of the catalog count.
type Sort = (&'static str, &'static str, &'static str, Option<&'static str>, &'static str);

const SORTS: [Sort; 15] = [
    ("schema", "pg_namespace", "nspname", None, "nspname !~ '^pg_'"),
    ("relation", "pg_class", "relname", Some("relnamespace"), "relkind IN ('r', 'p', 'v', 'm', 'S', 'f')"),
    ("function", "pg_proc", "proname", Some("pronamespace"), "true"),
    // The types of tables come with the tables, and those of arrays with what they are of.
    (
        "type",
        "pg_type",
        "typname",
        Some("typnamespace"),
        "typtype IN ('b', 'c', 'd', 'e', 'r') AND typcategory <> 'A'
            AND (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND c.relkind = 'c'))",
    ),
    ("operator", "pg_operator", "oprname", Some("oprnamespace"), "true"),
    ("collation", "pg_collation", "collname", Some("collnamespace"), "true"),
    ("conversion", "pg_conversion", "conname", Some("connamespace"), "true"),
    ("text search configuration", "pg_ts_config", "cfgname", Some("cfgnamespace"), "true"),
    ("text search dictionary", "pg_ts_dict", "dictname", Some("dictnamespace"), "true"),
    ("operator class", "pg_opclass", "opcname", Some("opcnamespace"), "true"),
    ("event trigger", "pg_event_trigger", "evtname", None, "true"),
    ("foreign-data wrapper", "pg_foreign_data_wrapper", "fdwname", None, "true"),
    ("foreign server", "pg_foreign_server", "srvname", None, "true"),
    ("language", "pg_language", "lanname", None, "true"),
    ("cast to", "pg_cast", "casttarget::regtype", None, "true"),
];

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its version.
    pub version: Version,
    /// The database that the connection is to.
    pub database: String,
    /// The role that is logged in.
    pub session: String,
    /// All of its roles.
    pub roles: BTreeSet<String>,
    /// Those that somebody made.
    made: BTreeSet<String>,
    /// What is in the database, and for a whole server in those that every server has.
    objects: Vec<String>,
    /// The other databases.
    databases: BTreeSet<String>,
    whole_server: bool,
}

impl Facts {
    /// Asks a server: about all of it, or about the database of the connection.
    ///
    /// # Errors
    /// Those of [`Psql::ask`].
    pub async fn of(psql: &Psql, whole_server: bool) -> Result<Facts> {
        let asking = Asking { zero: true, most: ANSWER, ..Asking::default() };
        let answer = psql.ask(SERVER, asking).await?;
        let (mut version, mut database, mut session) = (None, String::new(), String::new());
        let (mut roles, mut made) = (BTreeSet::new(), BTreeSet::new());
        let (mut databases, mut to_ask) = (BTreeSet::new(), Vec::new());
        for (word, value) in pairs(&answer) {
            match word {
                "version" => version = value.parse().ok().map(Version::from_num),
                "database" => database = value.to_owned(),
                "session" => session = value.to_owned(),
                "role" => drop(roles.insert(value.to_owned())),
                "role of a user" => drop(made.insert(value.to_owned())),
                _ => {
                    databases.insert(value.to_owned());
                    if word == "template" || (word == "open" && COMMON.contains(&value)) {
                        to_ask.push(value.to_owned());
                    }
                }
            }
        }
        let unknown =
            || Error::Unreachable { target: psql.dsn.to_string(), said: "it does not tell its version".to_owned() };
        let version = version.ok_or_else(unknown)?;
        let question = objects(version);
        let mut objects = Vec::new();
        for (word, value) in pairs(&psql.ask(&question, asking).await?) {
            objects.push(format!("the {word} `{value}`"));
        }
        for other in to_ask.iter().filter(|_| whole_server) {
            let asking = Asking { database: Some(other), ..asking };
            for (word, value) in pairs(&psql.ask(&question, asking).await?) {
                objects.push(format!("the {word} `{value}` in the database `{other}`"));
            }
            // What is in a template is known now. One that is empty is none's.
            databases.remove(other);
        }
        Ok(Facts { version, database, session, roles, made, objects, databases, whole_server })
    }

    /// Demands that nothing is in it that these dumps could meet.
    ///
    /// # Errors
    /// `target.not-empty`, naming what is there.
    pub fn demand_empty(&self, psql: &Psql, heads: &[&Head]) -> Result<()> {
        match self.met_by(heads.iter().map(|head| &head.reach)) {
            Some(what) => Err(Error::NotEmpty { target: self.shown(psql), what }),
            None => Ok(()),
        }
    }

    fn met_by<'a>(&self, reaches: impl Iterator<Item = &'a Reach>) -> Option<String> {
        if let Some(object) = self.objects.first() {
            return Some(object.clone());
        }
        let users = |name: &&String| !COMMON.contains(&name.as_str()) && !MANAGED.contains(&name.as_str());
        if let Some(other) = self.databases.iter().filter(|_| self.whole_server).find(users) {
            return Some(format!("another database `{other}`"));
        }
        for reach in reaches {
            let is_there = |name: &&String| **name == self.database || self.databases.contains(*name);
            if let Some(made) = reach.makes.iter().filter(|_| !self.whole_server).find(is_there) {
                return Some(format!("the database `{made}`, which the dump drops or makes by itself"));
            }
            let elsewhere = |name: &&String| **name != self.database && self.databases.contains(*name);
            if let Some(other) = reach.goes_to.iter().filter(|_| !self.whole_server).find(elsewhere) {
                return Some(format!("the database `{other}`, which the dump goes to"));
            }
            let alters = |role: &&String| reach.more_roles || reach.roles.contains_key(*role);
            if let Some(role) = self.made.iter().find(alters) {
                return Some(format!("the role `{role}`, which the dump {} alter", may(reach, role)));
            }
        }
        None
    }

    fn shown(&self, psql: &Psql) -> String {
        match self.whole_server {
            true => format!("the server of {}", psql.dsn),
            false => format!("the database `{}` of {}", self.database, psql.dsn),
        }
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

/// Roles behind the beginning that was looked at are not known.
fn may(reach: &Reach, role: &str) -> &'static str {
    if reach.roles.contains_key(role) { "would" } else { "may" }
}

fn pairs(answer: &str) -> impl Iterator<Item = (&str, &str)> {
    answer.split('\0').filter_map(|row| row.split_once('|'))
}

/// Asks what is in a database. Objects that came with initdb have numbers below 16384; those of extensions belong to these, which providers
/// install beforehand.
fn objects(version: Version) -> String {
    let mut sql = "WITH members AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),\n\
        schemas AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')\n"
        .to_owned();
    for (place, (word, catalog, name, schema, which)) in SORTS.iter().enumerate() {
        let union = if place == 0 { "" } else { "UNION ALL " };
        let (named, joined) = match schema {
            Some(schema) => (format!("nspname || '.' || {name}"), format!("JOIN schemas s ON s.oid = o.{schema}")),
            None => (format!("{name}::text"), String::new()),
        };
        let _ = writeln!(
            sql,
            "{union}(SELECT '{word}', {named} FROM {catalog} o {joined} WHERE o.oid >= 16384 AND {which}
            AND NOT EXISTS (SELECT FROM members WHERE classid = '{catalog}'::regclass AND objid = o.oid) LIMIT 1)"
        );
    }
    // Whoever makes one may choose any number for it.
    sql += "UNION ALL (SELECT 'large object', oid::text FROM pg_largeobject_metadata LIMIT 1)\n";
    let own = "(SELECT oid FROM pg_database WHERE datname = current_database())";
    if version >= Version::from_num(100_000) {
        sql += "UNION ALL (SELECT 'publication', pubname::text FROM pg_publication LIMIT 1)\n";
        let _ = writeln!(
            sql,
            "UNION ALL (SELECT 'subscription', subname::text FROM pg_subscription WHERE subdbid = {own} LIMIT 1)"
        );
    }
    sql + ";\n"
}

/// The oldest release of programs that can read a dump: pg_restore reads what its own version of pg_dump wrote and everything older. Text is
/// for the server to read, and every psql passes it on.
pub fn oldest_programs(head: &Head) -> Option<Version> {
    head.writer.filter(|_| head.kind == Kind::Archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(whole_server: bool) -> Facts {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        Facts {
            version: Version::from_num(150_020),
            database: "postgres".to_owned(),
            session: "postgres".to_owned(),
            roles: set(&["app", "postgres", "rdsadmin"]),
            made: set(&["app"]),
            objects: Vec::new(),
            databases: set(&["rdsadmin", "shop", "template0", "template1"]),
            whole_server,
        }
    }

    fn met(facts: &Facts, script: &str) -> String {
        let head = Head::read(script.as_bytes()).unwrap();
        facts.met_by([&head.reach].into_iter()).unwrap_or_default()
    }

    #[test]
    fn of_a_whole_server_every_other_database_counts() {
        let mut facts = facts(true);
        assert_eq!(met(&facts, "SELECT 1;"), "another database `shop`");
        facts.databases.remove("shop");
        assert_eq!(met(&facts, "SELECT 1;"), "");
        facts.objects.push("the type `public.mood` in the database `template1`".to_owned());
        assert_eq!(met(&facts, "SELECT 1;"), facts.objects[0]);
    }

    #[test]
    fn of_one_database_those_count_that_the_dump_names() {
        let facts = facts(false);
        assert_eq!(met(&facts, "SELECT 'DROP DATABASE shop;';"), "");
        assert_eq!(met(&facts, "CREATE DATABASE fresh;\n\\connect fresh\n\\connect postgres\n"), "");
        for script in ["DROP DATABASE IF EXISTS shop;", "CREATE DATABASE shop;", "CREATE DATABASE postgres;"] {
            assert!(met(&facts, script).ends_with("`, which the dump drops or makes by itself"), "{script}");
        }
        assert_eq!(met(&facts, "\\connect shop\n"), "the database `shop`, which the dump goes to");
    }

    #[test]
    fn roles_count_that_the_dump_alters_or_may_alter() {
        let facts = facts(false);
        assert_eq!(met(&facts, "CREATE ROLE postgres;\nALTER ROLE other WITH LOGIN;\n"), "");
        let script = "-- PostgreSQL database cluster dump\nALTER ROLE app WITH LOGIN;\n";
        assert_eq!(met(&facts, script), "the role `app`, which the dump would alter");
        let long = format!("CREATE ROLE x;\n{}", " ".repeat(1 << 20));
        assert_eq!(met(&facts, &long), "the role `app`, which the dump may alter");
    }
}
