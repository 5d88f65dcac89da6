//! `copy`: the same archive in a second store.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backstay_testkit::S3Server;
use backstay_testkit::proxy::{Fate, Proxy};
use serde_json::json;

use crate::harness::{Place, Run, noise, shell};

pub(crate) fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
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
    place.run(["copy", &id, "--to", store.to_str().unwrap()]).fails("usage.arguments", 2).says("both the first and");
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

/// Two servers with keys of their own: the first one's are in the environment, the second one's in a profile.
pub(crate) fn two_servers(place: &Place) -> (S3Server, S3Server) {
    let first = S3Server::with_bucket("bucket");
    let root = place.path("second-server");
    std::fs::create_dir(&root).unwrap();
    let second = S3Server::start(root, "AKIASECOND", "second-secret");
    second.create_bucket("bucket");
    place.write(
        ".aws/credentials",
        "[offsite]\naws_access_key_id = AKIASECOND\naws_secret_access_key = second-secret\n",
    );
    let offsite = format!(
        "[profile.offsite]\nstore = 's3://bucket/replica'\nendpoint_url = '{}'\naws_profile = 'offsite'\n[profile.none]\nname = 'x'\n",
        second.endpoint
    );
    place.write("config/backstay/backstay.toml", offsite);
    (first, second)
}

pub(crate) fn reaching<'a>(server: &S3Server, mut run: Run<'a>) -> Run<'a> {
    for (name, value) in server.variables(&server.endpoint) {
        run = run.env(&name, value);
    }
    run.env("BACKSTAY_STORE", "s3://bucket/pg")
}

#[test]
fn a_profile_is_a_store_with_its_own_server_and_credentials() {
    let place = Place::new();
    let (first, second) = two_servers(&place);
    let content = noise(3 << 20);
    let backup =
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]).stdin(&content);
    let id = reaching(&first, backup).good().out().split(' ').next().unwrap().to_owned();
    reaching(&first, place.run(["copy", &id, "--to", "offsite"])).good().says_out("s3://bucket/replica at http://");
    assert_eq!(files(&first.object_path("bucket", "pg")), files(&second.object_path("bucket", "replica")));
    // The profile alone reaches it too, with the first one's keys in the environment.
    let cat = place.run(["cat", &id, "-p", "offsite", "-i", "key.txt"]);
    assert!(reaching(&first, cat).env("BACKSTAY_STORE", "").good().stdout == content);
    reaching(&first, place.run(["copy", &id, "--to", "none"])).fails("usage.config", 2).says("names no store");
    // The first one's keys are no good at the second server.
    let place_of = format!("[profile.offsite]\nstore = 's3://bucket/other'\nendpoint_url = '{}'\n", second.endpoint);
    place.write("config/backstay/backstay.toml", place_of);
    reaching(&first, place.run(["copy", &id, "--to", "offsite"])).fails("store.denied", 40);
}

#[test]
fn what_is_said_of_the_store_is_not_said_of_one_of_another_kind() {
    let place = Place::new();
    let server = S3Server::with_bucket("bucket");
    let id = place.backup("content", &[]);
    // A directory would have nothing to do with the server; a bucket of Azure neither, and there are no credentials for one.
    let refused = place.run(["copy", &id, "--to", "az://bucket/x", "--endpoint-url", &server.endpoint]);
    refused.fails("usage.credentials", 2);
    // A profile's name goes before a path that is called the same; the path is then written with a dot.
    place.write(
        "config/backstay/backstay.toml",
        format!("[profile.replica]\nstore = '{}'\n", place.path("elsewhere").display()),
    );
    place.run(["copy", &id, "--to", "replica"]).good();
    assert!(place.path("elsewhere").join(format!("{id}.json")).exists() && !place.path("replica").exists());
    place.run(["copy", &id, "--to", "./replica"]).good();
    assert!(place.path("replica").join(format!("{id}.json")).exists());
}

