"""Verifies a whole log, leaf by leaf, against its signatures. No I/O: the caller provides the leaves.

The check verifies that each leaf has the hash in its tile, that each tile above matches the tiles below, that the tree
over the leaves has the root of every checkpoint at its size, and that a trusted key has signed each checkpoint. A
trusted key may sign its successor in the log itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.archived_leaves import ArchivedLeaves
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint
from vsqlvault.proof.key_roll import open_roll
from vsqlvault.proof.note import NoteRefused, VerifierKey, split_note
from vsqlvault.proof.restores import ConfirmedRestore, restore_in
from vsqlvault.proof.tiles import HEIGHT, WIDTH, Edge
from vsqlvault.proof.tree import HASH_BYTES, GrowingTree, leaf_hash
from vsqlvault.quick_dataclass import dataclass

_ROLL = b'"operation":"rotate-signing-key"'


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A problem, and the first leaf that it concerns or may concern."""

    index: int
    what: str


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint to compare with: one of the log's own, or one that the verifier has kept."""

    head: TreeHead
    note: str
    is_kept: bool = False

    @classmethod
    def parse(cls, note: str, *, is_kept: bool = False) -> SignedHead:
        """Parse a note without verifying it. Raises NoteRefused if it is not a checkpoint."""
        return cls(TreeHead.parse(split_note(note)[0]), note, is_kept)

    def __str__(self) -> str:
        return f"the checkpoint {'that was kept, ' if self.is_kept else ''}of {self.head.size} leaves"


