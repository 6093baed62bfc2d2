"""The part of the SQLite storage for archives of the log."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod

from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.sqlite import archiving
from vsqlvault_plugins.storage.sqlite.connection import Connection
from vsqlvault_plugins.storage.sqlite.transactions import transaction

DROPPED_BYTES = 4_000
"""The share of a dropped row in the write-ahead log: the pages that it leaves are written again, with those of its indexes."""
RECLAIMED_BYTES = 1_000_000
"""The pages of one step that shortens the file: those at its end are moved to free places."""


class ArchivedLogs(ABC):
    """The drop of archived rows."""

    _writer: Connection
    _written: int

    @abstractmethod
    def _checkpoint_if_due(self) -> None: ...

    @abstractmethod
    def _empty_log_soon(self) -> None: ...

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:
        """See ``ArchiveStorage.drop_archived``."""
        after = await self._writer.run_behind(_dropped, log, first, limit)
        self._written += DROPPED_BYTES * limit
        self._checkpoint_if_due()
        return after

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. It shortens the file, unless an earlier version of this program created it."""
        has_more = await self._writer.run_behind(archiving.reclaim)
        self._written += RECLAIMED_BYTES
        self._checkpoint_if_due()
        if not has_more:
            self._empty_log_soon()
        return has_more


def _dropped(connection: sqlite3.Connection, log: LogName, first: int, limit: int) -> int | None:
    with transaction(connection, "begin_write"):
        return archiving.drop_archived(connection, log, first, limit)
