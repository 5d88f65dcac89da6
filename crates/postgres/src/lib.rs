//! What Backstay knows about PostgreSQL: how a server is dumped and how its dumps end, how single tables are taken out of a dump, how a
//! dump is loaded into a server, and which of the things that the server says meanwhile are errors.
//!
//! Servers are spoken to through PostgreSQL's own programs alone: they read what dumps are made of, find passwords where users keep
//! them, and are there wherever a dump is made or restored.

pub mod custom;
pub mod error;
mod member;
pub mod programs;
pub mod source;
pub mod table;
pub mod target;
pub mod version;

pub use error::{Error, Result};
pub use member::{DATABASE, GLOBALS, member_file};
pub use programs::{Need, Programs};
pub use version::Version;
