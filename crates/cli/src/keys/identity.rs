//! A file that archives are opened with: age identities, also under a passphrase, an SSH private key, or a raw key.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use age::plugin::ResolveError;
use age::secrecy::SecretString;
use age::{Callbacks as _, DecryptError, Decryptor, IdentityFile, NoCallbacks};
use backstay_format::key::{Keyring, MAX_SCRYPT_LOG_N, raw_key};
use backstay_format::schedule::Secret;
use zeroize::Zeroizing;

use super::read_key_file;
use super::ssh::SshIdentity;
use super::terminal::AtTerminal;
use crate::failure::{Failure, Result};

/// What such a file holds.
pub(crate) enum Identity {
    /// Age identities in plain text; plugins are among them.
    Age(Text),
    /// An age file around such text, for a passphrase.
    AgeUnderPassphrase(Text),
    /// A private key of OpenSSH.
    Ssh(Box<age::ssh::Identity>, PathBuf),
    /// 32 bytes.
    Raw(Secret),
}

/// The contents of a file and its name.
pub(crate) struct Text {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) path: PathBuf,
}

impl Text {
    /// The identities in an age file for a passphrase; `None` if this is not the one.
    fn opened(&self, passphrase: &SecretString) -> Result<Option<IdentityFile<NoCallbacks>>> {
        let failed = |why: &str| unusable(&self.path).because(why);
        let reader = age::armor::ArmoredReader::new(&self.bytes[..]);
        let decryptor = Decryptor::new_buffered(reader).map_err(|error| failed(&error.to_string()))?;
        if !decryptor.is_scrypt() {
            return Err(failed("it is an age file, but not one for a passphrase"));
        }
        let mut identity = age::scrypt::Identity::new(passphrase.clone());
        identity.set_max_work_factor(MAX_SCRYPT_LOG_N);
        match decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)) {
            Ok(stream) => {
                IdentityFile::from_buffer(BufReader::new(stream)).map(Some).map_err(|error| failed(&error.to_string()))
            }
            Err(DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys) => {
                Ok(None)
            }
            Err(error) => Err(failed(&error.to_string())),
        }
    }
}

/// Reads a file and finds out what it is.
///
/// # Errors
/// `usage.recipient`, which names the file and never what is in it.
pub(crate) fn read(path: &Path) -> Result<Identity> {
    let bytes = read_key_file(path)?;
    if let Some(secret) = raw_key(&bytes) {
        return Ok(Identity::Raw(secret));
    }
    if bytes.starts_with(b"age-encryption.org/") || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") {
        return Ok(Identity::AgeUnderPassphrase(Text { bytes, path: path.to_owned() }));
    }
    if !bytes.starts_with(b"-----BEGIN ") {
        return Ok(Identity::Age(Text { bytes, path: path.to_owned() }));
    }
    let refuse = |why: &str| unusable(path).because(why);
    match age::ssh::Identity::from_buffer(&bytes[..], Some(path.display().to_string())) {
        Ok(age::ssh::Identity::Unsupported(key)) => Err(refuse(&Unsupported(&key).to_string())),
        Ok(identity) => Ok(Identity::Ssh(Box::new(identity), path.to_owned())),
        Err(_) => Err(refuse("it is a PEM file, but not an SSH private key that age can use")),
    }
}

impl Identity {
    pub(crate) fn is_under_passphrase(&self) -> bool {
        match self {
            Identity::AgeUnderPassphrase(_) => true,
            Identity::Ssh(key, _) => matches!(**key, age::ssh::Identity::Encrypted(_)),
            Identity::Age(_) | Identity::Raw(_) => false,
        }
    }

    /// Adds what the file holds, asking at the terminal for plugins' wishes, and for passphrases that are not the given one.
    pub(crate) fn add_to(self, keyring: &mut Keyring, terminal: &AtTerminal) -> Result<()> {
        match self {
            Identity::Raw(secret) => keyring.add_raw(secret),
            Identity::Ssh(key, path) => {
                keyring.add_identity(Box::new(SshIdentity::new(*key, path.display().to_string(), terminal.clone())));
            }
            Identity::Age(_) | Identity::AgeUnderPassphrase(_) => {
                let (file, path) = self.identity_file(terminal)?;
                let identities = file.into_identities().map_err(|error| not_had(&path, &error))?;
                if identities.is_empty() {
                    return Err(unusable(&path).because("there is no identity in it"));
                }
                for identity in identities {
                    keyring.add_identity(identity);
                }
            }
        }
        Ok(())
    }

    /// The identities of an age file.
    pub(crate) fn identity_file(self, terminal: &AtTerminal) -> Result<(IdentityFile<AtTerminal>, PathBuf)> {
        match self {
            Identity::Age(text) => match IdentityFile::from_buffer(&text.bytes[..]) {
                Ok(file) => Ok((file.with_callbacks(terminal.clone()), text.path)),
                Err(_) => Err(unusable(&text.path).because(
                    "it is neither a file of age identities (AGE-SECRET-KEY-1…), nor an SSH private key, nor a raw key of 64 hexadecimal digits",
                )),
            },
            Identity::AgeUnderPassphrase(text) => {
                let shown = text.path.display().to_string();
                let mut file = terminal.given().map(|given| text.opened(given)).transpose()?.flatten();
                let mut why = match terminal.given() {
                    Some(_) => format!("the given passphrase is not that of {shown}, and no other could be asked for"),
                    None => format!("{shown} is under a passphrase: none was given, and none could be asked for"),
                };
                if file.is_none()
                    && let Some(asked) = terminal.request_passphrase(&format!("passphrase of {shown}"))
                {
                    file = text.opened(&asked)?;
                    why = format!("this is not the passphrase of {shown}");
                }
                match file {
                    Some(file) => Ok((file.with_callbacks(terminal.clone()), text.path)),
                    None => Err(Failure::new("key.passphrase", why)),
                }
            }
            Identity::Ssh(..) | Identity::Raw(_) => Err(Failure::new("internal", "this file holds no age identities")),
        }
    }
}

/// Why identities that were understood cannot be had.
fn not_had(path: &Path, error: &DecryptError) -> Failure {
    match error {
        DecryptError::PluginResolve(ResolveError::MissingPlugin { binary_name }) => Failure::new(
            "usage.recipient",
            format!(
                "an identity in {} is an age plugin's, but the program {binary_name} is not in PATH",
                path.display()
            ),
        )
        .with_hint(format!("install {binary_name}, or add the directory it is in to PATH")),
        error => unusable(path).because(error.to_string()),
    }
}

pub(crate) fn unusable(path: &Path) -> Failure {
    Failure::new("usage.recipient", format!("{} is not a key file that can be used", path.display()))
}

/// Why age cannot use an SSH key.
struct Unsupported<'a>(&'a age::ssh::UnsupportedKey);

impl std::fmt::Display for Unsupported<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use age::ssh::UnsupportedKey::{EncryptedPem, EncryptedSsh, Hardware, Type};
        match self.0 {
            EncryptedPem => {
                f.write_str("it is an encrypted PEM file, which `ssh-keygen -p` rewrites in the form of OpenSSH")
            }
            EncryptedSsh(cipher) => write!(f, "its cipher `{cipher}` is not supported"),
            Hardware(kind) => write!(f, "keys of the type `{kind}` live in hardware; age has plugins for that"),
            Type(kind) => write!(f, "keys of the type `{kind}` cannot be used, only ssh-ed25519 and ssh-rsa"),
        }
    }
}
