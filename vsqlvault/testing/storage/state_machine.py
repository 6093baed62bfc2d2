"""A storage compared with the one in memory: the same calls in any order return the same from both.

Example:
    class ExampleMachine(StorageStateMachine):
        async def open_storage(self, directory):
            storage = await Example.open(directory / "example")
            await storage.migrate()
            return storage

    class TestExampleMachine(ExampleMachine.TestCase):
        settings = BOUNDED
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from vsqlvault.errors import StorageFull
from vsqlvault.interfaces.evidence import EvidenceQuery
from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.storage import (
    EntryQuery,
    KeyRefQuery,
    LogQuery,
    LogRow,
    PolicySnapshot,
    Read,
    RetentionLimitChange,
    Storage,
)
from vsqlvault.interfaces.writes import (
    Change,
    Committed,
    CountRetrieval,
    DropAccessPolicy,
    EntryAbsent,
    EntryIs,
    Expectation,
    OverwriteEntry,
    PolicyUnused,
    RemoveEntry,
    RetrievalsBelow,
    RevisionIs,
    SaveAccessPolicy,
    SaveApiKey,
    SaveLegalHold,
    SaveRetentionPolicy,
    SaveSweep,
    StoreEntry,
    Write,
    WriteOutcome,
)
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey, EntryState, EntryVersion
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.transparency import LogName
from vsqlvault.testing.memory_storage import MemoryStorage
from vsqlvault.testing.samples import (
    T0,
    a_legal_hold,
    a_purge_record,
    a_retention_policy,
    a_sweep,
    an_access_policy,
    an_access_record,
    an_api_key,
    an_entry,
    an_id,
)
from vsqlvault.testing.storage.capabilities import StorageCapabilities

TIME_LIMIT_SECONDS = 60.0
BOUNDED = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples each time, within seconds: for continuous integration."""
DAY = timedelta(days=1)
LONG = 3600.0
MAX_DAYS = 30
PAGE = 3
KEYS = (EntryKey("card", "a"), EntryKey("card", "a.b"), EntryKey("card", "B"), EntryKey("ach", "a"))
PURPOSES = ("card", "ach")
POLICIES = ("tellers", "tellers.2", "unused")
HOLDS = ("case-17", "case-17.b")
SELECTORS = (HoldSelector(purpose="card"), HoldSelector("ach", "a", "payments", '{"a":true}'))
NAMED_BY_ENTRIES = ("tellers", "owner-only")
LIVES = (
    (T0, T0 + DAY * 90),
    (T0 - DAY * 2, T0),
    (T0 - DAY * 2, T0 + timedelta(microseconds=1)),
    (T0 - DAY * MAX_DAYS, T0 + DAY),
)
OF_LIVE_ENTRIES = ("replace", "remove", "overwrite", "count")
KINDS = ("store", *OF_LIVE_ENTRIES, "nothing")
GUARDS = ("as it is", "an older version", "another entry", "absent", "below", "not below", "revision", "old revision")
API_KEYS = ("vsk_one", "vsk_two", "vsk_three")
LEASE = "sweep"
HOLDERS = ("one", "other")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Plan:
    """One write, before it is known what is there."""

    key: EntryKey
    kind: str
    guards: tuple[str, ...]
    value: bytes
    life: tuple[datetime, datetime]
    policy: str
    rows: int


def _plans(
    kinds: Sequence[str], keys: Sequence[EntryKey] = KEYS, guards: Sequence[str] = ()
) -> st.SearchStrategy[_Plan]:
    return st.builds(
        _Plan,
        key=st.sampled_from(keys),
        kind=st.sampled_from(kinds),
        guards=st.lists(st.sampled_from(guards), max_size=2, unique=True).map(tuple) if guards else st.just(()),
        value=st.binary(min_size=1, max_size=8),
        life=st.sampled_from(LIVES),
        policy=st.sampled_from(NAMED_BY_ENTRIES),
        rows=st.integers(min_value=0, max_value=2),
    )


def _batches(plans: st.SearchStrategy[_Plan]) -> st.SearchStrategy[list[_Plan]]:
    return st.lists(plans, min_size=1, max_size=len(KEYS), unique_by=lambda plan: plan.key)


