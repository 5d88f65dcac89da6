//! What comes from a PostgreSQL server, or from whoever made a dump: dumps, the messages of psql, and connection strings, in which no password may
//! be overlooked.

use std::collections::BTreeSet;

use backstay::chunk::Watch as _;
use backstay_postgres::custom::{Contents, Watcher};
use backstay_postgres::target::judge::{Judge, Tally, Verdict};
use backstay_postgres::target::message::Parser;
use backstay_postgres::target::{Dsn, Head};

const DATABASE: &[u8] = include_bytes!("../../postgres/testdata/pg_dump-15.20.sql");
const CLUSTER: &[u8] = include_bytes!("../../postgres/testdata/pg_dumpall-15.20.sql");
const CUSTOM_15: &[u8] = include_bytes!("../../postgres/testdata/head-15.20.dump");
const CUSTOM_18: &[u8] = include_bytes!("../../postgres/testdata/head-18.6.dump");
const TAR: &[u8] = include_bytes!("../../postgres/testdata/head-15.20.tar");

/// Heads of dumps of each kind.
pub(crate) fn heads() -> Vec<Vec<u8>> {
    [DATABASE, CLUSTER, CUSTOM_15, CUSTOM_18, TAR].map(<[u8]>::to_vec).into()
}

/// What psql said to loads that went well, and that did not.
pub(crate) fn conversations() -> Vec<Vec<u8>> {
    let many = include_bytes!("../../postgres/testdata/psql/errors-of-many-kinds-15.txt");
    let german = include_bytes!("../../postgres/testdata/psql/german-15.txt");
    let lost = include_bytes!("../../postgres/testdata/psql/connection-lost-15.txt");
    let cluster = include_bytes!("../../postgres/testdata/psql/cluster-of-18-in-15.txt");
    [&many[..], german, lost, cluster].map(<[u8]>::to_vec).into()
}

/// Connection strings of both kinds.
pub(crate) fn connections() -> Vec<Vec<u8>> {
    let texts = [
        "postgresql://me@host:5432/db?sslmode=require",
        "postgres://me:secret@host/db?%70assword=x",
        "host=h user=me dbname='a b\\' c' password = 'x'",
        "shop",
    ];
    texts.map(|text| text.as_bytes().to_vec()).into()
}

fn int(value: i32) -> Vec<u8> {
    [&[u8::from(value < 0)][..], &value.unsigned_abs().to_le_bytes()].concat()
}

fn text(value: &str) -> Vec<u8> {
    [int(i32::try_from(value.len()).expect("it is short")), value.as_bytes().to_vec()].concat()
}

/// A small dump in the custom format, of this minor version: a table's definition and its data, and a large object.
fn custom(minor: u8) -> Vec<u8> {
    let mut dump = [&b"PGDMP\x01"[..], &[minor, 0, 4, 8, 1]].concat();
    dump.extend(if minor >= 15 { vec![0] } else { int(0) });
    (0..7).for_each(|_| dump.extend(int(1)));
    ["shop", "15.4", "15.4"].iter().for_each(|version| dump.extend(text(version)));
    dump.extend(int(3));
    for (id, (kind, data)) in (1..).zip([("TABLE", 0), ("TABLE DATA", 1), ("BLOBS", 1)]) {
        dump.extend([int(id), int(data), text("0"), text("16384"), text("t"), text(kind), int(3), text("x")].concat());
        dump.extend([text(""), text("COPY t FROM stdin;"), text("public"), int(-1)].concat());
        if minor >= 14 {
            dump.extend(text("heap"));
        }
        if minor >= 16 {
            dump.extend(int(114));
        }
        dump.extend([text("owner"), text("false"), text("7"), int(-1), vec![if data == 1 { 2 } else { 3 }]].concat());
        dump.extend([0; 8]);
    }
    dump.extend([&[1][..], &int(2), &int(6), b"1\tone\n", &int(0)].concat());
    dump.extend([&[3][..], &int(3), &int(16_400), &int(3), b"abc", &int(0), &int(0)].concat());
    dump
}

