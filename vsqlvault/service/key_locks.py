"""Lining up, within this process, those who are about to change one entry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vsqlvault.errors import Overloaded
from vsqlvault.model.entry import EntryKey

MAX_WAITING = 256


class KeyLocks:
    """Locks by entry key, kept only while somebody has or wants them; no more than ``MAX_WAITING`` may want one.

    They are a courtesy, not a guard: without them fifty writers of one entry would conflict fifty times over. What keeps the
    entry right is checked inside the commit, for other processes too.
    """

    def __init__(self) -> None:
        self._locks: dict[EntryKey, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def hold(self, key: EntryKey) -> AsyncIterator[None]:
        """Hold the lock of ``key`` inside the block.

        Raises:
            Overloaded: too many wait for it, each with its body in memory.
        """
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        if users > MAX_WAITING:
            raise Overloaded
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
