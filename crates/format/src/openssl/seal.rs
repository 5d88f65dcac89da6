//! The keys of a manifest's and a report's seal in the openssl profile.

use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

use super::KeyIv;

/// The 32 bytes that key the HMAC in a seal line of an openssl archive. Wiped when dropped, and never
/// printed.
pub struct SealKey(Zeroizing<[u8; 32]>);

impl KeyIv {
    /// The seal key: HKDF with the salt and `key | iv`, which costs a guesser of the password as
    /// much as trying the cipher.
    #[must_use]
    pub fn seal_key(&self) -> SealKey {
        self.sealing(b"backstay/1 openssl seal")
    }

    /// The key of a report's seal, made likewise.
    #[must_use]
    pub fn report_key(&self) -> SealKey {
        self.sealing(b"backstay/1 openssl report")
    }

    fn sealing(&self, label: &[u8]) -> SealKey {
        let mut key = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, &self.salt().0)
            .extract(self.bytes())
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut *key))
            .expect("HKDF-SHA256 gives 32 bytes");
        SealKey(key)
    }
}

impl SealKey {
    /// The key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use crate::openssl::{Digest, Kdf, Password, Salt};

    /// Computed by Python's `hmac` from the keys that `openssl enc -P` prints.
    #[test]
    fn the_seal_key_is_hkdf_of_key_and_iv_under_the_salt() {
        for (kdf, expected) in [
            (Kdf::BytesToKey(Digest::Md5), "bc96a148ca23802131f88076fa1b4d81801fe74d03c4c0d5826746aec1b3e653"),
            (Kdf::PBKDF2_DEFAULT, "99bb4ba5e9960c14822291ba5ecba4aa1c9dce1f507286cdcf952c0ef02d27e4"),
        ] {
            let key = kdf.derive(&Password::new(b"KEY".to_vec()), Salt([1, 2, 3, 4, 5, 6, 7, 8]));
            let seal = key.seal_key();
            let hex: String = seal.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected, "{kdf}");
            assert_eq!(format!("{seal:?}"), "SealKey(..)");
        }
        let key = Kdf::BytesToKey(Digest::Md5).derive(&Password::new(b"KEY".to_vec()), Salt([1, 2, 3, 4, 5, 6, 7, 8]));
        let expected = "c8301b9124e9f6344559438eb31c28b0fcc9b16f1200536e49aea36a66718dad";
        assert_eq!(crate::text::to_hex(key.report_key().as_bytes()), expected);
    }
}
