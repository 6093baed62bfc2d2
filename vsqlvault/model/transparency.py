"""The transparency log: one tree over the rows of both logs, its tiles and its signed heads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class LogName(StrEnum):
    """Which log a row stands in."""

    ACCESS = "access"
    PURGE = "purge"


class RowPlace(NamedTuple):
    """Where a row stands: its log, and its position there."""

    log: LogName
    position: int


@dataclass(frozen=True, slots=True)
class TileKey:
    """A tile's level, and its index within the level, both from 0 (C2SP tlog-tiles)."""

    level: int
    index: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head that was signed. ``root`` is 32 bytes; ``note`` is the signed note (C2SP tlog-checkpoint) as it was made."""

    origin: str
    size: int
    root: bytes
    note: str
    signed_at: datetime
