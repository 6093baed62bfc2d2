"""The PostgreSQL storage: a few connections to one database, which others may use too."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from vsqlvault.errors import SettingsInvalid, StorageFull, StorageUnavailable, VaultError
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
from vsqlvault.model.transparency import Checkpoint, LogName, TileKey
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.full_disk import FullDisk
from vsqlvault_plugins.storage.postgres import (
    archiving,
    entry_counts,
    purging,
    schema,
    scrub,
    small_tables,
    tallies,
    tree,
    watching,
)
from vsqlvault_plugins.storage.postgres.answers import answer, answer_both
from vsqlvault_plugins.storage.postgres.batches import commit_batch, commit_seen, read_batch
from vsqlvault_plugins.storage.postgres.connections import WAIT_SECONDS, Connection, Connections
from vsqlvault_plugins.storage.postgres.failures import is_worth_repeating, translated
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.server import PoolerMode, Server
from vsqlvault_plugins.storage.postgres.sharding import Shards
from vsqlvault_plugins.storage.sql.counted_entries import EntryCounts
from vsqlvault_plugins.storage.sql.entry_counts import count_entries
from vsqlvault_plugins.storage.sql.evidence import KeyUses
from vsqlvault_plugins.storage.sql.reading import Answer, Other, Reading
from vsqlvault_plugins.storage.sql.reads import SqlReads
from vsqlvault_plugins.storage.sql.rows import POSTGRESQL_ROWS

P = ParamSpec("P")
Result = TypeVar("Result")
Item = TypeVar("Item")
READ_SECONDS = 2.0
COMMIT_SECONDS = 5.0
PAGE_SECONDS = 30.0
MIGRATION_SECONDS = 600.0
RECLAIM_SECONDS = 3600.0
MAX_TRIES = 8
SETTLE_PAUSE_SECONDS = 0.01
MAX_BLOCKS_AT_ONCE = 16
MAX_FOLDS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class PostgresTuning:
    """Waits and limits that are not settings. ``settle_seconds``: how long a read of leaves waits for open commits."""

    settle_seconds: float = 1.0
    scrub: scrub.ScrubPatience = scrub.DEFAULT_PATIENCE
    folding: entry_counts.Folding = entry_counts.DEFAULT_FOLDING


DEFAULT_TUNING = PostgresTuning()


class PostgresStorage(SqlReads):
    """Entries, policies and logs in the schema ``vault`` of one database, whose clock is the only clock."""

    flights = 2
    rows = POSTGRESQL_ROWS
    incarnation = ""
    """See ``Storage.incarnation``. It is an attribute, because each request reads it."""

    def __init__(
        self,
        connections: Connections,
        server: Server,
        roles: Roles,
        tuning: PostgresTuning = DEFAULT_TUNING,
        shards: int = 1,
    ) -> None:
        self._tuning = tuning
        self._connections = connections
        self._server = server
        self._roles = roles
        self._shards = Shards(shards)
        self._durable: tuple[str, str] | None = None
        self._disk = FullDisk()
        server.fence.on_change = self._follow_server
        self.incarnation = server.fence.incarnation

    def _follow_server(self) -> None:
        self.incarnation = self._server.fence.incarnation
        self._connections.drop_all()

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        pool_size: int = 4,
        roles: Roles | None = None,
        pooler_mode: PoolerMode = "session",
        prepared_statements: bool = True,
        tuning: PostgresTuning = DEFAULT_TUNING,
        shards: int = 1,
    ) -> PostgresStorage:
        """Connect, and check the server's settings. The schema is not changed.

        Raises:
            StorageUnavailable: with one sentence for the operator. UnsafeStorage: it could lose acknowledged commits.
            SettingsInvalid: the URL is invalid, or uses something unsupported.
        """
        server = Server(url, pooler_mode=pooler_mode, prepared_statements=prepared_statements)
        connections = Connections(
            server.connect,
            pool_size,
            wait_seconds=max(WAIT_SECONDS, server.connect_seconds),
            on_late=server.forget_host,
            is_replicated=server.is_replicated,
        )
        async with connections.borrow(max(READ_SECONDS, server.connect_seconds)) as connection:
            await server.check_pooler(connection)
        return cls(connections, server, roles or Roles(), tuning, shards)

    @property
    def has_citus(self) -> bool:
        """Whether the database has the extension ``citus``."""
        return self._server.has_citus

    def handed_to(self, kind: type[PostgresStorage]) -> PostgresStorage:
        """Return a storage of another class that takes over the connections of this one."""
        return kind(self._connections, self._server, self._roles, self._tuning, self._shards.count)

    async def _answer(self, reading: Reading[Answer], *, is_short: bool = False, consistently: bool = False) -> Answer:
        return await self._run(READ_SECONDS if is_short else PAGE_SECONDS, answer, reading, consistently)

    async def _answer_both(self, first: Reading[Answer], second: Reading[Other]) -> tuple[Answer, Other]:
        try:
            return await answer_both(self._connections, PAGE_SECONDS, first, second)
        except Exception as error:
            raise translated(error, committing=False) from error

    async def _settled(self, log: LogName) -> int:
        return await self._run(PAGE_SECONDS, small_tables.settled_position, f"{log.value}_log")

    def _count_entries(self, query: EvidenceQuery) -> Reading[EntryCounts]:
        return count_entries(query, has_deltas=True)

    def _key_uses(self, counts: EntryCounts, as_of: datetime) -> Reading[KeyUses]:
        return entry_counts.key_uses(counts, as_of)

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """See ``Storage.read``."""
        return await self._run(READ_SECONDS, read_batch, reads, self._shards)

    async def commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome | StorageFull]:
        """See ``Storage.commit``."""
        return await self._disk.commit(writes, self._commit)

    async def _commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        for _ in range(MAX_TRIES - 1):
            try:
                return await self._commit_once(commit_batch, writes)
            except VaultError as error:
                if error.__cause__ is None or not is_worth_repeating(error.__cause__):
                    raise
        return await self._commit_once(commit_batch, writes)

    async def commit_seen(self, writes: Sequence[SeenWrite]) -> Sequence[Snapshot | None]:
        """See ``Storage.commit_seen``."""
        if not self._disk.is_full:
            try:
                return await self._commit_once(commit_seen, writes)
            except StorageFull:  # commit determines what there is room for
                pass
            except VaultError as error:
                if error.__cause__ is None or not is_worth_repeating(error.__cause__):
                    raise
        return [None] * len(writes)

    async def _commit_once(self, commit: Callable[[Connection, Item, Shards], Awaitable[Result]], item: Item) -> Result:
        sent = False
        try:
            connection = await self._connections.lend()
            sent = True
            return await self._connections.use(connection, COMMIT_SECONDS, commit, item, self._shards)
        except Exception as error:
            raise translated(error, committing=sent) from error

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """See ``PurgeStorage.expired``."""
        return await self._run(PAGE_SECONDS, purging.expired_page, query)

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:
        """See ``PurgeStorage.scrub``."""
        try:
            async with self._connections.borrow_beside(
                scrub.longest_seconds(lock_seconds, self._tuning.scrub)
            ) as connection:
                return await scrub.scrub(connection, lock_seconds, self._tuning.scrub)
        except Exception as error:
            raise translated(error, committing=False) from error

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """See ``Storage.acquire_lease``."""
        return await self._run(READ_SECONDS, small_tables.acquire_lease, name, holder, seconds)

    async def release_lease(self, name: str, holder: str) -> None:
        """See ``Storage.release_lease``."""
        await self._run(READ_SECONDS, small_tables.release_lease, name, holder)

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """See ``TreeStorage.unsequenced``. It releases its connection while it waits."""
        horizon = await self._run(READ_SECONDS, tree.horizon)
        if not await self._is_settled(horizon.committing):
            return []
        return await self._run(PAGE_SECONDS, tree.unsequenced, horizon.positions, limit)

    async def _is_settled(self, committing: frozenset[str]) -> bool:
        """Wait for these transactions. Return False if one has not ended after ``settle_seconds``."""
        deadline = time.monotonic() + self._tuning.settle_seconds
        left = committing
        while left:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)
            left &= await self._run(READ_SECONDS, tree.committing)
        return True

    async def grow_tree(self, growth: TreeGrowth) -> bool:
        """See ``TreeStorage.grow_tree``. Rows that have become leaves are then counted for the report."""
        has_grown = await self._run(PAGE_SECONDS, self._grow_tree, growth)
        if has_grown:
            with suppress(VaultError):  # the next growth counts them
                await self._tally()
        return has_grown

    async def _grow_tree(self, connection: Connection, growth: TreeGrowth) -> bool:
        """Grow on a connection, which leads to the incarnation of now: had that changed, it would have been cut off."""
        if growth.incarnation not in {None, self.incarnation}:
            return False
        return await tree.grow_tree(connection, growth)

    async def _tally(self) -> None:
        """Count the complete blocks of the logs, and merge the deltas of entries, a limited amount of both."""
        for log in LogName:
            for _ in range(MAX_BLOCKS_AT_ONCE):
                if not await self._run(PAGE_SECONDS, tallies.tally_next_block, log):
                    break
        for _ in range(MAX_FOLDS_AT_ONCE):
            if not await self._run(PAGE_SECONDS, self._fold):
                break

    async def _fold(self, connection: Connection) -> bool:
        return await entry_counts.fold_deltas(connection, self._tuning.folding)

    async def tiles(self, keys: Collection[TileKey]) -> Mapping[TileKey, bytes]:
        """See ``TreeStorage.tiles``."""
        return await self._run(PAGE_SECONDS, tree.tiles, keys)

    async def newest_checkpoint(self) -> Checkpoint | None:
        """See ``TreeStorage.newest_checkpoint``.

        A commit is visible before it is on a standby if it was configured not to wait, or the server has just restarted. A
        checkpoint that was not seen before is therefore returned after a commit of our own, which follows it in the log.
        """
        incarnation = self.incarnation
        newest = await super().newest_checkpoint()
        if newest is not None and (seen := (incarnation, newest.note)) != self._durable:
            await self._run(COMMIT_SECONDS, tree.barrier)
            self._durable = seen
        return newest

    async def thin_checkpoints(self, sizes: Collection[int]) -> None:
        """See ``TreeStorage.thin_checkpoints``."""
        await self._run(PAGE_SECONDS, tree.thin_checkpoints, sizes)

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:
        """See ``ArchiveStorage.drop_archived``."""
        try:
            return await self._run(PAGE_SECONDS, archiving.drop_archived, log, first, limit)
        except StorageUnavailable as error:
            if error.driver_code == archiving.NOT_PERMITTED:
                raise SettingsInvalid(archiving.EXPECTED_OWNER) from error
            raise

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. It vacuums the logs, on a connection of its own."""
        try:
            async with self._connections.borrow_beside(RECLAIM_SECONDS) as connection:
                return await archiving.reclaim(connection)
        except Exception as error:
            raise translated(error, committing=False) from error

    async def database_access(self) -> DatabaseAccess | None:
        """See ``WatchStorage.database_access``."""
        return await self._run(PAGE_SECONDS, watching.database_access)

    async def clock(self) -> ClockReading:
        """See ``Storage.clock``."""
        return await self._run(READ_SECONDS, small_tables.clock_reading)

    async def raise_mark(self, at: datetime) -> None:
        """See ``Storage.raise_mark``."""
        await self._run(READ_SECONDS, small_tables.raise_mark, at)

    async def secret(self, name: str) -> bytes:
        """See ``Storage.secret``."""
        return await self._run(READ_SECONDS, small_tables.secret, name, secrets.token_bytes(32))

    async def save_cursor(self, name: str, position: int) -> None:
        """See ``Storage.save_cursor``."""
        await self._run(READ_SECONDS, small_tables.save_cursor, name, position)

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """See ``Storage.record_usages``."""
        await self._run(READ_SECONDS, small_tables.record_usages, uses)

    async def schema_status(self) -> MigrationStatus:
        """See ``Storage.schema_status``."""
        try:
            async with self._connections.borrow(MIGRATION_SECONDS) as connection:
                return await schema.status(connection, self._shards.count)
        except Exception as error:
            raise self._server.explained(error) from error

    async def migrate(self) -> MigrationStatus:
        """See ``Storage.migrate``. It also grants the runtime role its privileges, if one is set."""
        try:
            async with self._connections.borrow(MIGRATION_SECONDS) as connection:
                status = await schema.migrate(connection, self._roles, self._shards.count)
                await self._server.look_at_owner(connection)
        except Exception as error:
            raise self._server.explained(error) from error
        return status

    def describe(self) -> Mapping[str, Any]:
        """See ``Storage.describe``."""
        return {
            **self._server.describe(),
            "full": self._disk.is_full,
            "drops_archived_rows": True,
            "schema_version": schema.VERSION,
            "shards": self._shards.count,
            "purge_reaches_with_scrub": ["the database's data files, until the next scrub"],
            "purge_does_not_reach": [
                "the write-ahead log until its segments are recycled, and its archive",
                "replicas until they have replayed the scrub",
                "backups",
                "copies kept by clients",
                "the blocks of the disk",
            ],
        }

    async def close(self) -> None:
        """See ``Storage.close``."""
        await self._connections.close()

    async def _run(
        self,
        seconds: float,
        function: Callable[Concatenate[Connection, P], Awaitable[Result]],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> Result:
        try:
            connection = await self._connections.lend()
            return await self._connections.use(connection, seconds, function, *arguments, **named)
        except Exception as error:
            raise translated(error, committing=False) from error

    run = _run
    """Runs a function on a connection, also for subclasses."""
