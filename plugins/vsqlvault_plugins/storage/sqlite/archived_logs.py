"""The part of the SQLite storage for archives of the log.

A drop is many small transactions. Commits wait for each, because there is one write lock. So a transaction does about as much
as fits in ``LOCK_SECONDS``, and is synced to the disk after it has released the lock. A deletion that a power cut undoes is
made again by the next run, and the row that records the end of a drop is synced with everything before it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.sqlite import archiving
from vsqlvault_plugins.storage.sqlite.connection import Connection
from vsqlvault_plugins.storage.sqlite.file_guard import FileGuard
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

Answer = TypeVar("Answer")
LOCK_SECONDS = 0.002
"""The wanted time of a transaction of a drop, which has the write lock. Most requests take a few milliseconds."""

FIRST_LEAVES, MIN_LEAVES, MAX_LEAVES = 32, 8, 256
FIRST_PAGES, MIN_PAGES, MAX_PAGES = 16, 4, 64
DROPPED_BYTES, MOVED_BYTES = 10_000, 40_000
"""How many bytes a dropped row, and a page that is moved from the end of the file to a free place, count towards the next
checkpoint: more than the pages that they write. Where SQLite has the WAL-reset bug, commits wait for the checkpoint: 6 ms for
130 rows, 11 ms for 260 and 33 ms for 1,000."""


class PieceSize:
    """The number of leaves or pages of the next transaction, by the duration of the last one."""

    def __init__(self, first: int, min_size: int, max_size: int, wanted_seconds: float = LOCK_SECONDS) -> None:
        """``wanted_seconds``: the wanted duration of a transaction."""
        self.size = first
        self._min_size = min_size
        self._max_size = max_size
        self._wanted_seconds = wanted_seconds

    def adjust(self, seconds: float) -> None:
        """Halve the size if the last transaction was longer than wanted, and double it if it was shorter than half of that."""
        if seconds > self._wanted_seconds:
            self.size = max(self._min_size, self.size // 2)
        elif seconds < self._wanted_seconds / 2:
            self.size = min(self._max_size, self.size * 2)


class ArchivedLogs(ABC):
    """The drop of archived rows."""

    _writer: Connection
    _written: int
    _guard: FileGuard
    _checkpointing: asyncio.Task[None] | None

    def __init__(self) -> None:
        self._leaves = PieceSize(FIRST_LEAVES, MIN_LEAVES, MAX_LEAVES)
        self._pages = PieceSize(FIRST_PAGES, MIN_PAGES, MAX_PAGES)

    @abstractmethod
    def _checkpoint_if_due(self) -> None: ...

    @abstractmethod
    def _empty_log_soon(self) -> None: ...

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:
        """See ``ArchiveStorage.drop_archived``."""
        count = min(self._leaves.size, limit)
        after: int | None
        after, seconds = await self._writer.run_behind(_timed, _dropped, log, first, count)
        self._leaves.adjust(seconds)
        await self._has_written(DROPPED_BYTES * count)
        return after

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. It shortens the file, unless an earlier version of this program created it."""
        count = self._pages.size
        has_more: bool
        has_more, seconds = await self._writer.run_behind(_timed, archiving.reclaim, count)
        self._pages.adjust(seconds)
        await self._has_written(MOVED_BYTES * count)
        if not has_more:
            self._empty_log_soon()
        return has_more

    async def _has_written(self, size: int) -> None:
        """Sync the write-ahead log, while others can commit. Raises StorageUnavailable."""
        await asyncio.to_thread(self._guard.sync_log)
        self._written += size
        self._checkpoint_if_due()
        if self._checkpointing is not None:  # a part of the work after which the caller pauses
            await self._checkpointing


def _timed(connection: sqlite3.Connection, function: Callable[..., Answer], *arguments: object) -> tuple[Answer, float]:
    """Return the result of ``function``, which does not wait for the disk, and its duration in seconds."""
    with _unsynced(connection):
        began = time.monotonic()
        answer = function(connection, *arguments)
        return answer, time.monotonic() - began


@contextmanager
def _unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block without a sync at each commit. The file stays consistent after a power cut: see SQLite on NORMAL."""
    connection.execute(QUERIES["pragma_synchronous_normal"])
    try:
        yield
    finally:
        connection.execute(QUERIES["pragma_synchronous"])


def _dropped(connection: sqlite3.Connection, log: LogName, first: int, limit: int) -> int | None:
    with transaction(connection, "begin_write"):
        return archiving.drop_archived(connection, log, first, limit)
