"""Runs coroutine tests without a plugin, each on its own loop and in its own directory."""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, cast

import pytest

from vsqlvault.interfaces.storage import Read, Snapshot, Storage
from vsqlvault.interfaces.writes import Committed, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing.storage.capabilities import StorageCapabilities

TIME_LIMIT_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 0.15
P = ParamSpec("P")
Kit = TypeVar("Kit", bound="LoopKit")


def driven_within(
    seconds: float,
) -> Callable[[Callable[Concatenate[Kit, P], Coroutine[Any, Any, None]]], Callable[Concatenate[Kit, P], None]]:
    """Return a decorator like ``driven``, with a time limit in seconds."""

    def decorate(test: Callable[Concatenate[Kit, P], Coroutine[Any, Any, None]]) -> Callable[Concatenate[Kit, P], None]:
        @functools.wraps(test)
        def drive(self: Kit, *arguments: P.args, **named: P.kwargs) -> None:
            self.runner.run(asyncio.wait_for(test(self, *arguments, **named), seconds))

        return cast("Callable[Concatenate[Kit, P], None]", drive)

    return decorate


def driven(test: Callable[Concatenate[Kit, P], Coroutine[Any, Any, None]]) -> Callable[Concatenate[Kit, P], None]:
    """Make a coroutine test callable by pytest. It fails if it takes longer than a minute."""
    return driven_within(TIME_LIMIT_SECONDS)(test)


class LoopKit:
    """The base of every suite: a loop and a directory for each test."""

    runner: asyncio.Runner
    directory: Path

    @pytest.fixture(autouse=True)
    def _on_a_loop_of_its_own(self, tmp_path: Path) -> Iterator[None]:
        self.directory = tmp_path
        with asyncio.Runner() as runner:
            self.runner = runner
            yield


class StorageKit(LoopKit, ABC):
    """The base of the storage suite: a loop, a directory, and storages opened in it."""

    capabilities: ClassVar[StorageCapabilities] = StorageCapabilities()

    @abstractmethod
    async def open_storage(self, directory: Path) -> Storage:
        """Return a migrated storage in ``directory``. The suite closes it."""

    async def open_storage_at(self, directory: Path, clock: Callable[[], datetime]) -> Storage:
        """Return a storage like ``open_storage``, with ``clock``, for storages with ``settable_clock``."""
        raise NotImplementedError(f"a settable clock, in {directory}, at {clock()}")

    def needs(self, *capabilities: str) -> None:
        """Skip the test unless the storage has these capabilities."""
        for name in capabilities:
            if not getattr(self.capabilities, name):
                pytest.skip(f"this storage cannot show it: its StorageCapabilities say {name}=False")

    @pytest.fixture
    def storage(self, _on_a_loop_of_its_own: None) -> Iterator[Storage]:
        """An open, migrated and empty storage."""
        storage = self.runner.run(self.open_storage(self.directory))
        yield storage
        self.runner.run(storage.close())

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Storage]:
        """Open another storage on the same location."""
        storage = await self.open_storage(self.directory)
        try:
            yield storage
        finally:
            await storage.close()


async def never_blocks(work: Callable[[], Awaitable[object]], times: int = 20) -> None:
    """Fail if ``work``, run ``times`` times, blocks the loop for long three times in a row."""
    pauses: list[float] = []
    while not pauses or (pauses[-1] >= LONGEST_PAUSE_SECONDS and len(pauses) < 3):
        pauses.append(await _longest_pause(work, times))
    assert pauses[-1] < LONGEST_PAUSE_SECONDS, f"the event loop stood still for {min(pauses):.2f} seconds"


async def _longest_pause(work: Callable[[], Awaitable[object]], times: int) -> float:
    loop = asyncio.get_running_loop()
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        before = loop.time()
        while True:
            await asyncio.sleep(0)
            now = loop.time()
            longest = max(longest, now - before)
            before = now

    heart = asyncio.create_task(beat())
    try:
        for _ in range(times):
            await asyncio.sleep(0)
            await work()
            await asyncio.sleep(0)
            if longest >= LONGEST_PAUSE_SECONDS:
                break
    finally:
        heart.cancel()
        with suppress(asyncio.CancelledError):
            await heart
    return longest


async def committed(storage: Storage, *writes: Write) -> None:
    """Commit the writes in one batch, and fail unless each is committed."""
    outcomes = await storage.commit(writes)
    assert list(outcomes) == [Committed()] * len(writes)


async def look(
    storage: Storage, external_id: str = "pay-1", *, purpose: str = "card", with_value: bool = True
) -> Snapshot:
    """Read one entry."""
    (snapshot,) = await storage.read([Read(EntryKey(purpose, external_id), with_value)])
    return snapshot


async def revision_of(storage: Storage) -> int:
    """Return the revision of a read."""
    (snapshot,) = await storage.read([Read()])
    return snapshot.revision
