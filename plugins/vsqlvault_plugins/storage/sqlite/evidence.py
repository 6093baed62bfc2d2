"""The counts of the compliance report, from one consistent state."""

from __future__ import annotations

import json
import sqlite3
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
    RetiredKey,
)
from vsqlvault.interfaces.statistics import EntryStatistics
from vsqlvault.model.purge import PurgeReason
from vsqlvault.model.times import from_micros, to_micros
from vsqlvault_plugins.storage import lags
from vsqlvault_plugins.storage.entry_counts import EntryCounts
from vsqlvault_plugins.storage.sqlite import entry_counts, pages
from vsqlvault_plugins.storage.sqlite.tallies import LogCounts
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

MICROSECOND = timedelta(microseconds=1)
THIRTY_DAYS = timedelta(days=30)


def evidence(connection: sqlite3.Connection, query: EvidenceQuery) -> Evidence:
    """Count entries and logs without reading values."""
    with transaction(connection, "begin_read"):
        logs = LogCounts(connection, query.since, query.until, from_rows=query.from_rows)
        steps = lags.by_purpose(logs.lag_steps())
        changes = _policy_changes(connection, query)
        counts = None if query.from_rows else entry_counts.count_entries(connection, query)
        return Evidence(
            holdings=_holdings(connection, query) if counts is None else counts.holdings(),
            oldest_expired_at=_oldest_expired(connection, query),
            purges=[PurgeCount(*row) for row in logs.purges()],
            lags={
                purpose: lags.purge_lag(of, {place: logs.lag_at(place) for place in lags.places(of)})
                for purpose, of in steps.items()
            },
            lag_histogram=lags.histogram(steps.get(None, ())),
            retired_keys=[
                RetiredKey(row[0], row[1], from_micros(row[2]))
                for row in logs.retired_keys(query.as_of, MAX_LISTED_KEYS)
            ],
            access=[_access_count(row) for row in logs.access(json.dumps(sorted(query.retention_limits)))],
            days=logs.days(),
            policy_changes=changes[:MAX_LISTED_CHANGES],
            policy_changes_count=len(changes),
            oldest_access_at=_oldest(connection, "evidence_oldest_access"),
            oldest_purge_at=_oldest(connection, "evidence_oldest_purge"),
            entry_statistics=None if counts is None else _statistics(connection, query, counts),
            key_uses=None if counts is None else entry_counts.key_uses(connection, counts, query.as_of),
        )


def _statistics(connection: sqlite3.Connection, query: EvidenceQuery, counts: EntryCounts) -> EntryStatistics:
    after = query.as_of + MICROSECOND  # its span excludes its start and includes its end
    purges = LogCounts(connection, after - THIRTY_DAYS, after, from_rows=False).purges()
    (without_proof,) = connection.execute(QUERIES["census_without_proof"]).fetchone()
    return EntryStatistics(
        by_purpose=counts.purposes(query.retention_limits),
        purged_last_30_days=sum(row[3] for row in purges if row[1] != PurgeReason.REPLACED),
        purges_without_proof=without_proof,
        entries_by_undefined_policy=pages.undefined_policies(connection, query.known_policies),
    )


def _policy_changes(connection: sqlite3.Connection, query: EvidenceQuery) -> list[PolicyChange]:
    span = {"since": to_micros(query.since), "until": to_micros(query.until)}
    return [_change(row) for row in connection.execute(QUERIES["evidence_policy_changes"], span)]


def _holdings(connection: sqlite3.Connection, query: EvidenceQuery) -> list[Holding]:
    found: list[Any] = []
    for purpose, retention_limit in query.retention_limits.items():
        times = {
            "as_of": query.as_of,
            "retention_limit": retention_limit,
            "due": query.as_of - query.grace,
            "limit_due": retention_limit - query.grace,
        }
        for place, days in enumerate(ENDING_WITHIN_DAYS, 1):
            times[f"end_{place}"] = query.as_of + timedelta(days=days)
            times[f"retention_limit_{place}"] = retention_limit + timedelta(days=days)
        parameters = {"purpose": purpose, **{name: to_micros(at) for name, at in times.items()}}
        found += connection.execute(QUERIES["evidence_holdings"], parameters).fetchall()
    return [
        Holding(
            purpose=row[0], algorithm_hint=row[1], access_policy=row[2], owner_app=row[3],
            active=row[4], expired=row[5], overdue=row[6], ending=(row[7], row[8], row[9]),
        )
        for row in found
    ]  # fmt: skip


def _oldest_expired(connection: sqlite3.Connection, query: EvidenceQuery) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for purpose, retention_limit in query.retention_limits.items():
        parameters = {
            "purpose": purpose,
            "as_of": to_micros(query.as_of),
            "retention_limit": to_micros(retention_limit),
        }
        by_expiry = connection.execute(QUERIES["evidence_oldest_expiry"], parameters).fetchone()
        by_creation = connection.execute(QUERIES["evidence_oldest_creation"], parameters).fetchone()
        ends = [from_micros(by_expiry[0])] if by_expiry else []
        ends += [from_micros(by_creation[0]) + (query.as_of - retention_limit)] if by_creation else []
        if ends:
            found[purpose] = min(ends)
    return found


def _change(row: Any) -> PolicyChange:
    kind, name, version, dropped, changed_by, changed_at = row
    return PolicyChange(kind, name, version, bool(dropped), changed_by, from_micros(changed_at))


def _access_count(row: Any) -> AccessCount:
    return AccessCount(
        operation=row[0], outcome=row[1], reason=row[2], purpose=row[3], app=row[4], role=row[5], rows=row[6],
        events=row[7], first_at=from_micros(row[8]), last_at=from_micros(row[9]),
        without_app=row[10], without_origin=row[11], without_subject=row[12], without_identity=row[13],
    )  # fmt: skip


def _oldest(connection: sqlite3.Connection, name: str) -> datetime | None:
    row = connection.execute(QUERIES[name]).fetchone()
    return from_micros(row[0]) if row else None
