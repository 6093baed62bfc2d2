"""How fast a sweep may go, by who else is served meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vsqlvault.service.commit.queue import CommitQueue

MOST = 2048
"""So many purges go into one commit while nobody else asks for anything: the fewer commits, the less they cost together."""
LEAST = 2
COMMIT_SECONDS = 0.001
"""Beside requests, so many go into one as take this long: what waits for its turn behind it waits no longer."""
REST = 3.0
"""Beside requests, the storage is left to them after each commit for so many times what that took."""
PAGE = 48
"""Beside requests, so many are read at once: who waits meanwhile for this process waits no longer than that takes."""
ALONE_SECONDS = 5.0
"""The sweep is alone once nothing else went through for so long: who asks less often may wait for one large commit."""


class SweepThrottle:
    """Watches the queue while a sweep runs. Every request commits a row, so none goes unseen.

    Whoever committed before the sweep began is taken for one that goes on.
    """

    def __init__(
        self,
        queue: CommitQueue,
        pause_seconds: float,
        last_other: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``last_other`` is the queue's ``BatchCounts.last_at`` before the sweep wrote anything, and by ``clock``."""
        self._counts = queue.writes.counts
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._own = 0
        self._others = self._counts.items
        self._last_other = last_other
        self._beside = LEAST
        self.took = 0.0

    @property
    def has_other_traffic(self) -> bool:
        """Whether others were served within the last seconds."""
        others = self._counts.items - self._own
        if others > self._others:
            self._others, self._last_other = others, self._clock()
        return self._last_other is not None and self._clock() - self._last_other < ALONE_SECONDS

    @property
    def size(self) -> int:
        """How many purges may go into the next commit."""
        return self._beside if self.has_other_traffic else MOST

    def page(self, batch: int) -> int:
        """Return how many entries to read at once, where ``batch`` are read while nobody else asks for anything."""
        return min(batch, PAGE) if self.has_other_traffic else batch

    @contextmanager
    def committing(self, purges: int, commits: int) -> Iterator[None]:
        """Time the block, in which ``purges`` go through as so many ``commits`` of the queue."""
        self._own += commits
        began = self._clock()
        yield
        self.took = self._clock() - began
        seconds = max(self.took, COMMIT_SECONDS / 8)
        if purges and self.has_other_traffic:
            fitting = purges * COMMIT_SECONDS / seconds
            self._beside = min(max(round((self._beside + fitting) / 2), LEAST), MOST)

    async def yield_to_requests(self) -> None:
        """Leave the storage to the others for ``REST`` times what the last commit took, if there are any."""
        if self.has_other_traffic:
            await asyncio.sleep(self.took * REST)

    async def rest(self) -> None:
        """Leave the storage to the others for a while, if there are any."""
        await asyncio.sleep(self._pause_seconds if self.has_other_traffic else 0)
