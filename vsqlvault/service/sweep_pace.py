"""How fast a sweep may go, by who else is served meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vsqlvault.service.commit_queue import CommitQueue

MOST = 256
"""So many purges go into one commit while nobody else asks for anything: the fewer commits, the less they cost together."""
BEGIN = 32
LEAST = 16
COMMIT_SECONDS = 0.005
"""Beside requests, so many go into one as take this long: what waits for its turn behind it waits no longer."""
ALONE_SECONDS = 1.0
"""The sweep is alone once nothing else went through for so long."""


class SweepPace:
    """Watches the queue while a sweep runs. Every request commits a row, so none goes unseen."""

    def __init__(self, queue: CommitQueue, pause_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._counts = queue.writes.counts
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._own = 0
        self._others = self._counts.items
        self._last_other: float | None = None
        self._beside = BEGIN

    @property
    def is_beside(self) -> bool:
        """Whether others were served within the last second."""
        others = self._counts.items - self._own
        if others > self._others:
            self._others, self._last_other = others, self._clock()
        return self._last_other is not None and self._clock() - self._last_other < ALONE_SECONDS

    @property
    def size(self) -> int:
        """How many purges may go into the next commit."""
        return self._beside if self.is_beside else MOST

    @contextmanager
    def committing(self, purges: int, commits: int) -> Iterator[None]:
        """Time the block, in which ``purges`` go through as so many ``commits`` of the queue."""
        self._own += commits
        began = self._clock()
        yield
        seconds = max(self._clock() - began, COMMIT_SECONDS / 8)
        if purges and self.is_beside:
            fitting = purges * COMMIT_SECONDS / seconds
            self._beside = min(max(round((self._beside + fitting) / 2), LEAST), MOST)

    async def rest(self) -> None:
        """Leave the storage to the others for a while, if there are any."""
        await asyncio.sleep(self._pause_seconds if self.is_beside else 0)
