"""Locks of entries: one holder, a bounded line, and nothing kept of either."""

from __future__ import annotations

import asyncio

import pytest

from vsqlvault.errors import Overloaded
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.commit.entry_locks import MAX_WAITING, EntryLocks

KEY, OTHER = EntryKey("card", "pay-1"), EntryKey("card", "pay-2")


async def hold(locks: EntryLocks, go: asyncio.Event, key: EntryKey = KEY) -> None:
    async with locks.hold(key):
        await go.wait()


async def test_who_would_make_the_line_too_long_is_refused_and_the_others_are_served() -> None:
    locks, go = EntryLocks(max_waiting=3), asyncio.Event()
    line = [asyncio.create_task(hold(locks, go)) for _ in range(4)]
    await asyncio.sleep(0.01)
    for _ in range(2):
        with pytest.raises(Overloaded):
            await hold(locks, go)
    other = asyncio.create_task(hold(locks, go, OTHER))
    go.set()
    await asyncio.gather(*line, other)
    assert locks._locks == {}
    await hold(locks, go)


async def test_who_is_cancelled_while_waiting_leaves_the_line() -> None:
    locks, go = EntryLocks(), asyncio.Event()
    first, second = (asyncio.create_task(hold(locks, go)) for _ in range(2))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    go.set()
    await first
    assert locks._locks == {}


async def test_who_is_cancelled_when_its_turn_has_come_passes_it_on() -> None:
    locks, go, stay = EntryLocks(), asyncio.Event(), asyncio.Event()

    async def hold_first() -> None:
        await hold(locks, go)
        second.cancel()

    first = asyncio.create_task(hold_first())
    second, third = (asyncio.create_task(hold(locks, event)) for event in (stay, go))
    await asyncio.sleep(0.01)
    go.set()
    await asyncio.wait_for(asyncio.gather(first, second, third, return_exceptions=True), 5)
    assert second.cancelled()
    assert locks._locks == {}


async def test_a_thousand_writers_of_one_entry_do_not_all_wait(scene) -> None:
    results = await asyncio.gather(*(scene.store(value=b"%d" % n) for n in range(1000)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert {type(error) for error in refused} == {Overloaded}
    assert len(results) - len(refused) == MAX_WAITING + 1
    assert len(await scene.access_rows(operation="store", outcome="granted")) == MAX_WAITING + 1


async def test_who_is_cancelled_just_before_its_turn_comes_is_passed_over() -> None:
    locks, go = EntryLocks(), asyncio.Event()
    first = locks.hold(KEY)
    await first.__aenter__()
    second, third = (asyncio.create_task(hold(locks, go)) for _ in range(2))
    await asyncio.sleep(0.01)
    second.cancel()
    await first.__aexit__()
    go.set()
    await asyncio.wait_for(third, 5)
    with pytest.raises(asyncio.CancelledError):
        await second
    assert locks._locks == {}
