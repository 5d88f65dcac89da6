//! The last line of a sealed document: a SHA-256 and an HMAC over every byte before it (`spec/archive.md`, "Seal").
//!
//! No canonical JSON: the bytes are what is sealed, and `head -n -1 x.json | sha256sum` checks them by hand.

use aws_lc_rs::constant_time;

use crate::error::{Error, Result};
use crate::name::ArchiveId;
use crate::schedule::{mac, sha256};
use crate::signature::{Signature, Signer, SigningKey};
use crate::text::{from_base64, from_hex, to_base64, to_hex};

/// A document's seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// SHA-256 of the body.
    pub sha256: [u8; 32],
    mac: [u8; 32],
    signature: Option<Signature>,
}

/// The body of a document that ends in a comma and a line feed, with the seal's line added, and the body's SHA-256.
pub(crate) fn seal(
    mut body: Vec<u8>,
    key: &[u8; 32],
    signer: Option<&SigningKey>,
    id: &ArchiveId,
) -> (Vec<u8>, [u8; 32]) {
    let digest = sha256(&body);
    let mut line = format!("\"seal\":{{\"sha256\":\"{}\",\"mac\":\"{}\"", to_hex(&digest), to_hex(&mac(key, &[&body])));
    if let Some(signer) = signer {
        let signature = signer.sign(&message(id, &digest));
        line += &format!(",\"by\":\"{}\",\"sig\":\"{}\"", to_base64(&signature.by), to_base64(&signature.sig));
    }
    line += "}}\n";
    body.extend(line.into_bytes());
    (body, digest)
}

/// Splits a document into its body and its seal, and checks the digest, which needs no key.
///
/// # Errors
/// `manifest.invalid` when the last line does not have exactly its form; `manifest.seal` when the digest does not fit.
pub(crate) fn split<'a>(document: &'a [u8], object: &str) -> Result<(&'a [u8], Seal)> {
    let invalid = |why: &str| Error::ManifestInvalid { object: object.to_owned(), why: why.to_owned() };
    let inner = document.strip_suffix(b"\n").ok_or_else(|| invalid("it does not end in a line feed"))?;
    let start = inner.iter().rposition(|byte| *byte == b'\n').ok_or_else(|| invalid("it has no seal line"))? + 1;
    let (body, line) = (&document[..start], &inner[start..]);
    let seal = std::str::from_utf8(line).ok().and_then(parse).ok_or_else(|| invalid("its last line is not a seal"))?;
    if sha256(body) != seal.sha256 {
        return Err(Error::ManifestSeal { object: object.to_owned(), why: "it was changed after it was sealed" });
    }
    Ok((body, seal))
}

fn parse(line: &str) -> Option<Seal> {
    let rest = line.strip_prefix("\"seal\":{\"sha256\":\"")?;
    let (digest, rest) = rest.split_at_checked(64)?;
    let (tag, rest) = rest.strip_prefix("\",\"mac\":\"")?.split_at_checked(64)?;
    let rest = rest.strip_prefix('"')?.strip_suffix("}}")?;
    let signature = if rest.is_empty() {
        None
    } else {
        let (by, sig) = rest.strip_prefix(",\"by\":\"")?.strip_suffix('"')?.split_once("\",\"sig\":\"")?;
        Some(Signature { by: from_base64(by)?.try_into().ok()?, sig: from_base64(sig)?.try_into().ok()? })
    };
    Some(Seal { sha256: from_hex(digest)?, mac: from_hex(tag)?, signature })
}

impl Seal {
    /// Demands that the holder of the seal key made it.
    ///
    /// # Errors
    /// `manifest.seal`, naming `object`.
    pub fn check(&self, body: &[u8], key: &[u8; 32], object: &str) -> Result<()> {
        match constant_time::verify_slices_are_equal(&mac(key, &[body]), &self.mac) {
            Ok(()) => Ok(()),
            Err(_) => {
                Err(Error::ManifestSeal { object: object.to_owned(), why: "it was not made with the archive's key" })
            }
        }
    }

    /// Demands that `signer` signed it.
    ///
    /// # Errors
    /// `key.signer`.
    pub fn check_signer(&self, signer: &Signer, id: &ArchiveId) -> Result<()> {
        signer.check(self.signature.as_ref(), &message(id, &self.sha256), id)
    }

    /// Whether it carries a signature.
    pub fn is_signed(&self) -> bool {
        self.signature.is_some()
    }
}

fn message(id: &ArchiveId, digest: &[u8; 32]) -> Vec<u8> {
    format!("backstay/1 seal\narchive\n{id}\n{}\n", to_hex(digest)).into_bytes()
}
