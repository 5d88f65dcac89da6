"""Slots, keyboxes, open archives and signatures."""

import hashlib, itertools, re
from .vector import *


def keys():
    alice, mallory = f"identity {ALICE}", f"identity {MALLORY}"
    phrase, wrong_phrase = "passphrase correct horse battery", "passphrase wrong horse battery"
    PHRASE, other_secret = b"correct horse battery", random("other secret", 32)

    def slots(name, note, keys, given, expect="ok", boxes={}, secret=SECRET, manifest=True, **hooks):
        archive = Native(SHORT, secret=secret, keys=keys, **hooks)
        objects = {
            **(archive.committed() if manifest else archive.objects),
            **{f"{ID}.key.{m}": box for m, box in boxes.items()},
        }
        vector(
            "key-" + name,
            note,
            objects,
            expect,
            keys=given,
            content=SHORT if expect == "ok" else None,
            released=None if expect == "ok" else 0,
            args=[] if manifest else BY_PARTS,
        )

    good = ALICE.slot(SECRET, "good")
    locked = passphrase_slot(SECRET, PHRASE, "locked")
    both = age_file(
        SECRET,
        "both",
        x25519_stanza(MALLORY.recipient, "both"),
        stanza("grease", "x", body=b"y" * 60),
        x25519_stanza(ALICE.recipient, "both", None),
    )

    slots("identity", "one X25519 slot", [good], [alice])
    slots("passphrase", "one scrypt slot, log N 10", [locked], [phrase])
    slots("two-recipients", "two X25519 stanzas and an unknown one in one age file", [both], [alice])
    slots("several-slots-identity", "a slot for an identity and one for a passphrase", [locked, good], [alice])
    slots("several-slots-passphrase", "the same, opened with the passphrase", [good, locked], [phrase])
    slots("several-given", "the right one of several identities", [good], [mallory, alice])
    slots("raw-for-archive-with-slots", "the secret itself is given", [good], [RAW])
    slots(
        "wrong-raw-and-identity",
        "a raw key that does not fit, and an identity that does",
        [good],
        ["raw " + other_secret.hex(), alice],
    )
    slots("detached", "no slot in the header, one keybox", [], [alice], boxes={0: good})
    slots("keybox-passphrase", "a keybox for a passphrase", [], [phrase], boxes={0: locked})
    slots("keybox-gap", "keyboxes .key.3 and .key.11", [], [alice], boxes={3: MALLORY.slot(SECRET, "gap"), 11: good})
    slots(
        "keybox-added",
        "the header is for another identity, a keybox was added",
        [MALLORY.slot(SECRET, "added")],
        [alice],
        boxes={0: good},
    )
    slots("keybox-by-parts", "keyboxes count without the manifest, too", [], [alice], boxes={0: good}, manifest=False)
    slots("keybox-padded-number", ".key.00 is no keybox", [], [alice], "key.not-found", boxes={"00": good})

    slots("none-given", "no key is given", [good], [], "key.not-found")
    slots("raw-wrong", "another raw key", [], ["raw " + other_secret.hex()], "key.wrong")
    slots("identity-without-slot", "the identity has no slot", [good], [mallory], "key.not-found")
    slots("identity-for-passphrase-slot", "only a scrypt slot, and an identity is given", [locked], [alice], "key.not-found")
    slots("passphrase-for-identity-slot", "only an X25519 slot, and a passphrase is given", [good], [phrase], "key.not-found")
    slots("passphrase-wrong", "another passphrase", [locked], [wrong_phrase], "key.wrong")
    slots(
        "raw-wrong-with-slots",
        "with raw keys alone, age files are not looked at: the damaged one is not noticed",
        [good[:50]],
        ["raw " + other_secret.hex()],
        "key.wrong",
    )
    slots(
        "password-is-no-passphrase", "a password of the openssl profile is no key", [locked], ["password KEY"], "key.not-found"
    )

    heavy = passphrase_slot(SECRET, PHRASE, "heavy", stated=30)
    slots("log-n-30", "a scrypt stanza asks for 2^30; no scrypt is run", [heavy], [phrase], "key.kdf-limit")
    slots(
        "log-n-21",
        "a scrypt stanza asks for 2^21",
        [passphrase_slot(SECRET, PHRASE, "heavy", stated=21)],
        [phrase],
        "key.kdf-limit",
    )
    slots("log-n-30-skipped", "the same beside a slot that opens", [heavy, good], [phrase, alice])
    slots(
        "log-n-30-not-asked", "the same with an identity without a slot: it is not tried", [heavy], [mallory], "key.not-found"
    )
    slots(
        "log-n-zero-first",
        "log N is written 010",
        [age_file(SECRET, "zero", scrypt_stanza(PHRASE, "zero", stated="010"))],
        [phrase],
        "key.invalid",
    )
    five = [passphrase_slot(SECRET, PHRASE, f"five {i}", stated=20) for i in range(5)]
    slots("five-passphrase-slots", "five scrypt slots of 2^20 in keys: none is tried", five, [phrase], "key.kdf-limit")
    slots(
        "two-passphrase-slots",
        "two scrypt slots in keys: none is tried, although both would open",
        [locked, passphrase_slot(SECRET, PHRASE, "locked too")],
        [phrase],
        "key.kdf-limit",
    )
    slots(
        "two-passphrase-slots-identity",
        "the same, and a slot for the identity",
        [locked, passphrase_slot(SECRET, PHRASE, "locked too"), good],
        [phrase, alice],
    )
    others = [passphrase_slot(SECRET, b"of somebody else", f"other {i}") for i in range(2)]
    slots(
        "second-passphrase-keybox",
        "the second scrypt slot among the keyboxes is tried",
        [],
        [phrase],
        boxes={0: others[0], 1: locked},
    )
    slots(
        "third-passphrase-keybox",
        "the third is not",
        [],
        [phrase],
        "key.kdf-limit",
        boxes={0: others[0], 1: others[1], 2: locked},
    )

    slots("secret-31", "the slot holds 31 bytes", [ALICE.slot(SECRET[1:], "31")], [alice], "key.invalid")
    slots("secret-33", "the slot holds 33 bytes", [ALICE.slot(SECRET + b"!", "33")], [alice], "key.invalid")
    slots("secret-empty", "the slot holds nothing", [ALICE.slot(b"", "0")], [alice], "key.invalid")
    slots("mac", "a bit of the age header's MAC is flipped", [ALICE.slot(SECRET, "mac", mac_flip=True)], [alice], "key.invalid")
    slots("payload", "a bit of the age payload is flipped", [flip(good, -1)], [alice], "key.invalid")
    slots("payload-cut", "the age payload is cut", [good[:-20]], [alice], "key.invalid")
    mixed = age_file(SECRET, "mixed", scrypt_stanza(PHRASE, "mixed"), x25519_stanza(ALICE.recipient, "mixed"))
    slots("scrypt-mixed", "a scrypt stanza beside another in one age file", [mixed], [alice], "key.invalid")
    slots("scrypt-mixed-passphrase", "the same with the passphrase", [mixed], [phrase], "key.invalid")
    for name, share in (("zero", bytes(32)), ("one", b"\1" + bytes(31))):
        nothing = hkdf(share + ALICE.recipient, bytes(32), b"age-encryption.org/v1/X25519")
        body = ChaCha20Poly1305(nothing).encrypt(bytes(12), random("share", 16), None)
        slot = age_file(SECRET, "share", stanza("X25519", unpadded(share), body=body))
        slots(
            f"share-{name}",
            "the ephemeral share gives an all-zero secret, and the rest fits it",
            [slot],
            [alice],
            "key.invalid",
        )
    share = re.search(rb"X25519 (\S+)", good)[1]
    noncanonical = share[:-1] + bytes([share[-1] + 1])
    slots(
        "share-not-canonical",
        "the share's base64 has spare bits set",
        [good.replace(share, noncanonical)],
        [alice],
        "key.invalid",
    )
    slots(
        "share-short",
        "a share of 31 bytes",
        [age_file(SECRET, "short", x25519_stanza(ALICE.recipient, "short", share=random("s", 31)))],
        [alice],
        "key.invalid",
    )

    def rewritten(label, old, new):
        """A slot for the passphrase or for Alice whose stanza is changed before its MAC is made."""
        text = scrypt_stanza(PHRASE, label) if "scrypt" in old else x25519_stanza(ALICE.recipient, label)
        assert re.search(old, text)
        return age_file(SECRET, label, re.sub(old, new, text, count=1))

    slots(
        "stanza-argument",
        "an X25519 stanza with a further argument, which would open",
        [rewritten("a", r"(-> X25519 \S+)", r"\1 x")],
        [alice],
        "key.invalid",
    )
    slots(
        "stanza-body-long",
        "an X25519 stanza with a body of 33 bytes",
        [rewritten("b", r"\n(\S+)\n$", r"\n\1A\n")],
        [alice],
        "key.invalid",
    )
    slots(
        "stanza-no-argument",
        "an X25519 stanza without a share",
        [rewritten("c", r"(-> X25519) \S+", r"\1")],
        [alice],
        "key.invalid",
    )
    slots(
        "scrypt-argument",
        "a scrypt stanza with a further argument, which would open",
        [rewritten("d", r"-> scrypt (\S+ \S+)", r"-> scrypt \1 x")],
        [phrase],
        "key.invalid",
    )
    slots(
        "scrypt-no-log-n",
        "a scrypt stanza without log N",
        [rewritten("e", r"-> scrypt (\S+) \S+", r"-> scrypt \1")],
        [phrase],
        "key.invalid",
    )
    salted = age_file(SECRET, "salt", scrypt_stanza(PHRASE, "salt", salt_size=15))
    slots("scrypt-salt-short", "a scrypt stanza with a salt of 15 bytes, which would open", [salted], [phrase], "key.invalid")
    slots(
        "scrypt-body-long",
        "a scrypt stanza with a body of 33 bytes",
        [rewritten("f", r"-> scrypt ([^\n]+)\n(\S+)\n", r"-> scrypt \1\n\2A\n")],
        [phrase],
        "key.invalid",
    )
    slots(
        "malformed-not-ours",
        "a malformed scrypt stanza does not matter to an identity",
        [rewritten("g", r"-> scrypt (\S+) \S+", r"-> scrypt \1"), good],
        [alice],
    )
    slots(
        "age-version-2",
        "an age file of another version",
        [good.replace(b"age-encryption.org/v1\n", b"age-encryption.org/v2\n", 1)],
        [alice],
        "key.invalid",
    )
    slots("age-junk", "a slot that is no age file", [random("junk", 100)], [alice], "key.invalid")
    grease = [stanza("grease", str(i), body=random(f"grease {i}", 32)) for i in range(64)]
    slots(
        "stanzas-64",
        "64 stanzas, the last is ours",
        [],
        [alice],
        boxes={0: age_file(SECRET, "64", *grease[1:], x25519_stanza(ALICE.recipient, "64"))},
    )
    slots(
        "stanzas-65",
        "65 stanzas",
        [],
        [alice],
        "key.invalid",
        boxes={0: age_file(SECRET, "65", *grease, x25519_stanza(ALICE.recipient, "65"))},
    )

    slots(
        "other-secret-then-good", "the first slot opens but does not fit commit", [ALICE.slot(other_secret, "o"), good], [alice]
    )
    slots("bad-mac-then-good", "the first slot is damaged", [ALICE.slot(SECRET, "mac", mac_flip=True), good], [alice])
    slots("31-bytes-then-good", "the first slot holds 31 bytes", [ALICE.slot(SECRET[1:], "31"), good], [alice])
    slots("junk-keybox", "a keybox is junk, the next one opens", [], [alice], boxes={0: b"junk", 1: good})
    slots("empty-keybox", "a keybox is empty, the next one opens", [], [alice], boxes={0: b"", 1: good})
    large = age_file(SECRET, "large", stanza("grease", "A" * 65_400, body=b""), x25519_stanza(ALICE.recipient, "large"))
    assert len(large) > 65536
    eight = [MALLORY.slot(SECRET, f"eight {i}") for i in range(7)] + [good]
    slots("eight-slots", "eight slots, the last is ours", eight, [alice])
    slots(
        "large-keybox",
        "a keybox of more than 64 KiB is damaged, even if it would open",
        [],
        [alice],
        "key.invalid",
        boxes={0: large},
    )
    slots(
        "forged-keybox",
        "a keybox with another secret: it opens, but does not fit",
        [],
        [alice],
        "key.wrong",
        boxes={0: ALICE.slot(other_secret, "forged")},
    )
    slots(
        "forged-keybox-beside-slot",
        "the same beside the true slot",
        [good],
        [alice],
        boxes={0: ALICE.slot(other_secret, "forged")},
    )
    mallorys = {m: MALLORY.slot(SECRET, f"box {m}") for m in range(17)}
    slots(
        "sixteen-keyboxes",
        "16 keyboxes, none of them ours",
        [],
        [mallory.replace(str(MALLORY), str(ALICE))],
        "key.not-found",
        boxes={m: mallorys[m] for m in range(16)},
    )
    slots("seventeen-keyboxes", "17 keyboxes, the sixteenth is ours", [], [alice], boxes={**mallorys, 15: good})
    slots(
        "seventeenth-keybox",
        "the seventeenth keybox is not looked at",
        [],
        [alice],
        "key.kdf-limit",
        boxes={**mallorys, 16: good},
    )
    slots("limited-before-damaged", "one slot limited, one damaged", [heavy, b"junk"], [phrase], "key.kdf-limit")
    slots("damaged-before-wrong", "one slot damaged, one refused", [b"junk", locked], [wrong_phrase], "key.invalid")
    slots(
        "wrong-before-not-found",
        "one slot refused, one not ours",
        [MALLORY.slot(SECRET, "n"), locked],
        [wrong_phrase, alice],
        "key.wrong",
    )


