//! What a dump as text reaches beyond the database that it is sent to: other databases, and the roles of the whole server.
//!
//! `pg_dump -C` makes a database of its own, with `--clean` it drops the one that is there, and both go to it; pg_dumpall makes roles and
//! alters them. All of that stands in front of the data, and so in the beginning of the content.

use std::collections::{BTreeMap, BTreeSet};

use crate::target::dsn;
use crate::target::script::{Kind, Splitter, after, name};

/// The superuser that most servers were made with.
const POSTGRES: &str = "postgres";
/// What a superuser is called when every other name is the dump's.
const OWN: &str = "backstay_drill";

/// What is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Databases that are made or dropped.
    pub makes: BTreeSet<String>,
    /// Databases that are gone to, in this order.
    pub goes_to: Vec<String>,
    /// Roles that are made, altered or dropped.
    pub roles: BTreeMap<String, Role>,
    /// Whether more roles may follow what was looked at.
    pub more_roles: bool,
}

/// What a dump makes of a role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Role {
    superuser: bool,
    login: bool,
    /// How many memberships it gave.
    grants: usize,
}

impl Reach {
    /// Reads the beginning of a script, which ends there unless it is `cut`.
    pub(crate) fn read(bytes: &[u8], cut: bool) -> Reach {
        let (mut reach, mut splitter) = (Reach::default(), Splitter::default());
        for byte in bytes {
            match splitter.push(*byte) {
                Some(piece) if piece.kind == Kind::Statement => reach.statement(&piece.text()),
                Some(piece) if piece.kind == Kind::Command => reach.goes_to.extend(connects_to(&piece.text())),
                _ => {}
            }
        }
        // pg_dumpall goes to the first database when it is done with the roles.
        reach.more_roles = cut && reach.goes_to.is_empty() && !reach.roles.is_empty();
        reach
    }

    fn statement(&mut self, statement: &str) {
        let behind = |words: &[&str]| after(statement, words);
        if let Some(rest) = behind(&["CREATE", "DATABASE"]).or_else(|| behind(&["DROP", "DATABASE"])) {
            let rest = after(rest, &["IF", "EXISTS"]).unwrap_or(rest);
            self.makes.extend(name(rest).map(|(name, _)| name));
        } else if let Some(rest) = behind(&["DROP", "ROLE"]).or_else(|| behind(&["DROP", "USER"])) {
            let mut rest = after(rest, &["IF", "EXISTS"]).unwrap_or(rest);
            while let Some((name, behind)) = name(rest) {
                self.roles.entry(name).or_default();
                rest = behind.trim_start().trim_start_matches(',').trim_start();
            }
        } else if let Some((name, options)) = ["CREATE", "ALTER"]
            .iter()
            .flat_map(|verb| ["ROLE", "USER"].map(|kind| [*verb, kind]))
            .find_map(|words| behind(&words))
            .and_then(name)
        {
            // Its settings in one database come with that database.
            if after(options.trim_start(), &["IN", "DATABASE"]).is_some()
                || after(options.trim_start(), &["FOR"]).is_some()
            {
                return;
            }
            let role = self.roles.entry(name).or_default();
            for word in options.trim_end_matches(';').split_whitespace() {
                match word.to_ascii_uppercase().as_str() {
                    "SUPERUSER" => role.superuser = true,
                    "NOSUPERUSER" => role.superuser = false,
                    "LOGIN" => role.login = true,
                    "NOLOGIN" => role.login = false,
                    // From here on values stand, which are not for reading.
                    "PASSWORD" | "SET" => break,
                    _ => {}
                }
            }
        } else if let Some(rest) = behind(&["GRANT"])
            && let Some((_, grantor)) = rest.rsplit_once(" GRANTED BY ")
            && let Some((grantor, _)) = name(grantor)
            && let Some(role) = self.roles.get_mut(&grantor)
        {
            role.grants += 1;
        }
    }
}

/// The superuser for a server that is made for these dumps. A server's first superuser is named in its dump, where it is made a superuser
/// again and is the grantor of memberships, which nobody else can be from PostgreSQL 16 on. Where `postgres` is a role like others, as
/// providers have it, a server that has it as its superuser would be robbed of it by the dump.
pub fn superuser<'a>(reaches: impl Iterator<Item = &'a Reach>) -> String {
    let roles: BTreeMap<&str, Role> =
        reaches.flat_map(|reach| &reach.roles).map(|(name, role)| (name.as_str(), *role)).collect();
    let fits = |role: &Role| role.superuser && role.login;
    if roles.get(POSTGRES).is_none_or(fits) && (roles.contains_key(POSTGRES) || !roles.values().any(fits)) {
        return POSTGRES.to_owned();
    }
    let most = roles.iter().filter(|(_, role)| fits(role)).max_by_key(|(_, role)| role.grants);
    if let Some((name, _)) = most {
        return (*name).to_owned();
    }
    let mut own = OWN.to_owned();
    while roles.contains_key(own.as_str()) {
        own.push('_');
    }
    own
}

