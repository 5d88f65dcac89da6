//! Where a backup goes: one store, or two in one pass. A part is in memory once and is sent to both at the same time; it counts as
//! stored when each store that is still in the run has it.
//!
//! A store that fails leaves the run, and nothing waits for it any more: what it has is no archive there, since no manifest
//! follows. Until its retries are used up it holds the other one back, as a slow store does throughout: what is not stored
//! yet stays in memory, and that is bounded. An id that somebody else uses in one of the stores ends the run in both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use backstay_format::ArchiveId;
use backstay_format::manifest::PartEntry;
use backstay_format::text::to_hex;
use backstay_store::{Created, Error as StoreError, Store};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use tokio::sync::watch;

use crate::claim::{self, Ours};
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::observe::{Event, Observer};
use crate::place;

/// A second store for the same archive.
#[derive(Debug, Clone)]
pub struct Also {
    /// The store.
    pub store: Store,
    /// Whether a backup without it is a failure; else it is one that is in a single store.
    pub required: bool,
}

/// A store that does not have the archive, although it was to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Its URL.
    pub store: String,
    /// The code of what went wrong there.
    pub code: &'static str,
    /// What went wrong there.
    pub why: String,
}

/// The stores of one run.
#[derive(Clone)]
pub(crate) struct Destinations {
    each: Arc<Vec<Destination>>,
    /// The run fails as soon as one of them does.
    all: bool,
    observer: Arc<dyn Observer>,
}

struct Destination {
    store: Store,
    /// Why it left the run.
    fault: Mutex<Option<Error>>,
    out: watch::Sender<bool>,
    /// It takes conditions and overwrites all the same.
    overwrites: AtomicBool,
}

impl Destination {
    fn new(store: &Store) -> Destination {
        let (fault, out, overwrites) = (Mutex::default(), watch::Sender::new(false), AtomicBool::new(false));
        Destination { store: store.clone(), fault, out, overwrites }
    }

    fn is_out(&self) -> bool {
        *self.out.borrow()
    }

    /// Waits until the store has left the run.
    async fn left(&self) {
        let mut out = self.out.subscribe();
        // The sender lives as long as this.
        let _ = out.wait_for(|out| *out).await;
    }

