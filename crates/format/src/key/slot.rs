//! One key slot: an age file around 32 bytes.

use std::io::{Read as _, Write as _};

use crate::error::{Error, Result};
use crate::schedule::Secret;

/// The most scrypt work that a reader does, as a logarithm: 2^20 is about 1 GiB and six seconds.
pub const MAX_SCRYPT_LOG_N: u8 = 20;
/// The most stanzas in one slot.
const MAX_STANZAS: usize = 64;

/// Wraps the secret for these recipients: one age file, binary.
///
/// # Errors
/// `usage.recipient` when age refuses the combination, or a plugin fails.
pub fn wrap(secret: &Secret, recipients: &[&dyn age::Recipient]) -> Result<Vec<u8>> {
    let failed = |why: String| Error::Recipient { given: format!("{} recipients", recipients.len()), why };
    let encryptor =
        age::Encryptor::with_recipients(recipients.iter().copied()).map_err(|error| failed(error.to_string()))?;
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).map_err(|error| failed(error.to_string()))?;
    writer.write_all(&secret.0).and_then(|()| writer.finish().map(drop)).map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

/// What a slot is, as far as its text tells before any work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For identities: X25519, SSH, plugins.
    Recipients,
    /// For a passphrase, with this work factor.
    Scrypt { log_n: u8 },
    /// Not an age file.
    Damaged(&'static str),
}

pub(super) fn form(file: &[u8]) -> Form {
    let Some(text) = file.strip_prefix(b"age-encryption.org/v1\n") else {
        return Form::Damaged("it is not an age file");
    };
    let (mut stanzas, mut scrypt) = (0, None);
    for line in text.split(|byte| *byte == b'\n') {
        if line.starts_with(b"---") {
            return match scrypt {
                _ if stanzas == 0 => Form::Damaged("it has no stanza"),
                Some(_) if stanzas > 1 => Form::Damaged("a passphrase stands beside other recipients"),
                Some(None) => Form::Damaged("its work factor is not a number"),
                Some(Some(log_n)) => Form::Scrypt { log_n },
                None => Form::Recipients,
            };
        }
        if let Some(arguments) = line.strip_prefix(b"-> ") {
            stanzas += 1;
            if stanzas > MAX_STANZAS {
                return Form::Damaged("it has more than 64 stanzas");
            }
            let mut words = arguments.split(|byte| *byte == b' ');
            if words.next() == Some(b"scrypt") {
                scrypt = Some(
                    words.nth(1).and_then(|word| std::str::from_utf8(word).ok()).and_then(|word| word.parse().ok()),
                );
            }
        }
    }
    Form::Damaged("its header has no end")
}

/// What became of one slot.
pub(super) enum Outcome {
    Secret(Secret),
    NotMine,
    Damaged(String),
}

/// Opens a slot with one identity. Whatever it holds must be exactly 32 bytes.
pub(super) fn unwrap(file: &[u8], identity: &dyn age::Identity) -> Outcome {
    let decryptor = match age::Decryptor::new_buffered(file) {
        Ok(decryptor) => decryptor,
        Err(error) => return Outcome::Damaged(error.to_string()),
    };
    let mut reader = match decryptor.decrypt(std::iter::once(identity)) {
        Ok(reader) => reader,
        // A passphrase that does not fit is `DecryptionFailed`; a wrong MAC or payload behind a stanza that opened is not.
        Err(
            age::DecryptError::NoMatchingKeys
            | age::DecryptError::KeyDecryptionFailed
            | age::DecryptError::DecryptionFailed,
        ) => return Outcome::NotMine,
        Err(error) => return Outcome::Damaged(error.to_string()),
    };
    let mut held = zeroize::Zeroizing::new(Vec::with_capacity(40));
    if let Err(error) = reader.by_ref().take(33).read_to_end(&mut held) {
        return Outcome::Damaged(error.to_string());
    }
    match <[u8; 32]>::try_from(&held[..]) {
        Ok(secret) => Outcome::Secret(Secret(secret)),
        Err(_) => Outcome::Damaged(format!(
            "it holds {} bytes, not 32",
            if held.len() > 32 { "more than 32".to_owned() } else { held.len().to_string() }
        )),
    }
}
