"""Header lines: one way for each rule to break it."""

from .vector import *


def header_lines():
    def bad(name, note, code="header.invalid", **hooks):
        vector("header-" + name, note, Native(SHORT, **hooks).objects, code, args=BY_PARTS, released=0)

    def edit(name, old, new, code="header.invalid", note=None):
        old, new = old.encode(), new if isinstance(new, bytes) else new.encode()
        note = note or f"{old.decode()} is {new.decode('ascii', 'replace')}; the part is sealed under this line"
        bad(name, note, code, line=edited_line(old, new))

    def extra(name, text, code="header.invalid", note=None):
        bad(name, note or f"a field {text} more", code, rest=lambda rest: rest + "," + text)

    start = SMALL.parts[0][SMALL.length :]
    for name, note, code, data in (
        ("empty-object", "part 0 is empty", "part.magic", b""),
        ("nine-bytes", "part 0 is nine other bytes", "part.magic", random("nine", 9)),
        ("prefix-only", "part 0 is BACKSTAY1", "part.magic", b"BACKSTAY1"),
        ("no-blank", "BACKSTAY1{", "part.magic", SMALL.parts[0].replace(b"BACKSTAY1 ", b"BACKSTAY1", 1)),
        ("tab-for-blank", "BACKSTAY1 and a tab", "part.magic", SMALL.parts[0].replace(b"BACKSTAY1 ", b"BACKSTAY1\t", 1)),
        ("bom", "a byte order mark stands before BACKSTAY1", "part.magic", b"\xef\xbb\xbf" + SMALL.parts[0]),
        ("version-2", "BACKSTAY2", "format.unsupported", SMALL.parts[0].replace(b"BACKSTAY1", b"BACKSTAY2", 1)),
        ("version-12", "BACKSTAY12", "format.unsupported", SMALL.parts[0].replace(b"BACKSTAY1", b"BACKSTAY12", 1)),
        ("version-2-garbage", "what follows BACKSTAY2 is not judged", "format.unsupported", b"BACKSTAY2 \xff\n"),
        ("no-lf", "no LF in 64 KiB", "header.invalid", b"BACKSTAY1 " + b" " * 70_000 + b"\n" + start),
        ("no-lf-at-all", "the object ends in the header line", "header.invalid", SMALL.parts[0][:200]),
    ):
        vector("header-" + name, note, {f"{ID}-0": data}, code, args=BY_PARTS, released=0)

    for name, value in (
        ("float", "0.0"),
        ("negative", "-1"),
        ("minus-zero", "-0"),
        ("exponent", "0e5"),
        ("string", '"0"'),
        ("false", "false"),
        ("leading-zero", "00"),
        ("large", str(1 << 63)),
        ("null", "null"),
        ("nan", "NaN"),
        ("a-million", "1000000"),
    ):
        edit(f"part-{name}", '"part":0', f'"part":{value}')
    edit("part-1", '"part":0', '"part":1', "part.misplaced")
    for name, new in (
        ("seg-0", '"seg":0,"segs":2'),
        ("seg-1023", '"seg":1023,"segs":2'),
        ("seg-above", '"seg":1048577,"segs":2'),
        ("seg-float", '"seg":1024.0,"segs":2'),
        ("seg-exponent", '"seg":1e4,"segs":2'),
        ("seg-string", '"seg":"1024","segs":2'),
        ("seg-leading-zero", '"seg":01024,"segs":2'),
        ("segs-0", '"seg":1024,"segs":0'),
        ("segs-true", '"seg":1024,"segs":true'),
        ("segs-huge", f'"seg":1024,"segs":{1 << 40}'),
        ("part-above-4-gib", f'"seg":1024,"segs":{(1 << 22) + 1}'),
        ("segs-missing", '"seg":1024'),
    ):
        edit(name, '"seg":1024,"segs":2', new)
    vector("header-part-of-4-gib", "seg times segs is 2^32, the most", Native(SHORT, segs=1 << 22).committed(), content=SHORT)
    edit("repeated-field", '"keys":[]', '"keys":[],"seg":1024')
    edit("repeated-id", '"keys":[]', f'"keys":[],"id":"{ID}"')
    edit("repeated-in-unknown", '"keys":[]', '"keys":[],"new":{"a":1,"a":2}')
    edit("escape", '"seg"', '"s\\u0065g"')
    edit("upper-case-salt", SMALL.salt.hex(), SMALL.salt.hex().upper())
    edit("upper-case-rnd", SMALL.rnd(0), SMALL.rnd(0).upper())
    edit("short-salt", SMALL.salt.hex(), SMALL.salt.hex()[2:])
    edit("blank", ',"keys"', ', "keys"')
    edit("blank-before-colon", '"keys":', '"keys" :')
    edit("order", f'"id":"{ID}","part":0', f'"part":0,"id":"{ID}"')
    edit("cr-in-padding", "}      ", b"}\r     ", note="a CR stands in the padding")
    edit("letter-in-padding", "}      ", "}     x")
    edit("keys-object", '"keys":[]', '"keys":{}')
    edit("key-not-base64", '"keys":[]', '"keys":["a"]')
    edit("key-base64-not-canonical", '"keys":[]', '"keys":["YR=="]')
    edit("key-base64-unpadded", '"keys":[]', '"keys":["YQ"]')
    edit("kind-unknown", '"keys":[]', '"keys":[],"kind":"partial"')
    edit("aead-unknown", '"aes-256-gcm"', '"aes-256-siv"', "format.unsupported")
    edit("codec-unknown", '"codec":"zstd"', '"codec":"lzma"', "format.unsupported")
    edit("codec-not-text", '"codec":"zstd"', '"codec":1')
    edit("aead-not-text", '"aes-256-gcm"', "1")
    edit("commit-short", SMALL.commit.hex(), SMALL.commit.hex()[2:])
    edit("commit-missing", f'"commit":"{SMALL.commit.hex()}",', "")
    bad("open-short", "open has 31 bytes", is_open=True, rest=lambda rest: rest.replace(SECRET.hex(), SECRET[1:].hex()))
    bad(
        "other-id-and-index",
        "H5 comes before H6",
        "name.mismatch",
        line=lambda n, line: line.replace(b'0123","part":0', b'0999","part":1'),
    )
    bad(
        "index-before-aead",
        "H6 comes before H8",
        "part.misplaced",
        line=lambda n, line: line.replace(b'"part":0', b'"part":1').replace(b"aes-256-gcm", b"aes-256-siv"),
    )
    bad(
        "crit-before-id",
        "H4 comes before H5",
        "format.unsupported",
        crit=["thin"],
        line=edited_line(b'0123","part"', b'0999","part"'),
    )
    bad("crit-unknown", "crit demands thin", "format.unsupported", crit=["thin"])
    bad("crit-open-without-open", "crit demands open, but the archive is not", crit=["open"])
    bad("crit-not-array", "crit is a string", crit="thin")
    bad("open-without-crit", "open, but crit does not demand it", is_open=True, crit=[])
    bad("open-with-keys", "open, and there are keys", is_open=True, keys=[ALICE.slot(SECRET, "open")])
    bad("open-with-signature", "open, and signed", is_open=True, signer=SIGNER)
    extra("by-without-sig", f'"by":"{b64(SIGNER.by)}"')
    extra("sig-without-by", f'"sig":"{b64(random("sig", 64))}"')
    extra("sig-short", f'"by":"{b64(SIGNER.by)}","sig":"{b64(random("sig", 63))}"')
    extra("by-short", f'"by":"{b64(SIGNER.by[1:])}","sig":"{b64(random("sig", 64))}"')
    extra("len", '"len":7')
    extra("null", '"new":null')
    extra("float", '"new":0.5')
    extra("int-above", f'"new":{(1 << 53) + 1}')
    extra("nesting-4", '"new":[[[]]]')
    extra("nesting-deep", '"new":' + "[" * 30_000 + "]" * 30_000, note="30,000 arrays in each other")
    extra("del", '"new":"\x7f"', note="a byte 7f in a string")
    bad("utf-8", "an accented letter in a string", line=edited_line(b'"keys":[]', '"keys":[],"new":"é"'.encode()))
    bad("nine-keys", "nine slots", keys=[ALICE.slot(SECRET, f"nine {i}") for i in range(9)])
    bad("too-long", "a line of 65,537 bytes", line=lambda n, line: line.rstrip(b"\n").ljust(65536) + b"\n")

    def good(name, note, **hooks):
        archive = Native(SHORT, **hooks)
        vector("header-" + name, note, archive.objects, args=BY_PARTS, content=SHORT)

    good("longest", "a line of 65,536 bytes", line=lambda n, line: line.rstrip(b"\n").ljust(65535) + b"\n")
    good("no-padding", "no space before the LF", line=lambda n, line: line.rstrip(b" \n") + b"\n")
    good("unknown-field", "fields that crit does not name are ignored", extra={"new": {"deep": [1, 2, True]}, "most": 1 << 53})
    good(
        "rest-in-other-order",
        "readers take the fields of <rest> in any order",
        rest=lambda rest: ",".join(reversed(rest.split(","))),
    )
    good("crit-empty", "crit is an empty array", crit=[])
    good("kind-full", "kind is stated", kind="full")
