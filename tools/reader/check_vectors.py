"""Opens the committed vectors with sealed.py and compares them with what they should hold. Exits 1 on a difference.

Beside reading, it makes sure that the reader refuses what it should (a check that accepts everything proves
nothing): wrong secrets, flipped bytes, records and blobs in each other's place.
"""

import pathlib
import sys

import blake3

from sealed import CHUNK, CHILD_DIRECTORY, Refused, Vault, base32, derive_key, namespace_id, statement_hash, verify_statement

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "crates/seal/tests/vectors"


class Stored:
    """A vectors folder, as text."""

    def __init__(self, folder):
        self.records, self.blobs, self.statements = {}, {}, []
        for line in (folder / "sealed.txt").read_text().splitlines():
            what, *words = line.split(" ")
            if what == "passphrase":
                self.passphrase = bytes.fromhex(words[0])
            elif what == "recovery":
                self.recovery = words[0]
            elif what == "header":
                self.header = bytes.fromhex(words[0])
            elif what == "record":
                namespace, key, head, body = words
                self.records[int(namespace, 16), bytes.fromhex(key)] = (bytes.fromhex(head), bytes.fromhex(body))
            elif what == "statement":
                self.statements.append(tuple(map(bytes.fromhex, words)))
            elif what == "blob":
                self.blobs[bytes.fromhex(words[0])] = bytes.fromhex(words[1])
            elif what != "watermarks":
                raise SystemExit(f"unknown line {what}")
        self.expected = (folder / "expected.txt").read_text().splitlines()


def expect(condition, what):
    if not condition:
        raise SystemExit(f"FAILED: {what}")


def refused(what, attempt):
    try:
        attempt()
    except Refused:
        return
    raise SystemExit(f"FAILED: accepted {what}")


def walk(vault, stored):
    """Every file by path, found by listing from the root as a person would: {path: key}."""
    files = namespace_id("files")
    heads = {key: head for (namespace, key), (head, _) in stored.records.items() if namespace == files}
    found, todo = {}, [(vault.root_dir, "")]
    while todo:
        directory, path = todo.pop()
        own = vault.open_head(files, vault.directory_key(directory), heads[vault.directory_key(directory)])
        expect(own.id == directory and own.state == 1, f"the record of directory {path!r}")
        for key, head in vault.list_directory(directory, files, heads):
            if head.kind == CHILD_DIRECTORY:
                todo.append((head.id, path + head.name + "/"))
            else:
                found[path + head.name] = key
    return found


def check_contents(vault, stored):
    files, values = namespace_id("files"), namespace_id("values")
    keys = walk(vault, stored)
    manifests, seen = {}, set()
    for line in stored.expected:
        kind, rest = line.split(" ", 1)
        if kind == "header-key":
            expect(derive_key("larder 2026 vault header record", vault.id).hex() == rest, "the header's record key")
        elif kind == "value":
            value, name = rest.split(" ", 1)
            key = vault.value_key(values, name)
            head, body = vault.open_record(values, key, *stored.records[values, key])
            expect((head.name, body.hex()) == (name, value), f"value {name}")
        else:
            size, digest, path = rest.split(" ", 2)
            key = keys[path.split(" ", 1)[1] if kind == "version" else path]
            if kind == "version":
                key += int(path.split(" ", 1)[0]).to_bytes(8, "big")
            head, body = vault.open_record(files, key, *stored.records[files, key])
            manifest = vault.open_manifest(head, body)
            content = vault.content(manifest, stored.blobs)
            expect((str(len(content)), blake3.blake3(content).hexdigest()) == (size, digest), line)
            expect((manifest.statement(vault.id), manifest.signature) in stored.statements, f"statement of {path}")
            manifests[kind, path] = manifest
            seen.add(path)
    expect(set(keys) <= seen, "every listed file is expected")
    older, newer = manifests["version", "500 small.txt"], manifests["file", "small.txt"]
    expect(newer.previous_version == 500, "the previous version")
    expect(newer.previous_statement == statement_hash(older.statement(vault.id)), "the chain of statements")
    return manifests


