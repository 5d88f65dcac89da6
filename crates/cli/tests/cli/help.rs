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
    place.run(Vec::<&str>::new()).fails("usage.arguments", 2).says("backstay help");
    let version = place.run(["--version"]).good();
    assert_eq!(version.out(), format!("backstay {}\n", env!("CARGO_PKG_VERSION")));
}
