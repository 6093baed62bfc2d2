"""Imports entries with their owners and their times: one audit row for each, and nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime
from json.encoder import encode_basestring
from typing import TypeVar

from vsqlvault.errors import Contended, EntryHeld, FieldError, VaultError
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.storage import PolicySnapshot, Read, Snapshot, Storage
from vsqlvault.interfaces.writes import Committed, EntryAbsent, EntryIs, Expectation, RevisionIs, StoreEntry, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.ids import new_timed_id
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.model.times import format_time
from vsqlvault.proof.entry_statement import state_entry
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import CREATED, OK, AuditContext
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.imports import (
    DEFAULT_RULES,
    Existing,
    ImportedEntry,
    ImportRules,
    Result,
    check_limits,
    check_times,
    expiry_of,
)
from vsqlvault.service.entries.purged_ids import PurgedIds
from vsqlvault.service.purge.purger import Purger
from vsqlvault.service.roles import require_admin

MAX_ATTEMPTS = 8
_NO_PURGES: tuple[PurgeRecord, ...] = ()
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one entry. ``faults`` says why it was rejected; ``warnings`` name undefined access policies."""

    result: Result
    faults: tuple[FieldError, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class ImportCount:
    """The number of entries of a run, by what became of them."""

    by_result: dict[Result, int] = field(default_factory=lambda: dict.fromkeys(Result, 0))

    def add(self, result: Result) -> None:
        """Count one entry."""
        self.by_result[result] += 1

    def __str__(self) -> str:
        return ", ".join(f"{number} {result}" for result, number in self.by_result.items())


@dataclass(frozen=True, slots=True)
class _Decided:
    """The entry to store, the retention policy by which it expires, and what is reported once it is stored."""

    stored: Entry
    retention: str
    imported: Imported


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The commit of one entry, and what is reported once it is committed."""

    write: Write
    imported: Imported

    @property
    def is_new(self) -> bool:
        """Whether the id was free."""
        return self.imported.result is Result.CREATED


class Importer:
    """Stores imported entries in batches. A run that was interrupted is repeated: what is there already is left unchanged."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        purges: Purger,
        require_defined_policy: bool,
    ) -> None:
        self._queue = queue
        self._policy_cache = policy_cache
        self._purges = purges
        self._require_defined_policy = require_defined_policy
        self._purged = PurgedIds(storage)
        self._hints: dict[str, str] = {}
        self._hints_of: PolicySnapshot | None = None
        self._assumes_absent = True  # where an id was not free, the next batch reads each entry first

    async def take(
        self, call: Call, entries: Sequence[ImportedEntry], rules: ImportRules = DEFAULT_RULES, *, dry_run: bool = False
    ) -> list[Imported]:
        """Import a batch, and return what became of each entry, in order. ``dry_run`` commits nothing.

        Entries of one batch with the same id are taken one after the other.

        Raises:
            RoleRequired, Unavailable. A part of the batch may be committed; another run finds it there.
        """
        require_admin(call)
        await self._purged.read_on()
        done: list[Imported | None] = [None] * len(entries)
        waiting = list(range(len(entries)))
        for _ in range(MAX_ATTEMPTS + len(entries)):
            taken = _first_of_each_key(entries, waiting)
            results = await self._attempt(call, [entries[place] for place in taken], rules, dry_run=dry_run)
            for place, imported in zip(taken, results, strict=True):
                done[place] = imported
            waiting = [place for place in waiting if done[place] is None]
            if not waiting:
                return [imported for imported in done if imported is not None]
        raise Contended

    async def finish(self, call: Call, count: ImportCount, source: str) -> None:
        """Commit the row that counts a run. Raises RoleRequired, Unavailable."""
        require_admin(call)
        context = AuditContext(call, Operation.IMPORT)
        context.observe(await self._queue.read())
        await self._queue.record(context.granted(detail=f"from {source}: {count}"))

    async def _attempt(
        self, call: Call, entries: Sequence[ImportedEntry], rules: ImportRules, *, dry_run: bool
    ) -> list[Imported | None]:
        """Return what became of each entry; None where a concurrent change invalidated the decision."""
        if self._assumes_absent and not dry_run:
            return await self._store_unread(call, entries, rules)
        snapshots = await self._queue.reads.submit_all([Read(entry.key) for entry in entries])
        prepared = [
            await self._prepare(call, entry, _or_raise(snapshot), rules)
            for entry, snapshot in zip(entries, snapshots, strict=True)
        ]
        self._assumes_absent = all(isinstance(each, _Prepared) and each.is_new for each in prepared)
        if dry_run:
            return [each.imported if isinstance(each, _Prepared) else each for each in prepared]
        return await self._commit(prepared)

    async def _store_unread(
        self, call: Call, entries: Sequence[ImportedEntry], rules: ImportRules
    ) -> list[Imported | None]:
        """Store entries as if their ids were free, in one commit, without reading each. The commit expects no entry.

        Return None for all of them if an id is not free, and for those that would be rejected: the entry present decides
        first.
        """
        snapshot = await self._queue.read()
        policies = await self._policy_cache.at(snapshot.revision)
        context = AuditContext(call, Operation.IMPORT)
        context.observe(snapshot)
        done: list[Imported | None] = []
        writes: list[Write] = []
        for entry in entries:
            decided = self._decide(entry, None, snapshot.now, policies, rules)
            if isinstance(decided, Imported):
                done.append(decided if decided.result is Result.PURGED else None)
            else:
                writes.append(_write(context, entry, decided, (EntryAbsent(entry.key),), _NO_PURGES))
                done.append(decided.imported)
        if writes and not isinstance(await self._queue.commit(_joined(writes, policies)), Committed):
            done = [None if each is not None and each.result is Result.CREATED else each for each in done]
        self._assumes_absent = None not in done
        return done

    async def _commit(self, prepared: Sequence[_Prepared | Imported | None]) -> list[Imported | None]:
        """Commit what is prepared, and return what became of each entry."""
        writes = [each.write for each in prepared if isinstance(each, _Prepared)]
        outcomes = iter(await self._queue.commit_all(writes))
        done: list[Imported | None] = []
        for each in prepared:
            if isinstance(each, _Prepared):
                done.append(each.imported if isinstance(_or_raise(next(outcomes)), Committed) else None)
            else:
                done.append(each)
        return done

    async def _prepare(
        self, call: Call, entry: ImportedEntry, snapshot: Snapshot, rules: ImportRules
    ) -> _Prepared | Imported:
        """Return the commit of one entry; the replaced version gets its purge row in the same one."""
        expects: tuple[Expectation, ...]
        policies = await self._policy_cache.at(snapshot.revision)
        present = snapshot.entry
        decided = self._decide(entry, present, snapshot.now, policies, rules)
        if isinstance(decided, Imported):
            return decided
        expects, purges = (EntryAbsent(entry.key), RevisionIs(policies.revision)), _NO_PURGES
        if present is not None:
            try:
                expects, purges = await self._replaced(call, entry, present, policies, snapshot.now)
            except EntryHeld as held:
                return _rejected("external_id", f"an entry that is not under a legal hold: {held.audit_detail}")
        context = AuditContext(call, Operation.IMPORT)
        context.observe(snapshot)
        return _Prepared(_write(context, entry, decided, expects, purges), decided.imported)

    def _decide(
        self, entry: ImportedEntry, present: Entry | None, now: datetime, policies: PolicySnapshot, rules: ImportRules
    ) -> _Decided | Imported:
        """Return the entry to store, or what becomes of the imported one without a commit."""
        if entry.is_purged or self._purged.has(entry.key, entry.created_at):
            return Imported(Result.PURGED)
        if present is not None:
            if (settled := _settled(entry, present, rules)) is not None:
                return settled
            entry = replace(entry, created_at=present.created_at)
        retention = policies.retention.get(entry.key.purpose)
        if retention is None:
            near = did_you_mean(entry.key.purpose, policies.retention)
            return _rejected("purpose", f"a purpose with a retention policy{near}")
        warnings, of_policy = self._policy_faults(entry.access_policy, policies)
        of_times = check_times(entry, now)
        faults = [*of_times, *check_limits(entry, retention), *of_policy]
        expires_at = now if of_times else expiry_of(entry, retention, now, rules)  # none may exist after a time so late
        if isinstance(expires_at, FieldError):
            return Imported(Result.REJECTED, (*faults, expires_at))
        if faults:
            return Imported(Result.REJECTED, tuple(faults))
        result = Result.REPLACED if present else Result.CREATED
        stored = _entry(entry, expires_at, present, now)
        return _Decided(stored, retention.reference, Imported(result, warnings=warnings))

    async def _replaced(
        self, call: Call, entry: ImportedEntry, present: Entry, policies: PolicySnapshot, now: datetime
    ) -> tuple[tuple[Expectation, ...], tuple[PurgeRecord, ...]]:
        """Return the guards and the purge row of the version that is replaced. Raises EntryHeld."""
        policies.require_free(present, names_holds=True)
        guards = (EntryIs(present.key, present.stamp), RevisionIs(policies.revision))
        if present.value_sha256 == entry.value_sha256:
            return guards, ()
        value = (await self._queue.read(present.key, with_value=True)).value
        if value is None:
            return guards, ()  # it was purged meanwhile, and the guard fails
        gone = await self._purges.replaced(call, present, value, PurgeReason.REPLACED, policies, now)
        return gone.guards, (gone.record,)

    def _policy_faults(self, name: str, policies: PolicySnapshot) -> tuple[tuple[str, ...], list[FieldError]]:
        """Return the warnings and the faults of an access policy that is not defined."""
        if name in policies.access:
            return (), []
        near = self._nearest_policy(name, policies)
        if self._require_defined_policy:
            return (), [FieldError("access_policy", f"a policy that is defined{near}")]
        return (f"access policy {name} is not defined{near}: owner-only rules apply until it is",), []

    def _nearest_policy(self, name: str, policies: PolicySnapshot) -> str:
        """Return ``did_you_mean``, computed once for all entries with the same undefined policy."""
        if self._hints_of is not policies:
            self._hints_of, self._hints = policies, {}
        if name not in self._hints:
            self._hints[name] = did_you_mean(name, policies.access)
        return self._hints[name]


