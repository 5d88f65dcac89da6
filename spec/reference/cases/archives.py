"""Archives of the native profile: whole ones, and damage to their names, parts and segments."""

import itertools
from .vector import *


def sized(size, codec="zstd"):
    """Incompressible content whose inner stream has exactly this many bytes."""
    for length in range(max(0, size - 64), size):
        content = random("sized", length)
        if len(zstd_stream(content) if codec == "zstd" else gzip_stream(content)) == size:
            return content
    raise ValueError(size)


def good_archives():
    for codec, aead in itertools.product(("zstd", "gzip"), ("aes-256-gcm", "chacha20-poly1305")):
        archive = Native(CONTENT, codec=codec, aead=aead)
        vector(f"good-{codec}-{aead}", f"three parts, {codec}, {aead}", archive.committed(), content=CONTENT)
        empty = Native(b"", codec=codec, aead=aead)
        vector(f"good-empty-{codec}-{aead}", "no content: one frame or member without any", empty.committed(), content=b"")
    vector("good-one-byte", "one byte of content", Native(b"x").committed(), content=b"x")
    vector("good-by-parts", "without a manifest, when asked for", WHOLE.objects, args=BY_PARTS, content=CONTENT)
    sizes = {
        "segment-less-one": 1023,
        "segment": 1024,
        "segment-and-one": 1025,
        "part-less-one": 2047,
        "part": 2048,
        "part-and-one": 2049,
        "two-parts": 4096,
        "two-parts-and-segment": 5120,
    }
    for name, size in sizes.items():
        content = sized(size)
        archive = Native(content)
        vector(
            f"boundary-{name}",
            f"an inner stream of {size} bytes: segments of 1024, two in a part",
            archive.committed(),
            content=content,
        )
        if size % 1024 == 0:
            vector(
                f"boundary-{name}-by-parts", "the same without its manifest", archive.objects, args=BY_PARTS, content=content
            )
    many = Native(random("many", 12_000), segs=1)
    vector(
        "good-twelve-parts",
        "parts -10 and -11 come after -9, in whatever order the store lists them",
        dict(sorted(many.committed().items())),
        content=many.content,
    )
    big = Native(TEXT, seg=65536, segs=255, stream=zstd_stream(TEXT, c=1 << 18))
    vector(
        "good-three-frames",
        "three data frames of 256 KiB, the last one partial; default segments",
        big.committed(),
        content=TEXT,
    )
    big = Native(TEXT, seg=65536, segs=255, codec="gzip", stream=gzip_stream(TEXT, 1 << 18))
    vector("good-three-members", "three gzip members", big.committed(), content=TEXT)


