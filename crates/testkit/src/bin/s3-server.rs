//! The S3 server of the testkit as a process, for shell scripts: `s3-server ROOT PORT-FILE [ignore-conditions]`. It writes its port
//! to the file once it listens, and runs until it is killed.

use std::io::Write;
use std::path::Path;

use backstay_testkit::s3_server::{ACCESS_KEY, S3Server, SECRET_KEY};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (root, port_file, mode) = (arguments.next(), arguments.next(), arguments.next());
    let (Some(root), Some(port_file), None | Some("ignore-conditions")) =
        (root, port_file, mode.as_ref().map(|mode| mode.to_str().unwrap_or_default()))
    else {
        eprintln!("usage: s3-server ROOT PORT-FILE [ignore-conditions]   (keys {ACCESS_KEY} {SECRET_KEY})");
        std::process::exit(2);
    };
    let server = S3Server::start(root, ACCESS_KEY, SECRET_KEY);
    if mode.is_some() {
        server.ignore_conditions();
    }
    // Whoever waits for the file must not see it half written.
    let port_file = Path::new(&port_file);
    let unfinished = port_file.with_extension("tmp");
    let mut file = std::fs::File::create(&unfinished)?;
    writeln!(file, "{}", server.address().port())?;
    std::fs::rename(&unfinished, port_file)?;
    loop {
        std::thread::park();
    }
}
