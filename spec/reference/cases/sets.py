"""Backup sets (§8.8): what is wrong with the document, with its keys, and with its members."""

import json
from .vector import *

SET = GUID + "-1740130001000"
NAMES = ["globals", 'a "b"\n/ü']
ORDERS, GLOBALS = Native(b"orders\n", id=GUID + "-1740130001001"), Native(b"globals\n", id=GUID + "-1740130001002")
MEMBERS = [(NAMES[0], GLOBALS, "globals"), (NAMES[1], ORDERS, "database")]
SALT = random("set salt", 32)
COMMITTED = {**GLOBALS.committed(), **ORDERS.committed()}


def prk(secret=SECRET):
    return hmac256(SALT, secret)


def head(secret=SECRET, keys=(), more=""):
    commit = expand(prk(secret), b"backstay/1 commit").hex()
    keys = ",".join(f'"{b64(key)}"' for key in keys)
    return f'{{"salt":"{SALT.hex()}","commit":"{commit}","keys":[{keys}]{more}}}'


def member(name, archive, role, digest=None):
    text = {"name": name, "id": archive.id, "root": digest or root(archive.parts), "role": role}
    return json.dumps(text, separators=(",", ":"))


def text(lines=None, given_head=None, private=None, crit="[]", version=1, id=SET, more=""):
    lines = [member(*each) for each in MEMBERS] if lines is None else lines
    return "".join(
        [
            f'{{"backstay_set":{version},\n',
            f'"id":"{id}",\n',
            '"created":"2026-01-31T02:00:00Z","finished":"2026-01-31T02:11:40Z",\n',
            f'"head":{given_head or head()},\n',
            '"source":{"type":"pg_dumpall"},\n',
            '"name":"shop",\n',
            '"tags":[],\n',
            '"members":[\n' + ",\n".join(lines) + "],\n",
            more,
            f'"private":"{private}",\n' if private else "",
            f'"crit":{crit},\n',
        ]
    )


def sealed(document=None, secret=SECRET, label=b"backstay/1 set", **how):
    document = text(**how) if document is None else document
    return seal_manifest(SET, document, expand(prk(secret), label))


def listing(names=NAMES):
    lines = [(archive, name) for (_, archive, _), name in zip(MEMBERS, names)]
    return "".join(f"{archive.id} {root(archive.parts)} {json.dumps(name)}\n" for archive, name in lines).encode()


