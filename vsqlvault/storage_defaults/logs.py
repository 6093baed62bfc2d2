"""Both logs, over ``log``."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from vsqlvault.interfaces.storage import LogQuery, LogRow
from vsqlvault.interfaces.watch_storage import PurgesByIdQuery
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.purge import PurgeRecord, ScrubRecord
from vsqlvault.model.transparency import LogName
from vsqlvault.storage_defaults.basic import ItemRange, StoredRow
from vsqlvault.storage_defaults.codec import decode
from vsqlvault.storage_defaults.filters import check_filters
from vsqlvault.storage_defaults.lowering import SCRUB
from vsqlvault.storage_defaults.required import PAGE, RequiredStorage


class LogDefaults(RequiredStorage):
    """Derives the pages of both logs, and what is searched in them."""

    async def access_log(self, query: LogQuery) -> Sequence[LogRow[AccessRecord]]:
        """See ``Storage.access_log``."""
        check_filters(LogName.ACCESS, query)
        return [LogRow(row.position, row.record) for row in await self.log(LogName.ACCESS, query)]

    async def purge_log(self, query: LogQuery) -> Sequence[LogRow[PurgeRecord]]:
        """See ``Storage.purge_log``."""
        check_filters(LogName.PURGE, query)
        page = await self.log(LogName.PURGE, query)
        reached = await self._scrubbed([row.position for row in page])
        return [LogRow(row.position, row.record, reached.get(row.position)) for row in page]

    async def row_positions(self, log: LogName, after: int | None, until: int | None, limit: int) -> Sequence[int]:
        """See ``TreeStorage.row_positions``."""
        page = await self.log(log, LogQuery(limit=limit, after=after, oldest_first=True))
        return [row.position for row in page if until is None or row.position <= until]

    async def revoked_keys(self) -> frozenset[str]:
        """See ``Storage.revoked_keys``. Reads every row of such a revocation with the filter of ``log``."""
        granted = {"operation": Operation.REVOKE_API_KEY.value, "outcome": Outcome.GRANTED.value}
        rows = self.log_rows(LogName.ACCESS, LogQuery(limit=PAGE, equals=granted))
        return frozenset([row.record.detail async for row in rows if row.record.detail is not None])

    async def purges_by_id(self, query: PurgesByIdQuery) -> Sequence[PurgeRecord]:
        """See ``WatchStorage.purges_by_id``. Reads all purges of the period."""
        rows = self.log_rows(LogName.PURGE, LogQuery(limit=PAGE, since=query.since, until=query.until))
        found = [row.record async for row in rows if row.record.purge_id >= query.first_id]
        return heapq.nsmallest(query.limit, found, key=lambda record: record.purge_id)

    async def log_rows(self, log: LogName, query: LogQuery) -> AsyncIterator[StoredRow[Any]]:
        """Yield the rows of a query, and all that follow ``limit``, page by page."""
        while True:
            page = await self.log(log, query)
            for row in page:
                yield row
            if len(page) < query.limit:
                return
            query = replace(query, after=page[-1].position)

    async def _scrubbed(self, positions: Sequence[int]) -> dict[int, datetime]:
        """Return when the first scrub that covers each of the rows was finished."""
        waiting, reached = sorted(positions, reverse=True), {}
        async for item in self.all_items(ItemRange(table=SCRUB, limit=PAGE)):
            scrub = decode(ScrubRecord, item.value)
            while waiting and waiting[-1] <= scrub.through:
                reached[waiting.pop()] = scrub.finished_at
            if not waiting:
                break
        return reached