/// The database that `\connect` names: by itself, or in a connection string.
fn connects_to(command: &str) -> Option<String> {
    let (word, rest) = command.trim_end().split_once(char::is_whitespace)?;
    if !matches!(word, "\\connect" | "\\c") {
        return None;
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix("-reuse-previous=") {
        Some(option) => option.split_once(char::is_whitespace)?.1.trim_start(),
        None => rest,
    };
    let argument = if rest.starts_with('"') {
        name(rest)?.0
    } else {
        rest.split_whitespace().next()?.trim_matches('\'').to_owned()
    };
    match argument.contains('=') {
        true => dsn::pairs(&argument).into_iter().find(|(keyword, _)| keyword == "dbname").map(|(_, value)| value),
        false => Some(argument).filter(|argument| argument != "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(script: &str) -> Reach {
        Reach::read(script.as_bytes(), false)
    }

    #[test]
    fn databases_are_seen_as_pg_dump_names_them() {
        let reach = read(
            "--\n-- PostgreSQL database dump\n--\n\nSET x = 'DROP DATABASE no;';\nDROP DATABASE IF EXISTS shop;\n\
             CREATE DATABASE \"Shop \"\"2\"\"\" WITH TEMPLATE = template0;\n\\connect shop\n\
             \\connect -reuse-previous=on \"dbname='it\\'s a \"\"quoted\"\" one'\"\n\\c - me\n\
             COPY t FROM stdin;\nDROP DATABASE row;\n\\connect row\n\\.\n",
        );
        assert_eq!(reach.makes, BTreeSet::from(["shop".to_owned(), "Shop \"2\"".to_owned()]));
        assert_eq!(reach.goes_to, ["shop", "it's a \"quoted\" one"]);
        assert!(reach.roles.is_empty() && !reach.more_roles);
    }

    #[test]
    fn roles_are_seen_and_whether_more_may_follow() {
        let roles = "CREATE ROLE \"A b\";\nALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SUPERUSER';\n\
            DROP ROLE IF EXISTS x, \"Y\";\nALTER ROLE s SET work_mem TO '1MB';\nALTER ROLE other IN DATABASE shop SET x TO 'y';\n\
            COMMENT ON ROLE c IS 'a\nDROP ROLE d;\n';\nCREATE USER MAPPING FOR z SERVER s;\n";
        let names: Vec<String> = read(roles).roles.into_keys().collect();
        assert_eq!(names, ["A b", "Y", "app", "s", "x"]);
        assert!(!read(roles).more_roles && Reach::read(roles.as_bytes(), true).more_roles);
        assert!(!Reach::read(format!("{roles}\\connect template1\n").as_bytes(), true).more_roles);
    }

    #[test]
    fn the_superuser_is_that_of_the_dump() {
        let of = |script: &str| superuser([read(script)].iter());
        let with = |name: &str, rest: &str| format!("CREATE ROLE {name};\nALTER ROLE {name} WITH {rest};\n");
        let (yes, no) = ("SUPERUSER INHERIT LOGIN", "NOSUPERUSER LOGIN PASSWORD 'SUPERUSER'");
        assert_eq!(of(""), "postgres");
        assert_eq!(of(&with("app", no)), "postgres");
        assert_eq!(of(&(with("alice", yes) + &with("postgres", yes))), "postgres");
        assert_eq!(of(&(with("alice", yes) + &with("app", no))), "alice");
        assert_eq!(of(&(with("rdsadmin", yes) + &with("postgres", no))), "rdsadmin");
        let both = with("alice", yes) + &with("bob", yes) + "GRANT a TO b WITH ADMIN OPTION GRANTED BY alice;\n";
        assert_eq!(of(&both), "alice");
        assert_eq!(of(&with("postgres", no)), "backstay_drill");
        assert_eq!(of(&(with("backstay_drill", no) + &with("postgres", no))), "backstay_drill_");
        assert_eq!(of(&(with("admin", "SUPERUSER NOLOGIN") + &with("postgres", no))), "backstay_drill");
    }
}
