//! From a password to a key: what `openssl enc` does for each of its options.

use std::fmt;
use std::str::FromStr;

use aes::cipher::generic_array::GenericArray;
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Error;

/// The most PBKDF2 iterations a reader does on a manifest's word: some seconds of work.
pub const MAX_ITERATIONS: u32 = 10_000_000;

/// Iterations of `-pbkdf2` without `-iter`.
const DEFAULT_ITERATIONS: u32 = 10_000;

/// The hash named by `-md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Digest {
    /// `-md md5`: the default before OpenSSL 1.1.0, and what the published restore commands say.
    Md5,
    /// `-md sha1`: pgBackRest's.
    Sha1,
    /// `-md sha256`: the default since OpenSSL 1.1.0.
    Sha256,
}

/// A digest name other than `md5`, `sha1` and `sha256`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of md5, sha1, sha256")]
pub struct UnknownDigest(String);

impl FromStr for Digest {
    type Err = UnknownDigest;

    fn from_str(name: &str) -> Result<Self, UnknownDigest> {
        match name {
            "md5" => Ok(Self::Md5),
            "sha1" => Ok(Self::Sha1),
            "sha256" => Ok(Self::Sha256),
            _ => Err(UnknownDigest(name.to_owned())),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        })
    }
}

/// How key and IV come from password and salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kdf {
    /// `EVP_BytesToKey` with one round: `openssl enc` without `-pbkdf2`.
    BytesToKey(Digest),
    /// PBKDF2 with HMAC: `openssl enc -pbkdf2`.
    Pbkdf2 {
        /// `-md`.
        digest: Digest,
        /// `-iter`; at least 1.
        iterations: u32,
    },
}

impl Kdf {
    /// `-pbkdf2` with neither `-md` nor `-iter`.
    pub const PBKDF2_DEFAULT: Self = Self::Pbkdf2 { digest: Digest::Sha256, iterations: DEFAULT_ITERATIONS };

    /// The pair as a manifest has it, where `pbkdf2` is the number of iterations and 0 stands for
    /// `EVP_BytesToKey`.
    ///
    /// # Errors
    ///
    /// [`Error::KdfLimit`] if there are more than [`MAX_ITERATIONS`].
    pub fn new(digest: Digest, pbkdf2: u32) -> Result<Self, Error> {
        match pbkdf2 {
            0 => Ok(Self::BytesToKey(digest)),
            1..=MAX_ITERATIONS => Ok(Self::Pbkdf2 { digest, iterations: pbkdf2 }),
            iterations => Err(Error::KdfLimit { iterations }),
        }
    }

    /// `-md`.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match *self {
            Self::BytesToKey(digest) | Self::Pbkdf2 { digest, .. } => digest,
        }
    }

    /// The iterations of PBKDF2, 0 if the key does not come from PBKDF2: the inverse of
    /// [`Kdf::new`].
    #[must_use]
    pub fn pbkdf2(&self) -> u32 {
        match *self {
            Self::BytesToKey(_) => 0,
            Self::Pbkdf2 { iterations, .. } => iterations,
        }
    }

    /// The key and IV of the archive with this password and salt.
    #[must_use]
    pub fn derive(&self, password: &Password, salt: Salt) -> KeyIv {
        let mut bytes = Zeroizing::new([0; 48]);
        match *self {
            Self::BytesToKey(Digest::Md5) => bytes_to_key::<Md5>(password, salt, &mut bytes),
            Self::BytesToKey(Digest::Sha1) => bytes_to_key::<Sha1>(password, salt, &mut bytes),
            Self::BytesToKey(Digest::Sha256) => bytes_to_key::<Sha256>(password, salt, &mut bytes),
            Self::Pbkdf2 { digest, iterations } => {
                let pbkdf2 = match digest {
                    Digest::Md5 => pbkdf2::pbkdf2_hmac::<Md5>,
                    Digest::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>,
                    Digest::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>,
                };
                pbkdf2(password.bytes(), &salt.0, iterations, &mut *bytes);
            }
        }
        KeyIv { kdf: *self, salt, bytes }
    }
}

