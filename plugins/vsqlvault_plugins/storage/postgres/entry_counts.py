"""Counts entries from counters, and merges the deltas of commits into the counters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from vsqlvault.interfaces.evidence import EvidenceQuery
from vsqlvault.interfaces.statistics import KeyRefUse
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.entry_counts import EntryCounts, Times, times_of
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql_files import load_queries

COUNTS = load_queries("vsqlvault_plugins.storage.postgres", "entry_counts.sql")


@dataclass(frozen=True, slots=True)
class Folding:
    """How many deltas are left for a report to add, and how many are merged at once."""

    leave: int = 256
    at_once: int = 8_192


DEFAULT_FOLDING = Folding()


def _sums(ends: str, created: str) -> str:
    return COUNTS["sums"].format(states=COUNTS["states"].format(ends=ends, created=created), ends=ends, created=created)


_OF_DAYS = _sums("expires_on", "created_on")
_ON_NO_CUT_DAY = COUNTS["on_no_cut_day"]
_TALLIED_HOLDINGS = COUNTS["tallied_holdings"].format(sums=_OF_DAYS, on_no_cut_day=_ON_NO_CUT_DAY)
_TALLIED_KEYS = COUNTS["tallied_keys"].format(
    states=COUNTS["states"].format(ends="expires_on", created="created_on"), on_no_cut_day=_ON_NO_CUT_DAY
)
_DELTAS = COUNTS["deltas"].format(sums=_OF_DAYS, on_no_cut_day=_ON_NO_CUT_DAY)
_ENTRIES_OF_CUT_DAYS = COUNTS["entries_of_cut_days"].format(sums=_sums("ends", "created"))
_KEY_USED, _NO_KEY_USED = (
    COUNTS["key_used"].format(key=COUNTS[name]) for name in ("key_used_of_a_key", "key_used_of_none")
)


async def fold_deltas(connection: Connection, folding: Folding = DEFAULT_FOLDING) -> bool:
    """Merge deltas into the counters, a limited number.

    Return False if there are too few, or another process is merging.
    """
    if not await connection.fetchval(COUNTS["has_deltas"], folding.leave):
        return False
    async with connection.transaction():
        if not await connection.fetchval(COUNTS["lock_tallies"]):
            return False
        await connection.execute(COUNTS["fold_deltas"], folding.at_once)
        for name in ("forget_empty_holdings", "forget_empty_keys"):
            await connection.execute(COUNTS[name])
    return True


async def count_entries(connection: Connection, query: EvidenceQuery) -> EntryCounts:
    """Count entries that are not purged, in each purpose with a policy, inside a transaction."""
    counts = EntryCounts()
    for purpose in query.retention_limits:
        times = times_of(query, purpose)
        cut = (_days(times.of_expiry), _days(times.of_creation))
        instants = _in_order(times)
        days = [_day(at) for at in instants]
        for hint, no_hint, policy, owner, *sums in await connection.fetch(_TALLIED_HOLDINGS, purpose, *cut, *days):
            counts.add_holding((purpose, None if no_hint else hint, policy, owner), sums)
        for key_ref, no_key, policy, *states in await connection.fetch(_TALLIED_KEYS, purpose, *cut, *days[:2]):
            counts.add_key((purpose, None if no_key else key_ref, policy), states)
        others = await connection.fetch(_DELTAS, purpose, *cut, *days)
        others += await connection.fetch(_ENTRIES_OF_CUT_DAYS, purpose, *cut, *instants)
        for hint, key_ref, policy, owner, *sums in others:
            counts.add_holding((purpose, hint, policy, owner), sums)
            counts.add_key((purpose, key_ref, policy), sums[:2])
    return counts


async def key_uses(connection: Connection, counts: EntryCounts, as_of: datetime) -> list[tuple[str, KeyRefUse]]:
    """Return the use of each listed key."""
    listed = counts.listed_keys()
    names = [(policy, *name) for name, policies in listed.items() for policy in policies]
    used: dict[tuple[str, str | None], list[datetime]] = {name: [] for name in listed}
    for sql, those in (
        (_KEY_USED, [name for name in names if name[2] is not None]),
        (_NO_KEY_USED, [name for name in names if name[2] is None]),
    ):
        columns = [list(column) for column in zip(*those, strict=True)] or [[], [], []]
        for ordinal, first, last in await connection.fetch(sql, *columns, as_of):
            used[those[ordinal - 1][1:]] += [first, last]
    return [(name[0], counts.key_use(name, policies, used[name])) for name, policies in listed.items()]


def _in_order(times: Times) -> list[datetime]:
    pairs = zip(times.ends, times.retention_limits, strict=True)
    return [times.as_of, times.retention_limit, times.due, times.limit_due, *(at for pair in pairs for at in pair)]


def _days(times: Sequence[datetime]) -> list[date]:
    return sorted({_day(at) for at in times})


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()
