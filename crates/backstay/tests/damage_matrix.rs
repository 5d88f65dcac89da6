//! Every kind of damage to every kind of object, and what each reader says of it: the exact code, or the exact content.
//!
//! A row is one damage. Its cells are the outcomes of `restore`, of `verify` at its three depths (every finding, in order), and
//! of `reassemble`, which is given the parts without the manifest, or with one that is damaged. `good` means the exact content, and
//! for `reassemble` that the new manifest has the archive's root. Where a depth cannot see a damage by design, `good` stands in its
//! cell: `quick` fetches nothing but the manifest, `quick` and `full` have no key, and no reader needs more than one slot.
//!
//! The last cell is what `salvage` says: its findings, and behind them its holes, counted in frames of the native profile and in
//! members of the other one. `1+..?` is a hole that begins within the second member and of which nobody knows the length. Whatever the cell says, every
//! byte that came out is compared with the content at its place.
//!
//! There are three tables: the native profile, the openssl profile in parts, and its single form, in which one object of unknown length is all the stream.
//! Not every damage exists in each. The openssl profile has no keyboxes, since its key comes from a password alone; only its first object has
//! a header, magic and salt, so that there are no two to swap; and in the single form there are no parts to lose, swap or repeat.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Sink, add_slots, back_up, content, context, native, objects, options, recipient, restored};
use backstay::backup::Format;
use backstay::keys::Encryption;
use backstay::policy::ReadPolicy;
use backstay::reassemble::ReassembleOptions;
use backstay::restore::Target;
use backstay::salvage::{Hole, SalvageOptions, Salvaged, salvage};
use backstay::verify::{Depth, verify};
use backstay::{Error, RestoreOptions, Silent, reassemble, restore};
use backstay_format::key::Keyring;
use backstay_format::openssl::{Digest, Kdf, Password};
use backstay_format::schedule::sha256;
use backstay_format::text::to_hex;
use backstay_format::{ArchiveId, Guid};
use backstay_store::Store;

type Objects = BTreeMap<String, Vec<u8>>;

/// A full segment with its tag.
const SEGMENT: usize = 65_536 + 16;
/// Content of four parts and three frames: the first frame ends within part 1, the second one within part 3.
const CONTENT: usize = 4_500_000;
/// Content of a frame of the native profile, and of a member of the other one.
const FRAME: usize = 2 << 20;
const MEMBER: usize = 1 << 20;

/// One archive as its objects.
#[derive(Clone)]
struct Made {
    id: ArchiveId,
    objects: Objects,
    content: Vec<u8>,
}

/// What a damage is done with: an archive, an older one of the same source, and one of another source. All three have the same key,
/// and objects of the same sizes, so that nothing is found by chance.
#[derive(Clone)]
struct World {
    archive: Made,
    older: Made,
    stranger: Made,
    /// A keybox of the archive for another identity; empty where the profile has none.
    for_another: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Native,
    Openssl,
    /// The openssl profile in one object.
    Single,
}

/// The keys of a profile.
struct Keys {
    profile: Profile,
    identity: age::x25519::Identity,
}

impl Keys {
    fn ring(&self) -> Keyring {
        let mut keyring = Keyring::default();
        match self.profile {
            Profile::Native => keyring.add_identity(Box::new(self.identity.clone())),
            Profile::Openssl | Profile::Single => keyring.add_password(Password::new(b"KEY".to_vec())),
        }
        keyring
    }

    async fn make(&self, guid: &str, seed: usize) -> Made {
        let store = Store::memory();
        let content = content(CONTENT + 8 * seed, true).split_off(8 * seed);
        let mut options = match self.profile {
            Profile::Native => {
                let recipients = vec![recipient(&self.identity)];
                native(Encryption::Slots { recipients, passphrase: None, detached: true })
            }
            Profile::Openssl | Profile::Single => options(Format::Openssl {
                kdf: Kdf::BytesToKey(Digest::Md5),
                password: Password::new(b"KEY".to_vec()),
                single: self.profile == Profile::Single,
            }),
        };
        options.guid = guid.parse::<Guid>().unwrap();
        options.part_size = Some(1_200_000);
        let id = back_up(&store, &content, options).await.unwrap().id;
        let objects = objects(&store).await.into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect();
        Made { id, objects, content }
    }

    /// The keybox that a rewrap for somebody else puts beside the archive's own one.
    async fn for_another(&self, made: &Made) -> Vec<u8> {
        if self.profile != Profile::Native {
            return Vec::new();
        }
        let (store, another) = (stored(made).await, recipient(&age::x25519::Identity::generate()));
        add_slots(&store, &made.id, &self.ring(), &[another], None).await.unwrap();
        store.get(&made.id.keybox(1), 1 << 20).await.unwrap().unwrap().to_vec()
    }

    async fn world(&self) -> World {
        let ours = "de2fe9e4-6535-423d-8709-dca87df7985c";
        let older = self.make(ours, 1).await;
        // Two archives of a source never have one id, but these two have no common writer that sees to it.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let archive = self.make(ours, 0).await;
        let stranger = self.make("0f0e0d0c-6535-423d-8709-dca87df7985c", 2).await;
        assert_ne!(older.id, archive.id);
        let sizes = |made: &Made| {
            made.objects.iter().filter(|(name, _)| made.is_part(name)).map(|(_, o)| o.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&archive), sizes(&older));
        assert_eq!(sizes(&archive), sizes(&stranger));
        assert_eq!(sizes(&archive).len(), if self.profile == Profile::Single { 1 } else { 4 });
        let for_another = self.for_another(&archive).await;
        World { archive, older, stranger, for_another }
    }
}

impl Made {
    fn is_part(&self, name: &str) -> bool {
        name == self.id.as_str() || name.starts_with(&format!("{}-", self.id))
    }

    /// The object of the single form.
    fn single(&mut self) -> &mut Vec<u8> {
        self.objects.get_mut(self.id.as_str()).unwrap()
    }

    fn part(&mut self, n: u32) -> &mut Vec<u8> {
        let name = self.id.part(n);
        self.objects.get_mut(&name).unwrap()
    }

    fn manifest(&mut self) -> &mut Vec<u8> {
        let name = self.id.manifest();
        self.objects.get_mut(&name).unwrap()
    }

    fn rename(&mut self, from: &str, to: &str) {
        let bytes = self.objects.remove(from).unwrap();
        self.objects.insert(to.to_owned(), bytes);
    }

    fn swap(&mut self, a: &str, b: &str) {
        let (left, right) = (self.objects[a].clone(), self.objects[b].clone());
        self.objects.insert(a.to_owned(), right);
        self.objects.insert(b.to_owned(), left);
    }

    /// The length of the header line, or of the openssl profile's salt.
    fn header(&mut self, n: u32) -> usize {
        if self.part(n).starts_with(b"BACKSTAY1 ") {
            self.part(n).iter().position(|byte| *byte == b'\n').unwrap() + 1
        } else {
            16
        }
    }

    /// Where the segments of a native part lie.
    fn segment(&mut self, n: u32, segment: usize) -> std::ops::Range<usize> {
        let start = self.header(n) + segment * SEGMENT;
        start..start + SEGMENT
    }

