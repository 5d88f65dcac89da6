//! What a command that is fed is told, and what is left of it, when the content turns out not to be whole.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Place, noise, program, until};

/// Takes what it is fed, and does something that cannot be taken back when that has ended.
const COMMITS: &str = "tee log | (cat > taken; echo committed > committed)";

/// An archive of several parts, damaged at its very end.
fn damaged(place: &Place) -> String {
    // More than what waits to be written, so that the command has got some when the damage is found.
    let id = place.backup(noise(14 << 20), &["--part-size", "1MiB"]);
    let parts = place.objects().iter().filter(|name| name.starts_with(&format!("{id}-"))).count();
    let last = place.store().join(format!("{id}-{}", parts - 1));
    let mut bytes = std::fs::read(&last).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(last, bytes).unwrap();
    id
}

/// Whoever is left has had the time to act.
fn nothing_was_committed(place: &Place, what: &str) {
    std::thread::sleep(Duration::from_millis(700));
    assert!(!place.path("committed").exists(), "{what}: half of the content was taken for all of it");
}

#[test]
fn a_command_behind_a_pipe_is_not_told_that_content_ended_which_is_damaged() {
    let place = Place::new();
    let whole = place.backup(noise(1 << 20), &[]);
    place.run(["restore", &whole, "-i", "key.txt", "--", "sh", "-c", COMMITS]).good();
    assert_eq!((place.read("committed"), place.read("taken")), (b"committed\n".to_vec(), noise(1 << 20)));
    std::fs::remove_file(place.path("committed")).unwrap();

    let id = damaged(&place);
    place.run(["restore", &id, "-i", "key.txt", "--", "sh", "-c", COMMITS]).fails("segment.auth", 20);
    nothing_was_committed(&place, "restore");
    assert!(place.read("taken").len() > 1 << 20, "it was fed");
    place.run(["drill", &id, "-i", "key.txt", "--", "sh", "-c", COMMITS]).fails("segment.auth", 20);
    nothing_was_committed(&place, "drill");
}

#[test]
fn nor_is_one_that_has_gone_into_the_background() {
    program("setsid");
    let place = Place::new();
    let id = damaged(&place);
    // The one in the middle ends, so that the last one is an orphan, in a session of its own.
    let detached = format!("exec 3<&0; (setsid sh -c '{COMMITS}' <&3 3<&- &)");
    for line in [format!("{detached}; exec 3<&-; sleep 100"), format!("{detached}; exit 0")] {
        place.run(["restore", &id, "-i", "key.txt", "--", "sh", "-c", &line]).fails("segment.auth", 20);
        nothing_was_committed(&place, &line);
        assert!(!place.read("taken").is_empty(), "it was fed");
        std::fs::remove_file(place.path("taken")).unwrap();
    }
}

#[test]
fn nor_when_the_restore_is_interrupted() {
    let place = Place::new();
    // More than is handed over to the pipe's thread at once: that is written to its end.
    let id = place.backup(noise(16 << 20), &[]);
    // Signals from the keyboard would reach it too; it hears none of them.
    let line =
        "trap '' INT TERM HUP; tee log | (head -c 1000 > taken; sleep 0.5; cat >> taken; echo committed > committed)";
    for signal in ["-TERM", "-INT", "-HUP"] {
        let run = place.run(["restore", &id, "-i", "key.txt", "--", "sh", "-c", line]);
        let child = run.start();
        until("the command's first bytes", || place.path("taken").exists());
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let done = run.end(child.wait_with_output().unwrap());
        assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
        nothing_was_committed(&place, signal);
        std::fs::remove_file(place.path("taken")).unwrap();
    }
}

#[test]
fn what_was_there_before_is_let_alone() {
    let place = Place::new();
    let id = damaged(&place);
    let mut bystander = Command::new("sleep").arg("100").spawn().unwrap();
    // Both are children of one shell, which becomes the restore: the first one was ours before the command was started.
    let restore = format!("{} restore {id} -i key.txt -- sh -c '{COMMITS}'", crate::harness::BINARY);
    let settings = place.run(["help"]).command();
    let line = format!("sleep 100 > /dev/null 2>&1 & echo $! > earlier; exec {restore}");
    let mut command = Command::new("sh");
    command.args(["-c", &line]).env_clear().current_dir(place.path(""));
    command.envs(settings.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert_eq!(command.output().unwrap().status.code(), Some(20));
    nothing_was_committed(&place, "restore");
    let earlier = String::from_utf8(place.read("earlier")).unwrap();
    let lives = Command::new("kill").args(["-0", earlier.trim()]).status().unwrap().success();
    assert!(Command::new("kill").arg(earlier.trim()).status().unwrap().success() && lives);
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn two_restores_into_one_file_do_not_mix_and_a_planted_link_is_not_followed() {
    let place = Place::new();
    let ids = [place.backup(noise(3 << 20), &[]), place.backup(vec![b'x'; 5 << 20], &[])];
    place.write("precious", "precious");
    std::os::unix::fs::symlink("precious", place.path("out.partial")).unwrap();
    std::os::unix::fs::symlink("precious", place.path("out")).unwrap();
    let running = ids.each_ref().map(|id| place.run(["restore", id, "-i", "key.txt", "-o", "out"]).start());
    for child in running {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let got = place.read("out");
    assert!(got == noise(3 << 20) || got == vec![b'x'; 5 << 20], "{} bytes", got.len());
    assert_eq!(place.read("precious"), b"precious");
    assert_eq!(place.partials(), ["out.partial"]);
}
