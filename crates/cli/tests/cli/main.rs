//! The real binary, run as a user runs it: one module for each verb or concern.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "a test may")]

mod also;
mod backup;
mod catalog;
mod check;
mod config;
mod copy;
mod demands;
mod drill;
mod explain;
mod gc;
mod gcs;
mod guards;
mod harness;
mod help;
mod interrupt;
mod json;
mod key;
mod list;
mod openssl;
mod output;
mod plugin;
mod prune;
mod reassemble;
mod restore;
mod s3;
mod salvage;
mod secrets;
mod set;
mod source;
mod spool;
mod ssh;
mod stopped;
mod target;
mod terminal;
mod verify;
