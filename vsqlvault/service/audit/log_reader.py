"""Reading the access log and the purge log, which is itself an operation with a row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from vsqlvault.interfaces.storage import LogQuery, LogRow, Storage
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_reader

Record = TypeVar("Record", AccessRecord, PurgeRecord)
Pager = Callable[[LogQuery], Awaitable[Sequence[LogRow[Record]]]]
STREAM_PAGE = 1_000
_TICK = timedelta(microseconds=1)


class Logs:
    """What admins and auditors may read of what happened."""

    def __init__(
        self, *, storage: Storage, queue: CommitQueue, auditor: Auditor, stream_page: int = STREAM_PAGE
    ) -> None:
        """``stream_page``: how many rows a stream reads at once."""
        self._stream_page = stream_page
        self._storage = storage
        self._queue = queue
        self._auditor = auditor

    async def access_log(self, call: Call, query: LogQuery) -> Sequence[LogRow[AccessRecord]]:
        """Return a page. Raises RoleRequired, Unavailable."""
        return await self._page(call, Operation.READ_ACCESS_LOG, query, self._storage.access_log)

    async def purge_log(self, call: Call, query: LogQuery) -> Sequence[LogRow[PurgeRecord]]:
        """Return a page. Raises RoleRequired, Unavailable."""
        return await self._page(call, Operation.READ_PURGE_LOG, query, self._storage.purge_log)

    async def stream_access_log(
        self, call: Call, query: LogQuery, limit: int | None
    ) -> AsyncIterator[LogRow[AccessRecord]]:
        """Return every row that the query finds, up to ``limit``, a page in memory at a time. Raises as ``access_log``."""
        return await self._stream(call, Operation.READ_ACCESS_LOG, query, limit, self._storage.access_log)

    async def stream_purge_log(
        self, call: Call, query: LogQuery, limit: int | None
    ) -> AsyncIterator[LogRow[PurgeRecord]]:
        """Return every row that the query finds, up to ``limit``, a page in memory at a time. Raises as ``purge_log``."""
        return await self._stream(call, Operation.READ_PURGE_LOG, query, limit, self._storage.purge_log)

    async def _page(
        self, call: Call, operation: Operation, query: LogQuery, pager: Pager[Record]
    ) -> Sequence[LogRow[Record]]:
        trace = AuditContext(call, operation)

        async def attempt() -> Sequence[LogRow[Record]]:
            require_reader(call)
            trace.observe(await self._queue.read())
            rows = await pager(query)
            await self._queue.record(trace.granted(detail=_described(query)))
            return rows

        return await self._auditor.run_audited(trace, attempt)

    async def _stream(
        self, call: Call, operation: Operation, query: LogQuery, limit: int | None, pager: Pager[Record]
    ) -> AsyncIterator[LogRow[Record]]:
        """The row is committed before the first record leaves; rows that come later are left out."""
        trace = AuditContext(call, operation)

        async def attempt() -> AsyncIterator[LogRow[Record]]:
            require_reader(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            end = snapshot.now + _TICK if snapshot.now == snapshot.mark else snapshot.now  # then time stands still
            until = min(query.until, end) if query.until else end
            await self._queue.record(trace.granted(detail=_described(query)))
            return _records(replace(query, until=until, limit=self._stream_page), limit, pager)

        return await self._auditor.run_audited(trace, attempt)


async def _records(query: LogQuery, limit: int | None, pager: Pager[Record]) -> AsyncIterator[LogRow[Record]]:
    left, page = limit, query.limit
    while left is None or left > 0:
        size = page if left is None else min(left, page)
        rows = await pager(replace(query, limit=size))
        for row in rows:
            yield row
        if len(rows) < size:
            return
        query = replace(query, after=rows[-1].position)
        left = None if left is None else left - size


def _described(query: LogQuery) -> str | None:
    """Return the names of the filters used; their values could be anything a caller typed."""
    names = [*query.equals, *(name for name in ("since", "until") if getattr(query, name) is not None)]
    return "filters: " + ", ".join(sorted(names)) if names else None
