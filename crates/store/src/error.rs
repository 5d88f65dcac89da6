//! What can go wrong between Backstay and a store, as outcomes a caller can act on. Every variant has a stable dotted code and,
//! where the user can do something about it, a hint. No variant ever holds a secret: URLs are stored without user info.

use std::path::Path;
use std::time::Duration;

use crate::local;
use crate::open::WORKPLACE_MARK;

/// An error of a store operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store URL is not one that Backstay understands.
    #[error("store url `{url}` is not valid: {reason}")]
    Url {
        /// The URL as given, without user info.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory is a spool: what is in it comes and goes.
    #[error("{directory} is a spool, as its {WORKPLACE_MARK} says, and no store of archives")]
    Workplace {
        /// The directory.
        directory: String,
    },
    /// The credentials found cannot be used, or none were found.
    #[error("no usable credentials for {store}: {reason}")]
    Credentials {
        /// The store's URL.
        store: String,
        /// Which source was looked at and what is wrong with it.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// An object name that no store may hold: empty, with a slash, a control character, `.` or `..`.
    #[error("object name `{name}` is not valid: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A create found another object of the same name.
    #[error("{name} exists already in {store}: {reason}")]
    NameTaken {
        /// The store's URL.
        store: String,
        /// The object's name.
        name: String,
        /// How the other object is known not to be ours.
        reason: String,
    },
    /// The bucket, container or directory itself is missing.
    #[error("{what} does not exist ({store})")]
    StoreMissing {
        /// The store's URL.
        store: String,
        /// The bucket, container or directory, with its kind.
        what: String,
    },
    /// The object that a range was asked of is missing; [`get`](crate::Store::get) and [`head`](crate::Store::head) answer `None` instead.
    #[error("{name} does not exist in {store}")]
    ObjectMissing {
        /// The store's URL.
        store: String,
        /// The object's name.
        name: String,
    },
    /// The object is larger than the caller is willing to hold.
    #[error("{name} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The object's name.
        name: String,
        /// Its size.
        size: u64,
        /// The limit that was asked for.
        limit: u64,
    },
    /// The object ends before the range that was asked for.
    #[error("{name} ends at byte {size}, before the end of the range {start}..{end}")]
    ShortObject {
        /// The object's name.
        name: String,
        /// Its size.
        size: u64,
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
    },
    /// The store knows who asks and says no, or does not accept the credentials.
    #[error("{store} denied {operation}: {detail}")]
    Denied {
        /// The store's URL.
        store: String,
        /// The operation and the object's name.
        operation: String,
        /// The store's own words.
        detail: String,
        /// What to do about it, where the answer tells.
        advice: Option<Box<str>>,
    },
    /// An object lock, a retention period or a lease protects the object.
    #[error("{store} holds a lock against {operation}: {detail}")]
    Locked {
        /// The store's URL.
        store: String,
        /// The operation and the object's name.
        operation: String,
        /// The store's own words.
        detail: String,
    },
    /// The store overwrote an object where it was asked to create one only if it is absent.
    #[error("{store} accepts the condition of a create and ignores it: {name} was overwritten")]
    ConditionIgnored {
        /// The store's URL.
        store: String,
        /// The object that was created twice.
        name: String,
    },
    /// The store does not list names in their order, on which everything relies that looks at more than one archive.
    #[error("{store} does not list objects in the order of their names: {name} comes after {after}")]
    Unordered {
        /// The store's URL.
        store: String,
        /// The name that came too late.
        name: String,
        /// The one that stood before it.
        after: String,
    },
    /// The store cannot do this at all.
    #[error("{store} does not support {operation}")]
    Unsupported {
        /// The store's URL.
        store: String,
        /// The operation.
        operation: &'static str,
    },
    /// An object of unknown length became longer than the store takes.
    #[error(
        "{name} is too long for one object of {store}: {bytes} bytes in {blocks} blocks are sent, and the next one is not taken"
    )]
    TooManyBlocks {
        /// The store's URL.
        store: String,
        /// The object's name.
        name: String,
        /// The blocks that are sent.
        blocks: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// An option's value that cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Option {
        /// The option and its value.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option asks for something that this kind of store does not have.
    #[error("{store} does not take {option}: {reason}")]
    UnsupportedOption {
        /// The store's URL.
        store: String,
        /// What was asked for.
        option: &'static str,
        /// Why not, and what there is instead.
        reason: &'static str,
    },
    /// Whoever uses the store wants to stop. What was asked may happen all the same.
    #[error("interrupted; {store} had not answered yet: {operation}")]
    Interrupted {
        /// The store's URL.
        store: String,
        /// The operation and the object's name.
        operation: String,
    },
    /// Work in a directory of this machine that is no store failed.
    #[error("{operation} in {directory} failed: {detail}")]
    Local {
        /// The directory.
        directory: Box<str>,
        /// The operation and the object's name.
        operation: Box<str>,
        /// What the system says, for programs.
        kind: Option<std::io::ErrorKind>,
        /// The same in its words.
        detail: Box<str>,
    },
    /// The operation failed, for good or after retries.
    #[error("{operation} failed on {store}{}: {detail}", tries(*.attempts, *.elapsed))]
    Failed {
        /// The store's URL, with the endpoint where one was given.
        store: Box<str>,
        /// The operation and the object's name.
        operation: Box<str>,
        /// How often it was tried.
        attempts: u32,
        /// How long it took altogether.
        elapsed: Duration,
        /// The last failure, in the store's or the system's words.
        detail: Box<str>,
        /// Whether trying later may help.
        transient: bool,
        /// What to do about it, where that is known.
        advice: Option<Box<str>>,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

fn tries(attempts: u32, elapsed: Duration) -> String {
    if attempts > 1 { format!(" after {attempts} attempts in {:.1} s", elapsed.as_secs_f64()) } else { String::new() }
}

impl Error {
    /// The stable dotted code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url { .. } | Self::Workplace { .. } => "usage.store-url",
            Self::Credentials { .. } => "usage.credentials",
            Self::Name { .. } => "name.invalid",
            Self::NameTaken { .. } => "name.taken",
            Self::StoreMissing { .. } => "store.not-found",
            Self::TooLarge { .. } => "stream.limit",
            Self::Denied { .. } => "store.denied",
            Self::Locked { .. } => "store.locked",
            Self::ConditionIgnored { .. } => "store.condition-ignored",
            Self::Unordered { .. } => "store.unordered",
            Self::Option { .. } => "usage.arguments",
            Self::Interrupted { .. } => "interrupted",
            Self::UnsupportedOption { .. } | Self::Unsupported { .. } | Self::TooManyBlocks { .. } => {
                "store.unsupported"
            }
            Self::Local { .. } => "io.failed",
            Self::ObjectMissing { .. } | Self::ShortObject { .. } | Self::Failed { .. } => "store.failed",
        }
    }

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Url { .. } => Some("stores are s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, file:///path or a plain path".into()),
            Self::Workplace { .. } => Some("name the directory that holds the archives; what is left in a spool is sent to its store by `backstay backup --resume --spool`".into()),
            Self::Credentials { hint, .. } => Some(hint.clone()),
            Self::NameTaken { .. } => Some("another writer used this id; run again".into()),
            Self::StoreMissing { what, .. } => Some(format!("create {what} first, or correct the store url")),
            Self::Denied { advice: Some(advice), .. } => Some(advice.to_string()),
            Self::Denied { .. } => Some("check the credentials and what they may do".into()),
            Self::Locked { .. } => Some("wait until the retention period is over, or release the hold".into()),
            Self::ConditionIgnored { .. } => Some("two writers could overwrite each other here; use a store that honours if-none-match, or for a backup let the credentials list and read".into()),
            Self::Unordered { .. } => Some("use a bucket that lists by name, as all do but S3's directory buckets (Express One Zone); what is in this one can be copied to a directory and read there".into()),
            Self::Local { kind, directory, .. } => Some(local::advice(*kind, Path::new(&**directory))),
            Self::Failed { advice, .. } => advice.as_deref().map(str::to_owned),
            Self::UnsupportedOption { .. } => Some("leave the option out for this store, or use a store that has it".into()),
            Self::TooManyBlocks { .. } => Some("a block is a part, of which an object has at most 50,000 of at most 4000 MiB: take larger ones with --part-size, or leave --single out".into()),
            Self::Option { .. } => Some("correct the option's value".into()),
            Self::Interrupted { .. } | Self::Name { .. } | Self::ObjectMissing { .. } | Self::TooLarge { .. } | Self::ShortObject { .. } | Self::Unsupported { .. } => None,
        }
    }

    /// Whether the same call may succeed later; the store's own retries are already behind it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Failed { transient: true, .. })
    }
}
