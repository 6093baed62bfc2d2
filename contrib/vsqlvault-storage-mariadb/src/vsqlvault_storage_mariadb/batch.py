"""One batch of writes: what it needs is loaded at once, the writes are decided in order, and the result is written at once.

The caller has locked the row ``head``, so no other batch commits meanwhile, and positions become visible in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
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
from vsqlvault.storage_defaults.basic import BasicChange, BasicExpectation, BasicWrite, ItemIs, ItemKey, PutItem
from vsqlvault_storage_mariadb.connections import fetched
from vsqlvault_storage_mariadb.rows import ACCESS_LOG, ENTRIES, PURGE_LOG

CHUNK = 500


@dataclass(slots=True)
class _Head:
    revision: int
    access: int
    purge: int


@dataclass
class _Pending:
    """Changes that are not written yet. An entry without a new value keeps the stored one; None: the row is deleted."""

    entries: dict[EntryKey, tuple[Entry, bytes | None] | None] = field(default_factory=dict)
    items: dict[ItemKey, bytes | None] = field(default_factory=dict)
    access: list[tuple[Any, ...]] = field(default_factory=list)
    purges: list[tuple[Any, ...]] = field(default_factory=list)


class Batch:
    """The state that a batch sees: what is stored, and what its own writes have changed."""

    def __init__(self, cursor: Any, head: Sequence[int]) -> None:
        self._cursor = cursor
        self._stored_head = _Head(*head)
        self._head = _Head(*head)
        self._entries: dict[EntryKey, Entry] = {}
        self._items: dict[ItemKey, bytes] = {}
        self._pending = _Pending()

    async def load(self, writes: Sequence[BasicWrite]) -> None:
        """Load the entries and items that the writes mention."""
        parts = [part for write in writes for part in (*write.expects, *write.changes)]
        keys = {key for part in parts if (key := _key_of(part)) is not None}
        for chunk in _chunks(sorted(keys)):
            asked = ", ".join(["(%s, %s)"] * len(chunk))
            sql = f"SELECT {ENTRIES.listed} FROM entries WHERE (purpose, external_id) IN ({asked})"  # noqa: S608
            for row in await fetched(self._cursor, sql, [text for key in chunk for text in key]):
                entry = ENTRIES.value_of(row)
                self._entries[entry.key] = entry
        for items in _chunks(sorted({part.key for part in parts if isinstance(part, ItemIs)})):
            asked = ", ".join(["(%s, %s)"] * len(items))
            sql = f"SELECT item_table, name, value FROM items WHERE (item_table, name) IN ({asked})"  # noqa: S608
            for table, name, value in await fetched(self._cursor, sql, [part for key in items for part in key]):
                self._items[ItemKey(table, name)] = value

    async def decide(self, write: BasicWrite) -> BasicExpectation | None:
        """Apply a write, or return the expectation that is not met."""
        for expected in write.expects:
            if not await self._is_met(expected):
                return expected
        for change in write.changes:
            self._change(change)
        for row in write.access:
            self._head.access += 1
            self._pending.access.append((*ACCESS_LOG.row_of(row.record), self._head.access, row.leaf_hash))
        for purge in write.purges:
            self._head.purge += 1
            self._pending.purges.append((*PURGE_LOG.row_of(purge.record), self._head.purge, purge.leaf_hash))
        return None

    async def _is_met(self, expected: BasicExpectation) -> bool:
        match expected:
            case EntryIs(key, stamp):
                entry = self._live(key)
                return entry is not None and entry.stamp == stamp
            case EntryAbsent(key):
                return key not in self._entries
            case RetrievalsBelow(key, limit):
                entry = self._live(key)
                return entry is not None and entry.retrievals < limit
            case PolicyUnused(name):
                await self.flush()
                sql = "SELECT 1 FROM entries WHERE access_policy = %s AND purged_at IS NULL LIMIT 1"
                return not await fetched(self._cursor, sql, [name])
            case RevisionIs(revision):
                return revision == self._head.revision
            case ItemIs(key=item_key, value=value):
                return self._items.get(item_key) == value

    def _live(self, key: EntryKey) -> Entry | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry.purged_at is None else None

    def _change(self, change: BasicChange) -> None:
        match change:
            case StoreEntry(entry, value):
                old = self._entries.get(entry.key)
                counted = old.retrievals if old and old.entry_id == entry.entry_id else 0
                self._put(replace(entry, retrievals=max(entry.retrievals, counted)), value)
            case RemoveEntry(key):
                self._entries.pop(key, None)
                self._pending.entries[key] = None
            case OverwriteEntry(key, filler, purged_at, method):
                if key in self._entries:
                    self._put(replace(self._entries[key], purged_at=purged_at, purge_method=method), filler)
            case CountRetrieval(key):
                if key in self._entries:
                    entry = self._entries[key]
                    waiting = self._pending.entries.get(key)
                    self._put(replace(entry, retrievals=entry.retrievals + 1), waiting[1] if waiting else None)
            case PutItem(item_key, item, revises):
                self._head.revision += revises
                self._pending.items[item_key] = item
                if item is None:
                    self._items.pop(item_key, None)
                else:
                    self._items[item_key] = item

    def _put(self, entry: Entry, value: bytes | None) -> None:
        self._entries[entry.key] = entry
        self._pending.entries[entry.key] = entry, value

    async def flush(self) -> None:
        """Write what is pending."""
        pending, self._pending = self._pending, _Pending()
        await self._flush_entries(pending)
        await self._flush_items(pending)
        await self._insert("access_log", (*ACCESS_LOG.columns, "position", "leaf_hash"), pending.access)
        await self._insert("purge_log", (*PURGE_LOG.columns, "position", "leaf_hash"), pending.purges)
        if self._head != self._stored_head:
            sql = "UPDATE head SET revision = %s, access_position = %s, purge_position = %s"
            await self._cursor.execute(sql, [self._head.revision, self._head.access, self._head.purge])
            self._stored_head = replace(self._head)

    async def _flush_entries(self, pending: _Pending) -> None:
        gone = [key for key, kept in pending.entries.items() if kept is None]
        stored = [
            (*ENTRIES.row_of(kept[0]), kept[1]) for kept in pending.entries.values() if kept and kept[1] is not None
        ]
        counted = [kept[0] for kept in pending.entries.values() if kept and kept[1] is None]
        for chunk in _chunks(gone):
            asked = ", ".join(["(%s, %s)"] * len(chunk))
            sql = f"DELETE FROM entries WHERE (purpose, external_id) IN ({asked})"  # noqa: S608
            await self._cursor.execute(sql, [text for key in chunk for text in key])
        await self._insert("entries", (*ENTRIES.columns, "value"), stored, verb="REPLACE")
        for entry in counted:
            sql = "UPDATE entries SET retrievals = %s WHERE purpose = %s AND external_id = %s"
            await self._cursor.execute(sql, [entry.retrievals, *entry.key])

    async def _flush_items(self, pending: _Pending) -> None:
        put = [(*key, value) for key, value in pending.items.items() if value is not None]
        await self._insert("items", ("item_table", "name", "value"), put, verb="REPLACE")
        for key in (key for key, value in pending.items.items() if value is None):
            await self._cursor.execute("DELETE FROM items WHERE item_table = %s AND name = %s", key)

    async def _insert(
        self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], verb: str = "INSERT"
    ) -> None:
        """Insert rows, in as few statements as the driver's limit of a statement allows."""
        if rows:
            places = ", ".join(["%s"] * len(columns))
            sql = f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({places})"
            await self._cursor.executemany(sql, rows)


def _key_of(part: BasicExpectation | BasicChange) -> EntryKey | None:
    match part:
        case StoreEntry(entry, _):
            return entry.key
        case EntryIs(key) | EntryAbsent(key) | RetrievalsBelow(key) | RemoveEntry(key) | OverwriteEntry(key):
            return key
        case CountRetrieval(key):
            return key
        case _:
            return None


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + CHUNK] for start in range(0, len(values), CHUNK))
