//! How old the newest good archive of each source is, and whether it is as large as usual: a dump that is cut short, or that finds an empty
//! database, shows in its size first. The archives of backup sets do not count by themselves: a set is as good as all its members.
//!  One listing, and for each source a bounded number of manifests, so that a monitor can ask often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backstay_format::header::Kind;
use backstay_format::manifest::{Document, MAX_MANIFEST, Manifest};
use backstay_format::report::Level;
use backstay_format::{ArchiveId, Error as Fault, Guid};
use backstay_store::Store;
use jiff::{SignedDuration, Timestamp};

use super::found::{Found, survey};
use super::sets::load_all;
use super::{Filter, SetEntry};
use crate::dated::{Order, by_store, is_ahead, order};
use crate::error::Result;
use crate::guid;
use crate::inventory;
use crate::retention::{BAD, Belief, objection};
use crate::set::{SetState, states};

/// Archives that are looked at for each source, good or not.
pub const LOOKED_AT: usize = 12;
/// Of these, good ones that are compared: the newest and what is usual.
pub const COMPARED: usize = 8;
/// Fewer earlier archives than this tell nothing about what is usual.
const USUAL: usize = 3;
/// The clocks of the writer and of the store may both be this far ahead of ours, where the store does not tell its own.
const FUTURE: SignedDuration = SignedDuration::from_hours(1);
/// As retention passes it over.
const AHEAD: &str = "it is dated more than a day later than the store has it";

/// A good archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its id.
    pub id: ArchiveId,
    /// When it was begun: its content is as old as that. By its name, or where that is later, when the store got the first of it.
    pub begun: Timestamp,
    /// How long it took.
    pub took: Option<Duration>,
    /// Bytes of content, unless they are hidden or unknown.
    pub content: Option<u64>,
    /// Bytes stored.
    pub stored: u64,
    kind: Kind,
    /// The root of its manifest, if it has one.
    root: Option<[u8; 32]>,
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
    /// How thoroughly somebody looked who says that the newest good one is bad. Nothing that was given tells whether that is to be believed.
    pub doubt: Option<Level>,
}

