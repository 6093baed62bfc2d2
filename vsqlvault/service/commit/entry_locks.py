"""Serializes the changes of one entry within this process."""

from __future__ import annotations

import asyncio

from vsqlvault.errors import Overloaded
from vsqlvault.model.entry import EntryKey

MAX_WAITING = 256


class EntryLocks:
    """Locks by entry key, kept only while they are in use. At most ``MAX_WAITING`` callers may wait for one.

    They are an optimization: without them fifty writers of one entry would conflict fifty times. The commit itself
    protects the entry, also against other processes.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._locks: dict[EntryKey, tuple[asyncio.Lock, int]] = {}

    def hold(self, key: EntryKey) -> Hold:
        """Return a context manager for the lock of ``key``."""
        return Hold(self._locks, key, self._max_waiting)


class Hold:
    """An async context manager for one lock.

    A class, because it runs on every store and a generator costs twice as much.
    """

    __slots__ = ("_key", "_lock", "_locks", "_max_waiting")

    def __init__(self, locks: dict[EntryKey, tuple[asyncio.Lock, int]], key: EntryKey, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        """Wait for the lock.

        Raises:
            Overloaded: too many callers wait for it, each with its body in memory.
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
        """Pass the lock to the next caller."""
        self._lock.release()
        self._leave()

    def _leave(self) -> None:
        lock, users = self._locks[self._key]
        if users == 1:
            del self._locks[self._key]
        else:
            self._locks[self._key] = (lock, users - 1)
