//! `prune`, `rm`, `hold`, `release`, `note`, `tag`, and what `list` and `show` tell of them.

use std::time::{Duration, SystemTime};

use crate::harness::Place;

/// Three archives of one day; the oldest first.
fn three(place: &Place) -> Vec<String> {
    (0..3).map(|number| place.backup(format!("content {number}"), &[])).collect()
}

fn tombstones(place: &Place) -> usize {
    place.objects().iter().filter(|name| name.ends_with(".expired")).count()
}

#[test]
fn the_plan_gives_a_reason_for_each_and_yes_deletes_in_two_runs() {
    let place = Place::new();
    let ids = three(&place);
    let before = place.objects();
    let plan = place.run(["prune", "--keep-last", "1"]).good();
    plan.says("2 archives").says("say --yes");
    for (id, fate, why) in [
        (&ids[0], "to expire", "no rule keeps it"),
        (&ids[1], "to expire", "no rule keeps it"),
        (&ids[2], "kept", "last, one of the newest good ones"),
    ] {
        let line = plan.out().lines().find(|line| line.starts_with(id.as_str())).unwrap().to_owned();
        assert!(line.contains(fate) && line.contains(why), "{line}");
    }
    assert_eq!(place.objects(), before);
    place.run(["prune", "--keep-last", "1", "--yes"]).good().says("got a tombstone");
    place.run(["list"]).good().says_out("expired");
    let waiting = place.run(["--json", "prune", "--keep-last", "1", "--yes"]).good().json("prune");
    let first = &waiting["archives"][0];
    assert_eq!((&first["fate"], &first["reasons"][0]), (&"waiting".into(), &"no rule keeps it".into()));
    assert!(first["until"].is_string() && waiting["done"] == true);
    let tombstone = place.store().join(format!("{}.expired", ids[0]));
    let old = SystemTime::now() - Duration::from_secs(49 * 3600);
    std::fs::File::options().write(true).open(tombstone).unwrap().set_modified(old).unwrap();
    place.run(["prune", "--keep-last", "1", "--yes"]).good().says("1 archive with").says("deleted");
    assert!(!place.objects().contains(&format!("{}.json", ids[0])));
    assert_eq!(place.cat(&ids[2]), b"content 2");
}

#[test]
fn a_policy_that_keeps_nothing_and_a_grace_of_nothing_from_a_variable_are_refused() {
    let place = Place::new();
    three(&place);
    place.run(["prune", "--yes"]).fails("usage.arguments", 2).says("--keep-daily");
    place.run(["prune", "--yes", "--keep-tag", "x"]).fails("usage.arguments", 2).says("alone");
    place.run(["prune", "--keep-last", "1", "--min-keep", "0"]).fails("usage.arguments", 2);
    place.run(["prune", "--keep-last", "1", "--require-verified", "1w"]).fails("usage.arguments", 2).says("-i");
    place.run(["prune", "--keep-last", "1"]).env("BACKSTAY_GRACE", "0s").fails("usage.arguments", 2).says("--grace 0s");
    // For gc a shorter grace of a variable means its own least.
    place.run(["gc"]).env("BACKSTAY_GRACE", "1h").good();
    let done = place.run(["prune", "--keep-last", "1", "--grace", "0s", "--yes"]).good();
    done.says("2 archives");
    assert_eq!((place.objects().len(), tombstones(&place)), (3, 1));
}

