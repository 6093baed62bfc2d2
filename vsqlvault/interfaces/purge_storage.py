"""Purging at large: what has expired, the runs of the sweep, and driving what was purged out of the data files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import ScrubRecord, SweepRecord, SweepRuns


class ExpiredPlace(NamedTuple):
    """Where an expired entry stands in the order of a sweep, which is the order of these tuples.

    ``at`` is ``expires_at`` of what has ended by its own time, and ``created_at`` of what only the retention limit ends.
    """

    by_retention_limit: bool
    at: datetime
    external_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiredQuery:
    """Entries of one purpose that are expired at ``now`` and not purged, in the order of their places, after ``after``.

    What was created at or before ``created_before`` is expired by the retention limit.
    A page ends at ``limit`` entries, or after the entry with which their values pass ``byte_limit``.
    """

    purpose: str
    now: datetime
    created_before: datetime
    limit: int
    byte_limit: int
    after: ExpiredPlace | None = None

    def place_of(self, entry: Entry) -> ExpiredPlace:
        """Return where an entry that this query finds stands."""
        by_retention_limit = entry.expires_at > self.now
        return ExpiredPlace(
            by_retention_limit, entry.created_at if by_retention_limit else entry.expires_at, entry.external_id
        )


@dataclass(frozen=True, slots=True)
class ScrubOutcome:
    """What a scrub came to, as ``ScrubRecord`` has it. ``left`` has a sentence for each thing that could not be done."""

    through: int
    rewritten: int
    left: tuple[str, ...] = ()


class PurgeStorage(Protocol):
    """The part of a storage that sweeps, scrubs and what tells of them rest on."""

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """Return a page of expired entries with their values, in order; empty means there are no more."""
        ...

    async def expired_entries(self, query: ExpiredQuery) -> Sequence[Entry]:
        """Return a page as ``expired`` does, without values, whose ``byte_limit`` does not count."""
        ...

    async def count_expired(self, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
        """Count the entries that are expired at ``at`` and not purged, of the purposes in ``retention_limits``, as in
        ``entry_statistics``.

        It takes time only for what it counts.
        """
        ...

    async def last_sweep(self) -> SweepRecord | None:
        """Return the newest record of a sweep."""
        ...

    async def sweeps(self, since: datetime, until: datetime, limit: int) -> SweepRuns:
        """Return what the sweeps came to that ended in ``[since, until)``, and the newest ``limit`` of them."""
        ...

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:
        """Drive the bytes of what was purged out of the data files, and verify that; None where there is nothing to do.

        Requests may be kept waiting by it, but by no step of it longer than ``lock_seconds``: a step that would take longer
        is left, and so is one for which the storage's own bookkeeping, or this program's rights, stand in the way. What it
        says is done was seen to be. Write-ahead logs, replicas and backups are not reached.
        """
        ...

    async def last_scrub(self) -> ScrubRecord | None:
        """Return the newest record of a scrub."""
        ...

    async def scrubs(self, since: datetime, until: datetime, limit: int) -> Sequence[ScrubRecord]:
        """Return the newest ``limit`` of the scrubs that ended in ``[since, until)``, the newest first."""
        ...
