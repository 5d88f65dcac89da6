//! The stock tools that the openssl profile must agree with, run for real. A tool that is missing
//! fails the test.

#![allow(dead_code, missing_docs)] // every test binary uses its own part of this

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use backstay_format::openssl::{Done, Error, Job, Kdf, KeyIv, Next, Reader};

/// Runs a shell pipeline in `dir` with `input` on its stdin.
pub(crate) fn shell(dir: &Path, script: &str, input: &[u8]) -> Output {
    let mut child = Command::new("bash")
        .args(["-c", script])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash is installed");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        // A pipeline that fails early closes its stdin early.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// Runs a shell pipeline every stage of which must succeed, and returns its stdout.
pub(crate) fn run(dir: &Path, script: &str, input: &[u8]) -> Vec<u8> {
    let output = shell(dir, &format!("set -euo pipefail; {script}"), input);
    assert!(output.status.success(), "{script}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// An empty directory of this test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Content that compresses like a dump: lines with counters, words and some noise.
pub(crate) fn dump(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 100);
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let mut row = 0;
    while text.len() < length {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        row += 1;
        writeln!(text, "{row}\tcustomer-{:x}\t{}\tactive\t\\N", noise >> 20, noise % 1000).unwrap();
    }
    text.truncate(length);
    text
}

/// Reads a stream given as parts with `reader`, keeping up to `width` jobs running. Jobs run in the
/// reverse of the order in which their results are taken, as they may with threads.
pub(crate) fn read<'a>(
    reader: Reader,
    parts: impl IntoIterator<Item = &'a [u8]>,
    width: usize,
) -> (Vec<u8>, Result<u64, Error>) {
    let (content, _, result) = read_with_key(reader, parts, width);
    (content, result)
}

/// As [`read`], and tells how the key was derived.
pub(crate) fn read_with_key<'a>(
    mut reader: Reader,
    parts: impl IntoIterator<Item = &'a [u8]>,
    width: usize,
) -> (Vec<u8>, Option<Kdf>, Result<u64, Error>) {
    let mut parts = parts.into_iter();
    let mut running: Vec<Job> = Vec::new();
    let mut content = Vec::new();
    loop {
        let next = if running.len() == width { Next::Result } else { reader.next() };
        match next {
            Next::Run(job) => running.push(job),
            Next::Input => match parts.next() {
                Some(part) => reader.push(part),
                None => reader.end_input(),
            },
            Next::Result => {
                assert!(!running.is_empty(), "a result is asked for when a job is running");
                let mut done: Vec<Done> = running.drain(..).rev().map(|job| job.run(Vec::new)).collect();
                while let Some(done) = done.pop() {
                    content.extend(reader.complete(done));
                }
            }
            Next::End => break,
        }
    }
    let kdf = reader.key().map(KeyIv::kdf);
    (content, kdf, reader.finish())
}
