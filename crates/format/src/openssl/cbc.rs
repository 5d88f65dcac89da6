//! AES-256-CBC: decryption of any run of blocks, encryption in order.

use aes::cipher::inout::InOutBuf;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, InnerIvInit, KeyInit, KeyIvInit};
use aes::{Aes256, Aes256Dec};

use super::{BLOCK, Error, HEADER, KeyIv};

/// Decrypts runs of blocks, in any order and from many threads: a block needs only its key and the
/// ciphertext block before it.
pub struct Decryptor {
    cipher: Aes256Dec,
    iv: [u8; BLOCK],
}

impl Decryptor {
    /// A decryptor with this key.
    #[must_use]
    pub fn new(key: &KeyIv) -> Self {
        Self { cipher: Aes256Dec::new(key.key().into()), iv: *key.iv() }
    }

    /// Decrypts `blocks` in place, given the ciphertext block before them; `None` at the beginning
    /// of the stream.
    ///
    /// # Panics
    ///
    /// If the length of `blocks` is no multiple of [`BLOCK`].
    pub fn decrypt(&self, previous: Option<&[u8; BLOCK]>, blocks: &mut [u8]) {
        let (blocks, rest) = InOutBuf::from(blocks).into_chunks();
        assert!(rest.is_empty(), "only whole blocks are decrypted");
        let iv = previous.unwrap_or(&self.iv);
        cbc::Decryptor::inner_iv_init(&self.cipher, iv.into()).decrypt_blocks_inout_mut(blocks);
    }

    /// Checks the padding of a stream of `length` bytes by its last 32 bytes alone.
    ///
    /// # Errors
    ///
    /// [`Error::Padding`]. One wrong key in 256 passes.
    pub fn check_end(&self, length: u64, end: &[u8; 2 * BLOCK]) -> Result<(), Error> {
        let (before, last) = end.split_at(BLOCK);
        let mut last: [u8; BLOCK] = last.try_into().expect("half of 32 bytes");
        // Before the only block of a stream stands its header, not a block.
        let previous = (length > (HEADER + BLOCK) as u64).then(|| before.try_into().expect("half of 32 bytes"));
        self.decrypt(previous.as_ref(), &mut last);
        unpad(&last).map(drop)
    }
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decryptor(..)")
    }
}

/// How many bytes of the decrypted last block are content: PKCS#7, every byte of the padding
/// checked.
///
/// # Errors
///
/// [`Error::Padding`]. One random block in 256 passes.
pub fn unpad(last: &[u8; BLOCK]) -> Result<usize, Error> {
    let padding = usize::from(last[BLOCK - 1]);
    let content = BLOCK.checked_sub(padding).filter(|content| *content < BLOCK);
    match content {
        Some(content) if last[content..].iter().all(|byte| usize::from(*byte) == padding) => Ok(content),
        _ => Err(Error::Padding),
    }
}

/// Encrypts one stream. Serial: every block needs the one before it.
pub struct Encryptor {
    cipher: cbc::Encryptor<Aes256>,
    /// The bytes of the last block so far, fewer than 16.
    partial: [u8; BLOCK],
    filled: usize,
}

impl Encryptor {
    /// An encryptor at the beginning of a stream.
    #[must_use]
    pub fn new(key: &KeyIv) -> Self {
        Self { cipher: cbc::Encryptor::new(key.key().into(), key.iv().into()), partial: [0; BLOCK], filled: 0 }
    }

    /// Appends to `out` the blocks that `plain` completes.
    pub fn update(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let whole = (self.filled + plain.len()) / BLOCK * BLOCK;
        if whole == 0 {
            self.keep(plain);
            return;
        }
        let (now, later) = plain.split_at(whole - self.filled);
        out.reserve(whole);
        out.extend_from_slice(&self.partial[..self.filled]);
        out.extend_from_slice(now);
        self.filled = 0;
        self.keep(later);
        let (blocks, rest) = InOutBuf::from(&mut out[start..]).into_chunks();
        debug_assert!(rest.is_empty());
        self.cipher.encrypt_blocks_inout_mut(blocks);
    }

    fn keep(&mut self, plain: &[u8]) {
        self.partial[self.filled..self.filled + plain.len()].copy_from_slice(plain);
        self.filled += plain.len();
    }

