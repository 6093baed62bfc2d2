"""Leaves a serving vault its time while another process archives the log, or drops archived rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from vsqlvault.interfaces.tree_storage import TreeStorage

Result = TypeVar("Result")
REST_OF_ARCHIVE = 1.0
REST_OF_DROP = 0.5
"""With other traffic, the work pauses for this multiple of its own time. That of a drop includes the time in which it waits
for commits, so a smaller multiple is enough."""
LOOK_SECONDS = 1.0
ALONE_SECONDS = 5.0
MAX_REST_SECONDS = 1.0


class ArchivePace:
    """Pauses in proportion to the time of the last work while the log grows.

    The requests of other processes are known by the growth of the tree only. Growth before the first pause counts.
    """

    def __init__(
        self,
        storage: TreeStorage,
        rest: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``rest``: the multiple of its own time for which the work pauses."""
        self._storage = storage
        self._rest = rest
        self._monotonic = monotonic
        self._sleep = sleep
        self._size: int | None = None
        self._looked_at: float | None = None
        self._grew_at = monotonic()
        self._worked_seconds = 0.0

    async def timed(self, work: Awaitable[Result]) -> Result:
        """Return the result of ``work``, and count its time for the next pause."""
        began = self._monotonic()
        try:
            return await work
        finally:
            self._worked_seconds += self._monotonic() - began

    async def rest(self) -> None:
        """Pause. Raises Unavailable."""
        now = self._monotonic()
        if self._looked_at is None or now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            size = await self._storage.tree_size()
            if size != self._size:
                self._size, self._grew_at = size, now
        seconds = self._worked_seconds * self._rest if now - self._grew_at < ALONE_SECONDS else 0.0
        self._worked_seconds = 0.0
        await self._sleep(min(seconds, MAX_REST_SECONDS))
