"""The PostgreSQL storage: a few connections to one database, which others may use too."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from vsqlvault.errors import StorageFull, VaultError
from vsqlvault.interfaces.evidence import Evidence, EvidenceQuery
from vsqlvault.interfaces.purge_storage import ExpiredQuery, ScrubOutcome
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse
from vsqlvault.interfaces.storage import (
    ACCESS_LOG_FILTERS,
    PURGE_LOG_FILTERS,
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
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.transparency import Checkpoint, LogName, TileKey
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.full_disk import FullDisk
from vsqlvault_plugins.storage.postgres import (
    archiving,
    entry_counts,
    evidence,
    pages,
    purging,
    schema,
    scrub,
    tallies,
    tree,
    watching,
)
from vsqlvault_plugins.storage.postgres.batches import commit_batch, read_batch, retrieve
from vsqlvault_plugins.storage.postgres.connections import WAIT_SECONDS, Connection, Connections
from vsqlvault_plugins.storage.postgres.failures import is_worth_repeating, translated
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.server import PoolerMode, Server

P = ParamSpec("P")
Answer = TypeVar("Answer")
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


class PostgresStorage:
    """Entries, policies and logs in the schema ``vault`` of one database, whose clock is the only clock."""

    flights = 2

    def __init__(
        self,
        connections: Connections,
        server: Server,
        roles: Roles,
        tuning: PostgresTuning = DEFAULT_TUNING,
    ) -> None:
        self._tuning = tuning
        self._connections = connections
        self._server = server
        self._roles = roles
        self._durable: tuple[str, str] | None = None
        self._disk = FullDisk()

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
        server.fence.on_change = connections.drop_all
        async with connections.borrow(max(READ_SECONDS, server.connect_seconds)) as connection:
            await server.check_pooler(connection)
        return cls(connections, server, roles or Roles(), tuning)

    @property
    def incarnation(self) -> str:
        """See ``Storage.incarnation``."""
        return self._server.fence.incarnation

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """See ``Storage.read``."""
        return await self._run(READ_SECONDS, read_batch, reads)

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

    async def retrieve(self, retrieval: Retrieval) -> Snapshot | None:
        """See ``Storage.retrieve``."""
        try:
            return await self._commit_once(retrieve, retrieval)
        except VaultError as error:
            if error.__cause__ is None or not is_worth_repeating(error.__cause__):
                raise
        return None

    async def _commit_once(self, commit: Callable[[Connection, Item], Awaitable[Answer]], item: Item) -> Answer:
        sent = False
        try:
            async with self._connections.borrow(COMMIT_SECONDS) as connection:
                sent = True
                return await commit(connection, item)
        except Exception as error:
            raise translated(error, committing=sent) from error

    async def policy_snapshot(self) -> PolicySnapshot:
        """See ``Storage.policy_snapshot``."""
        return await self._run(READ_SECONDS, pages.policy_snapshot)

    async def revoked_keys(self) -> frozenset[str]:
        """See ``Storage.revoked_keys``."""
        return await self._run(READ_SECONDS, pages.revoked_keys)

    async def access_policy_versions(self, query: VersionQuery) -> Sequence[AccessPolicy]:
        """See ``Storage.access_policy_versions``."""
        return await self._run(READ_SECONDS, pages.access_policy_versions, query)

    async def retention_policy_versions(self, query: VersionQuery) -> Sequence[RetentionPolicy]:
        """See ``Storage.retention_policy_versions``."""
        return await self._run(READ_SECONDS, pages.retention_policy_versions, query)

    async def legal_hold_versions(self, query: VersionQuery) -> Sequence[LegalHold]:
        """See ``Storage.legal_hold_versions``."""
        return await self._run(READ_SECONDS, pages.legal_hold_versions, query)

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """See ``Storage.entries``."""
        return await self._run(PAGE_SECONDS, pages.entries_page, query)

    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """See ``PurgeStorage.expired``."""
        return await self._run(PAGE_SECONDS, purging.expired_page, query)

    async def expired_entries(self, query: ExpiredQuery) -> Sequence[Entry]:
        """See ``PurgeStorage.expired_entries``."""
        return await self._run(PAGE_SECONDS, purging.expired_entries, query)

    async def access_log(self, query: LogQuery) -> Sequence[LogRow[AccessRecord]]:
        """See ``Storage.access_log``."""
        pages.check_filters(query, ACCESS_LOG_FILTERS)
        return await self._run(PAGE_SECONDS, pages.access_log_page, query)

    async def purge_log(self, query: LogQuery) -> Sequence[LogRow[PurgeRecord]]:
        """See ``Storage.purge_log``."""
        pages.check_filters(query, PURGE_LOG_FILTERS)
        return await self._run(PAGE_SECONDS, pages.purge_log_page, query)

    async def entry_statistics(
        self, as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
    ) -> EntryStatistics:
        """See ``Storage.entry_statistics``."""
        return await self._run(PAGE_SECONDS, pages.entry_statistics, as_of, retention_limits, known_policies)

    async def evidence(self, query: EvidenceQuery) -> Evidence:
        """See ``Storage.evidence``."""
        return await self._run(PAGE_SECONDS, evidence.evidence, query)

    async def key_refs(self, query: KeyRefQuery) -> Sequence[KeyRefUse]:
        """See ``Storage.key_refs``."""
        return await self._run(PAGE_SECONDS, pages.key_refs_page, query)

    async def retention_limit_effect(self, change: RetentionLimitChange) -> RetentionLimitEffect:
        """See ``Storage.retention_limit_effect``."""
        return await self._run(PAGE_SECONDS, pages.retention_limit_effect, change)

    async def scrub(self, lock_seconds: float) -> ScrubOutcome | None:
        """See ``PurgeStorage.scrub``."""
        try:
            async with self._connections.borrow_beside(
                scrub.longest_seconds(lock_seconds, self._tuning.scrub)
            ) as connection:
                return await scrub.scrub(connection, lock_seconds, self._tuning.scrub)
        except Exception as error:
            raise translated(error, committing=False) from error

    async def scrubs(self, since: datetime, until: datetime, limit: int) -> Sequence[ScrubRecord]:
        """See ``PurgeStorage.scrubs``."""
        return await self._run(PAGE_SECONDS, purging.scrubs, since, until, limit)

    async def last_scrub(self) -> ScrubRecord | None:
        """See ``PurgeStorage.last_scrub``."""
        return await self._run(READ_SECONDS, purging.last_scrub)

    async def count_expired(self, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
        """See ``PurgeStorage.count_expired``."""
        return await self._run(PAGE_SECONDS, purging.count_expired, at, retention_limits)

    async def sweeps(self, since: datetime, until: datetime, limit: int) -> SweepRuns:
        """See ``PurgeStorage.sweeps``."""
        return await self._run(PAGE_SECONDS, purging.sweeps, since, until, limit)

    async def last_sweep(self) -> SweepRecord | None:
        """See ``PurgeStorage.last_sweep``."""
        return await self._run(READ_SECONDS, purging.last_sweep)

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """See ``Storage.acquire_lease``."""
        return await self._run(READ_SECONDS, pages.acquire_lease, name, holder, seconds)

    async def release_lease(self, name: str, holder: str) -> None:
        """See ``Storage.release_lease``."""
        await self._run(READ_SECONDS, pages.release_lease, name, holder)

    async def tree_size(self) -> int:
        """See ``TreeStorage.tree_size``."""
        return await self._run(READ_SECONDS, tree.tree_size)

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """See ``TreeStorage.unsequenced``. It releases its connection while it waits."""
        horizon = await self._run(READ_SECONDS, tree.horizon)
        deadline = time.monotonic() + self._tuning.settle_seconds
        left = horizon.committing
        while left:
            if time.monotonic() > deadline:
                return []
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)
            left &= await self._run(READ_SECONDS, tree.committing)
        return await self._run(PAGE_SECONDS, tree.unsequenced, horizon.positions, limit)

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
            if not await self._run(PAGE_SECONDS, entry_counts.fold_deltas, self._tuning.folding):
                break

    async def tiles(self, keys: Collection[TileKey]) -> Mapping[TileKey, bytes]:
        """See ``TreeStorage.tiles``."""
        return await self._run(PAGE_SECONDS, tree.tiles, keys)

    async def newest_checkpoint(self) -> Checkpoint | None:
        """See ``TreeStorage.newest_checkpoint``.

        A commit is visible before it is on a standby if it was configured not to wait, or the server has just restarted. A
        checkpoint that was not seen before is therefore returned after a commit of our own, which follows it in the log.
        """
        incarnation = self.incarnation
        newest = await self._run(READ_SECONDS, tree.newest_checkpoint)
        if newest is not None and (seen := (incarnation, newest.note)) != self._durable:
            await self._run(COMMIT_SECONDS, tree.barrier)
            self._durable = seen
        return newest

    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]:
        """See ``TreeStorage.checkpoints``."""
        return await self._run(PAGE_SECONDS, tree.checkpoints, after, limit)

    async def thin_checkpoints(self, sizes: Collection[int]) -> None:
        """See ``TreeStorage.thin_checkpoints``."""
        await self._run(PAGE_SECONDS, tree.thin_checkpoints, sizes)

    async def leaf_rows(self, first: int, count: int) -> Sequence[LeafRow]:
        """See ``TreeStorage.leaf_rows``."""
        return await self._run(PAGE_SECONDS, tree.leaf_rows, first, count)

    async def purge_index(self, purge_id: str) -> int | None:
        """See ``TreeStorage.purge_index``."""
        return await self._run(PAGE_SECONDS, tree.purge_index, purge_id)

    async def row_positions(self, log: LogName, after: int | None, until: int | None, limit: int) -> Sequence[int]:
        """See ``TreeStorage.row_positions``."""
        return await self._run(PAGE_SECONDS, tree.row_positions, log, after, until, limit)

    async def control_states(self) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_states``."""
        return await self._run(READ_SECONDS, watching.control_states)

    async def control_changes(self, since: datetime, until: datetime, limit: int) -> Sequence[ControlChange]:
        """See ``WatchStorage.control_changes``."""
        return await self._run(PAGE_SECONDS, watching.control_changes, since, until, limit)

    async def archives(self) -> Sequence[LogArchive]:
        """See ``ArchiveStorage.archives``."""
        return await self._run(READ_SECONDS, archiving.archives)

    async def drop_archived(self, log: LogName, first: int, limit: int) -> int | None:
        """See ``ArchiveStorage.drop_archived``."""
        return await self._run(PAGE_SECONDS, archiving.drop_archived, log, first, limit)

    async def reclaim(self) -> bool:
        """See ``ArchiveStorage.reclaim``. It vacuums the logs, on a connection of its own."""
        try:
            async with self._connections.borrow_beside(RECLAIM_SECONDS) as connection:
                return await archiving.reclaim(connection)
        except Exception as error:
            raise translated(error, committing=False) from error

    async def attestations(self, before: int | None, limit: int) -> Sequence[Attestation]:
        """See ``WatchStorage.attestations``."""
        return await self._run(PAGE_SECONDS, watching.attestations, before, limit)

    async def database_access(self) -> DatabaseAccess | None:
        """See ``WatchStorage.database_access``."""
        return await self._run(PAGE_SECONDS, watching.database_access)

    async def access_reviews(self, before: int | None, limit: int) -> Sequence[AccessReview]:
        """See ``WatchStorage.access_reviews``."""
        return await self._run(PAGE_SECONDS, watching.access_reviews, before, limit)

    async def newest_access_reviews(self, as_of: datetime) -> Sequence[AccessReview]:
        """See ``WatchStorage.newest_access_reviews``."""
        return await self._run(PAGE_SECONDS, watching.newest_access_reviews, as_of)

    async def purges_by_id(self, query: PurgesByIdQuery) -> Sequence[PurgeRecord]:
        """See ``WatchStorage.purges_by_id``."""
        return await self._run(PAGE_SECONDS, watching.purges_by_id, query)

    async def clock(self) -> ClockReading:
        """See ``Storage.clock``."""
        return await self._run(READ_SECONDS, pages.clock_reading)

    async def raise_mark(self, at: datetime) -> None:
        """See ``Storage.raise_mark``."""
        await self._run(READ_SECONDS, pages.raise_mark, at)

    async def secret(self, name: str) -> bytes:
        """See ``Storage.secret``."""
        return await self._run(READ_SECONDS, pages.secret, name, secrets.token_bytes(32))

    async def cursors(self) -> Mapping[str, int]:
        """See ``Storage.cursors``."""
        return await self._run(READ_SECONDS, pages.cursors)

    async def save_cursor(self, name: str, position: int) -> None:
        """See ``Storage.save_cursor``."""
        await self._run(READ_SECONDS, pages.save_cursor, name, position)

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """See ``Storage.record_usages``."""
        await self._run(READ_SECONDS, pages.record_usages, uses)

    async def credential_uses(self) -> Mapping[CredentialName, CredentialUse]:
        """See ``Storage.credential_uses``."""
        return await self._run(READ_SECONDS, pages.credential_uses)

    async def schema_status(self) -> MigrationStatus:
        """See ``Storage.schema_status``."""
        try:
            async with self._connections.borrow(MIGRATION_SECONDS) as connection:
                return await schema.status(connection)
        except Exception as error:
            raise self._server.explained(error) from error

    async def migrate(self) -> MigrationStatus:
        """See ``Storage.migrate``. It also grants the runtime role its privileges, if one is set."""
        try:
            async with self._connections.borrow(MIGRATION_SECONDS) as connection:
                status = await schema.migrate(connection, self._roles.owner, self._roles.runtime)
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
        function: Callable[Concatenate[Connection, P], Awaitable[Answer]],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> Answer:
        try:
            async with self._connections.borrow(seconds) as connection:
                return await function(connection, *arguments, **named)
        except Exception as error:
            raise translated(error, committing=False) from error
