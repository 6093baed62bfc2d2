"""A whole storage in memory: the smallest one that keeps every promise but to survive its process. Start reading here.

It implements the twelve required methods (``vsqlvault.storage_defaults.required``) and a scrub; ``StorageDefaults`` derives
the rest. docs/plugins.md walks through it. Tests open it as ``memory:NAME``. Storages of one name share their data while one
of them exists. It is not for serving: nothing of it is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from vsqlvault.errors import StorageFull, StorageUnavailable
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.purge_storage import ExpiredQuery, ScrubOutcome
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, MigrationStatus, Read, Snapshot, Storage, StorageFactory
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import LogName
from vsqlvault.storage_defaults.basic import BasicExpectation, BasicWrite, Item, ItemKey, ItemRange, NewRow, StoredRow
from vsqlvault.storage_defaults.batch_state import BatchState
from vsqlvault.storage_defaults.filters import selects_entry, selects_row, state_of
from vsqlvault.storage_defaults.required import MARK
from vsqlvault.storage_defaults.storage import StorageDefaults

SCHEMA_VERSION = 1


@dataclass
class MemoryData(BatchState):
    """All data of one name."""

    entries: dict[EntryKey, tuple[Entry, bytes]] = field(default_factory=dict)
    items: dict[ItemKey, bytes] = field(default_factory=dict)
    logs: dict[LogName, list[StoredRow[Any]]] = field(default_factory=lambda: {name: [] for name in LogName})
    revision: int = 0

    def entry(self, key: EntryKey) -> Entry | None:
        """See ``BatchState.entry``."""
        return self.entries[key][0] if key in self.entries else None

    def put_entry(self, entry: Entry, value: bytes | None) -> None:
        """See ``BatchState.put_entry``."""
        self.entries[entry.key] = entry, self.entries[entry.key][1] if value is None else value

    def remove_entry(self, key: EntryKey) -> None:
        """See ``BatchState.remove_entry``."""
        self.entries.pop(key, None)

    async def uses_policy(self, name: str) -> bool:
        """See ``BatchState.uses_policy``."""
        return any(entry.access_policy == name and entry.purged_at is None for entry, _ in self.entries.values())

    def item(self, key: ItemKey) -> bytes | None:
        """See ``BatchState.item``."""
        return self.items.get(key)

    def put_item(self, key: ItemKey, value: bytes | None) -> None:
        """See ``BatchState.put_item``."""
        if value is None:
            self.items.pop(key, None)
        else:
            self.items[key] = value

    def add_row(self, log: LogName, row: NewRow[Any]) -> None:
        """See ``BatchState.add_row``."""
        self.logs[log].append(StoredRow(len(self.logs[log]) + 1, row.record, row.leaf_hash))


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
        return [await state.decide(write) for write in writes]  # nothing in it waits

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
