//! Creating objects: whole ones from memory, and on directories and Azure one of unknown length.

use std::ops::ControlFlow;

use bytes::Bytes;
use object_store::{PutMode, PutOptions};

use crate::attempt::Meaning;
#[cfg(feature = "azure")]
use crate::blocks::Blocks;
use crate::commit::Created;
use crate::local::{Staged, in_background};
use crate::open::Backend;
use crate::requests::Request;
use crate::{Error, Store};

/// The digest of a body, handed down to the HTTP service so that nobody computes it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodySha256(#[cfg_attr(not(feature = "s3"), expect(dead_code))] pub(crate) [u8; 32]);

/// How often a create is repeated because an object that stood in its way could not be found afterwards.
const MAX_VANISHED: u32 = 2;

impl Store {
    /// Creates an object if its name is free. `sha256` is the digest of `body`; a store that checks it refuses any other bytes.
    ///
    /// Repeats itself after transient failures. If the object turns out to exist, it is compared with `body`: see [`Created`].
    ///
    /// # Errors
    ///
    /// `name.taken` if another object has the name; `store.unsupported` for options that the store does not have; `store.denied`,
    /// `store.not-found`, `store.failed`.
    pub async fn create(&self, name: &str, body: Bytes, sha256: [u8; 32]) -> Result<Created, Error> {
        self.takes_new_objects()?;
        let key = self.key(name)?;
        let operation = format!("creating {name}");
        let mut attempts = self.attempts();
        let mut sent_before = false;
        let mut vanished = 0;
        loop {
            let options = self.creation().put(sha256);
            let call = self.objects().put_opts(&key, body.clone().into(), options);
            let mut failure = match self.attempt(Request::Put, call).await.0 {
                Ok(_) => return Ok(Created::New),
                Err(failure) => failure,
            };
            sent_before |= failure.effect_unknown;
            if failure.meaning == Meaning::Exists {
                if let ControlFlow::Break(created) = self.settle(name, &body, &sha256, sent_before).await? {
                    return Ok(created);
                }
                // Somebody deleted it in between, which is as good as a conflict; or it is no object, a folder for one.
                vanished += 1;
                if vanished > MAX_VANISHED {
                    let reason = "something that is no object has this name".into();
                    return Err(Error::NameTaken { store: self.url().into(), name: name.into(), reason });
                }
                failure.meaning = Meaning::Conflict;
            }
            self.before_next(&mut attempts, failure, &operation).await?;
        }
    }

    /// Begins an object of unknown length, past any wrapper of the object store. Nothing appears under its name before [`StreamingCreate::commit`].
    ///
    /// # Errors
    ///
    /// `store.unsupported` on other stores than directories and Azure; `store.failed`.
    pub async fn create_streaming(&self, name: &str) -> Result<StreamingCreate, Error> {
        self.takes_new_objects()?;
        self.takes_streams()?;
        self.key(name)?;
        let target = match self.backend() {
            Backend::Memory => Target::Memory(Vec::new()),
            Backend::Directory(directory) => {
                let directory = directory.clone();
                let staged = in_background(move || Staged::create(&directory)).await;
                Target::File(Some(staged.map_err(|error| self.file_error(error, "creating", name))?))
            }
            Backend::Cloud(_) | Backend::Other => {
                #[cfg(feature = "azure")]
                if let Some(blobs) = self.blocks() {
                    let target = Target::Blocks(Blocks::begin(blobs.clone()));
                    return Ok(StreamingCreate { store: self.clone(), name: name.into(), target });
                }
                return Err(self.takes_no_streams());
            }
        };
        Ok(StreamingCreate { store: self.clone(), name: name.into(), target })
    }

    /// Refuses what [`Store::create_streaming`] would refuse, before anything is done.
    ///
    /// # Errors
    ///
    /// `store.unsupported`: neither S3 nor Google has a conditional create for a stream that a client of theirs could be asked for.
    pub fn takes_streams(&self) -> Result<(), Error> {
        #[cfg(feature = "azure")]
        if self.blocks().is_some() {
            return Ok(());
        }
        match self.backend() {
            Backend::Memory | Backend::Directory(_) => Ok(()),
            Backend::Cloud(_) | Backend::Other => Err(self.takes_no_streams()),
        }
    }

    /// Of how many writes an object that grows may be made, where that is bounded, and of how many bytes each.
    pub fn stream_limits(&self) -> Option<(u32, u64)> {
        #[cfg(feature = "azure")]
        if self.blocks().is_some() {
            return Some((crate::blocks::MOST, crate::blocks::LARGEST));
        }
        None
    }

    fn takes_no_streams(&self) -> Error {
        let operation = "one object of unknown length: directories and Azure do";
        Error::Unsupported { store: self.url().into(), operation }
    }

    /// The error of a failed file operation, through the same eyes as everything else: what was being done, and to which object.
    pub(crate) fn file_error(&self, error: std::io::Error, doing: &str, name: &str) -> Error {
        let error = crate::local::into_object_store(error, name);
        let mut failure = crate::attempt::Failure::of_file(error);
        if failure.meaning == Meaning::NoObject {
            failure.meaning = Meaning::NoStore;
        }
        if failure.meaning == Meaning::Exists {
            return Error::NameTaken {
                store: self.url().into(),
                name: name.into(),
                reason: "it is there already".into(),
            };
        }
        let mut attempts = self.attempts();
        attempts.give_up();
        self.error(failure, &attempts, format!("{doing} {name}").trim_end())
    }
}

/// An object that is being written and does not exist yet. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct StreamingCreate {
    store: Store,
    name: String,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Memory(Vec<u8>),
    /// Empty only while a write is under way on another thread, or after one was lost.
    File(Option<Staged>),
    #[cfg(feature = "azure")]
    Blocks(Blocks),
}

impl StreamingCreate {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// `store.failed`, for one when the file system is full. Nothing more can be written then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        match &mut self.target {
            Target::Memory(buffer) => buffer.extend_from_slice(&bytes),
            Target::File(slot) => {
                let mut staged = slot.take().ok_or_else(|| self.store.file_error(lost(), "creating", &self.name))?;
                let written = in_background(move || staged.write(&bytes).map(|()| staged)).await;
                *slot = Some(written.map_err(|error| self.store.file_error(error, "creating", &self.name))?);
            }
            #[cfg(feature = "azure")]
            Target::Blocks(blocks) => blocks.send(&self.store, &self.name, bytes).await?,
        }
        Ok(())
    }

    /// Makes the object durable and gives it its name, if the name is free.
    ///
    /// # Errors
    ///
    /// `name.taken` if it is not; `store.failed`.
    pub async fn commit(self) -> Result<Created, Error> {
        let Self { store, name, target } = self;
        match target {
            Target::Memory(buffer) => {
                let key = store.key(&name)?;
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                match store.attempt(Request::Put, store.objects().put_opts(&key, buffer.into(), options)).await.0 {
                    Ok(_) => Ok(Created::New),
                    Err(_) => {
                        Err(Error::NameTaken { store: store.url().into(), name, reason: "it is there already".into() })
                    }
                }
            }
            Target::File(None) => Err(store.file_error(lost(), "creating", &name)),
            Target::File(Some(staged)) => {
                let published = {
                    let name = name.clone();
                    in_background(move || staged.publish(&name, false)).await
                };
                published.map(|()| Created::New).map_err(|error| store.file_error(error, "creating", &name))
            }
            #[cfg(feature = "azure")]
            Target::Blocks(blocks) => blocks.commit(&store, &name).await,
        }
    }
}

fn lost() -> std::io::Error {
    std::io::Error::other("an earlier write failed or was cancelled")
}
