"""Reads a Larder store: the segments of its log. It shares no code with Larder: everything here was written from
docs/design/format-log.md, so that the page is known to be complete.

    store = Store.read(folder)        # a copy of the folder, or of one whose node is stopped or idle
    for record in store.records(): ...
    store.blob(blob_id)               # bytes; also store.blobs: {id: where}
    store.leases, store.released, store.floors, store.time

    segments.py FOLDER                # prints what is live, one line each, sorted

Reads segments only: sidecars can be deleted any time and are not looked at; the marks file is, because it says how
far the log was durable. What does not verify raises Damaged, except a tail that was never durable, which is left
out. It does not repair. Needs xxhash and blake3 (requirements.txt).
"""

import dataclasses
import os
import struct
import sys

import blake3
import xxhash

BLOCK, SECOND, HEADER, ALIGN = 4096, 2048, 64, 8
FORMAT, RECORD_FORMAT = 1, 1
NEVER = 2**64 - 1
RECORD, PROMISE, REMOVE, FLOOR, TIME, BLOB, GRANT, RELEASE, CONFIRM, SEGMENTS, BOOT, ACCEPT, FREED, END = range(1, 15)
SHADOWS = [None, "deleted", "expired", "taken"]


class Damaged(Exception):
    """The bytes are not what was written."""


def need(condition, what):
    if not condition:
        raise Damaged(what)


def checksum(data, salt=0):
    return xxhash.xxh3_64_intdigest(data, seed=salt)


@dataclasses.dataclass
class Stamp:
    version: int
    number: int
    store: bytes
    first: int
    second: int
    third: int


def read_stamp(block, magic):
    """Whichever of a block's two copies is whole, or None."""
    for start in (0, SECOND):
        stamp = block[start : start + HEADER]
        if len(stamp) < HEADER or stamp[:8] != magic:
            continue
        if struct.unpack("<Q", stamp[56:])[0] == checksum(stamp[:56]):
            version, number, store, first, second, third = struct.unpack("<II16sQQQ", stamp[8:56])
            if version > FORMAT:
                raise Damaged(f"written by a newer version: {version}")
            return Stamp(version, number, store, first, second, third)
    return None


@dataclasses.dataclass
class Frame:
    kind: int
    sequence: int
    durable_through: int
    follows: int
    chain: int
    name: bytes
    value: bytes
    end: int


def read_frame(data, offset, salt):
    """The frame at an offset of a segment, or None if there is none that holds."""
    raw = data[offset : offset + HEADER]
    if len(raw) < HEADER or raw[:2] != b"LF" or raw[3] != 0:
        return None
    (chain,) = struct.unpack("<Q", raw[56:])
    if chain != checksum(raw[:56], salt):
        return None
    kind, name_len, value_len, place, sequence, durable, follows, name_sum, value_sum = struct.unpack(
        "<xxBxIIIQQQQQ", raw[:56]
    )
    name_at = offset + HEADER
    value_at = name_at + name_len
    name, value = data[name_at:value_at], data[value_at : value_at + value_len]
    if place * ALIGN != offset or len(name) != name_len or len(value) != value_len:
        return None
    if checksum(name) != name_sum:
        return None
    good = blake3.blake3(value).digest() == name if kind == BLOB else checksum(value) == value_sum
    if not good:
        return None
    end = (value_at + value_len + ALIGN - 1) // ALIGN * ALIGN
    return Frame(kind, sequence, durable, follows, chain, name, value, end)


@dataclasses.dataclass
class Record:
    namespace: int
    slot: int
    key: bytes
    version: int
    expiry_ms: int | None
    shadow: str | None
    takes_left: int | None
    tokens: list
    head: bytes
    body: bytes
    ballots: tuple | None


@dataclasses.dataclass
class Lease:
    namespace: int
    key: bytes
    deadline_ms: int
    confirmed: bool
    blobs: set


def read_name(name):
    """A record's name: namespace, slot, key, whether there is a state, ballots; and where the state begins."""
    need(len(name) >= 40, "a record's name is too short")
    namespace, slot, flags, zero, key_len, zeros = struct.unpack("<QHBBHH", name[:16])
    need(zero == 0 and zeros == 0 and flags >> 6 == 0, "a record's name has unknown flags")
    at, ballots = 40, None
    if flags & 2:
        ballots, at = struct.unpack("<QQQQ", name[at : at + 32]), at + 32
    key = name[at : at + key_len]
    need(len(key) == key_len and key_len > 0, "a record's key is cut off")
    return namespace, slot, key, bool(flags & 1), ballots, at + key_len


