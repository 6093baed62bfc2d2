"""Imports entries with their owners and their times: one audit row for each, and nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import TypeVar

from vsqlvault.errors import Contended, EntryHeld, FieldError, VaultError
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.storage import PolicySnapshot, Read, Snapshot, Storage
from vsqlvault.interfaces.writes import Committed, EntryAbsent, EntryIs, Expectation, RevisionIs, StoreEntry, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.ids import new_timed_id
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.model.times import format_time
from vsqlvault.proof.canonical import canonical_json
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
class _Prepared:
    """The commit of one entry, and what is reported once it is committed."""

    write: Write
    imported: Imported


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
        snapshots = await self._queue.reads.submit_all([Read(entry.key) for entry in entries])
        prepared = [
            await self._prepare(call, entry, _or_raise(snapshot), rules)
            for entry, snapshot in zip(entries, snapshots, strict=True)
        ]
        writes = [each.write for each in prepared if isinstance(each, _Prepared)]
        if dry_run:
            return [each.imported if isinstance(each, _Prepared) else each for each in prepared]
        outcomes = iter(await self._queue.commit_all(writes))
        return [
            each
            if isinstance(each, Imported)
            else each.imported
            if isinstance(_or_raise(next(outcomes)), Committed)
            else None
            for each in prepared
        ]

    async def _prepare(
        self, call: Call, entry: ImportedEntry, snapshot: Snapshot, rules: ImportRules
    ) -> _Prepared | Imported:
        policies = await self._policy_cache.at(snapshot.revision)
        present, now = snapshot.entry, snapshot.now
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
        stored = _entry(entry, expires_at, present, now)
        return await self._prepared(call, entry, stored, snapshot, policies, retention, warnings)

    async def _prepared(
        self,
        call: Call,
        entry: ImportedEntry,
        stored: Entry,
        snapshot: Snapshot,
        policies: PolicySnapshot,
        retention: RetentionPolicy,
        warnings: tuple[str, ...],
    ) -> _Prepared | Imported:
        """Return the commit of one entry; the replaced version gets its purge row in the same one."""
        expects: tuple[Expectation, ...] = (EntryAbsent(entry.key), RevisionIs(policies.revision))
        purges: tuple[PurgeRecord, ...] = ()
        present = snapshot.entry
        if present is not None:
            try:
                expects, purges = await self._replaced(call, entry, present, policies, snapshot.now)
            except EntryHeld as held:
                return _rejected("external_id", f"an entry that is not under a legal hold: {held.audit_detail}")
        context = AuditContext(call, Operation.IMPORT, entry.key)
        context.observe(snapshot)
        context.stamp = stored.stamp
        row = context.granted(
            OK if present else CREATED,
            detail=f"retention {retention.reference}, {state_entry(stored)}",
            new_value=_document(stored),
        )
        write = Write((row,), expects, (StoreEntry(stored, entry.value),), purges)
        return _Prepared(write, Imported(Result.REPLACED if present else Result.CREATED, warnings=warnings))

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
    """Return the owner and the times of an imported entry, as its row has them: the caller is not the owner."""
    document = {
        "created_at": format_time(entry.created_at),
        "expires_at": format_time(entry.expires_at),
        "owner_app": entry.owner_app,
        "owner_identity": entry.owner_identity,
        "updated_at": format_time(entry.updated_at),
    }
    return canonical_json(document).decode()


def _rejected(name: str, expected: str) -> Imported:
    return Imported(Result.REJECTED, (FieldError(name, expected),))


def _or_raise(answer: Answer | VaultError) -> Answer:
    if isinstance(answer, VaultError):
        raise answer
    return answer
