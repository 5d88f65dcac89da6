//! What Backstay knows about PostgreSQL.

pub mod dump;
mod member;

pub use member::{DATABASE, GLOBALS, member_file};
