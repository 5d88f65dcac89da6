//! What a dump of a whole server says that is not for the server which it goes into.
//!
//! What pg_dumpall writes gives every role the password that it has on the source. Whoever restores into another server would lose the login
//! with it, in the middle of the restore, and a role that was no superuser there would not be one here. So the one statement that does this
//! to the role of the session is taken out on the way.
//!
//! It also makes each tablespace in the directory that it has on the source. A server that is thrown away must leave nothing there, and on the source's own
//! machine the directory is the source's; so there it gets a folder beside the server's own.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};

use crate::target::psql::RunAs;
use crate::target::script::{Kind, Splitter, spellings};

/// The server that a dump goes into.
#[derive(Debug, Clone, Copy)]
pub enum Host<'a> {
    /// One that stays. The role of this name, as which the session is logged in, keeps its attributes and its password.
    Lasting {
        /// The role.
        role: &'a str,
    },
    /// One that is thrown away. Tablespaces are made in this folder, which goes with it.
    Scratch {
        /// The folder.
        tablespaces: &'a Path,
    },
}

/// Takes `ALTER ROLE <the own one> WITH …` out of what pg_dumpall wrote, or leads `CREATE TABLESPACE` elsewhere.
#[derive(Debug)]
pub(crate) struct Adapter {
    beginnings: Vec<Vec<u8>>,
    /// Where tablespaces are made, and whose they have to be.
    tablespaces: Option<(PathBuf, Option<RunAs>)>,
    /// So many were made.
    made: usize,
    splitter: Splitter,
    /// What may be the beginning of a statement that is changed.
    held: Vec<u8>,
    /// Roles and tablespaces are through.
    done: bool,
}

impl Adapter {
    pub(crate) fn new(host: Host<'_>, run_as: Option<RunAs>) -> Adapter {
        let (beginnings, tablespaces) = match host {
            Host::Lasting { role } => {
                let altered = spellings(role).into_iter().map(|name| format!("ALTER ROLE {name} WITH ").into_bytes());
                (altered.collect(), None)
            }
            Host::Scratch { tablespaces } => {
                (vec![b"CREATE TABLESPACE ".to_vec()], Some((tablespaces.to_owned(), run_as)))
            }
        };
        Adapter { beginnings, tablespaces, made: 0, splitter: Splitter::default(), held: Vec::new(), done: false }
    }

    /// Takes the next bytes, and adds to `out` what goes on. Gives how many statements were taken out.
    ///
    /// # Errors
    /// When a folder for a tablespace cannot be made.
    pub(crate) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<u64> {
        let mut taken = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.done {
                out.extend_from_slice(&bytes[at..]);
                break;
            }
            self.held.push(*byte);
            match self.splitter.push(*byte) {
                Some(piece) if piece.kind == Kind::Statement && self.is_it(piece.text().as_bytes()) => {
                    self.held.clear();
                    match self.elsewhere(&piece.text())? {
                        Some(statement) => out.extend_from_slice(statement.as_bytes()),
                        None => taken += 1,
                    }
                }
                Some(piece) => {
                    // To the first database: roles and tablespaces come before.
                    self.done = piece.kind == Kind::Command && piece.text().starts_with("\\connect");
                    out.append(&mut self.held);
                }
                None if self.splitter.begun().is_some_and(|begun| self.is_it(begun)) => {}
                None => out.append(&mut self.held),
            }
        }
        Ok(taken)
    }

    /// Whether it is the statement, as far as it goes.
    fn is_it(&self, text: &[u8]) -> bool {
        self.beginnings.iter().any(|beginning| text.starts_with(beginning) || beginning.starts_with(text))
    }

    /// The statement with another place for the tablespace, which is made; `None` if the statement is to be left out.
    fn elsewhere(&mut self, statement: &str) -> io::Result<Option<String>> {
        let Some((parent, run_as)) = &self.tablespaces else { return Ok(None) };
        let Some((tablespace, _)) = statement.rsplit_once(" LOCATION ") else { return Ok(Some(statement.to_owned())) };
        let folder = parent.join(self.made.to_string());
        DirBuilder::new().mode(0o700).create(&folder)?;
        if let Some(RunAs { uid, gid }) = run_as {
            chown(&folder, Some(*uid), Some(*gid))?;
        }
        self.made += 1;
        let place = folder.display().to_string().replace('\'', "''");
        Ok(Some(format!("{tablespace} LOCATION '{place}';")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on, whatever the pieces are in which it comes.
    fn passed(role: &str, script: &str) -> (String, u64) {
        let mut all = None;
        for size in [1, 7, script.len()] {
            let (mut filter, mut out, mut taken) = (Adapter::new(Host::Lasting { role }, None), Vec::new(), 0);
            for bytes in script.as_bytes().chunks(size) {
                taken += filter.pass(bytes, &mut out).unwrap();
            }
            let now = (String::from_utf8(out).unwrap(), taken);
            assert_eq!(*all.get_or_insert_with(|| now.clone()), now);
        }
        all.unwrap()
    }

    #[test]
    fn the_one_statement_is_taken_out() {
        let script = "-- Roles\n\nCREATE ROLE me;\nALTER ROLE me WITH SUPERUSER LOGIN PASSWORD 'a;b';\n\
            ALTER ROLE me SET work_mem TO '1MB';\nALTER ROLE men WITH LOGIN;\n\\unrestrict x\n--\n-- end\n--\n";
        let left = script.replace("ALTER ROLE me WITH SUPERUSER LOGIN PASSWORD 'a;b';", "");
        assert_eq!(passed("me", script), (left, 1));
        assert_eq!(passed("you", script), (script.to_owned(), 0));
        assert_eq!(passed("M \"e", "ALTER ROLE \"M \"\"e\" WITH LOGIN;\n"), ("\n".to_owned(), 1));
    }

    #[test]
    fn what_only_looks_like_it_goes_on() {
        for script in [
            "COMMENT ON ROLE x IS 'a\nALTER ROLE me WITH LOGIN;\n';\n",
            "\\connect template1\nALTER ROLE me WITH LOGIN;\n",
            "COPY t FROM stdin;\nALTER ROLE me WITH LOGIN;\n\\.\n",
        ] {
            assert_eq!(passed("me", script), (script.to_owned(), 0));
        }
    }

    #[test]
    fn a_statement_that_is_cut_short_does_not_go_on() {
        assert_eq!(passed("me", "SELECT 1;\nALTER ROLE me WITH NOSUPER"), ("SELECT 1;".to_owned() + "\n", 0));
    }

    #[test]
    fn tablespaces_of_a_scratch_server_are_in_its_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let script = "CREATE ROLE me;\nALTER ROLE me WITH LOGIN;\n\nCREATE TABLESPACE fast OWNER me LOCATION '/mnt/fast; x';\n\
            CREATE TABLESPACE \"a LOCATION b\" OWNER me LOCATION E'/mnt\\\\b';\nALTER TABLESPACE fast SET (seq_page_cost=1);\n\
            \\connect template1\nCREATE TABLESPACE late LOCATION '/x';\n";
        let host = Host::Scratch { tablespaces: folder.path() };
        let (mut adapter, mut out) = (Adapter::new(host, None), Vec::new());
        for bytes in script.as_bytes().chunks(7) {
            assert_eq!(adapter.pass(bytes, &mut out).unwrap(), 0);
        }
        let own = |n: usize| folder.path().join(n.to_string()).display().to_string();
        let expected = script.replace("'/mnt/fast; x'", &format!("'{}'", own(0)));
        let expected = expected.replace("E'/mnt\\\\b'", &format!("'{}'", own(1)));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