    /// Changes the text of the manifest and makes its public hash right again, as anybody can; `seal.mac` takes the key.
    fn forge(&mut self, change: impl Fn(String) -> String) {
        let text = String::from_utf8(self.manifest().clone()).unwrap();
        let at = text.rfind("\"seal\":{").unwrap();
        let (sealed, seal) = text.split_at(at);
        let changed = change(sealed.to_owned());
        assert_ne!(sealed, changed);
        let hash = to_hex(&sha256(changed.as_bytes()));
        let old = to_hex(&sha256(sealed.as_bytes()));
        *self.manifest() = (changed + &seal.replace(&old, &hash)).into_bytes();
    }
}

impl World {
    /// Bytes of another archive with our id written into them.
    fn rewritten(&self, from: &Made, bytes: &[u8]) -> Vec<u8> {
        let (old, new) = (from.id.to_string(), self.archive.id.to_string());
        assert_eq!(old.len(), new.len());
        let mut bytes = bytes.to_vec();
        let places: Vec<usize> = bytes
            .windows(old.len())
            .enumerate()
            .filter(|(_, window)| *window == old.as_bytes())
            .map(|(at, _)| at)
            .collect();
        for at in places {
            bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
        }
        bytes
    }

    fn id(&self) -> ArchiveId {
        self.archive.id.clone()
    }

    fn lose(&mut self, name: &str) {
        self.archive.objects.remove(name).unwrap();
    }

    fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.archive.objects.insert(name.to_owned(), bytes);
    }

    fn keybox_0(&mut self) -> &mut Vec<u8> {
        let name = self.archive.id.keybox(0);
        self.archive.objects.get_mut(&name).unwrap()
    }

    /// Writes the bytes that another of the archives has at this place over ours.
    fn overwrite(&mut self, n: u32, at: std::ops::Range<usize>, bytes: &[u8]) {
        self.archive.part(n)[at].copy_from_slice(bytes);
    }

    fn part_1(&mut self) -> &mut Vec<u8> {
        self.archive.part(1)
    }

    fn splice_part(&mut self, n: u32) {
        let theirs = self.stranger.part(n).clone();
        *self.archive.part(n) = self.rewritten(&self.stranger.clone(), &theirs);
    }

    fn replay_part(&mut self, n: u32) {
        *self.archive.part(n) = self.older.part(n).clone();
    }

    fn keybox(&self, of: &Made) -> Vec<u8> {
        of.objects[&of.id.keybox(0)].clone()
    }
}

async fn stored(made: &Made) -> Store {
    let store = Store::memory();
    for (name, bytes) in &made.objects {
        store.create(name, bytes.clone().into(), sha256(bytes)).await.unwrap();
    }
    store
}

/// What each reader says.
async fn outcomes(keys: &Keys, made: &Made, world: &World) -> [String; 6] {
    let store = stored(made).await;
    let verified = async |depth| {
        let keyring = if depth == Depth::Deep { keys.ring() } else { Keyring::default() };
        let (policy, context) = (ReadPolicy::default(), context());
        match verify(&store, &made.id, &keyring, depth, &policy, &context, Arc::new(Silent)).await {
            // Without its seal an openssl archive proves nothing, however well it reads.
            Ok(report) if report.is_good() && depth == Depth::Deep && !report.authentic => "unproved".to_owned(),
            Ok(report) if report.is_good() => "good".to_owned(),
            Ok(report) => listed(report.findings.iter().map(|finding| finding.code)),
            Err(error) => format!("failed: {}", error.code()),
        }
    };
    let restored =
        restored_by(keys, &store, made).await.map_or_else(|error| error.code().to_owned(), |()| "good".to_owned());
    let (quick, full, deep) = (verified(Depth::Quick).await, verified(Depth::Full).await, verified(Depth::Deep).await);
    let salvaged = salvaged(keys, &store, made, &world.older).await;
    // The last one, since it changes the store.
    let reassembled = match reassembled(keys, &store, made, &world.archive).await {
        Ok(true) => "good".to_owned(),
        Ok(false) => "other content".to_owned(),
        Err(error) => error.code().to_owned(),
    };
    [restored, quick, full, deep, reassembled, salvaged]
}

/// Salvages: the findings and the holes. What came out is the content at its place, or, of an archive that proves nothing, the older
/// one's that was put there.
async fn salvaged(keys: &Keys, store: &Store, made: &Made, older: &Made) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("content");
    let options = SalvageOptions { output: Some(path.clone()), ..SalvageOptions::default() };
    let salvaged = match salvage(store, &made.id, &keys.ring(), &options, &context(), Arc::new(Silent)).await {
        Ok(salvaged) => salvaged,
        Err(error) => {
            assert!(!path.exists(), "something came out in spite of {error}");
            return format!("nothing: {}", error.code());
        }
    };
    let found = fs::read(path).unwrap();
    let fault = misplaced(&found, &salvaged, &made.content);
    let whose = match &fault {
        None => "",
        Some(_) if !salvaged.authentic && misplaced(&found, &salvaged, &older.content).is_none() => " of the older one",
        Some(fault) => return format!("WRONG: {fault} {salvaged:?}"),
    };
    let unit = if keys.profile == Profile::Native { FRAME } else { MEMBER };
    let place = |at: u64| match (usize::try_from(at).unwrap(), unit) {
        (CONTENT, _) => "end".to_owned(),
        (at, unit) if at.is_multiple_of(unit) => (at / unit).to_string(),
        (at, unit) => format!("{}+", at / unit),
    };
    let mut said = listed(salvaged.findings.iter().map(|finding| finding.code));
    for Hole { start, end, unproven } in &salvaged.holes {
        let (start, end) = (place(*start), end.map_or("?".to_owned(), place));
        let _ = write!(said, " {start}..{end}");
        if *unproven > 0 {
            said.push_str(" unproven");
        }
    }
    if salvaged.holes.is_empty() {
        said.push_str(" whole");
    }
    format!("{said}{whose}").trim_start().to_owned()
}

/// What is wrong with what came out. Up to the first hole of unknown length everything is at its own place; behind one the next piece is
/// looked for, from member to member.
fn misplaced(found: &[u8], salvaged: &Salvaged, content: &[u8]) -> Option<String> {
    let size = |n: u64| usize::try_from(n).unwrap();
    let (mut out, mut at, mut given, mut known) = (0, 0, 0, true);
    // The end, as a hole that lost nothing.
    let end = Hole { start: found.len() as u64, end: Some(found.len() as u64), unproven: 0 };
    for hole in salvaged.holes.iter().chain([&end]) {
        let Some(piece) = found.get(out..size(hole.start)) else {
            return Some(format!("{hole:?} is not behind {out}, or not within {} bytes", found.len()));
        };
        given += piece.len();
        // What is not proved may be wrong where nothing is authentic.
        let proved = &piece[..piece.len() - if salvaged.authentic { 0 } else { size(hole.unproven) }];
        if !proved.is_empty() {
            let places = if known { at..at + 1 } else { at..content.len() };
            let mut places = places.filter(|place| known || place.is_multiple_of(MEMBER));
            let Some(place) = places.find(|place| content.get(*place..).is_some_and(|rest| rest.starts_with(proved)))
            else {
                return Some(format!("what is at {out}..{} is not the content at {at}", out + piece.len()));
            };
            at = place + proved.len();
        }
        out = size(hole.start);
        known = hole.end.is_some();
        if let Some(end) = hole.end.map(size) {
            if found.get(out..end).is_none_or(|hole| hole.iter().any(|byte| *byte != 0)) {
                return Some(format!("{hole:?} has other bytes than zeros"));
            }
            at += end - out;
            out = end;
        }
    }
    let open = salvaged.holes.last().is_some_and(|last| last.end.is_none() && size(last.start) == found.len());
    if given != size(salvaged.content) || (!open && at != content.len()) {
        return Some(format!("{given} bytes came out up to {at}"));
    }
    None
}

