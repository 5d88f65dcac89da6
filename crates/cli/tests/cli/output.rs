//! How much is said, and in which form errors are.

use crate::harness::{Place, noise};

#[test]
fn an_error_has_its_code_its_cause_and_a_hint() {
    let place = Place::new();
    let done = place.run(["cat", "x", "-i", "absent.txt"]).fails("usage.recipient", 2);
    let lines: Vec<_> = done.stderr.lines().collect();
    assert!(lines[0].starts_with("error[usage.recipient]: ") && lines[0].contains("absent.txt"));
    assert!(lines[1].starts_with("  caused by: "), "{lines:?}");
    assert!(lines[2].starts_with("  hint: "), "{lines:?}");
    assert!(!done.stderr.contains('\x1b'), "colour where there is no terminal");
}

#[test]
fn quiet_leaves_the_result_and_errors() {
    let place = Place::new();
    let backup = |arguments: &[&str]| {
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments);
        run.stdin("content").good()
    };
    let quiet = backup(&["-q"]);
    assert_eq!((quiet.out().lines().count(), quiet.stderr.as_str()), (1, ""));
    backup(&[]).says("is committed");
    place.run(["-q", "backup", "--name", "pg-main", "-r", &place.recipient]).stdin("").fails("source.empty", 30);
    place.run(["-q", "-v", "list"]).fails("usage.arguments", 2);
}

#[test]
fn verbose_says_more() {
    let place = Place::new();
    let said = |arguments: &[&str]| {
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin("x").good().stderr
    };
    assert!(!said(&[]).contains("info: "));
    assert!(said(&["-v"]).contains("info: the store is "));
}

#[test]
fn each_part_is_a_line_where_there_is_no_terminal() {
    let place = Place::new();
    let said = |arguments: &[&str]| {
        let run =
            place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]).args(arguments);
        run.stdin(noise(3 << 20)).good().stderr
    };
    assert_eq!(said(&[]).matches(" stored, ").count(), 4);
    assert_eq!(said(&["--progress", "never"]).matches(" stored, ").count(), 0);
    assert_eq!(said(&["-q"]).matches(" stored, ").count(), 0);
    assert_eq!(said(&["-q", "--progress", "always"]).matches(" stored, ").count(), 4);
}

#[test]
fn a_store_must_be_named_and_a_wrong_one_is() {
    let place = Place::new();
    place.run(["list"]).env("BACKSTAY_STORE", "").fails("usage.store-url", 2).says("BACKSTAY_STORE");
    place.run(["list", "-s", "ftp://x/y"]).fails("usage.store-url", 2).says("ftp");
}
