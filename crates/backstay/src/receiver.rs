//! The store that objects are copied to. Two copies of an archive are the same bytes and do each other no harm, but a name may stand for another
//! archive's object, which must stay.
//!
//! A store that keeps conditions sees to that by itself. One that takes the condition and overwrites has to be watched: each name is looked at
//! before something is sent, and before the manifest every object is accounted for. Which kind it is tells the first object that is sent, which is
//! sent twice.

use std::sync::Arc;

use backstay_format::ArchiveId;
use backstay_store::{Error as StoreError, ObjectInfo, Store};
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::claim::{self, Ours};
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::observe::{Event, Observer};

/// The store, and what is known of it.
pub(crate) struct Receiver {
    store: Store,
    cpu: Cpu,
    observer: Arc<dyn Observer>,
    /// Whether it keeps conditions, once that is known. Who finds it out holds this meanwhile, so that nothing else is sent.
    keeps: Mutex<Option<bool>>,
}

/// What stands under a name before anything is sent.
pub(crate) enum Seen {
    /// Nothing.
    Nothing,
    /// An object.
    Object(ObjectInfo),
    /// The credentials do not allow to look.
    Unseen,
}

impl Receiver {
    pub(crate) fn new(store: &Store, cpu: &Cpu, observer: &Arc<dyn Observer>) -> Receiver {
        let keeps = match (store.keeps_conditions(), store.is_known_to_overwrite()) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        Receiver { store: store.clone(), cpu: cpu.clone(), observer: Arc::clone(observer), keeps: Mutex::new(keeps) }
    }

    /// Looks at a name.
    pub(crate) async fn look(&self, name: &str) -> Result<Seen> {
        match self.store.head(name).await {
            // The first object makes the directory.
            Err(StoreError::StoreMissing { .. }) if self.store.is_local() => Ok(Seen::Nothing),
            // Whoever may only write finds out what is there by writing.
            Err(StoreError::Denied { .. }) => Ok(Seen::Unseen),
            Err(error) => Err(error.into()),
            Ok(None) => Ok(Seen::Nothing),
            Ok(Some(object)) => Ok(Seen::Object(object)),
        }
    }

    /// Whether the object is there already.
    ///
    /// # Errors
    /// `name.taken` when it is another one.
    pub(crate) async fn has(&self, seen: &Seen, ours: &Ours) -> Result<bool> {
        let Seen::Object(object) = seen else { return Ok(false) };
        if claim::digest_of_kept(&self.store, object, ours, &self.cpu).await? == Some(ours.sha256) {
            return Ok(true);
        }
        Err(self.differs(&ours.name))
    }

    /// Creates an object under a name that was looked at.
    ///
    /// # Errors
    /// `name.taken`; `store.condition-ignored` for a store that overwrites, where the credentials do not allow to look.
    pub(crate) async fn send(&self, ours: &Ours, bytes: Bytes, seen: &Seen) -> Result<()> {
        let mut keeps = self.keeps.lock().await;
        let created = match *keeps {
            Some(keeps_conditions) => {
                drop(keeps);
                if !keeps_conditions && matches!(seen, Seen::Unseen) {
                    return Err(self.unwatched(&ours.name));
                }
                self.store.create(&ours.name, bytes, ours.sha256).await
            }
            None => match self.store.create_probing(&ours.name, bytes, ours.sha256).await {
                Err(StoreError::ConditionIgnored { .. }) => {
                    if matches!(seen, Seen::Unseen) {
                        return Err(self.unwatched(&ours.name));
                    }
                    *keeps = Some(false);
                    self.warn();
                    return Ok(());
                }
                created => {
                    if created.is_ok() {
                        *keeps = Some(true);
                    }
                    created
                }
            },
        };
        match created {
            Ok(_) => Ok(()),
            Err(StoreError::NameTaken { .. }) => Err(self.differs(&ours.name)),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at a name and sends a small object if nothing is there. Whether it was sent.
    ///
    /// # Errors
    /// Those of [`Receiver::send`].
    pub(crate) async fn create(&self, ours: &Ours, bytes: Bytes) -> Result<bool> {
        // A store that keeps conditions looks for itself.
        let keeps = *self.keeps.lock().await;
        let seen = match keeps {
            Some(true) => Seen::Unseen,
            _ => self.look(&ours.name).await?,
        };
        if self.has(&seen, ours).await? {
            return Ok(false);
        }
        self.send(ours, bytes, &seen).await?;
        Ok(true)
    }

    /// Before the manifest: these objects are there still and, unless the store keeps conditions, are the archive's only ones and hold our bytes.
    /// Where nothing was sent and the manifest is there, nothing is left to find: each object has just been compared.
    ///
    /// # Errors
    /// `store.failed` for one that is gone; `name.taken`; `store.condition-ignored` where the credentials do not allow to see that.
    pub(crate) async fn account(&self, id: &ArchiveId, ours: &[Ours], sent: bool) -> Result<()> {
        let keeps = *self.keeps.lock().await;
        if keeps == Some(true) {
            let objects = ours.iter().map(|ours| (ours.name.clone(), ours.size));
            return match claim::first_missing(&self.store, id, objects).await? {
                None => Ok(()),
                Some(name) => Err(Error::StoreForgot { name, store: self.store.url().to_owned() }),
            };
        }
        if !sent && matches!(self.look(&id.manifest()).await?, Seen::Object(_)) {
            return Ok(());
        }
        match claim::nothing_but(&self.store, id, ours, &self.cpu).await {
            // It may well be one that keeps conditions, for nothing was sent that could have told.
            Err(Error::Store(StoreError::ConditionIgnored { .. })) if keeps.is_none() => Ok(()),
            accounted => accounted,
        }
    }

    /// Creates the object that makes the others count, if it is not there. On a store that overwrites, it is looked at once more.
    ///
    /// # Errors
    /// Those of [`Receiver::send`].
    pub(crate) async fn commit(&self, ours: &Ours, bytes: Bytes) -> Result<()> {
        let sent = self.create(ours, bytes).await?;
        let keeps = *self.keeps.lock().await;
        match keeps {
            Some(false) if sent => claim::still_ours(&self.store, ours, &self.cpu).await,
            _ => Ok(()),
        }
    }

    fn warn(&self) {
        let store = self.store.url();
        let text = format!(
            "{store} overwrites objects although it is asked not to: a copy looks at each name before it sends, and accounts for every object before it commits"
        );
        self.observer.event(&Event::Warning { code: Some("store.condition-ignored"), text });
    }

    fn unwatched(&self, name: &str) -> Error {
        StoreError::ConditionIgnored { store: self.store.url().to_owned(), name: name.to_owned() }.into()
    }

    fn differs(&self, name: &str) -> Error {
        Error::CopyDiffers { name: name.to_owned(), store: self.store.url().to_owned() }
    }
}
