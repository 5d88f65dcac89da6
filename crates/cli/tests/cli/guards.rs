//! What one bad archive, a hostile name or a hold must not bring about.

use std::process::Stdio;

use backstay_testkit::S3Server;
use serde_json::json;

use crate::copy::files;
use crate::harness::{Place, noise, shell, until};

/// Three archives of two parts each, the oldest first, and a replica of them.
fn three(place: &Place) -> (Vec<String>, String) {
    let ids = (0..3).map(|_| place.backup(noise(900_000), &["--part-size", "512KiB"])).collect();
    let replica = place.path("replica").to_str().unwrap().to_owned();
    place.run(["copy", "--all", "--to", &replica]).good();
    (ids, replica)
}

#[test]
fn one_damaged_archive_does_not_keep_the_others_from_being_copied_or_repaired() {
    let place = Place::new();
    let (ids, replica) = three(&place);
    let good = files(&place.store());
    let to = place.path("to");
    let copy = |arguments: &[&str]| place.run(["copy", "--all", "--to", to.to_str().unwrap()]).args(arguments);
    // The oldest is the first that is copied.
    let part = place.store().join(format!("{}-1", ids[0]));
    std::fs::write(&part, "rubbish").unwrap();
    std::fs::remove_file(place.store().join(format!("{}-0", ids[1]))).unwrap();
    let partly = copy(&[]).done();
    assert_eq!(partly.status.code(), Some(20), "{}", partly.stderr);
    partly.says_out(&format!("{}: NOT COPIED: ", ids[0])).says_out(&format!("{}: NOT COPIED: ", ids[1]));
    partly.says("error[part.size]: 2 of 3 archives are not copied").says(&format!("{} is not copied: ", ids[1]));
    assert!(to.join(format!("{}.json", ids[2])).exists() && !to.join(format!("{}.json", ids[0])).exists());
    let told = copy(&["--json"]).done().json("copied");
    assert_eq!((&told["failed"][0]["id"], &told["failed"][0]["code"]), (&json!(ids[0]), &json!("part.size")));
    assert_eq!((&told["archives"][0]["id"], &told["gone"]), (&json!(ids[2]), &json!([])));
    // One alone is what the run ends with.
    place.run(["copy", &ids[0], "--to"]).arg(&to).fails("part.size", 20);

    // The replica of the oldest is no good; the other one comes back all the same.
    std::fs::write(place.path("replica").join(format!("{}-1", ids[0])), "rubbish, too").unwrap();
    let mended = place.run(["copy", "--all", "--repair", &replica]).done();
    assert_eq!(mended.status.code(), Some(20), "{}", mended.stderr);
    mended.says_out(&format!("{}: NOT REPAIRED: ", ids[0])).says("1 of 3 archives are not repaired");
    mended.says(&format!("in {replica}")).says_out(&format!("{}-0 was missing", ids[1]));
    let bad: Vec<_> =
        files(&place.store()).into_iter().filter(|file| !good.contains(file)).map(|file| file.0).collect();
    assert_eq!(bad, [format!("{}-1", ids[0])]);
}

#[test]
fn an_archive_that_is_deleted_while_others_are_copied_is_no_failure() {
    let place = Place::new();
    let first = place.backup(noise(3 << 20), &["--part-size", "512KiB"]);
    let (second, third) = (place.backup("second", &[]), place.backup("third", &[]));
    let server = S3Server::with_bucket("bucket");
    let mut run = place.run(["copy", "--all", "--limit-upload", "1MiB", "--to", "s3://bucket/pg"]);
    for (name, value) in server.variables(&server.endpoint) {
        run = run.env(&name, value);
    }
    let child = run.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // What there is was listed when the first one is on its way.
    until("the copy", || server.object_path("bucket", "pg").join(format!("{first}-0")).exists());
    for (name, _) in files(&place.store()).iter().filter(|(name, _)| name.starts_with(&second)) {
        std::fs::remove_file(place.store().join(name)).unwrap();
    }
    let done = run.end(child.wait_with_output().unwrap());
    assert!(done.status.success(), "{}", done.stderr);
    done.says(&format!("{second} is not copied: it was deleted meanwhile")).says_out(&first).says_out(&third);
}

#[test]
fn a_store_that_is_down_ends_the_run_at_the_first_archive() {
    let place = Place::new();
    three(&place);
    let run = place.run(["copy", "--all", "--to", "s3://bucket/pg", "--retry-for", "1s"]);
    let run = run.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_REGION", "x");
    let done = run.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x").fails("store.failed", 40);
    assert!(!done.stderr.contains("not copied"), "{}", done.stderr);
}

const OLD: &str = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000";

/// The command lines with which an archive was once destroyed.
#[test]
fn a_repair_from_a_conversion_touches_nothing() {
    let place = Place::new();
    place.write("content", noise(350_000));
    let line = format!(
        "mkdir o5 && gzip -c content | openssl enc -aes256 -md md5 -pass file:passphrase.txt 2>/dev/null | split -b 100000 -d -a1 - o5/{OLD}-"
    );
    shell(&place.path(""), &line);
    let new = place.path("n5").to_str().unwrap().to_owned();
    let convert = ["copy", "--all", "-s", "./o5", "--to", &new, "--to-format", "native"];
    place.run(convert).args(["--passphrase-file", "passphrase.txt", "-r", &place.recipient]).good();
    let before = files(&place.path("o5"));
    let refused = place.run(["copy", OLD, "-s", "./o5", "--repair", &new]).fails("replica.differs", 20);
    refused.says(&format!("{OLD}-1, which the manifest"));
    assert_eq!(files(&place.path("o5")), before);
    place.run(["copy", "--all", "-s", "./o5", "--repair", &new]).fails("replica.differs", 20);
    assert_eq!(files(&place.path("o5")), before);
    let read = place.run(["cat", OLD, "-s", "./o5", "--passphrase-file", "passphrase.txt"]).good();
    assert_eq!(read.stdout, noise(350_000));
}

