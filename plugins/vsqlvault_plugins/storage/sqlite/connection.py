"""Connections to the database file: pragmas, threads, and SQLite's errors in the vault's terms."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from vsqlvault.errors import (
    AuditUnavailable,
    SettingsInvalid,
    StorageFull,
    StorageUnavailable,
    UnsafeStorage,
    VaultError,
)
from vsqlvault_plugins.storage.sqlite.file_guard import StorageBusy
from vsqlvault_plugins.storage.sqlite.schema import check_owner
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES
from vsqlvault_plugins.storage.sqlite.worker_thread import WorkerThread

Answer = TypeVar("Answer")


SYNCHRONOUS_FULL = 2


BUSY_SECONDS = 5.0


LOCKED = "another program holds the write lock of the database file"


FIRST_PAUSE_SECONDS = 0.002


MAX_PAUSE_SECONDS = 0.1


SWITCH_SECONDS = 0.0001


_PRAGMAS = (
    "pragma_busy_timeout", "pragma_auto_vacuum", "pragma_journal_mode", "pragma_synchronous", "pragma_secure_delete",
    "pragma_trusted_schema",
    "pragma_temp_store", "pragma_wal_autocheckpoint",
)  # fmt: skip


class Connection:
    """A connection on a thread of its own. A whole batch is one function, and needs one hop instead of one per statement."""

    guarded: Callable[..., Any] | None = None
    """``FileGuard.read`` or ``FileGuard.write``, which runs each function; None while the connection is set up."""

    guarded_behind: Callable[..., Any] | None = None
    """``FileGuard.write_at_once``, on the connection that writes."""

    def __init__(self, connection: sqlite3.Connection, thread: WorkerThread) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._thread = thread
        thread.kept = connection

    @classmethod
    async def open(cls, path: Path, is_reader: bool = False) -> Connection:
        """Open the file, on a new thread. Raises as ``connected``."""
        thread = WorkerThread()
        try:
            return cls(await thread.run(connected, path, is_reader), thread)
        except BaseException:
            thread.end()
            raise

    async def close(self) -> None:
        """Close the connection after the functions that were called before. Closing twice does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await self._thread.run(connection.close)
            finally:
                self._thread.kept = None
                self._thread.end()

    async def run(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return ``function(connection, *arguments)``, called on the connection's thread.

        Raises:
            StorageFull, StorageUnavailable, AuditUnavailable: for errors of SQLite.
        """
        try:
            return await self._run(self.guarded, function, *arguments)
        except StorageBusy as busy:
            raise StorageUnavailable(LOCKED) from busy

    async def run_behind(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """As ``run``, for work of the background: it never waits for a lock on the thread, where requests wait behind it.

        It is repeated for ``BUSY_SECONDS`` while another program holds the lock.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._run(self.guarded_behind or self.guarded, function, *arguments)
            except StorageBusy as busy:
                if time.monotonic() > deadline:
                    raise StorageUnavailable(LOCKED) from busy
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)

    async def _run(
        self, guarded: Callable[..., Any] | None, function: Callable[..., Answer], *arguments: Any
    ) -> Answer:
        if self._connection is None:
            raise StorageUnavailable("the storage is closed")
        try:
            if guarded is None:
                return await self._thread.run(function, self._connection, *arguments)
            answer: Answer = await self._thread.run(guarded, function, self._connection, *arguments)
        except sqlite3.Error as error:
            raise translated(error) from error
        except (OverflowError, UnicodeError) as error:  # a number or text that no column can store
            raise AuditUnavailable from error
        return answer


def create_private(path: Path) -> None:
    """Create the file if it is missing, readable only by its owner. Raises StorageUnavailable."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageUnavailable(f"cannot open {path}: {error.strerror}") from error
    except ValueError as error:
        raise StorageUnavailable("expected a path without NUL") from error


def connected(path: Path, is_reader: bool) -> sqlite3.Connection:
    """Return a connection to a vault's file, on which SQLite begins no transaction of its own.

    Raises:
        SettingsInvalid: it is another program's file. UnsafeStorage: it cannot be made durable. sqlite3.Error.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        check_owner(connection)
        _set_up(connection, is_reader)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, read_only: bool) -> None:
    """Set the pragmas for durability and purging, and read them back, because builds and file systems may ignore them."""
    for name in _PRAGMAS:
        _insist(connection, QUERIES[name])
    (mode,) = connection.execute(QUERIES["pragma_journal_mode"]).fetchone()
    (synchronous,) = connection.execute(QUERIES["read_synchronous"]).fetchone()
    (secure_delete,) = connection.execute(QUERIES["read_secure_delete"]).fetchone()
    if mode != "wal" or synchronous < SYNCHRONOUS_FULL or secure_delete != 1:
        found = f"journal_mode={mode}, synchronous={synchronous}, secure_delete={secure_delete}"
        raise UnsafeStorage(f"SQLite must run with journal_mode=wal, synchronous=2, secure_delete=1, but has {found}")
    if read_only:
        connection.execute(QUERIES["pragma_query_only"])


@contextmanager
def handing_over_often() -> Iterator[None]:
    """Let the committing thread get Python's lock back soon from the thread that prepares the next commit."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _insist(connection: sqlite3.Connection, pragma: str) -> None:
    """Run a pragma. Changing the journal mode ignores busy_timeout, so wait here for another process that does the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma).fetchall()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def translated(error: sqlite3.Error) -> VaultError:
    """Return the vault's error for an error of SQLite. SQLite's own message stays in ``__cause__`` and out of responses."""
    name = getattr(error, "sqlite_errorname", "") or ""
    found: VaultError = StorageUnavailable()
    if name == "SQLITE_FULL":
        found = StorageFull()
    elif isinstance(
        error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
    ):
        found = AuditUnavailable()
    elif name == "SQLITE_NOTADB":
        found = SettingsInvalid(
            "storage.database_url: expected the file of a vault, or a new file, found one that is not an SQLite database"
        )
    found.driver_code = name or None
    return found
