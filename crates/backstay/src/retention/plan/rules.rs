//! The rules of a policy over the archives of one source: what each of them keeps.

use std::time::Duration;

use backstay_format::ArchiveId;
use jiff::{SignedDuration, Timestamp};

use super::Reason;
use crate::dated::begun;
use crate::retention::policy::{Policy, Rule};

/// The newest archive of each span of time, the newest first.
type Spans<'a> = Vec<(i64, &'a ArchiveId)>;

/// Archives of one source that count, the newest first, and the rules over them.
pub(super) struct Source<'a> {
    pub(super) counting: Vec<&'a ArchiveId>,
    /// For each rule its number, and the newest archive of each span, the newest first.
    spans: Vec<(Rule, u32, Spans<'a>)>,
    /// What was begun from here on is kept.
    within: Option<Timestamp>,
    floor: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(mut counting: Vec<&'a ArchiveId>, policy: &Policy, now: Timestamp) -> Source<'a> {
        counting.sort_unstable_by(|one, other| other.cmp(one));
        let spans = policy.rules().map(|(rule, number)| {
            let mut newest: Spans<'_> = Vec::new();
            for id in counting.iter().copied() {
                match rule.span(id.millis()) {
                    Some(span) if newest.last().is_none_or(|(last, _)| *last != span) => newest.push((span, id)),
                    _ => {}
                }
            }
            (rule, number, newest)
        });
        let spans = spans.collect();
        // When no backups are made any more, nothing gets too old.
        let newest = counting.first().map(|id| begun(id).min(now));
        let within = policy.within.zip(newest).map(|(within, newest)| before(newest, within));
        Source { counting, spans, within, floor: policy.min_keep.max(1) as usize }
    }

    /// What keeps an archive, or would if it counted.
    pub(super) fn reasons(&self, id: &ArchiveId) -> Vec<Reason> {
        let newer = self.counting.partition_point(|other| *other > id);
        let mut reasons = Vec::new();
        for (rule, number, newest) in &self.spans {
            let number = *number as usize;
            let keeps = match rule.span(id.millis()) {
                None => newer < number,
                Some(span) => {
                    let spans = newest.partition_point(|(other, _)| *other > span);
                    let newest_of_span = newest.get(spans).filter(|(other, _)| *other == span);
                    spans < number && newest_of_span.is_none_or(|(_, newest)| *newest <= id)
                }
            };
            if keeps {
                reasons.push(Reason::Rule(*rule));
            }
        }
        if self.within.is_some_and(|from| begun(id) >= from) {
            reasons.push(Reason::Within);
        }
        if newer < self.floor {
            reasons.push(Reason::Floor);
        }
        reasons
    }
}

pub(super) fn before(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}
