"""Requests for an entry that was read before: one call of the storage, and all that two calls would guarantee."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from vsqlvault.errors import (
    AccessDenied,
    AuditUnavailable,
    EntryExpired,
    EntryNotFound,
    EntryPurged,
    OutcomeUnknown,
    PluginFailed,
    StorageUnavailable,
    ValueCorrupt,
)
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.writes import CountRetrieval, SaveAccessPolicy
from vsqlvault.model.access import AccessRequest, Action, Allow
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.policy import AccessPolicy, Rule
from vsqlvault.proof.entry_statement import statement_in
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.service.entries.seen import MAX_VALUE_BYTES, SeenEntries
from vsqlvault.service.purge.throttle import SweepThrottle
from vsqlvault.testing import Fault, a_call, a_write, an_access_policy

KEY = EntryKey("card", "pay-1")


async def seen(scene: Any) -> None:
    """Store an entry, and retrieve it alone."""
    await scene.store()
    await scene.vault.entries.retrieve(scene.owner, KEY)
    scene.storage.arm()


async def again(scene: Any, call: Any = None) -> Any:
    return await scene.vault.entries.retrieve(call or scene.owner, KEY)


@pytest.mark.parametrize("operation", ["retrieve", "inspect"])
async def test_it_is_one_call(scene, operation) -> None:
    await seen(scene)
    await getattr(scene.vault.entries, operation)(scene.owner, KEY)
    assert scene.storage.calls == ["commit_seen"]


@pytest.mark.parametrize("operation", ["retrieve", "inspect"])
async def test_its_answer_and_its_row_are_those_of_two_calls(scene, monkeypatch, operation) -> None:
    await scene.store()
    answers, rows = [], []
    for number in range(3):
        with monkeypatch.context() as unseen:
            if number == 0:
                unseen.setattr(SeenEntries, "entry", lambda *_: None)
            answers.append(await getattr(scene.vault.entries, operation)(scene.owner, KEY))
        rows.append(replace(await scene.last_row(), at=scene.clock.at))
    assert scene.storage.calls.count("commit_seen") == 2
    assert answers[0] == answers[1] == answers[2]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0].operation is Operation(operation)


async def test_it_counts_as_traffic_beside_a_sweep(scene) -> None:
    await seen(scene)
    sweep = SweepThrottle(scene.vault.queue, 0.0, None)
    await again(scene)
    assert scene.storage.calls == ["commit_seen"]
    assert sweep.has_other_traffic


async def test_an_entry_that_was_stored_and_not_read_needs_no_read(scene) -> None:
    await scene.store()
    scene.storage.arm()
    await again(scene)
    assert scene.storage.calls == ["commit_seen"]


async def test_many_requests_at_once_share_batches(scene) -> None:
    await seen(scene)
    await asyncio.gather(*(again(scene) for _ in range(10)))
    assert set(scene.storage.calls) == {"commit_seen"}
    assert len(scene.storage.calls) < 4


async def test_a_large_value_is_read_first(scene) -> None:
    await scene.store(value=bytes(MAX_VALUE_BYTES + 1))
    await again(scene)
    scene.storage.arm()
    await again(scene)
    assert scene.storage.calls == ["read", "commit"]


async def test_the_condition_of_a_reader_that_has_the_version_is_examined_on_a_read(scene) -> None:
    await seen(scene)
    viewed = await scene.vault.entries.retrieve(scene.owner, KEY, Preconditions(none_exists=True))
    assert viewed.unmodified
    assert scene.storage.calls == ["read", "commit"]


async def replaced(scene: Any) -> None:
    await scene.store(value=b"new")


async def purged(scene: Any) -> None:
    await scene.purge()


async def shredded(scene: Any) -> None:
    await scene.retain(purge_method="crypto-shred")
    await scene.purge()


async def expired(scene: Any) -> None:
    scene.clock.advance(days=90)


async def beyond_the_retention_limit(scene: Any) -> None:
    await scene.retain(max_retention_days=10, default_ttl_days=5)
    scene.clock.advance(days=10)


REFUSALS: list[tuple[Callable[[Any], Awaitable[None]], type[Exception]]] = [
    (purged, EntryNotFound),
    (shredded, EntryPurged),
    (expired, EntryExpired),
    (beyond_the_retention_limit, EntryExpired),
]


@pytest.mark.parametrize(("change", "error"), REFUSALS)
async def test_an_entry_that_has_ended_since_is_refused_as_after_a_read(scene, change, error) -> None:
    await seen(scene)
    await change(scene)
    with pytest.raises(error):
        await again(scene)
    row = await scene.last_row()
    assert (row.operation, row.outcome) == (Operation.RETRIEVE, Outcome.DENIED)


async def test_a_new_value_is_returned(scene) -> None:
    await seen(scene)
    await replaced(scene)
    assert (await again(scene)).value == b"new"


async def test_a_policy_that_has_changed_since_decides(scene) -> None:
    save = scene.vault.rules.policies.save_access_policy
    nobody = {action: Rule(allowed_apps=frozenset()) for action in Action}
    everybody = {action: Rule() for action in Action}
    await save(scene.admin, an_access_policy("tellers", rules=everybody))
    await scene.store(access_policy="tellers")
    await again(scene)
    await scene.vault.queue.read()
    await scene.storage.inner.commit([a_write(SaveAccessPolicy(an_access_policy("tellers", 2, rules=nobody)))])
    scene.storage.arm()
    with pytest.raises(AccessDenied):
        await again(scene)
    assert scene.storage.calls[:2] == ["commit_seen", "read"]


async def test_a_caller_whom_the_policy_refuses_is_refused_on_a_read(scene) -> None:
    await seen(scene)
    with pytest.raises(AccessDenied):
        await again(scene, scene.other)
    assert scene.storage.calls == ["read", "commit"]


@dataclass
class Moody(PolicyEvaluator):
    """An evaluator that fails if a test says so."""

    name: str = "moody"
    fails: bool = False
    asked: int = 0

    def check(self, policy: AccessPolicy) -> None:
        pass

    def built_in_policies(self) -> list[AccessPolicy]:
        return []

    def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Allow:
        self.asked += 1
        if self.fails:
            raise RuntimeError
        return Allow()


async def seen_by_a_broken_evaluator(install: Any, offering: Any, open_scene: Any) -> tuple[Any, Moody]:
    moody = Moody()
    install(moody=offering("vault_access_policies", moody))
    scene = await open_scene()
    moods = an_access_policy("moods", evaluator="moody", rules={})
    await scene.vault.rules.policies.save_access_policy(scene.admin, moods)
    await scene.store(access_policy="moods")
    await again(scene)
    moody.fails, moody.asked = True, 0
    scene.storage.arm()
    return scene, moody


@pytest.mark.parametrize("operation", ["retrieve", "inspect"])
async def test_an_evaluator_that_fails_is_asked_once_and_the_refusal_rests_on_a_read(
    install, offering, open_scene, operation
) -> None:
    scene, moody = await seen_by_a_broken_evaluator(install, offering, open_scene)
    with pytest.raises(PluginFailed):
        await getattr(scene.vault.entries, operation)(scene.owner, KEY)
    assert (moody.asked, scene.storage.calls) == (1, ["read", "commit"])
    row = await scene.last_row()
    assert (row.outcome, row.reason, row.policy, row.policy_version) == (Outcome.DENIED, "plugin_failure", "moods", 1)


async def test_a_policy_that_was_mended_elsewhere_decides_instead_of_the_evaluator_that_fails(
    install, offering, open_scene
) -> None:
    scene, moody = await seen_by_a_broken_evaluator(install, offering, open_scene)
    everybody = an_access_policy("moods", 2, rules={action: Rule() for action in Action})
    await scene.storage.inner.commit([a_write(SaveAccessPolicy(everybody))])
    assert (await again(scene)).value == b"cipher"
    assert ((await scene.last_row()).policy_version, moody.asked) == (2, 1)


async def test_a_value_that_was_changed_in_the_database_is_not_served(scene, tmp_path) -> None:
    await seen(scene)
    with sqlite3.connect(tmp_path / "vault.db", isolation_level=None) as file:
        file.execute("UPDATE entries SET encrypted_value = ?", (b"forged",))
    file.close()
    with pytest.raises(ValueCorrupt):
        await again(scene)
    assert (await scene.last_row()).reason == "value_corrupt"


async def test_a_counter_that_others_raise_is_shown(scene) -> None:
    await seen(scene)
    await scene.storage.inner.commit([a_write(CountRetrieval(KEY))])
    assert (await again(scene)).entry.retrievals == 1


async def test_a_retrieval_that_is_counted_is_read_first(scene) -> None:
    twice = {action: Rule(max_retrievals=2 if action is Action.RETRIEVE else None) for action in Action}
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy("tellers", rules=twice))
    await scene.store(access_policy="tellers")
    await scene.vault.entries.inspect(scene.owner, KEY)
    assert [(await again(scene)).entry.retrievals for _ in range(2)] == [1, 2]
    with pytest.raises(AccessDenied):
        await again(scene)


async def test_a_retrieval_that_moves_the_expiry_is_read_first(scene) -> None:
    await scene.retain(inactivity_days=5)
    await scene.store()
    first = await again(scene)
    scene.clock.advance(days=4)
    await scene.vault.entries.inspect(scene.owner, KEY)
    second = await again(scene)
    assert second.effective_expires_at - first.effective_expires_at == timedelta(days=4)


async def test_the_row_of_a_retrieval_that_moves_the_expiry_begins_with_the_trace_context(scene) -> None:
    await scene.retain(inactivity_days=5)
    await scene.store()
    scene.clock.advance(days=1)
    parent = f"00-{'4b' * 16}-{'00f0' * 4}-01"
    await again(scene, replace(a_call("payments"), traceparent=parent))
    detail = (await scene.last_row()).detail
    assert detail.startswith(f"traceparent {parent}, access policy ")
    assert statement_in(detail) is not None


async def test_without_a_recent_reading_of_the_clock_it_is_read_first(scene) -> None:
    await seen(scene)
    clock = scene.vault.clock
    clock.set(clock.now(), clock.asked() - 5.0)
    await again(scene)
    assert scene.storage.calls == ["read", "commit"]


@pytest.mark.parametrize(("fault", "error"), [(Fault.BEFORE, AuditUnavailable), (Fault.AFTER, OutcomeUnknown)])
async def test_a_storage_that_fails_leaves_no_second_row(scene, fault, error) -> None:
    await seen(scene)
    before = len(await scene.access_rows())
    scene.storage.arm(1, methods={"commit_seen"}, fault=fault)
    with pytest.raises(error):
        await again(scene)
    assert len(await scene.access_rows()) == before + (fault is Fault.AFTER)


async def test_a_storage_that_fails_at_the_read_that_follows_is_unavailable(scene) -> None:
    await seen(scene)
    await scene.purge()
    scene.storage.arm(1, methods={"read"})
    with pytest.raises(StorageUnavailable):
        await again(scene)


async def test_an_entry_that_was_purged_is_kept_no_more(scene) -> None:
    await seen(scene)
    await scene.purge()
    scene.storage.arm()
    with pytest.raises(EntryNotFound):
        await again(scene)
    assert scene.storage.calls[0] == "read"


async def test_the_oldest_entry_beyond_the_limit_is_dropped(scene) -> None:
    await scene.store("pay-1")
    await scene.store("pay-2")
    loader: Any = SimpleNamespace(max_clock_age_seconds=1.0)
    authorizer: Any = None
    kept = SeenEntries(scene.vault.queue, loader, authorizer, max_read=1)
    entries = scene.vault.entries
    first, second = [(await entries.inspect(scene.owner, EntryKey("card", name))).entry for name in ("pay-1", "pay-2")]
    kept.keep(first.key, first)
    kept.keep(second.key, second)
    assert (kept.entry(first.key), kept.entry(second.key)) == (None, second)


async def test_stored_entries_do_not_take_the_place_of_one_that_was_read(scene) -> None:
    await scene.store("pay-1")
    await scene.store("pay-2")
    loader: Any = SimpleNamespace(max_clock_age_seconds=1.0)
    authorizer: Any = None
    kept = SeenEntries(scene.vault.queue, loader, authorizer, max_read=1, max_stored=1)
    entries = scene.vault.entries
    first, second = [(await entries.inspect(scene.owner, EntryKey("card", name))).entry for name in ("pay-1", "pay-2")]
    kept.keep(first.key, first)
    kept.keep_stored(second.key, second)
    assert (kept.entry(first.key), kept.entry(second.key)) == (first, second)
    replaced = replace(first, version=2)
    kept.keep_stored(first.key, replaced)
    assert (kept.entry(first.key), kept.entry(second.key)) == (replaced, second)


async def test_a_retrieval_that_moves_the_expiry_undoes_no_replacement(scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.retain(inactivity_days=5)
    await scene.store(value=b"first")
    queue = scene.vault.queue
    commit = queue.commit

    async def replaced_before(write: Any) -> Any:
        monkeypatch.setattr(queue, "commit", commit)
        await scene.store(value=b"second")
        return await commit(write)

    await scene.go_to(scene.clock.at + timedelta(days=1))
    monkeypatch.setattr(queue, "commit", replaced_before)
    assert (await again(scene)).value == b"second"
    assert (await again(scene)).value == b"second"
