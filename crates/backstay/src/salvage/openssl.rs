//! Salvage of the openssl profile: what decrypts by itself, and the gzip members in it.
//!
//! A block needs only the one before it, so decryption goes on behind a hole as soon as the place in the stream is known.
//! Decompression goes on where members begin that can be told apart; see [`MemberRescue`]. In a sealed archive a part
//! whose digest is wrong is a hole. Without a seal nothing vouches for anything but the members' checksums.

use std::collections::BTreeMap;

use backstay_format::Error as Fault;
use backstay_format::codec::gzip::{Dialect, MemberRescue, Rescued};
use backstay_format::key::Keyring;
use backstay_format::manifest::Profile;
use backstay_format::openssl::{self as format, BLOCK, Decryptor, HEADER, KeyIv, unpad};
use futures::TryStreamExt as _;

use crate::archive::{Located, Object, Openssl};
use crate::error::{Error, Result};
use crate::observe::Event;
use crate::policy::{OpensslReading, ReadPolicy};
use crate::verify::Finding;

use super::{SLICE, Salvage};

/// Bytes of the stream that should be in one object.
struct Extent {
    /// Where they begin in the stream.
    at: u64,
    object: Object,
    sha256: Option<[u8; 32]>,
}

impl Salvage<'_> {
    /// Salvages an openssl archive; whether what came out is authentic.
    pub(super) async fn openssl(&mut self, located: &Located, keyring: &Keyring, policy: &ReadPolicy) -> Result<bool> {
        let (mut located, mut without_manifest) = (located, None);
        let demands_seal =
            policy.require_seal || policy.root.is_some() || policy.receipt.is_some() || policy.signer.is_some();
        let archive = match located.unlock_openssl(self.store, keyring, policy).await {
            // The password is right and the seal is not: what the manifest says is worth nothing, and the parts are what they are without one.
            Err(Error::Format(fault @ Fault::ManifestSeal { .. })) if !demands_seal => {
                self.find(&fault.into());
                let openssl =
                    located.committed.sealed().map_or(policy.openssl, |sealed| match &sealed.manifest.profile {
                        Profile::Openssl(head) => OpensslReading { kdf: Some(head.kdf), raw: !head.gzip },
                        Profile::Native(_) => policy.openssl,
                    });
                located = without_manifest.insert(located.without_manifest());
                let policy = ReadPolicy { openssl, ..policy.clone() };
                located.unlock_openssl(self.store, keyring, &policy).await?
            }
            archive => archive?,
        };
        let sealed = archive.manifest.is_some();
        self.length = archive.manifest.as_ref().and_then(|manifest| manifest.content);
        let (extents, total) = extents(&archive, located);
        let mut payload = Payload::new(&archive.key, archive.gzip, sealed);
        for Extent { at, object, sha256 } in extents {
            let pieces = match sha256 {
                None => Ok(self.fetcher.raw(&object)),
                Some(expected) => self.fetcher.digested(object, expected, self.hold).await,
            };
            let mut pieces = match pieces {
                Ok(pieces) => pieces,
                Err(error) => {
                    self.find_in_part(error)?;
                    continue;
                }
            };
            let mut at = at;
            loop {
                match pieces.try_next().await {
                    Ok(Some(piece)) => {
                        self.progress.stored += piece.stored;
                        let mut bytes = piece.bytes;
                        while !bytes.is_empty() {
                            let slice = bytes.split_to(bytes.len().min(SLICE));
                            let length = slice.len() as u64;
                            payload = self.take(payload, move |payload, given| payload.push(at, &slice, given)).await?;
                            at += length;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.find_in_part(error)?;
                        break;
                    }
                }
            }
        }
        // With a hole in it the stream's length is no second fault.
        let told = !self.findings.is_empty();
        let fault = payload.end_fault(total).filter(|_| !told);
        self.take(payload, move |payload, given| payload.finish(total, given)).await?;
        if let Some(fault) = fault {
            self.find(&Fault::from(fault).into());
        }
        self.judge_length();
        if sealed && archive.gzip && !self.holes.is_empty() {
            let text = "with `--no-manifest` also comes out what gzip's checksums allow of parts whose digest is wrong; nothing proves that then".to_owned();
            self.observer.event(&Event::Note { text });
        }
        if !sealed {
            let text = "this format cannot prove that what was taken out is genuine".to_owned();
            self.observer.event(&Event::Warning { code: Some("openssl.unauthenticated"), text });
        }
        Ok(sealed)
    }

    /// Works on the payload and writes what comes of it.
    async fn take(
        &mut self,
        mut payload: Payload,
        work: impl FnOnce(&mut Payload, &mut Vec<Given>) + Send + 'static,
    ) -> Result<Payload> {
        let worked = self.context.cpu.run(move || {
            let mut given = Vec::new();
            work(&mut payload, &mut given);
            (payload, given)
        });
        let (payload, given) = worked.await?;
        for given in given {
            match given {
                Given::At(at, bytes) => {
                    let end = self.output_end;
                    if at > end {
                        self.lost(end, Some(at), 0);
                    }
                    self.write(at, bytes).await?;
                }
                Given::Next(bytes) => self.write(self.content, bytes).await?,
                Given::Undecodable => {
                    let text = format!("the compressed data is damaged behind byte {} of what came out", self.content);
                    self.findings.push(Finding { code: "openssl.stream", object: None, text, of_archive: true });
                }
                Given::Lost { unproven } => self.lost(self.content, None, unproven),
                Given::End => {
                    let end = self.output_end;
                    self.lost(end, self.length.filter(|length| *length >= end), 0);
                }
            }
        }
        Ok(payload)
    }

    /// A lone hole with nothing behind it is as long as the manifest says.
    fn judge_length(&mut self) {
        let (length, content) = (self.length, self.content);
        match &mut self.holes[..] {
            [hole] if hole.end.is_none() && hole.start == content => {
                hole.end = length.filter(|length| *length >= content);
            }
            [] => {
                if let Some(expected) = length.filter(|length| *length != content) {
                    self.find(&Fault::StreamContent { found: content, expected }.into());
                }
            }
            _ => {}
        }
    }
}

