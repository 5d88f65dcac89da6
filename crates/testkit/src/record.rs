//! What a store was asked for, request by request: the names and the bytes that went in or came out. Numbers of requests alone are
//! [`Store::requests`](backstay_store::Store::requests).

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use backstay_store::Store;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use crate::faults::Call;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its kind.
    pub call: Call,
    /// The object's name; empty for a listing.
    pub name: String,
    /// Bytes of the object that were sent or answered.
    pub bytes: u64,
}

/// A name and the SHA-256 of what was sent under it.
pub type Sent = (String, [u8; 32]);

/// The requests of one store, in the order in which they were answered. Clones share them.
///
/// ```
/// use backstay_testkit::Record;
///
/// let record = Record::default();
/// let store = record.store();
/// assert!(record.taken().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Record {
    asked: Arc<Mutex<Vec<Asked>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Record {
    /// Puts this record before an object store.
    #[must_use]
    pub fn wrap(&self, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Recorded { inner, record: self.clone() })
    }

    /// A store in memory with this record before it.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::memory().with_wrapper(|objects| self.wrap(objects))
    }

    /// What was asked for since the last call of this.
    #[must_use]
    pub fn taken(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Name and SHA-256 of everything that was sent since the last call of this, each attempt in its order.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, call: Call, location: Option<&Path>, bytes: u64) {
        let name = location.and_then(Path::filename).unwrap_or_default().to_owned();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(Asked { call, name, bytes });
    }
}

#[derive(Debug)]
struct Recorded {
    inner: Arc<dyn ObjectStore>,
    record: Record,
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorded({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Recorded {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = payload.content_length() as u64;
        let digest = crate::sha256(&payload.iter().flatten().copied().collect::<Vec<_>>());
        let name = location.filename().unwrap_or_default().to_owned();
        self.record.sent.lock().unwrap_or_else(PoisonError::into_inner).push((name, digest));
        let answer = self.inner.put_opts(location, payload, options).await;
        self.record.note(Call::Put, Some(location), bytes);
        answer
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let call = if options.head { Call::Head } else { Call::Get };
        let answer = self.inner.get_opts(location, options).await;
        let answered = answer.as_ref().map_or(0, |answer| answer.range.end - answer.range.start);
        self.record.note(call, Some(location), if call == Call::Get { answered } else { 0 });
        answer
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.record.note(Call::Delete, None, 0);
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.record.note(Call::List, None, 0);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.record.note(Call::List, None, 0);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
