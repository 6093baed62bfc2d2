"""Purge gauges for monitoring, measured once a minute by one of the processes that share a storage."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import Storage
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.purge.clock_guard import ClockGuard, ClockState
from vsqlvault.service.purge.held_counts import count_held
from vsqlvault.service.purge.sweeper import retention_limits
from vsqlvault.service.rules.policy_cache import PolicyCache

log = logging.getLogger(__name__)
LEASE = "purge-gauges"
MEASURE_SECONDS = 60.0
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

    def __init__(self, storage: Storage, queue: CommitQueue, policy_cache: PolicyCache, watch: ClockGuard) -> None:
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._watch = watch
        self._holder = secrets.token_hex(16)
        self._stopping = asyncio.Event()
        self.gauge: PurgeGauge | None = None

    async def measure(self) -> None:
        """Measure now, or clear the gauge if another process holds the lease."""
        self.gauge = await self._measured() if await self._is_ours() else None

    async def run(self) -> None:
        """Measure once a minute, until ``stop``."""
        while not self._stopping.is_set():
            try:
                await self.measure()
            except VaultError as error:
                self.gauge = None
                log.debug("the purge gauges could not be measured", extra={"error": error.slug})
            except Exception:
                self.gauge = None
                log.exception("the purge gauges could not be measured")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), MEASURE_SECONDS)

    def stop(self) -> None:
        """Let ``run`` end."""
        self._stopping.set()

    async def _is_ours(self) -> bool:
        return await self._storage.acquire_lease(LEASE, self._holder, LEASE_SECONDS)

    async def _measured(self) -> PurgeGauge:
        snapshot = await self._queue.read()
        book = await self._policy_cache.at(snapshot.revision)
        soon = snapshot.now + SOON
        expired = await self._storage.count_expired(snapshot.now, retention_limits(book, snapshot.now))
        held = (await count_held(self._storage, book.retention, book.holds.values(), snapshot.now)).held
        expired_soon = await self._storage.count_expired(soon, retention_limits(book, soon))
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
