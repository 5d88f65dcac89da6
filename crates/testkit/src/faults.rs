//! Faults between a store and its object store, for tests that need no network: calls that fail before or after they took effect, answers that
//! are too short or wrong, conditions that are ignored, requests that arrive late or twice, listings that lag behind.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// An object is sent.
    Put,
    /// An object or a range is fetched.
    Get,
    /// Only what is known of an object.
    Head,
    /// Objects are listed.
    List,
    /// An object is deleted.
    Delete,
}

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Nothing has happened.
    Before,
    /// It has been carried out, and only the answer is lost.
    After,
}

/// What a call fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was lost; worth repeating.
    Lost,
    /// Not allowed.
    Denied,
    /// The system says so.
    Io(io::ErrorKind),
    /// The call never comes back.
    Hangs,
    /// Nor does any other: see [`Faults::crash_at`].
    Crashes,
}

impl Failure {
    async fn happen(self, location: &str, faults: &Faults) -> Error {
        let source = match self {
            Self::Lost => io::Error::from(io::ErrorKind::ConnectionReset),
            Self::Denied => {
                return Error::PermissionDenied { path: location.into(), source: "scripted".into() };
            }
            Self::Io(kind) => io::Error::from(kind),
            Self::Hangs => std::future::pending().await,
            Self::Crashes => {
                faults.crashed.notify_one();
                std::future::pending().await
            }
        };
        Error::Generic { store: "faults", source: Box::new(source) }
    }
}

#[derive(Debug)]
struct Rule {
    call: Call,
    numbers: RangeInclusive<usize>,
    when: When,
    failure: Failure,
}

#[derive(Debug)]
enum Damage {
    Flip { byte: u64 },
    Truncate { length: u64 },
}

/// From the name of an object and its bytes to those of another writer's object, or to the name alone if that is deleted.
struct Intruder(Box<Intrusion>);

type Intrusion = dyn FnOnce(&str, &Bytes) -> (String, Option<Bytes>) + Send;

impl std::fmt::Debug for Intruder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Intruder")
    }
}

/// A create whose sender was told that it was lost, and which is on its way all the same.
#[derive(Debug)]
struct Late {
    /// The call of whatever kind before which it arrives.
    due: usize,
    location: Path,
    payload: PutPayload,
    options: PutOptions,
}

/// What a listing does not know of yet.
#[derive(Debug, Default)]
struct Lag {
    created: BTreeSet<Path>,
    deleted: Vec<ObjectMeta>,
}

#[derive(Debug, Default)]
struct Plan {
    ignore_conditions: bool,
    rules: Vec<Rule>,
    damages: Vec<(String, Damage)>,
    calls: BTreeMap<Call, usize>,
    /// What another writer creates just before the first create of a name.
    rivals: BTreeMap<String, Bytes>,
    /// What another writer stores right after the creates with these numbers.
    intruders: Vec<(usize, Intruder)>,
    /// Puts that are carried out twice.
    twice: bool,
    /// How long a call takes before anything happens.
    delays: BTreeMap<Call, Duration>,
    /// Which puts come late, and by how many calls; and those under way.
    lateness: Option<(RangeInclusive<usize>, usize)>,
    late: Vec<Late>,
    lag: Option<Lag>,
    /// Calls of all kinds, and the one of them at which the process ends.
    all: usize,
    crash: Option<(usize, When)>,
    /// The one that waits.
    stop: Option<(usize, When)>,
}

/// The faults of one store. Clones share them, so that a test keeps one and may add faults while the store is in use.
///
/// ```
/// use backstay_testkit::faults::{Call, Failure, Faults, When};
///
/// let faults = Faults::new();
/// let store = backstay_store::Store::memory().with_wrapper(|objects| faults.wrap(objects));
/// faults.fail(Call::Put, 1..=1, When::After, Failure::Lost);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
    crashed: Arc<Notify>,
    stopped: Arc<Notify>,
    going_on: Arc<Notify>,
}

