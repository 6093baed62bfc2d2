"""Entries: every state against every operation, replacing, preconditions, retention, and who may."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from vsqlvault.errors import (
    AccessDenied,
    EntryExpired,
    EntryNotFound,
    EntryPurged,
    ExpiresInPast,
    IdRetired,
    KeyRefWithoutValue,
    NoRetentionPolicy,
    PreconditionFailed,
    RetentionExceeded,
    UndefinedPolicy,
    VaultError,
)
from vsqlvault.interfaces.storage import Read
from vsqlvault.interfaces.writes import StoreEntry
from vsqlvault.model.access import Action
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey, EntryState, EntryVersion, ValueEncoding
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgeReason
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.runtime import Tuning
from vsqlvault.service.entries.insert_predictor import InsertPredictor
from vsqlvault.service.entries.listing import ScanLimits
from vsqlvault.service.entries.requests import ListRequest, Preconditions
from vsqlvault.service.entries.seen import SeenEntries
from vsqlvault.testing import a_call, a_write, an_access_policy
from vsqlvault_plugins.access.rules import RulesEvaluator

KEY = EntryKey("card", "pay-1")
DAY = timedelta(days=1)


@pytest.fixture(params=["with a read", "without a read", "as it was seen"], autouse=True)
def how_it_decides(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whatever is expected to be there, what becomes of a request is the same."""
    how = str(request.param)
    monkeypatch.setattr(InsertPredictor, "expects_insert", lambda *_: how != "with a read")
    if how != "as it was seen":
        monkeypatch.setattr(SeenEntries, "entry", lambda *_: None)
    return how


async def ask(scene: Any, operation: str, call: Any = None, **wanted: Any) -> Any:
    call = call or scene.owner
    if operation == "store":
        return await scene.store(call=call, **wanted)
    if operation == "purge":
        return await scene.purge(call=call)
    return await getattr(scene.vault.entries, operation)(call, KEY)


async def bring_to(scene: Any, state: str) -> None:
    """Put ``pay-1`` into a state."""
    if state == "shredded":
        await scene.retain(purge_method="crypto-shred")
    if state != "never stored":
        await scene.store(value=b"old")
    if state in {"deleted", "shredded"}:
        await scene.purge()
    if state == "expired":
        scene.clock.advance(days=90)
    if state == "beyond the retention limit":
        await scene.retain(max_retention_days=10, default_ttl_days=5)
        scene.clock.advance(days=10)


async def entry_of(scene: Any, external_id: str = "pay-1") -> Any:
    (snapshot,) = await scene.storage.inner.read([Read(EntryKey("card", external_id), with_value=True)])
    return snapshot.entry


