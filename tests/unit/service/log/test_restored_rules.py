"""Rules after a restored database: revocations and holds are repeated, and every other lost change is named."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import RoleRequired, Unavailable
from vsqlvault.model.api_key import ApiKeyState
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.service.audit.rule_documents import api_key_document, as_json, rule_document
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.service.log.recorded_rules import RuleKind, rules_in
from vsqlvault.service.log.restored_rules import HELD_BEFORE, REVOKED_BEFORE, RepeatedRules
from vsqlvault.testing import T0, a_legal_hold, a_retention_policy, an_access_policy, an_access_record

OPERATIONS: dict[type, Operation] = {
    AccessPolicy: Operation.CHANGE_ACCESS_POLICY,
    RetentionPolicy: Operation.CHANGE_RETENTION_POLICY,
    LegalHold: Operation.CHANGE_LEGAL_HOLD,
}


def row(operation: Operation, **members: Any) -> bytes:
    granted = {"outcome": Outcome.GRANTED, "status": 200, "reason": None}
    return row_leaf(replace(an_access_record(), operation=operation, **granted | members))


def saved(rule: Any) -> bytes:
    return row(OPERATIONS[type(rule)], new_value=as_json(rule_document(rule)))


async def repeat(scene: Any, *leaves: bytes) -> RepeatedRules:
    return await scene.vault.log.restored_rules.repeat(scene.admin, rules_in(leaves))


async def a_key(scene: Any) -> Any:
    return (await scene.vault.credentials.api_keys.create(scene.admin, ApiKeyRequest(app="leaked"))).seen.key


def revoked(key: Any) -> bytes:
    gone = replace(key, version=2, revoked_by="vault-admin", revoked_at=T0)
    return row(Operation.REVOKE_API_KEY, detail=key.key_id, new_value=as_json(api_key_document(gone)))


async def test_a_key_that_the_export_has_as_revoked_is_revoked_again(scene) -> None:
    key = await a_key(scene)
    result = await repeat(scene, revoked(key))
    assert (result.revoked, result.lost) == ([key.key_id], [])
    assert (await scene.vault.credentials.api_keys.key(scene.admin, key.key_id)).state is ApiKeyState.REVOKED
    (done,) = await scene.access_rows(operation=Operation.REVOKE_API_KEY)
    assert json.loads(done.new_value)["why"] == REVOKED_BEFORE
    assert (await repeat(scene, revoked(key))).revoked == []


def test_a_revocation_whose_row_has_only_a_hash_counts() -> None:
    leaf = row(Operation.REVOKE_API_KEY, detail="k1", new_value="x" * 70_000)
    assert b"sha256" in leaf
    found = rules_in([leaf])
    assert (found.unreadable, bool(found.keys["k1"]["revoked_at"])) == (0, True)


async def test_a_key_that_was_created_after_the_backup_is_named(scene) -> None:
    key = await a_key(scene)
    unknown = replace(key, key_id="sha256:0123456789ab")
    leaf = row(Operation.CREATE_API_KEY, detail=unknown.key_id, new_value=as_json(api_key_document(unknown)))
    (lost,) = (await repeat(scene, leaf)).lost
    assert str(lost) == "API key sha256:0123456789ab: of leaked, was created after the backup, and is unknown now"
    assert not lost.needs_decision


async def test_a_hold_of_the_export_is_placed_again_with_its_content(scene) -> None:
    metadata = '{"a":1e+22,"b":[1.5,true]}'
    hold = a_legal_hold("again", held_since=T0 - timedelta(days=3), selector=HoldSelector("card", metadata=metadata))
    assert (await repeat(scene, saved(hold))).placed == ["again"]
    placed = await scene.vault.rules.legal_holds.hold(scene.admin, "again")
    assert (placed.selector, placed.held_since, placed.reason) == (hold.selector, hold.held_since, hold.reason)
    (done,) = await scene.access_rows(operation=Operation.CHANGE_LEGAL_HOLD)
    assert json.loads(done.new_value)["why"] == HELD_BEFORE
    again = await repeat(scene, saved(hold))
    assert (again.placed, again.lost) == ([], [])


async def test_a_hold_that_was_changed_after_the_backup_gets_its_later_selector(scene) -> None:
    first = (await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold("wider"))).hold
    later = replace(first, version=2, selector=HoldSelector(owner_app="payments"))
    assert (await repeat(scene, saved(first), saved(later))).placed == ["wider"]
    assert (await scene.vault.rules.legal_holds.hold(scene.admin, "wider")).selector == later.selector


async def test_a_hold_that_was_released_after_the_backup_stays_and_is_named(scene) -> None:
    first = (await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold("kept"))).hold
    released = replace(first, version=2, released_by="vault-admin", released_at=T0)
    leaf = row(Operation.RELEASE_LEGAL_HOLD, new_value=as_json(rule_document(released)))
    result = await repeat(scene, saved(first), leaf)
    assert [(each.name, each.needs_decision) for each in result.lost] == [("kept", False)]
    assert not (await scene.vault.rules.legal_holds.hold(scene.admin, "kept")).is_released


async def test_a_hold_that_was_released_after_the_restore_needs_a_decision(scene) -> None:
    hold = a_legal_hold("decided", created_by="an-earlier-admin")
    await repeat(scene, saved(hold))
    await scene.vault.rules.legal_holds.release(scene.admin, "decided")
    result = await repeat(scene, saved(hold))
    assert result.placed == []
    assert [each.name for each in result.undecided] == ["decided"]


async def test_an_export_from_before_the_backup_changes_nothing(scene) -> None:
    holds = scene.vault.rules.legal_holds
    first = (await holds.save(scene.admin, a_legal_hold("earlier"))).hold
    await holds.release(scene.admin, "earlier")
    result = await repeat(scene, saved(first))
    assert (result.placed, result.lost) == ([], [])


async def test_policies_that_differ_from_the_export_need_a_decision(scene) -> None:
    policies = scene.vault.rules.policies
    await policies.save_access_policy(scene.admin, an_access_policy("tellers"))
    await policies.save_access_policy(scene.admin, an_access_policy("dropped"))
    tight = an_access_policy("tellers", 2, description="tighter")
    deleted = row(
        Operation.DELETE_ACCESS_POLICY, detail="dropped", old_value=as_json({"name": "dropped", "version": 1})
    )
    retention = a_retention_policy("card", version=2, max_retention_days=1)
    result = await repeat(scene, saved(tight), deleted, saved(retention))
    assert [(each.kind, each.name) for each in result.undecided] == [
        (RuleKind.ACCESS_POLICY, "dropped"),
        (RuleKind.ACCESS_POLICY, "tellers"),
        (RuleKind.RETENTION_POLICY, "card"),
    ]
    assert "accepted as restored: access policy dropped, access policy tellers" in "; ".join(result.summary())
    await policies.delete_access_policy(scene.admin, "dropped")
    await policies.save_access_policy(scene.admin, tight)
    await policies.save_retention_policy(scene.admin, retention)
    assert (await repeat(scene, saved(tight), deleted, saved(retention))).lost == []


async def test_a_policy_that_was_saved_after_the_backup_is_named(scene) -> None:
    result = await repeat(scene, saved(a_retention_policy("new")), saved(an_access_policy("later")))
    assert [each.name for each in result.lost] == ["later", "new"]
    assert result.undecided == []


async def test_a_rule_of_which_the_export_has_only_the_hash_needs_a_decision(scene) -> None:
    long = an_access_policy("long", description="x" * 70_000)
    leaf = row(Operation.CHANGE_ACCESS_POLICY, detail="long", new_value=as_json(rule_document(long)))
    assert b"sha256" in leaf
    assert [each.name for each in (await repeat(scene, leaf)).undecided] == ["long"]


async def test_after_a_failure_a_second_run_repeats_the_rest(scene) -> None:
    key, hold = await a_key(scene), a_legal_hold("second-run")
    scene.storage.arm(2, methods={"commit"})
    with pytest.raises(Unavailable):
        await repeat(scene, revoked(key), saved(hold))
    scene.storage.disarm()
    result = await repeat(scene, revoked(key), saved(hold))
    assert (result.revoked, result.placed) == ([], ["second-run"])


async def test_only_an_admin_repeats(scene) -> None:
    with pytest.raises(RoleRequired):
        await scene.vault.log.restored_rules.repeat(scene.owner, rules_in([]))


def test_a_row_that_cannot_be_read_is_counted() -> None:
    found = rules_in([row(Operation.CHANGE_LEGAL_HOLD, new_value="[]"), b"", row(Operation.RETRIEVE)])
    assert (found.unreadable, found.rules) == (1, {})


def test_a_version_without_a_number_cannot_be_read() -> None:
    found = rules_in([row(Operation.CHANGE_LEGAL_HOLD, detail="h", new_value='{"name":"h"}')])
    assert (found.unreadable, found.rules) == (1, {})


def test_a_deletion_takes_the_place_of_a_version_of_which_there_is_only_a_hash() -> None:
    long = an_access_policy("long", description="x" * 70_000)
    saved_long = row(Operation.CHANGE_ACCESS_POLICY, detail="long", new_value=as_json(rule_document(long)))
    deleted = row(Operation.DELETE_ACCESS_POLICY, detail="long", old_value='{"version":1}')
    (rule,) = rules_in([saved_long, deleted]).rules.values()
    assert (rule.digest, rule.number) == (None, 2)
