"""The protocol of storages, which store entries, policies and logs.

A storage is called with batches, because a flush to disk costs the same for one write as for two hundred. The core
collects the requests that arrive during a flush (``vsqlvault.service.commit.queue``). A storage never waits for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from vsqlvault.errors import EntryHeld, SettingsInvalid, StorageFull
from vsqlvault.interfaces.archive_storage import ArchiveStorage
from vsqlvault.interfaces.backup import BackupContents
from vsqlvault.interfaces.evidence import Evidence, EvidenceQuery
from vsqlvault.interfaces.purge_storage import PurgeStorage
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse
from vsqlvault.interfaces.tree_storage import TreeStorage
from vsqlvault.interfaces.watch_storage import (
    WatchStorage,
)
from vsqlvault.interfaces.writes import SeenWrite, Write, WriteOutcome
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.hold import HoldIndex, LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.quick_dataclass import dataclass

Record = TypeVar("Record", AccessRecord, PurgeRecord)


@dataclass(frozen=True, slots=True)
class Read:
    """A request to read one entry. ``key`` None reads only the clock and the revision."""

    key: EntryKey | None = None
    with_value: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of one read.

    ``now`` is the storage's clock, the same for the whole batch, but never before ``mark``, the high-water mark (None
    if there is none yet). ``revision`` is the policy revision. ``value`` is None unless requested, and None for a
    shredded entry.
    """

    now: datetime
    revision: int
    entry: Entry | None
    value: bytes | None
    mark: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The storage's clock and the high-water mark, which no read goes behind. The mark is None if there is none yet."""

    clock: datetime
    mark: datetime | None


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """All rules: policies, API keys and legal holds. ``revision`` increases with each change of any of them.

    ``access_versions`` has the newest version of every access policy, including deleted ones, so that a reused name
    continues its version numbers. ``api_keys`` has the newest version of every key by its id, including expired and
    revoked ones. ``holds`` has that of every legal hold, including released ones.
    """

    revision: int
    access: Mapping[str, AccessPolicy]
    retention: Mapping[str, RetentionPolicy]
    access_versions: Mapping[str, int] = field(default_factory=dict)
    api_keys: Mapping[str, ApiKeyRecord] = field(default_factory=dict)
    holds: Mapping[str, LegalHold] = field(default_factory=dict)
    _in_force: HoldIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_in_force", HoldIndex(self.holds.values()))

    def require_free(self, entry: Entry, *, names_holds: bool) -> None:
        """Raise EntryHeld where a legal hold keeps the entry. ``names_holds``: the caller may learn which one."""
        if holds := self.holds_on(entry):
            raise EntryHeld([hold.reference for hold in holds], named=names_holds)

    def holds_on(self, entry: Entry) -> tuple[LegalHold, ...]:
        """Return the holds in force that keep the entry from being destroyed."""
        return self._in_force.on(entry)