#[test]
fn a_repair_brings_back_what_is_broken_and_says_what_it_was() {
    let place = Place::new();
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    let (replica, store) = (place.path("replica"), place.store());
    let from = replica.to_str().unwrap();
    place.run(["copy", &id, "--to", from]).good();
    let good = files(&store);
    std::fs::remove_file(store.join(format!("{id}-1"))).unwrap();
    std::fs::write(store.join(format!("{id}-2")), "rubbish").unwrap();
    std::fs::remove_file(store.join(format!("{id}.json"))).unwrap();
    let done = place.run(["copy", &id, "--repair", from]).good();
    done.says_out("3 objects with").says_out(&format!("{id}-1 was missing")).says_out(&format!("{id}-2 was damaged"));
    assert_eq!(files(&store), good);
    let again = place.run(["--json", "copy", "--all", "--repair", from]).good().json("repaired");
    let nothing = (&json!([]), &json!([]), &json!(0));
    let found = &again["archives"][0];
    assert_eq!((&found["restored"], &found["replaced"], &found["sent"]), nothing);
    place.run(["copy", &id, "--repair", from, "--to", from]).fails("usage.arguments", 2);
    place.run(["copy", &id, "--repair"]).arg(&store).fails("usage.arguments", 2);
    // It is another archive: a backup of the same id cannot be made, so its manifest is that of another one.
    let other = place.backup("other", &[]);
    std::fs::copy(store.join(format!("{other}.json")), store.join(format!("{id}.json"))).unwrap();
    place.run(["copy", &id, "--repair", from]).good();
    assert_eq!(
        std::fs::read(store.join(format!("{id}.json"))).unwrap(),
        std::fs::read(replica.join(format!("{id}.json"))).unwrap()
    );
}

const OLD: &str = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000";
const DOCUMENT: &str = "{\"backup_id\":17,\"status\":\"done\"}\n";

/// An archive as the shell pipeline makes it, in a store of its own.
fn foreign(place: &Place, content: &[u8]) -> String {
    place.write("content", content);
    let line = format!(
        "mkdir -p old && gzip < content | openssl enc -aes256 -md md5 -pass file:passphrase.txt 2>/dev/null | split -b 100000 -d -a 1 - old/{OLD}-"
    );
    shell(&place.path(""), &line);
    place.write(&format!("old/{OLD}.json"), DOCUMENT);
    place.path("old").to_str().unwrap().to_owned()
}

#[test]
fn an_old_archive_becomes_a_native_one_with_its_document() {
    let place = Place::new();
    let content = noise(700_000);
    let old = foreign(&place, &content);
    let before = files(old.as_ref());
    let new = place.path("new").to_str().unwrap().to_owned();
    let convert = |arguments: &[&str]| {
        let fixed =
            ["copy", OLD, "-s", &old, "--to", &new, "--to-format", "native", "--passphrase-file", "passphrase.txt"];
        place.run(fixed).args(arguments)
    };
    convert(&[]).fails("usage.recipient", 2);
    assert!(!place.path("new").exists());
    let done = convert(&["-r", &place.recipient, "--json"]).good().json("converted");
    assert_eq!(
        (&done["archives"][0]["outcome"], &done["archives"][0]["authentic"]),
        (&json!("converted"), &json!(false))
    );
    assert_eq!(place.run(["cat", OLD, "-s", &new, "-i", "key.txt"]).good().stdout, content);
    place.run(["cat", OLD, "-s", &new, "--passphrase-file", "passphrase.txt"]).fails("key.not-found", 12);
    convert(&["-r", &place.recipient]).good().says_out("all there already");
    let document = ["show", OLD, "-s", &new, "--document"];
    assert_eq!(place.run(document).arg("-i").arg("key.txt").good().out(), DOCUMENT);
    place.run(document).fails("key.not-found", 12);
    assert_eq!(place.run(["show", OLD, "-s", &old, "--document"]).good().out(), DOCUMENT);
    let shown = place.run(["show", OLD, "-s", &new]).good();
    shown.says_out("created    2025-02-21T09:26:40Z").says_out("from openssl: ");
    assert_eq!(files(old.as_ref()), before);
    let back = ["copy", OLD, "-s", &old, "--to", &new, "--to-format", "openssl"];
    place.run(back).fails("usage.arguments", 2).says("openssl format");
    let repair = ["copy", OLD, "-s", &new, "--repair", &old, "--to-format", "native"];
    place.run(repair).fails("usage.arguments", 2);
}

