//! Runs of cipher blocks out of a stream that arrives in arbitrary cuts.

use super::{BLOCK, Decryptor, Error, HEADER, unpad};
use crate::backlog::Backlog;

/// Cuts the ciphertext into ranges that can be decrypted independently, and holds back the last
/// block until it is known to be the last.
#[derive(Debug, Default)]
pub struct Ranges {
    backlog: Backlog,
    /// The last block given out.
    previous: Option<[u8; BLOCK]>,
    ended: bool,
}

/// A run of blocks with what is needed to decrypt it.
pub struct Range {
    previous: Option<[u8; BLOCK]>,
    blocks: Vec<u8>,
    last: bool,
}

/// What a [`Range`] decrypts to.
#[derive(PartialEq, Eq)]
pub struct Decrypted {
    /// The plaintext, without padding.
    pub plain: Vec<u8>,
    /// [`Error::Padding`] if the stream's last block is not a last block; it is then not in
    /// `plain`.
    pub padding: Result<(), Error>,
}

impl Ranges {
    /// Appends ciphertext: the stream after its header.
    pub fn push(&mut self, input: &[u8]) {
        self.backlog.push(input);
    }

    /// Says that no more input will come.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] if the stream cannot end here. The whole blocks before can still be taken,
    /// none of them as the last.
    pub fn end(&mut self) -> Result<(), Error> {
        let ciphertext = self.backlog.offset() + self.backlog.len() as u64;
        if ciphertext == 0 || !ciphertext.is_multiple_of(BLOCK as u64) {
            return Err(Error::Length { length: ciphertext + HEADER as u64 });
        }
        self.ended = true;
        Ok(())
    }

    /// The first block, before it is taken.
    #[must_use]
    pub fn first(&self) -> Option<&[u8; BLOCK]> {
        self.backlog.bytes().first_chunk()
    }

    /// Bytes that wait.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.backlog.len()
    }

    /// Bytes that [`take`](Self::take) would give now if it were not limited.
    #[must_use]
    pub fn available(&self) -> usize {
        let waiting = self.backlog.len();
        // Before the end is known, the last block is one that something follows.
        let usable = if self.ended { waiting } else { waiting.saturating_sub(1) };
        usable / BLOCK * BLOCK
    }

    /// Takes the next range, of at most `limit` bytes but at least one block; `None` if no whole
    /// block is available.
    pub fn take(&mut self, limit: usize) -> Option<Range> {
        let length = self.available().min((limit / BLOCK).max(1) * BLOCK);
        let blocks = self.backlog.take(length);
        let last_block = *blocks.last_chunk()?;
        Some(Range { previous: self.previous.replace(last_block), blocks, last: self.ended && self.backlog.len() == 0 })
    }
}

impl Range {
    /// Decrypts in place.
    #[must_use]
    pub fn decrypt(self, decryptor: &Decryptor) -> Decrypted {
        let mut plain = self.blocks;
        decryptor.decrypt(self.previous.as_ref(), &mut plain);
        let mut padding = Ok(());
        if let (true, Some(last)) = (self.last, plain.last_chunk()) {
            let keep = unpad(last);
            let before = plain.len() - BLOCK;
            plain.truncate(before + keep.as_ref().map_or(0, |content| *content));
            padding = keep.map(drop);
        }
        Decrypted { plain, padding }
    }

    /// Length of the range in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.blocks.len()
    }
}

impl std::fmt::Debug for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Range({} bytes)", self.blocks.len())
    }
}

impl std::fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decrypted({} bytes, {:?})", self.plain.len(), self.padding)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::openssl::{Digest, Encryptor, Kdf, KeyIv, Password, Salt};

    fn key() -> KeyIv {
        Kdf::BytesToKey(Digest::Md5).derive(&Password::new(b"KEY".to_vec()), Salt([0; 8]))
    }

    fn encrypt(plain: &[u8]) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        let mut encryptor = Encryptor::new(&key());
        encryptor.update(plain, &mut ciphertext);
        encryptor.finish(&mut ciphertext);
        ciphertext
    }

    /// Pushes in cuts of `push` bytes, takes up to `limit`, and decrypts all ranges at the end and
    /// in reverse.
    fn decrypt(ciphertext: &[u8], push: usize, limit: usize) -> (Vec<u8>, Result<(), Error>) {
        let mut ranges = Ranges::default();
        let mut taken = Vec::new();
        for input in ciphertext.chunks(push) {
            ranges.push(input);
            while let Some(range) = ranges.take(limit) {
                assert!(range.len() <= limit.max(BLOCK) && !range.last);
                taken.push(range);
            }
            assert!((1..=BLOCK).contains(&ranges.buffered()), "the last block is held back");
        }
        let ended = ranges.end();
        taken.extend(std::iter::from_fn(|| ranges.take(limit)));
        let decryptor = Decryptor::new(&key());
        let decrypted: Vec<Decrypted> = taken.into_iter().rev().map(|range| range.decrypt(&decryptor)).collect();
        let plain = decrypted.iter().rev().flat_map(|part| part.plain.clone()).collect();
        let padding = decrypted.into_iter().find_map(|part| part.padding.err());
        (plain, ended.and(padding.map_or(Ok(()), Err)))
    }

    proptest! {
        #[test]
        fn any_cut_decrypts_to_the_same_plaintext(
            plain in prop::collection::vec(any::<u8>(), 0..500),
            push in 1usize..100,
            limit in 0usize..200,
        ) {
            prop_assert_eq!(decrypt(&encrypt(&plain), push, limit), (plain, Ok(())));
        }

        #[test]
        fn a_stream_that_lacks_its_end_gives_its_whole_blocks_and_an_error_or_a_piece_of_the_last(
            plain in prop::collection::vec(any::<u8>(), 0..500),
            push in 1usize..100,
            cut in any::<prop::sample::Index>(),
        ) {
            let ciphertext = encrypt(&plain);
            let cut = cut.index(ciphertext.len());
            let (read, result) = decrypt(&ciphertext[..cut], push, 64);
            prop_assert!(plain.starts_with(&read));
            if !cut.is_multiple_of(BLOCK) || cut == 0 {
                prop_assert_eq!(result, Err(Error::Length { length: (cut + HEADER) as u64 }));
                prop_assert_eq!(read.len(), cut / BLOCK * BLOCK);
            } else if result.is_err() {
                prop_assert_eq!(result, Err(Error::Padding));
                prop_assert_eq!(read.len(), cut - BLOCK);
            }
        }
    }
}
