"""Manifests, the levels of verify that need them, and ancestors."""

import hashlib, re
from .vector import *


def manifests():
    def case(name, note, data, expect="ok", args=(), command="restore", keys=(RAW,), archive=SMALL, released=0, **more):
        content = archive.content if expect == "ok" and command == "restore" else None
        vector(
            "manifest-" + name,
            note,
            {**archive.objects, archive.name: data, **more},
            expect,
            command,
            args,
            keys,
            content,
            None if expect == "ok" or command != "restore" else released,
        )

    def edit(name, old, new, expect="manifest.invalid", note=None, archive=SMALL, **more):
        text = archive.document()
        assert old in text, name
        note = note or f"sealed like that: {new[:60] or 'without ' + old[:60]}".replace("\n", " ")
        case(name, note, archive.seal_manifest(text.replace(old, new, 1)), expect, archive=archive, **more)

    good, text = SMALL.seal_manifest(), SMALL.document()
    seal = good[len(text) :]
    key = expand(SMALL.prk, b"backstay/1 manifest")

    # M1 to M6: the form
    start, rest = text[: text.index('"root"')].encode(), text[text.index('"root"') :].encode()
    case(
        "too-long",
        "valid, but for its length of 128 MiB and a byte",
        SMALL.seal_manifest(start + b" " * ((128 << 20) + 1 - len(good)) + rest),
        "manifest.invalid",
    )
    case("empty", "an empty object", b"", "manifest.invalid")
    case(
        "bom",
        "a byte order mark, sealed like that",
        seal_manifest(ID, b"\xef\xbb\xbf" + text.encode(), key),
        "manifest.invalid",
    )
    edit(
        "not-utf-8",
        '"type":"stream"',
        '"type":"str\udce9am"'.encode("utf-8", "surrogateescape").decode("latin-1"),
        "ok",
        note="a letter outside ASCII, in UTF-8",
    )
    latin = text.replace('"type":"stream"', '"type":"str\xe9am"').encode("latin-1")
    case("latin-1", "a letter in ISO 8859-1, sealed like that", seal_manifest(ID, latin, key), "manifest.invalid")
    marker = f'{{"backstay":1,"id":"{ID}","aborted":"2025-02-21T09:30:00Z"}}\n'.encode()
    case("aborted", "an abort marker", marker, "archive.uncommitted")
    case("aborted-other-id", "an abort marker of another archive", marker.replace(b"0123", b"0999"), "name.mismatch")
    case(
        "aborted-other-form",
        "an abort marker with a blank: it is none, and not a manifest either",
        marker.replace(b":1,", b": 1,"),
        "manifest.invalid",
    )
    case(
        "aborted-member",
        "a manifest with a member aborted",
        seal_manifest(ID, text.replace('"kind"', '"aborted":"x",\n"kind"'), key),
        "archive.uncommitted",
    )
    case("seal-missing", "without the seal line", text.encode(), "manifest.invalid")
    case("truncated", "cut in the middle", good[: len(good) // 2], "manifest.invalid")
    case("last-lf-missing", "without the last LF", good[:-1], "manifest.invalid")
    case("data-after", "a further LF", good + b"\n", "manifest.invalid")
    case("crlf", "a transfer in text mode", good.replace(b"\n", b"\r\n"), "manifest.invalid")
    case("seal-blank", "a blank in the seal line", text.encode() + seal.replace(b'","mac', b'", "mac'), "manifest.invalid")
    case(
        "seal-upper-case",
        "upper-case hex in the seal line",
        text.encode() + seal.upper().replace(b"SEAL", b"seal").replace(b"SHA256", b"sha256").replace(b"MAC", b"mac"),
        "manifest.invalid",
    )
    case("seal-without-lf-before", "the seal stands in the line before", seal_manifest(ID, text[:-1], key), "manifest.invalid")
    case(
        "seal-by-without-sig",
        "by without sig in the seal line",
        text.encode() + seal[:-3] + b',"by":"' + b64(SIGNER.by).encode() + b'"}}\n',
        "manifest.invalid",
    )
    case("first-bytes", "a blank before backstay", seal_manifest(ID, text.replace("{", "{ ", 1), key), "manifest.invalid")
    case("neither", "nothing of a manifest's form", b'{"generation":7}\n', "manifest.invalid")
    case("changed", "one digit of a time is another", good.replace(b"09:26:40", b"09:26:41"), "manifest.seal")
    case("digest-changed", "a part's digest is changed", flip(good, good.index(b'"sha256":"') + 10), "manifest.seal")
    case("sha256-of-seal-changed", "the seal's own digest is changed", text.encode() + flip(seal, 18), "manifest.seal")
    case("mac-changed", "the seal's MAC is changed", text.encode() + flip(seal, -10), "manifest.seal")
    case(
        "mac-changed-verify-full",
        "which nobody without the key can see",
        text.encode() + flip(seal, -10),
        command="verify full",
        keys=(),
    )
    edit("repeated-member", '"crit":[],', '"crit":[],\n"stored":1,')
    edit("repeated-by-escape", '"crit":[],', '"crit":[],\n"\\u0073tored":1,')
    edit("repeated-inside", '{"type":"stream"}', '{"type":"stream","type":"stream"}')
    edit("float", '"crit":[],', '"new":1.5,\n"crit":[],')
    edit("exponent", '"crit":[],', '"new":1e3,\n"crit":[],')
    edit("minus", '"crit":[],', '"new":-1,\n"crit":[],')
    edit("minus-zero", '"crit":[],', '"new":-0,\n"crit":[],')
    edit("null", '"crit":[],', '"new":null,\n"crit":[],')
    edit("nan", '"crit":[],', '"new":NaN,\n"crit":[],')
    edit("leading-zero", '"crit":[],', '"new":01,\n"crit":[],')
    edit("int-above", '"crit":[],', f'"new":{(1 << 53) + 1},\n"crit":[],')
    edit("surrogate", '"crit":[],', '"new":"\\ud800",\n"crit":[],')
    edit("surrogate-in-name", '"crit":[],', '"\\udfff":1,\n"crit":[],')
    edit("bad-escape", '"crit":[],', '"new":"\\x41",\n"crit":[],')
    edit("control-character", '"crit":[],', '"new":"\t",\n"crit":[],')
    edit("trailing-comma", '"crit":[],', '"new":[1,],\n"crit":[],')
    edit("comment", '"crit":[],', '/* */"crit":[],')
    edit("nesting-17", '"crit":[],', '"new":' + "[" * 16 + "]" * 16 + ',\n"crit":[],')
    edit(
        "nesting-deep",
        '"crit":[],',
        '"new":' + "[" * 100_000 + "]" * 100_000 + ',\n"crit":[],',
        note="100,000 arrays in each other",
    )
    edit("nesting-16", '"crit":[],', '"new":' + "[" * 15 + "]" * 15 + ',\n"crit":[],', "ok")
    edit("escapes", '"crit":[],', '"new":"\\u00e9 \\ud83d\\ude00 [[[{{{ \\" null",\n"crit":[],', "ok")
    edit("escaped-member-name", '"profile"', '"\\u0070rofile"', "ok")
    edit("blanks", '"profile":', '\t"profile" \r\n : ', "ok")
    edit("int-most", '"crit":[],', f'"new":{1 << 53},\n"crit":[],', "ok")
    edit("unknown-members", '"crit":[],', '"new":{"crit":["thin"],"seal":1,"head":{}},\n"crit":[],', "ok")

    # M7 to M11
    edit("version-2", '{"backstay":1', '{"backstay":2', "format.unsupported")
    edit("version-text", '{"backstay":1', '{"backstay":"1"', "manifest.invalid")
    edit("version-true", '{"backstay":1', '{"backstay":true', "manifest.invalid")
    case(
        "version-before-members",
        "version 2 without any other member",
        seal_manifest(ID, '{"backstay":2,\n', key),
        "format.unsupported",
    )
    edit("crit-unknown", '"crit":[]', '"crit":["thin"]', "format.unsupported")
    edit("crit-text", '"crit":[]', '"crit":"thin"')
    edit("crit-ints", '"crit":[]', '"crit":[1]')
    edit("crit-missing", '"crit":[],\n', "", "ok")
    edit("other-id", ID, OTHER, "name.mismatch")
    case(
        "of-other-archive",
        "another archive's manifest under this name",
        Native(SHORT, id=OTHER).seal_manifest(),
        "name.mismatch",
    )
    edit("id-int", f'"id":"{ID}"', '"id":7')
    edit("id-missing", f'"id":"{ID}",\n', "")
    edit("profile-unknown", '"native"', '"tape"', "format.unsupported")
    edit("profile-int", '"native"', "7")
    edit("profile-missing", '"profile":"native",\n', "")

    # M12
    two = Native(CONTENT[:2500])
    a, b = re.findall(r'\{"n":.*?\}', two.document())
    edit("parts-gap", '{"n":1', '{"n":2', archive=two)
    edit("parts-repeat", '{"n":1', '{"n":0', archive=two)
    edit("parts-swapped", a + ",\n" + b, b + ",\n" + a, archive=two)
    edit("parts-from-1", '{"n":0', '{"n":1')
    edit("parts-not-array", '"parts":[', '"parts":7,"old":[')
    empty = re.sub(r'"parts":\[.*?\]', '"parts":[]', text, flags=re.S).replace(root(SMALL.parts), sha256(b""))
    case("parts-empty", "no part", SMALL.seal_manifest(re.sub(r'"stored":\d+', '"stored":0', empty)), "manifest.invalid")
    for member in ("kind", "created", "stored", "root"):
        line = re.search(rf'"{member}":[^,\n]*,', text)[0]
        edit(f"{member}-missing", line, "")
    edit("head-missing", SMALL.head(), "{}", note="head is empty")
    edit("needs-missing", '"needs":[],\n', "")
    case(
        "needs-after-parts",
        "needs stands behind parts",
        SMALL.seal_manifest(text.replace('"needs":[],\n', "").replace('"root"', '"needs":[],\n"root"')),
        "manifest.invalid",
    )
    edit("created-int", '"created":"2025-02-21T09:26:40Z"', '"created":1740130000')
    edit("created-any-text", '"created":"2025-02-21T09:26:40Z"', '"created":"yesterday"', "ok")
    edit("stored-wrong", f'"stored":{len(SMALL.parts[0])}', f'"stored":{len(SMALL.parts[0]) + 1}')
    edit("root-wrong", root(SMALL.parts), root([b"x"]))
    edit("digest-wrong", sha256(SMALL.parts[0]), sha256(b"x"), note="a digest is wrong, and root does not follow from it")
    edit("digest-upper-case", sha256(SMALL.parts[0]), sha256(SMALL.parts[0]).upper())
    edit("rnd-missing", f'"rnd":"{SMALL.rnd(0)}",', "")
    edit("rnd-other", SMALL.rnd(0), "0" * 32, "part.foreign")
    edit("n-text", '{"n":0', '{"n":"0"')
    edit("size-text", f'"size":{len(SMALL.parts[0])}', f'"size":"{len(SMALL.parts[0])}"')
    edit("md5-wrong-form", '{"n":0', '{"md5":"12345678","n":0')
    edit("finished-int", '"finished":"2025-02-21T09:26:41Z"', '"finished":1740130001')
    edit("name-int", '"crit":[],', '"name":7,\n"crit":[],')
    edit("head-text", '"head":{', '"head":"x","tail":{')
    edit("crc32c-wrong-form", '{"n":0', '{"crc32c":"123456789","n":0')
    edit("crc32c-and-md5", '{"n":0', '{"crc32c":"12345678","md5":"' + "0" * 32 + '","n":0', "ok")
    edit("kind-unknown", '"kind":"full"', '"kind":"partial"')
    edit(
        "kind-incremental",
        '"kind":"full"',
        '"kind":"incremental"',
        note="incremental without needs; the header says nothing, so full",
    )
    edit("unconfirmed", '"crit":[],', '"unconfirmed":true,\n"crit":[],', "ok")
    edit("unconfirmed-false", '"crit":[],', '"unconfirmed":false,\n"crit":[],')
    edit("detached", '"crit":[],', '"detached":true,\n"crit":[],', "ok", note="the keys were in keyboxes; the secret itself opens it")
    edit("detached-false", '"crit":[],', '"detached":false,\n"crit":[],')
    for level in ("quick", "full"):
        edit(
            f"detached-without-keybox-{level}",
            '"crit":[],',
            '"detached":true,\n"crit":[],',
            "key.not-found",
            note="the keys were in keyboxes, and there is none",
            command=f"verify {level}",
            keys=(),
        )
    edit("tags", '"crit":[],', '"name":"pg-main","tags":["a","b"],\n"crit":[],', "ok")
    converted = f'"converted":{{"profile":"openssl","root":"{"ab" * 32}","objects":2,"stored":96,"at":"2026-01-01T00:00:00Z"}},\n'
    edit("converted", '"crit":[],', converted + '"crit":[],', "ok", note="made from an archive of another profile")
    edit("converted-text", '"crit":[],', '"converted":"openssl",\n"crit":[],')
    edit("converted-without-root", '"crit":[],', re.sub('"root":"[^"]*",', "", converted) + '"crit":[],')
    edit("converted-root-short", '"crit":[],', converted.replace("abab", "ab", 1) + '"crit":[],')
    edit("converted-objects-text", '"crit":[],', converted.replace(":2,", ':"2",') + '"crit":[],')
    edit("tags-ints", '"crit":[],', '"tags":[1],\n"crit":[],')
    edit("source-text", '"source":{"type":"stream"}', '"source":"stream"')
    edit("content-text", '"content":15', '"content":"15"')
    edit("content-wrong", '"content":15', '"content":14', "stream.content", released=15)
    edit("content-above", '"content":15', '"content":16', "stream.content", released=15)
    edit("content-hidden", ',"content":15', "", "ok")
    sealed = random("nonce", 12) + AESGCM(expand(SMALL.prk, b"backstay/1 private")).encrypt(
        random("nonce", 12), b'{"host":"db1"}', None
    )
    case("private", "private facts", SMALL.seal_manifest(private=b64(sealed)))
    case(
        "private-damaged",
        "private facts that do not open: no matter to a reader that does not want them",
        SMALL.seal_manifest(private=b64(flip(sealed, -1))),
    )
    case("private-not-base64", "private is not base64", SMALL.seal_manifest(private="a"), "manifest.invalid")

    # M13
    edit("head-seg", '"head":{' + SMALL.rest, '"head":{' + SMALL.rest.replace("1024", "0"))
    edit("head-salt", SMALL.salt.hex(), SMALL.salt.hex().upper())
    edit("head-blanks", '"len":', ' "len"\t:\n ', "ok")
    edit("head-id", '"len":', f'"id":"{ID}","len":')
    edit("head-accent", '"keys":[]', '"keys":[],"é":1')
    edit("head-quote", '"keys":[]', '"keys":[],"a":"\\""')
    edit("head-len-missing", f',"len":{SMALL.length}}}', "}")
    edit(
        "head-len-short",
        f'"len":{SMALL.length}',
        f'"len":{SMALL.length - 7}',
        note="the line of the last part does not fit into len",
    )
    edit("head-len-other", f'"len":{SMALL.length}', f'"len":{SMALL.length + 1}', "part.foreign")
    edit("head-len-above", f'"len":{SMALL.length}', '"len":65537')
    edit("head-aead", '"aes-256-gcm"', '"aes-256-siv"', "format.unsupported")
    edit("head-codec", '"codec":"zstd"', '"codec":"lzma"', "format.unsupported")
    for name, note, expect, hooks in (
        ("crit", "head demands thin", "format.unsupported", {"crit": ["thin"]}),
        ("crit-open", "head demands open and is not", "manifest.invalid", {"crit": ["open"]}),
        ("by-alone", "by without sig", "manifest.invalid", {"extra": {"by": b64(SIGNER.by)}}),
        ("null", "a null in head", "manifest.invalid", {"extra": {"new": None}}),
        ("nesting-4", "head nests deeper than a header may", "manifest.invalid", {"extra": {"new": [[[]]]}}),
        ("nine-keys", "nine slots", "manifest.invalid", {"keys": [b"x"] * 9}),
    ):
        archive = Native(SHORT, **hooks)
        case("head-" + name, note, archive.seal_manifest(), expect, archive=archive)
        case(f"head-{name}-verify-full", note, archive.seal_manifest(), expect, command="verify full", keys=(), archive=archive)
    archive = Native(SHORT, kind="incremental")
    case(
        "head-kind",
        "head says incremental, the manifest says full",
        archive.seal_manifest(archive.document().replace('"kind":"incremental",\n', '"kind":"full",\n', 1)),
        "manifest.invalid",
        archive=archive,
    )
    edit("head-other", SMALL.commit.hex(), sha256(b"x"), "part.foreign", note="head has another commit than the parts")

    # R8
    stored = str(len(SMALL.parts[0]))
    receipt = " ".join([ID, root(SMALL.parts), sha256(text.encode()), stored])
    case("root-expected", "the expected root", good, args=["--root " + root(SMALL.parts)])
    case("root-expected-other", "another root is expected", good, "manifest.root", args=["--root " + root([b"x"])])
    case(
        "root-expected-other-quick",
        "quick sees that, too",
        good,
        "manifest.root",
        ["--root " + root([b"x"])],
        "verify quick",
        (),
    )
    case("receipt", "the expected receipt", good, args=["--receipt " + receipt])
    case("receipt-stored", "a receipt with another size", good, "manifest.root", ["--receipt " + receipt + "0"])
    case(
        "receipt-seal",
        "a receipt with another seal",
        good,
        "manifest.root",
        ["--receipt " + receipt.replace(sha256(text.encode()), sha256(b"x"))],
    )
    case(
        "receipt-unconfirmed",
        "a receipt with a fifth word, which the manifest has not",
        good,
        "manifest.root",
        ["--receipt " + receipt + " unconfirmed"],
    )
    case(
        "mac-before-root",
        "MAC and root are both wrong",
        text.encode() + flip(seal, -10),
        "manifest.seal",
        ["--root " + root([b"x"])],
    )
    case(
        "root-without-manifest",
        "a root is expected of an archive whose manifest is not read",
        good,
        "usage.arguments",
        ["--root " + root(SMALL.parts), *BY_PARTS],
    )
    forged = text.replace(sha256(SMALL.parts[0]), sha256(b"x")).replace(root(SMALL.parts), root([b"x"])).encode()
    for name, sealing, expect, command, given in (
        ("", bytes(32), "manifest.seal", "restore", (RAW,)),
        ("-verify-full", bytes(32), "part.digest", "verify full", ()),
        ("-verify-quick", bytes(32), "ok", "verify quick", ()),
        ("-sealed", key, "ok", "restore", (RAW,)),
        ("-sealed-deep", key, "part.digest", "verify deep", (RAW,)),
    ):
        case(
            "digest-forged" + name,
            "a digest, the root and the seal's digest are changed alike" + ", by one who has the key" * (sealing == key),
            seal_manifest(ID, forged, sealing),
            expect,
            command=command,
            keys=given,
        )

    # Verify levels
    whole = TRIPLE.committed()
    for level in ("quick", "full", "deep"):
        vector(f"verify-{level}", "a good archive", whole, command=f"verify {level}", keys=(RAW,) if level == "deep" else ())
        vector(f"verify-{level}-uncommitted", "no manifest", TRIPLE.objects, "archive.uncommitted", f"verify {level}")
        vector(f"verify-{level}-missing", "a part is missing", replaced(whole, _1=None), "part.missing", f"verify {level}")
        vector(
            f"verify-{level}-size", "a part is cut", replaced(whole, _1=TRIPLE.parts[1][:-1]), "part.size", f"verify {level}"
        )
    flipped = replaced(whole, _1=flip(TRIPLE.parts[1], -1))
    vector("verify-full-flip", "a bit of part 1 is flipped", flipped, "part.digest", "verify full", keys=())
    vector("verify-deep-flip", "deep names the segment", flipped, "segment.auth", "verify deep")
    vector("verify-deep-no-key", "deep needs a key", whole, "key.not-found", "verify deep", keys=())
    vector(
        "verify-full-header",
        "full does not read header lines, but every byte counts",
        replaced(whole, _1=flip(TRIPLE.parts[1], 20)),
        "part.digest",
        "verify full",
        keys=(),
    )
    wrong = (
        TRIPLE.document()
        .replace(sha256(TRIPLE.parts[2]), sha256(b"x"))
        .replace(
            root(TRIPLE.parts),
            sha256(b"".join(hashlib.sha256(data).digest() for data in (TRIPLE.parts[0], TRIPLE.parts[1], b"x"))),
        )
    )
    vector(
        "verify-deep-both",
        "part 2 does not fit its digest, and a segment of part 1 is damaged: first R1-R11, then digests",
        {**TRIPLE.objects, TRIPLE.name: TRIPLE.seal_manifest(wrong), f"{ID}-1": flip(TRIPLE.parts[1], -1)},
        "segment.auth",
        "verify deep",
    )
    vector(
        "verify-deep-content",
        "deep reads the inner stream to its end",
        {**TRIPLE.objects, TRIPLE.name: TRIPLE.seal_manifest(TRIPLE.document().replace('"content":2100', '"content":2099'))},
        "stream.content",
        "verify deep",
    )


def chains():
    base_id, middle_id = GUID + "-1740130000001", GUID + "-1740130000002"
    base, middle = Native(b"base\n", id=base_id), Native(b"middle\n", id=middle_id, kind="incremental")
    middle_needs = [(base_id, root(base.parts))]
    both = [(middle_id, root(middle.parts)), *middle_needs]
    ancestors = {**base.committed(), **middle.committed(needs=middle_needs)}

    def case(name, note, needs, stored=ancestors, expect="ok", kind="incremental", command="restore", **more):
        archive = Native(SHORT, kind=kind)
        vector(
            "chain-" + name,
            note,
            {**archive.committed(needs=needs), **stored},
            expect,
            command,
            content=SHORT if expect == "ok" and command == "restore" else None,
            **more,
        )

    case("incremental", "an incremental with two ancestors, all there", both)
    case("differential", "a differential with one ancestor", middle_needs, kind="differential")
    case("differential-of-two", "a differential with two ancestors", both, expect="manifest.invalid", kind="differential")
    case("full-with-needs", "a full archive with an ancestor", middle_needs, expect="manifest.invalid", kind="full")
    case("without-needs", "an incremental without ancestors", [], expect="manifest.invalid")
    case("missing", "the base is not there", both, middle.committed(needs=middle_needs), "chain.broken")
    case(
        "uncommitted",
        "the base has no manifest",
        both,
        {**base.objects, **middle.committed(needs=middle_needs)},
        "chain.broken",
    )
    case("other-root", "the base is another one", [both[0], (base_id, root([b"x"]))], expect="chain.broken")
    case(
        "broken-manifest",
        "the base's manifest was changed",
        both,
        {**ancestors, base.name: base.seal_manifest().replace(b"09:26", b"09:27")},
        "chain.broken",
    )
    case(
        "aborted",
        "the base was given up",
        middle_needs,
        {**base.objects, base.name: f'{{"backstay":1,"id":"{base_id}","aborted":"x"}}\n'.encode()},
        "chain.broken",
    )
    case("quick", "quick looks at ancestors", both, base.objects, "chain.broken", command="verify quick")
    case("itself", "an archive that needs itself", [(ID, root(base.parts))], expect="chain.limit")
    case("twice", "one ancestor is named twice", [middle_needs[0], middle_needs[0]], expect="chain.limit")
    many = [(f"{GUID}-17401300{n:05d}", root([b"x"])) for n in range(33)]
    case("33", "33 ancestors", many, expect="chain.limit")
    case("32-missing", "32 ancestors are not too many, but they are not there", many[:32], expect="chain.broken")
    archive = Native(SHORT, kind="incremental")
    vector("chain-by-parts", "without a manifest, needs are unknown", archive.objects, args=BY_PARTS, content=SHORT)
