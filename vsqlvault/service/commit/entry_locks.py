"""Serializes the changes of one entry within this process."""

from __future__ import annotations

import asyncio
from collections import deque

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
        self._locks: dict[EntryKey, deque[asyncio.Future[None]]] = {}

    def hold(self, key: EntryKey) -> Hold:
        """Return a context manager for the lock of ``key``."""
        return Hold(self._locks, key, self._max_waiting)


class Hold:
    """An async context manager for one lock: the callers that wait for it, first come, first served.

    A class, because it runs on every store and a generator costs twice as much.
    """

    __slots__ = ("_key", "_locks", "_max_waiting")

    def __init__(self, locks: dict[EntryKey, deque[asyncio.Future[None]]], key: EntryKey, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._locks = locks
        self._key = key

    async def __aenter__(self) -> None:
        """Wait for the lock.

        Raises:
            Overloaded: too many callers wait for it, each with its body in memory.
        """
        waiting = self._locks.get(self._key)
        if waiting is None:
            self._locks[self._key] = deque()
            return
        if len(waiting) >= self._max_waiting:
            raise Overloaded
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it was this caller's turn
                self._pass_on(waiting)
            elif turn in waiting:  # or else it was passed over, because it was cancelled
                waiting.remove(turn)
            raise

    async def __aexit__(self, *_: object) -> None:
        """Pass the lock to the next caller."""
        self._pass_on(self._locks[self._key])

    def _pass_on(self, waiting: deque[asyncio.Future[None]]) -> None:
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._locks[self._key]
