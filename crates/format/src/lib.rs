//! The Backstay archive format: bytes in, bytes out.
//!
//! An archive is a stock `.zst` or `.gz` stream, cut into sealed segments, packed into parts, committed by a manifest;
//! `spec/archive.md` is the normative text and this crate follows its order: [`name`], [`header`], [`schedule`] (keys
//! from the secret), [`segment`], [`part`], [`codec`] (the inner stream), [`manifest`] and [`key`] (who can open it).
//! [`report`] and [`remark`] are what is said of an archive later, [`mod@set`] says which archives belong together.
//! [`salvage`] takes damaged parts segment by segment; [`openssl`] is the older profile, `openssl enc` around gzip.
//!
//! There is no I/O here, no clock, no randomness of our own, no threads and no runtime, so that all of it can be checked,
//! fuzzed and ported. Whoever streams an archive is the crate `backstay`.

mod backlog;
pub mod codec;
pub mod error;
pub mod header;
mod json;
pub mod key;
pub mod manifest;
pub mod name;
pub mod openssl;
pub mod part;
pub mod remark;
pub mod report;
pub mod salvage;
pub mod schedule;
mod seal;
pub mod segment;
pub mod set;
pub mod signature;
pub mod text;

pub use error::{Error, Result};
pub use name::{ArchiveId, Guid, ObjectName, Word};
pub use seal::Seal;
