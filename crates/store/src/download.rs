//! Reading objects: whole small ones, exact ranges, and what is known without reading.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path as Key;
use object_store::{GetOptions, GetResultPayload, ObjectMeta};

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

/// In which steps the beginning of a broken answer is kept.
const STEP: usize = 4 << 20;

/// What the call for a whole object may find.
enum Found {
    Object(Bytes),
    TooLarge(u64),
}

/// What the call for a range may bring.
enum Fetched {
    /// All of it.
    Whole(Bytes),
    /// All that was asked for, behind what was kept.
    Appended,
    /// Nothing: the object has only so many bytes.
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
            Some((Found::TooLarge(size), _)) => Err(Error::TooLarge { name: name.into(), size, limit }),
            None => Ok(None),
        }
    }

    /// Exactly the bytes of `range`. An answer that is too short is repeated and then reported, never returned. Where a long one breaks, what came of
    /// it is kept in steps of 4 MiB and only the rest is asked for again; with each such step the patience begins anew.
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
        let operation = format!("reading {name}");
        let short = |size| Error::ShortObject { name: name.into(), size, start: range.start, end: range.end };
        let (mut attempts, mut kept) = (self.attempts(), Vec::new());
        loop {
            let begun_with = kept.len();
            let rest = range.start + begun_with as u64..range.end;
            let failure = match self.attempt(Request::Get, self.fetch(&key, rest, &mut kept)).await.0 {
                Ok(Fetched::Whole(bytes)) => return Ok(bytes),
                Ok(Fetched::Appended) => return Ok(kept.into()),
                Ok(Fetched::Ends(size)) => return Err(short(size)),
                Err(Failure { meaning: Meaning::NoObject, .. }) => {
                    return Err(Error::ObjectMissing { store: self.url().into(), name: name.into() });
                }
                Err(failure) => failure,
            };
            kept.truncate(kept.len() / STEP * STEP);
            if kept.len() > begun_with {
                attempts = self.attempts();
            }
            match self.before_next(&mut attempts, failure, &operation).await {
                Ok(()) => {}
                // A range that begins after the end is refused by every store in other words; the size says it plainly.
                Err(error @ Error::Failed { transient: false, .. }) => match self.head(name).await {
                    Ok(Some(info)) if info.size < range.end => return Err(short(info.size)),
                    _ => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// One answer to a request for a range. What comes in one, or is too short to be worth keeping half of, is passed on as it is; anything else is
    /// put behind what is kept.
    async fn fetch(&self, key: &Key, range: Range<u64>, kept: &mut Vec<u8>) -> object_store::Result<Fetched> {
        let options = GetOptions::new().with_range(Some(range.clone()));
        let answer = self.objects().get_opts(key, options).await?;
        if answer.range.end < range.end && answer.meta.size < range.end {
            return Ok(Fetched::Ends(answer.meta.size));
        }
        if answer.range != range {
            return Err(cut_short());
        }
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        if kept.is_empty() && (length <= STEP || matches!(answer.payload, GetResultPayload::File(..))) {
            let bytes = answer.bytes().await?;
            return if bytes.len() == length { Ok(Fetched::Whole(bytes)) } else { Err(cut_short()) };
        }
        let (mut body, end) = (answer.into_stream(), kept.len() + length);
        while let Some(chunk) = body.try_next().await? {
            if kept.is_empty() && chunk.len() == length {
                return Ok(Fetched::Whole(chunk));
            }
            if chunk.len() > end - kept.len() {
                return Err(cut_short());
            }
            kept.reserve_exact(end - kept.len());
            kept.extend_from_slice(&chunk);
        }
        if kept.len() == end { Ok(Fetched::Appended) } else { Err(cut_short()) }
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
