"""Unique identifiers of requests, entries and purges."""

from __future__ import annotations

import os
from datetime import datetime

from vsqlvault.model.times import to_micros

ID_DIGITS = 32
_AT_ONCE = 256
_ready: list[str] = []


def new_id() -> str:
    """Return 32 hex digits: 128 bits of the system's randomness.

    Randomness is read in blocks, because each system call costs a significant part of a request. A process that forks
    shares no block with its child.
    """
    while True:
        try:
            return _ready.pop()
        except IndexError:
            digits = os.urandom(_AT_ONCE * ID_DIGITS // 2).hex()
            _ready.extend(digits[place : place + ID_DIGITS] for place in range(0, len(digits), ID_DIGITS))


def new_timed_id(at: datetime) -> str:
    """Return 32 hex digits: the milliseconds since 1970, and 80 bits of the system's randomness.

    The time comes first, so that an index of the ids grows at its end and ids of about the same time are adjacent.
    """
    return f"{max(to_micros(at), 0) // 1000:012x}{new_id()[12:]}"


os.register_at_fork(after_in_child=_ready.clear)
