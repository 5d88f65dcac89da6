//! `restore` and `cat`: where content goes, and what a reader demands first.

use std::process::Stdio;

use crate::harness::{Place, dump, noise, shell};

#[test]
fn a_file_appears_whole_and_says_so_on_standard_error() {
    let place = Place::new();
    let content = dump(1 << 20);
    let id = place.backup(&content, &[]);
    let done = place.run(["restore", &id, "-i", "key.txt", "-o", "out.sql"]).good();
    assert!(done.stdout.is_empty());
    done.says("is restored");
    assert_eq!(place.read("out.sql"), content);
    assert!(place.partials().is_empty());
}

#[test]
fn a_target_must_be_named() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.run(["restore", &id, "-i", "key.txt"]).fails("usage.arguments", 2).says("backstay cat");
    place.run(["restore", &id, "-o", "x", "--", "cat"]).fails("usage.arguments", 2);
}

#[test]
fn a_command_gets_the_content_and_its_failure_is_ours() {
    let place = Place::new();
    let content = dump(300_000);
    let id = place.backup(&content, &[]);
    place.run(["restore", &id, "-i", "key.txt", "--", "sh", "-c", "cat > into.sql"]).good();
    assert_eq!(place.read("into.sql"), content);
    place
        .run(["restore", &id, "-i", "key.txt", "--", "sh", "-c", "cat > /dev/null; exit 3"])
        .fails("target.failed", 1)
        .says("exit status 3");
    place.run(["restore", &id, "-i", "key.txt", "--", "/nowhere/at/all"]).fails("target.failed", 1);
}

#[test]
fn a_file_that_cannot_be_written_is_a_target_that_failed() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let into = |path: &str| place.run(["restore", &id, "-i", "key.txt", "-o", path]);
    into("nowhere/content").fails("target.failed", 1).says("writing to nowhere/content failed");
    // The name is a directory's: that shows when the content is whole already.
    std::fs::create_dir_all(place.path("taken/inside")).unwrap();
    into("taken").fails("target.failed", 1).says("writing to taken failed");
    assert!(place.partials().is_empty());
    let mut full = place.run(["cat", &id, "-i", "key.txt"]).command();
    let output = full.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("error[target.failed]: writing to standard output failed"), "{told}");
}

#[test]
fn ranges_leave_out_their_end() {
    let place = Place::new();
    let content = noise(5 << 20);
    let id = place.backup(&content, &["--part-size", "1MiB"]);
    for (range, expected) in [
        ("0..10", 0..10),
        ("1MiB..1025KiB", 1 << 20..(1 << 20) + 1024),
        ("5242870..", 5_242_870..5 << 20),
        ("..3", 0..3),
    ] {
        let done = place.run(["cat", &id, "-i", "key.txt", "--range", range]).good();
        assert!(done.stdout == content[expected], "{range}");
    }
    place.run(["cat", &id, "-i", "key.txt", "--range", "9..5"]).fails("usage.arguments", 2);
    place.run(["cat", &id, "-i", "key.txt", "--range", "0..5", "--raw"]).fails("usage.arguments", 2);
}

#[test]
fn raw_is_what_stock_tools_read() {
    let place = Place::new();
    let content = dump(5 << 20);
    for (codec, tool) in [("zstd", "zstd -dc"), ("gzip", "gunzip -c")] {
        let id = place.backup(&content, &["--codec", codec]);
        let raw = place.run(["cat", &id, "-i", "key.txt", "--raw"]).good().stdout;
        place.write("raw", raw);
        assert!(shell(&place.path(""), &format!("{tool} < raw")) == content, "{codec}");
    }
}

#[test]
fn atomic_releases_nothing_of_a_damaged_archive() {
    let place = Place::new();
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    let spool = place.path("spool");
    std::fs::create_dir(&spool).unwrap();
    assert_eq!(
        place.run(["cat", &id, "-i", "key.txt", "--atomic", "--spool-dir", "spool"]).good().stdout,
        noise(3 << 20)
    );
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "the spool is left behind");
    place.run(["cat", &id, "-i", "key.txt", "--atomic", "--spool-dir", "/nowhere/at/all"]).fails("io.failed", 1);
    let last = place.store().join(format!("{id}-3"));
    let mut bytes = std::fs::read(&last).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(&last, bytes).unwrap();
    let streamed = place.run(["cat", &id, "-i", "key.txt"]).done();
    assert_eq!(streamed.status.code(), Some(20));
    assert!(!streamed.stdout.is_empty());
    let atomic = place.run(["cat", &id, "-i", "key.txt", "--atomic"]).done();
    assert_eq!((atomic.status.code(), atomic.stdout.len()), (Some(20), 0));
    let file = place.run(["restore", &id, "-i", "key.txt", "-o", "out"]).done();
    assert_eq!(file.status.code(), Some(20));
    assert!(!place.path("out").exists());
}

