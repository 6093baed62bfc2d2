"""The part of a storage for sweeps and scrubs: expired entries, records of runs, and the removal of purged bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.quick_dataclass import dataclass


class ExpiredPlace(NamedTuple):
    """The position of an expired entry in the order of a sweep, which is the order of these tuples.

    ``at`` is ``expires_at`` of an entry that expired by its own time, and ``created_at`` of an entry that expired only
    by the retention limit.
    """

    by_retention_limit: bool
    at: datetime
    external_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredQuery:
    """Entries of one purpose that are expired at ``now`` and not purged, in the order of a sweep, after ``after``.

    Entries created at or before ``created_before`` are expired by the retention limit. A page ends at ``limit``
    entries, or after the entry with which the sum of values exceeds ``byte_limit``.
    """

    purpose: str
    now: datetime
    created_before: datetime
    limit: int
    byte_limit: int
    after: ExpiredPlace | None = None

    def place_of(self, entry: Entry) -> ExpiredPlace:
        """Return the position of an entry that this query returns."""
        by_retention_limit = entry.expires_at > self.now
        return ExpiredPlace(
            by_retention_limit, entry.created_at if by_retention_limit else entry.expires_at, entry.external_id
        )


@dataclass(frozen=True, slots=True)
class ScrubOutcome:
    """The result of a scrub, as in ``ScrubRecord``. ``left`` has a sentence for each item that could not be done."""

    through: int
    rewritten: int
    left: tuple[str, ...] = ()


class PurgeStorage(Protocol):
    """The part of a storage that sweeps, scrubs and their reports use."""

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """Return a page of expired entries with their values, in order. An empty page is the end."""
        ...

    async def expired_entries(self, query: ExpiredQuery) -> Sequence[Entry]:
        """Return a page like ``expired``, without values. ``byte_limit`` is ignored."""
        ...

    async def count_expired(self, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
        """Count the entries that are expired at ``at`` and not purged, in the purposes of ``retention_limits``, as in
        ``entry_statistics``.

        Its time depends only on the number of counted entries.
        """
        ...

    async def last_sweep(self) -> SweepRecord | None:
        """Return the newest record of a sweep."""
        ...

    async def sweeps(self, since: datetime, until: datetime, limit: int) -> SweepRuns:
        """Return a summary of the sweeps that ended in ``[since, until)``, and the newest ``limit`` of them."""
        ...

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:
        """Remove purged bytes from the data files and verify this. Return None if there is nothing to do.

        No step may block requests for longer than ``lock_seconds``. A step is skipped if it would take longer, or if
        the storage's state or this program's privileges prevent it. Only verified steps are reported as done.
        Write-ahead logs, replicas and backups are not covered.
        """
        ...

    async def last_scrub(self) -> ScrubRecord | None:
        """Return the newest record of a scrub."""
        ...

    async def scrubs(self, since: datetime, until: datetime, limit: int) -> Sequence[ScrubRecord]:
        """Return the newest ``limit`` of the scrubs that ended in ``[since, until)``, the newest first."""
        ...
