"""One batch of writes: what it needs is loaded at once, the writes are decided in order, and the result is written at once.

The caller has locked the row ``head``, so no other batch commits meanwhile, and positions become visible in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vsqlvault.interfaces.writes import (
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    OverwriteEntry,
    RemoveEntry,
    RetrievalsBelow,
    StoreEntry,
)
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.transparency import LogName
from vsqlvault.storage_defaults.basic import BasicChange, BasicExpectation, BasicWrite, ItemIs, ItemKey, NewRow
from vsqlvault.storage_defaults.batch_state import BatchState
from vsqlvault_storage_mariadb.connections import fetched
from vsqlvault_storage_mariadb.pages import LOGS
from vsqlvault_storage_mariadb.rows import ENTRIES

CHUNK = 500


@dataclass
class _Pending:
    """Changes that are not written yet. An entry without a new value keeps the stored one; None: the row is deleted."""

    entries: dict[EntryKey, tuple[Entry, bytes | None] | None] = field(default_factory=dict)
    items: dict[ItemKey, bytes | None] = field(default_factory=dict)
    rows: dict[LogName, list[tuple[Any, ...]]] = field(default_factory=lambda: {log: [] for log in LogName})


class Batch(BatchState):
    """The state that a batch sees: what is stored, and what its own writes have changed."""

    def __init__(self, cursor: Any, head: Sequence[int]) -> None:
        self._cursor = cursor
        self._stored_head = list(head)
        self.revision, *positions = head
        self._positions = dict(zip(LogName, positions, strict=True))
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

    def entry(self, key: EntryKey) -> Entry | None:
        """See ``BatchState.entry``."""
        return self._entries.get(key)

    def put_entry(self, entry: Entry, value: bytes | None) -> None:
        """See ``BatchState.put_entry``."""
        waiting = self._pending.entries.get(entry.key)
        self._entries[entry.key] = entry
        self._pending.entries[entry.key] = entry, waiting[1] if waiting and value is None else value

    def remove_entry(self, key: EntryKey) -> None:
        """See ``BatchState.remove_entry``."""
        self._entries.pop(key, None)
        self._pending.entries[key] = None

    async def uses_policy(self, name: str) -> bool:
        """See ``BatchState.uses_policy``."""
        await self.flush()
        sql = "SELECT 1 FROM entries WHERE access_policy = %s AND purged_at IS NULL LIMIT 1"
        return bool(await fetched(self._cursor, sql, [name]))

    def item(self, key: ItemKey) -> bytes | None:
        """See ``BatchState.item``."""
        return self._items.get(key)

    def put_item(self, key: ItemKey, value: bytes | None) -> None:
        """See ``BatchState.put_item``."""
        self._pending.items[key] = value
        if value is None:
            self._items.pop(key, None)
        else:
            self._items[key] = value

    def add_row(self, log: LogName, row: NewRow[Any]) -> None:
        """See ``BatchState.add_row``."""
        self._positions[log] += 1
        self._pending.rows[log].append((*LOGS[log][2].row_of(row.record), self._positions[log], row.leaf_hash))

    async def flush(self) -> None:
        """Write what is pending."""
        pending, self._pending = self._pending, _Pending()
        await self._flush_entries(pending)
        await self._flush_items(pending)
        for log, rows in pending.rows.items():
            table, _, kind = LOGS[log]
            await self._insert(table, (*kind.columns, "position", "leaf_hash"), rows)
        head = [self.revision, *self._positions.values()]
        if head != self._stored_head:
            sql = "UPDATE head SET revision = %s, access_position = %s, purge_position = %s"
            await self._cursor.execute(sql, head)
            self._stored_head = head

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
