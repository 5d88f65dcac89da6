//! How an archive is locked: recipients, a passphrase, a raw key, or not at all.

use std::sync::Arc;

use age::secrecy::SecretString;
use backstay_format::key;
use backstay_format::schedule::Secret;

use crate::context::Context;
use crate::error::Result;

/// The work that a passphrase slot takes to open, as a logarithm: about 1.5 seconds and 256 MiB.
const SCRYPT_LOG_N: u8 = 18;

/// Who will be able to open an archive.
pub enum Encryption {
    /// Recipients and at most one passphrase; the secret is drawn for each archive.
    Slots {
        /// Public keys of any kind that age knows.
        recipients: Vec<Box<dyn age::Recipient + Send + Sync>>,
        /// A passphrase.
        passphrase: Option<SecretString>,
        /// Whether the slots are kept in keyboxes beside the parts instead of in each part.
        detached: bool,
    },
    /// Whoever has these 32 bytes.
    Raw(Secret),
    /// Everybody.
    Open,
    /// The same for several archives, each of which draws a secret of its own.
    Shared(Arc<Encryption>),
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Encryption::Slots { recipients, passphrase, detached } => {
                write!(
                    f,
                    "Slots({} recipients, passphrase {}, detached {detached})",
                    recipients.len(),
                    passphrase.is_some()
                )
            }
            Encryption::Raw(_) => f.write_str("Raw(..)"),
            Encryption::Open => f.write_str("Open"),
            Encryption::Shared(shared) => shared.fmt(f),
        }
    }
}

/// An archive's secret and where its slots go.
pub(crate) struct Locked {
    pub(crate) secret: Secret,
    /// For the header of every part.
    pub(crate) attached: Vec<Vec<u8>>,
    /// For keyboxes, to be created before part 0.
    pub(crate) detached: Vec<Vec<u8>>,
    /// Whether the secret is published.
    pub(crate) open: bool,
}

impl Encryption {
    /// Whether recipients or a passphrase open it.
    pub(crate) fn has_slots(&self) -> bool {
        match self {
            Encryption::Slots { .. } => true,
            Encryption::Raw(_) | Encryption::Open => false,
            Encryption::Shared(shared) => shared.has_slots(),
        }
    }

    /// Draws a secret for one archive and wraps it.
    pub(crate) fn lock(&self, context: &Context) -> Result<Locked> {
        let fresh = || Secret(context.random());
        Ok(match self {
            Encryption::Shared(shared) => shared.lock(context)?,
            Encryption::Open => Locked { secret: fresh(), attached: Vec::new(), detached: Vec::new(), open: true },
            Encryption::Raw(secret) => {
                Locked { secret: secret.clone(), attached: Vec::new(), detached: Vec::new(), open: false }
            }
            Encryption::Slots { recipients, passphrase, detached } => {
                let secret = fresh();
                let slots = wrap(&secret, recipients.iter().map(AsRef::as_ref), passphrase.as_ref())?;
                let (attached, detached) = if *detached { (Vec::new(), slots) } else { (slots, Vec::new()) };
                Locked { secret, attached, detached, open: false }
            }
        })
    }
}

/// The slots for these recipients and this passphrase: a passphrase stands alone in its age file.
pub fn wrap<'a>(
    secret: &Secret,
    recipients: impl IntoIterator<Item = &'a (dyn age::Recipient + Send + Sync)>,
    passphrase: Option<&SecretString>,
) -> Result<Vec<Vec<u8>>> {
    let mut slots = Vec::new();
    let recipients: Vec<&dyn age::Recipient> =
        recipients.into_iter().map(|recipient| recipient as &dyn age::Recipient).collect();
    if !recipients.is_empty() {
        slots.push(key::wrap(secret, &recipients)?);
    }
    if let Some(passphrase) = passphrase {
        let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
        recipient.set_work_factor(SCRYPT_LOG_N);
        slots.push(key::wrap(secret, &[&recipient])?);
    }
    Ok(slots)
}
