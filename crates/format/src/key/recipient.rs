//! Recipients as text: `age1…`, and the public SSH keys that age takes. Plugin recipients need callbacks and are made by
//! whoever can ask the user.

use std::str::FromStr as _;

use crate::error::{Error, Result};

/// Reads one recipient: an X25519 `age1…` string or an SSH public key.
///
/// # Errors
/// `usage.recipient`, which says why. An identity in a recipient's place is named as such and never repeated.
pub fn parse_recipient(text: &str) -> Result<Box<dyn age::Recipient + Send + Sync>> {
    let text = text.trim();
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") || text.to_ascii_uppercase().starts_with("AGE-PLUGIN-")
    {
        return Err(Error::Recipient {
            given: "AGE-…".to_owned(),
            why: "it is an identity, which is secret; give its public `age1…` recipient".to_owned(),
        });
    }
    let refuse = |why: String| Error::Recipient { given: text.to_owned(), why };
    if text.starts_with("ssh-") {
        let recipient = age::ssh::Recipient::from_str(text)
            .map_err(|_| refuse("it is not an ed25519 or RSA public key of SSH".to_owned()))?;
        return Ok(Box::new(recipient));
    }
    match age::x25519::Recipient::from_str(text) {
        Ok(recipient) => Ok(Box::new(recipient)),
        Err(why) => Err(refuse(why.to_owned())),
    }
}

/// Splits a recipients file into its entries: one a line, blank lines and lines with `#` are comments.
pub fn parse_recipients(file: &str) -> Vec<&str> {
    file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}