impl fmt::Display for Kdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BytesToKey(digest) => digest.fmt(f),
            Self::Pbkdf2 { digest, iterations } => write!(f, "pbkdf2-{digest}-{iterations}"),
        }
    }
}

/// `D1 = H(password | salt)`, `Dn = H(Dn-1 | password | salt)`; the result is `D1 | D2 | …`.
fn bytes_to_key<D: md5::Digest>(password: &Password, salt: Salt, out: &mut [u8; 48]) {
    let mut block = Zeroizing::new([0; 32]);
    let block = &mut block[..<D as md5::Digest>::output_size()];
    let mut filled = 0;
    while filled < out.len() {
        let mut hash = D::new();
        if filled > 0 {
            hash.update(&*block);
        }
        hash.update(password.bytes());
        hash.update(salt.0);
        hash.finalize_into(GenericArray::from_mut_slice(block));
        let length = block.len().min(out.len() - filled);
        out[filled..filled + length].copy_from_slice(&block[..length]);
        filled += length;
    }
}

/// The eight bytes after the magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt(pub [u8; 8]);

/// The most bytes of a line that `openssl -pass file:` takes, and a zero byte ends it before.
const OPENSSL_LINE: usize = 1023;

/// A password: bytes, as `openssl -pass` takes them. Wiped when dropped, and never printed.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// These bytes, as `-pass pass:` takes them.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The first line of a file's content without its LF, as `-pass file:` takes it. A carriage
    /// return is part of the password.
    #[must_use]
    pub fn from_file_content(content: &[u8]) -> Self {
        let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Self::new(line.to_vec())
    }

    /// What `openssl -pass file:` takes of a line that is this password: no more than 1023 bytes, and none from a zero byte on. `None` where
    /// that is all of it.
    #[must_use]
    pub fn as_openssl_reads(&self) -> Option<Self> {
        let line = &self.0[..self.0.len().min(OPENSSL_LINE)];
        let taken = line.split(|byte| *byte == 0).next().unwrap_or_default();
        (taken.len() < self.0.len()).then(|| Self::new(taken.to_vec()))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Key and IV of one archive, with what they were derived from except the password. Wiped when
/// dropped, and never printed.
#[derive(Clone)]
pub struct KeyIv {
    kdf: Kdf,
    salt: Salt,
    bytes: Zeroizing<[u8; 48]>,
}

impl KeyIv {
    /// How it was derived.
    #[must_use]
    pub fn kdf(&self) -> Kdf {
        self.kdf
    }

    /// The archive's salt.
    #[must_use]
    pub fn salt(&self) -> Salt {
        self.salt
    }

    pub(super) fn key(&self) -> &[u8; 32] {
        self.bytes.first_chunk().expect("48 bytes begin with 32")
    }

    pub(super) fn iv(&self) -> &[u8; 16] {
        self.bytes.last_chunk().expect("48 bytes end with 16")
    }

    /// `key | iv`.
    pub(super) fn bytes(&self) -> &[u8; 48] {
        &self.bytes
    }
}

impl fmt::Debug for KeyIv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyIv({}, ..)", self.kdf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const SALT: Salt = Salt([1, 2, 3, 4, 5, 6, 7, 8]);

    /// Computed by `openssl enc -aes-256-cbc -P -pass pass:KEY -S 0102030405060708` and the options
    /// named.
    #[test]
    fn derives_the_keys_that_openssl_derives() {
        let pbkdf2 = |digest, iterations| Kdf::new(digest, iterations).unwrap();
        for (kdf, key, iv) in [
            (
                Kdf::BytesToKey(Digest::Md5),
                "0a7cb2145f68d1fc921ce9d003d8bff2610ff4da82a79057d9ff4c67c85df1c4",
                "b9d515da1dfcf4a59020544656279bc3",
            ),
            (
                Kdf::BytesToKey(Digest::Sha256),
                "6fa6afc3777837ba46bfaaa6677161228c5d70574cf9127c340946a45e4aaa28",
                "f2c96e991827d2845e9a21f7e281b1be",
            ),
            (
                Kdf::BytesToKey(Digest::Sha1),
                "1311c25e5080f1f0dc0ffeb25cdbe0f78d2c002a1aca8b9d358369f9e4c49bd7",
                "4aa8f31e9c1b1363bd32707d8c8b2c68",
            ),
            (
                pbkdf2(Digest::Md5, 10_000),
                "520cb0b7ff268d8c462f302725c4a54bbde031c26f65817f7d64591e860c61b9",
                "709b69050fb9008cbb193f0cc923d495",
            ),
            (
                pbkdf2(Digest::Sha1, 7),
                "5a63c3153c56db9c8d6e9416a4a29b38b08ad728906e1d733185581989e4c98a",
                "7421fa093233d8e926b51a22defb28ec",
            ),
            (
                Kdf::PBKDF2_DEFAULT,
                "979e36bc5e3810e4fe0fa50987249bd88aa3723faba4c15bd38744ed6095103f",
                "1a0c1f067f7503cfb67423accb906408",
            ),
            (
                pbkdf2(Digest::Sha256, 100_000),
                "248ca58e76a58d507fa925d7de8ca0aa9c6e112b69f1d4c3e3c7590db2a8db21",
                "12100a9ca71096f6a7069642c36caaf4",
            ),
        ] {
            let derived = kdf.derive(&Password::new(b"KEY".to_vec()), SALT);
            assert_eq!(hex(derived.key()), key, "{kdf}");
            assert_eq!(hex(derived.iv()), iv, "{kdf}");
        }
    }

    #[test]
    fn a_kdf_and_its_manifest_form_are_inverse() {
        for kdf in [Kdf::BytesToKey(Digest::Md5), Kdf::BytesToKey(Digest::Sha1), Kdf::PBKDF2_DEFAULT] {
            assert_eq!(Kdf::new(kdf.digest(), kdf.pbkdf2()), Ok(kdf));
            assert_eq!(kdf.digest().to_string().parse(), Ok(kdf.digest()));
        }
    }

    #[test]
    fn more_iterations_than_the_limit_are_refused_before_any_work() {
        let error = Kdf::new(Digest::Sha256, MAX_ITERATIONS + 1).unwrap_err();
        assert_eq!(error.code(), "key.kdf-limit");
    }

    #[test]
    fn a_password_file_ends_at_its_first_line_feed_and_keeps_everything_else() {
        for (content, password) in [
            (&b"secret\n"[..], &b"secret"[..]),
            (b"secret", b"secret"),
            (b"secret\r\nmore\n", b"secret\r"),
            (b" two words \n", b" two words "),
            (b"", b""),
        ] {
            assert_eq!(Password::from_file_content(content).bytes(), password);
        }
    }

    #[test]
    fn openssl_takes_1023_bytes_of_a_line_and_none_behind_a_zero() {
        let taken = |bytes: &[u8]| Password::new(bytes.to_vec()).as_openssl_reads().map(|taken| taken.bytes().to_vec());
        assert_eq!(taken(&[b'x'; 1023]), None);
        assert_eq!(taken(&[b'x'; 1024]), Some(vec![b'x'; 1023]));
        assert_eq!(taken(b"one\0two"), Some(b"one".to_vec()));
        assert_eq!(taken(b"one\r"), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let password = Password::new(b"hunter2".to_vec());
        let key = Kdf::BytesToKey(Digest::Md5).derive(&password, SALT);
        assert_eq!(format!("{password:?} {key:?}"), "Password(..) KeyIv(md5, ..)");
    }
}
