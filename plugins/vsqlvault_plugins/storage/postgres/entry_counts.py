"""Merges the deltas of commits into the counters of entries, and finds when keys were used."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql.counted_entries import EntryCounts
from vsqlvault_plugins.storage.sql.evidence import KeyUses
from vsqlvault_plugins.storage.sql.reading import Reading, fetch
from vsqlvault_plugins.storage.sql_files import load_queries

COUNTS = load_queries("vsqlvault_plugins.storage.postgres", "entry_counts.sql")


@dataclass(frozen=True, slots=True)
class Folding:
    """How many deltas are left for a report to add, and how many are merged at once."""

    leave: int = 256
    at_once: int = 8_192


DEFAULT_FOLDING = Folding()


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


def key_uses(counts: EntryCounts, as_of: datetime) -> Reading[KeyUses]:
    """Return the use of each listed key."""
    listed = counts.listed_keys()
    names = [(policy, *name) for name, policies in listed.items() for policy in policies]
    used: dict[tuple[str, str | None], list[datetime]] = {name: [] for name in listed}
    for sql, those in (
        (_KEY_USED, [name for name in names if name[2] is not None]),
        (_NO_KEY_USED, [name for name in names if name[2] is None]),
    ):
        policies, purposes, key_refs = [list(column) for column in zip(*those, strict=True)] or ([], [], [])
        found = yield from fetch(sql, policies=policies, purposes=purposes, key_refs=key_refs, as_of=as_of)
        for ordinal, first, last in found:
            used[those[ordinal - 1][1:]] += [first, last]
    return [(name[0], counts.key_use(name, of, used[name])) for name, of in listed.items()]
