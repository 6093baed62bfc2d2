"""The tables of the transparency log: leaves, tiles and checkpoints.

Positions are assigned before the commit, so the row with the higher position may be committed first. But every commit
of rows holds an advisory lock from before it gets its positions. Once the current holders of the lock are gone, every
row up to the highest position seen before exists, or never will. Only the sequencer waits for this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.storage import LogRow
from vsqlvault.interfaces.tree_storage import LeafRow, PendingLeaf, TreeGrowth
from vsqlvault.model.transparency import Checkpoint, LogName, RowPlace, TileKey
from vsqlvault.proof.leaf import row_hash
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.postgres import rows
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection

_READERS: dict[LogName, Callable[[Any], LogRow[Any]]] = {
    LogName.ACCESS: rows.access_row_of,
    LogName.PURGE: rows.purge_row_of,
}


@dataclass(frozen=True, slots=True)
class Horizon:
    """The highest positions, and the transactions that may still commit rows below them."""

    positions: Mapping[LogName, int]
    committing: frozenset[str]


async def tree_size(connection: Connection) -> int:
    """Return the number of leaves with an index."""
    return int(await connection.fetchval(QUERIES["tree_size"]))


async def horizon(connection: Connection) -> Horizon:
    """Return the highest positions, and then the transactions to wait for."""
    newest = await connection.fetchrow(QUERIES["newest_positions"])
    return Horizon({log: newest[log.value] for log in LogName}, await committing(connection))


async def committing(connection: Connection) -> frozenset[str]:
    """Return the transactions that are about to commit rows."""
    return frozenset(await connection.fetchval(QUERIES["committing"]))


async def unsequenced(connection: Connection, until: Mapping[LogName, int], limit: int) -> list[PendingLeaf]:
    """Return rows without an index, up to these positions."""
    return [leaf for log in LogName for leaf in await _unsequenced(connection, log, until[log], limit)]


async def _unsequenced(connection: Connection, log: LogName, until: int, limit: int) -> list[PendingLeaf]:
    after = await connection.fetchval(QUERIES[f"sequenced_{log.value}"])
    found = await connection.fetch(QUERIES["unsequenced"].format(log=log.value), after, until, limit)
    made: dict[int, bytes] = {}
    if any(row[1] is None for row in found):
        between = QUERIES["log_between"].format(first=2, last=3)
        sql = QUERIES[f"{log.value}_log_page"].format(filters=between, order=QUERIES["log_order_oldest_first"])
        page = await connection.fetch(sql, limit, found[0][0], found[-1][0])
        made = {row.position: row_hash(row.record) for row in map(_READERS[log], page)}
    return [PendingLeaf(RowPlace(log, position), kept or made[position]) for position, kept in found]


async def grow_tree(connection: Connection, growth: TreeGrowth) -> bool:
    """Commit a growth if the tree has the expected size."""
    async with connection.transaction():
        await connection.execute(QUERIES["lock_tree"])
        if await tree_size(connection) != growth.size:
            return False
        logs = [place.log.value for place in growth.places]
        positions = [place.position for place in growth.places]
        await connection.execute(QUERIES["put_leaves"], growth.size, logs, positions)
        keys = list(growth.tiles)
        await connection.execute(
            QUERIES["put_tiles"],
            [key.level for key in keys],
            [key.index for key in keys],
            [growth.tiles[key] for key in keys],
        )
        if growth.checkpoint:
            await connection.execute(QUERIES["put_checkpoint"], *rows.checkpoint_row(growth.checkpoint))
    return True


async def tiles(connection: Connection, keys: Collection[TileKey]) -> dict[TileKey, bytes]:
    """Return those of the tiles that exist."""
    found = await connection.fetch(QUERIES["tiles"], [key.level for key in keys], [key.index for key in keys])
    return {TileKey(level, index): hashes for level, index, hashes in found}


async def newest_checkpoint(connection: Connection) -> Checkpoint | None:
    """Return the checkpoint of the largest tree."""
    row = await connection.fetchrow(QUERIES["newest_checkpoint"])
    return rows.checkpoint_of(row) if row else None


async def barrier(connection: Connection) -> None:
    """Return once all that was committed before is where an acknowledged commit must be."""
    await connection.execute(QUERIES["barrier"])


async def checkpoints(connection: Connection, after: int, limit: int) -> list[Checkpoint]:
    """Return a page of checkpoints."""
    return [rows.checkpoint_of(row) for row in await connection.fetch(QUERIES["checkpoints"], after, limit)]


async def thin_checkpoints(connection: Connection, sizes: Collection[int]) -> None:
    """Delete checkpoints. A trigger ensures that others cover them."""
    await connection.execute(QUERIES["thin_checkpoints"], list(sizes))


async def leaf_rows(connection: Connection, first: int, count: int) -> list[LeafRow]:
    """Return leaves with their rows."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = [
            _leaf_row(log, row)
            for log in LogName
            for row in await connection.fetch(QUERIES[f"{log.value}_leaves"], first, first + count)
        ]
    return sorted(found, key=lambda leaf: leaf.index)


def _leaf_row(log: LogName, row: Any) -> LeafRow:
    record = None
    if row[3] is not None:
        try:
            record = _READERS[log](tuple(row)[3:]).record
        except Unavailable:  # decoding logs it; for a verifier it is a leaf without its row
            record = None
    return LeafRow(row[0], RowPlace(log, row[1]), record, row[2])


async def purge_index(connection: Connection, purge_id: str) -> int | None:
    """Return the index of the leaf of a purge."""
    found: int | None = await connection.fetchval(QUERIES["purge_index"], purge_id)
    return found


async def row_positions(
    connection: Connection, log: LogName, after: int | None, until: int | None, limit: int
) -> list[int]:
    """Return positions of a log's rows."""
    found = await connection.fetch(QUERIES["row_positions"].format(log=log.value), after, until, limit)
    return [row[0] for row in found]