def damaged_bodies():
    parts = WHOLE.parts

    def damaged(name, note, code, with_manifest=None, released=None, **changes):
        vector(name, note, replaced(WHOLE.objects, **changes), code, args=BY_PARTS, released=released)
        if with_manifest:
            vector(name + "-with-manifest", note, replaced(WHOLE.committed(), **changes), with_manifest, released=released)

    damaged(
        "flip-body", "a bit of the first ciphertext byte of part 0", "segment.auth", "segment.auth", 0, _0=flip(parts[0], L)
    )
    damaged("flip-tag", "a bit of the last tag of part 1", "segment.auth", "segment.auth", _1=flip(parts[1], -1))
    damaged("flip-last-byte", "a bit of the last byte of the archive", "segment.auth", "segment.auth", _2=flip(parts[2], -1))
    tab = parts[0][: L - 2] + b"\t" + parts[0][L - 1 :]
    damaged("header-padding-tab", "a space before the LF of part 0 is a tab", "header.invalid", "header.invalid", 0, _0=tab)
    damaged("last-part-deleted", "part 2 of 3 is gone", "archive.truncated", "part.missing", _2=None)
    damaged("middle-part-deleted", "part 1 of 3 is gone", "part.missing", "part.missing", 0, _1=None)
    damaged("first-part-deleted", "part 0 of 3 is gone", "part.missing", "part.missing", 0, _0=None)
    damaged(
        "middle-part-cut-at-segment", "part 1 lacks its last segment", "part.truncated", "part.size", _1=parts[1][: L + 1040]
    )
    damaged("middle-part-cut-by-one", "part 1 lacks its last byte", "part.truncated", "part.size", _1=parts[1][:-1])
    damaged("last-part-cut-by-one", "part 2 lacks its last byte", "segment.auth", "part.size", _2=parts[2][:-1])
    damaged("last-part-cut-at-segment", "part 2 lacks its last segment", "part.truncated", "part.size", _2=parts[2][: L + 1040])
    damaged(
        "last-part-cut-in-tag", "15 bytes of the last segment are left", "part.truncated", "part.size", _2=parts[2][: L + 1055]
    )
    damaged("last-part-header-only", "no body is left", "part.truncated", "part.size", _2=parts[2][:L])
    damaged("middle-part-byte-appended", "one byte behind the end of part 1", "segment.auth", "part.size", _1=parts[1] + b"\0")
    damaged("last-part-byte-appended", "one byte behind the end of part 2", "segment.auth", "part.size", _2=parts[2] + b"\0")
    damaged(
        "middle-parts-swapped",
        "parts 0 and 1 have each other's name",
        "part.misplaced",
        "part.misplaced",
        0,
        _0=parts[1],
        _1=parts[0],
    )
    damaged("last-part-copied-behind", "a copy of part 2 as part 3", "part.extra", "part.extra", _3=parts[2])
    damaged("middle-part-copied-behind", "a copy of part 1 as part 3", "part.extra", "part.extra", _3=parts[1])
    swapped = parts[1][:L] + parts[1][L + 1040 :] + parts[1][L : L + 1040]
    damaged("segments-swapped", "the two segments of part 1", "segment.auth", "segment.auth", _1=swapped)
    copied = parts[1][:L] + parts[0][L : L + 1040] + parts[1][L + 1040 :]
    damaged(
        "segment-from-other-part",
        "the first segment of part 0 stands in part 1, too",
        "segment.auth",
        "segment.auth",
        _1=copied,
    )
    crlf = {name: data.replace(b"\n", b"\r\n") for name, data in WHOLE.objects.items()}
    vector("crlf-translated", "a transfer in text mode", crlf, "header.invalid", args=BY_PARTS, released=0)
    vector(
        "middle-part-empty-object", "part 1 is an empty object", replaced(WHOLE.objects, _1=b""), "part.magic", args=BY_PARTS
    )


