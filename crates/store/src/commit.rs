//! What the answer to a conditional create means. "It exists" is ambiguous, always: it is what a writer hears of its own object when the
//! answer to an earlier send was lost, by whichever layer. Only a comparison with the stored object decides.

use std::ops::ControlFlow;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::GetOptions;

use crate::attempt::{Failure, Meaning};
use crate::requests::Request;
use crate::retry::Attempts;
use crate::{Error, Store};

/// How a create succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The store said so.
    New,
    /// The store said that the object exists; it was compared and holds our bytes.
    Confirmed,
    /// The store said that the object exists right after it was sent our bytes with unknown outcome, and we may not read it.
    /// A reading credential has to verify it before it is relied on.
    Unconfirmed,
}

/// What is stored under a name, seen from our bytes.
enum Stored {
    Ours,
    /// Something else, and how that is known.
    Other(String),
    /// Nothing any more.
    Nothing,
}

impl Store {
    /// Settles an "it exists": `Break` with the outcome of the create, or `Continue` if the object has gone and the create can be
    /// repeated. `sent_before` says that an earlier send of the same bytes ended with unknown outcome.
    pub(crate) async fn settle(
        &self,
        name: &str,
        body: &Bytes,
        sha256: &[u8; 32],
        sent_before: bool,
    ) -> Result<ControlFlow<Created>, Error> {
        let taken = |reason| Error::NameTaken { store: self.url().into(), name: name.into(), reason };
        match self.compare(name, body, sha256).await {
            Ok(Stored::Ours) => Ok(ControlFlow::Break(Created::Confirmed)),
            Ok(Stored::Other(reason)) => Err(taken(reason)),
            Ok(Stored::Nothing) => Ok(ControlFlow::Continue(())),
            Err(Error::Denied { .. }) if sent_before => Ok(ControlFlow::Break(Created::Unconfirmed)),
            Err(Error::Denied { .. }) => Err(taken("it was there before the first send and may not be read".into())),
            Err(error) => Err(error),
        }
    }

    /// Compares the stored object with ours: by size, then by the checksum that the store keeps, and if it keeps none by its bytes.
    async fn compare(&self, name: &str, body: &Bytes, sha256: &[u8; 32]) -> Result<Stored, Error> {
        match self.head(name).await {
            Ok(None) => return Ok(Stored::Nothing),
            Ok(Some(stored)) if stored.size != body.len() as u64 => {
                return Ok(Stored::Other(format!("it has {} bytes, ours has {}", stored.size, body.len())));
            }
            Ok(Some(stored)) => match stored.sha256 {
                Some(other) if other != *sha256 => {
                    return Ok(Stored::Other("its checksum differs from ours".into()));
                }
                Some(_) => return Ok(Stored::Ours),
                None => {}
            },
            // A store may deny one and allow the other.
            Err(Error::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        self.compare_bytes(name, body).await
    }

    async fn compare_bytes(&self, name: &str, body: &Bytes) -> Result<Stored, Error> {
        let key = self.key(name)?;
        let operation = format!("reading back {name}");
        let mut attempts: Attempts<'_> = self.attempts();
        loop {
            let call = async {
                let answer = self.objects().get_opts(&key, GetOptions::default()).await?;
                if answer.meta.size != body.len() as u64 {
                    return Ok(Stored::Other(format!("it has {} bytes, ours has {}", answer.meta.size, body.len())));
                }
                let mut rest: &[u8] = body;
                let mut stored = answer.into_stream();
                while let Some(chunk) = stored.try_next().await? {
                    match rest.strip_prefix(chunk.as_ref()) {
                        Some(after) => rest = after,
                        None => return Ok(Stored::Other("its bytes differ from ours".into())),
                    }
                }
                if rest.is_empty() { Ok(Stored::Ours) } else { Err(cut_short()) }
            };
            match self.attempt(Request::Get, call).await.0 {
                Ok(stored) => return Ok(stored),
                Err(Failure { meaning: Meaning::NoObject, .. }) => return Ok(Stored::Nothing),
                Err(failure) => self.before_next(&mut attempts, failure, &operation).await?,
            }
        }
    }
}

/// A body that ended early although its length was announced; may pass, like any lost connection.
pub(crate) fn cut_short() -> object_store::Error {
    let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer ended early");
    object_store::Error::Generic { store: "answer", source: Box::new(source) }
}
