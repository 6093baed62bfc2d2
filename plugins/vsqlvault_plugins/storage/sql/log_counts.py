"""Sums the counts of the logs for a period: of whole blocks as they were stored, and of the other rows one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.evidence import DayCount, PurgeLag
from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.sql import lags
from vsqlvault_plugins.storage.sql.days import joined_days
from vsqlvault_plugins.storage.sql.dialect import Queries
from vsqlvault_plugins.storage.sql.reading import Reading, fetch, fetch_value
from vsqlvault_plugins.storage.sql.rows import Rows

LOG_COUNTS = Queries("log_counts.sql")
BLOCK_ROWS = 8_192
"""The number of positions in a block. A change needs a migration that deletes the stored counts."""
_BELOW_ALL = timedelta(microseconds=-1)


class LogCounts:
    """Counts of the rows whose time is in ``[since, until)``. ``from_rows`` ignores stored counts."""

    def __init__(self, rows: Rows, since: datetime, until: datetime, *, from_rows: bool) -> None:
        self._decode = rows
        self._parameters: Mapping[str, Any] = {
            "since": since, "until": until, "size": BLOCK_ROWS, "kept": not from_rows
        }  # fmt: skip

    def access(self, purposes: Sequence[str]) -> Reading[list[Any]]:
        """Return counts of accesses. ``purposes`` are the known ones."""
        return self._rows("access_counts", LogName.ACCESS, purposes=purposes)

    def purges(self) -> Reading[list[Any]]:
        """Return purpose, reason, method and number of purges."""
        return self._rows("purge_counts", LogName.PURGE)

    def days(self) -> Reading[list[DayCount]]:
        """Return the activity of each day."""
        day = self._decode.day
        access = yield from self._rows("access_day_counts", LogName.ACCESS)
        purges = yield from self._rows("purge_day_counts", LogName.PURGE)
        return joined_days(((day(row[0]), *row[1:]) for row in access), ((day(row[0]), row[1]) for row in purges))

    def retired_keys(self, as_of: datetime, limit: int, in_use: Sequence[tuple[str, str]]) -> Reading[list[Any]]:
        """Return purpose, key_ref and time of the last purge, for keys without entries.

        ``in_use`` are purposes and key_refs that are known to have entries. Any number of them may be missing.
        """
        texts = [f"{purpose} {key_ref}" for purpose, key_ref in in_use]
        return self._rows("retired_keys", LogName.PURGE, as_of=as_of, limit=limit, in_use=texts)

    def lag_steps(self) -> Reading[list[lags.LagStep]]:
        """Return the number of lags of each purpose in each step."""
        found = yield from self._rows("lag_counts", LogName.PURGE)
        duration = self._decode.duration
        return [lags.LagStep(row[0], duration(row[1]), row[2], duration(row[3])) for row in found]

    def lag(self, steps: Sequence[lags.LagStep]) -> Reading[PurgeLag]:
        """Return the lag figures of the steps of one purpose."""
        found = {}
        for place in lags.places(steps):
            found[place] = yield from self._lag_at(place)
        return lags.purge_lag(steps, found)

    def _lag_at(self, place: lags.LagPlace) -> Reading[timedelta]:
        more = {"up_to": place.up_to, "below_all": _BELOW_ALL, "purpose": place.purpose, "rank": place.rank}
        found = yield from fetch_value(LOG_COUNTS["lag_of_rank"], **self._parameters, **more)
        return self._decode.duration(found)

    def _rows(self, name: str, log: LogName, **more: Any) -> Reading[list[Any]]:
        query = f"{LOG_COUNTS['of_period']}\n{LOG_COUNTS[name]}"
        return fetch(query, **self._parameters, log=log.value, **more)
