//! Backstay's verbs: [`backup()`], [`restore()`], [`verify()`], [`reassemble()`], [`salvage()`], [`copy()`],
//! [`convert()`], [`repair()`], [`gc()`], [`check()`], [`prune()`] and the [`catalog`].
//!
//! Each verb is a function of a [`Store`](backstay_store::Store), what it works on, its options, a [`Context`] (clock,
//! randomness, processors) and an [`Observer`], and gives a summary. `backup.rs` is the story of the product: read it
//! first. Nothing here prints, and nothing here knows arguments or configuration.

mod ahead;
mod archive;
mod atomic;
pub mod audit;
pub mod backup;
pub mod catalog;
pub mod check;
pub mod chunk;
mod claim;
pub mod codes;
mod compress;
pub mod context;
pub mod convert;
pub mod copy;
mod cpu;
pub mod dated;
mod decode;
mod destinations;
pub mod effort;
pub mod error;
mod fetch;
pub mod gc;
pub mod guid;
pub mod interrupt;
mod inventory;
pub mod keys;
pub mod layout;
pub mod observe;
pub mod offspring;
mod outline;
mod output;
mod pack;
pub mod partial;
mod parts;
pub mod patience;
pub mod place;
pub mod policy;
mod range;
pub mod reassemble;
mod receiver;
pub mod repair;
pub mod report;
pub mod restore;
pub mod resume;
pub mod retention;
pub mod rewrap;
pub mod salvage;
mod scan;
pub mod set;
mod shelf;
mod sizing;
pub mod source;
mod under_way;
pub mod unfinished;
pub mod verify;

pub use backup::{BackupOptions, Receipt, backup};
pub use check::check;
pub use context::Context;
pub use convert::convert;
pub use copy::copy;
pub use error::{Error, Result};
pub use gc::gc;
pub use observe::{Event, Observer, Progress, Silent};
pub use reassemble::reassemble;
pub use repair::repair;
pub use restore::{RestoreOptions, Restored, restore};
pub use resume::resume;
pub use retention::prune;
pub use salvage::salvage;
pub use verify::verify;
