"""Storing, retrieving, inspecting, listing and purging entries."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, repeat

from vsqlvault.errors import (
    AccessDenied,
    EntryExpired,
    EntryPurged,
    ExpiresInPast,
    FieldError,
    KeyRefWithoutValue,
    PreconditionFailed,
    RetentionExceeded,
    UndefinedPolicy,
    VaultError,
)
from vsqlvault.interfaces.storage import EntryQuery, PolicySnapshot, Storage
from vsqlvault.interfaces.writes import (
    Change,
    Committed,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    Expectation,
    RetrievalsBelow,
    RevisionIs,
    StoreEntry,
    Write,
)
from vsqlvault.model.access import Action, Allow, Deny
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey, EntryState, EntryVersion, ValueEncoding
from vsqlvault.model.ids import new_timed_id
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.service.access.authorizer import MAX_CLOCK_AGE_SECONDS, LoadedEntry, Verdicts, by_policy
from vsqlvault.service.access.decisions import AuthorizationResult, Decisions
from vsqlvault.service.audit.recorder import CREATED, OK, AuditContext, Auditor
from vsqlvault.service.commit.entry_locks import EntryLocks
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.insert_predictor import InsertPredictor
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.purger import Purger, ReplacedVersion
from vsqlvault.service.rules.policy_cache import PolicyCache

MAX_LIST_SCAN = 5_000
LIST_SCAN_SECONDS = 2.0
LIST_TURN_SECONDS = 0.005
LIST_MARK_LAG = timedelta(seconds=1)
"""A list may leave the high-water mark so far behind: it is raised once a second for lists, not once for each."""


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What ``If-Match`` and ``If-None-Match: *`` ask. An empty ``match`` fits nothing; ``any_match`` is ``If-Match: *``."""

    none_exists: bool = False
    any_match: bool = False
    match: frozenset[EntryVersion] | None = None

    def check(self, present: Entry | None) -> None:
        """Raise PreconditionFailed unless the entry present (None: none, or an expired one) is as asked."""
        if self.none_exists and present is not None:
            raise PreconditionFailed("the entry exists")
        if self.any_match and present is None:
            raise PreconditionFailed("the entry does not exist")
        if self.match is not None and (present is None or present.stamp not in self.match):
            raise PreconditionFailed("the entry has changed, or does not exist")


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What a caller wants stored. ``metadata`` is RFC 8785 text; ``expires_at`` None means as the retention policy says."""

    value: bytes
    encoding: ValueEncoding
    algorithm_hint: str | None
    key_ref: str | None
    metadata: str
    expires_at: datetime | None
    access_policy: str
    preconditions: Preconditions = Preconditions()
    value_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_sha256", hashlib.sha256(self.value).hexdigest())


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry as its caller may see it: with the value only after a retrieval."""

    entry: Entry
    effective_expires_at: datetime
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What became of a wish. ``unchanged``: the entry was already exactly so."""

    viewed: EntryView
    created: bool
    unchanged: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """Which entries of a purpose to list, after which external_id, and how many at most."""

    limit: int
    after: str | None = None
    key_ref: str | None = None
    owner_app: str | None = None
    access_policy: str | None = None
    expires_before: datetime | None = None
    state: EntryState = EntryState.ACTIVE


@dataclass(frozen=True, slots=True)
class EntryPage:
    """A page, and the external_id to go on after; None where there is no more."""

    entries: tuple[EntryView, ...]
    after: str | None


class EntryService:
    """What can be done with entries, each time under a policy and with an audit row."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        decisions: Decisions,
        purges: Purger,
        auditor: Auditor,
        watch: ClockGuard,
        require_defined_policy: bool,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._verdicts = Verdicts(queue, policy_cache, decisions, purges)
        self._purges = purges
        self._auditor = auditor
        self._watch = watch
        self._require_defined_policy = require_defined_policy
        self._locks = EntryLocks()
        self._absence = InsertPredictor()

    async def require_purpose(self, call: Call, operation: Operation, key: EntryKey) -> None:
        """Refuse, with its row, a caller that does not hold the purpose: before anything else of the request is looked at.

        Raises:
            AccessDenied: the caller does not hold ``key.purpose``.
        """
        trace = AuditContext(call, operation, key)
        try:
            self._verdicts.require_purpose(trace, key)
        except AccessDenied as denied:
            await self._auditor.refuse(trace, denied)
            raise

    async def retrieve(self, call: Call, key: EntryKey) -> EntryView:
        """Return the entry with its value.

        Raises:
            AccessDenied, EntryNotFound, EntryExpired, EntryPurged, Unavailable.
        """
        trace = AuditContext(call, Operation.RETRIEVE, key)
        return await self._auditor.run_audited(trace, lambda: self._retrieve_once(trace, key))

    async def inspect(self, call: Call, key: EntryKey) -> EntryView:
        """Return what is known of the entry; the value is not read and nothing is counted. Raises as ``retrieve``."""
        trace = AuditContext(call, Operation.INSPECT, key)
        return await self._auditor.run_audited(trace, lambda: self._inspect_once(trace, key))

    async def store(self, call: Call, key: EntryKey, wanted: StoreRequest) -> StoreResult:
        """Create the entry, or replace it. The version replaced gets a purge row with proof, in the same commit.

        Raises:
            AccessDenied, IdRetired, EntryHeld, PreconditionFailed, RetentionRefused, UndefinedPolicy, KeyRefWithoutValue,
                Unavailable.
        """
        trace = AuditContext(call, Operation.STORE, key)
        async with self._locks.hold(key):
            first = self._store_optimistic if self._absence.expects_insert(key.purpose) else self._store_once
            attempts = chain((first,), repeat(self._store_once))
            return await self._auditor.run_audited(trace, lambda: next(attempts)(trace, key, wanted))

    async def purge(self, call: Call, key: EntryKey, preconditions: Preconditions) -> PurgeRecord:
        """Destroy the entry by its purpose's method and return the row that proves it.

        Raises:
            AccessDenied, EntryNotFound, EntryExpired, EntryPurged, EntryHeld, PreconditionFailed, Unavailable.
        """
        trace = AuditContext(call, Operation.PURGE, key)
        async with self._locks.hold(key):
            return await self._auditor.run_audited(trace, lambda: self._purge_once(trace, key, preconditions))

    async def list_purpose(self, call: Call, purpose: str, wanted: ListRequest) -> EntryPage:
        """Return a page of what the caller may inspect; it may be short, or empty, and still say how to go on.

        Raises:
            AccessDenied: the caller neither holds the purpose nor is admin or auditor.
        """
        trace = AuditContext(call, Operation.LIST, purpose=purpose)
        return await self._auditor.run_audited(trace, lambda: self._list_once(trace, purpose, wanted))

    async def _require_entry(
        self, trace: AuditContext, key: EntryKey, action: Action, sight: LoadedEntry
    ) -> tuple[Entry, Allow]:
        """As ``Verdicts.require_entry``; an entry that is called expired stays so, whatever the clock does."""
        try:
            return await self._verdicts.require_entry(trace, key, action, sight)
        except EntryExpired:
            if sight.entry is not None:
                await self._watch.reach(sight.snapshot, _expiry_of(sight.entry, sight.retention))
            raise

    async def _retrieve_once(self, trace: AuditContext, key: EntryKey) -> EntryView | None:
        sight = await self._verdicts.look(trace, key, with_value=True)
        entry, allowed = await self._require_entry(trace, key, Action.RETRIEVE, sight)
        expects: tuple[Expectation, ...] = (EntryIs(key, entry.stamp), RevisionIs(sight.book.revision))
        changes: tuple[Change, ...] = ()
        if allowed.max_retrievals is not None:
            expects = (*expects, RetrievalsBelow(key, allowed.max_retrievals))
            changes = (CountRetrieval(key),)
            entry = replace(entry, retrievals=entry.retrievals + 1)
        return await self._commit_view(Write((trace.granted(),), expects, changes), sight, entry)

    async def _inspect_once(self, trace: AuditContext, key: EntryKey) -> EntryView | None:
        sight = await self._verdicts.look(trace, key, with_value=False)
        entry, _ = await self._require_entry(trace, key, Action.INSPECT, sight)
        expects = (EntryIs(key, entry.stamp), RevisionIs(sight.book.revision))
        return await self._commit_view(Write((trace.granted(),), expects), sight, entry)

    async def _commit_view(self, write: Write, sight: LoadedEntry, entry: Entry) -> EntryView | None:
        if not isinstance(await self._queue.commit(write), Committed):
            return None
        return _viewed(entry, sight.retention, sight.snapshot.value)

    async def _purge_once(self, trace: AuditContext, key: EntryKey, preconditions: Preconditions) -> PurgeRecord | None:
        sight = await self._verdicts.look(trace, key, with_value=True)
        entry, _ = await self._require_entry(trace, key, Action.PURGE, sight)
        preconditions.check(entry)
        if sight.snapshot.value is None:
            raise EntryPurged
        purge = await self._purges.prepare(
            trace.call, entry, sight.snapshot.value, PurgeReason.REQUESTED, sight.book, sight.snapshot.now
        )
        outcome = await self._queue.commit(Write((trace.granted(),), purge.guards, (purge.change,), (purge.record,)))
        return purge.record if isinstance(outcome, Committed) else None

    async def _store_optimistic(self, trace: AuditContext, key: EntryKey, wanted: StoreRequest) -> StoreResult | None:
        """Create the entry without a look first: the commit sees whether there is none, and every rule still as known.

        None where that does not hold, and where the wish would be refused, for a refusal rests on what was read: both teach
        that a look is better. None, too, where the wish asks for an expiry so near that only the storage can tell whether it
        is past.
        """
        try:
            sight = self._verdicts.assume_absent(trace, key)
            if sight is None or _ends_soon(wanted, sight.snapshot.now):
                return None
            write, stored = await self._prepare_store(trace, key, wanted, sight)
        except VaultError:
            self._absence.learn(key.purpose, absent=False)
            return None
        done = await self._commit_store(write, stored, sight)
        if done is None:
            self._absence.learn(key.purpose, absent=False)
        return done

    async def _store_once(self, trace: AuditContext, key: EntryKey, wanted: StoreRequest) -> StoreResult | None:
        sight = await self._verdicts.look(trace, key, with_value=True)
        return await self._commit_store(*await self._prepare_store(trace, key, wanted, sight), sight)

    async def _prepare_store(
        self, trace: AuditContext, key: EntryKey, wanted: StoreRequest, sight: LoadedEntry
    ) -> tuple[Write, StoreResult]:
        """Return what grants the wish, and what its caller is told once that is committed. Raises as ``store``."""
        retention = await self._verdicts.require_storable(trace, key, wanted.access_policy, sight)
        present = sight.entry if sight.state is EntryState.ACTIVE else None
        wanted.preconditions.check(present)
        warnings = self._policy_warnings(wanted.access_policy, sight.book)
        if present and _same(present, wanted):
            expects = (EntryIs(key, present.stamp), RevisionIs(sight.book.revision))
            viewed = _viewed(present, retention)
            return Write((trace.granted(),), expects), StoreResult(
                viewed, created=False, unchanged=True, warnings=warnings
            )
        entry = _entry_to_be(trace.call, key, wanted, present, retention, sight.snapshot.now)
        trace.stamp = entry.stamp
        replaced = await self._replaced(trace.call, sight)
        write = Write(
            (trace.granted(OK if present else CREATED, detail=f"retention {retention.reference}"),),
            replaced.guards if replaced else (EntryAbsent(key), RevisionIs(sight.book.revision)),
            (StoreEntry(entry, wanted.value),),
            (replaced.record,) if replaced else (),
        )
        return write, StoreResult(
            _viewed(entry, retention), created=present is None, unchanged=False, warnings=warnings
        )

    async def _commit_store(self, write: Write, stored: StoreResult, sight: LoadedEntry) -> StoreResult | None:
        if not isinstance(await self._queue.commit(write), Committed):
            return None
        self._absence.learn(stored.viewed.entry.purpose, absent=sight.entry is None)
        return stored

    async def _replaced(self, call: Call, sight: LoadedEntry) -> ReplacedVersion | None:
        if sight.entry is None or sight.snapshot.value is None:
            return None
        reason = PurgeReason.REPLACED if sight.state is EntryState.ACTIVE else PurgeReason.EXPIRED
        return await self._purges.replaced(
            call, sight.entry, sight.snapshot.value, reason, sight.book, sight.snapshot.now
        )

    def _policy_warnings(self, name: str, book: PolicySnapshot) -> tuple[str, ...]:
        if name in book.access:
            return ()
        if self._require_defined_policy:
            raise UndefinedPolicy(f"no access policy is called {name}")
        return (f"access policy {name} is not defined: owner-only rules apply until it is",)

    async def _list_once(self, trace: AuditContext, purpose: str, wanted: ListRequest) -> EntryPage | None:
        sight = await self._verdicts.look(trace, EntryKey(purpose, ""), with_value=False)
        principal = trace.call.principal
        if not principal.holds(purpose) and not principal.may_inspect_all:
            trace.require(AuthorizationResult(Deny("purpose-not-held")))
        found, after = await self._scan(trace, purpose, wanted, sight)
        await self._watch.reach(sight.snapshot, sight.snapshot.now - LIST_MARK_LAG)
        outcome = await self._queue.commit(Write((trace.granted(),), (RevisionIs(sight.book.revision),)))
        return EntryPage(tuple(found), after) if isinstance(outcome, Committed) else None

    async def _scan(
        self, trace: AuditContext, purpose: str, wanted: ListRequest, sight: LoadedEntry
    ) -> tuple[list[EntryView], str | None]:
        """Page through the storage until ``limit`` entries may be seen, there are no more, or enough were looked at.

        An evaluator that need not wait never lets anybody else have the loop, so the scan does.
        """
        found: list[EntryView] = []
        after = wanted.after
        looked_at = 0
        now = time.monotonic()
        deadline, turn_ends = now + LIST_SCAN_SECONDS, now + LIST_TURN_SECONDS
        while True:
            page = await self._storage.entries(_query(purpose, wanted, sight, after))
            for place, entry in enumerate(page, start=1):
                after = entry.external_id
                looked_at += 1
                if await self._verdicts.may_inspect(trace, entry, sight):
                    found.append(_viewed(entry, sight.retention))
                now = time.monotonic()
                if len(found) == wanted.limit or looked_at == MAX_LIST_SCAN or now > deadline:
                    is_last = place == len(page) <= wanted.limit
                    return found, None if is_last else after
                if now > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.monotonic() + LIST_TURN_SECONDS
            if len(page) <= wanted.limit:
                return found, None


