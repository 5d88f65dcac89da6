//! `backup --also`: two stores in one pass.

use backstay_testkit::S3Server;
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

#[test]
fn one_directory_by_another_name_is_no_second_store() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    std::os::unix::fs::symlink(place.store(), place.path("link")).unwrap();
    let dotted = place.store().join("../store/.");
    let url = format!("file://{}/", place.store().display());
    for again in [place.path("link").to_str().unwrap(), "./store", dotted.to_str().unwrap(), &url] {
        for verb in
            [&["backup", "-r", &place.recipient, "--also"][..], &["copy", &id, "--to"], &["copy", "--all", "--repair"]]
        {
            let run = place.run(verb).arg(again).stdin("content");
            run.fails("usage.arguments", 2).says("store");
        }
    }
    assert_eq!(place.objects().iter().filter(|name| name.ends_with(".json")).count(), 1);
}

/// Two URLs, two sets of options, one bucket.
#[test]
fn one_bucket_by_another_name_of_its_server_is_no_second_store() {
    for (denied, condition) in [(&[][..], true), (&["GetObject", "HeadObject", "DeleteObject"][..], true), (&[], false)]
    {
        let place = Place::new();
        let server = S3Server::with_bucket("bucket");
        if !condition {
            server.ignore_conditions();
        }
        let alias = server.endpoint.replace("127.0.0.1", "localhost");
        assert_ne!(alias, server.endpoint);
        let text = format!("[profile.alias]\nstore = 's3://bucket/pg'\nendpoint_url = '{alias}'\n");
        place.write("config/backstay/backstay.toml", text);
        server.deny(denied);
        let backup = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--also", "alias"]);
        let done = reaching(&server, backup.stdin("content")).fails("usage.arguments", 2);
        done.says("one store under two names").says("localhost");
        let stored = files(&server.object_path("bucket", "pg"));
        assert!(!stored.iter().any(|(name, _)| name.ends_with(".json")), "{stored:?}");
        server.deny(&[]);
        let backup = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin("content");
        reaching(&server, backup).good();
        for arguments in [&["copy", "--all", "--to", "alias"][..], &["copy", "latest", "--repair", "alias"]] {
            reaching(&server, place.run(arguments)).fails("usage.arguments", 2).says("one store under two names");
        }
        let left = files(&server.object_path("bucket", "pg"));
        assert!(!left.iter().any(|(name, _)| name.starts_with("backstay-probe-")) || !denied.is_empty(), "{left:?}");
    }
}

/// Whether the service that gives credentials is asked when a store is opened or with its first request is the provider's affair.
#[test]
fn a_store_whose_credentials_cannot_be_had_is_out_like_one_that_fails() {
    let place = Place::new();
    let (first, _second) = two_servers(&place);
    place.write(".aws/config", "[profile offsite]\ncredential_process = false\n");
    place.write(".aws/credentials", "");
    let backup = |also: &[&str]| {
        let run = place.run(["--json", "backup", "--name", "pg-main", "-r", &place.recipient]).args(also);
        reaching(&first, run.stdin("content"))
    };
    let done = backup(&["--also", "offsite"]).done();
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    let receipt = done.json("receipt");
    assert_eq!(receipt["missed"][0]["code"], json!("usage.credentials"));
    assert_eq!(receipt["missed"][0]["store"], json!("s3://bucket/replica"));
    let id = receipt["id"].as_str().unwrap();
    done.says("goes on with s3://bucket/pg at").says(&format!("`backstay copy {id} --to offsite`"));
    assert!(files(&first.object_path("bucket", "pg")).iter().any(|(name, _)| name == &format!("{id}.json")));
    backup(&["--also", "offsite", "--also-required"]).done().says("usage.credentials");
    // The other way round.
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "-p", "offsite", "--also"]);
    let done = run.arg(place.path("second")).env("BACKSTAY_STORE", "").stdin("content").done();
    assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
    done.says("goes on with").says("--repair");
    assert_eq!(files(&place.path("second")).iter().filter(|(name, _)| name.ends_with(".json")).count(), 1);
    // What is wrong with the command line is not waited for.
    backup(&["--also", "s3:bucket"]).done().says("usage.store-url");
    backup(&["--also", "none"]).done().says("usage.config");
}
