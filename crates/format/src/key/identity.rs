//! What a reader was given to open archives with, and the search for the secret among an archive's slots.

use age::secrecy::SecretString;

use super::slot::{Form, MAX_SCRYPT_LOG_N, Outcome, form, unwrap};
use crate::error::{Error, Result};
use crate::name::ArchiveId;
use crate::openssl::Password;
use crate::schedule::{Keys, Secret};
use crate::text::from_hex;

/// The most keyboxes of an archive that are looked at.
pub const MAX_KEYBOXES: usize = 16;
/// The most bytes of one.
const MAX_KEYBOX: usize = 64 << 10;
/// Slots for passphrases that are tried: scrypt is the only step that costs.
const MAX_SCRYPT_IN_HEADER: usize = 1;
const MAX_SCRYPT_IN_KEYBOXES: usize = 2;

/// Raw keys, identities and passphrases.
pub struct Keyring {
    raw: Vec<Secret>,
    identities: Vec<Box<dyn age::Identity + Send + Sync>>,
    passphrases: Vec<SecretString>,
    passwords: Vec<Password>,
    scrypt_limit: u8,
}

impl Default for Keyring {
    fn default() -> Self {
        Keyring {
            raw: Vec::new(),
            identities: Vec::new(),
            passphrases: Vec::new(),
            passwords: Vec::new(),
            scrypt_limit: MAX_SCRYPT_LOG_N,
        }
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (raw, identities, passphrases) = (self.raw.len(), self.identities.len(), self.passphrases.len());
        write!(f, "Keyring({raw} raw keys, {identities} identities, {passphrases} passphrases)")
    }
}

/// A secret that fits, and what was skipped on the way to it.
#[derive(Debug)]
pub struct Opened {
    /// The secret.
    pub secret: Secret,
    /// The keys that follow from it.
    pub keys: Keys,
    /// Slots that did not parse or held something else: a writer may have put them there.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keyring {
    /// Adds a raw key.
    pub fn add_raw(&mut self, secret: Secret) {
        self.raw.push(secret);
    }

    /// Adds an identity of any kind that age knows.
    pub fn add_identity(&mut self, identity: Box<dyn age::Identity + Send + Sync>) {
        self.identities.push(identity);
    }

    /// Adds a passphrase.
    pub fn add_passphrase(&mut self, passphrase: SecretString) {
        self.passphrases.push(passphrase);
    }

    /// Raises or lowers the limit of scrypt's work factor (a logarithm, [`MAX_SCRYPT_LOG_N`] by default).
    pub fn limit_scrypt(&mut self, log_n: u8) {
        self.scrypt_limit = log_n;
    }