#[test]
fn a_bucket_is_converted_around_what_is_damaged_and_goes_on_the_next_time() {
    let place = Place::new();
    let old = foreign(&place, &noise(700_000));
    let good = place.read(&format!("old/{OLD}-3"));
    place.write(&format!("old/{OLD}-3"), &good[..good.len() - 16]);
    let id = place.run(["backup", "-s", &old, "--name", "shop", "-r", &place.recipient]).stdin("native").good();
    let id = id.out().split(' ').next().unwrap().to_owned();
    let new = place.path("new").to_str().unwrap().to_owned();
    let convert = |arguments: &[&str]| {
        let fixed = ["copy", "--all", "-s", &old, "--to", &new, "--to-format", "native", "-r", &place.recipient];
        place.run(fixed).args(["--passphrase-file", "passphrase.txt"]).args(arguments)
    };
    let partly = convert(&[]).done();
    assert_eq!(partly.status.code(), Some(20), "{}", partly.stderr);
    partly.says(&format!("{OLD} is not converted")).says("1 of 2 archives are not converted").says_out("NOT THERE");
    partly.says_out(&format!("{id}: native already, copied as it is"));
    assert_eq!(place.run(["list", "-s", &new, "--json"]).good().json("list")["archives"].as_array().unwrap().len(), 1);
    // The part is brought back. What the failed run left is in the way until it is said that nobody writes it.
    place.write(&format!("old/{OLD}-3"), &good);
    let left = files(new.as_ref());
    if left.iter().any(|(name, _)| name.starts_with(OLD)) {
        convert(&[]).fails("name.taken", 40).says("--restart");
        assert_eq!(files(new.as_ref()), left);
    }
    convert(&["--restart"]).good();
    assert_eq!(place.run(["cat", OLD, "-s", &new, "-i", "key.txt"]).good().stdout, noise(700_000));
}

#[test]
fn keys_for_a_copy_that_is_byte_for_byte_are_refused_and_a_reencrypted_one_has_them() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let new = place.run(["key", "generate", "new.txt"]).good().out().trim().to_owned();
    let to = place.path("to").to_str().unwrap().to_owned();
    let copy = |arguments: &[&str]| place.run(["copy", &id, "--to", &to]).args(arguments);
    copy(&["-r", &new]).fails("usage.arguments", 2).says("--recipient needs --to-format native or --reencrypt");
    // What the environment says for backups is no such claim.
    let elsewhere = place.path("elsewhere");
    place.run(["copy", &id, "--to"]).arg(&elsewhere).env("BACKSTAY_RECIPIENT", &new).good();
    assert_eq!(files(&place.store()), files(&elsewhere));
    copy(&["--reencrypt", "-r", &new]).fails("key.not-found", 12);
    copy(&["--reencrypt", "-r", &new, "-i", "key.txt"]).good().says_out("written anew from native");
    assert_eq!(place.run(["cat", &id, "-s", &to, "-i", "new.txt"]).good().stdout, b"content");
    place.run(["cat", &id, "-s", &to, "-i", "key.txt"]).fails("key.not-found", 12);
}

/// Options that only an archive that is written anew can have.
const ONLY_ANEW: [&[&str]; 13] = [
    &["-r", "KEY"],
    &["-R", "recipients.txt"],
    &["--new-passphrase-file", "passphrase.txt"],
    &["--detached-keys"],
    &["--sign-key", "sign.pem"],
    &["--level", "9"],
    &["--part-size", "1MiB"],
    &["--restart"],
    &["-i", "key.txt"],
    &["--passphrase-command", "echo x"],
    &["--md", "md5"],
    &["--pbkdf2-iter", "1000"],
    &["--payload", "raw"],
];