def _viewed(entry: Entry, retention: RetentionPolicy | None, value: bytes | None = None) -> EntryView:
    return EntryView(entry, _expiry_of(entry, retention), value)


def _expiry_of(entry: Entry, retention: RetentionPolicy | None) -> datetime:
    return entry.effective_expires_at(retention.max_retention_days if retention else None)


def _query(purpose: str, wanted: ListRequest, sight: LoadedEntry, after: str | None) -> EntryQuery:
    now = sight.snapshot.now
    days = sight.retention.max_retention_days if sight.retention else None
    return EntryQuery(
        purpose=purpose,
        now=now,
        limit=wanted.limit + 1,
        created_before=now - timedelta(days=days) if days else None,
        after=after,
        key_ref=wanted.key_ref,
        owner_app=wanted.owner_app,
        access_policy=wanted.access_policy,
        expires_before=wanted.expires_before,
        state=wanted.state,
    )


def _same(present: Entry, wanted: StoreRequest) -> bool:
    """Whether the wish asks for what is there already. A wish without ``expires_at`` asks for no other one."""
    return (
        _same_value(present, wanted)
        and present.encoding is wanted.encoding
        and present.algorithm_hint == wanted.algorithm_hint
        and present.key_ref == wanted.key_ref
        and present.metadata == wanted.metadata
        and present.access_policy == wanted.access_policy
        and wanted.expires_at in {None, present.expires_at}
    )


