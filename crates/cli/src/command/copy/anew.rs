//! `copy --to-format native` and `copy --reencrypt`: archives written anew on their way to the other store.

use std::fmt;
use std::path::PathBuf;

use age::secrecy::SecretString;
use backstay::backup::{Format, Padding};
use backstay::convert::{Conversion, ConvertOptions, Outcome};
use backstay::copy::CopyOptions;
use backstay::effort::Level;
use backstay::keys::Encryption;
use backstay::policy::ProfileName;
use backstay::set::{copy_set, is_native};
use backstay_format::ArchiveId;
use backstay_format::header::Codec;
use backstay_format::segment::Aead;
use backstay_store::Store;
use clap::Args;
use serde::Serialize;

use super::PrintedSet;
use super::several::{Failed, Several};
use crate::args::format::{Derivation, FormatName, Payload, reading};
use crate::args::unlock::Unlock;
use crate::args::value::parse_part_size;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::Size;
use crate::output::human::{Elapsed, count};
use crate::run::{DEGRADED, Status};
use crate::session::Session;

/// How archives are written anew.
#[derive(Debug, Args)]
pub(super) struct Anew {
    /// Write archives of the openssl format anew as native ones, under their ids; those that are native are copied as they are
    #[arg(long, value_name = "FORMAT", help_heading = "Writing anew")]
    to_format: Option<FormatName>,
    /// Write native archives anew too, for the recipients that are given and nobody else
    #[arg(long, help_heading = "Writing anew")]
    reencrypt: bool,
    /// Delete what an interrupted run left of these archives in the other store, and begin them again. Not while another run writes them
    #[arg(long, help_heading = "Writing anew")]
    restart: bool,
    /// Encrypt for this public key: age1…, ssh-ed25519 … or ssh-rsa …; can be given several times
    // See `backup`.
    #[arg(short, long, value_name = "KEY", allow_hyphen_values = true, help_heading = "Writing anew")]
    recipient: Vec<String>,
    /// Encrypt for all public keys in this file, one a line
    #[arg(short = 'R', long, value_name = "FILE", help_heading = "Writing anew")]
    recipients_file: Vec<PathBuf>,
    /// A passphrase, the first line of this file, that may open them too
    #[arg(long, value_name = "FILE", help_heading = "Writing anew")]
    new_passphrase_file: Option<PathBuf>,
    /// Keep the key slots in objects of their own: deleting those destroys the archive, and so does losing them
    #[arg(long, help_heading = "Writing anew")]
    detached_keys: bool,
    /// Sign the archives with this Ed25519 key, so that readers can demand their origin with --signer
    #[arg(long, value_name = "FILE", help_heading = "Writing anew")]
    sign_key: Option<PathBuf>,
    /// The compression's level, or auto: zstd 3 or gzip 6, and less when compressing would hold the source back
    #[arg(long, value_name = "N", default_value_t, allow_negative_numbers = true, help_heading = "Writing anew")]
    level: Level,
    /// The size of a stored part, at least 64KiB and at most 4 GiB [default: 16 MiB; less if the memory is short, more if the archive is very large]
    #[arg(long, value_name = "SIZE", value_parser = parse_part_size, help_heading = "Writing anew")]
    part_size: Option<u64>,
    #[command(flatten)]
    unlock: Unlock,
    #[command(flatten)]
    derivation: Derivation,
    /// What is inside the encryption
    #[arg(long, value_name = "KIND", default_value = "gzip", help_heading = "The openssl format")]
    payload: Payload,
}

/// The sets of a run.
pub(super) struct Sets {
    /// Their members stay as they are.
    pub(super) unchanged: Vec<ArchiveId>,
    /// Members are written anew.
    pub(super) left_out: Vec<ArchiveId>,
}

/// Options that say nothing to a copy that is byte for byte.
const ONLY_ANEW: [&str; 15] = [
    "recipient",
    "recipients_file",
    "new_passphrase_file",
    "detached_keys",
    "sign_key",
    "level",
    "part_size",
    "restart",
    "identity",
    "passphrase_file",
    "passphrase_command",
    "ask_passphrase",
    "md",
    "pbkdf2_iter",
    "payload",
];

impl Anew {
    /// Whether archives are written anew at all.
    ///
    /// # Errors
    /// `usage.arguments` for what does not go together: nobody is to believe that a copy has other keys than it has.
    pub(super) fn is_wanted(&self, session: &Session) -> Result<bool> {
        if self.to_format == Some(FormatName::Openssl) {
            return Err(Failure::usage("archives are not written anew in the openssl format")
                .with_hint("restore one and pipe it: backstay cat ARCHIVE | backstay backup --format openssl"));
        }
        let wanted = self.to_format.is_some() || self.reencrypt;
        match ONLY_ANEW.into_iter().find(|option| session.settings.is_spelled_out(option)) {
            Some(option) if !wanted => {
                let option = option.replace('_', "-");
                Err(Failure::usage(format!(
                    "--{option} needs --to-format native or --reencrypt: a copy is byte for byte otherwise"
                )))
            }
            _ => Ok(wanted),
        }
    }

    /// Whether a set's members stay as they are, and so does the set. What is wrong with one that cannot be read is its copy's to say.
    pub(super) async fn leaves_as_it_is(&self, from: &Store, set: &ArchiveId) -> bool {
        !self.reencrypt && is_native(from, set).await.unwrap_or(true)
    }

