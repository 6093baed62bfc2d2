"""Policies and holds: every version is kept, the newest counts, and each change is seen in the revision."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from vsqlvault.interfaces.storage import Storage, VersionQuery
from vsqlvault.interfaces.writes import (
    Change,
    DropAccessPolicy,
    SaveAccessPolicy,
    SaveLegalHold,
    SaveRetentionPolicy,
    SaveSweep,
)
from vsqlvault.model.access import Action
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy, Rule
from vsqlvault.testing.driving import StorageKit, committed, driven, revision_of
from vsqlvault.testing.samples import T0, a_legal_hold, a_retention_policy, a_sweep, a_write, an_access_policy, storing

DROP = DropAccessPolicy("tellers", 2, "vault-admin", T0)
RULES = {
    Action.STORE: Rule(),
    Action.RETRIEVE: Rule(frozenset({"@owner", "@admin", "a", "b"}), require_identity=True, max_retrievals=10),
    Action.INSPECT: Rule(frozenset(), any_purpose=True),
    Action.PURGE: Rule(frozenset({"one"}), max_retrievals=1),
}
ACCESS_POLICIES: dict[str, AccessPolicy] = {
    "plain": an_access_policy(),
    "every rule": an_access_policy(rules=RULES, description="who's \U0001f510"),
    "no rule": an_access_policy(rules={}),
    "an evaluator with parameters": an_access_policy(evaluator="hours", parameters='{"from":8,"zone":"Europe/Köln"}'),
}
RETENTION_POLICIES: dict[str, RetentionPolicy] = {
    "plain": a_retention_policy(),
    "every field": a_retention_policy(
        max_retention_days=36_500,
        default_ttl_days=None,
        purge_method="crypto-shred",
        description="d",
        justification="j'",
        legal_basis="§ 147 AO",
        data_class="pan",
        created_by="jane",
    ),
    "limits of the purpose": a_retention_policy(
        default_ttl_days=None,
        allowed_access_policies=("owner-only", "tellers"),
        max_value_bytes=1024,
        required_metadata=("case", "größe"),
        inactivity_days=30,
    ),
}
LEGAL_HOLDS: dict[str, LegalHold] = {
    "on a purpose": a_legal_hold(),
    "on an id": a_legal_hold(selector=HoldSelector(external_id="A.b_c:d@e~f-g")),
    "on an owner": a_legal_hold(selector=HoldSelector(owner_app="spiffe://x/y'")),
    "on metadata": a_legal_hold(selector=HoldSelector(metadata='{"a":[1,null,true],"\u00fc":{"b":"\U0001f510"}}')),
    "on all four": a_legal_hold(selector=HoldSelector("card", "pay-1", "payments", '{"a":1}'), reason="'; --"),
    "released": a_legal_hold(version=2, released_by="jane", released_at=T0 + timedelta(microseconds=1)),
}


class PolicySnapshotConformance(StorageKit):
    """The rulebook and its revision."""

    @driven
    async def test_a_new_storage_has_no_policies(self, storage: Storage) -> None:
        policies = await storage.policy_snapshot()
        assert (dict(policies.access), dict(policies.retention), dict(policies.access_versions)) == ({}, {}, {})
        assert dict(policies.holds) == {}

    @driven
    async def test_the_rulebook_and_a_read_tell_one_revision(self, storage: Storage) -> None:
        assert (await storage.policy_snapshot()).revision == await revision_of(storage)
        await committed(storage, a_write(SaveAccessPolicy(an_access_policy())))
        assert (await storage.policy_snapshot()).revision == await revision_of(storage)

    @pytest.mark.parametrize("policy", ACCESS_POLICIES.values(), ids=ACCESS_POLICIES)
    @driven
    async def test_an_access_policy_comes_back_as_it_was(self, storage: Storage, policy: AccessPolicy) -> None:
        await committed(storage, a_write(SaveAccessPolicy(policy)))
        policies = await storage.policy_snapshot()
        assert dict(policies.access) == {"tellers": policy}
        assert dict(policies.access_versions) == {"tellers": 1}

    @pytest.mark.parametrize("policy", RETENTION_POLICIES.values(), ids=RETENTION_POLICIES)
    @driven
    async def test_a_retention_policy_comes_back_as_it_was(self, storage: Storage, policy: RetentionPolicy) -> None:
        await committed(storage, a_write(SaveRetentionPolicy(policy)))
        assert dict((await storage.policy_snapshot()).retention) == {"card": policy}

    @pytest.mark.parametrize("hold", LEGAL_HOLDS.values(), ids=LEGAL_HOLDS)
    @driven
    async def test_a_legal_hold_comes_back_as_it_was(self, storage: Storage, hold: LegalHold) -> None:
        await committed(storage, a_write(SaveLegalHold(hold)))
        assert dict((await storage.policy_snapshot()).holds) == {"case-17": hold}

    @driven
    async def test_the_newest_version_of_a_hold_counts(self, storage: Storage) -> None:
        holds = [a_legal_hold(version=version, reason=f"v{version}") for version in range(1, 12)]
        for hold in holds:
            await committed(storage, a_write(SaveLegalHold(hold)))
        released = replace(holds[-1], version=12, released_by="jane", released_at=T0)
        assert dict((await storage.policy_snapshot()).holds) == {"case-17": holds[-1]}
        await committed(storage, a_write(SaveLegalHold(released)), a_write(SaveLegalHold(a_legal_hold("other"))))
        assert dict((await storage.policy_snapshot()).holds) == {"case-17": released, "other": a_legal_hold("other")}

    @pytest.mark.parametrize(
        "change",
        [
            SaveAccessPolicy(an_access_policy(version=2)),
            SaveAccessPolicy(an_access_policy("others")),
            SaveRetentionPolicy(a_retention_policy()),
            DROP,
            SaveLegalHold(a_legal_hold()),
            SaveLegalHold(a_legal_hold(released_by="jane", released_at=T0)),
        ],
        ids=[
            "a next version",
            "a new access policy",
            "a retention policy",
            "a policy dropped",
            "a hold placed",
            "a hold released",
        ],
    )
    @driven
    async def test_the_revision_grows_with_each_change_of_a_policy(self, storage: Storage, change: Change) -> None:
        await committed(storage, a_write(SaveAccessPolicy(an_access_policy())))
        before = await revision_of(storage)
        await committed(storage, a_write(change))
        assert await revision_of(storage) > before

    @driven
    async def test_the_revision_stays_where_no_policy_changes(self, storage: Storage) -> None:
        before = await revision_of(storage)
        await committed(storage, storing(), a_write(SaveSweep(a_sweep())))
        assert await revision_of(storage) == before

    @driven
    async def test_the_newest_version_is_in_force(self, storage: Storage) -> None:
        access = [an_access_policy(version=version, description=f"v{version}") for version in range(1, 12)]
        retention = [a_retention_policy(version=version, max_retention_days=version) for version in range(1, 12)]
        for one, other in zip(access, retention, strict=True):
            await committed(storage, a_write(SaveAccessPolicy(one)), a_write(SaveRetentionPolicy(other)))
        policies = await storage.policy_snapshot()
        assert policies.access["tellers"] == access[-1]
        assert policies.retention["card"] == retention[-1]

    @driven
    async def test_a_dropped_policy_is_not_in_force_and_its_version_is_known(self, storage: Storage) -> None:
        await committed(storage, a_write(SaveAccessPolicy(an_access_policy())))
        await committed(storage, a_write(SaveAccessPolicy(an_access_policy("others"))))
        await committed(storage, a_write(DROP))
        policies = await storage.policy_snapshot()
        assert list(policies.access) == ["others"]
        assert dict(policies.access_versions) == {"tellers": 2, "others": 1}

    @driven
    async def test_a_name_that_is_taken_again_is_in_force_again(self, storage: Storage) -> None:
        again = replace(an_access_policy(), version=3)
        await committed(storage, a_write(SaveAccessPolicy(an_access_policy())))
        await committed(storage, a_write(DROP))
        await committed(storage, a_write(SaveAccessPolicy(again)))
        policies = await storage.policy_snapshot()
        assert (dict(policies.access), dict(policies.access_versions)) == ({"tellers": again}, {"tellers": 3})

    @driven
    async def test_policies_of_different_names_do_not_touch_each_other(self, storage: Storage) -> None:
        policies = {name: an_access_policy(name) for name in ("a", "a.b", "a-b", "a_b", "ab")}
        for policy in policies.values():
            await committed(storage, a_write(SaveAccessPolicy(policy)))
        await committed(storage, a_write(DropAccessPolicy("a.b", 2, "vault-admin", T0)))
        del policies["a.b"]
        assert dict((await storage.policy_snapshot()).access) == policies

    @driven
    async def test_every_version_of_an_access_policy_is_kept_newest_first(self, storage: Storage) -> None:
        versions = [an_access_policy(description="1"), an_access_policy(version=3, rules={}, description="3")]
        await committed(storage, a_write(SaveAccessPolicy(versions[0])))
        await committed(storage, a_write(DROP))
        await committed(storage, a_write(SaveAccessPolicy(versions[1])))
        await committed(storage, a_write(SaveAccessPolicy(an_access_policy("others"))))
        found = await storage.access_policy_versions(VersionQuery(name="tellers", limit=10))
        assert [found[2], found[0]] == versions
        dropped = found[1]
        assert (dropped.version, dropped.dropped, dict(dropped.rules)) == (2, True, {})
        assert (dropped.created_by, dropped.created_at) == (DROP.dropped_by, DROP.dropped_at)
        assert not found[0].dropped

    @driven
    async def test_every_version_of_a_retention_policy_is_kept_newest_first(self, storage: Storage) -> None:
        versions = [a_retention_policy(version=number, max_retention_days=number) for number in range(1, 4)]
        for policy in (*versions, a_retention_policy("ach")):
            await committed(storage, a_write(SaveRetentionPolicy(policy)))
        assert await storage.retention_policy_versions(VersionQuery(name="card", limit=10)) == versions[::-1]

    @driven
    async def test_every_version_of_a_hold_is_kept_newest_first(self, storage: Storage) -> None:
        versions = [a_legal_hold(), a_legal_hold(version=2, reason="2", released_by="jane", released_at=T0)]
        for hold in (*versions, a_legal_hold("other")):
            await committed(storage, a_write(SaveLegalHold(hold)))
        assert await storage.legal_hold_versions(VersionQuery(name="case-17", limit=10)) == versions[::-1]

    @driven
    async def test_versions_come_in_pages_and_one_alone(self, storage: Storage) -> None:
        for number in range(1, 12):
            policy = SaveAccessPolicy(an_access_policy(version=number))
            retention = SaveRetentionPolicy(a_retention_policy("tellers", number))
            hold = SaveLegalHold(a_legal_hold("tellers", number))
            await committed(storage, a_write(policy), a_write(retention), a_write(hold))
        for versions in (
            storage.access_policy_versions,
            storage.retention_policy_versions,
            storage.legal_hold_versions,
        ):
            first = await versions(VersionQuery(name="tellers", limit=5))
            assert [found.version for found in first] == [11, 10, 9, 8, 7]
            rest = await versions(VersionQuery(name="tellers", limit=10, before=7))
            assert [found.version for found in rest] == [6, 5, 4, 3, 2, 1]
            assert [found.version for found in await versions(VersionQuery(name="tellers", limit=1, before=4))] == [3]
            assert list(await versions(VersionQuery(name="tellers", limit=1, before=1))) == []
            assert list(await versions(VersionQuery(name="nobody", limit=1))) == []
