//! `key generate`: a new key in a file of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use backstay::Context;
use backstay_format::signature::SigningKey;
use backstay_format::text::to_hex;
use clap::Args;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::show::{Public, fingerprint};
use crate::failure::{Failure, Result};
use crate::keys::signing;
use crate::output::Output;
use crate::run::Status;

const EXAMPLES: &str = "\
Examples:
  backstay key generate key.txt
  backstay key generate --signing sign.pem
  age -p -o key.age key.txt                        the same key under a passphrase; -i takes that file too";

/// Make a new key and print its public half
///
/// The file can be read by nobody else, and an existing file is never overwritten. Without an option it is an age
/// identity: the printed recipient goes to the hosts that write backups, the file to where backups are restored.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Generate {
    /// The file to make
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A raw key of 32 bytes instead: one secret for writing and reading, for `backup --raw-key` and `restore -i`
    #[arg(long, conflicts_with = "signing")]
    raw: bool,
    /// A signing key instead, for `backup --sign-key`; the printed public key is for --signer
    #[arg(long)]
    signing: bool,
}

impl Generate {
    pub(crate) fn run(&self, output: &Output) -> Result<Status> {
        let (text, public) = if self.raw {
            let secret = Zeroizing::new(random()?);
            (Zeroizing::new(format!("{}\n", *Zeroizing::new(to_hex(&*secret)))), Public::raw(fingerprint(&secret)))
        } else if self.signing {
            let seed = Zeroizing::new(random()?);
            (signing::pem(&seed), Public::signing(SigningKey::from_seed(&seed)?.signer()))
        } else {
            let identity = age::x25519::Identity::generate();
            let public = identity.to_public().to_string();
            let secret = identity.to_string();
            let text =
                format!("# created: {:.0}\n# public key: {public}\n{}\n", Timestamp::now(), secret.expose_secret());
            (Zeroizing::new(text), Public::identity(vec![public]))
        };
        create(&self.file, text.as_bytes())?;
        let loss = match self.signing {
            true => "whoever has it signs in your name, and without it no further archive bears this signature",
            false => "without it no archive can be opened",
        };
        output.note(&format!("{} is made; keep it safe, and not only here: {loss}", self.file.display()));
        output.result("key", &public.of_file(&self.file))?;
        Ok(0)
    }
}

/// 32 bytes of the system's.
fn random() -> Result<[u8; 32]> {
    Ok(Context::system(Some(1))?.random())
}

/// Creates a file that only we can read, and sees to it that it stays.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::new("io.failed", format!("{} exists already", path.display()))
            .with_hint("a key file is never overwritten; give another name"),
        _ => Failure::io("creating", path, &error),
    })?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|error| Failure::io("writing", path, &error))
}
