"""A whole vault on a storage whose n-th call fails, for every n. Logs, stored data and responses must agree.

Example:
    class TestExampleFail(FaultConformance):
        async def open_storage(self, directory):
            storage = await Example.open(directory / "example")
            await storage.migrate()
            return storage
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar, cast

import pytest

from vsqlvault.errors import OutcomeUnknown, StorageFull, StorageUnavailable, SweepRunning, VaultError
from vsqlvault.interfaces.storage import LogQuery, Read
from vsqlvault.interfaces.writes import Committed, StoreEntry, Write
from vsqlvault.model.access import Action
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry, EntryKey, EntryVersion, ValueEncoding
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.policy import DEFAULT_POLICY, Rule
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.service.entries.key_refs import KeyRefRequest
from vsqlvault.service.entries.requests import EntryView, ListRequest, Preconditions, StoreRequest
from vsqlvault.service.vault import Vault
from vsqlvault.testing.driving import StorageKit, driven_within
from vsqlvault.testing.faults import Fault, FaultyStorage
from vsqlvault.testing.samples import (
    a_call,
    a_legal_hold,
    a_retention_policy,
    an_access_policy,
    an_access_record,
    an_entry,
    an_id,
)
from vsqlvault.testing.vaults import a_vault

FAILURES: dict[str, tuple[type[VaultError], Fault]] = {
    "unavailable": (StorageUnavailable, Fault.BEFORE),
    "full": (StorageFull, Fault.BEFORE),
    "unknown, and it did not happen": (OutcomeUnknown, Fault.BEFORE),
    "unknown, and it happened": (OutcomeUnknown, Fault.AFTER),
}
MAX_CALLS = 200
TIME_LIMIT_SECONDS = 600.0
"""A vault for each call takes 15 seconds of processor time, and the machine may be a slow one."""
ALL_ROWS = 100_000
ADMIN = a_call("vault-admin", Role.ADMIN).principal
OWNER = a_call("payments", identity="jane").principal
HOLD = a_legal_hold(selector=HoldSelector(external_id="nobody"))
LIMITED = an_access_policy(
    "limited", 0, rules={Action.STORE: Rule(), Action.RETRIEVE: Rule(max_retrievals=50), Action.PURGE: Rule()}
)
EXPIRED = ("old-1", "old-2", "old-3")
IDS = ("a", "b", "c", *EXPIRED)
PURPOSES = ("card", "cold")
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class _Result:
    """One operation as its caller saw it: the request, its purpose, and the response or the error."""

    request_id: str
    operation: Operation
    answer: Any = None
    error: VaultError | None = None


@dataclass
class _Scenario:
    """Runs every operation of a vault once, and continues after a failure."""

    vault: Vault
    storage: FaultyStorage
    results: list[_Result] = field(default_factory=list)
    seen: dict[EntryVersion, tuple[Entry, bytes]] = field(default_factory=dict)

    async def run(self) -> None:
        """Run all operations."""
        card, cold = (EntryKey("card", "a"), EntryKey("cold", "a"))
        entries, policies, logs = self.vault.entries, self.vault.rules.policies, self.vault.audit.log_reader
        await self.do(Operation.CHANGE_ACCESS_POLICY, ADMIN, policies.save_access_policy, LIMITED)
        for key, policy in ((card, "limited"), (cold, DEFAULT_POLICY), (EntryKey("card", "b"), DEFAULT_POLICY)):
            wanted = _wish(b"first", policy)
            await self.do(Operation.STORE, OWNER, entries.store, key, wanted)
        for _ in range(2):
            await self.do(Operation.RETRIEVE, OWNER, entries.retrieve, card)
        await self.do(Operation.INSPECT, OWNER, entries.inspect, card)
        await self.do(Operation.LIST, OWNER, entries.list_purpose, "card", ListRequest(limit=10))
        await self.do(Operation.STORE, OWNER, entries.store, card, _wish(b"second", "limited"))
        await self.do(Operation.STORE, OWNER, entries.store, card, _wish(b"second", "limited"))
        await self.do(Operation.RETRIEVE, OWNER, entries.retrieve, card)
        changed = replace(LIMITED, description="changed")
        await self.do(Operation.CHANGE_ACCESS_POLICY, ADMIN, policies.save_access_policy, changed)
        retention = a_retention_policy("card", max_retention_days=300)
        await self.do(Operation.CHANGE_RETENTION_POLICY, ADMIN, policies.save_retention_policy, retention)
        await self.do(Operation.CHANGE_LEGAL_HOLD, ADMIN, self.vault.rules.legal_holds.save, HOLD)
        await self.do(Operation.RELEASE_LEGAL_HOLD, ADMIN, self.vault.rules.legal_holds.release, HOLD.name)
        await self.do(Operation.PURGE, OWNER, entries.purge, card, Preconditions())
        await self.do(Operation.PURGE, OWNER, entries.purge, cold, Preconditions())
        await self.do(Operation.DELETE_ACCESS_POLICY, ADMIN, policies.delete_access_policy, "limited")
        await self.do(Operation.SWEEP, ADMIN, self.vault.purge.sweeper.sweep)
        await self.do(Operation.READ_REPORT, ADMIN, self.vault.compliance.report.write)
        await self.do(Operation.READ_KEY_REFS, ADMIN, self.vault.key_refs.list, KeyRefRequest(limit=10))
        await self.do(Operation.READ_ACCESS_LOG, ADMIN, logs.access_log, LogQuery(limit=100))
        await self.do(Operation.READ_PURGE_LOG, ADMIN, logs.purge_log, LogQuery(limit=100))

    async def do(
        self, operation: Operation, who: Principal, act: Callable[..., Awaitable[Any]], *arguments: Any
    ) -> Any:
        """Run one operation as ``who``, and record the result and the visible state."""
        call = Call(who, an_id())
        try:
            answer = await act(call, *arguments)
        except VaultError as error:
            self.results.append(_Result(call.request_id, operation, error=error))
            answer = None
        else:
            self.results.append(_Result(call.request_id, operation, answer))
        await self.look()
        return answer

    async def look(self) -> dict[EntryKey, Entry]:
        """Return the stored entries, and remember each version with its value."""
        keys = [EntryKey(purpose, external_id) for purpose in PURPOSES for external_id in IDS]
        found = await self.storage.inner.read([Read(key, with_value=True) for key in keys])
        for snapshot in found:
            if snapshot.entry is not None and snapshot.value is not None:
                self.seen[snapshot.entry.stamp] = (snapshot.entry, snapshot.value)
        return {key: snapshot.entry for key, snapshot in zip(keys, found, strict=True) if snapshot.entry}


class FaultConformance(StorageKit):
    """Subclass it, and implement ``open_storage``: the vault that stands on it is the one that is served."""

    every: ClassVar[int] = 1
    """Apply each fault only to every n-th call, with a different start for each."""

    @pytest.mark.parametrize("failure", FAILURES)
    @driven_within(TIME_LIMIT_SECONDS)
    async def test_whichever_call_fails_the_logs_and_the_entries_and_the_answers_agree(self, failure: str) -> None:
        error, fault = FAILURES[failure]
        first = 1 + list(FAILURES).index(failure) % self.every
        for number in range(first, MAX_CALLS, self.every):
            directory = self.directory / str(number)
            directory.mkdir()
            async with a_vault(directory, open_storage=self.open_storage, wrap=cast("Any", FaultyStorage)) as vault:
                scenario = _Scenario(vault, cast("FaultyStorage", vault.storage))
                await _prepare(scenario)
                scenario.storage.arm(number, fault=fault, error=error)
                await scenario.run()
                struck, calls = scenario.storage.struck, list(scenario.storage.calls)
                scenario.storage.disarm()
                where = f"call {number}, {calls[number - 1] if struck else 'none'}"
                await _agrees(scenario, struck=struck, where=where)
                await _goes_on(scenario, where)
            if not struck:
                return
        pytest.fail(f"the scenario takes more than {MAX_CALLS} calls")


async def _prepare(scenario: _Scenario) -> None:
    """Set policies, and store entries that have expired, each with the audit row of its request."""
    vault, storage = scenario.vault, scenario.storage
    for purpose, method in (("card", "physical-delete"), ("cold", "crypto-shred")):
        policy = a_retention_policy(purpose, purge_method=method)
        await scenario.do(
            Operation.CHANGE_RETENTION_POLICY,
            ADMIN,
            vault.rules.policies.save_retention_policy,
            policy,
        )
    now = (await storage.read([Read()]))[0].now
    for external_id in EXPIRED:
        value = external_id.encode()
        entry = an_entry(external_id, value, created_at=now - ONE_DAY * 2, expires_at=now - ONE_DAY)
        row = an_access_record(operation=Operation.STORE, status=201, external_id=external_id, stamp=entry.stamp)
        assert list(await storage.commit([Write((row,), changes=(StoreEntry(entry, value),))])) == [Committed()]
    await scenario.look()


async def _agrees(scenario: _Scenario, *, struck: bool, where: str) -> None:
    stored = await scenario.look()
    rows = [row.record for row in await scenario.storage.access_log(LogQuery(limit=ALL_ROWS, oldest_first=True))]
    purges = [row.record for row in await scenario.storage.purge_log(LogQuery(limit=ALL_ROWS, oldest_first=True))]
    granted = [row for row in rows if row.outcome is Outcome.GRANTED]
    _answers_have_their_rows(scenario, granted, struck=struck, where=where)
    _versions_have_their_rows(scenario, stored, granted, purges, where)
    _purges_have_their_rows(scenario, stored, granted, purges, where)
    _counters_have_their_rows(stored, granted, where)
    await _policies_have_their_rows(scenario, granted, where)


def _answers_have_their_rows(scenario: _Scenario, granted: list[AccessRecord], *, struck: bool, where: str) -> None:
    rows = Counter((row.request_id, row.operation) for row in granted)
    failed = [result for result in scenario.results if result.error]
    assert struck or not failed, where
    for result in scenario.results:
        found = rows[result.request_id, result.operation]
        if result.error is None:
            assert found == 1, f"{where}: {result.operation} was answered without its row"
            if isinstance(result.answer, EntryView) and result.answer.value is not None:
                assert result.answer.entry.stamp in scenario.seen, where
        elif found:
            assert isinstance(result.error, OutcomeUnknown), (
                f"{where}: {result.operation} is done, but was reported as failed"
            )


def _versions_have_their_rows(
    scenario: _Scenario,
    stored: dict[EntryKey, Entry],
    granted: list[AccessRecord],
    purges: list[PurgeRecord],
    where: str,
) -> None:
    """Each version was stored by a granted request, and either exists or has exactly one purge row."""
    storing = {row.stamp for row in granted if row.operation is Operation.STORE}
    live = {entry.stamp for entry in stored.values() if entry.purged_at is None}
    gone = Counter(EntryVersion(purge.entry_id, purge.entry_version) for purge in purges)
    assert set(scenario.seen) == storing, f"{where}: versions and rows of storing differ"
    for stamp in scenario.seen:
        assert (stamp in live) + gone[stamp] == 1, f"{where}: a version is there and purged, or neither"
    assert set(gone) <= set(scenario.seen), where


def _purges_have_their_rows(
    scenario: _Scenario,
    stored: dict[EntryKey, Entry],
    granted: list[AccessRecord],
    purges: list[PurgeRecord],
    where: str,
) -> None:
    requests = {row.request_id for row in granted if row.operation in {Operation.PURGE, Operation.STORE}}
    purged = Counter((row.request_id, row.stamp) for row in granted if row.operation is Operation.PURGE)
    for purge in purges:
        entry, value = scenario.seen[EntryVersion(purge.entry_id, purge.entry_version)]
        assert purge.proof_hash == purge_proof(entry, value), f"{where}: a proof does not prove what was there"
        assert purge.request_id in requests, f"{where}: a purge without the row of its request"
    by_method = Counter(
        (purge.request_id, EntryVersion(purge.entry_id, purge.entry_version))
        for purge in purges
        if purge.method != "replace"
    )
    assert purged == by_method, f"{where}: rows of purging and purge rows differ"
    for entry in stored.values():
        if entry.purged_at is not None:
            assert entry.stamp in {stamp for _, stamp in by_method}, f"{where}: shredded without a proof"


def _counters_have_their_rows(stored: dict[EntryKey, Entry], granted: list[AccessRecord], where: str) -> None:
    for key, entry in stored.items():
        if entry.access_policy == "limited" and entry.purged_at is None:
            rows = [
                row
                for row in granted
                if row.operation is Operation.RETRIEVE and row.stamp and row.stamp.entry_id == entry.entry_id
            ]
            assert entry.retrievals == len(rows), f"{where}: {key} counts other retrievals than the log"


async def _policies_have_their_rows(scenario: _Scenario, granted: list[AccessRecord], where: str) -> None:
    policies = await scenario.storage.policy_snapshot()
    access, retention = Counter[str](), Counter[str]()
    newest: dict[str, Any] = {}
    for row in granted:
        if row.operation is Operation.CHANGE_RETENTION_POLICY:
            retention[str(row.purpose)] += 1
        elif row.operation in {Operation.CHANGE_ACCESS_POLICY, Operation.DELETE_ACCESS_POLICY}:
            access[str(row.detail)] += 1
            newest[str(row.detail)] = json.loads(row.new_value) if row.new_value else None
    holds = [row for row in granted if row.operation in {Operation.CHANGE_LEGAL_HOLD, Operation.RELEASE_LEGAL_HOLD}]
    assert [hold.version for hold in policies.holds.values()] == ([len(holds)] if holds else []), (
        f"{where}: holds differ"
    )
    assert dict(policies.access_versions) == dict(access), f"{where}: access policies and their rows differ"
    assert {name: policy.version for name, policy in policies.retention.items()} == dict(retention), where
    assert set(policies.access) == {name for name, document in newest.items() if document}, where
    for name, policy in policies.access.items():
        assert newest[name]["description"] == policy.description, where


async def _goes_on(scenario: _Scenario, where: str) -> None:
    """The vault works on the next requests, and the next sweep completes the rest once no lease prevents it."""
    vault, key = scenario.vault, EntryKey("card", "c")
    done = len(scenario.results)
    for value in (b"third", b"fourth"):
        await scenario.do(Operation.STORE, OWNER, vault.entries.store, key, _wish(value))
    viewed = await scenario.do(Operation.RETRIEVE, OWNER, vault.entries.retrieve, key)
    assert viewed is not None, where
    assert viewed.value == b"fourth"
    await scenario.do(Operation.PURGE, OWNER, vault.entries.purge, key, Preconditions())
    await scenario.do(Operation.READ_REPORT, ADMIN, vault.compliance.report.write)
    assert not [result.error for result in scenario.results[done:] if result.error], where
    await scenario.do(Operation.SWEEP, ADMIN, vault.purge.sweeper.sweep)
    swept = scenario.results[-1].error
    assert swept is None or isinstance(swept, SweepRunning), where
    stored = await scenario.look()
    if swept is None:
        assert not {key.external_id for key in stored} & set(EXPIRED), where
    await _agrees(scenario, struck=True, where=f"{where}, afterwards")


def _wish(value: bytes, policy: str = DEFAULT_POLICY) -> StoreRequest:
    return StoreRequest(value, ValueEncoding.UTF_8, None, "k1", "{}", None, policy)
