"""Inner streams that are sealed well and written badly."""

import struct, zlib
from .vector import *


def streams():
    K = 1 << 10

    def case(name, note, stream, expect="ok", codec="zstd", content=None, released=None, args=(), **hooks):
        archive = Native(content or b"", codec=codec, stream=stream, seg=65536, segs=255, **hooks)
        vector(f"{codec}-{name}", note, archive.committed(content=False), expect, args=args, content=content, released=released)

    data, single = random("stream", 700), b"\x28\xb5\x2f\xfd\xa4"

    def one(frame_bytes, size=len(data)):
        return joined_frames([frame_bytes], [size])

    good = zstd_stream(data)
    frame_length, tail = len(frame(data)), table([(len(frame(data)), len(data))])

    case("raw-frame", "a frame as the vectors below damage it", one(raw_frame(data)), content=data)
    case("frame-cut", "the stream ends inside a frame, and is sealed like that", good[:500], "stream.invalid", released=0)
    case("frame-checksum-cut", "the stream ends inside the checksum", good[: frame_length - 1], "stream.invalid", released=0)
    case("frame-header-cut", "the stream ends in the header of its first frame", frame(data)[:5], "stream.invalid", released=0)
    case("frame-magic-only", "the stream is the magic of a frame", frame(data)[:4], "stream.invalid", released=0)
    case("table-missing", "the stream ends before the seek table", good[:frame_length], "stream.invalid", released=700)
    case("table-cut", "the stream ends inside the seek table", good[:-1], "stream.invalid", released=700)
    case("table-magic-cut", "two bytes of the seek table are there", good[: frame_length + 2], "stream.invalid", released=700)
    case("table-first", "a seek table without frames", table([]), "stream.invalid", released=0)
    case("empty-stream-of-junk", "neither frame nor table", b"junk", "stream.invalid", released=0)
    case("gzip-inside", "the codec is zstd, the stream is gzip", gzip_stream(data), "stream.invalid", released=0)
    case("trailing-byte", "a byte follows the seek table", good + b"\0", "stream.trailing", released=700)
    case("second-table", "the seek table stands twice", good + tail, "stream.trailing", released=700)
    case("second-stream", "another stream follows", good + good, "stream.trailing", released=700)
    lies = {
        "length": table([(frame_length + 1, 700)]),
        "content": table([(frame_length, 701)]),
        "count": table([(frame_length, 700), (0, 0)]),
        "no-entry": table([]),
        "flags": tail[:-5] + b"\x80" + tail[-4:],
        "footer": flip(tail, -1),
        "frame-size": flip(tail, 4),
        "entries": flip(tail, -9),
        "magic": flip(tail, 0),
    }
    for name, lie in lies.items():
        case(
            f"table-lies-{name}",
            "the seek table is not the one of the frames",
            good[:frame_length] + lie,
            "stream.invalid",
            released=700,
        )
    case(
        "table-checksums",
        "a seek table with checksums",
        good[:frame_length]
        + struct.pack("<IIIII", 0x184D2A5E, 21, frame_length, 700, 7)
        + struct.pack("<IBI", 1, 128, 0x8F92EAB1),
        "stream.invalid",
        released=700,
    )

    case("padded", "one padding frame; content is not in the manifest", zstd_stream(data, padding=[900]), content=data)
    case("padded-twice", "two padding frames", zstd_stream(data, padding=[10, 2000]), content=data)
    case(
        "padded-empty",
        "a padding frame without a byte, behind a stream without content",
        zstd_stream(b"", padding=[0]),
        content=b"",
    )
    odd = struct.pack("<II", 0x184D2A50, 9) + b"not zeros"
    case(
        "padded-not-zero",
        "readers skip the bytes of a padding frame unread",
        joined_frames([frame(data), odd], [700, 0]),
        content=data,
    )
    case(
        "padding-first",
        "a padding frame before the data",
        joined_frames([padding_frame(9), frame(data)], [0, 700]),
        "stream.invalid",
        released=0,
    )
    same = random("same", 300)
    case(
        "padding-between",
        "a padding frame between data frames",
        joined_frames([frame(same), padding_frame(9), frame(same)], [300, 0, 300]),
        "stream.invalid",
        released=300,
    )
    case(
        "padding-not-in-table",
        "the padding frame has no entry",
        frame(data) + padding_frame(9) + tail,
        "stream.invalid",
        released=700,
    )
    case(
        "padding-cut",
        "the stream ends inside the padding",
        frame(data) + padding_frame(99)[:50],
        "stream.invalid",
        released=700,
    )
    case(
        "other-skippable",
        "a skippable frame of another magic",
        joined_frames([frame(data), b"\x51" + padding_frame(9)[1:]], [700, 0]),
        "stream.invalid",
        released=700,
    )

    def head(descriptor, *rest):
        return bytes([descriptor]) + b"".join(rest)

    four, eight = struct.pack("<I", 700), struct.pack("<Q", 700)
    for name, note, header, expect in (
        ("no-checksum", "the checksum flag is not set", head(0xA0, four), "stream.invalid"),
        ("dictionary-id", "a dictionary id of one byte", head(0xA5, b"\7", four), "stream.invalid"),
        (
            "dictionary-id-zero",
            "a dictionary id of one byte, 0: none is meant, but the field is there",
            head(0xA5, b"\0", four),
            "stream.invalid",
        ),
        ("reserved-bit", "the reserved bit is set", head(0xAC, four), "stream.invalid"),
        ("no-content-size", "no content size", head(0x04, b"\0"), "stream.limit"),
        ("no-content-size-no-checksum", "neither: Z2 comes before Z3", head(0x00, b"\0"), "stream.invalid"),
        ("content-1-gib", "a content size of 1 GiB", head(0xA4, struct.pack("<I", 1 << 30)), "stream.limit"),
        (
            "content-above-64-mib",
            "a content size of 64 MiB and a byte",
            head(0xA4, struct.pack("<I", (64 << 20) + 1)),
            "stream.limit",
        ),
        ("content-2-to-the-63", "a content size of 2^63", head(0xE4, struct.pack("<Q", 1 << 63)), "stream.limit"),
        ("window-log-31", "a window of 2 GiB", head(0x84, bytes([21 << 3]), four), "stream.limit"),
        ("window-above-128-mib", "a window of 128 MiB and an eighth", head(0x84, bytes([17 << 3 | 1]), four), "stream.limit"),
        (
            "content-size-larger",
            "the content size is one more than there is",
            head(0xA4, struct.pack("<I", 701)),
            "stream.invalid",
        ),
        (
            "content-size-smaller",
            "the content size is one less than there is",
            head(0xA4, struct.pack("<I", 699)),
            "stream.invalid",
        ),
    ):
        stated = struct.unpack("<I", header[1:])[0] if len(header) == 5 else 700
        case(name, note, one(raw_frame(data, header), stated & 0xFFFFFFFF), expect, released=0)
    for name, note, header in (
        ("window-byte", "a window byte, and a content size of four bytes", head(0x84, b"\0", four)),
        ("window-128-mib", "a window of 128 MiB, the most", head(0x84, bytes([17 << 3]), four)),
        ("content-size-2-bytes", "a content size of two bytes", head(0x64, struct.pack("<H", 700 - 256))),
        ("content-size-8-bytes", "a content size of eight bytes", head(0xE4, eight)),
        ("unused-bit", "the unused bit of the descriptor is set", head(0xB4, four)),
    ):
        case(name, note, one(raw_frame(data, header)), content=data)
    tiny = data[:200]
    case("content-size-1-byte", "a content size of one byte", one(raw_frame(tiny, head(0x24, b"\xc8")), 200), content=tiny)
    case(
        "no-content-size-byte",
        "a content size of one byte without single segment does not exist",
        one(raw_frame(tiny, head(0x04, b"\0", b"\xc8")), 200),
        "stream.limit",
        released=0,
    )
    case("checksum-wrong", "the checksum is wrong", one(raw_frame(data, checksum=flip(frame(data)[-4:], 0))), "stream.invalid")
    reserved = bytearray(raw_frame(data))
    reserved[9] |= 6
    case("block-reserved", "a block of the reserved type", one(bytes(reserved)), "stream.invalid", released=0)
    empty = raw_frame(b"")
    case(
        "empty-frame-checksum-wrong",
        "a frame without content and a wrong checksum",
        one(raw_frame(b"", checksum=b"abcd"), 0),
        "stream.invalid",
    )
    case("empty-frame-raw", "a frame without content, of another form", one(empty, 0), content=b"")
    case(
        "run-block",
        "content of one run block",
        one(single + four + struct.pack("<I", 700 << 3 | 3)[:3] + b"\0" + frame(bytes(700))[-4:]),
        content=bytes(700),
    )
    zeros = struct.pack("<I", (128 * K) << 3 | 2)[:3] + b"\0"
    bomb = single + four + zeros * 1000 + struct.pack("<I", 1)[:3] + b"abcd"
    case("bomb-in-frame", "a frame that says 700 bytes and decodes to 125 MiB", one(bomb), "stream.invalid")

    def frames(*sizes):
        return joined_frames([frame(random(f"f{i}", size)) for i, size in enumerate(sizes)], sizes)

    def content(*sizes):
        return b"".join(random(f"f{i}", size) for i, size in enumerate(sizes))

    case("frames-equal", "readers do not check the lower bound of c", frames(300, 300, 300), content=content(300, 300, 300))
    case("frames-last-shorter", "the last frame is shorter", frames(300, 300, 1), content=content(300, 300, 1))
    case("frames-second-larger", "the second frame is larger", frames(300, 301), "stream.invalid", released=601)
    case("frames-middle-shorter", "a middle frame is shorter", frames(300, 299, 300), "stream.invalid", released=899)
    case(
        "frames-middle-shorter-twice",
        "a middle frame is shorter, and the next is like it",
        frames(300, 299, 299),
        "stream.invalid",
        released=898,
    )
    case("frames-last-empty", "the last frame is empty", frames(300, 0), "stream.invalid", released=300)
    case("frames-first-empty", "the first frame of several is empty", frames(0, 300), "stream.invalid", released=300)
    case("frames-both-empty", "two empty frames", frames(0, 0), "stream.invalid")

    large = bytes(64 << 20)
    case("frame-64-mib", "a frame of 64 MiB, the most", joined_frames([frame(large)], [len(large)]), content=large)
    quarters = bytes(1 << 20)
    limit = zstd_stream(quarters, c=1 << 18)
    case(
        "max-output",
        "a bomb: 1 MiB of zeros, and a limit of 600,000 bytes",
        limit,
        "stream.limit",
        args=["--max-output 600000"],
        released=600_000,
    )
    case("max-output-exact", "the limit is exactly the content", limit, content=quarters, args=["--max-output 1048576"])
    case(
        "max-output-one-less",
        "the limit is one byte less",
        limit,
        "stream.limit",
        args=["--max-output 1048575"],
        released=1_048_575,
    )
    case(
        "max-output-before-decoding",
        "the limit is judged before the frame is decoded, whose checksum is wrong",
        one(raw_frame(data, checksum=b"abcd")),
        "stream.limit",
        args=["--max-output 699"],
        released=0,
    )
    case("max-output-zero", "a limit of 0 and no content", zstd_stream(b""), content=b"", args=["--max-output 0"])

    def gz(name, note, stream, expect="ok", **more):
        case(name, note, stream, expect, codec="gzip", **more)

    one_member = member(data)
    gz("member-cut", "the stream ends inside a member, and is sealed like that", one_member[:300], "stream.invalid")
    gz("trailer-cut", "the stream ends inside a member's ISIZE", one_member[:-1], "stream.invalid")
    gz(
        "second-member-cut",
        "the stream ends inside the header of the second member",
        one_member * 2 + MEMBER[:5],
        "stream.invalid",
    )
    gz("empty-stream", "junk", b"junk", "stream.invalid", released=0)
    gz("zstd-inside", "the codec is gzip, the stream is zstd", good, "stream.invalid", released=0)
    gz("crc", "the CRC is wrong", flip(one_member, -8), "stream.invalid")
    gz("isize", "ISIZE is wrong", flip(one_member, -4), "stream.invalid")
    gz("deflate", "a deflate block of the reserved type", MEMBER + b"\x07" + one_member[11:], "stream.invalid", released=0)
    gz("trailing-byte", "a zero byte follows the last member", one_member + b"\0", "stream.trailing", released=700)
    gz("trailing-1f", "the byte 1f follows the last member", one_member + b"\x1f", "stream.trailing", released=700)
    gz("trailing-junk", "other bytes follow the last member", one_member + b"junk and more", "stream.trailing", released=700)
    gz("trailing-zeros", "many zero bytes follow the last member", one_member + bytes(512), "stream.trailing", released=700)
    for name, header in (
        ("mtime", "1f8b08000000000100ff"),
        ("os", "1f8b0800000000000003"),
        ("xfl", "1f8b08000000000002ff"),
        ("name", "1f8b08080000000000ff7800"),
        ("method", "1f8b07000000000000ff"),
    ):
        gz(
            f"header-{name}",
            "the first member has another header",
            member(data, bytes.fromhex(header)),
            "stream.invalid",
            released=0,
        )
        gz(
            f"second-header-{name}",
            "the second member has another header",
            one_member + member(data, bytes.fromhex(header)),
            "stream.invalid",
            released=700,
        )
    gz("empty-member-between", "members without content are allowed", one_member + member(b"") + one_member, content=data * 2)
    stored = MEMBER + b"\1" + struct.pack("<HH", 40, 40 ^ 0xFFFF) + (MEMBER * 4)
    stored += struct.pack("<II", zlib.crc32(MEMBER * 4), 40)
    gz(
        "header-in-data",
        "the ten bytes of a header stand inside compressed data",
        stored + one_member,
        content=MEMBER * 4 + data,
    )
    gz("member-above-64-mib", "a member of 64 MiB and a byte", member(large + b"\0"), "stream.limit", released=64 << 20)
    gz(
        "max-output",
        "a bomb: 1 MiB of zeros, and a limit of 600,000 bytes",
        member(quarters),
        "stream.limit",
        args=["--max-output 600000"],
        released=600_000,
    )
    gz(
        "max-output-exact",
        "the limit is exactly the content",
        member(quarters),
        content=quarters,
        args=["--max-output 1048576"],
    )
