//! What Backstay's tests share: the contract that every store keeps, real servers in process, and ways to break them. Never shipped, so it may panic
//! where a test would.

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

pub mod azurite;
mod child;
pub mod clocked;
pub mod contract;
mod dawdle;
pub mod disordered;
pub mod faults;
pub mod gcs_server;
mod generated;
mod handler;
pub mod moto;
pub mod permitted;
pub mod proxy;
pub mod record;
pub mod recorder;
mod runtime;
pub mod s3_server;
pub mod served;
mod tls;
mod wire;

pub use azurite::Azurite;
pub use clocked::Clocked;
pub use dawdle::dawdling;
pub use disordered::disordered;
pub use faults::Faults;
pub use gcs_server::GcsServer;
pub use generated::Generated;
pub use moto::Moto;
pub use permitted::permitted;
pub use proxy::Proxy;
pub use record::Record;
pub use recorder::Recorder;
pub use s3_server::S3Server;
pub use served::Served;

/// Tells whoever waits for the file on which port a server listens; never half of it.
///
/// # Errors
/// When the file cannot be written.
pub fn tell_port(file: &std::path::Path, endpoint: &str) -> std::io::Result<()> {
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    let unfinished = file.with_extension("tmp");
    std::fs::write(&unfinished, format!("{port}\n"))?;
    std::fs::rename(unfinished, file)
}

/// An empty store in memory that calls itself `url`, to tell two of them apart.
#[must_use]
pub fn memory_at(url: &str) -> backstay_store::Store {
    backstay_store::Store::from_object_store(std::sync::Arc::new(object_store::memory::InMemory::new()), "", url)
}

/// The SHA-256 of `bytes`, from another implementation than the product's.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
