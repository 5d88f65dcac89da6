#!/usr/bin/env python3
"""The reference reader of the Backstay archive format: one file, which takes an archive out of a directory.

    pip install cryptography zstandard
    read.py DIRECTORY ID --identity key.txt > content
    read.py DIRECTORY SET --set --identity key.txt      the members of a backup set: id, root and name, one a line

R4, H7 or B5 in a comment are rows of the tables of ../archive.md, O6 of ../openssl.md. Left out, besides verify, ranges
and salvage: signatures, receipts, and identities of plugins and SSH. It stops at the first finding. What was written
before that is authentic (openssl profile: only if sealed), but not complete.
"""
import argparse, base64, hashlib, hmac, itertools, json, os, pathlib, re, struct, sys, zlib
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from zstandard import ZstdDecompressor, ZstdError, frame_header_size, get_frame_parameters

MiB, AEADS, CODECS = 1 << 20, {"aes-256-gcm": AESGCM, "chacha20-poly1305": ChaCha20Poly1305}, ("zstd", "gzip")
EXIT = {1: "io.failed", 2: "usage.arguments usage.recipient name.invalid", 10: "archive.not-found",  # all others: 20
        12: "key.invalid key.not-found key.wrong key.passphrase key.open openssl.key",
        21: "archive.uncommitted archive.truncated name.ambiguous part.missing chain.broken set.incomplete",
        23: "key.kdf-limit format.unsupported stream.limit chain.limit"}

def exit_status(code):
    return next((status for status, codes in EXIT.items() if code in codes.split()), 20)

class Failure(Exception):
    """Its arguments are a code of ../errors.md and what failed."""

def check(condition, code, message):
    if not condition:
        raise Failure(code, message)

def attempt(function, *arguments):
    """What a function gives, or None where it refuses what it is given."""
    try:
        return function(*arguments)
    except (ValueError, Failure, InvalidTag, ZstdError, zlib.error):
        return None

GRAMMAR = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-[1-9]([0-9]{9}|[0-9]{12})"

class Archive:
    """The objects of one archive in a directory (§2)."""
    def __init__(self, path, id, commit=".json"):  # R1
        check(re.fullmatch(GRAMMAR, id), "name.invalid", f"{id} is not an archive id")
        self.path, self.id = path, id
        self.sizes = {entry.name: entry.stat().st_size for entry in os.scandir(path) if entry.is_file()}
        ends = [name[len(id):] for name in self.sizes if name.startswith(id)]
        indices = sorted((end[1:] for end in ends if re.fullmatch("-[0-9]{1,18}", end)), key=int)
        self.boxes = sorted(int(end[5:]) for end in ends if re.fullmatch(r"\.key\.(0|[1-9][0-9]*)", end))
        self.parts = {int(index): f"{id}-{index}" for index in indices} or {0: id for end in ends if not end}
        check(self.parts and commit == ".json" or commit in ends, "archive.not-found", f"no object of {id}")
        once = len(self.parts) == len(indices or self.parts) and not (indices and "" in ends)
        check(once, "name.ambiguous", f"two objects of {id} claim one part")
    def open(self, name):
        return open(os.path.join(self.path, name), "rb")
    def pieces(self, names, skip=0):
        """The bytes of these objects, joined, from an offset on."""
        for name in names:
            if skip < self.sizes[name]:
                with self.open(name) as file:
                    file.seek(skip)
                    yield from iter(lambda: file.read(MiB), b"")
            skip = max(0, skip - self.sizes[name])
    def names(self, manifest, legacy):
        """R4, O2: the names of the parts in order."""
        single, plain = [self.id] == [*self.parts.values()], all(f"{self.id}-{n}" == p for n, p in self.parts.items())
        check(legacy or plain or single, "name.ambiguous", f"parts of {self.id} are written with leading zeros")
        demanded = "single" in manifest["openssl"] if legacy and manifest else legacy and single
        there = self.parts if single == demanded else {}
        first = min(there, default=0)
        if not manifest:
            gapless = there and first <= legacy and max(there) - first < len(there)
            check(gapless, "part.missing", f"the parts of {self.id} have a gap: {list(there)[:9]} ...")
            return list(there.values())
        sizes = {part["n"]: part["size"] for part in manifest["parts"]}
        check(sizes.keys() <= there.keys(), "part.missing", f"{self.id} has {len(there)} of {len(sizes)} parts")
        check(there.keys() <= sizes.keys(), "part.extra", f"there are more parts of {self.id} than in its manifest")
        for n in sizes:
            check(sizes[n] == self.sizes[there[n]], "part.size", f"{there[n]} has {self.sizes[there[n]]} bytes")
        return [there[n] for n in sizes]

# ---- Documents: JSON with tables of members; each type is a pattern for the member's JSON text (§4, §8) ----

