//! What the manifest of a backup says beside its parts, in the open and sealed.

use std::sync::{Arc, OnceLock};

use backstay_format::ArchiveId;
use backstay_format::header::Kind;
use backstay_format::manifest::{Converted, Manifest, Profile, seal_private};
use backstay_format::openssl::KeyIv;
use backstay_format::schedule::Keys;
use zeroize::Zeroizing;

use super::BackupOptions;
use crate::chunk::Facts;
use crate::context::Context;
use crate::error::{Error, Result};

/// A time as manifests state it: RFC 3339, UTC, whole seconds.
pub(crate) fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What the manifest says about the profile, and the keys that seal it.
pub(super) struct Sealing {
    pub(super) profile: Profile,
    pub(super) keys: SealKeys,
}

pub(super) enum SealKeys {
    Native(Keys),
    Openssl(KeyIv),
}

impl Sealing {
    /// What the manifest is sealed with.
    pub(super) fn key(&self) -> Zeroizing<[u8; 32]> {
        match &self.keys {
            SealKeys::Native(keys) => keys.seal(),
            SealKeys::Openssl(key) => Zeroizing::new(*key.seal_key().as_bytes()),
        }
    }

    /// What the manifest says, as far as that is known before the first byte of content.
    ///
    /// # Errors
    /// `manifest.limit` when that leaves no room for the parts.
    pub(super) fn draft(
        &self,
        id: &ArchiveId,
        source: &str,
        created: jiff::Timestamp,
        options: &BackupOptions,
        command: Option<&str>,
        detached: bool,
    ) -> Result<Manifest> {
        let visible = !options.hide_name;
        // As long as what will be sealed.
        let private = match &self.keys {
            SealKeys::Native(_) => Some(vec![0; to_json(&private_facts(options, command))?.len() + SEALING]),
            SealKeys::Openssl(_) => None,
        };
        let draft = Manifest {
            id: id.clone(),
            profile: self.profile.clone(),
            kind: Kind::Full,
            created: rfc3339(created),
            finished: None,
            source: Some(source.to_owned()),
            name: visible.then(|| options.name.clone()),
            tags: if visible { options.tags.clone() } else { Vec::new() },
            converted: None,
            content: None,
            first: 0,
            parts: Vec::new(),
            needs: Vec::new(),
            private,
            detached,
            unconfirmed: false,
        };
        draft.leaves_room_for_parts()?;
        Ok(draft)
    }

    /// The facts that only the key's holder may read.
    pub(super) fn private(
        &self,
        options: &BackupOptions,
        command: Option<&str>,
        context: &Context,
    ) -> Result<Option<Vec<u8>>> {
        self.keys.sealed(&private_facts(options, command), context)
    }
}

impl SealKeys {
    /// These facts as only the key's holder may read them.
    fn sealed(&self, facts: &Facts, context: &Context) -> Result<Option<Vec<u8>>> {
        match self {
            SealKeys::Native(keys) => Ok(Some(sealed_facts(keys, facts, context)?)),
            SealKeys::Openssl(_) => Ok(None),
        }
    }
}

/// What sealing adds to facts: a nonce and a tag.
const SEALING: usize = 12 + 16;

fn private_facts(options: &BackupOptions, command: Option<&str>) -> Facts {
    let mut facts = options.facts.clone();
    facts.extend(facts_of_this_host());
    if let Some(command) = command {
        facts.insert("command".to_owned(), command.into());
    }
    if options.hide_name {
        facts.insert("name".to_owned(), options.name.as_str().into());
        facts.insert("tags".to_owned(), options.tags.clone().into());
    }
    facts
}

/// Where and by what a document was made.
pub(crate) fn facts_of_this_host() -> [(String, serde_json::Value); 2] {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    [("host".to_owned(), host.into()), ("version".to_owned(), env!("CARGO_PKG_VERSION").into())]
}

/// The private part of a document.
pub(crate) fn sealed_facts(keys: &Keys, facts: &Facts, context: &Context) -> Result<Vec<u8>> {
    Ok(seal_private(keys, context.random(), &to_json(facts)?))
}

fn to_json(facts: &Facts) -> Result<String> {
    serde_json::to_string(facts).map_err(|error| Error::Internal { why: error.to_string() })
}

/// The archive whose content is written anew, under its own id.
pub(crate) struct Anew {
    pub(crate) id: ArchiveId,
    /// Set once the content has ended and everything was right.
    pub(crate) facts: Arc<OnceLock<Inherited>>,
}

/// What the new manifest takes over from the old one.
pub(crate) struct Inherited {
    pub(crate) created: String,
    pub(crate) finished: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) private: Facts,
    pub(crate) converted: Converted,
}

impl Anew {
    /// Gives the manifest the old one's facts, the private ones too.
    pub(super) fn describe(&self, manifest: &mut Manifest, keys: &SealKeys, context: &Context) -> Result<()> {
        let facts = self.facts.get().ok_or_else(|| Error::Internal {
            why: format!("the content of {} ended before it was known to be whole", self.id),
        })?;
        manifest.created.clone_from(&facts.created);
        manifest.finished.clone_from(&facts.finished);
        manifest.source.clone_from(&facts.source);
        manifest.name.clone_from(&facts.name);
        manifest.tags.clone_from(&facts.tags);
        manifest.converted = Some(facts.converted.clone());
        manifest.private = keys.sealed(&facts.private, context)?;
        Ok(())
    }
}