impl Faults {
    /// No faults yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts these faults before an object store.
    #[must_use]
    pub fn wrap(&self, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(FaultStore { inner, faults: self.clone() })
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates overwrite from now on, as they do on stores that do not know the condition.
    pub fn ignore_conditions(&self) -> &Self {
        self.plan().ignore_conditions = true;
        self
    }

    /// Lets the calls with these numbers fail; counting begins at 1 with the first call of that kind.
    pub fn fail(&self, call: Call, numbers: RangeInclusive<usize>, when: When, failure: Failure) -> &Self {
        self.plan().rules.push(Rule { call, numbers, when, failure });
        self
    }

    /// Lets all calls of a kind fail.
    pub fn fail_all(&self, call: Call, failure: Failure) -> &Self {
        self.fail(call, 1..=usize::MAX, When::Before, failure)
    }

    /// Answers to reading `name` have one bit of this byte flipped.
    pub fn flip_bit(&self, name: &str, byte: u64) -> &Self {
        self.plan().damages.push((name.into(), Damage::Flip { byte }));
        self
    }

    /// Answers to reading `name` end at this byte, although its length is told as it is.
    pub fn cut_answers(&self, name: &str, length: u64) -> &Self {
        self.plan().damages.push((name.into(), Damage::Truncate { length }));
        self
    }

    /// Each put reaches the store twice from now on, as a network or a proxy that repeats requests makes it; the second answer is the one
    /// that comes back.
    pub fn put_twice(&self) -> &Self {
        self.plan().twice = true;
        self
    }

    /// Calls of a kind take this long before anything happens.
    pub fn delay(&self, call: Call, time: Duration) -> &Self {
        self.plan().delays.insert(call, time);
        self
    }

    /// The puts with these numbers are answered as lost at once and reach the store only before the call that comes `calls` calls later:
    /// behind whatever was sent meanwhile.
    pub fn put_late(&self, numbers: RangeInclusive<usize>, calls: usize) -> &Self {
        self.plan().lateness = Some((numbers, calls));
        self
    }

    /// Listings show the store as it is now, until [`clear`](Self::clear): what this store's users create does not appear in them, and what
    /// they delete does not go.
    pub fn freeze_listings(&self) -> &Self {
        self.plan().lag.get_or_insert_default();
        self
    }

    /// Lets another writer be faster: just before the next create of `name`, an object of that name appears with these bytes.
    pub fn beat(&self, name: &str, bytes: impl Into<Bytes>) -> &Self {
        self.plan().rivals.insert(name.into(), bytes.into());
        self
    }

    /// Lets another writer come between: right after the create with this number, which is told with its name and its bytes, it stores an object of
    /// its own, whatever has that name.
    pub fn intrude(
        &self,
        number: usize,
        object: impl FnOnce(&str, &Bytes) -> (String, Bytes) + Send + 'static,
    ) -> &Self {
        let object = |name: &str, bytes: &Bytes| {
            let (name, bytes) = object(name, bytes);
            (name, Some(bytes))
        };
        self.plan().intruders.push((number, Intruder(Box::new(object))));
        self
    }

    /// Lets somebody else delete an object right after the create with this number, which is told with its name.
    pub fn erase(&self, number: usize, other: impl FnOnce(&str) -> String + Send + 'static) -> &Self {
        self.plan().intruders.push((number, Intruder(Box::new(|name, _| (other(name), None)))));
        self
    }

    /// Lets the process end at this call of whatever kind, counted from 1 from now on: before it took effect, or after that and before its
    /// answer. It and every later call stay without an answer; whoever plays the process waits for [`crashed`](Self::crashed) and drops it.
    pub fn crash_at(&self, number: usize, when: When) -> &Self {
        let mut plan = self.plan();
        plan.all = 0;
        plan.crash = Some((number, when));
        drop(plan);
        self
    }

    /// Waits until the process has ended.
    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    /// Lets this call of whatever kind wait, counted from 1 from now on, before it takes effect or after that and before its answer: somebody else comes
    /// between there. Whoever plays that one waits for [`stopped`](Self::stopped), and says in the end to [`go on`](Self::go_on).
    pub fn stop_at(&self, number: usize, when: When) -> &Self {
        let mut plan = self.plan();
        plan.all = 0;
        plan.stop = Some((number, when));
        drop(plan);
        self
    }

    /// Waits until the call waits.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Lets the call that waits go on.
    pub fn go_on(&self) {
        self.going_on.notify_one();
    }

    async fn stop(&self) {
        self.stopped.notify_one();
        self.going_on.notified().await;
    }

    /// Whether the call that was counted last is the one that waits.
    fn stops(&self) -> Option<When> {
        let mut plan = self.plan();
        let all = plan.all;
        plan.stop.take_if(|(number, _)| *number == all).map(|(_, when)| when)
    }

    /// Calls of all kinds since [`crash_at`](Self::crash_at), or since the beginning.
    #[must_use]
    pub fn all_calls(&self) -> usize {
        self.plan().all
    }

    /// Takes all faults away; counting goes on.
    pub fn clear(&self) -> &Self {
        let mut plan = self.plan();
        plan.rules.clear();
        plan.damages.clear();
        plan.ignore_conditions = false;
        plan.twice = false;
        plan.delays.clear();
        plan.lateness = None;
        plan.lag = None;
        plan.crash = None;
        plan.stop = None;
        drop(plan);
        self
    }

    /// How many calls of a kind there were, those that failed included.
    #[must_use]
    pub fn calls(&self, call: Call) -> usize {
        self.plan().calls.get(&call).copied().unwrap_or_default()
    }

    fn next(&self, call: Call) -> Option<(When, Failure)> {
        let mut plan = self.plan();
        plan.all += 1;
        match plan.crash {
            Some((at, when)) if plan.all == at => return Some((when, Failure::Crashes)),
            Some((at, _)) if plan.all > at => return Some((When::Before, Failure::Hangs)),
            _ => {}
        }
        let number = plan.calls.entry(call).or_default();
        *number += 1;
        let number = *number;
        plan.rules
            .iter()
            .find(|rule| rule.call == call && rule.numbers.contains(&number))
            .map(|rule| (rule.when, rule.failure))
    }

    fn intruder(&self) -> Option<Intruder> {
        let mut plan = self.plan();
        let puts = plan.calls.get(&Call::Put).copied().unwrap_or_default();
        let at = plan.intruders.iter().position(|(number, _)| *number == puts)?;
        Some(plan.intruders.swap_remove(at).1)
    }

    fn damage(&self, location: &Path, range_start: u64, bytes: &Bytes) -> Bytes {
        let plan = self.plan();
        let mut bytes = bytes.to_vec();
        for (name, damage) in &plan.damages {
            if location.filename() != Some(name) {
                continue;
            }
            match *damage {
                Damage::Flip { byte } => {
                    if let Some(target) =
                        byte.checked_sub(range_start).and_then(|offset| bytes.get_mut(offset as usize))
                    {
                        *target ^= 1;
                    }
                }
                Damage::Truncate { length } => {
                    bytes.truncate(length.saturating_sub(range_start) as usize);
                }
            }
        }
        bytes.into()
    }
}

#[derive(Debug)]
struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl std::fmt::Display for FaultStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

impl FaultStore {
    /// What was late and is due arrives now. Nobody hears its answer.
    async fn arrive(&self) {
        let due: Vec<Late> = {
            let mut plan = self.faults.plan();
            let now = plan.all;
            plan.late.extract_if(.., |late| late.due <= now).collect()
        };
        for Late { location, payload, options, .. } in due {
            let _ = self.inner.put_opts(&location, payload, options).await;
        }
    }

