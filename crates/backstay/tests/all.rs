//! The verbs against stores in memory, in a directory and in a server: one module for each subject, one program for all, so that it is linked once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod also;
mod careless;
mod catalog;
mod check;
mod common;
mod copy;
mod crash;
mod damage;
mod damage_matrix;
mod gc;
mod in_flight;
mod pinned;
mod repair;
mod requests;
mod rewrap;
mod roles;
mod round_trip;
mod salvage;
mod set;
mod source;
mod spool;
mod verify;
mod weak_store;
