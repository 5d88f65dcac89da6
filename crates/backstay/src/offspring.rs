//! A command and everything that it started, ended together.
//!
//! A command that is fed must not learn that its input has ended unless it was all: `psql -1` would commit half a dump. So it is ended before our end
//! of the pipe is closed. In `sh -c 'tee log | psql -1'` the shell's end alone would not do, for then `tee` and `psql` go on and see that very end.
//! They have no group of their own that a signal could be sent to, because `psql` has to be able to ask the terminal for a password.
//!
//! Linux tells in `/proc` who is whose child. Everybody is stopped before anybody is ended, so that nobody hears of the others' end, and looked for
//! again until nobody new is found: who is stopped starts nothing. Orphans, as they come about when a command goes into the background, fall to a
//! process that has asked for them with [`adopt_orphans`]; without it they are missed. Elsewhere only the command itself is ended.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, kill_process};

/// How often everybody is looked for. Who starts processes faster than they can be stopped would keep us for ever.
const ROUNDS: usize = 100;

/// Makes this process the one that orphans among its descendants fall to, so that a command which goes into the background can be ended too. It is
/// for a program whose business is that one command: when the command is ended, so is everything that fell to this process meanwhile.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    {
        // A kernel that refuses is one on which orphans are missed.
        let _ = rustix::process::set_child_subreaper(Some(getpid()));
    }
}

/// Whether orphans fall to this process.
fn adopts() -> bool {
    #[cfg(target_os = "linux")]
    {
        matches!(rustix::process::child_subreaper(), Ok(Some(_)))
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}

/// A process, by its number and its beginning: numbers come again.
type Name = (i32, u64);

/// One line of the table of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    name: Name,
    parent: i32,
    /// Whether it has ended and only its parent has not looked yet.
    ended: bool,
}

/// What was there before a command.
#[derive(Debug)]
pub(crate) struct Before(HashSet<Name>);

impl Before {
    /// To be called before the command is started.
    pub(crate) fn now() -> Before {
        let own = getpid().as_raw_nonzero().get();
        Before(if adopts() {
            processes().iter().filter(|process| process.parent == own).map(|process| process.name).collect()
        } else {
            HashSet::new()
        })
    }

    /// The command with this number, which has been started.
    pub(crate) fn started(self, id: Option<u32>) -> Offspring {
        let number = id.and_then(|id| i32::try_from(id).ok());
        let root = number.and_then(process).map(|process| process.name);
        Offspring { root, before: self.0 }
    }
}

/// A command that was started, and all that it starts.
#[derive(Debug)]
pub(crate) struct Offspring {
    root: Option<Name>,
    /// Children of ours that are not the command's doing.
    before: HashSet<Name>,
}

impl Offspring {
    /// Ends all of them. Gives how many cannot be ended because they are another user's.
    pub(crate) fn end(&self) -> usize {
        let (mut seen, mut refused) = (HashSet::new(), 0);
        for _ in 0..ROUNDS {
            let new: Vec<Name> = self.living(&processes()).into_iter().filter(|name| seen.insert(*name)).collect();
            if new.is_empty() {
                break;
            }
            for name in new {
                if send(name, Signal::STOP) == Err(Errno::PERM) {
                    refused += 1;
                }
            }
        }
        for name in seen {
            // Whoever was not to be stopped is not to be ended either, and whoever has ended meanwhile has.
            let _ = send(name, Signal::KILL);
        }
        refused
    }

    /// The command, its descendants, and the orphans that fell to us since, with theirs.
    fn living(&self, table: &[Process]) -> Vec<Name> {
        let own = getpid().as_raw_nonzero().get();
        let adopts = adopts();
        let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
        for process in table {
            children.entry(process.parent).or_default().push(process);
        }
        let ours = children.get(&own).into_iter().flatten().copied();
        let mut found: Vec<&Process> = ours
            .filter(|child| Some(child.name) == self.root || (adopts && !self.before.contains(&child.name)))
            .collect();
        let mut at = 0;
        while let Some(process) = found.get(at) {
            found.extend(children.get(&process.name.0).into_iter().flatten());
            at += 1;
        }
        found.iter().filter(|process| !process.ended).map(|process| process.name).collect()
    }
}

fn send((number, _): Name, signal: Signal) -> rustix::io::Result<()> {
    Pid::from_raw(number).map_or(Ok(()), |pid| kill_process(pid, signal))
}

/// All processes that can be seen; none where there is no `/proc` of Linux's kind.
fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(number: i32) -> Option<Process> {
    parse(number, &fs::read(format!("/proc/{number}/stat")).ok()?)
}

/// Reads `/proc/N/stat`. The name of the program stands in it as it is, parentheses, spaces and all.
fn parse(number: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let begun = fields.nth(17)?.parse().ok()?;
    Some(Process { name: (number, begun), parent, ended: matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_cannot_lie_about_its_parent_with_its_name() {
        let line = b"4711 (a) R 1 1 (b) \xff) S 815 4711 4711 0 -1 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 1 2 3\n";
        let process = Process { name: (4711, 987_654), parent: 815, ended: false };
        assert_eq!(parse(4711, line), Some(process));
        assert_eq!(parse(1, b"1 (x) Z 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5").map(|found| found.ended), Some(true));
        assert_eq!(parse(1, b"1 (x) S"), None);
    }

    #[test]
    fn descendants_are_found_and_nobody_else_is() {
        let own = getpid().as_raw_nonzero().get();
        let process = |number, parent| Process { name: (number, 1), parent, ended: number == -5 };
        let table = [
            process(-1, own),
            process(-2, -1),
            process(-3, -2),
            process(-4, own),
            process(-5, -3),
            process(-6, -4),
            process(-7, -5),
        ];
        let offspring = Offspring { root: Some((-1, 1)), before: HashSet::from([(-4, 1)]) };
        let mut found = offspring.living(&table);
        found.sort_unstable();
        assert_eq!(found, [(-7, 1), (-3, 1), (-2, 1), (-1, 1)]);
        // The number has come again.
        assert!(Offspring { root: Some((-1, 0)), before: HashSet::new() }.living(&table).is_empty());
    }
}
