//! Who can open an archive (`spec/archive.md`, "Keys").
//!
//! A key slot is a complete stock age file that holds the archive's 32-byte secret, so recipients, passphrases, SSH keys
//! and hardware plugins are age's and not ours. [`Keyring`] is what a reader was given; [`Keyring::open`] tries it on the
//! slots of one archive, cheap things first, within limits that are checked before any work is done.

mod identity;
mod recipient;
mod slot;

pub use identity::{Keyring, MAX_KEYBOXES, Opened, raw_key};
pub use recipient::{parse_recipient, parse_recipients};
pub use slot::{MAX_SCRYPT_LOG_N, stanzas, wrap};
