//! A place to run the binary in: its own home, store and keys, and an environment that holds nothing else.
//!
//! Each run is searched for the place's secrets: whatever a test is about, none of them may ever be printed.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_backstay");
/// What the passphrase file of a place holds.
pub(crate) const PASSPHRASE: &str = "correct horse battery staple 4711";

/// A home, a store and keys.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    /// The identity file's public half.
    pub recipient: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let mut place = Place { directory, recipient: String::new() };
        std::fs::write(place.path("passphrase.txt"), format!("{PASSPHRASE}\nsecond line\n")).unwrap();
        let made = place.run(["key", "generate"]).arg(place.path("key.txt")).good();
        place.recipient = made.out().trim().to_owned();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The store's directory; every run has it in its environment.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Names of the store's objects, sorted.
    pub(crate) fn objects(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.store()) else { return Vec::new() };
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// Names of files in the place that were begun and did not become whole, sorted.
    pub(crate) fn partials(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut partials: Vec<_> = names.filter(|name| name.ends_with(".partial")).collect();
        partials.sort();
        partials
    }

    /// All of the store's bytes.
    pub(crate) fn stored_bytes(&self) -> Vec<u8> {
        self.objects().iter().flat_map(|name| std::fs::read(self.store().join(name)).unwrap()).collect()
    }

    /// The only manifest's text.
    pub(crate) fn manifest(&self) -> String {
        let names: Vec<_> = self.objects().into_iter().filter(|name| name.ends_with(".json")).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        String::from_utf8(std::fs::read(self.store().join(&names[0])).unwrap()).unwrap()
    }

    /// The first line of the only archive's part 0.
    pub(crate) fn header(&self) -> String {
        let name = self.objects().into_iter().find(|name| name.ends_with("-0")).unwrap();
        let bytes = std::fs::read(self.store().join(name)).unwrap();
        String::from_utf8(bytes.split(|byte| *byte == b'\n').next().unwrap().to_vec()).unwrap()
    }

    /// A run of the binary with these arguments.
    pub(crate) fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run<'_> {
        let mut run =
            Run { place: self, arguments: Vec::new(), environment: Vec::new(), stdin: None, tells_secrets: false };
        run = run.env("BACKSTAY_STORE", self.store());
        run.args(arguments)
    }

    /// Backs up `content` for the place's key, with these further arguments. Gives the archive's id.
    pub(crate) fn backup(&self, content: impl AsRef<[u8]>, arguments: &[&str]) -> String {
        let run = self.run(["backup", "--name", "pg-main", "-r", &self.recipient]).args(arguments).stdin(content);
        run.good().out().split(' ').next().unwrap().to_owned()
    }

    /// The content of an archive, opened with the place's key.
    pub(crate) fn cat(&self, id: &str) -> Vec<u8> {
        self.run(["cat", id, "-i"]).arg(self.path("key.txt")).good().stdout
    }

    /// What must never be printed.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let key = std::fs::read_to_string(self.path("key.txt")).unwrap_or_default();
        let identity = key.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).map(str::to_owned);
        let raw = std::fs::read_to_string(self.path("raw.key")).ok().map(|text| text.trim().to_owned());
        [Some(PASSPHRASE.to_owned()), identity, raw].into_iter().flatten().collect()
    }

    fn search(&self, what: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for secret in self.secrets() {
            assert!(!text.contains(&secret), "{what} holds a secret");
        }
    }

    /// Demands that no secret is in the store.
    pub(crate) fn store_holds_no_secret(&self) {
        self.search("the store", &self.stored_bytes());
    }
}

/// Something that looks like a dump of about this many bytes, and compresses like one.
pub(crate) fn dump(bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 64);
    let mut state = 88_172_645_463_325_252_u64;
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        writeln!(text, "{state}\tcustomer {}\tf\t\\N", state % 1000).unwrap();
    }
    text
}

/// Content that does not compress.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

