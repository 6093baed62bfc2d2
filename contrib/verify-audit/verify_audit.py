#!/usr/bin/env python3
"""Verify a transparency log, an evidence bundle, a purge receipt or an attestation of vsqlvault, with only Python's
standard library.

    python3 verify_audit.py audit.zip --vkey KEY [--checkpoint KEPT] [--archive DIR] [--keep FILE] [--rows FILE]
    python3 verify_audit.py evidence.zip --vkey KEY [--checkpoint KEPT]
    python3 verify_audit.py receipt.json --vkey KEY

It implements docs/audit-log.md, docs/evidence.md and the standards that they name, and shares no code with the vault.
Exit code 0: everything verified. 1: verification failed, and the first bad index is named. 2: the file, a key or a
checkpoint cannot be used.
"""

import argparse
import base64
import datetime
import hashlib
import json
import os
import re
import sys
import zipfile
import zlib

EXPORT = "vsqlvault-audit-export-v1"
RECEIPT = "vsqlvault-receipt-v1"
ROLL = "vsqlvault-key-roll-v1"
EVIDENCE = "vsqlvault-evidence-v1"
ATTESTATION = "vsqlvault-attestation-v1"
ACCESS_REVIEW = "vsqlvault-access-review-v1"
SIGNED = {
    "attestations.ndjson": ("attestations", "attestation", ATTESTATION),
    "access-reviews.ndjson": ("access_reviews", "access_review", ACCESS_REVIEW),
}
ARCHIVE = "vsqlvault-log-archive-v1"
PROOF = "c2sp.org/tlog-proof@v1"
MAX_BUNDLE = 256 * (2 + 65535)
MAX_TEXT = 4 * 1024 * 1024
TABLES = (
    "access_policies", "retention_policies", "legal_holds", "api_keys", "control_changes", "attestations", "access_reviews",
    "sweeps", "log_archives", "entries",
)  # fmt: skip
ENTRY = (
    "access_policy", "algorithm_hint", "created_at", "encoding", "entry_id", "expires_at", "external_id", "key_ref",
    "owner_app", "owner_identity", "purpose", "updated_at", "value_sha256", "value_size", "version",
)  # fmt: skip
STATEMENT = re.compile(
    r"(?:.*, )?access policy ([a-z0-9._-]{1,128}), expires ([0-9TZ:.-]{20,27}), entry sha256:([0-9a-f]{64})", re.ASCII
)
DROPPED = frozenset((
    "store", "update", "import", "retrieve", "inspect", "list", "purge", "authenticate", "read-access-policy",
    "read-retention-policy", "preview-retention-policy", "read-api-key", "explain-access", "replay-access-policy",
    "read-legal-hold", "read-access-log", "read-purge-log", "read-key-refs", "read-report", "read-transparency-log",
    "read-receipt", "read-controls", "read-attestation", "sign-in", "sign-out", "read-sessions", "end-session",
    "read-page", "submit-page", "unknown",
))  # fmt: skip
OPERATION = re.compile(rb'"operation":"([a-z-]+)","outcome":"([a-z]+)"')
SWEEP = re.compile(r"sweep (\w+): (\d+) purged, (\d+) failed(?:, (\d+) held)?(, not completed)?")


class Unusable(Exception):
    """The file, a key or a checkpoint cannot be used."""


class Refused(Exception):
    """A note, a key or a proof does not verify."""


class Unknown(Refused):
    """No trusted key has signed it."""


# # Ed25519 (RFC 8032, section 5.1), verification only. It handles no secret and need not be fast.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def point_add(a, b):
    """Add two points in extended coordinates."""
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    i, j, k, m = f - e, h - g, h + g, f + e
    return i * j % P, k * m % P, j * k % P, i * m % P


def point_times(scalar, point):
    """Multiply a point."""
    found = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            found = point_add(found, point)
        point = point_add(point, point)
        scalar >>= 1
    return found


def point_equal(a, b):
    """Whether two points are equal."""
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_decode(data):
    """Return the point that 32 bytes encode, or None."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * SQRT_M1 % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = point_decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signature_holds(public, message, signature):
    """Whether the public key signed the message."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = point_decode(public), point_decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    return point_equal(point_times(s, BASE), point_add(r, point_times(int.from_bytes(digest, "little") % L, a)))


# Keys, notes, checkpoints.


def decode64(text):
    """Decode canonical base64."""
    try:
        found = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("expected base64") from None
    if base64.b64encode(found).decode() != text:
        raise Refused("expected canonical base64")
    return found


def parse_key(text):
    """Return (name, id, public key) of a verifier key."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0] or re.search(r"\s", parts[0]):
        raise Refused("expected a verifier key: name+id+base64")
    material = decode64(parts[2])
    key_id = hashlib.sha256(parts[0].encode() + b"\n" + material).digest()[:4]
    if len(material) != 33 or material[0] != 1 or key_id.hex() != parts[1]:
        raise Refused("expected a verifier key for Ed25519, with the id of its name and key")
    return parts[0], key_id, material[1:]


def open_note(note, keys):
    """Return the text of a note, and the keys that have signed it."""
    if re.search(r"[\x00-\x09\x0b-\x1f]", note) or not note.endswith("\n"):
        raise Refused("expected a signed note")
    text, blank, signatures = note[:-1].rpartition("\n\n")
    if not blank:
        raise Refused("expected a signed note: text, empty line, signatures")
    signed = []
    for line in signatures.split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or not parts[1]:
            raise Refused("expected a signature line")
        material = decode64(parts[2])
        if len(material) < 5:
            raise Refused("expected a signature line")
        for key in keys:
            if key[0] == parts[1] and key[1] == material[:4]:
                if not signature_holds(key[2], (text + "\n").encode(), material[4:]):
                    raise Refused(f"the signature of {key[0]} does not verify")
                signed.append(key)
    return text + "\n", signed


def read_head(text):
    """Return (origin, size, root) of a checkpoint's text."""
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0] or not re.fullmatch("0|[1-9][0-9]{0,18}", lines[1]):
        raise Refused("expected a checkpoint: origin, size, root")
    root = decode64(lines[2])
    if len(root) != 32:
        raise Refused("expected a root hash of 32 bytes")
    return lines[0], int(lines[1]), root


def head_unchecked(note):
    """Return the content of a checkpoint without verifying its signature."""
    return read_head(open_note(note, [])[0])


def head_checked(note, keys):
    """Return the content of a checkpoint, if a trusted key of its origin has signed it."""
    text, signed = open_note(note, keys)
    head = read_head(text)
    if not any(key[0] == head[0] for key in signed):
        raise Refused("no trusted key has signed it")
    return head


def open_roll(note, keys):
    """Return the new key of a change that a trusted key and the new key have signed."""
    lines = note.partition("\n\n")[0].split("\n")
    if len(lines) != 3 or lines[0] != ROLL:
        raise Refused("expected a change of the key")
    old, new = parse_key(lines[1]), parse_key(lines[2])
    if old not in keys or old[0] != new[0]:
        raise Refused("the old key is not trusted")
    signed = open_note(note, [old, new])[1]
    if old not in signed or new not in signed:
        raise Refused("expected the signatures of both keys")
    return new


def notes_in(text):
    """Return the notes in the row of a confirmed restore. An empty line separates them, and each has one."""
    if not isinstance(text, str):
        return []
    parts = text.removesuffix("\n").split("\n\n")
    return [f"{parts[place]}\n\n{parts[place + 1]}\n" for place in range(0, len(parts) - 1, 2)]


def describe_restore(restore):
    """Return one line about a confirmed restore."""
    index, row, notes = restore
    sizes = []
    for note in notes:
        try:
            sizes.append(head_unchecked(note)[1])
        except Refused:
            continue
    given_up = ", ".join(map(str, sorted(sizes))) or "none"
    return f"leaf {index} confirms a restored database, at {row.get('at')}, by {row.get('app')}: sizes given up: {given_up}"


