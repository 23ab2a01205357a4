"""Opens a node's store folder given nothing but the passphrase, and lists or writes out every file in it. It shares
no code with Larder: segments.py reads the log (docs/design/format-log.md), sealed.py what is sealed in it
(docs/design/format-seal.md), and this file walks from the vault's header to every version of every file.

    open_store.py STORE_FOLDER --passphrase-file FILE [--list | --get PATH [--version V] | --all OUT]

--list (unless told otherwise) prints one JSON line for each folder, file and link: path, kind, and its versions, newest
first; a deleted file has only old ones. --get writes one file's content to standard output. --all writes the current
tree to OUT/files and every older version to OUT/versions/PATH/VERSION, and prints what --list prints. Everything is
verified as it is read: signatures, that heads and bodies lie where they were written, that each version names the one
before it, length and BLAKE3 of content. The exit code is 1 if something did not verify; the rest is still read.

The node may run meanwhile: what it writes after the reader has begun may be missing. Values are not in a store folder:
they live in the node's memory only. Needs the packages in requirements.txt.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import time

import segments
from sealed import CHILD_DIRECTORY, DIRECTORY, FILE, SUITE, SYMLINK, VAULT_HEADER, Fields, Refused, Vault
from sealed import derive_key, namespace_id, need, statement_hash

SYSTEM = 0
# What keys of tokens' records in the system namespace begin with.
TOKENS = b"token/"
KEY_LEN, VERSION_KEY_LEN = 32, 40
OPEN = 1
KIND_NAMES = {FILE: "file", SYMLINK: "link"}


@dataclasses.dataclass
class Version:
    """One version of a file, verified but for its content."""

    number: int
    current: bool
    expires_ms: int | None
    head: object
    manifest: object


@dataclasses.dataclass
class Entry:
    """What has a path. `versions` is newest first; the first is the current one unless the file is deleted."""

    path: str
    kind: str
    deleted: bool
    versions: list


def namespaces(records):
    """Settings of every namespace: {name: "memory" or "disk"}."""
    found = {}
    for key, record in records.get(SYSTEM, {}).items():
        if key.startswith(TOKENS):
            continue
        f = Fields(record.body)
        need(f.u8() in (1, 2), "namespace settings of another format")
        name, privacy, on_disk = f.text(), f.u8(), f.u8()
        need(privacy in (0, 1) and on_disk in (0, 1), "namespace settings")
        found[name] = "disk" if on_disk else "memory"
    return found


class OpenStore:
    """A store folder with its vault opened."""

    def __init__(self, folder, passphrase=None, recovery_code=None):
        self.store = segments.Store.read(folder)
        self.now_ms = max(self.store.time >> 16, int(time.time() * 1000))
        records = {}
        for record in self.store.records():
            if record.shadow is None and (record.expiry_ms is None or record.expiry_ms > self.now_ms):
                records.setdefault(record.namespace, {})[record.key] = record
        self.namespaces = namespaces(records)
        self.refused = []
        headers = records.get(namespace_id("keys"), {}).values()
        headers = [record for record in headers if record.body[:2] == bytes([SUITE, VAULT_HEADER])]
        self.vault = self.open_vault(headers, passphrase, recovery_code)
        self.files = namespace_id("files")
        # Everything in one folder begins with the same 16 bytes.
        self.by_folder = {}
        for key, record in records.get(self.files, {}).items():
            self.by_folder.setdefault(key[:16], {})[key] = record

    @staticmethod
    def open_vault(records, passphrase, recovery_code):
        need(records, "there is no vault header in this store")
        failure = None
        for record in records:
            try:
                vault = Vault.open(record.body, passphrase=passphrase, recovery_code=recovery_code)
                own_key = derive_key("larder 2026 vault header record", vault.id)
                need(record.key == own_key, "a header under another key")
                return vault
            except Refused as why:
                failure = why
        raise failure

    # ---- folders

    def folder_record(self, directory):
        """A folder's own record, or None."""
        key = self.vault.directory_key(directory)
        record = self.by_folder.get(self.vault.dir_prefix(directory), {}).get(key)
        if record is None:
            return None
        head = self.vault.open_head(self.files, key, record.head)
        need(head.kind == DIRECTORY and head.id == directory, "another record where a folder's own belongs")
        return head

    def confirmed(self, parent, head):
        """Whether a child folder's own record says that it hangs here; otherwise the entry is left over from a move."""
        own = self.folder_record(head.id)
        return own is not None and (own.parent, own.name, own.state) == (parent, head.name, OPEN)

    def walk(self):
        """Every entry, each folder before what is in it; deleted folders, whose files may still have versions, last."""
        paths = {self.vault.root_dir: ""}
        yield from self.walk_from(self.vault.root_dir, paths)
        deleted = {id: own for id, own in self.folders() if id not in paths}
        while deleted:
            hung = [id for id, own in deleted.items() if own.parent in paths]
            # The record of a folder above may be gone already.
            id = hung[0] if hung else next(iter(deleted))
            own = deleted.pop(id)
            paths[id] = f"{paths[own.parent] if hung else '/lost+found'}/{own.name}"
            yield Entry(paths[id], "folder", True, [])
            yield from self.walk_from(id, paths)

    def walk_from(self, directory, paths):
        todo = [directory]
        while todo:
            directory = todo.pop()
            entries, below = self.entries(directory, paths[directory])
            yield from entries
            for id, path in reversed(below):
                paths[id] = path
                todo.append(id)

    def folders(self):
        """The own record of every folder there is or was: its id and head."""
        for records in self.by_folder.values():
            for key, record in records.items():
                if len(key) != KEY_LEN:
                    continue
                try:
                    head = self.vault.open_head(self.files, key, record.head)
                except Refused:
                    continue  # Said already where it was met as an entry.
                if head.kind == DIRECTORY and key == self.vault.directory_key(head.id):
                    yield head.id, head

    def entries(self, directory, at):
        own = self.vault.directory_key(directory)
        grouped = {}
        for key, record in self.by_folder.get(self.vault.dir_prefix(directory), {}).items():
            if key != own:
                grouped.setdefault(key[:KEY_LEN], []).append(record)
        found, below = [], []
        for key, records in grouped.items():
            try:
                entry, child = self.entry(directory, at, key, records)
            except Refused as why:
                self.refuse(f"{at}/ (key {key.hex()})", why)
                continue
            if entry:
                found.append(entry)
            if child:
                below.append((child, entry.path))
        return sorted(found, key=lambda e: e.path), sorted(below, key=lambda b: b[1])

    def entry(self, directory, at, key, records):
        """What lies under one entry's key: the entry, and its id if it is a folder."""
        name, folder, current, older = None, None, None, []
        for record in records:
            head = self.vault.open_head(self.files, record.key, record.head)
            need(key == self.vault.entry_key(directory, head.name), "an entry under another name's key")
            name = head.name
            if head.kind == CHILD_DIRECTORY:
                if len(record.key) != KEY_LEN:
                    continue  # A deleted folder as it is kept; its own record says the same.
                folder = head if self.confirmed(directory, head) else None
                continue
            _, body = self.vault.open_record(self.files, record.key, record.head, record.body)
            manifest = self.vault.open_manifest(head, body)
            if len(record.key) == KEY_LEN:
                current = Version(record.version, True, record.expiry_ms, head, manifest)
            else:
                need(len(record.key) == VERSION_KEY_LEN, "a key of another length")
                number = int.from_bytes(record.key[KEY_LEN:], "big")
                older.append(Version(number, False, record.expiry_ms, head, manifest))
        # While a file is being replaced its current version is there twice for a moment.
        older = [v for v in older if current is None or v.number != current.number]
        versions = ([current] if current else []) + sorted(older, key=lambda v: v.number, reverse=True)
        self.check_chain(versions)
        path = f"{at}/{name}"
        if folder:
            # A file of that name may have been there before.
            return Entry(path, "folder", False, versions), folder.id
        if not versions:
            return None, None
        return Entry(path, KIND_NAMES[versions[0].head.kind], current is None, versions), None

    def check_chain(self, versions):
        """Each version names the statement of the one it replaced, as far as that is still there."""
        by_number = {v.number: v for v in versions}
        for version in versions:
            before = by_number.get(version.manifest.previous_version)
            if before:
                said = statement_hash(before.manifest.statement(self.vault.id))
                need(said == version.manifest.previous_statement, "a version was put in another's place")

    # ---- content

    def pieces(self, version):
        """The content, verified at its end."""
        return self.vault.pieces(version.manifest, self.blob)

    def blob(self, blob_id):
        need(blob_id in self.store.blobs, f"blob {blob_id.hex()} is missing")
        return self.store.blob(blob_id)

    def refuse(self, what, why):
        self.refused.append(what)
        print(f"refused {what}: {why}", file=sys.stderr)


