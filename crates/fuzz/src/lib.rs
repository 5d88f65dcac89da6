//! Fuzz targets: every parser of bytes that others wrote, as a plain function that must return.
//!
//! A target may refuse its input, and nearly always does; it must neither panic, nor hang, nor take memory without bound, and what it accepts
//! must be consistent. Two programs run them: the quick loop here ([`hammer`]), in every test run, and libFuzzer, which looks at what an
//! input reaches (the folder `fuzz` at the top, `scripts/fuzz`). What the second finds becomes a test or a vector, and its corpus is kept.

// It is for tests, and may panic where a test would.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod archive;
pub mod corpus;
mod document;
mod dump;
mod edits;
mod fixture;
mod hammer;
mod key;
mod part;
mod rescue;
mod stock;
mod stream;

pub use hammer::hammer;

/// One target: its name, inputs to begin with, and the function.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Valid inputs.
    pub seeds: Vec<Vec<u8>>,
    /// What must return for any input.
    pub run: fn(&[u8]),
}

/// All targets.
pub fn targets() -> Vec<Target> {
    let target = |name, seeds, run| Target { name, seeds, run };
    let (frames, members) = (fixture::zstd_stream(), fixture::gzip_stream());
    let parts = fixture::sealed(&frames);
    let recipient = b"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_vec();
    vec![
        target("header", vec![document::line()], document::header_line),
        target("manifest", vec![document::manifest()], document::read_manifest),
        target("set", vec![document::set()], document::read_set),
        target("report", vec![document::report()], document::read_report),
        target("remark", vec![document::remark()], document::read_remark),
        target("name", document::names(), document::object_name),
        target("slot", key::slots(), key::key_slot),
        target("key", vec![recipient, vec![b'0'; 64]], key::key_text),
        target("zstd", vec![frames.clone()], stream::zstd_inner),
        target("seek_table", vec![frames.clone()], stream::seek_table),
        target("gzip", vec![members.clone()], stream::gzip_inner),
        target("openssl", vec![fixture::openssl_stream()], stream::openssl_reader),
        target("openssl_beside_stock", vec![fixture::openssl_stream()], stock::stream),
        target("gzip_beside_stock", vec![members.clone(), stock::member_with_every_field()], stock::payload),
        target("part", parts.clone(), part::part),
        target("salvaged_part", parts, part::salvaged_part),
        target("salvaged_frames", vec![frames.clone()], rescue::salvaged_frames),
        target("salvaged_members", vec![members], rescue::salvaged_members),
        target("resealed", vec![frames], part::resealed),
        target("archive", archive::seeds(), archive::whole),
        target("dump_head", dump::heads(), dump::dump_head),
        target("custom_dump", dump::customs(), dump::custom_dump),
        target("messages", dump::conversations(), dump::messages),
        target("connection", dump::connections(), dump::connection),
    ]
}
