//! Signals: a run ends in order, leaves no manifest, and says what is left; and it ends soon, whatever the store does.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backstay_testkit::S3Server;
use backstay_testkit::proxy::{Fate, ProxiedRequest, Proxy};

use crate::harness::{BINARY, Done, Place, noise, until};
use crate::terminal::Terminal;

fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn an_interrupted_backup_commits_nothing_and_says_what_is_left() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        let place = Place::new();
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]);
        let mut child = run.start();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&noise(8 << 20)).unwrap();
        until("a stored part", || !place.objects().is_empty());
        send(signal, child.id());
        let done = run.end(child.wait_with_output().unwrap());
        drop(stdin);
        assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
        done.says("error[interrupted]").says("nothing was committed");
        assert!(done.stdout.is_empty());
        let objects = place.objects();
        assert!(objects.iter().all(|name| !name.ends_with(".json")), "{objects:?}");
        assert!(objects.is_empty() || done.stderr.contains(&objects[0][..50]), "{}: {objects:?}", done.stderr);
    }
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let place = Place::new();
    // It ignores being told to end, for as long as we are willing to wait.
    let line = format!("trap '' TERM INT; touch {}; sleep 30", place.path("ready").display());
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", &line]);
    let child = run.start();
    until("the command's start", || place.path("ready").exists());
    let begun = Instant::now();
    send("-INT", child.id());
    std::thread::sleep(Duration::from_millis(300));
    send("-INT", child.id());
    let mut child = child;
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_second_hangup_is_not_impatience() {
    let place = Place::new();
    // It needs a second to end in order, and hears nothing of hangups.
    let line = format!(
        "trap '' HUP; trap 'sleep 1; touch {}; exit 1' TERM; touch {}; while :; do sleep 0.1; done",
        place.path("ended").display(),
        place.path("ready").display()
    );
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--", "sh", "-c", &line]);
    let child = run.start();
    until("the command's start", || place.path("ready").exists());
    for _ in 0..3 {
        send("-HUP", child.id());
        std::thread::sleep(Duration::from_millis(200));
    }
    let done = run.end(child.wait_with_output().unwrap());
    assert_eq!(done.status.code(), Some(130), "{}", done.stderr);
    done.says("error[interrupted]").says("nothing was committed");
    assert!(place.path("ended").exists(), "{}", done.stderr);
}

#[test]
fn a_run_that_was_started_to_ignore_hangups_outlives_them() {
    let place = Place::new();
    // Ours, and then the command's own, which is left as it was, too.
    let producer = "kill -HUP $PPID; sleep 0.5; kill -HUP $$; echo content";
    let run = place.run(["backup"]);
    for (with, status) in [("trap '' HUP; exec", 0), ("exec env --default-signal=HUP", 130)] {
        let plain = run.command();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("{with} \"$@\""),
            "sh",
            BINARY,
            "backup",
            "--name",
            "pg-main",
            "-r",
            &place.recipient,
        ]);
        command.args(["--", "sh", "-c", producer]);
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let done = run.end(command.current_dir(place.path("")).output().unwrap());
        assert_eq!(done.status.code(), Some(status), "{with}: {}", done.stderr);
    }
    assert_eq!(place.cat("latest"), b"content\n");
}

#[test]
fn a_terminal_that_goes_away_leaves_no_half_file() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    let mut variables = server.variables(&server.endpoint);
    variables.push(("BACKSTAY_STORE".to_owned(), "s3://bucket/pg".to_owned()));
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]);
    variables.iter().fold(run.stdin(noise(8 << 20)), |run, (name, value)| run.env(name, value)).good();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    // A minute for all of it.
    let line = "exec env --default-signal=HUP $backstay restore latest -i key.txt -o restored --limit-download 128KiB";
    let terminal = Terminal::with(&place, line, &variables);
    until("a file that is not whole", || !place.partials().is_empty());
    terminal.goes_away();
    until("its end", || place.partials().is_empty());
    assert!(!place.path("restored").exists());
}

#[test]
fn a_status_line_is_printed_on_demand() {
    let place = Place::new();
    for (arguments, sign) in [(&["-q"][..], "stored"), (&["--json"], "\"type\":\"status\"")] {
        let run =
            place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]).args(arguments);
        let mut child = run.start();
        let mut stdin = child.stdin.take().unwrap();
        let before = place.objects().len();
        stdin.write_all(&noise(6 << 20)).unwrap();
        until("a stored part", || place.objects().len() > before);
        send("-USR1", child.id());
        std::thread::sleep(Duration::from_millis(300));
        drop(stdin);
        let done = run.end(child.wait_with_output().unwrap());
        assert!(done.status.success(), "{}", done.stderr);
        done.says(sign);
    }
}

#[test]
fn a_killed_backup_leaves_no_manifest_and_the_next_one_works() {
    let place = Place::new();
    let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient, "--part-size", "1MiB"]);
    let mut child = run.start();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(4 << 20)).unwrap();
    until("a stored part", || !place.objects().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.objects().iter().all(|name| !name.ends_with(".json")));
    let id = place.backup("content", &[]);
    assert_eq!(place.cat(&id), b"content");
}