    /// Ends the stream: appends the last block with its padding.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        let padding = BLOCK - self.filled;
        let byte = u8::try_from(padding).expect("at most 16");
        self.update(&[byte; BLOCK][..padding], out);
    }
}

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryptor(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openssl::{Digest, Kdf, Password, Salt};

    fn key() -> KeyIv {
        let password = Password::new(b"KEY".to_vec());
        Kdf::BytesToKey(Digest::Md5).derive(&password, Salt([1, 2, 3, 4, 5, 6, 7, 8]))
    }

    /// `printf 'hello legacy\n' | gzip -n | openssl enc -aes256 -md md5 -S 0102030405060708 -pass
    /// pass:KEY`
    #[test]
    fn encrypts_what_openssl_encrypts() {
        let gzip = [
            &b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..],
            b"\xcb\x48\xcd\xc9\xc9\x57\xc8\x49\x4d\x4f\x4c\xae\xe4\x02\0",
            b"\x10\x45\xd2\xe8\x0d\0\0\0",
        ]
        .concat();
        let mut ciphertext = Vec::new();
        let mut encryptor = Encryptor::new(&key());
        encryptor.update(&gzip, &mut ciphertext);
        encryptor.finish(&mut ciphertext);
        let expected = [
            0x61, 0xc6, 0x76, 0xf2, 0x3a, 0xc0, 0xa5, 0xdc, 0xcd, 0x99, 0xec, 0xc2, 0xf2, 0xb7, 0xfe, 0x9d, 0xab, 0xd5,
            0xa6, 0xcc, 0x80, 0xfe, 0x7a, 0xce, 0xf1, 0xb8, 0x28, 0x3f, 0x8b, 0xda, 0xba, 0x1c, 0x2c, 0x10, 0x86, 0x1f,
            0x8b, 0x9d, 0xe2, 0xa1, 0x1d, 0xb6, 0xf1, 0x0f, 0x1b, 0xdf, 0x7d, 0x03,
        ];
        assert_eq!(ciphertext, expected);
    }

    proptest! {
        #[test]
        fn any_cut_encrypts_to_the_same_blocks_and_any_range_decrypts_alone(
            plain in prop::collection::vec(any::<u8>(), 0..600),
            push in 1usize..70,
            from in any::<prop::sample::Index>(),
            to in any::<prop::sample::Index>(),
        ) {
            let mut whole = Vec::new();
            let mut encryptor = Encryptor::new(&key());
            encryptor.update(&plain, &mut whole);
            encryptor.finish(&mut whole);

            let mut pieces = Vec::new();
            let mut encryptor = Encryptor::new(&key());
            for piece in plain.chunks(push) {
                encryptor.update(piece, &mut pieces);
            }
            encryptor.finish(&mut pieces);
            prop_assert_eq!(&pieces, &whole);

            let blocks = whole.len() / BLOCK;
            let (from, to) = (from.index(blocks + 1), to.index(blocks + 1));
            let (from, to) = (from.min(to) * BLOCK, from.max(to) * BLOCK);
            let previous = whole[..from].last_chunk();
            let mut range = whole[from..to].to_vec();
            Decryptor::new(&key()).decrypt(previous, &mut range);
            let mut padded = plain.clone();
            let padding = whole.len() - plain.len();
            padded.resize(whole.len(), u8::try_from(padding).unwrap());
            prop_assert_eq!(range, &padded[from..to]);
        }
    }

    #[test]
    fn padding_is_one_to_sixteen_bytes_that_all_say_how_many_they_are() {
        for padding in 0..=255_u8 {
            let mut block = [padding; BLOCK];
            let content = BLOCK.checked_sub(usize::from(padding)).filter(|_| padding > 0);
            assert_eq!(unpad(&block).ok(), content, "padding {padding}");
            let Some(content) = content else { continue };
            // A byte before the padding may be anything, a byte of it may not.
            for at in 0..BLOCK - 1 {
                block = [padding; BLOCK];
                block[at] ^= 1;
                assert_eq!(unpad(&block).is_ok(), at < content, "padding {padding}, byte {at}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "whole blocks")]
    fn a_part_of_a_block_is_not_decrypted() {
        Decryptor::new(&key()).decrypt(None, &mut [0; 17]);
    }
}
