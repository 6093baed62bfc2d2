"""Reads the stored tree and checks it against what was signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vsqlvault.errors import TreeDamaged
from vsqlvault.interfaces.tree_storage import TreeStorage
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.tiles import Edge, TileMissing, reader_of, tiles_needed
from vsqlvault.proof.tree import NodeReader, root_hash

Result = TypeVar("Result")


async def from_tiles(storage: TreeStorage, work: Callable[[NodeReader], Result]) -> Result:
    """Return the result of ``work``, which reads nodes of the stored tree.

    Raises:
        TreeDamaged: a tile is missing.
    """
    tiles = await storage.tiles(tiles_needed(work))
    try:
        return work(reader_of(tiles))
    except TileMissing as missing:
        raise TreeDamaged(f"a tile is missing or too short: {missing}") from missing


async def load_edge(storage: TreeStorage) -> tuple[Edge, Checkpoint | None]:
    """Return the right edge of the tree, from which it grows, and the newest checkpoint, verified against the tree.

    Raises:
        TreeDamaged: the tree is shorter than the checkpoint, or another tree.
    """
    newest = await storage.newest_checkpoint()
    size = await storage.tree_size()
    keys = [key for key in Edge.keys(size) if key]
    try:
        edge = Edge.of(size, await storage.tiles(keys))
    except TileMissing as missing:
        raise TreeDamaged(f"a tile is missing or too short: {missing}") from missing
    if newest is not None:
        if newest.size > size:
            raise TreeDamaged(f"the checkpoint has {newest.size} leaves, the tree {size}")
        root = edge.root() if newest.size == size else await root_at(storage, newest.size)
        if root != newest.root:
            raise TreeDamaged(f"the first {newest.size} leaves differ from those that were signed")
    return edge, newest


async def root_at(storage: TreeStorage, size: int) -> bytes:
    """Return the root hash of the first ``size`` leaves. Raises TreeDamaged."""
    return await from_tiles(storage, lambda node: root_hash(size, node))
