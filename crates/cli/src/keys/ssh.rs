//! An SSH private key under a passphrase. Age would ask for the passphrase at every stanza of every archive, whoever's it is;
//! here it is asked for once, and only for an archive that has a slot for this key.

use std::sync::Mutex;

use age::ssh::{Identity, Recipient};
use age::{Callbacks as _, DecryptError};
use age_core::format::{FileKey, Stanza};
use backstay_format::schedule::sha256;
use backstay_format::text::{from_base64, to_base64};

use super::AtTerminal;

/// How often a passphrase may be mistyped.
const ATTEMPTS: usize = 3;
/// A stanza names its recipient by so many bytes of the public key's SHA-256.
const TAG: usize = 4;

/// An SSH private key, with a passphrase or without.
pub(crate) struct SshIdentity {
    key: Identity,
    shown: String,
    terminal: AtTerminal,
    /// What came of the passphrase, once it was asked for.
    opened: Mutex<Option<Option<Identity>>>,
}

impl SshIdentity {
    /// A key from the file that is `shown` in messages.
    pub(crate) fn new(key: Identity, shown: String, terminal: AtTerminal) -> SshIdentity {
        SshIdentity { key, shown, terminal, opened: Mutex::default() }
    }

    /// Whether a stanza is for this key.
    fn is_meant(&self, stanza: &Stanza) -> bool {
        let Ok(recipient) = Recipient::try_from(self.key.clone()) else { return false };
        let text = recipient.to_string();
        let mut words = text.split(' ');
        let kind = words.next();
        let public = words.next().and_then(from_base64);
        let tag = public.map(|public| to_base64(&sha256(&public)[..TAG]).trim_end_matches('=').to_owned());
        kind == Some(stanza.tag.as_str()) && tag.is_some() && tag.as_ref() == stanza.args.first()
    }

    /// The key without its passphrase; `None` when that is not to be had.
    fn opened(&self) -> Option<Identity> {
        let Identity::Encrypted(key) = &self.key else { return Some(self.key.clone()) };
        let mut opened = self.opened.lock().ok()?;
        if let Some(opened) = &*opened {
            return opened.clone();
        }
        if let Some(given) = self.terminal.given() {
            if let Ok(key) = key.decrypt(given.clone()) {
                return opened.insert(Some(key.into())).clone();
            }
            self.terminal.warn(&format!("the given passphrase is not that of {}", self.shown));
        }
        let ask = || self.terminal.request_passphrase(&format!("passphrase of {}", self.shown));
        for _ in 0..ATTEMPTS {
            let Some(passphrase) = ask() else { break };
            if let Ok(key) = key.decrypt(passphrase) {
                return opened.insert(Some(key.into())).clone();
            }
            self.terminal.warn(&format!("this is not the passphrase of {}", self.shown));
        }
        *opened = Some(None);
        None
    }
}

impl age::Identity for SshIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        if !self.is_meant(stanza) {
            return None;
        }
        match self.opened() {
            Some(key) => key.unwrap_stanza(stanza),
            None => Some(Err(DecryptError::KeyDecryptionFailed)),
        }
    }
}
