//! How an old archive's key was derived: nothing in it says so, but its first block does.

use std::str::FromStr;

use super::{BLOCK, Decryptor, Digest, Error, HEADER, Kdf, KeyIv, MAGIC, Password, Salt, UnknownDigest};

/// The beginning of a stream: what is needed to find its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// The salt.
    pub salt: Salt,
    /// The first block of ciphertext.
    pub first: [u8; BLOCK],
}

impl Preamble {
    /// Length of the preamble.
    pub const LENGTH: usize = HEADER + BLOCK;

    /// Reads the first [`LENGTH`](Self::LENGTH) bytes of a stream.
    ///
    /// # Errors
    ///
    /// [`Error::Magic`].
    pub fn parse(bytes: &[u8; Self::LENGTH]) -> Result<Self, Error> {
        let (header, first) = bytes.split_at(HEADER);
        let salt = header.strip_prefix(&MAGIC).ok_or(Error::Magic)?;
        Ok(Self {
            salt: Salt(salt.try_into().expect("8 bytes follow the magic")),
            first: first.try_into().expect("16 bytes follow the header"),
        })
    }
}

/// What a user says about the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigestChoice {
    /// `auto`: find out.
    #[default]
    Auto,
    /// The name of a digest.
    Named(Digest),
}

impl FromStr for DigestChoice {
    type Err = UnknownDigest;

    fn from_str(name: &str) -> Result<Self, UnknownDigest> {
        match name {
            "auto" => Ok(Self::Auto),
            _ => name.parse().map(Self::Named),
        }
    }
}

/// The derivations to try, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(Vec<Kdf>);

impl Candidates {
    /// The defaults of every OpenSSL there was, and pgBackRest's.
    #[must_use]
    pub fn auto() -> Self {
        Self(vec![
            Kdf::BytesToKey(Digest::Md5),
            Kdf::BytesToKey(Digest::Sha256),
            Kdf::BytesToKey(Digest::Sha1),
            Kdf::PBKDF2_DEFAULT,
        ])
    }

    /// This one alone.
    #[must_use]
    pub fn only(kdf: Kdf) -> Self {
        Self(vec![kdf])
    }

    /// What a user's options leave open. `pbkdf2` is the number of iterations; 0 says nothing.
    ///
    /// # Errors
    ///
    /// [`Error::KdfLimit`].
    pub fn from_options(choice: DigestChoice, pbkdf2: u32) -> Result<Self, Error> {
        match (choice, pbkdf2) {
            (DigestChoice::Auto, 0) => Ok(Self::auto()),
            (DigestChoice::Auto, _) => [Digest::Sha256, Digest::Sha1, Digest::Md5]
                .into_iter()
                .map(|digest| Kdf::new(digest, pbkdf2))
                .collect::<Result<_, _>>()
                .map(Self),
            (DigestChoice::Named(digest), _) => Kdf::new(digest, pbkdf2).map(Self::only),
        }
    }
}

/// The key with which the first block begins a gzip stream.
///
/// A wrong key passes once in 2^27 times, since [27 bits](looks_like_gzip) are looked at; openssl
/// itself would print garbage.
///
/// # Errors
///
/// [`Error::Key`] if there is none.
pub fn detect(preamble: &Preamble, password: &Password, candidates: &Candidates) -> Result<KeyIv, Error> {
    for kdf in &candidates.0 {
        let key = kdf.derive(password, preamble.salt);
        if opens(&key, preamble) {
            return Ok(key);
        }
    }
    Err(Error::Key { tried: candidates.0.clone() })
}

/// Whether the first block begins a gzip stream under this key.
pub(super) fn opens(key: &KeyIv, preamble: &Preamble) -> bool {
    let mut first = preamble.first;
    Decryptor::new(key).decrypt(None, &mut first);
    looks_like_gzip(&first)
}

/// Whether a block begins a gzip stream: magic, deflate, and the reserved flags zero.
#[must_use]
pub fn looks_like_gzip(block: &[u8; BLOCK]) -> bool {
    matches!(block, [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::gzip::EMPTY_MEMBER;
    use crate::openssl::StreamWriter;

    fn password() -> Password {
        Password::new(b"KEY".to_vec())
    }

    fn stream(kdf: Kdf, member: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        let key = kdf.derive(&password(), Salt(*b"pepper!!"));
        let mut writer = StreamWriter::begin(&key, &mut stream);
        writer.member(member, &mut stream);
        writer.finish(&mut stream);
        stream
    }

    fn preamble(stream: &[u8]) -> Preamble {
        Preamble::parse(stream.first_chunk().unwrap()).unwrap()
    }

    #[test]
    fn each_candidate_of_auto_is_found() {
        for kdf in Candidates::auto().0 {
            let preamble = preamble(&stream(kdf, &EMPTY_MEMBER));
            let key = detect(&preamble, &password(), &Candidates::auto()).unwrap();
            assert_eq!(key.kdf(), kdf);
            assert_eq!(key.salt(), Salt(*b"pepper!!"));
        }
    }

    #[test]
    fn iterations_that_are_given_are_tried_with_every_digest() {
        for digest in [Digest::Md5, Digest::Sha1, Digest::Sha256] {
            let kdf = Kdf::new(digest, 17).unwrap();
            let preamble = preamble(&stream(kdf, &EMPTY_MEMBER));
            let candidates = Candidates::from_options(DigestChoice::Auto, 17).unwrap();
            assert_eq!(detect(&preamble, &password(), &candidates).unwrap().kdf(), kdf);
            assert!(detect(&preamble, &password(), &Candidates::auto()).is_err());
        }
    }

    #[test]
    fn options_leave_open_what_they_do_not_name() {
        let options = |choice: &str, pbkdf2| Candidates::from_options(choice.parse().unwrap(), pbkdf2);
        assert_eq!(options("auto", 0), Ok(Candidates::auto()));
        assert_eq!(options("sha1", 0), Ok(Candidates::only(Kdf::BytesToKey(Digest::Sha1))));
        assert_eq!(options("sha256", 10_000), Ok(Candidates::only(Kdf::PBKDF2_DEFAULT)));
        assert_eq!(options("auto", u32::MAX).unwrap_err().code(), "key.kdf-limit");
        assert!("sha512".parse::<DigestChoice>().is_err());
    }

    #[test]
    fn a_password_that_does_not_fit_is_named_with_what_was_tried_and_not_shown() {
        let preamble = preamble(&stream(Kdf::PBKDF2_DEFAULT, &EMPTY_MEMBER));
        let error = detect(&preamble, &Password::new(b"hunter2".to_vec()), &Candidates::auto()).unwrap_err();
        assert_eq!(error.code(), "openssl.key");
        assert_eq!(
            error.to_string(),
            "the password does not open the archive (tried md5, sha256, sha1, pbkdf2-sha256-10000)"
        );
    }

    #[test]
    fn exactly_the_first_blocks_of_gzip_streams_are_accepted() {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(&[0x1f, 0x8b, 8, 0]);
        for byte in 0..4 {
            for value in 0..=255 {
                let mut changed = block;
                changed[byte] = value;
                let expected = if byte == 3 { value < 0x20 } else { changed == block };
                assert_eq!(looks_like_gzip(&changed), expected, "byte {byte} is {value}");
            }
        }
    }

    #[test]
    fn a_stream_that_begins_otherwise_is_refused() {
        assert_eq!(Preamble::parse(b"salted__saltsalt0123456789abcdef"), Err(Error::Magic));
    }
}
