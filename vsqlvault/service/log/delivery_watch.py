"""Finds deliveries that have stopped: an observer or a purge method that fails for good gets the same batch again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import Storage
from vsqlvault.service.log.observers import Feed

LATE = timedelta(minutes=5)
UNMOVED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LateDelivery:
    """A delivery whose oldest undelivered record is late. ``has_stopped`` is None while this process cannot know it yet."""

    name: str
    since: datetime
    has_stopped: bool | None


class DeliveryWatch:
    """Compares the stored positions of the deliveries with the log, whichever process delivers.

    A delivery has stopped if its oldest record is older than ``LATE`` and its position has not changed for
    ``unmoved_seconds``. One that is late and moves is catching up.
    """

    def __init__(
        self,
        storage: Storage,
        feeds: Sequence[Feed],
        *,
        unmoved_seconds: float = UNMOVED_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._feeds = feeds
        self._unmoved_seconds = unmoved_seconds
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, float, bool]] = {}
        """The position of each feed, the monotonic time at which it was first seen, and whether another was seen before."""

    @property
    def is_in_use(self) -> bool:
        """Whether anything is delivered."""
        return bool(self._feeds)

    async def late(self, now: datetime) -> list[LateDelivery]:
        """Return the late deliveries. Raises Unavailable."""
        positions = await self._storage.cursors()
        found = []
        for feed in self._feeds:
            position = positions.get(feed.name, 0)
            has_stopped = self._has_stopped(feed.name, position)
            if await feed.end() <= position:
                continue
            since = await feed.time_after(position)
            if since is not None and now - since > LATE:
                found.append(LateDelivery(feed.name, since, has_stopped))
        return found

    def _has_stopped(self, name: str, position: int) -> bool | None:
        now = self._monotonic()
        seen = self._seen.get(name)
        if seen is None or seen[0] != position:
            seen = self._seen[name] = (position, now, seen is not None)
        _, first_seen, has_moved = seen
        return True if now - first_seen >= self._unmoved_seconds else (False if has_moved else None)
