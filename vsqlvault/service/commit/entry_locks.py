"""Lining up, within this process, those who are about to change one entry."""

from __future__ import annotations

import asyncio

from vsqlvault.errors import Overloaded
from vsqlvault.model.entry import EntryKey

MAX_WAITING = 256


class EntryLocks:
    """Locks by entry key, kept only while somebody has or wants them; no more than ``MAX_WAITING`` may want one.

    They are a courtesy, not a guard: without them fifty writers of one entry would conflict fifty times over. What keeps the
    entry right is checked inside the commit, for other processes too.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._locks: dict[EntryKey, tuple[asyncio.Lock, int]] = {}

    def hold(self, key: EntryKey) -> Hold:
        """Return what holds the lock of ``key`` inside ``async with``."""
        return Hold(self._locks, key, self._max_waiting)


class Hold:
    """Holds one lock inside ``async with``. By hand: it is on the way of every store, and a generator costs twice as much."""

    __slots__ = ("_key", "_lock", "_locks", "_max_waiting")

    def __init__(self, locks: dict[EntryKey, tuple[asyncio.Lock, int]], key: EntryKey, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        """Wait for the lock.

        Raises:
            Overloaded: too many wait for it, each with its body in memory.
        """
        self._lock, users = self._locks.get(self._key) or (asyncio.Lock(), 0)
        if users > self._max_waiting:
            raise Overloaded
        self._locks[self._key] = (self._lock, users + 1)
        try:
            await self._lock.acquire()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Let the next one have it."""
        self._lock.release()
        self._leave()

    def _leave(self) -> None:
        lock, users = self._locks[self._key]
        if users == 1:
            del self._locks[self._key]
        else:
            self._locks[self._key] = (lock, users - 1)
