"""Reads, narrows and verifies tokens as docs/design/tokens.md describes them; shares no code with Larder.

    tokens.py show < TOKEN                               what a token says, as JSON
    tokens.py narrow read|append-only|write [PREFIX] < TOKEN   a weaker one
    tokens.py verify ROOT_KEY_HEX < TOKEN                exit code 0 if its chain begins with this key
"""

import base64
import hmac
import json
import struct
import sys

import blake3

START = "larder_"
FORMAT = 1
CONTEXT = b"larder 2026 token"
RIGHTS = {1: "read", 2: "append-only", 3: "write"}
RIGHT, NAMESPACES, PREFIXES, EXPIRES = 1, 2, 3, 4


class Bytes:
    """Takes fields from the front."""

    def __init__(self, data):
        self.data = data

    def take(self, length):
        if len(self.data) < length:
            raise ValueError("cut off")
        taken, self.data = self.data[:length], self.data[length:]
        return taken

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def list(self):
        return [self.take(self.number("I")) for _ in range(self.number("I"))]


def read(text):
    """Id, caveats as (bytes, name, value), tag."""
    if not text.startswith(START):
        raise ValueError("no token")
    encoded = text[len(START):]
    data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    f = Bytes(data)
    if f.number("B") != FORMAT:
        raise ValueError("another format")
    token_id, caveats = f.take(8), []
    for _ in range(f.number("B")):
        before = f.data
        kind = f.number("B")
        if kind == RIGHT:
            name, value = "right", RIGHTS[f.number("B")]
        elif kind == NAMESPACES:
            name, value = "namespaces", [one.decode() for one in f.list()]
        elif kind == PREFIXES:
            name, value = "prefixes", [one.decode() for one in f.list()]
        elif kind == EXPIRES:
            name, value = "expires_ms", f.number("Q")
        else:
            raise ValueError("a caveat that is not understood")
        caveats.append((before[: len(before) - len(f.data)], name, value))
    tag = f.take(32)
    if f.data:
        raise ValueError("bytes are left")
    return token_id, caveats, tag


def link(key, message):
    return blake3.blake3(message, key=key).digest()


def write(token_id, caveats, tag):
    data = bytes([FORMAT]) + token_id + bytes([len(caveats)]) + b"".join(caveats) + tag
    return START + base64.urlsafe_b64encode(data).decode().rstrip("=")


def main():
    token_id, caveats, tag = read(sys.stdin.read().strip())
    verb, arguments = sys.argv[1], sys.argv[2:]
    if verb == "show":
        print(json.dumps({"id": token_id.hex(), "caveats": [{name: value} for _, name, value in caveats]}))
    elif verb == "narrow":
        number = next(number for number, name in RIGHTS.items() if name == arguments[0])
        added = [bytes([RIGHT, number])]
        if len(arguments) > 1:
            prefix = arguments[1].encode()
            added.append(struct.pack("<BII", PREFIXES, 1, len(prefix)) + prefix)
        for caveat in added:
            tag = link(tag, caveat)
        print(write(token_id, [raw for raw, _, _ in caveats] + added, tag))
    elif verb == "verify":
        computed = link(bytes.fromhex(arguments[0]), CONTEXT + bytes([FORMAT]) + token_id)
        for raw, _, _ in caveats:
            computed = link(computed, raw)
        sys.exit(0 if hmac.compare_digest(computed, tag) else 1)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
