"""What all cases share: how a vector is written, the archives that most damage is done to, and the tools for the damage."""

import re, textwrap
from .writer import *

SECONDS = GUID + "-1740130000"
OTHER = GUID + "-1740130000999"
RAW = "raw " + SECRET.hex()
ALICE, MALLORY = Identity("alice"), Identity("mallory")
SIGNER, FORGER = Signer("signer"), Signer("forger")
SIGNED_BY = "--signer " + b64(SIGNER.by)
BY_PARTS = ["--no-manifest"]
TEXT = b"".join(b"%06d the quick brown fox\n" % (n % 50) for n in range(22_000))  # three frames of 256 KiB, the last partial
CONTENT = random("content", 5200)  # three parts of 2, 2 and 2 segments, the last one partial
SHORT = b"hello backstay\n"
WHOLE = Native(CONTENT)  # the archive that most of the damage is done to
TRIPLE = Native(CONTENT[:2100], segs=1)  # three parts of one segment
SMALL = Native(SHORT)
L = WHOLE.length


written = {}


def pieces(data):
    """An object's bytes as the lines of a vector."""
    run = max((m.span() for m in re.finditer(rb"(.)\1{511,}", data, re.S)), key=lambda span: span[1] - span[0], default=None)
    if run:
        return pieces(data[: run[0]]) + [f"fill {data[run[0]]:02x} {run[1] - run[0]}"] + pieces(data[run[1] :])
    return [b64(data[i : i + 57]) for i in range(0, len(data), 57)]


def vector(
    name,
    note,
    objects,
    expect="ok",
    command="restore",
    args=(),
    keys=(RAW,),
    content=None,
    released=None,
    warn=None,
    archive=ID,
):
    """One file. `content` is what a restore that ends well gives; `released` bounds what one that fails may have given."""
    if expect == "ok" and command in ("restore", "set"):
        assert content is not None, name
    assert name not in written, name
    lines = [
        f"name: {name}",
        *(f"note: {line}" for line in textwrap.wrap(note, 120)),
        f"archive: {archive}",
        f"command: {command}",
    ]
    lines += [f"args: {option}" for option in args] + [f"key: {key}" for key in keys] + [f"expect: {expect}"]
    lines += [f"warn: {warn}"] if warn else []
    lines += [f"content-length: {len(content)}", f"content-sha256: {sha256(content)}"] if content is not None else []
    lines += [f"released: {released}"] if released is not None else []
    for object_name, data in objects.items():
        lines += ["", f"object {object_name} {len(data)}", *pieces(bytes(data))]
    written[name] = "\n".join(lines) + "\n"


def flip(data, at, mask=1):
    """Data with a bit of the byte at an offset changed; from the end if negative."""
    data = bytearray(data)
    data[at] ^= mask
    return bytes(data)


def replaced(objects, **changes):
    """Objects by name with those of some ends (`_0` for `-0`) replaced, or taken away by None."""
    result = dict(objects)
    id = next(iter(objects))[: len(ID)]
    for end, data in changes.items():
        key = id + end.replace("_", "-") if end != "json" else id + ".json"
        result.pop(key, None)
        if data is not None:
            result[key] = data
    return result


def renamed(objects, id):
    """The objects under the names of another archive."""
    return {id + name[len(ID) :]: data for name, data in objects.items()}


def in_headers(parts, old, new, only=None):
    """Parts in whose header lines a text was changed after they were sealed."""
    return [part.replace(old, new, 1) if only in (None, n) else part for n, part in enumerate(parts)]


def numbered(parts, id=ID):
    return {f"{id}-{n}": part for n, part in enumerate(parts)}


def edited_line(old, new):
    """A hook for Native: the first such text in a header line is another, and the spaces make up for it."""

    def edit(n, line):
        assert old in line
        changed = line.replace(old, new, 1).rstrip(b" \n")
        return changed.ljust(len(line) - 1) + b"\n"

    return edit
