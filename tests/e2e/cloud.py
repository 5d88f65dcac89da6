"""The objects of the container or bucket "backups" on azurite or on our GCS server, as its owner sees them and as a bad day changes them:

    cloud.py azure|gcs list PREFIX | get NAME | put NAME < bytes | delete NAME | flip NAME OFFSET | dump PREFIX DIRECTORY
    cloud.py azure given NAME          the object's access tier and its index tags
    cloud.py azure signature           a shared access signature of the account, from now on for an hour

The requests are made here, since what breaks objects should not be the program that is tested."""

import base64
import email.utils
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

VERSION = "2021-08-06"


def azure(method, path, query, body):
    account, key = os.environ["AZURE_STORAGE_ACCOUNT"], base64.b64decode(os.environ["AZURE_STORAGE_KEY"])
    fields = {"x-ms-date": email.utils.formatdate(time.time(), usegmt=True), "x-ms-version": VERSION}
    if method == "PUT":
        fields["x-ms-blob-type"] = "BlockBlob"
    kind = "application/octet-stream" if body else ""
    resource = f"/{account}/{account}/backups{path}" + "".join(f"\n{key}:{query[key]}" for key in sorted(query))
    lines = [method, "", "", str(len(body) or ""), "", kind, "", "", "", "", "", ""]
    signed = "\n".join(lines + [f"{name}:{fields[name]}" for name in sorted(fields)] + [resource])
    fields["Authorization"] = f"SharedKey {account}:" + base64.b64encode(hmac.digest(key, signed.encode(), hashlib.sha256)).decode()
    return f"{os.environ['AZURE_STORAGE_ENDPOINT']}/{account}/backups{path}", fields


def gcs(method, path, query, body):
    with open(os.environ["GOOGLE_APPLICATION_CREDENTIALS"], encoding="ascii") as file:
        account = json.load(file)
    now, mail = int(time.time()), account["client_email"]
    claims = {"iss": mail, "sub": mail, "scope": "https://www.googleapis.com/auth/cloud-platform", "iat": now, "exp": now + 3600}
    encoded = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    message = encoded(b'{"alg":"RS256","typ":"JWT"}') + b"." + encoded(json.dumps(claims).encode())
    key = serialization.load_pem_private_key(account["private_key"].encode(), None)
    token = message + b"." + encoded(key.sign(message, padding.PKCS1v15(), hashes.SHA256()))
    return f"{account['gcs_base_url']}/backups{path}", {"Authorization": "Bearer " + token.decode()}


def signature():
    """As a person makes one with the tools of Azure: its times are by the clock of this machine."""
    account, key = os.environ["AZURE_STORAGE_ACCOUNT"], base64.b64decode(os.environ["AZURE_STORAGE_KEY"])
    at = lambda seconds: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
    fields = {"sp": "rwdlac", "ss": "b", "srt": "sco", "st": at(-1), "se": at(3600), "sip": "", "spr": "https,http", "sv": VERSION, "ses": ""}
    signed = "".join(line + "\n" for line in [account, *fields.values()])
    fields["sig"] = base64.b64encode(hmac.digest(key, signed.encode(), hashlib.sha256)).decode()
    return urllib.parse.urlencode({name: value for name, value in fields.items() if value})


def answer(sign, method, name="", query=None, body=b""):
    query = query or {}
    url, fields = sign(method, "/" + name if name else "", query, body)
    if query:
        url += "?" + urllib.parse.urlencode(query)
    if body:
        fields["Content-Type"] = "application/octet-stream"
    request = urllib.request.Request(url, data=body or None, headers=fields, method=method)
    with urllib.request.urlopen(request, timeout=30) as got:
        return got.headers, got.read()


def ask(sign, method, name="", query=None, body=b""):
    return answer(sign, method, name, query, body)[1]


def elements(xml, kind):
    # Azure begins with a mark of its byte order.
    found = ET.fromstring(xml.decode("utf-8-sig"))
    return [element for element in found.iter() if element.tag.rpartition("}")[2] == kind]


def names(cloud, sign, prefix):
    query = {"azure": {"restype": "container", "comp": "list"}, "gcs": {"list-type": "2"}}[cloud] | {"prefix": prefix}
    return [element.text for element in elements(ask(sign, "GET", query=query), {"azure": "Name", "gcs": "Key"}[cloud])]


def main():
    cloud, what, *rest = sys.argv[1:]
    name = rest[0] if rest else ""
    sign = {"azure": azure, "gcs": gcs}[cloud]
    if what == "list":
        print("".join(found + "\n" for found in names(cloud, sign, name)), end="")
    elif what == "dump":
        for found in names(cloud, sign, name):
            with open(os.path.join(rest[1], found.removeprefix(name)), "xb") as file:
                file.write(ask(sign, "GET", found))
    elif what == "given":
        print("tier", answer(sign, "HEAD", name)[0]["x-ms-access-tier"])
        for tag in elements(ask(sign, "GET", name, {"comp": "tags"}), "Tag"):
            print("tag", "=".join(part.text for part in tag))
    elif what == "signature":
        print(signature())
    elif what == "get":
        sys.stdout.buffer.write(ask(sign, "GET", name))
    elif what == "put":
        ask(sign, "PUT", name, body=sys.stdin.buffer.read())
    elif what == "delete":
        ask(sign, "DELETE", name)
    elif what == "flip":
        content = bytearray(ask(sign, "GET", name))
        content[int(rest[1])] ^= 1
        ask(sign, "PUT", name, body=bytes(content))
    else:
        sys.exit(f"cloud.py: {what}?")


main()