_SELDOM = st.sampled_from([False, False, False, True])
_GUARDED = _plans(KINDS, guards=GUARDS)


class StorageStateMachine(RuleBasedStateMachine):
    """Subclass it, and implement ``open_storage``; ``capabilities`` are as for ``StorageConformance``."""

    capabilities: ClassVar[StorageCapabilities] = StorageCapabilities()

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._directory = tempfile.TemporaryDirectory(prefix="vsqlvault-machine-")
        self._reference = MemoryStorage(self._directory.name)
        self._data = self._reference.data
        self._batches: list[tuple[int, int]] = []
        self._swept: set[datetime] = set()
        self._storage: Storage | None = None

    async def open_storage(self, directory: Path) -> Storage:
        """Return a storage that keeps what it keeps in ``directory``, migrated; the machine closes it."""
        raise NotImplementedError(f"open_storage, in {directory}")

    @property
    def storage(self) -> Storage:
        """The storage that is compared."""
        if self._storage is None:
            raise RuntimeError("the machine has not begun")
        return self._storage

    def teardown(self) -> None:
        """Close the storage, and forget the place."""
        try:
            if self._storage is not None:
                self._run(self._storage.close())
        finally:
            self._runner.close()
            self._directory.cleanup()

    @initialize()
    def begin(self) -> None:
        """Open an empty place."""
        self._storage = self._run(self.open_storage(Path(self._directory.name)))
        self._data.revision = self._run(self.storage.policy_snapshot()).revision

    @rule(batch=_batches(_GUARDED))
    def commit_a_batch(self, batch: list[_Plan]) -> None:
        """Commit writes about different entries, with right and wrong expectations."""
        self._commit([self._write(plan) for plan in batch])

    @rule(batch=_batches(_plans(["store"])))
    def store_entries(self, batch: list[_Plan]) -> None:
        """Store entries, whatever is there."""
        self._commit([self._write(plan) for plan in batch])

    @precondition(lambda self: any(map(self._data.live, KEYS)))
    @rule(data=st.data())
    def change_live_entries(self, data: st.DataObject) -> None:
        """Replace, remove, overwrite or count entries that have their values."""
        live = [key for key in KEYS if self._data.live(key)]
        self._commit([self._write(plan) for plan in data.draw(_batches(_plans(OF_LIVE_ENTRIES, live)))])

    @rule(name=st.sampled_from(POLICIES), stale=_SELDOM, description=st.text(max_size=5))
    def save_an_access_policy(self, name: str, stale: bool, description: str) -> None:
        """Put a next version in force, or try to, on an old revision."""
        version = self._rules().access_versions.get(name, 0) + 1
        policy = an_access_policy(name, version, description=description.encode("ascii", "ignore").decode() or None)
        self._change_a_rule(SaveAccessPolicy(policy), stale=stale)

    @precondition(lambda self: bool(self._rules().access))
    @rule(data=st.data(), stale=_SELDOM)
    def drop_an_access_policy(self, data: st.DataObject, stale: bool) -> None:
        """Take a policy out of force, unless an entry names it."""
        name = data.draw(st.sampled_from(sorted(self._rules().access)))
        drop = DropAccessPolicy(name, self._rules().access_versions[name] + 1, "vault-admin", T0)
        self._change_a_rule(drop, PolicyUnused(name), stale=stale)

    @rule(purpose=st.sampled_from(PURPOSES), stale=_SELDOM, days=st.integers(min_value=1, max_value=36_500))
    def save_a_retention_policy(self, purpose: str, stale: bool, days: int) -> None:
        """Put a next version in force, or try to, on an old revision."""
        old = self._rules().retention.get(purpose)
        limits: dict[str, Any] = {"max_value_bytes": days, "inactivity_days": days} if days % 2 else {}
        policy = a_retention_policy(purpose, old.version + 1 if old else 1, max_retention_days=days, **limits)
        self._change_a_rule(SaveRetentionPolicy(policy), stale=stale)

    @rule(name=st.sampled_from(HOLDS), selector=st.sampled_from(SELECTORS), released=st.booleans(), stale=_SELDOM)
    def save_a_legal_hold(self, name: str, selector: HoldSelector, released: bool, stale: bool) -> None:
        """Place, change or release a hold, or try to, on an old revision."""
        old = self._rules().holds.get(name)
        hold = a_legal_hold(name, old.version + 1 if old else 1, selector=selector)
        if released:
            hold = replace(hold, released_by="vault-admin", released_at=T0 + DAY)
        self._change_a_rule(SaveLegalHold(hold), stale=stale)

    @rule(secret=st.sampled_from(API_KEYS), stale=_SELDOM)
    def save_or_revoke_an_api_key(self, secret: str, stale: bool) -> None:
        """Add a key, or a version of it that says it is revoked, or try to, on an old revision."""
        new = an_api_key(secret)
        if old := self._rules().api_keys.get(new.key_id):
            new = replace(old, version=old.version + 1, revoked_by="vault-admin", revoked_at=T0 + DAY)
        self._change_a_rule(SaveApiKey(new), stale=stale)

    @rule(minutes=st.integers(min_value=-1000, max_value=1000))
    def save_a_sweep(self, minutes: int) -> None:
        """Save the record of a sweep, also of one that finished before others that are saved."""
        finished_at = T0 + timedelta(minutes=minutes)
        if finished_at not in self._swept:
            self._swept.add(finished_at)
            self._commit([Write((), changes=(SaveSweep(a_sweep(finished_at=finished_at)),))])

    @rule(holder=st.sampled_from(HOLDERS))
    def acquire_the_lease(self, holder: str) -> None:
        """Take or renew a lease that does not run out, or try to."""
        wanted = self._run(self._reference.acquire_lease(LEASE, holder, LONG))
        assert self._run(self.storage.acquire_lease(LEASE, holder, LONG)) is wanted

    @rule(holder=st.sampled_from(HOLDERS), next_holder=st.sampled_from(HOLDERS))
    def release_the_lease(self, holder: str, next_holder: str) -> None:
        """Give the lease back, or try to, and see who can have it."""
        self._run(self._reference.release_lease(LEASE, holder))
        self._run(self.storage.release_lease(LEASE, holder))
        self.acquire_the_lease(next_holder)

    @rule(asked=st.lists(st.tuples(st.sampled_from([None, *KEYS]), st.booleans()), min_size=1, max_size=8))
    def read_a_batch(self, asked: list[tuple[EntryKey | None, bool]]) -> None:
        """Read entries in any order, some of them twice, with and without their values."""
        snapshots = self._run(self.storage.read([Read(key, with_value) for key, with_value in asked]))
        assert len(snapshots) == len(asked)
        assert len({(snapshot.now, snapshot.revision) for snapshot in snapshots}) == 1
        for (key, with_value), snapshot in zip(asked, snapshots, strict=True):
            entry, value = self._data.entries.get(key, (None, None)) if key else (None, None)
            is_there = with_value and entry is not None and entry.purged_at is None
            assert (snapshot.entry, snapshot.value) == (entry, value if is_there else None)

    @rule()
    def count_what_is_there(self) -> None:
        """Count entries and rows in every way."""
        limits = dict.fromkeys(PURPOSES, T0 - DAY * MAX_DAYS)
        assert self._run(_counts(self.storage, limits)) == self._run(_counts(self._reference, limits))

    @precondition(lambda self: self.capabilities.durable)
    @rule()
    def open_again(self) -> None:
        """Close the storage and come back to its place."""
        self._run(self.storage.close())
        self._storage = self._run(self.open_storage(Path(self._directory.name)))

    @invariant()
    def entries_are_as_the_model_has_them(self) -> None:
        """Every entry, its value, and every page of every purpose and state."""
        if self._storage is None:
            return
        self.read_a_batch([(key, True) for key in KEYS])
        for purpose in PURPOSES:
            for state in EntryState:
                wanted = self._in_state(purpose, state)
                assert self._run(self._entry_pages(purpose, state)) == [entry for entry, _ in wanted]
            expired = self._run(self._expired_pages(purpose))
            assert sorted(expired, key=lambda pair: pair[0].external_id) == self._in_state(purpose, EntryState.EXPIRED)

    @invariant()
    def rules_are_as_the_model_has_them(self) -> None:
        """The rulebook, keys and holds among it, its revision, and the newest sweep."""
        if self._storage is None:
            return
        policies = self._run(self.storage.policy_snapshot())
        assert policies.revision == self._data.revision
        wanted = self._rules()
        for name in ("access", "access_versions", "retention", "api_keys", "holds"):
            assert dict(getattr(policies, name)) == dict(getattr(wanted, name)), name
        newest = self._run(self._reference.last_sweep())
        assert self._run(self.storage.last_sweep()) == newest

    @invariant()
    def logs_are_as_the_model_has_them(self) -> None:
        """Both logs, batch by batch; within a batch the order is the storage's own."""
        if self._storage is None:
            return
        access, purges = zip(*self._batches, strict=True) if self._batches else ((), ())
        for name, pager, ends in (
            (LogName.ACCESS, self.storage.access_log, access),
            (LogName.PURGE, self.storage.purge_log, purges),
        ):
            rows = self._run(_log_pages(pager, LogQuery(limit=PAGE, oldest_first=True)))
            assert [row.position for row in rows] == sorted({row.position for row in rows})
            assert self._run(_log_pages(pager, LogQuery(limit=PAGE))) == rows[::-1]
            wanted = [row.record for row in self._data.logs[name]]
            _in_order_of_batches([row.record for row in rows], [wanted[a:b] for a, b in pairwise((0, *ends))])

    def _commit(self, writes: list[Write]) -> None:
        outcomes = self._run(self.storage.commit(writes))
        assert list(outcomes) == self._commit_to_reference(writes)

    def _commit_to_reference(self, writes: list[Write]) -> list[WriteOutcome | StorageFull]:
        outcomes = self._run(self._reference.commit(writes))
        self._batches.append((len(self._data.logs[LogName.ACCESS]), len(self._data.logs[LogName.PURGE])))
        return list(outcomes)

    def _rules(self) -> PolicySnapshot:
        return self._run(self._reference.policy_snapshot())

    def _change_a_rule(self, change: Change, *expects: Expectation, stale: bool) -> None:
        revision = self._data.revision
        row = an_access_record(operation=Operation.CHANGE_ACCESS_POLICY)
        write = Write((row,), (RevisionIs(revision - stale), *expects), (change,))
        wanted = self._commit_to_reference([write])
        assert list(self._run(self.storage.commit([write]))) == wanted
        found = self._run(self.storage.policy_snapshot()).revision
        assert found > revision if wanted == [Committed()] else found == revision
        self._data.revision = found

    def _write(self, plan: _Plan) -> Write:
        """Return what is planned, fit for what is there. What needs an entry expects it, so that it conflicts where none is."""
        live = self._data.live(plan.key)
        expects = tuple(self._expectation(plan.key, guard) for guard in plan.guards)
        rows = tuple(
            an_access_record(purpose=plan.key.purpose, external_id=plan.key.external_id) for _ in range(plan.rows)
        )
        gone = (a_purge_record(live),) if live else ()
        there = EntryIs(plan.key, live.stamp if live else EntryVersion(an_id(), 1))
        match plan.kind:
            case "store":
                return Write(rows, expects, (StoreEntry(_entry(plan), plan.value),), gone)
            case "replace" if live:
                entry = _entry(plan, entry_id=live.entry_id, version=live.version + 1)
                return Write(rows, (*expects, there), (StoreEntry(entry, plan.value),), gone)
            case "remove":
                return Write(rows, (*expects, there), (RemoveEntry(plan.key),), gone)
            case "overwrite":
                filler = bytes(live.value_size if live else 1)
                change = OverwriteEntry(plan.key, filler, T0 + DAY, "crypto-shred")
                return Write(rows, (*expects, there), (change,), gone)
            case "count":
                return Write(rows, (*expects, there), (CountRetrieval(plan.key),))
            case _:
                return Write(rows, expects)

    def _expectation(self, key: EntryKey, guard: str) -> Expectation:
        entry = self._data.entries[key][0] if key in self._data.entries else an_entry()
        guards: dict[str, Expectation] = {
            "as it is": EntryIs(key, entry.stamp),
            "an older version": EntryIs(key, EntryVersion(entry.entry_id, entry.version - 1)),
            "another entry": EntryIs(key, EntryVersion(an_id(), entry.version)),
            "absent": EntryAbsent(key),
            "below": RetrievalsBelow(key, entry.retrievals + 1),
            "not below": RetrievalsBelow(key, entry.retrievals),
            "revision": RevisionIs(self._data.revision),
            "old revision": RevisionIs(self._data.revision - 1),
        }
        return guards[guard]

    def _in_state(self, purpose: str, state: EntryState) -> list[tuple[Entry, bytes]]:
        return [
            (entry, value)
            for key, (entry, value) in sorted(self._data.entries.items())
            if key.purpose == purpose and entry.state(T0, MAX_DAYS) is state
        ]

    async def _entry_pages(self, purpose: str, state: EntryState) -> list[Entry]:
        found: list[Entry] = []
        query = EntryQuery(purpose=purpose, now=T0, limit=2, created_before=T0 - DAY * MAX_DAYS, state=state)
        while True:
            page = await self.storage.entries(query)
            found += page
            assert len(found) <= len(KEYS), "a page repeats what came before"
            if len(page) < query.limit:
                return found
            query = replace(query, after=page[-1].external_id)

    async def _expired_pages(self, purpose: str) -> list[tuple[Entry, bytes]]:
        found: list[tuple[Entry, bytes]] = []
        query = ExpiredQuery(purpose=purpose, now=T0, created_before=T0 - DAY * MAX_DAYS, limit=2, byte_limit=10**6)
        while page := await self.storage.expired(query):
            found += page
            assert len(found) <= len(KEYS), "a page repeats what came before"
            query = replace(query, after=query.place_of(page[-1][0]))
        return found

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(asyncio.wait_for(work, TIME_LIMIT_SECONDS))


