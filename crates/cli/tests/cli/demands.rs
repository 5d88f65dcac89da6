//! What a reader demands and says of an archive, at every verb that reads: each option that is wrong has its code, so that none does nothing.

use crate::harness::{Done, Place, Run, noise, shell};
use crate::set::set_of;

/// Verbs that read an archive with its key. ID is the archive; reassemble gets a store without the manifest, and comes last, since it makes one.
const READING: [&str; 11] = [
    "restore ID -o restored",
    "restore ID -- wc -c",
    "restore ID --to-db host=/nowhere",
    "restore ID --pg-table public.t -o tables",
    "cat ID",
    "cat ID --range 0..1",
    "cat ID --atomic",
    "verify ID --depth deep",
    "salvage ID -o salvaged",
    "drill ID --no-record -- wc -c",
    "reassemble ID",
];

const OLD: &str = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000";
const ROOT: &str = "abababababababababababababababababababababababababababababababab";

/// An archive as the shell pipeline makes it, in a store of its own.
fn foreign(place: &Place, store: &str, pack: &str) {
    place.write("content", noise(300_000));
    let line = format!(
        "mkdir -p {store} && {pack} < content | openssl enc -aes-256-cbc -md md5 -pass file:passphrase.txt 2>/dev/null | split -b 100000 -d -a 1 - {store}/{OLD}-"
    );
    shell(&place.path(""), &line);
}

fn signer(place: &Place, file: &str) -> String {
    place.run(["key", "generate", "--signing", file]).good();
    place.run(["key", "show", file]).good().out().trim().to_owned()
}

/// A verb's line with these further options, which stand before a command.
fn line<'a>(place: &'a Place, verb: &str, id: &str, store: &str, options: &[&str]) -> Run<'a> {
    let (verb, command) = match verb.split_once(" -- ") {
        Some((verb, command)) => (verb, Some(command)),
        None => (verb, None),
    };
    let words = verb.split(' ').map(|word| if word == "ID" { id } else { word });
    let run = place.run(words).args(options).env("BACKSTAY_STORE", place.path(store));
    match command {
        Some(command) => run.arg("--").args(command.split(' ')),
        None => run,
    }
}

fn fails_with(done: &Done, code: &str, what: &str) -> bool {
    assert!(!done.stderr.contains("error[internal]"), "{what}: {}", done.stderr);
    done.stderr.contains(&format!("error[{code}]"))
}

/// A copy of the store without its manifests.
fn without_manifests(place: &Place, store: &str) -> String {
    let bare = format!("{store}-bare");
    shell(&place.path(""), &format!("cp -r {store} {bare} && rm -f {bare}/*.json"));
    bare
}

fn store_of<'a>(verb: &str, store: &'a str, bare: &'a str) -> &'a str {
    if verb.starts_with("reassemble") { bare } else { store }
}

