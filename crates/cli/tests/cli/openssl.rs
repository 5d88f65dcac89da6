//! The openssl format, against the real `openssl`.

use crate::harness::{PASSPHRASE, Place, dump, noise, shell};

const ID: &str = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000";

/// An archive as the shell pipeline makes it.
fn foreign(place: &Place, content: &[u8], enc: &str, pack: &str) {
    place.write("content", content);
    let line = format!(
        "mkdir -p store && {pack} < content | openssl enc -aes-256-cbc {enc} -pass file:passphrase.txt 2>/dev/null | split -b 100000 -d -a 1 - store/{ID}-"
    );
    shell(&place.path(""), &line);
}

fn cat<'a>(place: &'a Place, arguments: &[&str]) -> crate::harness::Run<'a> {
    place.run(["cat", ID, "--passphrase-file", "passphrase.txt"]).args(arguments)
}

#[test]
fn what_we_write_is_read_by_the_published_restore_command() {
    for (arguments, enc) in [
        (&[][..], "-md md5"),
        (&["--md", "sha256"], "-md sha256"),
        (&["--pbkdf2-iter", "1000"], "-md sha256 -pbkdf2 -iter 1000"),
        (&["--md", "sha1", "--pbkdf2-iter", "1000"], "-md sha1 -pbkdf2 -iter 1000"),
    ] {
        let place = Place::new();
        let content = dump(3 << 20);
        let run = place.run([
            "backup",
            "--name",
            "pg-main",
            "--format",
            "openssl",
            "--passphrase-file",
            "passphrase.txt",
            "--part-size",
            "300k",
        ]);
        let id = run.args(arguments).stdin(&content).good().out().split(' ').next().unwrap().to_owned();
        let line = format!(
            "cat $(ls -1v store/{id}-*) | openssl enc -aes-256-cbc -d {enc} -pass file:passphrase.txt 2>/dev/null | gunzip"
        );
        assert!(shell(&place.path(""), &line) == content, "{enc}");
        assert!(place.run(["cat", &id, "--passphrase-file", "passphrase.txt"]).good().stdout == content, "{enc}");
        place.store_holds_no_secret();
    }
}

#[test]
fn one_object_is_written_when_that_is_asked_for() {
    let place = Place::new();
    let run = place.run([
        "backup",
        "--name",
        "pg-main",
        "--format",
        "openssl",
        "--single",
        "--passphrase-file",
        "passphrase.txt",
    ]);
    let id = run.stdin("content").good().out().split(' ').next().unwrap().to_owned();
    assert!(place.objects().contains(&id), "{:?}", place.objects());
    let line =
        format!("openssl enc -aes-256-cbc -d -md md5 -pass file:passphrase.txt -in store/{id} 2>/dev/null | gunzip");
    assert_eq!(shell(&place.path(""), &line), b"content");
    place
        .run(["backup", "--name", "pg-main", "--single", "-r", &place.recipient])
        .stdin("x")
        .fails("usage.arguments", 2);
}

#[test]
fn what_the_shell_wrote_is_read_and_called_unproved() {
    for enc in ["-md md5", "-md sha256", "-md sha1", "-pbkdf2"] {
        let place = Place::new();
        let content = noise(350_000);
        foreign(&place, &content, enc, "gzip");
        let done = cat(&place, &[]).good();
        assert!(done.stdout == content, "{enc}");
        done.says("openssl.unauthenticated");
        assert_eq!(done.stderr.matches("openssl.unauthenticated").count(), 1, "{}", done.stderr);
    }
}

#[test]
fn the_derivation_can_be_named() {
    let place = Place::new();
    foreign(&place, b"content", "-md sha256 -pbkdf2 -iter 1234", "gzip");
    cat(&place, &[]).fails("openssl.key", 12);
    cat(&place, &["--pbkdf2-iter", "999"]).fails("openssl.key", 12);
    assert_eq!(cat(&place, &["--pbkdf2-iter", "1234"]).good().stdout, b"content");
    let place = Place::new();
    foreign(&place, b"content", "-md sha1", "gzip");
    cat(&place, &["--md", "md5"]).fails("openssl.key", 12);
    cat(&place, &["--md", "sha1"]).good();
    place.run(["cat", ID, "--md", "sha512"]).fails("usage.arguments", 2);
}