def _entry(plan: _Plan, **fields: Any) -> Entry:
    created_at, expires_at = plan.life
    made = {
        "purpose": plan.key.purpose,
        "created_at": created_at,
        "expires_at": expires_at,
        "access_policy": plan.policy,
    }
    return an_entry(plan.key.external_id, plan.value, **made | fields)


async def _counts(storage: Storage, limits: Mapping[str, datetime]) -> dict[str, object]:
    """Return every count of a storage, in an order that does not depend on it."""
    query = EvidenceQuery(
        as_of=T0, since=T0 - DAY, until=T0 + DAY * 2, retention_limits=limits, grace=DAY, known_policies=POLICIES[:1]
    )
    evidence = await storage.evidence(query)
    pages = [KeyRefQuery(purpose=name, now=T0, created_before=limit, limit=9) for name, limit in limits.items()]
    changes = [RetentionLimitChange(purpose=name, now=T0, before=DAY * MAX_DAYS, after=DAY) for name in limits]
    return {
        "statistics": await storage.entry_statistics(T0, limits, query.known_policies),
        "expired": await storage.count_expired(T0, limits),
        "key_refs": [list(await storage.key_refs(page)) for page in pages],
        "effects": [await storage.retention_limit_effect(change) for change in changes],
        "holdings": set(evidence.holdings),
        "oldest": dict(evidence.oldest_expired_at),
        "purges": set(evidence.purges),
        "lags": (dict(evidence.lags), list(evidence.lag_histogram)),
        "retired": list(evidence.retired_keys),
        "access": set(evidence.access),
        "changes": (list(evidence.policy_changes), evidence.policy_changes_count),
    }


async def _log_pages(pager: Callable[[LogQuery], Awaitable[Sequence[Any]]], query: LogQuery) -> list[LogRow[Any]]:
    found: list[LogRow[Any]] = []
    while True:
        page = await pager(query)
        assert not {row.position for row in page} & {row.position for row in found}, "a page repeats what came before"
        found += page
        if len(page) < query.limit:
            return found
        query = replace(query, after=page[-1].position)


def _in_order_of_batches(found: list[Any], batches: Sequence[list[Any]]) -> None:
    """Fail unless the records are those of the batches, one batch after the other."""
    assert len(found) == sum(map(len, batches))
    start = 0
    for batch in batches:
        assert sorted(map(repr, found[start : start + len(batch)])) == sorted(map(repr, batch))
        start += len(batch)
