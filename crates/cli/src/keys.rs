//! From files, commands and the terminal to keys. A secret is never part of a message, not even a wrong one.

mod identity;
mod passphrase;
mod recipient;
pub(crate) mod signing;
mod ssh;
mod terminal;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use backstay_format::key::Keyring;
use backstay_format::text::from_hex;
use zeroize::Zeroizing;

use crate::args::unlock::{Passphrase, Unlock};
use crate::failure::{Failure, Result};
use crate::output::Output;

pub(crate) use identity::{Identity, read as read_identity};
pub(crate) use passphrase::{Phrase, Purpose, passphrase, passphrase_in};
pub(crate) use recipient::recipients;
pub(crate) use terminal::AtTerminal;

/// The most bytes of any file with keys.
const MAX_KEY_FILE: u64 = 1 << 20;

/// Everything that archives may be opened with.
pub(crate) fn keyring(unlock: &Unlock, output: &Arc<Output>) -> Result<Keyring> {
    Ok(keyring_and_terminal(unlock, output)?.0)
}

/// The same, and who is asked for the passphrases of further key files.
pub(crate) fn keyring_and_terminal(unlock: &Unlock, output: &Arc<Output>) -> Result<(Keyring, AtTerminal)> {
    let mut keyring = Keyring::default();
    let (given, terminal) = given(&unlock.passphrase, output)?;
    for path in &unlock.identity {
        read_identity(path)?.add_to(&mut keyring, &terminal)?;
    }
    if let Some(given) = &given {
        add_passphrase(&mut keyring, given, output);
    }
    Ok((keyring, terminal))
}

/// The passphrase that was given, and the terminal, where nobody is asked for that of a key file which is under the given one.
pub(crate) fn given(from: &Passphrase, output: &Arc<Output>) -> Result<(Option<Phrase>, AtTerminal)> {
    let given = passphrase(from, Purpose::Open, output)?;
    let text = given.as_ref().and_then(|given| given.text().ok());
    Ok((given, AtTerminal::new(output).knowing(text)))
}

/// The terminal for one key file. No passphrase is got for one that is under none.
pub(crate) fn terminal_for(identity: &Identity, from: &Passphrase, output: &Arc<Output>) -> Result<AtTerminal> {
    if identity.is_under_passphrase() { Ok(given(from, output)?.1) } else { Ok(AtTerminal::new(output)) }
}

/// Adds a passphrase for whatever it opens: of which format an archive is shows only when it is read.
pub(crate) fn add_passphrase(keyring: &mut Keyring, given: &Phrase, output: &Output) {
    keyring.add_password(given.password());
    match given.text() {
        Ok(text) => keyring.add_passphrase(text),
        Err(failure) => {
            output.note(&format!("{}: it is tried with archives of the openssl format alone", failure.message));
        }
    }
}

/// Whether what should be the name of a file is a secret itself, which no message may repeat.
pub(crate) fn is_key(text: &str) -> bool {
    let text = text.trim();
    let begins = |with: &str| text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    begins("AGE-SECRET-KEY-") || begins("AGE-PLUGIN-") || begins("-----BEGIN ") || from_hex::<32>(text).is_some()
}

/// A file with keys, whole.
pub(crate) fn read_key_file(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |error: &std::io::Error| {
        if path.to_str().is_some_and(is_key) {
            return Failure::new("usage.recipient", "a secret key was given in place of the name of a file with it")
                .because("others on this machine can read arguments and variables")
                .with_hint(
                    "write the key into a file that nobody else can read and give its name; better, make a new key",
                );
        }
        Failure::new("usage.recipient", format!("the key file {} cannot be read", path.display()))
            .because(error.to_string())
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(Failure::new("usage.recipient", format!("the key file {} has more than 1 MiB", path.display())));
    }
    Ok(bytes)
}
