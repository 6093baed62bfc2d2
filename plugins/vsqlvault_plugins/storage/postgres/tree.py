"""The tables of the transparency log: leaves, tiles and checkpoints.

Positions are assigned before the commit, so the row with the higher position may be committed first. But every commit
of rows holds an advisory lock from before it gets its positions. Once the current holders of the lock are gone, every
row up to the highest position seen before exists, or never will. Only the sequencer waits for this.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vsqlvault.interfaces.tree_storage import PendingLeaf, TreeGrowth
from vsqlvault.model.transparency import LogName, RowPlace, TileKey
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.postgres import rows
from vsqlvault_plugins.storage.postgres.answers import answer
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql import tree as reads
from vsqlvault_plugins.storage.sql.rows import POSTGRESQL_ROWS


@dataclass(frozen=True, slots=True)
class Horizon:
    """The highest positions, and the transactions that may still commit rows below them."""

    positions: Mapping[LogName, int]
    committing: frozenset[str]


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
    after = await answer(connection, reads.sequenced(log))
    found = await connection.fetch(QUERIES["unsequenced"].format(log=log.value), after, until, limit)
    made: dict[int, bytes] = {}
    if any(row[1] is None for row in found):
        made = await answer(connection, reads.hashes_between(POSTGRESQL_ROWS, log, found[0][0], found[-1][0]))
    return [PendingLeaf(RowPlace(log, position), kept or made[position]) for position, kept in found]


async def grow_tree(connection: Connection, growth: TreeGrowth) -> bool:
    """Commit a growth if the tree has the expected size."""
    async with connection.transaction():
        await connection.execute(QUERIES["lock_tree"])
        if await answer(connection, reads.tree_size()) != growth.size:
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


async def barrier(connection: Connection) -> None:
    """Return once all that was committed before is where an acknowledged commit must be."""
    await connection.execute(QUERIES["barrier"])


async def thin_checkpoints(connection: Connection, sizes: Collection[int]) -> None:
    """Delete checkpoints. A trigger ensures that others cover them."""
    await connection.execute(QUERIES["thin_checkpoints"], list(sizes))
