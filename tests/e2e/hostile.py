#!/usr/bin/env python3
"""Makes an archive that asks for much: `hostile.py KIND STORE [N]`, or N of them, and prints their ids. The key is a raw one in the file
`hostile.key`, or the passphrase in `hostile.phrase`.

The largest manifests that a reader must take (128 MiB) and the largest sets (32 MiB), streams that are as long as a thousand or 30,000 times what is
stored of them, and slots and manifests that ask for years of key derivation.
"""

import hashlib, pathlib, struct, sys, types, zlib

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "spec" / "reference"))
from cases.sets import head, member
from cases.vector import GUID, ID, RAW, SECRET
from cases.writer import MEMBER, Native, Openssl, frame, joined_frames, passphrase_slot, root

PHRASE = b"hostile"
MANIFEST = 128 << 20
SET = 32 << 20
FRAME = 64 << 20


def beginning(id):
    return f'{{"backstay":1,\n"id":"{id}","profile":"native","kind":"full","created":"2025-02-21T09:26:40Z",\n'


def many(make, close, size=MANIFEST):
    """A document whose last member goes on until there is no more room, or ten million times."""
    entries, room = [], size - 4096
    for i in range(10_000_000):
        entry = make(i)
        room -= len(entry)
        if room < 0:
            break
        entries.append(entry)
    return "".join(entries)[:-1] + close


MANIFESTS = {
    "members": lambda: many(lambda i: f'"{i:x}":1,', ",\n"),
    "nested": lambda: '"x":{' + many(lambda i: f'"{i:x}":1,', "},\n"),
    "parts": lambda: '"needs":[],"parts":[' + many(lambda i: f'{{"n":{i},"size":1,"sha256":"{"0" * 64}"}},', "],\n"),
    "needs": lambda: '"needs":[' + many(lambda i: f'{{"id":"{ID}","root":"{"0" * 64}"}},', "],\n"),
    "crit": lambda: '"crit":[' + many(lambda i: '"x",', "],\n"),
    "deep": lambda: '"x":' + many(lambda i: "[", ",\n"),
}


# What a set goes on with; one of its members is some 200 bytes long.
SETS = {
    "set-members": lambda: '"members":[' + many(lambda i: set_member(i) + ",", "],\n", SET),
    "set-crit": lambda: '"members":[' + set_member(0) + '],"crit":[' + many(lambda i: '"x",', "],\n", SET),
    "set-deep": lambda: '"x":' + many(lambda i: "[", ",\n", SET),
}


def set_member(i):
    return member(f"{i:x}", types.SimpleNamespace(id=f"{GUID}-{1740130001001 + i}"), "database", "0" * 64)


def sealed(body):
    """With a seal whose hash is right, as anybody can make it."""
    return body + f'"seal":{{"sha256":"{hashlib.sha256(body).hexdigest()}","mac":"{"0" * 64}"}}}}\n'.encode()


def manifest(kind, id):
    return {**Native(b"x", id=id).objects, f"{id}.json": sealed((beginning(id) + MANIFESTS[kind]()).encode())}


def entries(id, count=1_000_000):
    """A manifest of so many parts, with which all is right but its seal, for which it takes the key."""
    archive = Openssl(b"x", id=id, password=PHRASE)
    before, rest = archive.document().split('"parts":[\n')
    lines = ",\n".join(f'{{"n":{n},"size":16,"sha256":"{"0" * 64}"}}' for n in range(count))
    after = rest[rest.index("],\n") :].replace(root(archive.parts), hashlib.sha256(bytes(32 * count)).hexdigest())
    before = before.replace(f'"stored":{len(archive.stream)}', f'"stored":{16 * count}')
    return {**archive.objects, f"{id}.json": sealed(f'{before}"parts":[\n{lines}{after}'.encode())}


def backup_set(kind, id):
    begins = f'{{"backstay_set":1,\n"id":"{id}",\n"created":"2026-01-31T02:00:00Z","finished":"2026-01-31T02:11:40Z",\n'
    body = begins + f'"head":{head()},\n"source":{{"type":"pg_dumpall"}},\n"name":"shop",\n"tags":[],\n' + SETS[kind]()
    return {f"{id}.set.json": sealed(body.encode())}


def gzip_bomb(frames):
    """One member of so many times 64 MiB of zeros."""
    zeros, packer = bytes(FRAME), zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(frames):
        crc = zlib.crc32(zeros, crc)
    end = packer.flush() + struct.pack("<II", crc, frames * FRAME & 0xFFFFFFFF)
    return MEMBER + piece * frames + end


def slots(kind):
    """Slots for a passphrase that say that they take 2^30 rounds, or, many of them, as many as are allowed."""
    if kind == "kdf":
        return Native(b"x", keys=[passphrase_slot(SECRET, PHRASE, "heavy", stated=30)]).committed()
    boxes = {f"{ID}.key.{m}": passphrase_slot(SECRET, b"other", f"heavy {m}", stated=20) for m in range(40)}
    return {**Native(b"x").committed(), **boxes}


def made(kind, id):
    if kind == "bomb":
        return Native(stream=joined_frames([frame(bytes(FRAME))] * 60, [FRAME] * 60), seg=65536, segs=255).objects
    if kind == "gzip-bomb":
        return Native(codec="gzip", stream=gzip_bomb(1) * 60, seg=65536, segs=255).objects
    if kind == "openssl-bomb":
        return Openssl(password=PHRASE, payload=gzip_bomb(60)).objects
    if kind in ("kdf", "kdf-boxes"):
        return slots(kind)
    if kind == "kdf-pbkdf2":
        archive = Openssl(b"x", password=PHRASE, md="sha256", pbkdf2=1)
        return archive.committed(text=archive.document().replace('"pbkdf2":1,', '"pbkdf2":4000000000,'))
    if kind == "entries":
        return entries(id)
    return backup_set(kind, id) if kind in SETS else manifest(kind, id)


def main(kind, store, count=1):
    pathlib.Path(store).mkdir(exist_ok=True)
    for n in range(int(count)):
        id = ID if n == 0 else f"{GUID}-{1740130000123 + n}"
        for name, data in made(kind, id).items():
            (pathlib.Path(store) / name).write_bytes(data)
        print(id)
    pathlib.Path("hostile.key").write_text(RAW.split(" ")[1])
    pathlib.Path("hostile.phrase").write_bytes(PHRASE)


main(*sys.argv[1:])
