//! Several archives in one run: one that fails does not keep the others from it, and the run says at its end which did.

use backstay::Error;
use backstay::copy::is_gone;
use backstay_format::ArchiveId;
use backstay_store::Store;
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::output::human::count;
use crate::run::Status;
use crate::session::Session;

/// One archive that is not done.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    pub(super) id: String,
    pub(super) code: &'static str,
    pub(super) why: String,
}

/// What did not become as it should.
pub(super) struct Several<'a> {
    session: &'a Session,
    /// What is done to them: copied, repaired, converted.
    done: &'static str,
    /// Of one archive alone the error is the run's.
    only_one: bool,
    number: u64,
    failed: Vec<Failed>,
    gone: Vec<String>,
    worst: Option<Failure>,
}

impl<'a> Several<'a> {
    pub(super) fn new(session: &'a Session, done: &'static str, only_one: bool) -> Several<'a> {
        Several { session, done, only_one, number: 0, failed: Vec::new(), gone: Vec::new(), worst: None }
    }

    /// Takes what came of one archive, or set, of the store `from`; `None` when that is nothing.
    ///
    /// # Errors
    /// What would come of every other one, too: a store that is not reached, an interruption.
    pub(super) async fn take<T>(
        &mut self,
        from: &Store,
        id: &ArchiveId,
        done: std::result::Result<T, Error>,
    ) -> Result<Option<T>> {
        self.number += 1;
        let error = match done {
            Ok(done) => return Ok(Some(done)),
            Err(error) if self.only_one || !error.is_of_one_archive() => return Err(error.into()),
            Err(error) => error,
        };
        let output = &self.session.output;
        if is_gone(from, id).await? {
            output.note(&format!("{id} is not {}: it was deleted meanwhile", self.done));
            self.gone.push(id.to_string());
            return Ok(None);
        }
        let failure = Failure::from(error);
        let why = [vec![failure.message.clone()], failure.causes.clone()].concat().join(": ");
        output.warning(Some(failure.code), &format!("{id} is not {}: {why}", self.done));
        self.failed.push(Failed { id: id.to_string(), code: failure.code, why });
        let is_critical = |failure: &Failure| failure.severity() == "Critical";
        if self.worst.as_ref().is_none_or(|worst| is_critical(&failure) && !is_critical(worst)) {
            self.worst = Some(failure);
        }
        Ok(None)
    }

    /// Takes out what failed and what was deleted meanwhile, for the run's result.
    pub(super) fn told(&mut self) -> (Vec<Failed>, Vec<String>) {
        (std::mem::take(&mut self.failed), std::mem::take(&mut self.gone))
    }

    /// The end of the run, of which so many failed.
    ///
    /// # Errors
    /// The first failure, or the first critical one.
    pub(super) fn end(self, failed: usize) -> Result<Status> {
        let Some(worst) = self.worst else { return Ok(0) };
        let verb = if failed == 1 && self.number == 1 { "is" } else { "are" };
        let message = format!("{failed} of {} {verb} not {}", count(self.number, "archive"), self.done);
        let mut failure = Failure::new(worst.code, message).because(&worst.message);
        failure = worst.causes.iter().fold(failure, |failure, cause| failure.because(cause));
        Err(match worst.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        })
    }
}
