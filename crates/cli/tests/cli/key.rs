//! `key`: made, shown, added to archives, exported and destroyed.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Place, shell};

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let place = Place::new();
    for (name, arguments) in [("a.txt", &[][..]), ("b.key", &["--raw"]), ("c.pem", &["--signing"])] {
        let made = place.run(["key", "generate", name]).args(arguments).good();
        assert_eq!(std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777, 0o600);
        let before = place.read(name);
        place.run(["key", "generate", name]).args(arguments).fails("io.failed", 1).says("exists already");
        assert_eq!(place.read(name), before);
        assert_eq!(place.run(["key", "show", name]).good().out(), made.out());
    }
    place.run(["key", "generate", "/nowhere/at/all"]).fails("io.failed", 1);
    place.run(["key", "generate", "d", "--raw", "--signing"]).fails("usage.arguments", 2);
}

#[test]
fn an_identity_is_age_s_own() {
    let place = Place::new();
    let public = shell(&place.path(""), "age-keygen -y key.txt");
    assert_eq!(String::from_utf8(public).unwrap().trim(), place.recipient);
    shell(&place.path(""), "age-keygen -o theirs.txt 2>/dev/null");
    let theirs = place.run(["key", "show", "theirs.txt"]).good();
    assert!(theirs.out().starts_with("age1"));
    let id = place.backup("content", &["-r", theirs.out().trim()]);
    assert_eq!(place.run(["cat", &id, "-i", "theirs.txt"]).good().stdout, b"content");
    // What stock age sees in the header is the archive's secret.
    let line = format!("head -n1 store/{id}-0 | cut -c11- | jq -r '.keys[0]' | base64 -d | age -d -i key.txt | wc -c");
    assert_eq!(String::from_utf8(shell(&place.path(""), &line)).unwrap().trim(), "32");
}

#[test]
fn a_signing_key_is_openssl_s_own() {
    let place = Place::new();
    shell(&place.path(""), "openssl genpkey -algorithm ed25519 -out theirs.pem");
    let shown = place.run(["key", "show", "theirs.pem"]).good();
    let public = shell(&place.path(""), "openssl pkey -in theirs.pem -pubout -outform DER | tail -c 32 | base64");
    assert_eq!(shown.out(), String::from_utf8(public).unwrap());
    place.run(["key", "generate", "--signing", "ours.pem"]).good();
    shell(&place.path(""), "openssl pkey -in ours.pem -noout");
}

#[test]
fn what_is_made_is_told_as_json_without_the_secret() {
    let place = Place::new();
    let made = place.run(["--json", "key", "generate", "--raw", "raw.key"]).good();
    assert_eq!((&made.json("key")["kind"], made.json("key")["public"][0].as_str().unwrap().len()), (&"raw".into(), 16));
    let identity = place.run(["--json", "key", "show", "key.txt"]).good().json("key");
    assert_eq!((&identity["kind"], &identity["public"][0]), (&"identity".into(), &place.recipient.as_str().into()));
}

#[test]
fn rewrap_lets_one_more_key_in() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let other = place.run(["key", "generate", "other.txt"]).good();
    place.run(["cat", &id, "-i", "other.txt"]).fails("key.not-found", 12);
    let rewrap = |arguments: &[&str]| place.run(["key", "rewrap", &id]).args(arguments);
    rewrap(&["-i", "other.txt", "-r", other.out().trim()]).fails("key.not-found", 12);
    rewrap(&["-i", "key.txt"]).fails("usage.recipient", 2);
    let made = rewrap(&["-i", "key.txt", "-r", other.out().trim()]).good();
    assert_eq!(made.out(), format!("{id}.key.0\n"));
    for key in ["other.txt", "key.txt"] {
        assert_eq!(place.run(["cat", &id, "-i", key]).good().stdout, b"content");
    }
    let third = place.run(["key", "generate", "third.txt"]).good();
    place.write("recipients", third.out());
    rewrap(&["-i", "other.txt", "-R", "recipients"]).good();
    place.run(["cat", &id, "-i", "third.txt"]).good();
    rewrap(&["-i", "third.txt", "--new-passphrase-file", "passphrase.txt"]).good();
    place.run(["cat", &id, "--passphrase-file", "passphrase.txt"]).good();
    let json = rewrap(&["--json", "-i", "key.txt", "-r", other.out().trim()]).good().json("rewrapped");
    assert_eq!(json["created"][0], format!("{id}.key.3"));
    // Who opens it is in already.
    let before = place.objects();
    let own = rewrap(&["-i", "key.txt", "-r", &place.recipient]).good();
    own.says("can be opened with the new key already");
    assert_eq!((own.out(), place.objects()), ("", before));
    place.store_holds_no_secret();
}

