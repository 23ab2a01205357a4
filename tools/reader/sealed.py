"""Opens what Larder seals, given the passphrase. It shares no code with Larder: everything here was written from
docs/design/format-seal.md, so that the page is known to be complete.

    vault = Vault.open(header_bytes, passphrase=b"...")
    head, body = vault.open_record(namespace_id, key, sealed_head, sealed_body)
    manifest = vault.open_manifest(head, body)
    content = vault.content(manifest, blobs)          # blobs: {id: sealed bytes}, or a function from id to bytes

Whatever does not verify raises Refused. Keys of records come from Vault.entry_key and its relatives. Needs the
packages in requirements.txt.
"""

import dataclasses
import hmac
import struct

import argon2.low_level
import blake3
import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from kyber_py.ml_kem import ML_KEM_768

SUITE = 1
CHUNK, PAGE, HEAD, BODY, VAULT_HEADER = 1, 2, 3, 4, 5
TAG_LEN = 16
ZERO_NONCE = bytes(12)


class Refused(Exception):
    """The bytes are not what they should be."""


def need(condition, what):
    if not condition:
        raise Refused(what)


class Fields:
    """Reads fields in order; everything must be used up."""

    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def raw(self, count):
        need(self.at + count <= len(self.data), "truncated")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code):
        return struct.unpack("<" + code, self.raw(struct.calcsize("<" + code)))[0]

    def u8(self):
        return self.number("B")

    def u32(self):
        return self.number("I")

    def u64(self):
        return self.number("Q")

    def bytes(self):
        return self.raw(self.u32())

    def text(self):
        return self.bytes().decode("utf-8")

    def end(self):
        need(self.at == len(self.data), "bytes left over")


def derive_key(context, data):
    return blake3.blake3(data, derive_key_context=context).digest()


def hkdf(salt, secret, info, length=32):
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(secret)


def aes_open(key, nonce, sealed, aad, what):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise Refused(f"{what} does not verify") from None


def padded_len(length, least):
    """Padmé."""
    if length <= least:
        return least
    exponent = length.bit_length() - 1
    if exponent == 0:
        return length
    kept = exponent.bit_length()
    mask = (1 << max(exponent - kept, 0)) - 1
    return (length + mask) & ~mask


def namespace_id(name):
    return max(int.from_bytes(derive_key("larder 2026 namespace id", name.encode())[:8], "little"), 1)


