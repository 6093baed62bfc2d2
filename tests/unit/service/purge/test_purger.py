"""Purges: a method says how, and cannot skip or bend anything else."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import EntryHeld, EntryNotFound, EntryPurged, PluginFailed
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import EntryIs, OverwriteEntry, RemoveEntry, RevisionIs
from vsqlvault.model.audit import Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeReason, Remove
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.service.purge.purger import Purger
from vsqlvault.testing import T0, a_call, a_legal_hold, a_retention_policy, an_entry
from vsqlvault_plugins.purge.methods import CryptoShred, PhysicalDelete, RetentionExpire

KEY = EntryKey("card", "pay-1")
VALUE = b"cipher"
ENTRY = an_entry(value=VALUE)
POLICY = a_retention_policy(version=3, max_retention_days=30, purge_method="caprice")


class MisbehavingPlugin(PurgeMethod):
    """A purge method that does as a test says."""

    name = "caprice"

    def __init__(self, answer: Callable[[], Any], *, retires_id: bool = False) -> None:
        self.answer = answer
        self.retires_id = retires_id

    async def plan(self, request: Any) -> Any:
        return await self.answer()


class NotEvenAsync(MisbehavingPlugin):
    def plan(self, request: Any) -> Any:
        return self.answer()


def returning(value: Any) -> Callable[[], Any]:
    async def answer() -> Any:
        return value

    return answer


def planning(disposal: Any, reason: Any = PurgeReason.REQUESTED) -> Callable[[], Any]:
    return returning(PurgePlan(disposal, reason))


async def raising() -> Any:
    raise RuntimeError("secret words")


async def hanging() -> Any:
    await asyncio.sleep(3600)


async def exiting() -> Any:
    sys.exit(0)


async def late() -> Any:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return PurgePlan(Remove(), PurgeReason.REQUESTED)


LYING: dict[str, MisbehavingPlugin] = {
    "raises": MisbehavingPlugin(raising),
    "hangs": MisbehavingPlugin(hanging),
    "exits": MisbehavingPlugin(exiting),
    "plans after its deadline": MisbehavingPlugin(late),
    "plans nothing": MisbehavingPlugin(returning(None)),
    "plans something else": MisbehavingPlugin(returning(Remove())),
    "disposes of nothing": MisbehavingPlugin(planning(None)),
    "disposes by a word": MisbehavingPlugin(planning("remove")),
    "removes, though it retires the id": MisbehavingPlugin(planning(Remove()), retires_id=True),
    "overwrites, though it does not retire the id": MisbehavingPlugin(planning(Overwrite(bytes(6)))),
    "too short a filler": MisbehavingPlugin(planning(Overwrite(bytes(5))), retires_id=True),
    "too long a filler": MisbehavingPlugin(planning(Overwrite(bytes(7))), retires_id=True),
    "no filler": MisbehavingPlugin(planning(Overwrite(b"")), retires_id=True),
    "a filler of text": MisbehavingPlugin(planning(Overwrite("000000")), retires_id=True),
    "a filler that is none": MisbehavingPlugin(planning(Overwrite(None)), retires_id=True),
    "a filler that can change": MisbehavingPlugin(planning(Overwrite(bytearray(6))), retires_id=True),
    "no reason": MisbehavingPlugin(planning(Remove(), None)),
    "a reason of its own": MisbehavingPlugin(planning(Remove(), "because")),
}


def purges(*methods: Any) -> Purger:
    return Purger({method.name: method for method in methods}, 0.05)


def policies(retention: Any, *holds: Any) -> PolicySnapshot:
    return PolicySnapshot(7, {}, {retention.purpose: retention}, holds={hold.name: hold for hold in holds})


async def prepare(method: Any, reason: PurgeReason = PurgeReason.REQUESTED, **policy: Any) -> Any:
    retention = a_retention_policy(version=3, max_retention_days=30, **{"purge_method": method.name} | policy)
    return await purges(method).prepare(a_call(identity="jane"), ENTRY, VALUE, reason, policies(retention), T0)


@pytest.mark.parametrize("method", LYING.values(), ids=LYING)
async def test_a_method_that_plans_what_cannot_be_done_prepares_nothing(method) -> None:
    with pytest.raises(PluginFailed):
        await prepare(method)


@pytest.mark.parametrize("error", [RuntimeError("x"), TypeError("x")], ids=lambda error: type(error).__name__)
async def test_a_method_that_raises_before_there_is_anything_to_await_prepares_nothing(error) -> None:
    def answer() -> Any:
        raise error

    with pytest.raises(PluginFailed):
        await prepare(NotEvenAsync(answer))


async def test_a_method_that_nobody_offers_prepares_nothing() -> None:
    with pytest.raises(PluginFailed):
        await purges().prepare(a_call(), ENTRY, VALUE, PurgeReason.REQUESTED, policies(POLICY), T0)


def test_a_method_that_nobody_offers_is_taken_to_retire_the_id() -> None:
    assert purges().retires_id(POLICY)


async def test_a_held_entry_is_not_prepared_and_the_method_is_not_asked() -> None:
    asked: list[bool] = []

    async def answer() -> Any:
        asked.append(True)

    rules = policies(POLICY, a_legal_hold("a", 3), a_legal_hold("b"))
    for caller, told in ((a_call(), None), (a_call("admin", Role.ADMIN), "a v3, b v1")):
        with pytest.raises(EntryHeld) as held:
            await purges(MisbehavingPlugin(answer)).prepare(caller, ENTRY, VALUE, PurgeReason.REQUESTED, rules, T0)
        assert (held.value.detail, held.value.audit_detail) == (told, "held by a v3, b v1")
        with pytest.raises(EntryHeld):
            await purges().replaced(caller, ENTRY, VALUE, PurgeReason.REPLACED, rules, T0)
    assert asked == []


async def test_what_is_prepared_comes_with_the_guards_of_its_commit() -> None:
    wanted = (EntryIs(KEY, ENTRY.stamp), RevisionIs(7))
    assert (await prepare(PhysicalDelete())).guards == wanted
    replaced = await purges().replaced(a_call(), ENTRY, VALUE, PurgeReason.REPLACED, policies(POLICY), T0)
    assert replaced.guards == wanted


async def test_the_record_is_the_cores_and_complete() -> None:
    call = a_call("vault-admin", identity="jane")
    policy = a_retention_policy(version=3, max_retention_days=30)
    prepared = await purges(PhysicalDelete()).prepare(call, ENTRY, VALUE, PurgeReason.EXPIRED, policies(policy), T0)
    record = prepared.record
    assert prepared.change == RemoveEntry(KEY)
    assert record.proof_hash == purge_proof(ENTRY, VALUE)
    assert (record.key, record.entry_id, record.entry_version) == (KEY, ENTRY.entry_id, 1)
    assert (record.method, record.reason, record.policy_reference) == (
        "physical-delete",
        PurgeReason.EXPIRED,
        "card v3",
    )
    assert (record.value_size, record.key_ref, record.owner_app) == (6, ENTRY.key_ref, "payments")
    assert (record.purged_at, record.expired_at) == (T0, T0 + timedelta(days=30))
    assert (record.app, record.identity, record.request_id) == ("vault-admin", "jane", call.request_id)


async def test_each_record_has_an_id_of_its_own() -> None:
    ids = {(await prepare(PhysicalDelete())).record.purge_id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(made) == 32 and int(made, 16) >= 0 for made in ids)


async def test_a_large_value_is_proven_as_a_small_one_is() -> None:
    value = bytes(range(256)) * 1024
    entry = an_entry(value=value)
    prepared = await purges(PhysicalDelete()).prepare(
        a_call(), entry, value, PurgeReason.REQUESTED, policies(a_retention_policy()), T0
    )
    assert prepared.record.proof_hash == purge_proof(entry, value)


async def test_shredding_puts_as_many_zeros_and_marks_the_row() -> None:
    assert (await prepare(CryptoShred())).change == OverwriteEntry(KEY, bytes(6), T0, "crypto-shred")


@pytest.mark.parametrize(
    ("method", "reason", "recorded", "reference"),
    [
        (PhysicalDelete(), PurgeReason.REQUESTED, PurgeReason.REQUESTED, None),
        (PhysicalDelete(), PurgeReason.EXPIRED, PurgeReason.EXPIRED, "card v3"),
        (CryptoShred(), PurgeReason.EXPIRED, PurgeReason.EXPIRED, "card v3"),
        (RetentionExpire(), PurgeReason.EXPIRED, PurgeReason.RETENTION_POLICY, "card v3"),
        (RetentionExpire(), PurgeReason.REQUESTED, PurgeReason.REQUESTED, None),
    ],
)
async def test_the_reason_on_record(method, reason, recorded, reference) -> None:
    record = (await prepare(method, reason)).record
    assert (record.reason, record.policy_reference) == (recorded, reference)


@pytest.mark.parametrize("method", [PhysicalDelete(), RetentionExpire()])
async def test_what_is_deleted_is_as_if_it_had_never_been(scene, method) -> None:
    await scene.retain(purge_method=method.name)
    await scene.store()
    await scene.purge()
    with pytest.raises(EntryNotFound):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    assert (await scene.store()).created


async def test_what_is_shredded_is_gone_for_good(scene) -> None:
    await scene.retain(purge_method="crypto-shred")
    await scene.store()
    record = await scene.purge()
    with pytest.raises(EntryPurged):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    assert await scene.purge_rows() == [record]


async def test_a_purge_answers_with_the_row_that_was_committed_and_its_proof_can_be_recomputed(scene) -> None:
    stored = await scene.store(value=VALUE, metadata='{"a":1}')
    record = await scene.purge()
    assert await scene.purge_rows() == [record]
    assert record.proof_hash == purge_proof(stored.viewed.entry, VALUE)
    assert stored.viewed.entry.value_sha256 == hashlib.sha256(VALUE).hexdigest()


class TestInTheVault:
    @pytest.mark.parametrize("method", LYING.values(), ids=LYING)
    async def test_a_method_that_lies_keeps_the_entry_and_its_failure_has_a_row(
        self, install, offering, open_scene, method
    ) -> None:
        install(caprice=offering("vault_purge_methods", method))
        scene = await open_scene(access__plugin_timeout_seconds="0.05")
        await scene.retain(purge_method="caprice")
        await scene.store(value=VALUE)
        with pytest.raises(PluginFailed):
            await scene.purge()
        assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == VALUE
        assert await scene.purge_rows() == []
        (row,) = await scene.access_rows(operation="purge")
        assert (row.outcome, row.status, row.reason) == (Outcome.DENIED, 503, "plugin_failure")
