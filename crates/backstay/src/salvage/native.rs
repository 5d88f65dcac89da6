//! Salvage of the native profile: segment by segment, then frame by frame.
//!
//! ```text
//! header lines ─► secret ─► seek table ─► runs of segments ─► whole frames ─► decode ─► write in place
//!                                         N cores, in order   in order        N cores   in order
//! ```
//!
//! Nothing that is read here has to be right, so nothing is believed before a segment opens under it: the header's fields
//! come from the manifest or from whichever parts agree, and an object is the part that its first line says it is.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use backstay_format::Error as Fault;
use backstay_format::codec::gzip::{self, Dialect, MemberRescue};
use backstay_format::codec::zstd::{Decompressor, FOOTER, FrameRescue, Rescued, SeekTable};
use backstay_format::header::{Codec, Head, MAX_LINE};
use backstay_format::key::Keyring;
use backstay_format::manifest::Manifest;
use backstay_format::salvage::{PartRescue, Stated};
use backstay_format::schedule::Keys;
use backstay_format::segment::{Flag, TAG};
use backstay_store::Store;
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};

use crate::archive::{LINE, Located, Object};
use crate::decode::content_at_once;
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::observe::Event;
use crate::policy::ReadPolicy;
use crate::verify::Finding;

use super::{SLICE, Salvage};

/// The longest seek table that is fetched: that of more content than any archive has.
const MAX_TABLE: u64 = 512 << 20;

/// An object that is named like a part, and what its header line says.
struct Seen {
    object: Object,
    n: u32,
    rnd: Option<[u8; 16]>,
    /// Which of the heads that were found.
    head: std::result::Result<usize, Error>,
}

/// What the parts share, once a key fits it.
struct Unlocked {
    head: Head,
    keys: Keys,
    /// The manifest, when its seal is right.
    manifest: Option<Manifest>,
}

/// A part that may be opened.
struct Source {
    object: Object,
    rescue: PartRescue,
    /// What is wrong with its header line.
    fault: Option<Error>,
}

/// Where bytes stand in the inner stream, and the bytes.
type Piece = (u64, Vec<u8>);

/// Some segments of a part.
struct Run {
    n: u32,
    source: Arc<Source>,
    segments: Range<u64>,
}

/// What came of a run.
struct Opened {
    run: Run,
    /// The plaintext of runs of segments that opened.
    pieces: Vec<Piece>,
    bad: Vec<Range<u64>>,
    /// How the last segment that opened was marked.
    flag: Option<Flag>,
    /// Why nothing could be fetched.
    fault: Option<Error>,
    stored: u64,
}

/// What is known of the part that is being read.
#[derive(Default)]
struct Findings {
    bad: Vec<Range<u64>>,
    flag: Option<Flag>,
    opened: bool,
    fault: Option<Error>,
}

/// A frame that is being decoded, and the content that it holds.
type Decoding = (Range<u64>, Pin<Box<dyn Future<Output = Result<backstay_format::Result<Vec<u8>>>> + Send>>);

/// From the inner stream with holes to content.
enum Finder {
    Zstd { rescue: FrameRescue, decoding: VecDeque<Decoding> },
    Gzip { rescue: Option<Box<MemberRescue>>, next: u64 },
}