def moved_and_edited():
    ours, theirs = ID.encode(), OTHER.encode()
    other = Native(CONTENT, id=OTHER, label="other ")
    foreign = in_headers(other.parts, theirs, ours)
    edited = in_headers(WHOLE.parts, ours, theirs)

    vector("id-edited", "the id in all header lines is another", numbered(edited), "name.mismatch", args=BY_PARTS, released=0)
    vector(
        "id-edited-with-manifest",
        "the same, and the manifest is there",
        replaced(WHOLE.committed(), _0=edited[0]),
        "name.mismatch",
        released=0,
    )
    vector(
        "renamed-and-edited",
        "the archive has another name and the header lines agree: the id is in every part's key",
        numbered(edited, OTHER),
        "segment.auth",
        args=BY_PARTS,
        archive=OTHER,
        released=0,
    )
    vector(
        "renamed",
        "the archive has another name",
        renamed(WHOLE.objects, OTHER),
        "name.mismatch",
        args=BY_PARTS,
        archive=OTHER,
        released=0,
    )
    vector(
        "renamed-with-manifest",
        "manifest and parts have another name",
        renamed(WHOLE.committed(), OTHER),
        "name.mismatch",
        archive=OTHER,
        released=0,
    )
    edit = (
        in_headers([WHOLE.parts[1]], b'"part":1', b'"part":0')
        + in_headers([WHOLE.parts[0]], b'"part":0', b'"part":1')
        + WHOLE.parts[2:]
    )
    vector(
        "index-edited",
        "parts 0 and 1 are swapped and their header lines agree",
        numbered(edit),
        "segment.auth",
        args=BY_PARTS,
        released=0,
    )
    vector(
        "index-edited-with-manifest",
        "the same beside the manifest, which knows each part's rnd",
        {**WHOLE.committed(), **numbered(edit)},
        "part.foreign",
        released=0,
    )
    mixed = [WHOLE.parts[0], foreign[1], WHOLE.parts[2]]
    vector(
        "part-from-other-archive",
        "part 1 is of another archive with the same raw key; its id is edited",
        numbered(mixed),
        "part.foreign",
        args=BY_PARTS,
    )
    mixed[1] = WHOLE.parts[1][:L] + other.parts[1][L:]
    vector(
        "body-from-other-archive",
        "the body of part 1 is of another archive with the same raw key",
        numbered(mixed),
        "segment.auth",
        args=BY_PARTS,
    )
    for name, old, new in (("aead", b'"aes-256-gcm"', b'"chacha20-poly1305"'), ("codec", b'"codec":"zstd"', b'"codec":"gzip"')):
        parts = in_headers(WHOLE.parts, old, new)
        vector(
            f"{name}-edited",
            f"{name} is changed in all header lines",
            numbered(parts),
            "segment.auth",
            args=BY_PARTS,
            released=0,
        )
    halve = [(b'"seg":2048,"segs":2', b'"seg":1024,"segs":4')]
    parts = in_headers(Native(CONTENT, seg=2048).parts, *halve[0])
    vector("seg-halved", "seg is halved and segs doubled", numbered(parts), "segment.auth", args=BY_PARTS, released=0)
    parts = in_headers(Native(CONTENT[:3000], seg=2048).parts, *halve[0])
    vector(
        "seg-halved-single-part",
        "the same in an archive of one part",
        numbered(parts),
        "segment.auth",
        args=BY_PARTS,
        released=0,
    )
    commit = WHOLE.commit.hex().encode()
    parts = in_headers(WHOLE.parts, commit, flip(commit, 5))
    vector("commit-edited", "commit is changed in all header lines", numbered(parts), "key.wrong", args=BY_PARTS, released=0)
    parts = in_headers(WHOLE.parts, b'"keys":[]', b'"keys":["' + b64(ALICE.slot(SECRET, "added")).encode() + b'"]')
    vector("slot-added", "a slot is added to all header lines", numbered(parts), "segment.auth", args=BY_PARTS, released=0)
    longer = Native(CONTENT, line=lambda n, line: line[:-1] + b" \n" if n == 1 else line)
    vector(
        "header-lengths-differ",
        "the line of part 1 has a space more, and is sealed like that",
        longer.objects,
        "part.foreign",
        args=BY_PARTS,
    )
    vector("header-lengths-differ-with-manifest", "the same with a manifest", longer.committed(), "part.foreign")
    swap = lambda n, line: line.replace(b'"seg":1024,"segs":2', b'"segs":2,"seg":1024') if n == 1 else line
    vector(
        "rest-reordered-in-one-part",
        "two fields of part 1 have changed places",
        Native(CONTENT, line=swap).objects,
        "part.foreign",
        args=BY_PARTS,
    )
    vector(
        "rest-reordered-in-one-part-with-manifest",
        "the same with a manifest",
        Native(CONTENT, line=swap).committed(),
        "part.foreign",
    )
    number = lambda n, line: line.replace(b'"segs":2', b'"segs":2.0') if n == 1 else line
    vector("float-in-one-part", "segs of part 1 is 2.0", Native(CONTENT, line=number).objects, "header.invalid", args=BY_PARTS)


