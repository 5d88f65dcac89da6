#!/usr/bin/env python3
"""Runs the reference reader over ../vectors (see the README there): one line for each vector that fails, then the totals.

The exit status is 1 on any failure, and if fewer vectors are found than there must be.
"""

import base64, contextlib, hashlib, io, pathlib, re, sys, tempfile
import read

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
AT_LEAST = 120
FIELDS = {"name", "note", "archive", "command", "args", "key", "expect", "warn", "content-length", "content-sha256", "released"}
REPEATED = {"note", "args", "key"}
COMMANDS = {"restore", "verify quick", "verify full", "verify deep", "salvage", "set"}
READ = {"restore": read.read, "set": read.read_set}
LACKING = {"--range", "--receipt", "--signer"}
NEIGHBOURS = {"manifest", "chain", "format", "openssl"}  # families in which another code than the demanded one will do
PASSED_OVER, INEXACT = "passed over", "inexact"
ERRORS = VECTORS.parent / "errors.md"


class Broken(Exception):
    """The vector itself is not as its README demands."""


def parse(text, name):
    """The fields of a vector, the repeated ones as lists, and its objects."""
    fields, objects, lengths, current = {field: [] for field in REPEATED}, {}, {}, None
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        if line.startswith("object "):
            _, current, length = line.split(" ")
            if current in objects:
                raise Broken(f"object {current} stands twice")
            objects[current], lengths[current] = bytearray(), int(length)
        elif current is None:
            field, value = line.split(": ", 1)
            if field not in FIELDS or field in fields and field not in REPEATED:
                raise Broken(f"field {field} is unknown or stands twice")
            if field in REPEATED:
                fields[field].append(value)
            else:
                fields[field] = value
        elif line.startswith("fill "):
            _, value, count = line.split(" ")
            objects[current] += bytes.fromhex(value) * int(count)
        elif len(line) > 76 or len(line) % 4:
            raise Broken(f"a line of {len(line)} characters of base64")
        else:
            objects[current] += base64.b64decode(line, validate=True)
    for required in ("name", "archive", "command", "expect"):
        if required not in fields:
            raise Broken(f"field {required} is missing")
    if fields["name"] != name or not text.endswith("\n") or "\r" in text:
        raise Broken("the name is not that of the file, or lines do not end in LF")
    for key, data in objects.items():
        if len(data) != lengths[key]:
            raise Broken(f"object {key} has {len(data)} bytes, not {lengths[key]}")
    if fields["command"] in READ and fields["expect"] == "ok" and not {"content-length", "content-sha256"} <= set(fields):
        raise Broken("expects ok without the content")
    return fields, {key: bytes(data) for key, data in objects.items()}


def options(fields, directory):
    """The reader's options, as its command line would make them; None if it lacks one."""
    if any(option.split(" ")[0] in LACKING for option in fields["args"]):
        return None
    words = [word for option in fields["args"] for word in option.split(" ", 1)]
    want = read.arguments([directory, "--", fields["archive"]] if not words else [*words, "--", directory, fields["archive"]])
    for key in fields["key"]:
        kind, secret = key.split(" ", 1)
        if kind == "raw":
            want.raw_key.append(bytes.fromhex(secret))
        elif kind == "identity":
            want.identity.append(read.parse_identity(secret))
        elif kind == "passphrase":
            want.passphrase_file.append(secret.encode())
        elif kind == "password":
            want.password_file.append(secret.encode())
        else:
            raise Broken(f"a key of kind {kind}")
    return want


def run(fields, objects, directory):
    """What differs from what the vector demands, or None. PASSED_OVER if the reader lacks the command or an option, INEXACT if
    it refuses as it must, with another code of a family in which that is allowed."""
    if fields["command"] not in COMMANDS:
        raise Broken(f"command {fields['command']}")
    want = options(fields, directory)
    if fields["command"] not in READ or want is None:
        return PASSED_OVER
    for name, data in objects.items():
        (pathlib.Path(directory) / name).write_bytes(data)
    content, warnings, outcome, length = hashlib.sha256(), io.StringIO(), "ok", 0
    try:
        with contextlib.redirect_stderr(warnings):
            for piece in READ[fields["command"]](want):
                content.update(piece)
                length += len(piece)
    except read.Failure as failure:
        outcome = failure.args[0]
        status = read.exit_status(outcome)
        if codes().get(outcome) != status:
            return f"exit status {status} for {outcome}, not {codes().get(outcome)}"
    expected = fields["expect"]
    if outcome != expected and ("ok" in (outcome, expected) or expected.split(".")[0] not in NEIGHBOURS):
        return f"{outcome}, not {expected}"
    warned = re.findall(r"^warning\[([a-z.-]+)\]", warnings.getvalue(), re.M)
    if outcome == "ok" and warned != [fields[name] for name in ("warn",) if name in fields]:
        return f"warnings {warned}, not {fields.get('warn')}"
    if outcome == "ok" and (str(length), content.hexdigest()) != (fields["content-length"], fields["content-sha256"]):
        return f"{length} bytes of content with the SHA-256 {content.hexdigest()}"
    if length > int(fields.get("released", length)):
        return f"{length} bytes released, not at most {fields['released']}"
    return None if outcome == expected else INEXACT


def codes(known={}):
    """The exit status of each code of errors.md."""
    if not known:
        rows = re.findall(r"^\| `([a-z.-]+)` \| \w+ \| (\d+) \|", ERRORS.read_text(), re.M)
        known.update({code: int(status) for code, status in rows})
    return known


def main():
    passed = failed = over = inexact = 0
    for path in sorted(VECTORS.glob("*.txt")):
        try:
            with tempfile.TemporaryDirectory() as directory:
                fault = run(*parse(path.read_bytes().decode(), path.stem), directory)
        except Exception as error:  # a reader must not end in any other way than with a Failure
            fault = f"{type(error).__name__}: {error}"
        over += fault == PASSED_OVER
        inexact += fault == INEXACT
        passed += fault in (None, INEXACT)
        if fault not in (None, INEXACT, PASSED_OVER):
            failed += 1
            print(f"{path.stem}: {fault}")
    print(f"{over} passed over, whose command or option this reader lacks")
    print(f"{inexact} refused with a neighbouring code")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or passed < AT_LEAST else 0


if __name__ == "__main__":
    sys.exit(main())
