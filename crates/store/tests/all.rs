//! Stores, and what goes wrong with them: one module for each subject, one program for all, so that it is linked once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "a test may")]

mod clouds;
mod credentials;
mod faults;
mod local;
mod lost_answers;
mod memory;
mod object_options;
mod retries;
mod s3;
mod servers;
mod streams;
