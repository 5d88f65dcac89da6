//! Signing keys as files: the PKCS#8 PEM of `openssl genpkey -algorithm ed25519`, which is also what we write.

use std::path::Path;

use backstay_format::signature::SigningKey;
use backstay_format::text::{from_base64, to_base64};
use zeroize::Zeroizing;

use super::read_key_file;
use crate::failure::{Failure, Result};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// The DER of an Ed25519 private key up to its 32 bytes (RFC 8410 §7).
const PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Reads a signing key.
///
/// # Errors
/// `usage.recipient`, naming the file.
pub(crate) fn read(path: &Path) -> Result<SigningKey> {
    let bytes = read_key_file(path)?;
    let refuse = || {
        Failure::new("usage.recipient", format!("{} is not a signing key", path.display()))
            .because("it is not an Ed25519 private key in PEM form")
            .with_hint("make one with `backstay key generate --signing` or `openssl genpkey -algorithm ed25519`")
    };
    let seed = std::str::from_utf8(&bytes).ok().and_then(seed).ok_or_else(refuse)?;
    Ok(SigningKey::from_seed(&seed)?)
}

/// Whether a file is meant to be a signing key.
pub(crate) fn is_pem(bytes: &[u8]) -> bool {
    bytes.starts_with(BEGIN.as_bytes())
}

/// The seed in a PEM text.
fn seed(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let packed = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
    let der = Zeroizing::new(from_base64(&packed)?);
    Some(Zeroizing::new(der.strip_prefix(&PREFIX)?.try_into().ok()?))
}

/// The PEM text of a seed.
pub(crate) fn pem(seed: &[u8; 32]) -> Zeroizing<String> {
    let der = Zeroizing::new([&PREFIX[..], seed].concat());
    Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", to_base64(&der)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(seed(&pem(&[7; 32])).as_deref(), Some(&[7; 32]));
    }

    #[test]
    fn the_example_of_rfc_8410_is_read() {
        let text = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        assert!(seed(text).is_some());
        for broken in [&text[1..], &text.replace("MC4", "MC5"), &text.replace("VhC", "VhCAA"), ""] {
            assert!(seed(broken).is_none(), "{broken}");
        }
    }
}