#[test]
fn each_demand_on_a_native_archive_is_judged_by_each_verb() {
    let place = Place::new();
    let id = place.backup(noise(300_000), &[]);
    let stranger = signer(&place, "stranger.pem");
    let bare = without_manifests(&place, "store");
    let demands: [(&[&str], &str, i32); 4] = [
        (&["--signer", &stranger], "key.signer", 12),
        (&["--receipt", ROOT], "manifest.root", 20),
        (&["--format", "openssl"], "openssl.magic", 20),
        (&["--passphrase-command", "false"], "key.passphrase", 12),
    ];
    for verb in READING.into_iter().chain(["reassemble ID --join joined"]) {
        let (join, reassembles) = (verb.contains("--join"), verb.starts_with("reassemble"));
        let store = if join { "store" } else { store_of(verb, "store", &bare) };
        for (demand, code, exit) in demands {
            let options = [&["-i", "key.txt"], demand].concat();
            line(&place, verb, &id, store, &options).fails(code, exit);
        }
        // Also of a native archive, a seal is what a reader without the manifest cannot demand.
        if reassembles {
            line(&place, verb, &id, store, &["-i", "key.txt", "--require-seal"]).fails("usage.arguments", 2);
        } else if verb.starts_with("salvage") {
            line(&place, verb, &id, &bare, &["-i", "key.txt", "--require-seal"]).fails("manifest.seal", 20);
        }
        if !reassembles && !verb.starts_with("verify") && !verb.starts_with("drill") {
            let options = ["-i", "key.txt", "--require-seal", "--no-manifest"];
            line(&place, verb, &id, &bare, &options).fails("usage.arguments", 2).says("a seal");
        }
    }
    for name in ["restored", "tables", "salvaged", "joined"] {
        assert!(!place.path(name).exists(), "{name}");
    }
    assert!(!place.path(&format!("{bare}/{id}.json")).exists());
    // And the same demands met.
    let root = place.run(["--json", "show", &id]).good().json("archive")["root"].as_str().unwrap().to_owned();
    for verb in READING.into_iter().chain(["reassemble ID --join joined"]) {
        let store = store_of(verb, "store", &bare);
        let options = ["-i", "key.txt", "--receipt", &root, "--format", "native", "--passphrase-command", "echo x"];
        let done = line(&place, verb, &id, store, &options).done();
        let codes = ["manifest.root", "openssl.magic", "part.magic", "key.passphrase"];
        assert!(codes.into_iter().all(|code| !fails_with(&done, code, verb)), "{verb}: {}", done.stderr);
    }
    assert!(place.path(&format!("{bare}/{id}.json")).exists() && place.path("joined").exists());
}

#[test]
fn what_is_said_of_an_openssl_archive_is_heard_by_each_verb() {
    let place = Place::new();
    foreign(&place, "old", "gzip");
    foreign(&place, "plain", "cat");
    let stranger = signer(&place, "stranger.pem");
    let key: &[&str] = &["--passphrase-file", "passphrase.txt"];
    let demands: [(&[&str], &str, i32); 5] = [
        (&["--md", "sha256"], "openssl.key", 12),
        (&["--pbkdf2-iter", "1000"], "openssl.key", 12),
        (&["--format", "native"], "part.magic", 20),
        (&["--signer", &stranger], "key.open", 12),
        (&["--payload", "raw"], "usage.arguments", 2),
    ];
    for verb in READING {
        let reassembles = verb.starts_with("reassemble");
        for (demand, code, exit) in demands {
            line(&place, verb, OLD, "old", &[key, demand].concat()).fails(code, exit);
        }
        let (code, exit) = if reassembles { ("usage.arguments", 2) } else { ("manifest.seal", 20) };
        line(&place, verb, OLD, "old", &[key, &["--require-seal"]].concat()).fails(code, exit);
        let code = if reassembles { "manifest.root" } else { "manifest.seal" };
        line(&place, verb, OLD, "old", &[key, &["--receipt", ROOT]].concat()).fails(code, 20);
        line(&place, verb, OLD, "old", &["--passphrase-command", "false"]).fails("key.passphrase", 12);
        // A payload that is not gzip is only read when that is said.
        line(&place, verb, OLD, "plain", key).fails("openssl.key", 12);
        let raw = line(&place, verb, OLD, "plain", &[key, &["--payload", "raw", "--md", "md5"]].concat()).done();
        assert!(!fails_with(&raw, "openssl.key", verb), "{verb}: {}", raw.stderr);
    }
    assert!(place.path(&format!("plain/{OLD}.json")).exists(), "reassembled with the payload that was said");
    std::fs::remove_file(place.path(&format!("plain/{OLD}.json"))).unwrap();
    line(&place, "reassemble ID --join joined", OLD, "old", &["--receipt", ROOT]).fails("manifest.root", 20);
    line(&place, "reassemble ID --join joined", OLD, "old", &["--require-seal"]).fails("usage.arguments", 2);
    assert!(!place.path("joined").exists() && !place.path(&format!("old/{OLD}.json")).exists());

    // Verbs that take no demands, and read all the same.
    let copy = format!("copy ID --to new --to-format native -r {}", place.recipient);
    for (said, code, exit) in [demands[0], demands[1], demands[4]] {
        line(&place, &copy, OLD, "old", &[key, said].concat()).fails(code, exit);
    }
    line(&place, &copy, OLD, "old", &["--passphrase-command", "false"]).fails("key.passphrase", 12);
    line(&place, &copy, OLD, "plain", key).fails("openssl.key", 12);
    line(&place, &copy, OLD, "plain", &[key, &["--payload", "raw", "--md", "md5"]].concat()).good();
    assert!(place.run(["cat", OLD, "-s", "new", "-i", "key.txt"]).good().stdout == noise(300_000));
    let audit = |store: &str, options: &[&str]| line(&place, "key audit", OLD, store, &[key, options].concat()).done();
    assert_eq!(audit("old", &[]).status.code(), Some(0));
    assert_eq!(audit("old", &["--md", "sha256"]).status.code(), Some(3));
    assert_eq!(audit("old", &["--pbkdf2-iter", "1000"]).status.code(), Some(3));
    assert_eq!(audit("old", &["--payload", "raw"]).status.code(), Some(2));
    assert_eq!(audit("plain", &[]).status.code(), Some(3));
    assert_eq!(audit("plain", &["--payload", "raw", "--md", "md5"]).status.code(), Some(0));
}

