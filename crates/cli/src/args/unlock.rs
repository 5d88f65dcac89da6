//! What archives are opened with, and what a reader demands of them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use backstay::policy::{ReadPolicy, ReceiptLine};
use backstay_format::signature::Signer;
use backstay_format::text::from_hex;
use clap::Args;

use super::format::Reading;
use crate::failure::{Failure, Result};

/// Keys to open archives with.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct Unlock {
    /// A file with the key: age identities, an SSH private key, or a raw key. If it is under a passphrase, the one that is given is tried. Can be
    /// given several times
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

impl Unlock {
    /// Refuses to write to a file that a key or passphrase is read from: it would be replaced by what it opens.
    ///
    /// # Errors
    /// `usage.arguments`.
    pub(crate) fn spare(&self, output: &Path) -> Result<()> {
        let known = |data: io::Result<Metadata>| data.ok().map(|data| (data.dev(), data.ino()));
        // A link is replaced itself.
        let Some(written) = known(fs::symlink_metadata(output)) else { return Ok(()) };
        let is_written = |path: &&PathBuf| {
            [fs::symlink_metadata(path), fs::metadata(path)].into_iter().any(|data| known(data) == Some(written))
        };
        match self.identity.iter().chain(&self.passphrase.passphrase_file).find(is_written) {
            None => Ok(()),
            Some(key) => {
                let message = format!("{} is a key that this run reads: it would be lost", key.display());
                Err(Failure::usage(message).with_hint("name another file with -o"))
            }
        }
    }
}

/// Where a passphrase comes from. It is never an argument: those are visible to everybody on the machine.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct Passphrase {
    /// Take the passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Take the passphrase from the first line that this command writes, such as "pass show backup"; it is split into
    /// words as a shell would, but no shell runs it
    #[arg(long, value_name = "COMMAND", conflicts_with = "passphrase_file")]
    pub(crate) passphrase_command: Option<String>,
    /// Ask for the passphrase at the terminal
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_command"])]
    pub(crate) ask_passphrase: bool,
}

/// What must be so before an archive is believed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct Trust {
    /// Read an archive that was written with --no-encryption: nothing proves who wrote it
    #[arg(long)]
    pub(crate) allow_open: bool,
    /// Demand the signature of this public key, as `backstay key show` prints it
    #[arg(long, value_name = "KEY", value_parser = Signer::parse)]
    pub(crate) signer: Option<Signer>,
    /// Demand the archive of this receipt: the line that `backup` printed, or the root in it
    #[arg(long, value_name = "ROOT", value_parser = Receipt::parse)]
    pub(crate) receipt: Option<Receipt>,
    /// Demand a manifest whose seal the key proves, also of openssl archives
    #[arg(long)]
    pub(crate) require_seal: bool,
}

/// What a receipt says, whole or the part of it that names the content.
#[derive(Debug, Clone)]
pub(crate) enum Receipt {
    Root([u8; 32]),
    Line(ReceiptLine),
}

impl Receipt {
    fn parse(text: &str) -> std::result::Result<Receipt, String> {
        match (from_hex(text.trim()), text.parse()) {
            (Some(root), _) => Ok(Receipt::Root(root)),
            (None, Ok(line)) => Ok(Receipt::Line(line)),
            (None, Err(_)) => Err("it is neither a receipt line nor a root of 64 hexadecimal digits".to_owned()),
        }
    }
}

impl Trust {
    /// The policy of a reader.
    ///
    /// # Errors
    /// `usage.arguments` when the options of the openssl format do not fit together.
    pub(crate) fn policy(&self, reading: &Reading) -> Result<ReadPolicy> {
        let mut policy = ReadPolicy {
            allow_open: self.allow_open,
            signer: self.signer,
            require_seal: self.require_seal,
            openssl: reading.openssl()?,
            format: reading.format.map(Into::into),
            ..ReadPolicy::default()
        };
        match &self.receipt {
            Some(Receipt::Root(root)) => policy.root = Some(*root),
            Some(Receipt::Line(line)) => policy.receipt = Some(line.clone()),
            None => {}
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_a_root_or_the_whole_line() {
        let (root, seal) = ("ab".repeat(32), "cd".repeat(32));
        let id = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123";
        assert!(matches!(Receipt::parse(&root), Ok(Receipt::Root(root)) if root == [0xab; 32]));
        assert!(
            matches!(Receipt::parse(&format!("{id} {root} {seal} 17\n")), Ok(Receipt::Line(line)) if line.stored == 17)
        );
        for text in ["", "abcd", &format!("{id} {root}"), &format!("x {root} y z"), &root.to_uppercase()] {
            assert!(Receipt::parse(text).is_err(), "{text}");
        }
    }
}
