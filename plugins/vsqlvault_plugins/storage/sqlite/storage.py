"""The SQLite storage: four connections to one file, each on its own thread."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from vsqlvault.errors import StorageFull, VaultError
from vsqlvault.interfaces.evidence import Evidence, EvidenceQuery
from vsqlvault.interfaces.purge_storage import ExpiredQuery, ScrubOutcome
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse
from vsqlvault.interfaces.storage import (
    ClockReading,
    EntryQuery,
    KeyRefQuery,
    LogQuery,
    LogRow,
    MigrationStatus,
    PolicySnapshot,
    Read,
    RetentionLimitChange,
    RetentionLimitEffect,
    Snapshot,
    VersionQuery,
)
from vsqlvault.interfaces.tree_storage import LeafRow, PendingLeaf, TreeGrowth
from vsqlvault.interfaces.watch_storage import PurgesByIdQuery
from vsqlvault.interfaces.writes import Retrieval, Write, WriteOutcome
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.control import ControlChange
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.database_access import DatabaseAccess
from vsqlvault.model.entry import Entry
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import Checkpoint, LogName, TileKey
from vsqlvault_plugins.storage.full_disk import without_stores
from vsqlvault_plugins.storage.sqlite import evidence, pages, purging, schema, tallies, transactions, tree, watching
from vsqlvault_plugins.storage.sqlite.archived_logs import ArchivedLogs
from vsqlvault_plugins.storage.sqlite.connection import (
    Connection,
    create_private,
    handing_over_often,
    set_up,
    translated,
)
from vsqlvault_plugins.storage.sqlite.file_access import file_access
from vsqlvault_plugins.storage.sqlite.file_guard import LOCK_SECONDS, FileGuard, exit_soon, has_wal_reset_bug
from vsqlvault_plugins.storage.sqlite.reserve import CREATE_AFTER_SECONDS, Reserve

TRUNCATE_AFTER_SECONDS = 1.0
CHECKPOINT_AFTER_BYTES = 1_500_000
"""A checkpoint runs after about this many bytes of log rows and values: 1,000 log rows without values."""
MAX_LOG_BYTES = 16_000_000
"""Beyond this size the checkpoint runs on the writer's connection, so that commits wait and the log stops growing."""
WAL_RESET_BUG = has_wal_reset_bug(sqlite3.sqlite_version_info[:3])
TRUNCATE_EVERY_SECONDS, MAX_TRUNCATE_PAUSE_SECONDS = 5.0, 60.0
MAX_BLOCKS_AT_ONCE = 16
SCRUB_SECONDS = 5.0
SCRUB_PAUSE_SECONDS = 0.1


