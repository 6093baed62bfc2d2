"""The anchor beside the requests: one at a time, the newest first, tried again, and never waited for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from git_site import checkpoint
from vsqlvault_anchor_git.anchor import GitAnchor

from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.transparency import Checkpoint

Scene = Callable[[], Coroutine[Any, Any, None]]


class Store:
    """A repository that does what a test lets it do."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.at_once = 0
        self.most_at_once = 0
        self.asked = 0

    def newest(self) -> str | None:
        self.asked += 1
        self.open.wait(10)
        if self.error:
            raise self.error
        return checkpoint(self.kept[-1]).note if self.kept else None

    def keep(self, one: Checkpoint, _: frozenset[str] = frozenset()) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.open.wait(10)
            if self.error:
                raise self.error
            self.kept.append(one.size)
        finally:
            self.at_once -= 1


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def anchor(store: Store, interval: float = 0, deadline: float = 5) -> GitAnchor:
    made = GitAnchor(store, interval_seconds=interval, deadline_seconds=deadline, retry_seconds=0.01)
    made.start()
    return made


def run(scene: Scene) -> None:
    asyncio.run(asyncio.wait_for(scene(), 20))


def test_a_checkpoint_that_is_passed_is_stored() -> None:
    async def scene() -> None:
        store = Store()
        keeper = anchor(store)
        for size in (3, 9):
            keeper.keep(checkpoint(size))
            await until(lambda size=size: size in store.kept)  # type: ignore[misc]
        await keeper.stop()
        assert (store.kept, keeper.failure()) == ([3, 9], None)
        assert await keeper.newest() == checkpoint(9).note

    run(scene)


def test_within_the_interval_the_newest_waits_and_is_kept_at_the_end() -> None:
    async def scene() -> None:
        store = Store()
        keeper = anchor(store, interval=3600)
        keeper.keep(checkpoint(3))
        await until(lambda: store.kept == [3])
        for size in (5, 9):
            keeper.keep(checkpoint(size))
        await asyncio.sleep(0.02)
        assert store.kept == [3]
        await keeper.stop()
        assert store.kept == [3, 9]

    run(scene)


def test_what_fails_is_said_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        store = Store()
        store.error = ConnectionRefusedError("nobody listens")
        keeper = anchor(store)
        keeper.keep(checkpoint(3))
        await until(lambda: keeper.failure() is not None)
        assert keeper.failure() == "ConnectionRefusedError: nobody listens"
        store.error = None
        await until(lambda: store.kept == [3])
        await until(lambda: keeper.failure() is None)
        await keeper.stop()

    run(scene)
    said = [entry.getMessage() for entry in caplog.records]
    assert said[0] == "git anchor: a checkpoint cannot be stored"
    assert said[-1] == "git anchor: checkpoints are stored again"


def test_who_never_answers_is_not_waited_for_and_not_asked_twice() -> None:
    async def scene() -> None:
        store = Store()
        store.open.clear()
        keeper = anchor(store, deadline=0.05)
        keeper.keep(checkpoint(3))
        await until(lambda: keeper.failure() == "TimeoutError")
        keeper.keep(checkpoint(9))
        await asyncio.sleep(0.2)
        assert store.most_at_once == 1
        store.open.set()
        await until(lambda: store.kept == [3, 9])
        await until(lambda: keeper.failure() is None)
        await keeper.stop()
        assert store.most_at_once == 1

    run(scene)


def test_the_end_is_not_held_up_by_who_never_answers() -> None:
    store = Store()
    store.open.clear()

    async def scene() -> None:
        keeper = anchor(store, deadline=0.05)
        keeper.keep(checkpoint(3))
        await asyncio.sleep(0.01)
        await keeper.stop()

    began = time.monotonic()
    run(scene)
    assert time.monotonic() - began < 5
    store.open.set()


def test_who_does_not_tell_the_newest_in_time_is_not_asked_again_meanwhile() -> None:
    async def scene() -> None:
        store = Store()
        store.open.clear()
        keeper = GitAnchor(store, interval_seconds=0, deadline_seconds=0.02)
        for _ in range(3):
            with pytest.raises(SettingsInvalid, match="TimeoutError"):
                await keeper.newest()
        assert store.asked == 1
        store.open.set()
        await until(lambda: keeper._asked is not None and keeper._asked.done())  # noqa: SLF001
        assert await keeper.newest() is None

    run(scene)


def test_an_unreadable_repository_stops_the_start() -> None:
    async def scene() -> None:
        store = Store()
        store.error = OSError("no such host")
        with pytest.raises(SettingsInvalid, match="no such host"):
            await GitAnchor(store, interval_seconds=0, deadline_seconds=1).newest()

    run(scene)
