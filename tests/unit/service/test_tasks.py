"""Periodic tasks and leases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault.service.tasks import Lease, LeasedTask, PeriodicTask, running


class Turns:
    """A step that counts its turns, and raises the errors that a test gives it."""

    def __init__(self, *errors: BaseException | None, rest: float | None = None) -> None:
        self.errors = list(errors)
        self.rest = rest
        self.count = 0
        self.next = asyncio.Event()

    async def __call__(self) -> float | None:
        self.count += 1
        self.next.set()
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return self.rest

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.count < count:
                self.next.clear()
                await self.next.wait()


class Leases:
    """The leases of a storage, by name; they expire when the test says so."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.is_away = False
        self.asked = 0

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        self.asked += 1
        if self.is_away:
            raise StorageUnavailable
        return self.holders.setdefault(name, holder) == holder

    async def release_lease(self, name: str, holder: str) -> None:
        if self.is_away:
            raise StorageUnavailable
        if self.holders.get(name) == holder:
            del self.holders[name]


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def lease_of(storage: Any, holder: str, **options: Any) -> Lease:
    return Lease(storage, "work", 60, holder=holder, **options)


class TestPeriodicTask:
    async def test_the_first_turn_is_at_once(self) -> None:
        turns = Turns()
        async with running(PeriodicTask("work", turns, 3600)):
            await turns.reach(1)
        assert turns.count == 1

    async def test_turns_come_an_interval_apart(self) -> None:
        turns = Turns()
        async with running(PeriodicTask("work", turns, 0.001)):
            await turns.reach(5)

    async def test_a_step_chooses_the_time_of_the_next_turn(self) -> None:
        turns = Turns(rest=0.001)
        async with running(PeriodicTask("work", turns, 3600)):
            await turns.reach(3)

    @pytest.mark.parametrize("error", [StorageUnavailable(), RuntimeError("x"), KeyError("x"), TimeoutError()])
    async def test_an_error_is_logged_and_the_next_turn_comes(self, error, caplog) -> None:
        turns = Turns(error)
        async with running(PeriodicTask("work", turns, 0.001)):
            await turns.reach(2)
        (record,) = [record for record in caplog.records if record.name == "vsqlvault.service.tasks"]
        assert (record.getMessage(), record.task) == ("background task failed; it is tried again", "work")

    async def test_after_an_error_the_wait_is_the_retry_wait(self) -> None:
        turns = Turns(StorageUnavailable())
        async with running(PeriodicTask("work", turns, 3600, retry_seconds=0.001)):
            await turns.reach(2)

    async def test_wake_starts_the_next_turn(self) -> None:
        turns = Turns()
        task = PeriodicTask("work", turns, 3600)
        async with running(task):
            await turns.reach(1)
            task.wake()
            await turns.reach(2)

    async def test_a_turn_in_progress_is_finished(self) -> None:
        begun, done = asyncio.Event(), []

        async def step() -> None:
            begun.set()
            await asyncio.sleep(0.01)
            done.append(True)

        async with running(PeriodicTask("work", step, 3600)):
            await begun.wait()
        assert done == [True]

    async def test_a_turn_that_does_not_end_in_time_is_cancelled(self) -> None:
        ended = []

        async def step() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        async with running(PeriodicTask("work", step, 3600, ends_within_seconds=0.01)):
            await asyncio.sleep(0.01)
        assert ended == ["cancelled"]

    async def test_an_error_of_the_block_stops_the_tasks(self) -> None:
        task = PeriodicTask("work", Turns(), 3600)
        with pytest.raises(ZeroDivisionError):
            async with running(task):
                raise ZeroDivisionError
        assert task.is_stopping


class TestLease:
    async def test_one_holder_has_it_until_it_is_released(self) -> None:
        storage = Leases()
        first, second = lease_of(storage, "first"), lease_of(storage, "second")
        assert (await first.acquire(), await second.acquire()) == (True, False)
        await first.release()
        assert (first.is_held, await second.acquire()) == (False, True)

    async def test_without_a_holder_each_lease_has_its_own(self) -> None:
        storage = Leases()
        assert await Lease(storage, "work", 60).acquire()
        assert not await Lease(storage, "work", 60).acquire()

    async def test_the_storage_is_asked_again_after_the_renewal_time(self) -> None:
        storage, clock = Leases(), Clock()
        lease = lease_of(storage, "first", renew_after_seconds=2, monotonic=clock)
        await lease.acquire()
        clock.at += 1.9
        await lease.acquire()
        assert storage.asked == 1
        clock.at += 0.1
        await lease.acquire()
        assert storage.asked == 2

    async def test_one_that_does_not_have_it_asks_each_time(self) -> None:
        storage = Leases()
        await lease_of(storage, "first").acquire()
        second = lease_of(storage, "second", renew_after_seconds=3600)
        assert [await second.acquire() for _ in range(3)] == [False] * 3
        assert storage.asked == 4

    async def test_one_that_lost_it_notices_at_the_renewal(self) -> None:
        storage = Leases()
        lease = lease_of(storage, "first")
        await lease.acquire()
        storage.holders["work"] = "second"
        assert (await lease.acquire(), lease.is_held) == (False, False)

    async def test_a_release_that_fails_is_logged_and_raises_nothing(self, caplog) -> None:
        storage = Leases()
        lease = lease_of(storage, "first")
        await lease.acquire()
        storage.is_away = True
        await lease.release()
        assert "a lease was not released; it expires" in caplog.messages

    async def test_one_that_does_not_have_it_releases_nothing(self) -> None:
        storage = Leases()
        await lease_of(storage, "first").acquire()
        await lease_of(storage, "first").release()
        assert storage.holders == {"work": "first"}


class TestLeasedTask:
    async def test_of_two_processes_one_does_the_work(self) -> None:
        storage, led = Leases(), []

        def task_of(holder: str, turns: Turns) -> LeasedTask:
            async def step() -> None:
                await turns()
                if await task.lead():
                    led.append(holder)

            task = LeasedTask(lease_of(storage, holder), "work", step, 0.001)
            return task

        first, second = Turns(), Turns()
        async with running(task_of("first", first), task_of("second", second)):
            await first.reach(3)
            await second.reach(3)
        assert len(set(led)) == 1

    async def test_when_it_ends_it_takes_the_last_step_and_releases_the_lease(self) -> None:
        storage, last = Leases(), Turns()

        async def step() -> None:
            await task.lead()
            led.set()

        led = asyncio.Event()
        task = LeasedTask(lease_of(storage, "first"), "work", step, 3600, last_step=last)
        async with running(task):
            await led.wait()
            assert task.is_leader
        assert (last.count, storage.holders) == (1, {})

    async def test_one_that_does_not_lead_takes_no_last_step(self) -> None:
        storage, last = Leases(), Turns()
        storage.holders["work"] = "another"
        turns = Turns()
        async with running(LeasedTask(lease_of(storage, "first"), "work", turns, 3600, last_step=last)):
            await turns.reach(1)
        assert (last.count, storage.holders) == (0, {"work": "another"})