class TestStatesAndOperations:
    MATRIX: dict[tuple[str, str], type[VaultError] | None] = {
        ("never stored", "retrieve"): EntryNotFound,
        ("never stored", "inspect"): EntryNotFound,
        ("never stored", "purge"): EntryNotFound,
        ("never stored", "store"): None,
        ("active", "retrieve"): None,
        ("active", "inspect"): None,
        ("active", "purge"): None,
        ("active", "store"): None,
        ("expired", "retrieve"): EntryExpired,
        ("expired", "inspect"): EntryExpired,
        ("expired", "purge"): EntryExpired,
        ("expired", "store"): None,
        ("beyond the retention limit", "retrieve"): EntryExpired,
        ("beyond the retention limit", "inspect"): EntryExpired,
        ("beyond the retention limit", "purge"): EntryExpired,
        ("beyond the retention limit", "store"): None,
        ("deleted", "retrieve"): EntryNotFound,
        ("deleted", "inspect"): EntryNotFound,
        ("deleted", "purge"): EntryNotFound,
        ("deleted", "store"): None,
        ("shredded", "retrieve"): EntryPurged,
        ("shredded", "inspect"): EntryPurged,
        ("shredded", "purge"): EntryPurged,
        ("shredded", "store"): IdRetired,
    }
    HIDDEN = ("active", "expired", "beyond the retention limit", "shredded")

    @pytest.mark.parametrize(("state", "operation"), MATRIX)
    async def test_its_owner_is_answered_as_the_state_asks(self, scene, state, operation) -> None:
        await bring_to(scene, state)
        error = self.MATRIX[state, operation]
        if error is None:
            await ask(scene, operation, value=b"new")
            wanted = (Outcome.GRANTED, None)
        else:
            with pytest.raises(error) as refused:
                await ask(scene, operation, value=b"new")
            assert type(refused.value) is error
            wanted = (Outcome.DENIED, error.reason)
        row = await scene.last_row()
        assert (row.outcome, row.reason, row.operation, row.app) == (*wanted, Operation(operation), "payments")

    @pytest.mark.parametrize("operation", ["retrieve", "inspect", "purge", "store"])
    @pytest.mark.parametrize("state", HIDDEN)
    async def test_a_caller_without_permission_learns_nothing_of_the_state(self, scene, state, operation) -> None:
        await bring_to(scene, state)
        before = await entry_of(scene)
        with pytest.raises(AccessDenied) as refused:
            await ask(scene, operation, scene.other, value=b"new")
        assert str(refused.value) == str(AccessDenied())
        row = await scene.last_row()
        assert (row.outcome, row.reason, row.policy) == (Outcome.DENIED, "app-not-allowed", "owner-only")
        assert await entry_of(scene) == before

    @pytest.mark.parametrize("operation", ["retrieve", "inspect", "purge"])
    @pytest.mark.parametrize("state", ["never stored", *HIDDEN])
    async def test_without_the_purpose_an_entry_cannot_be_detected(self, scene, state, operation) -> None:
        await bring_to(scene, state)
        stranger = a_call("payments", purposes=frozenset({"ach"}))
        with pytest.raises(AccessDenied) as refused:
            await ask(scene, operation, stranger)
        assert refused.value.detail == "the credential does not have the purpose card"
        assert (await scene.last_row()).reason == "purpose-not-held"

    @pytest.mark.parametrize("operation", ["retrieve", "inspect", "purge", "store"])
    @pytest.mark.parametrize("state", ["never stored", "active"])
    async def test_without_purpose_and_permission_every_entry_gets_the_same_detail(
        self, scene, state, operation
    ) -> None:
        if state == "active":
            await scene.store()
        with pytest.raises(AccessDenied) as refused:
            await ask(scene, operation, a_call("billing", purposes=frozenset({"ach"})), value=b"new")
        assert refused.value.detail == "the credential does not have the purpose card"

    async def test_the_instant_of_expiry_is_expired_and_the_one_before_is_not(self, scene) -> None:
        end = (await scene.store()).viewed.effective_expires_at
        scene.clock.at = end - timedelta(microseconds=1)
        await ask(scene, "retrieve")
        scene.clock.at = end
        with pytest.raises(EntryExpired):
            await ask(scene, "retrieve")
        assert (await scene.last_row()).at == end

    async def test_a_shorter_maximum_ends_entries_at_once(self, scene) -> None:
        await scene.store()
        scene.clock.advance(days=30)
        await ask(scene, "retrieve")
        await scene.retain(max_retention_days=30, default_ttl_days=10)
        with pytest.raises(EntryExpired):
            await ask(scene, "retrieve")

    async def test_a_retrieval_brings_the_value_and_an_inspection_does_not(self, scene) -> None:
        await scene.store(value=b"\x00\xff")
        assert (await ask(scene, "retrieve")).value == b"\x00\xff"
        assert (await ask(scene, "inspect")).value is None

    async def test_an_inspection_asks_the_storage_for_no_value(self, scene, monkeypatch, how_it_decides) -> None:
        await scene.store()
        asked = []
        read = scene.storage.inner.read

        async def watched(reads):
            asked.extend(reads)
            return await read(reads)

        monkeypatch.setattr(scene.storage.inner, "read", watched)
        await ask(scene, "inspect")
        assert [wanted.with_value for wanted in asked] == ([] if how_it_decides == "as it was seen" else [False])

    async def test_the_row_names_the_version_that_was_retrieved(self, scene) -> None:
        await scene.store(value=b"1")
        stored = await scene.store(value=b"2")
        await ask(scene, "retrieve")
        assert (await scene.last_row()).stamp == stored.viewed.entry.stamp

    @pytest.mark.parametrize("operation", ["store", "retrieve", "inspect", "purge"])
    async def test_an_operation_that_succeeds_leaves_exactly_one_row(self, scene, operation) -> None:
        await scene.store(value=b"old")
        before = len(await scene.access_rows())
        await ask(scene, operation, value=b"new")
        assert len(await scene.access_rows()) == before + 1


