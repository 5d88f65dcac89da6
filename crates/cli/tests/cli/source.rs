//! The supervised command: its end decides, its words are passed on.

use std::time::{Duration, Instant};

use crate::harness::{Place, until};

fn committed(place: &Place) -> bool {
    place.objects().iter().any(|name| name.ends_with(".json"))
}

#[test]
fn a_failing_command_leaves_no_archive() {
    let place = Place::new();
    let run = |line: &str| place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", line]);
    run("echo data; exit 3").fails("source.failed", 30).says("exit status 3");
    run("echo data; kill -9 $$").fails("source.failed", 30).says("signal 9");
    place
        .run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "/nowhere/at/all"])
        .fails("source.failed", 30);
    assert!(!committed(&place));
    run("echo data").good();
    assert!(committed(&place));
}

#[test]
fn the_command_s_own_lines_reach_the_user() {
    let place = Place::new();
    let line = "echo 'pg_dumpall: warning: something' >&2; echo data; echo 'pg_dumpall: error: it broke' >&2; exit 1";
    let run = || place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "-q", "--", "sh", "-c", line]);
    let done = run().fails("source.failed", 30);
    assert!(done.stderr.lines().any(|line| line == "pg_dumpall: warning: something"), "{}", done.stderr);
    done.says("it said: pg_dumpall: error: it broke");
    let json =
        place.run(["--json", "backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", line]).done();
    let lines: Vec<_> = json
        .events()
        .into_iter()
        .filter(|event| event["type"] == "command_line")
        .map(|event| event["line"].clone())
        .collect();
    assert_eq!(lines, ["pg_dumpall: warning: something", "pg_dumpall: error: it broke"]);
    assert_eq!(json.status.code(), Some(30));
}

#[test]
fn a_child_of_the_command_that_keeps_the_pipe_is_cut_off() {
    let place = Place::new();
    let begun = Instant::now();
    let line = "sleep 60 & echo data; exit 7";
    place
        .run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", line])
        .fails("source.failed", 30)
        .says("exit status 7");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(9) && took < Duration::from_secs(30), "{took:?}");
    assert!(!committed(&place));
}

#[test]
fn end_of_output_is_not_enough_without_the_exit_status() {
    let place = Place::new();
    let line = "echo data; exec >&-; sleep 1; exit 5";
    place
        .run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", line])
        .fails("source.failed", 30)
        .says("exit status 5");
    assert!(!committed(&place));
}

#[test]
fn the_command_is_ended_with_us() {
    let place = Place::new();
    // Each part of a backup that breaks off is left over, and the command must not go on without us.
    let line = format!("echo $$ > {}; exec sleep 300", place.path("pid").display());
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", &line]);
    let child = run.start();
    until("the command's start", || std::fs::read_to_string(place.path("pid")).is_ok_and(|pid| pid.ends_with('\n')));
    let pid = std::fs::read_to_string(place.path("pid")).unwrap();
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let done = run.end(child.wait_with_output().unwrap());
    assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
    until("the command's end", || !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
}
