"""Counts entries from the counters that a storage maintains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from vsqlvault.interfaces.evidence import EvidenceQuery
from vsqlvault_plugins.storage.sql.counted_entries import EntryCounts, Times, times_of
from vsqlvault_plugins.storage.sql.dialect import Queries
from vsqlvault_plugins.storage.sql.reading import Reading, fetch

COUNTS = Queries("entry_counts.sql")


def _query(name: str, *, of_days: bool) -> str:
    ends, created = ("{expires_day}", "{created_day}") if of_days else ("expires_at", "created_at")
    parts = {"sums": COUNTS["sums"], "states": COUNTS["states"], "on_no_cut_day": COUNTS["on_no_cut_day"]}
    query = COUNTS[name]
    for part, text in {**parts, "ends": ends, "created": created}.items():
        query = query.replace(f"{{{part}}}", text)
    return query


TALLIED_HOLDINGS = _query("tallied_holdings", of_days=True)
TALLIED_KEYS = _query("tallied_keys", of_days=True)
DELTAS = _query("deltas", of_days=True)
ENTRIES_OF_CUT_DAYS = _query("entries_of_cut_days", of_days=False)


def count_entries(query: EvidenceQuery, *, has_deltas: bool) -> Reading[EntryCounts]:
    """Count entries that are not purged, in each purpose with a policy. ``has_deltas``: changes are tallied later."""
    counts = EntryCounts()
    for purpose in query.retention_limits:
        times = times_of(query, purpose)
        cut = {"expiry_days": _days(times.of_expiry), "creation_days": _days(times.of_creation)}
        instants = _by_name(times)
        days = {name: _day(at) for name, at in instants.items()}
        found = yield from fetch(TALLIED_HOLDINGS, purpose=purpose, **cut, **days)
        for hint, no_hint, policy, owner, *sums in found:
            counts.add_holding((purpose, None if no_hint else hint, policy, owner), sums)
        found = yield from fetch(TALLIED_KEYS, purpose=purpose, **cut, **days)
        for key_ref, no_key, policy, *states in found:
            counts.add_key((purpose, None if no_key else key_ref, policy), states)
        found = yield from fetch(ENTRIES_OF_CUT_DAYS, purpose=purpose, **cut, **instants)
        if has_deltas:
            found += yield from fetch(DELTAS, purpose=purpose, **cut, **days)
        for hint, key_ref, policy, owner, *sums in found:
            counts.add_holding((purpose, hint, policy, owner), sums)
            counts.add_key((purpose, key_ref, policy), sums[:2])
    return counts


def _by_name(times: Times) -> dict[str, Any]:
    return {
        "as_of": times.as_of,
        "retention_limit": times.retention_limit,
        "due": times.due,
        "limit_due": times.limit_due,
        **{f"end_{place}": at for place, at in enumerate(times.ends, 1)},
        **{f"retention_limit_{place}": at for place, at in enumerate(times.retention_limits, 1)},
    }


def _days(times: Sequence[datetime]) -> list[date]:
    return sorted({_day(at) for at in times})


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()
