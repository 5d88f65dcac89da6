//! Backup sets, under the verbs that take one archive or one set.

use backstay_format::ArchiveId;
use backstay_format::header::Lock;
use backstay_format::manifest::{Document, Manifest};
use backstay_format::schedule::{Keys, Secret};
use backstay_format::set::{Member, Set};

use crate::harness::Place;

/// A set of these archives, for the place's key, in the way of a slot in its object.
pub(crate) fn set_of(place: &Place, name: &str, members: &[&str]) -> String {
    let root = |id: &ArchiveId| {
        let bytes = place.read(&format!("store/{}", id.manifest()));
        match Manifest::parse(bytes, id).unwrap() {
            Document::Manifest(sealed) => sealed.manifest.root(),
            Document::Foreign(_) => panic!("a manifest of ours"),
        }
    };
    let first: ArchiveId = members[0].parse().unwrap();
    let id = ArchiveId::new(&backstay::guid::from_name(name).unwrap(), first.millis() - 1).unwrap();
    let (secret, salt) = (Secret([5; 32]), [6; 32]);
    let keys = Keys::derive(&secret, &salt);
    let recipient: age::x25519::Recipient = place.recipient.parse().unwrap();
    let slots = backstay::keys::wrap(&secret, [&recipient as &(dyn age::Recipient + Send + Sync)], None).unwrap();
    let members = members.iter().enumerate().map(|(n, member)| {
        let id: ArchiveId = member.parse().unwrap();
        Member { name: n.to_string(), root: root(&id), id, role: None }
    });
    let set = Set {
        id: id.clone(),
        created: "2026-01-31T02:00:00Z".to_owned(),
        finished: None,
        lock: Lock { salt, commit: keys.commit(), keys: slots, open: None, signature: None },
        source: None,
        name: Some(name.to_owned()),
        tags: Vec::new(),
        members: members.collect(),
        private: None,
    };
    place.write(&format!("store/{}", id.set()), set.encode(&keys.set(), None).unwrap().0);
    id.to_string()
}

/// Two sets of two members each, and the ids of the members.
fn two(place: &Place) -> ([String; 2], Vec<String>) {
    let ids: Vec<String> = (0..4).map(|n| place.backup(format!("content {n}"), &[])).collect();
    let of = |at: usize| set_of(place, "shop", &[&ids[at], &ids[at + 1]]);
    ([of(0), of(2)], ids)
}

#[test]
fn rm_names_the_set_of_a_member_and_deletes_a_whole_set() {
    let place = Place::new();
    let (sets, ids) = two(&place);
    let before = place.objects();
    place.run(["rm", &ids[0], "--yes"]).fails("retention.referenced", 2).says(&format!("rm {}", sets[0]));
    let dry = place.run(["rm", "shop~1"]).good();
    dry.says_out("would be deleted: say --yes").says_out("with 2 members").says_out(&format!("{}  goes", ids[1]));
    assert_eq!(place.objects(), before);
    // What counts on the command line alone counts for sets, too.
    place.run(["rm", "shop", "--yes"]).env("BACKSTAY_FORCE", "1").fails("retention.newest", 2);
    place.run(["rm", "shop~1", "--keep-members"]).good().says_out("stays").says_out("with 0 members");
    // A member that is lost is no obstacle.
    let lost = |name: &String| name.starts_with(&ids[1]);
    for name in before.iter().filter(|name| lost(name)) {
        std::fs::remove_file(place.store().join(name)).unwrap();
    }
    let done = place.run(["--json", "rm", &sets[0], "--yes"]).good().json("rm");
    assert_eq!(done["deleted"], true);
    let fates: Vec<_> = done["members"].as_array().unwrap().iter().map(|member| member["fate"].clone()).collect();
    assert_eq!(fates, ["goes", "missing"]);
    let gone = |name: &String| name.starts_with(&ids[0]) || lost(name) || name.starts_with(&sets[0]);
    assert!(!place.objects().iter().any(gone));
    place.run(["rm", &sets[0], "--yes"]).fails("archive.not-found", 10);
    place.run(["rm", &ids[2], "--keep-members", "--yes"]).fails("usage.arguments", 2);
    place.run(["rm", "shop", "--keep-members", "--yes"]).good();
    assert_eq!((place.cat(&ids[2]), place.cat(&ids[3])), (b"content 2".to_vec(), b"content 3".to_vec()));
    assert!(!place.objects().iter().any(|name| name.starts_with(&sets[1])));
}

