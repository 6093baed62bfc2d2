"""What a batch of writes sees and changes, for storages that decide their writes in Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

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
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.transparency import LogName
from vsqlvault.storage_defaults.basic import BasicChange, BasicExpectation, BasicWrite, ItemIs, ItemKey, NewRow, PutItem


class BatchState(ABC):
    """The entries and items that the writes of a batch mention, with the changes of the writes before.

    A storage provides access to its data; ``decide`` compares and changes it. The storage excludes other batches meanwhile.
    """

    revision: int
    """The policy revision."""

    @abstractmethod
    def entry(self, key: EntryKey) -> Entry | None:
        """Return an entry, purged or not, or None."""

    @abstractmethod
    def put_entry(self, entry: Entry, value: bytes | None) -> None:
        """Store an entry. ``value`` None: the stored value does not change."""

    @abstractmethod
    def remove_entry(self, key: EntryKey) -> None:
        """Remove an entry, if it exists."""

    @abstractmethod
    async def uses_policy(self, name: str) -> bool:
        """Return whether an entry that is not purged has this access policy."""

    @abstractmethod
    def item(self, key: ItemKey) -> bytes | None:
        """Return the value of an item, or None."""

    @abstractmethod
    def put_item(self, key: ItemKey, value: bytes | None) -> None:
        """Set the value of an item. None: remove it, if it exists."""

    @abstractmethod
    def add_row(self, log: LogName, row: NewRow[Any]) -> None:
        """Append a row to a log, at its next position."""

    async def decide(self, write: BasicWrite) -> BasicExpectation | None:
        """Apply a write, or return its first expectation that is not met. See ``RequiredStorage.apply``."""
        for expected in write.expects:
            if not await self._is_met(expected):
                return expected
        for change in write.changes:
            self._change(change)
        for row in write.access:
            self.add_row(LogName.ACCESS, row)
        for purge in write.purges:
            self.add_row(LogName.PURGE, purge)
        return None

    async def _is_met(self, expected: BasicExpectation) -> bool:
        match expected:
            case EntryIs(key, stamp):
                entry = self.live(key)
                return entry is not None and entry.stamp == stamp
            case EntryAbsent(key):
                return self.entry(key) is None
            case RetrievalsBelow(key, limit):
                entry = self.live(key)
                return entry is not None and entry.retrievals < limit
            case PolicyUnused(name):
                return not await self.uses_policy(name)
            case RevisionIs(revision):
                return revision == self.revision
            case ItemIs(key=item_key, value=value):
                return self.item(item_key) == value

    def live(self, key: EntryKey) -> Entry | None:
        """Return an entry that is not purged, or None."""
        entry = self.entry(key)
        return entry if entry is not None and entry.purged_at is None else None

    def _change(self, change: BasicChange) -> None:
        match change:
            case StoreEntry(entry, value):
                old = self.entry(entry.key)
                counted = old.retrievals if old and old.entry_id == entry.entry_id else 0
                self.put_entry(replace(entry, retrievals=max(entry.retrievals, counted)), value)
            case RemoveEntry(key):
                self.remove_entry(key)
            case OverwriteEntry(key, filler, purged_at, method):
                if stored := self.entry(key):
                    self.put_entry(replace(stored, purged_at=purged_at, purge_method=method), filler)
            case CountRetrieval(key):
                if stored := self.entry(key):
                    self.put_entry(replace(stored, retrievals=stored.retrievals + 1), None)
            case PutItem(item_key, item, revises):
                self.revision += revises
                self.put_item(item_key, item)
