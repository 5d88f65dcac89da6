//! `list` and `show` over a store with everything in it, in each form that they print; what they do while the store is still answering; and
//! how a list looks on a terminal.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::Arc;
use std::time::Duration;

use backstay::backup::{BackupOptions, Format, Padding};
use backstay::keys::Encryption;
use backstay::set::{NewSet, SetOptions};
use backstay::source::Source;
use backstay::{Context, Observer, Silent, backup};
use backstay_format::ArchiveId;
use backstay_format::header::Codec;
use backstay_format::manifest::aborted_marker;
use backstay_format::schedule::{Secret, sha256};
use backstay_format::segment::Aead;
use backstay_store::{Environment, Store, StoreOptions};
use backstay_testkit::proxy::{Fate, Proxy};
use backstay_testkit::{Azurite, S3Server};
use serde_json::Value;

use crate::harness::{Place, Run};
use crate::terminal::Terminal;

/// The source of all that is not made by a backup.
const GUID: &str = "11111111-6535-423d-8709-dca87df7985c";

/// A header of openssl and one block.
const SHORTEST: &[u8] = b"Salted__12345678abcdefghijklmnop";

/// A place whose store is elsewhere.
struct Everything {
    place: Place,
    url: String,
    variables: Vec<(String, String)>,
    /// By what the test calls them.
    ids: BTreeMap<&'static str, String>,
}

