//! The reader against streams made to fool it.

use proptest::prelude::*;

use super::reader::Work;
use super::*;

/// A gzip member that holds `content` uncompressed, so that whatever stands in `content` stands in
/// the member.
fn stored(header: &[u8], content: &[u8]) -> Vec<u8> {
    let mut member = header.to_vec();
    let mut blocks = content.chunks(65_535).peekable();
    if content.is_empty() {
        member.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        member.push(u8::from(blocks.peek().is_none()));
        member.extend(length.to_le_bytes());
        member.extend((!length).to_le_bytes());
        member.extend(block);
    }
    member.extend(libdeflater::crc32(content).to_le_bytes());
    member.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    member
}

fn own(content: &[u8]) -> Vec<u8> {
    let mut member = Vec::new();
    MemberCompressor::new(Level::default()).compress(content, &mut member);
    member
}

/// A header with a name, a comment, an extra field and a CRC of itself, as RFC 1952 allows.
fn full_header() -> Vec<u8> {
    let mut header = vec![0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 2, 3];
    header.extend([4, 0]);
    header.extend(b"xyz\0");
    header.extend(b"dump.sql\0");
    header.extend(b"a comment\0");
    let crc = libdeflater::crc32(&header).to_le_bytes();
    header.extend(&crc[..2]);
    header
}

/// Content of incompressible bytes.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// How a caller may behave.
#[derive(Debug, Clone)]
struct Caller {
    push: usize,
    /// Jobs it keeps running.
    width: usize,
    /// It takes a result that is not yet asked for whenever this many questions have passed.
    eager: usize,
}

impl Caller {
    fn plain() -> Self {
        Self { push: 64 << 10, width: 4, eager: usize::MAX }
    }
}

struct Read {
    content: Vec<u8>,
    result: Result<Summary, Error>,
    /// Member jobs, serial jobs.
    jobs: (usize, usize),
}

fn read(stream: &[u8], options: Options, caller: &Caller) -> Read {
    let mut reader = Reader::new(options);
    let mut input = stream.chunks(caller.push);
    let mut running = std::collections::VecDeque::new();
    let mut content = Vec::new();
    let mut jobs = (0, 0);
    for question in 1.. {
        let full = running.len() == caller.width;
        let early = question % caller.eager == 0 && !running.is_empty();
        let next = if full || early { Next::Result } else { reader.next() };
        match next {
            Next::Run(job) => {
                match &job.work {
                    Work::Member(member) => {
                        assert!(member.len() <= MEMBER_LIMIT);
                        jobs.0 += 1;
                    }
                    Work::Serial { .. } => jobs.1 += 1,
                }
                running.push_back(job);
            }
            Next::Input => match input.next() {
                Some(bytes) => reader.push(bytes),
                None => reader.end_input(),
            },
            Next::Result => {
                let job = running.pop_front().expect("a result is asked for when a job is running");
                content.extend(reader.complete(job.run(Vec::new)));
            }
            Next::End => break,
        }
    }
    Read { content, result: reader.finish(), jobs }
}

const STOCK: Options = Options { dialect: Dialect::Stock, max_content: None };

fn assert_reads(stream: &[u8], content: &[u8]) -> Read {
    let read = read(stream, STOCK, &Caller::plain());
    let summary = read.result.as_ref().expect("the stream is sound");
    assert_eq!(summary.content, content.len() as u64);
    assert!(read.content == content, "content differs");
    read
}

/// One member of a made-up stream, with its content.
fn any_member() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(0u8..4, 0..2000),
        Just(Vec::new()),
        // Headers, whole and broken, in the content of stored members: splits that are wrong.
        prop::collection::vec(0usize..=10, 1..30)
            .prop_map(|cuts| { cuts.iter().flat_map(|cut| MEMBER_HEADER[..*cut].to_vec()).collect::<Vec<u8>>() }),
        // Whole members in the content of stored members: wrong splits that inflate.
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|inner| [own(&inner), own(&inner), inner].concat()),
    ];
    (content, 0..4).prop_map(|(content, kind)| {
        let member = match kind {
            0 => own(&content),
            1 => stored(&MEMBER_HEADER, &content),
            2 => stored(&full_header(), &content),
            _ => stored(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &content),
        };
        (member, content)
    })
}