#[test]
fn a_payload_that_is_not_gzip_is_spelled_out() {
    let place = Place::new();
    foreign(&place, b"plain content", "-md md5", "cat");
    cat(&place, &[]).fails("openssl.key", 12);
    cat(&place, &["--payload", "raw"]).fails("usage.arguments", 2).says("--md");
    assert_eq!(cat(&place, &["--payload", "raw", "--md", "md5"]).good().stdout, b"plain content");
}

#[test]
fn a_wrong_password_gives_not_one_byte() {
    let place = Place::new();
    foreign(&place, &dump(200_000), "-md md5", "gzip");
    place.write("wrong.txt", "wrong\n");
    let done = place.run(["cat", ID, "--passphrase-file", "wrong.txt"]).fails("openssl.key", 12);
    assert!(done.stdout.is_empty());
    place.run(["cat", ID]).fails("key.not-found", 12);
}

#[test]
fn a_seal_can_be_demanded() {
    let place = Place::new();
    foreign(&place, b"content", "-md md5", "gzip");
    cat(&place, &["--require-seal"]).fails("manifest.seal", 20);
    let place = Place::new();
    let run = place.run(["backup", "--name", "pg-main", "--format", "openssl", "--passphrase-file", "passphrase.txt"]);
    let id = run.stdin("content").good().out().split(' ').next().unwrap().to_owned();
    let sealed = place.run(["cat", &id, "--passphrase-file", "passphrase.txt", "--require-seal"]).good();
    assert_eq!(sealed.stdout, b"content");
}

#[test]
fn the_format_can_be_held_to() {
    let place = Place::new();
    foreign(&place, b"content", "-md md5", "gzip");
    cat(&place, &["--format", "openssl"]).good();
    cat(&place, &["--format", "native"]).fails("part.magic", 20);
    let native = place.backup("content", &[]);
    place
        .run(["cat", &native, "-i", "key.txt", "--passphrase-file", "passphrase.txt", "--format", "openssl"])
        .done()
        .says("error[");
}

#[test]
fn what_does_not_go_with_the_format_is_refused_unless_it_comes_from_afar() {
    let place = Place::new();
    let backup = |arguments: &[&str]| {
        let run =
            place.run(["backup", "--name", "pg-main", "--format", "openssl", "--passphrase-file", "passphrase.txt"]);
        run.args(arguments).stdin("content")
    };
    for arguments in [
        &["--codec", "zstd"][..],
        &["--aead", "aes-256-gcm"],
        &["-r", &place.recipient],
        &["--pad", "part"],
        &["--detached-keys"],
        &["--sign-key", "x"],
    ] {
        backup(arguments).fails("usage.arguments", 2).says("--format openssl");
    }
    backup(&["--codec", "gzip"]).env("BACKSTAY_RECIPIENT", &place.recipient).good();
    place
        .run(["backup", "--name", "pg-main", "--format", "openssl"])
        .stdin("x")
        .fails("usage.recipient", 2)
        .says("--passphrase-file");
}

#[test]
fn weak_derivations_are_warned_of_once() {
    let place = Place::new();
    let backup = |arguments: &[&str]| {
        let run =
            place.run(["backup", "--name", "pg-main", "--format", "openssl", "--passphrase-file", "passphrase.txt"]);
        run.args(arguments).stdin("content").good().stderr
    };
    assert_eq!(backup(&[]).matches("can be guessed").count(), 1);
    assert_eq!(backup(&["--pbkdf2-iter", "100000"]).matches("can be guessed").count(), 0);
    assert!(!backup(&[]).contains(PASSPHRASE));
}