# Trees (RFC 9162, section 2.1).


def hash_leaf(data):
    """Hash a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def hash_pair(left, right):
    """Hash an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The roots of the complete subtrees of a growing tree, largest first: (height, hash)."""

    def __init__(self, peaks=()):
        self.peaks = list(peaks)

    def add(self, leaf):
        """Add the hash of a leaf."""
        height = 0
        while self.peaks and self.peaks[-1][0] == height:
            leaf = hash_pair(self.peaks.pop()[1], leaf)
            height += 1
        self.peaks.append((height, leaf))

    def add_subtree(self, height, root):
        """Add the root of a complete subtree of 2**height leaves."""
        while self.peaks and self.peaks[-1][0] == height:
            root = hash_pair(self.peaks.pop()[1], root)
            height += 1
        self.peaks.append((height, root))

    def root(self):
        """Return the root hash."""
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        found = self.peaks[-1][1]
        for _, peak in reversed(self.peaks[:-1]):
            found = hash_pair(peak, found)
        return found


def root_by_path(index, size, leaf, path):
    """Return the root of an inclusion proof, by splitting the tree as its definition does."""

    def up(index, size, path):
        if size == 1:
            if path:
                raise Refused("the proof has too many hashes")
            return leaf
        if not path:
            raise Refused("the proof has too few hashes")
        half = 1 << ((size - 1).bit_length() - 1)
        if index < half:
            return hash_pair(up(index, half, path[:-1]), path[-1])
        return hash_pair(path[-1], up(index - half, size - half, path[:-1]))

    if not 0 <= index < size:
        raise Refused("the index is beyond the tree")
    return up(index, size, path)


def full_tile_root(hashes):
    """Return the root over 256 hashes."""
    while len(hashes) > 1:
        hashes = [hash_pair(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def tile_name(index, width):
    """Return the path of a tile within its level."""
    parts = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        parts.insert(0, f"x{index % 1000:03}")
    return "/".join(parts) + ("" if width == 256 else f".p/{width}")


# The export.


class Export:
    """The members of the file, each read up to a limit."""

    def __init__(self, archive):
        self.archive = archive
        self.names = set(archive.namelist())

    def read(self, name, limit):
        """Return a member, or None if it does not exist."""
        if name not in self.names:
            return b""
        try:
            with self.archive.open(name) as member:
                data = member.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise Unusable(f"{name}: {error}") from None
        if len(data) > limit:
            raise Unusable(f"{name} is too large")
        return data

    def text(self, name):
        """Return a member as text."""
        try:
            return self.read(name, MAX_TEXT).decode("utf-8")
        except UnicodeDecodeError:
            raise Unusable(f"{name}: expected a text") from None

    def manifest(self):
        """Return the manifest."""
        try:
            found = json.loads(self.read("manifest.json", MAX_TEXT))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("format") != EXPORT:
            raise Unusable(f"expected an export with the format {EXPORT}")
        return found

    def lines(self, table):
        """Yield the number and the text of each line of a table. The manifest has the number of lines."""
        name, number = f"tables/{table}.ndjson", 0
        if name not in self.names:
            raise Unusable(f"{name} is missing, but the manifest has tables")
        try:
            with self.archive.open(name) as member:
                while line := member.readline(MAX_TEXT):
                    number += 1
                    yield number, line
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise Unusable(f"{name}: {error}") from None
        tables = self.manifest()["tables"]
        if not isinstance(tables, dict) or tables.get(table) != number:
            raise Unusable(f"{name} has {number} lines, but the manifest has another number")

    def bundle(self, index, width):
        """Return the leaves of a tile, missing ones without bytes, and whether there is any."""
        data = self.read("tile/entries/" + tile_name(index, width), MAX_BUNDLE)
        leaves, place = [], 0
        while place + 2 <= len(data) and len(leaves) < width:
            length = int.from_bytes(data[place : place + 2], "big")
            leaves.append(data[place + 2 : place + 2 + length])
            place += 2 + length
        if place != len(data):
            leaves = []
        return leaves + [b""] * (width - len(leaves))

    def tile(self, level, index, width):
        """Return the hashes of a tile, as many as exist."""
        data = self.read(f"tile/{level}/{tile_name(index, width)}", 8192)
        return [data[place : place + 32] for place in range(0, len(data), 32)]


# Archives (docs/archive.md).


class ArchiveDir:
    """The files of a directory with archives."""

    def __init__(self, path):
        self.path = path
        self.manifests = {}
        try:
            names = sorted(os.listdir(os.path.join(path, "archives")))
        except OSError as error:
            raise Unusable(f"{path}: expected a directory with an archive: {error.strerror}") from None
        for name in names:
            if re.fullmatch("[0-9]+[.]json", name):
                data = self.read(f"archives/{name}", MAX_TEXT)
                try:
                    found = json.loads(data)
                    places = found["number"], found["first"], found["end"]
                    if found["format"] != ARCHIVE or not all(type(each) is int for each in places):
                        raise ValueError
                    str(found["checkpoint"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise Unusable(f"{path}/archives/{name}: expected the format {ARCHIVE}") from None
                self.manifests[int(name[:-5])] = data, found

    def read(self, name, limit):
        """Return a file; nothing if it does not exist."""
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise Unusable(f"{self.path}/{name}: {error.strerror}") from None
        if len(data) > limit:
            raise Unusable(f"{self.path}/{name} is too large")
        return data

    def bundle(self, index):
        """Return the leaves of a full bundle; none if it is missing or malformed."""
        return read_leaves(self.read("tile/entries/" + tile_name(index, 256), MAX_BUNDLE))

    def hashes(self, level, index, size):
        """Return the hashes of a tile in a tree of this size, and how many there must be."""
        width = max(min((size >> (8 * level)) - index * 256, 256), 0)
        data = self.read(f"tile/{level}/{tile_name(index, width)}", 8192) if width else b""
        if width and not data:
            data = self.read(f"tile/{level}/{tile_name(index, 256)}", 8192)
        return [data[place : place + 32] for place in range(0, width * 32, 32)][:width], width

    def check(self, number, keys):
        """Yield what is wrong with an archive by itself: (index, sentence)."""
        manifest = self.manifests[number][1]
        first, end = manifest["first"], manifest["end"]
        try:
            _, size, root = head_checked(manifest["checkpoint"], keys)
        except Refused as refused:
            yield first, f"archive {number}: the checkpoint: {refused}"
            return
        if not 0 <= first < end <= size or first % 256 or end % 256:
            yield first, f"archive {number}: expected whole bundles under its checkpoint"
            return
        for index in range(first // 256, end // 256):
            leaves, hashes = self.bundle(index), self.hashes(0, index, size)[0]
            if [hash_leaf(leaf) for leaf in leaves] != hashes:
                yield index * 256, f"archive {number}: bundle {index} does not match its tile"
        yield from self.check_tiles(number, first, end, size)
        if self.root_of(size) != root:
            yield first, f"archive {number}: the tiles do not have the root of the checkpoint"

    def check_tiles(self, number, first, end, size):
        """Yield each tile over the leaves of an archive that does not match the tile above."""
        level = 0
        while size >> (8 * level):
            span = 256 << (8 * level)
            for index in range(first // span, -(-end // span)):
                hashes, width = self.hashes(level, index, size)
                above = self.hashes(level + 1, index // 256, size)[0]
                if len(hashes) < width or any(len(one) != 32 for one in hashes):
                    yield index * span, f"archive {number}: tile {index} of level {level} is missing or too short"
                elif width == 256 and above[index % 256 : index % 256 + 1] != [full_tile_root(hashes)]:
                    yield index * span, f"archive {number}: tile {index} of level {level} does not match the tile above"
            level += 1

    def root_of(self, size):
        """Return the root of the first leaves, from the tiles; None without them."""
        tree = Tree()
        for level in range(8, -1, -1):
            count = size >> (8 * level)
            if count % 256:
                hashes = self.hashes(level, count // 256, size)[0]
                if len(hashes) < count % 256:
                    return None
                for one in hashes[: count % 256]:
                    tree.add_subtree(8 * level, one)
        return tree.root()


def read_leaves(data):
    """Return the leaves of a bundle; none if it is malformed."""
    leaves, place = [], 0
    while place + 2 <= len(data):
        length = int.from_bytes(data[place : place + 2], "big")
        leaves.append(data[place + 2 : place + 2 + length])
        place += 2 + length
    return leaves if place == len(data) else []


def is_kept(leaf):
    """Whether the row of a leaf stays in the vault when its archive is dropped, whatever entries exist."""
    found = OPERATION.search(leaf) if leaf.startswith(b'{"access":') else None
    if found is None or found[1].decode() in DROPPED:
        return False
    return found[2] == b"granted" or found[1] == b"sweep"


class Archives:
    """The archives that the vault has recorded: which rows it may not have any longer, and which it must have."""

    def __init__(self, texts, directories):
        self.directories = directories
        self.absent = self.place = 0
        self.findings = []
        self.malformed = []
        self.notes = []
        self.recorded = {}
        self.dropped = {}
        self.found = []
        for text in texts:
            try:
                record = json.loads(text)
                places = record["number"], record["first"], record["end"], record["kept_rows"]
                if not all(type(each) is int for each in places):
                    raise ValueError
                record = {**record, "text": text, "missing": 0, "rows": 0, "digest": hashlib.sha256()}
                str(record["kept_sha256"]), str(record["manifest_sha256"])
                self.found.append(record)
            except (ValueError, KeyError, TypeError, RecursionError):
                self.malformed.append((0, "the record of an archive is malformed"))
        self.found.sort(key=lambda record: record["first"])

    def of(self, index):
        """Return the record of a leaf's archive. Leaves come in order."""
        while self.place < len(self.found) and index >= self.found[self.place]["end"]:
            self.place += 1
        if self.place < len(self.found) and index >= self.found[self.place]["first"]:
            return self.found[self.place]
        return None

    def take(self, index, leaf, stored):
        """Take a leaf of the vault, which is empty if the vault no longer has it. Return whether its hash stands for it."""
        record = self.of(index)
        if leaf:
            self.take_row(index, leaf)
            if record and is_kept(leaf):
                record["rows"] += 1
                record["digest"].update(hash_leaf(leaf))
            return False
        if record is None or len(stored) != 32:
            return False
        record["missing"] += 1
        self.absent += 1
        return not self.directories

    def take_row(self, index, leaf):
        """Take a row that records an archive or a drop."""
        if b'"archive-log"' not in leaf and b'"drop-archived"' not in leaf:
            return
        try:
            row = json.loads(leaf)["access"]
            if row["outcome"] != "granted":
                return
            if row["operation"] == "archive-log":
                self.recorded.setdefault(str(row["new_value"]), index)
            elif row["operation"] == "drop-archived":
                drop = json.loads(row["new_value"])
                self.dropped.setdefault((drop["archive"], drop["manifest_sha256"]), index)
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    def bundle(self, index):
        """Return the leaves of an archived bundle. An archive that no record names stands for no row."""
        numbers = {record["number"] for record in self.found}
        for directory in self.directories:
            for number, (_, manifest) in directory.manifests.items():
                if number in numbers and manifest["first"] <= index * 256 < manifest["end"]:
                    return directory.bundle(index)
        return []

    def finish(self, good, keys):
        """Find what is wrong with the archives. ``good`` is the size of the largest checkpoint that verified."""
        for record in self.found:
            if not record["missing"]:
                continue
            number = record["number"]
            if self.recorded.get(record["text"], good) >= good:
                self.findings.append(
                    (record["first"], f"rows are missing, and no signed leaf records archive {number}")
                )
            elif self.dropped.get((number, record["manifest_sha256"]), good) >= good:
                self.findings.append(
                    (record["first"], f"rows are missing, and no signed leaf records that archive {number} was dropped")
                )
            elif (record["rows"], record["digest"].hexdigest()) != (record["kept_rows"], record["kept_sha256"]):
                self.findings.append(
                    (
                        record["first"],
                        f"archive {number} left {record['kept_rows']} rows, and {record['rows']} are there",
                    )
                )
        self.compare(keys)
        return self.findings

    def compare(self, keys):
        """Compare the archives with their records. That of an interrupted run continues the last one, and has none."""
        records = {record["number"]: record for record in self.found}
        newest = max(records, default=0)
        follows = (newest + 1, records[newest]["end"] if newest else 0)
        for directory in self.directories:
            for number, (data, manifest) in directory.manifests.items():
                record = records.get(number)
                if record is None and (number, manifest["first"]) == follows:
                    self.notes.append(f"archive {number} is not recorded: its run was interrupted")
                elif record is None:
                    self.findings.append((manifest["first"], f"archive {number}: the log does not record it"))
                elif hashlib.sha256(data).hexdigest() != record["manifest_sha256"]:
                    self.findings.append(
                        (record["first"], f"archive {number} is not the recorded one: its manifest differs")
                    )
                self.findings += directory.check(number, keys)


