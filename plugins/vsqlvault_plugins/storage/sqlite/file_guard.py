"""Guards one database file against failed writes, replacement of the file, and SQLite's WAL-reset bug.

The WAL-reset bug (https://sqlite.org/wal.html#walresetbug) can lose synced rows if one connection commits while another
checkpoints. On versions that have it, a lock file excludes commits and checkpoints of other processes from each other.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from vsqlvault.errors import OutcomeUnknown, StorageUnavailable

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)
LOCK_SUFFIX = "-lock"
LOCK_SECONDS = 5.0
"""How long requests wait for a lock that another program holds, counted from the first request that had to wait."""
PROBE_SECONDS = 0.02
"""How long a later batch of requests waits while the same lock is still held."""
FIRST_PAUSE_SECONDS = 0.0002
MAX_PAUSE_SECONDS = 0.005
EXIT_AFTER_SECONDS = 1.0
"""Time for the answers in flight to leave before the process exits after an I/O error."""
EX_IOERR = 74
_FIXED_IN = ((3, 44, 6), (3, 50, 7), (3, 51, 3))


class StorageBusy(Exception):
    """Another program holds the write lock of the database file."""


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Return whether this version of SQLite has the WAL-reset bug: fixed in 3.51.3, 3.50.7 and 3.44.6."""
    return not (version >= _FIXED_IN[-1] or any(version[:2] == fixed[:2] and version >= fixed for fixed in _FIXED_IN))


def exit_soon() -> None:
    """End the process without closing the database, so that no checkpoint runs; the next start recovers the WAL.

    After a failed fsync the kernel may mark pages clean that never reached the disk. Only a new process copies them again.
    """
    timer = threading.Timer(EXIT_AFTER_SECONDS, os._exit, (EX_IOERR,))
    timer.daemon = True
    timer.start()


def is_io_error(error: sqlite3.Error) -> bool:
    """Return whether the operating system failed to read or write the database."""
    return (getattr(error, "sqlite_errorname", None) or "").startswith("SQLITE_IOERR")


