//! `explain`, `completions` and `man`.

use crate::harness::{Place, program, shell};

#[test]
fn a_code_is_explained_however_it_is_written() {
    let place = Place::new();
    for given in ["segment.auth", "error[segment.auth]:", "SEGMENT.AUTH"] {
        let done = place.run(["explain", given]).good();
        let text = done.out();
        assert!(
            text.starts_with("segment.auth (critical, exit status 20, also known as ERR_BACKUP_CHECKSUM_MISMATCH)\n"),
            "{text}"
        );
        assert!(text.contains("  meaning: ") && text.contains("  what to do: "));
    }
}

#[test]
fn a_family_name_explains_all_its_codes() {
    let place = Place::new();
    let done = place.run(["explain", "err_backup_decompression_failed"]).good();
    for code in ["stream.invalid", "stream.limit", "openssl.stream"] {
        assert!(done.out().lines().any(|line| line.starts_with(&format!("{code} ("))), "{}", done.out());
    }
    assert!(!done.out().contains("segment.auth ("));
}

#[test]
fn an_unknown_code_names_the_nearest() {
    let place = Place::new();
    place.run(["explain", "segment.auht"]).fails("usage.arguments", 2).says("did you mean `segment.auth`?");
}

#[test]
fn all_codes_are_listed_and_told_as_json() {
    let place = Place::new();
    let all = place.run(["explain"]).good();
    assert!(all.out().lines().count() > 50);
    let one = place.run(["--json", "explain", "key.wrong"]).good().json("codes");
    assert_eq!((&one["codes"][0]["code"], &one["codes"][0]["exit"]), (&"key.wrong".into(), &12.into()));
}

#[test]
fn completion_scripts_are_accepted_by_their_shell() {
    let place = Place::new();
    for shell_name in ["bash", "zsh", "fish"] {
        let done = place.run(["completions", shell_name]).good();
        assert!(done.out().contains("no-require-trailer") && done.out().contains("rewrap"), "{shell_name}");
        place.write(shell_name, done.out());
    }
    shell(&place.path(""), "bash -n ./bash && source ./bash && complete -p backstay");
    place.run(["completions", "csh"]).fails("usage.arguments", 2);
}

#[test]
fn there_is_a_manual_page_for_each_verb() {
    let place = Place::new();
    let page = place.run(["man"]).good();
    assert!(page.out().contains(".TH backstay 1") && page.out().contains("\\-\\-store"), "{}", page.out());
    place.run(["man", "pages"]).good();
    for verb in ["", "-backup", "-restore", "-key", "-key-generate", "-config-show"] {
        let text = String::from_utf8(place.read(&format!("pages/backstay{verb}.1"))).unwrap();
        assert!(text.contains(&format!(".TH backstay{verb} 1")), "{verb}");
    }
    program("man");
    let shown = shell(&place.path(""), "man -l pages/backstay-backup.1 | col -b");
    assert!(String::from_utf8_lossy(&shown).contains("--require-trailer"));
}

#[test]
fn advice_names_only_verbs_that_exist() {
    let place = Place::new();
    let page = include_str!("../../../../spec/errors.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let advice: Vec<_> = rows.flat_map(|row| row.split("`backstay ").skip(1)).collect();
    assert!(advice.len() > 10, "{advice:?}");
    for text in advice {
        let verb = text.split([' ', '`']).next().unwrap();
        if verb != "help" {
            place.run([verb, "--help"]).good();
        }
    }
}
