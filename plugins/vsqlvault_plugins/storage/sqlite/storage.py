"""The SQLite storage: four connections to one file, each on its own thread."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from vsqlvault.errors import AuditUnavailable, StorageFull, StorageUnavailable, UnsafeStorage, VaultError
from vsqlvault.interfaces.evidence import Evidence, EvidenceQuery
from vsqlvault.interfaces.purge_storage import ExpiredQuery, ScrubOutcome
from vsqlvault.interfaces.storage import (
    ClockReading,
    EntryQuery,
    EntryStatistics,
    KeyRefQuery,
    KeyRefUse,
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
from vsqlvault.interfaces.writes import Write, WriteOutcome
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.control import ControlChange
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.entry import Entry
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import Checkpoint, LogName, TileKey
from vsqlvault_plugins.storage.sqlite import evidence, pages, purging, schema, tallies, tree, watching
from vsqlvault_plugins.storage.sqlite.transactions import (
    LARGE,
    QUERIES,
    checkpoint_log,
    commit_batch,
    read_batch,
    truncate_log,
)

Answer = TypeVar("Answer")
SYNCHRONOUS_FULL = 2
BUSY_SECONDS = 5.0
TRUNCATE_AFTER_SECONDS = 1.0
CHECKPOINT_AFTER_ROWS = 1_000
TRUNCATE_EVERY_SECONDS = 5.0
SWITCH_SECONDS = 0.0001
MAX_BLOCKS_AT_ONCE = 16
MAX_TRUNCATE_PAUSE_SECONDS = 60.0
HOLD_SECONDS = 5.0
SCRUB_SECONDS = 5.0
SCRUB_PAUSE_SECONDS = 0.1
_PRAGMAS = (
    "pragma_busy_timeout", "pragma_journal_mode", "pragma_synchronous", "pragma_secure_delete", "pragma_trusted_schema",
    "pragma_temp_store", "pragma_wal_autocheckpoint",
)  # fmt: skip


class _Connection(aiosqlite.Connection):
    """A connection that runs a function on its thread. A whole batch then needs one hop instead of one per statement."""

    async def run(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Return ``function(connection, *arguments)``, called on the connection's thread.

        Raises:
            StorageFull, StorageUnavailable, AuditUnavailable: for errors of SQLite.
        """
        try:
            answer: Answer = await self._execute(function, self._conn, *arguments)  # type: ignore[no-untyped-call]
        except sqlite3.Error as error:
            raise _translated(error) from error
        except (OverflowError, UnicodeError) as error:  # a number or text that no column can store
            raise AuditUnavailable from error
        except ValueError as error:
            if self._connection is None or not self._running:
                raise StorageUnavailable("the storage is closed") from error
            raise
        return answer


