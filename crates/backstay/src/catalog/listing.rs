//! The list: oldest first, or in the order of the store's own listing.
//!
//! Names begin with the guid of their source, so that the oldest of a store with several sources may be named last, and oldest first means
//! that the whole listing comes before the first archive. What takes long is behind it, a request for each archive against one for each
//! thousand objects, and that is done one after the other by whoever takes the archives. In the store's own order nothing comes before anything,
//! and nothing is held.

use std::collections::HashMap;
use std::sync::Arc;

use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;

use super::found::{Found, FoundSet, groups, survey};
use super::sets::{self, SetEntry};
use super::{Entry, Filter, MANIFESTS, REQUESTS, State};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::guid;
use crate::set::{MemberState, SetState};

/// Finds out of what the listing tells whether it is meant.
struct Reader<'a> {
    store: &'a Store,
    filter: &'a Filter,
    /// Whether manifests are read, and what was said of an archive later.
    read: bool,
    /// A name usually tells the guid, and then the manifest need not be asked.
    derived: Option<Guid>,
    /// Bytes of manifests.
    held: Semaphore,
}

impl<'a> Reader<'a> {
    fn new(store: &'a Store, filter: &'a Filter, read_manifests: bool) -> Arc<Reader<'a>> {
        let read = read_manifests || filter.reads_everything();
        let derived = filter.name.as_deref().and_then(|name| guid::from_name(name).ok());
        Arc::new(Reader { store, filter, read, derived, held: Semaphore::new(MANIFESTS) })
    }

    /// What is known of it, if it is meant.
    async fn entry(&self, found: &Found) -> Result<Option<Entry>> {
        let filter = self.filter;
        let named = self.derived.as_ref().is_some_and(|guid| found.id.guid() == *guid);
        let read = self.read || (filter.name.is_some() && !named);
        let entry = found.entry(self.store, read, &self.held).await?;
        let meant = filter.name.as_ref().is_none_or(|name| named || entry.name.as_ref() == Some(name))
            && filter.fits(&entry)
            && (filter.incomplete || entry.state.is_committed());
        Ok(meant.then_some(entry))
    }
}

/// The archives of a store, oldest first.
///
/// One listing; one small ranged read for each archive without a manifest, since one of the openssl profile needs none;
/// with `read_manifests`, or a filter that needs them, the manifests, and what was said of an archive later.
///
/// # Errors
/// `store.*`. A manifest that cannot be read does not hide its archive: what it would say is left out.
pub async fn list(store: &Store, filter: &Filter, read_manifests: bool) -> Result<Vec<Entry>> {
    let (found, _) = survey(store, &filter.prefix(), filter).await?;
    entries(store, filter, read_manifests, found).try_collect().await
}

/// What is known of these, in their order.
fn entries<'a>(
    store: &'a Store,
    filter: &'a Filter,
    read_manifests: bool,
    found: Vec<Found>,
) -> BoxStream<'a, Result<Entry>> {
    let reader = Reader::new(store, filter, read_manifests);
    let entries = stream::iter(found).map(move |found| {
        let reader = Arc::clone(&reader);
        async move { reader.entry(&found).await }
    });
    entries.buffered(REQUESTS).try_filter_map(|entry| std::future::ready(Ok(entry))).boxed()
}

/// The archives whose ids begin with `prefix` and that the filter lets through, oldest first, and the backup sets, which the
/// filter's name and tag have not been held against.
pub(super) async fn find(
    store: &Store,
    prefix: &str,
    filter: &Filter,
    read_manifests: bool,
) -> Result<(Vec<Found>, Vec<FoundSet>)> {
    let reader = Reader::new(store, filter, read_manifests);
    let (found, sets) = survey(store, prefix, filter).await?;
    let wanted = stream::iter(found).map(|found| {
        let reader = Arc::clone(&reader);
        async move { Ok::<_, Error>(reader.entry(&found).await?.map(|_| found)) }
    });
    let wanted = wanted.buffered(REQUESTS).try_filter_map(|found| std::future::ready(Ok(found)));
    Ok((wanted.try_collect().await?, sets))
}

