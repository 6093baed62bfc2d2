"""The part of the SQLite storage for archives of the log.

A drop is many small transactions. Commits wait for each, because there is one write lock. So a transaction does about as much
as fits in ``HOLD_SECONDS``, and is synced to the disk after it has released the lock. A deletion that a power cut undoes is
made again by the next run, and the row that records the end of a drop is synced with everything before it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vsqlvault.errors import StorageUnavailable
from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.sqlite import archiving
from vsqlvault_plugins.storage.sqlite.connection import Connection
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

Answer = TypeVar("Answer")
HOLD_SECONDS = 0.002
"""How long a transaction of a drop should hold the write lock. Most requests take a few milliseconds."""

FIRST_LEAVES, MIN_LEAVES, MAX_LEAVES = 32, 8, 256
FIRST_PAGES, MIN_PAGES, MAX_PAGES = 16, 4, 64
DROPPED_BYTES, MOVED_BYTES = 10_000, 40_000
"""The weight of a dropped row, and of a page that is moved from the end of the file to a free place, in the bytes after which a
checkpoint runs: more than the pages that they write. Where SQLite has the WAL-reset bug, commits wait for the checkpoint, which
took 6 ms for 130 rows, 11 ms for 260 and 33 ms for 1,000."""


class PieceSize:
    """The size of the next transaction, by the time that the last one took."""

    def __init__(self, first: int, least: int, most: int, seconds: float = HOLD_SECONDS) -> None:
        """``seconds``: the time that a transaction should take."""
        self.size = first
        self._least = least
        self._most = most
        self._seconds = seconds

    def took(self, seconds: float) -> None:
        """Halve the size after a transaction that took too long, and double it after one that took less than half as long."""
        if seconds > self._seconds:
            self.size = max(self._least, self.size // 2)
        elif seconds < self._seconds / 2:
            self.size = min(self._most, self.size * 2)


class ArchivedLogs(ABC):
    """The drop of archived rows."""

    _writer: Connection
    _written: int
    _path: Path
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
        self._leaves.took(seconds)
        await self._has_written(DROPPED_BYTES * count)
        return after

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. It shortens the file, unless an earlier version of this program created it."""
        count = self._pages.size
        has_more: bool
        has_more, seconds = await self._writer.run_behind(_timed, archiving.reclaim, count)
        self._pages.took(seconds)
        await self._has_written(MOVED_BYTES * count)
        if not has_more:
            self._empty_log_soon()
        return has_more

    async def _has_written(self, size: int) -> None:
        """Sync the write-ahead log, while others can commit. Raises StorageUnavailable."""
        await asyncio.to_thread(_sync, self._path.with_name(self._path.name + "-wal"))
        self._written += size
        self._checkpoint_if_due()
        if self._checkpointing is not None:  # a part of the work after which the caller pauses
            await self._checkpointing


def _timed(connection: sqlite3.Connection, function: Callable[..., Answer], *arguments: object) -> tuple[Answer, float]:
    """Return the result of ``function``, which does not wait for the disk, and the seconds that it took."""
    with _unsynced(connection):
        began = time.monotonic()
        answer = function(connection, *arguments)
        return answer, time.monotonic() - began


@contextmanager
def _unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block without a sync at each commit. The file stays consistent after a power cut: see SQLite on NORMAL."""
    connection.execute(QUERIES["pragma_synchronous_behind"])
    try:
        yield
    finally:
        connection.execute(QUERIES["pragma_synchronous"])


def _dropped(connection: sqlite3.Connection, log: LogName, first: int, limit: int) -> int | None:
    with transaction(connection, "begin_write"):
        return archiving.drop_archived(connection, log, first, limit)


def _sync(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            getattr(os, "fdatasync", os.fsync)(file)
        finally:
            os.close(file)
    except OSError as error:
        raise StorageUnavailable(f"cannot sync {path.name}: {error.strerror}") from error