def segments():
    def case(name, note, expect, args=BY_PARTS, released=None, **hooks):
        vector("segment-" + name, note, Native(CONTENT, **hooks).objects, expect, args=args, released=released)

    stream = WHOLE.stream
    case(
        "flag-2-in-middle-part",
        "the last segment of part 1 of 3 is sealed as the archive's end",
        "part.extra",
        flag=lambda n, number, flag: 2 if (n, number) == (1, 1) else flag,
    )
    case(
        "flag-2-in-middle-of-part",
        "a segment that others follow is sealed as the archive's end",
        "segment.auth",
        flag=lambda n, number, flag: 2 if (n, number) == (1, 0) else flag,
    )
    case(
        "flag-1-in-middle-of-part",
        "a segment that others follow is sealed as its part's end",
        "segment.auth",
        flag=lambda n, number, flag: 1 if (n, number) == (1, 0) else flag,
    )
    case(
        "flag-1-at-end",
        "the archive's end is sealed as a part's end",
        "archive.truncated",
        flag=lambda n, number, flag: 1 if flag == 2 else flag,
    )
    case(
        "flag-0-at-end",
        "the archive's end is sealed as a segment that others follow",
        "part.truncated",
        flag=lambda n, number, flag: 0 if flag == 2 else flag,
    )
    case(
        "flag-0-at-end-of-part",
        "the end of part 0 is sealed as a segment that others follow",
        "segment.auth",
        released=0,
        flag=lambda n, number, flag: 0 if flag == 1 and n == 0 else flag,
    )
    short = [stream[:1024], stream[1024:3072], stream[3072:5120], stream[5120:]]
    case("short-part", "part 0 holds one segment of two, sealed like that", "part.truncated", cut=short, released=0)
    case(
        "short-part-flag-2",
        "the same, sealed as the archive's end",
        "part.extra",
        cut=short,
        released=0,
        flag=lambda n, number, flag: 2 if n == 0 else flag,
    )
    case(
        "long-part",
        "part 0 holds three segments, sealed like that",
        "segment.auth",
        cut=[stream[:3072], stream[3072:5120], stream[5120:]],
        released=0,
    )
    case(
        "short-segment",
        "the first segment of part 0 is shorter, the second longer",
        "segment.auth",
        cut=[[stream[:1000], stream[1000:2048]], stream[2048:4096], stream[4096:]],
        released=0,
    )
    case(
        "empty-last",
        "the last segment is empty",
        "part.truncated",
        cut=[stream[:2048], stream[2048:4096], [stream[4096:5120], b""]],
    )
    case(
        "empty-last-part", "the last part is one empty segment", "part.truncated", cut=[stream[:2048], stream[2048:4096], [b""]]
    )
    vector(
        "segment-empty-stream",
        "an empty inner stream, as one empty segment",
        Native(b"", cut=[[b""]]).objects,
        "part.truncated",
        args=BY_PARTS,
        released=0,
    )
    vector(
        "segment-15-bytes",
        "a body of 15 bytes",
        {f"{ID}-0": SMALL.parts[0][: SMALL.length + 15]},
        "part.truncated",
        args=BY_PARTS,
        released=0,
    )
    vector(
        "segment-header-only",
        "no body",
        {f"{ID}-0": SMALL.parts[0][: SMALL.length]},
        "part.truncated",
        args=BY_PARTS,
        released=0,
    )
    lone = Native(sized(1024))
    vector(
        "segment-byte-after-full-last",
        "one byte behind a last segment that is full, but not the part's last place: it looks like a cut",
        {f"{ID}-0": lone.parts[0] + b"\0"},
        "part.truncated",
        args=BY_PARTS,
        released=0,
    )
    full = Native(sized(2048))
    vector(
        "segment-byte-after-full-part",
        "one byte behind a last part that is full",
        {f"{ID}-0": full.parts[0] + b"\0"},
        "segment.auth",
        args=BY_PARTS,
        released=0,
    )
    broken = [flip(WHOLE.parts[0], L), WHOLE.parts[1][:100], WHOLE.parts[2]]
    vector(
        "segment-first-fault",
        "part 0 has a bad segment, part 1 a bad header line",
        numbered(broken),
        "segment.auth",
        args=BY_PARTS,
        released=0,
    )
    vector(
        "segment-size-before-tags",
        "part 1 has a bad segment and a byte too many",
        numbered([WHOLE.parts[0], flip(WHOLE.parts[1], L) + b"\0", WHOLE.parts[2]]),
        "segment.auth",
        args=BY_PARTS,
    )
    vector(
        "segment-tags-before-cut",
        "part 1 has a bad segment and is cut behind it",
        numbered([WHOLE.parts[0], flip(WHOLE.parts[1], L)[:-1], WHOLE.parts[2]]),
        "segment.auth",
        args=BY_PARTS,
    )
    three = Native(
        CONTENT,
        segs=3,
        cut=[stream[:2048], stream[2048:5120], stream[5120:]],
        flag=lambda n, number, flag: 2 if n == 0 else flag,
    )
    vector(
        "segment-tags-before-flag-2",
        "part 0 is short and ends with flag 2, but also its first segment: that is judged before",
        three.objects,
        "segment.auth",
        args=BY_PARTS,
        released=0,
    )
    vector(
        "segment-end-and-more",
        "part 0 is an archive's end after two good segments, and parts follow",
        {**numbered(Native(CONTENT, segs=3).parts), f"{ID}-0": Native(CONTENT[:1800], segs=3, rest=lambda rest: rest).parts[0]},
        "part.extra",
        args=BY_PARTS,
    )