def read_record(name, value):
    namespace, slot, key, has_state, ballots, at = read_name(name)
    if not has_state:
        return Record(namespace, slot, key, 0, None, None, None, [], b"", b"", ballots)
    state = name[at:] + value
    layout, kind, version, expiry, takes, count = struct.unpack("<BBQQII", state[:26])
    need(layout == RECORD_FORMAT and kind < 4, "a record of an unknown layout")
    at = 26
    tokens = [state[at + 16 * i : at + 16 * i + 16] for i in range(count)]
    at += 16 * count
    (operations,) = struct.unpack("<I", state[at : at + 4])
    at += 4
    for _ in range(operations):
        what = state[at + 24]
        at += 16 + 8 + 1 + 8 + (8 if what in (0, 2) else 0)
        if what == 2:
            at += 4
            for _ in range(2):
                (length,) = struct.unpack("<I", state[at : at + 4])
                at += 4 + length
    head = body = b""
    if kind == 0:
        (head_len,) = struct.unpack("<I", state[at : at + 4])
        head, body = state[at + 4 : at + 4 + head_len], state[at + 4 + head_len :]
    expiry_ms = None if expiry == NEVER else expiry
    return Record(
        namespace, slot, key, version, expiry_ms, SHADOWS[kind], takes or None, tokens, head, body, ballots
    )


def read_bytes(name, at):
    (length,) = struct.unpack("<I", name[at : at + 4])
    need(at + 4 + length <= len(name), "a byte string is cut off")
    return name[at + 4 : at + 4 + length], at + 4 + length


def slot_group(slot):
    return slot * 64 // 16384


class Store:
    """What a log says, all of it applied in order."""

    def __init__(self):
        self.live, self.blobs, self.leases, self.released = {}, {}, {}, set()
        self.floors, self.time, self.boots = {}, 0, 0

    @classmethod
    def read(cls, folder):
        store = cls()
        for frame, where in live_frames(folder):
            store.apply(frame, where)
        return store

    def records(self):
        """Every record that has a value or is the shadow of one, in order of namespace and key."""
        return (record for _, record in sorted(self.live.items()) if record.version)

    def blob(self, blob_id):
        path, offset, length = self.blobs[blob_id]
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(length)
        need(blake3.blake3(data).digest() == blob_id, "a blob is not what its id says")
        return data

    def raise_floor(self, namespace, group, floor):
        self.floors[namespace, group] = max(floor, self.floors.get((namespace, group), (0, 0)))

    def apply(self, frame, where):
        name = frame.name
        if frame.kind == RECORD:
            record = read_record(name, frame.value)
            self.live[record.namespace, record.key] = record
        elif frame.kind == PROMISE:
            said = read_record(name, b"")
            held = self.live.get((said.namespace, said.key), said)
            self.live[said.namespace, said.key] = dataclasses.replace(held, ballots=said.ballots)
        elif frame.kind == REMOVE:
            namespace, slot, round_, proposer, _, _ = struct.unpack("<QHQQII", name[:34])
            key, _ = read_bytes(name, 34)
            self.live.pop((namespace, key), None)
            self.raise_floor(namespace, slot_group(slot), (round_, proposer))
        elif frame.kind == FLOOR:
            namespace, group, round_, proposer = struct.unpack("<QBQQ", name)
            self.raise_floor(namespace, group, (round_, proposer))
        elif frame.kind == TIME:
            self.time = max(self.time, *struct.unpack("<Q", name))
        elif frame.kind == BLOB:
            path, value_end = where
            self.blobs[name] = (path, value_end, len(frame.value))
        elif frame.kind == GRANT:
            self.grant(name)
        elif frame.kind == RELEASE:
            self.leases.pop(name[:16], None)
            self.released.add(name[:16])
        elif frame.kind == CONFIRM:
            if name in self.leases:
                self.leases[name].confirmed = True
        elif frame.kind == BOOT:
            self.boots = struct.unpack("<Q", name)[0]

    def grant(self, name):
        token, namespace, deadline_ms, confirmed = struct.unpack("<16sQQB", name[:33])
        key, at = read_bytes(name, 33)
        (count,) = struct.unpack("<I", name[at : at + 4])
        need(len(name) == at + 4 + 32 * count, "a grant is cut off")
        if token in self.released:
            return
        lease = self.leases.setdefault(token, Lease(namespace, key, 0, False, set()))
        lease.deadline_ms = max(lease.deadline_ms, deadline_ms)
        lease.confirmed |= bool(confirmed)
        lease.blobs.update(name[at + 4 + 32 * i : at + 36 + 32 * i] for i in range(count))


