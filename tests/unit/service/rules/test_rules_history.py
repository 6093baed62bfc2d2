"""Versions of rules: every one is shown as it was, and what changed between two of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from vsqlvault.errors import HoldNotFound, PolicyNotFound, RoleRequired
from vsqlvault.interfaces.storage import VersionQuery
from vsqlvault.model.access import Action
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.service.rules.history import ABSENT, Difference, RuleKind, differences
from vsqlvault.testing import a_call, a_legal_hold, an_access_policy

TELLERS = an_access_policy()


async def versions(scene: Any, kind: RuleKind, name: str, **query: Any) -> Any:
    return await scene.vault.rules.history.versions(
        scene.admin, kind, VersionQuery(name=name, **{"limit": 100} | query)
    )


async def test_every_version_of_every_kind_is_shown_newest_first(scene) -> None:
    saved, _ = await scene.vault.rules.policies.save_access_policy(scene.admin, TELLERS)
    scene.clock.advance(hours=1)
    await scene.vault.rules.policies.delete_access_policy(a_call("other-admin", Role.ADMIN), "tellers")
    again, _ = await scene.vault.rules.policies.save_access_policy(scene.admin, replace(TELLERS, description="again"))
    found = await versions(scene, RuleKind.ACCESS_POLICY, "tellers")
    assert (found[2], found[0]) == (saved, again)
    assert (found[1].version, found[1].dropped, found[1].created_by) == (2, True, "other-admin")
    await scene.retain(max_retention_days=9, default_ttl_days=1)
    assert [policy.max_retention_days for policy in await versions(scene, RuleKind.RETENTION_POLICY, "card")] == [
        9,
        365,
    ]
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold())
    released = await scene.vault.rules.legal_holds.release(scene.admin, "case-17")
    assert (await versions(scene, RuleKind.LEGAL_HOLD, "case-17"))[0] == released


async def test_a_version_is_read_by_its_number_and_versions_by_the_page(scene) -> None:
    for number in range(5):
        await scene.vault.rules.policies.save_access_policy(scene.admin, replace(TELLERS, description=str(number)))
    third = await scene.vault.rules.history.version(scene.admin, RuleKind.ACCESS_POLICY, "tellers", 3)
    assert (third.version, third.description) == (3, "2")
    page = await versions(scene, RuleKind.ACCESS_POLICY, "tellers", limit=2, before=4)
    assert [policy.version for policy in page] == [3, 2]
    assert await versions(scene, RuleKind.ACCESS_POLICY, "tellers", before=1) == []


async def test_a_built_in_policy_has_its_one_version(scene) -> None:
    (only,) = await versions(scene, RuleKind.ACCESS_POLICY, "owner-only")
    assert only.built_in
    assert await versions(scene, RuleKind.ACCESS_POLICY, "owner-only", before=1) == []
    assert await scene.vault.rules.history.version(scene.admin, RuleKind.ACCESS_POLICY, "owner-only", 1) == only
    with pytest.raises(PolicyNotFound):
        await scene.vault.rules.history.version(scene.admin, RuleKind.ACCESS_POLICY, "owner-only", 2)


@pytest.mark.parametrize(("kind", "missing"), [(kind, kind.missing) for kind in RuleKind])
async def test_what_never_was_is_not_found(scene, kind, missing) -> None:
    assert missing is (HoldNotFound if kind is RuleKind.LEGAL_HOLD else PolicyNotFound)
    for refused in (
        versions(scene, kind, "nothing"),
        scene.vault.rules.history.version(scene.admin, kind, "nothing", 1),
        scene.vault.rules.history.compare(scene.admin, kind, "nothing", 2, 1),
    ):
        with pytest.raises(missing):
            await refused


async def test_a_comparison_says_what_changed_and_nothing_of_version_and_author(scene) -> None:
    await scene.vault.rules.policies.save_access_policy(scene.admin, TELLERS)
    rules = {**TELLERS.rules, Action.RETRIEVE: Rule(frozenset({"tellers", "audit"}))}
    del rules[Action.PURGE]
    await scene.vault.rules.policies.save_access_policy(scene.admin, replace(TELLERS, rules=rules, description="wider"))
    found = await scene.vault.rules.history.compare(scene.admin, RuleKind.ACCESS_POLICY, "tellers", 2, 1)
    assert (found.old.version, found.new.version) == (1, 2)
    changes = {difference.path: (difference.old, difference.new) for difference in found.differences}
    assert changes.pop("/rules/purge")[1] is ABSENT
    assert changes == {
        "/description": (None, "wider"),
        "/rules/retrieve/allowed_apps": (["tellers"], ["audit", "tellers"]),
    }
    back = await scene.vault.rules.history.compare(scene.admin, RuleKind.ACCESS_POLICY, "tellers", 1, 2)
    assert {d.path: (d.old, d.new) for d in back.differences}["/description"] == ("wider", None)
    same = await scene.vault.rules.history.compare(scene.admin, RuleKind.ACCESS_POLICY, "tellers", 1, 1)
    assert same.differences == ()


async def test_a_release_shows_as_what_it_changed(scene) -> None:
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold(selector=HoldSelector(metadata='{"a":1}')))
    await scene.vault.rules.legal_holds.release(scene.admin, "case-17")
    found = await scene.vault.rules.history.compare(scene.admin, RuleKind.LEGAL_HOLD, "case-17", 2, 1)
    assert [difference.path for difference in found.differences] == ["/released_at", "/released_by", "/state"]


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1.0}, [("/a", 1, 1.0)]),
        ({"a": 1}, {"a": True}, [("/a", 1, True)]),
        ({"a": None}, {}, [("/a", None, ABSENT)]),
        ({"a/b~c": 1}, {"a/b~c": 2}, [("/a~1b~0c", 1, 2)]),
        ({"a": {"b": 1}}, {"a": [1]}, [("/a", {"b": 1}, [1])]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [2, 1]}}, [("/a/b", [1, 2], [2, 1])]),
        ({"a": {}}, {"a": {"b": 1}}, [("/a/b", ABSENT, 1)]),
    ],
    ids=itertools.count(),
)
def test_differences_name_their_place(old, new, found) -> None:
    assert list(differences(old, new)) == [Difference(*parts) for parts in found]
    assert list(differences(old, old)) == []


async def test_admins_and_auditors_read_it_and_each_reading_has_its_row(scene) -> None:
    auditor = a_call("auditor", Role.AUDITOR)
    await scene.vault.rules.history.versions(auditor, RuleKind.RETENTION_POLICY, VersionQuery(name="card", limit=1))
    row = await scene.last_row()
    assert (row.operation.value, row.purpose, row.detail) == ("read-retention-policy", "card", "card versions")
    await scene.vault.rules.policies.save_access_policy(scene.admin, TELLERS)
    await scene.vault.rules.history.compare(auditor, RuleKind.ACCESS_POLICY, "tellers", 1, 1)
    assert (await scene.last_row()).detail == "tellers v1 to v1"
    for refused in (
        scene.vault.rules.history.versions(scene.owner, RuleKind.ACCESS_POLICY, VersionQuery(name="tellers", limit=1)),
        scene.vault.rules.history.version(scene.owner, RuleKind.ACCESS_POLICY, "tellers", 1),
        scene.vault.rules.history.compare(scene.owner, RuleKind.ACCESS_POLICY, "tellers", 1, 1),
    ):
        with pytest.raises(RoleRequired):
            await refused
        assert ((await scene.last_row()).reason, (await scene.last_row()).status) == ("role", 403)
