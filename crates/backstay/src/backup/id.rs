//! The id of a backup: its source and the time at which it begins, later than every other's.

use std::sync::Arc;

use backstay_format::{ArchiveId, Guid};
use futures::StreamExt as _;

use super::document::rfc3339;
use crate::context::Context;
use crate::destinations::Destinations;
use crate::error::Result;
use crate::observe::{Event, Observer};

/// An id for an archive that begins now: later than every other of this process and, as far as the stores let themselves be
/// listed, than every other of this guid.
pub(crate) async fn next_id(
    destinations: &Destinations,
    needed: bool,
    guid: &Guid,
    context: &Context,
) -> Result<ArchiveId> {
    let mut millis = context.millis()?;
    let now = format!("{guid}-{millis}");
    for store in destinations.stores() {
        let mut later = store.list(&format!("{guid}-"), Some(&now));
        while let Some(object) = later.next().await {
            let object = match object {
                Ok(object) => object,
                // Nothing would reach it later either, after as much patience again.
                Err(error) if error.is_retryable() && needed => return Err(error.into()),
                // A writer's credentials may not allow listing, and a store that is not there yet lists nothing.
                Err(_) => break,
            };
            if let Some(id) = backstay_format::ObjectName::parse(&object.name).id() {
                millis = millis.max(id.millis() + 1);
            }
        }
    }
    Ok(ArchiveId::new(guid, context.issue(millis))?)
}

/// What the clocks of writers may differ by without a word.
const CLOCK_TOLERANCE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// An id that had to be put behind an archive of the future: its time is not to be relied on, nor that of all that follow.
pub(super) fn warn_of_the_clock(id: &ArchiveId, now: jiff::Timestamp, observer: &Arc<dyn Observer>) {
    let Some(time) = i64::try_from(id.millis()).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
    else {
        return;
    };
    if time.duration_since(now) > CLOCK_TOLERANCE {
        let (time, now) = (rfc3339(time), rfc3339(now));
        let text = format!(
            "the store has an archive of this source from {time}, and by the clock of this machine it is {now}: one of the two is wrong; to keep the order, this archive is dated {time} too"
        );
        observer.event(&Event::Warning { code: None, text });
    }
}
