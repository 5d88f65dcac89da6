//! `drill` and `restore --to-db` as far as they need no server: what does not fit together, and commands as the target. What they do with
//! PostgreSQL is in `tests/e2e/drill.sh`.

use crate::harness::{Done, Place, dump};

fn flip(place: &Place, object: &str, at: usize) {
    let path = place.store().join(object);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn reports(place: &Place) -> Vec<String> {
    place.objects().into_iter().filter(|name| name.contains(".verified.")).collect()
}

#[test]
fn a_command_decides_and_the_result_is_kept() {
    let place = Place::new();
    let content = dump(300_000);
    let id = place.backup(&content, &[]);
    let done = place.run(["--json", "drill", &id, "-i", "key.txt", "--", "sh", "-c", "cat > got"]).good().json("drill");
    assert_eq!(place.read("got"), content);
    assert_eq!((&done["verdict"], &done["content"]), (&"passed".into(), &content.len().into()));
    let name = done["recorded"][0].as_str().unwrap().to_owned();
    let report = String::from_utf8(place.read(&format!("store/{name}"))).unwrap();
    assert!(report.contains("\"level\":\"drill\",\"result\":\"good\"") && report.contains("\"phases_ms\""), "{report}");
    let fails = place.run(["drill", &id, "-i", "key.txt", "--", "sh", "-c", "cat > /dev/null; exit 9"]);
    fails.fails("target.failed", 1).says("exit status 9").says_out("FAILED");
    assert_eq!(reports(&place).len(), 2);
}

#[test]
fn nothing_is_kept_when_nothing_is_known_or_nothing_shall_be() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.run(["drill", &id, "-i", "key.txt", "--", "/nowhere/at/all"]).fails("usage.arguments", 2);
    place.run(["drill", &id, "--", "cat"]).fails("key.not-found", 12).says_out("not held");
    place.run(["drill", &id, "-i", "key.txt", "--no-record", "--", "sh", "-c", "cat > /dev/null"]).good();
    assert!(reports(&place).is_empty());
}

#[test]
fn into_what_it_was_restored_is_said_only_if_it_was() {
    let place = Place::new();
    let id = place.backup(dump(300_000), &[]);
    let page = place.path("page.md");
    let drill = |words: &[&str]| place.run(["drill", &id, "--no-record", "--report"]).arg(&page).args(words);
    let silent = |done: &Done| {
        let page = String::from_utf8(place.read("page.md")).unwrap();
        for told in [done.out(), &page] {
            assert!(!told.contains("restored into") && !told.contains("removed"), "{told}");
        }
    };
    // No server is made, and no command started, for what cannot be opened.
    for words in [&[][..], &["--dsn", "host=/nowhere"]] {
        let done = drill(words).fails("key.not-found", 12);
        silent(done.says_out("target: none: the drill ended before there was one"));
    }
    let done = drill(&["--", "/nowhere/at/all"]).fails("usage.arguments", 2);
    silent(done.says_out("target: none"));
    // Begun is not restored.
    flip(&place, &format!("{id}-0"), 5000);
    let done = drill(&["-i", "key.txt", "--", "sh", "-c", "cat > /dev/null"]).fails("segment.auth", 20);
    silent(done.says_out("target: the command `sh`"));
    flip(&place, &format!("{id}-0"), 5000);
    let good = drill(&["-i", "key.txt", "--", "sh", "-c", "cat > /dev/null"]).good();
    good.says_out("restored into: the command `sh`");
}

#[test]
fn damage_is_kept_as_a_bad_report() {
    let place = Place::new();
    let id = place.backup(dump(300_000), &[]);
    flip(&place, &format!("{id}-0"), 5000);
    place.run(["drill", &id, "-i", "key.txt", "--", "sh", "-c", "cat > /dev/null"]).fails("segment.auth", 20);
    let name = reports(&place).pop().unwrap();
    assert!(String::from_utf8(place.read(&format!("store/{name}"))).unwrap().contains("\"result\":\"bad\""));
}

