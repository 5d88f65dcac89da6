//! `salvage`: what is left of a damaged archive, and where its holes are.

use crate::harness::{Place, noise};

const FRAME: usize = 2 << 20;

/// An archive of three frames, of which the second is damaged.
fn damaged(place: &Place) -> String {
    let id = place.backup(noise(3 * FRAME), &["--part-size", "1MiB"]);
    let path = place.store().join(format!("{id}-3"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(path, bytes).unwrap();
    id
}

#[test]
fn everything_but_the_hole_comes_out_and_the_hole_is_told() {
    let place = Place::new();
    let id = damaged(&place);
    place.run(["restore", &id, "-i", "key.txt", "-o", "out"]).fails("segment.auth", 20);
    let done = place.run(["salvage", &id, "-i", "key.txt", "-o", "out"]).fails("segment.auth", 20);
    let mut expected = noise(3 * FRAME);
    expected[FRAME..2 * FRAME].fill(0);
    assert!(place.read("out") == expected);
    assert!(done.out().contains(&format!("hole: bytes {FRAME} to {}", 2 * FRAME)), "{}", done.out());
    assert!(done.out().contains(&format!("critical[segment.auth] {id}-3: ")), "{}", done.out());
    assert!(done.out().contains("4.0 MiB of 6.0 MiB of content in out, authentic, 1 hole"), "{}", done.out());
}

#[test]
fn the_report_can_be_read_by_programs_and_needs_no_file() {
    let place = Place::new();
    let id = damaged(&place);
    let done = place.run(["--json", "salvage", &id, "-i", "key.txt"]).done();
    assert_eq!((done.status.code(), done.event("error")["code"].as_str()), (Some(20), Some("segment.auth")));
    let report = done.json("salvage");
    assert_eq!(report["holes"], serde_json::json!([{"start": FRAME, "end": 2 * FRAME, "unproven": 0}]));
    assert_eq!((&report["content"], &report["length"]), (&(2 * FRAME).into(), &(3 * FRAME).into()));
    assert_eq!((&report["authentic"], &report["output"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(report["findings"][0]["object"], format!("{id}-3"));
}

#[test]
fn a_whole_archive_comes_out_and_the_status_is_still_not_0() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let done = place.run(["salvage", &id, "-i", "key.txt", "-o", "out"]).done();
    assert_eq!((done.status.code(), place.read("out")), (Some(3), b"content".to_vec()));
    done.says("backstay restore");
    place.run(["salvage", &id, "-o", "other"]).fails("key.not-found", 12);
    assert!(!place.path("other").exists() && place.partials().is_empty());
}

#[test]
fn an_archive_without_its_manifest_is_found_and_an_openssl_one_is_read_without_it() {
    let place = Place::new();
    let id = place.backup(noise(3 * FRAME), &["--part-size", "1MiB"]);
    std::fs::remove_file(place.store().join(format!("{id}.json"))).unwrap();
    std::fs::remove_file(place.store().join(format!("{id}-0"))).unwrap();
    place.run(["salvage", &id, "-i", "key.txt", "-o", "out"]).fails("archive.uncommitted", 21);
    assert!(place.read("out")[FRAME..] == noise(3 * FRAME)[FRAME..]);

    let run = place.run(["backup", "--name", "old", "--format", "openssl", "--passphrase-file", "passphrase.txt"]);
    let old =
        run.args(["--part-size", "1MiB"]).stdin(noise(3 * FRAME)).good().out().split(' ').next().unwrap().to_owned();
    let path = place.store().join(format!("{old}-1"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let salvage = ["--json", "salvage", &old, "--passphrase-file", "passphrase.txt"];
    let sealed = place.run(salvage).done();
    assert_eq!((sealed.status.code(), &sealed.json("salvage")["authentic"]), (Some(20), &true.into()));
    sealed.says("--no-manifest");
    let by_parts = place.run(salvage).arg("--no-manifest").done();
    let report = by_parts.json("salvage");
    assert_eq!((by_parts.status.code(), &report["authentic"]), (Some(20), &false.into()));
    assert!(report["content"].as_u64() > sealed.json("salvage")["content"].as_u64(), "{report}");
}