class TestCreating:
    async def test_an_entry_belongs_to_who_created_it(self, scene) -> None:
        entry = (await scene.store()).viewed.entry
        assert (entry.owner_app, entry.owner_identity, entry.version, entry.retrievals) == ("payments", "jane", 1, 0)
        assert entry.created_at == entry.updated_at == scene.clock.at
        assert await entry_of(scene) == entry

    async def test_the_row_says_created(self, scene) -> None:
        await scene.store()
        row = await scene.last_row()
        assert (row.status, row.stamp) == (201, (await entry_of(scene)).stamp)

    async def test_a_purpose_without_a_retention_policy_takes_nothing(self, scene) -> None:
        with pytest.raises(NoRetentionPolicy):
            await scene.store(purpose="ach")

    async def test_without_a_wish_the_default_is_the_end(self, scene) -> None:
        assert (await scene.store()).viewed.entry.expires_at == scene.clock.at + DAY * 90

    async def test_without_a_default_the_maximum_is_the_end(self, scene) -> None:
        await scene.retain(default_ttl_days=None)
        assert (await scene.store()).viewed.entry.expires_at == scene.clock.at + DAY * 365

    @pytest.mark.parametrize(
        ("expires_in", "error"),
        [
            (timedelta(microseconds=1), None),
            (DAY * 365, None),
            (DAY * 365 + timedelta(microseconds=1), RetentionExceeded),
            (timedelta(0), ExpiresInPast),
            (-DAY, ExpiresInPast),
        ],
    )
    async def test_a_wished_end_lies_between_now_and_the_maximum(self, scene, expires_in, error) -> None:
        wanted = {"expires_at": scene.clock.at + expires_in}
        if error is None:
            assert (await scene.store(**wanted)).viewed.entry.expires_at == wanted["expires_at"]
        else:
            with pytest.raises(error):
                await scene.store(**wanted)
            assert await entry_of(scene) is None

    async def test_a_policy_that_is_not_defined_warns_and_falls_to_owner_only(self, scene) -> None:
        stored = await scene.store(access_policy="tellers")
        assert len(stored.warnings) == 1
        assert "tellers" in stored.warnings[0]
        await ask(scene, "retrieve")
        with pytest.raises(AccessDenied):
            await ask(scene, "retrieve", scene.other)

    async def test_once_it_is_defined_it_is_in_force(self, scene) -> None:
        await scene.store(access_policy="tellers")
        policy = an_access_policy(rules={Action.RETRIEVE: Rule(frozenset({"shop"}))})
        await scene.vault.rules.policies.save_access_policy(scene.admin, policy)
        await ask(scene, "retrieve", scene.other)
        with pytest.raises(AccessDenied):
            await ask(scene, "retrieve")

    async def test_a_policy_that_is_not_defined_can_be_refused(self, open_scene) -> None:
        scene = await open_scene(access__require_defined_policy="true")
        with pytest.raises(UndefinedPolicy):
            await scene.store(access_policy="tellers")
        assert (await scene.store(access_policy="same-purpose")).warnings == ()

    async def test_nobody_stores_under_a_policy_that_would_not_let_them(self, scene) -> None:
        with pytest.raises(AccessDenied):
            await scene.store(access_policy="admin-only")
        assert (await scene.store(call=scene.admin, access_policy="admin-only")).created


