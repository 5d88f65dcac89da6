//! Key slots and the texts of keys. Slots are read from objects, texts from files that people were sent.

use age::secrecy::SecretString;
use backstay_format::header::Codec;
use backstay_format::key::{Keyring, parse_recipient, parse_recipients, raw_key};
use backstay_format::signature::Signer;

use crate::fixture::{common, id, secret};

/// A slot for a key and one for a passphrase.
pub(crate) fn slots() -> Vec<Vec<u8>> {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public();
    let mut scrypt = age::scrypt::Recipient::new(SecretString::from("x".to_owned()));
    scrypt.set_work_factor(2);
    let wrap = |recipient: &dyn age::Recipient| backstay_format::key::wrap(&secret(), &[recipient]).unwrap();
    vec![wrap(&recipient), wrap(&scrypt)]
}

/// A slot, inline and beside the archive.
pub(crate) fn key_slot(bytes: &[u8]) {
    let mut keyring = Keyring::default();
    keyring.limit_scrypt(4);
    keyring.add_identity(Box::new(age::x25519::Identity::generate()));
    keyring.add_passphrase(SecretString::from("x".to_owned()));
    let _ = keyring.open(&id(), &[1; 32], &common(Codec::Zstd).commit, &[bytes.to_vec()], &[bytes.to_vec()]);
}

/// The text of a key, of recipients, of a signer.
pub(crate) fn key_text(bytes: &[u8]) {
    let _ = raw_key(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for entry in parse_recipients(text) {
        let _ = parse_recipient(entry);
    }
    let _ = Signer::parse(text);
}
