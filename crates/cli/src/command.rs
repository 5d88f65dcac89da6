//! One file for each verb: its options and what it does with them. The work itself is the library's.

pub(crate) mod backup;
pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod drill;
pub(crate) mod explain;
pub(crate) mod gc;
mod into_database;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod policy;
pub(crate) mod prune;
pub(crate) mod reassemble;
pub(crate) mod remark;
pub(crate) mod restore;
pub(crate) mod rm;
pub(crate) mod salvage;
pub(crate) mod show;
pub(crate) mod verify;
