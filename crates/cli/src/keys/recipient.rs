//! Whom archives are for: `-r` and `-R`.

use std::path::PathBuf;
use std::sync::Arc;

use age::plugin;
use backstay_format::key::{parse_recipient, parse_recipients};

use super::{AtTerminal, read_key_file};
use crate::failure::{Failure, Result};
use crate::output::Output;

/// What locks a slot.
pub(crate) type Recipients = Vec<Box<dyn age::Recipient + Send + Sync>>;

/// All recipients of arguments and files.
///
/// # Errors
/// `usage.recipient`. What does not look like a public key is not repeated: it may be a secret in the wrong place.
pub(crate) fn recipients(given: &[String], files: &[PathBuf], output: &Arc<Output>) -> Result<Recipients> {
    let (mut recipients, mut for_plugins) = (Recipients::new(), Vec::new());
    for text in given {
        add(text, "a recipient", &mut recipients, &mut for_plugins)?;
    }
    for path in files {
        let bytes = read_key_file(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Failure::new("usage.recipient", format!("the recipients file {} is not text", path.display()))
        })?;
        for entry in parse_recipients(text) {
            add(entry, &format!("an entry of {}", path.display()), &mut recipients, &mut for_plugins)?;
        }
    }
    // One run of a plugin serves all its recipients.
    let mut names: Vec<&str> = for_plugins.iter().map(plugin::Recipient::plugin).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let recipient = plugin::RecipientPluginV1::new(name, &for_plugins, &[], AtTerminal::new(output)).map_err(|_| {
            Failure::new("usage.recipient", format!("recipients of the age plugin `{name}` were given, but the program age-plugin-{name} is not in PATH"))
                .with_hint(format!("install age-plugin-{name}, or add the directory it is in to PATH"))
        })?;
        recipients.push(Box::new(recipient));
    }
    Ok(recipients)
}

fn add(text: &str, whence: &str, recipients: &mut Recipients, for_plugins: &mut Vec<plugin::Recipient>) -> Result<()> {
    let text = text.trim();
    if !text.starts_with("age1") && !text.starts_with("ssh-") {
        let secret = text.to_ascii_uppercase().starts_with("AGE-") || text.starts_with("-----BEGIN ");
        let why =
            if secret { "is an identity, which is secret" } else { "is neither an age1… nor an ssh-… public key" };
        let failure = Failure::new("usage.recipient", format!("{whence} {why}"));
        return Err(if secret {
            failure.with_hint("`backstay key show FILE` prints the public recipient of an identity file")
        } else {
            failure
        });
    }
    match parse_recipient(text) {
        Ok(recipient) => recipients.push(recipient),
        Err(error) => {
            if let Ok(recipient) = text.parse::<age::tag::Recipient>() {
                recipients.push(Box::new(recipient));
            } else if let Ok(recipient) = text.parse::<age::tagpq::Recipient>() {
                recipients.push(Box::new(recipient));
            } else if let Ok(recipient) = text.parse::<plugin::Recipient>() {
                for_plugins.push(recipient);
            } else {
                return Err(error.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Failure {
        let (mut recipients, mut for_plugins) = (Vec::new(), Vec::new());
        add(text, "a recipient", &mut recipients, &mut for_plugins).unwrap_err()
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for text in ["AGE-SECRET-KEY-1QQQQ", "hunter2", &"0123456789abcdef".repeat(4)] {
            let failure = refused(text);
            assert_eq!(failure.code, "usage.recipient");
            assert!(!failure.message.contains(text), "{}", failure.message);
        }
    }

    #[test]
    fn a_public_key_with_a_typing_error_is_named() {
        assert!(refused("age1qqqq").message.contains("age1qqqq"));
    }
}
