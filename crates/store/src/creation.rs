//! What a store is told of each object as it is created: storage class, encryption at rest, tags, object lock. The clouds disagree on which of
//! these there are and how they are said, so the options are put into a cloud's own words once, when the store is opened. What a store does
//! not have is refused by the first create: an option is never dropped in silence.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use object_store::{Attribute, Attributes, Extensions, PutMode, PutOptions, TagSet};

use crate::location::Cloud;
use crate::open::Backend;
use crate::upload::BodySha256;
use crate::{Error, Store};

/// What each new object is given, beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectOptions {
    /// The storage class in the cloud's own words: `STANDARD_IA` on S3, `NEARLINE` on Google, `Cool` on Azure.
    pub storage_class: Option<String>,
    /// How the store encrypts what it keeps, beside what Backstay encrypts itself.
    pub encryption: Option<ServerEncryption>,
    /// Tags by which rules of the store and bills can tell objects apart.
    pub tags: Vec<(String, String)>,
    /// Until when nobody may delete or overwrite an object.
    pub lock: Option<Lock>,
}

/// Encryption that the store does itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEncryption {
    /// With keys that the store looks after (SSE-S3).
    Store,
    /// With the account's default key in the key service.
    Kms,
    /// With this key of the key service.
    KmsKey(String),
}

/// An object lock: set at creation, never extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who can still lift it.
    pub mode: LockMode,
    /// How long it lasts, from each object's creation on.
    pub duration: Duration,
}

/// Who can lift a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever has a special permission.
    Governance,
    /// Nobody.
    Compliance,
}

/// Headers that the request of a new object takes on its way out.
#[derive(Clone, Debug)]
pub(crate) struct NewObject(
    #[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "no request leaves this build"))] pub(crate) HeaderMap,
);

/// The options in the words of one store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Creation {
    attributes: Attributes,
    tags: TagSet,
    headers: HeaderMap,
    lock: Option<(LockHeaders, Lock)>,
    refused: Option<Refused>,
}

/// An option that the store does not have.
#[derive(Clone, Copy, Debug)]
struct Refused {
    option: &'static str,
    reason: &'static str,
}

/// How a cloud calls a lock's mode and end.
#[derive(Clone, Copy, Debug)]
struct LockHeaders {
    mode: &'static str,
    until: &'static str,
}

const NO_TAGS: &str = "Google Cloud Storage has no object tags";
const NOT_READABLE: &str = "objects of this class cannot be read until they are restored, and Backstay reads manifests; let a lifecycle rule move parts there later";

impl Creation {
    /// Puts the options into the words of `backend`.
    pub(crate) fn of(options: &ObjectOptions, backend: &Backend) -> Result<Self, Error> {
        if *options == ObjectOptions::default() {
            return Ok(Self::default());
        }
        let cloud = match backend {
            Backend::Cloud(cloud) => Some(*cloud),
            // Whoever gives an object store gives what it understands.
            Backend::Other => Some(Cloud::S3),
            Backend::Memory | Backend::Directory(_) => None,
        };
        let mut creation = Self::default();
        if let Some(refused) = refused(options, cloud) {
            creation.refused = Some(refused);
            return Ok(creation);
        }
        let google = cloud == Some(Cloud::Gcs);
        if let Some(class) = &options.storage_class {
            header_value("the storage class", class)?;
            creation.attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        for (key, value) in &options.tags {
            creation.tags.push(key, value);
        }
        match &options.encryption {
            None => {}
            Some(ServerEncryption::KmsKey(key)) if google => {
                creation.header("x-goog-encryption-kms-key-name", header_value("the key", key)?);
            }
            Some(ServerEncryption::Store) => {
                creation.header("x-amz-server-side-encryption", HeaderValue::from_static("AES256"));
            }
            Some(encryption) => {
                creation.header("x-amz-server-side-encryption", HeaderValue::from_static("aws:kms"));
                if let ServerEncryption::KmsKey(key) = encryption {
                    creation.header("x-amz-server-side-encryption-aws-kms-key-id", header_value("the key", key)?);
                }
            }
        }
        creation.lock = options.lock.map(|lock| {
            let headers = if google {
                LockHeaders { mode: "x-goog-object-lock-mode", until: "x-goog-object-lock-retain-until-date" }
            } else {
                LockHeaders { mode: "x-amz-object-lock-mode", until: "x-amz-object-lock-retain-until-date" }
            };
            (headers, lock)
        });
        Ok(creation)
    }

    fn header(&mut self, name: &'static str, value: HeaderValue) {
        self.headers.insert(HeaderName::from_static(name), value);
    }

    /// Drops what only matters for objects that stay.
    pub(crate) fn let_pass(&mut self) {
        self.lock = None;
        self.attributes = Attributes::new();
        self.refused = None;
    }

    /// The tags of new objects.
    #[cfg(feature = "s3")]
    pub(crate) fn tags(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.tags.encoded().as_bytes()).into_owned().collect()
    }

