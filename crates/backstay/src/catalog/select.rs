//! From what a user types to one archive.
//!
//! ```text
//! <guid>-<timestamp>   that archive, whatever its state
//! de2fe9e4-65          the only committed archive whose id begins so
//! latest, latest~2     the newest of the store's only source, the second before it
//! pg-main, pg-main~1   the newest of a source by name
//! ```
//!
//! An archive that is not encrypted never stands before one that is: whoever can write to the store could make one and
//! have it taken for the latest (`spec/archive.md` §10).

use std::collections::{BTreeMap, BTreeSet};

use backstay_format::header::Reference;
use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::{Objects, read_header};
use crate::error::{Error, Result};
use crate::guid;

use super::{Filter, Found, MANIFESTS, REQUESTS, find};

/// The fewest characters of an id that are taken as its beginning.
const SHORTEST_PREFIX: usize = 4;
/// How many sources or archives a message names.
const NAMED: usize = 10;
/// About how long a header line is.
const HEADER: usize = 4 << 10;

/// The one archive that `selector` means: a full id, the beginning of one, `latest`, `latest~N`, a source's name, `NAME~N`.
///
/// Only committed archives that pass the filter are looked at, except for a full id.
///
/// # Errors
/// `archive.not-found` when there is none; `usage.selector` when there are several; `store.*`.
pub async fn select(store: &Store, selector: &str, filter: &Filter) -> Result<ArchiveId> {
    if let Ok(id) = selector.parse::<ArchiveId>() {
        return Objects::list(store, &id).await.map(|_| id);
    }
    let filter = Filter { incomplete: false, ..filter.clone() };
    let (name, back) = split(selector);
    if name == "latest" {
        let prefix = filter.guid.as_ref().map(|guid| format!("{guid}-")).unwrap_or_default();
        let found = find(store, &prefix, &filter, false).await?;
        return only_source(store, selector, found, back).await;
    }
    if back == 0
        && let Some(id) = by_prefix(store, selector, &filter).await?
    {
        return Ok(id);
    }
    by_name(store, selector, name, back, &filter).await
}

/// Splits `NAME~N`. What does not end in a number is a name.
fn split(selector: &str) -> (&str, usize) {
    let parts = selector.rsplit_once('~').and_then(|(name, back)| Some((name, back.parse().ok()?)));
    parts.filter(|(name, _)| !name.is_empty()).unwrap_or((selector, 0))
}

/// The only archive whose id begins like this, if any does.
async fn by_prefix(store: &Store, selector: &str, filter: &Filter) -> Result<Option<ArchiveId>> {
    let of_an_id = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    if selector.len() < SHORTEST_PREFIX || !selector.bytes().all(of_an_id) {
        return Ok(None);
    }
    let mut found = find(store, selector, filter, false).await?;
    found.retain(|found| found.entry.id.as_str().starts_with(selector));
    let Some(only) = found.first().map(|found| found.entry.id.clone()) else { return Ok(None) };
    let refuse = |why| Err(Error::Selector { given: selector.to_owned(), why });
    if found.len() > 1 {
        let ids = found.iter().rev().map(|found| found.entry.id.to_string());
        return refuse(format!("{} archives begin so: {}", found.len(), enumerate(ids, found.len())));
    }
    // `cafe` may be a source, too.
    if let Ok(guid) = guid::from_name(selector)
        && !find(store, &format!("{guid}-"), filter, false).await?.is_empty()
    {
        return refuse(format!("{only} begins so, and a source has this name; give --guid {guid} for the source"));
    }
    Ok(Some(only))
}

/// The newest archives of a source: its guid follows from the name, or its manifests say the name.
async fn by_name(store: &Store, selector: &str, name: &str, back: usize, filter: &Filter) -> Result<ArchiveId> {
    if filter.name.as_ref().is_some_and(|other| other != name) {
        return Err(not_found(store, selector));
    }
    let named = Filter { name: Some(name.to_owned()), ..filter.clone() };
    if let Ok(guid) = guid::from_name(name) {
        let found = find(store, &format!("{guid}-"), &named, false).await?;
        if !found.is_empty() {
            return nth(store, selector, found, back).await;
        }
    }
    let prefix = filter.guid.as_ref().map(|guid| format!("{guid}-")).unwrap_or_default();
    let found = find(store, &prefix, &named, true).await?;
    only_source(store, selector, found, back).await
}

/// Demands that all of these are of one source.
async fn only_source(store: &Store, selector: &str, found: Vec<Found>, back: usize) -> Result<ArchiveId> {
    let sources: BTreeSet<Guid> = found.iter().map(|found| found.entry.id.guid()).collect();
    let count = sources.len();
    if count <= 1 {
        return nth(store, selector, found, back).await;
    }
    let names = source_names(store, found).await?;
    let why = format!("the store holds {count} sources, name one: {}", enumerate(names.into_iter(), count));
    Err(Error::Selector { given: selector.to_owned(), why })
}

/// What the sources of these archives are called, each by its newest archive.
async fn source_names(store: &Store, found: Vec<Found>) -> Result<Vec<String>> {
    let mut newest: BTreeMap<Guid, Found> = BTreeMap::new();
    for found in found {
        newest.insert(found.entry.id.guid(), found);
    }
    let held = tokio::sync::Semaphore::new(MANIFESTS);
    let held = &held;
    stream::iter(newest.into_iter().take(NAMED))
        .map(|(guid, mut found)| async move {
            found.complete(store, true, held).await?;
            Ok(match found.entry.name {
                Some(name) => format!("{name} ({guid})"),
                None => guid.to_string(),
            })
        })
        .buffered(REQUESTS)
        .try_collect()
        .await
}

/// The archive `back` before the newest of one source. Archives that are not encrypted come after all others.
async fn nth(store: &Store, selector: &str, found: Vec<Found>, back: usize) -> Result<ArchiveId> {
    let mut open = Vec::new();
    let mut encrypted = 0;
    let mut newest_first = stream::iter(found.into_iter().rev())
        .map(|found| async move { is_open(store, &found).await.map(|open| (found.entry.id, open)) })
        .buffered(REQUESTS.min(back + 1));
    while let Some((id, is_open)) = newest_first.try_next().await? {
        if is_open {
            open.push(id);
        } else if encrypted == back {
            return Ok(id);
        } else {
            encrypted += 1;
        }
    }
    open.into_iter().nth(back - encrypted).ok_or_else(|| not_found(store, selector))
}

/// Whether the archive's secret is published in its first part. One that cannot be read is not taken for open: what is
/// wrong with it is said when it is read.
async fn is_open(store: &Store, found: &Found) -> Result<bool> {
    let Some(first) = found.start.first().filter(|first| first.n == 0) else { return Ok(false) };
    match read_header(store, &found.entry.id, first, HEADER, Reference::None).await {
        Ok(header) => Ok(header.common.open.is_some()),
        Err(Error::Format(_) | Error::Store(backstay_store::Error::ObjectMissing { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

fn enumerate(items: impl Iterator<Item = String>, count: usize) -> String {
    let listed = items.take(NAMED).collect::<Vec<_>>().join(", ");
    if count > NAMED { format!("{listed}, …") } else { listed }
}

fn not_found(store: &Store, selector: &str) -> Error {
    Error::ArchiveNotFound { what: format!("an archive that `{selector}` selects"), store: store.url().to_owned() }
}
