//! How old the newest good archive of each source is, and whether it is as large as usual: a dump that is cut short, or that finds an empty
//! database, shows in its size first. The archives of backup sets do not count by themselves: a set is as good as all its members.
//!  One listing, and for each source a bounded number of manifests, so that a monitor can ask often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backstay_format::header::Kind;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest};
use backstay_format::{ArchiveId, Error as Fault, Guid};
use backstay_store::Store;
use jiff::Timestamp;

use super::found::{Found, survey};
use super::sets::load_all;
use super::{Filter, SetEntry};
use crate::error::Result;
use crate::guid;
use crate::set::{SetState, states};

/// Archives that are looked at for each source, good or not.
pub const LOOKED_AT: usize = 12;
/// Of these, good ones that are compared: the newest and what is usual.
pub const COMPARED: usize = 8;
/// Fewer earlier archives than this tell nothing about what is usual.
const USUAL: usize = 3;
/// A writer's clock may be this far ahead of ours. What claims to be later was made to be the newest, or by a broken clock.
const FUTURE: Duration = Duration::from_secs(3600);

/// A good archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its id.
    pub id: ArchiveId,
    /// When it was begun: its content is as old as that.
    pub begun: Timestamp,
    /// How long it took.
    pub took: Option<Duration>,
    /// Bytes of content, unless they are hidden or unknown.
    pub content: Option<u64>,
    /// Bytes stored.
    pub stored: u64,
    kind: Kind,
}

/// What there is of one source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its guid.
    pub guid: Guid,
    /// Its name, if an archive tells.
    pub name: Option<String>,
    /// Good archives, the newest first; not all, see [`COMPARED`].
    pub points: Vec<Point>,
    /// Archives that were passed over, the newest first, and why.
    pub passed_over: Vec<(ArchiveId, &'static str)>,
}

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is a good archive that is young enough, and of a usual size.
    Fresh,
    /// It is far smaller than usual.
    Small,
    /// It is too old, or there is none.
    Stale,
}

impl Source {
    /// The newest good archive.
    pub fn newest(&self) -> Option<&Point> {
        self.points.first()
    }

    /// How old the newest one's content is.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let age = now.duration_since(self.newest()?.begun);
        Some(Duration::try_from(age).unwrap_or_default())
    }

    /// The size of the newest one and the median of those before it, in bytes of content where that is known and else of what is stored.
    pub fn sizes(&self) -> Option<(u64, u64)> {
        let newest = self.newest()?;
        let before: Vec<_> = self.points[1..].iter().filter(|point| point.kind == newest.kind).collect();
        let known = |of: &dyn Fn(&Point) -> Option<u64>| {
            let mut sizes: Vec<u64> = before.iter().filter_map(|point| of(point)).collect();
            sizes.sort_unstable();
            let median = sizes.get(sizes.len() / 2).copied().filter(|_| sizes.len() >= USUAL)?;
            Some((of(newest)?, median))
        };
        known(&|point| point.content).or_else(|| known(&|point| Some(point.stored)))
    }

    /// How it stands: `max_age` is the age that is still fresh, `min_percent` the share of the usual size that is still usual.
    pub fn verdict(&self, now: Timestamp, max_age: Option<Duration>, min_percent: u8) -> Verdict {
        let Some(age) = self.age(now) else { return Verdict::Stale };
        if max_age.is_some_and(|most| age > most) {
            return Verdict::Stale;
        }
        match self.sizes() {
            Some((newest, usual)) if u128::from(newest) * 100 < u128::from(usual) * u128::from(min_percent) => {
                Verdict::Small
            }
            _ => Verdict::Fresh,
        }
    }
}