class SqliteStorage(ArchivedLogs):
    """Entries, policies and logs in one file. ``clock`` is the only clock of the storage."""

    flights = 1
    incarnation = tree.INCARNATION

    def __init__(
        self,
        path: Path,
        writer: Connection,
        reader: Connection,
        pager: Connection,
        keeper: Connection,
        clock: Callable[[], datetime],
        guard: FileGuard,
        reserve: Reserve,
        truncate_after_seconds: float = TRUNCATE_AFTER_SECONDS,
        scrub_seconds: float = SCRUB_SECONDS,
    ) -> None:
        self._truncate_after_seconds = truncate_after_seconds
        self._scrub_seconds = scrub_seconds
        self._path = path
        self._guard = guard
        self._writer = writer
        self._reader = reader
        self._pager = pager
        self._keeper = keeper
        for connection in (reader, pager, keeper):
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
            for _ in range(4):
                connection = await Connection.open(path)
                opened.append(connection)
                await connection.run(schema.check_owner)
                await connection.run(set_up, connection is not opened[0])
        except (sqlite3.Error, VaultError) as error:
            for connection in opened:
                await connection.close()
            raise error if isinstance(error, VaultError) else translated(error) from error
        writer, reader, pager, keeper = opened
        kept = reserve or Reserve(path)
        guard = FileGuard(path, on_io_error, locks=WAL_RESET_BUG, lock_seconds=lock_seconds, on_full=kept.release)
        storage = cls(path, writer, reader, pager, keeper, clock, guard, kept, truncate_after_seconds, scrub_seconds)
        storage._reserving = asyncio.create_task(kept.keep(reserve_after_seconds, storage._empty_log_soon))
        return storage

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

    async def retrieve(self, retrieval: Retrieval) -> Snapshot | None:
        """See ``Storage.retrieve``."""
        self._written += transactions.ROW_BYTES
        snapshot = await self._writer.run(transactions.retrieve, retrieval, self._clock)
        self._checkpoint_if_due()
        return snapshot

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
        # Beside the commits where SQLite allows, so that they wait less.
        await self._checkpointer.run_behind(transactions.checkpoint_log)
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

    async def scrubs(self, since: datetime, until: datetime, limit: int) -> Sequence[ScrubRecord]:
        """See ``PurgeStorage.scrubs``."""
        return await self._pager.run(purging.scrubs, since, until, limit)

    async def last_scrub(self) -> ScrubRecord | None:
        """See ``PurgeStorage.last_scrub``."""
        return await self._pager.run(purging.last_scrub)

    async def policy_snapshot(self) -> PolicySnapshot:
        """See ``Storage.policy_snapshot``."""
        return await self._reader.run(pages.policy_snapshot)

    async def revoked_keys(self) -> frozenset[str]:
        """See ``Storage.revoked_keys``."""
        return await self._reader.run(pages.revoked_keys)

    async def access_policy_versions(self, query: VersionQuery) -> Sequence[AccessPolicy]:
        """See ``Storage.access_policy_versions``."""
        return await self._pager.run(pages.access_policy_versions, query)

    async def retention_policy_versions(self, query: VersionQuery) -> Sequence[RetentionPolicy]:
        """See ``Storage.retention_policy_versions``."""
        return await self._pager.run(pages.retention_policy_versions, query)

    async def legal_hold_versions(self, query: VersionQuery) -> Sequence[LegalHold]:
        """See ``Storage.legal_hold_versions``."""
        return await self._pager.run(pages.legal_hold_versions, query)

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """See ``Storage.entries``."""
        return await self._pager.run(pages.entries_page, query)

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """See ``PurgeStorage.expired``."""
        return await self._pager.run(purging.expired_page, query)

    async def expired_entries(self, query: ExpiredQuery) -> Sequence[Entry]:
        """See ``PurgeStorage.expired_entries``."""
        return await self._pager.run(purging.expired_entries, query)

    async def access_log(self, query: LogQuery) -> Sequence[LogRow[AccessRecord]]:
        """See ``Storage.access_log``."""
        return await self._pager.run(pages.access_log_page, query)

    async def purge_log(self, query: LogQuery) -> Sequence[LogRow[PurgeRecord]]:
        """See ``Storage.purge_log``."""
        return await self._pager.run(pages.purge_log_page, query)

    async def entry_statistics(
        self, as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
    ) -> EntryStatistics:
        """See ``Storage.entry_statistics``."""
        return await self._pager.run(pages.entry_statistics, as_of, retention_limits, known_policies)

    async def evidence(self, query: EvidenceQuery) -> Evidence:
        """See ``Storage.evidence``."""
        return await self._pager.run(evidence.evidence, query)

    async def key_refs(self, query: KeyRefQuery) -> Sequence[KeyRefUse]:
        """See ``Storage.key_refs``."""
        return await self._pager.run(pages.key_refs_page, query)

    async def retention_limit_effect(self, change: RetentionLimitChange) -> RetentionLimitEffect:
        """See ``Storage.retention_limit_effect``."""
        return await self._pager.run(pages.retention_limit_effect, change)

    async def count_expired(self, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
        """See ``PurgeStorage.count_expired``."""
        return await self._pager.run(purging.count_expired, at, retention_limits)

    async def sweeps(self, since: datetime, until: datetime, limit: int) -> SweepRuns:
        """See ``PurgeStorage.sweeps``."""
        return await self._pager.run(purging.sweeps, since, until, limit)

    async def last_sweep(self) -> SweepRecord | None:
        """See ``PurgeStorage.last_sweep``."""
        return await self._pager.run(purging.last_sweep)

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """See ``Storage.acquire_lease``."""
        return await self._writer.run_behind(pages.acquire_lease, name, holder, seconds, self._clock)

    async def release_lease(self, name: str, holder: str) -> None:
        """See ``Storage.release_lease``."""
        await self._writer.run_behind(pages.release_lease, name, holder)

    async def tree_size(self) -> int:
        """See ``TreeStorage.tree_size``."""
        return await self._pager.run(tree.tree_size)

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """See ``TreeStorage.unsequenced``."""
        return await self._pager.run(tree.unsequenced, limit)

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
                block = await self._pager.run(tallies.next_block, log)
                if block is None:
                    break
                await self._writer.run_behind(tallies.keep_block, block)

    async def tiles(self, keys: Collection[TileKey]) -> Mapping[TileKey, bytes]:
        """See ``TreeStorage.tiles``."""
        return await self._pager.run(tree.tiles, keys)

    async def newest_checkpoint(self) -> Checkpoint | None:
        """See ``TreeStorage.newest_checkpoint``."""
        return await self._pager.run(tree.newest_checkpoint)

    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]:
        """See ``TreeStorage.checkpoints``."""
        return await self._pager.run(tree.checkpoints, after, limit)

    async def thin_checkpoints(self, sizes: Collection[int]) -> None:
        """See ``TreeStorage.thin_checkpoints``."""
        await self._writer.run_behind(tree.thin_checkpoints, sizes)

    async def leaf_rows(self, first: int, count: int) -> Sequence[LeafRow]:
        """See ``TreeStorage.leaf_rows``."""
        return await self._pager.run(tree.leaf_rows, first, count)

    async def purge_index(self, purge_id: str) -> int | None:
        """See ``TreeStorage.purge_index``."""
        return await self._pager.run(tree.purge_index, purge_id)

    async def row_positions(self, log: LogName, after: int | None, until: int | None, limit: int) -> Sequence[int]:
        """See ``TreeStorage.row_positions``."""
        return await self._pager.run(tree.row_positions, log, after, until, limit)

    async def control_states(self) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_states``."""
        return await self._pager.run(watching.control_states)

    async def control_changes(self, since: datetime, until: datetime, limit: int) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_changes``."""
        return await self._pager.run(watching.control_changes, since, until, limit)

    async def attestations(self, before: int | None, limit: int) -> Sequence[Attestation]:
        """See ``WatchStorage.attestations``."""
        return await self._pager.run(watching.attestations, before, limit)

    async def database_access(self) -> DatabaseAccess | None:
        """See ``WatchStorage.database_access``."""
        return await asyncio.to_thread(file_access, self._path)

    async def access_reviews(self, before: int | None, limit: int) -> Sequence[AccessReview]:
        """See ``WatchStorage.access_reviews``."""
        return await self._pager.run(watching.access_reviews, before, limit)

    async def newest_access_reviews(self, as_of: datetime) -> Sequence[AccessReview]:
        """See ``WatchStorage.newest_access_reviews``."""
        return await self._pager.run(watching.newest_access_reviews, as_of)

    async def purges_by_id(self, query: PurgesByIdQuery) -> Sequence[PurgeRecord]:
        """See ``WatchStorage.purges_by_id``."""
        return await self._pager.run(watching.purges_by_id, query)

    async def clock(self) -> ClockReading:
        """See ``Storage.clock``."""
        return await self._pager.run(pages.clock_reading, self._clock)

    async def raise_mark(self, at: datetime) -> None:
        """See ``Storage.raise_mark``."""
        await self._writer.run_behind(pages.raise_mark, at)

    async def secret(self, name: str) -> bytes:
        """See ``Storage.secret``."""
        return await self._writer.run_behind(pages.secret, name, secrets.token_bytes(32))

    async def cursors(self) -> Mapping[str, int]:
        """See ``Storage.cursors``."""
        return await self._pager.run(pages.cursors)

    async def save_cursor(self, name: str, position: int) -> None:
        """See ``Storage.save_cursor``."""
        await self._writer.run_behind(pages.save_cursor, name, position)

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """See ``Storage.record_usages``."""
        await self._writer.run_behind(pages.record_usages, uses)

    async def credential_uses(self) -> Mapping[CredentialName, CredentialUse]:
        """See ``Storage.credential_uses``."""
        return await self._pager.run(pages.credential_uses)

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
        if self._guard.failure is not None:
            return  # closing the last connection would run a checkpoint
        for connection in (self._keeper, self._pager, self._reader, self._writer):
            await connection.close()
        self._guard.close()
