//! The role that restores is left as it is: its attributes and its password are not those of the dump.
//!
//! What pg_dumpall writes gives every role the password that it has on the source. Whoever restores into another server would lose the login
//! with it, in the middle of the restore, and a role that was no superuser there would not be one here. So the one statement that does this
//! to the role of the session is taken out on the way.

use crate::target::script::{Kind, Splitter, spellings};

/// Takes `ALTER ROLE <the own one> WITH …` out of what pg_dumpall wrote.
#[derive(Debug)]
pub(crate) struct OwnRole {
    beginnings: Vec<Vec<u8>>,
    splitter: Splitter,
    /// What may be the beginning of the statement.
    held: Vec<u8>,
    /// The roles are through.
    done: bool,
}

impl OwnRole {
    pub(crate) fn new(role: &str) -> OwnRole {
        let beginnings = spellings(role).into_iter().map(|name| format!("ALTER ROLE {name} WITH ").into_bytes());
        OwnRole { beginnings: beginnings.collect(), splitter: Splitter::default(), held: Vec::new(), done: false }
    }

    /// Takes the next bytes, and adds to `out` what goes on. Gives how many statements were taken out.
    pub(crate) fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> u64 {
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
                    taken += 1;
                }
                Some(piece) => {
                    // To the first database: roles come before.
                    self.done = piece.kind == Kind::Command && piece.text().starts_with("\\connect");
                    out.append(&mut self.held);
                }
                None if self.splitter.begun().is_some_and(|begun| self.is_it(begun)) => {}
                None => out.append(&mut self.held),
            }
        }
        taken
    }

    /// Whether it is the statement, as far as it goes.
    fn is_it(&self, text: &[u8]) -> bool {
        self.beginnings.iter().any(|beginning| text.starts_with(beginning) || beginning.starts_with(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes on, whatever the pieces are in which it comes.
    fn passed(role: &str, script: &str) -> (String, u64) {
        let mut all = None;
        for size in [1, 7, script.len()] {
            let (mut filter, mut out, mut taken) = (OwnRole::new(role), Vec::new(), 0);
            for bytes in script.as_bytes().chunks(size) {
                taken += filter.pass(bytes, &mut out);
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
}
