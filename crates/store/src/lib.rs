//! A URL becomes a [`Store`]: a flat set of named objects in a bucket, a container or a directory, in which an object is created
//! once and never changed.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use backstay_store::{Created, Store};
//!
//! let store = Store::memory();
//! let sha256 = [0; 32]; // of the body; the store compares it where it can
//! assert_eq!(store.create("a-0", "body".into(), sha256).await?, Created::New);
//!
//! // Sending the same bytes again is not an error, other bytes under the same name are.
//! assert_eq!(store.create("a-0", "body".into(), sha256).await?, Created::Confirmed);
//! assert_eq!(store.create("a-0", "other".into(), sha256).await.unwrap_err().code(), "name.taken");
//!
//! assert_eq!(store.get("a-0", 1024).await?.as_deref(), Some(&b"body"[..]));
//! assert_eq!(store.get_range("a-0", 1..3).await?, "od");
//! # Ok::<(), backstay_store::Error>(()) }).unwrap();
//! ```
//!
//! What this crate is not: it knows nothing of archives and encryption, and it is no second abstraction over `object_store`. Faults, limits and
//! counters are wrappers of [`object_store::ObjectStore`], put in with [`Store::with_wrapper`].

#![forbid(unsafe_code)]

mod access;
mod attempt;
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "azure")]
mod blocks;
mod bucket;
mod capabilities;
#[cfg(feature = "cloud")]
mod clock;
mod commit;
mod creation;
mod credentials;
mod delete;
mod download;
#[cfg(feature = "cloud")]
mod endpoint;
mod error;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "cloud")]
mod http;
mod interrupt;
mod list;
mod local;
mod location;
mod open;
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "only the network is limited"))]
mod rate;
mod requests;
mod retry;
#[cfg(feature = "s3")]
mod s3;
mod upload;
mod watch;

pub use access::{Operation, Policy, Role, policy};
pub use bucket::{BucketSettings, ObjectLock, Setting};
pub use capabilities::probe_conditional_create;
pub use commit::Created;
pub use creation::{Lock, LockMode, ObjectOptions, ServerEncryption};
pub use credentials::Environment;
pub use download::ObjectInfo;
pub use error::Error;
pub use interrupt::Interrupt;
pub use local::StagedFile;
pub use location::without_secrets;
pub use open::{Addressing, Store, StoreOptions, WORKPLACE_MARK};
pub use rate::RateLimit;
pub use requests::RequestCounts;
pub use retry::RetryOptions;
pub use upload::StreamingCreate;
pub use watch::{Retry, Watch};