def _ends_soon(wanted: StoreRequest, presumed_now: datetime) -> bool:
    return wanted.expires_at is not None and wanted.expires_at - presumed_now <= timedelta(
        seconds=MAX_CLOCK_AGE_SECONDS
    )


def _same_value(present: Entry, wanted: StoreRequest) -> bool:
    return present.value_size == len(wanted.value) and present.value_sha256 == wanted.value_sha256


def _entry_to_be(
    call: Call, key: EntryKey, wanted: StoreRequest, present: Entry | None, retention: RetentionPolicy, now: datetime
) -> Entry:
    """Return the entry that the wish asks for: a new one, or the next version of the one present.

    A next version keeps owner, creation time and retrieval counter, so that replacing neither takes an entry over, nor
    outlives its retention, nor resets its limit.
    """
    described_anew = present and (present.key_ref, present.algorithm_hint) != (wanted.key_ref, wanted.algorithm_hint)
    if present and described_anew and _same_value(present, wanted):
        raise KeyRefWithoutValue
    created_at = present.created_at if present else now
    return Entry(
        purpose=key.purpose,
        external_id=key.external_id,
        entry_id=present.entry_id if present else new_timed_id(now),
        version=present.version + 1 if present else 1,
        encoding=wanted.encoding,
        value_sha256=wanted.value_sha256,
        value_size=len(wanted.value),
        algorithm_hint=wanted.algorithm_hint,
        key_ref=wanted.key_ref,
        metadata=wanted.metadata,
        owner_app=present.owner_app if present else call.principal.app,
        owner_identity=present.owner_identity if present else call.principal.identity,
        access_policy=wanted.access_policy,
        created_at=created_at,
        updated_at=now,
        expires_at=_expiry(wanted.expires_at, created_at, retention, now),
        retrievals=present.retrievals if present else 0,
    )


def _expiry(wished: datetime | None, created_at: datetime, retention: RetentionPolicy, now: datetime) -> datetime:
    retention_limit = created_at + timedelta(days=retention.max_retention_days)
    if wished is None:
        return min(now + timedelta(days=retention.default_ttl_days or retention.max_retention_days), retention_limit)
    if wished <= now:
        raise ExpiresInPast(errors=[FieldError("expires_at", "a time in the future")])
    if wished > retention_limit:
        expected = f"at most {retention.max_retention_days} days after the entry was created"
        raise by_policy(RetentionExceeded(errors=[FieldError("expires_at", expected)]), retention)
    return wished
