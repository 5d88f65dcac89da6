//! A server that is a program of its own, which `scripts/setup` has installed: started on a free port, and ended with whoever started it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a server may take to begin, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the server, and ends it when the standard input closes: which it does even if this process is killed.
const GUARDED: &str = r#""$@" 2>&1 & server=$!; cat > /dev/null; kill "$server" 2> /dev/null; wait "$server""#;

/// A running server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct ChildServer {
    address: SocketAddr,
    guard: Child,
    /// The server runs as long as this is open.
    alive: Option<ChildStdin>,
}

impl ChildServer {
    /// Starts `program`, and waits until it says that it listens on `http://127.0.0.1:PORT`.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        assert!(
            program.exists(),
            "{} is not there: run scripts/setup, which installs the servers that tests need",
            program.display()
        );
        let mut guard = Command::new("sh")
            .args(["-c", GUARDED, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let alive = guard.stdin.take();
        let output = guard.stdout.take().expect("it is piped");
        let (said, heard) = mpsc::channel();
        // Read to its end, or the server would wait for a reader one day.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let mut all = String::new();
        let address = loop {
            match heard.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if let Some(address) = listens_on(&line) {
                        break address;
                    }
                    all += &line;
                    all.push('\n');
                }
                Err(_) => panic!("{} did not begin to listen; it said:\n{all}", program.display()),
            }
        };
        Self { address, guard, alive }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.guard.wait();
    }
}

fn listens_on(line: &str) -> Option<SocketAddr> {
    let (_, address) = line.split_once("http://")?;
    let end = address.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap_or(address.len());
    // A server that is told to find a port says first that it begins on port 0.
    address[..end].parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

/// A file below `target`, where `scripts/setup` installs.
pub(crate) fn installed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target").join(path)
}