class TestReplacing:
    async def test_the_replaced_version_has_a_purge_row_with_its_proof(self, scene) -> None:
        old = (await scene.store(value=b"old")).viewed.entry
        scene.clock.advance(hours=1)
        await scene.store(value=b"new")
        (record,) = await scene.purge_rows()
        assert (record.reason, record.entry_id, record.entry_version) == (PurgeReason.REPLACED, old.entry_id, 1)
        assert record.proof_hash == purge_proof(old, b"old")
        assert record.purged_at == scene.clock.at

    async def test_the_next_version_keeps_owner_creation_and_retrievals(self, scene) -> None:
        policy = an_access_policy(
            rules={Action.STORE: Rule(frozenset({"@owner", "shop"})), Action.RETRIEVE: Rule(max_retrievals=9)}
        )
        await scene.vault.rules.policies.save_access_policy(scene.admin, policy)
        first = (await scene.store(access_policy="tellers", value=b"1")).viewed.entry
        await ask(scene, "retrieve")
        scene.clock.advance(days=1)
        second = (await scene.store(call=scene.other, access_policy="tellers", value=b"2")).viewed.entry
        assert (second.entry_id, second.version) == (first.entry_id, 2)
        assert (second.owner_app, second.owner_identity, second.created_at) == ("payments", "jane", first.created_at)
        assert second.retrievals == 1
        assert second.updated_at == scene.clock.at
        assert await entry_of(scene) == second

    async def test_replacing_does_not_prolong_beyond_the_maximum_since_creation(self, scene) -> None:
        first = (await scene.store(value=b"1")).viewed.entry
        scene.clock.advance(days=80)
        with pytest.raises(RetentionExceeded):
            await scene.store(value=b"2", expires_at=first.created_at + DAY * 366)
        await scene.store(value=b"2", expires_at=first.created_at + DAY * 365)

    async def test_a_default_that_reaches_beyond_the_maximum_is_cut(self, scene) -> None:
        await scene.retain(max_retention_days=100, default_ttl_days=90)
        first = (await scene.store(value=b"1")).viewed.entry
        scene.clock.advance(days=50)
        assert (await scene.store(value=b"2")).viewed.entry.expires_at == first.created_at + DAY * 100

    async def test_the_same_again_writes_no_version_and_leaves_its_row(self, scene) -> None:
        first = await scene.store(value=b"same")
        scene.clock.advance(hours=1)
        rows = len(await scene.access_rows())
        second = await scene.store(value=b"same")
        assert (second.created, second.unchanged) == (False, True)
        assert second.viewed.entry == first.viewed.entry == await entry_of(scene)
        assert await scene.purge_rows() == []
        assert len(await scene.access_rows()) == rows + 1

    @pytest.mark.parametrize(
        "wanted",
        [
            {"value": b"other"},
            {"metadata": '{"a":1}'},
            {"access_policy": "same-purpose"},
            {"value": b"other", "key_ref": "k2", "algorithm_hint": None},
        ],
        ids="+".join,
    )
    async def test_something_else_is_a_new_version(self, scene, wanted) -> None:
        await scene.store()
        stored = await scene.store(**wanted)
        assert (stored.created, stored.unchanged, stored.viewed.entry.version) == (False, False, 2)
        assert (await scene.last_row()).status == 200

    async def test_another_end_is_a_new_version_and_the_same_end_is_not(self, scene) -> None:
        end = (await scene.store()).viewed.entry.expires_at
        assert (await scene.store(expires_at=end)).unchanged
        assert (await scene.store(expires_at=end + DAY)).viewed.entry.version == 2

    @pytest.mark.parametrize("wanted", [{"key_ref": "k2"}, {"key_ref": None}, {"algorithm_hint": "other"}])
    async def test_what_describes_the_value_changes_only_with_it(self, scene, wanted) -> None:
        await scene.store()
        with pytest.raises(KeyRefWithoutValue):
            await scene.store(**wanted)
        assert (await entry_of(scene)).version == 1

    async def test_another_encoding_of_the_same_bytes_is_no_other_value(self, scene) -> None:
        await scene.store(value=b"same", encoding=ValueEncoding.UTF_8)
        with pytest.raises(KeyRefWithoutValue):
            await scene.store(value=b"same", encoding=ValueEncoding.BASE64, key_ref="k2")

    async def test_nobody_takes_an_entry_over(self, scene) -> None:
        await scene.store(access_policy="same-purpose", value=b"mine")
        for call in (scene.other, scene.admin):
            with pytest.raises(AccessDenied):
                await scene.store(call=call, access_policy="same-purpose", value=b"yours")
        assert (await ask(scene, "retrieve")).value == b"mine"

    async def test_the_row_of_a_replacement_names_the_policy_that_decided(self, scene) -> None:
        await scene.store(access_policy="same-purpose")
        await scene.store(access_policy="owner-only")
        assert (await scene.last_row()).policy == "same-purpose"

    async def test_an_expired_id_is_created_again_by_its_owner(self, scene) -> None:
        old = (await scene.store(value=b"old")).viewed.entry
        scene.clock.advance(days=91)
        stored = await scene.store(value=b"new")
        assert stored.created
        assert stored.viewed.entry.entry_id != old.entry_id
        assert (stored.viewed.entry.version, stored.viewed.entry.created_at) == (1, scene.clock.at)
        (record,) = await scene.purge_rows()
        assert (record.reason, record.entry_id, record.policy_reference) == (
            PurgeReason.EXPIRED,
            old.entry_id,
            "card v1",
        )
        assert record.proof_hash == purge_proof(old, b"old")

    async def test_an_expired_id_that_a_shred_would_retire_is_retired(self, scene) -> None:
        await scene.retain(purge_method="crypto-shred")
        await scene.store()
        scene.clock.advance(days=91)
        with pytest.raises(IdRetired):
            await scene.store(value=b"new")


