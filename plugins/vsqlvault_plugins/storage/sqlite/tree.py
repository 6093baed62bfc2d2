"""The tables of the transparency log: leaves, tiles and checkpoints."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection
from typing import Any

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.storage import LogQuery, LogRow
from vsqlvault.interfaces.tree_storage import LeafRow, PendingLeaf, TreeGrowth
from vsqlvault.model.transparency import Checkpoint, LogName, RowPlace, TileKey
from vsqlvault.proof.leaf import row_hash
from vsqlvault_plugins.storage.sqlite import pages, rows
from vsqlvault_plugins.storage.sqlite.many_rows import put_rows
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

_PAGES: dict[LogName, Callable[[sqlite3.Connection, LogQuery], list[LogRow[Any]]]] = {
    LogName.ACCESS: pages.access_log_page,
    LogName.PURGE: pages.purge_log_page,
}
_READERS: dict[LogName, Callable[[Any], LogRow[Any]]] = {
    LogName.ACCESS: rows.access_row_of,
    LogName.PURGE: rows.purge_row_of,
}
INCARNATION = "file"
"""A file has one history: a copy that is put back takes its place while no process has it open."""


def tree_size(connection: sqlite3.Connection) -> int:
    """Return the number of leaves with an index."""
    return int(connection.execute(QUERIES["tree_size"]).fetchone()[0])


def unsequenced(connection: sqlite3.Connection, limit: int) -> list[PendingLeaf]:
    """Return rows without an index. One writer at a time commits, so positions are in commit order."""
    with transaction(connection, "begin_read"):
        return [leaf for log in LogName for leaf in _unsequenced(connection, log, limit)]


def _unsequenced(connection: sqlite3.Connection, log: LogName, limit: int) -> list[PendingLeaf]:
    (after,) = connection.execute(QUERIES[f"sequenced_{log.value}"]).fetchone()
    sql = QUERIES["unsequenced"].format(log=log.value)
    (listed,) = connection.execute(sql, {"after": after, "limit": limit}).fetchone()
    found: list[tuple[int, str]] = sorted(json.loads(listed))
    made: dict[int, bytes] = {}
    if not all(kept for _, kept in found):
        query = LogQuery(limit=len(found), oldest_first=True, after=found[0][0] - 1)
        made = {row.position: row_hash(row.record) for row in _PAGES[log](connection, query)}
    return [PendingLeaf(RowPlace(log, position), bytes.fromhex(kept) or made[position]) for position, kept in found]


def grow_tree(connection: sqlite3.Connection, growth: TreeGrowth) -> bool:
    """Commit a growth if the tree has the expected size."""
    with transaction(connection, "begin_write"):
        if tree_size(connection) != growth.size or growth.incarnation not in {None, INCARNATION}:
            return False
        places = enumerate(growth.places, start=growth.size)
        put_rows(connection, QUERIES["put_leaf"], [(index, log.value, position) for index, (log, position) in places])
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


def newest_checkpoint(connection: sqlite3.Connection) -> Checkpoint | None:
    """Return the checkpoint of the largest tree."""
    row = connection.execute(QUERIES["newest_checkpoint"]).fetchone()
    return rows.checkpoint_of(row) if row else None


def checkpoints(connection: sqlite3.Connection, after: int, limit: int) -> list[Checkpoint]:
    """Return a page of checkpoints."""
    return [rows.checkpoint_of(row) for row in connection.execute(QUERIES["checkpoints"], (after, limit))]


def thin_checkpoints(connection: sqlite3.Connection, sizes: Collection[int]) -> None:
    """Delete checkpoints. A trigger ensures that others cover them."""
    with transaction(connection, "begin_write"):
        connection.executemany(QUERIES["thin_checkpoints"], [(size,) for size in sizes])


def leaf_rows(connection: sqlite3.Connection, first: int, count: int) -> list[LeafRow]:
    """Return leaves with their rows."""
    span = {"first": first, "end": first + count}
    with transaction(connection, "begin_read"):
        found = [
            _leaf_row(log, row) for log in LogName for row in connection.execute(QUERIES[f"{log.value}_leaves"], span)
        ]
    return sorted(found, key=lambda leaf: leaf.index)


def _leaf_row(log: LogName, row: Any) -> LeafRow:
    record = None
    if row[3] is not None:
        try:
            record = _READERS[log](row[3:]).record
        except Unavailable:  # decoding logs it; for a verifier it is a leaf without its row
            record = None
    position = row[1] if isinstance(row[1], int) else 0  # of another type: there is no such row
    return LeafRow(row[0], RowPlace(log, position), record, row[2])


def purge_index(connection: sqlite3.Connection, purge_id: str) -> int | None:
    """Return the index of the leaf of a purge."""
    row = connection.execute(QUERIES["purge_index"], (purge_id,)).fetchone()
    return row[0] if row else None


def row_positions(
    connection: sqlite3.Connection, log: LogName, after: int | None, until: int | None, limit: int
) -> list[int]:
    """Return positions of a log's rows."""
    sql = QUERIES["row_positions"].format(log=log.value)
    return [row[0] for row in connection.execute(sql, {"after": after, "until": until, "limit": limit})]
