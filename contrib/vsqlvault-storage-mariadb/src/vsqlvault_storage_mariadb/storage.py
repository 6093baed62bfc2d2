"""The MariaDB storage: the required methods. Everything else is derived."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from vsqlvault.errors import SchemaTooNew, SettingsInvalid, StorageFull, UnsafeStorage
from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, MigrationStatus, Read, Snapshot
from vsqlvault.interfaces.writes import StoreEntry
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.times import from_micros
from vsqlvault.model.transparency import LogName
from vsqlvault.storage_defaults.basic import BasicExpectation, BasicWrite, Item, ItemRange, StoredRow
from vsqlvault.storage_defaults.required import MARK
from vsqlvault.storage_defaults.storage import StorageDefaults
from vsqlvault_storage_mariadb import pages
from vsqlvault_storage_mariadb.batch import Batch
from vsqlvault_storage_mariadb.connections import Connections, fetched
from vsqlvault_storage_mariadb.rows import ENTRIES

SCHEMA_VERSION = 1
MIGRATION = "0001_vault"
MIGRATION_SECONDS = 300
MICROS = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"
LOCK_HEAD = "SELECT revision, access_position, purge_position FROM head FOR UPDATE"
DURABILITY = {"innodb_flush_log_at_trx_commit": ("1",), "innodb_doublewrite": ("ON", "DETECT_AND_RECOVER")}
TABLES = frozenset({"head", "entries", "items", "access_log", "purge_log"})
REMNANTS = (
    "free space of the data files, the undo log and the redo log of InnoDB, until they are reused",
    "the binary log, replicas and backups of MariaDB",
)


class MariaDbStorage(StorageDefaults):
    """Entries, logs and items in one database. A batch holds the lock of the row ``head`` until it is committed."""

    flights = 2

    def __init__(self, connections: Connections, version: str) -> None:
        self._connections = connections
        self._version = version

    @classmethod
    async def open(cls, url: str) -> MariaDbStorage:
        """Connect, and check that acknowledged commits survive a power failure.

        Raises:
            StorageUnavailable, SettingsInvalid. UnsafeStorage: they might not.
        """
        connections = await Connections.open(url)
        try:
            names = [*DURABILITY, "log_bin", "sync_binlog", "version"]
            asked = ", ".join(["%s"] * len(names))
            found = dict(await connections.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({asked})", names))
            expected = {**DURABILITY, **({"sync_binlog": ("1",)} if found.get("log_bin") == "ON" else {})}
            for name, values in expected.items():
                if name in found and found[name] not in values:
                    raise UnsafeStorage(f"MariaDB must run with {name} = {values[0]}, but has {found[name]}")
        except BaseException:
            await connections.close()
            raise
        return cls(connections, found["version"])

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """See ``RequiredStorage.read``. One statement, so all of one state."""
        keys = list({read.key for read in reads if read.key is not None})
        wanted = " OR ".join(["(e.purpose = %s AND e.external_id = %s)"] * len(keys)) or "FALSE"
        value = "e.value" if any(read.with_value for read in reads) else "NULL"
        columns = ", ".join(f"e.{name}" for name in ENTRIES.columns)
        sql = f"""
            SELECT {columns}, {value}, {MICROS}, m.value, h.revision
            FROM head AS h
            LEFT JOIN items AS m ON m.item_table = %s AND m.name = %s
            LEFT JOIN entries AS e ON {wanted}
        """  # noqa: S608 - built from constants
        rows = await self._connections.rows(sql, [*MARK, *(text for key in keys for text in key)])
        clock, mark, revision = rows[0][-3:]
        found: dict[EntryKey | None, tuple[Entry, bytes | None]] = {}
        for row in rows:
            if row[0] is not None:
                entry = ENTRIES.value_of(row)
                found[entry.key] = entry, row[len(ENTRIES.columns)] if entry.purged_at is None else None
        return [
            self.snapshot_of(from_micros(clock), mark, revision, entry, value if read.with_value else None)
            for read in reads
            for entry, value in [found.get(read.key, (None, None))]
        ]

    async def apply(self, writes: Sequence[BasicWrite]) -> Sequence[BasicExpectation | StorageFull | None]:
        """See ``RequiredStorage.apply``. With a full disk, writes that store no entry are tried alone."""
        try:
            return await self._apply(writes)
        except StorageFull:
            kept = [write for write in writes if not any(isinstance(change, StoreEntry) for change in write.changes)]
            if not kept or len(kept) == len(writes):
                raise
        results = iter(await self._apply(kept))
        return [next(results) if write in kept else StorageFull() for write in writes]

    async def _apply(self, writes: Sequence[BasicWrite]) -> list[BasicExpectation | None]:
        async with self._connections.transaction() as cursor:
            (head,) = await fetched(cursor, LOCK_HEAD)
            batch = Batch(cursor, head)
            await batch.load(writes)
            results = [await batch.decide(write) for write in writes]
            await batch.flush()
        return results

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """See ``RequiredStorage.entries``."""
        return [ENTRIES.value_of(row) for row in await self._connections.rows(*pages.entries_page(query))]

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """See ``RequiredStorage.expired``. The page is cut before its values are read, both in one state."""
        async with self._connections.borrow() as cursor:
            await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await cursor.execute("START TRANSACTION READ ONLY")
            listed: list[str] = []
            size = 0
            for statement in pages.expired_keys(query):
                for external_id, length in await fetched(cursor, *statement):
                    if (len(listed) < query.limit and size < query.byte_limit) or not listed:
                        listed.append(external_id)
                        size += length
            rows = await fetched(cursor, *pages.with_values(query.purpose, listed)) if listed else []
            await cursor.execute("COMMIT")
        found = [(ENTRIES.value_of(row), row[-1]) for row in rows]
        return sorted(found, key=lambda pair: query.place_of(pair[0]))

    async def log(self, name: LogName, query: LogQuery) -> Sequence[StoredRow[Any]]:
        """See ``RequiredStorage.log``."""
        columns = pages.LOGS[name][2]
        rows = await self._connections.rows(*pages.log_page(name, query))
        return [StoredRow(row[-2], columns.value_of(row), row[-1]) for row in rows]

    async def items(self, table: str, names: Collection[bytes]) -> Mapping[bytes, bytes]:
        """See ``RequiredStorage.items``."""
        if not names:
            return {}
        asked = ", ".join(["%s"] * len(names))
        sql = f"SELECT name, value FROM items WHERE item_table = %s AND name IN ({asked})"  # noqa: S608
        return dict(await self._connections.rows(sql, [table, *names]))

    async def item_range(self, wanted: ItemRange) -> Sequence[Item]:
        """See ``RequiredStorage.item_range``."""
        end = "" if wanted.until is None else "AND name < %s "
        order = "name DESC" if wanted.descending else "name"
        sql = f"SELECT name, value FROM items WHERE item_table = %s AND name >= %s {end}ORDER BY {order} LIMIT %s"  # noqa: S608
        ends = [] if wanted.until is None else [wanted.until]
        return [
            Item(*row) for row in await self._connections.rows(sql, [wanted.table, wanted.first, *ends, wanted.limit])
        ]

    async def now(self) -> datetime:
        """See ``RequiredStorage.now``."""
        ((micros,),) = await self._connections.rows(f"SELECT {MICROS}")
        return from_micros(micros)

    async def schema_status(self) -> MigrationStatus:
        """See ``RequiredStorage.schema_status``."""
        tables = {name for (name,) in await self._connections.rows("SHOW TABLES")}
        if tables - TABLES:
            raise SettingsInvalid("storage.database_url: expected an empty database, found tables of another program")
        rows = await self._connections.rows("SELECT schema_version FROM head") if "head" in tables else []
        if not rows:
            return MigrationStatus(0, SCHEMA_VERSION, (MIGRATION,), is_shared=True)
        ((version,),) = rows
        if version > SCHEMA_VERSION:
            raise SchemaTooNew(f"the schema has version {version}, this program knows {SCHEMA_VERSION}")
        return MigrationStatus(version, SCHEMA_VERSION, is_shared=True)

    async def migrate(self) -> MigrationStatus:
        """See ``RequiredStorage.migrate``. Statements that create tables commit at once, and each can be repeated."""
        async with self._connections.borrow() as cursor:
            await fetched(cursor, "SELECT GET_LOCK(CONCAT(DATABASE(), '.vsqlvault'), %s)", [MIGRATION_SECONDS])
            try:
                status = await self.schema_status()
                if status.before < status.after:
                    for statement in files(__package__).joinpath("schema.sql").read_text("utf-8").split(";\n"):
                        if statement.strip():
                            await cursor.execute(statement)
            finally:
                await fetched(cursor, "SELECT RELEASE_LOCK(CONCAT(DATABASE(), '.vsqlvault'))")
        return status

    def describe(self) -> Mapping[str, Any]:
        """See ``RequiredStorage.describe``."""
        return {
            "product": "MariaDB",
            "version": self._version,
            "durable": True,
            "schema_version": SCHEMA_VERSION,
            "purge_does_not_reach": list(REMNANTS),
        }

    async def close(self) -> None:
        """See ``RequiredStorage.close``."""
        await self._connections.close()
