"""The tables of the transparency log: leaves, tiles and checkpoints."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from itertools import groupby
from operator import itemgetter

from vsqlvault.interfaces.tree_storage import PendingLeaf, TreeGrowth, pending_leaves
from vsqlvault.model.transparency import LogName, RowPlace, TileKey
from vsqlvault.proof.tree import HASH_BYTES
from vsqlvault_plugins.storage.sql import tree as reads
from vsqlvault_plugins.storage.sql.rows import SQLITE_ROWS
from vsqlvault_plugins.storage.sqlite import rows
from vsqlvault_plugins.storage.sqlite.answers import answer
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

INCARNATION = "file"
"""A file has one history: a copy that is put back takes its place while no process has it open."""


def unsequenced(connection: sqlite3.Connection, limit: int) -> list[PendingLeaf]:
    """Return rows without an index. One writer at a time commits, so positions are in commit order."""
    with transaction(connection, "begin_read"):
        return [leaf for log in LogName for leaf in _unsequenced(connection, log, limit)]


def _unsequenced(connection: sqlite3.Connection, log: LogName, limit: int) -> list[PendingLeaf]:
    bounds = {"after": answer(connection, reads.sequenced(log)), "limit": limit}
    listed, joined = connection.execute(QUERIES["unsequenced"].format(log=log.value), bounds).fetchone()
    positions: list[int] = json.loads(listed)
    hashes = bytes.fromhex(joined or "")
    if len(hashes) != HASH_BYTES * len(positions):
        found = connection.execute(QUERIES["unsequenced_singly"].format(log=log.value), bounds).fetchall()
        made = answer(connection, reads.hashes_between(SQLITE_ROWS, log, found[0][0], found[-1][0]))
        return [PendingLeaf(RowPlace(log, position), kept or made[position]) for position, kept in found]
    each = (hashes[begin : begin + HASH_BYTES] for begin in range(0, len(hashes), HASH_BYTES))
    return sorted(pending_leaves(log, positions, each))


def grow_tree(connection: sqlite3.Connection, growth: TreeGrowth) -> bool:
    """Commit a growth if the tree has the expected size."""
    with transaction(connection, "begin_write"):
        if answer(connection, reads.tree_size()) != growth.size or growth.incarnation not in {None, INCARNATION}:
            return False
        first = growth.size
        for log, run in groupby(growth.places, key=itemgetter(0)):
            positions = [place.position for place in run]
            connection.execute(QUERIES["put_leaves"], (first, log.value, json.dumps(positions)))
            first += len(positions)
        changed = [(key.level, key.index, hashes) for key, hashes in growth.tiles.items()]
        connection.executemany(QUERIES["put_tile"], changed)
        if growth.checkpoint:
            connection.execute(QUERIES["put_checkpoint"], rows.row_of_checkpoint(growth.checkpoint))
    return True


def tiles(connection: sqlite3.Connection, keys: Collection[TileKey]) -> dict[TileKey, bytes]:
    """Return those of the tiles that exist."""
    found = {key: connection.execute(QUERIES["tile"], (key.level, key.index)).fetchone() for key in keys}
    return {key: _bytes(row[0]) for key, row in found.items() if row is not None}


def _bytes(stored: object) -> bytes:
    """Return the hashes; none where another program has stored another type, so that verifying reports the tile."""
    return stored if isinstance(stored, bytes) else b""


def thin_checkpoints(connection: sqlite3.Connection, sizes: Collection[int]) -> None:
    """Delete checkpoints. A trigger ensures that others cover them."""
    with transaction(connection, "begin_write"):
        connection.executemany(QUERIES["thin_checkpoints"], [(size,) for size in sizes])