#[test]
fn an_archive_that_is_not_encrypted_is_read_by_no_verb_unless_that_is_said() {
    let place = Place::new();
    let run = place.run(["backup", "--name", "pg-main", "--no-encryption"]).stdin(noise(300_000)).good();
    let id = run.out().split(' ').next().unwrap().to_owned();
    let bare = without_manifests(&place, "store");
    for verb in READING {
        let store = store_of(verb, "store", &bare);
        line(&place, verb, &id, store, &[]).fails("key.open", 12);
        let allowed = line(&place, verb, &id, store, &["--allow-open"]).done();
        assert!(!fails_with(&allowed, "key.open", verb), "{verb}: {}", allowed.stderr);
    }
}

#[test]
fn a_passphrase_command_is_run_by_each_verb_of_keys() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    let rewrap = format!("key rewrap ID -r {}", place.recipient);
    for verb in [rewrap.as_str(), "key export ID -o sheet.txt", "key audit", "show ID"] {
        line(&place, verb, &id, "store", &["-i", "key.txt", "--passphrase-command", "false"])
            .fails("key.passphrase", 12);
    }
    assert!(!place.path("sheet.txt").exists());
}

#[test]
fn a_demand_that_is_not_met_leaves_no_report_in_the_store() {
    let place = Place::new();
    let id = place.backup(noise(300_000), &[]);
    let stranger = signer(&place, "stranger.pem");
    place.run(["key", "generate", "other.txt"]).good();
    foreign(&place, "old", "gzip");
    let native: [(&[&str], &str); 4] = [
        (&["-i", "key.txt", "--receipt", ROOT], "manifest.root"),
        (&["-i", "key.txt", "--format", "openssl"], "openssl.magic"),
        (&["-i", "key.txt", "--signer", &stranger], "key.signer"),
        (&["-i", "other.txt"], "key.not-found"),
    ];
    let password = ["--passphrase-file", "passphrase.txt"];
    let openssl: [(&[&str], &str); 6] = [
        (&["--receipt", ROOT], "manifest.seal"),
        (&["--require-seal"], "manifest.seal"),
        (&["--format", "native"], "part.magic"),
        (&["--signer", &stranger], "key.open"),
        (&["--md", "sha256"], "openssl.key"),
        (&["--pbkdf2-iter", "1000"], "openssl.key"),
    ];
    let openssl = openssl.map(|(demand, code)| ([&password[..], demand].concat(), code));
    let native = native.map(|(demand, code)| (demand.to_vec(), code));
    let cases = native.into_iter().map(|case| ("store", id.as_str(), case));
    let cases = cases.chain(openssl.into_iter().map(|case| ("old", OLD, case)));
    for (store, id, (demand, code)) in cases {
        for verb in ["drill ID -- wc -c", "verify ID --depth deep --record"] {
            for sign in [&[][..], &["--sign-key", "stranger.pem"]] {
                let done = line(&place, verb, id, store, &[&demand, sign].concat()).done();
                assert!(fails_with(&done, code, verb), "{verb} {demand:?}: not {code} but {}", done.stderr);
                if verb.starts_with("verify") {
                    done.says("nothing is recorded");
                }
                let names = shell(&place.path(store), "ls");
                assert!(!String::from_utf8_lossy(&names).contains(".verified."), "{verb} {demand:?} {sign:?}");
            }
        }
    }
    // What is wrong with the archive itself is kept whatever was demanded of it besides, and the demand is not.
    let path = place.store().join(format!("{id}-0"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let verb = "verify ID --depth deep --record";
    let done = line(&place, verb, &id, "store", &["-i", "key.txt", "--receipt", ROOT, "--json"]).done().json("verify");
    let report = String::from_utf8(place.read(&format!("store/{}", done["recorded"].as_str().unwrap()))).unwrap();
    assert!(report.contains("\"result\":\"bad\"") && report.contains("segment.auth"), "{report}");
    assert!(!report.contains("manifest.root"), "{report}");
}

#[test]
fn the_programs_that_a_database_is_filled_with_are_those_that_are_named() {
    let place = Place::new();
    let dump = format!("-- PostgreSQL database dump\n{}", "SELECT 1;\n".repeat(20));
    let id = place.backup(dump, &["--no-require-trailer"]);
    let restore = ["restore", &id, "-i", "key.txt", "--to-db", "host=/nowhere", "--pg-bin", "/nowhere/bin"];
    place.run(restore).fails("target.programs", 2).says("/nowhere/bin");
}

/// Options that say something, beside what each verb does with an archive or a set: of each pair that cannot be honoured the code that it is refused with, and
/// of the others the code of what they ask for. ID is an archive, SET a backup set, SIGNER a stranger's.
const PAIRS: [(&str, &str, i32); 81] = [
    ("restore ID --to-db host=/nowhere --pg-table public.t", "usage.arguments", 2),
    ("restore SET --to-db host=/nowhere --pg-table public.t", "usage.arguments", 2),
    ("restore ID --to-db host=/nowhere --range 0..1", "usage.arguments", 2),
    ("restore ID --to-db host=/nowhere --raw", "usage.arguments", 2),
    ("restore ID --to-db host=/nowhere -o out", "usage.arguments", 2),
    ("restore ID --to-db host=/nowhere -- cat", "usage.arguments", 2),
    ("restore ID --to-db host=/nowhere --spool-dir .", "usage.arguments", 2),
    ("restore ID --to-db host=/nowhere --no-manifest --require-seal", "usage.arguments", 2),
    ("restore SET --to-db host=/nowhere --no-manifest", "usage.arguments", 2),
    ("restore SET --to-db host=/nowhere --receipt ROOT", "usage.arguments", 2),
    ("restore ID --pg-table public.t", "usage.arguments", 2),
    ("restore ID --pg-table public.t -- cat", "usage.arguments", 2),
    ("restore SET --pg-table public.t -o out", "usage.selector", 2),
    ("restore ID --pg-table public.t -o out --range 0..1", "usage.arguments", 2),
    ("restore ID --pg-table public.t -o out --raw", "usage.arguments", 2),
    ("restore ID --pg-table public.t -o out --atomic", "usage.arguments", 2),
    ("restore ID --pg-table public.t -o out --spool-dir .", "usage.arguments", 2),
    ("restore ID -o out -- cat", "usage.arguments", 2),
    ("restore ID -o out --spool-dir .", "usage.arguments", 2),
    ("restore ID -o out --pg-bin /usr/bin", "usage.arguments", 2),
    ("restore ID -o out --into-used", "usage.arguments", 2),
    ("restore ID -o out --any-version", "usage.arguments", 2),
    ("restore ID -o out --no-owner", "usage.arguments", 2),
    ("restore ID --no-owner -- cat", "usage.arguments", 2),
    ("restore ID --spool-dir . -- cat", "usage.arguments", 2),
    ("restore ID -o out --range 0..2 --raw", "usage.arguments", 2),
    ("restore ID -o out --max-output 4", "stream.limit", 23),
    ("restore ID -o out --max-output 4 --atomic", "stream.limit", 23),
    ("restore ID -o out --max-output 4 --raw", "stream.limit", 23),
    ("restore ID -o out --max-output 4 --range 2..7", "stream.limit", 23),
    ("restore ID -o out --max-output 4 --no-manifest", "stream.limit", 23),
    ("restore ID --max-output 4 -- cat", "stream.limit", 23),
    ("restore SET -o out --max-output 4", "stream.limit", 23),
    ("restore SET -o out --range 0..1", "usage.arguments", 2),
    ("restore SET -o out --raw", "usage.arguments", 2),
    ("restore SET -o out --no-manifest", "usage.arguments", 2),
    ("restore SET -o out --receipt ROOT", "usage.arguments", 2),
    ("restore SET -- cat", "usage.selector", 2),
    ("cat SET", "usage.selector", 2),
    ("cat ID --spool-dir .", "usage.arguments", 2),
    ("cat ID --range 0..2 --raw", "usage.arguments", 2),
    ("cat ID --max-output 4 --range 2..7", "stream.limit", 23),
    ("cat OLD --max-output 4 --range 2..7", "stream.limit", 23),
    ("verify ID --sums --depth deep", "usage.arguments", 2),
    ("verify ID --sums --record", "usage.arguments", 2),
    ("verify ID --sums --require-seal", "usage.arguments", 2),
    ("verify ID --sums --receipt ROOT", "manifest.root", 20),
    ("verify ID --sums --signer SIGNER", "key.signer", 12),
    ("verify ID --sums --format openssl", "openssl.magic", 20),
    ("verify SET --sums", "usage.arguments", 2),
    ("verify SET --receipt ROOT", "usage.arguments", 2),
    ("verify SET --depth full --signer SIGNER", "key.signer", 12),
    ("verify ID --depth quick --receipt ROOT", "manifest.root", 20),
    ("verify ID --depth quick --signer SIGNER", "key.signer", 12),
    ("verify ID --depth full --require-seal", "usage.arguments", 2),
    ("verify ID --depth quick --require-seal", "usage.arguments", 2),
    ("verify SET --depth full --require-seal", "usage.arguments", 2),
    ("verify OLD --depth quick --md md5", "usage.arguments", 2),
    ("verify OLD --depth full --md sha256", "usage.arguments", 2),
    ("verify OLD --depth full --pbkdf2-iter 1000", "usage.arguments", 2),
    ("verify OLD --depth quick --payload gzip", "usage.arguments", 2),
    ("verify ID --depth full --payload raw --md md5", "usage.arguments", 2),
    ("verify SET --depth full --md md5", "usage.arguments", 2),
    ("verify ID --sums --md md5", "usage.arguments", 2),
    ("verify ID --sign-key sign.pem", "usage.arguments", 2),
    ("drill ID --no-record --sign-key sign.pem -- cat", "usage.arguments", 2),
    ("drill ID --db shop", "usage.arguments", 2),
    ("drill ID --expect 1", "usage.arguments", 2),
    ("drill SET -- cat", "usage.arguments", 2),
    ("reassemble ID --join out --name shop", "usage.arguments", 2),
    ("reassemble ID --join out --replace", "usage.arguments", 2),
    ("show ID --objects --document", "usage.arguments", 2),
    ("show SET --document", "usage.arguments", 2),
    ("copy ID --to new", "usage.arguments", 2),
    ("check --name shop", "usage.arguments", 2),
    ("check --guid de2fe9e4-6535-423d-8709-dca87df7985c", "usage.arguments", 2),
    ("check --min-percent 90", "usage.arguments", 2),
    ("check --signer SIGNER", "usage.arguments", 2),
    ("check --report-signer SIGNER", "usage.arguments", 2),
    ("check", "usage.arguments", 2),
    ("copy ID --repair new --reencrypt", "usage.arguments", 2),
];

#[test]
fn no_option_is_accepted_where_it_does_nothing() {
    let place = Place::new();
    let id = place.backup("content of 21 letters", &[]);
    let stranger = signer(&place, "sign.pem");
    let set = set_of(&place, "shop", &[&id]);
    foreign(&place, "store", "gzip");
    let before = place.objects();
    for (words, code, exit) in PAIRS {
        let (words, command) = match words.split_once(" -- ") {
            Some((words, command)) => (words, Some(command)),
            None => (words, None),
        };
        let words = words.split(' ').map(|word| match word {
            "ID" => &id,
            "SET" => &set,
            "OLD" => OLD,
            "SIGNER" => &stranger,
            "ROOT" => ROOT,
            word => word,
        });
        let words: Vec<&str> = words.collect();
        let key = if words.contains(&OLD) { ["--passphrase-file", "passphrase.txt"] } else { ["-i", "key.txt"] };
        let run = place.run(&words).args(key);
        let run = command.into_iter().fold(run, |run, command| run.arg("--").args(command.split(' ')));
        run.fails(code, exit);
        // The directory of a set may be there, and nothing is in it.
        let left = std::fs::read_dir(place.path("out")).map_or(0, Iterator::count);
        assert!(left == 0 && !place.path("out").is_file(), "{words:?} has written something");
        let _ = std::fs::remove_dir(place.path("out"));
    }
    assert_eq!(place.objects(), before);
    // Without a key nothing proves a seal, and at the depth that follows from it nothing looks for one.
    place.run(["verify", &id, "--require-seal"]).fails("usage.arguments", 2).says("no key");
    place.run(["verify", &id, "--require-seal", "-i", "key.txt"]).good();
    place.run(["verify", OLD, "--md", "sha256"]).fails("usage.arguments", 2).says("--md").says("no key");
    place.run(["verify", OLD, "--md", "md5", "--passphrase-file", "passphrase.txt"]).good();
    place.run(["verify", OLD, "--depth", "full"]).env("BACKSTAY_MD", "sha256").good();
    let hint = place.run(["restore", &id, "--pg-table", "public.t", "--to-db", "host=/nowhere"]).done();
    hint.says("--pg-table public.t -o FILE").says("pg_restore");
    // And the same met.
    let root = place.run(["--json", "show", &id]).good().json("archive")["root"].as_str().unwrap().to_owned();
    place.run(["verify", &id, "--sums", "--receipt", &root, "--format", "native"]).good().says_out(&id);
    let range = place.run(["cat", &id, "-i", "key.txt", "--max-output", "5", "--range", "2..7"]);
    assert_eq!(range.good().stdout, b"ntent");
    place.run(["show", &set, "--objects"]).good().says_out(&format!("object     {set}.set.json "));
    // A configuration may name what only some of its runs have a use for.
    let run = place.run(["cat", &id, "-i", "key.txt"]).env("BACKSTAY_SPOOL_DIR", "/nowhere");
    assert_eq!(run.good().stdout, b"content of 21 letters");
}