def described(entry):
    """An entry as one JSON line."""
    versions = [
        {
            "version": str(v.number),
            "size": v.manifest.size,
            "blake3": v.manifest.content_hash.hex(),
            "mode": v.head.attributes.mode,
            "mtime_ns": v.head.attributes.mtime_ns,
            "expires_ms": v.expires_ms,
        }
        for v in entry.versions
    ]
    line = {"path": entry.path, "kind": entry.kind, "deleted": entry.deleted, "versions": versions}
    return json.dumps(line, ensure_ascii=False)


def write_out(opened, version, target):
    """One version to a local path: a link as a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if version.head.kind == SYMLINK:
        target.symlink_to(b"".join(opened.pieces(version)).decode())
        return
    with open(target, "xb") as file:
        for piece in opened.pieces(version):
            file.write(piece)
    if version.head.attributes.mode:
        os.chmod(target, version.head.attributes.mode & 0o777)
    if version.head.attributes.mtime_ns:
        os.utime(target, ns=(version.head.attributes.mtime_ns,) * 2)


def write_all(opened, out):
    """The whole store below a folder. Names that lead out of it are refused, whoever sealed them."""
    for entry in opened.walk():
        print(described(entry))
        inner = entry.path.lstrip("/")
        if any(part in ("", ".", "..") or "\0" in part for part in inner.split("/")):
            opened.refuse(entry.path, "a name that no file may have")
            continue
        if entry.kind == "folder" and not entry.deleted:
            try:
                (out / "files" / inner).mkdir(parents=True, exist_ok=True)
            except OSError as why:
                opened.refuse(entry.path, why.strerror)
        for version in entry.versions:
            target = out / "files" / inner if version.current else out / "versions" / inner / str(version.number)
            try:
                write_out(opened, version, target)
            except Refused as why:
                target.unlink(missing_ok=True)
                opened.refuse(f"{entry.path} version {version.number}", why)
            except OSError as why:
                opened.refuse(f"{entry.path} version {version.number}", why.strerror)


def get(opened, path, number):
    """One file's content to standard output."""
    for entry in opened.walk():
        if entry.path != path:
            continue
        for version in entry.versions:
            if str(version.number) == number or (number is None and version.current):
                for piece in opened.pieces(version):
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                return
    raise Refused(f"{path} is not there" if number is None else f"{path} has no version {number}")


