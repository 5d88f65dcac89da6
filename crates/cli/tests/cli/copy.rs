//! `copy`: the same archive in a second store.

use backstay_testkit::S3Server;
use serde_json::json;

use crate::harness::{Place, noise};

fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_copy_is_byte_for_byte_and_needs_no_key() {
    let place = Place::new();
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB", "--detached-keys"]);
    let replica = place.path("replica");
    let replica = replica.to_str().unwrap();
    let copied = place.run(["--json", "copy", "latest", "--to", replica]).good().json("copied");
    assert_eq!(copied["archives"][0]["id"], json!(id));
    assert_eq!(copied["archives"][0]["sent"], copied["archives"][0]["stored"]);
    assert_eq!(copied["archives"][0]["checked"], json!(true));
    assert_eq!(files(&place.store()), files(replica.as_ref()));
    assert_eq!(place.run(["cat", &id, "-s", replica, "-i", "key.txt"]).good().stdout, noise(3 << 20));
    place.run(["copy", &id, "--to", replica]).good().says_out("all there already");
    let store = place.store();
    place.run(["copy", &id, "--to", store.to_str().unwrap()]).fails("usage.arguments", 2);
    place.run(["copy", "--to", replica]).fails("usage.arguments", 2);
    place.run(["copy", &id, "--all", "--to", replica]).fails("usage.arguments", 2);
    place.run(["copy", &id]).fails("usage.arguments", 2).says("--to");
}

#[test]
fn all_archives_are_copied_or_those_with_a_tag() {
    let place = Place::new();
    let first = place.backup("one", &["--tag", "one"]);
    let second = place.backup("two", &["--tag", "two"]);
    let replica = place.path("replica");
    std::fs::create_dir(&replica).unwrap();
    let to = replica.to_str().unwrap();
    place.run(["copy", "--all", "--tag", "two", "--to", to]).good().says_out(&second);
    assert!(files(&replica).iter().all(|(name, _)| name.starts_with(&second)));
    place.run(["copy", "--all", "--to", to]).good().says_out(&first);
    assert_eq!(files(&place.store()), files(&replica));
}

#[test]
fn a_damaged_part_is_not_copied_and_another_archive_not_overwritten() {
    let place = Place::new();
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    let replica = place.path("replica");
    std::fs::create_dir(&replica).unwrap();
    let to = replica.to_str().unwrap();
    let part = place.store().join(format!("{id}-2"));
    let good = std::fs::read(&part).unwrap();
    let mut bad = good.clone();
    bad[5000] ^= 1;
    std::fs::write(&part, &bad).unwrap();
    place.run(["copy", &id, "--to", to]).fails("part.digest", 20).says(&format!("{id}-2"));
    assert!(!replica.join(format!("{id}.json")).exists() && !replica.join(format!("{id}-2")).exists());
    std::fs::write(&part, &good).unwrap();
    std::fs::write(replica.join(format!("{id}-2")), &bad).unwrap();
    let refused = place.run(["copy", &id, "--to", to]).done();
    assert!(refused.stderr.contains("name.taken") && refused.stderr.contains("with other bytes"), "{}", refused.stderr);
    assert_eq!(std::fs::read(replica.join(format!("{id}-2"))).unwrap(), bad);
    assert!(!replica.join(format!("{id}.json")).exists());
    let narrow = place.run(["copy", &id, "--to", to, "--memory", "1KiB"]);
    narrow.fails("usage.memory", 2);
}

#[test]
fn archives_go_to_a_server_and_from_it() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    let back = place.path("back");
    std::fs::create_dir(&back).unwrap();
    let store = place.store();
    let legs = [(store.to_str().unwrap(), "s3://bucket/pg"), ("s3://bucket/pg", back.to_str().unwrap())];
    for (from, to) in legs {
        let mut run = place.run(["copy", &id, "-s", from, "--to", to, "--uploads", "2"]);
        for (name, value) in server.variables(&server.endpoint) {
            run = run.env(&name, value);
        }
        run.good();
    }
    assert_eq!(files(&place.store()), files(&back));
}
