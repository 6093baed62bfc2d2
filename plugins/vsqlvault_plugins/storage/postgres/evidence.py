"""The counts of the compliance report, from one consistent state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.evidence import (
    ENDING_WITHIN_DAYS,
    MAX_LISTED_CHANGES,
    MAX_LISTED_KEYS,
    AccessCount,
    Evidence,
    EvidenceQuery,
    Holding,
    PolicyChange,
    PurgeCount,
    PurgeLag,
    RetiredKey,
)
from vsqlvault.interfaces.statistics import EntryStatistics
from vsqlvault.model.purge import PurgeReason
from vsqlvault_plugins.storage import lags
from vsqlvault_plugins.storage.entry_counts import EntryCounts
from vsqlvault_plugins.storage.postgres import entry_counts, pages
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.tallies import LogCounts

MICROSECOND = timedelta(microseconds=1)
THIRTY_DAYS = timedelta(days=30)


async def evidence(connection: Connection, query: EvidenceQuery) -> Evidence:
    """Count entries and logs without reading values."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        logs = LogCounts(connection, query.since, query.until, from_rows=query.from_rows)
        steps = lags.by_purpose(await logs.lag_steps())
        found = await connection.fetch(QUERIES["evidence_policy_changes"], query.since, query.until)
        changes = [PolicyChange(*row) for row in found]
        counts = None if query.from_rows else await entry_counts.count_entries(connection, query)
        return Evidence(
            holdings=await _holdings(connection, query) if counts is None else counts.holdings(),
            oldest_expired_at=await _oldest_expired(connection, query),
            purges=[PurgeCount(*row) for row in await logs.purges()],
            lags={purpose: await _lag(logs, of) for purpose, of in steps.items()},
            lag_histogram=lags.histogram(steps.get(None, ())),
            retired_keys=[RetiredKey(*row) for row in await logs.retired_keys(query.as_of, MAX_LISTED_KEYS)],
            access=[_access_count(row) for row in await logs.access(sorted(query.retention_limits))],
            days=await logs.days(),
            policy_changes=changes[:MAX_LISTED_CHANGES],
            policy_changes_count=len(changes),
            oldest_access_at=await connection.fetchval(QUERIES["evidence_oldest_access"]),
            oldest_purge_at=await connection.fetchval(QUERIES["evidence_oldest_purge"]),
            entry_statistics=None if counts is None else await _statistics(connection, query, counts),
            key_uses=None if counts is None else await entry_counts.key_uses(connection, counts, query.as_of),
        )


async def _statistics(connection: Connection, query: EvidenceQuery, counts: EntryCounts) -> EntryStatistics:
    after = query.as_of + MICROSECOND  # its span excludes its start and includes its end
    purges = await LogCounts(connection, after - THIRTY_DAYS, after, from_rows=False).purges()
    return EntryStatistics(
        by_purpose=counts.purposes(query.retention_limits),
        purged_last_30_days=sum(row[3] for row in purges if row[1] != PurgeReason.REPLACED),
        purges_without_proof=await connection.fetchval(QUERIES["census_without_proof"]),
        entries_by_undefined_policy=await pages.undefined_policies(connection, query.known_policies),
    )


async def _lag(logs: LogCounts, steps: Sequence[lags.LagStep]) -> PurgeLag:
    return lags.purge_lag(steps, {place: await logs.lag_at(place) for place in lags.places(steps)})


async def _holdings(connection: Connection, query: EvidenceQuery) -> list[Holding]:
    found: list[Any] = []
    for purpose, retention_limit in query.retention_limits.items():
        times = [query.as_of, retention_limit, query.as_of - query.grace, retention_limit - query.grace]
        for days in ENDING_WITHIN_DAYS:
            times += [query.as_of + timedelta(days=days), retention_limit + timedelta(days=days)]
        found += await connection.fetch(QUERIES["evidence_holdings"], purpose, *times)
    return [
        Holding(
            purpose=row[0], algorithm_hint=row[1], access_policy=row[2], owner_app=row[3],
            active=row[4], expired=row[5], overdue=row[6], ending=(row[7], row[8], row[9]),
        )
        for row in found
    ]  # fmt: skip


async def _oldest_expired(connection: Connection, query: EvidenceQuery) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for purpose, retention_limit in query.retention_limits.items():
        by_expiry = await connection.fetchval(QUERIES["evidence_oldest_expiry"], purpose, query.as_of)
        by_creation = await connection.fetchval(QUERIES["evidence_oldest_creation"], purpose, retention_limit)
        ends = [by_expiry] if by_expiry else []
        ends += [by_creation + (query.as_of - retention_limit)] if by_creation else []
        if ends:
            found[purpose] = min(ends)
    return found


def _access_count(row: Any) -> AccessCount:
    return AccessCount(
        operation=row[0], outcome=row[1], reason=row[2], purpose=row[3], app=row[4], role=row[5], rows=row[6],
        events=row[7], first_at=row[8], last_at=row[9], without_app=row[10], without_origin=row[11],
        without_subject=row[12], without_identity=row[13],
    )  # fmt: skip
