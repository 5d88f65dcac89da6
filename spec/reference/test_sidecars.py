#!/usr/bin/env python3
"""Recomputes the report and the remark that archive.md shows (§8.6, §8.7), with nothing but their text and the published keys.

The exit status is 1 when one of them is not as the specification says.
"""

import base64, hashlib, hmac, json, pathlib, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
import read

SPEC = (pathlib.Path(__file__).parent.parent / "archive.md").read_text()
KEY, SEED = bytes([5] * 32), bytes([1] * 32)  # as the text beside the example says


def example(first):
    """The block of the specification that begins with these characters."""
    return next(block for block in SPEC.split("```\n") if block.startswith(first))


def check_report(text, key, signer, id, root):
    """Whether the report counts for a pruner that has the archive's report key and the verifier's public key."""
    body, seal = text[: text.index('"seal":{"sha256"')], json.loads("{" + text.splitlines()[-1])["seal"]
    digest = hashlib.sha256(body.encode()).hexdigest()
    assert digest == seal["sha256"], "the digest"
    assert hmac.digest(key, body.encode(), "sha256").hex() == seal["mac"], "the MAC"
    assert base64.b64decode(seal["by"]) == signer, "the signer"
    message = f"backstay/1 seal\nreport\n{id}\n{digest}\n".encode()
    Ed25519PublicKey.from_public_bytes(signer).verify(base64.b64decode(seal["sig"]), message)
    report = read.strict_json(text, 16)
    assert report["backstay_report"] == 1 and report["id"] == id and report["root"] == root and report["result"] == "good"


def main():
    signer = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
    id = "de2fe9e4-6535-423d-8709-dca87df7985c-1740130000123"
    report = example('{"backstay_report"')
    check_report(report, KEY, signer, id, "07" * 32)
    for at in range(len(report) - 1):
        changed = report[:at] + chr(ord(report[at]) ^ 1) + report[at + 1 :]
        try:
            check_report(changed, KEY, signer, id, "07" * 32)
        except Exception:
            continue
        sys.exit(f"a report with another byte {at} is believed")
    remark = read.strict_json(example('{"backstay_remark"'), 16)
    assert remark["id"] == id and remark["word"] == "tag" and remark["tags"] == ["release-17", "keep"]
    secret, salt = bytes(range(32)), bytes(range(0x64, 0x84))
    key = read.hkdf(salt, secret, b"backstay/1 report").hex()
    assert f"report_key   {key}" in SPEC, "the report key of the worked example"
    print("the report and the remark of the specification are right")


if __name__ == "__main__":
    main()