/// How a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is a good archive that is young enough, and of a usual size.
    Fresh,
    /// It is far smaller than usual.
    Small,
    /// Its newest report says that it is bad, and nobody can tell whether that is so.
    Doubtful,
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
        if self.doubt.is_some() {
            return Verdict::Doubtful;
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
/// `now` is this machine's time; what counts is the store's, where it tells it, see [`by_store`].
///
/// One listing; for each source at most [`LOOKED_AT`] small reads and one of a report, one for each backup set, and those of the members of the newest sets.
/// With keys or signers, a listing and some reads more for each archive until the newest good one is found.
///
/// # Errors
/// `store.*`. Without a key nothing is decrypted, and seals are not checked: whoever can create objects can pretend to make backups.
pub async fn freshness(store: &Store, filter: &Filter, belief: &Belief, now: Timestamp) -> Result<Vec<Source>> {
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
    let mut of_sets = BTreeMap::new();
    for found in archives {
        match members.contains(&found.id.guid()) {
            true => drop(of_sets.insert(found.id.clone(), found)),
            false => by_guid.entry(found.id.guid()).or_default().push(Kept::Archive(Box::new(found))),
        }
    }
    let looking = Looking { store, belief, members: of_sets, now: by_store(store, now) };
    let mut sources = Vec::new();
    for (guid, mut archives) in by_guid {
        archives.sort_unstable_by(|one, other| other.order().cmp(&one.order()));
        let named = derived.as_ref().is_some_and(|derived| *derived == guid);
        let mut source = Source { guid, name: None, points: Vec::new(), passed_over: Vec::new(), doubt: None };
        for kept in archives.into_iter().take(LOOKED_AT) {
            if source.points.len() == COMPARED {
                break;
            }
            looking.look_at(&mut source, kept).await?;
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

    /// When the first of its objects was stored.
    fn stored_at(&self) -> Timestamp {
        match self {
            Kept::Archive(found) => found.first_stored(),
            Kept::Set(entry) => entry.stored_at,
        }
    }

    fn order(&self) -> Order<'_> {
        order(self.id(), self.stored_at())
    }
}

/// What looking takes.
struct Looking<'a> {
    store: &'a Store,
    belief: &'a Belief,
    /// The archives of the backup sets' sources.
    members: BTreeMap<ArchiveId, Found>,
    /// The store's time, where it tells it.
    now: Timestamp,
}

/// A good archive or set, or why it is none.
type Looked = std::result::Result<Point, &'static str>;

impl Looking<'_> {
    async fn look_at(&self, source: &mut Source, kept: Kept) -> Result<()> {
        let id = kept.id().clone();
        // Nothing of it was stored before it was begun: the earlier of the two times is never younger than the archive.
        let begun = self.begun(&kept);
        let misdated = match begun.duration_since(self.now) > FUTURE {
            true => Some("its time is in the future"),
            false if is_ahead(&id, kept.stored_at()) => Some(AHEAD),
            false => None,
        };
        if misdated.is_some() && source.name.is_some() {
            source.passed_over.extend(misdated.map(|why| (id, why)));
            return Ok(());
        }
        let mut doubt = None;
        let mut looked_at = match &kept {
            Kept::Set(entry) => self.set(source, entry, begun).await?,
            Kept::Archive(found) if found.manifest.is_some() => {
                with_manifest(self.store, &mut source.name, found, begun).await?
            }
            Kept::Archive(found) => unsealed(self.store, found, begun).await?,
        };
        looked_at = misdated.map_or(looked_at, Err);
        // What the newest good one is compared with is not asked for more than its size.
        if let Ok(point) = &looked_at
            && source.points.is_empty()
        {
            match self.objection(&kept).await? {
                Some(why) => looked_at = Err(why),
                None => doubt = self.doubt(&kept, point.root).await?,
            }
        }
        match looked_at {
            Ok(point) => {
                source.doubt = source.doubt.or(doubt);
                source.points.push(point);
            }
            Err(why) => source.passed_over.push((id, why)),
        }
        Ok(())
    }

    /// The time that its content is no younger than.
    fn begun(&self, kept: &Kept) -> Timestamp {
        let (own, ..) = kept.order();
        let Kept::Set(entry) = kept else { return own };
        let members = entry.set.iter().flat_map(|set| &set.members);
        members.filter_map(|member| self.members.get(&member.id)).fold(own, |own, found| own.min(found.first_stored()))
    }

    /// What a key, a signer or a report that is believed says against it.
    async fn objection(&self, kept: &Kept) -> Result<Option<&'static str>> {
        if !self.belief.is_given() {
            return Ok(None);
        }
        let own = objection(self.store, kept.id(), self.belief).await?;
        let Kept::Set(entry) = kept else { return Ok(own) };
        if own.is_some() {
            return Ok(own);
        }
        for member in entry.set.iter().flat_map(|set| &set.members) {
            match objection(self.store, &member.id, self.belief).await? {
                Some(why) if why == BAD => return Ok(Some("a report says that one of its members is bad")),
                Some(_) => return Ok(Some("one of its members is not what the given key or signer stands for")),
                None => {}
            }
        }
        Ok(None)
    }

    /// The level of the newest report, of each archive that belongs to it, if that says that it is bad and nothing that is given tells whether it is to be believed.
    async fn doubt(&self, kept: &Kept, root: Option<[u8; 32]>) -> Result<Option<Level>> {
        // With a manifest, what is given has told.
        let told = |root: Option<[u8; 32]>| root.is_some() && self.belief.can_believe_reports();
        match kept {
            Kept::Archive(_) if told(root) => Ok(None),
            Kept::Archive(found) => bad(self.store, found, root).await,
            Kept::Set(entry) => {
                for member in entry.set.iter().flat_map(|set| &set.members) {
                    if told(Some(member.root)) {
                        continue;
                    }
                    let listed;
                    let found = match self.members.get(&member.id) {
                        Some(found) => found,
                        // With a guid only what is the set's own was listed.
                        None => {
                            listed = inventory::of::<Found>(self.store, &member.id).await?;
                            &listed
                        }
                    };
                    if let Some(level) = bad(self.store, found, Some(member.root)).await? {
                        return Ok(Some(level));
                    }
                }
                Ok(None)
            }
        }
    }

    /// A set is good when all of its members are what it says.
    async fn set(&self, source: &mut Source, entry: &SetEntry, begun: Timestamp) -> Result<Looked> {
        let Some(set) = &entry.set else { return Ok(Err("it is damaged")) };
        if source.name.is_none() {
            source.name.clone_from(&set.name);
        }
        let mut measured = entry.clone();
        measured.measure(&states(self.store, set, self.now.into()).await?);
        if measured.state != Some(SetState::Completed) {
            return Ok(Err("a member of the set is missing or another one"));
        }
        let took = took(&set.created, set.finished.as_deref());
        let SetEntry { id, content, stored, .. } = measured;
        Ok(Ok(Point { id, begun, took, content, stored, kind: Kind::Full, root: None }))
    }
}

/// The level of the newest report on an archive with this root, if it says that the archive is bad.
async fn bad(store: &Store, found: &Found, root: Option<[u8; 32]>) -> Result<Option<Level>> {
    let report = found.newest_report(store).await?;
    Ok(report.filter(|report| !report.good && report.root == root).map(|report| report.level))
}

async fn with_manifest(store: &Store, name: &mut Option<String>, found: &Found, begun: Timestamp) -> Result<Looked> {
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
    if name.is_none() {
        name.clone_from(&manifest.name);
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
    let root = Some(manifest.root());
    Ok(Ok(Point { id, begun, took, content: manifest.content, stored, kind: manifest.kind, root }))
}

/// How long it took by its own times: that in the id may have been moved to be the latest.
fn took(created: &str, finished: Option<&str>) -> Option<Duration> {
    let (created, finished): (Timestamp, Timestamp) = (created.parse().ok()?, finished?.parse().ok()?);
    Duration::try_from(finished.duration_since(created)).ok()
}

/// An archive of the openssl profile without a manifest of ours: names and sizes, and whether others have a document, are all that can be told.
async fn unsealed(store: &Store, found: &Found, begun: Timestamp) -> Result<Looked> {
    let (_, doubt) = found.stream(store, found.manifest.is_some()).await?;
    Ok(match doubt {
        None => {
            let (id, stored) = (found.id.clone(), found.stored);
            Ok(Point { id, begun, took: None, content: None, stored, kind: Kind::Full, root: None })
        }
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
            Point { id, begun, took: None, content: *content, stored: *stored, kind: Kind::Full, root: None }
        };
        let points = points.iter().map(point).collect();
        Source { guid: guid.clone(), name: None, points, passed_over: Vec::new(), doubt: None }
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
