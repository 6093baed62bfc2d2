"""The values of the required methods: items, and writes that consist of five kinds of change and six of expectation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, NamedTuple

from vsqlvault.interfaces.storage import Record
from vsqlvault.interfaces.writes import (
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    OverwriteEntry,
    PolicyUnused,
    RemoveEntry,
    RetrievalsBelow,
    RevisionIs,
    StoreEntry,
)
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import to_micros
from vsqlvault.quick_dataclass import dataclass

_TIME_OFFSET = 2**62


class ItemKey(NamedTuple):
    """The key of an item: its table, ASCII of at most 32 characters, and its name there, at most 255 bytes."""

    table: str
    name: bytes


class Item(NamedTuple):
    """A name in a table, and its value of at most 1 MiB."""

    name: bytes
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRange:
    """Items of one table whose name is in ``[first, until)``, byte by byte, at most ``limit``. ``until`` None: no end.

    They come in the order of their names, or in the reverse order if ``descending``.
    """

    table: str
    limit: int
    first: bytes = b""
    until: bytes | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class ItemIs:
    """The item has exactly this value. None: there is no such item."""

    key: ItemKey
    value: bytes | None


@dataclass(frozen=True, slots=True)
class PutItem:
    """Set the value of an item. None: delete it, if it exists. ``revises``: also add one to the policy revision."""

    key: ItemKey
    value: bytes | None
    revises: bool = False


BasicExpectation = EntryIs | EntryAbsent | RetrievalsBelow | PolicyUnused | RevisionIs | ItemIs
BasicChange = StoreEntry | RemoveEntry | OverwriteEntry | CountRetrieval | PutItem


@dataclass(frozen=True, slots=True)
class NewRow(Generic[Record]):
    """A new row of a log, and the hash of its leaf, 32 bytes."""

    record: Record
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class BasicWrite:
    """One atomic unit: if every expectation is met, all changes and rows are committed, otherwise none."""

    expects: Sequence[BasicExpectation] = ()
    changes: Sequence[BasicChange] = ()
    access: Sequence[NewRow[AccessRecord]] = ()
    purges: Sequence[NewRow[PurgeRecord]] = ()


@dataclass(frozen=True, slots=True)
class StoredRow(Generic[Record]):
    """A row of a log with its position, and the hash of its leaf as it was committed."""

    position: int
    record: Record
    leaf_hash: bytes


def number_name(number: int) -> bytes:
    """Return a name that sorts like the number, which is at least 0."""
    return number.to_bytes(8, "big")


def time_name(at: datetime) -> bytes:
    """Return a name that sorts like the time."""
    return number_name(to_micros(at) + _TIME_OFFSET)