class SqliteStorage:
    """Entries, policies and logs in one file. ``clock`` is the only clock of the storage."""

    flights = 1
    incarnation = tree.INCARNATION

    def __init__(
        self,
        path: Path,
        writer: _Connection,
        reader: _Connection,
        pager: _Connection,
        keeper: _Connection,
        clock: Callable[[], datetime],
    ) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._pager = pager
        self._keeper = keeper
        self._clock = clock
        self._truncating: asyncio.Task[None] | None = None
        self._checkpointing: asyncio.Task[None] | None = None
        self._truncated_at = -TRUNCATE_EVERY_SECONDS
        self._written = 0

    @classmethod
    async def open(cls, path: Path, clock: Callable[[], datetime] = utc_now) -> SqliteStorage:
        """Open or create the file, readable only by its owner. The schema is not changed.

        Raises:
            StorageUnavailable: the file cannot be opened. UnsafeStorage: it cannot be made durable.
        """
        _create_private(path)
        opened: list[_Connection] = []
        try:
            for _ in range(4):
                connection = _Connection(lambda: sqlite3.connect(path, isolation_level=None), iter_chunk_size=64)
                connection._thread.daemon = True  # noqa: SLF001 - the thread must not keep a failed process alive
                await connection
                opened.append(connection)
                await connection.run(_set_up, connection is not opened[0])
        except (sqlite3.Error, VaultError) as error:
            for connection in opened:
                await connection.close()
            raise error if isinstance(error, VaultError) else _translated(error) from error
        writer, reader, pager, keeper = opened
        return cls(path, writer, reader, pager, keeper, clock)

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """See ``Storage.read``."""
        return await self._reader.run(read_batch, reads, self._clock)

    async def commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        """See ``Storage.commit``."""
        has_purges = has_large = False
        for write in writes:
            self._written += len(write.access)
            has_purges |= bool(write.purges)
            has_large |= len(write.changes) >= LARGE
        if has_large:
            with _handing_over_often():
                outcomes = await self._writer.run(commit_batch, writes, True)
        else:
            outcomes = await self._writer.run(commit_batch, writes, False)
        if has_purges:
            self._empty_log_soon()
        if self._written >= CHECKPOINT_AFTER_ROWS and (self._checkpointing is None or self._checkpointing.done()):
            self._written = 0
            self._checkpointing = asyncio.create_task(self._checkpoint())
        return outcomes

    async def _checkpoint(self) -> None:
        """Copy the write-ahead log to the file as far as possible, beside the commits. If this fails, a commit does it."""
        with suppress(VaultError):
            await self._keeper.run(checkpoint_log)

    def _empty_log_soon(self) -> None:
        if self._truncating is None or self._truncating.done():
            self._truncating = asyncio.create_task(self._truncate_log())

    async def _truncate_log(self) -> None:
        """Truncate the write-ahead log, which contains purged bytes, within seconds of a purge. Readers may delay it.

        Commits wait for it, so during continuous purges it runs every few seconds.
        """
        pause = max(TRUNCATE_AFTER_SECONDS, self._truncated_at + TRUNCATE_EVERY_SECONDS - time.monotonic())
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
        await self._keeper.run(checkpoint_log)  # most of it beside the commits, so that they wait only for the rest
        if await self._writer.run(truncate_log):
            return True
        holding, still = threading.Event(), asyncio.Event()
        call_soon = asyncio.get_running_loop().call_soon_threadsafe
        held = asyncio.create_task(self._reader.run(_hold, lambda: call_soon(still.set), holding))
        stilled = asyncio.create_task(still.wait())
        try:
            await asyncio.wait({held, stilled}, return_when=asyncio.FIRST_COMPLETED)
            return await self._writer.run(truncate_log)
        finally:
            stilled.cancel()
            holding.set()
            await held

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:
        """See ``PurgeStorage.scrub``.

        The file already contains zeros in place of values, so only the log must be truncated.
        """
        newest, through = await self._writer.run(purging.scrub_reach)
        if newest == through:
            return None
        deadline = time.monotonic() + max(lock_seconds, SCRUB_SECONDS)
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
        return await self._writer.run(pages.acquire_lease, name, holder, seconds, self._clock)

    async def release_lease(self, name: str, holder: str) -> None:
        """See ``Storage.release_lease``."""
        await self._writer.run(pages.release_lease, name, holder)

    async def tree_size(self) -> int:
        """See ``TreeStorage.tree_size``."""
        return await self._pager.run(tree.tree_size)

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """See ``TreeStorage.unsequenced``."""
        return await self._pager.run(tree.unsequenced, limit)

    async def grow_tree(self, growth: TreeGrowth) -> bool:
        """See ``TreeStorage.grow_tree``. Rows that have become leaves are then counted for the report."""
        has_grown = await self._writer.run(tree.grow_tree, growth)
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
                await self._writer.run(tallies.keep_block, block)

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
        await self._writer.run(tree.thin_checkpoints, sizes)

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

    async def purges_by_id(self, query: PurgesByIdQuery) -> Sequence[PurgeRecord]:
        """See ``WatchStorage.purges_by_id``."""
        return await self._pager.run(watching.purges_by_id, query)

    async def clock(self) -> ClockReading:
        """See ``Storage.clock``."""
        return await self._pager.run(pages.clock_reading, self._clock)

    async def raise_mark(self, at: datetime) -> None:
        """See ``Storage.raise_mark``."""
        await self._writer.run(pages.raise_mark, at)

    async def secret(self, name: str) -> bytes:
        """See ``Storage.secret``."""
        return await self._writer.run(pages.secret, name, secrets.token_bytes(32))

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """See ``Storage.record_usages``."""
        await self._writer.run(pages.record_usages, uses)

    async def credential_uses(self) -> Mapping[CredentialName, CredentialUse]:
        """See ``Storage.credential_uses``."""
        return await self._pager.run(pages.credential_uses)

    async def migrate(self) -> MigrationStatus:
        """See ``Storage.migrate``. It also truncates a write-ahead log that a killed process has left."""
        status = await self._writer.run(schema.migrate)
        self._empty_log_soon()
        return status

    def describe(self) -> Mapping[str, Any]:
        """See ``Storage.describe``."""
        return {
            "product": "SQLite",
            "durable": True,
            "version": sqlite3.sqlite_version,
            "file": str(self._path),
            "schema_version": schema.VERSION,
            "journal_mode": "wal",
            "synchronous": "full",
            "secure_delete": True,
            "purge_reaches_with_scrub": ["the write-ahead log, for some seconds or until the next scrub"],
            "purge_does_not_reach": [
                "backups and copies of the file",
                "copies kept by clients",
                "the blocks of the disk",
            ],
        }

    async def close(self) -> None:
        """See ``Storage.close``. Closing the last connection also truncates the write-ahead log."""
        for task in (self._truncating, self._checkpointing):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for connection in (self._keeper, self._pager, self._reader, self._writer):
            await connection.close()


