"""Counts the logs block by block as rows enter the transparency log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.postgres.answers import answer
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql import tree
from vsqlvault_plugins.storage.sql.log_counts import BLOCK_ROWS, LOG_COUNTS
from vsqlvault_plugins.storage.sql.reading import fetch, fetch_value
from vsqlvault_plugins.storage.sql_files import load_queries

TALLIES = load_queries("vsqlvault_plugins.storage.postgres", "tallies.sql")
_KINDS: Mapping[LogName, Sequence[str]] = {
    LogName.ACCESS: ("access_tallies", "access_day_tallies"),
    LogName.PURGE: ("purge_tallies", "purge_day_tallies", "purged_key_tallies", "lag_tallies"),
}


async def tally_next_block(connection: Connection, log: LogName) -> bool:
    """Count the next block. Return False if its last rows are not in the transparency log yet."""
    number = await answer(connection, fetch_value(LOG_COUNTS["next_block"], log=log.value))
    last = (number + 1) * BLOCK_ROWS
    if await answer(connection, tree.sequenced(log)) < last:
        return False
    which = {"block": number, "before": last - BLOCK_ROWS, "last": last}
    async with connection.transaction():
        put = await connection.fetchval(TALLIES["put_block"].format(log=log.value), *which.values())
        for name in _KINDS[log] if put else ():
            await answer(connection, fetch(f"{LOG_COUNTS[f'put_{name}']}\n{LOG_COUNTS[name]}", **which))
    return True
