"""Expired entries, and the records of sweeps and scrubs."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.times import to_micros
from vsqlvault_plugins.storage.sqlite import rows
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES

_FIRST = {"after_at": -(2**63), "after_id": ""}


def expired_page(connection: sqlite3.Connection, query: ExpiredQuery) -> list[tuple[Entry, bytes]]:
    """Return expired entries with their values, up to the page's two limits."""
    page: list[tuple[Entry, bytes]] = []
    size = 0
    for by_retention_limit, name in enumerate(("expired_by_time", "expired_by_retention_limit")):
        after = query.after
        if after and after.by_retention_limit > by_retention_limit:
            continue
        parameters = {**_parameters(query, by_retention_limit), "limit": query.limit - len(page)}
        cursor = connection.execute(QUERIES[name], parameters)
        for row in cursor:
            page.append((rows.entry_of(row), row[19]))
            size += len(row[19])
            if size >= query.byte_limit:
                cursor.close()
                return page
    return page


def expired_entries(connection: sqlite3.Connection, query: ExpiredQuery) -> list[Entry]:
    """Return expired entries without their values, up to ``limit``."""
    page: list[Entry] = []
    for by_retention_limit, name in enumerate(("expired_entries_by_time", "expired_entries_by_retention_limit")):
        after = query.after
        if (after and after.by_retention_limit > by_retention_limit) or len(page) == query.limit:
            continue
        parameters = {**_parameters(query, by_retention_limit), "limit": query.limit - len(page)}
        page += [rows.entry_of(row) for row in connection.execute(QUERIES[name], parameters)]
    return page


def _parameters(query: ExpiredQuery, by_retention_limit: int) -> dict[str, Any]:
    """Return the query and its parameters for a page, and the place where it starts."""
    after = query.after
    from_here = after if after and after.by_retention_limit == by_retention_limit else None
    return {
        "purpose": query.purpose,
        "now": to_micros(query.now),
        "created_before": to_micros(query.created_before),
        **({"after_at": to_micros(from_here.at), "after_id": from_here.external_id} if from_here else _FIRST),
    }


def count_expired(connection: sqlite3.Connection, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
    """Count expired entries."""
    total = 0
    for purpose, retention_limit in retention_limits.items():
        parameters = {"purpose": purpose, "at": to_micros(at), "retention_limit": to_micros(retention_limit)}
        (count,) = connection.execute(QUERIES["count_expired"], parameters).fetchone()
        total += count
    return total


def last_sweep(connection: sqlite3.Connection) -> SweepRecord | None:
    """Return the newest record of a sweep."""
    row = connection.execute(QUERIES["last_sweep"]).fetchone()
    return rows.sweep_of(row) if row else None


def sweeps(connection: sqlite3.Connection, since: datetime, until: datetime, limit: int) -> SweepRuns:
    """Return a summary of the sweeps of a period."""
    span = {"since": to_micros(since), "until": to_micros(until), "limit": limit}
    count, purged, failed, not_completed = connection.execute(QUERIES["sum_of_sweeps"], span).fetchone()
    return SweepRuns(
        count=count,
        purged=purged,
        failed=failed,
        not_completed=not_completed,
        newest=tuple(rows.sweep_of(row) for row in connection.execute(QUERIES["sweeps_between"], span)),
    )


def last_scrub(connection: sqlite3.Connection) -> ScrubRecord | None:
    """Return the newest record of a scrub."""
    row = connection.execute(QUERIES["last_scrub"]).fetchone()
    return rows.scrub_of(row) if row else None


def scrubs(connection: sqlite3.Connection, since: datetime, until: datetime, limit: int) -> list[ScrubRecord]:
    """Return the newest scrubs of a period."""
    span = {"since": to_micros(since), "until": to_micros(until), "limit": limit}
    return [rows.scrub_of(row) for row in connection.execute(QUERIES["scrubs_between"], span)]


def scrub_reach(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the position of the newest row of the purge log, and the position up to which a scrub has covered it."""
    newest, through = connection.execute(QUERIES["scrub_reach"]).fetchone()
    return newest, through
