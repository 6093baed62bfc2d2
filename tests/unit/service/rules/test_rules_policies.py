"""Policies: versions, authors, old and new values, and what cannot be changed."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import (
    AccessDenied,
    BuiltInPolicy,
    PolicyInUse,
    PolicyNotFound,
    PreconditionFailed,
    RoleRequired,
    StorageUnavailable,
    ValidationFailed,
)
from vsqlvault.interfaces.storage import RetentionLimitEffect
from vsqlvault.interfaces.writes import RevisionIs, SaveAccessPolicy
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Role
from vsqlvault.service.rules.preconditions import VersionPreconditions
from vsqlvault.testing import T0, a_call, a_retention_policy, a_write, an_access_policy

TELLERS = an_access_policy()


async def save(scene: Any, policy: Any = TELLERS, call: Any = None) -> Any:
    return await scene.vault.rules.policies.save_access_policy(call or scene.admin, policy)


async def test_each_change_is_the_next_version_with_author_and_time(scene) -> None:
    first, is_new = await save(scene, replace(TELLERS, version=99, created_by="liar", created_at=None))
    assert (first.version, first.created_by, first.created_at, is_new) == (1, "vault-admin", scene.clock.at, True)
    at = scene.clock.advance(hours=1)
    second, is_new = await save(scene, call=a_call("other-admin", Role.ADMIN))
    assert (second.version, second.created_by, second.created_at, is_new) == (2, "other-admin", at, False)
    assert await scene.vault.rules.policies.access_policy(scene.admin, "tellers") == second


async def test_a_retention_policy_counts_its_versions_too(scene) -> None:
    saved = await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy(version=7))
    assert (saved.policy.version, saved.is_new) == (2, False)
    assert await scene.vault.rules.policies.retention_policy(scene.admin, "card") == saved.policy


async def test_a_name_that_was_dropped_goes_on_counting(scene) -> None:
    await save(scene)
    await scene.vault.rules.policies.delete_access_policy(scene.admin, "tellers")
    again, is_new = await save(scene)
    assert (again.version, is_new) == (3, True)


async def test_fifty_changes_at_once_are_fifty_versions(scene) -> None:
    saved = await asyncio.gather(*(save(scene, replace(TELLERS, description=str(n))) for n in range(20)))
    assert sorted(policy.version for policy, _ in saved) == list(range(1, 21))


async def test_the_row_has_the_old_and_the_new_value(scene) -> None:
    await save(scene)
    await save(scene, replace(TELLERS, description="new"))
    first, second = await scene.access_rows(operation="change-access-policy")
    assert (first.old_value, first.status, second.status, second.detail) == (None, 201, 200, "tellers")
    assert json.loads(second.old_value) == json.loads(first.new_value)
    assert json.loads(second.new_value)["description"] == "new"


async def test_the_row_of_a_deletion_has_the_old_value(scene) -> None:
    await save(scene)
    await scene.vault.rules.policies.delete_access_policy(scene.admin, "tellers")
    (row,) = await scene.access_rows(operation="delete-access-policy")
    assert json.loads(row.old_value)["name"] == "tellers"
    assert row.new_value is None


@pytest.mark.parametrize("name", ["owner-only", "same-purpose", "open-retrieve", "admin-only"])
async def test_a_built_in_policy_is_neither_changed_nor_deleted(scene, name) -> None:
    with pytest.raises(BuiltInPolicy):
        await save(scene, replace(TELLERS, name=name))
    with pytest.raises(BuiltInPolicy):
        await scene.vault.rules.policies.delete_access_policy(scene.admin, name)
    assert (await scene.vault.rules.policies.access_policy(scene.admin, name)).built_in
    assert [row.outcome for row in await scene.access_rows(status=409)] == [Outcome.DENIED] * 2


async def test_a_stored_policy_of_a_built_in_name_does_not_count(scene) -> None:
    """As it might be left by an earlier version, or put there by hand."""
    forged = replace(TELLERS, name="owner-only", rules={})
    await scene.storage.inner.commit([a_write(SaveAccessPolicy(forged))])
    assert (await scene.vault.rules.policies.access_policy(scene.admin, "owner-only")).built_in


async def test_a_policy_in_use_is_not_deleted(scene) -> None:
    await save(scene)
    await scene.store(access_policy="tellers")
    with pytest.raises(PolicyInUse):
        await scene.vault.rules.policies.delete_access_policy(scene.admin, "tellers")
    await scene.store(access_policy="owner-only")
    await scene.vault.rules.policies.delete_access_policy(scene.admin, "tellers")


async def test_of_deleting_a_policy_and_taking_it_into_use_at_once_both_never_succeed_unseen(open_scene) -> None:
    scene = await open_scene(access__require_defined_policy="true")
    for n in range(20):
        await save(scene)
        results = await asyncio.gather(
            scene.vault.rules.policies.delete_access_policy(scene.admin, "tellers"),
            scene.store(f"e{n}", access_policy="tellers"),
            return_exceptions=True,
        )
        assert sum(isinstance(result, Exception) for result in results) == 1
        if not isinstance(results[1], Exception):
            await scene.store(f"e{n}", value=b"x")
            await scene.vault.rules.policies.delete_access_policy(scene.admin, "tellers")


@pytest.mark.parametrize("what", ["access_policy", "delete_access_policy", "retention_policy"])
async def test_what_is_not_there_is_not_found(scene, what) -> None:
    with pytest.raises(PolicyNotFound):
        await getattr(scene.vault.rules.policies, what)(scene.admin, "nothing")
    assert (await scene.last_row()).reason == "policy_not_found"


async def test_an_evaluator_that_nobody_offers_is_refused(scene) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await save(scene, replace(TELLERS, evaluator="hours"))
    assert [error.field for error in refused.value.errors] == ["evaluator"]


async def test_the_evaluator_looks_at_the_document(scene) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await save(scene, replace(TELLERS, parameters='{"a":1}'))
    assert [error.field for error in refused.value.errors] == ["parameters"]


async def test_a_purge_method_that_nobody_offers_is_refused(scene) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy(purge_method="burn"))
    (error,) = refused.value.errors
    assert error.field == "purge_method"
    assert "crypto-shred" in error.expected


CHANGES = {
    "save_access_policy": TELLERS,
    "delete_access_policy": "tellers",
    "save_retention_policy": a_retention_policy(),
}
READS = {
    "access_policy": ("owner-only",),
    "access_policies": (),
    "retention_policy": ("card",),
    "retention_policies": (),
}


@pytest.mark.parametrize("roles", [(), (Role.AUDITOR,)], ids=["an app", "an auditor"])
@pytest.mark.parametrize("method", CHANGES)
async def test_only_an_admin_changes_policies(scene, method, roles) -> None:
    before = await scene.storage.inner.policy_snapshot()
    with pytest.raises(RoleRequired):
        await getattr(scene.vault.rules.policies, method)(a_call("someone", *roles), CHANGES[method])
    assert await scene.storage.inner.policy_snapshot() == before
    row = await scene.last_row()
    assert (row.outcome, row.reason, row.app) == (Outcome.DENIED, "role", "someone")


@pytest.mark.parametrize("method", READS)
async def test_admins_and_auditors_read_policies_and_nobody_else(scene, method) -> None:
    read = getattr(scene.vault.rules.policies, method)
    for role in Role:
        assert await read(a_call("reader", role), *READS[method])
        row = await scene.last_row()
        assert row.outcome is Outcome.GRANTED
        assert row.operation in {Operation.READ_ACCESS_POLICY, Operation.READ_RETENTION_POLICY}
    with pytest.raises(RoleRequired):
        await read(a_call(), *READS[method])


async def test_a_policy_changed_by_another_process_holds_for_the_next_request(scene) -> None:
    await save(scene)
    await scene.store(access_policy="tellers", call=scene.owner)
    teller = a_call("tellers")
    await scene.vault.entries.retrieve(teller, EntryKey("card", "pay-1"))
    closed = replace(TELLERS, version=2, rules={})
    revision = (await scene.storage.inner.policy_snapshot()).revision
    await scene.storage.inner.commit([replace(a_write(SaveAccessPolicy(closed)), expects=(RevisionIs(revision),))])
    with pytest.raises(AccessDenied):
        await scene.vault.entries.retrieve(teller, EntryKey("card", "pay-1"))


class TestPreview:
    """What another maximum does to what is stored."""

    async def fill(self, scene: Any) -> None:
        await scene.store("old", expires_at=T0 + timedelta(days=300))
        scene.clock.advance(days=10)
        await scene.store("young", expires_at=T0 + timedelta(days=300))
        await scene.store("short", expires_at=T0 + timedelta(days=11))

    async def test_it_says_what_would_expire_at_once_and_changes_nothing(self, scene) -> None:
        await self.fill(scene)
        wanted = a_retention_policy(max_retention_days=5, default_ttl_days=1)
        before = await scene.storage.inner.policy_snapshot()
        seen = await scene.vault.rules.policies.preview_retention_policy(scene.admin, wanted)
        assert seen.effect == RetentionLimitEffect(expired_at_once=1, changed=2, oldest_created_at=T0)
        assert (seen.policy.version, seen.policy.created_by, seen.is_new) == (2, "vault-admin", False)
        assert await scene.storage.inner.policy_snapshot() == before
        row = await scene.last_row()
        assert (row.operation, row.purpose, row.old_value, row.new_value) == (
            Operation.PREVIEW_RETENTION_POLICY, "card", None, None,
        )  # fmt: skip
        assert row.detail == "effective_expiry_changed 2, expired_at_once 1, revived 0"

    async def test_the_change_itself_says_it_too_and_so_does_its_row(self, scene) -> None:
        await self.fill(scene)
        wanted = a_retention_policy(max_retention_days=5, default_ttl_days=1)
        seen = await scene.vault.rules.policies.preview_retention_policy(scene.admin, wanted)
        saved = await scene.vault.rules.policies.save_retention_policy(scene.admin, wanted)
        assert saved == seen
        row = await scene.last_row()
        assert (row.operation, row.detail) == (
            Operation.CHANGE_RETENTION_POLICY, "effective_expiry_changed 2, expired_at_once 1, revived 0",
        )  # fmt: skip
        assert (await scene.vault.purge.sweeper.sweep(scene.admin, dry_run=True)).purged == 1

    async def test_a_longer_one_shows_what_lives_again(self, scene) -> None:
        await self.fill(scene)
        await scene.retain(max_retention_days=5, default_ttl_days=1)
        longer = await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy())
        assert longer.effect == RetentionLimitEffect(revived=1, changed=2)
        await scene.vault.entries.retrieve(scene.owner, EntryKey("card", "old"))

    async def test_what_leaves_the_maximum_as_it_is_counts_nothing(self, scene) -> None:
        scene.storage.arm(methods={"retention_limit_effect"}, always=True)
        saved = await scene.vault.rules.policies.save_retention_policy(
            scene.admin, a_retention_policy(description="other")
        )
        assert saved.effect == RetentionLimitEffect()
        fresh = await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy("ach"))
        assert (fresh.effect, fresh.is_new) == (RetentionLimitEffect(), True)
        assert scene.storage.calls == []

    async def test_a_policy_is_put_in_force_though_its_effect_cannot_be_counted(self, scene) -> None:
        wanted = a_retention_policy(max_retention_days=5, default_ttl_days=1)
        scene.storage.arm(methods={"retention_limit_effect"}, always=True)
        saved = await scene.vault.rules.policies.save_retention_policy(scene.admin, wanted)
        assert (saved.effect, saved.policy.version) == (None, 2)
        assert (await scene.last_row()).detail == "effect not counted"
        longer = a_retention_policy(max_retention_days=9, default_ttl_days=1)
        with pytest.raises(StorageUnavailable):
            await scene.vault.rules.policies.preview_retention_policy(scene.admin, longer)

    async def test_it_is_refused_where_the_change_would_be(self, scene) -> None:
        with pytest.raises(RoleRequired):
            await scene.vault.rules.policies.preview_retention_policy(scene.owner, a_retention_policy())
        with pytest.raises(ValidationFailed):
            await scene.vault.rules.policies.preview_retention_policy(
                scene.admin, a_retention_policy(purge_method="burn")
            )
        with pytest.raises(PreconditionFailed):
            await scene.vault.rules.policies.preview_retention_policy(
                scene.admin, a_retention_policy(), VersionPreconditions(match=frozenset({7}))
            )
