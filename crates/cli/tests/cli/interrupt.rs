//! Signals: a run ends in order, leaves no manifest, and says what is left.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Place, noise, until};

fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn an_interrupted_backup_commits_nothing_and_says_what_is_left() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::new();
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]);
        let mut child = run.start();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&noise(8 << 20)).unwrap();
        until("a stored part", || !place.objects().is_empty());
        send(signal, child.id());
        let done = run.end(child.wait_with_output().unwrap());
        drop(stdin);
        assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
        done.says("error[interrupted]").says("nothing was committed");
        assert!(done.stdout.is_empty());
        let objects = place.objects();
        assert!(objects.iter().all(|name| !name.ends_with(".json")), "{objects:?}");
        assert!(objects.is_empty() || done.stderr.contains(&objects[0][..50]), "{}: {objects:?}", done.stderr);
    }
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let place = Place::new();
    // It ignores being told to end, for as long as we are willing to wait.
    let line = format!("trap '' TERM INT; touch {}; sleep 30", place.path("ready").display());
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", &line]);
    let child = run.start();
    until("the command's start", || place.path("ready").exists());
    let begun = Instant::now();
    send("-INT", child.id());
    std::thread::sleep(Duration::from_millis(300));
    send("-INT", child.id());
    let mut child = child;
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_status_line_is_printed_on_demand() {
    let place = Place::new();
    for (arguments, sign) in [(&["-q"][..], "stored"), (&["--json"], "\"type\":\"status\"")] {
        let run =
            place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]).args(arguments);
        let mut child = run.start();
        let mut stdin = child.stdin.take().unwrap();
        let before = place.objects().len();
        stdin.write_all(&noise(6 << 20)).unwrap();
        until("a stored part", || place.objects().len() > before);
        send("-USR1", child.id());
        std::thread::sleep(Duration::from_millis(300));
        drop(stdin);
        let done = run.end(child.wait_with_output().unwrap());
        assert!(done.status.success(), "{}", done.stderr);
        done.says(sign);
    }
}

#[test]
fn a_killed_backup_leaves_no_manifest_and_the_next_one_works() {
    let place = Place::new();
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]);
    let mut child = run.start();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(4 << 20)).unwrap();
    until("a stored part", || !place.objects().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.objects().iter().all(|name| !name.ends_with(".json")));
    let id = place.backup("content", &[]);
    assert_eq!(place.cat(&id), b"content");
}
