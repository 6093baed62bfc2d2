"""The counts of the compliance report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from vsqlvault.interfaces.evidence import (
    ENDING_WITHIN_DAYS,
    MAX_LISTED_CHANGES,
    MAX_LISTED_KEYS,
    AccessCount,
    EvidenceQuery,
    Holding,
    PolicyChange,
    PurgeCount,
    RetiredKey,
)
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse
from vsqlvault.model.purge import PurgeReason
from vsqlvault_plugins.storage.sql import lags, pages
from vsqlvault_plugins.storage.sql.counted_entries import EntryCounts
from vsqlvault_plugins.storage.sql.dialect import QUERIES
from vsqlvault_plugins.storage.sql.log_counts import LogCounts
from vsqlvault_plugins.storage.sql.reading import Reading, fetch, fetch_value
from vsqlvault_plugins.storage.sql.rows import Rows

MICROSECOND = timedelta(microseconds=1)
KeyUses: TypeAlias = list[tuple[str, KeyRefUse]]
Members: TypeAlias = dict[str, Any]
CountKeys: TypeAlias = Callable[[EntryCounts, datetime], Reading[KeyUses]]


def of_entries(
    rows: Rows,
    query: EvidenceQuery,
    count_entries: Callable[[EvidenceQuery], Reading[EntryCounts]],
    key_uses: CountKeys,
) -> Reading[Members]:
    """Return the members of Evidence that need the entries, without reading values.

    ``count_entries`` and ``key_uses`` are those of a storage's counters.
    """
    logs = LogCounts(rows, query.since, query.until, from_rows=query.from_rows)
    counts = None if query.from_rows else (yield from count_entries(query))
    in_use = counts.keys_in_use() if counts else ()
    retired = yield from logs.retired_keys(query.as_of, MAX_LISTED_KEYS, in_use)
    return {
        "holdings": (yield from _holdings(query)) if counts is None else counts.holdings(),
        "oldest_expired_at": (yield from _oldest_expired(rows, query)),
        "retired_keys": [RetiredKey(row[0], row[1], rows.time(row[2])) for row in retired],
        "entry_statistics": None if counts is None else (yield from _statistics(rows, query, counts)),
        "key_uses": None if counts is None else (yield from key_uses(counts, query.as_of)),
    }


def of_logs(rows: Rows, query: EvidenceQuery) -> Reading[Members]:
    """Return the other members of Evidence."""
    logs = LogCounts(rows, query.since, query.until, from_rows=query.from_rows)
    steps = lags.by_purpose((yield from logs.lag_steps()))
    changes = yield from _policy_changes(rows, query)
    of_purpose = {}
    for purpose, of in steps.items():
        of_purpose[purpose] = yield from logs.lag(of)
    access = yield from logs.access(sorted(query.retention_limits))
    return {
        "purges": [PurgeCount(*row) for row in (yield from logs.purges())],
        "lags": of_purpose,
        "lag_histogram": lags.histogram(steps.get(None, ())),
        "access": [_access_count(rows, row) for row in access],
        "days": (yield from logs.days()),
        "policy_changes": changes[:MAX_LISTED_CHANGES],
        "policy_changes_count": len(changes),
        "oldest_access_at": rows.time_or_none((yield from fetch_value(QUERIES["evidence_oldest_access"]))),
        "oldest_purge_at": rows.time_or_none((yield from fetch_value(QUERIES["evidence_oldest_purge"]))),
    }


def _statistics(rows: Rows, query: EvidenceQuery, counts: EntryCounts) -> Reading[EntryStatistics]:
    after = query.as_of + MICROSECOND  # its span excludes its start and includes its end
    purges = yield from LogCounts(rows, after - pages.THIRTY_DAYS, after, from_rows=False).purges()
    return EntryStatistics(
        by_purpose=counts.purposes(query.retention_limits),
        purged_last_30_days=sum(row[3] for row in purges if row[1] != PurgeReason.REPLACED),
        purges_without_proof=(yield from fetch_value(QUERIES["census_without_proof"])),
        entries_by_undefined_policy=(yield from pages.undefined_policies(query.known_policies)),
    )


def _policy_changes(rows: Rows, query: EvidenceQuery) -> Reading[list[PolicyChange]]:
    found = yield from fetch(QUERIES["evidence_policy_changes"], since=query.since, until=query.until)
    return [PolicyChange(row[0], row[1], row[2], bool(row[3]), row[4], rows.time(row[5])) for row in found]


def _holdings(query: EvidenceQuery) -> Reading[list[Holding]]:
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
        found += yield from fetch(QUERIES["evidence_holdings"], purpose=purpose, **times)
    return [
        Holding(
            purpose=row[0], algorithm_hint=row[1], access_policy=row[2], owner_app=row[3],
            active=row[4], expired=row[5], overdue=row[6], ending=(row[7], row[8], row[9]),
        )
        for row in found
    ]  # fmt: skip


def _oldest_expired(rows: Rows, query: EvidenceQuery) -> Reading[dict[str, datetime]]:
    found: dict[str, datetime] = {}
    for purpose, retention_limit in query.retention_limits.items():
        parameters = {"purpose": purpose, "as_of": query.as_of, "retention_limit": retention_limit}
        by_expiry = rows.time_or_none((yield from fetch_value(QUERIES["evidence_oldest_expiry"], **parameters)))
        by_creation = rows.time_or_none((yield from fetch_value(QUERIES["evidence_oldest_creation"], **parameters)))
        ends = [by_expiry] if by_expiry else []
        ends += [by_creation + (query.as_of - retention_limit)] if by_creation else []
        if ends:
            found[purpose] = min(ends)
    return found


def _access_count(rows: Rows, row: Sequence[Any]) -> AccessCount:
    return AccessCount(
        operation=row[0], outcome=row[1], reason=row[2], purpose=row[3], app=row[4], role=row[5], rows=row[6],
        events=row[7], first_at=rows.time(row[8]), last_at=rows.time(row[9]),
        without_app=row[10], without_origin=row[11], without_subject=row[12], without_identity=row[13],
    )  # fmt: skip
