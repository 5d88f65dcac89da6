//! The last line of a sealed document: a SHA-256 and an HMAC over every byte before it (`spec/archive.md`, "Seal").
//!
//! No canonical JSON: the bytes are what is sealed, and `head -n -1 x.json | sha256sum` checks them by hand.

use aws_lc_rs::constant_time;

use crate::error::{Error, Result};
use crate::name::ArchiveId;
use crate::schedule::{mac, sha256};
use crate::signature::{Signature, Signer, SigningKey};
use crate::text::{from_base64, from_hex, to_base64, to_hex};

/// What is sealed. One signature never stands for two kinds of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// A manifest; it always has a MAC.
    Archive,
    /// A backup set; it always has a MAC.
    Set,
    /// A report of a verification; it has a MAC, a signature, or both.
    Report,
}

impl Sealed {
    fn as_str(self) -> &'static str {
        match self {
            Sealed::Archive => "archive",
            Sealed::Set => "set",
            Sealed::Report => "report",
        }
    }
}

/// A document's seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    mac: Option<[u8; 32]>,
    signature: Option<Signature>,
    what: Sealed,
}

/// Why a document's last line is not its seal.
pub(crate) enum Unsealed {
    /// It does not have the form.
    Form(&'static str),
    /// The digest does not fit.
    Changed,
}

/// The body of a document that ends in a comma and a line feed, with the seal's line added, and the body's SHA-256. One of key
/// and signer is there.
pub(crate) fn seal(
    mut body: Vec<u8>,
    key: Option<&[u8; 32]>,
    signer: Option<&SigningKey>,
    id: &ArchiveId,
    what: Sealed,
) -> (Vec<u8>, [u8; 32]) {
    let digest = sha256(&body);
    let mut line = format!("\"seal\":{{\"sha256\":\"{}\"", to_hex(&digest));
    if let Some(key) = key {
        line += &format!(",\"mac\":\"{}\"", to_hex(&mac(key, &[&body])));
    }
    if let Some(signer) = signer {
        let signature = signer.sign(&message(what, id, &digest));
        line += &format!(",\"by\":\"{}\",\"sig\":\"{}\"", to_base64(&signature.by), to_base64(&signature.sig));
    }
    line += "}}\n";
    body.extend(line.into_bytes());
    (body, digest)
}

/// Splits a manifest into its body and its seal, and checks the digest, which needs no key.
///
/// # Errors
/// `manifest.invalid` when the last line does not have exactly its form; `manifest.seal` when the digest does not fit.
pub(crate) fn split<'a>(document: &'a [u8], object: &str) -> Result<(&'a [u8], Seal)> {
    take_seal(document, Sealed::Archive).map_err(|unsealed| match unsealed {
        Unsealed::Form(why) => Error::ManifestInvalid { object: object.to_owned(), why: why.to_owned() },
        Unsealed::Changed => {
            Error::ManifestSeal { object: object.to_owned(), why: "it was changed after it was sealed" }
        }
    })
}

/// Splits any document.
pub(crate) fn take_seal(document: &[u8], what: Sealed) -> std::result::Result<(&[u8], Seal), Unsealed> {
    let inner = document.strip_suffix(b"\n").ok_or(Unsealed::Form("it does not end in a line feed"))?;
    let start = inner.iter().rposition(|byte| *byte == b'\n').ok_or(Unsealed::Form("it has no seal line"))? + 1;
    let (body, line) = (&document[..start], &inner[start..]);
    let seal = std::str::from_utf8(line).ok().and_then(|line| parse(line, what));
    let seal = seal.ok_or(Unsealed::Form("its last line is not a seal"))?;
    if sha256(body) == seal.sha256 { Ok((body, seal)) } else { Err(Unsealed::Changed) }
}

fn parse(line: &str, what: Sealed) -> Option<Seal> {
    let rest = line.strip_prefix("\"seal\":{\"sha256\":\"")?;
    let (digest, mut rest) = rest.split_at_checked(64)?;
    let mut mac = None;
    if let Some(after) = rest.strip_prefix("\",\"mac\":\"") {
        let (tag, after) = after.split_at_checked(64)?;
        mac = Some(from_hex(tag)?);
        rest = after;
    }
    let rest = rest.strip_prefix('"')?.strip_suffix("}}")?;
    let signature = if rest.is_empty() {
        None
    } else {
        let (by, sig) = rest.strip_prefix(",\"by\":\"")?.strip_suffix('"')?.split_once("\",\"sig\":\"")?;
        Some(Signature { by: from_base64(by)?.try_into().ok()?, sig: from_base64(sig)?.try_into().ok()? })
    };
    if mac.is_none() && (what != Sealed::Report || signature.is_none()) {
        return None;
    }
    Some(Seal { sha256: from_hex(digest)?, mac, signature, what })
}

impl Seal {
    /// Demands that the holder of the seal key made it.
    ///
    /// # Errors
    /// `manifest.seal`, naming `object`.
    pub fn check(&self, body: &[u8], key: &[u8; 32], object: &str) -> Result<()> {
        if self.is_keyed_with(body, key) {
            return Ok(());
        }
        Err(Error::ManifestSeal { object: object.to_owned(), why: "it was not made with the archive's key" })
    }

    /// Whether the holder of `key` made it over this body.
    pub(crate) fn is_keyed_with(&self, body: &[u8], key: &[u8; 32]) -> bool {
        self.mac.is_some_and(|found| constant_time::verify_slices_are_equal(&mac(key, &[body]), &found).is_ok())
    }

    /// Demands that `signer` signed it.
    ///
    /// # Errors
    /// `key.signer`.
    pub fn check_signer(&self, signer: &Signer, id: &ArchiveId) -> Result<()> {
        signer.check(self.signature.as_ref(), &message(self.what, id, &self.sha256), id)
    }

    /// Whether it carries a signature.
    pub fn is_signed(&self) -> bool {
        self.signature.is_some()
    }
}

fn message(what: Sealed, id: &ArchiveId, digest: &[u8; 32]) -> Vec<u8> {
    format!("backstay/1 seal\n{}\n{id}\n{}\n", what.as_str(), to_hex(digest)).into_bytes()
}
