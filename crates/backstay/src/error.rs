//! What can go wrong in a run. The exit status and the advice for a code are in `spec/errors.md`, see [`crate::codes`].

use std::io;

use backstay_format as format;
use backstay_store as store;

const MIB: u64 = 1 << 20;

/// A fault of a run. The text names the thing and the value; [`Error::code`] is stable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named and the message of each variant says what they mean")]
pub enum Error {
    #[error(transparent)]
    Format(#[from] format::Error),
    /// What the caller demanded of an archive, or said of it, is not so. Whether anything is wrong with it is another question.
    #[error(transparent)]
    Unmet(format::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("{what} is not in {store}")]
    ArchiveNotFound { what: String, store: String },
    #[error("`{given}` does not select one archive: {why}")]
    Selector { given: String, why: String },
    #[error("{why}")]
    Usage { why: String },
    #[error("{first} and {second} are one store under two names: there would be one copy and not two")]
    OnePlace { first: String, second: String },
    #[error("the clock of this machine says {now}, and no archive can be dated so")]
    Clock { now: String },
    #[error("{} MiB of memory are needed, {} MiB are allowed", needed.div_ceil(MIB), given / MIB)]
    Memory {
        needed: u64,
        given: u64,
        /// The part size, where it was given and is what takes the memory.
        part: Option<u64>,
    },
    #[error("`{command}` {how}")]
    SourceFailed { command: String, how: String },
    #[error("reading the input failed after {read} bytes")]
    SourceRead { read: u64, source: io::Error },
    #[error("the input is empty")]
    SourceEmpty,
    #[error("the input has {found} bytes, at least {expected} were asked for")]
    SourceTooSmall { found: u64, expected: u64 },
    #[error("the input does not end as it should: {expected}")]
    SourceTrailer { expected: String },
    #[error("the source gave nothing for {hours} hours")]
    SourceStalled { hours: u64 },
    #[error("the source closed its output and did not end for {hours} hours")]
    SourceLingers { hours: u64 },
    #[error("{store} took {name}, but does not list it with its size: was it deleted meanwhile?")]
    StoreForgot { name: String, store: String },
    #[error("{name} is in {store} already, with other bytes")]
    CopyDiffers { name: String, store: String },
    #[error("{id} is in {store} already: {what}")]
    WrittenAlready { id: String, store: String, what: &'static str },
    #[error("{store} has parts of {id} that nothing commits: a conversion was interrupted there")]
    ConversionLeft { id: String, store: String },
    #[error("another run works with the spool {folder}")]
    SpoolLocked { folder: String },
    #[error("{folder} is not marked as a spool, and it is not empty: `{found}` is there")]
    SpoolIsForeign { folder: String, found: String },
    #[error("{folder} cannot be the spool: it is the store {store}")]
    SpoolIsStore { folder: String, store: String },
    #[error("{name} is neither in the spool {spool} nor in {store}")]
    SentElsewhere { name: String, spool: String, store: String },
    #[error("{id} in {store} cannot be repaired: {why}")]
    ReplicaDiffers { id: String, store: String, why: String },
    #[error(
        "{id} in {store} is not whole: {mended} of its objects are mended, and {replica} has nothing good for {}",
        left.join(", ")
    )]
    Unmended {
        id: String,
        store: String,
        replica: String,
        mended: usize,
        left: Vec<String>,
        #[source]
        first: Box<Error>,
    },
    #[error("the member `{name}`, {id}, is not restored")]
    Member {
        name: String,
        id: String,
        #[source]
        why: Box<Error>,
    },
    #[error("{id} is not deleted: {by}")]
    Referenced { id: String, by: String },
    #[error("{id} is not deleted: it {how}")]
    Held { id: String, how: &'static str },
    #[error("the keys of {id} are not destroyed: {how}")]
    KeysHeld { id: String, how: String },
    #[error("{id} is not deleted: {how}")]
    NewestGood { id: String, how: String },
    #[error("{id} is not held: its deletion had begun before, and {how}")]
    HeldTooLate { id: String, how: String },
    #[error("the keyboxes of {id} were deleted while another one was to be added: {how}")]
    KeysDestroyed { id: String, how: String },
    #[error("`{command}` {how}")]
    TargetFailed { command: String, how: String },
    #[error("writing to {target} failed")]
    TargetWrite { target: String, source: io::Error },
    #[error("{what}")]
    Io { what: String, source: io::Error },
    #[error("interrupted; {left}")]
    Interrupted { left: String },
    #[error("{why}")]
    Internal { why: String },
}

impl Error {
    /// The stable dotted code, as `spec/errors.md` lists it.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Format(error) | Error::Unmet(error) => error.code(),
            Error::Store(store::Error::ObjectMissing { name, .. }) => missing(name),
            Error::Store(error) => error.code(),
            Error::ArchiveNotFound { .. } => "archive.not-found",
            Error::Selector { .. } => "usage.selector",
            Error::Usage { .. }
            | Error::OnePlace { .. }
            | Error::SpoolIsForeign { .. }
            | Error::SpoolIsStore { .. } => "usage.arguments",
            Error::Clock { .. } => "usage.clock",
            Error::Memory { .. } => "usage.memory",
            Error::SourceFailed { .. } | Error::SourceRead { .. } => "source.failed",
            Error::SourceEmpty => "source.empty",
            Error::SourceTooSmall { .. } => "source.too-small",
            Error::SourceTrailer { .. } => "source.trailer",
            Error::SourceStalled { .. } | Error::SourceLingers { .. } => "source.stalled",
            Error::StoreForgot { .. } => "store.failed",
            Error::CopyDiffers { .. } | Error::WrittenAlready { .. } | Error::ConversionLeft { .. } => "name.taken",
            Error::SpoolLocked { .. } => "store.locked",
            Error::ReplicaDiffers { .. } => "replica.differs",
            Error::SentElsewhere { .. } => "part.missing",
            Error::Unmended { first: why, .. } | Error::Member { why, .. } => why.code(),
            Error::Referenced { .. } => "retention.referenced",
            Error::Held { .. } | Error::KeysHeld { .. } => "retention.held",
            Error::NewestGood { .. } => "retention.newest",
            Error::HeldTooLate { .. } => "retention.too-late",
            Error::KeysDestroyed { .. } => "key.not-found",
            Error::TargetFailed { .. } | Error::TargetWrite { .. } => "target.failed",
            Error::Io { .. } => "io.failed",
            Error::Interrupted { .. } => "interrupted",
            Error::Internal { .. } => "internal",
        }
    }

    /// Whether it says something of the archive, and not only that a demand is not met or that the given keys are not the archive's.
    pub(crate) fn is_of_archive(&self) -> bool {
        const OF_THE_KEY: u8 = 12;
        !matches!(self, Error::Unmet(_)) && crate::codes::exit(self.code()) != OF_THE_KEY
    }

    /// Whether it is a fault of one object, beside which the others can still be read; otherwise the store is not reached, or
    /// the user stops.
    pub(crate) fn ends_only_a_part(&self) -> bool {
        use store::Error as StoreError;
        matches!(
            self,
            Error::Format(_)
                | Error::Store(
                    StoreError::ObjectMissing { .. }
                        | StoreError::ShortObject { .. }
                        | StoreError::Failed { transient: false, .. },
                )
        )
    }

    /// Whether it is a fault of one archive, beside which others can still be copied; otherwise a store is not reached or refuses, or the user
    /// stops, and the next archive would fare no better.
    pub fn is_of_one_archive(&self) -> bool {
        use store::Error as StoreError;
        match self {
            Error::ArchiveNotFound { .. }
            | Error::Usage { .. }
            | Error::Memory { .. }
            | Error::CopyDiffers { .. }
            | Error::WrittenAlready { .. }
            | Error::ConversionLeft { .. }
            | Error::ReplicaDiffers { .. }
            | Error::Store(StoreError::NameTaken { .. } | StoreError::TooLarge { .. } | StoreError::Locked { .. }) => {
                true
            }
            Error::Unmet(_) => true,
            Error::Unmended { first, .. } => first.is_of_one_archive(),
            other => other.ends_only_a_part(),
        }
    }

    /// Whether what was read is damaged or incomplete. A demand that is not met is none of its faults.
    pub fn is_damage(&self) -> bool {
        !matches!(self, Error::Unmet(_)) && matches!(crate::codes::exit(self.code()), 20 | 21)
    }

    /// A helping hand that fits this very case, where the table's general advice is not the best one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Store(store::Error::ObjectMissing { .. }) if self.code() == "store.failed" => Some(
                "it was there a moment ago: something else deletes objects here, a `rm`, a `prune` or a rule of the bucket; run this again"
                    .to_owned(),
            ),
            Error::Store(error) => error.hint(),
            Error::StoreForgot { .. } => Some(
                "something else deletes objects here, or the store lost it: see that no `rm`, `gc` and no rule of the bucket takes what is being written, and run this again"
                    .to_owned(),
            ),
            Error::Unmended { first: why, .. } | Error::Member { why, .. } => why.hint(),
            Error::OnePlace { .. } => {
                Some("give another store, in another bucket or directory, as the second one".to_owned())
            }
            Error::Memory { needed, part: None, .. } => {
                Some(format!("raise --memory to at least {}MiB", needed.div_ceil(MIB)))
            }
            Error::Memory { needed, part: Some(part), .. } => Some(format!(
                "raise --memory to at least {}MiB, or make parts smaller than --part-size {}MiB",
                needed.div_ceil(MIB),
                part.div_ceil(MIB)
            )),
            Error::CopyDiffers { .. } => {
                Some("verify the archive in both stores: one of the two is damaged, or is another one".to_owned())
            }
            Error::WrittenAlready { .. } => {
                Some("two archives of one store cannot have one id: write it anew into another store".to_owned())
            }
            Error::ConversionLeft { .. } => Some(
                "it cannot be continued: --restart deletes the parts first; see to it that no other run converts the same archive now"
                    .to_owned(),
            ),
            Error::SpoolLocked { .. } => Some("wait for it to end, or give this run a spool of its own".to_owned()),
            Error::SpoolIsForeign { .. } => Some(
                "name a new or an empty directory: what lies in a spool and cannot be finished is deleted; only if this is a spool that lost its .backstay-lock, make that file again"
                    .to_owned(),
            ),
            Error::SentElsewhere { .. } => Some(
                "nothing was sent: give the store that the interrupted run had; if that one has lost the part, the archive cannot be finished, and its files can be deleted from the spool"
                    .to_owned(),
            ),
            Error::SpoolIsStore { .. } => Some("give the spool a directory of its own".to_owned()),
            Error::TargetWrite { .. } => {
                Some("what was written is incomplete: correct the cause and restore again".to_owned())
            }
            _ => None,
        }
    }
}

/// What it means that an object of this name is gone which was listed, or which a manifest names.
fn missing(name: &str) -> &'static str {
    use format::ObjectName;
    match ObjectName::parse(name) {
        ObjectName::Part { .. } | ObjectName::Single(_) => "part.missing",
        ObjectName::Manifest(_) => "archive.uncommitted",
        ObjectName::Keybox(..) => "key.not-found",
        ObjectName::Set(_) => "archive.not-found",
        ObjectName::Sidecar(..) | ObjectName::Unknown(_) | ObjectName::Foreign => "store.failed",
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vanishes_has_the_code_of_what_it_was() {
        const ID: &str = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123";
        for (name, code) in [
            ("-3", "part.missing"),
            ("", "part.missing"),
            (".json", "archive.uncommitted"),
            (".key.0", "key.not-found"),
            (".set.json", "archive.not-found"),
            (".note.1740130000123", "store.failed"),
        ] {
            let name = format!("{ID}{name}");
            let error =
                Error::Store(store::Error::ObjectMissing { store: "s3://bucket".to_owned(), name: name.clone() });
            assert_eq!(error.code(), code, "{name}");
            // The network has nothing to do with it.
            assert_eq!(error.hint().is_some(), code == "store.failed", "{name}");
        }
    }
}
