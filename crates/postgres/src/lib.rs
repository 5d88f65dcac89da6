//! What Backstay knows about PostgreSQL: how its dumps begin and end, and how a server is dumped.

pub mod custom;
pub mod dump;
pub mod error;
mod member;
mod progress;
pub mod server;
pub mod source;
pub mod table;

pub use error::{Error, Result};
pub use member::{DATABASE, GLOBALS, member_file};
