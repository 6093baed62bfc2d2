"""Explaining: the answer is the one that the request would get, and nothing is done."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import EntryExpired, EntryHeld, EntryNotFound, PluginFailed, RoleRequired, VaultError
from vsqlvault.interfaces.storage import Read
from vsqlvault.interfaces.writes import OverwriteEntry, SaveLegalHold
from vsqlvault.model.access import Action, Allow
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.service.access.explain import Explanation, Question
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.testing import T0, a_call, a_legal_hold, a_write, an_access_policy, storing

KEY = EntryKey("card", "pay-1")
LIMITED = an_access_policy(
    "limited",
    rules={
        Action.STORE: Rule(),
        Action.RETRIEVE: Rule(max_retrievals=3, require_identity=True),
        Action.PURGE: Rule(frozenset({"@owner", "@admin"})),
    },
)
POLICIES = ("owner-only", "open-retrieve", "admin-only", "limited", "not-defined")
STATES = ("missing", "live", "expired", "shredded", "held", "held-and-expired", "counted-out")
CALLERS = {
    "owner": a_call("payments", identity="jane"),
    "other": a_call("shop"),
    "stranger": a_call("shop", purposes=frozenset({"ach"})),
    "admin": a_call("vault-admin", Role.ADMIN, identity="root"),
    "auditor": a_call("auditor", Role.AUDITOR, purposes=frozenset()),
}


@dataclass(frozen=True)
class Case:
    policy: str
    state: str
    caller: str
    action: Action

    @property
    def key(self) -> EntryKey:
        return EntryKey("card", f"{self.policy}.{self.state}.{self.caller}.{self.action.value}")

    @property
    def question(self) -> Question:
        return Question(CALLERS[self.caller].principal, self.action, self.key, self.policy)


def cases() -> Iterator[Case]:
    for parts in itertools.product(POLICIES, STATES, CALLERS, Action):
        yield Case(*parts)


async def populate(scene: Any) -> None:
    await scene.vault.rules.policies.save_access_policy(scene.admin, LIMITED)
    found = [case for case in cases() if case.state != "missing"]
    await scene.storage.inner.commit([storing(case.key.external_id, **fields(case)) for case in found])
    shred = [
        a_write(OverwriteEntry(case.key, bytes(6), T0, "crypto-shred")) for case in found if case.state == "shredded"
    ]
    hold = a_legal_hold(selector=HoldSelector(metadata='{"case":17}'))
    await scene.storage.inner.commit([*shred, a_write(SaveLegalHold(hold))])


def fields(case: Case) -> dict[str, Any]:
    return {
        "access_policy": case.policy,
        "metadata": '{"case":17}' if "held" in case.state else "{}",
        "retrievals": 3 if case.state == "counted-out" else 0,
        "expires_at": T0 if "expired" in case.state else T0 + timedelta(days=90),
    }


async def done(scene: Any, case: Case, a_wish: Any) -> int:
    """Carry it out, and return the status that the caller is given."""
    call, entries = CALLERS[case.caller], scene.vault.entries
    try:
        match case.action:
            case Action.STORE:
                stored = await entries.store(call, case.key, a_wish(value=b"new", access_policy=case.policy))
                return 201 if stored.created else 200
            case Action.RETRIEVE:
                await entries.retrieve(call, case.key)
            case Action.INSPECT:
                await entries.inspect(call, case.key)
            case Action.PURGE:
                await entries.purge(call, case.key, Preconditions())
    except VaultError as error:
        return error.status
    return 200


async def ask(scene: Any, question: Question, call: Any = None) -> Explanation:
    found: Explanation = await scene.vault.access.explain.explain(call or scene.admin, question)
    return found


async def test_it_is_what_every_request_is_then_answered(scene, a_wish) -> None:
    """Every policy, state, caller and operation: explained first, then done."""
    await populate(scene)
    everything = list(cases())
    explained = await asyncio.gather(*(ask(scene, case.question) for case in everything))
    answered = await asyncio.gather(*(done(scene, case, a_wish) for case in everything))
    told = {case: found.status for case, found in zip(everything, explained, strict=True)}
    assert told == dict(zip(everything, answered, strict=True))
    assert {200, 201, 403, 404, 409, 410, 423} == set(answered)


async def test_it_does_nothing_counts_nothing_and_never_reads_the_value(scene) -> None:
    await populate(scene)
    before = [await scene.storage.inner.read([Read(case.key, with_value=True)]) for case in list(cases())[::40]]
    rows = len(await scene.access_rows())
    reads: list[Read] = []
    inner = scene.storage.inner.read

    async def watched(asked: Any) -> Any:
        reads.extend(asked)
        return await inner(asked)

    scene.storage.inner.read = watched
    everything = list(cases())[::7]
    for case in everything:
        await ask(scene, case.question)
    scene.storage.inner.read = inner
    assert not [read for read in reads if read.with_value]
    after = [await scene.storage.inner.read([Read(case.key, with_value=True)]) for case in list(cases())[::40]]
    assert [[(s.entry, s.value) for s in batch] for batch in after] == [
        [(s.entry, s.value) for s in batch] for batch in before
    ]
    assert await scene.purge_rows() == []
    added = (await scene.access_rows())[rows:]
    assert [row.operation.value for row in added] == ["explain-access"] * len(everything)


async def test_it_names_the_policy_its_version_and_who_made_it_when(scene) -> None:
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy())
    at = scene.clock.advance(hours=1)
    other = a_call("other-admin", Role.ADMIN)
    await scene.vault.rules.policies.save_access_policy(other, replace(an_access_policy(), description="2"))
    await scene.store(access_policy="tellers")
    found = await ask(scene, Question(a_call("shop").principal, Action.RETRIEVE, KEY, "owner-only"))
    assert found.decided is not None
    assert (found.decided.policy, found.decided.version, found.decided.reason) == ("tellers", 2, "app-not-allowed")
    assert found.policy is not None
    assert (found.policy.created_by, found.policy.created_at) == ("other-admin", at)
    assert (found.status, found.allowed) == (403, None)
    row = await scene.last_row()
    assert (row.detail, row.status, row.policy) == ("retrieve by shop: 403 access-denied, by tellers v2", 200, None)


async def test_it_says_what_ends_the_entry_and_what_keeps_it(scene) -> None:
    await scene.store()
    await scene.retain(max_retention_days=30, default_ttl_days=1)
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold())
    await scene.vault.rules.legal_holds.save(
        scene.admin, a_legal_hold("other", selector=HoldSelector(external_id="pay-1"))
    )
    found = await ask(scene, Question(scene.owner.principal, Action.PURGE, KEY, "owner-only"))
    assert isinstance(found.refusal, EntryHeld)
    assert found.decided is not None
    assert isinstance(found.decided.decision, Allow)
    assert [hold.name for hold in found.holds] == ["other", "case-17"]
    assert found.retention is not None
    assert found.entry is not None
    assert found.retention.version == 2
    assert found.entry.effective_expires_at(found.retention.max_retention_days) == T0 + timedelta(days=30)
    scene.clock.advance(days=30)
    found = await ask(scene, Question(scene.owner.principal, Action.RETRIEVE, KEY, "owner-only"))
    assert isinstance(found.refusal, EntryExpired)
    assert [hold.name for hold in found.holds] == ["other", "case-17"]


async def test_it_says_what_is_left_of_what_is_gone(scene) -> None:
    await scene.store()
    record = await scene.purge()
    found = await ask(scene, Question(scene.owner.principal, Action.RETRIEVE, KEY, "owner-only"))
    assert (found.entry, found.last_purge.record, found.decided) == (None, record, None)
    assert isinstance(found.refusal, EntryNotFound)


async def test_an_obligation_is_part_of_the_answer(scene) -> None:
    await scene.vault.rules.policies.save_access_policy(scene.admin, LIMITED)
    await scene.store(access_policy="limited")
    found = await ask(scene, Question(scene.owner.principal, Action.RETRIEVE, KEY, "owner-only"))
    assert found.allowed == Allow(3)
    nobody = replace(scene.owner.principal, identity=None)
    found = await ask(scene, Question(nobody, Action.RETRIEVE, KEY, "owner-only"))
    assert found.decided is not None
    assert found.decided.reason == "identity-required"


async def test_an_evaluator_that_fails_is_explained_as_the_refusal_it_is(install, offering, open_scene) -> None:
    class Broken:
        name = "broken"

        def built_in_policies(self) -> tuple[()]:
            return ()

        def check(self, policy: Any) -> None:
            pass

        def evaluate(self, request: Any, policy: Any) -> Any:
            raise RuntimeError

    install(broken=offering("vault_access_policies", Broken()))
    scene = await open_scene()
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy("broken", evaluator="broken"))
    found = await ask(scene, Question(scene.owner.principal, Action.STORE, KEY, "broken"))
    assert isinstance(found.refusal, PluginFailed)
    assert found.status == 503


@pytest.mark.parametrize("roles", [(), (Role.AUDITOR,), (Role.ADMIN,)], ids=repr)
async def test_admins_and_auditors_ask(scene, roles) -> None:
    question = Question(scene.owner.principal, Action.STORE, KEY, "owner-only")
    call = a_call("asker", *roles)
    if roles:
        assert (await ask(scene, question, call)).status == 201
        return
    with pytest.raises(RoleRequired):
        await ask(scene, question, call)
    row = await scene.last_row()
    assert (row.operation.value, row.reason, row.app) == ("explain-access", "role", "asker")