class TestPreconditions:
    @pytest.fixture
    def entries(self, scene) -> Any:
        return scene.vault.entries

    async def test_create_only_creates(self, scene) -> None:
        assert (await scene.store(preconditions=Preconditions(none_exists=True))).created

    async def test_create_only_does_not_replace_nor_repeat(self, scene) -> None:
        await scene.store()
        for value in (b"cipher", b"other"):
            with pytest.raises(PreconditionFailed):
                await scene.store(value=value, preconditions=Preconditions(none_exists=True))

    @pytest.mark.parametrize("state", ["expired", "deleted"])
    async def test_create_only_takes_what_is_gone_for_nothing(self, scene, state) -> None:
        await bring_to(scene, state)
        assert (await scene.store(preconditions=Preconditions(none_exists=True))).created

    @pytest.mark.parametrize("state", ["never stored", "expired", "deleted"])
    @pytest.mark.parametrize(
        "preconditions", [Preconditions(any_match=True), Preconditions(match=frozenset({EntryVersion("0" * 32, 1)}))]
    )
    async def test_replace_only_does_not_create(self, scene, state, preconditions) -> None:
        await bring_to(scene, state)
        with pytest.raises(PreconditionFailed):
            await scene.store(value=b"new", preconditions=preconditions)
        assert (await scene.last_row()).reason == "precondition"

    async def test_the_version_asked_for_is_replaced_and_an_older_one_is_not(self, scene) -> None:
        first = (await scene.store(value=b"1")).viewed.entry.stamp
        match = Preconditions(match=frozenset({first}))
        await scene.store(value=b"2", preconditions=match)
        with pytest.raises(PreconditionFailed):
            await scene.store(value=b"3", preconditions=match)
        await scene.store(value=b"3", preconditions=Preconditions(any_match=True))

    async def test_an_old_stamp_does_not_fit_a_new_entry_under_the_id(self, scene) -> None:
        old = (await scene.store()).viewed.entry.stamp
        await scene.purge()
        await scene.store()
        with pytest.raises(PreconditionFailed):
            await scene.store(value=b"2", preconditions=Preconditions(match=frozenset({old})))

    async def test_no_stamp_at_all_fits_nothing(self, scene) -> None:
        await scene.store()
        with pytest.raises(PreconditionFailed):
            await scene.store(value=b"2", preconditions=Preconditions(match=frozenset()))

    async def test_a_purge_heeds_them_too(self, scene, entries) -> None:
        stamp = (await scene.store()).viewed.entry.stamp
        with pytest.raises(PreconditionFailed):
            await entries.purge(scene.owner, KEY, Preconditions(match=frozenset({EntryVersion(stamp.entry_id, 2)})))
        assert await scene.purge_rows() == []
        await entries.purge(scene.owner, KEY, Preconditions(match=frozenset({stamp})))

    async def test_of_two_who_replace_the_same_version_one_does(self, scene) -> None:
        stamp = (await scene.store(value=b"0")).viewed.entry.stamp
        match = Preconditions(match=frozenset({stamp}))
        results = await asyncio.gather(
            *(scene.store(value=b"%d" % n, preconditions=match) for n in (1, 2)), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["PreconditionFailed", "StoreResult"]


class TestRaces:
    async def test_of_fifty_who_retrieve_at_once_exactly_ten_see_the_value(self, scene) -> None:
        policy = an_access_policy(rules={Action.STORE: Rule(), Action.RETRIEVE: Rule(max_retrievals=10)})
        await scene.vault.rules.policies.save_access_policy(scene.admin, policy)
        await scene.store(access_policy="tellers")
        results = await asyncio.gather(*(ask(scene, "retrieve") for _ in range(50)), return_exceptions=True)
        assert sum(getattr(result, "value", None) == b"cipher" for result in results) == 10
        assert sum(isinstance(result, AccessDenied) for result in results) == 40
        assert (await entry_of(scene)).retrievals == 10
        rows = await scene.access_rows(operation="retrieve")
        assert (
            sorted((row.outcome, row.reason) for row in rows if row.reason)
            == [("denied", "max-retrievals-reached")] * 40
        )
        assert len(rows) == 50

    async def test_an_entry_seen_under_a_limit_tells_its_own_retrieval(self, scene) -> None:
        policy = an_access_policy(rules={Action.STORE: Rule(), Action.RETRIEVE: Rule(max_retrievals=3)})
        await scene.vault.rules.policies.save_access_policy(scene.admin, policy)
        await scene.store(access_policy="tellers")
        assert [(await ask(scene, "retrieve")).entry.retrievals for _ in range(3)] == [1, 2, 3]

    async def test_without_a_limit_nothing_is_counted(self, scene) -> None:
        await scene.store()
        await ask(scene, "retrieve")
        assert (await entry_of(scene)).retrievals == 0

    async def test_of_fifty_who_create_at_once_one_creates_and_each_version_has_its_proof(self, scene) -> None:
        results = await asyncio.gather(*(scene.store(value=b"v%d" % n) for n in range(50)))
        assert sum(result.created for result in results) == 1
        assert sorted(result.viewed.entry.version for result in results) == list(range(1, 51))
        proofs = {purge_proof(r.viewed.entry, b"v%d" % n) for n, r in enumerate(results) if r.viewed.entry.version < 50}
        assert {record.proof_hash for record in await scene.purge_rows()} == proofs

    async def test_of_fifty_who_purge_at_once_one_does(self, scene) -> None:
        await scene.store()
        results = await asyncio.gather(*(scene.purge() for _ in range(50)), return_exceptions=True)
        assert sum(isinstance(result, EntryNotFound) for result in results) == 49
        assert len(await scene.purge_rows()) == 1
        assert len(await scene.access_rows(operation="purge")) == 50

    @pytest.mark.parametrize("operation", ["retrieve", "inspect", "purge"])
    async def test_a_policy_that_is_tightened_between_look_and_commit_is_honoured(self, scene, operation) -> None:
        open_policy = an_access_policy(rules={a: Rule(any_purpose=True) for a in Action})
        closed = an_access_policy(rules={a: Rule(frozenset()) for a in Action})
        await scene.vault.rules.policies.save_access_policy(scene.admin, open_policy)
        await scene.store(access_policy="tellers")
        meanwhile(scene, lambda: scene.vault.rules.policies.save_access_policy(scene.admin, closed))
        with pytest.raises(AccessDenied):
            await ask(scene, operation)
        row = (await scene.access_rows(operation=operation))[-1]
        assert (row.outcome, row.policy_version) == (Outcome.DENIED, 2)
        assert len(await scene.access_rows(operation=operation)) == 1
        assert (await entry_of(scene)).purged_at is None

    async def test_a_policy_that_is_tightened_before_a_list_is_committed_hides_its_entries(self, scene) -> None:
        open_policy = an_access_policy(rules={a: Rule(any_purpose=True) for a in Action})
        closed = an_access_policy(rules={a: Rule(frozenset()) for a in Action})
        await scene.vault.rules.policies.save_access_policy(scene.admin, open_policy)
        await scene.store(access_policy="tellers")
        meanwhile(scene, lambda: scene.vault.rules.policies.save_access_policy(scene.admin, closed))
        page = await scene.vault.entries.list_purpose(scene.owner, "card", ListRequest(limit=5))
        assert page.entries == ()
        assert len(await scene.access_rows(operation="list")) == 1

    async def test_an_entry_replaced_between_look_and_commit_is_never_seen_as_it_was(self, scene) -> None:
        await scene.store(value=b"old")
        meanwhile(scene, lambda: scene.store(value=b"new"))
        viewed = await ask(scene, "retrieve")
        assert (viewed.value, viewed.entry.version) == (b"new", 2)
        (row,) = await scene.access_rows(operation="retrieve")
        assert row.stamp == viewed.entry.stamp

    async def test_an_entry_purged_between_look_and_commit_is_not_found_and_the_row_names_no_version(
        self, scene
    ) -> None:
        await scene.store()
        meanwhile(scene, scene.purge)
        with pytest.raises(EntryNotFound):
            await ask(scene, "retrieve")
        (row,) = await scene.access_rows(operation="retrieve")
        assert (row.outcome, row.reason, row.stamp) == (Outcome.DENIED, "not_found", None)

    @pytest.mark.parametrize("operation", ["retrieve", "inspect"])
    async def test_a_row_never_carries_what_an_earlier_attempt_decided(self, scene, operation) -> None:
        """The first attempt is allowed by a policy and comes too late; the second finds nothing to decide about."""
        await scene.store()
        meanwhile(scene, scene.purge)
        with pytest.raises(EntryNotFound):
            await ask(scene, operation)
        (row,) = await scene.access_rows(operation=operation, outcome="denied")
        assert (row.reason, row.policy, row.policy_version) == ("not_found", None, None)

    async def test_a_retention_policy_shortened_between_look_and_commit_is_honoured(self, scene) -> None:
        await scene.store()
        scene.clock.advance(days=20)
        meanwhile(scene, lambda: scene.retain(max_retention_days=10, default_ttl_days=5))
        with pytest.raises(EntryExpired):
            await ask(scene, "retrieve")

    async def test_another_process_that_replaces_meanwhile_makes_a_purge_look_again(self, scene) -> None:
        """Around the locks of this process: straight into the storage."""
        entry = (await scene.store(value=b"old")).viewed.entry
        other = replace(entry, version=2, value_sha256="0" * 64, value_size=3)
        meanwhile(scene, lambda: scene.storage.inner.commit([a_write(StoreEntry(other, b"new"))]))
        record = await scene.purge()
        assert record.entry_version == 2
        assert record.proof_hash == purge_proof(other, b"new")


def meanwhile(scene: Any, act: Any) -> None:
    """Do something once: after the next look, and before what is then committed."""
    queue = scene.vault.queue
    commits = {name: getattr(queue, name) for name in ("commit", "commit_seen")}

    async def act_then_commit(name: str, write: Any) -> Any:
        for each, commit in commits.items():
            setattr(queue, each, commit)
        await act()
        return await commits[name](write)

    for name in commits:
        setattr(queue, name, partial(act_then_commit, name))


class TestListing:
    async def names(self, scene, call=None, **wanted: Any) -> list[str]:
        found: list[str] = []
        after = None
        while True:
            page = await scene.vault.entries.list_purpose(
                call or scene.owner, "card", ListRequest(**{"limit": 3} | wanted, after=after)
            )
            found += [viewed.entry.external_id for viewed in page.entries]
            if page.after is None:
                return found
            after = page.after

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 100])
    async def test_pages_are_complete(self, scene, limit) -> None:
        for n in range(7):
            await scene.store(f"e{n}")
        assert await self.names(scene, limit=limit) == [f"e{n}" for n in range(7)]

    async def test_a_page_that_ends_with_the_last_entry_says_so(self, scene) -> None:
        for n in range(3):
            await scene.store(f"e{n}")
        page = await scene.vault.entries.list_purpose(scene.owner, "card", ListRequest(limit=3))
        assert (len(page.entries), page.after) == (3, None)

    async def test_only_what_the_caller_may_inspect_is_listed(self, scene) -> None:
        for n in range(8):
            await scene.store(f"e{n}", call=scene.owner if n % 2 else scene.other)
        assert await self.names(scene) == ["e1", "e3", "e5", "e7"]
        assert await self.names(scene, scene.other) == ["e0", "e2", "e4", "e6"]

    @pytest.mark.parametrize("role", Role)
    async def test_admins_and_auditors_list_everything_without_holding_the_purpose(self, scene, role) -> None:
        await scene.store("a")
        await scene.store("b", call=scene.other)
        reader = a_call("reader", role, purposes=frozenset())
        assert await self.names(scene, reader) == ["a", "b"]

    async def test_without_the_purpose_a_list_is_denied(self, scene) -> None:
        with pytest.raises(AccessDenied):
            await self.names(scene, a_call("payments", purposes=frozenset()))
        row = await scene.last_row()
        assert (row.operation, row.purpose, row.reason) == (Operation.LIST, "card", "purpose-not-held")

    async def test_no_value_is_listed_and_a_page_has_one_row(self, scene) -> None:
        await scene.store()
        page = await scene.vault.entries.list_purpose(scene.owner, "card", ListRequest(limit=5))
        assert [viewed.value for viewed in page.entries] == [None]
        assert len(await scene.access_rows(operation="list")) == 1

    async def test_states_are_distinguished(self, scene) -> None:
        await scene.retain(purge_method="crypto-shred")
        await scene.store("ended", expires_at=scene.clock.at + DAY)
        await scene.store("live")
        await scene.store("shredded")
        await scene.purge("shredded")
        scene.clock.advance(days=2)
        for state, names in (
            (EntryState.ACTIVE, ["live"]),
            (EntryState.EXPIRED, ["ended"]),
            (EntryState.PURGED, ["shredded"]),
        ):
            assert await self.names(scene, state=state) == names

    async def test_a_long_run_of_what_may_not_be_seen_is_walked_in_bounded_pages(self, open_scene) -> None:
        scene = await open_scene(tuning=Tuning(scan_limits=ScanLimits(entries=4)))
        for n in range(10):
            await scene.store(f"e{n}", call=scene.other)
        await scene.store("mine")
        page = await scene.vault.entries.list_purpose(scene.owner, "card", ListRequest(limit=3))
        assert (page.entries, page.after) == ((), "e3")
        assert await self.names(scene) == ["mine"]

    async def test_a_scan_that_takes_long_ends_with_a_short_page_and_goes_on_after_it(
        self, install, offering, open_scene
    ) -> None:
        class Slow(RulesEvaluator):
            name = "slow"

            def built_in_policies(self) -> list[Any]:
                return []

            async def evaluate(self, request: Any, policy: Any) -> Any:
                await asyncio.sleep(0.02)
                return policy.decide_by_rules(request)

        install(slow=offering("vault_access_policies", Slow()))
        scene = await open_scene(tuning=Tuning(scan_limits=ScanLimits(seconds=0.05)))
        await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy(evaluator="slow"))
        for n in range(10):
            await scene.store(f"e{n}", access_policy="tellers")
        teller = a_call("tellers")
        page = await scene.vault.entries.list_purpose(teller, "card", ListRequest(limit=100))
        assert 1 <= len(page.entries) < 10
        assert page.after == page.entries[-1].entry.external_id
        assert await self.names(scene, teller) == [f"e{n}" for n in range(10)]

    async def test_a_long_scan_lets_others_have_their_turn(self, install, offering, open_scene) -> None:
        class Busy(RulesEvaluator):
            name = "busy"

            def built_in_policies(self) -> list[Any]:
                return []

            def evaluate(self, request: Any, policy: Any) -> Any:
                ends = time.monotonic() + 0.003
                while time.monotonic() < ends:
                    pass
                turns_seen.append(turns)
                return policy.decide_by_rules(request)

        turns, turns_seen = 0, []

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        install(busy=offering("vault_access_policies", Busy()))
        scene = await open_scene()
        await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy(evaluator="busy"))
        for n in range(20):
            await scene.store(f"e{n}", access_policy="tellers")
        turns_seen.clear()
        task = asyncio.create_task(others())
        try:
            assert len(await self.names(scene, a_call("tellers"), limit=100)) == 20
        finally:
            task.cancel()
        assert len(set(turns_seen)) >= 5
