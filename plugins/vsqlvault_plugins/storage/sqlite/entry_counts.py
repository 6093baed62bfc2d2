"""Counts entries from the counters that triggers maintain."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vsqlvault.interfaces.evidence import EvidenceQuery
from vsqlvault.interfaces.statistics import KeyRefUse
from vsqlvault.model.times import from_micros, to_micros
from vsqlvault_plugins.storage.entry_counts import EntryCounts, Times, times_of
from vsqlvault_plugins.storage.sql_files import load_queries

COUNTS = load_queries("vsqlvault_plugins.storage.sqlite", "entry_counts.sql")
DAY_MICROS = 86_400_000_000
FIRST_DAY_MICROS = -62_135_596_800_000_000
"""0001-01-01, the first representable day."""


def _sums(ends: str, created: str, day: str) -> str:
    states = COUNTS["states"].format(ends=ends, created=created, day=day)
    return COUNTS["sums"].format(states=states, ends=ends, created=created, day=day)


_OF_DAYS = {"ends": "expires_day", "created": "created_day", "day": "_day"}
_ON_NO_CUT_DAY = COUNTS["on_no_cut_day"]
_TALLIED_HOLDINGS = COUNTS["tallied_holdings"].format(sums=_sums(**_OF_DAYS), on_no_cut_day=_ON_NO_CUT_DAY)
_TALLIED_KEYS = COUNTS["tallied_keys"].format(states=COUNTS["states"].format(**_OF_DAYS), on_no_cut_day=_ON_NO_CUT_DAY)
_ENTRIES_OF_CUT_DAYS = COUNTS["entries_of_cut_days"].format(sums=_sums("expires_at", "created_at", ""))


def count_entries(connection: sqlite3.Connection, query: EvidenceQuery) -> EntryCounts:
    """Count entries that are not purged, in each purpose with a policy, inside a transaction."""
    counts = EntryCounts()
    for purpose in query.retention_limits:
        parameters = _parameters(purpose, times_of(query, purpose))
        for hint, no_hint, policy, owner, *sums in connection.execute(_TALLIED_HOLDINGS, parameters):
            counts.add_holding((purpose, None if no_hint else hint, policy, owner), sums)
        for key_ref, no_key, policy, *states in connection.execute(_TALLIED_KEYS, parameters):
            counts.add_key((purpose, None if no_key else key_ref, policy), states)
        for hint, key_ref, policy, owner, *sums in connection.execute(_ENTRIES_OF_CUT_DAYS, parameters):
            counts.add_holding((purpose, hint, policy, owner), sums)
            counts.add_key((purpose, key_ref, policy), sums[:2])
    return counts


def key_uses(connection: sqlite3.Connection, counts: EntryCounts, as_of: datetime) -> list[tuple[str, KeyRefUse]]:
    """Return the use of each listed key."""
    found = []
    for name, policies in counts.listed_keys().items():
        used = []
        for policy in policies:
            where = {"policy": policy, "purpose": name[0], "key_ref": name[1], "as_of": to_micros(as_of)}
            for which in ("key_first_used", "key_last_used"):
                used += [from_micros(row[0]) for row in connection.execute(COUNTS[which], where)]
        found.append((name[0], counts.key_use(name, policies, used)))
    return found


def _parameters(purpose: str, times: Times) -> Mapping[str, Any]:
    instants = {
        "as_of": times.as_of,
        "retention_limit": times.retention_limit,
        "due": times.due,
        "limit_due": times.limit_due,
        **{f"end_{place}": at for place, at in enumerate(times.ends, 1)},
        **{f"retention_limit_{place}": at for place, at in enumerate(times.retention_limits, 1)},
    }
    micros = {name: to_micros(at) for name, at in instants.items()}
    return {
        "purpose": purpose,
        **micros,
        **{f"{name}_day": _day(at) for name, at in micros.items()},
        "expiry_days": _days(times.of_expiry),
        "creation_days": _days(times.of_creation),
        "first": FIRST_DAY_MICROS,
        "day": DAY_MICROS,
    }


def _days(times: tuple[datetime, ...]) -> str:
    return json.dumps(sorted({_day(to_micros(at)) for at in times}))


def _day(micros: int) -> int:
    """Return the number of a time's UTC date; 0 for the first representable day."""
    return (micros - FIRST_DAY_MICROS) // DAY_MICROS
