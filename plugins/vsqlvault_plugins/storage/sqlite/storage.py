"""The SQLite storage: four connections to one file, each on its own thread, and a fifth while a report is counted."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite

from vsqlvault.errors import StorageFull, VaultError
from vsqlvault.interfaces.evidence import EvidenceQuery
from vsqlvault.interfaces.purge_storage import ExpiredQuery, ScrubOutcome
from vsqlvault.interfaces.storage import (
    ClockReading,
    MigrationStatus,
    Read,
    Snapshot,
)
from vsqlvault.interfaces.tree_storage import PendingLeaf, TreeGrowth
from vsqlvault.interfaces.writes import SeenWrite, Write, WriteOutcome
from vsqlvault.model.credential import CredentialName
from vsqlvault.model.database_access import DatabaseAccess
from vsqlvault.model.entry import Entry
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import LogName, TileKey
from vsqlvault_plugins.storage.full_disk import without_stores
from vsqlvault_plugins.storage.sql.counted_entries import EntryCounts
from vsqlvault_plugins.storage.sql.entry_counts import count_entries
from vsqlvault_plugins.storage.sql.evidence import KeyUses
from vsqlvault_plugins.storage.sql.reading import Answer, Other, Reading
from vsqlvault_plugins.storage.sql.reads import SqlReads
from vsqlvault_plugins.storage.sql.rows import SQLITE_ROWS
from vsqlvault_plugins.storage.sqlite import purging, schema, small_tables, tallies, transactions, tree
from vsqlvault_plugins.storage.sqlite.answers import answer
from vsqlvault_plugins.storage.sqlite.archived_logs import ArchivedLogs
from vsqlvault_plugins.storage.sqlite.connection import (
    Connection,
    connected,
    create_private,
    handing_over_often,
    translated,
)
from vsqlvault_plugins.storage.sqlite.entry_counts import key_uses
from vsqlvault_plugins.storage.sqlite.file_access import file_access
from vsqlvault_plugins.storage.sqlite.file_guard import LOCK_SECONDS, FileGuard, exit_soon, has_wal_reset_bug
from vsqlvault_plugins.storage.sqlite.pager import Pager
from vsqlvault_plugins.storage.sqlite.reserve import CREATE_AFTER_SECONDS, Reserve

TRUNCATE_AFTER_SECONDS = 1.0
CHECKPOINT_AFTER_BYTES = 1_500_000
"""A checkpoint runs after about this many bytes of log rows and values: 1,000 log rows without values."""
MAX_LOG_BYTES = 16_000_000
"""Beyond this size the checkpoint runs on the writer's connection, so that commits wait and the log stops growing."""
WAL_RESET_BUG = has_wal_reset_bug(sqlite3.sqlite_version_info[:3])
TRUNCATE_EVERY_SECONDS = 5.0
MAX_BLOCKS_AT_ONCE = 16
MAX_TRUNCATE_PAUSE_SECONDS = 60.0
SCRUB_SECONDS = 5.0
SCRUB_PAUSE_SECONDS = 0.1


