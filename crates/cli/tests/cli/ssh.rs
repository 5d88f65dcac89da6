//! Keys of OpenSSH, made by `ssh-keygen`, as recipients and identities.

use crate::harness::{Place, program, shell};
use crate::terminal::Terminal;

const PASSPHRASE: &str = "of the ssh key 4711";

/// Makes a key pair and gives the public half.
fn key(place: &Place, name: &str, arguments: &str) -> String {
    program("ssh-keygen");
    shell(&place.path(""), &format!("ssh-keygen -q -C me@host -f {name} {arguments}"));
    String::from_utf8(place.read(&format!("{name}.pub"))).unwrap().trim().to_owned()
}

#[test]
fn ed25519_and_rsa_keys_lock_and_open() {
    let place = Place::new();
    for (name, arguments) in [("ed", "-t ed25519 -N ''"), ("rsa", "-t rsa -b 2048 -N ''")] {
        let public = key(&place, name, arguments);
        let run = place.run(["backup", "--name", "pg-main", "-r", &public]).stdin("content").good();
        let id = run.out().split(' ').next().unwrap().to_owned();
        place.run(["restore", &id, "-i", name, "-o", "restored"]).good();
        assert_eq!(place.read("restored"), b"content");
        place.run(["verify", &id, "-i", name, "--depth", "deep"]).good();
        place.run(["cat", &id, "-i", "key.txt"]).fails("key.not-found", 12);
        let shown = place.run(["key", "show", name]).good();
        assert!(public.starts_with(shown.out().trim()), "{}", shown.out());
        // What stock age sees in the header is the archive's secret.
        let line =
            format!("head -n1 store/{id}-0 | cut -c11- | jq -r '.keys[0]' | base64 -d | age -d -i {name} | wc -c");
        assert_eq!(String::from_utf8(shell(&place.path(""), &line)).unwrap().trim(), "32");
    }
    place.store_holds_no_secret();
}

#[test]
fn the_slot_of_a_key_that_has_one_is_no_second_way_in() {
    let place = Place::new();
    let public = key(&place, "ed", "-t ed25519 -N ''");
    let run = place.run(["backup", "--name", "pg-main", "-r", &public]).stdin("content").good();
    let id = run.out().split(' ').next().unwrap();
    // Whoever has only the archive's secret does not know for whom it is.
    let rewrap = |id: &str, opened_by: &str, key: &str| {
        let sheet = place.run(["--json", "key", "export", id, "-i", opened_by]).that_tells_secrets().good();
        place.write("secret.hex", sheet.json("recovery_sheet")["secret"].as_str().unwrap());
        place.run(["key", "rewrap", id, "-i", "secret.hex", "-r", key]).good();
    };
    let audit = |key: &[&str]| place.run(["key", "audit"]).args(key).good();
    rewrap(id, "ed", &public);
    // The tag of an SSH key shows it.
    audit(&[]).says_out("[one key alone]").says_out("1 with one key alone");
    rewrap(id, "ed", &place.recipient);
    audit(&[]).says_out("0 with one key alone");
    // Of others only the key itself does.
    let id = &place.backup("content", &[]);
    rewrap(id, "key.txt", &place.recipient);
    audit(&[]).says_out("0 with one key alone");
    audit(&["-i", "key.txt"])
        .says_out("1 with one key alone")
        .says_out(&format!("{id}  X25519, keybox 0: X25519  [one key alone]"));
}

#[test]
fn a_file_of_recipients_may_hold_all_kinds() {
    let place = Place::new();
    let (ed, rsa) = (key(&place, "ed", "-t ed25519 -N ''"), key(&place, "rsa", "-t rsa -b 2048 -N ''"));
    place.write("recipients", format!("# who may read\n{}\n\n{ed}\n  {rsa}  \n", place.recipient));
    let run = place.run(["backup", "--name", "pg-main", "-R", "recipients"]).stdin("content").good();
    let id = run.out().split(' ').next().unwrap();
    for name in ["key.txt", "ed", "rsa"] {
        assert_eq!(place.run(["cat", id, "-i", name]).good().stdout, b"content", "{name}");
    }
    // One slot for all of them: the header does not say how many may read.
    assert_eq!(place.header().matches("YWdlLWVuY3J5cHRpb24ub3JnL3Yx").count(), 1);
}