/// Findings as a cell has them: several of one code in a row are counted.
fn listed(codes: impl Iterator<Item = &'static str>) -> String {
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for code in codes {
        match runs.last_mut() {
            Some((last, count)) if *last == code => *count += 1,
            _ => runs.push((code, 1)),
        }
    }
    let run = |(code, count): (&str, usize)| if count == 1 { code.to_owned() } else { format!("{code} x{count}") };
    runs.into_iter().map(run).collect::<Vec<_>>().join(" ")
}

/// Restores. Whatever comes out before a fault is a beginning of the content.
async fn restored_by(keys: &Keys, store: &Store, made: &Made) -> Result<(), Error> {
    let sink = Sink::default();
    let target = Target::Writer(Box::new(sink.clone()));
    let mut options = RestoreOptions::default();
    // An openssl archive that has lost its seal is read all the same unless one is demanded.
    options.policy.require_seal = keys.profile != Profile::Native;
    let result = restore(store, &made.id, &keys.ring(), target, &options, &context(), Arc::new(Silent)).await;
    let released = sink.taken();
    assert!(made.content.starts_with(&released), "bytes that are not the content's were released");
    result.map(|_| assert_eq!(released.len(), made.content.len(), "less than the content was called good"))
}

/// Makes the manifest anew: one that is right would stand in the way, so it is taken away first.
async fn reassembled(keys: &Keys, store: &Store, made: &Made, pristine: &Made) -> Result<bool, Error> {
    let name = made.id.manifest();
    if made.objects.get(&name) == pristine.objects.get(&name) {
        store.delete(&name).await.unwrap();
    }
    let options = ReassembleOptions { replace: true, ..ReassembleOptions::default() };
    reassemble(store, &made.id, &keys.ring(), &options, &context(), Arc::new(Silent)).await?;
    if restored(store, &made.id, &keys.ring()).await != made.content {
        return Ok(false);
    }
    let root = |manifest: &[u8]| {
        let text = String::from_utf8(manifest.to_vec()).unwrap();
        text.split("\"root\":\"").nth(1).unwrap()[..64].to_owned()
    };
    let anew = store.get(&name, 1 << 20).await.unwrap().unwrap();
    assert_eq!(root(&anew), root(&pristine.objects[&name]));
    Ok(true)
}

/// What is done, what the five readers then say, and what salvage does.
type Row = (&'static str, [&'static str; 5], &'static str, fn(&mut World));

