//! A dump into a server: what the dump is, what the server is before, how the one is loaded into the other, and what the server says
//! meanwhile; and a server of one's own for a drill.

pub mod dsn;
pub mod facts;
pub mod head;
pub mod host;
pub mod judge;
pub mod load;
pub mod message;
pub mod psql;
pub mod reach;
pub mod scratch;
pub mod script;

pub use dsn::Dsn;
pub use facts::Facts;
pub use head::Head;
pub use host::Host;
pub use psql::Psql;
pub use reach::Reach;