#[test]
fn an_exported_sheet_opens_the_archive_by_hand() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let sheet = place.run(["key", "export", &id, "-i", "key.txt"]).that_tells_secrets().good();
    assert!(sheet.out().contains(&id));
    place.run(["key", "export", &id, "-i", "key.txt", "-o", "sheet.txt"]).good();
    assert_eq!(place.read("sheet.txt"), sheet.stdout);
    assert_eq!(std::fs::metadata(place.path("sheet.txt")).unwrap().permissions().mode() & 0o777, 0o600);
    place.run(["key", "export", &id, "-i", "key.txt", "-o", "sheet.txt"]).fails("io.failed", 1);
    // The lines of its first recipe, run as they stand there; then those of its second.
    let indented: Vec<_> = sheet.out().lines().filter(|line| line.starts_with("   ")).map(str::trim).collect();
    let line = |start: &str| indented.iter().position(|line| line.starts_with(start)).unwrap();
    let echo = line("echo ");
    shell(&place.path(""), &format!("{}\n{}", indented[echo], indented[echo + 1]));
    let restore =
        indented[line("backstay restore")].replace("backstay", crate::harness::BINARY).replace("STORE", "store");
    shell(&place.path(""), &restore);
    assert_eq!(place.read("content"), b"content");
    let by_hand = shell(&place.path("store"), &indented[line("head -n 1")].replace("key.txt", "../key.txt"));
    assert_eq!(by_hand, place.read("secret.hex"));
    place.run(["key", "export", &id]).fails("key.not-found", 12);
}

#[test]
fn destroying_the_keys_says_first_what_it_would_do() {
    let place = Place::new();
    let id = place.backup("content", &["--detached-keys"]);
    let plan = place.run(["key", "destroy", &id]).good();
    assert_eq!(plan.out(), format!("{id}.key.0\n"));
    plan.says("nothing was deleted");
    assert_eq!(place.cat(&id), b"content");
    let done = place.run(["--json", "key", "destroy", &id, "--yes"]).good().json("keyboxes");
    assert_eq!((&done["deleted"], &done["keyboxes"][0]), (&true.into(), &format!("{id}.key.0").into()));
    place.run(["cat", &id, "-i", "key.txt"]).fails("key.not-found", 12);
    let shown = place.run(["show", &id]).good();
    assert!(!shown.says_out("none is left").out().contains("raw key"), "{}", shown.out());

    let attached = place.backup("content", &[]);
    let refused = place.run(["key", "destroy", &attached, "--yes"]).done();
    assert!(!refused.status.success() && refused.stderr.contains("error["), "{}", refused.stderr);
    assert_eq!(place.cat(&attached), b"content");
}

/// An archive that needs no key, of another source.
fn unencrypted(place: &Place) -> String {
    let made = place.run(["backup", "--no-encryption", "--name", "open"]).stdin("open").good();
    made.out().split(' ').next().unwrap().to_owned()
}

