//! Unlocking an archive of the openssl profile: O3 to O8 of `spec/openssl.md`.

use backstay_format::key::Keyring;
use backstay_format::manifest::{Manifest, OpensslHead, Profile};
use backstay_format::openssl::{self, Candidates, KeyIv, Password, Preamble};
use backstay_format::{ArchiveId, Error as Fault};
use backstay_store::Store;

use super::Located;
use super::objects::{Object, first_bytes};
use crate::error::{Error, Result};
use crate::policy::{ProfileName, ReadPolicy};

/// An archive of the openssl profile, as far as it can be unlocked before its stream is read.
pub(crate) struct Openssl {
    pub(crate) id: ArchiveId,
    pub(crate) parts: Vec<Object>,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) key: KeyIv,
    pub(crate) gzip: bool,
}

impl Located {
    /// O3 and O4: whether this can be the whole of a stream. In a sealed archive the magic is part of what the digests
    /// cover.
    pub(crate) async fn stream_fault(&self, store: &Store) -> Result<Option<Fault>> {
        if self.committed.sealed().is_none() && self.objects.begins_as(store).await? != Some(ProfileName::Openssl) {
            return Ok(Some(openssl::Error::Magic.into()));
        }
        Ok(openssl::check_length(self.stored()).err().map(Fault::from))
    }

    /// O5 to O8, with each password until one fits.
    pub(crate) async fn unlock_openssl(
        &self,
        store: &Store,
        keyring: &Keyring,
        policy: &ReadPolicy,
    ) -> Result<Openssl> {
        let mut refused = None;
        for password in keyring.passwords() {
            match self.unlock_with_password(store, password, policy).await {
                // Of a raw payload only the padding tells.
                Err(error) if matches!(error.code(), "openssl.key" | "openssl.padding") => {
                    refused.get_or_insert(error);
                }
                done => return done,
            }
        }
        Err(refused.unwrap_or_else(|| Fault::KeyNotFound { id: self.id.to_string() }.into()))
    }

    /// O6 to O8.
    async fn unlock_with_password(&self, store: &Store, password: &Password, policy: &ReadPolicy) -> Result<Openssl> {
        let sealed = self.committed.sealed();
        let head = sealed.and_then(|sealed| match &sealed.manifest.profile {
            Profile::Openssl(head) => Some((sealed, head)),
            Profile::Native(_) => None,
        });
        let start = first_bytes(store, self.present(), Preamble::LENGTH).await?;
        let length = self.stored();
        let preamble = start.first_chunk().map_or(Err(openssl::Error::Length { length }), Preamble::parse);

        let (key, gzip) = match head {
            Some((sealed, head)) => {
                let key = head.kdf.derive(password, head.salt);
                if let Err(seal) = sealed.check(key.seal_key().as_bytes()) {
                    let right = self.password_is_right(store, head, password, preamble, length).await?;
                    let wrong = openssl::Error::Key { tried: vec![head.kdf] };
                    return Err(if right { seal.into() } else { openssl_fault(wrong) });
                }
                (key, head.gzip)
            }
            None => {
                let preamble = preamble.map_err(|error| match error {
                    openssl::Error::Magic if policy.format.is_none() && self.objects.begins_behind_its_first() => {
                        Fault::PartMissing { id: self.id.to_string(), n: 0 }.into()
                    }
                    error => openssl_fault(error),
                })?;
                match (policy.openssl.raw, policy.openssl.kdf) {
                    (true, None) => {
                        let why =
                            "a payload that is not gzip has nothing to find the key derivation by: name it with --md"
                                .to_owned();
                        return Err(Error::Usage { why });
                    }
                    (true, Some(kdf)) => {
                        let key = kdf.derive(password, preamble.salt);
                        // Nothing tells an end that was cut from a derivation or a password that is not the archive's.
                        self.judge_raw_tail(store, &key, length).await.map_err(unmet)?;
                        (key, false)
                    }
                    (false, kdf) => {
                        let candidates = kdf.map_or_else(Candidates::auto, Candidates::only);
                        (openssl::detect(&preamble, password, &candidates).map_err(openssl_fault)?, true)
                    }
                }
            }
        };
        self.judge_root(policy)?;
        let manifest = sealed.map(|sealed| sealed.manifest.clone());
        Ok(Openssl { parts: self.present().to_vec(), manifest, key, gzip, id: self.id.clone() })
    }

    /// O6, when the seal does not fit: whether the password opens the stream, so that the manifest is what is wrong.
    async fn password_is_right(
        &self,
        store: &Store,
        head: &OpensslHead,
        password: &Password,
        preamble: std::result::Result<Preamble, openssl::Error>,
        length: u64,
    ) -> Result<bool> {
        if !head.gzip {
            let key = head.kdf.derive(password, head.salt);
            return match self.judge_raw_tail(store, &key, length).await {
                Ok(()) => Ok(true),
                Err(Error::Format(_)) => Ok(false),
                Err(error) => Err(error),
            };
        }
        let fits = |candidates| {
            preamble.as_ref().is_ok_and(|preamble| openssl::detect(preamble, password, &candidates).is_ok())
        };
        Ok(fits(Candidates::auto()) || fits(Candidates::only(head.kdf)))
    }

    /// A raw payload tells a wrong password only by its last block's padding, so that is looked at first.
    async fn judge_raw_tail(&self, store: &Store, key: &KeyIv, length: u64) -> Result<()> {
        let mut tail = Vec::new();
        let mut missing = 2 * openssl::BLOCK as u64;
        for object in self.present().iter().rev() {
            let take = object.size.min(missing);
            if take > 0 {
                tail.splice(0..0, store.get_range(&object.name, object.size - take..object.size).await?);
                missing -= take;
            }
        }
        // With a single block of ciphertext the sixteen bytes before it are the stream's header, and the IV is the key's.
        let (Some(previous), Some(last)) =
            (tail.first_chunk::<{ openssl::BLOCK }>(), tail.last_chunk::<{ openssl::BLOCK }>())
        else {
            return Err(openssl_fault(openssl::Error::Length { length }));
        };
        let mut last = *last;
        let only_block = length == (openssl::HEADER + openssl::BLOCK) as u64;
        openssl::Decryptor::new(key).decrypt((!only_block).then_some(previous), &mut last);
        openssl::unpad(&last).map(drop).map_err(openssl_fault)
    }
}

/// A fault that may be one of what the caller said of the archive.
fn unmet(error: Error) -> Error {
    match error {
        Error::Format(fault) => Error::Unmet(fault),
        other => other,
    }
}

fn openssl_fault(error: openssl::Error) -> Error {
    Error::Format(error.into())
}
