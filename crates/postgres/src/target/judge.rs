//! Which of the things that are said while a dump is loaded are errors.
//!
//! A dump that is whole makes a fresh server complain: every server has the role that it was made with, and so has every output of
//! pg_dumpall. So psql goes on after an error, and what it says is judged here, by the server's code and by the statement that failed. What is
//! not known to be benign is an error.

use std::collections::{BTreeMap, BTreeSet};

use crate::target::message::Message;
use crate::target::script;

/// What a message means for the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A statement of the dump failed: something of it is not there.
    Error,
    /// The server or the way to it failed, which says nothing about the dump.
    Target,
    /// A statement failed, and what it wanted is so nevertheless. Why, in a few words.
    Benign(&'static str),
    /// The server warned, or told something.
    Remark,
}

/// The codes for what is not there: table, object, function, schema, database, column.
const ABSENT: [&str; 6] = ["42P01", "42704", "42883", "3F000", "3D000", "42703"];

/// What there was beforehand, and what is to be forgiven.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    /// The roles that the server had before anything was loaded.
    pub roles: BTreeSet<String>,
    /// Owners and privileges may name roles that are not there: a dump of one database has none.
    pub roles_may_be_missing: bool,
    /// Tables and databases may be in tablespaces that are not there; then they are where the server puts them of itself.
    pub tablespaces_may_be_missing: bool,
}

impl Judge {
    /// Judges one message.
    pub fn judge(&self, message: &Message) -> Verdict {
        if !message.is_error() {
            return Verdict::Remark;
        }
        let Some(code) = message.sqlstate.as_deref() else {
            // psql's own: an unknown backslash command, a connection that is refused or lost.
            return if message.severity.is_empty() { Verdict::Target } else { Verdict::Error };
        };
        // A directory that is not there is what the dump says of another machine.
        let makes_tablespace = code == "58P01"
            && message.failed_statement().is_some_and(|statement| statement.starts_with("CREATE TABLESPACE "));
        // Connections, resources, limits, operators, the system, the configuration file.
        if !makes_tablespace && ["08", "53", "57", "58", "F0"].iter().any(|class| code.starts_with(class)) {
            return Verdict::Target;
        }
        match message.failed_statement().and_then(|statement| self.forgive(code, statement)) {
            Some(why) => Verdict::Benign(why),
            None => Verdict::Error,
        }
    }

    fn forgive(&self, code: &str, statement: &str) -> Option<&'static str> {
        let one_of = |beginnings: &[&str]| beginnings.iter().any(|beginning| statement.starts_with(beginning));
        match code {
            "42710" if one_of(&["CREATE ROLE ", "CREATE USER "]) => {
                self.roles.contains(&named(statement)?).then_some("the server had the role already")
            }
            "42710" if statement.starts_with("CREATE ") && statement.contains(" LANGUAGE plpgsql") => {
                Some("every database has the language plpgsql")
            }
            "42P06" if statement == "CREATE SCHEMA public;" => Some("every database has the schema public"),
            "42501" if statement.starts_with("COMMENT ON EXTENSION plpgsql ") => {
                Some("the comment on plpgsql is the superuser's")
            }
            "55006" if statement.starts_with("DROP ROLE ") => Some("the role in use cannot be dropped"),
            "42704" if sets_what_older_servers_lack(statement) => {
                Some("the server is older than pg_dump and lacks a setting")
            }
            _ if ABSENT.contains(&code) && drops(statement) => Some("there was nothing to drop"),
            "22023" if self.tablespaces_may_be_missing && statement.starts_with("SET default_tablespace = ") => {
                Some("the dump has no tablespaces")
            }
            "42704" if self.roles_may_be_missing && names_a_role(statement) => Some("the dump has no roles"),
            _ => None,
        }
    }
}

