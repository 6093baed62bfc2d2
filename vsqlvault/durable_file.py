"""Files that survive a power cut: written beside, synced, renamed, and their directory synced."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


class FileBusy(OSError):
    """Another run is writing the file."""

    def __init__(self) -> None:
        super().__init__(errno.EBUSY, "another run is writing it now")


@contextmanager
def durable_file(path: Path, *, mode: int = 0o600, replace: bool = True) -> Iterator[IO[bytes]]:
    """Give a file to write to, which has its name only after the block has ended without an error.

    A part file that an interrupted run has left is replaced.

    Raises:
        FileBusy: another run is writing the same file. FileExistsError: ``replace`` is False, and the file exists. OSError.
    """
    if not path.name:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    beside = path.with_name(f".{path.name}.part")
    if not replace and path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    descriptor = _lock(beside, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if replace:
                beside.replace(path)
            else:
                os.link(beside, path)
                beside.unlink()
        sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def write_durably(path: Path, content: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
    """Write a whole file. Raises as ``durable_file``."""
    with durable_file(path, mode=mode, replace=replace) as file:
        file.write(content)


def sync_directory(directory: Path) -> None:
    """Make sure that the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(beside: Path, mode: int) -> int:
    """Open the part file, empty and locked. The lock ends with the process, so that a stale file blocks nothing."""
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileBusy from None
        if not _is_still_there(beside, descriptor):  # another run has just ended and renamed it
            raise FileBusy
        os.ftruncate(descriptor, 0)
        os.fchmod(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
