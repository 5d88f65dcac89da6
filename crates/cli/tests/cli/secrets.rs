//! No secret is printed or stored. The harness searches every run of every test; here runs that invite it.

use crate::harness::{PASSPHRASE, Place};

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let place = Place::new();
    let key = String::from_utf8(place.read("key.txt")).unwrap();
    let identity = key.lines().last().unwrap();
    place.run(["key", "generate", "--raw", "raw.key"]).good();
    let raw = String::from_utf8(place.read("raw.key")).unwrap();
    for secret in [identity, raw.trim(), PASSPHRASE] {
        let arguments = place.run(["backup", "--name", "x1", "-r", secret]).stdin("x").fails("usage.recipient", 2);
        assert!(!arguments.stderr.contains(secret));
        place.write("recipients", format!("{secret}\n"));
        place
            .run(["backup", "--name", "x1", "-R", "recipients"])
            .stdin("x")
            .fails("usage.recipient", 2)
            .says("recipients");
        place.run(["backup", "--name", "x1"]).env("BACKSTAY_RECIPIENT", secret).stdin("x").fails("usage.recipient", 2);
        place.run(["config", "show"]).env("BACKSTAY_PASSPHRASE", secret).good().says("BACKSTAY_PASSPHRASE");
    }
    // A key in place of its file's name.
    for secret in [identity, raw.trim()] {
        for arguments in [&["restore", "x", "-o", "f", "-i"][..], &["key", "show"], &["cat", "x", "--passphrase-file"]]
        {
            let done = place.run(arguments).arg(secret).fails("usage.recipient", 2);
            assert!(!done.stderr.contains(secret), "{}", done.stderr);
            done.says("in place of the name of a file");
        }
        place.run(["cat", "x"]).env("BACKSTAY_IDENTITY", secret).fails("usage.recipient", 2);
        place.run(["config", "show"]).env("BACKSTAY_IDENTITY", secret).good().says_out("identity = [\"…\"]");
    }
    for arguments in [
        &["list", "-s", "az://c/p?sig=hunter2"][..],
        &["list", "-s", "https://a.blob.core.windows.net/c?sv=1&sig=hunter2"],
        &["list", "-s", "s3://b", "--endpoint-url", "http://h/?sig=hunter2"],
        &["list", "-s", "s3://AK:hunter2@b"],
    ] {
        let run = place.run(arguments).env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
        let done = run.fails("usage.store-url", 2);
        assert!(!done.stderr.contains("hunter2"), "{}", done.stderr);
    }
    place.write("mixed.txt", format!("{identity}\nnot an identity {PASSPHRASE}\n"));
    place.run(["cat", "x", "-i", "mixed.txt"]).fails("usage.recipient", 2).says("mixed.txt");
    place.run(["cat", "x", "-i", "passphrase.txt"]).fails("usage.recipient", 2);
}

#[test]
fn verbose_runs_and_json_keep_them_too() {
    let place = Place::new();
    place.run(["key", "generate", "--raw", "raw.key"]).good();
    for keys in [["-r", &place.recipient], ["--passphrase-file", "passphrase.txt"], ["--raw-key", "raw.key"]] {
        for form in ["--json", "--log-format=text"] {
            let run = place.run(["-vvv", form, "backup", "--name", "pg-main"]).args(keys).stdin("content");
            run.good();
        }
    }
    for verb in ["cat", "show", "verify"] {
        let id = place.objects()[0][..50].to_owned();
        place.run(["-vvv", verb, &id, "-i", "key.txt", "-i", "raw.key", "--passphrase-file", "passphrase.txt"]).done();
    }
    place.run(["-vvv", "config", "show", "--origin"]).env("BACKSTAY_PASSPHRASE_FILE", "passphrase.txt").good();
    place.store_holds_no_secret();
}

#[test]
fn a_passphrase_command_is_named_without_its_arguments() {
    let place = Place::new();
    let command = format!("false '{PASSPHRASE}'");
    place
        .run(["backup", "--name", "x1", "--passphrase-command", &command])
        .stdin("x")
        .fails("key.passphrase", 12)
        .says("`false`");
}