class SqliteStorage(ArchivedLogs, SqlReads):
    """Entries, policies and logs in one file. ``clock`` is the only clock of the storage."""

    flights = 1
    rows = SQLITE_ROWS
    incarnation = tree.INCARNATION

    def __init__(
        self,
        path: Path,
        writer: Connection,
        reader: Connection,
        pager: Pager,
        keeper: Connection,
        clock: Callable[[], datetime],
        guard: FileGuard,
        reserve: Reserve,
        truncate_after_seconds: float = TRUNCATE_AFTER_SECONDS,
        scrub_seconds: float = SCRUB_SECONDS,
    ) -> None:
        super().__init__()
        self._truncate_after_seconds = truncate_after_seconds
        self._scrub_seconds = scrub_seconds
        self._path = path
        self._guard = guard
        self._writer = writer
        self._reader = reader
        self._pager = pager
        self._keeper = keeper
        for connection in (reader, keeper):
            connection.guarded = guard.read
        writer.guarded = guard.write
        writer.guarded_behind = guard.write_at_once
        self._checkpointer = writer if WAL_RESET_BUG else keeper
        self._clock = clock
        self._truncating: asyncio.Task[None] | None = None
        self._checkpointing: asyncio.Task[None] | None = None
        self._truncated_at = -TRUNCATE_EVERY_SECONDS
        self._written = 0
        self._reserve = reserve
        self._reserving: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: Path,
        clock: Callable[[], datetime] = utc_now,
        on_io_error: Callable[[], None] = exit_soon,
        *,
        truncate_after_seconds: float = TRUNCATE_AFTER_SECONDS,
        scrub_seconds: float = SCRUB_SECONDS,
        lock_seconds: float = LOCK_SECONDS,
        reserve: Reserve | None = None,
        reserve_after_seconds: float = CREATE_AFTER_SECONDS,
    ) -> SqliteStorage:
        """Open or create the file, readable only by its owner. The schema is not changed.

        ``on_io_error`` is called once after an I/O error, when nothing is acknowledged any more. By default the process exits.
        ``truncate_after_seconds``: from a purge until the write-ahead log is truncated. ``scrub_seconds``: the minimum time
        for which a scrub waits for readers. ``lock_seconds``: how long requests wait while another program holds the write
        lock. ``reserve_after_seconds``: when the reserve of disk space is created.

        Raises:
            StorageUnavailable: the file cannot be opened. UnsafeStorage: it cannot be made durable.
        """
        create_private(path)
        opened: list[Connection] = []
        try:
            while len(opened) < 3:  # noqa: PLR2004
                opened.append(await Connection.open(path, is_reader=bool(opened)))
            writer, reader, keeper = opened
            pages = await _pages(writer, path)
        except (sqlite3.Error, VaultError) as error:
            for connection in opened:
                await connection.close()
            raise error if isinstance(error, VaultError) else translated(error) from error
        kept = reserve or Reserve(path)
        guard = FileGuard(path, on_io_error, locks=WAL_RESET_BUG, lock_seconds=lock_seconds, on_full=kept.release)
        pager = Pager(pages, guard)
        storage = cls(path, writer, reader, pager, keeper, clock, guard, kept, truncate_after_seconds, scrub_seconds)
        storage._reserving = asyncio.create_task(kept.keep(reserve_after_seconds, storage._empty_log_soon))
        return storage

    async def _answer(self, reading: Reading[Answer], *, is_short: bool = False, consistently: bool = False) -> Answer:
        if is_short:
            return await self._reader.run(answer, reading, consistently)
        return await self._pager.answer(reading, consistently=consistently)

    async def _answer_both(self, first: Reading[Answer], second: Reading[Other]) -> tuple[Answer, Other]:
        return await self._pager.answer_both(first, second, partial(_pages, self._keeper, self._path))

    def _count_entries(self, query: EvidenceQuery) -> Reading[EntryCounts]:
        return count_entries(query, has_deltas=False)

    def _key_uses(self, counts: EntryCounts, as_of: datetime) -> Reading[KeyUses]:
        return key_uses(counts, as_of)

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """See ``Storage.read``."""
        return await self._reader.run(transactions.read_batch, reads, self._clock)

    async def commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome | StorageFull]:
        """See ``Storage.commit``."""
        if not self._reserve.is_full:
            try:
                return await self._commit(writes)
            except StorageFull:  # the reserve has been released
                pass
        return await without_stores(writes, self._commit)

    async def _commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        has_purges = has_large = False
        for write in writes:
            self._written += transactions.size_of(write)
            has_purges |= bool(write.purges)
            has_large |= len(write.changes) >= transactions.LARGE
        if has_large:
            with handing_over_often():
                outcomes = await self._writer.run(transactions.commit_batch, writes, True)
        else:
            outcomes = await self._writer.run(transactions.commit_batch, writes, False)
        if has_purges:
            self._empty_log_soon()
        self._checkpoint_if_due()
        return outcomes

    async def commit_seen(self, writes: Sequence[SeenWrite]) -> Sequence[Snapshot | None]:
        """See ``Storage.commit_seen``."""
        if self._reserve.is_full:
            return [None] * len(writes)
        try:
            snapshots = await self._writer.run(transactions.commit_seen, writes, self._clock)
        except StorageFull:  # the reserve has been released: there is room for the rows of a commit
            return [None] * len(writes)
        has_purges = False
        for seen in writes:
            self._written += transactions.size_of(seen.write)
            has_purges |= bool(seen.write.purges)
        if has_purges:
            self._empty_log_soon()
        self._checkpoint_if_due()
        return snapshots

    def _checkpoint_if_due(self) -> None:
        if self._written >= CHECKPOINT_AFTER_BYTES and (self._checkpointing is None or self._checkpointing.done()):
            connection = self._checkpointer if self._written < MAX_LOG_BYTES else self._writer
            self._written = 0
            self._checkpointing = asyncio.create_task(self._checkpoint(connection))

    async def _checkpoint(self, connection: Connection) -> None:
        """Copy the write-ahead log to the file as far as possible. The guard reports an I/O error."""
        with suppress(VaultError):
            await connection.run_behind(transactions.checkpoint_log)

    def _empty_log_soon(self) -> None:
        if self._truncating is None or self._truncating.done():
            self._truncating = asyncio.create_task(self._truncate_log())

    async def _truncate_log(self) -> None:
        """Truncate the write-ahead log, which contains purged bytes, within seconds of a purge. Readers may delay it.

        Commits wait for it, so during continuous purges it runs every few seconds.
        """
        pause = max(self._truncate_after_seconds, self._truncated_at + TRUNCATE_EVERY_SECONDS - time.monotonic())
        emptied = False
        while not emptied:
            await asyncio.sleep(pause)
            try:
                emptied = await self._emptied_log()
                self._truncated_at = time.monotonic()
            except VaultError:
                pause = min(pause * 2, MAX_TRUNCATE_PAUSE_SECONDS)

    async def _emptied_log(self) -> bool:
        """Truncate the write-ahead log now. Return False if a reader of old pages prevents it.

        If necessary, the reader of this process is paused. Under load it would prevent the truncation most of the time.
        """
        await self._checkpointer.run_behind(
            transactions.checkpoint_log
        )  # beside the commits where SQLite allows, so that they wait less
        if await self._writer.run_behind(transactions.truncate_log):
            return True
        holding, still = threading.Event(), asyncio.Event()
        call_soon = asyncio.get_running_loop().call_soon_threadsafe
        held = asyncio.create_task(self._reader.run(transactions.hold, lambda: call_soon(still.set), holding))
        stilled = asyncio.create_task(still.wait())
        try:
            await asyncio.wait({held, stilled}, return_when=asyncio.FIRST_COMPLETED)
            return await self._writer.run_behind(transactions.truncate_log)
        finally:
            stilled.cancel()
            holding.set()
            await held

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:
        """See ``PurgeStorage.scrub``.

        The file already contains zeros in place of values, so only the log must be truncated.
        """
        newest, through = await self._writer.run_behind(purging.scrub_reach)
        if newest == through:
            return None
        deadline = time.monotonic() + max(lock_seconds, self._scrub_seconds)
        while not await self._emptied_log():
            if time.monotonic() > deadline:
                return ScrubOutcome(through, 0, ("the write-ahead log: another process reads older pages",))
            await asyncio.sleep(SCRUB_PAUSE_SECONDS)
        return ScrubOutcome(newest, 1)

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """See ``PurgeStorage.expired``."""
        return await self._keeper.run(purging.expired_page, query)

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """See ``Storage.acquire_lease``."""
        return await self._writer.run_behind(small_tables.acquire_lease, name, holder, seconds, self._clock)

    async def release_lease(self, name: str, holder: str) -> None:
        """See ``Storage.release_lease``."""
        await self._writer.run_behind(small_tables.release_lease, name, holder)

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """See ``TreeStorage.unsequenced``."""
        return await self._keeper.run(tree.unsequenced, limit)

    async def grow_tree(self, growth: TreeGrowth) -> bool:
        """See ``TreeStorage.grow_tree``. Rows that have become leaves are then counted for the report."""
        has_grown = await self._writer.run_behind(tree.grow_tree, growth)
        if has_grown:
            with suppress(VaultError):  # the next growth counts them
                await self._tally()
        return has_grown

    async def _tally(self) -> None:
        """Count the complete blocks of the logs, a limited number at once.

        Commits wait only while the counts are stored.
        """
        for log in LogName:
            for _ in range(MAX_BLOCKS_AT_ONCE):
                block = await self._keeper.run(tallies.next_block, log)
                if block is None:
                    break
                await self._writer.run_behind(tallies.keep_block, block)

    async def tiles(self, keys: Collection[TileKey]) -> Mapping[TileKey, bytes]:
        """See ``TreeStorage.tiles``."""
        return await self._keeper.run(tree.tiles, keys)

    async def thin_checkpoints(self, sizes: Collection[int]) -> None:
        """See ``TreeStorage.thin_checkpoints``."""
        await self._writer.run_behind(tree.thin_checkpoints, sizes)

    async def database_access(self) -> DatabaseAccess | None:
        """See ``WatchStorage.database_access``."""
        return await asyncio.to_thread(file_access, self._path)

    async def clock(self) -> ClockReading:
        """See ``Storage.clock``."""
        return await self._reader.run(small_tables.clock_reading, self._clock)

    async def raise_mark(self, at: datetime) -> None:
        """See ``Storage.raise_mark``."""
        await self._writer.run_behind(small_tables.raise_mark, at)

    async def secret(self, name: str) -> bytes:
        """See ``Storage.secret``."""
        return await self._writer.run_behind(small_tables.secret, name, secrets.token_bytes(32))

    async def save_cursor(self, name: str, position: int) -> None:
        """See ``Storage.save_cursor``."""
        await self._writer.run_behind(small_tables.save_cursor, name, position)

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """See ``Storage.record_usages``."""
        await self._writer.run_behind(small_tables.record_usages, uses)

    async def schema_status(self) -> MigrationStatus:
        """See ``Storage.schema_status``."""
        return await self._writer.run(schema.status)

    async def migrate(self) -> MigrationStatus:
        """See ``Storage.migrate``. It also truncates a write-ahead log that a killed process has left."""
        status = await self._writer.run(schema.migrate)
        self._empty_log_soon()
        return status

    def describe(self) -> Mapping[str, Any]:
        """See ``Storage.describe``."""
        return {
            "product": "SQLite",
            "durable": self._guard.failure is None,
            "full": self._reserve.is_full,
            **({"failure": self._guard.failure} if self._guard.failure else {}),
            "version": sqlite3.sqlite_version,
            "wal_reset_bug": "guarded by a lock file" if WAL_RESET_BUG else "fixed",
            "file": str(self._path),
            "schema_version": schema.VERSION,
            "journal_mode": "wal",
            "synchronous": "full",
            "secure_delete": True,
            "drops_archived_rows": True,
            "purge_reaches_with_scrub": ["the write-ahead log, for some seconds or until the next scrub"],
            "purge_does_not_reach": [
                "backups and copies of the file",
                "copies kept by clients",
                "the blocks of the disk",
            ],
        }

    async def close(self) -> None:
        """See ``Storage.close``. Closing the last connection also truncates the write-ahead log."""
        for task in (self._truncating, self._checkpointing, self._reserving):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._pager.close()
        if self._guard.failure is not None:
            return  # closing the last connection would run a checkpoint
        for connection in (self._keeper, self._reader, self._writer):
            await connection.close()
        self._guard.close()


async def _pages(connection: Connection, path: Path) -> aiosqlite.Connection:
    """Open a connection for pages and reports on a new thread, from the thread of another. Raises as ``connected``."""
    return await (await connection.run(Pager.prepared, partial(connected, path, True)))
