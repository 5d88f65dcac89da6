//! `list`, `show`, and how archives are selected.

use crate::harness::{Place, dump};

fn ids(place: &Place, arguments: &[&str]) -> Vec<String> {
    let listed = place.run(["--json", "list"]).args(arguments).good().json("list");
    listed["archives"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Backs up under a name; gives the id.
fn backup(place: &Place, name: &str, content: &str, arguments: &[&str]) -> String {
    let run = place.run(["backup", "--name", name, "-r", &place.recipient]).args(arguments).stdin(content);
    run.good().out().split(' ').next().unwrap().to_owned()
}

#[test]
fn archives_are_listed_with_what_people_look_for() {
    let place = Place::new();
    place.run(["list"]).fails("store.not-found", 10);
    std::fs::create_dir(place.store()).unwrap();
    assert_eq!(place.run(["list"]).good().out(), "");
    let id = backup(&place, "pg-main", "content", &["--tag", "weekly"]);
    for verb in ["list", "ls"] {
        let done = place.run([verb]).good();
        let lines: Vec<_> = done.out().lines().collect();
        assert_eq!(lines.len(), 2);
        for part in [&id, "committed", "native", "pg-main", "weekly", "7 B"] {
            assert!(lines[1].contains(part), "{part}: {}", lines[1]);
        }
    }
    let short = place.run(["list", "--short"]).good();
    assert!(short.out().contains(&id) && !short.out().contains("pg-main"), "{}", short.out());
    let row = place.run(["--json", "list"]).good().json("list")["archives"][0].clone();
    assert_eq!(
        (&row["name"], &row["content"], &row["parts"], &row["state"]),
        (&"pg-main".into(), &7.into(), &1.into(), &"committed".into())
    );
    assert!(row["time"].as_str().unwrap().ends_with('Z') && row["stored"].is_u64());
}

#[test]
fn a_list_is_narrowed() {
    let place = Place::new();
    let first = backup(&place, "pg-main", "1", &[]);
    let second = backup(&place, "pg-main", "2", &["--tag", "weekly"]);
    let other = backup(&place, "other", "3", &["--tag", "weekly"]);
    assert_eq!(ids(&place, &[]), [first.clone(), second.clone(), other.clone()]);
    assert_eq!(ids(&place, &["--name", "pg-main"]), [first.clone(), second.clone()]);
    assert_eq!(ids(&place, &["--guid", &other[..36]]), std::slice::from_ref(&other));
    assert_eq!(ids(&place, &["--tag", "weekly"]), [second, other]);
    assert_eq!(ids(&place, &["--before", "2001-01-01"]), [""; 0]);
    assert_eq!(ids(&place, &["--before", "2101-01-01"]).len(), 3);
    let narrowed = place.run(["list"]).env("BACKSTAY_NAME", "other").good();
    assert!(!narrowed.out().contains(&first));
    narrowed.says("BACKSTAY_NAME");
    place.run(["list", "--before", "yesterday"]).fails("usage.arguments", 2);
    place.run(["list", "--tag", "a", "--tag", "b"]).fails("usage.arguments", 2);
}

#[test]
fn incomplete_archives_are_listed_only_when_they_are_asked_for() {
    let place = Place::new();
    let id = backup(&place, "pg-main", "content", &[]);
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    assert!(ids(&place, &[]).is_empty());
    assert_eq!(ids(&place, &["--incomplete"]), [id]);
    assert!(place.run(["list", "--incomplete"]).good().out().contains("incomplete"));
}

#[test]
fn an_archive_is_selected_in_many_ways() {
    let place = Place::new();
    let first = backup(&place, "pg-main", "first", &["--tag", "weekly"]);
    let second = backup(&place, "pg-main", "second", &[]);
    let cat = |arguments: &[&str]| place.run(["cat", "-i", "key.txt"]).args(arguments);
    assert_eq!(cat(&["latest"]).good().stdout, b"second");
    assert_eq!(cat(&["latest~1"]).good().stdout, b"first");
    assert_eq!(cat(&["pg-main"]).good().stdout, b"second");
    assert_eq!(cat(&["pg-main~1"]).good().stdout, b"first");
    assert_eq!(cat(&[&first]).good().stdout, b"first");
    assert_eq!(cat(&["latest", "--tag", "weekly"]).good().stdout, b"first");
    cat(&["latest~2"]).done().says("error[");
    cat(&[&first[..20]]).fails("usage.selector", 2);
    let third = backup(&place, "other", "third", &[]);
    cat(&["latest"]).fails("usage.selector", 2).says("pg-main").says("other");
    assert_eq!(cat(&["latest", "--name", "other"]).good().stdout, b"third");
    assert_eq!(cat(&["latest", "--guid", &second[..36]]).good().stdout, b"second");
    assert_eq!(cat(&[&third[..8]]).good().stdout, b"third");
    cat(&["latest", "--name", "pg-main", "--before", "2001-01-01"]).done().says("error[");
}

#[test]
fn show_tells_everything_that_is_known() {
    let place = Place::new();
    let id = place.run([
        "backup",
        "--name",
        "pg-main",
        "-r",
        &place.recipient,
        "--passphrase-file",
        "passphrase.txt",
        "--",
        "printf",
        "content",
    ]);
    let receipt = id.good().out().trim().to_owned();
    let id = receipt.split(' ').next().unwrap().to_owned();
    let shown = place.run(["show", &id]).good();
    for part in [
        &id,
        "committed",
        "native",
        "aes-256-gcm",
        "zstd",
        "1 X25519 recipient",
        "a passphrase",
        &receipt,
        "7 B (7 bytes)",
    ] {
        assert!(shown.out().contains(part), "{part}: {}", shown.out());
    }
    // The command line is what only the key shows.
    assert!(!shown.out().contains("printf") && shown.out().contains("sealed"));
    assert!(place.run(["show", &id, "-i", "key.txt"]).good().out().contains("printf content"));
    let objects = place.run(["show", "latest", "--objects"]).good();
    assert!(objects.out().contains(&format!("{id}-0 ")) && objects.out().contains(&format!("{id}.json ")));
    let json = place.run(["--json", "show", &id, "-i", "key.txt"]).good().json("archive");
    assert_eq!(
        (&json["receipt"], &json["signed"], &json["state"]),
        (&receipt.as_str().into(), &false.into(), &"committed".into())
    );
    assert!(json["private"].is_object() && json["objects"].as_array().unwrap().len() == 2, "{json}");
}

#[test]
fn many_archives_are_listed_in_order() {
    let place = Place::new();
    let made: Vec<_> = (0..12).map(|n| backup(&place, "pg-main", &format!("{n}"), &[])).collect();
    assert_eq!(ids(&place, &[]), made);
    let content = dump(1000);
    let id = place.backup(&content, &[]);
    assert_eq!(place.run(["cat", "latest", "-i", "key.txt"]).good().stdout, content);
    assert_eq!(ids(&place, &[]).last(), Some(&id));
}

#[test]
fn a_store_in_which_nothing_is_complete_is_not_called_empty() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    let done = place.run(["list"]).good();
    assert_eq!(done.out(), "");
    done.says("1 archive is not complete").says("--incomplete");
    place.run(["list", "--incomplete"]).good().says_out(&id);
    assert!(place.run(["list", "-q"]).good().stderr.is_empty());
}
