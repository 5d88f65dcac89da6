//! `check`: whether a store keeps what Backstay relies on, found out by trying. What is written for it is deleted again; the large object comes
//! only after a small one could be deleted, so that a credential that may not delete leaves a few bytes, which `gc` finds later.

use std::time::{Duration, Instant};

use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;
use backstay_store::{ObjectLock, RetryOptions, Setting, Store};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::gc::PROBE;

/// Bytes of the object that throughput is measured with.
const LARGE: usize = 4 << 20;
/// Milliseconds that clocks may differ before it is worth a word. Signatures hold for minutes; what is old or fresh is said in hours.
const CLOCK: i64 = 60_000;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It cannot be told, or does not apply.
    Unknown,
    /// Something should be done: about the store, or with another credential.
    Warning,
    /// Backups do not work here.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What: a word that stays the same.
    pub what: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// In words.
    pub text: String,
    /// The code of what a backup would fail with.
    pub code: Option<&'static str>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything that was looked at.
    pub items: Vec<Item>,
    /// How long a small object takes to be created.
    pub latency: Option<Duration>,
    /// Bytes a second, sent in one request.
    pub upload: Option<u64>,
    /// Bytes a second, fetched in one request.
    pub download: Option<u64>,
    /// Milliseconds that the store's clock is ahead of this machine's, to within a second.
    pub clock_offset: Option<i64>,
    /// Objects that could not be deleted again.
    pub left: Vec<String>,
}

impl Report {
    /// The worst of all.
    pub fn verdict(&self) -> Verdict {
        self.items.iter().map(|item| item.verdict).max().unwrap_or(Verdict::Good)
    }

    fn add(&mut self, what: &'static str, verdict: Verdict, text: impl Into<String>) {
        self.items.push(Item { what, verdict, text: text.into(), code: None });
    }
}

/// Whether the store said no to the credential, and would say so to this operation again.
fn is_refusal(error: &backstay_store::Error) -> bool {
    use backstay_store::Error as StoreError;
    matches!(error, StoreError::Denied { .. } | StoreError::Locked { .. })
}

/// Looks at a store.
///
/// # Errors
/// `store.*` and `usage.credentials` when it cannot be reached at all. What it cannot do is in the report.
pub async fn check(store: &Store, context: &Context) -> Result<Report> {
    let mut report = Report::default();
    let new_objects = store.takes_new_objects();
    let store = &store.for_passing_objects();
    match new_objects {
        Ok(()) => {}
        Err(error) => {
            let (text, code) = (error.to_string(), Some(error.code()));
            report.items.push(Item { what: "options", verdict: Verdict::Bad, text, code });
        }
    }
    let listing = list(store, &mut report).await?;
    if context.interrupt.is_set() {
        return Err(Error::Interrupted { left: "nothing was changed".to_owned() });
    }
    if listing != Listing::NoStore {
        let name = format!("{PROBE}{}", to_hex(&context.random::<16>()));
        Probe { store, name, context, listing, report: &mut report }.run().await?;
    }
    settings(store, &mut report).await?;
    clock(store, &mut report);
    Ok(report)
}

/// What became of the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    Allowed,
    Refused,
    /// There is nothing to list or to write to: a directory is made by the first backup.
    NoStore,
}

/// Objects that are listed, of one page: so many tell whether the store lists them in their order.
const LISTED: usize = 100;

/// Asks for the listing.
async fn list(store: &Store, report: &mut Report) -> Result<Listing> {
    let beginning: std::result::Result<Vec<_>, _> = store.list("", None).take(LISTED).try_collect().await;
    match beginning {
        Ok(_) => report.add("list", Verdict::Good, "allowed"),
        Err(error @ backstay_store::Error::Unordered { .. }) => {
            let (text, code) = (error.to_string(), Some(error.code()));
            report.items.push(Item { what: "list", verdict: Verdict::Bad, text, code });
        }
        Err(backstay_store::Error::StoreMissing { what, .. }) if store.is_local() => {
            report.add("list", Verdict::Unknown, format!("{what} is not there yet: the first backup makes it"));
            return Ok(Listing::NoStore);
        }
        Err(error) if is_refusal(&error) => {
            report.add(
                "list",
                Verdict::Unknown,
                "this credential may not list; a backup goes without, everything else needs it",
            );
            return Ok(Listing::Refused);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Listing::Allowed)
}

/// The objects that are written to see what happens.
struct Probe<'a> {
    store: &'a Store,
    name: String,
    context: &'a Context,
    listing: Listing,
    report: &'a mut Report,
}

