//! From what a user types to one archive or one backup set.
//!
//! ```text
//! <guid>-<timestamp>   that archive, whatever its state
//! de2fe9e4-65          the only committed archive whose id begins so
//! latest, latest~2     the newest of the store's only source, the second before it
//! pg-main, pg-main~1   the newest of a source by name
//! ```
//!
//! The newest is that with the latest time in its name. One that the store has since an earlier time than that was dated by a clock that was ahead, and is
//! no newer than the store says.
//!
//! An archive that is not encrypted never stands before one that is: whoever can write to the store could make one and
//! have it taken for the latest (`spec/archive.md` §10).

use std::collections::{BTreeMap, BTreeSet};

use backstay_format::header::Reference;
use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::archive::{LINE, Objects, read_header};
use crate::dated::{Order, order};
use crate::error::{Error, Result};
use crate::guid;

use super::found::Found;
use super::listing::find;
use super::sets::load_all;
use super::{Filter, MANIFESTS, REQUESTS, SetEntry};

/// The fewest characters of an id that are taken as its beginning.
const SHORTEST_PREFIX: usize = 4;
/// How many sources or archives a message names.
const NAMED: usize = 10;

/// What a selector means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// One archive.
    Archive(ArchiveId),
    /// A backup set with this id.
    Set(ArchiveId),
}

impl Selected {
    /// Its id.
    pub fn id(&self) -> &ArchiveId {
        match self {
            Selected::Archive(id) | Selected::Set(id) => id,
        }
    }
}

/// The one archive that `selector` means: a full id, the beginning of one, `latest`, `latest~N`, a source's name, `NAME~N`.
///
/// Only committed archives that pass the filter are looked at, except for a full id.
///
/// # Errors
/// `archive.not-found` when there is none; `usage.selector` when there are several, or when it means a backup set; `store.*`.
pub async fn select(store: &Store, selector: &str, filter: &Filter) -> Result<ArchiveId> {
    let id = match select_any(store, selector, filter).await? {
        Selected::Archive(id) => return Ok(id),
        Selected::Set(id) => id,
    };
    let members = crate::set::load(store, &id).await?.set.members;
    let named = members.iter().map(|member| format!("{} ({:?})", member.id, member.name));
    let why = format!("it is a backup set, name one of its members: {}", enumerate(named, members.len()));
    Err(Error::Selector { given: selector.to_owned(), why })
}

/// The one archive or backup set that `selector` means. The archives of a set are not what `latest` means without a name: the set
/// stands for them.
///
/// # Errors
/// Those of [`select`].
pub async fn select_any(store: &Store, selector: &str, filter: &Filter) -> Result<Selected> {
    if let Ok(id) = selector.parse::<ArchiveId>() {
        return match Objects::list(store, &id).await {
            Ok(_) => Ok(Selected::Archive(id)),
            Err(Error::ArchiveNotFound { .. }) if store.head(&id.set()).await?.is_some() => Ok(Selected::Set(id)),
            Err(error) => Err(error),
        };
    }
    let filter = Filter { incomplete: false, ..filter.clone() };
    let (name, back) = split(selector);
    if name == "latest" {
        let prefix = filter.guid.as_ref().map(|guid| format!("{guid}-")).unwrap_or_default();
        let found = candidates(store, &prefix, &filter, false).await?;
        return only_source(store, selector, found, back).await;
    }
    if back == 0
        && let Some(found) = by_prefix(store, selector, &filter).await?
    {
        return Ok(found);
    }
    by_name(store, selector, name, back, &filter).await
}

/// An archive or a set that comes into question.
enum Candidate {
    Archive(Box<Found>),
    Set(Box<SetEntry>),
}

impl Candidate {
    fn id(&self) -> &ArchiveId {
        match self {
            Candidate::Archive(found) => &found.id,
            Candidate::Set(set) => &set.id,
        }
    }

    /// What tells which one is the newest.
    fn order(&self) -> Order<'_> {
        match self {
            Candidate::Archive(found) => order(&found.id, found.first_stored()),
            Candidate::Set(set) => order(&set.id, set.stored_at),
        }
    }

    fn selected(&self) -> Selected {
        match self {
            Candidate::Archive(found) => Selected::Archive(found.id.clone()),
            Candidate::Set(set) => Selected::Set(set.id.clone()),
        }
    }
}

/// The archives and sets whose ids begin with `prefix`, oldest first.
async fn candidates(store: &Store, prefix: &str, filter: &Filter, read_manifests: bool) -> Result<Vec<Candidate>> {
    let (archives, sets) = find(store, prefix, filter, read_manifests).await?;
    let sets = load_all(store, sets, filter).await?.into_iter().map(|set| Candidate::Set(Box::new(set)));
    let mut all: Vec<Candidate> =
        archives.into_iter().map(|found| Candidate::Archive(Box::new(found))).chain(sets).collect();
    all.sort_by(|a, b| a.order().cmp(&b.order()));
    Ok(all)
}

/// Splits `NAME~N`. What does not end in a number is a name.
fn split(selector: &str) -> (&str, usize) {
    let parts = selector.rsplit_once('~').and_then(|(name, back)| Some((name, back.parse().ok()?)));
    parts.filter(|(name, _)| !name.is_empty()).unwrap_or((selector, 0))
}

