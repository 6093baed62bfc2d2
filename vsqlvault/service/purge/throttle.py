"""Adapts the speed of a sweep to other traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vsqlvault.service.commit.queue import CommitQueue

MOST = 2048
"""Purges per commit while there is no other traffic: large commits cost least in total."""
LEAST = 2
COMMIT_SECONDS = 0.001
"""With other traffic, a commit takes at most this long, in seconds, because requests queue behind it."""
REST = 3.0
"""With other traffic, the sweep pauses after each commit for this multiple of the commit's duration."""
PAGE = 48
"""With other traffic, this many entries are read at once, because requests wait for this process meanwhile."""
ALONE_SECONDS = 5.0
"""The sweep counts as alone after this many seconds without another commit."""


class SweepThrottle:
    """Observes the commit queue while a sweep runs. Every request commits a row, so the queue sees all traffic.

    Traffic just before the sweep began counts as continuing.
    """

    def __init__(
        self,
        queue: CommitQueue,
        pause_seconds: float,
        last_other: float | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        alone_seconds: float = ALONE_SECONDS,
    ) -> None:
        """``last_other`` is the queue's ``BatchCounts.last_at`` before the sweep wrote anything, and by ``clock``."""
        self._counts = queue.writes.counts
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._alone_seconds = alone_seconds
        self._own = 0
        self._others = self._counts.items
        self._last_other = last_other
        self._beside = LEAST
        self.took = 0.0

    @property
    def has_other_traffic(self) -> bool:
        """Whether other requests were served within the last seconds."""
        others = self._counts.items - self._own
        if others > self._others:
            self._others, self._last_other = others, self._clock()
        return self._last_other is not None and self._clock() - self._last_other < self._alone_seconds

    @property
    def size(self) -> int:
        """How many purges may go into the next commit."""
        return self._beside if self.has_other_traffic else MOST

    def page(self, batch: int) -> int:
        """Return how many entries to read at once; ``batch`` if there is no other traffic."""
        return min(batch, PAGE) if self.has_other_traffic else batch

    @contextmanager
    def committing(self, purges: int, commits: int) -> Iterator[None]:
        """Time the block, which commits ``purges`` in ``commits`` commits of the queue."""
        self._own += commits
        began = self._clock()
        yield
        self.took = self._clock() - began
        seconds = max(self.took, COMMIT_SECONDS / 8)
        if purges and self.has_other_traffic:
            fitting = purges * COMMIT_SECONDS / seconds
            self._beside = min(max(round((self._beside + fitting) / 2), LEAST), MOST)

    async def yield_to_requests(self) -> None:
        """Pause for ``REST`` times the duration of the last commit, if there is other traffic."""
        if self.has_other_traffic:
            await asyncio.sleep(self.took * REST)

    async def rest(self) -> None:
        """Pause for a while, if there is other traffic."""
        await asyncio.sleep(self._pause_seconds if self.has_other_traffic else 0)