def _write(
    context: AuditContext,
    entry: ImportedEntry,
    decided: _Decided,
    expects: tuple[Expectation, ...],
    purges: tuple[PurgeRecord, ...],
) -> Write:
    """Return the commit of one entry. ``context`` has observed a snapshot, and serves for the entries of a batch in turn."""
    stored = decided.stored
    context.purpose, context.external_id, context.stamp = stored.purpose, stored.external_id, stored.stamp
    row = context.granted(
        CREATED if decided.imported.result is Result.CREATED else OK,
        detail=f"retention {decided.retention}, {state_entry(stored)}",
        new_value=_document(stored),
    )
    return Write((row,), expects, (StoreEntry(stored, entry.value),), purges)


def _joined(writes: Sequence[Write], policies: PolicySnapshot) -> Write:
    """Return one write in place of several that store new entries."""
    expects = [expect for write in writes for expect in write.expects]
    return Write(
        tuple(row for write in writes for row in write.access),
        (*expects, RevisionIs(policies.revision)),
        tuple(change for write in writes for change in write.changes),
    )


def _first_of_each_key(entries: Sequence[ImportedEntry], waiting: Sequence[int]) -> list[int]:
    """Return the places of the entries that can be taken at once: the first of each id."""
    first: dict[EntryKey, int] = {}
    for place in waiting:
        first.setdefault(entries[place].key, place)
    return list(first.values())