/// Verbs, and actions of `key`, that ask no store.
const WITHOUT_A_STORE: [&str; 8] = ["policy", "explain", "config", "completions", "man", "help", "generate", "show"];

/// Each verb that asks a store, with what else it needs. ID stands for an archive, KEY for the public key.
const WITH_A_STORE: [&str; 33] = [
    "backup --name pg-main -r KEY",
    "backup --name pg-main -r KEY --spool spool",
    "backup --name pg-main -r KEY -- echo content",
    "backup --name pg-main -r KEY -s store --also s3://bucket/pg --also-required",
    "list",
    "show ID",
    "show latest",
    "restore ID -i key.txt -o restored",
    "restore ID -i key.txt -- cat",
    "cat ID -i key.txt",
    "cat latest -i key.txt",
    "verify ID -i key.txt",
    "verify ID --depth quick",
    "reassemble ID -i key.txt",
    "copy ID --to copies",
    "copy --all --to copies",
    "copy ID -s store --to s3://bucket/pg",
    "copy ID -s store --repair s3://bucket/pg",
    "salvage ID -i key.txt",
    "drill ID -i key.txt -- cat",
    "prune --keep-last 1 --yes",
    "rm ID --yes",
    "hold ID",
    "release ID",
    "note ID text",
    "tag ID tag",
    "gc --yes",
    "check",
    "check --max-age 26h",
    "key audit",
    "key rewrap ID -i key.txt -r KEY",
    "key destroy ID --yes",
    "key export ID -i key.txt -o sheet.txt",
];

/// The words that a page of help lists as verbs.
fn verbs(page: &str) -> BTreeSet<String> {
    let lines = page.lines().skip_while(|line| !matches!(*line, "Verbs:" | "Commands:")).skip(1);
    let words = lines.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    words.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

#[test]
fn no_verb_that_asks_a_store_is_missing_here() {
    let place = Place::new();
    let tried = |first: usize| WITH_A_STORE.iter().filter_map(move |line| line.split(' ').nth(first));
    let of_key = WITH_A_STORE.iter().filter_map(|line| line.strip_prefix("key ")?.split(' ').next());
    for (page, tried) in [("--help", tried(0).collect::<BTreeSet<_>>()), ("key --help", of_key.collect())] {
        let listed = verbs(place.run(page.split(' ')).good().out());
        assert!(listed.len() > 5, "{listed:?}");
        for verb in listed {
            assert!(tried.contains(&*verb) || WITHOUT_A_STORE.contains(&&*verb), "{verb} is not tried");
        }
    }
}

/// Runs a line of the table at this store, sends a signal once `met`, and demands that this ends it.
fn ends(place: &Place, line: &str, id: &str, variables: &[(String, String)], signal: &str, met: &AtomicBool) -> Done {
    let words = line.split(' ').map(|word| match word {
        "ID" => id,
        "KEY" => &place.recipient,
        word => word,
    });
    let run = place.run(words).env("BACKSTAY_STORE", "s3://bucket/pg");
    let run = variables.iter().fold(run, |run, (name, value)| run.env(name, value));
    let mut child = run.start();
    // It may want no content at all.
    let _ = child.stdin.take().unwrap().write_all(b"content");
    until(line, || met.load(Ordering::Relaxed) || child.try_wait().unwrap().is_some());
    std::thread::sleep(Duration::from_millis(300));
    if child.try_wait().unwrap().is_some() {
        panic!("{line} did not wait for the store: {}", run.end(child.wait_with_output().unwrap()).stderr);
    }
    let begun = Instant::now();
    send(signal, child.id());
    let done = run.end(child.wait_with_output().unwrap());
    assert_eq!(done.status.code(), Some(130), "{line}: {}", done.stderr);
    assert!(begun.elapsed() < Duration::from_secs(6), "{line}: {:?}", begun.elapsed());
    done.says("error[interrupted]: interrupted; ");
    done
}

#[test]
fn every_verb_ends_at_the_first_signal_although_the_store_is_silent() {
    let (place, server) = (Place::new(), S3Server::with_bucket("bucket"));
    // Also in a directory, for what goes from there to the silent store.
    let id = &place.backup("content", &[]);
    std::thread::scope(|scope| {
        for (line, signal) in WITH_A_STORE.iter().zip(["-HUP", "-TERM", "-INT"].into_iter().cycle()) {
            let (place, server) = (&place, &server);
            scope.spawn(move || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let endpoint = format!("http://{}", listener.local_addr().unwrap());
                let met = Arc::new(AtomicBool::new(false));
                let meeting = Arc::clone(&met);
                // Until the test's end: nothing is said, and nothing is closed.
                std::thread::spawn(move || {
                    let mut held = Vec::new();
                    while let Ok((connection, _)) = listener.accept() {
                        held.push(connection);
                        meeting.store(true, Ordering::Relaxed);
                    }
                });
                ends(place, line, id, &server.variables(&endpoint), signal, &met);
            });
        }
    });
    assert_eq!(place.objects().iter().filter(|name| name.ends_with(".json")).count(), 1, "{:?}", place.objects());
}

