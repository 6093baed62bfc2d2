"""Overwrites secrets in the memory that the system shows as the environment of the process."""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_ENVIRON = Path("/proc/self/environ")
_STAT = Path("/proc/self/stat")
_ENV_START, _ENV_END = 47, 48
"""The fields of /proc/self/stat after the name of the program (proc_pid_stat(5): env_start and env_end)."""


def overwrite_variables(names: Collection[str]) -> None:
    """Overwrite the values of these variables with zero bytes, where ``/proc/PID/environ`` shows them.

    ``os.environ`` keeps its copies, in the memory of the process. Child processes do not get the values. On a system
    without ``/proc`` nothing changes.
    """
    with suppress(OSError, ValueError, IndexError):
        fields = _STAT.read_text("latin-1").rpartition(")")[2].split()
        start, end = int(fields[_ENV_START]), int(fields[_ENV_END])
        if end <= start or not _ENVIRON.exists():
            return
        place = start
        for entry in ctypes.string_at(start, end - start).split(b"\0"):
            name, equals, value = entry.partition(b"=")
            if equals and value and name.decode("utf-8", "replace") in names:
                ctypes.memset(place + len(name) + 1, 0, len(value))
            place += len(entry) + 1


def readable_variables(names: Collection[str]) -> frozenset[str]:
    """Return those of the variables whose values ``/proc/PID/environ`` shows. Raises OSError where there is no such file."""
    entries = (entry.partition(b"=") for entry in _ENVIRON.read_bytes().split(b"\0"))
    return frozenset(name.decode("utf-8", "replace") for name, _, value in entries if value) & frozenset(names)