#[test]
fn the_report_for_people_is_written_whatever_the_verdict() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let (good, bad) = (place.path("good.html"), place.path("bad.md"));
    let run = |file: &std::path::Path, status: &str| {
        let script = format!("cat > /dev/null; exit {status}");
        place.run(["drill", &id, "-i", "key.txt", "--report"]).arg(file).args(["--", "sh", "-c", &script])
    };
    run(&good, "0").good();
    run(&bad, "4").fails("target.failed", 1);
    let (good, bad) = (place.read("good.html"), place.read("bad.md"));
    let (good, bad) = (String::from_utf8(good).unwrap(), String::from_utf8(bad).unwrap());
    assert!(good.contains("class=\"verdict passed\"") && good.contains(&id), "{good}");
    assert!(bad.contains("**FAILED") && bad.contains("exit status 4"), "{bad}");
    run(&place.path("report.pdf"), "0").fails("usage.arguments", 2).says(".html");
    run(&place.path("no/folder/x.md"), "0").fails("usage.arguments", 2).says("folder");
}

#[test]
fn options_that_do_not_fit_together_are_refused_before_anything_is_read() {
    let place = Place::new();
    let drill = |words: &[&str]| place.run(["drill", "latest", "-i", "key.txt"]).args(words);
    drill(&["--assert", "a", "--assert", "b", "--expect", "1"]).fails("usage.arguments", 2).says("--expect");
    drill(&["--assert", "a", "--", "cat"]).fails("usage.arguments", 2);
    drill(&["--dsn", "x", "--scratch-dir", "y"]).fails("usage.arguments", 2);
    drill(&["--pg-set", "listen_addresses=*"]).fails("usage.arguments", 2).says("drill's own");
    drill(&["--check", "missing.toml"]).fails("io.failed", 1);
    place.write("checks.toml", "[[check]]\nsql = \"x\"\nexpected = 1\n");
    drill(&["--check", "checks.toml"]).fails("usage.config", 2).says("expected");
    let restore = |words: &[&str]| place.run(["restore", "latest", "-i", "key.txt"]).args(words);
    restore(&["--to-db", "x", "-o", "y"]).fails("usage.arguments", 2);
    restore(&["--to-db", "x", "--range", "0..1"]).fails("usage.arguments", 2);
    for option in ["--into-used", "--any-version", "--no-owner"] {
        restore(&["-o", "y", option]).fails("usage.arguments", 2).says("is for --to-db");
    }
}

#[test]
fn a_password_in_a_connection_string_is_refused_and_not_repeated() {
    let place = Place::new();
    let id =
        place.backup(format!("-- PostgreSQL database dump\n{}", "SELECT 1;\n".repeat(20)), &["--no-require-trailer"]);
    for dsn in ["postgresql://me:hunter2@localhost/x", "host=localhost password=hunter2"] {
        let refused = place.run(["restore", &id, "-i", "key.txt", "--to-db", dsn]).fails("usage.arguments", 2);
        refused.says("PGPASSFILE");
        assert!(!refused.stderr.contains("hunter2"));
    }
}

#[test]
fn what_is_no_dump_is_not_sent_to_a_server() {
    let place = Place::new();
    for content in [&b"\x1f\x8b\x08\x00\x00"[..], b"PGDMP", b"some\0thing"] {
        let id = place.backup(content, &["--no-require-trailer"]);
        let into = |verb: &str, option: &str| place.run([verb, &id, "-i", "key.txt", option, "host=/nowhere"]);
        into("restore", "--to-db").fails("target.not-a-dump", 2);
        into("drill", "--dsn").fails("target.not-a-dump", 2);
    }
}

#[test]
fn what_the_command_says_is_not_in_the_report() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let done = place.run(["--json", "drill", &id, "-i", "key.txt", "--no-record", "--", "cat"]).good();
    done.json("drill");
    done.says("content");
}
