//! Whether a hangup means us: whoever started this process may have had it ignore SIGHUP, as `nohup` does, so that it outlives its terminal.
//!
//! A handler of ours would undo that, and nothing in the standard library or tokio asks the system. On Linux it stands in `/proc`; elsewhere a process that
//! inherits what we ignore sends the signal to itself.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

/// Whether this process was started with SIGHUP ignored. To be asked before anything listens for it.
pub(super) fn is_ignored() -> bool {
    told().unwrap_or_else(tried)
}

/// What `/proc` says.
fn told() -> Option<bool> {
    ignored_in(&fs::read_to_string("/proc/self/status").ok()?)
}

fn ignored_in(status: &str) -> Option<bool> {
    let signals = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let signals = u64::from_str_radix(signals.trim(), 16).ok()?;
    Some(signals >> (Signal::HUP.as_raw() - 1) & 1 == 1)
}

/// Whether a shell lives on that hangs up on itself. POSIX has it keep ignoring what it was started to ignore.
fn tried() -> bool {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -HUP $$; exit 0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_the_ignored_signals_is_that_of_hangup() {
        let status =
            |signals: &str| format!("Name:\tbackstay\nSigBlk:\t0000000000000001\nSigIgn:\t{signals}\nSigCgt:\t0\n");
        assert_eq!(ignored_in(&status("0000000000001000")), Some(false));
        assert_eq!(ignored_in(&status("0000000000001001")), Some(true));
        assert_eq!(ignored_in(&status("fffffffffffffffe")), Some(false));
        assert_eq!(ignored_in(&status("")), None);
        assert_eq!(ignored_in("Name:\tbackstay\n"), None);
    }

    #[test]
    fn both_ways_to_know_agree() {
        // Whoever runs the tests may have their own mind about hangups.
        if let Some(told) = told() {
            assert_eq!(told, tried());
        }
    }
}
