"""Deciding how an entry is destroyed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vsqlvault.model.entry import Entry
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.purge import PurgePlan, PurgeReason


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """One entry about to be destroyed: why, and under which retention policy."""

    entry: Entry
    reason: PurgeReason
    policy: RetentionPolicy


class PurgeMethod(Protocol):
    """Says what happens to the bytes. The proof, the purge row and the commit are the core's; no method can skip them.

    It is asked for DELETE and for the sweep. A version that a PUT takes the place of is overwritten without asking it; the
    row of that has the method ``replace``.
    """

    name: str
    """What retention policies write in ``purge_method``; unique among the plugins loaded."""

    retires_id: bool
    """Whether it leaves a row behind, so that the id is never used again."""

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Return what to do with the entry's row, and the reason to put on record.

        It runs before the commit and may run again for one entry: whatever it does elsewhere must be safe to repeat. It has
        two seconds. An exception, a timeout, any other value or a filler of the wrong length keeps the entry.
        """
        ...
