//! `--json`: one result on standard output, one event a line on standard error, and nothing else on either.

use crate::harness::{Place, noise};

#[test]
fn a_backup_tells_its_story_in_events() {
    let place = Place::new();
    let run = place.run([
        "--json",
        "backup",
        "--name",
        "pg-main",
        "-r",
        &place.recipient,
        "--part-size",
        "1MiB",
        "--",
        "cat",
        "content",
    ]);
    place.write("content", noise(2 << 20));
    let done = run.good();
    let receipt = done.json("receipt");
    assert_eq!(receipt["content"], 2 << 20);
    assert!(receipt["root"].as_str().unwrap().len() == 64 && receipt["stored"].is_u64());
    assert_eq!(done.event("started")["id"], receipt["id"]);
    assert_eq!(done.event("committed")["root"], receipt["root"]);
    let parts: Vec<_> = done.events().into_iter().filter(|event| event["type"] == "part_stored").collect();
    assert_eq!(parts.len() as u64, receipt["parts"].as_u64().unwrap());
    assert!(parts.iter().all(|part| part["n"].is_u64() && part["size"].is_u64()));
}

#[test]
fn a_failure_is_an_event_with_all_that_the_text_says() {
    let place = Place::new();
    let done = place.run(["--json", "backup", "--name", "pg-main", "-r", &place.recipient]).stdin("").done();
    assert!(done.stdout.is_empty());
    let error = done.event("error");
    assert_eq!(
        (&error["code"], &error["exit"], &error["severity"]),
        (&"source.empty".into(), &30.into(), &"Error".into())
    );
    assert!(error["message"].is_string() && error["hint"].is_string() && error["causes"].is_array());
}

#[test]
fn even_a_wrong_command_line_is_told_as_json() {
    let place = Place::new();
    for run in
        [place.run(["--json", "restore", "--nonsense"]), place.run(["restore", "--nonsense"]).env("BACKSTAY_JSON", "1")]
    {
        let done = run.done();
        assert_eq!(done.status.code(), Some(2));
        assert_eq!(done.event("error")["code"], "usage.arguments");
    }
    let done = place.run(["--json", "list"]).env("BACKSTAY_NONSENSE", "1").env("BACKSTAY_MEMORY", "much").done();
    assert_eq!(done.event("error")["code"], "usage.config");
}

#[test]
fn restores_say_what_was_restored_where_there_is_room() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let file = place.run(["--json", "restore", &id, "-i", "key.txt", "-o", "out"]).good();
    assert_eq!((&file.json("restored")["content"], &file.json("restored")["authentic"]), (&7.into(), &true.into()));
    file.events();
    // Standard output is the content's, or the command's.
    let cat = place.run(["--json", "cat", &id, "-i", "key.txt"]).good();
    assert_eq!(cat.stdout, b"content");
    let last: serde_json::Value = serde_json::from_str(cat.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["content"]), (&"restored".into(), &7.into()));
    let command = place.run(["--json", "restore", &id, "-i", "key.txt", "--", "cat"]).good();
    assert_eq!(command.stdout, b"content");
}

#[test]
fn messages_can_be_json_while_results_are_text() {
    let place = Place::new();
    let done = place
        .run(["--log-format", "json", "backup", "--name", "pg-main", "-r", &place.recipient])
        .stdin("content")
        .good();
    assert_eq!(done.out().split(' ').count(), 4);
    assert!(!done.events().is_empty());
    let text = place
        .run(["--json", "--log-format", "text", "backup", "--name", "pg-main", "-r", &place.recipient])
        .stdin("content")
        .good();
    text.json("receipt");
    text.says("is committed");
}

#[test]
fn a_log_is_made_of_events_too() {
    let place = Place::new();
    let done =
        place.run(["--json", "-v", "backup", "--name", "pg-main", "-r", &place.recipient]).stdin("content").good();
    assert!(done.events().iter().any(|event| event["type"] == "log" && event["level"] == "info"), "{}", done.stderr);
}