#[test]
fn kinds_of_ssh_keys_that_age_has_no_use_for_are_refused() {
    let place = Place::new();
    let public = key(&place, "ec", "-t ecdsa -N ''");
    place.run(["cat", "x", "-i", "ec"]).fails("usage.recipient", 2).says("ecdsa");
    place.run(["backup", "-r", &public]).stdin("x").fails("usage.recipient", 2);
    key(&place, "old", &format!("-t rsa -b 2048 -m PEM -N '{PASSPHRASE}'"));
    place.run(["cat", "x", "-i", "old"]).fails("usage.recipient", 2).says("`ssh-keygen -p`");
    // A public key is no identity, and a private one no recipient.
    let public = key(&place, "ed", "-t ed25519 -N ''");
    place.run(["cat", "x", "-i", "ed.pub"]).fails("usage.recipient", 2).says("ed.pub");
    let private = String::from_utf8(place.read("ed")).unwrap();
    let refused = place.run(["backup", "-r", &private]).stdin("x").fails("usage.recipient", 2);
    assert!(!refused.stderr.contains(private.lines().nth(1).unwrap()), "{}", refused.stderr);
    place.run(["backup", "-r", &public[..public.len() / 2]]).stdin("x").fails("usage.recipient", 2);
}

#[test]
fn the_passphrase_of_a_key_is_asked_for_once_and_only_where_the_key_has_a_slot() {
    let place = Place::new();
    let public = key(&place, "ed", &format!("-t ed25519 -N '{PASSPHRASE}'"));
    key(&place, "stranger", &format!("-t ed25519 -N '{PASSPHRASE}'"));
    let id = place.backup("content", &["-r", &public]);

    let mut restore = Terminal::start(&place, &format!("$backstay restore {id} -i ed -o restored"));
    restore.answer("passphrase of ed: ", "mistyped\r");
    restore.answer("this is not the passphrase of ed", "");
    restore.answer("passphrase of ed: ", &format!("{PASSPHRASE}\r"));
    let (status, screen) = restore.end();
    assert_eq!(status, 0, "{screen}");
    assert!(!screen.contains(PASSPHRASE), "{screen}");
    assert_eq!(place.read("restored"), b"content");

    let mut cat = Terminal::start(&place, &format!("$backstay cat {id} -i ed"));
    for _ in 0..3 {
        cat.answer("passphrase of ed: ", "wrong\r");
    }
    let (status, screen) = cat.end();
    assert!(status == 12 && screen.contains("key.passphrase"), "{screen}");

    // Nobody there to ask: setsid takes the terminal away.
    let without_terminal = |identity: &str| {
        let line = format!("setsid -w $backstay cat {id} -i {identity}");
        Terminal::start(&place, &line).end()
    };
    let (status, screen) = without_terminal("ed");
    assert!(status == 12 && screen.contains("key.passphrase"), "{screen}");
    assert_eq!(screen.matches("there is no terminal").count(), 1, "{screen}");
    let (status, screen) = without_terminal("stranger");
    assert!(status == 12 && screen.contains("key.not-found"), "{screen}");
    assert!(!screen.contains("there is no terminal"), "{screen}");
    // A second key that fits needs nobody.
    let (status, screen) = without_terminal("ed -i key.txt");
    assert!(status == 0 && screen.contains("content"), "{screen}");
    // What is given for archives is tried for the key, and asked for again only when it is another one.
    place.write("given", PASSPHRASE);
    for given in [["--passphrase-file", "given"], ["--passphrase-command", "cat given"]] {
        assert_eq!(place.run(["cat", &id, "-i", "ed"]).args(given).good().stdout, b"content");
    }
    place.write("other", "another one");
    let (status, screen) = without_terminal("ed --passphrase-file other");
    assert!(status == 12 && screen.contains("the given passphrase is not that of ed"), "{screen}");
    // The public half is told without the passphrase.
    assert!(public.starts_with(place.run(["key", "show", "ed"]).good().out().trim()));
}
