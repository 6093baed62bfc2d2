"""Keeping the transparency log: which row is which leaf, the tiles of the tree, and the checkpoints.

A storage keeps with every row of both logs the hash of its leaf (``vsqlvault.proof.leaf.row_hash``), in the row's own commit.
Indexes are given later, by one sequencer at a time, in an order of the storage's own choice in which nothing comes in behind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import Checkpoint, LogName, RowPlace, TileKey


@dataclass(frozen=True, slots=True)
class PendingLeaf:
    """A row that is committed and has no index yet, and the hash of its leaf, 32 bytes."""

    place: RowPlace
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class TreeGrowth:
    """What a tree of ``size`` leaves grows by: rows that become leaves, in order, the tiles that changes, and its new head.

    ``checkpoint`` is None where nobody signs.
    """

    size: int
    places: Sequence[RowPlace]
    tiles: Mapping[TileKey, bytes]
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class LeafRow:
    """A leaf and the row it was made of.

    ``record`` is None where the row is not there, or is none that this program could have written. ``leaf_hash`` is what
    is kept with the row, None for a row from before leaves were kept.
    """

    index: int
    place: RowPlace
    record: AccessRecord | PurgeRecord | None
    leaf_hash: bytes | None


class TreeStorage(Protocol):
    """The part of a storage that the transparency log stands on. Errors are as for ``Storage``."""

    async def tree_size(self) -> int:
        """Return how many leaves have an index."""
        ...

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """Return rows without an index, in the order in which they get one, at most ``limit`` of each log.

        No row may be committed later that would belong before one of these. It never holds up a commit; where commits
        under way leave the order open, it returns those that are settled, perhaps none. The hash of a row that has none is
        that of the row as it stands.
        """
        ...

    async def grow_tree(self, growth: TreeGrowth) -> bool:
        """Commit the growth as a whole, and return True; False, and nothing, where the tree has not ``growth.size`` leaves."""
        ...

    async def tiles(self, keys: Collection[TileKey]) -> Mapping[TileKey, bytes]:
        """Return those of the tiles that are there, each as long as it has become."""
        ...

    async def newest_checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint of the largest tree."""
        ...

    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]:
        """Return checkpoints of more than ``after`` leaves, the smallest first. Shorter than ``limit``: there are no more."""
        ...

    async def thin_checkpoints(self, sizes: Collection[int]) -> None:
        """Take out the checkpoints of these sizes; one that is not there is none to take out.

        Whoever asks, the database lets none go that is younger than a day, by its own clock, or that the next one does not
        stand for: one signed in the same hour, or on the same day (UTC) where it is older than 90 days.

        Raises:
            Unavailable: also where one of them is not to go; then all of them stay.
        """
        ...

    async def leaf_rows(self, first: int, count: int) -> Sequence[LeafRow]:
        """Return ``count`` leaves from ``first`` on with their rows, by index; a leaf that is not there is left out."""
        ...

    async def purge_index(self, purge_id: str) -> int | None:
        """Return the index of the leaf of a purge; None where it has none."""
        ...

    async def row_positions(self, log: LogName, after: int | None, until: int | None, limit: int) -> Sequence[int]:
        """Return the positions of a log's rows, those after ``after`` and not beyond ``until``, the lowest first.

        None leaves that end open. Shorter than ``limit`` means there are no more.
        """
        ...
