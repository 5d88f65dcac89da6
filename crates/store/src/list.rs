//! Listing by string prefix. object_store's own `list` matches whole path segments, and a backup's objects are one segment each
//! (`<id>-0`, `<id>.json`), so the clouds' paged listing is used directly, and a directory is read.

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::list::PaginatedListOptions;
use object_store::path::Path as Key;

use crate::download::unquoted;
use crate::local;
use crate::location::Cloud;
use crate::open::{Backend, Pages};
use crate::requests::Request;
use crate::{Error, ObjectInfo, Store};

/// As much of a name as has one spelling in a query. object_store writes a space as `+`, which not every server reads back as a space, so
/// a listing asks for what comes before such a character, which is all of an archive's names, and filters the rest here.
fn plain_beginning(name: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    name.split(|c| !plain(c)).next().unwrap_or_default()
}

/// What a listing's order is held to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Names,
    Any,
}

impl Store {
    /// The objects whose names begin with `prefix` and come after `start_after`, in the order of their names' bytes.
    ///
    /// One level only: what lies in a folder below the store's prefix is not listed. The stream ends after its first error. A page of the
    /// cloud is fetched when the stream gets there; of a directory the names are held, and their metadata is read on the way.
    ///
    /// The order is the cloud's own, and what reads the stream relies on it, so it is looked at: `store.unordered` ends the stream where a name
    /// does not come after the one before. Names with other characters than `a-z`, `0-9`, `-`, `.` and `_` may stand anywhere, since clouds agree on
    /// the order of these and not of all others.
    pub fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        self.list_by(Order::Names, prefix, start_after)
    }

    /// The objects whose names begin with `prefix`, in whatever order the store has them: for those who look at one archive and to whom the order
    /// says nothing, so that it can be read wherever it is.
    pub fn list_in_any_order(&self, prefix: &str) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        self.list_by(Order::Any, prefix, None)
    }

    fn list_by(
        &self,
        order: Order,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        match (self.pages(), self.directory()) {
            (Some(pages), _) => self.list_pages(pages, order, prefix, start_after),
            (None, Some(directory)) if !self.is_wrapped() => self.list_directory(directory, prefix, start_after),
            _ => self.list_filtered(prefix, start_after),
        }
    }

    /// The objects whose names are wanted, in the order of their names' bytes: for many that have no beginning in common, where a directory would
    /// be read once for each. Nothing but the names is looked at of what is not wanted there.
    pub fn list_where(
        &self,
        wanted: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        match self.directory() {
            Some(directory) if !self.is_wrapped() => self.list_files(directory, wanted),
            _ => self.list("", None).try_filter(move |object| std::future::ready(wanted(&object.name))).boxed(),
        }
    }

    fn list_pages<'a>(
        &'a self,
        pages: &'a Pages,
        order: Order,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'a, Result<ObjectInfo, Error>> {
        let (wanted, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        let prefix = format!("{}{}", self.prefix(), self.asked_for(prefix));
        // One that lies before the prefix tells nothing, and Garage answers it with an empty page.
        let offset = start_after.map(|after| format!("{}{}", self.prefix(), plain_beginning(after)));
        let offset = offset.filter(|offset| *offset > prefix);
        let first = Some(None::<String>);
        stream::try_unfold(first, move |token| {
            let (prefix, offset) = (prefix.clone(), offset.clone());
            async move {
                let Some(token) = token else { return Ok(None) };
                let (objects, next) = self.page(pages, &prefix, offset, token).await?;
                Ok::<_, Error>(Some((objects, next.map(Some))))
            }
        })
        .map_ok(|objects| stream::iter(objects).map(Ok))
        .try_flatten()
        .try_filter_map({
            let mut last = String::new();
            move |meta| {
                let found = self.name_of(&meta.location);
                let held_to = found.filter(|_| order == Order::Names);
                let in_order = held_to.map_or(Ok(()), |name| self.follows(&mut last, name));
                let found = found.filter(|name| name.starts_with(&wanted));
                let found = found.filter(|name| after.as_deref().is_none_or(|after| *name > after));
                let info = found.map(|name| ObjectInfo::new(name, meta.clone(), None));
                std::future::ready(in_order.map(|()| info))
            }
        })
        .boxed()
    }

    /// Whether a name comes after the last one that was held to the order, which it then is.
    fn follows(&self, last: &mut String, name: &str) -> Result<(), Error> {
        if !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_')) {
            return Ok(());
        }
        if name <= last.as_str() {
            let (store, name, after) = (self.url().into(), name.into(), std::mem::take(last));
            return Err(Error::Unordered { store, name, after });
        }
        name.clone_into(last);
        Ok(())
    }

    /// The part of a prefix that the store is asked for. object_store takes an object whose whole name is the prefix for a folder on Azure and
    /// drops it, so there the last character is left to the filter as well.
    fn asked_for<'p>(&self, prefix: &'p str) -> &'p str {
        let plain = plain_beginning(prefix);
        match self.backend() {
            Backend::Cloud(Cloud::Azure) => &plain[..plain.len().saturating_sub(1)],
            _ => plain,
        }
    }

    /// One page of at most 1000 objects, and the token of the next one.
    async fn page(
        &self,
        pages: &Pages,
        prefix: &str,
        offset: Option<String>,
        token: Option<String>,
    ) -> Result<(Vec<ObjectMeta>, Option<String>), Error> {
        let mut attempts = self.attempts();
        loop {
            let options = PaginatedListOptions {
                offset: offset.clone(),
                delimiter: Some("/".into()),
                page_token: token.clone(),
                ..PaginatedListOptions::default()
            };
            match self.attempt(Request::List, pages.0.list_paginated(Some(prefix), options)).await.0 {
                Ok(page) => return Ok((page.result.objects, page.page_token)),
                Err(failure) => self.before_next(&mut attempts, failure, "listing").await?,
            }
        }
    }

    fn list_directory(
        &self,
        directory: &std::path::Path,
        prefix: &str,
        start_after: Option<&str>,
    ) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        let (prefix, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        let wanted = move |name: &str| name.starts_with(&prefix) && after.as_deref().is_none_or(|after| name > after);
        self.list_files(directory, wanted)
    }

    fn list_files(
        &self,
        directory: &std::path::Path,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        self.count(Request::List);
        local::list(directory.to_owned(), wanted)
            .map_ok(|entry| ObjectInfo {
                name: entry.name,
                size: entry.size,
                modified: entry.modified,
                etag: Some(unquoted(&entry.etag)),
                sha256: None,
            })
            .map_err(|error| self.file_error(error, "listing", ""))
            .boxed()
    }

    /// The listing of object_store, sorted and filtered here; for stores in memory and wrapped ones.
    fn list_filtered(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        let (prefix, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        stream::once(async move {
            let folder = self.prefix().trim_end_matches('/');
            let folder = if folder.is_empty() { None } else { Key::parse(folder).ok() };
            let mut attempts = self.attempts();
            let mut objects: Vec<ObjectMeta> = loop {
                match self.attempt(Request::List, self.objects().list(folder.as_ref()).try_collect()).await.0 {
                    Ok(objects) => break objects,
                    Err(failure) => self.before_next(&mut attempts, failure, "listing").await?,
                }
            };
            objects.sort_unstable_by(|a, b| a.location.as_ref().cmp(b.location.as_ref()));
            let infos = objects.into_iter().filter_map(move |meta| {
                let name = self.name_of(&meta.location)?;
                let wanted = name.starts_with(&prefix) && after.as_deref().is_none_or(|after| name > after);
                wanted.then(|| ObjectInfo::new(name, meta.clone(), None))
            });
            Ok::<_, Error>(stream::iter(infos).map(Ok))
        })
        .try_flatten()
        .boxed()
    }

    /// The name of an object that lies directly under the store's prefix.
    fn name_of<'k>(&self, key: &'k Key) -> Option<&'k str> {
        key.as_ref().strip_prefix(self.prefix()).filter(|name| !name.is_empty() && !name.contains('/'))
    }
}