class Check:
    """The verification of a log, leaf by leaf. ``findings`` are pairs of an index and a sentence."""

    def __init__(self, keys, heads, archives):
        self.keys = list(keys)
        self.archives = archives
        self.heads = sorted(heads, key=lambda each: each["size"])
        self.findings = []
        self.tree = Tree()
        self.stored = None
        self.size = 0
        self.unlike = []
        self.restores = []
        self.discontinued = []
        self.levels = [[]]

    def take(self, leaf, stored, stands=False):
        """Take the next leaf, and its hash in the tile, which may stand for the leaf."""
        found = stored if stands else hash_leaf(leaf)
        if found != stored:
            if self.stored is None:
                self.stored = Tree(self.tree.peaks)
            self.unlike.append(self.size)
        if self.stored is not None:
            self.stored.add(stored.ljust(32, b"\0"))
        self.tree.add(found)
        self.size += 1
        if b'"rotate-signing-key"' in leaf:
            self.roll(leaf)
        if b'"confirm-restore"' in leaf:
            self.restore(leaf)
        for head in self.heads:
            if head["size"] == self.size:
                self.compare(head)
        return found

    def roll(self, leaf):
        """Trust a key that a trusted key has signed."""
        try:
            row = json.loads(leaf)["access"]
            if row["operation"] == "rotate-signing-key":
                self.keys.append(open_roll(row["new_value"], self.keys))
        except (Refused, ValueError, KeyError, TypeError, RecursionError):
            print(f"note: leaf {self.size - 1} changes the key without the signature of a trusted key")

    def restore(self, leaf):
        """Take a confirmed restore: its row has the notes of the checkpoints that the log does not continue."""
        try:
            row = json.loads(leaf)["access"]
            if row["operation"] == "confirm-restore" and row["outcome"] == "granted":
                self.restores.append((self.size - 1, row, notes_in(row.get("new_value"))))
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    def discontinue(self, head, index, what):
        """Add a finding; for a kept checkpoint only if no confirmed restore has it."""
        if head["kept"]:
            self.discontinued.append((head["note"], (index, what)))
        else:
            self.findings.append((index, what))

    def compare(self, head):
        """Compare the root at the size of a checkpoint."""
        if self.tree.root() == head["root"]:
            head["good"] = True
        elif self.stored is None or self.stored.root() != head["root"]:
            before = [
                other["size"]
                for other in self.heads
                if other["good"] and other["size"] < head["size"] and (other["kept"] or not head["kept"])
            ]
            what = f"the leaves do not match the checkpoint of {head['size']} leaves"
            self.discontinue(head, max(before, default=0), what)

    def grow(self, level, hashes, export, size):
        """Add the hashes of one level, and compare each tile above level 0 once it is full, or at the end."""
        while len(self.levels) <= level:
            self.levels.append([])
        tile = self.levels[level]
        for one in hashes:
            tile.append(one)
            if len(tile) == 256:
                self.levels[level] = []
                self.compare_tile(level, tile, export, size, full=True)
                self.grow(level + 1, [full_tile_root(tile)], export, size)
                tile = self.levels[level]

    def compare_tile(self, level, expected, export, size, full):
        """Compare a tile above level 0 with the leaves."""
        if level == 0 or not expected:
            return
        index = (self.size >> (8 * (level + 1))) - (1 if full else 0)
        found = export.tile(level, index, min(256, (size >> (8 * level)) - index * 256))
        for place, one in enumerate(expected):
            if place >= len(found) or found[place] != one:
                first = (index * 256 + place) << (8 * level)
                end = first + (1 << (8 * level))
                if not any(first <= leaf < end for leaf in self.unlike):
                    self.findings.append((first, f"the tile of level {level} does not match the tiles below it"))
                    return

    def finish(self, anomalies, tables_follow):
        """Find the remaining problems. ``tables_follow``: malformed records of archives are left to ``unnamed_archives``."""
        if not self.heads:
            self.findings.append((0, "nothing is signed"))
        vouched = 0
        for head in self.heads:
            if head["size"] > self.size:
                self.discontinue(head, self.size, f"the log ends here, but the checkpoint has {head['size']} leaves")
            try:
                head_checked(head["note"], self.keys)
                if head["good"]:
                    vouched = head["size"]
            except Refused as refused:
                self.findings.append((vouched, f"the checkpoint of {head['size']} leaves: {refused}"))
        given_up = {note for index, _, notes in self.restores if index < vouched for note in notes}
        self.findings += [finding for note, finding in self.discontinued if note not in given_up]
        self.findings += self.archives.finish(vouched, self.keys)
        self.findings += [] if tables_follow else self.archives.malformed
        if self.unlike:
            self.findings.append((self.unlike[0], "the row does not match its hash in the tree"))
        for oddity in anomalies:
            self.findings.append((int(oddity["index"]), str(oddity["what"])))
        self.findings.sort()