impl Salvage<'_> {
    /// Salvages a native archive; whether what came out is authentic.
    pub(super) async fn native(&mut self, located: &Located, keyring: &Keyring, policy: &ReadPolicy) -> Result<bool> {
        let (seen, heads) = self.look_at_parts(located).await?;
        let unlocked = self.unlock(located, &heads, &seen, keyring, policy).await?;
        let (count, sources, displaced) = sources(located, &heads, seen, &unlocked);
        for fault in displaced {
            let found = Finding::of(&fault);
            if !self.findings.iter().any(|told| told.object == found.object) {
                self.findings.push(found);
            }
        }
        let common = &unlocked.head.common;
        let part_content = common.part_content();
        self.length = unlocked.manifest.as_ref().and_then(|manifest| manifest.content);

        let mut finder = match common.codec {
            Codec::Zstd => {
                let table = self.seek_table(count, &sources, part_content).await?;
                self.length = table.as_ref().map(SeekTable::content).or(self.length);
                Finder::Zstd { rescue: FrameRescue::new(table), decoding: VecDeque::new() }
            }
            Codec::Gzip => {
                let rescue = MemberRescue::new(Dialect::Native, true, false);
                Finder::Gzip { rescue: Some(Box::new(rescue)), next: 0 }
            }
        };
        let per_run = (self.fetcher.run / (u64::from(common.seg) + TAG as u64)).max(1);
        let runs: Vec<(u32, Arc<Source>)> = sources.into_iter().filter(|(n, _)| *n < count).collect();
        let runs = runs.into_iter().flat_map(move |(n, source)| {
            let segments = source.rescue.segments();
            // A part without a segment is looked at all the same: it is to be told.
            let starts = (0..segments.max(1)).step_by(usize::try_from(per_run).unwrap_or(usize::MAX));
            starts.map(move |at| Run { n, source: Arc::clone(&source), segments: at..(at + per_run).min(segments) })
        });
        let fetcher = self.fetcher.clone();
        let mut opened = stream::iter(runs)
            .map(move |run| open_run(fetcher.clone(), run, part_content))
            .buffered(self.fetcher.ahead);
        let mut part = Findings::default();
        let mut ended = false;
        while let Some(opened) = opened.next().await {
            let Opened { run, pieces, bad, flag, fault, stored } = opened?;
            self.progress.stored += stored;
            part.bad.extend(bad);
            part.flag = flag.or(part.flag);
            part.opened |= !pieces.is_empty();
            part.fault = part.fault.or(fault);
            for (at, bytes) in pieces {
                self.give(&mut finder, at, bytes).await?;
            }
            if run.segments.end == run.source.rescue.segments() {
                ended = run.n + 1 == count && part.flag == Some(Flag::EndOfArchive);
                self.judge_part(&run, std::mem::take(&mut part), run.n + 1 == count, located)?;
            }
        }
        self.finish(finder, ended).await?;
        Ok(common.open.is_none())
    }

    /// Reads the header line of every object that is named like a part.
    async fn look_at_parts(&mut self, located: &Located) -> Result<(Vec<Seen>, Vec<(Head, usize)>)> {
        let mut seen = Vec::new();
        let mut heads: Vec<(Head, usize)> = Vec::new();
        let store = self.store;
        let mut starts = stream::iter(located.objects.parts.clone())
            .map(|object| async move {
                let start = start_of(store, &object).await;
                (object, start)
            })
            .buffered(self.fetcher.ahead);
        while let Some((object, start)) = starts.next().await {
            let stated = match start {
                Ok(bytes) => Stated::read(&bytes, &located.id, object.n),
                Err(error) if error.ends_only_a_part() => {
                    seen.push(Seen { n: object.n, object, rnd: None, head: Err(error) });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let head = stated.header.map_err(Error::from).map(|header| {
                let len = header.line.len();
                let known = heads.iter().position(|(head, _)| head.rest == header.rest && head.len == len);
                let at = known.unwrap_or_else(|| {
                    heads.push((Head { common: header.common, rest: header.rest, len }, 0));
                    heads.len() - 1
                });
                heads[at].1 += 1;
                at
            });
            seen.push(Seen { object, n: stated.n, rnd: stated.rnd, head });
        }
        Ok((seen, heads))
    }

    /// Finds the secret: with what a manifest says whose seal then turns out to be right, else with what most parts say.
    async fn unlock(
        &mut self,
        located: &Located,
        heads: &[(Head, usize)],
        seen: &[Seen],
        keyring: &Keyring,
        policy: &ReadPolicy,
    ) -> Result<Unlocked> {
        let demands_seal = policy.require_seal || policy.root.is_some() || policy.receipt.is_some();
        let stated = located.head().map(|(head, _)| head);
        let mut by_count: Vec<&(Head, usize)> = heads.iter().collect();
        by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        // A key is tried on a few at most: each can cost the work of a passphrase.
        let of_parts = by_count.into_iter().map(|(head, _)| head).take(4);
        let mut first_fault = None;
        let mut fallback = None;
        for (i, head) in stated.into_iter().chain(of_parts).enumerate() {
            let of_manifest = i == 0 && stated.is_some();
            let unlocked = match located.unlock_with(&head.common, self.store, keyring, policy).await {
                Ok(unlocked) => unlocked,
                Err(error @ Error::Format(_)) => {
                    first_fault.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for text in unlocked.notes {
                self.observer.event(&Event::Note { text });
            }
            let sealed = located.committed.sealed();
            let seal = sealed.map(|sealed| sealed.check(&unlocked.keys.seal()));
            let trusted = matches!(seal, Some(Ok(())));
            let manifest = sealed.filter(|_| trusted).map(|sealed| sealed.manifest.clone());
            // A sealed head is the right one even if no part has it any more.
            let head = stated.filter(|_| trusted).unwrap_or(head).clone();
            let found = Unlocked { head, keys: unlocked.keys, manifest };
            if trusted || !of_manifest {
                if let Some(Err(fault)) = seal {
                    if demands_seal {
                        return Err(fault.into());
                    }
                    self.find(&fault.into());
                }
                located.judge_root(policy)?;
                return Ok(found);
            }
            fallback = Some(found);
        }
        if let (Some(found), Some(sealed)) = (fallback, located.committed.sealed())
            && let Err(fault) = sealed.check(&found.keys.seal())
        {
            if demands_seal {
                return Err(fault.into());
            }
            self.find(&fault.into());
            return Ok(found);
        }
        // Why there is no header at all is in the first object.
        let why_none = seen.iter().find_map(|seen| match &seen.head {
            Err(Error::Format(fault)) => Some(Error::Format(fault.clone())),
            _ => None,
        });
        let none = || Fault::PartMissing { id: located.id.to_string(), n: 0 }.into();
        Err(first_fault.or(why_none).unwrap_or_else(none))
    }

    /// The seek table, if the end of the archive is there and all of the table can be opened.
    async fn seek_table(
        &self,
        count: u32,
        sources: &BTreeMap<u32, Arc<Source>>,
        part_content: u64,
    ) -> Result<Option<SeekTable>> {
        let Some(last) = count.checked_sub(1).and_then(|n| sources.get(&n)) else { return Ok(None) };
        let segments = last.rescue.segments();
        let Some(end) = segments.checked_sub(1) else { return Ok(None) };
        let run = |n, source: &Arc<Source>, segments| Run { n, source: Arc::clone(source), segments };
        let opened = open_run(self.fetcher.clone(), run(count - 1, last, end..segments), part_content).await?;
        let (Some(Flag::EndOfArchive), [(at, tail)]) = (opened.flag, &opened.pieces[..]) else { return Ok(None) };
        let total = at + tail.len() as u64;
        let (mut at, mut tail) = (*at, tail.clone());
        // Backwards until the whole table is there: its length stands in its last bytes.
        let (mut n, mut end) = (count - 1, end);
        loop {
            let needed = if tail.len() < FOOTER {
                FOOTER as u64
            } else {
                match SeekTable::length(&tail[tail.len() - FOOTER..], total) {
                    Ok(length) if length <= MAX_TABLE.min(total) => length,
                    _ => return Ok(None),
                }
            };
            if needed <= tail.len() as u64 {
                let start = tail.len() - usize::try_from(needed).unwrap_or(0);
                return Ok(SeekTable::parse(&tail[start..], total).ok());
            }
            if end == 0 {
                let Some(before) = n.checked_sub(1) else { return Ok(None) };
                n = before;
                end = match sources.get(&n) {
                    Some(source) => source.rescue.segments(),
                    None => return Ok(None),
                };
                continue;
            }
            let Some(source) = sources.get(&n) else { return Ok(None) };
            let seg = part_content / source.rescue.full();
            let wanted = (needed - tail.len() as u64).div_ceil(seg).min(end);
            let opened = open_run(self.fetcher.clone(), run(n, source, end - wanted..end), part_content).await?;
            match &opened.pieces[..] {
                [(start, bytes)] if start + bytes.len() as u64 == at => {
                    tail.splice(0..0, bytes.iter().copied());
                    at = *start;
                    end -= wanted;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Takes authentic bytes of the inner stream and writes the content in them.
    async fn give(&mut self, finder: &mut Finder, at: u64, bytes: Vec<u8>) -> Result<()> {
        match finder {
            Finder::Zstd { rescue, decoding } => {
                let mut rescued = Vec::new();
                rescue.push(at, &bytes, &mut rescued);
                self.decode(rescued, decoding).await
            }
            Finder::Gzip { rescue, next } => {
                let hole = at != *next;
                *next = at + bytes.len() as u64;
                let mut bytes = Bytes::from(bytes);
                while let Some(mut members) = rescue.take() {
                    let slice = bytes.split_to(bytes.len().min(SLICE));
                    let found = self.context.cpu.run(move || {
                        let mut rescued = Vec::new();
                        if hole {
                            members.hole(&mut rescued);
                        } else {
                            members.push(&slice, &mut rescued);
                        }
                        (members, rescued)
                    });
                    let (members, rescued) = found.await?;
                    self.take_members(rescued).await?;
                    // Behind a hole nothing more can be read.
                    *rescue = (!hole).then_some(members);
                    if bytes.is_empty() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// The end of what is there.
    async fn finish(&mut self, finder: Finder, ended: bool) -> Result<()> {
        match finder {
            Finder::Zstd { rescue, mut decoding } => {
                let mut rescued = Vec::new();
                rescue.finish(&mut rescued);
                self.decode(rescued, &mut decoding).await?;
                while let Some(decoded) = decoding.pop_front() {
                    self.take_frame(decoded).await?;
                }
            }
            Finder::Gzip { rescue: None, .. } => {}
            Finder::Gzip { rescue: Some(mut members), .. } => {
                let mut rescued = Vec::new();
                // A stream that was cut may seem to end between two members.
                if ended {
                    members.finish(&mut rescued);
                } else {
                    members.hole(&mut rescued);
                }
                self.take_members(rescued).await?;
            }
        }
        // A hole at the end is as long as the manifest says.
        let length = self.length;
        if let Some(last) = self.holes.last_mut().filter(|last| last.end.is_none()) {
            last.end = length.filter(|length| *length >= last.start);
        }
        Ok(())
    }

    async fn decode(&mut self, rescued: Vec<Rescued>, decoding: &mut VecDeque<Decoding>) -> Result<()> {
        for found in rescued {
            match found {
                Rescued::Lost { start, end } => {
                    // Holes and content are told in order.
                    while let Some(decoded) = decoding.pop_front() {
                        self.take_frame(decoded).await?;
                    }
                    self.lost(start, end, 0);
                }
                Rescued::Frame { frame, at } => {
                    let at_once = content_at_once(&self.context.cpu);
                    while decoding.len() > self.context.cpu.cores() || held(decoding) >= at_once {
                        let Some(decoded) = decoding.pop_front() else { break };
                        self.take_frame(decoded).await?;
                    }
                    let content = at..at + frame.content as u64;
                    let decoded = self.context.cpu.run(move || {
                        let mut content = Vec::new();
                        Decompressor::default().decompress(&frame, &mut content).map(|()| content)
                    });
                    decoding.push_back((content, Box::pin(decoded)));
                }
            }
        }
        Ok(())
    }

    async fn take_frame(&mut self, (content, decoded): Decoding) -> Result<()> {
        match decoded.await? {
            Ok(bytes) => self.write(content.start, bytes).await,
            Err(fault) => {
                self.find(&fault.into());
                self.lost(content.start, Some(content.end), 0);
                Ok(())
            }
        }
    }

    async fn take_members(&mut self, rescued: Vec<gzip::Rescued>) -> Result<()> {
        for found in rescued {
            match found {
                gzip::Rescued::Content(bytes) => self.write(self.content, bytes).await?,
                gzip::Rescued::Lost { unproven } => self.lost(self.content, None, unproven),
            }
        }
        Ok(())
    }

    /// Tells what is wrong with a part that was read to its end.
    fn judge_part(&mut self, run: &Run, part: Findings, is_last: bool, located: &Located) -> Result<()> {
        let Run { n, source, .. } = run;
        let object = source.object.name.clone();
        let told = self.findings.len();
        if let Some(Error::Format(fault)) = &source.fault {
            self.find(&Error::Format(fault.clone()));
        }
        if let Some(fault) = part.fault {
            self.find_in_part(fault)?;
        }
        // That nothing opens in an object that is no part is no news.
        if part.opened || self.findings.len() == told {
            for segments in merged(part.bad) {
                self.findings.push(not_authentic(&object, &segments));
            }
        }
        let known = |finding: &Finding| finding.object.as_ref() == Some(&object);
        if self.findings.len() > told || self.findings.iter().any(known) {
            return Ok(());
        }
        let id = located.id.to_string();
        let short = source.rescue.segments() < source.rescue.full();
        let fault = match (part.flag, is_last) {
            (Some(Flag::EndOfArchive), true) => return Ok(()),
            (Some(Flag::EndOfPart), false) if !short => return Ok(()),
            (Some(Flag::EndOfArchive), false) => Fault::PartExtra { object: format!("what follows {object}") },
            (Some(Flag::EndOfPart), true) => Fault::ArchiveTruncated { id, last: *n },
            _ => Fault::PartTruncated { object, why: "its last segments are missing" },
        };
        self.find(&fault.into());
        Ok(())
    }
}

/// Which object is which part, and how many parts there are; and what is wrong with objects that say they are a part which another one is.
fn sources(
    located: &Located,
    heads: &[(Head, usize)],
    seen: Vec<Seen>,
    unlocked: &Unlocked,
) -> (u32, BTreeMap<u32, Arc<Source>>, Vec<Error>) {
    let Unlocked { head, keys, manifest } = unlocked;
    let entries = manifest.as_ref().map(|manifest| &manifest.parts);
    let unproved = located.head().map(|(_, parts)| parts);
    let mut sources: BTreeMap<u32, Arc<Source>> = BTreeMap::new();
    let mut displaced = Vec::new();
    for Seen { object, n, rnd, head: found } in seen {
        let entry = entries.and_then(|entries| entries.get(n as usize));
        // The seal says which random bytes the part has; without it, whichever opens are the right ones.
        let rnds: Vec<[u8; 16]> = match entry.and_then(|entry| entry.rnd) {
            Some(rnd) => vec![rnd],
            None => {
                let said = unproved.and_then(|parts| parts.get(n as usize)).and_then(|entry| entry.rnd);
                rnd.into_iter().chain(said.filter(|said| rnd != Some(*said))).collect()
            }
        };
        let fault = match found {
            Err(fault) => Some(fault),
            Ok(at) if heads[at].0 != *head => {
                Some(Fault::PartForeign { object: object.name.clone(), field: "header" }.into())
            }
            Ok(_) if rnd.is_some_and(|rnd| !rnds.contains(&rnd)) => {
                Some(Fault::PartForeign { object: object.name.clone(), field: "rnd" }.into())
            }
            Ok(_) => None,
        };
        let size = entry.map_or(object.size, |entry| entry.size.min(object.size));
        let rescue = PartRescue::new(&located.id, head, keys, n, &rnds, size);
        let named_so = object.n == n;
        let source = Arc::new(Source { object, rescue, fault });
        let other = match sources.entry(n) {
            Entry::Vacant(place) => {
                place.insert(source);
                continue;
            }
            Entry::Occupied(mut place) if named_so => place.insert(source),
            Entry::Occupied(_) => source,
        };
        if let Some(Error::Format(fault)) = &other.fault {
            displaced.push(fault.clone().into());
        }
    }
    let present = sources.keys().next_back().map_or(0, |last| last + 1);
    let count = entries.map_or(present, |entries| u32::try_from(entries.len()).unwrap_or(u32::MAX));
    (count, sources, displaced)
}

/// The first bytes of an object: enough for any header line that ends in them.
async fn start_of(store: &Store, object: &Object) -> Result<Vec<u8>> {
    let limit = object.size.min(MAX_LINE as u64);
    let start = store.get_range(&object.name, 0..limit.min(LINE as u64)).await?;
    if start.contains(&b'\n') || start.len() as u64 == limit {
        return Ok(start.into());
    }
    Ok(store.get_range(&object.name, 0..limit).await?.into())
}

/// Fetches some segments of a part and opens those that are authentic.
async fn open_run(fetcher: Fetcher, run: Run, part_content: u64) -> Result<Opened> {
    let nothing = |run: Run, fault| Opened { run, pieces: Vec::new(), bad: Vec::new(), flag: None, fault, stored: 0 };
    if run.segments.is_empty() {
        return Ok(nothing(run, None));
    }
    let (store, name) = (&fetcher.store, &run.source.object.name);
    let stored = run.source.rescue.stored(run.segments.start, run.segments.end);
    let length = stored.end - stored.start;
    let fetched = match store.get_range(name, stored.clone()).await {
        Ok(bytes) => vec![Some(bytes)],
        Err(error) => {
            let error = Error::from(error);
            if !error.ends_only_a_part() {
                return Err(error);
            }
            // A disk that cannot read one block can read the others.
            let mut bytes = Vec::new();
            for at in run.segments.clone() {
                bytes.push(store.get_range(name, run.source.rescue.stored(at, at + 1)).await.ok());
            }
            if bytes.iter().all(Option::is_none) {
                return Ok(nothing(run, Some(error)));
            }
            let opened = open(&fetcher, run, bytes, part_content, length).await?;
            return Ok(Opened { fault: Some(error), ..opened });
        }
    };
    open(&fetcher, run, fetched, part_content, length).await
}

/// Opens segments that were fetched: all in one piece, or each by itself.
async fn open(
    fetcher: &Fetcher,
    run: Run,
    fetched: Vec<Option<Bytes>>,
    part_content: u64,
    stored: u64,
) -> Result<Opened> {
    let opened = fetcher.cpu.run(move || {
        let rescue = &run.source.rescue;
        let start = rescue.stored(run.segments.start, run.segments.end).start;
        let seg = part_content / rescue.full();
        let whole = fetched.len() == 1;
        let (mut pieces, mut bad, mut flag) = (Vec::<Piece>::new(), Vec::<Range<u64>>::new(), None);
        let mut follows = false;
        for (i, number) in run.segments.clone().enumerate() {
            let place = rescue.stored(number, number + 1);
            let cut = |at: u64| usize::try_from(at - start).unwrap_or(usize::MAX);
            let sealed = match fetched.get(if whole { 0 } else { i }).and_then(Option::as_ref) {
                Some(bytes) if whole => bytes.get(cut(place.start)..cut(place.end)),
                Some(bytes) => Some(&bytes[..]),
                None => None,
            };
            if !follows {
                pieces.push((u64::from(run.n) * part_content + number * seg, Vec::new()));
            }
            let plain = &mut pieces.last_mut().expect("one was pushed, now or before").1;
            let found = sealed.and_then(|sealed| rescue.open(number, sealed, plain));
            // What could not be read has a fault of its own.
            if found.is_none() && sealed.is_some() {
                bad.push(number..number + 1);
            }
            follows = found.is_some();
            flag = found.or(flag);
        }
        pieces.retain(|(_, plain)| !plain.is_empty());
        Opened { run, pieces, bad: merged(bad), flag, fault: None, stored }
    });
    opened.await
}

/// Content of the frames that are being decoded.
fn held(decoding: &VecDeque<Decoding>) -> u64 {
    decoding.iter().map(|(content, _)| content.end - content.start).sum()
}

/// Ranges that follow one another, as one.
fn merged(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range),
        }
    }
    merged
}

fn not_authentic(object: &str, segments: &Range<u64>) -> Finding {
    let single = Fault::SegmentAuth { object: object.to_owned(), segment: segments.start };
    if segments.end - segments.start == 1 {
        return Finding::of(&single.into());
    }
    let text = format!("{object} is not authentic at segments {} to {}", segments.start, segments.end - 1);
    Finding { text, ..Finding::of(&single.into()) }
}