    /// Whether nothing was given that opens a native archive.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.identities.is_empty() && self.passphrases.is_empty()
    }

    /// Whether something was given that only native archives have a use for.
    pub fn has_keys(&self) -> bool {
        !self.raw.is_empty() || !self.identities.is_empty()
    }

    /// Adds a password for archives of the openssl profile. Native archives have no use for one.
    pub fn add_password(&mut self, password: Password) {
        // Whoever wrote an archive with `openssl` and this line in a file may have used less of it.
        let as_read = password.as_openssl_reads();
        self.passwords.push(password);
        self.passwords.extend(as_read);
    }

    /// The passwords for archives of the openssl profile, in the order in which they are tried: each whole, then what `openssl` would take of it.
    pub fn passwords(&self) -> &[Password] {
        &self.passwords
    }

    /// The first password for archives of the openssl profile.
    pub fn password(&self) -> Option<&Password> {
        self.passwords.first()
    }

    /// Finds the secret that `commit` is made of: raw keys, then the header's slots, the manifest's, the keyboxes.
    ///
    /// # Errors
    /// `key.not-found` when nothing was given or no slot exists for it, `key.wrong` when something was tried and none
    /// fits, `key.invalid` when moreover a slot is damaged, `key.kdf-limit` when only too much work would tell.
    pub fn open(
        &self,
        id: &ArchiveId,
        salt: &[u8; 32],
        commit: &[u8; 32],
        slots: &[Vec<u8>],
        keyboxes: &[Vec<u8>],
    ) -> Result<Opened> {
        let mut search = Search {
            id,
            salt,
            commit,
            notes: Vec::new(),
            damaged: Vec::new(),
            limited: None,
            candidates: 0,
            locked: false,
            unusable: None,
        };
        for secret in &self.raw {
            if let Some(opened) = search.candidate(secret.clone()) {
                return Ok(opened);
            }
        }
        if self.identities.is_empty() && self.passphrases.is_empty() {
            return Err(search.failed(self.is_empty()));
        }
        let keyboxes = match keyboxes.split_at_checked(MAX_KEYBOXES) {
            Some((looked_at, [_, ..])) => {
                search.limit(format!("{} keyboxes", keyboxes.len()), format!("{MAX_KEYBOXES} keyboxes"));
                looked_at
            }
            _ => keyboxes,
        };
        let places = [(search.forms(slots), MAX_SCRYPT_IN_HEADER), (search.forms(keyboxes), MAX_SCRYPT_IN_KEYBOXES)];
        // Identities cost little and passphrases much, so all slots are tried with the former first.
        for (files, _) in &places {
            if let Some(opened) = self.with_identities(files, &mut search) {
                return Ok(opened);
            }
        }
        let [(slots, in_header), (keyboxes, in_keyboxes)] = &places;
        let scrypt_in =
            |files: &[(&[u8], Form)]| files.iter().filter(|(_, form)| matches!(form, Form::Scrypt { .. })).count();
        // Of several passphrase slots in a header none is tried: only an attacker puts them there.
        let in_header = if scrypt_in(slots) > *in_header { 0 } else { *in_header };
        for (files, limit) in [(slots, in_header), (keyboxes, *in_keyboxes)] {
            if let Some(opened) = self.with_passphrases(files, limit, &mut search) {
                return Ok(opened);
            }
        }
        Err(search.failed(self.is_empty()))
    }

    /// Whether an identity gets this secret out of the slot and out of one of the others, too: who has it has no use for the slot. Passphrases are not tried.
    pub fn has_another(&self, slot: &[u8], others: &[Vec<u8>], secret: &Secret) -> bool {
        let gets = |slot: &[u8], identity: &dyn age::Identity| {
            slot.len() <= MAX_KEYBOX
                && form(slot) == Form::Recipients
                && matches!(unwrap(slot, identity), Outcome::Secret(held) if held == *secret)
        };
        let mut identities = self.identities.iter().map(AsRef::as_ref);
        identities.any(|identity| gets(slot, identity) && others.iter().any(|other| gets(other, identity)))
    }

    fn with_identities(&self, files: &[(&[u8], Form)], search: &mut Search<'_>) -> Option<Opened> {
        for (file, _) in files.iter().filter(|(_, form)| *form == Form::Recipients) {
            for identity in &self.identities {
                match unwrap(file, identity.as_ref()) {
                    Outcome::NotMine => {}
                    Outcome::Secret(secret) => match search.candidate(secret) {
                        Some(opened) => return Some(opened),
                        None => search.note_other_secret(),
                    },
                    Outcome::Damaged(why) => {
                        search.damaged.push(why);
                        break;
                    }
                    Outcome::Locked => search.locked = true,
                    Outcome::Unusable(why) => search.unusable = Some(why),
                }
            }
        }
        None
    }

    fn with_passphrases(&self, files: &[(&[u8], Form)], limit: usize, search: &mut Search<'_>) -> Option<Opened> {
        if self.passphrases.is_empty() {
            return None;
        }
        let mut tried = 0;
        for (file, form) in files {
            let Form::Scrypt { log_n } = *form else { continue };
            if log_n > self.scrypt_limit {
                search.limit(format!("scrypt work of 2^{log_n}"), format!("2^{}", self.scrypt_limit));
                continue;
            }
            tried += 1;
            if tried > limit {
                search.limit("more passphrases to be tried".to_owned(), format!("{limit}"));
                continue;
            }
            for passphrase in &self.passphrases {
                let mut identity = age::scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(self.scrypt_limit);
                search.candidates += 1;
                match unwrap(file, &identity) {
                    Outcome::NotMine | Outcome::Locked => {}
                    Outcome::Secret(secret) => match search.candidate(secret) {
                        Some(opened) => return Some(opened),
                        None => search.note_other_secret(),
                    },
                    Outcome::Damaged(why) | Outcome::Unusable(why) => search.damaged.push(why),
                }
            }
        }
        None
    }
}

