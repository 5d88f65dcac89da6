//! One key slot: an age file around 32 bytes.

use std::io::{Read as _, Write as _};

use age::{DecryptError, EncryptError};

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
    let failed = |why: &dyn std::fmt::Display| Error::Wrap { why: on_one_line(why) };
    let encryptor = age::Encryptor::with_recipients(recipients.iter().copied()).map_err(|error| match error {
        EncryptError::Io(error) => Error::Wrap { why: ended_early(&error) },
        error => failed(&error),
    })?;
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).map_err(|error| failed(&error))?;
    writer.write_all(&secret.0).and_then(|()| writer.finish().map(drop)).map_err(|error| failed(&error))?;
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
    /// The slot is for this identity, whose own passphrase was not given.
    Locked,
    /// The identity could not be asked: its plugin failed.
    Unusable(String),
}

/// Slots are made and opened in memory: nothing but a plugin's pipes can fail.
fn ended_early(error: &std::io::Error) -> String {
    // Advice for whoever writes plugins follows in the lines after the first.
    let text = error.to_string();
    let first = on_one_line(&text.lines().next().unwrap_or_default());
    format!("an age plugin ended early: {}", first.trim_end_matches('.'))
}

/// What age says for people, as part of a sentence: its messages may have several lines, and mark what they quote with
/// characters that are not seen.
fn on_one_line(text: &dyn std::fmt::Display) -> String {
    let text = text.to_string().replace(['\u{2068}', '\u{2069}'], "");
    let text: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    text.join(" ")
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
        Err(DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed) => return Outcome::NotMine,
        Err(DecryptError::KeyDecryptionFailed) => return Outcome::Locked,
        Err(
            error @ (DecryptError::InvalidHeader
            | DecryptError::InvalidMac
            | DecryptError::UnknownFormat
            | DecryptError::ExcessiveWork { .. }),
        ) => return Outcome::Damaged(error.to_string()),
        // Whatever else there is comes from a plugin.
        Err(DecryptError::Io(error)) => return Outcome::Unusable(ended_early(&error)),
        Err(error) => return Outcome::Unusable(on_one_line(&error)),
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

/// For whom a slot is, as far as its text tells: the kind of each stanza, and for an SSH key the tag that age puts beside it. What age adds so that
/// readers keep ignoring what they do not know is left out. Empty when it is no age file.
pub fn stanzas(file: &[u8]) -> Vec<String> {
    if matches!(form(file), Form::Damaged(_)) {
        return Vec::new();
    }
    let lines = file.split(|byte| *byte == b'\n').take_while(|line| !line.starts_with(b"---"));
    let mut kinds = Vec::new();
    for line in lines.filter_map(|line| line.strip_prefix(b"-> ")) {
        let line = String::from_utf8_lossy(line);
        let mut words = line.split(' ');
        match (words.next().unwrap_or_default(), words.next()) {
            (grease, _) if grease.ends_with("-grease") => {}
            (kind, Some(tag)) if kind.starts_with("ssh-") => kinds.push(format!("{kind} {tag}")),
            (kind, _) => kinds.push(kind.to_owned()),
        }
    }
    kinds
}