/// Where in the stream each object belongs, and how long the stream is.
fn extents(archive: &Openssl, located: &Located) -> (Vec<Extent>, u64) {
    let mut objects: BTreeMap<u32, Object> =
        located.present().iter().map(|object| (object.n, object.clone())).collect();
    let mut extents = Vec::new();
    let mut at = 0;
    if let Some(manifest) = &archive.manifest {
        for (n, entry) in (manifest.first..).zip(&manifest.parts) {
            // One of another size has another digest.
            if let Some(object) = objects.remove(&n).filter(|object| object.size == entry.size) {
                extents.push(Extent { at, object, sha256: Some(entry.sha256) });
            }
            at += entry.size;
        }
        return (extents, at);
    }
    // `split` makes all parts but the last equally long. Where they are not, nobody knows how long a missing one was.
    let last = objects.keys().next_back().copied();
    let sizes: Vec<u64> = objects.values().filter(|object| Some(object.n) != last).map(|object| object.size).collect();
    let common = sizes.first().copied().filter(|first| sizes.iter().all(|size| size == first));
    let mut next = objects.keys().next().copied().unwrap_or(0);
    for (n, object) in objects {
        if n != next {
            // Nobody knows either where it stands what so many missing ones would come before.
            let missing = common.and_then(|size| size.checked_mul(u64::from(n - next)));
            let Some(after) = missing.and_then(|missing| missing.checked_add(at)) else { return (extents, u64::MAX) };
            at = after;
        }
        next = n + 1;
        let Some(end) = at.checked_add(object.size) else { return (extents, u64::MAX) };
        extents.push(Extent { at, object, sha256: None });
        at = end;
    }
    (extents, at)
}

/// What comes out of the payload.
enum Given {
    /// Content in its place.
    At(u64, Vec<u8>),
    /// Content that follows what came before.
    Next(Vec<u8>),
    /// The bytes are there, but do not decode.
    Undecodable,
    /// A hole of unknown length.
    Lost { unproven: u64 },
    /// The end is missing.
    End,
}

/// The payload of a stream with holes.
struct Payload {
    decryptor: Decryptor,
    /// `None` when the payload is the content itself.
    members: Option<MemberRescue>,
    /// Where the next bytes of the stream must begin to follow without a hole.
    next: u64,
    /// Bytes to pass over until a block begins.
    skip: usize,
    /// Whether the block before the next one is known, or is the beginning.
    primed: bool,
    previous: Option<[u8; BLOCK]>,
    /// Ciphertext that was not decrypted: always the last block, since it may be the stream's.
    held: Vec<u8>,
    /// Where the next decrypted byte stands in the payload.
    at: u64,
}

impl Payload {
    fn new(key: &KeyIv, gzip: bool, sealed: bool) -> Payload {
        Payload {
            decryptor: Decryptor::new(key),
            members: gzip.then(|| MemberRescue::new(Dialect::Stock, sealed, true)),
            next: 0,
            skip: HEADER,
            primed: true,
            previous: None,
            held: Vec::new(),
            at: 0,
        }
    }

    /// Takes the bytes that begin at `at` in the stream.
    fn push(&mut self, at: u64, bytes: &[u8], given: &mut Vec<Given>) {
        if at != self.next {
            self.hole(given);
            let (header, block) = (HEADER as u64, BLOCK as u64);
            let into = at.saturating_sub(header);
            self.skip = usize::try_from(header.saturating_sub(at) + (block - into % block) % block).unwrap_or(0);
            self.primed = at <= header;
            self.at = into.next_multiple_of(block);
        }
        self.next = at + bytes.len() as u64;
        self.held.extend_from_slice(bytes);
        let skipped = self.skip.min(self.held.len());
        self.held.drain(..skipped);
        self.skip -= skipped;
        if !self.primed
            && let Some(first) = self.held.first_chunk()
        {
            self.previous = Some(*first);
            self.held.drain(..BLOCK);
            self.at += BLOCK as u64;
            self.primed = true;
        }
        if self.primed {
            self.decrypt(self.held.len().saturating_sub(1) / BLOCK * BLOCK, given);
        }
    }

