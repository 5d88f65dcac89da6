//! The two codecs of the inner stream (`spec/archive.md`, "Inner stream").

pub mod gzip;
pub mod zstd;