    /// The options in Azure's headers, for a request that object_store does not make.
    #[cfg(feature = "azure")]
    pub(crate) fn headers_of_azure(&self) -> HeaderMap {
        let class = self.attributes.get(&Attribute::StorageClass).map(|class| ("x-ms-access-tier", class.as_ref()));
        let tags = Some(("x-ms-tags", self.tags.encoded())).filter(|(_, tags)| !tags.is_empty());
        let all = [class, tags].into_iter().flatten();
        let header = |(name, value)| {
            let value = HeaderValue::from_str(value).expect("checked, or encoded, when the store was opened");
            (HeaderName::from_static(name), value)
        };
        all.map(header).collect()
    }

    /// The options of one conditional create of a body with this digest.
    pub(crate) fn put(&self, sha256: [u8; 32]) -> PutOptions {
        let mut extensions = Extensions::new();
        extensions.insert(BodySha256(sha256));
        let mut headers = self.headers.clone();
        if let Some((names, lock)) = &self.lock {
            let mode = match lock.mode {
                LockMode::Governance => "GOVERNANCE",
                LockMode::Compliance => "COMPLIANCE",
            };
            headers.insert(names.mode, HeaderValue::from_static(mode));
            headers.insert(names.until, retain_until(SystemTime::now(), lock.duration));
        }
        if !headers.is_empty() {
            extensions.insert(NewObject(headers));
        }
        let (attributes, tags) = (self.attributes.clone(), self.tags.clone());
        PutOptions { mode: PutMode::Create, attributes, tags, extensions }
    }
}

/// The first of the options that this store does not have.
fn refused(options: &ObjectOptions, cloud: Option<Cloud>) -> Option<Refused> {
    let no = |option, reason| Some(Refused { option, reason });
    let ObjectOptions { storage_class, encryption, tags, lock } = options;
    let Some(cloud) = cloud else {
        let given = [
            (storage_class.is_some(), "a storage class"),
            (encryption.is_some(), "server-side encryption"),
            (!tags.is_empty(), "object tags"),
            (lock.is_some(), "an object lock"),
        ];
        let (_, option) = given.into_iter().find(|(given, _)| *given)?;
        return no(option, "a directory has no such thing");
    };
    if let Some(class) = storage_class {
        let thawed_first: &[&str] = match cloud {
            Cloud::S3 => &["GLACIER", "DEEP_ARCHIVE"],
            Cloud::Azure => &["ARCHIVE"],
            Cloud::Gcs => &[],
        };
        if thawed_first.iter().any(|name| class.eq_ignore_ascii_case(name)) {
            return no("this storage class", NOT_READABLE);
        }
    }
    match (cloud, encryption) {
        (Cloud::Azure, Some(_)) => {
            return no(
                "server-side encryption",
                "on Azure it is the container's: give the container a default encryption scope",
            );
        }
        (Cloud::Gcs, Some(ServerEncryption::Store | ServerEncryption::Kms)) => {
            return no(
                "server-side encryption without a key's name",
                "Google encrypts with its own keys anyway: name a key of yours with kms:projects/…, or leave it out",
            );
        }
        _ => {}
    }
    if cloud == Cloud::Gcs && !tags.is_empty() {
        return no("object tags", NO_TAGS);
    }
    if cloud == Cloud::Azure && lock.is_some() {
        return no("an object lock", "on Azure it is the container's: give the container an immutability policy");
    }
    None
}

fn header_value(what: &str, text: &str) -> Result<HeaderValue, Error> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    HeaderValue::from_str(text).ok().filter(|_| fits).ok_or_else(|| Error::Option {
        what: format!("{what} `{}`", text.escape_debug()),
        reason: "it is empty or has characters that no header takes".into(),
    })
}

/// A lock's end in the form that both clouds read.
fn retain_until(now: SystemTime, duration: Duration) -> HeaderValue {
    let end =
        now.checked_add(duration).and_then(|end| jiff::Timestamp::try_from(end).ok()).unwrap_or(jiff::Timestamp::MAX);
    HeaderValue::from_str(&format!("{end:.0}")).expect("a time is ASCII")
}

impl Store {
    /// Refuses what a create would refuse because of the store's [`ObjectOptions`], before anything is done.
    ///
    /// # Errors
    ///
    /// `store.unsupported`.
    pub fn takes_new_objects(&self) -> Result<(), Error> {
        match self.creation().refused {
            None => Ok(()),
            Some(Refused { option, reason }) => {
                Err(Error::UnsupportedOption { store: self.url().into(), option, reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_at_a_time_that_both_clouds_read() {
        let begun = SystemTime::UNIX_EPOCH + Duration::from_millis(1_740_130_000_900);
        assert_eq!(retain_until(begun, Duration::from_secs(86_400)), "2025-02-22T09:26:40Z");
        assert_eq!(retain_until(begun, Duration::MAX), "9999-12-30T22:00:00Z");
    }
}
