//! What a writer may make is what a reader takes.

use backstay_format::header::{Codec, Common, Head, Kind, Lock, MAX_PARTS};
use backstay_format::manifest::{
    Document, MAX_BESIDE_PARTS, MAX_MANIFEST, MOST_PARTS, Manifest, OpensslHead, PartEntry, Profile,
};
use backstay_format::openssl::{Digest, Kdf, PartWriter, Password, Salt};
use backstay_format::part::Sealer;
use backstay_format::schedule::{Keys, Secret};
use backstay_format::segment::Aead;
use backstay_format::set::{MAX_MEMBERS, MAX_NAME, MAX_SET, Member, Set};
use backstay_format::{ArchiveId, Error};

fn id() -> ArchiveId {
    "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123".parse().unwrap()
}

fn keys() -> Keys {
    Keys::derive(&Secret([1; 32]), &[2; 32])
}

fn common(seg: u32) -> Common {
    Common {
        salt: [2; 32],
        commit: keys().commit(),
        aead: Aead::Aes256Gcm,
        codec: Codec::Zstd,
        seg,
        segs: 1,
        keys: Vec::new(),
        kind: Kind::Full,
        open: None,
        signature: None,
    }
}

fn manifest(parts: Vec<PartEntry>) -> Manifest {
    let sealer = Sealer::new(id(), common(1024), keys(), Box::new(|_: &mut [u8]| ())).unwrap();
    let head = Head { common: common(1024), rest: sealer.rest().to_owned(), len: sealer.line_len() };
    Manifest {
        id: id(),
        profile: Profile::Native(Box::new(head)),
        kind: Kind::Full,
        created: "2025-02-21T09:26:40Z".to_owned(),
        finished: None,
        source: None,
        name: None,
        tags: Vec::new(),
        converted: None,
        content: None,
        first: 0,
        parts,
        needs: Vec::new(),
        private: None,
        detached: false,
        unconfirmed: false,
    }
}

/// Parts as large as so many of them can be: `stored` is at most 2^53.
fn parts(count: u32) -> Vec<PartEntry> {
    let size = (1 << 53) / u64::from(count);
    vec![PartEntry { size, rnd: Some([7; 16]), sha256: [9; 32] }; count as usize]
}

/// A manifest that states as much as it may before there is a part.
fn full_beside(parts: Vec<PartEntry>) -> Manifest {
    let mut manifest = manifest(Vec::new());
    let bare = manifest.encode(&keys().seal(), None).unwrap().0.len() as u64;
    manifest.name = Some("n".repeat(usize::try_from(MAX_BESIDE_PARTS - bare).unwrap() - 512));
    manifest.leaves_room_for_parts().unwrap();
    manifest.parts = parts;
    manifest
}

#[test]
fn the_longest_manifest_of_the_most_parts_is_read() {
    let manifest = full_beside(parts(MOST_PARTS));
    let (bytes, _) = manifest.encode(&keys().seal(), None).unwrap();
    assert!(bytes.len() as u64 <= MAX_MANIFEST, "{}", bytes.len());
    // And there is not much room left: the bound is that of the document, and not a guess.
    assert!(bytes.len() as u64 > MAX_MANIFEST - (8 << 20), "{}", bytes.len());
    let Document::Manifest(read) = Manifest::parse(bytes, &id()).unwrap() else { panic!("ours") };
    read.check(&keys().seal()).unwrap();
    assert_eq!(read.manifest, manifest);
}

#[test]
fn what_no_reader_takes_is_not_made() {
    // As many as the format allows do not fit, whatever is stated beside them.
    let refused = manifest(parts(MAX_PARTS)).encode(&[0; 32], None).unwrap_err();
    assert!(matches!(refused, Error::ManifestTooLong { limit: MAX_MANIFEST, .. }), "{refused}");
    assert_eq!(refused.code(), "manifest.limit");
    // They do in the openssl profile, whose entries are shorter, but not one more.
    let kdf = Kdf::BytesToKey(Digest::Md5);
    let openssl = Profile::Openssl(OpensslHead { kdf, salt: Salt([1; 8]), gzip: true, single: false });
    let short = vec![PartEntry { size: 16, rnd: None, sha256: [9; 32] }; MAX_PARTS as usize];
    let mut many = Manifest { profile: openssl, ..manifest(short) };
    let (bytes, _) = many.encode(&[0; 32], None).unwrap();
    assert!(matches!(Manifest::parse(bytes, &id()), Ok(Document::Manifest(_))));
    many.parts.push(many.parts[0].clone());
    let refused = many.encode(&[0; 32], None).unwrap_err();
    assert_eq!(refused, Error::TooManyParts { limit: MAX_PARTS });
}

/// A set of so many members with names like these.
fn set(count: usize, name: impl Fn(usize) -> String) -> Set {
    let member = |n: usize| {
        let id = ArchiveId::new(&id().guid(), 1_750_000_000_000 + n as u64).unwrap();
        Member { name: name(n), id, root: [9; 32], role: None }
    };
    Set {
        id: id(),
        created: "2025-02-21T09:26:40Z".to_owned(),
        finished: None,
        lock: Lock { salt: [2; 32], commit: keys().commit(), keys: Vec::new(), open: None, signature: None },
        source: None,
        name: None,
        tags: Vec::new(),
        members: (0..count).map(member).collect(),
        private: None,
    }
}

