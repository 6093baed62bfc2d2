"""The storage's clock, where a test can set it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import Read, Storage
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing.driving import StorageKit, driven
from vsqlvault.testing.samples import T0

SECOND = timedelta(seconds=1)


class _Clock:
    """Tells the same time until it is moved."""

    def __init__(self) -> None:
        self.at = T0

    def __call__(self) -> datetime:
        return self.at


class ClockConformance(StorageKit):
    """What hangs on the clock: the instant of a read, and the end of a lease."""

    @driven
    async def test_a_read_tells_the_time_of_the_storages_clock(self) -> None:
        async with self._on_a_clock() as (storage, clock):
            for clock.at in (T0, T0 + SECOND, datetime(2127, 12, 31, 23, 59, 59, 999999, T0.tzinfo)):
                found = await storage.read([Read(), Read(EntryKey("card", "pay-1"))])
                assert [snapshot.now for snapshot in found] == [clock.at] * 2

    @driven
    async def test_a_lease_runs_out_by_the_storages_clock_at_its_very_instant(self) -> None:
        async with self._on_a_clock() as (storage, clock):
            assert await storage.acquire_lease("sweep", "a", 60)
            clock.at = T0 + SECOND * 60 - timedelta(microseconds=1)
            assert not await storage.acquire_lease("sweep", "b", 60)
            clock.at = T0 + SECOND * 60
            assert await storage.acquire_lease("sweep", "b", 60)

    @driven
    async def test_a_renewed_lease_runs_from_its_renewal(self) -> None:
        async with self._on_a_clock() as (storage, clock):
            assert await storage.acquire_lease("sweep", "a", 60)
            clock.at = T0 + SECOND * 59
            assert await storage.acquire_lease("sweep", "a", 60)
            clock.at = T0 + SECOND * 118
            assert not await storage.acquire_lease("sweep", "b", 60)
            clock.at = T0 + SECOND * 119
            assert await storage.acquire_lease("sweep", "b", 60)

    @asynccontextmanager
    async def _on_a_clock(self) -> AsyncIterator[tuple[Storage, _Clock]]:
        self.needs("settable_clock")
        clock = _Clock()
        storage = await self.open_storage_at(self.directory, clock)
        try:
            yield storage, clock
        finally:
            await storage.close()