def names():
    def listing(name, note, objects, expect="ok", args=(), archive=ID, **more):
        more = {"content": TRIPLE.content} if expect == "ok" else more
        vector("name-" + name, note, objects, expect, args=args, archive=archive, **more)

    whole = TRIPLE.committed()
    listing("nothing", "only another archive is there", renamed(whole, OTHER), "archive.not-found")
    listing("only-keybox", "a keybox without anything else", {f"{ID}.key.0": b"x"}, "archive.not-found")
    listing("only-sidecar", "a tombstone without anything else", {f"{ID}.expired": b""}, "archive.not-found")
    listing("only-manifest", "a manifest without parts", {TRIPLE.name: whole[TRIPLE.name]}, "part.missing")
    listing("uncommitted", "parts without a manifest", TRIPLE.objects, "archive.uncommitted", released=0)
    listing(
        "no-parts-by-parts",
        "a manifest without parts, which is not looked at",
        {TRIPLE.name: whole[TRIPLE.name]},
        "part.missing",
        BY_PARTS,
    )
    listing("leading-zero-twin", "parts -1 and -01", {**whole, f"{ID}-01": TRIPLE.parts[1]}, "name.ambiguous", released=0)
    listing(
        "leading-zero",
        "part 1 is named -01",
        {**replaced(whole, _1=None), f"{ID}-01": TRIPLE.parts[1]},
        "name.ambiguous",
        released=0,
    )
    listing(
        "leading-zero-by-parts",
        "the same without the manifest",
        {**replaced(TRIPLE.objects, _1=None), f"{ID}-01": TRIPLE.parts[1]},
        "name.ambiguous",
        BY_PARTS,
        released=0,
    )
    listing(
        "single-beside-parts", "the object <id> beside <id>-0", {**whole, ID: TRIPLE.parts[0]}, "name.ambiguous", released=0
    )
    listing(
        "single", "the object <id> alone: the native profile never reads it", {ID: TRIPLE.parts[0]}, "part.missing", BY_PARTS
    )
    listing(
        "strays",
        "names that are no parts are ignored",
        {
            **whole,
            f"{ID}-x": b"x",
            f"{ID}-0.tmp": b"x",
            f"{ID}-": b"x",
            f"{ID}--1": b"x",
            f"{ID}-1000000000000000000": b"x",
            f"{ID}-3~": b"x",
        },
    )
    listing(
        "sidecars",
        "sidecars do not matter to a reader",
        {
            **whole,
            f"{ID}.expired": b"",
            f"{ID}.verified.1740130000999": b"{}",
            f"{ID}.hold": b"",
            f"{ID}.note.1": b"x",
            f"{ID}.new-word": b"x",
        },
    )
    twin = Native(TRIPLE.content, id=SECONDS, segs=1)
    others = {f"{SECONDS}123-0": TRIPLE.parts[0], f"{SECONDS}123.json": b"x", f"{SECONDS}1-0": b"x"}
    listing(
        "twin-of-seconds",
        "an id of seconds is a prefix of one of milliseconds",
        {**twin.committed(), **others},
        archive=SECONDS,
    )
    listing("twin-of-seconds-by-parts", "the same by parts", {**twin.objects, **others}, args=BY_PARTS, archive=SECONDS)
    for digits in (9, 11, 12, 14, 16):
        id = GUID + "-" + "1740130000123456"[:digits]
        listing(f"timestamp-{digits}", f"a timestamp of {digits} digits", renamed(whole, id), "name.invalid", archive=id)
    for name, id in (
        ("upper-case", ID.upper()),
        ("timestamp-zero", GUID + "-0740130000123"),
        ("short-guid", ID[1:]),
        ("word", "latest"),
        ("part-name", ID + "-0"),
        ("guid-shape", ID.replace("-", "", 1) + "-"),
    ):
        listing(f"invalid-{name}", "not an archive id", renamed(whole, id), "name.invalid", archive=id)
    listing(
        "missing-before-size",
        "part 2 is missing, and part 0 has another size",
        replaced(whole, _0=TRIPLE.parts[0][:-1], _2=None),
        "part.missing",
    )
    listing(
        "extra-before-size",
        "part 3 is there, and part 0 has another size",
        replaced(whole, _0=TRIPLE.parts[0][:-1], _3=b"x"),
        "part.extra",
    )
    listing("missing-before-extra", "part 1 is missing, and part 3 is there", replaced(whole, _1=None, _3=b"x"), "part.missing")
    listing(
        "manifest-before-gap",
        "a gap in an archive without a manifest",
        replaced(TRIPLE.objects, _1=None),
        "archive.uncommitted",
    )


