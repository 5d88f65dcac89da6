//! Deleting objects. Only credentials of the pruner may do it.

use std::time::Duration;

use object_store::ObjectStoreExt;

use crate::attempt::Meaning;
use crate::local::{in_background, sweep};
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

    /// Removes what killed writers left in a local store's staging folder and nobody has touched for `older_than`; answers how many files.
    /// Other stores have no such folder.
    ///
    /// # Errors
    ///
    /// `store.denied`, `store.failed`.
    pub async fn sweep_staging(&self, older_than: Duration) -> Result<u64, Error> {
        let Some(directory) = self.own_directory() else {
            return Ok(0);
        };
        let directory = directory.to_owned();
        in_background(move || sweep(&directory, older_than))
            .await
            .map_err(|error| self.file_error(error, "sweeping the staging folder"))
    }
}
