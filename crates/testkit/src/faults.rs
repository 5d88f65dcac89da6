//! Faults between a store and its object store, for tests that need no network: calls that fail before or after they took effect, answers that
//! are too short or wrong, conditions that are ignored.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
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

/// From the name of an object and its bytes to those of another writer's object.
struct Intruder(Box<dyn FnOnce(&str, &Bytes) -> (String, Bytes) + Send>);

impl std::fmt::Debug for Intruder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Intruder")
    }
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
    /// Calls of all kinds, and the one of them at which the process ends.
    all: usize,
    crash: Option<(usize, When)>,
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
        self.plan().intruders.push((number, Intruder(Box::new(object))));
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
        plan.crash = None;
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
    async fn with_faults<T>(&self, call: Call, location: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.faults.next(call) {
            None => work.await,
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
        let bytes: Bytes = payload.iter().flatten().copied().collect();
        let answer =
            self.with_faults(Call::Put, location.as_ref(), self.inner.put_opts(location, payload, options)).await;
        if let Some(Intruder(object)) = self.faults.intruder() {
            let name = location.filename().unwrap_or_default();
            let (other, bytes) = object(name, &bytes);
            let folder = location.as_ref().strip_suffix(name).unwrap_or_default();
            self.inner.put_opts(&Path::from(format!("{folder}{other}")), bytes.into(), PutOptions::default()).await?;
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
                    let delete = object_store::ObjectStoreExt::delete(&this.inner, &location);
                    this.with_faults(Call::Delete, location.as_ref(), delete).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.faults.next(Call::List) {
            None => self.inner.list(prefix),
            Some((_, failure)) => {
                let faults = self.faults.clone();
                stream::once(async move { Err(failure.happen("listing", &faults).await) }).boxed()
            }
        }
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