impl Probe<'_> {
    async fn run(&mut self) -> Result<()> {
        let (first, second) = (Bytes::from_static(b"backstay probe 1\n"), Bytes::from_static(b"backstay probe 2\n"));
        let begun = Instant::now();
        let digest = sha256(&first);
        match self.store.create(&self.name, first.clone(), digest).await {
            Ok(_) => self.report.add("create", Verdict::Good, "allowed"),
            // Neither the one nor the other: whoever this is, the store does not know it.
            Err(error) if self.listing == Listing::Refused => return Err(error.into()),
            Err(error) if is_refusal(&error) => {
                // Right for a reader's credential, which may be checked on purpose; but nobody is to take it for one that makes backups.
                self.report.items.push(Item {
                    what: "create",
                    verdict: Verdict::Warning,
                    text: "this credential may not create objects, so that no backup is made with it".to_owned(),
                    code: Some(error.code()),
                });
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.report.latency = Some(begun.elapsed());
        // From here on something is to be deleted, whatever happens.
        let tried = self.try_out(&first, second).await;
        let deleted = self.delete(&self.name.clone()).await;
        tried?;
        if deleted? {
            self.report.add(
                "delete",
                Verdict::Good,
                "allowed: keep such a credential off the machines that make backups",
            );
            self.throughput().await?;
        }
        Ok(())
    }

    async fn try_out(&mut self, first: &Bytes, second: Bytes) -> Result<()> {
        let digest = sha256(&second);
        if self.store.overwrites(&self.name, second, digest).await? {
            // A backup can do without if it can look: it compares what is under its id.
            let looks = self.listing == Listing::Allowed && self.store.get(&self.name, 64).await.is_ok();
            self.report.items.push(Item {
                what: "conditional-create",
                verdict: if looks { Verdict::Warning } else { Verdict::Bad },
                text: "the store accepts the condition of a create and overwrites all the same".to_owned(),
                code: Some("store.condition-ignored"),
            });
        } else {
            self.report.add("conditional-create", Verdict::Good, "kept: what exists is not overwritten");
        }
        match self.store.get(&self.name, 64).await {
            Ok(Some(found)) if found == *first => self.report.add("read", Verdict::Good, "allowed"),
            // An overwritten object was told of already.
            Ok(Some(_)) => {}
            Ok(None) => self.report.add("read", Verdict::Warning, "an object that was just created is not there"),
            Err(error) if is_refusal(&error) => {
                self.report.add(
                    "read",
                    Verdict::Unknown,
                    "this credential may not read, as is right for one that only makes backups",
                );
            }
            Err(error) => return Err(error.into()),
        }
        self.checksum().await
    }

    /// Sends bytes with the digest of others.
    async fn checksum(&mut self) -> Result<()> {
        const WHAT: &str = "checksum";
        if !self.store.sends_digests() {
            self.report.add(
                WHAT,
                Verdict::Unknown,
                "no digest goes with what is sent here; `backstay verify` compares what is stored",
            );
            return Ok(());
        }
        let name = format!("{}-wrong", self.name);
        // Once: servers call a wrong digest by many names, some of them as if it might pass.
        let once = self.store.clone().with_retry(RetryOptions::never());
        let created = once.create(&name, Bytes::from_static(b"not these bytes\n"), sha256(b"but these\n")).await;
        let error = created.err();
        let stored = match (&error, self.store.head(&name).await) {
            (None, _) => true,
            (Some(_), Ok(found)) => found.is_some(),
            (Some(error), Err(hidden)) if is_refusal(&hidden) && !error.is_retryable() => false,
            (Some(error), Err(_)) => {
                self.report.add(WHAT, Verdict::Unknown, format!("cannot be told: {error}"));
                return Ok(());
            }
        };
        if stored {
            self.delete(&name).await?;
            self.report.add(
                WHAT,
                Verdict::Warning,
                "the store does not compare what it gets with the digest that goes with it: verify backups with --depth full",
            );
        } else {
            self.report.add(WHAT, Verdict::Good, "verified: bytes that do not match their digest are refused");
        }
        Ok(())
    }

    /// Deletes one of our objects; `false` if that is not allowed.
    async fn delete(&mut self, name: &str) -> Result<bool> {
        match self.store.delete(name).await {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => {
                self.report.left.push(name.to_owned());
                let text = match error {
                    backstay_store::Error::Locked { .. } => "a lock holds new objects",
                    _ => "this credential may not delete, as is right for one that only makes backups",
                };
                if !self.report.items.iter().any(|item| item.what == "delete") {
                    self.report.add("delete", Verdict::Unknown, text);
                }
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn throughput(&mut self) -> Result<()> {
        let name = format!("{}-large", self.name);
        let mut body = vec![0; LARGE];
        self.context.fill(&mut body);
        let (body, digest) = (Bytes::from(body.clone()), sha256(&body));
        let begun = Instant::now();
        self.store.create(&name, body.clone(), digest).await?;
        self.report.upload = Some(rate(begun.elapsed()));
        let begun = Instant::now();
        let fetched = self.store.get(&name, LARGE as u64).await;
        let elapsed = begun.elapsed();
        self.delete(&name).await?;
        match fetched {
            Ok(Some(found)) if found == body => self.report.download = Some(rate(elapsed)),
            Ok(_) => self.report.add("read-back", Verdict::Bad, "an object comes back with other bytes than were sent"),
            Err(error) if is_refusal(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Bytes a second of the large object.
fn rate(elapsed: Duration) -> u64 {
    let bytes = LARGE as u128 * 1_000_000_000 / elapsed.as_nanos().max(1);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

async fn settings(store: &Store, report: &mut Report) -> Result<()> {
    let Some(settings) = store.bucket_settings().await? else {
        let (verdict, text) = match store.is_local() {
            true => (Verdict::Unknown, "a directory has none: whoever may write to it may delete"),
            false => (Verdict::Unknown, "cannot be told here: see the bucket's or container's own page"),
        };
        for what in ["versioning", "object-lock", "lifecycle"] {
            report.add(what, verdict, text);
        }
        return Ok(());
    };
    match settings.versioning {
        Setting::Is(true) => report.add("versioning", Verdict::Good, "on: what is deleted stays as an old version"),
        Setting::Is(false) => report.add("versioning", Verdict::Unknown, "off: what is deleted is gone"),
        Setting::Unknown(why) => report.add("versioning", Verdict::Unknown, format!("cannot be told: {why}")),
    }
    match settings.lock {
        Setting::Is(ObjectLock::Off) => {
            report.add("object-lock", Verdict::Unknown, "off: --lock-mode would be refused");
        }
        Setting::Is(ObjectLock::On) => {
            report.add("object-lock", Verdict::Good, "on: objects are locked that are created with --lock-mode");
        }
        Setting::Is(ObjectLock::Default(how)) => {
            report.add("object-lock", Verdict::Good, format!("on, and for every new object: {how}"));
        }
        Setting::Unknown(why) => report.add("object-lock", Verdict::Unknown, format!("cannot be told: {why}")),
    }
    match settings.lifecycle {
        Setting::Is(rules) if rules.is_empty() => {
            report.add("lifecycle", Verdict::Good, "no rule takes objects of this store away");
        }
        Setting::Is(rules) => {
            for rule in rules {
                report.add("lifecycle", Verdict::Warning, rule);
            }
        }
        Setting::Unknown(why) => report.add("lifecycle", Verdict::Unknown, format!("cannot be told: {why}")),
    }
    Ok(())
}

fn clock(store: &Store, report: &mut Report) {
    report.clock_offset = store.clock_offset();
    match report.clock_offset {
        None => report.add("clock", Verdict::Unknown, "the store has no clock of its own"),
        Some(offset) if offset.abs() < CLOCK => report.add("clock", Verdict::Good, "agrees with the store's"),
        Some(offset) => {
            let side = if offset > 0 { "behind" } else { "ahead of" };
            let text = format!("this machine's is {} s {side} the store's", offset.abs() / 1000);
            report.add("clock", Verdict::Warning, text);
        }
    }
}