class FileGuard:
    """Runs functions on a connection while the file is sound.

    After an I/O error every call is refused, and ``on_io_error`` is called once. While the file or its write-ahead log is
    not the one that was opened, calls are refused too.
    """

    def __init__(
        self,
        path: Path,
        on_io_error: Callable[[], None],
        *,
        locks: bool,
        lock_seconds: float = LOCK_SECONDS,
        on_full: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``path`` may be a symbolic link: SQLite keeps the write-ahead log beside the file to which it leads.

        ``locks``: exclude writes of other processes, as versions with the WAL-reset bug need.

        ``on_full`` is called when a write finds no room on the disk, before its error is raised.

        Raises:
            StorageUnavailable: the lock file cannot be opened.
        """
        self._path = path
        real = path.resolve()
        self._log_path = real.with_name(real.name + "-wal")
        self._on_io_error = on_io_error
        self._lock_seconds = lock_seconds
        self._on_full = on_full
        self._monotonic = monotonic
        self._blocked_since: float | None = None
        self._busy_millis: int | None = None
        self._file = _identity(path)
        self._log_file: tuple[int, int] | None = None
        self._lock_file = _open_lock(real) if locks else None
        self.failure: str | None = None
        """Why nothing is acknowledged any more; None: the file is sound."""

    def read(self, function: Callable[..., Answer], connection: sqlite3.Connection, *arguments: Any) -> Answer:
        """Return ``function(connection, *arguments)``. Raises StorageUnavailable, and as the function does."""
        self._check()
        try:  # without the context managers of ``reading``: requests wait for it
            return function(connection, *arguments)
        except (OutcomeUnknown, sqlite3.Error) as error:
            self._note(error)
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """As ``read``, for a block that reads. Raises StorageUnavailable, and as the block does."""
        self._check()
        try:
            yield
        except (OutcomeUnknown, sqlite3.Error) as error:
            self._note(error)
            raise

    def write(self, function: Callable[..., Answer], connection: sqlite3.Connection, *arguments: Any) -> Answer:
        """As ``read``, for functions that write. The file is checked again after the write.

        It waits for a lock that another program holds, at most ``lock_seconds`` after the first write that had to wait.
        """
        since = self._monotonic()
        deadline = (self._blocked_since if self._blocked_since is not None else since) + self._lock_seconds
        try:
            answer = self._write(max(PROBE_SECONDS, deadline - since), function, connection, *arguments)
        except StorageBusy:
            self._blocked_since = since if self._blocked_since is None else self._blocked_since
            raise
        self._blocked_since = None
        return answer

    def write_at_once(self, function: Callable[..., Answer], connection: sqlite3.Connection, *arguments: Any) -> Answer:
        """As ``write``, but it does not wait: background work must not delay requests. Raises StorageBusy."""
        return self._write(0.0, function, connection, *arguments)

    def _write(
        self, seconds: float, function: Callable[..., Answer], connection: sqlite3.Connection, *arguments: Any
    ) -> Answer:
        self._check()
        deadline = self._monotonic() + seconds
        lock_file = self._lock_file
        if lock_file is not None:
            _take(lock_file, seconds)
        try:
            millis = round(max(0.0, deadline - self._monotonic()) * 1000) if seconds else 0
            if millis != self._busy_millis:
                connection.execute(f"PRAGMA busy_timeout = {millis}")
                self._busy_millis = millis
            answer = function(connection, *arguments)
        except (OutcomeUnknown, sqlite3.Error) as error:
            name = getattr(error, "sqlite_errorname", None) or ""
            if name.startswith("SQLITE_BUSY"):
                raise StorageBusy from error
            if name == "SQLITE_FULL":
                self._on_full()
            self._note(error)
            raise
        finally:
            if lock_file is not None:
                fcntl.flock(lock_file, fcntl.LOCK_UN)
        self._check()
        return answer

    def sync_log(self) -> None:
        """Sync the write-ahead log. After a sync that fails nothing is acknowledged any more. Raises StorageUnavailable."""
        try:
            file = os.open(self._log_path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:  # nothing is lost: the log can be synced later
            raise StorageUnavailable(f"cannot open {self._log_path.name}: {error.strerror}") from error
        try:
            getattr(os, "fdatasync", os.fsync)(file)
        except OSError as error:
            self._fail(error)
            raise StorageUnavailable(f"cannot sync {self._log_path.name}: {error.strerror}") from error
        finally:
            os.close(file)

    def close(self) -> None:
        """Close the lock file."""
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _check(self) -> None:
        if self.failure is not None:
            raise StorageUnavailable(self.failure)
        try:  # requests wait for these two calls
            file, log_file = os.stat(self._path), os.stat(self._log_path)  # noqa: PTH116
            if (file.st_dev, file.st_ino) == self._file and (log_file.st_dev, log_file.st_ino) == self._log_file:
                return
        except OSError:
            pass
        if self._log_file is None:
            self._log_file = _identity(self._log_path)
        found, found_log = _identity(self._path), _identity(self._log_path)
        if found == self._file and found_log == self._log_file:
            return
        lost = self._path if found != self._file else self._log_path
        self.failure = f"{lost.name} was removed or replaced while the vault was running: restart the vault"
        log.critical("the database file was removed or replaced: nothing is acknowledged", extra={"file": str(lost)})
        raise StorageUnavailable(self.failure)

    def _note(self, error: OutcomeUnknown | sqlite3.Error) -> None:
        """Fail after an I/O error, or after a commit whose outcome is unknown because of one."""
        if isinstance(error, OutcomeUnknown):
            self._fail(error.__cause__)
        elif is_io_error(error):
            self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        if self.failure is None:
            self.failure = "an I/O error occurred: the vault stops, and its next start recovers the write-ahead log"
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            log.critical("I/O error of the database file: nothing is acknowledged any more", extra={"error": name})
            self._on_io_error()


def _take(lock_file: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StorageBusy from None
            time.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
        else:
            return


def _open_lock(path: Path) -> int:
    lock_path = path.with_name(path.name + LOCK_SUFFIX)
    try:
        return os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageUnavailable(f"cannot open {lock_path}: {error.strerror}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