#[test]
fn a_damaged_keybox_is_not_called_good_and_keys_of_what_is_held_stay() {
    let place = Place::new();
    let id = place.backup("content", &["--detached-keys"]);
    let replica = place.path("replica").to_str().unwrap().to_owned();
    place.run(["copy", &id, "--to", &replica]).good();
    std::fs::write(place.store().join(format!("{id}.key.0")), "").unwrap();
    for added in [true, false] {
        let done = place.run(["copy", &id, "--repair", &replica]).good();
        assert!(!done.out().contains("all good"), "{}", done.out());
        done.says_out("1 keybox NOT AS IN THE REPLICA").says_out(&format!("{id}.key.0 is another one"));
        assert_eq!(done.out().contains(&format!("{id}.key.1 is the replica's")), added, "{}", done.out());
    }
    assert_eq!(place.cat(&id), b"content");

    place.run(["hold", &id, "--reason", "court"]).good();
    for arguments in [&[][..], &["--yes"]] {
        place.run(["key", "destroy", &id]).args(arguments).fails("retention.held", 2).says("it is held");
    }
    assert_eq!(place.cat(&id), b"content");
    place.run(["release", &id]).good();
    place.run(["key", "destroy", &id, "--yes"]).good();
    place.run(["cat", &id, "-i", "key.txt"]).fails("key.not-found", 12);
}

#[test]
fn nothing_that_others_wrote_moves_colours_or_forges_a_line() {
    let place = Place::new();
    let hostile = "x\x1b[31m\nde2fe9e4-6535-423d-8709-dca87df7985c-1740130000 forged\r\u{202e}\u{9b}m";
    let run = place.run(["backup", "--name", hostile, "--tag", hostile, "-r", &place.recipient]).stdin("content");
    let id = run.good().out().split(' ').next().unwrap().to_owned();
    place.run(["hold", &id, "--reason", hostile]).good();
    place.run(["note", &id, hostile]).good();
    place.run(["tag", &id, hostile]).good();
    for verb in [&["list"][..], &["show", &id], &["prune", "--keep-last", "1"], &["check", "--max-age", "1d"]] {
        let done = place.run(verb).good();
        for text in [done.out(), &done.stderr] {
            let hidden = |character: char| character.is_control() && character != '\n' || character == '\u{202e}';
            assert!(!text.contains(hidden), "{verb:?}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("de2fe9e4")), "{verb:?}: {text}");
        }
        done.says_out("x\\u{1b}[31m\\nde2fe9e4-6535-423d-8709-dca87df7985c-1740130000 forged\\r\\u{202e}\\u{9b}m");
    }
    assert_eq!(place.run(["list"]).good().out().lines().count(), 2);
    // An error that names it, and a note of a source that is narrowed to.
    place.run(["list", "--name", hostile, "--guid", hostile]).done();
    let absent = place.run(["cat", "x\x1b[31m\ny", "-i", "key.txt"]).done();
    assert!(!absent.stderr.contains('\x1b') && !absent.stderr.lines().any(|line| line.starts_with('y')));
    // Programs get what was said, to the letter.
    let row = place.run(["--json", "list"]).good().json("list")["archives"][0].clone();
    assert_eq!((&row["name"], &row["tags"][0]), (&json!(hostile), &json!(hostile)));
}

#[test]
fn a_variable_that_is_not_read_is_named_as_the_option_is_spelled() {
    let place = Place::new();
    place.backup("content", &[]);
    place.run(["list"]).env("BACKSTAY_INTO_USED", "1").good().says("say --into-used on the command line");
}

#[test]
fn another_programs_name_of_a_bucket_is_no_directory() {
    let place = Place::new();
    for url in ["s3:mybucket", "gs:b", "azure:c", "S3:b", "b2:x", "memory:"] {
        let run = place.run(["backup", "--name", "x1", "-r", &place.recipient, "-s", url]).stdin("content");
        run.fails("usage.store-url", 2).says("./");
        assert!(!place.path(url).exists());
        let run = place.run(["backup", "--name", "x1", "-r", &place.recipient, "-s"]).stdin("content");
        run.arg(format!("./{url}")).good();
        assert!(place.path(url).exists());
    }
}

#[test]
fn checks_that_contradict_each_other_are_refused() {
    let place = Place::new();
    let run = || place.run(["backup", "--name", "x1", "-r", &place.recipient]);
    run().args(["--allow-empty", "--min-size", "1"]).stdin("x").fails("usage.arguments", 2);
    let run = run().env("BACKSTAY_ALLOW_EMPTY", "true").env("BACKSTAY_MIN_SIZE", "1").stdin("");
    run.fails("usage.arguments", 2).says("--min-size");
    assert_eq!(place.objects(), [""; 0]);
}