def _settled(entry: ImportedEntry, present: Entry, rules: ImportRules) -> Imported | None:
    """Return what becomes of an entry whose id has another one; None: it replaces that one."""
    if present.purged_at is not None:
        return _rejected("external_id", f"an id that is not retired: purged at {format_time(present.purged_at)}")
    if entry.equals(present):
        return Imported(Result.UNCHANGED)
    if rules.existing is Existing.REJECT:
        return _rejected("external_id", "an id that no other entry of this vault has")
    if rules.existing is Existing.KEEP or entry.updated_at <= present.updated_at:
        return Imported(Result.KEPT)
    if entry.owner_app != present.owner_app:
        return _rejected("owner_app", "the owner of the entry that has this id")
    return None


def _entry(entry: ImportedEntry, expires_at: datetime, present: Entry | None, now: datetime) -> Entry:
    """Return the entry to store: a new one, or the next version of the one present."""
    return Entry(
        entry.key.purpose, entry.key.external_id,
        present.entry_id if present else new_timed_id(now), present.version + 1 if present else 1,
        entry.encoding, entry.value_sha256, len(entry.value), entry.algorithm_hint, entry.key_ref, entry.metadata,
        entry.owner_app, entry.owner_identity, entry.access_policy, entry.created_at, entry.updated_at, expires_at,
        present.retrievals if present else 0,
    )  # fmt: skip


def _document(entry: Entry) -> str:
    """Return the owner and the times of an imported entry, as its row has them: the caller is not the owner.

    It is RFC 8785 text, written directly because an import needs many.
    """
    identity = "null" if entry.owner_identity is None else encode_basestring(entry.owner_identity)
    return (
        f'{{"created_at":"{format_time(entry.created_at)}","expires_at":"{format_time(entry.expires_at)}"'
        f',"owner_app":{encode_basestring(entry.owner_app)},"owner_identity":{identity}'
        f',"updated_at":"{format_time(entry.updated_at)}"}}'
    )


def _rejected(name: str, expected: str) -> Imported:
    return Imported(Result.REJECTED, (FieldError(name, expected),))


def _or_raise(answer: Answer | VaultError) -> Answer:
    if isinstance(answer, VaultError):
        raise answer
    return answer
