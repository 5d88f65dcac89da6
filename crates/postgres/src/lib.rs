//! What Backstay knows about PostgreSQL: how its dumps begin and end, how a server is dumped, which of its programs are at hand, how a
//! dump is loaded into a server, and which of the things that the server says meanwhile are errors.
//!
//! Servers are spoken to through PostgreSQL's own programs alone: they read what dumps are made of, find passwords where users keep
//! them, and are there wherever a dump is made or restored.

pub mod custom;
pub mod dsn;
pub mod dump;
pub mod error;
pub mod fault;
pub mod head;
pub mod judge;
pub mod load;
mod member;
pub mod message;
pub mod programs;
mod progress;
pub mod psql;
pub mod scratch;
pub mod server;
pub mod source;
pub mod table;
pub mod target;
pub mod version;

pub use dsn::Dsn;
pub use error::{Error, Result};
pub use fault::Fault;
pub use head::Head;
pub use member::{DATABASE, GLOBALS, member_file};
pub use version::Version;