# ---------------------------------------------------------------- recovery code

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def base32(text):
    """Whole groups of eight symbols, five bytes each."""
    folded = text.upper().translate(str.maketrans("OIL", "011"))
    number, symbols = 0, 0
    for c in folded:
        if c != "-" and not c.isspace():
            number, symbols = number << 5 | ALPHABET.index(c), symbols + 1
    need(symbols % 8 == 0, "symbols are missing")
    return number.to_bytes(symbols // 8 * 5, "big")


def recovery_secret(text):
    """The 20 bytes behind a recovery code, however it was typed."""
    folded = text.upper().translate(str.maketrans("OIL", "011"))
    symbols = [ALPHABET.index(c) for c in folded if c != "-" and not c.isspace()]
    need(len(symbols) == 36, "a recovery code has 36 symbols")
    secret = 0
    for symbol in symbols[:32]:
        secret = secret << 5 | symbol
    secret = secret.to_bytes(20, "big")
    check = int.from_bytes(derive_key("larder 2026 recovery code checksum", secret)[:4], "little")
    need(symbols[32:] == [check >> 5 * i & 31 for i in range(4)], "the recovery code was mistyped")
    return secret


# ---------------------------------------------------------------- what opened bytes say

@dataclasses.dataclass
class Attributes:
    mode: int
    mtime_ns: int
    content_type: str
    custom: list
    encoded: bytes

    @staticmethod
    def read(f):
        begin = f.at
        mode, mtime_ns, content_type = f.u32(), f.number("q"), f.text()
        custom = [(f.text(), f.bytes()) for _ in range(f.u32())]
        names = [name.encode() for name, _ in custom]
        need(names == sorted(set(names)), "custom attributes out of order")
        return Attributes(mode, mtime_ns, content_type, custom, f.data[begin : f.at])

    def hash(self):
        return derive_key("larder 2026 attributes hash", self.encoded)


FILE, SYMLINK, CHILD_DIRECTORY, DIRECTORY, VALUE = 1, 2, 3, 4, 5


@dataclasses.dataclass
class Head:
    kind: int
    name: str
    moves: int = 0
    id: bytes = b""
    size: int = 0
    attributes: Attributes = None
    parent: bytes = b""
    state: int = 0

    @staticmethod
    def read(data):
        f = Fields(data)
        need(f.u8() == 1, "head format")
        head = Head(f.u8(), f.text())
        if head.kind in (FILE, SYMLINK):
            head.moves, head.id, head.size = f.u64(), f.raw(16), f.u64()
            head.attributes = Attributes.read(f)
        elif head.kind == CHILD_DIRECTORY:
            head.moves, head.id, head.attributes = f.u64(), f.raw(16), Attributes.read(f)
        elif head.kind == DIRECTORY:
            head.moves, head.id, head.parent, head.state = f.u64(), f.raw(16), f.raw(16), f.u8()
            need(head.state in (1, 2), "directory state")
        elif head.kind == VALUE:
            head.attributes = Attributes.read(f)
        else:
            raise Refused("head kind")
        f.end()
        return head


@dataclasses.dataclass
class Chunk:
    blob: bytes
    key: bytes
    plain_len: int
    stored_len: int
    flags: int

    @staticmethod
    def read_all(f):
        chunks = [Chunk(f.raw(32), f.raw(32), f.u32(), f.u32(), f.u8()) for _ in range(f.u32())]
        need(chunks, "an empty list of chunks")
        return chunks


@dataclasses.dataclass
class PageRef:
    blob: bytes
    key: bytes
    page_len: int
    offset: int
    length: int

    @staticmethod
    def read_all(f):
        refs = [PageRef(f.raw(32), f.raw(32), f.u32(), f.u64(), f.u64()) for _ in range(f.u32())]
        need(refs, "an empty list of pages")
        for one, two in zip(refs, refs[1:]):
            need(one.offset + one.length == two.offset, "pages do not join")
        return refs


@dataclasses.dataclass
class Manifest:
    kind: int
    file: bytes
    revision: int
    previous_version: int
    previous_statement: bytes
    size: int
    content_hash: bytes
    attributes_hash: bytes
    chunking: tuple
    inline: bytes
    chunks: list
    level: int
    refs: list
    tree_hash: bytes
    signature: bytes

    @staticmethod
    def read(data):
        f = Fields(data)
        need(f.u8() == 1, "manifest format")
        fixed = (f.u8(), f.raw(16), f.u64(), f.u64(), f.raw(32), f.u64(), f.raw(32), f.raw(32))
        begin = f.at
        chunking = (f.u8(), f.u32())
        need(chunking[0] in (1, 2), "chunking")
        inline, chunks, level, refs = None, None, 0, None
        where = f.u8()
        if where == 0:
            inline = f.bytes()
        elif where == 1:
            chunks = Chunk.read_all(f)
        elif where == 2:
            level, refs = f.u8(), PageRef.read_all(f)
        else:
            raise Refused("content")
        tree_hash = derive_key("larder 2026 manifest tree hash", f.data[begin : f.at])
        signature = f.raw(64)
        f.end()
        return Manifest(*fixed, chunking, inline, chunks, level, refs, tree_hash, signature)

    def statement(self, vault_id):
        parts = [b"larder file statement 1\n", vault_id, self.file, struct.pack("<BQQ", self.kind, self.revision, self.size)]
        parts += [self.content_hash, self.attributes_hash, self.tree_hash, self.previous_statement]
        return b"".join(parts)


def statement_hash(statement):
    return derive_key("larder 2026 statement hash", statement)


def verify_statement(public_key, statement, signature):
    """What anyone can do: no key of the vault is needed."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
    except InvalidSignature:
        raise Refused("the signature does not verify") from None


def verify_both(ed25519, ml_dsa, message, signatures):
    try:
        Ed25519PublicKey.from_public_bytes(ed25519).verify(signatures[0], message)
        MLDSA65PublicKey.from_public_bytes(ml_dsa).verify(signatures[1], message)
    except InvalidSignature:
        raise Refused("the header's signatures do not verify") from None


# ---------------------------------------------------------------- recipients

def identity_keys(text):
    """X25519 and ML-KEM-768 secret keys from a secret identity's text."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "".join("".join(lines).split())
    prefix = "larder-secret-identity-1-"
    need(joined.lower().startswith(prefix), "not a secret identity")
    data = base32(joined[len(prefix):])
    need(len(data) == 2432 + 8, "an identity of another length")
    need(derive_key("larder 2026 identity checksum", data[:2432])[:8] == data[2432:], "the identity is damaged")
    return data[:32], data[32:2432]


def agreed_secret(identity, encapsulated):
    x25519, ml_kem = identity_keys(identity)
    own = X25519PrivateKey.from_private_bytes(x25519)
    own_public = own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    classic = own.exchange(X25519PublicKey.from_public_bytes(encapsulated[:32]))
    quantum = ML_KEM_768.decaps(ml_kem, encapsulated[32:])
    ml_kem_public = ml_kem[1152 : 1152 + 1184]
    domain = b"larder/1/recipient"
    return hkdf(domain, classic + quantum, domain + encapsulated + own_public + ml_kem_public)


# ---------------------------------------------------------------- the vault

class Vault:
    def __init__(self, vault_id, root):
        self.id, self.root = vault_id, root
        seed = self.derive(b"sign")
        signing = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = signing.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.names_key, self.values_key = self.derive(b"names"), self.derive(b"value-names")
        self.root_dir = self.derive(b"root-dir", 16)

    def derive(self, label, length=32):
        return hkdf(self.id, self.root, b"larder/1/" + label, length)

    @staticmethod
    def open(header, passphrase=None, recovery_code=None, identity=None):
        """From a vault header's bytes and a passphrase (bytes), recovery code or secret identity (text)."""
        need(len(header) > 100, "the header is too short")
        covered, checksum = header[:-16], header[-16:]
        need(derive_key("larder 2026 vault header checksum", covered)[:16] == checksum, "the header is damaged")
        f = Fields(covered)
        need((f.u8(), f.u8()) == (SUITE, VAULT_HEADER), "not a vault header")
        version = f.u8()
        need(version in (1, 2), "not a vault header of this version")
        vault_id, _revision, public = f.raw(16), f.u64(), f.raw(32)
        ml_dsa = f.raw(1952) if version == 2 else None
        _generation = f.u32()
        slots = [(f.u8(), f.bytes()) for _ in range(f.u32())]
        notes, signatures = b"", None
        if version == 2:
            notes = f.bytes()
            signed = b"larder vault header 2\n" + covered[: f.at]
            signatures = f.raw(64), f.raw(3309)
            verify_both(public, ml_dsa, signed, signatures)
        authenticated = covered[: f.at]
        mac = f.raw(32)
        f.end()
        for kind, body in slots:
            root = Vault._unwrap(vault_id, kind, body, passphrase, recovery_code, identity)
            if root is None:
                continue
            vault = Vault(vault_id, root)
            expected = hmac.digest(vault.derive(b"header-mac"), authenticated, "sha256")
            need(hmac.compare_digest(expected, mac), "the header was tampered with")
            need(vault.public_key == public, "the header has another public key")
            if version == 2:
                own = MLDSA65PrivateKey.from_seed_bytes(vault.derive(b"sign-ml-dsa-65")).public_key()
                need(own.public_bytes(Encoding.Raw, PublicFormat.Raw) == ml_dsa, "another ML-DSA public key")
                vault.fingerprint = derive_key("larder 2026 vault fingerprint", vault_id + public + ml_dsa)[:20]
            vault.notes = vault._open_notes(notes)
            return vault
        raise Refused("no slot opens with this secret")

    def _open_notes(self, sealed):
        """{slot id: (label, milliseconds since 1970, recipient's fingerprint or None)}"""
        if not sealed:
            return {}
        salt, domain = sealed[:16], b"larder/1/header-notes"
        key = hkdf(salt, self.derive(b"header-notes"), domain)
        f = Fields(aes_open(key, ZERO_NONCE, sealed[16:], domain + bytes([SUITE]) + self.id, "the notes"))
        need(f.u8() == 1, "not notes of this version")
        notes = {}
        for _ in range(f.u32()):
            slot, created_ms = f.raw(8), f.u64()
            recipient = f.raw(20) if f.u8() else None
            notes[slot] = (f.bytes().decode(), created_ms, recipient)
        return notes

    @staticmethod
    def _unwrap(vault_id, kind, body, passphrase, recovery_code, identity):
        f = Fields(body)
        if kind == 1 and passphrase is not None:
            memory_kib, passes, lanes = f.u32(), f.u32(), f.u32()
        elif kind == 3 and identity is not None:
            encapsulated = f.raw(32 + 1088)
        elif not (kind == 2 and recovery_code is not None):
            return None
        salt = f.raw(16)
        parameters = f.data[: f.at]
        commitment, wrapped = f.raw(32), f.raw(48)
        f.end()
        if kind == 1:
            need(memory_kib <= 1 << 20 and passes <= 64 and lanes <= 16, "unreasonable key derivation cost")
            secret = argon2.low_level.hash_secret_raw(
                passphrase, salt, time_cost=passes, memory_cost=memory_kib, parallelism=lanes, hash_len=32,
                type=argon2.low_level.Type.ID, version=0x13,
            )
        elif kind == 3:
            secret = agreed_secret(identity, encapsulated)
        else:
            secret = recovery_secret(recovery_code)
        both = hkdf(vault_id, secret, b"larder/1/slot" + bytes([kind]) + salt, 64)
        if not hmac.compare_digest(both[32:], commitment):
            return None
        aad = b"larder/1/slot" + bytes([SUITE]) + vault_id + bytes([kind]) + parameters + commitment
        return aes_open(both[:32], ZERO_NONCE, wrapped, aad, "the wrapped root")

    # ---- names

    def _mac(self, *parts):
        return hmac.digest(self.names_key, b"".join(parts), "sha256")

    def dir_prefix(self, directory):
        return self._mac(b"dir\0", directory)[:16]

    def entry_key(self, directory, name):
        return self.dir_prefix(directory) + self._mac(b"entry\0", directory, name.encode())[:16]

    def directory_key(self, directory):
        return self.dir_prefix(directory) + self._mac(b"self\0", directory)[:16]

    def moves_key(self):
        return self._mac(b"moves\0")

    def value_key(self, namespace, name):
        message = b"value\0" + struct.pack("<Q", namespace) + name.encode()
        return hmac.digest(self.values_key, message, "sha256")

    # ---- records

    def _open_part(self, kind, namespace, key, part, beside):
        need(len(part) >= 46 + 64, "a record part is too short")
        need((part[0], part[1]) == (SUITE, kind), "not a record part of this kind")
        generation, salt, counter = struct.unpack("<I16sQ", part[2:30])
        record_key = self.derive(b"record/" + struct.pack(">I", generation))
        session_key = hkdf(salt, record_key, b"larder/1/record/session")
        bound = key[:32]
        aad = b"larder/1/record" + bytes([SUITE, kind]) + self.id + struct.pack("<QB", namespace, len(bound)) + bound + beside
        nonce = bytes(4) + struct.pack(">Q", counter)
        padded = aes_open(session_key, nonce, part[30:], aad, "the record part")
        length = struct.unpack("<I", padded[:4])[0]
        need(padded_len(4 + length, 64) == len(padded) and not any(padded[4 + length :]), "padding")
        return padded[4 : 4 + length]

    def open_head(self, namespace, key, sealed_head):
        return Head.read(self._open_part(HEAD, namespace, key, sealed_head, b""))

    def open_record(self, namespace, key, sealed_head, sealed_body):
        """The decoded head (None if the record has none) and the body's bytes."""
        head = self.open_head(namespace, key, sealed_head) if sealed_head else None
        body = self._open_part(BODY, namespace, key, sealed_body, blake3.blake3(sealed_head).digest())
        return head, body

    # ---- files

    def open_manifest(self, head, body):
        """Decodes and checks signature, head and inline content."""
        manifest = Manifest.read(body)
        verify_statement(self.public_key, manifest.statement(self.id), manifest.signature)
        said = (head.kind, head.id, head.size, head.attributes.hash())
        need(said == (manifest.kind, manifest.file, manifest.size, manifest.attributes_hash), "head and manifest disagree")
        return manifest

    def _open_blob(self, kind, chunk_key, blob_id, stored_len, blob):
        need(blake3.blake3(blob).digest() == blob_id, "the blob is not what its id says")
        need(len(blob) == padded_len(stored_len, 512) + 50, "the blob has another length")
        need((blob[0], blob[1]) == (SUITE, kind), "not a blob of this kind")
        both = hkdf(b"larder/1/blob", chunk_key, b"key and commitment", 64)
        need(hmac.compare_digest(blob[2:34], both[32:]), "the commitment is of another key")
        aad = b"larder/1/blob" + bytes([SUITE, kind]) + self.id + both[32:]
        padded = aes_open(both[:32], ZERO_NONCE, blob[34:], aad, "the blob")
        need(not any(padded[stored_len:]), "padding")
        return padded[:stored_len]

    def _chunks(self, manifest, get_blob):
        if manifest.chunks is not None:
            yield from manifest.chunks
            return
        stack = [(manifest.level, ref) for ref in reversed(manifest.refs)]
        while stack:
            level, ref = stack.pop()
            f = Fields(self._open_blob(PAGE, ref.key, ref.blob, ref.page_len, get_blob(ref.blob)))
            need((f.u8(), f.u8()) == (1, level), "a page of another format or level")
            if level == 0:
                chunks = Chunk.read_all(f)
                need(sum(chunk.plain_len for chunk in chunks) == ref.length, "a page of another span")
                yield from chunks
            else:
                refs = PageRef.read_all(f)
                need(sum(r.length for r in refs) == ref.length, "a page of another span")
                stack.extend((level - 1, r) for r in reversed(refs))
            f.end()

    def pieces(self, manifest, blobs):
        """The content, chunk by chunk; length and hash are checked at the end."""
        get_blob = blobs if callable(blobs) else blobs.__getitem__
        hasher, size = blake3.blake3(), 0
        if manifest.inline is not None:
            hasher.update(manifest.inline)
            size = len(manifest.inline)
            yield manifest.inline
        else:
            for chunk in self._chunks(manifest, get_blob):
                stored = self._open_blob(CHUNK, chunk.key, chunk.blob, chunk.stored_len, get_blob(chunk.blob))
                need(chunk.flags in (0, 1), "chunk flags")
                if chunk.flags == 1:
                    stored = zstandard.ZstdDecompressor().decompress(stored, max_output_size=chunk.plain_len)
                need(len(stored) == chunk.plain_len, "a chunk of another length")
                hasher.update(stored)
                size += len(stored)
                yield stored
        need(size == manifest.size, "the file has another length")
        need(hasher.digest() == manifest.content_hash, "the file has another hash")

    def content(self, manifest, blobs):
        return b"".join(self.pieces(manifest, blobs))

    # ---- listing

    def list_directory(self, directory, namespace, heads):
        """Entries of a directory: (key, Head) by name. `heads` is {key: sealed head} of the namespace."""
        prefix = self.dir_prefix(directory)
        own = self.directory_key(directory)
        found = []
        for key, sealed_head in heads.items():
            if len(key) == 32 and key.startswith(prefix) and key != own:
                head = self.open_head(namespace, key, sealed_head)
                need(key == self.entry_key(directory, head.name), "an entry under another name's key")
                found.append((key, head))
        return sorted(found, key=lambda item: item[1].name)