CHAR, TAIL2, TAIL3 = "[A-Za-z0-9+/]", "[A-Za-z0-9+/][AQgw]", "[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]"  # canonical base64
TEXT, BASE64 = r'"(?:[^"\\]|\\.)*"', f'"(?:{CHAR}{{4}})*(?:{TAIL2}==|{TAIL3}=)?"'
TYPES = {"text": TEXT, "texts": rf"\[(?:{TEXT}(?:,{TEXT})*)?\]", "int": "[0-9]+", "count": "[1-9][0-9]*",
         "object": r"\{.*\}", "list": r"\[.*\]", "true": "true", "length": "[0-9]{1,5}", "md": '"(?:md5|sha1|sha256)"',
         "base64": BASE64, "slots": rf"\[(?:{BASE64}(?:,{BASE64}){{0,7}})?\]", "payload": '"(?:gzip|raw)"',
         "bytes32": f'"{CHAR}{{40}}{TAIL3}="', "bytes64": f'"{CHAR}{{84}}{TAIL2}=="',
         "kind": '"(?:full|incremental|differential)"',
         **{f"hex{size}": f'"[0-9a-f]{{{2 * size}}}"' for size in (4, 8, 16, 32)}}
HEADER = ("id:text part:int rnd:hex16 salt:hex32 commit:hex32 aead:text codec:text seg:int segs:count keys:slots"
          " kind?:kind open?:hex32 by?:bytes32 sig?:bytes64 crit?:texts")
MANIFEST = ("kind:kind created:text finished?:text source?:object name?:text tags?:texts stored:int content?:int"
            " needs:list parts:list root:hex32 detached?:true unconfirmed?:true converted?:object")
OPENSSL, NEED = "md:md pbkdf2:int salt:hex8 payload:payload single?:true", "id:text root:hex32"
CONVERTED = "profile:text root:hex32 objects:int stored:int at:text"
PART = "n:int size:count sha256:hex32 crc32c?:hex4 md5?:hex16"
LINE = re.compile(rb'BACKSTAY1 (\{"id":"[^"]*","part":[0-9]+,"rnd":"[^"]*",([ -\[\]-~]+)\}) *\n')
SEALED = re.compile(rb'(\{"backstay":.*\n)"seal":\{"sha256":"([0-9a-f]{64})","mac":"[0-9a-f]{64}"(?:,"by":%b,"sig":%b)?'
                    rb'\}\}\n' % (TYPES["bytes32"].encode(), TYPES["bytes64"].encode()), re.S)

SET = ("backstay_set?:int id?:text created?:text finished?:text head?:object source?:object name?:text tags?:texts"
       " members?:list private?:base64 crit?:texts")
SET_HEAD, SET_MEMBER = "salt?:hex32 commit?:hex32 keys?:slots open?:hex32 by?:bytes32 sig?:bytes64", "name:text id:text root:hex32 role?:text"

SEALED_SET = re.compile(SEALED.pattern.replace(b"backstay", b"backstay_set", 1), re.S)

def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

def conforms(value, table):
    """Whether an object has the members of a table; those with a ? may be absent."""
    members = (re.split(r"(\??):", member) for member in table.split())
    return isinstance(value, dict) and all(
        re.fullmatch(TYPES[kind], compact(value[name])) if name in value else mark for name, mark, kind in members)

def strict_json(text, depth):
    """An object without floats, null, repeated names or lone surrogates, at most `depth` deep; for `attempt`."""
    def unique(pairs):
        check(len(dict(pairs)) == len(pairs), "json", "a repeated name")
        return dict(pairs)
    bare = re.sub(TEXT, "", text)
    levels = itertools.accumulate({"{": 1, "[": 1}.get(bracket, -1) for bracket in re.findall(r"[][{}]", bare))
    odd = re.search("null|[-.NI]|[0-9][eE]|[0-9]{17}", bare) or max(map(int, re.findall("[0-9]+", bare))) > 1 << 53
    check(not odd and max(levels) <= depth, "json", "null, a number that is not an int, or too deep")
    value = json.loads(text, object_pairs_hook=unique)
    compact(value).encode()  # which refuses lone surrogates
    return value

def parse_line(line):
    """H3: the fields of a header line, with `rest` and `line` beside them; None if it breaks the grammar."""
    match = LINE.fullmatch(line)
    fields = match and attempt(strict_json, match[1].decode(), 3)
    if not conforms(fields, HEADER) or compact(fields).encode() != match[1]:
        return None
    opened, signed, bound = "open" in fields, "sig" in fields, "open" in fields.get("crit", [])
    good = (1024 <= fields["seg"] <= MiB and fields["seg"] * fields["segs"] <= 1 << 32 and len(line) <= 65536
            and fields["part"] < 1_000_000 and "len" not in fields and ("by" in fields) == signed and bound == opened
            and not (opened and (fields["keys"] or signed)))
    return {**fields, "rest": match[2], "line": line} if good else None

