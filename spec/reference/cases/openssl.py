"""The openssl profile, unsealed and sealed."""

import itertools, struct, zlib
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from .vector import *

PASSWORD = "password KEY"
UNSEALED = "openssl.unauthenticated"
LEGACY = b"-- PostgreSQL database dump\n" * 5 + random("legacy", 1000).hex().encode() + b"\n"


def openssl_profile():
    def case(
        name,
        note,
        objects,
        expect="ok",
        args=(),
        keys=(PASSWORD,),
        content=LEGACY,
        released=None,
        sealed=False,
        archive=ID,
        command="restore",
    ):
        content = content if expect == "ok" and command == "restore" else None
        vector(
            "openssl-" + name,
            note,
            objects,
            expect,
            command,
            args,
            keys,
            content,
            released,
            UNSEALED if expect == "ok" and not sealed else None,
            archive,
        )

    plain = Openssl(LEGACY, cuts=[512, 1000])
    known = Openssl(
        b"hello legacy\n", payload=bytes.fromhex("1f8b0800000000000003cb48cdc9c957c8494d4f4caee402001045d2e80d000000")
    )
    assert known.stream[16:].hex().startswith("61c676f23ac0a5dccd99ecc2f2b7fe9d")

    case("published", "the example of openssl.md", known.objects, content=known.content)
    for md, iterations in (("md5", 0), ("sha256", 0), ("sha1", 0), ("sha256", 10_000)):
        archive = Openssl(LEGACY, md=md, pbkdf2=iterations, cuts=[700])
        case(f"detect-{md}-{iterations}", "the derivation is found by the first block", archive.objects)
    for md, iterations in itertools.product(("md5", "sha1", "sha256"), (0, 1, 1000)):
        archive = Openssl(LEGACY, md=md, pbkdf2=iterations)
        args = [f"--md {md}"] + [f"--pbkdf2 {iterations}"] * (iterations > 0)
        case(f"named-{md}-{iterations}", "the derivation is named", archive.objects, args=args)
    case("single", "the one object <id>", Openssl(LEGACY, single=True).objects)
    case("from-1", "indices from 1", Openssl(LEGACY, cuts=[512, 1000], first=1).objects)
    case(
        "padded-indices",
        "indices with zeros before them",
        Openssl(LEGACY, cuts=[512, 1000], spell=lambda n: f"{n:03d}").objects,
    )
    case(
        "mixed-indices",
        "indices 9 and 010: order is by value",
        Openssl(LEGACY, cuts=range(50, 1000, 90), spell=lambda n: f"{n:02d}").objects,
    )
    hello = len(Openssl(b"hello legacy\n").stream)
    case(
        "one-byte-parts",
        "every part has one byte",
        Openssl(b"hello legacy\n", cuts=range(1, hello)).objects,
        content=b"hello legacy\n",
    )
    case("cut-in-header", "a cut inside Salted__, one inside the salt", Openssl(LEGACY, cuts=[3, 12, 700]).objects)
    case("empty-part", "a part of 0 bytes", Openssl(LEGACY, cuts=[512, 512]).objects)
    case("empty-content", "no content", Openssl(b"").objects, content=b"")
    two = member(LEGACY, GZIP) + member(b"and more\n")
    case("members", "two members", Openssl(payload=two).objects, content=LEGACY + b"and more\n")
    named = bytes.fromhex("1f8b081c0000000002030500") + b"extra" + b"dump.sql\0" + b"comment\0"
    case("header-fields", "a member with extra field, name and comment", Openssl(payload=member(LEGACY, named)).objects)
    short = bytes.fromhex("1f8b08020000000002ff")
    short += struct.pack("<H", zlib.crc32(short) & 0xFFFF)
    case("header-crc", "a member with a checksum of its header", Openssl(payload=member(LEGACY, short)).objects)
    case("trailing-zeros", "zero bytes after the member", Openssl(payload=member(LEGACY, GZIP) + bytes(700)).objects)
    case(
        "raw",
        "no gzip, and the caller says so",
        Openssl(LEGACY, raw=True, cuts=[700]).objects,
        args=["--payload raw", "--md md5"],
    )
    case("raw-empty", "no content at all", Openssl(b"", raw=True).objects, args=["--payload raw", "--md md5"], content=b"")
    case(
        "raw-whole-block",
        "a last block of padding alone",
        Openssl(b"x" * 32, raw=True).objects,
        args=["--payload raw", "--md md5"],
        content=b"x" * 32,
    )
    case(
        "foreign-document",
        "another manager's document is not looked at",
        {**plain.objects, plain.name: b'{"generation":7,"parts":[1,2'},
    )
    case("foreign-document-not-utf-8", "whatever it is", {**plain.objects, plain.name: b"\xef\xbb\xbf\xff\0"})
    case(
        "foreign-document-with-seal",
        "a document that mentions a seal is a damaged manifest",
        {**plain.objects, plain.name: b'{"seal":{}}\n'},
        "manifest.invalid",
        released=0,
    )
    case(
        "foreign-document-with-name",
        "so is one that mentions backstay",
        {**plain.objects, plain.name: b'{"made-by":"x","backstay"'},
        "manifest.invalid",
        released=0,
    )
    beginning = b'{"backstay":'
    remains = {"emptied": b"", "cut": beginning[:1], "cut-in-its-name": beginning[:-2], "zeroed": bytes(512)}
    for how, left in remains.items():
        objects = {**plain.objects, plain.name: left}
        case(f"manifest-{how}", "what is left of a manifest is no document of others", objects, "manifest.invalid", released=0)
    case("manifest-emptied-without", "and is passed over", {**plain.objects, plain.name: b""}, args=["--no-manifest"])
    case("foreign-document-short", "a byte can be a document", {**plain.objects, plain.name: b"0"})
    case("foreign-document-after-zero", "of zeros and a byte", {**plain.objects, plain.name: bytes(9) + b"0"})
    case(
        "native-manifest",
        "a manifest of the native profile beside such parts, and the caller names this one",
        {**plain.objects, plain.name: native_manifest(plain)},
        "openssl.magic",
        ["--format openssl"],
        released=0,
    )
    case(
        "native-manifest-not-named",
        "the same, and nothing is named",
        {**plain.objects, plain.name: native_manifest(plain)},
        "part.magic",
        (),
        (RAW,),
        released=0,
    )
    even = next(
        archive for archive in (Native(random("even", size)) for size in range(99, 999)) if len(archive.parts[0]) % 16 == 0
    )
    mixed = {**even.objects, even.name: openssl_manifest(even)}
    case(
        "openssl-manifest",
        "a manifest of this profile beside native parts, and the caller names the other",
        mixed,
        "part.magic",
        ["--format native"],
        (RAW,),
        released=0,
    )
    case("openssl-manifest-not-named", "the same, and nothing is named", mixed, "openssl.magic", released=0)
    case(
        "foreign-document-format-named",
        "with the profile named, the document is as if absent, and the parts are what they are",
        {**WHOLE.objects, WHOLE.name: b'{"generation":7}'},
        "openssl.magic",
        ["--format openssl"],
        released=0,
    )
    case(
        "verify-quick",
        "without a manifest, quick looks at names and sizes",
        plain.objects,
        command="verify quick",
        keys=(),
        sealed=True,
    )
    case("verify-full", "full can do no more", plain.objects, command="verify full", keys=(), sealed=True)
    case(
        "verify-quick-cut",
        "the stream is cut",
        numbered([plain.parts[0], plain.parts[1][:-1]]),
        "openssl.padding",
        command="verify quick",
        keys=(),
    )
    case("verify-deep", "deep reads it all", plain.objects, command="verify deep")
    case("verify-deep-no-password", "deep needs the password", plain.objects, "key.not-found", command="verify deep", keys=())
    case(
        "named-iterations-only",
        "iterations without a digest mean sha256",
        Openssl(LEGACY, md="sha256", pbkdf2=1000).objects,
        args=["--pbkdf2 1000"],
    )
    case("format-named", "the caller names the profile", plain.objects, args=["--format openssl"], keys=(PASSWORD, RAW))
    case("by-parts", "--no-manifest, and there is none", plain.objects, args=BY_PARTS)
    case("seconds", "an id of seconds", Openssl(LEGACY, id=SECONDS).objects, archive=SECONDS)

    # O2, O3, O4, names
    case(
        "from-2",
        "the lowest index is 2",
        Openssl(LEGACY, cuts=[512], first=2).objects,
        "part.missing",
        ["--format openssl"],
        released=0,
    )
    case(
        "first-missing",
        "part 0 is missing, and the rest starts with 1: then it does not start as it must",
        replaced(plain.objects, _0=None),
        "openssl.magic",
        ["--format openssl"],
        released=0,
    )
    headless = {name: bytes for name, bytes in plain.objects.items() if not name.endswith("-0")}
    case("first-missing-found", "the same, and the caller does not name the profile", headless, "part.missing", released=0)
    case(
        "first-missing-native",
        "the same, and the caller names the other one",
        headless,
        "archive.uncommitted",
        ["--format native"],
        released=0,
    )
    behind = {name: bytes for name, bytes in headless.items() if not name.endswith("-1")}
    case("first-two-missing", "parts 0 and 1 are missing", behind, "part.missing", released=0)
    case("first-missing-verify", "part 0 is missing", headless, "part.missing", command="verify deep")
    case("middle-missing", "part 1 is missing", replaced(plain.objects, _1=None), "part.missing", released=0)
    case("ambiguous", "parts -1 and -01", {**plain.objects, f"{ID}-01": plain.parts[1]}, "name.ambiguous", released=0)
    case("single-beside-parts", "<id> beside <id>-0", {**plain.objects, ID: plain.stream}, "name.ambiguous", released=0)
    case(
        "no-magic",
        "the stream does not start with Salted__",
        {f"{ID}-0": b"salted__" + plain.stream[8:]},
        "openssl.magic",
        ["--format openssl"],
        released=0,
    )
    case(
        "no-magic-uncommitted",
        "the same, and the caller does not name the profile",
        {f"{ID}-0": b"salted__" + plain.stream[8:]},
        "archive.uncommitted",
        released=0,
    )
    case("empty", "an empty object", {f"{ID}-0": b""}, "openssl.magic", ["--format openssl"], released=0)
    case("seven-bytes", "Salted_", {f"{ID}-0": b"Salted_"}, "openssl.magic", ["--format openssl"], released=0)
    case("magic-only", "Salted__", {f"{ID}-0": b"Salted__"}, "openssl.padding", released=0)
    case("header-only", "the header alone", {f"{ID}-0": plain.stream[:16]}, "openssl.padding", released=0)
    case("header-and-8", "the header and 8 bytes", {f"{ID}-0": plain.stream[:24]}, "openssl.padding", released=0)
    case(
        "magic-before-size",
        "7 bytes too many, and no Salted__",
        {f"{ID}-0": b"x" * 39},
        "openssl.magic",
        ["--format openssl"],
        released=0,
    )
    case(
        "native-parts",
        "native parts, and the caller names this profile",
        WHOLE.committed(),
        "openssl.magic",
        ["--format openssl"],
        released=0,
    )
    case(
        "native-parts-by-parts",
        "the same without the manifest",
        WHOLE.objects,
        "openssl.magic",
        ["--format openssl", *BY_PARTS],
        released=0,
    )
    case(
        "format-native",
        "parts of this profile, and the caller names the other",
        plain.objects,
        "part.magic",
        ["--format native"],
        (RAW,),
        released=0,
    )
    case(
        "foreign-document-native-parts",
        "another manager's document beside native parts: a damaged manifest",
        {**WHOLE.objects, WHOLE.name: b'{"generation":7}'},
        "manifest.invalid",
        (),
        (RAW,),
        released=0,
    )
    case(
        "aborted",
        "an abort marker counts here, too",
        {**plain.objects, plain.name: f'{{"backstay":1,"id":"{ID}","aborted":"x"}}\n'.encode()},
        "archive.uncommitted",
        released=0,
    )

    # Keys
    case("no-password", "no password", plain.objects, "key.not-found", keys=(), released=0)
    case(
        "passphrase-is-no-password",
        "an age passphrase is no password",
        plain.objects,
        "key.not-found",
        keys=("passphrase KEY",),
        released=0,
    )
    case("password-wrong", "another password", plain.objects, "openssl.key", keys=("password key",), released=0)
    case("md-wrong", "another derivation is named", plain.objects, "openssl.key", ["--md sha256"], released=0)
    case(
        "iterations-not-named",
        "1000 iterations are not found by themselves",
        Openssl(LEGACY, md="sha256", pbkdf2=1000).objects,
        "openssl.key",
        released=0,
    )
    case(
        "iterations-above",
        "10,000,001 iterations",
        plain.objects,
        "key.kdf-limit",
        ["--md sha256", "--pbkdf2 10000001"],
        released=0,
    )
    case(
        "raw-without-derivation",
        "a raw payload has nothing to detect by",
        Openssl(LEGACY, raw=True).objects,
        "usage.arguments",
        ["--payload raw"],
        released=0,
    )
    case("raw-not-named", "a raw payload taken for gzip", Openssl(LEGACY, raw=True).objects, "openssl.key", released=0)
    wrong = next(
        word for word in (f"wrong {n}" for n in itertools.count()) if not padded(plain_block(Openssl(LEGACY, raw=True), word))
    )
    case(
        "raw-password-wrong",
        "another password, and a raw payload",
        Openssl(LEGACY, raw=True).objects,
        "openssl.padding",
        ["--payload raw", "--md md5"],
        keys=("password " + wrong,),
        released=0,
    )
    for name, key in (("identity", f"identity {ALICE}"), ("raw-key", RAW)):
        case(
            f"for-{name}",
            "a key of the native profile is given: an older archive may stand where an encrypted one was",
            plain.objects,
            "key.open",
            keys=(key, PASSWORD),
            released=0,
        )
    case("for-signer", "a signer is given", plain.objects, "key.open", [SIGNED_BY], released=0)
    case(
        "signer-unsealed",
        "a signer is given, and the profile: nothing unsealed is signed",
        plain.objects,
        "key.signer",
        ["--format openssl", SIGNED_BY],
        released=0,
    )
    case(
        "password-not-utf-8-trap",
        "a password with blanks and an accent",
        Openssl(LEGACY, password=" Ké  y ".encode()).objects,
        keys=("password  Ké  y ",),
    )

    long = "k" * 1023 + "e" * 445
    case(
        "password-cut",
        "openssl took 1023 bytes of this line",
        Openssl(LEGACY, password=long[:1023].encode()).objects,
        keys=("password " + long,),
    )
    case(
        "password-long",
        "and this writer all of it",
        Openssl(LEGACY, password=long.encode()).objects,
        keys=("password " + long,),
    )
    case(
        "password-cut-wrong",
        "another line of which openssl would take 1023 bytes",
        Openssl(LEGACY, password=long[:1022].encode()).objects,
        "openssl.key",
        keys=("password " + long,),
        released=0,
    )

    # O10 to O13, unsealed
    data, stream = member(LEGACY, GZIP), plain.stream
    at = [0, 256, 512, 768, 1024]
    blocks = [stream[a:b] for a, b in zip(at, at[1:])] + [stream[1024:]]
    case(
        "last-missing",
        "the last part is missing, the cut is no multiple of 16",
        numbered([stream[:1000]]),
        "openssl.padding",
        released=0,
    )
    case("last-missing-16", "the same with a cut at a block: the padding is bad", numbered(blocks[:3]), "openssl.padding")
    chance = next(
        archive
        for archive in (Openssl(random(f"chance {n}", 900), salt=random(f"chance {n}", 8)) for n in itertools.count())
        if padded(cbc_block(archive, 512))
    )
    case(
        "last-missing-good-by-chance",
        "the same, and the padding looks good by chance",
        numbered([chance.stream[:512]]),
        "openssl.stream",
    )
    case(
        "middle-missing-renumbered",
        "part 1 is missing and the others are renumbered",
        numbered([blocks[0], *blocks[2:]]),
        "openssl.stream",
    )
    case(
        "swapped",
        "two parts have each other's name",
        numbered([blocks[0], blocks[2], blocks[1], *blocks[3:]]),
        "openssl.stream",
    )
    case("doubled", "a part stands twice", numbered([*blocks[:2], blocks[1], *blocks[2:]]), "openssl.stream")
    other = Openssl(LEGACY[::-1], salt=b"another!").stream
    case("part-of-another", "a part of another archive", numbered([*blocks[:2], other[512:768], *blocks[3:]]), "openssl.stream")
    case("flip", "a bit of part 2 is flipped", numbered([*blocks[:2], flip(blocks[2], 7), *blocks[3:]]), "openssl.stream")
    case("flip-first-block", "a bit of the first block is flipped", numbered([flip(stream, 16)]), "openssl.key", released=0)
    for name, padding in (
        ("0", lambda count: bytes(count)),
        ("17", lambda count: bytes([17]) * count),
        ("inconsistent", lambda count: b"\1" * (count - 1) + bytes([count])),
        ("255", lambda count: b"\xff" * count),
    ):
        payload = data + bytes(-(len(data) + 8) % 16)  # so that 8 bytes of padding follow
        case(
            f"padding-{name}",
            "the padding is wrong, everything else right",
            Openssl(LEGACY, payload=payload, padding=padding).objects,
            "openssl.padding",
        )
    case(
        "padding-short",
        "the padding says 1, and 7 other bytes stand before it",
        Openssl(payload=data + bytes(-(len(data) + 8) % 16), padding=lambda count: b"junk..." + b"\1").objects,
        "openssl.stream",
    )
    case("crc", "the CRC is wrong", Openssl(payload=flip(data, -8)).objects, "openssl.stream")
    case("isize", "ISIZE is wrong", Openssl(payload=flip(data, -4)).objects, "openssl.stream")
    case("junk-after", "junk follows the member", Openssl(payload=data + b"junk").objects, "openssl.stream")
    case(
        "zeros-then-junk",
        "zero bytes and then another follow the member",
        Openssl(payload=data + bytes(99) + b"x").objects,
        "openssl.stream",
    )
    case(
        "zeros-then-member",
        "zero bytes and then a member follow",
        Openssl(payload=data + bytes(99) + data).objects,
        "openssl.stream",
    )
    case(
        "member-cut",
        "the gzip data ends inside a member, and is encrypted like that",
        Openssl(payload=data[:-9]).objects,
        "openssl.stream",
    )
    case("second-member-cut", "the second member has one byte", Openssl(payload=data + b"\x1f").objects, "openssl.stream")
    case(
        "stream-before-padding",
        "the gzip data is damaged early, and the padding is wrong",
        Openssl(payload=data[:10] + b"\x07" + data[11:], padding=lambda count: bytes(count)).objects,
        "openssl.stream",
    )
    case("max-output", "an output limit", plain.objects, "stream.limit", ["--max-output 1000"], released=1000)
    case(
        "max-output-raw",
        "an output limit and a raw payload",
        Openssl(LEGACY, raw=True).objects,
        "stream.limit",
        ["--max-output 1000", "--payload raw", "--md md5"],
        released=1000,
    )
    case(
        "max-output-raw-exact",
        "the same with just the content",
        Openssl(LEGACY, raw=True).objects,
        args=[f"--max-output {len(LEGACY)}", "--payload raw", "--md md5"],
    )
    case(
        "flags-reserved",
        "a reserved bit of the gzip flags is set: the first block does not fit",
        Openssl(payload=data[:3] + b"\x20" + data[4:]).objects,
        "openssl.key",
        released=0,
    )
    case("max-output-exact", "an output limit of just the content", plain.objects, args=[f"--max-output {len(LEGACY)}"])

    # Sealed archives
    def sealed(name, note, objects, expect="ok", args=("--require-seal",), **more):
        case("sealed-" + name, note, objects, expect, args, sealed=True, **more)

    whole, objects = plain.document(), plain.committed()
    sealed("good", "a sealed archive", objects)
    sealed(
        "sha256-pbkdf2",
        "another derivation; the last part has one byte; indices from 1",
        Openssl(LEGACY, md="sha256", pbkdf2=2000, first=1, cuts=[512, len(plain.stream) - 1]).committed(),
    )
    sealed("sha1", "another derivation", Openssl(LEGACY, md="sha1").committed())
    sealed("single", "the one object <id>", Openssl(LEGACY, single=True).committed())
    sealed("raw", "a raw payload: the manifest says so", Openssl(LEGACY, raw=True, cuts=[16]).committed())
    sealed(
        "padded-indices",
        "names with zeros, where the manifest has values",
        Openssl(LEGACY, cuts=[512], spell=lambda n: f"{n:02d}").committed(),
    )
    case("sealed-manifest-not-read", "--no-manifest makes it an unsealed one", objects, args=BY_PARTS)
    sealed("stripped", "the manifest is gone", plain.objects, "manifest.seal", released=0)
    sealed(
        "replaced-by-foreign",
        "a foreign document stands where the manifest was",
        {**plain.objects, plain.name: b"{}"},
        "manifest.seal",
        released=0,
    )
    sealed(
        "stripped-root",
        "the manifest is gone, and a root is expected",
        plain.objects,
        "manifest.seal",
        ["--root " + root(plain.parts)],
        released=0,
    )
    receipt = f"{ID} {root(plain.parts)} {sha256(whole.encode())} {len(plain.stream)}"
    sealed(
        "stripped-receipt",
        "the manifest is gone, and a receipt is expected",
        plain.objects,
        "manifest.seal",
        ["--receipt " + receipt],
        released=0,
    )
    sealed("receipt", "the expected receipt", objects, args=["--receipt " + receipt])
    sealed("root", "the expected root", objects, args=["--root " + root(plain.parts)])
    sealed("root-other", "another root is expected", objects, "manifest.root", args=["--root " + root([b"x"])], released=0)
    sealed("password-wrong", "another password", objects, "openssl.key", keys=("password key",), released=0)
    sealed("no-password", "no password", objects, "key.not-found", keys=(), released=0)
    forged = seal_manifest(ID, whole.replace("09:26:40", "09:26:41"), bytes(32))
    sealed(
        "forged",
        "the manifest was changed and its digest computed anew",
        {**objects, plain.name: forged},
        "manifest.seal",
        released=0,
    )
    sealed(
        "forged-raw",
        "the same with a raw payload",
        {**Openssl(LEGACY, raw=True).objects, plain.name: seal_manifest(ID, Openssl(LEGACY, raw=True).document(), bytes(32))},
        "manifest.seal",
        released=0,
    )
    sealed(
        "forged-other-password",
        "the same with another password",
        {**objects, plain.name: forged},
        "openssl.key",
        keys=("password key",),
        released=0,
    )
    for name, old, new in (
        ("salt", '"salt":"01', '"salt":"02'),
        ("md", '"md":"md5"', '"md":"sha256"'),
        ("pbkdf2", '"pbkdf2":0', '"pbkdf2":2'),
    ):
        sealed(
            f"forged-{name}",
            "the facts about the key were changed: the first block shows that the password is right",
            {**objects, plain.name: seal_manifest(ID, whole.replace(old, new, 1), bytes(32))},
            "manifest.seal",
            released=0,
        )
    odd = Openssl(LEGACY, md="sha1", pbkdf2=77)
    sealed(
        "forged-odd",
        "the same where only the manifest knows the derivation",
        {**odd.objects, odd.name: odd.seal_manifest(odd.document()).replace(b'"mac":"', b'"mac":"0')[:-5] + b'"}}\n'},
        "manifest.seal",
        released=0,
    )
    sealed(
        "named-otherwise",
        "a manifest decides by itself; what the caller names is ignored",
        objects,
        args=["--md sha1", "--pbkdf2 7", "--payload raw"],
    )
    sealed("flip-0", "a bit of part 0 is flipped", replaced(objects, _0=flip(plain.parts[0], -1)), "part.digest", released=0)
    sealed("flip-2", "a bit of part 2 is flipped", replaced(objects, _2=flip(plain.parts[2], -1)), "part.digest")
    sealed(
        "flip-salt", "a bit of the salt is flipped", replaced(objects, _0=flip(plain.parts[0], 8)), "part.digest", released=0
    )
    sealed(
        "flip-first-block",
        "a bit of the first block is flipped",
        replaced(objects, _0=flip(plain.parts[0], 16)),
        "part.digest",
        released=0,
    )
    sealed(
        "flip-magic", "a bit of Salted__ is flipped", replaced(objects, _0=flip(plain.parts[0], 0)), "part.digest", released=0
    )
    without = Openssl(LEGACY, cuts=[4])
    without.parts[1] = flip(without.parts[1], 0)
    sealed(
        "no-magic",
        "what was sealed does not start with Salted__: a writer's fault",
        without.committed(),
        "openssl.magic",
        released=0,
    )
    sealed("size", "a part is cut", replaced(objects, _1=plain.parts[1][:-1]), "part.size", released=0)
    sealed("missing", "a part is missing", replaced(objects, _2=None), "part.missing", released=0)
    sealed("extra", "a part too many", {**objects, f"{ID}-3": b"x"}, "part.extra", released=0)
    sealed(
        "single-missing",
        "the manifest speaks of <id>, but there is <id>-0",
        {f"{ID}-0": plain.stream, plain.name: Openssl(LEGACY, single=True).seal_manifest()},
        "part.missing",
        released=0,
    )
    sealed(
        "not-single",
        "the manifest speaks of <id>-0, but there is <id>",
        {ID: plain.stream, plain.name: Openssl(LEGACY).seal_manifest()},
        "part.missing",
        released=0,
    )
    sealed("renamed", "all objects have another name", renamed(objects, OTHER), "name.mismatch", archive=OTHER, released=0)
    sealed(
        "content-wrong",
        "content is another length",
        {**objects, plain.name: plain.seal_manifest(whole.replace(f'"content":{len(LEGACY)}', f'"content":{len(LEGACY) + 1}'))},
        "stream.content",
    )
    sealed(
        "gzip-broken",
        "what was sealed is no gzip after its start: a writer's fault",
        Openssl(payload=data[:10] + b"\x07" + data[11:]).committed(),
        "openssl.stream",
        released=0,
    )
    sealed(
        "gzip-none",
        "what was sealed is not gzip at all",
        Openssl(payload=b"").committed(content=False),
        "openssl.stream",
        released=0,
    )
    for name, old, new in (
        ("md", '"md":"md5"', '"md":"sha512"'),
        ("payload", '"payload":"gzip"', '"payload":"xz"'),
        ("salt", '"0102030405060708"', '"01020304"'),
        ("pbkdf2", '"pbkdf2":0', '"pbkdf2":"0"'),
        ("kind", '"kind":"full"', '"kind":"incremental"'),
        ("from-1", '{"n":0', '{"n":1'),
        ("single-of-three", '"payload":"gzip"', '"payload":"gzip","single":true'),
        ("facts-missing", '"openssl":{', '"ssl":{'),
    ):
        sealed(
            f"invalid-{name}",
            f"sealed like that: {new}",
            {**objects, plain.name: plain.seal_manifest(whole.replace(old, new, 1))},
            "manifest.invalid",
            released=0,
        )
    lone = Openssl(LEGACY)
    sealed(
        "invalid-single-false",
        "single is false",
        {
            **lone.objects,
            lone.name: lone.seal_manifest(lone.document().replace('"payload":"gzip"', '"payload":"gzip","single":false')),
        },
        "manifest.invalid",
        released=0,
    )
    from_2 = Openssl(LEGACY, cuts=[512], first=2)
    sealed("invalid-from-2", "indices from 2", from_2.committed(), "manifest.invalid", released=0)
    many = whole.replace('"pbkdf2":0', '"pbkdf2":10000001')
    sealed(
        "iterations-above",
        "10,000,001 iterations",
        {**objects, plain.name: plain.seal_manifest(many)},
        "key.kdf-limit",
        released=0,
    )
    sealed(
        "signed",
        "the seal is signed",
        {**plain.objects, plain.name: plain.seal_manifest(signer=SIGNER)},
        args=["--format openssl", SIGNED_BY],
    )
    sealed("not-signed", "the seal is not signed", objects, "key.signer", ["--format openssl", SIGNED_BY], released=0)
    sealed(
        "not-signed-and-missing",
        "the seal is not signed, and a part is missing: the seal comes first",
        replaced(objects, _1=None),
        "key.signer",
        ["--format openssl", SIGNED_BY],
        released=0,
    )
    sealed("for-identity", "an identity is given", objects, "key.open", keys=(f"identity {ALICE}", PASSWORD), released=0)
    sealed(
        "for-identity-format-named",
        "an identity is given, and the profile",
        objects,
        args=["--format openssl"],
        keys=(f"identity {ALICE}", PASSWORD),
    )
    sealed("verify-quick", "quick needs no password", objects, command="verify quick", keys=())
    sealed("verify-full", "full needs none, either", objects, command="verify full", keys=())
    sealed(
        "verify-full-flip",
        "a bit of part 2 is flipped",
        replaced(objects, _2=flip(plain.parts[2], -1)),
        "part.digest",
        command="verify full",
        keys=(),
    )
    sealed("verify-deep", "deep reads it all", objects, command="verify deep")


def native_manifest(archive):
    """A manifest that says native, of the parts of an openssl archive."""
    twin = Native(SHORT)
    twin.parts = archive.parts
    return twin.seal_manifest()


def openssl_manifest(archive):
    """A manifest that says openssl, of the parts of a native archive."""
    twin = Openssl(SHORT)
    twin.parts = archive.parts
    return twin.seal_manifest()


def cbc_block(archive, end, key=None):
    """The block of plaintext that ends at an offset of the stream."""
    key = key or archive.key
    decrypt = Cipher(algorithms.AES(key[:32]), modes.CBC(archive.stream[end - 32 : end - 16])).decryptor()
    return decrypt.update(archive.stream[end - 16 : end])


def plain_block(archive, password):
    return cbc_block(archive, len(archive.stream), derive(password.encode(), archive.salt, archive.md, archive.pbkdf2))


def padded(block):
    return 1 <= block[-1] <= 16 and block.endswith(block[-1:] * block[-1])
