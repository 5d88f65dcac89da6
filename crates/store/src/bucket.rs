//! What a bucket is set to, where that matters to backups.

#[cfg(feature = "s3")]
mod s3;

#[cfg(feature = "s3")]
pub(crate) use s3::BucketRequests;

use crate::{Error, Store};

/// What is known of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting<T> {
    /// It is set to this.
    Is(T),
    /// It cannot be told, and why.
    Unknown(String),
}

/// The settings that matter to backups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketSettings {
    /// Whether what is overwritten or deleted stays as an old version.
    pub versioning: Setting<bool>,
    /// Whether objects can be locked.
    pub lock: Setting<ObjectLock>,
    /// What the lifecycle rules that are in force do to objects with the store's prefix, one sentence each.
    pub lifecycle: Setting<Vec<String>>,
}

/// A bucket's object lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectLock {
    /// Objects cannot be locked.
    Off,
    /// They can, and are only if they are created so.
    On,
    /// They can, and all are: mode and duration in the store's words.
    Default(String),
}

impl Store {
    /// The settings of the store's bucket; `None` where this program cannot ask for them: directories, Google and Azure.
    ///
    /// # Errors
    ///
    /// Those of reaching the store. What the credential may not ask is [`Setting::Unknown`].
    #[cfg_attr(not(feature = "s3"), expect(clippy::unused_async, reason = "no cloud in this build can be asked"))]
    pub async fn bucket_settings(&self) -> Result<Option<BucketSettings>, Error> {
        #[cfg(feature = "s3")]
        if let Some(requests) = self.bucket_requests() {
            return Ok(Some(self.settings_of_s3(requests).await?));
        }
        Ok(None)
    }
}
