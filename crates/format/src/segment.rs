//! One segment: at most `seg` bytes of the inner stream and a 16-byte tag (`spec/archive.md`, "Segments").
//!
//! The nonce is the segment's number in its part and a flag that says what follows, so a segment opens only in its place.
//! Rule W1: nothing is sealed twice under one part key; whoever seals must not be able to go back.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes that sealing adds to a segment.
pub const TAG: usize = 16;

/// The suites of the header's `aead`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// `aes-256-gcm`, the default.
    Aes256Gcm,
    /// `chacha20-poly1305`, for processors without AES instructions.
    ChaCha20Poly1305,
}

impl Aead {
    /// The name in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Aead::Aes256Gcm => "aes-256-gcm",
            Aead::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The suite with that name.
    pub fn parse(name: &str) -> Option<Aead> {
        [Aead::Aes256Gcm, Aead::ChaCha20Poly1305].into_iter().find(|aead| aead.as_str() == name)
    }
}

/// What follows a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// More segments of this part.
    More = 0,
    /// Nothing in this part; more parts follow.
    EndOfPart = 1,
    /// Nothing: the archive ends here.
    EndOfArchive = 2,
}

/// The key of one part.
pub struct SegmentKey(LessSafeKey);

impl SegmentKey {
    /// A key from the part's 32 key bytes.
    pub fn new(aead: Aead, key: &[u8; 32]) -> Self {
        let algorithm = match aead {
            Aead::Aes256Gcm => &AES_256_GCM,
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        SegmentKey(LessSafeKey::new(UnboundKey::new(algorithm, key).expect("both suites take 32 bytes")))
    }

    /// Encrypts `segment` in place and returns its tag.
    pub fn seal(&self, number: u64, flag: Flag, segment: &mut [u8]) -> [u8; TAG] {
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce(number, flag), Aad::empty(), segment)
            .expect("a segment is far below the suites' length limit");
        tag.as_ref().try_into().expect("both suites have a 16-byte tag")
    }

    /// Decrypts `sealed` (ciphertext and tag) into `plain`, which is exactly as long as the ciphertext. `false`, and
    /// nothing useful in `plain`, when the segment is not authentic in this place.
    #[must_use]
    pub fn open(&self, number: u64, flag: Flag, sealed: &[u8], plain: &mut [u8]) -> bool {
        let Some((ciphertext, tag)) = sealed.split_at_checked(sealed.len().wrapping_sub(TAG)) else { return false };
        ciphertext.len() == plain.len()
            && self.0.open_separate_gather(nonce(number, flag), Aad::empty(), ciphertext, tag, plain).is_ok()
    }
}

fn nonce(number: u64, flag: Flag) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3] = flag as u8;
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_is_what_another_implementation_of_gcm_computes() {
        use aes_gcm::aead::{Aead as _, KeyInit as _};
        let key = [7; 32];
        let mut segment = b"hello backstay\n".to_vec();
        let tag = SegmentKey::new(Aead::Aes256Gcm, &key).seal(5, Flag::EndOfArchive, &mut segment);
        segment.extend(tag);
        let nonce = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5];
        let plain = aes_gcm::Aes256Gcm::new(&key.into()).decrypt(&nonce.into(), &segment[..]).unwrap();
        assert_eq!(plain, b"hello backstay\n");
    }

    #[test]
    fn a_segment_opens_only_with_its_number_and_flag() {
        for aead in [Aead::Aes256Gcm, Aead::ChaCha20Poly1305] {
            let key = SegmentKey::new(aead, &[9; 32]);
            let mut cipher = b"data".to_vec();
            let tag = key.seal(1, Flag::More, &mut cipher);
            cipher.extend(tag);
            let mut plain = [0; 4];
            assert!(key.open(1, Flag::More, &cipher, &mut plain));
            assert_eq!(&plain, b"data");
            for (number, flag) in [(0, Flag::More), (2, Flag::More), (1, Flag::EndOfPart), (1, Flag::EndOfArchive)] {
                assert!(!key.open(number, flag, &cipher, &mut plain));
            }
            assert!(!key.open(1, Flag::More, &cipher[..10], &mut plain));
        }
    }
}
