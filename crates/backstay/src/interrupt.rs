//! The user wants to stop: a run is told by [`Context::interrupt`](crate::Context::interrupt), and its stores by the same flag.

pub use backstay_store::Interrupt;
