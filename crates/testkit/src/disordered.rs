//! A store that lists page by page, as the clouds do, in another order than that of names, as S3's directory buckets do.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use backstay_store::Store;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Extensions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Objects in a page.
const PAGE: usize = 7;

/// The order in which a store lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// That of the names' bytes.
    ByName,
    /// The same from its end.
    Backwards,
    /// One that has nothing to do with the names, and stays the same.
    Shuffled,
    /// Each page in order, and the last page first.
    PagesBackwards,
}

/// A store in memory that lists in that order, and the objects below it.
#[must_use]
pub fn disordered(order: Order) -> (Store, Arc<InMemory>) {
    let inner = Arc::new(InMemory::new());
    let store = Store::from_paged_store(&Arc::new(Disordered { inner: Arc::clone(&inner), order }), "disordered:");
    (store, inner)
}

#[derive(Debug)]
struct Disordered {
    inner: Arc<InMemory>,
    order: Order,
}

impl std::fmt::Display for Disordered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disordered({:?})", self.order)
    }
}

fn shuffled(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.location.as_ref().hash(&mut hasher);
    hasher.finish()
}

#[async_trait]
impl PaginatedListStore for Disordered {
    async fn list_paginated(&self, prefix: Option<&str>, options: PaginatedListOptions) -> Result<PaginatedListResult> {
        let (prefix, after) = (prefix.unwrap_or_default(), options.offset.unwrap_or_default());
        let mut objects: Vec<ObjectMeta> = self.inner.list(None).try_collect().await?;
        objects.retain(|meta| meta.location.as_ref().starts_with(prefix) && meta.location.as_ref() > after.as_str());
        objects.sort_unstable_by(|one, other| one.location.cmp(&other.location));
        match self.order {
            Order::ByName => {}
            Order::Backwards => objects.reverse(),
            Order::Shuffled => objects.sort_by_key(shuffled),
            Order::PagesBackwards => {
                let mut pages: Vec<_> = objects.chunks(PAGE).map(<[_]>::to_vec).enumerate().collect();
                pages.sort_by_key(|(at, _)| Reverse(*at));
                objects = pages.into_iter().flat_map(|(_, page)| page).collect();
            }
        }
        let begin = options.page_token.map_or(0, |token| token.parse().unwrap());
        let end = objects.len().min(begin + PAGE);
        let page_token = (end < objects.len()).then(|| end.to_string());
        let objects = objects[begin..end].to_vec();
        let result = ListResult { common_prefixes: Vec::new(), objects, extensions: Extensions::default() };
        Ok(PaginatedListResult { result, page_token })
    }
}

#[async_trait]
impl ObjectStore for Disordered {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
