"""A whole storage in memory: the smallest one that keeps every promise but to survive its process. Start reading here.

It implements the twelve required methods (``vsqlvault.storage_defaults.required``) and a scrub; ``StorageDefaults`` derives
the rest. docs/plugins.md walks through it. Tests open it as ``memory:NAME``. Storages of one name share their data while one
of them exists. It is not for serving: nothing of it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from vsqlvault.errors import StorageFull, StorageUnavailable
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.purge_storage import ExpiredQuery, ScrubOutcome
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, MigrationStatus, Read, Snapshot, Storage, StorageFactory
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
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import LogName
from vsqlvault.storage_defaults.basic import (
    BasicChange,
    BasicExpectation,
    BasicWrite,
    Item,
    ItemIs,
    ItemKey,
    ItemRange,
    NewRow,
    PutItem,
    StoredRow,
)
from vsqlvault.storage_defaults.filters import selects_entry, selects_row, state_of
from vsqlvault.storage_defaults.required import MARK
from vsqlvault.storage_defaults.storage import StorageDefaults

SCHEMA_VERSION = 1


@dataclass
class MemoryData:
    """All data of one name."""

    entries: dict[EntryKey, tuple[Entry, bytes]] = field(default_factory=dict)
    items: dict[ItemKey, bytes] = field(default_factory=dict)
    logs: dict[LogName, list[StoredRow[Any]]] = field(default_factory=lambda: {name: [] for name in LogName})
    revision: int = 0

    def live(self, key: EntryKey) -> Entry | None:
        """Return the entry, if it has its value."""
        entry, _ = self.entries.get(key, (None, b""))
        return entry if entry is not None and entry.purged_at is None else None

    def is_met(self, expected: BasicExpectation) -> bool:
        """Return whether an expectation is met."""
        match expected:
            case EntryIs(key, stamp):
                entry = self.live(key)
                return entry is not None and entry.stamp == stamp
            case EntryAbsent(key):
                return key not in self.entries
            case RetrievalsBelow(key, limit):
                entry = self.live(key)
                return entry is not None and entry.retrievals < limit
            case PolicyUnused(name):
                return not any(
                    entry.access_policy == name and entry.purged_at is None for entry, _ in self.entries.values()
                )
            case RevisionIs(revision):
                return revision == self.revision
            case ItemIs(key=item_key, value=value):
                return self.items.get(item_key) == value

    def change(self, change: BasicChange) -> None:
        """Make one change."""
        match change:
            case StoreEntry(entry, value):
                old, _ = self.entries.get(entry.key, (None, b""))
                counted = old.retrievals if old and old.entry_id == entry.entry_id else 0
                self.entries[entry.key] = replace(entry, retrievals=max(entry.retrievals, counted)), value
            case RemoveEntry(key):
                self.entries.pop(key, None)
            case OverwriteEntry(key, filler, purged_at, method):
                if key in self.entries:
                    entry, _ = self.entries[key]
                    self.entries[key] = replace(entry, purged_at=purged_at, purge_method=method), filler
            case CountRetrieval(key):
                if key in self.entries:
                    entry, value = self.entries[key]
                    self.entries[key] = replace(entry, retrievals=entry.retrievals + 1), value
            case PutItem(item_key, item, revises):
                self.revision += revises
                if item is None:
                    self.items.pop(item_key, None)
                else:
                    self.items[item_key] = item


_places: WeakValueDictionary[str, MemoryData] = WeakValueDictionary()


class MemoryStorage(StorageDefaults):
    """Entries, logs and items in dictionaries."""

    def __init__(self, name: str, clock: Callable[[], datetime] = utc_now) -> None:
        self.data = _places.setdefault(name, MemoryData())
        self._clock = clock
        self._is_closed = False

    async def _opened(self) -> MemoryData:
        """Return the data, after other tasks had their turn. What follows without an await is atomic."""
        await asyncio.sleep(0)
        if self._is_closed:
            raise StorageUnavailable("the storage is closed")
        return self.data

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """See ``RequiredStorage.read``."""
        state, now = await self._opened(), self._clock()
        return [self._snapshot(state, now, read) for read in reads]

    def _snapshot(self, state: MemoryData, now: datetime, read: Read) -> Snapshot:
        entry, value = state.entries.get(read.key, (None, b"")) if read.key else (None, b"")
        is_readable = read.with_value and entry is not None and entry.purged_at is None
        return self.snapshot_of(now, state.items.get(MARK), state.revision, entry, value if is_readable else None)

    async def apply(self, writes: Sequence[BasicWrite]) -> Sequence[BasicExpectation | StorageFull | None]:
        """See ``RequiredStorage.apply``."""
        state = await self._opened()
        return [self._apply_one(state, write) for write in writes]

    def _apply_one(self, state: MemoryData, write: BasicWrite) -> BasicExpectation | None:
        for expected in write.expects:
            if not state.is_met(expected):
                return expected
        for change in write.changes:
            state.change(change)
        added: dict[LogName, Sequence[NewRow[Any]]] = {LogName.ACCESS: write.access, LogName.PURGE: write.purges}
        for name, rows in added.items():
            log = state.logs[name]
            log += [StoredRow(len(log) + number, row.record, row.leaf_hash) for number, row in enumerate(rows, start=1)]
        return None

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """See ``RequiredStorage.entries``."""
        state = await self._opened()
        found = (entry for entry, _ in state.entries.values() if selects_entry(query, entry))
        return sorted(found, key=lambda entry: entry.external_id)[: query.limit]

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """See ``RequiredStorage.expired``."""
        state = await self._opened()
        found = [
            (query.place_of(entry), entry, value)
            for entry, value in state.entries.values()
            if entry.purpose == query.purpose
            and state_of(entry, query.now, query.created_before) is EntryState.EXPIRED
            and (query.after is None or query.place_of(entry) > query.after)
        ]
        page: list[tuple[Entry, bytes]] = []
        size = 0
        for _, entry, value in sorted(found, key=lambda one: one[0])[: query.limit]:
            page.append((entry, value))
            size += len(value)
            if size >= query.byte_limit:
                break
        return page

    async def log(self, name: LogName, query: LogQuery) -> Sequence[StoredRow[Any]]:
        """See ``RequiredStorage.log``. Positions count from 1 without a gap."""
        rows = (await self._opened()).logs[name]
        if query.oldest_first:
            start = max(query.after or 0, 0)
            ordered = (rows[place] for place in range(start, len(rows)))
        else:
            end = len(rows) if query.after is None else max(query.after - 1, 0)
            ordered = (rows[place] for place in range(min(end, len(rows)) - 1, -1, -1))
        page: list[StoredRow[Any]] = []
        for row in ordered:
            if len(page) == query.limit:
                break
            if selects_row(query, row.position, row.record):
                page.append(row)
        return page

    async def items(self, table: str, names: Collection[bytes]) -> Mapping[bytes, bytes]:
        """See ``RequiredStorage.items``."""
        items = (await self._opened()).items
        return {name: items[ItemKey(table, name)] for name in names if ItemKey(table, name) in items}

    async def item_range(self, wanted: ItemRange) -> Sequence[Item]:
        """See ``RequiredStorage.item_range``."""
        state = await self._opened()
        found = (
            Item(name, value)
            for (table, name), value in state.items.items()
            if table == wanted.table and name >= wanted.first and (wanted.until is None or name < wanted.until)
        )
        return sorted(found, reverse=wanted.descending)[: wanted.limit]

    async def now(self) -> datetime:
        """See ``RequiredStorage.now``."""
        return self._clock()

    async def schema_status(self) -> MigrationStatus:
        """See ``RequiredStorage.schema_status``. There is no schema."""
        return MigrationStatus(SCHEMA_VERSION, SCHEMA_VERSION)

    async def migrate(self) -> MigrationStatus:
        """See ``RequiredStorage.migrate``."""
        return await self.schema_status()

    def describe(self) -> Mapping[str, Any]:
        """See ``RequiredStorage.describe``."""
        return {"product": "memory", "version": str(SCHEMA_VERSION), "durable": False}

    async def close(self) -> None:
        """See ``RequiredStorage.close``."""
        self._is_closed = True

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:  # noqa: ARG002 - nothing is locked
        """See ``PurgeStorage.scrub``. The values have left the dictionary already."""
        newest, last = len((await self._opened()).logs[LogName.PURGE]), await self.last_scrub()
        return None if newest == (last.through if last else 0) else ScrubOutcome(newest, 1)


class MemoryStorages(StorageFactory):
    """Opens ``memory:NAME``."""

    name = "memory"
    schemes: tuple[str, ...] = ("memory",)

    async def open(self, url: str) -> Storage:
        """See ``StorageFactory.open``."""
        return MemoryStorage(url.partition(":")[2])


@hookimpl
def vault_storages() -> list[StorageFactory]:
    """Offer the storage: for tests that name this module as a plugin."""
    return [MemoryStorages()]
