"""The part of the SQLite storage for archives of the log.

A drop is many small transactions. Commits wait for each, because there is one write lock. So a transaction does about as much
as fits in ``LOCK_SECONDS``, and does not wait for the disk: the log is synced by bytes, without the lock. A deletion that a
power cut undoes is made again by the next run, and the row that records the end of a drop is synced with everything before it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.sqlite import archiving
from vsqlvault_plugins.storage.sqlite.connection import Connection
from vsqlvault_plugins.storage.sqlite.file_guard import FileGuard
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

LOCK_SECONDS = 0.002
"""The wanted time of a transaction of a drop, which has the write lock. Most requests take a few milliseconds."""

FIRST_LEAVES, MIN_LEAVES, MAX_LEAVES = 32, 8, 256
FIRST_PAGES, MIN_PAGES, MAX_PAGES = 16, 4, 64
DROPPED_BYTES, MOVED_BYTES = 10_000, 40_000
"""How many bytes a dropped row, and a page that is moved from the end of the file to a free place, count towards the next
checkpoint: more than the pages that they write. Where SQLite has the WAL-reset bug, commits wait for the checkpoint: 6 ms for
130 rows, 11 ms for 260 and 33 ms for 1,000."""
SYNC_AFTER_BYTES = 300_000
"""After this number of bytes the write-ahead log is synced, so that the sync of the next commit of a request is short."""


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
        self._leaves = {log: PieceSize(FIRST_LEAVES, MIN_LEAVES, MAX_LEAVES) for log in LogName}
        self._unsynced_bytes = 0
        self._pages = PieceSize(FIRST_PAGES, MIN_PAGES, MAX_PAGES)

    @abstractmethod
    def _checkpoint_if_due(self) -> None: ...

    @abstractmethod
    def _empty_log_soon(self) -> None: ...

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:
        """See ``ArchiveStorage.drop_archived``."""
        piece = self._leaves[log]
        after: int | None
        after, rows, seconds = await self._writer.run_behind(_dropped, log, first, min(piece.size, limit))
        piece.adjust(seconds)
        await self._has_written(DROPPED_BYTES * rows)
        return after

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. It shortens the file, unless an earlier version of this program created it."""
        count = self._pages.size
        has_more: bool
        has_more, seconds = await self._writer.run_behind(_reclaimed, count)
        self._pages.adjust(seconds)
        await self._has_written(MOVED_BYTES * count)
        if not has_more:
            self._empty_log_soon()
        return has_more

    async def _has_written(self, size: int) -> None:
        """Sync the write-ahead log if it is time, while others can commit. Raises StorageUnavailable."""
        self._written += size
        self._unsynced_bytes += size
        if self._unsynced_bytes >= SYNC_AFTER_BYTES:
            self._unsynced_bytes = 0
            await asyncio.to_thread(self._guard.sync_log)
        self._checkpoint_if_due()
        if self._checkpointing is not None:  # a part of the work after which the caller pauses
            await self._checkpointing


@contextmanager
def _unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block without a sync at each commit. The file stays consistent after a power cut: see SQLite on NORMAL."""
    connection.execute(QUERIES["pragma_synchronous_normal"])
    try:
        yield
    finally:
        connection.execute(QUERIES["pragma_synchronous"])


def _dropped(connection: sqlite3.Connection, log: LogName, first: int, limit: int) -> tuple[int | None, int, float]:
    """Return the next leaf, the number of dropped rows, and for how many seconds the transaction had the write lock."""
    with _unsynced(connection):
        with transaction(connection, "begin_write"):
            began = time.monotonic()
            after, rows = archiving.drop_archived(connection, log, first, limit)
        return after, rows, time.monotonic() - began


def _reclaimed(connection: sqlite3.Connection, pages: int) -> tuple[bool, float]:
    """Return whether there are more free pages, and the duration of the transaction in seconds."""
    with _unsynced(connection):
        began = time.monotonic()
        return archiving.reclaim(connection, pages), time.monotonic() - began
