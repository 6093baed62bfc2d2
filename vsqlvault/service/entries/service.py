"""The operations on entries: store, retrieve, inspect, purge and list."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

from vsqlvault.errors import AccessDenied, EntryExpired, EntryPurged, VaultError
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.writes import (
    Change,
    Committed,
    CountRetrieval,
    EntryIs,
    Expectation,
    RetrievalsBelow,
    RevisionIs,
    StoreEntry,
    Write,
)
from vsqlvault.model.access import Action, Allow
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.proof.entry_statement import COUNTED, state_entry
from vsqlvault.service.access.authorizer import Authorizer, LoadedEntry
from vsqlvault.service.access.loading import MAX_CLOCK_AGE_SECONDS, EntryLoader
from vsqlvault.service.audit.recorder import NOT_MODIFIED, AuditContext, Auditor
from vsqlvault.service.commit.entry_locks import EntryLocks
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.key_usage import KeyUsage
from vsqlvault.service.entries.listing import DEFAULT_SCAN_LIMITS, EntryListing, ScanLimits
from vsqlvault.service.entries.requests import (
    NO_PRECONDITIONS,
    EntryPage,
    EntryView,
    ListRequest,
    Preconditions,
    StoreRequest,
    StoreResult,
    UpdateRequest,
)
from vsqlvault.service.entries.seen import SeenEntries
from vsqlvault.service.entries.store import EntryStore
from vsqlvault.service.entries.value_integrity import ValueIntegrity, is_intact
from vsqlvault.service.entries.versions import after_retrieval
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.purger import Purger

PURGED_CORRUPT = "the purged value differed from its recorded hash"


class EntryService:
    """Performs operations on entries, each under a policy and with an audit row."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        authorizer: Authorizer,
        purges: Purger,
        auditor: Auditor,
        watch: ClockGuard,
        key_usage: KeyUsage,
        require_defined_policy: bool,
        scan_limits: ScanLimits = DEFAULT_SCAN_LIMITS,
        max_clock_age_seconds: float = MAX_CLOCK_AGE_SECONDS,
        integrity: ValueIntegrity | None = None,
    ) -> None:
        """``max_clock_age_seconds``: how long after a read a store without a read relies on the storage's clock."""
        self._queue = queue
        self._authorizer = authorizer
        self._purges = purges
        self._auditor = auditor
        self._watch = watch
        self._loader = EntryLoader(queue, policy_cache, max_clock_age_seconds)
        self._integrity = integrity or ValueIntegrity()
        self._seen = SeenEntries(queue, self._loader, authorizer)
        self._store = EntryStore(
            queue,
            self._loader,
            self._seen,
            authorizer,
            purges,
            self._integrity,
            key_usage,
            require_defined_policy=require_defined_policy,
        )
        self._listing = EntryListing(storage, queue, self._loader, authorizer, watch, scan_limits)
        self._locks = EntryLocks()

    async def require_purpose(self, call: Call, operation: Operation, key: EntryKey) -> None:
        """Refuse a caller that does not have the purpose, before any other part of the request is examined.

        Raises:
            AccessDenied: the caller does not have ``key.purpose``.
        """
        if not call.principal.has_purpose(key.purpose):
            context = AuditContext(call, operation, key)
            try:
                self._authorizer.require_purpose(context, key)
            except AccessDenied as denied:
                await self._auditor.refuse_in_turn(context, denied)
                raise

    def retrieve(
        self, call: Call, key: EntryKey, preconditions: Preconditions = NO_PRECONDITIONS
    ) -> Awaitable[EntryView]:
        """Return the entry with its value; without it, where ``If-None-Match`` says that the caller has this version.

        That is audited as ``inspect``, and no retrieval is counted.

        Raises:
            AccessDenied, EntryNotFound, EntryExpired, EntryPurged, PreconditionFailed, Unavailable.
        """
        context = AuditContext(call, Operation.RETRIEVE, key)
        return self._auditor.run_audited(context, self._retrieve_once, context, key, preconditions)

    def inspect(
        self, call: Call, key: EntryKey, preconditions: Preconditions = NO_PRECONDITIONS
    ) -> Awaitable[EntryView]:
        """Return the entry's metadata; the value is not read and no retrieval is counted. Raises as ``retrieve``."""
        context = AuditContext(call, Operation.INSPECT, key)
        return self._auditor.run_audited(context, self._inspect_once, context, key, preconditions)

    async def store(self, call: Call, key: EntryKey, wanted: StoreRequest) -> StoreResult:
        """Create the entry, or replace it. The replaced version gets a purge row with proof, in the same commit.

        Raises:
            AccessDenied, IdRetired, EntryHeld, PreconditionFailed, RetentionRefused, UndefinedPolicy, KeyRefWithoutValue,
                Unavailable.
        """
        context = AuditContext(call, Operation.STORE, key)
        async with self._locks.hold(key):
            return await self._auditor.run_audited(context, self._store.store_once, context, key, wanted)

    async def update(self, call: Call, key: EntryKey, wanted: UpdateRequest) -> StoreResult:
        """Change expiry, metadata or access policy of the entry. The value stays, so nothing is purged.

        Raises:
            AccessDenied, EntryNotFound, EntryExpired, EntryPurged, EntryHeld, PreconditionFailed, RetentionRefused,
                UndefinedPolicy, ValidationFailed, Unavailable.
        """
        context = AuditContext(call, Operation.UPDATE, key)
        async with self._locks.hold(key):
            return await self._auditor.run_audited(context, self._update_once, context, key, wanted)

    async def purge(self, call: Call, key: EntryKey, preconditions: Preconditions) -> PurgeRecord:
        """Destroy the entry by its purpose's method and return the row that proves it.

        Raises:
            AccessDenied, EntryNotFound, EntryExpired, EntryPurged, EntryHeld, PreconditionFailed, Unavailable.
        """
        context = AuditContext(call, Operation.PURGE, key)
        async with self._locks.hold(key):
            return await self._auditor.run_audited(context, self._purge_once, context, key, preconditions)

    def list_purpose(self, call: Call, purpose: str, wanted: ListRequest) -> Awaitable[EntryPage]:
        """Return a page of what the caller may inspect. A short or an empty page can have more pages after it.

        Raises:
            AccessDenied: the caller neither has the purpose nor is admin or auditor.
        """
        context = AuditContext(call, Operation.LIST, purpose=purpose)
        return self._auditor.run_audited(context, self._listing.list_once, context, purpose, wanted)

    async def _authorize(
        self, context: AuditContext, key: EntryKey, action: Action, loaded: LoadedEntry
    ) -> tuple[Entry, Allow]:
        """As ``Authorizer.authorize``. An entry that is reported expired stays expired, even if the clock goes back."""
        try:
            return await self._authorizer.authorize(context, key, action, loaded)
        except EntryExpired:
            if loaded.expires_at is not None:
                await self._watch.reach(loaded.snapshot, loaded.expires_at)
            raise

    async def _update_once(self, context: AuditContext, key: EntryKey, wanted: UpdateRequest) -> StoreResult | None:
        loaded = await self._loader.load(context, key, with_value=True)
        present, _ = await self._authorize(context, key, Action.STORE, loaded)
        return await self._store.update(context, present, wanted, loaded)

    async def _retrieve_once(
        self, context: AuditContext, key: EntryKey, preconditions: Preconditions
    ) -> EntryView | None:
        is_first = context.at is None and preconditions is NO_PRECONDITIONS
        if is_first and (seen := self._seen.entry(key)) is not None:
            viewed = await self._seen.retrieve(context, key, seen, Action.RETRIEVE)
            if viewed is not None:
                return viewed
        loaded = await self._loader.load(context, key, with_value=True)
        entry, allowed = await self._authorize(context, key, Action.RETRIEVE, loaded)
        if preconditions is not NO_PRECONDITIONS:
            preconditions.check_match(entry)
            if preconditions.is_current(entry):
                return await self._commit_unmodified(context, loaded, entry)
        expects: tuple[Expectation, ...] = (EntryIs(key, entry.stamp), RevisionIs(loaded.policies.revision))
        changes: tuple[Change, ...] = ()
        row = context.granted(detail=None if allowed.max_retrievals is None else COUNTED)
        if allowed.max_retrievals is not None:
            expects = (*expects, RetrievalsBelow(key, allowed.max_retrievals))
            changes = (CountRetrieval(key),)
            entry = replace(entry, retrievals=entry.retrievals + 1)
        if (value := loaded.snapshot.value) is not None:
            self._integrity.check(entry, value)
        if loaded.retention is not None and loaded.retention.inactivity_days is not None:
            return await self._commit_moved(loaded, entry, Write((row,), expects, changes))
        if not changes:
            self._seen.keep(key, entry)
        outcome = await self._queue.commit(Write((row,), expects, changes))
        return _view(loaded, entry) if type(outcome) is Committed else None

    async def _commit_moved(self, loaded: LoadedEntry, entry: Entry, write: Write) -> EntryView | None:
        """Commit a retrieval that moves the entry's expiry: the same version of the same entry, with another time."""
        moved = after_retrieval(entry, loaded.retention, loaded.snapshot.now)
        if moved.expires_at != entry.expires_at and loaded.snapshot.value is not None and loaded.entry is not None:
            stored = replace(loaded.entry, expires_at=moved.expires_at)
            row = write.access[0]  # its detail is the trace context, and whether it counts
            detail = state_entry(stored) if row.detail is None else f"{row.detail}, {state_entry(stored)}"
            row = replace(row, detail=detail)
            changes = (StoreEntry(stored, loaded.snapshot.value), *write.changes)
            write = replace(write, access=(row,), changes=changes)
        if type(await self._queue.commit(write)) is not Committed:
            return None
        return EntryView(moved, moved.expires_at, loaded.snapshot.value)

    async def _inspect_once(
        self, context: AuditContext, key: EntryKey, preconditions: Preconditions
    ) -> EntryView | None:
        is_first = context.at is None and preconditions is NO_PRECONDITIONS
        if is_first and (seen := self._seen.entry(key)) is not None:
            viewed = await self._seen.retrieve(context, key, seen, Action.INSPECT)
            if viewed is not None:
                return viewed
        loaded = await self._loader.load(context, key, with_value=False)
        entry, _ = await self._authorize(context, key, Action.INSPECT, loaded)
        preconditions.check_match(entry)
        if preconditions.is_current(entry):
            return await self._commit_unmodified(context, loaded, entry)
        self._seen.keep(key, entry)
        expects = (EntryIs(key, entry.stamp), RevisionIs(loaded.policies.revision))
        outcome = await self._queue.commit(Write((context.granted(),), expects))
        return _view(loaded, entry) if type(outcome) is Committed else None

    async def _commit_unmodified(self, context: AuditContext, loaded: LoadedEntry, entry: Entry) -> EntryView | None:
        row = replace(context.granted(NOT_MODIFIED), operation=Operation.INSPECT)
        expects = (EntryIs(entry.key, entry.stamp), RevisionIs(loaded.policies.revision))
        outcome = await self._queue.commit(Write((row,), expects))
        return replace(_view(loaded, entry), value=None, unmodified=True) if type(outcome) is Committed else None

    async def _purge_once(
        self, context: AuditContext, key: EntryKey, preconditions: Preconditions
    ) -> PurgeRecord | None:
        if context.at is None and (seen := self._seen.entry(key)) is not None:
            record = await self._purge_seen(context, key, seen, preconditions)
            if record is not None:
                return record
        loaded = await self._loader.load(context, key, with_value=True)
        entry, _ = await self._authorize(context, key, Action.PURGE, loaded)
        preconditions.check(entry)
        value = loaded.snapshot.value
        if value is None:
            raise EntryPurged
        purge = await self._purges.prepare(
            context.call, entry, value, PurgeReason.REQUESTED, loaded.policies, loaded.snapshot.now
        )
        detail = None if is_intact(entry, value) else PURGED_CORRUPT
        write = Write((context.granted(detail=detail),), purge.guards, (purge.change,), (purge.record,))
        if type(await self._queue.commit(write)) is not Committed:
            return None
        self._integrity.forget((key,))
        self._seen.forget(key)
        return purge.record

    async def _purge_seen(
        self, context: AuditContext, key: EntryKey, seen: Entry, preconditions: Preconditions
    ) -> PurgeRecord | None:
        """Purge the entry without a read: the commit checks that it is as it was seen, and that its value has its hash.

        None where that does not hold, and where the request would be refused, since a refusal must rest on a read.
        """
        loaded = self._seen.assume(context, key, seen)
        if loaded is None:
            return None
        try:
            await self._authorizer.authorize(context, key, Action.PURGE, loaded)
            preconditions.check(seen)
            purge = await self._purges.prepare(
                context.call, seen, None, PurgeReason.REQUESTED, loaded.policies, loaded.snapshot.now
            )
        except VaultError as error:
            await self._seen.require_changed(context, seen, loaded, error)
            return None
        write = Write((context.granted(),), purge.guards, (purge.change,), (purge.record,))
        if await self._seen.commit(seen, loaded, write) is None:
            return None
        self._integrity.forget((key,))
        self._seen.forget(key)
        return purge.record


def _view(loaded: LoadedEntry, entry: Entry) -> EntryView:
    return EntryView(entry, loaded.expires_at or entry.expires_at, loaded.snapshot.value)