def check_chunk_keys(vault, stored, manifests):
    """A chunk's key is the keyed hash of the exact padded bytes."""
    hash_key = vault.derive(b"chunk-hash/" + bytes(4))
    for chunk in manifests["file", "a folder/noise.bin"].chunks:
        blob = stored.blobs[chunk.blob]
        plain = vault._open_blob(CHUNK, chunk.key, chunk.blob, chunk.stored_len, blob)
        padded = plain + bytes(len(blob) - 50 - len(plain))
        expect(blake3.blake3(padded, key=hash_key).digest() == chunk.key, "a chunk's key")


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def check_refusals(vault, stored, manifests):
    refused("a wrong passphrase", lambda: Vault.open(stored.header, passphrase=b"wrong"))
    refused("a damaged header", lambda: Vault.open(flip(stored.header, 40), passphrase=stored.passphrase))
    (first, first_parts), (second, second_parts) = list(stored.records.items())[:2]
    refused("a record in another's place", lambda: vault.open_record(*first, *second_parts))
    refused("a head beside another's body", lambda: vault.open_record(*first, first_parts[0], second_parts[1]))
    refused("another namespace", lambda: vault.open_record(first[0] + 1, first[1], *first_parts))
    for at in range(len(first_parts[0])):
        refused(f"a flipped byte {at}", lambda: vault.open_head(*first, flip(first_parts[0], at)))
    manifest = manifests["file", "a folder/noise.bin"]
    one, two = (chunk.blob for chunk in manifest.chunks)
    swapped = {**stored.blobs, one: stored.blobs[two]}
    refused("a blob in another's place", lambda: vault.content(manifest, swapped))
    manifest.chunks.reverse()
    refused("chunks in another order", lambda: vault.content(manifest, stored.blobs))
    statement, signature = stored.statements[0]
    refused("a changed statement", lambda: verify_statement(vault.public_key, flip(statement, 50), signature))


def check_header(folder):
    lines = dict(line.split(" ", 1) for line in (folder / "header.txt").read_text().splitlines())
    header, passphrase = bytes.fromhex(lines["header"]), bytes.fromhex(lines["passphrase"])
    secrets = [{"passphrase": passphrase}, {"recovery_code": lines["recovery"]}, {"identity": lines["identity"]}]
    for secret in secrets:
        vault = Vault.open(header, **secret)
        expect((vault.id.hex(), vault.root.hex()) == (lines["vault"], lines["root"]), f"the root by {list(secret)}")
        expect(vault.fingerprint == base32(lines["fingerprint"]), "the fingerprint")
        label, _created_ms, recipient = vault.notes[bytes.fromhex(lines["slot"])]
        expect(label == bytes.fromhex(lines["label"]).decode(), "the label")
        expect(recipient == base32(lines["recipient-fingerprint"]), "the recipient's fingerprint")
    for at in range(len(header)):
        refused(f"a flipped byte {at} of a header", lambda: Vault.open(flip(header, at), recovery_code=lines["recovery"]))
    for at in (20, 2000, len(header) - 3400, len(header) - 100):
        forged = flip(header[:-16], at)
        forged += derive_key("larder 2026 vault header checksum", forged)[:16]
        refused(f"a forged byte {at} of a header", lambda: Vault.open(forged, recovery_code=lines["recovery"]))
    return len(secrets)


def main():
    folders = sorted(path for path in VECTORS.iterdir() if path.is_dir())
    expect(folders, f"no vectors in {VECTORS}")
    for folder in folders:
        if (folder / "header.txt").exists():
            print(f"{folder.name}: a header opens by {check_header(folder)} kinds of slot as expected")
            continue
        stored = Stored(folder)
        vault = Vault.open(stored.header, passphrase=stored.passphrase)
        again = Vault.open(stored.header, recovery_code=stored.recovery.lower().replace("-", " "))
        expect(vault.root == again.root, "both slots hold one root")
        manifests = check_contents(vault, stored)
        check_chunk_keys(vault, stored, manifests)
        check_refusals(vault, stored, manifests)
        print(f"{folder.name}: {len(manifests)} file versions, {len(stored.records)} records, {len(stored.blobs)} blobs open as expected")


if __name__ == "__main__":
    sys.exit(main())
