"""Stores that are committed without a read: when, and that they do not differ otherwise."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import (
    AccessDenied,
    AuditUnavailable,
    CredentialRefused,
    ExpiresInPast,
    IdRetired,
    OutcomeUnknown,
    PluginFailed,
    PreconditionFailed,
)
from vsqlvault.http.authentication import authenticate
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.model.access import AccessRequest, Action, Allow
from vsqlvault.model.audit import Outcome
from vsqlvault.model.policy import AccessPolicy, Rule
from vsqlvault.model.principal import Call
from vsqlvault.runtime import Tuning
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.service.entries import insert_predictor as absence
from vsqlvault.service.entries.insert_predictor import ENOUGH, InsertPredictor
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.service.entries.seen import SeenEntries
from vsqlvault.testing import Fault, a_call, an_access_policy, an_id

PATIENT = Tuning(max_clock_age_seconds=3600.0)
"""On a slow machine, too, the last read of the storage's clock is recent enough."""


@pytest.fixture
def scene(runner: asyncio.Runner, open_scene: Any) -> Any:
    return runner.run(open_scene(tuning=PATIENT))


@pytest.fixture(autouse=True)
def nothing_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is found by a read only."""
    monkeypatch.setattr(SeenEntries, "entry", lambda *_: None)


async def teach(scene: Any) -> None:
    """Store enough new entries that the next one is predicted to be new."""
    for number in range(ENOUGH):
        await scene.store(f"taught-{number}")


def calls_since(scene: Any) -> list[str]:
    return [call for call in scene.storage.calls if call in {"read", "commit"}]


class TestPredictor:
    def test_enough_new_entries_in_a_row_make_it_expect_another(self) -> None:
        predictor = InsertPredictor()
        for _ in range(ENOUGH):
            assert not predictor.expects_insert("card")
            predictor.learn("card", absent=True)
        assert predictor.expects_insert("card")
        assert not predictor.expects_insert("ach")

    def test_what_replaces_now_and_then_is_expected_to_create_and_what_does_so_often_is_not(self) -> None:
        predictor = InsertPredictor()
        for every, expected in ((8, True), (2, False), (8, True)):
            for number in range(1, 81):
                predictor.learn("card", absent=number % every != 0)
            predictor.learn("card", absent=True)
            assert predictor.expects_insert("card") is expected

    def test_however_many_it_created_a_purpose_that_begins_to_replace_is_soon_known_for_it(self) -> None:
        predictor = InsertPredictor()
        for _ in range(1000):
            predictor.learn("card", absent=True)
        for _ in range(3):
            predictor.learn("card", absent=False)
        assert not predictor.expects_insert("card")


async def test_a_store_that_most_likely_creates_is_one_commit_and_no_read(scene) -> None:
    for number in range(ENOUGH + 1):
        scene.storage.arm()
        stored = await scene.store(f"new-{number}")
        assert calls_since(scene) == (["read", "commit"] if number < ENOUGH else ["commit"])
        assert stored.created
    row = await scene.last_row()
    assert (row.outcome, row.status, row.external_id, row.policy) == (
        Outcome.GRANTED,
        201,
        f"new-{ENOUGH}",
        "owner-only",
    )
    assert row.stamp == stored.viewed.entry.stamp
    assert row.at == stored.viewed.entry.created_at


async def test_what_is_there_after_all_is_replaced_with_its_proof(scene) -> None:
    await scene.store(value=b"old")
    await teach(scene)
    scene.storage.arm()
    stored = await scene.store(value=b"new")
    assert calls_since(scene) == ["commit", "read", "commit"]
    assert (stored.created, stored.viewed.entry.version) == (False, 2)
    (purge,) = await scene.purge_rows()
    assert (purge.external_id, purge.entry_version) == ("pay-1", 1)
    assert len(await scene.access_rows(external_id="pay-1", operation="store")) == 2


async def test_an_id_that_is_retired_stays_so(scene) -> None:
    await scene.retain(purge_method="crypto-shred")
    await scene.store()
    await scene.purge()
    await teach(scene)
    with pytest.raises(IdRetired):
        await scene.store()


async def test_a_rule_that_has_changed_elsewhere_is_heeded(scene, make_vault) -> None:
    """Another process makes the policy stricter: this one has not read since."""
    open_to_all = {action: Rule() for action in Action}
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy("shared", rules=open_to_all))
    await teach(scene)
    elsewhere = await make_vault(tuning=PATIENT)
    reading_only = {Action.RETRIEVE: Rule()}
    await elsewhere.rules.policies.save_access_policy(scene.admin, an_access_policy("shared", rules=reading_only))
    scene.storage.arm()
    with pytest.raises(AccessDenied):
        await scene.store(access_policy="shared")
    assert calls_since(scene)[:2] == ["commit", "read"]
    row = await scene.last_row()
    assert (row.outcome, row.policy, row.policy_version) == (Outcome.DENIED, "shared", 2)


async def test_a_refusal_rests_on_a_look(scene) -> None:
    await teach(scene)
    scene.storage.arm()
    with pytest.raises(AccessDenied):
        await scene.store(call=a_call("payments", purposes=frozenset({"ach"})))
    assert calls_since(scene) == ["read", "commit"]


async def test_whether_a_time_is_past_is_asked_of_the_storage_where_it_is_near(scene) -> None:
    await teach(scene)
    near = scene.clock.advance(milliseconds=5)
    scene.storage.arm()
    with pytest.raises(ExpiresInPast):
        await scene.store(expires_at=near)
    assert calls_since(scene) == ["read", "commit"]


async def test_the_clock_of_a_storage_that_has_long_said_nothing_is_asked(open_scene) -> None:
    scene = await open_scene(tuning=Tuning(max_clock_age_seconds=0.01))
    await teach(scene)
    await asyncio.sleep(0.02)
    now = scene.clock.advance(days=1)
    scene.storage.arm()
    stored = await scene.store()
    assert calls_since(scene) == ["read", "commit"]
    assert stored.viewed.entry.created_at == now


@pytest.mark.parametrize(
    ("fault", "error"), [(Fault.AFTER, OutcomeUnknown), (Fault.BEFORE, AuditUnavailable)], ids=["after", "before"]
)
async def test_a_failed_commit_raises_and_is_not_retried(scene, fault, error) -> None:
    await teach(scene)
    scene.storage.arm(methods={"commit"}, fault=fault, always=True)
    with pytest.raises(error):
        await scene.store()
    assert calls_since(scene) == ["commit"]


@dataclass
class Moody:
    """An evaluator that fails once configured."""

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


async def test_a_refusal_for_a_failed_evaluator_rests_on_a_read_and_does_not_ask_again(
    install, offering, open_scene
) -> None:
    moody = Moody()
    install(moody=offering("vault_access_policies", moody))
    scene = await open_scene(tuning=PATIENT)
    await scene.vault.rules.policies.save_access_policy(
        scene.admin, an_access_policy("moods", evaluator="moody", rules={})
    )
    await teach(scene)
    moody.fails = True
    asked = []
    for _ in range(4):
        moody.asked = 0
        scene.storage.arm()
        with pytest.raises(PluginFailed):
            await scene.store(access_policy="moods")
        assert calls_since(scene) == ["read", "commit"]
        asked.append(moody.asked)
    assert asked == [1, 1, 1, 1]
    denied = await scene.access_rows(outcome="denied")
    assert {(row.reason, row.policy, row.policy_version) for row in denied} == {("plugin_failure", "moods", 1)}


async def test_a_policy_mended_elsewhere_is_not_refused_by_the_broken_one(
    install, offering, open_scene, make_vault
) -> None:
    moody = Moody()
    install(moody=offering("vault_access_policies", moody))
    scene = await open_scene(tuning=PATIENT)
    await scene.vault.rules.policies.save_access_policy(
        scene.admin, an_access_policy("moods", evaluator="moody", rules={})
    )
    await teach(scene)
    moody.fails = True
    elsewhere = await make_vault(tuning=PATIENT)
    await elsewhere.rules.policies.save_access_policy(
        scene.admin, an_access_policy("moods", rules={Action.STORE: Rule()})
    )
    assert (await scene.store(access_policy="moods")).created


async def test_repeated_mispredictions_disable_the_optimistic_store(scene) -> None:
    await scene.store()
    await teach(scene)
    calls = []
    for _ in range(4):
        scene.storage.arm()
        with pytest.raises(PreconditionFailed):
            await scene.store(preconditions=Preconditions(none_exists=True))
        calls.append(calls_since(scene))
    assert (calls[0], calls[-1]) == (["commit", "read", "commit"], ["read", "commit"])


async def test_a_key_that_has_expired_stores_nothing(scene) -> None:
    wanted = ApiKeyRequest(app="payments", purposes=frozenset({"card"}), expires_at=scene.clock.at + timedelta(hours=1))
    created = await scene.vault.credentials.api_keys.create(scene.admin, wanted)
    presented = Presented({"x-vault-key": created.secret})
    call = Call(await authenticate(scene.vault.credentials.authenticators, presented), an_id())
    await teach(scene)
    assert (await scene.store("before", call=call)).created
    scene.clock.advance(hours=1)
    await scene.vault.queue.read()
    scene.storage.arm()
    with pytest.raises(CredentialRefused):
        await scene.store("after", call=call)
    assert calls_since(scene) == ["read", "commit"]


async def test_a_word_of_the_storage_is_as_old_as_the_question(open_scene, monkeypatch) -> None:
    """An answer that was long on its way tells a time that is long past."""
    scene = await open_scene(tuning=Tuning(max_clock_age_seconds=0.05))
    await teach(scene)
    read = scene.storage.inner.read

    async def read_slowly(reads: Any) -> Any:
        snapshots = await read(reads)
        await asyncio.sleep(0.1)
        return snapshots

    monkeypatch.setattr(scene.storage.inner, "read", read_slowly)
    await scene.vault.queue.read()
    scene.storage.arm()
    await scene.store()
    assert calls_since(scene) == ["read", "commit"]


async def test_many_stores_of_one_new_entry_create_it_once(scene) -> None:
    await teach(scene)
    scene.storage.arm()
    results = await asyncio.gather(*(scene.store(value=b"%d" % number) for number in range(20)))
    assert sum(stored.created for stored in results) == 1
    in_vain = calls_since(scene).count("commit") - 20
    assert in_vain <= 3  # each knows what the one before it has taught
    assert sorted(stored.viewed.entry.version for stored in results) == list(range(1, 21))
    assert len(await scene.purge_rows()) == 19


async def test_what_it_knows_of_a_purpose_is_forgotten_by_meeting_entries(scene) -> None:
    await teach(scene)
    for number in range(absence.MOST):
        await scene.store(value=b"%d" % number)
    scene.storage.arm()
    await scene.store("another")
    assert calls_since(scene) == ["read", "commit"]