impl Everything {
    fn run(&self, arguments: &[&str]) -> Run<'_> {
        let mut run = self.place.run(arguments);
        for (name, value) in &self.variables {
            run = run.env(name, value);
        }
        run.env("BACKSTAY_STORE", &self.url)
    }

    fn backup(&self, name: &str, content: &str, arguments: &[&str]) -> String {
        let run = self.run(&["backup", "--name", name]).args(arguments).stdin(content);
        run.good().out().split(' ').next().unwrap().to_owned()
    }

    /// Fills a store with archives of each kind, and with what is none.
    fn new(url: String, variables: Vec<(String, String)>) -> Everything {
        let mut all = Everything { place: Place::new(), url, variables, ids: BTreeMap::new() };
        let native = ["-r", &all.place.recipient.clone()];
        let openssl = ["--format", "openssl", "--passphrase-file", "passphrase.txt"];
        let native_id = all.backup("pg-main", "content", &[&native[..], &["--tag", "weekly"]].concat());
        let other = all.backup("shop", &"more content\n".repeat(1000), &native);
        let parts = all.backup("old", "content", &openssl);
        // Not every store takes an object of unknown length, and so it is made in a directory and taken from there.
        let single = all.place.run(["backup", "--name", "old", "--single"]).args(openssl).stdin("content").good();
        let single = single.out().split(' ').next().unwrap().to_owned();
        for (verb, rest) in [("hold", ["--reason", "the audit"]), ("verify", ["--record", "-ikey.txt"])] {
            all.run(&[verb, &native_id]).args(rest).good();
        }
        all.run(&["tag", &other, "release-17"]).good();
        all.ids.extend([("native", native_id), ("other", other), ("parts", parts), ("single", single)]);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(all.fill());
        all
    }

    /// What no backup makes, or needs a server to be made.
    async fn fill(&mut self) {
        let environment = Environment::from_pairs(self.variables.iter().cloned());
        let store = Store::open(&self.url, &StoreOptions::default(), &environment).await.unwrap();
        let id = |tail: &str| format!("{GUID}-{tail}");
        let aborted: ArchiveId = id("1500000006000").parse().unwrap();
        let objects: Vec<(String, Vec<u8>)> = vec![
            // Of old managers: without a document in a part, with one, and in one blob.
            (id("1500000001-00"), SHORTEST.to_vec()),
            (id("1500000002000-0"), SHORTEST.to_vec()),
            (id("1500000002000.json"), br#"{"backup":"by another manager"}"#.to_vec()),
            (id("1500000003000"), SHORTEST.to_vec()),
            // Nothing commits these.
            (id("1500000005000-0"), b"BACKSTAY1 {".to_vec()),
            (id("1500000006000-0"), b"BACKSTAY1 {".to_vec()),
            (aborted.manifest(), aborted_marker(&aborted, "2020-01-01T00:00:00Z")),
            // And these are nobody's.
            ("README".to_owned(), b"something".to_vec()),
            (id("1500000003000-x"), b"something".to_vec()),
            (id("1500000009000.key.0"), b"something".to_vec()),
            (format!("{GUID}-15000"), b"something".to_vec()),
        ];
        let single = &self.ids["single"];
        let single = [single.clone(), format!("{single}.json")].map(|name| {
            let path = self.place.store().join(&name);
            (name, std::fs::read(path).unwrap())
        });
        for (name, bytes) in objects.into_iter().chain(single) {
            let digest = sha256(&bytes);
            store.create(&name, bytes.into(), digest).await.unwrap();
        }
        let tails = [
            ("no document", "1500000001"),
            ("document", "1500000002000"),
            ("blob", "1500000003000"),
            ("incomplete", "1500000005000"),
            ("aborted", "1500000006000"),
        ];
        self.ids.extend(tails.map(|(name, tail)| (name, id(tail))));

        let context = Context::system(Some(1)).unwrap();
        let observer: Arc<dyn Observer> = Arc::new(Silent);
        let encryption = Arc::new(Encryption::Raw(Secret([7; 32])));
        let options = SetOptions {
            guid: backstay::guid::from_name("cluster").unwrap(),
            name: "cluster".to_owned(),
            hide_name: false,
            tags: vec!["nightly".to_owned()],
            source: "pg_dumpall",
            encryption: Arc::clone(&encryption),
            signing_key: None,
        };
        let mut set = NewSet::begin(&store, options, &context, &observer).await.unwrap();
        let (aead, codec, padding) = (Aead::Aes256Gcm, Codec::Zstd, Padding::None);
        let encryption = Encryption::Shared(encryption);
        let format = Format::Native { aead, codec, encryption, padding, signing_key: None };
        let member = BackupOptions::new(set.guid_of("orders").unwrap(), "cluster/orders".to_owned(), format);
        let source = Source::Reader(Box::new(&b"content"[..]));
        let receipt = backup(&store, source, member, &context, observer).await.unwrap();
        set.add("orders".to_owned(), Some("database"), &receipt);
        let id = set.commit(&store, BTreeMap::new(), &context).await.unwrap().id;
        self.ids.extend([("member", receipt.id.to_string()), ("set", id.to_string())]);
    }

    fn named(&self, id: &str) -> &'static str {
        self.ids.iter().find(|(_, known)| *known == id).map_or("?", |(name, _)| name)
    }

    /// What is listed with these arguments: in each form the same, oldest first but for the lines.
    fn listed(&self, arguments: &[&str]) -> Vec<&'static str> {
        let ids = |rows: &Value| -> Vec<String> {
            rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
        };
        let done = self.run(&["--json", "list"]).args(arguments).good();
        let json = done.json("list");
        // It is written piece by piece, and nobody can tell.
        assert_eq!(done.out(), format!("{json}\n"));
        let mut all = [ids(&json["archives"]), ids(&json["sets"])].concat();
        all.sort_by_key(|id| id.parse::<ArchiveId>().unwrap());

        let table = self.run(&["list"]).args(arguments).good();
        let first = |line: &str| line.split(' ').next().unwrap().to_owned();
        assert_eq!(table.out().lines().skip(1).map(first).collect::<Vec<_>>(), all, "{arguments:?}");

        let lines = self.run(&["list", "--json-lines"]).args(arguments).good();
        let mut lines: Vec<Value> = lines.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.pop().unwrap();
        assert_eq!((&last["type"], &last["store"]), (&"listed".into(), &json["store"]));
        let mut seen = Vec::new();
        for kind in ["archive", "set"] {
            let of_kind: Vec<&Value> = lines.iter().filter(|line| line["type"] == format!("listed_{kind}")).collect();
            assert_eq!(last[format!("{kind}s")], of_kind.len(), "{arguments:?}");
            for line in of_kind {
                let mut row = line.clone();
                row.as_object_mut().unwrap().retain(|key, _| key != "type" && key != "schema");
                let rows = json[format!("{kind}s")].as_array().unwrap();
                assert!(rows.contains(&row), "{arguments:?}: {row} is not among {rows:?}");
                seen.push(row["id"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(seen.len(), lines.len());
        seen.sort_by_key(|id| id.parse::<ArchiveId>().unwrap());
        assert_eq!(seen, all, "{arguments:?}");
        all.iter().map(|id| self.named(id)).collect()
    }

    fn everything_is_found(&self) {
        let whole = ["no document", "document", "blob", "native", "other", "parts", "single", "set", "member"];
        assert_eq!(self.listed(&[]), whole);
        assert_eq!(self.listed(&["--short"]), whole);
        let all = [&whole[..3], &["incomplete", "aborted"], &whole[3..]].concat();
        assert_eq!(self.listed(&["--incomplete"]), all);

        let guid_of = |name: &str| self.ids[name][..36].to_owned();
        let old = ["no document", "document", "blob"];
        assert_eq!(self.listed(&["--guid", GUID]), old);
        assert_eq!(self.listed(&["--guid", &guid_of("single")]), ["parts", "single"]);
        assert_eq!(self.listed(&["--guid", &guid_of("set")]), ["set"]);
        assert_eq!(self.listed(&["--name", "old"]), ["parts", "single"]);
        assert_eq!(self.listed(&["--name", "cluster"]), ["set"]);
        assert_eq!(self.listed(&["--before", "2017-07-14T02:40:03Z"]), old[..2]);
        assert_eq!(self.listed(&["--before", "2020-01-01", "--incomplete"]), all[..5]);
        assert_eq!(self.listed(&["--tag", "weekly"]), ["native"]);
        assert_eq!(self.listed(&["--tag", "release-17"]), ["other"]);
        assert_eq!(self.listed(&["--tag", "nightly"]), ["set"]);
        assert_eq!(self.listed(&["--kind", "full"]), ["native", "other", "parts", "single", "member"]);
        assert_eq!(self.listed(&["--kind", "incremental"]), [""; 0]);
        assert_eq!(self.listed(&["--of-format", "native"]), ["native", "other", "member"]);
        assert_eq!(self.listed(&["--of-format", "openssl"]), [&old[..], &["parts", "single"]].concat());
        // Those of the old managers are 32 bytes, and no archive of ours is.
        assert_eq!(self.listed(&["--max-stored", "32"]), old);
        assert_eq!(self.listed(&["--min-stored", "33"]), ["native", "other", "parts", "single", "member"]);
        assert_eq!(self.listed(&["--min-stored", "32", "--max-stored", "32", "--guid", &guid_of("native")]), [""; 0]);
        assert_eq!(self.listed(&["--verified", "good"]), ["native"]);
        assert_eq!(self.listed(&["--verified", "bad"]), [""; 0]);
        assert_eq!(self.listed(&["--verified", "never"]), [&old[..], &["other", "parts", "single", "member"]].concat());
        assert_eq!(self.listed(&["--held"]), ["native"]);
        assert_eq!(self.listed(&["--held", "--tag", "release-17"]), [""; 0]);
    }

    fn everything_is_shown(&self) {
        for (name, state, profile) in [
            ("native", "committed", "native"),
            ("parts", "committed", "openssl"),
            ("single", "committed", "openssl"),
            ("document", "committed", "openssl"),
            ("no document", "committed", "openssl"),
            ("blob", "committed", "openssl"),
            ("incomplete", "incomplete", ""),
            ("aborted", "aborted", ""),
        ] {
            let id = &self.ids[name];
            let json = self.run(&["--json", "show", id]).good().json("archive");
            assert_eq!((&json["id"], &json["state"]), (&id.as_str().into(), &state.into()), "{name}");
            assert_eq!(json["profile"].as_str().unwrap_or_default(), profile, "{name}");
            self.run(&["show", id]).good().says_out(id).says_out(state).says_out(profile);
        }
        for name in ["single", "blob"] {
            let id = &self.ids[name];
            // The blob's whole name is the beginning of others.
            let json = self.run(&["--json", "show", id, "--objects"]).good().json("archive");
            assert_eq!((&json["parts"], &json["objects"][0]["name"]), (&1.into(), &id.as_str().into()), "{name}");
        }
        let set = &self.ids["set"];
        let json = self.run(&["--json", "show", set]).good().json("set");
        assert_eq!(json["members"][0]["id"], self.ids["member"]);
        self.run(&["show", "cluster"]).good().says_out(set).says_out("orders");
        self.run(&["show", &format!("{GUID}-1500000009000")]).fails("archive.not-found", 10);
    }
}

#[test]
fn everything_that_may_stand_in_a_directory_is_listed_and_shown_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let all = Everything::new(store.to_str().unwrap().to_owned(), Vec::new());
    all.everything_is_found();
    all.everything_is_shown();
}

#[test]
fn everything_that_may_stand_in_a_container_of_azure_is_listed_and_shown_as_what_it_is() {
    let azurite = Azurite::start();
    azurite.create_container("everything");
    let all = Everything::new("az://everything/deep/er".to_owned(), azurite.variables());
    all.everything_is_found();
    all.everything_is_shown();
}

/// Names of archives with manifests that are cut, which do not hide them.
fn many(server: &S3Server, archives: u64) {
    for n in 0..archives {
        let path = |end: &str| server.object_path("bucket", &format!("{GUID}-{}{end}", 1_700_000_000_000 + n));
        std::fs::write(path("-0"), b"a part of something").unwrap();
        std::fs::write(path(".json"), format!("{:500}", r#"{"backstay":1,"#)).unwrap();
    }
}

/// Waits until a run that nobody reads from asks for nothing more.
fn stalled(proxy: &Proxy) -> (usize, usize) {
    let asked = || {
        let log = proxy.log();
        let lists = log.iter().filter(|request| request.target.contains("list-type=2")).count();
        (lists, log.len() - lists)
    };
    let mut before = asked();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = asked();
        if now == before && now.0 > 0 {
            return now;
        }
        before = now;
    }
}

#[test]
fn lines_are_printed_while_the_store_is_listed_and_a_document_while_manifests_are_read() {
    const ARCHIVES: u64 = 3000;
    let server = S3Server::with_bucket("bucket");
    many(&server, ARCHIVES);
    let place = Place::new();
    for (arguments, lists, gets) in
        [(["list", "--json-lines", "--short"], 1..=2, 0..=0), (["--json", "list", "--incomplete"], 6..=6, 1..=1000)]
    {
        let proxy = Proxy::start(server.address(), |_| Fate::Pass);
        let mut run = place.run(arguments);
        for (name, value) in server.variables(&proxy.endpoint) {
            run = run.env(&name, value);
        }
        let mut child = run.env("BACKSTAY_STORE", "s3://bucket").start();
        let mut out = BufReader::with_capacity(16, child.stdout.take().unwrap());
        let mut first = vec![0; 100];
        out.read_exact(&mut first).unwrap();
        // The pipe is full, and the run waits for its reader: it cannot have asked for everything.
        let asked = stalled(&proxy);
        assert!(lists.contains(&asked.0) && gets.contains(&asked.1), "{arguments:?}: {asked:?}");
        let mut text = String::from_utf8(first).unwrap();
        out.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(text.matches("\"committed\"").count() as u64, ARCHIVES);
        assert_eq!(stalled(&proxy).0, 6);
    }
}

#[test]
fn a_list_that_is_not_whole_has_no_last_line() {
    let server = S3Server::with_bucket("bucket");
    many(&server, 1200);
    let place = Place::new();
    let proxy = Proxy::start(server.address(), |request| match request.number {
        3.. => Fate::AnswerInstead(403, "AccessDenied"),
        _ => Fate::Pass,
    });
    let mut run = place.run(["list", "--json-lines", "--short"]);
    for (name, value) in server.variables(&proxy.endpoint) {
        run = run.env(&name, value);
    }
    let done = run.env("BACKSTAY_STORE", "s3://bucket").fails("store.denied", 40);
    let lines: Vec<_> = done.stdout.lines().map(|line| line.unwrap()).collect();
    assert!(lines.len() > 900 && lines.len() < 1200, "{}", lines.len());
    assert!(lines.iter().all(|line| line.contains("\"type\":\"listed_archive\"")));
}

#[test]
fn a_list_fits_the_terminal_it_is_printed_on() {
    let place = Place::new();
    let first = place.backup("content", &["--tag", "weekly"]);
    let second = place.backup("content", &[]);
    place.run(["hold", &second, "--reason", "the audit"]).good();
    let listed = |columns: u32, verb: &str| {
        let (status, screen) = Terminal::start(&place, &format!("stty cols {columns}; $backstay {verb}")).end();
        assert_eq!(status, 0, "{screen}");
        // What comes last takes the progress line away.
        screen.lines().filter(|line| !line.contains('\x1b')).map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
    };
    let piped = place.run(["list"]).good();
    let piped: Vec<&str> = piped.out().lines().collect();
    assert_eq!(listed(200, "list"), piped);
    assert_eq!(listed(0, "list"), piped, "a terminal that does not tell its width");

    let at_120 = listed(120, "list");
    assert_eq!(at_120.len(), 3);
    assert!(at_120.iter().all(|line| line.len() <= 120), "{at_120:?}");
    assert!(!at_120[0].contains("PARTS") && at_120[1].starts_with(&first) && at_120[2].ends_with("held"), "{at_120:?}");

    let at_80 = listed(80, "list");
    assert_eq!((at_80.len(), at_80[0].as_str()), (6, "ARCHIVE"));
    assert!(at_80[1..].iter().all(|line| line.len() <= 80), "{at_80:?}");
    assert!(at_80[1].starts_with("  BEGUN") && at_80[1].ends_with("MARKS"), "{at_80:?}");
    assert_eq!((&at_80[2], &at_80[4]), (&first, &second));
    assert!(at_80[3].contains("pg-main") && at_80[3].ends_with("weekly") && at_80[5].ends_with("held"), "{at_80:?}");

    // One without what takes place fits on one line.
    let short = listed(110, "list --short");
    assert!(short.len() == 3 && short.iter().all(|line| line.len() <= 110), "{short:?}");
    let plan = listed(80, "prune --keep-last 1");
    assert!(plan.len() >= 6 && plan.iter().take(6).all(|line| line.len() <= 80), "{plan:?}");
    assert!(plan.contains(&first) && plan.iter().any(|line| line.contains("no rule keeps it")), "{plan:?}");
}
