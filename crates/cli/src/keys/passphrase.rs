//! The passphrase: the first line of a file or of a command's output, or typed at the terminal.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use age::secrecy::{ExposeSecret as _, SecretString};
use backstay_format::openssl::Password;
use zeroize::Zeroizing;

use super::terminal;
use super::{is_key, read_key_file};
use crate::args::unlock::Passphrase;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// The most bytes that a passphrase command may write.
const MAX_OUTPUT: u64 = 64 << 10;

/// What a passphrase is for: a new one is asked for twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To open something.
    Open,
    /// To lock something.
    Lock,
}

/// A passphrase that was given: bytes to `openssl`, and text to everybody else.
pub(crate) struct Phrase {
    bytes: Zeroizing<Vec<u8>>,
    /// Where it is from.
    shown: String,
}

impl Phrase {
    /// The text that age takes.
    ///
    /// # Errors
    /// `key.passphrase` when it is not UTF-8.
    pub(crate) fn text(&self) -> Result<SecretString> {
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(SecretString::from(text.to_owned())),
            Err(_) => Err(Failure::new("key.passphrase", format!("{} does not begin with UTF-8 text", self.shown))),
        }
    }

    /// The bytes as they are.
    pub(crate) fn password(&self) -> Password {
        Password::new(self.bytes.to_vec())
    }

    /// A password that `openssl` will take as it is from a file.
    ///
    /// # Errors
    /// `key.passphrase`: nobody could restore by the published command what is written with another one.
    pub(crate) fn password_for_openssl(&self) -> Result<Password> {
        let password = self.password();
        if password.as_openssl_reads().is_none() {
            return Ok(password);
        }
        let why = match self.bytes.contains(&0) {
            true => "it has a zero byte, with which it ends for openssl".to_owned(),
            false => format!("it has {} bytes, and openssl takes 1023 of a line", self.bytes.len()),
        };
        let failure = Failure::new("key.passphrase", format!("`openssl enc -d` could not be given {}", self.shown));
        Err(failure.because(why).with_hint("take a password of at most 1023 bytes without zeros, or the native format"))
    }
}

/// The passphrase, if one was given in any way.
///
/// # Errors
/// `key.passphrase` when it cannot be had or is empty.
pub(crate) fn passphrase(from: &Passphrase, purpose: Purpose, output: &Arc<Output>) -> Result<Option<Phrase>> {
    if let Some(path) = &from.passphrase_file {
        return of_file(path).map(Some);
    }
    if let Some(command) = &from.passphrase_command {
        return of_command(command).map(Some);
    }
    if !from.ask_passphrase {
        return Ok(None);
    }
    let ask = |prompt: &str| output.suspended(|| terminal::ask_secret(prompt));
    let passphrase = ask("passphrase: ")?;
    if passphrase.expose_secret().is_empty() {
        return Err(Failure::new("key.passphrase", "the passphrase is empty"));
    }
    if purpose == Purpose::Lock && ask("the same again: ")?.expose_secret() != passphrase.expose_secret() {
        return Err(Failure::new("key.passphrase", "the two passphrases differ"));
    }
    let bytes = Zeroizing::new(passphrase.expose_secret().as_bytes().to_vec());
    Ok(Some(Phrase { bytes, shown: "the passphrase".to_owned() }))
}

/// The passphrase in a file, as text.
pub(crate) fn passphrase_in(path: &Path) -> Result<SecretString> {
    of_file(path)?.text()
}

fn of_file(path: &Path) -> Result<Phrase> {
    let shown = format!("the passphrase file {}", path.display());
    let unreadable = |failure: Failure| {
        if path.to_str().is_some_and(is_key) {
            return failure;
        }
        failure
            .causes
            .into_iter()
            .fold(Failure::new("key.passphrase", format!("{shown} cannot be read")), Failure::because)
    };
    let bytes = read_key_file(path).map_err(unreadable)?;
    first_line(&bytes, &shown)
}

fn of_command(command: &str) -> Result<Phrase> {
    let invalid = |why: &str| Failure::new("key.passphrase", format!("the passphrase command {why}"));
    let words = shlex::split(command).ok_or_else(|| invalid("has a quotation mark without its partner"))?;
    let Some((program, arguments)) = words.split_first() else { return Err(invalid("is empty")) };
    // The arguments of such a command may be telling; its name is enough.
    let refuse = |why: &str| Failure::new("key.passphrase", format!("the passphrase command `{program}` {why}"));
    // Standard input is not its to read: it may be the content of the backup.
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| refuse("does not start").because(error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
    let read = match child.stdout.take() {
        Some(output) => output.take(MAX_OUTPUT).read_to_end(&mut bytes),
        None => Ok(0),
    };
    let status = child.wait().map_err(|error| refuse("cannot be waited for").because(error.to_string()))?;
    read.map_err(|error| refuse("cannot be read").because(error.to_string()))?;
    if !status.success() {
        return Err(refuse(&format!("failed with {status}")));
    }
    first_line(&bytes, &format!("the output of the passphrase command `{program}`"))
}

/// The first line without its line feed, exactly as `openssl enc -pass file:` takes it.
fn first_line(bytes: &[u8], shown: &str) -> Result<Phrase> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.is_empty() {
        return Err(Failure::new("key.passphrase", format!("{shown} begins with an empty line")));
    }
    Ok(Phrase { bytes: Zeroizing::new(line.to_vec()), shown: shown.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_taken_to_the_byte() {
        for (bytes, passphrase) in
            [("word", "word"), ("two words \nrest", "two words "), ("crlf\r\n", "crlf\r"), ("é\n", "é")]
        {
            assert_eq!(first_line(bytes.as_bytes(), "x").unwrap().text().unwrap().expose_secret(), passphrase);
        }
        for bytes in [&b""[..], b"\n", b"\nword"] {
            assert_eq!(first_line(bytes, "x").err().unwrap().code, "key.passphrase");
        }
        let latin = first_line(b"\xff\xfe\n", "x").unwrap();
        assert_eq!((latin.text().unwrap_err().code, &latin.bytes[..]), ("key.passphrase", &b"\xff\xfe"[..]));
    }

    #[test]
    fn a_command_is_split_into_words_and_no_shell_sees_it() {
        let secret = of_command("printf '%s\\n' \"a b\" $HOME").unwrap();
        assert_eq!(secret.text().unwrap().expose_secret(), "a b");
        for command in ["", "false", "printf 'open", "/nowhere/at/all", "true"] {
            assert_eq!(of_command(command).err().unwrap().code, "key.passphrase", "{command}");
        }
    }
}