#[test]
fn what_was_said_of_a_set_is_shown_and_found() {
    let place = Place::new();
    let (sets, ids) = two(&place);
    let listed = |arguments: &[&str]| {
        let list = place.run(["--json", "list"]).args(arguments).good().json("list");
        let of = |kind: &str| list[kind].as_array().unwrap().iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
        [of("archives"), of("sets")].concat()
    };
    place.run(["hold", "shop~1", "--reason", "the audit"]).good().says_out("is held");
    place.run(["note", &sets[0], "before the upgrade"]).good();
    place.run(["tag", &sets[0], "release-17"]).good();
    assert_eq!(listed(&["--held"]), [sets[0].as_str()]);
    assert_eq!(listed(&["--tag", "release-17"]), [sets[0].as_str()]);
    place.run(["list"]).good().says_out("held").says_out("release-17");
    let shown = place.run(["show", &sets[0]]).good();
    shown.says_out("the audit").says_out("before the upgrade").says_out("release-17");
    let keep = ["prune", "--keep-last", "1", "--yes", "--grace", "0s"];
    let held = format!("in the set {}", sets[0]);
    place.run(keep).good().says_out(&held);
    assert_eq!(place.cat(&ids[0]), b"content 0");
    place.run(["rm", &sets[0], "--yes"]).fails("retention.held", 2);
    place.run(["release", &sets[0]]).good().says_out("1 hold");
    assert_eq!(listed(&["--held"]).len(), 0);
    let tagged = ["--keep-tag", "release-17"];
    place.run(keep).args(tagged).good().says_out(&held);
    place.run(keep).good();
    assert!(!place.objects().iter().any(|name| name.starts_with(&sets[0]) && !name.ends_with(".expired")));
}

#[test]
fn a_new_key_opens_sets_too_and_an_audit_counts_them() {
    let place = Place::new();
    let (sets, ids) = two(&place);
    let new = place.run(["key", "generate", "new.txt"]).good().out().trim().to_owned();
    let audit = |key: &str| place.run(["key", "audit", "-i", key]).done();
    assert!(audit("key.txt").out().contains("4 archives and 2 backup sets"), "{}", audit("key.txt").out());
    let none = audit("new.txt");
    assert_eq!(none.status.code(), Some(3));
    assert!(none.stderr.contains("6 of the archives and sets not opened"), "{}", none.stderr);
    // A set that is named is done with its members.
    let rewrap = |arguments: &[&str]| place.run(["key", "rewrap", "-i", "key.txt", "-r", &new]).args(arguments);
    let expected = [&ids[0], &ids[1], &sets[0]].map(|id| format!("{id}.key.0\n")).concat();
    assert_eq!(rewrap(&[&sets[0]]).good().out(), expected);
    let json = rewrap(&["--all", "--unless-opened-by", "new.txt", "--json"]).good().json("rewrapped");
    let made = |kind: &str, at: usize| json[kind][at]["created"].as_array().unwrap().len();
    assert_eq!((made("archives", 0), made("archives", 2), made("sets", 0), made("sets", 1)), (0, 1, 0, 1));
    let json = place.run(["key", "audit", "-i", "new.txt", "--json"]).good().json("keys");
    assert_eq!((&json["not_opened"], &json["sets"][1]["slots"][0]["place"]), (&0.into(), &"set".into()));
    assert_eq!(json["sets"][1]["slots"][1]["place"], "0");
    place.run(["restore", "shop", "-i", "new.txt", "-o", "there"]).good();
    assert_eq!(
        std::fs::read(std::fs::read_dir(place.path("there")).unwrap().map(|file| file.unwrap().path()).min().unwrap())
            .unwrap(),
        b"content 2"
    );
    // One that is damaged is told, and does not keep the others from it.
    place.write(&format!("store/{}.set.json", sets[0]), "{}");
    rewrap(&["--all"]).fails("set.invalid", 20).says("1 of 4 archives and 2 backup sets");
}