#[test]
fn many_archives_are_rewrapped_in_one_run_and_a_second_run_finds_nothing_to_do() {
    let place = Place::new();
    let ids: Vec<String> = (0..3).map(|n| place.backup(format!("content {n}"), &[])).collect();
    let foreign = unencrypted(&place);
    let new = place.run(["key", "generate", "new.txt"]).good().out().trim().to_owned();
    let rewrap = |arguments: &[&str]| {
        let fixed = ["key", "rewrap", "--all", "-i", "key.txt", "-r", &new];
        place.run(fixed).args(arguments)
    };
    // One that cannot be rewrapped does not keep the others from it, and is told.
    let partly = rewrap(&["--after-id", &ids[0]]).fails("key.open", 12);
    partly.says(&format!("{foreign} is not rewrapped")).says("1 of 3 archives");
    let opens = |id: &str| place.run(["cat", id, "-i", "new.txt"]).done().status.success();
    assert!(!opens(&ids[0]) && opens(&ids[1]) && opens(&ids[2]));
    let named = ["--name", "pg-main", "--unless-opened-by", "new.txt"];
    assert_eq!(rewrap(&named).good().out(), format!("{}.key.0\n", ids[0]));
    let before = place.objects();
    rewrap(&named).good().says("opened by the new key already");
    assert_eq!(place.objects(), before);
    let json = rewrap(&named).arg("--json").good().json("rewrapped");
    assert_eq!(
        (&json["archives"][2]["id"], &json["archives"][2]["created"]),
        (&ids[2].as_str().into(), &serde_json::json!([]))
    );
    place
        .run(["key", "rewrap", &ids[0], "--after-id", &ids[0], "-i", "key.txt", "-r", &new])
        .fails("usage.arguments", 2);
    place.run(["key", "rewrap", "-i", "key.txt", "-r", &new]).fails("usage.arguments", 2);
    // A passphrase is tried by itself.
    let passphrase = ["key", "rewrap", &ids[0], "-i", "key.txt", "--new-passphrase-file", "passphrase.txt"];
    assert_eq!(place.run(passphrase).good().out(), format!("{}.key.1\n", ids[0]));
    assert_eq!(place.run(passphrase).good().out(), "");
}

#[test]
fn an_audit_says_which_key_opens_what_and_ends_with_3_if_they_do_not_open_all() {
    let place = Place::new();
    let mine = place.backup("content", &[]);
    let new = place.run(["key", "generate", "new.txt"]).good().out().trim().to_owned();
    let both = place.backup("content", &["-r", &new]);
    let open = unencrypted(&place);
    let audit = |arguments: &[&str]| place.run(["key", "audit"]).args(arguments);
    let told = audit(&[]).good();
    told.says_out("3 archives: 1 open to everybody, 1 with one key alone");
    told.says_out(&format!("{open}  not encrypted")).says_out(&format!("{mine}  X25519  [one key alone]"));
    audit(&["-i", "key.txt"]).good().says_out(&format!("{both}  X25519 + X25519  opened by key.txt"));
    let partly = audit(&["-i", "new.txt", "--json"]).done();
    assert_eq!(partly.status.code(), Some(3), "{}", partly.stderr);
    let report = partly.json("keys");
    assert_eq!((&report["not_opened"], &report["open"], &report["single"]), (&1.into(), &1.into(), &1.into()));
    let by = |id: &str| {
        let archives = report["archives"].as_array().unwrap();
        archives.iter().find(|archive| archive["id"] == *id).unwrap()["opened_by"].clone()
    };
    assert_eq!((by(&mine), by(&both)), (serde_json::json!([]), serde_json::json!(["new.txt"])));
    audit(&["-i", "new.txt", "--name", "open"]).good();
    let text = audit(&["-i", "new.txt"]).done();
    assert!(text.out().contains("NOT OPENED") && text.stderr.contains("1 archive not opened"), "{}", text.out());
}

