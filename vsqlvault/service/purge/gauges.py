"""Purge gauges for monitoring, measured once a minute by one of the processes that share a storage."""

from __future__ import annotations

from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import Storage
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.purge.clock_guard import ClockGuard, ClockState
from vsqlvault.service.purge.held_counts import count_held
from vsqlvault.service.purge.sweeper import retention_limits
from vsqlvault.service.tasks import Lease, LeasedTask

LEASE = "purge-gauges"
MEASURE_INTERVAL_SECONDS = 60.0
LEASE_SECONDS = 90.0
SOON = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PurgeGauge:
    """The measured values: expired entries that wait for a sweep, expired entries under legal hold, entries that expire within
    a day, and the times of the last sweep and scrub.

    ``is_scrubbed`` is None if there was no scrub, False if the last one left purged bytes in the data files.
    """

    overdue: int
    held: int
    expiring: int
    swept_at: datetime | None
    scrubbed_at: datetime | None
    is_scrubbed: bool | None
    clock: ClockState


class PurgeGauges:
    """Measures if no other process does; ``gauge`` is None in the others, so that nothing is counted twice."""

    def __init__(
        self,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        watch: ClockGuard,
        *,
        interval_seconds: float = MEASURE_INTERVAL_SECONDS,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._watch = watch
        self.gauge: PurgeGauge | None = None
        self.task = LeasedTask(Lease(storage, LEASE, LEASE_SECONDS), "purge gauges", self.measure, interval_seconds)
        """Measures once a minute."""

    async def measure(self) -> None:
        """Measure now, or clear the gauge if another process holds the lease, or on an error."""
        gauge = None
        try:
            if await self.task.lead():
                gauge = await self._measured()
        finally:
            self.gauge = gauge

    async def _measured(self) -> PurgeGauge:
        snapshot = await self._queue.read()
        policies = await self._policy_cache.at(snapshot.revision)
        soon = snapshot.now + SOON
        expired = await self._storage.count_expired(snapshot.now, retention_limits(policies, snapshot.now))
        held = (await count_held(self._storage, policies.retention, policies.holds.values(), snapshot.now)).held
        expired_soon = await self._storage.count_expired(soon, retention_limits(policies, soon))
        sweep, scrub = await self._storage.last_sweep(), await self._storage.last_scrub()
        return PurgeGauge(
            overdue=max(expired - held, 0),
            held=held,
            expiring=max(expired_soon - expired, 0),
            swept_at=sweep.finished_at if sweep else None,
            scrubbed_at=scrub.finished_at if scrub else None,
            is_scrubbed=scrub.completed if scrub else None,
            clock=self._watch.state,
        )
