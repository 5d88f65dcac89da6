//! `reassemble`: a lost or damaged manifest is made anew; parts are joined.

use crate::harness::{Place, noise, shell};

#[test]
fn a_lost_manifest_is_made_anew() {
    let place = Place::new();
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    let before = place.run(["--json", "show", &id]).good().json("archive");
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    place.run(["reassemble", &id]).fails("key.not-found", 12);
    let done = place.run(["reassemble", &id, "-i", "key.txt", "--name", "pg-main"]).good();
    assert!(done.out().starts_with(&format!("{id} {} ", before["root"].as_str().unwrap())), "{}", done.out());
    assert!(place.manifest().contains("\"pg-main\""));
    assert_eq!(place.cat(&id), noise(3 << 20));
    place.run(["verify", &id, "-i", "key.txt"]).good();
}

#[test]
fn a_damaged_manifest_is_replaced_only_when_that_is_said() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.write(&format!("store/{id}.json"), "{\"backstay\":1,");
    place.run(["cat", &id, "-i", "key.txt"]).fails("manifest.invalid", 20);
    let refused = place.run(["reassemble", &id, "-i", "key.txt"]).done();
    assert!(!refused.status.success(), "{}", refused.stderr);
    let done = place.run(["--json", "reassemble", &id, "-i", "key.txt", "--replace"]).good().json("reassembled");
    assert_eq!((&done["id"], &done["receipt"]["id"]), (&id.as_str().into(), &id.as_str().into()));
    assert_eq!(place.cat(&id), b"content");
}

#[test]
fn a_missing_part_cannot_be_made_up_for() {
    let place = Place::new();
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    std::fs::remove_file(place.store().join(format!("{id}-3"))).unwrap();
    place.run(["reassemble", &id, "-i", "key.txt"]).fails("archive.truncated", 21);
}

#[test]
fn parts_are_joined_to_one_file() {
    let place = Place::new();
    let id = place.backup(noise(12 << 20), &["--part-size", "1MiB"]);
    let done = place.run(["reassemble", &id, "--join", "joined"]).good();
    assert!(done.stdout.is_empty());
    let expected = shell(&place.store(), &format!("cat $(ls -1v {id}-*)"));
    assert!(place.read("joined") == expected);
    place.run(["reassemble", &id, "--join", "x", "--replace"]).fails("usage.arguments", 2);
}
