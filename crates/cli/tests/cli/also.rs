//! `backup --also`: two stores in one pass.

use serde_json::json;

use crate::copy::{files, reaching, two_servers};
use crate::harness::{Place, noise};

#[test]
fn one_backup_goes_to_two_servers_with_keys_of_their_own() {
    let place = Place::new();
    let (first, second) = two_servers(&place);
    let content = noise(3 << 20);
    let backup =
        ["--json", "backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB", "--also", "offsite"];
    let done = reaching(&first, place.run(backup).stdin(&content)).good();
    let receipt = done.json("receipt");
    assert_eq!(receipt["missed"], json!([]));
    let stored = files(&first.object_path("bucket", "pg"));
    assert!(stored.len() >= 4);
    assert_eq!(stored, files(&second.object_path("bucket", "replica")));
}

#[test]
fn when_one_store_fails_the_status_is_3_and_a_copy_makes_up_for_it() {
    let place = Place::new();
    let (first, second) = two_servers(&place);
    second.deny(&["PutObject"]);
    let content = noise(3 << 20);
    let backup = |arguments: &[&str]| {
        let run =
            place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]).args(arguments);
        reaching(&first, run.stdin(&content)).done()
    };
    let done = backup(&["--also", "offsite"]);
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    let id = done.out().split(' ').next().unwrap().to_owned();
    done.says("warning[store.denied]:").says(&format!("`backstay copy {id} --to offsite`"));
    done.says("goes on with s3://bucket/pg at");
    let done = backup(&["--json", "--also", "offsite"]);
    assert_eq!(done.status.code(), Some(3));
    assert_eq!(done.json("receipt")["missed"][0]["code"], json!("store.denied"));
    assert!(done.json("receipt")["missed"][0]["store"].as_str().unwrap().starts_with("s3://bucket/replica at"));
    let committed = files(&first.object_path("bucket", "pg"));
    let required = backup(&["--also", "offsite", "--also-required"]);
    assert_eq!(required.status.code(), Some(40));
    required.says("error[store.denied]");
    let manifests = |files: &[(String, Vec<u8>)]| files.iter().filter(|(name, _)| name.ends_with(".json")).count();
    assert_eq!(manifests(&files(&first.object_path("bucket", "pg"))), manifests(&committed));
    second.deny(&[]);
    reaching(&first, place.run(["copy", "--all", "--to", "offsite"])).good();
    let whole: Vec<_> = committed.iter().filter(|(name, _)| name.starts_with(&id)).collect();
    let replica = files(&second.object_path("bucket", "replica"));
    assert_eq!(whole, replica.iter().filter(|(name, _)| name.starts_with(&id)).collect::<Vec<_>>());
}

#[test]
fn a_second_store_comes_from_a_file_or_a_variable_too_and_is_another_one() {
    let place = Place::new();
    let also = place.path("also");
    place.write("config/backstay/backstay.toml", format!("also = '{}'\n", also.display()));
    let id = place.backup("content", &[]);
    assert_eq!(files(&place.store()), files(&also));
    let other = place.path("other");
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin("content");
    run.env("BACKSTAY_ALSO", &other).good();
    assert!(other.exists() && files(&also).iter().all(|(name, _)| name.starts_with(&id)));
    let run = place.run(["backup", "-r", &place.recipient, "--also"]).arg(place.store()).stdin("content");
    run.fails("usage.arguments", 2).says("both the first and the second store");
    let run = place.run(["backup", "-r", &place.recipient, "--also-required"]).stdin("content");
    let run = run.env("XDG_CONFIG_HOME", place.path("nowhere"));
    run.fails("usage.arguments", 2).says("--also");
}
