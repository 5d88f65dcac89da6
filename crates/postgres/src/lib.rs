//! What Backstay knows about PostgreSQL.

pub mod dump;