/// The sources of a store, in the order of their guids. One that a filter names and that has no archive is not among them.
///
/// One listing; for each source at most [`LOOKED_AT`] small reads, one for each backup set, and those of the members of the newest sets.
///
/// # Errors
/// `store.*`. Nothing is decrypted, and seals are not checked: whoever can create objects can pretend to make backups.
pub async fn freshness(store: &Store, filter: &Filter, now: Timestamp) -> Result<Vec<Source>> {
    let derived = filter.name.as_deref().and_then(|name| guid::from_name(name).ok());
    let (archives, sets) = survey(store, &filter.prefix(), filter).await?;
    let unfiltered = Filter { name: None, tag: None, ..filter.clone() };
    let sets = load_all(store, sets, &unfiltered).await?;
    let members = sets.iter().filter_map(|entry| entry.set.as_ref()).flat_map(|set| &set.members);
    let members: BTreeSet<Guid> = members.map(|member| member.id.guid()).collect();
    let mut by_guid: BTreeMap<Guid, Vec<Kept>> = BTreeMap::new();
    for set in sets {
        by_guid.entry(set.id.guid()).or_default().push(Kept::Set(Box::new(set)));
    }
    for found in archives.into_iter().filter(|found| !members.contains(&found.id.guid())) {
        by_guid.entry(found.id.guid()).or_default().push(Kept::Archive(Box::new(found)));
    }
    let mut sources = Vec::new();
    for (guid, mut archives) in by_guid {
        archives.sort_unstable_by_key(|kept| std::cmp::Reverse(kept.id().millis()));
        let named = derived.as_ref().is_some_and(|derived| *derived == guid);
        let mut source = Source { guid, name: None, points: Vec::new(), passed_over: Vec::new() };
        for kept in archives.into_iter().take(LOOKED_AT) {
            if source.points.len() == COMPARED {
                break;
            }
            source.look_at(store, kept, now).await?;
            // Somebody else's; one manifest was enough to see that.
            if filter.name.is_some() && !named && source.name.is_some() && source.name != filter.name {
                break;
            }
        }
        if filter.name.is_none() || named || source.name == filter.name {
            sources.push(source);
        }
    }
    Ok(sources)
}

/// What may be a backup of a source.
enum Kept {
    Archive(Box<Found>),
    Set(Box<SetEntry>),
}

impl Kept {
    fn id(&self) -> &ArchiveId {
        match self {
            Kept::Archive(found) => &found.id,
            Kept::Set(entry) => &entry.id,
        }
    }
}

impl Source {
    async fn look_at(&mut self, store: &Store, kept: Kept, now: Timestamp) -> Result<()> {
        let id = kept.id().clone();
        let begun = i64::try_from(id.millis()).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let latest = now.checked_add(FUTURE).unwrap_or(now);
        let Some(begun) = begun.filter(|begun| *begun <= latest) else {
            self.passed_over.push((id, "its time is in the future"));
            return Ok(());
        };
        let looked_at = match kept {
            Kept::Set(entry) => self.set(store, *entry, begun, now).await?,
            Kept::Archive(found) if found.manifest.is_some() => self.with_manifest(store, *found, begun).await?,
            Kept::Archive(found) => unsealed(store, *found, begun).await?,
        };
        match looked_at {
            Ok(point) => self.points.push(point),
            Err(why) => self.passed_over.push((id, why)),
        }
        Ok(())
    }

    /// A set is good when all of its members are what it says.
    async fn set(
        &mut self,
        store: &Store,
        mut entry: SetEntry,
        begun: Timestamp,
        now: Timestamp,
    ) -> Result<std::result::Result<Point, &'static str>> {
        let Some(set) = entry.set.take() else { return Ok(Err("it is damaged")) };
        if self.name.is_none() {
            self.name.clone_from(&set.name);
        }
        entry.measure(&states(store, &set, now.into()).await?);
        if entry.state != Some(SetState::Completed) {
            return Ok(Err("a member of the set is missing or another one"));
        }
        let took = took(&set.created, set.finished.as_deref());
        let SetEntry { id, content, stored, .. } = entry;
        Ok(Ok(Point { id, begun, took, content, stored, kind: Kind::Full }))
    }

    async fn with_manifest(
        &mut self,
        store: &Store,
        found: Found,
        begun: Timestamp,
    ) -> Result<std::result::Result<Point, &'static str>> {
        let id = found.id.clone();
        let bytes = match store.get(&id.manifest(), MAX_MANIFEST).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Err("it was deleted while it was looked at")),
            Err(backstay_store::Error::TooLarge { .. }) => return Ok(Err("its manifest is too large")),
            Err(error) => return Err(error.into()),
        };
        let manifest = match Manifest::parse(bytes.into(), &id) {
            Ok(Document::Manifest(sealed)) => sealed.manifest,
            Ok(Document::Foreign(_)) => return unsealed(store, found, begun).await,
            Err(Fault::ArchiveUncommitted { .. }) => return Ok(Err("it was given up")),
            Err(_) => return Ok(Err("its manifest is damaged")),
        };
        if self.name.is_none() {
            self.name.clone_from(&manifest.name);
        }
        if manifest.detached && !found.has_keyboxes() {
            return Ok(Err("none of the keyboxes is left that its keys were in"));
        }
        if manifest.unconfirmed {
            return Ok(Err("its writer could not confirm what is stored"));
        }
        let stored = manifest.stored();
        if (manifest.parts.len(), stored) != (found.parts as usize, found.stored) {
            return Ok(Err("its parts are not those of its manifest"));
        }
        let took = took(&manifest.created, manifest.finished.as_deref());
        Ok(Ok(Point { id, begun, took, content: manifest.content, stored, kind: manifest.kind }))
    }
}