def first_line(path):
    """A secret as it was typed: the first line; only a line break ends it."""
    return pathlib.Path(path).read_bytes().partition(b"\n")[0].removesuffix(b"\r")


def main():
    parser = argparse.ArgumentParser(description="Opens a store folder of Larder, given the passphrase.")
    parser.add_argument("folder", metavar="STORE_FOLDER")
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument("--passphrase-file", metavar="FILE")
    secret.add_argument("--recovery-code-file", metavar="FILE")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="one JSON line for each entry (the default)")
    what.add_argument("--get", metavar="PATH", help="one file's content to standard output")
    what.add_argument("--all", metavar="OUT", type=pathlib.Path, help="write everything below this folder")
    parser.add_argument("--version", metavar="V", help="with --get: this version instead of the current one")
    arguments = parser.parse_args()
    try:
        if arguments.passphrase_file:
            opened = OpenStore(arguments.folder, passphrase=first_line(arguments.passphrase_file))
        else:
            code = first_line(arguments.recovery_code_file).decode()
            opened = OpenStore(arguments.folder, recovery_code=code)
        if arguments.get is not None:
            get(opened, arguments.get, arguments.version)
        elif arguments.all is not None:
            write_all(opened, arguments.all)
        else:
            for entry in opened.walk():
                print(described(entry))
    except (Refused, segments.Damaged) as why:
        sys.exit(f"refused: {why}")
    in_memory = sorted(name for name, where in opened.namespaces.items() if where == "memory")
    print(f"not in this folder: {', '.join(in_memory)} (kept in the node's memory only)", file=sys.stderr)
    sys.exit(1 if opened.refused else 0)


if __name__ == "__main__":
    main()