    /// Writes these archives anew. One that cannot be read does not keep the others from it. Sets that are left out make the status what it is
    /// when not all is done.
    pub(super) async fn run(
        &self,
        from: &Store,
        to: &Store,
        ids: Vec<ArchiveId>,
        sets: Sets,
        transfers: usize,
        session: &Session,
    ) -> Result<Status> {
        let openssl = reading(&self.derivation, self.payload)?;
        let keyring = keys::keyring(&self.unlock, &session.output)?;
        let passphrase = self.new_passphrase_file.as_deref().map(keys::passphrase_in).transpose()?;
        // Before the first one is read: whether there are recipients, and files with keys are what they should be.
        self.format(passphrase.as_ref(), session)?;
        let mut several = Several::new(session, "converted", ids.len() + sets.unchanged.len() == 1);
        let mut archives = Vec::new();
        for id in ids {
            let options = ConvertOptions {
                format: self.format(passphrase.as_ref(), session)?,
                level: self.level,
                memory: session.global.memory,
                part_size: self.part_size,
                transfers,
                openssl,
                reencrypt: self.reencrypt,
                restart: self.restart,
            };
            let (context, observer) = (&session.context, session.observer());
            let converted = backstay::convert(from, to, &id, &keyring, options, context, observer).await;
            archives.extend(several.take(from, &id, converted).await?.as_ref().map(Printed::from));
        }
        let mut copied = Vec::new();
        // After the archives: each brings those of its members along that are not among them.
        for id in sets.unchanged {
            let options = CopyOptions { memory: session.global.memory, transfers };
            let set = copy_set(from, to, &id, &options, &session.context, session.observer()).await;
            copied.extend(several.take(from, &id, set).await?.as_ref().map(PrintedSet::from));
        }
        session.output.end();
        let (failed, gone) = several.told();
        let left_out = sets.left_out.iter().map(ToString::to_string).collect();
        let all = All { to: to.url().to_owned(), archives, sets: copied, failed, gone, left_out };
        session.output.result("converted", &all)?;
        match several.end(all.failed.len())? {
            0 if !all.left_out.is_empty() => Ok(DEGRADED),
            status => Ok(status),
        }
    }

    fn format(&self, passphrase: Option<&SecretString>, session: &Session) -> Result<Format> {
        let recipients = keys::recipients(&self.recipient, &self.recipients_file, &session.output)?;
        if recipients.is_empty() && passphrase.is_none() {
            let failure = Failure::new("usage.recipient", "it is not said who may read the new archives");
            return Err(failure.with_hint("give a public key with -r or -R, or a --new-passphrase-file"));
        }
        Ok(Format::Native {
            aead: Aead::Aes256Gcm,
            codec: Codec::Zstd,
            encryption: Encryption::Slots { recipients, passphrase: passphrase.cloned(), detached: self.detached_keys },
            padding: Padding::None,
            signing_key: self.sign_key.as_deref().map(keys::signing::read).transpose()?,
        })
    }
}

/// What is in the target now.
#[derive(Debug, Serialize)]
struct All {
    to: String,
    archives: Vec<Printed>,
    /// Backup sets that stay as they are, with the members that they were copied with.
    sets: Vec<PrintedSet>,
    failed: Vec<Failed>,
    /// Archives that were deleted meanwhile.
    gone: Vec<String>,
    /// Backup sets with members that are written anew, which they cannot be.
    left_out: Vec<String>,
}

/// One archive.
#[derive(Debug, Serialize)]
struct Printed {
    id: String,
    from: String,
    outcome: &'static str,
    parts: u32,
    stored: u64,
    sent: u64,
    content: Option<u64>,
    authentic: bool,
    receipt: Option<String>,
    elapsed_ms: u64,
    #[serde(skip)]
    elapsed: Elapsed,
    #[serde(skip)]
    unsealed: bool,
}

impl From<&Conversion> for Printed {
    fn from(done: &Conversion) -> Printed {
        Printed {
            id: done.id.to_string(),
            from: done.from.to_string(),
            outcome: match done.outcome {
                Outcome::Converted => "converted",
                Outcome::There => "there",
                Outcome::Copied => "copied",
            },
            parts: done.parts,
            stored: done.stored,
            sent: done.sent,
            content: done.content,
            authentic: done.authentic,
            receipt: done.receipt.as_ref().map(ToString::to_string),
            elapsed_ms: u64::try_from(done.elapsed.as_millis()).unwrap_or(u64::MAX),
            elapsed: Elapsed(done.elapsed),
            unsealed: done.from == ProfileName::Openssl && !done.authentic,
        }
    }
}

impl fmt::Display for All {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for archive in &self.archives {
            let Printed { id, from, outcome, parts, stored, elapsed, .. } = archive;
            write!(f, "{id}: ")?;
            match *outcome {
                "there" => write!(f, "all there already")?,
                "copied" => write!(f, "native already, copied as it is")?,
                _ => write!(f, "written anew from {from} in {elapsed}")?,
            }
            write!(f, ", {} with {} in {}", count(u64::from(*parts), "part"), Size(*stored), self.to)?;
            let proved = if archive.unsealed { "; nothing but its checksums proved what was read" } else { "" };
            writeln!(f, "{proved}")?;
        }
        self.sets.iter().try_for_each(|set| set.write(f, &self.to))?;
        for Failed { id, code, why } in &self.failed {
            writeln!(f, "{id}: NOT THERE: {why} [{code}]")?;
        }
        self.left_out.iter().try_for_each(|id| writeln!(f, "{id}: NOT THERE: a backup set is left out"))?;
        if self.archives.is_empty() && self.sets.is_empty() && self.failed.is_empty() && self.left_out.is_empty() {
            writeln!(f, "there is nothing to convert")?;
        }
        Ok(())
    }
}
