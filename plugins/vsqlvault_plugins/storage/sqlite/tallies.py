"""Counts the logs block by block as rows enter the transparency log, and sums the counts for a period."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from vsqlvault.interfaces.evidence import DayCount
from vsqlvault.model.times import to_micros
from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.days import joined_days
from vsqlvault_plugins.storage.lags import LagPlace, LagStep
from vsqlvault_plugins.storage.sql_files import load_queries
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

TALLIES = load_queries("vsqlvault_plugins.storage.sqlite", "tallies.sql")
BLOCK_ROWS = 8_192
"""The number of positions in a block. A change needs a migration that deletes the stored counts."""
_KINDS: Mapping[LogName, Sequence[str]] = {
    LogName.ACCESS: ("access_tallies", "access_day_tallies"),
    LogName.PURGE: ("purge_tallies", "purge_day_tallies", "purged_key_tallies", "lag_tallies"),
}
_MICROSECOND = timedelta(microseconds=1)
DAY, EPOCH = timedelta(days=1), date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Block:
    """The counts of one block, by the statement that stores them."""

    log: LogName
    number: int
    first_at: int | None
    last_at: int | None
    tallies: Mapping[str, Sequence[Any]]


def next_block(connection: sqlite3.Connection, log: LogName) -> Block | None:
    """Count the next block. Return None if its last rows are not in the transparency log yet."""
    with transaction(connection, "begin_read"):
        (number,) = connection.execute(TALLIES["next_block"], {"log": log.value}).fetchone()
        (sequenced,) = connection.execute(QUERIES[f"sequenced_{log.value}"]).fetchone()
        if sequenced < (number + 1) * BLOCK_ROWS:
            return None
        which = {"block": number, "size": BLOCK_ROWS}
        first_at, last_at = connection.execute(TALLIES["block_span"].format(log=log.value), which).fetchone()
        tallies = {kind: connection.execute(TALLIES[kind], which).fetchall() for kind in _KINDS[log]}
        return Block(log, number, first_at, last_at, tallies)


def keep_block(connection: sqlite3.Connection, block: Block) -> None:
    """Store a block's counts, unless another process has done so."""
    with transaction(connection, "begin_write"):
        row = (block.log.value, block.number, block.first_at, block.last_at)
        if connection.execute(TALLIES["put_block"], row).rowcount == 1:
            for kind, tallies in block.tallies.items():
                connection.executemany(TALLIES[f"put_{kind}"], tallies)


class LogCounts:
    """Counts of the rows whose time is in ``[since, until)``, inside a transaction. ``from_rows`` ignores stored counts."""

    def __init__(self, connection: sqlite3.Connection, since: datetime, until: datetime, *, from_rows: bool) -> None:
        self._connection = connection
        self._parameters = {
            "since": to_micros(since),
            "until": to_micros(until),
            "size": BLOCK_ROWS,
            "kept": int(not from_rows),
        }

    def access(self, purposes: str) -> list[Any]:
        """Return counts of accesses. ``purposes`` is a JSON array of the known ones."""
        return self._rows("access_counts", LogName.ACCESS, purposes=purposes)

    def purges(self) -> list[Any]:
        """Return purpose, reason, method and number of purges."""
        return self._rows("purge_counts", LogName.PURGE)

    def days(self) -> list[DayCount]:
        """Return the activity of each day."""
        return joined_days(
            ((EPOCH + row[0] * DAY, *row[1:]) for row in self._rows("access_day_counts", LogName.ACCESS)),
            ((EPOCH + row[0] * DAY, row[1]) for row in self._rows("purge_day_counts", LogName.PURGE)),
        )

    def retired_keys(self, as_of: datetime, limit: int) -> list[Any]:
        """Return purpose, key_ref and time of the last purge, for keys without entries."""
        return self._rows("retired_keys", LogName.PURGE, as_of=to_micros(as_of), limit=limit)

    def lag_steps(self) -> list[LagStep]:
        """Return the number of lags of each purpose in each step."""
        return [
            LagStep(purpose, up_to * _MICROSECOND, count, longest * _MICROSECOND)
            for purpose, up_to, count, longest in self._rows("lag_counts", LogName.PURGE)
        ]

    def lag_at(self, place: LagPlace) -> timedelta:
        """Return the lag of a rank."""
        up_to = place.up_to // _MICROSECOND
        (above,) = self._connection.execute(TALLIES["previous_step"], {"up_to": up_to}).fetchone()
        more = {"above": above, "up_to": up_to, "purpose": place.purpose, "rank": place.rank}
        (lag,) = self._connection.execute(TALLIES["lag_of_rank"], {**self._parameters, **more}).fetchone()
        return int(lag) * _MICROSECOND

    def _rows(self, name: str, log: LogName, **more: Any) -> list[Any]:
        sql = f"{TALLIES['of_period']}\n{TALLIES[name]}"
        return self._connection.execute(sql, {**self._parameters, "log": log.value, **more}).fetchall()
