"""The tables of the transparency log: leaves, tiles and checkpoints.

Positions are assigned before the commit, so the row with the higher position may be committed first. But every commit
of rows holds an advisory lock from before it gets its positions. Once the current holders of the lock are gone, every
row up to the highest position seen before exists, or never will. Only the sequencer waits for this.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from vsqlvault.interfaces.tree_storage import PendingLeaf, TreeGrowth, pending_leaves
from vsqlvault.model.transparency import LogName, TileKey
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.postgres import rows
from vsqlvault_plugins.storage.postgres.answers import answer
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql import tree as reads
from vsqlvault_plugins.storage.sql.dialect import POSTGRESQL
from vsqlvault_plugins.storage.sql.dialect import QUERIES as SHARED_QUERIES
from vsqlvault_plugins.storage.sql.rows import POSTGRESQL_ROWS

_HORIZON = QUERIES["horizon"].format(committing=QUERIES["committing"])
_UNSEQUENCED = "\nUNION ALL\n".join(
    QUERIES["unsequenced"].format(
        log=log.value, until=place, sequenced=POSTGRESQL.render(SHARED_QUERIES[f"sequenced_{log.value}"]).sql
    )
    for place, log in enumerate(LogName, start=1)
)


@dataclass(frozen=True, slots=True)
class Horizon:
    """The highest positions, and the transactions that may still commit rows below them."""

    positions: Mapping[LogName, int]
    committing: frozenset[str]


async def horizon(connection: Connection) -> Horizon:
    """Return the highest positions, and the transactions to wait for."""
    found = await connection.fetchrow(_HORIZON)
    return Horizon({log: found[log.value] for log in LogName}, frozenset(found["committing"]))


async def committing(connection: Connection) -> frozenset[str]:
    """Return the transactions that are about to commit rows."""
    return frozenset(await connection.fetchval(QUERIES["committing"]))


async def unsequenced(connection: Connection, until: Mapping[LogName, int], limit: int) -> list[PendingLeaf]:
    """Return rows without an index, up to these positions."""
    found = {row["log"]: row for row in await connection.fetch(_UNSEQUENCED, *(until[log] for log in LogName), limit)}
    return [leaf for log in LogName for leaf in await _pending(connection, log, found[log])]


async def _pending(connection: Connection, log: LogName, found: Any) -> list[PendingLeaf]:
    positions, hashes = found["positions"] or [], found["hashes"] or []
    if None in hashes:
        made = await answer(connection, reads.hashes_between(POSTGRESQL_ROWS, log, positions[0], positions[-1]))
        hashes = [kept or made[position] for position, kept in zip(positions, hashes, strict=True)]
    return pending_leaves(log, positions, hashes)


async def grow_tree(connection: Connection, growth: TreeGrowth) -> bool:
    """Commit a growth if the tree has the expected size."""
    checkpoint = rows.checkpoint_row(growth.checkpoint) if growth.checkpoint else (None,) * 5
    keys = growth.tiles.keys()
    has_grown = await connection.fetchval(
        QUERIES["grow_tree"], growth.size, [place.log.value for place in growth.places],
        [place.position for place in growth.places], [key.level for key in keys], [key.index for key in keys],
        [*growth.tiles.values()], *checkpoint,
    )  # fmt: skip
    return bool(has_grown)


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