def sets():
    def case(name, note, document, expect="ok", stored=COMMITTED, names=NAMES, boxes=(), **more):
        more = {"content": listing(names) if expect == "ok" else None, "archive": SET, **more}
        objects = {**stored, SET + ".set.json": document}
        objects |= {f"{SET}.key.{m}": box for m, box in enumerate(boxes)}
        vector("set-" + name, note, objects, expect, "set", **more)

    good = sealed()
    case("good", "two members, one of them with an odd name", good)
    slot = ALICE.slot(SECRET, "set slot")
    case("slot", "the secret is in a slot of the set's own", sealed(given_head=head(keys=[slot])), keys=(f"identity {ALICE}",))
    case("keybox", "the secret is in a keybox of the set", good, boxes=[slot], keys=(f"identity {ALICE}",))
    case("no-key", "no key is given", good, "key.not-found", keys=())
    case("other-key", "the key of something else", good, "key.wrong", keys=("raw " + bytes(range(1, 33)).hex(),))
    nonce = random("set nonce", 12)
    facts = AESGCM(expand(prk(), b"backstay/1 private")).encrypt(nonce, json.dumps({"members": NAMES}).encode(), None)
    hidden = [member(str(n), archive, role) for n, (_, archive, role) in enumerate(MEMBERS)]
    case("hidden", "the names are for the holders of the key", sealed(lines=hidden, private=b64(nonce + facts)))
    case("hidden-damaged", "the private facts do not open", sealed(private=b64(nonce + flip(facts, 0))), "set.invalid")
    open_head = head(more=f',"open":"{SECRET.hex()}"')
    opened = sealed(given_head=open_head, crit='["open"]')
    case("open", "not encrypted, and that is allowed", opened, keys=(), args=["--allow-open"])
    case("open-not-allowed", "not encrypted, and that is not allowed", opened, "key.open", keys=())
    case("open-with-key", "not encrypted, and a key is given", opened, "key.open", args=["--allow-open"])
    case("open-unmarked", "`open` without a mark in `crit`", sealed(given_head=open_head), "set.invalid")
    case("marked-not-open", "a mark in `crit` without `open`", sealed(crit='["open"]'), "set.invalid")
    case(
        "open-with-slot",
        "a published secret and a slot",
        sealed(given_head=head(keys=[slot], more=f',"open":"{SECRET.hex()}"'), crit='["open"]'),
        "set.invalid",
    )

    case("changed", "a byte was changed after it was sealed", good.replace(b"shop", b"shoP"), "set.seal")
    case("forged", "sealed by one who lacks the key", seal_manifest(SET, text(), bytes(32)), "set.seal")
    case("label", "sealed with the key of manifests", sealed(label=b"backstay/1 manifest"), "set.seal")
    case("cut", "the last line is missing", text().encode(), "set.invalid")
    case("empty", "an empty object", b"", "set.invalid")
    case("manifest", "a manifest under the name of a set", GLOBALS.seal_manifest(), "set.invalid")
    case("version", "a later version", sealed(version=2), "format.unsupported")
    case("crit", "something that must be understood", sealed(crit='["topology"]'), "format.unsupported")
    case("reserved", "what is reserved for clusters and not in `crit`", sealed(more='"expect":["globals"],\n"require":2,\n'))
    case("renamed", "the set of another time", sealed(id=GUID + "-1740130001999"), "name.mismatch")
    case("no-members", "no member", sealed(lines=[]), "set.invalid")
    first, second = (member(*each) for each in MEMBERS)
    case("member-twice", "one archive twice", sealed(lines=[first, first.replace("globals", "other", 1)]), "set.invalid")
    same_name = [first, member("globals", ORDERS, "database")]
    case("name-twice", "two members of one name", sealed(lines=same_name), "set.invalid")
    case("itself", "a member with the set's id", sealed(lines=[first.replace(GLOBALS.id, SET), second]), "set.invalid")
    case("member-id", "a member's id is none", sealed(lines=[first.replace(GLOBALS.id, "globals")]), "set.invalid")
    case("member-name-empty", "a member without a name", sealed(lines=[member("", GLOBALS, "globals")]), "set.invalid")
    case("member-name-long", "1,025 bytes of name", sealed(lines=[member("n" * 1025, GLOBALS, "x")]), "set.invalid")
    case("sig-alone", "`sig` without `by`", sealed(given_head=head(more=f',"sig":"{b64(bytes(64))}"')), "set.invalid")
    case("without-created", "`created` is missing", sealed(text().replace('"created"', '"began"')), "set.invalid")

    case("missing", "nothing of a member is there", good, "set.incomplete", GLOBALS.committed())
    case("uncommitted", "a member has no manifest", good, "set.incomplete", {**GLOBALS.committed(), **ORDERS.objects})
    other = [first, member(NAMES[1], ORDERS, "database", root([b"x"]))]
    case("other-root", "a member is another archive than was meant", sealed(lines=other), "set.incomplete")
    damaged = {**COMMITTED, ORDERS.name: flip(COMMITTED[ORDERS.name], 40)}
    case("member-damaged", "a member's manifest is damaged", good, "set.incomplete", damaged)
    vector("set-absent", "there is no set of this id", COMMITTED, "archive.not-found", "set", archive=SET)
    vector("set-as-archive", "a set is no archive", {SET + ".set.json": good}, "archive.not-found", archive=SET)