def check_export(export, keys, kept, rows=None, replay=None, directories=()):
    """Return the verification of an export, and the origin. ``rows`` is a file for all rows. ``replay`` takes the leaves.

    ``directories`` have the archives; without any, the hashes of archived rows stand for them. With ``replay``, the tables are
    compared next, and ``unnamed_archives`` are added then.
    """
    manifest = export.manifest()
    archives = manifest.get("archives", [])
    if not isinstance(archives, list):
        raise Unusable("manifest.json: expected archives")
    heads, findings = [], []
    names = sorted(name for name in export.names if name.startswith("checkpoints/"))
    for note, is_kept in [(export.text(name), False) for name in [*names, "checkpoint"]] + [
        (note, True) for note in kept
    ]:
        try:
            origin, size, root = head_unchecked(note)
        except Refused as refused:
            if is_kept:
                raise Unusable(f"--checkpoint: {refused}") from None
            findings.append((max((head["size"] for head in heads), default=0), f"a checkpoint: {refused}"))
            continue
        heads.append({"origin": origin, "size": size, "root": root, "note": note, "kept": is_kept, "good": False})
    heads.sort(key=lambda head: not head["kept"])  # at one size, a kept checkpoint comes first
    own = [head for head in heads if not head["kept"]]
    size = max((head["size"] for head in own), default=0)
    check = Check(keys, heads, Archives(archives, directories))
    check.findings += findings
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        leaves, tile = export.bundle(index, width), export.tile(0, index, width)
        if not any(leaves) and not tile:
            break
        leaves, hashes = take_bundle(check, index, leaves, tile)
        check.grow(0, hashes, export, size)
        take_all(replay, index * 256, leaves)
        if rows:
            rows.writelines(leaf + b"\n" for leaf in leaves)
        show(check.size, size)
    for level, tile in enumerate(check.levels):
        check.compare_tile(level, tile, export, size, full=False)
    try:
        check.finish(manifest["anomalies"], tables_follow=replay is not None)
    except (KeyError, TypeError, ValueError):
        raise Unusable("manifest.json: expected anomalies, each with an index and a sentence") from None
    return check, own[-1]["origin"] if own else "a log"


def unnamed_archives(check, replay):
    """Return the findings about malformed records of archives that those about the tables do not name."""
    named = {finding.split(":")[0] for finding in replay.findings if finding.startswith("log_archives, ")}
    return check.archives.malformed[len(named) :]


def take_bundle(check, index, leaves, tile):
    """Take the leaves of a bundle, those that the vault no longer has from their archive. Return leaves and hashes."""
    whole, hashes, archived = [], [], None
    for place, leaf in enumerate(leaves):
        stored = tile[place] if place < len(tile) else b""
        stands = check.archives.take(index * 256 + place, leaf, stored)
        if not leaf and check.archives.directories:
            archived = check.archives.bundle(index) if archived is None else archived
            whole.append(archived[place] if place < len(archived) else b"")
        else:
            whole.append(leaf)
        hashes.append(check.take(whole[-1], stored, stands))
    return whole, hashes


def take_all(replay, index, leaves):
    """Replay leaves, if the export has tables."""
    for place, leaf in enumerate(leaves if replay else (), start=index):
        replay.take(place, leaf)


