#!/usr/bin/env python3
"""Writes ../vectors: small archives, whole and broken, with the outcome that the specification demands of every reader.

The expected codes stand in cases/, by hand, as they follow from the tables of archive.md and openssl.md; nothing is taken
from a reader. Two runs give the same bytes (with one version of zstandard and of zlib, whose compressed bytes are theirs to
choose).
"""

import pathlib
from cases import archives, headers, keys, manifests, openssl, sets, streams
from cases.vector import written

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"


def main():
    archives.good_archives()
    archives.damaged_bodies()
    archives.moved_and_edited()
    archives.segments()
    archives.names()
    archives.ranges_and_salvage()
    headers.header_lines()
    keys.keys()
    keys.open_archives()
    keys.signatures()
    manifests.manifests()
    manifests.chains()
    sets.sets()
    streams.streams()
    openssl.openssl_profile()
    for path in VECTORS.glob("*.txt"):
        if path.stem not in written:
            path.unlink()
    for name, text in written.items():
        (VECTORS / f"{name}.txt").write_bytes(text.encode())
    print(f"{len(written)} vectors, {sum(map(len, written.values()))} bytes")


if __name__ == "__main__":
    main()
