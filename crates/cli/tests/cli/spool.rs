//! `backup --spool`: an upload that is killed goes on.

use std::time::Duration;

use backstay_testkit::S3Server;
use backstay_testkit::proxy::{Fate, Proxy};
use serde_json::json;

use crate::harness::{Place, Run, noise, until};

fn reaching<'a>(server: &S3Server, endpoint: &str, mut run: Run<'a>) -> Run<'a> {
    for (name, value) in server.variables(endpoint) {
        run = run.env(&name, value);
    }
    run.env("BACKSTAY_STORE", "s3://bucket/pg")
}

/// Names in the spool.
fn spooled(place: &Place) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(place.path("spool")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

/// Starts a backup whose upload gets stuck, and kills it once its source has ended. Gives the archive's id.
fn killed(place: &Place, server: &S3Server, content: &[u8]) -> String {
    let file = place.write("content", content);
    let proxy = Proxy::start(server.address(), |request| match (request.method.as_str(), request.number) {
        ("PUT", 4..) => Fate::Delay(Duration::from_secs(600)),
        _ => Fate::Pass,
    });
    let run = place.run([
        "backup",
        "--name",
        "pg-main",
        "-r",
        &place.recipient,
        "--part-size",
        "256KiB",
        "--spool",
        "spool",
        "--",
        "cat",
    ]);
    let mut child = reaching(server, &proxy.endpoint, run.arg(file)).start();
    until("the end of the source", || {
        spooled(place).iter().any(|name| name.ends_with(".json") && !name.contains("unconf"))
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let manifest = spooled(place).into_iter().find(|name| name.ends_with(".json") && !name.contains("unconf")).unwrap();
    manifest.trim_end_matches(".json").to_owned()
}

#[test]
fn a_killed_upload_goes_on_and_what_it_commits_is_what_was_sealed() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let content = noise(3 << 20);
    let id = killed(&place, &server, &content);
    let manifest = std::fs::read(place.path("spool").join(format!("{id}.json"))).unwrap();
    let direct = |run: Run<'static>| reaching(&server, &server.endpoint, run);
    let place: &'static Place = Box::leak(Box::new(place));
    assert!(!server.object_path("bucket", &format!("pg/{id}.json")).exists());
    let done = direct(place.run(["--json", "backup", "--resume", "--spool", "spool"])).good().json("resumed");
    let archive = &done["archives"][0];
    assert_eq!(archive["id"], json!(id));
    let (sent, stored) = (archive["sent"].as_u64().unwrap(), archive["stored"].as_u64().unwrap());
    assert!(sent > 0 && sent < stored, "{sent} of {stored}");
    assert_eq!(std::fs::read(server.object_path("bucket", &format!("pg/{id}.json"))).unwrap(), manifest);
    assert!(direct(place.run(["cat", &id, "-i", "key.txt"])).good().stdout == content);
    assert!(spooled(place).is_empty());
    direct(place.run(["backup", "--resume", "--spool", "spool"])).good().says_out("there is nothing to send");
}

#[test]
fn the_next_backup_sends_first_what_the_last_one_left() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let content = noise(3 << 20);
    let id = killed(&place, &server, &content);
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--spool", "spool"]).stdin("the next");
    let done = reaching(&server, &server.endpoint, run).good();
    done.says("of an earlier run were sent, it is committed").says(&id);
    assert_eq!(done.out().lines().count(), 1);
    let listed = reaching(&server, &server.endpoint, place.run(["--json", "list"])).good().json("list");
    assert_eq!(listed["archives"].as_array().unwrap().len(), 2, "{listed}");
    assert!(spooled(&place).is_empty());
}

#[test]
fn what_was_made_for_one_store_is_not_sent_to_another() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let content = noise(3 << 20);
    let id = killed(&place, &server, &content);
    let before = spooled(&place);
    // Another job with the same spool.
    let run = place.run(["backup", "--name", "web", "-r", &place.recipient, "--spool", "spool"]).stdin("the web");
    run.good().says(&id).says("was made for s3://bucket/pg").says("backup --resume");
    place
        .run(["backup", "--resume", "--spool", "spool"])
        .fails("part.missing", 21)
        .says("neither in the spool")
        .says("the store that the interrupted run had");
    assert!(place.objects().iter().all(|name| !name.starts_with(&id)), "{:?}", place.objects());
    assert_eq!(spooled(&place), before);
    reaching(&server, &server.endpoint, place.run(["backup", "--resume", "--spool", "spool"])).good();
    let run = place.run(["cat", &id, "-i", "key.txt"]);
    assert!(reaching(&server, &server.endpoint, run).good().stdout == content);
    // What lies in a spool is moved and deleted as the spool wants it.
    for arguments in [&["list"][..], &["backup", "--name", "web", "-r", &place.recipient]] {
        let refused = place.run(arguments).env("BACKSTAY_STORE", "spool").stdin("x").fails("usage.store-url", 2);
        refused.says("spool is a spool").says(".backstay-lock");
    }
    assert!(spooled(&place).is_empty());
}

