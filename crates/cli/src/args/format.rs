//! The archive's format: native, or the stream of `openssl enc`.

use backstay::policy::{OpensslReading, ProfileName};
use backstay_format::openssl::{Digest, Kdf, MAX_ITERATIONS};
use clap::{Args, ValueEnum};

use crate::failure::{Failure, Result};

/// An archive format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// Backstay's own
    Native,
    /// gzip in AES-256-CBC, as `openssl enc` reads and writes it
    Openssl,
}

impl From<FormatName> for ProfileName {
    fn from(name: FormatName) -> ProfileName {
        match name {
            FormatName::Native => ProfileName::Native,
            FormatName::Openssl => ProfileName::Openssl,
        }
    }
}

/// The digest of `openssl enc -md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Md {
    /// Find out when reading; md5 when writing
    Auto,
    Md5,
    Sha1,
    Sha256,
}

/// What is inside the encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    Gzip,
    Raw,
}

/// How keys of the openssl format are made.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The openssl format")]
pub(crate) struct Derivation {
    /// The digest of the key derivation, as `openssl enc -md` takes it
    #[arg(long, value_name = "DIGEST", default_value = "auto")]
    pub(crate) md: Md,
    /// The iterations of PBKDF2, as `openssl enc -pbkdf2 -iter` takes them; without it the old derivation is meant
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ITERATIONS)))]
    pub(crate) pbkdf2_iter: Option<u32>,
}

impl Derivation {
    /// The derivation that is asked for; `None` when nothing was.
    pub(crate) fn kdf(&self) -> Result<Option<Kdf>> {
        let digest = match self.md {
            Md::Auto if self.pbkdf2_iter.is_none() => return Ok(None),
            // The default of `openssl enc -pbkdf2` since its 1.1.0.
            Md::Auto | Md::Sha256 => Digest::Sha256,
            Md::Sha1 => Digest::Sha1,
            Md::Md5 => Digest::Md5,
        };
        let kdf = Kdf::new(digest, self.pbkdf2_iter.unwrap_or(0)).map_err(backstay_format::Error::from)?;
        Ok(Some(kdf))
    }
}

/// The format of an archive that is read.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reading {
    /// Take the archive to be of this format, whatever its objects say
    #[arg(long, value_name = "FORMAT", help_heading = "The openssl format")]
    pub(crate) format: Option<FormatName>,
    #[command(flatten)]
    pub(crate) derivation: Derivation,
    /// What is inside the encryption
    #[arg(long, value_name = "KIND", default_value = "gzip", help_heading = "The openssl format")]
    pub(crate) payload: Payload,
}

impl Reading {
    /// How the openssl format is to be read.
    pub(crate) fn openssl(&self) -> Result<OpensslReading> {
        reading(&self.derivation, self.payload)
    }
}

/// How the openssl format is to be read.
pub(crate) fn reading(derivation: &Derivation, payload: Payload) -> Result<OpensslReading> {
    let (kdf, raw) = (derivation.kdf()?, payload == Payload::Raw);
    if raw && kdf.is_none() {
        let failure =
            Failure::usage("--payload raw needs --md, since nothing in such a stream shows a wrong derivation");
        return Err(failure.with_hint("give the digest that the archive was written with, such as --md md5"));
    }
    Ok(OpensslReading { kdf, raw })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kdf(md: Md, pbkdf2_iter: Option<u32>) -> Option<String> {
        Derivation { md, pbkdf2_iter }.kdf().unwrap().map(|kdf| kdf.to_string())
    }

    #[test]
    fn a_derivation_is_named_as_openssl_names_it() {
        assert_eq!(kdf(Md::Auto, None), None);
        assert_eq!(kdf(Md::Md5, None).unwrap(), "md5");
        assert_eq!(kdf(Md::Sha1, Some(1000)).unwrap(), "pbkdf2-sha1-1000");
        assert_eq!(kdf(Md::Auto, Some(10_000)).unwrap(), "pbkdf2-sha256-10000");
    }

    #[test]
    fn a_raw_payload_needs_a_digest() {
        let reading =
            |md| Reading { format: None, derivation: Derivation { md, pbkdf2_iter: None }, payload: Payload::Raw };
        assert_eq!(reading(Md::Auto).openssl().unwrap_err().code, "usage.arguments");
        assert!(reading(Md::Sha256).openssl().unwrap().raw);
    }
}
