//! From the archive's secret to every key that is used (`spec/archive.md`, "Key schedule").
//!
//! HKDF-SHA-256 with one label per purpose; the part key's label ends in the SHA-256 of the part's whole header line,
//! which is what binds every byte of the header to the ciphertext.

use aws_lc_rs::{constant_time, digest, hmac};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The 32 bytes that open one archive.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl PartialEq for Secret {
    /// In constant time.
    fn eq(&self, other: &Secret) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for Secret {}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// HKDF-Extract (RFC 5869 §2.2).
pub(crate) fn extract(salt: &[u8], secret: &[u8]) -> [u8; 32] {
    mac(salt, &[secret])
}

/// HKDF-Expand (RFC 5869 §2.3) to 32 bytes, which is one block.
pub(crate) fn expand(prk: &[u8; 32], info: &[&[u8]]) -> [u8; 32] {
    let mut all = info.to_vec();
    all.push(&[1]);
    mac(prk, &all)
}

/// HMAC-SHA-256 over the concatenation of `data`.
pub(crate) fn mac(key: &[u8], data: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for piece in data {
        context.update(piece);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

/// The keys of one archive.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    prk: [u8; 32],
}

impl Keys {
    /// The keys that follow from a secret and the archive's salt.
    pub fn derive(secret: &Secret, salt: &[u8; 32]) -> Keys {
        Keys { prk: extract(salt, &secret.0) }
    }

    /// The key commitment that stands in the header.
    pub fn commit(&self) -> [u8; 32] {
        expand(&self.prk, &[b"backstay/1 commit"])
    }

    /// Whether the header's commitment is to this secret, in constant time.
    pub fn fits(&self, commit: &[u8; 32]) -> bool {
        constant_time::verify_slices_are_equal(&self.commit(), commit).is_ok()
    }

    /// The key of the part with this header line (with its line feed).
    pub fn part(&self, line: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(expand(&self.prk, &[b"backstay/1 part", &sha256(line)]))
    }

    /// The key of the manifest's `seal.mac`.
    pub fn seal(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(expand(&self.prk, &[b"backstay/1 manifest"]))
    }

    /// The key of a report's `seal.mac`.
    pub fn report(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(expand(&self.prk, &[b"backstay/1 report"]))
    }

    /// The key of a backup set's `seal.mac`.
    pub fn set(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(expand(&self.prk, &[b"backstay/1 set"]))
    }

    /// The key of the `private` of a manifest or a set.
    pub fn private(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(expand(&self.prk, &[b"backstay/1 private"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{from_hex, to_hex};

    #[test]
    fn the_published_vector_holds() {
        let secret = Secret(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        let salt = std::array::from_fn(|i| u8::try_from(i + 0x64).unwrap());
        let keys = Keys::derive(&secret, &salt);
        assert_eq!(to_hex(&keys.prk), "50ebb9df76366d2abbf5513d2d2ab3bb2359affc7253d382afc4af399e33334f");
        assert_eq!(to_hex(&keys.commit()), "aec084176e0e5fe8f05d0e39da052880adb0a54a53a90e1d4b947f666e899ac8");
        assert_eq!(to_hex(&*keys.seal()), "a33e8220d582881b8eed50b020a10b70bb215f76524f1273edb7e83cce69aa0d");
        assert_eq!(to_hex(&*keys.report()), "46772bff1586470b8ad6cf96f42b3dfb3512092ee53c8eeba385bf9fd7e0c65c");
        assert!(keys.fits(&from_hex("aec084176e0e5fe8f05d0e39da052880adb0a54a53a90e1d4b947f666e899ac8").unwrap()));
        assert!(!keys.fits(&[0; 32]));
    }

    #[test]
    fn what_opens_anything_is_wiped_when_it_is_dropped() {
        fn wiped(_: &impl ZeroizeOnDrop) {}
        let keys = Keys::derive(&Secret([1; 32]), &[2; 32]);
        wiped(&Secret([1; 32]));
        wiped(&keys);
        for key in [keys.part(b"line\n"), keys.seal(), keys.report(), keys.set(), keys.private()] {
            wiped(&key);
        }
    }

    #[test]
    fn secrets_are_compared_to_their_last_byte() {
        let mut other = [1; 32];
        assert_eq!(Secret([1; 32]), Secret(other));
        other[31] = 0;
        assert_ne!(Secret([1; 32]), Secret(other));
    }
}