def check_line(line, id, n, manifest, first):
    """H1 to H8: the fields of the header line of part n. `first` is that of part 0, and None for part 0 itself."""
    version, what = re.match(rb"BACKSTAY([0-9]+) ", line), f"the first line of part {n} of {id}"
    check(version, "part.magic", what)
    check(version[1] == b"1", "format.unsupported", what)
    header = parse_line(line)
    check(header, "header.invalid", what)
    same = not first or (header["rest"], len(line)) == (first["rest"], len(first["line"]))
    for holds, code in (
            (set(header.get("crit", [])) <= {"open"}, "format.unsupported"), (header["id"] == id, "name.mismatch"),
            (header["part"] == n, "part.misplaced"),
            (line == rebuild_line(manifest, n) if manifest else same, "part.foreign"),
            (header["aead"] in AEADS and header["codec"] in CODECS, "format.unsupported")):
        check(holds, code, what)
    return header

def rebuild_line(manifest, n):
    """§8.2: the header line of part n."""
    rest = compact({name: value for name, value in manifest["head"].items() if name != "len"})[1:]
    line = f'BACKSTAY1 {{"id":"{manifest["id"]}","part":{n},"rnd":"{manifest["parts"][n]["rnd"]}",{rest}'.encode()
    return line.ljust(manifest["head"]["len"] - 1) + b"\n"

def load_manifest(archive, id, legacy=False):
    """M1 to M14: the manifest, with its sealed bytes beside the members; None if it is another manager's (§8.5)."""
    def valid(condition, code="manifest.invalid"):
        check(condition, code, f"the manifest of {id}")
    with archive.open(id + ".json") as file:
        data = file.read(128 * MiB + 1)
    valid(len(data) <= 128 * MiB)
    cut = b'{"backstay":'.startswith(data) or not data.strip(b"\0")
    if legacy and not cut and b'"backstay"' not in data and b'"seal":{' not in data:
        return None
    text = attempt(data.decode)
    marker = text and re.fullmatch(r'\{"backstay":1,"id":"([^"\\\n]*)","aborted":"[^"\\\n]*"\}\n', text)
    valid(not marker or marker[1] == id, "name.mismatch")
    valid(not marker, "archive.uncommitted")
    match = text and SEALED.fullmatch(data)
    valid(match)
    valid(hashlib.sha256(match[1]).hexdigest().encode() == match[2], "manifest.seal")
    manifest = attempt(strict_json, text, 16)
    valid(manifest)
    for member, known, code in (
            ("backstay:int", [1], "format.unsupported"), ("aborted?:text", [None], "archive.uncommitted"),
            ("crit?:texts", [None, []], "format.unsupported"), ("id:text", [id], "name.mismatch"),
            ("profile:text", ["native", "openssl"], "format.unsupported")):
        valid(conforms(manifest, member))
        valid(manifest.get(re.match("[a-z]+", member)[0]) in known, code)
    native = manifest["profile"] == "native"
    valid(conforms(manifest, MANIFEST + (" head:object private?:base64" if native else " openssl:object")))
    valid("converted" not in manifest or conforms(manifest["converted"], CONVERTED))
    parts, needs, kind = manifest["parts"], manifest["needs"], manifest["kind"]
    part_members = PART + " rnd:hex16" * native
    valid(parts and all(conforms(part, part_members) for part in parts) and all(conforms(need, NEED) for need in needs))
    digests, first = bytes.fromhex("".join(part["sha256"] for part in parts)), parts[0]["n"]
    valid(list(manifest).index("needs") < list(manifest).index("parts")
          and len(parts) <= 1_000_000 and first <= (not native)
          and all(part["n"] == n for n, part in enumerate(parts, first))
          and sum(part["size"] for part in parts) == manifest["stored"]
          and hashlib.sha256(digests).hexdigest() == manifest["root"]
          and {"full": not needs, "differential": len(needs) == 1, "incremental": needs}[kind])
    if native:
        valid(conforms(manifest["head"], "len:length"))
        head = parse_line(rebuild_line(manifest, len(parts) - 1))
        valid(head and len(head["line"]) == manifest["head"]["len"] and head.get("kind", "full") == kind)
        check_line(head["line"], id, len(parts) - 1, manifest, None)  # M13: crit, aead, codec
    else:
        single = "single" in manifest["openssl"]
        valid(conforms(manifest["openssl"], OPENSSL) and kind == "full" and not (single and (len(parts) > 1 or first)))
    valid(len(needs) <= 32 and len({id, *(need["id"] for need in needs)}) == len(needs) + 1, "chain.limit")
    return {**manifest, "sealed": match[1]}

