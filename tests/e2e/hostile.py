#!/usr/bin/env python3
"""Makes an archive that asks for much: `hostile.py KIND STORE`. Its key is a raw one, in the file `hostile.key`.

The largest manifests that a reader must take (128 MiB), and a stream that is 30,000 times as long as what is stored of it.
"""

import hashlib, pathlib, sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent / "spec" / "reference"))
from cases.vector import ID, RAW
from cases.writer import Native, frame, joined_frames

MANIFEST = 128 << 20
FRAME = 64 << 20
BEGINNING = f'{{"backstay":1,\n"id":"{ID}","profile":"native","kind":"full","created":"2025-02-21T09:26:40Z",\n'


def many(make, close):
    """A manifest whose last member goes on until there is no more room, or ten million times."""
    entries, room = [], MANIFEST - 4096
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


def main(kind, store):
    if kind == "bomb":
        objects = Native(stream=joined_frames([frame(bytes(FRAME))] * 60, [FRAME] * 60), seg=65536, segs=255).objects
    else:
        body = (BEGINNING + MANIFESTS[kind]()).encode()
        seal = f'"seal":{{"sha256":"{hashlib.sha256(body).hexdigest()}","mac":"{"0" * 64}"}}}}\n'
        objects = {**Native(b"x").objects, f"{ID}.json": body + seal.encode()}
    pathlib.Path(store).mkdir()
    for name, data in objects.items():
        (pathlib.Path(store) / name).write_bytes(data)
    pathlib.Path("hostile.key").write_text(RAW.split(" ")[1])
    print(ID)


main(*sys.argv[1:])
