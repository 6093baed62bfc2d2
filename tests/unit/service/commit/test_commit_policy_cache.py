"""Rulebooks: the newest one that was seen stays, whatever order loads end in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.service.commit.policy_cache import PolicyCache


class HeldStorage:
    """Reads its policies at once, and returns them when released."""

    def __init__(self) -> None:
        self.revision = 1
        self.loads: list[tuple[PolicySnapshot, asyncio.Future[None]]] = []
        self.count = 0

    async def policy_snapshot(self) -> PolicySnapshot:
        self.count += 1
        policies = PolicySnapshot(self.revision, {}, {})
        gate = asyncio.get_running_loop().create_future()
        self.loads.append((policies, gate))
        await gate
        return policies


async def let_the_newest_end_first(storage: HeldStorage, *waiting: asyncio.Task[Any]) -> None:
    while not all(task.done() for task in waiting):
        await asyncio.sleep(0)
        if storage.loads and not (gate := storage.loads.pop()[1]).done():
            gate.set_result(None)
            for _ in range(5):
                await asyncio.sleep(0)


def policy_cache(storage: HeldStorage) -> PolicyCache:
    return PolicyCache(storage, {})  # type: ignore[arg-type]


async def test_a_load_that_ends_late_puts_no_older_rulebook_over_a_newer_one() -> None:
    storage = HeldStorage()
    policy_snapshots = policy_cache(storage)
    waiting = []
    for revision in (5, 6, 7):
        storage.revision = revision
        waiting.append(asyncio.create_task(policy_snapshots.at(revision)))
        await asyncio.sleep(0)
    await let_the_newest_end_first(storage, *waiting)
    assert all(task.result().revision >= wanted for task, wanted in zip(waiting, (5, 6, 7), strict=True))
    async with asyncio.timeout(1):  # nothing is loaded again, for the newest is known
        assert (await policy_snapshots.at(7)).revision == 7


async def test_who_asks_while_the_same_rulebook_is_loaded_shares_the_load() -> None:
    storage = HeldStorage()
    policy_snapshots = policy_cache(storage)
    waiting = [asyncio.create_task(policy_snapshots.at(1)) for _ in range(10)]
    await let_the_newest_end_first(storage, *waiting)
    assert storage.count == 1


async def test_a_load_that_fails_or_is_cancelled_leaves_the_next_one_to_try() -> None:
    storage = HeldStorage()
    policy_snapshots = policy_cache(storage)
    failing, cancelled, last = (asyncio.create_task(policy_snapshots.at(1)) for _ in range(3))
    await asyncio.sleep(0)
    storage.loads.pop()[1].set_exception(StorageUnavailable())
    with pytest.raises(StorageUnavailable):
        await failing
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    await let_the_newest_end_first(storage, last)
    assert last.result().revision == 1
