"""Keeping entries, policies and logs. The one interface that everything else stands on.

A storage is asked in batches, because a flush to disk costs the same for one write as for two hundred. The core gathers
what arrives while the last flush runs (``vsqlvault.service.commit.queue``); a storage never waits for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from vsqlvault.interfaces.evidence import Evidence, EvidenceQuery
from vsqlvault.interfaces.purge_storage import PurgeStorage
from vsqlvault.interfaces.tree_storage import TreeStorage
from vsqlvault.interfaces.watch_storage import (
    WatchStorage,
)
from vsqlvault.interfaces.writes import Write, WriteOutcome
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.hold import HoldIndex, LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord

Record = TypeVar("Record", AccessRecord, PurgeRecord)


@dataclass(frozen=True, slots=True)
class Read:
    """A wish to read one entry; ``key`` None asks only for the clock and the revision."""

    key: EntryKey | None = None
    with_value: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read found.

    ``now`` is the storage's clock, one instant for the whole batch, but never before ``mark``, the high-water mark (None:
    there is none yet). ``revision`` is the rulebook's. ``value`` is None unless asked for, and where the entry was shredded.
    """

    now: datetime
    revision: int
    entry: Entry | None
    value: bytes | None
    mark: datetime | None = None


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What the storage's clock says, and the high-water mark, which no read is told a time before; None: there is none yet."""

    clock: datetime
    mark: datetime | None


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """All rules: policies, API keys and legal holds. ``revision`` grows by at least one with each change to any of them.

    ``access_versions`` gives the newest version of every access policy there ever was, the dropped ones among them, so that
    a name taken again goes on counting. ``api_keys`` has the newest version of every key, by its id, expired and revoked
    ones among them; ``holds`` that of every legal hold, released ones among them.
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

    def holds_on(self, entry: Entry) -> tuple[LegalHold, ...]:
        """Return the holds in force that keep the entry from being destroyed."""
        return self._in_force.on(entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryQuery:
    """A page of one purpose's entries, by external_id, after ``after``.

    ``state`` None is every state: then, and with no other filter, no more rows are looked at than are returned.
    ``created_before`` is the retention limit at ``now``: whatever was created at or before it is expired.
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
    """Versions of the rule called ``name``, newest first: those below ``before``, where it is given, and at most ``limit``."""

    name: str
    limit: int
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A page of a log in the order of its commits, newest first unless ``oldest_first``, after the position ``after``.

    Times do not order a log: a row's time is that of its decision, and of two requests the one decided first may be
    committed last. ``since`` is inclusive, ``until`` exclusive. ``equals`` maps column names of the log to the value asked for.
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
    """One row of a log, and where it stands: a number that grows with the order of commits, and that only a cursor uses.

    ``scrubbed_at``, of a row of the purge log: when a scrub had driven the bytes out of the data files; None: none has yet.
    """

    position: int
    record: Record
    scrubbed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionLimitChange:
    """Another maximum for one purpose, as of ``now``: entries lived for ``before`` at most, and are to live for ``after``.

    The two differ.
    """

    purpose: str
    now: datetime
    before: timedelta
    after: timedelta


@dataclass(frozen=True, slots=True)
class RetentionLimitEffect:
    """What a change of the maximum does to entries that are not purged.

    ``expired_at_once`` counts those that live and would have expired by the new maximum; ``oldest_created_at`` is the creation
    of the oldest of them. ``revived`` counts those that the old maximum has expired and the new one has not. ``changed`` counts
    those that live before or after, and expire at another time.
    """

    expired_at_once: int = 0
    revived: int = 0
    changed: int = 0
    oldest_created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PurposeStatistics:
    """What one purpose holds at an instant: counts of entries."""

    active: int
    expired_pending_purge: int
    expiring_next_30_days: int
    key_refs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class EntryStatistics:
    """What the vault holds at an instant. ``purged_last_30_days`` counts entries, not replaced versions."""

    by_purpose: Mapping[str, PurposeStatistics]
    purged_last_30_days: int
    purges_without_proof: int
    entries_by_undefined_policy: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRefQuery:
    """A page of the key_refs of one purpose, as ``KeyRefUse`` says.

    ``created_before`` is the retention limit at ``now``; an entry created after ``now`` does not count. After ``after``
    come the key_refs greater than it, byte by byte; without it first the entries that have none. ``key_ref`` asks for that
    one alone.
    """

    purpose: str
    now: datetime
    created_before: datetime
    limit: int
    after: str | None = None
    key_ref: str | None = None


@dataclass(frozen=True, slots=True)
class KeyRefUse:
    """What still lies under one key_ref (None: under none): counts of entries, and when their values were stored.

    The values are those in place: ``first_used_at`` and ``last_used_at`` are the oldest and the newest ``updated_at``.
    """

    key_ref: str | None
    active: int
    expired_pending_purge: int
    first_used_at: datetime
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """The schema's version before and after, and the version this program works with."""

    before: int
    after: int


