"""The small writer behind make_vectors.py: whole archives in memory, with hooks to write them wrongly.

It is no model for a program that backs up: its randomness is fixed, so that the vectors are always the same, and it
holds everything in memory.
"""

import base64, hashlib, hmac, json, struct, zlib
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from zstandard import ZstdCompressor

GUID = "de2fe9e4-6535-423d-8709-dca87df7985c"
ID = GUID + "-1740130000123"
SECRET = bytes(range(32))
MEMBER = bytes.fromhex("1f8b08000000000000ff")
GZIP = bytes.fromhex("1f8b0800000000000003")  # as gzip -n writes it


def random(label, size):
    """Bytes that look random and are always the same for one label."""
    return hashlib.shake_256(label.encode()).digest(size)


def b64(data):
    return base64.b64encode(data).decode()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def hmac256(key, data):
    return hmac.digest(key, data, "sha256")


def expand(prk, info):
    return hmac256(prk, info + b"\1")


# ---- Inner streams ----


def frame(content, level=3):
    return ZstdCompressor(level=level, write_checksum=True, write_content_size=True).compress(content)


def raw_frame(content, header=None, checksum=None):
    """A data frame of raw blocks; with another header than `single segment, 4 bytes of size` or a wrong checksum if asked."""
    blocks = [content[i : i + 100_000] for i in range(0, len(content), 100_000)] or [b""]
    header = struct.pack("<BI", 0xA4, len(content)) if header is None else header
    body = b"".join(struct.pack("<I", len(block) << 3 | (i == len(blocks) - 1))[:3] + block for i, block in enumerate(blocks))
    return b"\x28\xb5\x2f\xfd" + header + body + (checksum or frame(content)[-4:])


def padding_frame(size):
    return struct.pack("<II", 0x184D2A50, size) + bytes(size)


def table(entries):
    """The seek table of (bytes of the frame, bytes of its content)."""
    body = b"".join(struct.pack("<II", *entry) for entry in entries) + struct.pack("<IBI", len(entries), 0, 0x8F92EAB1)
    return struct.pack("<II", 0x184D2A5E, len(body)) + body


def joined_frames(frames, sizes):
    return b"".join(frames) + table([(len(data), size) for data, size in zip(frames, sizes)])


def zstd_stream(content, c=1 << 21, padding=()):
    pieces = [content[i : i + c] for i in range(0, len(content), c)] or [b""]
    frames = [frame(piece) for piece in pieces] + [padding_frame(size) for size in padding]
    return joined_frames(frames, [len(piece) for piece in pieces] + [0] * len(padding))


def member(content, header=MEMBER):
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = deflate.compress(content) + deflate.flush()
    return header + data + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def gzip_stream(content, size=1 << 20):
    return b"".join(member(content[i : i + size]) for i in range(0, len(content) or 1, size))


# ---- age ----


def hkdf(salt, ikm, info):
    return expand(hmac256(salt, ikm), info)


def unpadded(data):
    return b64(data).rstrip("=")


def stanza(*args, body):
    text = unpadded(body)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join(["-> " + " ".join(args), *lines, *([""] if len(text) % 64 == 0 else [])]) + "\n"


def x25519_stanza(recipient, label, share=None):
    ephemeral = X25519PrivateKey.from_private_bytes(random(label + " ephemeral", 32))
    share = share if share is not None else ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    wrap = hkdf(share + recipient, shared, b"age-encryption.org/v1/X25519")
    return stanza("X25519", unpadded(share), body=ChaCha20Poly1305(wrap).encrypt(bytes(12), random(label, 16), None))


def scrypt_stanza(passphrase, label, log_n=10, stated=None, salt_size=16):
    """`stated` is the log N that the stanza claims; the work done is always that of `log_n`."""
    salt = random(label + " salt", salt_size)
    key = hashlib.scrypt(
        passphrase, salt=b"age-encryption.org/v1/scrypt" + salt, n=1 << log_n, r=8, p=1, dklen=32, maxmem=1 << 28
    )
    body = ChaCha20Poly1305(key).encrypt(bytes(12), random(label, 16), None)
    return stanza("scrypt", unpadded(salt), str(stated or log_n), body=body)


def age_file(secret, label, *stanzas, mac_flip=False):
    """An age file of stanzas that were made with the same label."""
    file_key, nonce = random(label, 16), random(label + " nonce", 16)
    head = ("age-encryption.org/v1\n" + "".join(stanzas) + "---").encode()
    mac = bytearray(hmac256(hkdf(b"", file_key, b"header"), head))
    mac[0] ^= mac_flip
    payload = ChaCha20Poly1305(hkdf(nonce, file_key, b"payload")).encrypt(bytes(11) + b"\1", secret, None)
    return head + b" " + unpadded(mac).encode() + b"\n" + nonce + payload


