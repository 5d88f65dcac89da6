//! A server of Azure or GCS as a process, for shell scripts: `cloud-server azure|gcs DIRECTORY NAME`. It has the container or bucket NAME, writes
//! the variables by which it is reached to DIRECTORY/environment once it listens, as lines for a shell, and runs until it is killed.

use std::io::Write;
use std::path::Path;

use backstay_testkit::{Azurite, GcsServer};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind @ ("azure" | "gcs"), directory, name] = &*arguments.iter().map(String::as_str).collect::<Vec<_>>() else {
        eprintln!("usage: cloud-server azure|gcs DIRECTORY NAME");
        std::process::exit(2);
    };
    let directory = Path::new(directory);
    if *kind == "azure" {
        let server = Azurite::start();
        server.create_container(name);
        publish(directory, &server.variables())?;
        wait()
    } else {
        let server = GcsServer::with_bucket(name);
        let account = directory.join("account.json");
        std::fs::write(&account, server.service_account_here())?;
        publish(directory, &[("GOOGLE_APPLICATION_CREDENTIALS".into(), account.display().to_string())])?;
        wait()
    }
}

fn publish(directory: &Path, variables: &[(String, String)]) -> std::io::Result<()> {
    // Whoever waits for the file must not see it half written.
    let unfinished = directory.join("environment.tmp");
    let mut file = std::fs::File::create(&unfinished)?;
    for (name, value) in variables {
        writeln!(file, "export {name}='{value}'")?;
    }
    std::fs::rename(&unfinished, directory.join("environment"))
}

fn wait() -> ! {
    loop {
        std::thread::park();
    }
}