/// What `--clean` writes before it makes things.
fn drops(statement: &str) -> bool {
    let part = [" DROP CONSTRAINT ", " DROP DEFAULT;", " DROP EXPRESSION;", " DROP IDENTITY;"];
    statement.starts_with("DROP ")
        || statement.starts_with("SELECT pg_catalog.lo_unlink('")
        || (statement.starts_with("ALTER ") && part.iter().any(|part| statement.contains(part)))
}

/// What a newer pg_dump sets to its default, in case the server has it.
fn sets_what_older_servers_lack(statement: &str) -> bool {
    let settings = [
        "SET transaction_timeout = 0;",
        "SET idle_in_transaction_session_timeout = 0;",
        "SET lock_timeout = 0;",
        "SET row_security = off;",
        "SET default_table_access_method = heap;",
        "SET default_with_oids = false;",
    ];
    settings.contains(&statement)
}

/// Whether a statement gives something to a role.
fn names_a_role(statement: &str) -> bool {
    let begins = [
        "GRANT ",
        "REVOKE ",
        "ALTER DEFAULT PRIVILEGES ",
        "CREATE POLICY ",
        "CREATE USER MAPPING FOR ",
        "SET SESSION AUTHORIZATION ",
    ];
    begins
        .iter()
        .any(|beginning| statement.starts_with(beginning))
        || (statement.starts_with("ALTER ") && statement.contains(" OWNER TO "))
        // Of a dump that makes its database.
        || (statement.starts_with("ALTER ROLE ") && statement.contains(" IN DATABASE "))
}

/// The name in `CREATE ROLE name;`.
fn named(statement: &str) -> Option<String> {
    let (name, rest) = script::name(statement.splitn(3, ' ').nth(2)?)?;
    (rest == ";").then_some(name)
}

/// The most errors that are kept in full.
const KEPT: usize = 20;

/// What was said in all.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Statements that failed.
    pub errors: u64,
    /// Failures of the server or of the way to it.
    pub target: u64,
    /// Statements that failed and do not matter.
    pub benign: u64,
    /// Warnings and notices.
    pub remarks: u64,
    /// Why what is benign is benign, and how often.
    pub reasons: BTreeMap<&'static str, u64>,
    /// The codes of the errors, and how often each came.
    pub codes: BTreeMap<String, u64>,
    /// The first of the errors.
    pub first: Vec<Message>,
    /// The first failure of the server or of the way to it.
    pub fault: Option<Message>,
}

impl Tally {
    /// What explains best why a program ended.
    pub(crate) fn fault(&self) -> Option<&Message> {
        self.fault.as_ref().or(self.first.last())
    }

