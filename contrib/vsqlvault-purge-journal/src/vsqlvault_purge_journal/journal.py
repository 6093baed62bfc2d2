"""An append-only file outside the database."""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
from collections import deque
from pathlib import Path

from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import format_time

log = logging.getLogger(__name__)
MAX_WAITING_LINES = 10_000
_MODE = 0o600
# # Reading is needed for the last byte only. Opening a pipe for both does not block, and it is rejected below.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class JournalUnavailable(Exception):
    """The journal cannot accept a line."""


class Journal:
    """Lines that are durable once ``append`` returns, in the order of their purges.

    A line that cannot be written waits in memory, up to ``MAX_WAITING_LINES``, and is written before the next one.
    Several processes may append to one file. All methods block for disk access, and must not run concurrently.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._descriptor: int | None = None
        self._waiting: deque[bytes] = deque()
        self._lost = 0

    def open(self, path: Path) -> None:
        """Open or create the file with mode 0600, and make its name durable. An open file is closed first.

        Raises:
            OSError: it cannot be opened, or is not a regular file.
            JournalUnavailable: the open file could not be closed without losing lines; it is closed now.
        """
        self.close()
        self._descriptor = _open(path)
        self._path = path

    def append(self, record: PurgeRecord) -> None:
        """Write the record's line after the waiting lines, and flush it to disk.

        Raises:
            OSError: it could not be written and waits, or is lost if too many lines wait already.
            JournalUnavailable: the same, because the file was moved; or the journal is closed and the line is lost.
        """
        if self._descriptor is None:
            raise JournalUnavailable("the journal is not open")
        self._waiting.append(line(record))
        try:
            self._write_waiting()
        finally:
            if len(self._waiting) > MAX_WAITING_LINES:
                self._waiting.pop()
                self._lost += 1

    def require_ready(self) -> None:
        """Return only if the next line can be expected to reach the disk: open, in place, and no line waiting.

        Raises:
            OSError: waiting lines still cannot be written.
            JournalUnavailable: the journal is closed, or its file was moved.
        """
        self._in_place()
        self._write_waiting()

    def close(self) -> None:
        """Write waiting lines, flush, and close. The number of lost lines is logged.

        Raises:
            OSError, JournalUnavailable: lines were lost. The journal is closed anyway.
        """
        if self._descriptor is None:
            return
        try:
            self._write_waiting()
            os.fsync(self._descriptor)
        finally:
            if lost := self._lost + len(self._waiting):
                log.error(
                    ("purge records were not written to the journal"), extra={"count": lost, "path": str(self._path)}
                )
            os.close(self._descriptor)
            self._descriptor, self._lost = None, 0
            self._waiting.clear()

    def _write_waiting(self) -> None:
        """Write the lines in order, flush once, and forget the durable ones.

        After a failed flush all lines are written again. A reader recognises a repeated line by its ``purge_id``.
        """
        if not self._waiting:
            return
        descriptor = self._in_place()
        written = 0
        try:
            for waiting in self._waiting:
                _write_line(descriptor, waiting)
                written += 1
        finally:
            if written:
                os.fsync(descriptor)
            for _ in range(written):
                self._waiting.popleft()

    def _in_place(self) -> int:
        """Return the descriptor, if the path still refers to its file. Lines written to a removed file would be lost."""
        if self._descriptor is None or self._path is None:
            raise JournalUnavailable("the journal is not open")
        try:
            there = os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            there = False
        if not there:
            raise JournalUnavailable("the journal was moved or removed")
        return self._descriptor


def line(record: PurgeRecord) -> bytes:
    """Return the record as one line of NDJSON in ASCII. ``purged_at`` is RFC 3339 in UTC."""
    document = {
        "purge_id": record.purge_id,
        "purpose": record.purpose,
        "external_id": record.external_id,
        "entry_id": record.entry_id,
        "entry_version": record.entry_version,
        "method": record.method,
        "reason": record.reason.value,
        "proof_hash": record.proof_hash,
        "purged_at": format_time(record.purged_at),
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def _open(path: Path) -> int:
    descriptor = os.open(path, _FLAGS, _MODE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        os.fchmod(descriptor, _MODE)
        os.fsync(descriptor)
        _flush_directory(path.parent)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _flush_directory(directory: Path) -> None:
    """Make the names in a directory durable, which a flush of the file does not do."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_line(descriptor: int, text: bytes) -> None:
    """Write the whole line in one call. If a crash or a full disk has left an incomplete line, start a new one."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        text = b"\n" + text
    if os.write(descriptor, text) != len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