def marked(folder, store_id):
    """How far the log was durable when the marks file was last written to."""
    try:
        with open(os.path.join(folder, "marks"), "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return 0
    stamps = [read_stamp(data[at : at + HEADER], b"LARDERMK") for at in (0, BLOCK)]
    return max([stamp.first for stamp in stamps if stamp and stamp.store == store_id], default=0)


def segment_frames(path, stamp):
    """The frames of one segment up to where they stop making sense: frame and offset of its value part."""
    with open(path, "rb") as file:
        data = file.read()
    offset, sequence, chain = BLOCK, stamp.second, stamp.third
    while frame := read_frame(data, offset, stamp.first):
        if frame.sequence != sequence or frame.follows != chain:
            break
        yield frame, offset + HEADER + len(frame.name)
        offset, sequence, chain = frame.end, sequence + 1, frame.chain
        if frame.kind == END:
            break


def live_frames(folder):
    """All frames of a store in order, and where their value parts are; torn ones and freed segments left out."""
    with open(os.path.join(folder, "STORE"), "rb") as file:
        head = read_stamp(file.read(BLOCK), b"LARDERST")
    need(head, "STORE cannot be read")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".seg"))
    durable, segments = marked(folder, head.store), []
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            stamp = read_stamp(file.read(BLOCK), b"LARDERSG")
        if not stamp or stamp.store != head.store or stamp.number != int(name[:8]):
            segments.append((name, None, []))
            continue
        frames = [(frame, (path, at)) for frame, at in segment_frames(path, stamp)]
        durable = max([durable] + [frame.durable_through for frame, _ in frames])
        segments.append((name, stamp, frames))
    kept, last, ended = [], 0, True
    for name, stamp, frames in segments:
        follows = stamp and (ended or stamp.second == last + 1)
        if not follows:
            need(last >= durable, f"{name}: frames from {last + 1} on are lost")
            break
        kept.append((stamp.number, frames))
        last = frames[-1][0].sequence if frames else stamp.second - 1
        ended = bool(frames) and frames[-1][0].kind == END
    need(last >= durable, f"frames {last + 1} to {durable} are lost")
    freed = {struct.unpack("<Q", f.name)[0] for _, frames in kept for f, _ in frames if f.kind == FREED}
    for number, frames in kept:
        if number not in freed:
            yield from frames


def listing(store):
    """What is live, one line each."""
    out = [f"time {store.time}"]
    for r in store.records():
        sums = [blake3.blake3(part).hexdigest()[:16] for part in (r.head, r.body)]
        expiry = "never" if r.expiry_ms is None else r.expiry_ms
        what = r.shadow or "live"
        out.append(f"record {r.namespace:016x} {r.key.hex()} {r.version} {expiry} {what} {len(r.body)} {' '.join(sums)}")
    leased = set()
    for token, lease in store.leases.items():
        until = "confirmed" if lease.confirmed else lease.deadline_ms
        out.append(f"lease {token.hex()} {lease.namespace:016x} {lease.key.hex()} {until} {len(lease.blobs)}")
        leased |= lease.blobs
    out += [f"blob {blob_id.hex()} {len(store.blob(blob_id))}" for blob_id in leased]
    out += [f"released {token.hex()}" for token in store.released]
    out += [f"floor {ns:016x} {group} {floor[0]} {floor[1]}" for (ns, group), floor in store.floors.items()]
    return sorted(out)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: segments.py FOLDER")
    print("\n".join(listing(Store.read(sys.argv[1]))))


if __name__ == "__main__":
    main()
