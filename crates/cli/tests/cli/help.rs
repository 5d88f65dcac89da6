//! The help, as a newcomer meets it.

use crate::harness::Place;

#[test]
fn the_first_page_names_each_verb_and_how_to_begin() {
    let place = Place::new();
    let done = place.run(["--help"]).good();
    for verb in [
        "backup",
        "list",
        "show",
        "restore",
        "cat",
        "verify",
        "reassemble",
        "copy",
        "salvage",
        "drill",
        "prune",
        "rm",
        "hold",
        "release",
        "note",
        "tag",
        "gc",
        "check",
        "policy",
        "key",
        "explain",
        "config",
        "completions",
        "man",
    ] {
        assert!(done.out().lines().any(|line| line.starts_with(&format!("  {verb} "))), "{verb}: {}", done.out());
    }
    assert!(done.out().contains("Examples:") && done.out().contains("backstay key generate key.txt"));
    // Verbs of later versions are not promised.
    for verb in ["wal", "cluster"] {
        assert!(!done.out().lines().any(|line| line.starts_with(&format!("  {verb} "))), "{verb}");
    }
}

#[test]
fn each_verb_has_examples_and_no_line_is_too_long() {
    let place = Place::new();
    let verbs = [
        "backup",
        "list",
        "show",
        "restore",
        "cat",
        "verify",
        "reassemble",
        "copy",
        "salvage",
        "drill",
        "gc",
        "check",
        "policy",
        "key",
        "explain",
        "config",
        "config show",
        "completions",
        "man",
        "key generate",
        "key rewrap",
        "key export",
        "key destroy",
    ];
    for verb in verbs {
        let done = place.run(verb.split(' ')).arg("--help").good();
        assert!(done.out().contains("Examples:") || done.out().contains("[profile.shop]"), "{verb}");
        for line in done.out().lines() {
            assert!(line.chars().count() <= 102, "{verb}: {line}");
        }
        // `-h` is the short form of it.
        let short = place.run(verb.split(' ')).arg("-h").good();
        assert!(short.out().len() <= done.out().len(), "{verb}");
    }
}

#[test]
fn a_wrong_word_is_answered_with_the_right_one() {
    let place = Place::new();
    place.run(["bakup"]).fails("usage.arguments", 2).says("'backup'");
    place.run(["backup", "--recipent", "x"]).fails("usage.arguments", 2).says("--recipient");
    place.run(["delete", "x"]).fails("usage.arguments", 2).says("`rm`");
    for line in [&["delete", "x"][..], &["rm", "--all"]] {
        let wild = place.run(line).fails("usage.arguments", 2);
        for word in ["release", "stall-timeout", "similar"] {
            assert!(!wild.stderr.contains(word), "{}", wild.stderr);
        }
    }
    place.run(Vec::<&str>::new()).fails("usage.arguments", 2).says("backstay help");
    let version = place.run(["--version"]).good();
    assert_eq!(version.out(), format!("backstay {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_option_is_without_a_description_in_help_and_manual() {
    fn see(lines: &[&str], page: &str) {
        for (n, line) in lines.iter().enumerate().filter(|(_, line)| **line == ".TP") {
            let (header, body) = (lines[n + 1], lines.get(n + 2).copied().unwrap_or_default());
            assert!(
                !body.is_empty() && !body.starts_with(".TP") && !body.starts_with(".SH"),
                "{page}: {header} ({line})"
            );
        }
    }
    let place = Place::new();
    place.run(["man", "pages"]).good();
    let mut options = 0;
    for page in std::fs::read_dir(place.path("pages")).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        let lines: Vec<_> = text.lines().collect();
        see(&lines, &page.display().to_string());
        options += lines.iter().filter(|line| **line == ".TP").count();
    }
    assert!(options > 700, "{options}");
    let page = String::from_utf8(place.read("pages/backstay-backup.1")).unwrap();
    assert!(page.contains("Believe the authorities whose certificates are in this file"), "{page}");
    // What the short help leaves out it leaves out still.
    assert!(!place.run(["backup", "-h"]).good().out().contains("--ca-file"));
}

#[test]
fn advice_fits_what_is_wrong() {
    let place = Place::new();
    let run = place.run(["backup", "--part-size", "-5"]).done();
    assert_eq!(run.status.code(), Some(2));
    assert!(!run.stderr.contains("'-- -5'"), "{}", run.stderr);
    run.says("--option=VALUE");
    let small = place.run(["backup", "--part-size", "64"]).done();
    small.says("a part has at least 64 KiB");
    place.run(["backup"]).env("BACKSTAY_PART_SIZE", "65535").fails("usage.config", 2).says("64 KiB");
    let general = place.run(["backup", "--name", "db", "-r", &place.recipient]).stdin("x").fails("usage.arguments", 2);
    general.says("--guid");
    let other = place.run(["restore", "latest"]).fails("usage.arguments", 2);
    assert!(!other.stderr.contains("guid"), "{}", other.stderr);
    place.run(["key", "generate", "--signing", "sign.pem"]).good().says("signature");
    assert!(!place.run(["key", "generate", "--signing", "b.pem"]).good().stderr.contains("can be opened"));
}