#[test]
fn a_manifest_that_was_emptied_or_cut_is_a_damaged_one_and_not_another_managers() {
    let place = Place::new();
    let backup = ["backup", "--name", "pg-main", "--format", "openssl", "--passphrase-file", "passphrase.txt"];
    let id = place.run(backup).stdin("content").good().out().split(' ').next().unwrap().to_owned();
    let key = ["--passphrase-file", "passphrase.txt"];
    for left in ["", "{\"back", "\0\0\0\0"] {
        place.write(&format!("store/{id}.json"), left);
        place.run(["verify", &id]).args(key).fails("manifest.invalid", 20);
        place.run(["verify", &id, "--depth", "quick"]).fails("manifest.invalid", 20);
        place.run(["cat", &id]).args(key).fails("manifest.invalid", 20).says("--no-manifest");
        let cat = place.run(["cat", &id, "--no-manifest"]).args(key).good();
        assert_eq!(cat.out(), "content");
        // A monitor does not take it for a good one.
        let check = place.run(["check", "--max-age", "1h"]).done();
        assert_eq!(check.status.code(), Some(22), "{}", check.stderr);
        check.says("its manifest is damaged");
    }
    place.write(&format!("store/{id}.json"), "{\"generation\":7}");
    assert_eq!(place.run(["cat", &id]).args(key).good().out(), "content");
}

/// Encrypts `content` with what `openssl` takes of a file.
fn foreign_with(place: &Place, file: &str) {
    let line = format!(
        "rm -rf store && mkdir store && gzip < content | openssl enc -aes-256-cbc -md md5 -pass file:{file} 2>/dev/null | split -b 100000 -d -a 1 - store/{ID}-"
    );
    shell(&place.path(""), &line);
}

#[test]
fn a_password_is_what_openssl_takes_of_a_line() {
    let place = Place::new();
    let content = noise(300_000);
    place.write("content", &content);
    place.write("long", format!("{}\n", "k".repeat(1468)));
    place.write("zero", b"one\0two\n");
    place.write("latin", b"gr\xf6\xdfe\n");
    let backup = |format: &str, file: &str| {
        let run = place.run(["backup", "--name", "pg-main", "--format", format, "--passphrase-file", file]);
        run.stdin(&content)
    };
    // Nobody could restore these by the published command.
    backup("openssl", "long").fails("key.passphrase", 12).says("1023");
    backup("openssl", "zero").fails("key.passphrase", 12).says("zero byte");
    assert_eq!(place.objects(), [""; 0]);
    backup("native", "long").good();
    backup("native", "latin").fails("key.passphrase", 12).says("UTF-8");
    for file in ["long", "zero", "latin"] {
        foreign_with(&place, file);
        let with = |arguments: &[&str]| place.run(arguments).args(["--passphrase-file", file]);
        assert!(with(&["cat", ID]).good().stdout == content, "{file}");
        with(&["reassemble", ID]).good();
        with(&["verify", ID, "--require-seal", "--record"]).good().says_out("recorded as");
        with(&["show", ID]).good().says_out("sealed with the archive's key");
        place.write("other", "k".repeat(1022));
        place.run(["cat", ID, "--passphrase-file", "other"]).fails("openssl.key", 12);
    }
    // And the other way round: bytes that are not UTF-8 are a password as any other.
    let id = backup("openssl", "latin").good().out().split(' ').next().unwrap().to_owned();
    let line = format!(
        "cat $(ls -1v store/{id}-*) | openssl enc -aes-256-cbc -d -md md5 -pass file:latin 2>/dev/null | gunzip"
    );
    assert!(shell(&place.path(""), &line) == content);
}

#[test]
fn the_first_part_is_missed_by_each_verb() {
    let place = Place::new();
    foreign(&place, &noise(300_000), "-md md5", "gzip");
    std::fs::remove_file(place.store().join(format!("{ID}-0"))).unwrap();
    for verb in
        [&["cat", ID][..], &["verify", ID, "--depth", "deep"], &["verify", ID], &["salvage", ID], &["reassemble", ID]]
    {
        let done = place.run(verb).args(["--passphrase-file", "passphrase.txt"]).fails("part.missing", 21);
        assert!(!done.stderr.contains("uncommitted") && !done.stderr.contains("openssl.magic"), "{}", done.stderr);
    }
    let verified = place.run(["verify", ID, "--depth", "deep", "--json", "--passphrase-file", "passphrase.txt"]).done();
    let findings = verified.json("verify")["findings"].as_array().unwrap().clone();
    assert_eq!((findings.len(), &findings[0]["object"]), (1, &format!("{ID}-0").into()), "{findings:?}");
}
