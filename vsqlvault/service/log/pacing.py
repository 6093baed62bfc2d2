"""Bounds the processor time of background work that reads the whole storage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.log_check import Finding
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.verification import StorageSource

REST_WITH_TRAFFIC = 9.0
"""With other traffic, the work pauses for this multiple of its own duration: it takes at most a tenth of the time."""
REST_ALONE = 1.0
ALONE_SECONDS = 5.0
MAX_REST_SECONDS = 1.0
"""One pause is at most this long, so that the work can end soon after it is asked to."""

Rest = Callable[[], Awaitable[None]]


class Pace:
    """Rests in proportion to the time that was worked since the last rest, until ``within_seconds`` have passed.

    From then on it only yields to other work, so that the verification ends.
    """

    def __init__(
        self,
        queue: CommitQueue,
        within_seconds: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._counts = queue.writes.counts
        self._monotonic = monotonic
        self._sleep = sleep
        self._worked_from = monotonic()
        self._rests_until = self._worked_from + within_seconds
        self._commits = self._counts.items
        self._last_traffic_at: float | None = None
        self.rested_seconds = 0.0
        """The pauses so far, in seconds."""

    def hurry(self) -> None:
        """Rest no more."""
        self._rests_until = self._monotonic()

    async def rest(self) -> None:
        """Pause."""
        now = self._monotonic()
        if self._counts.items != self._commits:
            self._commits, self._last_traffic_at = self._counts.items, now
        seconds = 0.0
        if now < self._rests_until:
            seconds = min((now - self._worked_from) * self._factor(now), MAX_REST_SECONDS)
        self.rested_seconds += seconds
        await self._sleep(seconds)
        self._worked_from = self._monotonic()

    def _factor(self, now: float) -> float:
        has_traffic = self._last_traffic_at is not None and now - self._last_traffic_at < ALONE_SECONDS
        return REST_WITH_TRAFFIC if has_traffic else REST_ALONE


class PacedStorage:
    """A storage of which the methods that read many rows rest first."""

    _PACED = frozenset(
        {"access_log", "checkpoints", "entries", "leaf_rows", "purge_log", "read", "row_positions", "tiles"}
    )

    def __init__(self, inner: Storage, rest: Rest) -> None:
        self._inner = inner
        self._rest = rest

    def __getattr__(self, name: str) -> Any:
        """Return a member of the inner storage."""
        member = getattr(self._inner, name)
        if name not in self._PACED:
            return member

        async def paced(*arguments: Any) -> Any:
            await self._rest()
            return await member(*arguments)

        return paced


class PacedSource:
    """The log in a storage. It rests before each tile, because 256 leaves are hashed without a pause."""

    def __init__(self, inner: StorageSource, rest: Rest) -> None:
        self._inner = inner
        self._rest = rest

    async def checkpoints(self) -> Sequence[str]:
        """See ``LogSource.checkpoints``."""
        return await self._inner.checkpoints()

    async def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """See ``LogSource.bundle``."""
        await self._rest()
        return await self._inner.bundle(index, width)

    async def tile(self, key: TileKey) -> bytes:
        """See ``LogSource.tile``."""
        return await self._inner.tile(key)

    async def anomalies(self) -> Sequence[Finding]:
        """See ``LogSource.anomalies``."""
        return await self._inner.anomalies()