def ranges_and_salvage():
    """What the reference reader passes over."""
    big = Native(TEXT, seg=1024, segs=16, stream=zstd_stream(TEXT, c=1 << 18))
    for name, start, end in (
        ("first-byte", 0, 1),
        ("in-one-frame", 1000, 2000),
        ("across-frames", 262_000, 525_000),
        ("last-byte", len(TEXT) - 1, len(TEXT)),
        ("all", 0, len(TEXT)),
        ("empty", 5, 5),
    ):
        vector(
            f"range-{name}",
            f"bytes {start} to {end} of three frames",
            big.committed(),
            args=[f"--range {start}-{end}"],
            content=TEXT[start:end],
        )
    gz = Native(TEXT, codec="gzip", seg=1024, segs=16, stream=gzip_stream(TEXT, 1 << 18))
    vector(
        "range-gzip",
        "gzip is decoded from its start",
        gz.committed(),
        args=["--range 262000-263000"],
        content=TEXT[262_000:263_000],
    )
    lie = Native(
        TEXT, seg=1024, segs=16, stream=zstd_stream(TEXT, c=1 << 18)[:-20] + flip(zstd_stream(TEXT, c=1 << 18)[-20:], 3)
    )
    vector(
        "range-table-lies",
        "the seek table does not add up",
        lie.committed(),
        "stream.invalid",
        args=["--range 0-10"],
        released=0,
    )
    flipped = [flip(part, -1) if n == 1 else part for n, part in enumerate(WHOLE.parts)]
    vector(
        "salvage-flip",
        "a segment is damaged; whatever is taken out, the status is not 0",
        {**WHOLE.committed(), **numbered(flipped)},
        "segment.auth",
        "salvage",
    )
    vector(
        "salvage-last-part-missing", "the last part is missing", replaced(WHOLE.committed(), _2=None), "part.missing", "salvage"
    )
    # Five frames of 4 KiB that do not compress, in parts of 4 KiB.
    noise = random("salvage", 5 * 4096)
    five = Native(noise, seg=1024, segs=4, stream=zstd_stream(noise, c=4096))
    # Part 2 holds the end of frame 1 and most of frame 2.
    assert 4096 < len(frame(noise[:4096])) < 4200 and len(five.parts) == 6
    without = noise[:4096] + bytes(8192) + noise[12288:]
    for name, note, objects, code in (
        ("part-missing", "frames 1 and 2 are zeros", replaced(five.committed(), _2=None), "part.missing"),
        ("by-parts", "the same without the manifest", replaced(five.committed(), _2=None, json=None), "archive.uncommitted"),
        (
            "segment",
            "the first segment of part 2 holds the end of frame 1 and the beginning of frame 2",
            replaced(five.committed(), _2=flip(five.parts[2], len(five.parts[2]) - 4 * 1040)),
            "segment.auth",
        ),
    ):
        vector(f"salvage-{name}", note, objects, code, "salvage", content=without)
    for name, note, n, data, code in (
        ("line", "a header line is damaged, and made again", 3, flip(five.parts[3], 300, 0x80), "header.invalid"),
        ("line-0", "also that of part 0", 0, flip(five.parts[0], 2), "part.magic"),
        ("renamed", "part 4 under the name of part 5", 5, five.parts[4], "part.size"),
    ):
        objects = replaced(five.committed(), **{f"_{n}": data})
        lost = noise if n < 5 else noise[:16384]
        if n == 5:
            # Without the end there is no table, and the manifest tells how long the hole is.
            lost += bytes(len(noise) - len(lost))
        vector(f"salvage-{name}", note, objects, code, "salvage", content=lost)
    vector(
        "salvage-no-table",
        "without the end frames are found up to the first hole; the rest is one hole, as long as the manifest says",
        replaced(five.committed(), _2=None, _5=None),
        "part.missing",
        "salvage",
        content=noise[:4096] + bytes(len(noise) - 4096),
    )
    vector("salvage-whole", "nothing is wrong, and yet the status is not 0", five.committed(), "ok", "salvage", content=noise)
