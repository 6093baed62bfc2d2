"""The protocol of purge methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vsqlvault.model.entry import Entry
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.purge import PurgePlan, PurgeReason, PurgeRecord
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """An entry to destroy, with the reason and its retention policy."""

    entry: Entry
    reason: PurgeReason
    policy: RetentionPolicy


class PurgeMethod(Protocol):
    """Decides what happens to the bytes. The core computes the proof, writes the purge row and commits.

    It is called for DELETE and for the sweep. A version that a PUT replaces is overwritten without a call. Its row has
    the method ``replace``.
    """

    name: str
    """The name in ``purge_method`` of retention policies, unique among the loaded plugins."""

    retires_id: bool
    """Whether the method keeps the row, so that the id is never used again."""

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Return what to do with the entry's row, and the reason for the purge log.

        It runs before the commit and may run again for the same entry, so its side effects must be repeatable. It has
        two seconds. An exception, a timeout, any other value or a filler of the wrong length keeps the entry.
        """
        ...

    async def purged(self, records: Sequence[PurgeRecord]) -> None:
        """Destroy copies outside the vault: these purges are committed.

        ``records`` are rows of the purge log with this method, and rows of replaced versions (reason ``replaced``) of
        purposes whose retention policy named this method at that time. The call runs in the background, as for
        ``vsqlvault.interfaces.observer.Observer``: at most 256 records, 30 seconds, at least once. Default: no effect.
        """
        del records