#[test]
fn what_says_nothing_to_a_copy_that_is_byte_for_byte_is_refused() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.run(["key", "generate", "--signing", "sign.pem"]).good();
    place.write("recipients.txt", &place.recipient);
    let replica = place.path("replica");
    for options in ONLY_ANEW {
        let options = options.iter().map(|word| if *word == "KEY" { place.recipient.as_str() } else { word });
        for to in ["--to", "--repair"] {
            let run = place.run(["copy", &id, to]).arg(&replica).args(options.clone());
            run.fails("usage.arguments", 2).says("needs --to-format native or --reencrypt");
        }
        assert!(!replica.exists());
    }
}

#[test]
fn each_option_of_an_archive_that_is_written_anew_has_its_effect() {
    let place = Place::new();
    let content = crate::harness::dump(3 << 20);
    let id = place.backup(&content, &[]);
    place.run(["key", "generate", "--signing", "sign.pem"]).good();
    let signer = place.run(["key", "show", "sign.pem"]).good().out().trim().to_owned();
    let new = place.run(["key", "generate", "new.txt"]).good().out().trim().to_owned();
    place.write("recipients.txt", &new);
    let copy = |to: &str, options: &[&str]| {
        let run = place.run(["--json", "copy", &id, "--to", to, "--reencrypt", "-i", "key.txt"]).args(options);
        run.good().json("converted")["archives"][0].clone()
    };
    let to_key = ["-r", place.recipient.as_str()];
    let stored =
        |to: &str, level: &str| copy(to, &[&to_key[..], &["--level", level]].concat())["stored"].as_u64().unwrap();
    let (fast, small) = (stored("fast", "1"), stored("small", "19"));
    assert!(small < fast, "{small} {fast}");
    assert!(copy("parts", &[&to_key[..], &["--part-size", "128KiB"]].concat())["parts"].as_u64().unwrap() > 1);
    assert_eq!(copy("plain", &to_key)["parts"], 1);
    place.run(["cat", &id, "-s", "plain", "-i", "key.txt", "--signer", &signer]).fails("key.signer", 12);
    copy("signed", &[&to_key[..], &["--sign-key", "sign.pem"]].concat());
    place.run(["cat", &id, "-s", "signed", "-i", "key.txt", "--signer", &signer]).good();
    copy("phrase", &["--new-passphrase-file", "passphrase.txt"]);
    assert!(place.run(["cat", &id, "-s", "phrase", "--passphrase-file", "passphrase.txt"]).good().stdout == content);
    copy("file", &["-R", "recipients.txt"]);
    assert!(place.run(["cat", &id, "-s", "file", "-i", "new.txt"]).good().stdout == content);
    let keyboxes = |to: &str| files(&place.path(to)).iter().filter(|(name, _)| name.contains(".key.")).count();
    assert_eq!(keyboxes("plain"), 0);
    copy("detached", &[&to_key[..], &["--detached-keys"]].concat());
    assert_eq!(keyboxes("detached"), 1);
}

#[test]
fn so_many_parts_of_a_copy_are_under_way_as_are_allowed() {
    let place = Place::new();
    let id = place.backup(noise(9 << 20), &["--part-size", "1MiB"]);
    let server = S3Server::with_bucket("bucket");
    let most = |uploads: &str| {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let arriving = Arc::clone(&arrivals);
        let proxy = Proxy::start(server.address(), move |request| {
            if request.method != "PUT" || request.target.ends_with(".json") {
                return Fate::Pass;
            }
            arriving.lock().unwrap().push(Instant::now());
            Fate::Delay(Duration::from_millis(500))
        });
        let to = format!("s3://bucket/{uploads}");
        let run = place.run(["copy", &id, "--to", &to, "--uploads", uploads]);
        server.variables(&proxy.endpoint).iter().fold(run, |run, (name, value)| run.env(name, value)).good();
        let arrivals = arrivals.lock().unwrap();
        assert!(arrivals.len() >= 9);
        // Each takes half a second: those that come within less are under way together.
        let together = |at: &Instant| {
            arrivals.iter().filter(|other| *other >= at && **other - *at < Duration::from_millis(450)).count()
        };
        arrivals.iter().map(together).max().unwrap()
    };
    assert_eq!(most("1"), 1);
    assert!((2..=4).contains(&most("4")));
}