/// The search while it runs.
struct Search<'a> {
    id: &'a ArchiveId,
    salt: &'a [u8; 32],
    commit: &'a [u8; 32],
    notes: Vec<String>,
    damaged: Vec<String>,
    /// What was not done because it would be too much work: asked, and the limit.
    limited: Option<(String, String)>,
    /// Secrets and passphrases that were tried.
    candidates: usize,
    /// Whether an identity has a slot here and is itself under a passphrase that was not given.
    locked: bool,
    /// Why a plugin could not do its part.
    unusable: Option<String>,
}

impl Search<'_> {
    fn candidate(&mut self, secret: Secret) -> Option<Opened> {
        self.candidates += 1;
        let keys = Keys::derive(&secret, self.salt);
        if !keys.fits(self.commit) {
            return None;
        }
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(self.damaged.drain(..).map(|why| format!("a key slot is damaged: {why}")));
        Some(Opened { secret, keys, notes })
    }

    fn note_other_secret(&mut self) {
        self.notes.push("a key slot holds another archive's secret".to_owned());
    }

    fn limit(&mut self, asked: String, limit: String) {
        self.limited.get_or_insert((asked, limit));
    }

    /// What each file is; those that are not even age files are noted as damaged.
    fn forms<'f>(&mut self, files: &'f [Vec<u8>]) -> Vec<(&'f [u8], Form)> {
        let mut forms = Vec::new();
        for file in files {
            match form(file) {
                _ if file.len() > MAX_KEYBOX => self.damaged.push(format!("it is {} bytes long", file.len())),
                Form::Damaged(why) => self.damaged.push(why.to_owned()),
                form => forms.push((file.as_slice(), form)),
            }
        }
        forms
    }

    fn failed(mut self, nothing_given: bool) -> Error {
        let id = self.id.to_string();
        match (self.limited, self.damaged.pop()) {
            _ if nothing_given => Error::KeyNotFound { id },
            // The user's own key comes before anything that a writer may have put there.
            _ if self.locked => Error::KeyPassphrase { id },
            (Some((asked, limit)), _) => Error::KeyKdfLimit { id, asked, limit },
            (None, Some(why)) => Error::KeyInvalid { id, damaged: self.damaged.len() + 1, why },
            (None, None) if self.candidates > 0 => Error::KeyWrong { id },
            (None, None) => match self.unusable {
                Some(why) => Error::KeyUnusable { id, why },
                None => Error::KeyNotFound { id },
            },
        }
    }
}

/// Reads a raw key file: 64 hexadecimal digits with an optional line feed, or 32 bytes of which at least one is not
/// printable, since 32 printable characters are a password and could be guessed.
pub fn raw_key(file: &[u8]) -> Option<Secret> {
    let text = file.strip_suffix(b"\n").unwrap_or(file);
    if let Some(secret) = std::str::from_utf8(text).ok().and_then(from_hex) {
        return Some(Secret(secret));
    }
    let bytes: [u8; 32] = file.try_into().ok()?;
    bytes.iter().any(|byte| !matches!(byte, 0x20..=0x7e)).then_some(Secret(bytes))
}