class Identity:
    """An age X25519 identity."""

    def __init__(self, label):
        self.secret = random(label + " identity", 32)
        self.recipient = X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    def slot(self, secret, label, **flaws):
        return age_file(secret, label, x25519_stanza(self.recipient, label), **flaws)

    def __str__(self):
        alphabet, prefix = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", "age-secret-key-"
        number = int.from_bytes(self.secret, "big") << 4
        data = [number >> 5 * (51 - place) & 31 for place in range(52)]
        checksum = 1
        for value in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + data + [0] * 6:
            top, checksum = checksum >> 25, (checksum & 0x1FFFFFF) << 5 ^ value
            for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
                checksum ^= generator if top >> bit & 1 else 0
        data += [(checksum ^ 1) >> 5 * (5 - place) & 31 for place in range(6)]
        return (prefix + "1" + "".join(alphabet[value] for value in data)).upper()


def passphrase_slot(secret, passphrase, label, **work):
    return age_file(secret, label, scrypt_stanza(passphrase, label, **work))


# ---- Archives ----


class Signer:
    def __init__(self, label):
        self.key = Ed25519PrivateKey.from_private_bytes(random(label + " signer", 32))
        self.by = self.key.public_key().public_bytes_raw()

    def sign(self, *lines):
        return self.key.sign("".join(line + "\n" for line in lines).encode())


class Native:
    """An archive of the native profile: `parts` are its objects' bytes, `objects` the same by name.

    The hooks: `line(n, line)` changes a header line before its part is sealed under it; `flag(n, number, flag)` the flag of a
    segment; `stream` stands in for the compressed content; `rest` changes the text of <rest>.
    """

    def __init__(
        self,
        content=b"",
        id=ID,
        secret=SECRET,
        aead="aes-256-gcm",
        codec="zstd",
        seg=1024,
        segs=2,
        keys=(),
        label="",
        kind=None,
        is_open=False,
        signer=None,
        crit=None,
        extra=None,
        stream=None,
        commit=None,
        rest=None,
        line=None,
        flag=None,
        cut=None,
    ):
        self.id, self.secret, self.seg, self.segs, self.aead, self.content = id, secret, seg, segs, aead, content
        self.label, self.kind = label, kind or "full"
        self.salt = random(label + "salt", 32)
        self.prk = hmac256(self.salt, secret)
        self.commit = commit or expand(self.prk, b"backstay/1 commit")
        fields = {
            "salt": self.salt.hex(),
            "commit": self.commit.hex(),
            "aead": aead,
            "codec": codec,
            "seg": seg,
            "segs": segs,
            "keys": [b64(key) for key in keys],
        }
        fields.update({"kind": kind} if kind else {})
        fields.update({"open": secret.hex()} if is_open else {})
        if signer:
            signature = signer.sign("backstay/1 sig", id, self.salt.hex(), self.commit.hex())
            fields.update({"by": b64(signer.by), "sig": b64(signature)})
        crit = crit if crit is not None else ["open"] if is_open else None
        fields.update(extra or {})
        fields.update({"crit": crit} if crit is not None else {})
        self.rest = json.dumps(fields, separators=(",", ":"))[1:-1]
        self.rest = rest(self.rest) if rest else self.rest
        self.length = len(self.text(9_999_999)) + 1
        self.stream = stream if stream is not None else zstd_stream(content) if codec == "zstd" else gzip_stream(content)
        capacity = seg * segs
        plain = [self.stream[i : i + capacity] for i in range(0, len(self.stream), capacity)] if cut is None else cut
        self.parts = []
        for n, data in enumerate(plain):
            header = (self.text(n).ljust(self.length - 1) + "\n").encode()
            header = line(n, header) if line else header
            pieces = [data[i : i + seg] for i in range(0, len(data), seg)] if isinstance(data, bytes) else data
            flags = [0] * (len(pieces) - 1) + [2 if n == len(plain) - 1 else 1]
            flags = [flag(n, number, value) for number, value in enumerate(flags)] if flag else flags
            self.parts.append(header + self.seal(header, pieces, flags))

    def rnd(self, n):
        return random(f"{self.label}rnd {n}", 16).hex()

    def text(self, n):
        return f'BACKSTAY1 {{"id":"{self.id}","part":{n},"rnd":"{self.rnd(n)}",{self.rest}}}'

    def seal(self, header, pieces, flags):
        key = expand(self.prk, b"backstay/1 part" + hashlib.sha256(header).digest())
        aead = ChaCha20Poly1305(key) if self.aead == "chacha20-poly1305" else AESGCM(key)
        nonces = (struct.pack(">3xBQ", flag, number) for number, flag in enumerate(flags))
        return b"".join(aead.encrypt(nonce, piece, None) for nonce, piece in zip(nonces, pieces))

    @property
    def objects(self):
        return {f"{self.id}-{n}": part for n, part in enumerate(self.parts)}

    @property
    def name(self):
        return self.id + ".json"

    def head(self):
        return f'{{{self.rest},"len":{self.length}}}'

    def document(self, content=True, needs=(), members="", private=None):
        """The sealed bytes of the manifest, as text."""
        lines = [
            f'{{"n":{n},"size":{len(part)},"rnd":"{self.rnd(n)}","sha256":"{sha256(part)}"}}'
            for n, part in enumerate(self.parts)
        ]
        return document(self, "native", f'"head":{self.head()},\n', lines, content, needs, members, private)

    def seal_manifest(self, text=None, signer=None, **members):
        text = self.document(**members) if text is None else text
        return seal_manifest(self.id, text, expand(self.prk, b"backstay/1 manifest"), signer)

    def committed(self, **manifest):
        """All objects, the manifest among them."""
        return {**self.objects, self.name: self.seal_manifest(**manifest)}


