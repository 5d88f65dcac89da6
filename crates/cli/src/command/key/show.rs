//! `key show`: the public half of a key file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backstay_format::schedule::{Secret, sha256};
use backstay_format::signature::Signer;
use backstay_format::text::to_hex;
use clap::Args;
use serde::Serialize;

use crate::args::unlock::Passphrase;
use crate::failure::{Failure, Result};
use crate::keys::{self, AtTerminal, Identity, read_identity, read_key_file, signing};
use crate::output::Output;
use crate::run::Status;

/// Print what may be known of a key file: recipients, the signer, or a raw key's fingerprint
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A file of `key generate`, of age-keygen, or an SSH private key
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl Show {
    pub(crate) fn run(&self, output: &Arc<Output>) -> Result<Status> {
        let terminal = |identity: &Identity| keys::terminal_for(identity, &self.passphrase, output);
        output.result("key", &public(&self.file, terminal)?.of_file(&self.file))?;
        Ok(0)
    }
}

/// The public half of a key file. The terminal is for what shows nothing without its passphrase.
pub(super) fn public(path: &Path, terminal: impl FnOnce(&Identity) -> Result<AtTerminal>) -> Result<Public> {
    if signing::is_pem(&read_key_file(path)?) {
        return Ok(Public::signing(signing::read(path)?.signer()));
    }
    match read_identity(path)? {
        Identity::Raw(Secret(secret)) => Ok(Public::raw(fingerprint(&secret))),
        Identity::Ssh(identity, _) => match age::ssh::Recipient::try_from(*identity) {
            Ok(recipient) => Ok(Public::identity(vec![recipient.to_string()])),
            Err(_) => {
                Err(Failure::new("usage.recipient", format!("{} has no public key that can be used", path.display())))
            }
        },
        identity => {
            let terminal = terminal(&identity)?;
            let (file, path) = identity.identity_file(&terminal)?;
            let mut recipients = Vec::new();
            file.write_recipients_file(&mut recipients).map_err(|error| {
                let why = match error {
                    age::IdentityFileConvertError::IdentityFileContainsPlugin { plugin_name, .. } => {
                        format!("its identity is the age plugin's `{plugin_name}`, which alone can print the recipient")
                    }
                    age::IdentityFileConvertError::NoIdentities { .. } => "there is no identity in it".to_owned(),
                    _ => "its recipients could not be written".to_owned(),
                };
                Failure::new("usage.recipient", format!("the recipients of {} cannot be told", path.display()))
                    .because(why)
            })?;
            Ok(Public::identity(String::from_utf8_lossy(&recipients).lines().map(str::to_owned).collect()))
        }
    }
}

/// What may be known of a raw key: two of them can be told apart, and nothing follows from it.
pub(super) fn fingerprint(secret: &[u8; 32]) -> String {
    to_hex(&sha256(&[b"backstay key fingerprint\n", &secret[..]].concat())[..8])
}

/// The public half of a key file.
#[derive(Debug, Serialize)]
pub(super) struct Public {
    file: String,
    kind: &'static str,
    pub(super) public: Vec<String>,
}

impl Public {
    pub(super) fn identity(recipients: Vec<String>) -> Public {
        Public { file: String::new(), kind: "identity", public: recipients }
    }

    pub(super) fn raw(fingerprint: String) -> Public {
        Public { file: String::new(), kind: "raw", public: vec![fingerprint] }
    }

    pub(super) fn signing(signer: Signer) -> Public {
        Public { file: String::new(), kind: "signing", public: vec![signer.to_string()] }
    }

    pub(super) fn of_file(self, path: &Path) -> Public {
        Public { file: path.display().to_string(), ..self }
    }
}

impl fmt::Display for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
