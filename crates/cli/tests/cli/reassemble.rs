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

#[test]
fn the_joined_parts_of_an_openssl_archive_are_what_openssl_reads() {
    let place = Place::new();
    place.write("password", "KEY\n");
    let run = place.run(["backup", "--name", "pg-main", "--format", "openssl", "--passphrase-file", "password"]);
    let run = run.args(["--part-size", "1MiB"]).stdin(noise(3 << 20)).good();
    let id = run.out().split(' ').next().unwrap();
    place.run(["reassemble", id, "--join", "joined"]).good();
    let by_hand = "openssl enc -d -aes-256-cbc -md md5 -pass pass:KEY -in joined 2> /dev/null | gunzip";
    assert!(shell(&place.path(""), by_hand) == noise(3 << 20));
    // Its manifest is made anew with the password, and demanded at the restore.
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    place.run(["reassemble", id, "--passphrase-file", "passphrase.txt"]).fails("openssl.key", 12);
    place.run(["reassemble", id, "--passphrase-file", "password"]).good();
    let cat = place.run(["cat", id, "--passphrase-file", "password", "--require-seal"]).good();
    assert!(cat.stdout == noise(3 << 20));
}

#[test]
fn parts_that_are_missing_are_not_joined() {
    let place = Place::new();
    let id = place.backup(noise(4 << 20), &["--part-size", "1MiB"]);
    let aside = |name: &str| std::fs::rename(place.store().join(name), place.path("aside")).unwrap();
    let back = |name: &str| std::fs::rename(place.path("aside"), place.store().join(name)).unwrap();
    let last = place.objects().iter().filter(|name| !name.ends_with(".json")).count() - 1;
    for n in [0, 1, last] {
        let part = format!("{id}-{n}");
        aside(&part);
        place.run(["reassemble", &id, "--join", "joined"]).fails("part.missing", 21).says(&format!("part {n}"));
        back(&part);
    }
    let part = place.store().join(format!("{id}-1"));
    let whole = std::fs::read(&part).unwrap();
    std::fs::write(&part, &whole[..whole.len() - 1]).unwrap();
    place.run(["reassemble", &id, "--join", "joined"]).fails("part.size", 20);
    std::fs::write(&part, whole).unwrap();
    assert!(!place.path("joined").exists() && place.partials().is_empty());

    // Without the manifest only the key could tell that the last part is missing, and that is said.
    aside(&format!("{id}.json"));
    std::fs::remove_file(place.store().join(format!("{id}-{last}"))).unwrap();
    let joined = place.run(["reassemble", &id, "--join", "joined"]).good();
    joined.says("whether the last ones are missing is not known");
    place.run(["reassemble", &id, "-i", "key.txt"]).fails("archive.truncated", 21);
    std::fs::remove_file(place.store().join(format!("{id}-1"))).unwrap();
    place.run(["reassemble", &id, "--join", "again"]).fails("part.missing", 21);
    place.run(["reassemble", &id, "-i", "key.txt"]).fails("part.missing", 21);
}

#[test]
fn a_manifest_that_was_cut_or_forged_is_made_anew_and_the_archive_is_as_before() {
    let place = Place::new();
    let id = place.backup(noise(2 << 20), &["--part-size", "1MiB"]);
    let whole = place.manifest();
    let root = place.run(["--json", "show", &id]).good().json("archive")["root"].clone();
    let damages = [
        (whole[..whole.len() / 2].to_owned(), "manifest.invalid"),
        (whole.replace("\"created\":\"2", "\"created\":\"3"), "manifest.seal"),
        (String::new(), "manifest.invalid"),
    ];
    for (manifest, code) in damages {
        place.write(&format!("store/{id}.json"), &manifest);
        place.run(["cat", &id, "-i", "key.txt"]).fails(code, 20);
        // Nothing is deleted before the new one is ready, so the wrong key changes nothing.
        place.run(["key", "generate", "other.txt"]).done();
        place.run(["reassemble", &id, "-i", "other.txt", "--replace"]).fails("key.not-found", 12);
        assert_eq!(place.read(&format!("store/{id}.json")), manifest.as_bytes());
        place.run(["reassemble", &id, "-i", "key.txt"]).fails("usage.arguments", 2).says("--replace");
        place.run(["reassemble", &id, "-i", "key.txt", "--replace"]).good();
        assert_eq!(place.run(["--json", "show", &id]).good().json("archive")["root"], root);
        assert!(place.cat(&id) == noise(2 << 20));
    }
}
