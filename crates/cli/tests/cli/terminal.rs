//! A real terminal: what is refused there, what is asked there, and what is drawn there.
//!
//! `script` of util-linux gives a run a terminal of its own.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::harness::{BINARY, PASSPHRASE, Place, noise, program, until};

/// A shell line that runs at a terminal.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    pub(crate) fn start(place: &Place, line: &str) -> Terminal {
        Terminal::with(place, line, &[])
    }

    pub(crate) fn with(place: &Place, line: &str, environment: &[(&str, &str)]) -> Terminal {
        let mut command = Command::new(program("script"));
        command.args(["-qefc", line, "/dev/null"]).current_dir(place.path("")).env_clear();
        command
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", place.path(""))
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh");
        command
            .env("XDG_CONFIG_HOME", place.path("config"))
            .env("BACKSTAY_STORE", place.store())
            .env("backstay", BINARY);
        command.envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let keys = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let seen = Arc::new(Mutex::new(String::new()));
        let screen = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                screen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Terminal { child, keys, seen, reader }
    }

    fn screen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for a question and answers it.
    pub(crate) fn answer(&mut self, question: &str, keys: &str) {
        let from = self.seen.lock().unwrap().len();
        let asked = |screen: &str| screen.contains(question);
        until(question, || asked(&self.screen()));
        // The same question may come again: it is then only looked for in what follows.
        let mut seen = self.seen.lock().unwrap();
        *seen = seen.replacen(question, "(answered) ", 1);
        drop(seen);
        let _ = from;
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// The terminal is no more, as when a connection is lost: whoever works there is hung up on.
    pub(crate) fn goes_away(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end. Gives the exit status and all that was seen.
    pub(crate) fn end(mut self) -> (i32, String) {
        until("its end", || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let screen = self.seen.lock().unwrap().clone();
        (status.code().unwrap(), screen)
    }
}

#[test]
fn a_backup_from_the_keyboard_is_refused() {
    let place = Place::new();
    let (status, screen) = Terminal::start(&place, "$backstay backup --name pg-main --no-encryption").end();
    assert_eq!(status, 2, "{screen}");
    assert!(screen.contains("error[usage.terminal]") || screen.contains("usage.terminal"), "{screen}");
}

#[test]
fn errors_are_coloured_unless_that_is_not_wanted() {
    let place = Place::new();
    let (_, screen) = Terminal::start(&place, "$backstay cat x~y").end();
    assert!(screen.contains("\x1b[1;31merror["), "{screen:?}");
    let (_, screen) = Terminal::with(&place, "$backstay cat x~y", &[("NO_COLOR", "1")]).end();
    assert!(screen.contains("error[") && !screen.contains('\x1b'), "{screen:?}");
}

#[test]
fn progress_is_one_line_that_goes_away() {
    let place = Place::new();
    place.write("content", noise(8 << 20));
    let line = format!(
        "$backstay backup --name pg-main -r {} --part-size 1MiB -- sh -c 'cat content; sleep 1.5'",
        place.recipient
    );
    let (status, screen) = Terminal::start(&place, &line).end();
    assert_eq!(status, 0, "{screen}");
    assert!(screen.contains("8.0 MiB content, "), "{screen:?}");
    assert!(!screen.contains("part 0 stored, "), "{screen:?}");
    let never = line.replace("$backstay", "$backstay --progress never");
    let (_, screen) = Terminal::start(&place, &never).end();
    assert!(!screen.contains("8.0 MiB content, ") || screen.matches("8.0 MiB content, ").count() == 0, "{screen:?}");
}

#[test]
fn a_passphrase_is_asked_for_without_being_shown() {
    let place = Place::new();
    let mut backup = Terminal::start(&place, "$backstay backup --name pg-main --ask-passphrase -- printf content");
    backup.answer("passphrase: ", &format!("{PASSPHRASE}\r"));
    backup.answer("the same again: ", &format!("{PASSPHRASE}\r"));
    let (status, screen) = backup.end();
    assert_eq!(status, 0, "{screen}");
    assert!(!screen.contains(PASSPHRASE), "{screen}");
    let id = place.objects()[0][..50].to_owned();
    assert_eq!(place.run(["cat", &id, "--passphrase-file", "passphrase.txt"]).good().stdout, b"content");
    // Typing errors are taken back; the name of the content does not get between.
    let mut cat = Terminal::start(&place, &format!("$backstay cat {id} --ask-passphrase > out"));
    cat.answer("passphrase: ", &format!("wrong\x15{PASSPHRASE}xé\x7f\x7f\r"));
    assert_eq!(cat.end().0, 0);
    assert_eq!(place.read("out"), b"content");
}

#[test]
fn two_different_passphrases_lock_nothing() {
    let place = Place::new();
    let mut backup = Terminal::start(&place, "$backstay backup --name pg-main --ask-passphrase -- printf content");
    backup.answer("passphrase: ", "one\r");
    backup.answer("the same again: ", "two\r");
    let (status, screen) = backup.end();
    assert_eq!(status, 12, "{screen}");
    assert!(place.objects().is_empty());
}

#[test]
fn an_interrupt_at_a_question_ends_the_run_and_leaves_the_terminal_as_it_was() {
    let place = Place::new();
    let line = "stty -a > before; $backstay backup --name pg-main --ask-passphrase -- printf x; echo status=$?; stty -a > after";
    let mut backup = Terminal::start(&place, line);
    backup.answer("passphrase: ", "half\x03");
    let (_, screen) = backup.end();
    assert!(screen.contains("status=130"), "{screen}");
    assert_eq!(place.read("before"), place.read("after"));
}

#[test]
fn a_question_without_a_terminal_is_an_error() {
    let place = Place::new();
    let mut command = Command::new(program("setsid"));
    let run = place.run(["backup", "--name", "pg-main", "--ask-passphrase", "--", "true"]).command();
    command.arg("-w").arg(run.get_program()).args(run.get_args()).env_clear();
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(12), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_locked_identity_file_asks() {
    let place = Place::new();
    let new = place.run(["key", "generate", "new.txt"]).good().out().trim().to_owned();
    let id = place.backup("content", &[]);
    for (name, armor) in [("key.age", ""), ("key.asc", "-a")] {
        let mut lock = Terminal::start(&place, &format!("age -p {armor} -o {name} key.txt"));
        lock.answer("): ", "lock pass\r");
        lock.answer(": ", "lock pass\r");
        assert_eq!(lock.end().0, 0);
        let mut cat = Terminal::start(&place, &format!("$backstay cat {id} -i {name} > out2"));
        cat.answer(": ", "lock pass\r");
        let (status, screen) = cat.end();
        assert_eq!((status, place.read("out2")), (0, b"content".to_vec()), "{screen}");
        let mut show = Terminal::start(&place, &format!("$backstay key show {name}"));
        show.answer(": ", "lock pass\r");
        assert!(show.end().1.contains(&place.recipient));
        // What is given for archives is tried for the key file first.
        place.write("given", "lock pass\n");
        place.write("other", "another one\n");
        for given in [["--passphrase-file", "given"], ["--passphrase-command", "cat given"]] {
            assert_eq!(place.run(["cat", &id, "-i", name]).args(given).good().stdout, b"content");
            place.run(["key", "audit", "-i", name]).args(given).good();
            place.run(["key", "show", name]).args(given).good().says_out(&place.recipient);
            // The store is asked what the key opens, for which it is needed once more. What is not text is not printed.
            if name == "key.asc" {
                place.run(["key", "export", "--key", name]).args(given).good().says_out("(pg-main, 1 archive)");
            }
            // Its private half opens it, so nothing is done.
            let rewrap = place.run(["key", "rewrap", &id, "-i", "key.txt", "-r", &new, "--unless-opened-by", name]);
            assert_eq!(rewrap.args(given).good().out(), "");
        }
        let mut cat = Terminal::start(&place, &format!("$backstay cat {id} -i {name} --passphrase-file other > out3"));
        cat.answer(&format!("passphrase of {name}: "), "lock pass\r");
        let (status, screen) = cat.end();
        assert_eq!((status, place.read("out3")), (0, b"content".to_vec()), "{screen}");
        for (given, told) in [
            ("--passphrase-file other", "the given passphrase is not that of key.a"),
            ("", "is under a passphrase: none was given, and none could be asked for"),
        ] {
            let line = format!("setsid -w $backstay cat {id} -i {name} {given}");
            let (status, screen) = Terminal::start(&place, &line).end();
            assert!(status == 12 && screen.contains("key.passphrase") && screen.contains(told), "{screen}");
        }
    }
}

#[test]
fn a_recovery_sheet_is_not_written_to_a_terminal() {
    let place = Place::new();
    let id = place.backup("content", &[]);
    for line in
        [format!("$backstay key export {id} -i key.txt"), "$backstay key export --key key.txt --html".to_owned()]
    {
        let (status, screen) = Terminal::start(&place, &line).end();
        assert!(status == 2 && screen.contains("usage.terminal") && !screen.contains("RECOVERY"), "{screen}");
        assert!(!screen.contains("AGE-SECRET-KEY"), "{screen}");
    }
}

#[test]
fn binary_content_is_not_written_to_a_terminal() {
    let place = Place::new();
    let text = place.backup("a line of text\n", &[]);
    let binary = place.backup(noise(100_000), &[]);
    let cat = |line: &str| Terminal::start(&place, &format!("$backstay cat -i key.txt {line}")).end();
    let (status, screen) = cat(&text);
    assert!(status == 0 && screen.contains("a line of text"), "{screen}");
    for line in [binary.clone(), format!("{text} --raw")] {
        let (status, screen) = cat(&line);
        assert_eq!(status, 2, "{screen}");
        assert!(screen.contains("error[usage.terminal]"), "{screen}");
        assert!(!screen.contains('\u{fffd}'), "{screen}");
    }
    let (status, _) = cat(&format!("{binary} > got"));
    assert!(status == 0 && place.read("got") == noise(100_000));
}
