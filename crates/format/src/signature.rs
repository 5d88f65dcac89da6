//! Who wrote an archive: optional Ed25519 signatures (`spec/archive.md`, "Signatures").
//!
//! Strict RFC 8032: canonical S (the library's rule), and no public key of small order or of non-canonical form, since
//! such keys verify signatures over anything.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::error::{Error, Result};
use crate::name::ArchiveId;
use crate::text::{from_base64, to_base64, to_hex};

/// A public key and a signature, as they stand in headers and seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The Ed25519 public key.
    pub by: [u8; 32],
    /// The signature.
    pub sig: [u8; 64],
}

/// A public key that archives can be demanded to be signed by: `--signer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer([u8; 32]);

impl Signer {
    /// Reads the base64 text of 32 bytes.
    ///
    /// # Errors
    /// `usage.recipient` when it is not 32 bytes. Whether it is a key that can sign is judged with a signature.
    pub fn parse(text: &str) -> Result<Signer> {
        let invalid = |why: &str| Error::Recipient { given: text.to_owned(), why: why.to_owned() };
        from_base64(text.trim())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(Signer)
            .ok_or_else(|| invalid("a signer is 32 bytes of base64"))
    }

    /// Checks a signature of this signer over `message`.
    ///
    /// # Errors
    /// `key.signer` when there is none, it is another's, or it does not fit.
    pub fn check(&self, signature: Option<&Signature>, message: &[u8], id: &ArchiveId) -> Result<()> {
        let refuse = |why| Err(Error::KeySigner { id: id.to_string(), why });
        match signature {
            None => refuse("it carries no signature"),
            Some(signature) if signature.by != self.0 => refuse("another key signed it"),
            Some(signature) if weak(&signature.by) || !signature.fits(message) => refuse("the signature does not fit"),
            Some(_) => Ok(()),
        }
    }
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&to_base64(&self.0))
    }
}

impl Signature {
    fn fits(&self, message: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.by).verify(message, &self.sig).is_ok()
    }
}

/// A private key to sign with.
#[derive(Clone)]
pub struct SigningKey(Arc<Ed25519KeyPair>);

impl SigningKey {
    /// The key with this 32-byte seed (RFC 8032 §5.1.5).
    ///
    /// # Errors
    /// `usage.recipient` when the library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Result<SigningKey> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(|pair| SigningKey(Arc::new(pair))).map_err(|_| Error::Recipient {
            given: "signing key".to_owned(),
            why: "it is not an Ed25519 seed".to_owned(),
        })
    }

    /// Its public half.
    pub fn signer(&self) -> Signer {
        Signer(self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let sig = self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes");
        Signature { by: self.signer().0, sig }
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.signer())
    }
}

/// What the header's `sig` signs: the commitment, behind which only the holder of the secret can stand.
pub fn header_message(id: &ArchiveId, salt: &[u8; 32], commit: &[u8; 32]) -> Vec<u8> {
    format!("backstay/1 sig\n{id}\n{}\n{}\n", to_hex(salt), to_hex(commit)).into_bytes()
}

/// The seven orders of the torsion subgroup's y-coordinates, and everything at or above p: keys that are nobody's.
fn weak(key: &[u8; 32]) -> bool {
    const P_LOW: u8 = 0xed;
    let mut y = *key;
    y[31] &= 0x7f;
    let middle_is = |byte: u8| y[1..31].iter().all(|b| *b == byte);
    let reaches_p = y[31] == 0x7f && middle_is(0xff) && y[0] >= P_LOW;
    let zero_or_one = y[31] == 0 && middle_is(0) && y[0] <= 1;
    let minus_one = y[31] == 0x7f && middle_is(0xff) && y[0] == P_LOW - 1;
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    reaches_p || zero_or_one || minus_one || ORDER_8.contains(&y)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ArchiveId {
        "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000".parse().unwrap()
    }

    #[test]
    fn only_the_signer_s_own_signature_over_the_same_message_passes() {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let other = SigningKey::from_seed(&[2; 32]).unwrap();
        let message = header_message(&id(), &[3; 32], &[4; 32]);
        let signature = key.sign(&message);
        key.signer().check(Some(&signature), &message, &id()).unwrap();
        for (signer, signature, message) in [
            (key.signer(), None, message.clone()),
            (other.signer(), Some(signature), message.clone()),
            (key.signer(), Some(signature), header_message(&id(), &[3; 32], &[5; 32])),
            (key.signer(), Some(other.sign(&message)), message.clone()),
        ] {
            assert_eq!(signer.check(signature.as_ref(), &message, &id()).unwrap_err().code(), "key.signer");
        }
    }

    #[test]
    fn weak_public_keys_are_refused() {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        let mut p = minus_one;
        p[0] = 0xed;
        let mut one = [0; 32];
        one[0] = 1;
        for key in [[0; 32], one, minus_one, p, [0xff; 32]] {
            let signature = Signature { by: key, sig: [0; 64] };
            let signer = Signer::parse(&to_base64(&key)).unwrap();
            assert_eq!(signer.check(Some(&signature), b"", &id()).unwrap_err().code(), "key.signer");
        }
        Signer::parse(&SigningKey::from_seed(&[1; 32]).unwrap().signer().to_string()).unwrap();
    }
}
