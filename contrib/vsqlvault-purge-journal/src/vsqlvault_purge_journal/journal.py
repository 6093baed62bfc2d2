"""An append-only file that outlives the database."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import format_time

MAX_RECENT = 10_000
_MODE = 0o600
# Reading is for the last byte only; and a pipe that is opened for both is not waited for, but refused below.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class JournalUnavailable(Exception):
    """The journal cannot take a line."""


class Journal:
    """Lines that are durable once ``append`` returns, in the order of their purges.

    Several processes may append to one file. All methods block for as long as the disk takes; a lock keeps them apart.
    """

    def __init__(self, max_recent: int = MAX_RECENT) -> None:
        """``max_recent``: how many written records are remembered."""
        self._max_recent = max_recent
        self._path: Path | None = None
        self._descriptor: int | None = None
        self._is_failing = False
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path) -> None:
        """Open or create the file with mode 0600 and make its name durable; one that is open already is closed first.

        Raises:
            OSError: it cannot be opened, or is not a regular file.
        """
        self.close()
        with self._lock:
            self._descriptor = _open(path)
            self._path = path

    def append(self, records: Sequence[PurgeRecord]) -> None:
        """Write a line for each record, and flush them to the disk. Records that were written lately get no second line.

        Raises:
            OSError: they could not be written as a whole. Some lines may be there: the reader takes lines with one
                ``purge_id`` as one.
            JournalUnavailable: the journal is closed, or its file was moved.
        """
        with self._lock:
            self._is_failing = True  # until it is done
            new = [record for record in records if record.purge_id not in self._recent]
            descriptor = self._in_place()
            for record in new:
                _write_line(descriptor, line(record))
            if new:
                os.fsync(descriptor)
            self._recent.update((record.purge_id, None) for record in new)
            while len(self._recent) > self._max_recent:
                self._recent.popitem(last=False)
            self._is_failing = False

    def require_ready(self) -> None:
        """Return only if the next line can be expected to get to the disk.

        Raises:
            JournalUnavailable: the journal is closed, its file was moved, or the last line could not be written.
        """
        self._in_place()
        if self._is_failing:
            raise JournalUnavailable("the last line could not be written")

    def close(self) -> None:
        """Flush and close."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            self._recent.clear()
            self._is_failing = False
            if descriptor is None:
                return
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _in_place(self) -> int:
        """Return the descriptor, if the path still leads to it: what is written to a removed file is gone."""
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
    """Make the names in a directory durable: the file's own flush does not."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_line(descriptor: int, text: bytes) -> None:
    """Write the whole line in one call, on a line of its own where a crash or a full disk left half of another one."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        text = b"\n" + text
    if os.write(descriptor, text) != len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