def load_set(archive, id):
    """S1 to S8: the set, with its sealed bytes beside the members."""
    def valid(condition, code="set.invalid"):
        check(condition, code, f"the set {id}")
    with archive.open(id + ".set.json") as file:
        data = file.read(32 * MiB + 1)
    valid(len(data) <= 32 * MiB)
    text = attempt(data.decode)
    match = text and SEALED_SET.fullmatch(data)
    valid(match)
    valid(hashlib.sha256(match[1]).hexdigest().encode() == match[2], "set.seal")
    found = attempt(strict_json, text, 16)
    valid(found and conforms(found, SET))  # S4
    members, head, crit = found.get("members", []), found.get("head", {}), set(found.get("crit", []))
    valid(conforms(head, SET_HEAD) and len(members) <= 65536 and all(
        conforms(member, SET_MEMBER) and 0 < len(member["name"].encode()) <= 1024
        and re.fullmatch(GRAMMAR, member["id"]) for member in members))
    valid("backstay_set" in found)
    valid(found["backstay_set"] == 1, "format.unsupported")
    valid(crit <= {"open"}, "format.unsupported")
    valid("id" in found)
    valid(found["id"] == id, "name.mismatch")
    opened, ids = "open" in head, {member["id"] for member in members}
    valid(members and {"salt", "commit", "keys"} <= head.keys() and "created" in found and ("by" in head) == ("sig" in head)
          and opened == ("open" in crit) and not (opened and (head["keys"] or "by" in head))
          and len(ids) == len({member["name"] for member in members}) == len(members) and id not in ids)
    return {**found, "sealed": match[1]}

def check_seal(archive, manifest, want, seal_key, otherwise="manifest.seal"):
    """R8, O6 and O8: the MAC, the wanted root and the ancestors."""
    mac = hmac256(seal_key, manifest["sealed"]).hex()
    good = hmac.compare_digest(mac, manifest["seal"]["mac"])
    check(good, otherwise, f"the seal of {archive.id} does not fit the key")
    check(want.root in (None, manifest["root"]), "manifest.root", f"the root is {manifest['root']}")
    for need in manifest["needs"]:
        ancestor = need["id"] + ".json" in archive.sizes and attempt(load_manifest, archive, need["id"])
        check(ancestor and ancestor["root"] == need["root"], "chain.broken", f"{need['id']} is missing or another one")

# ---- Keys (§5, §9) ----

def hmac256(key, data): return hmac.digest(key, data, "sha256")
def expand(prk, info): return hmac256(prk, info + b"\1")
def hkdf(salt, ikm, info): return expand(hmac256(salt, ikm), info)
def unbase64(text): return base64.b64decode(text + "=" * (-len(text) % 4))

def x25519_key(stanza, own):
    share, public = unbase64(stanza[1]), own.public_key().public_bytes_raw()
    shared = own.exchange(X25519PublicKey.from_public_bytes(share))  # ValueError if it is all zero
    return hkdf(share + public, shared, b"age-encryption.org/v1/X25519")

def scrypt_key(stanza, phrase):
    salt = b"age-encryption.org/v1/scrypt" + unbase64(stanza[1])
    return hashlib.scrypt(phrase, salt=salt, n=1 << int(stanza[2]), r=8, p=1, maxmem=2**31 - 1, dklen=32)

AGE = re.compile(f"(age-encryption\\.org/v1\n((?:-> [!-~]+(?: [!-~]+)*\n(?:{CHAR}{{64}}\n)*(?:{CHAR}{{4}}){{0,15}}"
                 f"(?:{TAIL2}|{TAIL3})?\n)+)---) ({CHAR}{{40}}{TAIL3})\n")
BODY = f"\n(?P<body>{CHAR}{{40}}{TAIL3})\n"
STANZAS = {"X25519": (f"X25519 ({CHAR}{{40}}{TAIL3}){BODY}", x25519_key, "identity"),
           "scrypt": (f"scrypt ({CHAR}{{20}}{TAIL2}) ([1-9][0-9]{{0,8}}){BODY}", scrypt_key, "passphrase_file")}

def open_age(data, limited, want):
    """The secret in an age file, or a Failure with the code that belongs to its result in §9.1."""
    match, file_key, result = AGE.match(data.decode("latin-1")), None, "key.not-found"
    check(match and len(data) <= 65536, "key.invalid", "not an age file")
    stanzas = re.split("^-> ", match[2], flags=re.M)[1:]
    scrypt = any(stanza.split()[0] == "scrypt" for stanza in stanzas)
    check(len(stanzas) <= (1 if scrypt else 64), "key.invalid", "too many stanzas")
    for stanza in stanzas:
        pattern, derive, option = STANZAS.get(stanza.split()[0], ("", None, ""))
        fields = re.fullmatch(pattern, stanza)
        for own in getattr(want, option, []):
            check(fields, "key.invalid", "a malformed stanza")
            check(not scrypt or not limited and int(fields[2]) <= 20, "key.kdf-limit", "too much scrypt")
            key, result = attempt(derive, fields, own), "key.wrong" if scrypt else result
            check(key, "key.invalid", "an all-zero shared secret")
            file_key = file_key or attempt(ChaCha20Poly1305(key).decrypt, bytes(12), unbase64(fields["body"]), None)
    check(file_key, result, "no stanza opens")
    nonce, payload = data[match.end():][:16], data[match.end():][16:]
    secret = attempt(ChaCha20Poly1305(hkdf(nonce, file_key, b"payload")).decrypt, bytes(11) + b"\1", payload, None)
    good = hmac.compare_digest(hmac256(hkdf(b"", file_key, b"header"), match[1].encode()), unbase64(match[3]))
    check(good and secret and len(secret) == 32, "key.invalid", "a damaged age file")
    return secret

