//! Age plugins, with a real one: `tests/plugin/age-plugin-backstaytest`, which stock age is asked about first.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::harness::{Place, Run, shell};
use crate::terminal::Terminal;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugin")
}

/// PATH with this directory before all others.
fn path(first: &Path) -> OsString {
    let rest = std::env::var_os("PATH").unwrap();
    std::env::join_paths(std::iter::once(first.to_owned()).chain(std::env::split_paths(&rest))).unwrap()
}

/// Makes an identity file, with a PIN if one is given. Gives its recipient.
fn generate(place: &Place, name: &str, pin: &str) -> String {
    let plugin = folder().join("age-plugin-backstaytest");
    shell(&place.path(""), &format!("{} --generate {pin} > {name}", plugin.display()));
    let file = String::from_utf8(place.read(name)).unwrap();
    file.lines().next().unwrap().trim_start_matches("# recipient: ").to_owned()
}

fn with_plugin<'a>(place: &'a Place, arguments: &[&str]) -> Run<'a> {
    place.run(arguments).env("PATH", path(&folder()))
}

fn backup(place: &Place, recipient: &str) -> String {
    let run = with_plugin(place, &["backup", "--name", "pg-main", "-r", recipient]).stdin("content").good();
    run.out().split(' ').next().unwrap().to_owned()
}

#[test]
fn the_plugin_of_these_tests_is_one_that_stock_age_takes() {
    let place = Place::new();
    let recipient = generate(&place, "plugin.txt", "");
    generate(&place, "other.txt", "");
    let line = |identity: &str| {
        let path = path(&folder());
        format!("export PATH='{}'; echo content | age -r {recipient} | age -d -i {identity}", path.display())
    };
    assert_eq!(shell(&place.path(""), &line("plugin.txt")), b"content\n");
    shell(&place.path(""), &format!("! ({})", line("other.txt")));
}

#[test]
fn a_plugin_s_recipient_locks_and_its_identity_opens() {
    let place = Place::new();
    let recipient = generate(&place, "plugin.txt", "");
    generate(&place, "other.txt", "");
    let id = backup(&place, &recipient);
    with_plugin(&place, &["restore", &id, "-i", "plugin.txt", "-o", "restored"]).good();
    assert_eq!(place.read("restored"), b"content");
    with_plugin(&place, &["verify", &id, "-i", "plugin.txt", "--depth", "deep"]).good();
    with_plugin(&place, &["cat", &id, "-i", "other.txt"]).fails("key.not-found", 12);
    with_plugin(&place, &["cat", &id, "-i", "key.txt"]).fails("key.not-found", 12);
    // Stock age reads the slot through the same plugin.
    let slot = format!("head -n1 store/{id}-0 | cut -c11- | jq -r '.keys[0]' | base64 -d");
    let line = format!("export PATH='{}'; {slot} | age -d -i plugin.txt | wc -c", path(&folder()).display());
    assert_eq!(String::from_utf8(shell(&place.path(""), &line)).unwrap().trim(), "32");
    // A reader is added through it too, and from a file.
    let own = place.backup("more content", &[]);
    place.write("recipients", format!("# a token\n{recipient}\n"));
    with_plugin(&place, &["key", "rewrap", &own, "-i", "key.txt", "-R", "recipients"]).good();
    assert_eq!(with_plugin(&place, &["cat", &own, "-i", "plugin.txt"]).good().stdout, b"more content");
}

#[test]
fn recipients_of_several_kinds_share_an_archive() {
    let place = Place::new();
    let recipients = [generate(&place, "one.txt", ""), generate(&place, "two.txt", ""), place.recipient.clone()];
    let mut arguments = vec!["backup", "--name", "pg-main"];
    recipients.iter().for_each(|recipient| arguments.extend(["-r", recipient]));
    let run = with_plugin(&place, &arguments).stdin("content").good();
    let id = run.out().split(' ').next().unwrap();
    for name in ["one.txt", "two.txt", "key.txt"] {
        assert_eq!(with_plugin(&place, &["cat", id, "-i", name]).good().stdout, b"content", "{name}");
    }
}

#[test]
fn a_missing_plugin_is_named_with_what_to_install() {
    let place = Place::new();
    let recipient = generate(&place, "plugin.txt", "");
    let id = backup(&place, &recipient);
    let hint = "hint: install age-plugin-backstaytest, or add the directory it is in to PATH";
    let before = place.objects();
    let run = place.run(["backup", "--name", "pg-main", "-r", &recipient]).stdin("content");
    run.fails("usage.recipient", 2).says("age-plugin-backstaytest is not in PATH").says(hint);
    assert_eq!(place.objects(), before);
    let run = place.run(["cat", &id, "-i", "plugin.txt"]);
    run.fails("usage.recipient", 2).says("plugin.txt").says("age-plugin-backstaytest is not in PATH").says(hint);
    place.run(["key", "show", "plugin.txt"]).fails("usage.recipient", 2).says("which alone can print the recipient");
    let mistyped = format!("{}q", &recipient[..recipient.len() - 1]);
    with_plugin(&place, &["backup", "-r", &mistyped]).stdin("x").fails("usage.recipient", 2).says(&mistyped);
}

#[test]
fn what_a_plugin_wants_to_know_is_asked_at_the_terminal() {
    let place = Place::new();
    let recipient = generate(&place, "pin.txt", "4321");
    let id = backup(&place, &recipient);
    let path = path(&folder());
    let environment = [("PATH", path.to_str().unwrap())];
    let enter = |pin: &str| {
        let line = format!("$backstay restore {id} -i pin.txt -o restored");
        let mut restore = Terminal::with(&place, &line, &environment);
        restore.answer("the test token is blinking", "");
        restore.answer("PIN of the test token: ", &format!("{pin}\r"));
        restore.end()
    };
    let (status, screen) = enter("1234");
    assert!(status == 12 && screen.contains("the PIN is wrong"), "{screen}");
    let (status, screen) = enter("4321");
    assert_eq!(status, 0, "{screen}");
    assert_eq!(place.read("restored"), b"content");
    let line = format!("setsid -w $backstay cat {id} -i pin.txt");
    let (status, screen) = Terminal::with(&place, &line, &environment).end();
    assert!(
        status == 12 && screen.contains("the PIN was not given") && screen.contains("there is no terminal"),
        "{screen}"
    );
}

#[test]
fn a_plugin_that_dies_is_named_and_nothing_is_stored() {
    let place = Place::new();
    let recipient = generate(&place, "plugin.txt", "");
    let id = backup(&place, &recipient);
    let before = place.objects();
    place.write("broken/age-plugin-backstaytest", "#!/bin/sh\nexit 3\n");
    shell(&place.path(""), "chmod +x broken/age-plugin-backstaytest");
    let broken = path(&place.path("broken"));
    let run = place.run(["backup", "--name", "pg-main", "-r", &recipient]).env("PATH", &broken).stdin("content");
    run.fails("usage.recipient", 2).says("an age plugin ended early");
    assert_eq!(place.objects(), before);
    let run = place.run(["cat", &id, "-i", "plugin.txt"]).env("PATH", &broken);
    run.fails("key.not-found", 12).says("an age plugin ended early");
}