#[test]
fn a_spool_and_a_second_store_are_refused_by_name_and_with_a_way_out() {
    let place = Place::new();
    let backup = |arguments: &[&str]| {
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin("content")
    };
    let told = backup(&["--spool", "spool", "--also", "other"]).fails("usage.arguments", 2);
    told.says("--spool and --also do not go together").says("backstay copy latest --to other");
    assert!(!place.path("spool").exists() && !place.path("other").exists());
    // Said elsewhere, it is refused in the same words.
    place.write("config/backstay/backstay.toml", "spool = 'kept'\n");
    backup(&["--also", "other"]).fails("usage.arguments", 2).says("--spool and --also do not go together");
    backup(&[]).env("BACKSTAY_ALSO", "other").fails("usage.arguments", 2).says("--spool and --also do not go together");
    assert!(!place.path("kept").exists());
    // Nor does what is sent later reach a second store.
    let resume = |arguments: &[&str]| place.run(["backup", "--resume"]).args(arguments);
    let together = "--spool and --also do not go together";
    resume(&["--also", "other"]).fails("usage.arguments", 2).says(together).says("backstay copy latest --to other");
    resume(&[]).env("BACKSTAY_ALSO", "other").fails("usage.arguments", 2).says(together);
    resume(&["--also-required"]).fails("usage.arguments", 2).says("--also-required needs a second store");
    place.write("config/backstay/backstay.toml", "spool = 'kept'\nalso = 'other'\n");
    resume(&[]).fails("usage.arguments", 2).says(together);
    assert!(!place.path("kept").exists() && !place.path("other").exists());
}

#[test]
fn a_spool_and_a_single_object_are_refused_by_name_and_with_a_way_out() {
    let place = Place::new();
    place.write("password.txt", "correct-horse\n");
    let backup = |arguments: &[&str]| {
        let openssl = ["backup", "--name", "pg-main", "--format", "openssl", "--passphrase-file", "password.txt"];
        place.run(openssl).args(arguments).stdin("content")
    };
    let told = backup(&["--spool", "spool", "--single"]).fails("usage.arguments", 2);
    told.says("--spool and --single do not go together").says("leave --single out");
    assert!(!place.path("spool").exists());
    backup(&["--single"]).env("BACKSTAY_SPOOL", "spool").fails("usage.arguments", 2).says("--spool and --single");
    backup(&["--single"]).good();
    backup(&["--spool", "spool"]).good();
}

#[test]
fn a_spool_is_refused_where_it_does_not_fit_and_comes_from_a_file_too() {
    let place = Place::new();
    let backup = |arguments: &[&str]| {
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin("content")
    };
    backup(&["--spool", "spool", "--spool-size", "1MiB"])
        .fails("usage.arguments", 2)
        .says("has room for 1048576 bytes");
    backup(&["--spool-size", "1GiB"]).fails("usage.arguments", 2).says("--spool");
    backup(&["--resume"]).fails("usage.arguments", 2).says("--spool");
    place.write("config/backstay/backstay.toml", "spool = 'kept'\nspool_size = '2GiB'\n");
    backup(&[]).good();
    assert!(place.path("kept").is_dir());
    backup(&[]).env("BACKSTAY_SPOOL", place.path("other")).good();
    assert!(place.path("other").is_dir());
}

#[test]
fn a_directory_that_is_no_spool_or_is_the_store_is_refused_and_left_as_it_was() {
    let place = Place::new();
    let backup = |arguments: &[&str]| {
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments).stdin("content")
    };
    let refused = |arguments: &[&str]| backup(arguments).fails("usage.arguments", 2);
    // Of a store that is not there yet nothing is made.
    refused(&["--spool", "store"]).says("is the store").says("a directory of its own");
    assert!(!place.store().exists());
    // Another writer's upload, which no manifest commits yet.
    let part = "others/0f7d3f6c-5a3c-4c1a-9d2e-8f1b6f0d3a11-1795294764530-0";
    place.write(part, "under way");
    let told = refused(&["--spool", "others"]);
    told.says("is not marked as a spool").says("is deleted").says(".backstay-lock");
    place.run(["backup", "--resume", "--spool", "others"]).fails("usage.arguments", 2);
    assert!(place.path(part).exists() && std::fs::read_dir(place.path("others")).unwrap().count() == 1);
    backup(&[]).good();
    std::os::unix::fs::symlink(place.store(), place.path("link")).unwrap();
    let before = place.objects();
    for path in ["store", "link", "link/."] {
        refused(&["--spool", path]).says("is the store");
        place.run(["backup", "--resume", "--spool", path]).fails("usage.arguments", 2).says("is the store");
    }
    assert!(place.objects() == before && !place.path("store/.backstay-lock").exists());
    // A spool stays one, and one that an earlier version made is marked as well.
    place.write("earlier/.backstay-lock", "");
    place.write("earlier/0f7d3f6c-5a3c-4c1a-9d2e-8f1b6f0d3a11-1795294764530-0", "cut");
    backup(&["--spool", "earlier"]).good().says("was not complete in the spool and is cleared away");
    backup(&["--spool", "earlier"]).good();
}

#[test]
fn a_spool_is_where_its_path_says_whatever_characters_that_has() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let names: [&[u8]; 5] = [b"#1", b"a?b", b"%41", b"two words", b"latin1-\xe9"];
    // What a path that is read as a URL leads to is somebody else's, and nothing of it may be touched.
    let part = "spools/0f7d3f6c-5a3c-4c1a-9d2e-8f1b6f0d3a11-1795294764530-0";
    place.write(part, "under way");
    for name in names {
        let path = place.path("spools").join(std::ffi::OsStr::from_bytes(name));
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--spool"]);
        run.arg(&path).stdin("content").good();
        assert!(path.join(".backstay-tmp").is_dir(), "{}", path.display());
        let id = place.objects().into_iter().find_map(|name| Some(name.strip_suffix(".json")?.to_owned())).unwrap();
        let run = place.run(["cat", &id, "-i", "key.txt", "--atomic", "--spool-dir"]);
        assert_eq!(run.arg(&path).good().stdout, b"content");
    }
    assert_eq!(std::fs::read(place.path(part)).unwrap(), b"under way");
    assert_eq!(std::fs::read_dir(place.path("spools")).unwrap().count(), names.len() + 1);
}
