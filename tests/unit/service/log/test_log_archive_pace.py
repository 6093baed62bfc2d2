"""The pauses of an archive or a drop beside a vault that serves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vsqlvault.service.log.archive.pace import ArchivePace


class Clock:
    """A clock that goes on while something is awaited, and a log of ``size`` leaves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.size = 0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))
        self.now += seconds

    async def tree_size(self) -> int:
        return self.size

    async def work(self, seconds: float) -> None:
        self.now += seconds


def pauses_of(clock: Clock, rest: float, works: list[float], *, grows: bool) -> list[float]:
    """Return the pause after each piece of work."""
    storage: Any = clock
    pace = ArchivePace(storage, rest, monotonic=clock.monotonic, sleep=clock.sleep)

    async def run() -> None:
        for seconds in works:
            await pace.timed(clock.work(seconds))
            clock.size += grows
            await pace.rest()

    asyncio.run(run())
    return clock.pauses


@pytest.mark.parametrize("rest", [1.0, 4.0])
def test_while_the_log_grows_each_pause_is_in_proportion_to_the_work_before_it(rest: float) -> None:
    works = [0.01, 0.05, 0.02] * 100
    assert pauses_of(Clock(), rest, works, grows=True) == [round(rest * seconds, 6) for seconds in works]


def test_a_pause_lasts_a_second_at_most() -> None:
    assert pauses_of(Clock(), 4.0, [3.0, 3.0], grows=True) == [1.0, 1.0]


def test_five_seconds_after_the_log_stopped_growing_there_is_no_pause() -> None:
    pauses = pauses_of(Clock(), 1.0, [0.5] * 20, grows=False)
    assert pauses[:4] == [0.5] * 4
    assert pauses[10:] == [0.0] * 10
