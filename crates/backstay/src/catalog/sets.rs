//! The backup sets of a store, with the state that follows from their members.

use std::collections::BTreeMap;

use backstay_format::ArchiveId;
use backstay_format::set::Set;
use backstay_store::Store;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Entry, Filter, FoundSet, REQUESTS, State, added_tags, find};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::guid;
use crate::set::{MemberState, SetState, load, state_of, states};

/// One backup set.
#[derive(Debug, Clone)]
pub struct SetEntry {
    /// Its id.
    pub id: ArchiveId,
    /// What it says; `None` where it cannot be read.
    pub set: Option<Set>,
    /// Whether somebody holds it.
    pub held: bool,
    /// Labels that were added later.
    pub added_tags: Vec<String>,
    /// How far its members are; `None` where nobody looked.
    pub state: Option<SetState>,
    /// Stored bytes of its members, where somebody looked.
    pub stored: u64,
    /// Bytes of content of its members, where somebody looked and all of them tell.
    pub content: Option<u64>,
}

/// The archives of a store and its backup sets, both oldest first.
///
/// One small object is read for each set; with `read_manifests` the sets' states are found out, which takes no request for a member
/// whose manifest was read anyway.
///
/// # Errors
/// `store.*`, as [`super::list`]. A set that cannot be read is listed as failed.
pub async fn list_all(
    store: &Store,
    filter: &Filter,
    read_manifests: bool,
    context: &Context,
) -> Result<(Vec<Entry>, Vec<SetEntry>)> {
    let prefix = filter.guid.as_ref().map(|guid| format!("{guid}-")).unwrap_or_default();
    let (archives, sets) = find(store, &prefix, filter, read_manifests).await?;
    let archives: Vec<Entry> = archives.into_iter().map(|found| found.entry).collect();
    let mut sets = load_all(store, sets, filter).await?;
    if read_manifests {
        let known: BTreeMap<&ArchiveId, &Entry> = archives.iter().map(|entry| (&entry.id, entry)).collect();
        for entry in &mut sets {
            let Some(set) = &entry.set else {
                entry.state = Some(SetState::Failed);
                continue;
            };
            let members = set.members.iter().map(|member| {
                let entry = known.get(&member.id).filter(|entry| entry.root == Some(member.root))?;
                let (stored, content) = (entry.stored, entry.content);
                (entry.state == State::Committed).then_some(MemberState { state: SetState::Completed, stored, content })
            });
            let members = match members.collect::<Option<Vec<_>>>() {
                Some(members) => members,
                None => states(store, set, context.now().into()).await?,
            };
            entry.measure(&members);
        }
    }
    Ok((archives, sets))
}

impl SetEntry {
    /// Takes what was found out about the members.
    pub(super) fn measure(&mut self, members: &[MemberState]) {
        self.state = Some(state_of(members));
        self.stored = members.iter().map(|member| member.stored).sum();
        self.content = members.iter().map(|member| member.content).sum();
    }
}

/// Whether something is asked that only an archive can answer.
fn of_archives_alone(filter: &Filter) -> bool {
    let sizes = filter.min_stored.is_some() || filter.max_stored.is_some();
    sizes || filter.kind.is_some() || filter.profile.is_some() || filter.verified.is_some()
}

/// Reads these sets, and keeps those that the filter lets through, oldest first.
pub(super) async fn load_all(store: &Store, sets: Vec<FoundSet>, filter: &Filter) -> Result<Vec<SetEntry>> {
    let derived = filter.name.as_deref().and_then(|name| guid::from_name(name).ok());
    let mut sets: Vec<SetEntry> = stream::iter(sets)
        .map(|FoundSet { id, held, tags }| async move {
            let set = match load(store, &id).await {
                Ok(sealed) => Some(sealed.set),
                // Somebody deletes it, or it is damaged: that must not hide the others.
                Err(Error::Format(_) | Error::ArchiveNotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            let added_tags = added_tags(store, &id, &tags).await?;
            Ok(SetEntry { id, set, held, added_tags, state: None, stored: 0, content: None })
        })
        .buffered(REQUESTS)
        .try_collect()
        .await?;
    sets.retain(|SetEntry { id, set, held, added_tags, .. }| {
        let (name, tags) = set.as_ref().map_or((None, &[][..]), |set| (set.name.as_ref(), &set.tags[..]));
        let named = derived.as_ref().is_some_and(|guid| id.guid() == *guid);
        filter.name.as_ref().is_none_or(|wanted| named || name == Some(wanted))
            && filter.tag.as_ref().is_none_or(|tag| tags.contains(tag) || added_tags.contains(tag))
            && (!filter.held || *held)
            && !of_archives_alone(filter)
    });
    Ok(sets)
}
