"""The storage on Citus: the tables of a commit are spread over several servers, the rest is on the coordinator.

All statements go to the coordinator. Its sequence gives rows their positions and its locks order commits, as on one server. A
commit is one transaction of all servers, in two phases. If a server fails between them, the commit is acknowledged, and its
rows there appear once Citus has finished it. So a read of settled rows also waits for transactions that are only prepared.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.interfaces.storage import Read, Snapshot
from vsqlvault.interfaces.writes import SeenWrite
from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.entry_counts import COUNTS
from vsqlvault_plugins.storage.postgres.sharding import Shards
from vsqlvault_plugins.storage.postgres.storage import (
    READ_SECONDS,
    SETTLE_PAUSE_SECONDS,
    PostgresStorage,
    PostgresTuning,
)
from vsqlvault_plugins.storage.sql.dialect import FRAGMENTS
from vsqlvault_plugins.storage.sql.dialect import QUERIES as SHARED_QUERIES
from vsqlvault_plugins.storage.sql.reading import Answer, Fetch, Other, Reading
from vsqlvault_plugins.storage.sql.rows import POSTGRESQL_ROWS

_FENCED = re.compile(r"\{(rows_of_parts|entries_ending_on|entries_made_on):?([\w.,]*)\}")
_KEY_IN_USE = re.compile(r"\(\n    SELECT true FROM \{vault\}entries AS e\n.*?\) IS NULL", re.DOTALL)
_NOT_IN_USE = """(purpose, key_ref) NOT IN (
    SELECT e.purpose, e.key_ref FROM {vault}entries AS e
    WHERE e.purged_at IS NULL AND e.key_ref IS NOT NULL AND e.created_at <= :as_of GROUP BY 1, 2
)"""
_KEY_USES = {
    COUNTS["key_used"].format(key=COUNTS[name]): COUNTS["spread_key_used"].format(key=COUNTS[name])
    for name in ("key_used_of_a_key", "key_used_of_none")
}
_UNDEFINED_POLICIES = """SELECT access_policy, count(*) FROM {vault}entries
WHERE purged_at IS NULL AND access_policy NOT IN {texts:known} GROUP BY access_policy"""


class SpreadStorage(PostgresStorage):
    """A PostgreSQL storage whose database has the extension ``citus``."""

    _shards: Shards
    _tuning: PostgresTuning

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """See ``Storage.read``. Each entry is from one state, but those of several servers may be from several."""
        return await self.run(READ_SECONDS, _read, reads, self._shards)

    async def commit_seen(self, writes: Sequence[SeenWrite]) -> Sequence[Snapshot | None]:
        """See ``Storage.commit_seen``. A statement with a commit in it would run on another server, so there is none."""
        return [None] * len(writes)

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:
        """See ``PurgeStorage.scrub``. It rewrites nothing, and says so if an entry was ever purged."""
        del lock_seconds
        if not await self.run(READ_SECONDS, _has_purged):
            return None
        return ScrubOutcome(
            0, 0, ("entries are spread by Citus: rewrite their shards with VACUUM FULL on each server",)
        )

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:
        """See ``ArchiveStorage.drop_archived``. Raises SettingsInvalid: rows of spread logs stay."""
        del log, first, limit
        raise SettingsInvalid(
            "storage.database_url: expected a storage that can drop archived rows, found PostgreSQL with Citus, which keeps"
            " every row of the logs"
        )

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. Nothing was dropped."""
        return False

    def describe(self) -> Mapping[str, Any]:
        """See ``Storage.describe``."""
        return {
            **super().describe(),
            "product": "PostgreSQL with Citus",
            "drops_archived_rows": False,
            "purge_reaches_with_scrub": [],
        }

    async def _answer(self, reading: Reading[Answer], *, is_short: bool = False, consistently: bool = False) -> Answer:
        return await super()._answer(_without_fences(reading), is_short=is_short, consistently=consistently)

    async def _answer_both(self, first: Reading[Answer], second: Reading[Other]) -> tuple[Answer, Other]:
        return await super()._answer_both(_without_fences(first), _without_fences(second))

    async def _settled(self, log: LogName) -> int:
        position = await super()._settled(log)
        if not await self._are_resolved():
            raise StorageUnavailable("a server of the cluster has not finished a commit")
        return position

    async def _is_settled(self, committing: frozenset[str]) -> bool:
        return await super()._is_settled(committing) and await self._are_resolved()

    async def _are_resolved(self) -> bool:
        """Wait for transactions that are only prepared. Return False if one still is after ``settle_seconds``."""
        deadline = time.monotonic() + self._tuning.settle_seconds
        left = await self.run(READ_SECONDS, _unresolved)
        while left:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)
            left &= await self.run(READ_SECONDS, _unresolved)
        return True

    async def _fold(self, connection: Connection) -> bool:
        if not await connection.fetchval(COUNTS["has_deltas"], self._tuning.folding.leave):
            return False
        async with connection.transaction():
            if not await connection.fetchval(COUNTS["lock_tallies"]):
                return False
            await connection.execute(COUNTS["fold_spread_deltas"])
            for name in ("forget_empty_holdings", "forget_empty_keys"):
                await connection.execute(COUNTS[name])
        return False


def _without_fences(reading: Reading[Answer]) -> Reading[Answer]:
    """Return a reading whose queries Citus can plan."""
    try:
        wanted = next(reading)
        while True:
            wanted = reading.send((yield Fetch(_planned(wanted.query), wanted.parameters)))
    except StopIteration as done:
        answer: Answer = done.value
        return answer


@lru_cache(maxsize=512)
def _planned(query: str) -> str:
    """Return a query without OFFSET 0 in a subquery that depends on another, without recursion, and without a subquery for
    each row.
    """
    if query == SHARED_QUERIES["census_undefined_policies"]:
        return _UNDEFINED_POLICIES
    if query in _KEY_USES:
        return _KEY_USES[query]
    query = _KEY_IN_USE.sub(_NOT_IN_USE, query)
    return _FENCED.sub(lambda found: FRAGMENTS[found[1]][1].format(*found[2].split(",")).replace("OFFSET 0", ""), query)


async def _read(connection: Connection, reads: Sequence[Read], shards: Shards) -> list[Snapshot]:
    keys = [read.key or ("", "") for read in reads]
    found = await connection.fetch(
        QUERIES["spread_read"], [key[0] for key in keys], [key[1] for key in keys], [read.with_value for read in reads],
        [shards.of_entry(*key) for key in keys],
    )  # fmt: skip
    return [
        Snapshot(row[20], row[21], POSTGRESQL_ROWS.entry_of(row) if row[0] is not None else None, row[19], row[22])
        for row in found
    ]


async def _has_purged(connection: Connection) -> bool:
    """Return whether the purge log has a row."""
    return bool(await connection.fetchval(QUERIES["newest_position"].format(log="purge_log")))


async def _unresolved(connection: Connection) -> frozenset[str]:
    """Return the transactions that a server has prepared and not finished.

    Raises:
        StorageUnavailable: a server does not answer.
    """
    found: frozenset[str] = frozenset()
    for success, result in await connection.fetch(QUERIES["unresolved"]):
        if not success:
            raise StorageUnavailable("a server of the cluster does not answer")
        found |= frozenset(json.loads(result))
    return found
