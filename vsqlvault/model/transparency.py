"""The transparency log: one tree over the rows of both logs, its tiles and its checkpoints."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from vsqlvault.quick_dataclass import dataclass


class LogName(StrEnum):
    """The log of a row."""

    ACCESS = "access"
    PURGE = "purge"


class RowPlace(NamedTuple):
    """The location of a row: its log and its position there."""

    log: LogName
    position: int


@dataclass(frozen=True, slots=True)
class TileKey:
    """A tile's level, and its index within the level, both from 0 (C2SP tlog-tiles)."""

    level: int
    index: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head. ``root`` is 32 bytes. ``note`` is the signed note (C2SP tlog-checkpoint) as it was created."""

    origin: str
    size: int
    root: bytes
    note: str
    signed_at: datetime