    /// Whether this put is to come late; then it is on its way.
    fn is_late(&self, location: &Path, payload: &PutPayload, options: &PutOptions) -> bool {
        let mut plan = self.faults.plan();
        let number = plan.calls.get(&Call::Put).copied().unwrap_or_default() + 1;
        let Some(calls) =
            plan.lateness.as_ref().filter(|(numbers, _)| numbers.contains(&number)).map(|(_, calls)| *calls)
        else {
            return false;
        };
        let due = plan.all + calls;
        plan.late.push(Late { due, location: location.clone(), payload: payload.clone(), options: options.clone() });
        true
    }

    async fn with_faults<T>(&self, call: Call, location: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.arrive().await;
        let delay = self.faults.plan().delays.get(&call).copied();
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        let next = self.faults.next(call);
        let stops = self.faults.stops();
        if stops == Some(When::Before) {
            self.faults.stop().await;
        }
        match next {
            None => {
                let answer = work.await;
                if stops == Some(When::After) {
                    self.faults.stop().await;
                }
                answer
            }
            Some((When::Before, failure)) => Err(failure.happen(location, &self.faults).await),
            Some((When::After, failure)) => {
                let _ = work.await;
                Err(failure.happen(location, &self.faults).await)
            }
        }
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let rival = location.filename().and_then(|name| self.faults.plan().rivals.remove(name));
        if let Some(bytes) = rival {
            self.inner.put_opts(location, bytes.into(), PutOptions::default()).await?;
        }
        if self.faults.plan().ignore_conditions {
            options.mode = PutMode::Overwrite;
        }
        if self.is_late(location, &payload, &options) {
            let nothing = async { Ok(()) };
            self.with_faults(Call::Put, location.as_ref(), nothing).await?;
            return Err(Failure::Lost.happen(location.as_ref(), &self.faults).await);
        }
        let bytes: Bytes = payload.iter().flatten().copied().collect();
        let twice = self.faults.plan().twice;
        let work = async {
            if twice {
                let _ = self.inner.put_opts(location, payload.clone(), options.clone()).await;
            }
            self.inner.put_opts(location, payload, options).await
        };
        let answer = self.with_faults(Call::Put, location.as_ref(), work).await;
        if let Some(lag) = &mut self.faults.plan().lag
            && answer.is_ok()
        {
            lag.created.insert(location.clone());
        }
        if let Some(Intruder(object)) = self.faults.intruder() {
            let name = location.filename().unwrap_or_default();
            let (other, bytes) = object(name, &bytes);
            let folder = location.as_ref().strip_suffix(name).unwrap_or_default();
            let other = Path::from(format!("{folder}{other}"));
            match bytes {
                Some(bytes) => drop(self.inner.put_opts(&other, bytes.into(), PutOptions::default()).await?),
                None => self.inner.delete(&other).await?,
            }
        }
        answer
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let call = if options.head { Call::Head } else { Call::Get };
        let answer = self.with_faults(call, location.as_ref(), self.inner.get_opts(location, options)).await?;
        if call == Call::Head {
            return Ok(answer);
        }
        let (meta, range) = (answer.meta.clone(), answer.range.clone());
        let (attributes, extensions) = (answer.attributes.clone(), answer.extensions.clone());
        let bytes = self.faults.damage(location, range.start, &answer.bytes().await?);
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = Self { inner: Arc::clone(&self.inner), faults: self.faults.clone() };
        let this = Arc::new(this);
        locations
            .then(move |location| {
                let this = Arc::clone(&this);
                async move {
                    let location = location?;
                    let before = object_store::ObjectStoreExt::head(&this.inner, &location).await.ok();
                    let delete = object_store::ObjectStoreExt::delete(&this.inner, &location);
                    this.with_faults(Call::Delete, location.as_ref(), delete).await?;
                    if let Some(lag) = &mut this.faults.plan().lag
                        && !lag.created.remove(&location)
                    {
                        lag.deleted.extend(before);
                    }
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let this = Self { inner: Arc::clone(&self.inner), faults: self.faults.clone() };
        let prefix = prefix.cloned();
        stream::once(async move {
            this.with_faults(Call::List, "listing", async { Ok(()) }).await?;
            let listed = this.inner.list(prefix.as_ref());
            let plan = this.faults.plan();
            let (created, deleted) =
                plan.lag.as_ref().map(|lag| (lag.created.clone(), lag.deleted.clone())).unwrap_or_default();
            let shown = listed.try_filter(move |object| std::future::ready(!created.contains(&object.location)));
            let ghosts = deleted
                .into_iter()
                .filter(move |object| prefix.as_ref().is_none_or(|prefix| object.location.prefix_matches(prefix)));
            Ok::<_, Error>(shown.chain(stream::iter(ghosts.map(Ok).collect::<Vec<_>>())))
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.with_faults(Call::List, "listing", self.inner.list_with_delimiter(prefix)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