/// The archives of a store and its backup sets, both oldest first.
///
/// # Errors
/// Those of [`Listing::open`].
pub async fn list_all(
    store: &Store,
    filter: &Filter,
    read_manifests: bool,
    context: &Context,
) -> Result<(Vec<Entry>, Vec<SetEntry>)> {
    let mut listing = Listing::open(store, filter, read_manifests).await?;
    let mut archives = Vec::new();
    while let Some(entry) = listing.next().await? {
        archives.push(entry);
    }
    Ok((archives, listing.sets(context).await?))
}

/// The archives and sets of a store, oldest first, as they are found out.
pub struct Listing<'a> {
    store: &'a Store,
    read_manifests: bool,
    archives: BoxStream<'a, Result<Entry>>,
    sets: Vec<SetEntry>,
    /// The members of the sets, and what is known of those that were listed.
    members: HashMap<ArchiveId, Option<Known>>,
}

/// What a set has to know of a member.
struct Known {
    root: Option<[u8; 32]>,
    state: MemberState,
}

impl<'a> Listing<'a> {
    /// Lists the store, and reads one small object for each set.
    ///
    /// # Errors
    /// `store.*`, as [`list`]. A set that cannot be read is listed as failed.
    pub async fn open(store: &'a Store, filter: &'a Filter, read_manifests: bool) -> Result<Listing<'a>> {
        let (found, sets) = survey(store, &filter.prefix(), filter).await?;
        let sets = sets::load_all(store, sets, filter).await?;
        let members = sets.iter().filter_map(|entry| entry.set.as_ref()).flat_map(|set| &set.members);
        let members = members.map(|member| (member.id.clone(), None)).collect();
        Ok(Listing { store, read_manifests, archives: entries(store, filter, read_manifests, found), sets, members })
    }

    /// The next archive.
    ///
    /// # Errors
    /// Those of [`list`].
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        let next = self.archives.try_next().await?;
        if let Some(entry) = &next
            && entry.state == State::Committed
            && let Some(known) = self.members.get_mut(&entry.id)
        {
            let (stored, content) = (entry.stored, entry.content);
            let state = MemberState { state: SetState::Completed, stored, content };
            *known = Some(Known { root: entry.root, state });
        }
        Ok(next)
    }

    /// The sets, to be asked for after the last archive. If manifests were read, the sets' states are found out, which takes no request for a
    /// member that was listed.
    ///
    /// # Errors
    /// `store.*`.
    pub async fn sets(mut self, context: &Context) -> Result<Vec<SetEntry>> {
        for entry in self.sets.iter_mut().filter(|_| self.read_manifests) {
            let known = |id: &ArchiveId, root: [u8; 32]| {
                let known = self.members.get(id)?.as_ref().filter(|known| known.root == Some(root))?;
                Some(known.state)
            };
            entry.find_out(self.store, context, known).await?;
        }
        Ok(self.sets)
    }
}

/// What a listing gives.
#[derive(Debug)]
pub enum Listed {
    /// An archive.
    Archive(Box<Entry>),
    /// A backup set.
    Set(Box<SetEntry>),
}

/// The archives and sets of a store in the order of its listing, which is by source and then by time, while it goes on. Nothing is held of
/// what was given; the state of a set, which `read_manifests` finds out, takes a request for each of its members.
///
/// The stream ends after its first error, which is one of [`list`].
pub fn stream<'a>(
    store: &'a Store,
    filter: &'a Filter,
    read_manifests: bool,
    context: &'a Context,
) -> BoxStream<'a, Result<Listed>> {
    let reader = Reader::new(store, filter, read_manifests);
    let listed = groups(store, &filter.prefix(), filter).map_ok(move |found| {
        let reader = Arc::clone(&reader);
        async move {
            let mut listed = Vec::new();
            for mut entry in sets::load_all(store, found.set().into_iter().collect(), filter).await? {
                if read_manifests {
                    entry.find_out(store, context, |_, _| None).await?;
                }
                listed.push(Ok(Listed::Set(Box::new(entry))));
            }
            if found.is_archive()
                && let Some(entry) = reader.entry(&found).await?
            {
                listed.push(Ok(Listed::Archive(Box::new(entry))));
            }
            Ok(stream::iter(listed))
        }
    });
    listed.try_buffered(REQUESTS).try_flatten().boxed()
}
