"""Expired entries, and the records of sweeps and scrubs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from vsqlvault.interfaces.purge_storage import ExpiredPlace, ExpiredQuery
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import ScrubRecord, SweepRecord, SweepRuns
from vsqlvault_plugins.storage.postgres import rows
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection

_FIRST = ExpiredPlace(False, datetime.min.replace(tzinfo=UTC), "")


async def expired_page(connection: Connection, query: ExpiredQuery) -> list[tuple[Entry, bytes]]:
    """Return expired entries with their values, up to the page's two limits."""
    page: list[tuple[Entry, bytes]] = []
    left = query.byte_limit
    for by_retention_limit, name in enumerate(("expired_by_time", "expired_by_retention_limit")):
        after = query.after
        if (after and after.by_retention_limit > by_retention_limit) or len(page) == query.limit or left <= 0:
            continue
        from_here = after if after and after.by_retention_limit == by_retention_limit else _FIRST
        found = await connection.fetch(
            QUERIES[name],
            query.purpose,
            query.now,
            query.created_before,
            from_here.at,
            from_here.external_id,
            query.limit - len(page),
            left,
        )
        part = [(rows.entry_of(row), row[19]) for row in found]
        part.sort(key=lambda pair: query.place_of(pair[0]))
        left -= sum(len(value) for _, value in part)
        page += part
    return page


async def expired_entries(connection: Connection, query: ExpiredQuery) -> list[Entry]:
    """Return expired entries without their values, up to ``limit``."""
    page: list[Entry] = []
    for by_retention_limit, name in enumerate(("expired_entries_by_time", "expired_entries_by_retention_limit")):
        after = query.after
        if (after and after.by_retention_limit > by_retention_limit) or len(page) == query.limit:
            continue
        from_here = after if after and after.by_retention_limit == by_retention_limit else _FIRST
        parameters = (query.purpose, query.now, query.created_before, from_here.at, from_here.external_id)
        found = await connection.fetch(QUERIES[name], *parameters, query.limit - len(page))
        page += [rows.entry_of(row) for row in found]
    return page


async def count_expired(connection: Connection, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
    """Count expired entries."""
    counts = [
        await connection.fetchval(QUERIES["count_expired"], purpose, at, retention_limit)
        for purpose, retention_limit in retention_limits.items()
    ]
    return sum(counts)


async def last_sweep(connection: Connection) -> SweepRecord | None:
    """Return the newest record of a sweep."""
    row = await connection.fetchrow(QUERIES["last_sweep"])
    return rows.sweep_of(row) if row else None


async def sweeps(connection: Connection, since: datetime, until: datetime, limit: int) -> SweepRuns:
    """Return a summary of the sweeps of a period."""
    (sums,) = await connection.fetch(QUERIES["sum_of_sweeps"], since, until)
    count, purged, failed, not_completed = sums
    newest = await connection.fetch(QUERIES["sweeps_between"], since, until, limit)
    return SweepRuns(
        count=count,
        purged=purged,
        failed=failed,
        not_completed=not_completed,
        newest=tuple(rows.sweep_of(row) for row in newest),
    )


async def last_scrub(connection: Connection) -> ScrubRecord | None:
    """Return the newest record of a scrub."""
    row = await connection.fetchrow(QUERIES["last_scrub"])
    return rows.scrub_of(row) if row else None


async def scrubs(connection: Connection, since: datetime, until: datetime, limit: int) -> list[ScrubRecord]:
    """Return the newest scrubs of a period."""
    return [rows.scrub_of(row) for row in await connection.fetch(QUERIES["scrubs_between"], since, until, limit)]