class RulesUnreadable(Exception):
    """The cause of an Unavailable: rows of policies, legal holds or API keys cannot be decoded.

    ``readable`` has the others. ``rows`` are the tables and keys of those that cannot be decoded, such as
    ``("legal_holds", "case-17 v2")``.
    """

    def __init__(self, readable: PolicySnapshot, rows: Sequence[tuple[str, str]]) -> None:
        super().__init__("a stored row cannot be decoded")
        self.readable = readable
        self.rows = tuple(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryQuery:
    """A page of one purpose's entries, by external_id, after ``after``.

    ``state`` None is every state; without any other filter, no more rows are read than returned. ``created_before`` is
    the retention limit at ``now``: entries created at or before it are expired.
    """

    purpose: str
    now: datetime
    limit: int
    created_before: datetime | None = None
    after: str | None = None
    key_ref: str | None = None
    owner_app: str | None = None
    access_policy: str | None = None
    expires_before: datetime | None = None
    state: EntryState | None = EntryState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionQuery:
    """Versions of the rule ``name``, newest first: those below ``before``, if it is given, and at most ``limit``."""

    name: str
    limit: int
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A page of a log in commit order, newest first unless ``oldest_first``, after the position ``after``.

    Times do not order a log: a row's time is that of its decision, and the request that was decided first may be
    committed last. ``since`` is inclusive, ``until`` exclusive. ``equals`` maps column names of the log to required
    values.
    """

    limit: int
    since: datetime | None = None
    until: datetime | None = None
    after: int | None = None
    oldest_first: bool = False
    equals: Mapping[str, str | int] = field(default_factory=dict)


ACCESS_LOG_FILTERS: tuple[str, ...] = (
    "operation", "outcome", "purpose", "external_id", "app", "identity", "method", "credential_id", "client_address",
    "reason", "policy", "request_id", "status",
)  # fmt: skip
PURGE_LOG_FILTERS: tuple[str, ...] = (
    "purpose", "external_id", "method", "reason", "owner_app", "app", "key_ref", "request_id", "purge_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogRow(Generic[Record]):
    """One row of a log with its position, a number that increases in commit order and is used only by cursors.

    ``scrubbed_at``, of a row of the purge log, is when a scrub removed the bytes from the data files, or None if none
    has yet.
    """

    position: int
    record: Record
    scrubbed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionLimitChange:
    """A change of the maximum of one purpose, as of ``now``: from ``before`` to ``after``.

    The two differ.
    """

    purpose: str
    now: datetime
    before: timedelta
    after: timedelta


@dataclass(frozen=True, slots=True)
class RetentionLimitEffect:
    """The effect of a change of the maximum on entries that are not purged.

    ``expired_at_once`` counts active entries that would be expired under the new maximum; ``oldest_created_at`` is the
    creation time of the oldest. ``revived`` counts entries expired under the old maximum but not under the new one.
    ``changed`` counts entries that are active before or after, and expire at another time.
    """

    expired_at_once: int = 0
    revived: int = 0
    changed: int = 0
    oldest_created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRefQuery:
    """A page of the key_refs of one purpose.

    ``created_before`` is the retention limit at ``now``. An entry created after ``now`` does not count. After ``after``
    come the key_refs greater than it, byte by byte. Without it, the page starts with the entries without a key_ref.
    ``key_ref`` selects only that one.
    """

    purpose: str
    now: datetime
    created_before: datetime
    limit: int
    after: str | None = None
    key_ref: str | None = None


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """The schema's version before and after a migration to the version that this program uses.

    ``steps`` are the names of what the migration runs. They leave the version as it is if only functions of the database have
    changed. ``is_shared``: other servers may use the same database, and an older one could not start again after the migration.
    """

    before: int
    after: int
    steps: tuple[str, ...] = ()
    is_shared: bool = False


class Storage(TreeStorage, PurgeStorage, WatchStorage, ArchiveStorage, Protocol):
    """Stores everything. All methods may run concurrently. All but ``read`` and ``commit`` may be slow.

    Every method raises StorageUnavailable if the storage cannot be reached, StorageFull if it has no space, and
    OutcomeUnknown if the result of a commit cannot be determined. Driver exceptions must not propagate.

    A batch has ``storage.timeout_seconds``, and so has ``policy_snapshot``. Another call has ``storage.slow_timeout_seconds``,
    but for ``migrate`` and ``scrub``. A late call is cancelled and not waited for.
    """

    flights: int
    """The maximum number of concurrent batches of each kind: reads, commits, and commits without a read."""

    @property
    def incarnation(self) -> str:
        """Identifies one run of one server on one history of the data. A storage without fail-over returns a constant.

        It changes before any method returns data of another incarnation: after a fail-over, a server restart or a restore.
        Acknowledged commits may then be missing, so the vault compares the log with the checkpoints that it remembers.
        """
        ...

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """Return a snapshot for each read, in order, all of one consistent state.

        Includes everything that was committed before the call.
        """
        ...

    async def commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome | StorageFull]:
        """Commit the writes of a batch, and return an outcome for each write, in order.

        When this returns, every Committed write is durable. A write with an unmet expectation is omitted and its
        outcome is Conflict; the other writes are not affected. A storage whose disk is full may omit the writes that
        store an entry. Their outcome is a StorageFull, and reading and purging continue. If this raises, nothing was
        committed (but see OutcomeUnknown).
        """
        ...

    async def commit_seen(self, writes: Sequence[SeenWrite]) -> Sequence[Snapshot | None]:
        """Commit writes about entries that were read before, and return a snapshot of each, in order, in one round trip.

        The snapshot has the entry as it was read, and its value if ``with_value``. None: nothing of this write was
        committed. The entry, its counter or its expiry differs from ``entry``, the value differs from its hash, an
        expectation is not met, the storage's clock has reached ``until``, or there is no room. A storage that needs as long
        for it as for ``read`` and ``commit`` always returns None. The core then calls these two.
        """
        ...

    async def policy_snapshot(self) -> PolicySnapshot:
        """Return all policies in force, all API keys and every legal hold, of one consistent state.

        Raises:
            Unavailable: a row cannot be decoded. Its cause should be a RulesUnreadable. Otherwise ``vsql-vault verify`` does
            not compare the other rows.
        """
        ...

    async def revoked_keys(self) -> frozenset[str]:
        """Return the ids of the API keys that granted ``revoke-api-key`` rows of the access log name in ``detail``.

        Read once for each change of policies, holds or keys. It must not scan the log.
        """
        ...

    async def access_policy_versions(self, query: VersionQuery) -> Sequence[AccessPolicy]:
        """Return a page of versions of an access policy, including deletions; empty if it never existed."""
        ...

    async def retention_policy_versions(self, query: VersionQuery) -> Sequence[RetentionPolicy]:
        """Return a page of versions of the retention policy of the purpose ``query.name``; empty if it never existed."""
        ...

    async def legal_hold_versions(self, query: VersionQuery) -> Sequence[LegalHold]:
        """Return a page of versions of a legal hold, including releases; empty if it never existed."""
        ...

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """Return a page of entries without their values. A page shorter than ``limit`` is the last one."""
        ...

    async def access_log(self, query: LogQuery) -> Sequence[LogRow[AccessRecord]]:
        """Return a page of the access log. A page shorter than ``limit`` is the last one."""
        ...

    async def purge_log(self, query: LogQuery) -> Sequence[LogRow[PurgeRecord]]:
        """Return a page of the purge log. A page shorter than ``limit`` is the last one."""
        ...

    async def entry_statistics(
        self, as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
    ) -> EntryStatistics:
        """Count the entries of the vault at ``as_of``, without reading values.

        ``retention_limits`` maps each purpose with a retention policy to a time. Entries created at or before it are
        expired by the maximum.
        """
        ...

    async def evidence(self, query: EvidenceQuery) -> Evidence:
        """Count entries and logs for the compliance report, of one consistent state, without reading values."""
        ...

    async def key_refs(self, query: KeyRefQuery) -> Sequence[KeyRefUse]:
        """Return a page of the entries of each key_ref, by key_ref, without reading values.

        A page shorter than ``limit`` is the last one. An entry whose value was overwritten has no key.
        """
        ...

    async def retention_limit_effect(self, change: RetentionLimitChange) -> RetentionLimitEffect:
        """Count the effects of a change of a maximum, without reading values and without changing anything."""
        ...

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew the lease ``name`` for ``holder``. Return False if another holder's lease has not expired.

        Expired leases may be removed at any time.
        """
        ...

    async def release_lease(self, name: str, holder: str) -> None:
        """Release the lease if ``holder`` has it."""
        ...

    async def clock(self) -> ClockReading:
        """Read the clock. Leases use it. Reads never go behind the mark."""
        ...

    async def raise_mark(self, at: datetime) -> None:
        """Advance the high-water mark to ``at``, unless it is later already. When this returns, the mark is durable."""
        ...

    async def secret(self, name: str) -> bytes:
        """Return 32 random bytes, the same for every process on this storage, created at the first call. Not a data key."""
        ...

    async def cursors(self) -> Mapping[str, int]:
        """Return the position of every cursor that was saved, by name."""
        ...

    async def save_cursor(self, name: str, position: int) -> None:
        """Save the position of a cursor, unless a greater one is saved. When this returns, it is durable."""
        ...

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """Record when credentials were used. The earliest and the latest time of each are kept.

        Usage is not a rule and has no audit row: the revision stays unchanged.
        """
        ...

    async def credential_uses(self) -> Mapping[CredentialName, CredentialUse]:
        """Return the recorded usage of every credential."""
        ...

    async def schema_status(self) -> MigrationStatus:
        """Return what ``migrate`` would do, and change nothing. ``before`` is 0 for an empty database.

        Raises:
            SettingsInvalid: the database belongs to another program. SchemaTooOld: it is too old to be updated.
        """
        ...

    async def migrate(self) -> MigrationStatus:
        """Update the schema to this program's version.

        If two processes do so at once, one waits and finds nothing to do.

        Raises:
            SchemaTooNew: the schema belongs to a newer program. SchemaTooOld: it is too old to be updated.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return information for operators (product, version, durability), without secrets.

        ``durable`` is whether acknowledged commits survive a power failure, as far as the storage knows.
        ``full`` is whether the disk has no room, so that nothing is stored.
        ``durability_warning``, if set, describes how else they may be lost, for example in a fail-over.
        ``purge_does_not_reach`` lists where the bytes of a purged value may still be, ``purge_reaches_with_scrub``
        where they may be until the next scrub. Receipts repeat both. ``drops_archived_rows`` is whether the storage can drop
        rows of the logs that are archived.
        """
        ...

    async def close(self) -> None:
        """Finish what is in progress and release all resources."""
        ...


class StorageFactory(Protocol):
    """Opens storages of one kind."""

    name: str
    """The name of the storage, unique among the loaded plugins."""

    schemes: tuple[str, ...]
    """The URL schemes of the storage, such as ``sqlite``; each unique among the loaded plugins."""

    async def open(self, url: str) -> Storage:
        """Connect, and check that the storage is safe to use. The schema may not exist yet.

        Raises:
            StorageUnavailable: with one sentence for the operator, without a password.
            UnsafeStorage: its configuration could lose acknowledged commits.
        """
        ...

    async def would_create(self, url: str) -> bool:  # noqa: ARG002 - for those that override it
        """Return whether ``open`` would create the database that the URL names. By default, it creates none."""
        return False

    async def backup(self, url: str, directory: Path) -> BackupContents:  # noqa: ARG002 - for those that override it
        """Write one consistent state of the storage to a new file in ``directory``, verify it, and describe it.

        The storage may be in use. By default, a storage has no backup of its own.

        Raises:
            SettingsInvalid: there is no backup, or a program for it is missing.
            StorageUnavailable: the storage cannot be read, or the copy is damaged. StorageFull.
        """
        raise SettingsInvalid(f"backup: expected a storage that can be backed up by this command, found {self.name}")

    async def create_database(self, url: str, admin: str) -> bool:  # noqa: ARG002 - for those that override it
        """Create the role and the database that the URL names, as the role ``admin``. Return False if both exist.

        By default, a storage creates neither.

        Raises:
            SettingsInvalid: the storage cannot do it, or not for this URL.
            StorageUnavailable: the server does not answer, or refuses.
        """
        raise SettingsInvalid(f"--create-database-as: expected a storage with roles and databases, found {self.name}")
