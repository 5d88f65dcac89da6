//! `verify`: three depths, every problem, and the exit status of the worst.

use crate::harness::{Place, noise, shell};

fn flip(place: &Place, object: &str, at: usize) {
    let path = place.store().join(object);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn depth(place: &Place, arguments: &[&str]) -> String {
    let report = place.run(["--json", "verify", "latest"]).args(arguments).good().json("verify");
    assert_eq!(report["good"], true, "{report}");
    report["depth"].as_str().unwrap().to_owned()
}

#[test]
fn the_depth_follows_from_the_key_unless_it_is_given() {
    let place = Place::new();
    place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    assert_eq!(depth(&place, &[]), "full");
    assert_eq!(depth(&place, &["-i", "key.txt"]), "deep");
    for given in ["quick", "full", "deep"] {
        assert_eq!(depth(&place, &["-i", "key.txt", "--depth", given]), given);
    }
    place.run(["verify", "latest", "--depth", "deepest"]).fails("usage.arguments", 2);
}

#[test]
fn an_open_archive_is_verified_to_the_bottom_but_proves_nothing() {
    let place = Place::new();
    place.run(["backup", "--name", "pg-main", "--no-encryption"]).stdin("content").good();
    let report = place.run(["--json", "verify", "latest", "--allow-open"]).good().json("verify");
    assert_eq!(
        (&report["depth"], &report["authentic"], &report["good"]),
        (&"deep".into(), &false.into(), &true.into())
    );
}

#[test]
fn a_good_archive_is_called_good() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let done = place.run(["verify", &id, "-i", "key.txt"]).good();
    assert!(
        done.out().contains(&format!("{id} is good (deep)")) && done.out().contains("\nauthentic\n"),
        "{}",
        done.out()
    );
    let full = place.run(["verify", &id]).good();
    assert!(full.out().contains("authenticity was not checked"), "{}", full.out());
}

#[test]
fn every_problem_is_listed_and_the_worst_decides() {
    let place = Place::new();
    let id = place.backup(noise(5 << 20), &["--part-size", "1MiB"]);
    flip(&place, &format!("{id}-1"), 5000);
    flip(&place, &format!("{id}-3"), 700_000);
    std::fs::remove_file(place.store().join(format!("{id}-4"))).unwrap();
    let done = place.run(["--json", "verify", &id]).done();
    let report = done.json("verify");
    let findings: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["code"].as_str().unwrap(), finding["object"].as_str().unwrap_or("")))
        .collect();
    assert!(findings.contains(&("part.missing", &format!("{id}-4"))), "{findings:?}");
    for n in [1, 3] {
        assert!(findings.contains(&("part.digest", &format!("{id}-{n}"))), "{findings:?}");
    }
    assert_eq!(report["good"], false);
    assert!(matches!(done.status.code(), Some(20 | 21)));
    assert_eq!(done.event("error")["exit"], done.status.code().unwrap());

    let text = place.run(["verify", &id]).done();
    assert!(text.out().contains("critical[part.digest]") && text.out().contains("NOT GOOD"), "{}", text.out());
    text.says("has 3 problems");
    let quick = place.run(["verify", &id, "--depth", "quick"]).fails("part.missing", 21);
    assert!(!quick.out().contains("part.digest"));
}

#[test]
fn a_deep_look_needs_the_right_key() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.run(["key", "generate", "other.txt"]).good();
    place.run(["verify", &id, "-i", "other.txt"]).done().says("key.not-found");
    assert_eq!(place.run(["verify", &id, "-i", "other.txt"]).done().status.code(), Some(12));
    assert_eq!(place.run(["verify", &id, "--depth", "deep"]).done().status.code(), Some(12));
}

#[test]
fn sums_are_what_sha256sum_reads() {
    let place = Place::new();
    let id = place.backup(noise(3 << 20), &["--part-size", "1MiB"]);
    let sums = place.run(["verify", &id, "--sums"]).good();
    place.write("sums", sums.out());
    shell(&place.store(), "sha256sum -c ../sums");
    assert_eq!(sums.out().lines().count(), 4);
    let json = place.run(["--json", "verify", &id, "--sums"]).good().json("sums");
    assert_eq!(json["sums"][0]["name"], format!("{id}-0"));
    place.run(["verify", &id, "--sums", "--depth", "full"]).fails("usage.arguments", 2);
}

#[test]
fn receipts_and_signers_are_demanded_here_too() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.run(["key", "generate", "--signing", "sign.pem"]).good();
    let signer = place.run(["key", "show", "sign.pem"]).good().out().trim().to_owned();
    assert_eq!(place.run(["verify", &id, "-i", "key.txt", "--signer", &signer]).done().status.code(), Some(12));
    assert_eq!(place.run(["verify", &id, "--receipt", &"ab".repeat(32)]).done().status.code(), Some(20));
}

#[test]
fn a_result_is_kept_in_the_store_when_it_can_be_sealed() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    place.run(["verify", &id, "--record"]).fails("usage.arguments", 2).says("--sign-key");
    let done = place.run(["--json", "verify", &id, "-i", "key.txt", "--record"]).good().json("verify");
    let name = done["recorded"].as_str().unwrap().to_owned();
    assert!(name.starts_with(&format!("{id}.verified.")) && place.objects().contains(&name), "{name}");
    let report = String::from_utf8(place.read(&format!("store/{name}"))).unwrap();
    assert!(report.contains("\"level\":\"deep\",\"result\":\"good\"") && report.contains("\"mac\""), "{report}");
    place.run(["key", "generate", "--signing", "sign.pem"]).good();
    place.run(["verify", &id, "--record", "--sign-key", "sign.pem"]).good().says_out("recorded as ");
    // What is found is said, and kept, when it is bad too.
    flip(&place, &format!("{id}-0"), 5000.min(place.read(&format!("store/{id}-0")).len() - 1));
    place.run(["verify", &id, "-i", "key.txt", "--record"]).fails("segment.auth", 20).says_out("recorded as ");
}