/// A variable that somebody exported once must not disarm every dry run.
#[test]
fn yes_and_force_count_on_the_command_line_alone() {
    let place = Place::new();
    let ids = three(&place);
    std::fs::remove_file(place.store().join(format!("{}.json", ids[0]))).unwrap();
    let before = place.objects();
    for (verb, variable) in [
        (&["prune", "--keep-last", "1", "--grace", "0s"][..], "BACKSTAY_YES"),
        (&["gc", "--yes"][..], "BACKSTAY_WHOLE"),
        (&["rm", "latest~1"][..], "BACKSTAY_YES"),
    ] {
        place.run(verb).env(variable, "true").good().says(&format!("{variable} is not read"));
        assert_eq!(place.objects(), before, "{verb:?}");
    }
    place.run(["rm", "latest", "--yes"]).env("BACKSTAY_FORCE", "1").fails("retention.newest", 2);
    place.write("x.toml", "yes = true\n");
    place.run(["--config", "x.toml", "prune", "--keep-last", "1"]).fails("usage.config", 2);
    place.write("x.toml", "force = true\n");
    place.run(["--config", "x.toml", "prune", "--keep-last", "1"]).fails("usage.config", 2);
    assert_eq!(place.objects(), before);
}

#[test]
fn each_rule_of_the_command_line_is_a_rule_of_the_plan() {
    let place = Place::new();
    let ids = three(&place);
    let kept = |arguments: &[&str]| {
        let plan = place.run(["--json", "prune"]).args(arguments).good().json("prune");
        let rows = plan["archives"].as_array().unwrap().iter().filter(|row| row["fate"] == "kept");
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // All of one hour, day, week, month and year: all but at midnight.
    for rule in ["--keep-hourly", "--keep-daily", "--keep-weekly", "--keep-monthly", "--keep-yearly"] {
        let count = kept(&[rule, "5"]).len();
        assert!((1..=2).contains(&count), "{rule} {count}");
    }
    assert_eq!(kept(&["--keep-last", "2"]), ids[1..]);
    assert_eq!(kept(&["--keep-within", "1d"]), ids);
    assert_eq!(kept(&["--keep-last", "1", "--min-keep", "2"]), ids[1..]);
    assert_eq!(kept(&["--keep-last", "1", "--name", "pg-main"]), ids[2..]);
    for none in [["--name", "other"], ["--guid", "de2fe9e4-6535-423d-8709-dca87df7985c"], ["--tag", "nightly"]] {
        let done = place.run(["--json", "prune", "--keep-last", "1"]).args(none).good();
        assert!(!done.out().contains("\"kept\""), "none is selected: {}", done.out());
    }
    place.run(["tag", &ids[0], "release", "x"]).good().says_out("tagged as");
    assert_eq!(kept(&["--keep-last", "1", "--keep-tag", "release"]), [ids[0].clone(), ids[2].clone()]);
    let narrowed = place.run(["prune", "--keep-last", "1"]).env("BACKSTAY_NAME", "pg-main").good();
    narrowed.says("only archives of name pg-main are pruned");
}

#[test]
fn only_what_was_verified_counts_where_that_is_demanded() {
    let place = Place::new();
    let ids = three(&place);
    let demand = ["--json", "prune", "--keep-last", "1", "--require-verified", "7d", "-i", "key.txt"];
    let fates = |arguments: &[&str]| {
        let plan = place.run(demand).args(arguments).good().json("prune");
        let rows = plan["archives"].as_array().unwrap().iter();
        rows.map(|row| row["fate"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(fates(&[]), ["passed over"; 3]);
    for id in &ids[..2] {
        place.run(["verify", id, "-i", "key.txt", "--record"]).good();
    }
    assert_eq!(fates(&[]), ["to expire", "kept", "passed over"]);
    // Where a verifier is named its signature is demanded.
    place.run(["key", "generate", "--signing", "sign.pem"]).good();
    let signer = place.run(["key", "show", "sign.pem"]).good().out().trim().to_owned();
    let signer = signer.split_ascii_whitespace().last().unwrap().to_owned();
    assert_eq!(fates(&["--report-signer", &signer]), ["passed over"; 3]);
    place.run(["verify", &ids[2], "--record", "--sign-key", "sign.pem"]).good();
    assert_eq!(fates(&["--report-signer", &signer]), ["passed over", "passed over", "kept"]);
    // No archive is signed, and where that is demanded none can be judged.
    let unsigned = place.run(["prune", "--keep-last", "1", "--signer", &signer]).done();
    assert_eq!(unsigned.status.code(), Some(3), "{}", unsigned.stderr);
    unsigned.says("nothing of");
}

#[test]
fn times_of_names_are_believed_against_the_store_s_when_that_is_said() {
    let place = Place::new();
    let ids = three(&place);
    let manifest = place.store().join(format!("{}.json", ids[0]));
    let old = SystemTime::now() - Duration::from_secs(72 * 3600);
    std::fs::File::options().write(true).open(manifest).unwrap().set_modified(old).unwrap();
    let fate = |arguments: &[&str]| {
        let plan = place.run(["--json", "prune", "--keep-last", "1"]).args(arguments).good().json("prune");
        plan["archives"][0]["fate"].as_str().unwrap().to_owned()
    };
    assert_eq!((fate(&[]), fate(&["--trust-name-time"])), ("passed over".to_owned(), "to expire".to_owned()));
}

#[test]
fn more_than_was_added_goes_only_by_force() {
    let place = Place::new();
    three(&place);
    place.run(["prune", "--keep-last", "2", "--grace", "0s", "--yes"]).good();
    place.backup("four", &[]);
    place.backup("five", &[]);
    // Two were added since, and one more may go for each rule: of four, three may go.
    place.run(["prune", "--keep-last", "1", "--max-expire", "2"]).fails("retention.too-many", 2).says("--force");
    place.run(["prune", "--keep-last", "1", "--max-expire", "3"]).good();
    let before = place.objects();
    let stopped = place.run(["prune", "--keep-last", "1", "--max-expire", "0", "--yes", "--grace", "0s"]);
    stopped.fails("retention.too-many", 2);
    assert_eq!(place.objects(), before);
    let forced = ["prune", "--keep-last", "1", "--max-expire", "0", "--force", "--yes", "--grace", "0s"];
    place.run(forced).good().says("3 archives");
}

#[test]
fn what_was_said_of_an_archive_is_shown_and_found() {
    let place = Place::new();
    let ids = three(&place);
    let listed = |arguments: &[&str]| {
        let list = place.run(["--json", "list"]).args(arguments).good().json("list");
        let rows = list["archives"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    place.run(["hold", &ids[0], "--reason", "the audit"]).good().says_out("is held");
    place.run(["note", &ids[0], "before the upgrade"]).good();
    place.run(["tag", &ids[0], "release-17"]).good();
    place.run(["verify", &ids[0], "-i", "key.txt", "--record"]).good();
    assert_eq!(listed(&["--held"]), ids[..1]);
    assert_eq!(listed(&["--tag", "release-17"]), ids[..1]);
    assert_eq!(listed(&["--verified", "good"]), ids[..1]);
    assert_eq!(listed(&["--verified", "never"]), ids[1..]);
    assert_eq!(listed(&["--verified", "bad"]).len(), 0);
    assert_eq!((listed(&["--kind", "full"]).len(), listed(&["--kind", "incremental"]).len()), (3, 0));
    assert_eq!((listed(&["--of-format", "native"]).len(), listed(&["--of-format", "openssl"]).len()), (3, 0));
    assert_eq!((listed(&["--min-stored", "1MiB"]).len(), listed(&["--max-stored", "1MiB"]).len()), (0, 3));
    assert_eq!((listed(&["--min-stored", "1"]).len(), listed(&["--max-stored", "1"]).len()), (3, 0));
    place.run(["list", "--kind", "odd"]).fails("usage.arguments", 2);
    place.run(["list"]).good().says_out("held, good (deep)").says_out("release-17");
    let shown = place.run(["show", &ids[0], "-i", "key.txt"]).good();
    for text in ["the audit", "before the upgrade", "release-17", "good deep by ", "sealed with the archive's key"] {
        shown.says_out(text);
    }
    place.run(["show", &ids[0]]).good().says_out("its seal was not checked");
    let json = place.run(["--json", "show", &ids[0], "-i", "key.txt"]).good().json("archive");
    assert_eq!((&json["held"], &json["reports_in_full"][0]["proved"]), (&true.into(), &true.into()));
    place.run(["release", &ids[0]]).good().says_out("1 hold");
    place.run(["release", &ids[0]]).good().says_out("was not held");
    assert_eq!(listed(&["--held"]).len(), 0);
    // Nothing of the archive was changed by all that.
    assert_eq!(place.cat(&ids[0]), b"content 0");
}

#[test]
fn rm_deletes_one_archive_and_says_why_it_does_not() {
    let place = Place::new();
    let ids = three(&place);
    let before = place.objects();
    place.run(["rm", &ids[0]]).good().says_out("would be deleted: say --yes");
    assert_eq!(place.objects(), before);
    place.run(["rm", "latest", "--yes"]).fails("retention.newest", 2).says("--force");
    place.run(["hold", &ids[0]]).good();
    place.run(["rm", &ids[0], "--yes"]).fails("retention.held", 2);
    place.run(["release", &ids[0]]).good();
    place.run(["rm", &ids[0], "--yes"]).good().says_out("was deleted");
    assert!(place.objects().iter().all(|name| !name.starts_with(&ids[0])));
    place.run(["rm", "latest", "--yes", "--force"]).good();
    assert_eq!(place.cat(&ids[1]), b"content 1");
}

#[test]
fn a_name_that_nothing_has_is_told() {
    let place = Place::new();
    place.backup("content", &[]);
    for narrow in [["--name", "pg-other"], ["--tag", "daily"], ["--guid", "de2fe9e4-6535-423d-8709-dca87df7985c"]] {
        let done = place.run(["prune", "--keep-last", "1", "--yes"]).args(narrow).good();
        done.says("warning: ").says(&format!("has the {} {}", narrow[0].trim_start_matches('-'), narrow[1]));
    }
    place.run(["prune", "--keep-last", "1", "--yes", "--name", "pg-main"]).good();
    // A store that is still empty is no slip of the pen.
    place.run(["prune", "--keep-last", "1", "--yes"]).env("BACKSTAY_STORE", place.path("empty")).done();
}

/// Whatever became of an archive: a hold of it is found, and can be taken away.
#[test]
fn a_hold_of_an_archive_that_is_gone_is_listed_by_gc_and_released_by_its_id() {
    let place = Place::new();
    let ids = three(&place);
    for id in &ids[..2] {
        place.run(["hold", id]).good().says_out("is held");
        for name in place.objects().iter().filter(|name| name.starts_with(id.as_str()) && !name.contains(".hold.")) {
            std::fs::remove_file(place.store().join(name)).unwrap();
        }
    }
    assert_eq!(place.objects().len(), 2 + 2);
    place.run(["release", &ids[0]]).good().says_out("1 hold taken away");
    place.run(["release", &ids[0]]).fails("archive.not-found", 10);
    let row =
        |store: &serde_json::Value| (store["leftovers"][0]["kind"].clone(), store["leftovers"][0]["fate"].clone());
    let young = place.run(["--json", "gc", "--yes"]).good().json("gc");
    assert_eq!(row(&young), ("remarks".into(), "kept".into()));
    // The time in its name says as much as the store's: what is of today is left alone.
    let guid = &ids[1][..36];
    let hold = place.objects().into_iter().find(|name| name.contains(".hold.")).unwrap();
    let old = format!("{guid}-1740130000123.hold.1");
    std::fs::rename(place.store().join(hold), place.store().join(&old)).unwrap();
    let stored = SystemTime::now() - Duration::from_secs(49 * 3600);
    std::fs::File::options().write(true).open(place.store().join(&old)).unwrap().set_modified(stored).unwrap();
    let done = place.run(["--json", "gc", "--yes"]).good().json("gc");
    assert_eq!(row(&done), ("remarks".into(), "deleted".into()));
    assert_eq!(place.objects().len(), 2);
}
