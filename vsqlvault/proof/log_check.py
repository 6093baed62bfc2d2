"""Checking a whole log, leaf by leaf, against what was signed. No I/O: whoever has the leaves feeds them in.

What is checked: that each leaf is the one whose hash is in its tile; that the tiles above are those of the tiles below; that
the tree over the leaves has the root of every checkpoint, at its size; and that a trusted key has signed it, where a key may
vouch for its successor in the log itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint
from vsqlvault.proof.key_roll import open_roll
from vsqlvault.proof.note import NoteRefused, VerifierKey, split_note
from vsqlvault.proof.tiles import HEIGHT, WIDTH, Edge
from vsqlvault.proof.tree import HASH_BYTES, GrowingTree, leaf_hash

_ROLL = b'"operation":"rotate-signing-key"'


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that is not as it was signed, and the first leaf that it is, or may be, about."""

    index: int
    what: str


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint to compare with: one of the log's own, or one that whoever checks has kept."""

    head: TreeHead
    note: str
    is_kept: bool = False

    @classmethod
    def parse(cls, note: str, *, is_kept: bool = False) -> SignedHead:
        """Read a note without believing it. Raises NoteRefused: it is no checkpoint."""
        return cls(TreeHead.parse(split_note(note)[0]), note, is_kept)

    def __str__(self) -> str:
        return f"the checkpoint {'that was kept, ' if self.is_kept else ''}of {self.head.size} leaves"


class LogCheck:
    """Takes leaves in order, and tells in the end what is not as it was signed.

    ``remarks`` are worth knowing and no fault. ``keys`` are those that are trusted, and those that these vouch for.
    """

    def __init__(self, heads: Iterable[SignedHead], keys: Iterable[VerifierKey]) -> None:
        self.heads = sorted(heads, key=lambda signed: (signed.head.size, not signed.is_kept))
        self.keys = set(keys)
        self.findings: list[Finding] = []
        self.remarks: list[str] = []
        self._tree = GrowingTree()
        self._edge = Edge()
        self._compared = 0
        self._good: list[SignedHead] = []
        self._as_stored: GrowingTree | None = None
        """The tree over the hashes of the tiles, from where it differs from that over the leaves."""
        self._unlike: int | None = None
        self._unlike_tiles: set[int] = set()
        self._is_empty_leaf = False

    @property
    def size(self) -> int:
        """How many leaves were taken."""
        return self._tree.size

    def add_bundle(self, leaves: Sequence[bytes], tile: bytes) -> dict[TileKey, bytes]:
        """Take the leaves of the next tile of level 0, and the hashes that this tile is said to have.

        A leaf without bytes is one that is gone. Returns the tiles above that are now complete, as they should be.
        """
        hashes: list[bytes] = []
        for place, leaf in enumerate(leaves):
            found, stored = leaf_hash(leaf), tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]
            if found != stored:
                self._differs(leaf)
            if self._as_stored is not None:
                self._as_stored.append(stored.ljust(HASH_BYTES, b"\x00"))
            hashes.append(found)
            self._tree.append(found)
            if _ROLL in leaf:
                self._roll(leaf)
            while self._compared < len(self.heads) and self.heads[self._compared].head.size <= self.size:
                self._compare(self.heads[self._compared])
                self._compared += 1
        self._edge, tiles = self._edge.grown(hashes)
        return {key: one for key, one in tiles.items() if key.level and len(one) == WIDTH * HASH_BYTES}

    def last_tiles(self) -> dict[TileKey, bytes]:
        """Return the partial tiles above level 0 with which the tree ends, as they should be."""
        return {key: tile for key, tile in self._edge.tiles().items() if key.level}

    def check_tile(self, key: TileKey, expected: bytes, found: bytes) -> None:
        """Hold a tile above level 0 against what it should be; leaves that differ are told of already."""
        for place in range(len(expected) // HASH_BYTES):
            begin, end = place * HASH_BYTES, (place + 1) * HASH_BYTES
            if expected[begin:end] != found[begin:end]:
                first = (key.index * WIDTH + place) << (HEIGHT * key.level)
                below = range(first >> HEIGHT, (first >> HEIGHT) + (1 << (HEIGHT * (key.level - 1))))
                if self._unlike_tiles.isdisjoint(below):
                    self.findings.append(Finding(first, f"the tile of level {key.level} is not that of those below it"))
                    return

    def finish(self) -> None:
        """Say what is missing at the end, whose signature does not hold, and what the leaves that differ amount to."""
        if not self.heads:
            self.findings.append(Finding(0, "nothing is signed"))
        for late in self.heads[self._compared :]:
            self.findings.append(Finding(self.size, f"the log ends here, but not {late}"))
        good = self._check_signatures()
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
            return "the tile of level 0 does not have the hash of this row, which is as it was signed"
        if self._is_empty_leaf:
            return "its row is gone, or is none that the vault can have written"
        return "its row is not the one whose hash is in the tree"

    def _compare(self, signed: SignedHead) -> None:
        """Hold the tree as it is now against a checkpoint of as many leaves."""
        if self._tree.root() == signed.head.root:
            self._good.append(signed)
        elif self._as_stored is None or self._as_stored.root() != signed.head.root:
            # Who has forged the log has forged its own checkpoints, too: only those that were kept tell where it was good.
            peers = [one.head.size for one in self._good if one.is_kept or not signed.is_kept]
            first = max((size for size in peers if size < self.size), default=0)
            text = f"somewhere from here to {self.size - 1} the leaves are not those of {signed}"
            self.findings.append(Finding(first, text))

    def _check_signatures(self) -> int:
        """Check every checkpoint's signature, and return the size of the largest that is good in every way."""
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
        except (NoteRefused, ValueError, KeyError, TypeError, AttributeError) as error:
            self.remarks.append(f"leaf {index} changes the signing key without the word of a trusted one: {error}")
        else:
            self.keys.add(new)
            self.remarks.append(f"leaf {index} changes the signing key to {new}, by the old key's word")
