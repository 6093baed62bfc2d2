"""The storage's clock, where a test can set it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import ClockReading, Read, Storage
from vsqlvault.interfaces.writes import Committed
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing.driving import StorageKit, driven
from vsqlvault.testing.samples import T0, storing

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


class _Clock:
    """Tells the same time until it is moved."""

    def __init__(self) -> None:
        self.at = T0

    def __call__(self) -> datetime:
        return self.at


class MarkConformance(StorageKit):
    """The high-water mark, which the vault's time never goes behind."""

    @driven
    async def test_a_new_place_has_no_mark(self, storage: Storage) -> None:
        assert (await storage.clock()).mark is None
        (snapshot,) = await storage.read([Read()])
        assert snapshot.mark is None

    @driven
    async def test_a_read_tells_the_mark_and_no_time_before_it(self, storage: Storage) -> None:
        ahead = (await storage.clock()).clock + HOUR
        await storage.raise_mark(ahead)
        assert list(await storage.commit([storing("there")])) == [Committed()]
        found = await storage.read([Read(), Read(EntryKey("card", "pay-1")), Read(EntryKey("card", "there"))])
        assert [(snapshot.now, snapshot.mark) for snapshot in found] == [(ahead, ahead)] * 3

    @driven
    async def test_a_mark_that_the_clock_has_passed_changes_no_time(self, storage: Storage) -> None:
        passed = (await storage.clock()).clock - HOUR
        await storage.raise_mark(passed)
        before = (await storage.clock()).clock
        (snapshot,) = await storage.read([Read()])
        after = (await storage.clock()).clock
        assert before <= snapshot.now <= after
        assert snapshot.mark == passed

    @driven
    async def test_the_mark_is_never_lowered(self, storage: Storage) -> None:
        await storage.raise_mark(T0)
        await storage.raise_mark(T0 - SECOND)
        assert (await storage.clock()).mark == T0
        await storage.raise_mark(T0 + SECOND)
        assert (await storage.clock()).mark == T0 + SECOND

    @driven
    async def test_the_clock_is_told_as_it_is_and_leases_run_by_it(self, storage: Storage) -> None:
        await storage.raise_mark((await storage.clock()).clock + HOUR)
        reading = await storage.clock()
        assert reading.mark is not None
        assert reading.clock < reading.mark
        assert await storage.acquire_lease("sweep", "a", 60)
        assert not await storage.acquire_lease("sweep", "b", 60)

    @driven
    async def test_of_many_marks_at_once_the_latest_stays(self, storage: Storage) -> None:
        await asyncio.gather(*(storage.raise_mark(T0 + SECOND * (n * 7 % 20)) for n in range(20)))
        assert (await storage.clock()).mark == T0 + SECOND * 19

    @driven
    async def test_the_mark_is_there_when_the_place_is_opened_again(self) -> None:
        self.needs("durable")
        async with self.another() as storage:
            await storage.raise_mark(T0)
        async with self.another() as storage:
            assert (await storage.clock()).mark == T0

    @driven
    async def test_two_storages_share_the_mark(self, storage: Storage) -> None:
        self.needs("shared")
        async with self.another() as other:
            ahead = (await storage.clock()).clock + HOUR
            await other.raise_mark(ahead)
            (snapshot,) = await storage.read([Read()])
            assert snapshot.now == ahead


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

    @driven
    async def test_a_clock_that_goes_back_does_not_take_the_time_back(self) -> None:
        async with self._on_a_clock() as (storage, clock):
            await storage.raise_mark(T0)
            for clock.at, now in ((T0 - HOUR, T0), (T0 - SECOND, T0), (T0 + SECOND, T0 + SECOND)):
                (snapshot,) = await storage.read([Read()])
                assert (snapshot.now, await storage.clock()) == (now, ClockReading(clock.at, T0))

    @asynccontextmanager
    async def _on_a_clock(self) -> AsyncIterator[tuple[Storage, _Clock]]:
        self.needs("settable_clock")
        clock = _Clock()
        storage = await self.open_storage_at(self.directory, clock)
        try:
            yield storage, clock
        finally:
            await storage.close()