#[test]
fn the_largest_sets_are_read_and_larger_ones_are_not_made() {
    let takes = |set: &Set| {
        let (bytes, _) = set.encode(&[0; 32], None)?;
        assert_eq!(Set::parse(&bytes, &id()).unwrap().set, *set);
        Ok::<_, Error>(bytes.len() as u64)
    };
    // Members, and their names.
    let number = |n: usize| n.to_string();
    takes(&set(MAX_MEMBERS, number)).unwrap();
    takes(&set(1, |_| "n".repeat(MAX_NAME))).unwrap();
    let unreadable = [
        set(MAX_MEMBERS + 1, number),
        set(0, number),
        set(1, |_| "n".repeat(MAX_NAME + 1)),
        set(1, |_| String::new()),
        set(2, |_| "twice".to_owned()),
    ];
    for set in unreadable {
        let refused = set.encode(&[0; 32], None).unwrap_err();
        assert!(matches!(refused, Error::SetUnreadable { .. }), "{refused}");
        assert_eq!(refused.code(), "manifest.limit");
    }
    // Bytes: to the last one.
    let mut long = set(1, number);
    let bare = takes(&long).unwrap();
    long.tags.push("t".repeat(usize::try_from(MAX_SET - bare).unwrap() - 2));
    assert_eq!(takes(&long).unwrap(), MAX_SET);
    long.tags[0].push('t');
    let refused = long.encode(&[0; 32], None).unwrap_err();
    assert_eq!(refused, Error::ManifestTooLong { object: id().set(), length: MAX_SET + 1, limit: MAX_SET });
}

#[test]
fn a_name_that_leaves_no_room_for_parts_is_refused_before_there_are_any() {
    let mut manifest = full_beside(Vec::new());
    manifest.name.as_mut().unwrap().push_str(&"n".repeat(512));
    let refused = manifest.leaves_room_for_parts().unwrap_err();
    assert!(matches!(refused, Error::ManifestTooLong { limit: MAX_BESIDE_PARTS, .. }), "{refused}");
    // By itself it could be read.
    manifest.encode(&[0; 32], None).unwrap();
}

#[test]
fn a_sealer_makes_the_most_parts_and_not_one_more() {
    // Two bytes a segment and one segment a part, which a reader would refuse.
    let mut sealer = Sealer::new(id(), common(2), keys(), Box::new(|_: &mut [u8]| ())).unwrap();
    let mut made = 0;
    let refused = loop {
        match sealer.push(&mut &[0; 2][..]) {
            Ok(None) => {}
            Ok(Some(part)) => {
                assert_eq!(part.n, made);
                made += 1;
                sealer.recycle(part.bytes);
            }
            Err(refused) => break refused,
        }
    };
    // The last one is open when one more would have to begin.
    assert_eq!((made + 1, refused), (MOST_PARTS, Error::TooManyParts { limit: MOST_PARTS }));
}

#[test]
fn the_openssl_writer_makes_the_most_parts_and_not_one_more() {
    let key = Kdf::BytesToKey(Digest::Md5).derive(&Password::new(b"K".to_vec()), Salt([1; 8]));
    let made = |most: u32| {
        let mut writer = PartWriter::begin(&key, 1, most);
        let mut made = 0;
        for _ in 0..most.div_ceil(40) {
            writer.member(&[0; 100]);
            loop {
                match writer.next_part() {
                    Ok(None) => break,
                    Ok(Some(part)) => {
                        made += 1;
                        writer.recycle(part);
                    }
                    Err(refused) => return (made, Some(refused)),
                }
            }
        }
        (made, None)
    };
    assert_eq!(made(MOST_PARTS), (MOST_PARTS - 1, Some(Error::TooManyParts { limit: MOST_PARTS })));
    assert_eq!(made(1), (0, Some(Error::TooManyParts { limit: 1 })));
}

#[test]
fn sizes_that_add_up_to_more_than_a_number_holds_are_refused() {
    // 2048 times 2^53 is 2^64, which is 0 to whoever lets it wrap; and the manifest says 0.
    let mut manifest = manifest(vec![PartEntry { size: 1 << 53, rnd: Some([7; 16]), sha256: [9; 32] }; 2048]);
    assert_eq!(manifest.stored(), u64::MAX);
    let forged = |manifest: &Manifest, stored: &str| {
        let (bytes, _) = manifest.encode(&[0; 32], None).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (body, _) = text.split_once("\"seal\"").unwrap();
        let (before, after) = body.split_once("\"stored\":").unwrap();
        let (_, after) = after.split_once(',').unwrap();
        let body = format!("{before}\"stored\":{stored},{after}");
        let digest = backstay_format::text::to_hex(&backstay_format::schedule::sha256(body.as_bytes()));
        let bytes = format!("{body}\"seal\":{{\"sha256\":\"{digest}\",\"mac\":\"{}\"}}}}\n", "0".repeat(64));
        Manifest::parse(bytes.into_bytes(), &id()).map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = forged(&manifest, "0").unwrap_err();
    assert!(refused.contains("`stored` is not the sum"), "{refused}");
    // The forgery is a good one: with sizes that add up it is taken.
    manifest.parts.truncate(1);
    assert_eq!(forged(&manifest, &(1_u64 << 53).to_string()), Ok(()));
}