def find_prk(archive, header, want):
    """R7, §9.1: the PRK of the first secret that fits `commit`."""
    def is_scrypt(file): return b"\n-> scrypt " in file.split(b"\n---")[0]
    def read_box(m):
        with archive.open(f"{archive.id}.key.{m}") as file:
            return file.read(65537)
    raw_keys = [bytes.fromhex(header["open"])] if "open" in header else want.raw_key + want.secret
    age = "open" not in header and want.identity + want.passphrase_file
    check(raw_keys or age, "key.not-found", f"{archive.id} is encrypted and no key was given")
    slots, boxes = [unbase64(slot) for slot in header["keys"]], [read_box(m) for m in archive.boxes[:16]]
    limits = [sum(map(is_scrypt, slots)) > 1] * len(slots)
    limits += [count > 2 for count in itertools.accumulate(map(is_scrypt, boxes))]
    results = {"key.kdf-limit"} if age and len(archive.boxes) > 16 else set()
    for source in raw_keys + [*zip(slots + boxes, limits)] * bool(age):
        try:
            secret = source if isinstance(source, bytes) else open_age(*source, want)
            prk = hmac256(bytes.fromhex(header["salt"]), secret)
            fits = hmac.compare_digest(expand(prk, b"backstay/1 commit").hex(), header["commit"])
            check(fits, "key.wrong", "another secret")
            return prk
        except Failure as failure:
            results.add(failure.args[0])
    code = next((code for code in ("key.kdf-limit", "key.invalid", "key.wrong") if code in results), "key.not-found")
    raise Failure(code, f"none of the given keys opens {archive.id}")

# ---- Segments (§6) and the inner stream (§7) ----

# B3, B6, B4, B5: what a segment is that opens with a flag, and what one that opens with none
MIDDLE = ({0: "good"}, "segment.auth")
FINAL = ({2: "good", 0: "part.truncated", 1: "archive.truncated"}, "segment.auth")
WHOLE, SHORT = ({1: "good", 2: "part.extra"}, "segment.auth"), ({2: "part.extra"}, "part.truncated")