/// A run to be.
pub(crate) struct Run<'a> {
    place: &'a Place,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    tells_secrets: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(bytes.as_ref().to_vec());
        self
    }

    /// This run is there to print a secret.
    pub(crate) fn that_tells_secrets(mut self) -> Self {
        self.tells_secrets = true;
        self
    }

    /// The command as it will be run, in an environment of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        if hangups_are_ignored() {
            command = Command::new("env");
            command.args(["--default-signal=HUP", BINARY]);
        }
        let home = self.place.directory.path();
        command.args(&self.arguments).env_clear().current_dir(home);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home).env("XDG_CONFIG_HOME", home.join("config")).env("TERM", "xterm");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it with pipes.
    pub(crate) fn start(&self) -> Child {
        self.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs it to its end.
    pub(crate) fn done(self) -> Done {
        let mut child = self.start();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = self.stdin.clone().unwrap_or_default();
        // It may end before it has read everything.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        self.end(output)
    }

    /// What a child of [`Run::start`] left.
    pub(crate) fn end(&self, output: Output) -> Done {
        if !self.tells_secrets {
            self.place.search("standard output", &output.stdout);
            self.place.search("standard error", &output.stderr);
        }
        let stderr = String::from_utf8(output.stderr).unwrap();
        Done { shown: format!("{:?}", self.arguments), status: output.status, stdout: output.stdout, stderr }
    }

    /// Runs it, and it must succeed.
    pub(crate) fn good(self) -> Done {
        let done = self.done();
        assert!(done.status.success(), "{}: {} {}", done.shown, done.status, done.stderr);
        done
    }

    /// Runs it, and it must fail with this code and exit status.
    pub(crate) fn fails(self, code: &str, exit: i32) -> Done {
        let done = self.done();
        assert!(done.stderr.contains(&format!("error[{code}]: ")), "{}: not {code} but {}", done.shown, done.stderr);
        assert_eq!(done.status.code(), Some(exit), "{}: {}", done.shown, done.stderr);
        done
    }
}

/// Whether these tests are run by somebody who has them outlive a terminal. What they run is to hear of hangups nevertheless.
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok()).is_some_and(|signals| signals & 1 == 1)
}

/// A run that has ended.
pub(crate) struct Done {
    shown: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub(crate) fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The object on standard output, which must be alone there and say what it is.
    pub(crate) fn json(&self, kind: &str) -> Value {
        let value: Value = serde_json::from_str(self.out()).unwrap_or_else(|error| panic!("{error}: {}", self.out()));
        assert_eq!((&value["type"], &value["schema"]), (&Value::from(kind), &Value::from(1)), "{value}");
        value
    }

    /// The events on standard error: every line must be one.
    pub(crate) fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let events: Vec<_> = self.stderr.lines().map(parse).collect();
        for event in &events {
            assert!(event["type"].is_string() && event["schema"] == 1, "{event}");
            assert!(event["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{event}");
        }
        events
    }

    /// The only event of a type.
    pub(crate) fn event(&self, kind: &str) -> Value {
        let mut events: Vec<_> = self.events().into_iter().filter(|event| event["type"] == kind).collect();
        assert_eq!(events.len(), 1, "{kind}: {}", self.stderr);
        events.remove(0)
    }

    /// Demands that standard output says this.
    pub(crate) fn says_out(&self, text: &str) -> &Done {
        assert!(self.out().contains(text), "{}: `{text}` is not in {}", self.shown, self.out());
        self
    }

    /// Demands that standard error says this.
    pub(crate) fn says(&self, text: &str) -> &Done {
        assert!(self.stderr.contains(text), "{}: `{text}` is not in {}", self.shown, self.stderr);
        self
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a file of the tools' is there: `openssl`, `age` and others are this place's to install.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("these tests need the program `{name}`"))
}

/// Runs a shell line with a place's home as its directory, and it must succeed.
pub(crate) fn shell(directory: &Path, line: &str) -> Vec<u8> {
    let output = Command::new("bash").args(["-o", "pipefail", "-c", line]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
