"""Finds entries that should have been purged and are not under legal hold, without reading values."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import field
from datetime import UTC, datetime, timedelta

from vsqlvault.interfaces.storage import PolicySnapshot, Storage
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.purge.expired import PAGE, walk_expired
from vsqlvault.service.purge.sweeper import retention_limits

FIRST_INSTANT = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class OverdueEntry:
    """An overdue entry and its effective expiry."""

    purpose: str
    external_id: str
    expired_at: datetime


@dataclass(slots=True)
class Overdue:
    """Counts by purpose. ``held`` are under legal hold; ``is_whole`` is False if counting stopped at its limit."""

    overdue: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    listed: list[OverdueEntry] = field(default_factory=list)
    is_whole: bool = True

    @property
    def count(self) -> int:
        """How many are overdue, over all purposes."""
        return sum(self.overdue.values())


def sweep_grace(policies: PolicySnapshot, as_of: datetime, interval_hours: float) -> timedelta:
    """Return how long an entry may wait for the sweep; at most the time representable before ``as_of``."""
    earliest = min([as_of, *retention_limits(policies, as_of).values()])
    return min(timedelta(hours=interval_hours), earliest - FIRST_INSTANT)


async def find_overdue(
    storage: Storage,
    policies: PolicySnapshot,
    as_of: datetime,
    grace: timedelta,
    *,
    max_listed: int,
    look_at: int | None = None,
    page: int = PAGE,
) -> Overdue:
    """Return the entries that expired ``grace`` before ``as_of`` and are not purged; reads at most ``look_at`` entries.

    Raises:
        Unavailable.
    """
    found = Overdue()
    left = look_at
    for purpose, policy in sorted(policies.retention.items()):
        async with aclosing(walk_expired(storage, policy, as_of - grace, page=page)) as entries:
            async for entry in entries:
                if entry.created_at > as_of:
                    continue
                if left == 0:
                    found.is_whole = False
                    return found
                left = None if left is None else left - 1
                if policies.holds_on(entry):
                    found.held[purpose] = found.held.get(purpose, 0) + 1
                    continue
                found.overdue[purpose] = found.overdue.get(purpose, 0) + 1
                if len(found.listed) < max_listed:
                    expired_at = entry.effective_expires_at(policy.max_retention_days)
                    found.listed.append(OverdueEntry(purpose, entry.external_id, expired_at))
    return found