def root(parts):
    return sha256(b"".join(hashlib.sha256(part).digest() for part in parts))


def document(archive, profile, facts, lines, content, needs, members, private):
    needs = json.dumps([{"id": id, "root": root} for id, root in needs], separators=(",", ":"))
    return "".join(
        [
            '{"backstay":1,\n',
            f'"id":"{archive.id}",\n',
            f'"profile":"{profile}",\n',
            f'"kind":"{archive.kind}",\n',
            '"created":"2025-02-21T09:26:40Z",\n',
            '"finished":"2025-02-21T09:26:41Z",\n',
            facts,
            '"source":{"type":"stream"},\n',
            members,
            f'"stored":{sum(map(len, archive.parts))}',
            f',"content":{len(archive.content)},\n' if content else ",\n",
            f'"needs":{needs},\n',
            '"parts":[\n',
            ",\n".join(lines),
            "],\n",
            f'"root":"{root(archive.parts)}",\n',
            f'"private":"{private}",\n' if private is not None else "",
            '"crit":[],\n',
        ]
    )


def seal_manifest(id, text, seal_key, signer=None):
    sealed = text if isinstance(text, bytes) else text.encode()
    signature = ""
    if signer:
        signature = signer.sign("backstay/1 seal", "archive", id, sha256(sealed))
        signature = f',"by":"{b64(signer.by)}","sig":"{b64(signature)}"'
    return sealed + f'"seal":{{"sha256":"{sha256(sealed)}","mac":"{hmac256(seal_key, sealed).hex()}"{signature}}}}}\n'.encode()


class Openssl:
    """An archive of the openssl profile, cut at the given offsets of its stream. `spell` writes an index into a name."""

    def __init__(
        self,
        content=b"",
        id=ID,
        password=b"KEY",
        salt=bytes.fromhex("0102030405060708"),
        md="md5",
        pbkdf2=0,
        payload=None,
        raw=False,
        cuts=(),
        first=0,
        spell=str,
        single=False,
        padding=None,
    ):
        self.id, self.md, self.pbkdf2, self.salt, self.content, self.kind = id, md, pbkdf2, salt, content, "full"
        self.payload, self.single, self.first = "raw" if raw else "gzip", single, first
        data = payload if payload is not None else content if raw else member(content, GZIP)
        self.key = key = derive(password, salt, md, pbkdf2)
        count = 16 - len(data) % 16
        data += bytes([count]) * count if padding is None else padding(count)
        encrypt = Cipher(algorithms.AES(key[:32]), modes.CBC(key[32:])).encryptor()
        self.stream = b"Salted__" + salt + encrypt.update(data)
        edges = [0, *cuts, len(self.stream)]
        self.parts = [self.stream[start:end] for start, end in zip(edges, edges[1:])]
        self.names = [id] if single else [f"{id}-{spell(first + i)}" for i in range(len(self.parts))]

    @property
    def objects(self):
        return dict(zip(self.names, self.parts))

    @property
    def name(self):
        return self.id + ".json"

    def document(self, content=True, members="", payload=None):
        lines = [f'{{"n":{self.first + i},"size":{len(part)},"sha256":"{sha256(part)}"}}' for i, part in enumerate(self.parts)]
        single = ',"single":true' if self.single else ""
        facts = f'"openssl":{{"md":"{self.md}","pbkdf2":{self.pbkdf2},"salt":"{self.salt.hex()}","payload":"{payload or self.payload}"{single}}},\n'
        return document(self, "openssl", facts, lines, content, (), members, None)

    def seal_manifest(self, text=None, signer=None, **members):
        text = self.document(**members) if text is None else text
        return seal_manifest(self.id, text, hkdf(self.salt, self.key, b"backstay/1 openssl seal"), signer)

    def committed(self, **manifest):
        return {**self.objects, self.name: self.seal_manifest(**manifest)}


def derive(password, salt, md, iterations):
    if iterations:
        return hashlib.pbkdf2_hmac(md, password, salt, iterations, 48)
    blocks = [b""]
    while len(blocks) < 5:
        blocks.append(hashlib.new(md, blocks[-1] + password + salt).digest())
    return b"".join(blocks)[:48]