class Storage(TreeStorage, PurgeStorage, WatchStorage, Protocol):
    """Where everything lies. All methods may run at once; all but ``read`` and ``commit`` may be slow.

    Every method raises StorageUnavailable when the storage cannot be reached, StorageFull when it has no room, and
    OutcomeUnknown when a commit was under way and nobody can say whether it happened. Nothing of a driver gets out.
    """

    flights: int
    """How many batches of reads, and as many of commits, may be under way at once."""

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """Return a snapshot for each read, in order, all of one consistent state.

        Sees everything that was committed before it was called.
        """
        ...

    async def commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        """Commit what holds together, and return an outcome for each write, in order.

        When this returns, every write answered Committed is durable. A write whose expectation is broken is left out and
        answered Conflict; the others are not hurt by it. When it raises, nothing was committed (but see OutcomeUnknown).
        """
        ...

    async def policy_snapshot(self) -> PolicySnapshot:
        """Return all policies in force, all API keys and every legal hold, of one consistent state."""
        ...

    async def access_policy_versions(self, query: VersionQuery) -> Sequence[AccessPolicy]:
        """Return a page of what an access policy was, dropped versions too; empty where there never was one."""
        ...

    async def retention_policy_versions(self, query: VersionQuery) -> Sequence[RetentionPolicy]:
        """Return a page of what the retention policy of the purpose ``query.name`` was; empty where there never was one."""
        ...

    async def legal_hold_versions(self, query: VersionQuery) -> Sequence[LegalHold]:
        """Return a page of what a legal hold was, released versions too; empty where there never was one."""
        ...

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """Return a page of entries without their values. Shorter than ``limit`` means there are no more."""
        ...

    async def access_log(self, query: LogQuery) -> Sequence[LogRow[AccessRecord]]:
        """Return a page of the access log. Shorter than ``limit`` means there are no more."""
        ...

    async def purge_log(self, query: LogQuery) -> Sequence[LogRow[PurgeRecord]]:
        """Return a page of the purge log. Shorter than ``limit`` means there are no more."""
        ...

    async def entry_statistics(
        self, as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
    ) -> EntryStatistics:
        """Count what the vault holds at ``as_of``, without reading a value.

        ``retention_limits`` maps each purpose that has a retention policy to the instant at or before which an entry
        must have been
        created to be expired by the maximum.
        """
        ...

    async def evidence(self, query: EvidenceQuery) -> Evidence:
        """Count what the compliance report tells of entries and logs, of one consistent state, without reading a value."""
        ...

    async def key_refs(self, query: KeyRefQuery) -> Sequence[KeyRefUse]:
        """Return a page of what still lies under each key_ref, by key_ref, without reading a value.

        Shorter than ``limit`` means there are no more. An entry whose value was overwritten is under no key.
        """
        ...

    async def retention_limit_effect(self, change: RetentionLimitChange) -> RetentionLimitEffect:
        """Count what a change of a maximum would do, without reading a value, and without doing it."""
        ...

    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew the lease ``name`` for ``holder``; False where another holder's has not run out."""
        ...

    async def release_lease(self, name: str, holder: str) -> None:
        """Give the lease back, if ``holder`` has it."""
        ...

    async def clock(self) -> ClockReading:
        """Read the clock. Leases run by it; reads and all that rests on them never go behind the mark."""
        ...

    async def raise_mark(self, at: datetime) -> None:
        """Make ``at`` the high-water mark, unless that is later already. When this returns, it is durable."""
        ...

    async def secret(self, name: str) -> bytes:
        """Return 32 random bytes, the same for every process on this storage, made at the first call. Not a data key."""
        ...

    async def record_usages(self, uses: Mapping[CredentialName, datetime]) -> None:
        """Remember when credentials were used; of what is known already, the earliest and the latest instant stay.

        It is no rule and has no row: the revision stays as it is.
        """
        ...

    async def credential_uses(self) -> Mapping[CredentialName, CredentialUse]:
        """Return what ``record_usages`` remembers of every credential."""
        ...

    async def migrate(self) -> MigrationStatus:
        """Bring the schema up to this program's version; two processes at once: one waits, and finds nothing to do.

        Raises:
            SchemaTooNew: a newer program has been here.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what an operator should know (product, version, durability), without secrets.

        ``durable`` says whether what was acknowledged survives a power cut, as far as the storage can tell.
        ``purge_does_not_reach`` lists where a purged value's bytes may still be, ``purge_reaches_with_scrub`` where they may be
        until the next scrub; receipts repeat both.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of everything."""
        ...


class StorageFactory(Protocol):
    """Opens storages of one kind."""

    name: str
    """Unique among the plugins loaded."""

    schemes: tuple[str, ...]
    """The URL schemes it claims, such as ``sqlite``; each unique among the plugins loaded."""

    async def open(self, url: str) -> Storage:
        """Connect, and check that the storage is safe to use; the schema may not be there yet.

        Raises:
            StorageUnavailable: with the one sentence that helps, naming no password.
            UnsafeStorage: it is set so that it would lose what was acknowledged.
        """
        ...
