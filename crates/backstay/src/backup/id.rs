//! The id of a backup: its source and the time at which it begins, later than every other's. One that is dated ahead of the store's own time is not
//! followed: else the clock of one run would date all that come after it.

use std::sync::Arc;
use std::time::SystemTime;

use backstay_format::{ArchiveId, Guid, ObjectName};
use backstay_store::{ObjectInfo, Store};
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};

use super::document::rfc3339;
use crate::context::Context;
use crate::dated::{begun, is_ahead, stored_at};
use crate::destinations::Destinations;
use crate::error::{Error, Result};
use crate::inventory::{self, Holding};
use crate::observe::{Event, Observer};

/// What the clocks of writers may differ by without a word.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(1);

/// What there is under an id that is dated later than now.
struct Later {
    id: ArchiveId,
    /// When the first and the last of its objects were stored, by the store's clock.
    stored: Option<(SystemTime, SystemTime)>,
}

impl Holding for Later {
    fn new(id: &ArchiveId) -> Later {
        Later { id: id.clone(), stored: None }
    }

    fn add(&mut self, _: &ObjectName, object: ObjectInfo) {
        let (first, last) = self.stored.unwrap_or((object.modified, object.modified));
        self.stored = Some((first.min(object.modified), last.max(object.modified)));
    }
}

/// What stands in the way of dating an archive now.
#[derive(Default)]
struct InTheWay {
    /// The latest id that is to be followed.
    followed: Option<ArchiveId>,
    /// The latest one that is not, and when it was stored.
    ahead: Option<(ArchiveId, Timestamp)>,
    /// The latest time that the new archive is to be dated behind: that of the name, or the store's in its place.
    millis: u64,
}

impl InTheWay {
    /// Looks through a store.
    async fn look(&mut self, store: &Store, guid: &Guid, now: &str, needed: bool) -> Result<()> {
        let mut later = inventory::each::<Later>(store.list(&format!("{guid}-"), Some(now)));
        while let Some(later) = later.next().await {
            let Later { id, stored } = match later {
                Ok(later) => later,
                // Nothing would reach it later either, after as much patience again.
                Err(Error::Store(error)) if error.is_retryable() && needed => return Err(error.into()),
                // A writer's credentials may not allow listing, and a store that is not there yet lists nothing.
                Err(_) => break,
            };
            let Some((first, last)) = stored.map(|(first, last)| (stored_at(first), stored_at(last))) else { continue };
            let millis = if is_ahead(&id, first) {
                self.ahead = Some((id, first)).max(self.ahead.take());
                u64::try_from(last.as_millisecond()).unwrap_or_default()
            } else {
                let millis = id.millis();
                self.followed = Some(id).max(self.followed.take());
                millis
            };
            self.millis = self.millis.max(millis);
        }
        Ok(())
    }

    fn warn(&self, now: Timestamp, observer: &Arc<dyn Observer>) {
        let warn = |text| observer.event(&Event::Warning { code: None, text });
        if let Some((id, stored)) = &self.ahead {
            let (time, stored) = (rfc3339(begun(id)), rfc3339(*stored));
            warn(format!(
                "{id} is dated {time}, and the store has it since {stored}: it was made with a clock that was ahead. This archive is dated by its own time, and \
                 retention and `check --max-age` pass that one over; when newer ones are there, delete it with `backstay rm {id} --yes`"
            ));
        }
        if let Some(id) = self.followed.as_ref().filter(|id| begun(id).duration_since(now) > CLOCK_TOLERANCE) {
            let (time, now) = (rfc3339(begun(id)), rfc3339(now));
            warn(format!(
                "the store has an archive of this source from {time}, {id}, and by the clock of this machine it is {now}: one of the two is wrong; to keep the \
                 order, this archive is dated {time} too. Set this machine's clock if it is wrong; if it is right, delete what `backstay list` shows with a time \
                 that is yet to come, each with `backstay rm ID --yes`, and back up again"
            ));
        }
    }
}

/// An id for an archive that begins now: later than every other of this process and, as far as the stores let themselves be
/// listed, than every other of this guid whose time the store's own bears out.
///
/// # Errors
/// `usage.clock` when no archive can be dated by this machine's clock; `store.*` when a store that is needed is not reached.
pub(crate) async fn next_id(
    destinations: &Destinations,
    needed: bool,
    guid: &Guid,
    context: &Context,
    observer: &Arc<dyn Observer>,
) -> Result<ArchiveId> {
    let (now, millis) = (context.now(), context.millis()?);
    let own = ArchiveId::new(guid, millis).map_err(|_| Error::Clock { now: rfc3339(now) })?;
    let mut in_the_way = InTheWay::default();
    for store in destinations.stores() {
        in_the_way.look(store, guid, own.as_str(), needed).await?;
    }
    in_the_way.warn(now, observer);
    Ok(ArchiveId::new(guid, context.issue(millis.max(in_the_way.millis + 1)))?)
}