#[test]
fn a_conversion_of_all_names_the_sets_that_it_leaves_out() {
    let place = Place::new();
    let (sets, ids) = two(&place);
    let again = |target: &str, arguments: &[&str]| {
        let run = place.run(["copy", "--all", "--to", target, "-i", "key.txt", "-r", &place.recipient]).args(arguments);
        run.done()
    };
    for arguments in [&["--reencrypt"][..], &["--reencrypt", "--to-format", "native"]] {
        let target = format!("anew{}", arguments.concat());
        let done = again(&target, &[arguments, &["--json"]].concat());
        assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
        let report = done.json("converted");
        assert_eq!(report["left_out"], serde_json::json!(sets));
        assert_eq!((report["archives"].as_array().unwrap().len(), report["failed"].as_array().unwrap().len()), (4, 0));
        for id in &ids {
            assert!(place.path(&format!("{target}/{id}.json")).exists(), "{id}");
        }
        let done = again(&target, arguments);
        assert_eq!(done.status.code(), Some(3), "{}", done.stderr);
        done.says("2 backup sets left out").says_out(&format!("{}: NOT THERE", sets[0]));
    }
    // Where there is no set, nothing is left out.
    place.run(["rm", "shop~1", "--keep-members", "--yes"]).good();
    place.run(["rm", "shop", "--keep-members", "--yes", "--force"]).good();
    assert_eq!(again("third", &["--reencrypt"]).status.code(), Some(0));
}

#[test]
fn a_conversion_of_all_copies_a_set_whose_members_are_native() {
    let place = Place::new();
    let (sets, ids) = two(&place);
    let key = ["-i", "key.txt", "--passphrase-file", "passphrase.txt", "-r", &place.recipient];
    let convert =
        |words: &[&str], to: &str| place.run(["copy", "--to-format", "native", "--to", to]).args(words).args(key);
    let report = convert(&["--all", "--json"], "new").good().json("converted");
    assert_eq!((&report["left_out"], &report["failed"]), (&serde_json::json!([]), &serde_json::json!([])));
    let told = report["sets"].as_array().unwrap();
    assert_eq!(told.iter().map(|set| set["id"].as_str().unwrap()).collect::<Vec<_>>(), sets);
    place.run(["verify", "shop", "-i", "key.txt", "-s", "new"]).good().says_out("2 members");
    assert_eq!(place.read(&format!("new/{}.set.json", sets[0])), place.read(&format!("store/{}.set.json", sets[0])));
    convert(&["--all"], "new").good().says_out(&format!("{}: the set of 2 members in ", sets[1]));
    // By itself, with its members.
    convert(&[&sets[0]], "one").good().says_out("the set of 2 members");
    place.run(["verify", &sets[0], "-i", "key.txt", "-s", "one"]).good();
    assert!(!place.path(&format!("one/{}.json", ids[2])).exists());

    // One with a member that is written anew cannot be there as it is; the other one can.
    let old = ["backup", "--name", "old", "--format", "openssl", "--passphrase-file", "passphrase.txt"];
    let old = place.run(old).stdin("content").good().out().split(' ').next().unwrap().to_owned();
    let mixed = set_of(&place, "mixed", &[&old, &ids[0]]);
    let partly = convert(&["--all", "--json"], "mixed").done();
    assert_eq!(partly.status.code(), Some(3), "{}", partly.stderr);
    let report = partly.json("converted");
    assert_eq!((&report["left_out"], report["sets"].as_array().unwrap().len()), (&serde_json::json!([mixed]), 2));
    convert(&[&mixed], "mixed").fails("usage.arguments", 2).says("cannot be written anew");
    // What is wrong with a set is said of it, and does not keep the others from it.
    place.write(&format!("store/{}.set.json", sets[0]), "{}");
    let failed = convert(&["--all"], "third").fails("set.invalid", 20);
    failed.says_out(&format!("{}: NOT THERE", sets[0])).says_out(&format!("{}: the set of 2 members", sets[1]));
}

