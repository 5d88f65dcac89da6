//! Deleting objects. Only credentials of the pruner may do it.

use object_store::ObjectStoreExt;

use crate::attempt::Meaning;
use crate::local::{StagedFile, in_background, remove_staged, staged};
use crate::requests::Request;
use crate::{Error, Store};

impl Store {
    /// Deletes an object. One that does not exist counts as deleted: stores do not agree whether to mention it, and a repeated
    /// request could not tell.
    ///
    /// # Errors
    ///
    /// `store.locked` if an object lock or retention period protects it; `store.not-found` if the store itself is missing;
    /// `store.denied`, `store.failed`.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        let key = self.key(name)?;
        let operation = format!("deleting {name}");
        let mut attempts = self.attempts();
        loop {
            let failure = match self.attempt(Request::Delete, self.objects().delete(&key)).await.0 {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if failure.meaning == Meaning::NoObject {
                return Ok(());
            }
            self.before_next(&mut attempts, failure, &operation).await?;
        }
    }

    /// What stands in a local store's staging folder: files that writers are about to publish, and what killed ones left. Other stores have
    /// no such folder.
    ///
    /// # Errors
    ///
    /// `store.denied`, `store.failed`.
    pub async fn staged(&self) -> Result<Vec<StagedFile>, Error> {
        let Some(directory) = self.directory() else {
            return Ok(Vec::new());
        };
        let directory = directory.to_owned();
        in_background(move || staged(&directory))
            .await
            .map_err(|error| self.file_error(error, "listing the staging folder", ""))
    }

    /// Removes a file of the staging folder. One that is not there counts as removed.
    ///
    /// # Errors
    ///
    /// `store.denied`, `store.failed`.
    pub async fn remove_staged(&self, name: &str) -> Result<(), Error> {
        self.key(name)?;
        let Some(directory) = self.directory() else {
            return Ok(());
        };
        let (directory, file) = (directory.to_owned(), name.to_owned());
        in_background(move || remove_staged(&directory, &file))
            .await
            .map_err(|error| self.file_error(error, "removing", name))
    }
}
