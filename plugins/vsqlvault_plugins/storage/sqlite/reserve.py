"""A file that keeps disk space in reserve. Its space is released when the disk is full: purging and reading continue."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)
RESERVE_SUFFIX = "-reserve"
RESERVE_BYTES = 16 * 1024 * 1024
CREATE_AFTER_SECONDS = 2.0
"""The pause after opening, so that commands that run for a moment do not write the file."""
REFILL_SECONDS = 1.0


class Reserve:
    """The reserve beside one database file.

    While ``is_full``, its space has been released, and nothing may be stored that needs lasting room. That ends by itself once
    the disk has room for the reserve and as much again.
    """

    def __init__(self, path: Path, size: int = RESERVE_BYTES, *, refill_seconds: float = REFILL_SECONDS) -> None:
        """``size``: bytes in reserve. 0: no reserve."""
        real = path.resolve()  # the reserve belongs on the disk of the file, not of a symbolic link to it
        self._path = real.with_name(real.name + RESERVE_SUFFIX)
        self._size = size
        self._refill_seconds = refill_seconds
        self._lock = threading.Lock()
        self.is_full = False

    async def keep(self, after_seconds: float, on_full: Callable[[], None]) -> None:
        """Create the reserve, and create it again whenever it was released and there is room. Runs until cancelled.

        ``on_full`` is called once each time when the disk is found to be full.
        """
        await asyncio.sleep(after_seconds)
        await asyncio.to_thread(self._create)
        was_full = False
        while True:
            await asyncio.sleep(self._refill_seconds)
            if self.is_full:
                if not was_full:
                    on_full()
                await asyncio.to_thread(self.refill)
            was_full = self.is_full

    def release(self) -> None:
        """Give the space back to the disk, which is full."""
        with self._lock:
            if not self.is_full:
                self.is_full = True
                log.critical(
                    "the disk is full: the vault stores nothing, and goes on reading and purging from its reserve"
                )
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def refill(self) -> bool:
        """Create the reserve again if the disk has room for it and as much again. Return whether the disk is full no more."""
        with self._lock:
            if self._free_bytes() < 2 * max(self._size, 1) or not self._create():
                return False
            if self.is_full:
                self.is_full = False
                log.warning("the disk has room again: the vault stores again")
            return True

    def _free_bytes(self) -> int:
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    def _create(self) -> bool:
        """Allocate the file. A file that already has the size is kept. Return False if there is no room for it."""
        if not self._size:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(file, 0, self._size)
            finally:
                os.close(file)
        except OSError as error:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            log.warning("no room for the reserve of disk space", extra={"error": error.strerror})
            return False
        return True
