"""A file that passes every check in advance, and that cannot be written: another run is writing it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def busy(path: Path) -> Iterator[None]:
    """Lock the part file of a file for the length of the block, as ``vsqlvault.durable_file`` does."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    part.unlink()
