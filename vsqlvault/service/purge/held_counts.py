"""Counts expired entries under legal hold: they wait for its release, not for a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import field
from datetime import datetime, timedelta

from vsqlvault.interfaces.report_section import HeldExpired, HeldOfPurpose
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.hold import HoldIndex, LegalHold
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.purge.expired import PAGE, walk_expired

MAX_LOOKED_AT = 100_000


@dataclass(slots=True)
class _Tally:
    held: int = 0
    overdue: int = 0
    oldest_due_at: datetime | None = None

    def count(self, expired_at: datetime, overdue_since: datetime, holds: Iterable[LegalHold]) -> None:
        if holds:
            self.held += 1
            self.overdue += expired_at <= overdue_since
        elif self.oldest_due_at is None or expired_at < self.oldest_due_at:
            self.oldest_due_at = expired_at


@dataclass(slots=True)
class _Count:
    """The counts so far, and how many entries may still be read; None: no limit."""

    left: int | None
    by_hold: Counter[str] = field(default_factory=Counter)
    is_complete: bool = True


async def count_held(
    storage: Storage,
    retention: Mapping[str, RetentionPolicy],
    holds: Iterable[LegalHold],
    at: datetime,
    *,
    grace: timedelta = timedelta(0),
    most: int | None = MAX_LOOKED_AT,
    page: int = PAGE,
) -> HeldExpired:
    """Count the entries that are expired at ``at`` and under any of ``holds``; those expired for ``grace`` count as overdue.

    Only purposes that a hold may concern are read, longest expired first, and at most ``most`` entries in all (None: no limit).

    Raises:
        Unavailable.
    """
    in_force = [hold for hold in holds if not hold.is_released]
    index = HoldIndex(in_force)
    count = _Count(left=most)
    by_purpose: dict[str, HeldOfPurpose] = {}
    for purpose, policy in sorted(retention.items()):
        if any(hold.selector.purpose in {None, purpose} for hold in in_force):
            by_purpose[purpose] = await _count_purpose(storage, policy, index, at, at - grace, count, page)
    return HeldExpired(by_purpose, dict(sorted(count.by_hold.items())), is_complete=count.is_complete)


async def _count_purpose(
    storage: Storage,
    policy: RetentionPolicy,
    index: HoldIndex,
    at: datetime,
    overdue_since: datetime,
    count: _Count,
    page: int,
) -> HeldOfPurpose:
    tally = _Tally()
    async with aclosing(walk_expired(storage, policy, at, page=page)) as entries:
        async for entry in entries:
            if count.left == 0:
                count.is_complete = False
                break
            count.left = None if count.left is None else count.left - 1
            keeping = index.on(entry)
            count.by_hold.update(hold.name for hold in keeping)
            tally.count(entry.effective_expires_at(policy.max_retention_days), overdue_since, keeping)
    return HeldOfPurpose(tally.held, tally.overdue, tally.oldest_due_at)
