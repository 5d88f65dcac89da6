//! The openssl profile and the limits of archives: one module for each subject, one program for all, so that it is linked once.
#![allow(clippy::unwrap_used, reason = "in functions that tests call")]

mod limits;
mod openssl_damage;
mod openssl_fixtures;
mod openssl_read;
mod openssl_write;
mod stock;