fn any_caller() -> impl Strategy<Value = Caller> {
    let push = prop_oneof![1usize..40, 100usize..5000];
    (push, 1usize..6, 1usize..9).prop_map(|(push, width, eager)| Caller { push, width, eager })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_row_of_members_is_read_whatever_the_caller_does(
        members in prop::collection::vec(any_member(), 1..8),
        caller in any_caller(),
        zeros in 0usize..40,
    ) {
        let (members, contents): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let mut stream = members.concat();
        stream.resize(stream.len() + zeros, 0);
        let read = read(&stream, STOCK, &caller);
        prop_assert_eq!(read.result, Ok(Summary {
            content: contents.concat().len() as u64,
            members: members.len() as u64,
        }));
        prop_assert_eq!(read.content, contents.concat());
    }

    #[test]
    fn a_stream_cut_short_gives_a_prefix_and_an_error_unless_cut_at_a_member_end(
        members in prop::collection::vec(any_member(), 1..5),
        caller in any_caller(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (members, contents): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let stream = members.concat();
        let cut = cut.index(stream.len());
        let mut ends = members.iter().scan(0, |end, member| {
            *end += member.len();
            Some(*end)
        });
        let read = read(&stream[..cut], STOCK, &caller);
        prop_assert_eq!(read.result.is_ok(), ends.any(|end| end == cut));
        prop_assert!(contents.concat().starts_with(&read.content));
        if let Err(error) = read.result {
            prop_assert_eq!(error, Error::Truncated { offset: cut as u64 });
        }
    }

    #[test]
    fn a_flipped_bit_never_changes_the_content_of_a_stream_that_is_accepted(
        members in prop::collection::vec(any_member(), 1..4),
        caller in any_caller(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (members, contents): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let mut stream = members.concat();
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        let read = read(&stream, STOCK, &caller);
        // Times, names and the like are not covered by the CRC and do not matter.
        if read.result.is_ok() {
            prop_assert_eq!(read.content, contents.concat());
        }
    }

    #[test]
    fn the_serial_inflater_bounds_its_output_by_the_room_it_is_given(
        content in prop::collection::vec(0u8..3, 0..5000),
        room in 1usize..700,
        push in 1usize..300,
    ) {
        let stream = own(&content);
        let mut inflater = SerialInflater::new(Dialect::Native);
        let mut read = Vec::new();
        for mut input in stream.chunks(push) {
            loop {
                let mut out = Vec::with_capacity(room);
                let capacity = out.capacity();
                let progress = inflater.inflate(input, &mut out).unwrap();
                prop_assert_eq!(out.capacity(), capacity);
                read.extend(out);
                input = &input[progress.consumed..];
                if progress.stop == Stop::Input || progress.stop == Stop::Boundary {
                    break;
                }
            }
        }
        prop_assert_eq!(inflater.finish(), Ok(()));
        prop_assert_eq!(inflater.offset(), stream.len() as u64);
        prop_assert_eq!(read, content);
    }
}

#[test]
fn the_header_is_the_same_at_every_level_and_the_content_survives() {
    let content = noise(5000, 7);
    for level in 1..=12 {
        let mut member = Vec::new();
        let length = MemberCompressor::new(Level::new(level).unwrap()).compress(&content, &mut member);
        assert_eq!(length, member.len());
        assert!(member.starts_with(&MEMBER_HEADER), "level {level}");
        assert_reads(&member, &content);
    }
    assert_eq!((Level::new(0), Level::new(13)), (None, None));
}

#[test]
fn the_empty_member_holds_nothing() {
    assert_reads(&EMPTY_MEMBER, b"");
    assert_reads(&own(b""), b"");
}

#[test]
fn own_members_are_inflated_in_parallel_and_alone_whatever_the_cuts() {
    let content = noise(3 * MEMBER_CONTENT + 1000, 1);
    let stream: Vec<u8> = content.chunks(MEMBER_CONTENT).flat_map(own).collect();
    for push in [100, 101, 4099, 65_536, usize::MAX] {
        let caller = Caller { push, ..Caller::plain() };
        let read = read(&stream, Options::default(), &caller);
        assert_eq!(read.jobs, (4, 0), "input in cuts of {push}");
        assert!(read.content == content);
    }
}

#[test]
fn a_header_is_seen_wherever_the_input_is_cut() {
    let stream = [own(b"one"), own(b"two")].concat();
    for cut in 0..stream.len() {
        let mut splitter = MemberSplitter::default();
        let mut members = Vec::new();
        for (input, ended) in [(&stream[..cut], false), (&stream[cut..], true)] {
            splitter.push(input);
            while let Split::Member(member) = splitter.split(ended) {
                members.push(member);
            }
        }
        assert_eq!(members, [own(b"one"), own(b"two")], "cut at {cut}");
    }
}

#[test]
fn a_member_of_any_length_is_read_serially_and_parallel_work_resumes_after_it() {
    let long = noise(3 * MEMBER_LIMIT, 2);
    let short = noise(MEMBER_CONTENT, 3);
    for header in [&MEMBER_HEADER[..], &full_header()] {
        let stream = [stored(header, &long), own(&short), own(&short)].concat();
        for push in [10_000, usize::MAX] {
            let caller = Caller { push, ..Caller::plain() };
            let read = read(&stream, STOCK, &caller);
            assert!(read.result.is_ok());
            assert!(read.content == [&long[..], &short, &short].concat());
            assert_eq!(read.jobs.0, 2, "the two members after the long one");
            assert!(read.jobs.1 > 0);
        }
    }
}

#[test]
fn content_that_is_itself_a_gzip_stream_is_not_taken_apart() {
    let inner: Vec<u8> = (0..20).flat_map(|seed| own(&noise(20_000, seed))).collect();
    let stream = [stored(&MEMBER_HEADER, &inner), own(b"after")].concat();
    assert_reads(&stream, &[&inner[..], b"after"].concat());
}

#[test]
fn a_wrong_split_voids_the_results_of_all_jobs_given_after_it() {
    // The first guess is wrong and the second one inflates: it must not be believed.
    let inner = own(&noise(50_000, 5));
    let stream = stored(&MEMBER_HEADER, &[b"x".repeat(100), inner.clone(), inner].concat());
    for width in 1..5 {
        let caller = Caller { width, ..Caller::plain() };
        let read = read(&stream, Options::default(), &caller);
        assert_eq!(read.result.map(|summary| summary.members), Ok(1));
        assert_eq!(read.content.len(), stream.len() - 10 - 5 * 2 - 8);
    }
}

#[test]
fn a_member_followed_by_its_twin_is_not_taken_for_one_member() {
    // libdeflate stops after the first and the footer at the end fits: only the second footer
    // tells.
    for content in [&b"hello"[..], b"", &noise(1000, 6)] {
        for foreign in [stored(&full_header(), content), stored(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], content)] {
            let twins = [own(content), foreign].concat();
            assert!(!inflate_whole_member(&twins, &mut Vec::new(), MEMBER_LIMIT));
            assert_reads(&twins, &content.repeat(2));
        }
    }
}

#[test]
fn a_symbol_that_deflate_leaves_unused_is_taken_only_where_the_checksum_proves_the_content() {
    // Fixed codes: `a`, a length with the unused symbol 287, of which one bit makes 285, which is 258; distance 1; the end.
    let bits = "1 10 10010001 11000111 00000 0000000".bytes().filter(|bit| *bit != b' ');
    let mut deflate = [0_u8; 4];
    bits.enumerate().for_each(|(i, bit)| deflate[i / 8] |= (bit - b'0') << (i % 8));
    let member = |content: &[u8]| {
        let footer = [libdeflater::crc32(content).to_le_bytes(), u32::try_from(content.len()).unwrap().to_le_bytes()];
        [&MEMBER_HEADER[..], &deflate, &footer.concat()].concat()
    };
    let content = b"a".repeat(259);
    let good = [member(&content), own(b"after")].concat();
    let read_good = read(&good, Options::default(), &Caller::plain());
    assert!(read_good.result.is_ok() && read_good.content == [&content[..], b"after"].concat());
    // As gzip does, the inflater that decides what is damaged refuses it.
    let mut out = Vec::with_capacity(1000);
    assert!(SerialInflater::new(Dialect::Stock).inflate(&member(&content), &mut out).is_err());
    let bad = [member(&b"b".repeat(259)), own(b"after")].concat();
    assert!(matches!(read(&bad, Options::default(), &Caller::plain()).result, Err(Error::Invalid { .. })));
}

#[test]
fn a_member_followed_by_what_might_be_its_length_is_not_taken_for_one_member() {
    // libdeflate stops after the member, and the last four bytes fit.
    for (content, tail) in [(&b""[..], &MEMBER_HEADER[..7]), (b"hello", b"junk\x05\0\0\0")] {
        let stream = [&own(content), tail].concat();
        assert!(!inflate_whole_member(&stream, &mut Vec::new(), MEMBER_LIMIT));
        assert!(read(&stream, STOCK, &Caller::plain()).result.is_err());
    }
}

#[test]
fn an_empty_member_followed_by_zeros_is_not_taken_for_one_member() {
    // Its footer is zeros, so the zeros behind it look like the end of it.
    for empty in [own(b""), EMPTY_MEMBER.to_vec()] {
        for zeros in 1..20 {
            let stream = [&empty[..], &vec![0; zeros]].concat();
            assert!(!inflate_whole_member(&stream, &mut Vec::new(), MEMBER_LIMIT));
            let native = read(&stream, Options::default(), &Caller::plain()).result;
            assert_eq!(native.map_err(|error| error.code()), Err("stream.trailing"));
            assert!(read(&stream, STOCK, &Caller::plain()).result.is_ok());
        }
    }
}

#[test]
fn a_member_followed_by_a_copy_of_its_footer_is_damaged() {
    let member = own(b"hello");
    let doubled = [&member[..], &member[member.len() - 8..]].concat();
    assert!(!inflate_whole_member(&doubled, &mut Vec::new(), MEMBER_LIMIT));
    let read = read(&doubled, STOCK, &Caller::plain());
    assert_eq!(read.result, Err(Error::Trailing { offset: member.len() as u64 }));
}

#[test]
fn a_whole_member_is_inflated_only_within_the_limit_and_with_crc_and_length_right() {
    let member = own(&noise(1000, 8));
    let whole = |member: &[u8], limit| inflate_whole_member(member, &mut Vec::new(), limit);
    assert!(whole(&member, 1000));
    assert!(!whole(&member, 999));
    for (from_end, name) in [(8, "crc"), (5, "crc"), (4, "length"), (1, "length")] {
        let mut wrong = member.clone();
        let at = wrong.len() - from_end;
        wrong[at] ^= 1;
        assert!(!whole(&wrong, MEMBER_LIMIT), "{name}");
    }
    assert!(!whole(&member[..member.len() - 1], MEMBER_LIMIT));
    assert!(!whole(&[&member[..], &[0]].concat(), MEMBER_LIMIT));
    assert!(!whole(b"", MEMBER_LIMIT));
}

#[test]
fn a_refused_member_leaves_nothing_in_the_output() {
    let mut out = b"before".to_vec();
    assert!(!inflate_whole_member(&own(b"hello")[1..], &mut out, MEMBER_LIMIT));
    assert!(out.is_empty());
    let mut wrong = own(b"hello");
    *wrong.last_mut().unwrap() ^= 1;
    out = b"before".to_vec();
    assert!(!inflate_whole_member(&wrong, &mut out, MEMBER_LIMIT));
    assert!(out.is_empty());
}

#[test]
fn what_may_follow_the_last_member_is_the_callers_choice() {
    let stream = own(b"hello");
    let end = stream.len() as u64;
    // The tail, and where reading fails in the native and in the openssl profile.
    let cases = [
        (&b""[..], None, None),
        (b"\0", Some(end), None),
        (&[0; 5000], Some(end), None),
        (b"\0\0x", Some(end), Some(end + 2)),
        (b"junk", Some(end), Some(end)),
        // gzip looks for no member behind zeros.
        (&[&[0], &EMPTY_MEMBER[..]].concat(), Some(end), Some(end + 1)),
    ];
    for (tail, native, openssl) in cases {
        let stream = [&stream, tail].concat();
        for (options, expected) in [(Options::default(), native), (STOCK, openssl)] {
            for push in [1, 7, 1 << 20] {
                let caller = Caller { push, ..Caller::plain() };
                let read = read(&stream, options, &caller);
                let expected = expected.map(|offset| Error::Trailing { offset });
                assert_eq!(read.result.err(), expected, "{tail:?}");
                assert_eq!(read.content, b"hello");
            }
        }
    }
}

#[test]
fn nothing_is_not_a_gzip_stream() {
    for (stream, options) in [(&b""[..], STOCK), (b"", Options::default()), (&[0; 30], STOCK), (b"\x1f", STOCK)] {
        let read = read(stream, options, &Caller::plain());
        assert!(read.result.is_err(), "{stream:?}");
        assert!(read.content.is_empty());
    }
}

#[test]
fn content_beyond_the_limit_is_an_error_in_both_modes() {
    let content = vec![0; 5 * MEMBER_CONTENT];
    let parallel: Vec<u8> = content.chunks(MEMBER_CONTENT).flat_map(own).collect();
    for stream in [parallel, own(&content)] {
        for (limit, expected) in
            [(content.len(), Ok(())), (content.len() - 1, Err("stream.limit")), (0, Err("stream.limit"))]
        {
            let limit = limit as u64;
            let options = Options { max_content: Some(limit), ..Options::default() };
            let read = read(&stream, options, &Caller::plain());
            assert_eq!(read.result.map(drop).map_err(|error| error.code()), expected);
            assert!(read.content.len() as u64 <= limit);
        }
    }
}

#[test]
fn memory_stays_bounded_while_a_bomb_unfolds() {
    // 64 MiB of zeros in one member of 64 KiB: the reader hands out no piece longer than a serial
    // job's room.
    let bomb = own(&vec![0; 64 << 20]);
    let mut reader = Reader::new(Options::default());
    reader.push(&bomb);
    reader.end_input();
    let mut total = 0;
    while let Next::Run(job) = reader.next() {
        let content = reader.complete(job.run(Vec::new));
        assert!(content.capacity() <= MEMBER_LIMIT);
        total += content.len();
    }
    assert_eq!(total, 64 << 20);
    assert!(reader.finish().is_ok());
}

#[test]
fn debug_output_shows_nothing_of_the_content() {
    let mut reader = Reader::new(Options::default());
    reader.push(&stored(&MEMBER_HEADER, b"XXXXXXXX"));
    reader.end_input();
    let before = format!("{reader:?}");
    let Next::Run(job) = reader.next() else {
        panic!("a job");
    };
    let job_text = format!("{job:?}");
    let done = job.run(Vec::new);
    let text = format!("{before} {job_text} {done:?} {reader:?}");
    assert!(!text.contains("88, 88") && !text.contains("XX"), "{text}");
}

#[test]
fn reading_that_is_given_up_is_no_success() {
    let stream = own(b"hello");
    let mut reader = Reader::new(Options::default());
    assert!(matches!(reader.next(), Next::Input));
    reader.push(&stream);
    assert!(matches!(reader.next(), Next::Input));
    assert!(reader.finish().is_err());
}

#[test]
#[should_panic(expected = "in the order of their jobs")]
fn results_out_of_order_are_a_mistake_of_the_caller() {
    let mut reader = Reader::new(Options::default());
    reader.push(&[own(b"one"), own(b"two"), own(b"three")].concat());
    let (Next::Run(_first), Next::Run(second)) = (reader.next(), reader.next()) else {
        panic!("two jobs");
    };
    let _ = reader.complete(second.run(Vec::new));
}

#[test]
fn faked_headers_cost_no_more_than_a_second_pass() {
    // Every ten bytes a header that begins no member; each compressed byte may be tried once in
    // parallel and once serially.
    let content = MEMBER_HEADER.repeat(6000);
    let stream = stored(&MEMBER_HEADER, &content).repeat(20);
    let mut reader = Reader::new(Options::default());
    reader.push(&stream);
    reader.end_input();
    let mut tried = 0;
    let mut running = std::collections::VecDeque::new();
    loop {
        match reader.next() {
            Next::Run(job) => {
                if let Work::Member(bytes) = &job.work {
                    tried += bytes.len();
                }
                running.push_back(job);
            }
            Next::Result => drop(reader.complete(running.pop_front().unwrap().run(Vec::new))),
            Next::Input | Next::End => break,
        }
    }
    assert!(reader.finish().is_ok());
    assert!(tried <= stream.len(), "{tried} of {}", stream.len());
}

#[test]
fn the_native_dialect_knows_only_its_own_header() {
    let plain = Caller::plain();
    for push in [1, 7, usize::MAX] {
        let caller = Caller { push, ..Caller::plain() };
        assert!(read(&[own(b"one"), own(b"two")].concat(), Options::default(), &caller).result.is_ok());
        let foreign = [own(b"one"), stored(&full_header(), b"two")].concat();
        assert_eq!(read(&foreign, Options::default(), &caller).result.unwrap_err().code(), "stream.invalid");
        assert!(read(&foreign, STOCK, &caller).result.is_ok());
    }
    for junk in [&b"\x1f"[..], b"\x1f\x00", b"\x00", b"x"] {
        let stream = [&own(b"one"), junk].concat();
        assert_eq!(read(&stream, Options::default(), &plain).result.unwrap_err().code(), "stream.trailing", "{junk:?}");
    }
}
