#!/usr/bin/env python3
"""Verify a transparency log of vsqlvault, or a purge receipt, with only Python's standard library.

    python3 verify_audit.py audit.zip --vkey KEY [--checkpoint KEPT] [--keep FILE] [--rows FILE]
    python3 verify_audit.py receipt.json --vkey KEY

It implements docs/audit-log.md and the standards that the page names, and shares no code with the vault. Exit code 0:
everything verified. 1: verification failed, and the first bad index is named. 2: the file, a key or a checkpoint cannot be
used.
"""

import argparse
import base64
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
PROOF = "c2sp.org/tlog-proof@v1"
MAX_BUNDLE = 256 * (2 + 65535)
MAX_TEXT = 4 * 1024 * 1024


class Unusable(Exception):
    """The file, a key or a checkpoint cannot be used."""


class Refused(Exception):
    """A note, a key or a proof does not verify."""


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


class Check:
    """The verification of a log, leaf by leaf. ``findings`` are pairs of an index and a sentence."""

    def __init__(self, keys, heads):
        self.keys = list(keys)
        self.heads = sorted(heads, key=lambda each: each["size"])
        self.findings = []
        self.tree = Tree()
        self.stored = None
        self.size = 0
        self.unlike = []
        self.restores = []
        self.discontinued = []
        self.levels = [[]]

    def take(self, leaf, stored):
        """Take the next leaf, and its hash in the tile."""
        found = hash_leaf(leaf)
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

    def finish(self, anomalies):
        """Find the remaining problems."""
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
        if self.unlike:
            self.findings.append((self.unlike[0], "the row does not match its hash in the tree"))
        for oddity in anomalies:
            self.findings.append((int(oddity["index"]), str(oddity["what"])))
        self.findings.sort()


def check_export(export, keys, kept, rows=None):
    """Return the verification of an export, and the origin. ``rows`` is a file for all rows."""
    manifest = export.manifest()
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
    check = Check(keys, heads)
    check.findings += findings
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        leaves, tile = export.bundle(index, width), export.tile(0, index, width)
        if not any(leaves) and not tile:
            break
        hashes = [check.take(leaf, tile[place] if place < len(tile) else b"") for place, leaf in enumerate(leaves)]
        check.grow(0, hashes, export, size)
        if rows:
            rows.writelines(leaf + b"\n" for leaf in leaves)
        show(check.size, size)
    for level, tile in enumerate(check.levels):
        check.compare_tile(level, tile, export, size, full=False)
    try:
        check.finish(manifest["anomalies"])
    except (KeyError, TypeError, ValueError):
        raise Unusable("manifest.json: expected anomalies, each with an index and a sentence") from None
    return check, own[-1]["origin"] if own else "a log"


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
        return run_receipt(data, keys)
    try:
        archive = zipfile.ZipFile(arguments.file)
    except (OSError, zipfile.BadZipFile) as error:
        raise Unusable(f"{arguments.file}: {error}") from None
    with archive, open_new(arguments.rows) as rows:
        export = Export(archive)
        check, origin = check_export(export, keys, kept, rows)
        newest = export.text("checkpoint")
    for restore in check.restores[:10]:
        print(f"note: {describe_restore(restore)}")
    if check.findings:
        print(f"THE LOG DOES NOT VERIFY. The first bad index is {check.findings[0][0]}.")
        for index, what in check.findings[:10]:
            print(f"  {index}: {what}")
        return 1
    print(f"The log verifies: {check.size} leaves of {origin}, under {len(check.heads)} checkpoints.")
    if arguments.keep:
        with open_new(arguments.keep) as file:
            file.write(newest.encode("utf-8"))
        print(f"The newest checkpoint was written to {arguments.keep}. Keep it for the next time.")
    return 0


def run_receipt(data, keys):
    """Verify a receipt, alone or in the response of DELETE."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Unusable("expected JSON") from None
    receipt = document.get("receipt", document)
    if not isinstance(receipt, dict) or receipt.get("format") != RECEIPT:
        raise Unusable(f"expected a receipt with the format {RECEIPT}")
    try:
        row, index, origin, size = check_receipt(receipt, keys)
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
    parser.add_argument("file", help="a log export, or a receipt")
    parser.add_argument("--vkey", action="append", required=True, help="a verifier key, or a file with verifier keys")
    parser.add_argument("--checkpoint", action="append", default=[], help="a file with a checkpoint that you kept")
    parser.add_argument("--keep", metavar="FILE", help="write the newest checkpoint to this file, if the log verifies")
    parser.add_argument("--rows", metavar="FILE", help="write the rows to this file, one JSON line each")
    try:
        return run(parser.parse_args(arguments))
    except Unusable as unusable:
        print(f"verify_audit: {unusable}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