/// The only archive or set whose id begins like this, if any does.
async fn by_prefix(store: &Store, selector: &str, filter: &Filter) -> Result<Option<Selected>> {
    let of_an_id = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    if selector.len() < SHORTEST_PREFIX || !selector.bytes().all(of_an_id) {
        return Ok(None);
    }
    let mut found = candidates(store, selector, filter, false).await?;
    found.retain(|found| found.id().as_str().starts_with(selector));
    let Some(only) = found.first() else { return Ok(None) };
    let refuse = |why| Err(Error::Selector { given: selector.to_owned(), why });
    if found.len() > 1 {
        let ids = found.iter().rev().map(|found| found.id().to_string());
        return refuse(format!("{} archives begin so: {}", found.len(), enumerate(ids, found.len())));
    }
    // `cafe` may be a source, too.
    if let Ok(guid) = guid::from_name(selector)
        && !candidates(store, &format!("{guid}-"), filter, false).await?.is_empty()
    {
        let only = only.id();
        return refuse(format!("{only} begins so, and a source has this name; give --guid {guid} for the source"));
    }
    Ok(Some(only.selected()))
}

/// The newest archives or sets of a source: its guid follows from the name, or its manifests say the name.
async fn by_name(store: &Store, selector: &str, name: &str, back: usize, filter: &Filter) -> Result<Selected> {
    if filter.name.as_ref().is_some_and(|other| other != name) {
        return Err(not_found(store, selector));
    }
    let named = Filter { name: Some(name.to_owned()), ..filter.clone() };
    if let Ok(guid) = guid::from_name(name) {
        let found = candidates(store, &format!("{guid}-"), &named, false).await?;
        if !found.is_empty() {
            return nth(store, selector, found, back).await;
        }
    }
    let prefix = filter.guid.as_ref().map(|guid| format!("{guid}-")).unwrap_or_default();
    let found = candidates(store, &prefix, &named, true).await?;
    only_source(store, selector, found, back).await
}

/// Demands that all of these are of one source. A source whose archives are members of sets does not count: the sets do.
async fn only_source(store: &Store, selector: &str, mut found: Vec<Candidate>, back: usize) -> Result<Selected> {
    let members: BTreeSet<Guid> = found
        .iter()
        .filter_map(|found| if let Candidate::Set(entry) = found { entry.set.as_ref() } else { None })
        .flat_map(|set| set.members.iter().map(|member| member.id.guid()))
        .collect();
    found.retain(|found| matches!(found, Candidate::Set(_)) || !members.contains(&found.id().guid()));
    let sources: BTreeSet<Guid> = found.iter().map(|found| found.id().guid()).collect();
    let count = sources.len();
    if count <= 1 {
        return nth(store, selector, found, back).await;
    }
    let names = source_names(store, found).await?;
    let why = format!("the store holds {count} sources, name one: {}", enumerate(names.into_iter(), count));
    Err(Error::Selector { given: selector.to_owned(), why })
}

/// What the sources of these are called, each by its newest archive or set.
async fn source_names(store: &Store, found: Vec<Candidate>) -> Result<Vec<String>> {
    let mut newest: BTreeMap<Guid, Candidate> = BTreeMap::new();
    for found in found {
        newest.insert(found.id().guid(), found);
    }
    let held = tokio::sync::Semaphore::new(MANIFESTS);
    let held = &held;
    stream::iter(newest.into_iter().take(NAMED))
        .map(|(guid, found)| async move {
            let name = match found {
                Candidate::Set(entry) => entry.set.and_then(|set| set.name),
                Candidate::Archive(found) => found.entry(store, true, held).await?.name,
            };
            Ok(match name {
                Some(name) => format!("{name} ({guid})"),
                None => guid.to_string(),
            })
        })
        .buffered(REQUESTS)
        .try_collect()
        .await
}

/// What is `back` before the newest of one source. What is not encrypted comes after all others.
async fn nth(store: &Store, selector: &str, found: Vec<Candidate>, back: usize) -> Result<Selected> {
    let mut open = Vec::new();
    let mut encrypted = 0;
    let mut newest_first = stream::iter(found.into_iter().rev())
        .map(|found| async move { is_published(store, &found).await.map(|open| (found.selected(), open)) })
        .buffered(REQUESTS.min(back + 1));
    while let Some((selected, is_open)) = newest_first.try_next().await? {
        if is_open {
            open.push(selected);
        } else if encrypted == back {
            return Ok(selected);
        } else {
            encrypted += 1;
        }
    }
    open.into_iter().nth(back - encrypted).ok_or_else(|| not_found(store, selector))
}

/// Whether everybody can read it. What cannot be read is not taken for open: what is wrong with it is said when it is read.
async fn is_published(store: &Store, candidate: &Candidate) -> Result<bool> {
    match candidate {
        Candidate::Archive(found) => is_open(store, found).await,
        Candidate::Set(entry) => Ok(entry.set.as_ref().is_some_and(|set| set.lock.open.is_some())),
    }
}

/// Whether the archive's secret is published in its first part. One that cannot be read is not taken for open: what is
/// wrong with it is said when it is read.
async fn is_open(store: &Store, found: &Found) -> Result<bool> {
    let Some(first) = found.first() else { return Ok(false) };
    match read_header(store, &found.id, &first, LINE, Reference::None).await {
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