def check_receipt(receipt, keys):
    """Return the row of a receipt, its index, and the checkpoint's origin and size."""
    leaf, proof = receipt.get("leaf"), receipt.get("proof")
    if not isinstance(leaf, str) or not isinstance(proof, str):
        raise Refused("expected a leaf and a proof")
    before, blank, checkpoint = proof.partition("\n\n")
    lines = before.split("\n")
    if len(lines) > 1 and lines[1].startswith("extra "):
        del lines[1]
    if not blank or lines[0] != PROOF or len(lines) < 2 or not re.fullmatch("index (0|[1-9][0-9]{0,18})", lines[1]):
        raise Refused(f"expected a proof that starts with {PROOF}")
    index, path = int(lines[1][6:]), [decode64(line) for line in lines[2:]]
    if any(len(one) != 32 for one in path) or len(path) > 64:
        raise Refused("expected hashes of 32 bytes")
    origin, size, root = head_checked(checkpoint, keys)
    if root_by_path(index, size, hash_leaf(leaf.encode("utf-8")), path) != root:
        raise Refused("the proof leads to another root than the checkpoint's")
    try:
        row = json.loads(leaf)["purge"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("the leaf is not a row of the purge log") from None
    if receipt.get("purge") != row or receipt.get("entry_hash") != row.get("proof_hash"):
        raise Refused("purge or entry_hash does not match the leaf")
    return row, index, origin, size


def check_answer(document, keys):
    """Check a receipt, alone or in the response of DELETE, whose other members must be those of the row."""
    if "receipt" not in document:
        return check_receipt(document, keys)
    checked = check_receipt(document["receipt"], keys)
    for name in document:
        value, proven = document[name], checked[0].get(name)
        if isinstance(proven, dict) and isinstance(value, str):
            # The row of a leaf that would be too long has the hash and the size of a long string.
            data = value.encode("utf-8", "surrogatepass")
            value = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        if name != "receipt" and json.dumps(value, sort_keys=True) != json.dumps(proven, sort_keys=True):
            raise Refused(f"{json.dumps(name)[:80]} next to the receipt is not that of the row in the receipt")
    return checked


# Statements, attestations and evidence bundles (docs/evidence.md).


def open_statement(kind, document, note, keys):
    """Require that a trusted key has signed a document."""
    text, signed = open_note(note, keys)
    if not signed:
        raise Unknown("no trusted key has signed it")
    if text != f"{kind}\nsha256:{hashlib.sha256(document).hexdigest()}\n":
        raise Refused("the note is of another document")


def canonical(value):
    """Return the RFC 8785 form of a value without fractions."""
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be", "surrogatepass"))
        return b"{" + b",".join(canonical(name) + b":" + canonical(each) for name, each in members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, float):
        raise Refused("a number with a fraction")
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def check_signed(shown, keys, name, kind):
    """Return an attestation or an access review, if a trusted key has signed it."""
    document = shown.get(name) if isinstance(shown, dict) else None
    if not isinstance(document, dict) or document.get("format") != kind:
        raise Refused(f"expected {name} with the format {kind}")
    if not isinstance(shown.get("note"), str):
        raise Unknown(f"the {name.replace('_', ' ')} is not signed")
    text = canonical(document)
    open_statement(kind, text, shown["note"], keys)
    if shown.get("sha256") != hashlib.sha256(text).hexdigest():
        raise Refused("sha256 is not that of the document")
    return document


def read_time(text):
    """Return the time of an RFC 3339 text in UTC."""
    found = datetime.datetime.fromisoformat(str(text))
    if found.tzinfo is None:
        raise ValueError("expected a time with an offset")
    return found


RULES = {
    "change-retention-policy": ("retention_policies", "purpose"),
    "change-access-policy": ("access_policies", "name"),
    "change-legal-hold": ("legal_holds", "name"),
    "release-legal-hold": ("legal_holds", "name"),
}

NUMBERED = {"attest": "attestations", "review-access": "access_reviews", "archive-log": "log_archives"}


def read_row(row):
    """Return the table, the key and the members that a row of the access log says; None for rows about entries and others."""
    operation = row["operation"]
    if operation == "sweep":  # also one that ended in an error has a row in its table
        return read_sweep(row)
    if row["outcome"] != "granted":
        return None
    return read_rule(row) if operation in RULES or operation == "delete-access-policy" else read_record(row)


def read_sweep(row):
    """Return what a row says about a run of the sweep."""
    found = SWEEP.fullmatch(row.get("detail") or "")
    if not found:
        return None
    members = {"purged": int(found[2]), "failed": int(found[3]), "held": int(found[4] or 0), "completed": not found[5]}
    return "sweeps", found[1], members


def read_rule(row):
    """Return what a row says about a policy or a legal hold."""
    if row["operation"] == "delete-access-policy":
        version = json.loads(row["old_value"])["version"] + 1
        members = {"name": row["detail"], "version": version, "dropped": True}
        members |= {"created_by": row["app"], "created_at": row["at"]}
        return "access_policies", f"{row['detail']} v{version}", members
    table, name = RULES[row["operation"]]
    if isinstance(row["new_value"], dict):
        return table, "sha256:" + row["new_value"]["sha256"], {}
    document = json.loads(row["new_value"])
    return table, f"{document[name]} v{document['version']}", document


def read_record(row):
    """Return what a row says about an attestation, an access review, an archive, a control or a key."""
    operation = row["operation"]
    if operation in ("create-api-key", "revoke-api-key"):
        return "api_keys", row["detail"], json.loads(row["new_value"])
    if operation in ("control-failed", "control-recovered"):
        document = json.loads(row["new_value"])
        return "control_changes", f"{document['control']} at {document['at']}", document
    if operation in NUMBERED:
        document = json.loads(row["new_value"])
        return NUMBERED[operation], str(document["number"]), document
    return None


def is_close(time, other):
    """Whether two times are at most ten seconds apart."""
    return other is not None and abs(read_time(time) - read_time(other)) <= datetime.timedelta(seconds=10)


def entry_hash(row):
    """Return the hash of an entry: that of docs/purge.md, with the metadata as the text that is stored."""
    members = {name: canonical(row[name]) for name in ENTRY}
    members |= {"format": canonical("vsqlvault-entry-v1"), "metadata": row["metadata"].encode("utf-8", "surrogatepass")}
    text = b",".join(canonical(name) + b":" + members[name] for name in sorted(members))
    return hashlib.sha256(b"{" + text + b"}").hexdigest()


class Replay:
    """What the leaves of a bundle say about policies, legal holds, attestations and access reviews, by table and row."""

    TABLES = ("access_policies", "retention_policies", "legal_holds", "attestations", "access_reviews")
    MEMBERS = {
        "policies/access-policies.ndjson": ("access_policies", "name"),
        "policies/retention-policies.ndjson": ("retention_policies", "purpose"),
        "policies/legal-holds.ndjson": ("legal_holds", "name"),
    }
    SETTLED = datetime.timedelta(minutes=1)

    def __init__(self, as_of, since):
        """``since`` is None if the leaves begin with the first one of the log."""
        self.as_of, self.since, self.newest = as_of, since, None
        self.said = {}
        self.findings = []

    def take(self, index, leaf):
        """Take a leaf."""
        try:
            row = json.loads(leaf)["access"]
            at = read_time(row["at"])
            self.newest = at if self.newest is None else max(at, self.newest)
            table, key, members = read_row(row) or (None, None, None)
            if table in self.TABLES:
                self.said[table, key] = index, members, members.get("created_at") or row["at"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    def compare_version(self, member, document):
        """Compare a version with its leaf."""
        if document.get("built_in"):
            return
        table, name = self.MEMBERS[member]
        rest = {each: value for each, value in document.items() if each != "dropped"}
        text = json.dumps(rest, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        self.compare(table, f"{document[name]} v{document['version']}", document, document["created_at"], text)

    def compare_signed(self, member, shown):
        """Compare an attestation or an access review with its leaf."""
        table, name, _ = SIGNED[member]
        document = shown[name]
        found = {"number": document["number"], "sha256": hashlib.sha256(canonical(document)).hexdigest()}
        self.compare(table, str(document["number"]), found, document["at"], "")

    def compare(self, table, key, found, at, text):
        """Compare a row with its leaf, if it must have one."""
        said = self.said.pop((table, key), None)
        if said is None:
            by_hash = "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            if self.said.pop((table, by_hash), None) is None and self.must_have_leaf(read_time(at)):
                self.findings.append(f"{table}, {key}: no leaf created this row")
            return
        index, members, _ = said
        for name, value in found.items():
            if name in members:
                if members[name] != value:
                    self.findings.append(
                        f"{table}, {key}: {name} is {value!r}, the log has {members[name]!r} (leaf {index})"
                    )
            elif value and not members.get("dropped"):
                self.findings.append(f"{table}, {key}: {name} is {value!r}, the log has none (leaf {index})")

    def must_have_leaf(self, at):
        """Whether the leaf of a row of this time is in the bundle."""
        if self.newest is None or at > self.newest - self.SETTLED:
            return False
        return self.since is None or at >= self.since

    def finish(self):
        """Find the rows that leaves created and the bundle does not have."""
        for (table, key), (index, _, at) in self.said.items():
            if read_time(at) <= self.as_of:
                self.findings.append(f"{table}, {key}: missing (leaf {index})")


class TableReplay:
    """What the leaves of an export say about its tables, by table and key of the row."""

    def __init__(self):
        self.said = {name: {} for name in TABLES}
        self.gone = {}
        self.early = set()
        self.moved = {}
        self.counted = {}
        self.waiting = False
        self.changed = set()
        self.skipped = set()
        self.findings = []

    def take(self, index, leaf):
        """Take a leaf."""
        try:
            document = json.loads(leaf)
            if "purge" in document:
                self.take_purge(document["purge"])
            else:
                self.take_row(index, document["access"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    def take_purge(self, row):
        """Take a row of the purge log. A replaced version is not the end of its entry."""
        if row["method"] == "replace":
            return
        key = f"{row['purpose']}/{row['external_id']}"
        known = self.said["entries"].get(key)
        if known and known[1]["entry_id"] == row["entry_id"]:
            del self.said["entries"][key]
        else:
            self.early.add(row["entry_id"])
        self.counted.pop(row["entry_id"], None)
        self.gone[key] = row["entry_id"]
        self.moved.pop(key, None)
        self.changed.add(("entries", key))

    def take_row(self, index, row):
        """Take a row of the access log."""
        operation = row["operation"]
        if row["outcome"] == "granted" and operation in ("store", "update"):
            self.take_store(index, row, row.get("app"))
        elif row["outcome"] == "granted" and operation == "import":
            if "external_id" in row:  # the row that counts a run has none
                self.take_store(index, row, json.loads(row["new_value"])["owner_app"])
        elif row["outcome"] == "granted" and operation == "retrieve":
            if not self.waiting and "retrieval counted" in (row.get("detail") or "").split(", "):
                self.counted[row["entry_id"]] = self.counted.get(row["entry_id"], 0) + 1
            self.take_retrieval(index, row)
        elif found := read_row(row):
            table, key, members = found
            if table == "api_keys":
                members = {**self.said[table].get(key, (0, {}))[1], **members}
            self.say(table, key, index, members)

    def take_store(self, index, row, app):
        """Take a new version of an entry. Both logs are put into the tree in turn, so a purge may come first."""
        key, entry_id = f"{row['purpose']}/{row['external_id']}", row.get("entry_id")
        if entry_id is None or entry_id in self.early:
            return
        known = self.said["entries"].get(key, (0, {}))[1]
        is_same = known.get("entry_id") == entry_id
        if is_same and row["entry_version"] <= known["version"]:
            return
        owner = known["owner_app"] if is_same else app if row["entry_version"] == 1 else None
        members = {"entry_id": entry_id, "version": row["entry_version"], "owner_app": owner}
        self.say("entries", key, index, {**members, **stated(row)})
        self.moved.pop(key, None)

    def take_retrieval(self, index, row):
        """Take a retrieval that moved the expiry of its entry: the same version."""
        key, new = f"{row['purpose']}/{row['external_id']}", stated(row)
        known = self.said["entries"].get(key, (0, {}))[1]
        if not new or not known or known.get("sha256") == new["sha256"]:
            return
        if (known["entry_id"], known["version"]) != (row.get("entry_id"), row["entry_version"]):
            return
        self.moved.pop(key, None)
        if is_close(new["expires_at"], known.get("expires_at")):
            self.moved[key] = known
        self.say("entries", key, index, {**known, **new})

    def say(self, table, key, index, members):
        """Keep what a leaf says."""
        self.said[table][key] = index, members
        self.changed.add((table, key))

    def find(self, table, key, what):
        """Add a finding, unless the row may have changed while the file was written."""
        if (table, key) in self.changed:
            self.skipped.add((table, key))
        else:
            self.findings.append(f"{table}, {key}: {what}")

    def compare(self, table, key, row):
        """Compare a row with its leaf."""
        if table == "entries":
            self.compare_entry(key, row)
            return
        said = self.said[table].pop(key, None)
        if said is None and "version" in row:
            rest = {each: value for each, value in row.items() if each != "dropped"}
            text = json.dumps(rest, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
            by_hash = "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            if self.said[table].pop(by_hash, None):
                return
        if said is None:
            self.find(table, key, "no leaf created this row")
            return
        index, members = said
        for name, value in row.items():
            if name in members:
                if members[name] != value:
                    self.find(table, key, f"{name} is {value!r}, the log has {members[name]!r} (leaf {index})")
            elif value and not members.get("dropped") and name != "digest_sha256":
                self.find(table, key, f"{name} is {value!r}, the log has none (leaf {index})")

    def compare_entry(self, key, row):
        """Compare an entry with its leaf."""
        if key != f"{row['purpose']}/{row['external_id']}":
            raise Refused("the key of another entry")
        was_purged = self.gone.get(key) == row["entry_id"]
        said = self.said["entries"].pop(key, None)
        if "purged_at" in row:
            if not was_purged:
                self.find("entries", key, "no leaf purged this entry")
        elif said is None:
            self.find("entries", key, "it was purged" if was_purged else "no leaf stored this entry")
        else:
            counted = self.counted.get(row["entry_id"], 0)
            if type(row.get("retrievals", counted)) is not int:
                self.find("entries", key, "retrievals is not a number")
            elif row.get("retrievals", counted) < counted:
                self.find(
                    "entries", key, f"retrievals is {row['retrievals']}, the log has {counted} counted retrievals"
                )
            found = differing(row, said[1])
            if found and not (key in self.moved and not differing(row, self.moved[key])):
                for what in found:
                    self.find("entries", key, f"{what} (leaf {said[0]})")

    def take_fault(self, fault):
        """Take a fault that the exporter found: a row that cannot be decoded, or one that is wrong in itself."""
        table, key, what = str(fault["table"]), str(fault["key"]), fault["what"]
        said = self.said.get(table, {}).pop(key, None) if what is None else None
        leaf = said[0] if said else fault.get("leaf")
        after = f" (leaf {leaf})" if type(leaf) is int else ""
        self.find(table, key, f"{what or 'the row cannot be decoded'}{after}")

    def finish(self):
        """Find the rows that leaves created and that the tables do not have."""
        for table, rows in self.said.items():
            for key, (index, _) in rows.items():
                self.find(table, key, f"the row is missing (leaf {index})")


def stated(row):
    """Return what the row of a store says about its entry; rows of earlier versions say nothing."""
    found = STATEMENT.fullmatch(row.get("detail") or "")
    return {"access_policy": found[1], "expires_at": found[2], "sha256": found[3]} if found else {}


def differing(row, members):
    """Return how an entry differs from its leaf. The hash is of all members, so it names none of them."""
    found = [
        f"{name} is {row[name]!r}, the log has {value!r}"
        for name, value in members.items()
        if name != "sha256" and value is not None and row[name] != value
    ]
    if not found and "sha256" in members and entry_hash(row) != members["sha256"]:
        found = ["a member is not as stored: the hash of the entry is another one"]
    return found


def check_tables(export, replay):
    """Compare the tables of an export with its leaves, which ``replay`` has taken."""
    size = sum(map(len, replay.said.values()))
    replay.changed, replay.waiting = set(), True
    for _, leaf in export.lines("waiting"):
        replay.take(size, leaf.rstrip(b"\n"))
    for table in TABLES:
        for number, line in export.lines(table):
            try:
                document = json.loads(line)
                replay.compare(table, document["key"], document["row"])
            except (Refused, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                replay.findings.append(f"{table}, line {number}: malformed")
    for number, line in export.lines("anomalies"):
        try:
            replay.take_fault(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            replay.findings.append(f"anomalies, line {number}: malformed")
    replay.finish()


class Bundle(Export):
    """An evidence bundle: a manifest with the hash of every member, and a part of the log."""

    def __init__(self, archive, keys):
        super().__init__(archive)
        self.keys, self.findings, self.remarks, self.restores = keys, [], [], []
        self.receipts, self.signed = 0, dict.fromkeys(SIGNED, 0)

    def check(self, kept):
        """Check everything. Once a member differs, the rest is not checked. ``kept`` are notes."""
        try:
            heads = [(note, head_unchecked(note)) for note in kept]
        except Refused as refused:
            raise Unusable(f"--checkpoint: {refused}") from None
        try:
            self.check_file(heads)
        except Unusable as error:  # a member cannot be read
            self.findings.append(str(error))

    def check_file(self, kept):
        """Check the members, then the log, the receipts, the attestations and the state."""
        note = self.text("manifest.note")
        data = self.read("manifest.json", 16 * MAX_TEXT)
        try:
            open_statement(EVIDENCE, data, note, self.keys)
            self.take_manifest(json.loads(data))
        except (Refused, ValueError, KeyError, TypeError, RecursionError) as error:
            self.findings.append(f"the manifest: {error}")
            return
        self.check_members()
        if not self.findings:
            self.check_log(kept)
            self.check_receipts()
            self.check_signed()
        if not self.findings:
            self.check_state()

    def take_manifest(self, manifest):
        """Read the manifest, which a trusted key has signed."""
        part = manifest["log"]
        self.origin, self.size, self.first, self.end = part["origin"], part["size"], part["first"], part["end"]
        if manifest["format"] != EVIDENCE or not 0 <= self.first <= self.end <= self.size:
            raise Refused(f"expected the format {EVIDENCE}, and a part of the log")
        self.members = {each["name"]: (each["size"], each["sha256"]) for each in manifest["members"]}
        self.bundles = range(self.first // 256, -(-self.end // 256)) if self.first < self.end else range(0)
        since = None if self.bundles.start == 0 else read_time(manifest["period"]["since"])
        self.replay = Replay(read_time(manifest["as_of"]), since)

    def check_members(self):
        """Compare every member with the manifest."""
        found = [name for name in self.archive.namelist() if name not in ("manifest.json", "manifest.note")]
        self.findings += [f"{name}: listed more than once" for name in sorted(set(found)) if found.count(name) > 1]
        self.findings += [f"{name}: missing from the manifest" for name in sorted(set(found) - set(self.members))]
        for name, (size, digest) in sorted(self.members.items()):
            if name not in self.names:
                self.findings.append(f"{name}: missing from the file")
            elif self.digest(name, size) != digest:
                self.findings.append(f"{name}: differs from the signed content")

    def digest(self, name, size):
        """Return the hash of a member; None if it does not have this size."""
        digest, left = hashlib.sha256(), size
        try:
            with self.archive.open(name) as member:
                while piece := member.read(min(left + 1, 65536)):
                    digest.update(piece)
                    left -= len(piece)
                    if left < 0:
                        return None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError):
            return None
        return digest.hexdigest() if left == 0 else None

    def hashes(self, level, index):
        """Return the hashes of a tile of the log, and how many there must be."""
        width = max(min((self.size >> (8 * level)) - index * 256, 256), 0)
        data = self.read(f"log/tile/{level}/{tile_name(index, width)}", 8192) if width else b""
        return [data[place : place + 32] for place in range(0, len(data), 32)], width

    def leaves(self, index):
        """Return the leaves of a tile of level 0."""
        data = self.read("log/tile/entries/" + tile_name(index, self.hashes(0, index)[1]), MAX_BUNDLE)
        leaves, place = [], 0
        while place + 2 <= len(data):
            length = int.from_bytes(data[place : place + 2], "big")
            leaves.append(data[place + 2 : place + 2 + length])
            place += 2 + length
        return leaves

    def check_leaves(self):
        """Check the leaves and tiles of the part."""
        for index in self.bundles:
            hashes, width = self.hashes(0, index)
            leaves = self.leaves(index)
            for place in range(width):
                leaf = leaves[place] if place < len(leaves) else b""
                if hashes[place : place + 1] != [hash_leaf(leaf)]:
                    self.findings.append(f"log, index {index * 256 + place}: the leaf does not match its hash")
                elif b'"confirm-restore"' in leaf:
                    self.restore(index * 256 + place, leaf)
                self.replay.take(index * 256 + place, leaf)
            self.check_above(0, index)
        level = 1
        while self.size >> (8 * level):
            for index in range(-(-(self.size >> (8 * level)) // 256)):
                self.check_above(level, index)
            level += 1

    def check_log(self, kept):
        """Check the part of the log, and the checkpoints."""
        self.check_leaves()
        head = self.checkpoint("log/checkpoint")
        if head and head[:2] != (self.origin, self.size):
            self.findings.append("log/checkpoint: of another log than the manifest")
        elif head:
            self.compare_root("log/checkpoint", head)
        for name in sorted(name for name in self.members if name.startswith("log/checkpoints/")):
            if earlier := self.checkpoint(name):
                self.compare_root(name, earlier)
        for note, (_, size, root) in kept:
            self.compare_kept(note, size, root)

    def restore(self, index, leaf):
        """Take a confirmed restore."""
        try:
            row = json.loads(leaf)["access"]
            if row["operation"] == "confirm-restore" and row["outcome"] == "granted":
                self.restores.append((index, row, notes_in(row.get("new_value"))))
        except (ValueError, KeyError, TypeError, RecursionError):
            return

    def check_above(self, level, index):
        """Compare a full tile with its hash in the tile above."""
        hashes, width = self.hashes(level, index)
        above = self.hashes(level + 1, index // 256)[0]
        if len(hashes) < width:
            self.findings.append(f"log: tile {index} of level {level} is missing or too short")
        elif width == 256 and above[index % 256 : index % 256 + 1] != [full_tile_root(hashes)]:
            self.findings.append(f"log, index {index << (8 * level + 8)}: the tile of level {level} does not match")

    def checkpoint(self, name):
        """Return the head of a checkpoint in the file. If an unknown key signed it, the manifest covers it."""
        note = self.text(name)
        try:
            head = head_unchecked(note)
            if open_note(note, self.keys)[1]:
                head_checked(note, self.keys)
            else:
                self.remarks.append(f"{name}: signed by a key that was not given")
        except Refused as refused:
            self.findings.append(f"{name}: {refused}")
            return None
        return head

    def root_of(self, size):
        """Return the root of the first ``size`` leaves, from the tiles; None without the tiles."""
        tree = Tree()
        for level in range(8, -1, -1):
            count = size >> (8 * level)
            if count % 256:
                hashes = self.hashes(level, count // 256)[0]
                if len(hashes) < count % 256:
                    return None
                for one in hashes[: count % 256]:
                    tree.add_subtree(8 * level, one)
        return tree.root()

    def compare_root(self, name, head):
        """Compare a checkpoint with the leaves."""
        if self.root_of(head[1]) != head[2]:
            self.findings.append(f"{name}: does not match these leaves")

    def compare_kept(self, note, size, root):
        """Compare a kept checkpoint with the leaves, if the file has those at its edge."""
        if size > self.size or (size != self.size and size % 256 and size // 256 not in self.bundles):
            self.remarks.append(f"the kept checkpoint of {size} leaves was not verified: outside of the period")
        elif self.root_of(size) != root:
            try:
                head_checked(note, self.keys)
                is_given_up = not self.findings and any(note in notes for _, _, notes in self.restores)
            except Refused:
                is_given_up = False
            if not is_given_up:
                self.findings.append(f"the kept checkpoint of {size} leaves does not match these leaves")

    def check_receipts(self):
        """Check the receipts."""
        for name in sorted(name for name in self.members if name.startswith("receipts/")):
            try:
                row = check_receipt(json.loads(self.read(name, MAX_TEXT)), self.keys)[0]
                if name != f"receipts/{row['id']}.json":
                    raise Refused("of another purge")
            except (Refused, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                self.findings.append(f"{name}: {error}")
            self.receipts += 1

    def lines(self, name):
        """Yield the lines of a member."""
        if name in self.names:
            with self.archive.open(name) as member:
                yield from enumerate(member, start=1)

    def check_signed(self):
        """Check the attestations and the access reviews."""
        for member, (_, name, kind) in SIGNED.items():
            for number, line in self.lines(member):
                try:
                    check_signed(json.loads(line), self.keys, name, kind)
                    self.signed[member] += 1
                except Unknown as unknown:
                    self.remarks.append(f"{member}, line {number}: {unknown}")
                except (Refused, ValueError, RecursionError) as error:
                    self.findings.append(f"{member}, line {number}: {error}")

    def check_state(self):
        """Compare the policies, legal holds, attestations and access reviews with the leaves."""
        for name in [*self.replay.MEMBERS, *SIGNED]:
            for number, line in self.lines(name):
                try:
                    if name in self.replay.MEMBERS:
                        self.replay.compare_version(name, json.loads(line))
                    else:
                        self.replay.compare_signed(name, json.loads(line))
                except (Refused, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    self.findings.append(f"{name}, line {number}: malformed")
        self.replay.finish()
        self.findings += self.replay.findings


# The command.


def show(done, of):
    """Show the progress on a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {of} leaves checked" + ("\n" if done == of else ""))


def read_file(path):
    """Return the start of a file, which is the whole file for a text."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_TEXT)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None


def open_new(path):
    """Create a file that does not exist yet; without a path, discard the output."""
    try:
        return open(path, "xb") if path else open(os.devnull, "wb")
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None


def read_keys(texts):
    """Return the given keys, each as a text or as a file with keys."""
    lines = []
    for text in texts:
        lines += read_file(text).decode("utf-8", "replace").split("\n") if os.path.isfile(text) else [text]
    try:
        return [parse_key(line) for line in lines if line.strip()]
    except Refused as refused:
        raise Unusable(f"--vkey: {refused}") from None


def read_kept(path):
    """Return the checkpoints in a file: one as it was served, or several in the format of the file anchor."""
    text = read_file(path).decode("utf-8", "replace")
    if not text.startswith("{"):
        return [text.rstrip() + "\n"]
    try:
        return [str(json.loads(line)["note"]) for line in text.split("\n") if line.strip()]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unusable(f"{path}: expected a checkpoint, or JSON lines with a note each") from None


def run(arguments):
    """Verify the export, print the result, and return the exit code."""
    keys = read_keys(arguments.vkey)
    kept = [note for path in arguments.checkpoint for note in read_kept(path)]
    data = read_file(arguments.file)
    if data.lstrip()[:1] == b"{":
        return run_document(data, keys)
    try:
        archive = zipfile.ZipFile(arguments.file)
    except (OSError, zipfile.BadZipFile) as error:
        raise Unusable(f"{arguments.file}: {error}") from None
    if "manifest.note" in archive.namelist():
        with archive:
            return run_bundle(Bundle(archive, keys), kept)
    with archive, open_new(arguments.rows) as rows:
        export = Export(archive)
        replay = TableReplay() if "tables" in export.manifest() else None
        directories = [ArchiveDir(path) for path in arguments.archive]
        check, origin = check_export(export, keys, kept, rows, replay, directories)
        newest = export.text("checkpoint")
        if replay:
            check_tables(export, replay)
            check.findings = sorted(check.findings + unnamed_archives(check, replay))
    return show_export(arguments, check, origin, newest, replay)


def show_export(arguments, check, origin, newest, replay):
    """Print the result for an export, and return the exit code."""
    for restore in check.restores[:10]:
        print(f"note: {describe_restore(restore)}")
    if check.findings:
        print(f"THE LOG DOES NOT VERIFY. The first bad index is {check.findings[0][0]}.")
        for index, what in check.findings[:10]:
            print(f"  {index}: {what}")
        return 1
    print(f"The log verifies: {check.size} leaves of {origin}, under {len(check.heads)} checkpoints.")
    show_archived(check.archives)
    if replay is None:
        print("The export has no tables: it proves the log alone.")
    elif replay.findings:
        print("THE TABLES ARE NOT AS THE LOG SAYS.")
        for finding in replay.findings[:10]:
            print(f"  {finding}")
        return 1
    else:
        print("The tables are as the log says. The file has no values.")
        if replay.skipped:
            print(f"{len(replay.skipped)} rows changed while the export was written and were not compared.")
    if arguments.keep:
        with open_new(arguments.keep) as file:
            file.write(newest.encode("utf-8"))
        print(f"The newest checkpoint was written to {arguments.keep}. Keep it for the next time.")
    return 0


def show_archived(archives):
    """Print how many rows are not in the export, and which archive was written and not recorded yet."""
    for note in archives.notes:
        print(f"note: {note}")
    if archives.absent and archives.directories:
        print(f"{archives.absent} rows are not in the export: they were read from the archive.")
    elif archives.absent:
        print(f"{archives.absent} rows are in archives and were not read: use --archive DIR to verify them too.")


def counted(number, word):
    """Return a number with its word."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def run_bundle(bundle, kept):
    """Verify an evidence bundle."""
    bundle.check(kept)
    for remark in bundle.remarks[:10]:
        print(f"note: {remark}")
    for restore in bundle.restores[:10]:
        print(f"note: {describe_restore(restore)}")
    if bundle.findings:
        print("THE EVIDENCE DOES NOT VERIFY.")
        for finding in bundle.findings[:10]:
            print(f"  {finding}")
        return 1
    print(
        f"The evidence verifies: leaves {bundle.first} to {bundle.end} of {bundle.size} of {bundle.origin},"
        f" {counted(bundle.receipts, 'receipt')}, {counted(bundle.signed['attestations.ndjson'], 'attestation')},"
        f" {counted(bundle.signed['access-reviews.ndjson'], 'access review')}."
    )
    return 0


def run_document(data, keys):
    """Verify an attestation, an access review, or a receipt, alone or in the response of DELETE."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Unusable("expected JSON") from None
    if "note" not in document and {"as_of", "period", "requirements"} <= set(document):
        raise Unusable(
            "expected a file with a signature, found a compliance report: verify the evidence file it came in"
        )
    for _, name, kind in SIGNED.values():
        if not isinstance(document.get(name), dict):
            continue
        what = name.replace("_", " ")
        try:
            found = check_signed(document, keys, name, kind)
        except Refused as refused:
            print(f"THE {what.upper()} DOES NOT VERIFY: {refused}")
            return 1
        result = found.get("result") or found.get("purpose") or "all purposes"
        print(f"The {what} verifies: {found.get('number')}, at {found.get('at')}: {result}.")
        return 0
    receipt = document.get("receipt", document)
    if not isinstance(receipt, dict) or receipt.get("format") != RECEIPT:
        raise Unusable(f"expected a receipt with the format {RECEIPT}")
    try:
        row, index, origin, size = check_answer(document, keys)
    except Refused as refused:
        print(f"THE RECEIPT DOES NOT VERIFY: {refused}")
        return 1
    print(f"The receipt verifies: leaf {index} of {size} of {origin}.")
    for name in sorted(row):
        print(f"  {name:<18} {row[name]}")
    for place in receipt.get("not_reached") or ():
        print(f"  not reached: {place}")
    return 0


def main(arguments=None):
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", help="a log export, an evidence file, a receipt, an attestation or an access review")
    parser.add_argument("--vkey", action="append", required=True, help="a verifier key, or a file with verifier keys")
    parser.add_argument("--checkpoint", action="append", default=[], help="a file with a checkpoint that you kept")
    parser.add_argument(
        "--archive", action="append", default=[], metavar="DIR", help="a directory with archives of the log"
    )
    parser.add_argument("--keep", metavar="FILE", help="write the newest checkpoint to this file, if the log verifies")
    parser.add_argument("--rows", metavar="FILE", help="write the rows to this file, one JSON line each")
    try:
        return run(parser.parse_args(arguments))
    except Unusable as unusable:
        print(f"verify_audit: {unusable}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