class LogCheck:
    """Takes leaves in order, and returns the problems at the end.

    ``remarks`` are notes that are not problems. ``keys`` are the trusted keys, including those that trusted keys have
    signed. ``restores`` are the confirmed restores. A checkpoint that was kept and that the log does not continue is no
    problem if a confirmed restore has its note, under a checkpoint of this log that verifies, and a trusted key signed it.

    ``archives`` are the ``new_value`` of rows ``archive-log``. A leaf in one of them may be missing: its hash in the tile
    stands for it. The rows must be in the log, under a checkpoint that verifies.
    """

    def __init__(self, heads: Iterable[SignedHead], keys: Iterable[VerifierKey], archives: Iterable[str] = ()) -> None:
        self.heads = sorted(heads, key=lambda signed: (signed.head.size, not signed.is_kept))
        self.keys = set(keys)
        self.findings: list[Finding] = []
        self.remarks: list[str] = []
        self.restores: list[ConfirmedRestore] = []
        self.archived = ArchivedLeaves(archives)
        self._discontinued: list[tuple[SignedHead, Finding]] = []
        """The kept checkpoints that the log does not continue."""
        self._tree = GrowingTree()
        self._edge = Edge()
        self._compared = 0
        self._good: list[SignedHead] = []
        self._as_stored: GrowingTree | None = None
        """The tree over the hashes in the tiles, from where it differs from the tree over the leaves."""
        self._unlike: int | None = None
        self._unlike_tiles: set[int] = set()
        self._is_empty_leaf = False

    @property
    def size(self) -> int:
        """The number of leaves taken."""
        return self._tree.size

    def add_bundle(self, leaves: Sequence[bytes], tile: bytes) -> dict[TileKey, bytes]:
        """Take the leaves of the next tile of level 0, and the hashes in this tile.

        A leaf without bytes is missing. Returns the correct tiles above that are now complete.
        """
        hashes: list[bytes] = []
        for place, leaf in enumerate(leaves):
            found, stored = leaf_hash(leaf), tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]
            if self.archived.stands_for(self.size, leaf, stored):
                found = stored
            if found != stored:
                self._differs(leaf)
            if self._as_stored is not None:
                self._as_stored.append(stored.ljust(HASH_BYTES, b"\x00"))
            hashes.append(found)
            self._tree.append(found)
            self.archived.take(self.size - 1, leaf, found)
            if _ROLL in leaf:
                self._roll(leaf)
            if restore := restore_in(self.size - 1, leaf):
                self.restores.append(restore)
            while self._compared < len(self.heads) and self.heads[self._compared].head.size <= self.size:
                self._compare(self.heads[self._compared])
                self._compared += 1
        self._edge, tiles = self._edge.grown(hashes)
        return {key: one for key, one in tiles.items() if key.level and len(one) == WIDTH * HASH_BYTES}

    def last_tiles(self) -> dict[TileKey, bytes]:
        """Return the correct partial tiles above level 0 at the end of the tree."""
        return {key: tile for key, tile in self._edge.tiles().items() if key.level}

    def check_tile(self, key: TileKey, expected: bytes, found: bytes) -> None:
        """Compare a tile above level 0 with the correct one. Leaves that differ have been reported already."""
        for place in range(len(expected) // HASH_BYTES):
            begin, end = place * HASH_BYTES, (place + 1) * HASH_BYTES
            if expected[begin:end] != found[begin:end]:
                first = (key.index * WIDTH + place) << (HEIGHT * key.level)
                below = range(first >> HEIGHT, (first >> HEIGHT) + (1 << (HEIGHT * (key.level - 1))))
                if self._unlike_tiles.isdisjoint(below):
                    self.findings.append(
                        Finding(first, f"the tile of level {key.level} does not match the tiles below it")
                    )
                    return

    def finish(self) -> None:
        """Report what is missing at the end, which signatures do not verify, and which checkpoints differ."""
        if not self.heads:
            self.findings.append(Finding(0, "nothing is signed"))
        for late in self.heads[self._compared :]:
            self._discontinues(late, Finding(self.size, f"the log ends here, but not {late}"))
        good = self._check_signatures()
        given_up = {note for restore in self.restores if restore.index < good for note in restore.notes}
        self.findings += [finding for signed, finding in self._discontinued if signed.note not in given_up]
        self.remarks += [str(restore) for restore in self.restores]
        self.findings += [Finding(*each) for each in self.archived.finish(good)]
        if self._unlike is not None:
            self.findings.append(Finding(self._unlike, self._of_leaf(is_signed=good > self._unlike)))
        self.findings.sort()

    def _differs(self, leaf: bytes) -> None:
        if self._as_stored is None:
            self._as_stored = self._tree.copy()
            self._unlike, self._is_empty_leaf = self.size, not leaf
        self._unlike_tiles.add(self.size >> HEIGHT)

    def _of_leaf(self, *, is_signed: bool) -> str:
        if is_signed:
            return "the tile of level 0 does not have the hash of this row, which matches its signed hash"
        if self._is_empty_leaf:
            return "the row is missing, or cannot have been written by the vault"
        return "the row does not match its hash in the tree"

    def _compare(self, signed: SignedHead) -> None:
        """Compare the current tree with a checkpoint of the same size."""
        if self._tree.root() == signed.head.root:
            self._good.append(signed)
        elif self._as_stored is None or self._as_stored.root() != signed.head.root:
            # A forger of the log has also forged its own checkpoints. Only kept checkpoints show up to where it was
            # unchanged.
            peers = [one.head.size for one in self._good if one.is_kept or not signed.is_kept]
            first = max((size for size in peers if size < self.size), default=0)
            text = f"between this leaf and {self.size - 1}, the leaves do not match {signed}"
            self._discontinues(signed, Finding(first, text))

    def _discontinues(self, signed: SignedHead, finding: Finding) -> None:
        if signed.is_kept:
            self._discontinued.append((signed, finding))
        else:
            self.findings.append(finding)

    def _check_signatures(self) -> int:
        """Verify every checkpoint's signature, and return the size of the largest one that verifies completely."""
        good = 0
        for signed in self.heads:
            try:
                open_checkpoint(signed.note, self.keys)
            except NoteRefused as refused:
                self.findings.append(Finding(good, f"{signed}: {refused}"))
            else:
                if signed in self._good:
                    good = signed.head.size
        return good

    def _roll(self, leaf: bytes) -> None:
        index = self.size - 1
        try:
            row = json.loads(leaf)["access"]
            if row.get("operation") != "rotate-signing-key":
                return
            new = open_roll(row["new_value"], self.keys)
        except (NoteRefused, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.remarks.append(f"leaf {index} changes the signing key without the signature of a trusted key: {error}")
        else:
            self.keys.add(new)
            self.remarks.append(f"leaf {index} changes the signing key to {new}, signed by the old key")
