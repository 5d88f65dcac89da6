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
fn an_empty_part_is_in_no_manifest() {
    let place = Place::new();
    place.write("password", "KEY\n");
    let run = place.run(["backup", "--name", "pg-main", "--format", "openssl", "--passphrase-file", "password"]);
    let run = run.args(["--part-size", "1MiB"]).stdin(noise(3 << 20)).good();
    let id = run.out().split(' ').next().unwrap();
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    let last = (1..).find(|n| !place.store().join(format!("{id}-{n}")).exists()).unwrap();
    let empty = place.store().join(format!("{id}-{last}"));
    std::fs::write(&empty, "").unwrap();
    let before = place.objects();
    // By hand and without a manifest it reads as it is.
    assert!(place.run(["cat", id, "--passphrase-file", "password"]).good().stdout == noise(3 << 20));
    let refused = place.run(["reassemble", id, "--passphrase-file", "password"]).fails("usage.arguments", 2);
    refused.says(&format!("{id}-{last} is empty"));
    assert_eq!(place.objects(), before);
    std::fs::remove_file(empty).unwrap();
    place.run(["reassemble", id, "--passphrase-file", "password"]).good();
    assert!(place.run(["cat", id, "--passphrase-file", "password"]).good().stdout == noise(3 << 20));
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

#[test]
fn a_receipt_holds_what_is_put_together_to_itself() {
    let place = Place::new();
    let backup = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]);
    let receipt = backup.stdin(noise(3 << 20)).good().out().trim().to_owned();
    let (id, root) = (receipt.split(' ').next().unwrap(), receipt.split(' ').nth(1).unwrap());
    let manifest = place.store().join(format!("{id}.json"));
    let good = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let wrong = "ab".repeat(32);
    let (other_root, other_size) = (receipt.replace(root, &wrong), format!("{receipt}0"));
    let make = |receipt: &str| place.run(["reassemble", id, "-i", "key.txt", "--receipt", receipt]);
    for receipt in [&wrong, &other_root, &other_size] {
        make(receipt).fails("manifest.root", 20);
        assert!(!manifest.exists(), "{receipt}");
    }
    // With --replace the damaged one stays until it is known that the parts are the right ones.
    std::fs::write(&manifest, "{\"backstay\":1,").unwrap();
    make(&wrong).arg("--replace").fails("manifest.root", 20);
    assert_eq!(std::fs::read(&manifest).unwrap(), b"{\"backstay\":1,");
    make(root).arg("--replace").good();
    std::fs::remove_file(&manifest).unwrap();
    // The seal of the receipt was that of the manifest that is lost.
    make(&receipt).good();

    let join = |options: &[&str]| place.run(["reassemble", id, "--join", "joined"]).args(options);
    let joined = place.path("joined");
    // With the manifest that the backup made, with another one, and with none.
    for manifest_is in ["the backup's", "made anew", "lost"] {
        match manifest_is {
            "the backup's" => std::fs::write(&manifest, &good).unwrap(),
            "lost" => std::fs::remove_file(&manifest).unwrap(),
            _ => {
                std::fs::remove_file(&manifest).unwrap();
                make(root).good();
            }
        }
        for receipt in [&wrong, &other_root, &other_size] {
            join(&["--receipt", receipt]).fails("manifest.root", 20);
            assert!(!joined.exists() && !place.path("joined.partial").exists(), "{manifest_is}: {receipt}");
        }
        let done = join(&["--receipt", root]).good();
        assert!(!done.stderr.contains("is not known"), "{}", done.stderr);
        std::fs::remove_file(&joined).unwrap();
        if manifest_is != "made anew" {
            join(&["--receipt", &receipt]).good();
            std::fs::remove_file(&joined).unwrap();
        }
    }
    // Without a manifest the root tells what nothing else does: that the last part is missing.
    let last = place.objects().into_iter().filter(|name| !name.ends_with(".json")).max().unwrap();
    std::fs::remove_file(place.store().join(last)).unwrap();
    join(&["--receipt", root]).fails("manifest.root", 20);
    assert!(!joined.exists());
}

#[test]
fn a_joined_file_is_what_the_manifest_and_its_signer_stand_for() {
    let place = Place::new();
    let sign = |file: &str| {
        place.run(["key", "generate", "--signing", file]).good();
        place.run(["key", "show", file]).good().out().trim().to_owned()
    };
    let (signer, stranger) = (sign("sign.pem"), sign("stranger.pem"));
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB", "--sign-key", "sign.pem"]);
    let join = |options: &[&str]| place.run(["reassemble", &id, "--join", "joined"]).args(options);
    join(&["--signer", &stranger]).fails("key.signer", 12);
    join(&["--require-seal"]).fails("usage.arguments", 2).says("takes the key");
    assert!(!place.path("joined").exists());
    join(&["--signer", &signer]).good();
    std::fs::remove_file(place.path("joined")).unwrap();
    // Of the right size, and not what was stored.
    let part = place.store().join(format!("{id}-1"));
    let mut bytes = std::fs::read(&part).unwrap();
    bytes[70_000] ^= 1;
    std::fs::write(&part, &bytes).unwrap();
    join(&[]).fails("part.digest", 20).says(&format!("{id}-1"));
    assert!(!place.path("joined").exists() && !place.path("joined.partial").exists());
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    join(&["--signer", &signer]).fails("key.signer", 12).says("no manifest");
    assert!(!place.path("joined").exists());
}