def open_archives():
    archive = Native(TRIPLE.content, segs=1, is_open=True)
    allowed = ["--allow-open"]
    vector("open", "an open archive, asked for", archive.committed(), args=allowed, keys=(), content=TRIPLE.content)
    vector(
        "open-by-parts",
        "the same without its manifest",
        archive.objects,
        args=allowed + BY_PARTS,
        keys=(),
        content=TRIPLE.content,
    )
    vector("open-not-allowed", "not asked for", archive.committed(), "key.open", keys=(), released=0)
    for name, key in (("raw-key", RAW), ("identity", f"identity {ALICE}"), ("passphrase", "passphrase x")):
        vector(
            f"open-with-{name}",
            "asked for, but a key is given: an encrypted archive may have been replaced by this one",
            archive.committed(),
            "key.open",
            args=allowed,
            keys=(key,),
            released=0,
        )
    vector(
        "open-with-seal",
        "asked for, but a seal is demanded, which anybody can make",
        archive.committed(),
        "key.open",
        args=allowed + ["--require-seal"],
        keys=(),
        released=0,
    )
    vector(
        "open-with-signer",
        "asked for, but a signer is given",
        archive.committed(),
        "key.open",
        args=allowed + [SIGNED_BY],
        keys=(),
        released=0,
    )
    vector(
        "open-key-not-allowed",
        "a key is given, and open archives are not asked for",
        archive.committed(),
        "key.open",
        released=0,
    )
    vector(
        "open-commit",
        "commit does not fit the published secret",
        Native(TRIPLE.content, segs=1, is_open=True, commit=random("c", 32)).objects,
        "key.wrong",
        args=allowed + BY_PARTS,
        keys=(),
        released=0,
    )
    vector(
        "open-flip",
        "tags are checked as in any archive",
        replaced(archive.objects, _1=flip(archive.parts[1], -1)),
        "segment.auth",
        args=allowed + BY_PARTS,
        keys=(),
    )
    vector(
        "open-allowed-not-open",
        "an encrypted archive without a key",
        TRIPLE.committed(),
        "key.not-found",
        args=allowed,
        keys=(),
        released=0,
    )
    vector("open-verify-full", "verify without a key does not ask", archive.committed(), command="verify full", keys=())