    fn fault(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destinations {
    pub(crate) fn new(first: &Store, also: Option<&Also>, observer: &Arc<dyn Observer>) -> Destinations {
        let each = std::iter::once(first).chain(also.map(|also| &also.store)).map(Destination::new).collect();
        let all = also.is_none_or(|also| also.required);
        Destinations { each: Arc::new(each), all, observer: Arc::clone(observer) }
    }

    /// Every store, also those that have left.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &Store> {
        self.each.iter().map(|destination| &destination.store)
    }

    /// Creates an object in every store that is still in the run.
    ///
    /// # Errors
    /// When no store is left, when all are required, or when somebody else has the name.
    pub(crate) async fn create(&self, name: &str, body: &Bytes, sha256: [u8; 32], probe: bool) -> Result<Created> {
        let sends = self.each.iter().map(|destination| async move {
            let send = async {
                match probe {
                    true => destination.store.create_probing(name, body.clone(), sha256).await,
                    false => destination.store.create(name, body.clone(), sha256).await,
                }
            };
            self.of_one(destination, async { Ok(send.await?) }).await
        });
        self.merged(try_join_all(sends).await?)
    }

    /// Creates part 0 in every store that is still in the run, and with it takes the id. A store that overwrites although it is asked not to
    /// is accounted for from here on.
    ///
    /// # Errors
    /// Those of [`Destinations::create`], and `usage.arguments` when both stores are one under two names.
    pub(crate) async fn claim(
        &self,
        id: &ArchiveId,
        keyboxes: &[Ours],
        part: Ours,
        body: &Bytes,
        cpu: &Cpu,
    ) -> Result<Created> {
        let part = &part;
        let claims = self.each.iter().map(|destination| async move {
            let claim = async {
                let store = &destination.store;
                if !store.keeps_conditions() {
                    claim::unclaimed(store, id, keyboxes).await?;
                }
                match store.create_probing(&part.name, body.clone(), part.sha256).await {
                    Err(StoreError::ConditionIgnored { .. }) => {
                        let ours: Vec<Ours> = keyboxes.iter().chain([part]).cloned().collect();
                        claim::exactly_ours(store, id, &ours, cpu).await?;
                        destination.overwrites.store(true, Ordering::Relaxed);
                        self.warn_of_overwriting(store);
                        Ok(Created::New)
                    }
                    created => Ok(created?),
                }
            };
            // A name that is taken may be so by the other store, if both are one.
            match self.of_one(destination, claim).await {
                Err(error @ Error::Store(StoreError::NameTaken { .. })) => Ok(Err(error)),
                Err(error) => Err(error),
                Ok(created) => Ok(Ok(created)),
            }
        });
        let claims: Vec<Result<Option<Created>>> = try_join_all(claims).await?;
        self.demand_two_places(part, &claims).await?;
        self.merged(claims.into_iter().collect::<Result<_>>()?)
    }

    /// Two stores that each took part 0 anew, and keep conditions, are two. Otherwise it is tried.
    async fn demand_two_places(&self, part: &Ours, claims: &[Result<Option<Created>>]) -> Result<()> {
        let [first, second] = &self.each[..] else { return Ok(()) };
        let is_doubted = |(destination, claim): (&Destination, &Result<Option<Created>>)| match claim {
            Ok(Some(Created::New)) => destination.overwrites.load(Ordering::Relaxed),
            Ok(Some(_)) | Err(_) => true,
            Ok(None) => false,
        };
        // No other run has this part: its first line holds our id.
        let mark = to_hex(&part.sha256[..16]);
        if self.each.iter().zip(claims).any(is_doubted)
            && place::tried(&first.store, &second.store, &mark).await == Some(true)
        {
            let (first, second) = (first.store.url().to_owned(), second.store.url().to_owned());
            return Err(Error::OnePlace { first, second });
        }
        Ok(())
    }

    fn warn_of_overwriting(&self, store: &Store) {
        let store = store.url();
        let text = format!(
            "{store} overwrites objects although it is asked not to: this backup relies on its id and on listings, and accounts for every part before it commits"
        );
        self.observer.event(&Event::Warning { code: Some("store.condition-ignored"), text });
    }

    /// Before the commit: in every store that is still in the run, nothing but ours carries the id.
    pub(crate) async fn hold_it_alone(
        &self,
        id: &ArchiveId,
        keyboxes: &[Ours],
        entries: &[PartEntry],
        single: bool,
        cpu: &Cpu,
    ) -> Result<()> {
        let checks = self.each.iter().map(|destination| async move {
            let check = async {
                match destination.overwrites.load(Ordering::Relaxed) {
                    true => {
                        let ours = claim::stored(id, keyboxes, entries);
                        claim::exactly_ours(&destination.store, id, &ours, cpu).await
                    }
                    false => {
                        let keyboxes = u32::try_from(keyboxes.len()).unwrap_or(u32::MAX);
                        claim::nothing_else_is_named(&destination.store, id, entries, single, keyboxes, false).await
                    }
                }
            };
            self.of_one(destination, check).await
        });
        if try_join_all(checks).await?.iter().any(Option::is_some) { Ok(()) } else { Err(nobody_left()) }
    }

    /// Creates the manifest. What one store answers does not keep the other from its answer: both know what they have then.
    pub(crate) async fn commit(&self, id: &ArchiveId, bytes: &Bytes, sha256: [u8; 32], cpu: &Cpu) -> Result<Created> {
        let ours = Ours { name: id.manifest(), size: bytes.len() as u64, sha256 };
        let ours = &ours;
        let answers = join_all(self.each.iter().map(|destination| async move {
            let create = async {
                let created = destination.store.create(&ours.name, bytes.clone(), sha256).await?;
                if destination.overwrites.load(Ordering::Relaxed) {
                    claim::still_ours(&destination.store, ours, cpu).await?;
                }
                Ok(created)
            };
            self.of_one(destination, create).await
        }))
        .await;
        if answers.iter().any(Result::is_err) {
            for (destination, _) in self.each.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Ok(Some(_)))) {
                let text = format!("{id} is committed in {} all the same", destination.store.url());
                self.observer.event(&Event::Note { text });
            }
        }
        self.merged(answers.into_iter().collect::<Result<_>>()?)
    }

    /// The outcome in one store; `None` when it is out.
    async fn of_one<T>(&self, destination: &Destination, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        if destination.is_out() {
            return Ok(None);
        }
        let done = tokio::select! {
            biased;
            done = work => done,
            () = destination.left() => return Ok(None),
        };
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if self.all || matches!(error, Error::Store(StoreError::NameTaken { .. })) => Err(error),
            Err(error) => {
                self.leaves(destination, error);
                Ok(None)
            }
        }
    }

    fn leaves(&self, destination: &Destination, error: Error) {
        let mut fault = destination.fault();
        if fault.is_some() {
            return;
        }
        let (code, why) = (error.code(), error.to_string());
        *fault = Some(error);
        drop(fault);
        destination.out.send_replace(true);
        if let Some(left) = self.each.iter().find(|destination| !destination.is_out()) {
            let text = format!("{why}; the backup goes on with {} alone", left.store.url());
            self.observer.event(&Event::Warning { code: Some(code), text });
        }
    }

    fn merged(&self, answers: Vec<Option<Created>>) -> Result<Created> {
        let mut merged = None;
        for created in answers.into_iter().flatten() {
            merged = match (merged, created) {
                (Some(Created::Unconfirmed), _) | (_, Created::Unconfirmed) => Some(Created::Unconfirmed),
                (Some(Created::Confirmed), _) => Some(Created::Confirmed),
                _ => Some(created),
            };
        }
        merged.ok_or_else(nobody_left)
    }

    /// What the run failed with: when no store is left, that is the fault of the first of them, and the other's is told.
    pub(crate) fn verdict(&self, error: Error) -> Error {
        if self.each.iter().any(|destination| !destination.is_out()) {
            return error;
        }
        let mut faults = self.each.iter().filter_map(|destination| destination.fault().take());
        let first = faults.next();
        for fault in faults {
            self.observer.event(&Event::Warning { code: Some(fault.code()), text: fault.to_string() });
        }
        first.unwrap_or(error)
    }

    /// The stores that have left.
    pub(crate) fn missed(&self) -> Vec<Missed> {
        let missed = |destination: &Destination| {
            let fault = destination.fault();
            fault.as_ref().map(|error| Missed {
                store: destination.store.url().to_owned(),
                code: error.code(),
                why: error.to_string(),
            })
        };
        self.each.iter().filter_map(missed).collect()
    }
}

/// Stands for the stores' own faults, which [`Destinations::verdict`] puts in its place.
fn nobody_left() -> Error {
    Error::Internal { why: "no store is left".to_owned() }
}