    /// Counts one message.
    pub fn add(&mut self, message: &Message, verdict: Verdict) {
        if verdict == Verdict::Target {
            self.fault.get_or_insert_with(|| message.clone());
        }
        match verdict {
            Verdict::Remark => self.remarks += 1,
            Verdict::Benign(why) => {
                self.benign += 1;
                *self.reasons.entry(why).or_default() += 1;
            }
            Verdict::Error | Verdict::Target => {
                if verdict == Verdict::Error {
                    self.errors += 1;
                } else {
                    self.target += 1;
                }
                *self.codes.entry(message.sqlstate.clone().unwrap_or_else(|| "psql".to_owned())).or_default() += 1;
                if self.first.len() < KEPT {
                    self.first.push(message.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::message::Parser;

    fn tally(text: &str, roles_may_be_missing: bool) -> Tally {
        let judge = Judge {
            roles: BTreeSet::from(["postgres".to_owned()]),
            roles_may_be_missing,
            tablespaces_may_be_missing: roles_may_be_missing,
        };
        let (mut parser, mut tally) = (Parser::default(), Tally::default());
        let mut add = |message: Option<Message>| {
            message.iter().for_each(|message| tally.add(message, judge.judge(message)));
        };
        text.lines().for_each(|line| add(parser.line(line)));
        add(parser.finish());
        tally
    }

    fn numbers(text: &str, roles_may_be_missing: bool) -> (u64, u64, u64, u64) {
        let tally = tally(text, roles_may_be_missing);
        (tally.errors, tally.target, tally.benign, tally.remarks)
    }

    const CLUSTER: &str = include_str!("../../testdata/psql/cluster-15.txt");
    const CLUSTER_CLEAN: &str = include_str!("../../testdata/psql/cluster-clean-15.txt");
    const CLUSTER_CLEAN_IF_EXISTS: &str = include_str!("../../testdata/psql/cluster-clean-if-exists-15.txt");
    const DATABASE: &str = include_str!("../../testdata/psql/database-without-its-roles-15.txt");
    const DATABASE_CLEAN: &str = include_str!("../../testdata/psql/database-clean-15.txt");
    const SCHEMA: &str = include_str!("../../testdata/psql/schema-public-15.txt");
    const MANY: &str = include_str!("../../testdata/psql/errors-of-many-kinds-15.txt");
    const LOST: &str = include_str!("../../testdata/psql/connection-lost-15.txt");
    const NEWER: &str = include_str!("../../testdata/psql/cluster-of-18-in-15.txt");
    const GERMAN: &str = include_str!("../../testdata/psql/german-15.txt");

    #[test]
    fn a_whole_cluster_in_a_fresh_server_has_nothing_but_benign_messages() {
        assert_eq!(numbers(CLUSTER, false), (0, 0, 1, 0));
        assert_eq!(numbers(CLUSTER_CLEAN, false), (0, 0, 16, 0));
        assert_eq!(numbers(CLUSTER_CLEAN_IF_EXISTS, false), (0, 0, 2, 14));
        assert_eq!(numbers(NEWER, false), (0, 0, 5, 0));
    }

    #[test]
    fn roles_that_a_database_dump_does_not_have_are_forgiven_only_when_asked_for() {
        assert_eq!(numbers(DATABASE, false), (7, 0, 0, 0));
        assert_eq!(numbers(DATABASE, true), (0, 0, 7, 0));
        assert_eq!(tally(DATABASE, true).reasons, BTreeMap::from([("the dump has no roles", 7)]));
        assert_eq!(numbers(DATABASE_CLEAN, true).0, 0);
        assert_eq!(numbers(DATABASE_CLEAN, false).0, 7);
    }

    #[test]
    fn what_is_missing_is_an_error_although_something_of_the_same_dump_is_benign() {
        let tally = tally(SCHEMA, true);
        assert_eq!(tally.reasons.get("every database has the schema public"), Some(&1));
        assert!(tally.errors > 5, "{tally:?}");
    }

    #[test]
    fn errors_of_statements_and_of_the_program_are_errors() {
        assert_eq!(numbers(MANY, true), (5, 0, 0, 3));
        assert_eq!(tally(MANY, true).codes.keys().collect::<Vec<_>>(), ["22P02", "42P01", "P1234", "psql"]);
    }

    #[test]
    fn a_server_that_goes_away_says_nothing_about_the_dump() {
        let tally = tally(LOST, true);
        assert_eq!((tally.target, tally.benign), (2, 0));
    }

    #[test]
    fn the_language_of_the_server_does_not_matter() {
        assert_eq!(numbers(GERMAN, false), (1, 0, 1, 3));
    }

    #[test]
    fn a_role_that_was_not_there_before_cannot_be_there_already() {
        let judge =
            Judge { roles: BTreeSet::from(["post\"gres".to_owned()]), roles_may_be_missing: true, ..Judge::default() };
        let said = |statement: &str| {
            let mut parser = Parser::default();
            parser.line("psql:<stdin>:1: ERROR:  42710: role already exists");
            parser.line(&format!("psql:<stdin>:1: STATEMENT:  {statement}"));
            judge.judge(&parser.finish().unwrap())
        };
        assert_eq!(said("CREATE ROLE \"post\"\"gres\";"), Verdict::Benign("the server had the role already"));
        for statement in ["CREATE ROLE postgres;", "CREATE ROLE other;", "CREATE ROLE", "CREATE POLICY x ON y;"] {
            assert_eq!(said(statement), Verdict::Error, "{statement}");
        }
    }
}
