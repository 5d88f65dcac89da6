//! What Backstay knows about PostgreSQL: how its dumps begin and end, which of its programs are at hand, how a dump is loaded into a
//! server, and which of the things that the server says meanwhile are errors.
//!
//! Servers are spoken to through `psql` alone: it reads what dumps are made of, finds passwords where users keep them, and is there
//! wherever a dump is restored.

pub mod dsn;
pub mod dump;
pub mod fault;
pub mod head;
pub mod judge;
pub mod load;
pub mod message;
pub mod programs;
pub mod psql;
pub mod scratch;
pub mod target;
pub mod version;

pub use dsn::Dsn;
pub use fault::Fault;
pub use head::Head;
pub use version::Version;