    /// Decrypts the first `length` bytes that are held, which are whole blocks.
    fn decrypt(&mut self, length: usize, given: &mut Vec<Given>) {
        let rest = self.held.split_off(length);
        let mut blocks = std::mem::replace(&mut self.held, rest);
        let Some(last) = blocks.last_chunk().copied() else { return };
        self.decryptor.decrypt(self.previous.as_ref(), &mut blocks);
        self.previous = Some(last);
        self.give(blocks, given);
    }

    fn give(&mut self, plain: Vec<u8>, given: &mut Vec<Given>) {
        let at = self.at;
        self.at += plain.len() as u64;
        let Some(members) = &mut self.members else {
            given.push(Given::At(at, plain));
            return;
        };
        let mut rescued = Vec::new();
        members.push(&plain, &mut rescued);
        for found in rescued {
            match found {
                Rescued::Content(bytes) => given.push(Given::Next(bytes)),
                Rescued::Lost { unproven } => given.extend([Given::Undecodable, Given::Lost { unproven }]),
            }
        }
    }

    /// Bytes of the stream are missing here.
    fn hole(&mut self, given: &mut Vec<Given>) {
        if self.primed && self.skip == 0 {
            self.decrypt(self.held.len() / BLOCK * BLOCK, given);
        }
        self.held.clear();
        self.previous = None;
        if let Some(members) = &mut self.members {
            let mut rescued = Vec::new();
            members.hole(&mut rescued);
            given.extend(rescued.into_iter().map(told));
        }
    }

    /// What is wrong with the end of the stream.
    fn end_fault(&self, total: u64) -> Option<format::Error> {
        format::check_length(total).err().or_else(|| self.last_block().is_none().then_some(format::Error::Padding))
    }

    /// The content of the last block, if it is one.
    fn last_block(&self) -> Option<Vec<u8>> {
        let mut last: [u8; BLOCK] = self.held[..].try_into().ok().filter(|_| self.primed && self.skip == 0)?;
        self.decryptor.decrypt(self.previous.as_ref(), &mut last);
        unpad(&last).ok().map(|content| last[..content].to_vec())
    }

    /// Nothing more is there of a stream of `total` bytes.
    fn finish(&mut self, total: u64, given: &mut Vec<Given>) {
        match self.last_block().filter(|_| self.next == total) {
            Some(last) => {
                self.give(last, given);
                if let Some(members) = &mut self.members {
                    let mut rescued = Vec::new();
                    members.finish(&mut rescued);
                    for found in rescued {
                        if let Rescued::Lost { .. } = found {
                            given.push(Given::Undecodable);
                        }
                        given.push(told(found));
                    }
                }
            }
            None => {
                self.hole(given);
                if self.members.is_none() {
                    given.push(Given::End);
                }
            }
        }
    }
}

fn told(found: Rescued) -> Given {
    match found {
        Rescued::Content(bytes) => Given::Next(bytes),
        Rescued::Lost { unproven } => Given::Lost { unproven },
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the streams of these tests are short")]
mod tests {
    use backstay_format::openssl::{Digest, Encryptor, Kdf, Password, Salt};

    use super::*;

    #[test]
    fn whatever_is_missing_every_whole_block_behind_a_known_one_is_decrypted_in_its_place() {
        let key = Kdf::BytesToKey(Digest::Md5).derive(&Password::new(b"KEY".to_vec()), Salt([3; 8]));
        let content: Vec<u8> = (0..200).collect();
        let mut stream = b"Salted__saltsalt".to_vec();
        let mut encryptor = Encryptor::new(&key);
        encryptor.update(&content, &mut stream);
        encryptor.finish(&mut stream);
        let total = stream.len() as u64;
        for from in 0..stream.len() {
            for to in [from, from + 1, from + 15, from + 16, from + 33].into_iter().filter(|to| *to <= stream.len()) {
                for cut in [1, 7, 1000] {
                    let mut payload = Payload::new(&key, false, true);
                    let mut given = Vec::new();
                    for range in [0..from, to..stream.len()] {
                        let mut at = range.start as u64;
                        for piece in stream[range].chunks(cut) {
                            payload.push(at, piece, &mut given);
                            at += piece.len() as u64;
                        }
                    }
                    payload.finish(total, &mut given);
                    let mut found = vec![None; content.len()];
                    for given in given {
                        let Given::At(at, bytes) = given else { continue };
                        for (i, byte) in bytes.into_iter().enumerate() {
                            found[at as usize + i] = Some(byte);
                        }
                    }
                    for (i, byte) in content.iter().enumerate() {
                        // The block that holds the byte, and the one before it, which for the first one is no part of the stream.
                        let block = HEADER + i / BLOCK * BLOCK;
                        let needed = if i < BLOCK { block } else { block - BLOCK }..block + BLOCK;
                        let is_there = to == from || needed.end <= from || needed.start >= to;
                        assert_eq!(found[i], is_there.then_some(*byte), "byte {i} without {from}..{to} by {cut}");
                    }
                }
            }
        }
    }
}
