//! The S3 server of the testkit as a process, for shell scripts: `s3-server ROOT PORT-FILE [ignore-conditions]`. It writes its port
//! to the file once it listens, and runs until it is killed. If the file is there already, the port in it is taken: so a server that was killed comes
//! back where it was.

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
    let port_file = Path::new(&port_file);
    let port = std::fs::read_to_string(port_file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let server = S3Server::start_at(root, ACCESS_KEY, SECRET_KEY, port);
    if mode.is_some() {
        server.ignore_conditions();
    }
    backstay_testkit::tell_port(port_file, &server.endpoint)?;
    loop {
        std::thread::park();
    }
}
