"""The part of a storage for the transparency log: the leaf of each row, the tiles of the tree, and the checkpoints.

A storage keeps the hash of the leaf with every row of both logs (``vsqlvault.proof.leaf.row_hash``), in the row's own
commit. One sequencer at a time assigns indexes later, in an order of the storage's choice in which no row is inserted
afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple, Protocol

from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import Checkpoint, LogName, RowPlace, TileKey
from vsqlvault.quick_dataclass import dataclass


class PendingLeaf(NamedTuple):
    """A committed row without an index, and the hash of its leaf, 32 bytes."""

    place: RowPlace
    leaf_hash: bytes


_place = partial(tuple.__new__, RowPlace)
_leaf = partial(tuple.__new__, PendingLeaf)


def pending_leaves(log: LogName, positions: Iterable[int], hashes: Iterable[bytes]) -> list[PendingLeaf]:
    """Return leaves of one log. This costs a third of calling the constructors."""
    return list(map(_leaf, zip(map(_place, zip(repeat(log), positions)), hashes, strict=True)))


@dataclass(frozen=True, slots=True)
class TreeGrowth:
    """The growth of a tree of ``size`` leaves: new leaves in order, changed tiles, and the new head.

    ``checkpoint`` is None without a signing key. ``incarnation`` is that of the storage when the tree was read; None: any.
    """

    size: int
    places: Sequence[RowPlace]
    tiles: Mapping[TileKey, bytes]
    checkpoint: Checkpoint | None
    incarnation: str | None = None


@dataclass(frozen=True, slots=True)
class LeafRow:
    """A leaf and its row.

    ``record`` is None if the row is missing, or cannot have been written by this program. ``leaf_hash`` is the stored
    hash, or None for a row from before leaves were stored.
    """

    index: int
    place: RowPlace
    record: AccessRecord | PurgeRecord | None
    leaf_hash: bytes | None


class TreeStorage(Protocol):
    """The part of a storage that the transparency log uses. Errors are as for ``Storage``."""

    async def tree_size(self) -> int:
        """Return the number of leaves with an index."""
        ...

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """Return rows without an index, in the order in which they get one, at most ``limit`` of each log.

        No row may be committed later that would come before one of these. This never blocks a commit: if the order
        depends on commits in progress, it returns only the settled rows, possibly none. A row without a stored hash
        gets the hash of its current content.
        """
        ...

    async def grow_tree(self, growth: TreeGrowth) -> bool:
        """Commit the whole growth and return True.

        Return False and commit nothing if the tree does not have ``growth.size`` leaves, or if the storage has another
        incarnation than ``growth.incarnation``.
        """
        ...

    async def tiles(self, keys: Collection[TileKey]) -> Mapping[TileKey, bytes]:
        """Return those of the tiles that exist, each with its current length."""
        ...

    async def newest_checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint of the largest tree. It is as durable as what ``commit`` has acknowledged."""
        ...

    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]:
        """Return checkpoints of more than ``after`` leaves, smallest first.

        A page shorter than ``limit`` is the last one.
        """
        ...

    async def thin_checkpoints(self, sizes: Collection[int]) -> None:
        """Delete the checkpoints of these sizes. A missing one is ignored.

        The database rejects the deletion of a checkpoint that is younger than a day, by its own clock, or has no
        successor: one signed in the same hour, or on the same day (UTC) if it is older than 90 days.

        Raises:
            Unavailable: also if one of them must not be deleted; then none is.
        """
        ...

    async def leaf_rows(self, first: int, count: int) -> Sequence[LeafRow]:
        """Return ``count`` leaves from ``first`` on with their rows, by index. A missing leaf is omitted."""
        ...

    async def purge_index(self, purge_id: str) -> int | None:
        """Return the index of the leaf of a purge, or None if it has none."""
        ...

    async def row_positions(self, log: LogName, after: int | None, until: int | None, limit: int) -> Sequence[int]:
        """Return the positions of a log's rows after ``after`` and up to ``until``, lowest first.

        None means no bound. A page shorter than ``limit`` is the last one.
        """
        ...