#[test]
fn a_sheet_of_a_key_says_what_it_opens_and_is_the_key() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let sheet = place.run(["key", "export", "--key", "key.txt"]).that_tells_secrets().good();
    sheet.says_out(&place.recipient).says_out(&format!("{} (pg-main, 1 archive)", &id[..36]));
    // The first recipe, run as it stands there.
    let text = sheet.out();
    let from = text.find("   cat > key.txt").unwrap();
    let to = text[from..].find("   backstay list").unwrap() + from;
    let lines: Vec<&str> = text[from..to].lines().map(str::trim_start).collect();
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    shell(&place.path("elsewhere"), &lines.join("\n"));
    assert_eq!(place.run(["cat", &id, "-i", "elsewhere/key.txt"]).good().stdout, b"content");
    // And the one with stock tools.
    let line = text.lines().map(str::trim).find(|line| line.starts_with("head -n 1 ID-0")).unwrap();
    shell(&place.path("store"), &line.replace("ID", &id).replace("-i key.txt", "-i ../elsewhere/key.txt"));
    assert_eq!(place.read("store/secret.bin").len(), 32);

    place.run(["key", "export", "--key", "key.txt", "--html", "-o", "sheet.html"]).good().says("keep it where");
    assert_eq!(std::fs::metadata(place.path("sheet.html")).unwrap().permissions().mode() & 0o777, 0o600);
    let page = String::from_utf8(place.read("sheet.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg ") && page.contains("pg-main"), "{page}");
    assert!(page.contains("AGE-SECRET-KEY-1") && page.contains(&place.recipient));
    place.run(["key", "export", &id, "-i", "key.txt", "--html", "-o", "archive.html"]).good();
    place.run(["key", "export", "--key", "key.txt", &id]).fails("usage.arguments", 2);
    place.run(["key", "export"]).fails("usage.arguments", 2);
    place.run(["key", "generate", "raw.key", "--raw"]).good();
    place.run(["key", "export", "--key", "raw.key"]).that_tells_secrets().good().says_out("a raw key");
}

#[test]
fn a_sheet_in_a_file_is_a_result_without_the_secret() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let run = place.run(["--json", "key", "export", &id, "-i", "key.txt", "-o", "sheet.txt"]);
    let done = run.good();
    let sheet = done.json("recovery_sheet");
    assert_eq!((&sheet["id"], &sheet["file"]), (&id.as_str().into(), &"sheet.txt".into()));
    assert!(sheet["secret"].is_null(), "{sheet}");
    place.run(["key", "export", &id, "-i", "key.txt", "-o", "again.txt"]).good().says("again.txt opens ");
}

#[test]
fn a_slot_that_asks_for_too_much_work_is_refused_with_a_way_that_there_is() {
    let place = Place::new();
    let keys = ["--passphrase-file", "passphrase.txt", "-r", &place.recipient, "--detached-keys"];
    let id = place.backup("content", &keys);
    let boxes: Vec<_> = place.objects().into_iter().filter(|name| name.contains(".key.")).collect();
    let is_scrypt = |bytes: &[u8]| bytes.starts_with(b"age-encryption.org/v1\n-> scrypt ");
    let name = boxes.iter().map(|name| format!("store/{name}")).find(|name| is_scrypt(&place.read(name))).unwrap();
    // The work is in the stanza's first line, and is judged before anything is done.
    let slot = place.read(&name);
    let line = slot.split(|byte| *byte == b'\n').nth(1).unwrap().len() + b"age-encryption.org/v1\n".len();
    let mut costly = slot;
    costly[line - 2..line].copy_from_slice(b"30");
    place.write(&name, &costly);
    let cat = |key: &[&str]| place.run(["cat", &id]).args(key);
    let refused = cat(&["--passphrase-file", "passphrase.txt"]).fails("key.kdf-limit", 23);
    refused.says("scrypt work of 2^30").says("the limit is 2^20").says("Another key (`--identity`)");
    assert!(!refused.stderr.contains("raise the limit"), "there is nothing to raise it with: {}", refused.stderr);
    // What the hint says is so.
    assert_eq!(cat(&["--identity", "key.txt"]).good().out(), "content");
}
