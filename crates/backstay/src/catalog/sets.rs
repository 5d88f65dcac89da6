//! The backup sets of a store, with the state that follows from their members.

use backstay_format::ArchiveId;
use backstay_format::set::Set;
use backstay_store::Store;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::found::{FoundSet, added_tags};
use super::{Filter, REQUESTS};
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
    /// When it was committed, by the store's clock.
    pub stored_at: Timestamp,
}

impl SetEntry {
    /// Finds out how far its members are: by what is known of them already, and else by asking for each.
    pub(super) async fn find_out(
        &mut self,
        store: &Store,
        context: &Context,
        known: impl Fn(&ArchiveId, [u8; 32]) -> Option<MemberState>,
    ) -> Result<()> {
        let Some(set) = &self.set else {
            self.state = Some(SetState::Failed);
            return Ok(());
        };
        let members = set.members.iter().map(|member| known(&member.id, member.root));
        let members = match members.collect::<Option<Vec<_>>>() {
            Some(members) => members,
            None => states(store, set, context.now().into()).await?,
        };
        self.measure(&members);
        Ok(())
    }

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

/// Reads these sets, and keeps those that the filter lets through, in their order.
pub(super) async fn load_all(store: &Store, sets: Vec<FoundSet>, filter: &Filter) -> Result<Vec<SetEntry>> {
    if of_archives_alone(filter) {
        return Ok(Vec::new());
    }
    let derived = filter.name.as_deref().and_then(|name| guid::from_name(name).ok());
    let mut sets: Vec<SetEntry> = stream::iter(sets)
        .map(|FoundSet { id, held, tags, stored_at }| async move {
            let set = match load(store, &id).await {
                Ok(sealed) => Some(sealed.set),
                // Somebody deletes it, or it is damaged: that must not hide the others.
                Err(Error::Format(_) | Error::ArchiveNotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            let added_tags = added_tags(store, &id, &tags).await?;
            Ok(SetEntry { id, set, held, added_tags, state: None, stored: 0, content: None, stored_at })
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
    });
    Ok(sets)
}