def signatures():
    alice, slot = f"identity {ALICE}", [ALICE.slot(SECRET, "signed")]
    signed = Native(SHORT, keys=slot, signer=SIGNER)

    def case(name, note, archive, expect="ok", args=(SIGNED_BY,), keys=(alice,), signer=SIGNER, command="restore", **more):
        objects = archive.committed(signer=signer)
        vector(
            "signed-" + name,
            note,
            objects,
            expect,
            command,
            args,
            keys,
            SHORT if expect == "ok" and command == "restore" else None,
            **more,
        )

    case("good", "signed by the demanded signer", signed)
    case("by-parts", "the header's signature suffices", signed, args=(SIGNED_BY, *BY_PARTS), signer=None)
    case("one-of-two", "one of two demanded signers", signed, args=("--signer " + b64(FORGER.by), SIGNED_BY))
    case("not-asked", "no signer is demanded: the signature is ignored", signed, args=())
    broken = b64(flip(SIGNER.sign("x"), 0))
    bad = Native(SHORT, keys=slot, extra={"by": b64(SIGNER.by), "sig": broken})
    case("bad-not-asked", "a bad signature is ignored, too", bad, args=())
    case("bad", "a bad signature", bad, "key.signer", released=0)
    case("missing", "not signed", Native(SHORT, keys=slot), "key.signer", released=0)
    case(
        "forged",
        "another's archive for the same recipient, signed by them",
        Native(SHORT, keys=slot, signer=FORGER),
        "key.signer",
        released=0,
    )
    case(
        "before-key",
        "the signature is judged before the keys are",
        Native(SHORT, keys=slot, signer=FORGER),
        "key.signer",
        keys=(),
    )
    fields = dict(re.findall(r'"(by|sig)":"([^"]+)"', signed.rest))
    stolen = Native(
        SHORT, secret=random("forger", 32), keys=[ALICE.slot(random("forger", 32), "stolen")], label="stolen ", extra=fields
    )
    case("copied", "by and sig are copied from a genuine archive into a forged one", stolen, "key.signer", released=0)
    claimed = Native(
        SHORT,
        keys=slot,
        extra={"by": b64(SIGNER.by), "sig": b64(FORGER.sign("backstay/1 sig", ID, signed.salt.hex(), signed.commit.hex()))},
    )
    case("claimed", "by is the signer, sig is another's", claimed, "key.signer", released=0)
    sig = SIGNER.sign("backstay/1 sig", ID, signed.salt.hex(), signed.commit.hex())
    s = int.from_bytes(sig[32:], "little") + (1 << 252) + 27742317777372353535851937790883648493
    large = Native(SHORT, keys=slot, extra={"by": b64(SIGNER.by), "sig": b64(sig[:32] + s.to_bytes(32, "little"))})
    case("large-s", "S of the signature is not below the group order", large, "key.signer", released=0)
    p, identity = (1 << 255) - 19, b"\1" + bytes(31)
    for name, point in (
        ("one", identity),
        ("one-with-sign", b"\1" + bytes(30) + b"\x80"),
        ("not-canonical", (p + 1).to_bytes(32, "little")),
        ("minus-one", (p - 1).to_bytes(32, "little")),
        ("zero", bytes(32)),
        ("zero-not-canonical", p.to_bytes(32, "little")),
        ("order-8", bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
        ("other-order-8", bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")),
    ):
        for attempt in itertools.count():  # R is the identity and S is 0, so k must be a multiple of the order of A
            label = f"weak {attempt} "
            salt, commit = random(label + "salt", 32), expand(hmac256(random(label + "salt", 32), SECRET), b"backstay/1 commit")
            message = f"backstay/1 sig\n{ID}\n{salt.hex()}\n{commit.hex()}\n".encode()
            if (
                int.from_bytes(hashlib.sha512(identity + point + message).digest(), "little")
                % ((1 << 252) + 27742317777372353535851937790883648493)
                % 8
                == 0
            ):
                break
        weak = Native(SHORT, keys=slot, label=label, extra={"by": b64(point), "sig": b64(identity + bytes(32))})
        case(
            f"weak-{name}",
            "a key of small order, for which this signature fits anything",
            weak,
            "key.signer",
            args=("--signer " + b64(point),),
            released=0,
        )
    case("seal", "without a key, the seal's signature counts", signed, command="verify full", keys=())
    case("seal-quick", "at level quick, too", signed, command="verify quick", keys=())
    case(
        "seal-missing",
        "the header is signed, the seal is not",
        signed,
        "key.signer",
        signer=None,
        command="verify full",
        keys=(),
    )
    case("seal-forged", "the seal is signed by another", signed, "key.signer", signer=FORGER, command="verify full", keys=())
    case("seal-not-asked", "the seal's signature is not asked for with a key", signed, signer=FORGER)
    other = Native(SHORT, id=OTHER, keys=slot, signer=SIGNER)
    old = re.search(rb',"by":.*(?=\}\})', other.seal_manifest(signer=SIGNER))[0]
    copied = signed.seal_manifest()[:-3] + old + b"}}\n"
    vector(
        "signed-seal-copied",
        "the seal's signature is another archive's",
        {**signed.objects, signed.name: copied},
        "key.signer",
        "verify full",
        (SIGNED_BY,),
        (),
    )