/// One of each version, and one that has no data.
pub(crate) fn customs() -> Vec<Vec<u8>> {
    [12, 14, 15, 16].map(custom).into_iter().chain([CUSTOM_15.to_vec()]).collect()
}

/// A dump in the custom format as it passes, and its table of contents.
pub(crate) fn custom_dump(bytes: &[u8]) {
    let mut whole = Watcher::default();
    whole.see(bytes);
    let mut pieces = Watcher::default();
    bytes.chunks(7).for_each(|piece| pieces.see(piece));
    let (whole_end, pieces_end) = (whole.end(), pieces.end());
    assert_eq!(whole_end, pieces_end, "the pieces that a dump comes in make a difference");
    let contents = match whole.index() {
        Some(index) => {
            let (mut end, length) = (index.contents, bytes.len() as u64);
            for block in &index.blocks {
                assert!(block.1 >= end, "a block begins within what is before it");
                end = block.1 + block.2;
            }
            if whole_end.is_ok() {
                assert!(end <= length, "a dump that is whole has {length} bytes, and a block ends at {end}");
            }
            usize::try_from(index.contents).unwrap().min(bytes.len())
        }
        None => bytes.len(),
    };
    if let Ok(contents) = Contents::parse(bytes[..contents].to_vec()) {
        let blocks: Vec<_> =
            contents.entries.iter().filter(|entry| entry.has_data).map(|entry| (entry.id, 9)).collect();
        let one = &blocks[..blocks.len().min(1)];
        for blocks in [&[], one, &blocks[..]] {
            let written = Contents::parse(contents.with_blocks(blocks)).expect("what is written can be read");
            assert_eq!(written.entries, contents.entries);
        }
        contents.entries.iter().take(10).for_each(|entry| drop(contents.tables(&entry.tag)));
    }
}

/// The beginning of a dump of any kind.
pub(crate) fn dump_head(bytes: &[u8]) {
    let _ = Head::read(bytes);
}

/// What psql said.
pub(crate) fn messages(bytes: &[u8]) {
    let judge = Judge {
        roles: BTreeSet::from(["postgres".to_owned()]),
        roles_may_be_missing: bytes.len().is_multiple_of(2),
        ..Judge::default()
    };
    let (mut parser, mut tally, mut errors) = (Parser::default(), Tally::default(), 0);
    let said = String::from_utf8_lossy(bytes);
    let mut add = |message| {
        let verdict = judge.judge(&message);
        assert!(message.is_error() || verdict == Verdict::Remark, "what is no error is judged to be {verdict:?}");
        errors += u64::from(matches!(verdict, Verdict::Error | Verdict::Target));
        tally.add(&message, verdict);
        // Kept as messages, which go into reports: they must not grow with what was said.
        assert!(message.text.chars().count() <= 401);
    };
    for line in said.lines() {
        parser.line(line).into_iter().for_each(&mut add);
    }
    parser.finish().into_iter().for_each(&mut add);
    assert_eq!(tally.errors + tally.target, errors);
}

/// A connection string, which is handed on as an argument that everybody can read.
pub(crate) fn connection(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(dsn) = Dsn::parse(text) {
        assert_eq!(dsn.as_str(), text);
        // Another reader of URIs than ours sees no password, either. It leaves blanks at the ends and control characters out, and knows
        // fragments; libpq takes all of it as it stands.
        let uri = text.starts_with("postgresql://") || text.starts_with("postgres://");
        let uri = uri && text.trim() == text && !text.bytes().any(|byte| byte.is_ascii_control() || byte == b'#');
        if let Some(url) = uri.then(|| url::Url::parse(text).ok()).flatten() {
            assert!(url.password().is_none(), "{text} has a password");
            assert!(!url.query_pairs().any(|(name, _)| name == "password" || name == "sslpassword"), "{text}");
        }
    }
}