/// How long it took by its own times: that in the id may have been moved to be the latest.
fn took(created: &str, finished: Option<&str>) -> Option<Duration> {
    let (created, finished): (Timestamp, Timestamp) = (created.parse().ok()?, finished?.parse().ok()?);
    Duration::try_from(finished.duration_since(created)).ok()
}

/// An archive of the openssl profile without a manifest of ours: names and sizes, and whether others have a document, are all that can be told.
async fn unsealed(store: &Store, found: Found, begun: Timestamp) -> Result<std::result::Result<Point, &'static str>> {
    let (_, doubt) = found.stream(store, found.manifest.is_some()).await?;
    Ok(match doubt {
        None => Ok(Point { id: found.id, begun, took: None, content: None, stored: found.stored, kind: Kind::Full }),
        Some(why) => Err(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_740_000_000;

    fn source(points: &[(i64, Option<u64>, u64)]) -> Source {
        let guid: Guid = "de2fe9e4-6535-423d-8709-dca87df7985c".parse().unwrap();
        let point = |(age, content, stored): &(i64, Option<u64>, u64)| {
            let begun = Timestamp::from_second(NOW - age).unwrap();
            let millis = u64::try_from(begun.as_millisecond()).unwrap();
            let id = ArchiveId::new(&guid, millis).unwrap();
            Point { id, begun, took: None, content: *content, stored: *stored, kind: Kind::Full }
        };
        let points = points.iter().map(point).collect();
        Source { guid: guid.clone(), name: None, points, passed_over: Vec::new() }
    }

    fn verdict(points: &[(i64, Option<u64>, u64)], max_age: Option<u64>) -> Verdict {
        source(points).verdict(Timestamp::from_second(NOW).unwrap(), max_age.map(Duration::from_secs), 50)
    }

    #[test]
    fn what_is_older_than_allowed_is_stale_and_to_the_second() {
        assert_eq!(verdict(&[], None), Verdict::Stale);
        assert_eq!(verdict(&[(100, None, 1)], None), Verdict::Fresh);
        assert_eq!(verdict(&[(100, None, 1)], Some(100)), Verdict::Fresh);
        assert_eq!(verdict(&[(101, None, 1)], Some(100)), Verdict::Stale);
    }

    #[test]
    fn small_is_measured_against_the_median_of_at_least_three() {
        let with = |newest, before: &[u64]| {
            let mut points = vec![(0, Some(newest), 1)];
            points.extend(before.iter().map(|size| (1, Some(*size), 1)));
            verdict(&points, None)
        };
        assert_eq!(with(49, &[100, 100, 100]), Verdict::Small);
        assert_eq!(with(50, &[100, 100, 100]), Verdict::Fresh);
        assert_eq!(with(0, &[100, 100]), Verdict::Fresh);
        // One that was broken, or huge once, does not move what is usual.
        assert_eq!(with(60, &[100, 1, 100, 9000, 100]), Verdict::Fresh);
        assert_eq!(with(40, &[100, 1, 100, 9000, 100]), Verdict::Small);
    }

    #[test]
    fn where_the_content_is_hidden_what_is_stored_is_compared() {
        let before = [(1, None, 100), (2, None, 100), (3, Some(7), 100)];
        let with = |stored| verdict(&[&[(0, None, stored)], &before[..]].concat(), None);
        assert_eq!((with(49), with(50)), (Verdict::Small, Verdict::Fresh));
    }

    #[test]
    fn a_stale_one_is_stale_however_small() {
        assert_eq!(
            verdict(&[(200, None, 1), (300, None, 9), (400, None, 9), (500, None, 9)], Some(100)),
            Verdict::Stale
        );
    }
}