#[test]
fn a_repair_of_all_mends_a_damaged_set_and_tells_of_each_archive_once() {
    let place = Place::new();
    let (sets, ids) = two(&place);
    let copied = place.run(["copy", "--all", "--to", "replica"]).good();
    let repair = |arguments: &[&str]| place.run(["copy", "--all", "--repair", "replica"]).args(arguments).good();
    let name = format!("store/{}.set.json", sets[0]);
    let good = place.read(&name);
    let mut damaged = good.clone();
    damaged[100] ^= 1;
    place.write(&name, &damaged);
    std::fs::remove_file(place.path(&format!("store/{}-0", ids[3]))).unwrap();
    let mended = repair(&[]);
    assert_eq!(place.read(&name), good);
    mended.says_out(&format!("{}: the set of 2 members, all good now: 1 object", sets[0])).says_out("was damaged");
    mended.says_out(&format!("{}: the set of 2 members, all good\n", sets[1]));
    for id in &ids {
        for told in [&mended, &copied] {
            let lines = told.out().lines().filter(|line| line.starts_with(&format!("{id}:")));
            assert_eq!(lines.count(), 1, "{}", told.out());
        }
    }
    let again = repair(&["--json"]).json("repaired");
    assert_eq!((again["archives"].as_array().unwrap().len(), again["sets"].as_array().unwrap().len()), (4, 2));
    assert_eq!((&again["sets"][0]["replaced"], &again["sets"][0]["members"]), (&serde_json::json!([]), &2.into()));

    place.write(&name, &damaged);
    place.write(&format!("replica/{}.set.json", sets[0]), &damaged);
    place.run(["copy", &sets[0], "--repair", "replica"]).fails("set.seal", 20).says("changed after it was sealed");
}

#[test]
fn a_set_that_fails_on_the_way_says_at_which_member() {
    let place = Place::new();
    let (sets, ids) = two(&place);
    let part = format!("store/{}-0", ids[0]);
    let good = place.read(&part);
    let mut damaged = good.clone();
    let end = damaged.len() - 1;
    damaged[end] ^= 1;
    place.write(&part, &damaged);
    let said = format!("the member `0`, {0}, is not restored: {0}-0 is not authentic", ids[0]);
    let failed = place.run(["restore", &sets[0], "-i", "key.txt", "-o", "files"]).fails("segment.auth", 20);
    assert!(failed.stderr.contains(&format!("error[segment.auth]: {said}")), "{}", failed.stderr);
    assert!(failed.stderr.contains("; 1 of 2 members are restored"), "{}", failed.stderr);
    let files = std::fs::read_dir(place.path("files")).unwrap();
    assert_eq!(files.count(), 1, "the other one");
    let failed = place.run(["--json", "restore", &sets[0], "-i", "key.txt", "-o", "again"]).done();
    let told = failed.json("restored_set");
    assert_eq!((&told["failed"][0]["id"], &told["failed"][0]["code"]), (&(*ids[0]).into(), &"segment.auth".into()));
    assert_eq!((told["members"].as_array().unwrap().len(), &told["members"][0]["id"]), (1, &(*ids[1]).into()));
    place.write(&part, &good);
    // Into a server, which is not even asked.
    let binary = place.backup([0; 100], &[]);
    let set = set_of(&place, "binary", &[&ids[0], &binary]);
    for words in [["restore", "--to-db"], ["drill", "--dsn"]] {
        let run = place.run([words[0], &set, "-i", "key.txt", words[1], "host=/nowhere"]);
        run.fails("target.not-a-dump", 2).says(&format!("the member `1`, {binary}, is not restored: "));
    }
}