def _hold(_: sqlite3.Connection, holding: Callable[[], object], release: threading.Event) -> None:
    """Block the connection's thread until ``release``. ``holding`` is called once it is blocked."""
    holding()
    release.wait(HOLD_SECONDS)


def _create_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StorageUnavailable(f"cannot open {path}: {error.strerror}") from error
    except ValueError as error:
        raise StorageUnavailable("expected a path without NUL") from error


def _set_up(connection: sqlite3.Connection, read_only: bool) -> None:
    """Set the pragmas for durability and purging, and read them back, because builds and file systems may ignore them."""
    for name in _PRAGMAS:
        _insist(connection, QUERIES[name])
    (mode,) = connection.execute(QUERIES["pragma_journal_mode"]).fetchone()
    (synchronous,) = connection.execute(QUERIES["read_synchronous"]).fetchone()
    (secure_delete,) = connection.execute(QUERIES["read_secure_delete"]).fetchone()
    if mode != "wal" or synchronous < SYNCHRONOUS_FULL or secure_delete != 1:
        found = f"journal_mode={mode}, synchronous={synchronous}, secure_delete={secure_delete}"
        raise UnsafeStorage(f"SQLite must run with journal_mode=wal, synchronous=2, secure_delete=1, but has {found}")
    if read_only:
        connection.execute(QUERIES["pragma_query_only"])


@contextmanager
def _handing_over_often() -> Iterator[None]:
    """Let the committing thread get Python's lock back soon from the thread that prepares the next commit."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _insist(connection: sqlite3.Connection, pragma: str) -> None:
    """Run a pragma. Changing the journal mode ignores busy_timeout, so wait here for another process that does the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(pragma).fetchall()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _translated(error: sqlite3.Error) -> VaultError:
    """Return the vault's error for an error of SQLite. SQLite's own message stays in ``__cause__`` and out of responses."""
    name = getattr(error, "sqlite_errorname", "") or ""
    found: VaultError = StorageUnavailable()
    if name == "SQLITE_FULL":
        found = StorageFull()
    elif isinstance(
        error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
    ):
        found = AuditUnavailable()
    elif name == "SQLITE_NOTADB":
        found = StorageUnavailable("the file is not an SQLite database")
    found.driver_code = name or None
    return found