async fn judge(profile: Profile, rows: &[Row]) {
    let keys = Keys { profile, identity: age::x25519::Identity::generate() };
    let world = keys.world().await;
    let mut wrong = String::new();
    for (what, expected, salvaged, damage) in rows {
        let mut damaged = world.clone();
        damage(&mut damaged);
        let found = outcomes(&keys, &damaged.archive, &world).await;
        let fits = |(found, expected): (&String, &&str)| expected.split('|').any(|expected| found == expected);
        if !found.iter().zip(expected.iter().chain([salvaged])).all(fits) {
            let _ = writeln!(wrong, "{what}\n  found    {found:?}\n  expected {expected:?} {salvaged:?}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn native_archives() {
    judge(Profile::Native, NATIVE).await;
}

#[tokio::test]
async fn openssl_archives() {
    judge(Profile::Openssl, OPENSSL).await;
}

#[tokio::test]
async fn openssl_archives_of_one_object() {
    judge(Profile::Single, SINGLE).await;
}

/// Part 1 stands for those in the middle; a header is a part's first line.
#[rustfmt::skip]
const NATIVE: &[Row] = &[
    ("nothing", ["good"; 5], "whole", |_| {}),
    // The header line.
    ("header deleted",
        ["part.size", "part.size", "part.size", "part.size", "part.magic"],
        "part.size part.magic 0..2",
        |w| { let l = w.archive.header(1); w.part_1().drain(..l); }),
    ("header truncated, and the part with it",
        ["part.size", "part.size", "part.size", "part.size", "header.invalid"],
        "part.size header.invalid 0..2",
        |w| w.part_1().truncate(200)),
    ("header flipped in `rnd`",
        ["part.foreign", "good", "part.digest", "part.foreign", "segment.auth"],
        "part.foreign whole",
        |w| flip_after(w.part_1(), b"\"rnd\":\"")),
    ("header flipped in `salt`",
        ["part.foreign", "good", "part.digest", "part.foreign", "part.foreign"],
        "part.foreign whole",
        |w| flip_after(w.part_1(), b"\"salt\":\"")),
    ("header flipped in its grammar",
        ["header.invalid", "good", "part.digest", "header.invalid", "header.invalid"],
        "header.invalid whole",
        |w| flip_after(w.part_1(), b"\"rnd\"")),
    ("header of part 0 flipped in `salt`",
        ["part.foreign", "good", "part.digest", "part.foreign", "key.wrong"],
        "part.foreign whole",
        |w| flip_after(w.archive.part(0), b"\"salt\":\"")),
    ("header duplicated",
        ["part.size", "part.size", "part.size", "part.size", "segment.auth"],
        "part.size segment.auth 0..2",
        |w| { let l = w.archive.header(1); let line = w.part_1()[..l].to_vec(); w.part_1().splice(0..0, line); }),
    ("headers of two parts swapped",
        ["part.misplaced", "good", "part.digest x2", "part.misplaced x2", "part.misplaced"],
        "part.misplaced x2 0..2",
        |w| {
        let l = w.archive.header(1);
        let (one, two) = (w.archive.part(1)[..l].to_vec(), w.archive.part(2)[..l].to_vec());
        w.archive.part(1)[..l].copy_from_slice(&two);
        w.archive.part(2)[..l].copy_from_slice(&one);
    }),
    ("header renamed to another id",
        ["name.mismatch", "good", "part.digest", "name.mismatch", "name.mismatch"],
        "name.mismatch whole",
        |w| {
        let id = w.archive.id.to_string();
        let at = w.part_1().windows(id.len()).position(|window| window == id.as_bytes()).unwrap();
        w.part_1()[at] = if id.starts_with('a') { b'b' } else { b'a' };
    }),
    ("header spliced from a stranger, its id rewritten",
        ["part.foreign", "good", "part.digest", "part.foreign", "part.foreign"],
        "part.foreign whole",
        |w| {
        let l = w.archive.header(1);
        let theirs = w.stranger.part(1)[..l].to_vec();
        let ours = w.rewritten(&w.stranger.clone(), &theirs);
        w.part_1()[..l].copy_from_slice(&ours);
    }),
    ("header replayed from an older archive",
        ["name.mismatch", "good", "part.digest", "name.mismatch", "name.mismatch"],
        "name.mismatch whole",
        |w| {
        let l = w.archive.header(1);
        let old = w.older.part(1)[..l].to_vec();
        w.part_1()[..l].copy_from_slice(&old);
    }),
    // A segment.
    ("segment deleted",
        ["part.size", "part.size", "part.size", "part.size", "segment.auth"],
        "part.size segment.auth 0..2",
        |w| { let at = w.archive.segment(1, 1); w.part_1().drain(at); }),
    ("segment truncated",
        ["part.size", "part.size", "part.size", "part.size", "segment.auth"],
        "part.size segment.auth 0..2",
        |w| { let at = w.archive.segment(1, 1); w.part_1().drain(at.end - 5..at.end); }),
    ("segment flipped",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth 0..1",
        |w| { let at = w.archive.segment(1, 1); w.part_1()[at.start + 77] ^= 1; }),
    ("tag of a segment flipped",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth 0..1",
        |w| { let at = w.archive.segment(1, 1); w.part_1()[at.end - 1] ^= 0x80; }),
    ("segment duplicated",
        ["part.size", "part.size", "part.size", "part.size", "segment.auth"],
        "part.size segment.auth 0..2",
        |w| { let at = w.archive.segment(1, 1); let bytes = w.part_1()[at.clone()].to_vec(); w.part_1().splice(at.end..at.end, bytes); }),
    ("segment written over another",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth 0..1",
        |w| { let (a, b) = (w.archive.segment(1, 1), w.archive.segment(1, 2)); w.part_1().copy_within(a, b.start); }),
    ("segments of one part swapped",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth x2 0..1",
        |w| {
        let (a, b) = (w.archive.segment(1, 0), w.archive.segment(1, 2));
        let (left, right) = (w.part_1()[a.clone()].to_vec(), w.part_1()[b.clone()].to_vec());
        w.part_1()[a].copy_from_slice(&right);
        w.part_1()[b].copy_from_slice(&left);
    }),
    ("segment moved to the same place in another part",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth 0..1",
        |w| { let at = w.archive.segment(2, 1); let bytes = w.archive.part(2)[at.clone()].to_vec(); w.part_1()[at].copy_from_slice(&bytes); }),
    ("segment spliced from a stranger",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth 0..1",
        |w| { let at = w.archive.segment(1, 1); let bytes = w.stranger.part(1)[at.clone()].to_vec(); w.overwrite(1, at, &bytes); }),
    ("segment replayed from an older archive",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth 0..1",
        |w| { let at = w.archive.segment(1, 1); let bytes = w.older.part(1)[at.clone()].to_vec(); w.overwrite(1, at, &bytes); }),
    // A part.
    ("part deleted",
        ["part.missing"; 5],
        "part.missing 0..2",
        |w| w.lose(&w.id().part(1))),
    ("first part deleted",
        ["part.missing"; 5],
        "part.missing 0..1",
        |w| w.lose(&w.id().part(0))),
    ("last part deleted",
        ["part.missing", "part.missing", "part.missing", "part.missing", "archive.truncated"],
        "part.missing 1..end",
        |w| w.lose(&w.id().part(3))),
    ("part truncated",
        ["part.size", "part.size", "part.size", "part.size", "part.truncated"],
        "part.size segment.auth 0..2",
        |w| w.part_1().truncate(100_000)),
    ("part truncated after a segment",
        ["part.size", "part.size", "part.size", "part.size", "part.truncated"],
        "part.size 0..2",
        |w| { let at = w.archive.segment(1, 1); w.part_1().truncate(at.end); }),
    ("last part truncated",
        ["part.size", "part.size", "part.size", "part.size", "segment.auth"],
        "part.size segment.auth 2..end",
        |w| { let part = w.archive.part(3); part.pop(); }),
    ("part emptied",
        ["part.size", "part.size", "part.size", "part.size", "part.magic"],
        "part.size part.magic 0..2",
        |w| w.part_1().clear()),
    ("part flipped in its last byte",
        ["segment.auth", "good", "part.digest", "segment.auth", "segment.auth"],
        "segment.auth 1..2",
        |w| *w.part_1().last_mut().unwrap() ^= 1),
    ("a byte behind a part",
        ["part.size", "part.size", "part.size", "part.size", "segment.auth"],
        "part.size whole",
        |w| w.part_1().push(0)),
    ("a byte behind the last part",
        ["part.size", "part.size", "part.size", "part.size", "segment.auth"],
        "part.size whole",
        |w| w.archive.part(3).push(0)),
    ("part duplicated behind the last one",
        ["part.extra"; 5],
        "part.extra whole",
        |w| w.put(&w.id().part(4), w.archive.objects[&w.id().part(1)].clone())),
    ("part duplicated over another",
        ["part.misplaced", "good", "part.digest", "part.misplaced", "part.misplaced"],
        "part.misplaced 1..2",
        |w| { let bytes = w.part_1().clone(); *w.archive.part(2) = bytes; }),
    ("parts swapped",
        ["part.misplaced", "good", "part.digest x2", "part.misplaced x2", "part.misplaced"],
        "part.misplaced x2 whole",
        |w| { let id = w.id(); w.archive.swap(&id.part(1), &id.part(2)); }),
    ("part renamed to a gap",
        ["part.missing", "part.missing part.extra", "part.missing part.extra", "part.missing part.extra", "part.missing"],
        "part.missing part.extra part.misplaced whole",
        |w| { let id = w.id(); w.archive.rename(&id.part(1), &id.part(7)); }),
    ("part renamed with a leading zero",
        ["name.ambiguous"; 5],
        "name.ambiguous whole",
        |w| { let id = w.id(); w.archive.rename(&id.part(1), &format!("{id}-01")); }),
    ("part spliced from a stranger, its id rewritten",
        ["part.foreign", "good", "part.digest", "part.foreign", "part.foreign"],
        "part.foreign 0..2",
        |w| w.splice_part(1)),
    ("part replayed from an older archive",
        ["name.mismatch", "good", "part.digest", "name.mismatch", "name.mismatch"],
        "name.mismatch 0..2",
        |w| w.replay_part(1)),
    ("all parts spliced from a stranger, their ids rewritten",
        ["part.foreign", "good", "part.digest x4", "part.foreign x4", "key.wrong"],
        "part.foreign x4 0..end",
        |w| (0..4).for_each(|n| w.splice_part(n))),
    ("all parts replayed from an older archive",
        ["name.mismatch", "good", "part.digest x4", "name.mismatch x4", "name.mismatch"],
        "name.mismatch x4 0..end",
        |w| (0..4).for_each(|n| w.replay_part(n))),
    // The manifest.
    ("manifest deleted",
        ["archive.uncommitted", "archive.uncommitted", "archive.uncommitted", "archive.uncommitted", "good"],
        "archive.uncommitted whole",
        |w| w.lose(&w.id().manifest())),
    ("manifest truncated",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| { let half = w.archive.manifest().len() / 2; w.archive.manifest().truncate(half); }),
    ("manifest emptied",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| w.archive.manifest().clear()),
    ("manifest flipped",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| flip_after(w.archive.manifest(), b"\"created\":\"20")),
    ("manifest flipped in its seal",
        ["manifest.seal", "good", "good", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| flip_after(w.archive.manifest(), b"\"mac\":\"")),
    ("manifest duplicated behind itself",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| { let twice = w.archive.manifest().repeat(2); *w.archive.manifest() = twice; }),
    ("manifest with two entries swapped, its hash made right",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| w.archive.forge(|text| {
        let (one, two) = (text.find("{\"n\":1,").unwrap(), text.find("{\"n\":2,").unwrap());
        let entry = |at: usize| &text[at..=at + text[at..].find('}').unwrap()];
        text.replace(entry(one), "@").replace(entry(two), entry(one)).replace('@', entry(two))
    })),
    ("manifest forged in its content length, its hash made right",
        ["manifest.seal", "good", "good", "manifest.seal stream.content", "good"],
        "manifest.seal whole",
        |w| w.archive.forge(|text| text.replace("\"content\":4500000", "\"content\":4500001"))),
    ("manifest renamed",
        ["archive.uncommitted", "archive.uncommitted", "archive.uncommitted", "archive.uncommitted", "good"],
        "archive.uncommitted whole",
        |w| { let id = w.id(); w.archive.rename(&id.manifest(), &format!("{id}.json.bak")); }),
    ("manifest spliced from a stranger, its id rewritten and its hash made right",
        ["part.foreign", "good", "part.digest x4", "part.foreign key.wrong part.digest x3", "good"],
        "manifest.seal whole",
        |w| {
        let theirs = w.stranger.manifest().clone();
        *w.archive.manifest() = theirs;
        let (old, new) = (w.stranger.id.to_string(), w.archive.id.to_string());
        w.archive.forge(|text| text.replace(&old, &new));
    }),
    ("manifest replayed from an older archive",
        ["name.mismatch", "name.mismatch", "name.mismatch", "name.mismatch", "good"],
        "name.mismatch whole",
        |w| { let old = w.older.manifest().clone(); *w.archive.manifest() = old; }),
    ("archive replayed whole under this id",
        ["name.mismatch", "name.mismatch", "name.mismatch", "name.mismatch x5", "name.mismatch"],
        "nothing: name.mismatch",
        |w| {
        (0..4).for_each(|n| w.replay_part(n));
        let (old, keybox) = (w.older.manifest().clone(), w.keybox(&w.older));
        *w.archive.manifest() = old;
        let name = w.archive.id.keybox(0);
        w.archive.objects.insert(name, keybox);
    }),
    // The keybox, the only slot of these archives.
    ("keybox deleted",
        ["key.not-found", "key.not-found", "key.not-found", "key.not-found", "key.not-found"],
        "nothing: key.not-found",
        |w| w.lose(&w.id().keybox(0))),
    ("keybox truncated",
        ["key.invalid", "good", "good", "key.invalid", "key.invalid"],
        "nothing: key.invalid",
        |w| w.keybox_0().truncate(60)),
    ("keybox cut in its payload",
        ["key.invalid", "good", "good", "key.invalid", "key.invalid"],
        "nothing: key.invalid",
        |w| { w.keybox_0().pop(); }),
    ("keybox flipped in its stanza",
        ["key.not-found", "good", "good", "key.not-found", "key.not-found"],
        "nothing: key.not-found",
        |w| {
            let at = w.keybox_0().windows(10).position(|window| window == b"-> X25519 ").unwrap() + 10;
            w.keybox_0()[at] = if w.keybox_0()[at] == b'A' { b'B' } else { b'A' };
        }),
    ("keybox flipped in its payload",
        ["key.invalid", "good", "good", "key.invalid", "key.invalid"],
        "nothing: key.invalid",
        |w| *w.keybox_0().last_mut().unwrap() ^= 1),
    ("keybox duplicated",
        ["good"; 5],
        "whole",
        |w| w.put(&w.id().keybox(1), w.keybox(&w.archive))),
    ("keybox replaced by an older archive's",
        ["key.wrong", "good", "good", "key.wrong", "key.wrong"],
        "nothing: key.wrong",
        |w| w.put(&w.id().keybox(0), w.keybox(&w.older))),
    ("keybox renamed",
        ["good"; 5],
        "whole",
        |w| { let id = w.id(); w.archive.rename(&id.keybox(0), &id.keybox(7)); }),
    ("keybox spliced from a stranger before it",
        ["good"; 5],
        "whole",
        |w| {
        let id = w.archive.id.clone();
        w.archive.rename(&id.keybox(0), &id.keybox(1));
        let bytes = w.keybox(&w.stranger);
        w.archive.objects.insert(id.keybox(0), bytes);
    }),
    ("keybox of an older archive beside it",
        ["good"; 5],
        "whole",
        |w| w.put(&w.id().keybox(3), w.keybox(&w.older))),
    // Two keyboxes, of which one opens.
    ("keyboxes 0 and 1 swapped",
        ["good"; 5],
        "whole",
        |w| { let id = w.id(); w.put(&id.keybox(1), w.for_another.clone()); w.archive.swap(&id.keybox(0), &id.keybox(1)); }),
    ("first of two keyboxes flipped in its payload",
        ["good"; 5],
        "whole",
        |w| { w.put(&w.id().keybox(1), w.keybox(&w.archive)); *w.keybox_0().last_mut().unwrap() ^= 1; }),
    ("second of two keyboxes truncated",
        ["good"; 5],
        "whole",
        |w| { let half = w.keybox(&w.archive)[..60].to_vec(); w.put(&w.id().keybox(1), half); }),
    ("keybox flipped in its payload beside another identity's",
        ["key.invalid", "good", "good", "key.invalid", "key.invalid"],
        "nothing: key.invalid",
        |w| { w.put(&w.id().keybox(1), w.for_another.clone()); *w.keybox_0().last_mut().unwrap() ^= 1; }),
    ("another identity's keybox flipped in its payload beside ours",
        ["good"; 5],
        "whole",
        |w| { let mut theirs = w.for_another.clone(); *theirs.last_mut().unwrap() ^= 1; w.put(&w.id().keybox(1), theirs); }),
    // Two things at once: verify lists both.
    ("a part deleted and a segment flipped",
        ["part.missing", "part.missing", "part.missing part.digest", "part.missing segment.auth", "part.missing"],
        "part.missing segment.auth 0..2",
        |w| {
        let name = w.archive.id.part(2);
        w.archive.objects.remove(&name);
        let at = w.archive.segment(1, 1);
        w.part_1()[at.start] ^= 1;
    }),
    ("two segments of two parts flipped",
        ["segment.auth", "good", "part.digest x2", "segment.auth x2", "segment.auth"],
        "segment.auth x2 0..2",
        |w| {
        let at = w.archive.segment(2, 1);
        w.part_1()[at.start] ^= 1;
        w.archive.part(2)[at.start] ^= 1;
    }),
    ("a part truncated and a stranger's part behind the last one",
        ["part.extra", "part.extra part.size", "part.extra part.size", "part.extra part.size", "part.truncated"],
        "part.extra part.size segment.auth 1..2",
        |w| {
        w.part_1().pop();
        let (bytes, name) = (w.stranger.part(1).clone(), w.archive.id.part(4));
        w.archive.objects.insert(name, bytes);
    }),
    ("the manifest and a segment flipped",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal segment.auth", "segment.auth"],
        "manifest.seal segment.auth 0..1",
        |w| {
        flip_after(w.archive.manifest(), b"\"created\":\"20");
        let at = w.archive.segment(1, 1);
        w.part_1()[at.start] ^= 1;
    }),
    ("the manifest deleted, and a part",
        ["archive.uncommitted", "archive.uncommitted part.missing", "archive.uncommitted part.missing", "archive.uncommitted part.missing", "part.missing"],
        "archive.uncommitted part.missing 0..2",
        |w| { w.lose(&w.id().manifest()); w.lose(&w.id().part(1)); }),
    ("the manifest deleted, and the last part",
        ["archive.uncommitted", "archive.uncommitted", "archive.uncommitted", "archive.uncommitted archive.truncated", "archive.truncated"],
        "archive.uncommitted archive.truncated 1..?",
        |w| { w.lose(&w.id().manifest()); w.lose(&w.id().part(3)); }),
    ("the keybox deleted and a part flipped",
        ["key.not-found", "key.not-found", "key.not-found part.digest", "key.not-found part.digest", "key.not-found"],
        "nothing: key.not-found",
        |w| { w.lose(&w.id().keybox(0)); *w.part_1().last_mut().unwrap() ^= 1; }),
    ("headers of two parts flipped",
        ["part.foreign", "good", "part.digest x2", "part.foreign x2", "part.foreign"],
        "part.foreign x2 whole",
        |w| { flip_after(w.part_1(), b"\"salt\":\""); flip_after(w.archive.part(2), b"\"rnd\":\""); }),
];

/// Without the seal this profile authenticates nothing: what `reassemble` calls good then is what decodes, be it another archive's,
/// and `deep` says `unproved`. An emptied manifest is what any other program may have put there: no archive of ours is lost with it, and `reassemble` does not
/// replace it. A last block that is not one has the form of a padding with a chance of 1 in 256: two codes then.
#[rustfmt::skip]
const OPENSSL: &[Row] = &[
    ("nothing", ["good"; 5], "whole", |_| {}),
    // The magic and the salt, which only the first part has.
    ("magic deleted",
        ["part.size", "part.size", "part.size", "part.size", "part.magic"],
        "part.size 0..?",
        |w| drop(w.archive.part(0).drain(..8))),
    ("header truncated, and the part with it",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding"],
        "part.size 0..?",
        |w| w.archive.part(0).truncate(10)),
    ("magic flipped",
        ["part.digest", "good", "part.digest", "part.digest", "part.magic"],
        "part.digest 0..?",
        |w| w.archive.part(0)[3] ^= 1),
    ("salt flipped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.key"],
        "part.digest 0..?",
        |w| w.archive.part(0)[10] ^= 1),
    ("header duplicated",
        ["part.size", "part.size", "part.size", "part.size", "openssl.key"],
        "part.size 0..?",
        |w| { let header = w.archive.part(0)[..16].to_vec(); w.archive.part(0).splice(0..0, header); }),
    ("header spliced from a stranger",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.key"],
        "part.digest 0..?",
        |w| { let header = w.stranger.part(0)[..16].to_vec(); w.archive.part(0)[..16].copy_from_slice(&header); }),
    ("header replayed from an older archive",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.key"],
        "part.digest 0..?",
        |w| { let header = w.older.part(0)[..16].to_vec(); w.archive.part(0)[..16].copy_from_slice(&header); }),
    // A block of the cipher, which is what this profile has for a segment.
    ("block deleted",
        ["part.size", "part.size", "part.size", "part.size", "openssl.stream"],
        "part.size 1+..?",
        |w| drop(w.part_1().drain(1600..1616))),
    ("block flipped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 1+..?",
        |w| w.part_1()[1600] ^= 1),
    ("block duplicated",
        ["part.size", "part.size", "part.size", "part.size", "openssl.stream"],
        "part.size 1+..?",
        |w| { let block = w.part_1()[1600..1616].to_vec(); w.part_1().splice(1600..1600, block); }),
    ("blocks swapped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 1+..?",
        |w| { let block = w.part_1()[1600..1616].to_vec(); w.part_1().copy_within(3200..3216, 1600); w.part_1()[3200..3216].copy_from_slice(&block); }),
    ("block spliced from a stranger",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 1+..?",
        |w| { let block = w.stranger.part(1)[1600..1616].to_vec(); w.part_1()[1600..1616].copy_from_slice(&block); }),
    ("last block flipped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.padding|openssl.stream"],
        "part.digest 3+..end",
        |w| *w.archive.part(3).last_mut().unwrap() ^= 1),
    ("block replayed from an older archive",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 1+..?",
        |w| { let block = w.older.part(1)[1600..1616].to_vec(); w.part_1()[1600..1616].copy_from_slice(&block); }),
    ("a block flipped behind which nobody looks but the checksum",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 2+..?",
        |w| { let at = w.archive.part(2).len() - 160; w.archive.part(2)[at] ^= 1; }),
    // A part.
    ("part deleted",
        ["part.missing"; 5],
        "part.missing 1+..?",
        |w| w.lose(&w.id().part(1))),
    ("first part deleted",
        ["part.missing"; 5],
        "part.missing 0..?",
        |w| w.lose(&w.id().part(0))),
    ("last part deleted",
        ["part.missing", "part.missing", "part.missing", "part.missing", "openssl.padding|openssl.stream"],
        "part.missing 3+..end",
        |w| w.lose(&w.id().part(3))),
    ("part truncated",
        ["part.size", "part.size", "part.size", "part.size", "openssl.stream"],
        "part.size 1+..?",
        |w| w.part_1().truncate(100_000)),
    ("part truncated inside a block",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding"],
        "part.size 1+..?",
        |w| w.part_1().truncate(100_007)),
    ("last part truncated",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding|openssl.stream"],
        "part.size 3+..end",
        |w| { let part = w.archive.part(3); part.truncate(part.len() - 16); }),
    ("last part truncated inside a block",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding"],
        "part.size 3+..end",
        |w| { let part = w.archive.part(3); part.truncate(part.len() - 5); }),
    ("part emptied",
        ["part.size", "part.size", "part.size", "part.size", "openssl.stream"],
        "part.size 1+..?",
        |w| w.part_1().clear()),
    ("a byte behind the last part",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding"],
        "part.size 3+..end",
        |w| w.archive.part(3).push(0)),
    ("part duplicated behind the last one",
        ["part.extra", "part.extra", "part.extra", "part.extra", "openssl.stream"],
        "part.extra whole",
        |w| w.put(&w.id().part(4), w.archive.objects[&w.id().part(1)].clone())),
    ("parts swapped",
        ["part.digest", "good", "part.digest x2", "part.digest x2", "openssl.stream"],
        "part.digest x2 1+..?",
        |w| { let id = w.id(); w.archive.swap(&id.part(1), &id.part(2)); }),
    ("part renamed to a gap",
        ["part.missing", "part.missing part.extra", "part.missing part.extra", "part.missing part.extra", "part.missing"],
        "part.missing part.extra 1+..?",
        |w| { let id = w.id(); w.archive.rename(&id.part(1), &id.part(7)); }),
    ("part renamed to the single form",
        ["name.ambiguous", "name.ambiguous part.missing", "name.ambiguous part.missing", "name.ambiguous part.missing", "name.ambiguous"],
        "name.ambiguous part.missing 1+..?",
        |w| { let id = w.id(); w.archive.rename(&id.part(1), id.as_str()); }),
    ("part spliced from a stranger",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 1+..?",
        |w| *w.archive.part(1) = w.stranger.part(1).clone()),
    ("part replayed from an older archive",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 1+..?",
        |w| w.replay_part(1)),
    ("part duplicated over another",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 2+..?",
        |w| { let bytes = w.part_1().clone(); *w.archive.part(2) = bytes; }),
    ("all parts spliced from a stranger",
        ["part.digest", "good", "part.digest x4", "part.digest x4", "other content"],
        "part.digest x4 0..end",
        |w| (0..4).for_each(|n| *w.archive.part(n) = w.stranger.part(n).clone())),
    ("all parts replayed from an older archive",
        ["part.digest", "good", "part.digest x4", "part.digest x4", "other content"],
        "part.digest x4 0..end",
        |w| (0..4).for_each(|n| w.replay_part(n))),
    ("all parts replayed from an older archive, and the manifest deleted",
        ["manifest.seal", "good", "good", "unproved", "other content"],
        "whole of the older one",
        |w| { (0..4).for_each(|n| w.replay_part(n)); w.lose(&w.id().manifest()); }),
    ("manifest deleted and a part spliced from a stranger",
        ["manifest.seal", "good", "good", "openssl.stream", "openssl.stream"],
        "openssl.stream 1..?",
        |w| { w.lose(&w.id().manifest()); *w.archive.part(1) = w.stranger.part(1).clone(); }),
    ("manifest deleted and parts swapped",
        ["manifest.seal", "good", "good", "openssl.stream", "openssl.stream"],
        "openssl.stream 1..?",
        |w| { let id = w.id(); w.lose(&id.manifest()); w.archive.swap(&id.part(1), &id.part(2)); }),
    // The manifest.
    ("manifest deleted",
        ["manifest.seal", "good", "good", "unproved", "good"],
        "whole",
        |w| w.lose(&w.id().manifest())),
    ("manifest truncated",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| { let half = w.archive.manifest().len() / 2; w.archive.manifest().truncate(half); }),
    ("manifest emptied",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| w.archive.manifest().clear()),
    ("manifest flipped",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| flip_after(w.archive.manifest(), b"\"created\":\"20")),
    ("manifest flipped in its seal",
        ["manifest.seal", "good", "good", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| flip_after(w.archive.manifest(), b"\"mac\":\"")),
    ("manifest duplicated behind itself",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| { let twice = w.archive.manifest().repeat(2); *w.archive.manifest() = twice; }),
    ("manifest forged in its content length, its hash made right",
        ["manifest.seal", "good", "good", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| w.archive.forge(|text| text.replace("\"content\":4500000", "\"content\":4500001"))),
    ("manifest forged with two digests swapped, its hash made right",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| w.archive.forge(|text| {
        let digest = |n: u32| {
            let at = text.find(&format!("{{\"n\":{n},")).unwrap();
            let at = at + text[at..].find("\"sha256\":\"").unwrap() + 10;
            text[at..at + 64].to_owned()
        };
        let (one, two) = (digest(1), digest(2));
        text.replace(&one, "@").replace(&two, &one).replace('@', &two)
    })),
    ("manifest renamed",
        ["manifest.seal", "good", "good", "unproved", "good"],
        "whole",
        |w| { let id = w.id(); w.archive.rename(&id.manifest(), &format!("{id}.json.bak")); }),
    ("manifest spliced from a stranger, its id rewritten and its hash made right",
        ["manifest.seal", "good", "part.digest x4", "manifest.seal part.digest x4", "good"],
        "manifest.seal whole",
        |w| {
        let theirs = w.stranger.manifest().clone();
        *w.archive.manifest() = theirs;
        let (old, new) = (w.stranger.id.to_string(), w.archive.id.to_string());
        w.archive.forge(|text| text.replace(&old, &new));
    }),
    ("manifest replayed from an older archive",
        ["name.mismatch", "name.mismatch", "name.mismatch", "name.mismatch", "good"],
        "name.mismatch whole",
        |w| { let old = w.older.manifest().clone(); *w.archive.manifest() = old; }),
    ("archive replayed whole under this id",
        ["name.mismatch", "name.mismatch", "name.mismatch", "name.mismatch", "other content"],
        "name.mismatch whole of the older one",
        |w| {
        (0..4).for_each(|n| w.replay_part(n));
        let old = w.older.manifest().clone();
        *w.archive.manifest() = old;
    }),
    // Two things at once: verify lists both.
    ("a part deleted and a block flipped",
        ["part.missing", "part.missing", "part.missing part.digest", "part.missing part.digest", "part.missing"],
        "part.missing part.digest 1+..?",
        |w| { let name = w.archive.id.part(2); w.archive.objects.remove(&name); w.part_1()[1600] ^= 1; }),
    ("blocks of two parts flipped",
        ["part.digest", "good", "part.digest x2", "part.digest x2", "openssl.stream"],
        "part.digest x2 1+..?",
        |w| { w.part_1()[1600] ^= 1; w.archive.part(2)[1600] ^= 1; }),
    ("a part truncated and a stranger's part behind the last one",
        ["part.extra", "part.extra part.size", "part.extra part.size", "part.extra part.size", "openssl.padding"],
        "part.extra part.size 1+..?",
        |w| {
        w.part_1().pop();
        let (bytes, name) = (w.stranger.part(1).clone(), w.archive.id.part(4));
        w.archive.objects.insert(name, bytes);
    }),
    ("the manifest and a block flipped",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal openssl.stream", "openssl.stream"],
        "manifest.seal openssl.stream 1..?",
        |w| { flip_after(w.archive.manifest(), b"\"created\":\"20"); w.part_1()[1600] ^= 1; }),
    ("the manifest deleted, and a part",
        ["manifest.seal", "part.missing", "part.missing", "part.missing", "part.missing"],
        "part.missing 1+..? unproven",
        |w| { w.lose(&w.id().manifest()); w.lose(&w.id().part(1)); }),
    ("the manifest deleted, and the last part",
        ["manifest.seal", "good", "good", "openssl.padding|openssl.stream", "openssl.padding|openssl.stream"],
        "openssl.padding 3+..? unproven",
        |w| { w.lose(&w.id().manifest()); w.lose(&w.id().part(3)); }),
];

/// One object, whose length nothing but the manifest tells. Under a seal nothing comes out of one that is damaged, since its only digest is that of all of it;
/// `salvage --no-manifest` takes out what its checksums allow. Without its magic and its manifest it is no object of this profile, nor of any.
#[rustfmt::skip]
const SINGLE: &[Row] = &[
    ("nothing", ["good"; 5], "whole", |_| {}),
    // The magic and the salt.
    ("magic deleted",
        ["part.size", "part.size", "part.size", "part.size", "part.missing"],
        "part.size 0..end",
        |w| drop(w.archive.single().drain(..8))),
    ("header truncated, and the object with it",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding"],
        "part.size 0..end",
        |w| w.archive.single().truncate(10)),
    ("magic flipped",
        ["part.digest", "good", "part.digest", "part.digest", "part.missing"],
        "part.digest 0..end",
        |w| w.archive.single()[3] ^= 1),
    ("salt flipped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.key"],
        "part.digest 0..end",
        |w| w.archive.single()[10] ^= 1),
    ("header duplicated",
        ["part.size", "part.size", "part.size", "part.size", "openssl.key"],
        "part.size 0..end",
        |w| { let header = w.archive.single()[..16].to_vec(); w.archive.single().splice(0..0, header); }),
    ("header spliced from a stranger",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.key"],
        "part.digest 0..end",
        |w| { let header = w.stranger.single()[..16].to_vec(); w.archive.single()[..16].copy_from_slice(&header); }),
    ("header replayed from an older archive",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.key"],
        "part.digest 0..end",
        |w| { let header = w.older.single()[..16].to_vec(); w.archive.single()[..16].copy_from_slice(&header); }),
    // A block of the cipher, within the second member.
    ("block deleted",
        ["part.size", "part.size", "part.size", "part.size", "openssl.stream"],
        "part.size 0..end",
        |w| drop(w.archive.single().drain(1_200_000..1_200_016))),
    ("block flipped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 0..end",
        |w| w.archive.single()[1_200_000] ^= 1),
    ("block duplicated",
        ["part.size", "part.size", "part.size", "part.size", "openssl.stream"],
        "part.size 0..end",
        |w| { let block = w.archive.single()[1_200_000..1_200_016].to_vec(); w.archive.single().splice(1_200_000..1_200_000, block); }),
    ("blocks swapped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 0..end",
        |w| {
        let block = w.archive.single()[1_200_000..1_200_016].to_vec();
        w.archive.single().copy_within(1_201_600..1_201_616, 1_200_000);
        w.archive.single()[1_201_600..1_201_616].copy_from_slice(&block);
    }),
    ("block spliced from a stranger",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 0..end",
        |w| { let block = w.stranger.single()[1_200_000..1_200_016].to_vec(); w.archive.single()[1_200_000..1_200_016].copy_from_slice(&block); }),
    ("block replayed from an older archive",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.stream"],
        "part.digest 0..end",
        |w| { let block = w.older.single()[1_200_000..1_200_016].to_vec(); w.archive.single()[1_200_000..1_200_016].copy_from_slice(&block); }),
    ("last block flipped",
        ["part.digest", "good", "part.digest", "part.digest", "openssl.padding|openssl.stream"],
        "part.digest 0..end",
        |w| *w.archive.single().last_mut().unwrap() ^= 1),
    // The object.
    ("object deleted",
        ["part.missing", "part.missing", "part.missing", "part.missing", "archive.not-found"],
        "part.missing 0..end",
        |w| w.lose(w.id().as_str())),
    ("object truncated",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding|openssl.stream"],
        "part.size 0..end",
        |w| w.archive.single().truncate(1_200_000)),
    ("object truncated inside a block",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding"],
        "part.size 0..end",
        |w| w.archive.single().truncate(1_200_007)),
    ("object truncated by its last block",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding|openssl.stream"],
        "part.size 0..end",
        |w| { let length = w.archive.single().len(); w.archive.single().truncate(length - 16); }),
    ("object emptied",
        ["part.size", "part.size", "part.size", "part.size", "part.missing"],
        "part.size 0..end",
        |w| w.archive.single().clear()),
    ("a byte behind the object",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding"],
        "part.size 0..end",
        |w| w.archive.single().push(0)),
    ("a block behind the object",
        ["part.size", "part.size", "part.size", "part.size", "openssl.padding|openssl.stream"],
        "part.size 0..end",
        |w| w.archive.single().extend([0; 16])),
    ("object duplicated behind itself",
        ["part.size", "part.size", "part.size", "part.size", "openssl.stream"],
        "part.size 0..end",
        |w| { let twice = w.archive.single().repeat(2); *w.archive.single() = twice; }),
    ("object duplicated as part 0",
        ["name.ambiguous"; 5],
        "name.ambiguous whole",
        |w| w.put(&w.id().part(0), w.archive.objects[w.id().as_str()].clone())),
    ("object duplicated as part 1",
        ["name.ambiguous"; 5],
        "name.ambiguous whole",
        |w| w.put(&w.id().part(1), w.archive.objects[w.id().as_str()].clone())),
    ("object renamed to part 0",
        ["part.missing", "part.missing", "part.missing", "part.missing", "good"],
        "part.missing 0..end",
        |w| { let id = w.id(); w.archive.rename(id.as_str(), &id.part(0)); }),
    ("object renamed to part 1",
        ["part.missing", "part.missing", "part.missing", "part.missing", "good"],
        "part.missing 0..end",
        |w| { let id = w.id(); w.archive.rename(id.as_str(), &id.part(1)); }),
    ("object spliced from a stranger",
        ["part.digest", "good", "part.digest", "part.digest", "other content"],
        "part.digest 0..end",
        |w| *w.archive.single() = w.stranger.single().clone()),
    ("object replayed from an older archive",
        ["part.digest", "good", "part.digest", "part.digest", "other content"],
        "part.digest 0..end",
        |w| *w.archive.single() = w.older.single().clone()),
    ("object replayed from an older archive, and the manifest deleted",
        ["manifest.seal", "good", "good", "unproved", "other content"],
        "whole of the older one",
        |w| { *w.archive.single() = w.older.single().clone(); w.lose(&w.id().manifest()); }),
    // The manifest.
    ("manifest deleted",
        ["manifest.seal", "good", "good", "unproved", "good"],
        "whole",
        |w| w.lose(&w.id().manifest())),
    ("manifest truncated",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| { let half = w.archive.manifest().len() / 2; w.archive.manifest().truncate(half); }),
    ("manifest emptied",
        ["manifest.invalid", "manifest.invalid", "manifest.invalid", "manifest.invalid", "good"],
        "manifest.invalid whole",
        |w| w.archive.manifest().clear()),
    ("manifest flipped",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| flip_after(w.archive.manifest(), b"\"created\":\"20")),
    ("manifest flipped in its seal",
        ["manifest.seal", "good", "good", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| flip_after(w.archive.manifest(), b"\"mac\":\"")),
    ("manifest duplicated behind itself",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| { let twice = w.archive.manifest().repeat(2); *w.archive.manifest() = twice; }),
    ("manifest forged in its content length, its hash made right",
        ["manifest.seal", "good", "good", "manifest.seal", "good"],
        "manifest.seal whole",
        |w| w.archive.forge(|text| text.replace("\"content\":4500000", "\"content\":4500001"))),
    ("manifest renamed",
        ["manifest.seal", "good", "good", "unproved", "good"],
        "whole",
        |w| { let id = w.id(); w.archive.rename(&id.manifest(), &format!("{id}.json.bak")); }),
    ("manifest spliced from a stranger, its id rewritten and its hash made right",
        ["manifest.seal", "good", "part.digest", "manifest.seal part.digest", "good"],
        "manifest.seal whole",
        |w| {
        let theirs = w.stranger.manifest().clone();
        *w.archive.manifest() = theirs;
        let (old, new) = (w.stranger.id.to_string(), w.archive.id.to_string());
        w.archive.forge(|text| text.replace(&old, &new));
    }),
    ("manifest replayed from an older archive",
        ["name.mismatch", "name.mismatch", "name.mismatch", "name.mismatch", "good"],
        "name.mismatch whole",
        |w| { let old = w.older.manifest().clone(); *w.archive.manifest() = old; }),
    ("archive replayed whole under this id",
        ["name.mismatch", "name.mismatch", "name.mismatch", "name.mismatch", "other content"],
        "name.mismatch whole of the older one",
        |w| { *w.archive.single() = w.older.single().clone(); let old = w.older.manifest().clone(); *w.archive.manifest() = old; }),
    // Two things at once: verify lists both.
    ("the manifest and a block flipped",
        ["manifest.seal", "manifest.seal", "manifest.seal", "manifest.seal openssl.stream", "openssl.stream"],
        "manifest.seal openssl.stream 1..?",
        |w| { flip_after(w.archive.manifest(), b"\"created\":\"20"); w.archive.single()[1_200_000] ^= 1; }),
    ("the manifest deleted, and the object truncated inside a block",
        ["manifest.seal", "openssl.padding", "openssl.padding", "openssl.padding", "openssl.padding"],
        "openssl.padding 1+..? unproven",
        |w| { w.lose(&w.id().manifest()); w.archive.single().truncate(1_200_007); }),
    ("the object truncated, and a part beside it",
        ["name.ambiguous", "name.ambiguous part.size", "name.ambiguous part.size", "name.ambiguous part.size", "name.ambiguous"],
        "name.ambiguous part.size 0..end",
        |w| {
        w.archive.single().pop();
        w.put(&w.id().part(1), w.stranger.objects[w.stranger.id.as_str()].clone());
    }),
];

/// Changes the character behind a mark into another hexadecimal digit, or a quotation mark into something else.
fn flip_after(bytes: &mut [u8], mark: &[u8]) {
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap() + mark.len();
    bytes[at] = match bytes[at] {
        b'0' => b'1',
        b'1'..=b'9' | b'a'..=b'f' => b'0',
        other => other ^ 1,
    };
}
