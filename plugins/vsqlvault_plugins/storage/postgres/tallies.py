"""Counts the logs block by block as rows enter the transparency log, and sums the counts for a period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.evidence import DayCount
from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.days import joined_days
from vsqlvault_plugins.storage.lags import LagPlace, LagStep
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql_files import load_queries

TALLIES = load_queries("vsqlvault_plugins.storage.postgres", "tallies.sql")
BLOCK_ROWS = 8_192
"""The number of positions in a block. A change needs a migration that deletes the stored counts."""
_KINDS: Mapping[LogName, Sequence[str]] = {
    LogName.ACCESS: ("put_access_tallies", "put_access_day_tallies"),
    LogName.PURGE: ("put_purge_tallies", "put_purge_day_tallies", "put_purged_key_tallies", "put_lag_tallies"),
}


async def tally_next_block(connection: Connection, log: LogName) -> bool:
    """Count the next block. Return False if its last rows are not in the transparency log yet."""
    number = await connection.fetchval(TALLIES["next_block"], log.value)
    sequenced = await connection.fetchval(QUERIES[f"sequenced_{log.value}"])
    if sequenced < (number + 1) * BLOCK_ROWS:
        return False
    async with connection.transaction():
        if await connection.fetchval(TALLIES["put_block"].format(log=log.value), number, BLOCK_ROWS):
            for name in _KINDS[log]:
                await connection.execute(TALLIES[name], number, BLOCK_ROWS)
    return True


class LogCounts:
    """Counts of the rows whose time is in ``[since, until)``, inside a transaction. ``from_rows`` ignores stored counts."""

    def __init__(self, connection: Connection, since: datetime, until: datetime, *, from_rows: bool) -> None:
        self._connection = connection
        self._period = (since, until)
        self._from_rows = from_rows

    async def access(self, purposes: Sequence[str]) -> list[Any]:
        """Return counts of accesses. ``purposes`` are the known ones."""
        return await self._rows("access_counts", LogName.ACCESS, purposes)

    async def purges(self) -> list[Any]:
        """Return purpose, reason, method and number of purges."""
        return await self._rows("purge_counts", LogName.PURGE)

    async def days(self) -> list[DayCount]:
        """Return the activity of each day."""
        return joined_days(
            await self._rows("access_day_counts", LogName.ACCESS), await self._rows("purge_day_counts", LogName.PURGE)
        )

    async def retired_keys(self, as_of: datetime, limit: int) -> list[Any]:
        """Return purpose, key_ref and time of the last purge, for keys without entries."""
        return await self._rows("retired_keys", LogName.PURGE, as_of, limit)

    async def lag_steps(self) -> list[LagStep]:
        """Return the number of lags of each purpose in each step."""
        return [LagStep(*row) for row in await self._rows("lag_counts", LogName.PURGE)]

    async def lag_at(self, place: LagPlace) -> timedelta:
        """Return the lag of a rank."""
        found: timedelta = await self._connection.fetchval(
            TALLIES["lag_of_rank"], *self._period, place.up_to, place.purpose, place.rank
        )
        return found

    async def _rows(self, name: str, log: LogName, *more: Any) -> list[Any]:
        sql = f"{TALLIES['of_period']}\n{TALLIES[name]}".replace("{log}", log.value)
        return list(await self._connection.fetch(sql, *self._period, BLOCK_ROWS, not self._from_rows, *more))
