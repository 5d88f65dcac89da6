//! The verbs against stores in memory, in a directory and in a server: one module for each subject, one program for all, so that it is linked once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod also;
mod audit;
mod careless;
mod careless_copy;
mod catalog;
mod check;
mod common;
mod convert;
mod copy;
mod crash;
mod damage;
mod damage_matrix;
mod disordered;
mod gc;
mod guards;
mod in_flight;
mod keyless;
mod pinned;
mod prune;
mod repair;
mod report;
mod requests;
mod retention_plan;
mod rewrap;
mod roles;
mod round_trip;
mod salvage;
mod set;
mod set_retention;
mod set_source;
mod source;
mod spool;
mod stale_listing;
mod verify;
mod weak_store;
