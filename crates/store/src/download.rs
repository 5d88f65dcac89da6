//! Reading objects: whole small ones, exact ranges, and what is known without reading.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use object_store::{GetOptions, ObjectMeta};

use crate::attempt::{Failure, Meaning, Seen};
use crate::commit::cut_short;
use crate::open::Backend;
use crate::requests::Request;
use crate::{Error, Store};

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The name, without the store's prefix.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Last modification by the store's own clock.
    pub modified: SystemTime,
    /// The entity tag, without the quotes that stores put around it in some answers and leave out in others.
    pub etag: Option<String>,
    /// The SHA-256 that the store checked and keeps; only S3 tells it, and only when asked for one object.
    pub sha256: Option<[u8; 32]>,
}

impl ObjectInfo {
    pub(crate) fn new(name: &str, meta: ObjectMeta, sha256: Option<[u8; 32]>) -> Self {
        Self {
            name: name.into(),
            size: meta.size,
            modified: meta.last_modified.into(),
            etag: meta.e_tag.map(|tag| unquoted(&tag)),
            sha256,
        }
    }
}

/// Azure quotes a tag when asked for the object and not when it lists it.
pub(crate) fn unquoted(tag: &str) -> String {
    tag.trim_matches('"').to_owned()
}

/// What one call may find.
enum Found<T> {
    Object(T),
    TooLarge(u64),
    Ends(u64),
}

impl Store {
    /// The whole of a small object; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// `stream.limit` if it has more than `limit` bytes, before they are fetched; `store.not-found` if the store itself is missing;
    /// `store.denied`, `store.failed`.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let key = self.key(name)?;
        let call = || async {
            let answer = self.objects().get_opts(&key, GetOptions::default()).await?;
            let size = answer.meta.size;
            if size > limit {
                return Ok(Found::TooLarge(size));
            }
            let bytes = answer.bytes().await?;
            if bytes.len() as u64 == size { Ok(Found::Object(bytes)) } else { Err(cut_short()) }
        };
        match self.read(Request::Get, &format!("reading {name}"), call).await? {
            Some((Found::Object(bytes), _)) => Ok(Some(bytes)),
            Some((Found::TooLarge(size) | Found::Ends(size), _)) => {
                Err(Error::TooLarge { name: name.into(), size, limit })
            }
            None => Ok(None),
        }
    }

    /// Exactly the bytes of `range`. An answer that is too short is repeated and then reported, never returned.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectMissing`] and [`Error::ShortObject`] if the object cannot have these bytes; `store.not-found`,
    /// `store.denied`, `store.failed`.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let key = self.key(name)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let call = || async {
            let options = GetOptions::new().with_range(Some(range.clone()));
            let answer = self.objects().get_opts(&key, options).await?;
            if answer.range.end < range.end && answer.meta.size < range.end {
                return Ok(Found::Ends(answer.meta.size));
            }
            let exact = answer.range == range;
            let bytes = answer.bytes().await?;
            if exact && bytes.len() as u64 == range.end - range.start {
                Ok(Found::Object(bytes))
            } else {
                Err(cut_short())
            }
        };
        let short = |size| Error::ShortObject { name: name.into(), size, start: range.start, end: range.end };
        match self.read(Request::Get, &format!("reading {name}"), call).await {
            Ok(Some((Found::Object(bytes), _))) => Ok(bytes),
            Ok(Some((Found::Ends(size) | Found::TooLarge(size), _))) => Err(short(size)),
            Ok(None) => Err(Error::ObjectMissing { store: self.url().into(), name: name.into() }),
            // A range that begins after the end is refused by every store in other words; the size says it plainly.
            Err(error @ Error::Failed { transient: false, .. }) => match self.head(name).await {
                Ok(Some(info)) if info.size < range.end => Err(short(info.size)),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Size, time and checksum of an object; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// `store.not-found` if the store itself is missing; `store.denied`, `store.failed`.
    pub async fn head(&self, name: &str) -> Result<Option<ObjectInfo>, Error> {
        let key = self.key(name)?;
        let call = || async { Ok(self.objects().get_opts(&key, GetOptions::new().with_head(true)).await?.meta) };
        let answer = self.read(Request::Head, &format!("looking at {name}"), call).await?;
        if answer.is_none() && !self.container_seen() && matches!(self.backend(), Backend::Cloud(_)) {
            // The answer to HEAD has no body that would tell a missing object from a missing bucket; that of GET has one.
            match self.get(name, 0).await {
                Ok(_) | Err(Error::Denied { .. } | Error::TooLarge { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answer.map(|(meta, seen)| ObjectInfo::new(name, meta, seen.sha256)))
    }

    /// Repeats a reading call until it answers; `None` if there is no such object.
    async fn read<T, F>(
        &self,
        request: Request,
        operation: &str,
        call: impl Fn() -> F,
    ) -> Result<Option<(T, Seen)>, Error>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut attempts = self.attempts();
        loop {
            match self.attempt(request, call()).await {
                (Ok(answer), seen) => return Ok(Some((answer, seen))),
                (Err(Failure { meaning: Meaning::NoObject, .. }), _) => return Ok(None),
                (Err(failure), _) => self.before_next(&mut attempts, failure, operation).await?,
            }
        }
    }
}