#[test]
fn every_verb_ends_at_the_first_signal_when_the_store_falls_silent_on_the_way() {
    type Which = fn(&ProxiedRequest) -> bool;
    let place = Place::new();
    let server = S3Server::with_bucket("bucket");
    let backup = |arguments: &[&str]| {
        let run = place.run(["backup", "--name", "pg-main", "-r", &place.recipient]).args(arguments);
        let run = run.env("BACKSTAY_STORE", "s3://bucket/pg").stdin(noise(3 << 20));
        let run = server.variables(&server.endpoint).iter().fold(run, |run, (name, value)| run.env(name, value));
        run.good().out().split(' ').next().unwrap().to_owned()
    };
    let id = backup(&["--part-size", "1MiB"]);
    // The newer one is there for prune to let the older one go.
    let detached = backup(&["--detached-keys"]);
    let manifest: Which = |request| request.method == "GET" && request.target.contains(".json");
    let part: Which = |request| request.method == "GET" && request.target.ends_with("-1");
    let write: Which = |request| request.method == "PUT";
    let commit: Which = |request| request.method == "PUT" && request.target.ends_with(".json");
    let delete: Which = |request| request.method == "DELETE";
    let page: Which = |request| request.target.contains("list-type");
    // It does not even reach the server.
    let silence = || Fate::Delay(Duration::from_secs(3600));
    let cases: [(&str, &str, Which, Fate); 25] = [
        ("list", &id, page, Fate::StallAnswer(100)),
        ("list", &id, manifest, Fate::StallAnswer(100)),
        ("show ID", &id, manifest, Fate::StallAnswer(100)),
        ("restore ID -i key.txt -o restored", &id, part, Fate::StallAnswer(1000)),
        ("restore ID -i key.txt -- cat", &id, part, Fate::StallAnswer(1000)),
        ("cat ID -i key.txt", &id, part, Fate::StallAnswer(1000)),
        ("cat ID -i key.txt --atomic", &id, part, Fate::StallAnswer(1000)),
        ("verify ID -i key.txt", &id, part, Fate::StallAnswer(1000)),
        ("verify ID --depth full", &id, part, Fate::StallAnswer(1000)),
        ("verify ID -i key.txt --record", &id, write, silence()),
        ("salvage ID -i key.txt -o salvaged", &id, part, Fate::StallAnswer(1000)),
        ("reassemble ID --join joined", &id, part, Fate::StallAnswer(1000)),
        ("copy --all --to copies", &id, part, Fate::StallAnswer(1000)),
        ("drill ID -i key.txt -- cat", &id, part, Fate::StallAnswer(1000)),
        ("backup --name pg-main -r KEY", &id, write, Fate::StallRequest(10)),
        ("backup --name pg-main -r KEY", &id, commit, silence()),
        ("backup --name pg-main -r KEY --spool spool", &id, commit, silence()),
        ("prune --keep-last 1 --yes", &id, write, silence()),
        ("rm ID --yes", &id, delete, silence()),
        ("note ID text", &id, write, silence()),
        ("check", &id, delete, silence()),
        ("check --max-age 26h", &id, manifest, Fate::StallAnswer(10)),
        ("key audit -i key.txt", &id, manifest, Fate::StallAnswer(10)),
        (
            "key rewrap --all -i key.txt -r age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
            &id,
            write,
            silence(),
        ),
        ("key destroy ID --yes", &detached, delete, silence()),
    ];
    let objects = || {
        let entries = std::fs::read_dir(server.object_path("bucket", "pg")).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = objects();
    std::thread::scope(|scope| {
        for ((line, id, which, fate), signal) in cases.into_iter().zip(["-HUP", "-TERM", "-INT"].into_iter().cycle()) {
            let (place, server) = (&place, &server);
            scope.spawn(move || {
                let met = Arc::new(AtomicBool::new(false));
                let meeting = Arc::clone(&met);
                let proxy = Proxy::start(server.address(), move |request| {
                    if which(request) {
                        meeting.store(true, Ordering::Relaxed);
                        return fate.clone();
                    }
                    Fate::Pass
                });
                let done = ends(place, line, id, &server.variables(&proxy.endpoint), signal, &met);
                if line.contains("--spool") {
                    done.says("--resume");
                }
            });
        }
    });
    assert!(objects().is_superset(&before), "{before:?}");
    for name in ["restored", "salvaged", "joined"] {
        assert!(!place.path(name).exists(), "{name}");
    }
    assert!(place.partials().is_empty(), "{:?}", place.partials());
    let copied = std::fs::read_dir(place.path("copies")).unwrap();
    assert!(copied.map(|entry| entry.unwrap().file_name()).all(|name| !name.to_string_lossy().ends_with(".json")));
}
