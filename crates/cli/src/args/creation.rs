//! What each new object is given by its store, beside its content.

use std::time::Duration;

use backstay_store::{Lock, LockMode, ObjectOptions, ServerEncryption};
use clap::{Args, ValueEnum};

use super::value::parse_duration;
use crate::failure::{Failure, Result};

/// Options of the objects that a run creates. They belong to the store, so that they can stand in its profile.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "New objects")]
pub(crate) struct NewObjects {
    /// The storage class of what is stored, as the cloud calls it: STANDARD_IA or GLACIER_IR on S3, NEARLINE on Google, Cool on Azure
    #[arg(long, global = true, value_name = "CLASS", hide_short_help = true)]
    pub(crate) storage_class: Option<String>,
    /// How the store encrypts, beside Backstay: `s3` with keys of its own, `kms` with the account's key in the key service, `kms:KEY` with
    /// this one (on S3 and Google)
    #[arg(long, global = true, value_name = "HOW", value_parser = parse_encryption, hide_short_help = true)]
    pub(crate) sse: Option<ServerEncryption>,
    /// A tag that the store keeps with each object, for its rules and bills (on S3 and Azure); can be given several times. Archives
    /// are labelled with --tag
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = parse_tag, hide_short_help = true)]
    pub(crate) object_tag: Vec<(String, String)>,
    /// Lock each object when it is created (on S3 and Google): `governance` for all but a special permission, `compliance` for everybody
    #[arg(long, global = true, value_name = "MODE", hide_short_help = true)]
    pub(crate) lock_mode: Option<LockModeName>,
    /// How long the lock lasts from an object's creation on; it is never extended
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, hide_short_help = true)]
    pub(crate) lock_for: Option<Duration>,
}

/// Who can lift a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LockModeName {
    Governance,
    Compliance,
}

impl NewObjects {
    /// The library's form of it.
    ///
    /// # Errors
    /// `usage.arguments` when one half of a lock is missing.
    pub(crate) fn options(&self) -> Result<ObjectOptions> {
        let mut options = ObjectOptions::default();
        options.storage_class.clone_from(&self.storage_class);
        options.encryption.clone_from(&self.sse);
        options.tags.clone_from(&self.object_tag);
        options.lock = match (self.lock_mode, self.lock_for) {
            (None, None) => None,
            (Some(mode), Some(duration)) => {
                let mode = match mode {
                    LockModeName::Governance => LockMode::Governance,
                    LockModeName::Compliance => LockMode::Compliance,
                };
                Some(Lock { mode, duration })
            }
            (Some(_), None) => return Err(Failure::usage("--lock-mode needs --lock-for: a lock has an end")),
            (None, Some(_)) => return Err(Failure::usage("--lock-for needs --lock-mode: governance or compliance")),
        };
        Ok(options)
    }
}

fn parse_encryption(text: &str) -> std::result::Result<ServerEncryption, String> {
    match text.split_once(':') {
        None if text == "s3" => Ok(ServerEncryption::Store),
        None if text == "kms" => Ok(ServerEncryption::Kms),
        Some(("kms", key)) if !key.is_empty() => Ok(ServerEncryption::KmsKey(key.to_owned())),
        _ => Err(format!("`{text}` is none of s3, kms and kms:KEY")),
    }
}

fn parse_tag(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_encryption_and_tags_are_read() {
        assert_eq!(parse_encryption("s3"), Ok(ServerEncryption::Store));
        assert_eq!(parse_encryption("kms"), Ok(ServerEncryption::Kms));
        let arn = "arn:aws:kms:eu-west-1:1:key/2";
        assert_eq!(parse_encryption(&format!("kms:{arn}")), Ok(ServerEncryption::KmsKey(arn.to_owned())));
        for text in ["", "kms:", "AES256", "arn:aws:kms"] {
            assert!(parse_encryption(text).is_err(), "{text}");
        }
        assert_eq!(parse_tag("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_tag("=b").is_err() && parse_tag("a").is_err());
    }

    #[test]
    fn a_lock_has_two_halves() {
        let mut objects = NewObjects { lock_mode: Some(LockModeName::Compliance), ..NewObjects::default() };
        assert_eq!(objects.options().unwrap_err().code, "usage.arguments");
        objects.lock_for = Some(Duration::from_secs(60));
        let lock = Lock { mode: LockMode::Compliance, duration: Duration::from_secs(60) };
        assert_eq!(objects.options().unwrap().lock, Some(lock));
        objects.lock_mode = None;
        assert_eq!(objects.options().unwrap_err().code, "usage.arguments");
    }
}