def segments(archive, name, header, prk, final):
    """B1 to B6: the plaintext of a part's segments."""
    size, full = archive.sizes[name] - len(header["line"]), header["seg"] + 16
    aead = AEADS[header["aead"]](expand(prk, b"backstay/1 part" + hashlib.sha256(header["line"]).digest()))
    count, whole = -(-size // full), header["segs"] * full
    check(size <= whole, "segment.auth", f"{name} goes on behind its end")
    check(size and size - (count - 1) * full > 16, "part.truncated", f"{name} ends with an empty segment")
    inner = WHOLE if size == whole else SHORT
    with archive.open(name) as file:
        file.seek(len(header["line"]))
        for number, (flags, otherwise) in enumerate([MIDDLE] * (count - 1) + [FINAL if final else inner]):
            data = file.read(full)
            tries = ((flags[flag], struct.pack(">3xBQ", flag, number)) for flag in flags)
            opened = ((outcome, attempt(aead.decrypt, nonce, data, None)) for outcome, nonce in tries)
            outcome, plain = next((pair for pair in opened if pair[1]), (otherwise, None))
            check(outcome == "good", outcome, f"{name}, segment {number}")
            yield plain

class Stream:
    """Takes bytes from an iterator of pieces, and no piece earlier than it must: so faults come up in stream order."""
    def __init__(self, pieces):
        self.pieces, self.buffer = iter(pieces), bytearray()
    def peek(self, size):
        while len(self.buffer) < size and (piece := next(self.pieces, None)) is not None:
            self.buffer += piece
        return bytes(self.buffer[:size])
    def take(self, size):
        data = self.peek(size)
        check(len(data) == size, "stream.invalid", "the stream ends too early")
        del self.buffer[:size]
        return data
    def some(self):
        """What is at hand, or the next piece; empty at the end."""
        return self.take(len(self.peek(1) and self.buffer))

DATA, PADDING, TABLE = (struct.pack("<I", magic) for magic in (0xFD2FB528, 0x184D2A50, 0x184D2A5E))

def take_frame(stream, limit):
    """Z2 to Z4: a data frame, found by hopping from block to block, and the size of its content."""
    flags = stream.peek(5)[4:] or b"\0"
    check(flags[0] & 15 == 4, "stream.invalid", "a frame has no checksum, or a dictionary, or a reserved bit")
    frame, last = stream.take(frame_header_size(stream.peek(5))), 0
    check(flags[0] & 32 or frame[5] <= 0x88, "stream.limit", "a window of more than 128 MiB")
    size = get_frame_parameters(frame).content_size  # 2**64 - 1 if it is not stated
    check(size <= min(64 * MiB, limit), "stream.limit", f"a frame with {size} bytes of content")
    while not last:
        block = stream.take(3)
        last, kind, length = block[0] & 1, block[0] >> 1 & 3, int.from_bytes(block, "little") >> 3
        check(kind != 3, "stream.invalid", "a block of the reserved type")
        length = 1 if kind == 1 else length
        check(len(frame) + 3 + length + 4 <= size + MiB, "stream.limit", "a frame is much longer than its content")
        frame += block + stream.take(length)
    return frame + stream.take(4), size

def unzstd(stream, limit):
    """Z1 to Z8: the content of the data frames."""
    frames = []  # the length in the stream and the size of the content
    while stream.peek(4) == DATA:
        frame, size = take_frame(stream, limit)
        regular = not frames or frames[-1][1] == frames[0][1] and 0 < size <= frames[0][1]
        content = attempt(ZstdDecompressor().stream_reader(frame).read, size + 1)
        good = regular and content is not None and len(content) == size
        check(good, "stream.invalid", "a frame does not decode, or has another size than it must")
        limit -= size
        frames.append((len(frame), size))
        yield content
    while frames and stream.peek(4) == PADDING:
        length = 8 + int.from_bytes(stream.peek(8)[4:], "little")
        check(length < 1 << 32, "stream.invalid", "a padding frame is too long")
        for start in range(0, length, MiB):
            stream.take(min(MiB, length - start))
        frames.append((length, 0))
    entries = b"".join(struct.pack("<II", *frame) for frame in frames)
    table = TABLE + struct.pack("<I", len(entries) + 9) + entries + struct.pack("<IBI", len(frames), 0, 0x8F92EAB1)
    good = frames and stream.peek(4) == TABLE and stream.take(len(table)) == table
    check(good, "stream.invalid", "the seek table is not that of the frames")
    check(not stream.peek(1), "stream.trailing", "bytes follow the seek table")

def gunzip(stream, code="stream.invalid", native=True):
    """G1 to G4, or O10 and O12 for the gzip streams of others: the content of the members."""
    more = True
    while more:
        check(not native or stream.peek(10) == bytes.fromhex("1f8b08000000000000ff"), code, "a member starts wrongly")
        member, size = zlib.decompressobj(31), 0
        while not member.eof:
            data = member.unconsumed_tail or stream.some()
            content = data and attempt(member.decompress, data, MiB)
            check(data and content is not None, code, "a member ends early or does not decode")
            size += len(content)
            check(size <= 64 * MiB or not native, "stream.limit", "a member has more than 64 MiB of content")
            yield content
        stream.buffer[:0] = member.unused_data
        while not native and stream.peek(1) == b"\0":
            check(not any(stream.some()), code, "other bytes than zeros follow the zeros after a member")
        more = stream.peek(2)
        check(not native or more in (b"", b"\x1f\x8b"), "stream.trailing", "bytes follow the last member")

# ---- The openssl profile (../openssl.md) ----

def derive(password, salt, md, iterations):
    """§2 there: 32 bytes of key and 16 of iv."""
    check(iterations <= 10_000_000, "key.kdf-limit", f"{iterations} iterations of PBKDF2")
    if iterations:
        return hashlib.pbkdf2_hmac(md, password, salt, iterations, 48)
    key = block = b""
    while len(key) < 48:
        block = hashlib.new(md, block + password + salt).digest()
        key += block
    return key[:48]

def decryptor(key_iv):
    return Cipher(algorithms.AES(key_iv[:32]), modes.CBC(key_iv[32:])).decryptor()

def is_padded(block):
    return 1 <= block[-1] <= 16 and block.endswith(block[-1:] * block[-1])

def read_openssl(archive, manifest, want, limit):
    id, sealed = archive.id, manifest is not None
    check(sealed or not (want.require_seal or want.root), "manifest.seal", f"{id} has no seal")  # O1
    names = archive.names(manifest, True)  # O2
    total, start = sum(archive.sizes[name] for name in names), Stream(archive.pieces(names)).peek(32)
    check(sealed or start[:8] == b"Salted__", "openssl.magic", f"{id} does not start with Salted__")  # O3
    check(total >= 32 and total % 16 == 0, "openssl.padding", f"the {total} bytes of {id} are not whole blocks")  # O4
    check(want.password_file, "key.not-found", f"{id} needs a password")  # O5
    facts = manifest["openssl"] if sealed else {"md": want.md or "sha256", "pbkdf2": want.pbkdf2 or 0,
                                                    "payload": want.payload}
    how, raw = (facts["md"], facts["pbkdf2"]), facts["payload"] == "raw"
    passwords = dict.fromkeys((want.password_file[0], want.password_file[0][:1023].split(b"\0")[0]))  # §2
    named, end = want.md or want.pbkdf2, Stream(archive.pieces(names, total - 32)).peek(32)
    check(sealed or named or not raw, "usage.arguments", "a raw payload needs --md or --pbkdf2")
    def opens(key):
        """Whether the first block fits (gzip), or the last one is padded (raw)."""
        if raw:
            return is_padded(decryptor(key[:32] + (end[:16] if total > 32 else key[32:])).update(end[16:]))
        block = decryptor(key).update(start[16:])
        return block[:3] == b"\x1f\x8b\x08" and block[3] < 32
    detected = [("md5", 0), ("sha256", 0), ("sha1", 0), ("sha256", 10_000), how]
    tried = [how] if raw or named and not sealed else detected
    keys = ((password, derive(password, start[8:16], *each)) for password in passwords for each in tried)
    password, key = next((pair for pair in keys if opens(pair[1])), (want.password_file[0], None))
    if sealed:  # O6
        otherwise, salt = "manifest.seal" if key else "openssl.key", bytes.fromhex(facts["salt"])
        key = derive(password, salt, *how)
        check_seal(archive, manifest, want, hkdf(salt, key, b"backstay/1 openssl seal"), otherwise)
    check(key, "openssl.padding" if raw else "openssl.key", f"the password does not fit {id}")  # O7
    def ciphertext():
        for n, name in enumerate(names):
            digest = hashlib.sha256()
            for piece in archive.pieces([name] * sealed):
                digest.update(piece)
            good = not sealed or digest.hexdigest() == manifest["parts"][n]["sha256"]
            check(good, "part.digest", f"{name} has another SHA-256 than the manifest says")  # O9
            yield from archive.pieces([name])
    def payload():
        stream, decrypt, held = Stream(ciphertext()), decryptor(key), b""
        check(stream.take(16)[:8] == b"Salted__", "openssl.magic", f"{id} does not start with Salted__")
        for piece in iter(stream.some, b""):
            held += decrypt.update(piece)
            yield held[:-16]
            held = held[-16:]
        check(is_padded(held), "openssl.padding", f"the last block of {id} is not padded as it must be")  # O11
        yield held[:-held[-1]]
    return payload() if raw else gunzip(Stream(payload()), "openssl.stream", native=False)

# ---- Reading (§13) ----

def read_native(archive, manifest, want, limit):
    names = archive.names(manifest, False)  # R4
    def part_line(n, first=None):
        with archive.open(names[n]) as file:
            return check_line(file.readline(65536), archive.id, n, manifest, first)
    first = part_line(0)  # R5
    opened = want.allow_open and not (want.raw_key or want.secret or want.identity or want.passphrase_file or want.require_seal)
    check("open" not in first or opened, "key.open", f"{archive.id} is not encrypted")  # R6
    prk = find_prk(archive, first, want)
    if manifest:  # R8
        check_seal(archive, manifest, want, expand(prk, b"backstay/1 manifest"))
    plaintext = Stream(plain for n in range(len(names)) for plain in segments(
        archive, names[n], part_line(n, first), prk, n == len(names) - 1))  # R9
    return unzstd(plaintext, limit) if first["codec"] == "zstd" else gunzip(plaintext)  # R10

def read(want):
    """R1 to R11: the content, piece by piece. Only when this ends without a Failure is it complete."""
    check(not (want.no_manifest and want.root), "usage.arguments", "a root says nothing without the manifest")
    archive, manifest, total = Archive(want.directory, want.id), None, 0
    head = Stream(archive.pieces(archive.parts.values())).peek(10)
    salted = head[:8] == b"Salted__"
    legacy, limit = salted or want.format == "openssl", float("inf") if want.max_output is None else want.max_output
    if want.id + ".json" in archive.sizes and not want.no_manifest:
        manifest = load_manifest(archive, want.id, legacy)
    headless = not (manifest or salted or head == b"BACKSTAY1 ") and min(archive.parts, default=0) > 0
    check(not headless or want.format, "part.missing", f"part 0 of {want.id} is missing")  # R3
    check(manifest or legacy or want.no_manifest, "archive.uncommitted", f"{want.id} has no manifest")
    found = want.format or ("native", "openssl")[salted]
    stated = manifest["profile"] if manifest else found
    native = (want.format or stated) == "native"
    magic = "part.magic" if native else "openssl.magic"
    check(want.format in (None, stated), magic, f"{want.id} is of another profile")
    fits = want.format or native or not (want.raw_key or want.secret or want.identity)
    check(fits, "key.open", f"{want.id} is of the openssl profile, which the given key does not fit")
    read_profile = read_native if native else read_openssl
    for content in read_profile(archive, manifest, want, limit):
        total += len(content)
        check(total <= limit, "stream.limit", f"the output is longer than {limit} bytes")
        yield content
    check(not manifest or manifest.get("content", total) == total, "stream.content", f"{want.id} holds {total} bytes")
    if not native and not manifest:
        print("warning[openssl.unauthenticated]: the content may have been changed", file=sys.stderr)

def read_set(want):
    """S1 to S12: a line for each member of a set, with its id, its root and its name as JSON."""
    archive = Archive(want.directory, want.id, ".set.json")
    found = load_set(archive, want.id)
    head, members = found["head"], found["members"]
    opened = want.allow_open and not (want.raw_key or want.secret or want.identity or want.passphrase_file or want.require_seal)
    check("open" not in head or opened, "key.open", f"{want.id} is not encrypted")  # S9
    prk = find_prk(archive, head, want)
    mac = hmac256(expand(prk, b"backstay/1 set"), found["sealed"]).hex()
    check(hmac.compare_digest(mac, found["seal"]["mac"]), "set.seal", f"the seal of {want.id} does not fit the key")
    names = [member["name"] for member in members]
    if "private" in found:
        sealed = unbase64(found["private"])
        facts = attempt(AESGCM(expand(prk, b"backstay/1 private")).decrypt, sealed[:12], sealed[12:], None)
        check(facts, "set.invalid", "the private facts do not open")
        names = json.loads(facts).get("members", names)
    for member, name in zip(members, names):  # S12
        there = member["id"] + ".json" in archive.sizes and attempt(load_manifest, archive, member["id"])
        check(there and there["root"] == member["root"], "set.incomplete", f"{name} is missing or another one")
        yield f"{member['id']} {member['root']} {json.dumps(name)}\n".encode()

# ---- Command line ----

def parse_identity(text):
    """An age X25519 identity: Bech32, whose checksum is not looked at, for a mistyped key opens nothing."""
    check(re.fullmatch("AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}", text), "usage.recipient", "not an age identity")
    bits = "".join(f"{'QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L'.index(char):05b}" for char in text[16:68])
    return X25519PrivateKey.from_private_bytes(int(bits[:256], 2).to_bytes(32, "big"))

def parse_raw_key(data):
    if re.fullmatch(rb"[0-9A-Fa-f]{64}\n?", data):
        return bytes.fromhex(data.decode())
    check(re.search(rb"[^ -~]", data), "usage.recipient", "a raw key is 64 hex digits or 32 random bytes")
    return parse_secret(data)

def parse_secret(data):
    check(len(data) == 32, "usage.recipient", f"a secret has 32 bytes, not {len(data)}")
    return data

def parse_passphrase(data):
    check(data.split(b"\n")[0], "key.passphrase", "an empty passphrase")
    return data.split(b"\n")[0]

FILES = {"raw_key": lambda data: [parse_raw_key(data)], "secret": lambda data: [parse_secret(data)],
         "passphrase_file": lambda data: [parse_passphrase(data)], "password_file": lambda data: data.split(b"\n")[:1],
         "identity": lambda data: list(map(parse_identity, re.findall("^[^#\\s]+", data.decode("latin-1"), re.M)))}
VALUES = {"root": {}, "format": {"choices": ["native", "openssl"]}, "md": {"choices": ["md5", "sha1", "sha256"]},
          "payload": {"choices": ["gzip", "raw"], "default": "gzip"}, "pbkdf2": {"type": int},
          "max_output": {"type": int}}

def arguments(words=None):
    parser = argparse.ArgumentParser(description="Writes the content of a Backstay archive to standard output.")
    parser.add_argument("directory")
    parser.add_argument("id")
    files = {name: {"action": "append", "default": [], "metavar": "FILE"} for name in FILES}
    flags = {name: {"action": "store_true"} for name in ("no_manifest", "allow_open", "require_seal", "set")}
    for name, how in (files | flags | VALUES).items():
        parser.add_argument("--" + name.replace("_", "-"), **how)
    return parser.parse_args(words)

def main():
    try:
        want = arguments()
        for name, parse in FILES.items():
            texts = [pathlib.Path(path).read_bytes() for path in getattr(want, name)]
            setattr(want, name, [key for text in texts for key in parse(text)])
        for content in (read_set if want.set else read)(want):
            sys.stdout.buffer.write(content)
    except (Failure, OSError) as error:
        code, message = error.args if isinstance(error, Failure) else ("io.failed", error)
        print(f"error[{code}]: {message}", file=sys.stderr)
        sys.exit(exit_status(code))

if __name__ == "__main__":
    main()
