"""What a hostile node could do: changes records of a stopped store so that every checksum of its log is right again.
Readers must find it out from the sealing alone. For tests; works on the folder it is given.

    tamper.py STORE_FOLDER --passphrase-file FILE HOW NAME [OTHER]

NAME and OTHER are files in the vault's root folder. HOW is one of
    nothing   the log is written anew and says the same
    byte      one byte in the middle of NAME's body is another
    bodies    NAME and OTHER exchange what describes their content
    records   NAME and OTHER exchange their whole records
    rollback  NAME is again what it was before it was last replaced (needs an older version)
The passphrase is needed to find the records only; everything is done to sealed bytes.
"""

import argparse
import os
import struct
import sys

import segments
from open_store import KEY_LEN, OpenStore, first_line

NAME_FIXED = 40


def with_key(name, key):
    """A record's name part under another key of the same folder (and so of the same slot)."""
    (old_len,) = struct.unpack("<H", name[12:14])
    return name[:12] + struct.pack("<H", len(key)) + name[14:NAME_FIXED] + key + name[NAME_FIXED + old_len :]


def change(frames, how, key, other):
    """`frames` are [kind, name, value, durable_through]; the last record of a key is the one that counts."""
    at = {}
    for index, (kind, name, _, _) in enumerate(frames):
        if kind == segments.RECORD:
            at[segments.read_name(name)[2]] = index
    one = frames[at[key]]
    if how == "nothing":
        return
    if how == "byte":
        middle = len(one[2]) // 2
        one[2] = one[2][:middle] + bytes([one[2][middle] ^ 1]) + one[2][middle + 1 :]
    elif how == "bodies":
        two = frames[at[other]]
        one[2], two[2] = two[2], one[2]
    elif how == "records":
        two = frames[at[other]]
        one[1], two[1] = with_key(one[1], other), with_key(two[1], key)
    else:
        older = max(k for k in at if len(k) > KEY_LEN and k.startswith(key))
        kind, name, value, durable = frames[at[older]]
        frames.append([kind, with_key(name, key), value, frames[-1][3]])


def written(frames, stamp):
    """The frames as bytes: places, numbers, chain and checksums as the log wants them."""
    out, follows = bytearray(), stamp.third
    for index, (kind, name, value, durable) in enumerate(frames):
        place = (segments.BLOCK + len(out)) // segments.ALIGN
        value_sum = 0 if kind == segments.BLOB else segments.checksum(value)
        head = struct.pack(
            "<2sBxIIIQQQQQ", b"LF", kind, len(name), len(value), place, stamp.second + index, durable, follows,
            segments.checksum(name), value_sum,
        )
        follows = segments.checksum(head, stamp.first)
        out += head + struct.pack("<Q", follows) + name + value
        out += bytes(-len(out) % segments.ALIGN)
    return bytes(out)


def main():
    parser = argparse.ArgumentParser(description="Changes a store as a hostile node could.")
    parser.add_argument("folder", metavar="STORE_FOLDER")
    parser.add_argument("--passphrase-file", metavar="FILE", required=True)
    parser.add_argument("how", metavar="HOW", choices=["nothing", "byte", "bodies", "records", "rollback"])
    parser.add_argument("names", metavar="NAME", nargs="+")
    arguments = parser.parse_args()
    vault = OpenStore(arguments.folder, passphrase=first_line(arguments.passphrase_file)).vault
    keys = [vault.entry_key(vault.root_dir, name) for name in arguments.names]
    paths = [os.path.join(arguments.folder, name) for name in os.listdir(arguments.folder) if name.endswith(".seg")]
    if len(paths) != 1:
        sys.exit("works on stores of one segment only")
    with open(paths[0], "rb") as file:
        block = file.read(segments.BLOCK)
    stamp = segments.read_stamp(block, b"LARDERSG")
    frames = [[f.kind, f.name, f.value, f.durable_through] for f, _ in segments.segment_frames(paths[0], stamp)]
    change(frames, arguments.how, keys[0], keys[-1])
    with open(paths[0], "wb") as file:
        file.write(block + written(frames, stamp))


if __name__ == "__main__":
    main()