#[test]
fn a_lost_manifest_is_done_without_only_when_that_is_said() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    place.run(["cat", &id, "-i", "key.txt"]).fails("archive.uncommitted", 21);
    assert_eq!(place.run(["cat", &id, "-i", "key.txt", "--no-manifest"]).good().stdout, b"content");
}

#[test]
fn a_receipt_holds_the_archive_to_itself() {
    let place = Place::new();
    let receipt =
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin("one").good().out().trim().to_owned();
    let other =
        place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).stdin("two").good().out().trim().to_owned();
    let words: Vec<_> = receipt.split(' ').collect();
    let cat = |given: &str| place.run(["cat", words[0], "-i", "key.txt", "--receipt", given]);
    assert_eq!(cat(words[1]).good().stdout, b"one");
    assert_eq!(cat(&receipt).good().stdout, b"one");
    cat(&other).fails("manifest.root", 20);
    cat(other.split(' ').nth(1).unwrap()).fails("manifest.root", 20);
    cat("abc").fails("usage.arguments", 2);
}

#[test]
fn output_above_the_limit_is_refused() {
    let place = Place::new();
    let id = place.backup(b"0".repeat(5 << 20), &[]);
    place.run(["cat", &id, "-i", "key.txt", "--max-output", "1MiB"]).fails("stream.limit", 23);
    place.run(["cat", &id, "-i", "key.txt", "--max-output", "5MiB"]).good();
}

#[test]
fn a_reader_that_goes_away_ends_us_quietly() {
    let place = Place::new();
    let id = place.backup(noise(8 << 20), &[]);
    let mut child = place
        .run(["cat", &id, "-i", "key.txt", "--progress", "never"])
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success() && output.status.code().is_some(), "{}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    // Nobody reads from the beginning, so that it cannot be done before the reader goes away.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let list = place.run(["explain"]).command().stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = list.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
}

#[test]
fn the_wrong_key_and_no_key_are_told_apart() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.run(["key", "generate", "other.txt"]).good();
    place.run(["cat", &id]).fails("key.not-found", 12);
    place.run(["cat", &id, "-i", "other.txt"]).fails("key.not-found", 12);
    place.run(["cat", &id, "-i", "other.txt", "-i", "key.txt"]).good();
    place.run(["cat", &id, "-i", "absent.txt"]).fails("usage.recipient", 2);
}

#[test]
fn an_archive_that_is_not_there_is_told_as_such() {
    let place = Place::new();
    place.backup("content", &[]);
    let absent = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123";
    place.run(["cat", absent, "-i", "key.txt"]).fails("archive.not-found", 10);
    place.run(["cat", "nonsense~x", "-i", "key.txt"]).done().says("nonsense~x");
}

#[test]
fn a_key_that_is_read_is_not_written_over() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let key = std::fs::read(place.path("key.txt")).unwrap();
    std::os::unix::fs::symlink("key.txt", place.path("link")).unwrap();
    std::fs::hard_link(place.path("key.txt"), place.path("other")).unwrap();
    for (identity, output) in
        [("key.txt", "key.txt"), ("key.txt", "./key.txt"), ("link", "key.txt"), ("key.txt", "other")]
    {
        for verb in ["restore", "salvage"] {
            place.run([verb, &id, "-i", identity, "-o", output]).fails("usage.arguments", 2).says("it would be lost");
        }
        assert_eq!(std::fs::read(place.path(output)).unwrap(), key);
    }
    // Wherever it is said.
    let run = place.run(["restore", &id, "-o", "key.txt"]).env("BACKSTAY_IDENTITY", "key.txt");
    run.fails("usage.arguments", 2).says("it would be lost");
    // A link is replaced itself, and the key that it leads to stays.
    place.run(["restore", &id, "-i", "key.txt", "-o", "link"]).good();
    assert_eq!(std::fs::read(place.path("key.txt")).unwrap(), key);
    place.write("word", "correct-horse\n");
    let backup = ["backup", "--name", "web", "--passphrase-file", "word", "-r", &place.recipient];
    place.run(backup).stdin("content").good();
    let run = place.run(["restore", "latest", "--passphrase-file", "word", "-o", "word"]);
    run.fails("usage.arguments", 2).says("word is a key that this run reads");
}
